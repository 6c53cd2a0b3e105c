//! The shell of discovery: reads clients' configurations and notices when they change.
//!
//! Changes are found by asking for each place's time, size and inode every [`INTERVAL`], not by
//! inotify: most places do not exist yet, nor do their directories; clients replace files by rename;
//! FUSE, network and overlay file systems do not report changes; and watches are scarce. A few
//! thousand `stat` calls every two seconds cost some milliseconds. A dead network file system can
//! block them: [`Watcher::poll`] belongs on a thread of its own.

mod file;
mod patterns;
mod places;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::client_config::{ConfigError, Parsed, Source, parse};
use super::locations::{ANY_KEY, Format};
use file::{open, owner, read};
pub use places::Places;
use places::{Kind, Present, own_places_of};

/// How often [`Watcher::poll`] is meant to be called.
pub const INTERVAL: Duration = Duration::from_secs(2);

/// What stands for the client of a file that only the settings name.
pub const SETTINGS: &str = "settings";

/// A configuration file as it was read: all that is needed to parse it again in a replay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigFile {
    /// Its path.
    pub path: String,
    /// The client it belongs to; [`SETTINGS`] for one that only the settings name.
    pub client: String,
    /// Who answers for how much it holds: a user's id, or whose containers it lies in.
    #[serde(default)]
    pub owner: String,
    /// How it is written.
    pub format: Format,
    /// Where servers stand in it.
    pub keys: Vec<String>,
    /// What it holds, at most 4 MiB and one byte (then it is refused).
    #[serde(with = "base64_text")]
    pub text: Vec<u8>,
}

impl ConfigFile {
    /// The servers in it.
    pub fn parse(&self) -> Result<Parsed, ConfigError> {
        let source = Source { path: &self.path, client: &self.client, format: self.format };
        parse(&self.text, source, &self.keys)
    }
}

/// Files need not be UTF-8, a recording must be.
mod base64_text {
    use super::{BASE64_STANDARD, Engine};
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(deserializer)?;
        BASE64_STANDARD.decode(text).map_err(D::Error::custom)
    }
}

fn unread(path: &Path, error: &io::Error) -> ConfigError {
    ConfigError {
        path: path.to_string_lossy().into_owned(),
        line: 0,
        column: 0,
        message: match error.kind() {
            ErrorKind::PermissionDenied => {
                "cannot be read: permission denied; root, and who has CAP_DAC_READ_SEARCH, sees every user's \
                 files"
                    .to_owned()
            }
            _ => format!(
                "cannot be read: {error}; what it configures is unknown until a file is there that can be"
            ),
        },
    }
}

/// What became of a configuration file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// It is new, or changed.
    Read(ConfigFile),
    /// It is there but cannot be read, or there are too many, or its directory may not be looked into. Said once,
    /// until that changes.
    Unread(ConfigError),
    /// It is gone.
    Removed(String),
}

/// What tells one state of a file from the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    modified: (i64, i64),
    changed: (i64, i64),
    size: u64,
    inode: u64,
}

impl Stamp {
    fn of(metadata: &Metadata) -> Self {
        Self {
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            size: metadata.size(),
            inode: metadata.ino(),
        }
    }
}

/// Follows the configurations at some places.
#[derive(Debug, Default)]
pub struct Watcher {
    /// Where it looks; more can be added at any time.
    pub places: Places,
    seen: BTreeMap<PathBuf, Stamp>,
    cut: BTreeSet<PathBuf>,
    closed: BTreeSet<PathBuf>,
    /// Homes that processes brought whose places have been told.
    told: Vec<(PathBuf, BTreeMap<String, String>)>,
}

impl Watcher {
    /// Nothing has been seen yet: the first [`Self::poll`] gives every file there is.
    #[must_use]
    pub fn new(places: Places) -> Self {
        Self { places, ..Self::default() }
    }

    /// Where clients look for what is their users' own in homes that processes brought since the last time, each with
    /// the client, whether anything is there or not: what the path alone would not say. It takes longer than
    /// [`Self::poll`], and nobody waits for it.
    pub fn own_places(&mut self) -> Vec<(String, &'static str)> {
        let brought = &self.places.brought.entries;
        if self.told == *brought {
            return Vec::new();
        }
        let fresh = brought.iter().filter(|entry| !self.told.contains(entry));
        let places = fresh.flat_map(|(home, environment)| own_places_of(home, environment));
        let places = places.collect();
        self.told.clone_from(brought);
        places
    }

    /// Hands on what is new, changed or gone since the last time, in the order of paths: one after the other, since users
    /// decide how much there is to be read. Ends with the first that is not taken.
    pub fn poll<E>(&mut self, mut take: impl FnMut(Change) -> Result<(), E>) -> Result<(), E> {
        let Present { files: present, cut, closed } = self.places.present();
        for pattern in cut.difference(&self.cut) {
            let error = io::Error::other("too many files, some are not looked at");
            take(Change::Unread(unread(pattern, &error)))?;
        }
        self.cut = cut;
        let denied = io::Error::from(ErrorKind::PermissionDenied);
        for directory in closed.difference(&self.closed) {
            take(Change::Unread(unread(directory, &denied)))?;
        }
        self.closed = closed;
        let gone = self.seen.keys().filter(|path| !present.contains_key(*path));
        let gone: Vec<PathBuf> = gone.cloned().collect();
        for path in gone {
            self.seen.remove(&path);
            take(Change::Removed(path.to_string_lossy().into_owned()))?;
        }
        for (path, kind) in present {
            let stamp = match std::fs::metadata(&path) {
                Ok(metadata) => Stamp::of(&metadata),
                // A file the settings name that is not there yet.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    if self.seen.remove(&path).is_some() {
                        take(Change::Removed(path.to_string_lossy().into_owned()))?;
                    }
                    continue;
                }
                Err(_) => Stamp { modified: (0, 0), changed: (0, 0), size: 0, inode: 0 },
            };
            if self.seen.get(&path) == Some(&stamp) {
                continue;
            }
            take(load(&path, kind))?;
            self.seen.insert(path, stamp);
        }
        Ok(())
    }
}

fn load(path: &Path, kind: Kind) -> Change {
    let text = match open(path).and_then(|(file, _)| read(file)) {
        Ok(text) => text,
        Err(error) => return Change::Unread(unread(path, &error)),
    };
    let (client, format, keys) = match kind {
        Kind::Known(location) => (location.client, location.format, location.keys),
        Kind::Named => (SETTINGS, Format::of(path), ANY_KEY),
    };
    Change::Read(ConfigFile {
        path: path.to_string_lossy().into_owned(),
        client: client.to_owned(),
        owner: owner(path),
        format,
        keys: keys.iter().map(|&key| key.to_owned()).collect(),
        text,
    })
}
