//! `cargo xtask vm`: the agent under real kernels, each booted in an emulated machine.
//!
//! The play of `tests/src/bin/guest` runs on this host first; then in each kernel, where its records have
//! to be the same. Nothing here needs hardware support for virtual machines.

mod arch;
mod archive;
mod costs;
mod kernels;
mod machine;
mod packages;
mod report;
mod tree;

use std::collections::{BTreeMap, VecDeque};
use std::env;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::thread;

use crate::failure::Failure;
use crate::process::{Background, Step};
use crate::toolchain::Toolchain;
use arch::{AARCH64, Arch, X86_64};
use kernels::{KERNELS, Kernel};
use machine::{Guest, Job, Tests};
use packages::{Image, Packages};
use report::{Outcome, Row};
use tree::{Records, Tree};

/// Where the machine is automatic (`CI=true`), fewer kernels than this are no matrix.
const ENOUGH: usize = 4;
/// Guests at once: an emulated processor takes a whole one.
const AT_ONCE: usize = 2;

pub fn vm(arguments: &[String]) -> Result<(), Failure> {
    let mut wanted = Vec::new();
    let mut write_docs = false;
    let mut measures = false;
    let mut only = None;
    let mut all = false;
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
            "--all" => all = true,
            "--write-docs" => write_docs = true,
            "--costs" => measures = true,
            "--only" => {
                only = words.next().filter(|part| is_part_of_a_name(part)).cloned();
                if only.is_none() {
                    return Err(Failure::Usage("`--only` takes a part of a test's name".into()));
                }
            }
            other => {
                return Err(Failure::Usage(format!(
                    "`vm` takes --kernel, --all, --only, --costs and --write-docs, but got `{other}`"
                )));
            }
        }
    }
    if only.is_some() && (all || measures || write_docs) {
        return Err(Failure::Usage("`--only` goes with nothing but `--kernel`".into()));
    }
    if all && measures {
        return Err(Failure::Usage("`--costs` runs no tests, and `--all` is for these".into()));
    }
    let whole = wanted.is_empty();
    let job = match only {
        _ if measures => Job::Measure,
        Some(part) => Job::Test(Tests::Named(part)),
        // Who asks for a kernel by its name wants to know all of it.
        None if all || !whole => Job::Test(Tests::All),
        None => Job::Test(Tests::Matrix),
    };
    if whole {
        wanted.extend(KERNELS.iter().filter(|kernel| !measures || kernel.arch.is_ours()));
    } else if write_docs && !measures {
        return Err(Failure::Usage("`--write-docs` is for the whole matrix".into()));
    }
    let rows = run(&Toolchain::ensure()?, &wanted, &job)?;
    match job {
        Job::Test(_) if write_docs => report::write_docs(&rows)?,
        Job::Measure if write_docs => costs::write_docs(&rows)?,
        Job::Test(_) => {}
        Job::Measure => print!("\n{}", costs::text(&rows)),
    }
    judge(&rows, whole && is_automatic())
}

/// Whether it can stand on a kernel's command line, which parts its words at spaces.
fn is_part_of_a_name(text: &str) -> bool {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | ':');
    !text.is_empty() && text.chars().all(fits)
}

/// The whole matrix, as a part of `cargo xtask test`.
pub fn matrix(toolchain: &Toolchain) -> Result<(), Failure> {
    let wanted: Vec<&Kernel> = KERNELS.iter().collect();
    let rows = run(toolchain, &wanted, &Job::Test(Tests::Matrix))?;
    judge(&rows, is_automatic())
}

/// What is asked for before anything is built or tested.
pub fn ensure() -> Result<(), Failure> {
    ours()?.ensure_emulator()
}

/// Begins to build the guests' programs while other tests wait for something, which they do half of the
/// time. Nothing depends on it but how long [`matrix`] takes.
pub fn build_ahead(toolchain: &Toolchain) -> Option<Background> {
    let arches: Vec<&Arch> = [&X86_64, &AARCH64]
        .into_iter()
        .filter(|arch| arch.is_ours() || arch.ensure_linking().is_ok())
        .collect();
    tree::build_ahead(toolchain, &arches).ok()
}

/// The architecture of this machine.
fn ours() -> Result<&'static Arch, Failure> {
    [&X86_64, &AARCH64].into_iter().find(|arch| arch.is_ours()).ok_or_else(|| {
        Failure::Command(format!("there are no kernels to try on {}", env::consts::ARCH))
    })
}

fn run(toolchain: &Toolchain, wanted: &[&'static Kernel], job: &Job) -> Result<Vec<Row>, Failure> {
    ensure()?;
    let ours = ours()?;
    let packages = Packages::open()?;
    let images: Vec<(&'static Kernel, Result<Image, String>)> =
        wanted.iter().map(|kernel| (*kernel, packages.image(kernel))).collect();
    let mut busyboxes: BTreeMap<&str, Result<PathBuf, String>> = BTreeMap::new();
    for arch in std::iter::once(ours).chain(wanted.iter().map(|kernel| kernel.arch)) {
        busyboxes.entry(arch.name).or_insert_with(|| packages.busybox(arch));
    }
    // Another run may have the cache now.
    drop(packages);
    // Without it there is no guest at all.
    let busybox = match busyboxes.remove(ours.name) {
        Some(Ok(busybox)) => busybox,
        why => {
            let why = why.and_then(Result::err).unwrap_or_default();
            let skipped = |(kernel, _)| Row::skipped(kernel, &why);
            return Ok(told(images.into_iter().map(skipped).collect()));
        }
    };
    let tree = Tree::build(toolchain, ours, &busybox)?;
    let expected = match job {
        Job::Test(_) => tree.play_on_host()?,
        Job::Measure => Records::default(),
    };
    let mut initrds = BTreeMap::from([(ours.name, Ok(tree.initrd(&expected)?))]);
    for (kernel, image) in &images {
        if let (Ok(_), Some(busybox)) = (image, busyboxes.remove(kernel.arch.name)) {
            let initrd = foreign(toolchain, kernel.arch, busybox, &expected)?;
            initrds.insert(kernel.arch.name, initrd);
        }
    }
    Ok(told(boot(images, &initrds, job)))
}

/// The files of guests of another architecture; what stops it where they cannot be made here.
fn foreign(
    toolchain: &Toolchain,
    arch: &Arch,
    busybox: Result<PathBuf, String>,
    expected: &Records,
) -> Result<Result<PathBuf, String>, Failure> {
    let tools = arch.ensure_emulator().and_then(|()| arch.ensure_linking());
    let busybox = match (tools, busybox) {
        (Ok(()), Ok(busybox)) => busybox,
        (Err(why), _) => return Ok(Err(why.to_string())),
        (_, Err(why)) => return Ok(Err(why)),
    };
    Tree::build(toolchain, arch, &busybox)?.initrd(expected).map(Ok)
}

/// Boots every kernel that there is, in the order of patience it takes.
fn boot(
    images: Vec<(&'static Kernel, Result<Image, String>)>,
    initrds: &BTreeMap<&str, Result<PathBuf, String>>,
    job: &Job,
) -> Vec<Row> {
    let step = Step::start("Booting the kernels");
    let workers = AT_ONCE.min(images.len());
    let mut waiting: Vec<_> = images.into_iter().enumerate().collect();
    // Those with the most tests first, so that none of them is alone at the end; of these the slowest.
    waiting.sort_by_key(|(_, (kernel, _))| {
        std::cmp::Reverse((kernel.is_an_end, kernel.arch.slowness))
    });
    let waiting = Mutex::new(VecDeque::from(waiting));
    let rows = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                loop {
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
                    let Some((place, (kernel, image))) = next else { return };
                    let row = match (image, initrds.get(kernel.arch.name)) {
                        (Ok(image), Some(Ok(initrd))) => {
                            let outcome = Guest { kernel, image: &image, initrd, job }.run();
                            Row { kernel, package: Some(image.package), outcome }
                        }
                        (Err(why), _) => Row::skipped(kernel, &why),
                        (_, Some(Err(why))) => Row::skipped(kernel, why),
                        (Ok(_), None) => Row::skipped(kernel, "no programs were built for it"),
                    };
                    rows.lock().unwrap_or_else(PoisonError::into_inner).push((place, row));
                }
            });
        }
    });
    step.done();
    let mut rows = rows.into_inner().unwrap_or_else(PoisonError::into_inner);
    rows.sort_by_key(|(place, _)| *place);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn told(rows: Vec<Row>) -> Vec<Row> {
    print!("{}", report::text(&rows));
    rows
}

/// Nobody reads what is told of skipped kernels.
fn is_automatic() -> bool {
    env::var("CI").is_ok_and(|value| value == "true")
}

/// Failed kernels fail the task; skipped ones where there have to be enough and too few are left.
fn judge(rows: &[Row], enough: bool) -> Result<(), Failure> {
    let failed: Vec<&str> = rows
        .iter()
        .filter(|row| matches!(row.outcome, Outcome::Failed { .. }))
        .map(|row| row.kernel.name)
        .collect();
    if !failed.is_empty() {
        return Err(Failure::Command(format!("kernels that failed: {}", failed.join(", "))));
    }
    let ran = rows.iter().filter(|row| !matches!(row.outcome, Outcome::Skipped { .. })).count();
    if enough && ran < ENOUGH {
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
        let passed = || Outcome::Passed { tests: 2, costs: Vec::new(), figures: Vec::new() };
        let failed = Outcome::Failed { why: "hung".into(), costs: Vec::new() };
        assert!(
            judge(&[row(passed()), row(Outcome::Skipped { why: String::new() })], false).is_ok()
        );
        assert!(judge(&[row(passed()), row(failed)], false).is_err());
    }

    #[test]
    fn too_few_kernels_fail_the_task_where_there_have_to_be_enough() {
        let passed = || row(Outcome::Passed { tests: 2, costs: Vec::new(), figures: Vec::new() });
        let skipped = || row(Outcome::Skipped { why: "no network".into() });
        let rows = |ran: usize| -> Vec<Row> {
            let ran = std::iter::repeat_with(passed).take(ran);
            ran.chain(std::iter::repeat_with(skipped).take(2)).collect()
        };
        assert!(judge(&rows(ENOUGH), true).is_ok());
        assert!(judge(&rows(ENOUGH - 1), false).is_ok());
        let failure = judge(&rows(ENOUGH - 1), true).unwrap_err().to_string();
        assert!(failure.contains("only 3 kernels ran"), "{failure}");
        assert!(judge(&[], true).is_err());
    }

    #[test]
    fn what_is_not_understood_is_bad_usage() {
        for words in [
            &["--kernel", "2.4"][..],
            &["--kernel"],
            &["--fast"],
            &["--kernel", "6.1", "--write-docs"],
            &["--only"],
            &["--only", "two words"],
            &["--only", "clock", "--costs"],
            &["--only", "clock", "--all"],
            &["--all", "--costs"],
        ] {
            let words: Vec<String> = words.iter().map(ToString::to_string).collect();
            assert_eq!(vm(&words).unwrap_err().exit_code(), 2, "{words:?}");
        }
    }
}
