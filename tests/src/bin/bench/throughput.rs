//! Budgets 3 and 4: how many file events of one server get through on one core, and in how much memory.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use mcpwatch_tests::{Daemon, Done, Memory, OpenPlan, Scene};
use serde_json::{Value, json};

use crate::Effort;
use crate::report::{Budget, Limit, Report, digits};
use crate::statistics::Spread;

/// What the budget asks for, in events a second.
const WANTED: u64 = 100_000;
/// What the agent may hold, in MiB.
pub const MEMORY: f64 = 60.0;
/// Rates the server is asked for; 0 is as fast as it can.
const RATES: &[u64] = &[25_000, 50_000, 75_000, WANTED, 125_000, 0];
/// How many files are opened in turn.
const FILES: usize = 1_000;

/// What came of one rate in one round.
struct Run {
    rate: u64,
    done: Done,
    /// `file.open` records of those opens in the event file.
    recorded: u64,
    /// Events the ring buffer had no room for, of all kinds.
    ring_full: u64,
    /// Records outputs had no room for.
    output_lost: u64,
    /// Processor time by thread, in seconds.
    threads: BTreeMap<String, f64>,
    /// Before the load.
    rest: Memory,
    /// After it.
    after: Memory,
    /// Size of the event file.
    bytes: u64,
}

impl Run {
    fn opens_per_second(&self) -> f64 {
        self.done.made as f64 / self.done.seconds
    }

    fn is_complete(&self) -> bool {
        self.recorded == self.done.made && self.ring_full == 0 && self.output_lost == 0
    }

    fn processor_time(&self) -> f64 {
        self.threads.values().sum()
    }

    /// Microseconds of processor time for each event.
    fn cost(&self) -> f64 {
        self.processor_time() * 1e6 / self.done.made.max(1) as f64
    }

    /// Opens without a record.
    fn lost_per_second(&self) -> f64 {
        self.done.made.saturating_sub(self.recorded) as f64 / self.done.seconds
    }

    fn print(&self) {
        let threads: Vec<String> = self
            .threads
            .iter()
            .filter(|(_, time)| **time >= 0.01)
            .map(|(name, time)| format!("{name} {time:.2}"))
            .collect();
        println!(
            "  {:>9} {:>9} {:>10} {:>10} {:>9} {:>9} {:>8} {:>9} {:>8}  {}",
            if self.rate == 0 { "all".to_owned() } else { digits(self.rate as f64) },
            digits(self.opens_per_second()),
            self.done.made,
            self.recorded,
            self.ring_full,
            self.output_lost,
            digits(self.processor_time()),
            digits(self.cost()),
            digits(self.after.peak),
            threads.join(", ")
        );
    }

    fn json(&self) -> Value {
        json!({
            "made": self.done.made,
            "seconds": self.done.seconds,
            "recorded": self.recorded,
            "ring_full": self.ring_full,
            "output_lost": self.output_lost,
            "event_file_bytes": self.bytes,
            "agent_cpu_seconds": self.processor_time(),
            "agent_cpu_seconds_by_thread": self.threads,
            "memory_at_rest": memory_json(&self.rest),
            "memory_after": memory_json(&self.after),
        })
    }
}

pub fn measure(effort: Effort, report: &mut Report) {
    let (rounds, seconds) = match effort {
        Effort::Quick => (1, 2),
        Effort::Full => (5, 4),
    };
    println!("file events of one server, the agent on one core, {rounds} rounds of {seconds} s");
    println!(
        "  {:>9} {:>9} {:>10} {:>10} {:>9} {:>9} {:>8} {:>9} {:>8}  CPU s by thread",
        "asked/s",
        "made/s",
        "made",
        "recorded",
        "ring_full",
        "out lost",
        "CPU s",
        "µs/event",
        "peak MiB"
    );
    let mut made: Vec<Vec<Run>> = Vec::new();
    for _ in 0..rounds {
        let mut round = Vec::new();
        for &rate in RATES {
            let run = run(rate, seconds);
            run.print();
            round.push(run);
        }
        made.push(round);
    }
    conclude(&made, report);
}

/// What all rounds come to; each has every rate.
fn conclude(rounds: &[Vec<Run>], report: &mut Report) {
    let best = rounds.iter().map(|round| {
        let complete = round.iter().filter(|run| run.is_complete());
        complete.map(Run::opens_per_second).fold(0.0, f64::max)
    });
    report.add(Budget {
        name: "file events/s of one server on one core, none lost".into(),
        measured: Spread::of(&best.collect::<Vec<_>>()),
        unit: "/s",
        limit: Limit::AtLeast(WANTED as f64 * 0.999),
    });
    // Each run has an agent of its own, so that all of them tell of starting and of rest.
    let of_all =
        |of: fn(&Run) -> f64| Spread::of(&rounds.iter().flatten().map(of).collect::<Vec<_>>());
    let of_rate = |rate: u64, of: fn(&Run) -> f64| {
        let runs = rounds.iter().flatten().filter(|run| run.rate == rate);
        Spread::of(&runs.map(of).collect::<Vec<_>>())
    };
    report.add(memory("resident at most, starting", of_all(|run| run.rest.peak)));
    report.add(memory("resident at rest", of_all(|run| run.rest.resident)));
    report.add(memory(
        &format!("resident at most, {} events/s", digits(WANTED as f64)),
        of_rate(WANTED, |run| run.after.peak),
    ));
    report.add(memory("resident at most, a flood", of_rate(0, |run| run.after.peak)));
    let rows: Vec<Value> = RATES
        .iter()
        .map(|&rate| {
            let runs = rounds.iter().flatten().filter(|run| run.rate == rate);
            let processor = |run: &Run| run.processor_time() * 100.0 / run.done.seconds;
            json!({
                "asked_per_second": rate,
                "made_per_second": of_rate(rate, Run::opens_per_second).json(),
                "lost_per_second": of_rate(rate, Run::lost_per_second).json(),
                "agent_percent_of_a_processor": of_rate(rate, processor).json(),
                "agent_microseconds_each": of_rate(rate, Run::cost).json(),
                "agent_resident_mib": of_rate(rate, |run| run.after.peak).json(),
                "rounds": runs.map(Run::json).collect::<Vec<_>>(),
            })
        })
        .collect();
    report.details.insert("throughput".into(), json!(rows));
}

/// A line of the memory budget.
pub fn memory(name: &str, measured: Spread) -> Budget {
    Budget { name: name.into(), measured, unit: "MiB", limit: Limit::AtMost(MEMORY) }
}

/// Memory for the JSON file, in MiB.
pub fn memory_json(memory: &Memory) -> Value {
    json!({"resident": memory.resident, "peak": memory.peak, "parts": memory.parts})
}

fn run(rate: u64, seconds: u64) -> Run {
    let scene = Scene::new();
    let folder = scene.home().join("project/src");
    // One core is what the budget gives the agent; the server works on another, when there is one.
    let (servers, agents) = match thread::available_parallelism().map_or(1, usize::from) {
        1 => (None, None),
        processors => (Some(0), Some(processors - 1)),
    };
    let plan = OpenPlan {
        folder: &folder,
        name: "file-",
        files: FILES,
        rate,
        seconds,
        processor: servers,
    };
    plan.make_files();
    let events = scene.backstage("events.jsonl");
    let mut agent = Daemon::start(&scene, &events, agents);
    thread::sleep(Duration::from_millis(500));
    let rest = agent.memory();
    agent.forget_peak();
    let before = agent.processor_time();
    let done = plan.start(&scene).wait(&scene);
    settle(&mut agent, &events);
    let mut threads = agent.processor_time();
    for (name, time) in before {
        *threads.entry(name).or_insert(0.0) -= time;
    }
    let after = agent.memory();
    agent.stop();
    let written = read(&events, &folder);
    Run {
        rate,
        done,
        recorded: written.recorded,
        ring_full: written.ring_full,
        output_lost: written.output_lost,
        threads,
        rest,
        after,
        bytes: size(&events),
    }
}

fn size(path: &Path) -> u64 {
    fs::metadata(path).map_or(0, |metadata| metadata.len())
}

/// Waits until the event file has not grown for half a second.
pub fn settle(agent: &mut Daemon, events: &Path) {
    let last = Cell::new((0, Instant::now()));
    agent.wait_until("everything is written", |_| {
        let (before, since) = last.get();
        let now = size(events);
        if now != before {
            last.set((now, Instant::now()));
        }
        now == before && since.elapsed() > Duration::from_millis(500)
    });
}

/// What the event file says.
struct Written {
    /// `file.open` records of files in the folder.
    recorded: u64,
    /// By the last counters.
    ring_full: u64,
    /// By the `loss` records.
    output_lost: u64,
}

fn read(events: &Path, folder: &Path) -> Written {
    let mut written = Written { recorded: 0, ring_full: 0, output_lost: 0 };
    let path = format!("\"path\":\"{}/", folder.display());
    let mut last = String::new();
    let file = BufReader::new(File::open(events).expect("the event file is there"));
    for line in file.lines() {
        let line = line.expect("the event file can be read");
        if line.contains("\"type\":\"file.open\"") {
            written.recorded += u64::from(line.contains(&path));
        } else if line.contains("\"type\":\"loss\"") {
            let record = parse(&line);
            if record["loss"]["stage"] == "output" {
                written.output_lost += record["loss"]["lost"].as_u64().unwrap_or(0);
            }
        }
        last = line;
    }
    let last = parse(&last);
    let counters = last["status"]["counters"].as_array().expect("the last record has the counters");
    written.ring_full = counters.iter().filter_map(|one| one["ring_full"].as_u64()).sum();
    written
}

fn parse(line: &str) -> Value {
    serde_json::from_str(line).expect("a record is JSON")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_round_counts_for_what_it_did_not_lose_and_each_rate_has_its_rounds() {
        let run = |rate: u64, made: u64, recorded: u64| {
            let memory = |peak: f64| Memory { resident: 40.0, peak, parts: BTreeMap::new() };
            Run {
                rate,
                done: Done { made, seconds: 2.0, told: json!({}) },
                recorded,
                ring_full: made - recorded,
                output_lost: 0,
                threads: BTreeMap::from([("pipeline".into(), 1.0)]),
                rest: memory(80.0),
                after: memory(recorded as f64 / 10.0),
                bytes: 0,
            }
        };
        // As many as it can: nothing lost in the first and last round.
        let rounds: Vec<Vec<Run>> = [(600, 600), (700, 500), (620, 620)]
            .into_iter()
            .map(|(made, recorded)| {
                let mut round: Vec<Run> = RATES.iter().map(|&rate| run(rate, 200, 200)).collect();
                round.pop();
                round.push(run(0, made, recorded));
                round
            })
            .collect();
        let mut report = Report::default();
        conclude(&rounds, &mut report);
        let budgets = report.budgets();
        let of = |name: &str| {
            &budgets.iter().find(|one| one["name"] == name).expect("it is there")["measured"]
        };
        let complete = of("file events/s of one server on one core, none lost");
        assert_eq!(complete["smallest"], 100.0);
        assert_eq!(complete["median"], 300.0);
        assert_eq!(complete["largest"], 310.0);
        assert_eq!(of("resident at most, starting")["median"], 80.0);
        assert_eq!(of("resident at most, a flood")["largest"], 62.0);
        let rows = report.details["throughput"].as_array().expect("one for each rate");
        assert_eq!(rows.len(), RATES.len());
        let flood = rows.last().expect("the last is as many as it can");
        assert_eq!(flood["lost_per_second"]["largest"], 100.0);
        assert_eq!(flood["lost_per_second"]["median"], 0.0);
        assert_eq!(flood["agent_percent_of_a_processor"]["median"], 50.0);
        assert_eq!(flood["rounds"][1]["recorded"], 500);
    }
}
