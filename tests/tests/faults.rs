//! What goes wrong on real hosts: an agent that is killed or stands still, floods of processes, process ids
//! used again, servers by the hundred, a kernel that refuses a hook. Each time the books are checked afterwards.
//!
//! A full disk is in `errors.rs`, a ring that overflows in `loss.rs`, steps of the calendar clock in
//! `mcpwatch/src/pipeline/tests/clock.rs` and, under an agent, in `src/bin/guest/clock.rs`: nothing here may set the
//! host's clock.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use mcpwatch_tests::{
    Agent, BpfObject, Client, Era, Metrics, Records, Refusals, Scene, Sdk, bpf_object_exists,
    bpf_objects, check_identity, counter, counters, descendants, http_get, lost, lost_at,
    request_id, skipped, text,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(30);
/// The smallest that may be set.
const SMALLEST_RING: &str = "[capture]\nring_bytes = 65536\n";

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A client with one server that makes load, by the name `heavy`.
fn open(scene: &Scene) -> Client {
    let config = scene.config(&[("heavy", scene.heavy_server("heavy"))]);
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Handshake);
    client
}

/// A later call is recorded as ever, and the agent is well.
#[track_caller]
fn goes_on(agent: &Agent, client: &Client) {
    let id = request_id(&client.call("heavy", "echo", json!({"text": "still there"}))).clone();
    agent.find_within("a later call", PATIENCE, |record| {
        text(record, "type") == "mcp.call"
            && record["call"]["id"] == id
            && text(record, "call.tool") == "echo"
            && text(record, "call.status") == "ok"
    });
    assert_eq!(http_get(agent.port(), "/healthz").expect("the agent answers").0, 200);
}

/// Stops the agent and checks the books; gives its records and the last of them.
#[track_caller]
fn balance(agent: Agent) -> (Records, Value) {
    let records = agent.stop().records;
    let last = records.0.last().expect("there are records").clone();
    assert_eq!(text(&last, "status.state"), "stopped", "the last record holds the counters");
    check_identity(&last);
    assert_eq!(
        lost_at(&records, "kernel"),
        counters(&last, "ring_full") + counters(&last, "too_big"),
        "what the kernel lost is told"
    );
    assert_eq!(lost_at(&records, "decode"), 0, "the agent reads what its own programs send");
    (records, last)
}

fn entries(metrics: &Metrics, map: &str) -> i64 {
    metrics.count("mcpwatch_map_entries", &[("map", map)])
}

/// `file.open` records of a path.
fn opens<'a>(records: &'a Records, path: &str) -> Vec<&'a Value> {
    records.of("file.open").filter(|record| text(record, "file.path") == path).collect()
}

#[test]
fn an_agent_killed_under_load_leaves_nothing_behind_and_the_next_finds_the_servers() {
    let scene = Scene::new();
    let path = scene.write("files/f0", "text");
    let agent = scene.agent().start();
    let client = open(&scene);
    agent.find("the server", |record| text(record, "type") == "server.discovered");
    let load = json!({"folder": scene.path("files"), "name": "f", "files": 1, "rate": 10_000, "seconds": 12});
    let load = client.begin("heavy", "open_files", load);
    agent.find("the load", |record| text(record, "file.path") == path);
    let left: BTreeSet<BpfObject> = bpf_objects(agent.pid());
    for kind in ["prog_id", "map_id", "link_id"] {
        assert!(left.iter().any(|(found, _)| *found == kind), "no {kind}: {left:?}");
    }
    assert!(left.iter().all(|object| bpf_object_exists(*object)));
    agent.signal(libc::SIGKILL);
    let killed = agent.wait(PATIENCE);
    assert_eq!(killed.code, Some(-1), "{}", killed.output);
    // The kernel frees programs and maps a moment after their last user has gone.
    wait_until("nothing of the agent is left in the kernel", || {
        !left.iter().any(|object| bpf_object_exists(*object))
    });

    let events = scene.backstage("events-of-the-next.jsonl");
    let agent = scene.agent().metrics().events(&events.to_string_lossy()).start();
    let found = agent.find("the server again", |record| {
        text(record, "type") == "server.discovered" && text(record, "server.name") == "heavy"
    });
    agent.find("the load, still going on", |record| text(record, "file.path") == path);
    load.wait();
    goes_on(&agent, &client);
    let (records, _) = balance(agent);
    assert!(
        opens(&records, &path).iter().all(|open| open["server"]["id"] == found["server"]["id"])
    );
}

#[test]
fn a_reader_that_stood_still_tells_the_exact_number_that_was_lost() {
    const OPENS: i64 = 60_000;
    let scene = Scene::new();
    let path = scene.write("files/f0", "text");
    let agent = scene.agent().metrics().settings(SMALLEST_RING).start();
    let client = open(&scene);
    goes_on(&agent, &client);
    agent.signal(libc::SIGSTOP);
    let load = json!({"folder": scene.path("files"), "name": "f", "files": 1, "rate": 20_000, "seconds": 3});
    let load = client.begin("heavy", "open_files", load);
    std::thread::sleep(Duration::from_secs(1));
    agent.signal(libc::SIGCONT);
    let made = load.wait()["structuredContent"]["made"].as_i64().expect("a number");
    assert!(made > OPENS / 4, "the load was to be made: {made}");
    goes_on(&agent, &client);
    let (records, last) = balance(agent);
    let (sent, full) = (counter(&last, "open", "sent"), counter(&last, "open", "ring_full"));
    assert!(full > 0, "the ring was to overflow");
    assert_eq!(lost(&records, "kernel", "open"), full);
    // The load's opens and the few the server began with: each has a record, or is told as lost.
    let later = lost_at(&records, "pipeline") + lost_at(&records, "output");
    let recorded = i64::try_from(records.of("file.open").count()).expect("a count");
    assert_eq!(sent, recorded + later, "sent opens, and those that have a record or a loss");
    let loads = i64::try_from(opens(&records, &path).len()).expect("a count");
    assert!((0..=full + later).contains(&(made - loads)), "{made} made, {loads} recorded");
}

#[test]
fn the_smallest_ring_takes_everything_at_once() {
    let scene = Scene::new();
    scene.write("files/f0", "text");
    let agent = scene.agent().metrics().settings(SMALLEST_RING).start();
    let client = open(&scene);
    let folder = scene.path("files");
    let all = [
        ("open_files", json!({"folder": folder, "name": "f", "files": 1, "seconds": 3})),
        ("run_programs", json!({"folder": folder, "seconds": 3})),
        ("fork_children", json!({"seconds": 3})),
        ("connect", json!({"seconds": 3})),
    ];
    let all: Vec<_> =
        all.into_iter().map(|(tool, arguments)| client.begin("heavy", tool, arguments)).collect();
    // 300 kB beside it, in pieces of what the ring holds at all.
    let large = "x".repeat(300_000);
    for _ in 0..3 {
        client.call("heavy", "echo", json!({"text": large}));
    }
    for load in all {
        let done = load.wait();
        assert_eq!(done["structuredContent"]["failed"], 0, "{done}");
    }
    goes_on(&agent, &client);
    client.close(&[]);
    agent.find_within("the server's end", PATIENCE, |record| {
        text(record, "type") == "server.exited"
    });
    let (_, last) = balance(agent);
    assert!(counters(&last, "ring_full") > 0, "the ring was to overflow");
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
fn a_process_id_used_again_is_another_process_of_another_server() {
    let scene = Scene::new();
    let (first, second) = (scene.write("first.txt", "text"), scene.write("second.txt", "text"));
    let agent = scene.agent().metrics().start();
    let config = ["heavy", "other"].map(|name| (name, scene.heavy_server(name)));
    let config = scene.config(&config);
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Handshake);
    let mut reborn = None;
    // Somebody else on the host may get the id in between: then with the next one.
    for _ in 0..20 {
        let born = client.call("heavy", "child_opens", json!({"path": first}));
        let pid = born["structuredContent"]["pid"].clone();
        // Start times are told in ticks of 10 ms, as `/proc` has them: within one, it would be the same process.
        thread::sleep(Duration::from_millis(20));
        let again = client.call("other", "child_opens", json!({"path": second, "pid": pid}));
        if again["isError"] != true {
            reborn = Some((pid, request_id(&born).clone(), request_id(&again).clone()));
            break;
        }
    }
    let (pid, first_call, second_call) = reborn.expect("an id can be had a second time");
    agent.find("the second open", |record| {
        text(record, "file.path") == second && record["process"]["pid"] == pid
    });
    goes_on(&agent, &client);
    let (records, last) = balance(agent);
    let of = |path: &str| -> Value {
        let found: Vec<&Value> = opens(&records, path)
            .into_iter()
            .filter(|record| record["process"]["pid"] == pid)
            .collect();
        assert_eq!(found.len(), 1, "opens of {path} by process {pid}");
        found[0].clone()
    };
    let (one, two) = (of(&first), of(&second));
    assert_eq!((text(&one, "server.name"), text(&two, "server.name")), ("heavy", "other"));
    assert_eq!((&one["call"]["id"], &two["call"]["id"]), (&first_call, &second_call));
    for open in [&one, &two] {
        assert_eq!(open["relation"], "requested", "{open}");
    }
    assert_ne!(one["process"]["entity_id"], two["process"]["entity_id"]);
    assert_ne!(one["process"]["start_time"], two["process"]["start_time"]);
    assert_eq!(counters(&last, "ring_full"), 0);
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
