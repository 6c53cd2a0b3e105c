//! `cargo xtask bench`: what watching costs, measured against the budgets; and `cargo xtask soak`.

use crate::build;
use crate::failure::{Failure, Fix, Missing};
use crate::process::{self, Step};
use crate::system;
use crate::toolchain::Toolchain;
use crate::workspace;

/// How long the soak takes, unless it is said.
const SOAK_MINUTES: u64 = 60;

pub fn bench(arguments: &[String]) -> Result<(), Failure> {
    measure("bench", arguments)
}

/// `cargo xtask soak`: a steady mixed load for a long time.
pub fn soak(arguments: &[String]) -> Result<(), Failure> {
    let minutes: u64 = match arguments {
        [] => SOAK_MINUTES,
        [option, number] if option == "--minutes" => number
            .parse()
            .ok()
            .filter(|minutes| *minutes > 0)
            .ok_or_else(|| Failure::Usage("`--minutes` wants a number".into()))?,
        _ => return Err(Failure::Usage("usage: cargo xtask soak [--minutes N]".into())),
    };
    measure("soak", &[(60 * minutes).to_string()])
}

/// Builds the agent and the programs of the tests as they are shipped, and runs one of them.
fn measure(program: &str, arguments: &[String]) -> Result<(), Failure> {
    if !system::is_root() {
        return Err(Missing {
            what: format!("the {program} loads kernel programs, which needs root"),
            fix: Fix::Tell("run this again as root".into()),
        }
        .into());
    }
    let toolchain = Toolchain::ensure()?;

    build::release(&toolchain)?;
    let step = Step::start(format!("Building the {program}"));
    process::run(toolchain.cargo().args([
        "build",
        "--release",
        "--package=mcpwatch-tests",
        // The program, and those it makes load with.
        "--bins",
    ]))?;
    step.done();

    process::run(
        toolchain
            .cargo()
            .args(["run", "--quiet", "--release", "--package=mcpwatch-tests"])
            .arg(format!("--bin={program}"))
            .arg("--")
            .args(arguments)
            .env("MCPWATCH_BIN", workspace::agent("release")),
    )
}
