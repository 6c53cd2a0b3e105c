//! Has the kernel do things through an `io_uring`: opens a file in each of the ways it goes about that, and everything
//! else that leaves a record.

use std::ffi::CString;
use std::fs::{self, File};
use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use io_uring::{IoUring, Probe, opcode, squeue, types};

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

impl Way {
    /// The way of a name in [`WAYS`].
    pub fn named(name: &str) -> io::Result<Self> {
        let found = WAYS.iter().find(|(known, _)| *known == name);
        found.map(|(_, way)| *way).ok_or_else(|| io::Error::other("no such way"))
    }
}

/// Identifies the request among the completions.
const ASKED: u64 = 7;
const PATIENCE: Duration = Duration::from_secs(20);
/// The working directory.
const HERE: types::Fd = types::Fd(libc::AT_FDCWD);

/// A ring whose requests are done one way.
struct Ring {
    ring: IoUring,
    way: Way,
}

impl Ring {
    fn new(way: Way) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        if way == Way::ByPoller {
            builder.setup_sqpoll(1_000);
        }
        Ok(Self { ring: builder.build(4)?, way })
    }

    /// Ends with [`io::ErrorKind::Unsupported`] if this kernel lacks one of the operations.
    fn has(&self, operations: &[u8]) -> io::Result<()> {
        let mut probe = Probe::new();
        self.ring.submitter().register_probe(&mut probe)?;
        if operations.iter().all(|operation| probe.is_supported(*operation)) {
            return Ok(());
        }
        Err(io::Error::from(io::ErrorKind::Unsupported))
    }

    /// Makes a request and waits for what comes of it. What it points to has to live until then.
    fn ask(&mut self, request: squeue::Entry) -> io::Result<i32> {
        let mut request = request.user_data(ASKED);
        if self.way == Way::ByWorker {
            request = request.flags(squeue::Flags::ASYNC);
        }
        let pause = types::Timespec::new().nsec(100_000_000);
        let mut queue = self.ring.submission();
        if self.way == Way::InAnotherCall {
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
        let waited_for = usize::from(self.way != Way::InAnotherCall);
        self.ring.submit_and_wait(waited_for)?;
        loop {
            if let Some(done) = self.ring.completion().find(|done| done.user_data() == ASKED) {
                let result = done.result();
                return if result < 0 {
                    Err(io::Error::from_raw_os_error(-result))
                } else {
                    Ok(result)
                };
            }
            if Instant::now() > until {
                return Err(io::Error::from(io::ErrorKind::TimedOut));
            }
            // Such another call.
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Registers a table of one file with it, and opens a file to be kept in this place of the table.
    fn open_into(&mut self, path: &str, place: u32) -> io::Result<i32> {
        let path = CString::new(path)?;
        self.ring.submitter().register_files(&[-1])?;
        let slot = types::DestinationSlot::try_from_slot_target(place)
            .map_err(|slot| io::Error::other(format!("there is no slot {slot}")))?;
        let open =
            opcode::OpenAt::new(HERE, path.as_ptr()).flags(libc::O_RDONLY).file_index(Some(slot));
        self.ask(open.build())
    }

    /// The same as [`Self::ask`] of a request that makes a descriptor.
    fn ask_for_file(&mut self, request: squeue::Entry) -> io::Result<OwnedFd> {
        let made = self.ask(request)?;
        // SAFETY: a descriptor the kernel has just made for this request.
        Ok(unsafe { OwnedFd::from_raw_fd(made) })
    }
}

/// Opens a file to be read, or makes one, and gives the descriptor.
pub fn open(path: &str, way: Way) -> io::Result<OwnedFd> {
    let path = CString::new(path)?;
    let flags = match way {
        Way::Created => libc::O_CREAT | libc::O_EXCL | libc::O_WRONLY,
        _ => libc::O_RDONLY,
    };
    let request =
        opcode::OpenAt::new(HERE, path.as_ptr()).flags(flags | libc::O_CLOEXEC).mode(0o600).build();
    Ring::new(way)?.ask_for_file(request)
}

/// Opens a file by `openat2(2)`'s operation, below a folder.
pub fn open_below(folder: &str, name: &str) -> io::Result<OwnedFd> {
    let (folder, name) = (File::open(folder)?, CString::new(name)?);
    let flags = u64::from((libc::O_RDWR | libc::O_CLOEXEC).cast_unsigned());
    let how = types::OpenHow::new().flags(flags);
    let folder = types::Fd(folder.as_raw_fd());
    let request = opcode::OpenAt2::new(folder, name.as_ptr(), &raw const how).build();
    Ring::new(Way::AtOnce)?.ask_for_file(request)
}

/// Opens a file without a descriptor: it is kept by the ring, in a table of one. Reads its first byte there.
pub fn open_kept(path: &str) -> io::Result<()> {
    let mut ring = Ring::new(Way::AtOnce)?;
    ring.open_into(path, 0)?;
    let mut byte = [0];
    let read = opcode::Read::new(types::Fixed(0), byte.as_mut_ptr(), 1);
    if ring.ask(read.build())? == 1 { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// The same with a place that the table does not have.
pub fn open_for_no_place(path: &str) -> io::Result<()> {
    match Ring::new(Way::AtOnce)?.open_into(path, 7) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => Ok(()),
        other => Err(io::Error::other(format!("there is no such place: {other:?}"))),
    }
}

/// Opens a file, and then tries one that does not exist, while `crowd` workers wait in opens of FIFOs in a folder, which it
/// makes: so many are under way at once. They come and go one by one: on some kernels those that come at the same time
/// are passed over.
pub fn open_in_a_crowd(path: &str, folder: &str, crowd: u32) -> io::Result<()> {
    fs::create_dir(folder)?;
    let names: Vec<CString> = (0..crowd)
        .map(|number| CString::new(format!("{folder}/{number}")))
        .collect::<Result<_, _>>()?;
    let mut ring = IoUring::new(4)?;
    // Some more, for what is not in the cache.
    ring.submitter().register_iowq_max_workers(&mut [crowd + 8; 2])?;
    for name in &names {
        // SAFETY: a text that ends with a zero.
        if unsafe { libc::mkfifo(name.as_ptr(), 0o600) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let flags = libc::O_RDONLY | libc::O_CLOEXEC;
        let waiting = opcode::OpenAt::new(HERE, name.as_ptr()).flags(flags).build();
        // SAFETY: the path lives until the completion, which is waited for.
        unsafe { ring.submission().push(&waiting.flags(squeue::Flags::ASYNC)) }
            .map_err(io::Error::other)?;
        ring.submit()?;
        thread::sleep(Duration::from_millis(2));
    }
    let until = Instant::now() + PATIENCE;
    while fs::read_dir("/proc/self/task")?.count() <= names.len() {
        if Instant::now() > until {
            return Err(io::Error::from(io::ErrorKind::TimedOut));
        }
        thread::sleep(Duration::from_millis(10));
    }
    // The last has yet to come to where it waits.
    thread::sleep(Duration::from_millis(500));
    let opened = open(path, Way::AtOnce);
    let absent = open(&format!("{path}-absent"), Way::AtOnce);
    for number in 0..crowd {
        // Whoever opens a FIFO both ways waits for nobody, and nobody waits any longer.
        let _both = File::options().read(true).write(true).open(format!("{folder}/{number}"))?;
        ring.submit_and_wait(1)?;
        for done in ring.completion() {
            if done.result() < 0 {
                return Err(io::Error::from_raw_os_error(-done.result()));
            }
            // SAFETY: a descriptor the kernel has just made for this request.
            drop(unsafe { OwnedFd::from_raw_fd(done.result()) });
        }
    }
    match absent {
        Err(error) if error.kind() == io::ErrorKind::NotFound => opened.map(drop),
        other => Err(io::Error::other(format!("there is no such file: {other:?}"))),
    }
}

/// Renames and removes, by each of the operations, in a folder that does not exist yet; and tries to.
pub fn change(path: &str, way: Way) -> io::Result<()> {
    let mut ring = Ring::new(way)?;
    ring.has(&[opcode::RenameAt::CODE, opcode::UnlinkAt::CODE])?;
    fs::create_dir(path)?;
    fs::create_dir(format!("{path}/sub"))?;
    for name in ["a", "b"] {
        fs::write(format!("{path}/{name}"), "some text")?;
    }
    let folder = File::open(path)?;
    let there = types::Fd(folder.as_raw_fd());
    let text = |name: &str| CString::new(name);
    let at = |name: &str| CString::new(format!("{path}/{name}"));

    let (a, a2) = (at("a")?, text("a2")?);
    ring.ask(opcode::RenameAt::new(HERE, a.as_ptr(), there, a2.as_ptr()).build())?;
    let (b, sub) = (at("b")?, text("sub")?);
    ring.ask(opcode::UnlinkAt::new(HERE, b.as_ptr()).build())?;
    let directory = libc::AT_REMOVEDIR;
    ring.ask(opcode::UnlinkAt::new(there, sub.as_ptr()).flags(directory).build())?;
    let (absent, there2) = (text("absent/../c")?, text("c")?);
    let request = opcode::RenameAt::new(there, absent.as_ptr(), there, there2.as_ptr());
    match ring.ask(request.build()) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => Err(io::Error::other(format!("there is no folder to go through: {other:?}"))),
    }
}

/// Makes links of both kinds and a folder, in a folder that does not exist yet.
pub fn make(path: &str, way: Way) -> io::Result<()> {
    let mut ring = Ring::new(way)?;
    ring.has(&[opcode::MkDirAt::CODE, opcode::SymlinkAt::CODE, opcode::LinkAt::CODE])?;
    fs::create_dir(path)?;
    fs::write(format!("{path}/b"), "some text")?;
    let folder = File::open(path)?;
    let there = types::Fd(folder.as_raw_fd());
    let text = |name: &str| CString::new(name);

    let (b, hard) = (text("b")?, CString::new(format!("{path}/hard"))?);
    ring.ask(opcode::LinkAt::new(there, b.as_ptr(), HERE, hard.as_ptr()).build())?;
    let (meant, soft) = (text("../secret")?, text("soft")?);
    ring.ask(opcode::SymlinkAt::new(there, meant.as_ptr(), soft.as_ptr()).build())?;
    let sub = text("sub")?;
    ring.ask(opcode::MkDirAt::new(there, sub.as_ptr()).mode(0o750).build()).map(drop)
}

/// Cuts a file by its descriptor, and then as one that is registered with the ring.
pub fn truncate(path: &str) -> io::Result<()> {
    let mut ring = Ring::new(Way::AtOnce)?;
    ring.has(&[opcode::Ftruncate::CODE])?;
    let file = File::options().write(true).open(path)?;
    ring.ask(opcode::Ftruncate::new(types::Fd(file.as_raw_fd()), 5_000_000_000).build())?;
    ring.ring.submitter().register_files(&[file.as_raw_fd()])?;
    ring.ask(opcode::Ftruncate::new(types::Fixed(0), 3).build()).map(drop)
}

/// Makes a socket of a rare family, and one of a common.
pub fn sockets() -> io::Result<()> {
    let mut ring = Ring::new(Way::AtOnce)?;
    ring.has(&[opcode::Socket::CODE])?;
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC;
    let rare = opcode::Socket::new(libc::AF_NETLINK, kind, libc::NETLINK_KOBJECT_UEVENT);
    drop(ring.ask_for_file(rare.build())?);
    drop(ring.ask_for_file(opcode::Socket::new(libc::AF_INET, libc::SOCK_STREAM, 0).build())?);
    Ok(())
}

/// Connects to a unix socket that it makes at `path`, and to a port of this machine, and takes that connection.
pub fn connect(path: &str) -> io::Result<()> {
    let mut ring = Ring::new(Way::AtOnce)?;
    ring.has(&[opcode::Connect::CODE, opcode::Accept::CODE])?;
    let _listener = UnixListener::bind(path)?;
    let address = unix_address(path)?;
    let socket = socket(libc::AF_UNIX)?;
    ring.ask(opcode::Connect::new(fd(&socket), at(&address), length(&address)).build())?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = address_of(listener.local_addr()?.port());
    let socket = self::socket(libc::AF_INET)?;
    ring.ask(opcode::Connect::new(fd(&socket), at(&address), length(&address)).build())?;
    let accept = opcode::Accept::new(fd(&listener), ptr::null_mut(), ptr::null_mut());
    ring.ask_for_file(accept.build()).map(drop)
}

/// Binds a unix socket to `path`, and one to `port` of this machine, and listens on both.
pub fn listen(path: &str, port: u16) -> io::Result<()> {
    let mut ring = Ring::new(Way::AtOnce)?;
    ring.has(&[opcode::Bind::CODE, opcode::Listen::CODE])?;
    let (unix, ip) = (unix_address(path)?, address_of(port));
    let (socket, other) = (socket(libc::AF_UNIX)?, socket(libc::AF_INET)?);
    ring.ask(opcode::Bind::new(fd(&socket), at(&unix), length(&unix)).build())?;
    ring.ask(opcode::Listen::new(fd(&socket), 4).build())?;
    ring.ask(opcode::Bind::new(fd(&other), at(&ip), length(&ip)).build())?;
    ring.ask(opcode::Listen::new(fd(&other), 4).build()).map(drop)
}

/// Writes a line to each of these files of the process.
pub fn write(line: &str, files: &[i32]) -> io::Result<()> {
    let mut ring = Ring::new(Way::AtOnce)?;
    let len = u32::try_from(line.len()).map_err(io::Error::other)?;
    for file in files {
        let to = File::options().write(true).open(format!("/proc/self/fd/{file}"))?;
        let request = opcode::Write::new(fd(&to), line.as_ptr(), len).build();
        if ring.ask(request)? != i32::try_from(len).map_err(io::Error::other)? {
            return Err(io::Error::from(io::ErrorKind::WriteZero));
        }
    }
    Ok(())
}

fn fd(file: &impl AsRawFd) -> types::Fd {
    types::Fd(file.as_raw_fd())
}

fn at<T>(address: &T) -> *const libc::sockaddr {
    ptr::from_ref(address).cast()
}

fn length<T>(address: &T) -> libc::socklen_t {
    libc::socklen_t::try_from(size_of_val(address)).expect("a small number")
}

fn socket(family: i32) -> io::Result<OwnedFd> {
    // SAFETY: socket(2) takes three numbers.
    let made = unsafe { libc::socket(family, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0) };
    if made < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: a descriptor that was just made.
    Ok(unsafe { OwnedFd::from_raw_fd(made) })
}

fn unix_address(path: &str) -> io::Result<libc::sockaddr_un> {
    // SAFETY: plain numbers, all valid as zeros.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::sa_family_t::try_from(libc::AF_UNIX).map_err(io::Error::other)?;
    if path.len() >= address.sun_path.len() {
        return Err(io::Error::from(io::ErrorKind::InvalidInput));
    }
    for (to, byte) in address.sun_path.iter_mut().zip(path.bytes()) {
        *to = libc::c_char::from_ne_bytes([byte]);
    }
    Ok(address)
}

/// A port of this machine.
fn address_of(port: u16) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: u16::try_from(libc::AF_INET).expect("a small number"),
        sin_port: port.to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from(Ipv4Addr::LOCALHOST).to_be() },
        sin_zero: [0; 8],
    }
}
