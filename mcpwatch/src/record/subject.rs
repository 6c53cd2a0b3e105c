//! Who a record is about: the host, a server, a process, the container around it.

use std::sync::Arc;

use serde::Serialize;

use super::Time;

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
