//! Finds out the cgroup of what executes a program, before the pipeline sees the exec: one short read of
//! `/proc` for each cgroup that is new; where containers are in hierarchies of version 1, one for each exec
//! that is watched.

use std::collections::HashMap;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use crate::event::decode;
use crate::host::snapshot;
use crate::kernel::capabilities;
use crate::pipeline::input::Cgroup;

/// Most ids that are remembered; then all are forgotten and read again.
const KNOWN: usize = 16_384;
/// The root of the hierarchy of version 2 has the first number; 0 says there is none.
const ROOT: u64 = 1;

/// What is known already.
#[derive(Debug)]
pub struct Cgroups {
    /// By id; whether the id alone tells the container. It does not where that is in a hierarchy of version 1.
    known: HashMap<u64, bool>,
    /// Where version 2 is mounted.
    unified: Option<PathBuf>,
    /// There are hierarchies of version 1.
    legacy: bool,
}

impl Cgroups {
    /// Looks at how this host has its cgroups.
    #[must_use]
    pub fn of_host() -> Self {
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let groups = std::fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        Self {
            known: HashMap::new(),
            unified: capabilities::cgroup2_root(&mounts).map(Path::to_owned),
            legacy: groups.lines().any(|line| !line.starts_with("0::")),
        }
    }

    /// The cgroups of a batch's execs that the pipeline does not know yet.
    pub fn of(&mut self, batch: &[u8]) -> Vec<Cgroup> {
        let mut found = Vec::new();
        for (pid, instance, id) in decode::execs(batch) {
            let wanted = match self.known.get(&id) {
                Some(tells) => !tells && instance != 0,
                None => id > ROOT || (self.legacy && instance != 0),
            };
            if !wanted {
                continue;
            }
            let Some((path, unified)) = snapshot::cgroup_of(pid) else { continue };
            // It may have been moved since.
            let same = unified && id > ROOT && self.id_of(&path).is_none_or(|found| found == id);
            if id > ROOT {
                if self.known.len() >= KNOWN {
                    self.known.clear();
                }
                self.known.insert(id, same);
            }
            found.push(Cgroup { id: if same { id } else { 0 }, pid, path });
        }
        found
    }

    fn id_of(&self, path: &str) -> Option<u64> {
        let relative = Path::new(path).strip_prefix("/").ok()?;
        std::fs::metadata(self.unified.as_ref()?.join(relative)).ok().map(|group| group.ino())
    }
}
