//! `cargo xtask fuzz`: every target of `fuzz/` for a bounded time, from its seeds.

use std::fs;
use std::path::{Path, PathBuf};

use crate::failure::{Failure, Missing};
use crate::process::{self, Step};
use crate::system;
use crate::toolchain::{self, Toolchain};
use crate::workspace;

/// Time for each target, unless it is given.
const SECONDS: u64 = 60;
/// Longest input in bytes: what a kernel event can hold, and far more than any parser needs to go wrong.
const LONGEST: u32 = 64 << 10;
/// An input that takes longer is a hang, in seconds. Sanitizers make everything several times slower.
const HANG: u32 = 20;
/// Memory in MiB: the inputs are small and everything is bounded, the sanitizer takes the most of it.
const MEMORY: u32 = 2_048;

/// What was asked for.
struct Wanted {
    seconds: u64,
    target: Option<String>,
}

pub fn fuzz(arguments: &[String]) -> Result<(), Failure> {
    let targets = targets()?;
    let wanted = parse(arguments, &targets)?;
    let toolchain = Toolchain::ensure()?;
    system::ensure(find_cxx)?;
    let cargo_fuzz = system::ensure(toolchain::find_cargo_fuzz)?;

    let folder = workspace::target().join("fuzz");
    let command = |verb: &str| {
        let mut command = toolchain.with_nightly(&cargo_fuzz);
        command.args(["fuzz", verb, "--fuzz-dir=fuzz", "--target-dir"]).arg(&folder);
        command
    };
    let step = Step::start("Building the targets with sanitizers (minutes, the first time)");
    process::run(&mut command("build"))?;
    step.done();
    let made = folder.join("made-seeds");
    process::run(toolchain.with_nightly(&seeds_program(&folder)?).arg(&made))?;

    let mut broken = Vec::new();
    for target in
        targets.iter().filter(|name| wanted.target.as_ref().is_none_or(|one| one == *name))
    {
        let step = Step::start(format!("Fuzzing {target} for {} s", wanted.seconds));
        let [corpus, artifacts] =
            ["corpus", "artifacts"].map(|name| folder.join(name).join(target));
        for folder in [&corpus, &artifacts] {
            fs::create_dir_all(folder).map_err(|error| Failure::file("create", folder, &error))?;
        }
        // The first folder is added to, the others are read.
        let seeds = [workspace::root().join("fuzz/seeds").join(target), made.join(target)];
        let log = folder.join(format!("{target}.log"));
        let run = process::run_quietly(
            command("run")
                .arg(target)
                .arg(&corpus)
                .args(seeds.iter().filter(|folder| folder.is_dir()))
                .arg("--")
                .arg(format!("-max_total_time={}", wanted.seconds))
                .arg(format!("-max_len={LONGEST}"))
                .arg(format!("-timeout={HANG}"))
                .arg(format!("-rss_limit_mb={MEMORY}"))
                .arg(format!("-artifact_prefix={}/", artifacts.display()))
                .arg("-print_final_stats=1"),
            &log,
        );
        // One that breaks does not spare the others.
        if let Err(why) = run {
            eprintln!("    {target} broke: {}", artifacts.display());
            broken.push(why);
        }
        if let Some(told) = told(&log) {
            eprintln!("    {told}");
        }
        step.done();
    }
    broken.pop().map_or(Ok(()), Err)
}

fn parse(arguments: &[String], targets: &[String]) -> Result<Wanted, Failure> {
    let mut wanted = Wanted { seconds: SECONDS, target: None };
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        if word == "--seconds" {
            let number = words.next().and_then(|number| number.parse().ok());
            wanted.seconds = number
                .filter(|seconds| *seconds > 0)
                .ok_or_else(|| Failure::Usage("`--seconds` wants a number".into()))?;
        } else if targets.contains(word) && wanted.target.is_none() {
            wanted.target = Some(word.clone());
        } else {
            let all = targets.join(", ");
            return Err(Failure::Usage(format!("`{word}` is no target; there are {all}")));
        }
    }
    Ok(wanted)
}

/// The targets there are, by their programs.
fn targets() -> Result<Vec<String>, Failure> {
    let folder = workspace::root().join("fuzz/fuzz_targets");
    let entries = fs::read_dir(&folder).map_err(|error| Failure::file("read", &folder, &error))?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| Some(entry.path().file_stem()?.to_str()?.to_owned()))
        .collect();
    names.sort();
    Ok(names)
}

/// libFuzzer is C++ and built along.
fn find_cxx() -> Result<PathBuf, Missing> {
    process::find_program("c++").ok_or_else(|| Missing {
        what: "a C++ compiler is needed to build libFuzzer".into(),
        fix: system::package_fix("g++"),
    })
}

/// The program that writes the seeds which are made by code.
fn seeds_program(folder: &Path) -> Result<PathBuf, Failure> {
    let entries = fs::read_dir(folder).map_err(|error| Failure::file("read", folder, &error))?;
    entries
        .flatten()
        .map(|entry| entry.path().join("release/seeds"))
        .find(|path| process::is_executable(path))
        .ok_or_else(|| Failure::Command("cargo fuzz built no program `seeds`".into()))
}

/// What libFuzzer did, from its last lines.
fn told(log: &Path) -> Option<String> {
    let text = fs::read(log).ok()?;
    let text = String::from_utf8_lossy(&text);
    let runs = text.lines().rev().find(|line| line.starts_with("Done "))?;
    let progress = text.lines().rev().find(|line| line.contains(" cov: "))?;
    let (_, covered) = progress.split_once(" cov: ")?;
    let covered: Vec<&str> = covered.split_whitespace().take(7).collect();
    Some(format!("{runs}; coverage {}", covered.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn what_is_to_be_fuzzed() {
        let targets = words("lines host");
        let wanted = parse(&words("--seconds 5 host"), &targets).unwrap();
        assert_eq!((wanted.seconds, wanted.target.as_deref()), (5, Some("host")));
        assert_eq!(parse(&[], &targets).unwrap().seconds, SECONDS);
        for line in ["--seconds", "--seconds 0", "--seconds x", "nothing", "host lines"] {
            assert_eq!(parse(&words(line), &targets).map(|_| ()).unwrap_err().exit_code(), 2);
        }
    }

    #[test]
    fn every_target_has_seeds_of_its_own_or_made_ones() {
        let made = ["events", "host", "recordings"];
        for target in targets().unwrap() {
            let seeds = workspace::root().join("fuzz/seeds").join(&target);
            assert!(seeds.is_dir() || made.contains(&target.as_str()), "{target}");
        }
    }
}
