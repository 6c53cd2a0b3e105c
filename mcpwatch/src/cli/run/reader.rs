//! The ring's reader: takes events out in batches and hands them on. When the pipeline is behind, it
//! waits: the ring buffer is the reserve, and the kernel counts what does not fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use flume::Sender;

use super::Message;
use crate::kernel::ring::Ring;
use crate::telemetry::Heartbeat;

/// How long events may wait while there are any: a part of the 10 ms from system call to alert.
const BUSY: Duration = Duration::from_millis(7);
/// How long the first one after a silence may wait. The kernel wakes the reader for what is urgent.
const IDLE: Duration = Duration::from_millis(20);
/// How long an event in the making is left alone.
const MAKING: Duration = Duration::from_millis(1);
/// The silence.
const SILENCE: Duration = Duration::from_secs(1);

/// The reader's thread, from outside.
pub struct Reader {
    stop: Arc<AtomicBool>,
}

impl Reader {
    /// Lets it hand over what is in the ring, say [`Message::Drained`] and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Starts the thread.
pub fn start(mut ring: Ring, messages: Sender<Message>, beat: Heartbeat) -> anyhow::Result<Reader> {
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = Arc::clone(&stop);
    std::thread::Builder::new()
        .name("ring".into())
        .spawn(move || {
            super::go_first();
            read(&mut ring, &messages, &beat, &stopped);
            beat.retire();
            // A closed queue means that nobody waits for this.
            let _ = messages.send(Message::Drained);
        })
        .context("cannot start the reader's thread")?;
    Ok(Reader { stop })
}

fn read(ring: &mut Ring, messages: &Sender<Message>, beat: &Heartbeat, stop: &AtomicBool) {
    let mut last = Instant::now();
    let mut woken = false;
    loop {
        let stopping = stop.load(Ordering::Relaxed);
        let mut batch = Vec::new();
        let found = ring.read(&mut batch) > 0;
        if found {
            last = Instant::now();
            if messages.send(Message::Events(batch)).is_err() {
                return;
            }
        } else if stopping {
            return;
        }
        beat.touch();
        if !stopping {
            // Woken for nothing: an event is in the making, by a thread that may be waiting for this processor.
            if woken && !found {
                std::thread::sleep(MAKING);
            }
            woken = ring.wait(if last.elapsed() < SILENCE { BUSY } else { IDLE });
        }
    }
}
