//! What is told of what is done through an `io_uring`: the same play on the host and in the matrix of kernels.

use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::agent::{Agent, make_failure_final};
use crate::client::{Client, Era, Sdk};
use crate::deps::agent_program;
use crate::left_out::may_be_left_out;
use crate::play::merge;
use crate::records::{Records, text};
use crate::ring::{WAYS, Way};
use crate::scene::Scene;
use crate::skipped;
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

/// Has a server do through an `io_uring` what leaves records, in every way there is, with these settings of the agent.
/// `missing`: the hook on opens does not work here, so that they are told as they are submitted.
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
    }
    let hooks = ["io_uring_submit", "io_uring_open"];
    let hooks = if missing.is_some() { &hooks[..1] } else { &hooks };
    wait_until_attached(&agent, &client, hooks);
    let stage = Stage { scene, agent, client };
    stage.opens(missing.is_none());
    for (name, way) in WAYS.iter().filter(|(_, way)| *way != Way::Created) {
        stage.changes(name, *way);
    }
    stage.hides_in_a_crowd(missing.is_none());
    stage.truncates();
    stage.makes_sockets();
    stage.connects();
    stage.listens();
    stage.writes();
    stage.client.close(&[]);
    let is_full = missing.is_none() && !stage.has_room_for_all();
    let records = stage.agent.stop().records;
    // `busy` speaks of any thread of the machine, and `mounts` of processes that had ended.
    let lost: Vec<&str> = records
        .of("loss")
        .map(|record| text(record, "loss.what"))
        .filter(|what| !["busy", "mounts"].contains(what))
        .collect();
    // Who connected, what was written to the channel, and an open that found no room.
    let expected = if is_full { &["accept", "open", "write"][..] } else { &["accept", "write"] };
    let mut kinds = lost.clone();
    kinds.sort_unstable();
    if kinds != expected {
        make_failure_final();
    }
    assert_eq!(kinds, expected, "{}", records.digest());
}

/// More opens than there is room for at once.
const CROWD: usize = 300;
/// So many there is room for.
const ROOM: usize = 256;

/// A server with its client, under an agent.
struct Stage {
    scene: Scene,
    agent: Agent,
    client: Client,
}

impl Stage {
    /// Files are opened, with results if they are `known`.
    fn opens(&self, known: bool) {
        let result = |result| if known { result } else { "unknown" };
        for (name, way) in WAYS {
            let created = *way == Way::Created;
            let path =
                self.scene.path(if created { "workspace/new.txt" } else { "workspace/readme.txt" });
            let own = self.call("ring_open", json!({"path": path, "way": name}));
            let told = opens(&own, &path);
            let access = if created { "write" } else { "read" };
            let file = &told[0]["file"];
            let part = [&file["via"], &file["result"], &file["access"]];
            assert_eq!(
                (told.len(), part),
                (1, [&json!("io_uring"), &json!(result("ok")), &json!(access)]),
                "{name}"
            );
            assert_eq!(file["inode"].is_u64(), known, "{name}: {file}");
            assert_eq!(told[0]["relation"], "requested", "{name}: {}", told[0]);
            let flags = &file["flags"];
            let made = flags.as_array().is_some_and(|flags| flags.contains(&json!("O_CREAT")));
            assert_eq!(made, created, "{name}: {flags}");
            // A tried one, relative to the working directory.
            let absent = format!("../../absent-{name}");
            if !created {
                let own = self.call("ring_open", json!({"path": absent, "way": name}));
                let tried: Vec<&Value> = own
                    .of("file.open")
                    .filter(|record| text(record, "file.argument") == absent)
                    .collect();
                assert_eq!(tried.len(), 1, "{name}: {}", own.digest());
                assert_eq!(text(tried[0], "file.result"), result("ENOENT"), "{name}");
                assert!(!text(tried[0], "file.path").contains(".."), "{name}: {}", tried[0]);
            }
        }
        // Below a folder, with the flags in a struct.
        let folder = self.scene.path("workspace");
        let own = self.call("ring_open_below", json!({"folder": folder, "name": "readme.txt"}));
        let told = opens(&own, &self.scene.path("workspace/readme.txt"));
        let file = &told[0]["file"];
        let part = [&file["argument"], &file["result"], &file["access"]].map(Value::as_str);
        let expected = ["readme.txt", result("ok"), "read_write"].map(Some);
        assert_eq!((told.len(), part), (1, expected), "{}", told[0]);
        // Kept by the ring, without a descriptor; and for a place there which it does not have.
        for tool in ["ring_open_kept", "ring_open_for_no_place"] {
            let path = self.scene.path("workspace/readme.txt");
            let own = self.call(tool, json!({"path": path}));
            let told = opens(&own, &path);
            let file = &told[0]["file"];
            let part = [&file["via"], &file["result"]].map(Value::as_str);
            let expected = ["io_uring", result("ok")].map(Some);
            assert_eq!((told.len(), part), (1, expected), "{tool}: {}", told[0]);
            assert_eq!(file["inode"].is_u64(), known, "{tool}: {file}");
        }
        // What system calls open is told once, and without a mark.
        let path = self.scene.path("workspace/readme.txt");
        let own = self.call("read_file", json!({"path": path}));
        let told = opens(&own, &path);
        let part = [&told[0]["file"]["via"], &told[0]["file"]["result"]];
        assert_eq!((told.len(), part), (1, [&Value::Null, &json!("ok")]));
        // The rules know no difference.
        is_caught(&self.call("ring_secret", json!({})));
    }

    /// However many opens are under way, each is told, once, with where it leads; but one that fails and found no room is
    /// counted as lost.
    fn hides_in_a_crowd(&self, known: bool) {
        let folder = self.scene.path("fifos");
        let arguments = json!({"folder": folder, "crowd": CROWD, "by_link": known});
        let own = self.call("ring_secret_in_a_crowd", arguments);
        let told = own.of("file.open").map(|record| &record["file"]);
        let told: Vec<&Value> = told.filter(|file| file["via"] == "io_uring").collect();
        let waits = |file: &&Value| {
            file["path"].as_str().is_some_and(|path| path.starts_with(&format!("{folder}/")))
        };
        let (waited, others): (Vec<&Value>, Vec<&Value>) = told.into_iter().partition(waits);
        let secret = json!(self.scene.path(".ssh/id_rsa"));
        let secret: Vec<&Value> =
            others.iter().copied().filter(|file| file["path"] == secret).collect();
        let is_full = known && !self.has_room_for_all();
        let result = if known { "ok" } else { "unknown" };
        assert!(waited.iter().all(|file| file["result"] == result), "{}", own.digest());
        let as_given = waited.iter().filter(|file| file["argument"] == file["path"]).count();
        let expected = (CROWD, if is_full { ROOM } else { CROWD });
        assert_eq!((waited.len(), as_given), expected, "{}", own.digest());
        let [secret] = secret.as_slice() else { panic!("{secret:?}: {}", own.digest()) };
        let name = match (known, is_full) {
            (true, true) => None,
            (true, false) => Some("innocent"),
            (false, _) => Some("id_rsa"),
        };
        let argument = secret["argument"].as_str().and_then(|path| path.rsplit('/').next());
        let found = (secret["result"].as_str(), argument.filter(|name| !name.is_empty()));
        assert_eq!(found, (Some(result), name), "{secret}");
        is_caught(&own);
        // Beside it the one that does not exist.
        assert_eq!(others.len(), if is_full { 1 } else { 2 }, "{others:?}");
    }

    /// The hook on opens is where every open of the host comes by: it keeps nothing of those that are under way.
    fn has_room_for_all(&self) -> bool {
        let records = self.agent.records();
        let told = records.of("status").filter_map(|record| record["status"]["hooks"].as_array());
        let mut hooks = told.last().expect("a record of the hooks").iter();
        hooks.any(|hook| hook["name"] == "io_uring_open" && hook["reason"].is_string())
    }

    /// Each operation that changes a file is told, once and in its order.
    fn changes(&self, name: &str, way: Way) {
        let folder = self.scene.path(&format!("changed-{name}"));
        let at = |name: &str| format!("{folder}/{name}");
        let expected = [
            asked("rename", &at("a"), &at("a"), to(&at("a2"), "a2")),
            asked("unlink", &at("b"), &at("b"), json!({})),
            asked("rmdir", &at("sub"), "sub", json!({})),
            // What came of it, nobody says.
            asked("rename", &at("c"), "absent/../c", to(&at("c"), "c")),
        ];
        self.changes_by("ring_change", &folder, name, &expected, way);
        let folder = self.scene.path(&format!("made-{name}"));
        let at = |name: &str| format!("{folder}/{name}");
        let expected = [
            asked("link", &at("b"), "b", to(&at("hard"), &at("hard"))),
            asked("symlink", &at("soft"), "soft", to(&self.scene.path("secret"), "../secret")),
            asked("mkdir", &at("sub"), "sub", json!({"mode": "0750"})),
        ];
        self.changes_by("ring_make", &folder, name, &expected, way);
    }

    fn changes_by(&self, tool: &str, folder: &str, name: &str, expected: &[Value], way: Way) {
        let arguments = json!({"path": folder, "way": name});
        let Some(own) = self.call_if_there_is(tool, arguments) else { return };
        let told: Vec<&Value> = own
            .of("file.change")
            .filter(|record| record["file"]["via"] == "io_uring")
            .map(|record| &record["file"])
            .collect();
        assert_eq!(told, expected.iter().collect::<Vec<_>>(), "{way:?}");
        let cut = own.of("file.change").filter(|record| !record["truncated"].is_null()).count();
        assert_eq!(cut, 0, "{way:?}: {}", own.digest());
    }

    /// A file is cut, by its descriptor and as one that is registered, which nobody can name.
    fn truncates(&self) {
        let path = self.scene.path("workspace/readme.txt");
        let Some(own) = self.call_if_there_is("ring_truncate", json!({"path": path})) else {
            return;
        };
        let told: Vec<[&Value; 5]> = own
            .of("file.change")
            .map(|record| {
                let file = &record["file"];
                [
                    &file["operation"],
                    &file["path"],
                    &file["size"],
                    &file["result"],
                    &record["truncated"],
                ]
            })
            .collect();
        let (cut, unknown, nothing) = (json!("truncate"), json!("unknown"), Value::Null);
        let expected = [
            [&cut, &json!(path), &json!(5_000_000_000_u64), &unknown, &nothing],
            [&cut, &json!(""), &json!(3), &unknown, &json!(["file.path"])],
        ];
        assert_eq!(told, expected);
    }

    /// A socket is told if its family is rare, as that of a system call is.
    fn makes_sockets(&self) {
        let Some(own) = self.call_if_there_is("ring_sockets", json!({})) else { return };
        let told: Vec<[&str; 3]> = own
            .of("net.socket")
            .map(|record| ["net.family", "net.protocol", "net.result"].map(|it| text(record, it)))
            .collect();
        assert_eq!(told, [["netlink", "kobject_uevent", "unknown"]]);
    }

    /// Connections are told once: of IP networks by the hooks on cgroups, where there are any.
    fn connects(&self) {
        let path = self.scene.path("ring.sock");
        let own = self.call("ring_connect", json!({"path": path}));
        let told: Vec<[&str; 3]> = own.of("net.connect").map(network).collect();
        let [unix, tcp] = told.as_slice() else { panic!("{told:?}: {}", own.digest()) };
        assert_eq!(*unix, ["stream", path.as_str(), "unknown"], "{}", own.digest());
        assert!(tcp[0] == "tcp" && tcp[2] == "unknown", "{told:?}");
        assert!(tcp[1].starts_with("127.0.0.1"), "{told:?}");
        assert_eq!(own.of("net.accept").count(), 0, "{}", own.digest());
    }

    /// So is what is bound and listened on.
    fn listens(&self) {
        let path = self.scene.path("other.sock");
        let Some(own) = self.call_if_there_is("ring_listen", json!({"path": path})) else { return };
        for kind in ["net.bind", "net.listen"] {
            let told: Vec<[&str; 3]> = own.of(kind).map(network).collect();
            let expected = [["stream", &path, "unknown"], ["tcp", "127.0.0.1", "unknown"]];
            assert_eq!(told, expected, "{kind}: {}", own.digest());
        }
    }

    /// What is written to the server's stdout goes by unread, and is counted; who writes to its stdin is caught.
    fn writes(&self) {
        self.call("ring_write", json!({}));
        self.agent.find("that the server wrote to its own stdin", |record| {
            text(record, "type") == "mcp.message" && text(record, "mcp.problem") == "injected"
        });
    }

    /// Calls a tool, which has to work or to find nothing; gives what is attributed to the call.
    fn call(&self, tool: &str, arguments: Value) -> Records {
        self.call_if_there_is(tool, arguments).unwrap_or_else(|| panic!("{tool} was left out"))
    }

    /// The same; `None` if this kernel lacks what the tool needs.
    fn call_if_there_is(&self, tool: &str, arguments: Value) -> Option<Records> {
        let before = self.agent.count();
        let result = self.client.call(SERVER, tool, arguments);
        if said(&result) == "left out" {
            assert!(may_be_left_out(tool), "this kernel has to have it: {tool}");
            skipped(&format!("this kernel has no such operations of an io_uring: {tool}"));
            return None;
        }
        let fine = result["isError"] != true || said(&result).contains("No such file");
        assert!(fine, "{tool}: {}", said(&result));
        let id = request_id(&result).clone();
        let record = self.agent.find(&format!("mcp.call of {tool} {id}"), |record| {
            text(record, "type") == "mcp.call" && record["call"]["id"] == id
        });
        let uid = text(&record, "call.uid").to_owned();
        Some(Records(self.agent.since(before).attributed_to(&uid).cloned().collect()))
    }
}

/// The file of a change that a ring was asked for.
fn asked(operation: &str, path: &str, argument: &str, more: Value) -> Value {
    let mut file = json!({
        "operation": operation, "path": path, "argument": argument, "via": "io_uring",
        "result": "unknown",
    });
    merge(&mut file, more);
    file
}

/// The other file of such a change.
fn to(path: &str, argument: &str) -> Value {
    json!({"target": {"path": path, "argument": argument}})
}

/// Which hooks are attached is told when all are; the server has to return from the read(2) it waits in for that.
fn wait_until_attached(agent: &Agent, client: &Client, wanted: &[&str]) {
    let until = Instant::now() + ATTACHED;
    let is_attached = |record: &Value| {
        let hooks = record["status"]["hooks"].as_array();
        hooks.is_some_and(|hooks| {
            let is = |wanted: &&str| {
                hooks.iter().any(|hook| hook["name"] == *wanted && hook["state"] == "attached")
            };
            wanted.iter().all(is)
        })
    };
    while !agent.records().of("status").any(is_attached) {
        assert!(Instant::now() < until, "{wanted:?} not attached: {}", agent.records().digest());
        client.request(SERVER, "tools/list", json!({}));
        std::thread::sleep(Duration::from_millis(500));
    }
}

/// Protocol, address and result of what was done with a socket.
fn network(record: &Value) -> [&str; 3] {
    let address = if record["net"]["path"].is_string() { "net.path" } else { "net.address" };
    ["net.protocol", address, "net.result"].map(|field| text(record, field))
}

/// A secret was read that nobody asked for, and that is an alert.
fn is_caught(records: &Records) {
    let mut alerts = records.of("alert");
    let alert = alerts.find(|record| text(record, "alert.rule") == "sensitive_file_read");
    let alert = alert.unwrap_or_else(|| panic!("no alert: {}", records.digest()));
    assert_eq!((text(alert, "relation"), text(alert, "alert.severity")), ("covert", "critical"));
}

/// The opens of a path; at least one.
fn opens<'r>(records: &'r Records, path: &str) -> Vec<&'r Value> {
    let told: Vec<&Value> =
        records.of("file.open").filter(|record| text(record, "file.path") == path).collect();
    assert!(!told.is_empty(), "no open of {path}: {}", records.digest());
    told
}
