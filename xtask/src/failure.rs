//! What a task can fail of, in words that say what to do about it.

use std::fmt;
use std::io;
use std::path::Path;

use crate::system;

/// Why a task ended early. Every variant prints as one message a person can act on.
#[derive(Debug)]
pub enum Failure {
    /// The command line was not understood.
    Usage(String),
    /// Something is missing, and nothing was tried, or could be tried, to install it.
    Missing(Missing),
    /// Something is missing, and installing it failed.
    Install(Missing, Box<Failure>),
    /// So many pieces are missing, which were named already.
    Incomplete(usize),
    /// A program could not be started or ended with a failure. The text names both.
    Command(String),
    /// A file or folder could not be read or written. The text names it.
    File(String),
}

/// A piece that is not there (or not as it has to be), with the way to get it.
#[derive(Debug)]
pub struct Missing {
    /// One sentence without a full stop: what is missing, and what was found instead.
    pub what: String,
    /// How to install it.
    pub fix: Fix,
}

/// The way to get a missing piece. What is shown to a person is what the task runs itself.
#[derive(Debug)]
pub enum Fix {
    /// A command the task may run as the present user.
    Run(Vec<String>),
    /// A command that changes the system: run when root, shown otherwise.
    RunAsRoot(Vec<String>),
    /// Nothing to run: an instruction.
    Tell(String),
}

impl Fix {
    /// A command for the present user, from its words.
    pub fn run<const N: usize>(words: [&str; N]) -> Self {
        Self::Run(words.map(String::from).to_vec())
    }

    /// A command for root, from its words.
    pub fn run_as_root<const N: usize>(words: [&str; N]) -> Self {
        Self::RunAsRoot(words.map(String::from).to_vec())
    }
}

impl Failure {
    /// A failure to read or write `path` while `doing` (an infinitive: "read", "create").
    pub fn file(doing: &str, path: &Path, error: &io::Error) -> Self {
        Self::File(format!("cannot {doing} {}: {error}", path.display()))
    }

    /// 2 where the user has to change something before trying again, 1 where the work itself failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Missing(_) | Self::Install(..) | Self::Incomplete(_) => 2,
            Self::Command(_) | Self::File(_) => 1,
        }
    }
}

impl From<Missing> for Failure {
    fn from(missing: Missing) -> Self {
        Self::Missing(missing)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Usage(text) | Self::Command(text) | Self::File(text) => f.write_str(text),
            Self::Incomplete(1) => f.write_str("one piece is missing, see above"),
            Self::Incomplete(count) => write!(f, "{count} pieces are missing, see above"),
            Self::Missing(missing) => write!(f, "{missing}"),
            Self::Install(missing, why) => write!(f, "{missing}\n  tried that here: {why}"),
        }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lead = if matches!(self.fix, Fix::Tell(_)) { "what to do" } else { "to install it" };
        write!(f, "{}\n  {lead}: {}", self.what, self.fix)
    }
}

impl fmt::Display for Fix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RunAsRoot(words) if !system::is_root() => write!(f, "sudo {}", words.join(" ")),
            Self::Run(words) | Self::RunAsRoot(words) => f.write_str(&words.join(" ")),
            Self::Tell(text) => f.write_str(text),
        }
    }
}
