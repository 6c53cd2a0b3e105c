//! A kernel that refuses what a test says, at any time: the agent's calls that load programs and attach them to tracepoints wait
//! at a seccomp filter until a thread of the test has said yes or no (`seccomp_unotify(2)`).

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

/// `BPF_PROG_LOAD` and `BPF_RAW_TRACEPOINT_OPEN` of `include/uapi/linux/bpf.h`.
const PROGRAM_LOAD: u32 = 5;
const RAW_TRACEPOINT_OPEN: u32 = 17;
/// The first bytes of a call of a function of the kernel's own: `BPF_JMP | BPF_CALL`, and `BPF_PSEUDO_KFUNC_CALL`.
const CALL_OF_KERNEL: [u8; 2] = [0x85, 2 << 4];
/// Bytes of an instruction.
const INSTRUCTION: usize = 8;
/// The kernel looks at no more of a tracepoint's name: `bpf_raw_tracepoint_open`.
const NAME: usize = 128;

/// The only tracepoint that the agent asks perf for, where it does.
const OF_PERF: &str = "sys_exit";

/// Stands for the programs that call functions of the kernel's own: one that interprets programs takes none of them.
pub const CALLS_OF_KERNEL: &str = "calls of the kernel";
/// What it says then, which is no error of programs otherwise.
const ENOTSUPP: i32 = 524;

/// The tracepoints that nothing can be attached to: an attempt gives `ENOMEM`. None at first. What is attached to a function
/// counts as one without a name. Beside them [`CALLS_OF_KERNEL`].
#[derive(Clone, Default)]
pub struct Refusals(Arc<Mutex<BTreeMap<String, Refusal>>>);

/// What is refused.
struct Refusal {
    /// How many attempts still succeed.
    more: usize,
    /// The one after them fails, and no other.
    once: bool,
    /// One has failed.
    met: bool,
}

impl Refusals {
    /// From now on nothing can be attached to this one.
    pub fn refuse(&self, tracepoint: &str) {
        self.refuse_after(tracepoint, 0);
    }

    /// So many more can be attached to this one.
    pub fn refuse_after(&self, tracepoint: &str, more: usize) {
        self.put(tracepoint, more, false);
    }

    /// So many more can be attached to this one, then one cannot.
    pub fn refuse_once_after(&self, tracepoint: &str, more: usize) {
        self.put(tracepoint, more, true);
    }

    fn put(&self, tracepoint: &str, more: usize, once: bool) {
        let refusal = Refusal { more, once, met: false };
        self.0.lock().expect("no panic under the lock").insert(tracepoint.to_owned(), refusal);
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

    /// Whether an attempt has failed since it was last said that they do.
    pub fn was_met(&self, tracepoint: &str) -> bool {
        self.0
            .lock()
            .expect("no panic under the lock")
            .get(tracepoint)
            .is_some_and(|refusal| refusal.met)
    }

    fn is_refused(&self, tracepoint: &str) -> bool {
        let mut refused = self.0.lock().expect("no panic under the lock");
        let Some(refusal) = refused.get_mut(tracepoint) else { return false };
        if refusal.met && refusal.once {
            return false;
        }
        let left = refusal.more.checked_sub(1);
        refusal.more = left.unwrap_or(0);
        refusal.met |= left.is_none();
        left.is_none()
    }

    fn answer(&self, listener: &OwnedFd) -> io::Result<()> {
        // SAFETY: plain numbers, all valid as zeros, which the kernel wants them to be.
        let mut call: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        ask(listener, libc::SECCOMP_IOCTL_NOTIF_RECV, &mut call)?;
        let is_bpf = c_long::from(call.data.nr) == libc::SYS_bpf;
        let is_load = is_bpf && call.data.args[0] & u64::from(u32::MAX) == u64::from(PROGRAM_LOAD);
        let wanted = if !is_bpf {
            Ok(Some(OF_PERF.to_owned()))
        } else if is_load {
            calls_kernel(call.pid, call.data.args[1])
                .map(|calls| calls.then(|| CALLS_OF_KERNEL.to_owned()))
        } else {
            tracepoint(call.pid, call.data.args[1]).map(Some)
        };
        // As long as the call waits, the process id was not given to another.
        ask(listener, libc::SECCOMP_IOCTL_NOTIF_ID_VALID, &mut call.id)?;
        let wanted = wanted.expect("the memory of who asks can be read");
        let (error, flags) = if wanted.is_some_and(|wanted| self.is_refused(&wanted)) {
            (if is_load { -ENOTSUPP } else { -libc::ENOMEM }, 0)
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

/// `perf_event_open(2)`, and bpf(2) with the commands [`RAW_TRACEPOINT_OPEN`] and [`PROGRAM_LOAD`], are asked about, all else goes
/// on. The command is an `int`: the lower half of its argument, which comes first, since both architectures are little-endian.
fn filter() -> [libc::sock_filter; 10] {
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
        equal(u32::try_from(libc::SYS_bpf).expect("a small number"), 5),
        load(offset_of!(libc::seccomp_data, args)),
        equal(RAW_TRACEPOINT_OPEN, 1),
        end(libc::SECCOMP_RET_USER_NOTIF),
        equal(PROGRAM_LOAD, 1),
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

/// Whether the program in the `union bpf_attr` at this address calls a function of the kernel's own. It begins with the type of
/// the program, and with how many instructions it has and where they are.
fn calls_kernel(pid: u32, attributes: u64) -> io::Result<bool> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let (mut count, mut address) = ([0; 4], [0; 8]);
    memory.read_exact_at(&mut count, attributes + 4)?;
    memory.read_exact_at(&mut address, attributes + 8)?;
    let count = usize::try_from(u32::from_ne_bytes(count)).map_err(io::Error::other)?;
    let mut instructions = vec![0; count * INSTRUCTION];
    memory.read_exact_at(&mut instructions, u64::from_ne_bytes(address))?;
    Ok(instructions.chunks(INSTRUCTION).any(|one| one.starts_with(&CALL_OF_KERNEL)))
}

fn ask<T>(listener: &OwnedFd, request: libc::c_ulong, argument: &mut T) -> io::Result<()> {
    // SAFETY: each request above comes with the struct it is for: the kernel takes it by a number that holds its size.
    let done = unsafe { libc::ioctl(listener.as_raw_fd(), request, ptr::from_mut(argument)) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
