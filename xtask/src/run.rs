//! `cargo xtask run`: builds the agent and becomes it.

use std::env;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use crate::build;
use crate::failure::{Failure, Fix, Missing};
use crate::process;
use crate::system;
use crate::toolchain::Toolchain;
use crate::workspace;

/// Variables the agent looks at, which sudo by itself drops.
const KEPT: [&str; 2] = ["MCPWATCH_LOG", "NO_COLOR"];

pub fn run(arguments: &[String]) -> Result<(), Failure> {
    let toolchain = Toolchain::ensure()?;
    let sudo = if system::is_root() { None } else { Some(find_sudo("watching the kernel")?) };

    build::release(&toolchain)?;

    let agent = workspace::agent("release");
    let mut command = match sudo {
        None => Command::new(agent),
        Some(sudo) => {
            let mut command = Command::new(sudo);
            command.args(["--", "env"]);
            command.args(
                KEPT.iter().filter_map(|name| Some(format!("{name}={}", env::var(name).ok()?))),
            );
            command.arg(agent);
            command
        }
    };
    command.arg("run");
    if !arguments.iter().any(|word| word == "--format" || word.starts_with("--format=")) {
        command.args(["--format", "pretty"]);
    }
    command.args(arguments);
    // Replaces this process, so that signals and the exit code are the agent's own.
    let error = command.exec();
    Err(process::not_started(&command, &error))
}

/// Where sudo is, for a user who is not root and wants to do `what`.
pub fn find_sudo(what: &str) -> Result<std::path::PathBuf, Missing> {
    process::find_program("sudo").ok_or_else(|| Missing {
        what: format!("{what} needs root, and there is no `sudo` here"),
        fix: Fix::Tell("run this again as root".into()),
    })
}
