//! One process as `/proc` shows it: plain data, so that a recording can hold it, and the reading of it.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::io::Read;

use procfs::ProcessCGroup;
use procfs::process::{FDTarget, Process, StatFlags};
use serde::{Deserialize, Serialize};

use super::containers::layouts;
use super::mounts;
use crate::event::ProcessKey;

/// Most bytes kept of an argument vector: what the kernel side keeps of one, too.
const MAX_ARGV_BYTES: u64 = 32 << 10;

/// What a file descriptor that can carry the protocol stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "inode")]
pub enum Stdio {
    /// A pipe, with its inode.
    Pipe(u64),
    /// A socket, with its inode.
    Socket(u64),
}

impl Stdio {
    /// The inode in pipefs or sockfs.
    #[must_use]
    pub const fn inode(self) -> u64 {
        match self {
            Self::Pipe(inode) | Self::Socket(inode) => inode,
        }
    }
}

/// One process at the moment it was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessSnapshot {
    /// In the initial pid namespace.
    pub pid: u32,
    /// Its parent's.
    pub ppid: u32,
    /// Start time in clock ticks since boot: [`ProcessKey::start`].
    pub start: u64,
    /// Resolved path of the executed file, without ` (deleted)`; empty when it could not be read.
    pub exe: String,
    /// Argument vector, cut at 32 KiB. A process may have overwritten it (npm writes a title there).
    pub argv: Vec<String>,
    /// Working directory; empty when it could not be read.
    pub cwd: String,
    /// Real user id.
    pub uid: u32,
    /// Path of its cgroup: the first that is a container's, else the v2 hierarchy's, else the first named one.
    pub cgroup: String,
    /// What fd 0 stands on, when that is a pipe or a socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stdin: Option<Stdio>,
    /// What fd 1 stands on, when that is a pipe or a socket.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub stdout: Option<Stdio>,
    /// The same of the parent's fd 0.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_stdin: Option<Stdio>,
    /// The same of the parent's fd 1.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub parent_stdout: Option<Stdio>,
    /// Its descriptors could not be read (another user's process): its channel is not known.
    #[serde(skip_serializing_if = "std::ops::Not::not", default)]
    pub hidden: bool,
    /// Inode number of its mount namespace; 0 when it may not be seen.
    #[serde(default)]
    pub mount_namespace: u32,
}

impl ProcessSnapshot {
    /// Whether there may be more of the argument vector than was read.
    #[must_use]
    pub fn argv_is_cut(&self) -> bool {
        let bytes: usize = self.argv.iter().map(|argument| argument.len() + 1).sum();
        bytes as u64 >= MAX_ARGV_BYTES
    }

    /// Its identity.
    #[must_use]
    pub const fn key(&self) -> ProcessKey {
        ProcessKey { pid: self.pid, start: self.start }
    }

    /// A parent made it a private channel: stdin and stdout are pipes or sockets that the parent does
    /// not itself have as stdin and stdout. The kernel side asks the same at exec.
    #[must_use]
    pub fn private_channel(&self) -> bool {
        let (Some(stdin), Some(stdout)) = (self.stdin, self.stdout) else { return false };
        self.parent_stdin != Some(stdin) && self.parent_stdout != Some(stdout)
    }
}

/// Reads one process. `None` when it has gone, or is a kernel thread. What may not be read is left
/// empty; `parent_*` is left for [`read_all`].
#[must_use]
pub fn read(pid: u32) -> Option<ProcessSnapshot> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    // All further reads go through the directory just opened: they fail when the process has gone,
    // also when its pid is in use again.
    let stat = process.stat().ok()?;
    if StatFlags::from_bits_truncate(stat.flags).contains(StatFlags::PF_KTHREAD) {
        return None;
    }
    let (stdin, hidden) = stdio(&process, 0);
    let (stdout, _) = stdio(&process, 1);
    Some(ProcessSnapshot {
        pid,
        ppid: u32::try_from(stat.ppid).unwrap_or_default(),
        start: stat.starttime,
        exe: process.exe().map(|path| without_deleted(&path.to_string_lossy())).unwrap_or_default(),
        argv: argv(&process),
        cwd: process.cwd().map(|path| without_deleted(&path.to_string_lossy())).unwrap_or_default(),
        uid: process.status().ok()?.ruid,
        cgroup: cgroup(&process),
        stdin,
        stdout,
        parent_stdin: None,
        parent_stdout: None,
        hidden,
        mount_namespace: mounts::namespace_of(pid).unwrap_or(0),
    })
}

/// When the process with this id started, in clock ticks since boot; `None` when there is none.
#[must_use]
pub fn start_of(pid: u32) -> Option<u64> {
    Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok().map(|stat| stat.starttime)
}

/// The ids of all processes; `None` when they cannot be listed.
#[must_use]
pub fn ids() -> Option<BTreeSet<u32>> {
    let mut ids = BTreeSet::new();
    for entry in std::fs::read_dir("/proc").ok()? {
        ids.extend(entry.ok()?.file_name().to_str().and_then(|name| name.parse::<u32>().ok()));
    }
    Some(ids)
}

/// The process that has this id now; `None` when there is none.
#[must_use]
pub fn key_of(pid: u32) -> Option<ProcessKey> {
    start_of(pid).map(|start| ProcessKey { pid, start })
}

/// Whether a process has its end still before it: it is there, and one of its threads at least is not about to end. The
/// kernel tells the end of a process before its id is free again, or anybody has waited for it.
#[must_use]
pub fn lives(key: ProcessKey) -> bool {
    let process = i32::try_from(key.pid).ok().and_then(|pid| Process::new(pid).ok());
    let Some(process) = process else { return false };
    let Ok(stat) = process.stat() else { return false };
    let ends = |flags| StatFlags::from_bits_truncate(flags).contains(StatFlags::PF_EXITING);
    if stat.starttime != key.start {
        return false;
    }
    // The first thread may be gone before the others.
    !ends(stat.flags)
        || process.tasks().is_ok_and(|threads| {
            threads.flatten().any(|thread| thread.stat().is_ok_and(|stat| !ends(stat.flags)))
        })
}

/// Path of the cgroup of the process with this id, as in a snapshot, and whether that is in the hierarchy of
/// version 2; `None` when the process has gone, or is about to: the kernel shows `/` for every hierarchy of
/// version 1 then (`proc_cgroup_show`).
#[must_use]
pub fn cgroup_of(pid: u32) -> Option<(String, bool)> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    let groups = process.cgroups().ok()?;
    let flags = StatFlags::from_bits_truncate(process.stat().ok()?.flags);
    if flags.contains(StatFlags::PF_EXITING) {
        return None;
    }
    chosen(&groups.0).map(|group| (group.pathname.clone(), is_unified(group)))
}

/// Reads every process, or `scope` and its descendants only, in the order of pids. Processes that
/// vanish meanwhile are left out, and so is who has got their ids.
#[must_use]
pub fn read_all(scope: Option<ProcessKey>) -> Vec<ProcessSnapshot> {
    let Ok(listing) = procfs::process::all_processes() else { return Vec::new() };
    let pids: Vec<u32> =
        listing.flatten().filter_map(|process| u32::try_from(process.pid()).ok()).collect();
    let mut found: Vec<ProcessSnapshot> = match scope {
        None => pids.into_iter().filter_map(read).collect(),
        Some(root) => {
            let mut places = places(&pids);
            let found: Vec<ProcessSnapshot> =
                tree(root, &places).into_iter().filter_map(read).collect();
            // One whose id another process has got since says nothing of what is below it either.
            for process in &found {
                if places.get(&process.pid).is_some_and(|place| place.start != process.start) {
                    places.remove(&process.pid);
                }
            }
            let within = tree(root, &places);
            found.into_iter().filter(|process| within.contains(&process.pid)).collect()
        }
    };
    found.sort_unstable_by_key(|process| process.pid);
    join_parents(&mut found);
    found
}

/// Fills `parent_*` from the parents in the list; a parent outside of it is looked at alone.
fn join_parents(processes: &mut [ProcessSnapshot]) {
    let known: HashMap<u32, (Option<Stdio>, Option<Stdio>)> =
        processes.iter().map(|process| (process.pid, (process.stdin, process.stdout))).collect();
    for process in processes {
        let (stdin, stdout) = known.get(&process.ppid).copied().unwrap_or_else(|| {
            i32::try_from(process.ppid)
                .ok()
                .and_then(|pid| Process::new(pid).ok())
                .map_or((None, None), |parent| (stdio(&parent, 0).0, stdio(&parent, 1).0))
        });
        process.parent_stdin = stdin;
        process.parent_stdout = stdout;
    }
}

/// Where a process stands among the others, and which of those with its id it is.
#[derive(Clone, Copy)]
struct Place {
    parent: u32,
    start: u64,
}

fn places(pids: &[u32]) -> HashMap<u32, Place> {
    let place = |pid: u32| {
        let stat = Process::new(i32::try_from(pid).ok()?).ok()?.stat().ok()?;
        Some((pid, Place { parent: u32::try_from(stat.ppid).ok()?, start: stat.starttime }))
    };
    pids.iter().copied().filter_map(place).collect()
}

/// `root` and its descendants. None when its id is another process's by now: what it has started before its end, is the
/// child of somebody else.
fn tree(root: ProcessKey, places: &HashMap<u32, Place>) -> HashSet<u32> {
    let mut seen = HashSet::new();
    if places.get(&root.pid).is_none_or(|place| place.start != root.start) {
        return seen;
    }
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, place) in places {
        children.entry(place.parent).or_default().push(*pid);
    }
    let mut open = vec![root.pid];
    while let Some(pid) = open.pop() {
        // A pid used again while we looked can make a loop.
        if seen.insert(pid) {
            open.extend(children.get(&pid).into_iter().flatten());
        }
    }
    seen
}

/// What descriptor `fd` stands on, and whether that was forbidden to see.
fn stdio(process: &Process, fd: i32) -> (Option<Stdio>, bool) {
    match process.fd_from_fd(fd) {
        Ok(descriptor) => match descriptor.target {
            FDTarget::Pipe(inode) => (Some(Stdio::Pipe(inode)), false),
            FDTarget::Socket(inode) => (Some(Stdio::Socket(inode)), false),
            _ => (None, false),
        },
        Err(procfs::ProcError::PermissionDenied(_)) => (None, true),
        Err(_) => (None, false),
    }
}

/// The argument vector. procfs's own reading leaves empty arguments out and fails on bytes that are
/// not UTF-8.
fn argv(process: &Process) -> Vec<String> {
    let mut bytes = Vec::new();
    let Ok(file) = process.open_relative("cmdline") else { return Vec::new() };
    if file.take(MAX_ARGV_BYTES).read_to_end(&mut bytes).is_err() {
        return Vec::new();
    }
    split_argv(&bytes)
}

/// Splits what `/proc/PID/cmdline` holds.
fn split_argv(bytes: &[u8]) -> Vec<String> {
    let bytes = bytes.strip_suffix(&[0]).unwrap_or(bytes);
    if bytes.is_empty() {
        return Vec::new();
    }
    let mut argv: Vec<String> = bytes
        .split(|&byte| byte == 0)
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect();
    // A title written over a longer vector leaves a tail of zeroes, which are no arguments.
    if argv.len() > 1 && argv.iter().skip(1).all(String::is_empty) {
        argv.truncate(1);
    }
    argv
}

fn cgroup(process: &Process) -> String {
    let Ok(groups) = process.cgroups() else { return String::new() };
    chosen(&groups.0).map(|group| group.pathname.clone()).unwrap_or_default()
}

fn is_unified(group: &ProcessCGroup) -> bool {
    group.hierarchy == 0 && group.controllers.is_empty()
}

/// Not every hierarchy need know of a container: with v1 and v2 side by side, some runtimes leave one out.
fn chosen(groups: &[ProcessCGroup]) -> Option<&ProcessCGroup> {
    let unified = groups.iter().find(|group| is_unified(group));
    let named = unified.into_iter().chain(groups);
    named
        .clone()
        .find(|group| layouts::of_cgroup(&group.pathname).is_some())
        .or_else(|| unified.filter(|group| group.pathname != "/" || groups.len() == 1))
        .or_else(|| groups.iter().find(|group| group.pathname != "/"))
        .or(unified)
}

fn without_deleted(path: &str) -> String {
    path.strip_suffix(" (deleted)").unwrap_or(path).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_channel_is_one_the_parent_does_not_share() {
        let own = ProcessSnapshot {
            stdin: Some(Stdio::Pipe(1)),
            stdout: Some(Stdio::Pipe(2)),
            ..ProcessSnapshot::default()
        };
        assert!(own.private_channel());
        let shared = ProcessSnapshot {
            parent_stdin: Some(Stdio::Pipe(1)),
            parent_stdout: Some(Stdio::Pipe(2)),
            ..own.clone()
        };
        assert!(!shared.private_channel());
        assert!(!ProcessSnapshot { stdout: None, ..own }.private_channel());
    }

    #[test]
    fn argument_vectors_keep_empty_arguments_and_lose_the_tail_of_a_title() {
        let table: &[(&[u8], &[&str])] = &[
            (b"", &[]),
            (b"a\0b\0", &["a", "b"]),
            (b"a\0\0b\0", &["a", "", "b"]),
            (b"npm exec x\0\0\0\0", &["npm exec x"]),
            (b"cut", &["cut"]),
        ];
        for (bytes, expected) in table {
            assert_eq!(split_argv(bytes), *expected, "{bytes:?}");
        }
    }

    /// Number, controller and path of each hierarchy; the path that counts.
    type Case<'a> = (&'a [(u32, &'a str, &'a str)], &'a str);

    #[test]
    fn a_container_s_cgroup_counts_before_others() {
        let id = "4c6d8a9b0e1f22334455667788990011aabbccddeeff00112233445566778899";
        let group = |hierarchy, name: &str, path: &str| ProcessCGroup {
            hierarchy,
            controllers: if name.is_empty() { Vec::new() } else { vec![name.to_owned()] },
            pathname: path.replace("ID", id),
        };
        let table: &[Case<'_>] = &[
            (&[(0, "", "/user.slice")], "/user.slice"),
            (&[(0, "", "/")], "/"),
            (&[(4, "memory", "/other"), (3, "cpu", "/docker/ID"), (0, "", "/")], "/docker/ID"),
            (
                &[(4, "memory", "/docker/ID"), (0, "", "/libpod_parent/libpod-ID")],
                "/libpod_parent/libpod-ID",
            ),
            (&[(4, "memory", "/a"), (0, "", "/")], "/a"),
            (&[(4, "memory", "/a"), (0, "", "/b")], "/b"),
            (&[], ""),
        ];
        for (groups, expected) in table {
            let groups: Vec<ProcessCGroup> =
                groups.iter().map(|(number, name, path)| group(*number, name, path)).collect();
            let found = chosen(&groups).map(|group| group.pathname.as_str()).unwrap_or_default();
            assert_eq!(found, expected.replace("ID", id));
        }
    }

    #[test]
    fn an_id_that_is_used_again_has_no_tree() {
        let place = |parent, start| Place { parent, start };
        let mut places: HashMap<u32, Place> =
            [(1, place(0, 1)), (10, place(1, 5)), (20, place(10, 6)), (30, place(20, 7))].into();
        places.insert(99, place(1, 8));
        let root = ProcessKey { pid: 10, start: 5 };
        assert_eq!(tree(root, &places), HashSet::from([10, 20, 30]));
        // It has ended; its child is process 1's. Then somebody else has its id, and a child.
        places.remove(&10);
        places.insert(20, place(1, 6));
        assert_eq!(tree(root, &places), HashSet::new());
        places.insert(10, place(1, 9));
        places.insert(40, place(10, 10));
        assert_eq!(tree(root, &places), HashSet::new());
        assert_eq!(tree(ProcessKey { start: 9, ..root }, &places), HashSet::from([10, 40]));
        // A ring, which ids that are used again while we look can make.
        places.insert(10, place(40, 9));
        assert_eq!(tree(ProcessKey { start: 9, ..root }, &places), HashSet::from([10, 40]));
    }

    #[test]
    fn reads_itself_and_its_own_tree_only() {
        let me = std::process::id();
        let own = read(me).unwrap();
        assert_eq!(own.pid, me);
        assert!(!own.exe.is_empty() && !own.argv.is_empty() && !own.hidden);
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn()
            .unwrap();
        let tree = read_all(Some(own.key()));
        let (living, other) = (key_of(child.id()).unwrap(), own.start + 1);
        assert!(lives(living) && lives(own.key()));
        assert!(!lives(ProcessKey { start: living.start + 1, ..living }), "another of that id");
        assert!(read_all(Some(ProcessKey { pid: me, start: other })).is_empty());
        child.kill().unwrap();
        // Not waited for yet: it is there, and has ended.
        while lives(living) {
            std::thread::yield_now();
        }
        assert_eq!(start_of(living.pid), Some(living.start));
        child.wait().unwrap();
        let found = tree.iter().find(|process| process.pid == child.id()).unwrap();
        assert!(found.private_channel(), "{found:?}");
        assert_eq!(found.ppid, me);
        assert!(tree.iter().all(|process| process.pid != own.ppid));
    }

    #[test]
    fn ids_are_those_of_processes_that_are_there() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let id = child.id();
        let there = ids().unwrap();
        assert!(there.contains(&std::process::id()) && there.contains(&id));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!ids().unwrap().contains(&id));
    }

    #[test]
    fn survives_a_round_trip_through_json() {
        let own = read(std::process::id()).unwrap();
        let text = serde_json::to_string(&own).unwrap();
        assert_eq!(serde_json::from_str::<ProcessSnapshot>(&text).unwrap(), own);
    }
}
