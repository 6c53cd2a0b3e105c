//! System calls as an ordinary process makes them, and what one costs.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::mem;
use std::os::unix::ffi::OsStrExt;
use std::thread;

use tempfile::NamedTempFile;

use crate::Effort;
use crate::statistics::Spread;

/// How many batches of each kind are made for one figure.
const BATCHES: u32 = 31;

/// A kind of call, and how many of it take about five milliseconds.
pub struct Workload {
    /// Its name in the report.
    pub name: &'static str,
    /// What it may cost an unwatched process while something is watched, to no agent at all.
    pub watched_at_most: f64,
    batch: u32,
    run: fn(&mut Bench, u32),
}

/// Those of the budget.
pub const WORKLOADS: &[Workload] = &[
    Workload { name: "getppid", watched_at_most: 1.25, batch: 30_000, run: Bench::getppid },
    Workload {
        name: "open+close",
        watched_at_most: 1.15,
        batch: 3_000,
        run: Bench::open_and_close,
    },
    Workload {
        name: "pipe write+read",
        watched_at_most: 1.15,
        batch: 8_000,
        run: Bench::write_and_read,
    },
];

/// What the calls work on.
pub struct Bench {
    processor: usize,
    path: CString,
    _file: NamedTempFile,
    reader: io::PipeReader,
    writer: io::PipeWriter,
    buffer: [u8; 512],
}

impl Bench {
    /// Makes it.
    pub fn new() -> io::Result<Self> {
        // SAFETY: sched_getcpu(3) takes nothing.
        let processor = unsafe { libc::sched_getcpu() };
        let processor = usize::try_from(processor).map_err(io::Error::other)?;
        let file = NamedTempFile::new()?;
        let path = CString::new(file.path().as_os_str().as_bytes())?;
        let (reader, writer) = io::pipe()?;
        Ok(Self { processor, path, _file: file, reader, writer, buffer: [0; 512] })
    }

    /// What one call of each of [`WORKLOADS`] costs now, in nanoseconds of processor time. That is the
    /// time the kernel programs take, too, but not the time others take the processor away.
    pub fn costs(&mut self, effort: Effort) -> Vec<f64> {
        // A thread of its own, always on the same processor: moving costs more than what is measured,
        // and what the bench starts must be free to move.
        thread::scope(|scope| {
            let costs = scope.spawn(|| {
                stay_on(self.processor).expect("a thread may stay where it is");
                self.costs_here(effort)
            });
            costs.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    fn costs_here(&mut self, effort: Effort) -> Vec<f64> {
        let mut costs = vec![Vec::new(); WORKLOADS.len()];
        // In turn, so that a disturbance meets a few batches of each and not all of one.
        for batch in 0..=BATCHES {
            for (workload, costs) in WORKLOADS.iter().zip(&mut costs) {
                let calls = match effort {
                    Effort::Quick => workload.batch / 5,
                    Effort::Full => workload.batch,
                };
                let begin = processor_time();
                (workload.run)(self, calls);
                // The first fills caches and wakes the processor's clock.
                if batch > 0 {
                    costs.push((processor_time() - begin) / f64::from(calls));
                }
            }
        }
        // The lower quartile: disturbances only ever add, sometimes to more than half of the batches.
        costs.iter().map(|costs| Spread::of(costs).low).collect()
    }

    #[expect(clippy::unused_self, reason = "one of several with the same signature")]
    fn getppid(&mut self, times: u32) {
        for _ in 0..times {
            // SAFETY: getppid(2) takes nothing and cannot fail.
            unsafe { libc::getppid() };
        }
    }

    fn open_and_close(&mut self, times: u32) {
        for _ in 0..times {
            // SAFETY: the path is terminated and lives; the descriptor closed is the one just made.
            unsafe {
                libc::close(libc::open(self.path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC))
            };
        }
    }

    fn write_and_read(&mut self, times: u32) {
        for _ in 0..times {
            self.writer.write_all(&self.buffer).expect("a pipe takes 512 bytes");
            self.reader.read_exact(&mut self.buffer).expect("and gives them back");
        }
    }
}

/// Processor time of this thread, in nanoseconds.
fn processor_time() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid struct is passed by pointer for the length of the call; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn stay_on(processor: usize) -> io::Result<()> {
    // SAFETY: the set is plain bits, all valid as zeros, and outlives the call that reads it.
    let done = unsafe {
        let mut set: libc::cpu_set_t = mem::zeroed();
        libc::CPU_SET(processor, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &raw const set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
