//! `cargo xtask`: all set-up, building, testing and running of mcpwatch.

mod bench;
mod build;
mod check;
mod doctor;
mod failure;
mod fuzz;
mod process;
mod run;
mod system;
mod test;
mod test_deps;
mod toolchain;
mod vm;
mod workspace;

use std::process::ExitCode;

use failure::Failure;

/// Something `cargo xtask` can be asked to do.
struct Task {
    name: &'static str,
    arguments: &'static str,
    /// What it does, for `help`, in lines that fit beside the name.
    about: &'static [&'static str],
    act: fn(&[String]) -> Result<(), Failure>,
}

const TASKS: &[Task] = &[
    Task {
        name: "run",
        arguments: "[-- ARGS]",
        about: &[
            "build the agent and start `mcpwatch run` with the readable console",
            "(with sudo when not root); ARGS go to it",
        ],
        act: run::run,
    },
    Task {
        name: "build",
        arguments: "",
        about: &["build the agent as it is shipped, and say where it is"],
        act: build::build,
    },
    Task {
        name: "test",
        arguments: "[--unit] [FILTER]",
        about: &[
            "install what the tests need and run all of them; the end-to-end tests need",
            "root (sudo is used when there); --unit: only those that need neither",
        ],
        act: test::test,
    },
    Task {
        name: "check",
        arguments: "",
        about: &["formatting, lints and documentation of every crate"],
        act: check::check,
    },
    Task {
        name: "bench",
        arguments: "[ARGS]",
        about: &["measure what watching costs, against the budgets (needs root)"],
        act: bench::bench,
    },
    Task {
        name: "vm",
        arguments: "[--kernel V] [--all] [--only TEST] [--costs] [--write-docs]",
        about: &[
            "",
            "the agent under other kernels, each in an emulated machine: 5.10, 6.1, 6.12,",
            "6.18, newest, 6.12-arm64, 6.18-arm64; --all: every test in each, not only in the oldest",
            "and the newest; --only: the tests with TEST in their names;",
            "--costs: count instructions of system calls instead;",
            "--write-docs: keep what came of them in docs/",
        ],
        act: vm::vm,
    },
    Task {
        name: "soak",
        arguments: "[--minutes N]",
        about: &["steady mixed load for N minutes (60): no loss, flat memory (needs root)"],
        act: bench::soak,
    },
    Task {
        name: "fuzz",
        arguments: "[--seconds N] [TARGET]",
        about: &["try every parser with bytes nobody thought of, N seconds each (60)"],
        act: fuzz::fuzz,
    },
    Task {
        name: "doctor",
        arguments: "",
        about: &["what building and testing needs: found, or how to install it"],
        act: doctor::doctor,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match perform(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::from(failure.exit_code())
        }
    }
}

fn perform(arguments: &[String]) -> Result<(), Failure> {
    let Some((name, rest)) = arguments.split_first() else {
        return Err(Failure::Usage(format!("what to do is missing\n\n{}", usage())));
    };
    if ["help", "-h", "--help"].contains(&name.as_str()) {
        println!("{}", usage());
        return Ok(());
    }
    let task = TASKS
        .iter()
        .find(|task| task.name == name)
        .ok_or_else(|| Failure::Usage(format!("there is no task `{name}`\n\n{}", usage())))?;
    if task.arguments.is_empty()
        && let Some(first) = rest.first()
    {
        return Err(Failure::Usage(format!("`{name}` takes no arguments, but got `{first}`")));
    }
    // `run` and `bench` hand everything on; the `--` people put before that is not part of it.
    let rest = match rest.split_first() {
        Some((first, after)) if first == "--" => after,
        _ => rest,
    };
    (task.act)(rest)
}

fn usage() -> String {
    let mut lines = vec!["Usage: cargo xtask TASK\n".to_owned()];
    for task in TASKS {
        let mut left = format!("{} {}", task.name, task.arguments);
        for line in task.about {
            lines.push(format!("  {left:<27} {line}"));
            left.clear();
        }
    }
    lines.push(format!("  {:<27} this text", "help"));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(String::from).collect()
    }

    #[test]
    fn the_help_names_every_task() {
        let usage = usage();
        assert!(TASKS.iter().all(|task| usage.contains(task.name)));
        assert!(perform(&words("--help")).is_ok());
    }

    #[test]
    fn what_is_not_understood_is_bad_usage() {
        for line in ["", "fly", "check --fast"] {
            let failure = perform(&words(line)).unwrap_err();
            assert_eq!(failure.exit_code(), 2, "{line}");
        }
    }
}
