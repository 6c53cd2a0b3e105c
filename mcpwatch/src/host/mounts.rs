//! Where on the host the files of another mount namespace lie: two listings of `/proc/PID/mountinfo`, that of
//! the namespace and that of the host → a table of paths. Pure; `read` alone looks at `/proc`.
//!
//! A directory that is mounted in two places is the same part of the same device in both (see `proc(5)`): what
//! the namespace has at one mount point, the host may have at another, unless something else is mounted over it
//! there. A device that the host has mounted nowhere has no path there.

mod listing;
mod read;

use std::cell::Cell;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use listing::{Listing, Mount};

pub use read::{host_namespace, namespace_of, read};

/// Most entries of a table: a namespace with more has none.
const ENTRIES: usize = 8_192;
/// Most text of a table, in bytes.
const TABLE_BYTES: usize = 1 << 20;
/// Most steps that are taken for a table. Whoever may mount in a namespace decides how much there is to compare: a
/// container of a host with thousands of mounts takes some tens of thousands.
const STEPS: u32 = 1_000_000;
/// How a listing marks a mount whose directory was removed (`seq_dentry`). No path has two slashes in a row.
const DELETED: &str = "//deleted";

/// A part of a namespace, and where on the host it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Part {
    /// Its path in the namespace.
    path: String,
    /// The device its files are on, as the kernel encodes it.
    device: u32,
    /// Its path on the host; `None` when it has none that is known.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    host: Option<String>,
}

/// Where on the host the files of one mount namespace lie.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<Part>", into = "Vec<Part>")]
pub struct HostPaths {
    parts: HashMap<String, Part>,
}

/// The steps that are left for a table.
#[derive(Debug)]
struct Steps(Cell<u32>);

impl Steps {
    /// Takes one; `None` when none is left.
    fn take(&self) -> Option<()> {
        self.0.set(self.0.get().checked_sub(1)?);
        Some(())
    }

    /// Whether none is left: what was not found may be there.
    const fn used_up(&self) -> bool {
        self.0.get() == 0
    }
}

impl From<Vec<Part>> for HostPaths {
    fn from(parts: Vec<Part>) -> Self {
        let parts = parts.into_iter().take(ENTRIES);
        Self { parts: parts.map(|part| (part.path.clone(), part)).collect() }
    }
}

impl From<HostPaths> for Vec<Part> {
    fn from(paths: HostPaths) -> Self {
        let mut parts: Self = paths.parts.into_values().collect();
        // A recording of the same is the same.
        parts.sort_unstable_by(|a, b| a.path.cmp(&b.path));
        parts
    }
}

impl HostPaths {
    /// The table of two listings; empty when they cannot be trusted to be whole.
    #[must_use]
    pub fn of(namespace: &[u8], host: &[u8]) -> Self {
        let namespace = Listing::parse(namespace, listing::NAMESPACE);
        let host = Listing::parse(host, listing::HOST);
        let (Some(namespace), Some(host)) = (namespace, host) else { return Self::default() };
        Self::build(&namespace, &host, &Steps(Cell::new(STEPS))).unwrap_or_default()
    }

    /// `None` when there are too many parts, or it takes too many steps.
    fn build(namespace: &Listing, host: &Listing, steps: &Steps) -> Option<Self> {
        let mut parts = HashMap::new();
        let mut bytes = 0;
        let mut add = |path: String, device: u32, host: Option<String>| {
            bytes += path.len() + host.as_ref().map_or(0, String::len);
            parts.insert(path.clone(), Part { path, device, host });
            (parts.len() <= ENTRIES && bytes <= TABLE_BYTES && !steps.used_up()).then_some(())
        };
        for (number, mount) in namespace.mounts.iter().enumerate() {
            if namespace.visible(&mount.point, steps) != Some(number) {
                continue;
            }
            let on_host = host.at(mount.device, &mount.root, steps);
            add(mount.point.clone(), mount.device, on_host)?;
            // Below, the answer is another one where the host has mounted something, or has this very part
            // mounted elsewhere.
            for root in host.borders(mount, steps) {
                let Some(path) = moved(&root, &mount.root, &mount.point) else { continue };
                if namespace.visible(&path, steps) == Some(number) {
                    let on_host = host.at(mount.device, &root, steps);
                    add(path, mount.device, on_host)?;
                }
            }
        }
        (!steps.used_up()).then_some(Self { parts })
    }

    /// Where on the host a file of the namespace is, when that is known and another path. `device`, when it is
    /// known, must be that of the file: what was opened before something was mounted over it is elsewhere.
    #[must_use]
    pub fn of_path(&self, path: &str, device: Option<u32>) -> Option<String> {
        if !path.starts_with('/') {
            return None;
        }
        let mut part = path;
        let found = loop {
            if let Some(found) = self.parts.get(part) {
                break found;
            }
            if part == "/" {
                return None;
            }
            part = match part.rfind('/')? {
                0 => "/",
                slash => part.get(..slash)?,
            };
        };
        if device.is_some_and(|device| device != found.device) {
            return None;
        }
        moved(path, &found.path, found.host.as_ref()?).filter(|host| host != path)
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }
}

impl Listing {
    /// The path at which this part of a device can be seen.
    fn at(&self, device: u32, root: &str, steps: &Steps) -> Option<String> {
        if root.ends_with(DELETED) {
            return None;
        }
        self.of_device(device).map_while(|one| steps.take().map(|()| one)).find_map(
            |(number, mount)| {
                let path = moved(root, &mount.root, &mount.point)?;
                (self.visible(&path, steps) == Some(number)).then_some(path)
            },
        )
    }

    /// The roots below that of a mount of another namespace, on the same device, where another path may be the
    /// answer than around them.
    fn borders<'a>(&'a self, of: &'a Mount, steps: &'a Steps) -> impl Iterator<Item = String> + 'a {
        self.of_device(of.device)
            .map_while(|one| steps.take().map(|()| one))
            .filter(|(_, mount)| {
                below(&mount.root, &of.root).is_some() || below(&of.root, &mount.root).is_some()
            })
            .flat_map(move |(_, mount)| {
                let over = self
                    .children(mount)
                    .map_while(|one| steps.take().map(|()| one))
                    .filter_map(move |child| moved(&child.point, &mount.point, &mount.root));
                std::iter::once(mount.root.clone()).chain(over)
            })
            .filter(|root| below(root, &of.root).is_some_and(|rest| !rest.is_empty()))
    }
}

/// What of a path lies below a folder, without a slash before it; `None` when it lies elsewhere.
fn below<'a>(path: &'a str, folder: &str) -> Option<&'a str> {
    match path.strip_prefix(folder.trim_end_matches('/'))? {
        "" => Some(""),
        rest => rest.strip_prefix('/'),
    }
}

/// `path`, which is `from` or lies below it, at the same place of `to`.
fn moved(path: &str, from: &str, to: &str) -> Option<String> {
    let rest = below(path, from)?;
    let to = to.trim_end_matches('/');
    Some(if rest.is_empty() && !to.is_empty() { to.into() } else { format!("{to}/{rest}") })
}

#[cfg(test)]
mod tests;
