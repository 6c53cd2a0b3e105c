//! The whole set of effects, from the kernel to the record: each system call that changes something is told
//! with its files, attributed to the call that made it.

use mcpwatch_tests::{Agent, Client, Era, Scene, Sdk, deps, digest, request_id, text};
use serde_json::{Value, json};

/// One call and the records it must leave, each as a part of it.
struct Case {
    tool: &'static str,
    arguments: Value,
    records: Vec<Value>,
}

fn case(tool: &'static str, arguments: Value, records: &[Value]) -> Case {
    Case { tool, arguments, records: records.to_vec() }
}

/// A `file.change` the call asked for.
fn change(operation: &str, path: &str, more: Value) -> Value {
    let mut file = json!({"operation": operation, "path": path, "result": "ok"});
    merge(&mut file, more);
    json!({"type": "file.change", "relation": "requested", "file": file})
}

fn merge(into: &mut Value, more: Value) {
    let Value::Object(more) = more else { panic!("only objects can be merged") };
    for (name, value) in more {
        into[name] = value;
    }
}

/// Whether everything in `part` stands in `whole`; `null` stands for a field that is not there.
fn has(whole: &Value, part: &Value) -> bool {
    match part {
        Value::Object(fields) => fields.iter().all(|(name, value)| match whole.get(name) {
            Some(found) => has(found, value),
            None => value.is_null(),
        }),
        Value::Array(items) => whole.as_array().is_some_and(|all| {
            all.len() == items.len() && all.iter().zip(items).all(|(a, b)| has(a, b))
        }),
        other => whole == other,
    }
}

/// A scene with the effects server, the agent and a client.
struct Play {
    agent: Agent,
    client: Client,
    scene: Scene,
}

impl Play {
    fn begin() -> Self {
        Self::in_scene(Scene::new())
    }

    fn in_scene(scene: Scene) -> Self {
        let script = scene.script("servers/effects.py");
        let server = json!({"command": deps().python(), "args": [script]});
        let config = scene.config(&[("effects", server)]);
        let agent = scene.agent().start();
        let client = scene.client(Sdk::Python);
        client.open(&config, &["effects"], Era::Handshake);
        Self { agent, client, scene }
    }

    /// Plays one case; gives what is missing.
    fn play(&self, case: &Case) -> Vec<String> {
        let before = self.agent.count();
        let result = self.client.call("effects", case.tool, case.arguments.clone());
        let id = request_id(&result).clone();
        let call = self.agent.find(&format!("mcp.call {id}"), |record| {
            text(record, "type") == "mcp.call" && record["call"]["id"] == id
        });
        let fresh = self.agent.since(before);
        let own: Vec<&Value> = fresh.attributed_to(text(&call, "call.uid")).collect();
        let missing = case.records.iter().filter(|wanted| !own.iter().any(|it| has(it, wanted)));
        missing
            .map(|wanted| {
                let near: Vec<String> = own
                    .iter()
                    .filter(|it| it["type"] == wanted["type"])
                    .map(|it| digest(it))
                    .collect();
                format!("{} said {result}: no {wanted}; its own: {near:#?}", case.tool)
            })
            .collect()
    }

    fn play_all(self, cases: &[Case]) {
        let wrong: Vec<String> = cases.iter().flat_map(|case| self.play(case)).collect();
        self.client.close(&[]);
        self.agent.stop();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_change_of_a_file_is_told_with_its_paths() {
    let play = Play::begin();
    let at = |name: &str| play.scene.path(name);
    let home = at("");
    let home = home.trim_end_matches('/');
    for name in ["a", "b", "c", "mode", "cut"] {
        play.scene.write(&format!("w/{name}"), "some text");
    }
    let target = |path: &str| json!({"target": {"path": path}});
    let w = |name: &str| at(&format!("w/{name}"));
    let cases = [
        case(
            "move",
            json!({"from": w("a"), "to": w("x/../a2")}),
            &[json!({"type": "file.change", "relation": "requested", "file": {
                "operation": "rename", "path": w("a"), "argument": w("a"), "result": "ENOENT",
                "target": {"path": w("a2"), "argument": w("x/../a2")}}})],
        ),
        case(
            "move",
            json!({"from": w("a"), "to": w("a2")}),
            &[change("rename", &w("a"), target(&w("a2")))],
        ),
        case(
            "move_at",
            json!({"folder": w(""), "from": "a2", "to": "a3"}),
            &[change(
                "rename",
                &w("a2"),
                json!({"argument": "a2", "target": {"path": w("a3"), "argument": "a3"}}),
            )],
        ),
        case(
            "exchange",
            json!({"from": w("b"), "to": w("c")}),
            &[change("rename", &w("b"), target(&w("c")))],
        ),
        case(
            "link",
            json!({"from": w("b"), "to": w("hard")}),
            &[change("link", &w("b"), target(&w("hard")))],
        ),
        case(
            "link_descriptor",
            json!({"from": w("b"), "to": w("hard2")}),
            &[change("link", &w("b"), target(&w("hard2")))],
        ),
        case(
            "symlink",
            json!({"text": "../secret", "path": w("soft")}),
            &[change(
                "symlink",
                &w("soft"),
                json!({"target": {"path": at("secret"), "argument": "../secret"}}),
            )],
        ),
        case(
            "symlink_at",
            json!({"text": "/etc/hosts", "name": "soft2", "folder": w("")}),
            &[change("symlink", &w("soft2"), target("/etc/hosts"))],
        ),
        case("remove", json!({"path": w("hard")}), &[change("unlink", &w("hard"), json!({}))]),
        case(
            "remove_at",
            json!({"folder": w(""), "name": "hard2"}),
            &[change("unlink", &w("hard2"), json!({"target": null}))],
        ),
        case(
            "make_folder",
            json!({"path": w("d")}),
            &[change("mkdir", &w("d"), json!({"mode": "0750"}))],
        ),
        case(
            "make_folder_at",
            json!({"folder": w("d"), "name": "e"}),
            &[change("mkdir", &w("d/e"), json!({"mode": "0711"}))],
        ),
        case(
            "remove_folder",
            json!({"path": w("d")}),
            &[change("rmdir", &w("d"), json!({"result": "ENOTEMPTY"}))],
        ),
        case(
            "remove_folder_at",
            json!({"folder": w("d"), "name": "e"}),
            &[change("rmdir", &w("d/e"), json!({}))],
        ),
        case("remove_folder", json!({"path": w("d")}), &[change("rmdir", &w("d"), json!({}))]),
        case(
            "make_pipe",
            json!({"path": w("pipe")}),
            &[change("mknod", &w("pipe"), json!({"mode": "10600"}))],
        ),
        case(
            "set_mode",
            json!({"path": w("mode"), "mode": 0o4755}),
            &[change("chmod", &w("mode"), json!({"mode": "4755"}))],
        ),
        case(
            "set_mode_at",
            json!({"folder": w(""), "name": "mode", "mode": 0o600}),
            &[change("chmod", &w("mode"), json!({"mode": "0600"}))],
        ),
        case(
            "set_mode_of_open",
            json!({"path": w("mode"), "mode": 0o644}),
            &[change("chmod", &w("mode"), json!({"mode": "0644", "argument": ""}))],
        ),
        case(
            "set_owner",
            json!({"path": w("mode"), "uid": 12}),
            &[change("chown", &w("mode"), json!({"owner_uid": 12, "owner_gid": null}))],
        ),
        case(
            "set_owner_of_link",
            json!({"path": w("soft"), "gid": 13}),
            &[change("chown", &w("soft"), json!({"owner_uid": null, "owner_gid": 13}))],
        ),
        case(
            "set_owner_of_open",
            json!({"path": w("mode")}),
            &[change("chown", &w("mode"), json!({"owner_uid": 1, "owner_gid": 2}))],
        ),
        case(
            "cut",
            json!({"path": w("cut"), "size": 5_000_000_000_u64}),
            &[change("truncate", &w("cut"), json!({"size": 5_000_000_000_u64}))],
        ),
        case(
            "cut_open",
            json!({"path": w("cut"), "size": 3}),
            &[change("truncate", &w("cut"), json!({"size": 3, "argument": ""}))],
        ),
        case(
            "make_memory",
            json!({"name": "scratch"}),
            &[change("memfd_create", "/memfd:scratch", json!({"unlinked": true}))],
        ),
        // A file opened for writing is told from one opened for reading.
        case(
            "write",
            json!({"path": w("new")}),
            &[json!({"type": "file.open", "file": {
            "path": w("new"), "access": "write", "flags": ["O_CREAT"]}})],
        ),
        case(
            "empty",
            json!({"path": w("new")}),
            &[json!({"type": "file.open", "file": {
            "path": w("new"), "access": "read", "flags": ["O_TRUNC"]}})],
        ),
        // What nobody asked for, and what it means.
        case(
            "tidy_config",
            json!({}),
            &[
                json!({"type": "file.change", "relation": "covert", "file": {"operation": "rename",
                "path": format!("{home}/new.json"), "result": "ENOENT"}}),
                json!({"type": "alert", "alert": {"rule": "mcp_config_write", "severity": "medium"}}),
            ],
        ),
    ];
    play.play_all(&cases);
}

#[test]
fn a_secret_under_another_name_and_a_replaced_configuration_are_alerts() {
    let play = Play::begin();
    play.scene.write(".ssh/id_rsa", "no key at all");
    play.scene.write("new.json", "{}");
    let alert = |rule: &str| {
        json!({"type": "alert", "relation": "covert",
            "alert": {"rule": rule, "severity": "critical"}, "file": {"result": "ok"}})
    };
    let cases = [
        case("tidy_keys", json!({}), &[alert("sensitive_file_read")]),
        case("tidy_config", json!({}), &[alert("mcp_config_write")]),
    ];
    play.play_all(&cases);
}

#[test]
fn paths_in_a_jail_are_shown_from_both_roots() {
    let play = Play::begin();
    let jail = play.scene.path("jail/root");
    std::fs::create_dir_all(&jail).expect("mkdir");
    let file = |path: &str| format!("{jail}{path}");
    let inside = |kind: &str, path: &str, more: Value| {
        let mut file = json!({"path": file(path), "inner_path": path});
        merge(&mut file, more);
        json!({"type": kind, "file": file})
    };
    play.play_all(&[case(
        "jailed",
        json!({"root": jail}),
        &[
            inside("file.change", "/inside", json!({"operation": "mkdir", "argument": "/inside"})),
            inside("file.change", "/beside", json!({"argument": "../../beside", "result": "ok"})),
            inside("file.open", "/inside/file", json!({"access": "write", "result": "ok"})),
            inside("file.open", "/inside/absent", json!({"result": "ENOENT"})),
        ],
    )]);
}

#[test]
fn files_without_a_name_are_shown_as_such() {
    let play = Play::begin();
    let folder = play.scene.path("");
    let gone = play.scene.path("gone");
    let opened = |path: Value| json!({"type": "file.open", "file": {"path": path, "unlinked": true, "result": "ok"}});
    let wrong = play.play(&case("unlinked", json!({"path": gone}), &[opened(json!(gone))]));
    assert!(wrong.is_empty(), "{wrong:?}");
    let wrong = play.play(&case(
        "nameless",
        json!({"path": folder}),
        &[json!({
        "type": "file.open", "file": {"unlinked": true, "result": "ok", "access": "read"}})],
    ));
    assert!(wrong.is_empty(), "{wrong:?}");
    play.play_all(&[]);
}

#[test]
fn paths_longer_than_any_argument_are_whole() {
    let play = Play::begin();
    let scene_path = play.scene.path("");
    let scene_path = scene_path.trim_end_matches('/');
    let above = scene_path.split('/').filter(|name| !name.is_empty()).count();
    // 64 components and a file in them; then 4,096 bytes of long names.
    let many: Vec<String> = (above..63).map(|number| format!("folder-{number}")).collect();
    let room = 4096 - scene_path.len() - "/bottom".len();
    let mut long = vec!["x".repeat(200); room / 201];
    let left = room - long.len() * 201;
    if left > 1 {
        long.push("y".repeat(left - 1));
    }
    let mut cases = Vec::new();
    for names in [many, long] {
        let path = format!("{scene_path}/{}/bottom", names.join("/"));
        let last = path.strip_suffix("/bottom").expect("it ends so");
        cases.push(case(
            "deep",
            json!({"path": scene_path, "names": names}),
            &[
                json!({"type": "file.open", "truncated": null,
                "file": {"path": path, "access": "write", "result": "ok"}}),
                json!({"type": "file.change", "truncated": null,
                "file": {"operation": "mkdir", "path": last, "result": "ok"}}),
            ],
        ));
    }
    assert_eq!(
        cases[0].records[0]["file"]["path"].as_str().expect("a path").split('/').count(),
        65
    );
    assert!(cases[1].records[0]["file"]["path"].as_str().expect("a path").len() >= 4095);
    play.play_all(&cases);
}

#[test]
fn paths_cross_bind_mounts_and_overlays() {
    let play = Play::begin();
    let path = play.scene.path("mounts");
    std::fs::create_dir_all(&path).expect("mkdir");
    let opened = |name: &str| {
        json!({"type": "file.open", "file": {"path": format!("{path}/{name}"), "result": "ok",
            "inner_path": null}})
    };
    play.play_all(&[case(
        "mounted",
        json!({"path": path}),
        &[
            opened("bound/deep/file"),
            opened("merged/below"),
            json!({"type": "file.change", "file": {"operation": "rename", "result": "ok",
            "path": format!("{path}/merged/below"),
            "target": {"path": format!("{path}/merged/above")}}}),
        ],
    )]);
}
