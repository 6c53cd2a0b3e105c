//! Fixed rates, as the benches of the best peers have them: programs, opens, connections and messages, a server
//! by itself against the same server watched, some rounds of each.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::thread;
use std::time::Duration;

use mcpwatch_tests::{Daemon, Done, Load, Memory, Scene, text};
use serde_json::{Value, json};

use crate::Effort;
use crate::peers;
use crate::report::{Budget, Limit, Report, digits};
use crate::statistics::Spread;
use crate::throughput::{memory, memory_json, settle};

/// What the agent may take of one processor at [`EVENTS`] a second.
const PROCESSOR: f64 = 5.0;
/// Events a second of that budget.
const EVENTS: u64 = 10_000;
/// What the peer of that budget took where it was set, printing 35 bytes an event.
const PEER: f64 = 4.4;

/// Something a server does, at several rates.
pub struct Work {
    /// What it is called in the report.
    pub name: &'static str,
    /// The tool of `src/bin/load`.
    pub tool: &'static str,
    /// How often a second.
    pub rates: &'static [u64],
    /// The rate the peers are measured at; none when they cannot see this.
    pub for_peers: Option<u64>,
    /// The type of its records, and how many are made of so many doings.
    record: &'static str,
    per_record: u64,
}

/// Rates of the published benches of Tetragon, Tracee and Falco, and of what a busy server says.
pub const WORKS: &[Work] = &[
    Work {
        name: "programs run",
        tool: "run_programs",
        rates: &[1_000, 2_000, 4_000],
        for_peers: Some(1_000),
        record: "process.exec",
        per_record: 1,
    },
    Work {
        name: "files opened",
        tool: "open_files",
        rates: &[1_000, 4_000, EVENTS, 16_000],
        for_peers: Some(4_000),
        record: "file.open",
        per_record: 1,
    },
    Work {
        name: "connections",
        tool: "connect",
        rates: &[250, 1_000],
        for_peers: Some(1_000),
        record: "net.connect",
        per_record: 1,
    },
    Work {
        name: "messages",
        tool: "talk",
        rates: &[1_000, 5_000, 10_000],
        for_peers: None,
        record: "mcp.call",
        per_record: 2,
    },
];

/// Tools of `src/bin/load` for the kernel programs that nothing of [`WORKS`] has run, and how often a second.
const BESIDE: &[&str] = &["connect6", "send_datagrams", "send_datagrams6", "open_by_ring"];
const BESIDE_RATE: u64 = 250;

/// One run without the agent.
pub struct Alone {
    made_per_second: f64,
    /// Processor time of the server for each doing, in microseconds.
    cost: f64,
}

/// One run with the agent.
struct Watched {
    alone: Alone,
    /// Processor time of the agent, in percent of one processor.
    agent: f64,
    /// The most it held, in MiB.
    resident: f64,
    /// Records that are missing, a second.
    lost_per_second: f64,
}

impl Alone {
    /// What came of a load.
    pub fn of(done: &Done) -> Self {
        let processor = done.told["processor_seconds"].as_f64().unwrap_or_default();
        Self {
            made_per_second: done.made as f64 / done.seconds,
            cost: processor * 1e6 / done.made.max(1) as f64,
        }
    }

    /// Microseconds of the server's processor time for each doing.
    pub fn cost(&self) -> f64 {
        self.cost
    }

    /// How often a second it was done.
    pub fn made_per_second(&self) -> f64 {
        self.made_per_second
    }
}

pub fn measure(effort: Effort, report: &mut Report) {
    let (rounds, seconds) = match effort {
        Effort::Quick => (1, 1),
        Effort::Full => (5, 4),
    };
    println!("fixed rates: a server alone and watched, {rounds} rounds of {seconds} s; medians");
    println!(
        "  {:<14} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>8}",
        "",
        "asked/s",
        "alone/s",
        "watched/s",
        "µs alone",
        "µs watch",
        "agent %",
        "peak MiB",
        "lost/s"
    );
    let mut rows = Vec::new();
    let mut lost: f64 = 0.0;
    for work in WORKS {
        for &rate in work.rates {
            let mut alone = Vec::new();
            let mut watched = Vec::new();
            let mut to_peer = Vec::new();
            let budgeted = work.record == "file.open" && rate == EVENTS;
            for round in 0..rounds {
                // In turn, each first every other time.
                if round % 2 == 0 {
                    alone.push(run_alone(work, rate, seconds));
                }
                watched.push(run_watched(work, rate, seconds));
                if round % 2 == 1 {
                    alone.push(run_alone(work, rate, seconds));
                }
                if budgeted && let Some(run) = watched.last() {
                    let peer = peers::processor("bpftrace", work, rate, seconds);
                    to_peer.extend(peer.filter(|peer| *peer > 0.0).map(|peer| run.agent / peer));
                }
            }
            let row = Row::of(work, rate, &alone, &watched);
            row.print();
            if budgeted {
                let name = format!("processor of the agent at {} events/s", digits(EVENTS as f64));
                report.add(Budget {
                    name: name.clone(),
                    measured: row.agent,
                    unit: "%",
                    limit: Limit::AtMost(PROCESSOR),
                });
                if !to_peer.is_empty() {
                    report.add(Budget {
                        name: format!("{name}, to bpftrace"),
                        measured: Spread::of(&to_peer),
                        unit: "×",
                        limit: Limit::AtMost(PROCESSOR / PEER),
                    });
                }
            }
            lost = lost.max(row.lost.most);
            rows.push(row.json());
        }
    }
    // The most and not the median: one round with a loss is one too many.
    report.add(Budget {
        name: "lost at fixed rates, in any round".into(),
        measured: Spread::of(&[lost]),
        unit: "/s",
        limit: Limit::AtMost(0.0),
    });
    report.details.insert("rates".into(), json!(rows));
    report.details.insert("peers".into(), peers::measure(rounds, seconds));
}

/// What came of all rounds of one rate.
struct Row<'a> {
    work: &'a Work,
    rate: u64,
    made_alone: Spread,
    made_watched: Spread,
    cost_alone: Spread,
    cost_watched: Spread,
    agent: Spread,
    resident: Spread,
    lost: Spread,
}

impl<'a> Row<'a> {
    fn of(work: &'a Work, rate: u64, alone: &[Alone], watched: &[Watched]) -> Self {
        let of_alone =
            |of: fn(&Alone) -> f64| Spread::of(&alone.iter().map(of).collect::<Vec<_>>());
        let of_watched =
            |of: fn(&Watched) -> f64| Spread::of(&watched.iter().map(of).collect::<Vec<_>>());
        Self {
            work,
            rate,
            made_alone: of_alone(|run| run.made_per_second),
            made_watched: of_watched(|run| run.alone.made_per_second),
            cost_alone: of_alone(|run| run.cost),
            cost_watched: of_watched(|run| run.alone.cost),
            agent: of_watched(|run| run.agent),
            resident: of_watched(|run| run.resident),
            lost: of_watched(|run| run.lost_per_second),
        }
    }

    fn print(&self) {
        println!(
            "  {:<14} {:>8} {:>9} {:>9} {:>9} {:>9} {:>8} {:>9} {:>8}",
            self.work.name,
            digits(self.rate as f64),
            digits(self.made_alone.median),
            digits(self.made_watched.median),
            digits(self.cost_alone.median),
            digits(self.cost_watched.median),
            digits(self.agent.median),
            digits(self.resident.median),
            digits(self.lost.median),
        );
    }

    fn json(&self) -> Value {
        json!({
            "work": self.work.name,
            "asked_per_second": self.rate,
            "made_per_second": {
                "alone": self.made_alone.json(), "watched": self.made_watched.json(),
            },
            "server_microseconds_each": {
                "alone": self.cost_alone.json(), "watched": self.cost_watched.json(),
            },
            "agent_percent_of_a_processor": self.agent.json(),
            "agent_resident_mib": self.resident.json(),
            "lost_per_second": self.lost.json(),
        })
    }
}

/// Starts the work in a scene.
pub fn start(scene: &Scene, work: &Work, rate: u64, seconds: u64) -> Load {
    let folder = scene.home().join("data");
    fs::create_dir_all(&folder).expect("mkdir");
    for number in 0..100 {
        fs::write(folder.join(format!("f{number}")), "text").expect("a file can be written");
    }
    let call = json!({
        "tool": work.tool, "folder": folder, "name": "f", "files": 100,
        "rate": rate, "seconds": seconds, "bytes": 100,
    });
    Load::start(scene, "load", &call)
}

fn run_alone(work: &Work, rate: u64, seconds: u64) -> Alone {
    let scene = Scene::new();
    Alone::of(&start(&scene, work, rate, seconds).wait(&scene))
}

fn run_watched(work: &Work, rate: u64, seconds: u64) -> Watched {
    let scene = Scene::new();
    let events = scene.backstage("events.jsonl");
    let mut agent = Daemon::start(&scene, &events, None);
    thread::sleep(Duration::from_millis(300));
    agent.forget_peak();
    let before: f64 = agent.processor_time().values().sum();
    let done = start(&scene, work, rate, seconds).wait(&scene);
    settle(&mut agent, &events);
    let time = agent.processor_time().values().sum::<f64>() - before;
    let resident = agent.memory().peak;
    agent.stop();
    let expected = done.made / work.per_record;
    let missing = expected.saturating_sub(recorded(&events, work, &scene.path("data")));
    Watched {
        agent: time * 100.0 / done.seconds,
        resident,
        lost_per_second: missing as f64 / done.seconds,
        alone: Alone::of(&done),
    }
}

/// Records of the work in the event file.
fn recorded(events: &Path, work: &Work, folder: &str) -> u64 {
    let kind = format!("\"type\":\"{}\"", work.record);
    let mark = match work.record {
        "process.exec" => "/smallest\"".to_owned(),
        "file.open" => format!("\"path\":\"{folder}/"),
        "net.connect" => "\"address\":\"127.0.0.1\"".to_owned(),
        _ => "\"tool\":\"echo\"".to_owned(),
    };
    BufReader::new(File::open(events).expect("the event file is there"))
        .lines()
        .map_while(Result::ok)
        .filter(|line| line.contains(&kind) && line.contains(&mark))
        .count() as u64
}

/// What the kernel's own statistics say of each of our programs: nanoseconds a run.
pub fn hooks(effort: Effort, report: &mut Report) {
    let (rounds, seconds) = match effort {
        Effort::Quick => (1, 2),
        Effort::Full => (5, 4),
    };
    println!(
        "what each kernel program takes, by bpf_stats_enabled: everything at once, {rounds} rounds \
         of {seconds} s"
    );
    let mut programs: BTreeMap<String, [Vec<f64>; 2]> = BTreeMap::new();
    for _ in 0..rounds {
        for (program, count, each) in counted(seconds) {
            let [counts, times] = programs.entry(program).or_default();
            counts.push(count);
            times.push(each);
        }
    }
    assert!(!programs.is_empty(), "the kernel counts what its programs take");
    let mut rows = Vec::new();
    for (program, [counts, times]) in programs {
        let [count, each] = [&counts, &times].map(|all| Spread::of(all));
        println!(
            "  {program:<44} {:>12} runs {:>9} ns each, {} to {}",
            digits(count.median),
            digits(each.median),
            digits(each.least),
            digits(each.most)
        );
        rows.push(json!({
            "program": program,
            "runs": count.json(),
            "nanoseconds_each": each.json(),
            "rounds": {"runs": counts, "nanoseconds_each": times},
        }));
    }
    report.details.insert("hooks".into(), json!(rows));
}

/// One round: each program that ran, how often, and the nanoseconds of a run.
fn counted(seconds: u64) -> Vec<(String, f64, f64)> {
    let statistics = mcpwatch_tests::Statistics::enable().expect("root may ask for statistics");
    let scene = Scene::new();
    let events = scene.backstage("events.jsonl");
    let agent = Daemon::start(&scene, &events, None);
    let works = WORKS.iter().map(|work| (work.tool, work.rates[0]));
    let loads: Vec<Load> = works
        .chain(BESIDE.iter().map(|tool| (*tool, BESIDE_RATE)))
        .map(|(tool, rate)| {
            let folder = scene.home().join(tool);
            fs::create_dir_all(&folder).expect("mkdir");
            fs::write(folder.join("f0"), "text").expect("a file can be written");
            let call = json!({
                "tool": tool, "folder": folder, "name": "f", "files": 1,
                "rate": rate, "seconds": seconds, "bytes": 100,
            });
            Load::start(&scene, tool, &call)
        })
        .collect();
    for load in loads {
        load.wait(&scene);
    }
    let scrape = agent.scrape();
    agent.stop();
    drop(statistics);
    let series = |name: &'static str| -> BTreeMap<String, f64> {
        scrape
            .series(name)
            .map(|(labels, value)| {
                (labels.trim_matches(['{', '}']).to_owned(), value.parse().unwrap_or_default())
            })
            .collect()
    };
    let runs = series("mcpwatch_bpf_program_runs_total");
    let attached = attached(&events);
    let idle = idle(&attached, &runs);
    assert!(idle.is_empty(), "attached, but not run by any load, so that it has no row: {idle:?}");
    series("mcpwatch_bpf_program_seconds_total")
        .into_iter()
        .filter_map(|(program, seconds)| {
            let count = runs.get(&program).copied().filter(|count| *count >= 1.0)?;
            Some((program, count, seconds * 1e9 / count))
        })
        .collect()
}

/// The hooks the agent says it attached, by the names of their programs. Without those of single system calls, of which
/// the loads make few: in tier `tracepoint` they have no programs, and in tier `fexit` nearly all do the same.
fn attached(events: &Path) -> BTreeSet<String> {
    let mut attached = BTreeSet::new();
    let lines = BufReader::new(File::open(events).expect("the event file is there")).lines();
    for line in lines.map_while(Result::ok).filter(|line| line.contains("\"type\":\"status\"")) {
        let record: Value = serde_json::from_str(&line).expect("a record is JSON");
        let hooks = record["status"]["hooks"].as_array().into_iter().flatten();
        let names = hooks.filter(|hook| hook["state"] == "attached").map(|hook| text(hook, "name"));
        let kinds = ["sys_", "ia32_", "arm_"];
        let of_a_call = |name: &str| kinds.iter().any(|kind| name.starts_with(kind));
        let own = names.filter(|name| *name == "sys_exit" || !of_a_call(name));
        attached.extend(own.map(str::to_owned));
    }
    attached
}

/// Those of them that never ran, by the counts of the metrics. The one on all calls has two programs, of which one serves.
fn idle<'a>(attached: &'a BTreeSet<String>, runs: &BTreeMap<String, f64>) -> Vec<&'a str> {
    let count = |name: &str| runs.get(&format!("program=\"{name}\"")).copied().unwrap_or(0.0);
    let ran = |name: &&str| count(name) >= 1.0 || count(&format!("{name}_perf")) >= 1.0;
    attached.iter().map(String::as_str).filter(|name| !ran(name)).collect()
}

/// How many servers are there at once when memory is measured with many.
const SERVERS: i64 = 100;

/// Memory with a hundred servers that do nothing.
pub fn crowd(effort: Effort, report: &mut Report) {
    let rounds = match effort {
        Effort::Quick => 1,
        Effort::Full => 5,
    };
    println!("memory with {SERVERS} servers, {rounds} rounds");
    let mut made = Vec::new();
    for _ in 0..rounds {
        let held = beside_servers();
        println!("  {} MiB, {} at most", digits(held.resident), digits(held.peak));
        made.push(held);
    }
    let spread = |of: fn(&Memory) -> f64| Spread::of(&made.iter().map(of).collect::<Vec<_>>());
    let most = spread(|held| held.peak);
    report.add(memory("resident at most, 100 servers", most));
    report.details.insert(
        "hundred_servers".into(),
        json!({
            "unit": "MiB",
            "resident": spread(|held| held.resident).json(),
            "peak": most.json(),
            "rounds": made.iter().map(memory_json).collect::<Vec<_>>(),
        }),
    );
}

/// One round of it.
fn beside_servers() -> Memory {
    let scene = Scene::new();
    let mut agent = Daemon::start(&scene, &scene.backstage("events.jsonl"), None);
    agent.forget_peak();
    for number in 0..SERVERS {
        Load::start(
            &scene,
            &format!("idle-{number}"),
            &json!({"tool": "open_files", "files": 0, "seconds": 600}),
        );
    }
    agent.wait_until("all servers are watched", |agent| {
        agent.scrape().count("mcpwatch_servers", &[]) == SERVERS
    });
    thread::sleep(Duration::from_secs(2));
    let memory = agent.memory();
    agent.stop();
    memory
}

/// What the watched server itself pays for an open, to the same server alone.
pub fn own_cost(effort: Effort, report: &mut Report) {
    let (rounds, seconds) = match effort {
        Effort::Quick => (1, 1),
        Effort::Full => (9, 2),
    };
    println!("what a watched server pays for open and close with everything captured");
    let processors = thread::available_parallelism().map_or(1, usize::from);
    let work = |scene: &Scene| {
        let folder = scene.home().join("data");
        let plan = mcpwatch_tests::OpenPlan {
            folder: &folder,
            name: "f",
            files: 100,
            // Fast enough for a figure, slow enough that the agent is not what is measured.
            rate: 20_000,
            seconds,
            processor: Some(0),
        };
        plan.make_files();
        Alone::of(&plan.start(scene).wait(scene)).cost()
    };
    let (mut alone, mut watched, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let scene = Scene::new();
        let one = work(&scene);
        drop(scene);
        let scene = Scene::new();
        let events = scene.backstage("events.jsonl");
        let agent = Daemon::start(&scene, &events, (processors > 1).then_some(processors - 1));
        let other = work(&scene);
        agent.stop();
        alone.push(one);
        watched.push(other);
        ratios.push(other / one);
    }
    println!(
        "  {} µs alone, {} µs watched",
        digits(Spread::of(&alone).median),
        digits(Spread::of(&watched).median)
    );
    report.add(Budget {
        name: "watched server: open+close, to no agent".into(),
        measured: Spread::of(&ratios),
        unit: "×",
        limit: Limit::AtMost(1.6),
    });
    report
        .details
        .insert("own_cost".into(), json!({"unit": "µs", "alone": alone, "watched": watched}));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_load_tells_is_read() {
        let told = json!({"made": 200, "seconds": 2.0, "failed": 0, "processor_seconds": 0.01});
        let alone = Alone::of(&Done { made: 200, seconds: 2.0, told });
        assert!((alone.made_per_second() - 100.0).abs() < 1e-9);
        assert!((alone.cost() - 50.0).abs() < 1e-9);
    }

    #[test]
    fn a_program_that_is_attached_and_never_runs_is_found() {
        let attached = BTreeSet::from(["connect4", "connect6", "sendmsg6"].map(str::to_owned));
        let runs = [("connect4", 3.0), ("connect6", 0.0), ("sys_exit", 9.0)];
        let runs = runs.map(|(name, count)| (format!("program=\"{name}\""), count));
        let runs = BTreeMap::from(runs);
        assert_eq!(idle(&attached, &runs), ["connect6", "sendmsg6"]);
    }

    #[test]
    fn the_rate_for_peers_is_one_of_the_rates() {
        for work in WORKS {
            assert!(work.for_peers.is_none_or(|rate| work.rates.contains(&rate)), "{}", work.name);
        }
    }
}
