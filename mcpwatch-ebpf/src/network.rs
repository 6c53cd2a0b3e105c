//! Uses of the network: destinations, bound and listening addresses, accepted peers.
//!
//! A destination is taken from the cgroup hook where there is one, because it sees what no system call
//! shows and what no second thread can change; the result comes from the system call's exit.

use aya_ebpf::{
    helpers::generated::{bpf_probe_read_kernel, bpf_probe_read_user},
    programs::SockAddrContext,
};
use mcpwatch_common::{
    control::{ADDRESS_ALONE, ADDRESS_IN_MESSAGE, Probe},
    event::{FLAG_UNREADABLE, Kind, Net, UNIX_PATH_BYTES},
};

use crate::{
    bounds,
    emit::{self, Draft, Notice, Room, Wake, filtered, unreadable},
    handover,
    kread::{self, Address, field, follow, read, read_user},
    maps::{PENDING, Pending, offset, setting},
    packet,
    watch::{self, Founded, Task},
};

/// Return value of a cgroup program: let it pass.
pub const ALLOW: i32 = 1;

const AF_UNIX: u16 = 1;
/// `AF_INET`.
pub const AF_INET: u16 = 2;
/// `AF_INET6`.
pub const AF_INET6: u16 = 10;
/// `IPPROTO_TCP`, `IPPROTO_UDP`, `IPPROTO_MPTCP`.
const TCP: u16 = 6;
const UDP: u16 = 17;
const MPTCP: u16 = 262;
/// `SOCK_SEQPACKET`.
const SEQUENCED: u16 = 5;
/// `SOCK_STREAM`.
const STREAM: u16 = 1;
/// `MSG_FASTOPEN`.
const FAST_OPEN: u64 = 0x2000_0000;
/// `TCP_LISTEN` of `enum` in `include/net/tcp_states.h`.
const LISTENING: i32 = 10;
/// Covers every length up to [`UNIX_PATH_BYTES`].
const UNIX_PATH_MASK: i32 = 0x7f;
/// `PF_IO_WORKER` and `PF_KTHREAD`: threads that never return from a system call.
const NO_SYSTEM_CALL: u32 = 0x10 | 0x20_0000;

const _: () = assert!(UNIX_PATH_BYTES <= UNIX_PATH_MASK as usize);

const NOTHING: Net = Net {
    address: [0; 16],
    family: 0,
    port: 0,
    socket_type: 0,
    protocol: 0,
    fd: -1,
    unix_len: 0,
    has_result: 1,
};

/// IPv4 destination, before the connection is made or the datagram sent: `KIND`. Not inlined, as
/// [`crate::syscall::on_exit`] is not.
#[inline(never)]
pub fn on_egress4<const KIND: u32>(ctx: SockAddrContext) {
    let Some(task) = watch::looked_up() else { return };
    // SAFETY: the verifier checks each access to the context.
    let pending = unsafe {
        let address = &*ctx.sock_addr;
        Pending {
            address: [address.user_ip4, 0, 0, 0],
            family: AF_INET,
            port: u16::from_be(address.user_port as u16),
            socket_type: address.type_ as u16,
            protocol: address.protocol as u16,
            kind: KIND,
            padding: 0,
            start_time: task.start_time,
            instance: task.instance,
        }
    };
    packet::remember(&ctx, &task, &pending);
    egress(&task, pending);
}

/// The same of IPv6.
#[inline(never)]
pub fn on_egress6<const KIND: u32>(ctx: SockAddrContext) {
    let Some(task) = watch::looked_up() else { return };
    // SAFETY: the verifier checks each access to the context, and wants them word by word.
    let pending = unsafe {
        let words = (&raw const (*ctx.sock_addr).user_ip6).cast::<u32>();
        let address = [
            words.read_volatile(),
            words.add(1).read_volatile(),
            words.add(2).read_volatile(),
            words.add(3).read_volatile(),
        ];
        let context = &*ctx.sock_addr;
        Pending {
            address,
            family: AF_INET6,
            port: u16::from_be(context.user_port as u16),
            socket_type: context.type_ as u16,
            protocol: context.protocol as u16,
            kind: KIND,
            padding: 0,
            start_time: task.start_time,
            instance: task.instance,
        }
    };
    packet::remember(&ctx, &task, &pending);
    egress(&task, pending);
}

/// Keeps the destination for the system call's exit, or sends it at once where none will come.
#[inline(always)]
fn egress(task: &Task, pending: Pending) {
    let current = kread::current_task();
    let flags = field::<u32>(current, offset!(task_flags));
    // On 5.10, whose `io_uring` is that of 5.15, workers have another flag.
    if flags & NO_SYSTEM_CALL != 0 || kread::is_io_worker(current) {
        send_pending(task, &pending);
        return;
    }
    let key = thread_key(task.pid, task.tid);
    // A second destination in one system call (sendmmsg, io_uring): the first one's result is unknown.
    // SAFETY: the value belongs to this thread alone and is copied at once.
    if let Some(earlier) = unsafe { PENDING.get(key) } {
        let earlier = *earlier;
        send_pending(task, &earlier);
    }
    if PENDING.insert(key, pending, 0).is_err() {
        unreadable(Probe::Egress);
    }
}

#[inline(always)]
fn thread_key(pid: u32, tid: u32) -> u64 {
    u64::from(pid) << 32 | u64::from(tid)
}

/// A destination whose result nobody will say.
#[inline(always)]
fn send_pending(task: &Task, pending: &Pending) {
    let mut body = NOTHING;
    body.has_result = 0;
    apply(&mut body, pending);
    emit::send(task, &Notice::of_call(Probe::Egress, kind_of(pending), 0), body);
}

#[inline(always)]
fn kind_of(pending: &Pending) -> Kind {
    if pending.kind == Kind::Send as u32 { Kind::Send } else { Kind::Connect }
}

/// No system call will tell the result of a destination any more: the thread is gone, or made a call that
/// nobody reads. It is told without, lest the next call or the next thread of that id be blamed.
#[inline(always)]
pub fn flush(pid: u32, tid: u32) {
    let key = thread_key(pid, tid);
    let Some(pending) = PENDING.get_ptr(key) else { return };
    // By its place in the map, not copied: this is called where little stack is left.
    // SAFETY: the value belongs to this thread alone, which removes it only here below.
    let pending = unsafe { &*pending };
    let task = Task { pid, tid, start_time: pending.start_time, instance: pending.instance };
    send_pending(&task, pending);
    let _ = PENDING.remove(key);
}

/// `io_uring_enter(2)`: the destinations of what it submitted have no result.
#[inline(always)]
pub fn on_io_uring_enter() {
    mcpwatch_flush();
}

/// [`flush`] for the call in the scratch buffer, as a global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_flush() -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let Task { pid, tid, .. } = draft.task();
    flush(pid, tid);
    0
}

#[inline(always)]
fn apply(body: &mut Net, pending: &Pending) {
    // SAFETY: sixteen bytes either way.
    body.address = unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>(pending.address) };
    body.family = pending.family;
    body.port = pending.port;
    body.socket_type = pending.socket_type;
    body.protocol = pending.protocol;
}

/// Which of the calls that name an address: they differ in where it stands.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Form {
    /// `connect(fd, address, length)`.
    Connect = CONNECT,
    /// `sendto(fd, buffer, length, flags, address, length)`.
    Sendto = SENDTO,
    /// `sendmsg(fd, message header, flags)`. The header begins with the address and its length.
    Sendmsg = SENDMSG,
    /// `sendmmsg(fd, messages, number, flags)`: its first message, which begins with a message header.
    Sendmmsg = SENDMMSG,
    /// `bind(fd, address, length)`.
    Bind = BIND,
}

const CONNECT: u64 = 0;
const SENDTO: u64 = 1;
const SENDMSG: u64 = 2;
const BIND: u64 = 3;
const SENDMMSG: u64 = 4;

/// The call in the scratch buffer, which names an address, returned.
#[inline(always)]
pub fn on_address(form: Form) {
    let sends = matches!(form, Form::Sendto | Form::Sendmsg | Form::Sendmmsg);
    if !sends || mcpwatch_is_connected_only(form as u64) == 0 {
        mcpwatch_address(form as u64);
    }
}

/// Whether the call in the scratch buffer, which sends, does so on a socket whose kind goes where it is connected to: an
/// address that is given all the same the kernel does not look at, and to tell of it would be a lie anybody can have told.
/// A global BPF function, called before the other and not by it: their stacks together would be too much.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_is_connected_only(form: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let flags = draft.argument(if form == SENDMSG { 2 } else { 3 });
    let socket = kread::task_socket(kread::current_task(), draft.argument(0) as i32);
    let sock = follow(socket, offset!(socket_sk));
    let kind = field::<u16>(socket, offset!(socket_type));
    let is_stream = match field::<u16>(sock, offset!(sock_family)) {
        // It connects with the first bytes.
        AF_INET | AF_INET6 if flags & FAST_OPEN != 0 => false,
        // A raw socket may have the number of TCP, and goes where the address says.
        AF_INET | AF_INET6 => {
            kind == STREAM && matches!(field::<u16>(sock, offset!(sock_protocol)), TCP | MPTCP)
        }
        AF_UNIX => kind == SEQUENCED,
        _ => false,
    };
    if !is_stream {
        return 0;
    }
    // Of a request to an `io_uring`, which this thread did on its way out of another call.
    mcpwatch_flush();
    filtered(Probe::Send);
    1
}

/// [`on_address`], as a global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_address(form: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let second = draft.argument(1);
    let (probe, kind, address, len) = match form {
        CONNECT => (Probe::Connect, Kind::Connect, second, length(draft.argument(2))),
        SENDTO => (Probe::Send, Kind::Send, draft.argument(4), length(draft.argument(5))),
        // `struct compat_msghdr`.
        SENDMSG | SENDMMSG if draft.is_narrow() => {
            let [address, len] = read_user::<[u32; 2]>(second).unwrap_or([0; 2]);
            (Probe::Send, Kind::Send, with_length(address.into(), len), u64::from(len))
        }
        SENDMSG | SENDMMSG => {
            let len = read_user::<u32>(second + 8).unwrap_or(0);
            let address = read_user(second).unwrap_or(0);
            (Probe::Send, Kind::Send, with_length(address, len), u64::from(len))
        }
        _ => (Probe::Bind, Kind::Bind, second, length(draft.argument(2))),
    };
    addressed(&draft, probe, kind, address, len);
    0
}

/// The address of a message: one of no length the kernel takes for none.
#[inline(always)]
fn with_length(address: u64, len: u32) -> u64 {
    if len == 0 { 0 } else { address }
}

/// The length of an address from a register: it is an `int`, and what stands above that the kernel does not look at.
#[inline(always)]
fn length(argument: u64) -> u64 {
    u64::from(argument as u32)
}

/// Sends the call in the scratch buffer; `address` is where one stands in user memory, 0 when it names none.
#[inline(always)]
fn addressed(draft: &Draft, probe: Probe, kind: Kind, address: u64, len: u64) {
    let task = &draft.task();
    let (fd, result) = (draft.argument(0) as i32, draft.result());
    // A destination of another kind of call is not this call's.
    if !matches!(kind, Kind::Connect | Kind::Send) {
        mcpwatch_flush();
    }
    // By its place in the map, not copied: the compiler reads a copy on the stack before it looks whether
    // there is one, and before 6.3 the verifier refuses to read a stack nobody wrote.
    let key = thread_key(task.pid, task.tid);
    let mut pending = PENDING.get_ptr(key);
    // One of a request to an `io_uring`, which this thread did on its way out of another call.
    if pending.is_some() && !is_internet(kread::socket_family(kread::current_task(), fd)) {
        mcpwatch_flush();
        pending = None;
    }
    if address == 0 && pending.is_none() {
        // A send on a connected socket.
        filtered(probe);
        return;
    }
    let mut body = NOTHING;
    body.fd = fd;
    let (mut unix_len, mut bound_len, mut flags) = (0, 0, 0);
    let mut kind = kind;
    if let Some(pending) = pending {
        // SAFETY: the value belongs to this thread alone, which removes it only here below.
        let pending = unsafe { &*pending };
        kind = kind_of(pending);
        apply(&mut body, pending);
        let _ = PENDING.remove(key);
    } else {
        let socket = kread::task_socket(kread::current_task(), fd);
        let sock = of_socket(&mut body, socket);
        (unix_len, flags) = given(draft, &mut body, Memory::User(address), len);
        if matches!(kind, Kind::Connect) && result == 0 {
            bound_len = bound_name(draft, sock, unix_len);
        }
        // Where the address says otherwise, a second thread has rewritten it since.
        if bound_len != 0 {
            body.family = AF_UNIX;
        }
    }
    body.unix_len = unix_len as u16;
    draft.body(body);
    let notice = Notice { flags, ..Notice::of_call(probe, kind, result) };
    draft.send::<Net>(task, notice, unix_len + bound_len);
}

/// Where an address stands.
#[derive(Clone, Copy)]
enum Memory {
    /// In that of the process.
    User(u64),
    /// In the kernel's.
    Kernel(Address),
}

impl Memory {
    /// The value at a place in it.
    #[inline(always)]
    fn read<T: Copy>(self, at: u64) -> Option<T> {
        match self {
            Self::User(address) => read_user(address + at),
            Self::Kernel(address) => read(address, at as u32),
        }
    }
}

/// Type and protocol of a socket; gives its `struct sock`.
#[inline(always)]
fn of_socket(body: &mut Net, socket: Address) -> Address {
    body.socket_type = field(socket, offset!(socket_type));
    let sock = follow(socket, offset!(socket_sk));
    body.protocol = field(sock, offset!(sock_protocol));
    sock
}

/// An address as a process gave it; the path of a unix socket goes into the tail. Gives the path's length, and
/// [`FLAG_UNREADABLE`] when not all of the address can be read. Whether it can, its last byte says: of what was read
/// nothing is looked at twice, for the compiler would keep it on the stack, absent or not.
#[inline(always)]
fn given(draft: &Draft, body: &mut Net, address: Memory, len: u64) -> (usize, u32) {
    body.family = address.read(0).unwrap_or(0);
    let complete = match body.family {
        AF_INET => {
            // `struct sockaddr_in`: family, port, address.
            let [port, high, low] = address.read::<[u16; 3]>(2).unwrap_or([0; 3]);
            body.port = u16::from_be(port);
            // SAFETY: four bytes either way.
            let bytes = unsafe { core::mem::transmute::<[u16; 2], [u8; 4]>([high, low]) };
            body.address = ipv4(bytes);
            address.read::<u8>(7).is_some()
        }
        AF_INET6 => {
            // `struct sockaddr_in6`: family, port, flow label, address.
            body.port = u16::from_be(address.read(2).unwrap_or(0));
            body.address = address.read(8).unwrap_or([0; 16]);
            address.read::<u8>(23).is_some()
        }
        AF_UNIX => return unix_path(draft, address, len.saturating_sub(2) as usize),
        // Netlink, vsock, packet and others: their part that tells where to is twelve bytes at most.
        _ => {
            let [first, second, third] = address.read::<[u32; 3]>(0).unwrap_or([0; 3]);
            // SAFETY: sixteen bytes either way.
            body.address =
                unsafe { core::mem::transmute::<[u32; 4], [u8; 16]>([first, second, third, 0]) };
            // Of no family there is nothing more to be read: a connection is undone.
            body.family != 0 || address.read::<u8>(0).is_some()
        }
    };
    (0, if complete { 0 } else { FLAG_UNREADABLE })
}

/// Puts the path of a unix address into the tail; gives its length, 0 when there is none, and [`FLAG_UNREADABLE`] when
/// it cannot be read.
#[inline(always)]
fn unix_path(draft: &Draft, address: Memory, len: usize) -> (usize, u32) {
    if len == 0 || len > UNIX_PATH_BYTES {
        return (0, 0);
    }
    // The comparison is made on another copy than the one the helper gets.
    let len = bounds::mask::<UNIX_PATH_MASK>(len);
    let to = draft.tail::<Net>().cast();
    // SAFETY: a unix path fits into the tail.
    let failed = unsafe {
        match address {
            Memory::User(address) => {
                bpf_probe_read_user(to, len as u32, kread::untagged(address + 2) as *const _)
            }
            Memory::Kernel(address) => {
                bpf_probe_read_kernel(to, len as u32, (address + 2) as *const _)
            }
        }
    };
    if failed == 0 { (len, 0) } else { (0, FLAG_UNREADABLE) }
}

/// What an `io_uring` was asked to do with a socket.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Submitted {
    /// Connect it: `(file, address in user memory, length, what the kernel keeps for the request)`; the last is 0 on
    /// kernels that take the address when the request is done.
    Connect = SUBMITTED_CONNECT,
    /// Bind it: `(file, _, length, what the kernel keeps for the request)`.
    Bind = SUBMITTED_BIND,
    /// Listen on it: `(file)`.
    Listen = SUBMITTED_LISTEN,
}

const SUBMITTED_CONNECT: u64 = 0;
const SUBMITTED_BIND: u64 = 1;
const SUBMITTED_LISTEN: u64 = 2;

/// The request in the scratch buffer was given to an `io_uring`.
#[inline(always)]
pub fn on_submitted(what: Submitted) {
    mcpwatch_net_submitted(what as u64);
}

/// [`on_submitted`], as a global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_net_submitted(what: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    // Of a file that is registered with the ring this is none.
    let socket = kread::file_socket(draft.argument(0));
    let len = draft.argument(2);
    if what == SUBMITTED_LISTEN {
        if socket == 0 {
            unreadable(Probe::Listen);
            return 0;
        }
        let sock = follow(socket, offset!(socket_sk));
        let mut body = local_address(sock);
        body.has_result = 0;
        body.socket_type = field(socket, offset!(socket_type));
        named(&draft, Notice::of_call(Probe::Listen, Kind::Listen, 0), sock, body);
        return 0;
    }
    let mut body = NOTHING;
    body.has_result = 0;
    let sock = of_socket(&mut body, socket);
    // What is to be bound or connected has the socket's own family, unless another file gets the descriptor until it is
    // done: no hook on a cgroup sees a unix socket. The address may still be changed by the process on kernels that take
    // it later, and nothing else is left out because of what it is now.
    let data = draft.argument(3);
    let own = field(sock, offset!(sock_family));
    let is_unix = what == SUBMITTED_CONNECT
        && match data {
            0 => read_user::<u16>(draft.argument(1)) == Some(AF_UNIX),
            _ => address_of_family(data, own) == 0 && address_of_family(data, AF_UNIX) != 0,
        };
    let family = if is_unix { AF_UNIX } else { own };
    let seen = is_internet(family) && has_hook(body.protocol) && handover::destinations_are_seen();
    if what == SUBMITTED_CONNECT && seen {
        let may_be_for = |family| address_of_family(data, family) != 0;
        let is_for_ip = (may_be_for(own) || may_be_for(AF_INET)) && !may_be_for(AF_UNIX);
        if data == 0 || is_for_ip {
            filtered(Probe::Connect);
        } else {
            unreadable(Probe::Connect);
        }
        return 0;
    }
    let kept = address_of_family(data, family);
    let (probe, kind, (unix_len, flags)) = if what == SUBMITTED_BIND {
        (Probe::Bind, Kind::Bind, given(&draft, &mut body, Memory::Kernel(kept), len))
    } else if kept != 0 {
        (Probe::Connect, Kind::Connect, given(&draft, &mut body, Memory::Kernel(kept), len))
    } else if data != 0 {
        // It is there, but where is not certain.
        (Probe::Connect, Kind::Connect, (0, 0))
    } else {
        let address = Memory::User(draft.argument(1));
        (Probe::Connect, Kind::Connect, given(&draft, &mut body, address, len))
    };
    let fits = body.family == family || is_internet(family) && is_internet(body.family);
    let nameless = body.family == AF_UNIX && len > 2 && unix_len == 0;
    if body.family == 0 || !fits || nameless {
        unreadable(probe);
        return 0;
    }
    body.unix_len = unix_len as u16;
    draft.body(body);
    let notice = Notice { flags, ..Notice::of_call(probe, kind, 0) };
    draft.send::<Net>(&draft.task(), notice, unix_len);
    0
}

#[inline(always)]
fn is_internet(family: u16) -> bool {
    family == AF_INET || family == AF_INET6
}

/// Whether the kernel calls the hooks on cgroups when a socket of a protocol in IP networks is connected: only for TCP, UDP
/// and MPTCP on every kernel.
#[inline(always)]
fn has_hook(protocol: u16) -> bool {
    matches!(protocol, TCP | UDP | MPTCP)
}

/// The agent had a socket connected through an `io_uring` for this alone: where its address stands in what the kernel keeps
/// for the request, those of others do, too. A global BPF function, so that the verifier does not walk on for each outcome.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mcpwatch_find_address(data: Address) -> u64 {
    let is = |offset| read(data, offset) == Some(setting!(tried_address));
    match (is(0), is(offset!(io_message_address))) {
        (true, false) => handover::address_was_found(ADDRESS_ALONE),
        (false, true) => handover::address_was_found(ADDRESS_IN_MESSAGE),
        _ => {}
    }
    0
}

/// Where the address of a family stands in what the kernel keeps for a request; 0 when it is of another one, or when that
/// is not certain. In later versions of most series that is nothing but the address, and the types do not say so; before,
/// it is what a message is sent with, of which an earlier message may have left anything where no address stands. Where a
/// pointer, or none, is the first of it, the first bytes tell them apart: the families of IP and of unix sockets are no
/// multiples of 8, so an address does not begin like a pointer.
#[inline(always)]
fn address_of_family(data: Address, family: u16) -> Address {
    let other = offset!(io_message_address);
    let is = |offset| family != 0 && read(data, offset) == Some(family);
    let first = field::<u64>(data, 0);
    let is_pointer = first.is_multiple_of(8) && first as i64 <= 0;
    let begins_with_pointer = offset!(io_message_vector) == 0;
    let (plain, within) = match (is(0), is(other)) {
        (plain, _) if handover::place_of_address() == ADDRESS_ALONE => (plain, false),
        (_, within) if handover::place_of_address() == ADDRESS_IN_MESSAGE => (false, within),
        (plain, _) if begins_with_pointer && !is_pointer => (plain, false),
        (_, within) if begins_with_pointer => (false, within),
        either => either,
    };
    match (plain, within) {
        (true, false) => data,
        (false, true) => data + u64::from(other),
        _ => 0,
    }
}

/// Puts the name that the other end of a unix socket is bound by behind the path in the tail: a link, a bind mount
/// and a thread that rewrites the argument change what is asked for, and not this. Gives its length.
#[inline(always)]
fn bound_name(draft: &Draft, sock: Address, unix_len: usize) -> usize {
    if read(sock, offset!(sock_family)) != Some(AF_UNIX) {
        return 0;
    }
    name_of(draft, follow(sock, offset!(unix_peer)), unix_len)
}

/// Puts the name that a unix socket is bound by into the tail, behind `before` bytes. Gives its length, 0 when it has
/// none.
#[inline(always)]
fn name_of(draft: &Draft, sock: Address, before: usize) -> usize {
    let name = follow(sock, offset!(unix_name));
    // The family, then the path.
    let len = field::<u32>(name, offset!(unix_name_len)).saturating_sub(2) as usize;
    if len == 0 || len > UNIX_PATH_BYTES {
        return 0;
    }
    let len = bounds::mask::<UNIX_PATH_MASK>(len);
    let before = bounds::mask::<UNIX_PATH_MASK>(before);
    let bytes = name + u64::from(offset!(unix_name_bytes)) + 2;
    // SAFETY: two unix paths fit into the tail.
    let failed = unsafe {
        bpf_probe_read_kernel(draft.tail::<Net>().add(before).cast(), len as u32, bytes as *const _)
    };
    if failed == 0 { len } else { 0 }
}

/// listen(2): the address is the socket's own.
#[inline(always)]
pub fn on_listen() {
    mcpwatch_listen();
}

/// [`on_listen`], as a global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_listen() -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let fd = draft.argument(0) as i32;
    let socket = kread::task_socket(kread::current_task(), fd);
    let sock = follow(socket, offset!(socket_sk));
    let mut body = local_address(sock);
    body.fd = fd;
    body.socket_type = field(socket, offset!(socket_type));
    named(&draft, Notice::of_call(Probe::Listen, Kind::Listen, draft.result()), sock, body);
    0
}

/// Sends the call in the scratch buffer; `sock` is a socket that, if it is a unix one, has the listener's name.
#[inline(always)]
fn named(draft: &Draft, notice: Notice, sock: Address, mut body: Net) {
    let unix_len = if body.family == AF_UNIX { name_of(draft, sock, 0) } else { 0 };
    body.unix_len = unix_len as u16;
    draft.body(body);
    draft.send::<Net>(&draft.task(), notice, unix_len);
}

/// accept(2): the address is the peer's; of a unix socket, whose peers hardly ever have a name, the listener's.
#[inline(always)]
pub fn on_accept() {
    mcpwatch_accept();
}

/// [`on_accept`], as a global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_accept() -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let result = draft.result();
    if result < 0 {
        filtered(Probe::Accept);
        return 0;
    }
    let socket = kread::task_socket(kread::current_task(), result as i32);
    let sock = follow(socket, offset!(socket_sk));
    let mut body = NOTHING;
    body.fd = draft.argument(0) as i32;
    body.socket_type = field(socket, offset!(socket_type));
    body.protocol = field(sock, offset!(sock_protocol));
    body.family = field(sock, offset!(sock_family));
    body.port = u16::from_be(field(sock, offset!(sock_peer_port)));
    if body.family == AF_INET {
        body.address = ipv4(field(sock, offset!(sock_peer_address)));
    } else if body.family == AF_INET6 {
        body.address = field(sock, offset!(sock_peer_address6));
    }
    named(&draft, Notice::of_call(Probe::Accept, Kind::Accept, result), sock, body);
    0
}

/// A socket changed its state. One that begins to listen makes its process a candidate.
#[inline(always)]
pub fn on_socket_state(sock: Address, state: i32) {
    if state != LISTENING || setting!(sniff) == 0 {
        return;
    }
    let (pid, tid) = watch::ids();
    if !watch::in_scope(pid) || watch::current().is_some() {
        return;
    }
    let start_time = kread::task_start_time(kread::current_task());
    let Founded::Yes(instance) = watch::found(pid, start_time, 0, 0) else {
        unreadable(Probe::Listen);
        return;
    };
    // What it asked for so far, nobody has seen.
    if kread::uses_io_uring(kread::current_task()) {
        handover::opens_are_asked_for_now();
    }
    let task = Task { pid, tid, start_time, instance };
    let notice = Notice { wake: Wake::Now, ..Notice::of_call(Probe::Listen, Kind::Listen, 0) };
    emit::send(&task, &notice, local_address(sock));
}

/// Family, protocol and own address of a `struct sock`.
#[inline(always)]
fn local_address(sock: Address) -> Net {
    let mut body = NOTHING;
    body.protocol = field(sock, offset!(sock_protocol));
    body.family = field(sock, offset!(sock_family));
    body.port = field(sock, offset!(sock_port));
    if body.family == AF_INET {
        body.address = ipv4(field(sock, offset!(sock_address)));
    } else if body.family == AF_INET6 {
        body.address = field(sock, offset!(sock_address6));
    }
    body
}

/// An IPv4 address as events have it.
#[inline(always)]
pub fn ipv4(bytes: [u8; 4]) -> [u8; 16] {
    [bytes[0], bytes[1], bytes[2], bytes[3], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]
}
