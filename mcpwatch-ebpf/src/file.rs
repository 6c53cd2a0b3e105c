//! Opens by path, successful and failed.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};
use mcpwatch_common::{
    control::Probe,
    event::{
        ARGUMENT_BYTES, BASE_COMPLETE, BASE_ROOTED, FLAG_SUBMITTED, FLAG_TRUNCATED,
        FLAG_UNREADABLE, Kind, Open, PATH_COMPLETE, PATH_ROOTED, UNLINKED, VIA_HANDLE,
        VIA_IO_URING,
    },
};

use crate::{
    bounds,
    emit::{Draft, Notice, Room},
    kread::{self, Address, field, follow, read_both, read_user},
    maps::offset,
    path,
};

/// Offsets in the tail stay below this: path, argument and base one after the other.
const TAIL_MASK: i32 = 0x3fff;
/// `AT_FDCWD`.
pub const CURRENT_DIRECTORY: i32 = -100;
/// `O_CREAT | O_WRONLY | O_TRUNC`: what creat(2) stands for.
const CREAT_FLAGS: u64 = 0o1101;

/// `O_CREAT | O_EXCL | O_TRUNC`: what an open file no longer has among its flags.
const SPENT_FLAGS: u32 = 0o1300;

/// The lowest of the addresses that stand for errors (`MAX_ERRNO`).
pub const ERRORS: u64 = u64::MAX - 4094;

/// By a system call that names a path.
const BY_CALL: u16 = 0;
/// By `open_by_handle_at(2)`.
const BY_HANDLE: u16 = 1;
/// Through an `io_uring`, and done.
const BY_IO_URING: u16 = 2;
/// Through an `io_uring`, and not yet done.
const SUBMITTED: u16 = 3;

/// Which of the open calls: they differ in where their arguments stand.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Form {
    /// `open(path, flags)`.
    Open = OPEN,
    /// `creat(path)`.
    Creat = CREAT,
    /// `openat(dir, path, flags)`.
    Openat = OPENAT,
    /// `openat2(dir, path, how)`.
    Openat2 = OPENAT2,
}

const OPEN: u64 = 0;
const CREAT: u64 = 1;
const OPENAT: u64 = 2;
const OPENAT2: u64 = 3;

/// The open in the scratch buffer returned.
#[inline(always)]
pub fn on_open(form: Form) {
    mcpwatch_open(form as u64);
}

/// [`on_open`], as a global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_open(form: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let (first, second, third) = (draft.argument(0), draft.argument(1), draft.argument(2));
    let (directory, argument, given_flags) = match form {
        OPEN => (CURRENT_DIRECTORY, first, second),
        CREAT => (CURRENT_DIRECTORY, first, CREAT_FLAGS),
        OPENAT => (first as i32, second, third),
        // `struct open_how` begins with the flags.
        _ => (first as i32, second, read_user::<u64>(third).unwrap_or(0)),
    };
    open::<BY_CALL>(&draft, directory, argument, given_flags as u32);
    0
}

/// `open_by_handle_at(mount, handle, flags)`, the call in the scratch buffer, returned: no path is named.
#[inline(always)]
pub fn on_open_by_handle() {
    mcpwatch_open_by_handle();
}

/// [`on_open_by_handle`], as a global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_open_by_handle() -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    open::<BY_HANDLE>(&draft, draft.argument(0) as i32, 0, draft.argument(2) as u32);
    0
}

/// The open through `io_uring` in the scratch buffer: its directory, path in kernel memory and flags; what it returned
/// is the `struct file` or an error.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mcpwatch_open_by_io_uring() -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let (directory, argument, flags) = (draft.argument(0), draft.argument(1), draft.argument(2));
    open::<BY_IO_URING>(&draft, directory as i32, argument, flags as u32);
    0
}

/// The same of an open that was given to an `io_uring`: it will return nothing here.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn mcpwatch_open_submitted() -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let (directory, argument, flags) = (draft.argument(0), draft.argument(1), draft.argument(2));
    open::<SUBMITTED>(&draft, directory as i32, argument, flags as u32);
    0
}

/// What an event says of the way.
const fn mark(way: u16) -> u16 {
    match way {
        BY_HANDLE => VIA_HANDLE,
        BY_IO_URING | SUBMITTED => VIA_IO_URING,
        _ => 0,
    }
}

/// What the inode of an open file says.
#[inline(always)]
fn describe(body: &mut Open, inode: Address) {
    body.mode = u32::from(field::<u16>(inode, offset!(inode_mode)));
    let [number, links] = read_both(inode, offset!(inode_number), offset!(inode_links));
    body.inode = number;
    body.device = field(follow(inode, offset!(inode_superblock)), offset!(superblock_device));
    // `i_nlink` is 32 bits wide. What cannot be read has no mode either.
    if body.mode != 0 && links as u32 == 0 {
        body.path_flags |= UNLINKED;
    }
}

#[inline(always)]
fn open<const WAY: u16>(draft: &Draft, directory: i32, argument: u64, given_flags: u32) {
    let (task, mut result) = (draft.task(), draft.result());
    let tail = draft.tail::<Open>();
    let tail_at = Draft::tail_at::<Open>();
    let current = kread::current_task();
    let mut body = Open {
        flags: given_flags,
        mode: 0,
        inode: 0,
        device: 0,
        path_len: 0,
        argument_len: 0,
        base_len: 0,
        path_flags: const { mark(WAY) },
        path_root: 0,
        base_root: 0,
        mount_namespace: 0,
        padding: 0,
    };
    let mut flags = if WAY == SUBMITTED { FLAG_SUBMITTED } else { 0 };

    let (mut path_len, mut file) = (0, 0);
    if WAY == BY_IO_URING {
        if (result as u64) < ERRORS {
            file = result as u64;
            result = 0;
        }
    } else if WAY != SUBMITTED && result >= 0 {
        file = kread::task_file(current, result as i32);
    }
    if file != 0 {
        let [inode, open_flags] = read_both(file, offset!(file_inode), offset!(file_flags));
        if WAY != BY_IO_URING && inode != 0 {
            // `f_flags` is 32 bits wide; `do_dentry_open` takes away the flags that have done their work.
            body.flags = open_flags as u32 | given_flags & SPENT_FLAGS;
        }
        describe(&mut body, inode);
        let walked = path::walk(file + u64::from(offset!(file_path)), Room::Call, tail_at);
        path_len = walked.len;
        body.mount_namespace = path::namespace(draft);
        if walked.complete {
            body.path_flags |= PATH_COMPLETE;
        } else {
            flags |= FLAG_TRUNCATED;
        }
        if walked.rooted {
            body.path_flags |= PATH_ROOTED;
            body.path_root = walked.root;
        }
    }

    let argument_at = bounds::mask::<TAIL_MASK>(path_len);
    // SAFETY: the masked offset and an argument lie within the tail.
    let read = unsafe {
        let to = tail.add(argument_at).cast();
        match WAY {
            BY_HANDLE => 1,
            BY_IO_URING | SUBMITTED => {
                bpf_probe_read_kernel_str(to, ARGUMENT_BYTES as u32, argument as *const _)
            }
            _ => bpf_probe_read_user_str(to, ARGUMENT_BYTES as u32, argument as *const _),
        }
    };
    let argument_len = if read > 0 { bounds::mask::<0x1fff>(read as usize - 1) } else { 0 };
    let in_kernel = matches!(WAY, BY_IO_URING | SUBMITTED);
    // Of an empty text 5.10 to 6.12 give 0, while 6.18 counts its terminator (`strncpy_from_user_nofault`).
    if read < 0 {
        flags |= FLAG_UNREADABLE;
    } else if read as usize >= ARGUMENT_BYTES && kread::is_cut(argument, in_kernel) {
        flags |= FLAG_TRUNCATED;
    }

    let mut base_len = 0;
    if file == 0 {
        if WAY != SUBMITTED && result >= 0 {
            // Another thread has closed it already.
            flags |= FLAG_TRUNCATED;
        }
        // SAFETY: the argument's first byte lies within the tail, see above.
        let absolute = argument_len > 0 && unsafe { *tail.add(argument_at) } == b'/';
        let fs = follow(current, offset!(task_fs));
        let base = if absolute {
            fs + u64::from(offset!(fs_root))
        } else if directory == CURRENT_DIRECTORY {
            fs + u64::from(offset!(fs_pwd))
        } else {
            let file = kread::task_file(current, directory);
            if file == 0 { 0 } else { file + u64::from(offset!(file_path)) }
        };
        let walked = path::walk(base, Room::Call, tail_at + argument_at + argument_len);
        base_len = walked.len;
        body.mount_namespace = path::namespace(draft);
        if walked.complete {
            body.path_flags |= BASE_COMPLETE;
        } else if base != 0 {
            flags |= FLAG_TRUNCATED;
        }
        if walked.rooted {
            body.path_flags |= BASE_ROOTED;
            body.base_root = walked.root;
        }
    }

    body.path_len = path_len as u16;
    body.argument_len = argument_len as u16;
    body.base_len = base_len as u16;
    draft.body(body);
    let tail_len = argument_at + argument_len + base_len;
    let notice = Notice { flags, ..Notice::of_call(Probe::Open, Kind::Open, result) };
    draft.send::<Open>(&task, notice, tail_len);
}
