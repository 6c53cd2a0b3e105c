//! The machine the tasks run on: who we are, and what its package manager can add.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::process::Command;

use crate::failure::{Failure, Fix, Missing};
use crate::process::{self, Step};

/// Whether this process may do everything (effective user 0).
pub fn is_root() -> bool {
    // The kernel gives /proc/self to the effective user; this spares a dependency on libc.
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// Whether the tools of Debian and its descendants are here.
pub fn has_apt() -> bool {
    ["apt-get", "apt-cache", "dpkg"].iter().all(|tool| process::find_program(tool).is_some())
}

/// The way to get a package that Debian calls `package`.
pub fn package_fix(package: &str) -> Fix {
    if has_apt() {
        Fix::run_as_root(["apt-get", "install", "-y", "--no-install-recommends", package])
    } else {
        Fix::Tell(format!("install the package that Debian calls `{package}`"))
    }
}

/// Fetches apt's lists when they do not know `package` (a fresh container has none).
pub fn refresh_apt_lists(package: &str) -> Result<(), Failure> {
    if process::output(Command::new("apt-cache").args(["show", package])).is_some() {
        return Ok(());
    }
    let update = || Missing {
        what: format!("apt does not know the package `{package}`; its lists may be empty"),
        fix: Fix::run_as_root(["apt-get", "update"]),
    };
    if !is_root() {
        return Err(update().into());
    }
    let step = Step::start("Fetching the package lists of apt");
    process::run(Command::new("apt-get").args(["-q", "update"]))
        .map_err(|why| Failure::Install(update(), Box::new(why)))?;
    step.done();
    Ok(())
}

/// What `find` finds; when that is missing and can be installed, installs it and looks again.
pub fn ensure<T>(find: impl Fn() -> Result<T, Missing>) -> Result<T, Failure> {
    let missing = match find() {
        Ok(found) => return Ok(found),
        Err(missing) => missing,
    };
    let installed = match &missing.fix {
        Fix::Tell(_) => return Err(missing.into()),
        Fix::RunAsRoot(_) if !is_root() => return Err(missing.into()),
        Fix::RunAsRoot(words) => words
            .last()
            .map_or(Ok(()), |package| refresh_apt_lists(package))
            .and_then(|()| install(&missing.what, words)),
        Fix::Run(words) => install(&missing.what, words),
    };
    if let Err(why) = installed {
        return Err(Failure::Install(missing, Box::new(why)));
    }
    Ok(find()?)
}

fn install(what: &str, words: &[String]) -> Result<(), Failure> {
    let Some((program, arguments)) = words.split_first() else { return Ok(()) };
    eprintln!("==> {what}");
    let step = Step::start(format!("Running `{}`", words.join(" ")));
    let mut command = Command::new(program);
    command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
    process::run(&mut command)?;
    step.done();
    Ok(())
}
