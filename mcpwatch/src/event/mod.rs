//! Bytes of the ring buffer → [`Event`]: pure, with every length and version checked.

pub mod decode;

pub use mcpwatch_common::event::Operation;

/// Identity of a process: a pid is used again, a pid with its start time is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ProcessKey {
    /// Process (thread group) id in the initial pid namespace.
    pub pid: u32,
    /// Start time in clock ticks (10 ms) since boot: the precision `/proc/PID/stat` has too.
    pub start: u64,
}

/// One event of the kernel.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// Who did it.
    pub process: ProcessKey,
    /// The start time in nanoseconds, for the record.
    pub start_time: u64,
    /// Which thread.
    pub tid: u32,
    /// The watched instance it belongs to; 0 when none.
    pub instance: u64,
    /// Something did not fit and was cut.
    pub truncated: bool,
    /// What was done.
    pub kind: EventKind,
}

/// What was done.
#[derive(Clone, Debug, PartialEq)]
pub enum EventKind {
    /// A new process.
    Fork(Fork),
    /// A new program in a process.
    Exec(Box<Exec>),
    /// The end of a process.
    Exit(Exit),
    /// An open.
    Open(Box<Open>),
    /// A use of the network.
    Net(Box<Net>),
    /// A change of a file.
    Change(Box<Change>),
    /// A message of name service.
    Dns(Box<Packet>),
    /// The first message of a TLS client.
    Tls(Box<Packet>),
    /// Bytes on a protocol channel.
    Payload(Payload),
    /// A change of what the process may do or see.
    Privilege(Box<Privilege>),
    /// The process reached into another.
    Access(Access),
    /// The process wrote to a channel at whose end it is not.
    Injection(Injection),
}

/// A new process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The child.
    pub child: ProcessKey,
    /// Its start time in nanoseconds of `CLOCK_BOOTTIME`.
    pub child_start_time: u64,
}

/// A new program in a process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exec {
    /// The parent.
    pub parent: ProcessKey,
    /// Real user id.
    pub uid: u32,
    /// Real group id.
    pub gid: u32,
    /// The instance it belonged to before; 0 when none.
    pub parent_instance: u64,
    /// It founded an instance: a candidate for a server.
    pub candidate: bool,
    /// It would be a candidate, but the watch set was full.
    pub watch_full: bool,
    /// Inode of the pipe or socket on fd 0.
    pub stdin_inode: Option<u64>,
    /// Inode of the pipe or socket on fd 1.
    pub stdout_inode: Option<u64>,
    /// `AF_*` of the socket on fd 0; `None` when there is none, or the kernel side did not say.
    pub stdin_family: Option<u16>,
    /// `AF_*` of the socket on fd 1; `None` when there is none, or the kernel side did not say.
    pub stdout_family: Option<u16>,
    /// Id of the cgroup in the v2 hierarchy.
    pub cgroup: u64,
    /// The processes above it by the kernel's word, from the parent up to process 1 or to the edge of what is
    /// watched; at most 32.
    pub ancestors: Vec<ProcessKey>,
    /// It runs with the rights of another user than who started it.
    pub set_user_id: bool,
    /// It runs with the rights of another group than its own: by its file, or handed on by who started it.
    pub set_group_id: bool,
    /// It has capabilities that the file gave it.
    pub file_capabilities: bool,
    /// There are more of them than are named here.
    pub more_ancestors: bool,
    /// The executed file has no name any more, or never had one.
    pub unlinked: bool,
    /// Inode number of the mount namespace in whose terms the path is; 0 when there is none.
    pub mount_namespace: u32,
    /// Resolved path of the executed file.
    pub path: String,
    /// Working directory.
    pub cwd: String,
    /// Argument vector.
    pub argv: Vec<String>,
}

/// The end of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Exit code, unless a signal ended it.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<i32>,
}

/// An open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Open {
    /// `O_*` flags.
    pub flags: u32,
    /// `st_mode`; 0 when it failed.
    pub mode: u32,
    /// Inode number; 0 when it failed.
    pub inode: u64,
    /// Device number, as the kernel encodes it.
    pub device: u32,
    /// File descriptor, or the error number.
    pub result: Result<i32, i32>,
    /// What came of it is not known, and `result` is that of success: it was given to an `io_uring`. Its path is the
    /// absolute form of the argument.
    pub result_unknown: bool,
    /// Resolved path; the absolute form of the argument when it failed.
    pub path: String,
    /// The argument as given.
    pub argument: String,
    /// The path below the process's own root directory, where that is not the root of its mounts.
    pub inner_path: Option<String>,
    /// Inode number of the mount namespace in whose terms the path is; 0 when there is none.
    pub mount_namespace: u32,
    /// The path on the host, where that is another one: put in by the pipeline, which knows what is mounted.
    pub host_path: Option<String>,
    /// The file has no name any more, or never had one.
    pub unlinked: bool,
    /// Which way, when no system call that names a path did it.
    pub via: Option<Via>,
}

/// How a file can be opened or changed other than by a system call that names a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// Through `io_uring`: a `result` without an error is 0, whatever the descriptor.
    IoUring,
    /// By a file handle, `open_by_handle_at(2)`: there is no argument.
    Handle,
}

impl Via {
    /// The word for it in the event stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::IoUring => "io_uring",
            Self::Handle => "handle",
        }
    }
}

impl Open {
    /// A regular file, or what may be one where nobody says: of one that was given to an `io_uring`.
    #[must_use]
    pub fn may_be_regular(&self) -> bool {
        if self.result_unknown {
            return self.flags.cast_signed() & libc::O_DIRECTORY == 0;
        }
        self.mode & libc::S_IFMT == libc::S_IFREG
    }

    /// Opened (or tried) so that contents can be read.
    #[must_use]
    pub fn reads(&self) -> bool {
        let access = self.flags.cast_signed() & libc::O_ACCMODE;
        (access == libc::O_RDONLY || access == libc::O_RDWR)
            && self.flags.cast_signed() & libc::O_PATH == 0
    }

    /// Opened (or tried) so that contents can be changed.
    #[must_use]
    pub fn writes(&self) -> bool {
        let access = self.flags.cast_signed() & libc::O_ACCMODE;
        (access == libc::O_WRONLY || access == libc::O_RDWR)
            || self.flags.cast_signed() & libc::O_TRUNC != 0
    }
}

/// A file as a system call names it: by a directory and an argument, or by a descriptor.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The path, up to the root of the process's mounts. Symbolic links in the argument are not followed,
    /// and `.` and `..` are taken out as text.
    pub path: String,
    /// The argument as given; empty when a descriptor names the file.
    pub argument: String,
    /// The path below the process's own root directory, where that is not the root of its mounts.
    pub inner_path: Option<String>,
    /// Inode number of the mount namespace in whose terms the path is; 0 when there is none.
    pub mount_namespace: u32,
    /// The path on the host, where that is another one: put in by the pipeline, which knows what is mounted.
    pub host_path: Option<String>,
    /// The file has no name any more, or never had one.
    pub unlinked: bool,
}

/// A change of a file that is not made through what was written to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// What was done.
    pub operation: Operation,
    /// The file: the old name of a rename, the existing one of a hard link, the new link itself of a
    /// symbolic one.
    pub file: Place,
    /// The other: the new name of a rename or hard link; the text of a symbolic link, as `argument`, with
    /// what it means from where the link lies, as `path`.
    pub target: Option<Place>,
    /// Of a rename: each of the two has the other's name afterwards.
    pub exchange: bool,
    /// The mode given to it.
    pub mode: Option<u32>,
    /// User and group given to it; `None` where they stay.
    pub owner: (Option<u32>, Option<u32>),
    /// The length given to it, in bytes. The kernel refuses negative ones.
    pub size: Option<i64>,
    /// Which way, when no system call of its own did it.
    pub via: Option<Via>,
    /// The error number, when it failed.
    pub result: Result<(), i32>,
    /// What came of it is not known, and `result` is that of success.
    pub result_unknown: bool,
}

impl Change {
    /// The files whose content, name or existence are other ones afterwards.
    pub fn changed(&self) -> impl Iterator<Item = &Place> {
        let (file, target) = match self.operation {
            Operation::Rename => (Some(&self.file), self.target.as_ref()),
            Operation::Link => (None, self.target.as_ref()),
            Operation::Chmod | Operation::Chown => (None, None),
            _ => (Some(&self.file), None),
        };
        file.into_iter().chain(target)
    }

    /// An exchange of two names, told from the other file; `None` for every other change.
    #[must_use]
    pub fn exchanged(&self) -> Option<Self> {
        let target = self.target.as_ref().filter(|_| self.exchange)?;
        Some(Self { file: target.clone(), target: Some(self.file.clone()), ..self.clone() })
    }

    /// The file that now has another name, by which it can be read.
    #[must_use]
    pub fn renamed(&self) -> Option<&Place> {
        matches!(self.operation, Operation::Rename | Operation::Link).then_some(&self.file)
    }
}

/// A change of what a process may do or see, or a hold taken of the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Privilege {
    /// What was done.
    pub operation: Operation,
    /// The user or group ids asked for.
    pub ids: Ids,
    /// How many supplementary groups were set.
    pub groups: Option<u64>,
    /// The effective, permitted and inheritable capabilities asked for, as bits.
    pub capabilities: Option<[u64; 3]>,
    /// `CLONE_NEW*` of the namespaces made or entered.
    pub namespaces: u64,
    /// What it is about: the new root, the mount point, the module.
    pub place: Option<Place>,
    /// What is mounted there; where the old root goes.
    pub source: Option<Place>,
    /// `MS_*` of mount(2).
    pub mount_flags: u64,
    /// The command of bpf(2), the option of prctl(2).
    pub command: Option<u32>,
    /// The capability that prctl(2) is to hand on to executed programs, by its number.
    pub ambient: Option<u64>,
    /// `SECBIT_*` that prctl(2) is to set.
    pub secure_bits: u64,
    /// What the system call returned, or the error number.
    pub result: Result<i64, i32>,
}

/// User or group ids that were asked for; `None` where they stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ids {
    /// The real one.
    pub real: Option<u32>,
    /// The effective one.
    pub effective: Option<u32>,
    /// The saved one.
    pub saved: Option<u32>,
    /// The one for files.
    pub filesystem: Option<u32>,
}

impl Ids {
    /// None was asked for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// All that were asked for.
    pub fn all(&self) -> impl Iterator<Item = u32> {
        [self.real, self.effective, self.saved, self.filesystem].into_iter().flatten()
    }
}

/// One process reaching into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Access {
    /// How.
    pub operation: Operation,
    /// The request of ptrace(2).
    pub request: Option<u32>,
    /// The other process, by its id in the initial pid namespace.
    pub target: Option<u32>,
    /// The same where it is known by an id of another namespace only.
    pub namespace_target: Option<u32>,
    /// The error number, when it failed.
    pub result: Result<(), i32>,
}

/// Bytes written to a channel by a process that is not at its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Injection {
    /// How many; `None` of what an `io_uring` was asked to write.
    pub bytes: Option<u64>,
    /// The instance whose channel it is.
    pub victim: u64,
    /// Which way they look as if they went.
    pub direction: Direction,
}

/// What was done with the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NetOperation {
    /// socket(2), of a family beyond IP and unix.
    Socket,
    /// connect(2).
    Connect,
    /// A datagram to an address.
    Send,
    /// bind(2).
    Bind,
    /// listen(2).
    Listen,
    /// accept(2).
    Accept,
}

/// An address of a family beyond IP and unix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherEndpoint {
    /// A part of the kernel, or another process.
    Netlink {
        /// The port id: 0 for the kernel.
        port: u32,
        /// Multicast groups, as bits.
        groups: u32,
    },
    /// A virtual machine or its host.
    Vsock {
        /// The machine.
        cid: u32,
        /// Its port.
        port: u32,
    },
    /// A network interface, whole frames.
    Packet {
        /// Its index.
        interface: i32,
        /// The kind of frames, `ETH_P_*`.
        ethertype: u16,
    },
}

/// A use of the network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Net {
    /// What was done.
    pub operation: NetOperation,
    /// `AF_*`.
    pub family: u16,
    /// `SOCK_*`; 0 when unknown.
    pub socket_type: u16,
    /// `IPPROTO_*`; 0 when unknown.
    pub protocol: u16,
    /// The IP address and port, for IPv4 and IPv6. IPv4-mapped addresses are given as IPv4.
    pub endpoint: Option<std::net::SocketAddr>,
    /// Where to, of families beyond IP and unix.
    pub other: Option<OtherEndpoint>,
    /// The unix path; abstract names begin with `@`.
    pub unix_path: Option<String>,
    /// The name that the other end of a unix connection is bound by, when it is another.
    pub bound_path: Option<String>,
    /// Result of the system call, or the error number; `None` when nobody will say.
    pub result: Option<Result<i64, i32>>,
}

/// What a packet of a watched socket carried.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Packet {
    /// The other end. IPv4-mapped addresses are given as IPv4.
    pub peer: std::net::SocketAddr,
    /// It came from there; else it went there.
    pub incoming: bool,
    /// Over TCP; else UDP.
    pub stream: bool,
    /// Which socket: unique since boot.
    pub socket: u64,
    /// Inode number of the socket's network namespace; 0 when the kernel has none.
    pub namespace: u32,
    /// The bytes, or as many as fitted.
    pub data: Vec<u8>,
}

/// Which way bytes went on a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// Read by the server: what the client said.
    ClientToServer,
    /// Written by the server.
    ServerToClient,
}

impl Direction {
    /// The word in the event stream.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::ClientToServer => "client_to_server",
            Self::ServerToClient => "server_to_client",
        }
    }
}

/// Bytes on a protocol channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// Which way.
    pub direction: Direction,
    /// Where the first byte stands in the stream.
    pub offset: u64,
    /// The bytes.
    pub data: Vec<u8>,
    /// The system call moved no more than this event holds.
    pub last: bool,
}
