//! A steady mixed load for as long as one likes: nothing is lost, every event has its record, and the agent
//! holds no more at the end than it did at the beginning.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::books::check_identity;
use crate::daemon::Daemon;
use crate::load::Load;
use crate::records::text;
use crate::scene::Scene;

/// What each of the steady servers does, how often a second, and the records that are made of it.
const STEADY: &[(&str, u64, &str)] = &[
    ("open_files", 200, "file.open"),
    ("run_programs", 20, "process.exec"),
    ("connect", 20, "net.connect"),
    // Requests and responses: half as many calls.
    ("talk", 100, "mcp.call"),
];
/// Servers come and go beside them: a new one this often.
const COME_AND_GO: Duration = Duration::from_secs(3);
/// What the agent may hold more of at the end than in the beginning, in MiB: its allocator's moods.
const GROWTH: f64 = 4.0;
/// The agent's first quarter is not looked at: tables and buffers fill up to their bounds.
const WARM_UP: usize = 4;

/// What was seen.
#[derive(Debug)]
pub struct Soaked {
    /// Records by type.
    pub records: BTreeMap<String, u64>,
    /// What the steady servers made, by tool.
    pub made: BTreeMap<&'static str, u64>,
    /// Servers that came and went.
    pub visitors: u64,
    /// Resident memory once a second, in MiB.
    pub resident: Vec<f64>,
    /// Open files of the agent, at the beginning and at the end.
    pub files: (usize, usize),
    /// Processor time of the agent, in seconds.
    pub processor: f64,
}

impl Soaked {
    /// Medians of resident memory in the second quarter and in the last, in MiB.
    pub fn drift(&self) -> (f64, f64) {
        let quarter = (self.resident.len() / WARM_UP).max(1);
        let median = |part: &[f64]| {
            let mut sorted = part.to_vec();
            sorted.sort_by(f64::total_cmp);
            sorted.get(sorted.len() / 2).copied().unwrap_or_default()
        };
        let second = self.resident.get(quarter..2 * quarter).unwrap_or(&self.resident);
        let last = self.resident.len().saturating_sub(quarter);
        (median(second), median(&self.resident[last..]))
    }
}

/// Makes the load for `seconds` and checks everything; panics with a sentence when something is wrong.
/// `tell` is called once a minute.
pub fn soak(seconds: u64, tell: impl Fn(&str)) -> Soaked {
    let scene = Scene::new();
    let folder = scene.home().join("data");
    fs::create_dir(&folder).expect("mkdir");
    for number in 0..100 {
        fs::write(folder.join(format!("f{number}")), "text").expect("a file can be written");
    }
    let events = scene.backstage("events.pipe");
    let pipe = pipe(&events);
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        let reader = scope.spawn(|| follow(pipe, &folder, &done));
        let agent = Daemon::start(&scene, &events, None);
        let before: f64 = agent.processor_time().values().sum();
        let steady: Vec<(&str, Load)> = STEADY
            .iter()
            .map(|(tool, rate, _)| {
                let call = json!({
                    "tool": tool, "folder": folder, "name": "f", "files": 100,
                    "rate": rate, "seconds": seconds, "bytes": 200,
                });
                (*tool, Load::start(&scene, tool, &call))
            })
            .collect();
        let begun = Instant::now();
        // With the hooks that are attached while there is something to watch.
        thread::sleep(Duration::from_secs(2));
        let files = open_files(agent.pid());
        let (mut resident, mut visitors, mut next) = (Vec::new(), Vec::new(), begun);
        while begun.elapsed() < Duration::from_secs(seconds) {
            thread::sleep(Duration::from_secs(1));
            resident.push(agent.memory().resident);
            if begun.elapsed().as_secs().is_multiple_of(60) {
                let now = resident.last().copied().unwrap_or_default();
                tell(&format!("{} s: {now:.1} MiB resident", begun.elapsed().as_secs()));
            }
            if next.elapsed() >= COME_AND_GO && begun.elapsed().as_secs() + 5 < seconds {
                next = Instant::now();
                let call = json!({"tool": "fork_children", "rate": 20, "seconds": 1});
                let name = format!("visitor-{}", visitors.len());
                visitors.push(Load::start(&scene, &name, &call));
            }
        }
        let made: BTreeMap<&str, u64> =
            steady.into_iter().map(|(tool, load)| (tool, load.wait(&scene).made)).collect();
        let count = visitors.len() as u64;
        for visitor in visitors {
            visitor.wait(&scene);
        }
        thread::sleep(Duration::from_secs(2));
        let processor = agent.processor_time().values().sum::<f64>() - before;
        let files = (files, open_files(agent.pid()));
        agent.stop();
        done.store(true, Ordering::Relaxed);
        let read = reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let soaked =
            Soaked { records: read.types, made, visitors: count, resident, files, processor };
        check(&soaked, &read.of_the_load, &read.last);
        soaked
    })
}

#[track_caller]
fn check(soaked: &Soaked, of_the_load: &BTreeMap<String, u64>, last: &Value) {
    assert_eq!(text(last, "status.state"), "stopped", "the last record: {last}");
    check_identity(last);
    assert_eq!(soaked.records.get("loss"), None, "nothing is lost: {:?}", soaked.records);
    for (tool, _, kind) in STEADY {
        let expected = soaked.made[tool] / if *tool == "talk" { 2 } else { 1 };
        let recorded = of_the_load.get(*kind).copied().unwrap_or(0);
        assert_eq!(recorded, expected, "`{kind}` records of {tool}");
    }
    let servers = STEADY.len() as u64 + soaked.visitors;
    assert_eq!(soaked.records.get("server.exited"), Some(&servers), "servers that ended");
    let (early, late) = soaked.drift();
    assert!(
        late <= early + GROWTH,
        "resident memory grew from {early:.1} to {late:.1} MiB: {:?}",
        soaked.resident
    );
    assert!(soaked.files.1 <= soaked.files.0 + 2, "open files grew: {:?}", soaked.files);
}

fn open_files(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}

/// A named pipe and its reading end, which must be there before the agent opens the other.
pub fn pipe(path: &Path) -> File {
    let name = std::ffi::CString::new(path.as_os_str().as_bytes()).expect("no NUL in a path");
    // SAFETY: mkfifo(3) reads a terminated string that outlives the call.
    let made = unsafe { libc::mkfifo(name.as_ptr(), 0o600) };
    assert!(made == 0, "mkfifo: {}", std::io::Error::last_os_error());
    OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .expect("a pipe can be opened to read")
}

/// What was read.
struct Heard {
    types: BTreeMap<String, u64>,
    /// Only those the steady servers made in answer to a call, by type.
    of_the_load: BTreeMap<String, u64>,
    last: Value,
}

/// Reads the stream as it comes and keeps counts alone: an hour has millions of records.
fn follow(mut pipe: File, folder: &Path, done: &AtomicBool) -> Heard {
    let mut read =
        Heard { types: BTreeMap::new(), of_the_load: BTreeMap::new(), last: Value::Null };
    let folder = folder.display().to_string();
    let (mut buffer, mut waiting, mut next) = (vec![0; 256 << 10], Vec::new(), 0);
    loop {
        let ended = done.load(Ordering::Relaxed);
        let mut poll = libc::pollfd { fd: pipe.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd for the length of the call.
        unsafe { libc::poll(&raw mut poll, 1, 100) };
        let length = pipe.read(&mut buffer).unwrap_or(0);
        if length == 0 {
            if ended {
                return read;
            }
            // Before the agent has opened it, the pipe is at its end, and poll(2) does not wait.
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        waiting.extend_from_slice(&buffer[..length]);
        let end = waiting.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        for line in waiting[..end].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            let record: Value = serde_json::from_slice(line).expect("a record is JSON");
            assert_eq!(record["seq"].as_u64(), Some(next), "no number is missing");
            next += 1;
            let kind = text(&record, "type").to_owned();
            if of_the_load(&record, &kind, &folder) {
                *read.of_the_load.entry(kind.clone()).or_insert(0) += 1;
            }
            *read.types.entry(kind).or_insert(0) += 1;
            read.last = record;
        }
        waiting.drain(..end);
    }
}

fn of_the_load(record: &Value, kind: &str, folder: &str) -> bool {
    match kind {
        "file.open" => {
            text(record, "file.path").starts_with(folder)
                && text(record, "file.path").contains("/f")
        }
        "process.exec" => text(record, "exec.path").ends_with("/smallest"),
        "net.connect" => text(record, "net.address") == "127.0.0.1",
        "mcp.call" => text(record, "call.tool") == "echo",
        _ => false,
    }
}
