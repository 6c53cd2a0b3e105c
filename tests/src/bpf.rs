//! What a process has in the kernel by bpf(2), and whether it is still there.

use std::collections::BTreeSet;
use std::ffi::c_long;
use std::fs;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// A kind of object, as `/proc/PID/fdinfo` calls its id, with the command of
/// `include/uapi/linux/bpf.h` that opens one by its id.
const KINDS: &[(&str, c_long)] = &[("prog_id", 13), ("map_id", 14), ("link_id", 30)];

/// An object: its kind, as in `/proc/PID/fdinfo`, and its id. Ids are not given out again soon.
pub type BpfObject = (&'static str, u32);

/// Every program, map and link that a process holds.
pub fn bpf_objects(pid: u32) -> BTreeSet<BpfObject> {
    let mut objects = BTreeSet::new();
    let entries = fs::read_dir(format!("/proc/{pid}/fdinfo")).into_iter().flatten().flatten();
    for text in entries.filter_map(|entry| fs::read_to_string(entry.path()).ok()) {
        for (kind, _) in KINDS {
            let id = text.lines().find_map(|line| line.strip_prefix(kind)?.strip_prefix(':'));
            if let Some(id) = id.and_then(|id| id.trim().parse().ok()) {
                objects.insert((*kind, id));
            }
        }
    }
    objects
}

/// Whether the kernel still has an object.
pub fn bpf_object_exists((kind, id): BpfObject) -> bool {
    /// The part of `union bpf_attr` for these commands.
    #[repr(C)]
    struct GetFd {
        id: u32,
        next_id: u32,
        open_flags: u32,
    }
    let (_, command) = KINDS.iter().find(|(name, _)| *name == kind).expect("a kind of the table");
    let attributes = GetFd { id, next_id: 0, open_flags: 0 };
    // SAFETY: the kernel reads a struct of the size that is said, which outlives the call.
    let fd = unsafe {
        libc::syscall(libc::SYS_bpf, *command, &raw const attributes, size_of::<GetFd>())
    };
    if fd < 0 {
        let error = io::Error::last_os_error();
        assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "{kind} {id}: {error}");
        return false;
    }
    let fd = i32::try_from(fd).expect("a descriptor");
    // SAFETY: the command gave a new descriptor, which nobody else has.
    drop(unsafe { OwnedFd::from_raw_fd(fd) });
    true
}
