//! System calls that are reported by their arguments and the files these name: what leaves no descriptor
//! behind from which more could be read.
//!
//! A file is named by the directory it starts from, which is walked here, and by the argument, which is taken
//! from user memory after the call: another thread may have changed it since, and a symbolic link within it
//! is not followed.

use aya_ebpf::helpers::generated::bpf_probe_read_user_str;
use mcpwatch_common::{
    control::Probe,
    event::{
        ARGUMENT_BYTES, BASE_COMPLETE, BASE_ROOTED, FLAG_TRUNCATED, FLAG_UNREADABLE, Kind,
        Operation, PLACE_BASED, PLACE_CUT, PLACE_UNREADABLE, Place, Syscall, UNLINKED,
    },
};

use crate::{
    bounds,
    emit::{Draft, Notice, Room},
    file::CURRENT_DIRECTORY,
    kread::{self, Address, current_task, follow, read, read_user},
    maps::{Reported, offset},
    path,
    syscall::Call,
    watch::Task,
};

/// Positions in the scratch buffer stay below this.
const POSITION: i32 = 0x7fff;
/// Position of an argument in [`Reported::args`] that is none: zero.
const NONE: u64 = 6;
/// Position that stands for the working directory.
const HERE: u64 = 7;

/// What a system call is reported as, and where in its arguments stands what: a plain number, because it
/// goes through a BPF function call. Zero is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Form(u64);

impl Form {
    /// Nothing is to be reported.
    pub const NOTHING: Self = Self(0);

    /// An operation whose arguments are nothing.
    pub const fn of(operation: Operation) -> Self {
        Self(operation as u64 | (NONE << 16 | NONE << 20 | NONE << 24 | NONE << 28 | NONE << 32))
    }

    const fn with(self, shift: u64, position: u64) -> Self {
        Self(self.0 & !(0xf << shift) | position << shift)
    }

    /// The first file: a path, and the descriptor of the directory it starts from.
    pub const fn at(self, directory: u64, path: u64) -> Self {
        self.with(16, directory).with(20, path)
    }

    /// The first file: a path that starts from the working directory.
    pub const fn path(self, path: u64) -> Self {
        self.at(HERE, path)
    }

    /// The first file: what stands behind a descriptor.
    pub const fn descriptor(self, descriptor: u64) -> Self {
        self.with(16, descriptor)
    }

    /// The first file: a mere text.
    pub const fn text(self, text: u64) -> Self {
        self.with(20, text)
    }

    /// The second file: a path, and the descriptor of the directory it starts from.
    pub const fn to_at(self, directory: u64, path: u64) -> Self {
        self.with(24, directory).with(28, path)
    }

    /// The second file: a path that starts from the working directory.
    pub const fn to_path(self, path: u64) -> Self {
        self.to_at(HERE, path)
    }

    /// The first of the other arguments.
    pub const fn values(self, first: u64) -> Self {
        self.with(32, first)
    }
}

/// A system call to be reported returned.
#[inline(always)]
pub fn on_call(task: &Task, call: &Call, form: Form) {
    let Some(draft) = Draft::new(Room::Call) else { return };
    let given = call.args;
    let args =
        [given[0], given[1], given[2], given[3], given[4], given[5], 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    // SAFETY: a field of the scratch buffer.
    unsafe {
        draft.reported().write_volatile(Reported { args, result: call.result, task: *task });
    }
    mcpwatch_report(form.0);
}

/// An argument of the call in the scratch buffer.
#[inline(always)]
fn argument(draft: &Draft, position: u64) -> u64 {
    let at = bounds::mask::<0xf>(position as usize);
    // SAFETY: a masked index into a field of the scratch buffer.
    unsafe { (&raw const (*draft.reported()).args).cast::<u64>().add(at).read_volatile() }
}

/// Sends the call in the scratch buffer. A global BPF function: the verifier proves it once, not for each
/// system call that is reported.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_report(form: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let mut at = Draft::tail_at::<Syscall>();
    let first = place(mcpwatch_place(form >> 16 & 0xff, at as u64));
    at += usize::from(first.base_len) + usize::from(first.argument_len);
    let second = place(mcpwatch_place(form >> 24 & 0xff, at as u64));
    at += usize::from(second.base_len) + usize::from(second.argument_len);

    let mut flags = 0;
    if (first.flags | second.flags) & PLACE_UNREADABLE != 0 {
        flags |= FLAG_UNREADABLE;
    }
    if (first.flags | second.flags) & PLACE_CUT != 0 {
        flags |= FLAG_TRUNCATED;
    }
    let value = form >> 32 & 0xf;
    draft.body(Syscall {
        operation: form as u16,
        padding: [0; 3],
        values: [
            argument(&draft, value),
            argument(&draft, value + 1),
            argument(&draft, value + 2),
            argument(&draft, value + 3),
        ],
        first,
        second,
    });
    // SAFETY: fields of the scratch buffer, written by `on_call`.
    let Reported { task, result, .. } = unsafe { draft.reported().read_volatile() };
    let notice = Notice { flags, ..Notice::of_call(Probe::Change, Kind::Change, result) };
    let tail = bounds::mask::<POSITION>(at - Draft::tail_at::<Syscall>());
    draft.send::<Syscall>(&task, notice, tail);
    0
}

/// A [`Place`] as a number, and back.
#[inline(always)]
fn place(packed: u64) -> Place {
    Place {
        base_len: packed as u16 & 0x1fff,
        base_root: (packed >> 16) as u16,
        argument_len: (packed >> 32) as u16 & 0xfff,
        flags: (packed >> 48) as u16,
    }
}

/// Writes directory and argument of one file into the scratch buffer, from byte `start` of it on. `which` are
/// the positions of the two in the call's arguments. The result is a [`Place`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_place(which: u64, start: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let (directory, path) = (which & 0xf, which >> 4 & 0xf);
    let text = if path == NONE { 0 } else { argument(&draft, path) };
    let mut flags = 0;
    let mut base_len = 0;
    let mut base_root = 0;
    if directory != NONE {
        let base = base(&draft, directory, text);
        if base != 0 {
            let dentry = follow(base, offset!(path_dentry));
            if text == 0 && links(dentry) == 0 {
                flags |= UNLINKED;
            }
            let walked = path::walk(base, Room::Call, start as usize);
            base_len = walked.len;
            base_root = walked.root;
            flags |= PLACE_BASED;
            if walked.complete {
                flags |= BASE_COMPLETE;
            } else {
                flags |= PLACE_CUT;
            }
            if walked.rooted {
                flags |= BASE_ROOTED;
            }
        }
    }
    let mut argument_len = 0;
    if path != NONE {
        // SAFETY: a masked position and an argument lie within the scratch buffer.
        let read = unsafe {
            let to = draft.start().add(bounds::mask::<POSITION>(start as usize + base_len));
            bpf_probe_read_user_str(to.cast(), ARGUMENT_BYTES as u32, text as *const _)
        };
        if read > 0 {
            argument_len = read as u64 - 1;
        } else {
            flags |= PLACE_UNREADABLE;
        }
        if read >= ARGUMENT_BYTES as i64 {
            flags |= PLACE_CUT;
        }
    }
    base_len as u64
        | u64::from(base_root) << 16
        | (argument_len & 0xfff) << 32
        | u64::from(flags) << 48
}

/// The `struct path` a file's argument starts from, or of the file itself; 0 when there is none.
#[inline(always)]
fn base(draft: &Draft, directory: u64, text: u64) -> Address {
    let fs = follow(current_task(), offset!(task_fs));
    if text != 0 && read_user::<u8>(text) == Some(b'/') {
        return fs + u64::from(offset!(fs_root));
    }
    let descriptor = argument(draft, directory) as i32;
    if directory == HERE || descriptor == CURRENT_DIRECTORY {
        return fs + u64::from(offset!(fs_pwd));
    }
    let file = kread::task_file(current_task(), descriptor);
    if file == 0 { 0 } else { file + u64::from(offset!(file_path)) }
}

/// How many names the file of a dentry has.
#[inline(always)]
fn links(dentry: Address) -> u32 {
    read(follow(dentry, offset!(dentry_inode)), offset!(inode_links)).unwrap_or(1)
}
