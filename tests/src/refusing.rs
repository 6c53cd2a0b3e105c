//! A kernel that refuses what a test says, at any time: the agent's calls that attach programs to tracepoints wait at a seccomp
//! filter until a thread of the test has said yes or no (`seccomp_unotify(2)`).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::mem::offset_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::panic::resume_unwind;
use std::process::{Child, Command};
use std::ptr;
use std::sync::{Arc, Mutex};
use std::thread;

use libc::c_long;

/// `BPF_RAW_TRACEPOINT_OPEN` of `include/uapi/linux/bpf.h`.
const RAW_TRACEPOINT_OPEN: u32 = 17;
/// The kernel looks at no more of a tracepoint's name: `bpf_raw_tracepoint_open`.
const NAME: usize = 128;

/// The only tracepoint that the agent asks perf for, where it does.
const OF_PERF: &str = "sys_exit";

/// The tracepoints that nothing can be attached to: an attempt gives `ENOMEM`. None at first. Each with how many
/// attempts still succeed. What is attached to a function counts as one without a name.
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<String, usize>>>);

impl Refusals {
    /// From now on nothing can be attached to this one.
    pub fn refuse(&self, tracepoint: &str) {
        self.refuse_after(tracepoint, 0);
    }

    /// So many more can be attached to this one.
    pub fn refuse_after(&self, tracepoint: &str, more: usize) {
        self.0.lock().expect("no panic under the lock").insert(tracepoint.to_owned(), more);
    }

    /// It can be again.
    pub fn allow(&self, tracepoint: &str) {
        self.0.lock().expect("no panic under the lock").remove(tracepoint);
    }

    /// Starts a program that meets them.
    pub(crate) fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        // A thread of its own: the filter is on the calling thread and on all that it starts, so that who answers has to
        // be started by another.
        let (child, listener) = thread::scope(|scope| {
            let started = scope.spawn(|| -> io::Result<(Child, OwnedFd)> {
                let listener = listen()?;
                Ok((command.spawn()?, listener))
            });
            started.join().unwrap_or_else(|panic| resume_unwind(panic))
        })?;
        let refusals = self.clone();
        thread::spawn(move || refusals.answer_all(&listener));
        Ok(child)
    }

    /// Answers until the program and all that it started have ended.
    fn answer_all(&self, listener: &OwnedFd) {
        loop {
            let mut poll =
                libc::pollfd { fd: listener.as_raw_fd(), events: libc::POLLIN, revents: 0 };
            // SAFETY: one valid pollfd for the length of the call.
            unsafe { libc::poll(&raw mut poll, 1, -1) };
            if poll.revents & libc::POLLHUP != 0 {
                return;
            }
            if poll.revents & libc::POLLIN != 0
                && let Err(error) = self.answer(listener)
            {
                // Whoever asked was ended meanwhile. Else it would wait for ever: with the listener, which goes with this
                // thread, all its calls fail.
                assert_eq!(error.raw_os_error(), Some(libc::ENOENT), "seccomp_unotify: {error}");
            }
        }
    }

    fn is_refused(&self, tracepoint: &str) -> bool {
        let mut refused = self.0.lock().expect("no panic under the lock");
        let Some(more) = refused.get_mut(tracepoint) else { return false };
        let left = more.checked_sub(1);
        *more = left.unwrap_or(0);
        left.is_none()
    }

    fn answer(&self, listener: &OwnedFd) -> io::Result<()> {
        // SAFETY: plain numbers, all valid as zeros, which the kernel wants them to be.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        ask(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut call)?;
        let tracepoint = if c_long::from(call.data.nr) == libc::SYS_perf_event_open {
            Ok(OF_PERF.to_owned())
        } else {
            tracepoint(call.pid, call.data.args[1])
        };
        // As long as the call waits, the process id was not given to another.
        ask(listener, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &mut call.id)?;
        let tracepoint = tracepoint.expect("the memory of who asks can be read");
        let (error, flags) = if self.is_refused(&tracepoint) {
            (-libc::ENOMEM, 0)
        } else {
            (0, libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE)
        };
        let flags = u32::try_from(flags).expect("one bit");
        let mut response = libc::seccomp_notif_resp { id: call.id, val: 0, error, flags };
        ask(listener, libc::SECCOMP_IOCTL_NOTIF_SEND, &mut response)
    }
}

/// Puts the filter on this thread; gives its listener, which no other program inherits.
fn listen() -> io::Result<OwnedFd> {
    let mut filter = filter();
    let len = filter.len().try_into().expect("a small number");
    let program = libc::sock_fprog { len, filter: filter.as_mut_ptr() };
    // SAFETY: the kernel reads as many instructions as are said, which outlive the call.
    let made = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    let made = i32::try_from(made).map_err(io::Error::other)?;
    // SAFETY: a descriptor that was just made.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

/// `perf_event_open(2)`, and bpf(2) with the command [`RAW_TRACEPOINT_OPEN`], are asked about, all else goes on. The command is
/// an `int`: the lower half of its argument, which comes first, since both architectures are little-endian.
fn filter() -> [libc::sock_filter; 8] {
    let load = |at: usize| {
        let at = u32::try_from(at).expect("a small number");
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0)
    };
    // The next one if it is equal, else over so many.
    let equal = |to, over| instruction(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, to, over);
    let end = |action| instruction(libc::BPF_RET | libc::BPF_K, action, 0);
    [
        load(offset_of!(libc::seccomp_data, nr)),
        equal(u32::try_from(libc::SYS_perf_event_open).expect("a small number"), 1),
        end(libc::SECCOMP_RET_USER_NOTIF),
        equal(u32::try_from(libc::SYS_bpf).expect("a small number"), 3),
        load(offset_of!(libc::seccomp_data, args)),
        equal(RAW_TRACEPOINT_OPEN, 1),
        end(libc::SECCOMP_RET_USER_NOTIF),
        end(libc::SECCOMP_RET_ALLOW),
    ]
}

fn instruction(code: u32, k: u32, over: u8) -> libc::sock_filter {
    libc::sock_filter { code: u16::try_from(code).expect("a small number"), jt: 0, jf: over, k }
}

/// The name in the `union bpf_attr` at this address of a process's memory. It begins with the name's address, or with 0
/// where the program itself knows what it is attached to.
fn tracepoint(pid: u32, attributes: u64) -> io::Result<String> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut address = [0; 8];
    memory.read_exact_at(&mut address, attributes)?;
    let mut name = [0; NAME];
    let read = match u64::from_ne_bytes(address) {
        0 => 0,
        // What lies behind it may not be there.
        address => memory.read_at(&mut name, address)?,
    };
    let name = name[..read].split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(name).into_owned())
}

fn ask<T>(listener: &OwnedFd, request: libc::c_ulong, argument: &mut T) -> io::Result<()> {
    // SAFETY: each request above comes with the struct it is for: the kernel takes it by a number that holds its size.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), request, ptr::from_mut(argument)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
