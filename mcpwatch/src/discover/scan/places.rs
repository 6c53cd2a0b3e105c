//! Where configurations are looked for: homes, projects, the system, and what processes bring.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::file::{open, read};
use super::patterns::expand;
use crate::config::Discovery;
use crate::discover::explicit::Clients;
use crate::discover::locations::{self, Place};
use crate::discover::roots::{self, Roots};
use crate::host::snapshot::ProcessSnapshot;

/// Most users whose homes are looked at, and most container roots.
const MAX_USERS: usize = 1024;
/// Most homes and projects, each, that processes brought; the one brought longest ago gives way.
pub(super) const MAX_BROUGHT: usize = 256;
/// Most configuration files that are followed.
const MAX_FILES: usize = 4096;
/// Most bytes read of a process's environment.
const MAX_ENVIRONMENT: u64 = 256 << 10;

/// Where configurations are looked for.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Homes of users and of the settings.
    homes: BTreeSet<PathBuf>,
    /// Homes that processes brought, each with the variables that move parts of it.
    pub(super) brought: Recent<(PathBuf, BTreeMap<String, String>)>,
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
    pub(super) fn add_root(&mut self, root: &Path) {
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

    pub(super) fn present(&self) -> Present {
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
pub(super) fn own_places_of(
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
pub(super) struct Present {
    /// Every file that is there, with the row it fits.
    pub(super) files: BTreeMap<PathBuf, Kind>,
    /// Patterns that were not followed to their end.
    pub(super) cut: BTreeSet<PathBuf>,
    /// Directories where configurations may lie, but that may not be looked into.
    pub(super) closed: BTreeSet<PathBuf>,
}

/// Service accounts have `/`, or nothing, for a home.
fn is_home(path: &Path) -> bool {
    path.is_absolute() && path != Path::new("/")
}

/// A bounded set that forgets what was added longest ago.
#[derive(Clone, Debug)]
pub(super) struct Recent<T> {
    /// The oldest first.
    pub(super) entries: Vec<T>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { entries: Vec::new() }
    }
}

impl<T: PartialEq> Recent<T> {
    pub(super) fn add(&mut self, entry: T) {
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
pub(super) enum Kind {
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
