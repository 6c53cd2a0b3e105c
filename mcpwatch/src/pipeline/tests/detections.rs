//! Detections that rest on more than one event: what came before, what the tools promise, where the server
//! may go.

use serde_json::json;

use super::*;

const WRITE: u32 = (libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC).cast_unsigned();

/// Rule and object of the alerts told so far, which are forgotten.
fn alerts(scene: &mut Scene) -> Vec<String> {
    let mut story = scene.story();
    story.retain(|line| line.starts_with("ALERT"));
    story
}

/// The server lists one tool with these annotations.
fn lists(scene: &mut Scene, pid: u32, id: u64, annotations: &Value) {
    scene.asked(pid, &json!({"jsonrpc": "2.0", "id": id, "method": "tools/list"}));
    let tools = json!([{"name": "search", "inputSchema": {}, "annotations": annotations}]);
    scene.answered(pid, &json!({"jsonrpc": "2.0", "id": id, "result": {"tools": tools}}));
}

fn sets_ids(scene: &mut Scene, pid: u32, operation: wire::Operation, result: i64, ids: [u32; 3]) {
    let [first, second, third] = ids.map(u64::from);
    let body = wire::Syscall {
        operation: operation as u16,
        pid_level: 0,
        target_pid: 0,
        values: [first, second, third, 0],
        first: wire::Place::default(),
        second: wire::Place::default(),
    };
    scene.send(Kind::Privilege, pid, result, bytemuck::bytes_of(&body), b"");
}

#[test]
fn the_alert_in_the_documentation_is_one_that_is_raised() {
    let mut scene = Scene::new();
    scene.config("filesystem", "node", &["server.js"]);
    scene.server(11);
    scene.call(11, 2, "read_text_file", json!({"path": "/home/ada/project/link-to-key"}));
    scene.open(11, "/home/ada/.ssh/id_rsa");
    let documentation = include_str!("../../../../docs/events.md");
    let section = documentation.split("### `alert`").nth(1).unwrap();
    let example = section.split("```").nth(1).unwrap().trim_start_matches("json");
    let example: Value = serde_json::from_str(example).unwrap();
    let example = example["alert"].to_string().replace("(pid 4251)", "(pid 11)");
    assert_eq!(example, scene.of_type("alert")[0]["alert"].to_string());
}

#[test]
fn a_configuration_is_one_wherever_discovery_or_the_settings_found_it() {
    let mut scene = Scene::with("[discovery]\nconfig_files = ['/srv/team/servers.json']\n");
    scene.config("filesystem", "node", &["server.js"]);
    scene.server(11);
    let read = |scene: &mut Scene, id: u64, path: &str| {
        scene.call(11, id, "read_text_file", json!({"path": "/nothing"}));
        scene.open(11, path);
        let found = alerts(scene);
        scene.result(11, id);
        found
    };
    assert_eq!(read(&mut scene, 2, "/opt/codex/config.toml"), [""; 0]);
    scene.input(Input::ConfigPlace {
        path: "/opt/codex/config.toml".into(),
        client: "codex".into(),
    });
    scene.input(Input::Config(ConfigFile {
        path: "/opt/codex/work.config.toml".into(),
        client: "codex".into(),
        owner: "1000".into(),
        format: Format::Toml,
        keys: vec!["mcp_servers".into()],
        text: Vec::new(),
    }));
    let paths = ["/srv/team/servers.json", "/opt/codex/config.toml", "/opt/codex/work.config.toml"];
    for (id, path) in (3..).zip(paths) {
        let expected = format!("ALERT mcp_config_read high covert {id} x1");
        assert_eq!(read(&mut scene, id, path), [expected], "{path}");
    }
    // The client looks there again.
    scene.input(Input::ConfigGone { path: "/opt/codex/work.config.toml".into() });
    scene.call(11, 9, "read_text_file", json!({"path": "/nothing"}));
    scene.open_for(11, "/opt/codex/work.config.toml", WRITE);
    assert_eq!(alerts(&mut scene), ["ALERT mcp_config_write critical covert 9 x1"]);
}

#[test]
fn who_has_given_up_root_is_not_root_any_more() {
    const KEPT: u32 = u32::MAX;
    let back = "ALERT privilege_change critical covert 1 x1";
    for (operation, ids, leaves) in [
        (wire::Operation::Setuid, [1234, 0, 0], true),
        (wire::Operation::Setreuid, [1234, 1234, 0], true),
        (wire::Operation::Setresuid, [1234, 1234, 1234], true),
        // For a while only: the real one stays.
        (wire::Operation::Setresuid, [KEPT, 1234, KEPT], false),
    ] {
        for result in [0, -i64::from(libc::EPERM)] {
            let mut scene = Scene::new();
            scene.uid = 0;
            scene.server(11);
            scene.call(11, 1, "work", json!({}));
            sets_ids(&mut scene, 11, operation, result, ids);
            assert_eq!(alerts(&mut scene), [""; 0], "root may: {operation:?}");
            scene.fork(11, 12);
            scene.forget();
            sets_ids(&mut scene, 12, wire::Operation::Setresuid, 0, [0, 0, 0]);
            let left = leaves && result == 0;
            let shown = scene.of_type("process.privilege")[0]["process"]["uid"].clone();
            assert_eq!(shown, if left { 1234 } else { 0 }, "{operation:?} {ids:?} {result}");
            let expected: &[&str] = if left { &[back] } else { &[] };
            assert_eq!(alerts(&mut scene), expected, "{operation:?} {ids:?} {result}");
        }
    }
}

#[test]
fn a_tool_is_held_to_what_it_promised_when_the_call_began() {
    let mut scene = Scene::new();
    scene.server(11);
    lists(&mut scene, 11, 1, &json!({"readOnlyHint": true}));
    scene.call(11, 2, "search", json!({"words": "x"}));
    // The promise is taken back too late.
    lists(&mut scene, 11, 3, &json!({"readOnlyHint": false}));
    scene.open_for(11, "/srv/index", WRITE);
    scene.open_for(11, "/srv/index.old", WRITE);
    assert_eq!(alerts(&mut scene), ["ALERT annotation_lie high covert 2 x1"]);
    scene.result(11, 2);
    assert_eq!(alerts(&mut scene), ["ALERT annotation_lie high covert 2 x2"]);
    scene.call(11, 4, "search", json!({"words": "x"}));
    scene.open_for(11, "/srv/index", WRITE);
    assert_eq!(alerts(&mut scene), [""; 0], "this call was promised nothing");
}

#[test]
fn with_several_calls_in_flight_only_lineage_or_mention_accuses() {
    let mut scene = Scene::new();
    scene.server(11);
    lists(&mut scene, 11, 1, &json!({"readOnlyHint": true}));
    scene.call(11, 2, "search", json!({"words": "x"}));
    scene.fork(11, 12);
    scene.call(11, 3, "search", json!({"words": "y"}));
    scene.open_for(11, "/srv/a", WRITE);
    assert_eq!(alerts(&mut scene), [""; 0]);
    scene.open_for(12, "/srv/a", WRITE);
    assert_eq!(alerts(&mut scene), ["ALERT annotation_lie high covert 2 x1"]);
}

#[test]
fn what_a_call_leaves_behind_is_told_once_for_each_process() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "index", json!({}));
    scene.fork(11, 12);
    scene.fork(11, 13);
    scene.open(12, "/srv/during");
    scene.result(11, 1);
    // It may be about to end.
    scene.open(12, "/srv/ending");
    assert_eq!(alerts(&mut scene), [""; 0]);
    scene.wait(SECOND);
    for path in ["/srv/a", "/srv/b", "/usr/lib/c"] {
        scene.open(12, path);
        scene.open(13, path);
    }
    scene.wait(2 * SECOND);
    let one = "ALERT outlives_call medium covert 1 x1";
    assert_eq!(alerts(&mut scene), [one, one]);
    // A worker that a later call puts to work is not left over.
    scene.call(11, 2, "read", json!({"path": "/srv/c"}));
    scene.open(12, "/srv/c");
    assert_eq!(alerts(&mut scene), [""; 0]);
}

#[test]
fn a_daemon_started_before_the_first_request_is_no_leftover() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.fork(11, 12);
    scene.initialize(11);
    scene.call(11, 1, "index", json!({}));
    scene.result(11, 1);
    scene.wait(SECOND);
    scene.open(12, "/srv/a");
    assert_eq!(alerts(&mut scene), [""; 0]);
}

#[test]
fn a_server_is_confined_to_its_own_arguments_and_to_its_clients_roots() {
    let mut scene = Scene::new();
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/node", &["node", "server.js", "/srv/work"]);
    scene.initialize(11);
    scene.call(11, 1, "read", json!({"path": "/srv/work/a"}));
    scene.open(11, "/srv/work/a");
    scene.result(11, 1);
    assert_eq!(alerts(&mut scene), [""; 0]);
    scene.call(11, 2, "read", json!({"path": "/srv/work/../more/a"}));
    scene.open(11, "/srv/more/a");
    scene.result(11, 2);
    assert_eq!(alerts(&mut scene), ["ALERT path_escape high requested 2 x1"]);
    // The client lets it go further.
    scene.answered(11, &json!({"jsonrpc": "2.0", "id": "r", "method": "roots/list"}));
    let roots = json!({"roots": [{"uri": "file:///srv/more"}]});
    scene.asked(11, &json!({"jsonrpc": "2.0", "id": "r", "result": roots}));
    scene.call(11, 3, "read", json!({"path": "/srv/more/a"}));
    scene.open(11, "/srv/more/a");
    scene.open(11, "/srv/work/a");
    assert_eq!(alerts(&mut scene), [""; 0]);
}

#[test]
fn what_a_server_wrote_is_known_when_it_is_executed() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "install", json!({}));
    scene.open_for(11, "/srv/tool", WRITE);
    scene.spawn(11, 12, TERMINAL, "/srv/tool", &["tool"]);
    assert_eq!(alerts(&mut scene), ["ALERT download_exec critical covert 1 x1"]);
}

#[test]
fn what_a_server_within_a_server_wrote_is_known_when_that_executes_it() {
    // Either of the two may be known as a server first.
    for outer_first in [true, false] {
        let mut scene = Scene::new();
        scene.candidate(11);
        if outer_first {
            scene.initialize(11);
        }
        scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/python3", &["python3", "inner.py"]);
        scene.initialize(12);
        assert_eq!(scene.pipeline.standing().servers, if outer_first { 2 } else { 1 });
        scene.call(12, 1, "fetch", json!({}));
        scene.open_for(12, "/srv/tool", WRITE);
        scene.result(12, 1);
        if !outer_first {
            scene.initialize(11);
        }
        scene.exit(12, 0);
        scene.forget();
        scene.call(11, 1, "work", json!({}));
        scene.spawn(11, 13, TERMINAL, "/srv/tool", &["tool"]);
        assert_eq!(alerts(&mut scene), ["ALERT download_exec critical covert 1 x1"]);
        // The other way round.
        scene.open_for(11, "/srv/more", WRITE);
        scene.spawn(11, 14, OTHER_CHANNEL, "/usr/bin/python3", &["python3", "inner.py"]);
        scene.initialize(14);
        scene.forget();
        scene.call(14, 1, "run", json!({}));
        scene.spawn(14, 15, TERMINAL, "/srv/more", &["more"]);
        assert_eq!(alerts(&mut scene), ["ALERT download_exec critical covert 1 x1"]);
        // With the last of them, it is forgotten.
        for pid in [15, 14, 13, 11] {
            scene.exit(pid, 0);
        }
        scene.server(16);
        scene.call(16, 1, "work", json!({}));
        scene.spawn(16, 17, TERMINAL, "/srv/more", &["more"]);
        assert_eq!(alerts(&mut scene), [""; 0]);
    }
}

#[test]
fn what_a_launcher_installs_is_part_of_the_launch() {
    let mut scene = Scene::new();
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/node", &["npx", "-y", "@scope/mcp-server"]);
    // A script of the package builds something and tries it.
    scene.spawn(11, 12, TERMINAL, "/usr/bin/node", &["node", "install.js"]);
    scene.open_for(12, "/srv/npx/bin/tool", WRITE);
    scene.spawn(12, 13, TERMINAL, "/srv/npx/bin/tool", &["tool", "--version"]);
    scene.spawn(11, 14, CHANNEL, "/usr/bin/node", &["node", "/srv/npx/.bin/mcp-server"]);
    scene.initialize(14);
    scene.call(14, 1, "build", json!({}));
    scene.spawn(14, 15, TERMINAL, "/srv/npx/bin/tool", &["tool"]);
    assert_eq!(alerts(&mut scene), [""; 0]);
}

#[test]
fn a_prompt_is_named() {
    let mut scene = Scene::new();
    scene.server(11);
    let params = json!({"name": "review", "arguments": {"file": "/srv/a"}});
    let ask = json!({"jsonrpc": "2.0", "id": 1, "method": "prompts/get", "params": params});
    scene.asked(11, &ask);
    scene.open(11, "/srv/a");
    scene.answered(11, &json!({"jsonrpc": "2.0", "id": 1, "result": {"messages": []}}));
    for kind in ["file.open", "mcp.call"] {
        assert_eq!(scene.of_type(kind)[0]["call"]["prompt"], "review", "{kind}");
        assert_eq!(scene.of_type(kind)[0]["call"].get("tool"), None, "{kind}");
    }
}

#[test]
fn a_standing_subscription_is_the_cause_of_nothing() {
    let mut scene = Scene::new();
    scene.server(11);
    let params = json!({"notifications": ["tools/list_changed"]});
    scene.asked(
        11,
        &json!({"jsonrpc": "2.0", "id": 1, "method": "subscriptions/listen", "params": params}),
    );
    scene.open(11, "/srv/a");
    assert_eq!(scene.of_type("file.open")[0]["relation"], "background");
    scene.forget();
    scene.call(11, 2, "index", json!({}));
    scene.fork(11, 12);
    scene.open(12, "/srv/b");
    assert_eq!(scene.of_type("file.open")[0]["call"]["confidence"], 1.0);
    scene.result(11, 2);
    scene.wait(SECOND);
    scene.open(12, "/srv/c");
    scene.wait(2 * SECOND);
    assert_eq!(alerts(&mut scene), ["ALERT outlives_call medium covert 2 x1"]);
}

#[test]
fn two_names_that_are_exchanged_are_looked_at_both_ways() {
    const EXCHANGE: u64 = libc::RENAME_EXCHANGE as u64;
    let sensitive = "ALERT sensitive_file_read critical covert 1 x1";
    for (first, second, flags, expected) in [
        ("/tmp/x", "/home/a/.aws/credentials", EXCHANGE, &[sensitive][..]),
        ("/home/a/.aws/credentials", "/tmp/x", EXCHANGE, &[sensitive]),
        ("/tmp/x", "/home/a/.aws/credentials", 0, &[]),
        ("/home/a/.bashrc", "/tmp/x", EXCHANGE, &["ALERT persistence_write critical covert 1 x1"]),
    ] {
        let mut scene = Scene::new();
        scene.server(11);
        scene.call(11, 1, "work", json!({}));
        let place = |path: &str| wire::Place {
            flags: wire::PLACE_BASED | wire::BASE_COMPLETE,
            argument_len: u16::try_from(path.len()).unwrap(),
            ..wire::Place::default()
        };
        let body = wire::Syscall {
            operation: wire::Operation::Rename as u16,
            pid_level: 0,
            target_pid: 0,
            values: [flags, 0, 0, 0],
            first: place(first),
            second: place(second),
        };
        let tail = format!("{first}{second}");
        scene.send(Kind::Change, 11, 0, bytemuck::bytes_of(&body), tail.as_bytes());
        let exchanged = &scene.of_type("file.change")[0]["file"]["exchanged"];
        assert_eq!(*exchanged == true, flags == EXCHANGE);
        assert_eq!(alerts(&mut scene), expected, "{first} {second} {flags}");
    }
}
