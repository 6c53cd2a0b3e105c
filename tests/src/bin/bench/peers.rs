//! What others cost with the same job: the same server, the same rate, each limited to that one server.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mcpwatch_tests::{Scene, descendants};
use serde_json::{Value, json};

use crate::audit;
use crate::rates::{Alone, WORKS, Work, start};
use crate::report::digits;
use crate::statistics::Spread;

/// How long a peer may take to attach.
const ATTACHING: Duration = Duration::from_secs(20);

/// A program that traces system calls of one process.
struct Peer {
    name: &'static str,
    /// The Debian package it comes in.
    package: &'static str,
    /// Its command for a process and a tool; none when it cannot see that.
    command: fn(pid: u32, tool: &str, output: &Path) -> Option<Vec<String>>,
    /// What it writes when it is attached, on stderr or stdout.
    ready: &'static str,
}

const PEERS: &[Peer] = &[
    Peer { name: "strace", package: "strace", command: strace, ready: "attached" },
    Peer { name: "bpftrace", package: "bpftrace", command: bpftrace, ready: "Attaching" },
    Peer { name: "opensnoop", package: "bpfcc-tools", command: opensnoop, ready: "PID" },
    Peer { name: "execsnoop", package: "bpfcc-tools", command: execsnoop, ready: "PCOMM" },
];

/// What a tool of the load makes.
pub fn system_call(tool: &str) -> &'static str {
    match tool {
        "run_programs" => "execve",
        "connect" => "connect",
        _ => "openat",
    }
}

fn words<const N: usize>(words: [&str; N]) -> Vec<String> {
    words.map(str::to_owned).to_vec()
}

#[expect(clippy::unnecessary_wraps, reason = "one of several with the same signature")]
fn strace(pid: u32, tool: &str, output: &Path) -> Option<Vec<String>> {
    let mut command = words(["strace", "-f", "-e"]);
    command.extend([
        format!("trace={}", system_call(tool)),
        "-o".into(),
        output.display().to_string(),
        "-p".into(),
        pid.to_string(),
    ]);
    Some(command)
}

#[expect(clippy::unnecessary_wraps, reason = "one of several with the same signature")]
fn bpftrace(pid: u32, tool: &str, output: &Path) -> Option<Vec<String>> {
    let call = system_call(tool);
    let (format, argument) =
        if tool == "connect" { ("%d", "args->fd") } else { ("%s", "str(args->filename)") };
    // By the parent, too: programs are run by children.
    let program = format!(
        "tracepoint:syscalls:sys_enter_{call} \
         /pid == {pid} || ((struct task_struct *)curtask)->real_parent->tgid == {pid}/ \
         {{ printf(\"%d {format}\\n\", pid, {argument}); }}"
    );
    let mut command = words(["bpftrace", "-o"]);
    command.extend([output.display().to_string(), "-e".into(), program]);
    Some(command)
}

fn opensnoop(pid: u32, tool: &str, _: &Path) -> Option<Vec<String>> {
    (tool == "open_files").then(|| vec!["opensnoop-bpfcc".into(), "-p".into(), pid.to_string()])
}

/// Programs are run by children of the server.
fn execsnoop(pid: u32, tool: &str, _: &Path) -> Option<Vec<String>> {
    (tool == "run_programs").then(|| vec!["execsnoop-bpfcc".into(), "-P".into(), pid.to_string()])
}

/// Every peer that is there and runs here, at one rate of each work.
pub fn measure(rounds: usize, seconds: u64) -> Value {
    println!("peers with the same job: µs of the server for each, and processor of the peer");
    let mut found = Vec::new();
    for peer in PEERS {
        for work in WORKS {
            let Some(rate) = work.for_peers else { continue };
            if (peer.command)(1, work.tool, Path::new("/dev/null")).is_none() {
                continue;
            }
            found.push(row(peer.name, work, rate, rounds, || round(peer, work, rate, seconds)));
        }
    }
    found.extend(audit::measure(rounds, seconds));
    json!(found)
}

/// What one peer takes of a processor, in percent; none when it does not run here.
pub fn processor(name: &str, work: &Work, rate: u64, seconds: u64) -> Option<f64> {
    let peer = PEERS.iter().find(|peer| peer.name == name)?;
    round(peer, work, rate, seconds).ok().map(|(_, processor)| processor)
}

/// What some rounds of a peer come to: its figures, or why there are none.
pub fn row(
    peer: &str,
    work: &Work,
    rate: u64,
    rounds: usize,
    round: impl Fn() -> Result<(Alone, f64), String>,
) -> Value {
    let mut costs = Vec::new();
    let mut processors = Vec::new();
    let mut made = Vec::new();
    for _ in 0..rounds {
        match round() {
            Ok((alone, processor)) => {
                costs.push(alone.cost());
                made.push(alone.made_per_second());
                processors.push(processor);
            }
            Err(why) => {
                println!("  {peer:<10} {:<14} does not run: {why}", work.name);
                return json!({"peer": peer, "work": work.name, "missing": why});
            }
        }
    }
    let [cost, processor, made] = [costs, processors, made].map(|all| Spread::of(&all));
    println!(
        "  {peer:<10} {:<14} {:>8}/s {:>9}/s made {:>9} µs {:>8} %",
        work.name,
        digits(rate as f64),
        digits(made.median),
        digits(cost.median),
        digits(processor.median)
    );
    json!({
        "peer": peer,
        "work": work.name,
        "asked_per_second": rate,
        "made_per_second": made.json(),
        "server_microseconds_each": cost.json(),
        "peer_percent_of_a_processor": processor.json(),
    })
}

/// One run beside a peer: the server's figures, and the peer's processor time in percent.
fn round(peer: &Peer, work: &Work, rate: u64, seconds: u64) -> Result<(Alone, f64), String> {
    let scene = Scene::new();
    // Long enough that the peer is attached before most of it is made.
    let load = start(&scene, work, rate, seconds + 2);
    let server = server_of(&scene).ok_or("no server came")?;
    let output = scene.backstage("peer.out");
    let log = scene.backstage("peer.log");
    let argv = (peer.command)(server, work.tool, &output).unwrap_or_default();
    let mut traced = Traced::start(&argv, &log, peer.package)?;
    let ready = wait_for(|| {
        traced.ended().or_else(|| {
            let said = fs::read_to_string(&log).unwrap_or_default()
                + &fs::read_to_string(&output).unwrap_or_default();
            said.contains(peer.ready).then_some(())
        })
    });
    if ready.is_none() || traced.ended().is_some() {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let said: String = said.lines().take(3).collect::<Vec<_>>().join(" ");
        return Err(if said.is_empty() { "it said nothing".into() } else { said });
    }
    let before = traced.processor_seconds();
    let begun = Instant::now();
    let done = load.wait(&scene);
    let percent = (traced.processor_seconds() - before) * 100.0 / begun.elapsed().as_secs_f64();
    Ok((Alone::of(&done), percent))
}

/// The server of the load, as soon as it is there.
pub fn server_of(scene: &Scene) -> Option<u32> {
    wait_for(|| {
        // The client has arguments, the server none.
        let all = descendants(scene.anchor_pid()).into_iter();
        all.filter(|pid| is_server(*pid)).min()
    })
}

fn is_server(pid: u32) -> bool {
    let argv = fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    argv.strip_suffix("/load\0").is_some_and(|rest| !rest.contains('\0'))
}

pub fn wait_for<T>(mut found: impl FnMut() -> Option<T>) -> Option<T> {
    let until = Instant::now() + ATTACHING;
    while Instant::now() < until {
        if let Some(found) = found() {
            return Some(found);
        }
        thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Why a peer of a package is left out.
pub fn not_installed(package: &str) -> String {
    format!("it is not installed: apt-get install -y --no-install-recommends {package}")
}

/// The process or thread of the kernel of this name.
pub fn find_by_name(name: &str) -> Option<u32> {
    let all = fs::read_dir("/proc").ok()?.flatten();
    all.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).find(|pid: &u32| {
        fs::read_to_string(format!("/proc/{pid}/comm")).is_ok_and(|comm| comm.trim() == name)
    })
}

/// Processor time of all threads of a process.
pub fn processor_seconds_of(pid: u32) -> f64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"));
    tasks
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("schedstat")).ok())
        .filter_map(|text| text.split(' ').next()?.parse::<f64>().ok())
        .sum::<f64>()
        / 1e9
}

/// A running peer; it ends with this.
pub struct Traced(Child);

impl Traced {
    pub fn start(argv: &[String], log: &Path, package: &str) -> Result<Self, String> {
        let output = File::create(log).map_err(|error| error.to_string())?;
        // In mounts of its own, so that it finds the tracing file system where nobody has mounted it.
        let script = "mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null; exec \"$@\"";
        let program = argv.first().map_or("", String::as_str);
        let there = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .stdout(Stdio::null())
            .status()
            .is_ok_and(|status| status.success());
        if !there {
            return Err(not_installed(package));
        }
        Command::new("unshare")
            .args(["--mount", "sh", "-c", script, "sh"])
            .args(argv)
            .stdin(Stdio::null())
            .stdout(output.try_clone().map_err(|error| error.to_string())?)
            .stderr(output)
            .spawn()
            .map(Self)
            .map_err(|error| error.to_string())
    }

    fn ended(&mut self) -> Option<()> {
        matches!(self.0.try_wait(), Ok(Some(_)) | Err(_)).then_some(())
    }

    pub fn pid(&self) -> u32 {
        self.0.id()
    }

    pub fn processor_seconds(&self) -> f64 {
        processor_seconds_of(self.pid())
    }
}

impl Drop for Traced {
    fn drop(&mut self) {
        // SAFETY: kill(2) touches no memory; the child has not been waited for or has ended, in which case
        // its id is not used again before it is waited for below.
        unsafe { libc::kill(self.0.id().cast_signed(), libc::SIGINT) };
        let until = Instant::now() + Duration::from_secs(5);
        while self.ended().is_none() && Instant::now() < until {
            thread::sleep(Duration::from_millis(20));
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
