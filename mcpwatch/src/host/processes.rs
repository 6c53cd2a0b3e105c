//! The process tree as events and snapshots tell it: who is whose child, what each runs, and in which
//! calls it was forked.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::attribute::Suspect;
use crate::event::ProcessKey;
use crate::record::Process;

/// Most ended processes that are remembered for the sake of their children's ancestry.
const ENDED: usize = 4_096;

/// Most programs that are remembered of one process beside the one it runs.
const FORMER: usize = 4;

/// Most ancestors that are followed: a bound against a ring, which only a made-up recording can hold.
const ANCESTRY: usize = 64;

/// One process.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Its parent.
    pub parent: Option<ProcessKey>,
    /// What records show of it.
    pub shown: Arc<Process>,
    /// Path of its cgroup, as last seen; empty when unknown.
    pub cgroup: Arc<str>,
    /// The instance it belongs to; 0 when none.
    pub instance: u64,
    /// The calls that were in flight when it, or the nearest ancestor that was, was forked in one.
    pub lineage: Arc<[Suspect]>,
    /// It has ended.
    pub ended: bool,
}

/// All processes that are known, in bounded number.
#[derive(Debug)]
pub struct Processes {
    entries: HashMap<ProcessKey, Entry>,
    /// What watched processes were before they executed what they run now, each with the time of that exec:
    /// what a candidate did is told later.
    former: HashMap<ProcessKey, Vec<(u64, Arc<Process>)>>,
    /// The latest process of each id.
    latest: HashMap<u32, ProcessKey>,
    ended: VecDeque<ProcessKey>,
    capacity: usize,
    refused: u64,
}

impl Processes {
    /// A table of at most `capacity` processes.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            former: HashMap::new(),
            latest: HashMap::new(),
            ended: VecDeque::new(),
            capacity,
            refused: 0,
        }
    }

    /// Adds or replaces a process. A full table refuses, and counts, processes that belong to no instance;
    /// those that do take the place of remembered dead, and are bounded by the kernel's watch set.
    pub fn insert(&mut self, key: ProcessKey, entry: Entry) {
        if self.entries.len() >= self.capacity && !self.entries.contains_key(&key) {
            if entry.instance == 0 {
                self.refused += 1;
                return;
            }
            self.forget_oldest();
        }
        let latest = self.latest.entry(key.pid).or_insert(key);
        *latest = (*latest).max(key);
        self.entries.insert(key, entry);
    }

    /// Keeps what a process was until it executed something at `time`.
    pub fn replaced_at(&mut self, key: ProcessKey, time: u64) {
        let Some(entry) = self.entries.get(&key) else { return };
        let former = self.former.entry(key).or_default();
        // An exec that was held is told a second time.
        if former.len() < FORMER && former.iter().all(|(until, _)| *until < time) {
            former.push((time, Arc::clone(&entry.shown)));
        }
    }

    /// What records show of the process as it was at `time`.
    #[must_use]
    pub fn shown_at(&self, key: ProcessKey, time: u64) -> Option<&Arc<Process>> {
        let former = self.former.get(&key).and_then(|former| {
            former.iter().find(|(until, _)| time <= *until).map(|(_, shown)| shown)
        });
        former.or_else(|| self.entries.get(&key).map(|entry| &entry.shown))
    }

    /// The living process with this id, if it is known.
    #[must_use]
    pub fn living(&self, pid: u32) -> Option<(ProcessKey, &Entry)> {
        let key = *self.latest.get(&pid)?;
        self.entries.get(&key).filter(|entry| !entry.ended).map(|entry| (key, entry))
    }

    /// The process itself and its ancestors, as far as they are known.
    pub fn ancestry(&self, key: ProcessKey) -> impl Iterator<Item = (ProcessKey, &Entry)> {
        let mut next = Some(key);
        std::iter::from_fn(move || {
            let key = next?;
            let entry = self.entries.get(&key)?;
            next = entry.parent.filter(|parent| *parent != key);
            Some((key, entry))
        })
        .take(ANCESTRY)
    }

    /// The process, if it is known.
    #[must_use]
    pub fn get(&self, key: ProcessKey) -> Option<&Entry> {
        self.entries.get(&key)
    }

    /// The process, if it is known.
    pub fn get_mut(&mut self, key: ProcessKey) -> Option<&mut Entry> {
        self.entries.get_mut(&key)
    }

    /// Every process that is known.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.values_mut()
    }

    /// Marks a process as ended. It is remembered for a while: its children may tell of it.
    pub fn end(&mut self, key: ProcessKey) {
        let Some(entry) = self.entries.get_mut(&key) else { return };
        if entry.ended {
            return;
        }
        entry.ended = true;
        // Calls are not kept alive by the dead.
        entry.lineage = Arc::from([]);
        self.ended.push_back(key);
        if self.ended.len() > ENDED {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(oldest) = self.ended.pop_front() {
            self.entries.remove(&oldest);
            self.former.remove(&oldest);
            if self.latest.get(&oldest.pid) == Some(&oldest) {
                self.latest.remove(&oldest.pid);
            }
        }
    }

    /// How many are known.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many were refused because the table was full.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

/// The name a process has in records: pid and start time in clock ticks.
#[must_use]
pub fn entity_id(key: ProcessKey) -> String {
    format!("{}-{}", key.pid, key.start)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::Time;

    fn entry(parent: Option<ProcessKey>, instance: u64) -> Entry {
        Entry {
            parent,
            shown: Arc::new(Process {
                entity_id: String::new(),
                pid: 1,
                ppid: 0,
                start_time: Time(0),
                exe: "/x".into(),
                argv: Vec::new(),
                cwd: None,
                uid: 0,
                container: None,
            }),
            cgroup: Arc::from(""),
            instance,
            lineage: Arc::from([]),
            ended: false,
        }
    }

    fn key(pid: u32) -> ProcessKey {
        ProcessKey { pid, start: 1 }
    }

    #[test]
    fn the_table_is_bounded_and_says_what_it_refused() {
        let mut table = Processes::new(10);
        for pid in 0..20 {
            table.insert(key(pid), entry(None, 0));
        }
        assert_eq!((table.len(), table.refused()), (10, 10));
        for pid in 0..10 {
            table.end(key(pid));
        }
        for pid in 100..200 {
            table.insert(key(pid), entry(None, 1));
            table.end(key(pid));
        }
        assert!(table.len() <= 110);
    }
}
