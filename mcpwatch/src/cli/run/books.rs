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
/// Most processes outside every instance that are given up at a time; more are at the next account.
const GIVEN_UP: usize = 1_024;
/// How many of those whose id is in use are asked at a time when they started: the id may be another's by now.
const ASKED: usize = 256;

/// What the comparisons keep from one to the next.
#[derive(Debug, Default)]
pub struct Books {
    accounts: u64,
    /// The last account to be compared whatever its number.
    compare_until: u64,
    ring_full: u64,
    beginnings: u64,
    looked: Option<Instant>,
    /// This account compares for the sake of doubts alone: where processes come and go all the time there are always new
    /// ones, and they would bring a whole comparison every time.
    doubts_only: bool,
    /// From which process on those outside every instance are asked next when they started.
    turn: (u32, u64),
    /// Processes without an end that are not there, of instances or not, since when.
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
        self.doubts_only =
            self.accounts > self.compare_until && !self.accounts.is_multiple_of(COMPARE);
        !self.doubts_only || self.gone.any() || self.unknown.any()
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

    /// Which of the processes outside every instance are not there. They are all of the host's: it takes the listing of
    /// `ids`, and only now and then a process's own word on when it started.
    pub fn missing(
        &mut self,
        known: &BTreeSet<(u32, u64)>,
        ids: &BTreeSet<u32>,
        started: impl Fn(u32) -> Option<u64>,
    ) -> BTreeSet<(u32, u64)> {
        let mut there = known.clone();
        if self.doubts_only {
            there.retain(|process| self.gone.has(process));
        }
        let absent: Vec<(u32, u64)> = there.extract_if(.., |(pid, _)| !ids.contains(pid)).collect();
        if absent.len() > GIVEN_UP {
            self.compare_until = self.compare_until.max(self.accounts + 1);
        }
        let mut asked = BTreeSet::new();
        if !self.doubts_only {
            let turn = there.range(self.turn..).chain(there.range(..self.turn)).take(ASKED);
            asked = turn.clone().copied().collect();
            self.turn = turn.last().map_or((0, 0), |(pid, start)| (*pid, start.saturating_add(1)));
        }
        asked.extend(there.iter().filter(|process| self.gone.has(process)));
        asked.retain(|(pid, start)| started(*pid) != Some(*start));
        asked.extend(absent.into_iter().take(GIVEN_UP));
        asked
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

    fn has(&self, key: &K) -> bool {
        self.0.contains_key(key)
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
    fn who_is_not_listed_is_missing_and_nobody_else_is_asked_of_it() {
        let mut books = Books::default();
        let known = BTreeSet::from([(1, 7), (2, 7), (3, 7)]);
        let asked = std::cell::RefCell::new(Vec::new());
        let started = |pid: u32| {
            asked.borrow_mut().push(pid);
            Some(7)
        };
        let missing = books.missing(&known, &BTreeSet::from([1, 3, 4]), started);
        assert_eq!(missing, BTreeSet::from([(2, 7)]));
        assert_eq!(*asked.borrow(), [1, 3]);
    }

    #[test]
    fn an_id_that_is_another_s_is_noticed_in_its_turn_and_not_forgotten() {
        let (mut books, now) = (Books::default(), Instant::now());
        let count = u32::try_from(ASKED).unwrap() * 2;
        let known: BTreeSet<(u32, u64)> = (0..count).map(|pid| (pid, 7)).collect();
        let ids: BTreeSet<u32> = (0..count).collect();
        let last = count - 1;
        let started = |pid: u32| if pid == last { Some(8) } else { Some(7) };
        assert!(books.missing(&known, &ids, started).is_empty(), "it is not its turn");
        let expected = BTreeSet::from([(last, 7)]);
        assert_eq!(books.missing(&known, &ids, started), expected);
        assert!(books.gone.settle(&expected, now).is_empty());
        let missing = books.missing(&known, &ids, started);
        assert_eq!(missing, expected, "it is in doubt");
        assert_eq!(books.gone.settle(&missing, now + ON_ITS_WAY), [(last, 7)]);
    }

    #[test]
    fn only_what_is_in_doubt_is_compared_while_there_is_no_other_reason() {
        let (mut books, now) = (Books::default(), Instant::now());
        let known = BTreeSet::from([(1, 7), (2, 7)]);
        let doubtful = BTreeSet::from([(1, 7)]);
        assert!(books.gone.settle(&doubtful, now).is_empty());
        assert!(books.is_due(0));
        let unasked = |_: u32| -> Option<u64> { panic!("nobody is asked") };
        assert_eq!(books.missing(&known, &BTreeSet::new(), unasked), doubtful);
        assert!(books.is_due(1), "something was lost");
        assert_eq!(books.missing(&known, &BTreeSet::new(), unasked), known);
    }

    #[test]
    fn many_are_given_up_in_parts_one_account_after_the_other() {
        let mut books = Books::default();
        let count = u32::try_from(GIVEN_UP).unwrap() + 10;
        let known: BTreeSet<(u32, u64)> = (0..count).map(|pid| (pid, 7)).collect();
        let missing = books.missing(&known, &BTreeSet::new(), |_| None);
        assert_eq!(missing.len(), GIVEN_UP);
        assert!(books.is_due(0), "there are more");
        let rest: BTreeSet<(u32, u64)> = known.difference(&missing).copied().collect();
        assert_eq!(books.missing(&rest, &BTreeSet::new(), |_| None).len(), 10);
        assert!(!books.is_due(0));
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
