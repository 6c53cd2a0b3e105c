//! System calls that are reported by their arguments and the files these name: what leaves no descriptor
//! behind from which more could be read.
//!
//! A file is named by the directory it starts from, which is walked here, and by the argument, which is taken
//! from user memory after the call: another thread may have changed it since, and a symbolic link within it
//! is not followed.

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel_str, bpf_probe_read_user_str};
use mcpwatch_common::{
    control::Probe,
    event::{
        ARGUMENT_BYTES, BASE_COMPLETE, BASE_ROOTED, CLONE_EMPTY_MOUNTS, FLAG_SUBMITTED,
        FLAG_TRUNCATED, FLAG_UNREADABLE, Kind, Operation, PLACE_BASED, PLACE_CUT, PLACE_RESOLVED,
        PLACE_UNREADABLE, Place, Syscall, UNLINKED, UNSHARE_EMPTY_MOUNTS,
    },
};

use crate::{
    bounds,
    emit::{Draft, Notice, Room, unreadable},
    file::CURRENT_DIRECTORY,
    kread::{self, Address, current_task, follow, read, read_user},
    maps::{Named, offset},
    path,
};

/// Positions in the scratch buffer stay below this.
const POSITION: i32 = 0x7fff;
/// Position of an argument in [`crate::maps::Call::args`] that is none: zero.
const NONE: u64 = 6;
/// Position that stands for the working directory.
const HERE: u64 = 7;
/// The same, unless the call succeeded: then the file is the process's root directory.
const NEW_ROOT: u64 = 8;

/// Which kind of event a form is sent as, in its bits 40 and 41; 0 is a change.
const PRIVILEGE: u64 = 1;
const ACCESS: u64 = 2;
const SOCKET: u64 = 3;
/// [`Form::of_pidfd`].
const OF_PIDFD: u64 = 1 << 42;
/// [`Form::user_value`].
const USER_VALUE: u64 = 1 << 43;
/// [`Form::user_sets`].
const USER_SETS: u64 = 1 << 44;
/// [`Form::if_namespaces`].
const IF_NAMESPACES: u64 = 1 << 45;
/// [`Form::if_takes_hold`].
const IF_TAKES_HOLD: u64 = 1 << 46;
/// [`Form::if_rare_family`].
const IF_RARE_FAMILY: u64 = 1 << 47;
/// [`Form::if_gives_more`].
const IF_GIVES_MORE: u64 = 1 << 48;
/// [`Form::submitted`].
const SUBMITTED: u64 = 1 << 49;
/// [`Form::if_copies`].
const IF_COPIES: u64 = 1 << 50;
/// The same in what [`mcpwatch_place`] is told of the positions: the path stands in kernel memory.
const IN_KERNEL: u64 = 1 << 8;
/// `CLONE_NEWNS`, `_NEWCGROUP`, `_NEWUTS`, `_NEWIPC`, `_NEWUSER`, `_NEWPID`, `_NEWNET`.
const CLONE_NAMESPACES: u64 = 0x7e02_0000;
/// `CLONE_NEWTIME`, which clone(2) has no room for.
const NEW_TIME: u64 = 0x80;
/// `OPEN_TREE_CLONE`, `OPEN_TREE_NAMESPACE`.
const TREE_COPIES: u64 = 3;
/// `-EBADF`: the descriptor may stand for anything.
const NO_DESCRIPTOR: i64 = -9;

/// What a system call is reported as, and where in its arguments stands what: a plain number, because it
/// goes through a BPF function call. Zero is none.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Form(u64);

impl Form {
    /// Nothing is to be reported.
    pub const NOTHING: Self = Self(0);

    /// The form of a number, as it comes through a BPF function call.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Self {
        Self(number)
    }

    /// The number it goes through one as.
    #[inline(always)]
    pub const fn number(self) -> u64 {
        self.0
    }

    /// An operation whose arguments are nothing.
    pub const fn of(operation: Operation) -> Self {
        let kind = match operation as u64 {
            0..32 => 0,
            32..80 => PRIVILEGE,
            80..96 => ACCESS,
            _ => SOCKET,
        };
        let nothing = NONE << 16 | NONE << 20 | NONE << 24 | NONE << 28 | NONE << 32;
        Self(operation as u64 | nothing | kind << 40)
    }

    /// Only when its first value says that namespaces are made.
    pub const fn if_namespaces(self) -> Self {
        Self(self.0 | IF_NAMESPACES)
    }

    /// Only when its first value is a request of ptrace(2) that takes hold of a process or changes it.
    pub const fn if_takes_hold(self) -> Self {
        Self(self.0 | IF_TAKES_HOLD)
    }

    /// Only when its first value is an address family beyond IP and unix.
    pub const fn if_rare_family(self) -> Self {
        Self(self.0 | IF_RARE_FAMILY)
    }

    /// Only when its first values are an option of prctl(2) by which a process gets or keeps capabilities.
    pub const fn if_gives_more(self) -> Self {
        Self(self.0 | IF_GIVES_MORE)
    }

    /// Only when its first value, the third argument, says that `open_tree(2)` copies mounts.
    pub const fn if_copies(self) -> Self {
        Self(self.0 | IF_COPIES)
    }

    /// As it was given to an `io_uring`: what it names is in kernel memory, and what comes of it is not known.
    pub const fn submitted(self) -> Self {
        Self(self.0 | SUBMITTED)
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

    /// The first file: a path that becomes the process's root directory.
    pub const fn new_root(self, path: u64) -> Self {
        self.at(NEW_ROOT, path)
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

    /// The first value: a descriptor that stands for a process.
    pub const fn of_pidfd(self) -> Self {
        Self(self.0 | OF_PIDFD)
    }

    /// The only other argument: the first 64 bits of a struct.
    pub const fn user_value(self, address: u64) -> Self {
        Self(self.values(address).0 | USER_VALUE)
    }

    /// The other arguments: the three sets of `struct __user_cap_data_struct[2]`.
    pub const fn user_sets(self, address: u64) -> Self {
        Self(self.values(address).0 | USER_SETS)
    }

    /// The first of the other arguments.
    pub const fn values(self, first: u64) -> Self {
        self.with(32, first)
    }
}

/// A system call to be reported returned.
///
/// The functions are called one after the other: nested, their stacks would not fit.
#[inline(always)]
pub fn on_call(form: Form) {
    if mcpwatch_applies(form.0) == 0 {
        return;
    }
    let memory = if form.0 & SUBMITTED == 0 { 0 } else { IN_KERNEL };
    mcpwatch_place(form.0 >> 16 & 0xff | memory, 0);
    mcpwatch_place(form.0 >> 24 & 0xff | memory, 1);
    mcpwatch_report(form.0);
}

/// Whether the call in the scratch buffer is one to be reported: the common ones of its kind are not. A global BPF
/// function, like the others.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_applies(form: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    // SAFETY: a field of the scratch buffer.
    unsafe { (&raw mut (*draft.named()).len).write_volatile(0) };
    let arguments = [draft.argument(0), draft.argument(1), draft.argument(2)];
    u64::from(applies(arguments, draft.result(), form))
}

#[inline(always)]
fn applies([first, second, third]: [u64; 3], result: i64, form: u64) -> bool {
    if form & IF_NAMESPACES != 0 {
        let is_clone = form as u16 == Operation::Clone as u16;
        // In the child, too, the call returns.
        if is_clone && result == 0 {
            return false;
        }
        if form & USER_VALUE != 0 {
            // `struct clone_args` begins with the flags.
            let Some(flags) = read_user::<u64>(first).filter(|_| second >= 8) else {
                if result > 0 {
                    unreadable(Probe::Privilege);
                }
                return false;
            };
            return flags & (CLONE_NAMESPACES | NEW_TIME | CLONE_EMPTY_MOUNTS) != 0;
        }
        let more = if is_clone { 0 } else { NEW_TIME | UNSHARE_EMPTY_MOUNTS };
        return first & (CLONE_NAMESPACES | more) != 0;
    }
    if form & IF_TAKES_HOLD != 0 {
        // `PTRACE_TRACEME`, `POKETEXT`, `POKEDATA`, `POKEUSR`, `SETREGS`, `SETFPREGS`, `ATTACH`, `SETREGSET`,
        // `SEIZE`. Those that go on from there come by the thousand and say nothing more.
        return matches!(first, 0 | 4 | 5 | 6 | 13 | 15 | 16 | 0x4205 | 0x4206);
    }
    if form & IF_GIVES_MORE != 0 {
        // `PR_SET_KEEPCAPS` to 1, `PR_SET_SECUREBITS`, `PR_CAP_AMBIENT` with `PR_CAP_AMBIENT_RAISE`. An option is an
        // `int`, what follows a `long`.
        return matches!((first as u32, second), (8, 1) | (28, _) | (47, 2));
    }
    if form & IF_COPIES != 0 {
        return third & TREE_COPIES != 0;
    }
    if form & IF_RARE_FAMILY != 0 {
        // What is done with sockets of `AF_UNIX`, `AF_INET` and `AF_INET6` is told when it is done.
        return !matches!(first as u32, 1 | 2 | 10);
    }
    true
}

/// Sends the call in the scratch buffer with the files that [`mcpwatch_place`] found. A global BPF function: the
/// verifier proves it once, not for each system call that is reported.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_report(form: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let (task, result) = (draft.task(), draft.result());
    // SAFETY: a field of the scratch buffer, written by `mcpwatch_place`.
    let Named { places: [first, second], len } = unsafe { draft.named().read_volatile() };
    let mut flags = if form & SUBMITTED == 0 { 0 } else { FLAG_SUBMITTED };
    if (first.flags | second.flags) & PLACE_UNREADABLE != 0 {
        flags |= FLAG_UNREADABLE;
    }
    if (first.flags | second.flags) & PLACE_CUT != 0 {
        flags |= FLAG_TRUNCATED;
    }
    let value = form >> 32 & 0xf;
    draft.body(Syscall {
        operation: form as u16,
        pid_level: kread::task_pid_level(current_task()) as u16,
        target_pid: if form & OF_PIDFD == 0 || result == NO_DESCRIPTOR {
            0
        } else {
            kread::task_pidfd(current_task(), draft.argument(value) as i32)
        },
        values: values(&draft, form),
        first,
        second,
    });
    let (probe, kind) = match form >> 40 & 0x3 {
        PRIVILEGE => (Probe::Privilege, Kind::Privilege),
        ACCESS => (Probe::Access, Kind::Access),
        SOCKET => (Probe::Socket, Kind::Socket),
        _ => (Probe::Change, Kind::Change),
    };
    let notice = Notice { flags, ..Notice::of_call(probe, kind, result) };
    draft.send::<Syscall>(&task, notice, bounds::mask::<POSITION>(len as usize));
    0
}

/// The call's other arguments.
#[inline(always)]
fn values(draft: &Draft, form: u64) -> [u64; 4] {
    let first = form >> 32 & 0xf;
    let address = draft.argument(first);
    if form as u16 == Operation::Clone as u16 && form & USER_VALUE == 0 {
        // The kernel takes no more of the flags.
        return [u64::from(address as u32), 0, 0, 0];
    }
    if form & USER_VALUE != 0 {
        return [read_user(address).unwrap_or(0), 0, 0, 0];
    }
    if form & USER_SETS != 0 {
        // Two structs of effective, permitted and inheritable: the lower halves, then the upper ones.
        let [low, more_low, last_low, high, more_high, last_high] =
            read_user::<[u32; 6]>(address).unwrap_or([0; 6]);
        let join = |low: u32, high: u32| u64::from(low) | u64::from(high) << 32;
        return [join(low, high), join(more_low, more_high), join(last_low, last_high), 0];
    }
    [address, draft.argument(first + 1), draft.argument(first + 2), draft.argument(first + 3)]
}

/// Writes directory and argument of one file into the tail, behind what is there, and what it wrote into
/// [`Named::places`]. `which` are the positions of the two in the call's arguments, and [`IN_KERNEL`]; `number` is 0 for
/// the first file and 1 for the second.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_place(which: u64, number: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let to = draft.named();
    let (directory, path) = (which & 0xf, which >> 4 & 0xf);
    let text = if path == NONE { 0 } else { draft.argument(path) };
    // SAFETY: a field of the scratch buffer; volatile, since the verifier knows nothing of the value.
    let len = unsafe { (&raw const (*to).len).read_volatile() };
    let start = Draft::tail_at::<Syscall>() + bounds::mask::<POSITION>(len as usize);
    let mut place =
        Place { base_len: 0, base_root: 0, argument_len: 0, flags: 0, mount_namespace: 0 };
    // An argument that was followed there already leads nowhere from the new root.
    let resolved = directory == NEW_ROOT && draft.result() == 0;
    if resolved {
        place.flags |= PLACE_RESOLVED;
    }
    let in_kernel = which & IN_KERNEL != 0;
    let begins = if text == 0 { 0 } else { first_byte(text, in_kernel) };
    let base = if directory == NONE { 0 } else { base(&draft, directory, begins, resolved) };
    if base != 0 {
        if text == 0 && links(follow(base, offset!(path_dentry))) == 0 {
            place.flags |= UNLINKED;
        }
        let walked = path::walk(base, Room::Call, start);
        place.base_len = walked.len as u16;
        place.base_root = walked.root;
        place.mount_namespace = path::namespace(&draft);
        place.flags |= PLACE_BASED;
        place.flags |= if walked.complete { BASE_COMPLETE } else { PLACE_CUT };
        if walked.rooted {
            place.flags |= BASE_ROOTED;
        }
    } else if in_kernel && directory != NONE {
        // No result will say so.
        place.flags |= PLACE_UNREADABLE;
    }
    if path != NONE {
        // Of an empty text 5.10 to 6.12 give 0, while 6.18 counts its terminator (`strncpy_from_user_nofault`).
        // SAFETY: a masked position and an argument lie within the scratch buffer.
        let read = unsafe {
            let at = bounds::mask::<POSITION>(start + usize::from(place.base_len));
            let to = draft.start().add(at).cast();
            if in_kernel {
                bpf_probe_read_kernel_str(to, ARGUMENT_BYTES as u32, text as *const _)
            } else {
                bpf_probe_read_user_str(to, ARGUMENT_BYTES as u32, text as *const _)
            }
        };
        if read > 0 {
            place.argument_len = (read - 1) as u16;
        } else if read < 0 {
            place.flags |= PLACE_UNREADABLE;
        }
        if read >= ARGUMENT_BYTES as i64 && kread::is_cut(text, in_kernel) {
            place.flags |= PLACE_CUT;
        }
    }
    let len = len + u64::from(place.base_len) + u64::from(place.argument_len);
    // SAFETY: fields of the scratch buffer, the index masked.
    unsafe {
        (&raw mut (*to).places)
            .cast::<Place>()
            .add(bounds::mask::<1>(number as usize))
            .write_volatile(place);
        (&raw mut (*to).len).write_volatile(len);
    }
    0
}

/// The `struct path` a file's argument starts from, or of the file itself; 0 when there is none. `begins` is the
/// argument's first byte.
#[inline(always)]
fn base(draft: &Draft, directory: u64, begins: u8, is_root: bool) -> Address {
    let fs = follow(current_task(), offset!(task_fs));
    if is_root || begins == b'/' {
        return fs + u64::from(offset!(fs_root));
    }
    let descriptor = draft.argument(directory) as i32;
    if directory == HERE || directory == NEW_ROOT || descriptor == CURRENT_DIRECTORY {
        return fs + u64::from(offset!(fs_pwd));
    }
    let file = kread::task_file(current_task(), descriptor);
    if file == 0 { 0 } else { file + u64::from(offset!(file_path)) }
}

/// The first byte of a path; 0 when it cannot be read.
#[inline(always)]
fn first_byte(text: u64, in_kernel: bool) -> u8 {
    let byte = if in_kernel { read(text, 0) } else { read_user(text) };
    byte.unwrap_or(0)
}

/// How many names the file of a dentry has.
#[inline(always)]
fn links(dentry: Address) -> u32 {
    read(follow(dentry, offset!(dentry_inode)), offset!(inode_links)).unwrap_or(1)
}
