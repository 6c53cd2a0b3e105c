//! Every way to reach into another process, and programs without a name.

use std::fs::{self, File};
use std::io::{self, Write};
use std::ptr;

use crate::system::{Text, call, fd, in_child, open, wait};

/// Each call that reaches into another process, on a child that waits.
pub fn reach_into_child() -> io::Result<String> {
    // SAFETY: this program has one thread by then, so that the child is like it.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => {
            // SAFETY: neither touches memory, and the second one does not return.
            unsafe {
                libc::pause();
                libc::_exit(0)
            }
        }
        child => child,
    };
    let done = reach_into(child);
    // SAFETY: a process that was started here and not waited for yet.
    unsafe { libc::kill(child, libc::SIGKILL) };
    // It was not to end by itself.
    let _ = wait(child);
    done.map(|()| "reached".into())
}

fn reach_into(child: libc::pid_t) -> io::Result<()> {
    let pid = usize::try_from(child).map_err(io::Error::other)?;
    call(libc::SYS_ptrace, &[libc::PTRACE_ATTACH as usize, pid, 0, 0])?;
    let mut status = 0;
    // SAFETY: a number, and a place for another that outlives the call.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    call(libc::SYS_ptrace, &[libc::PTRACE_DETACH as usize, pid, 0, 0])?;
    // A forked child has it at the same place.
    let mut buffer = [0_u8; 8];
    let row = libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() };
    let row = ptr::from_ref(&row) as usize;
    call(libc::SYS_process_vm_readv, &[pid, row, 1, row, 1, 0])?;
    call(libc::SYS_process_vm_writev, &[pid, row, 1, row, 1, 0])?;
    let process = open(libc::SYS_pidfd_open, &[pid, 0])?;
    open(libc::SYS_pidfd_getfd, &[fd(&process), 0, 0]).map(drop)
}

/// Executes a program that exists in memory alone, and one that was removed: both by their descriptor.
pub fn run_nameless(path: &str) -> io::Result<String> {
    let program = fs::read("/bin/true")?;
    let mut memory = File::from(open(libc::SYS_memfd_create, &[Text::new("agent").at(), 0])?);
    memory.write_all(&program)?;
    in_child(|| execute(&memory))?;
    fs::write(path, &program)?;
    call(libc::SYS_fchmodat, &[crate::system::HERE, Text::new(path).at(), 0o700])?;
    let removed = File::open(path)?;
    fs::remove_file(path)?;
    in_child(|| execute(&removed))?;
    Ok("ran".into())
}

/// fexecve(3), by its system call.
fn execute(file: &File) -> io::Result<()> {
    let (empty, name) = (Text::new(""), Text::new("true"));
    let (argv, envp) = ([name.at(), 0], [0_usize]);
    let (argv, envp) = (argv.as_ptr() as usize, envp.as_ptr() as usize);
    let flags = libc::AT_EMPTY_PATH as usize;
    call(libc::SYS_execveat, &[fd(file), empty.at(), argv, envp, flags]).map(drop)
}
