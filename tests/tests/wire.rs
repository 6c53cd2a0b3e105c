//! What is hard to follow on the wire: equal ids, many calls at once, long and large ones, calls that
//! are cancelled or never answered, and servers that were there first.

use std::time::Duration;

use mcpwatch_tests::{Agent, Era, Records, Scene, Sdk, deps, int, request_id, said, text};
use serde_json::{Value, json};

const OPENS_AT_BOTH_ENDS: f64 = 1.0;

/// Waits for the record of a call by its id.
#[track_caller]
fn call_record(agent: &Agent, server: &str, tool: &str, id: &Value) -> Value {
    agent.find(&format!("mcp.call {tool} {id} on {server}"), |record| {
        text(record, "type") == "mcp.call"
            && text(record, "server.name") == server
            && text(record, "call.tool") == tool
            && record["call"]["id"] == *id
    })
}

/// Opens of a file, as (server, id of the call, relation).
fn opens_of(records: &Records, path: &str) -> Vec<(String, Value, String)> {
    records
        .of("file.open")
        .filter(|record| text(record, "file.path") == path)
        .map(|record| {
            let id = record["call"]["id"].clone();
            (text(record, "server.name").to_owned(), id, text(record, "relation").to_owned())
        })
        .collect()
}

#[test]
fn two_servers_with_the_same_ids_at_once() {
    let scene = Scene::new();
    let (left, right) = (scene.write("left.txt", "l"), scene.write("right.txt", "r"));
    // Equal commands under two keys could not be told apart by anybody.
    let server = |name: &str| {
        let mut entry = scene.loads_server();
        entry["args"].as_array_mut().expect("a list").push(json!(name));
        entry
    };
    let config = scene.config(&[("left", server("left")), ("right", server("right"))]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Handshake);
    for _ in 0..3 {
        let seconds = 0.3;
        let at_left = client.begin("left", "touch", json!({"path": left, "seconds": seconds}));
        let at_right = client.begin("right", "touch", json!({"path": right, "seconds": seconds}));
        let (at_left, at_right) = (at_left.wait(), at_right.wait());
        let id = request_id(&at_left);
        assert_eq!(id, request_id(&at_right), "the ids are the same, or this test tests nothing");
        for (server, path) in [("left", &left), ("right", &right)] {
            let record = call_record(&agent, server, "touch", id);
            assert_eq!(record["call"]["arguments"]["path"], **path);
        }
    }
    let records = agent.stop().records;
    for (server, path) in [("left", &left), ("right", &right)] {
        assert_eq!(
            records
                .of_server("mcp.call", server)
                .filter(|r| text(r, "call.tool") == "touch")
                .count(),
            3
        );
        let opens = opens_of(&records, path);
        assert_eq!(opens.len(), 6, "{opens:?}");
        assert!(opens.iter().all(|open| open.0 == server && open.2 == "requested"), "{opens:?}");
    }
}

#[test]
fn twenty_calls_in_flight_on_one_server() {
    let scene = Scene::new();
    let files: Vec<String> =
        (0..20).map(|number| scene.write(&format!("file-{number:02}.txt"), "text")).collect();
    let config = scene.config(&[("loads", scene.loads_server())]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::TypeScript);
    client.open(&config, &[], Era::Default);
    let calls: Vec<_> = files
        .iter()
        .map(|path| {
            client.begin("loads", "touch", json!({"path": path, "seconds": OPENS_AT_BOTH_ENDS}))
        })
        .collect();
    let ids: Vec<Value> = calls.into_iter().map(|call| request_id(&call.wait()).clone()).collect();
    for (id, path) in ids.iter().zip(&files) {
        let record = call_record(&agent, "loads", "touch", id);
        assert_eq!(record["call"]["arguments"]["path"], **path);
        assert_eq!(record["call"]["status"], "ok");
    }
    let records = agent.stop().records;
    let mut wrong = Vec::new();
    for (id, path) in ids.iter().zip(&files) {
        let opens = opens_of(&records, path);
        let right = ("loads".to_owned(), id.clone(), "requested".to_owned());
        if opens != [right.clone(), right] {
            wrong.push(format!("{path} of call {id}: {opens:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    // With others in flight the likeliest must be named as one of several.
    let several = records
        .of("file.open")
        .filter(|record| record["call"]["candidates"].as_array().is_some_and(|all| all.len() > 1))
        .count();
    assert!(several > 0, "no effect names more than one candidate");
}

#[test]
fn a_call_of_more_than_a_minute() {
    let scene = Scene::new();
    let path = scene.write("late.txt", "text");
    let config = scene.config(&[("loads", scene.loads_server())]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::TypeScript);
    client.open(&config, &[], Era::Default);
    let result = client.call("loads", "touch", json!({"path": path, "seconds": 62}));
    let record = call_record(&agent, "loads", "touch", request_id(&result));
    let took = int(&record, "call.duration_ns").expect("an answered call has a duration");
    assert!((62_000_000_000..72_000_000_000).contains(&took), "{took} ns");
    assert_eq!(record["call"]["status"], "ok");
    let opens = opens_of(&agent.stop().records, &path);
    let right = ("loads".to_owned(), request_id(&result).clone(), "requested".to_owned());
    assert_eq!(opens, [right.clone(), right], "one at its start, one after a minute");
}

#[test]
fn megabytes_each_way() {
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let scene = Scene::new();
        let config = scene.config(&[("loads", scene.loads_server())]);
        let agent = scene.agent().start();
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Default);
        let large = 5_000_000;

        let result = client.call("loads", "blob", json!({"bytes": large}));
        let record = call_record(&agent, "loads", "blob", request_id(&result));
        assert_eq!(record["call"]["status"], "ok", "{sdk:?}");
        assert!(int(&record, "call.response_bytes") > Some(large), "{sdk:?}");

        // It comes back too: both ways at once.
        let result = client.call("loads", "echo", json!({"text": "y".repeat(5_000_000)}));
        let record = call_record(&agent, "loads", "echo", request_id(&result));
        assert_eq!(record["call"]["status"], "ok", "{sdk:?}");
        assert!(int(&record, "call.request_bytes") > Some(large), "{sdk:?}");
        assert!(int(&record, "call.response_bytes") > Some(large), "{sdk:?}");

        let result = client.call("loads", "echo", json!({"text": "still there"}));
        let id = request_id(&result);
        let record = call_record(&agent, "loads", "echo", id);
        assert_eq!(record["call"]["arguments"]["text"], "still there", "{sdk:?}");
        assert_eq!(record["call"]["status"], "ok", "{sdk:?}");
        let records = agent.stop().records;
        assert_eq!(
            records.of("mcp.call").filter(|record| text(record, "call.tool") == "echo").count(),
            2
        );
    }
}

#[test]
fn a_channel_is_read_whatever_system_calls_it_is_used_with() {
    // The SDK of Python gives a server pipes, that of TypeScript socket pairs.
    for (sdk, way) in [
        (Sdk::Python, "rows"),
        (Sdk::Python, "rows_with_flags"),
        (Sdk::TypeScript, "messages"),
        (Sdk::TypeScript, "buffers"),
    ] {
        let scene = Scene::new();
        let script = scene.script("servers/vectors.py");
        let server = json!({"command": deps().python(), "args": [script, way]});
        let config = scene.config(&[("vectors", server)]);
        let agent = scene.agent().start();
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Handshake);
        // In one buffer, in all of them at once, and more than a pipe holds each way.
        let calls = [
            (json!({"text": "a"}), "ok"),
            (json!({"text": "b".repeat(3000), "times": 2}), "ok"),
            (json!({"text": "c", "fails": true}), "tool_error"),
            (json!({"text": "d".repeat(10_000), "times": 30}), "ok"),
            (json!({"text": "e"}), "ok"),
        ];
        for (arguments, status) in &calls {
            let result = client.call("vectors", "say", arguments.clone());
            let record = call_record(&agent, "vectors", "say", request_id(&result));
            assert_eq!(record["call"]["arguments"], *arguments, "{sdk:?} {way}");
            assert_eq!(text(&record, "call.status"), *status, "{sdk:?} {way}");
            assert!(record.get("truncated").is_none(), "{sdk:?} {way}");
        }
        let records = agent.stop().records;
        let made = records.of("mcp.call").filter(|record| text(record, "call.tool") == "say");
        assert_eq!(made.count(), calls.len(), "{sdk:?} {way}: each call once");
        let problems = records.of("mcp.message").filter(|one| one["mcp"]["problem"].is_string());
        assert_eq!(problems.count(), 0, "{sdk:?} {way}");
        assert_eq!(records.of("loss").count(), 0, "{sdk:?} {way}");
    }
}

#[test]
fn what_is_longer_than_the_limit_is_cut_in_its_middle_and_told() {
    let scene = Scene::new();
    let config = scene.config(&[("loads", scene.loads_server())]);
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let agent = scene.agent().settings("[capture]\npayload_limit = 4096\n").start();
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Handshake);
        let arguments = json!({"text": format!("begin{}", "y".repeat(100_000))});
        let result = client.call("loads", "echo", arguments);
        let record = call_record(&agent, "loads", "echo", request_id(&result));
        assert_eq!(text(&record, "call.status"), "ok", "{sdk:?}");
        assert_eq!(record["truncated"], json!(["call.arguments", "call.response"]), "{sdk:?}");
        // Its beginning is known, and of the rest the length: what is around the text is less than a thousand bytes.
        let kept = text(&record, "call.arguments.text");
        assert!(kept.starts_with("beginyyy") && kept.len() < 8192, "{sdk:?}: {}", kept.len());
        for size in ["call.request_bytes", "call.response_bytes"] {
            let bytes = int(&record, size).expect("a call has sizes");
            assert!((100_005..101_000).contains(&bytes), "{sdk:?}: {size} is {bytes}");
        }

        let result = client.call("loads", "echo", json!({"text": "next"}));
        let record = call_record(&agent, "loads", "echo", request_id(&result));
        assert_eq!(record["call"]["arguments"], json!({"text": "next"}), "{sdk:?}");
        assert_eq!(text(&record, "call.status"), "ok", "{sdk:?}");
        assert!(record.get("truncated").is_none(), "{sdk:?}");
        let records = agent.stop().records;
        let echoes = records.of("mcp.call").filter(|record| text(record, "call.tool") == "echo");
        assert_eq!(echoes.count(), 2, "{sdk:?}");
    }
}

#[test]
fn what_a_server_asks_its_client_is_a_call_of_its_own() {
    let scene = Scene::new();
    let script = scene.script("servers/asking.py");
    let config = scene.config(&[("asking", json!({"command": deps().python(), "args": [script]}))]);
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let agent = scene.agent().start();
        let client = scene.client(sdk);
        client.open_answering(&config, &[], Era::Handshake);
        let question = json!({"question": "Who is there?"});
        let asked = [
            ("ask_user", &question, "accept: Ada", "elicitation/create"),
            ("ask_roots", &json!({}), "file:///srv/notes", "roots/list"),
            ("ask_model", &question, "Gr\u{fc}ezi", "sampling/createMessage"),
        ];
        for (tool, arguments, answer, _) in asked {
            let result = client.call("asking", tool, arguments.clone());
            assert_eq!(said(&result), answer, "{sdk:?}");
        }
        client.close(&[]);
        agent.find("server.exited", |record| text(record, "type") == "server.exited");
        let records = agent.stop().records;
        for (tool, arguments, _, method) in asked {
            let call = records.call("asking", tool);
            assert_eq!(text(call, "call.to"), "server", "{sdk:?} {tool}");
            assert_eq!(text(call, "call.status"), "ok", "{sdk:?} {tool}");
            assert_eq!(call["call"]["arguments"], *arguments, "{sdk:?} {tool}");
            let back: Vec<&Value> = records
                .of_server("mcp.call", "asking")
                .filter(|record| text(record, "call.method") == method)
                .collect();
            let [back] = back.as_slice() else { panic!("{sdk:?}: {method} as {back:#?}") };
            assert_eq!(text(back, "call.to"), "client", "{sdk:?} {method}");
            assert_eq!(text(back, "call.status"), "ok", "{sdk:?} {method}");
            assert_ne!(back["call"]["uid"], call["call"]["uid"], "{sdk:?} {method}");
            // It lies within the call, which waits for it.
            let took = |record: &Value| int(record, "call.duration_ns").expect("it was answered");
            assert!(took(back) < took(call), "{sdk:?} {method}");
        }
        assert_eq!(
            records.of("mcp.call").filter(|record| text(record, "call.to") == "client").count(),
            asked.len(),
            "{sdk:?}"
        );
    }
}

#[test]
fn a_server_that_dies_in_a_call() {
    let scene = Scene::new();
    let config = scene.config(&[("loads", scene.loads_server())]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &[], Era::Default);
    client.call("loads", "echo", json!({"text": "alive"}));
    client.begin("loads", "die", json!({})).outcome().expect_err("nobody answers");
    let exited = agent.find("server.exited", |record| text(record, "type") == "server.exited");
    assert_eq!(text(&exited, "server.name"), "loads");
    assert_eq!(int(&exited, "exit.code"), Some(7));
    let records = agent.stop().records;
    assert_eq!(text(records.call("loads", "die"), "call.status"), "no_response");
    assert_eq!(text(records.call("loads", "echo"), "call.status"), "ok");
}

#[test]
fn a_call_that_is_cancelled() {
    let scene = Scene::new();
    let config = scene.config(&[("loads", scene.loads_server())]);
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let agent = scene.agent().start();
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Handshake);
        client.give_up("loads", "sleep", json!({"seconds": 2}), Duration::from_millis(500));
        client.call("loads", "echo", json!({"text": "next"}));
        agent.find("notifications/cancelled", |record| {
            text(record, "type") == "mcp.message"
                && text(record, "mcp.method") == "notifications/cancelled"
        });
        client.close(&[]);
        agent.find("server.exited", |record| text(record, "type") == "server.exited");
        let records = agent.stop().records;
        // The server answers all the same, late or never: either way the call was cancelled.
        assert_eq!(text(records.call("loads", "sleep"), "call.status"), "cancelled", "{sdk:?}");
        assert_eq!(text(records.call("loads", "echo"), "call.status"), "ok", "{sdk:?}");
    }
}

#[test]
fn a_server_that_was_there_before_the_agent() {
    let scene = Scene::new();
    let path = scene.write("file.txt", "text");
    let config = scene.config(&[("early", scene.loads_server())]);
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Default);
        client.call("early", "echo", json!({"text": "unseen"}));

        let agent = scene.agent().start();
        let discovered =
            agent.find("server.discovered", |record| text(record, "type") == "server.discovered");
        assert_eq!(text(&discovered, "server.name"), "early");
        let result = client.call("early", "touch", json!({"path": path, "seconds": 0}));
        let id = request_id(&result);
        call_record(&agent, "early", "touch", id);
        client.close(&[]);
        agent.find("server.exited", |record| text(record, "type") == "server.exited");
        let records = agent.stop().records;
        let right = ("early".to_owned(), id.clone(), "requested".to_owned());
        assert_eq!(opens_of(&records, &path), [right.clone(), right], "{sdk:?}");
        assert_eq!(
            records.of("mcp.call").count(),
            1,
            "{sdk:?}: what was said before was not heard"
        );
    }
}
