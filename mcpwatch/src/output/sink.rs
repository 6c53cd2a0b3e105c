//! The near end of one output: a queue bounded by weight, and counters of what became of it.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use flume::{Receiver, Sender};

use super::Renderer;
use super::stream::Stream;
use super::weight::weight as weight_of;
use super::writer::Writer;
use crate::record::{Record, RecordType};

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
pub(super) struct Shared {
    pub(super) queued: AtomicUsize,
    pub(super) queued_bytes: AtomicUsize,
    pub(super) written: AtomicU64,
    pub(super) written_bytes: AtomicU64,
    lost: [AtomicU64; LossReason::ALL.len()],
    pub(super) failure: OnceLock<Failure>,
    /// The run has ended without waiting any longer: stop after the write under way.
    pub(super) abandoned: AtomicBool,
}

impl Shared {
    pub(super) fn lose(&self, reason: LossReason, count: usize) {
        if let Some(counter) = self.lost.get(reason as usize) {
            counter.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// So many queued records were written or counted as lost. Once the end was given up, what is
    /// left has been counted already.
    pub(super) fn settle(&self, count: usize) {
        let _ = self.queued.try_update(Ordering::AcqRel, Ordering::Acquire, |queued| {
            Some(queued.saturating_sub(count))
        });
    }
}

pub(super) enum Job {
    Batch { records: Arc<Vec<Record>>, weight: usize },
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
    /// Starts the thread of an output, which does `begin` first.
    pub(super) fn start(
        stream: Stream,
        renderer: Renderer,
        queue_bytes: usize,
        begin: fn(),
    ) -> io::Result<Self> {
        let name = stream.destination.to_string();
        let shared = Arc::new(Shared::default());
        // The channel itself has no bound: `offer` keeps it by weight, and every record weighs.
        let (sender, jobs) = flume::unbounded();
        let (end, ended) = flume::bounded(1);
        let writer = Writer::new(stream, renderer, Arc::clone(&shared));
        thread::Builder::new().name("output".to_owned()).spawn(move || {
            begin();
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
        let mut weight = records.iter().map(weight_of).sum();
        let mut taken = Arc::clone(records);
        if queued + weight > limit {
            // Copies: the batch itself would be held as a whole for the few of it that there is room for.
            let mut some = Vec::new();
            weight = 0;
            for record in records.iter() {
                let limit = if is_precious(record) { self.queue_bytes } else { limit };
                let more = weight_of(record);
                // An empty queue takes anything: nothing is too large for an idle output.
                if queued + weight == 0 || queued + weight + more <= limit {
                    some.push(record.clone());
                    weight += more;
                }
            }
            self.shared.lose(LossReason::QueueFull, records.len() - some.len());
            taken = Arc::new(some);
        }
        let count = taken.len();
        if count == 0 {
            return;
        }
        self.shared.queued_bytes.fetch_add(weight, Ordering::AcqRel);
        self.shared.queued.fetch_add(count, Ordering::AcqRel);
        let job = Job::Batch { records: taken, weight };
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
