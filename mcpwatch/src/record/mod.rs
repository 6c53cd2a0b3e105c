//! What goes out: the types of the event stream `mcpwatch/1`. A contract, described in
//! `docs/events.md` and `docs/events.schema.json`; fields that do not apply are absent.

#[macro_use]
mod names;

mod alert;
mod call;
mod effect;
mod net;
mod status;
mod subject;

use std::sync::Arc;

use serde::{Serialize, Serializer};

pub use alert::{Alert, AlertEvidence, AlertTags, Tags};
pub use call::{Call, CallError, CallOutcome, Candidate, McpDetail, Party, Progress};
pub use effect::{
    AccessDetail, AccessTarget, Ancestor, Capabilities, ExecDetail, ExitDetail, FileDetail,
    FileTarget, IdsDetail, PrivilegeDetail,
};
pub use net::{ClaimedName, DnsAnswer, DnsDetail, NetDetail, Netlink, Packet, TlsDetail, Vsock};
pub use status::{Hook, Loss, ProbeCounters, Status};
pub use subject::{Container, Evidence, EvidenceKind, Host, Process, Server};

/// Name and version of the event stream's schema.
pub const SCHEMA: &str = "mcpwatch/1";

/// One line of the event stream. `seq` is given when it is published.
///
/// Most records are about files. What those do not have stands in boxes: a record waits in queues, by its size.
#[derive(Clone, Debug, Serialize)]
pub struct Record {
    /// Always [`SCHEMA`].
    pub schema: &'static str,
    /// Consecutive within a run, from 0: a gap is a lost record.
    pub seq: u64,
    /// When it happened, in the kernel's view.
    pub time: Time,
    /// What the record tells of.
    #[serde(rename = "type")]
    pub kind: RecordType,
    /// Where.
    pub host: Arc<Host>,
    /// The server it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<Arc<Server>>,
    /// The process that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Arc<Process>>,
    /// The call it belongs to; on `mcp.call` the call itself, on `mcp.message` the one whose progress is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Arc<Call>>,
    /// How the effect stands to the call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub relation: Option<Relation>,
    /// On `process.exec`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exec: Option<Box<ExecDetail>>,
    /// On `process.exit` and `server.exited`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exit: Option<ExitDetail>,
    /// On `file.*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<FileDetail>,
    /// On `process.privilege`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub privilege: Option<Box<PrivilegeDetail>>,
    /// On `process.access`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<Box<AccessDetail>>,
    /// On `net.*`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub net: Option<Box<NetDetail>>,
    /// On `net.dns`, and on alerts about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dns: Option<Box<DnsDetail>>,
    /// On `net.tls`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tls: Option<Box<TlsDetail>>,
    /// On `mcp.session` and `mcp.message`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mcp: Option<Box<McpDetail>>,
    /// On `alert`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub alert: Option<Box<Alert>>,
    /// On `loss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loss: Option<Box<Loss>>,
    /// On `status`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Status>>,
    /// Names of what was cut, as paths into this record (`exec.argv`, `call.arguments`).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub truncated: Vec<&'static str>,
    /// Names of what was masked, as paths into this record.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub redacted: Vec<String>,
}

impl Record {
    /// A record with nothing but its type, time and host.
    #[must_use]
    pub fn new(kind: RecordType, time: Time, host: Arc<Host>) -> Self {
        Self {
            schema: SCHEMA,
            seq: 0,
            time,
            kind,
            host,
            server: None,
            process: None,
            call: None,
            relation: None,
            exec: None,
            exit: None,
            file: None,
            privilege: None,
            access: None,
            net: None,
            dns: None,
            tls: None,
            mcp: None,
            alert: None,
            loss: None,
            status: None,
            truncated: Vec::new(),
            redacted: Vec::new(),
        }
    }

    /// Says of the argument vectors in it what is masked and what is cut: they are shared by many records.
    pub(crate) fn mark_argv(&mut self) {
        if let Some(process) = &self.process {
            if process.argv_masked {
                self.redacted.push("process.argv".to_owned());
            }
            if process.argv_cut {
                self.truncated.push("process.argv");
            }
        }
        if self.exec.as_ref().is_some_and(|exec| exec.argv_masked) {
            self.redacted.push("exec.argv".to_owned());
        }
    }
}

/// Nanoseconds since the Unix epoch; serialised as RFC 3339 UTC with nine digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Time(pub i64);

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stamp = jiff::Timestamp::from_nanosecond(i128::from(self.0)).unwrap_or_default();
        write!(f, "{stamp:.9}")
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

names! {
    /// Types of records.
    RecordType {
        /// A server was found.
        ServerDiscovered => "server.discovered",
        /// The last process of a server ended.
        ServerExited => "server.exited",
        /// A session was opened, or its parties became known.
        McpSession => "mcp.session",
        /// A request and its response, or what became of it.
        McpCall => "mcp.call",
        /// A notification, or something wrong on the channel.
        McpMessage => "mcp.message",
        /// A program was executed.
        ProcessExec => "process.exec",
        /// A process ended.
        ProcessExit => "process.exit",
        /// A process changed what it may do or see, or took hold of the kernel.
        ProcessPrivilege => "process.privilege",
        /// A process reached into another.
        ProcessAccess => "process.access",
        /// A file was opened, or an open failed.
        FileOpen => "file.open",
        /// A file was renamed, linked, removed, made, cut, or given another mode or owner.
        FileChange => "file.change",
        /// A socket of a family beyond IP and unix was made.
        NetSocket => "net.socket",
        /// A connection was tried.
        NetConnect => "net.connect",
        /// A datagram was sent to an address.
        NetSend => "net.send",
        /// An address was bound.
        NetBind => "net.bind",
        /// A socket began to listen.
        NetListen => "net.listen",
        /// A connection was accepted.
        NetAccept => "net.accept",
        /// A name was asked for.
        NetDns => "net.dns",
        /// A TLS client said which name it asks for.
        NetTls => "net.tls",
        /// A rule fired.
        Alert => "alert",
        /// Events or records were lost.
        Loss => "loss",
        /// What mcpwatch can see, and what it cannot.
        Status => "status",
    }
}

names! {
    /// How an effect stands to the call it happened in.
    Relation {
        /// Its object (path, host, program) stands in the call's arguments.
        Requested => "requested",
        /// A call was in flight whose arguments do not mention it.
        Covert => "covert",
        /// No call was in flight.
        Background => "background",
        /// Before the first request.
        Startup => "startup",
    }
}

names! {
    /// How much an alert matters.
    Severity {
        /// Worth knowing.
        Info => "info",
        /// Unusual.
        Low => "low",
        /// To be looked at.
        Medium => "medium",
        /// Probably an attack or a leak.
        High => "high",
        /// To be acted on now.
        Critical => "critical",
    }
}

names! {
    /// What became of a call.
    CallStatus {
        /// A result.
        Ok => "ok",
        /// A result with `isError`.
        ToolError => "tool_error",
        /// A JSON-RPC error.
        RpcError => "rpc_error",
        /// Cancelled by the client, and never answered.
        Cancelled => "cancelled",
        /// The server ended, or the channel was lost, before an answer.
        NoResponse => "no_response",
    }
}
