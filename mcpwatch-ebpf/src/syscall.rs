//! System calls at their exit: `(number, arguments, result)` to the handler of the number. Both tiers feed the
//! same handlers: `sys_exit`, through which all calls of the host go, and a program of its own on each call's
//! wrapper, of which the constant number leaves nothing but its own handler.
//!
//! The call itself goes to the handlers through the scratch buffer ([`crate::maps::Call`]), and they are global BPF
//! functions of numbers: the verifier proves each once, whatever led to it, and none of the 512 bytes of stack they
//! share with their callers is taken by arguments.

use aya_ebpf::{
    EbpfContext,
    macros::fexit,
    programs::{FExitContext, TracePointContext},
};
use mcpwatch_common::{
    control::Probe,
    event::{DIRECTION_IN, DIRECTION_OUT, Operation},
    syscalls::{CompatCall, Shape, arm_shared, compat_named, named},
};

use crate::{
    bounds,
    emit::{Draft, Room, acquire, filtered, release, unreadable},
    file, handover,
    kread::{Address, field, read_own, read_user},
    network, payload,
    report::{self, Form},
    watch::{self, Task},
};

/// The number of a call an architecture never had.
const NONE: u64 = u64::MAX;
/// Stands for the number of a 32-bit call that nobody watches.
const UNWATCHED: u64 = u64::MAX - 1;
/// Set in the number of the 64-bit call that a 32-bit call is like. [`NONE`] and [`UNWATCHED`] have this bit already, and
/// stay what they are.
const COMPAT: u64 = 1 << 32;
/// Stands with the number of x86-64 for the number of a call that arm64 has for 32-bit programs alone.
const FOR_COMPAT: u64 = 1 << 33;

/// No call has this number or a higher one, in the tables of 64-bit calls.
const NUMBERS: u64 = 512;

/// The number of a call on this architecture.
const fn number_of(name: &str) -> u64 {
    let call = named(name);
    match (call.x86_64, call.aarch64) {
        (_, Some(number)) if cfg!(bpf_target_arch = "aarch64") => number as u64,
        (Some(number), None) if cfg!(bpf_target_arch = "aarch64") => FOR_COMPAT | number as u64,
        (Some(number), _) => number as u64,
        (None, _) => NONE,
    }
}

/// A system call that returned.
struct Returned {
    /// Its registers, a `struct pt_regs`.
    regs: Address,
    /// What it returned.
    result: i64,
    /// It is a 32-bit one.
    is_compat: bool,
}

/// One row a system call of `mcpwatch_common::syscalls`: how it moves bytes of a channel, if it can, and what it does
/// beside: a handler in parentheses, or in brackets what it is reported as. Makes of each the constant number, the arm of the dispatch,
/// and the program for tier `fexit`.
macro_rules! system_calls {
    ($($name:ident $transfer:tt $effect:tt;)*) => {
        #[expect(non_upper_case_globals, reason = "named like the kernel's functions")]
        mod number {
            $(pub const $name: u64 = super::number_of(stringify!($name));)*
        }

        /// The number of the 64-bit call whose function a 32-bit one goes through, as many do on arm64.
        #[inline(always)]
        fn shared(number: u64) -> u64 {
            if cfg!(bpf_target_arch = "aarch64") {
                $(if let Some(of_arm) = const { arm_shared(stringify!($name)) }
                    && number == u64::from(of_arm)
                {
                    return number::$name;
                })*
            }
            UNWATCHED
        }

        /// Which numbers are those of a row, a bit for each.
        #[expect(clippy::indexing_slicing, reason = "a place beyond the end would not compile")]
        static LISTED: [u64; NUMBERS as usize / 64] = {
            let mut bits = [0; NUMBERS as usize / 64];
            $(assert!(number::$name < NUMBERS || number::$name >= FOR_COMPAT);
            if number::$name < NUMBERS {
                bits[(number::$name / 64) as usize] |= 1 << (number::$name % 64);
            })*
            bits
        };

        /// How the call moves bytes of a channel.
        #[inline(always)]
        fn transfer(number: u64) -> Option<(payload::Form, u32)> {
            $(if number::$name != NONE && number == number::$name { return form!($transfer); })*
            None
        }

        /// What the call does beside.
        #[inline(always)]
        fn effect(number: u64) {
            $(if number::$name != NONE && number == number::$name {
                effect!($effect);
                return;
            })*
        }

        /// What the call is reported as that is told by its arguments alone.
        #[inline(always)]
        fn reported_as(number: u64) -> Form {
            $(if number::$name != NONE && number == number::$name { return report!($effect); })*
            Form::NOTHING
        }

        $(
            /// Tier `fexit`: the wrapper of this system call returns.
            #[fexit]
            fn $name(ctx: FExitContext) -> i32 {
                if watch::may_be_watched() {
                    on_return::<{ number::$name }>(ctx);
                }
                0
            }
        )*
    };
}

macro_rules! form {
    (-) => {
        None
    };
    ((in $form:ident)) => {
        Some((payload::Form::$form, DIRECTION_IN))
    };
    ((out $form:ident)) => {
        Some((payload::Form::$form, DIRECTION_OUT))
    };
}

macro_rules! report {
    ([$operation:ident $(.$place:ident($($position:literal),*))*]) => {
        const { Form::of(Operation::$operation)$(.$place($($position),*))* }
    };
    ($other:tt) => {
        Form::NOTHING
    };
}

macro_rules! effect {
    ([$($report:tt)*]) => {};
    (-) => {};
    (($handler:path $(, $form:expr)?)) => {
        $handler($($form)?)
    };
}

#[rustfmt::skip]
system_calls! {
    sys_read           (in Buffer)   -;
    sys_write          (out Buffer)  -;
    sys_open           -             (file::on_open, file::Form::Open);
    sys_readv          (in Row)      -;
    sys_writev         (out Row)     -;
    sys_connect        -             (network::on_address, network::Form::Connect);
    sys_accept         -             (network::on_accept);
    sys_sendto         (out Buffer)  (network::on_address, network::Form::Sendto);
    sys_recvfrom       (in Buffer)   -;
    sys_sendmsg        (out Message) (network::on_address, network::Form::Sendmsg);
    sys_recvmsg        (in Message)  -;
    sys_bind           -             (network::on_address, network::Form::Bind);
    sys_listen         -             (network::on_listen);
    sys_creat          -             (file::on_open, file::Form::Creat);
    sys_openat         -             (file::on_open, file::Form::Openat);
    sys_accept4        -             (network::on_accept);
    sys_sendmmsg       -             (network::on_address, network::Form::Sendmmsg);
    sys_preadv2        (in Row)      -;
    sys_pwritev2       (out Row)     -;
    sys_io_uring_enter -             (network::on_io_uring_enter);
    sys_openat2        -             (file::on_open, file::Form::Openat2);
    sys_open_by_handle_at -          (file::on_open_by_handle);
    sys_rename         -             [Rename.path(0).to_path(1)];
    sys_renameat       -             [Rename.at(0, 1).to_at(2, 3)];
    sys_renameat2      -             [Rename.at(0, 1).to_at(2, 3).values(4)];
    sys_link           -             [Link.path(0).to_path(1)];
    sys_linkat         -             [Link.at(0, 1).to_at(2, 3).values(4)];
    sys_symlink        -             [Symlink.text(0).to_path(1)];
    sys_symlinkat      -             [Symlink.text(0).to_at(1, 2)];
    sys_unlink         -             [Unlink.path(0)];
    sys_unlinkat       -             [Unlink.at(0, 1).values(2)];
    sys_rmdir          -             [RemoveDirectory.path(0)];
    sys_chmod          -             [Chmod.path(0).values(1)];
    sys_fchmod         -             [Chmod.descriptor(0).values(1)];
    sys_fchmodat       -             [Chmod.at(0, 1).values(2)];
    sys_fchmodat2      -             [Chmod.at(0, 1).values(2)];
    sys_chown          -             [Chown.path(0).values(1)];
    sys_lchown         -             [Chown.path(0).values(1)];
    sys_fchown         -             [Chown.descriptor(0).values(1)];
    sys_fchownat       -             [Chown.at(0, 1).values(2)];
    sys_truncate       -             [Truncate.path(0).values(1)];
    sys_ftruncate      -             [Truncate.descriptor(0).values(1)];
    sys_mkdir          -             [MakeDirectory.path(0).values(1)];
    sys_mkdirat        -             [MakeDirectory.at(0, 1).values(2)];
    sys_mknod          -             [MakeNode.path(0).values(1)];
    sys_mknodat        -             [MakeNode.at(0, 1).values(2)];
    sys_memfd_create   -             [MemfdCreate.text(0).values(1)];
    sys_setuid            - [Setuid.values(0)];
    sys_setgid            - [Setgid.values(0)];
    sys_setreuid          - [Setreuid.values(0)];
    sys_setregid          - [Setregid.values(0)];
    sys_setgroups         - [Setgroups.values(0)];
    sys_setresuid         - [Setresuid.values(0)];
    sys_setresgid         - [Setresgid.values(0)];
    sys_setfsuid          - [Setfsuid.values(0)];
    sys_setfsgid          - [Setfsgid.values(0)];
    sys_capset            - [Capset.user_sets(1)];
    sys_prctl             - [Prctl.values(0).if_gives_more()];
    sys_unshare           - [Unshare.values(0).if_namespaces()];
    sys_clone             - [Clone.values(0).if_namespaces()];
    sys_clone3            - [Clone.user_value(0).if_namespaces()];
    sys_setns             - [Setns.values(0)];
    sys_mount             - [Mount.text(0).to_path(1).values(3)];
    sys_umount            - [Umount.path(0).values(1)];
    sys_fsmount           - [Fsmount.values(0)];
    sys_move_mount        - [MoveMount.at(0, 1).to_at(2, 3).values(4)];
    sys_mount_setattr     - [MountSetattr.at(0, 1)];
    sys_open_tree         - [OpenTree.at(0, 1).values(2).if_copies()];
    sys_open_tree_attr    - [MountSetattr.at(0, 1).values(2)];
    sys_pivot_root        - [PivotRoot.path(0).to_path(1)];
    sys_chroot            - [Chroot.new_root(0)];
    sys_bpf               - [Bpf.values(0)];
    sys_init_module       - [InitModule.values(0)];
    sys_finit_module      - [FinitModule.descriptor(0)];
    sys_delete_module     - [DeleteModule.text(0)];
    sys_kexec_load        - [KexecLoad];
    sys_kexec_file_load   - [KexecFileLoad.descriptor(0)];
    sys_io_uring_setup    - [IoUringSetup.values(0)];
    sys_ptrace            - [Ptrace.values(0).if_takes_hold()];
    sys_process_vm_readv  - [ProcessVmReadv.values(0)];
    sys_process_vm_writev - [ProcessVmWritev.values(0)];
    sys_pidfd_getfd       - [PidfdGetfd.of_pidfd().values(0)];
    sys_socket            - [Socket.values(0).if_rare_family()];
}

/// The row of a 32-bit system call.
const fn compat(name: &str) -> CompatCall {
    compat_named(arch::COMPAT_CALLS, name)
}

/// One row a 32-bit system call of `mcpwatch_common::syscalls` that has a function of its own. Makes of each the arm that
/// finds the call it is like, and the program for tier `fexit`.
macro_rules! compat_calls {
    ($($name:ident)*) => {
        /// The number of the 64-bit call that a 32-bit one is like; [`NONE`] of socketcall(2).
        #[inline(always)]
        fn like(number: u64) -> u64 {
            $(if number == const { compat(stringify!($name)).number as u64 } {
                return const {
                    match compat(stringify!($name)).like {
                        Some(name) => number_of(name),
                        None => NONE,
                    }
                };
            })*
            shared(number)
        }

        /// The arguments of a 32-bit call as those of the call it is like.
        #[inline(always)]
        fn shaped(number: u64, args: [u64; 6]) -> [u64; 6] {
            $(if number == const { compat(stringify!($name)).number as u64 } {
                return shape(const { compat(stringify!($name)).shape }, args);
            })*
            args
        }

        $(
            /// Tier `fexit`: the wrapper of this 32-bit system call returns.
            #[fexit]
            fn $name(ctx: FExitContext) -> i32 {
                if watch::may_be_watched() {
                    on_compat_return::<{ compat(stringify!($name)).number as u64 }>(ctx);
                }
                0
            }
        )*
    };
}

#[cfg(not(bpf_target_arch = "aarch64"))]
compat_calls! {
    ia32_read ia32_write ia32_open ia32_creat ia32_link ia32_unlink ia32_mknod ia32_chmod ia32_mount ia32_ptrace
    ia32_rename ia32_mkdir ia32_rmdir ia32_umount ia32_chroot ia32_symlink ia32_truncate ia32_ftruncate ia32_fchmod
    ia32_socketcall ia32_clone ia32_init_module ia32_delete_module ia32_readv ia32_writev ia32_capset ia32_lchown
    ia32_setreuid ia32_setregid ia32_setgroups ia32_fchown ia32_setresuid ia32_setresgid ia32_chown ia32_setuid
    ia32_setgid ia32_setfsuid ia32_setfsgid ia32_pivot_root ia32_kexec_load ia32_openat ia32_mkdirat ia32_mknodat
    ia32_fchownat ia32_unlinkat ia32_renameat ia32_linkat ia32_symlinkat ia32_fchmodat ia32_unshare ia32_sendmmsg
    ia32_setns ia32_process_vm_readv ia32_process_vm_writev ia32_finit_module ia32_renameat2 ia32_memfd_create
    ia32_bpf ia32_socket ia32_bind ia32_connect ia32_listen ia32_accept4 ia32_sendto ia32_sendmsg ia32_recvfrom
    ia32_recvmsg ia32_preadv2 ia32_pwritev2 ia32_io_uring_setup ia32_io_uring_enter ia32_move_mount ia32_fsmount
    ia32_clone3 ia32_mount_setattr ia32_open_tree ia32_open_tree_attr ia32_open_by_handle_at ia32_openat2 ia32_pidfd_getfd
    ia32_fchmodat2
    ia32_lchown16 ia32_oldumount ia32_setuid16 ia32_setgid16 ia32_setreuid16 ia32_setregid16 ia32_setgroups16
    ia32_fchown16 ia32_setfsuid16 ia32_setfsgid16 ia32_setresuid16 ia32_setresgid16 ia32_prctl ia32_chown16
    ia32_truncate64 ia32_ftruncate64
}

#[cfg(bpf_target_arch = "aarch64")]
compat_calls! {
    arm_open arm_creat arm_link arm_unlink arm_mknod arm_chmod arm_ptrace arm_rename arm_mkdir arm_rmdir arm_symlink
    arm_truncate arm_ftruncate arm_lchown arm_chown arm_send arm_recv arm_recvfrom arm_sendmsg arm_recvmsg arm_openat
    arm_kexec_load arm_open_by_handle_at arm_sendmmsg arm_preadv2 arm_pwritev2
    arm_lchown16 arm_setuid16 arm_setgid16 arm_setreuid16 arm_setregid16 arm_setgroups16 arm_fchown16 arm_setfsuid16
    arm_setfsgid16 arm_setresuid16 arm_setresgid16 arm_chown16 arm_truncate64 arm_ftruncate64
}

/// What a shape does to arguments.
#[inline(always)]
fn shape(shape: Shape, [first, second, third, rest @ ..]: [u64; 6]) -> [u64; 6] {
    let [fourth, fifth, sixth] = rest;
    let id = |id: u64| if id & 0xffff == 0xffff { 0xffff_ffff } else { id & 0xffff };
    match shape {
        Shape::Same => [first, second, third, fourth, fifth, sixth],
        Shape::Ids16(0) => [id(first), id(second), id(third), fourth, fifth, sixth],
        Shape::Ids16(_) => [first, id(second), id(third), fourth, fifth, sixth],
        Shape::Signed => {
            [first, i64::from(second as i32).cast_unsigned(), third, fourth, fifth, sixth]
        }
        Shape::Halves => [first, second | third << 32, 0, fourth, fifth, sixth],
        Shape::HalvesInPair => [first, third | fourth << 32, 0, 0, fifth, sixth],
        Shape::First => [first, 0, 0, 0, 0, 0],
        Shape::FirstFour => [first, second, third, fourth, 0, 0],
    }
}

#[cfg(not(bpf_target_arch = "aarch64"))]
mod arch {
    pub use mcpwatch_common::syscalls::COMPAT_CALLS;

    use super::{compat, field, number, read_own};
    use crate::{kread::current_task, maps::offset};

    /// The number of socketcall(2).
    pub const SOCKETCALL: u64 = compat("ia32_socketcall").number as u64;
    /// `TS_COMPAT` of `arch/x86/include/asm/thread_info.h`: a 32-bit system call, until it returns.
    const COMPAT: u32 = 2;

    /// The call was a 32-bit one, with numbers of its own.
    #[inline(always)]
    pub fn is_compat(_regs: u64) -> bool {
        let status = field::<u32>(current_task(), offset!(task_thread_status));
        status & COMPAT != 0
    }

    /// The number from `struct pt_regs`.
    #[inline(always)]
    pub fn number(regs: u64) -> Option<u64> {
        // The kernel goes by the lower half alone (since 5.13), and the process may put anything into the upper one.
        read_own::<u64>(regs, 120).map(|number| i64::from(number as i32) as u64)
    }

    /// Number and arguments from `struct pt_regs` (`arch/x86/include/asm/ptrace.h`): one read of
    /// `r10 r9 r8 ax cx dx si di orig_ax`, which lie side by side.
    #[inline(always)]
    pub fn registers(regs: u64) -> Option<(u64, [u64; 6])> {
        let [r10, r9, r8, _ax, _cx, dx, si, di, number] = read_own::<[u64; 9]>(regs, 56)?;
        // As in `number`.
        Some((i64::from(number as i32) as u64, [di, si, dx, r10, r8, r9]))
    }

    /// The number of a call of the x32 interface (`arch/x86/entry/syscalls/syscall_64.tbl`), as that of the ordinary
    /// call it is like: most have the same; from 512 on they have their own, because what they point to is laid out
    /// for 32 bits. `None` of every other number.
    #[inline(always)]
    pub fn x32(number: u64) -> Option<u64> {
        /// `__X32_SYSCALL_BIT`.
        const X32: u64 = 0x4000_0000;
        if number == super::NONE || number & X32 == 0 {
            return None;
        }
        Some(match number & !X32 {
            number @ 0..512 => number,
            515 => number::sys_readv,
            516 => number::sys_writev,
            517 => number::sys_recvfrom,
            518 => number::sys_sendmsg,
            519 => number::sys_recvmsg,
            521 => number::sys_ptrace,
            528 => number::sys_kexec_load,
            538 => number::sys_sendmmsg,
            539 => number::sys_process_vm_readv,
            540 => number::sys_process_vm_writev,
            546 => number::sys_preadv2,
            547 => number::sys_pwritev2,
            _ => super::UNWATCHED,
        })
    }

    /// The same of a 32-bit call: `bx cx dx si di bp`, of each the lower half.
    #[inline(always)]
    pub fn compat_registers(regs: u64) -> Option<(u64, [u64; 6])> {
        let [bp, bx] = read_own::<[u64; 2]>(regs, 32)?;
        let [cx, dx, si, di, number] = read_own::<[u64; 5]>(regs, 88)?;
        let lower = |register: u64| register & 0xffff_ffff;
        let args = [lower(bx), lower(cx), lower(dx), lower(si), lower(di), lower(bp)];
        Some((lower(number), super::shaped(lower(number), args)))
    }
}

#[cfg(bpf_target_arch = "aarch64")]
mod arch {
    pub use mcpwatch_common::syscalls::ARM_CALLS as COMPAT_CALLS;

    use super::{field, read_own};

    /// There is none.
    pub const SOCKETCALL: u64 = super::NONE;

    /// The number of execveat(2), as which 32-bit programs have socket(2).
    const EXECVEAT: u64 = 281;

    /// The call was a 32-bit one: `PSR_MODE32_BIT` of the saved program status. A 64-bit program that has become a 32-bit
    /// one by its call has that, too, but of all registers the number of the call alone, which 32-bit calls have in `r7`.
    #[inline(always)]
    pub fn is_compat(regs: u64) -> bool {
        field::<u64>(regs, 264) & 0x10 != 0
            && !(number(regs) == Some(EXECVEAT) && read_own::<u64>(regs, 56) == Some(0))
    }

    /// The same as [`registers`] of a 32-bit call, whose numbers are those of ARM.
    #[inline(always)]
    pub fn compat_registers(regs: u64) -> Option<(u64, [u64; 6])> {
        let (number, args) = registers(regs)?;
        Some((number, super::shaped(number, args.map(|register| register & 0xffff_ffff))))
    }

    /// There is nothing like that.
    #[inline(always)]
    pub fn x32(_number: u64) -> Option<u64> {
        None
    }

    /// The number from `struct pt_regs`.
    #[inline(always)]
    pub fn number(regs: u64) -> Option<u64> {
        read_own::<u32>(regs, 280).map(u64::from)
    }

    /// Number and arguments from `struct pt_regs` (`arch/arm64/include/asm/ptrace.h`): the result has
    /// taken the place of the first argument, which `orig_x0` keeps.
    #[inline(always)]
    pub fn registers(regs: u64) -> Option<(u64, [u64; 6])> {
        let [_result, x1, x2, x3, x4, x5] = read_own::<[u64; 6]>(regs, 0)?;
        let x0 = read_own::<u64>(regs, 272)?;
        Some((number(regs)?, [x0, x1, x2, x3, x4, x5]))
    }
}

/// `MSG_OOB`, `MSG_PEEK` and `MSG_ERRQUEUE` of recv(2): the bytes of the stream stay where they are.
const NOT_TAKEN: u64 = 0x1 | 0x2 | 0x2000;

/// What the call returned that perf tells of: behind the header of eight bytes and the number of the call
/// (`events/raw_syscalls/sys_exit/format` of tracefs).
#[inline(always)]
pub fn result_by_perf(ctx: &TracePointContext) -> i64 {
    // SAFETY: the record is longer than that; the verifier sees to it.
    unsafe { ctx.as_ptr().cast::<i64>().add(2).read() }
}

/// Tier `tracepoint`: some system call of a process returned that may be watched. Not inlined: the others should
/// not pay for the registers this one saves.
#[inline(never)]
pub fn on_exit(regs: Address, result: i64) {
    let number = mcpwatch_number(regs);
    // Most calls are done with here, unless it matters that they end.
    if number == UNWATCHED && !handover::both_attached() {
        return;
    }
    let Some(task) = &watch::looked_up() else { return };
    if handover::was_claimed(task) {
        return;
    }
    // This program is never in its middle twice on one processor: the kernel passes it over then.
    let alone = !handover::may_interrupt();
    if number != UNWATCHED {
        let call = Returned { regs, result, is_compat: number & COMPAT != 0 };
        let number = number & !COMPAT;
        handle(number, Form::from_number(mcpwatch_form(number)), task, call, alone);
    }
}

/// [`reported_as`] for any number: a global BPF function, whose caller is verified for any form and not for each.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_form(number: u64) -> u64 {
    reported_as(number).number()
}

/// Whether a call of this number stands in the table.
#[inline(always)]
fn is_listed(number: u64) -> bool {
    let place = bounds::mask::<{ NUMBERS as i32 / 64 - 1 }>((number / 64) as usize);
    // SAFETY: a masked place; volatile, so that it is looked up and not turned into comparisons.
    let bits = unsafe { (&raw const LISTED).cast::<u64>().add(place).read_volatile() };
    number < NUMBERS && bits >> (number % 64) & 1 != 0
}

/// The number of the call, of a 32-bit one that of the call it is like, with [`COMPAT`] set.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_number(regs: u64) -> u64 {
    if arch::is_compat(regs) {
        return match arch::compat_registers(regs) {
            None => unread(),
            Some((arch::SOCKETCALL, [call, ..])) => of_socketcall(call) | COMPAT,
            Some((number, _)) => like(number) | COMPAT,
        };
    }
    match arch::number(regs) {
        None => unread(),
        // Negative ones are no calls; and where a signal handler returns to, rt_sigreturn(2) leaves -1 behind.
        Some(number) if number > u64::from(u32::MAX) => UNWATCHED,
        Some(number) => {
            let number = arch::x32(number).unwrap_or(number);
            if is_listed(number) { number } else { UNWATCHED }
        }
    }
}

/// Of a call whose registers cannot be read.
#[inline(always)]
fn unread() -> u64 {
    unreadable(Probe::Busy);
    UNWATCHED
}

/// `SYS_SEND` and `SYS_RECV` of `include/uapi/linux/net.h`: without an address, unlike the calls they are like.
const SEND: u64 = 9;
const RECV: u64 = 10;

/// The number of the 64-bit call that a socketcall(2) is like, by its first argument (`include/uapi/linux/net.h`).
#[inline(always)]
fn of_socketcall(call: u64) -> u64 {
    match call {
        1 => number::sys_socket,
        2 => number::sys_bind,
        3 => number::sys_connect,
        4 => number::sys_listen,
        5 => number::sys_accept,
        SEND | 11 => number::sys_sendto,
        RECV | 12 => number::sys_recvfrom,
        16 => number::sys_sendmsg,
        17 => number::sys_recvmsg,
        18 => number::sys_accept4,
        20 => number::sys_sendmmsg,
        _ => UNWATCHED,
    }
}

/// The arguments of a socketcall(2): which call it is, and where those of that call stand.
#[inline(always)]
fn spread([call, at, ..]: [u64; 6]) -> [u64; 6] {
    let [first, second, third, fourth] = [0, 1, 2, 3].map(|place| mcpwatch_narrow(at + place * 4));
    let (mut fifth, mut sixth) = (0, 0);
    if call != SEND && call != RECV {
        fifth = mcpwatch_narrow(at + 16);
        sixth = mcpwatch_narrow(at + 20);
    }
    [first, second, third, fourth, fifth, sixth]
}

/// A number of 32 bits in user memory; 0 when it cannot be read. A global BPF function, so that the verifier does not
/// walk what follows for each outcome of each read.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_narrow(address: u64) -> u64 {
    u64::from(read_user::<u32>(address).unwrap_or(0))
}

/// The only argument of a wrapper, `struct pt_regs *`, and what it returned. Read like foreign memory: the verifier
/// refuses to load an argument whose type is declared only where the function stands (`struct pt_regs` in the
/// BTF of `net/socket.c`, on 5.10).
#[inline(always)]
fn of_wrapper(ctx: &FExitContext) -> Option<(u64, i64)> {
    let [regs, result] = read_own::<[u64; 2]>(ctx.as_ptr() as u64, 0)?;
    Some((regs, result as i64))
}

/// Tier `fexit`: the system call of this number returned, of a process that may be watched. Not inlined, as
/// [`on_exit`] is not.
#[inline(never)]
fn on_return<const NUMBER: u64>(ctx: FExitContext) {
    let Some(task) = watch::looked_up() else { return };
    let Some((regs, result)) = of_wrapper(&ctx) else { return unreadable(Probe::Busy) };
    if handover::claim(&task) {
        // On arm64, 32-bit calls go through the same wrappers.
        let is_compat = cfg!(bpf_target_arch = "aarch64") && arch::is_compat(regs);
        let call = Returned { regs, result, is_compat };
        handle(NUMBER, reported_as(NUMBER), &task, call, false);
    }
}

/// Tier `fexit`: the 32-bit system call of this number returned, of a process that may be watched.
#[inline(never)]
fn on_compat_return<const NUMBER: u64>(ctx: FExitContext) {
    let Some(task) = watch::looked_up() else { return };
    let Some((regs, result)) = of_wrapper(&ctx) else { return unreadable(Probe::Busy) };
    if !handover::claim(&task) {
        return;
    }
    let call = Returned { regs, result, is_compat: true };
    if NUMBER == arch::SOCKETCALL {
        let number = mcpwatch_number(regs);
        if number != UNWATCHED {
            let number = number & !COMPAT;
            handle(number, Form::from_number(mcpwatch_form(number)), &task, call, false);
        }
    } else {
        let number = like(NUMBER);
        handle(number, reported_as(number), &task, call, false);
    }
}

/// The one dispatch of both tiers.
#[inline(always)]
fn handle(number: u64, form: Form, task: &Task, call: Returned, alone: bool) {
    let Returned { regs, result, is_compat } = call;
    let (result, is_compat) = (result as u64, u64::from(is_compat));
    // What is only peeked at is read again later.
    let may_peek = number == number::sys_recvfrom || number == number::sys_recvmsg;
    if !acquire(alone) {
        return unreadable(Probe::Busy);
    }
    if mcpwatch_take(regs, result, task.start_time, task.instance, is_compat) != 0 {
        if may_peek && mcpwatch_peeks(number) != 0 {
            filtered(Probe::Read);
        } else {
            if let Some((form, direction)) = transfer(number) {
                payload::on_transfer(form, direction);
            }
            effect(number);
            if form != Form::NOTHING {
                report::on_call(form);
            }
        }
    }
    release(alone);
}

/// Puts the call of the running thread into the scratch buffer, between [`acquire`] and [`release`].
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_take(
    regs: Address,
    result: u64,
    start_time: u64,
    instance: u64,
    is_compat: u64,
) -> u64 {
    let is_compat = is_compat != 0;
    let registers = if is_compat { arch::compat_registers(regs) } else { arch::registers(regs) };
    let Some((number, args)) = registers else {
        unreadable(Probe::Busy);
        return 0;
    };
    let (pid, tid) = watch::ids();
    let task = Task { pid, tid, start_time, instance };
    let mut args = args;
    if is_compat && number == arch::SOCKETCALL {
        if read_user::<u32>(args[1]).is_none() {
            unreadable(Probe::Compat);
            network::flush(pid, tid);
            return 0;
        }
        args = spread(args);
    }
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    // What kernels of arm64 before 5.14 tell `sys_exit` of the result of a 32-bit call has lost its sign.
    let sign_lost = cfg!(bpf_target_arch = "aarch64") && is_compat;
    let result = if sign_lost { i64::from(result as i32) } else { result as i64 };
    draft.set_call(&args, result, &task);
    if is_compat || arch::x32(number).is_some() {
        draft.set_narrow();
    }
    1
}

/// Whether the call in the scratch buffer, recvfrom(2) or recvmsg(2), leaves in the stream what it received.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn mcpwatch_peeks(number: u64) -> u64 {
    let Some(draft) = Draft::new(Room::Call) else { return 0 };
    let flags = draft.argument(if number == number::sys_recvfrom { 3 } else { 2 });
    flags & NOT_TAKEN
}
