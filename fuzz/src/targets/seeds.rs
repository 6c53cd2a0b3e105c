//! Seeds that are no text: made from the wire structs themselves, so that they follow when those change.
//! Seeds that are text stand in `fuzz/seeds`.

use bytemuck::Zeroable;
use mcpwatch_common::event::{self as wire, Header, Kind};

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
    header.pid = 42;
    header.tid = 42;
    header.start_time = 999_000_000_000;
    header.instance = 7;
    [bytemuck::bytes_of(&header), body, tail].concat()
}

fn bodies() -> Vec<(Kind, Vec<u8>, &'static [u8])> {
    let mut exec = wire::Exec::zeroed();
    exec.ppid = 10;
    (exec.stdin_inode, exec.stdout_inode) = (101, 102);
    (exec.path_len, exec.cwd_len, exec.argv_len) = (13, 5, 15);
    exec.flags = wire::EXEC_CANDIDATE;
    let mut open = wire::Open::zeroed();
    (open.path_len, open.argument_len, open.base_len) = (17, 9, 0);
    open.path_flags = wire::PATH_COMPLETE;
    let mut net = wire::Net::zeroed();
    (net.family, net.port) = (2, 443);
    let mut unix = wire::Net::zeroed();
    (unix.family, unix.unix_len) = (1, 13);
    let mut payload = wire::Payload::zeroed();
    (payload.data_len, payload.last) = (33, 1);
    let bytes = |body: &[u8]| body.to_vec();
    vec![
        (Kind::Fork, bytes(bytemuck::bytes_of(&wire::Fork::zeroed())), b""),
        (Kind::Exec, bytes(bytemuck::bytes_of(&exec)), b"node\0bin\0usr\0work\0node\0server.js\0"),
        (Kind::Exit, bytes(bytemuck::bytes_of(&wire::Exit::zeroed())), b""),
        (Kind::Open, bytes(bytemuck::bytes_of(&open)), b"id_rsa\0.ssh\0root\0notes.txt"),
        (Kind::Connect, bytes(bytemuck::bytes_of(&net)), b""),
        (Kind::Accept, bytes(bytemuck::bytes_of(&unix)), b"/run/a.socket"),
        (
            Kind::Payload,
            bytes(bytemuck::bytes_of(&payload)),
            b"{\"jsonrpc\":\"2.0\",\"method\":\"ping\"}",
        ),
    ]
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
        br#"{"origin":{"host":"h","boot_id":"b","hosts_file":"","resolv_conf":"","homes":[]},"settings":"","sniff":null}"#,
    );
    frame(b'i', br#"{"input":"clock","boot":5,"calendar":1750000000000000000}"#);
    frame(b'e', events);
    frame(b'i', br#"{"input":"looked","time":6,"pid":42,"cgroup":"/user.slice"}"#);
    frame(b'i', br#"{"input":"tick","time":2000000000000}"#);
    frame(b'i', br#"{"input":"stop","time":2000000000001,"reason":"SIGTERM"}"#);
    bytes
}
