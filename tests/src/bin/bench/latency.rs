//! Budget 5: from a system call to its alert, read by somebody; and what many alerts cost in memory.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use mcpwatch_tests::{Daemon, Load, Scene, pipe, text};
use serde_json::{Value, json};

use crate::Effort;
use crate::report::{Budget, Limit, Report, digits};
use crate::statistics::{quantile, sorted};
use crate::throughput::{memory, memory_json};

/// Calls a second, in each of which the server opens a key, which raises an alert.
const RATE: u64 = 1_000;

pub fn measure(effort: Effort, report: &mut Report) {
    let seconds = match effort {
        Effort::Quick => 2,
        Effort::Full => 10,
    };
    println!("system call to alert: {RATE} calls that open a key a second, for {seconds} s");
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
    println!(
        "  {} alerts for {calls} calls; ms: p50 {}, p90 {}, p99 {}, most {}",
        latencies.len(),
        digits(p50),
        digits(p90),
        digits(p99),
        digits(most)
    );
    report.add(Budget {
        name: format!("system call to alert, p99 at {} alerts/s", digits(RATE as f64)),
        measured: p99,
        spread: None,
        unit: "ms",
        limit: Limit::AtMost(10.0),
    });
    report.add(memory(
        &format!("resident at most, {} calls with an alert each", latencies.len()),
        after.peak,
    ));
    report.details.insert(
        "latency".into(),
        json!({
            "calls": calls,
            "alerts": latencies.len(),
            "unit": "ms",
            "p50": p50,
            "p90": p90,
            "p99": p99,
            "most": most,
            "memory_after": memory_json(&after),
        }),
    );
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
