//! From candidate to server: evidence comes in from exec, configurations, the channel and the settings;
//! what a candidate did is held until it is settled what it is.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::config::{Allow, Sniff};
use crate::discover::evidence::{Facts, Standing, Verdict, weigh};
use crate::discover::explicit::Subject;
use crate::discover::matching::{Program, config_of};
use crate::discover::survey::{Known, survey};
use crate::event::{Event, EventKind, Exec, NetOperation, ProcessKey};
use crate::host::processes::{Entry, entity_id};
use crate::host::snapshot::ProcessSnapshot;
use crate::record::{EvidenceKind, Process, RecordType, Server};
use crate::session::Conversation;
use crate::wire;

use super::instance::{Flood, Held, Instance, OwnedProgram, Role, Serving};
use super::{Action, Pipeline, given};

/// Nanoseconds of one clock tick of `/proc`.
pub(super) const TICK: u64 = 10_000_000;
/// Deepest nesting of instances that is followed: a bound against a ring made by reused ids.
pub(super) const NESTING: usize = 16;
/// How long a server waits for the configurations around it to be read, in nanoseconds: its name stands in
/// them. Reading takes some milliseconds, unless a file system hangs.
const LOOKING: u64 = 500_000_000;

/// What a candidate's conversation may hold: it only has to be recognised. Anybody can start thousands.
const SNIFFING: wire::Limits = wire::Limits {
    message_bytes: 64 << 10,
    clip_bytes: 8 << 10,
    argument_bytes: 8 << 10,
    in_flight: 64,
    in_flight_bytes: 64 << 10,
    tools: 0,
    catalogue_bytes: 0,
    ..wire::Limits::DEFAULT
};
/// Most instances that are remembered after they were let go of.
const FORGOTTEN: usize = 1_024;
/// Most processes that wait for the name of their cgroup.
const UNPLACED: usize = 1_024;

/// A process outside every instance, until its cgroup is known.
#[derive(Debug)]
pub(super) struct Unplaced {
    process: ProcessKey,
    start_time: u64,
    program: OwnedProgram,
    client: Option<String>,
    channel: (u64, u64),
}

impl Pipeline {
    /// Takes an event of a candidate; true when it is held, so that nothing more is to be done with it now.
    pub(super) fn hold(&mut self, event: &Event) -> bool {
        if event.instance == 0 {
            return false;
        }
        if !self.instances.contains_key(&event.instance) {
            self.found(event);
            self.miss(event);
        }
        let owned = self.owner(event.instance).is_some_and(|owner| owner != event.instance);
        let Some(instance) = self.instances.get_mut(&event.instance) else { return false };
        let held = match &mut instance.role {
            Role::Candidate(held) => held,
            Role::Helper if !owned => return self.hold_for_elder(event),
            _ => return false,
        };
        let id = event.instance;
        match &event.kind {
            EventKind::Payload(payload) => {
                let mut said = Vec::new();
                instance.conversation.bytes(event.time, payload, &mut said);
                let possible = held.may_be_json(payload);
                held.push(event.clone());
                if instance.conversation.spoke_mcp() {
                    self.judge(id);
                } else if !possible {
                    self.settle_on_nothing(id);
                }
                true
            }
            EventKind::Injection { .. } => {
                instance.tampered = true;
                held.push(event.clone());
                true
            }
            // A process of a server with a channel of its own: what it does is the server's doing, at once.
            EventKind::Exec(exec) if owned => {
                if exec.candidate {
                    instance.add_program(OwnedProgram::of(exec));
                }
                false
            }
            _ if owned => false,
            EventKind::Exec(exec) => {
                instance.members.insert(event.process);
                let on_channel = exec.candidate
                    || (instance.channel.0 != 0 && exec.stdin_inode == Some(instance.channel.0));
                held.push(event.clone());
                if on_channel {
                    instance.add_program(OwnedProgram::of(exec));
                }
                self.remember(event, exec);
                self.judge(id);
                true
            }
            EventKind::Fork(fork) => {
                instance.members.insert(fork.child);
                held.push(event.clone());
                true
            }
            EventKind::Exit(_) => {
                held.push(event.clone());
                // The end of the process is also the end of waiting, if it was the last.
                false
            }
            EventKind::Open(_) | EventKind::Net(_) => {
                held.push(event.clone());
                true
            }
        }
    }

    /// Takes an event of the helper of a candidate: it is the candidate's doing, and held with that.
    fn hold_for_elder(&mut self, event: &Event) -> bool {
        let Some(elder) = self.elder(event.instance) else { return false };
        if matches!(event.kind, EventKind::Payload(_)) {
            // On its way when the channel was given up.
            return true;
        }
        if let Some(instance) = self.instances.get_mut(&event.instance) {
            match &event.kind {
                EventKind::Fork(fork) => instance.members.insert(fork.child),
                _ => instance.members.insert(event.process),
            };
        }
        if let EventKind::Exec(exec) = &event.kind {
            self.remember(event, exec);
        }
        self.hand_over(elder, (vec![event.clone()], 0));
        !matches!(event.kind, EventKind::Exit(_))
    }

    /// The nearest candidate around an instance that belongs to no server.
    pub(super) fn elder(&self, id: u64) -> Option<u64> {
        let mut around = self.instances.get(&id)?.outer;
        for _ in 0..NESTING {
            let one = self.instances.get(&around)?;
            match one.role {
                Role::Candidate(_) => return Some(around),
                Role::Server(_) => return None,
                Role::Helper => around = one.outer,
            }
        }
        None
    }

    /// What a process with pipes of its own did is told when the candidate around it becomes a server.
    pub(super) fn hand_over(&mut self, elder: u64, effects: (Vec<Event>, u64)) {
        if let Some(Role::Candidate(all)) =
            self.instances.get_mut(&elder).map(|instance| &mut instance.role)
        {
            all.absorb(effects, elder);
        }
    }

    /// The process tree knows of an exec before its record is made.
    fn remember(&mut self, event: &Event, exec: &Exec) {
        let shown = Process {
            entity_id: entity_id(event.process),
            pid: event.process.pid,
            ppid: exec.parent.pid,
            start_time: self.clock.time(event.start_time),
            exe: exec.path.clone(),
            argv: self.masked(&exec.argv),
            cwd: Some(exec.cwd.clone()),
            uid: exec.uid,
            container: None,
        };
        self.processes.insert(
            event.process,
            Entry {
                parent: Some(exec.parent),
                shown: Arc::new(shown),
                instance: event.instance,
                lineage: Arc::from([]),
                ended: false,
            },
        );
    }

    /// An instance whose founding was lost: what it did meanwhile is, too. A look at the processes finds it.
    fn miss(&mut self, event: &Event) {
        if self.instances.contains_key(&event.instance)
            || self.forgotten.contains(&event.instance)
            || matches!(event.kind, EventKind::Exit(_))
        {
            return;
        }
        self.losses.add("pipeline", "instances", "unknown", 1);
        if event.time.saturating_sub(self.looked_for_unknown) > LOOKING {
            self.looked_for_unknown = event.time;
            self.actions.push(Action::LookAgain);
        }
    }

    /// Remembers an instance whose last events may still be on their way.
    pub(super) fn forget(&mut self, id: u64) {
        self.forgotten.push_back(id);
        if self.forgotten.len() > FORGOTTEN {
            self.forgotten.pop_front();
        }
    }

    /// An instance the kernel has founded.
    fn found(&mut self, event: &Event) {
        let (outer, channel) = match &event.kind {
            EventKind::Exec(exec) if exec.candidate => {
                let channel = (exec.stdin_inode.unwrap_or(0), exec.stdout_inode.unwrap_or(0));
                self.actions.push(Action::LookForConfigs { pid: event.process.pid });
                (exec.parent_instance, channel)
            }
            EventKind::Net(net) if net.operation == NetOperation::Listen => (0, (0, 0)),
            // Of an instance that was dropped a moment ago.
            _ => return,
        };
        self.instances.insert(
            event.instance,
            Instance {
                id: event.instance,
                founder: event.process,
                born: event.time,
                outer,
                channel,
                private: channel.0 != 0,
                members: [event.process].into(),
                programs: Vec::new(),
                looked: false,
                cgroup: String::new(),
                missed: false,
                tampered: false,
                conversation: Conversation::new(&SNIFFING),
                role: Role::Candidate(Held::within(&self.held)),
                exit: None,
            },
        );
        if let Some(instance) = self.instances.get_mut(&outer) {
            instance.members.remove(&event.process);
        }
    }

    /// A process outside every instance: the settings or a configuration may name it all the same.
    pub(super) fn consider_unwatched(&mut self, event: &Event, exec: &Exec) {
        if self.clients.name_of(&exec.path, &exec.argv).is_some() {
            self.actions.push(Action::LookForConfigs { pid: event.process.pid });
        }
        let unplaced = Unplaced {
            process: event.process,
            start_time: event.start_time,
            program: OwnedProgram::of(exec),
            client: self.client_of(exec.parent),
            channel: (exec.stdin_inode.unwrap_or(0), exec.stdout_inode.unwrap_or(0)),
        };
        if let Some(unplaced) = self.place(unplaced, "")
            && self.explicit.asks_for_cgroup()
            && self.unplaced.len() < UNPLACED
        {
            self.actions.push(Action::LookForConfigs { pid: unplaced.process.pid });
            self.unplaced.insert(unplaced.process.pid, unplaced);
        }
    }

    /// Makes a server of a process that the settings or a configuration name; gives it back otherwise.
    fn place(&mut self, unplaced: Unplaced, cgroup: &str) -> Option<Unplaced> {
        let Unplaced { process, start_time, program, client, channel } = &unplaced;
        let subject = Subject { exe: &program.exe, argv: &program.argv, pid: process.pid, cgroup };
        let explicit = self.explicit.server(subject).is_some();
        // A shell that happens to run a configured command line by hand has a terminal, not a channel.
        let configured = *channel != (0, 0)
            && config_of(&[program.borrow()], &self.configured, client.as_deref()).is_some();
        if !explicit && !configured {
            return Some(unplaced);
        }
        let (process, start_time) = (*process, *start_time);
        let id = mcpwatch_common::control::instance_id(process.pid, start_time);
        self.enlist(id, process, self.now, *channel, false);
        if let Some(instance) = self.instances.get_mut(&id) {
            instance.add_program(unplaced.program);
            cgroup.clone_into(&mut instance.cgroup);
            instance.looked = true;
        }
        self.watch(process, start_time, id);
        self.actions.push(Action::LookAgain);
        self.judge(id);
        None
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
        self.instances.insert(
            id,
            Instance {
                id,
                founder,
                born,
                outer: 0,
                channel,
                private,
                members: [founder].into(),
                programs: Vec::new(),
                looked: false,
                cgroup: String::new(),
                missed: false,
                tampered: false,
                conversation: Conversation::new(&SNIFFING),
                role: Role::Candidate(Held::within(&self.held)),
                exit: None,
            },
        );
        self.actions.push(Action::SetInstance {
            id,
            stdin_inode: channel.0,
            stdout_inode: channel.1,
        });
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
            if self.processes.get(snapshot.key()).is_none() {
                self.processes.insert(snapshot.key(), self.entry_of(snapshot, snapshots));
            }
        }
        let known =
            Known { configs: &self.configured, explicit: &self.explicit, clients: &self.clients };
        let found = survey(snapshots, known);
        for found in found {
            let Some(root) = snapshots.get(found.root) else { continue };
            let start_time = root.start.saturating_mul(TICK);
            let id = mcpwatch_common::control::instance_id(root.pid, start_time);
            let fresh = !self.instances.contains_key(&id);
            let taken = self
                .processes
                .get(root.key())
                .is_some_and(|entry| self.instances.contains_key(&entry.instance));
            if fresh && (taken || (found.verdict.standing != Standing::Server && !self.sniffs())) {
                continue;
            }
            if fresh {
                let inode = |stdio: Option<crate::host::snapshot::Stdio>| {
                    stdio.map_or(0, crate::host::snapshot::Stdio::inode)
                };
                let channel = (inode(root.stdin), inode(root.stdout));
                self.enlist(id, root.key(), start_time, channel, root.private_channel());
                if let Some(instance) = self.instances.get_mut(&id) {
                    instance.conversation.joined_mid_stream();
                    root.cgroup.clone_into(&mut instance.cgroup);
                }
            }
            let mut added = false;
            for member in found.members.iter().filter_map(|&member| snapshots.get(member)) {
                let start_time = member.start.saturating_mul(TICK);
                let Some(instance) = self.instances.get_mut(&id) else { break };
                if fresh && member.stdin == root.stdin && root.stdin.is_some()
                    || member.pid == root.pid
                {
                    instance.add_program(OwnedProgram {
                        exe: member.exe.clone(),
                        argv: member.argv.clone(),
                        cwd: member.cwd.clone(),
                    });
                }
                if fresh || !instance.members.contains(&member.key()) {
                    let outside = self
                        .processes
                        .get(member.key())
                        .is_none_or(|entry| !self.instances.contains_key(&entry.instance));
                    if outside || fresh {
                        self.watch(member.key(), start_time, id);
                        added = true;
                    }
                }
            }
            if added {
                self.actions.push(Action::LookAgain);
            }
            if fresh {
                self.actions.push(Action::LookForConfigs { pid: root.pid });
                self.judge(id);
            }
        }
    }

    fn entry_of(&self, snapshot: &ProcessSnapshot, all: &[ProcessSnapshot]) -> Entry {
        Entry {
            parent: all.iter().find(|other| other.pid == snapshot.ppid).map(ProcessSnapshot::key),
            shown: Arc::new(Process {
                entity_id: entity_id(snapshot.key()),
                pid: snapshot.pid,
                ppid: snapshot.ppid,
                start_time: self.clock.time(snapshot.start.saturating_mul(TICK)),
                exe: snapshot.exe.clone(),
                argv: self.masked(&snapshot.argv),
                cwd: (!snapshot.cwd.is_empty()).then(|| snapshot.cwd.clone()),
                uid: snapshot.uid,
                container: None,
            }),
            instance: 0,
            lineage: Arc::from([]),
            ended: false,
        }
    }

    /// Weighs the evidence for an instance: it becomes a server, gains evidence, or stays what it is.
    pub(super) fn judge(&mut self, id: u64) {
        let Some(verdict) = self.verdict(id) else { return };
        if verdict.standing != Standing::Server {
            return;
        }
        let Some(instance) = self.instances.get(&id) else { return };
        match &instance.role {
            Role::Server(serving) => {
                let shown = self.shown(id, &verdict);
                if *serving.shown != shown {
                    self.announce(id, shown);
                }
            }
            Role::Candidate(_) | Role::Helper => {
                let settled = instance.looked
                    || verdict.config_path.is_some()
                    || verdict.evidence.iter().any(|piece| piece.kind == EvidenceKind::Explicit)
                    || instance.members.is_empty()
                    || self.now.saturating_sub(instance.born) > LOOKING;
                if settled {
                    self.promote(id, &verdict);
                }
            }
        }
    }

    fn verdict(&self, id: u64) -> Option<Verdict> {
        let instance = self.instances.get(&id)?;
        let programs: Vec<Program<'_>> =
            instance.programs.iter().map(OwnedProgram::borrow).collect();
        let first = instance.programs.first();
        let parent = self.processes.get(instance.founder).and_then(|entry| entry.parent);
        let client = parent.and_then(|parent| self.client_of(parent));
        let explicit = instance.programs.iter().find_map(|program| {
            self.explicit.server(Subject {
                exe: &program.exe,
                argv: &program.argv,
                pid: instance.founder.pid,
                cgroup: &instance.cgroup,
            })
        });
        let session = instance.conversation.session();
        Some(weigh(Facts {
            explicit,
            config: config_of(&programs, &self.configured, client.as_deref()),
            handshake: instance.conversation.spoke_mcp(),
            server_info: session.and_then(|session| session.server.as_ref()),
            launch: instance.launch().as_ref(),
            client: client.as_deref(),
            private_channel: instance.private,
            exe: first.map_or("", |program| program.exe.as_str()),
        }))
    }

    /// The known client a process is, if it is one.
    fn client_of(&self, process: ProcessKey) -> Option<String> {
        let entry = self.processes.get(process).filter(|entry| !entry.ended)?;
        self.clients.name_of(&entry.shown.exe, &entry.shown.argv).map(str::to_owned)
    }

    fn shown(&self, id: u64, verdict: &Verdict) -> Server {
        let founder = self.instances.get(&id).map(|instance| instance.founder);
        Server {
            id: founder.map(entity_id).unwrap_or_default(),
            name: verdict.name.clone(),
            transport: match self.instances.get(&id) {
                Some(instance) if instance.channel == (0, 0) => "http",
                _ => "stdio",
            },
            version: verdict.version.clone(),
            client: verdict.client.clone(),
            config_path: verdict.config_path.clone(),
            evidence: verdict.evidence.clone(),
        }
    }

    /// A candidate is a server: says so, and lets go of what was held.
    fn promote(&mut self, id: u64, verdict: &Verdict) {
        let shown = Arc::new(self.shown(id, verdict));
        let given = Arc::new(self.given(id, &shown.name));
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let serving = Serving {
            shown,
            given,
            calls: BTreeMap::new(),
            in_flight: Vec::new(),
            problems: Flood::default(),
        };
        let before = std::mem::replace(&mut instance.role, Role::Server(Box::new(serving)));
        // The calls around it are another server's; from here on its processes answer to its own.
        for member in &instance.members {
            if let Some(entry) = self.processes.get_mut(*member) {
                entry.lineage = Arc::from([]);
            }
        }
        let joined = instance.conversation.first_request() == Some(0);
        instance.conversation = Conversation::new(&self.limits);
        if joined {
            instance.conversation.joined_mid_stream();
        } else if instance.missed {
            instance.conversation.may_have_missed();
        }
        let (born, living) = (instance.born, instance.members.clone());
        self.tell_discovered(id, born);
        if let Role::Candidate(mut held) = before {
            // Candidates within it may yet become servers; what they did so far is this one's doing.
            let inner: Vec<u64> =
                self.instances.keys().copied().filter(|one| self.owner(*one) == Some(id)).collect();
            for inner in inner {
                if let Some(Role::Candidate(other)) =
                    self.instances.get_mut(&inner).map(|instance| &mut instance.role)
                {
                    held.absorb(other.take_effects(), inner);
                }
            }
            let (events, left_out) = held.release();
            self.losses.add("pipeline", "candidates", "held_full", left_out);
            for event in events {
                self.admit(&event);
            }
            // Who lives was followed while the events were held; telling them changes nothing in that.
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.members = living;
            }
        }
        // The channel was read again in letting go: the handshake may add a name and a version.
        self.judge(id);
    }

    /// A server is shown differently from now on.
    fn announce(&mut self, id: u64, shown: Server) {
        let given = Arc::new(self.given(id, &shown.name));
        let now = self.now;
        if let Some(serving) = self.instances.get_mut(&id).and_then(Instance::serving_mut) {
            serving.shown = Arc::new(shown);
            serving.given = given;
        }
        self.tell_discovered(id, now);
    }

    fn tell_discovered(&mut self, id: u64, time: u64) {
        let Some(instance) = self.instances.get(&id) else { return };
        let mut record = self.record(RecordType::ServerDiscovered, time);
        record.server = instance.serving().map(|serving| Arc::clone(&serving.shown));
        record.process = self.processes.get(instance.founder).map(|entry| Arc::clone(&entry.shown));
        self.records.push(record);
    }

    fn given(&self, id: u64, name: &str) -> crate::detect::Given {
        let Some(instance) = self.instances.get(&id) else {
            return given::empty(&self.names, Allow::default());
        };
        let programs: Vec<Program<'_>> =
            instance.programs.iter().map(OwnedProgram::borrow).collect();
        let config = config_of(&programs, &self.configured, None);
        // What a server calls itself gives it no rights: the name must be the user's.
        let of_user =
            config.is_some_and(|config| config.name == name) || self.is_explicit(instance);
        let allow = if of_user { self.explicit.allow(name) } else { Allow::default() };
        given::collect(&instance.programs, config, &self.names, allow)
    }

    /// The settings name the instance by more than a name.
    fn is_explicit(&self, instance: &Instance) -> bool {
        instance.programs.iter().any(|program| {
            self.explicit
                .server(Subject {
                    exe: &program.exe,
                    argv: &program.argv,
                    pid: instance.founder.pid,
                    cgroup: &instance.cgroup,
                })
                .is_some()
        })
    }

    /// Another program was executed on a server's channel: what it was given has grown.
    pub(super) fn given_grew(&mut self, id: u64) {
        let Some(name) = self.serving(id).map(|serving| serving.shown.name.clone()) else { return };
        let given = Arc::new(self.given(id, &name));
        if let Some(serving) = self.instances.get_mut(&id).and_then(Instance::serving_mut) {
            serving.given = given;
        }
        self.judge(id);
    }

    /// The configurations around a process have been read; what is in them has come in before this.
    pub(super) fn looked(&mut self, pid: u32, cgroup: &str) {
        if let Some(unplaced) = self.unplaced.remove(&pid) {
            self.place(unplaced, cgroup);
            return;
        }
        let founded: Vec<u64> = self
            .instances
            .values()
            .filter(|instance| instance.founder.pid == pid)
            .map(|instance| instance.id)
            .collect();
        for id in founded {
            if let Some(instance) = self.instances.get_mut(&id) {
                instance.looked = true;
                cgroup.clone_into(&mut instance.cgroup);
            }
            self.judge(id);
        }
    }

    /// Clients' configurations have changed: evidence for some, a new look at all.
    pub(super) fn configs_changed(&mut self) {
        self.configured = self.configs.values().flatten().cloned().collect();
        let ids: Vec<u64> = self.instances.keys().copied().collect();
        for id in ids {
            self.judge(id);
        }
    }

    /// It is settled that a candidate speaks something else on its channel.
    fn settle_on_nothing(&mut self, id: u64) {
        let Some(instance) = self.instances.get(&id) else { return };
        let parent = self.processes.get(instance.founder).and_then(|entry| entry.parent);
        let of_client = parent.and_then(|parent| self.client_of(parent)).is_some();
        if !of_client && self.config.discovery.sniff == Sniff::Auto {
            self.drop_candidate(id);
        }
    }

    fn drop_candidate(&mut self, id: u64) {
        let elder = self.elder(id);
        if elder.is_some() || self.owner(id).is_some() {
            // Part of a server, or of what may be one: its channel is of no interest any more, what it does is.
            let Some(instance) = self.instances.get_mut(&id) else { return };
            instance.channel = (0, 0);
            let before = std::mem::replace(&mut instance.role, Role::Helper);
            if let (Some(elder), Role::Candidate(mut held)) = (elder, before) {
                self.hand_over(elder, held.take_effects());
            }
            self.actions.push(Action::SetInstance { id, stdin_inode: 0, stdout_inode: 0 });
            return;
        }
        let Some(instance) = self.instances.remove(&id) else { return };
        self.forget(id);
        let pids = instance.members.iter().map(|member| member.pid).collect();
        for member in &instance.members {
            if let Some(entry) = self.processes.get_mut(*member) {
                entry.instance = 0;
            }
        }
        self.actions.push(Action::Forget { instance: id, pids });
        // Its helpers belonged to it alone.
        let helpers: Vec<u64> = self
            .instances
            .values()
            .filter(|one| one.outer == id && matches!(one.role, Role::Helper))
            .map(|one| one.id)
            .collect();
        for helper in helpers {
            self.drop_candidate(helper);
        }
        self.close_if_empty(instance.outer, self.now);
    }

    /// Candidates whose time is over are dropped; calls are reminded of the time.
    pub(super) fn tick(&mut self) {
        let patience = self.config.discovery.candidate_seconds.saturating_mul(1_000_000_000);
        let ids: Vec<u64> = self.instances.keys().copied().collect();
        for id in ids {
            let Some(instance) = self.instances.get_mut(&id) else { continue };
            match &instance.role {
                Role::Server(_) => {
                    let mut said = Vec::new();
                    instance.conversation.tick(self.now, &mut said);
                    self.spoken(id, self.now, said);
                }
                Role::Candidate(_)
                    if self.config.discovery.sniff == Sniff::Auto
                        && self.now.saturating_sub(instance.born) > patience =>
                {
                    let parent =
                        self.processes.get(instance.founder).and_then(|entry| entry.parent);
                    if parent.and_then(|parent| self.client_of(parent)).is_none() {
                        self.drop_candidate(id);
                    }
                }
                Role::Candidate(_) => self.judge(id),
                Role::Helper => {}
            }
        }
    }
}
