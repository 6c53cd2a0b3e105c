//! The shell of discovery: reads clients' configurations and notices when they change.
//!
//! Changes are found by asking for each place's time, size and inode every [`INTERVAL`], not by
//! inotify: most places do not exist yet, nor do their directories; clients replace files by rename;
//! FUSE, network and overlay file systems do not report changes; and watches are scarce. A few
//! thousand `stat` calls every two seconds cost some milliseconds. A dead network file system can
//! block them: [`Watcher::poll`] belongs on a thread of its own.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde::{Deserialize, Serialize};

use super::client_config::{ConfigError, Parsed, Source, parse};
use super::document::MAX_BYTES;
use super::explicit::Clients;
use super::locations::{self, ANY_KEY, Format, Place, component_matches};
use super::roots::{self, Roots};
use crate::config::Discovery;
use crate::host::snapshot::ProcessSnapshot;

/// How often [`Watcher::poll`] is meant to be called.
pub const INTERVAL: Duration = Duration::from_secs(2);
/// Most users whose homes are looked at, and most container roots.
const MAX_USERS: usize = 1024;
/// Most homes and projects, each, that processes brought; the one brought longest ago gives way.
const MAX_BROUGHT: usize = 256;
/// Most configuration files that are followed.
const MAX_FILES: usize = 4096;
/// Most directory entries that one pattern is compared with, and most files it finds: whoever owns the
/// directory could fill it.
const MAX_ENTRIES: usize = 4096;
const MAX_MATCHES: usize = 64;
/// How deep `**` goes: clients keep plugins as `marketplace/plugin/version`.
const MAX_GLOB_DEPTH: usize = 5;
/// Most bytes read of a process's environment.
const MAX_ENVIRONMENT: u64 = 256 << 10;

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

/// Where configurations are looked for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Homes of users and of the settings.
    homes: BTreeSet<PathBuf>,
    /// Homes that processes brought, each with the variables that move parts of it.
    brought: Recent<(PathBuf, BTreeMap<String, String>)>,
    projects: Recent<PathBuf>,
    roots: BTreeSet<PathBuf>,
    /// Roots of processes in containers.
    containers: Roots,
    files: BTreeSet<PathBuf>,
}

impl Places {
    /// The whole host: every user's home and the system's places.
    #[must_use]
    pub fn of_host() -> Self {
        let mut places = Self::default();
        places.add_root(Path::new("/"));
        places
    }

    /// What the settings name, and where configurations for `processes` may be: on the whole host, or,
    /// `limited` to a process's descendants, in the homes of these alone.
    #[must_use]
    pub fn around(
        discovery: &Discovery,
        clients: &Clients,
        processes: &[ProcessSnapshot],
        limited: bool,
    ) -> Self {
        let mut places = if limited { Self::default() } else { Self::of_host() };
        for home in &discovery.homes {
            places.add_home(home);
        }
        for file in &discovery.config_files {
            places.add_file(file);
        }
        for process in processes {
            let project =
                process.private_channel() || clients.name_of(&process.exe, &process.argv).is_some();
            if limited || project {
                places.add_process(process, project);
            }
        }
        places
    }

    /// Adds what lies below a root directory: the system's places and the homes of its users. Of containers,
    /// only the homes of processes that are of interest are added, see [`Self::add_process`].
    fn add_root(&mut self, root: &Path) {
        if self.roots.len() >= MAX_USERS || !self.roots.insert(root.to_owned()) {
            return;
        }
        for (_, home) in passwd(root) {
            let relative = home.strip_prefix("/").unwrap_or(&home);
            self.add_home(&root.join(relative));
        }
    }

    /// Adds a user's home.
    pub fn add_home(&mut self, home: &Path) {
        if is_home(home) && self.homes.len() < MAX_USERS {
            self.homes.insert(home.to_owned());
        }
    }

    /// Adds a directory a client or server works in.
    pub fn add_project(&mut self, directory: &Path) {
        if directory.is_absolute() {
            self.projects.add(directory.to_owned());
        }
    }

    /// Adds a file the settings name. At a known client's place it is read as that client's; elsewhere its format
    /// is told by its name, and servers may stand anywhere in it.
    pub fn add_file(&mut self, file: &Path) {
        if self.files.len() < MAX_FILES {
            self.files.insert(file.to_owned());
        }
    }

    /// Adds the homes of a process: its user's, and the one its environment names. With `project`,
    /// also its working directory. In a container, all of that is below the container's root, which is looked
    /// at for the system's places, too.
    pub fn add_process(&mut self, process: &ProcessSnapshot, project: bool) {
        let root = self.containers.of(process.pid);
        let environment = environment(process.pid).into_iter();
        let mut environment: BTreeMap<String, String> = environment
            .map(|(name, value)| {
                let path = roots::below(&root, Path::new(&value));
                let path = if value.starts_with('/') { path } else { PathBuf::from(value) };
                (name, path.to_string_lossy().into_owned())
            })
            .collect();
        let named = environment.remove("HOME").map(PathBuf::from);
        let users = passwd(&root).into_iter().find(|(uid, _)| *uid == process.uid);
        let users = users.map(|(_, home)| roots::below(&root, &home));
        for home in named.into_iter().chain(users).filter(|home| *home != root) {
            // A user's home is known already, unless a part of it was moved.
            if is_home(&home) && !(environment.is_empty() && self.homes.contains(&home)) {
                self.brought.add((home, environment.clone()));
            }
        }
        if project {
            self.add_project(&roots::below(&root, Path::new(&process.cwd)));
        }
    }

    /// Every place there is to look at. What processes brought comes last: it must not crowd out users' homes.
    fn all(&self) -> Vec<Place> {
        let unmoved = BTreeMap::new();
        let roots = self.roots.iter().map(PathBuf::as_path).chain(self.containers.iter());
        let roots = roots.flat_map(locations::of_system);
        let homes = self.homes.iter().flat_map(|home| locations::of_home(home, &unmoved));
        let projects = self.projects.iter().flat_map(|project| locations::of_project(project));
        let brought = self.brought.iter().flat_map(|(home, env)| locations::of_home(home, env));
        roots.chain(homes).chain(projects).chain(brought).collect()
    }

    fn present(&self) -> Present {
        let mut found: BTreeMap<PathBuf, Kind> =
            self.files.iter().map(|file| (file.clone(), Kind::of_named(file))).collect();
        let mut cut = BTreeSet::new();
        let mut closed = BTreeSet::new();
        for place in self.all() {
            let mut expanded = expand(&place);
            closed.append(&mut expanded.closed);
            if !expanded.whole {
                cut.insert(place.pattern.clone());
            }
            for path in expanded.files {
                if found.len() >= MAX_FILES {
                    cut.insert(place.pattern);
                    break;
                }
                let known = Kind::Known(place.location);
                // A named file may lie where a variable has moved a client's.
                found.entry(path).and_modify(|kind| kind.or_known(known)).or_insert(known);
            }
        }
        Present { files: found, cut, closed }
    }
}

/// Where clients look for what is their users' own in a home, with the variables that move parts of it: as far as a path
/// says nothing of that, or says that it may be a project's. Those of the host alone: in a container other files have
/// these paths.
fn own_places_of(
    home: &Path,
    environment: &BTreeMap<String, String>,
) -> Vec<(String, &'static str)> {
    if home.starts_with("/proc") {
        return Vec::new();
    }
    let unclear = |path: &str| {
        locations::location_of(path)
            .is_none_or(|location| locations::project_of(path, location).is_some())
    };
    locations::of_home(home, environment)
        .into_iter()
        .filter(|place| place.literal == place.pattern.components().count())
        .filter_map(|place| {
            let path = place.pattern.into_os_string().into_string().ok()?;
            unclear(&path).then_some((path, place.location.client))
        })
        .collect()
}

/// What is at all places.
struct Present {
    /// Every file that is there, with the row it fits.
    files: BTreeMap<PathBuf, Kind>,
    /// Patterns that were not followed to their end.
    cut: BTreeSet<PathBuf>,
    /// Directories where configurations may lie, but that may not be looked into.
    closed: BTreeSet<PathBuf>,
}

/// Service accounts have `/`, or nothing, for a home.
fn is_home(path: &Path) -> bool {
    path.is_absolute() && path != Path::new("/")
}

/// A bounded set that forgets what was added longest ago.
#[derive(Clone, Debug)]
struct Recent<T> {
    /// The oldest first.
    entries: Vec<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T: PartialEq> Recent<T> {
    fn add(&mut self, entry: T) {
        self.entries.retain(|known| *known != entry);
        if self.entries.len() >= MAX_BROUGHT {
            self.entries.remove(0);
        }
        self.entries.push(entry);
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        self.entries.iter()
    }
}

/// Why a file is looked at.
#[derive(Clone, Copy)]
enum Kind {
    Known(&'static locations::Location),
    /// The settings name it, and no client is known to keep such a file.
    Named,
}

impl Kind {
    fn of_named(file: &Path) -> Self {
        file.to_str().and_then(locations::location_of).map_or(Self::Named, Self::Known)
    }

    fn or_known(&mut self, known: Self) {
        if let Self::Named = self {
            *self = known;
        }
    }
}

/// Users' ids and homes in `/etc/passwd` below `root`.
fn passwd(root: &Path) -> Vec<(u32, PathBuf)> {
    let text = open(&root.join("etc/passwd")).and_then(|(file, _)| read(file)).unwrap_or_default();
    String::from_utf8_lossy(&text)
        .lines()
        .filter_map(|line| {
            let mut fields = line.split(':');
            let uid = fields.nth(2)?.parse().ok()?;
            Some((uid, PathBuf::from(fields.nth(2)?)))
        })
        .filter(|(_, home)| home.is_absolute())
        .take(MAX_USERS)
        .collect()
}

/// The variables of a process that say where its user's configurations are; empty when not readable.
fn environment(pid: u32) -> BTreeMap<String, String> {
    let mut bytes = Vec::new();
    if let Ok(file) = File::open(format!("/proc/{pid}/environ")) {
        // What was read before an error still counts.
        let _ = file.take(MAX_ENVIRONMENT).read_to_end(&mut bytes);
    }
    bytes
        .split(|byte| *byte == 0)
        .filter_map(|entry| std::str::from_utf8(entry).ok()?.split_once('='))
        .filter(|(name, _)| *name == "HOME" || locations::variables().any(|known| known == *name))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

/// What is at a place.
struct Expanded {
    /// The files it stands for, as far as they are there.
    files: Vec<PathBuf>,
    /// Those are all: no limit was met.
    whole: bool,
    /// Directories on the way that may not be looked into.
    closed: BTreeSet<PathBuf>,
}

/// Follows a place through directories, within limits.
fn expand(place: &Place) -> Expanded {
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

/// Opens a regular file. The path belongs to a user: a FIFO, a device or a terminal in its place must
/// neither block nor be touched.
fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let file = roots::open(path, libc::O_NONBLOCK | libc::O_NOCTTY)?;
    let metadata = file.metadata()?;
    if metadata.is_file() {
        Ok((file, metadata))
    } else {
        Err(io::Error::other("not a regular file"))
    }
}

/// One byte more than the limit, so that the parser can tell.
fn read(file: File) -> io::Result<Vec<u8>> {
    let mut text = Vec::new();
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut text)?;
    Ok(text)
}

/// Who answers for how much lies at a path: whoever, other than root, the first folder on the way there belongs to, or
/// the file. A link on the way may lead to what is somebody else's, and so may not decide. The ids within a container are
/// of its own making: all containers of a user are one.
fn owner(path: &Path) -> String {
    if let Some((root, _)) = roots::split(path) {
        let user = std::fs::metadata(root).map_or(0, |root| root.uid());
        return format!("containers of {user}");
    }
    let way = path
        .ancestors()
        .flat_map(|way| roots::open(way, libc::O_PATH | libc::O_NOFOLLOW)?.metadata());
    let owners: Vec<u32> = way.map(|way| way.uid()).collect();
    owners.iter().rev().find(|owner| **owner != 0).unwrap_or(&0).to_string()
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;
    use std::os::unix::fs::PermissionsExt;

    const SERVER: &str = r#"{"mcpServers": {"a": {"command": "x"}}}"#;

    fn write(path: &Path, text: &str) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn watch(home: &Path) -> Watcher {
        let mut places = Places::default();
        places.add_home(home);
        Watcher::new(places)
    }

    /// All that changed.
    fn polled(watcher: &mut Watcher) -> Vec<Change> {
        let mut changes = Vec::new();
        let Ok(()) = watcher.poll(|change| {
            changes.push(change);
            Ok::<(), Infallible>(())
        });
        changes
    }

    /// `+` read, `-` removed, `!` unread, with the path below `home`.
    fn shown(changes: &[Change], home: &Path) -> Vec<String> {
        let home = format!("{}/", home.display());
        changes
            .iter()
            .map(|change| match change {
                Change::Read(file) => format!("+{}", file.path.replace(&home, "")),
                Change::Removed(path) => format!("-{}", path.replace(&home, "")),
                Change::Unread(error) => format!("!{}", error.path.replace(&home, "")),
            })
            .collect()
    }

    #[test]
    fn every_place_below_a_home_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let mut expected = BTreeSet::new();
        for location in locations::LOCATIONS {
            if location.base == locations::Base::Home {
                let path = location.path.replace("**", "m/p/1").replace('*', "x");
                write(&home.join(&path), "");
                expected.insert(format!("+{path}"));
            }
        }
        let found: BTreeSet<String> = shown(&polled(&mut watch(home)), home).into_iter().collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn new_changed_replaced_and_removed_files_are_noticed_once() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let mut watcher = watch(home);
        assert_eq!(polled(&mut watcher), []);
        write(&home.join(".cursor/mcp.json"), "{}");
        assert_eq!(shown(&polled(&mut watcher), home), ["+.cursor/mcp.json"]);
        assert_eq!(polled(&mut watcher), []);
        write(&home.join(".cursor/mcp.json"), SERVER);
        let changes = polled(&mut watcher);
        let [Change::Read(file)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(file.client, "cursor");
        assert_eq!(file.parse().unwrap().servers.len(), 1);
        // Replaced by rename, same size.
        write(&home.join("new"), SERVER);
        std::fs::rename(home.join("new"), home.join(".cursor/mcp.json")).unwrap();
        assert_eq!(shown(&polled(&mut watcher), home), ["+.cursor/mcp.json"]);
        std::fs::remove_file(home.join(".cursor/mcp.json")).unwrap();
        assert_eq!(shown(&polled(&mut watcher), home), ["-.cursor/mcp.json"]);
        assert_eq!(polled(&mut watcher), []);
    }

    #[test]
    fn what_is_no_regular_file_neither_blocks_nor_counts() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        std::fs::create_dir_all(home.join(".cursor/mcp.json")).unwrap();
        std::fs::create_dir_all(home.join(".gemini")).unwrap();
        let fifo = home.join(".gemini/settings.json");
        assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
        std::os::unix::fs::symlink("/dev/zero", home.join(".claude.json")).unwrap();
        std::os::unix::fs::symlink(home, home.join(".codeium")).unwrap();
        std::fs::create_dir_all(home.join(".codex/plugins")).unwrap();
        std::os::unix::fs::symlink(home, home.join(".codex/plugins/loop")).unwrap();
        let mut watcher = watch(home);
        assert_eq!(shown(&polled(&mut watcher), home), ["!.claude.json", "!.gemini/settings.json"]);
        assert_eq!(polled(&mut watcher), []);
    }

    #[test]
    fn an_endless_file_is_cut_and_refused() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        write(&home.join(".claude.json"), "");
        File::options()
            .write(true)
            .open(home.join(".claude.json"))
            .unwrap()
            .set_len(1 << 40)
            .unwrap();
        let changes = polled(&mut watch(home));
        let [Change::Read(file)] = changes.as_slice() else { panic!() };
        assert_eq!(file.text.len(), MAX_BYTES + 1);
        assert!(file.parse().unwrap_err().message.contains("at most"));
    }

    #[test]
    fn one_text_is_held_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let path = |number| home.join(format!(".kiro/agents/{number}.json"));
        for number in 0..MAX_MATCHES {
            write(&path(number), "");
            let file = File::options().write(true).open(path(number)).unwrap();
            file.set_len(MAX_BYTES as u64).unwrap();
        }
        assert_eq!(watch(home).poll(|_| Err("the first")), Err("the first"));
        let mut sizes = Vec::new();
        let Ok(()) = watch(home).poll(|change| {
            let Change::Read(file) = change else { panic!("{change:?}") };
            sizes.push(file.text.len());
            // Who has read more than this one does not see that.
            for number in 0..MAX_MATCHES {
                write(&path(number), "");
            }
            Ok::<(), Infallible>(())
        });
        assert_eq!((sizes.len(), sizes.first()), (MAX_MATCHES, Some(&MAX_BYTES)));
        assert_eq!(sizes.iter().sum::<usize>(), MAX_BYTES, "{sizes:?}");
    }

    #[test]
    fn a_crowded_directory_is_cut_and_said_once() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        for number in 0..=MAX_MATCHES {
            write(&home.join(format!(".kiro/agents/{number}.json")), "{}");
        }
        let mut watcher = watch(home);
        let changes = shown(&polled(&mut watcher), home);
        assert_eq!(changes.len(), MAX_MATCHES + 1);
        assert_eq!(changes.iter().filter(|change| *change == "!.kiro/agents/*.json").count(), 1);
        assert_eq!(polled(&mut watcher), []);
        for number in 0..MAX_ENTRIES {
            write(&home.join(format!(".codex/plugins/{number}")), "");
        }
        assert_eq!(polled(&mut watcher), []);
        write(&home.join(".codex/plugins/one-more"), "");
        assert_eq!(shown(&polled(&mut watcher), home), ["!.codex/plugins/**/.mcp.json"]);
    }

    #[test]
    fn what_processes_bring_is_bounded() {
        let mut recent = Recent::default();
        for number in 0..10 * MAX_BROUGHT {
            recent.add(0);
            recent.add(number);
        }
        assert_eq!(recent.entries.len(), MAX_BROUGHT);
        assert!(recent.entries.contains(&0) && recent.entries.contains(&(10 * MAX_BROUGHT - 1)));
    }

    #[test]
    fn closed_directories_are_said_once_each() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let allow = |path: &str, mode| {
            let mode = std::fs::Permissions::from_mode(mode);
            std::fs::set_permissions(home.join(path), mode).unwrap();
        };
        write(&home.join(".cursor/mcp.json"), SERVER);
        // Several patterns lead into this one.
        write(&home.join(".config/zed/settings.json"), "{}");
        allow(".cursor", 0o000);
        allow(".config", 0o600);
        // Root may look into everything.
        let root = std::fs::read_dir(home.join(".cursor")).is_ok();
        let mut watcher = watch(home);
        let changes = shown(&polled(&mut watcher), home);
        if root {
            assert_eq!(changes, ["+.config/zed/settings.json", "+.cursor/mcp.json"]);
        } else {
            assert_eq!(changes, ["!.config", "!.cursor"]);
        }
        assert_eq!(polled(&mut watcher), []);
        allow(".cursor", 0o700);
        allow(".config", 0o700);
        if !root {
            let changes = shown(&polled(&mut watcher), home);
            assert_eq!(changes, ["+.config/zed/settings.json", "+.cursor/mcp.json"]);
        }
    }

    #[test]
    fn a_root_brings_its_users_and_its_system_places() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path();
        write(
            &root.join("etc/passwd"),
            "root:x:0:0::/root:/bin/sh\nbad line\nx:x:5:5::/home/x:/bin/sh\nd:x:6:6::/:/bin/sh\n",
        );
        write(&root.join("etc/codex/config.toml"), "");
        write(&root.join("root/.claude.json"), "{}");
        write(&root.join("home/x/.cursor/mcp.json"), "{}");
        let mut places = Places::default();
        places.add_root(root);
        assert_eq!(
            shown(&polled(&mut Watcher::new(places)), root),
            ["+etc/codex/config.toml", "+home/x/.cursor/mcp.json", "+root/.claude.json"]
        );
    }

    #[test]
    fn who_answers_for_a_file_owns_the_way_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let file = home.join(".cursor/mcp.json");
        write(&file, SERVER);
        let link = home.join(".mcp.json");
        std::os::unix::fs::symlink("/dev/null", &link).unwrap();
        // Root may make it somebody's; for others it is theirs already.
        let _ = std::os::unix::fs::chown(home, Some(1_000), None);
        let user = std::fs::metadata(home).unwrap().uid().to_string();
        let root = PathBuf::from(format!("/proc/{}/root", std::process::id()));
        for path in [&file, &link, &home.join("absent")] {
            assert_eq!(owner(path), user, "{path:?}");
            assert_eq!(owner(&roots::below(&root, path)), "containers of 0", "{path:?}");
        }
        assert_eq!(owner(Path::new("/etc/hosts")), "0");
        let changes = polled(&mut watch(home));
        let [Change::Read(read)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!(read.owner, user);
    }

    #[test]
    fn a_named_file_at_a_client_s_place_is_read_as_that_client_s() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let table = [
            (
                ".claude.json",
                r#"{"mcpServers": {}, "projects": {"/p": {"mcpServers": {"a": {"command": "x"}}}}}"#,
                "claude-code",
            ),
            (
                "repo/.devcontainer/devcontainer.json",
                r#"{"customizations": {"vscode": {"mcp": {"servers": {"a": {"command": "x"}}}}}}"#,
                "vscode",
            ),
            (
                ".continue/config.json",
                r#"{"experimental": {"modelContextProtocolServers": [
                    {"transport": {"type": "stdio", "command": "x"}}]}}"#,
                "continue",
            ),
            (
                ".config/Code/User/settings.json",
                r#"{"mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}}"#,
                "vscode",
            ),
            (".codex/plugins/p/.mcp.json", r#"{"a": {"command": "x"}}"#, "codex"),
            (
                "exported-settings.json",
                r#"{"mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}}"#,
                "settings",
            ),
        ];
        let mut outside = Places::default();
        let mut inside = Places::default();
        inside.add_home(home);
        for (path, text, _) in table {
            write(&home.join(path), text);
            outside.add_file(&home.join(path));
            inside.add_file(&home.join(path));
        }
        let moved =
            BTreeMap::from([("CODEX_HOME".to_owned(), home.join("moved").display().to_string())]);
        write(&home.join("moved/config.toml"), "[mcp_servers.a]\ncommand = 'x'\n");
        inside.add_file(&home.join("moved/config.toml"));
        inside.brought.add((home.to_owned(), moved));
        for places in [outside, inside] {
            let mut seen = BTreeMap::new();
            for change in polled(&mut Watcher::new(places)) {
                let Change::Read(file) = change else { panic!("{change:?}") };
                let parsed = file.parse().unwrap();
                assert_eq!((parsed.servers.len(), parsed.warnings), (1, vec![]), "{}", file.path);
                seen.insert(PathBuf::from(file.path), file.client);
            }
            for (path, _, client) in table {
                assert_eq!(seen.get(&home.join(path)).map(String::as_str), Some(client), "{path}");
            }
            let moved = seen.get(&home.join("moved/config.toml"));
            assert!(moved.is_none_or(|client| client == "codex"), "{moved:?}");
        }
    }

    #[test]
    fn what_paths_do_not_say_of_homes_and_moved_places_is_told_once() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let moved = |name: &str| home.join(name).display().to_string();
        let environment = BTreeMap::from([
            ("CODEX_HOME".to_owned(), moved("moved")),
            ("XDG_CONFIG_HOME".to_owned(), moved("xdg")),
            ("OPENCODE_CONFIG".to_owned(), moved("mine.json")),
        ]);
        let mut watcher = Watcher::default();
        watcher.places.brought.add((home.to_owned(), environment.clone()));
        let told = watcher.own_places();
        let is_told = |path: &str, client: &str| told.contains(&(moved(path), client));
        for (path, client) in [
            ("moved/config.toml", "codex"),
            ("xdg/Claude/claude_desktop_config.json", "claude-desktop"),
            ("xdg/zed/settings.json", "zed"),
            ("mine.json", "opencode"),
            (".cursor/mcp.json", "cursor"),
        ] {
            assert!(is_told(path, client), "{path} {told:?}");
        }
        for (plain, client) in
            [(".claude.json", "claude-code"), (".config/zed/settings.json", "zed")]
        {
            assert!(!is_told(plain, client), "{plain}: the table says so");
        }
        assert_eq!(watcher.own_places(), []);
        let moved_more = BTreeMap::from([("CODEX_HOME".to_owned(), moved("again"))]);
        watcher.places.brought.add((home.to_owned(), moved_more));
        assert!(watcher.own_places().contains(&(moved("again/config.toml"), "codex")));
        // Other files have these paths in a container.
        let mut watcher = Watcher::default();
        watcher.places.brought.add((PathBuf::from("/proc/1/root/nowhere"), environment));
        assert_eq!(watcher.own_places(), []);
    }

    #[test]
    fn named_files_may_come_later_and_processes_bring_homes() {
        let directory = tempfile::tempdir().unwrap();
        let home = directory.path();
        let mut places = Places::default();
        places.add_file(&home.join("extra.yaml"));
        let mut watcher = Watcher::new(places);
        assert_eq!(polled(&mut watcher), []);
        write(&home.join("extra.yaml"), "extensions: {x: {cmd: y}}");
        let changes = polled(&mut watcher);
        let [Change::Read(file)] = changes.as_slice() else { panic!("{changes:?}") };
        assert_eq!((file.client.as_str(), file.format), ("settings", Format::Yaml));
        assert_eq!(file.parse().unwrap().servers.len(), 1);
        let text = serde_json::to_string(file).unwrap();
        assert_eq!(&serde_json::from_str::<ConfigFile>(&text).unwrap(), file);
        write(&home.join(".mcp.json"), SERVER);
        let mut child = std::process::Command::new("cat")
            .arg("/proc/self/comm")
            .arg("-")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .env("HOME", home)
            .env("CODEX_HOME", home.join("moved"))
            .current_dir(home)
            .spawn()
            .unwrap();
        write(&home.join("moved/config.toml"), "");
        // Its environment is there to be read only some time into its exec.
        child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
        let process = crate::host::snapshot::read(child.id()).unwrap();
        watcher.places.add_process(&process, true);
        child.kill().unwrap();
        child.wait().unwrap();
        let found = shown(&polled(&mut watcher), home);
        assert!(found.contains(&"+.mcp.json".to_owned()), "{found:?}");
        assert!(found.contains(&"+moved/config.toml".to_owned()), "{found:?}");
    }
}
