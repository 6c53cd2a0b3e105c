//! Servers come, go and come again, and the agent is killed: what is attached follows. The agent has the capabilities of
//! its unit, and no more.

use std::fs;

use std::time::{Duration, Instant};

use mcpwatch_tests::{Agent, Client, Era, Scene, Sdk, assert_programs_gone, programs_of, text};
use serde_json::json;

use crate::limited;
use crate::play;
use crate::suite::Tier;

const SERVER: &str = "labelled-rust";

/// When the last server goes, everything is detached; when one comes, the tier's programs are attached again and give the
/// same records. What a killed agent had attached is gone.
pub fn are_alike(tier: &Tier) {
    let scene = Scene::new();
    let config = play::config(&scene);
    let settings = format!("{}[capture]\ndetach_delay_ms = 300\n", tier.settings);
    let start = || scene.agent().settings(&settings).by(&["/bin/guest", "--limited"]).start();
    let agent = start();
    has_what_the_unit_grants(&agent);
    let client = scene.client(Sdk::Own);
    client.open(&config, &[SERVER], Era::Handshake);
    is_served(&agent, 0, &client, &[SERVER], tier);
    client.close(&[]);
    reaches(&agent, 0, "detached", || {});

    let from = agent.count();
    let client = scene.client(Sdk::Own);
    client.open(&config, &[SERVER], Era::Handshake);
    is_served(&agent, from, &client, &[SERVER], tier);
    let path = scene.write("again.txt", "text");
    client.call(SERVER, "read_file", json!({"path": path}));
    agent.find("the file of the second server", |record| {
        text(record, "type") == "file.open"
            && text(record, "file.path") == path
            && text(record, "call.tool") == "read_file"
    });

    // The agent ends without a word while everything is attached.
    let programs = programs_of(agent.pid());
    assert!(!programs.is_empty(), "a running agent holds kernel programs");
    agent.signal(libc::SIGKILL);
    agent.wait(play::SETTLED);
    assert_programs_gone(&programs, play::SETTLED);
    // Calls go on as if nothing had been there.
    client.call(SERVER, "echo", json!({"text": "still here"}));

    // The next agent finds the server that runs, and is soon in the same tier.
    let agent = start();
    is_served(&agent, 0, &client, &[SERVER], tier);
    let path = scene.write("afterwards.txt", "text");
    client.call(SERVER, "read_file", json!({"path": path}));
    agent.find("the file after the second start", |record| {
        text(record, "type") == "file.open" && text(record, "file.path") == path
    });
    client.close(&[]);
    agent.stop();
}

fn has_what_the_unit_grants(agent: &Agent) {
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it lives");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.unwrap_or_default().trim(), 16).expect("a mask");
    assert_eq!(effective, limited::granted(), "{effective:x}");
}

/// Waits until the programs of the tier serve these servers alone.
pub fn is_served(agent: &Agent, from: usize, client: &Client, servers: &[&str], tier: &Tier) {
    reaches(agent, from, "attached", || {});
    if tier.settles {
        // A server waits in read(2) since before the programs were attached.
        reaches(agent, from, "settled", || {
            for server in servers {
                client.request(server, "tools/list", json!({}));
            }
        });
    }
    play::is_in(agent, from, tier);
}

fn reaches(agent: &Agent, from: usize, state: &str, meanwhile: impl Fn()) {
    let until = Instant::now() + play::SETTLED;
    while !agent.since(from).of("status").any(|record| text(record, "status.state") == state) {
        assert!(Instant::now() < until, "no status `{state}`: {}", agent.records().digest());
        meanwhile();
        std::thread::sleep(Duration::from_millis(500));
    }
}
