//! What is told of files opened through an `io_uring`: the same play on the host and in the matrix of kernels.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::Agent;
use crate::client::{Client, Era, Sdk};
use crate::deps::agent_program;
use crate::records::{Records, text};
use crate::ring::{WAYS, Way};
use crate::scene::Scene;
use crate::stage::{CANARY, request_id, said};

const SERVER: &str = "labelled-rust";
/// Attaching takes long under emulation.
const ATTACHED: Duration = Duration::from_mins(2);

/// Why the hook does not work on this kernel; `None` when it does.
pub fn io_uring_open_missing() -> Option<String> {
    let doctor = Command::new(agent_program()).args(["doctor", "--json"]).output();
    let report: Value = serde_json::from_slice(&doctor.expect("the agent can be started").stdout)
        .expect("doctor writes JSON");
    let hooks = report["hooks"].as_array().expect("doctor names the hooks");
    let hook = hooks.iter().find(|hook| hook["name"] == "io_uring_open").expect("a hook");
    (hook["state"] == "missing").then(|| text(hook, "reason").to_owned())
}

/// Has a server open files through an `io_uring` in every way there is, with these settings of the agent. `missing`:
/// the hook does not work here, and none of them can be told.
pub fn play_io_uring(settings: &str, program: &Value, missing: Option<&str>) {
    let scene = Scene::new();
    scene.write(".ssh/id_rsa", CANARY);
    scene.write("workspace/readme.txt", "Nothing to see here.\n");
    let config = scene.config(&[(SERVER, json!({"command": program}))]);
    let agent = scene.agent().settings(settings).start();
    let client = scene.client(Sdk::Own);
    client.open(&config, &[SERVER], Era::Handshake);
    if let Some(reason) = missing {
        assert!(reason.contains("files opened through io_uring"), "not named: {reason}");
        let named = agent.find("a record that names the missing hook", |record| {
            text(record, "status.state") == "degraded"
        });
        assert!(named.to_string().contains("files opened through io_uring"), "{named}");
        call(
            &agent,
            &client,
            "ring_open",
            json!({"path": scene.path(".ssh/id_rsa"), "way": "at_once"}),
        );
        let records = agent.stop().records;
        assert_eq!(records.alerts(0).filter(|it| it["alert"]["rule"] == "io_uring_use").count(), 1);
        return;
    }
    wait_until_attached(&agent, &client);
    for (name, way) in WAYS {
        let created = *way == Way::Created;
        let path = scene.path(if created { "workspace/new.txt" } else { "workspace/readme.txt" });
        let own = call(&agent, &client, "ring_open", json!({"path": path, "way": name}));
        let told = opens(&own, &path);
        let access = if created { "write" } else { "read" };
        let part =
            [&told[0]["file"]["via"], &told[0]["file"]["result"], &told[0]["file"]["access"]];
        assert_eq!(
            (told.len(), part),
            (1, [&json!("io_uring"), &json!("ok"), &json!(access)]),
            "{name}"
        );
        assert_eq!(told[0]["relation"], "requested", "{name}: {}", told[0]);
        let flags = &told[0]["file"]["flags"];
        let made = flags.as_array().is_some_and(|flags| flags.contains(&json!("O_CREAT")));
        assert_eq!(made, created, "{name}: {flags}");
        // A tried one, relative to the working directory.
        let absent = format!("../../absent-{name}");
        if !created {
            let own = call(&agent, &client, "ring_open", json!({"path": absent, "way": name}));
            let tried: Vec<&Value> = own
                .of("file.open")
                .filter(|record| text(record, "file.argument") == absent)
                .collect();
            assert_eq!(tried.len(), 1, "{name}: {}", own.digest());
            assert_eq!(text(tried[0], "file.result"), "ENOENT", "{name}");
            assert!(!text(tried[0], "file.path").contains(".."), "{name}: {}", tried[0]);
        }
    }
    // What system calls open is told once, and without a mark.
    let path = scene.path("workspace/readme.txt");
    let own = call(&agent, &client, "read_file", json!({"path": path}));
    let told = opens(&own, &path);
    assert_eq!((told.len(), &told[0]["file"]["via"]), (1, &Value::Null));
    // The rules know no difference.
    let own = call(&agent, &client, "ring_secret", json!({}));
    let alert = own.of("alert").find(|record| text(record, "alert.rule") == "sensitive_file_read");
    let alert = alert.unwrap_or_else(|| panic!("no alert: {}", own.digest()));
    assert_eq!((text(alert, "relation"), text(alert, "alert.severity")), ("covert", "critical"));
    client.close(&[]);
    agent.stop();
}

/// Which hooks are attached is told when all are; the server has to return from the read(2) it waits in for that.
fn wait_until_attached(agent: &Agent, client: &Client) {
    let until = Instant::now() + ATTACHED;
    let is_attached = |record: &Value| {
        let hooks = record["status"]["hooks"].as_array();
        hooks.is_some_and(|hooks| {
            hooks.iter().any(|hook| hook["name"] == "io_uring_open" && hook["state"] == "attached")
        })
    };
    while !agent.records().of("status").any(is_attached) {
        assert!(Instant::now() < until, "the hook is not attached: {}", agent.records().digest());
        client.request(SERVER, "tools/list", json!({}));
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Calls a tool, which has to work or to find nothing; gives what is attributed to the call.
fn call(agent: &Agent, client: &Client, tool: &str, arguments: Value) -> Records {
    let before = agent.count();
    let result = client.call(SERVER, tool, arguments);
    let fine = result["isError"] != true || said(&result).contains("No such file");
    assert!(fine, "{tool}: {}", said(&result));
    let id = request_id(&result).clone();
    let record = agent.find(&format!("mcp.call of {tool} {id}"), |record| {
        text(record, "type") == "mcp.call" && record["call"]["id"] == id
    });
    let uid = text(&record, "call.uid").to_owned();
    Records(agent.since(before).attributed_to(&uid).cloned().collect())
}

/// The opens of a path; at least one.
fn opens<'r>(records: &'r Records, path: &str) -> Vec<&'r Value> {
    let told: Vec<&Value> =
        records.of("file.open").filter(|record| text(record, "file.path") == path).collect();
    assert!(!told.is_empty(), "no open of {path}: {}", records.digest());
    told
}
