//! A file system to play in, the same on a booted kernel and on the host, and the way out of it.

use std::convert::Infallible;
use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};

use mcpwatch_tests::address;

/// Mounts what programs expect, gives names to the programs of busybox, and puts the addresses of the play
/// on `lo`.
pub fn furnish() {
    for folder in ["/proc", "/sys", "/dev", "/tmp", "/root", "/usr/bin"] {
        fs::create_dir_all(folder).expect("mkdir");
    }
    mount("proc", "/proc", "proc");
    mount("sysfs", "/sys", "sysfs");
    if !Path::new("/dev/null").exists() {
        mount("devtmpfs", "/dev", "devtmpfs");
    }
    mount("cgroup2", "/sys/fs/cgroup", "cgroup2");
    // Absent where the kernel was built without it.
    if Path::new("/sys/kernel/tracing").exists() {
        mount("tracefs", "/sys/kernel/tracing", "tracefs");
    }
    // Absent where the kernel has no security module that shows itself.
    if Path::new("/sys/kernel/security").exists() {
        mount("securityfs", "/sys/kernel/security", "securityfs");
    }
    for name in ["sh", "bash", "cat", "id", "true", "uname", "ip"] {
        symlink("busybox", format!("/bin/{name}")).expect("symlink");
    }
    // What the standard library searches when a process has no PATH is not where busybox is.
    ip(&["link", "set", "lo", "up"]);
    for address in [
        format!("{}/32", address::WEB),
        format!("{}/128", address::WEB_IPV6),
        format!("{}/32", address::METADATA),
    ] {
        ip(&["address", "add", &address, "dev", "lo"]);
    }
}

fn ip(arguments: &[&str]) {
    let status = Command::new("/bin/ip").args(arguments).status().expect("busybox runs");
    assert!(status.success(), "ip {}: {status}", arguments.join(" "));
}

/// Makes this process the first of a file system and a network of its own, with the files of `tree`.
pub fn move_into(tree: &str) -> ExitCode {
    let Err(error) = try_to_move_into(Path::new(tree));
    eprintln!("cannot make a file system of its own of {tree}: {error}");
    ExitCode::from(1)
}

fn try_to_move_into(tree: &Path) -> io::Result<Infallible> {
    // SAFETY: unshare(2) takes flags and touches no memory; there is one thread so far.
    checked(unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET) })?;
    // Nothing of what follows is to be seen outside.
    raw_mount("none", "/", None, libc::MS_REC | libc::MS_PRIVATE)?;
    // Over a folder that is there anyway: it is covered in this namespace alone.
    let root = Path::new("/mnt");
    raw_mount("tmpfs", "/mnt", Some("tmpfs"), 0)?;
    copy(tree, root)?;
    fs::create_dir(root.join("old"))?;
    fs::create_dir(root.join("dev"))?;
    raw_mount("/dev", "/mnt/dev", None, libc::MS_BIND)?;
    std::env::set_current_dir(root)?;
    let (new, old) = (c_string("."), c_string("old"));
    // SAFETY: both strings are terminated and outlive the call.
    checked(unsafe { libc::syscall(libc::SYS_pivot_root, new.as_ptr(), old.as_ptr()) })?;
    std::env::set_current_dir("/")?;
    let old = c_string("/old");
    // SAFETY: as above.
    checked(unsafe { libc::umount2(old.as_ptr(), libc::MNT_DETACH) })?;
    fs::remove_dir("/old")?;
    Err(Command::new("/bin/guest").arg("--moved-in").env_clear().exec())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            fs::create_dir_all(&target)?;
            copy(&entry.path(), &target)?;
        } else if kind.is_symlink() {
            symlink(fs::read_link(entry.path())?, target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// Mounts, or fails with a sentence.
pub fn mount(source: &str, target: &str, kind: &str) {
    raw_mount(source, target, Some(kind), 0)
        .unwrap_or_else(|error| panic!("cannot mount {kind} at {target}: {error}"));
}

/// Takes away what was mounted last at a place.
pub fn unmount(target: &str) {
    let path = c_string(target);
    // SAFETY: a terminated string that outlives the call.
    checked(unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) })
        .unwrap_or_else(|error| panic!("cannot unmount {target}: {error}"));
}

fn raw_mount(
    source: &str,
    target: &str,
    kind: Option<&str>,
    flags: libc::c_ulong,
) -> io::Result<()> {
    let (source, target, kind) = (c_string(source), c_string(target), kind.map(c_string));
    let kind = kind.as_ref().map_or(std::ptr::null(), |kind| kind.as_ptr());
    // SAFETY: terminated strings, or null where the kernel takes null, all of which outlive the call.
    checked(unsafe { libc::mount(source.as_ptr(), target.as_ptr(), kind, flags, std::ptr::null()) })
}

fn c_string(text: &str) -> CString {
    CString::new(text).expect("no NUL in a path of ours")
}

fn checked(result: impl Into<i64>) -> io::Result<()> {
    if result.into() < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Ends the virtual machine.
pub fn power_off() -> ExitCode {
    // SAFETY: tcdrain(3) and reboot(2) take a number, sync(2) nothing; process 1 of a virtual machine may do that.
    unsafe {
        // The last lines may be on their way to the console.
        libc::tcdrain(libc::STDOUT_FILENO);
        libc::sync();
        libc::reboot(libc::RB_POWER_OFF);
    }
    ExitCode::from(1)
}
