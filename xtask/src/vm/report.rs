//! What came of the kernels: for the terminal, and for `docs/kernel-support.md`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;

use super::costs::Figure;
use super::kernels::Kernel;
use crate::failure::Failure;
use crate::workspace;

const DOCUMENT: Document = Document {
    path: "docs/kernel-support.md",
    begin: "<!-- begin: cargo xtask vm --write-docs -->\n",
    end: "<!-- end: cargo xtask vm --write-docs -->\n",
};

/// A document of which a part is written here.
pub struct Document {
    /// Within the workspace.
    pub path: &'static str,
    /// The line before that part.
    pub begin: &'static str,
    /// The line behind it.
    pub end: &'static str,
}

impl Document {
    /// Puts the text in its place.
    pub fn write(&self, text: &str) -> Result<(), Failure> {
        let path = workspace::root().join(self.path);
        let old =
            fs::read_to_string(&path).map_err(|error| Failure::file("read", &path, &error))?;
        let new = self.with(&old, text).ok_or_else(|| {
            let mark = self.begin.trim_end();
            Failure::File(format!("{} lacks its marks `{mark}`", path.display()))
        })?;
        fs::write(&path, new).map_err(|error| Failure::file("write", &path, &error))
    }

    fn with(&self, old: &str, text: &str) -> Option<String> {
        let (before, rest) = old.split_once(self.begin)?;
        let (_, after) = rest.split_once(self.end)?;
        Some(format!("{before}{}\n{text}\n{}{after}", self.begin, self.end))
    }
}

/// One kernel of a run.
pub struct Row {
    pub kernel: &'static Kernel,
    /// The package it came in.
    pub package: Option<String>,
    pub outcome: Outcome,
}

/// What became of it.
pub enum Outcome {
    /// With what it measured, where that was asked for.
    Passed {
        tests: usize,
        costs: Vec<Cost>,
        figures: Vec<Figure>,
    },
    Failed {
        why: String,
        costs: Vec<Cost>,
    },
    Skipped {
        why: String,
    },
}

/// What a program cost the verifier.
pub struct Cost {
    pub program: String,
    /// Instructions it walked; absent when the kernel did not tell.
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

    /// What it measured.
    pub fn figures(&self) -> &[Figure] {
        match &self.outcome {
            Outcome::Passed { figures, .. } => figures,
            Outcome::Failed { .. } | Outcome::Skipped { .. } => &[],
        }
    }

    /// Series and architecture, as the head of a column: `6.12`, `6.12 arm64`.
    fn head(&self) -> String {
        let series = series(self.version());
        if self.kernel.arch.is_ours() {
            series
        } else {
            format!("{series} {}", self.kernel.arch.debian)
        }
    }

    /// Version and architecture: `6.12.117, arm64`.
    pub fn title(&self) -> String {
        format!("{}, {}", self.version(), self.kernel.arch.debian)
    }

    /// Numbers of the version, from the package's name.
    fn version(&self) -> &str {
        let package = self.package.as_deref().unwrap_or(self.kernel.name);
        let version = package.split('-').nth(2).unwrap_or(package);
        version.split('+').next().unwrap_or(version)
    }
}

/// For the terminal; what failed comes last, where it is looked for.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    if rows.iter().any(|row| !row.costs().is_empty()) {
        text += "\nInstructions the verifier walked\n";
    }
    for line in costs(rows) {
        let (program, cells) =
            line.split_first().map_or((String::new(), &[][..]), |(p, c)| (p.clone(), c));
        let _ = write!(text, "  {program:<24}");
        for cell in cells {
            let _ = write!(text, "{cell:>11}");
        }
        text.push('\n');
    }
    text += "\nThe matrix of kernels\n";
    for row in rows {
        let package = row.package.as_deref().unwrap_or("-");
        let (word, detail) = match &row.outcome {
            Outcome::Passed { tests, .. } => ("ok", format!("{tests} tests")),
            Outcome::Failed { .. } => ("FAILED", "see below".into()),
            Outcome::Skipped { why } => ("SKIPPED", why.clone()),
        };
        let _ = writeln!(text, "  {word:<8} {:<10} {package:<40} {detail}", row.kernel.name);
    }
    let skipped = rows.iter().filter(|row| matches!(row.outcome, Outcome::Skipped { .. })).count();
    if skipped > 0 {
        let _ = writeln!(
            text,
            "\n*** {skipped} of {} KERNELS WERE NOT TESTED, see above ***",
            rows.len()
        );
    }
    for row in rows {
        if let Outcome::Failed { why, .. } = &row.outcome {
            let _ = writeln!(text, "\n{}: {why}", row.kernel.name);
        }
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
    let head = std::iter::once(String::new()).chain(ran.iter().map(|row| row.head())).collect();
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
    DOCUMENT.write(&markdown(rows))
}

fn markdown(rows: &[Row]) -> String {
    let mut text =
        String::from("| Kernel | Architecture | Debian's package | Result |\n|---|---|---|---|\n");
    for row in rows {
        let package = row.package.as_deref().map_or_else(|| "–".into(), |name| format!("`{name}`"));
        let result = match &row.outcome {
            Outcome::Passed { .. } => "the records of the host".into(),
            Outcome::Failed { .. } => "**fails**".into(),
            Outcome::Skipped { why } => {
                format!("not tested: {}", why.lines().next().unwrap_or_default())
            }
        };
        let _ = writeln!(
            text,
            "| {} | {} | {package} | {result} |",
            row.version(),
            row.kernel.arch.debian
        );
    }
    text += "\nInstructions the verifier walked (it gives up at 1,000,000; before 5.16 it says so in its log alone):\n\n";
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
                outcome: Outcome::Passed {
                    tests: 2,
                    costs: vec![cost("sys_exit", None)],
                    figures: Vec::new(),
                },
            },
            Row {
                kernel: &KERNELS[4],
                package: Some("linux-binary-7.2.13+deb14-cloud-amd64".into()),
                outcome: Outcome::Passed {
                    tests: 2,
                    costs: vec![cost("sys_exit", Some(114_041))],
                    figures: Vec::new(),
                },
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
    fn what_failed_comes_last() {
        let mut rows = rows();
        rows[1].outcome =
            Outcome::Failed { why: "tests failed: 1\nthe panic".into(), costs: Vec::new() };
        let text = text(&rows);
        assert!(text.ends_with("\n\nnewest: tests failed: 1\nthe panic\n"), "{text}");
    }

    #[test]
    fn the_document_is_written_between_its_marks_only() {
        let old = format!("before\n{}old\n{}after\n", DOCUMENT.begin, DOCUMENT.end);
        let new = DOCUMENT.with(&old, &markdown(&rows())).unwrap();
        assert!(new.starts_with("before\n") && new.ends_with("after\n"), "{new}");
        assert!(!new.contains("old"));
        assert!(new.contains("| `sys_exit` | - | 114041 |"), "{new}");
        assert_eq!(DOCUMENT.with(&new, &markdown(&rows())), Some(new.clone()));
        assert_eq!(DOCUMENT.with("no marks", ""), None);
    }
}
