//! Finds out the cgroup of what executes a program, before the pipeline sees the exec: one short read of
//! `/proc` for each cgroup that is new; where containers are in hierarchies of version 1, one for each exec
//! that is watched. When the process has gone by then, its cgroup is looked for by its number.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Instant;

use crate::event::decode;
use crate::host::snapshot::{self, ProcessSnapshot};
use crate::kernel::capabilities;
use crate::pipeline::input::Cgroup;

/// Most ids that are remembered; then all are forgotten and read again.
const KNOWN: usize = 16_384;
/// The root of the hierarchy of version 2 has the first number; 0 says there is none.
const ROOT: u64 = 1;
/// Most folders that are read to find cgroups by their numbers.
const FOLDERS: usize = 2_048;
/// Most ids that are remembered as not to be found; then all are looked for again.
const IN_VAIN: usize = 1_024;
/// How many times as long as that took it is left alone.
const REST: u32 = 200;

/// What is known already.
#[derive(Debug)]
pub struct Cgroups {
    /// By id; whether the id alone tells the container. It does not where that is in a hierarchy of version 1.
    known: HashMap<u64, bool>,
    /// Where version 2 is mounted.
    unified: Option<PathBuf>,
    /// There are hierarchies of version 1.
    legacy: bool,
    /// Ids that were looked for in vain.
    in_vain: BTreeSet<u64>,
    /// Until when no cgroup is looked for by its number.
    rests: Option<Instant>,
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
            in_vain: BTreeSet::new(),
            rests: None,
        }
    }

    /// The cgroups of what runs already: the first that is seen of one may be the exec of a process that has gone.
    pub fn of_running(&mut self, processes: &[ProcessSnapshot]) -> Vec<Cgroup> {
        if self.legacy {
            return Vec::new();
        }
        let paths: BTreeMap<&str, u32> =
            processes.iter().map(|process| (process.cgroup.as_str(), process.pid)).collect();
        let mut found = Vec::new();
        for (path, pid) in paths {
            if let Some(id) = self.id_of(path).filter(|id| *id > ROOT) {
                self.remember(id, true);
                found.push(Cgroup { id, pid, path: path.to_owned() });
            }
        }
        found
    }

    /// The cgroups of a batch's execs that the pipeline does not know yet, and how many execs of what is watched are
    /// in one that could not be found.
    pub fn of(&mut self, batch: &[u8]) -> (Vec<Cgroup>, u64) {
        let (mut found, mut gone) = (Vec::new(), Vec::new());
        for decode::ExecIn { pid, instance, cgroup: id } in decode::execs(batch) {
            let wanted = match self.known.get(&id) {
                Some(tells) => !tells && instance != 0,
                None => id > ROOT || (self.legacy && instance != 0),
            };
            if !wanted {
                continue;
            }
            let Some((path, unified)) = snapshot::cgroup_of(pid) else {
                // Of what is not watched nothing is shown. With version 1, whose containers the number does not tell, it is
                // taken to be where its parent is.
                if instance != 0 && !self.legacy && !self.known.contains_key(&id) {
                    gone.push((pid, id));
                }
                continue;
            };
            // It may have been moved since.
            let same = unified && id > ROOT && self.id_of(&path).is_none_or(|found| found == id);
            if id > ROOT {
                self.remember(id, same);
            }
            found.push(Cgroup { id: if same { id } else { 0 }, pid, path });
        }
        // Of others in the same cgroup one may have been there still.
        gone.retain(|(_, id)| self.known.get(id) != Some(&true));
        if !gone.is_empty() {
            found.extend(self.search(&gone));
            gone.retain(|(_, id)| self.known.get(id) != Some(&true));
        }
        (found, gone.len() as u64)
    }

    fn remember(&mut self, id: u64, tells: bool) {
        if self.known.len() >= KNOWN {
            self.known.clear();
        }
        self.known.insert(id, tells);
    }

    /// Looks for the cgroups of processes that have gone.
    fn search(&mut self, gone: &[(u32, u64)]) -> Vec<Cgroup> {
        // Where there is version 1, the container may be in another hierarchy.
        let Some(root) = self.unified.as_ref().filter(|_| !self.legacy) else { return Vec::new() };
        let begun = Instant::now();
        if self.rests.is_some_and(|until| begun < until) {
            return Vec::new();
        }
        let wanted: BTreeSet<u64> =
            gone.iter().map(|(_, id)| *id).filter(|id| !self.in_vain.contains(id)).collect();
        if wanted.is_empty() {
            return Vec::new();
        }
        let paths = below(root, wanted.clone());
        self.rests = Some(Instant::now() + begun.elapsed() * REST);
        if self.in_vain.len() + wanted.len() > IN_VAIN {
            self.in_vain.clear();
        }
        self.in_vain.extend(wanted);
        let mut found = Vec::new();
        for (id, path) in paths {
            self.in_vain.remove(&id);
            self.remember(id, true);
            let pid = gone.iter().find(|(_, one)| *one == id).map_or(0, |(pid, _)| *pid);
            found.push(Cgroup { id, pid, path });
        }
        found
    }

    fn id_of(&self, path: &str) -> Option<u64> {
        let relative = Path::new(path).strip_prefix("/").ok()?;
        std::fs::metadata(self.unified.as_ref()?.join(relative)).ok().map(|group| group.ino())
    }
}

/// The paths of these cgroups, as far as they are in the first folders below `root`, level by level: the id of a cgroup
/// is the inode number of its folder.
fn below(root: &Path, mut wanted: BTreeSet<u64>) -> Vec<(u64, String)> {
    let mut found = Vec::new();
    let mut folders = VecDeque::from([PathBuf::new()]);
    for _ in 0..FOLDERS {
        let Some(folder) = folders.pop_front().filter(|_| !wanted.is_empty()) else { break };
        let Ok(entries) = std::fs::read_dir(root.join(&folder)) else { continue };
        for entry in entries.flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let group = folder.join(entry.file_name());
            let id = entry.metadata().map(|group| group.ino());
            if let Ok(id) = id
                && wanted.remove(&id)
            {
                found.push((id, format!("/{}", group.display())));
            }
            if folders.len() < FOLDERS {
                folders.push_back(group);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use mcpwatch_common::event::{self as wire, Header, Kind};

    use super::*;

    /// No process has it: their ids end far below.
    const NOBODY: u32 = 0x7fff_fff0;
    /// No folder has it.
    const NOWHERE: u64 = 1 << 60;

    /// An exec of a process that has gone.
    fn exec(instance: u64, cgroup: u64) -> Vec<u8> {
        let header = Header {
            version: wire::WIRE_VERSION,
            kind: Kind::Exec as u16,
            size: u32::try_from(size_of::<Header>() + size_of::<wire::Exec>()).unwrap(),
            pid: NOBODY,
            instance,
            ..bytemuck::Zeroable::zeroed()
        };
        let body = wire::Exec { cgroup, ..bytemuck::Zeroable::zeroed() };
        [bytemuck::bytes_of(&header), bytemuck::bytes_of(&body)].concat()
    }

    fn on(unified: &Path, legacy: bool) -> Cgroups {
        let unified = Some(unified.to_owned());
        Cgroups { known: HashMap::new(), unified, legacy, in_vain: BTreeSet::new(), rests: None }
    }

    #[test]
    fn the_cgroup_of_a_process_that_has_gone_is_found_by_its_number() {
        let folder = tempfile::tempdir().unwrap();
        let group = folder.path().join("machine.slice/one.scope");
        std::fs::create_dir_all(&group).unwrap();
        std::fs::create_dir(folder.path().join("other.slice")).unwrap();
        let id = std::fs::metadata(&group).unwrap().ino();
        let mut cgroups = on(folder.path(), false);
        let batch = [exec(5, id), exec(6, id), exec(7, NOWHERE), exec(0, NOWHERE)].concat();
        let found = Cgroup { id, pid: NOBODY, path: "/machine.slice/one.scope".into() };
        assert_eq!(cgroups.of(&batch), (vec![found], 1), "two found, one lost, one not watched");
        assert_eq!(cgroups.of(&exec(5, id)), (Vec::new(), 0), "it is known");
        assert_eq!(cgroups.of(&exec(5, NOWHERE)), (Vec::new(), 1), "searched or not");
    }

    #[test]
    fn with_version_1_the_number_does_not_tell_the_container() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("one")).unwrap();
        let id = std::fs::metadata(folder.path().join("one")).unwrap().ino();
        let mut cgroups = on(folder.path(), true);
        for (instance, id) in [(5, id), (5, ROOT), (0, ROOT)] {
            assert_eq!(cgroups.of(&exec(instance, id)), (Vec::new(), 0), "where its parent is");
        }
    }
}
