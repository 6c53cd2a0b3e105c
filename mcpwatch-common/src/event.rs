//! The wire structs of the ring buffer: a fixed header, a fixed body for each kind, then a tail of
//! variable length. Both sides run on one machine, so numbers are in native byte order.
//!
//! Padding is explicit and every size is asserted: a kernel before 6.6 refuses to copy structs with
//! uninitialised padding, and a layout that differs between two compilers must not build.

/// Version of everything in this file; an agent refuses events of another version.
pub const WIRE_VERSION: u16 = 4;

/// Longest tail of a [`Payload`] event; a longer transfer is sent as several events.
pub const PAYLOAD_CHUNK: usize = 32 * 1024;
/// What is kept of the end of a transfer that is longer than the configured limit, in bytes.
pub const PAYLOAD_TAIL: usize = 4 * 1024;
/// Longest resolved path in bytes (`PATH_MAX`), separators included.
pub const PATH_BYTES: usize = 4096;
/// Longest name of one component of a resolved path with its terminator (`NAME_MAX` + 1). vfat, exfat and FUSE have
/// longer ones: there the walk ends.
pub const COMPONENT_BYTES: usize = 256;
/// Most components of a resolved path.
pub const PATH_COMPONENTS: usize = 64;
/// Longest argument vector in bytes, terminators included.
pub const ARGV_BYTES: usize = 32 * 1024;
/// Longest path argument of a system call, terminator included.
pub const ARGUMENT_BYTES: usize = 4096;
/// Room of `sun_path`, see `unix(7)`.
pub const UNIX_PATH_BYTES: usize = 108;
/// The largest event there is.
pub const EVENT_BYTES: usize = 64 * 1024;

/// What an event tells of, in [`Header::kind`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u16)]
pub enum Kind {
    /// A watched process forked; body [`Fork`], no tail.
    Fork = 1,
    /// A process replaced its program; body [`Exec`], its [`Ancestor`]s from the parent up, tail: path, cwd,
    /// argv.
    Exec = 2,
    /// The last thread of a process ended; body [`Exit`], no tail.
    Exit = 3,
    /// An open by path; body [`Open`], tail: resolved path, argument, base directory.
    Open = 4,
    /// connect(2); body [`Net`], tail: unix path.
    Connect = 5,
    /// A datagram sent to an address; body [`Net`], tail: unix path.
    Send = 6,
    /// bind(2); body [`Net`], tail: unix path.
    Bind = 7,
    /// listen(2); body [`Net`] with the local address, tail: unix path.
    Listen = 8,
    /// accept(2); body [`Net`] with the peer's address, tail: unix path of the listener.
    Accept = 9,
    /// Bytes of a protocol channel; body [`Payload`], tail: the bytes.
    Payload = 10,
    /// A file was changed other than through a descriptor; body [`Syscall`], tail: its two [`Place`]s.
    Change = 11,
    /// A message of name service; body [`Packet`], tail: the message and room that is not used.
    Dns = 12,
    /// The first message of a TLS client; body [`Packet`], tail: as above.
    Tls = 13,
    /// A process changed what it may do or see, or took hold of the kernel; body and tail as of a change.
    Privilege = 14,
    /// A process reached into another; body and tail as of a change.
    Access = 15,
    /// Bytes were written to a channel by a process that is not at its end; body [`Injection`], no tail.
    Injection = 16,
    /// A socket of a family beyond IP and unix was made; body [`Syscall`], no tail.
    Socket = 17,
}

impl Kind {
    /// Every kind, in the order of its number.
    pub const ALL: [Self; 17] = [
        Self::Fork,
        Self::Exec,
        Self::Exit,
        Self::Open,
        Self::Connect,
        Self::Send,
        Self::Bind,
        Self::Listen,
        Self::Accept,
        Self::Payload,
        Self::Change,
        Self::Dns,
        Self::Tls,
        Self::Privilege,
        Self::Access,
        Self::Injection,
        Self::Socket,
    ];

    /// The kind a header names, if it is one of ours.
    #[must_use]
    pub fn from_u16(number: u16) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u16 == number)
    }
}

/// Something did not fit into this event and was cut ([`Header::flags`]).
pub const FLAG_TRUNCATED: u32 = 1 << 0;
/// A user page could not be read: the text it held is missing ([`Header::flags`]).
pub const FLAG_UNREADABLE: u32 = 1 << 1;
/// It was given to an `io_uring`, and what came of it is not known: `result` is 0 ([`Header::flags`]). Of
/// [`Kind::Open`], [`Kind::Change`], [`Kind::Socket`] and [`Kind::Injection`].
pub const FLAG_SUBMITTED: u32 = 1 << 2;

/// Start of every event.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Header {
    /// [`WIRE_VERSION`].
    pub version: u16,
    /// One of [`Kind`].
    pub kind: u16,
    /// Bytes of the whole event, header included.
    pub size: u32,
    /// When it happened: nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Thread id in the initial pid namespace.
    pub tid: u32,
    /// When the process started: nanoseconds of `CLOCK_BOOTTIME`; with `pid` its identity.
    pub start_time: u64,
    /// The watched instance the process belongs to; 0 when none.
    pub instance: u64,
    /// What the system call returned; 0 for events that are none.
    pub result: i64,
    /// `FLAG_*`.
    pub flags: u32,
    /// Processor it was captured on.
    pub cpu: u32,
}

/// Body of [`Kind::Fork`].
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Fork {
    /// The new process.
    pub child_pid: u32,
    /// Zero.
    pub padding: u32,
    /// Its start time, nanoseconds of `CLOCK_BOOTTIME`.
    pub child_start_time: u64,
}

/// The process has a private stdin and stdout, or the like: it may be a server ([`Exec::flags`]).
pub const EXEC_CANDIDATE: u16 = 1 << 0;
/// The process runs with the rights of another user than its own ([`Exec::flags`]).
pub const EXEC_SET_USER_ID: u16 = 1 << 2;
/// The executed file has no name any more, or never had one ([`Exec::flags`]).
pub const EXEC_UNLINKED: u16 = 1 << 3;
/// No room was left to watch this candidate: its life goes unseen ([`Exec::flags`]).
pub const EXEC_WATCH_FULL: u16 = 1 << 1;
/// There are more [`Ancestor`]s than are named ([`Exec::flags`]).
pub const EXEC_MORE_ANCESTORS: u16 = 1 << 4;
/// The process runs with the rights of another group than its own ([`Exec::flags`]).
pub const EXEC_SET_GROUP_ID: u16 = 1 << 5;
/// The process has capabilities that the executed file gave it ([`Exec::flags`]).
pub const EXEC_FILE_CAPABILITIES: u16 = 1 << 6;

/// Body of [`Kind::Exec`]. The header's `instance` is the one the process belongs to from now on.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Exec {
    /// Real parent (thread group) id.
    pub ppid: u32,
    /// Real user id.
    pub uid: u32,
    /// Start time of the parent, nanoseconds of `CLOCK_BOOTTIME`.
    pub parent_start_time: u64,
    /// The instance the process belonged to before; 0 when none.
    pub parent_instance: u64,
    /// Inode number of file descriptor 0 when it is a pipe or socket, else 0.
    pub stdin_inode: u64,
    /// Inode number of file descriptor 1 when it is a pipe or socket, else 0.
    pub stdout_inode: u64,
    /// Id of the process's cgroup in the v2 hierarchy.
    pub cgroup: u64,
    /// Real group id.
    pub gid: u32,
    /// Bytes of argv in the tail, NUL-terminated arguments.
    pub argv_len: u32,
    /// Bytes of the executed file's path in the tail (see [`Open::path_len`]).
    pub path_len: u16,
    /// Bytes of the working directory's path in the tail.
    pub cwd_len: u16,
    /// `EXEC_*`.
    pub flags: u16,
    /// `AF_*` of the socket on file descriptor 0; 0 when there is none.
    pub stdin_family: u16,
    /// `AF_*` of the socket on file descriptor 1; 0 when there is none.
    pub stdout_family: u16,
    /// How many [`Ancestor`]s of the [`ANCESTORS`] before the tail are filled.
    pub ancestors: u16,
    /// Inode number of the mount namespace the executed file was found in; 0 when it is in none.
    pub mount_namespace: u32,
}

/// Most ancestors an exec names. Between the body of an exec and its tail there is room for as many.
pub const ANCESTORS: usize = 32;

/// A process above the executing one.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Ancestor {
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Zero.
    pub padding: u32,
    /// When it started: nanoseconds of `CLOCK_BOOTTIME`.
    pub start_time: u64,
}

/// Body of [`Kind::Exit`].
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Exit {
    /// As wait(2) gives it: code in bits 8–15, signal in bits 0–6, core flag in bit 7.
    pub status: i32,
    /// Zero.
    pub padding: u32,
}

/// The opened path was walked up to the root of its mount namespace ([`Open::path_flags`]).
pub const PATH_COMPLETE: u16 = 1 << 0;
/// The base directory was walked up to the root ([`Open::path_flags`], [`Place::flags`]).
pub const BASE_COMPLETE: u16 = 1 << 1;
/// The process's own root directory lies on the way of the opened path, `path_root` bytes up
/// ([`Open::path_flags`]).
pub const PATH_ROOTED: u16 = 1 << 2;
/// The same of the base directory, `base_root` bytes up ([`Open::path_flags`], [`Place::flags`]).
pub const BASE_ROOTED: u16 = 1 << 3;
/// The file had no name any more, or never had one ([`Open::path_flags`], [`Place::flags`]).
pub const UNLINKED: u16 = 1 << 4;
/// The call names a directory or descriptor for this place; without, the argument is a mere text
/// ([`Place::flags`]).
pub const PLACE_BASED: u16 = 1 << 5;
/// The argument was cut ([`Place::flags`]).
pub const PLACE_CUT: u16 = 1 << 6;
/// `UNSHARE_EMPTY_MNTNS`, since 7.1: a new mount namespace, by a bit that clone(2) has for something else.
pub const UNSHARE_EMPTY_MOUNTS: u64 = 0x10_0000;
/// `CLONE_EMPTY_MNTNS` of clone3(2), since 7.1: the same.
pub const CLONE_EMPTY_MOUNTS: u64 = 1 << 37;
/// The argument could not be read ([`Place::flags`]).
pub const PLACE_UNREADABLE: u16 = 1 << 7;
/// It was done through an `io_uring`, not by a system call of its own ([`Open::path_flags`]): the header's `result`
/// is 0 where a call would give a descriptor.
pub const VIA_IO_URING: u16 = 1 << 8;
/// It was opened by a file handle, which names no path: `argument_len` is 0, and the base is the mount
/// ([`Open::path_flags`]).
pub const VIA_HANDLE: u16 = 1 << 10;
/// The place is the directory that was walked, not one the argument leads to from there ([`Place::flags`]): chroot(2)
/// has made it the process's root directory.
pub const PLACE_RESOLVED: u16 = 1 << 9;

/// Body of [`Kind::Open`]; the header's `result` is the file descriptor or `-errno`.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Open {
    /// `O_*` as given; when it was opened from `struct file`, with those that it no longer has.
    pub flags: u32,
    /// `st_mode` of the opened file; 0 when it was not opened.
    pub mode: u32,
    /// Inode number; 0 when it was not opened.
    pub inode: u64,
    /// Device number as the kernel encodes it (major in bits 20–31).
    pub device: u32,
    /// Bytes of the resolved path: NUL-terminated components from the leaf up to the root. Empty
    /// when it was not opened.
    pub path_len: u16,
    /// Bytes of the path argument as it was given, not terminated.
    pub argument_len: u16,
    /// Bytes of the directory a relative argument starts from, in the form of `path_len`.
    pub base_len: u16,
    /// `PATH_COMPLETE`, `BASE_COMPLETE`, `PATH_ROOTED`, `BASE_ROOTED`, `UNLINKED`, `VIA_IO_URING`,
    /// `VIA_HANDLE`.
    pub path_flags: u16,
    /// How many bytes of the resolved path lie below the process's root directory, with `PATH_ROOTED`.
    pub path_root: u16,
    /// The same of the base directory, with `BASE_ROOTED`.
    pub base_root: u16,
    /// Inode number of the mount namespace the file, or the base directory, was found in; 0 when it is in none.
    pub mount_namespace: u32,
    /// Zero.
    pub padding: u32,
}

/// The operations with their numbers and names.
macro_rules! operations {
    ($($(#[$doc:meta])* $name:ident = $number:literal => $text:literal,)*) => {
        /// What a reported system call did ([`Syscall::operation`]): calls that differ only in how they
        /// name their object are one operation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum Operation { $($(#[$doc])* $name = $number,)* }

        impl Operation {
            /// Every operation.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The word for it in the event stream: the name of the system call.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The operation an event names, if it is one of ours.
            #[must_use]
            pub fn from_u16(number: u16) -> Option<Self> {
                Self::ALL.iter().copied().find(|operation| *operation as u16 == number)
            }
        }
    };
}

operations! {
    /// rename(2), renameat(2), renameat2(2): from the first place to the second. Values: flags.
    Rename = 1 => "rename",
    /// link(2), linkat(2): the first place gets the second as another name. Values: flags.
    Link = 2 => "link",
    /// symlink(2), symlinkat(2): the first is the text, the second the place of the new link.
    Symlink = 3 => "symlink",
    /// unlink(2), unlinkat(2). Values: flags.
    Unlink = 4 => "unlink",
    /// rmdir(2). (unlinkat(2) with `AT_REMOVEDIR` comes as `Unlink`.)
    RemoveDirectory = 5 => "rmdir",
    /// chmod(2), fchmod(2), fchmodat(2), fchmodat2(2). Values: mode.
    Chmod = 6 => "chmod",
    /// chown(2), lchown(2), fchown(2), fchownat(2). Values: user, group.
    Chown = 7 => "chown",
    /// truncate(2), ftruncate(2). Values: length.
    Truncate = 8 => "truncate",
    /// mkdir(2), mkdirat(2). Values: mode.
    MakeDirectory = 9 => "mkdir",
    /// mknod(2), mknodat(2). Values: mode, device.
    MakeNode = 10 => "mknod",
    /// `memfd_create(2)`: the first place is its name, a mere text. Values: flags.
    MemfdCreate = 11 => "memfd_create",

    /// setuid(2). Values: user.
    Setuid = 32 => "setuid",
    /// setgid(2). Values: group.
    Setgid = 33 => "setgid",
    /// setreuid(2). Values: real, effective.
    Setreuid = 34 => "setreuid",
    /// setregid(2). Values: real, effective.
    Setregid = 35 => "setregid",
    /// setresuid(2). Values: real, effective, saved.
    Setresuid = 36 => "setresuid",
    /// setresgid(2). Values: real, effective, saved.
    Setresgid = 37 => "setresgid",
    /// setfsuid(2). Values: user. Its result is the user before, whether it worked or not.
    Setfsuid = 38 => "setfsuid",
    /// setfsgid(2). Values: group. Its result is the group before, whether it worked or not.
    Setfsgid = 39 => "setfsgid",
    /// setgroups(2). Values: how many.
    Setgroups = 40 => "setgroups",
    /// capset(2). Values: effective, permitted, inheritable, as sets of 64 bits.
    Capset = 41 => "capset",
    /// unshare(2) of namespaces. Values: flags.
    Unshare = 42 => "unshare",
    /// clone(2), clone3(2) into new namespaces. Values: flags.
    Clone = 43 => "clone",
    /// setns(2). Values: descriptor, type.
    Setns = 44 => "setns",
    /// mount(2): the first is the source, a mere text, the second the place. Values: flags.
    Mount = 45 => "mount",
    /// umount2(2): the first is the place. Values: flags.
    Umount = 46 => "umount",
    /// fsmount(2). Values: descriptor, flags.
    Fsmount = 47 => "fsmount",
    /// `move_mount(2)`: from the first place to the second. Values: flags.
    MoveMount = 48 => "move_mount",
    /// `pivot_root(2)`: the new root, and the place of the old one.
    PivotRoot = 49 => "pivot_root",
    /// chroot(2): the new root.
    Chroot = 50 => "chroot",
    /// bpf(2). Values: command.
    Bpf = 51 => "bpf",
    /// `init_module(2)`. Values: image, length.
    InitModule = 52 => "init_module",
    /// `finit_module(2)`: the first is the module.
    FinitModule = 53 => "finit_module",
    /// `delete_module(2)`: the first is its name, a mere text.
    DeleteModule = 54 => "delete_module",
    /// `kexec_load(2)`.
    KexecLoad = 55 => "kexec_load",
    /// `kexec_file_load(2)`: the first is the kernel.
    KexecFileLoad = 56 => "kexec_file_load",
    /// `io_uring_setup(2)`. Values: entries.
    IoUringSetup = 57 => "io_uring_setup",
    /// `mount_setattr(2)`, `open_tree_attr(2)`: the first is the place. Values: flags, of the latter.
    MountSetattr = 58 => "mount_setattr",
    /// prctl(2), of the options that give a process more. Values: option, and its arguments.
    Prctl = 59 => "prctl",
    /// `open_tree(2)`, when it copies the mounts below the first place. Values: flags.
    OpenTree = 60 => "open_tree",

    /// ptrace(2), of the requests that take hold of a process or change it. Values: request, process.
    Ptrace = 80 => "ptrace",
    /// `process_vm_readv(2)`. Values: process.
    ProcessVmReadv = 81 => "process_vm_readv",
    /// `process_vm_writev(2)`. Values: process.
    ProcessVmWritev = 82 => "process_vm_writev",
    /// `pidfd_getfd(2)`. Values: descriptor of the process, descriptor within it.
    PidfdGetfd = 83 => "pidfd_getfd",

    /// socket(2) of a family beyond IP and unix. Values: family, type, protocol.
    Socket = 96 => "socket",
}

/// A file a system call names, by its directory and argument or by its descriptor.
#[derive(Clone, Copy, Debug, Default)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Place {
    /// Bytes in the tail of the directory the argument starts from (for an absolute one the process's
    /// root directory), or of the file behind the descriptor; in the form of [`Open::path_len`].
    pub base_len: u16,
    /// How many of them lie below the process's root directory, with `BASE_ROOTED`.
    pub base_root: u16,
    /// Bytes of the argument that follow in the tail, not terminated.
    pub argument_len: u16,
    /// `BASE_COMPLETE`, `BASE_ROOTED`, `UNLINKED`, `PLACE_*`.
    pub flags: u16,
    /// Inode number of the mount namespace the directory was found in; 0 when it is in none.
    pub mount_namespace: u32,
}

/// Body of [`Kind::Change`], [`Kind::Privilege`], [`Kind::Access`]: a system call by its arguments and the files they name.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Syscall {
    /// One of [`Operation`].
    pub operation: u16,
    /// How deep the process's pid namespace is: process ids among its arguments are those of the host at 0.
    pub pid_level: u16,
    /// The process behind the pid descriptor it names, as an id of the host; 0 when it names none.
    pub target_pid: u32,
    /// Its other arguments as given, in the order the operation lists them; what lies beyond means nothing.
    pub values: [u64; 4],
    /// The file it names first.
    pub first: Place,
    /// The file it names second.
    pub second: Place,
}

/// Body of [`Kind::Connect`], [`Kind::Send`], [`Kind::Bind`], [`Kind::Listen`], [`Kind::Accept`].
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Net {
    /// IPv4 in the first four bytes, IPv6 in all; network order. Of families beyond IP and unix the first
    /// bytes of the address as given, family included.
    pub address: [u8; 16],
    /// `AF_*`.
    pub family: u16,
    /// Host order.
    pub port: u16,
    /// `SOCK_*`; 0 when unknown.
    pub socket_type: u16,
    /// `IPPROTO_*`; 0 when unknown.
    pub protocol: u16,
    /// The socket's file descriptor; -1 when the hook does not see it.
    pub fd: i32,
    /// Bytes of the unix path in the tail, as the call has it. What follows them is the name that the other end is
    /// bound by, of a connection that was made.
    pub unix_len: u16,
    /// 1 when the header's `result` is the system call's, 0 when nobody will ever say (`io_uring`).
    pub has_result: u16,
}

/// Bytes the server read: requests, on its stdin ([`Payload::direction`]).
pub const DIRECTION_IN: u32 = 0;
/// Bytes the server wrote: responses, on its stdout ([`Payload::direction`]).
pub const DIRECTION_OUT: u32 = 1;

/// Body of [`Kind::Payload`]; the header's `result` is what the system call moved, in bytes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Payload {
    /// Where the tail's first byte stands in the stream of this instance and direction.
    pub offset: u64,
    /// Bytes in the tail.
    pub data_len: u32,
    /// `DIRECTION_*`.
    pub direction: u32,
    /// 1 on the last event of one system call, else 0.
    pub last: u32,
    /// The file descriptor that was used.
    pub fd: i32,
}

/// Longest tail of a [`Packet`] event: a message of name service is hardly ever longer, and a TLS client's
/// first one with a post-quantum key share has less than half of it.
pub const PACKET_BYTES: usize = 4096;

/// Body of [`Kind::Dns`] and [`Kind::Tls`]: what a packet of a watched socket carries, as the network layer
/// has it. The process is the one that connected the socket, or sent with it.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Packet {
    /// The other end, as in [`Net::address`].
    pub address: [u8; 16],
    /// Which socket: unique since boot.
    pub socket: u64,
    /// `AF_*`.
    pub family: u16,
    /// The other end's, host order.
    pub port: u16,
    /// `IPPROTO_*`.
    pub protocol: u16,
    /// [`DIRECTION_IN`] or [`DIRECTION_OUT`].
    pub direction: u16,
    /// Inode number of the socket's network namespace; 0 when the kernel has none.
    pub namespace: u32,
    /// Bytes of the tail that are the message's.
    pub data_len: u32,
}

/// Body of [`Kind::Injection`]; the header's `result` is what was written, in bytes.
#[derive(Clone, Copy, Debug)]
#[cfg_attr(feature = "user", derive(bytemuck::Pod, bytemuck::Zeroable))]
#[repr(C)]
pub struct Injection {
    /// The instance whose channel it is.
    pub victim: u64,
    /// `DIRECTION_IN` for its stdin, `DIRECTION_OUT` for its stdout.
    pub direction: u32,
    /// The file descriptor that was used; -1 when it is not known (`io_uring`).
    pub fd: i32,
}

const _: () = {
    assert!(size_of::<Header>() == 56);
    assert!(size_of::<Packet>() == 40);
    assert!(size_of::<Fork>() == 16);
    assert!(size_of::<Exec>() == 72);
    assert!(size_of::<Exit>() == 8);
    assert!(size_of::<Ancestor>() == 16);
    assert!(size_of::<Open>() == 40);
    assert!(size_of::<Place>() == 12);
    assert!(size_of::<Syscall>() == 64);
    assert!(size_of::<Net>() == 32);
    assert!(size_of::<Payload>() == 24);
    assert!(size_of::<Injection>() == 16);
    assert!(
        size_of::<Header>()
            + size_of::<Exec>()
            + ANCESTORS * size_of::<Ancestor>()
            + 2 * (PATH_BYTES + COMPONENT_BYTES + 1)
            + ARGV_BYTES
            < EVENT_BYTES
    );
    assert!(size_of::<Header>() + size_of::<Payload>() + PAYLOAD_CHUNK < EVENT_BYTES);
    assert!(
        size_of::<Header>()
            + size_of::<Syscall>()
            + 2 * (PATH_BYTES + COMPONENT_BYTES + 1 + ARGUMENT_BYTES)
            < EVENT_BYTES
    );
};
