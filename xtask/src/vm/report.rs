//! What came of the kernels: for the terminal, and for `docs/kernel-support.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::kernels::Kernel;
use crate::failure::Failure;
use crate::workspace;

const DOCUMENT: &str = "docs/kernel-support.md";
const BEGIN: &str = "<!-- begin: cargo xtask vm --write-docs -->\n";
const END: &str = "<!-- end: cargo xtask vm --write-docs -->\n";

/// One kernel of a run.
pub struct Row {
    pub kernel: &'static Kernel,
    /// The package it came in.
    pub package: Option<String>,
    pub outcome: Outcome,
}

/// What became of it.
pub enum Outcome {
    Passed { tests: usize, costs: Vec<Cost> },
    Failed { why: String, costs: Vec<Cost> },
    Skipped { why: String },
}

/// What a program cost the verifier.
pub struct Cost {
    pub program: String,
    /// Instructions it walked; absent before kernel 5.16, which does not tell.
    pub instructions: Option<u64>,
}

impl Row {
    pub fn skipped(kernel: &'static Kernel, why: &str) -> Self {
        Self { kernel, package: None, outcome: Outcome::Skipped { why: why.into() } }
    }

    fn costs(&self) -> &[Cost] {
        match &self.outcome {
            Outcome::Passed { costs, .. } | Outcome::Failed { costs, .. } => costs,
            Outcome::Skipped { .. } => &[],
        }
    }

    /// Numbers of the version, from the package's name.
    fn version(&self) -> &str {
        let package = self.package.as_deref().unwrap_or(self.kernel.name);
        let version = package.split('-').nth(2).unwrap_or(package);
        version.split('+').next().unwrap_or(version)
    }
}

/// For the terminal.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::from("\nThe matrix of kernels\n");
    for row in rows {
        let package = row.package.as_deref().unwrap_or("-");
        let (word, detail) = match &row.outcome {
            Outcome::Passed { tests, .. } => ("ok", format!("{tests} tests")),
            Outcome::Failed { why, .. } => ("FAILED", why.clone()),
            Outcome::Skipped { why } => ("SKIPPED", why.clone()),
        };
        let _ = writeln!(text, "  {word:<8} {:<7} {package:<40} {detail}", row.kernel.name);
    }
    let skipped = rows.iter().filter(|row| matches!(row.outcome, Outcome::Skipped { .. })).count();
    if skipped > 0 {
        let _ = writeln!(
            text,
            "\n*** {skipped} of {} KERNELS WERE NOT TESTED, see above ***",
            rows.len()
        );
    }
    let _ = writeln!(text, "\nInstructions the verifier walked");
    for line in costs(rows) {
        let (program, cells) =
            line.split_first().map_or((String::new(), &[][..]), |(p, c)| (p.clone(), c));
        let _ = write!(text, "  {program:<24}");
        for cell in cells {
            let _ = write!(text, "{cell:>9}");
        }
        text.push('\n');
    }
    text
}

/// A table: programs down, kernels across; the first line has the kernels.
fn costs(rows: &[Row]) -> Vec<Vec<String>> {
    let ran: Vec<&Row> = rows.iter().filter(|row| !row.costs().is_empty()).collect();
    let mut programs: Vec<&str> = Vec::new();
    for cost in ran.iter().flat_map(|row| row.costs()) {
        if !programs.contains(&cost.program.as_str()) {
            programs.push(&cost.program);
        }
    }
    let head =
        std::iter::once(String::new()).chain(ran.iter().map(|row| series(row.version()))).collect();
    let columns: Vec<BTreeMap<&str, Option<u64>>> = ran
        .iter()
        .map(|row| {
            row.costs().iter().map(|cost| (cost.program.as_str(), cost.instructions)).collect()
        })
        .collect();
    let line = |program: &str| {
        let cell = |column: &BTreeMap<&str, Option<u64>>| {
            column
                .get(program)
                .copied()
                .flatten()
                .map_or_else(|| "-".into(), |cost| cost.to_string())
        };
        std::iter::once(program.to_owned()).chain(columns.iter().map(cell)).collect()
    };
    std::iter::once(head).chain(programs.iter().map(|program| line(program))).collect()
}

/// `6.12` of `6.12.95`.
fn series(version: &str) -> String {
    version.split('.').take(2).collect::<Vec<_>>().join(".")
}

/// Writes the tables into the documentation.
pub fn write_docs(rows: &[Row]) -> Result<(), Failure> {
    let path = workspace::root().join(DOCUMENT);
    let old = fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
    let new = between_marks(&old, &markdown(rows)).ok_or_else(|| {
        Failure::File(format!("{} lacks its marks `{}`", path.display(), BEGIN.trim_end()))
    })?;
    fs::write(&path, new).map_err(|error| Failure::file("write", &path, &error))
}

fn between_marks(document: &str, text: &str) -> Option<String> {
    let (before, rest) = document.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n{text}\n{END}{after}"))
}

fn markdown(rows: &[Row]) -> String {
    let mut text = String::from("| Kernel | Debian's package | Result |\n|---|---|---|\n");
    for row in rows {
        let package = row.package.as_deref().map_or_else(|| "–".into(), |name| format!("`{name}`"));
        let result = match &row.outcome {
            Outcome::Passed { .. } => "the records of the host",
            Outcome::Failed { .. } => "**fails**",
            Outcome::Skipped { .. } => "not tested: the package could not be had",
        };
        let _ = writeln!(text, "| {} | {package} | {result} |", row.version());
    }
    text += "\nInstructions the verifier walked (it gives up at 1,000,000; before 5.16 it does not say):\n\n";
    for (number, line) in costs(rows).iter().enumerate() {
        let first = line.first().map_or("", String::as_str);
        let first = if first.is_empty() { "Program".into() } else { format!("`{first}`") };
        let _ = writeln!(text, "| {first} | {} |", line.get(1..).unwrap_or_default().join(" | "));
        if number == 0 {
            let _ = writeln!(text, "|---|{}", "---:|".repeat(line.len().saturating_sub(1)));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::kernels::KERNELS;

    fn rows() -> Vec<Row> {
        let cost = |program: &str, instructions| Cost { program: program.into(), instructions };
        vec![
            Row {
                kernel: &KERNELS[0],
                package: Some("linux-image-5.10.0-46-cloud-amd64".into()),
                outcome: Outcome::Passed { tests: 2, costs: vec![cost("sys_exit", None)] },
            },
            Row {
                kernel: &KERNELS[4],
                package: Some("linux-binary-7.2.13+deb14-cloud-amd64".into()),
                outcome: Outcome::Passed { tests: 2, costs: vec![cost("sys_exit", Some(114_041))] },
            },
            Row::skipped(&KERNELS[1], "no network"),
        ]
    }

    #[test]
    fn skipped_kernels_are_told_of_loudly() {
        let text = text(&rows());
        assert!(text.contains("SKIPPED  6.1"), "{text}");
        assert!(text.contains("*** 1 of 3 KERNELS WERE NOT TESTED"), "{text}");
        assert!(text.contains("5.10"), "{text}");
    }

    #[test]
    fn the_document_is_written_between_its_marks_only() {
        let old = format!("before\n{BEGIN}old\n{END}after\n");
        let new = between_marks(&old, &markdown(&rows())).unwrap();
        assert!(new.starts_with("before\n") && new.ends_with("after\n"), "{new}");
        assert!(!new.contains("old"));
        assert!(new.contains("| `sys_exit` | - | 114041 |"), "{new}");
        assert_eq!(between_marks(&new, &markdown(&rows())), Some(new.clone()));
        assert_eq!(between_marks("no marks", ""), None);
    }
}
