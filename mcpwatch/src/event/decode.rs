//! Bytes of the ring buffer → [`Event`]. Every length and version is checked: the bytes may as well come
//! from a recording somebody made up.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use mcpwatch_common::event as wire;
use wire::{Header, Kind};

mod paths;
mod reported;

use paths::{from_base, path_text, split_at_root};
use reported::Reported;

use super::{
    Direction, Event, EventKind, Exec, Exit, Fork, Injection, Net, NetOperation, Open,
    OtherEndpoint, Packet, Payload, ProcessKey, Via,
};

pub use paths::{join, text};

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
    /// A system call nobody knows.
    #[error("an event of the unknown system call {found}")]
    Operation {
        /// The operation in the body.
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

/// Where an exec happens.
#[derive(Clone, Copy, Debug)]
pub struct ExecIn {
    /// The process.
    pub pid: u32,
    /// Its instance; 0 when none.
    pub instance: u64,
    /// Id of its cgroup.
    pub cgroup: u64,
}

/// Where each exec in a batch happens, without decoding anything else.
pub fn execs(mut batch: &[u8]) -> impl Iterator<Item = ExecIn> {
    std::iter::from_fn(move || {
        loop {
            let (header, rest) = read::<Header>(batch).ok()?;
            let size = usize::try_from(header.size).ok()?.max(size_of::<Header>());
            batch = batch.get(size..)?;
            if header.version == wire::WIRE_VERSION
                && header.kind == Kind::Exec as u16
                && let Ok((exec, _)) = read::<wire::Exec>(rest)
            {
                return Some(ExecIn {
                    pid: header.pid,
                    instance: header.instance,
                    cgroup: exec.cgroup,
                });
            }
        }
    })
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
            let (exec, rest) = read::<wire::Exec>(body)?;
            let (ancestors, tail) = read::<[wire::Ancestor; wire::ANCESTORS]>(rest)?;
            EventKind::Exec(Box::new(decode_exec(&exec, &ancestors, tail).ok_or_else(parts)?))
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
        Kind::Change => {
            let call = Reported::of(header, body)?.ok_or_else(parts)?;
            EventKind::Change(Box::new(call.change()))
        }
        Kind::Privilege => {
            let call = Reported::of(header, body)?.ok_or_else(parts)?;
            EventKind::Privilege(Box::new(call.privilege()))
        }
        Kind::Access => EventKind::Access(Reported::of(header, body)?.ok_or_else(parts)?.access()),
        Kind::Socket => {
            let call = Reported::of(header, body)?.ok_or_else(parts)?;
            EventKind::Net(Box::new(call.socket()))
        }
        Kind::Injection => {
            let (injection, _) = read::<wire::Injection>(body)?;
            EventKind::Injection(Injection {
                bytes: (header.flags & wire::FLAG_SUBMITTED == 0)
                    .then(|| u64::try_from(header.result).unwrap_or(0)),
                victim: injection.victim,
                direction: direction(injection.direction).ok_or_else(parts)?,
            })
        }
        Kind::Connect => decode_net(header, body, NetOperation::Connect, parts)?,
        Kind::Send => decode_net(header, body, NetOperation::Send, parts)?,
        Kind::Bind => decode_net(header, body, NetOperation::Bind, parts)?,
        Kind::Listen => decode_net(header, body, NetOperation::Listen, parts)?,
        Kind::Accept => decode_net(header, body, NetOperation::Accept, parts)?,
        Kind::Dns => EventKind::Dns(decode_packet(body)?.ok_or_else(parts)?),
        Kind::Tls => EventKind::Tls(decode_packet(body)?.ok_or_else(parts)?),
        Kind::Payload => {
            let (payload, tail) = read::<wire::Payload>(body)?;
            let data = tail.get(..payload.data_len as usize).ok_or_else(parts)?;
            EventKind::Payload(Payload {
                direction: direction(payload.direction).ok_or_else(parts)?,
                offset: payload.offset,
                data: data.to_vec(),
                last: payload.last != 0,
            })
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

fn decode_exec(exec: &wire::Exec, ancestors: &[wire::Ancestor], mut tail: &[u8]) -> Option<Exec> {
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
        ancestors: ancestors
            .iter()
            .take(exec.ancestors.into())
            .map(|one| key(one.pid, one.start_time))
            .collect(),
        set_user_id: exec.flags & wire::EXEC_SET_USER_ID != 0,
        set_group_id: exec.flags & wire::EXEC_SET_GROUP_ID != 0,
        file_capabilities: exec.flags & wire::EXEC_FILE_CAPABILITIES != 0,
        more_ancestors: exec.flags & wire::EXEC_MORE_ANCESTORS != 0,
        unlinked: exec.flags & wire::EXEC_UNLINKED != 0,
        mount_namespace: exec.mount_namespace,
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
    let flag = |flag: u16| open.path_flags & flag != 0;
    let (path, inner_path) = if result >= 0 && (open.path_len > 0 || flag(wire::PATH_COMPLETE)) {
        let path = path_text(resolved, flag(wire::PATH_COMPLETE));
        // Opened again through /proc/self/fd: the nameless inside of pipefs or sockfs.
        match open.mode & libc::S_IFMT {
            libc::S_IFIFO if path == "/" => (format!("pipe:[{}]", open.inode), None),
            libc::S_IFSOCK if path == "/" => (format!("socket:[{}]", open.inode), None),
            _ => {
                let root = flag(wire::PATH_ROOTED).then_some(open.path_root);
                let inner = split_at_root(resolved, root).map(|(_, inner)| path_text(inner, true));
                (path, inner)
            }
        }
    } else if open.base_len == 0 && open.path_flags & (wire::BASE_COMPLETE | wire::BASE_ROOTED) == 0
    {
        (argument.clone(), None)
    } else {
        let root = flag(wire::BASE_ROOTED).then_some(open.base_root);
        from_base(base, flag(wire::BASE_COMPLETE), root, &argument)
    };
    Some(Open {
        flags: open.flags,
        mode: open.mode,
        inode: open.inode,
        device: open.device,
        result: if result >= 0 { Ok(result) } else { Err(result.saturating_neg()) },
        result_unknown: header.flags & wire::FLAG_SUBMITTED != 0,
        path,
        argument,
        inner_path,
        mount_namespace: open.mount_namespace,
        host_path: None,
        unlinked: flag(wire::UNLINKED),
        via: match open.path_flags & (wire::VIA_IO_URING | wire::VIA_HANDLE) {
            wire::VIA_IO_URING => Some(Via::IoUring),
            wire::VIA_HANDLE => Some(Via::Handle),
            _ => None,
        },
    })
}

const fn direction(number: u32) -> Option<Direction> {
    match number {
        wire::DIRECTION_IN => Some(Direction::ClientToServer),
        wire::DIRECTION_OUT => Some(Direction::ServerToClient),
        _ => None,
    }
}

/// The error number in the result of a system call that failed.
fn errno(result: i64) -> i32 {
    i32::try_from(result.saturating_neg()).unwrap_or(i32::MAX)
}

fn decode_net(
    header: &Header,
    body: &[u8],
    operation: NetOperation,
    parts: impl Fn() -> DecodeError,
) -> Result<EventKind, DecodeError> {
    let (net, mut tail) = read::<wire::Net>(body)?;
    let unix = take(&mut tail, net.unix_len.into()).ok_or_else(parts)?;
    let of_unix = i32::from(net.family) == libc::AF_UNIX;
    let unix_path = of_unix.then(|| unix_name(unix));
    let bound = of_unix.then(|| unix_name(tail)).filter(|name| !name.is_empty());
    let result = if header.result < 0 { Err(errno(header.result)) } else { Ok(header.result) };
    Ok(EventKind::Net(Box::new(Net {
        operation,
        family: net.family,
        socket_type: net.socket_type,
        protocol: net.protocol,
        endpoint: endpoint(net.family, net.address, net.port),
        other: other_endpoint(&net),
        bound_path: bound.filter(|name| Some(name) != unix_path.as_ref()),
        unix_path,
        result: (net.has_result != 0).then_some(result),
    })))
}

/// `None` when the lengths or the family do not fit.
fn decode_packet(body: &[u8]) -> Result<Option<Box<Packet>>, DecodeError> {
    let (packet, tail) = read::<wire::Packet>(body)?;
    let data = tail.get(..packet.data_len as usize);
    let peer = endpoint(packet.family, packet.address, packet.port);
    Ok(data.zip(peer).map(|(data, peer)| {
        Box::new(Packet {
            peer,
            incoming: u32::from(packet.direction) == wire::DIRECTION_IN,
            stream: i32::from(packet.protocol) == libc::IPPROTO_TCP,
            socket: packet.socket,
            namespace: packet.namespace,
            data: data.to_vec(),
        })
    }))
}

fn endpoint(family: u16, address: [u8; 16], port: u16) -> Option<SocketAddr> {
    let [a, b, c, d, ..] = address;
    let address = match i32::from(family) {
        libc::AF_INET => IpAddr::V4(Ipv4Addr::new(a, b, c, d)),
        libc::AF_INET6 => IpAddr::V6(Ipv6Addr::from(address)).to_canonical(),
        _ => return None,
    };
    Some(SocketAddr::new(address, port))
}

/// The addresses of `struct sockaddr_nl`, `sockaddr_vm` and `sockaddr_ll`, family included.
fn other_endpoint(net: &wire::Net) -> Option<OtherEndpoint> {
    let (words, _) = net.address.as_chunks::<4>();
    let [[_, _, high, low], second, third, _] = *words else { return None };
    match i32::from(net.family) {
        libc::AF_NETLINK => Some(OtherEndpoint::Netlink {
            port: u32::from_ne_bytes(second),
            groups: u32::from_ne_bytes(third),
        }),
        libc::AF_VSOCK => Some(OtherEndpoint::Vsock {
            port: u32::from_ne_bytes(second),
            cid: u32::from_ne_bytes(third),
        }),
        libc::AF_PACKET => Some(OtherEndpoint::Packet {
            ethertype: u16::from_be_bytes([high, low]),
            interface: i32::from_ne_bytes(second),
        }),
        _ => None,
    }
}

/// A `sun_path`: terminated, or abstract with a leading NUL (shown as `@`); see `unix(7)`.
fn unix_name(bytes: &[u8]) -> String {
    match bytes.split_first() {
        None => String::new(),
        Some((0, name)) => format!("@{}", text(name)),
        Some(_) => text(bytes.split(|byte| *byte == 0).next().unwrap_or_default()),
    }
}

#[cfg(test)]
mod tests;
