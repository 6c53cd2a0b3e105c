//! System calls that are reported by their arguments: what the arguments of each mean.

use mcpwatch_common::event as wire;

use super::super::{Access, Change, Ids, Net, NetOperation, Operation, Place, Privilege, Via};
use super::paths::{self, join};
use super::{DecodeError, errno, read};

/// `PTRACE_TRACEME`: by it a process gives itself to its parent.
pub const TRACE_ME: u32 = 0;

/// `OPEN_TREE_NAMESPACE`, `FSMOUNT_NAMESPACE`, since 7.1: into a new mount namespace.
const INTO_NAMESPACE: u64 = 2;

/// `CLONE_NEWNS`, when the flags have one that means it without saying so.
const fn mounts_if(flags: u64, flag: u64) -> u64 {
    if flags & flag == 0 { 0 } else { libc::CLONE_NEWNS as u64 }
}

/// A reported system call, its files read.
pub(super) struct Reported {
    operation: Operation,
    values: [u64; 4],
    pid_level: u16,
    target_pid: u32,
    first: Place,
    second: Place,
    result: i64,
    /// It was given to an `io_uring`: there is no result.
    submitted: bool,
}

impl Reported {
    /// `None` when its parts do not fit its size.
    pub(super) fn of(header: &wire::Header, body: &[u8]) -> Result<Option<Self>, DecodeError> {
        let (call, mut tail) = read::<wire::Syscall>(body)?;
        let operation = Operation::from_u16(call.operation)
            .ok_or(DecodeError::Operation { found: call.operation })?;
        let first = paths::place(call.first, &mut tail);
        let second = paths::place(call.second, &mut tail);
        Ok(first.zip(second).map(|(first, second)| Self {
            operation,
            values: call.values,
            pid_level: call.pid_level,
            target_pid: call.target_pid,
            first,
            second,
            result: header.result,
            submitted: header.flags & wire::FLAG_SUBMITTED != 0,
        }))
    }

    fn outcome(&self) -> Result<i64, i32> {
        if self.result < 0 { Err(errno(self.result)) } else { Ok(self.result) }
    }

    /// An argument of 32 bits: it stands in a register of 64, whose upper half means nothing.
    #[expect(clippy::cast_possible_truncation, reason = "the argument is of 32 bits")]
    const fn narrow(&self, number: usize) -> u32 {
        let [first, second, third, _] = self.values;
        match number {
            0 => first as u32,
            1 => second as u32,
            _ => third as u32,
        }
    }

    /// A user or group id; -1 stands for none.
    fn id(&self, number: usize) -> Option<u32> {
        Some(self.narrow(number)).filter(|id| *id != u32::MAX)
    }

    pub(super) fn change(self) -> Change {
        let result = self.outcome().map(|_| ());
        let [first_value, ..] = self.values;
        let exchange =
            self.operation == Operation::Rename && self.narrow(0) & libc::RENAME_EXCHANGE != 0;
        let mut change = Change {
            operation: self.operation,
            mode: None,
            owner: (None, None),
            size: None,
            via: self.submitted.then_some(Via::IoUring),
            result,
            result_unknown: self.submitted,
            target: None,
            exchange,
            file: Place::default(),
        };
        match self.operation {
            Operation::Rename | Operation::Link => {
                change.file = self.first;
                change.target = Some(self.second);
                return change;
            }
            Operation::Symlink => {
                // The text of the link, read from where the link lies.
                let mut meant = self.first;
                if !meant.argument.starts_with('/') {
                    let folder = self.second.path.rsplit_once('/').map_or("", |(folder, _)| folder);
                    meant.path = join(folder, &meant.argument);
                }
                change.file = self.second;
                change.target = Some(meant);
                return change;
            }
            Operation::Unlink if self.narrow(0).cast_signed() & libc::AT_REMOVEDIR != 0 => {
                change.operation = Operation::RemoveDirectory;
            }
            Operation::Chmod | Operation::MakeDirectory | Operation::MakeNode => {
                change.mode = Some(self.narrow(0));
            }
            Operation::Chown => change.owner = (self.id(0), self.id(1)),
            Operation::Truncate => change.size = Some(first_value.cast_signed()),
            _ => {}
        }
        change.file = self.first;
        if self.operation == Operation::MemfdCreate {
            // As the kernel names it, see `memfd_create(2)`.
            change.file.path = format!("/memfd:{}", change.file.argument);
            change.file.unlinked = true;
        }
        change
    }

    pub(super) fn privilege(self) -> Privilege {
        let [first_value, second_value, third_value, _] = self.values;
        let mut privilege = Privilege {
            operation: self.operation,
            ids: Ids::default(),
            groups: None,
            capabilities: None,
            namespaces: 0,
            place: None,
            source: None,
            mount_flags: 0,
            command: None,
            ambient: None,
            secure_bits: 0,
            result: self.outcome(),
        };
        match self.operation {
            Operation::Setuid | Operation::Setgid => privilege.ids.effective = self.id(0),
            Operation::Setreuid | Operation::Setregid => {
                privilege.ids = Ids { real: self.id(0), effective: self.id(1), ..Ids::default() };
            }
            Operation::Setresuid | Operation::Setresgid => {
                privilege.ids = Ids {
                    real: self.id(0),
                    effective: self.id(1),
                    saved: self.id(2),
                    filesystem: None,
                };
            }
            Operation::Setfsuid | Operation::Setfsgid => privilege.ids.filesystem = self.id(0),
            Operation::Setgroups => privilege.groups = Some(first_value),
            Operation::Capset => {
                privilege.capabilities = Some([first_value, second_value, third_value]);
            }
            Operation::Unshare => {
                privilege.namespaces =
                    first_value | mounts_if(first_value, wire::UNSHARE_EMPTY_MOUNTS);
            }
            Operation::Clone => {
                privilege.namespaces =
                    first_value | mounts_if(first_value, wire::CLONE_EMPTY_MOUNTS);
            }
            Operation::Setns => privilege.namespaces = u64::from(self.narrow(1)),
            Operation::Bpf => privilege.command = Some(self.narrow(0)),
            Operation::Prctl => {
                let option = self.narrow(0);
                privilege.command = Some(option);
                match option.cast_signed() {
                    libc::PR_SET_SECUREBITS => privilege.secure_bits = second_value,
                    libc::PR_CAP_AMBIENT => privilege.ambient = Some(third_value),
                    _ => {}
                }
            }
            Operation::Mount => {
                privilege.mount_flags = first_value;
                privilege.source = Some(self.first).filter(|it| !it.path.is_empty());
                privilege.place = Some(self.second);
            }
            Operation::MoveMount => {
                privilege.source = Some(self.first);
                privilege.place = Some(self.second);
            }
            Operation::PivotRoot => {
                privilege.place = Some(self.first);
                privilege.source = Some(self.second);
            }
            // Of mount_setattr(2) there are no flags.
            Operation::OpenTree | Operation::MountSetattr => {
                privilege.namespaces = mounts_if(first_value, INTO_NAMESPACE);
                privilege.place = Some(self.first);
            }
            Operation::Fsmount => {
                privilege.namespaces = mounts_if(second_value, INTO_NAMESPACE);
            }
            Operation::Umount
            | Operation::Chroot
            | Operation::FinitModule
            | Operation::DeleteModule
            | Operation::KexecFileLoad => privilege.place = Some(self.first),
            _ => {}
        }
        privilege
    }

    pub(super) fn socket(&self) -> Net {
        // `SOCK_NONBLOCK` and `SOCK_CLOEXEC` stand above the type.
        let of = |number| u16::try_from(self.narrow(number) & 0xffff).unwrap_or(0);
        Net {
            operation: NetOperation::Socket,
            family: of(0),
            socket_type: of(1) & 0xf,
            protocol: of(2),
            endpoint: None,
            other: None,
            unix_path: None,
            bound_path: None,
            result: (!self.submitted).then(|| self.outcome()),
        }
    }

    pub(super) fn access(&self) -> Access {
        let (request, pid) = match self.operation {
            Operation::Ptrace => (Some(self.narrow(0)), self.narrow(1)),
            Operation::PidfdGetfd => (None, self.target_pid),
            _ => (None, self.narrow(0)),
        };
        // By `PTRACE_TRACEME` a process names nobody.
        let named = pid != 0 && request != Some(TRACE_ME);
        let of_host = self.pid_level == 0 || self.operation == Operation::PidfdGetfd;
        Access {
            operation: self.operation,
            request,
            target: (named && of_host).then_some(pid),
            namespace_target: (named && !of_host).then_some(pid),
            result: self.outcome().map(|_| ()),
        }
    }
}
