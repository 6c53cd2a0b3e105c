//! Processes in number: the smallest program there is, forks, and a process with a chosen id.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::ptr;

/// `exit(0)` in machine code.
#[cfg(target_arch = "x86_64")]
const EXIT: [u8; 9] = [0xb8, 0x3c, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
/// `exit(0)` in machine code.
#[cfg(target_arch = "aarch64")]
const EXIT: [u8; 12] = [0, 0, 0x80, 0xd2, 0xa8, 0x0b, 0x80, 0xd2, 0x01, 0, 0, 0xd4];

/// `e_machine`, see elf(5).
const MACHINE: u16 = if cfg!(target_arch = "aarch64") { 183 } else { 62 };
const ADDRESS: u64 = 0x40_0000;
const HEADERS: u64 = 64 + 56;

/// Writes a program that does nothing but end: a real one would spend most of its time in its dynamic
/// linker, and thousands a second would be the linker's bench.
pub fn write_smallest_program(path: &Path) -> io::Result<()> {
    let mut image = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let size = HEADERS + EXIT.len() as u64;
    // The ELF header: an executable with one program header behind it and no sections.
    image.extend(2_u16.to_le_bytes());
    image.extend(MACHINE.to_le_bytes());
    image.extend(1_u32.to_le_bytes());
    for field in [ADDRESS + HEADERS, 64, 0] {
        image.extend(field.to_le_bytes());
    }
    image.extend(0_u32.to_le_bytes());
    for field in [64_u16, 56, 1, 64, 0, 0] {
        image.extend(field.to_le_bytes());
    }
    // The program header: the whole file, readable and executable.
    image.extend(1_u32.to_le_bytes());
    image.extend(5_u32.to_le_bytes());
    for field in [0, ADDRESS, ADDRESS, size, size, 0x1000] {
        image.extend(field.to_le_bytes());
    }
    image.extend(EXIT);
    let draft = path.with_extension("part");
    fs::write(&draft, image)?;
    fs::set_permissions(&draft, fs::Permissions::from_mode(0o755))?;
    fs::rename(draft, path)
}

/// Forks; the child does `act`, which must not allocate, and ends with what it says.
pub fn fork(act: impl FnOnce() -> i32) -> io::Result<libc::pid_t> {
    // SAFETY: the child calls `act` and _exit(2) only; callers promise that `act` takes no locks.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = act();
            // SAFETY: never returns.
            unsafe { libc::_exit(code) }
        }
        child => Ok(child),
    }
}

/// Room for a child that does nothing.
const STACK: usize = 16 * 1024;

/// Makes a child that ends at once, in the memory of this process and while this thread waits: nothing is copied for
/// it, so that they can be made as fast as the kernel makes processes.
pub fn spark(stack: &mut [u128; STACK / 16]) -> io::Result<libc::pid_t> {
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        0
    }
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    // SAFETY: the stack, which grows downwards, is the child's alone until it has ended, and this thread does not go
    // on before; the child touches nothing else.
    let child = unsafe {
        let top = stack.as_mut_ptr_range().end;
        libc::clone(end, top.cast(), flags, ptr::null_mut())
    };
    if child < 0 { Err(io::Error::last_os_error()) } else { Ok(child) }
}

/// What [`spark`] needs.
pub fn stack() -> Box<[u128; STACK / 16]> {
    Box::new([0; STACK / 16])
}

/// Like [`fork`], with a process id that is free now. Needs `CAP_CHECKPOINT_RESTORE`, which root has.
pub fn fork_as(pid: libc::pid_t, act: impl FnOnce() -> i32) -> io::Result<libc::pid_t> {
    /// `struct clone_args` up to `set_tid_size`, see clone(2).
    #[repr(C)]
    #[derive(Default)]
    struct CloneArgs {
        flags: u64,
        pidfd: u64,
        child_tid: u64,
        parent_tid: u64,
        exit_signal: u64,
        stack: u64,
        stack_size: u64,
        tls: u64,
        set_tid: u64,
        set_tid_size: u64,
    }
    let wanted = [pid];
    let mut arguments = CloneArgs {
        exit_signal: libc::SIGCHLD.cast_unsigned().into(),
        set_tid: wanted.as_ptr() as u64,
        set_tid_size: 1,
        ..CloneArgs::default()
    };
    // SAFETY: without a stack of its own the child goes on in a copy of this one, as after fork(2); the
    // arguments outlive the call. The child calls `act` and _exit(2) only.
    let done = unsafe {
        libc::syscall(libc::SYS_clone3, ptr::from_mut(&mut arguments), size_of::<CloneArgs>())
    };
    match done {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let code = act();
            // SAFETY: never returns.
            unsafe { libc::_exit(code) }
        }
        child => libc::pid_t::try_from(child).map_err(io::Error::other),
    }
}

/// Waits for a child and gives its exit code.
pub fn wait(pid: libc::pid_t) -> io::Result<i32> {
    let mut status = 0;
    // SAFETY: a number and a place for another that outlives the call.
    let done = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(libc::WEXITSTATUS(status)) }
}
