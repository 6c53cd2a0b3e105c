//! One output: a queue bounded by weight, and a thread that renders and writes what is in it.

use std::io;
use std::io::ErrorKind;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use super::Renderer;
use super::stream::{Destination, Stream, has_other_end};
use crate::record::{Record, RecordType};

/// What is rendered is written at the latest when it is this long, in bytes.
const WRITE_BYTES: usize = 256 << 10;
/// A buffer that one huge record made larger than this is given back.
const KEPT_BUFFER_BYTES: usize = 1 << 20;
/// After this long without a record, what the renderer holds back is shown.
const QUIET: Duration = Duration::from_millis(300);

/// Why an output lost records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LossReason {
    /// It writes more slowly than records come.
    QueueFull,
    /// The file system is full, or the quota used up.
    NoSpace,
    /// Writing failed otherwise.
    WriteFailed,
    /// Nobody reads it any more.
    Closed,
    /// The agent ended before they could be written.
    Ended,
    /// The record could not be put into the output's format.
    Encoding,
}

impl LossReason {
    /// Every reason, in the order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::QueueFull,
        Self::NoSpace,
        Self::WriteFailed,
        Self::Closed,
        Self::Ended,
        Self::Encoding,
    ];

    /// The word in `loss` records and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::NoSpace => "no_space",
            Self::WriteFailed => "write_failed",
            Self::Closed => "closed",
            Self::Ended => "ended",
            Self::Encoding => "encoding",
        }
    }
}

/// An output is gone for good: the run cannot go on as asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// Which output.
    pub output: String,
    /// What happened, where, and what to do.
    pub message: String,
}

/// What an output has done so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputState {
    /// `stdout`, or the path of the file.
    pub name: String,
    /// Records waiting.
    pub queued: usize,
    /// Records written.
    pub written: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Records lost, in the order of [`LossReason::ALL`].
    pub lost: [u64; LossReason::ALL.len()],
}

/// Counters of an output, shared with its thread.
#[derive(Debug, Default)]
struct Shared {
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    written: AtomicU64,
    written_bytes: AtomicU64,
    lost: [AtomicU64; LossReason::ALL.len()],
    failure: OnceLock<Failure>,
    /// The run has ended without waiting any longer: stop after the write under way.
    abandoned: AtomicBool,
}

impl Shared {
    fn lose(&self, reason: LossReason, count: usize) {
        if let Some(counter) = self.lost.get(reason as usize) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// So many queued records were written or counted as lost. Once the end was given up, what is
    /// left has been counted already.
    fn settle(&self, count: usize) {
        let _ = self.queued.try_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
            Some(queued.saturating_sub(count))
        });
    }
}

/// Which records of a batch an output takes.
enum Selection {
    All,
    Some(Vec<usize>),
}

enum Job {
    Batch { records: Arc<Vec<Record>>, taken: Selection, weight: usize },
    Reopen,
}

/// The near end of an output.
pub(super) struct Sink {
    name: String,
    queue_bytes: usize,
    sender: Option<Sender<Job>>,
    ended: Receiver<()>,
    shared: Arc<Shared>,
}

impl Sink {
    /// Starts the thread of an output.
    pub(super) fn start(
        stream: Stream,
        renderer: Renderer,
        queue_bytes: usize,
    ) -> io::Result<Self> {
        let name = stream.destination.to_string();
        let shared = Arc::new(Shared::default());
        // The channel itself has no bound: `offer` keeps it by weight, and every record weighs.
        let (sender, jobs) = mpsc::channel();
        let (end, ended) = mpsc::channel();
        let writer = Writer::new(stream, renderer, Arc::clone(&shared));
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            writer.run(&jobs);
            // Nobody waits any more when this fails.
            let _ = end.send(());
        })?;
        Ok(Self { name, queue_bytes, sender: Some(sender), ended, shared })
    }

    /// Queues what there is room for, never waiting. The last eighth of the queue is kept for the
    /// records a flood of effects must not push out.
    pub(super) fn offer(&self, records: &Arc<Vec<Record>>) {
        let queued = self.shared.queued_bytes.load(Ordering::Acquire);
        let limit = self.queue_bytes - self.queue_bytes / 8;
        let mut weight = records.iter().map(weight).sum();
        let mut taken = Selection::All;
        let mut count = records.len();
        if queued + weight > limit {
            let mut indices = Vec::new();
            weight = 0;
            for (index, record) in records.iter().enumerate() {
                let limit = if is_precious(record) { self.queue_bytes } else { limit };
                let more = self::weight(record);
                // An empty queue takes anything: nothing is too large for an idle output.
                if queued + weight == 0 || queued + weight + more <= limit {
                    indices.push(index);
                    weight += more;
                }
            }
            count = indices.len();
            self.shared.lose(LossReason::QueueFull, records.len() - count);
            taken = Selection::Some(indices);
        }
        if count == 0 {
            return;
        }
        self.shared.queued_bytes.fetch_add(weight, Ordering::AcqRel);
        self.shared.queued.fetch_add(count, Ordering::AcqRel);
        let job = Job::Batch { records: Arc::clone(records), taken, weight };
        if self.sender.as_ref().is_none_or(|sender| sender.send(job).is_err()) {
            self.shared.queued_bytes.fetch_sub(weight, Ordering::AcqRel);
            self.shared.queued.fetch_sub(count, Ordering::AcqRel);
            self.shared.lose(LossReason::Closed, count);
        }
    }

    pub(super) fn reopen(&self) {
        if let Some(sender) = &self.sender {
            // A thread that has ended has nothing to reopen.
            let _ = sender.send(Job::Reopen);
        }
    }

    pub(super) fn state(&self) -> OutputState {
        let shared = &self.shared;
        OutputState {
            name: self.name.clone(),
            queued: shared.queued.load(Ordering::Acquire),
            written: shared.written.load(Ordering::Relaxed),
            written_bytes: shared.written_bytes.load(Ordering::Relaxed),
            lost: shared.lost.each_ref().map(|counter| counter.load(Ordering::Relaxed)),
        }
    }

    pub(super) fn failure(&self) -> Option<&Failure> {
        self.shared.failure.get()
    }

    /// No more records: the thread writes what is queued and ends.
    pub(super) fn close(&mut self) {
        self.sender = None;
    }

    /// Waits for the thread until the deadline; what is still queued then counts as lost.
    pub(super) fn wait(&mut self, deadline: Instant) {
        self.close();
        let timeout = deadline.saturating_duration_since(Instant::now());
        if self.ended.recv_timeout(timeout).is_err() {
            self.shared.abandoned.store(true, Ordering::Release);
            self.shared.lose(LossReason::Ended, self.shared.queued.swap(0, Ordering::AcqRel));
        }
    }
}

/// A record that must get through when effects come in floods: a flood is how an attacker would
/// hide it.
fn is_precious(record: &Record) -> bool {
    matches!(
        record.kind,
        RecordType::Alert
            | RecordType::Loss
            | RecordType::Status
            | RecordType::McpCall
            | RecordType::ServerDiscovered
            | RecordType::ServerExited
    )
}

/// About how much memory a queued record holds, in bytes. What it shares with other records (server,
/// process, host) is not counted.
fn weight(record: &Record) -> usize {
    let mut weight = size_of::<Record>();
    if let Some(exec) = &record.exec {
        weight += exec.path.len() + exec.cwd.len();
        weight += exec.argv.iter().map(|word| word.len() + size_of::<String>()).sum::<usize>();
    }
    if let Some(file) = &record.file {
        weight += file.path.len() + file.argument.len();
    }
    if let Some(outcome) = record.call.as_ref().and_then(|call| call.outcome.as_ref())
        && outcome.arguments.is_some()
    {
        // A JSON tree takes more room than its text, most often less than twice.
        weight +=
            usize::try_from(outcome.request_bytes).unwrap_or(usize::MAX / 4).saturating_mul(2);
    }
    if let Some(alert) = &record.alert {
        weight += alert.reason.len();
        weight += alert.evidence.iter().map(|evidence| evidence.value.len()).sum::<usize>();
    }
    weight
}

/// The far end: renders, writes, and counts what could not be written.
struct Writer {
    stream: Stream,
    renderer: Renderer,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    /// Where in `buffer` the text of each record ends.
    ends: Vec<usize>,
    /// Rest of a record whose beginning is written already: it goes out before anything else, so
    /// that no line stays broken.
    rest: Vec<u8>,
    /// Writing fails since a while.
    trouble: Option<Trouble>,
}

struct Trouble {
    reason: LossReason,
    lost: u64,
}

impl Writer {
    fn new(stream: Stream, renderer: Renderer, shared: Arc<Shared>) -> Self {
        let rest = if stream.broken_line { b"\n".to_vec() } else { Vec::new() };
        Self {
            stream,
            renderer,
            shared,
            buffer: Vec::with_capacity(WRITE_BYTES),
            ends: Vec::new(),
            rest,
            trouble: None,
        }
    }

    fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let job = if self.renderer.holds() {
                jobs.recv_timeout(QUIET)
            } else {
                jobs.recv().map_err(RecvTimeoutError::from)
            };
            match job {
                Ok(job) => self.take(job, jobs),
                Err(RecvTimeoutError::Timeout) => self.release(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.shared.abandoned.load(Ordering::Acquire) {
                return;
            }
        }
        self.release();
    }

    fn release(&mut self) {
        self.renderer.release(&mut self.buffer);
        self.flush();
    }

    /// Renders a job and what has queued up behind it, up to a buffer's fill, and writes it at once.
    fn take(&mut self, first: Job, jobs: &Receiver<Job>) {
        let mut next = Some(first);
        let mut weight = 0;
        while let Some(job) = next {
            match job {
                Job::Batch { records, taken, weight: batch_weight } => {
                    weight += batch_weight;
                    match taken {
                        Selection::All => self.render(records.iter()),
                        Selection::Some(indices) => {
                            self.render(indices.iter().filter_map(|index| records.get(*index)));
                        }
                    }
                }
                Job::Reopen => {
                    self.flush();
                    self.reopen();
                }
            }
            next = if self.buffer.len() < WRITE_BYTES { jobs.try_recv().ok() } else { None };
        }
        self.flush();
        self.shared.queued_bytes.fetch_sub(weight, Ordering::AcqRel);
    }

    fn render<'a>(&mut self, records: impl Iterator<Item = &'a Record>) {
        for record in records {
            match self.renderer.append(record, &mut self.buffer) {
                Ok(()) => self.ends.push(self.buffer.len()),
                Err(error) => {
                    self.shared.lose(LossReason::Encoding, 1);
                    self.shared.settle(1);
                    tracing::error!(output = %self.stream.destination, seq = record.seq, %error,
                        "a record could not be encoded and is missing from the output");
                }
            }
            if self.buffer.len() >= WRITE_BYTES {
                self.flush();
            }
        }
    }

    /// Writes the buffer; afterwards it is empty, and each of its records written or counted as lost.
    fn flush(&mut self) {
        if self.shared.failure.get().is_some() {
            self.shared.lose(LossReason::Closed, self.ends.len());
        } else if !self.buffer.is_empty() || !self.ends.is_empty() {
            self.write();
        }
        self.shared.settle(self.ends.len());
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BUFFER_BYTES);
        self.ends.clear();
    }

    fn write(&mut self) {
        let (written, error) = self.stream.write(&self.rest);
        self.shared.written_bytes.fetch_add(written as u64, Ordering::Relaxed);
        self.rest.drain(..written);
        if let Some(error) = error {
            return self.failed(&error, self.ends.len());
        }
        let (written, error) = self.stream.write(&self.buffer);
        self.shared.written_bytes.fetch_add(written as u64, Ordering::Relaxed);
        let mut records = self.ends.partition_point(|end| *end <= written);
        let complete = records.checked_sub(1).and_then(|last| self.ends.get(last));
        if complete.copied().unwrap_or(0) < written {
            // The record that was written in part is finished later.
            let end = self.ends.get(records).copied().unwrap_or(self.buffer.len());
            self.rest.extend_from_slice(self.buffer.get(written..end).unwrap_or_default());
            records = self.ends.len().min(records + 1);
        }
        self.shared.written.fetch_add(records as u64, Ordering::Relaxed);
        match error {
            Some(error) => self.failed(&error, self.ends.len() - records),
            None => self.recovered(),
        }
    }

    fn failed(&mut self, error: &io::Error, lost: usize) {
        let reason = match error.kind() {
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => LossReason::NoSpace,
            ErrorKind::BrokenPipe => LossReason::Closed,
            // A terminal that was closed says EIO.
            _ if has_other_end(&self.stream) => LossReason::Closed,
            _ => LossReason::WriteFailed,
        };
        self.shared.lose(reason, lost);
        let destination = &self.stream.destination;
        if reason == LossReason::Closed {
            let advice = match destination {
                Destination::Stdout => {
                    "keep its reader running, or write the events to a file with `--events FILE`"
                }
                Destination::File(_) => "keep the pipe's reader running, or name a regular file",
            };
            let message =
                format!("nobody reads the events on {destination} any more ({error}): {advice}");
            let failure = Failure { output: destination.to_string(), message };
            // Only this thread sets it, and never twice: `flush` looks first.
            let _ = self.shared.failure.set(failure);
            return;
        }
        let first = self.trouble.as_ref().is_none_or(|trouble| trouble.reason != reason);
        let before = self.trouble.take().map_or(0, |trouble| trouble.lost);
        self.trouble = Some(Trouble { reason, lost: before + lost as u64 });
        if first {
            let advice = match reason {
                LossReason::NoSpace => "free space on its file system, writing goes on by itself",
                _ => "check the file system and the device below it",
            };
            tracing::error!(output = %destination, %error,
                "cannot write events to {destination}: {error}; they are lost and counted: {advice}");
        }
    }

    fn recovered(&mut self) {
        if let Some(trouble) = self.trouble.take() {
            let destination = &self.stream.destination;
            tracing::warn!(output = %destination, lost = trouble.lost,
                "events are written to {destination} again; {} were lost", trouble.lost);
        }
    }

    /// Opens the file's path again, for log rotation. The old file is kept when that fails.
    fn reopen(&mut self) {
        if self.stream.destination == Destination::Stdout {
            return;
        }
        match Stream::open(self.stream.destination.clone()) {
            Ok(stream) => {
                self.rest = if stream.broken_line { b"\n".to_vec() } else { Vec::new() };
                self.stream = stream;
                tracing::info!(output = %self.stream.destination, "event file opened again");
            }
            Err(error) => tracing::error!(%error, "events still go to the file as it was before"),
        }
    }
}
