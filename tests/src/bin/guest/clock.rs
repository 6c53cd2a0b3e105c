//! Steps of the calendar clock under a real agent. Only here: the guest's clock is nobody else's.

use std::fs;
use std::time::Duration;

use mcpwatch_tests::{Agent, Era, Scene, Sdk, check_identity, int, request_id, text};
use serde_json::{Value, json};

const SERVER: &str = "labelled-rust";
const HOUR: i64 = 3_600;
/// The agent reads both clocks this often at least, here with some patience for an emulated machine.
const NOTICED: Duration = Duration::from_secs(5);
/// What the rest of the play may take, in seconds.
const MEANWHILE: i64 = 600;

/// Opens a file, waits to be told to go on, and so on: `cat` of three files with the clock set in between.
fn deeds(scene: &Scene) -> String {
    let wait = |name: &str| {
        let path = scene.path(name);
        format!("until [ -e {path} ]; do /bin/busybox sleep 0.2; done")
    };
    let cat = |name: &str| format!("cat {}", scene.write(name, "text"));
    [cat("before"), wait("go-1"), cat("later"), wait("go-2"), cat("earlier")].join("; ")
}

/// Sets the calendar clock forward by an hour, then back by two, while a call is on its way.
pub fn steps() {
    let scene = Scene::new();
    let config = scene.config(&[(SERVER, json!({"command": "/bin/labelled"}))]);
    let agent = scene.agent().settings("[kernel]\ntier = \"tracepoint\"\n").start();
    let client = scene.client(Sdk::Own);
    client.open(&config, &[SERVER], Era::Handshake);
    agent.find("the hooks attached", |record| text(record, "status.state") == "attached");
    let call = client.begin(SERVER, "run_command", json!({"command": deeds(&scene)}));
    let before = opened(&agent, &scene, "before");
    step(HOUR);
    fs::write(scene.path("go-1"), "").expect("a file can be written");
    let later = opened(&agent, &scene, "later");
    step(-2 * HOUR);
    fs::write(scene.path("go-2"), "").expect("a file can be written");
    let earlier = opened(&agent, &scene, "earlier");
    let result = call.wait();
    let id = request_id(&result);
    let call = agent.find("the call", |record| {
        text(record, "type") == "mcp.call" && record["call"]["id"] == *id
    });
    client.close(&[]);
    let stopped = agent.stop();
    step(HOUR);

    // The times are those the clock showed.
    for (one, other, wanted) in [(&before, &later, HOUR), (&later, &earlier, -2 * HOUR)] {
        let apart = time(other) - time(one);
        assert!(
            (wanted..wanted + MEANWHILE).contains(&apart),
            "{apart} s apart, not {wanted}: {other}"
        );
    }
    // What belongs together does, in its order, and took as long as it took.
    let order = [&before, &later, &earlier, &call].map(|record| int(record, "seq"));
    assert!(order.is_sorted(), "{order:?}");
    for record in [&before, &later, &earlier] {
        assert_eq!(record["relation"], "requested", "{record}");
        assert_eq!(record["call"]["id"], *id, "{record}");
    }
    let took = int(&call, "call.duration_ns").expect("a duration") / 1_000_000_000;
    assert!((1..MEANWHILE).contains(&took), "{took} s: {call}");
    let last = stopped.records.0.last().expect("records");
    assert_eq!(text(last, "status.state"), "stopped", "{last}");
    check_identity(last);
    // `busy` speaks of any thread of the machine (docs/kernel-support.md, "Limits").
    let losses = stopped.records.of("loss");
    let other = losses.filter(|record| text(record, "loss.what") != "busy").count();
    assert_eq!(other, 0, "{}", stopped.records.digest());
}

/// The record of the one open of a file.
fn opened(agent: &Agent, scene: &Scene, name: &str) -> Value {
    let path = scene.path(name);
    agent.find(&format!("the open of {name}"), |record| {
        text(record, "type") == "file.open" && text(record, "file.path") == path
    })
}

/// Sets the guest's calendar clock by so many seconds, and waits until the agent has seen it.
fn step(seconds: i64) {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a place for a time that outlives both calls; process 1 of a virtual machine may set its clock.
    let done = unsafe {
        libc::clock_gettime(libc::CLOCK_REALTIME, &raw mut now);
        now.tv_sec += seconds;
        libc::clock_settime(libc::CLOCK_REALTIME, &raw const now)
    };
    assert_eq!(done, 0, "the clock of the guest can be set");
    std::thread::sleep(NOTICED);
}

/// The time of a record, in seconds since the epoch.
fn time(record: &Value) -> i64 {
    let time: jiff::Timestamp = text(record, "time").parse().expect("RFC 3339");
    time.as_second()
}
