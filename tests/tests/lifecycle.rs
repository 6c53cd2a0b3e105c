//! How a run begins and ends, what it attaches and when, and what it never looks at.

use std::collections::BTreeSet;
use std::fs;
use std::time::{Duration, Instant};

use mcpwatch_tests::{Era, Scene, Sdk, assert_programs_gone, digest, int, programs_of, text};
use serde_json::json;

/// The kernel takes a moment to free programs.
const FREED: Duration = Duration::from_secs(5);

#[test]
fn a_signal_ends_a_busy_run_in_time_and_leaves_nothing_attached() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let scene = Scene::new();
        let path = scene.write("file.txt", "text");
        let config = scene.config(&[("loads", scene.loads_server())]);
        let agent = scene.agent().metrics().start();
        let client = scene.client(Sdk::Python);
        client.open(&config, &[], Era::Default);
        client.call("loads", "echo", json!({"text": "hello"}));
        let busy = client.begin("loads", "flood", json!({"path": path, "times": 300_000}));
        let open = client.begin("loads", "sleep", json!({"seconds": 60}));
        agent.find("an open of the flood", |record| text(record, "file.path") == path);
        let programs = programs_of(agent.pid());
        assert!(!programs.is_empty(), "a running agent holds kernel programs");

        let stopped = agent.stop_by(signal);
        assert!(stopped.took < Duration::from_secs(2), "signal {signal}: took {:?}", stopped.took);
        let last = stopped.records.0.last().expect("there are records");
        assert_eq!(text(last, "status.state"), "stopped", "{}", digest(last));
        let probes = last["status"]["counters"].as_array().map_or(0, Vec::len);
        assert!(probes >= 12, "the last counters of every probe: {last}");
        assert_programs_gone(&programs, FREED);
        // What the kernel handed over is written, or said to be lost.
        let counters = last["status"]["counters"].as_array().into_iter().flatten();
        let sent: i64 = counters
            .filter(|counters| counters["probe"] == "open")
            .filter_map(|counters| counters["sent"].as_i64())
            .sum();
        let written = i64::try_from(stopped.records.of("file.open").count()).expect("a count");
        let losses = stopped.records.of("loss").filter_map(|record| int(record, "loss.lost"));
        let missed: i64 = losses.sum();
        assert_eq!(sent, written + missed, "{sent} opens sent, {written} written, {missed} lost");
        drop((busy, open));
    }
}

#[test]
fn a_killed_agent_leaves_nothing_attached() {
    let scene = Scene::new();
    let agent = scene.agent().start();
    let programs = programs_of(agent.pid());
    agent.signal(libc::SIGKILL);
    agent.wait(Duration::from_secs(5));
    assert_programs_gone(&programs, FREED);
}

/// Whether a process holds a link to the exit of all system calls, as the kernel says.
fn hooks_system_calls(pid: u32) -> bool {
    let folder = fs::read_dir(format!("/proc/{pid}/fdinfo")).expect("the agent lives");
    folder.flatten().any(|entry| {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        info.lines().any(|line| line.starts_with("tp_name:") && line.ends_with("sys_exit"))
    })
}

#[test]
fn system_calls_are_hooked_only_while_there_is_something_to_watch() {
    let scene = Scene::new();
    let config = scene.config(&[("loads", scene.loads_server())]);
    let agent = scene.agent().settings("[capture]\ndetach_delay_ms = 300\n").start();
    assert!(!hooks_system_calls(agent.pid()), "nothing to watch yet");
    let state = |from: usize, wanted: &str| {
        let until = Instant::now() + Duration::from_secs(10);
        while !agent.since(from).of("status").any(|record| text(record, "status.state") == wanted) {
            assert!(Instant::now() < until, "no status `{wanted}`");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    for round in 1..=2 {
        let from = agent.count();
        let client = scene.client(Sdk::Python);
        client.open(&config, &[], Era::Default);
        client.call("loads", "echo", json!({"text": "hello"}));
        state(from, "attached");
        client.close(&[]);
        state(from, "detached");
        assert!(!hooks_system_calls(agent.pid()), "round {round}: the last server has gone");
    }
    let records = agent.stop().records;
    let states: Vec<&str> = records
        .of("status")
        .map(|record| text(record, "status.state"))
        .filter(|state| ["attached", "detached"].contains(state))
        .collect();
    assert_eq!(states, ["attached", "detached", "attached", "detached"]);
    assert_eq!(records.of("mcp.call").filter(|call| text(call, "call.tool") == "echo").count(), 2);
}

#[test]
fn a_server_that_starts_while_nothing_is_hooked_is_followed() {
    const ROUNDS: usize = 10;
    let scene = Scene::new();
    let config = scene.config(&scene.labelled_servers());
    let agent = scene.agent().settings("[capture]\ndetach_delay_ms = 0\n").start();
    // The quickest server there is, and nothing else that would keep the hooks attached.
    for round in 0..ROUNDS {
        let from = agent.count();
        let client = scene.client([Sdk::Python, Sdk::TypeScript][round % 2]);
        client.open(&config, &["labelled-rust"], Era::Handshake);
        client.call("labelled-rust", "echo", json!({"text": "hello"}));
        client.close(&[]);
        let until = Instant::now() + Duration::from_secs(10);
        while !agent
            .since(from)
            .of("status")
            .any(|record| text(record, "status.state") == "detached")
        {
            assert!(Instant::now() < until, "round {round}: not detached");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
    let records = agent.stop().records;
    let problems: Vec<String> = records
        .of("mcp.message")
        .filter(|record| record["mcp"].get("problem").is_some())
        .map(digest)
        .collect();
    assert_eq!(problems, Vec::<String>::new(), "what was not heard is no mistake of the server");
    let of = |method: &str| {
        records.of("mcp.call").filter(|call| text(call, "call.method") == method).count()
    };
    assert_eq!(of("tools/call"), ROUNDS);
    // Attaching takes a moment, of which `attached` tells; a busy machine can make it long enough for
    // the very first message to go by.
    assert!(of("initialize") >= ROUNDS / 2, "{} of {ROUNDS}", of("initialize"));
}

#[test]
fn what_lies_outside_the_scope_is_never_captured() {
    let (inside, outside) = (Scene::new(), Scene::new());
    let agent = inside.agent().start();
    let mut homes = Vec::new();
    for scene in [&inside, &outside] {
        let path = scene.write("file.txt", "text");
        let config = scene.config(&[("loads", scene.loads_server())]);
        let client = scene.client(Sdk::Python);
        client.open(&config, &[], Era::Default);
        client.call("loads", "touch", json!({"path": path, "seconds": 0}));
        client.close(&[]);
        homes.push(scene.path(""));
    }
    agent.find("the end of the server inside", |record| text(record, "type") == "server.exited");
    agent.settle(Duration::from_millis(300));
    let records = agent.stop().records;
    let servers: BTreeSet<&str> =
        records.of("server.discovered").map(|record| text(record, "server.id")).collect();
    assert_eq!(servers.len(), 1);
    let about = |home: &str| {
        records
            .0
            .iter()
            .filter(|record| record.to_string().contains(home))
            .map(digest)
            .collect::<Vec<_>>()
    };
    assert!(!about(&homes[0]).is_empty());
    assert_eq!(about(&homes[1]), Vec::<String>::new());
}

#[test]
fn every_process_of_a_server_has_its_beginning_and_its_end() {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&scene.labelled_servers());
    let agent = scene.agent().start();
    let client = scene.client(Sdk::TypeScript);
    client.open(&config, &["labelled-rust"], Era::Default);
    for _ in 0..20 {
        client.call("labelled-rust", "get_date", json!({}));
    }
    client.close(&[]);
    agent.find("server.exited", |record| text(record, "type") == "server.exited");
    agent.settle(Duration::from_millis(200));
    let records = agent.stop().records;
    let of = |kind: &str| -> Vec<(i64, String)> {
        let mut found: Vec<_> = records
            .of(kind)
            .filter(|record| {
                text(record, "process.exe").ends_with("cat")
                    || text(record, "exec.path").ends_with("cat")
            })
            .map(|record| {
                let pid = int(record, "process.pid").expect("a process has a pid");
                (pid, text(record, "process.entity_id").to_owned())
            })
            .collect();
        found.sort();
        found
    };
    let (begun, ended) = (of("process.exec"), of("process.exit"));
    assert_eq!(begun.len(), 20, "{begun:?}");
    assert_eq!(begun, ended, "the same processes, by pid and start time");
    let unique: BTreeSet<_> = begun.iter().map(|(_, entity)| entity).collect();
    assert_eq!(unique.len(), 20);
}
