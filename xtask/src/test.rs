//! `cargo xtask test`: every test there is, with everything it needs installed first.

use std::env;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::thread;

use crate::failure::Failure;
use crate::process::{self, Step};
use crate::run::find_sudo;
use crate::system;
use crate::test_deps;
use crate::toolchain::{self, Toolchain};
use crate::vm;
use crate::workspace;

/// At most this many end-to-end tests at once, and half as many as there are processors: each has an agent,
/// a client and servers of its own, and some of them hold the agent to deadlines.
const END_TO_END_THREADS: usize = 4;

/// The packages whose tests need neither root nor anything from outside.
const UNIT_PACKAGES: [&str; 3] =
    ["--workspace", "--exclude=mcpwatch-ebpf", "--exclude=mcpwatch-tests"];

pub fn test(arguments: &[String]) -> Result<(), Failure> {
    let unit_only = arguments.iter().any(|word| word == "--unit");
    let passed_on: Vec<&String> = arguments.iter().filter(|word| *word != "--unit").collect();

    // Asked for first: what is going to be missing at the end is better known at the beginning.
    let toolchain = Toolchain::ensure()?;
    let end_to_end = if unit_only { None } else { Some(EndToEnd::prepare()?) };
    // The matrix has no tests to choose from.
    let matrix = !unit_only && passed_on.is_empty();
    if matrix {
        vm::ensure()?;
    }

    let step = Step::start("Building the agent, its kernel object and the unit tests");
    // All targets, so that agent and tests share one build of every dependency: cargo would choose
    // other features for the agent alone, and compile most of them a second time.
    process::run(toolchain.cargo().arg("build").args(UNIT_PACKAGES).arg("--all-targets"))?;
    step.done();

    let step = Step::start("Unit and replay tests");
    process::run(
        toolchain
            .cargo()
            .args(["test", "--no-fail-fast"])
            .args(UNIT_PACKAGES)
            .arg("--")
            .args(&passed_on),
    )?;
    step.done();

    // It goes on until the matrix waits for it, and ends with this function.
    let _ahead = matrix.then(|| vm::build_ahead(&toolchain)).flatten();
    if let Some(end_to_end) = end_to_end {
        end_to_end.run(&toolchain, &passed_on)?;
    }
    if matrix {
        vm::matrix(&toolchain)?;
    }
    Ok(())
}

/// The environment of the end-to-end tests.
struct EndToEnd {
    /// Set for the tests on top of what they inherit.
    variables: Vec<(&'static str, OsString)>,
    /// What makes the tests root, when we are not.
    sudo: Option<std::path::PathBuf>,
}

impl EndToEnd {
    fn prepare() -> Result<Self, Failure> {
        let sudo = if system::is_root() {
            None
        } else {
            Some(find_sudo("running the end-to-end tests (`--unit` leaves them out)")?)
        };
        let variables = vec![
            ("MCPWATCH_TEST_DEPS", test_deps::ensure()?.into()),
            ("MCPWATCH_BIN", workspace::agent("debug").into()),
            // Some tests call `ip`, which an ordinary user's PATH does not have on Debian.
            ("PATH", toolchain::path_with(None)),
        ];
        Ok(Self { variables, sudo })
    }

    fn run(&self, toolchain: &Toolchain, passed_on: &[&String]) -> Result<(), Failure> {
        let step = Step::start("End-to-end tests (real kernel, real MCP servers)");
        let threads = thread::available_parallelism().map_or(1, usize::from) / 2;
        let threads = threads.clamp(1, END_TO_END_THREADS);
        let mut command = toolchain.cargo();
        command.args(["test", "--no-fail-fast", "--package", "mcpwatch-tests"]);
        self.give_environment(&mut command);
        command.args(["--", "--test-threads"]).arg(threads.to_string()).args(passed_on);
        process::run(&mut command)?;
        step.done();
        Ok(())
    }

    fn give_environment(&self, cargo: &mut Command) {
        // Cargo itself keeps the PATH it was given, which has the linker in front.
        let for_cargo = self.variables.iter().filter(|(name, _)| *name != "PATH");
        cargo.envs(for_cargo.map(|(name, value)| (name, value)));
        if let Some(sudo) = &self.sudo {
            cargo.arg("--config").arg(self.runner(sudo));
        }
    }

    /// The setting that has cargo start the test programs, and only them, through sudo. `env` carries
    /// the variables across, because sudo by itself drops them.
    fn runner(&self, sudo: &Path) -> String {
        let inherited = ["HOME", "RUST_BACKTRACE", "RUST_LOG"]
            .into_iter()
            .filter_map(|name| env::var_os(name).map(|value| (name, value)));
        let variables = self.variables.iter().cloned().chain(inherited);
        let mut words = vec![sudo.display().to_string(), "--".into(), "env".into()];
        words.extend(variables.map(|(name, value)| format!("{name}={}", value.display())));
        // Rust quotes strings as TOML does, but for control characters, which have no place here.
        format!("target.'cfg(all())'.runner={words:?}")
    }
}
