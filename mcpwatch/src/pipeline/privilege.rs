//! What records show of changes of privileges and of processes reached into.

use crate::event::{Access, Ids, Operation, Privilege};
use crate::record::{AccessDetail, AccessTarget, Capabilities, IdsDetail, PrivilegeDetail};

use super::Pipeline;
use super::effects::errno_name;

/// `CLONE_NEW*` of `include/uapi/linux/sched.h`.
const NAMESPACES: &[(u64, &str)] = &[
    (0x0002_0000, "mount"),
    (0x0200_0000, "cgroup"),
    (0x0400_0000, "uts"),
    (0x0800_0000, "ipc"),
    (0x1000_0000, "user"),
    (0x2000_0000, "pid"),
    (0x4000_0000, "net"),
    (0x80, "time"),
];

/// `MS_*` of `include/uapi/linux/mount.h`, those that say what a mount is for.
const MOUNT_FLAGS: &[(u64, &str)] = &[
    (1, "MS_RDONLY"),
    (2, "MS_NOSUID"),
    (4, "MS_NODEV"),
    (8, "MS_NOEXEC"),
    (32, "MS_REMOUNT"),
    (4096, "MS_BIND"),
    (8192, "MS_MOVE"),
    (16384, "MS_REC"),
    (1 << 17, "MS_UNBINDABLE"),
    (1 << 18, "MS_PRIVATE"),
    (1 << 19, "MS_SLAVE"),
    (1 << 20, "MS_SHARED"),
];

/// Capabilities in the order of their bits: `include/uapi/linux/capability.h`.
const CAPABILITIES: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// Commands of bpf(2) in the order of their numbers: `enum bpf_cmd`.
const BPF_COMMANDS: &[&str] = &[
    "BPF_MAP_CREATE",
    "BPF_MAP_LOOKUP_ELEM",
    "BPF_MAP_UPDATE_ELEM",
    "BPF_MAP_DELETE_ELEM",
    "BPF_MAP_GET_NEXT_KEY",
    "BPF_PROG_LOAD",
    "BPF_OBJ_PIN",
    "BPF_OBJ_GET",
    "BPF_PROG_ATTACH",
    "BPF_PROG_DETACH",
    "BPF_PROG_TEST_RUN",
    "BPF_PROG_GET_NEXT_ID",
    "BPF_MAP_GET_NEXT_ID",
    "BPF_PROG_GET_FD_BY_ID",
    "BPF_MAP_GET_FD_BY_ID",
    "BPF_OBJ_GET_INFO_BY_FD",
    "BPF_PROG_QUERY",
    "BPF_RAW_TRACEPOINT_OPEN",
    "BPF_BTF_LOAD",
    "BPF_BTF_GET_FD_BY_ID",
    "BPF_TASK_FD_QUERY",
    "BPF_MAP_LOOKUP_AND_DELETE_ELEM",
    "BPF_MAP_FREEZE",
    "BPF_BTF_GET_NEXT_ID",
    "BPF_MAP_LOOKUP_BATCH",
    "BPF_MAP_LOOKUP_AND_DELETE_BATCH",
    "BPF_MAP_UPDATE_BATCH",
    "BPF_MAP_DELETE_BATCH",
    "BPF_LINK_CREATE",
    "BPF_LINK_UPDATE",
    "BPF_LINK_GET_FD_BY_ID",
    "BPF_LINK_GET_NEXT_ID",
    "BPF_ENABLE_STATS",
    "BPF_ITER_CREATE",
    "BPF_LINK_DETACH",
    "BPF_PROG_BIND_MAP",
    "BPF_TOKEN_CREATE",
    "BPF_PROG_STREAM_READ_BY_FD",
    "BPF_PROG_ASSOC_STRUCT_OPS",
];

/// Options of prctl(2) that are reported: `include/uapi/linux/prctl.h`.
const PRCTL_OPTIONS: &[(u32, &str)] =
    &[(8, "PR_SET_KEEPCAPS"), (28, "PR_SET_SECUREBITS"), (47, "PR_CAP_AMBIENT_RAISE")];

/// `SECBIT_*` of `include/uapi/linux/securebits.h`.
const SECURE_BITS: &[(u64, &str)] = &[
    (1, "SECBIT_NOROOT"),
    (2, "SECBIT_NOROOT_LOCKED"),
    (4, "SECBIT_NO_SETUID_FIXUP"),
    (8, "SECBIT_NO_SETUID_FIXUP_LOCKED"),
    (16, "SECBIT_KEEP_CAPS"),
    (32, "SECBIT_KEEP_CAPS_LOCKED"),
    (64, "SECBIT_NO_CAP_AMBIENT_RAISE"),
    (128, "SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED"),
];

/// `enum __ptrace_request`, those that are reported.
const PTRACE_REQUESTS: &[(u32, &str)] = &[
    (0, "PTRACE_TRACEME"),
    (4, "PTRACE_POKETEXT"),
    (5, "PTRACE_POKEDATA"),
    (6, "PTRACE_POKEUSR"),
    (13, "PTRACE_SETREGS"),
    (15, "PTRACE_SETFPREGS"),
    (16, "PTRACE_ATTACH"),
    (0x4205, "PTRACE_SETREGSET"),
    (0x4206, "PTRACE_SEIZE"),
];

fn named(bits: u64, names: &[(u64, &'static str)]) -> Vec<&'static str> {
    names.iter().filter(|(bit, _)| bits & bit != 0).map(|(_, name)| *name).collect()
}

fn capabilities(bits: u64) -> Vec<&'static str> {
    let set = |(bit, name): (usize, &&'static str)| (bits >> bit & 1 == 1).then_some(*name);
    CAPABILITIES.iter().enumerate().filter_map(set).collect()
}

pub(super) fn privilege_detail(privilege: &Privilege) -> PrivilegeDetail {
    let Ids { real, effective, saved, filesystem } = privilege.ids;
    let place = privilege.place.as_ref();
    PrivilegeDetail {
        operation: privilege.operation.name(),
        result: privilege.result.map_or_else(errno_name, |_| "ok".into()),
        ids: (!privilege.ids.is_empty()).then_some(IdsDetail {
            real,
            effective,
            saved,
            filesystem,
        }),
        groups: privilege.groups,
        capabilities: privilege.capabilities.map(|[effective, permitted, inheritable]| {
            Capabilities {
                effective: capabilities(effective),
                permitted: capabilities(permitted),
                inheritable: capabilities(inheritable),
            }
        }),
        namespaces: named(privilege.namespaces, NAMESPACES),
        path: place.map(|place| place.path.clone()),
        argument: place.map(|place| place.argument.clone()).filter(|argument| !argument.is_empty()),
        inner_path: place.and_then(|place| place.inner_path.clone()),
        host_path: place.and_then(|place| place.host_path.clone()),
        source: privilege.source.as_ref().map(|source| source.path.clone()),
        mount_flags: named(privilege.mount_flags, MOUNT_FLAGS),
        command: privilege.command.map(|command| {
            let name = if privilege.operation == Operation::Prctl {
                PRCTL_OPTIONS.iter().find(|(number, _)| *number == command).map(|(_, name)| name)
            } else {
                usize::try_from(command).ok().and_then(|number| BPF_COMMANDS.get(number))
            };
            name.map_or_else(|| command.to_string(), |name| (*name).to_owned())
        }),
        ambient: privilege.ambient.map(|capability| {
            usize::try_from(capability)
                .ok()
                .and_then(|number| CAPABILITIES.get(number))
                .map_or_else(|| capability.to_string(), |name| (*name).to_owned())
        }),
        secure_bits: named(privilege.secure_bits, SECURE_BITS),
    }
}

impl Pipeline {
    pub(super) fn access_detail(&self, access: &Access) -> AccessDetail {
        let target = access.target.map(|pid| {
            let known = self.processes.living(pid);
            AccessTarget {
                pid,
                entity_id: known.map(|(_, entry)| entry.shown.entity_id.clone()),
                exe: known.map(|(_, entry)| entry.shown.exe.clone()),
                server: known
                    .and_then(|(_, entry)| self.serving(self.owner(entry.instance)?))
                    .map(|serving| serving.shown.name.clone()),
            }
        });
        AccessDetail {
            operation: access.operation.name(),
            request: access.request.map(|request| {
                PTRACE_REQUESTS
                    .iter()
                    .find(|(number, _)| *number == request)
                    .map_or_else(|| request.to_string(), |(_, name)| (*name).to_owned())
            }),
            target,
            namespace_pid: access.namespace_target,
            result: access.result.map_or_else(errno_name, |()| "ok".into()),
        }
    }
}
