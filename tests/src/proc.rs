//! The process tree below one process, from /proc: to find what a scene started, and to end it.

use std::collections::HashMap;
use std::fs;
use std::thread;
use std::time::Duration;

/// All living processes below `root`, without `root`.
pub fn descendants(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").expect("/proc can be listed").flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        if let Some(parent) = living_parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut open = vec![root];
    while let Some(pid) = open.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        open.extend(below);
    }
    found
}

/// The parent of a process that is no zombie.
fn living_parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything: the fields begin after the last one.
    let mut fields = stat.get(stat.rfind(')')? + 2..)?.split(' ');
    let state = fields.next()?;
    if state == "Z" {
        return None;
    }
    fields.next()?.parse().ok()
}

/// Ends everything below `root`, and what it starts meanwhile.
pub fn kill_descendants(root: u32) {
    for _ in 0..100 {
        let left = descendants(root);
        if left.is_empty() {
            return;
        }
        for pid in left {
            kill(pid, libc::SIGKILL);
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// Sends a signal; a process that is gone already is fine.
pub(crate) fn kill(pid: u32, signal: i32) {
    // SAFETY: kill(2) touches no memory of this process.
    unsafe { libc::kill(pid.cast_signed(), signal) };
}
