//! Single instructions the compiler does not offer or would not leave in place.
//!
//! Bounds the verifier can see: the compiler removes a mask or comparison it can prove needless, or
//! keeps the bounded copy in another register than the one that is used; the verifier knows only the
//! register. An instruction in assembly stays where it is.

/// `value & MASK`, always executed.
#[inline(always)]
pub fn mask<const MASK: i32>(value: usize) -> usize {
    let mut value = value;
    // SAFETY: one arithmetic instruction on one register; no memory, no stack, no flags.
    unsafe {
        core::arch::asm!("{0} &= {1}", inout(reg) value, const MASK, options(pure, nomem, nostack));
    }
    value
}

/// `value`, but the compiler knows nothing of it any more: a comparison after this is emitted.
#[inline(always)]
pub fn opaque(value: usize) -> usize {
    let mut value = value;
    // A move onto itself: an empty assembly would leave a line of debug information without an
    // instruction, which the kernel refuses ("Invalid line_info").
    // SAFETY: one move on one register.
    unsafe {
        core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack, preserves_flags));
    }
    value
}

/// `end - begin` of pointers, which the verifier takes for a number: the compiler might make it one of
/// a pointer and a number.
#[inline(always)]
pub fn difference(end: u64, begin: u64) -> u64 {
    let mut end = end;
    // SAFETY: one arithmetic instruction on two registers; no memory, no stack, no flags.
    unsafe {
        core::arch::asm!("{0} -= {1}", inout(reg) end, in(reg) begin, options(pure, nomem, nostack));
    }
    end
}

/// `*to = value` at an address of any alignment: the compiler would store byte by byte.
///
/// # Safety
/// Eight bytes from `to` on must lie in a map value.
#[inline(always)]
pub unsafe fn store(to: *mut u8, value: u64) {
    // SAFETY: one store through `to`, valid by the function's contract.
    unsafe {
        core::arch::asm!("*(u64 *)({0} + 0) = {1}", in(reg) to, in(reg) value, options(nostack));
    }
}

/// `*cell += value`, atomic and without a result: kernel 5.10 has no atomic addition that returns one,
/// and Rust's BPF target has no atomics.
///
/// # Safety
/// `cell` must be an aligned counter in a map value.
#[inline(always)]
pub unsafe fn atomic_add(cell: *mut u64, value: u64) {
    // SAFETY: one store through `cell`, valid by the function's contract.
    unsafe {
        core::arch::asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) cell, in(reg) value, options(nostack));
    }
}
