//! What the settings of a server allow: globs over programs and files, compiled once.

use std::collections::HashMap;

use globset::GlobSet;

use super::paths;
use super::programs;
use crate::config::Allow;
use crate::event::Exec;

/// Most lists that are kept compiled. There are three a server named in the settings; when there are
/// more, all are compiled anew.
const COMPILED_LISTS: usize = 256;

/// Answers what a server may do.
#[derive(Debug)]
pub struct Policy {
    homes: Vec<String>,
    compiled: HashMap<Vec<String>, GlobSet>,
}

impl Policy {
    /// `homes` are home directories beyond the usual places.
    #[must_use]
    pub fn new(homes: Vec<String>) -> Self {
        Self { homes, compiled: HashMap::new() }
    }

    /// Whether the server may execute this program.
    pub fn allows_exec(&mut self, allow: &Allow, exec: &Exec) -> bool {
        !allow.exec.is_empty()
            && programs::names_of_file(exec).iter().any(|path| self.matches(&allow.exec, path))
    }

    /// Whether the server may have this program running.
    pub fn allows_program(&mut self, allow: &Allow, path: &str) -> bool {
        !allow.exec.is_empty()
            && programs::names_of_path(path).iter().any(|path| self.matches(&allow.exec, path))
    }

    /// Whether the server may read this file.
    pub fn allows_read(&mut self, allow: &Allow, path: &str) -> bool {
        self.matches(&allow.read, path)
    }

    /// Whether the server may write this file.
    pub fn allows_write(&mut self, allow: &Allow, path: &str) -> bool {
        self.matches(&allow.write, path)
    }

    fn matches(&mut self, patterns: &[String], path: &str) -> bool {
        if patterns.is_empty() {
            return false;
        }
        if let Some(set) = self.compiled.get(patterns) {
            return set.is_match(path);
        }
        if self.compiled.len() >= COMPILED_LISTS {
            self.compiled.clear();
        }
        // The settings are checked when they are read; a pattern that is none allows nothing.
        let valid = patterns.iter().filter(|p| paths::expand(p, &self.homes).is_ok());
        let set = paths::set(valid.map(String::as_str), &self.homes).unwrap_or_default();
        let matches = set.is_match(path);
        self.compiled.insert(patterns.to_vec(), set);
        matches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_pattern_does_not_disarm_its_neighbours() {
        let mut policy = Policy::new(Vec::new());
        let allow =
            Allow { read: vec!["[".into(), "~/.aws/credentials".into()], ..Allow::default() };
        for _ in 0..2 {
            assert!(policy.allows_read(&allow, "/tmp/home/.aws/credentials"));
            assert!(!policy.allows_read(&allow, "/tmp/home/.aws/config"));
        }
    }

    #[test]
    fn compiled_lists_are_bounded() {
        let mut policy = Policy::new(Vec::new());
        for number in 0..10 * COMPILED_LISTS {
            let allow = Allow { read: vec![format!("/{number}")], ..Allow::default() };
            assert!(policy.allows_read(&allow, &format!("/{number}")));
            assert!(policy.compiled.len() <= COMPILED_LISTS);
        }
    }
}
