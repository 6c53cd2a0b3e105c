//! An agent that watches the whole machine. Only here: everything in the guest is ours.

use mcpwatch_tests::{Era, Scene, Sdk, text};
use serde_json::{Value, json};

const SERVER: &str = "labelled-rust";

/// What a server runs is told with everybody it descends from.
pub fn ancestors_go_back_to_process_1() {
    let scene = Scene::new();
    let config = scene.config(&[(SERVER, json!({"command": "/bin/labelled"}))]);
    let settings = "[kernel]\ntier = \"tracepoint\"\n";
    let agent = scene.agent().of_whole_machine().settings(settings).start();
    let client = scene.client(Sdk::Own);
    client.open(&config, &[SERVER], Era::Handshake);
    agent.find("the hooks attached", |record| text(record, "status.state") == "attached");
    client.call(SERVER, "run_command", json!({"command": "/bin/uname -s"}));
    let exec = agent.find("the program that was asked for", |record| {
        text(record, "type") == "process.exec" && record["exec"]["argv"][0] == "/bin/uname"
    });
    let pids: Vec<u64> = exec["exec"]["ancestors"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|ancestor| ancestor["pid"].as_u64())
        .collect();
    client.close(&[]);
    agent.stop();
    let anchor = u64::from(scene.anchor_pid());
    assert!(pids.contains(&anchor), "the scene's first process is {anchor}: {exec}");
    assert_eq!(pids.last(), Some(&1), "{}", Value::from(pids.clone()));
}
