//! Paths of cgroups by their ids, in bounded number.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::recent::Recent;

/// Most cgroups that are known at a time; the one that was used longest ago gives way. Who tells of them forgets all
/// when it knows as many, and tells of each again: none gives way here that is known there.
pub const CAPACITY: usize = 16_384;
/// Most processes whose cgroup has been read for their next exec.
const WAITING: usize = 1_024;

/// Which cgroup an exec happens in.
#[derive(Clone, Debug, Default)]
pub struct Cgroups {
    by_id: Recent<u64, Arc<str>, CAPACITY>,
    /// Processes on hosts whose containers are in hierarchies of version 1, which have no ids in events.
    waiting: BTreeMap<u32, Arc<str>>,
    /// Paths that were asked about.
    met: BTreeSet<String>,
}

impl Cgroups {
    /// The path of a cgroup of version 2.
    pub fn insert(&mut self, id: u64, path: &str) {
        self.by_id.insert(id, Arc::from(path));
    }

    /// The path of the cgroup of one process, for its next exec alone.
    pub fn expect(&mut self, pid: u32, path: &str) {
        // Its exec was lost, or the kernel's batch ended before it: the oldest are no use any more.
        if self.waiting.len() >= WAITING {
            self.waiting.clear();
        }
        self.waiting.insert(pid, Arc::from(path));
    }

    /// True when this path is met for the first time, as far as is remembered.
    pub fn meet(&mut self, path: &str) -> bool {
        if self.met.contains(path) {
            return false;
        }
        if self.met.len() >= CAPACITY {
            self.met.clear();
        }
        self.met.insert(path.to_owned())
    }

    /// The path of the cgroup that a process executes a program in.
    pub fn at_exec(&mut self, pid: u32, id: u64) -> Option<Arc<str>> {
        self.waiting.remove(&pid).or_else(|| self.by_id.used(&id).cloned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_read_for_a_process_comes_first_and_once() {
        let mut cgroups = Cgroups::default();
        cgroups.insert(7, "/a");
        cgroups.expect(11, "/b");
        assert_eq!(cgroups.at_exec(11, 7).as_deref(), Some("/b"));
        assert_eq!(cgroups.at_exec(11, 7).as_deref(), Some("/a"));
        assert_eq!(cgroups.at_exec(11, 8), None);
    }

    #[test]
    fn both_tables_are_bounded() {
        let mut cgroups = Cgroups::default();
        for number in 0..CAPACITY as u64 + 10 {
            cgroups.insert(number, "/x");
            cgroups.expect(u32::try_from(number).unwrap(), "/x");
            assert!(cgroups.meet(&number.to_string()));
            assert!(!cgroups.meet(&number.to_string()));
        }
        assert_eq!(cgroups.by_id.len(), (CAPACITY, CAPACITY));
        assert!(cgroups.waiting.len() <= WAITING && cgroups.met.len() <= CAPACITY);
        assert_eq!(cgroups.at_exec(0, 9), None, "the oldest gave way");
    }

    #[test]
    fn one_that_is_used_or_told_of_again_does_not_give_way() {
        let mut cgroups = Cgroups::default();
        let capacity = CAPACITY as u64;
        for number in 0..capacity {
            cgroups.insert(number, "/x");
        }
        assert!(cgroups.at_exec(7, 0).is_some());
        cgroups.insert(1, "/x");
        for number in capacity..2 * capacity - 2 {
            cgroups.insert(number, "/x");
        }
        assert!(cgroups.at_exec(7, 0).is_some() && cgroups.at_exec(7, 1).is_some());
        assert!(cgroups.at_exec(7, 2).is_none());
    }
}
