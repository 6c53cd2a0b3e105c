//! Sends events and counts what became of each: `seen = sent + ring_full + too_big + filtered`.
//!
//! Events with a tail are copied from a scratch buffer at their exact size. Reserving room of a fixed size in the
//! ring instead would waste most of it; a variable reservation needs kernel 5.19 (`bpf_dynptr`). Those without a
//! tail are built in the ring: programs that may interrupt each other need no buffer then.

use aya_ebpf::{
    bindings::{BPF_NOEXIST, BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::{
        bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_boot_ns,
        bpf_ringbuf_output, bpf_ringbuf_query,
    },
};
use mcpwatch_common::{
    control::{Counters, Probe},
    event::{EVENT_BYTES, FLAG_TRUNCATED, Header, Kind, WIRE_VERSION},
};

use crate::{
    bounds,
    maps::{
        CALL_SCRATCH, COUNTERS, EVENTS, EXEC_SCRATCH, Named, Opening, Root, SLOTS, Scratch, TAKEN,
        Transfer, Walk, setting,
    },
    watch::Task,
};

/// What the length counter holds stays below this: a path and one component more.
const LENGTH: i32 = 0x1fff;

/// How the reader learns of an event.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Wake {
    /// When it looks next, which it does every few milliseconds, or at once when the ring fills up:
    /// a wake-up for each event would cost the watched process more than the event.
    Soon,
    /// At once.
    Now,
}

/// What a header says beside who did it and when; and how it is sent.
#[derive(Clone, Copy)]
pub struct Notice {
    /// Whose counters it counts in.
    pub probe: Probe,
    /// What it tells of.
    pub kind: Kind,
    /// What the system call returned; 0 for events that are none.
    pub result: i64,
    /// `event::FLAG_*`.
    pub flags: u32,
    /// How the reader learns of it.
    pub wake: Wake,
}

impl Notice {
    /// Of a system call that returned `result`; nothing was cut.
    #[inline(always)]
    pub const fn of_call(probe: Probe, kind: Kind, result: i64) -> Self {
        Self { probe, kind, result, flags: 0, wake: Wake::Soon }
    }
}

/// Which scratch buffer an event with a tail is built in: one for each kind of program that may interrupt another.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Room {
    /// Programs on system calls, between [`acquire`] and [`release`].
    Call,
    /// The program on exec. The kernel never runs it twice at a time on one processor.
    Exec,
}

impl Room {
    /// The room of a number, as it comes through a BPF function call.
    #[inline(always)]
    pub fn from_number(number: u64) -> Self {
        if number == Self::Call as u64 { Self::Call } else { Self::Exec }
    }
}

/// Which of [`crate::maps::Call::args`] is no argument, but says whether the call is a 32-bit one.
const NARROW: usize = 15;

/// An event under construction: header, body and tail in one scratch buffer.
#[derive(Clone, Copy)]
pub struct Draft {
    scratch: *mut Scratch,
}

/// Counts one event of a probe, and what became of it. Atomic, although each processor has counters of its own:
/// a preemptible kernel may run another program in the middle of an addition.
#[inline(always)]
fn count<const FIELDS: usize>(
    probe: Probe,
    became: impl FnOnce(*mut Counters) -> [(*mut u64, u64); FIELDS],
) {
    let Some(counters) = COUNTERS.get_ptr_mut(probe as u32) else { return };
    // SAFETY: aligned fields of a map value.
    unsafe {
        bounds::atomic_add(&raw mut (*counters).seen, 1);
        for (field, value) in became(counters) {
            bounds::atomic_add(field, value);
        }
    }
}

/// Counts an event that was looked at and is not wanted.
#[inline(always)]
pub fn filtered(probe: Probe) {
    // SAFETY: a field of a map value.
    count(probe, |counters| unsafe { [(&raw mut (*counters).filtered, 1)] });
}

/// Counts an event that cannot be sent for its size, or because its parts cannot be read.
#[inline(always)]
pub fn unreadable(probe: Probe) {
    // SAFETY: as above.
    count(probe, |counters| unsafe { [(&raw mut (*counters).too_big, 1)] });
}

/// The running thread, as the owner of a slot.
#[inline(always)]
fn owner() -> u64 {
    // SAFETY: takes nothing and returns a number.
    unsafe { bpf_get_current_pid_tgid() }
}

/// The slots of this processor in `CALL_SCRATCH`, on a preemptible kernel. Counted from zero: a loop between two
/// numbers the verifier does not know is endless to it before 6.4.
#[inline(always)]
fn slots() -> impl Iterator<Item = u32> {
    // SAFETY: takes nothing and returns a number.
    let first = unsafe { bpf_get_smp_processor_id() } as u32 * SLOTS;
    (0..SLOTS).map(move |place| first + place)
}

/// Takes a slot in `CALL_SCRATCH`, for [`Room::Call`], until [`release`]; false when none is free. Which are taken
/// stands in a map, because its insertion is atomic: kernels before 5.12 refuse objects with an instruction for
/// that, even if it is never reached. `alone`: no other program on system calls can be in its middle.
#[inline(always)]
pub fn acquire(alone: bool) -> bool {
    if setting!(preemptible) == 0 {
        return true;
    }
    let owner = owner();
    for slot in slots() {
        let Some(scratch) = CALL_SCRATCH.get_ptr_mut(slot) else { return false };
        if alone || TAKEN.insert(slot, 0, u64::from(BPF_NOEXIST)).is_ok() {
            // SAFETY: a field of a map value that is this thread's from now on.
            unsafe { (&raw mut (*scratch).owner).write_volatile(owner) };
            return true;
        }
    }
    false
}

/// Gives the slot back.
#[inline(always)]
pub fn release(alone: bool) {
    if setting!(preemptible) == 0 {
        return;
    }
    let owner = owner();
    for slot in slots() {
        let Some(scratch) = CALL_SCRATCH.get_ptr_mut(slot) else { return };
        // SAFETY: a field of a map value; the other threads that write it never write this value.
        unsafe {
            let cell = &raw mut (*scratch).owner;
            if cell.read_volatile() == owner {
                cell.write_volatile(0);
                if !alone {
                    let _ = TAKEN.remove(slot);
                }
                return;
            }
        }
    }
}

/// The slot this thread has taken.
#[inline(always)]
fn owned() -> Option<*mut Scratch> {
    let owner = owner();
    for slot in slots() {
        let scratch = CALL_SCRATCH.get_ptr_mut(slot)?;
        // SAFETY: as in `release`.
        if unsafe { (&raw const (*scratch).owner).read_volatile() } == owner {
            return Some(scratch);
        }
    }
    None
}

impl Draft {
    /// The scratch buffer of this processor; `None` never happens, but the verifier cannot know.
    #[inline(always)]
    pub fn new(room: Room) -> Option<Self> {
        // SAFETY: takes nothing and returns a number.
        let cpu = unsafe { bpf_get_smp_processor_id() } as u32;
        let scratch = match room {
            Room::Call if setting!(preemptible) != 0 => owned(),
            Room::Call => CALL_SCRATCH.get_ptr_mut(cpu),
            Room::Exec => EXEC_SCRATCH.get_ptr_mut(cpu),
        }?;
        Some(Self { scratch })
    }

    /// The event's first byte; [`EVENT_BYTES`] of them follow.
    #[inline(always)]
    pub fn start(&self) -> *mut u8 {
        self.scratch.cast()
    }

    /// The same room for what is not an event: a file that is to be opened.
    #[inline(always)]
    pub fn opening(&self) -> *mut Opening {
        self.scratch.cast()
    }

    /// The transfer the event is a part of.
    #[inline(always)]
    pub fn transfer(&self) -> *mut Transfer {
        // SAFETY: a field of the scratch buffer.
        unsafe { &raw mut (*self.scratch).transfer }
    }

    /// Puts in the system call the event tells of.
    #[inline(always)]
    pub fn set_call(&self, given: &[u64; 6], returned: i64, by: &Task) {
        // SAFETY: fields of the scratch buffer. One by one and volatile: as a struct it would first be put together
        // on the stack. The arguments behind the sixth are zero from the beginning, but for the last.
        unsafe {
            let call = &raw mut (*self.scratch).call;
            let args = (&raw mut (*call).args).cast::<u64>();
            for (position, argument) in given.iter().enumerate() {
                args.add(position).write_volatile(*argument);
            }
            args.add(NARROW).write_volatile(0);
            (&raw mut (*call).result).write_volatile(returned);
            (&raw mut (*call).task.pid).write_volatile(by.pid);
            (&raw mut (*call).task.tid).write_volatile(by.tid);
            (&raw mut (*call).task.start_time).write_volatile(by.start_time);
            (&raw mut (*call).task.instance).write_volatile(by.instance);
        }
    }

    /// An argument of the system call; 0 beyond the sixth.
    #[inline(always)]
    pub fn argument(&self, position: u64) -> u64 {
        let at = bounds::mask::<0xf>(position as usize);
        // SAFETY: a masked index into a field of the scratch buffer; volatile, since the verifier knows nothing of
        // the value.
        unsafe { (&raw const (*self.scratch).call.args).cast::<u64>().add(at).read_volatile() }
    }

    /// What the call points to is laid out for 32 bits.
    #[inline(always)]
    pub fn set_narrow(&self) {
        // SAFETY: a field of the scratch buffer.
        unsafe {
            (&raw mut (*self.scratch).call.args).cast::<u64>().add(NARROW).write_volatile(1);
        }
    }

    /// See [`Self::set_narrow`].
    #[inline(always)]
    pub fn is_narrow(self) -> bool {
        self.argument(NARROW as u64) != 0
    }

    /// What the system call returned.
    #[inline(always)]
    pub fn result(&self) -> i64 {
        // SAFETY: a field of the scratch buffer.
        unsafe { (&raw const (*self.scratch).call.result).read_volatile() }
    }

    /// Who made the system call.
    #[inline(always)]
    pub fn task(&self) -> Task {
        // SAFETY: a field of the scratch buffer.
        unsafe { (&raw const (*self.scratch).call.task).read_volatile() }
    }

    /// The files the system call names.
    #[inline(always)]
    pub fn named(&self) -> *mut Named {
        // SAFETY: a field of the scratch buffer.
        unsafe { &raw mut (*self.scratch).named }
    }

    /// Writes the body behind the header.
    #[inline(always)]
    pub fn body<T>(&self, body: T) {
        // SAFETY: header and body lie within the buffer (asserted in `mcpwatch_common::event`), which
        // is aligned to 8 as both are.
        unsafe { self.start().add(size_of::<Header>()).cast::<T>().write(body) };
    }

    /// Where the tail of an event with body `T` begins.
    #[inline(always)]
    pub fn tail<T>(&self) -> *mut u8 {
        // SAFETY: within the buffer, see `body`.
        unsafe { self.start().add(size_of::<Header>() + size_of::<T>()) }
    }

    /// The same as a position in the scratch buffer.
    #[inline(always)]
    pub const fn tail_at<T>() -> usize {
        size_of::<Header>() + size_of::<T>()
    }

    /// The length counter beside the event (see [`crate::maps::Scratch`]), bounded for the verifier.
    #[inline(always)]
    pub fn len(&self) -> usize {
        // SAFETY: a field of the scratch buffer. Volatile, so that the length goes through the map and
        // not through a register.
        let len = unsafe { (&raw const (*self.scratch).len).read_volatile() };
        bounds::mask::<LENGTH>(len as usize)
    }

    /// Sets the length counter.
    #[inline(always)]
    pub fn set_len(&self, len: usize) {
        // SAFETY: as in `len`.
        unsafe { (&raw mut (*self.scratch).len).write_volatile(len as u64) };
    }

    /// The process's root directory, as a path walk meets it.
    #[inline(always)]
    pub fn root(&self) -> *mut Root {
        // SAFETY: a field of the scratch buffer.
        unsafe { &raw mut (*self.scratch).root }
    }

    /// Where a path walk is.
    #[inline(always)]
    pub fn walk(&self) -> *mut Walk {
        // SAFETY: a field of the scratch buffer.
        unsafe { &raw mut (*self.scratch).walk }
    }

    /// Completes the header and sends header, body `T` and `tail` bytes.
    #[inline(always)]
    pub fn send<T>(&self, task: &Task, notice: Notice, tail: usize) {
        let Notice { probe, flags, wake, .. } = notice;
        let size = bounds::opaque(size_of::<Header>() + size_of::<T>() + tail);
        if size > EVENT_BYTES {
            unreadable(probe);
            return;
        }
        // SAFETY: the buffer is larger than a header and aligned.
        unsafe { self.start().cast::<Header>().write(header(task, &notice, size)) };
        let sent = output(self.start(), size, wake);
        // Sums instead of branches: the verifier walks each branch of each step of a loop.
        let truncated = sent & u64::from(flags & FLAG_TRUNCATED);
        // SAFETY: as in `filtered`.
        count(probe, |counters| unsafe {
            [
                (&raw mut (*counters).sent, sent),
                (&raw mut (*counters).truncated, truncated),
                (&raw mut (*counters).ring_full, 1 - sent),
            ]
        });
    }
}

/// The header of an event of `size` bytes that happens now.
#[inline(always)]
pub fn header(task: &Task, notice: &Notice, size: usize) -> Header {
    // SAFETY: both helpers take nothing and return a number.
    let (time, cpu) = unsafe { (bpf_ktime_get_boot_ns(), bpf_get_smp_processor_id() as u32) };
    Header {
        version: WIRE_VERSION,
        kind: notice.kind as u16,
        size: size as u32,
        time,
        pid: task.pid,
        tid: task.tid,
        start_time: task.start_time,
        instance: task.instance,
        result: notice.result,
        flags: notice.flags,
        cpu,
    }
}

/// An event without a tail.
#[repr(C)]
struct Whole<T> {
    header: Header,
    body: T,
}

/// Sends an event without a tail.
#[inline(always)]
pub fn send<T: 'static>(task: &Task, notice: &Notice, body: T) {
    const { assert!(size_of::<Whole<T>>() == size_of::<Header>() + size_of::<T>()) };
    // The reader waits for what is reserved: nothing but the copy is done in between.
    let whole = Whole { header: header(task, notice, size_of::<Whole<T>>()), body };
    let wakeup = wakeup(notice.wake);
    let Some(mut entry) = EVENTS.reserve::<Whole<T>>(0) else {
        // SAFETY: as in `filtered`.
        count(notice.probe, |counters| unsafe { [(&raw mut (*counters).ring_full, 1)] });
        return;
    };
    // SAFETY: the entry is of this size, aligned, and this program's until it is submitted.
    unsafe { entry.as_mut_ptr().write(whole) };
    entry.submit(wakeup);
    // SAFETY: as above.
    count(notice.probe, |counters| unsafe { [(&raw mut (*counters).sent, 1)] });
}

/// Counts an event of a program on packets: it may interrupt another on its processor, so each addition is
/// atomic. Of `fate` one field is 1, and `truncated` beside `sent`.
#[inline(always)]
pub fn count_packet(probe: Probe, fate: Counters) {
    if let Some(counters) = COUNTERS.get_ptr_mut(probe as u32) {
        // SAFETY: fields of a map value, each aligned.
        unsafe {
            bounds::atomic_add(&raw mut (*counters).seen, 1);
            bounds::atomic_add(&raw mut (*counters).sent, fate.sent);
            bounds::atomic_add(&raw mut (*counters).ring_full, fate.ring_full);
            bounds::atomic_add(&raw mut (*counters).too_big, fate.too_big);
            bounds::atomic_add(&raw mut (*counters).truncated, fate.truncated);
            bounds::atomic_add(&raw mut (*counters).filtered, fate.filtered);
        }
    }
}

/// How a wake-up is asked for.
#[inline(always)]
pub fn wakeup(wake: Wake) -> u64 {
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: the helper takes the map and a constant.
    let waiting = unsafe { bpf_ringbuf_query(ring, u64::from(BPF_RB_AVAIL_DATA)) };
    u64::from(if wake == Wake::Now || waiting > u64::from(setting!(wake_at)) {
        BPF_RB_FORCE_WAKEUP
    } else {
        BPF_RB_NO_WAKEUP
    })
}

/// Copies bytes to the ring; 0 when it is full, else 1.
#[inline(always)]
fn output(start: *mut u8, size: usize, wake: Wake) -> u64 {
    let flags = wakeup(wake);
    let ring = (&raw const EVENTS).cast_mut().cast();
    // SAFETY: `size` is at most the length of the buffer, checked by the caller and the verifier.
    let failed = unsafe { bpf_ringbuf_output(ring, start.cast(), size as u64, flags) };
    1 - ((failed as u64) >> 63)
}
