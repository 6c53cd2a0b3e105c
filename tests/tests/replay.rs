//! A recording replayed gives the records it gave live, byte for byte.

use std::process::Command;

use mcpwatch_tests::{Era, Scene, Sdk, agent_program, said, text};
use serde_json::json;

#[test]
fn a_recording_gives_the_same_records() {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let mut servers = scene.labelled_servers();
    servers.push(("loads", scene.loads_server()));
    let config = scene.config(&servers);
    let recording = scene.backstage("recording");
    let agent = scene.agent().arguments(&["--record", &recording.to_string_lossy()]).start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Default);
    for (server, _) in &servers {
        client.request(server, "tools/list", json!({}));
    }
    for (server, _) in scene.labelled_servers() {
        for tool in
            ["get_weather", "get_time", "get_quote", "get_news", "check_updates", "refresh_cache"]
        {
            let result = client.call(server, tool, json!({}));
            assert_ne!(result["isError"], true, "{server} {tool}: {}", said(&result));
        }
    }
    client.call("loads", "blob", json!({"bytes": 3_000_000}));
    client.begin("loads", "die", json!({})).outcome().expect_err("nobody answers");
    client.close(&[]);
    agent.find("the end of the last server", |record| {
        text(record, "type") == "server.exited" && text(record, "server.name") != "loads"
    });
    agent.settle(std::time::Duration::from_secs(1));
    agent.stop();

    let live = std::fs::read_to_string(scene.backstage("events.jsonl")).expect("the event file");
    for attempt in 0..2 {
        let replayed = Command::new(agent_program())
            .arg("replay")
            .arg(&recording)
            .output()
            .expect("the agent can be started");
        let problem = String::from_utf8_lossy(&replayed.stderr);
        assert!(replayed.status.success(), "{}: {problem}", replayed.status);
        let replayed = String::from_utf8(replayed.stdout).expect("records are UTF-8");
        for (live, replayed) in live.lines().zip(replayed.lines()) {
            assert_eq!(live, replayed, "attempt {attempt}");
        }
        assert_eq!(live.len(), replayed.len(), "attempt {attempt}");
    }
}

#[test]
fn a_recording_is_replayed_without_root() {
    let scene = Scene::new();
    let config = scene.config(&[("loads", scene.loads_server())]);
    let recording = scene.backstage("recording");
    let agent = scene.agent().arguments(&["--record", &recording.to_string_lossy()]).start();
    let client = scene.client(Sdk::TypeScript);
    client.open(&config, &[], Era::Default);
    client.call("loads", "echo", json!({"text": "hello"}));
    client.close(&[]);
    agent.stop();
    // What a server read may stand in a recording: it is for root's eyes unless root says otherwise.
    let mode = std::os::unix::fs::MetadataExt::mode(&recording.metadata().expect("a recording"));
    assert_eq!(mode & 0o077, 0, "others may read the recording: {mode:o}");
    let public = scene.backstage("public");
    std::fs::copy(&recording, &public).expect("a file can be copied");
    let chmod = |path: &std::path::Path| {
        std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .expect("chmod");
    };
    chmod(&public);
    let program = scene.backstage("mcpwatch");
    std::fs::copy(agent_program(), &program).expect("the agent can be copied");
    chmod(&program);
    let replayed = Command::new("setpriv")
        .args(["--reuid=65534", "--regid=65534", "--clear-groups"])
        .args([&program, std::path::Path::new("replay"), &public])
        .output()
        .expect("setpriv is installed");
    assert!(replayed.status.success(), "{}", String::from_utf8_lossy(&replayed.stderr));
    let records = String::from_utf8_lossy(&replayed.stdout);
    assert!(records.contains("\"echo\""), "{records}");
}

#[test]
fn what_is_no_recording_is_refused() {
    let scene = Scene::new();
    let path = scene.write("not-a-recording", "Nothing to see here.\n");
    let missing = scene.path("missing");
    for (path, part) in [(&path, "is no recording of this version"), (&missing, "cannot be read")] {
        let replayed = Command::new(agent_program())
            .args(["replay", path])
            .output()
            .expect("the agent can be started");
        let problem = String::from_utf8_lossy(&replayed.stderr);
        assert_ne!(replayed.status.code(), Some(0), "{problem}");
        assert!(problem.contains(part) && problem.contains(path.as_str()), "{problem}");
        assert!(problem.contains("with `mcpwatch run --record FILE`"), "{problem}");
        assert!(!problem.contains("panicked"), "{problem}");
    }
}
