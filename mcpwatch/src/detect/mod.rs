//! Rules → findings. A rule is one file with one type; it sees one attributed effect at a time and
//! never touches I/O.

use crate::attribute::Attribution;
use crate::config::Allow;
use crate::event::{Exec, Net, Open};
use crate::record::{AlertEvidence, Process, Server, Severity};

/// What a process of a server did.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// It executed a program.
    Exec(&'a Exec),
    /// It opened a file, or tried to.
    Open(&'a Open),
    /// It used the network.
    Net(&'a Net),
}

/// What the server was given before any call: everything here counts as explained.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Argument vector of the server's own launch (of each of its wrappers).
    pub argv: Vec<String>,
    /// Directories and files named by its configuration or argument vector, absolute.
    pub paths: Vec<String>,
    /// Host names and addresses named by its configuration, argument vector or environment entries.
    pub hosts: Vec<String>,
    /// Addresses of the host's own name servers.
    pub resolvers: Vec<std::net::IpAddr>,
    /// What the settings allow this server.
    pub allow: Allow,
}

/// One effect with all that a rule may look at.
#[derive(Clone, Copy, Debug)]
pub struct Effect<'a> {
    /// What was done.
    pub action: Action<'a>,
    /// Who did it: the process as it was before this effect (for an exec: the one that executed).
    pub process: &'a Process,
    /// Programs of its ancestors up to the server's first process, nearest first.
    pub ancestors: &'a [String],
    /// The server it belongs to.
    pub server: &'a Server,
    /// The process is a launcher (`npx`, `uvx`, …) or its helper, still on the way to the server.
    pub launching: bool,
    /// Why it was done.
    pub attribution: &'a Attribution,
    /// What the server was given.
    pub given: &'a Given,
}

/// A rule that fired on an effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule's id.
    pub rule: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Why it fired, in one sentence a person can act on.
    pub reason: String,
    /// What it rests on, verbatim.
    pub evidence: Vec<AlertEvidence>,
    /// What it is about: findings of one call, rule and object are one alert with a count.
    pub object: String,
}
