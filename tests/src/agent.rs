//! The agent under test: started for one scene, its event file read while it is written.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::Value;

use crate::deps::{agent_program, workspace};
use crate::metrics::{Metrics, free_port, http_get};
use crate::proc::kill;
use crate::records::{Records, int, text};
use crate::refusing::Refusals;
use crate::scene::Scene;
use crate::schema;

static PASSED_OVER: AtomicU64 = AtomicU64::new(0);

/// How many system calls the kernel has passed over by the word of the agents that ended so far, whoever made them: a
/// preemptible kernel does that now and then (docs/kernel-support.md, "Limits"), and a test may miss one.
pub fn passed_over() -> u64 {
    PASSED_OVER.load(Ordering::Relaxed)
}

static IS_FINAL: AtomicBool = AtomicBool::new(false);

/// What fails now is none of that: it is not to be tried again.
pub fn make_failure_final() {
    IS_FINAL.store(true, Ordering::Relaxed);
}

/// Whether it was said of a failure of this process.
pub fn is_failure_final() -> bool {
    IS_FINAL.load(Ordering::Relaxed)
}

/// Adds those that another process of the test knows of.
pub fn note_passed_over(calls: u64) {
    PASSED_OVER.fetch_add(calls, Ordering::Relaxed);
}

/// Loading and attaching takes a second or so; a machine that builds at the same time takes longer.
fn ready() -> Duration {
    Duration::from_secs(30) * slowness()
}

/// How long a test waits for a record before it gives up.
fn patience() -> Duration {
    Duration::from_secs(15) * slowness()
}

/// How many times longer than usual everything may take: emulated machines are slow.
fn slowness() -> u32 {
    let slowness = std::env::var("MCPWATCH_TESTS_SLOWNESS").ok();
    slowness.and_then(|text| text.parse().ok()).unwrap_or(1)
}

/// An agent to be started.
pub struct AgentBuilder {
    program: PathBuf,
    wrapper: Vec<String>,
    arguments: Vec<String>,
    events: PathBuf,
    log: PathBuf,
    settings: PathBuf,
    metrics: Option<u16>,
    refusals: Option<Refusals>,
    epilogue: Epilogue,
}

/// What became of the agents of a scene, for the scene to show when its test fails.
pub(crate) type Epilogue = Arc<Mutex<Vec<(Records, String)>>>;

impl AgentBuilder {
    pub(crate) fn new(scene: &Scene) -> Self {
        Self {
            program: agent_program(),
            wrapper: Vec::new(),
            arguments: vec!["--descendants-of".into(), scene.anchor_pid().to_string()],
            events: scene.backstage("events.jsonl"),
            log: scene.backstage("agent.log"),
            settings: scene.backstage("mcpwatch.toml"),
            metrics: None,
            refusals: None,
            epilogue: scene.epilogue(),
        }
    }

    /// Without a limit to the scene's processes: for a virtual machine, in which there are no others.
    #[must_use]
    pub fn of_whole_machine(mut self) -> Self {
        self.arguments.clear();
        self
    }

    /// More arguments of `mcpwatch run`.
    #[must_use]
    pub fn arguments(mut self, arguments: &[&str]) -> Self {
        self.arguments.extend(arguments.iter().map(ToString::to_string));
        self
    }

    /// A settings file with this text.
    #[must_use]
    pub fn settings(self, toml: &str) -> Self {
        fs::write(&self.settings, toml).expect("a file can be written");
        let path = self.settings.to_string_lossy().into_owned();
        self.arguments(&["--config", &path])
    }

    /// The metrics endpoint on a free port instead of none.
    #[must_use]
    pub fn metrics(mut self) -> Self {
        self.metrics = Some(free_port());
        self
    }

    /// Another file for the events.
    #[must_use]
    pub fn events(mut self, path: &str) -> Self {
        self.events = path.into();
        self
    }

    /// A command the agent is started by: `setpriv`, `unshare`, …
    #[must_use]
    pub fn by(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(ToString::to_string).collect();
        self
    }

    /// The kernel refuses it what these say.
    #[must_use]
    pub fn refused(mut self, refusals: &Refusals) -> Self {
        self.refusals = Some(refusals.clone());
        self
    }

    /// Runs a copy of the agent that everybody may execute, wherever the workspace stands.
    #[must_use]
    pub fn for_everybody(mut self) -> Self {
        let copy = self.log.with_file_name("mcpwatch");
        fs::copy(&self.program, &copy).expect("the agent can be copied");
        self.program = copy;
        self
    }

    /// Starts it and waits until it has attached everything.
    #[track_caller]
    pub fn start(self) -> Agent {
        let _ = fs::remove_file(&self.events);
        let agent = self.spawn_only();
        agent.find_within("status `started`", ready(), |record| {
            text(record, "status.state") == "started"
        });
        agent
    }

    /// Starts it and waits for it to end by itself; `None` as its status when it does not.
    pub fn run(self, patience: Duration) -> Outcome {
        let log = self.log.clone();
        let (mut child, _) = self.spawn();
        let status = wait(&mut child, patience);
        if status.is_none() {
            kill(child.id(), libc::SIGKILL);
            let _ = child.wait();
        }
        Outcome { code: status.map(|status| status.code().unwrap_or(-1)), output: read(&log) }
    }

    /// Starts it and hands it over without waiting for anything.
    pub fn spawn_only(self) -> Agent {
        let (events, log) = (self.events.clone(), self.log.clone());
        let epilogue = Arc::clone(&self.epilogue);
        let (child, port) = self.spawn();
        let stream: Arc<Stream> = Arc::default();
        let done = Arc::new(AtomicBool::new(false));
        let reader = thread::spawn({
            let (stream, done) = (Arc::clone(&stream), Arc::clone(&done));
            move || follow(&events, &stream, &done)
        });
        Agent { child, log, port, stream, done, reader: Some(reader), epilogue }
    }

    fn spawn(mut self) -> (Child, Option<u16>) {
        let metrics = self.metrics.map_or_else(|| "off".into(), |port| format!("127.0.0.1:{port}"));
        for (option, value) in
            [("--metrics", metrics), ("--events", self.events.display().to_string())]
        {
            if !self.arguments.iter().any(|argument| argument == option) {
                self.arguments.extend([option.into(), value]);
            }
        }
        let mut argv = self.wrapper;
        argv.extend([self.program.display().to_string(), "run".into()]);
        argv.extend(self.arguments);
        let log = File::create(&self.log).expect("a file can be made");
        let mut command = Command::new(&argv[0]);
        command
            .args(&argv[1..])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be duplicated"))
            .stderr(log);
        let child = match &self.refusals {
            Some(refusals) => refusals.spawn(&mut command),
            None => command.spawn(),
        };
        let child = child.unwrap_or_else(|error| panic!("cannot start {argv:?}: {error}"));
        (child, self.metrics)
    }
}

/// How an agent ended that was expected to.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; -1 for a signal; `None` when it did not end in time.
    pub code: Option<i32>,
    /// Stdout and stderr.
    pub output: String,
}

/// A running agent.
pub struct Agent {
    child: Child,
    log: PathBuf,
    port: Option<u16>,
    stream: Arc<Stream>,
    done: Arc<AtomicBool>,
    reader: Option<thread::JoinHandle<()>>,
    epilogue: Epilogue,
}

/// An agent that ended as it was asked to.
pub struct Stopped {
    /// Everything it wrote.
    pub records: Records,
    /// How long it took from the signal to its end.
    pub took: Duration,
    /// Stdout and stderr.
    pub output: String,
}

#[derive(Default)]
struct Stream {
    state: Mutex<State>,
    grown: Condvar,
}

#[derive(Default)]
struct State {
    records: Vec<Value>,
    arrived: Vec<Timestamp>,
    wrong: Vec<String>,
}

impl Agent {
    /// Its process id; with a wrapper that does not exec, the wrapper's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Port of its HTTP endpoint.
    pub fn port(&self) -> u16 {
        self.port.expect("the agent was started with metrics")
    }

    /// A scrape.
    #[track_caller]
    pub fn scrape(&self) -> Metrics {
        let (code, body) = http_get(self.port(), "/metrics").expect("the agent answers");
        assert_eq!(code, 200, "{body}");
        Metrics(body)
    }

    /// What it wrote so far.
    pub fn records(&self) -> Records {
        Records(self.state().records.clone())
    }

    /// How many records there are so far.
    pub fn count(&self) -> usize {
        self.state().records.len()
    }

    /// What it wrote since there were `count` records.
    pub fn since(&self, count: usize) -> Records {
        Records(self.state().records.get(count..).unwrap_or_default().to_vec())
    }

    /// Waits for a record; fails with `what` when none comes.
    #[track_caller]
    pub fn find(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        self.find_within(what, patience(), wanted)
    }

    /// The same with another patience.
    #[track_caller]
    pub fn find_within(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> Value {
        self.find_arrival(what, patience, wanted).0
    }

    /// A record and when this process read it.
    #[track_caller]
    pub fn find_arrival(
        &self,
        what: &str,
        patience: Duration,
        wanted: impl Fn(&Value) -> bool,
    ) -> (Value, Timestamp) {
        let until = Instant::now() + patience;
        let mut seen = 0;
        let mut state = self.state();
        loop {
            let fresh = state.records.iter().enumerate().skip(seen);
            if let Some((index, record)) = fresh.into_iter().find(|(_, record)| wanted(record)) {
                return (record.clone(), state.arrived[index]);
            }
            seen = state.records.len();
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no record within {patience:?}: {what}");
            assert!(!self.done.load(Ordering::Relaxed), "the agent ended before: {what}");
            let slice = left.min(Duration::from_millis(200));
            state =
                self.stream.grown.wait_timeout(state, slice).expect("no panic under the lock").0;
            if state.records.is_empty() {
                drop(state);
                self.assert_alive(what);
                state = self.state();
            }
        }
    }

    /// Stdout and stderr so far.
    pub fn output(&self) -> String {
        read(&self.log)
    }

    /// Waits until nothing has been written for a while.
    pub fn settle(&self, quiet: Duration) {
        let mut count = self.count();
        loop {
            thread::sleep(quiet);
            let now = self.count();
            if now == count {
                return;
            }
            count = now;
        }
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: i32) {
        kill(self.child.id(), signal);
    }

    /// Asks it to end, and checks that it does so well: exit code 0, no number missing without a word, every record
    /// as the schema says.
    #[track_caller]
    pub fn stop(self) -> Stopped {
        self.stop_by(libc::SIGTERM)
    }

    /// The same by another signal.
    #[track_caller]
    pub fn stop_by(mut self, signal: i32) -> Stopped {
        let begun = Instant::now();
        self.signal(signal);
        let status = wait(&mut self.child, patience()).expect("the agent ends when it is asked to");
        let took = begun.elapsed();
        if status.code() != Some(0) {
            make_failure_final();
        }
        assert_eq!(status.code(), Some(0), "exit code of the agent");
        self.finish_reading();
        {
            let state = self.state();
            if !state.wrong.is_empty() {
                make_failure_final();
            }
            assert!(
                state.wrong.is_empty(),
                "records against the schema:\n{}",
                state.wrong.join("\n")
            );
            check_numbers(&state.records);
        }
        Stopped { records: self.records(), took, output: read(&self.log) }
    }

    /// Waits for it to end by itself.
    pub fn wait(mut self, patience: Duration) -> Outcome {
        let status = wait(&mut self.child, patience);
        self.finish_reading();
        Outcome { code: status.map(|status| status.code().unwrap_or(-1)), output: read(&self.log) }
    }

    fn finish_reading(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(reader) = self.reader.take() {
            reader.join().expect("the reader of the event file");
            let is_busy = |record: &&Value| {
                text(record, "type") == "loss" && text(record, "loss.what") == "busy"
            };
            let state = self.state();
            let busy = state.records.iter().filter(is_busy);
            let calls: i64 = busy.filter_map(|record| int(record, "loss.lost")).sum();
            drop(state);
            note_passed_over(calls.try_into().unwrap_or(0));
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.stream.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[track_caller]
    fn assert_alive(&self, what: &str) {
        let stat =
            fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap_or_default();
        let dead = stat.is_empty() || stat.contains(") Z ");
        assert!(!dead, "the agent ended before: {what}");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if thread::panicking() && self.reader.is_some() {
            // Its last words may tell why.
            kill(self.child.id(), libc::SIGTERM);
            let _ = wait(&mut self.child, patience());
        }
        kill(self.child.id(), libc::SIGKILL);
        let _ = self.child.wait();
        self.finish_reading();
        let left = (self.records(), self.output());
        self.epilogue.lock().unwrap_or_else(PoisonError::into_inner).push(left);
    }
}

/// Numbers rise, and each that is missing is one of a loss the stream tells of.
#[track_caller]
fn check_numbers(records: &[Value]) {
    let mut next = 0;
    let mut missing = 0;
    let mut said = 0;
    for record in records {
        let number = record["seq"].as_i64().expect("a record has a number");
        assert!(number >= next, "seq {number} comes after {next}");
        missing += number - next;
        next = number + 1;
        if text(record, "loss.stage") == "output" {
            said += int(record, "loss.lost").unwrap_or(0);
        }
    }
    assert_eq!(
        missing, said,
        "records that are missing by their numbers, and those said to be lost"
    );
}

/// What a failed test shows of the agent; the records in full go to a file.
pub(crate) fn report(epilogue: &Epilogue) {
    let agents = epilogue.lock().unwrap_or_else(PoisonError::into_inner);
    for (number, (records, output)) in agents.iter().enumerate() {
        eprintln!("── the agent said ──\n{output}");
        eprintln!("── its records ──\n{}", records.digest());
        keep(records, number);
    }
}

/// Records of a failed test that are kept: a flood has ten times as many.
const KEPT: usize = 20_000;

fn keep(records: &Records, number: usize) {
    let folder = workspace().join("target/test-failures");
    let name = thread::current().name().unwrap_or("test").replace("::", "-");
    let path = folder.join(format!("{name}-{number}.jsonl"));
    let lines: Vec<String> = records.0.iter().take(KEPT).map(Value::to_string).collect();
    if fs::create_dir_all(&folder).and_then(|()| fs::write(&path, lines.join("\n"))).is_ok() {
        eprintln!("── in full: {} ──", path.display());
    }
}

/// Most bytes read before what they say is handed on: a file that grows as fast as it is read has no end.
const PIECE: u64 = 1 << 20;

/// Reads the event file as it grows, until the agent has ended and the rest is read.
fn follow(path: &Path, stream: &Stream, done: &AtomicBool) {
    let mut file = None;
    let mut buffer = Vec::new();
    loop {
        let last = done.load(Ordering::Relaxed);
        if file.is_none() {
            file = File::open(path)
                .ok()
                .filter(|file| file.metadata().is_ok_and(|meta| meta.is_file()));
        }
        let mut read = 0;
        if let Some(file) = &mut file {
            read = file.by_ref().take(PIECE).read_to_end(&mut buffer).unwrap_or(0);
        }
        if read > 0 {
            let end =
                buffer.iter().rposition(|byte| *byte == b'\n').map_or(0, |position| position + 1);
            take_lines(&buffer[..end], stream);
            buffer.drain(..end);
        }
        if read == 0 {
            if last {
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

fn take_lines(bytes: &[u8], stream: &Stream) {
    let now = Timestamp::now();
    let mut fresh = Vec::new();
    let mut wrong = Vec::new();
    for line in bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        match serde_json::from_slice::<Value>(line) {
            Ok(record) => {
                wrong.extend(
                    schema::violation(&record).map(|violation| format!("{violation}: {record}")),
                );
                fresh.push(record);
            }
            Err(error) => wrong.push(format!("{error}: {}", String::from_utf8_lossy(line))),
        }
    }
    let mut state = stream.state.lock().unwrap_or_else(PoisonError::into_inner);
    state.arrived.extend(std::iter::repeat_n(now, fresh.len()));
    state.records.extend(fresh);
    state.wrong.extend(wrong);
    stream.grown.notify_all();
}

fn wait(child: &mut Child, patience: Duration) -> Option<ExitStatus> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("waitpid") {
            return Some(status);
        }
        if Instant::now() > until {
            return None;
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}
