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
    "dns.duration_ns",
    "access.target.pid",
    "access.target.entity_id",
    "mcp.session",
    // The same for every alert of a rule, and long.
    "alert.title",
    "alert.tags",
    "alert.playbook",
];

/// Operations that a kernel may be built without (`CONFIG_MODULES`, `CONFIG_KEXEC`): it refuses them as unknown, and
/// another one as forbidden.
const BUILT_IN_OR_NOT: &[&str] =
    &["init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load"];
/// Families of sockets that come in a module, which is not there in a virtual machine.
const FAMILIES_IN_MODULES: &[&str] = &["packet", "vsock"];

/// One line for each record about `servers`: those of one type and process in their order, the processes in
/// the order of what they are. Programs that run side by side write their records in any order.
pub fn lines(records: &Records, servers: &[&str], scene: &Scene) -> Vec<String> {
    let folder = scene.backstage("").to_string_lossy().trim_end_matches('/').to_owned();
    let mut lines: Vec<(String, String)> = records
        .0
        .iter()
        .filter(|record| servers.contains(&text(record, "server.name")))
        .filter(|record| !is_told_again(record, records))
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
            for object in list(&mut plain, "alert", "objects") {
                *object = without_pid(object.as_str().unwrap_or_default()).into();
            }
            if BUILT_IN_OR_NOT.contains(&text(&plain, "privilege.operation"))
                && text(&plain, "privilege.result") != "ok"
            {
                plain["privilege"]["result"] = "refused".into();
            }
            if FAMILIES_IN_MODULES.contains(&text(&plain, "net.family")) {
                remove(&mut plain, "net.result");
            }
            let reason = without_pid(&without_seconds(text(&plain, "alert.reason")));
            if !reason.is_empty() {
                plain["alert"]["reason"] = reason.into();
            }
            let key = format!("{} {}", plain["type"], plain["process"]["argv"]);
            let common = |text: &str| without_numbers(&text.replace(&folder, "/scene"));
            (common(&key), common(&plain.to_string()))
        })
        .collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines.into_iter().map(|(_, line)| line).collect()
}

/// An alert that is published again, with a higher count, before its call has ended: a slow processor gets there, a
/// fast one does not.
fn is_told_again(record: &Value, records: &Records) -> bool {
    let alert = |record: &Value| {
        let parts = ["server.name", "alert.rule", "alert.severity", "relation", "call.uid"];
        parts.map(|part| text(record, part).to_owned())
    };
    let count = |record: &Value| record["alert"]["count"].as_u64().unwrap_or(0);
    count(record) > 1
        && records
            .of("alert")
            .any(|other| count(other) > count(record) && alert(other) == alert(record))
}

/// How long before something was.
fn without_seconds(reason: &str) -> String {
    let Some((before, after)) = reason.split_once(" s before") else { return reason.to_owned() };
    let number = |c: char| c.is_ascii_digit() || c == '.';
    format!("{} some s before{after}", before.trim_end_matches(number).trim_end())
}

/// Into which process another one reached.
fn without_pid(reason: &str) -> String {
    let Some((before, after)) = reason.split_once(" of pid ") else { return reason.to_owned() };
    format!("{before} of pid PID{}", after.trim_start_matches(|c: char| c.is_ascii_digit()))
}

/// Without the numbers in paths that are others each time: `/proc/self/maps` is another file for each process, and a
/// file that never had a name is called by its inode.
fn without_numbers(text: &str) -> String {
    let mut common = text.to_owned();
    for (before, stands_for) in [("/proc/", "PID"), ("/#", "INODE")] {
        let mut parts = common.split(before);
        let mut replaced = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let rest = part.trim_start_matches(|c: char| c.is_ascii_digit());
            replaced += before;
            replaced += if rest.len() < part.len() { stands_for } else { "" };
            replaced += rest;
        }
        common = replaced;
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
