//! The thread of one output: renders, writes, and counts what could not be written.

use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use flume::{Receiver, RecvTimeoutError};

use super::Renderer;
use super::sink::{Failure, Job, LossReason, Shared};
use super::stream::{Destination, Stream, has_other_end};
use crate::record::Record;

/// After this long without a record, what the renderer holds back is shown.
const QUIET: Duration = Duration::from_millis(300);
/// A buffer that one huge record made larger than this is given back.
const KEPT_BUFFER_BYTES: usize = 1 << 20;
/// What is rendered is written at the latest when it is this long, in bytes.
const WRITE_BYTES: usize = 256 << 10;

/// The far end: renders, writes, and counts what could not be written.
pub(super) struct Writer {
    stream: Stream,
    renderer: Renderer,
    shared: Arc<Shared>,
    buffer: Vec<u8>,
    /// Where in `buffer` the text of each record ends.
    ends: Vec<usize>,
    /// Weight in the queue of the batches that are rendered, but not written yet.
    weight: usize,
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
    pub(super) fn new(stream: Stream, renderer: Renderer, shared: Arc<Shared>) -> Self {
        let rest = if stream.broken_line { b"\n".to_vec() } else { Vec::new() };
        Self {
            stream,
            renderer,
            shared,
            buffer: Vec::with_capacity(WRITE_BYTES),
            ends: Vec::new(),
            weight: 0,
            rest,
            trouble: None,
        }
    }

    pub(super) fn run(mut self, jobs: &Receiver<Job>) {
        loop {
            let job = if self.renderer.holds() {
                jobs.recv_timeout(QUIET)
            } else {
                jobs.recv().map_err(|_| RecvTimeoutError::Disconnected)
            };
            match job {
                Ok(job) => self.take(job, jobs),
                Err(RecvTimeoutError::Timeout) => self.release(),
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if self.is_abandoned() {
                return;
            }
        }
        self.release();
    }

    fn release(&mut self) {
        self.renderer.release(&mut self.buffer);
        self.flush();
    }

    /// Renders a job and what has queued up behind it, and writes it in as few calls as possible.
    fn take(&mut self, first: Job, jobs: &Receiver<Job>) {
        let mut next = Some(first);
        while let Some(job) = next {
            match job {
                Job::Batch { records, weight } => {
                    self.render(&records);
                    self.weight += weight;
                }
                Job::Reopen => {
                    self.flush();
                    self.reopen();
                }
            }
            let more = self.buffer.len() < WRITE_BYTES && !self.is_abandoned();
            next = if more { jobs.try_recv().ok() } else { None };
        }
        self.flush();
    }

    fn is_abandoned(&self) -> bool {
        self.shared.abandoned.load(Ordering::Acquire)
    }

    fn render(&mut self, records: &[Record]) {
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
        self.shared.queued_bytes.fetch_sub(std::mem::take(&mut self.weight), Ordering::AcqRel);
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
        match self.stream.reopen() {
            Ok(false) => {}
            Ok(true) => {
                self.rest = if self.stream.broken_line { b"\n".to_vec() } else { Vec::new() };
                tracing::info!(output = %self.stream.destination, "event file opened again");
            }
            Err(error) => tracing::error!(%error, "events still go to the file as it was before"),
        }
    }
}
