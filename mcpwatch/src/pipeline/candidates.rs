//! Candidates: founded by the kernel, held until it is settled what they are, and let go of.

use std::sync::Arc;

use crate::config::Sniff;
use crate::event::{Direction, Event, EventKind, Exec, NetOperation};

use super::instance::{Instance, OwnedProgram, Role, leads_to};
use super::naming::PATIENCE;
use super::verdict::LOOKING;
use super::{Action, Pipeline};

/// Deepest nesting of instances that is followed: a bound against a ring made by reused ids.
pub(super) const NESTING: usize = 64;
/// Deepest that one is put below others. Those may come to be below further ones.
const NEAR: usize = 16;
/// Most instances that are remembered after they were let go of.
const FORGOTTEN: usize = 1_024;

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
        if let Some(relay) = self.instances.get(&event.instance).and_then(|one| one.voice_of)
            && matches!(event.kind, EventKind::Payload(_) | EventKind::Injection { .. })
            && let Some(Role::Candidate(held)) =
                self.instances.get_mut(&relay).map(|one| &mut one.role)
        {
            // Its server waits for the configurations to be read.
            held.push(event.clone());
            if let EventKind::Payload(payload) = &event.kind
                && let Some(relay) = self.instances.get_mut(&relay)
            {
                relay.conversation.bytes(event.time, payload, &mut Vec::new());
            }
            return true;
        }
        let owned = self.owner(event.instance).is_some_and(|owner| owner != event.instance);
        let beyond_launch = match &event.kind {
            EventKind::Exec(exec) if self.is_candidate(event.instance) => {
                self.leads_elsewhere(event, exec)
            }
            _ => false,
        };
        let Some(instance) = self.instances.get_mut(&event.instance) else { return false };
        let held = match &mut instance.role {
            Role::Candidate(held) => held,
            Role::Helper if !owned => return self.hold_for_elder(event),
            _ => return false,
        };
        let id = event.instance;
        match &event.kind {
            // The runtime's client repeats what its voice has heard.
            EventKind::Payload(_) if instance.voice.is_some() => true,
            EventKind::Payload(payload) => {
                let mut said = Vec::new();
                instance.heard.note(event.time, payload);
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
            // A process of a server with a channel of its own: what it does is the server's doing, at once.
            EventKind::Exec(exec) if owned => {
                if exec.candidate {
                    instance.add_program(event.process, OwnedProgram::of(exec, beyond_launch));
                }
                false
            }
            _ if owned => false,
            EventKind::Injection(injection) => {
                instance.tampered |=
                    injection.victim == id && injection.direction == Direction::ClientToServer;
                held.push(event.clone());
                true
            }
            EventKind::Exec(exec) => {
                instance.members.insert(event.process);
                let on_channel = exec.candidate
                    || (instance.channel.0 != 0 && exec.stdin_inode == Some(instance.channel.0));
                held.push(event.clone());
                if on_channel {
                    instance.noted = event.time;
                    instance.add_program(event.process, OwnedProgram::of(exec, beyond_launch));
                }
                self.remember_exec(event, exec, Arc::from([]), false);
                self.judge(id);
                true
            }
            EventKind::Fork(fork) => {
                instance.members.insert(fork.child);
                held.push(event.clone());
                self.remember_fork(event, *fork, Arc::from([]));
                true
            }
            EventKind::Exit(_) => {
                held.push(event.clone());
                // The end of the process is also the end of waiting, if it was the last.
                false
            }
            EventKind::Open(_)
            | EventKind::Change(_)
            | EventKind::Net(_)
            | EventKind::Privilege(_)
            | EventKind::Access(_)
            | EventKind::Dns(_)
            | EventKind::Tls(_) => {
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
        match &event.kind {
            EventKind::Exec(exec) => {
                self.remember_exec(event, exec, Arc::from([]), false);
            }
            EventKind::Fork(fork) => self.remember_fork(event, *fork, Arc::from([])),
            _ => {}
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

    fn is_candidate(&self, id: u64) -> bool {
        self.instances.get(&id).is_some_and(|one| matches!(one.role, Role::Candidate(_)))
    }

    /// Whether what is executed was not executed by a program of the launch that leads on. What it is part of is
    /// not known yet: it goes by what is on its own channel.
    fn leads_elsewhere(&self, event: &Event, exec: &Exec) -> bool {
        let Some(instance) = self.instances.get(&event.instance) else { return false };
        if instance.was_founded_by(event) {
            return false;
        }
        let Some(acting) = self.processes.shown_at(event.process, event.time) else { return true };
        let of_launch = |program: &&OwnedProgram| {
            program.exe == acting.exe && self.remembered(&program.argv).0 == acting.argv
        };
        let installed = self.is_installed(event.instance, acting);
        instance.programs.iter().rfind(of_launch).is_none_or(|program| {
            program.beyond_launch || !leads_to(&program.exe, &program.argv, &exec.argv, installed)
        })
    }

    /// An instance the kernel has founded.
    fn found(&mut self, event: &Event) {
        let (outer, channel) = match &event.kind {
            EventKind::Exec(exec) if exec.candidate => {
                let channel = (exec.stdin_inode.unwrap_or(0), exec.stdout_inode.unwrap_or(0));
                self.look_around(event.process.pid, exec.parent_instance);
                (exec.parent_instance, channel)
            }
            EventKind::Net(net) if net.operation == NetOperation::Listen => (0, (0, 0)),
            // Of an instance that was dropped a moment ago.
            _ => return,
        };
        let mut instance =
            Instance::candidate(event.instance, event.process, event.time, channel, &self.held);
        instance.outer = self.near_enough(outer);
        // It may have waited to be told of: what is looked for around it is looked for from now on.
        instance.since = self.now;
        instance.private = channel.0 != 0;
        self.instances.insert(event.instance, instance);
        if let Some(instance) = self.instances.get_mut(&outer) {
            instance.members.remove(&event.process);
        }
    }

    /// What is around an instance that was started within another: that one, unless it is nested too deep to be
    /// followed. Then it is what is around all that can be, so that nothing falls out of a server by depth.
    pub(super) fn near_enough(&self, outer: u64) -> u64 {
        let mut around = outer;
        for _ in 1..NEAR {
            match self.instances.get(&around) {
                Some(one) if !matches!(one.role, Role::Server(_)) && one.outer != 0 => {
                    around = one.outer;
                }
                _ => return outer,
            }
        }
        around
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
                    self.give_up_questions(id, self.now.saturating_sub(PATIENCE));
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
