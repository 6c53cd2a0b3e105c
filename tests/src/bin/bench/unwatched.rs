//! Budgets 1 and 2: what a process nobody watches pays, while nothing is watched and while something is.

use std::thread;
use std::time::Duration;

use mcpwatch_tests::{Daemon, EmptyProgram, OpenPlan, Scene, system_call_programs};
use serde_json::json;

use crate::Effort;
use crate::calls::{Bench, WORKLOADS};
use crate::report::{Budget, Limit, Report, digits};
use crate::statistics::Spread;

/// The programs on system calls that others attach spoil a round; it is made again, so many times in all.
const SPOILED: usize = 20;

/// Costs in nanoseconds, by workload.
type Costs = Vec<f64>;

/// One round: every condition once, one right after the other.
struct Round {
    /// No agent.
    without: Costs,
    /// No agent, again: what the method itself makes of no difference.
    again: Costs,
    /// The agent, and nothing to watch.
    idle: Costs,
    /// The agent, and a server that does nothing.
    watching: Costs,
    /// No agent, but an empty program on the exit of system calls.
    empty: Costs,
}

/// Somebody else traces system calls on this host.
struct Spoiled;

pub fn measure(effort: Effort, report: &mut Report) {
    println!("a process nobody watches: ns of processor time a call");
    let rounds = match effort {
        Effort::Quick => 3,
        Effort::Full => 15,
    };
    let mut bench = Bench::new().expect("pipes and files can be made");
    let mut made: Vec<Round> = Vec::new();
    let mut spoiled = 0;
    while made.len() < rounds {
        // Back and forth, so that what drifts does not favour one of them.
        if let Ok(round) = round(&mut bench, effort, made.len() % 2 == 1) {
            made.push(round);
        } else {
            spoiled += 1;
            assert!(spoiled < SPOILED, "others keep tracing the system calls of this host");
            println!("  a round is made again: others trace the system calls of this host");
            thread::sleep(Duration::from_secs(2));
        }
    }
    let column = |of: fn(&Round) -> &Costs, workload: usize| -> Vec<f64> {
        made.iter().map(|round| of(round)[workload]).collect()
    };
    let ratios = |of: fn(&Round) -> &Costs, to: fn(&Round) -> &Costs, workload: usize| -> Spread {
        Spread::of(
            &made.iter().map(|round| of(round)[workload] / to(round)[workload]).collect::<Vec<_>>(),
        )
    };
    println!(
        "  {:<16} {:>10} {:>10} {:>10} {:>13} {:>17}",
        "", "no agent", "agent idle", "watching", "empty program", "no agent/no agent"
    );
    let mut details = Vec::new();
    for (number, workload) in WORKLOADS.iter().enumerate() {
        let medians = [
            Spread::of(&column(|round| &round.without, number)).median,
            Spread::of(&column(|round| &round.idle, number)).median,
            Spread::of(&column(|round| &round.watching, number)).median,
            Spread::of(&column(|round| &round.empty, number)).median,
        ];
        let noise = ratios(|round| &round.again, |round| &round.without, number);
        let [without, idle, watching, empty] = medians;
        println!(
            "  {:<16} {:>10} {:>10} {:>10} {:>13} {:>17}",
            workload.name,
            digits(without),
            digits(idle),
            digits(watching),
            digits(empty),
            format!("{} to {}", digits(noise.low), digits(noise.high)),
        );
        details.push(json!({
            "call": workload.name,
            "unit": "ns",
            "without": column(|round| &round.without, number),
            "without_again": column(|round| &round.again, number),
            "idle": column(|round| &round.idle, number),
            "watching": column(|round| &round.watching, number),
            "empty_program": column(|round| &round.empty, number),
        }));
    }
    for (number, workload) in WORKLOADS.iter().enumerate() {
        let spread = ratios(|round| &round.idle, |round| &round.without, number);
        report.add(Budget {
            name: format!("nothing watched: {}, to no agent", workload.name),
            measured: spread,
            unit: "×",
            limit: Limit::AtMost(1.02),
        });
    }
    for (number, workload) in WORKLOADS.iter().enumerate() {
        let spread = ratios(|round| &round.watching, |round| &round.empty, number);
        report.add(Budget {
            name: format!("something watched: {}, to an empty program", workload.name),
            measured: spread,
            unit: "×",
            limit: Limit::AtMost(1.25),
        });
    }
    for (number, workload) in WORKLOADS.iter().enumerate() {
        let spread = ratios(|round| &round.watching, |round| &round.without, number);
        report.add(Budget {
            name: format!("something watched: {}, to no agent", workload.name),
            measured: spread,
            unit: "×",
            limit: Limit::AtMost(workload.watched_at_most),
        });
    }
    report.details.insert("unwatched".into(), json!({"calls": details, "spoiled_rounds": spoiled}));
}

fn round(bench: &mut Bench, effort: Effort, backwards: bool) -> Result<Round, Spoiled> {
    let without = costs(bench, effort, 0)?;
    if backwards {
        let empty = with_empty_program(bench, effort)?;
        let (idle, watching) = with_agent(bench, effort)?;
        let again = costs(bench, effort, 0)?;
        Ok(Round { without, again, idle, watching, empty })
    } else {
        let (idle, watching) = with_agent(bench, effort)?;
        let empty = with_empty_program(bench, effort)?;
        let again = costs(bench, effort, 0)?;
        Ok(Round { without, again, idle, watching, empty })
    }
}

/// Costs with so many programs on system calls, and not another.
fn costs(bench: &mut Bench, effort: Effort, programs: usize) -> Result<Costs, Spoiled> {
    let expected = || system_call_programs().expect("bpf(2) can be asked by root") == programs;
    if !expected() {
        return Err(Spoiled);
    }
    let costs = bench.costs(effort);
    if expected() { Ok(costs) } else { Err(Spoiled) }
}

fn with_empty_program(bench: &mut Bench, effort: Effort) -> Result<Costs, Spoiled> {
    let program = EmptyProgram::attach(c"sys_exit").expect("an empty program can be attached");
    let costs = costs(bench, effort, 1);
    drop(program);
    costs
}

/// Costs beside an agent with nothing to watch, and with a server.
fn with_agent(bench: &mut Bench, effort: Effort) -> Result<(Costs, Costs), Spoiled> {
    let scene = Scene::new();
    let mut agent = Daemon::start(&scene, &scene.backstage("events.jsonl"), None);
    let idle = costs(bench, effort, 0)?;
    let nothing = OpenPlan {
        folder: scene.home(),
        name: "",
        files: 0,
        rate: 0,
        seconds: 600,
        processor: None,
    };
    nothing.start(&scene);
    agent.wait_until("the server is watched", |agent| {
        agent.scrape().count("mcpwatch_servers", &[]) == 1
    });
    let watching = costs(bench, effort, 1)?;
    agent.stop();
    Ok((idle, watching))
}
