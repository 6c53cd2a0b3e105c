//! The figures for `docs/performance.md`: everything between its two marks is written here.

use std::fmt::Write;
use std::fs;
use std::path::Path;

use mcpwatch_tests::workspace;
use serde_json::Value;

use crate::plot::{self, Line};
use crate::report::digits;
use crate::statistics::Spread;

const BEGIN: &str = "<!-- figures: written by `cargo xtask bench --docs` -->";
const END: &str = "<!-- end of the figures -->";

/// Writes tables and plots of the results into the document and beside it.
pub fn write(results: &Value, conditions: &str) -> Result<(), String> {
    let docs = workspace().join("docs");
    let path = docs.join("performance.md");
    let failed = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    let text = fs::read_to_string(&path).map_err(|error| failed(&error))?;
    let plots = plots(results, &docs.join("performance"))?;
    let text = replaced(&text, &figures(results, conditions, &plots))
        .ok_or_else(|| failed(&format!("expected the marks `{BEGIN}` and `{END}`")))?;
    fs::write(&path, text).map_err(|error| failed(&error))
}

/// The text with other figures between its marks.
fn replaced(text: &str, figures: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{figures}\n{END}{after}"))
}

fn figures(results: &Value, conditions: &str, plots: &[String]) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = writeln!(text, "{conditions}\n");
    budgets(&results["budgets"], &mut text);
    unwatched(&results["details"]["unwatched"]["calls"], &mut text);
    throughput(&results["details"]["throughput"], &mut text);
    latency(&results["details"]["latency"], &mut text);
    rates(&results["details"]["rates"], &mut text);
    for plot in plots {
        let _ = writeln!(text, "![{plot}](performance/{plot}.svg)\n");
    }
    peers(&results["details"]["peers"], &mut text);
    hooks(&results["details"]["hooks"], &mut text);
    text.trim_end().to_owned() + "\n"
}

fn rows(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn number(value: &Value) -> String {
    value.as_f64().map_or_else(|| "–".to_owned(), digits)
}

/// A median with its quartiles.
fn spread(value: &Value) -> String {
    let [low, high] = ["lower_quartile", "upper_quartile"].map(|name| number(&value[name]));
    format!("{} ({low}–{high})", number(&value["median"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn budgets(budgets: &Value, out: &mut String) {
    out.push_str("| Budget | Measured | Half of the rounds | Allowed | |\n|---|---|---|---|---|\n");
    for budget in rows(budgets) {
        let allowed = match budget.get("at_most") {
            Some(limit) => format!("≤ {}", number(limit)),
            None => format!("≥ {}", number(&budget["at_least"])),
        };
        let half = match budget.get("lower_quartile") {
            Some(low) => format!("{} to {}", number(low), number(&budget["upper_quartile"])),
            None => String::new(),
        };
        let verdict = match text(&budget["verdict"]) {
            "ok" => "ok".to_owned(),
            other => format!("**{other}**"),
        };
        let (name, unit) = (text(&budget["name"]), text(&budget["unit"]));
        let measured = number(&budget["measured"]);
        let _ =
            writeln!(out, "| {name} | {measured} {unit} | {half} | {allowed} {unit} | {verdict} |");
    }
    out.push('\n');
}

fn unwatched(calls: &Value, out: &mut String) {
    if calls.is_null() {
        return;
    }
    out.push_str(
        "What a call costs a process nobody watches, in nanoseconds (medians):\n\n\
         | | No agent | Agent, nothing watched | Agent, a server watched | Empty program on `sys_exit` |\n\
         |---|---|---|---|---|\n",
    );
    for call in rows(calls) {
        let median = |name: &str| {
            let rounds: Vec<f64> = rows(&call[name]).filter_map(Value::as_f64).collect();
            if rounds.is_empty() { "–".to_owned() } else { digits(Spread::of(&rounds).median) }
        };
        let columns = ["without", "idle", "watching", "empty_program"].map(median).join(" | ");
        let _ = writeln!(out, "| {} | {columns} |", text(&call["call"]));
    }
    out.push('\n');
}

fn throughput(runs: &Value, out: &mut String) {
    if runs.is_null() {
        return;
    }
    out.push_str(
        "File events of one server, the agent on one core:\n\n\
         | Asked for | Made | Recorded | Lost | Processor time | Each event |\n\
         |---|---|---|---|---|---|\n",
    );
    for run in rows(runs) {
        let count = |name: &str| run[name].as_u64().unwrap_or(0);
        let asked = match count("asked_per_second") {
            0 => "as many as it can".to_owned(),
            rate => format!("{}/s", digits(rate as f64)),
        };
        let (made, recorded) = (count("made"), count("recorded"));
        let time = run["agent_cpu_seconds"].as_f64().unwrap_or_default();
        let _ = writeln!(
            out,
            "| {asked} | {} | {} | {} | {} s | {} µs |",
            digits(made as f64),
            digits(recorded as f64),
            made.saturating_sub(recorded),
            digits(time),
            digits(time * 1e6 / made.max(1) as f64),
        );
    }
    out.push('\n');
}

fn latency(latency: &Value, out: &mut String) {
    if latency.is_null() {
        return;
    }
    let _ = writeln!(
        out,
        "From a system call to its alert, in milliseconds, of {} calls with an alert each:\n\n\
         | p50 | p90 | p99 | Most |\n|---|---|---|---|\n| {} | {} | {} | {} |\n",
        latency["alerts"],
        number(&latency["p50"]),
        number(&latency["p90"]),
        number(&latency["p99"]),
        number(&latency["most"]),
    );
}

fn rates(rates: &Value, out: &mut String) {
    if rates.is_null() {
        return;
    }
    out.push_str(
        "One server at fixed rates, alone and watched: medians of the rounds, quartiles in \
         parentheses.\n\n\
         | | Asked/s | Made/s, watched | Server µs each, alone | Server µs each, watched \
         | Agent, % of a processor | Resident at most, MiB | Lost/s |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for row in rows(rates) {
        let cost = &row["server_microseconds_each"];
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {} | {} | {} | {} |",
            text(&row["work"]),
            number(&row["asked_per_second"]),
            number(&row["made_per_second"]["watched"]["median"]),
            spread(&cost["alone"]),
            spread(&cost["watched"]),
            spread(&row["agent_percent_of_a_processor"]),
            number(&row["agent_resident_mib"]["median"]),
            number(&row["lost_per_second"]["median"]),
        );
    }
    out.push('\n');
}

fn peers(peers: &Value, out: &mut String) {
    if peers.is_null() {
        return;
    }
    out.push_str(
        "Others with the same job, each limited to the same server:\n\n\
         | Peer | | Asked/s | Made/s | Server µs each | Peer, % of a processor |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows(peers) {
        let (peer, work) = (text(&row["peer"]), text(&row["work"]));
        if let Some(why) = row.get("missing") {
            // Its first sentence: what follows names folders of the machine.
            let why = text(why).split(". ").next().unwrap_or_default();
            let _ = writeln!(out, "| {peer} | {work} | does not run here: {why} | | | |");
            continue;
        }
        let _ = writeln!(
            out,
            "| {peer} | {work} | {} | {} | {} | {} |",
            number(&row["asked_per_second"]),
            number(&row["made_per_second"]["median"]),
            spread(&row["server_microseconds_each"]),
            spread(&row["peer_percent_of_a_processor"]),
        );
    }
    out.push('\n');
}

fn hooks(hooks: &Value, out: &mut String) {
    if hooks.is_null() {
        return;
    }
    out.push_str(
        "What each kernel program takes, by the kernel's own statistics (which cost about as much \
         as the smallest of them):\n\n| Program | Runs | ns each |\n|---|---|---|\n",
    );
    for row in rows(hooks) {
        let program = text(&row["program"]);
        let _ = writeln!(
            out,
            "| `{program}` | {} | {} |",
            number(&row["runs"]),
            number(&row["nanoseconds_each"])
        );
    }
    out.push('\n');
}

/// Draws what there is to draw; gives the names of the files.
fn plots(results: &Value, folder: &Path) -> Result<Vec<String>, String> {
    let rates = &results["details"]["rates"];
    if rates.is_null() {
        return Ok(Vec::new());
    }
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut works: Vec<&str> = rows(rates).map(|row| text(&row["work"])).collect();
    works.dedup();
    let line = |name: String, work: &str, of: &dyn Fn(&Value) -> Value| Line {
        name,
        points: rows(rates)
            .filter(|row| text(&row["work"]) == work)
            .map(|row| {
                let value = of(row);
                let number = |name: &str| value[name].as_f64().unwrap_or_default();
                let rate = row["asked_per_second"].as_f64().unwrap_or_default();
                [rate, number("lower_quartile"), number("median"), number("upper_quartile")]
            })
            .collect(),
    };
    let agent: Vec<Line> = works
        .iter()
        .map(|work| {
            line((*work).to_owned(), work, &|row| row["agent_percent_of_a_processor"].clone())
        })
        .collect();
    let mut drawn =
        vec![("agent".to_owned(), "Processor time of the agent", "% of a processor", agent)];
    for work in &works {
        let lines = ["alone", "watched"]
            .map(|how| {
                line(how.to_owned(), work, &|row| row["server_microseconds_each"][how].clone())
            })
            .into();
        drawn.push((work.replace(' ', "-"), work, "µs of the server each", lines));
    }
    drawn
        .into_iter()
        .map(|(name, title, unit, lines)| {
            let path = folder.join(format!("{name}.svg"));
            plot::draw(&path, title, unit, &lines)
                .map(|()| name)
                .map_err(|error| format!("{}: {error}", path.display()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn figures_come_between_the_marks_and_the_rest_stays() {
        let text = format!("before\n{BEGIN}\nold\n{END}\nafter\n");
        let new = replaced(&text, "new\n").unwrap();
        assert_eq!(new, format!("before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"));
        assert_eq!(replaced("no marks", "new"), None);
    }

    #[test]
    fn the_document_has_the_marks() {
        let text = fs::read_to_string(workspace().join("docs/performance.md")).unwrap();
        assert!(replaced(&text, "").is_some());
    }

    #[test]
    fn tables_of_everything() {
        let spread = json!({"median": 1.0, "lower_quartile": 0.5, "upper_quartile": 2.0});
        let results = json!({
            "budgets": [{"name": "a", "measured": 3.0, "unit": "%", "at_most": 2.0, "verdict": "over"}],
            "details": {
                "unwatched": {"calls": [{
                    "call": "getppid", "without": [100.0], "idle": [101.0], "watching": [144.0],
                    "empty_program": [129.0],
                }]},
                "throughput": [{
                    "asked_per_second": 0, "made": 2000, "recorded": 1999, "agent_cpu_seconds": 0.5,
                }],
                "rates": [{
                    "work": "files opened", "asked_per_second": 1000,
                    "made_per_second": {"alone": spread, "watched": spread},
                    "server_microseconds_each": {"alone": spread, "watched": spread},
                    "agent_percent_of_a_processor": spread,
                    "agent_resident_mib": spread, "lost_per_second": spread,
                }],
                "peers": [{"peer": "strace", "work": "files opened", "missing": "not installed"}],
                "hooks": [{"program": "sys_exit", "runs": 5, "nanoseconds_each": 80.0}],
            },
        });
        let folder = tempfile::tempdir().unwrap();
        let plots = plots(&results, folder.path()).unwrap();
        assert_eq!(plots, ["agent", "files-opened"]);
        assert!(folder.path().join("files-opened.svg").is_file());
        let text = figures(&results, "Conditions: a test.", &plots);
        for part in [
            "Conditions: a test.",
            "| a | 3.000 % |  | ≤ 2.000 % | **over** |",
            "| getppid | 100 | 101 | 144 | 129 |",
            "| as many as it can | 2,000 | 1,999 | 1 | 0.500 s | 250 µs |",
            "| files opened | 1,000 | 1.000 | 1.000 (0.500–2.000) |",
            "does not run here: not installed",
            "| `sys_exit` | 5.000 | 80.0 |",
            "![agent](performance/agent.svg)",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
    }
}
