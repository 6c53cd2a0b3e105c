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

/// What the budget asks for, in events a second.
const WANTED: u64 = 100_000;
/// What the agent may hold, in MiB.
pub const MEMORY: f64 = 60.0;
/// Rates the server is asked for; 0 is as fast as it can.
const RATES: &[u64] = &[25_000, 50_000, 75_000, WANTED, 125_000, 0];
/// How many files are opened in turn.
const FILES: usize = 1_000;

/// What came of one rate.
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
}

pub fn measure(effort: Effort, report: &mut Report) {
    let seconds = match effort {
        Effort::Quick => 2,
        Effort::Full => 6,
    };
    println!("file events of one server, the agent on one core, for {seconds} s each");
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
    let mut runs = Vec::new();
    for &rate in RATES {
        let run = run(rate, seconds);
        let threads: Vec<String> = run
            .threads
            .iter()
            .filter(|(_, time)| **time >= 0.01)
            .map(|(name, time)| format!("{name} {time:.2}"))
            .collect();
        println!(
            "  {:>9} {:>9} {:>10} {:>10} {:>9} {:>9} {:>8} {:>9} {:>8}  {}",
            if rate == 0 { "all".to_owned() } else { digits(rate as f64) },
            digits(run.opens_per_second()),
            run.done.made,
            run.recorded,
            run.ring_full,
            run.output_lost,
            digits(run.processor_time()),
            digits(run.cost()),
            digits(run.after.peak),
            threads.join(", ")
        );
        runs.push(run);
    }
    conclude(&runs, report);
}

fn conclude(runs: &[Run], report: &mut Report) {
    let complete = runs.iter().filter(|run| run.is_complete()).map(Run::opens_per_second);
    report.add(Budget {
        name: "file events/s of one server on one core, none lost".into(),
        measured: complete.fold(0.0, f64::max),
        spread: None,
        unit: "/s",
        limit: Limit::AtLeast(WANTED as f64 * 0.999),
    });
    if let Some(run) = runs.first() {
        report.add(memory("resident at most, starting", run.rest.peak));
        report.add(memory("resident at rest", run.rest.resident));
    }
    if let Some(run) = runs.iter().find(|run| run.rate == WANTED) {
        report.add(memory(
            &format!("resident at most, {} events/s", digits(WANTED as f64)),
            run.after.peak,
        ));
    }
    if let Some(run) = runs.iter().find(|run| run.rate == 0) {
        report.add(memory("resident at most, a flood", run.after.peak));
    }
    let runs: Vec<Value> = runs
        .iter()
        .map(|run| {
            json!({
                "asked_per_second": run.rate,
                "made": run.done.made,
                "seconds": run.done.seconds,
                "recorded": run.recorded,
                "ring_full": run.ring_full,
                "output_lost": run.output_lost,
                "event_file_bytes": run.bytes,
                "agent_cpu_seconds": run.processor_time(),
                "agent_cpu_seconds_by_thread": run.threads,
                "memory_at_rest": memory_json(&run.rest),
                "memory_after": memory_json(&run.after),
            })
        })
        .collect();
    report.details.insert("throughput".into(), json!(runs));
}

/// A line of the memory budget.
pub fn memory(name: &str, measured: f64) -> Budget {
    Budget { name: name.into(), measured, spread: None, unit: "MiB", limit: Limit::AtMost(MEMORY) }
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
