//! What was done to programs, files, rights and other processes.

use std::borrow::Cow;

use serde::Serialize;

/// An executed program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ExecDetail {
    /// Resolved path of the executed file.
    pub path: String,
    /// Where `path` is on the host, when the process has other mounts and that is known to be another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// Its arguments (secrets masked).
    pub argv: Vec<String>,
    /// Whether any of that is masked: the record says so in `redacted`.
    #[serde(skip)]
    pub argv_masked: bool,
    /// Working directory.
    pub cwd: String,
    /// The parent's program.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_exe: Option<String>,
    /// The processes above it, from the one that started it up to process 1, or to the edge of what is watched.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ancestors: Vec<Ancestor>,
    /// The executed file has no name: `memfd` for one made in memory, `deleted` for one that had a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<&'static str>,
    /// The program runs with the rights of another user than who started it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub set_user_id: bool,
    /// The program runs with the rights of another group than its own: by its file, or handed on by who started it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub set_group_id: bool,
    /// The file gives the program capabilities.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub file_capabilities: bool,
    /// A socket stands on stdin or stdout: `stdin`, `stdout`, `both`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub socket_stdio: Option<&'static str>,
}

/// A process above another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Ancestor {
    /// In the initial pid namespace.
    pub pid: u32,
    /// Its `process.entity_id`.
    pub entity_id: String,
    /// Its program, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// It had ended by then, and left what it started to another.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub ended: bool,
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct ExitDetail {
    /// Exit code; absent when a signal ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i32>,
    /// The signal that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
}

/// A file, and what was done to it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileDetail {
    /// The resolved path; for a failed open the absolute form of the argument.
    pub path: String,
    /// The path argument as it was given; empty when a descriptor named the file.
    pub argument: String,
    /// `path` below the process's own root directory, where chroot(2) has put that elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_path: Option<String>,
    /// Where `path` is on the host, when the process has other mounts and that is known to be another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// On `file.open`: `read`, `write`, `read_write` or `path`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub access: Option<&'static str>,
    /// `O_*` names beyond the access mode.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub flags: Vec<&'static str>,
    /// `ok`, the name of the error (`ENOENT`), or `unknown` of what was given to an `io_uring`.
    pub result: Cow<'static, str>,
    /// Inode number, when it was opened.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inode: Option<u64>,
    /// The file has no name any more, or never had one: `path` is where it was, or what it is called.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub unlinked: bool,
    /// `io_uring` or `handle`, when it was not a system call that names a path that did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub via: Option<&'static str>,
    /// On `file.change`: what was done, by the name of the system call without `at`, `f` and digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub operation: Option<&'static str>,
    /// On `file.change` of two files: the other one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<FileTarget>,
    /// Of a rename: the two exchange their names, if it succeeds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub exchanged: bool,
    /// The mode given to it, in octal.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<String>,
    /// The user id given to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_uid: Option<u32>,
    /// The group id given to it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_gid: Option<u32>,
    /// The length given to it, in bytes. The kernel refuses negative ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub size: Option<i64>,
}

/// The other file of a change: the new name of a rename or hard link, what a symbolic link leads to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FileTarget {
    /// Its path.
    pub path: String,
    /// The argument as it was given: of a symbolic link its text.
    pub argument: String,
    /// `path` below the process's own root directory, where chroot(2) has put that elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_path: Option<String>,
    /// Where `path` is on the host, when the process has other mounts and that is known to be another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
}

/// A change of what a process may do or see, or a hold taken of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PrivilegeDetail {
    /// The name of the system call.
    pub operation: &'static str,
    /// `ok`, or the name of the error.
    pub result: Cow<'static, str>,
    /// The user or group ids asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ids: Option<IdsDetail>,
    /// How many supplementary groups were set.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub groups: Option<u64>,
    /// The capabilities asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub capabilities: Option<Capabilities>,
    /// The namespaces made or entered.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub namespaces: Vec<&'static str>,
    /// The new root directory, the mount point, the module.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The argument that named it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub argument: Option<String>,
    /// `path` below the process's own root directory, where chroot(2) has put that elsewhere.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inner_path: Option<String>,
    /// Where `path` is on the host, when the process has other mounts and that is known to be another path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host_path: Option<String>,
    /// What is mounted there; where the old root directory goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// `MS_*` of mount(2).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub mount_flags: Vec<&'static str>,
    /// The command of bpf(2), the option of prctl(2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<String>,
    /// The capability that prctl(2) is to hand on to executed programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ambient: Option<String>,
    /// `SECBIT_*` that prctl(2) is to set.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secure_bits: Vec<&'static str>,
}

/// User or group ids that were asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct IdsDetail {
    /// The real one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub real: Option<u32>,
    /// The effective one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub effective: Option<u32>,
    /// The saved one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub saved: Option<u32>,
    /// The one for files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filesystem: Option<u32>,
}

/// Sets of capabilities, by name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Capabilities {
    /// Those in force.
    pub effective: Vec<&'static str>,
    /// Those that may be put in force.
    pub permitted: Vec<&'static str>,
    /// Those that go to executed programs.
    pub inheritable: Vec<&'static str>,
}

/// One process reaching into another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessDetail {
    /// The name of the system call.
    pub operation: &'static str,
    /// The request of ptrace(2).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// The other process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<AccessTarget>,
    /// Its id in the pid namespace of the process, where nothing more is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace_pid: Option<u32>,
    /// `ok`, or the name of the error.
    pub result: Cow<'static, str>,
}

/// A process that was reached into.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AccessTarget {
    /// In the initial pid namespace.
    pub pid: u32,
    /// Its `process.entity_id`, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entity_id: Option<String>,
    /// Its program, when it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe: Option<String>,
    /// Name of the server it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server: Option<String>,
}
