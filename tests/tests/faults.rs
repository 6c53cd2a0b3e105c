//! What goes wrong on real hosts: an agent that is killed or stands still, floods of processes, process ids
//! used again, servers by the hundred, a kernel that refuses a hook. Each time the books are checked afterwards.
//!
//! What also happens in the matrix of kernels is in `src/faults.rs`. A full disk is in `errors.rs`, a ring that overflows in `loss.rs`, steps of the calendar clock in
//! `mcpwatch/src/pipeline/tests/clock.rs` and, under an agent, in `src/bin/guest/clock.rs`: nothing here may set the
//! host's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use mcpwatch_tests::{
    Agent, CALLS_OF_KERNEL, Client, Era, HOST, Metrics, Refusals, Scene, Sdk, balance, counter,
    counters, descendants, goes_on, http_get, kernel_version, opens, request_id, skipped, text,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// A client with one server that makes load, by the name `heavy`.
fn open(scene: &Scene) -> Client {
    let config = scene.config(&[("heavy", scene.heavy_server("heavy"))]);
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Handshake);
    client
}

fn entries(metrics: &Metrics, map: &str) -> i64 {
    metrics.count("mcpwatch_map_entries", &[("map", map)])
}

#[test]
fn an_agent_killed_under_load_leaves_nothing_behind_and_the_next_finds_the_servers() {
    HOST.killed_under_load();
}

#[test]
fn a_reader_that_stood_still_tells_the_exact_number_that_was_lost() {
    HOST.stood_still();
}

#[test]
fn the_smallest_ring_takes_everything_at_once() {
    HOST.smallest_ring();
}

#[test]
fn a_process_id_used_again_is_another_process_of_another_server() {
    HOST.id_used_again();
}

/// The metrics with what is watched by now: the kernel's tables are counted once a second.
fn at_rest(agent: &Agent) -> Metrics {
    thread::sleep(Duration::from_millis(2_200));
    agent.scrape()
}

/// Forks that are made in one go.
const FORKS: i64 = 40_000;
/// What the agent has to stand, in forks a second.
const FORK_RATE: i64 = 10_000;
/// How often that is tried on a machine that does other things, too.
const GOES: usize = 5;

/// Makes [`FORKS`]; gives how many it were in the best second.
fn sparks(client: &Client) -> i64 {
    let done = client.call("heavy", "spark_children", json!({"children": FORKS}));
    let done = &done["structuredContent"];
    assert_eq!((&done["made"], &done["failed"]), (&json!(FORKS), &json!(0)), "{done}");
    eprintln!("{FORKS} forks in {} s, {} in the best second", done["seconds"], done["best_second"]);
    done["best_second"].as_i64().expect("a number")
}

#[test]
fn forks_by_the_thousand_leave_no_trace() {
    let scene = Scene::new();
    let client = open(&scene);
    let alone = sparks(&client);
    let agent = scene.agent().metrics().start();
    goes_on(&agent, &client);
    let before = at_rest(&agent);
    let mut made = 0;
    let mut best = 0;
    for _ in 0..GOES {
        best = best.max(sparks(&client));
        made += FORKS;
        if best >= FORK_RATE {
            break;
        }
    }
    // What a machine does not do by itself, it does not do under an agent.
    if best < FORK_RATE {
        skipped(&format!(
            "{FORK_RATE} forks a second, but {best}: without an agent this machine makes {alone}"
        ));
    }
    let wanted = FORK_RATE.min(alone / 2);
    assert!(
        best >= wanted,
        "{best} forks a second are too few to test anything: {alone} without an agent"
    );
    goes_on(&agent, &client);
    agent.settle(Duration::from_millis(500));
    // Counted once a second.
    wait_until("the dead have left the kernel's tables", || {
        let now = agent.scrape();
        ["watch", "instances"].iter().all(|map| entries(&now, map) <= entries(&before, map))
    });
    let (_, last) = balance(agent);
    assert!(counter(&last, "fork", "seen") >= made, "each fork is counted: {made}");
    assert!(counter(&last, "exit", "seen") >= made, "each end is counted: {made}");
    assert_eq!(counters(&last, "ring_full"), 0, "the default ring has room for {made} forks");
}

#[test]
fn a_hundred_servers_at_once() {
    const SERVERS: usize = 100;
    let scene = Scene::new();
    let agent = scene.agent().metrics().start();
    let names: Vec<String> = (0..SERVERS).map(|number| format!("server-{number:02}")).collect();
    let servers: Vec<(&str, Value)> =
        names.iter().map(|name| (name.as_str(), scene.heavy_server(name))).collect();
    let config = scene.config(&servers);
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Handshake);
    wait_until("all servers are watched", || {
        agent.scrape().count("mcpwatch_servers", &[]) == i64::try_from(SERVERS).expect("a count")
    });
    let calls: Vec<_> = names
        .iter()
        .map(|name| {
            let path = scene.write(&format!("data/{name}"), "text");
            (name, client.begin(name, "child_opens", json!({"path": path})), path)
        })
        .collect();
    let mut expected = BTreeMap::new();
    for (name, call, path) in calls {
        expected.insert(path, (name.clone(), request_id(&call.wait()).clone()));
    }
    let channels = || usize::try_from(entries(&agent.scrape(), "channels")).expect("a count");
    // Counted once a second.
    wait_until("each has a stdin and a stdout", || channels() >= 2 * SERVERS);
    client.close(&[]);
    wait_until("all servers have ended", || agent.scrape().count("mcpwatch_servers", &[]) == 0);
    // The client's own may be left.
    wait_until("their channels are nobody's", || channels() < SERVERS);
    let (records, last) = balance(agent);
    assert_eq!(counters(&last, "ring_full"), 0);
    assert_eq!(records.of("loss").count(), 0);
    let found: BTreeMap<String, (String, Value)> = records
        .of("file.open")
        .filter(|record| expected.contains_key(text(record, "file.path")))
        .map(|record| {
            let call = (text(record, "server.name").to_owned(), record["call"]["id"].clone());
            (text(record, "file.path").to_owned(), call)
        })
        .collect();
    assert_eq!(found, expected, "each open is its own server's and its own call's");
    let ids: BTreeSet<&str> =
        records.of("server.exited").map(|record| text(record, "server.id")).collect();
    assert_eq!(ids.len(), SERVERS);
}

#[test]
fn a_server_with_ten_thousand_children() {
    const CHILDREN: i64 = 10_000;
    let scene = Scene::new();
    let path = scene.write("file.txt", "text");
    let agent = scene.agent().metrics().start();
    let client = open(&scene);
    goes_on(&agent, &client);
    let before = at_rest(&agent);
    let crowd = client.begin("heavy", "hold_children", json!({"children": CHILDREN, "seconds": 4}));
    wait_until("all children are watched", || {
        let watched = entries(&agent.scrape(), "watch");
        watched >= CHILDREN
    });
    let born = client.call("heavy", "child_opens", json!({"path": path}));
    let open = agent.find_within("an open among the crowd", PATIENCE, |record| {
        text(record, "file.path") == path
    });
    assert_eq!(&open["call"]["id"], request_id(&born));
    let resident = resident_mebibytes(agent.pid());
    let done = crowd.wait();
    assert_eq!(done["structuredContent"], json!({"made": CHILDREN, "failed": 0}));
    wait_until("the dead have left the kernel's table", || {
        entries(&agent.scrape(), "watch") <= entries(&before, "watch")
    });
    goes_on(&agent, &client);
    // 37 MiB without any; a table that keeps some kilobytes for each would show.
    assert!(resident < 80, "{resident} MiB resident with {CHILDREN} children");
    let (_, last) = balance(agent);
    assert!(counter(&last, "exit", "seen") >= CHILDREN);
    assert!(descendants(scene.anchor_pid()).len() < 100, "the children are gone");
}

fn resident_mebibytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).expect("the agent lives");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("a size");
    line.split_whitespace().next().and_then(|kib| kib.parse::<u64>().ok()).expect("a number") / 1024
}

#[test]
fn two_agents_do_not_write_one_file() {
    let scene = Scene::new();
    let events = scene.backstage("events.jsonl").to_string_lossy().into_owned();
    let recording = scene.path("recording");
    let first = scene.agent().arguments(&["--record", &recording]).start();
    for (arguments, file) in [
        (&["--events", &events][..], &events),
        (&["--events", "/dev/null", "--record", &recording], &recording),
    ] {
        let refused = scene.agent().arguments(arguments).run(PATIENCE);
        assert_eq!(refused.code, Some(1), "{}", refused.output);
        for part in [file.as_str(), "another mcpwatch writes to it"] {
            assert!(refused.output.contains(part), "nothing of `{part}` in:\n{}", refused.output);
        }
    }
    // Nothing of the refused ones is in the file, whose records `stop` checks.
    let records = first.stop().records;
    assert_eq!(
        records.of("status").filter(|status| text(status, "status.state") == "started").count(),
        1
    );
    // Its lock went with it.
    let next = scene.agent().arguments(&["--record", &recording]).start();
    next.stop();
}

/// State of a hook in a `status` record, and why it has it.
fn hook<'a>(status: &'a Value, name: &str) -> (&'a str, &'a str) {
    let mut hooks = status["status"]["hooks"].as_array().into_iter().flatten();
    let hook = hooks.find(|hook| text(hook, "name") == name);
    hook.map_or(("", ""), |hook| (text(hook, "state"), text(hook, "reason")))
}

/// States of the hooks on system calls in a `status` record, `sys_exit` among them.
fn states_of_calls(status: &Value) -> BTreeSet<&str> {
    let of_calls = |hook: &&Value| {
        ["sys_", "ia32_", "arm_"].iter().any(|start| text(hook, "name").starts_with(start))
    };
    let hooks = status["status"]["hooks"].as_array().into_iter().flatten();
    hooks.filter(of_calls).map(|hook| text(hook, "state")).collect()
}

/// What the metrics say of `sys_exit`, once for each tier there is.
fn sys_exit_in_metrics(agent: &Agent) -> Vec<String> {
    let metrics = agent.scrape();
    let hooks = metrics.series("mcpwatch_probe_attached");
    let of_sys_exit = hooks.filter(|(labels, _)| labels.contains("probe=\"sys_exit\""));
    of_sys_exit.map(|(_, value)| value.to_owned()).collect()
}

#[test]
fn a_kernel_that_interprets_programs_is_watched_too() {
    let scene = Scene::new();
    let path = scene.write("seen.txt", "text");
    let config = scene.config(&scene.labelled_servers());
    let refusals = Refusals::default();
    refusals.refuse(CALLS_OF_KERNEL);
    let agent = scene.agent().metrics().refused(&refusals).start();
    let can_load = kernel_version().expect("a kernel says its version") >= (6, 17);
    assert_eq!(refusals.was_met(CALLS_OF_KERNEL), can_load);
    let started = agent.find("the hooks", |record| text(record, "status.state") == "started");
    for name in ["sched_process_fork", "sched_process_exec", "sched_process_exit", "connect4"] {
        assert_eq!(hook(&started, name).0, "attached", "{name}: {started}");
    }
    let client = scene.client(Sdk::Python);
    client.open(&config, &["labelled-rust"], Era::Handshake);
    let result = client.call("labelled-rust", "read_file", json!({"path": path}));
    let open = agent.find("an open of the server", |record| text(record, "file.path") == path);
    assert_eq!(text(&open, "server.name"), "labelled-rust");
    assert_eq!(&open["call"]["id"], request_id(&result));
    let (records, _) = balance(agent);
    assert_eq!(opens(&records, &path).len(), 1);
}

#[test]
fn a_hook_the_kernel_refuses_is_named_and_attached_when_it_no_longer_does() {
    let scene = Scene::new();
    let (unseen, seen) = (scene.write("unseen.txt", "text"), scene.write("seen.txt", "text"));
    let config = scene.config(&scene.labelled_servers());
    let refusals = Refusals::default();
    let agent = scene.agent().metrics().settings("[kernel]\ntier = \"tracepoint\"\n");
    let agent = agent.refused(&refusals).start();
    let readiness = || http_get(agent.port(), "/readyz").expect("the agent answers");
    assert_eq!(readiness().0, 200);

    refusals.refuse("sys_exit");
    let client = scene.client(Sdk::Python);
    client.open(&config, &["labelled-rust"], Era::Handshake);
    let degraded = agent.find("what is missing", |record| {
        text(record, "status.state") == "degraded"
            && text(record, "status.message").contains("sys_exit")
    });
    assert_eq!(states_of_calls(&degraded), BTreeSet::from(["missing"]), "{degraded}");
    let (_, reason) = hook(&degraded, "sys_exit");
    assert!(reason.contains(&format!("(os error {})", libc::ENOMEM)), "{reason}");
    for name in ["packets_in", "packets_out", "sched_process_exec"] {
        assert_eq!(hook(&degraded, name).0, "attached", "{name}: {degraded}");
    }
    let (code, said) = readiness();
    assert!(code == 503 && said.contains("sys_exit"), "{code}: {said}");
    assert_eq!(sys_exit_in_metrics(&agent), ["0"]);
    // Its child is seen, what that does is not.
    client.call("labelled-rust", "show_file", json!({"path": unseen}));
    let exec = agent.find("a child of the server", |record| {
        text(record, "type") == "process.exec" && record["exec"]["argv"][0] == "cat"
    });
    assert_eq!(text(&exec, "server.name"), "labelled-rust");

    refusals.allow("sys_exit");
    let attached = agent.find_within("the hook that was refused", PATIENCE, |record| {
        text(record, "status.state") == "attached"
    });
    assert_eq!(states_of_calls(&attached), BTreeSet::from(["attached"]), "{attached}");
    assert_eq!(readiness().0, 200);
    assert_eq!(sys_exit_in_metrics(&agent), ["1"]);
    let result = client.call("labelled-rust", "read_file", json!({"path": seen}));
    let open = agent.find("an open of the server", |record| text(record, "file.path") == seen);
    assert_eq!(text(&open, "server.name"), "labelled-rust");
    assert_eq!(&open["call"]["id"], request_id(&result));
    let (records, _) = balance(agent);
    assert_eq!(opens(&records, &unseen), Vec::<&Value>::new());
}
