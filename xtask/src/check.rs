//! `cargo xtask check`: formatting, lints and documentation of every crate.

use std::env::consts::ARCH;

use crate::failure::Failure;
use crate::process::{self, Step};
use crate::system;
use crate::toolchain::{self, Toolchain};
use crate::workspace;

pub fn check(_: &[String]) -> Result<(), Failure> {
    let toolchain = Toolchain::ensure()?;
    let nightly = toolchain.nightly();
    system::ensure(|| toolchain::find_nightly_clippy(nightly))?;
    for check in toolchain::CHECKS {
        system::ensure(|| toolchain::find_check(check))?;
    }

    let step = Step::start("Formatting");
    process::run(toolchain.cargo().args(["fmt", "--all", "--check"]))?;
    // Not in the workspace, see its Cargo.toml.
    process::run(toolchain.cargo().args(["fmt", "--manifest-path=fuzz/Cargo.toml", "--check"]))?;
    step.done();

    let step = Step::start("Lints");
    process::run(
        toolchain
            .cargo()
            .args(["clippy", "--workspace", "--exclude=mcpwatch-ebpf", "--all-targets"])
            .args(["--", "-D", "warnings"]),
    )?;
    step.done();

    let step = Step::start("Lints of the kernel programs");
    process::run(
        toolchain
            .nightly_cargo()
            .args(["clippy", "--package=mcpwatch-ebpf", "--release"])
            .args(["--target=bpfel-unknown-none", "-Zbuild-std=core"])
            // A folder of its own: the flags below would have cargo build everything anew each time.
            .arg("--target-dir")
            .arg(workspace::target().join("kernel-lints"))
            .args(["--", "-D", "warnings"])
            // What aya-build sets when it builds the object.
            .env("CARGO_ENCODED_RUSTFLAGS", format!("--cfg=bpf_target_arch=\"{ARCH}\"")),
    )?;
    step.done();

    let step = Step::start("Documentation");
    process::run(
        toolchain
            .cargo()
            .args(["doc", "--workspace", "--exclude=mcpwatch-ebpf", "--no-deps"])
            .env("RUSTDOCFLAGS", "-D warnings"),
    )?;
    step.done();
    Ok(())
}
