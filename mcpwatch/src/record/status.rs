//! What can be seen, and what was lost.

use serde::Serialize;

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
    /// better tier, or a better way of the same, does not serve it, or what is not certain of it here.
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
