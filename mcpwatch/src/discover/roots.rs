//! Roots of processes that see other files than the agent does: containers, and, for an agent in a
//! container, the host. Their files are reached through `/proc/PID/root`.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::event::decode::text;

/// Most roots that are remembered; the one seen first gives way.
const ROOTS: usize = 256;

/// Each root once, by the process that it was first seen at and is still there.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    seen: Vec<(Identity, PathBuf)>,
}

type Identity = (u64, u64);

impl Roots {
    /// The root of a process, as a path for the agent: `/` when it is the agent's own, or may not be seen.
    pub fn of(&mut self, pid: u32) -> PathBuf {
        let own = PathBuf::from("/");
        let path = PathBuf::from(format!("/proc/{pid}/root"));
        let Some(root) = identity(&path).filter(|root| Some(*root) != identity(&own)) else {
            return own;
        };
        self.seen.retain(|(known, path)| identity(path) == Some(*known));
        if let Some((_, path)) = self.seen.iter().find(|(known, _)| *known == root) {
            return path.clone();
        }
        if self.seen.len() >= ROOTS {
            self.seen.remove(0);
        }
        self.seen.push((root, path.clone()));
        path
    }

    /// Those that are remembered and not the agent's own.
    pub fn iter(&self) -> impl Iterator<Item = &Path> {
        self.seen.iter().map(|(_, path)| path.as_path())
    }
}

/// The directory behind the link, not the link.
fn identity(path: &Path) -> Option<Identity> {
    let metadata = std::fs::metadata(path.join(".")).ok()?;
    Some((metadata.dev(), metadata.ino()))
}

/// A path of a process as the agent reaches it.
#[must_use]
pub fn below(root: &Path, path: &Path) -> PathBuf {
    root.join(path.strip_prefix("/").unwrap_or(path))
}

/// Opens a file for reading. Below the root of a process, no symbolic link leads out of that: whoever made it
/// meant files of the container.
pub fn open(path: &Path, flags: i32) -> io::Result<File> {
    let Some((root, rest)) = split(path) else {
        return File::options().read(true).custom_flags(flags).open(path);
    };
    let directory =
        File::options().read(true).custom_flags(libc::O_PATH | libc::O_DIRECTORY).open(root)?;
    let rest = std::ffi::CString::new(rest.as_os_str().as_bytes())?;
    // SAFETY: `open_how` is a struct of three numbers, all of which may be zero.
    let mut how: libc::open_how = unsafe { std::mem::zeroed() };
    how.flags = u64::from((libc::O_RDONLY | libc::O_CLOEXEC | flags).cast_unsigned());
    how.resolve = libc::RESOLVE_IN_ROOT | libc::RESOLVE_NO_MAGICLINKS;
    // SAFETY: the path ends with a zero and `how` is as long as said; both live through the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_openat2,
            directory.as_raw_fd(),
            rest.as_ptr(),
            &raw const how,
            size_of::<libc::open_how>(),
        )
    };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(fd) })
}

/// Where a folder of a process lies when symbolic links are followed: up to the root of its mounts, as the paths
/// of events are. `None` when there is none.
#[must_use]
pub fn real_path(pid: u32, folder: &str) -> Option<String> {
    let path = below(Path::new(&format!("/proc/{pid}/root")), Path::new(folder));
    let folder = open(&path, libc::O_PATH | libc::O_DIRECTORY).ok()?;
    let real = std::fs::read_link(format!("/proc/self/fd/{}", folder.as_raw_fd())).ok()?;
    let real = text(real.as_os_str().as_bytes());
    // The kernel marks what was removed meanwhile.
    (real.starts_with('/') && !real.ends_with(" (deleted)")).then_some(real)
}

/// `/proc/PID/root` and what follows.
pub(super) fn split(path: &Path) -> Option<(PathBuf, &Path)> {
    let rest = path.strip_prefix("/proc").ok()?;
    let pid = rest.iter().next()?.to_str()?;
    pid.parse::<u32>().ok()?;
    let rest = rest.strip_prefix(pid).ok()?.strip_prefix("root").ok()?;
    Some((Path::new("/proc").join(pid).join("root"), rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn a_process_with_the_agent_s_root_adds_none() {
        let mut roots = Roots::default();
        assert_eq!(roots.of(std::process::id()), Path::new("/"));
        assert_eq!(roots.of(u32::MAX), Path::new("/"));
        assert_eq!(roots.iter().count(), 0);
    }

    #[test]
    fn paths_of_processes_are_put_below_their_roots() {
        let root = Path::new("/proc/7/root");
        assert_eq!(below(root, Path::new("/home/x")), Path::new("/proc/7/root/home/x"));
        assert_eq!(below(Path::new("/"), Path::new("/home/x")), Path::new("/home/x"));
        let (found, rest) = split(Path::new("/proc/7/root/home/x")).unwrap();
        assert_eq!((found.as_path(), rest), (root, Path::new("home/x")));
        for other in ["/proc/self/root/x", "/proc/7/cwd/x", "/home/proc/7/root/x", "/proc"] {
            assert!(split(Path::new(other)).is_none(), "{other}");
        }
    }

    #[test]
    fn links_below_a_root_stay_within() {
        // The process's own root is the agent's: an absolute link leads to the same file either way, and one
        // through magic links is refused.
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        std::fs::write(&file, "text").unwrap();
        std::os::unix::fs::symlink(&file, folder.path().join("link")).unwrap();
        std::os::unix::fs::symlink("/proc/self/root/etc", folder.path().join("magic")).unwrap();
        let root = PathBuf::from(format!("/proc/{}/root", std::process::id()));
        let mut text = String::new();
        let link = below(&root, &folder.path().join("link"));
        open(&link, libc::O_NONBLOCK).unwrap().read_to_string(&mut text).unwrap();
        assert_eq!(text, "text");
        open(&below(&root, &folder.path().join("magic/passwd")), 0).unwrap_err();
        open(&below(&root, Path::new("/nonexistent")), 0).unwrap_err();
        open(&file, 0).unwrap();
    }

    #[test]
    fn a_folder_behind_links_is_known_by_where_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().canonicalize().unwrap().join(name);
        std::fs::create_dir_all(at("real/sub")).unwrap();
        std::fs::write(at("file"), "text").unwrap();
        std::os::unix::fs::symlink("real", at("link")).unwrap();
        std::os::unix::fs::symlink(at("link"), at("other")).unwrap();
        let real = |name: &str| real_path(std::process::id(), at(name).to_str().unwrap());
        let expected = |name: &str| at(name).to_str().map(str::to_owned);
        assert_eq!(real("real/sub"), expected("real/sub"));
        assert_eq!(real("link/sub"), expected("real/sub"));
        assert_eq!(real("other"), expected("real"));
        assert_eq!(real("file"), None);
        assert_eq!(real("absent"), None);
        assert_eq!(real_path(u32::MAX, "/"), None);
    }
}
