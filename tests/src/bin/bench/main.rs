//! What watching costs, measured against the budgets; `docs/performance.md` tells what is measured how.
//!
//! `bench [--quick] [--docs | --only PART…]`: prints each part as it ends, then one table of all budgets, and
//! writes everything to `target/bench/results.json`; with `--docs` the tables and plots of the document, too.
//! The exit code tells whether it could run, not how fast.
#![expect(
    clippy::cast_precision_loss,
    reason = "counts and times of a bench are far below 2^52, and shown with three digits"
)]

mod audit;
mod calls;
mod conditions;
mod document;
mod latency;
mod peers;
mod plot;
mod rates;
mod report;
mod statistics;
mod throughput;
mod unwatched;

use std::env;
use std::fs;
use std::process::ExitCode;

use mcpwatch_tests::{require_root, target};
use report::Report;
use serde_json::json;

/// How long everything is done.
#[derive(Clone, Copy)]
pub enum Effort {
    /// To see that the bench works.
    Quick,
    /// For figures that are worth keeping.
    Full,
}

/// A part by its name for `--only`, and what measures it.
type Part = (&'static str, fn(Effort, &mut Report));

const PARTS: &[Part] = &[
    ("unwatched", unwatched::measure),
    ("throughput", throughput::measure),
    ("latency", latency::measure),
    ("watched", rates::own_cost),
    ("rates", rates::measure),
    ("hooks", rates::hooks),
    ("servers", rates::crowd),
];

fn main() -> ExitCode {
    let Wanted { effort, parts, docs } = match arguments() {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("bench: {message}");
            return ExitCode::from(2);
        }
    };
    require_root();
    let before = conditions::now();
    println!("{}\n", conditions::describe(&before));
    let mut report = Report::default();
    for (name, measure) in PARTS {
        if parts.is_empty() || parts.iter().any(|word| word == name) {
            measure(effort, &mut report);
        }
    }
    println!("\n{}", report.table());
    let folder = target().join("bench");
    let path = folder.join("results.json");
    let results = json!({
        "conditions": {"begin": before, "end": conditions::now()},
        "budgets": report.budgets(),
        "details": report.details,
    });
    let written =
        fs::create_dir_all(&folder).and_then(|()| fs::write(&path, format!("{results:#}\n")));
    if let Err(error) = written {
        eprintln!("bench: cannot write {}: {error}", path.display());
        return ExitCode::FAILURE;
    }
    println!("in full: {}", path.display());
    if docs && let Err(message) = document::write(&results, &conditions::describe(&before)) {
        eprintln!("bench: {message}");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// What was asked for.
struct Wanted {
    effort: Effort,
    /// All when empty.
    parts: Vec<String>,
    docs: bool,
}

fn arguments() -> Result<Wanted, String> {
    let mut wanted = Wanted { effort: Effort::Full, parts: Vec::new(), docs: false };
    let mut words = env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--quick" => wanted.effort = Effort::Quick,
            "--docs" => wanted.docs = true,
            "--only" => {
                let part = words.next().unwrap_or_default();
                if !PARTS.iter().any(|(name, _)| *name == part) {
                    return Err(format!("`--only {part}`: there is no such part; {}", usage()));
                }
                wanted.parts.push(part);
            }
            other => return Err(format!("`{other}` is no argument of the bench; {}", usage())),
        }
    }
    if wanted.docs && !wanted.parts.is_empty() {
        return Err(format!(
            "`--docs` writes every part, and cannot go with `--only`; {}",
            usage()
        ));
    }
    Ok(wanted)
}

fn usage() -> String {
    let parts: Vec<&str> = PARTS.iter().map(|(name, _)| *name).collect();
    format!("usage: cargo xtask bench [--quick] [--docs | --only {}]", parts.join("|"))
}
