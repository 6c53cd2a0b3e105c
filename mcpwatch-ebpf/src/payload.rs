//! The protocol channel: what the server reads on its stdin and writes on its stdout, in chunks that
//! say where in the stream they stand, so that a hole is seen as a hole.

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use mcpwatch_common::{
    control::Probe,
    event::{
        DIRECTION_IN, DIRECTION_OUT, FLAG_SUBMITTED, FLAG_TRUNCATED, Injection, Kind,
        PAYLOAD_CHUNK, PAYLOAD_TAIL, Payload,
    },
};

use crate::{
    bounds,
    emit::{Draft, Notice, Room, filtered, unreadable},
    kread::{self, read_user},
    maps::{Transfer, setting},
    watch::{self, Task},
};

/// Chunks and buffers of one transfer that are looked at; what lies beyond is a hole in the stream. Enough
/// for the largest limit there is (16 MiB) in a row of ninety buffers.
const STEPS: usize = 600;

/// Where the bytes of a transfer lie.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u64)]
pub enum Form {
    /// `(fd, buffer, length)`: read, write, recvfrom, sendto.
    Buffer = BUFFER,
    /// `(fd, row of buffers, their number)`: readv, writev, and preadv2, pwritev2, which without an offset
    /// are the same.
    Row = ROW,
    /// `(fd, message header)`: recvmsg, sendmsg.
    Message = MESSAGE,
}

const BUFFER: u64 = 0;
const ROW: u64 = 1;
const MESSAGE: u64 = 2;

/// The call in the scratch buffer moved bytes, one way or the other: sends them if they are the protocol's.
#[inline(always)]
pub fn on_transfer(form: Form, direction: u32) {
    // The steps are taken here and not within the first function: stacks of nested calls add up, to 512 bytes at
    // most.
    if mcpwatch_payload_begin(form as u64, u64::from(direction)) == 0 {
        return;
    }
    for _ in 0..STEPS {
        if mcpwatch_payload_step() == 0 {
            return;
        }
    }
    // The row of buffers was longer than the loop: a hole, and a counted one.
    unreadable(probe_of(direction));
}

/// Describes the transfer in the scratch buffer; not 0 when its bytes are to be sent. A global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_payload_begin(form: u64, direction: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    u64::from(begin(&draft, form, direction as u32))
}

#[inline(always)]
fn begin(draft: &Draft, form: u64, direction: u32) -> bool {
    let (task, result) = (draft.task(), draft.result());
    let (fd, place, number) = (draft.argument(0), draft.argument(1), draft.argument(2));
    let narrow = draft.is_narrow();
    let (address, len, row, row_len) = match form {
        // With `MSG_TRUNC` the result may say more than the buffer holds.
        BUFFER => (place, if (result as u64) < number { result as u64 } else { number }, 0, 0),
        ROW => (0, 0, place, number),
        // `struct compat_msghdr`: the row and its length stand at bytes 8 and 12.
        _ if narrow => {
            let [row, row_len] = read_user::<[u32; 2]>(place + 8).unwrap_or([0, 0]);
            (0, 0, u64::from(row), u64::from(row_len))
        }
        _ => {
            // `struct user_msghdr`: the row and its length stand at bytes 16 and 24.
            let [row, row_len] = read_user::<[u64; 2]>(place + 16).unwrap_or([0, 0]);
            (0, 0, row, row_len)
        }
    };
    let transfer = Transfer {
        moved: result as u64,
        done: 0,
        address,
        len,
        row,
        row_len,
        start: 0,
        direction,
        fd: fd as i32,
        narrow: u64::from(narrow),
        task,
    };
    // SAFETY: a field of the scratch buffer.
    unsafe { draft.transfer().write_volatile(transfer) };
    is_channel(&task, draft)
}

#[inline(always)]
fn probe_of(direction: u32) -> Probe {
    if direction == DIRECTION_IN { Probe::Read } else { Probe::Write }
}

/// Whether the transfer in the scratch buffer was on the instance's channel; takes its place in the stream.
#[inline(always)]
fn is_channel(task: &Task, draft: &Draft) -> bool {
    let cell = draft.transfer();
    // SAFETY: a field of the scratch buffer; volatile, so that the verifier knows nothing of the values.
    let Transfer { moved, direction, fd, .. } = unsafe { cell.read_volatile() };
    let probe = probe_of(direction);
    if (moved as i64) <= 0 {
        filtered(probe);
        return false;
    }
    let Some(instance) = watch::instance(task.instance) else {
        watch::release(task.pid);
        filtered(probe);
        return false;
    };
    // SAFETY: a map value that stays valid for the program's run; the fields are plain numbers.
    let (channel, position) = unsafe {
        if direction == DIRECTION_IN {
            ((*instance).stdin_inode, &raw mut (*instance).in_offset)
        } else {
            ((*instance).stdout_inode, &raw mut (*instance).out_offset)
        }
    };
    let used = kread::channel_inode(kread::task_file(kread::current_task(), fd));
    if used != channel || used == 0 {
        // SAFETY: as above.
        let stdin = unsafe { (*instance).stdin_inode };
        match injected(task, stdin, used, direction) {
            Some(body) => {
                draft.body(Injection { fd, ..body });
                let notice = Notice::of_call(probe, Kind::Injection, moved as i64);
                draft.send::<Injection>(task, notice, 0);
            }
            None => filtered(probe),
        }
        return false;
    }
    // Two threads that write at once may read one position; the agent takes a position behind its own
    // for that, not for a hole.
    // SAFETY: as above; aligned, since it is a field of a map value.
    unsafe {
        (&raw mut (*cell).start).write_volatile(position.read());
        bounds::atomic_add(position, moved);
    }
    true
}

/// What a transfer is on a channel that is not the task's own in this direction: something put in by one who is not at
/// its end, if it is written. `stdin` is the one of its instance.
#[inline(always)]
fn injected(task: &Task, stdin: u64, used: u64, direction: u32) -> Option<Injection> {
    if used == 0 || direction == DIRECTION_IN {
        return None;
    }
    let (victim, stdin) =
        if used == stdin { (task.instance, true) } else { watch::channel_of_other(task, used)? };
    Some(Injection { victim, direction: if stdin { DIRECTION_IN } else { DIRECTION_OUT }, fd: -1 })
}

/// The request in the scratch buffer, `(file, whether it is registered with the ring)`, was given to an `io_uring` and is
/// to move bytes. Those of the channel go by unseen.
#[inline(always)]
pub fn on_submitted(direction: u32) {
    mcpwatch_payload_submitted(u64::from(direction));
}

/// [`on_submitted`], as a global BPF function.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_payload_submitted(direction: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let (task, direction) = (draft.task(), direction as u32);
    let probe = probe_of(direction);
    let (file, is_fixed) = (draft.argument(0), draft.argument(1) != 0);
    let Some(instance) = watch::instance(task.instance) else {
        watch::release(task.pid);
        filtered(probe);
        return 0;
    };
    if file == 0 && !is_fixed {
        // The kernel looks for it when the request is done: another one may open it until then.
        unreadable(probe);
        return 0;
    }
    let used = kread::channel_inode(file);
    // SAFETY: as in `is_channel`.
    let (stdin, stdout) = unsafe { ((*instance).stdin_inode, (*instance).stdout_inode) };
    let channel = if direction == DIRECTION_IN { stdin } else { stdout };
    if used != 0 && used == channel {
        unreadable(probe);
    } else if let Some(body) = injected(&task, stdin, used, direction) {
        draft.body(body);
        let notice = Notice { flags: FLAG_SUBMITTED, ..Notice::of_call(probe, Kind::Injection, 0) };
        draft.send::<Injection>(&task, notice, 0);
    } else {
        filtered(probe);
    }
    0
}

/// Deals with one chunk, one skipped part or one entry of the row of the transfer in the scratch buffer; 0
/// when nothing is left.
///
/// A global BPF function without pointers: the verifier proves it once, apart from the loop around it.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_payload_step() -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    u64::from(step(&draft))
}

/// Address and length of a buffer in a row of `struct iovec`, or of `struct compat_iovec`.
#[inline(always)]
fn entry(at: u64, narrow: bool) -> Option<[u64; 2]> {
    if narrow { read_user::<[u32; 2]>(at).map(|it| it.map(u64::from)) } else { read_user(at) }
}

#[inline(always)]
fn step(draft: &Draft) -> bool {
    let cell = draft.transfer();
    // SAFETY: as in `is_channel`.
    let mut transfer = unsafe { cell.read_volatile() };
    let Transfer { moved, done, direction, .. } = transfer;
    let probe = probe_of(direction);
    if done >= moved {
        return false;
    }
    if transfer.len == 0 {
        if transfer.row_len == 0 {
            return false;
        }
        let Some([address, len]) = entry(transfer.row, transfer.narrow != 0) else {
            unreadable(probe);
            return false;
        };
        transfer.address = address;
        transfer.len = len;
        transfer.row += if transfer.narrow != 0 { 8 } else { 16 };
        transfer.row_len -= 1;
        // SAFETY: as in `is_channel`.
        unsafe { cell.write_volatile(transfer) };
        return true;
    }

    // Of a transfer above the limit the beginning and the end are taken: the JSON-RPC id stands in one
    // or the other. The least limit leaves no room for both but when they share it.
    let limit = u64::from(setting!(payload_limit));
    let half = limit / 2;
    let tail = if half < PAYLOAD_TAIL as u64 { half } else { PAYLOAD_TAIL as u64 };
    let cut = moved > limit;
    let head_end = if cut { limit - tail } else { moved };
    let tail_start = if cut { moved - tail } else { moved };
    let skipping = done >= head_end && done < tail_start;
    let stop = if done < head_end {
        head_end
    } else if skipping {
        tail_start
    } else {
        moved
    };
    let left = stop - done;
    let mut len = if transfer.len < left { transfer.len } else { left };
    if !skipping {
        let chunk =
            bounds::opaque(if len < PAYLOAD_CHUNK as u64 { len as usize } else { PAYLOAD_CHUNK });
        if chunk > PAYLOAD_CHUNK {
            return false;
        }
        len = chunk as u64;
        // SAFETY: a chunk fits into the tail (asserted in `mcpwatch_common::event`).
        let failed = unsafe {
            bpf_probe_read_user(
                draft.tail::<Payload>().cast(),
                chunk as u32,
                kread::untagged(transfer.address) as *const _,
            )
        };
        if failed == 0 {
            draft.body(Payload {
                offset: transfer.start + done,
                data_len: chunk as u32,
                direction,
                last: u32::from(done + len >= moved),
                fd: transfer.fd,
            });
            let flags = FLAG_TRUNCATED * u32::from(cut);
            let notice = Notice { flags, ..Notice::of_call(probe, Kind::Payload, moved as i64) };
            draft.send::<Payload>(&transfer.task, notice, chunk);
        } else {
            unreadable(probe);
        }
    }
    transfer.address += len;
    transfer.len -= len;
    transfer.done += len;
    // SAFETY: as in `is_channel`.
    unsafe { cell.write_volatile(transfer) };
    true
}
