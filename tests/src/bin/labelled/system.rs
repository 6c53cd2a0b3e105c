//! System calls by their number, so that the one that is meant is the one that is made.

use std::ffi::{CString, OsStr, c_long};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

/// What a tool says that this kernel or architecture has no call for. The play knows it by the word.
const LEFT_OUT: &str = "left out";

/// Says so. That processes end belongs to no call: as many do, of the same users, as if it had been made.
pub fn left_out(users: &[usize]) -> io::Result<String> {
    for user in users {
        in_child(|| call(libc::SYS_setuid, &[*user]).map(drop))?;
    }
    Ok(LEFT_OUT.into())
}

/// `AT_FDCWD` as an argument.
pub const HERE: usize = (libc::AT_FDCWD as isize).cast_unsigned();

/// Makes a system call; gives what it returned.
///
/// Callers hand over numbers, and addresses of what lives until it returns.
pub fn call(number: c_long, arguments: &[usize]) -> io::Result<usize> {
    let mut all = [0_usize; 6];
    for (place, argument) in all.iter_mut().zip(arguments) {
        *place = *argument;
    }
    let [first, second, third, fourth, fifth, sixth] = all;
    // SAFETY: see above; every use stands in this program.
    let result = unsafe { libc::syscall(number, first, second, third, fourth, fifth, sixth) };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// The same for a call that makes a descriptor.
pub fn open(number: c_long, arguments: &[usize]) -> io::Result<OwnedFd> {
    opened(call(number, arguments))
}

/// The descriptor that a call has made.
pub fn opened(made: io::Result<usize>) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(made?).map_err(io::Error::other)?;
    // SAFETY: a descriptor that was just made, and that nobody else knows.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

/// The same for a call that the system has to refuse.
pub fn refused(number: c_long, arguments: &[usize]) -> io::Result<()> {
    match call(number, arguments) {
        Ok(_) => Err(io::Error::other(format!("system call {number} was not refused"))),
        Err(_) => Ok(()),
    }
}

/// A call of the first architectures; where there is none, the one that took its place.
macro_rules! early {
    ($early:ident($($argument:expr),*), $later:ident($($other:expr),*)) => {{
        #[cfg(target_arch = "x86_64")]
        let result = $crate::system::call(libc::$early, &[$($argument),*]);
        #[cfg(not(target_arch = "x86_64"))]
        let result = $crate::system::call(libc::$later, &[$($other),*]);
        result
    }};
}
pub(crate) use early;

/// A text that lives as long as this.
pub struct Text(CString);

impl Text {
    pub fn new(text: impl AsRef<OsStr>) -> Self {
        Self(CString::new(text.as_ref().as_bytes()).expect("no NUL in a text of ours"))
    }

    /// Its address as an argument.
    pub fn at(&self) -> usize {
        self.0.as_ptr() as usize
    }
}

/// A descriptor as an argument.
pub fn fd(file: &impl AsRawFd) -> usize {
    usize::try_from(file.as_raw_fd()).expect("an open descriptor")
}

/// A directory to start from.
pub fn folder(path: &str) -> io::Result<File> {
    File::open(path)
}

/// Does it in a process of its own, whose ids, mounts and directories are of no concern here.
pub fn in_child(deed: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    // SAFETY: this program has one thread by then, so that the child is like it.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            let failed = deed().inspect_err(|error| eprintln!("in a child: {error}")).is_err();
            // SAFETY: never returns.
            unsafe { libc::_exit(failed.into()) }
        }
        child => wait(child),
    }
}

/// Waits for a child that has to end well.
pub fn wait(child: libc::pid_t) -> io::Result<()> {
    let mut status = 0;
    // SAFETY: a number, and a place for another that outlives the call.
    if unsafe { libc::waitpid(child, &raw mut status, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    if status == 0 { Ok(()) } else { Err(io::Error::other(format!("a child ended with {status}"))) }
}
