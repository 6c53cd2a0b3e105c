//! `cargo xtask doctor`: what building, running and testing needs, found or missing. Installs nothing.

use std::process::Command;

use crate::failure::{Failure, Fix, Missing};
use crate::process;
use crate::run::find_sudo;
use crate::system;
use crate::test_deps;
use crate::toolchain;
use crate::workspace;

/// One line of the result: a piece, and what was found of it.
type Finding = (String, Result<String, Missing>);

pub fn doctor(_: &[String]) -> Result<(), Failure> {
    let mut missing = 0;
    for (title, findings) in [
        ("To build", to_build()),
        ("To run, and for end-to-end tests", vec![("root".into(), root())]),
        ("To test", to_test()),
    ] {
        println!("{title}");
        for (piece, found) in findings {
            match found {
                Ok(text) => println!("  ok       {piece:<12} {text}"),
                Err(problem) => {
                    missing += 1;
                    println!("  missing  {piece:<12} {}", problem.what);
                    println!("           {:<12} {}", "", how(&problem.fix));
                }
            }
        }
    }
    println!("\nWhat the running kernel allows is shown by `mcpwatch doctor`.");
    if missing == 0 {
        return Ok(());
    }
    Err(Failure::Incomplete(missing))
}

fn how(fix: &Fix) -> String {
    match fix {
        Fix::Run(_) => format!("the tasks that need it run: {fix}"),
        Fix::RunAsRoot(_) if system::is_root() => format!("the tasks that need it run: {fix}"),
        Fix::RunAsRoot(_) => format!("to install it: {fix}"),
        Fix::Tell(_) => fix.to_string(),
    }
}

fn to_build() -> Vec<Finding> {
    let stable = process::output(Command::new("rustc").arg("-V")).ok_or_else(|| Missing {
        what: "no `rustc` on PATH".into(),
        fix: Fix::Tell("see https://rustup.rs".into()),
    });
    let mut findings = vec![("rustc".into(), stable)];
    findings.extend(
        toolchain::CHECKS.map(|check| (format!("cargo {}", check.1), toolchain::find_check(check))),
    );
    match toolchain::find_nightly() {
        Err(problem) => findings.push(("nightly".into(), Err(problem))),
        Ok(nightly) => {
            let source =
                toolchain::find_core_source(&nightly).map(|path| path.display().to_string());
            let clippy = toolchain::find_nightly_clippy(&nightly);
            let linker = toolchain::find_linker(&nightly.name)
                .map(|path| format!("{} (LLVM {})", path.display(), toolchain::LLVM_MAJOR));
            let found = format!("{} ({})", nightly.version, nightly.name);
            findings.push(("nightly".into(), Ok(found)));
            findings.push(("rust-src".into(), source));
            findings.push(("clippy".into(), clippy));
            findings.push(("bpf-linker".into(), linker));
        }
    }
    findings
}

fn root() -> Result<String, Missing> {
    if system::is_root() {
        return Ok("this is root".into());
    }
    find_sudo("watching the kernel").map(|path| path.display().to_string())
}

fn to_test() -> Vec<Finding> {
    let programs = test_deps::PROGRAMS.iter().map(|(program, package)| {
        let found = test_deps::find_program(program, package);
        ((*program).into(), found.map(|path| path.display().to_string()))
    });
    let venv = test_deps::find_venv().map(|()| "can be made".into());
    let folder = workspace::test_deps();
    let sets = test_deps::SETS.iter().map(|set| {
        let found = if set.is_current(&folder) {
            Ok(format!("{} in {}", set.content, folder.join(set.name).display()))
        } else {
            Err(Missing {
                what: format!("{}, as of the present manifests", set.content),
                fix: Fix::Tell("`cargo xtask test` installs it".into()),
            })
        };
        (set.name.into(), found)
    });
    programs.chain([("venv".into(), venv)]).chain(sets).collect()
}
