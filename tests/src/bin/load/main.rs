//! A server that makes load, and the client that asks it to: what the bench measures the agent with.
//!
//! `load CALL RESULT`: starts itself as a server with pipes as stdin and stdout, as clients do, calls its
//! one tool with the arguments CALL (JSON) and writes what it says to the file RESULT. It needs nothing
//! that is installed, and takes no processor time while the server works.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::mem;
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => serve(),
        [call, result] => ask(call, result),
        _ => Err(io::Error::other("usage: load CALL RESULT")),
    }
}

/// The client.
fn ask(call: &str, result: &str) -> io::Result<()> {
    let call: Value = serde_json::from_str(call)?;
    let mut server = Command::new(env::current_exe()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    // Servers take about that long to start.
    thread::sleep(Duration::from_millis(500));
    let missing = || io::Error::other("the server has no channel");
    let mut requests = server.stdin.take().ok_or_else(missing)?;
    let mut responses = BufReader::new(server.stdout.take().ok_or_else(missing)?);
    let mut request = |message: Value| -> io::Result<Value> {
        send(&mut requests, &message)?;
        let mut line = String::new();
        if !message["id"].is_null() {
            responses.read_line(&mut line)?;
            return Ok(serde_json::from_str(&line)?);
        }
        Ok(Value::Null)
    };
    request(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "load", "version": "1"},
    }}))?;
    request(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
    let response = request(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
        "name": "open_files",
        "arguments": call,
    }}))?;
    // Renamed into place: whoever waits for it finds it whole.
    let draft = format!("{result}.part");
    fs::write(&draft, response["result"]["structuredContent"].to_string())?;
    fs::rename(draft, result)?;
    drop(requests);
    server.wait()?;
    Ok(())
}

/// The server.
fn serve() -> io::Result<()> {
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let result = match request["method"].as_str().unwrap_or_default() {
            "initialize" => json!({
                "protocolVersion": request["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "load", "version": "1.0.0"},
            }),
            "tools/call" => {
                json!({"content": [], "structuredContent": open_files(&request["params"]["arguments"])?})
            }
            _ => continue,
        };
        let mut out = io::stdout();
        send(&mut out, &json!({"jsonrpc": "2.0", "id": request["id"], "result": result}))?;
    }
    Ok(())
}

/// One write for the whole line.
fn send(out: &mut impl Write, message: &Value) -> io::Result<()> {
    out.write_all(format!("{message}\n").as_bytes())?;
    out.flush()
}

/// Opens and closes the files `{folder}/{name}{n}` with n from 0 to `files - 1`, again and again, for
/// `seconds`, `rate` times a second (0: as often as it can), on one `processor` when that is given.
fn open_files(call: &Value) -> io::Result<Value> {
    let number = |name: &str| call[name].as_u64().unwrap_or(0);
    let text = |name: &str| call[name].as_str().unwrap_or_default();
    if let Some(processor) = call["processor"].as_u64() {
        stay_on(processor)?;
    }
    let paths: Vec<std::ffi::CString> = (0..number("files"))
        .map(|n| format!("{}/{}{n}", text("folder"), text("name")).into_bytes())
        .map(std::ffi::CString::new)
        .collect::<Result<_, _>>()?;
    let rate = number("rate");
    let time = Duration::from_secs(number("seconds"));
    let begun = Instant::now();
    let mut opens: u64 = 0;
    let mut failed: u64 = 0;
    let mut files = paths.iter().cycle();
    while begun.elapsed() < time {
        let due = match rate {
            0 => opens + 1_000,
            rate => u64::try_from(begun.elapsed().as_nanos() * u128::from(rate) / 1_000_000_000)
                .unwrap_or(u64::MAX),
        };
        if due <= opens || paths.is_empty() {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        for path in files.by_ref().take(usize::try_from(due - opens).unwrap_or(usize::MAX)) {
            // SAFETY: open(2) reads a terminated string that outlives the call, and the descriptor that
            // close(2) takes is the one just made.
            unsafe {
                let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
                if fd < 0 {
                    failed += 1;
                } else {
                    libc::close(fd);
                }
            }
        }
        opens = due;
    }
    let seconds = begun.elapsed().as_secs_f64();
    Ok(json!({"opens": opens, "failed": failed, "seconds": seconds}))
}

/// Keeps this thread on one processor.
fn stay_on(processor: u64) -> io::Result<()> {
    let processor = usize::try_from(processor).map_err(io::Error::other)?;
    // SAFETY: the set is plain bits, all of which are valid as zeros; it outlives both calls.
    let done = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
