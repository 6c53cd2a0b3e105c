//! The command line: one file per command.

pub mod doctor;
pub mod replay;
pub mod rules;
pub mod run;
pub mod servers;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::config::{Config, SettingsError};
use crate::detect::{self, DetectError};
use crate::kernel::KernelError;
use crate::redact::RedactError;

/// The command failed while running.
const FAILED: u8 = 1;
/// The arguments or settings are wrong.
const USAGE: u8 = 2;
/// The host cannot be watched.
const CANNOT_WATCH: u8 = 3;

/// A runtime monitor for MCP servers: sees what they are asked and what they do, and joins the two
#[derive(Debug, Parser)]
#[command(name = "mcpwatch", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Watch the MCP servers of this host
    Run(run::Args),
    /// Show what would be watched now, and on what evidence (needs neither root nor BPF)
    Servers(servers::Args),
    /// Show what this kernel allows, hook by hook, and what is lost without it
    Doctor(doctor::Args),
    /// Feed a recording through the same pipeline
    Replay(replay::Args),
    /// List, check and explain the rules
    Rules(rules::Args),
}

/// The arguments cannot be used; the message says which and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub String);

/// Runs the command the arguments name.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match &arguments.command {
        Command::Run(args) => run::run(args),
        Command::Servers(args) => servers::run(args, &rule_ids()),
        Command::Doctor(args) => doctor::run(args),
        Command::Replay(args) => replay::run(args),
        Command::Rules(args) => rules::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mcpwatch: {error:#}");
            ExitCode::from(exit_code(&error))
        }
    }
}

fn exit_code(error: &anyhow::Error) -> u8 {
    let is_settings = |cause: &(dyn std::error::Error + 'static)| {
        cause.is::<SettingsError>()
            || cause.is::<UsageError>()
            || cause.is::<DetectError>()
            || cause.is::<RedactError>()
    };
    if error.chain().any(<dyn std::error::Error>::is::<KernelError>) {
        CANNOT_WATCH
    } else if error.chain().any(is_settings) {
        USAGE
    } else {
        FAILED
    }
}

/// The ids of all rules: what the settings may name.
#[must_use]
pub fn rule_ids() -> Vec<&'static str> {
    detect::ids()
}

/// Reads the settings file.
fn settings(path: Option<&std::path::Path>) -> anyhow::Result<Config> {
    Ok(Config::load(path, &rule_ids())?)
}

#[cfg(test)]
mod deploy_tests;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        use clap::CommandFactory;
        Arguments::command().debug_assert();
    }

    #[test]
    fn exit_codes_are_those_of_the_contract() {
        let kernel = anyhow::Error::new(KernelError::TooOld { release: "4.4".into() });
        assert_eq!(exit_code(&kernel.context("while loading")), 3);
        assert_eq!(exit_code(&anyhow::Error::new(UsageError("x".into()))), 2);
        assert_eq!(exit_code(&anyhow::anyhow!("disk on fire")), 1);
    }
}
