//! Every way to change what a process may do or see, and to take hold of the kernel.

use std::ffi::c_long;
use std::fs::{self, File};
use std::io;
use std::mem;
use std::os::fd::OwnedFd;

use mcpwatch_tests::kernel_version;

use crate::system::{self, HERE, Text, call, fd, in_child, left_out, open, refused};

/// Somebody who is not root.
const NOBODY: usize = 1234;
/// Leaves an id as it is.
const SAME: usize = u32::MAX as usize;

/// Each call for ids and capabilities, in a child.
pub fn change_ids() -> io::Result<String> {
    in_child(|| {
        let groups = [u32::try_from(NOBODY).map_err(io::Error::other)?];
        call(libc::SYS_setgroups, &[1, groups.as_ptr() as usize])?;
        call(libc::SYS_setfsgid, &[NOBODY])?;
        call(libc::SYS_setregid, &[SAME, NOBODY])?;
        call(libc::SYS_setresgid, &[NOBODY, SAME, SAME])?;
        call(libc::SYS_setgid, &[NOBODY])?;
        call(libc::SYS_setfsuid, &[NOBODY])?;
        call(libc::SYS_setreuid, &[SAME, 0])?;
        call(libc::SYS_setresuid, &[NOBODY, SAME, SAME])?;
        call(libc::SYS_setuid, &[NOBODY])?;
        refused(libc::SYS_setuid, &[0])?;
        // `_LINUX_CAPABILITY_VERSION_3` and the process itself; then twice effective, permitted and inheritable.
        let header = [0x2008_0522_u32, 0];
        let sets = [1_u32 << 21, 1 << 21, 0, 0, 0, 0];
        refused(libc::SYS_capset, &[header.as_ptr() as usize, sets.as_ptr() as usize])
    })?;
    // Here, since what keeps capabilities would have the child above get more.
    in_child(|| {
        /// `SECBIT_KEEP_CAPS` of `include/uapi/linux/securebits.h`.
        const KEEP: usize = 1 << 4;
        /// `CAP_NET_RAW`, which the child cannot hand on: it is not inheritable.
        const RAW: usize = 13;

        let prctl = |option: i32| option.cast_unsigned() as usize;
        call(libc::SYS_prctl, &[prctl(libc::PR_SET_NAME), Text::new("nothing").at()])?;
        call(libc::SYS_prctl, &[prctl(libc::PR_SET_KEEPCAPS), 1])?;
        call(libc::SYS_prctl, &[prctl(libc::PR_SET_SECUREBITS), KEEP])?;
        let raise = prctl(libc::PR_CAP_AMBIENT_RAISE);
        refused(libc::SYS_prctl, &[prctl(libc::PR_CAP_AMBIENT), raise, RAW])
    })?;
    Ok("changed".into())
}

/// Each call for namespaces, in children.
pub fn change_namespaces() -> io::Result<String> {
    let uts = libc::CLONE_NEWUTS as usize;
    in_child(|| {
        call(libc::SYS_unshare, &[uts | libc::CLONE_NEWIPC as usize])?;
        let own = File::open("/proc/self/ns/uts")?;
        call(libc::SYS_setns, &[fd(&own), uts]).map(drop)
    })?;
    let ends = libc::SIGCHLD as usize;
    child_of(libc::SYS_clone, &[uts | ends])?;
    // `struct clone_args` up to `tls`: flags, pidfd, child_tid, parent_tid, exit_signal, stack, its size, tls.
    let arguments = [uts as u64, 0, 0, 0, ends as u64, 0, 0, 0];
    child_of(libc::SYS_clone3, &[arguments.as_ptr() as usize, mem::size_of_val(&arguments)])?;
    Ok("changed".into())
}

/// A child by a call that is like fork(2), which ends at once.
fn child_of(number: c_long, arguments: &[usize]) -> io::Result<()> {
    match call(number, arguments)? {
        // SAFETY: never returns.
        0 => unsafe { libc::_exit(0) },
        child => system::wait(libc::pid_t::try_from(child).map_err(io::Error::other)?),
    }
}

/// Flags of mount(2) as an argument.
fn flags(flags: libc::c_ulong) -> usize {
    usize::try_from(flags).expect("both have 64 bits")
}

/// In mounts of its own.
pub fn among_own_mounts(deed: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    in_child(|| {
        call(libc::SYS_unshare, &[libc::CLONE_NEWNS as usize])?;
        let (none, root) = (Text::new("none"), Text::new("/"));
        call(
            libc::SYS_mount,
            &[none.at(), root.at(), 0, flags(libc::MS_REC | libc::MS_PRIVATE), 0],
        )?;
        deed()
    })
}

/// Binds a folder to itself, so that it is a mount.
pub fn bind(path: &str) -> io::Result<()> {
    let path = Text::new(path);
    call(libc::SYS_mount, &[path.at(), path.at(), 0, flags(libc::MS_BIND), 0]).map(drop)
}

/// A file system in memory, to be mounted.
pub fn new_file_system() -> io::Result<OwnedFd> {
    let kind = Text::new("tmpfs");
    let context = open(libc::SYS_fsopen, &[kind.at(), 0])?;
    // `FSCONFIG_CMD_CREATE`.
    call(libc::SYS_fsconfig, &[fd(&context), 6, 0, 0, 0])?;
    Ok(context)
}

/// Each call for mounts and root directories, in a child with mounts of its own.
pub fn change_mounts(path: &str) -> io::Result<String> {
    fs::create_dir(path)?;
    among_own_mounts(|| {
        bind(path)?;
        let place = Text::new(path);
        call(libc::SYS_umount2, &[place.at(), libc::MNT_DETACH as usize])?;
        let (context, empty) = (new_file_system()?, Text::new(""));
        let mount = open(libc::SYS_fsmount, &[fd(&context), 0, 0])?;
        // `OPEN_TREE_CLONE`; without it nothing is copied, and nothing told.
        drop(open(libc::SYS_open_tree, &[HERE, place.at(), 1])?);
        drop(open(libc::SYS_open_tree, &[HERE, place.at(), 0])?);
        // `MOVE_MOUNT_F_EMPTY_PATH`.
        call(libc::SYS_move_mount, &[fd(&mount), empty.at(), HERE, place.at(), 4])?;
        fs::create_dir(format!("{path}/inside"))?;
        // No mount, so that it cannot become the root.
        let inside = Text::new(format!("{path}/inside"));
        refused(libc::SYS_pivot_root, &[inside.at(), inside.at()])?;
        call(libc::SYS_chroot, &[inside.at()]).map(drop)
    })?;
    Ok("changed".into())
}

/// `MOUNT_ATTR_NOSUID` in `struct mount_attr`: what to set, to clear, propagation, user namespace.
const NO_SET_USER_ID: [u64; 4] = [2, 0, 0, 0];

/// `mount_setattr(2)` on a mount of its own.
pub fn set_attributes(path: &str) -> io::Result<String> {
    if kernel_version()? < (5, 12) {
        return left_out(&[0]);
    }
    among_own_mounts(|| {
        bind(path)?;
        let (place, attributes) = (Text::new(path), NO_SET_USER_ID.as_ptr() as usize);
        call(libc::SYS_mount_setattr, &[HERE, place.at(), 0, attributes, 32]).map(drop)
    })?;
    Ok("set".into())
}

/// `open_tree_attr(2)` on a mount of its own.
pub fn open_with_attributes(path: &str) -> io::Result<String> {
    /// The same on every architecture.
    const OPEN_TREE_ATTR: c_long = 467;
    /// `OPEN_TREE_CLONE`.
    const CLONE: usize = 1;

    if kernel_version()? < (6, 15) {
        return left_out(&[0]);
    }
    among_own_mounts(|| {
        bind(path)?;
        let (place, attributes) = (Text::new(path), NO_SET_USER_ID.as_ptr() as usize);
        open(OPEN_TREE_ATTR, &[HERE, place.at(), CLONE, attributes, 32]).map(drop)
    })?;
    Ok("set".into())
}

/// Each call on the kernel itself. What the kernel would allow root is tried by somebody else.
pub fn touch_kernel() -> io::Result<String> {
    // `BPF_MAP_LOOKUP_ELEM` in no map: `union bpf_attr` begins with the descriptor.
    let mut attributes = [0_u32; 8];
    attributes[0] = u32::MAX;
    refused(libc::SYS_bpf, &[1, attributes.as_ptr() as usize, mem::size_of_val(&attributes)])?;
    // `struct io_uring_params`.
    let mut parameters = [0_u8; 120];
    drop(open(libc::SYS_io_uring_setup, &[4, parameters.as_mut_ptr() as usize])?);
    in_child(|| {
        let file = File::open("/proc/self/exe")?;
        let (name, empty) = (Text::new("no_such_module_of_ours"), Text::new(""));
        call(libc::SYS_setresuid, &[NOBODY, NOBODY, NOBODY])?;
        refused(libc::SYS_init_module, &[empty.at(), 0, empty.at()])?;
        refused(libc::SYS_finit_module, &[fd(&file), empty.at(), 0])?;
        refused(libc::SYS_delete_module, &[name.at(), 0])?;
        refused(libc::SYS_kexec_load, &[0, 0, 0, 0])?;
        refused(libc::SYS_kexec_file_load, &[fd(&file), fd(&file), 1, empty.at(), 0])
    })?;
    Ok("touched".into())
}
