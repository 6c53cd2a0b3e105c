//! What was done with sockets, and the names that were asked for.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::Serialize;

/// A network endpoint and what was done with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NetDetail {
    /// `inet`, `inet6`, `unix`, `netlink`, `vsock`, `packet`, …, or `af_N`.
    pub family: String,
    /// `tcp`, `udp`, `stream`, `datagram`, …; absent when unknown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol: Option<&'static str>,
    /// The other end (connect, send, accept) or the own (bind, listen).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<IpAddr>,
    /// Its port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Path of a unix socket: as the call has it, of listen and accept the name the listener is bound by; an abstract
    /// name begins with `@`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The name the other end of a unix connection is bound by, when it is another.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bound_path: Option<String>,
    /// On netlink: where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub netlink: Option<Netlink>,
    /// On vsock: where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vsock: Option<Vsock>,
    /// On packet sockets: where to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub packet: Option<Packet>,
    /// `ok`, `in_progress`, `unknown` or the name of the error.
    pub result: Cow<'static, str>,
    /// Names the address is known by: in the host's own files, or from its own name servers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub names: Vec<String>,
    /// Names that only another name server gave it. They explain nothing: the server chose whom to ask.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub claimed_names: Vec<ClaimedName>,
}

/// A name that only somebody else than the host's name servers gives an address.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClaimedName {
    /// The name.
    pub name: String,
    /// The name server that said so.
    pub from: IpAddr,
}

/// A question to name service, and what came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DnsDetail {
    /// The name that was asked for, in lower case; absent when the message cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// What of it: `A`, `AAAA`, `TXT`, …
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// The name server is one of the host's own.
    pub host_resolver: bool,
    /// How often it was asked.
    pub tries: u32,
    /// `NOERROR`, `NXDOMAIN`, …; absent without an answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rcode: Option<String>,
    /// What was answered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub answers: Vec<DnsAnswer>,
    /// From the question to the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
}

/// One answer of name service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DnsAnswer {
    /// Whose it is.
    pub name: String,
    /// What of it.
    #[serde(rename = "type")]
    pub kind: String,
    /// An address or a name; absent for other types.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub value: Option<String>,
}

/// What a TLS client said first.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TlsDetail {
    /// The name it asks for (SNI): its own claim.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_name: Option<String>,
    /// Whether that is one of `net.names`; absent when either is missing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name_known: Option<bool>,
    /// The protocols it offers to speak.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub alpn: Vec<String>,
    /// The name asked for may be an encrypted one, and the one shown stand for many (ECH).
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub encrypted_hello: bool,
}

/// An end of netlink.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Netlink {
    /// Its port id: 0 for the kernel.
    pub port: u32,
    /// Multicast groups, as bits.
    pub groups: u32,
}

/// An end between virtual machines and their host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Vsock {
    /// The machine: 2 for the host.
    pub cid: u32,
    /// Its port.
    pub port: u32,
}

/// A network interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Packet {
    /// Its index.
    pub interface: i32,
    /// The kind of frames, `ETH_P_*`.
    pub ethertype: u16,
}
