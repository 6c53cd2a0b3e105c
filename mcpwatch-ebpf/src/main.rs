//! The kernel programs of mcpwatch. Entry points only: each finds out whether the process is watched
//! and hands over to the room for its kind of effect. The programs capture and cheaply filter; every
//! judgement is the agent's.
//!
//! A process nobody watches leaves each program at its first map lookup.
#![no_std]
#![no_main]
#![expect(unstable_features, reason = "inline assembly for the verifier's sake, see `bounds`")]
#![feature(asm_experimental_arch)]
#![expect(
    clippy::inline_always,
    reason = "what is not inlined is verified apart, and again for each place it is called from"
)]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_possible_wrap,
    clippy::cast_sign_loss,
    reason = "system-call arguments are 64-bit registers whose meaning is narrower or signed; a checked \
              conversion is a branch the verifier walks"
)]
#![expect(clippy::needless_pass_by_value, reason = "aya's attributes pass the context so")]

mod bounds;
mod emit;
mod file;
mod handover;
mod io_uring;
mod kread;
mod maps;
mod network;
mod packet;
mod path;
mod payload;
mod process;
mod report;
mod syscall;
mod watch;

use aya_ebpf::{
    macros::{cgroup_skb, cgroup_sock_addr, fentry, fexit, raw_tracepoint, tracepoint},
    programs::{
        FEntryContext, FExitContext, RawTracePointContext, SkBuffContext, SockAddrContext,
        TracePointContext,
    },
};
use io_uring::opcode;
use mcpwatch_common::event::{DIRECTION_IN, DIRECTION_OUT, Kind};

/// New processes: membership in the watch set and in the scope is inherited here, so that there is
/// no race on descendants.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn sched_process_fork(ctx: RawTracePointContext) -> i32 {
    process::on_fork(ctx.arg(1));
    0
}

/// New programs: of all processes in scope, since this is where servers are found.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn sched_process_exec(ctx: RawTracePointContext) -> i32 {
    process::on_exec(ctx.arg(0));
    0
}

/// Ended processes.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn sched_process_exit(ctx: RawTracePointContext) -> i32 {
    process::on_exit(ctx.arg(0));
    0
}

/// Sockets that begin to listen: the other way a process can turn out to be a server.
#[raw_tracepoint(tracepoint = "inet_sock_set_state")]
fn inet_sock_set_state(ctx: RawTracePointContext) -> i32 {
    network::on_socket_state(ctx.arg(0), ctx.arg(2));
    0
}

/// Tier `tracepoint`: the exit of every system call of the host, attached only while there is
/// something to watch. The programs of tier `fexit` stand in `syscall`, one a row of its table.
#[raw_tracepoint(tracepoint = "sys_exit")]
fn sys_exit(ctx: RawTracePointContext) -> i32 {
    if watch::may_be_watched() {
        syscall::on_exit(ctx.arg(0), ctx.arg(1));
    }
    0
}

/// The same by way of perf, which leaves the processor to the program until it is done: where programs on this raw tracepoint
/// may have to give way in their middle, and hide the calls of others until they go on.
#[tracepoint]
fn sys_exit_perf(ctx: TracePointContext) -> u32 {
    if watch::may_be_watched() {
        syscall::on_exit(kread::current_registers(), syscall::result_by_perf(&ctx));
    }
    // With 0, no user of perf would see the call.
    1
}

/// What is given to an `io_uring`, when the kernel takes it: its operations make no system calls.
#[raw_tracepoint]
fn io_uring_submit(ctx: RawTracePointContext) -> i32 {
    if watch::may_be_watched() {
        io_uring::on_submit(ctx);
    }
    0
}

/// Files opened through `io_uring`, by each of its operations for that.
#[fentry]
fn io_openat_begins(ctx: FEntryContext) -> i32 {
    io_uring::on_open_begins(ctx, opcode::OPENAT);
    0
}

/// The same, by the other operation.
#[fentry]
fn io_openat2_begins(ctx: FEntryContext) -> i32 {
    io_uring::on_open_begins(ctx, opcode::OPENAT2);
    0
}

/// Files that stay with an `io_uring` instead of being given a descriptor.
#[fentry]
fn io_file_kept(ctx: FEntryContext) -> i32 {
    io_uring::on_kept(ctx);
    0
}

/// The end of `io_openat_begins`.
#[fexit]
fn io_openat_ends(ctx: FExitContext) -> i32 {
    io_uring::on_open_ends(ctx, opcode::OPENAT);
    0
}

/// The end of `io_openat2_begins`.
#[fexit]
fn io_openat2_ends(ctx: FExitContext) -> i32 {
    io_uring::on_open_ends(ctx, opcode::OPENAT2);
    0
}

/// Where the programs above do not work: files opened by path, by whatever way; of them those of `io_uring`, which no
/// system call shows. Until one is asked to open something, this ends before it looks who opens.
#[fexit]
fn io_uring_open(ctx: FExitContext) -> i32 {
    if handover::opens_are_asked_for() {
        io_uring::on_open(ctx);
    }
    0
}

/// Destinations of IPv4 connections, also of those that no system call shows (`io_uring`).
#[cgroup_sock_addr(connect4)]
fn connect4(ctx: SockAddrContext) -> i32 {
    if watch::may_be_watched() {
        network::on_egress4::<{ Kind::Connect as u32 }>(ctx);
    }
    network::ALLOW
}

/// Destinations of IPv6 connections.
#[cgroup_sock_addr(connect6)]
fn connect6(ctx: SockAddrContext) -> i32 {
    if watch::may_be_watched() {
        network::on_egress6::<{ Kind::Connect as u32 }>(ctx);
    }
    network::ALLOW
}

/// Destinations of IPv4 datagrams that carry their own address.
#[cgroup_sock_addr(sendmsg4)]
fn sendmsg4(ctx: SockAddrContext) -> i32 {
    if watch::may_be_watched() {
        network::on_egress4::<{ Kind::Send as u32 }>(ctx);
    }
    network::ALLOW
}

/// Destinations of IPv6 datagrams that carry their own address.
#[cgroup_sock_addr(sendmsg6)]
fn sendmsg6(ctx: SockAddrContext) -> i32 {
    if watch::may_be_watched() {
        network::on_egress6::<{ Kind::Send as u32 }>(ctx);
    }
    network::ALLOW
}

/// Packets that arrive: answers of name service to watched sockets.
#[cgroup_skb(ingress)]
fn packets_in(ctx: SkBuffContext) -> i32 {
    packet::on_packet(&ctx, DIRECTION_IN);
    network::ALLOW
}

/// Packets that leave: questions to name service, and the names TLS clients ask for.
#[cgroup_skb(egress)]
fn packets_out(ctx: SkBuffContext) -> i32 {
    packet::on_packet(&ctx, DIRECTION_OUT);
    network::ALLOW
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    // Never reached: the verifier would refuse the loop if it were.
    loop {}
}

/// The helpers that read kernel memory are for GPL-compatible programs.
#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
