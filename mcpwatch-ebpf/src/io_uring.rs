//! Files opened through `io_uring`: at the return of the function that opens a file by its path for whoever asks,
//! `do_filp_open` (`do_file_open` since 7.0). It gives the file, or the error.

use aya_ebpf::{EbpfContext, programs::FExitContext};
use mcpwatch_common::control::Probe;

use crate::{
    emit::{Draft, Room, acquire, filtered, release, unreadable},
    file, handover,
    kread::{current_task, is_io_worker, read, uses_io_uring},
    maps::offset,
    watch,
};

/// `LOOKUP_CACHED` of older kernels, and of those that number such flags otherwise (6.15 or so). Among the flags an
/// open begins with (`open_flags.lookup_flags`), neither means anything else to the others.
const ONLY_CACHED: u32 = 0x20_0000 | 0x200;
/// `O_NONBLOCK`.
const NONBLOCK: u32 = 0o4000;
/// `-EAGAIN`.
const AGAIN: i64 = -11;

/// A file was opened, or could not be.
///
/// What a thread asked for in its own `io_uring`, the kernel does where it comes to it: in `io_uring_enter(2)`, on the
/// way back from any other system call, or in a thread that polls for it. There it must not sleep, so that it looks
/// into the cache only (`io_openat2` sets both flags), and gives what is not there to a worker. No system call does
/// so unless openat2(2) is asked to.
#[inline(always)]
pub fn on_open(ctx: &FExitContext) {
    let Some(task) = watch::current() else { return };
    // Read like foreign memory: `struct open_flags` may be declared only where the function stands.
    let Some([directory, name, how, opened]) = read::<[u64; 4]>(ctx.as_ptr() as u64, 0) else {
        return;
    };
    let current = current_task();
    let flags = read::<u32>(how, offset!(open_flags_flags)).unwrap_or(0);
    let lookup = read::<u32>(how, offset!(open_flags_lookup)).unwrap_or(0);
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
    let name = read(name, offset!(filename_name)).unwrap_or(0);
    // Whether it was asked for, nobody can say: the kernel has set it, too.
    let flags = u64::from(flags & !NONBLOCK);
    if let Some(draft) = Draft::new(Room::Call) {
        draft.set_call(&[directory, name, flags, 0, 0, 0], opened, &task);
        file::mcpwatch_open_by_io_uring();
    }
    release(false);
}
