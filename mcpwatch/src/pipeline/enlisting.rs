//! Processes the kernel did not found an instance for, but that are watched all the same: named by the
//! settings or a configuration, or running before the agent.

use std::sync::Arc;

use crate::config::ServerSettings;
use crate::discover::evidence::Standing;
use crate::discover::explicit::Subject;
use crate::discover::matching::config_of;
use crate::discover::survey::{Known, survey};
use crate::event::{Event, Exec, ProcessKey};
use crate::host::containers::Container;
use crate::host::processes::{Above, Entry, entity_id};
use crate::host::snapshot::ProcessSnapshot;
use crate::record::Process;

use super::instance::{Instance, OwnedProgram, Role, leads_to};
use super::{Action, Pipeline};

/// Nanoseconds of one clock tick of `/proc`.
pub(super) const TICK: u64 = 10_000_000;
/// Most processes that wait for the name of their cgroup.
pub(super) const UNPLACED: usize = 1_024;

/// A process outside every instance, until its cgroup and container are known.
#[derive(Debug)]
pub(super) struct Unplaced {
    process: ProcessKey,
    start_time: u64,
    program: OwnedProgram,
    client: Option<String>,
    channel: (u64, u64),
}

impl Pipeline {
    /// A process outside every instance: the settings or a configuration may name it all the same.
    pub(super) fn consider_unwatched(&mut self, event: &Event, exec: &Exec) {
        if self.clients.name_of(&exec.path, &exec.argv).is_some() {
            self.look_around(event.process.pid, 0);
        }
        let unplaced = Unplaced {
            process: event.process,
            start_time: event.start_time,
            program: OwnedProgram::of(exec, false),
            client: self.client_of(exec.parent),
            channel: (exec.stdin_inode.unwrap_or(0), exec.stdout_inode.unwrap_or(0)),
        };
        if let Some(unplaced) = self.place(unplaced, "")
            && self.explicit.asks_for_place()
        {
            let pid = unplaced.process.pid;
            if self.unplaced.len() < UNPLACED || self.unplaced.contains_key(&pid) {
                self.look_around(pid, 0);
                self.unplaced.insert(pid, unplaced);
            } else {
                self.losses.add("pipeline", "unplaced", "table_full", 1);
            }
        }
    }

    /// Makes a server of a process that the settings or a configuration name; gives it back otherwise.
    fn place(&mut self, unplaced: Unplaced, cgroup: &str) -> Option<Unplaced> {
        let Unplaced { process, start_time, program, client, channel } = &unplaced;
        let subject = Subject {
            exe: &program.exe,
            argv: &program.argv,
            pid: process.pid,
            cgroup,
            container: self.containers.get(cgroup),
        };
        let entry = self.explicit.server(subject);
        let explicit = entry.is_some();
        let of_place = entry.is_some_and(ServerSettings::is_of_place);
        // A shell that happens to run a configured command line by hand has a terminal, not a channel.
        let configured = *channel != (0, 0)
            && config_of(&[program.borrow()], self.configured.servers(), client.as_deref())
                .is_some();
        if !explicit && !configured {
            return Some(unplaced);
        }
        let (process, start_time) = (*process, *start_time);
        let id = mcpwatch_common::control::instance_id(process.pid, start_time);
        // It may have begun to listen since it was asked about: what it did is held.
        let founded = match self.instances.get(&id).map(|instance| &instance.role) {
            None => false,
            Some(Role::Candidate(_)) => true,
            Some(Role::Server(_) | Role::Helper) => return None,
        };
        if of_place
            && channel.0 == 0
            && let Some(server) = self.server_in(cgroup)
        {
            if founded {
                self.join_server(id, server);
            } else {
                self.watch(process, start_time, server);
            }
            self.actions.push(Action::LookAgain);
            return None;
        }
        if founded {
            self.set_channel(id, *channel);
        } else {
            self.enlist(id, process, self.now, *channel, false);
        }
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.add_program(process, unplaced.program);
            cgroup.clone_into(&mut instance.cgroup);
            instance.looked = true;
        }
        self.watch(process, start_time, id);
        self.actions.push(Action::LookAgain);
        self.judge(id);
        None
    }

    /// The server that everything in a cgroup belongs to, when the settings name it by that place.
    fn server_in(&self, cgroup: &str) -> Option<u64> {
        let named = self.instances.values().find(|instance| {
            self.cgroup_of(instance) == cgroup
                && matches!(instance.role, Role::Server(_))
                && self.explicit_of(instance).is_some_and(ServerSettings::is_of_place)
        });
        named.map(|instance| instance.id)
    }

    /// Makes an instance here and in the kernel.
    fn enlist(
        &mut self,
        id: u64,
        founder: ProcessKey,
        born: u64,
        channel: (u64, u64),
        private: bool,
    ) {
        let mut instance = Instance::candidate(id, founder, born, channel, &self.held);
        instance.private = private;
        instance.since = self.now;
        self.instances.insert(id, instance);
        self.set_channel(id, channel);
    }

    /// Sets the channel of an instance here and in the kernel.
    fn set_channel(&mut self, id: u64, channel: (u64, u64)) {
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.channel = channel;
        }
        self.actions.push(Action::SetInstance {
            id,
            stdin_inode: channel.0,
            stdout_inode: channel.1,
        });
    }

    /// A candidate belongs to a server of its place: what it did is that server's doing.
    fn join_server(&mut self, candidate: u64, server: u64) {
        let Some(instance) = self.instances.get_mut(&candidate) else { return };
        instance.outer = server;
        let before = std::mem::replace(&mut instance.role, Role::Helper);
        self.take_in(server);
        if let Role::Candidate(held) = before {
            self.let_go(candidate, held);
        }
        self.started_by_server(server);
    }

    fn watch(&mut self, process: ProcessKey, start_time: u64, instance: u64) {
        if let Some(entry) = self.processes.get_mut(process) {
            entry.instance = instance;
        }
        if let Some(one) = self.instances.get_mut(&instance) {
            one.members.insert(process);
        }
        self.actions.push(Action::Watch { pid: process.pid, start_time, instance });
    }

    /// Processes that were running when the agent looked: at start, and again after it has added some.
    pub(super) fn survey(&mut self, snapshots: &[ProcessSnapshot]) {
        for snapshot in snapshots {
            self.meet(&snapshot.cgroup);
        }
        for snapshot in snapshots {
            if self.processes.get(snapshot.key()).is_none() {
                self.processes.insert(snapshot.key(), self.entry_of(snapshot, snapshots));
            }
        }
        let known = Known {
            configs: self.configured.servers(),
            explicit: &self.explicit,
            clients: &self.clients,
            containers: &self.containers,
        };
        let found = survey(snapshots, known);
        for found in found {
            let Some(root) = snapshots.get(found.root) else { continue };
            let start_time = root.start.saturating_mul(TICK);
            // A server whose founder has gone goes by the founder's number still.
            let id = self
                .instance_of(root.key())
                .unwrap_or_else(|| mcpwatch_common::control::instance_id(root.pid, start_time));
            let fresh = !self.instances.contains_key(&id);
            if fresh && found.verdict.standing != Standing::Server && !self.sniffs() {
                continue;
            }
            if fresh
                && root.stdin.is_none()
                && let Some(id) = self.server_in(&root.cgroup)
            {
                for member in found.members.iter().filter_map(|&member| snapshots.get(member)) {
                    self.watch(member.key(), member.start.saturating_mul(TICK), id);
                    self.mounts_at(member);
                }
                self.actions.push(Action::LookAgain);
                continue;
            }
            if fresh {
                let inode = |stdio: Option<crate::host::snapshot::Stdio>| {
                    stdio.map_or(0, crate::host::snapshot::Stdio::inode)
                };
                let channel = (inode(root.stdin), inode(root.stdout));
                self.enlist(id, root.key(), start_time, channel, root.private_channel());
                let parent = self.processes.get(root.key()).and_then(|entry| entry.parent);
                let outer = parent.and_then(|parent| self.instance_of(parent));
                let outer = outer.map_or(0, |outer| self.near_enough(outer));
                if let Some(instance) = self.instances.get_mut(&id) {
                    instance.outer = outer;
                    instance.conversation.joined_mid_stream();
                    if let Role::Candidate(held) = &mut instance.role {
                        held.joined_mid_stream();
                    }
                    root.cgroup.clone_into(&mut instance.cgroup);
                }
            }
            let mut added = false;
            for member in found.members.iter().filter_map(|&member| snapshots.get(member)) {
                let start_time = member.start.saturating_mul(TICK);
                let Some(instance) = self.instances.get_mut(&id) else { break };
                if fresh && member.stdin == root.stdin && root.stdin.is_some()
                    || member.key() == instance.founder
                {
                    let program = OwnedProgram {
                        exe: member.exe.clone(),
                        argv: member.argv.clone(),
                        cwd: member.cwd.clone(),
                        beyond_launch: instance.programs.last().is_some_and(|last| {
                            let (exe, argv) = (&last.exe, &last.argv);
                            let installed = instance.installed(exe, argv, <[String]>::to_vec);
                            last.beyond_launch || !leads_to(exe, argv, &member.argv, installed)
                        }),
                        ..OwnedProgram::default()
                    };
                    instance.add_program(member.key(), program);
                }
                let outside = self.instance_of(member.key()).is_none();
                if outside || fresh {
                    // The kernel would have given it what its parent has.
                    let parent = self.processes.get(member.key()).and_then(|entry| entry.parent);
                    let inherited = parent.and_then(|parent| self.instance_of(parent));
                    let id = if fresh { id } else { inherited.unwrap_or(id) };
                    self.watch(member.key(), start_time, id);
                    self.mounts_at(member);
                    added = true;
                }
            }
            if added {
                self.actions.push(Action::LookAgain);
            }
            if fresh {
                let outer = self.instances.get(&id).map_or(0, |instance| instance.outer);
                self.look_around(root.pid, outer);
                self.judge(id);
            }
        }
    }

    /// The instance that a process is known to belong to.
    fn instance_of(&self, process: ProcessKey) -> Option<u64> {
        let instance = self.processes.get(process)?.instance;
        self.instances.contains_key(&instance).then_some(instance)
    }

    fn entry_of(&self, snapshot: &ProcessSnapshot, all: &[ProcessSnapshot]) -> Entry {
        let (argv, argv_masked, cut) = self.remembered(&snapshot.argv);
        Entry {
            above: Above::default(),
            parent: all.iter().find(|other| other.pid == snapshot.ppid).map(ProcessSnapshot::key),
            shown: Arc::new(Process {
                entity_id: entity_id(snapshot.key()),
                pid: snapshot.pid,
                ppid: snapshot.ppid,
                start_time: self.clock.time(snapshot.start.saturating_mul(TICK)),
                exe: snapshot.exe.clone(),
                argv,
                argv_masked,
                argv_cut: snapshot.argv_is_cut() || cut,
                cwd: (!snapshot.cwd.is_empty()).then(|| snapshot.cwd.clone()),
                uid: snapshot.uid,
                container: self.containers.shown(&snapshot.cgroup).cloned(),
            }),
            cgroup: Arc::from(snapshot.cgroup.as_str()),
            mount_namespace: snapshot.mount_namespace,
            instance: 0,
            lineage: Arc::from([]),
            beyond_launch: None,
            ended: false,
            end_told: false,
        }
    }

    /// Has the configurations around a process read; `outer` is the instance that started it, if any did.
    pub(super) fn look_around(&mut self, pid: u32, outer: u64) {
        let of_server = self.owner(outer).is_some();
        self.actions.push(Action::LookForConfigs { pid, of_server });
    }

    /// The configurations around a process have been read; what is in them has come in before this.
    pub(super) fn looked(&mut self, pid: u32, cgroup: &str, container: Option<Container>) {
        if let Some(container) = container {
            self.container_read(cgroup, container);
        }
        if let Some(unplaced) = self.unplaced.remove(&pid) {
            self.contain(unplaced.process, cgroup);
            let instance = self.processes.get(unplaced.process).map_or(0, |entry| entry.instance);
            // A look at the processes may have been faster.
            if !self.instances.contains_key(&instance) {
                self.place(unplaced, cgroup);
            }
            return;
        }
        let founded: Vec<(u64, ProcessKey)> = self
            .instances
            .values()
            .filter(|instance| instance.founder.pid == pid)
            .map(|instance| (instance.id, instance.founder))
            .collect();
        for (id, founder) in founded {
            self.contain(founder, cgroup);
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.looked = true;
                // Nobody has looked when it is empty, or the process was gone: what was known before still holds.
                if !cgroup.is_empty() {
                    cgroup.clone_into(&mut instance.cgroup);
                }
            }
            self.judge(id);
        }
    }
}
