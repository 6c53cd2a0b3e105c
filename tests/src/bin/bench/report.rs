//! What was measured, held against the budgets, as a table and as JSON.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::statistics::Spread;

/// A budget and what was measured.
pub struct Budget {
    /// What is measured.
    pub name: String,
    /// The results of the rounds; the median is held against the limit.
    pub measured: Spread,
    /// What the numbers count.
    pub unit: &'static str,
    /// What is allowed.
    pub limit: Limit,
}

/// What a budget allows.
#[derive(Clone, Copy)]
pub enum Limit {
    /// Not more than this.
    AtMost(f64),
    /// Not less than this.
    AtLeast(f64),
}

impl Limit {
    fn verdict(self, measured: f64) -> &'static str {
        match self {
            Self::AtMost(limit) if measured > limit => "over",
            Self::AtLeast(limit) if measured < limit => "under",
            _ => "ok",
        }
    }
}

/// Everything the bench found out.
#[derive(Default)]
pub struct Report {
    budgets: Vec<Budget>,
    /// What the budgets rest on, by part.
    pub details: serde_json::Map<String, Value>,
}

impl Report {
    /// Adds a budget.
    pub fn add(&mut self, budget: Budget) {
        self.budgets.push(budget);
    }

    /// The budgets for the JSON file.
    pub fn budgets(&self) -> Vec<Value> {
        self.budgets
            .iter()
            .map(|budget| {
                let (bound, limit) = match budget.limit {
                    Limit::AtMost(limit) => ("at_most", limit),
                    Limit::AtLeast(limit) => ("at_least", limit),
                };
                json!({
                    "name": budget.name,
                    "measured": budget.measured.json(),
                    "unit": budget.unit,
                    bound: limit,
                    "verdict": budget.limit.verdict(budget.measured.median),
                })
            })
            .collect()
    }

    /// The budgets for people.
    pub fn table(&self) -> String {
        let mut text = format!(
            "{:<58} {:>12} {:>19} {:>19} {:>13}\n",
            "budget", "measured", "half of the rounds", "smallest to largest", "allowed"
        );
        for budget in &self.budgets {
            let Spread { least, low, median, high, most } = budget.measured;
            let range = |from: f64, to: f64| format!("{} to {}", digits(from), digits(to));
            let allowed = match budget.limit {
                Limit::AtMost(limit) => format!("≤ {}", digits(limit)),
                Limit::AtLeast(limit) => format!("≥ {}", digits(limit)),
            };
            // Writing to a string cannot fail.
            let _ = writeln!(
                text,
                "{:<58} {:>12} {:>19} {:>19} {allowed:>13} {:<8} {}",
                budget.name,
                digits(median),
                range(low, high),
                range(least, most),
                budget.unit,
                budget.limit.verdict(median)
            );
        }
        text
    }
}

/// As many digits as mean something.
pub fn digits(number: f64) -> String {
    match number.abs() {
        size if size >= 1_000.0 => {
            let whole = format!("{number:.0}");
            let (sign, whole) = whole.split_at(usize::from(number < 0.0));
            let mut grouped = String::from(sign);
            for (at, digit) in whole.chars().enumerate() {
                if at > 0 && (whole.len() - at) % 3 == 0 {
                    grouped.push(',');
                }
                grouped.push(digit);
            }
            grouped
        }
        size if size >= 100.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_that_mean_something() {
        for (number, expected) in [
            (1.0234, "1.023"),
            (12.34, "12.3"),
            (123.4, "123"),
            (1234.0, "1,234"),
            (-1_234_567.0, "-1,234,567"),
        ] {
            assert_eq!(digits(number), expected);
        }
    }

    #[test]
    fn a_budget_is_held_against_the_median_and_shown_with_what_the_rounds_gave() {
        let mut report = Report::default();
        report.add(Budget {
            name: "a".into(),
            measured: Spread::of(&[7.0, 1.0, 2.0, 3.0, 4.0]),
            unit: "ms",
            limit: Limit::AtMost(3.0),
        });
        let table = report.table();
        for part in ["2.000 to 4.000", "1.000 to 7.000", "≤ 3.000", "ok"] {
            assert!(table.contains(part), "{part} in:\n{table}");
        }
        assert_eq!(report.budgets()[0]["measured"]["largest"], 7.0);
    }

    #[test]
    fn a_budget_is_met_at_its_limit() {
        assert_eq!(Limit::AtMost(1.25).verdict(1.25), "ok");
        assert_eq!(Limit::AtMost(1.25).verdict(1.26), "over");
        assert_eq!(Limit::AtLeast(100.0).verdict(100.0), "ok");
        assert_eq!(Limit::AtLeast(100.0).verdict(99.0), "under");
    }
}
