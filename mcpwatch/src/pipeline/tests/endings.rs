//! How things end: servers with calls in flight, runs, the watching itself; and what was lost on the way.

use serde_json::json;

use super::*;
use crate::pipeline::input::HookState;

#[test]
fn a_server_that_dies_in_a_call_leaves_it_without_a_response() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "read", json!({}));
    scene.call(11, 2, "write", json!({}));
    scene.exit(11, 3);
    assert_eq!(
        scene.story(),
        ["exit 11 3", "call 1 read no_response", "call 2 write no_response", "exited weather"]
    );
    assert!(scene.instances.is_empty());
}

#[test]
fn a_server_ends_with_its_last_process_and_tells_how_its_first_did() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.fork(11, 12);
    scene.exit(11, 7);
    assert_eq!(scene.story(), ["exit 11 7"]);
    scene.open(12, "/a");
    scene.exit(12, 0);
    let exited = scene.of_type("server.exited")[0].clone();
    assert_eq!(exited["exit"]["code"], 7);
    assert_eq!(exited["process"]["pid"], 11);
    assert_eq!(scene.story(), ["open /a background", "exit 12 0", "exited weather"]);
}

#[test]
fn an_end_that_two_threads_tell_is_told_once() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.fork(11, 12);
    let end = wire::Exit { status: 0, padding: 0 };
    scene.send(Kind::Exit, 12, 0, bytemuck::bytes_of(&end), b"");
    scene.exit(12, 0);
    assert_eq!(scene.story(), ["exit 12 0"]);
    // The same of one that is held.
    let mut scene = Scene::new();
    scene.candidate(13);
    scene.asked(13, &initialize());
    scene.send(Kind::Exit, 13, 0, bytemuck::bytes_of(&end), b"");
    scene.exit(13, 0);
    assert_eq!(scene.effects().iter().filter(|line| *line == "exit 13 0").count(), 1);
}

#[test]
fn a_candidate_that_ends_without_a_word_is_not_spoken_of() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.open(11, "/a");
    scene.exit(11, 0);
    assert_eq!(scene.story(), [""; 0]);
    assert!(scene.instances.is_empty());
}

#[test]
fn a_server_that_ends_with_its_handshake_is_told_whole() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.open(11, "/a");
    scene.asked(11, &initialize());
    scene.exit(11, 1);
    assert_eq!(
        scene.effects(),
        [
            "discovered node by handshake",
            "exec /usr/bin/node startup",
            "open /a startup",
            "exit 11 1",
            "call 0 initialize no_response",
            "exited node",
        ]
    );
}

#[test]
fn a_child_that_came_and_went_before_the_handshake_does_not_keep_its_server_alive() {
    let mut scene = Scene::new();
    scene.candidate(11);
    // With pipes of its own it is a candidate itself: its end is not held with the server's events.
    scene.spawn(11, 12, OTHER_CHANNEL, "/usr/bin/git", &["git", "--version"]);
    scene.exit(12, 0);
    scene.fork(11, 13);
    scene.exit(13, 0);
    scene.initialize(11);
    scene.forget();
    scene.exit(11, 0);
    assert_eq!(scene.story(), ["exit 11 0", "exited weather"]);
}

#[test]
fn kernel_losses_are_told_as_they_grow() {
    let mut scene = Scene::new();
    scene.counters("open", [10, 10, 0, 0, 0, 0]);
    assert_eq!(scene.story(), [""; 0]);
    scene.counters("open", [100, 40, 60, 0, 0, 0]);
    scene.counters("open", [100, 40, 60, 0, 0, 0]);
    scene.counters("open", [110, 45, 63, 2, 0, 0]);
    assert_eq!(
        scene.story(),
        [
            "loss kernel open ring_full 60 of 60",
            "loss kernel open ring_full 3 of 63",
            "loss kernel open too_big 2 of 2",
        ]
    );
}

#[test]
fn what_a_process_does_whose_fork_was_lost_is_told_all_the_same() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "read", json!({}));
    let instance = scene.watch[&11];
    scene.was_running(11, 12, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    scene.watch.insert(12, instance);
    scene.open(12, "/home/me/.ssh/id_rsa");
    let open = scene.of_type("file.open")[0].clone();
    assert_eq!((&open["process"]["pid"], &open["process"]["exe"]), (&json!(12), &json!("")));
    scene.exit(12, 0);
    assert_eq!(
        scene.story(),
        [
            "ALERT sensitive_file_read critical covert 1 x1",
            "open /home/me/.ssh/id_rsa covert 1",
            "exit 12 0",
        ]
    );
}

#[test]
fn a_server_whose_end_was_lost_ends_when_that_is_noticed() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "read", json!({}));
    let start = scene.tasks[&11].start_time / (10 * MILLISECOND);
    assert_eq!(scene.pipeline.living().map(|one| one.pid).collect::<Vec<_>>(), [11]);
    scene.input(Input::Gone { time: scene.now, processes: vec![(11, start)] });
    assert_eq!(scene.story(), ["exit 11 -", "call 1 read no_response", "exited weather"]);
    assert!(scene.instances.is_empty());
}

#[test]
fn processes_whose_end_was_lost_make_room_when_that_is_noticed() {
    const FIRST: u32 = 100_000;
    let mut scene = Scene::new();
    let count = u32::try_from(PROCESSES).unwrap();
    let run = |scene: &mut Scene, pid: u32, exe: &str| {
        scene.was_running(1, pid, TERMINAL, exe, &[exe]);
        scene.exec(pid, exe, &[exe]);
    };
    for pid in FIRST..FIRST + count {
        run(&mut scene, pid, "/bin/true");
        scene.tasks.remove(&pid);
    }
    assert_eq!(scene.pipeline.standing().processes, PROCESSES);
    run(&mut scene, 20, "/usr/bin/claude");
    assert_eq!(scene.story(), ["loss pipeline processes table_full 1 of 1"]);
    let mut gone: Vec<(u32, u64)> =
        scene.pipeline.outside().map(|one| (one.pid, one.start)).collect();
    gone.sort_unstable();
    assert_eq!(gone.len(), PROCESSES);
    scene.input(Input::Gone { time: scene.now, processes: gone });
    assert_eq!(scene.pipeline.outside().count(), 0);
    assert!(scene.pipeline.standing().processes < PROCESSES);
    run(&mut scene, 21, "/usr/bin/claude");
    scene.spawn(21, 22, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    scene.initialize(22);
    let found = scene.of_type("server.discovered");
    let evidence: Vec<&Value> = found
        .iter()
        .filter_map(|record| record["server"]["evidence"].as_array())
        .flatten()
        .map(|piece| &piece["kind"])
        .collect();
    assert!(evidence.contains(&&json!("parent")), "{evidence:?}");
    let outside: Vec<u32> = scene.pipeline.outside().map(|one| one.pid).collect();
    assert_eq!(outside, [21], "a server's own process is in its instance");
    let story = scene.story();
    assert!(!story.iter().any(|line| line.starts_with("loss")), "{story:?}");
    assert!(!story.iter().any(|line| line.starts_with("exit")), "{story:?}");
}

#[test]
fn a_server_whose_birth_was_lost_is_looked_for() {
    let mut scene = Scene::new();
    scene.config("files", "node", &["server.js"]);
    scene.was_running(CLIENT, 11, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    let id = instance_id(11, scene.tasks[&11].start_time);
    scene.watch.insert(11, id);
    scene.instances.insert(id, Channel { inodes: CHANNEL, offsets: (0, 0) });
    scene.open(11, "/a");
    assert_eq!(scene.story(), ["loss pipeline instances unknown 1 of 1"]);
    assert!(scene.actions.contains(&Action::LookAgain));
    scene.look();
    scene.open(11, "/b");
    assert_eq!(scene.story(), ["discovered files by config", "open /b background"]);
}

#[test]
fn a_full_watch_set_and_a_slow_output_are_losses() {
    let mut scene = Scene::new();
    scene.fork(CLIENT, 11);
    let body = wire::Exec { flags: wire::EXEC_WATCH_FULL, ..no_exec() };
    scene.send(Kind::Exec, 11, 0, bytemuck::bytes_of(&body), &[0; wire::ANCESTORS * 16]);
    scene.input(Input::OutputLoss {
        time: scene.now,
        output: "stdout".into(),
        reason: "queue_full".into(),
        total: 9,
    });
    assert_eq!(
        scene.story(),
        ["loss kernel watch table_full 1 of 1", "loss output stdout queue_full 9 of 9"]
    );
}

#[test]
fn what_could_not_be_looked_for_is_a_loss() {
    let mut scene = Scene::new();
    for total in [3, 3, 7] {
        scene.input(Input::LookLoss { time: scene.now, total });
    }
    assert_eq!(
        scene.story(),
        ["loss pipeline looks queue_full 3 of 3", "loss pipeline looks queue_full 4 of 7"]
    );
}

#[test]
fn the_last_record_of_a_run_holds_the_counters_and_what_was_counted() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "weather", json!({}));
    for _ in 0..3 {
        scene.open(11, "/home/me/.ssh/id_rsa");
    }
    scene.candidate(12);
    scene.open(12, "/etc/hosts");
    scene.forget();
    scene.counters("open", [8, 5, 3, 0, 0, 0]);
    scene.input(Input::Stop { time: scene.now, reason: "SIGTERM".into() });
    let status = scene.records.last().unwrap()["status"].clone();
    assert_eq!(
        status["message"],
        "mcpwatch stopped: SIGTERM; calls that still wait for a response: 1; processes of which it is not known \
         yet whether they are servers: 1 (2 events dropped)"
    );
    assert_eq!(
        status["counters"],
        json!([{"probe": "open", "seen": 8, "sent": 5, "ring_full": 3, "too_big": 0,
                "truncated": 0, "filtered": 0}])
    );
    assert_eq!(
        scene.story(),
        [
            "loss kernel open ring_full 3 of 3",
            "ALERT sensitive_file_read critical covert 1 x3",
            "status stopped",
        ]
    );
}

#[test]
fn system_calls_are_watched_while_there_is_something_to_watch() {
    let mut scene = Scene::with("[capture]\ndetach_delay_ms = 5000");
    scene.wait(60 * SECOND);
    assert_eq!(scene.watching(), [false; 0]);
    scene.candidate(11);
    assert_eq!(scene.watching(), [true]);
    scene.exit(11, 0);
    scene.wait(4 * SECOND);
    assert_eq!(scene.watching(), [true], "another may come at once");
    scene.candidate(12);
    scene.exit(12, 0);
    scene.wait(4 * SECOND);
    assert_eq!(scene.watching(), [true]);
    scene.wait(2 * SECOND);
    assert_eq!(scene.watching(), [true, false]);
    scene.candidate(13);
    assert_eq!(scene.watching(), [true, false, true]);
}

#[test]
fn hooks_that_are_missing_are_named() {
    let mut scene = Scene::new();
    let names = crate::kernel::hooks::HOOKS.iter().map(|hook| hook.name);
    let hooks = names
        .map(|name| HookState {
            name: name.into(),
            tier: "tracepoint".into(),
            state: if name == "connect4" { "missing" } else { "attached" }.into(),
            reason: (name == "connect4").then(|| "no cgroup v2".to_owned()),
        })
        .collect();
    scene.input(Input::Hooks { time: scene.now, state: "started".into(), hooks });
    let status = &scene.of_type("status").last().unwrap()["status"];
    assert!(status["message"].as_str().unwrap().contains("connect4"), "{status}");
    assert_eq!(scene.story(), ["status started", "status degraded"]);
}

#[test]
fn what_fails_only_when_watching_begins_needs_attention_once() {
    let hook = |name: &str, tier: &str, state: &str| HookState {
        name: name.into(),
        tier: tier.into(),
        state: state.into(),
        reason: Some("not permitted".into()),
    };
    let mut scene = Scene::new();
    let mut told = |state: &str, hooks: Vec<HookState>| {
        let before = scene.story().len();
        scene.input(Input::Hooks { time: scene.now, state: state.into(), hooks });
        let message = scene.of_type("status").pop().unwrap()["status"]["message"].to_string();
        (scene.story().split_off(before), message)
    };
    let (story, _) = told(
        "started",
        vec![hook("packets_in", "cgroup", "ready"), hook("sys_openat", "fexit", "ready")],
    );
    assert_eq!(story, ["status started"]);
    let without = || hook("packets_in", "cgroup", "missing");
    let (story, message) =
        told("attached", vec![without(), hook("sys_openat", "fexit", "attached")]);
    assert_eq!(story, ["status attached", "status degraded"]);
    assert!(message.contains("packets_in") && !message.contains("turned out"), "{message}");
    let by_all = || hook("sys_openat", "tracepoint", "attached");
    let (story, message) = told("settled", vec![without(), by_all()]);
    assert_eq!(story, ["status settled", "status degraded"]);
    assert!(
        message.contains("turned out not to work") && !message.contains("packets_in"),
        "{message}"
    );
    let (story, _) = told("detached", vec![without(), by_all()]);
    assert_eq!(story, ["status detached"]);
}

#[test]
fn where_the_hook_on_all_calls_is_refused_nobody_says_that_they_are_watched() {
    let hook = |name: &str, state: &str| HookState {
        name: name.into(),
        tier: "tracepoint".into(),
        state: state.into(),
        reason: (state == "missing").then(|| "out of memory".to_owned()),
    };
    let mut scene = Scene::new();
    let mut told = |told: &str, state: &str| {
        let before = scene.story().len();
        let hooks = vec![hook("sys_exit", state), hook("sys_openat", state)];
        scene.input(Input::Hooks { time: scene.now, state: told.into(), hooks });
        let message = scene.of_type("status").pop().unwrap()["status"]["message"].to_string();
        (scene.story().split_off(before), message)
    };
    told("started", "ready");
    let (story, message) = told("degraded", "missing");
    assert_eq!(story, ["status degraded"]);
    assert_eq!(message, r#""some hooks are missing: sys_exit""#, "which stands for all calls");
    // The hook on opens through io_uring came.
    let (story, message) = told("settled", "missing");
    assert_eq!(story, ["status settled"]);
    assert!(message.contains("not watched: out of memory"), "{message}");
    assert_eq!(told("detached", "ready").0, ["status detached"]);
    assert_eq!(told("degraded", "missing").0, ["status degraded"], "each time");
    let (story, message) = told("attached", "attached");
    assert_eq!(story, ["status attached"]);
    assert!(message.contains("watched from now on"), "{message}");
}

#[test]
fn a_call_the_kernel_does_not_have_is_not_missing() {
    let mut scene = Scene::new();
    let hook = HookState {
        name: "sys_fchmodat2".into(),
        tier: "fexit".into(),
        state: "absent".into(),
        reason: Some("this kernel has no __x64_sys_fchmodat2".into()),
    };
    scene.input(Input::Hooks { time: scene.now, state: "started".into(), hooks: vec![hook] });
    let statuses = scene.of_type("status");
    let told: Vec<_> = statuses
        .iter()
        .map(|one| (&one["status"]["state"], &one["status"]["hooks"][0]["state"]))
        .collect();
    assert_eq!(told, [(&json!("started"), &json!("absent"))]);
}

#[test]
fn the_tier_that_serves_in_the_end_is_told() {
    for (tier, reason, expected) in [
        ("fexit", None, "tier `fexit`"),
        ("tracepoint", Some("fexit: not permitted"), "tier `tracepoint`, for which every call"),
    ] {
        let mut scene = Scene::new();
        scene.candidate(11);
        let hook = HookState {
            name: "sys_openat".into(),
            tier: tier.into(),
            state: "attached".into(),
            reason: reason.map(str::to_owned),
        };
        let state = "settled".into();
        scene.input(Input::Hooks { time: scene.now, state, hooks: vec![hook] });
        let status = &scene.of_type("status")[0]["status"];
        assert_eq!(status["state"], "settled");
        assert_eq!(status["hooks"][0]["tier"], tier);
        let message = status["message"].as_str().unwrap();
        assert!(message.contains(expected) && message.contains(reason.unwrap_or("")), "{message}");
    }
}

#[test]
fn the_gap_before_the_attaching_is_told() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.now += 700_000;
    scene.input(Input::Hooks { time: scene.now, state: "attached".into(), hooks: Vec::new() });
    let message = scene.of_type("status")[0]["status"]["message"].as_str().unwrap();
    assert!(message.contains("first 700 µs"), "{message}");
}

fn no_exec() -> wire::Exec {
    bytemuck::Zeroable::zeroed()
}
