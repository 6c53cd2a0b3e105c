//! Programs: those without a name, scripts, and who started what.

use std::path::{Path, PathBuf};

use mcpwatch_tests::{Case, Play, case, deps, text};
use serde_json::{Value, json};

use crate::alert;

#[test]
fn programs_without_a_name_are_shown_as_such_with_their_ancestors() {
    let play = Play::begin();
    let gone = play.scene.path("gone");
    let anchor = u64::from(play.scene.anchor_pid());
    let kind = |kind: &str, path: &str| json!({"type": "process.exec", "relation": "covert", "exec": {"kind": kind, "path": path}});
    let mut deleted = kind("deleted", &gone);
    deleted["relation"] = json!("requested");
    let before = play.agent.count();
    let wrong: Vec<String> = [
        case("run_memory", json!({}), &[kind("memfd", "/memfd:agent")]),
        case("run_deleted", json!({"path": gone}), &[deleted]),
    ]
    .iter()
    .flat_map(|case| play.play(case))
    .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let records = play.agent.since(before);
    let exec = records.of("process.exec").next().expect("an exec");
    let ancestors = exec["exec"]["ancestors"].as_array().expect("ancestors");
    // The server, the client, and the anchor of the scene, where the scope ends.
    let pids: Vec<u64> = ancestors.iter().filter_map(|one| one["pid"].as_u64()).collect();
    assert_eq!(pids.last(), Some(&anchor), "{ancestors:?}");
    assert!(pids.contains(&u64::from(play.client.pid())), "{ancestors:?}");
    assert!(text(&ancestors[0], "exe").contains("python"), "{ancestors:?}");
    play.play_all(&[]);
}

/// Interpreters follow links, complete names and search `PATH`, each in its own way.
#[test]
fn a_script_is_known_by_where_its_interpreter_finds_it() {
    let play = Play::begin();
    let (python, sh) = (deps().python(), PathBuf::from("/bin/sh"));
    let home = play.scene.path("");
    for (interpreter, name, script, at) in [
        (&*python, "plugin.py", "/proc/self/cwd/plugin.py", &*home),
        (Path::new("node"), "plugin.js", "/proc/self/cwd/plugin.js", &home),
        (Path::new("node"), "other.js", "/proc/self/cwd/other", &home),
        (&*sh, "plugin.sh", "/proc/self/cwd/plugin.sh", &home),
        (Path::new("bash"), "tool", "tool", "/"),
    ] {
        let before = play.agent.count();
        let run = case(
            "run_script",
            json!({"interpreter": interpreter, "name": name, "script": script, "at": at}),
            &[alert("download_exec", "critical")],
        );
        let wrong = play.play(&run);
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        let fresh = play.agent.since(before);
        let mut alerts =
            fresh.of("alert").filter(|record| text(record, "alert.rule") == "download_exec");
        let reason = alerts.next().map_or("", |alert| text(alert, "alert.reason"));
        let lies = play.scene.path(name);
        assert!(reason.contains(&format!(": {lies}, which ")), "{name}: {reason}");
        assert!(alerts.next().is_none(), "{name}: {}", fresh.digest());
    }
    play.play_all(&[]);
}

/// The ancestors of the one program that a call runs under this name, by process id, and those that had ended.
fn ancestors_of(play: &Play, case: &Case, name: &str) -> (Vec<u64>, Vec<u64>) {
    let before = play.agent.count();
    let wrong = play.play(case);
    assert!(wrong.is_empty(), "{wrong:?}");
    let records = play.agent.since(before);
    let exec = records.of("process.exec").find(|exec| exec["exec"]["argv"][0] == name);
    let exec = exec.unwrap_or_else(|| panic!("an exec of {name}"));
    assert!(exec.get("truncated").is_none(), "{exec}");
    let all = exec["exec"]["ancestors"].as_array().expect("ancestors");
    let pid = |one: &Value| one["pid"].as_u64().expect("a process id");
    let ended = all.iter().filter(|one| one["ended"] == true);
    (all.iter().map(pid).collect(), ended.map(pid).collect())
}

#[test]
fn ancestors_are_complete_however_far_above() {
    let play = Play::begin();
    let anchor = u64::from(play.scene.anchor_pid());
    let run = json!({"type": "process.exec", "exec": {"argv": ["/bin/true"]}});
    let deep = case("run_below", json!({"levels": 40}), &[run]);
    let (pids, ended) = ancestors_of(&play, &deep, "/bin/true");
    assert_eq!(ended, [0_u64; 0], "{pids:?}");
    // 41 shells, the server, the client, and the anchor, where the scope ends.
    assert!(pids.len() >= 44, "{pids:?}");
    let client = u64::from(play.client.pid());
    assert!(pids.iter().skip(42).any(|pid| *pid == client), "{pids:?}");
    assert_eq!(pids.last(), Some(&anchor), "{pids:?}");
    play.play_all(&[]);
}

#[test]
fn a_daemon_is_shown_below_those_who_started_it() {
    let play = Play::begin();
    let anchor = u64::from(play.scene.anchor_pid());
    let run = json!({"type": "process.exec", "exec": {"argv": ["daemon"]}});
    let (pids, ended) = ancestors_of(&play, &case("run_daemon", json!({}), &[run]), "daemon");
    assert_eq!(ended, pids[..1], "{pids:?}");
    assert!(pids.contains(&u64::from(play.client.pid())), "{pids:?}");
    assert_eq!(pids.last(), Some(&anchor), "{pids:?}");
    play.play_all(&[]);
}
