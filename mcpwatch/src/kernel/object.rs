//! The loaded kernel object: programs attached, maps open.

use std::collections::BTreeMap;
use std::fs::File;

use aya::maps::{HashMap, MapData, PerCpuArray};
use aya::programs::raw_trace_point::RawTracePointLinkId;
use aya::programs::{CgroupAttachMode, Program};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};
use mcpwatch_common::control::{Counters, Instance, Probe, Settings, Watch};

use super::hooks::{HOOKS, Hook, Point, When};
use super::ring::Ring;
use super::{KernelError, capabilities, offsets, with_causes};
use crate::record;

static OBJECT: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/mcpwatch"));

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
}

/// The kernel side, from load to drop: dropping it detaches everything.
pub struct Object {
    ebpf: Ebpf,
    watch: HashMap<MapData, u32, [u64; 2]>,
    instances: HashMap<MapData, u64, [u64; 4]>,
    counters: PerCpuArray<MapData, [u64; 6]>,
    states: BTreeMap<&'static str, State>,
    cgroup: Option<File>,
    /// Links of hooks that come and go.
    watching: Vec<(&'static str, RawTracePointLinkId)>,
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
        let offsets = offsets::of_running_kernel()?;
        let settings = Settings {
            agent_pid: std::process::id(),
            scoped: u32::from(options.scope.is_some()),
            sniff: u32::from(options.sniff),
            payload_limit: options.payload_limit,
            wake_at: options.ring_bytes / 4,
            padding: 0,
        };
        let cpus =
            u32::try_from(aya::util::nr_cpus().map_err(|(what, error)| KernelError::Load {
                reason: format!("{what}: {error}"),
            })?)
            .unwrap_or(u32::MAX);
        let mut ebpf = EbpfLoader::new()
            .override_global("SETTINGS", bytemuck::bytes_of(&settings), true)
            .override_global("OFFSETS", bytemuck::bytes_of(&offsets), true)
            .map_max_entries("EVENTS", options.ring_bytes)
            .map_max_entries("CALL_SCRATCH", cpus)
            .map_max_entries("LIFE_SCRATCH", cpus)
            .map_max_entries("CGROUP_SCRATCH", cpus)
            .load(OBJECT)
            .map_err(|error| KernelError::Load { reason: with_causes(&error) })?;
        let ring = Ring::new(take(&mut ebpf, "EVENTS")?)?;
        let mut object = Self {
            watch: take(&mut ebpf, "WATCH")?,
            instances: take(&mut ebpf, "INSTANCES")?,
            counters: take(&mut ebpf, "COUNTERS")?,
            states: BTreeMap::new(),
            cgroup: cgroup2_root(),
            watching: Vec::new(),
            ebpf,
        };
        if let Some(scope) = &options.scope {
            object.extend_scope(scope)?;
        }
        for hook in HOOKS {
            object.prepare(hook)?;
        }
        give_back_memory();
        Ok((object, ring))
    }

    /// Takes further processes into the scope.
    pub fn extend_scope(&mut self, scope: &[u32]) -> Result<(), KernelError> {
        let map = self.ebpf.map_mut("SCOPE").ok_or_else(|| absent("SCOPE"))?;
        let mut map: HashMap<&mut MapData, u32, u8> =
            map.try_into().map_err(|error| map_error("SCOPE", &error))?;
        for pid in scope {
            map.insert(pid, 0, 0).map_err(|error| map_error("SCOPE", &error))?;
        }
        Ok(())
    }

    /// Loads a hook's program, and attaches it if it always is.
    fn prepare(&mut self, hook: &'static Hook) -> Result<(), KernelError> {
        let state = match self.load(hook) {
            Ok(()) if hook.when == When::Always => self.attach(hook).map(|()| State::Attached),
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

    fn load(&mut self, hook: &Hook) -> Result<(), String> {
        match self.ebpf.program_mut(hook.name) {
            Some(Program::RawTracePoint(program)) => {
                program.load().map_err(|error| with_causes(&error))
            }
            Some(Program::CgroupSockAddr(program)) => {
                program.load().map_err(|error| with_causes(&error))
            }
            _ => Err("the kernel object has no such program".into()),
        }
    }

    fn attach(&mut self, hook: &'static Hook) -> Result<(), String> {
        match (hook.point, self.ebpf.program_mut(hook.name)) {
            (Point::RawTracepoint(name), Some(Program::RawTracePoint(program))) => {
                let link = program.attach(name).map_err(|error| with_causes(&error))?;
                if hook.when == When::Watching {
                    self.watching.push((hook.name, link));
                }
                Ok(())
            }
            (Point::Cgroup, Some(Program::CgroupSockAddr(program))) => {
                let Some(root) = &self.cgroup else {
                    return Err(
                        "cgroup v2 is not mounted on this host; mount it (`mount -t cgroup2 none \
                         /sys/fs/cgroup/unified`) or boot with systemd.unified_cgroup_hierarchy=1"
                            .into(),
                    );
                };
                // The flagged modes give EINVAL for links, which are what aya makes where it can; links
                // share the cgroup with other programs by themselves. They end with the program.
                program
                    .attach(root, CgroupAttachMode::Single)
                    .map_err(|error| with_causes(&error))?;
                Ok(())
            }
            _ => Err("the kernel object has no such program".into()),
        }
    }

    /// Attaches or detaches the hooks that are attached only while there is something to watch.
    pub fn set_watching(&mut self, watching: bool) -> Result<(), KernelError> {
        for hook in HOOKS.iter().filter(|hook| hook.when == When::Watching) {
            let attached = self.states.get(hook.name) == Some(&State::Attached);
            if watching && !attached {
                self.attach(hook).map_err(|reason| KernelError::Attach {
                    hook: hook.name,
                    reason,
                    lost: hook.lost,
                })?;
                self.states.insert(hook.name, State::Attached);
            } else if !watching && attached {
                self.detach(hook.name);
                self.states.insert(hook.name, State::Ready);
            }
        }
        Ok(())
    }

    fn detach(&mut self, name: &'static str) {
        let links = std::mem::take(&mut self.watching);
        for (of, link) in links {
            if of != name {
                self.watching.push((of, link));
                continue;
            }
            if let Some(Program::RawTracePoint(program)) = self.ebpf.program_mut(name) {
                // The only error is an unknown link: then it is detached.
                let _ = program.detach(link);
            }
        }
    }

    /// Detaches everything; the counters can still be read.
    pub fn close(&mut self) {
        let names: Vec<&'static str> = HOOKS.iter().map(|hook| hook.name).collect();
        for name in names {
            // A program that is unloaded takes its links with it; one that was never loaded has none.
            let _ = match self.ebpf.program_mut(name) {
                Some(Program::RawTracePoint(program)) => program.unload(),
                Some(Program::CgroupSockAddr(program)) => program.unload(),
                _ => Ok(()),
            };
            if let Some(state) = self.states.get_mut(name) {
                *state = State::Ready;
            }
        }
        self.watching.clear();
    }

    /// State of every hook, for `status` records and metrics.
    #[must_use]
    pub fn hooks(&self) -> Vec<record::Hook> {
        HOOKS
            .iter()
            .map(|hook| {
                let (state, reason) = match self.states.get(hook.name) {
                    Some(State::Attached) => ("attached", None),
                    Some(State::Ready) => ("ready", None),
                    Some(State::Missing(reason)) => {
                        ("missing", Some(format!("{}: {reason}", hook.lost)))
                    }
                    None => ("missing", None),
                };
                record::Hook { name: hook.name, tier: hook.tier, state, reason }
            })
            .collect()
    }

    /// Makes an instance, so that processes can be added to it.
    pub fn add_instance(&mut self, id: u64, instance: Instance) -> Result<(), KernelError> {
        self.instances
            .insert(id, bytemuck::cast::<Instance, [u64; 4]>(instance), 0)
            .map_err(|error| map_error("INSTANCES", &error))
    }

    /// Watches a process.
    pub fn watch(&mut self, pid: u32, watch: Watch) -> Result<(), KernelError> {
        self.watch
            .insert(pid, bytemuck::cast::<Watch, [u64; 2]>(watch), 0)
            .map_err(|error| map_error("WATCH", &error))
    }

    /// Stops watching a process.
    pub fn unwatch(&mut self, pid: u32) {
        // An absent entry is what is wanted.
        let _ = self.watch.remove(&pid);
    }

    /// Stops watching an instance. Processes that are not named here leave the watch set when they next do
    /// something: their instance is gone.
    pub fn drop_instance(&mut self, id: u64, pids: &[u32]) {
        // Absent entries are what is wanted.
        let _ = self.instances.remove(&id);
        for pid in pids {
            if self.watch.get(pid, 0).is_ok_and(|[instance, _]| instance == id) {
                let _ = self.watch.remove(pid);
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
                Ok((probe, sum))
            })
            .collect()
    }

    /// Runs and nanoseconds of each program; zero unless `kernel.bpf_stats_enabled` is on.
    #[must_use]
    pub fn program_runs(&self) -> Vec<(&'static str, u64, u64)> {
        HOOKS
            .iter()
            .filter_map(|hook| {
                let info = self.ebpf.program(hook.name)?.info().ok()?;
                Some((hook.name, info.run_count(), u64::try_from(info.run_time().as_nanos()).ok()?))
            })
            .collect()
    }

    /// Instructions the verifier walked for each program; absent before kernel 5.16.
    #[must_use]
    pub fn verifier_cost(&self) -> Vec<(&'static str, Option<u32>)> {
        HOOKS
            .iter()
            .filter_map(|hook| {
                let info = self.ebpf.program(hook.name)?.info().ok()?;
                Some((hook.name, info.verified_instruction_count()))
            })
            .collect()
    }

    /// Entries and capacity of the maps that can fill up.
    #[must_use]
    pub fn map_fill(&self) -> Vec<(&'static str, usize, usize)> {
        vec![
            ("watch", self.watch.keys().count(), 32_768),
            ("instances", self.instances.keys().count(), 4_096),
        ]
    }
}

fn take<T>(ebpf: &mut Ebpf, name: &'static str) -> Result<T, KernelError>
where
    T: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf.take_map(name).ok_or_else(|| absent(name))?;
    T::try_from(map).map_err(|error| map_error(name, &error))
}

fn absent(map: &'static str) -> KernelError {
    KernelError::Map { map, reason: "the kernel object does not have it".into() }
}

fn map_error(map: &'static str, error: &aya::maps::MapError) -> KernelError {
    KernelError::Map { map, reason: with_causes(error) }
}

fn cgroup2_root() -> Option<File> {
    let mounts = std::fs::read_to_string("/proc/self/mounts").ok()?;
    File::open(capabilities::cgroup2_root(&mounts)?).ok()
}

/// Gives what loading took back to the system: the loader takes the kernel's type information apart, some
/// 30 MiB, and the allocator would keep them for good.
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
