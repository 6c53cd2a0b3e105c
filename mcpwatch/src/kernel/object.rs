//! The loaded kernel object: programs attached, maps open.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::atomic::{Ordering, fence};

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::cgroup_skb::CgroupSkbLinkId;
use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::programs::{CgroupAttachMode, CgroupSkbAttachType, Program};
use aya::{Btf, Ebpf, EbpfLoader, include_bytes_aligned};
use mcpwatch_common::control::{
    ADDRESS_UNKNOWN, CALL_SLOTS, Channel, Counters, Handover, Instance, Offsets, Probe, Settings,
    Watch,
};

use super::fexit::Attached;
use super::hooks::{
    self, CONNECTS, Flow, HOOKS, Hook, IO_URING_OPEN, IO_URING_SUBMIT, Point, SUBMITTED, SYS_EXIT,
    SYS_EXIT_PERF, Tier, Way, When,
};
use super::io_uring_opens::IoUringOpens;
use super::ring::{EVENTS, Ring};
use super::submitted::{self, Tracepoint};
pub use super::system_calls::Step;
use super::system_calls::SystemCalls;
use super::watched::{self, Watched};
use super::{
    KernelError, absent, capabilities, fexit, map_error, offsets, rdonly_cast, take, with_causes,
};
use crate::config::TierChoice;
use crate::record;

pub(super) static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mcpwatch"));

/// The section of the kernel object that is the variable of this name, and nothing else.
const OPENS_ASKED_FOR: &str = ".bss";

/// Why a hook on cgroups is missing.
const NO_CGROUP: &str = "cgroup v2 is not mounted on this host; mount it (`mount -t cgroup2 none \
     /sys/fs/cgroup/unified`) or boot with systemd.unified_cgroup_hierarchy=1";

/// Why programs do not load from the kernel's memory.
const NO_LOADS: &str =
    "the type information of this kernel offers no loads, which came with Linux 6.17";

/// What the kernel side is started with.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the ring buffer in bytes, a power of two.
    pub ring_bytes: u32,
    /// Most bytes captured of one transfer.
    pub payload_limit: u32,
    /// Candidates are found in the kernel.
    pub sniff: bool,
    /// Only these processes and their descendants, when given.
    pub scope: Option<Vec<u32>>,
    /// Which tier is to serve system calls.
    pub tier: TierChoice,
}

/// The kernel side, from load to drop: dropping it detaches everything.
pub struct Object {
    ebpf: Ebpf,
    watch: HashMap<MapData, u32, [u64; 2]>,
    watched: Watched,
    instances: HashMap<MapData, u64, [u64; 4]>,
    channels: HashMap<MapData, u64, [u64; 1]>,
    counters: PerCpuArray<MapData, [u64; 6]>,
    states: BTreeMap<&'static str, State>,
    cgroup: Option<File>,
    system_calls: SystemCalls,
    /// The one on opens through `io_uring`, if it works.
    io_uring: IoUringOpens,
    opens_asked_for: Array<MapData, u32>,
    /// A process is watched that may have asked before it was.
    may_have_asked: bool,
    /// What the kernel told of programs on tracepoints before they were unloaded.
    passed_over_before: u64,
    watching: bool,
    /// The tracepoint on submitted requests, or why there is none.
    submissions: Result<Tracepoint, String>,
    /// Why programs do not load from the kernel's memory, but have a helper read it.
    helper_reads: Option<String>,
    /// Why it is not certain where the kernel keeps a socket's address in a request.
    address_open: Option<String>,
    /// Links of the hooks beside system calls that come and go.
    links: Vec<(&'static str, Link)>,
}

/// What the kernel's types say that it offers.
struct Offered {
    offsets: Offsets,
    /// The tracepoint on submitted requests, or why there is none.
    submissions: Result<Tracepoint, String>,
    /// The number of the function by which programs can load from its memory.
    rdonly_cast: Option<u32>,
}

/// What holds a program that comes and goes where it is.
enum Link {
    Packets(CgroupSkbLinkId),
    Tracepoint(RawTracePointLinkId),
}

/// State of one hook.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    Attached,
    Ready,
    Missing(String),
}

impl Object {
    /// Loads every program and attaches those that are always attached.
    pub fn open(options: &Options) -> Result<(Self, Ring), KernelError> {
        capabilities::check()?;
        raise_memory_limit();
        let types = offsets::types_of_running_kernel()?;
        let offsets = offsets::resolve(&types)?;
        let submissions = submitted::tracepoint(&types, &offsets, SUBMITTED);
        let rdonly_cast = rdonly_cast::function(&types);
        drop(types);
        // What follows would come to it, not into its place: it is many small pieces.
        give_back_memory();
        let offered = Offered { offsets, submissions, rdonly_cast };
        let opened = Self::load_all(options, &offered);
        let refusal = match opened {
            Err(error) if rdonly_cast.is_some() => error.to_string(),
            _ => return opened,
        };
        // A kernel that interprets programs (`net.core.bpf_jit_enable`) takes none that calls a function of its own.
        let (mut object, ring) =
            Self::load_all(options, &Offered { rdonly_cast: None, ..offered })?;
        object.helper_reads = Some(refusal);
        Ok((object, ring))
    }

    fn load_all(options: &Options, offered: &Offered) -> Result<(Self, Ring), KernelError> {
        let Offered { offsets, submissions, rdonly_cast } = offered;
        let preemptible = capabilities::preemptible();
        let settings = Settings {
            agent_pid: std::process::id(),
            scoped: u32::from(options.scope.is_some()),
            sniff: u32::from(options.sniff),
            payload_limit: options.payload_limit,
            wake_at: options.ring_bytes / 4,
            preemptible: u32::from(preemptible),
            submitted_request: submissions.as_ref().map_or(0, |tracepoint| tracepoint.request),
            rdonly_cast: u32::from(rdonly_cast.is_some()),
            tried_address: submitted::address_of_chance(),
        };
        let cpus =
            u32::try_from(aya::util::nr_cpus().map_err(|(what, error)| KernelError::Load {
                reason: format!("{what}: {error}"),
            })?)
            .unwrap_or(u32::MAX);
        let call_scratches = if preemptible { cpus.saturating_mul(CALL_SLOTS) } else { cpus };
        let pages = watched::pages();
        // The loader reads the type information by itself, and forgets it.
        let bytes = rdonly_cast.map_or(Cow::Borrowed(OBJECT), |function| {
            rdonly_cast::put_into(OBJECT, function).into()
        });
        let mut ebpf = EbpfLoader::new()
            .override_global("SETTINGS", bytemuck::bytes_of(&settings), true)
            .override_global("OFFSETS", bytemuck::bytes_of(offsets), true)
            .map_max_entries(EVENTS, options.ring_bytes)
            .map_max_entries("WATCHED", pages)
            .map_max_entries("CALL_SCRATCH", call_scratches)
            .map_max_entries("TAKEN", call_scratches)
            .map_max_entries("EXEC_SCRATCH", cpus)
            .load(&bytes)
            .map_err(|error| KernelError::Load { reason: with_causes(&error) })?;
        drop(bytes);
        let btf = Btf::from_sys_fs().ok();
        let events = ebpf.take_map(EVENTS).ok_or_else(|| absent(EVENTS))?;
        let (cgroup, whole_host) = cgroup2_root();
        let mut object = Self {
            watch: take(&mut ebpf, "WATCH")?,
            watched: Watched::new(ebpf.map("WATCHED").ok_or_else(|| absent("WATCHED"))?, pages)?,
            instances: take(&mut ebpf, "INSTANCES")?,
            channels: take(&mut ebpf, "CHANNELS")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            states: BTreeMap::new(),
            cgroup,
            system_calls: SystemCalls::new(&mut ebpf)?,
            io_uring: IoUringOpens::new(&mut ebpf)?,
            opens_asked_for: take(&mut ebpf, OPENS_ASKED_FOR)?,
            may_have_asked: false,
            passed_over_before: 0,
            watching: false,
            submissions: submissions.clone(),
            helper_reads: rdonly_cast.is_none().then(|| NO_LOADS.into()),
            address_open: None,
            links: Vec::new(),
            ebpf,
        };
        if let Some(scope) = &options.scope {
            object.extend_scope(scope)?;
        }
        for hook in HOOKS.iter() {
            object.prepare(hook)?;
        }
        if object.states.get(IO_URING_SUBMIT) == Some(&State::Ready)
            && capabilities::tracepoints_give_way()
        {
            object.system_calls.tell(Handover::IoUring, true)?;
        }
        object.opens_asked_for(true)?;
        let attached = |name| object.states.get(name) == Some(&State::Attached);
        let destinations_seen = CONNECTS.into_iter().all(attached) && whole_host;
        object.system_calls.tell(Handover::DestinationsSeen, destinations_seen)?;
        if submitted::address_is_open(offsets) {
            object.find_address(&settings.tried_address)?;
        }
        object.prepare_io_uring(btf.as_ref(), offsets)?;
        object.system_calls.choose_sys_exit(&mut object.ebpf);
        object.system_calls.choose(&mut object.ebpf, btf.as_ref(), options.tier)?;
        drop(btf);
        give_back_memory();
        // Last: it is the largest, and mapped twice.
        Ok((object, Ring::new(events)?))
    }

    fn scope(&mut self) -> Result<HashMap<&mut MapData, u32, u8>, KernelError> {
        let map = self.ebpf.map_mut("SCOPE").ok_or_else(|| absent("SCOPE"))?;
        map.try_into().map_err(|error| map_error("SCOPE", &error))
    }

    /// Takes further processes into the scope; gives those that were not in it. Whoever has ended by then is not taken
    /// out at its exit: the caller has to look, and to [`Self::leave_scope`].
    pub fn extend_scope(&mut self, scope: &[u32]) -> Result<Vec<u32>, KernelError> {
        let mut map = self.scope()?;
        let mut added = Vec::new();
        for pid in scope {
            if map.get(pid, 0).is_err() {
                map.insert(pid, 0, 0).map_err(|error| map_error("SCOPE", &error))?;
                added.push(*pid);
            }
        }
        Ok(added)
    }

    /// Takes processes out of the scope.
    pub fn leave_scope(&mut self, pids: &[u32]) -> Result<(), KernelError> {
        let mut map = self.scope()?;
        for pid in pids {
            // The only error is that it is not there: its exit came in between.
            let _ = map.remove(pid);
        }
        Ok(())
    }

    /// Loads a hook's program, and attaches it if it always is. Programs of tier `fexit` are not dealt with here.
    fn prepare(&mut self, hook: &'static Hook) -> Result<(), KernelError> {
        let Some(way) = hook.ways.iter().find(|way| way.tier != Tier::Fexit) else { return Ok(()) };
        if hook.name != way.program {
            return Ok(());
        }
        let state = match self.load(way) {
            Ok(()) if hook.when == When::Always => self.attach(way).map(|()| State::Attached),
            Ok(()) => Ok(State::Ready),
            Err(reason) => Err(reason),
        };
        let state = match state {
            Ok(state) => state,
            Err(reason) if hook.required => {
                return Err(KernelError::Attach { hook: hook.name, reason, lost: hook.lost });
            }
            Err(reason) => State::Missing(reason),
        };
        self.states.insert(hook.name, state);
        Ok(())
    }

    /// Loads the program on opens through `io_uring`, whichever tier serves system calls.
    fn prepare_io_uring(
        &mut self,
        btf: Option<&Btf>,
        offsets: &Offsets,
    ) -> Result<(), KernelError> {
        let loaded = self.io_uring.load(&mut self.ebpf, btf, offsets);
        if loaded.is_ok() {
            self.system_calls.tell(Handover::IoUring, true)?;
        }
        self.states.insert(IO_URING_OPEN, loaded.map_or_else(State::Missing, |()| State::Ready));
        Ok(())
    }

    fn load(&mut self, way: &Way) -> Result<(), String> {
        if let (Point::RenamedTracepoint(_), Err(reason)) = (way.point, &self.submissions) {
            return Err(reason.clone());
        }
        match self.ebpf.program_mut(way.program) {
            Some(Program::RawTracePoint(program)) => {
                program.load().map_err(|error| with_causes(&error))
            }
            Some(Program::CgroupSockAddr(program)) => {
                program.load().map_err(|error| with_causes(&error))
            }
            Some(Program::CgroupSkb(program)) => {
                program.load().map_err(|error| with_causes(&error))?;
                if self.cgroup.is_some() { Ok(()) } else { Err(NO_CGROUP.into()) }
            }
            _ => Err("the kernel object has no such program".into()),
        }
    }

    fn attach(&mut self, way: &Way) -> Result<(), String> {
        match (way.point, self.ebpf.program_mut(way.program)) {
            (Point::RawTracepoint(name), Some(Program::RawTracePoint(program))) => {
                program.attach(name).map_err(|error| with_causes(&error))?;
                Ok(())
            }
            (Point::RenamedTracepoint(_), Some(Program::RawTracePoint(program))) => {
                let tracepoint = self.submissions.as_ref().map_err(Clone::clone)?;
                let link = program.attach(tracepoint.name).map_err(|error| with_causes(&error))?;
                self.links.push((way.program, Link::Tracepoint(link)));
                Ok(())
            }
            (Point::Cgroup, Some(Program::CgroupSockAddr(program))) => {
                let Some(root) = &self.cgroup else { return Err(NO_CGROUP.into()) };
                // The flagged modes give EINVAL for links, which are what aya makes where it can; links
                // share the cgroup with other programs by themselves. They end with the program.
                program
                    .attach(root, CgroupAttachMode::Single)
                    .map_err(|error| with_causes(&error))?;
                Ok(())
            }
            (Point::Packets(flow), Some(Program::CgroupSkb(program))) => {
                let Some(root) = &self.cgroup else { return Err(NO_CGROUP.into()) };
                let flow = match flow {
                    Flow::In => CgroupSkbAttachType::Ingress,
                    Flow::Out => CgroupSkbAttachType::Egress,
                };
                let link = program
                    .attach(root, flow, CgroupAttachMode::Single)
                    .map_err(|error| with_causes(&error))?;
                self.links.push((way.program, Link::Packets(link)));
                Ok(())
            }
            _ => Err("the kernel object has no such program".into()),
        }
    }

    /// Finds out where the kernel keeps the address of a socket in a request, by one of the agent's own.
    fn find_address(&mut self, tried: &[u32; 4]) -> Result<(), KernelError> {
        let mut hooks = HOOKS.iter().filter(|hook| hook.name == IO_URING_SUBMIT);
        let Some(way) = hooks.find_map(|hook| hook.ways.first()) else { return Ok(()) };
        if self.states.get(IO_URING_SUBMIT) != Some(&State::Ready) {
            return Ok(());
        }
        // The agent is not watched, but the program has to look at it this once.
        self.watched.note(std::process::id(), true);
        let asked = self.attach(way).and_then(|()| {
            submitted::ask_for(tried)
                .map_err(|error| format!("an io_uring of the agent's own: {error}"))
        });
        self.detach_beside();
        self.watched.note(std::process::id(), false);
        let found = self.system_calls.told(Handover::Address)? != ADDRESS_UNKNOWN;
        self.address_open = match asked {
            _ if found => None,
            Ok(()) => Some("a request of the agent's own did not show it".into()),
            Err(reason) => Some(reason),
        };
        Ok(())
    }

    /// Begins or ends the watching of system calls, and of what is watched beside them. What takes longer is done by
    /// [`Self::step`].
    pub fn set_watching(&mut self, watching: bool) -> Result<(), KernelError> {
        self.watching = watching;
        if !watching {
            self.system_calls.tell(Handover::OpensSeen, false)?;
            // Some of its programs may be attached, and others not yet.
            self.io_uring.detach(&mut self.ebpf);
            if self.states.get(IO_URING_OPEN) == Some(&State::Attached) {
                self.states.insert(IO_URING_OPEN, State::Ready);
            }
        }
        if watching {
            self.io_uring.forget();
            self.system_calls.begin(&mut self.ebpf);
        } else {
            self.system_calls.end(&mut self.ebpf);
        }
        self.watch_beside(watching)
    }

    /// Attaches or detaches the hooks on packets and on submitted requests. None of them is required: one that fails
    /// is missing.
    fn watch_beside(&mut self, watching: bool) -> Result<(), KernelError> {
        if !watching {
            self.may_have_asked = false;
            self.opens_asked_for(true)?;
            self.detach_beside();
            return Ok(());
        }
        let beside =
            |way: &&Way| matches!(way.point, Point::Packets(_) | Point::RenamedTracepoint(_));
        for hook in HOOKS.iter() {
            let Some(way) = hook.ways.iter().find(beside) else { continue };
            if self.states.get(hook.name) == Some(&State::Ready) {
                let tells_of_opens = hook.name == IO_URING_SUBMIT;
                // Before it is attached: from then on the program says so itself.
                if tells_of_opens {
                    self.opens_asked_for(self.may_have_asked)?;
                }
                let attached = self.attach(way);
                if tells_of_opens && attached.is_err() {
                    self.opens_asked_for(true)?;
                }
                let state = attached.map_or_else(State::Missing, |()| State::Attached);
                self.states.insert(hook.name, state);
            }
        }
        Ok(())
    }

    fn detach_beside(&mut self) {
        for (name, link) in std::mem::take(&mut self.links) {
            // The only error is an unknown link: then it is detached.
            let _ = match (self.ebpf.program_mut(name), link) {
                (Some(Program::CgroupSkb(program)), Link::Packets(link)) => program.detach(link),
                (Some(Program::RawTracePoint(program)), Link::Tracepoint(link)) => {
                    program.detach(link)
                }
                _ => Ok(()),
            };
            self.states.insert(name, State::Ready);
        }
    }

    /// Tells the program on opens through `io_uring` whether to look for any; that on submitted requests says so, too.
    fn opens_asked_for(&mut self, so: bool) -> Result<(), KernelError> {
        let set = self.opens_asked_for.set(0, u32::from(so), 0);
        set.map_err(|error| map_error(OPENS_ASKED_FOR, &error))
    }

    /// Does the next thing that [`Self::set_watching`] left to do.
    pub fn step(&mut self) -> Step {
        // First: what it sees, `sys_exit` does not see meanwhile.
        if self.watching && self.states.get(IO_URING_OPEN) == Some(&State::Ready) {
            let state = match self.io_uring.attach_next(&mut self.ebpf) {
                Attached::One if !self.io_uring.are_attached() => return Step::Working,
                Attached::One | Attached::All => Some(State::Attached),
                Attached::NotYet => None,
                Attached::Failed((_, reason)) => Some(State::Missing(reason)),
            };
            if let Some(state) = state {
                if state == State::Attached {
                    // If that fails, opens go on being told as they are submitted; at the function that all opens come
                    // by they are told twice then.
                    let _ = self.system_calls.tell(Handover::OpensSeen, true);
                }
                // Of tier `fexit` more is to come, and is told with the last of it; of a failure this is all.
                let more = state == State::Attached && self.tier() == Tier::Fexit;
                self.states.insert(IO_URING_OPEN, state);
                return if more { Step::Working } else { Step::Settled };
            }
        }
        let watch = &self.watch;
        self.system_calls.step(&mut self.ebpf, || watch.keys().filter_map(Result::ok).collect())
    }

    /// Why programs do not load from the kernel's memory, but have a helper read it, which costs more; `None` where they do.
    #[must_use]
    pub fn helper_reads(&self) -> Option<&str> {
        self.helper_reads.as_deref()
    }

    /// The tier that serves system calls.
    #[must_use]
    pub const fn tier(&self) -> Tier {
        self.system_calls.tier()
    }

    /// Why system calls are not seen, or not all of them, although something is watched.
    #[must_use]
    pub fn refused(&self) -> Option<KernelError> {
        let reason = self.system_calls.sys_exit_refused()?.to_owned();
        let lost = HOOKS.iter().find(|hook| hook.name == SYS_EXIT).map_or("", |hook| hook.lost);
        Some(KernelError::Attach { hook: SYS_EXIT, reason, lost })
    }

    /// Detaches everything; the counters can still be read.
    pub fn close(&mut self) {
        self.system_calls.close(&mut self.ebpf);
        self.passed_over_before = self.tracepoints_passed_over();
        self.links.clear();
        for name in hooks::programs() {
            // A program that is unloaded takes its links with it; one that was never loaded has none. Those of
            // tier `fexit` are muted instead: see `SystemCalls::close`.
            let _ = match self.ebpf.program_mut(name) {
                Some(Program::RawTracePoint(program)) => program.unload(),
                Some(Program::TracePoint(program)) => program.unload(),
                Some(Program::CgroupSockAddr(program)) => program.unload(),
                Some(Program::CgroupSkb(program)) => program.unload(),
                _ => Ok(()),
            };
            if let Some(state) = self.states.get_mut(name) {
                *state = State::Ready;
            }
        }
    }

    /// State of every hook, for `status` records and metrics.
    #[must_use]
    pub fn hooks(&self) -> Vec<record::Hook> {
        HOOKS.iter().map(|hook| self.state_of(hook)).collect()
    }

    fn state_of(&self, hook: &Hook) -> record::Hook {
        let watching = |attached| if attached { "attached" } else { "ready" };
        let calls = &self.system_calls;
        if hook.is_system_call() {
            if let (Tier::Fexit, Some(reason)) = (calls.tier(), calls.absent(hook)) {
                let (tier, reason) = (Tier::Fexit.name(), Some(reason.to_owned()));
                return record::Hook { name: hook.name, tier, state: "absent", reason };
            }
            if let (Tier::Tracepoint, Some(reason)) = (calls.tier(), calls.sys_exit_refused()) {
                let mut reason = format!("{SYS_EXIT}: {reason}");
                if let Some(better) = calls.reason(hook) {
                    reason = format!("{reason}; {better}");
                }
                return missing(hook, calls.tier(), &reason);
            }
            return record::Hook {
                name: hook.name,
                tier: calls.tier().name(),
                state: watching(calls.serving()),
                reason: calls.reason(hook),
            };
        }
        let tier = hook.ways.first().map_or(Tier::Tracepoint, |way| way.tier);
        let (state, reason) = match self.states.get(hook.name) {
            Some(State::Ready) if hook.name == SYS_EXIT => match calls.sys_exit_refused() {
                Some(reason) => return missing(hook, tier, reason),
                None => (watching(calls.sys_exit_attached()), calls.sys_exit_reason()),
            },
            Some(State::Attached) => ("attached", self.open_beside(hook)),
            Some(State::Ready) => ("ready", self.open_beside(hook)),
            Some(State::Missing(reason)) => return missing(hook, tier, reason),
            None => ("missing", None),
        };
        record::Hook { name: hook.name, tier: tier.name(), state, reason }
    }

    /// What is not certain of a hook that works.
    fn open_beside(&self, hook: &Hook) -> Option<String> {
        if hook.name == IO_URING_OPEN {
            return self.io_uring.reason();
        }
        let why = self.address_open.as_ref().filter(|_| hook.name == IO_URING_SUBMIT)?;
        Some(format!(
            "where the kernel keeps the address of a socket is not known, and addresses that it may have kept in two \
             places are counted as lost ({why})"
        ))
    }

    /// Each way of a hook, and why it does not work here, if it does not.
    #[must_use]
    pub fn ways<'a>(&'a self, hook: &'a Hook) -> Vec<(&'a Way, Option<&'a str>)> {
        hook.ways
            .iter()
            .map(|way| {
                let missing = match self.states.get(way.program) {
                    Some(State::Missing(reason)) => Some(reason.as_str()),
                    _ if way.tier == Tier::Fexit => {
                        self.system_calls.refused(hook).or_else(|| self.system_calls.absent(hook))
                    }
                    _ => None,
                };
                (way, missing)
            })
            .collect()
    }

    /// Makes an instance, so that processes can be added to it.
    pub fn add_instance(&mut self, id: u64, instance: Instance) -> Result<(), KernelError> {
        self.take_out_channels(id);
        for inode in [instance.stdin_inode, instance.stdout_inode] {
            if inode != 0 {
                self.channels
                    .insert(inode, bytemuck::cast::<Channel, [u64; 1]>(Channel { instance: id }), 0)
                    .map_err(|error| map_error("CHANNELS", &error))?;
            }
        }
        self.instances
            .insert(id, bytemuck::cast::<Instance, [u64; 4]>(instance), 0)
            .map_err(|error| map_error("INSTANCES", &error))
    }

    /// Watches a process.
    pub fn watch(&mut self, pid: u32, watch: Watch) -> Result<(), KernelError> {
        self.watch
            .insert(pid, bytemuck::cast::<Watch, [u64; 2]>(watch), 0)
            .map_err(|error| map_error("WATCH", &error))?;
        self.watched.note(pid, true);
        // What it asked of an io_uring so far, nobody has seen.
        self.may_have_asked = true;
        self.opens_asked_for(true)?;
        self.system_calls.joined(&mut self.ebpf, pid);
        Ok(())
    }

    /// Stops watching a process.
    pub fn unwatch(&mut self, pid: u32) {
        // An absent entry is what is wanted.
        let _ = self.watch.remove(&pid);
        self.watched.note(pid, false);
        // The kernel may have put it in meanwhile, and noted it before that: what it put in is looked up after the
        // byte was written, and not before.
        fence(Ordering::SeqCst);
        if self.watch.get(&pid, 0).is_ok() {
            self.watched.note(pid, true);
        }
    }

    /// Notes every watched process anew: one whose note was lost between two that changed it at once would go
    /// unseen for good.
    pub fn note_watched(&self) {
        for pid in self.watch.keys().filter_map(Result::ok) {
            self.watched.note(pid, true);
        }
    }

    /// Stops watching an instance. Processes that are not named here leave the watch set when they next do
    /// something: their instance is gone.
    pub fn drop_instance(&mut self, id: u64, pids: &[u32]) {
        self.take_out_channels(id);
        // Absent entries are what is wanted.
        let _ = self.instances.remove(&id);
        for pid in pids {
            if self.watch.get(pid, 0).is_ok_and(|[instance, _]| instance == id) {
                self.unwatch(*pid);
            }
        }
    }

    /// The stdin and stdout that an instance had so far are its channel no more.
    fn take_out_channels(&mut self, id: u64) {
        let Ok(instance) = self.instances.get(&id, 0) else { return };
        let Instance { stdin_inode, stdout_inode, .. } = bytemuck::cast(instance);
        for inode in [stdin_inode, stdout_inode] {
            // Another may have it by now.
            if self.channels.get(&inode, 0).is_ok_and(|[owner]| owner == id) {
                let _ = self.channels.remove(&inode);
            }
        }
    }

    /// The instances in the kernel's map.
    pub fn instances(&self) -> impl Iterator<Item = u64> {
        self.instances.keys().filter_map(Result::ok)
    }

    /// The counters of every probe, summed over the processors.
    pub fn counters(&self) -> Result<Vec<(Probe, Counters)>, KernelError> {
        Probe::ALL
            .into_iter()
            .map(|probe| {
                let mut sum = Counters::default();
                let values = self
                    .counters
                    .get(&(probe as u32), 0)
                    .map_err(|error| map_error("COUNTERS", &error))?;
                for value in values.iter() {
                    let one: Counters = bytemuck::cast(*value);
                    sum.seen += one.seen;
                    sum.sent += one.sent;
                    sum.ring_full += one.ring_full;
                    sum.too_big += one.too_big;
                    sum.truncated += one.truncated;
                    sum.filtered += one.filtered;
                }
                if probe == Probe::Busy {
                    let passed_over = self.system_calls.passed_over(&self.ebpf)
                        + self.io_uring.passed_over(&self.ebpf)
                        + self.tracepoints_passed_over();
                    sum.seen += passed_over;
                    sum.too_big += passed_over;
                }
                Ok((probe, sum))
            })
            .collect()
    }

    /// How often the kernel passed over a program on a tracepoint because it ran on the same processor already: since
    /// 7.0 it may give way to another thread in its middle.
    fn tracepoints_passed_over(&self) -> u64 {
        let at_tracepoint = |way: &&Way| way.point.is_tracepoint();
        let ways = HOOKS.iter().filter(|hook| !hook.is_system_call()).flat_map(|hook| &hook.ways);
        let programs = ways.filter(at_tracepoint).map(|way| way.program).chain([SYS_EXIT_PERF]);
        self.passed_over_before
            + programs.filter_map(|program| fexit::passed_over(&self.ebpf, program)).sum::<u64>()
    }

    /// The same of the beginnings of processes and programs: a child may not be watched then.
    #[must_use]
    pub fn beginnings_passed_over(&self) -> u64 {
        let programs = ["sched_process_fork", "sched_process_exec"];
        programs.iter().filter_map(|program| fexit::passed_over(&self.ebpf, program)).sum()
    }

    /// Runs and nanoseconds of each program; zero unless `kernel.bpf_stats_enabled` is on.
    #[must_use]
    pub fn program_runs(&self) -> Vec<(&'static str, u64, u64)> {
        hooks::programs()
            .filter_map(|name| {
                let info = self.ebpf.program(name)?.info().ok()?;
                Some((name, info.run_count(), u64::try_from(info.run_time().as_nanos()).ok()?))
            })
            .collect()
    }

    /// Instructions the verifier walked for each program; absent before kernel 5.16.
    #[must_use]
    pub fn verifier_cost(&self) -> Vec<(&'static str, Option<u32>)> {
        hooks::programs()
            .filter_map(|name| {
                let info = self.ebpf.program(name)?.info().ok()?;
                Some((name, info.verified_instruction_count()))
            })
            .collect()
    }

    /// Entries and capacity of the maps that can fill up.
    #[must_use]
    pub fn map_fill(&self) -> Vec<(&'static str, usize, usize)> {
        vec![
            ("watch", self.watch.keys().count(), 32_768),
            ("instances", self.instances.keys().count(), 4_096),
            ("channels", self.channels.keys().count(), 8_192),
        ]
    }
}

fn missing(hook: &Hook, tier: Tier, reason: &str) -> record::Hook {
    let reason = Some(format!("{reason}; without it these go unseen: {}", hook.lost));
    record::Hook { name: hook.name, tier: tier.name(), state: "missing", reason }
}

/// The uppermost cgroup in sight, and whether it is that of the whole host: all others have `cgroup.events`.
fn cgroup2_root() -> (Option<File>, bool) {
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let Some(root) = capabilities::cgroup2_root(&mounts) else { return (None, false) };
    (File::open(root).ok(), !root.join("cgroup.events").exists())
}

/// Gives what loading took back to the system: the kernel's type information is taken apart, into some 55 MiB to find
/// offsets in and some 27 to load with, and the allocator would keep them for good.
fn give_back_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim(3) may be called at any time, from any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// Before 5.11 maps count against `RLIMIT_MEMLOCK`. A failure to raise it shows at the load, and from
/// 5.11 on it does not matter.
fn raise_memory_limit() {
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid struct is passed by pointer for the length of the call.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) };
}
