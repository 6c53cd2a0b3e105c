//! Follows the pattern of a place through directories, within limits.

use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::discover::locations::{Place, component_matches};

/// Most directory entries that one pattern is compared with, and most files it finds: whoever owns the
/// directory could fill it.
pub(super) const MAX_ENTRIES: usize = 4096;
pub(super) const MAX_MATCHES: usize = 64;
/// How deep `**` goes: clients keep plugins as `marketplace/plugin/version`.
const MAX_GLOB_DEPTH: usize = 5;

/// What is at a place.
pub(super) struct Expanded {
    /// The files it stands for, as far as they are there.
    pub(super) files: Vec<PathBuf>,
    /// Those are all: no limit was met.
    pub(super) whole: bool,
    /// Directories on the way that may not be looked into.
    pub(super) closed: BTreeSet<PathBuf>,
}

/// Follows a place through directories, within limits.
pub(super) fn expand(place: &Place) -> Expanded {
    let parts: Vec<&std::ffi::OsStr> =
        place.pattern.components().map(std::path::Component::as_os_str).collect();
    let literal: PathBuf = parts.iter().take(place.literal).collect();
    let rest: Vec<String> =
        parts.iter().skip(place.literal).map(|part| part.to_string_lossy().into_owned()).collect();
    let rest: Vec<&str> = rest.iter().map(String::as_str).collect();
    let expanded = Expanded { files: Vec::new(), whole: true, closed: BTreeSet::new() };
    let mut walk = Walk { expanded, entries: MAX_ENTRIES };
    walk.step(literal, &rest, MAX_GLOB_DEPTH);
    walk.expanded
}

/// The first directory on the way to a path that may not be looked into.
fn barred(path: &Path) -> Option<PathBuf> {
    let mut way: Vec<&Path> = path.ancestors().skip(1).collect();
    way.reverse();
    let is_closed = |directory: &&Path| {
        std::fs::metadata(directory.join("."))
            .is_err_and(|error| error.kind() == ErrorKind::PermissionDenied)
    };
    way.into_iter().find(is_closed).map(Path::to_owned)
}

/// Follows one pattern.
struct Walk {
    expanded: Expanded,
    /// How many more directory entries may be looked at.
    entries: usize,
}

impl Walk {
    fn below(&mut self, directory: &Path, pattern: &[&str], depth: usize) {
        let Some((first, rest)) = pattern.split_first() else { return };
        if *first == "**" {
            self.below(directory, rest, depth);
            if depth > 0 {
                // A symbolic link could lead around in circles.
                for (path, kind) in self.list(directory) {
                    if kind.is_dir() {
                        self.below(&path, pattern, depth - 1);
                    }
                }
            }
        } else if !first.contains('*') {
            self.step(directory.join(first), rest, depth);
        } else {
            for (path, _) in self.list(directory) {
                let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
                if name.is_some_and(|name| component_matches(first, &name)) {
                    self.step(path, rest, depth);
                }
            }
        }
    }

    fn step(&mut self, path: PathBuf, rest: &[&str], depth: usize) {
        if !rest.is_empty() {
            self.below(&path, rest, depth);
        } else if self.is_present(&path) {
            if self.expanded.files.len() < MAX_MATCHES {
                self.expanded.files.push(path);
            } else {
                self.expanded.whole = false;
            }
        }
    }

    /// A file that may be seen but not read is reported when it is read.
    fn is_present(&mut self, path: &Path) -> bool {
        match std::fs::metadata(path) {
            Ok(file) => !file.is_dir(),
            Err(error) => {
                if error.kind() == ErrorKind::PermissionDenied {
                    self.expanded.closed.extend(barred(path));
                }
                false
            }
        }
    }

    fn list(&mut self, directory: &Path) -> Vec<(PathBuf, std::fs::FileType)> {
        let listing = match std::fs::read_dir(directory) {
            Ok(listing) => listing,
            Err(error) => {
                if error.kind() == ErrorKind::PermissionDenied {
                    let closed = barred(directory).unwrap_or_else(|| directory.to_owned());
                    self.expanded.closed.insert(closed);
                }
                return Vec::new();
            }
        };
        let mut entries = Vec::new();
        for entry in listing.flatten() {
            let Some(left) = self.entries.checked_sub(1) else {
                self.expanded.whole = false;
                break;
            };
            self.entries = left;
            entries.extend(entry.file_type().ok().map(|kind| (entry.path(), kind)));
        }
        entries
    }
}
