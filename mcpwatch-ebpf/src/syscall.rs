//! System calls at their exit: `(number, arguments, result)` to the handler of the number. Both tiers
//! feed the same handlers; this one is fed by the `sys_exit` tracepoint, where the registers still hold
//! the arguments.

use mcpwatch_common::{
    control::Probe,
    event::{DIRECTION_IN, DIRECTION_OUT, Operation},
};

use crate::{
    emit::{Room, filtered, unreadable},
    file,
    kread::read,
    network, payload,
    report::{self, Form},
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
        pub const TRUNCATE: u64 = 76;
        pub const FTRUNCATE: u64 = 77;
        pub const RENAME: u64 = 82;
        pub const MKDIR: u64 = 83;
        pub const RMDIR: u64 = 84;
        pub const LINK: u64 = 86;
        pub const UNLINK: u64 = 87;
        pub const SYMLINK: u64 = 88;
        pub const CHMOD: u64 = 90;
        pub const FCHMOD: u64 = 91;
        pub const CHOWN: u64 = 92;
        pub const FCHOWN: u64 = 93;
        pub const LCHOWN: u64 = 94;
        pub const MKNOD: u64 = 133;
        pub const MKDIRAT: u64 = 258;
        pub const MKNODAT: u64 = 259;
        pub const FCHOWNAT: u64 = 260;
        pub const UNLINKAT: u64 = 263;
        pub const RENAMEAT: u64 = 264;
        pub const LINKAT: u64 = 265;
        pub const SYMLINKAT: u64 = 266;
        pub const FCHMODAT: u64 = 268;
        pub const RENAMEAT2: u64 = 316;
        pub const MEMFD_CREATE: u64 = 319;
        pub const FCHMODAT2: u64 = 452;
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
        pub const MKNODAT: u64 = 33;
        pub const MKDIRAT: u64 = 34;
        pub const UNLINKAT: u64 = 35;
        pub const SYMLINKAT: u64 = 36;
        pub const LINKAT: u64 = 37;
        pub const RENAMEAT: u64 = 38;
        pub const TRUNCATE: u64 = 45;
        pub const FTRUNCATE: u64 = 46;
        pub const FCHMOD: u64 = 52;
        pub const FCHMODAT: u64 = 53;
        pub const FCHOWNAT: u64 = 54;
        pub const FCHOWN: u64 = 55;
        pub const RENAMEAT2: u64 = 276;
        pub const MEMFD_CREATE: u64 = 279;
        pub const FCHMODAT2: u64 = 452;
        pub const RENAME: u64 = 0x1_0002;
        pub const MKDIR: u64 = 0x1_0003;
        pub const RMDIR: u64 = 0x1_0004;
        pub const LINK: u64 = 0x1_0005;
        pub const UNLINK: u64 = 0x1_0006;
        pub const SYMLINK: u64 = 0x1_0007;
        pub const CHMOD: u64 = 0x1_0008;
        pub const CHOWN: u64 = 0x1_0009;
        pub const LCHOWN: u64 = 0x1_000a;
        pub const MKNOD: u64 = 0x1_000b;
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
        number::READ | number::RECVFROM => Some((payload::Form::Buffer, DIRECTION_IN)),
        number::READV | number::PREADV2 => Some((payload::Form::Row, DIRECTION_IN)),
        number::RECVMSG => Some((payload::Form::Message, DIRECTION_IN)),
        number::WRITE | number::SENDTO => Some((payload::Form::Buffer, DIRECTION_OUT)),
        number::WRITEV | number::PWRITEV2 => Some((payload::Form::Row, DIRECTION_OUT)),
        number::SENDMSG => Some((payload::Form::Message, DIRECTION_OUT)),
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
        _ => {
            let form = reported_as(number);
            if form != Form::NOTHING {
                report::on_call(task, &call, form);
            }
        }
    }
}

/// What a system call is reported as that is told by its arguments alone.
#[inline(always)]
fn reported_as(number: u64) -> Form {
    const fn of(operation: Operation) -> Form {
        Form::of(operation)
    }
    match number {
        number::RENAME => of(Operation::Rename).path(0).to_path(1),
        number::RENAMEAT => of(Operation::Rename).at(0, 1).to_at(2, 3),
        number::RENAMEAT2 => of(Operation::Rename).at(0, 1).to_at(2, 3).values(4),
        number::LINK => of(Operation::Link).path(0).to_path(1),
        number::LINKAT => of(Operation::Link).at(0, 1).to_at(2, 3).values(4),
        number::SYMLINK => of(Operation::Symlink).text(0).to_path(1),
        number::SYMLINKAT => of(Operation::Symlink).text(0).to_at(1, 2),
        number::UNLINK => of(Operation::Unlink).path(0),
        number::UNLINKAT => of(Operation::Unlink).at(0, 1).values(2),
        number::RMDIR => of(Operation::RemoveDirectory).path(0),
        number::CHMOD => of(Operation::Chmod).path(0).values(1),
        number::FCHMOD => of(Operation::Chmod).descriptor(0).values(1),
        number::FCHMODAT | number::FCHMODAT2 => of(Operation::Chmod).at(0, 1).values(2),
        number::CHOWN | number::LCHOWN => of(Operation::Chown).path(0).values(1),
        number::FCHOWN => of(Operation::Chown).descriptor(0).values(1),
        number::FCHOWNAT => of(Operation::Chown).at(0, 1).values(2),
        number::TRUNCATE => of(Operation::Truncate).path(0).values(1),
        number::FTRUNCATE => of(Operation::Truncate).descriptor(0).values(1),
        number::MKDIR => of(Operation::MakeDirectory).path(0).values(1),
        number::MKDIRAT => of(Operation::MakeDirectory).at(0, 1).values(2),
        number::MKNOD => of(Operation::MakeNode).path(0).values(1),
        number::MKNODAT => of(Operation::MakeNode).at(0, 1).values(2),
        number::MEMFD_CREATE => of(Operation::MemfdCreate).text(0).values(1),
        _ => Form::NOTHING,
    }
}
