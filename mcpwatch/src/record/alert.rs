//! What was found.

use serde::Serialize;

use super::Severity;

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
