//! A quick no: components without which a path cannot match any pattern of a list. A server opens a
//! hundred thousand files a second, and nearly all of them are of no interest; trying hundreds of globs
//! on each would cost more than everything else together.

use foldhash::HashSet;

/// Fewest bytes of a component's beginning that tell anything.
const TELLING: usize = 4;
/// What makes a component of a pattern stand for more than itself.
const WILD: &[char] = &['*', '?', '[', '{', '\\'];

/// For each pattern one component, or a beginning or an end of one, that every match has.
#[derive(Debug)]
pub struct Landmarks {
    whole: HashSet<Box<[u8]>>,
    beginnings: Vec<String>,
    ends: Vec<String>,
    /// Lengths of whole components by their first byte, a bit each (63 for 63 and more): most
    /// components need no more than this.
    lengths: Box<[u64; 256]>,
    /// The first bytes of beginnings and the last ones of ends: most names need no more than these.
    first: Box<[bool; 256]>,
    last: Box<[bool; 256]>,
    /// A pattern had nothing: everything may match.
    anything: bool,
}

impl Landmarks {
    /// Those of the patterns, which may begin with `~/` or `**/` and have `**` nowhere else.
    #[must_use]
    pub fn of<'a>(patterns: impl IntoIterator<Item = &'a str>) -> Self {
        let mut landmarks = Self {
            whole: HashSet::default(),
            beginnings: Vec::new(),
            ends: Vec::new(),
            lengths: Box::new([0; 256]),
            first: Box::new([false; 256]),
            last: Box::new([false; 256]),
            anything: false,
        };
        for pattern in patterns {
            landmarks.add(pattern);
        }
        landmarks
    }

    fn add(&mut self, pattern: &str) {
        let pattern = pattern.trim_start_matches("~/").trim_start_matches("**/");
        let mut parts = pattern.split('/').rev();
        let last = parts.next().unwrap_or_default();
        let beginning = last.split(WILD).next().unwrap_or_default();
        let end = last.rsplit(WILD).next().unwrap_or_default();
        let fixed = |part: &&str| !part.is_empty() && !part.contains(WILD);
        if fixed(&last) {
            self.add_whole(last);
        } else if beginning.len() >= TELLING {
            mark(&mut self.first, beginning.bytes().next());
            self.beginnings.push(beginning.to_owned());
        } else if let Some(part) = parts.find(fixed) {
            self.add_whole(part);
        } else if !end.is_empty() && !last.contains('}') {
            mark(&mut self.last, end.bytes().next_back());
            self.ends.push(end.to_owned());
        } else {
            self.anything = true;
        }
    }

    fn add_whole(&mut self, part: &str) {
        let part = part.as_bytes();
        if let Some(lengths) = self.lengths.get_mut(first_byte(part)) {
            *lengths |= length_bit(part);
        }
        self.whole.insert(part.into());
    }

    /// Whether the path has a landmark; without one it matches no pattern.
    #[must_use]
    pub fn are_in(&self, path: &str) -> bool {
        if self.anything {
            return true;
        }
        let path = path.as_bytes();
        let name = path.rsplit(|byte| *byte == b'/').next().unwrap_or_default();
        let has = |marks: &[bool; 256], byte: Option<&u8>| {
            byte.is_some_and(|byte| marks.get(usize::from(*byte)).is_some_and(|mark| *mark))
        };
        (has(&self.first, name.first())
            && self.beginnings.iter().any(|beginning| name.starts_with(beginning.as_bytes())))
            || (has(&self.last, name.last())
                && self.ends.iter().any(|end| name.ends_with(end.as_bytes())))
            || path.split(|byte| *byte == b'/').any(|part| {
                self.lengths.get(first_byte(part)).is_some_and(|bits| bits & length_bit(part) != 0)
                    && self.whole.contains(part)
            })
    }
}

fn mark(marks: &mut [bool; 256], byte: Option<u8>) {
    if let Some(mark) = byte.and_then(|byte| marks.get_mut(usize::from(byte))) {
        *mark = true;
    }
}

fn first_byte(part: &[u8]) -> usize {
    part.first().copied().unwrap_or_default().into()
}

fn length_bit(part: &[u8]) -> u64 {
    1 << part.len().min(63)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_matches_has_a_landmark_and_an_ordinary_one_has_none() {
        let table: &[(&str, &[&str], &[&str])] = &[
            ("~/.ssh/*", &["/home/a/.ssh/x", "/.ssh/x"], &["/home/a/ssh/x", "/home/.ssh2/x"]),
            ("/etc/shadow", &["/etc/shadow"], &["/etc/passwd"]),
            ("/tmp/krb5cc_*", &["/tmp/krb5cc_0"], &["/tmp/x"]),
            ("**/.env.*", &["/.env.a", "/a/.env.b"], &["/a/.env", "/a/env.b"]),
            ("**/*.kdbx", &["/a/x.kdbx", "/.kdbx"], &["/a/x.kdb"]),
            ("/proc/*/environ", &["/proc/1/environ"], &["/proc/1/stat"]),
            ("~/.config/{a,b}/*/{c,d e}", &["/x/.config/b/p/d e"], &["/x/config/b/p/c"]),
            ("**/{a,b}", &["/a", "/c"], &[]),
            ("**/*", &["/a"], &[]),
        ];
        for (pattern, with, without) in table {
            let landmarks = Landmarks::of([*pattern]);
            assert!(with.iter().all(|path| landmarks.are_in(path)), "{pattern}");
            assert!(!without.iter().any(|path| landmarks.are_in(path)), "{pattern}");
        }
    }

    #[test]
    fn long_components_are_told_apart_too() {
        let long = "a".repeat(200);
        let landmarks = Landmarks::of([format!("/x/{long}").as_str()]);
        assert!(landmarks.are_in(&format!("/x/{long}")));
        assert!(!landmarks.are_in(&format!("/x/{long}a")));
        assert!(!landmarks.are_in(""));
    }
}
