//! The reader of the ring buffer: events leave it in batches, in the order they were captured.

use std::os::fd::AsRawFd;
use std::time::Duration;

use aya::maps::{MapData, RingBuf};

use super::KernelError;

/// Most bytes taken out in one go, about a thousand events: batches wait in a queue, and each becomes its
/// records at once, so that larger ones cost memory and caches. The ring buffer is the reserve.
const BATCH_BYTES: usize = 256 << 10;

/// The reader's end of the ring buffer.
pub struct Ring {
    buffer: RingBuf<MapData>,
}

impl Ring {
    /// Opens the ring buffer of a map.
    pub fn new(buffer: RingBuf<MapData>) -> Result<Self, KernelError> {
        Ok(Self { buffer })
    }

    /// Waits until an event wants to be read at once, or for `timeout`; false after that time. The kernel side wakes
    /// the reader only for those events and when the buffer fills up.
    #[must_use]
    pub fn wait(&self, timeout: Duration) -> bool {
        let mut poll =
            libc::pollfd { fd: self.buffer.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // SAFETY: one valid `pollfd` for the length of the call. EINTR, as after SIGCONT, is a wait cut
        // short: the caller reads and waits again.
        unsafe { libc::poll(&raw mut poll, 1, milliseconds) > 0 }
    }

    /// Appends waiting events to `batch`, back to back, each with its size in its header; stops at
    /// a bound. Returns how many there were.
    pub fn read(&mut self, batch: &mut Vec<u8>) -> usize {
        let mut events = 0;
        while batch.len() < BATCH_BYTES {
            let Some(event) = self.buffer.next() else { break };
            batch.extend_from_slice(&event);
            events += 1;
        }
        events
    }
}
