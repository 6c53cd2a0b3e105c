//! Input → records: pure, synchronous, single-threaded; time comes from events. A replay of the same
//! input gives the same records.
//!
//! [`Pipeline`] owns all state and is fed here; what it does with each kind of event stands in a file of
//! its own.

mod candidates;
mod change;
pub mod configs;
mod containers;
mod effects;
mod enlisting;
mod folders;
mod given;
mod hooks;
pub mod input;
mod instance;
mod lifecycle;
mod losses;
mod mounts;
mod naming;
mod net;
mod outlived;
mod privilege;
mod reached;
mod relay;
mod speech;
mod verdict;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use crate::config::{Config, Sniff};
use crate::detect::dedupe::Dedupe;
use crate::detect::{DetectError, Detector, Finding};
use crate::discover::ConfiguredServers;
use crate::discover::explicit::{Clients, Explicit};
use crate::event::decode;
use crate::event::{Event, EventKind, ProcessKey};
use crate::host::clock::Clock;
use crate::host::containers::cgroups::Cgroups;
use crate::host::containers::known::Containers;
use crate::host::names::Names;
use crate::host::processes::Processes;
use crate::record::{Host, ProbeCounters, Record, RecordType, Status};
use crate::redact::Redactor;
use crate::wire;

pub use input::{Action, Input};
use instance::{Budget, Instance, Role};
use losses::Losses;
use mounts::Mounts;

/// Most processes that are known at a time.
pub const PROCESSES: usize = 32_768;
/// Most records there is room for from the start of a batch.
const RECORDS: usize = 128;

/// What a pipeline starts with, beside the settings.
#[derive(Clone, Debug, Default, serde::Serialize, serde::Deserialize)]
pub struct Origin {
    /// Name of the host.
    pub host: String,
    /// Its boot id.
    pub boot_id: String,
    /// Text of `/etc/hosts`.
    pub hosts_file: String,
    /// Text of `/etc/resolv.conf`.
    pub resolv_conf: String,
    /// Homes of the user database.
    pub homes: Vec<PathBuf>,
    /// Inode number of the network namespace that `resolv_conf` is for; 0 when the kernel has none.
    #[serde(default)]
    pub network_namespace: u32,
    /// Inode number of the host's mount namespace; 0 when it is not known.
    #[serde(default)]
    pub mount_namespace: u32,
}

/// Why no pipeline could be made from the settings.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The rules.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The redaction rules.
    #[error(transparent)]
    Redact(#[from] crate::redact::RedactError),
    /// A glob of `[[server]]` or `[[discovery.client]]`.
    #[error("the settings hold a glob that is none: {0}")]
    Glob(#[from] globset::Error),
}

/// What is known for metrics only.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// Servers watched now.
    pub servers: usize,
    /// Candidates watched now.
    pub candidates: usize,
    /// Processes known now.
    pub processes: usize,
}

/// The state of the agent between kernel and outputs.
pub struct Pipeline {
    config: Config,
    host: Arc<Host>,
    clock: Clock,
    names: Names,
    /// Where those names and name servers hold.
    network_namespace: u32,
    processes: Processes,
    instances: BTreeMap<u64, Instance>,
    /// What candidates hold together.
    held: Budget,
    /// What clients' configurations say.
    configured: ConfiguredServers,
    explicit: Explicit,
    /// The containers that were seen, by cgroup.
    containers: Containers,
    /// The cgroups of what executes programs.
    cgroups: Cgroups,
    /// Execs in a cgroup that could not be found, since that was told last.
    cgroups_unread: u64,
    /// Where on the host the files of other mount namespaces lie.
    mounts: Mounts,
    /// Processes that the settings may name by their cgroup or container, by id.
    unplaced: BTreeMap<u32, enlisting::Unplaced>,
    clients: Clients,
    detector: Detector,
    dedupe: Dedupe<Record>,
    redactor: Redactor,
    limits: wire::Limits,
    losses: Losses,
    counters: Vec<ProbeCounters>,
    hooks: hooks::Known,
    /// Instances that were let go of: their last events may still come.
    forgotten: VecDeque<u64>,
    /// When processes were looked at last because of an instance nobody had announced.
    looked_for_unknown: u64,
    /// Events that came out of the ring buffer, readable or not.
    received: u64,
    now: u64,
    watching: bool,
    /// Since when there has been nothing to watch.
    idle_since: Option<u64>,
    records: Vec<Record>,
    actions: Vec<Action>,
    /// Kept to be filled again: findings of one effect.
    findings: Vec<Finding>,
}

impl Pipeline {
    /// A pipeline that has seen nothing.
    pub fn new(config: Config, origin: &Origin) -> Result<Self, PipelineError> {
        let homes = origin.homes.iter().chain(&config.discovery.homes);
        let homes = homes.map(|home| home.to_string_lossy().into_owned()).collect();
        let mut detector = Detector::new(&config.rules, homes, configs::TABLE)?;
        let refused = configs::name(&mut detector, &config.discovery);
        let mut pipeline = Self {
            host: Arc::new(Host { name: origin.host.clone(), boot_id: origin.boot_id.clone() }),
            clock: Clock::default(),
            names: Names::new(&origin.hosts_file, &origin.resolv_conf),
            network_namespace: origin.network_namespace,
            processes: Processes::new(PROCESSES),
            instances: BTreeMap::new(),
            held: Budget::default(),
            configured: ConfiguredServers::default(),
            explicit: Explicit::new(&config.servers)?,
            containers: Containers::default(),
            cgroups: Cgroups::default(),
            cgroups_unread: 0,
            mounts: Mounts::new(origin.mount_namespace),
            unplaced: BTreeMap::new(),
            clients: Clients::new(&config.discovery.clients)?,
            detector,
            dedupe: Dedupe::default(),
            redactor: Redactor::new(&config.redact)?,
            limits: wire::Limits::capturing(config.capture.payload_limit),
            losses: Losses::default(),
            counters: Vec::new(),
            hooks: hooks::Known::default(),
            forgotten: VecDeque::new(),
            looked_for_unknown: 0,
            received: 0,
            now: 0,
            watching: false,
            idle_since: None,
            records: Vec::new(),
            actions: Vec::new(),
            findings: Vec::new(),
            config,
        };
        pipeline.places_refused(refused);
        Ok(pipeline)
    }

    /// Takes the records made so far.
    pub fn take_records(&mut self) -> Vec<Record> {
        // The next batch is hardly ever much larger than this one.
        let room = Vec::with_capacity(self.records.len().min(RECORDS));
        let mut records = std::mem::replace(&mut self.records, room);
        records.iter_mut().for_each(Record::mark_argv);
        records
    }

    /// Takes what the shell is to do.
    pub fn take_actions(&mut self) -> Vec<Action> {
        std::mem::take(&mut self.actions)
    }

    /// Processes of the instances, as far as is known: to be compared with those there are.
    pub fn living(&self) -> impl Iterator<Item = ProcessKey> {
        self.instances.values().flat_map(|instance| &instance.members).copied()
    }

    /// All other processes that are known, and not known to have ended: to be compared likewise.
    pub fn outside(&self) -> impl Iterator<Item = ProcessKey> {
        let inside: BTreeSet<ProcessKey> = self.living().collect();
        self.processes.without_end().filter(move |process| !inside.contains(process))
    }

    /// The instances that are known: to be compared with those of the kernel.
    pub fn instance_ids(&self) -> impl Iterator<Item = u64> {
        self.instances.keys().copied()
    }

    /// Numbers for metrics.
    #[must_use]
    pub fn standing(&self) -> Standing {
        let servers =
            self.instances.values().filter(|one| matches!(one.role, Role::Server(_))).count();
        let candidates =
            self.instances.values().filter(|one| matches!(one.role, Role::Candidate(_))).count();
        Standing { servers, candidates, processes: self.processes.len() }
    }

    /// A batch of kernel events, back to back as the ring buffer had them.
    pub fn events(&mut self, mut batch: &[u8]) {
        while let Some(event) = decode::next(&mut batch) {
            self.received += 1;
            match event {
                Ok(event) => self.event(&event),
                Err(error) => {
                    tracing::error!(%error, "the kernel programs sent an event this agent cannot read");
                    self.losses.add("decode", "events", "malformed", 1);
                }
            }
        }
        self.settle();
    }

    /// Anything that is no kernel event.
    pub fn input(&mut self, input: Input) {
        match input {
            Input::Clock { boot, calendar } => self.clock.anchor(boot, calendar),
            Input::Processes { time, processes } => {
                self.now = self.now.max(time);
                self.survey(&processes);
            }
            Input::Config(file) => self.config_read(&file),
            Input::ConfigGone { path } => self.config_gone(&path),
            Input::ConfigPlace { path, client } => self.config_place(&path, client),
            Input::Looked { time, pid, cgroup, container } => {
                self.now = self.now.max(time);
                self.looked(pid, &cgroup, container.map(|container| *container));
            }
            Input::Cgroups { time, groups, unread } => {
                self.now = self.now.max(time);
                self.cgroups_read(&groups, unread);
            }
            Input::Container { time, cgroup, container } => {
                self.now = self.now.max(time);
                self.container_read(&cgroup, *container);
            }
            Input::Folders { time, instance, folders } => {
                self.now = self.now.max(time);
                self.folders_found(instance, folders);
            }
            Input::Mounts { time, namespace, paths } => {
                self.now = self.now.max(time);
                self.mounts_read(time, namespace, paths.map(|paths| *paths));
            }
            Input::Gone { time, processes } => {
                self.now = self.now.max(time);
                for (pid, start) in processes {
                    self.gone(ProcessKey { pid, start });
                }
            }
            Input::Warning { time, message } => {
                self.now = self.now.max(time);
                self.warn(&message);
            }
            Input::Hooks { time, state, hooks } => self.hooks(time, &state, hooks),
            Input::Counters { time, probes } => self.kernel_counters(time, &probes),
            Input::OutputLoss { time, output, reason, total } => {
                self.now = self.now.max(time);
                self.losses.set("output", &output, &reason, total);
            }
            Input::LookLoss { time, total } => {
                self.now = self.now.max(time);
                self.losses.set("pipeline", "looks", "queue_full", total);
            }
            Input::Tick { time } => {
                self.now = self.now.max(time);
                self.keep_containers();
                self.tick();
                for due in self.dedupe.gathered(self.now) {
                    self.publish_alert(due);
                }
                self.mounts_lost();
                self.cgroups_lost();
            }
            Input::Stop { time, reason } => self.stop(time, &reason),
        }
        self.settle();
    }

    fn event(&mut self, event: &Event) {
        self.now = self.now.max(event.time);
        self.mounts_in(event);
        if !self.hold(event) {
            self.admit(event);
        }
    }

    /// An event that is not held: of a server, of its helper, or of nobody.
    fn admit(&mut self, event: &Event) {
        match &event.kind {
            EventKind::Fork(fork) => self.forked(event, *fork),
            EventKind::Exec(exec) => self.executed(event, exec),
            EventKind::Exit(exit) => self.exited(event, *exit),
            EventKind::Open(_)
            | EventKind::Change(_)
            | EventKind::Net(_)
            | EventKind::Privilege(_)
            | EventKind::Access(_) => self.effect(event),
            EventKind::Dns(packet) => self.name_service(event, packet),
            EventKind::Tls(packet) => self.tls(event, packet),
            EventKind::Payload(payload) => self.said(event, payload),
            EventKind::Injection(injection) => self.injected(event, *injection),
        }
    }

    /// After each input: tells what was lost, and whether the system-call program is needed.
    fn settle(&mut self) {
        self.losses.set("pipeline", "processes", "table_full", self.processes.refused());
        self.losses.set("pipeline", "containers", "table_full", self.containers.evicted());
        for loss in self.losses.take() {
            let mut record = self.record(RecordType::Loss, self.now);
            record.loss = Some(Box::new(loss));
            self.records.push(record);
        }
        let needed = !self.instances.is_empty();
        if needed {
            self.idle_since = None;
            if !self.watching {
                self.watching = true;
                self.actions.push(Action::SetWatching(true));
            }
        } else if self.watching {
            let since = *self.idle_since.get_or_insert(self.now);
            // Churn must not flap: attaching and detaching cost every processor of the host a moment.
            let delay = self.config.capture.detach_delay_ms.saturating_mul(1_000_000);
            if self.now.saturating_sub(since) >= delay {
                self.watching = false;
                self.idle_since = None;
                self.actions.push(Action::SetWatching(false));
            }
        }
    }

    fn record(&self, kind: RecordType, time: u64) -> Record {
        Record::new(kind, self.clock.time(time), Arc::clone(&self.host))
    }

    fn warn(&mut self, message: &str) {
        let mut record = self.record(RecordType::Status, self.now);
        record.status = Some(Box::new(Status {
            state: "warning",
            message: message.to_owned(),
            hooks: Vec::new(),
            counters: Vec::new(),
        }));
        self.records.push(record);
    }

    fn kernel_counters(&mut self, time: u64, probes: &[(String, [u64; 6])]) {
        self.now = self.now.max(time);
        self.counters.clear();
        for (name, counts) in probes {
            let Some(probe) =
                mcpwatch_common::control::Probe::ALL.into_iter().find(|probe| probe.name() == name)
            else {
                continue;
            };
            let [seen, sent, ring_full, too_big, truncated, filtered] = *counts;
            self.losses.set("kernel", name, "ring_full", ring_full);
            self.losses.set("kernel", name, "too_big", too_big);
            let probe = probe.name();
            self.counters.push(ProbeCounters {
                probe,
                seen,
                sent,
                ring_full,
                too_big,
                truncated,
                filtered,
            });
        }
    }

    fn stop(&mut self, time: u64, reason: &str) {
        self.now = self.now.max(time);
        self.give_up_all_questions();
        for due in self.dedupe.close_all() {
            self.publish_alert(due);
        }
        // What the kernel handed over and nobody took out in time.
        let sent: u64 = self.counters.iter().map(|probe| probe.sent).sum();
        let left = sent.saturating_sub(self.received);
        self.losses.add("kernel", "ring", "not_drained", left);
        self.mounts_lost();
        self.cgroups_lost();
        let mut record = self.record(RecordType::Status, self.now);
        record.status = Some(Box::new(Status {
            state: "stopped",
            message: format!("mcpwatch stopped: {reason}{}", self.unfinished()),
            hooks: Vec::new(),
            counters: self.counters.clone(),
        }));
        // Losses stand before the last record.
        self.settle();
        self.records.push(record);
    }

    /// What the end of the watch leaves without a record, in words: calls that were not answered yet, and what
    /// was held of candidates until it is known what they are.
    fn unfinished(&self) -> String {
        let (mut calls, mut candidates, mut held) = (0, 0, 0);
        for instance in self.instances.values() {
            match &instance.role {
                Role::Server(serving) => calls += serving.calls.len(),
                Role::Candidate(events) if !events.is_empty() => {
                    candidates += 1;
                    held += events.len();
                }
                Role::Candidate(_) | Role::Helper => {}
            }
        }
        let mut text = String::new();
        if calls > 0 {
            let _ = write!(text, "; calls that still wait for a response: {calls}");
        }
        if candidates > 0 {
            let _ = write!(
                text,
                "; processes of which it is not known yet whether they are servers: {candidates} \
                 ({held} events dropped)"
            );
        }
        text
    }

    /// Candidates are found, and kept for a time only.
    fn sniffs(&self) -> bool {
        self.config.discovery.sniff != Sniff::Off
    }
}

#[cfg(test)]
mod tests;
