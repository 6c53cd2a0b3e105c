//! Bytes of the ring buffer → [`Event`]. Every length and version is checked: the bytes may as well come
//! from a recording somebody made up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mcpwatch_common::event as wire;
use wire::{Header, Kind};

use super::{
    Direction, Event, EventKind, Exec, Exit, Fork, Net, NetOperation, Open, Payload, ProcessKey,
};

/// Nanoseconds of one clock tick: `/proc` counts start times in these (`USER_HZ` is 100 everywhere).
const TICK: u64 = 10_000_000;

/// Why bytes are no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The bytes end within an event.
    #[error("an event of {expected} bytes ends after {found}")]
    Short {
        /// Bytes its header or kind asks for.
        expected: usize,
        /// Bytes there are.
        found: usize,
    },
    /// Another version's event.
    #[error("an event of format {found}; this agent knows format {}", wire::WIRE_VERSION)]
    Version {
        /// The version in the header.
        found: u16,
    },
    /// A kind nobody knows.
    #[error("an event of unknown kind {found}")]
    Kind {
        /// The kind in the header.
        found: u16,
    },
    /// The lengths in the body do not fit the event.
    #[error("the parts of an event of kind {kind:?} do not fit its size of {size} bytes")]
    Parts {
        /// The kind.
        kind: Kind,
        /// The size.
        size: usize,
    },
}

/// Takes the first event off `bytes`. An error that leaves the size readable skips the event; any other
/// ends the batch (`bytes` is then empty).
pub fn next(bytes: &mut &[u8]) -> Option<Result<Event, DecodeError>> {
    if bytes.is_empty() {
        return None;
    }
    let header = match read::<Header>(bytes) {
        Ok((header, _)) => header,
        Err(error) => {
            *bytes = &[];
            return Some(Err(error));
        }
    };
    let size = header.size as usize;
    let Some((event, rest)) = bytes.split_at_checked(size.max(size_of::<Header>())) else {
        let found = bytes.len();
        *bytes = &[];
        return Some(Err(DecodeError::Short { expected: size, found }));
    };
    *bytes = rest;
    Some(decode(&header, event.get(size_of::<Header>()..).unwrap_or_default()))
}

fn decode(header: &Header, body: &[u8]) -> Result<Event, DecodeError> {
    if header.version != wire::WIRE_VERSION {
        return Err(DecodeError::Version { found: header.version });
    }
    let kind = Kind::from_u16(header.kind).ok_or(DecodeError::Kind { found: header.kind })?;
    let parts = || DecodeError::Parts { kind, size: header.size as usize };
    let decoded = match kind {
        Kind::Fork => {
            let (fork, _) = read::<wire::Fork>(body)?;
            EventKind::Fork(Fork {
                child: key(fork.child_pid, fork.child_start_time),
                child_start_time: fork.child_start_time,
            })
        }
        Kind::Exec => {
            let (exec, tail) = read::<wire::Exec>(body)?;
            EventKind::Exec(Box::new(decode_exec(&exec, tail).ok_or_else(parts)?))
        }
        Kind::Exit => {
            let (exit, _) = read::<wire::Exit>(body)?;
            let signal = exit.status & 0x7f;
            EventKind::Exit(if signal == 0 {
                Exit { code: Some((exit.status >> 8) & 0xff), signal: None }
            } else {
                Exit { code: None, signal: Some(signal) }
            })
        }
        Kind::Open => {
            let (open, tail) = read::<wire::Open>(body)?;
            EventKind::Open(Box::new(decode_open(header, &open, tail).ok_or_else(parts)?))
        }
        Kind::Connect => decode_net(header, body, NetOperation::Connect, parts)?,
        Kind::Send => decode_net(header, body, NetOperation::Send, parts)?,
        Kind::Bind => decode_net(header, body, NetOperation::Bind, parts)?,
        Kind::Listen => decode_net(header, body, NetOperation::Listen, parts)?,
        Kind::Accept => decode_net(header, body, NetOperation::Accept, parts)?,
        Kind::Payload => {
            let (payload, tail) = read::<wire::Payload>(body)?;
            let data = tail.get(..payload.data_len as usize).ok_or_else(parts)?;
            let said = |direction| {
                EventKind::Payload(Payload {
                    direction,
                    offset: payload.offset,
                    data: data.to_vec(),
                    last: payload.last != 0,
                })
            };
            match payload.direction {
                wire::DIRECTION_IN => said(Direction::ClientToServer),
                wire::DIRECTION_OUT => said(Direction::ServerToClient),
                wire::DIRECTION_INJECTED => {
                    EventKind::Injection { bytes: u64::try_from(header.result).unwrap_or(0) }
                }
                _ => return Err(parts()),
            }
        }
    };
    Ok(Event {
        time: header.time,
        process: key(header.pid, header.start_time),
        start_time: header.start_time,
        tid: header.tid,
        instance: header.instance,
        truncated: header.flags & (wire::FLAG_TRUNCATED | wire::FLAG_UNREADABLE) != 0,
        kind: decoded,
    })
}

/// Identity of a process from its id and its start time in nanoseconds.
#[must_use]
pub const fn key(pid: u32, start_time: u64) -> ProcessKey {
    ProcessKey { pid, start: start_time / TICK }
}

/// A body at the start of `bytes`, and what follows it.
fn read<T: bytemuck::AnyBitPattern>(bytes: &[u8]) -> Result<(T, &[u8]), DecodeError> {
    match bytes.split_at_checked(size_of::<T>()) {
        Some((body, rest)) => Ok((bytemuck::pod_read_unaligned(body), rest)),
        None => Err(DecodeError::Short { expected: size_of::<T>(), found: bytes.len() }),
    }
}

/// Cuts `len` bytes off the front.
fn take<'a>(tail: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (part, rest) = tail.split_at_checked(len)?;
    *tail = rest;
    Some(part)
}

fn decode_exec(exec: &wire::Exec, mut tail: &[u8]) -> Option<Exec> {
    let path = take(&mut tail, exec.path_len.into())?;
    let cwd = take(&mut tail, exec.cwd_len.into())?;
    let argv = take(&mut tail, exec.argv_len as usize)?;
    let argv = argv.strip_suffix(b"\0").unwrap_or(argv);
    let inode = |number: u64| (number != 0).then_some(number);
    Some(Exec {
        parent: key(exec.ppid, exec.parent_start_time),
        uid: exec.uid,
        gid: exec.gid,
        parent_instance: exec.parent_instance,
        candidate: exec.flags & wire::EXEC_CANDIDATE != 0,
        watch_full: exec.flags & wire::EXEC_WATCH_FULL != 0,
        stdin_inode: inode(exec.stdin_inode),
        stdout_inode: inode(exec.stdout_inode),
        stdin_family: (exec.stdin_family != 0).then_some(exec.stdin_family),
        stdout_family: (exec.stdout_family != 0).then_some(exec.stdout_family),
        // The wire does not carry them yet.
        cgroup: exec.cgroup,
        path: path_text(path, true),
        cwd: path_text(cwd, true),
        argv: if argv.is_empty() {
            Vec::new()
        } else {
            argv.split(|byte| *byte == 0).map(text).collect()
        },
    })
}

fn decode_open(header: &Header, open: &wire::Open, mut tail: &[u8]) -> Option<Open> {
    let resolved = take(&mut tail, open.path_len.into())?;
    let argument = text(take(&mut tail, open.argument_len.into())?);
    let base = take(&mut tail, open.base_len.into())?;
    let result = i32::try_from(header.result).ok()?;
    let path = if result >= 0 && (open.path_len > 0 || open.path_flags & wire::PATH_COMPLETE != 0) {
        let path = path_text(resolved, open.path_flags & wire::PATH_COMPLETE != 0);
        // Opened again through /proc/self/fd: the nameless inside of pipefs or sockfs.
        match open.mode & libc::S_IFMT {
            libc::S_IFIFO if path == "/" => format!("pipe:[{}]", open.inode),
            libc::S_IFSOCK if path == "/" => format!("socket:[{}]", open.inode),
            _ => path,
        }
    } else if argument.starts_with('/') || open.base_len == 0 {
        argument.clone()
    } else {
        let base = path_text(base, open.path_flags & wire::BASE_COMPLETE != 0);
        join(&base, &argument)
    };
    Some(Open {
        flags: open.flags,
        mode: open.mode,
        inode: open.inode,
        device: open.device,
        result: if result >= 0 { Ok(result) } else { Err(-result) },
        path,
        argument,
    })
}

/// A relative path below a directory, with `.` and `..` taken out as text: it was not opened, so there is
/// no better answer.
#[must_use]
pub fn join(base: &str, argument: &str) -> String {
    let mut parts: Vec<&str> = base.split('/').filter(|part| !part.is_empty()).collect();
    for part in argument.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            name => parts.push(name),
        }
    }
    let mut path = String::with_capacity(base.len() + argument.len() + 1);
    for part in parts {
        path.push('/');
        path.push_str(part);
    }
    if path.is_empty() { "/".into() } else { path }
}

fn decode_net(
    header: &Header,
    body: &[u8],
    operation: NetOperation,
    parts: impl Fn() -> DecodeError,
) -> Result<EventKind, DecodeError> {
    let (net, mut tail) = read::<wire::Net>(body)?;
    let unix = take(&mut tail, net.unix_len.into()).ok_or_else(parts)?;
    let result = if header.result < 0 {
        Err(i32::try_from(-header.result).unwrap_or(i32::MAX))
    } else {
        Ok(header.result)
    };
    Ok(EventKind::Net(Box::new(Net {
        operation,
        family: net.family,
        socket_type: net.socket_type,
        protocol: net.protocol,
        endpoint: endpoint(&net),
        unix_path: (i32::from(net.family) == libc::AF_UNIX).then(|| unix_path(unix)),
        result: (net.has_result != 0).then_some(result),
    })))
}

fn endpoint(net: &wire::Net) -> Option<SocketAddr> {
    let [a, b, c, d, ..] = net.address;
    let address = match i32::from(net.family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(net.address)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, net.port))
}

/// A `sun_path`: terminated, or abstract with a leading NUL (shown as `@`); see `unix(7)`.
fn unix_path(bytes: &[u8]) -> String {
    match bytes.split_first() {
        None => String::new(),
        Some((0, name)) => format!("@{}", text(name)),
        Some(_) => text(bytes.split(|byte| *byte == 0).next().unwrap_or_default()),
    }
}

/// Components from the leaf up, NUL-terminated, as an absolute path. One whose root was not reached, like
/// that of a pipe, stays relative.
fn path_text(components: &[u8], complete: bool) -> String {
    let components = components.strip_suffix(b"\0").unwrap_or(components);
    if components.is_empty() {
        return "/".into();
    }
    let mut path = String::with_capacity(components.len() + 1);
    for name in components.rsplit(|byte| *byte == 0) {
        if complete || !path.is_empty() {
            path.push('/');
        }
        push_text(&mut path, name);
    }
    path
}

/// Text of bytes that should be UTF-8; bytes that are not stand as `\xNN`, so that nothing is lost and two
/// names never become one.
#[must_use]
pub fn text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    push_text(&mut text, bytes);
    text
}

fn push_text(text: &mut String, bytes: &[u8]) {
    use std::fmt::Write;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        for byte in chunk.invalid() {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\x{byte:02x}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: u16, result: i64, body: &[u8], tail: &[u8]) -> Vec<u8> {
        let size = size_of::<Header>() + body.len() + tail.len();
        let header = Header {
            version: wire::WIRE_VERSION,
            kind,
            size: u32::try_from(size).unwrap(),
            time: 5_000_000_000,
            pid: 42,
            tid: 43,
            start_time: 1_234_567_890,
            instance: 7,
            result,
            flags: 0,
            cpu: 1,
        };
        [bytemuck::bytes_of(&header), body, tail].concat()
    }

    fn open_body(path: usize, argument: usize, base: usize) -> wire::Open {
        wire::Open {
            flags: 0,
            mode: 0o100_600,
            inode: 9,
            device: 0x80_0001,
            path_len: u16::try_from(path).unwrap(),
            argument_len: u16::try_from(argument).unwrap(),
            base_len: u16::try_from(base).unwrap(),
            path_flags: wire::PATH_COMPLETE | wire::BASE_COMPLETE,
            padding: 0,
        }
    }

    fn one(bytes: &[u8]) -> Event {
        let mut rest = bytes;
        let event = next(&mut rest).unwrap().unwrap();
        assert!(rest.is_empty());
        event
    }

    #[test]
    fn an_open_shows_the_resolved_path_and_the_argument() {
        let tail = b"id_rsa\0.ssh\0root\0notes.txt";
        let bytes = event(4, 3, bytemuck::bytes_of(&open_body(17, 9, 0)), tail);
        let event = one(&bytes);
        assert_eq!(event.process, ProcessKey { pid: 42, start: 123 });
        let EventKind::Open(open) = event.kind else { panic!("{event:?}") };
        assert_eq!(open.path, "/root/.ssh/id_rsa");
        assert_eq!(open.argument, "notes.txt");
        assert_eq!(open.result, Ok(3));
        assert!(open.reads() && !open.writes());
    }

    #[test]
    fn a_failed_open_shows_the_argument_below_its_directory() {
        for (argument, path) in [
            ("../b.txt", "/home/b.txt"),
            ("/etc/shadow", "/etc/shadow"),
            ("./x/./y", "/home/me/x/y"),
            ("../../../../..", "/"),
        ] {
            let tail = [argument.as_bytes(), b"me\0home\0"].concat();
            let bytes = event(4, -2, bytemuck::bytes_of(&open_body(0, argument.len(), 8)), &tail);
            let EventKind::Open(open) = one(&bytes).kind else { panic!() };
            assert_eq!((open.path.as_str(), open.result), (path, Err(2)));
        }
    }

    #[test]
    fn names_that_are_not_utf8_stay_apart() {
        assert_eq!(text(b"a\xffb"), "a\\xffb");
        assert_eq!(path_text(b"\xfe\0tmp\0", true), "/tmp/\\xfe");
        assert_eq!(path_text(b"", true), "/");
    }

    #[test]
    fn addresses_of_every_family() {
        let net = |family: i32, address: [u8; 16], unix: &[u8]| {
            let body = wire::Net {
                address,
                family: u16::try_from(family).unwrap(),
                port: 443,
                socket_type: 1,
                protocol: 6,
                fd: 5,
                unix_len: u16::try_from(unix.len()).unwrap(),
                has_result: 1,
            };
            let EventKind::Net(net) = one(&event(5, -115, bytemuck::bytes_of(&body), unix)).kind
            else {
                panic!()
            };
            net
        };
        let mut v4 = [0; 16];
        v4[..4].copy_from_slice(&[203, 0, 113, 7]);
        assert_eq!(net(2, v4, b"").endpoint, Some("203.0.113.7:443".parse().unwrap()));
        assert_eq!(net(2, v4, b"").result, Some(Err(115)));
        let mapped: [u8; 16] = "::ffff:203.0.113.7".parse::<Ipv6Addr>().unwrap().octets();
        assert_eq!(net(10, mapped, b"").endpoint, Some("203.0.113.7:443".parse().unwrap()));
        assert_eq!(net(1, [0; 16], b"/run/x\0junk").unix_path.as_deref(), Some("/run/x"));
        assert_eq!(net(1, [0; 16], b"\0hidden").unix_path.as_deref(), Some("@hidden"));
        assert_eq!(net(1, [0; 16], b"").unix_path.as_deref(), Some(""));
        assert_eq!(net(16, [0; 16], b"").endpoint, None);
    }

    #[test]
    fn exit_status_is_code_or_signal() {
        for (status, code, signal) in
            [(0, Some(0), None), (0x300, Some(3), None), (9, None, Some(9)), (0x8b, None, Some(11))]
        {
            let body = wire::Exit { status, padding: 0 };
            let EventKind::Exit(exit) = one(&event(3, 0, bytemuck::bytes_of(&body), b"")).kind
            else {
                panic!()
            };
            assert_eq!((exit.code, exit.signal), (code, signal));
        }
    }

    #[test]
    fn every_cut_of_every_event_is_an_error_not_a_panic() {
        let whole =
            event(4, 3, bytemuck::bytes_of(&open_body(17, 9, 0)), b"id_rsa\0.ssh\0root\0notes.txt");
        for end in 1..whole.len() {
            let mut rest = &whole[..end];
            assert!(next(&mut rest).unwrap().is_err(), "{end}");
            assert!(rest.is_empty());
        }
    }

    #[test]
    fn random_bytes_never_panic_and_always_end() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..2_000 {
            let mut bytes: Vec<u8> = (0..400)
                .map(|_| {
                    state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    (state >> 33).to_le_bytes()[0]
                })
                .collect();
            // Often a plausible header, so that the bodies are reached.
            bytes[0..2].copy_from_slice(&wire::WIRE_VERSION.to_ne_bytes());
            let kind = u16::from(bytes[2] % 12);
            bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
            let size = u32::from(bytes[4]) + 40;
            bytes[4..8].copy_from_slice(&size.to_ne_bytes());
            let mut rest = bytes.as_slice();
            while next(&mut rest).is_some() {}
        }
    }
}
