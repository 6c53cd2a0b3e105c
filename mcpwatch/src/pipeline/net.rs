//! What records show of uses of the network.

use crate::event::{Net, OtherEndpoint};
use crate::host::answers::Claim;
use crate::record::{ClaimedName, NetDetail, Netlink, Packet, Vsock};

use super::effects::errno_name;

/// Protocols of netlink by their numbers: `include/uapi/linux/netlink.h`.
const NETLINK_PROTOCOLS: &[(u16, &str)] = &[
    (0, "route"),
    (4, "sock_diag"),
    (5, "nflog"),
    (6, "xfrm"),
    (9, "audit"),
    (12, "netfilter"),
    (15, "kobject_uevent"),
    (16, "generic"),
    (21, "crypto"),
];

pub(super) fn net_detail(net: &Net, names: Vec<String>, claims: &[Claim]) -> NetDetail {
    let family = i32::from(net.family);
    let (mut netlink, mut vsock, mut packet) = (None, None, None);
    match net.other {
        Some(OtherEndpoint::Netlink { port, groups }) => netlink = Some(Netlink { port, groups }),
        Some(OtherEndpoint::Vsock { cid, port }) => vsock = Some(Vsock { cid, port }),
        Some(OtherEndpoint::Packet { interface, ethertype }) => {
            packet = Some(Packet { interface, ethertype });
        }
        None => {}
    }
    NetDetail {
        family: match family {
            libc::AF_UNIX => "unix".into(),
            libc::AF_INET => "inet".into(),
            libc::AF_INET6 => "inet6".into(),
            libc::AF_NETLINK => "netlink".into(),
            libc::AF_PACKET => "packet".into(),
            libc::AF_VSOCK => "vsock".into(),
            libc::AF_ALG => "alg".into(),
            libc::AF_BLUETOOTH => "bluetooth".into(),
            libc::AF_CAN => "can".into(),
            libc::AF_KEY => "key".into(),
            libc::AF_XDP => "xdp".into(),
            other => format!("af_{other}"),
        },
        protocol: protocol(net),
        address: net.endpoint.map(|endpoint| endpoint.ip()),
        port: net.endpoint.map(|endpoint| endpoint.port()),
        path: net.unix_path.clone(),
        bound_path: net.bound_path.clone(),
        netlink,
        vsock,
        packet,
        result: match net.result {
            None => "unknown".into(),
            Some(Ok(_)) => "ok".into(),
            Some(Err(libc::EINPROGRESS)) => "in_progress".into(),
            Some(Err(error)) => errno_name(error),
        },
        names,
        claimed_names: claims
            .iter()
            .map(|claim| ClaimedName { name: claim.name.clone(), from: claim.from })
            .collect(),
    }
}

/// What is spoken, else the type of the socket.
fn protocol(net: &Net) -> Option<&'static str> {
    let by_type = match i32::from(net.socket_type) {
        libc::SOCK_STREAM => Some("stream"),
        libc::SOCK_DGRAM => Some("datagram"),
        libc::SOCK_RAW => Some("raw"),
        libc::SOCK_SEQPACKET => Some("seqpacket"),
        _ => None,
    };
    match i32::from(net.family) {
        libc::AF_NETLINK => NETLINK_PROTOCOLS
            .iter()
            .find(|(number, _)| *number == net.protocol)
            .map(|(_, name)| *name)
            .or(by_type),
        libc::AF_INET | libc::AF_INET6 => match i32::from(net.protocol) {
            libc::IPPROTO_TCP => Some("tcp"),
            libc::IPPROTO_UDP => Some("udp"),
            libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6 => Some("icmp"),
            _ => by_type,
        },
        _ => by_type,
    }
}
