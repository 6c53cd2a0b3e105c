//! Errors a person can use: each says what, where and what to do, with the documented exit code.

use std::fs;
use std::io::Read;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use mcpwatch_tests::{
    AgentBuilder, Era, Outcome, Scene, Sdk, address, agent_program, check_identity, int,
    request_id, text,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// What is said to those who may not load BPF programs.
const RUN_AS_ROOT: &str =
    "Run it as root (`sudo mcpwatch run`), as the systemd service, or in a privileged container";

#[track_caller]
fn check(outcome: &Outcome, code: i32, parts: &[&str]) {
    assert_eq!(outcome.code, Some(code), "exit code; it said:\n{}", outcome.output);
    for part in parts {
        assert!(
            outcome.output.to_lowercase().contains(&part.to_lowercase()),
            "nothing about `{part}` in:\n{}",
            outcome.output
        );
    }
    assert!(!outcome.output.contains("panicked"), "{}", outcome.output);
    // The system's word stands once, and what to do comes after it.
    for line in outcome.output.lines().filter(|line| line.starts_with("mcpwatch: ")) {
        assert!(line.matches("(os error").count() <= 1, "said twice: {line}");
    }
}

/// A shell script run as root in a mount namespace of its own before the agent is started in it.
fn in_mounts_of_its_own(agent: AgentBuilder, script: &str) -> AgentBuilder {
    agent.by(&["unshare", "--mount", "sh", "-ec", &format!("{script}; exec \"$@\""), "sh"])
}

#[test]
fn not_root() {
    let scene = Scene::new();
    let agent = scene.agent().for_everybody().events("-");
    let outcome =
        agent.by(&["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]).run(PATIENCE);
    check(&outcome, 3, &["mcpwatch may not load BPF programs", "it lacks CAP_BPF", RUN_AS_ROOT]);
}

#[test]
fn a_capability_is_missing() {
    let scene = Scene::new();
    let bounding = "--bounding-set=-bpf,-perfmon,-sys_admin";
    let outcome = scene.agent().by(&["setpriv", bounding]).run(PATIENCE);
    check(&outcome, 3, &["mcpwatch may not load BPF programs", "it lacks CAP_BPF", RUN_AS_ROOT]);
}

#[test]
fn no_btf() {
    let scene = Scene::new();
    let hide = "mount -t tmpfs none /sys/kernel/btf";
    let outcome = in_mounts_of_its_own(scene.agent(), hide).run(PATIENCE);
    check(
        &outcome,
        3,
        &[
            "BTF",
            "/sys/kernel/btf/vmlinux",
            "use a kernel built with CONFIG_DEBUG_INFO_BTF=y",
            "mount sysfs at /sys",
        ],
    );
}

#[test]
fn a_kernel_that_is_too_old() {
    let scene = Scene::new();
    let release = scene.backstage("osrelease");
    fs::write(&release, "5.9.16-old\n").expect("a file can be written");
    let older = format!("mount --bind {} /proc/sys/kernel/osrelease", release.display());
    let outcome = in_mounts_of_its_own(scene.agent(), &older).run(PATIENCE);
    check(
        &outcome,
        3,
        &["this kernel is 5.9.16-old", "5.10 or newer", "update the kernel of this host"],
    );
    // The oldest that is supported is not the obstacle.
    fs::write(&release, "5.10.0-1-oldest\n").expect("a file can be written");
    let agent = in_mounts_of_its_own(scene.agent(), &older).start();
    agent.stop();
}

#[test]
fn a_kernel_that_is_locked_down() {
    let scene = Scene::new();
    // Where the security file system is mounted or not: another takes its place.
    let locked = |modes: &str| {
        format!(
            "mount -t tmpfs none /sys/kernel/security; echo '{modes}' >/sys/kernel/security/lockdown"
        )
    };
    let confidential = locked("none integrity [confidentiality]");
    let outcome = in_mounts_of_its_own(scene.agent(), &confidential).run(PATIENCE);
    check(
        &outcome,
        3,
        &[
            "confidentiality",
            "/sys/kernel/security/lockdown",
            "boot with lockdown=integrity or none",
        ],
    );
    // What `integrity` forbids is nothing the agent does.
    let agent = in_mounts_of_its_own(scene.agent(), &locked("none [integrity] confidentiality"));
    agent.start().stop();
}

#[test]
fn without_cgroup_v2_connections_are_seen_all_the_same() {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&scene.labelled_servers());
    let hide = "for place in $(findmnt --list --noheadings --types cgroup2 --output TARGET); \
                do umount --lazy \"$place\"; done";
    let agent = in_mounts_of_its_own(scene.agent(), hide).start();
    let degraded = agent.find("what is missing", |record| {
        record["status"]["hooks"].as_array().is_some_and(|hooks| {
            hooks.iter().any(|hook| hook["state"] == "missing" && hook["reason"].is_string())
        })
    });
    let hooks = degraded["status"]["hooks"].as_array().expect("hooks");
    let reasons: Vec<&str> = hooks
        .iter()
        .filter(|hook| text(hook, "state") == "missing")
        .map(|hook| text(hook, "reason"))
        .collect();
    let remedy = |reason: &&str| reason.contains("cgroup v2") && reason.contains("mount it");
    assert!(reasons.iter().any(remedy), "what is missing, and what to do: {degraded}");
    let client = scene.client(Sdk::Python);
    client.open(&config, &["labelled-python"], Era::Default);
    for (tool, kind) in
        [("get_quote", "net.connect"), ("get_quote6", "net.connect"), ("send_metrics", "net.send")]
    {
        let result = client.call("labelled-python", tool, json!({}));
        let id = request_id(&result).clone();
        agent.find(&format!("{kind} of {tool}"), |record| {
            text(record, "type") == kind
                && record["call"]["id"] == id
                && [address::WEB, address::WEB_IPV6].contains(&text(record, "net.address"))
        });
    }
    agent.stop();
}

/// What `mcpwatch doctor` says of a hook in a tier: nothing when it works.
fn refusal(hook: &str, tier: &str) -> Option<String> {
    let output = std::process::Command::new(mcpwatch_tests::agent_program())
        .args(["doctor", "--json"])
        .output()
        .expect("the agent can be started");
    let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    let find = |list: &Value, key: &str, wanted: &str| {
        let list = list.as_array().expect("a list");
        list.iter().find(|one| one[key] == wanted).cloned().expect("an entry")
    };
    let way = find(&find(&report["hooks"], "name", hook)["tiers"], "tier", tier);
    assert_eq!(way["works"], way["reason"].is_null(), "{way}");
    way["reason"].as_str().map(str::to_owned)
}

#[test]
fn a_tier_that_does_not_work_here() {
    let scene = Scene::new();
    let Some(reason) = refusal("sys_openat", "fexit") else {
        // Then it can be forced.
        scene.agent().arguments(&["--tier", "fexit"]).start().stop();
        return;
    };
    let forced = scene.agent().arguments(&["--tier", "fexit"]).run(PATIENCE);
    let remedy = "leave the choice to mcpwatch (`tier = \"auto\"` in [kernel], or no --tier), or ask for `tracepoint`";
    check(&forced, 3, &["tier `fexit` was asked for", &reason, remedy, "mcpwatch doctor"]);
    let forced = scene.agent().settings("[kernel]\ntier = \"fexit\"\n").run(PATIENCE);
    check(&forced, 3, &["tier `fexit` was asked for", &reason, remedy]);
    // Left to itself it takes the other, and says why.
    let agent = scene.agent().start();
    agent.find("the hook in the tier that works, with the reason", |record| {
        record["status"]["hooks"].as_array().is_some_and(|hooks| {
            hooks.iter().any(|hook| {
                hook["name"] == "sys_openat"
                    && hook["tier"] == "tracepoint"
                    && hook["state"] != "missing"
                    && text(hook, "reason").contains(&reason)
            })
        })
    });
    agent.stop();
}

#[test]
fn mistakes_in_the_settings() {
    for (settings, parts) in [
        (
            "[capture]\nring_byts = 65536\n",
            &[
                "mcpwatch.toml:2:1: ",
                "capture.ring_byts: unknown key",
                "did you mean `ring_bytes`?",
            ][..],
        ),
        (
            "[capture]\nring_bytes = \"much\"\n",
            &[
                "mcpwatch.toml:2:14: ",
                "capture.ring_bytes: expected a whole number",
                "found a string",
            ],
        ),
        (
            "[capture]\nring_bytes = 1000\n",
            &[
                "mcpwatch.toml:2:14: ",
                "capture.ring_bytes: expected a power of two from 65536 to 1073741824",
                "found 1000",
            ],
        ),
        (
            "[rules]\ndisable = [\"shell_spwan\"]\n",
            &["mcpwatch.toml:2:12: ", "unknown rule `shell_spwan`", "did you mean `shell_spawn`?"],
        ),
        ("[capture\n", &["mcpwatch.toml:1:9: ", "expected `]`"]),
    ] {
        let scene = Scene::new();
        check(&scene.agent().settings(settings).run(PATIENCE), 2, parts);
    }
}

#[test]
fn mistakes_on_the_command_line() {
    for (arguments, parts) in [
        (
            &["--sniff", "sometimes"][..],
            &["'sometimes'", "--sniff", "expected one of auto, always, off"][..],
        ),
        (&["--tier", "best"], &["'best'", "--tier", "expected one of auto, fexit, tracepoint"]),
        (
            &["--config", "/nonexistent/mcpwatch.toml"],
            &[
                "/nonexistent/mcpwatch.toml: cannot be read",
                "name one that is there with `--config FILE`",
            ],
        ),
        (
            &["--frobnicate"],
            &["unexpected argument '--frobnicate'", "Usage: mcpwatch run", "try '--help'"],
        ),
        (
            &["--metrics", "here"],
            &["'here'", "--metrics", "expected ADDRESS:PORT, as in 127.0.0.1:9464, or `off`"],
        ),
        (
            &["--format", "xml"],
            &["`xml` is no output format", "--format", "use one of json, pretty, ocsf"],
        ),
    ] {
        let scene = Scene::new();
        check(&scene.agent().arguments(arguments).run(PATIENCE), 2, parts);
    }
}

#[test]
fn the_metrics_address_is_taken() {
    let scene = Scene::new();
    let taken = TcpListener::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = taken.local_addr().expect("an address").to_string();
    let outcome = scene.agent().arguments(&["--metrics", &address]).run(PATIENCE);
    check(
        &outcome,
        1,
        &[
            &format!("cannot serve metrics on {address}"),
            "another program, perhaps another mcpwatch, has it",
            "choose another address with `--metrics ADDR`",
            "switch metrics off with `--metrics off`",
        ],
    );
}

#[test]
fn the_event_file_cannot_be_made() {
    let scene = Scene::new();
    let path = scene.path("missing/events.jsonl");
    let folder = scene.path("missing");
    check(
        &scene.agent().events(&path).run(PATIENCE),
        1,
        &[
            &format!("cannot write events to {path}"),
            "its folder does not exist",
            &format!("create it: mkdir -p -m 0700 {folder}"),
        ],
    );
}

#[test]
fn a_full_disk_loses_records_and_says_so_until_there_is_room() {
    /// Files opened: their records are ten times what there is room for.
    const FLOOD: i64 = 3_000;
    let scene = Scene::new();
    let path = scene.write("file.txt", "text");
    let config = scene.config(&[("loads", scene.loads_server())]);
    let disk = scene.backstage("disk");
    fs::create_dir(&disk).expect("mkdir");
    let mount = format!("mount -t tmpfs -o size=256k tmpfs {}", disk.display());
    let events = disk.join("events.jsonl");
    let agent =
        in_mounts_of_its_own(scene.agent().metrics(), &mount).events(&events.to_string_lossy());
    let agent = agent.spawn_only();
    // The disk is mounted where only the agent sees it.
    let inside = |path: &std::path::Path| format!("/proc/{}/root{}", agent.pid(), path.display());
    wait_until("the agent is ready", || {
        mcpwatch_tests::http_get(agent.port(), "/readyz").is_ok_and(|(code, _)| code == 200)
    });
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Default);
    client.call("loads", "flood", json!({"path": path, "times": FLOOD}));
    // All of them: what comes later would fill the room that is made.
    wait_until("records are lost for want of room", || {
        let scrape = agent.scrape();
        let lost = scrape.count("mcpwatch_output_records_lost_total", &[("reason", "no_space")]);
        lost > 0 && lost + scrape.count("mcpwatch_output_records_total", &[]) >= FLOOD
    });
    assert_eq!(
        mcpwatch_tests::http_get(agent.port(), "/healthz").expect("the agent answers").0,
        200
    );

    // Nothing is written while there is no room.
    let before = whole_records(&fs::read_to_string(inside(&events)).expect("the event file"));
    let before = int(before.last().expect("there are records"), "seq").expect("a number");
    let file = fs::OpenOptions::new().write(true).open(inside(&events)).expect("the event file");
    file.set_len(0).expect("truncate");
    client.call("loads", "echo", json!({"text": "room again"}));
    let mut written = String::new();
    wait_until("records are written again, and the loss among them", || {
        written.clear();
        let mut file = fs::File::open(inside(&events)).expect("the event file");
        file.read_to_string(&mut written).expect("the event file can be read");
        written.contains("room again") && written.contains("\"no_space\"")
    });
    // The disk goes with the agent that mounted it.
    let mut held_open = fs::File::open(inside(&events)).expect("the event file");
    agent.signal(libc::SIGTERM);
    let outcome = agent.wait(PATIENCE);
    check(
        &outcome,
        0,
        &[
            &format!("cannot write events to {}: ", events.display()),
            "they are lost and counted",
            "free space on its file system, writing goes on by itself",
        ],
    );
    written.clear();
    held_open.read_to_string(&mut written).expect("the event file can be read");
    let after = whole_records(&written);
    let stopped = after.last().expect("there are records");
    check_identity(stopped);
    // As many are said to be lost as there are numbers missing. The rest of the record that was just being written when
    // there was no more room stands at the beginning: it was not lost before its first part was taken away here.
    let newest = int(stopped, "seq").expect("a number");
    let written = i64::try_from(written.lines().count()).expect("a count");
    let missing = newest - before - written;
    let losses = after.iter().filter(|record| text(record, "loss.reason") == "no_space");
    let told = losses.filter_map(|record| int(record, "loss.total")).max();
    assert_eq!(
        told,
        Some(missing),
        "numbers {before} and {newest}, {} records between",
        after.len()
    );
}

/// The records of an event file, but for what is cut at its end.
fn whole_records(written: &str) -> Vec<Value> {
    written.lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
}

#[test]
fn nobody_reads_the_events_any_more() {
    let scene = Scene::new();
    let config = scene.config(&[("loads", scene.loads_server())]);
    let pipe = ["bash", "-c", "set -o pipefail; \"$@\" | head -n 1 >/dev/null", "bash"];
    let agent = scene.agent().events("-").by(&pipe).spawn_only();
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Default);
    // What comes of the first may be written before the reader has gone.
    for _ in 0..20 {
        client.call("loads", "echo", json!({"text": "hello"}));
        thread::sleep(Duration::from_millis(100));
    }
    check(
        &agent.wait(PATIENCE),
        1,
        &[
            "nobody reads the events on stdout any more",
            "keep its reader running, or write the events to a file with `--events FILE`",
        ],
    );
}

#[test]
fn a_broken_client_configuration_is_a_warning_with_its_place() {
    let scene = Scene::new();
    let config = scene.config(&[("loads", scene.loads_server())]);
    // Another client's, which the play does not need.
    let broken =
        scene.write(".codeium/windsurf/mcp_config.json", "{\n  \"mcpServers\": {\n    oops\n");
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Default);
    client.call("loads", "echo", json!({"text": "hello"}));
    let warning = agent.find("a warning about the broken file", |record| {
        text(record, "status.state") == "warning"
            && text(record, "status.message").contains(&broken)
    });
    let message = text(&warning, "status.message");
    assert!(message.contains(&format!("{broken}:3:5: expected ")), "{message}");
    assert!(message.contains("mend it, its servers are unknown until then"), "{message}");
    agent.find("the call", |record| text(record, "call.tool") == "echo");
    agent.stop();
}

/// Everything but reading what one may not read: without these, root is as anybody.
const LIKE_ANYBODY: &[&str] = &["setpriv", "--bounding-set=-dac_override,-dac_read_search"];

#[test]
fn a_client_configuration_that_may_not_be_read_is_a_warning_and_stops_nothing() {
    let scene = Scene::new();
    let config = scene.config(&[("loads", scene.loads_server())]);
    // Another client's, which the play does not need.
    let closed = scene.write(".codeium/windsurf/mcp_config.json", "{\"mcpServers\": {}}");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("chmod");
    // What is in a folder that may not be entered is not even known to be there.
    let folder = scene.home().join(".gemini");
    fs::create_dir(&folder).expect("a folder can be made");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o000)).expect("chmod");
    let folder = folder.to_string_lossy();
    let agent = scene.agent().by(LIKE_ANYBODY).start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Default);
    client.call("loads", "echo", json!({"text": "hello"}));
    for unread in [&*closed, &*folder] {
        let warning = agent.find("a warning about what is closed", |record| {
            text(record, "status.state") == "warning"
                && text(record, "status.message").contains(unread)
        });
        check_unread(text(&warning, "status.message"));
    }
    let call = agent.find("the call", |record| text(record, "call.tool") == "echo");
    assert_eq!(text(&call, "server.name"), "loads", "the other configuration is read");
    agent.stop();

    let shown = shown(&scene, LIKE_ANYBODY, &agent_program());
    check_unread(warning_about(&shown, &closed));
    check_unread(warning_about(&shown, &folder));
    assert_eq!(shown["servers"][0]["name"], "loads", "{shown:#}");
}

#[test]
fn a_client_configuration_of_another_user_is_a_warning_to_who_is_not_root() {
    let scene = Scene::new();
    scene.config(&[("loads", scene.loads_server())]);
    let closed = scene.write(".codeium/windsurf/mcp_config.json", "{\"mcpServers\": {}}");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o000)).expect("chmod");
    // What is in a folder that may not be entered is not even known to be there.
    let folder = scene.home().join(".gemini");
    fs::create_dir(&folder).expect("a folder can be made");
    fs::set_permissions(&folder, fs::Permissions::from_mode(0o700)).expect("chmod");
    // Wherever the workspace stands, everybody may run this one.
    let program = scene.backstage("mcpwatch-of-everybody");
    fs::copy(agent_program(), &program).expect("the agent can be copied");
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let shown = shown(&scene, &nobody, &program);
    check_unread(warning_about(&shown, &closed));
    check_unread(warning_about(&shown, &folder.to_string_lossy()));
    let configured = shown["configured"].as_array().expect("a list");
    assert!(configured.iter().any(|one| one["name"] == "loads"), "{shown:#}");
}

#[test]
fn a_pipe_in_the_place_of_a_client_configuration_is_a_warning() {
    let scene = Scene::new();
    scene.config(&[("loads", scene.loads_server())]);
    let pipe = scene.write(".codeium/windsurf/mcp_config.json", "");
    fs::remove_file(&pipe).expect("it was just made");
    let made = Command::new("mkfifo").arg(&pipe).status().expect("coreutils are installed");
    assert!(made.success());
    // Whoever opened it would wait for a writer.
    let shown = shown(&scene, &[], &agent_program());
    let warning = warning_about(&shown, &pipe);
    assert!(warning.contains("not a regular file"), "{warning}");
    assert!(warning.contains("until a file is there that can be"), "{warning}");
    let configured = shown["configured"].as_array().expect("a list");
    assert!(configured.iter().any(|one| one["name"] == "loads"), "{shown:#}");
}

/// What is wrong with the file, and what to do.
#[track_caller]
fn check_unread(message: &str) {
    assert!(message.contains("cannot be read: permission denied"), "{message}");
    let remedy = "root, and who has CAP_DAC_READ_SEARCH, sees every user's files";
    assert!(message.contains(remedy), "{message}");
}

/// `mcpwatch servers --json` in a scene and its home, started by a wrapper.
fn shown(scene: &Scene, wrapper: &[&str], program: &Path) -> Value {
    let settings = scene.backstage("servers.toml");
    let text = format!("[discovery]\nhomes = [\"{}\"]\n", scene.home().display());
    fs::write(&settings, text).expect("a file can be written");
    let (settings, program) = (settings.to_string_lossy(), program.to_string_lossy());
    let anchor = scene.anchor_pid().to_string();
    let own = [&*program, "servers", "--json", "--descendants-of", &anchor, "--config", &settings];
    let argv: Vec<&str> = wrapper.iter().copied().chain(own).collect();
    let done = Command::new(argv[0]).args(&argv[1..]).output().expect("it can be started");
    assert!(done.status.success(), "{argv:?}: {}", String::from_utf8_lossy(&done.stderr));
    serde_json::from_slice(&done.stdout).expect("JSON")
}

#[track_caller]
fn warning_about<'a>(shown: &'a Value, path: &str) -> &'a str {
    let warnings = shown["warnings"].as_array().expect("a list");
    let mut texts = warnings.iter().filter_map(Value::as_str);
    texts
        .find(|text| text.contains(path))
        .unwrap_or_else(|| panic!("no warning about {path}: {shown:#}"))
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = std::time::Instant::now() + PATIENCE;
    while !done() {
        assert!(std::time::Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}
