//! The command line: one file per command.

pub mod servers;

use std::process::ExitCode;

/// Runs the command the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
