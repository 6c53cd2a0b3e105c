//! Budget 5: from a system call to its alert, read by somebody; and what many alerts cost in memory.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use mcpwatch_tests::{Daemon, Load, Memory, Scene, pipe, text};
use serde_json::{Value, json};

use crate::Effort;
use crate::report::{Budget, Limit, Report, digits};
use crate::statistics::{Spread, quantile, sorted};
use crate::throughput::{memory, memory_json};

/// Calls a second, in each of which the server opens a key, which raises an alert.
const RATE: u64 = 1_000;

/// What came of one round; times in milliseconds.
struct Run {
    calls: u64,
    alerts: usize,
    p50: f64,
    p90: f64,
    p99: f64,
    most: f64,
    /// After the load.
    after: Memory,
}

impl Run {
    fn print(&self) {
        println!(
            "  {} alerts for {} calls; ms: p50 {}, p90 {}, p99 {}, most {}",
            self.alerts,
            self.calls,
            digits(self.p50),
            digits(self.p90),
            digits(self.p99),
            digits(self.most)
        );
    }

    fn json(&self) -> Value {
        json!({
            "calls": self.calls,
            "alerts": self.alerts,
            "p50": self.p50,
            "p90": self.p90,
            "p99": self.p99,
            "most": self.most,
            "memory_after": memory_json(&self.after),
        })
    }
}

pub fn measure(effort: Effort, report: &mut Report) {
    let (rounds, seconds) = match effort {
        Effort::Quick => (1, 2),
        Effort::Full => (5, 4),
    };
    println!(
        "system call to alert: {RATE} calls that open a key a second, {rounds} rounds of \
         {seconds} s"
    );
    let mut runs = Vec::new();
    for _ in 0..rounds {
        let run = run(seconds);
        run.print();
        runs.push(run);
    }
    let spread = |of: fn(&Run) -> f64| Spread::of(&runs.iter().map(of).collect::<Vec<_>>());
    report.add(Budget {
        name: format!("system call to alert, p99 at {} alerts/s", digits(RATE as f64)),
        measured: spread(|run| run.p99),
        unit: "ms",
        limit: Limit::AtMost(10.0),
    });
    report.add(memory(
        &format!("resident at most, {} calls/s with an alert each", digits(RATE as f64)),
        spread(|run| run.after.peak),
    ));
    report.details.insert(
        "latency".into(),
        json!({
            "unit": "ms",
            "calls": spread(|run| run.calls as f64).json(),
            "alerts": spread(|run| run.alerts as f64).json(),
            "p50": spread(|run| run.p50).json(),
            "p90": spread(|run| run.p90).json(),
            "p99": spread(|run| run.p99).json(),
            "most": spread(|run| run.most).json(),
            "rounds": runs.iter().map(Run::json).collect::<Vec<_>>(),
        }),
    );
}

fn run(seconds: u64) -> Run {
    let scene = Scene::new();
    let key = scene.write(".ssh/id_rsa", "nothing to see here\n");
    // Findings of one call are one alert: a call for each. Request and response are two messages.
    let call = json!({
        "tool": "talk",
        "asks": {"name": "open_file", "arguments": {"path": key}},
        "rate": 2 * RATE,
        "seconds": seconds,
    });
    let events = scene.backstage("events.pipe");
    let reader = pipe(&events);
    let done = AtomicBool::new(false);
    let (latencies, calls, after) = thread::scope(|scope| {
        let alerts = scope.spawn(|| read(reader, &done));
        let agent = Daemon::start(&scene, &events, None);
        agent.forget_peak();
        let calls = Load::start(&scene, "load", &call).wait(&scene).made / 2;
        thread::sleep(Duration::from_millis(500));
        let after = agent.memory();
        agent.stop();
        done.store(true, Ordering::Relaxed);
        let latencies = alerts.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (latencies, calls, after)
    });
    let latencies = sorted(&latencies);
    assert!(!latencies.is_empty(), "opening keys raises alerts");
    let [p50, p90, p99, most] = [0.5, 0.9, 0.99, 1.0].map(|share| quantile(&latencies, share));
    Run { calls, alerts: latencies.len(), p50, p90, p99, most, after }
}

/// Takes what the agent writes as it comes: how old each alert about a key was when it could be read, in
/// milliseconds of the calendar clock.
fn read(mut pipe: File, done: &AtomicBool) -> Vec<f64> {
    let mut latencies = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    let mut waiting: Vec<u8> = Vec::new();
    loop {
        let last = done.load(Ordering::Relaxed);
        let mut poll = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd for the length of the call.
        unsafe { libc::poll(&raw mut poll, 1, 100) };
        let read = pipe.read(&mut buffer).unwrap_or(0);
        let now = Timestamp::now();
        if read == 0 {
            if last {
                return latencies;
            }
            // Before the agent has opened it, the pipe is at its end, and poll(2) does not wait.
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        waiting.extend_from_slice(&buffer[..read]);
        let end = waiting.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in waiting[..end].split(|byte| *byte == b'\n') {
            latencies.extend(age_of_alert(line, now));
        }
        waiting.drain(..end);
    }
}

fn age_of_alert(line: &[u8], now: Timestamp) -> Option<f64> {
    // Most of the lines are the calls and the opens themselves: not worth parsing.
    let kind = b"\"type\":\"alert\"";
    if !line.windows(kind.len()).take(256).any(|window| window == kind) {
        return None;
    }
    let record: Value = serde_json::from_slice(line).expect("a record is JSON");
    if text(&record, "alert.rule") != "sensitive_file_read" || record["alert"]["count"] != 1 {
        return None;
    }
    let time: Timestamp = text(&record, "time").parse().expect("a record has a time");
    Some(now.duration_since(time).as_secs_f64() * 1e3)
}
