//! `cargo xtask vm`: the agent under real kernels, each booted in an emulated machine.
//!
//! The play of `tests/src/bin/guest` runs on this host first; then in each kernel, where its records have
//! to be the same. Nothing here needs hardware support for virtual machines.

mod archive;
mod kernels;
mod machine;
mod packages;
mod report;
mod tree;

use std::collections::VecDeque;
use std::env;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::failure::Failure;
use crate::process::Step;
use crate::toolchain::Toolchain;
use kernels::{KERNELS, Kernel};
use machine::Guest;
use packages::Packages;
use report::{Outcome, Row};
use tree::Tree;

/// Where the machine is automatic (`CI=true`), fewer kernels than this are no matrix.
const ENOUGH: usize = 4;
/// Guests at once: an emulated processor takes a whole one.
const AT_ONCE: usize = 2;

pub fn vm(arguments: &[String]) -> Result<(), Failure> {
    let mut wanted = Vec::new();
    let mut write_docs = false;
    let mut words = arguments.iter();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--kernel" => {
                let name = words.next().map_or("", String::as_str);
                wanted.push(KERNELS.iter().find(|kernel| kernel.name == name).ok_or_else(
                    || {
                        let known: Vec<&str> = KERNELS.iter().map(|kernel| kernel.name).collect();
                        Failure::Usage(format!("`--kernel` takes one of {}", known.join(", ")))
                    },
                )?);
            }
            "--write-docs" => write_docs = true,
            other => {
                return Err(Failure::Usage(format!(
                    "`vm` takes --kernel and --write-docs, but got `{other}`"
                )));
            }
        }
    }
    let whole = wanted.is_empty();
    if whole {
        wanted.extend(KERNELS);
    } else if write_docs {
        return Err(Failure::Usage("`--write-docs` is for the whole matrix".into()));
    }
    let rows = run(&Toolchain::ensure()?, &wanted)?;
    if write_docs {
        report::write_docs(&rows)?;
    }
    judge(&rows, whole)
}

/// The whole matrix, as a part of `cargo xtask test`.
pub fn matrix(toolchain: &Toolchain) -> Result<(), Failure> {
    let wanted: Vec<&Kernel> = KERNELS.iter().collect();
    let rows = run(toolchain, &wanted)?;
    judge(&rows, true)
}

/// What is asked for before anything is built or tested.
pub fn ensure() -> Result<(), Failure> {
    machine::ensure()
}

fn run(toolchain: &Toolchain, wanted: &[&'static Kernel]) -> Result<Vec<Row>, Failure> {
    ensure()?;
    let packages = Packages::open()?;
    let busybox = packages.busybox();
    let images: Vec<_> = wanted.iter().map(|kernel| (*kernel, packages.image(kernel))).collect();
    // Another run may have the cache now.
    drop(packages);
    let busybox = match busybox {
        Ok(busybox) => busybox,
        // Without it there is no guest at all.
        Err(why) => {
            let skipped = |(kernel, _)| Row::skipped(kernel, &why);
            return Ok(told(images.into_iter().map(skipped).collect()));
        }
    };
    let tree = Tree::build(toolchain, &busybox)?;
    tree.play_on_host()?;
    let initrd = tree.initrd()?;

    let step = Step::start("Booting the kernels");
    let workers = AT_ONCE.min(images.len());
    let waiting: Mutex<VecDeque<_>> = Mutex::new(images.into_iter().enumerate().collect());
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((place, (kernel, image))) = next else { return };
                    let row = match image {
                        Err(why) => Row::skipped(kernel, &why),
                        Ok(image) => {
                            let outcome = Guest { kernel, image: &image, initrd: &initrd }.run();
                            Row { kernel, package: Some(image.package), outcome }
                        }
                    };
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push((place, row));
                }
            });
        }
    });
    step.done();
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(place, _)| *place);
    Ok(told(rows.into_iter().map(|(_, row)| row).collect()))
}

fn told(rows: Vec<Row>) -> Vec<Row> {
    print!("{}", report::text(&rows));
    rows
}

/// Failed kernels fail the task; skipped ones where too few are left.
fn judge(rows: &[Row], whole: bool) -> Result<(), Failure> {
    let failed: Vec<&str> = rows
        .iter()
        .filter(|row| matches!(row.outcome, Outcome::Failed { .. }))
        .map(|row| row.kernel.name)
        .collect();
    if !failed.is_empty() {
        return Err(Failure::Command(format!("kernels that failed: {}", failed.join(", "))));
    }
    let ran = rows.iter().filter(|row| !matches!(row.outcome, Outcome::Skipped { .. })).count();
    if whole && ran < ENOUGH && env::var("CI").is_ok_and(|value| value == "true") {
        return Err(Failure::Command(format!(
            "only {ran} kernels ran; with CI=true at least {ENOUGH} have to"
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(outcome: Outcome) -> Row {
        Row { kernel: &KERNELS[0], package: None, outcome }
    }

    #[test]
    fn a_failed_kernel_fails_the_task_and_a_skipped_one_does_not() {
        let passed = || Outcome::Passed { tests: 2, costs: Vec::new() };
        let failed = Outcome::Failed { why: "hung".into(), costs: Vec::new() };
        assert!(
            judge(&[row(passed()), row(Outcome::Skipped { why: String::new() })], false).is_ok()
        );
        assert!(judge(&[row(passed()), row(failed)], false).is_err());
    }

    #[test]
    fn what_is_not_understood_is_bad_usage() {
        for words in [
            &["--kernel", "2.4"][..],
            &["--kernel"],
            &["--fast"],
            &["--kernel", "6.1", "--write-docs"],
        ] {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(vm(&words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
