//! While both tiers are attached, each system call is dealt with once.
//!
//! `sys_exit` is attached in a moment and sees calls that began before it; attaching the `fexit` programs takes
//! longer, and a call that was entered before its program was attached passes it by: a server that waits in
//! read(2) for its next request, above all. So `sys_exit` begins, and stays until the last call that `fexit`
//! cannot see has returned. Meanwhile `fexit`, which comes first, claims the calls it deals with.
//!
//! What else one program has to know of the others stands beside that: see `control::Handover`.

use mcpwatch_common::control::{HANDOVER_BOTH, HANDOVER_END, HANDOVER_NONE, Handover};

use crate::{
    maps::{CLAIMED, HANDOVER, IN_FLIGHT, OPENS_ASKED_FOR},
    watch::Task,
};

/// What stands at a place.
#[inline(always)]
fn said(place: Handover) -> u32 {
    // SAFETY: a value of four bytes that is written as one.
    HANDOVER.get_ptr(place as u32).map_or(HANDOVER_NONE, |value| unsafe { value.read_volatile() })
}

/// `control::HANDOVER_*`.
#[inline(always)]
fn state() -> u32 {
    said(Handover::State)
}

/// Programs of both tiers may run.
#[inline(always)]
pub fn both_attached() -> bool {
    state() != HANDOVER_NONE
}

/// The run ends: nothing is to be told any more.
#[inline(always)]
pub fn ended() -> bool {
    state() == HANDOVER_END
}

/// Another program on system calls may be in its middle on this processor: one of tier `fexit`, or one on `io_uring`,
/// which both tiers have. A sum instead of a branch: the verifier would walk all that follows for each.
#[inline(always)]
pub fn may_interrupt() -> bool {
    state() + said(Handover::IoUring) != HANDOVER_NONE
}

/// Opens through `io_uring` are told when they are done.
#[inline(always)]
pub fn opens_are_seen() -> bool {
    said(Handover::OpensSeen) != 0
}

/// A watched process may have asked an `io_uring` to open something.
#[inline(always)]
pub fn opens_are_asked_for() -> bool {
    // SAFETY: a valid static of four bytes, which are written as one.
    unsafe { (&raw const OPENS_ASKED_FOR).read_volatile() != 0 }
}

/// A watched process asks an `io_uring` to open something.
#[inline(always)]
pub fn opens_are_asked_for_now() {
    // SAFETY: as above.
    unsafe { (&raw mut OPENS_ASKED_FOR).write_volatile(1) };
}

/// Destinations in IP networks are told by the hooks on cgroups.
#[inline(always)]
pub fn destinations_are_seen() -> bool {
    said(Handover::DestinationsSeen) != 0
}

/// Where the address of a socket stands in what the kernel keeps for a request: `control::ADDRESS_*`.
#[inline(always)]
pub fn place_of_address() -> u32 {
    said(Handover::Address)
}

/// It was found there.
#[inline(always)]
pub fn address_was_found(place: u32) {
    if let Some(value) = HANDOVER.get_ptr_mut(Handover::Address as u32) {
        // SAFETY: a value of four bytes that is written as one.
        unsafe { value.write_volatile(place) };
    }
}

/// In a `fexit` program: the call is this tier's to deal with.
#[inline(always)]
pub fn claim(task: &Task) -> bool {
    match state() {
        HANDOVER_NONE => true,
        HANDOVER_BOTH => CLAIMED.insert(task.tid, 0, 0).is_ok(),
        _ => false,
    }
}

/// In `sys_exit`: the `fexit` program of this call has dealt with it.
#[inline(always)]
pub fn was_claimed(task: &Task) -> bool {
    if !both_attached() {
        return false;
    }
    let _ = IN_FLIGHT.remove(task.tid);
    CLAIMED.remove(task.tid).is_ok()
}
