//! Opens a file through an `io_uring`, in each of the ways the kernel goes about it.

use std::ffi::CString;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, opcode, squeue, types};

/// Which thread of the kernel's opens it, and when.
pub const WAYS: &[(&str, Way)] = &[
    ("at_once", Way::AtOnce),
    ("by_worker", Way::ByWorker),
    ("by_poller", Way::ByPoller),
    ("in_another_call", Way::InAnotherCall),
    ("created", Way::Created),
];

/// See [`WAYS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// The thread that asks, within `io_uring_enter(2)`: what it asks for is in the cache.
    AtOnce,
    /// A worker, because that is asked for.
    ByWorker,
    /// A thread that polls for requests, so that none is ever submitted.
    ByPoller,
    /// The thread that asks, but on its way out of another system call: the request follows on another one, which
    /// takes its time.
    InAnotherCall,
    /// A worker, since the file is to be made.
    Created,
}

/// Identifies the request among the completions.
const OPEN: u64 = 7;
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a file to be read, or makes one, and gives the descriptor.
pub fn open(path: &str, way: Way) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    let mut builder = IoUring::builder();
    if way == Way::ByPoller {
        builder.setup_sqpoll(1_000);
    }
    let mut ring: IoUring = builder.build(4)?;
    let flags = match way {
        Way::Created => libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY,
        _ => libc::O_RDONLY,
    };
    let mut request = opcode::OpenAt::new(types::Fd(libc::AT_FDCWD), path.as_ptr())
        .flags(flags | libc::O_CLOEXEC)
        .mode(0o600)
        .build()
        .user_data(OPEN);
    if way == Way::ByWorker {
        request = request.flags(squeue::Flags::ASYNC);
    }
    let pause = types::Timespec::new().nsec(100_000_000);
    let mut queue = ring.submission();
    if way == Way::InAnotherCall {
        let timer = opcode::Timeout::new(&raw const pause).build();
        // A soft link would end with the timer's "error", which is that it ran out.
        // SAFETY: what the request points to lives until its completion, which is waited for.
        unsafe { queue.push(&timer.flags(squeue::Flags::IO_HARDLINK)) }
            .map_err(io::Error::other)?;
    }
    // SAFETY: as above.
    unsafe { queue.push(&request) }.map_err(io::Error::other)?;
    drop(queue);
    let until = Instant::now() + PATIENCE;
    let waited_for = usize::from(way != Way::InAnotherCall);
    ring.submit_and_wait(waited_for)?;
    loop {
        if let Some(done) = ring.completion().find(|done| done.user_data() == OPEN) {
            let result = done.result();
            if result < 0 {
                return Err(io::Error::from_raw_os_error(-result));
            }
            // SAFETY: a descriptor the kernel has just made for this request.
            return Ok(unsafe { OwnedFd::from_raw_fd(result) });
        }
        if Instant::now() > until {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        // Such another call.
        thread::sleep(Duration::from_millis(1));
    }
}
