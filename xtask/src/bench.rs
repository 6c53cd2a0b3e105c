//! `cargo xtask bench`: what watching costs, measured against the budgets.

use crate::build;
use crate::failure::{Failure, Fix, Missing};
use crate::process::{self, Step};
use crate::system;
use crate::toolchain::Toolchain;
use crate::workspace;

pub fn bench(arguments: &[String]) -> Result<(), Failure> {
    if !system::is_root() {
        return Err(Missing {
            what: "the bench loads kernel programs, which needs root".into(),
            fix: Fix::Tell("run this again as root".into()),
        }
        .into());
    }
    let toolchain = Toolchain::ensure()?;

    build::release(&toolchain)?;
    let step = Step::start("Building the bench");
    process::run(toolchain.cargo().args([
        "build",
        "--release",
        "--package=mcpwatch-tests",
        // The bench, and the programs it measures with.
        "--bins",
    ]))?;
    step.done();

    process::run(
        toolchain
            .cargo()
            .args(["run", "--quiet", "--release", "--package=mcpwatch-tests", "--bin=bench", "--"])
            .args(arguments)
            .env("MCPWATCH_BIN", workspace::agent("release")),
    )
}
