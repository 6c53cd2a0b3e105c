//! Reads the listings of a mount namespace and of the host.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use procfs::process::Process;

use super::HostPaths;
use super::listing::{HOST, Limit, NAMESPACE};

/// The process whose mounts are the host's.
const FIRST: u32 = 1;

/// The table for a mount namespace, by a process that was in it. `None` when it is not any more, or its root
/// directory is not the namespace's: its listing is relative to that.
#[must_use]
pub fn read(namespace: u32, pid: u32) -> Option<HostPaths> {
    let process = Process::new(i32::try_from(pid).ok()?).ok()?;
    // Before and after: it may be on its way into another one.
    if namespace_of(pid) != Some(namespace) {
        return None;
    }
    let mounts = listing(&process, NAMESPACE)?;
    // The link's text is the path from the root of whichever namespace the process is in (`d_path`).
    if process.root().ok()? != Path::new("/") || namespace_of(pid) != Some(namespace) {
        return None;
    }
    let host = listing(&Process::new(i32::try_from(FIRST).ok()?).ok()?, HOST)?;
    Some(HostPaths::of(&mounts, &host))
}

/// Inode number of the host's mount namespace. Where nobody may look at process 1, it is the agent's own when both
/// have the same mounts: no mount has its number in two namespaces (`mnt_alloc_id`).
#[must_use]
pub fn host_namespace() -> Option<u32> {
    namespace_of(FIRST).or_else(|| {
        let first_of = |process: Process| {
            let mounts = listing(&process, HOST)?;
            mounts.split(|byte| *byte == b'\n').next().map(<[u8]>::to_vec)
        };
        let of_host = first_of(Process::new(i32::try_from(FIRST).ok()?).ok()?)?;
        let own = first_of(Process::myself().ok()?)?;
        (of_host == own && !own.is_empty()).then(|| namespace_of(std::process::id()))?
    })
}

/// Inode number of the mount namespace of a process.
#[must_use]
pub fn namespace_of(pid: u32) -> Option<u32> {
    let namespace = std::fs::metadata(format!("/proc/{pid}/ns/mnt")).ok()?;
    u32::try_from(namespace.ino()).ok()
}

fn listing(process: &Process, limit: Limit) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    process.open_relative("mountinfo").ok()?.take(limit.bytes).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agents_own_namespace_can_be_read() {
        let own = namespace_of(std::process::id()).unwrap();
        assert!(read(own, std::process::id()).is_some_and(|paths| !paths.is_empty()));
        assert!(read(own.wrapping_add(1), std::process::id()).is_none(), "of another namespace");
        assert!(read(own, u32::MAX).is_none());
    }
}
