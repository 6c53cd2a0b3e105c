//! Reads fields of kernel structs at the offsets the agent resolved from this kernel's BTF. The only
//! room that knows how kernel structs hang together, so that it can be swapped.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::{
    bpf_get_current_task, bpf_get_current_task_btf, bpf_probe_read_kernel, bpf_probe_read_user,
    bpf_task_pt_regs,
};
use mcpwatch_common::{
    control::{ABSENT, RDONLY_CAST},
    event::ARGUMENT_BYTES,
};

use crate::{
    bounds,
    maps::{offset, setting},
};

/// `S_IFMT` and the types we ask for, see `inode(7)`.
const FORMAT: u16 = 0o170_000;
const SOCKET: u16 = 0o140_000;
const FIFO: u16 = 0o010_000;

/// Address of a kernel struct; 0 when there is none.
pub type Address = u64;

/// The value at `base + offset`; `None` when the field is absent or cannot be read.
#[inline(always)]
pub fn read<T: Copy>(base: Address, offset: u32) -> Option<T> {
    if base == 0 || offset == ABSENT {
        return None;
    }
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: the helper writes exactly `size_of::<T>()` bytes or reports failure, whatever `base` is.
    let failed = unsafe {
        bpf_probe_read_kernel(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            (base + u64::from(offset)) as *const _,
        )
    };
    // SAFETY: filled above; `T` is a plain number or an array of them at every call.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// The value at `base + offset` of what the running call has of its own, its registers or its program's arguments, which are
/// there as long as it runs; `None` when they cannot be read, where that shows.
#[inline(always)]
pub fn read_own<T: Copy + Default>(base: Address, offset: u32) -> Option<T> {
    if setting!(rdonly_cast) == 0 { read(base, offset) } else { Some(field(base, offset)) }
}

/// The value at `base + offset`; zeroes when the field is absent or cannot be read. Where the kernel lets a program load
/// from an address of its memory, that is one instruction; a helper takes some 60.
#[inline(always)]
pub fn field<T: Copy + Default>(base: Address, offset: u32) -> T {
    if setting!(rdonly_cast) == 0 {
        return read(base, offset).unwrap_or_default();
    }
    if base == 0 || offset == ABSENT {
        return T::default();
    }
    let address = base + u64::from(offset);
    // Of the processors' addresses the kernel has those with the highest bit. Others might be a process's: the kernel sees to
    // it that nothing is loaded from there, but with tagged addresses not of all of them.
    if address as i64 >= 0 {
        return T::default();
    }
    // SAFETY: the verifier takes the pointer for one into memory of unknown content that need not be there: the load gives
    // zeroes then. `T` is a plain number or an array of them at every call.
    unsafe { rdonly_cast(address).cast::<T>().read_volatile() }
}

/// The kernel function `bpf_rdonly_cast`, to nothing in particular (since 6.17): the verifier makes a copy of a register of
/// it. In the object stands a call of a helper that no kernel has, which the agent replaces where the function exists; where
/// it does not, the verifier never comes by.
#[inline(always)]
unsafe fn rdonly_cast(address: u64) -> *const u8 {
    // SAFETY: how helpers are called, too: the number is the function.
    let function: unsafe extern "C" fn(u64, u64) -> *const u8 =
        unsafe { core::mem::transmute(RDONLY_CAST as usize) };
    // SAFETY: takes numbers.
    unsafe { function(address, 0) }
}

/// The pointer at `base + offset`; 0 when it is absent or cannot be read.
#[inline(always)]
pub fn follow(base: Address, offset: u32) -> Address {
    field(base, offset)
}

/// The numbers at two offsets from `base`; 0 for what is absent or cannot be read, for both where they lie side by side.
/// Those are read at once: reading kernel memory is most of what an event costs.
#[inline(always)]
pub fn read_both(base: Address, first: u32, second: u32) -> [u64; 2] {
    if second == first.wrapping_add(size_of::<u64>() as u32) {
        field(base, first)
    } else {
        [follow(base, first), follow(base, second)]
    }
}

/// An address in user memory as the helper that reads a fixed number of bytes there takes it: on arm64 a process that has
/// asked for it may put a tag into the top byte, which the kernel takes away from its system calls' arguments.
#[inline(always)]
pub fn untagged(address: u64) -> u64 {
    if cfg!(bpf_target_arch = "aarch64") {
        // Those of the kernel, by bit 55, stay what they are.
        address & ((address << 8) as i64 >> 8) as u64
    } else {
        address
    }
}

/// The value at a user address; `None` when it cannot be read.
#[inline(always)]
pub fn read_user<T: Copy>(address: u64) -> Option<T> {
    let mut value = MaybeUninit::<T>::uninit();
    // SAFETY: as in `read`.
    let failed = unsafe {
        bpf_probe_read_user(
            value.as_mut_ptr().cast(),
            size_of::<T>() as u32,
            untagged(address) as *const _,
        )
    };
    // SAFETY: as in `read`.
    (failed == 0).then(|| unsafe { value.assume_init() })
}

/// Whether a path that fills the room for an argument is longer than that. In the copy a zero ends it either way
/// (`strncpy_from_user_nofault`, `strncpy_from_kernel_nofault`): only the original tells it from the longest path that the
/// kernel takes. One whose end cannot be read counts as longer.
#[inline(always)]
pub fn is_cut(text: u64, in_kernel: bool) -> bool {
    mcpwatch_is_cut(text, u64::from(in_kernel)) != 0
}

/// [`is_cut`], as a global BPF function like [`mcpwatch_task_file`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_is_cut(text: u64, in_kernel: u64) -> u64 {
    const LAST: u32 = ARGUMENT_BYTES as u32 - 1;
    let last: Option<u8> =
        if in_kernel != 0 { read(text, LAST) } else { read_user(text + u64::from(LAST)) };
    u64::from(last != Some(0))
}

/// `struct task_struct` of the running thread.
#[inline(always)]
pub fn current_task() -> Address {
    // SAFETY: takes nothing and returns a pointer.
    unsafe { bpf_get_current_task() }
}

/// `struct pt_regs` of the system call the running thread is in. Since 5.15.
#[inline(always)]
pub fn current_registers() -> Address {
    // SAFETY: the first takes nothing and gives the thread there always is, the second takes that.
    let (task, registers) = unsafe {
        let task = bpf_get_current_task_btf();
        (task as u64, bpf_task_pt_regs(task) as u64)
    };
    // The verifier has both for pointers, which no global BPF function takes for a number; their difference is one.
    current_task().wrapping_add(bounds::difference(registers, task))
}

/// The task is a thread of a process that works off what its `io_uring` was given. (A thread of the kernel's own
/// looks the same, but is nobody's that is watched.)
#[inline(always)]
pub fn is_io_worker(task: Address) -> bool {
    follow(task, offset!(task_worker)) != 0
}

/// The task has used an `io_uring`.
#[inline(always)]
pub fn uses_io_uring(task: Address) -> bool {
    follow(task, offset!(task_io_uring)) != 0
}

/// Process id of a task.
#[inline(always)]
pub fn task_tgid(task: Address) -> u32 {
    mcpwatch_task_tgid(task) as u32
}

/// [`task_tgid`], as a global BPF function like [`mcpwatch_task_file`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_task_tgid(task: Address) -> u64 {
    u64::from(field::<u32>(task, offset!(task_tgid)))
}

/// When the process of a task started, nanoseconds of `CLOCK_BOOTTIME`.
#[inline(always)]
pub fn task_start_time(task: Address) -> u64 {
    mcpwatch_task_start_time(task)
}

/// [`task_start_time`], as a global BPF function like [`mcpwatch_task_file`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_task_start_time(task: Address) -> u64 {
    let leader = follow(task, offset!(task_group_leader));
    field(leader, offset!(task_start_boottime))
}

/// `struct file` behind a file descriptor of a task; 0 when it is not open.
#[inline(always)]
pub fn task_file(task: Address, fd: i32) -> Address {
    mcpwatch_task_file(task, fd as u64)
}

/// [`task_file`], as a global BPF function: the verifier walks the ways through it once, and not once more for
/// each way that leads to each place it is called from. Before 6.8 that is most of what a program costs.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_task_file(task: Address, fd: u64) -> Address {
    let fd = fd as i32;
    let fdtable = follow(follow(task, offset!(task_files)), offset!(files_fdtable));
    let [open, table] = read_both(fdtable, offset!(fdtable_max_fds), offset!(fdtable_fd));
    // `max_fds` is 32 bits wide, and padding follows.
    if fd < 0 || fd as u32 >= open as u32 || table == 0 {
        return 0;
    }
    field(table + fd as u64 * 8, 0)
}

/// Inode number of a pipe or socket; 0 for every other file.
#[inline(always)]
pub fn channel_inode(file: Address) -> u64 {
    mcpwatch_channel_inode(file)
}

/// [`channel_inode`], as a global BPF function like the one above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_channel_inode(file: Address) -> u64 {
    let inode = follow(file, offset!(file_inode));
    let mode = field::<u16>(inode, offset!(inode_mode)) & FORMAT;
    if mode == SOCKET || mode == FIFO { field(inode, offset!(inode_number)) } else { 0 }
}

/// `struct socket` behind a file descriptor of a task; 0 when it is none.
#[inline(always)]
pub fn task_socket(task: Address, fd: i32) -> Address {
    mcpwatch_task_socket(task, fd as u64)
}

/// [`task_socket`], as a global BPF function like the ones above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_task_socket(task: Address, fd: u64) -> Address {
    mcpwatch_file_socket(mcpwatch_task_file(task, fd))
}

/// `struct socket` of a file; 0 when it is none.
#[inline(always)]
pub fn file_socket(file: Address) -> Address {
    mcpwatch_file_socket(file)
}

/// [`file_socket`], as a global BPF function like the ones above.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_file_socket(file: Address) -> Address {
    let inode = follow(file, offset!(file_inode));
    if field::<u16>(inode, offset!(inode_mode)) & FORMAT == SOCKET {
        follow(file, offset!(file_private_data))
    } else {
        0
    }
}

/// Process id, in the initial pid namespace, behind a pid descriptor of a task; 0 when it is none.
#[inline(always)]
pub fn task_pidfd(task: Address, fd: i32) -> u32 {
    let file = task_file(task, fd);
    // Since 6.9 (pidfs) it is the inode that holds the `struct pid`.
    let mut pid = follow(file, offset!(file_private_data));
    if pid == 0 {
        pid = follow(follow(file, offset!(file_inode)), offset!(inode_private));
    }
    field(pid, offset!(pid_numbers))
}

/// How deep the pid namespace of a task is; 0 for the initial one.
#[inline(always)]
pub fn task_pid_level(task: Address) -> u32 {
    field(follow(task, offset!(task_thread_pid)), offset!(pid_level))
}

/// `AF_*` of the socket behind a file descriptor of a task; 0 when it is none.
#[inline(always)]
pub fn socket_family(task: Address, fd: i32) -> u16 {
    mcpwatch_socket_family(task, fd as u64) as u16
}

/// [`socket_family`], as a global BPF function like [`mcpwatch_task_file`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_socket_family(task: Address, fd: u64) -> u64 {
    let sock = follow(mcpwatch_task_socket(task, fd), offset!(socket_sk));
    u64::from(field::<u16>(sock, offset!(sock_family)))
}
