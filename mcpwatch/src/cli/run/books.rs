//! When what is believed is compared with what there is, because a lost event leaves an entry that nothing else
//! removes, and when an entry is wrong for certain.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How many accounts pass before what is watched is compared with what there is; after a loss it is at once.
const COMPARE: u64 = 60;
/// With how many further accounts it is compared after a loss: a process whose end was lost is there until its parent
/// has asked for its status.
const AFTER_LOSS: u64 = 10;
/// How long an entry is left alone that does not fit: the event that explains it may still be on its way.
const ON_ITS_WAY: Duration = Duration::from_secs(3);
/// Processes are looked at again no more often than that, whatever the kernel passes over.
const LOOK: Duration = Duration::from_secs(5);

/// What the comparisons keep from one to the next.
#[derive(Debug, Default)]
pub struct Books {
    accounts: u64,
    /// The last account to be compared whatever its number.
    compare_until: u64,
    ring_full: u64,
    beginnings: u64,
    looked: Option<Instant>,
    /// Processes without an end that are not there, since when.
    pub gone: Doubts<(u32, u64)>,
    /// Instances of the kernel that the pipeline does not know, since when.
    pub unknown: Doubts<u64>,
}

impl Books {
    /// One more account; true when it is one to compare. `ring_full` counts the events that found no room so far.
    pub fn is_due(&mut self, ring_full: u64) -> bool {
        self.accounts += 1;
        if ring_full > self.ring_full {
            self.ring_full = ring_full;
            self.compare_until = self.accounts + AFTER_LOSS;
        }
        if self.gone.any() || self.unknown.any() {
            self.compare_until = self.compare_until.max(self.accounts);
        }
        self.accounts <= self.compare_until || self.accounts.is_multiple_of(COMPARE)
    }

    /// True when processes are to be looked at again: the kernel passed over beginnings of some, so many so far.
    pub fn is_look_due(&mut self, beginnings: u64, now: Instant) -> bool {
        let lately = self.looked.is_some_and(|last| now.saturating_duration_since(last) < LOOK);
        if beginnings <= self.beginnings || lately {
            return false;
        }
        self.beginnings = beginnings;
        self.looked = Some(now);
        self.compare_until = self.accounts + AFTER_LOSS;
        true
    }
}

/// Entries that do not fit, since when.
#[derive(Debug)]
pub struct Doubts<K>(BTreeMap<K, Instant>);

impl<K> Default for Doubts<K> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<K: Copy + Ord> Doubts<K> {
    fn any(&self) -> bool {
        !self.0.is_empty()
    }

    /// Takes the entries that do not fit now; gives those that have not for long enough.
    pub fn settle(&mut self, doubtful: &BTreeSet<K>, now: Instant) -> Vec<K> {
        self.0.retain(|key, _| doubtful.contains(key));
        for key in doubtful {
            self.0.entry(*key).or_insert(now);
        }
        let certain = |since: &Instant| now.saturating_duration_since(*since) >= ON_ITS_WAY;
        let settled: Vec<K> =
            self.0.iter().filter(|(_, since)| certain(since)).map(|(key, _)| *key).collect();
        for key in &settled {
            self.0.remove(key);
        }
        settled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_is_compared_every_minute_and_for_a_while_after_a_loss() {
        let mut books = Books::default();
        let due: Vec<u64> = (1..=130).filter(|_| books.is_due(0)).collect();
        assert_eq!(due, [60, 120]);
        let due: Vec<u64> = (131..=150).filter(|_| books.is_due(7)).collect();
        assert_eq!(due, (131..=141).collect::<Vec<_>>());
    }

    #[test]
    fn it_is_compared_until_no_doubt_is_left() {
        let (mut books, now) = (Books::default(), Instant::now());
        assert!(!books.is_due(0));
        assert!(books.gone.settle(&BTreeSet::from([(1, 1)]), now).is_empty());
        assert!(books.is_due(0));
        assert_eq!(books.gone.settle(&BTreeSet::from([(1, 1)]), now + ON_ITS_WAY), [(1, 1)]);
        assert!(!books.is_due(0));
    }

    #[test]
    fn an_entry_that_fits_again_is_no_doubt_any_more() {
        let (mut doubts, now) = (Doubts::default(), Instant::now());
        assert!(doubts.settle(&BTreeSet::from([1, 2]), now).is_empty());
        assert!(doubts.settle(&BTreeSet::from([2]), now + 2 * SECOND).is_empty());
        assert_eq!(doubts.settle(&BTreeSet::from([1, 2]), now + 3 * SECOND), [2]);
        assert_eq!(doubts.settle(&BTreeSet::from([1]), now + 6 * SECOND), [1]);
    }

    #[test]
    fn processes_are_looked_at_again_now_and_then() {
        let (mut books, now) = (Books::default(), Instant::now());
        assert!(!books.is_look_due(0, now));
        assert!(books.is_look_due(1, now));
        assert!(!books.is_look_due(2, now + SECOND));
        assert!(books.is_look_due(2, now + LOOK));
        assert!(!books.is_look_due(2, now + 2 * LOOK));
    }
}
