//! Which call an effect is shown with, from the bytes on the channel.

use serde_json::json;

use super::*;
use crate::attribute::Suspect;

#[test]
fn every_relation_is_told_apart() {
    let mut scene = Scene::new();
    scene.candidate(11);
    scene.open(11, "/startup");
    scene.initialize(11);
    scene.open(11, "/between");
    scene.call(11, 1, "read", json!({"path": "/data/asked.txt"}));
    scene.open(11, "/data/asked.txt");
    scene.open(11, "/data/other.txt");
    scene.result(11, 1);
    scene.open(11, "/after");
    let story: Vec<String> =
        scene.story().into_iter().filter(|line| line.starts_with("open")).collect();
    assert_eq!(
        story,
        [
            "open /startup startup",
            "open /between background",
            "open /data/asked.txt requested 1",
            "open /data/other.txt covert 1",
            "open /after background",
        ]
    );
}

#[test]
fn a_record_holds_the_call_it_belongs_to() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "fetch", json!({"url": "https://api.example/x"}));
    scene.connect(11, [203, 0, 113, 7], 443);
    scene.result(11, 1);
    let [connect] = scene.of_type("net.connect")[..] else { panic!() };
    assert_eq!(connect["relation"], "requested", "the address is known by the name asked for");
    assert_eq!(connect["net"]["names"], json!(["api.example"]));
    assert_eq!(connect["call"]["method"], "tools/call");
    assert_eq!(connect["call"]["tool"], "fetch");
    assert_eq!(connect["call"]["session"], "s1");
    assert!(connect["call"]["confidence"].as_f64().unwrap() > 0.9);
    let [call] = scene.of_type("mcp.call")[..] else { panic!() };
    assert_eq!(call["call"]["uid"], connect["call"]["uid"]);
    assert_eq!(call["call"]["arguments"], json!({"url": "https://api.example/x"}));
    assert_eq!(call["call"]["duration_ns"], 2 * MILLISECOND);
}

#[test]
fn a_call_whose_answer_was_probably_lost_is_no_cause_and_is_told_when_the_server_ends() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "lost", json!({"path": "/data/asked.txt"}));
    scene.open(11, "/data/in-call.txt");
    let watched = scene.watch[&11];
    scene.instances.get_mut(&watched).unwrap().offsets.1 += 100;
    scene.writes(11, b"\n");
    scene.wait(599_000 * MILLISECOND);
    scene.open(11, "/data/in-grace.txt");
    scene.wait(2_000 * MILLISECOND);
    scene.open(11, "/data/asked.txt");
    scene.call(11, 2, "next", json!({}));
    scene.open(11, "/data/next.txt");
    scene.result(11, 2);
    scene.exit(11, 0);
    let opens = scene.of_type("file.open");
    let next = opens.iter().find(|open| open["file"]["path"] == "/data/next.txt").unwrap();
    assert_eq!(next["call"]["confidence"], 0.9);
    let told = |line: &String| line.starts_with("open") || line.starts_with("call");
    let story: Vec<String> = scene.story().into_iter().filter(told).collect();
    assert_eq!(
        story,
        [
            "open /data/in-call.txt covert 1",
            "open /data/in-grace.txt covert 1",
            "open /data/asked.txt background",
            "open /data/next.txt covert 2",
            "call 2 next ok",
            "call 1 lost no_response",
        ]
    );
}

#[test]
fn progress_is_shown_with_the_call_it_tells_of() {
    let mut scene = Scene::new();
    scene.server(11);
    let progress = |token: &str, done: u64| {
        json!({"jsonrpc": "2.0", "method": "notifications/progress",
            "params": {"progressToken": token, "progress": done, "total": 10}})
    };
    for id in [1, 2] {
        let meta = json!({"progressToken": format!("t{id}")});
        scene.asked(
            11,
            &json!({"jsonrpc": "2.0", "id": id, "method": "tools/call",
            "params": {"name": "build", "arguments": {}, "_meta": meta}}),
        );
    }
    scene.answered(11, &progress("t2", 5));
    scene.answered(11, &progress("t3", 6));
    scene.result(11, 2);
    let [known, unknown] = scene.of_type("mcp.message")[..] else { panic!() };
    let [call] = scene.of_type("mcp.call")[..] else { panic!() };
    assert_eq!(known["call"]["uid"], call["call"]["uid"]);
    assert_eq!(known["call"]["id"], 2);
    assert_eq!(known["call"]["tool"], "build");
    assert_eq!(known["mcp"]["progress"], json!({"value": 5, "total": 10}));
    assert_eq!(known["mcp"]["method"], "notifications/progress");
    assert!(unknown.get("call").is_none() && unknown["mcp"]["progress"]["value"] == 6);
}

#[test]
fn what_the_server_asks_of_the_client_is_a_call_and_no_cause() {
    let mut scene = Scene::new();
    scene.server(11);
    let asks = [
        (
            "sampling/createMessage",
            json!({"messages": [], "maxTokens": 9, "systemPrompt": "/data/a"}),
        ),
        (
            "elicitation/create",
            json!({"message": "read /data/a?", "requestedSchema": {"type": "object"}}),
        ),
        ("roots/list", json!({})),
    ];
    // The same ids in both directions; the client's own call is answered last.
    scene.call(11, 1, "summarise", json!({"path": "/data/b"}));
    for (id, (method, params)) in asks.iter().enumerate() {
        scene
            .answered(11, &json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        scene.open(11, "/data/a");
        scene.open(11, "/data/b");
        scene.wait(SECOND);
        if *method == "elicitation/create" {
            let error = json!({"code": -1, "message": "the user declined"});
            scene.asked(11, &json!({"jsonrpc": "2.0", "id": id, "error": error}));
        } else {
            scene.asked(11, &json!({"jsonrpc": "2.0", "id": id, "result": {"roots": []}}));
        }
    }
    let story: Vec<String> = scene.records.iter().map(line).collect();
    assert_eq!(
        story,
        [
            "open /data/a covert 1",
            "open /data/b requested 1",
            "call 0 sampling/createMessage ok",
            "open /data/a covert 1",
            "open /data/b requested 1",
            "call 1 elicitation/create rpc_error",
            "open /data/a covert 1",
            "open /data/b requested 1",
            "call 2 roots/list ok",
        ]
    );
    let client_s = scene.of_type("file.open")[0]["call"]["uid"].clone();
    for open in scene.of_type("file.open") {
        assert_eq!(
            (&open["call"]["uid"], &open["call"]["method"]),
            (&client_s, &json!("tools/call"))
        );
        assert!(open["call"].get("candidates").is_none(), "{open}");
    }
    for (call, (method, params)) in scene.of_type("mcp.call").into_iter().zip(&asks) {
        assert_eq!(
            (&call["call"]["to"], &call["call"]["method"]),
            (&json!("client"), &json!(method))
        );
        assert_ne!(call["call"]["uid"], client_s);
        assert!(call["call"]["duration_ns"].as_u64().unwrap() >= SECOND, "{call}");
        if *method != "roots/list" {
            assert_eq!(&call["call"]["arguments"], params);
        }
    }
    scene.forget();
    scene.result(11, 1);
    // With nothing but a question of the server's own in flight nobody has asked for anything.
    scene.answered(
        11,
        &json!({"jsonrpc": "2.0", "id": 1, "method": asks[0].0, "params": asks[0].1}),
    );
    scene.open(11, "/data/a");
    scene.exit(11, 0);
    let story = scene.records.iter().map(line).filter(|line| !line.starts_with("exit"));
    let story: Vec<String> = story.collect();
    assert_eq!(
        story[..3],
        [
            "call 1 summarise ok",
            "open /data/a background",
            "call 1 sampling/createMessage no_response"
        ]
    );
    let calls = scene.of_type("mcp.call");
    assert_eq!(
        (&calls[0]["call"]["to"], &calls[1]["call"]["to"]),
        (&json!("server"), &json!("client"))
    );
    assert_eq!(calls[0]["call"]["uid"], client_s);
    assert!(calls[1]["call"].get("duration_ns").is_none());
}

#[test]
fn of_calls_at_once_the_one_that_names_the_object_is_meant() {
    let mut scene = Scene::new();
    scene.server(11);
    for id in 1..=20 {
        scene.call(11, id, "read", json!({"path": format!("/data/{id}.txt")}));
    }
    for id in [7, 20, 1] {
        scene.open(11, &format!("/data/{id}.txt"));
    }
    scene.open(11, "/data/99.txt");
    assert_eq!(
        scene.story(),
        [
            "open /data/7.txt requested 7",
            "open /data/20.txt requested 20",
            "open /data/1.txt requested 1",
            "open /data/99.txt covert 20",
        ]
    );
    scene.open(11, "/data/7.txt");
    let record = scene.of_type("file.open")[0];
    let candidates = record["call"]["candidates"].as_array().unwrap();
    assert_eq!((candidates.len(), &candidates[0]["id"]), (8, &json!(7)), "the likeliest first");
    assert_eq!(record["truncated"], json!(["call.candidates"]));
}

#[test]
fn two_servers_with_the_same_ids_are_told_apart() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.spawn(CLIENT, 12, OTHER_CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    scene.initialize(12);
    scene.forget();
    for pid in [11, 12] {
        scene.call(pid, 1, "read", json!({}));
    }
    for pid in [11, 12] {
        scene.open(pid, "/a");
    }
    let [first, second] = scene.of_type("file.open")[..] else { panic!() };
    assert_eq!(first["call"]["id"], second["call"]["id"]);
    assert_ne!(first["call"]["uid"], second["call"]["uid"]);
    assert_ne!(first["server"]["id"], second["server"]["id"]);
    scene.result(11, 1);
    scene.forget();
    for pid in [11, 12] {
        scene.open(pid, "/b");
    }
    assert_eq!(scene.story(), ["open /b background", "open /b covert 1"]);
}

#[test]
fn a_call_that_takes_long_is_in_flight_until_it_is_answered() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "build", json!({}));
    scene.wait(3_600 * SECOND);
    scene.open(11, "/a");
    scene.result(11, 1);
    assert_eq!(scene.story(), ["open /a covert 1", "call 1 build ok"]);
}

#[test]
fn a_process_forked_in_a_call_stays_with_it_after_the_answer() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "weather", json!({"city": "Bern"}));
    scene.fork(11, 12);
    scene.result(11, 1);
    scene.call(11, 2, "weather", json!({"city": "Genf"}));
    // Its own children are of the same call.
    scene.fork(12, 13);
    scene.open(13, "/home/me/.ssh/id_rsa");
    scene.open(11, "/b");
    assert_eq!(
        scene.story(),
        [
            "call 1 weather ok",
            "ALERT sensitive_file_read critical covert 1 x1",
            "open /home/me/.ssh/id_rsa covert 1",
            "open /b covert 2",
        ]
    );
}

#[test]
fn of_calls_that_processes_have_long_outlived_the_arguments_are_forgotten() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "first", json!({"path": "/data/a"}));
    scene.call(11, 2, "second", json!({"path": "/data/b"}));
    scene.fork(11, 12);
    scene.fork(12, 13);
    scene.result(11, 1);
    scene.result(11, 2);
    scene.call(11, 3, "third", json!({"path": "/data/c"}));
    scene.fork(11, 14);
    scene.result(11, 3);
    scene.forget();
    scene.open(12, "/data/a");
    let lineage = |scene: &Scene, pid: u32| {
        let (_, entry) = scene.pipeline.processes.living(pid).unwrap();
        std::sync::Arc::clone(&entry.lineage)
    };
    let mentions = |one: &Suspect| std::sync::Arc::downgrade(&one.mentions);
    let old: Vec<_> = lineage(&scene, 12).iter().map(mentions).collect();
    scene.pipeline.shorten(&old);
    for pid in [12, 13] {
        let found = lineage(&scene, pid);
        let [last] = &*found else { panic!("{pid}") };
        assert_eq!((last.call.number, &last.call.arguments), (3, &None));
    }
    assert!(old.iter().all(|mentions| mentions.strong_count() == 0), "nobody keeps them");
    scene.open(12, "/data/a");
    scene.open(14, "/data/c");
    assert_eq!(
        scene.story(),
        [
            "open /data/a requested 1",
            "open /data/a covert 2",
            "loss pipeline calls table_full 2 of 2",
            "open /data/c requested 3",
        ]
    );
}

#[test]
fn an_exec_in_a_call_is_shown_with_it_and_its_child_with_its_program() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "run", json!({"command": "id"}));
    scene.spawn(11, 12, CHANNEL, "/usr/bin/dash", &["sh", "-c", "id"]);
    scene.open(12, "/etc/passwd");
    let story = scene.story();
    assert_eq!(
        story,
        [
            "ALERT shell_spawn medium requested 1 x1",
            "exec /usr/bin/dash requested 1",
            "open /etc/passwd covert 1",
        ]
    );
}

#[test]
fn a_request_in_pieces_is_in_flight_from_its_last_byte() {
    let mut scene = Scene::new();
    scene.server(11);
    let params = json!({"name": "read", "arguments": {"path": "/a"}});
    let message = json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params});
    let text = format!("{message}\n");
    let (head, tail) = text.as_bytes().split_at(40);
    scene.reads(11, head);
    scene.open(11, "/a");
    scene.reads(11, tail);
    scene.open(11, "/a");
    assert_eq!(scene.story(), ["open /a background", "open /a requested 1"]);
}

#[test]
fn an_alert_is_raised_once_and_its_count_told_when_the_call_ends() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "weather", json!({"city": "Bern"}));
    for _ in 0..5 {
        scene.open(11, "/home/me/.ssh/id_rsa");
    }
    let mut story = scene.story();
    story.retain(|line| line.starts_with("ALERT"));
    assert_eq!(story, ["ALERT sensitive_file_read critical covert 1 x1"]);
    scene.result(11, 1);
    assert_eq!(
        scene.story(),
        ["ALERT sensitive_file_read critical covert 1 x5", "call 1 weather ok"]
    );
}

#[test]
fn what_one_call_did_of_a_kind_is_one_alert_with_all_it_is_about() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "read", json!({"path": "/home/me/.ssh/known"}));
    let names = ["id_rsa", "id_ed25519", "id_ecdsa"];
    for name in names {
        scene.open(11, &format!("/home/me/.ssh/{name}"));
    }
    let alerts = |scene: &Scene| -> Vec<(u64, usize)> {
        let alerts = scene.of_type("alert").into_iter().map(|record| &record["alert"]);
        alerts
            .map(|alert| {
                let objects = alert["objects"].as_array().unwrap().len();
                (alert["count"].as_u64().unwrap(), objects)
            })
            .collect()
    };
    assert_eq!(alerts(&scene), [(1, 1)]);
    scene.wait(2 * SECOND);
    assert_eq!(alerts(&scene), [(1, 1), (3, 3)], "while the call goes on");
    scene.result(11, 1);
    assert_eq!(alerts(&scene).len(), 2, "nothing has come since");
    let shown = &scene.of_type("alert")[1]["alert"]["objects"];
    assert_eq!(*shown, json!(names.map(|name| format!("/home/me/.ssh/{name}"))));
}

#[test]
fn without_a_call_nothing_hides_behind_what_came_before() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "echo", json!({}));
    scene.result(11, 1);
    scene.forget();
    for last in 1..=12 {
        scene.connect(11, [203, 0, 113, last], 443);
    }
    let counts: Vec<&Value> =
        scene.of_type("alert").iter().map(|record| &record["alert"]["count"]).collect();
    assert_eq!(counts, vec![&json!(1); 12], "each destination is an alert");
}

#[test]
fn what_was_asked_for_hides_nothing_that_was_not() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "read", json!({"path": "/home/me/.ssh/id_rsa"}));
    scene.open(11, "/home/me/.ssh/id_rsa");
    scene.open(11, "/home/me/.aws/credentials");
    let mut story = scene.story();
    story.retain(|line| line.starts_with("ALERT"));
    assert_eq!(
        story,
        [
            "ALERT sensitive_file_read high requested 1 x1",
            "ALERT sensitive_file_read critical covert 1 x1",
        ]
    );
}

#[test]
fn what_the_settings_allow_raises_no_alert() {
    let allow = "allow = { read = [\"~/.ssh/*\"] }";
    let named = "argv = \"node server.js\"";
    for (named, allow, alerts) in [
        (named, "", 1),
        (named, allow, 0),
        // It calls itself `weather`: that gives it no rights.
        ("", allow, 1),
    ] {
        let settings = format!("[[server]]\nname = \"weather\"\n{named}\n{allow}\n");
        let mut scene = Scene::with(&settings);
        scene.server(11);
        scene.call(11, 1, "weather", json!({}));
        scene.open(11, "/home/me/.ssh/id_rsa");
        assert_eq!(scene.of_type("alert").len(), alerts, "{allow}");
        assert_eq!(scene.of_type("file.open").len(), 1, "{allow}");
    }
}

#[test]
fn what_one_server_starts_is_not_what_the_settings_allow_another() {
    const INNER: (u64, u64) = (900, 901);
    let settings = "[[server]]\nname = \"trusted\"\n[server.allow]\nread = [\"~/.ssh/*\"]\n";
    let opens = |scene: &mut Scene| {
        scene.forget();
        scene.call(12, 7, "work", json!({}));
        scene.open(12, "/home/me/.ssh/id_rsa");
        let alerts = scene.of_type("alert").len();
        scene.result(12, 7);
        alerts
    };
    let starts = |scene: &mut Scene, parent: u32| {
        scene.spawn(parent, 12, INNER, "/usr/bin/python3", &["python3", "tool.py"]);
        scene.initialize(12);
    };
    let scene = || {
        let mut scene = Scene::with(settings);
        scene.config("trusted", "python3", &["tool.py"]);
        scene
    };
    let mut by_client = scene();
    starts(&mut by_client, CLIENT);
    assert_eq!(opens(&mut by_client), 0);
    let mut by_server = scene();
    by_server.server(11);
    starts(&mut by_server, 11);
    assert_eq!(opens(&mut by_server), 1);
    // With the command line of the client's server, it is none: what it does is told of the one that started it.
    let mut silent = scene();
    silent.server(11);
    silent.spawn(11, 12, INNER, "/usr/bin/python3", &["python3", "tool.py"]);
    assert_eq!(silent.of_type("server.discovered").len(), 0);
    // A client's child that may yet turn out to be a server.
    let mut in_doubt = scene();
    in_doubt.exec(CLIENT, "/usr/bin/cursor", &["cursor"]);
    in_doubt.candidate(11);
    starts(&mut in_doubt, 11);
    assert_eq!(opens(&mut in_doubt), 1);
    let mut further_down = scene();
    further_down.exec(CLIENT, "/usr/bin/cursor", &["cursor"]);
    further_down.candidate(11);
    further_down.spawn(11, 13, (902, 903), "/usr/bin/node", &["node", "between.js"]);
    starts(&mut further_down, 13);
    assert_eq!(opens(&mut further_down), 1);
    // One that is spoken to in another way is none.
    let mut language_server = scene();
    language_server.exec(CLIENT, "/usr/bin/cursor", &["cursor"]);
    language_server.candidate(11);
    language_server.reads(11, b"Content-Length: 2\r\n\r\n{}");
    starts(&mut language_server, 11);
    assert_eq!(opens(&mut language_server), 0);
    // What starts it may show only later what it is.
    let mut by_candidate = scene();
    by_candidate.candidate(11);
    starts(&mut by_candidate, 11);
    by_candidate.initialize(11);
    assert_eq!(opens(&mut by_candidate), 1);
}

#[test]
fn secrets_are_masked_in_everything_that_goes_out() {
    let mut scene = Scene::new();
    scene.server(11);
    let secret = "ghp_abcdefghijklmnopqrstuvwxyz0123456789";
    scene.call(11, 1, "push", json!({"token": secret, "note": format!("use {secret}")}));
    let header = format!("Authorization: Bearer {secret}");
    scene.spawn(11, 12, TERMINAL, "/usr/bin/curl", &["curl", "-H", &header, "x"]);
    scene.result(11, 1);
    let all = serde_json::to_string(&scene.records).unwrap();
    assert!(!all.contains(secret), "{all}");
    scene.open(12, &format!("/home/me/.ssh/{secret}"));
    let redacted = |kind: &str| scene.of_type(kind).last().unwrap()["redacted"].clone();
    let marks = redacted("mcp.call");
    assert!(marks.as_array().unwrap().contains(&json!("call.arguments.token")), "{marks}");
    assert_eq!(redacted("process.exec"), json!(["process.argv", "exec.argv"]));
}

#[test]
fn what_is_cut_is_said_of_every_record_that_shows_it() {
    let mut scene = Scene::new();
    scene.server(11);
    scene.call(11, 1, "weather", json!({"city": "Bern"}));
    scene.flags = wire::FLAG_TRUNCATED;
    scene.spawn(11, 12, TERMINAL, "/usr/bin/sh", &["sh", "-c", "…"]);
    let truncated = |scene: &Scene, kind: &str| scene.of_type(kind)[0]["truncated"].clone();
    assert_eq!(truncated(&scene, "process.exec"), json!(["exec.argv", "process.argv"]));
    assert_eq!(truncated(&scene, "alert"), json!(["exec.argv"]), "of the one that executed it");
    scene.forget();
    scene.open(11, "/home/me/.ssh/id_rsa");
    assert_eq!(truncated(&scene, "file.open"), json!(["file.path"]));
    assert_eq!(truncated(&scene, "alert"), json!(["file.path"]));
    scene.forget();
    scene.flags = wire::FLAG_UNREADABLE;
    scene.connect(11, [203, 0, 113, 9], 443);
    assert_eq!(truncated(&scene, "net.connect"), json!(["net"]));
    scene.forget();
    scene.flags = 0;
    scene.open(12, "/home/me/.ssh/id_rsa");
    assert_eq!(truncated(&scene, "file.open"), json!(["process.argv"]));
}
