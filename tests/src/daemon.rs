//! The agent as the bench and the soak start it: nobody reads along and checks each record, because that
//! would be most of what is measured.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::deps::agent_program;
use crate::metrics::{Metrics, free_port, http_get};
use crate::scene::Scene;

/// Longest wait for the agent to be ready, or to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// A running agent that sees one scene.
pub struct Daemon {
    child: Child,
    port: u16,
    log: PathBuf,
}

/// Resident memory, in MiB.
#[derive(Clone, Debug)]
pub struct Memory {
    /// Now.
    pub resident: f64,
    /// The most there ever was, or since [`Daemon::forget_peak`].
    pub peak: f64,
    /// What is resident now, by what it is.
    pub parts: BTreeMap<&'static str, f64>,
}

impl Daemon {
    /// Starts it, on one processor when that is given, and waits until it is ready.
    pub fn start(scene: &Scene, events: &Path, processor: Option<usize>) -> Self {
        let mut argv: Vec<String> = Vec::new();
        if let Some(processor) = processor {
            argv.extend(["taskset".into(), "--cpu-list".into(), processor.to_string()]);
        }
        let port = free_port();
        argv.extend([agent_program().display().to_string(), "run".into()]);
        argv.extend(["--descendants-of".into(), scene.anchor_pid().to_string()]);
        argv.extend(["--events".into(), events.display().to_string()]);
        argv.extend(["--metrics".into(), format!("127.0.0.1:{port}")]);
        let log = scene.backstage("agent.log");
        let output = File::create(&log).expect("a file can be made");
        let child = Command::new(&argv[0])
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file can be duplicated"))
            .stderr(output)
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {argv:?}: {error}"));
        let mut daemon = Self { child, port, log };
        daemon.wait_until("the agent is ready", |daemon| {
            http_get(daemon.port, "/readyz").is_ok_and(|(code, _)| code == 200)
        });
        daemon
    }

    /// Waits for something; fails with `what` when it does not come, or the agent ends.
    pub fn wait_until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let until = Instant::now() + PATIENCE;
        while !done(self) {
            let log = || fs::read_to_string(&self.log).unwrap_or_default();
            if let Some(status) = self.child.try_wait().expect("waitpid") {
                panic!("the agent ended ({status}) before: {what}\n{}", log());
            }
            assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}\n{}", log());
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A scrape.
    pub fn scrape(&self) -> Metrics {
        Metrics(http_get(self.port, "/metrics").expect("the agent answers").1)
    }

    /// Processor time of each of its threads by name, in seconds.
    pub fn processor_time(&self) -> BTreeMap<String, f64> {
        let mut times = BTreeMap::new();
        let tasks = format!("/proc/{}/task", self.child.id());
        for task in fs::read_dir(tasks).expect("the agent lives").flatten() {
            let read = |name| fs::read_to_string(task.path().join(name)).unwrap_or_default();
            // The first number of schedstat is the time on a processor, in nanoseconds.
            let time =
                read("schedstat").split(' ').next().and_then(|time| time.parse::<f64>().ok());
            *times.entry(read("comm").trim().to_owned()).or_insert(0.0) +=
                time.unwrap_or(0.0) / 1e9;
        }
        times
    }

    /// Its resident memory.
    pub fn memory(&self) -> Memory {
        let read = |name: &str| {
            fs::read_to_string(format!("/proc/{}/{name}", self.child.id())).unwrap_or_default()
        };
        let status = read("status");
        let mebibytes = |line: &str| {
            let number =
                line.split_whitespace().nth(1).and_then(|number| number.parse::<f64>().ok());
            number.unwrap_or(0.0) / 1024.0
        };
        let of =
            |name: &str| status.lines().find(|line| line.starts_with(name)).map_or(0.0, mebibytes);
        let mut parts = BTreeMap::new();
        let mut part = "heap and stacks";
        for line in read("smaps").lines() {
            if line.starts_with("Rss:") {
                *parts.entry(part).or_insert(0.0) += mebibytes(line);
            } else if line.split(' ').next().is_some_and(|word| word.contains('-')) {
                // `address perms offset dev inode path`
                part = match line.split_whitespace().nth(5) {
                    Some(path) if path.contains("bpf-map") => "ring buffer, mapped twice",
                    Some(path) if path.starts_with('/') => "program and libraries",
                    _ => "heap and stacks",
                };
            }
        }
        Memory { resident: of("VmRSS:"), peak: of("VmHWM:"), parts }
    }

    /// Lets [`Memory::peak`] begin anew: starting and working are measured apart.
    pub fn forget_peak(&self) {
        // See `clear_refs` in proc(5): 5 resets the peak of the resident set.
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").expect("the agent lives");
    }

    /// Asks it to end and waits until it has.
    pub fn stop(mut self) {
        // SAFETY: kill(2) touches no memory; the child has not been waited for, so its id is its own.
        unsafe { libc::kill(self.child.id().cast_signed(), libc::SIGTERM) };
        let until = Instant::now() + PATIENCE;
        while self.child.try_wait().expect("waitpid").is_none() {
            assert!(Instant::now() < until, "the agent does not end");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
