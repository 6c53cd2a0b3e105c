//! Records without what differs from run to run, to be compared with those of another kernel.

use mcpwatch_tests::{Records, Scene, text};
use serde_json::Value;

/// Fields that are not compared: of this run alone are times, ids of processes and of what is counted from
/// them, and inodes.
const NOT_COMPARED: &[&str] = &[
    "seq",
    "time",
    "host",
    "server.id",
    "process.entity_id",
    "process.pid",
    "process.ppid",
    "process.start_time",
    "call.uid",
    "call.session",
    "call.duration_ns",
    "file.inode",
    "mcp.session",
    // The same for every alert of a rule, and long.
    "alert.title",
    "alert.tags",
    "alert.playbook",
];

/// One line for each record about `server`: those of one type and process in their order, the processes in
/// the order of what they are. Programs that run side by side write their records in any order.
pub fn lines(records: &Records, server: &str, scene: &Scene) -> Vec<String> {
    let folder = scene.backstage("").to_string_lossy().trim_end_matches('/').to_owned();
    let mut lines: Vec<(String, String)> = records
        .0
        .iter()
        .filter(|record| text(record, "server.name") == server)
        .map(|record| {
            let mut plain = record.clone();
            for path in NOT_COMPARED {
                remove(&mut plain, path);
            }
            for candidate in list(&mut plain, "call", "candidates") {
                remove(candidate, "uid");
            }
            for ancestor in list(&mut plain, "exec", "ancestors") {
                remove(ancestor, "pid");
                remove(ancestor, "entity_id");
            }
            for evidence in list(&mut plain, "alert", "evidence") {
                let value = text(evidence, "value").to_owned();
                if let Some((process, _)) = value.split_once(" (pid ") {
                    evidence["value"] = process.into();
                }
            }
            let key = format!("{} {}", plain["type"], plain["process"]["argv"]);
            let common = |text: &str| without_pids(&text.replace(&folder, "/scene"));
            (common(&key), common(&plain.to_string()))
        })
        .collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines.into_iter().map(|(_, line)| line).collect()
}

/// `/proc/self/maps` is another file for each process.
fn without_pids(text: &str) -> String {
    let mut parts = text.split("/proc/");
    let mut common = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
        common += if rest.len() < part.len() { "/proc/PID" } else { "/proc/" };
        common += rest;
    }
    common
}

fn remove(record: &mut Value, path: &str) {
    let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
    let parent = parents
        .split('.')
        .filter(|part| !part.is_empty())
        .try_fold(record, |value, part| value.get_mut(part));
    if let Some(parent) = parent.and_then(Value::as_object_mut) {
        parent.remove(name);
    }
}

/// The items of a list inside a record; none when it is not there.
fn list<'r>(record: &'r mut Value, part: &str, name: &str) -> impl Iterator<Item = &'r mut Value> {
    let list = record.get_mut(part).and_then(|part| part.get_mut(name));
    list.and_then(Value::as_array_mut).into_iter().flatten()
}
