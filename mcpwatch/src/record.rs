//! What goes out: the types of the event stream `mcpwatch/1`. A contract, described in
//! `docs/events.md` and `docs/events.schema.json`; fields that do not apply are absent.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use serde_json::{Number, Value};

use crate::wire::Fault;

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

macro_rules! names {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident => $text:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// Every value, in order.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in the event stream.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.name())
            }
        }
    };
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

/// The machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Host {
    /// Its host name.
    pub name: String,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: String,
}

/// A server instance.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Server {
    /// Unique on this host since boot.
    pub id: String,
    /// In order of preference: settings, key in the client's configuration, `serverInfo.name`, package.
    pub name: String,
    /// `stdio` or `http`.
    pub transport: &'static str,
    /// From `serverInfo`, else from the package specifier.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The client that started it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// The client configuration it stands in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub config_path: Option<String>,
    /// Why it is taken for a server.
    pub evidence: Vec<Evidence>,
}

/// One reason to take a process for a server.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evidence {
    /// `config`, `command_line`, `parent`, `handshake` or `explicit`.
    pub kind: EvidenceKind,
    /// What exactly: the configuration key, the package, the client, …
    pub detail: String,
}

names! {
    /// Kinds of evidence, weakest first.
    EvidenceKind {
        /// It is the child of a known client.
        Parent => "parent",
        /// Its command line launches a known package or SDK.
        CommandLine => "command_line",
        /// Its command stands in a client's configuration.
        Config => "config",
        /// It spoke the protocol on its channel.
        Handshake => "handshake",
        /// The settings name it.
        Explicit => "explicit",
    }
}

/// A process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Process {
    /// Unique on this host since boot: pid and start time.
    pub entity_id: String,
    /// In the initial pid namespace.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// When it started.
    pub start_time: Time,
    /// Resolved path of the executed file.
    pub exe: String,
    /// Its argument vector (secrets masked).
    pub argv: Vec<String>,
    /// Whether any of that is masked: each record says so in `redacted`.
    #[serde(skip)]
    pub argv_masked: bool,
    /// Whether the kernel gave only a part of it: each record says so in `truncated`.
    #[serde(skip)]
    pub argv_cut: bool,
    /// Working directory at exec.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cwd: Option<String>,
    /// Real user id.
    pub uid: u32,
    /// The container it runs in.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<Arc<Container>>,
}

/// A container.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Container {
    /// Its full id.
    pub id: String,
    /// `docker`, `containerd`, `cri-o`, `podman`, …
    pub runtime: String,
    /// Its name, where the host shows it; in a pod that of the container within the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Image name, where the host shows it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// Kubernetes pod uid.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// Name of that pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod_name: Option<String>,
    /// Kubernetes namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
}

/// A call, or a reference to one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// Unique on this host since boot.
    pub uid: String,
    /// The JSON-RPC id as sent: a string or an integer.
    pub id: Value,
    /// The JSON-RPC method.
    pub method: String,
    /// `params.name` of `tools/call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// `params.name` of `prompts/get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The session it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// On effects and alerts: how sure the attribution is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// On effects and alerts: all calls in flight, the likeliest first, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// On `mcp.call`.
    #[serde(flatten)]
    pub outcome: Option<CallOutcome>,
}

/// One call an effect may belong to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The call's uid.
    pub uid: String,
    /// The JSON-RPC id as sent.
    pub id: Value,
    /// The tool, for `tools/call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Share of the evidence, 0 to 1.
    pub confidence: f64,
}

/// What became of a call, and what it was given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallOutcome {
    /// `server` when the client asked the server, `client` for the other way round.
    pub to: &'static str,
    /// `params.arguments` of `tools/call` and `prompts/get`, `params` of other methods; secrets masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// What became of it.
    pub status: CallStatus,
    /// From the exit of the read that completed the request to that of the write that completed the
    /// response; absent without a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// Bytes of the request's line.
    pub request_bytes: u64,
    /// Bytes of the response's line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// Code and message of a JSON-RPC error, or the first text of a tool error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallError {
    /// JSON-RPC error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// What the server said, at most 256 characters.
    pub message: String,
}

/// An executed program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecDetail {
    /// Resolved path of the executed file.
    pub path: String,
    /// Where `path` is on the host, when the process has other mounts and that is known to be another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Its arguments (secrets masked).
    pub argv: Vec<String>,
    /// Whether any of that is masked: the record says so in `redacted`.
    #[serde(skip)]
    pub argv_masked: bool,
    /// Working directory.
    pub cwd: String,
    /// The parent's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_exe: Option<String>,
    /// The processes above it, from the one that started it up to process 1, or to the edge of what is watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// The executed file has no name: `memfd` for one made in memory, `deleted` for one that had a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The program runs with the rights of another user than who started it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub set_user_id: bool,
    /// A socket stands on stdin or stdout: `stdin`, `stdout`, `both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_stdio: Option<&'static str>,
}

/// A process above another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ancestor {
    /// In the initial pid namespace.
    pub pid: u32,
    /// Its `process.entity_id`.
    pub entity_id: String,
    /// Its program, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// It had ended by then, and left what it started to another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExitDetail {
    /// Exit code; absent when a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

/// A file, and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDetail {
    /// The resolved path; for a failed open the absolute form of the argument.
    pub path: String,
    /// The path argument as it was given; empty when a descriptor named the file.
    pub argument: String,
    /// `path` below the process's own root directory, where chroot(2) has put that elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_path: Option<String>,
    /// Where `path` is on the host, when the process has other mounts and that is known to be another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// On `file.open`: `read`, `write`, `read_write` or `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<&'static str>,
    /// `O_*` names beyond the access mode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<&'static str>,
    /// `ok`, the name of the error (`ENOENT`), or `unknown` of what was given to an `io_uring`.
    pub result: Cow<'static, str>,
    /// Inode number, when it was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// The file has no name any more, or never had one: `path` is where it was, or what it is called.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unlinked: bool,
    /// `io_uring` or `handle`, when it was not a system call that names a path that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// On `file.change`: what was done, by the name of the system call without `at`, `f` and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'static str>,
    /// On `file.change` of two files: the other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<FileTarget>,
    /// Of a rename: the two exchange their names, if it succeeds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exchanged: bool,
    /// The mode given to it, in octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The user id given to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_uid: Option<u32>,
    /// The group id given to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_gid: Option<u32>,
    /// The length given to it, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
}

/// The other file of a change: the new name of a rename or hard link, what a symbolic link leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileTarget {
    /// Its path.
    pub path: String,
    /// The argument as it was given: of a symbolic link its text.
    pub argument: String,
    /// `path` below the process's own root directory, where chroot(2) has put that elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_path: Option<String>,
    /// Where `path` is on the host, when the process has other mounts and that is known to be another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
}

/// A change of what a process may do or see, or a hold taken of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrivilegeDetail {
    /// The name of the system call.
    pub operation: &'static str,
    /// `ok`, or the name of the error.
    pub result: Cow<'static, str>,
    /// The user or group ids asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdsDetail>,
    /// How many supplementary groups were set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
    /// The capabilities asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The namespaces made or entered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<&'static str>,
    /// The new root directory, the mount point, the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The argument that named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// `path` below the process's own root directory, where chroot(2) has put that elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_path: Option<String>,
    /// Where `path` is on the host, when the process has other mounts and that is known to be another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// What is mounted there; where the old root directory goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `MS_*` of mount(2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount_flags: Vec<&'static str>,
    /// The command of bpf(2), the option of prctl(2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The capability that prctl(2) is to hand on to executed programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambient: Option<String>,
    /// `SECBIT_*` that prctl(2) is to set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secure_bits: Vec<&'static str>,
}

/// User or group ids that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdsDetail {
    /// The real one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<u32>,
    /// The effective one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<u32>,
    /// The saved one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<u32>,
    /// The one for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<u32>,
}

/// Sets of capabilities, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Those in force.
    pub effective: Vec<&'static str>,
    /// Those that may be put in force.
    pub permitted: Vec<&'static str>,
    /// Those that go to executed programs.
    pub inheritable: Vec<&'static str>,
}

/// One process reaching into another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessDetail {
    /// The name of the system call.
    pub operation: &'static str,
    /// The request of ptrace(2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The other process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<AccessTarget>,
    /// Its id in the pid namespace of the process, where nothing more is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_pid: Option<u32>,
    /// `ok`, or the name of the error.
    pub result: Cow<'static, str>,
}

/// A process that was reached into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessTarget {
    /// In the initial pid namespace.
    pub pid: u32,
    /// Its `process.entity_id`, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
    /// Its program, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Name of the server it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}

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

/// What was said beside requests and responses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct McpDetail {
    /// The session's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// `handshake` or `stateless`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<&'static str>,
    /// The revision in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// `clientInfo`: name and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_info: Option<Party>,
    /// `serverInfo`: name and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_info: Option<Party>,
    /// `client_to_server` or `server_to_client`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// Method of a notification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What is wrong with the bytes, the message or its place, as a word of the fixed list in `docs/events.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Fault>,
    /// A sentence on the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// On `notifications/progress`: how far the call has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Bytes concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// How far a call has come: numbers of the sender's own, often of no unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What is done, `progress` of the notification.
    pub value: Number,
    /// What there is to do, when the sender knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Number>,
}

/// One party of a session, as it calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// A rule that fired.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alert {
    /// The rule's id.
    pub rule: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Why it fired, in one sentence a person can act on.
    pub reason: String,
    /// What it rests on, verbatim but masked.
    pub evidence: Vec<AlertEvidence>,
    /// Technique ids.
    pub tags: AlertTags,
    /// What to check first and what to do.
    pub playbook: &'static str,
    /// What it fired about, the first eight: files, programs, destinations, … (masked).
    pub objects: Vec<String>,
    /// How often it fired for this call, relation and severity, this time included.
    pub count: u64,
}

/// One piece of what an alert rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AlertEvidence {
    /// What it is: `path`, `argument`, `argv`, `address`, `call`, …
    pub name: &'static str,
    /// Its value.
    pub value: String,
}

/// Technique ids by catalogue.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Tags {
    /// MITRE ATT&CK.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub attack: &'static [&'static str],
    /// MITRE ATLAS.
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub atlas: &'static [&'static str],
    /// OWASP MCP Top 10 (2025).
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub owasp_mcp: &'static [&'static str],
    /// OWASP LLM Top 10 (2025).
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub owasp_llm: &'static [&'static str],
}

/// Technique ids of an alert, and which edition they are of where ids drift.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct AlertTags {
    /// The ids.
    #[serde(flatten)]
    pub ids: Tags,
    /// Version of the ATLAS matrix; `None` when none of the ids is of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub atlas_version: Option<&'static str>,
}

/// Something was lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Where: `kernel`, `decode`, `pipeline` or `output`.
    pub stage: &'static str,
    /// Which probe, table or output.
    pub what: String,
    /// Why: `ring_full`, `too_big`, `queue_full`, `table_full`, …
    pub reason: String,
    /// How many since the last record of this kind.
    pub lost: u64,
    /// How many since the start.
    pub total: u64,
}

/// What mcpwatch can see.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Status {
    /// `started`, `attached`, `settled`, `detached`, `degraded`, `warning`, `stopped`.
    pub state: &'static str,
    /// What happened, in a sentence.
    pub message: String,
    /// Hook by hook.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub hooks: Vec<Hook>,
    /// On `stopped`: the last counters, per probe.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub counters: Vec<ProbeCounters>,
}

/// One hook of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Hook {
    /// Its name.
    pub name: &'static str,
    /// The tier it works in.
    pub tier: &'static str,
    /// `attached`, `ready` (attached when there is something to watch), `absent` (this kernel has no such system call) or
    /// `missing`.
    pub state: &'static str,
    /// Why it is missing and what is lost without it, how it is known that the kernel has no such system call, or why a
    /// better tier does not serve it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The counters of one probe, summed over the processors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ProbeCounters {
    /// The probe's name.
    pub probe: &'static str,
    /// `seen = sent + ring_full + too_big + filtered`.
    pub seen: u64,
    /// Handed over.
    pub sent: u64,
    /// Lost to a full ring buffer.
    pub ring_full: u64,
    /// Lost for their size.
    pub too_big: u64,
    /// Sent, but cut.
    pub truncated: u64,
    /// Not wanted.
    pub filtered: u64,
}
