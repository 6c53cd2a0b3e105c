//! What people and other programs read besides the JSON stream: the console, OCSF, `doctor`, `servers`.

use std::process::Command;
use std::time::{Duration, Instant};

use mcpwatch_tests::{Agent, Era, Scene, Sdk, agent_program, text};
use serde_json::{Value, json};

/// Waits until the agent's output holds a text.
#[track_caller]
fn wait_for_output(agent: &Agent, part: &str) -> String {
    let until = Instant::now() + Duration::from_secs(20);
    loop {
        let output = agent.output();
        if output.contains(part) {
            return output;
        }
        assert!(Instant::now() < until, "no `{part}` in:\n{output}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn the_console_shows_calls_with_their_effects_and_escapes_what_is_not_ours() {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&scene.labelled_servers());
    // Clears the line and the name, and turns what follows around.
    let evil = scene.write("evil\u{1b}[2K\r\u{202e}txt.\u{200b}harmless", "text");
    let agent = scene.agent().arguments(&["--format", "pretty"]).start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["labelled-rust"], Era::Default);
    client.call("labelled-rust", "read_file", json!({"path": evil}));
    client.call("labelled-rust", "get_time", json!({}));
    agent.find("the second call", |record| text(record, "call.tool") == "get_time");
    let output = wait_for_output(&agent, "get_time");
    wait_for_output(&agent, "sensitive_file_read");
    assert!(output.contains("read_file") && output.contains("harmless"), "{output}");
    for hostile in ['\u{1b}', '\r', '\u{202e}', '\u{200b}'] {
        assert!(!output.contains(hostile), "{hostile:?} on the console:\n{output:?}");
    }
    // The call's block: opened by its name, its effects below and to the right of that, closed by its end.
    let texts: Vec<String> = output.lines().map(|line| line.chars().skip(28).collect()).collect();
    let open = texts.iter().position(|text| text.starts_with("┌ read_file #"));
    let from = open.unwrap_or_else(|| panic!("no heading of the call:\n{output}"));
    let below = texts[from + 1..].iter().take_while(|text| text.starts_with("│ "));
    let effects: Vec<&String> = below.collect();
    assert!(
        effects.iter().any(|text| text.contains("harmless")),
        "no effect below the call:\n{output}"
    );
    let end = &texts[from + 1 + effects.len()];
    assert!(end.starts_with("└ read_file #") && end.contains(" ok "), "{end}\n{output}");
    let after = &texts[from + 2 + effects.len()..];
    assert!(
        after
            .iter()
            .any(|text| text.starts_with("│ ALERT ") && text.contains("sensitive_file_read")),
        "the other call's alert stands in its block:\n{output}"
    );
    // The stream keeps the name exactly, and safe under `tail -f`.
    let written = std::fs::read_to_string(scene.backstage("events.jsonl")).expect("the event file");
    assert!(!written.contains('\u{1b}') && !written.contains('\u{202e}'));
    let records = agent.stop().records;
    assert!(records.of("file.open").any(|record| text(record, "file.path") == evil));
}

#[test]
fn ocsf_events_have_consistent_classes() {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&scene.labelled_servers());
    let agent = scene.agent().events("-").arguments(&["--format", "ocsf"]).spawn_only();
    wait_for_output(&agent, "class_uid");
    let client = scene.client(Sdk::TypeScript);
    client.open(&config, &["labelled-rust"], Era::Default);
    for tool in ["get_time", "get_quote", "get_weather"] {
        client.call("labelled-rust", tool, json!({}));
    }
    let output = wait_for_output(&agent, "shell_spawn");
    let events: Vec<Value> =
        output.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    for event in &events {
        let number =
            |name: &str| event[name].as_i64().unwrap_or_else(|| panic!("no {name}: {event}"));
        assert_eq!(
            number("type_uid"),
            number("class_uid") * 100 + number("activity_id"),
            "{event}"
        );
        assert_eq!(number("class_uid") / 1000, number("category_uid"), "{event}");
        assert!((0..=6).contains(&number("severity_id")) && number("time") > 0, "{event}");
    }
    for class in [1001, 1007, 2004, 4001, 6003] {
        assert!(
            events.iter().any(|event| event["class_uid"] == class),
            "no event of class {class}"
        );
    }
    agent.signal(libc::SIGTERM);
    assert_eq!(agent.wait(Duration::from_secs(10)).code, Some(0));
}

#[test]
fn doctor_says_hook_by_hook_what_works_here() {
    let run = |arguments: &[&str]| {
        let done =
            Command::new(agent_program()).args(arguments).output().expect("it can be started");
        assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("UTF-8")
    };
    mcpwatch_tests::require_root();
    let report: Value = serde_json::from_str(&run(&["doctor", "--json"])).expect("JSON");
    let shown = run(&["doctor"]);
    for hook in ["sys_exit", "sched_process_exec", "connect4"] {
        assert!(report.to_string().contains(hook), "no {hook} in {report:#}");
        assert!(shown.contains(hook), "no {hook} in\n{shown}");
    }
}

#[test]
fn servers_are_shown_without_loading_anything() {
    let scene = Scene::new();
    let config = scene.config(&[("shown", scene.loads_server())]);
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Default);
    let shown = Command::new(agent_program())
        .args(["servers", "--json"])
        .output()
        .expect("it can be started");
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let shown = String::from_utf8(shown.stdout).expect("UTF-8");
    // One document or one a line: either way a program can read it.
    let documents = serde_json::Deserializer::from_str(&shown).into_iter::<Value>();
    let all = Value::from(documents.collect::<Result<Vec<_>, _>>().expect("JSON")).to_string();
    assert!(all.contains("\"shown\"") && all.contains("mcp.json"), "{all}");
}
