//! What becomes a server, what does not, and what belongs to one.

use serde_json::json;

use super::*;
use crate::discover::configured::SERVERS;

#[test]
fn a_handshake_makes_a_candidate_a_server_and_lets_go_of_what_was_held_in_order() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.open(11, "/work/server.js");
    scene.fork(11, 12);
    scene.open(12, "/etc/hosts");
    assert_eq!(scene.story(), [""; 0], "nothing is said of a candidate");
    scene.initialize(11);
    assert_eq!(
        scene.story(),
        [
            "discovered node by handshake",
            "exec /usr/bin/node startup",
            "open /work/server.js startup",
            "open /etc/hosts startup",
            "session -",
            "session 2025-06-18",
            "discovered weather by handshake",
            "call 0 initialize ok",
            "message notifications/initialized",
        ]
    );
}

#[test]
fn what_was_held_keeps_its_own_times() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.open(11, "/a");
    let opened = scene.now;
    scene.wait(5 * SECOND);
    scene.initialize(11);
    let record = scene.of_type("file.open")[0]["time"].as_str().unwrap().to_owned();
    let time: jiff::Timestamp = record.parse().unwrap();
    assert_eq!(time.as_nanosecond(), 1_750_000_000_000_000_000 + i128::from(opened));
}

#[test]
fn what_was_held_is_told_of_the_program_that_did_it() {
    let mut scene = Scene::new();
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/npx", &["npx", "server"]);
    scene.open(11, "/a");
    scene.fork(11, 12);
    scene.open(12, "/b");
    scene.exec(12, "/usr/bin/git", &["git"]);
    scene.open(12, "/c");
    scene.exec(11, "/usr/bin/node", &["node", "server.js"]);
    scene.open(11, "/d");
    scene.initialize(11);
    let did: Vec<(&str, &str)> = scene
        .of_type("file.open")
        .into_iter()
        .map(|open| {
            let exe = open["process"]["exe"].as_str().unwrap();
            (open["file"]["path"].as_str().unwrap(), exe)
        })
        .collect();
    assert_eq!(
        did,
        [
            ("/a", "/usr/bin/npx"),
            ("/b", "/usr/bin/npx"),
            ("/c", "/usr/bin/git"),
            ("/d", "/usr/bin/node"),
        ]
    );
}

/// A process writes to the channel of another instance.
fn writes_into(scene: &mut Scene, pid: u32, victim: u64, direction: u32) {
    let body = wire::Injection { victim, direction, fd: 3 };
    scene.send(Kind::Injection, pid, 40, bytemuck::bytes_of(&body), b"");
}

#[test]
fn who_writes_to_a_servers_channel_is_told_but_not_who_made_it() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/python3", &["python3", "worker.py"]);
    let (server, worker) = (scene.watch[&11], scene.watch[&12]);
    assert_ne!(server, worker);
    scene.forget();
    // A server gives its worker something to do, and the worker answers on pipes nobody speaks MCP on.
    writes_into(&mut scene, 11, worker, wire::DIRECTION_IN);
    writes_into(&mut scene, 12, worker, wire::DIRECTION_OUT);
    writes_into(&mut scene, 12, server, wire::DIRECTION_OUT);
    assert_eq!(scene.story(), [""; 0]);
    writes_into(&mut scene, 12, server, wire::DIRECTION_IN);
    assert_eq!(
        scene.story(),
        ["message \"injected\"", "ALERT channel_injection critical background x1"]
    );
}

#[test]
fn nothing_counts_as_requested_once_a_server_could_ask_itself() {
    // Its stdin is opened to be written to; how something gets there then, nobody sees. The others cannot be written to.
    for (flags, inode, relation) in [
        (libc::O_WRONLY, CHANNEL.0, "covert"),
        (libc::O_RDWR, CHANNEL.0, "covert"),
        (libc::O_RDONLY, CHANNEL.0, "requested"),
        (libc::O_WRONLY, CHANNEL.1, "requested"),
        (libc::O_WRONLY, 99, "requested"),
    ] {
        let mut scene = Scene::new();
        scene.server(11);
        let (mut body, tail) = opened("/proc/11/fd/0");
        body.flags = flags.cast_unsigned();
        body.mode = libc::S_IFIFO | 0o600;
        body.inode = inode;
        scene.send(Kind::Open, 11, 5, bytemuck::bytes_of(&body), &tail);
        scene.call(11, 1, "read", json!({"path": "/home/me/notes.txt"}));
        scene.open(11, "/home/me/notes.txt");
        let opens = scene.of_type("file.open");
        let last = &opens.last().unwrap()["relation"];
        assert_eq!(last, relation, "{flags:o} of {inode}");
    }
}

#[test]
fn a_candidate_is_dropped_when_it_has_not_spoken_in_time() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.open(11, "/a");
    scene.wait(29 * SECOND);
    assert!(scene.watch.contains_key(&11));
    scene.wait(2 * SECOND);
    assert!(scene.watch.is_empty() && scene.instances.is_empty());
    assert_eq!(scene.pipeline.standing().candidates, 0);
    // What it says from now on is not heard.
    scene.initialize(11);
    assert_eq!(scene.story(), [""; 0]);
}

#[test]
fn the_patience_with_candidates_is_a_setting() {
    for (settings, kept) in [
        ("[discovery]\ncandidate_seconds = 2", false),
        ("[discovery]\ncandidate_seconds = 2\nsniff = \"always\"", true),
        ("[discovery]\ncandidate_seconds = 60", true),
    ] {
        let mut scene = Scene::with(settings);
        scene.candidate(11);
        scene.wait(10 * SECOND);
        assert_eq!(!scene.instances.is_empty(), kept, "{settings}");
    }
    let mut scene = Scene::with("[discovery]\nsniff = \"off\"");
    scene.candidate(11);
    scene.initialize(11);
    assert_eq!(scene.story(), [""; 0]);
    assert!(scene.instances.is_empty());
}

#[test]
fn a_child_of_a_client_stays_a_candidate_while_its_client_lives() {
    let mut scene =
        Scene::with("[[discovery.client]]\nname = \"mine\"\nexe = \"/usr/bin/myclient\"");
    // The client is known from an exec or from a look at the processes.
    scene.look();
    scene.candidate(11);
    scene.reads(11, b"Content-Length: 3\r\n\r\n");
    scene.wait(300 * SECOND);
    assert!(scene.watch.contains_key(&11));
    scene.exit(CLIENT, 0);
    scene.wait(SECOND);
    assert!(scene.watch.is_empty());
}

#[test]
fn a_byte_of_its_own_on_stdin_does_not_hide_a_server() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.reads(11, b"x\n");
    scene.initialize(11);
    assert!(scene.story().iter().any(|line| line == "discovered weather by handshake"));
}

#[test]
fn a_candidate_is_dropped_when_enough_came_on_its_stdin_that_is_no_json() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.open(11, "/a");
    scene.writes(11, b"ready\n");
    assert!(scene.watch.contains_key(&11), "what it writes settles nothing");
    scene.reads(11, b"x\n");
    assert!(scene.watch.contains_key(&11), "a server may have written that to its own stdin");
    scene.hears_something_else(11);
    assert!(scene.watch.is_empty() && scene.instances.is_empty());
    assert_eq!(scene.story(), [""; 0]);
}

#[test]
fn json_that_is_no_mcp_makes_no_server() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.reads(11, b"{\"id\":1,\"method\":\"textDocument/hover\"}\n{\"a\":1}\n[1,2]\n");
    scene.writes(11, b"{\"id\":1,\"result\":null}\n");
    assert_eq!(scene.story(), [""; 0]);
    scene.wait(31 * SECOND);
    assert!(scene.instances.is_empty());
}

#[test]
fn a_configuration_makes_its_command_a_server_without_a_word_on_the_channel() {
    let mut scene = Scene::new();
    scene.config("files", "node", &["server.js"]);
    scene.candidate(11);
    scene.open(11, "/a");
    assert_eq!(
        scene.story(),
        ["discovered files by config", "exec /usr/bin/node startup", "open /a startup"]
    );
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.open(11, "/a");
    scene.config("files", "node", &["server.js"]);
    assert_eq!(
        scene.story(),
        ["discovered files by config", "exec /usr/bin/node startup", "open /a startup"],
        "the file may be read after the exec"
    );
}

#[test]
fn a_configuration_names_the_server_it_starts() {
    let mut scene = Scene::new();
    scene.config("files", "node", &["server.js"]);
    scene.candidate(11);
    scene.initialize(11);
    let last = (*scene.of_type("server.discovered").last().unwrap()).clone();
    assert_eq!(last["server"]["name"], "files");
    assert_eq!(last["server"]["version"], "1.2");
    assert_eq!(last["server"]["client"], "cursor");
    assert_eq!(last["server"]["config_path"], "/home/me/.cursor/mcp.json");
    assert_eq!(line(&last), "discovered files by handshake+config");
    // All that is said of one server is said of one id.
    let mut ids: Vec<&str> =
        scene.records.iter().filter_map(|one| one["server"]["id"].as_str()).collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
}

#[test]
fn a_server_waits_a_moment_for_the_configuration_that_names_it() {
    let mut scene = Scene::new();
    scene.looks = false;
    scene.candidate(11);
    scene.initialize(11);
    scene.call(11, 1, "read", json!({"path": "/a"}));
    scene.open(11, "/a");
    assert_eq!(scene.story(), [""; 0]);
    scene.config("files", "node", &["server.js"]);
    scene.looked(11);
    let story = scene.effects();
    assert_eq!(story[0], "discovered files by handshake+config");
    assert_eq!(story.last().unwrap(), "open /a requested 1");
    // A file system that hangs does not hold up a server for long.
    let mut scene = Scene::new();
    scene.looks = false;
    scene.candidate(11);
    scene.initialize(11);
    scene.wait(SECOND);
    assert_eq!(scene.effects()[0], "discovered weather by handshake");
}

#[test]
fn a_broken_configuration_is_a_warning_with_its_place() {
    let mut scene = Scene::new();
    scene.input(Input::Config(ConfigFile {
        path: "/home/me/.cursor/mcp.json".into(),
        client: "cursor".into(),
        owner: "1000".into(),
        format: Format::Json,
        keys: vec!["mcpServers".into()],
        text: b"{\n  \"mcpServers\": {\n    \"a\": }\n}\n".to_vec(),
    }));
    let status = &scene.of_type("status")[0]["status"];
    assert_eq!(status["state"], "warning");
    let message = status["message"].as_str().unwrap();
    assert!(message.contains("/home/me/.cursor/mcp.json:3:10"), "{message}");
}

#[test]
fn wrappers_on_one_channel_are_one_server() {
    let mut scene = Scene::new();
    let package = "@modelcontextprotocol/server-filesystem@2025.8.21";
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/node", &["node", "/usr/bin/npx", "-y", package]);
    scene.spawn(11, 12, CHANNEL, "/usr/bin/dash", &["sh", "-c", "mcp-server-filesystem /data"]);
    scene.spawn(12, 13, CHANNEL, "/usr/bin/node", &["node", "/x/mcp-server-filesystem", "/data"]);
    scene.initialize(13);
    scene.call(13, 1, "read", json!({"path": "/data/a"}));
    scene.open(13, "/data/a");
    scene.result(13, 1);
    let story = scene.effects();
    assert_eq!(
        story,
        [
            "discovered @modelcontextprotocol/server-filesystem by command_line",
            "exec /usr/bin/node startup",
            "exec /usr/bin/dash startup",
            "exec /usr/bin/node startup",
            "discovered @modelcontextprotocol/server-filesystem by handshake+command_line",
            "discovered weather by handshake+command_line",
            "call 0 initialize ok",
            "open /data/a requested 1",
            "call 1 read ok",
        ]
    );
    assert_eq!(scene.pipeline.standing().servers, 1);
    for pid in [13, 12, 11] {
        scene.exit(pid, 0);
    }
    let end = scene.story();
    assert_eq!(end, ["exit 13 0", "exit 12 0", "exit 11 0", "exited weather"]);
}

#[test]
fn a_server_behind_a_proxy_is_one_of_its_own() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/python3", &["python3", "inner.py"]);
    scene.asked(12, &initialize());
    scene.answered(12, &initialized("inner"));
    scene.call(12, 7, "read", json!({}));
    scene.open(12, "/a");
    assert_eq!(
        scene.effects(),
        [
            // Until it has spoken, it is a process of the server around it.
            "ALERT background_activity medium background x1",
            "exec /usr/bin/python3 background",
            "discovered python3 by handshake",
            "discovered inner by handshake",
            "call 0 initialize ok",
            "open /a covert 7",
        ]
    );
    assert_eq!(scene.pipeline.standing().servers, 2);
    scene.exit(12, 0);
    assert_eq!(scene.effects(), ["exit 12 0", "call 7 read no_response", "exited inner"]);
    scene.exit(11, 0);
    assert_eq!(scene.effects(), ["exit 11 0", "exited weather"]);
}

#[test]
fn a_child_with_pipes_of_its_own_is_the_servers_doing_at_once() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "weather", json!({"city": "Bern"}));
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/git", &["git", "log"]);
    scene.open(12, "/home/me/.ssh/id_rsa");
    assert_eq!(
        scene.effects(),
        [
            "exec /usr/bin/git covert 1",
            "ALERT sensitive_file_read critical covert 1 x1",
            "open /home/me/.ssh/id_rsa covert 1",
        ]
    );
    // Its pipes are of no interest after a while; what it does is.
    scene.wait(31 * SECOND);
    scene.open(12, "/b");
    scene.exit(12, 0);
    assert_eq!(scene.story(), ["open /b covert 1", "exit 12 0"]);
    assert_eq!(scene.pipeline.standing().servers, 1);
}

#[test]
fn the_helper_of_a_server_that_talks_something_else_stays_the_servers() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/git", &["git", "cat-file", "--batch"]);
    scene.forget();
    scene.hears_something_else(12);
    scene.open(12, "/work/.git/HEAD");
    assert_eq!(scene.story(), ["open /work/.git/HEAD background"]);
    let id = scene.watch[&12];
    assert_eq!(scene.instances[&id].inodes, (0, 0), "its channel is not captured any more");
}

/// Alerts of what the server `node server.js` does first, on its own channel.
fn alerts_at_start(chain: &[(&str, &[&str])]) -> Vec<String> {
    let mut scene = Scene::new();
    scene.candidate(11);
    for (below, (exe, argv)) in (12..).zip(chain) {
        scene.spawn(below - 1, below, CHANNEL, exe, argv);
    }
    scene.initialize(11);
    let alert = |line: &String| line.starts_with("ALERT");
    let mut alerts: Vec<String> = scene.story().into_iter().filter(alert).collect();
    scene.call(11, 1, "t", json!({}));
    scene.spawn(11, 30, CHANNEL, "/usr/bin/dash", &["sh", "-c", "evil"]);
    scene.result(11, 1);
    alerts.extend(scene.story().into_iter().filter(alert));
    alerts
}

#[test]
fn a_server_does_not_explain_its_own_deeds_by_doing_them_at_start() {
    let (startup, covert) =
        ("ALERT shell_spawn critical startup x1", "ALERT shell_spawn high covert 1 x1");
    let sh: (&str, &[&str]) = ("/usr/bin/dash", &["sh", "-c", "evil"]);
    assert_eq!(alerts_at_start(&[sh]), [startup, covert]);
    // Not by a launcher it starts itself either.
    let env: (&str, &[&str]) = ("/usr/bin/env", &["env", "sh", "-c", "evil"]);
    assert_eq!(alerts_at_start(&[env, sh]), [startup, covert]);
    let npx: (&str, &[&str]) = ("/usr/bin/node", &["node", "/usr/bin/npx", "-y", "evil"]);
    assert_eq!(alerts_at_start(&[npx, sh]), [startup, covert]);
    assert_eq!(alerts_at_start(&[]), [covert]);
    // Nor with the command line it was started with itself, nor over pipes of its own.
    for in_place in [true, false] {
        let mut scene = Scene::new();
        scene.candidate(11);
        scene.exec(11, "/home/me/evil/env", &["node", "server.js"]);
        scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/env", &["env", "sh", "-c", "evil"]);
        if in_place {
            scene.exec(12, "/usr/bin/dash", &["sh", "-c", "evil"]);
        } else {
            scene.spawn(12, 13, OTHER_CHANNEL, "/usr/bin/dash", &["sh", "-c", "evil"]);
        }
        scene.initialize(11);
        let story = scene.story();
        assert!(story.iter().any(|line| line == startup), "{in_place}: {story:?}");
    }
}

#[test]
fn launchers_and_scripts_explain_what_they_start() {
    for chain in [
        [
            ("/usr/bin/timeout", &["timeout", "600", "npx", "-y", "weather"][..]),
            ("/usr/bin/node", &["node", "/usr/bin/npx", "-y", "weather"]),
            ("/usr/bin/dash", &["sh", "-c", "weather"]),
        ],
        [
            ("/usr/bin/node", &["node", "/usr/bin/npx", "-y", "weather"][..]),
            ("/usr/bin/dash", &["sh", "-c", "weather"]),
            ("/usr/bin/node", &["node", "/home/me/.npm/_npx/1/weather"]),
        ],
        [
            ("/usr/bin/bash", &["bash", "/home/me/.pyenv/shims/python", "server.py"]),
            ("/usr/bin/bash", &["bash", "/home/me/.pyenv/libexec/pyenv", "exec", "python"]),
            ("/usr/bin/python3", &["python", "server.py"]),
        ],
        [
            ("/usr/bin/bash", &["bash", "/opt/start.sh"]),
            ("/usr/bin/dash", &["sh", "-c", "exec /opt/server"]),
            ("/opt/server", &["/opt/server"]),
        ],
    ] {
        let mut scene = Scene::new();
        scene.fork(CLIENT, 11);
        scene.tasks.get_mut(&11).unwrap().stdio = CHANNEL;
        for (exe, argv) in chain {
            scene.exec(11, exe, argv);
        }
        scene.initialize(11);
        let story = scene.story();
        assert!(!story.iter().any(|line| line.starts_with("ALERT")), "{story:?}");
        let mut scene = Scene::new();
        for (pid, parent, (exe, argv)) in
            [(11, CLIENT, chain[0]), (12, 11, chain[1]), (13, 12, chain[2])]
        {
            scene.spawn(parent, pid, CHANNEL, exe, argv);
        }
        scene.initialize(13);
        let story = scene.story();
        assert!(!story.iter().any(|line| line.starts_with("ALERT")), "{story:?}");
        // Below an agent that is run over pipes itself, and is no server.
        let mut scene = Scene::new();
        scene.spawn(CLIENT, 10, OTHER_CHANNEL, "/usr/bin/node", &["node", "agent.js"]);
        for (pid, parent, (exe, argv)) in
            [(11, 10, chain[0]), (12, 11, chain[1]), (13, 12, chain[2])]
        {
            scene.spawn(parent, pid, CHANNEL, exe, argv);
        }
        scene.initialize(13);
        let story = scene.story();
        assert!(story.iter().any(|line| line.starts_with("call 0")), "{story:?}");
        assert!(!story.iter().any(|line| line.starts_with("ALERT")), "{story:?}");
    }
}

#[test]
fn a_package_with_the_name_of_a_launcher_is_no_launcher() {
    type Chain<'a> = &'a [(&'a str, &'a [&'a str])];
    const NPX: &str = "/home/me/.npm/_npx/1/node_modules/.bin/npx";
    const UVX: &str = "/home/me/.cache/uv/archive-v0/1/bin/uvx";
    let npx: &[&str] = &["node", "/usr/bin/npx", "-y", "evil", "/home/me/docs"];
    let chains: [Chain<'_>; 5] = [
        &[
            ("/usr/bin/node", npx),
            ("/usr/bin/dash", &["sh", "-c", "npx /home/me/docs"]),
            ("/usr/bin/env", &["env", "node", NPX, "/home/me/docs"]),
            ("/usr/bin/node", &["node", NPX, "/home/me/docs"]),
        ],
        &[
            ("/usr/bin/bash", &["bash", "/opt/start.sh"]),
            ("/usr/bin/node", npx),
            ("/usr/bin/dash", &["sh", "-c", "npx /home/me/docs"]),
            ("/home/me/.npm/_npx/1/node_modules/evil/npx", &["npx", "/home/me/docs"]),
        ],
        // Once more, by the name it has.
        &[
            ("/usr/bin/node", npx),
            ("/usr/bin/dash", &["sh", "-c", "npx /home/me/docs"]),
            ("/usr/bin/node", &["node", NPX, "/home/me/docs"]),
            ("/usr/bin/node", &["npx", "/home/me/docs"]),
        ],
        &[
            ("/home/me/.local/bin/uvx", &["uvx", "evil", "/home/me/docs"]),
            ("/home/me/.local/bin/uv", &["uv", "tool", "uvx", "evil", "/home/me/docs"]),
            ("/usr/bin/python3.12", &["python", UVX, "/home/me/docs"]),
        ],
        &[
            ("/usr/bin/python3.12", &["python3", "/usr/bin/pipx", "run", "--spec", "evil", "uvx"]),
            (
                "/usr/bin/python3.12",
                &["/home/me/.cache/pipx/1/bin/python", "/home/me/.cache/pipx/1/bin/uvx"],
            ),
        ],
    ];
    for chain in chains {
        // Each below the one before, or in its place.
        for in_place in [false, true] {
            let mut scene = Scene::new();
            let mut server = 11;
            scene.spawn(CLIENT, server, CHANNEL, chain[0].0, chain[0].1);
            for (exe, argv) in &chain[1..] {
                if in_place {
                    scene.exec(server, exe, argv);
                } else {
                    scene.spawn(server, server + 1, CHANNEL, exe, argv);
                    server += 1;
                }
            }
            scene.connect(server, [203, 0, 113, 81], 443);
            scene.spawn(server, 30, CHANNEL, "/usr/bin/dash", &["sh", "-c", "evil"]);
            scene.initialize(server);
            let story = scene.story();
            let mut alerts: Vec<&str> = story
                .iter()
                .filter_map(|line| line.strip_prefix("ALERT ")?.split(' ').next())
                .collect();
            alerts.sort_unstable();
            assert_eq!(alerts, ["shell_spawn", "unexpected_egress"], "{chain:?}: {story:?}");
        }
    }
}

#[test]
fn what_children_with_pipes_did_before_the_handshake_is_the_servers_startup() {
    // They come and go, talk something else, or are silent: each founds an instance of its own.
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/dash", &["sh", "-c", "curl x"]);
    scene.open(12, "/one");
    scene.exit(12, 0);
    scene.spawn(11, 13, (301, 302), "/usr/bin/cat", &["cat"]);
    scene.open(13, "/two");
    scene.hears_something_else(13);
    scene.open(13, "/three");
    scene.spawn(11, 14, (401, 402), "/usr/bin/cat", &["cat"]);
    scene.open(14, "/four");
    assert_eq!(scene.story(), [""; 0]);
    scene.initialize(11);
    let story = scene.effects();
    assert_eq!(
        story,
        [
            "discovered node by handshake",
            "exec /usr/bin/node startup",
            "ALERT shell_spawn critical startup x1",
            "exec /usr/bin/dash startup",
            "open /one startup",
            "exit 12 0",
            "exec /usr/bin/cat startup",
            "open /two startup",
            "open /three startup",
            "exec /usr/bin/cat startup",
            "open /four startup",
            "discovered weather by handshake",
            "call 0 initialize ok",
        ]
    );
    scene.open(13, "/five");
    scene.open(14, "/six");
    assert_eq!(scene.story(), ["open /five background", "open /six background"]);
    for pid in [11, 13, 14] {
        scene.exit(pid, 0);
    }
    assert_eq!(scene.story().last().unwrap(), "exited weather");
}

#[test]
fn a_server_below_a_program_that_is_none_keeps_what_it_did() {
    // An agent that is run over pipes, as in a build, and starts a server.
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/python3", &["python3", "server.py"]);
    scene.open(12, "/a");
    scene.hears_something_else(11);
    scene.initialize(12);
    assert_eq!(
        scene.effects(),
        [
            "discovered python3 by handshake",
            "exec /usr/bin/python3 startup",
            "open /a startup",
            "discovered weather by handshake",
            "call 0 initialize ok",
        ]
    );
    assert!(!scene.watch.contains_key(&11));
}

#[test]
fn helpers_of_a_candidate_are_dropped_with_it() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/cat", &["cat"]);
    scene.hears_something_else(12);
    assert_eq!(scene.watch.len(), 2, "its elder may be a server yet");
    scene.hears_something_else(11);
    assert!(scene.watch.is_empty() && scene.instances.is_empty());
}

#[test]
fn a_server_that_runs_already_is_found_and_followed_from_the_middle() {
    let mut scene = Scene::new();
    scene.was_running(CLIENT, 11, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    scene.was_running(11, 12, CHANNEL, "/usr/bin/node", &["node", "worker.js"]);
    scene.config("files", "node", &["server.js"]);
    scene.look();
    assert_eq!(scene.story(), ["discovered files by config"]);
    assert_eq!(scene.watch.keys().copied().collect::<Vec<_>>(), [11, 12]);
    assert!(scene.actions.contains(&Action::LookAgain), "it may have forked meanwhile");
    // The end of a line begun before the watch, an answer to a call never seen, then a call.
    scene.reads(11, b"ction\": \"x\"}}\n");
    scene.result(11, 3);
    scene.open(12, "/a");
    scene.call(11, 4, "read", json!({"path": "/b"}));
    scene.open(12, "/b");
    scene.result(11, 4);
    assert_eq!(
        scene.story(),
        [
            "message \"joined_mid_stream\"",
            "open /a background",
            "open /b requested 4",
            "call 4 read ok",
        ],
        "it has been asked before, so that is no startup"
    );
}

#[test]
fn a_running_candidate_becomes_a_server_by_what_it_says() {
    let mut scene = Scene::new();
    scene.was_running(CLIENT, 11, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    scene.look();
    assert_eq!(scene.pipeline.standing().candidates, 1);
    scene.call(11, 4, "read", json!({"path": "/b"}));
    scene.open(11, "/b");
    assert_eq!(scene.story(), [""; 0], "a request alone could be anybody's");
    scene.result(11, 4);
    assert_eq!(
        scene.story(),
        ["discovered node by handshake", "open /b requested 4", "call 4 read ok"]
    );
}

#[test]
fn a_second_look_adds_what_was_forked_between() {
    let mut scene = Scene::new();
    scene.was_running(CLIENT, 11, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    scene.config("files", "node", &["server.js"]);
    scene.look();
    scene.was_running(11, 12, CHANNEL, "/usr/bin/node", &["node", "worker.js"]);
    scene.look();
    assert!(scene.watch.contains_key(&12));
    scene.open(12, "/a");
    assert_eq!(scene.story(), ["discovered files by config", "open /a background"]);
    let looks =
        |scene: &Scene| scene.actions.iter().filter(|action| **action == Action::LookAgain).count();
    let before = looks(&scene);
    scene.look();
    assert_eq!(looks(&scene), before, "looking ends when nothing new was found");
}

#[test]
fn a_fork_unseen_is_found_below_a_server_whose_founder_has_gone() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.fork(11, 12);
    let server = scene.watch[&12];
    scene.exit(11, 0);
    scene.was_running(12, 13, CHANNEL, "/usr/bin/node", &["node", "worker.js"]);
    scene.forget();
    scene.look();
    assert_eq!(scene.watch.get(&13), Some(&server));
    scene.open(13, "/a");
    assert_eq!(scene.story(), ["open /a background"], "no second server, nor a second name");
}

#[test]
fn a_fork_unseen_belongs_to_what_its_parent_belongs_to() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/python3", &["python3", "worker.py"]);
    let (server, worker) = (scene.watch[&11], scene.watch[&12]);
    assert_ne!(server, worker);
    scene.was_running(12, 13, TERMINAL, "/usr/bin/python3", &["python3", "worker.py"]);
    scene.was_running(11, 14, TERMINAL, "/usr/bin/node", &["node", "server.js"]);
    scene.look();
    assert_eq!((scene.watch.get(&13), scene.watch.get(&14)), (Some(&worker), Some(&server)));
}

#[test]
fn the_settings_name_a_server_without_a_channel() {
    let mut scene = Scene::with("[[server]]\nname = \"mine\"\nexe = \"/opt/mine\"");
    scene.spawn(CLIENT, 11, TERMINAL, "/opt/mine", &["mine"]);
    scene.open(11, "/a");
    let story = scene.story();
    assert_eq!(story.first().map(String::as_str), Some("discovered mine by explicit"), "{story:?}");
    assert_eq!(story.last().map(String::as_str), Some("open /a startup"), "{story:?}");
}

#[test]
fn a_start_script_may_run_many_tools_before_the_server() {
    let settings = "[[server]]\nname = \"mine\"\nexe = \"/opt/mine\"\n\
        [server.allow]\negress = [\"203.0.113.81\"]";
    let script: (&str, &[&str]) = ("/usr/bin/bash", &["bash", "/work/start.sh"]);
    let by_env: (&str, &[&str]) = ("/usr/bin/env", &["env", "bash", "/work/start.sh"]);
    for chain in [&[script][..], &[by_env, script]] {
        let mut scene = Scene::with(settings);
        scene.spawn(CLIENT, 11, CHANNEL, chain[0].0, chain[0].1);
        for (exe, argv) in &chain[1..] {
            scene.exec(11, exe, argv);
        }
        for pid in 20..29 {
            let folder = format!("/work/{pid}");
            scene.spawn(11, pid, CHANNEL, "/usr/bin/dirname", &["dirname", &folder]);
            scene.exit(pid, 0);
        }
        scene.exec(11, "/opt/mine", &["mine"]);
        scene.connect(11, [203, 0, 113, 81], 443);
        scene.initialize(11);
        let story = scene.effects();
        assert!(story[0].starts_with("discovered mine by explicit"), "{story:?}");
        assert!(!story.iter().any(|line| line.starts_with("ALERT")), "{story:?}");
        let programs = &scene.pipeline.instances.values().next().unwrap().programs;
        assert_eq!(programs.len(), 8);
        let kept: Vec<&str> =
            programs.iter().take(chain.len()).map(|program| program.exe.as_str()).collect();
        let began: Vec<&str> = chain.iter().map(|(exe, _)| *exe).collect();
        assert_eq!(kept, began);
    }
}

#[test]
fn a_start_script_keeps_its_name_whatever_shells_it_runs() {
    let mut scene = Scene::new();
    scene.config("mine", "/work/start.sh", &[]);
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/env", &["env", "bash", "/work/start.sh"]);
    scene.exec(11, "/usr/bin/bash", &["bash", "/work/start.sh"]);
    for pid in 20..32 {
        let task = format!("test -e /work/{pid}");
        scene.spawn(11, pid, CHANNEL, "/usr/bin/dash", &["sh", "-c", &task]);
        scene.exit(pid, 0);
    }
    scene.spawn(11, 40, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    scene.initialize(40);
    let mut story = scene.effects();
    story.retain(|line| line.starts_with("discovered"));
    assert!(!story.is_empty());
    assert!(story.iter().all(|line| line.starts_with("discovered mine ")), "{story:?}");
}

#[test]
fn a_process_that_uses_a_pid_again_is_another() {
    let mut scene = Scene::new();
    scene.server(11);
    let first = scene.watch[&11];
    scene.exit(11, 0);
    scene.forget();
    scene.wait(SECOND);
    scene.server(11);
    assert_ne!(scene.watch[&11], first);
    scene.call(11, 1, "read", json!({}));
    scene.open(11, "/a");
    let record = scene.of_type("file.open")[0].clone();
    assert_eq!(record["call"]["id"], 1);
    let start = scene.tasks[&11].start_time / (10 * MILLISECOND);
    assert_eq!(record["process"]["entity_id"], format!("11-{start}"));
    assert_eq!(record["server"]["id"], record["process"]["entity_id"]);
}

#[test]
fn a_pid_used_again_before_its_exit_was_seen_inherits_nothing() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "read", json!({}));
    // The exit event was lost; the kernel's own watch set has forgotten the process.
    scene.watch.remove(&11);
    scene.wait(SECOND);
    scene.spawn(CLIENT, 11, TERMINAL, "/usr/bin/ls", &["ls"]);
    assert_eq!(scene.story(), [""; 0], "the new process is nobody's");
}

#[test]
fn where_a_servers_child_says_its_home_is_is_not_believed() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.spawn(11, 12, (900, 901), "/usr/bin/python3", &["python3", "tool.py"]);
    scene.spawn(CLIENT, 13, (902, 903), "/usr/bin/python3", &["python3", "tool.py"]);
    let mut believed = Vec::new();
    for action in &scene.actions {
        if let Action::LookForConfigs { pid, of_server } = action {
            believed.push((*pid, !of_server));
        }
    }
    assert_eq!(believed, [(11, true), (12, false), (13, true)]);
}

#[test]
fn servers_of_all_configurations_are_bounded_and_the_rest_is_told_of() {
    let mut scene = Scene::new();
    let path = |file: usize| format!("/home/me/{file}/.cursor/mcp.json");
    let read = |scene: &mut Scene, file: usize, owner: &str| {
        let entry = |number: usize| (number.to_string(), json!({"command": "x"}));
        let servers: serde_json::Map<String, Value> = (0..1_000).map(entry).collect();
        scene.input(Input::Config(ConfigFile {
            path: path(file),
            client: "cursor".into(),
            owner: owner.into(),
            format: Format::Json,
            keys: vec!["mcpServers".into()],
            text: json!({"mcpServers": servers}).to_string().into_bytes(),
        }));
    };
    let kept = |scene: &Scene| scene.pipeline.configured.servers().len();
    for file in 0..2 {
        read(&mut scene, file, "1000");
    }
    assert_eq!((kept(&scene), scene.story()), (2_000, vec![]));
    read(&mut scene, 2, "1000");
    assert_eq!(kept(&scene), SERVERS / 2);
    let warnings = scene.of_type("status");
    let message = warnings[0]["status"]["message"].as_str().unwrap().to_owned();
    assert_eq!((warnings.len(), warnings[0]["status"]["state"].as_str()), (1, Some("warning")));
    assert!(message.starts_with(&path(2)), "{message}");
    assert!(message.contains("952 of this one are not looked at"), "{message}");
    scene.forget();
    read(&mut scene, 3, "1001");
    assert_eq!((kept(&scene), scene.story()), (SERVERS / 2 + 1_000, vec![]), "others have room");
    scene.input(Input::ConfigGone { path: path(0) });
    scene.input(Input::ConfigGone { path: path(3) });
    read(&mut scene, 2, "1000");
    assert_eq!((kept(&scene), scene.story()), (2_000, vec![]));
}

#[test]
fn nothing_falls_out_of_a_server_by_depth() {
    let mut scene = Scene::new();
    scene.server(11);
    let deepest = 11 + 3 * u32::try_from(crate::pipeline::candidates::NESTING).unwrap();
    for pid in 12..=deepest {
        let stdio = (u64::from(pid) * 10, u64::from(pid) * 10 + 1);
        scene.spawn(pid - 1, pid, stdio, "/usr/bin/python3", &["python3", "deeper.py"]);
    }
    scene.forget();
    scene.call(11, 4, "work", json!({}));
    scene.hears_something_else(deepest);
    scene.open(deepest, "/home/me/.ssh/id_rsa");
    assert_eq!(scene.of_type("alert").len(), 1, "{:?}", scene.story());
    assert!(!scene.actions.iter().any(|action| matches!(action, Action::Forget { .. })));
}

#[test]
fn what_a_running_server_had_started_is_within_it() {
    let mut scene = Scene::with("[[server]]\nname = \"trusted\"\n");
    scene.config("trusted", "python3", &["tool.py"]);
    scene.was_running(CLIENT, 11, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    scene.was_running(11, 12, (900, 901), "/usr/bin/python3", &["python3", "tool.py"]);
    scene.look();
    let names = |scene: &Scene| -> Vec<String> {
        let found = scene.of_type("server.discovered");
        found.iter().map(|one| one["server"]["name"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(names(&scene), ["trusted"], "what is around it may be a client");
    scene.forget();
    scene.initialize(11);
    scene.initialize(12);
    let names = names(&scene);
    assert!(names.len() >= 2 && !names.contains(&"trusted".to_owned()), "{names:?}");
}
