//! The reader of the ring buffer: events leave it in batches, in the order they were captured.

use std::os::fd::{AsFd, BorrowedFd};

use aya::maps::{Map, MapData, RingBuf};

use super::{KernelError, map_error};

/// The map.
pub const EVENTS: &str = "EVENTS";

/// Most bytes taken out in one go, about a thousand events: each batch becomes its records at once, so that larger
/// ones cost memory and caches. The ring buffer is the reserve.
const BATCH_BYTES: usize = 256 << 10;

/// The reader's end of the ring buffer.
pub struct Ring {
    buffer: RingBuf<MapData>,
}

impl Ring {
    /// Maps the ring buffer into the agent's memory, twice its size.
    pub fn new(events: Map) -> Result<Self, KernelError> {
        let buffer = RingBuf::try_from(events).map_err(|error| map_error(EVENTS, &error))?;
        Ok(Self { buffer })
    }

    /// Puts waiting events into `batch`, back to back, each with its size in its header; stops at a bound. True when it
    /// did not: there may be more.
    pub fn read(&mut self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        while let Some(event) = self.buffer.next() {
            batch.extend_from_slice(&event);
            if batch.len() >= BATCH_BYTES {
                return true;
            }
        }
        false
    }
}

/// What says that an event wants to be read at once: the kernel side wakes whoever waits for it only for those events
/// and when the buffer fills up.
impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.buffer.as_fd()
    }
}
