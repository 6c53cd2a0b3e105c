//! What is done through `io_uring`, at two places.
//!
//! Files opened, with what came of it, in one of two ways:
//!
//! - around the functions that do such a request, `io_openat` and `io_openat2`. When they return, the path is gone as it was
//!   given: a program at their entry takes it down. A file that is registered with the ring is told when that is done
//!   (`io_fixed_fd_install`). Before 6.0 they do not leave the result where it can be read;
//! - at the return of the function that opens a file by its path for whoever asks, `do_filp_open` (`do_file_open` since
//!   7.0). It gives the file, or the error; but every open of the host comes by it.
//!
//! What is told by its arguments alone, and files opened where neither works or before it is attached: at the tracepoint
//! on requests that are submitted (`io_uring_submit_req`, `io_uring_submit_sqe` before 6.3), whoever is to do them and
//! when. By then the kernel has taken the arguments out of the process's memory, paths included. What comes of it is
//! told nowhere: that a request is done, has a tracepoint that no longer knows the arguments.
//!
//! Bytes of a channel that a request is to move are counted as lost: how many it will move, and which, is not known yet.

use aya_ebpf::{
    EbpfContext,
    helpers::generated::bpf_probe_read_kernel_str,
    programs::{FEntryContext, FExitContext, RawTracePointContext},
};
use mcpwatch_common::{
    control::{ABSENT, Probe},
    event::{ARGUMENT_BYTES, DIRECTION_IN, DIRECTION_OUT, Operation},
};

use crate::{
    emit::{Draft, Room, acquire, filtered, release, unreadable},
    file, handover,
    kread::{
        Address, current_task, field, follow, is_io_worker, read_own, task_file, uses_io_uring,
    },
    maps::{OPENING, offset, setting},
    network::{self, Submitted},
    payload,
    report::{self, Form},
    watch::{self, Task},
};

/// `LOOKUP_CACHED` of older kernels, and of those that number such flags otherwise (6.15 or so). Among the flags an
/// open begins with (`open_flags.lookup_flags`), neither means anything else to the others.
const ONLY_CACHED: u32 = 0x20_0000 | 0x200;
/// `O_NONBLOCK`.
const NONBLOCK: u32 = 0o4000;
/// `-EAGAIN`.
const AGAIN: i64 = -11;
/// In the place of a request whose file is told already.
const TOLD: Address = 0;

/// A request is about to be done: if it is an open, with this operation, its path is taken down. A function may do
/// another's requests, too: those are dealt with at the other.
#[inline(never)]
pub fn on_open_begins(ctx: FEntryContext, opcode: u64) {
    let Some(task) = watch::current() else { return };
    if !handover::opens_are_seen() {
        return;
    }
    // Read like foreign memory: the verifier would keep it for a pointer it knows, and not hand it on as a number.
    let request = follow(ctx.as_ptr() as u64, 0);
    if opcode_of(request) != opcode {
        return;
    }
    // If nobody saw the end of the former, its path must not stand there for this one.
    let _ = OPENING.remove(task.tid);
    if acquire(false) {
        mcpwatch_opening(request);
        release(false);
    }
}

/// Takes down the path of a request to open a file, between [`acquire`] and [`release`]. Where that fails, it is told
/// without.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_opening(request: Address) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let (_, tid) = watch::ids();
    let opening = draft.opening();
    let path = mcpwatch_request_path(request, u64::from(offset!(io_open_path)));
    // SAFETY: the buffer is larger than what stands for an open, aligned, and this thread's.
    unsafe {
        let to = (&raw mut (*opening).argument).cast();
        if bpf_probe_read_kernel_str(to, ARGUMENT_BYTES as u32, path as *const _) > 0 {
            (&raw mut (*opening).request).write(request);
            let _ = OPENING.insert(tid, &*opening, 0);
        }
    }
    0
}

/// A file is about to be registered with a ring: if it was opened for that, it is told, since nothing holds it any more
/// when the request is done.
#[inline(never)]
pub fn on_kept(ctx: FEntryContext) {
    let Some(task) = watch::current() else { return };
    let argument = |place: u32| read_own::<u64>(ctx.as_ptr() as u64, place * 8);
    let Some(request) = argument(0) else { return unreadable(Probe::Open) };
    let Some(file) = argument(2) else { return unreadable(Probe::Open) };
    // Sockets are kept, too.
    let opcode = opcode_of(request);
    if opcode == opcode::OPENAT || opcode == opcode::OPENAT2 {
        on_opened(request, file as i64, &task);
        if let Some(opening) = OPENING.get_ptr_mut(task.tid) {
            // SAFETY: a field of a map value that belongs to this thread.
            unsafe { (&raw mut (*opening).request).write(TOLD) };
        }
    }
}

/// A request was done: if it is an open, with this operation, that is not told yet, it is now.
#[inline(never)]
pub fn on_open_ends(ctx: FExitContext, opcode: u64) {
    let Some(task) = watch::current() else { return };
    let argument = |place: u32| read_own::<u64>(ctx.as_ptr() as u64, place * 8);
    let Some(request) = argument(0) else { return unreadable(Probe::Open) };
    let Some(returned) = argument(2) else { return unreadable(Probe::Open) };
    if opcode_of(request) != opcode {
        return;
    }
    let number = |offset| mcpwatch_request_number(request, u64::from(offset));
    let result = number(offset!(io_kiocb_result)) as i32;
    if i64::from(returned as i32) == AGAIN {
        // What is not in the cache a worker will open, and that is told.
        filtered(Probe::Open);
    } else if number(offset!(io_open_slot)) != 0 {
        // What could be opened was told before: that there is no such place in the ring is no error of the file.
        if result < 0 && opening_of(task.tid) != Some(TOLD) {
            on_opened(request, i64::from(result), &task);
        }
    } else if result < 0 {
        on_opened(request, i64::from(result), &task);
    } else {
        on_opened(request, task_file(current_task(), result) as i64, &task);
    }
    let _ = OPENING.remove(task.tid);
}

/// The request whose path this thread has taken down, or [`TOLD`].
#[inline(always)]
fn opening_of(tid: u32) -> Option<Address> {
    // SAFETY: a field of a map value that belongs to this thread.
    OPENING.get_ptr(tid).map(|opening| unsafe { (&raw const (*opening).request).read() })
}

/// Tells of a request to open a file, of which there is the file or the error.
#[inline(always)]
fn on_opened(request: Address, opened: i64, task: &Task) {
    // Else it was told when it was submitted.
    if !handover::opens_are_seen() || handover::ended() {
        return;
    }
    if acquire(false) {
        mcpwatch_opened(request, opened, task.start_time, task.instance);
        release(false);
    } else {
        unreadable(Probe::Busy);
    }
}

/// [`on_opened`], between [`acquire`] and [`release`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_opened(
    request: Address,
    opened: i64,
    start_time: u64,
    instance: u64,
) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let (pid, tid) = watch::ids();
    let mut argument = 0;
    if let Some(opening) = OPENING.get_ptr(tid) {
        // SAFETY: a field of a map value. Another request's stands there if nobody saw the end of that.
        if unsafe { (&raw const (*opening).request).read() } == request {
            argument = opening as u64;
        }
    }
    if argument == 0 && (opened as u64) >= file::ERRORS {
        // Neither the file nor its path is known.
        unreadable(Probe::Open);
        return 0;
    }
    let number = |offset| mcpwatch_request_number(request, u64::from(offset));
    // As where another way is taken.
    let flags = number(offset!(io_open_flags)) & !u64::from(NONBLOCK);
    let args = [number(offset!(io_open_directory)), argument, flags, 0, 0, 0];
    draft.set_call(&args, opened, &Task { pid, tid, start_time, instance });
    file::mcpwatch_open_by_io_uring()
}

/// The operation of a request.
#[inline(always)]
fn opcode_of(request: Address) -> u64 {
    u64::from(field::<u8>(request, offset!(io_kiocb_opcode)))
}

/// A file was opened, or could not be.
///
/// What a thread asked for in its own `io_uring`, the kernel does where it comes to it: in `io_uring_enter(2)`, on the
/// way back from any other system call, or in a thread that polls for it. There it must not sleep, so that it looks
/// into the cache only (`io_openat2` sets both flags), and gives what is not there to a worker. No system call does
/// so unless openat2(2) is asked to.
///
/// Not inlined, as [`crate::syscall::on_exit`] is not.
#[inline(never)]
pub fn on_open(ctx: FExitContext) {
    let Some(task) = watch::current() else { return };
    // Read like foreign memory: `struct open_flags` may be declared only where the function stands.
    let Some([directory, name, how, opened]) = read_own::<[u64; 4]>(ctx.as_ptr() as u64, 0) else {
        return unreadable(Probe::Open);
    };
    let current = current_task();
    let flags = field::<u32>(how, offset!(open_flags_flags));
    let lookup = field::<u32>(how, offset!(open_flags_lookup));
    let in_passing = lookup & ONLY_CACHED != 0 && flags & NONBLOCK != 0 && uses_io_uring(current);
    if !(in_passing || is_io_worker(current)) || handover::ended() {
        return;
    }
    let opened = opened as i64;
    if in_passing && opened == AGAIN {
        // A worker will do it, and that is told.
        return filtered(Probe::Open);
    }
    if !acquire(false) {
        return unreadable(Probe::Busy);
    }
    let name = field(name, offset!(filename_name));
    // Whether it was asked for, nobody can say: the kernel has set it, too.
    let flags = u64::from(flags & !NONBLOCK);
    if let Some(draft) = Draft::new(Room::Call) {
        draft.set_call(&[directory, name, flags, 0, 0, 0], opened, &task);
        file::mcpwatch_open_by_io_uring();
    }
    release(false);
}

/// Of `enum io_uring_op` in `include/uapi/linux/io_uring.h`.
pub mod opcode {
    pub const READV: u64 = 1;
    pub const WRITEV: u64 = 2;
    pub const READ_FIXED: u64 = 4;
    pub const WRITE_FIXED: u64 = 5;
    pub const SENDMSG: u64 = 9;
    pub const RECVMSG: u64 = 10;
    pub const ACCEPT: u64 = 13;
    pub const CONNECT: u64 = 16;
    pub const OPENAT: u64 = 18;
    pub const READ: u64 = 22;
    pub const WRITE: u64 = 23;
    pub const SEND: u64 = 26;
    pub const RECV: u64 = 27;
    pub const OPENAT2: u64 = 28;
    pub const RENAMEAT: u64 = 35;
    pub const UNLINKAT: u64 = 36;
    pub const MKDIRAT: u64 = 37;
    pub const SYMLINKAT: u64 = 38;
    pub const LINKAT: u64 = 39;
    pub const SOCKET: u64 = 45;
    pub const SEND_ZC: u64 = 47;
    pub const SENDMSG_ZC: u64 = 48;
    pub const READ_MULTISHOT: u64 = 49;
    pub const FTRUNCATE: u64 = 55;
    pub const BIND: u64 = 56;
    pub const LISTEN: u64 = 57;
    pub const RECV_ZC: u64 = 58;
    pub const READV_FIXED: u64 = 60;
    pub const WRITEV_FIXED: u64 = 61;
}

/// `REQ_F_FIXED_FILE`: the descriptor is the number of a file that was registered with the ring.
const FIXED_FILE: u64 = 1;
/// What stands for a descriptor that is not open.
const NO_FILE: u64 = u64::MAX;

/// What a request is reported as that is told by its arguments alone, as [`mcpwatch_request`] lays them out: like the
/// system call of the same name.
#[inline(always)]
fn reported_as(opcode: u64) -> Form {
    match opcode {
        opcode::RENAMEAT => {
            const { Form::of(Operation::Rename).at(0, 1).to_at(2, 3).values(4).submitted() }
        }
        opcode::UNLINKAT => const { Form::of(Operation::Unlink).at(0, 1).values(2).submitted() },
        opcode::MKDIRAT => {
            const { Form::of(Operation::MakeDirectory).at(0, 1).values(2).submitted() }
        }
        opcode::SYMLINKAT => const { Form::of(Operation::Symlink).text(0).to_at(1, 2).submitted() },
        opcode::LINKAT => {
            const { Form::of(Operation::Link).at(0, 1).to_at(2, 3).values(4).submitted() }
        }
        opcode::SOCKET => {
            const { Form::of(Operation::Socket).values(0).if_rare_family().submitted() }
        }
        opcode::FTRUNCATE => {
            const { Form::of(Operation::Truncate).descriptor(0).values(1).submitted() }
        }
        _ => Form::NOTHING,
    }
}

/// Which way a request moves bytes of the file it names.
#[inline(always)]
fn moves(opcode: u64) -> Option<u32> {
    match opcode {
        opcode::READV
        | opcode::READ_FIXED
        | opcode::RECVMSG
        | opcode::READ
        | opcode::RECV
        | opcode::READ_MULTISHOT
        | opcode::RECV_ZC
        | opcode::READV_FIXED => Some(DIRECTION_IN),
        opcode::WRITEV
        | opcode::WRITE_FIXED
        | opcode::SENDMSG
        | opcode::WRITE
        | opcode::SEND
        | opcode::SEND_ZC
        | opcode::SENDMSG_ZC
        | opcode::WRITEV_FIXED => Some(DIRECTION_OUT),
        _ => None,
    }
}

/// What a request does with the address of a socket.
#[inline(always)]
fn address_of(opcode: u64) -> Option<Submitted> {
    match opcode {
        opcode::CONNECT => Some(Submitted::Connect),
        opcode::BIND => Some(Submitted::Bind),
        opcode::LISTEN => Some(Submitted::Listen),
        _ => None,
    }
}

/// A request was submitted: by the thread that asks, or by one of its process that polls for requests, which shares
/// its files and directories.
#[inline(never)]
pub fn on_submit(ctx: RawTracePointContext) {
    let task = watch::looked_up();
    if task.is_none() && watch::ids().0 != setting!(agent_pid) {
        return;
    }
    // Read like foreign memory: the kernel attaches no program that loads an argument its tracepoint may not have.
    let request = follow(ctx.as_ptr() as u64, setting!(submitted_request));
    let opcode = opcode_of(request);
    let Some(task) = task else {
        if opcode == opcode::CONNECT {
            network::mcpwatch_find_address(follow(request, offset!(io_kiocb_async_data)));
        }
        return;
    };
    let is_open = opcode == opcode::OPENAT || opcode == opcode::OPENAT2;
    if is_open {
        handover::opens_are_asked_for_now();
        // An open whose end is seen is told and counted then.
        if handover::opens_are_seen() {
            return;
        }
    }
    if opcode == opcode::ACCEPT {
        // Who will have connected, and how many they will be, is not known yet.
        return unreadable(Probe::Accept);
    }
    let (form, address, moves) = (reported_as(opcode), address_of(opcode), moves(opcode));
    if !is_open && form == Form::NOTHING && address.is_none() && moves.is_none() {
        return;
    }
    if !acquire(false) {
        return unreadable(Probe::Busy);
    }
    if mcpwatch_request(request, opcode, task.start_time, task.instance) != 0 {
        if is_open {
            file::mcpwatch_open_submitted();
        } else if let Some(direction) = moves {
            payload::on_submitted(direction);
        } else if let Some(what) = address {
            network::on_submitted(what);
        } else {
            report::on_call(form);
        }
    }
    release(false);
}

/// Puts a request into the scratch buffer, between [`acquire`] and [`release`], with its arguments in the order of
/// those of the system call of its name.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_request(
    request: Address,
    opcode: u64,
    start_time: u64,
    instance: u64,
) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let number = |offset| mcpwatch_request_number(request, u64::from(offset));
    let path = |offset| mcpwatch_request_path(request, u64::from(offset));
    let args = match opcode {
        opcode::RENAMEAT => [
            number(offset!(io_rename_directory)),
            path(offset!(io_rename_path)),
            number(offset!(io_rename_to_directory)),
            path(offset!(io_rename_to_path)),
            number(offset!(io_rename_flags)),
            0,
        ],
        opcode::UNLINKAT => [
            number(offset!(io_unlink_directory)),
            path(offset!(io_unlink_path)),
            number(offset!(io_unlink_flags)),
            0,
            0,
            0,
        ],
        opcode::MKDIRAT => [
            number(offset!(io_mkdir_directory)),
            path(offset!(io_mkdir_path)),
            // A `umode_t`, of 16 bits.
            number(offset!(io_mkdir_mode)) & 0xffff,
            0,
            0,
            0,
        ],
        opcode::SYMLINKAT => [
            path(offset!(io_symlink_text)),
            number(offset!(io_symlink_directory)),
            path(offset!(io_symlink_path)),
            0,
            0,
            0,
        ],
        opcode::LINKAT => [
            number(offset!(io_link_directory)),
            path(offset!(io_link_path)),
            number(offset!(io_link_to_directory)),
            path(offset!(io_link_to_path)),
            number(offset!(io_link_flags)),
            0,
        ],
        opcode::SOCKET => [
            number(offset!(io_socket_family)),
            number(offset!(io_socket_type)),
            number(offset!(io_socket_protocol)),
            0,
            0,
            0,
        ],
        opcode::CONNECT => {
            let address = follow(request, offset!(io_connect_address));
            let is_late = offset!(io_connect_late) != ABSENT;
            let data = if is_late { 0 } else { follow(request, offset!(io_kiocb_async_data)) };
            [mcpwatch_request_file(request), address, number(offset!(io_connect_len)), data, 0, 0]
        }
        opcode::BIND => {
            let data = follow(request, offset!(io_kiocb_async_data));
            [mcpwatch_request_file(request), 0, number(offset!(io_bind_len)), data, 0, 0]
        }
        _ if opcode == opcode::LISTEN || moves(opcode).is_some() => {
            let is_fixed = number(offset!(io_kiocb_flags)) & FIXED_FILE;
            [mcpwatch_request_file(request), is_fixed, 0, 0, 0, 0]
        }
        opcode::FTRUNCATE => {
            let is_fixed = number(offset!(io_kiocb_flags)) & FIXED_FILE != 0;
            let file = if is_fixed { NO_FILE } else { number(offset!(io_kiocb_fd)) };
            [file, follow(request, offset!(io_truncate_length)), 0, 0, 0, 0]
        }
        _ => [
            number(offset!(io_open_directory)),
            path(offset!(io_open_path)),
            number(offset!(io_open_flags)),
            0,
            0,
            0,
        ],
    };
    let (pid, tid) = watch::ids();
    draft.set_call(&args, 0, &Task { pid, tid, start_time, instance });
    1
}

/// A number of 32 bits in a request; 0 when the kernel has none there. A global BPF function, so that the verifier does
/// not walk what follows for each outcome of each read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_request_number(request: Address, offset: u64) -> u64 {
    u64::from(field::<u32>(request, offset as u32))
}

/// The text of a path in a request, in kernel memory: of a `struct filename *`, or of a `struct delayed_filename`,
/// which is nothing but one (7.0).
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_request_path(request: Address, offset: u64) -> Address {
    follow(follow(request, offset as u32), offset!(filename_name))
}

/// The `struct file` of a request; 0 where that is not known: of a file registered with the ring it is looked up when the
/// request is done.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_request_file(request: Address) -> Address {
    if offset!(io_kiocb_fd) == ABSENT {
        return follow(request, offset!(io_kiocb_file));
    }
    if mcpwatch_request_number(request, u64::from(offset!(io_kiocb_flags))) & FIXED_FILE != 0 {
        return 0;
    }
    let fd = mcpwatch_request_number(request, u64::from(offset!(io_kiocb_fd)));
    task_file(current_task(), fd as i32)
}
