//! What is read of this host once, at start.

use crate::host::mounts;
use crate::pipeline::Origin;

/// Reads it; what is missing stays empty.
pub fn of_this_host() -> Origin {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    Origin {
        host: read("/proc/sys/kernel/hostname").trim().to_owned(),
        boot_id: read("/proc/sys/kernel/random/boot_id").trim().to_owned(),
        hosts_file: read("/etc/hosts"),
        resolv_conf: read("/etc/resolv.conf"),
        network_namespace: network_namespace(),
        mount_namespace: mounts::host_namespace().unwrap_or(0),
        homes: read("/etc/passwd")
            .lines()
            .filter_map(|line| line.split(':').nth(5))
            .filter(|home| home.starts_with('/') && *home != "/")
            .map(Into::into)
            .collect(),
    }
}

/// Inode number of the agent's own network namespace; the kernel has 32 bits of it.
fn network_namespace() -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/net").map_or(0, |file| u32::try_from(file.ino()).unwrap_or(0))
}

/// `CLOCK_BOOTTIME` now, in nanoseconds: the clock of the kernel's events.
pub fn boot_time() -> u64 {
    nanoseconds(libc::CLOCK_BOOTTIME).try_into().unwrap_or(0)
}

/// The calendar clock now, in nanoseconds since the epoch.
pub fn calendar_time() -> i64 {
    nanoseconds(libc::CLOCK_REALTIME)
}

fn nanoseconds(clock: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a valid struct is passed by pointer for the length of the call; both clocks always exist.
    unsafe { libc::clock_gettime(clock, &raw mut time) };
    time.tv_sec.saturating_mul(1_000_000_000).saturating_add(time.tv_nsec)
}
