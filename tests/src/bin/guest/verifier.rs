//! What programs cost the verifier, on kernels that say so in its log alone: before 5.16 there is no
//! `bpf_prog_info.verified_insns`. The agent asks for a log only when a program was refused, so that it is traced, and
//! each of its `BPF_PROG_LOAD` is given a log with nothing but statistics in it (`BPF_LOG_STATS`, since 5.2).

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};
use std::ptr;

use libc::{c_long, c_void, pid_t};

/// `BPF_PROG_LOAD`.
const PROGRAM_LOAD: u64 = 5;
/// Where `log_level`, `log_size` and `log_buf` stand in `union bpf_attr`, one behind the other; then the name.
const LOG_AT: usize = 24;
const NAME_AT: usize = 48;
const NAME_BYTES: usize = 16;
/// `BPF_LOG_STATS`.
const STATISTICS: u32 = 4;
/// Room for the log, and where in the thread's stack: far below what it uses.
const LOG_BYTES: u32 = 64 * 1024;
const BELOW_STACK: u64 = 128 * 1024;
/// `PTRACE_GET_SYSCALL_INFO`, since 5.3.
const GET_SYSCALL_INFO: libc::c_uint = 0x420e;
const ENTRY: u8 = 1;
const EXIT: u8 = 2;

/// `struct ptrace_syscall_info` with what is common to all stops, and the widest of what is not.
#[repr(C)]
#[derive(Default)]
struct SystemCall {
    op: u8,
    padding: [u8; 3],
    arch: u32,
    instruction: u64,
    stack: u64,
    /// At an entry the number, at an exit the result.
    first: u64,
    arguments: [u64; 6],
}

/// A load on its way.
struct Load {
    name: String,
    attributes: u64,
    log: u64,
}

/// Runs `mcpwatch doctor`; gives the names of the programs the kernel took, as far as it keeps them, and how many
/// instructions the verifier walked, in the order they were loaded in.
pub fn costs() -> io::Result<Vec<(String, u64)>> {
    let mut doctor = Command::new("/bin/mcpwatch");
    doctor.args(["doctor", "--json"]).stdin(Stdio::null()).stdout(File::create("/tmp/doctor")?);
    // SAFETY: ptrace(2) in the child, by which it gives itself to this process.
    unsafe { doctor.pre_exec(|| trace(libc::PTRACE_TRACEME, 0, 0, 0).map(drop)) };
    let doctor = pid_t::try_from(doctor.spawn()?.id()).map_err(io::Error::other)?;
    let mut loads: BTreeMap<pid_t, Load> = BTreeMap::new();
    let mut costs = Vec::new();
    let mut followed = false;
    loop {
        let mut status = 0;
        // SAFETY: a number, and a place for another that outlives the call.
        let thread = unsafe { libc::waitpid(-1, &raw mut status, libc::__WALL) };
        if thread < 0 {
            return Err(io::Error::last_os_error());
        }
        if !libc::WIFSTOPPED(status) {
            if thread == doctor {
                return Ok(costs);
            }
            continue;
        }
        let mut signal = libc::WSTOPSIG(status);
        if !followed {
            let options =
                libc::PTRACE_O_TRACESYSGOOD | libc::PTRACE_O_TRACECLONE | libc::PTRACE_O_EXITKILL;
            trace(libc::PTRACE_SETOPTIONS, thread, 0, usize::try_from(options).unwrap_or(0))?;
            followed = true;
        }
        if signal == libc::SIGTRAP | 0x80 {
            let call = system_call(thread)?;
            if call.op == ENTRY {
                loads.extend(begin(thread, &call)?.map(|load| (thread, load)));
            } else if let (EXIT, Some(load)) = (call.op, loads.remove(&thread)) {
                costs.extend(end(thread, load, call.first.cast_signed())?);
            }
        }
        // Those of tracing are nothing to the process.
        if signal & libc::SIGTRAP == libc::SIGTRAP || signal == libc::SIGSTOP {
            signal = 0;
        }
        // A thread that was ended meanwhile is told of by the next wait.
        let _ = trace(libc::PTRACE_SYSCALL, thread, 0, usize::try_from(signal).unwrap_or(0));
    }
}

/// Asks for a log, if the call is a load.
fn begin(thread: pid_t, call: &SystemCall) -> io::Result<Option<Load>> {
    let [command, attributes, size, ..] = call.arguments;
    if call.first.cast_signed() != libc::SYS_bpf || command != PROGRAM_LOAD || size < 64 {
        return Ok(None);
    }
    let mut bytes = [0_u8; NAME_AT + NAME_BYTES];
    copy(thread, attributes, &mut bytes, libc::process_vm_readv)?;
    if bytes[LOG_AT..LOG_AT + 4] != [0; 4] {
        // It reads the log itself: to find out what the kernel offers.
        return Ok(None);
    }
    let name = bytes[NAME_AT..].split(|byte| *byte == 0).next().unwrap_or_default();
    let log = call.stack - BELOW_STACK;
    put_log(thread, attributes, STATISTICS, LOG_BYTES, log)?;
    Ok(Some(Load { name: String::from_utf8_lossy(name).into_owned(), attributes, log }))
}

/// Reads the log; puts everything as it was.
fn end(thread: pid_t, load: Load, result: i64) -> io::Result<Option<(String, u64)>> {
    put_log(thread, load.attributes, 0, 0, 0)?;
    if result < 0 {
        return Ok(None);
    }
    let mut log = [0_u8; 4096];
    copy(thread, load.log, &mut log, libc::process_vm_readv)?;
    let log = String::from_utf8_lossy(&log);
    let number = log.split_once("processed ").and_then(|(_, rest)| rest.split_once(" insns"));
    Ok(number.and_then(|(number, _)| Some((load.name, number.parse().ok()?))))
}

fn put_log(thread: pid_t, attributes: u64, level: u32, size: u32, log: u64) -> io::Result<()> {
    let mut bytes = [0_u8; 16];
    bytes[..4].copy_from_slice(&level.to_ne_bytes());
    bytes[4..8].copy_from_slice(&size.to_ne_bytes());
    bytes[8..].copy_from_slice(&log.to_ne_bytes());
    copy(thread, attributes + LOG_AT as u64, &mut bytes, libc::process_vm_writev)
}

/// `process_vm_readv(2)` or `process_vm_writev(2)`.
type Copy = unsafe extern "C" fn(
    pid_t,
    *const libc::iovec,
    libc::c_ulong,
    *const libc::iovec,
    libc::c_ulong,
    libc::c_ulong,
) -> isize;

fn copy(thread: pid_t, address: u64, bytes: &mut [u8], by: Copy) -> io::Result<()> {
    let address = usize::try_from(address).map_err(io::Error::other)?;
    let here = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    let there =
        libc::iovec { iov_base: ptr::without_provenance_mut(address), iov_len: bytes.len() };
    // SAFETY: the local row describes `bytes`; what is at the other address is the kernel's to check.
    let copied = unsafe { by(thread, &raw const here, 1, &raw const there, 1, 0) };
    if usize::try_from(copied) == Ok(bytes.len()) {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}

fn system_call(thread: pid_t) -> io::Result<SystemCall> {
    let mut call = SystemCall::default();
    let at = ptr::from_mut(&mut call) as usize;
    trace(GET_SYSCALL_INFO, thread, size_of::<SystemCall>(), at)?;
    Ok(call)
}

fn trace(request: libc::c_uint, thread: pid_t, address: usize, data: usize) -> io::Result<c_long> {
    // SAFETY: a request of this file; what it points to outlives the call.
    let done =
        unsafe { libc::ptrace(request, thread, address as *mut c_void, data as *mut c_void) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(done) }
}
