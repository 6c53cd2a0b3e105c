//! Which container a process runs in: told by its cgroup at each exec, inherited at fork. What the host
//! shows of a container beyond runtime and id comes a moment later.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::event::ProcessKey;
use crate::host::containers::{Container, layouts};
use crate::record::{self, Process};

use super::input::Cgroup;
use super::instance::{Instance, Serving};
use super::{Action, Pipeline};

/// How groups end that systemd makes for what is no container, unless a layout says otherwise.
const NO_CONTAINER: &[&str] = &[".service", ".slice", ".scope"];

impl Pipeline {
    /// Cgroups that processes were found in at their exec, which comes next, and how many execs lack theirs.
    pub(super) fn cgroups_read(&mut self, groups: &[Cgroup], unread: u64) {
        self.cgroups_unread += unread;
        for group in groups {
            if group.id == 0 {
                self.cgroups.expect(group.pid, &group.path);
            } else {
                self.cgroups.insert(group.id, &group.path);
            }
            self.meet(&group.path);
        }
    }

    /// A cgroup was seen: when it is that of a container, runtime and id are known, and the rest is asked for.
    pub(super) fn meet(&mut self, cgroup: &str) {
        if self.containers.meet(cgroup) {
            return;
        }
        let is_new = self.cgroups.meet(cgroup);
        let container = layouts::of_cgroup(cgroup);
        // One that its cgroup names has given way to others since.
        if !is_new && container.is_none() {
            return;
        }
        let plain = cgroup.trim_matches('/').is_empty()
            || NO_CONTAINER.iter().any(|ending| cgroup.ends_with(ending));
        if container.is_some() || !plain {
            self.actions.push(Action::LookForContainer { cgroup: cgroup.to_owned() });
        }
        if let Some(container) = container {
            self.containers.insert(cgroup, container);
        }
    }

    /// What instances run in gives way to no other container, though nothing may be executed there for long: what the
    /// settings say of it holds for them, and is asked about again.
    pub(super) fn keep_containers(&mut self) {
        let cgroups = self.instances.values().map(|instance| self.cgroup_of(instance).to_owned());
        let in_use: BTreeSet<String> = cgroups.filter(|cgroup| !cgroup.is_empty()).collect();
        for cgroup in in_use {
            self.meet(&cgroup);
        }
    }

    /// The cgroup that a process executes a program in. One of which none is known stays where it was.
    pub(super) fn cgroup_at_exec(&mut self, process: ProcessKey, cgroup: u64) -> Arc<str> {
        let cgroup = self.cgroups.at_exec(process.pid, cgroup).unwrap_or_else(|| {
            let before = self.processes.get(process).map(|entry| Arc::clone(&entry.cgroup));
            before.unwrap_or_else(|| Arc::from(""))
        });
        // Its container may have given way to others since it was told of.
        if !cgroup.is_empty() {
            self.meet(&cgroup);
        }
        cgroup
    }

    /// Tells what was lost: from time to time, not with every exec.
    pub(super) fn cgroups_lost(&mut self) {
        let unread = std::mem::take(&mut self.cgroups_unread);
        self.losses.add("pipeline", "cgroups", "unread", unread);
    }

    /// What the host shows of a container. Processes in it are shown with that from now on.
    pub(super) fn container_read(&mut self, cgroup: &str, container: Container) {
        let named = self.explicit.knows(&container);
        if !self.containers.insert(cgroup, container) {
            return;
        }
        let Some(shown) = self.containers.shown(cgroup).cloned() else { return };
        for entry in self.processes.iter_mut() {
            if &*entry.cgroup == cgroup {
                Arc::make_mut(&mut entry.shown).container = Some(Arc::clone(&shown));
            }
        }
        let here: Vec<u64> = self
            .instances
            .values()
            .filter(|instance| self.cgroup_of(instance) == cgroup)
            .map(|instance| instance.id)
            .collect();
        for id in here {
            self.judge(id);
        }
        if named {
            // What runs in it already was not asked about one by one.
            self.actions.push(Action::LookAgain);
        }
    }

    /// The cgroup of an instance's founder.
    pub(super) fn cgroup_of<'a>(&'a self, instance: &'a Instance) -> &'a str {
        let of_founder = self.processes.get(instance.founder).map(|entry| &*entry.cgroup);
        of_founder.filter(|cgroup| !cgroup.is_empty()).unwrap_or(&instance.cgroup)
    }

    /// The container that an instance's founder runs in.
    pub(super) fn container_of(&self, instance: &Instance) -> Option<&Arc<record::Container>> {
        self.containers.shown(self.cgroup_of(instance))
    }

    /// The container in which what a process of a server does counts: the server's own, or that of its voice. One that the
    /// process alone is in may be of its own making.
    pub(super) fn within(
        &self,
        instance: &Instance,
        serving: &Serving,
        process: &Process,
    ) -> Option<Arc<record::Container>> {
        // By its id: the rest of it becomes known at different times.
        let of_voice = |id: &str| {
            let voice = self.instances.get(&instance.voice?)?;
            self.container_of(voice).filter(|one| one.id == id).cloned()
        };
        let own = process.container.as_ref();
        own.and_then(|own| of_voice(&own.id)).or_else(|| serving.within.clone())
    }

    /// A process was found in a cgroup.
    pub(super) fn contain(&mut self, process: ProcessKey, cgroup: &str) {
        if !cgroup.is_empty() {
            self.meet(cgroup);
        }
        let shown = self.containers.shown(cgroup).cloned();
        let Some(entry) = self.processes.get_mut(process).filter(|_| !cgroup.is_empty()) else {
            return;
        };
        entry.cgroup = Arc::from(cgroup);
        if entry.shown.container != shown {
            Arc::make_mut(&mut entry.shown).container = shown;
        }
    }
}
