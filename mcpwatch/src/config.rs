//! The settings file; every error names file, line, key and what was expected.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Everything that can be set.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// `[capture]`.
    pub capture: Capture,
    /// `[events]`.
    pub events: Events,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[discovery]`.
    pub discovery: Discovery,
    /// `[[server]]`: servers named by the user, and what each may do.
    pub servers: Vec<ServerSettings>,
    /// `[rules]`.
    pub rules: Rules,
    /// `[redact]`.
    pub redact: Redact,
}

/// What the kernel side captures.
#[derive(Clone, Debug)]
pub struct Capture {
    /// Size of the ring buffer in bytes; a power of two, at least 64 KiB.
    pub ring_bytes: u32,
    /// Most bytes captured of one read or write on a channel.
    pub payload_limit: u32,
    /// How long the system-call program stays attached after the last server has gone, in milliseconds.
    pub detach_delay_ms: u64,
}

impl Default for Capture {
    fn default() -> Self {
        Self { ring_bytes: 8 << 20, payload_limit: 1 << 20, detach_delay_ms: 10_000 }
    }
}

/// The event stream.
#[derive(Clone, Debug, Default)]
pub struct Events {
    /// Where it goes besides the console; `-` is stdout.
    pub file: Option<PathBuf>,
}

/// The metrics endpoint.
#[derive(Clone, Debug)]
pub struct Metrics {
    /// Address to listen on; `None` switches it off.
    pub listen: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))) }
    }
}

/// How candidates are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sniff {
    /// A candidate is dropped when it has not become a server in time.
    #[default]
    Auto,
    /// Candidates are kept.
    Always,
    /// No candidates.
    Off,
}

/// How servers are found.
#[derive(Clone, Debug)]
pub struct Discovery {
    /// See [`Sniff`].
    pub sniff: Sniff,
    /// How long a candidate is watched, in seconds.
    pub candidate_seconds: u64,
}

impl Default for Discovery {
    fn default() -> Self {
        Self { sniff: Sniff::Auto, candidate_seconds: 30 }
    }
}

/// A server named by the user. Every criterion that is given must hold.
#[derive(Clone, Debug, Default)]
pub struct ServerSettings {
    /// The name shown.
    pub name: String,
    /// Glob over the executed file's path.
    pub exe: Option<String>,
    /// Glob over the argument vector joined with spaces.
    pub argv: Option<String>,
    /// A process id.
    pub pid: Option<u32>,
    /// Glob over the cgroup path.
    pub cgroup: Option<String>,
    /// The criteria above may be absent: then `name` is compared with the name discovery found.
    pub allow: Allow,
}

/// What a server may do without an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// Globs over the executed file's path.
    pub exec: Vec<String>,
    /// Globs over resolved paths; `~/` stands for every home.
    pub read: Vec<String>,
    /// `HOST`, `HOST:PORT`, `*.DOMAIN`, `ADDRESS/PREFIX`.
    pub egress: Vec<String>,
}

/// Which rules run.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// Ids of rules that are off.
    pub disable: Vec<String>,
}

/// What is masked beyond the built-in rules.
#[derive(Clone, Debug, Default)]
pub struct Redact {
    /// Regular expressions; what they match is masked.
    pub patterns: Vec<String>,
    /// Argument names whose values are masked.
    pub keys: Vec<String>,
}
