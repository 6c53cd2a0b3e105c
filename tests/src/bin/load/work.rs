//! What the server does when it is asked: files, programs, connections and children, so many a second.

use std::ffi::CString;
use std::io::{self, ErrorKind};
use std::mem;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use mcpwatch_tests::ring::{self, Way};
use serde_json::{Value, json};

use crate::process;

/// A tool: takes the arguments of the call.
type Tool = fn(&Value) -> io::Result<Value>;

/// How long to wait for what another thread, or the kernel, is about to do.
const WAIT: Duration = Duration::from_secs(2);

/// Every tool by its name.
pub const TOOLS: &[(&str, Tool)] = &[
    ("echo", echo),
    ("open_file", open_file),
    ("open_files", open_files),
    ("run_programs", run_programs),
    ("fork_children", fork_children),
    ("spark_children", spark_children),
    ("hold_children", hold_children),
    ("connect", |call| connect(call, "127.0.0.1:0")),
    ("connect6", |call| connect(call, "[::1]:0")),
    ("send_datagrams", |call| send_datagrams(call, "127.0.0.1:0")),
    ("send_datagrams6", |call| send_datagrams(call, "[::1]:0")),
    ("open_by_ring", open_by_ring),
    ("child_opens", child_opens),
];

/// A number among the arguments; 0 when it is missing.
pub fn number(call: &Value, name: &str) -> u64 {
    call[name].as_u64().unwrap_or(0)
}

fn text<'a>(call: &'a Value, name: &str) -> &'a str {
    call[name].as_str().unwrap_or_default()
}

/// So many a second, for so many seconds.
pub struct Pace {
    rate: u64,
    time: Duration,
    begun: Instant,
}

impl Pace {
    /// Begins now; a rate of 0 is as fast as it can.
    pub fn new(rate: u64, seconds: u64) -> Self {
        Self { rate, time: Duration::from_secs(seconds), begun: Instant::now() }
    }

    /// How many are to be done now, when so many have been; waits when there is nothing to do. `None` at the end.
    ///
    /// Who is late gets the work of a twentieth of a second at a time: the end must not wait for all that is due.
    pub fn due(&mut self, done: u64) -> Option<u64> {
        loop {
            let passed = self.begun.elapsed();
            if passed >= self.time {
                return None;
            }
            let due = match self.rate {
                0 => done + 1_000,
                rate => u64::try_from(passed.as_nanos() * u128::from(rate) / 1_000_000_000)
                    .unwrap_or(u64::MAX),
            };
            if due > done {
                let most = if self.rate == 0 { u64::MAX } else { (self.rate / 20).max(1) };
                return Some((due - done).min(most));
            }
            thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Does something at the pace the call asks for, and tells how often, how long, and what it cost.
fn paced(call: &Value, mut act: impl FnMut() -> io::Result<bool>) -> io::Result<Value> {
    if let Some(processor) = call["processor"].as_u64() {
        stay_on(processor)?;
    }
    let mut pace = Pace::new(number(call, "rate"), number(call, "seconds"));
    let (begun, before) = (Instant::now(), processor_seconds());
    let (mut made, mut failed) = (0, 0);
    while let Some(due) = pace.due(made) {
        for _ in 0..due {
            failed += u64::from(!act()?);
        }
        made += due;
    }
    Ok(json!({
        "made": made,
        "failed": failed,
        "seconds": begun.elapsed().as_secs_f64(),
        "processor_seconds": processor_seconds() - before,
    }))
}

#[expect(clippy::unnecessary_wraps, reason = "one of several with the same signature")]
fn echo(call: &Value) -> io::Result<Value> {
    Ok(json!({"bytes": text(call, "text").len()}))
}

/// Opens and closes the file `path`, once.
fn open_file(call: &Value) -> io::Result<Value> {
    let path = CString::new(text(call, "path"))?;
    Ok(json!({"opened": opens(&path)}))
}

/// Opens and closes the files `{folder}/{name}{n}` with n from 0 to `files - 1`, again and again.
fn open_files(call: &Value) -> io::Result<Value> {
    let paths: Vec<CString> = (0..number(call, "files"))
        .map(|n| format!("{}/{}{n}", text(call, "folder"), text(call, "name")).into_bytes())
        .map(CString::new)
        .collect::<Result<_, _>>()?;
    if paths.is_empty() {
        // A server that has nothing to do.
        thread::sleep(Duration::from_secs(number(call, "seconds")));
    }
    let mut paths = paths.iter().cycle();
    paced(call, || Ok(paths.next().is_some_and(opens)))
}

fn opens(path: &CString) -> bool {
    // SAFETY: open(2) reads a terminated string that outlives the call, and the descriptor that close(2)
    // takes is the one just made.
    unsafe {
        let fd = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        fd >= 0 && libc::close(fd) == 0
    }
}

/// Runs the smallest program there is, which it makes in `folder`.
fn run_programs(call: &Value) -> io::Result<Value> {
    let program = PathBuf::from(text(call, "folder")).join("smallest");
    process::write_smallest_program(&program)?;
    let path = CString::new(program.as_os_str().as_bytes())?;
    let argv = [path.as_ptr().cast_mut(), std::ptr::null_mut()];
    let environment = [std::ptr::null_mut()];
    let spawn = || {
        let mut pid = 0;
        // SAFETY: the path and the two arrays are terminated and outlive the call.
        let error = unsafe {
            libc::posix_spawn(
                &raw mut pid,
                path.as_ptr(),
                std::ptr::null(),
                std::ptr::null(),
                argv.as_ptr(),
                environment.as_ptr(),
            )
        };
        (error, pid)
    };
    // A child that another thread forked while the program was being written has it open for writing until
    // the child ends. Nobody else can get it after that.
    let until = Instant::now() + WAIT;
    paced(call, || {
        loop {
            match spawn() {
                (0, pid) => return Ok(process::wait(pid)? == 0),
                (libc::ETXTBSY, _) if Instant::now() < until => thread::sleep(WAIT / 1_000),
                _ => return Ok(false),
            }
        }
    })
}

/// Forks children that end at once.
fn fork_children(call: &Value) -> io::Result<Value> {
    paced(call, || {
        let child = process::fork(|| 0)?;
        Ok(process::wait(child)? == 0)
    })
}

/// Makes `children` children that end at once, from two threads as fast as they can; tells how many it were in the
/// best second.
fn spark_children(call: &Value) -> io::Result<Value> {
    /// Parts of a second that are counted by themselves.
    const PARTS: usize = 10;
    let children = number(call, "children") / 2;
    let begun = Instant::now();
    let sparks = || -> io::Result<(u64, Vec<u64>)> {
        let (mut stack, mut failed, mut made) = (process::stack(), 0, Vec::new());
        for _ in 0..children {
            let child = process::spark(&mut stack)?;
            failed += u64::from(process::wait(child)? != 0);
            let part = begun.elapsed().as_millis() as usize * PARTS / 1_000;
            made.resize(made.len().max(part + 1), 0);
            made[part] += 1;
        }
        Ok((failed, made))
    };
    let threads = thread::scope(|scope| {
        let threads = [scope.spawn(sparks), scope.spawn(sparks)];
        threads.map(|thread| thread.join().expect("no panic"))
    });
    let seconds = begun.elapsed().as_secs_f64();
    let (mut made, mut failed) = (vec![0; PARTS], 0);
    for thread in threads {
        let (wrong, parts) = thread?;
        failed += wrong;
        made.resize(made.len().max(parts.len()), 0);
        made.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
    }
    let best = made.windows(PARTS).map(|second| second.iter().sum::<u64>()).max();
    Ok(json!({
        "made": 2 * children,
        "failed": failed,
        "seconds": seconds,
        "best_second": best,
    }))
}

/// Has `children` children at once; when all are there they stay for `seconds`, then all end.
fn hold_children(call: &Value) -> io::Result<Value> {
    let (lifeline, end) = io::pipe()?;
    let (wait_on, closed) = (lifeline.as_raw_fd(), end.as_raw_fd());
    let mut children = Vec::new();
    for _ in 0..number(call, "children") {
        children.push(process::fork(|| {
            // Ends when the parent closes its end, or is gone.
            // SAFETY: two descriptors of this process, and one byte on the stack.
            unsafe {
                let mut byte = 0_u8;
                libc::close(closed);
                libc::read(wait_on, (&raw mut byte).cast(), 1);
            }
            0
        })?);
    }
    thread::sleep(Duration::from_secs(number(call, "seconds")));
    drop(end);
    let made = children.len();
    let failed = children.into_iter().filter(|child| process::wait(*child).ok() != Some(0)).count();
    Ok(json!({"made": made, "failed": failed}))
}

/// Connects to a listener of its own on loopback; the listener's backlog takes them, nobody accepts.
fn connect(call: &Value, address: &str) -> io::Result<Value> {
    let listener = TcpListener::bind(address)?;
    let address = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    paced(call, || {
        let made = TcpStream::connect(address)?;
        // Taken off the queue, or it would be full soon. The kernel may still have the last packet of the handshake
        // before it; a reset must not overtake that, as it can on another processor: nothing would ever be queued.
        let until = Instant::now() + WAIT;
        let taken = loop {
            match listener.accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock && Instant::now() < until => {
                    thread::yield_now();
                }
                taken => break taken,
            }
        };
        // Without this each would be remembered for a minute after its end.
        let linger = libc::linger { l_onoff: 1, l_linger: 0 };
        // SAFETY: a valid struct of the size that is said, for the length of the call.
        let done = unsafe {
            libc::setsockopt(
                made.as_raw_fd(),
                libc::SOL_SOCKET,
                libc::SO_LINGER,
                (&raw const linger).cast(),
                libc::socklen_t::try_from(size_of::<libc::linger>()).unwrap_or_default(),
            )
        };
        drop(made);
        Ok(taken.is_ok() && done == 0)
    })
}

/// Sends datagrams from a socket that is not connected to itself, and takes each: there would be no room soon.
fn send_datagrams(call: &Value, address: &str) -> io::Result<Value> {
    let socket = UdpSocket::bind(address)?;
    socket.set_read_timeout(Some(WAIT))?;
    let address = socket.local_addr()?;
    paced(call, || {
        let sent = socket.send_to(b"text", address)?;
        Ok(socket.recv(&mut [0; 8])? == sent)
    })
}

/// Opens the file `{folder}/{name}0`, through an `io_uring` of its own each time.
fn open_by_ring(call: &Value) -> io::Result<Value> {
    let path = format!("{}/{}0", text(call, "folder"), text(call, "name"));
    paced(call, || ring::open(&path, Way::AtOnce).map(|_| true))
}

/// A child, with the process id `pid` when that is given, opens `path`.
fn child_opens(call: &Value) -> io::Result<Value> {
    let path = CString::new(text(call, "path"))?;
    let act = || i32::from(!opens(&path));
    let child = match call["pid"].as_i64() {
        Some(pid) => process::fork_as(libc::pid_t::try_from(pid).map_err(io::Error::other)?, act)?,
        None => process::fork(act)?,
    };
    Ok(json!({"pid": child, "failed": process::wait(child)?}))
}

/// Processor time of this process and of its children that have ended, in seconds.
fn processor_seconds() -> f64 {
    [libc::RUSAGE_SELF, libc::RUSAGE_CHILDREN]
        .map(|who| {
            // SAFETY: the struct is plain numbers, and outlives the call that fills it.
            let usage = unsafe {
                let mut usage: libc::rusage = mem::zeroed();
                libc::getrusage(who, &raw mut usage);
                usage
            };
            [usage.ru_utime, usage.ru_stime]
                .map(|time| {
                    let part = |number: i64| u64::try_from(number).unwrap_or_default();
                    Duration::from_secs(part(time.tv_sec))
                        + Duration::from_micros(part(time.tv_usec))
                })
                .iter()
                .sum::<Duration>()
        })
        .iter()
        .sum::<Duration>()
        .as_secs_f64()
}

/// Keeps this thread on one processor.
fn stay_on(processor: u64) -> io::Result<()> {
    let processor = usize::try_from(processor).map_err(io::Error::other)?;
    // SAFETY: the set is plain bits, all of which are valid as zeros; it outlives both calls.
    let done = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
