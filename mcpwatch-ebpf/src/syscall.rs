//! System calls at their exit: `(number, arguments, result)` to the handler of the number. Both tiers
//! feed the same handlers; this one is fed by the `sys_exit` tracepoint, where the registers still hold
//! the arguments.

use mcpwatch_common::{
    control::Probe,
    event::{DIRECTION_IN, DIRECTION_OUT},
};

use crate::{
    emit::{Room, filtered, unreadable},
    file,
    kread::read,
    network,
    payload::{self, Form},
    watch::Task,
};

/// A system call that has returned.
#[derive(Clone, Copy)]
pub struct Call {
    /// Its arguments, as given.
    pub args: [u64; 6],
    /// What it returned.
    pub result: i64,
}

#[cfg(not(bpf_target_arch = "aarch64"))]
mod arch {
    use super::read;
    use crate::{kread::current_task, maps::offset};

    /// From `arch/x86/entry/syscalls/syscall_64.tbl`.
    pub mod number {
        pub const READ: u64 = 0;
        pub const WRITE: u64 = 1;
        pub const OPEN: u64 = 2;
        pub const READV: u64 = 19;
        pub const WRITEV: u64 = 20;
        pub const CONNECT: u64 = 42;
        pub const ACCEPT: u64 = 43;
        pub const SENDTO: u64 = 44;
        pub const RECVFROM: u64 = 45;
        pub const SENDMSG: u64 = 46;
        pub const RECVMSG: u64 = 47;
        pub const BIND: u64 = 49;
        pub const LISTEN: u64 = 50;
        pub const CREAT: u64 = 85;
        pub const OPENAT: u64 = 257;
        pub const ACCEPT4: u64 = 288;
        pub const SENDMMSG: u64 = 307;
        pub const PREADV2: u64 = 327;
        pub const PWRITEV2: u64 = 328;
        pub const IO_URING_ENTER: u64 = 426;
        pub const OPENAT2: u64 = 437;
    }

    /// `TS_COMPAT` of `arch/x86/include/asm/thread_info.h`: a 32-bit system call, until it returns.
    const COMPAT: u32 = 2;

    /// The call was a 32-bit one, with numbers of its own.
    #[inline(always)]
    pub fn is_compat(_regs: u64) -> bool {
        let status = read::<u32>(current_task(), offset!(task_thread_status)).unwrap_or(0);
        status & COMPAT != 0
    }

    /// Number and arguments from `struct pt_regs` (`arch/x86/include/asm/ptrace.h`): one read of
    /// `r10 r9 r8 ax cx dx si di orig_ax`, which lie side by side.
    #[inline(always)]
    pub fn registers(regs: u64) -> Option<(u64, [u64; 6])> {
        let [r10, r9, r8, _ax, _cx, dx, si, di, number] = read::<[u64; 9]>(regs, 56)?;
        Some((number, [di, si, dx, r10, r8, r9]))
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    use super::read;

    /// From `include/uapi/asm-generic/unistd.h`; calls this architecture never had are out of range.
    pub mod number {
        pub const READ: u64 = 63;
        pub const WRITE: u64 = 64;
        pub const OPEN: u64 = 0x1_0000;
        pub const READV: u64 = 65;
        pub const WRITEV: u64 = 66;
        pub const CONNECT: u64 = 203;
        pub const ACCEPT: u64 = 202;
        pub const SENDTO: u64 = 206;
        pub const RECVFROM: u64 = 207;
        pub const SENDMSG: u64 = 211;
        pub const RECVMSG: u64 = 212;
        pub const BIND: u64 = 200;
        pub const LISTEN: u64 = 201;
        pub const CREAT: u64 = 0x1_0001;
        pub const OPENAT: u64 = 56;
        pub const ACCEPT4: u64 = 242;
        pub const SENDMMSG: u64 = 269;
        pub const PREADV2: u64 = 286;
        pub const PWRITEV2: u64 = 287;
        pub const IO_URING_ENTER: u64 = 426;
        pub const OPENAT2: u64 = 437;
    }

    /// The call was a 32-bit one: `PSR_MODE32_BIT` of the saved program status.
    #[inline(always)]
    pub fn is_compat(regs: u64) -> bool {
        read::<u64>(regs, 264).unwrap_or(0) & 0x10 != 0
    }

    /// Number and arguments from `struct pt_regs` (`arch/arm64/include/asm/ptrace.h`): the result has
    /// taken the place of the first argument, which `orig_x0` keeps.
    #[inline(always)]
    pub fn registers(regs: u64) -> Option<(u64, [u64; 6])> {
        let [_result, x1, x2, x3, x4, x5] = read::<[u64; 6]>(regs, 0)?;
        let x0 = read::<u64>(regs, 272)?;
        let number = read::<u32>(regs, 280)?;
        Some((u64::from(number), [x0, x1, x2, x3, x4, x5]))
    }
}

use arch::number;

/// `MSG_OOB`, `MSG_PEEK` and `MSG_ERRQUEUE` of recv(2): the bytes of the stream stay where they are.
const NOT_TAKEN: u64 = 0x1 | 0x2 | 0x2000;

/// A system call of a watched process returned.
#[inline(always)]
pub fn on_exit(task: &Task, regs: u64, result: i64) {
    if arch::is_compat(regs) {
        network::flush(task, Room::Call);
        unreadable(Probe::Compat);
        return;
    }
    let Some((number, args)) = arch::registers(regs) else { return };
    let call = Call { args, result };
    let transfer = match number {
        // What is only peeked at is read again later.
        number::RECVFROM if call.args[3] & NOT_TAKEN != 0 => return filtered(Probe::Read),
        number::RECVMSG if call.args[2] & NOT_TAKEN != 0 => return filtered(Probe::Read),
        number::READ | number::RECVFROM => Some((Form::Buffer, DIRECTION_IN)),
        number::READV | number::PREADV2 => Some((Form::Row, DIRECTION_IN)),
        number::RECVMSG => Some((Form::Message, DIRECTION_IN)),
        number::WRITE | number::SENDTO => Some((Form::Buffer, DIRECTION_OUT)),
        number::WRITEV | number::PWRITEV2 => Some((Form::Row, DIRECTION_OUT)),
        number::SENDMSG => Some((Form::Message, DIRECTION_OUT)),
        _ => None,
    };
    if let Some((form, direction)) = transfer {
        payload::on_transfer(task, &call, form, direction);
    }
    match number {
        number::OPEN => file::on_open(task, &call, file::Form::Open),
        number::CREAT => file::on_open(task, &call, file::Form::Creat),
        number::OPENAT => file::on_open(task, &call, file::Form::Openat),
        number::OPENAT2 => file::on_open(task, &call, file::Form::Openat2),
        number::CONNECT => network::on_connect(task, &call),
        number::SENDTO => network::on_sendto(task, &call),
        number::SENDMSG | number::SENDMMSG => network::on_sendmsg(task, &call),
        number::BIND => network::on_bind(task, &call),
        number::LISTEN => network::on_listen(task, &call),
        number::ACCEPT | number::ACCEPT4 => network::on_accept(task, &call),
        number::IO_URING_ENTER => network::flush(task, Room::Call),
        _ => {}
    }
}
