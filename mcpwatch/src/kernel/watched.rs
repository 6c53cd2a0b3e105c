//! The table the kernel programs look at first: for each process id a byte that says whether it is watched. They
//! write it themselves; what the agent adds and takes away, it writes through a mapping of the map.

use std::os::fd::{AsFd as _, AsRawFd as _};
use std::sync::atomic::{AtomicU8, Ordering};

use aya::maps::Map;
use mcpwatch_common::control::WATCHED_PAGE;
use memmap2::{MmapOptions, MmapRaw};

use super::KernelError;

/// Where the kernel says which process ids there can be.
const PID_MAX: &str = "/proc/sys/kernel/pid_max";
/// Most process ids Linux gives (`PID_MAX_LIMIT`).
const PID_LIMIT: usize = 4 << 20;

/// The table, mapped.
pub struct Watched {
    bytes: MmapRaw,
}

/// Pages for all process ids this host gives.
#[must_use]
pub fn pages() -> u32 {
    let most = std::fs::read_to_string(PID_MAX)
        .ok()
        .and_then(|text| text.trim().parse::<usize>().ok())
        .map_or(PID_LIMIT, |most| most.clamp(1, PID_LIMIT));
    u32::try_from(most.div_ceil(WATCHED_PAGE)).unwrap_or(1)
}

impl Watched {
    /// Maps the table of that many pages.
    pub fn new(map: &Map, pages: u32) -> Result<Self, KernelError> {
        let failed = |reason: String| KernelError::Load {
            reason: format!("the table of watched processes cannot be mapped: {reason}"),
        };
        let Map::Array(map) = map else { return Err(failed("it is no array".into())) };
        let len = pages as usize * WATCHED_PAGE;
        let bytes = MmapOptions::new()
            .len(len)
            .map_raw(map.fd().as_fd().as_raw_fd())
            .map_err(|error| failed(error.to_string()))?;
        Ok(Self { bytes })
    }

    /// Notes whether a process is watched; one beyond the table is looked up elsewhere.
    pub fn note(&self, pid: u32, watched: bool) {
        let place = pid as usize;
        if place < self.bytes.len() {
            // SAFETY: within the mapping, which is readable, writable and lives as long as `self`; a byte is
            // always aligned. The kernel programs write whole bytes, too.
            let byte = unsafe { AtomicU8::from_ptr(self.bytes.as_mut_ptr().add(place)) };
            byte.store(u8::from(watched), Ordering::Release);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_has_a_byte_for_every_process_id() {
        let most: usize = std::fs::read_to_string(PID_MAX).unwrap().trim().parse().unwrap();
        assert!(pages() as usize * WATCHED_PAGE >= most);
    }
}
