//! Events as bytes, and what is made of them.

use bytemuck::Zeroable;

use super::paths::path_text;
use super::*;
use crate::event::{Access, Change, Operation, Privilege, Via};

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
        path_root: 0,
        base_root: 0,
        mount_namespace: 0,
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
fn an_open_without_a_call_by_path_is_marked() {
    let tail = b"id_rsa\0.ssh\0root\0notes.txt";
    let ways = [
        (0, None),
        (wire::VIA_IO_URING, Some(Via::IoUring)),
        (wire::VIA_HANDLE, Some(Via::Handle)),
    ];
    for (mark, expected) in ways {
        let body = open_body(17, 9, 0);
        let body = wire::Open { path_flags: body.path_flags | mark, ..body };
        let bytes = event(4, 0, bytemuck::bytes_of(&body), tail);
        let EventKind::Open(open) = one(&bytes).kind else { panic!() };
        assert_eq!((open.via, open.path.as_str()), (expected, "/root/.ssh/id_rsa"));
    }
}

#[test]
fn a_name_that_is_too_long_ends_the_path_above_what_lies_below_it() {
    let argument = format!("/media/stick/{}", "é".repeat(200));
    let cut = |path: &[u8], argument: &str| {
        let body = open_body(path.len(), argument.len(), 0);
        let tail = [path, argument.as_bytes()].concat();
        let mut bytes =
            event(4, 3, bytemuck::bytes_of(&wire::Open { path_flags: 0, ..body }), &tail);
        let flags = std::mem::offset_of!(Header, flags);
        bytes[flags..flags + 4].copy_from_slice(&wire::FLAG_TRUNCATED.to_ne_bytes());
        let event = one(&bytes);
        assert!(event.truncated);
        let EventKind::Open(open) = event.kind else { panic!() };
        open.path
    };
    // Of one at its end nothing is left of the path but what was asked for.
    assert_eq!(cut(b"", &argument), argument);
    assert_eq!(cut(b"file\0folder\0", &argument), "folder/file");
}

#[test]
fn a_failed_open_shows_the_argument_below_its_directory() {
    for (argument, path) in [
        ("../b.txt", "/home/b.txt"),
        ("/etc/shadow", "/etc/shadow"),
        ("./x/./y", "/home/me/x/y"),
        ("../../../../..", "/"),
    ] {
        // An absolute argument starts from the root.
        let base: &[u8] = if argument.starts_with('/') { b"" } else { b"me\0home\0" };
        let tail = [argument.as_bytes(), base].concat();
        let body = open_body(0, argument.len(), base.len());
        let bytes = event(4, -2, bytemuck::bytes_of(&body), &tail);
        let EventKind::Open(open) = one(&bytes).kind else { panic!() };
        assert_eq!((open.path.as_str(), open.result), (path, Err(2)));
    }
}

#[test]
fn a_path_in_a_jail_is_shown_from_both_roots() {
    let jailed = wire::Open { path_root: 11, path_flags: 5, ..open_body(20, 5, 0) };
    let tail = b"shadow\0etc\0jail\0srv\0./abc";
    let EventKind::Open(open) = one(&event(4, 3, bytemuck::bytes_of(&jailed), tail)).kind else {
        panic!()
    };
    assert_eq!(open.path, "/srv/jail/etc/shadow");
    assert_eq!(open.inner_path.as_deref(), Some("/etc/shadow"));
    // Failed: nothing climbs out of the jail.
    let jailed = wire::Open { base_root: 4, path_flags: 10, ..open_body(0, 14, 13) };
    let tail = b"../../../etc/xetc\0jail\0srv\0";
    let EventKind::Open(open) = one(&event(4, -2, bytemuck::bytes_of(&jailed), tail)).kind else {
        panic!()
    };
    assert_eq!(open.path, "/srv/jail/etc/x");
    assert_eq!(open.inner_path.as_deref(), Some("/etc/x"));
}

/// A directory or file walked by the kernel, and an argument.
fn place(base: &[u8], root: usize, argument: &[u8]) -> (wire::Place, Vec<u8>) {
    let place = wire::Place {
        base_len: u16::try_from(base.len()).unwrap(),
        base_root: u16::try_from(root).unwrap(),
        argument_len: u16::try_from(argument.len()).unwrap(),
        flags: wire::PLACE_BASED | wire::BASE_COMPLETE | wire::BASE_ROOTED,
        mount_namespace: 0,
    };
    (place, [base, argument].concat())
}

fn changed(
    operation: Operation,
    values: [u64; 4],
    first: (wire::Place, Vec<u8>),
    second: Option<(wire::Place, Vec<u8>)>,
) -> Change {
    let (second, more) = second.unwrap_or_default();
    let body = wire::Syscall {
        operation: operation as u16,
        pid_level: 0,
        target_pid: 0,
        values,
        first: first.0,
        second,
    };
    let tail = [first.1, more].concat();
    let EventKind::Change(change) = one(&event(11, 0, bytemuck::bytes_of(&body), &tail)).kind
    else {
        panic!()
    };
    *change
}

/// A system call without files.
fn called(kind: Kind, operation: Operation, values: [u64; 4], result: i64) -> EventKind {
    let body = wire::Syscall {
        operation: operation as u16,
        pid_level: u16::from(kind == Kind::Access),
        target_pid: 77,
        values,
        first: wire::Place::default(),
        second: wire::Place::default(),
    };
    one(&event(kind as u16, result, bytemuck::bytes_of(&body), b"")).kind
}

#[test]
fn ids_flags_and_sets() {
    let of = |operation, values, result| -> Privilege {
        let EventKind::Privilege(privilege) = called(Kind::Privilege, operation, values, result)
        else {
            panic!()
        };
        *privilege
    };
    let ids = of(Operation::Setresuid, [0, u64::from(u32::MAX), 7, 9], -1);
    assert_eq!((ids.ids.real, ids.ids.effective, ids.ids.saved), (Some(0), None, Some(7)));
    assert_eq!(ids.result, Err(1));
    assert_eq!(of(Operation::Setns, [5, 0x4000_0000, 0, 0], 0).namespaces, 0x4000_0000);
    assert_eq!(of(Operation::Unshare, [0x1002_0000, 0, 0, 0], 0).namespaces, 0x1002_0000);
    let empty = of(Operation::Unshare, [wire::UNSHARE_EMPTY_MOUNTS, 0, 0, 0], 0).namespaces;
    assert_eq!(empty, wire::UNSHARE_EMPTY_MOUNTS | 0x2_0000);
    let empty = of(Operation::Clone, [wire::CLONE_EMPTY_MOUNTS, 0, 0, 0], 7).namespaces;
    assert_eq!(empty, wire::CLONE_EMPTY_MOUNTS | 0x2_0000);
    // The bit is another one's there.
    let plain = of(Operation::Clone, [0x1000_0000 | wire::UNSHARE_EMPTY_MOUNTS, 0, 0, 0], 7);
    assert_eq!(plain.namespaces & 0x2_0000, 0);
    let tree = of(Operation::OpenTree, [1, 0, 0, 0], 5);
    assert!(tree.place.is_some() && tree.source.is_none());
    assert_eq!(tree.namespaces, 0);
    assert_eq!(of(Operation::OpenTree, [2, 0, 0, 0], 5).namespaces, 0x2_0000);
    let tree = of(Operation::MountSetattr, [3, 0, 0, 0], 5);
    assert!(tree.place.is_some());
    assert_eq!(tree.namespaces, 0x2_0000);
    assert_eq!(of(Operation::Fsmount, [2, 1, 0, 0], 5).namespaces, 0);
    assert_eq!(of(Operation::Fsmount, [1, 2, 0, 0], 5).namespaces, 0x2_0000);
    assert_eq!(of(Operation::Capset, [1, 2, 3, 0], 0).capabilities, Some([1, 2, 3]));
    assert_eq!(of(Operation::Bpf, [5, 0, 0, 0], 3).command, Some(5));
    let bits = of(Operation::Prctl, [28, 0x2f, 7, 0], 0);
    assert_eq!((bits.command, bits.secure_bits, bits.ambient), (Some(28), 0x2f, None));
    let ambient = of(Operation::Prctl, [47, 2, 13, 0], -1);
    assert_eq!((ambient.command, ambient.secure_bits, ambient.ambient), (Some(47), 0, Some(13)));
}

#[test]
fn a_new_root_directory_is_not_looked_for_below_itself() {
    let of = |flags: u16, base: &[u8], root: u16, argument: &[u8], result| -> Privilege {
        let (mut first, tail) = place(base, root.into(), argument);
        first.flags |= flags;
        let body = wire::Syscall {
            operation: Operation::Chroot as u16,
            pid_level: 0,
            target_pid: 0,
            values: [0; 4],
            first,
            second: wire::Place::default(),
        };
        let bytes = event(Kind::Privilege as u16, result, bytemuck::bytes_of(&body), &tail);
        let EventKind::Privilege(privilege) = one(&bytes).kind else { panic!() };
        *privilege
    };
    for argument in ["/srv/jail", "jail", "../srv/link"] {
        let done =
            of(wire::PLACE_RESOLVED, b"jail\0srv\0", 0, argument.as_bytes(), 0).place.unwrap();
        assert_eq!((done.path.as_str(), done.argument.as_str()), ("/srv/jail", argument));
        assert_eq!(done.inner_path.as_deref(), Some("/"));
    }
    let refused = of(0, b"srv\0", 4, b"jail", -1).place.unwrap();
    assert_eq!((refused.path.as_str(), refused.inner_path), ("/srv/jail", None));
}

#[test]
fn targets_by_host_and_by_namespace() {
    let of = |operation, values| -> Access {
        let EventKind::Access(access) = called(Kind::Access, operation, values, 0) else {
            panic!()
        };
        access
    };
    // The process is in a namespace of its own: only what a descriptor stands for is known to the host.
    let attach = of(Operation::Ptrace, [16, 5, 0, 0]);
    assert_eq!((attach.request, attach.target, attach.namespace_target), (Some(16), None, Some(5)));
    let me = of(Operation::Ptrace, [0, 5, 0, 0]);
    assert_eq!((me.target, me.namespace_target), (None, None));
    let descriptor = of(Operation::PidfdGetfd, [3, 0, 0, 0]);
    assert_eq!((descriptor.target, descriptor.namespace_target), (Some(77), None));
}

#[test]
fn changes_of_every_form() {
    let home = b"me\0home\0";
    let here = |argument: &[u8]| place(home, 8, argument);
    let moved = changed(Operation::Rename, [0; 4], here(b"a"), Some(place(b"", 0, b"/b/../c")));
    assert_eq!(moved.file.path, "/home/me/a");
    assert_eq!(moved.target.unwrap().path, "/c");
    let text = wire::Place { flags: 0, ..place(b"", 0, b"../x").0 };
    let link = changed(Operation::Symlink, [0; 4], (text, b"../x".to_vec()), Some(here(b"d/link")));
    assert_eq!(link.file.path, "/home/me/d/link");
    let target = link.target.unwrap();
    assert_eq!((target.path.as_str(), target.argument.as_str()), ("/home/me/x", "../x"));
    let removed = changed(Operation::Unlink, [0x200, 0, 0, 0], here(b"d/"), None);
    assert_eq!(
        (removed.operation, removed.file.path.as_str()),
        (Operation::RemoveDirectory, "/home/me/d")
    );
    let given = changed(Operation::Chown, [u64::MAX, 7, 0, 0], place(b"f\0", 2, b""), None);
    assert_eq!((given.file.path.as_str(), given.owner), ("/f", (None, Some(7))));
    let garbage = 0xdead_0000_0000_0000 | 0o4755;
    let mode = changed(Operation::Chmod, [garbage, 0, 0, 0], here(b"f"), None);
    assert_eq!(mode.mode, Some(0o4755));
    let name = wire::Place { flags: 0, ..place(b"", 0, b"x").0 };
    let memory = changed(Operation::MemfdCreate, [0; 4], (name, b"x".to_vec()), None);
    assert_eq!((memory.file.path.as_str(), memory.file.unlinked), ("/memfd:x", true));
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
        let EventKind::Net(net) = one(&event(5, -115, bytemuck::bytes_of(&body), unix)).kind else {
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
fn the_name_a_socket_is_bound_by_stands_behind_the_one_that_was_asked_for() {
    let bound = |asked: &[u8], bound: &[u8], family: i32| {
        let body = wire::Net {
            family: u16::try_from(family).unwrap(),
            unix_len: u16::try_from(asked.len()).unwrap(),
            ..bytemuck::Zeroable::zeroed()
        };
        let tail = [asked, bound].concat();
        let EventKind::Net(net) = one(&event(5, 0, bytemuck::bytes_of(&body), &tail)).kind else {
            panic!()
        };
        net.bound_path
    };
    assert_eq!(bound(b"/tmp/x\0", b"/run/y\0", 1).as_deref(), Some("/run/y"));
    assert_eq!(bound(b"/tmp/x", b"\0y", 1).as_deref(), Some("@y"));
    assert_eq!(bound(b"/run/y", b"/run/y\0", 1), None, "the same");
    assert_eq!(bound(b"/run/y", b"", 1), None);
    assert_eq!(bound(b"", b"/run/y\0", 2), None);
}

#[test]
fn ends_beyond_ip_and_unix() {
    for (family, rest, expected) in [
        (libc::AF_NETLINK, [0_u32, 77, 5], OtherEndpoint::Netlink { port: 77, groups: 5 }),
        (libc::AF_VSOCK, [0, 1024, 2], OtherEndpoint::Vsock { port: 1024, cid: 2 }),
        (
            libc::AF_PACKET,
            [0x0300 << 16, 4, 0],
            OtherEndpoint::Packet { interface: 4, ethertype: 3 },
        ),
    ] {
        let family = u16::try_from(family).unwrap();
        let mut address = [0; 16];
        for (part, number) in address.chunks_mut(4).zip(rest) {
            part.copy_from_slice(&number.to_ne_bytes());
        }
        address[..2].copy_from_slice(&family.to_ne_bytes());
        let body = wire::Net {
            address,
            family,
            port: 0,
            socket_type: 1,
            protocol: 0,
            fd: 3,
            unix_len: 0,
            has_result: 1,
        };
        let EventKind::Net(net) = one(&event(5, 0, bytemuck::bytes_of(&body), b"")).kind else {
            panic!()
        };
        assert_eq!(net.other, Some(expected));
    }
}

#[test]
fn exit_status_is_code_or_signal() {
    for (status, code, signal) in
        [(0, Some(0), None), (0x300, Some(3), None), (9, None, Some(9)), (0x8b, None, Some(11))]
    {
        let body = wire::Exit { status, padding: 0 };
        let EventKind::Exit(exit) = one(&event(3, 0, bytemuck::bytes_of(&body), b"")).kind else {
            panic!()
        };
        assert_eq!((exit.code, exit.signal), (code, signal));
    }
}

/// An event of a kind. Its parts fill it to the end: there is nothing it can do without.
fn of_kind(kind: Kind) -> Vec<u8> {
    let (body, tail): (Vec<u8>, Vec<u8>) = match kind {
        Kind::Fork => (vec![0; size_of::<wire::Fork>()], Vec::new()),
        Kind::Exit => (vec![0; size_of::<wire::Exit>()], Vec::new()),
        Kind::Injection => (vec![0; size_of::<wire::Injection>()], Vec::new()),
        Kind::Exec => {
            let lengths = wire::Exec { path_len: 5, cwd_len: 5, argv_len: 7, ..Zeroable::zeroed() };
            let ancestors = [0_u8; wire::ANCESTORS * size_of::<wire::Ancestor>()];
            let body = [bytemuck::bytes_of(&lengths), &ancestors].concat();
            (body, b"node\0work\0node\0x\0".to_vec())
        }
        Kind::Open => {
            let body = bytemuck::bytes_of(&open_body(17, 9, 0)).to_vec();
            (body, b"id_rsa\0.ssh\0root\0notes.txt".to_vec())
        }
        Kind::Connect | Kind::Send | Kind::Bind | Kind::Listen | Kind::Accept => {
            let body = wire::Net { family: 1, unix_len: 6, ..Zeroable::zeroed() };
            (bytemuck::bytes_of(&body).to_vec(), b"/run/x".to_vec())
        }
        Kind::Payload => {
            let body = wire::Payload { data_len: 2, ..Zeroable::zeroed() };
            (bytemuck::bytes_of(&body).to_vec(), b"{}".to_vec())
        }
        Kind::Dns | Kind::Tls => {
            let body = wire::Packet { family: 2, data_len: 2, ..Zeroable::zeroed() };
            (bytemuck::bytes_of(&body).to_vec(), b"xx".to_vec())
        }
        Kind::Change | Kind::Privilege | Kind::Access | Kind::Socket => {
            let (first, tail) = place(b"me\0home\0", 8, b"a");
            let operation = Operation::Rename as u16;
            let body = wire::Syscall { operation, first, second: first, ..Zeroable::zeroed() };
            (bytemuck::bytes_of(&body).to_vec(), tail.repeat(2))
        }
    };
    event(kind as u16, 0, &body, &tail)
}

#[test]
fn every_cut_of_every_event_is_an_error_not_a_panic() {
    for kind in Kind::ALL {
        let whole = of_kind(kind);
        one(&whole);
        for end in 1..whole.len() {
            let mut cut = whole[..end].to_vec();
            let mut rest = cut.as_slice();
            assert!(next(&mut rest).unwrap().is_err(), "{kind:?} {end}");
            assert!(rest.is_empty());
            // A header that agrees leaves it to the body to miss something.
            if end >= size_of::<Header>() {
                cut[4..8].copy_from_slice(&u32::try_from(end).unwrap().to_ne_bytes());
                assert!(next(&mut cut.as_slice()).unwrap().is_err(), "{kind:?} of {end}");
            }
        }
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
        // 0 is no kind.
        let kind = u16::try_from(usize::from(bytes[2]) % (Kind::ALL.len() + 1)).unwrap();
        bytes[2..4].copy_from_slice(&kind.to_ne_bytes());
        let size = u32::from(bytes[4]) + 40;
        bytes[4..8].copy_from_slice(&size.to_ne_bytes());
        let mut rest = bytes.as_slice();
        while next(&mut rest).is_some() {}
    }
}

#[test]
fn results_no_system_call_has_are_read_all_the_same() {
    let open = event(4, i32::MIN.into(), bytemuck::bytes_of(&open_body(0, 0, 0)), b"");
    let EventKind::Open(open) = one(&open).kind else { panic!() };
    assert_eq!(open.result, Err(i32::MAX));
    let mut body: wire::Net = bytemuck::Zeroable::zeroed();
    body.has_result = 1;
    let EventKind::Net(net) = one(&event(5, i64::MIN, bytemuck::bytes_of(&body), b"")).kind else {
        panic!()
    };
    assert_eq!(net.result, Some(Err(i32::MAX)));
}

/// An event of something that was given to an `io_uring`.
fn submitted(kind: Kind, body: &[u8], tail: &[u8]) -> EventKind {
    let mut bytes = event(kind as u16, 0, body, tail);
    let flags = std::mem::offset_of!(Header, flags);
    bytes[flags..flags + 4].copy_from_slice(&wire::FLAG_SUBMITTED.to_ne_bytes());
    let event = one(&bytes);
    assert!(!event.truncated, "that its result is not known does not cut it");
    event.kind
}

#[test]
fn what_is_given_to_a_ring_has_no_result() {
    // The directory it starts from is known, the file is not.
    let body = open_body(0, 8, 8);
    let body = wire::Open {
        path_flags: wire::BASE_COMPLETE | wire::VIA_IO_URING,
        mode: 0,
        inode: 0,
        device: 0,
        ..body
    };
    let EventKind::Open(open) =
        submitted(Kind::Open, bytemuck::bytes_of(&body), b"../b.txtme\0home\0".as_slice())
    else {
        panic!()
    };
    assert_eq!((open.path.as_str(), open.argument.as_str()), ("/home/b.txt", "../b.txt"));
    assert_eq!((open.result, open.result_unknown, open.via), (Ok(0), true, Some(Via::IoUring)));
    // It may be any file, unless only a folder would do.
    assert!(open.may_be_regular());
    let folder = Open { flags: libc::O_DIRECTORY.cast_unsigned(), ..*open };
    assert!(!folder.may_be_regular());

    let (first, mut tail) = place(b"me\0home\0", 0, b"a");
    let (second, more) = place(b"me\0home\0", 0, b"b");
    tail.extend(more);
    let call = wire::Syscall {
        operation: Operation::Rename as u16,
        pid_level: 0,
        target_pid: 0,
        values: [0; 4],
        first,
        second,
    };
    let EventKind::Change(change) = submitted(Kind::Change, bytemuck::bytes_of(&call), &tail)
    else {
        panic!()
    };
    assert_eq!((change.file.path.as_str(), change.result), ("/home/me/a", Ok(())));
    assert_eq!((change.result_unknown, change.via), (true, Some(Via::IoUring)));

    let call = wire::Syscall {
        operation: Operation::Socket as u16,
        values: [16, 3, 15, 0],
        first: wire::Place::default(),
        second: wire::Place::default(),
        ..call
    };
    let EventKind::Net(net) = submitted(Kind::Socket, bytemuck::bytes_of(&call), b"") else {
        panic!()
    };
    assert_eq!((net.family, net.socket_type, net.protocol, net.result), (16, 3, 15, None));
}
