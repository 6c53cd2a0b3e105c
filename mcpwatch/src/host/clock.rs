//! The clock of the kernel's events against the calendar.

use crate::record::Time;

/// Turns nanoseconds of `CLOCK_BOOTTIME` into calendar time. Anchored at intervals, so that a step of the
/// calendar clock shows in the records after it and in none before.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    offset: i64,
}

impl Clock {
    /// The two clocks showed `boot` and `calendar` (nanoseconds since the epoch) at one moment.
    pub fn anchor(&mut self, boot: u64, calendar: i64) {
        self.offset = calendar.saturating_sub(signed(boot));
    }

    /// Calendar time of an event.
    #[must_use]
    pub fn time(&self, boot: u64) -> Time {
        Time(signed(boot).saturating_add(self.offset))
    }
}

fn signed(nanoseconds: u64) -> i64 {
    i64::try_from(nanoseconds).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_times_do_not_overflow() {
        let mut clock = Clock::default();
        clock.anchor(1_000, 5_000);
        assert_eq!(clock.time(2_000), Time(6_000));
        clock.anchor(u64::MAX, i64::MIN);
        let _ = clock.time(u64::MAX);
    }
}
