//! What goes into the pipeline, and what it asks of the shell. Everything that decides about a record
//! comes in here, so that a recording of it gives the same records again.

use serde::{Deserialize, Serialize};

use crate::discover::scan::ConfigFile;
use crate::host::containers::Container;
use crate::host::mounts::HostPaths;
use crate::host::snapshot::ProcessSnapshot;

/// One thing the pipeline is told. Kernel events are not here: they come as bytes, see
/// [`Pipeline::events`](super::Pipeline::events).
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "input", rename_all = "snake_case")]
pub enum Input {
    /// Calendar and event clock at one moment, in nanoseconds. Before anything else, and at intervals.
    Clock {
        /// `CLOCK_BOOTTIME`.
        boot: u64,
        /// Since the Unix epoch.
        calendar: i64,
    },
    /// Processes that ran when the agent looked.
    Processes {
        /// When, nanoseconds of `CLOCK_BOOTTIME`.
        time: u64,
        /// Parents need not stand before children.
        processes: Vec<ProcessSnapshot>,
    },
    /// A client's configuration is new or changed.
    Config(ConfigFile),
    /// A client's configuration is gone.
    ConfigGone {
        /// Its path.
        path: String,
    },
    /// A client looks here for a configuration of its user, which the path alone does not say.
    ConfigPlace {
        /// The path, whether anything is there or not.
        path: String,
        /// The client.
        client: String,
    },
    /// The configurations around a process have been read, as [`Action::LookForConfigs`] asked.
    Looked {
        /// When.
        time: u64,
        /// The process.
        pid: u32,
        /// Path of its cgroup; empty when it had gone, or too much waited to be looked at.
        cgroup: String,
        /// The container that cgroup belongs to.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        container: Option<Box<Container>>,
    },
    /// The cgroups of execs that come next.
    Cgroups {
        /// When they were read.
        time: u64,
        /// Each that was not known.
        groups: Vec<Cgroup>,
        /// How many execs of what is watched are in one that could not be found.
        #[serde(default)]
        unread: u64,
    },
    /// What the host shows of a container, as [`Action::LookForContainer`] asked.
    Container {
        /// When.
        time: u64,
        /// Path of its cgroup.
        cgroup: String,
        /// What is known of it.
        container: Box<Container>,
    },
    /// Where folders lie, as [`Action::LookForFolders`] asked.
    Folders {
        /// When.
        time: u64,
        /// The instance.
        instance: u64,
        /// Each that was found, and where it is when symbolic links are followed.
        folders: Vec<(String, String)>,
    },
    /// Where on the host the files of a mount namespace lie, as [`Action::LookForMounts`] asked.
    Mounts {
        /// When it was read.
        time: u64,
        /// Inode number of the namespace.
        namespace: u32,
        /// What was found; `None` when the process was no longer there.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        paths: Option<Box<HostPaths>>,
    },
    /// Processes that are gone although no event said so: it was lost.
    Gone {
        /// When it was noticed.
        time: u64,
        /// Pid and start time in clock ticks of each.
        processes: Vec<(u32, u64)>,
    },
    /// Something the shell noticed that a reader of the event stream must know.
    Warning {
        /// When.
        time: u64,
        /// A sentence.
        message: String,
    },
    /// The hooks as they are now.
    Hooks {
        /// When.
        time: u64,
        /// `started`, `attached`, `settled`, `detached`.
        state: String,
        /// Hook by hook.
        hooks: Vec<HookState>,
    },
    /// The kernel's counters since the start.
    Counters {
        /// When.
        time: u64,
        /// Per probe: name, then seen, sent, `ring_full`, `too_big`, truncated, filtered.
        probes: Vec<(String, [u64; 6])>,
    },
    /// Records an output has lost since the start.
    OutputLoss {
        /// When.
        time: u64,
        /// `stdout` or the file.
        output: String,
        /// Why.
        reason: String,
        /// How many, in all.
        total: u64,
    },
    /// Requests to look for something that found no room since the start, as those before them were not done.
    LookLoss {
        /// When.
        time: u64,
        /// How many, in all.
        total: u64,
    },
    /// Time passes.
    Tick {
        /// Nanoseconds of `CLOCK_BOOTTIME`.
        time: u64,
    },
    /// The run ends.
    Stop {
        /// When.
        time: u64,
        /// Why: `SIGTERM`, …
        reason: String,
    },
}

/// A cgroup, as a process was found in it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cgroup {
    /// Its id in the hierarchy of version 2; 0 when the path is another hierarchy's, and holds for this process
    /// alone.
    pub id: u64,
    /// The process.
    pub pid: u32,
    /// Its path.
    pub path: String,
}

/// State of one hook, as [`record::Hook`](crate::record::Hook) has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookState {
    /// Its name.
    pub name: String,
    /// The tier.
    pub tier: String,
    /// `attached`, `ready`, `absent`, `missing`.
    pub state: String,
    /// Why, and what is lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What the pipeline wants done. A replay has nobody to do it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Make or change an instance in the kernel.
    SetInstance {
        /// Its id.
        id: u64,
        /// Inode of the channel's stdin; 0: none.
        stdin_inode: u64,
        /// Inode of the channel's stdout; 0: none.
        stdout_inode: u64,
    },
    /// Watch a process as part of an instance.
    Watch {
        /// The process.
        pid: u32,
        /// Its start time, nanoseconds of `CLOCK_BOOTTIME`.
        start_time: u64,
        /// The instance.
        instance: u64,
    },
    /// Forget an instance and the processes that are known to belong to it.
    Forget {
        /// The instance.
        instance: u64,
        /// Its processes.
        pids: Vec<u32>,
    },
    /// Attach or detach the hooks that are attached only while there is something to watch.
    SetWatching(bool),
    /// Processes were added that may have forked since they were looked at: look again.
    LookAgain,
    /// Look for client configurations in the homes and the directory of this process, and for its cgroup.
    LookForConfigs {
        /// The process.
        pid: u32,
        /// A server has started it, and may have made up where it says its home and directory are: those are left
        /// alone.
        of_server: bool,
    },
    /// Read what the host shows of a container.
    LookForContainer {
        /// Path of its cgroup.
        cgroup: String,
    },
    /// Find out where folders lie when symbolic links are followed.
    LookForFolders {
        /// The instance.
        instance: u64,
        /// One of its processes, by whose root directory they are meant.
        pid: u32,
        /// Their paths, absolute.
        folders: Vec<String>,
    },
    /// Find out where on the host the files of a mount namespace lie.
    LookForMounts {
        /// Inode number of the namespace.
        namespace: u32,
        /// A process that was in it.
        pid: u32,
    },
}
