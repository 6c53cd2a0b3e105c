//! What the agent tells the kernel programs: settings and struct offsets, frozen at load; the watch
//! set, changed while running; and the counters the programs keep.

use crate::event::ARGUMENT_BYTES;

/// A value of the `HANDOVER` map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Handover {
    /// `HANDOVER_*`.
    State = 0,
    /// 1: a program on `io_uring` is loaded that may be in its middle when `sys_exit` runs.
    IoUring = 1,
    /// 1: the program on files opened through `io_uring` is attached.
    OpensSeen = 2,
    /// 1: the programs on destinations in IP networks are attached.
    DestinationsSeen = 3,
    /// `ADDRESS_*`. The kernel programs set it.
    Address = 4,
}

impl Handover {
    /// How many there are.
    pub const COUNT: u32 = 5;
}

/// One tier is attached to system calls at most.
pub const HANDOVER_NONE: u32 = 0;
/// Both are: `fexit` claims the calls it deals with.
pub const HANDOVER_BOTH: u32 = 1;
/// The run ends: `fexit` deals with nothing any more, since detaching it takes its time.
pub const HANDOVER_END: u32 = 2;

/// Where the address of a socket stands in what the kernel keeps for a request to an `io_uring` is not known.
pub const ADDRESS_UNKNOWN: u32 = 0;
/// It is all that is kept.
pub const ADDRESS_ALONE: u32 = 1;
/// It is a part of what a message is sent with.
pub const ADDRESS_IN_MESSAGE: u32 = 2;

/// Rooms for events of system calls on each processor of a preemptible kernel.
pub const CALL_SLOTS: u32 = 4;

/// Names the counters of one kind of event, per processor: `seen = sent + ring_full + too_big +
/// filtered`, always; `truncated` is a part of `sent`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Probe {
    /// New processes of watched ones.
    Fork = 0,
    /// Replaced programs, of all processes in scope.
    Exec = 1,
    /// Ended processes, of all in scope.
    Exit = 2,
    /// Opens by path, also through `io_uring`.
    Open = 3,
    /// connect(2) seen at the system call's exit.
    Connect = 4,
    /// sendto(2), sendmsg(2), sendmmsg(2) with an address, seen at the system call's exit.
    Send = 5,
    /// bind(2).
    Bind = 6,
    /// listen(2).
    Listen = 7,
    /// accept(2) and accept4(2).
    Accept = 8,
    /// Bytes read from a protocol channel.
    Read = 9,
    /// Bytes written to a protocol channel.
    Write = 10,
    /// Destinations seen by the cgroup hooks.
    Egress = 11,
    /// 32-bit system calls of watched processes whose arguments, in their memory, cannot be read: of socketcall(2).
    Compat = 12,
    /// Changes of files: renamed, linked, removed, given another mode or owner, cut, made.
    Change = 13,
    /// System calls for which no room was left to deal with them, whose registers could not be read, or that came while
    /// another thread was in the middle of the same program on the same processor: the kernel passes the last over and
    /// says how many, not whose.
    Busy = 14,
    /// Messages of name service.
    Dns = 15,
    /// First messages of TLS clients.
    Tls = 16,
    /// Changes of what a process may do or see.
    Privilege = 17,
    /// Processes reached into by others.
    Access = 18,
    /// Sockets of families beyond IP and unix.
    Socket = 19,
}

impl Probe {
    /// Every probe, in the order of its number.
    pub const ALL: [Self; 20] = [
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::Open,
        Self::Connect,
        Self::Send,
        Self::Bind,
        Self::Listen,
        Self::Accept,
        Self::Read,
        Self::Write,
        Self::Egress,
        Self::Compat,
        Self::Change,
        Self::Busy,
        Self::Dns,
        Self::Tls,
        Self::Privilege,
        Self::Access,
        Self::Socket,
    ];

    /// The name in metrics and `loss` records.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fork => "fork",
            Self::Exec => "exec",
            Self::Exit => "exit",
            Self::Open => "open",
            Self::Connect => "connect",
            Self::Send => "send",
            Self::Bind => "bind",
            Self::Listen => "listen",
            Self::Accept => "accept",
            Self::Read => "read",
            Self::Write => "write",
            Self::Egress => "egress",
            Self::Compat => "compat",
            Self::Change => "change",
            Self::Busy => "busy",
            Self::Dns => "dns",
            Self::Tls => "tls",
            Self::Privilege => "privilege",
            Self::Access => "access",
            Self::Socket => "socket",
        }
    }
}

/// Counters of one [`Probe`] on one processor; in events.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Counters {
    /// Handled for a watched process (for exec and exit: for any process in scope).
    pub seen: u64,
    /// Handed to the ring buffer.
    pub sent: u64,
    /// Lost: the ring buffer had no room.
    pub ring_full: u64,
    /// Lost: larger than an event may be, or its parts could not be read.
    pub too_big: u64,
    /// Sent, but cut.
    pub truncated: u64,
    /// Not sent because it is nothing the agent wants.
    pub filtered: u64,
}

/// Number of a helper that no kernel has. A call of it stands in the kernel object for one of the kernel's function
/// `bpf_rdonly_cast`, whose number differs from kernel to kernel.
pub const RDONLY_CAST: i32 = 0x6d63_7077;

/// Settings, frozen at load.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Settings {
    /// The agent's own process, which is never watched.
    pub agent_pid: u32,
    /// 1: nothing outside the `SCOPE` map is captured.
    pub scoped: u32,
    /// 1: candidates are found at exec and listen.
    pub sniff: u32,
    /// Most bytes captured of one transfer on a channel.
    pub payload_limit: u32,
    /// Fill of the ring buffer in bytes from which the reader is woken at once.
    pub wake_at: u32,
    /// 1: this kernel may give the processor to another task in the middle of a program.
    pub preemptible: u32,
    /// Where among the arguments of the tracepoint on submitted `io_uring` requests the request stands, in bytes.
    pub submitted_request: u32,
    /// 1: what stands for `bpf_rdonly_cast` in the object was made a call of it, so that kernel memory can be loaded from.
    pub rdonly_cast: u32,
    /// An address of a socket that nobody but the agent asks an `io_uring` for, to find out where the kernel keeps it.
    pub tried_address: [u32; 4],
}

/// Value of the `WATCH` map, keyed by process id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Watch {
    /// The instance the process belongs to: key of the `INSTANCES` map.
    pub instance: u64,
    /// When the process started, nanoseconds of `CLOCK_BOOTTIME`.
    pub start_time: u64,
}

/// Value of the `INSTANCES` map: a server or candidate and its channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Instance {
    /// Inode of the pipe or socket requests arrive on; 0: none is read.
    pub stdin_inode: u64,
    /// Inode of the pipe or socket responses leave on; 0: none is read.
    pub stdout_inode: u64,
    /// Bytes seen so far on stdin.
    pub in_offset: u64,
    /// Bytes seen so far on stdout.
    pub out_offset: u64,
}

/// Value of the `CHANNELS` map, keyed by the inode of a pipe or socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Channel {
    /// The instance it belongs to: key of the `INSTANCES` map.
    pub instance: u64,
}

/// The id of the instance that a process founds: unique as long as (pid, start time) is.
#[must_use]
pub const fn instance_id(pid: u32, start_time: u64) -> u64 {
    ((pid as u64) << 32) | ((start_time / 10_000_000) & 0xffff_ffff)
}

/// Process ids in one page of the table of watched processes: a byte each, one where it is watched.
pub const WATCHED_PAGE: usize = 4096;

/// What is noted of a file that an `io_uring` is to open: the path as it was given, and the request.
pub const OPENING_BYTES: usize = ARGUMENT_BYTES + 8;

/// A field this kernel does not have.
pub const ABSENT: u32 = u32::MAX;

/// Offsets in bytes of the kernel fields the programs read, resolved from the running kernel's BTF
/// and frozen at load; [`ABSENT`] where the kernel has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
#[expect(missing_docs, reason = "each is named after the kernel's struct and field")]
pub struct Offsets {
    pub task_tgid: u32,
    pub task_flags: u32,
    pub task_real_parent: u32,
    pub task_group_leader: u32,
    pub task_start_boottime: u32,
    pub task_mm: u32,
    pub task_fs: u32,
    pub task_files: u32,
    pub task_signal: u32,
    pub task_exit_code: u32,
    /// `thread_info.status` within the task; x86 has it.
    pub task_thread_status: u32,
    pub task_thread_pid: u32,
    pub task_cred: u32,
    /// What the task does for an `io_uring` or for the kernel: set in the threads that work for either.
    pub task_worker: u32,
    pub task_io_uring: u32,
    pub cred_uid: u32,
    pub cred_euid: u32,
    pub cred_gid: u32,
    pub cred_egid: u32,
    pub cred_permitted: u32,
    pub cred_ambient: u32,
    pub cred_user_namespace: u32,
    pub user_namespace_level: u32,
    pub pid_level: u32,
    pub pid_numbers: u32,
    pub signal_live: u32,
    pub mm_arg_start: u32,
    pub mm_arg_end: u32,
    pub mm_exe_file: u32,
    pub fs_pwd: u32,
    pub fs_root: u32,
    pub path_mnt: u32,
    pub path_dentry: u32,
    pub file_path: u32,
    pub file_inode: u32,
    pub file_flags: u32,
    pub file_private_data: u32,
    pub dentry_parent: u32,
    pub dentry_name: u32,
    pub dentry_inode: u32,
    pub qstr_name: u32,
    pub vfsmount_root: u32,
    pub mount_mnt: u32,
    pub mount_parent: u32,
    pub mount_mountpoint: u32,
    pub mount_namespace: u32,
    pub namespace_number: u32,
    pub inode_number: u32,
    pub inode_mode: u32,
    pub inode_links: u32,
    pub inode_private: u32,
    pub inode_superblock: u32,
    pub superblock_device: u32,
    pub files_fdtable: u32,
    pub fdtable_fd: u32,
    pub fdtable_max_fds: u32,
    pub socket_sk: u32,
    pub socket_type: u32,
    pub sock_family: u32,
    pub sock_protocol: u32,
    pub sock_address: u32,
    pub sock_peer_address: u32,
    pub sock_port: u32,
    pub sock_peer_port: u32,
    pub sock_address6: u32,
    pub sock_peer_address6: u32,
    pub sock_net: u32,
    pub net_number: u32,
    pub filename_name: u32,
    pub open_flags_flags: u32,
    pub open_flags_lookup: u32,
    pub io_kiocb_opcode: u32,
    pub io_kiocb_flags: u32,
    pub io_kiocb_fd: u32,
    pub io_kiocb_file: u32,
    pub io_kiocb_async_data: u32,
    pub io_kiocb_result: u32,
    pub io_open_directory: u32,
    pub io_open_path: u32,
    pub io_open_flags: u32,
    pub io_open_slot: u32,
    pub io_rename_directory: u32,
    pub io_rename_path: u32,
    pub io_rename_to_directory: u32,
    pub io_rename_to_path: u32,
    pub io_rename_flags: u32,
    pub io_link_directory: u32,
    pub io_link_path: u32,
    pub io_link_to_directory: u32,
    pub io_link_to_path: u32,
    pub io_link_flags: u32,
    pub io_symlink_text: u32,
    pub io_symlink_directory: u32,
    pub io_symlink_path: u32,
    pub io_unlink_directory: u32,
    pub io_unlink_path: u32,
    pub io_unlink_flags: u32,
    pub io_mkdir_directory: u32,
    pub io_mkdir_path: u32,
    pub io_mkdir_mode: u32,
    pub io_truncate_length: u32,
    pub io_socket_family: u32,
    pub io_socket_type: u32,
    pub io_socket_protocol: u32,
    pub io_connect_address: u32,
    pub io_connect_len: u32,
    /// Kernels that have it take the address from the process when the request is done.
    pub io_connect_late: u32,
    pub io_bind_len: u32,
    pub io_message_address: u32,
    pub io_message_vector: u32,
    pub unix_peer: u32,
    pub unix_name: u32,
    pub unix_name_len: u32,
    pub unix_name_bytes: u32,
}

impl Offsets {
    /// Nothing known: what an object that was never given offsets holds.
    pub const ABSENT: Self = {
        // SAFETY: the struct is a plain row of `u32`, for which every bit pattern is a value.
        unsafe { core::mem::transmute([ABSENT; size_of::<Self>() / 4]) }
    };
}
