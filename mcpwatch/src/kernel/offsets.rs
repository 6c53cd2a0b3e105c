//! Offsets of kernel struct fields, from the running kernel's BTF.

use std::path::Path;

use btfparse::{Offset, Readable, TypeInformation, TypeVariant};
use mcpwatch_common::control::Offsets;

use super::{KernelError, rdonly_cast, type_names};

/// Where a kernel shows its BTF.
pub const VMLINUX: &str = "/sys/kernel/btf/vmlinux";
/// No kernel's BTF is near this; a larger file is none.
const BTF_BYTES: u64 = 64 << 20;

/// One field: its place in [`Offsets`], and the struct and the member by all the names kernels gave them.
struct Field {
    put: fn(&mut Offsets, u32),
    owners: &'static [&'static str],
    members: &'static [&'static str],
}

macro_rules! fields {
    ($($field:ident: $($owner:literal)/+ $($member:literal)|+;)*) => {
        &[$(Field {
            put: |offsets, value| offsets.$field = value,
            owners: &[$($owner),+],
            members: &[$($member),+],
        },)*]
    };
}

/// The fields of [`Offsets`] that are required, but for those of x86 elsewhere: each has existed under one of its
/// names since 5.10.
const FIELDS: &[Field] = fields! {
    task_tgid: "task_struct" "tgid";
    task_flags: "task_struct" "flags";
    task_real_parent: "task_struct" "real_parent";
    task_group_leader: "task_struct" "group_leader";
    // Renamed in 5.5 (cf25e24db61c).
    task_start_boottime: "task_struct" "start_boottime" | "real_start_time";
    task_mm: "task_struct" "mm";
    task_fs: "task_struct" "fs";
    task_files: "task_struct" "files";
    task_signal: "task_struct" "signal";
    task_exit_code: "task_struct" "exit_code";
    task_thread_status: "task_struct" "thread_info.status";
    task_thread_pid: "task_struct" "thread_pid";
    task_cred: "task_struct" "cred";
    cred_uid: "cred" "uid";
    cred_euid: "cred" "euid";
    cred_gid: "cred" "gid";
    cred_egid: "cred" "egid";
    cred_permitted: "cred" "cap_permitted";
    cred_ambient: "cred" "cap_ambient";
    cred_user_namespace: "cred" "user_ns";
    user_namespace_level: "user_namespace" "level";
    pid_level: "pid" "level";
    // The first of them is the number in the initial namespace.
    pid_numbers: "pid" "numbers";
    signal_live: "signal_struct" "live";
    mm_arg_start: "mm_struct" "arg_start";
    mm_arg_end: "mm_struct" "arg_end";
    mm_exe_file: "mm_struct" "exe_file";
    fs_pwd: "fs_struct" "pwd";
    fs_root: "fs_struct" "root";
    path_mnt: "path" "mnt";
    path_dentry: "path" "dentry";
    // `f_path` became one of a union of a const and a writable view in 6.17.
    file_path: "file" "f_path" | "__f_path";
    file_inode: "file" "f_inode";
    file_flags: "file" "f_flags";
    file_private_data: "file" "private_data";
    dentry_parent: "dentry" "d_parent";
    // The same happened to `d_name` in 6.16.
    dentry_name: "dentry" "d_name" | "__d_name";
    dentry_inode: "dentry" "d_inode";
    qstr_name: "qstr" "name";
    vfsmount_root: "vfsmount" "mnt_root";
    mount_mnt: "mount" "mnt";
    mount_parent: "mount" "mnt_parent";
    mount_mountpoint: "mount" "mnt_mountpoint";
    mount_namespace: "mount" "mnt_ns";
    namespace_number: "mnt_namespace" "ns.inum";
    inode_number: "inode" "i_ino";
    inode_mode: "inode" "i_mode";
    inode_links: "inode" "i_nlink";
    inode_private: "inode" "i_private";
    inode_superblock: "inode" "i_sb";
    superblock_device: "super_block" "s_dev";
    files_fdtable: "files_struct" "fdt";
    fdtable_fd: "fdtable" "fd";
    fdtable_max_fds: "fdtable" "max_fds";
    socket_sk: "socket" "sk";
    socket_type: "socket" "type";
    sock_family: "sock_common" "skc_family";
    sock_protocol: "sock" "sk_protocol";
    sock_address: "sock_common" "skc_rcv_saddr";
    sock_peer_address: "sock_common" "skc_daddr";
    sock_port: "sock_common" "skc_num";
    sock_peer_port: "sock_common" "skc_dport";
    sock_address6: "sock_common" "skc_v6_rcv_saddr";
    sock_peer_address6: "sock_common" "skc_v6_daddr";
    sock_net: "sock_common" "skc_net";
    net_number: "net" "ns.inum";
};

/// Fields without which something is not known, or one hook is missing.
const OPTIONAL_FIELDS: &[Field] = fields! {
    // Threads that work for an io_uring have it since 5.12 (3bfe6106693b); renamed in 5.17 (e32cf5dfbe22).
    task_worker: "task_struct" "worker_private" | "pf_io_worker";
    task_io_uring: "task_struct" "io_uring";
    filename_name: "filename" "name";
    open_flags_flags: "open_flags" "open_flag";
    open_flags_lookup: "open_flags" "lookup_flags";
    // The member of a union that an operation of an io_uring has of its request. Kernels that lack one lack the
    // operation.
    io_kiocb_opcode: "io_kiocb" "opcode";
    io_kiocb_flags: "io_kiocb" "flags";
    // Since 5.18 the file is looked up when the request is done; renamed in 5.19.
    io_kiocb_fd: "io_kiocb" "cqe.fd" | "fd";
    io_kiocb_file: "io_kiocb" "file";
    io_kiocb_async_data: "io_kiocb" "async_data";
    // Since 5.19.
    io_kiocb_result: "io_kiocb" "cqe.res";
    io_open_directory: "io_open" "dfd";
    io_open_path: "io_open" "filename";
    io_open_flags: "io_open" "how.flags";
    io_open_slot: "io_open" "file_slot";
    io_rename_directory: "io_rename" "old_dfd";
    io_rename_path: "io_rename" "oldpath";
    io_rename_to_directory: "io_rename" "new_dfd";
    io_rename_to_path: "io_rename" "newpath";
    io_rename_flags: "io_rename" "flags";
    // One struct for both kinds of links since 6.0.
    io_link_directory: "io_link" / "io_hardlink" "old_dfd";
    io_link_path: "io_link" / "io_hardlink" "oldpath";
    io_link_to_directory: "io_link" / "io_hardlink" "new_dfd";
    io_link_to_path: "io_link" / "io_hardlink" "newpath";
    io_link_flags: "io_link" / "io_hardlink" "flags";
    io_symlink_text: "io_symlink" / "io_link" "oldpath";
    io_symlink_directory: "io_symlink" / "io_link" "new_dfd";
    io_symlink_path: "io_symlink" / "io_link" "newpath";
    io_unlink_directory: "io_unlink" "dfd";
    io_unlink_path: "io_unlink" "filename";
    io_unlink_flags: "io_unlink" "flags";
    io_mkdir_directory: "io_mkdir" "dfd";
    io_mkdir_path: "io_mkdir" "filename";
    io_mkdir_mode: "io_mkdir" "mode";
    io_truncate_length: "io_ftrunc" "len";
    io_socket_family: "io_socket" "domain";
    io_socket_type: "io_socket" "type";
    io_socket_protocol: "io_socket" "protocol";
    io_connect_address: "io_connect" "addr";
    io_connect_len: "io_connect" "addr_len";
    // Until 6.9.
    io_connect_late: "io_async_connect" "address";
    io_bind_len: "io_bind" "addr_len";
    // What a message is sent with, and where an address that was taken from the process's memory is kept.
    io_message_address: "io_async_msghdr" "addr";
    // A pointer to memory of the kernel, or none; at the very beginning, where it exists.
    io_message_vector: "io_async_msghdr" "vec";
    // Unix sockets may be a module, with types of its own.
    unix_peer: "unix_sock" "peer";
    unix_name: "unix_sock" "addr";
    unix_name_len: "unix_address" "len";
    unix_name_bytes: "unix_address" "name";
};

/// Bytes in memory, as the parser wants them: with every read checked.
pub(super) struct Bytes(pub(super) Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), btfparse::Error> {
        let found = usize::try_from(offset)
            .ok()
            .and_then(|start| self.0.get(start..start.checked_add(buffer.len())?))
            .ok_or_else(|| {
                btfparse::Error::new(
                    btfparse::ErrorKind::EOF,
                    "the BTF ends before its own sizes say",
                )
            })?;
        buffer.copy_from_slice(found);
        Ok(())
    }
}

/// Reads the types of the running kernel.
pub fn types_of_running_kernel() -> Result<TypeInformation, KernelError> {
    types_of_file(Path::new(VMLINUX))
}

/// Reads the types from a file that holds raw BTF.
pub fn types_of_file(path: &Path) -> Result<TypeInformation, KernelError> {
    let size = std::fs::metadata(path)
        .map_err(|error| KernelError::NoBtf { path: path.to_owned(), reason: error.to_string() })?
        .len();
    if size > BTF_BYTES {
        return Err(KernelError::NoBtf {
            path: path.to_owned(),
            reason: format!("{size} bytes; at most {BTF_BYTES} are read"),
        });
    }
    let mut bytes = std::fs::read(path)
        .map_err(|error| KernelError::NoBtf { path: path.to_owned(), reason: error.to_string() })?;
    type_names::blank(&mut bytes, rdonly_cast::FUNCTION);
    TypeInformation::new(&Bytes(bytes))
        .map_err(|error| KernelError::NoBtf { path: path.to_owned(), reason: format!("{error:?}") })
}

/// Finds the offsets among a kernel's types.
pub fn resolve(types: &TypeInformation) -> Result<Offsets, KernelError> {
    let mut offsets = Offsets::ABSENT;
    for field in FIELDS {
        let (name, owner) = first_struct(types, field.owners)?;
        let offset = field.members.iter().find_map(|member| types.offset_of(owner, member).ok());
        let x86_only = field.members == ["thread_info.status"];
        if offset.is_none() && x86_only && !cfg!(target_arch = "x86_64") {
            continue;
        }
        let Some((_, Offset::ByteOffset(offset))) = offset else {
            return Err(KernelError::UnknownField {
                owner: name,
                member: field.members.first().copied().unwrap_or_default(),
            });
        };
        (field.put)(&mut offsets, offset);
    }
    for field in OPTIONAL_FIELDS {
        let Ok((_, owner)) = first_struct(types, field.owners) else { continue };
        let offset = field.members.iter().find_map(|member| types.offset_of(owner, member).ok());
        if let Some((_, Offset::ByteOffset(offset))) = offset {
            (field.put)(&mut offsets, offset);
        }
    }
    Ok(offsets)
}

/// The first of the names that a struct has, and that struct; without any, why the last one is none.
fn first_struct(
    types: &TypeInformation,
    names: &[&'static str],
) -> Result<(&'static str, u32), KernelError> {
    let mut missing = KernelError::UnknownField { owner: "", member: "" };
    for name in names {
        match one_struct(types, name) {
            Ok(id) => return Ok((name, id)),
            Err(error) => missing = error,
        }
    }
    Err(missing)
}

/// The struct of a name; two different ones cannot be told apart, so that is refused.
fn one_struct(types: &TypeInformation, name: &'static str) -> Result<u32, KernelError> {
    let mut found = types.get().iter().filter(|(id, kind)| {
        matches!(kind, TypeVariant::Struct(_)) && types.name_of(**id).as_deref() == Some(name)
    });
    match (found.next(), found.next()) {
        (Some((id, _)), None) => Ok(*id),
        (None, _) => Err(KernelError::UnknownField { owner: name, member: "" }),
        (Some(_), Some(_)) => Err(KernelError::AmbiguousStruct { name }),
    }
}

#[cfg(test)]
mod tests {
    use bytemuck::Zeroable;
    use mcpwatch_common::control::ABSENT;

    use super::*;

    #[test]
    fn the_table_names_every_offset_once() {
        let mut offsets = Offsets::zeroed();
        let fields = || FIELDS.iter().chain(OPTIONAL_FIELDS);
        for (index, field) in fields().enumerate() {
            (field.put)(&mut offsets, u32::try_from(index).unwrap() + 1);
        }
        let mut values: Vec<u32> = bytemuck::cast_slice(bytemuck::bytes_of(&offsets)).to_vec();
        values.sort_unstable();
        let expected: Vec<u32> = (1..=u32::try_from(fields().count()).unwrap()).collect();
        assert_eq!(values, expected);
        assert!(!values.contains(&ABSENT));
    }

    #[test]
    fn the_running_kernel_has_them_all() {
        if !Path::new(VMLINUX).exists() {
            eprintln!("skipped: this kernel shows no BTF at {VMLINUX}");
            return;
        }
        let offsets = resolve(&types_of_running_kernel().unwrap()).unwrap();
        assert_ne!(offsets.task_tgid, ABSENT);
        assert_eq!(offsets.path_dentry, offsets.path_mnt + 8);
    }

    #[test]
    fn hostile_btf_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("btf");
        for bytes in [
            &b""[..],
            b"\x9f\xeb",
            b"\x9f\xeb\x01\x00\x18\x00\x00\x00\xff\xff\xff\xff",
            &[0xff; 4096],
        ] {
            std::fs::write(&path, bytes).unwrap();
            assert!(types_of_file(&path).is_err());
        }
        assert!(types_of_file(&folder.path().join("absent")).is_err());
    }
}
