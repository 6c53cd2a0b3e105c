//! Fork, exec and exit: the process tree, and the birth and end of instances.

use std::borrow::Cow;
use std::sync::Arc;

use crate::attribute::Suspect;
use crate::event::{Event, EventKind, Exec, Exit, Fork, Operation, Privilege, ProcessKey};
use crate::host::processes::{Above, Entry, cut_argv, entity_id};
use crate::record::{Ancestor, ExecDetail, ExitDetail, Process, RecordType};
use crate::session::Said;

use super::candidates::NESTING;
use super::instance::{OwnedProgram, Role, leads_to};
use super::{Action, Pipeline};

/// Most words, and bytes of them all, that are kept of the arguments of a process: each of its records has them.
const ARGV: (usize, usize) = (256, 8 * 1024);

impl Pipeline {
    pub(super) fn forked(&mut self, event: &Event, fork: Fork) {
        let parent = self.processes.get(event.process);
        // A process that is forked in a call belongs to it; one whose parent was is the parent's heir.
        let inherited = parent.as_ref().map(|entry| Arc::clone(&entry.lineage));
        let beyond_launch = parent.and_then(|entry| entry.beyond_launch);
        let lineage = match inherited {
            Some(lineage) if !lineage.is_empty() => lineage,
            _ => match self.owner(event.instance).and_then(|id| self.serving(id)) {
                Some(serving) => Arc::from(serving.in_flight.as_slice()),
                None => Arc::from([]),
            },
        };
        if let Some(known) = self.processes.get_mut(fork.child) {
            // A look at the processes was faster, or this was held and the child has gone on meanwhile.
            if known.ended || ![0, event.instance].contains(&known.instance) {
                return;
            }
            known.instance = event.instance;
            known.lineage = lineage;
        } else {
            self.remember_fork(event, fork, lineage);
        }
        if let Some(known) = self.processes.get_mut(fork.child) {
            known.beyond_launch = beyond_launch;
        }
        if let Some(instance) = self.instances.get_mut(&event.instance) {
            instance.members.insert(fork.child);
        }
    }

    /// Puts a new process into the process tree, unless it is there.
    pub(super) fn remember_fork(&mut self, event: &Event, fork: Fork, lineage: Arc<[Suspect]>) {
        if self.processes.get(fork.child).is_some() {
            return;
        }
        let parent = self.processes.get(event.process);
        let cgroup = parent.map_or_else(|| Arc::from(""), |entry| Arc::clone(&entry.cgroup));
        let mount_namespace = parent.map_or(0, |entry| entry.mount_namespace);
        let shown = Process {
            entity_id: entity_id(fork.child),
            pid: fork.child.pid,
            ppid: event.process.pid,
            start_time: self.clock.time(fork.child_start_time),
            ..parent.map_or_else(|| unknown(fork.child), |parent| (*parent.shown).clone())
        };
        self.processes.insert(
            fork.child,
            Entry {
                parent: Some(event.process),
                above: Above::default(),
                shown: Arc::new(shown),
                cgroup,
                mount_namespace,
                instance: event.instance,
                lineage,
                beyond_launch: None,
                ended: false,
                end_told: false,
            },
        );
    }

    pub(super) fn executed(&mut self, event: &Event, exec: &Exec) {
        let before = self.processes.get(event.process).cloned();
        let lineage =
            before.as_ref().map_or_else(|| Arc::from([]), |entry| Arc::clone(&entry.lineage));
        // Held and let go of, it may be told after the end.
        let ended = before.as_ref().is_some_and(|entry| entry.ended);
        let shown = self.remember_exec(event, exec, lineage, ended);
        if exec.watch_full {
            self.losses.add("kernel", "watch", "table_full", 1);
        }
        if event.instance == 0 {
            self.consider_unwatched(event, exec);
            return;
        }
        let Some(owner) = self.owner(event.instance) else { return };
        let beyond_launch = self.is_beyond_launch(event, exec, owner, &shown);
        if let Some(instance) = self.instances.get_mut(&event.instance) {
            instance.members.insert(event.process);
            let on_channel =
                instance.channel.0 != 0 && exec.stdin_inode == Some(instance.channel.0);
            let known = exec.candidate || event.time <= instance.noted;
            if on_channel && instance.conversation.first_request().is_none() && !known {
                instance.add_program(event.process, OwnedProgram::of(exec, beyond_launch));
                self.given_changed(event.instance);
            }
        }
        let acting = self.processes.shown_at(event.process, event.time).map_or(&shown, |it| it);
        let acting = Arc::clone(acting);
        self.exec_effect(event, exec, owner, &acting, &shown);
        if let Some(entry) = self.processes.get_mut(event.process) {
            entry.beyond_launch = Some(beyond_launch);
        }
    }

    /// Whether what is executed is no part of the server's launch: a server executed it by itself. The client
    /// executes the first program, and each launcher the next. To be asked in the order of events.
    fn is_beyond_launch(&self, event: &Event, exec: &Exec, owner: u64, shown: &Process) -> bool {
        let instance = self.instances.get(&event.instance);
        if owner == event.instance && instance.is_some_and(|one| one.was_founded_by(event)) {
            return false;
        }
        if self.acts_beyond_launch(event.process, exec.parent) {
            return true;
        }
        let acting = self.processes.shown_at(event.process, event.time);
        acting.is_some_and(|acting| {
            let known = !acting.exe.is_empty();
            let installed = self.is_installed(owner, acting);
            known && !leads_to(&acting.exe, &acting.argv, &shown.argv, installed)
        })
    }

    /// Whether a process runs what a package launcher of its server's launch has installed.
    pub(super) fn is_installed(&self, instance: u64, process: &Process) -> bool {
        self.instances.get(&instance).is_some_and(|instance| {
            instance.installed(&process.exe, &process.argv, |argv| self.remembered(argv).0)
        })
    }

    /// Whether a process runs what a server executed by itself; of one that has not executed anything since it was
    /// forked, its parent tells.
    pub(super) fn acts_beyond_launch(&self, process: ProcessKey, parent: ProcessKey) -> bool {
        [process, parent]
            .into_iter()
            .find_map(|process| self.processes.get(process)?.beyond_launch)
            .unwrap_or(false)
    }

    /// Puts what an exec made of a process into the process tree; gives what records show of it.
    pub(super) fn remember_exec(
        &mut self,
        event: &Event,
        exec: &Exec,
        lineage: Arc<[Suspect]>,
        ended: bool,
    ) -> Arc<Process> {
        let cgroup = self.cgroup_at_exec(event.process, exec.cgroup);
        let (argv, argv_masked, cut) = self.remembered(&exec.argv);
        let shown = Arc::new(Process {
            entity_id: entity_id(event.process),
            pid: event.process.pid,
            ppid: exec.parent.pid,
            start_time: self.clock.time(event.start_time),
            exe: exec.path.clone(),
            argv,
            argv_masked,
            argv_cut: event.truncated || cut,
            cwd: Some(exec.cwd.clone()),
            uid: exec.uid,
            container: self.containers.shown(&cgroup).cloned(),
        });
        // One that has outlived who started it is another's child by now.
        let before = self.processes.get(event.process);
        let started_by = before.and_then(|entry| entry.parent);
        let beyond_launch = before.and_then(|entry| entry.beyond_launch);
        let end_told = before.is_some_and(|entry| entry.end_told);
        if event.instance != 0 {
            let held = self.instances.get(&event.instance);
            let held = held.is_some_and(|one| matches!(one.role, Role::Candidate(_)));
            self.processes.replaced_at(event.process, event.time, held);
        }
        self.processes.insert(
            event.process,
            Entry {
                parent: Some(started_by.unwrap_or(exec.parent)),
                above: if event.instance == 0 { Above::default() } else { above(exec) },
                shown: Arc::clone(&shown),
                cgroup,
                mount_namespace: exec.mount_namespace,
                instance: event.instance,
                lineage,
                beyond_launch,
                ended,
                end_told,
            },
        );
        shown
    }

    /// A process that was root's has taken another user's id. Only that way: ids are those of the caller's user
    /// namespace, in which a process may become root that is not the host's; and not being root's any more is
    /// what matters to who looks at what it does next.
    pub(super) fn left_root(&mut self, process: ProcessKey, privilege: &Privilege) {
        let user = match privilege.operation {
            // Of root it sets all three.
            Operation::Setuid => privilege.ids.effective,
            Operation::Setreuid | Operation::Setresuid => privilege.ids.real,
            _ => None,
        };
        if let Some(user) = user.filter(|user| *user != 0 && privilege.result.is_ok())
            && let Some(entry) = self.processes.get_mut(process)
            && entry.shown.uid == 0
        {
            Arc::make_mut(&mut entry.shown).uid = user;
        }
    }

    /// The detail of an exec as records show it, and whether there are more ancestors than it names.
    pub(super) fn exec_detail(&self, process: ProcessKey, exec: &Exec) -> (ExecDetail, bool) {
        let (ancestors, more) = self.processes.lineage(process, &above(exec));
        let (argv, argv_masked) = self.masked(&exec.argv);
        let detail = ExecDetail {
            path: exec.path.clone(),
            host_path: self.exec_on_host(exec),
            argv,
            argv_masked,
            cwd: exec.cwd.clone(),
            parent_exe: self.processes.get(exec.parent).map(|parent| parent.shown.exe.clone()),
            ancestors: ancestors
                .into_iter()
                .map(|(key, ended)| self.ancestor(key, ended))
                .collect(),
            kind: exec
                .unlinked
                .then(|| if exec.path.starts_with("/memfd:") { "memfd" } else { "deleted" }),
            set_user_id: exec.set_user_id,
            set_group_id: exec.set_group_id,
            file_capabilities: exec.file_capabilities,
            socket_stdio: match (exec.stdin_family.is_some(), exec.stdout_family.is_some()) {
                (true, true) => Some("both"),
                (true, false) => Some("stdin"),
                (false, true) => Some("stdout"),
                (false, false) => None,
            },
        };
        (detail, more)
    }

    fn ancestor(&self, key: ProcessKey, ended: bool) -> Ancestor {
        Ancestor {
            ended,
            pid: key.pid,
            entity_id: entity_id(key),
            exe: self
                .processes
                .get(key)
                .map(|entry| entry.shown.exe.clone())
                .filter(|exe| !exe.is_empty()),
        }
    }

    pub(super) fn exited(&mut self, event: &Event, exit: Exit) {
        let detail = ExitDetail { code: exit.code, signal: exit.signal };
        let owner = self.owner(event.instance);
        let server =
            owner.and_then(|id| self.serving(id)).map(|serving| Arc::clone(&serving.shown));
        if let Some(server) = server
            && self.processes.tell_end(event.process)
        {
            let mut record = self.record(RecordType::ProcessExit, event.time);
            record.server = Some(server);
            record.process = Some(self.shown_process(event));
            record.exit = Some(detail);
            self.records.push(record);
        }
        self.processes.end(event.process);
        // The kernel has forgotten the process already; its own word on the instance may be older than a
        // change made here.
        let instances: Vec<u64> = self
            .instances
            .values()
            .filter(|instance| instance.members.contains(&event.process))
            .map(|instance| instance.id)
            .collect();
        for id in instances {
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.members.remove(&event.process);
                if instance.founder == event.process {
                    instance.exit = Some(detail);
                }
            }
            self.close_if_empty(id, event.time);
        }
    }

    /// A process is gone whose end nobody told.
    pub(super) fn gone(&mut self, process: ProcessKey) {
        let instance = self.processes.get(process).map_or(0, |entry| entry.instance);
        let exit = Exit { code: None, signal: None };
        let event = Event {
            time: self.now,
            process,
            start_time: process.start.saturating_mul(super::enlisting::TICK),
            tid: process.pid,
            instance,
            truncated: false,
            kind: EventKind::Exit(exit),
        };
        self.exited(&event, exit);
    }

    /// Ends an instance without living processes, and then perhaps the one around it.
    pub(super) fn close_if_empty(&mut self, id: u64, time: u64) {
        let Some(instance) = self.instances.get(&id) else { return };
        let inner = self.instances.values().any(|one| one.outer == id);
        if !instance.members.is_empty() || inner {
            return;
        }
        let outer = instance.outer;
        if matches!(instance.role, Role::Candidate(_)) {
            // All it did is known now: a last look at the evidence.
            self.judge(id);
        }
        self.close(id, time);
        self.close_if_empty(outer, time);
    }

    fn close(&mut self, id: u64, time: u64) {
        let mut said: Vec<Said> = Vec::new();
        if let Some(instance) = self.instances.get_mut(&id)
            && matches!(instance.role, Role::Server(_))
        {
            instance.conversation.end(time, &mut said);
        }
        self.spoken(id, time, said);
        self.give_up_questions(id, u64::MAX);
        let elder = self.elder(id);
        let Some(mut instance) = self.instances.remove(&id) else { return };
        self.forget(id);
        self.actions.push(Action::Forget { instance: id, pids: vec![instance.founder.pid] });
        if let (Some(elder), Role::Candidate(held)) = (elder, &mut instance.role) {
            self.hand_over(elder, held.take_effects());
        }
        if let Role::Server(serving) = instance.role {
            self.detector.forget(&serving.shown.id);
            for due in self.dedupe.close_server(&serving.shown.id) {
                self.publish_alert(due);
            }
            let mut record = self.record(RecordType::ServerExited, time);
            record.process =
                self.processes.get(instance.founder).map(|entry| Arc::clone(&entry.shown));
            record.server = Some(serving.shown);
            record.exit = instance.exit;
            self.records.push(record);
        }
    }

    /// The process of an event as records show it. Of one whose fork was lost no more is known than the
    /// event says; what it does is told all the same.
    pub(super) fn shown_process(&self, event: &Event) -> Arc<Process> {
        self.processes.shown_at(event.process, event.time).map_or_else(
            || {
                let start_time = self.clock.time(event.start_time);
                Arc::new(Process { start_time, ..unknown(event.process) })
            },
            Arc::clone,
        )
    }

    /// Argument vector with secrets masked, and whether there were any.
    pub(super) fn masked(&self, argv: &[String]) -> (Vec<String>, bool) {
        let (masked, any) = self.redactor.argv(argv);
        (masked.into_iter().map(Cow::into_owned).collect(), any)
    }

    /// The same, as far as it is kept for as long as the process is known: whoever executes programs says how long their
    /// arguments are. The last is whether there was more.
    pub(super) fn remembered(&self, argv: &[String]) -> (Vec<String>, bool, bool) {
        let (mut masked, any) = self.masked(argv);
        let cut = cut_argv(&mut masked, ARGV);
        (masked, any, cut)
    }

    /// The server an instance's effects belong to: itself, or the nearest one around it.
    pub(super) fn owner(&self, instance: u64) -> Option<u64> {
        let mut id = instance;
        for _ in 0..NESTING {
            let one = self.instances.get(&id)?;
            if matches!(one.role, Role::Server(_)) {
                return Some(id);
            }
            id = one.outer;
        }
        None
    }

    pub(super) fn serving(&self, id: u64) -> Option<&super::instance::Serving> {
        self.instances.get(&id)?.serving()
    }
}

/// What the kernel said of the ancestors of what executed.
fn above(exec: &Exec) -> Above {
    Above { keys: Arc::from(exec.ancestors.as_slice()), more: exec.more_ancestors }
}

fn unknown(key: ProcessKey) -> Process {
    Process {
        entity_id: entity_id(key),
        pid: key.pid,
        ppid: 0,
        start_time: crate::record::Time(0),
        exe: String::new(),
        argv: Vec::new(),
        argv_masked: false,
        argv_cut: false,
        cwd: None,
        uid: 0,
        container: None,
    }
}
