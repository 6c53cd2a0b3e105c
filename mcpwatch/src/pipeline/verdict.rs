//! From evidence to server: weighed when there is new one, told, and what was held let go of.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::config::{Allow, ServerSettings};
use crate::discover::evidence::{Facts, Standing, Verdict, weigh};
use crate::discover::explicit::Subject;
use crate::discover::matching::{Program, config_of};
use crate::event::ProcessKey;
use crate::host::processes::entity_id;
use crate::record::{EvidenceKind, RecordType, Server};
use crate::session::Conversation;

use super::candidates::NESTING;
use super::effects::Reference;
use super::instance::{Flood, Held, Instance, OwnedProgram, Role, Serving};
use super::naming::Naming;
use super::outlived::Outlived;
use super::relay::Position;
use super::{Pipeline, given};

/// How long a server waits for the configurations around it to be read, in nanoseconds: its name stands in
/// them. Reading takes some milliseconds, unless a file system hangs.
pub(super) const LOOKING: u64 = 500_000_000;

impl Pipeline {
    /// Weighs the evidence for an instance: it becomes a server, gains evidence, or stays what it is.
    pub(super) fn judge(&mut self, id: u64) {
        // What speaks for a voice speaks for its server.
        let id = self.instances.get(&id).and_then(|one| one.voice_of).unwrap_or(id);
        let Some(verdict) = self.verdict(id) else { return };
        if verdict.standing != Standing::Server {
            return;
        }
        let candidate =
            self.instances.get(&id).is_some_and(|one| matches!(one.role, Role::Candidate(_)));
        if candidate && self.is_voice(id) {
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
                    || self.now.saturating_sub(instance.since) > LOOKING;
                if settled {
                    self.promote(id, &verdict);
                }
            }
        }
    }

    fn verdict(&self, id: u64) -> Option<Verdict> {
        let instance = self.instances.get(&id)?;
        let programs: Vec<Program<'_>> = instance.launched().map(OwnedProgram::borrow).collect();
        let first = instance.programs.first();
        let parent = self.processes.get(instance.founder).and_then(|entry| entry.parent);
        let client = parent.and_then(|parent| self.client_of(parent));
        let explicit = self.explicit_of(instance);
        let session = instance.conversation.session();
        let config = config_of(&programs, self.configured.servers(), client.as_deref());
        Some(weigh(Facts {
            explicit,
            config: config.filter(|_| self.was_started_by_client(instance)),
            handshake: instance.conversation.spoke_mcp(),
            server_info: session.and_then(|session| session.server.as_ref()),
            launch: instance.launch().as_ref(),
            client: client.as_deref(),
            private_channel: instance.private,
            exe: first.map_or("", |program| program.exe.as_str()),
        }))
    }

    /// The known client a process is, if it is one.
    pub(super) fn client_of(&self, process: ProcessKey) -> Option<String> {
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
        let around = self.instances.get(&id).and_then(|instance| self.owner(instance.outer));
        let family = around
            .and_then(|server| self.serving(server))
            .map_or_else(|| Arc::from(shown.id.as_str()), |server| Arc::clone(&server.family));
        let within = self.instances.get(&id).and_then(|instance| self.container_of(instance));
        let within = within.cloned();
        let Some(instance) = self.instances.get_mut(&id) else { return };
        let serving = Serving {
            shown,
            family,
            within,
            given,
            calls: BTreeMap::new(),
            in_flight: Vec::new(),
            doubtful: BTreeSet::new(),
            answered: BTreeMap::new(),
            outlived: Outlived::default(),
            problems: Flood::default(),
            naming: Naming::default(),
            reference: Reference::default(),
        };
        let before = std::mem::replace(&mut instance.role, Role::Server(Box::new(serving)));
        // The calls around it are another server's; from here on its processes answer to its own.
        for member in &instance.members {
            if let Some(entry) = self.processes.get_mut(*member) {
                entry.lineage = Arc::from([]);
                entry.beyond_launch = None;
            }
        }
        let joined = instance.conversation.first_request() == Some(0);
        instance.conversation = Conversation::new(&self.limits);
        instance.position = Position::default();
        if joined {
            instance.conversation.joined_mid_stream();
        } else if instance.missed {
            instance.conversation.may_have_missed();
        }
        let born = instance.born;
        self.tell_discovered(id, born);
        self.take_in(id);
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
            self.let_go(id, held);
        }
        // The channel was read again in letting go: the handshake may add a name and a version.
        self.judge(id);
        self.started_by_server(id);
    }

    /// Servers that a server had started before it was known to be one were families of their own.
    pub(super) fn take_in(&mut self, id: u64) {
        let Some(family) = self.serving(id).map(|server| Arc::clone(&server.family)) else {
            return;
        };
        let started = self.instances.values().filter(|one| self.owner(one.outer) == Some(id));
        let joining: BTreeSet<Arc<str>> = started
            .filter_map(|one| Some(Arc::clone(&one.serving()?.family)))
            .filter(|joining| *joining != family)
            .collect();
        for server in self.instances.values_mut().filter_map(Instance::serving_mut) {
            if joining.contains(&server.family) {
                server.family = Arc::clone(&family);
            }
        }
        for joining in joining {
            self.detector.join(&joining, &family);
        }
    }

    /// Servers that a server had started before it was known to be one seemed to be started by a client.
    pub(super) fn started_by_server(&mut self, id: u64) {
        let started = |one: &&Instance| self.owner(one.outer) == Some(id);
        let within: Vec<u64> = self.instances.values().filter(started).map(|one| one.id).collect();
        for inner in within {
            self.given_changed(inner);
        }
    }

    /// What an instance did while it was a candidate is told now that it is none any more.
    pub(super) fn let_go(&mut self, id: u64, held: Held) {
        let living = self.instances.get(&id).map(|instance| instance.members.clone());
        let (events, left_out) = held.release();
        self.losses.add("pipeline", "candidates", "held_full", left_out);
        for event in events {
            self.admit(&event);
        }
        // Who lives was followed while the events were held; telling them changes nothing in that.
        if let (Some(living), Some(instance)) = (living, self.instances.get_mut(&id)) {
            instance.members = living;
        }
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
        let programs: Vec<Program<'_>> = instance.launched().map(OwnedProgram::borrow).collect();
        // What a server calls itself gives it no rights: the name must be the user's.
        let config = config_of(&programs, self.configured.servers(), None)
            .filter(|_| self.was_started_by_client(instance));
        let of_user = config.is_some_and(|config| config.name == name)
            || self.explicit_of(instance).is_some();
        let allow = if of_user { self.explicit.allow(name) } else { Allow::default() };
        given::collect(&instance.programs, config, &self.names, allow)
    }

    /// Whether an entry of a client's configuration may be what an instance was started from. What a server starts
    /// is not, whatever it looks like; nor what is started by a client's child that may turn out to be a server.
    fn was_started_by_client(&self, instance: &Instance) -> bool {
        let parent_is_client = |process: ProcessKey| {
            let parent = self.processes.get(process).and_then(|entry| entry.parent);
            parent.and_then(|parent| self.client_of(parent)).is_some()
        };
        let may_be_server = |one: &Instance| match &one.role {
            Role::Candidate(held) => !held.heard_no_json() && parent_is_client(one.founder),
            Role::Server(_) => true,
            Role::Helper => false,
        };
        if parent_is_client(instance.founder) {
            return self.owner(instance.outer).is_none();
        }
        let mut around = instance.outer;
        for _ in 0..NESTING {
            let Some(one) = self.instances.get(&around) else { return true };
            if may_be_server(one) {
                return false;
            }
            around = one.outer;
        }
        false
    }

    /// The settings' entry that names an instance by more than a name.
    pub(super) fn explicit_of(&self, instance: &Instance) -> Option<&ServerSettings> {
        let entry = self.entry_of_settings(instance)?;
        // What runs in a place that is a server is part of that server, pipes of its own or not.
        let mut around = instance.outer;
        for _ in 0..NESTING {
            let Some(one) = self.instances.get(&around).filter(|_| entry.is_of_place()) else {
                break;
            };
            if self.cgroup_of(one) == self.cgroup_of(instance)
                && self.entry_of_settings(one) == Some(entry)
            {
                return None;
            }
            around = one.outer;
        }
        Some(entry)
    }

    fn entry_of_settings(&self, instance: &Instance) -> Option<&ServerSettings> {
        // What the settings say of a container holds for who speaks for it.
        let voice = instance.voice.and_then(|voice| self.instances.get(&voice));
        let inside =
            || voice.filter(|one| one.voice.is_none()).and_then(|one| self.entry_of_settings(one));
        let cgroup = self.cgroup_of(instance);
        instance
            .launched()
            .find_map(|program| {
                self.explicit.server(Subject {
                    exe: &program.exe,
                    argv: &program.argv,
                    pid: instance.founder.pid,
                    cgroup,
                    container: self.containers.get(cgroup),
                })
            })
            .or_else(inside)
    }

    /// What a server was given is another now: a program was executed on its channel, or its launch is known to be
    /// another server's doing.
    pub(super) fn given_changed(&mut self, id: u64) {
        let Some(name) = self.serving(id).map(|serving| serving.shown.name.clone()) else { return };
        let given = Arc::new(self.given(id, &name));
        if let Some(serving) = self.instances.get_mut(&id).and_then(Instance::serving_mut) {
            serving.given = given;
        }
        self.judge(id);
    }

    /// Clients' configurations have changed: evidence for some, a new look at all.
    pub(super) fn configs_changed(&mut self) {
        let ids: Vec<u64> = self.instances.keys().copied().collect();
        for id in ids {
            self.judge(id);
        }
    }
}
