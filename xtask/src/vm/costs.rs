//! What the guests measured with `--costs`: what system calls cost a process that nobody watches, in instructions.
//! For the terminal, and for `docs/performance.md`.

use std::fmt::Write as _;

use super::report::{Document, Row};
use crate::failure::Failure;

const DOCUMENT: Document = Document {
    path: "docs/performance.md",
    begin: "<!-- begin: cargo xtask vm --costs --write-docs -->\n",
    end: "<!-- end: cargo xtask vm --costs --write-docs -->\n",
};

/// The conditions that are shown, as the guest and as people call them. The first is what the others are compared to.
const CONDITIONS: [(&str, &str); 6] = [
    ("none", "No agent"),
    ("fexit", "`fexit`"),
    ("empty-fexit", "Empty programs at the calls' return"),
    ("tracepoint", "`tracepoint`"),
    ("empty-pair", "Two empty programs"),
    ("none-again", "No agent again"),
];

/// Calls that no program of tier `fexit` is attached to, all others being touched.
const UNTOUCHED: [&str; 2] = ["getppid", "stat"];

/// What tier `fexit` may add to touched calls, and to untouched ones, in percent as they are shown: less than a tenth is
/// noise.
const ALLOWED: [f64; 2] = [8.0, 0.0];

/// One figure of a guest.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    round: usize,
    condition: String,
    call: String,
    instructions: f64,
}

/// `cost 0 fexit getppid 412.5`
pub fn figure(line: &str) -> Option<Figure> {
    let mut words = line.strip_prefix("cost ")?.split(' ');
    Some(Figure {
        round: words.next()?.parse().ok()?,
        condition: words.next()?.into(),
        call: words.next()?.into(),
        instructions: words.next()?.parse().ok()?,
    })
}

/// A call in all conditions.
struct Line<'f> {
    call: &'f str,
    /// Medians, in the order of [`CONDITIONS`].
    instructions: Vec<f64>,
    /// Medians of what each adds to the first, taken within a round, in percent.
    added: Vec<f64>,
}

fn lines(figures: &[Figure]) -> Vec<Line<'_>> {
    let mut calls: Vec<&str> = Vec::new();
    for figure in figures {
        if !calls.contains(&figure.call.as_str()) {
            calls.push(&figure.call);
        }
    }
    let of = |call: &str, condition: &str| -> Vec<(usize, f64)> {
        let figures = figures.iter().filter(|one| one.call == call && one.condition == condition);
        figures.map(|one| (one.round, one.instructions)).collect()
    };
    let line = |call| {
        let [(first, _), ..] = CONDITIONS;
        let without = of(call, first);
        let columns = CONDITIONS.map(|(condition, _)| of(call, condition));
        let added = columns.iter().map(|column| {
            median(column.iter().filter_map(|(round, cost)| {
                let (_, base) = without.iter().find(|(other, _)| other == round)?;
                Some((cost / base - 1.0) * 100.0)
            }))
        });
        Line {
            call,
            added: added.collect(),
            instructions: columns
                .iter()
                .map(|column| median(column.iter().map(|(_, cost)| *cost)))
                .collect(),
        }
    };
    calls.into_iter().map(line).collect()
}

/// The middle one; not a number where there is none.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// What tier `fexit` may add to this call, and whether it does not add more.
fn verdict(line: &Line<'_>) -> (f64, bool) {
    let [touched, untouched] = ALLOWED;
    let limit = if UNTOUCHED.contains(&line.call) { untouched } else { touched };
    let [_, (fexit, _), ..] = CONDITIONS;
    let place = CONDITIONS.iter().position(|(name, _)| *name == fexit).unwrap_or_default();
    // A figure that is missing is no figure within the budget.
    (limit, line.added.get(place).is_some_and(|added| (added * 10.0).round() <= limit * 10.0))
}

/// A table of one kernel.
fn table(figures: &[Figure]) -> String {
    let heads = CONDITIONS.map(|(_, head)| head).join(" | ");
    let mut text = format!("| Call | {heads} | `fexit` may add | |\n|---|");
    text += &"---:|".repeat(CONDITIONS.len() + 1);
    text += "---|\n";
    for line in lines(figures) {
        let _ = write!(text, "| {} |", line.call);
        for (place, (cost, added)) in line.instructions.iter().zip(&line.added).enumerate() {
            let _ = if place == 0 {
                write!(text, " {cost:.0} |")
            } else {
                write!(text, " {cost:.0} ({added:+.1} %) |")
            };
        }
        let (limit, met) = verdict(&line);
        let _ = writeln!(text, " {limit:.0} % | {} |", if met { "ok" } else { "**over**" });
    }
    text
}

/// The tables of all kernels that measured.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let figures = row.figures();
        if !figures.is_empty() {
            let _ = writeln!(text, "\nLinux {}:\n\n{}", row.title(), table(figures).trim_end());
        }
    }
    text.trim_start().to_owned()
}

/// Writes them into the documentation.
pub fn write_docs(rows: &[Row]) -> Result<(), Failure> {
    DOCUMENT.write(&text(rows))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures(text: &str) -> Vec<Figure> {
        text.lines().filter_map(figure).collect()
    }

    const CONSOLE: &str = "\
        cost 0 none getppid 400.0\ncost 0 fexit getppid 400.0\ncost 0 none connect 1000.0\n\
        cost 0 fexit connect 1090.0\ncost 1 none connect 1100.0\ncost 1 fexit connect 1188.0\n\
        cost 2 none connect 1000.0\ncost 2 fexit connect 1070.0\ncost 2 fexit connect\nother";

    #[test]
    fn ratios_are_taken_within_a_round() {
        let figures = figures(CONSOLE);
        assert_eq!(figures.len(), 8);
        let lines = lines(&figures);
        assert_eq!((lines[0].call, lines[1].call), ("getppid", "connect"));
        assert!((lines[1].added[1] - 8.0).abs() < 1e-9, "{:?}", lines[1].added);
        assert!((lines[1].instructions[1] - 1090.0).abs() < 1e-9);
    }

    #[test]
    fn budgets_are_of_touched_and_untouched_calls() {
        let over = CONSOLE.replace("fexit getppid 400.0", "fexit getppid 400.4");
        let over = over.replace("1188.0", "1189.2");
        assert!(lines(&figures(CONSOLE)).iter().all(|line| verdict(line).1));
        assert!(lines(&figures(&over)).iter().all(|line| !verdict(line).1));
        let absent = figures("cost 0 none getppid 400.0");
        assert!(lines(&absent).iter().all(|line| !verdict(line).1));
    }
}
