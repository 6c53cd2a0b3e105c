//! Messages at a rate, and how long each took to be answered: the client's part of the load.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, BufRead, Write};
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

use serde_json::{Value, json};

use crate::work::{Pace, number};

/// `tools/call`, `rate` messages (requests and responses together) a second for `seconds`: of what `asks` says
/// (`name` and `arguments`), else of `echo` with an argument of `bytes`.
pub fn talk(
    call: &Value,
    server: u32,
    requests: &mut (impl Write + Send),
    responses: &mut (impl BufRead + Send),
) -> io::Result<Value> {
    // A request and its response are two messages.
    let mut pace = Pace::new(number(call, "rate") / 2, number(call, "seconds"));
    let text = "x".repeat(usize::try_from(number(call, "bytes")).unwrap_or(0));
    let asks = match &call["asks"] {
        Value::Null => json!({"name": "echo", "arguments": {"text": text}}),
        asks => asks.clone(),
    };
    let asked: Mutex<VecDeque<Instant>> = Mutex::default();
    let lock = || asked.lock().map_err(|_| io::Error::other("a thread panicked"));
    let (begun, before) = (Instant::now(), processor_seconds(server));
    let (made, answered) = thread::scope(|scope| -> io::Result<_> {
        let answers = scope.spawn(|| -> io::Result<_> {
            let (mut line, mut times) = (String::new(), Vec::new());
            loop {
                line.clear();
                if responses.read_line(&mut line)? == 0 {
                    return Err(io::Error::other("the server ended"));
                }
                // The last one says that no more will come.
                if line.contains("\"id\":\"last\"") {
                    return Ok(times);
                }
                // Answers may come in another order: what is told is how long one waits for the next.
                if let Some(since) = lock()?.pop_front() {
                    times.push(since.elapsed().as_secs_f64() * 1e6);
                }
            }
        });
        let mut made = 0;
        while let Some(due) = pace.due(made) {
            for _ in 0..due {
                lock()?.push_back(Instant::now());
                let request = json!({"jsonrpc": "2.0", "id": made + 2, "method": "tools/call", "params": asks});
                requests.write_all(format!("{request}\n").as_bytes())?;
                made += 1;
            }
        }
        // Asked when the others are answered: each has a thread of its own at the server.
        while !lock()?.is_empty() {
            thread::sleep(std::time::Duration::from_millis(1));
        }
        let last = json!({"jsonrpc": "2.0", "id": "last", "method": "ping"});
        requests.write_all(format!("{last}\n").as_bytes())?;
        let times = answers.join().map_err(|_| io::Error::other("a thread panicked"))??;
        Ok((made, times))
    })?;
    let mut times = answered;
    times.sort_by(f64::total_cmp);
    let at = |share: usize| times.get(times.len() * share / 100).copied().unwrap_or_default();
    Ok(json!({
        "made": 2 * made,
        "failed": 0,
        "seconds": begun.elapsed().as_secs_f64(),
        "processor_seconds": processor_seconds(server) - before,
        "answered_us_p50": at(50),
        "answered_us_p99": at(99),
    }))
}

/// Processor time of a process, its threads that have ended included, in seconds.
fn processor_seconds(pid: u32) -> f64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // Fields 14 and 15 of proc(5), in ticks of 10 ms; the name, which may hold anything, ends field 2.
    let fields = stat.rsplit(')').next().unwrap_or_default().split_whitespace().skip(11).take(2);
    fields.filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}
