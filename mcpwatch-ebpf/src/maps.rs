//! Every map and every frozen global, with its capacity. What a full map means stands beside it.

use aya_ebpf::{
    bindings::BPF_F_MMAPABLE,
    macros::map,
    maps::{Array, HashMap, LruHashMap, PerCpuArray, RingBuf},
};
use mcpwatch_common::{
    control::{
        Channel, Counters, Handover, Instance, OPENING_BYTES, Offsets, Probe, Settings, Watch,
    },
    event::{ARGUMENT_BYTES, EVENT_BYTES, Place},
};

use crate::watch::Task;

/// Events on their way to the agent, of all kinds in one order: attribution rests on it. The agent
/// sets the size. Full: counted as `ring_full` of the probe.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(8 << 20, 0);

/// Watched processes by id. Full: the process is not watched, and its exec event says so.
#[map]
pub static WATCH: HashMap<u32, Watch> = HashMap::with_max_entries(32_768, 0);

/// Which processes are in [`WATCH`]: a byte for each process id, in pages of [`PAGE`]. It is looked at first, for a
/// hash costs several times as much, and all that most processes of the host ever pay is this look. The agent sets
/// the number of pages, and writes bytes through a mapping. A process beyond the last page: it is looked up in
/// [`WATCH`].
#[map]
pub static WATCHED: Array<[u8; PAGE]> = Array::with_max_entries(1, BPF_F_MMAPABLE);

/// Process ids in one page of [`WATCHED`].
pub use mcpwatch_common::control::WATCHED_PAGE as PAGE;

/// Servers and candidates by instance id. A process whose instance is gone is no longer watched.
#[map]
pub static INSTANCES: HashMap<u64, Instance> = HashMap::with_max_entries(4_096, 0);

/// The stdin and stdout of instances, by inode: who else writes there is told. The agent takes them out when
/// they are that no more. Full: the oldest goes, and what is written there by processes of other instances is not told.
#[map]
pub static CHANNELS: LruHashMap<u64, Channel> = LruHashMap::with_max_entries(8_192, 0);

/// With `--descendants-of`: the processes that may be captured at all.
#[map]
pub static SCOPE: HashMap<u32, u8> = HashMap::with_max_entries(32_768, 0);

/// A destination the cgroup hooks saw, by thread, until the exit of its system call tells the result.
/// Full: the oldest goes, and the system call's own argument is taken instead.
#[map]
pub static PENDING: LruHashMap<u64, Pending> = LruHashMap::with_max_entries(4_096, 0);

/// What programs have to know of each other, by `control::Handover`. See `handover`.
#[map]
pub static HANDOVER: Array<u32> = Array::with_max_entries(Handover::COUNT, 0);

/// 1: a watched process may have asked an `io_uring` to open a file. Set by the program on submitted requests; by the
/// agent while that one is not attached. Not in [`HANDOVER`], and alone in the map of its section: every open of the
/// host looks here.
#[unsafe(no_mangle)]
pub static mut OPENS_ASKED_FOR: u32 = 0;

/// Files being opened through an `io_uring`, by the thread that does it. Full: the file is told without its path
/// as it was given, and one that could not be opened is counted as lost.
#[map]
pub static OPENING: HashMap<u32, Opening> = HashMap::with_max_entries(256, 0);

/// Threads between the `fexit` program of a system call and its `sys_exit`, while both are attached. Full: the
/// call is left to `sys_exit`.
#[map]
pub static CLAIMED: HashMap<u32, u8> = HashMap::with_max_entries(8_192, 0);

/// Threads that were in a system call when the `fexit` programs were attached, with their processes. The agent
/// keeps `sys_exit` attached until it is empty. Full: for good.
#[map]
pub static IN_FLIGHT: HashMap<u32, u32> = HashMap::with_max_entries(4_096, 0);

/// Sockets of watched processes whose packets are looked at, by cookie, from connect(2) or sendto(2) on.
/// Full: the one unused for longest goes, and what it says of names is not seen.
#[map]
pub static SOCKETS: LruHashMap<u64, Socket> = LruHashMap::with_max_entries(4_096, 0);

/// What each probe did.
#[map]
pub static COUNTERS: PerCpuArray<Counters> =
    PerCpuArray::with_max_entries(Probe::ALL.len() as u32, 0);

/// Room to build an event of a system call in: for each processor one, or [`SLOTS`] where the kernel is
/// preemptible (set by the agent). A per-CPU map would not do: its values are limited to 32 KiB.
#[map]
pub static CALL_SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// The same for the program on exec, which the others may interrupt on some kernels: for each processor one.
#[map]
pub static EXEC_SCRATCH: Array<Scratch> = Array::with_max_entries(1, 0);

/// How many programs on system calls may be in their middle on one processor of a preemptible kernel: there,
/// those of tier `fexit` give way to other tasks, which run others of them.
pub use mcpwatch_common::control::CALL_SLOTS as SLOTS;

/// Which slots of [`CALL_SCRATCH`] a thread has taken, on a preemptible kernel. As many entries as slots.
#[map]
pub static TAKEN: HashMap<u32, u8> = HashMap::with_max_entries(1, 0);

/// An event in the making.
#[repr(C, align(8))]
pub struct Scratch {
    /// Its bytes.
    pub event: [u8; EVENT_BYTES],
    /// How long a part of it has become so far.
    pub len: u64,
    /// The process's root directory; see `path`.
    pub root: Root,
    /// Where a path walk is; see `path`.
    pub walk: Walk,
    /// The transfer it is a part of.
    pub transfer: Transfer,
    /// The system call it tells of.
    pub call: Call,
    /// The files that call names; see `report`.
    pub named: Named,
    /// On a preemptible kernel, the thread that is at it; 0: none.
    pub owner: u64,
}

/// A path walk: the process's own root directory, which it looks for, and where it is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Root {
    /// Its `struct vfsmount`.
    pub vfsmount: u64,
    /// Its `struct dentry`.
    pub dentry: u64,
    /// How much of the path lies below it, in bytes.
    pub met_at: u64,
    /// Inode number of the mount namespace the walk began in; 0 when it is in none.
    pub namespace: u64,
}

/// A system call that has returned.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Call {
    /// Its arguments as given, then zeroes: what a `report::Form` does not name. The last is 1 if what they point to
    /// is laid out for 32 bits.
    pub args: [u64; 16],
    /// What it returned.
    pub result: i64,
    /// Who did it.
    pub task: Task,
}

/// The files a system call names that is reported by its arguments; see `report`.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Named {
    /// What is known of each.
    pub places: [Place; 2],
    /// How many bytes of the tail they take.
    pub len: u64,
}

/// Where a path walk is.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Walk {
    /// The `struct vfsmount` it is in.
    pub vfsmount: u64,
    /// Its root, a `struct dentry`.
    pub top: u64,
    /// The `struct dentry` it comes to next.
    pub dentry: u64,
    /// Which byte of the event the path begins at.
    pub start: u64,
}

/// A read or write on a channel, and how far its capture is. In the map and not in registers: the verifier
/// forgets what it knew of a value there, and so proves one step of a loop once, not for every state.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Transfer {
    /// Bytes the system call moved.
    pub moved: u64,
    /// Bytes of them that were dealt with.
    pub done: u64,
    /// Where the next byte stands in user memory.
    pub address: u64,
    /// Bytes left in this buffer.
    pub len: u64,
    /// The next `struct iovec`.
    pub row: u64,
    /// How many there are.
    pub row_len: u64,
    /// Where the first byte stands in the channel's stream.
    pub start: u64,
    /// `event::DIRECTION_*`.
    pub direction: u32,
    /// The file descriptor.
    pub fd: i32,
    /// 1: the row is one of `struct compat_iovec`.
    pub narrow: u64,
    /// Who did it.
    pub task: Task,
}

/// A file that an `io_uring` is to open.
#[repr(C)]
pub struct Opening {
    /// Its path as it was given, up to a zero.
    pub argument: [u8; ARGUMENT_BYTES],
    /// The `struct io_kiocb` that says so; 0 when the file is told.
    pub request: u64,
}

const _: () = assert!(size_of::<Opening>() == OPENING_BYTES);

/// A destination waiting for its result.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Pending {
    /// As in `event::Net`.
    pub address: [u32; 4],
    /// As in `event::Net`.
    pub family: u16,
    /// As in `event::Net`.
    pub port: u16,
    /// As in `event::Net`.
    pub socket_type: u16,
    /// As in `event::Net`.
    pub protocol: u16,
    /// What it is the destination of: a connection or a datagram.
    pub kind: u32,
    /// Zero.
    pub padding: u32,
    /// As in [`Task`]: at the end of a thread its process may be watched no more.
    pub start_time: u64,
    /// As in [`Task`].
    pub instance: u64,
}

/// A socket whose packets are looked at.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct Socket {
    /// Who connected it, or sent with it.
    pub task: Task,
    /// Its `struct sock`. Written and read back: the verifier lets a program read at a number, not at the
    /// socket it was handed.
    pub sock: u64,
    /// Inode number of its network namespace.
    pub namespace: u32,
    /// Packets with data that may still be the beginning of TLS.
    pub looks: u32,
}

/// Frozen at load by the agent.
#[unsafe(no_mangle)]
pub static SETTINGS: Settings = Settings {
    agent_pid: 0,
    scoped: 0,
    sniff: 0,
    payload_limit: 0,
    wake_at: 0,
    preemptible: 0,
    submitted_request: 0,
    rdonly_cast: 0,
    tried_address: [0; 4],
};

/// Frozen at load by the agent.
#[unsafe(no_mangle)]
pub static OFFSETS: Offsets = Offsets::ABSENT;

/// One field of [`SETTINGS`]: `setting!(scoped)`. Volatile, because the loader changes it behind the
/// compiler's back.
macro_rules! setting {
    ($field:ident) => {{
        // SAFETY: a field of a valid static that nobody writes to.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::SETTINGS.$field) }
    }};
}
pub(crate) use setting;

/// One field of [`OFFSETS`]: `offset!(task_tgid)`. Volatile as above.
macro_rules! offset {
    ($field:ident) => {{
        // SAFETY: a field of a valid static that nobody writes to.
        unsafe { core::ptr::read_volatile(&raw const $crate::maps::OFFSETS.$field) }
    }};
}
pub(crate) use offset;
