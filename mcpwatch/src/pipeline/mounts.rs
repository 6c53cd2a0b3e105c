//! Where on the host the files of other mount namespaces lie. The kernel says in which namespace it found a file;
//! what is mounted there is asked for when it is needed, and asked for again when it has changed.

use std::borrow::Cow;

use foldhash::HashMap;

use crate::event::{Event, EventKind, Exec, Operation, Place, ProcessKey};
use crate::host::mounts::HostPaths;
use crate::host::snapshot::ProcessSnapshot;

use super::{Action, Pipeline};

/// Most namespaces that are known; then the one that was met longest ago goes.
const NAMESPACES: usize = 256;
/// How old a table may become, in nanoseconds, before it is asked for again: what others mount comes into a
/// namespace without a word (`mount_namespaces(7)`, propagation).
const AGE: u64 = 10_000_000_000;
/// How often a namespace is asked for in that time: who mounts and unmounts all day is not followed.
const ASKED: u32 = 16;
/// How long after it was met last a namespace is taken to be there still, in nanoseconds.
const ALIVE: u64 = 1_000_000_000;
/// `CLONE_NEWNS`.
const NEW_NAMESPACE: u64 = 0x0002_0000;

/// One namespace.
#[derive(Debug, Default)]
struct Known {
    /// What is mounted there; `None` while that is not known, or no longer true.
    paths: Option<HostPaths>,
    /// When that was read.
    read: u64,
    /// When something was mounted there last, as far as is known.
    changed: u64,
    /// When it was met last, and at which process.
    met: u64,
    pid: u32,
    /// It is being read.
    asked: bool,
    /// How many events were met there without a table while it is being read.
    missed: u64,
    /// How often it was asked for since `since`.
    times: u32,
    since: u64,
}

impl Known {
    /// Has it read, unless it is being read, or was too often.
    fn ask(&mut self, namespace: u32) -> Option<Action> {
        if self.asked || self.times >= ASKED {
            return None;
        }
        self.asked = true;
        self.times += 1;
        Some(Action::LookForMounts { namespace, pid: self.pid })
    }
}

/// All that are known.
#[derive(Debug)]
pub(super) struct Mounts {
    /// The host's own namespace: what is found there has its path on the host already.
    host: u32,
    known: HashMap<u32, Known>,
    /// Namespaces that went because there were too many, since that was told last.
    evicted: u64,
    /// Events without a table because there was none to be had, since that was told last.
    unread: u64,
}

impl Mounts {
    pub(super) fn new(host: u32) -> Self {
        Self { host, known: HashMap::default(), evicted: 0, unread: 0 }
    }

    /// Whether paths of this namespace may be other ones on the host. Without the host's own nothing can be said.
    const fn is_elsewhere(&self, namespace: u32) -> bool {
        namespace != 0 && self.host != 0 && namespace != self.host
    }

    /// A process was met in a namespace; gives what is to be asked.
    fn meet(&mut self, namespace: u32, pid: u32, time: u64) -> Option<Action> {
        if !self.is_elsewhere(namespace) {
            return None;
        }
        if !self.known.contains_key(&namespace) && self.known.len() >= NAMESPACES {
            let oldest = self.known.iter().min_by_key(|(number, known)| (known.met, **number));
            let oldest = oldest.map(|(number, _)| *number)?;
            self.evicted += 1;
            self.unread += self.known.remove(&oldest).map_or(0, |known| known.missed);
        }
        let known = self.known.entry(namespace).or_default();
        // The number may be another namespace's by now.
        if known.met.saturating_add(AGE) < time {
            known.paths = None;
        }
        known.met = known.met.max(time);
        known.pid = pid;
        if known.since.saturating_add(AGE) < time {
            known.since = time;
            known.times = 0;
        }
        let fresh = known.paths.is_some() && known.read.saturating_add(AGE) >= time;
        if fresh { None } else { known.ask(namespace) }
    }

    /// Counts an event for which there is no table. While one is being read it counts only if that fails.
    fn miss(&mut self, namespace: u32) {
        match self.known.get_mut(&namespace) {
            Some(known) if known.paths.is_some() => {}
            Some(known) if known.asked => known.missed += 1,
            Some(_) => self.unread += 1,
            None => {}
        }
    }

    /// Something was mounted in a namespace, or it is a new one of an old number.
    fn changed(&mut self, namespace: u32, time: u64) {
        if let Some(known) = self.known.get_mut(&namespace) {
            known.changed = known.changed.max(time);
            known.paths = None;
        }
    }

    /// There is a new namespace: its number may be that of one that is gone. Where somebody was a moment ago is none
    /// of those, or whoever makes namespaces all day would leave the others without tables.
    fn doubt(&mut self, time: u64) {
        for known in self.known.values_mut().filter(|known| known.met.saturating_add(ALIVE) < time)
        {
            known.changed = known.changed.max(time);
            known.paths = None;
        }
    }

    fn path(&self, namespace: u32, path: &str, device: Option<u32>) -> Option<String> {
        self.known.get(&namespace)?.paths.as_ref()?.of_path(path, device)
    }
}

impl Pipeline {
    /// Notes in which namespaces an event found files, and what it changed there.
    pub(super) fn mounts_in(&mut self, event: &Event) {
        let mut met = [0; 2];
        match &event.kind {
            EventKind::Open(open) => met = [open.mount_namespace, 0],
            EventKind::Exec(exec) if event.instance != 0 => {
                met = [exec.mount_namespace, 0];
                // The first there: a number that was used before may stand for another namespace now.
                if exec.candidate && !self.comes_from(event.process, exec) {
                    self.mounts.changed(exec.mount_namespace, event.time);
                }
            }
            EventKind::Change(change) => {
                let target = change.target.as_ref().map_or(0, |place| place.mount_namespace);
                met = [change.file.mount_namespace, target];
            }
            EventKind::Privilege(privilege) => {
                let place = |place: Option<&Place>| place.map_or(0, |place| place.mount_namespace);
                met = [place(privilege.place.as_ref()), place(privilege.source.as_ref())];
                if privilege.result.is_ok() {
                    match privilege.operation {
                        Operation::Mount
                        | Operation::Umount
                        | Operation::MoveMount
                        | Operation::PivotRoot => {
                            for namespace in met {
                                self.mounts.changed(namespace, event.time);
                            }
                        }
                        Operation::Unshare
                        | Operation::Clone
                        | Operation::OpenTree
                        | Operation::MountSetattr
                        | Operation::Fsmount
                            if privilege.namespaces & NEW_NAMESPACE != 0 =>
                        {
                            self.mounts.doubt(event.time);
                        }
                        _ => {}
                    }
                }
            }
            _ => {}
        }
        if met[0] == met[1] {
            met[1] = 0;
        }
        for namespace in met {
            self.actions.extend(self.mounts.meet(namespace, event.process.pid, event.time));
            self.mounts.miss(namespace);
        }
    }

    /// Whether a process that executed something was in the same mount namespace before, or who started it was: as
    /// long as anybody is there, its number is no other's.
    fn comes_from(&self, process: ProcessKey, exec: &Exec) -> bool {
        let entry = self.processes.get(process).filter(|entry| entry.mount_namespace != 0);
        entry
            .or_else(|| self.processes.get(exec.parent))
            .is_some_and(|entry| entry.mount_namespace == exec.mount_namespace)
    }

    /// A process was found that is to be watched: before it does anything, what is mounted there may be known.
    pub(super) fn mounts_at(&mut self, process: &ProcessSnapshot) {
        let (namespace, pid) = (process.mount_namespace, process.pid);
        self.actions.extend(self.mounts.meet(namespace, pid, self.now));
    }

    /// What is mounted in a namespace was read at `time`.
    pub(super) fn mounts_read(&mut self, time: u64, namespace: u32, paths: Option<HostPaths>) {
        let Some(known) = self.mounts.known.get_mut(&namespace) else { return };
        known.asked = false;
        let missed = std::mem::take(&mut known.missed);
        let Some(paths) = paths else {
            known.paths = None;
            self.mounts.unread += missed;
            return;
        };
        // Changed since.
        if known.changed > time {
            let again = known.ask(namespace);
            if again.is_some() {
                known.missed = missed;
            } else {
                self.mounts.unread += missed;
            }
            self.actions.extend(again);
            return;
        }
        if paths.is_empty() {
            self.losses.add("pipeline", "mounts", "table_full", 1);
        }
        known.read = time;
        known.paths = Some(paths);
    }

    /// Tells what was lost: from time to time, not with every event.
    pub(super) fn mounts_lost(&mut self) {
        let (evicted, unread) = (&mut self.mounts.evicted, &mut self.mounts.unread);
        self.losses.add("pipeline", "mounts", "table_full", std::mem::take(evicted));
        self.losses.add("pipeline", "mounts", "unread", std::mem::take(unread));
    }

    /// The event with the paths of its files on the host, where they are other ones.
    pub(super) fn on_host<'a>(&self, event: &'a Event) -> Cow<'a, Event> {
        let place = |place: &Place| self.mounts.path(place.mount_namespace, &place.path, None);
        let mut shown = Cow::Borrowed(event);
        match &event.kind {
            EventKind::Open(open) => {
                let opened = open.result.is_ok() && !open.result_unknown;
                let device = opened.then_some(open.device);
                let path = self.mounts.path(open.mount_namespace, &open.path, device);
                if path.is_some()
                    && let EventKind::Open(open) = &mut shown.to_mut().kind
                {
                    open.host_path = path;
                }
            }
            EventKind::Change(change) => {
                let file = place(&change.file);
                let target = change.target.as_ref().and_then(place);
                if (file.is_some() || target.is_some())
                    && let EventKind::Change(change) = &mut shown.to_mut().kind
                {
                    change.file.host_path = file;
                    if let Some(place) = &mut change.target {
                        place.host_path = target;
                    }
                }
            }
            EventKind::Privilege(privilege) => {
                let path = privilege.place.as_ref().and_then(place);
                if path.is_some()
                    && let EventKind::Privilege(privilege) = &mut shown.to_mut().kind
                    && let Some(place) = &mut privilege.place
                {
                    place.host_path = path;
                }
            }
            _ => {}
        }
        shown
    }

    /// Where on the host an executed file is, when that is another path.
    pub(super) fn exec_on_host(&self, exec: &Exec) -> Option<String> {
        self.mounts.path(exec.mount_namespace, &exec.path, None)
    }
}
