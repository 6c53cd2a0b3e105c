//! Whether the agent is alive and whether it sees: what `/healthz` and `/readyz` answer.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A part that has not shown itself for this long is stuck.
pub const STUCK_AFTER: Duration = Duration::from_secs(5);

/// Value of a beat of a part that ended as it should.
const RETIRED: u64 = u64::MAX;

/// The state of the agent's parts. A part that died without retiring is stuck: its beat stands still.
#[derive(Debug)]
pub struct Health {
    start: Instant,
    beats: Mutex<Vec<(&'static str, Arc<AtomicU64>)>>,
    /// What is missing before everything asked for is watched; empty when ready.
    missing: Mutex<Vec<String>>,
}

/// The pulse of one part: its loop touches it at least every second, busy or idle.
#[derive(Clone, Debug)]
pub struct Heartbeat {
    start: Instant,
    /// Milliseconds since `start`.
    beat: Arc<AtomicU64>,
}

impl Heartbeat {
    /// The part is alive. One relaxed store and a look at the clock: cheap enough for every batch.
    pub fn touch(&self) {
        self.beat.store(milliseconds(self.start.elapsed()), Ordering::Relaxed);
    }

    /// The part has ended as it should and is no longer expected to show itself.
    pub fn retire(&self) {
        self.beat.store(RETIRED, Ordering::Relaxed);
    }
}

impl Default for Health {
    fn default() -> Self {
        Self::new()
    }
}

impl Health {
    /// Alive without parts, and not ready: nothing is attached yet.
    #[must_use]
    pub fn new() -> Self {
        Self {
            start: Instant::now(),
            beats: Mutex::default(),
            missing: Mutex::new(vec!["the kernel programs are not attached yet".to_owned()]),
        }
    }

    /// Adds a part; it counts as alive now.
    #[must_use]
    pub fn part(&self, name: &'static str) -> Heartbeat {
        let heartbeat = Heartbeat { start: self.start, beat: Arc::default() };
        heartbeat.touch();
        lock(&self.beats).push((name, Arc::clone(&heartbeat.beat)));
        heartbeat
    }

    /// Says what is missing, a sentence each; with nothing missing the agent is ready.
    pub fn set_missing(&self, missing: Vec<String>) {
        *lock(&self.missing) = missing;
    }

    /// What is missing before everything asked for is watched.
    #[must_use]
    pub fn missing(&self) -> Vec<String> {
        lock(&self.missing).clone()
    }

    /// The parts that are stuck, and since when they have not shown themselves.
    #[must_use]
    pub fn stuck(&self) -> Vec<(&'static str, Duration)> {
        self.stuck_at(self.start.elapsed())
    }

    fn stuck_at(&self, now: Duration) -> Vec<(&'static str, Duration)> {
        lock(&self.beats)
            .iter()
            .map(|(name, beat)| (*name, beat.load(Ordering::Relaxed)))
            .map(|(name, beat)| (name, now.saturating_sub(Duration::from_millis(beat))))
            .filter(|(_, silence)| *silence > STUCK_AFTER)
            .collect()
    }
}

fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(RETIRED - 1)
}

/// A panic elsewhere must not take the health endpoint down: what it guards is whole at any time.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_that_stands_still_is_stuck_until_it_moves_or_retires() {
        let health = Health::new();
        let (reader, pipeline) = (health.part("reader"), health.part("pipeline"));
        let second = Duration::from_secs(1);
        assert_eq!(health.stuck_at(4 * second), []);
        pipeline.beat.store(9_000, Ordering::Relaxed);
        let stuck = health.stuck_at(10 * second);
        assert_eq!(stuck.len(), 1);
        assert_eq!(stuck[0].0, "reader");
        assert!(stuck[0].1 > 9 * second);
        reader.retire();
        assert_eq!(health.stuck_at(10 * second), []);
        assert_eq!(health.stuck_at(20 * second)[0].0, "pipeline");
        pipeline.touch();
        assert_eq!(health.stuck(), []);
    }

    #[test]
    fn ready_when_nothing_is_missing() {
        let health = Health::new();
        assert_eq!(health.missing().len(), 1);
        health.set_missing(Vec::new());
        assert!(health.missing().is_empty());
    }
}
