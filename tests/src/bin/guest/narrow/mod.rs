//! Programs of 32 bits under a real agent. Only on arm64: what those of x86-64 call is a part of the play.

mod calls;
mod program;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::thread;
use std::time::Duration;

use mcpwatch_tests::{Era, Records, Scene, check_identity, has, said, text};
use serde_json::{Value, json};

use crate::play;
use crate::suite::Tier;
use calls::Told;
use program::Program;

/// What the server runs without a name, and where it is kept meanwhile.
const RUN: &str = "/bin/true";
const KEPT: &str = "/bin/kept";

fn write(path: &str, program: Program) {
    fs::write(path, program.file()).expect("a file can be written");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("it is ours");
}

/// What they call is told, in either tier, as of a 64-bit program.
pub fn calls_are_told(tier: &Tier) {
    let scene = Scene::new();
    let config = play::config(&scene);
    let (agent, client) = play::watch(&scene, tier, &config);
    client.open(&config, &[play::SERVER], Era::Handshake);
    let found = agent.find("the server", |record| {
        text(record, "type") == "server.discovered" && text(record, "server.name") == play::SERVER
    });
    let server = found["process"]["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok());
    let folder = |name: &str| {
        let path = scene.path(name);
        fs::create_dir(&path).expect("a folder can be made");
        path
    };
    let told: [(&str, Told); 6] = [
        ("of-files", calls::on_files(&folder("files"))),
        ("of-sockets", calls::on_sockets(&folder("sockets"))),
        ("of-ids", calls::on_ids()),
        ("of-mounts", calls::on_mounts(&folder("mounted"))),
        ("of-process", calls::on_process(server.expect("an id"), play::SERVER)),
        ("of-child", calls::on_child()),
    ];
    let told = told.map(|(name, (program, wanted))| {
        let path = scene.path(name);
        write(&path, program);
        // Fails where the kernel or the processor runs no such programs.
        let result = client.call(play::SERVER, "run_command", json!({"command": path}));
        assert_ne!(result["isError"], true, "{name}: {result}");
        (path, wanted)
    });
    // By execveat(2), whose number is that of socket(2) to the program.
    fs::rename(RUN, KEPT).expect("the guest is ours");
    let mut nameless = Program::default();
    let passwd = nameless.text("/etc/passwd");
    nameless.call(5, &[passwd, 0, 0]);
    write(RUN, nameless);
    let result = client.call(play::SERVER, "run_nameless", json!({"path": scene.path("removed")}));
    fs::rename(KEPT, RUN).expect("it is still there");
    assert_eq!(said(&result), "ran");
    client.close(&[]);
    let records = &agent.stop().records;
    for (path, wanted) in &told {
        is_told(records, path, wanted);
    }
    let opens = records.of("file.open").filter(|open| text(open, "file.argument") == "/etc/passwd");
    assert_eq!(opens.count(), 2, "{}", records.digest());
    let sockets = records.of("net.socket").count();
    assert_eq!(sockets, 1, "none but that which was asked for: {}", records.digest());
    all_was_read(records);
}

/// The effects of the program at this path are these, in their order.
fn is_told(records: &Records, path: &str, wanted: &[Value]) {
    const EFFECTS: [&str; 4] = ["file.", "net.", "process.privilege", "process.access"];
    let own: Vec<&Value> = records
        .0
        .iter()
        .filter(|record| text(record, "process.exe") == path)
        .filter(|record| EFFECTS.iter().any(|kind| text(record, "type").starts_with(kind)))
        .collect();
    for (at, wanted) in wanted.iter().enumerate() {
        let told = own.get(at).copied().unwrap_or(&Value::Null);
        assert!(has(told, wanted), "{path}, record {at}: {told}\ninstead of {wanted}");
    }
    assert_eq!(own.len(), wanted.len(), "{path} did no more: {:?}", own.last());
}

fn all_was_read(records: &Records) {
    let unread = records.of("loss").filter(|record| text(record, "loss.what") == "compat");
    assert_eq!(unread.count(), 0, "{}", records.digest());
    check_identity(records.0.last().expect("records"));
}

/// How a server moves the bytes of its channel: the calls to read and to write, and whether that needs a socket.
const WAYS: [(&str, Move, Move, bool); 6] = [
    ("plain", Move::Bytes(3), Move::Bytes(4), false),
    ("row", Move::Row(145), Move::Row(146), false),
    ("positioned", Move::Row(392), Move::Row(393), false),
    ("socket", Move::Bytes(291), Move::Bytes(289), true),
    ("addressed", Move::Bytes(292), Move::Bytes(290), true),
    ("message", Move::Message(297), Move::Message(296), true),
];

/// The number of a call, and what it is given.
#[derive(Clone, Copy)]
enum Move {
    /// A buffer and its size, then zeros.
    Bytes(u32),
    /// Two `struct compat_iovec`, then the position `-1`, and no flags.
    Row(u32),
    /// A `struct compat_msghdr`.
    Message(u32),
}

impl Move {
    fn put(self, program: &mut Program, descriptor: u32, at: u32, len: u32) {
        let half = len / 2;
        let row = [at, half, at + half, len - half];
        match self {
            Self::Bytes(number) => program.call(number, &[descriptor, at, len, 0, 0, 0]),
            Self::Row(number) => {
                let row = program.numbers(&row);
                program.call(number, &[descriptor, row, 2, u32::MAX, u32::MAX, 0]);
            }
            Self::Message(number) => {
                let row = program.numbers(&row);
                let message = program.numbers(&[0, 0, row, 2, 0, 0, 0]);
                program.call(number, &[descriptor, message, 0]);
            }
        }
    }
}

/// A server that answers the handshake and one call of a tool, and ends with its client.
fn server(name: &str, to_read: Move, to_write: Move) -> Program {
    const ROOM: u32 = 4096;
    let mut program = Program::default();
    let requests = program.put(&[0; ROOM as usize]);
    let shaken = json!({"jsonrpc": "2.0", "id": 0, "result": {
        "protocolVersion": "2025-11-25", "capabilities": {"tools": {}},
        "serverInfo": {"name": name, "version": "1"}}});
    let answered = json!({"jsonrpc": "2.0", "id": 1, "result": {
        "content": [{"type": "text", "text": name}]}});
    // After the handshake its end is notified.
    for (requests_before, response) in [(1, shaken), (2, answered)] {
        for _ in 0..requests_before {
            to_read.put(&mut program, 0, requests, ROOM);
        }
        let response = format!("{response}\n");
        let at = program.put(response.as_bytes());
        to_write.put(&mut program, 1, at, u32::try_from(response.len()).expect("it is short"));
    }
    to_read.put(&mut program, 0, requests, ROOM);
    program
}

/// The channel of a server of 32 bits is read, in either tier, whatever moves its bytes.
pub fn channels_are_read(tier: &Tier) {
    let scene = Scene::new();
    let mut servers = vec![play::earlier()];
    for (name, to_read, to_write, sockets) in WAYS {
        let path = scene.path(name);
        write(&path, server(name, to_read, to_write));
        servers.push((name, json!({"command": path, "sockets": sockets})));
    }
    let config = scene.config(&servers);
    let (agent, client) = play::watch(&scene, tier, &config);
    for (name, ..) in WAYS {
        client.open(&config, &[name], Era::Handshake);
        agent.find("the server", |record| {
            text(record, "type") == "server.discovered" && text(record, "server.name") == name
        });
        // It takes what is there at once: the notification is to be there alone.
        thread::sleep(Duration::from_secs(2));
        let result = client.call(name, "look_up", json!({"text": name}));
        assert_eq!(said(&result), name);
        agent.find("the call", |record| {
            let wanted = json!({"tool": "look_up", "arguments": {"text": name}, "status": "ok"});
            text(record, "type") == "mcp.call"
                && text(record, "server.name") == name
                && has(&record["call"], &wanted)
        });
    }
    client.close(&[]);
    all_was_read(&agent.stop().records);
}
