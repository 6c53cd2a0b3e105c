//! Nothing is lost silently: when the ring buffer overflows, every event is counted at each stage, the
//! stream says so, and watching goes on.

use std::time::Duration;

use mcpwatch_tests::{
    Agent, Client, Era, Scene, Sdk, check_identity, check_identity_of_metrics, counter, http_get,
    lost, lost_at, request_id, text,
};
use serde_json::{Value, json};

const SMALL_RING: &str = "[capture]\nring_bytes = 65536\n";
const OPENS: i64 = 100_000;

/// Opens a file very often while the agent stands still for a time, then checks the books and that a
/// later call is recorded as ever.
fn overflow(scene: &Scene, agent: Agent, client: &Client, standing: Option<Duration>) {
    let path = scene.write("file.txt", "text");
    let after = scene.write("after.txt", "text");
    agent.signal(libc::SIGSTOP);
    let flood = client.begin("loads", "flood", json!({"path": path, "times": OPENS}));
    match standing {
        Some(time) => std::thread::sleep(time),
        None => drop(flood.wait()),
    }
    agent.signal(libc::SIGCONT);
    agent.find_within("a `loss` record of the kernel", Duration::from_secs(20), |record| {
        text(record, "type") == "loss" && text(record, "loss.stage") == "kernel"
    });
    agent.settle(Duration::from_millis(500));

    let result = client.call("loads", "touch", json!({"path": after, "seconds": 0}));
    let id = request_id(&result).clone();
    agent.find("the call after the flood", |record| {
        text(record, "type") == "mcp.call"
            && record["call"]["id"] == id
            && text(record, "call.tool") == "touch"
            && text(record, "call.status") == "ok"
    });
    assert_eq!(http_get(agent.port(), "/healthz").expect("the agent answers").0, 200);
    agent.settle(Duration::from_millis(1500));
    let metrics = agent.scrape();
    let stopped = agent.stop();

    let last = stopped.records.0.last().expect("there are records").clone();
    assert_eq!(text(&last, "status.state"), "stopped", "the last record holds the counters");
    check_identity(&last);
    let (sent, full) = (counter(&last, "open", "sent"), counter(&last, "open", "ring_full"));
    assert!(full > 0, "the ring was to overflow: {sent} opens sent");
    assert!(
        counter(&last, "open", "seen") >= OPENS,
        "every open is counted, whatever becomes of it"
    );

    // The flood is over: the metrics of a moment ago already have the numbers.
    check_identity_of_metrics(&metrics);
    for (outcome, wanted) in [("sent", sent), ("ring_full", full)] {
        let labels = [("probe", "open"), ("outcome", outcome)];
        assert_eq!(metrics.count("mcpwatch_probe_events_total", &labels), wanted, "{outcome}");
    }
    let labels = [("stage", "kernel"), ("type", "open")];
    assert_eq!(metrics.count("mcpwatch_events_lost_total", &labels), full);

    // Stage by stage: what the kernel sent is recorded or said to be lost, and what it lost is said.
    let records = &stopped.records;
    assert_eq!(lost(records, "kernel", "open"), full, "the `loss` records add up");
    let flooded =
        records.of("file.open").filter(|record| text(record, "file.path") == path).count();
    let flooded = i64::try_from(flooded).expect("a count");
    let missing = OPENS - flooded;
    let later: i64 =
        ["decode", "pipeline", "output"].iter().map(|stage| lost_at(records, stage)).sum();
    assert!(
        missing <= full + later && missing > 0,
        "{missing} of {OPENS} opens have no record, {full} were lost in the kernel and {later} later"
    );

    let opens: Vec<&Value> =
        records.of("file.open").filter(|record| text(record, "file.path") == after).collect();
    assert_eq!(opens.len(), 2);
    assert!(opens.iter().all(|open| open["call"]["id"] == id && open["relation"] == "requested"));
}

fn open(scene: &Scene) -> (Agent, Client) {
    let config = scene.config(&[("loads", scene.loads_server())]);
    let agent = scene.agent().settings(SMALL_RING).metrics().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Handshake);
    (agent, client)
}

#[test]
fn an_agent_that_stands_still_all_the_time_says_afterwards_what_it_missed() {
    let scene = Scene::new();
    let (agent, client) = open(&scene);
    overflow(&scene, agent, &client, None);
}

#[test]
fn an_agent_that_stands_still_in_the_middle_says_afterwards_what_it_missed() {
    let scene = Scene::new();
    let (agent, client) = open(&scene);
    overflow(&scene, agent, &client, Some(Duration::from_millis(200)));
}

#[test]
fn the_books_balance_without_any_loss() {
    let scene = Scene::new();
    let path = scene.write("file.txt", "text");
    let config = scene.config(&[("loads", scene.loads_server())]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::TypeScript);
    client.open(&config, &[], Era::Default);
    client.call("loads", "flood", json!({"path": path, "times": 1000}));
    client.close(&[]);
    agent.find("server.exited", |record| text(record, "type") == "server.exited");
    let records = agent.stop().records;
    let last = records.0.last().expect("there are records");
    check_identity(last);
    assert_eq!(counter(last, "open", "ring_full"), 0);
    assert_eq!(records.of("loss").count(), 0);
    let opens = records.of("file.open").filter(|record| text(record, "file.path") == path);
    assert_eq!(opens.count(), 1000);
}
