//! What system calls cost a process that nobody watches, in each tier and without an agent. The emulator counts
//! instructions and lets the guest's clock go by them (`-icount`): a nanosecond here is an instruction.

use std::ffi::CString;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::process::{Command, Stdio};

use mcpwatch_tests::{EmptyProgram, KernelTypes, Scene};

use crate::play;
use crate::suite::{TIERS, Tier};

/// How often every condition has its turn.
const ROUNDS: usize = 3;
/// Batches of each kind of call. The lower quartile counts: interrupts only ever add.
const BATCHES: usize = 75;
/// Calls in a batch: of short calls less than a millisecond, so that in most batches the kernel's timer does not tick.
const CALLS: usize = 200;

/// A kind of call.
struct Workload {
    name: &'static str,
    call: fn(&mut Subject),
}

const WORKLOADS: &[Workload] = &[
    Workload { name: "getppid", call: Subject::getppid },
    Workload { name: "stat", call: Subject::stat },
    Workload { name: "open+close", call: Subject::open_and_close },
    Workload { name: "pipe-write+read", call: Subject::write_and_read },
    Workload { name: "connect", call: Subject::connect },
    Workload { name: "tcp-connection", call: Subject::connect_and_accept },
];

/// The functions of the calls that [`WORKLOADS`] make and tier `fexit` is attached to.
const FUNCTIONS: &[&str] = &["read", "write", "openat", "socket", "connect", "accept4"];

/// Costs of one condition, in the order of [`WORKLOADS`], as numbers in text.
type Costs = Vec<String>;

/// A condition by its name, and what measures it.
type Condition = (&'static str, Box<dyn Fn() -> Costs>);

/// Says on the console `cost ROUND CONDITION CALL INSTRUCTIONS` of everything; the last line is the summary that
/// `cargo xtask vm` looks for.
pub fn measure() {
    // What the firmware left on the console's first line is not to hide a figure.
    println!("\nmeasuring {} calls", WORKLOADS.len());
    // Caches of the kernel are filled once for all.
    without_agent();
    for round in 0..ROUNDS {
        let mut conditions: Vec<Condition> = vec![
            ("none", Box::new(without_agent)),
            ("empty-pair", Box::new(beside_empty_programs)),
            ("empty-fexit", Box::new(beside_empty_programs_of_calls)),
        ];
        for tier in TIERS {
            conditions.push((tier.name, Box::new(|| beside_agent(tier))));
        }
        conditions.push(("none-again", Box::new(without_agent)));
        // Back and forth, so that what drifts does not favour one of them.
        if round % 2 == 1 {
            conditions.reverse();
        }
        for (condition, costs) in conditions {
            for (workload, cost) in WORKLOADS.iter().zip(costs()) {
                println!("cost {round} {condition} {} {cost}", workload.name);
            }
        }
    }
    println!("test result: ok. {ROUNDS} passed; 0 failed");
}

/// Costs of a process of its own, which has one thread alone: others that share its descriptors make their use dearer.
fn without_agent() -> Costs {
    let mut subject = Command::new("/bin/guest");
    let output = subject.arg("--subject").stderr(Stdio::inherit()).output().expect("it can start");
    assert!(output.status.success(), "the subject failed: {}", output.status);
    String::from_utf8_lossy(&output.stdout).lines().map(Into::into).collect()
}

/// Beside what every tracer by system calls has at least: a program each on entry and exit, which do nothing.
fn beside_empty_programs() -> Costs {
    let _programs = [c"sys_enter", c"sys_exit"]
        .map(|tracepoint| EmptyProgram::attach(tracepoint).expect("an empty program attaches"));
    without_agent()
}

/// Beside an empty program at the return of each call: the least that anything in tier `fexit` costs.
fn beside_empty_programs_of_calls() -> Costs {
    let types = KernelTypes::read().expect("the kernel shows its types");
    let prefix = if cfg!(target_arch = "aarch64") { "__arm64_sys_" } else { "__x64_sys_" };
    let attach = |call| EmptyProgram::attach_to_return(&types, &format!("{prefix}{call}"));
    let _programs: Vec<EmptyProgram> = FUNCTIONS
        .iter()
        .map(|call| attach(call).unwrap_or_else(|error| panic!("an empty one on {call}: {error}")))
        .collect();
    without_agent()
}

/// Beside an agent that watches a server, which waits for requests.
fn beside_agent(tier: &Tier) -> Costs {
    let scene = Scene::new();
    let config = play::config(&scene);
    let (agent, client) = play::watch(&scene, tier, &config);
    // Not of the scene, and so nothing to the agent.
    let costs = without_agent();
    client.close(&[]);
    agent.stop();
    costs
}

/// What [`without_agent`] starts: its costs, a line each.
pub fn subject() {
    for cost in Subject::new().costs() {
        println!("{cost:.1}");
    }
}

/// What the calls are made with.
struct Subject {
    path: CString,
    reader: std::io::PipeReader,
    writer: std::io::PipeWriter,
    socket: UdpSocket,
    listener: TcpListener,
}

impl Subject {
    fn new() -> Self {
        let (reader, writer) = std::io::pipe().expect("a pipe can be made");
        let socket = UdpSocket::bind("127.0.0.1:0").expect("lo has addresses");
        let listener = TcpListener::bind("127.0.0.1:0").expect("lo has addresses");
        Self { path: CString::from(c"/expected.jsonl"), reader, writer, socket, listener }
    }

    /// Instructions of one call of each of [`WORKLOADS`].
    fn costs(&mut self) -> Vec<f64> {
        let mut costs = vec![Vec::new(); WORKLOADS.len()];
        // In turn, so that a disturbance meets a few batches of each and not all of one.
        for batch in 0..=BATCHES {
            for (workload, costs) in WORKLOADS.iter().zip(&mut costs) {
                let begin = processor_time();
                for _ in 0..CALLS {
                    (workload.call)(self);
                }
                // In the first the emulator translates what it has not met yet.
                if batch > 0 {
                    costs.push(processor_time() - begin);
                }
            }
        }
        costs
            .into_iter()
            .map(|mut costs| {
                costs.sort_unstable();
                let calls = u32::try_from(CALLS).expect("a small number");
                let total = u32::try_from(costs[costs.len() / 4]).expect("seconds, not hours");
                f64::from(total) / f64::from(calls)
            })
            .collect()
    }

    #[expect(clippy::unused_self, reason = "one of several with the same signature")]
    fn getppid(&mut self) {
        // SAFETY: getppid(2) takes nothing and cannot fail.
        unsafe { libc::getppid() };
    }

    fn stat(&mut self) {
        // SAFETY: the path is terminated; the struct is plain numbers, all valid as zeros, and outlives the call.
        unsafe {
            let mut stat: libc::stat = std::mem::zeroed();
            assert_eq!(libc::stat(self.path.as_ptr(), &raw mut stat), 0);
        }
    }

    fn open_and_close(&mut self) {
        // SAFETY: the path is terminated and lives; the descriptor closed is the one just made.
        let closed = unsafe {
            libc::close(libc::open(self.path.as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC))
        };
        assert_eq!(closed, 0);
    }

    fn write_and_read(&mut self) {
        let mut byte = [7];
        self.writer.write_all(&byte).expect("a pipe takes a byte");
        self.reader.read_exact(&mut byte).expect("and gives it back");
    }

    /// A datagram socket may be connected again and again, and nothing leaves the machine.
    fn connect(&mut self) {
        let [a, b] = 9_u16.to_be_bytes();
        let mut address = libc::sockaddr_in {
            sin_family: 0,
            sin_port: u16::from_ne_bytes([a, b]),
            sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes([127, 0, 0, 1]) },
            sin_zero: [0; 8],
        };
        address.sin_family = libc::sa_family_t::try_from(libc::AF_INET).expect("a small number");
        let len = libc::socklen_t::try_from(size_of::<libc::sockaddr_in>()).expect("16");
        // SAFETY: an address of the length that is said, which outlives the call.
        let done = unsafe {
            libc::connect(
                self.socket.as_raw_fd(),
                (&raw const address).cast::<libc::sockaddr>(),
                len,
            )
        };
        assert_eq!(done, 0);
    }

    /// A connection over loopback, both ends of it, from the sockets to their end.
    fn connect_and_accept(&mut self) {
        let address = self.listener.local_addr().expect("it is bound");
        let there = TcpStream::connect(address).expect("somebody listens");
        let here = self.listener.accept().expect("somebody connects");
        // Without this, each would wait out its time in the kernel's tables.
        close_at_once(&there);
        drop((there, here));
    }
}

/// Has the socket's end send a reset.
fn close_at_once(socket: &TcpStream) {
    let linger = libc::linger { l_onoff: 1, l_linger: 0 };
    let len = libc::socklen_t::try_from(size_of::<libc::linger>()).expect("8");
    // SAFETY: a struct of the length that is said, which outlives the call.
    let done = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            len,
        )
    };
    assert_eq!(done, 0);
}

/// Processor time of this thread, in nanoseconds.
fn processor_time() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid struct is passed by pointer for the length of the call; the clock always exists.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
