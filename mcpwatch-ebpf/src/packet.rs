//! Packets of watched sockets that name things: messages of name service, and what a TLS client says
//! first. Taken at the socket's border and not from user memory, where a second thread of the process, or
//! an address it was never told, could make an answer out of nothing.

use aya_ebpf::{
    bindings::{__sk_buff, bpf_sock},
    helpers::generated::{bpf_get_socket_cookie, bpf_skb_load_bytes},
    programs::{SkBuffContext, SockAddrContext},
};
use core::mem::MaybeUninit;
use mcpwatch_common::{
    control::{Counters, Probe},
    event::{DIRECTION_IN, DIRECTION_OUT, FLAG_TRUNCATED, Header, Kind, PACKET_BYTES, Packet},
};

use crate::{
    bounds,
    emit::{Notice, count_packet, header, wakeup},
    kread::{field, follow},
    maps::{EVENTS, Pending, SOCKETS, Socket, offset},
    network::{AF_INET, AF_INET6, ipv4},
    watch::{self, Task},
};

const SOCK_STREAM: u16 = 1;
const SOCK_DGRAM: u16 = 2;
const TCP: u8 = 6;
const UDP: u8 = 17;
/// Port of name service.
const DNS: u16 = 53;
/// Packets with data in which TLS may begin: a proxy or STARTTLS is asked for it before.
const LOOKS: u32 = 8;
/// Bytes of a small event's tail: most messages of name service fit (RFC 1035, section 4.2.1).
const SMALL: usize = 512;

const NONE: Counters =
    Counters { seen: 0, sent: 0, ring_full: 0, too_big: 0, truncated: 0, filtered: 0 };

/// An event of one packet. The ring is given events of two sizes: a variable one would have to be built in a
/// scratch buffer, which the next packet may interrupt.
#[repr(C)]
struct Event<const ROOM: usize> {
    header: Header,
    body: Packet,
    tail: [u8; ROOM],
}

/// A watched process connects a socket, or sends with it: its packets are looked at from now on.
#[inline(always)]
pub fn remember(ctx: &SockAddrContext, task: &Task, to: &Pending) {
    let wanted = to.socket_type == SOCK_STREAM || (to.socket_type == SOCK_DGRAM && to.port == DNS);
    if !wanted {
        return;
    }
    // SAFETY: the helper takes the context of this kind of program.
    let cookie = unsafe { bpf_get_socket_cookie(ctx.sock_addr.cast()) };
    let socket = Socket { task: *task, sock: 0, namespace: 0, looks: LOOKS };
    if SOCKETS.insert(cookie, socket, 0).is_err() {
        count_packet(Probe::Dns, Counters { too_big: 1, ..NONE });
        return;
    }
    let Some(entry) = SOCKETS.get_ptr_mut(cookie) else { return };
    // SAFETY: a field of a map value; volatile, so that the address goes through the map. The verifier checks
    // the access to the context.
    let sock = unsafe {
        let sock = (*ctx.sock_addr).__bindgen_anon_1.sk;
        (&raw mut (*entry).sock).cast::<*mut bpf_sock>().write_volatile(sock);
        (&raw const (*entry).sock).read_volatile()
    };
    let namespace = field(follow(sock, offset!(sock_net)), offset!(net_number));
    // SAFETY: as above.
    unsafe { (*entry).namespace = namespace };
}

/// A packet on its way to or from a socket. What it is depends on the socket, which is looked for first.
#[inline(always)]
pub fn on_packet(ctx: &SkBuffContext, direction: u32) {
    let skb = ctx.skb.skb;
    // SAFETY: the helper takes the context of this kind of program.
    let cookie = unsafe { bpf_get_socket_cookie(skb.cast()) };
    let Some(socket) = SOCKETS.get_ptr_mut(cookie) else { return };
    // SAFETY: the value is copied at once.
    let Socket { task, namespace, looks, .. } = unsafe { *socket };
    if watch::instance(task.instance).is_none() {
        let _ = SOCKETS.remove(cookie);
        return;
    }
    let Some(Ends { mut body, transport, protocol }) = ends(skb, direction) else { return };
    body.socket = cookie;
    body.namespace = namespace;
    // Ports stand first in both; the other end's is the source's on the way in.
    let port_at = if direction == DIRECTION_IN { 0 } else { 2 };
    let Some(port) = load::<u16>(skb, transport + port_at) else { return };
    body.port = u16::from_be(port);
    let data = match protocol {
        UDP if body.port == DNS => transport + 8,
        TCP => match load::<u8>(skb, transport + 12) {
            Some(offset) => transport + u32::from(offset >> 4) * 4,
            None => return,
        },
        _ => return,
    };
    // SAFETY: a field of the context.
    let len = unsafe { (*skb).len };
    if len <= data {
        return;
    }
    let len = len - data;
    let (probe, kind) = if body.port == DNS {
        if len < 12 {
            // Shorter than a header; over TCP also the length that comes first.
            count_packet(Probe::Dns, Counters { filtered: 1, ..NONE });
            return;
        }
        (Probe::Dns, Kind::Dns)
    } else if direction == DIRECTION_OUT {
        // RFC 8446, sections 5.1 and 4: a record of type handshake, in it a client hello.
        let hello = matches!(load::<[u8; 6]>(skb, data), Some([0x16, 0x03, _, _, _, 0x01]));
        if hello || looks <= 1 {
            let _ = SOCKETS.remove(cookie);
        } else {
            // SAFETY: a field of a map value. Two packets at once may count as one: it is a bound, no more.
            unsafe { (*socket).looks = looks - 1 };
        }
        if !hello {
            return;
        }
        (Probe::Tls, Kind::Tls)
    } else {
        return;
    };
    if len < SMALL as u32 {
        send::<SMALL, { SMALL as i32 - 1 }>(skb, data, len, &task, &body, (probe, kind));
    } else {
        send::<PACKET_BYTES, { PACKET_BYTES as i32 - 1 }>(
            skb,
            data,
            len,
            &task,
            &body,
            (probe, kind),
        );
    }
}

/// What the network header says.
struct Ends {
    body: Packet,
    /// Where the transport header begins.
    transport: u32,
    protocol: u8,
}

/// The other end of a packet, which begins with its network header. An IPv6 packet with extension headers is
/// passed over: ordinary ones of the transports looked at have none.
#[inline(always)]
fn ends(skb: *mut __sk_buff, direction: u32) -> Option<Ends> {
    let mut body = Packet {
        address: [0; 16],
        socket: 0,
        family: AF_INET,
        port: 0,
        protocol: 0,
        direction: direction as u16,
        namespace: 0,
        data_len: 0,
    };
    let incoming = direction == DIRECTION_IN;
    let first = load::<u8>(skb, 0)?;
    let (transport, protocol) = match first >> 4 {
        4 => {
            body.address = ipv4(load(skb, if incoming { 12 } else { 16 })?);
            (u32::from(first & 0xf) * 4, load::<u8>(skb, 9)?)
        }
        6 => {
            body.family = AF_INET6;
            body.address = load(skb, if incoming { 8 } else { 24 })?;
            (40, load::<u8>(skb, 6)?)
        }
        _ => return None,
    };
    body.protocol = u16::from(protocol);
    Some(Ends { body, transport, protocol })
}

/// A value at a place in a packet.
#[inline(always)]
fn load<T: Copy>(skb: *mut __sk_buff, at: u32) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes exactly `size_of::<T>()` bytes or reports failure.
    let failed = unsafe {
        bpf_skb_load_bytes(skb.cast(), at, value.as_mut_ptr().cast(), size_of::<T>() as u32)
    };
    // SAFETY: filled above; `T` is a plain number or an array of them at every call.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// Sends `len` bytes of a packet, at least one, or what of them fits. `ROOM` is a power of two, and `MASK` one
/// less.
#[inline(always)]
fn send<const ROOM: usize, const MASK: i32>(
    skb: *mut __sk_buff,
    at: u32,
    len: u32,
    task: &Task,
    body: &Packet,
    (probe, kind): (Probe, Kind),
) {
    let Some(mut entry) = EVENTS.reserve::<Event<ROOM>>(0) else {
        count_packet(probe, Counters { ring_full: 1, ..NONE });
        return;
    };
    let cut = len as usize > ROOM;
    let take = if cut { ROOM } else { len as usize };
    let event = entry.as_mut_ptr();
    // Before 6.10 the verifier believes neither bound when it is compared: the compiler subtracts one first.
    // SAFETY: 1 to `ROOM` bytes fit into the tail of the event, which is this program's until it is submitted.
    let failed = unsafe {
        let bounded = bounds::mask::<MASK>(take - 1) + 1;
        bpf_skb_load_bytes(skb.cast(), at, (&raw mut (*event).tail).cast(), bounded as u32)
    };
    if failed != 0 {
        entry.discard(0);
        count_packet(probe, Counters { too_big: 1, ..NONE });
        return;
    }
    let flags = FLAG_TRUNCATED * u32::from(cut);
    let notice = Notice { flags, ..Notice::of_call(probe, kind, 0) };
    let header = header(task, &notice, size_of::<Event<ROOM>>());
    // SAFETY: as above.
    unsafe {
        (&raw mut (*event).header).write(header);
        (&raw mut (*event).body).write(*body);
        (&raw mut (*event).body.data_len).write(take as u32);
    }
    entry.submit(wakeup(notice.wake));
    count_packet(probe, Counters { sent: 1, truncated: u64::from(cut), ..NONE });
}
