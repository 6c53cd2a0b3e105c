//! The process tree as events and snapshots tell it: who is whose child, what each runs, and in which
//! calls it was forked.

use std::collections::VecDeque;
use std::sync::Arc;

use foldhash::HashMap;

use crate::attribute::Suspect;
use crate::event::ProcessKey;
use crate::record::Process;

/// Most ended processes that are remembered for the sake of their children's ancestry.
const ENDED: usize = 4_096;

/// Most words, and bytes of them all, that are remembered of the arguments of an ended process outside every instance: a
/// client is known by its first words.
const ENDED_ARGV: (usize, usize) = (32, 2 * 1024);

/// Most programs that are remembered of one process beside the one it runs.
const FORMER: usize = 4;

/// Most ancestors that are told of one process.
const LINEAGE: usize = 256;

/// Most ancestors that are followed: a bound against a ring, which only a made-up recording can hold.
const ANCESTRY: usize = 64;

/// One process.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Who started it; when that was not seen, its parent when it was first met.
    pub parent: Option<ProcessKey>,
    /// What the kernel said of its ancestors at its last exec.
    pub above: Above,
    /// What records show of it.
    pub shown: Arc<Process>,
    /// Path of its cgroup, as last seen; empty when unknown.
    pub cgroup: Arc<str>,
    /// Inode number of its mount namespace, as last seen; 0 when unknown.
    pub mount_namespace: u32,
    /// The instance it belongs to; 0 when none.
    pub instance: u64,
    /// The calls that were in flight when it, or the nearest ancestor that was, was forked in one.
    pub lineage: Arc<[Suspect]>,
    /// It runs what a server executed by itself: what it executes is no part of a launch. `None` while that has
    /// not been told.
    pub beyond_launch: Option<bool>,
    /// It has ended.
    pub ended: bool,
    /// A record has said so.
    pub end_told: bool,
}

/// The ancestors of a process by the kernel's word at one moment: those that had ended are left out, and whoever
/// took their children in stands in their place.
#[derive(Clone, Debug, Default)]
pub struct Above {
    /// From the parent up to process 1, or to the edge of what is watched.
    pub keys: Arc<[ProcessKey]>,
    /// There are more.
    pub more: bool,
}

impl Above {
    /// Nothing that is watched is above it, or nothing was said.
    fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.more
    }

    fn has(&self, key: ProcessKey) -> bool {
        self.keys.contains(&key)
    }

    /// The next one above an ancestor.
    fn after(&self, key: ProcessKey) -> Option<ProcessKey> {
        let at = self.keys.iter().position(|one| *one == key)?;
        self.keys.get(at + 1).copied()
    }

    /// Whether nothing that is watched is above this one.
    fn ends_with(&self, key: ProcessKey) -> bool {
        !self.more && self.keys.last() == Some(&key)
    }
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
            entries: HashMap::default(),
            former: HashMap::default(),
            latest: HashMap::default(),
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

    /// Keeps what a process was until it executed something at `time`: of a process whose doings are held the last
    /// few, of any other what it has just been.
    pub fn replaced_at(&mut self, key: ProcessKey, time: u64, held: bool) {
        let Some(entry) = self.entries.get(&key) else { return };
        let former = self.former.entry(key).or_default();
        // An exec that was held is told a second time.
        if former.iter().all(|(until, _)| *until < time) {
            let room = if held { FORMER - 1 } else { 0 };
            former.drain(..former.len().saturating_sub(room));
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

    /// The processes without an end.
    pub fn without_end(&self) -> impl Iterator<Item = ProcessKey> {
        self.entries.iter().filter(|(_, entry)| !entry.ended).map(|(key, _)| *key)
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

    /// Who started a process, who started that one, and so on, each whether it had ended; and whether more are
    /// above the last of them that are not known. `above` is the kernel's word at that moment: there, a process
    /// that has outlived who started it is process 1's child.
    #[must_use]
    pub fn lineage(&self, key: ProcessKey, above: &Above) -> (Vec<(ProcessKey, bool)>, bool) {
        let is_known = |key: &ProcessKey| self.entries.contains_key(key) || above.has(*key);
        let started_by = self.entries.get(&key).and_then(|entry| entry.parent);
        // Above the first of what is watched is nothing to be told.
        let started_by = started_by.filter(|parent| !above.is_empty() || is_known(parent));
        let mut next = started_by.or_else(|| above.keys.first().copied());
        let mut found: Vec<(ProcessKey, bool)> = Vec::new();
        // What was said of the nearest process below of which something was.
        let mut last_word = above;
        while let Some(key) = next {
            if found.len() >= LINEAGE {
                return (found, true);
            }
            let entry = self.entries.get(&key);
            // Nobody is taken away from a parent that lives.
            let left_it = found.is_empty() && !above.is_empty();
            let ended = !above.has(key) && (left_it || entry.is_some_and(|entry| entry.ended));
            found.push((key, ended));
            if key.pid == 1 || above.ends_with(key) || last_word.ends_with(key) {
                return (found, false);
            }
            if let Some(entry) = entry.filter(|entry| !entry.above.is_empty()) {
                last_word = &entry.above;
            }
            let started_by = entry.and_then(|entry| entry.parent);
            next = started_by
                .filter(is_known)
                .or_else(|| above.after(key))
                .or_else(|| last_word.after(key))
                .or(started_by)
                // A ring, which only a made-up recording can hold.
                .filter(|next| found.iter().all(|(one, _)| one != next));
        }
        let complete = found.is_empty() && above.is_empty();
        (found, !complete)
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
        if entry.instance == 0 {
            let shown = Arc::make_mut(&mut entry.shown);
            shown.argv_cut |= cut_argv(&mut shown.argv, ENDED_ARGV);
        }
        self.ended.push_back(key);
        if self.ended.len() > ENDED {
            self.forget_oldest();
        }
    }

    /// Whether the end of a process is still to be told: of two of its threads that end at once, each may take itself
    /// for the last, and what was held is told later.
    pub fn tell_end(&mut self, key: ProcessKey) -> bool {
        self.entries.get_mut(&key).is_none_or(|entry| !std::mem::replace(&mut entry.end_told, true))
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

/// Keeps the first words of an argument vector, and of their text the first bytes; true when there was more.
pub fn cut_argv(argv: &mut Vec<String>, (words, mut bytes): (usize, usize)) -> bool {
    let mut cut = argv.len() > words;
    argv.truncate(words);
    for word in argv.iter_mut() {
        let kept = word.floor_char_boundary(bytes);
        cut |= kept < word.len();
        word.truncate(kept);
        word.shrink_to_fit();
        bytes -= kept;
    }
    argv.shrink_to_fit();
    cut
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
            above: Above::default(),
            shown: Arc::new(Process {
                entity_id: String::new(),
                pid: 1,
                ppid: 0,
                start_time: Time(0),
                exe: "/x".into(),
                argv: Vec::new(),
                argv_masked: false,
                argv_cut: false,
                cwd: None,
                uid: 0,
                container: None,
            }),
            cgroup: Arc::from(""),
            mount_namespace: 0,
            instance,
            lineage: Arc::from([]),
            beyond_launch: None,
            ended: false,
            end_told: false,
        }
    }

    fn key(pid: u32) -> ProcessKey {
        ProcessKey { pid, start: 1 }
    }

    fn above(pids: &[u32], more: bool) -> Above {
        Above { keys: pids.iter().copied().map(key).collect(), more }
    }

    /// A table of (process, who started it, what the kernel said of it), and who has ended.
    fn table(of: &[(u32, u32, &[u32])], ended: &[u32]) -> Processes {
        let mut table = Processes::new(1_000);
        for (pid, parent, said) in of {
            let parent = (*parent != 0).then(|| key(*parent));
            table.insert(key(*pid), Entry { above: above(said, false), ..entry(parent, 1) });
        }
        for pid in ended {
            table.end(key(*pid));
        }
        table
    }

    /// As `pid` or `-pid` of one that has ended, and whether more are above.
    fn lineage(table: &Processes, above: &Above) -> (Vec<i64>, bool) {
        let (found, more) = table.lineage(key(99), above);
        let shown =
            found.iter().map(|(key, ended)| i64::from(key.pid) * if *ended { -1 } else { 1 });
        (shown.collect(), more)
    }

    #[test]
    fn ancestors_are_who_started_whom_up_to_the_first() {
        // A server 20 below its client 10.
        let tree: &[(u32, u32, &[u32])] = &[(1, 0, &[]), (10, 1, &[]), (20, 10, &[10, 1])];
        let with = |more: &[(u32, u32, &'static [u32])]| [tree, more].concat();
        // A child; nothing but what the kernel says; more than the kernel says.
        let child = table(&with(&[(99, 20, &[])]), &[]);
        assert_eq!(lineage(&child, &above(&[20, 10, 1], false)), (vec![20, 10, 1], false));
        assert_eq!(lineage(&child, &above(&[20], true)), (vec![20, 10, 1], false));
        let strangers = Processes::new(10);
        assert_eq!(lineage(&strangers, &above(&[7, 6, 1], false)), (vec![7, 6, 1], false));
        assert_eq!(lineage(&strangers, &above(&[7, 6], true)), (vec![7, 6], true));
        // Forked twice, the one between has ended: the kernel knows process 1 only, or who takes orphans in.
        let twice = table(&with(&[(30, 20, &[]), (99, 30, &[])]), &[30]);
        assert_eq!(lineage(&twice, &above(&[1], false)), (vec![-30, 20, 10, 1], false));
        assert_eq!(lineage(&twice, &above(&[10, 1], false)), (vec![-30, 20, 10, 1], false));
        // And everybody above up to the client.
        let orphan = table(&with(&[(30, 20, &[]), (99, 30, &[])]), &[20, 30]);
        assert_eq!(lineage(&orphan, &above(&[1], false)), (vec![-30, -20, 10, 1], false));
        // It ends later: at that time it was there.
        assert_eq!(lineage(&twice, &above(&[30, 20, 10, 1], false)), (vec![30, 20, 10, 1], false));
        // Between client and server is one that nobody told of.
        let hole = table(
            &[(1, 0, &[]), (10, 1, &[]), (20, 15, &[15, 10, 1]), (99, 30, &[]), (30, 20, &[])],
            &[30],
        );
        assert_eq!(lineage(&hole, &above(&[1], false)), (vec![-30, 20, 15, 10, 1], false));
        // Who started it is forgotten.
        let forgotten = table(&with(&[(99, 30, &[])]), &[]);
        assert_eq!(lineage(&forgotten, &above(&[1], false)), (vec![-30], true));
    }

    #[test]
    fn ancestors_end_at_the_edge_of_what_is_watched() {
        let tree: &[(u32, u32, &[u32])] =
            &[(5, 0, &[]), (10, 5, &[]), (20, 10, &[10, 5]), (30, 20, &[])];
        let within = table(&[tree, &[(99, 30, &[])]].concat(), &[30]);
        assert_eq!(lineage(&within, &above(&[30, 20, 10, 5], false)), (vec![30, 20, 10, 5], false));
        // Process 1 lies outside.
        assert_eq!(lineage(&within, &above(&[], false)), (vec![-30, 20, 10, 5], false));
        let first = table(&[(99, 4, &[])], &[]);
        assert_eq!(lineage(&first, &above(&[], false)), (vec![], false));
    }

    #[test]
    fn ancestors_are_bounded_and_a_ring_ends() {
        let deep: Vec<(u32, u32, &[u32])> =
            (100..900).map(|pid| (pid, pid + 1, &[][..])).chain([(99, 100, &[][..])]).collect();
        let (found, more) = table(&deep, &[]).lineage(key(99), &above(&[100], true));
        assert_eq!((found.len(), more), (LINEAGE, true));
        let ring = table(&[(99, 7, &[]), (7, 8, &[]), (8, 7, &[])], &[]);
        assert_eq!(lineage(&ring, &above(&[7], true)), (vec![7, 8], true));
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

    #[test]
    fn what_ended_is_not_among_those_without_an_end() {
        let mut table = Processes::new(10);
        for pid in 0..10 {
            table.insert(key(pid), entry(None, 0));
        }
        let pids = |table: &Processes| {
            let mut pids: Vec<u32> = table.without_end().map(|one| one.pid).collect();
            pids.sort_unstable();
            pids
        };
        for pid in 3..10 {
            table.end(key(pid));
        }
        assert_eq!((pids(&table), table.len()), (vec![0, 1, 2], 10));
    }
}
