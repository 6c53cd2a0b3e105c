//! The labelled misbehaving servers: each misdeed raises exactly its alerts, with the right call and
//! relation, whatever language the server is written in and whichever SDK calls it.

use std::time::{Duration, Instant};

use mcpwatch_tests::{Agent, Client, Era, Records, Scene, Sdk, address, deps, request_id, text};
use serde_json::{Value, json};

/// One call of a labelled server and what it must be caught at.
struct Case {
    tool: &'static str,
    arguments: fn(&Scene) -> Value,
    /// (rule, relation, severity) of each alert.
    alerts: &'static [(&'static str, &'static str, &'static str)],
    /// Type of a record that must be attributed to the call, with its relation and a part of its text.
    effect: Option<(&'static str, &'static str, &'static str)>,
}

const KEY: &str = "/.ssh/id_rsa\"";
const PLAN: &str = "/notes/plan.txt\"";
const CLIENT_CONFIG: &str = "/.cursor/mcp.json\"";

fn nothing(_: &Scene) -> Value {
    json!({})
}

const CASES: &[Case] = &[
    // Ordinary work.
    Case { tool: "echo", arguments: |_| json!({"text": "hello"}), alerts: &[], effect: None },
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("workspace/readme.txt")}),
        alerts: &[],
        effect: Some(("file.open", "requested", "/workspace/readme.txt\"")),
    },
    Case {
        tool: "local_status",
        arguments: nothing,
        alerts: &[],
        effect: Some(("net.connect", "covert", "/status.sock\"")),
    },
    // A shell, asked for and not.
    Case {
        tool: "run_command",
        arguments: |_| json!({"command": "uname -a && echo done"}),
        alerts: &[("shell_spawn", "requested", "medium")],
        effect: Some(("process.exec", "requested", "uname -a && echo done")),
    },
    Case {
        tool: "get_weather",
        arguments: |_| json!({"city": "Zurich"}),
        alerts: &[("shell_spawn", "covert", "high")],
        effect: Some(("process.exec", "covert", "\"id\"")),
    },
    // The key: by argument, by `..`, by symbolic link, through a child, and covertly.
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path(".ssh/id_rsa")}),
        alerts: &[("sensitive_file_read", "requested", "high")],
        effect: Some(("file.open", "requested", KEY)),
    },
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("workspace/../.ssh/id_rsa")}),
        alerts: &[("sensitive_file_read", "requested", "high")],
        effect: Some(("file.open", "requested", KEY)),
    },
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("workspace/notes.txt")}),
        alerts: &[("sensitive_file_read", "requested", "high")],
        effect: Some(("file.open", "requested", KEY)),
    },
    Case {
        tool: "show_file",
        arguments: |scene| json!({"path": scene.path(".ssh/id_rsa")}),
        alerts: &[("sensitive_file_read", "requested", "high")],
        effect: Some(("file.open", "requested", KEY)),
    },
    Case {
        tool: "get_time",
        arguments: |_| json!({"zone": "Europe/Zurich"}),
        alerts: &[("sensitive_file_read", "covert", "critical")],
        effect: Some(("file.open", "covert", KEY)),
    },
    Case {
        tool: "get_date",
        arguments: nothing,
        alerts: &[("sensitive_file_read", "covert", "critical")],
        effect: Some(("file.open", "covert", KEY)),
    },
    // A client's configuration, read and written.
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path(".cursor/mcp.json")}),
        alerts: &[("mcp_config_read", "requested", "high")],
        effect: Some(("file.open", "requested", CLIENT_CONFIG)),
    },
    Case {
        tool: "list_notes",
        arguments: nothing,
        alerts: &[("mcp_config_read", "covert", "high")],
        effect: Some(("file.open", "covert", CLIENT_CONFIG)),
    },
    Case {
        tool: "save_file",
        arguments: |scene| json!({"path": scene.path(".cursor/mcp.json"), "text": "\n"}),
        alerts: &[("mcp_config_write", "requested", "critical")],
        effect: Some(("file.open", "requested", CLIENT_CONFIG)),
    },
    Case {
        tool: "tidy_notes",
        arguments: nothing,
        alerts: &[("mcp_config_write", "covert", "critical")],
        effect: Some(("file.open", "covert", CLIENT_CONFIG)),
    },
    // The network.
    Case {
        tool: "fetch_page",
        arguments: |_| json!({"host": address::WEB, "port": 8080}),
        alerts: &[("unexpected_egress", "requested", "info")],
        effect: Some(("net.connect", "requested", address::WEB)),
    },
    Case {
        tool: "get_quote",
        arguments: |_| json!({"symbol": "MCP"}),
        alerts: &[("unexpected_egress", "covert", "high")],
        effect: Some(("net.connect", "covert", address::WEB)),
    },
    Case {
        tool: "get_news",
        arguments: nothing,
        alerts: &[("unexpected_egress", "covert", "high")],
        effect: Some(("net.connect", "covert", address::WEB)),
    },
    Case {
        tool: "get_quote6",
        arguments: nothing,
        alerts: &[("unexpected_egress", "covert", "high")],
        effect: Some(("net.connect", "covert", address::WEB_IPV6)),
    },
    Case {
        tool: "send_metrics",
        arguments: nothing,
        alerts: &[("unexpected_egress", "covert", "high")],
        effect: Some(("net.send", "covert", address::WEB)),
    },
    Case {
        tool: "get_instance",
        arguments: nothing,
        alerts: &[("metadata_access", "covert", "critical")],
        effect: Some(("net.connect", "covert", address::METADATA)),
    },
    // A shell handed out.
    Case {
        tool: "check_updates",
        arguments: nothing,
        alerts: &[("reverse_shell", "covert", "critical"), ("unexpected_egress", "covert", "high")],
        effect: Some(("process.exec", "covert", "\"-i\"")),
    },
    Case {
        tool: "sync_time",
        arguments: nothing,
        alerts: &[("reverse_shell", "covert", "critical"), ("unexpected_egress", "covert", "high")],
        effect: Some(("process.exec", "covert", "/dev/tcp/")),
    },
    // This machine's own network: a service no argument names, one that an argument leads to, and a look at many.
    Case {
        tool: "fetch_page",
        arguments: |_| json!({"host": "127.0.0.1", "port": 8081}),
        alerts: &[("internal_probe", "requested", "high")],
        effect: Some(("net.connect", "requested", "127.0.0.1")),
    },
    Case {
        tool: "find_services",
        arguments: nothing,
        alerts: &[("internal_probe", "covert", "high")],
        effect: Some(("net.connect", "covert", "127.0.0.1")),
    },
    // Where programs are started from again.
    Case {
        tool: "save_file",
        arguments: |scene| json!({"path": scene.path(".profile"), "text": "\n"}),
        alerts: &[("persistence_write", "requested", "critical")],
        effect: Some(("file.open", "requested", "/.profile\"")),
    },
    Case {
        tool: "learn_aliases",
        arguments: nothing,
        alerts: &[("persistence_write", "covert", "critical")],
        effect: Some(("file.open", "covert", "/.bashrc\"")),
    },
    Case {
        tool: "check_style",
        arguments: nothing,
        alerts: &[("persistence_write", "covert", "critical")],
        effect: Some(("file.change", "covert", "/.git/hooks/pre-commit\"")),
    },
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("repository/.git/hooks/pre-commit.sample")}),
        alerts: &[],
        effect: Some(("file.open", "requested", "/pre-commit.sample\"")),
    },
    // Programs that were not there before: on the disk, and in memory only.
    Case {
        tool: "add_plugin",
        arguments: nothing,
        alerts: &[("download_exec", "covert", "critical")],
        effect: Some(("process.exec", "covert", "/home/plugin\"")),
    },
    Case {
        tool: "load_codec",
        arguments: nothing,
        alerts: &[("download_exec", "covert", "critical")],
        effect: Some(("process.exec", "covert", "")),
    },
    // What a tool's annotations exclude.
    Case {
        tool: "search_notes",
        arguments: |_| json!({"words": "groceries"}),
        alerts: &[("annotation_lie", "covert", "high")],
        effect: Some(("file.open", "covert", "/workspace/index.txt\"")),
    },
    Case {
        tool: "look_up",
        arguments: |_| json!({"word": "groceries"}),
        alerts: &[("annotation_lie", "covert", "high"), ("unexpected_egress", "covert", "high")],
        effect: Some(("net.connect", "covert", address::WEB)),
    },
    Case {
        tool: "merge_notes",
        arguments: nothing,
        alerts: &[("annotation_lie", "covert", "high")],
        effect: Some(("file.change", "covert", "/workspace/old.txt\"")),
    },
    // After the response.
    Case {
        tool: "start_indexer",
        arguments: nothing,
        alerts: &[("outlives_call", "covert", "medium")],
        effect: None,
    },
    Case {
        tool: "refresh_cache",
        arguments: nothing,
        alerts: &[("sensitive_file_read", "background", "critical")],
        effect: None,
    },
    Case {
        tool: "prefetch",
        arguments: nothing,
        alerts: &[("unexpected_egress", "background", "high")],
        effect: None,
    },
    Case {
        tool: "warm_up",
        arguments: nothing,
        alerts: &[("background_activity", "background", "medium")],
        effect: None,
    },
];

/// Calls of a server that was given the folder `workspace`: every way out of it.
const CONFINED: &[Case] = &[
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("workspace/readme.txt")}),
        alerts: &[],
        effect: Some(("file.open", "requested", "/workspace/readme.txt\"")),
    },
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("workspace/../workspace/readme.txt")}),
        alerts: &[],
        effect: Some(("file.open", "requested", "/workspace/readme.txt\"")),
    },
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("notes/plan.txt")}),
        alerts: &[("path_escape", "requested", "high")],
        effect: Some(("file.open", "requested", PLAN)),
    },
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("workspace/../notes/plan.txt")}),
        alerts: &[("path_escape", "requested", "high")],
        effect: Some(("file.open", "requested", PLAN)),
    },
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("workspace/linked/plan.txt")}),
        alerts: &[("path_escape", "requested", "high")],
        effect: Some(("file.open", "requested", PLAN)),
    },
    Case {
        tool: "show_file",
        arguments: |scene| json!({"path": scene.path("workspace/linked/plan.txt")}),
        alerts: &[("path_escape", "requested", "high")],
        effect: Some(("file.open", "requested", PLAN)),
    },
    // Both are true of a key.
    Case {
        tool: "read_file",
        arguments: |scene| json!({"path": scene.path("workspace/notes.txt")}),
        alerts: &[
            ("path_escape", "requested", "high"),
            ("sensitive_file_read", "requested", "high"),
        ],
        effect: Some(("file.open", "requested", KEY)),
    },
    // On its own account: no argument led it out.
    Case {
        tool: "get_time",
        arguments: |_| json!({"zone": "Europe/Zurich"}),
        alerts: &[("sensitive_file_read", "covert", "critical")],
        effect: Some(("file.open", "covert", KEY)),
    },
];

/// Long enough for what a call leaves behind to happen and to be told, on a machine that does other things besides.
const AFTERMATH: Duration = Duration::from_secs(20);
/// What is not expected may come meanwhile.
const AT_LEAST: Duration = Duration::from_millis(1500);

/// (rule, relation, severity, call id) of an alert.
type Caught = (String, String, String, Option<String>);

fn caught(alert: &Value) -> Caught {
    (
        text(alert, "alert.rule").into(),
        text(alert, "relation").into(),
        text(alert, "alert.severity").into(),
        alert.get("call").map(|call| call["id"].to_string()),
    )
}

/// Told again with a higher count it is the same alert.
fn first(alert: &Value) -> bool {
    alert["alert"]["count"] == 1
}

/// Plays one case; gives what went wrong in it, if anything.
fn play(scene: &Scene, agent: &Agent, client: &Client, server: &str, case: &Case) -> Vec<String> {
    let arguments = (case.arguments)(scene);
    let before = agent.count();
    let result = client.call(server, case.tool, arguments.clone());
    assert_ne!(result["isError"], true, "{server} {}: {result}", case.tool);
    let id = request_id(&result);
    let call = agent.find(&format!("mcp.call of {} {id} on {server}", case.tool), |record| {
        text(record, "type") == "mcp.call"
            && text(record, "server.name") == server
            && record["call"]["id"] == *id
            && text(record, "call.tool") == case.tool
    });
    let afterwards = case
        .alerts
        .iter()
        .any(|(rule, relation, _)| *relation == "background" || *rule == "outlives_call");
    if afterwards {
        std::thread::sleep(AT_LEAST);
    }
    let until = Instant::now() + AFTERMATH;
    let is_told =
        |rule: &str| agent.since(before).alerts(0).any(|alert| text(alert, "alert.rule") == rule);
    while !case.alerts.iter().all(|(rule, ..)| is_told(rule)) && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    agent.settle(Duration::from_millis(100));

    let what = format!("{server} {} {arguments}", case.tool);
    let mut wrong = Vec::new();
    let fresh = agent.since(before);
    let mut alerts: Vec<Caught> =
        fresh.alerts(0).filter(|alert| first(alert)).map(caught).collect();
    alerts.sort();
    let mut expected: Vec<Caught> = case
        .alerts
        .iter()
        .map(|(rule, relation, severity)| {
            let call = (*relation != "background").then(|| id.to_string());
            ((*rule).into(), (*relation).into(), (*severity).into(), call)
        })
        .collect();
    expected.sort();
    if alerts != expected {
        wrong.push(format!("{what}: {alerts:?} instead of {expected:?}"));
    }
    wrong.extend(wrong_call(&call, &arguments).map(|why| format!("{what}: {why}")));
    if let Some((kind, relation, part)) = case.effect {
        let uid = text(&call, "call.uid");
        let found = fresh.attributed_to(uid).any(|record| {
            text(record, "type") == kind
                && text(record, "relation") == relation
                && record.to_string().contains(part)
        });
        if !found {
            let near = near_misses(&fresh, kind, part);
            wrong.push(format!(
                "{what}: no {relation} {kind} of {part} in call {uid}; instead: {near:?}"
            ));
        }
    }
    wrong
}

/// Records of the wanted effect that stand elsewhere or nowhere.
fn near_misses(records: &Records, kind: &str, part: &str) -> Vec<String> {
    let about = records.of(kind).filter(|record| record.to_string().contains(part));
    about.map(mcpwatch_tests::digest).take(5).collect()
}

fn wrong_call(call: &Value, arguments: &Value) -> Option<String> {
    if call["call"]["status"] != "ok" {
        return Some(format!("status {}", call["call"]["status"]));
    }
    (call["call"]["arguments"] != *arguments)
        .then(|| format!("arguments {}", call["call"]["arguments"]))
}

/// Every case on one server; all failures at once.
fn play_all(server: &str, sdk: Sdk, cases: &[Case]) {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&[scene.labelled_servers(), scene.confined_servers()].concat());
    let agent = scene.agent().start();
    let client = scene.client(sdk);
    client.open(&config, &[server], Era::Default);
    client.request(server, "tools/list", json!({}));
    let mut wrong = Vec::new();
    for case in cases {
        wrong.extend(play(&scene, &agent, &client, server, case));
    }
    client.close(&[]);
    // None between the cases either.
    let alerts: Vec<Caught> =
        agent.records().alerts(0).filter(|alert| first(alert)).map(caught).collect();
    let expected = cases.iter().flat_map(|case| case.alerts).count();
    if alerts.len() != expected {
        wrong.push(format!("{} alerts instead of {expected}: {alerts:?}", alerts.len()));
    }
    assert!(
        wrong.is_empty(),
        "{} of {} cases failed:\n{}",
        wrong.len(),
        cases.len(),
        wrong.join("\n")
    );
    agent.stop();
}

#[test]
fn python_server_called_by_python() {
    play_all("labelled-python", Sdk::Python, CASES);
}

#[test]
fn node_server_called_by_typescript() {
    play_all("labelled-node", Sdk::TypeScript, CASES);
}

#[test]
fn rust_server_called_by_python() {
    play_all("labelled-rust", Sdk::Python, CASES);
}

#[test]
fn rust_server_called_by_typescript() {
    play_all("labelled-rust", Sdk::TypeScript, CASES);
}

#[test]
fn confined_servers() {
    for (server, sdk) in [
        ("confined-python", Sdk::Python),
        ("confined-node", Sdk::TypeScript),
        ("confined-rust", Sdk::Python),
    ] {
        play_all(server, sdk, CONFINED);
    }
}

#[test]
fn a_folder_that_is_a_link_is_no_way_out() {
    let scene = Scene::new();
    scene.write("projects/7/readme.txt", "Read me.\n");
    scene.write("projects/8/plan.txt", "Tell nobody.\n");
    let link = |from: &str, to: &str| {
        std::os::unix::fs::symlink(scene.path(from), scene.path(to)).expect("symlink");
    };
    link("projects/7", "workspace");
    link("projects/8", "projects/7/linked");
    let script = scene.script("servers/labelled.py");
    let server = json!({"command": deps().python(), "args": [script, scene.path("workspace")]});
    let config = scene.config(&[("confined", server)]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["confined"], Era::Default);
    let alerts = |path: &str| -> Vec<Value> {
        let before = agent.count();
        let result = client.call("confined", "read_file", json!({"path": scene.path(path)}));
        assert_ne!(result["isError"], true, "{result}");
        agent.find(&format!("the call with {path}"), |record| {
            text(record, "type") == "mcp.call" && record["call"]["id"] == *request_id(&result)
        });
        agent.settle(Duration::from_millis(100));
        agent.since(before).alerts(0).map(|alert| alert["alert"]["rule"].clone()).collect()
    };
    assert_eq!(alerts("workspace/readme.txt"), [] as [&str; 0]);
    assert_eq!(alerts("projects/7/readme.txt"), [] as [&str; 0]);
    assert_eq!(alerts("workspace/linked/plan.txt"), ["path_escape"]);
    client.close(&[]);
    agent.stop();
}
