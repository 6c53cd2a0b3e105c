//! The command line: one file per command.

use std::process::ExitCode;

/// Runs the command the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
