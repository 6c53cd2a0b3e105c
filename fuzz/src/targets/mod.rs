//! What is tried with bytes nobody thought of: one function a target, each of which must neither panic nor
//! hang, and checks what has to hold whatever it is given.
//!
//! Two programs use them: the fuzz targets, which libFuzzer guides (`cargo xtask fuzz`), and
//! `mcpwatch/tests/corpus.rs`, which replays the seeds and changes them a little, on every run of the tests.

mod bytes;
mod documents;
mod host;
mod kernel;
mod names;
mod recording;
mod runtimes;
pub mod seeds;
mod terminal;
mod wire;

/// A target: its name, what it does with one input, and the words its inputs are made of.
pub struct Target {
    /// The name, also of its folder of seeds and of its program.
    pub name: &'static str,
    /// Takes one input.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "events", run: kernel::events },
    Target { name: "lines", run: wire::lines },
    Target { name: "jsonrpc", run: wire::jsonrpc },
    Target { name: "conversation", run: wire::conversation },
    Target { name: "client_configs", run: documents::client_configs },
    Target { name: "settings", run: documents::settings },
    Target { name: "launchers", run: documents::launchers },
    Target { name: "recordings", run: recording::recordings },
    Target { name: "host", run: host::host },
    Target { name: "containers", run: runtimes::containers },
    Target { name: "mounts", run: runtimes::mounts },
    Target { name: "packets", run: names::packets },
    Target { name: "terminal", run: terminal::terminal },
    Target { name: "redaction", run: terminal::redaction },
];

/// The target of this name.
///
/// # Panics
/// When there is none: the fuzz programs name them in their source.
#[must_use]
pub fn target(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target of that name")
}
