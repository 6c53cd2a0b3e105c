//! What builds the kernel object: a fitting nightly, the source of `core`, and bpf-linker.

use std::env;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Fix, Missing};
use crate::process;
use crate::system;
use crate::workspace;

/// The bpf-linker we build with. Later versions need a system LLVM 23; this one uses the LLVM of the
/// nightly toolchain itself.
pub const LINKER_VERSION: &str = "0.10.4";

/// The LLVM that [`LINKER_VERSION`] is written against (its default feature `rust-llvm-22`). It loads
/// the library of the toolchain that calls it, so the nightly has to have this major version.
pub const LLVM_MAJOR: u32 = 22;

/// Installed when no nightly that is already here fits: the one this project is built with every day.
pub const PINNED_NIGHTLY: &str = "nightly-2026-05-20";

/// The cargo-fuzz that `cargo xtask fuzz` uses.
pub const FUZZ_VERSION: &str = "0.13.2";

/// Outweighs `CARGO_TERM_QUIET`, which is meant for the cargo inside the build script: aya-build shows
/// each line of its progress as a warning, again whenever anything is built.
const LOUD: [&str; 2] = ["--config", "term.quiet=false"];

/// The pieces, found.
pub struct Toolchain {
    nightly: Nightly,
    linker: PathBuf,
}

/// An installed nightly that fits the linker.
pub struct Nightly {
    /// What rustup calls it.
    pub name: String,
    /// The first line of its `rustc -vV`.
    pub version: String,
}

impl Toolchain {
    /// Finds every piece, installing what is missing.
    pub fn ensure() -> Result<Self, Failure> {
        let nightly = system::ensure(find_nightly)?;
        system::ensure(|| find_core_source(&nightly))?;
        let linker = system::ensure(|| find_linker(&nightly.name))?;
        Ok(Self { nightly, linker })
    }

    /// The nightly that builds the kernel object.
    pub fn nightly(&self) -> &Nightly {
        &self.nightly
    }

    /// Cargo of the toolchain the user called us with, in an environment in which the build script of
    /// the agent finds the pieces.
    pub fn cargo(&self) -> Command {
        let mut command = self.prepared("cargo");
        command.args(LOUD);
        command
    }

    /// Cargo of the nightly, in the same environment.
    pub fn nightly_cargo(&self) -> Command {
        let mut command = self.prepared("rustup");
        command.args(["run", &self.nightly.name, "cargo"]).args(LOUD);
        command
    }

    /// A program that calls cargo itself, and is to get that of the nightly.
    pub fn with_nightly(&self, program: &Path) -> Command {
        let mut command = self.prepared("rustup");
        command.args(["run", &self.nightly.name]).arg(program).env_remove("CARGO_TERM_QUIET");
        command
    }

    fn prepared(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.current_dir(workspace::root()).env("PATH", path_with(self.linker.parent()));
        command.env("CARGO_TERM_QUIET", "true");
        // The build script's own choice is left unsaid: a variable that comes and goes would have the
        // agent built anew whenever `cargo build` and `cargo xtask` take turns.
        if self.nightly.name != "nightly" {
            command.env("MCPWATCH_NIGHTLY", &self.nightly.name);
        }
        command
    }
}

/// `PATH` with `first` in front and the folders of system programs (`ip`) behind.
pub fn path_with(first: Option<&Path>) -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = first
        .map(Path::to_path_buf)
        .into_iter()
        .chain(env::split_paths(&path))
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from));
    // Joining fails only for a folder with a colon in its name, which PATH cannot express anyway.
    env::join_paths(folders).unwrap_or(path)
}

/// An installed nightly with the linker's LLVM: the one `MCPWATCH_NIGHTLY` names, else any, the pinned
/// one first.
pub fn find_nightly() -> Result<Nightly, Missing> {
    let Some(listed) = process::output(Command::new("rustup").args(["toolchain", "list"])) else {
        return Err(Missing {
            what: "rustup does not answer; the kernel object needs its nightly toolchains".into(),
            fix: Fix::Tell("see https://rustup.rs".into()),
        });
    };
    let unfit = |what: String| Missing {
        what,
        fix: Fix::run([
            "rustup",
            "toolchain",
            "install",
            PINNED_NIGHTLY,
            "--profile=minimal",
            "--component=rust-src,clippy",
        ]),
    };
    if let Ok(wanted) = env::var("MCPWATCH_NIGHTLY") {
        return fitting(&wanted).map_err(|why| Missing {
            what: format!("MCPWATCH_NIGHTLY names `{wanted}`, but {why}"),
            fix: Fix::Tell(format!(
                "unset MCPWATCH_NIGHTLY, or name an installed nightly with LLVM {LLVM_MAJOR}"
            )),
        });
    }
    let mut refused = Vec::new();
    for name in in_order_of_preference(&listed) {
        match fitting(&name) {
            Ok(nightly) => return Ok(nightly),
            Err(why) => refused.push(format!("`{name}`: {why}")),
        }
    }
    let tried = if refused.is_empty() { "none is".into() } else { refused.join("; ") };
    Err(unfit(format!("a nightly toolchain with LLVM {LLVM_MAJOR} is needed ({tried})")))
}

/// The toolchain of this name, or why it does not fit, as the end of a sentence.
fn fitting(name: &str) -> Result<Nightly, String> {
    let mut rustc = Command::new("rustup");
    // Without this, newer versions of rustup fetch a toolchain they are merely asked about.
    rustc.args(["run", name, "rustc", "-vV"]).env("RUSTUP_AUTO_INSTALL", "0");
    let text = process::output(&mut rustc).ok_or("it is not installed")?;
    if !is_nightly(&text) {
        return Err("it is not a nightly".into());
    }
    match llvm_major(&text) {
        Some(LLVM_MAJOR) => Ok(Nightly {
            name: without_host(name, field(&text, "host:").unwrap_or_default()).into(),
            version: text.lines().next().unwrap_or_default().into(),
        }),
        Some(other) => Err(format!("it has LLVM {other}")),
        None => Err("it does not name its LLVM".into()),
    }
}

/// Names of toolchains that may be nightlies, from `rustup toolchain list`: the pinned one, those that
/// say "nightly", then those with names of the user's own.
fn in_order_of_preference(listed: &str) -> Vec<String> {
    let mut names: Vec<String> =
        listed.lines().filter_map(|line| line.split_whitespace().next()).map(Into::into).collect();
    names.retain(|name| !name.starts_with(|first: char| first.is_ascii_digit()));
    names.retain(|name| !name.starts_with("stable") && !name.starts_with("beta"));
    names.sort_by_key(|name| (!name.starts_with(PINNED_NIGHTLY), !name.starts_with("nightly")));
    names
}

/// `nightly` for `nightly-x86_64-unknown-linux-gnu`, as people (and our build script) call it.
fn without_host<'a>(name: &'a str, host: &str) -> &'a str {
    name.strip_suffix(host).and_then(|name| name.strip_suffix('-')).unwrap_or(name)
}

/// Whether `rustc -vV` speaks of a compiler with unstable features.
fn is_nightly(verbose_version: &str) -> bool {
    field(verbose_version, "release:")
        .is_some_and(|release| release.ends_with("-nightly") || release.ends_with("-dev"))
}

/// The major version of LLVM that `rustc -vV` names.
fn llvm_major(verbose_version: &str) -> Option<u32> {
    field(verbose_version, "LLVM version:")?.split('.').next()?.parse().ok()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim)
}

/// The source of `core`, which `-Z build-std` compiles for the BPF target: its folder.
pub fn find_core_source(nightly: &Nightly) -> Result<PathBuf, Missing> {
    let sysroot = process::output(Command::new("rustup").args([
        "run",
        &nightly.name,
        "rustc",
        "--print",
        "sysroot",
    ]));
    sysroot
        .map(|sysroot| Path::new(&sysroot).join("lib/rustlib/src/rust/library/core"))
        .filter(|source| source.is_dir())
        .ok_or_else(|| component("rust-src", &nightly.name))
}

/// Clippy of the nightly, for the kernel crate: its version.
pub fn find_nightly_clippy(nightly: &Nightly) -> Result<String, Missing> {
    let mut clippy = Command::new("rustup");
    clippy.args(["run", &nightly.name, "cargo", "clippy", "--version"]);
    process::output(&mut clippy).ok_or_else(|| component("clippy", &nightly.name))
}

/// What [`Toolchain::cargo`] needs to check the crates of userspace: components, and what each is to cargo.
pub const CHECKS: [(&str, &str); 2] = [("rustfmt", "fmt"), ("clippy", "clippy")];

/// A component of [`CHECKS`] of the toolchain the user called us with: its version.
pub fn find_check((component, subcommand): (&str, &str)) -> Result<String, Missing> {
    let version = process::output(Command::new("cargo").args([subcommand, "--version"]));
    version.ok_or_else(|| Missing {
        what: format!("the toolchain in use lacks its component {component}"),
        // Without a name it is the toolchain in use here, too: cargo's proxy hands it on in RUSTUP_TOOLCHAIN.
        fix: Fix::run(["rustup", "component", "add", component]),
    })
}

fn component(component: &str, toolchain: &str) -> Missing {
    Missing {
        what: format!("the toolchain `{toolchain}` lacks its component {component}"),
        fix: Fix::run(["rustup", "component", "add", component, "--toolchain", toolchain]),
    }
}

/// The bpf-linker of [`LINKER_VERSION`]: on `PATH`, else in our cache folder.
pub fn find_linker(nightly: &str) -> Result<PathBuf, Missing> {
    let cache = cache(&format!("bpf-linker-{LINKER_VERSION}"));
    let candidates =
        process::find_program("bpf-linker").into_iter().chain([cache.join("bin/bpf-linker")]);
    let wanted = format!("bpf-linker {LINKER_VERSION}");
    let mut others = Vec::new();
    for path in candidates {
        match process::output(Command::new(&path).arg("--version")) {
            Some(version) if version == wanted => return Ok(path),
            Some(version) => others.push(format!("; {} is {version}", path.display())),
            None => {}
        }
    }
    Err(Missing {
        what: format!("{wanted} is needed to link the kernel object{}", others.concat()),
        // --locked: the very dependencies its authors released it with.
        fix: Fix::Run(vec![
            "rustup".into(),
            "run".into(),
            nightly.into(),
            "cargo".into(),
            "install".into(),
            "bpf-linker".into(),
            "--locked".into(),
            "--version".into(),
            LINKER_VERSION.into(),
            "--root".into(),
            cache.display().to_string(),
        ]),
    })
}

/// The cargo-fuzz of [`FUZZ_VERSION`]: on `PATH`, else in our cache folder.
pub fn find_cargo_fuzz() -> Result<PathBuf, Missing> {
    let cache = cache(&format!("cargo-fuzz-{FUZZ_VERSION}"));
    let candidates =
        process::find_program("cargo-fuzz").into_iter().chain([cache.join("bin/cargo-fuzz")]);
    let wanted = format!("cargo-fuzz {FUZZ_VERSION}");
    for path in candidates {
        let version = process::output(Command::new(&path).args(["fuzz", "--version"]));
        if version.is_some_and(|version| version == wanted) {
            return Ok(path);
        }
    }
    Err(Missing {
        what: format!("{wanted} is needed to run the fuzz targets"),
        fix: Fix::Run(vec![
            "cargo".into(),
            "install".into(),
            "cargo-fuzz".into(),
            "--locked".into(),
            "--version".into(),
            FUZZ_VERSION.into(),
            "--root".into(),
            cache.display().to_string(),
        ]),
    })
}

/// Where a tool of our own is kept, so that every checkout and every clean build shares it.
fn cache(tool: &str) -> PathBuf {
    workspace::cache().join(tool)
}

#[cfg(test)]
mod tests {
    use super::*;

    const VERBOSE: &str = "rustc 1.97.0-nightly (e50aa6fba 2026-05-19)\nbinary: rustc\n\
        commit-hash: e50aa6fba4e63ab34c72bf9acfd2c307c1155d1a\ncommit-date: 2026-05-19\n\
        host: x86_64-unknown-linux-gnu\nrelease: 1.97.0-nightly\nLLVM version: 22.1.4\n";

    #[test]
    fn the_llvm_of_a_compiler_is_read_from_its_verbose_version() {
        assert_eq!(llvm_major(VERBOSE), Some(22));
        assert_eq!(llvm_major("rustc 1.97.0\nrelease: 1.97.0\n"), None);
    }

    #[test]
    fn toolchains_are_named_without_the_host() {
        let host = "x86_64-unknown-linux-gnu";
        assert_eq!(without_host("nightly-x86_64-unknown-linux-gnu", host), "nightly");
        assert_eq!(without_host("mine", host), "mine");
        assert_eq!(without_host("mine", ""), "mine");
    }

    #[test]
    fn only_compilers_with_unstable_features_count_as_nightlies() {
        assert!(is_nightly(VERBOSE));
        assert!(is_nightly("release: 1.99.0-dev\n"));
        assert!(!is_nightly("release: 1.95.0\n"));
        assert!(!is_nightly("release: 1.96.0-beta.3\n"));
        assert!(!is_nightly(""));
    }

    #[test]
    fn the_pinned_nightly_is_tried_first_and_releases_never() {
        let pinned = format!("{PINNED_NIGHTLY}-x86_64-unknown-linux-gnu");
        let listed = format!(
            "stable-x86_64-unknown-linux-gnu (active, default)\nmine\n\
             nightly-x86_64-unknown-linux-gnu\n1.95.0-x86_64-unknown-linux-gnu\n{pinned}\n"
        );
        assert_eq!(
            in_order_of_preference(&listed),
            [pinned.as_str(), "nightly-x86_64-unknown-linux-gnu", "mine"]
        );
    }

    #[test]
    fn a_missing_check_is_named_with_the_command_that_installs_it() {
        let missing = find_check(("clippy", "no-such-subcommand")).unwrap_err();
        let text = missing.to_string();
        assert!(text.contains("lacks its component clippy"), "{text}");
        assert!(text.ends_with("to install it: rustup component add clippy"), "{text}");
    }

    #[test]
    fn no_toolchains_at_all_is_an_empty_choice() {
        assert!(
            in_order_of_preference("no installed toolchains\n").iter().all(|name| name == "no")
        );
    }
}
