//! Seeds that are no text: most are made from the wire structs themselves, so that they follow when those change.
//! Seeds that are text stand in `fuzz/seeds`.

use bytemuck::Zeroable;
use mcpwatch_common::control::instance_id;
use mcpwatch_common::event::{self as wire, Header, Kind, Operation};

/// Databases of real programs: see the folder they are in.
const PODMAN: &[u8] = include_bytes!("../../../mcpwatch/fixtures/containers/podman.bolt");
const CONTAINERD: &[u8] = include_bytes!("../../../mcpwatch/fixtures/containers/containerd.bolt");
const ANSWER: &[u8] = include_bytes!("../../seeds/packets/answer-glibc-api-a");
const HELLO: &[u8] = include_bytes!("../../seeds/packets/hello-openssl");

/// The process of the events, and when it started.
const PID: u32 = 42;
const START: u64 = 999_000_000_000;

/// A seed: its target, its name, what it holds.
pub type Seed = (&'static str, String, Vec<u8>);

/// All of them.
#[must_use]
pub fn seeds() -> Vec<Seed> {
    let mut seeds = Vec::new();
    let mut batch = vec![1];
    for (kind, body, tail) in bodies() {
        let event = event(kind, &body, tail);
        seeds.push(("events", format!("{kind:?}"), [&[1], event.as_slice()].concat()));
        batch.extend(event);
    }
    seeds.push(("events", "batch".into(), batch.clone()));
    let events = batch.split_off(1);
    seeds.push(("recordings", "events".into(), recording(&events)));
    seeds.push(("containers", "podman.bolt".into(), PODMAN.to_vec()));
    seeds.push(("containers", "containerd.bolt".into(), CONTAINERD.to_vec()));
    // Steps as `host` takes them: time, process, new process, what; then what that takes.
    let server: &[&[u8]] = &[
        // Spawned by the client: two words, `node` and a server's package.
        &[1, 0, 5, 1, 0, 2, 0, 3],
        &say(5, 0),
        &say(6, 0),
        &say(5, 1),
        &say(5, 3),
        // /etc/shadow, result 3, its flags, mode, that its path is whole.
        &[1, 1, 0, 9, 11, 11, 0, 0, 0x81, 3],
        &say(6, 2),
    ];
    seeds.push(("host", "server".into(), server.concat()));
    let shell: &[&[u8]] = &[
        &[1, 0, 6, 1, 0, 2, 4, 3],
        &say(5, 0),
        &say(6, 0),
        &say(5, 4),
        // A child with `sh -c` and a line of its own.
        &[1, 1, 7, 0],
        &[1, 2, 0, 3, 3, 6, 7, 9],
        // It connects to 203.0.113.7:4444.
        &[
            1, 2, 0, 10, 0, 1, 203, 0, 113, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x5c, 0x11, 1,
            1, 128,
        ],
        &[1, 2, 0, 4],
        &say(6, 3),
    ];
    seeds.push(("host", "shell".into(), shell.concat()));
    let odd: &[&[u8]] = &[
        &[1, 0, 0, 11, 0, 1, 2, 0, 3, 4, b'n', b'a', b'm', b'e'],
        &[1, 0, 8, 1, 0, 1, 0],
        &[1, 1, 0, 7, 5, b'n', b'o', b'i', b's', b'\n'],
        &[1, 1, 0, 12, 1, 1, 0, 1, 0],
        &[200, 0, 0, 15, 255],
        &[1, 0, 0, 14, 3, 0, 0, 0, 0, 0, 0, 0, 0x80],
        &[1, 1, 0, 13, 4, 3, 3, 1, 2, 3, 40],
        &[200, 0, 0, 15, 255],
    ];
    seeds.push(("host", "odd".into(), odd.concat()));
    seeds
}

/// The first process but the client says a line of its table, whole.
fn say(what: u8, line: u8) -> [u8; 6] {
    [1, 1, 0, what, line, 0]
}

fn event(kind: Kind, body: &[u8], tail: &[u8]) -> Vec<u8> {
    let mut header = Header::zeroed();
    header.version = wire::WIRE_VERSION;
    header.kind = kind as u16;
    header.size = u32::try_from(size_of::<Header>() + body.len() + tail.len()).unwrap_or(0);
    header.time = 1_000_000_000_000;
    (header.pid, header.tid, header.start_time) = (PID, PID, START);
    header.instance = instance_id(PID, START);
    [bytemuck::bytes_of(&header), body, tail].concat()
}

/// A body of each kind with its tail. The end of the process comes last: nothing can follow it.
fn bodies() -> Vec<(Kind, Vec<u8>, &'static [u8])> {
    let mut exec = wire::Exec::zeroed();
    exec.ppid = 10;
    (exec.stdin_inode, exec.stdout_inode) = (101, 102);
    (exec.path_len, exec.cwd_len, exec.argv_len) = (13, 5, 15);
    exec.flags = wire::EXEC_CANDIDATE;
    exec.cgroup = 9;
    exec.ancestors = 1;
    let mut ancestors = [wire::Ancestor::zeroed(); wire::ANCESTORS];
    ancestors[0].pid = exec.ppid;
    let exec = [bytemuck::bytes_of(&exec), bytemuck::cast_slice(&ancestors)].concat();
    let mut open = wire::Open::zeroed();
    (open.path_len, open.argument_len, open.base_len) = (17, 9, 0);
    open.path_flags = wire::PATH_COMPLETE;
    let mut net = wire::Net::zeroed();
    (net.family, net.port) = (2, 443);
    let mut unix = wire::Net::zeroed();
    (unix.family, unix.unix_len) = (1, 13);
    let mut payload = wire::Payload::zeroed();
    (payload.data_len, payload.last) = (33, 1);
    let mut answer = wire::Packet::zeroed();
    (answer.family, answer.port, answer.protocol) = (2, 53, 17);
    answer.data_len = u32::try_from(ANSWER.len()).unwrap_or(0);
    let mut hello = wire::Packet::zeroed();
    (hello.family, hello.port, hello.protocol, hello.direction) = (2, 443, 6, 1);
    hello.data_len = u32::try_from(HELLO.len()).unwrap_or(0);
    let mut injection = wire::Injection::zeroed();
    injection.victim = instance_id(PID, START);
    // `/work/a` and `/work/b`.
    let mut place = wire::Place::default();
    (place.base_len, place.argument_len) = (5, 1);
    place.flags = wire::PLACE_BASED | wire::BASE_COMPLETE;
    let none = wire::Place::default();
    let bytes = |body: &[u8]| body.to_vec();
    vec![
        (Kind::Fork, bytes(bytemuck::bytes_of(&wire::Fork::zeroed())), b""),
        (Kind::Exec, exec, b"node\0bin\0usr\0work\0node\0server.js\0"),
        (Kind::Open, bytes(bytemuck::bytes_of(&open)), b"id_rsa\0.ssh\0root\0notes.txt"),
        // Behind the path that was asked for stands the one the other end is bound by.
        (Kind::Connect, bytes(bytemuck::bytes_of(&unix)), b"/run/a.socket/run/b.socket"),
        (Kind::Send, bytes(bytemuck::bytes_of(&net)), b""),
        (Kind::Bind, bytes(bytemuck::bytes_of(&net)), b""),
        (Kind::Listen, bytes(bytemuck::bytes_of(&net)), b""),
        (Kind::Accept, bytes(bytemuck::bytes_of(&unix)), b"/run/a.socket"),
        (
            Kind::Payload,
            bytes(bytemuck::bytes_of(&payload)),
            b"{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}",
        ),
        (Kind::Change, call(Operation::Rename, [0; 4], place), b"work\0awork\0b"),
        (Kind::Dns, bytes(bytemuck::bytes_of(&answer)), ANSWER),
        (Kind::Tls, bytes(bytemuck::bytes_of(&hello)), HELLO),
        (Kind::Privilege, call(Operation::MoveMount, [0; 4], place), b"work\0awork\0b"),
        // PTRACE_ATTACH of another, and a socket of netlink.
        (Kind::Access, call(Operation::Ptrace, [16, 43, 0, 0], none), b""),
        (Kind::Injection, bytes(bytemuck::bytes_of(&injection)), b""),
        (Kind::Socket, call(Operation::Socket, [16, 3, 15, 0], none), b""),
        (Kind::Exit, bytes(bytemuck::bytes_of(&wire::Exit::zeroed())), b""),
    ]
}

/// A system call by its arguments and two files, of the same lengths.
fn call(operation: Operation, values: [u64; 4], place: wire::Place) -> Vec<u8> {
    let mut call = wire::Syscall::zeroed();
    call.operation = operation as u16;
    call.values = values;
    (call.first, call.second) = (place, place);
    bytemuck::bytes_of(&call).to_vec()
}

/// A recording as `mcpwatch run --record` writes it: see `mcpwatch::recording`.
fn recording(events: &[u8]) -> Vec<u8> {
    let mut bytes = b"mcpwatch recording 1\n".to_vec();
    let mut frame = |kind: u8, content: &[u8]| {
        bytes.push(kind);
        bytes.extend(u32::try_from(content.len()).unwrap_or(0).to_le_bytes());
        bytes.extend(content);
    };
    frame(
        b'o',
        br#"{"origin":{"host":"h","boot_id":"b","hosts_file":"192.0.2.1 a\n","resolv_conf":"nameserver 192.0.2.53\n","homes":["/home/me"]},"settings":"","sniff":null}"#,
    );
    let instance = instance_id(PID, START);
    let cgroup = "/docker/4c6d8a9b0e1f22334455667788990011aabbccddeeff00112233445566778899";
    let before = [
        r#"{"input":"clock","boot":5,"calendar":1750000000000000000}"#.to_owned(),
        // The text is `{"mcpServers":{"a":{"command":"node","args":["server.js"]}}}`.
        r#"{"input":"config","path":"/home/me/.cursor/mcp.json","client":"cursor","owner":"1000","format":"json","keys":["mcpServers"],"text":"eyJtY3BTZXJ2ZXJzIjp7ImEiOnsiY29tbWFuZCI6Im5vZGUiLCJhcmdzIjpbInNlcnZlci5qcyJdfX19"}"#.to_owned(),
        r#"{"input":"processes","time":999500000000,"processes":[{"pid":10,"ppid":1,"start":0,"exe":"/usr/bin/cursor","argv":["cursor"],"cwd":"/home/me","uid":1000,"cgroup":"/user.slice"},{"pid":42,"ppid":10,"start":99900,"exe":"/usr/bin/node","argv":["node","server.js"],"cwd":"/work","uid":1000,"cgroup":"/user.slice","stdin":{"kind":"pipe","inode":101},"stdout":{"kind":"socket","inode":102},"mount_namespace":7}]}"#.to_owned(),
        r#"{"input":"hooks","time":999500000000,"state":"attached","hooks":[{"name":"sched_process_exec","tier":"tracepoint","state":"missing","reason":"no BTF"}]}"#.to_owned(),
        format!(r#"{{"input":"cgroups","time":999500000000,"groups":[{{"id":9,"pid":42,"path":"{cgroup}"}}],"unread":1}}"#),
        format!(r#"{{"input":"looked","time":999500000000,"pid":42,"cgroup":"{cgroup}"}}"#),
        format!(r#"{{"input":"container","time":999500000000,"cgroup":"{cgroup}","container":{{"runtime":"docker","id":"1","name":"weather","labels":{{"com.example.mcp":"weather"}}}}}}"#),
        r#"{"input":"mounts","time":999500000000,"namespace":7,"paths":[{"path":"/","device":8388609,"host":"/srv/a"},{"path":"/proc","device":5}]}"#.to_owned(),
        format!(r#"{{"input":"folders","time":999500000000,"instance":{instance},"folders":[["/work","/srv/work"]]}}"#),
    ];
    for input in before {
        frame(b'i', input.as_bytes());
    }
    frame(b'e', events);
    frame(b'i', br#"{"input":"tick","time":2000000000000}"#);
    frame(b'i', br#"{"input":"stop","time":2000000000001,"reason":"SIGTERM"}"#);
    bytes
}
