//! The pipeline's thread: feeds the pipeline, does what it asks of the kernel, and publishes its records.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::SyncSender;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use mcpwatch_common::control::{Instance, Watch};

use super::books::Books;
use super::cgroups::Cgroups;
use super::configs::LookFor;
use super::inbox::{Inbox, Message};
use super::mounts::Wanted;
use super::origin::{boot_time, calendar_time};
use super::{FINISH, Look};
use crate::event::{ProcessKey, decode};
use crate::host::snapshot::{self, ProcessSnapshot};
use crate::kernel::hooks::{HOOKS, SYS_EXIT, Tier, is_system_call};
use crate::kernel::object::{Object, Step};
use crate::output::Fanout;
use crate::pipeline::input::HookState;
use crate::pipeline::{Action, Input, Pipeline};
use crate::record::ProbeCounters;
use crate::recording::Writer;
use crate::telemetry::{Health, Heartbeat, Metrics};

/// How often time is told to the pipeline when nothing happens.
const TICK: Duration = Duration::from_millis(250);
/// How often the kernel's counters are read and the clocks compared.
const ACCOUNT: Duration = Duration::from_secs(1);
/// Longest reading of events that are left at the end of a run.
const DRAIN: Duration = Duration::from_millis(700);
/// Most records an output may have waiting when more are given to it at the end of a run.
const WAITING: usize = 1_024;
/// Most of what was found that is taken at once: events must not wait for all configurations of a host.
const FOUND: usize = 64;
/// How often processes are looked at again because new ones were added that may have forked meanwhile.
const LOOKS: usize = 5;

/// Everything the thread owns.
pub struct Core {
    pub pipeline: Pipeline,
    pub object: Object,
    pub fanout: Fanout,
    pub recording: Option<Writer>,
    pub metrics: Arc<Metrics>,
    pub health: Arc<Health>,
    pub look_for: LookFor,
    pub look_for_mounts: SyncSender<Wanted>,
    pub scope: Option<ProcessKey>,
    pub cgroups: Cgroups,
    /// What the last comparison of the books with the world found.
    pub books: Books,
}

impl Core {
    /// Runs until it is told to stop, or an output is gone.
    pub fn run(
        mut self,
        mut inbox: Inbox,
        processes: Vec<ProcessSnapshot>,
        beat: &Heartbeat,
    ) -> anyhow::Result<()> {
        self.begin(processes)?;
        let (mut accounted, mut told) = (Instant::now(), Instant::now());
        loop {
            let mut working = self.take_found(&inbox)?;
            let mut quiet = true;
            if let Some(batch) = inbox.events() {
                self.events(batch)?;
                quiet = false;
            }
            while let Some(message) = inbox.message() {
                match message {
                    Message::Input(input) => self.input(*input)?,
                    Message::Stop(reason) => return self.end(inbox, beat, &reason),
                    Message::Reopen => self.fanout.reopen(),
                }
                quiet = false;
            }
            if !quiet {
                told = Instant::now();
            } else if told.elapsed() >= TICK {
                self.input(Input::Tick { time: boot_time() })?;
                told = Instant::now();
            }
            beat.touch();
            working |= self.step()?;
            if accounted.elapsed() >= ACCOUNT {
                // A step may take long, and this tells the time.
                self.take_found(&inbox)?;
                self.account()?;
                accounted = Instant::now();
            }
            if let Some(failure) = self.fanout.failed() {
                bail!(failure.message);
            }
            if !working {
                inbox.wait().context("cannot wait for events")?;
            }
        }
    }

    /// Takes the watching of system calls one step further; true when the next may not wait.
    fn step(&mut self) -> anyhow::Result<bool> {
        match self.object.step() {
            Step::Working => return Ok(true),
            Step::Resting => {}
            Step::Settled => self.hooks("settled")?,
            Step::Attached => self.hooks("attached")?,
        }
        Ok(false)
    }

    /// What was there before the start: processes, then the word that all is attached.
    fn begin(&mut self, processes: Vec<ProcessSnapshot>) -> anyhow::Result<()> {
        self.clock()?;
        // What has ended since it was read, ended while nobody took it out.
        self.clear_scope(&processes)?;
        // Homes and directories of what runs already; the follower reads them in its own time.
        let pids = processes.iter().map(|process| process.pid).collect();
        self.look_for.ask(Look::Running(pids));
        let groups = self.cgroups.of_running(&processes);
        if !groups.is_empty() {
            self.input(Input::Cgroups { time: boot_time(), groups, unread: 0 })?;
        }
        self.input(Input::Processes { time: boot_time(), processes })?;
        // Between the snapshot and the attaching of the fork hook, processes may have forked.
        self.look_again(1)?;
        self.hooks("started")?;
        // Not under systemd this does nothing.
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Ready]);
        Ok(())
    }

    /// Takes what was found around processes before the time and the events that have passed meanwhile; true when
    /// there may be more.
    fn take_found(&mut self, inbox: &Inbox) -> anyhow::Result<bool> {
        for _ in 0..FOUND {
            let Some(input) = inbox.found() else { return Ok(false) };
            self.input(input)?;
        }
        Ok(true)
    }

    fn events(&mut self, batch: &[u8]) -> anyhow::Result<()> {
        let (groups, unread) = self.cgroups.of(batch);
        if !groups.is_empty() || unread > 0 {
            self.feed(Input::Cgroups { time: boot_time(), groups, unread })?;
        }
        if let Some(recording) = &mut self.recording {
            recording.events(batch)?;
        }
        self.pipeline.events(batch);
        self.publish()
    }

    fn input(&mut self, input: Input) -> anyhow::Result<()> {
        if let Some(recording) = &mut self.recording {
            recording.input(&input)?;
        }
        self.pipeline.input(input);
        self.publish()
    }

    /// Does what the pipeline asks for, then hands its records to the outputs.
    fn publish(&mut self) -> anyhow::Result<()> {
        let mut look_again = false;
        for action in self.pipeline.take_actions() {
            look_again |= self.act(action)?;
        }
        self.publish_records();
        if look_again {
            self.look_again(LOOKS)?;
        }
        Ok(())
    }

    /// True when processes are to be looked at again.
    fn act(&mut self, action: Action) -> anyhow::Result<bool> {
        match action {
            Action::SetInstance { id, stdin_inode, stdout_inode } => {
                let instance = Instance { stdin_inode, stdout_inode, in_offset: 0, out_offset: 0 };
                if let Err(error) = self.object.add_instance(id, instance) {
                    self.warn(&error.to_string())?;
                }
            }
            Action::Watch { pid, start_time, instance } => {
                let refused = self.object.refused().is_some();
                if let Err(error) = self.object.watch(pid, Watch { instance, start_time }) {
                    self.warn(&error.to_string())?;
                }
                if !refused && self.object.refused().is_some() {
                    self.hooks("degraded")?;
                }
                // One that had ended by then is not taken out at its exit, and the next process of that id
                // would be taken for it.
                let start = decode::key(pid, start_time).start;
                if snapshot::start_of(pid) != Some(start) {
                    self.object.unwatch(pid);
                }
            }
            Action::Forget { instance, pids } => self.object.drop_instance(instance, &pids),
            Action::SetWatching(watching) => match self.object.set_watching(watching) {
                Ok(()) if !watching => self.hooks("detached")?,
                Ok(()) if self.object.refused().is_some() => self.hooks("degraded")?,
                Ok(()) => self.hooks("attached")?,
                Err(error) => self.warn(&error.to_string())?,
            },
            Action::LookAgain => return Ok(true),
            // What finds no room is answered with nothing: who waits for it goes on without.
            Action::LookForConfigs { pid, of_server } => {
                if !self.look_for.ask(Look::Around { pid, of_server }) {
                    let (time, cgroup) = (boot_time(), String::new());
                    self.feed(Input::Looked { time, pid, cgroup, container: None })?;
                }
            }
            // Nobody waits for that: runtime and id are known.
            Action::LookForContainer { cgroup } => {
                self.look_for.ask(Look::Container(cgroup));
            }
            Action::LookForFolders { instance, pid, folders } => {
                if !self.look_for.ask(Look::Folders(instance, pid, folders)) {
                    let (time, folders) = (boot_time(), Vec::new());
                    self.feed(Input::Folders { time, instance, folders })?;
                }
            }
            // One that finds no room could not be read: the next event there asks again.
            Action::LookForMounts { namespace, pid } => {
                if self.look_for_mounts.try_send(Wanted { namespace, pid }).is_err() {
                    self.feed(Input::Mounts { time: boot_time(), namespace, paths: None })?;
                }
            }
        }
        Ok(false)
    }

    /// Looks at the processes until nothing new is found: what is added may just have forked.
    fn look_again(&mut self, most: usize) -> anyhow::Result<()> {
        for _ in 0..most {
            let processes = snapshot::read_all(self.scope);
            if self.scope.is_some() {
                let pids: Vec<u32> = processes.iter().map(|process| process.pid).collect();
                let added = self.object.extend_scope(&pids)?;
                let added = processes.iter().filter(|process| added.contains(&process.pid));
                self.clear_scope(added)?;
            }
            let input = Input::Processes { time: boot_time(), processes };
            if let Some(recording) = &mut self.recording {
                recording.input(&input)?;
            }
            self.pipeline.input(input);
            let mut again = false;
            for action in self.pipeline.take_actions() {
                again |= self.act(action)?;
            }
            if !again {
                break;
            }
        }
        self.publish_records();
        Ok(())
    }

    /// Takes processes out of the scope that have ended: whoever gets their ids lies outside, unless it comes from
    /// within, and then it is found there again.
    fn clear_scope<'a>(
        &mut self,
        processes: impl IntoIterator<Item = &'a ProcessSnapshot>,
    ) -> anyhow::Result<()> {
        if self.scope.is_some() {
            let ended = processes.into_iter().filter(|process| !snapshot::lives(process.key()));
            let ended: Vec<u32> = ended.map(|process| process.pid).collect();
            self.object.leave_scope(&ended)?;
        }
        Ok(())
    }

    fn publish_records(&mut self) {
        let records = self.pipeline.take_records();
        for record in &records {
            self.metrics.observe(record);
        }
        if let Some(last) = records.last() {
            let age = calendar_time().saturating_sub(last.time.0);
            self.metrics.processed(Duration::from_nanos(age.try_into().unwrap_or(0)));
        }
        self.fanout.publish(records);
    }

    fn warn(&mut self, message: &str) -> anyhow::Result<()> {
        self.feed(Input::Warning { time: boot_time(), message: message.to_owned() })
    }

    /// An input whose actions the caller's loop takes up.
    fn feed(&mut self, input: Input) -> anyhow::Result<()> {
        if let Some(recording) = &mut self.recording {
            recording.input(&input)?;
        }
        self.pipeline.input(input);
        Ok(())
    }

    fn hooks(&mut self, state: &str) -> anyhow::Result<()> {
        let hooks = self.object.hooks();
        let missing = hooks.iter().filter(|hook| hook.state == "missing");
        // Tier `fexit` can do without it, once it serves.
        let served = hooks.iter().any(|hook| {
            hook.tier == Tier::Fexit.name() && hook.state == "attached" && is_system_call(hook.name)
        });
        let dispensable = |name: &str| name == SYS_EXIT && served;
        let required = |name: &str| {
            HOOKS.iter().any(|hook| hook.name == name && hook.required) && !dispensable(name)
        };
        self.health.set_missing(
            missing
                .filter(|hook| required(hook.name))
                .map(|hook| format!("the hook {} is missing", hook.name))
                .collect(),
        );
        let hooks = hooks
            .into_iter()
            .map(|hook| HookState {
                name: hook.name.to_owned(),
                tier: hook.tier.to_owned(),
                state: hook.state.to_owned(),
                reason: hook.reason,
            })
            .collect();
        self.feed(Input::Hooks { time: boot_time(), state: state.to_owned(), hooks })?;
        self.publish_records();
        Ok(())
    }

    fn clock(&mut self) -> anyhow::Result<()> {
        self.feed(Input::Clock { boot: boot_time(), calendar: calendar_time() })
    }

    /// Reads the kernel's counters, and brings metrics and losses up to date.
    fn account(&mut self) -> anyhow::Result<()> {
        self.clock()?;
        let ring_full = self.counters()?;
        self.reconcile(ring_full)?;
        self.output_losses()?;
        self.look_losses()?;
        let standing = self.pipeline.standing();
        self.metrics.set_candidates(standing.candidates);
        self.metrics.set_map("processes", standing.processes, crate::pipeline::PROCESSES);
        for (map, entries, capacity) in self.object.map_fill() {
            self.metrics.set_map(map, entries, capacity);
        }
        for (program, runs, nanoseconds) in self.object.program_runs() {
            self.metrics.set_program(program, runs, Duration::from_nanos(nanoseconds));
        }
        self.metrics.set_outputs(&self.fanout.states());
        if let Some(recording) = &mut self.recording {
            recording.flush()?;
        }
        if self.health.stuck().is_empty() {
            let _ = sd_notify::notify(&[sd_notify::NotifyState::Watchdog]);
        }
        self.input(Input::Tick { time: boot_time() })
    }

    fn output_losses(&mut self) -> anyhow::Result<()> {
        for loss in self.fanout.losses() {
            let reason = loss.reason.name().to_owned();
            let (output, total) = (loss.output, loss.lost);
            self.feed(Input::OutputLoss { time: boot_time(), output, reason, total })?;
        }
        Ok(())
    }

    /// Tells how many requests the follower of configurations had no room for: from time to time, not each.
    fn look_losses(&mut self) -> anyhow::Result<()> {
        match self.look_for.refused() {
            Some(total) => self.feed(Input::LookLoss { time: boot_time(), total }),
            None => Ok(()),
        }
    }

    /// At the end of a run nothing more comes in: the outputs may take their time, within the run's own.
    fn wait_for_outputs(&self, deadline: Instant) {
        while Instant::now() < deadline
            && self.fanout.states().iter().any(|output| output.queued > WAITING)
        {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends what is gone without a word, and takes instances out of the kernel that nobody knows: their
    /// events were lost.
    fn reconcile(&mut self, ring_full: u64) -> anyhow::Result<()> {
        if self.books.is_look_due(self.object.beginnings_passed_over(), Instant::now()) {
            self.look_again(LOOKS)?;
        }
        if !self.books.is_due(ring_full) {
            return Ok(());
        }
        self.object.note_watched();
        let mut gone: BTreeSet<(u32, u64)> = self
            .pipeline
            .living()
            .filter(|process| snapshot::start_of(process.pid) != Some(process.start))
            .map(|process| (process.pid, process.start))
            .collect();
        // What was known before the listing and is not in it has ended.
        let outside = self.pipeline.outside().map(|process| (process.pid, process.start));
        let outside: BTreeSet<(u32, u64)> = outside.collect();
        if let Some(ids) = snapshot::ids() {
            gone.extend(self.books.missing(&outside, &ids, snapshot::start_of));
        }
        let processes = self.books.gone.settle(&gone, Instant::now());
        if !processes.is_empty() {
            self.input(Input::Gone { time: boot_time(), processes })?;
        }
        let known: BTreeSet<u64> = self.pipeline.instance_ids().collect();
        let unknown = self.object.instances().filter(|id| !known.contains(id)).collect();
        for id in self.books.unknown.settle(&unknown, Instant::now()) {
            self.object.drop_instance(id, &[]);
        }
        Ok(())
    }

    /// Tells the pipeline the kernel's counters; gives how many events found no room.
    fn counters(&mut self) -> anyhow::Result<u64> {
        let counters = self.object.counters()?;
        let shown: Vec<ProbeCounters> = counters
            .iter()
            .map(|(probe, counters)| ProbeCounters {
                probe: probe.name(),
                seen: counters.seen,
                sent: counters.sent,
                ring_full: counters.ring_full,
                too_big: counters.too_big,
                truncated: counters.truncated,
                filtered: counters.filtered,
            })
            .collect();
        self.metrics.probes(&shown);
        let probes = shown
            .into_iter()
            .map(|one| {
                let counts =
                    [one.seen, one.sent, one.ring_full, one.too_big, one.truncated, one.filtered];
                (one.probe.to_owned(), counts)
            })
            .collect();
        self.feed(Input::Counters { time: boot_time(), probes })?;
        Ok(counters.iter().map(|(_, counters)| counters.ring_full).sum())
    }

    /// Takes out what is in flight, tells the last counters, and detaches.
    fn end(mut self, mut inbox: Inbox, beat: &Heartbeat, reason: &str) -> anyhow::Result<()> {
        let _ = sd_notify::notify(&[sd_notify::NotifyState::Stopping]);
        self.object.close();
        let deadline = Instant::now() + DRAIN;
        while Instant::now() < deadline {
            let Some(batch) = inbox.last_events() else { break };
            self.events(batch)?;
            self.wait_for_outputs(deadline);
        }
        self.counters()?;
        self.wait_for_outputs(deadline);
        self.output_losses()?;
        self.look_losses()?;
        self.input(Input::Stop { time: boot_time(), reason: reason.to_owned() })?;
        if let Some(recording) = &mut self.recording {
            recording.flush()?;
        }
        beat.retire();
        let lost = self.fanout.finish(FINISH);
        for loss in &lost {
            tracing::warn!(
                output = %loss.output,
                reason = loss.reason.name(),
                lost = loss.lost,
                "records were lost"
            );
        }
        Ok(())
    }
}
