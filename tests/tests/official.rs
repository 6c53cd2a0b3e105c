//! Ordinary work of the official servers, called by the official clients: each server is discovered in
//! time and named right, each call recorded once, each effect attributed to it, and nothing raises an
//! alert of medium or above.

use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use mcpwatch_tests::{Client, Era, Records, Scene, Sdk, Visitor, address, deps, digest, int, text};
use serde_json::{Value, json};

/// A server as it stands in the `mcp.json`, and what it is asked to do.
struct Work {
    /// Key in the `mcp.json`, which no server calls itself.
    key: &'static str,
    entry: fn(&Scene) -> Value,
    era: Era,
    /// Era, revision and version that must be found out, where they do not depend on the client.
    spoken: Option<(&'static str, &'static str, &'static str)>,
    /// The kinds of evidence there are before it has said a word.
    found_by: &'static [&'static str],
    calls: &'static [Ask],
}

/// One request and what must be recorded of it.
struct Ask {
    method: &'static str,
    /// The tool, or the params of another method.
    tool: &'static str,
    arguments: fn(&Scene) -> Value,
    status: &'static str,
    /// Type, relation (any when empty) and a part of the text of an effect that belongs to the call.
    effect: Option<(&'static str, &'static str, &'static str)>,
}

const fn tool(
    tool: &'static str,
    arguments: fn(&Scene) -> Value,
    effect: Option<(&'static str, &'static str, &'static str)>,
) -> Ask {
    Ask { method: "tools/call", tool, arguments, status: "ok", effect }
}

const fn other(method: &'static str, params: fn(&Scene) -> Value, status: &'static str) -> Ask {
    Ask { method, tool: "", arguments: params, status, effect: None }
}

const WORK: &[Work] = &[
    Work {
        key: "files",
        entry: |scene| json!({"command": "node", "args": [deps().npm_server("filesystem"), scene.path("workspace")]}),
        era: Era::Default,
        spoken: None,
        found_by: &["command_line", "config"],
        calls: &[
            other("tools/list", |_| json!({}), "ok"),
            tool(
                "list_directory",
                |scene| json!({"path": scene.path("workspace")}),
                Some(("file.open", "requested", "/home/workspace\"")),
            ),
            tool(
                "write_file",
                |scene| json!({"path": scene.path("workspace/new.txt"), "content": "hello"}),
                Some(("file.open", "requested", "/workspace/new.txt")),
            ),
            tool(
                "read_text_file",
                |scene| json!({"path": scene.path("workspace/readme.txt")}),
                Some(("file.open", "requested", "/workspace/readme.txt\"")),
            ),
            Ask {
                status: "tool_error",
                ..tool("get_file_info", |_| json!({"path": "/etc/hostname"}), None)
            },
        ],
    },
    Work {
        // npx starts a shell, the shell the server: three programs, one server.
        key: "files-by-npx",
        entry: |scene| {
            json!({
                "command": "npx",
                "args": ["--no-install", "mcp-server-filesystem", scene.path("workspace")],
                "cwd": deps().node_modules().parent(),
            })
        },
        era: Era::Default,
        spoken: None,
        found_by: &["command_line", "config"],
        calls: &[tool(
            "read_text_file",
            |scene| json!({"path": scene.path("workspace/other.txt")}),
            Some(("file.open", "requested", "/workspace/other.txt\"")),
        )],
    },
    Work {
        key: "kitchen-sink",
        entry: |_| json!({"command": "node", "args": [deps().npm_server("everything")]}),
        era: Era::Default,
        spoken: None,
        found_by: &["command_line", "config"],
        calls: &[
            tool("echo", |_| json!({"message": "Grüezi \u{1f98a}"}), None),
            tool("get-sum", |_| json!({"a": 1, "b": 2}), None),
            tool("trigger-long-running-operation", |_| json!({"duration": 1, "steps": 2}), None),
            other(
                "resources/read",
                |_| json!({"uri": "demo://resource/static/document/features.md"}),
                "ok",
            ),
            other(
                "prompts/get",
                |_| json!({"name": "args-prompt", "arguments": {"city": "Zurich"}}),
                "ok",
            ),
            other("ping", |_| json!({}), "ok"),
        ],
    },
    Work {
        key: "notebook",
        entry: |scene| {
            json!({
                "command": "node", "args": [deps().npm_server("memory")],
                "env": {"MEMORY_FILE_PATH": scene.path("memory.jsonl")},
            })
        },
        era: Era::Default,
        spoken: None,
        found_by: &["command_line", "config"],
        calls: &[
            tool(
                "create_entities",
                |_| json!({"entities": [{"name": "a", "entityType": "b", "observations": ["c"]}]}),
                Some(("file.open", "covert", "/memory.jsonl")),
            ),
            tool("read_graph", |_| json!({}), Some(("file.open", "covert", "/memory.jsonl\""))),
        ],
    },
    Work {
        key: "web",
        // Addresses for documentation are not public to it. Where it finds node, it would install
        // packages in the middle of a call.
        entry: |_| {
            json!({
                "command": deps().python(), "args": ["-m", "mcp_server_fetch", "--allow-private-ips"],
                "env": {"PATH": deps().python().parent()},
            })
        },
        era: Era::Default,
        spoken: None,
        found_by: &["command_line", "config"],
        calls: &[tool(
            "fetch",
            |_| json!({"url": format!("http://{}:8000/notes", address::WEB)}),
            Some(("net.connect", "requested", address::WEB)),
        )],
    },
    Work {
        key: "repository",
        entry: |scene| {
            json!({
                "command": deps().python(),
                "args": ["-m", "mcp_server_git", "--repository", scene.path("repository")],
            })
        },
        era: Era::Default,
        spoken: None,
        found_by: &["command_line", "config"],
        // git keeps its index in the folder that the arguments of these read-only tools name.
        calls: &[
            other("tools/list", |_| json!({}), "ok"),
            tool(
                "git_status",
                |scene| json!({"repo_path": scene.path("repository")}),
                Some(("process.exec", "", "\"status\"")),
            ),
            tool("git_log", |scene| json!({"repo_path": scene.path("repository")}), None),
            tool(
                "git_diff_unstaged",
                |scene| json!({"repo_path": scene.path("repository")}),
                Some(("process.exec", "", "\"diff\"")),
            ),
        ],
    },
    Work {
        key: "clock",
        entry: |_| json!({"command": deps().python(), "args": ["-m", "mcp_server_time"]}),
        era: Era::Default,
        spoken: None,
        found_by: &["command_line", "config"],
        calls: &[
            tool(
                "get_current_time",
                |_| json!({"timezone": "Europe/Zurich"}),
                Some(("file.open", "requested", "Europe/Zurich")),
            ),
            Ask {
                status: "tool_error",
                ..tool(
                    "convert_time",
                    |_| {
                        json!({
                            "source_timezone": "Europe/Atlantis", "time": "12:00", "target_timezone": "Europe/Zurich",
                        })
                    },
                    None,
                )
            },
        ],
    },
    Work {
        key: "stateless",
        entry: |scene| json!({"command": "node", "args": [scene.script("servers/modern.mjs")]}),
        era: Era::Stateless,
        spoken: Some(("stateless", "2026-07-28", "2.0.1")),
        found_by: &["config"],
        calls: &[
            tool("echo", |_| json!({"text": "hello"}), None),
            tool(
                "read_note",
                |scene| json!({"path": scene.path("workspace/third.txt")}),
                Some(("file.open", "requested", "/workspace/third.txt\"")),
            ),
        ],
    },
];

/// A home with everything the servers are asked about.
fn furnish(scene: &Scene) -> String {
    for name in ["readme", "other", "third"] {
        scene.write(&format!("workspace/{name}.txt"), "Nothing to see here.\n");
    }
    scene.write("repository/file.txt", "one\n");
    for arguments in [
        &["init", "--quiet"][..],
        &["add", "."],
        &[
            "-c",
            "user.name=T",
            "-c",
            "user.email=t@example.org",
            "commit",
            "--quiet",
            "-m",
            "First",
        ],
    ] {
        let done = Command::new("git")
            .args(arguments)
            .current_dir(scene.path("repository"))
            .env("HOME", scene.home())
            .status()
            .expect("git is installed");
        assert!(done.success(), "git {arguments:?}");
    }
    scene.write("repository/file.txt", "two\n");
    scene.listen(&format!("{}:8000", address::WEB), Visitor::Browser);
    let entries: Vec<(&str, Value)> =
        WORK.iter().map(|work| (work.key, (work.entry)(scene))).collect();
    scene.config(&entries)
}

fn ask(scene: &Scene, client: &Client, key: &str, ask: &Ask) {
    let arguments = (ask.arguments)(scene);
    if ask.method == "tools/call" {
        let result = client.call(key, ask.tool, arguments);
        assert_eq!(
            result["isError"] == true,
            ask.status == "tool_error",
            "{key} {}: {result}",
            ask.tool
        );
    } else {
        client.request(key, ask.method, arguments);
    }
}

/// What is wrong with the records of one request.
fn wrong_record(scene: &Scene, records: &Records, key: &str, ask: &Ask) -> Option<String> {
    let arguments = (ask.arguments)(scene);
    let what = format!("{key}: {} {} {arguments}", ask.method, ask.tool);
    let found: Vec<&Value> = records
        .of_server("mcp.call", key)
        .filter(|record| {
            text(record, "call.method") == ask.method && text(record, "call.tool") == ask.tool
        })
        .collect();
    let [record] = found.as_slice() else {
        return Some(format!("{what}: recorded {} times", found.len()));
    };
    if text(record, "call.status") != ask.status {
        return Some(format!("{what}: status {}", record["call"]["status"]));
    }
    let recorded = record["call"].get("arguments").cloned().unwrap_or_else(|| json!({}));
    let given = if ask.method == "prompts/get" { &arguments["arguments"] } else { &arguments };
    if recorded != *given {
        return Some(format!("{what}: arguments {recorded}"));
    }
    let (kind, relation, part) = ask.effect?;
    let uid = text(record, "call.uid");
    let effect = records.attributed_to(uid).find(|record| {
        text(record, "type") == kind
            && (relation.is_empty() || text(record, "relation") == relation)
            && record.to_string().contains(part)
    });
    if effect.is_some() {
        return None;
    }
    let elsewhere: Vec<String> = records
        .of(kind)
        .filter(|record| record.to_string().contains(part))
        .map(digest)
        .take(5)
        .collect();
    Some(format!("{what}: no {relation} {kind} of {part} in call {uid}; instead {elsewhere:#?}"))
}

/// What is wrong with what is known of one server.
fn wrong_server(records: &Records, work: &Work, identity: &Value) -> Vec<String> {
    let key = work.key;
    let mut wrong = Vec::new();
    let ids: BTreeSet<&str> = records
        .of_server("server.discovered", key)
        .map(|record| text(record, "server.id"))
        .collect();
    // SDK v2 of TypeScript asks a process of its own whether the server speaks the revision.
    let wanted = if key == "stateless" { 1..=2 } else { 1..=1 };
    if !wanted.contains(&ids.len()) {
        wrong.push(format!("{key}: discovered as {ids:?}"));
    }
    let Some(last) = records.of_server("mcp.call", key).last() else {
        wrong.push(format!("{key}: no call recorded"));
        return wrong;
    };
    // A client that adopts a revision without asking learns no version.
    if !identity["version"].is_null() && last["server"]["version"] != identity["version"] {
        wrong.push(format!(
            "{key}: version {} instead of {}",
            last["server"]["version"], identity["version"]
        ));
    }
    if text(last, "server.transport") != "stdio"
        || !text(last, "server.config_path").ends_with("/mcp.json")
    {
        wrong.push(format!("{key}: {}", last["server"]));
    }
    let known: BTreeSet<&str> = work.found_by.iter().copied().chain(["handshake"]).collect();
    if evidence(last) != known {
        wrong.push(format!("{key}: evidence {} instead of {known:?}", last["server"]["evidence"]));
    }
    let sessions: Vec<(&str, &str)> = records
        .of_server("mcp.session", key)
        .map(|record| (text(record, "mcp.era"), text(record, "mcp.protocol_version")))
        .collect();
    match text(identity, "protocol") {
        "" => wrong.push(format!("{key}: its client does not say which revision it speaks")),
        revision if !sessions.iter().any(|session| session.1 == revision) => {
            wrong.push(format!("{key}: sessions of {sessions:?}, none of {revision}"));
        }
        _ => {}
    }
    if let Some((era, revision, version)) = work.spoken {
        if text(identity, "protocol") != revision {
            wrong.push(format!("{key}: the client speaks {}", identity["protocol"]));
        }
        if sessions.last() != Some(&(era, revision)) {
            wrong.push(format!("{key}: sessions of {sessions:?}, the last not {era} {revision}"));
        }
        if text(last, "server.version") != version {
            wrong
                .push(format!("{key}: version {} instead of {version}", last["server"]["version"]));
        }
    }
    wrong
}

/// What is wrong with the record that first names a server. It may come before the server has said a word, or after.
fn wrong_discovery(discovered: &Value, work: &Work, identity: &Value) -> Vec<String> {
    let mut wrong = Vec::new();
    let server = &discovered["server"];
    let mut found_by: BTreeSet<&str> = work.found_by.iter().copied().collect();
    let has_spoken = evidence(discovered).contains("handshake");
    if has_spoken {
        found_by.insert("handshake");
    }
    if evidence(discovered) != found_by {
        wrong.push(format!("evidence {} instead of {found_by:?}", server["evidence"]));
    }
    // Only the server tells its version, and whether its client learns it depends on the client.
    let version = if has_spoken { &identity["version"] } else { &Value::Null };
    if server["version"] != *version && !(has_spoken && version.is_null()) {
        wrong.push(format!("version {} instead of {version}", server["version"]));
    }
    let config = text(discovered, "server.config_path");
    if !config.ends_with("/mcp.json") || text(discovered, "server.transport") != "stdio" {
        wrong.push(server.to_string());
    }
    let entry = json!({"kind": "config", "detail": format!("{} in {config}", work.key)});
    if !server["evidence"].as_array().is_some_and(|evidence| evidence.contains(&entry)) {
        wrong.push(format!("evidence {} without {entry}", server["evidence"]));
    }
    wrong.into_iter().map(|what| format!("{}: discovered with {what}", work.key)).collect()
}

/// The kinds of evidence a record has for its server.
fn evidence(record: &Value) -> BTreeSet<&str> {
    let evidence = record["server"]["evidence"].as_array();
    evidence.into_iter().flatten().map(|evidence| text(evidence, "kind")).collect()
}

fn time(record: &Value, path: &str) -> Option<Timestamp> {
    text(record, path).parse().ok()
}

/// Effects of a server that happened while a call was in flight and belong to none.
fn left_over(records: &Records, key: &str) -> Vec<String> {
    let calls: Vec<(&str, Timestamp, Timestamp)> = records
        .of_server("mcp.call", key)
        .filter(|record| text(record, "call.to") == "server")
        .filter_map(|record| {
            let ended = time(record, "time")?;
            let duration = SignedDuration::from_nanos(int(record, "call.duration_ns")?);
            Some((text(record, "server.id"), ended - duration, ended))
        })
        .collect();
    ["process.exec", "file.open", "net.connect"]
        .into_iter()
        .flat_map(|kind| records.of(kind))
        .filter(|effect| effect.get("call").is_none())
        .filter(|effect| {
            let happened = time(effect, "time").expect("a record has a time");
            calls.iter().any(|(server, started, ended)| {
                text(effect, "server.id") == *server && *started <= happened && happened <= *ended
            })
        })
        .map(|effect| format!("{key}: belongs to no call: {}", digest(effect)))
        .collect()
}

/// The requests that were recorded and not made, or made and not recorded, or not as often.
fn miscounted(records: &Records, key: &str, sent: &[(String, Value)]) -> Option<String> {
    let sorted = |mut requests: Vec<(String, String)>| {
        requests.sort();
        requests
    };
    let sent = sorted(sent.iter().map(|(method, id)| (method.clone(), id.to_string())).collect());
    let recorded = sorted(
        records
            .of_server("mcp.call", key)
            .filter(|record| text(record, "call.to") == "server")
            .map(|record| {
                (text(record, "call.method").to_owned(), record["call"]["id"].to_string())
            })
            .collect(),
    );
    (sent != recorded).then(|| format!("{key}: recorded {recorded:?}, sent {sent:?}"))
}

fn work_with(sdk: Sdk) {
    let scene = Scene::with_network();
    let config = furnish(&scene);
    let agent = scene.agent().start();
    let client = scene.client(sdk);
    let mut wrong = Vec::new();
    for work in WORK {
        let identity = client.open(&config, &[work.key], work.era);
        let identity = &identity[work.key];
        assert_ne!(identity["name"], work.key, "the test must be able to tell the two names apart");
        let (discovered, arrived) = agent.find_arrival(
            &format!("discovery of {}", work.key),
            Duration::from_secs(10),
            |record| {
                text(record, "type") == "server.discovered"
                    && text(record, "server.name") == work.key
            },
        );
        let started = [text(&discovered, "process.start_time"), text(&discovered, "time")]
            .into_iter()
            .find_map(|time| time.parse::<jiff::Timestamp>().ok())
            .expect("a record has a time");
        let took = arrived.duration_since(started);
        if took.as_secs_f64() > 1.0 {
            wrong.push(format!("{}: discovered {took:#} after its start", work.key));
        }
        wrong.extend(wrong_discovery(&discovered, work, identity));
        for call in work.calls {
            ask(&scene, &client, work.key, call);
        }
        let last = work.calls.last().expect("every server is asked something");
        agent.find(&format!("the last call of {}", work.key), |record| {
            text(record, "type") == "mcp.call"
                && text(record, "server.name") == work.key
                && text(record, "call.method") == last.method
                && text(record, "call.tool") == last.tool
        });
        let records = agent.records();
        wrong.extend(wrong_server(&records, work, identity));
        wrong.extend(
            work.calls.iter().filter_map(|call| wrong_record(&scene, &records, work.key, call)),
        );
    }
    let sent: Vec<_> = WORK.iter().map(|work| (work.key, client.sent(work.key))).collect();
    client.close(&[]);
    for work in WORK {
        agent.find(&format!("the end of {}", work.key), |record| {
            text(record, "type") == "server.exited" && text(record, "server.name") == work.key
        });
    }
    let records = agent.records();
    // Some requests are the SDK's own, and answered after what was asked.
    for (key, sent) in &sent {
        wrong.extend(miscounted(&records, key, sent));
        wrong.extend(left_over(&records, key));
    }
    // A server may be known by its package before its configuration is read: the last name counts.
    let names: BTreeMap<&str, &str> = records
        .of("server.discovered")
        .map(|record| (text(record, "server.id"), text(record, "server.name")))
        .collect();
    let others: Vec<_> =
        names.values().filter(|name| !WORK.iter().any(|work| work.key == **name)).collect();
    if !others.is_empty() {
        wrong.push(format!("took these for servers, too: {others:?}"));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    agent.records().assert_quiet();
    agent.stop();
}

#[test]
fn called_by_the_python_sdk() {
    work_with(Sdk::Python);
}

#[test]
fn called_by_the_typescript_sdk() {
    work_with(Sdk::TypeScript);
}

/// When this fails, it is not the agent.
#[test]
fn the_work_is_done_without_an_agent() {
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let scene = Scene::with_network();
        let config = furnish(&scene);
        let client = scene.client(sdk);
        for work in WORK {
            client.open(&config, &[work.key], work.era);
            for call in work.calls {
                ask(&scene, &client, work.key, call);
            }
        }
        client.close(&[]);
    }
}
