//! `cargo xtask build`: the agent as it is shipped.

use crate::failure::Failure;
use crate::process::{self, Step};
use crate::toolchain::Toolchain;
use crate::workspace;

pub fn build(_: &[String]) -> Result<(), Failure> {
    release(&Toolchain::ensure()?)?;
    println!("{}", workspace::agent("release").display());
    Ok(())
}

/// Builds the agent, with its kernel object inside, in the release profile.
pub fn release(toolchain: &Toolchain) -> Result<(), Failure> {
    let step = Step::start("Building the agent and its kernel object (minutes, the first time)");
    process::run(toolchain.cargo().args(["build", "--release", "--package=mcpwatch"]))?;
    step.done();
    Ok(())
}
