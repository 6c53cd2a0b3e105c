//! Numbers the records and hands them to every output.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::sink::{Failure, LossReason, OutputState, Sink};
use super::stream::{Destination, OpenError, Stream};
use super::{Colour, Format, Renderer};
use crate::record::Record;

/// Memory the queue of one output may hold unless the settings say otherwise: a tenth of a second at
/// the highest rate the agent is built for, and well inside its memory budget.
pub const DEFAULT_QUEUE_BYTES: usize = 16 << 20;

/// An output that is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// Where.
    pub destination: Destination,
    /// How.
    pub format: Format,
    /// Whether in colour; matters to [`Format::Pretty`] only.
    pub colour: Colour,
}

/// What one output has lost for one reason since the start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputLoss {
    /// `stdout`, or the path of the file.
    pub output: String,
    /// Why.
    pub reason: LossReason,
    /// How many records, in all.
    pub lost: u64,
}

/// All outputs of a run.
pub struct Fanout {
    next_seq: u64,
    sinks: Vec<Sink>,
}

impl Fanout {
    /// Opens the outputs and starts their threads, each of which does `begin` first. Each queue holds at most
    /// about `queue_bytes`.
    pub fn open(outputs: Vec<Output>, queue_bytes: usize, begin: fn()) -> Result<Self, OpenError> {
        let mut fanout = Self { next_seq: 0, sinks: Vec::new() };
        for output in outputs {
            let renderer = Renderer::new(output.format, output.colour);
            let stream = Stream::open(output.destination)?;
            fanout.add(stream, renderer, queue_bytes, begin)?;
        }
        Ok(fanout)
    }

    fn add(
        &mut self,
        stream: Stream,
        renderer: Renderer,
        queue_bytes: usize,
        begin: fn(),
    ) -> Result<(), OpenError> {
        let destination = stream.destination.clone();
        match Sink::start(stream, renderer, queue_bytes, begin) {
            Ok(sink) => self.sinks.push(sink),
            Err(reason) => {
                let advice = "raise the limit on threads of this user or cgroup".to_owned();
                return Err(OpenError { destination, reason, advice });
            }
        }
        Ok(())
    }

    /// Gives the records their numbers and offers them to every output. Never waits: an output
    /// without room loses them, counted.
    pub fn publish(&mut self, mut records: Vec<Record>) {
        if records.is_empty() {
            return;
        }
        for record in &mut records {
            record.seq = self.next_seq;
            self.next_seq += 1;
        }
        let records = Arc::new(records);
        for sink in &self.sinks {
            sink.offer(&records);
        }
    }

    /// What was lost so far, by output and reason; only where something was.
    #[must_use]
    pub fn losses(&self) -> Vec<OutputLoss> {
        let mut losses = Vec::new();
        for state in self.states() {
            for (reason, lost) in LossReason::ALL.into_iter().zip(state.lost) {
                if lost > 0 {
                    losses.push(OutputLoss { output: state.name.clone(), reason, lost });
                }
            }
        }
        losses
    }

    /// What each output has done so far.
    #[must_use]
    pub fn states(&self) -> Vec<OutputState> {
        self.sinks.iter().map(Sink::state).collect()
    }

    /// An output that is gone for good.
    #[must_use]
    pub fn failed(&self) -> Option<Failure> {
        self.sinks.iter().find_map(Sink::failure).cloned()
    }

    /// Opens the event files again, after a log rotation has moved them.
    pub fn reopen(&self) {
        self.sinks.iter().for_each(Sink::reopen);
    }

    /// Writes what is queued, for at most `timeout` in all, and ends the threads. What could not be
    /// written by then is in the final losses.
    #[must_use]
    pub fn finish(mut self, timeout: Duration) -> Vec<OutputLoss> {
        let deadline = Instant::now() + timeout;
        self.sinks.iter_mut().for_each(Sink::close);
        for sink in &mut self.sinks {
            sink.wait(deadline);
        }
        self.losses()
    }
}

#[cfg(test)]
#[path = "fanout_tests.rs"]
mod tests;
