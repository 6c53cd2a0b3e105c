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

/// What of a spread is shown around its median.
const QUARTILES: [&str; 2] = ["lower_quartile", "upper_quartile"];
const EXTREMES: [&str; 2] = ["smallest", "largest"];

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
    between(value, QUARTILES)
}

/// A median with the smallest and the largest value.
fn extremes(value: &Value) -> String {
    between(value, EXTREMES)
}

fn between(value: &Value, ends: [&str; 2]) -> String {
    let [low, high] = ends.map(|name| number(&value[name]));
    format!("{} ({low}–{high})", number(&value["median"]))
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn budgets(budgets: &Value, out: &mut String) {
    out.push_str(
        "| Budget | Measured | Half of the rounds | Smallest to largest | Allowed | |\n\
         |---|---|---|---|---|---|\n",
    );
    for budget in rows(budgets) {
        let allowed = match budget.get("at_most") {
            Some(limit) => format!("≤ {}", number(limit)),
            None => format!("≥ {}", number(&budget["at_least"])),
        };
        let measured = &budget["measured"];
        let [half, all] =
            [QUARTILES, EXTREMES].map(|ends| ends.map(|name| number(&measured[name])).join(" to "));
        let verdict = match text(&budget["verdict"]) {
            "ok" => "ok".to_owned(),
            other => format!("**{other}**"),
        };
        let (name, unit) = (text(&budget["name"]), text(&budget["unit"]));
        let median = number(&measured["median"]);
        let _ = writeln!(
            out,
            "| {name} | {median} {unit} | {half} | {all} | {allowed} {unit} | {verdict} |"
        );
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

fn throughput(throughput: &Value, out: &mut String) {
    if throughput.is_null() {
        return;
    }
    out.push_str(
        "File events of one server, the agent on one core: medians of the rounds, smallest and \
         largest in parentheses.\n\n\
         | Asked/s | Made/s | Lost/s | Agent, % of a processor | Agent µs each \
         | Resident at most, MiB |\n\
         |---|---|---|---|---|---|\n",
    );
    for row in rows(throughput) {
        let asked = match row["asked_per_second"].as_u64() {
            Some(0) => "as many as it can".to_owned(),
            _ => number(&row["asked_per_second"]),
        };
        let columns = [
            "made_per_second",
            "lost_per_second",
            "agent_percent_of_a_processor",
            "agent_microseconds_each",
            "agent_resident_mib",
        ]
        .map(|name| extremes(&row[name]))
        .join(" | ");
        let _ = writeln!(out, "| {asked} | {columns} |");
    }
    out.push('\n');
}

fn latency(latency: &Value, out: &mut String) {
    if latency.is_null() {
        return;
    }
    let _ = writeln!(
        out,
        "From a system call to its alert, in milliseconds, {} alerts of {} calls a round: medians \
         of the rounds, smallest and largest in parentheses.\n\n\
         | p50 | p90 | p99 | Most |\n|---|---|---|---|\n| {} | {} | {} | {} |\n",
        number(&latency["alerts"]["median"]),
        number(&latency["calls"]["median"]),
        extremes(&latency["p50"]),
        extremes(&latency["p90"]),
        extremes(&latency["p99"]),
        extremes(&latency["most"]),
    );
}

fn rates(rates: &Value, out: &mut String) {
    if rates.is_null() {
        return;
    }
    out.push_str(
        "One server at fixed rates, alone and watched: medians of the rounds, quartiles in \
         parentheses; of what is lost, the smallest and the largest.\n\n\
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
            spread(&row["agent_resident_mib"]),
            extremes(&row["lost_per_second"]),
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
         as the smallest of them): medians of the rounds, smallest and largest in parentheses.\n\n\
         | Program | Runs | ns each |\n|---|---|---|\n",
    );
    for row in rows(hooks) {
        let program = text(&row["program"]);
        let _ = writeln!(
            out,
            "| `{program}` | {} | {} |",
            number(&row["runs"]["median"]),
            extremes(&row["nanoseconds_each"])
        );
    }
    out.push('\n');
}

/// Draws what there is to draw; gives the names of the files.
fn plots(results: &Value, folder: &Path) -> Result<Vec<String>, String> {
    let rates = &results["details"]["rates"];
    fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let mut works: Vec<&str> = rows(rates).map(|row| text(&row["work"])).collect();
    works.dedup();
    let line = |name: String, work: &str, of: &dyn Fn(&Value) -> Value| Line {
        name,
        points: rows(rates)
            .filter(|row| text(&row["work"]) == work)
            .map(|row| point(&row["asked_per_second"], &of(row), QUARTILES))
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
    // It has no rate that is asked for where there are as many as the server can make.
    let each = rows(&results["details"]["throughput"]).map(|row| {
        point(&row["made_per_second"]["median"], &row["agent_microseconds_each"], EXTREMES)
    });
    let each = Line { name: "agent on one core".into(), points: each.collect() };
    drawn.push(("throughput".into(), "Processor time for each event", "µs each", vec![each]));
    drawn
        .into_iter()
        .filter(|(.., lines)| lines.iter().any(|line| !line.points.is_empty()))
        .map(|(name, title, unit, lines)| {
            let path = folder.join(format!("{name}.svg"));
            plot::draw(&path, title, unit, &lines)
                .map(|()| name)
                .map_err(|error| format!("{}: {error}", path.display()))
        })
        .collect()
}

/// A rate, and a median between two ends of its spread.
fn point(rate: &Value, value: &Value, [low, high]: [&str; 2]) -> [f64; 4] {
    [rate, &value[low], &value["median"], &value[high]]
        .map(|number| number.as_f64().unwrap_or_default())
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
        let spread = json!({
            "median": 1.0, "lower_quartile": 0.5, "upper_quartile": 2.0,
            "smallest": 0.25, "largest": 4.0,
        });
        let results = json!({
            "budgets": [{
                "name": "a", "measured": spread, "unit": "%", "at_most": 0.5, "verdict": "over",
            }],
            "details": {
                "unwatched": {"calls": [{
                    "call": "getppid", "without": [100.0], "idle": [101.0], "watching": [144.0],
                    "empty_program": [129.0],
                }]},
                "throughput": [{
                    "asked_per_second": 0, "made_per_second": spread, "lost_per_second": spread,
                    "agent_percent_of_a_processor": spread, "agent_microseconds_each": spread,
                    "agent_resident_mib": spread,
                }],
                "latency": {
                    "alerts": {"median": 3500.0}, "calls": {"median": 4000.0},
                    "p50": spread, "p90": spread, "p99": spread, "most": spread,
                },
                "rates": [{
                    "work": "files opened", "asked_per_second": 1000,
                    "made_per_second": {"alone": spread, "watched": spread},
                    "server_microseconds_each": {"alone": spread, "watched": spread},
                    "agent_percent_of_a_processor": spread,
                    "agent_resident_mib": spread, "lost_per_second": spread,
                }],
                "peers": [{"peer": "strace", "work": "files opened", "missing": "not installed"}],
                "hooks": [{"program": "sys_exit", "runs": spread, "nanoseconds_each": spread}],
            },
        });
        let folder = tempfile::tempdir().unwrap();
        let plots = plots(&results, folder.path()).unwrap();
        assert_eq!(plots, ["agent", "files-opened", "throughput"]);
        for plot in ["files-opened.svg", "throughput.svg"] {
            assert!(folder.path().join(plot).is_file(), "{plot}");
        }
        let text = figures(&results, "Conditions: a test.", &plots);
        for part in [
            "Conditions: a test.",
            "| a | 1.000 % | 0.500 to 2.000 | 0.250 to 4.000 | ≤ 0.500 % | **over** |",
            "| getppid | 100 | 101 | 144 | 129 |",
            "| as many as it can | 1.000 (0.250–4.000) | 1.000 (0.250–4.000) |",
            "3,500 alerts of 4,000 calls a round",
            "| files opened | 1,000 | 1.000 | 1.000 (0.500–2.000) |",
            "| 1.000 (0.500–2.000) | 1.000 (0.250–4.000) |",
            "does not run here: not installed",
            "| `sys_exit` | 1.000 | 1.000 (0.250–4.000) |",
            "![agent](performance/agent.svg)",
        ] {
            assert!(text.contains(part), "{part} in:\n{text}");
        }
    }
}
