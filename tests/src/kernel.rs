//! The little of bpf(2) that measuring needs itself: the empty program that everything on system calls is
//! measured against, and who else is there.

use std::collections::BTreeSet;
use std::ffi::{CStr, c_long};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::ptr;
use std::time::{Duration, Instant};

use btfparse::{ErrorKind, Readable, TypeInformation};

// Commands and types of `include/uapi/linux/bpf.h`.
const PROG_LOAD: c_long = 5;
const OBJ_GET_INFO_BY_FD: c_long = 15;
const RAW_TRACEPOINT_OPEN: c_long = 17;
const LINK_GET_FD_BY_ID: c_long = 30;
const PROG_GET_NEXT_ID: c_long = 11;
const LINK_GET_NEXT_ID: c_long = 31;
const ENABLE_STATS: c_long = 32;
const PROG_TYPE_RAW_TRACEPOINT: u32 = 17;
const PROG_TYPE_TRACING: u32 = 26;
/// `BPF_TRACE_FEXIT`.
const AT_RETURN: u32 = 25;
const LINK_TYPE_RAW_TRACEPOINT: u32 = 1;
const LINK_TYPE_PERF_EVENT: u32 = 7;

/// `r0 = 0; exit`, as `struct bpf_insn`.
const EMPTY: [u64; 2] = [0xb7, 0x95];

#[repr(C)]
#[derive(Default)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
    prog_btf_fd: u32,
    func_info_rec_size: u32,
    func_info: u64,
    func_info_cnt: u32,
    line_info_rec_size: u32,
    line_info: u64,
    line_info_cnt: u32,
    attach_btf_id: u32,
}

#[repr(C)]
#[derive(Default)]
struct RawTracepointOpen {
    name: u64,
    prog_fd: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetId {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct GetInfo {
    bpf_fd: u32,
    info_len: u32,
    info: u64,
}

/// The beginning of `struct bpf_link_info`. A raw tracepoint's name and its length stand first of what differs; that of one
/// by way of perf has the kind of event before it.
#[repr(C)]
#[derive(Default)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    rest: [u64; 3],
}

fn bpf<T>(command: c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the kernel reads and writes within the struct's size; what its pointers point to is given
    // by the callers below and outlives the call.
    let done =
        unsafe { libc::syscall(libc::SYS_bpf, command, ptr::from_mut(attributes), size_of::<T>()) };
    if done < 0 {
        Err(io::Error::last_os_error())
    } else {
        i32::try_from(done).map_err(io::Error::other)
    }
}

fn open<T>(command: c_long, attributes: &mut T) -> io::Result<OwnedFd> {
    let fd = bpf(command, attributes)?;
    // SAFETY: the command gave a new descriptor, which nobody else has.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn address<T: ?Sized>(value: &T) -> u64 {
    ptr::from_ref(value).addr() as u64
}

/// Lengths of small things.
fn length(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// An empty program, attached for as long as this lives.
pub struct EmptyProgram {
    _link: OwnedFd,
    _program: OwnedFd,
}

impl EmptyProgram {
    /// Loads one and attaches it to a raw tracepoint: to `sys_exit`, say, which every system call of the host comes by.
    pub fn attach(tracepoint: &CStr) -> io::Result<Self> {
        let load = ProgLoad { prog_type: PROG_TYPE_RAW_TRACEPOINT, ..ProgLoad::default() };
        Self::load(load, tracepoint.as_ptr().addr() as u64)
    }

    /// The same, to the return of a function of the kernel's.
    pub fn attach_to_return(types: &KernelTypes, function: &str) -> io::Result<Self> {
        let absent = || io::Error::new(io::ErrorKind::NotFound, function);
        let load = ProgLoad {
            prog_type: PROG_TYPE_TRACING,
            expected_attach_type: AT_RETURN,
            attach_btf_id: types.0.id_of(function).ok_or_else(absent)?,
            ..ProgLoad::default()
        };
        Self::load(load, 0)
    }

    fn load(how: ProgLoad, tracepoint: u64) -> io::Result<Self> {
        let program = open(
            PROG_LOAD,
            &mut ProgLoad {
                insn_cnt: length(EMPTY.len()),
                insns: address(&EMPTY),
                license: address(c"GPL"),
                prog_name: *b"bench_empty\0\0\0\0\0",
                ..how
            },
        )?;
        let link = open(
            RAW_TRACEPOINT_OPEN,
            &mut RawTracepointOpen {
                name: tracepoint,
                prog_fd: program.as_raw_fd().cast_unsigned(),
                padding: 0,
            },
        )?;
        Ok(Self { _link: link, _program: program })
    }
}

/// The types and functions of the running kernel.
pub struct KernelTypes(TypeInformation);

impl KernelTypes {
    /// Reads them from where the kernel shows them.
    pub fn read() -> io::Result<Self> {
        let bytes = Bytes(fs::read("/sys/kernel/btf/vmlinux")?);
        let types = TypeInformation::new(&bytes);
        types.map(Self).map_err(|error| io::Error::other(format!("{error:?}")))
    }
}

struct Bytes(Vec<u8>);

impl Readable for Bytes {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> Result<(), btfparse::Error> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let found = self.0.get(start..start.saturating_add(buffer.len()));
        let end = || btfparse::Error::new(ErrorKind::EOF, "the kernel's BTF ends too early");
        buffer.copy_from_slice(found.ok_or_else(end)?);
        Ok(())
    }
}

/// The kernel counts what each program takes for as long as this lives: like
/// `kernel.bpf_stats_enabled`, but it ends with the process that asked for it.
pub struct Statistics {
    _fd: OwnedFd,
}

impl Statistics {
    /// Asks for it.
    pub fn enable() -> io::Result<Self> {
        // `BPF_STATS_RUN_TIME`, the only type there is.
        open(ENABLE_STATS, &mut 0_u32).map(|fd| Self { _fd: fd })
    }
}

/// The version of the running kernel: `(6, 12)`.
pub fn kernel_version() -> io::Result<(u32, u32)> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease")?;
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    match (numbers.next(), numbers.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(io::Error::other(format!("no version: {release}"))),
    }
}

/// Ids of the kernel programs a process holds, itself or through links.
pub fn programs_of(pid: u32) -> BTreeSet<u32> {
    let mut ids = BTreeSet::new();
    let folder = format!("/proc/{pid}/fdinfo");
    for entry in fs::read_dir(folder).expect("the agent lives").flatten() {
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        let id = info.lines().find_map(|line| line.strip_prefix("prog_id:"));
        ids.extend(id.and_then(|id| id.trim().parse::<u32>().ok()));
    }
    ids
}

/// Ids of all kernel programs there are.
fn all_programs() -> BTreeSet<u32> {
    let (mut ids, mut id) = (BTreeSet::new(), 0);
    loop {
        let mut next = GetId { id, ..GetId::default() };
        if bpf(PROG_GET_NEXT_ID, &mut next).is_err() {
            return ids;
        }
        id = next.next_id;
        ids.insert(id);
    }
}

/// Fails when programs outlive the agent by more than the kernel takes to free them.
#[track_caller]
pub fn assert_programs_gone(programs: &BTreeSet<u32>, patience: Duration) {
    let until = Instant::now() + patience;
    while all_programs().intersection(programs).next().is_some() {
        assert!(Instant::now() < until, "programs {programs:?} outlive the agent");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// How many programs are attached to the entry or exit of all system calls, whoever attached them.
pub fn system_call_programs() -> io::Result<usize> {
    let mut found = 0;
    let mut id = 0;
    loop {
        let mut next = GetId { id, ..GetId::default() };
        match bpf(LINK_GET_NEXT_ID, &mut next) {
            Ok(_) => id = next.next_id,
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
            Err(error) => return Err(error),
        }
        // A link that is gone by now is none.
        let Ok(link) = open(LINK_GET_FD_BY_ID, &mut GetId { id, ..GetId::default() }) else {
            continue;
        };
        let mut name = [0_u8; 32];
        let told = [name.as_mut_ptr().addr() as u64, u64::from(length(name.len()))];
        let at = match ask(&link, &mut LinkInfo::default()) {
            Ok(LINK_TYPE_RAW_TRACEPOINT) => 0,
            Ok(LINK_TYPE_PERF_EVENT) => 1,
            _ => continue,
        };
        let mut info = LinkInfo::default();
        info.rest[at..at + 2].copy_from_slice(&told);
        // Of other events than tracepoints nothing is written there.
        let asked = ask(&link, &mut info);
        let on_calls = [&b"sys_enter\0"[..], b"sys_exit\0"].iter().any(|one| name.starts_with(one));
        found += usize::from(asked.is_ok() && on_calls);
    }
}

/// What kind of link it is, with what the kernel tells of it.
fn ask(link: &OwnedFd, info: &mut LinkInfo) -> io::Result<u32> {
    bpf(
        OBJ_GET_INFO_BY_FD,
        &mut GetInfo {
            bpf_fd: link.as_raw_fd().cast_unsigned(),
            info_len: length(size_of::<LinkInfo>()),
            info: ptr::from_mut(info).addr() as u64,
        },
    )?;
    Ok(info.link_type)
}
