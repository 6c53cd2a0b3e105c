//! Record → OCSF 1.8 event (<https://schema.ocsf.io/1.8.0>): what security data lakes read without a
//! mapping of their own. What OCSF has no attribute for (call, relation, server) stands in
//! `unmapped`, in the words of `docs/events.md`.

use std::path::Path;

use serde_json::{Map, Value, json};

use crate::record::{Process, Record, RecordType, Severity, Time};

/// The version of the schema the events follow.
pub const VERSION: &str = "1.8.0";

/// An event class and one of its activities.
struct Class {
    uid: u64,
    name: &'static str,
    category: u64,
    category_name: &'static str,
    activity: u64,
    activity_name: &'static str,
}

/// `activity_id` of what the class has no activity for: named by `activity_name`.
const OTHER: u64 = 99;

const fn class(uid: u64, activity: u64, activity_name: &'static str) -> Class {
    let (category, category_name, name) = match uid {
        1001 => (1, "System Activity", "File System Activity"),
        1007 => (1, "System Activity", "Process Activity"),
        2004 => (2, "Findings", "Detection Finding"),
        4001 => (4, "Network Activity", "Network Activity"),
        4003 => (4, "Network Activity", "DNS Activity"),
        6003 => (6, "Application Activity", "API Activity"),
        _ => (0, "Uncategorized", "Base Event"),
    };
    Class { uid, name, category, category_name, activity, activity_name }
}

const fn class_of(kind: RecordType) -> Class {
    match kind {
        RecordType::ProcessExec => class(1007, 1, "Launch"),
        RecordType::ProcessExit => class(1007, 2, "Terminate"),
        // Which one, the operation says: see `privilege_activity`.
        RecordType::ProcessPrivilege => class(1007, OTHER, "Privilege"),
        RecordType::ProcessAccess => class(1007, 4, "Inject"),
        RecordType::FileOpen => class(1001, 14, "Open"),
        // Which one, the operation says: see `change_activity`.
        RecordType::FileChange => class(1001, OTHER, "Change"),
        RecordType::NetSocket => class(4001, OTHER, "Socket"),
        RecordType::NetConnect => class(4001, 1, "Open"),
        RecordType::NetAccept => class(4001, OTHER, "Accept"),
        RecordType::NetSend | RecordType::NetTls => class(4001, 6, "Traffic"),
        RecordType::NetBind => class(4001, OTHER, "Bind"),
        RecordType::NetListen => class(4001, 7, "Listen"),
        // Question and answer in one.
        RecordType::NetDns => class(4003, 6, "Traffic"),
        // Its activities are create, read, update and delete: what a tool does is not known.
        RecordType::McpCall => class(6003, OTHER, "Call"),
        RecordType::Alert => class(2004, 1, "Create"),
        RecordType::ServerDiscovered => class(0, OTHER, "MCP Server Discovered"),
        RecordType::ServerExited => class(0, OTHER, "MCP Server Exited"),
        RecordType::McpSession => class(0, OTHER, "MCP Session"),
        RecordType::McpMessage => class(0, OTHER, "MCP Message"),
        RecordType::Loss => class(0, OTHER, "Loss"),
        RecordType::Status => class(0, OTHER, "Status"),
    }
}

/// The activity of a `file.change`.
fn change_activity(operation: &'static str) -> Class {
    match operation {
        "mkdir" | "mknod" | "symlink" | "memfd_create" => class(1001, 1, "Create"),
        "truncate" => class(1001, 3, "Update"),
        "unlink" | "rmdir" => class(1001, 4, "Delete"),
        "rename" => class(1001, 5, "Rename"),
        "chmod" => class(1001, 7, "Set Security"),
        "chown" => class(1001, 6, "Set Attributes"),
        // 99: a hard link, and what is to come.
        other => class(1001, OTHER, other),
    }
}

/// The activity of a `process.privilege`.
const fn privilege_activity(of_ids: bool) -> Class {
    if of_ids { class(1007, 5, "Set User ID") } else { class(1007, OTHER, "Privilege") }
}

fn class_of_record(record: &Record) -> Class {
    match (record.kind, &record.file, &record.privilege, &record.access) {
        (RecordType::FileChange, Some(file), ..) => {
            change_activity(file.operation.unwrap_or("change"))
        }
        (RecordType::ProcessPrivilege, _, Some(privilege), _) => {
            privilege_activity(privilege.ids.is_some())
        }
        (RecordType::ProcessAccess, .., Some(access)) if access.operation == "process_vm_readv" => {
            class(1007, 3, "Open")
        }
        (kind, ..) => class_of(kind),
    }
}

/// The OCSF event of a record.
#[must_use]
pub fn event(record: &Record) -> Value {
    let class = class_of_record(record);
    let severity = record.alert.as_ref().map_or(Severity::Info, |alert| alert.severity);
    let (severity_id, severity_name) = severity_of(severity);
    let mut event = object(json!({
        "category_uid": class.category,
        "category_name": class.category_name,
        "class_uid": class.uid,
        "class_name": class.name,
        "activity_id": class.activity,
        "activity_name": class.activity_name,
        "type_uid": class.uid * 100 + class.activity,
        "type_name": format!("{}: {}", class.name, class.activity_name),
        "severity_id": severity_id,
        "severity": severity_name,
        "time": milliseconds(record.time),
        "metadata": {
            "version": VERSION,
            "product": {
                "name": "mcpwatch",
                "vendor_name": "mcpwatch",
                "version": env!("CARGO_PKG_VERSION"),
            },
            "uid": format!("{}:{}", record.host.boot_id, record.seq),
            "sequence": record.seq,
            "original_time": record.time,
            "log_name": record.schema,
            "event_code": record.kind.name(),
        },
        "device": { "type_id": 0, "type": "Unknown", "hostname": record.host.name },
    }));
    if record.kind != RecordType::Alert {
        add_status(record, &mut event);
    }
    if let Some(actor) = actor(record) {
        event.insert("actor".to_owned(), json!({ "process": actor }));
    }
    let own = match record.kind {
        RecordType::ProcessExec | RecordType::ProcessExit | RecordType::ProcessPrivilege => {
            process_activity(record)
        }
        RecordType::ProcessAccess => access_activity(record),
        RecordType::FileOpen | RecordType::FileChange => file_activity(record),
        RecordType::NetSocket
        | RecordType::NetConnect
        | RecordType::NetSend
        | RecordType::NetBind
        | RecordType::NetListen
        | RecordType::NetAccept
        | RecordType::NetTls => network_activity(record),
        RecordType::NetDns => dns_activity(record),
        RecordType::McpCall => api_activity(record),
        RecordType::Alert => detection_finding(record),
        _ => json!({ "message": message(record) }),
    };
    event.extend(object(own));
    event.insert("unmapped".to_owned(), unmapped(record));
    event.retain(|_, value| !value.is_null());
    Value::Object(event)
}

const fn severity_of(severity: Severity) -> (u64, &'static str) {
    match severity {
        Severity::Info => (1, "Informational"),
        Severity::Low => (2, "Low"),
        Severity::Medium => (3, "Medium"),
        Severity::High => (4, "High"),
        Severity::Critical => (5, "Critical"),
    }
}

fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(map) => map,
        _ => Map::new(),
    }
}

fn milliseconds(time: Time) -> i64 {
    time.0.div_euclid(1_000_000)
}

/// Who did it. A program is launched by the parent of the process that runs it.
fn actor(record: &Record) -> Option<Value> {
    let process = record.process.as_ref()?;
    let parent = record.exec.as_ref().and_then(|exec| exec.parent_exe.as_ref());
    Some(match parent {
        Some(exe) if record.kind == RecordType::ProcessExec => {
            let file = file_object(exe);
            json!({ "pid": process.ppid, "name": file.get("name"), "file": file })
        }
        _ => process_object(process),
    })
}

/// `status_id` (1 success, 2 failure) from what the system call or the server said.
fn add_status(record: &Record, event: &mut Map<String, Value>) {
    let result = record
        .file
        .as_ref()
        .map(|file| file.result.as_ref())
        .or_else(|| record.net.as_ref().map(|net| net.result.as_ref()))
        .or_else(|| record.privilege.as_ref().map(|privilege| privilege.result.as_ref()))
        .or_else(|| record.access.as_ref().map(|access| access.result.as_ref()))
        .or_else(|| Some(record.call.as_ref()?.outcome.as_ref()?.status.name()));
    let (id, name) = match result {
        Some("ok") => (1, "Success"),
        Some("in_progress" | "unknown") => (0, "Unknown"),
        Some(_) => (2, "Failure"),
        None => return,
    };
    event.insert("status_id".to_owned(), id.into());
    event.insert("status".to_owned(), name.into());
    event.insert("status_detail".to_owned(), result.into());
}

fn file_object(path: &str) -> Value {
    // 0: unknown. That it is a regular file is nowhere said.
    let name = Path::new(path).file_name().and_then(|name| name.to_str()).unwrap_or(path);
    json!({ "name": name, "path": path, "type_id": 0 })
}

fn process_object(process: &Process) -> Value {
    let file = file_object(&process.exe);
    let mut object = object(json!({
        "pid": process.pid,
        "uid": process.entity_id,
        "name": file.get("name"),
        "file": file,
        "cmd_line": command_line(&process.argv),
        "working_directory": process.cwd,
        "created_time": milliseconds(process.start_time),
        "parent_process": { "pid": process.ppid },
        "user": { "uid": process.uid.to_string() },
        "container": process.container.as_ref().map(|container| json!({
            "uid": container.id,
            "name": container.name,
            "runtime": container.runtime,
            "pod_uuid": container.pod,
            "image": container.image.as_ref().map(|image| json!({ "name": image, "uid": image })),
        })),
        "namespace": process.container.as_ref().and_then(|container| container.namespace.as_ref()),
    }));
    without_nulls(&mut object);
    Value::Object(object)
}

fn without_nulls(object: &mut Map<String, Value>) {
    object.retain(|_, value| !value.is_null());
    for value in object.values_mut() {
        if let Value::Object(inner) = value {
            without_nulls(inner);
        }
    }
}

/// The argument vector as a shell would read it.
fn command_line(argv: &[String]) -> String {
    shlex::try_join(argv.iter().map(String::as_str)).unwrap_or_else(|_| argv.join(" "))
}

fn process_activity(record: &Record) -> Value {
    let mut process = record.process.as_ref().map_or(Value::Null, |it| process_object(it));
    // A process may have executed another program by now.
    if let (Some(exec), Some(process)) = (&record.exec, process.as_object_mut()) {
        let file = file_object(&exec.path);
        process.insert("name".to_owned(), file.get("name").cloned().unwrap_or_default());
        process.insert("file".to_owned(), file);
        process.insert("cmd_line".to_owned(), command_line(&exec.argv).into());
        process.insert("working_directory".to_owned(), exec.cwd.clone().into());
    }
    json!({
        "process": process,
        "exit_code": record.exit.and_then(|exit| exit.code.or(exit.signal.map(|signal| 128 + signal))),
    })
}

/// The process is the one that was reached into; who did it is the actor.
fn access_activity(record: &Record) -> Value {
    let Some(target) = record.access.as_ref().and_then(|access| access.target.as_ref()) else {
        return json!({ "process": {} });
    };
    let file = target.exe.as_deref().map(file_object);
    let mut process = object(json!({ "pid": target.pid, "uid": target.entity_id, "file": file }));
    without_nulls(&mut process);
    json!({ "process": process })
}

fn file_activity(record: &Record) -> Value {
    let Some(file) = &record.file else { return Value::Null };
    let mut object = file_object(&file.path);
    if let (Some(inode), Some(object)) = (file.inode, object.as_object_mut()) {
        object.insert("uid".to_owned(), inode.to_string().into());
    }
    let result = file.target.as_ref().map(|target| file_object(&target.path));
    json!({ "file": object, "file_result": result })
}

fn network_activity(record: &Record) -> Value {
    let Some(net) = &record.net else { return Value::Null };
    let mut endpoint = object(json!({
        "ip": net.address,
        "port": net.port,
        "hostname": net.names.first(),
        "name": net.path,
    }));
    endpoint.retain(|_, value| !value.is_null());
    let (direction_id, direction) = match record.kind {
        RecordType::NetConnect | RecordType::NetSend | RecordType::NetDns | RecordType::NetTls => {
            (2, "Outbound")
        }
        RecordType::NetAccept => (1, "Inbound"),
        _ => (0, "Unknown"),
    };
    let (version_id, version) = match net.family.as_str() {
        "inet" => (4, "Internet Protocol version 4 (IPv4)"),
        "inet6" => (6, "Internet Protocol version 6 (IPv6)"),
        _ => (0, "Unknown"),
    };
    let connection = json!({
        "protocol_name": net.protocol.unwrap_or(&net.family),
        "protocol_ver_id": version_id,
        "protocol_ver": version,
        "direction_id": direction_id,
        "direction": direction,
    });
    // A bound address is the process's own, that of a peer who connected is the source.
    let end = match record.kind {
        RecordType::NetConnect
        | RecordType::NetSend
        | RecordType::NetListen
        | RecordType::NetDns
        | RecordType::NetTls => "dst_endpoint",
        _ => "src_endpoint",
    };
    json!({ "connection_info": connection, end: endpoint })
}

/// Network activity with the question and its answers.
fn dns_activity(record: &Record) -> Value {
    let mut activity = object(network_activity(record));
    if let Some(dns) = &record.dns {
        activity.insert("query".to_owned(), json!({ "hostname": dns.question, "type": dns.kind }));
        activity.insert("rcode".to_owned(), dns.rcode.clone().into());
        let answers = dns.answers.iter().map(|answer| {
            json!({ "rdata": answer.value.as_deref().unwrap_or_default(), "type": answer.kind })
        });
        activity.insert("answers".to_owned(), answers.collect());
    }
    Value::Object(activity)
}

fn api_activity(record: &Record) -> Value {
    let Some(call) = &record.call else { return Value::Null };
    let server = record.server.as_ref();
    let error = call.outcome.as_ref().and_then(|outcome| outcome.error.as_ref());
    let mut api = object(json!({
        "operation": call.method,
        "service": {
            "name": server.map(|server| &server.name),
            "uid": server.map(|server| &server.id),
            "version": server.and_then(|server| server.version.as_ref()),
        },
        "request": { "uid": call.uid },
        "response": error.map(|error| json!({ "code": error.code, "error_message": error.message })),
    }));
    without_nulls(&mut api);
    json!({
        "api": api,
        "actor": { "app_name": server.and_then(|server| server.client.as_deref()).unwrap_or("unknown") },
        "src_endpoint": { "hostname": record.host.name },
        "resources": call.tool.as_ref().map(|tool| json!([{ "name": tool, "type": "tool" }])),
        "duration": call.outcome.as_ref().and_then(|it| it.duration_ns).map(|ns| ns / 1_000_000),
    })
}

fn detection_finding(record: &Record) -> Value {
    let Some(alert) = &record.alert else { return Value::Null };
    let technique =
        |version: &str, id: &str| json!({ "version": version, "technique": { "uid": id } });
    let atlas = format!("ATLAS {}", alert.tags.atlas_version.unwrap_or_default());
    let attacks: Vec<Value> = (alert.tags.ids.attack.iter().map(|id| technique("ATT&CK", id)))
        .chain(alert.tags.ids.atlas.iter().map(|id| technique(&atlas, id)))
        .collect();
    let mut evidence = Map::new();
    if let Some(process) = &record.process {
        evidence.insert("process".to_owned(), process_object(process));
    }
    for item in &alert.evidence {
        evidence
            .entry("data")
            .or_insert_with(|| json!({}))
            .as_object_mut()
            .map(|data| data.insert(item.name.to_owned(), item.value.clone().into()));
    }
    json!({
        "message": alert.reason,
        "is_alert": true,
        "finding_info": {
            "uid": format!("{}:{}", record.host.boot_id, record.seq),
            "title": alert.title,
            "desc": alert.reason,
            "types": [alert.rule],
            "analytic": { "type_id": 1, "type": "Rule", "uid": alert.rule, "name": alert.title },
            "attacks": attacks,
            "first_seen_time": milliseconds(record.time),
        },
        "evidences": [evidence],
        "remediation": { "desc": alert.playbook },
        "count": alert.count,
        "status_id": 1,
        "status": "New",
    })
}

fn message(record: &Record) -> Option<String> {
    if let Some(status) = &record.status {
        return Some(status.message.clone());
    }
    if let Some(loss) = &record.loss {
        return Some(format!("{} lost: {} {}, {}", loss.lost, loss.stage, loss.what, loss.reason));
    }
    record.mcp.as_ref().and_then(|mcp| mcp.detail.clone())
}

/// Everything OCSF has no place for, in our own words.
fn unmapped(record: &Record) -> Value {
    let mut unmapped = object(json!({
        "server": record.server,
        "call": record.call,
        "relation": record.relation,
        "mcp": record.mcp,
        "loss": record.loss,
        "status": record.status,
        "exit": record.exit.filter(|_| record.kind == RecordType::ServerExited),
        "file": record.file,
        "dns": record.dns,
        "tls": record.tls,
        "privilege": record.privilege,
        "access": record.access,
        "tags": record.alert.as_ref().map(|alert| json!(alert.tags)),
    }));
    unmapped.retain(|_, value| !value.is_null());
    if !record.truncated.is_empty() {
        unmapped.insert("truncated".to_owned(), json!(record.truncated));
    }
    if !record.redacted.is_empty() {
        unmapped.insert("redacted".to_owned(), json!(record.redacted));
    }
    Value::Object(unmapped)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::samples;

    #[test]
    fn every_type_has_the_required_attributes_of_its_class() {
        for record in samples::one_of_each() {
            let event = event(&record);
            let kind = record.kind.name();
            let number =
                |name: &str| event[name].as_u64().unwrap_or_else(|| panic!("{kind} {name}"));
            assert_eq!(number("type_uid"), number("class_uid") * 100 + number("activity_id"));
            assert_eq!(number("category_uid"), number("class_uid") / 1000, "{kind}");
            assert!((1..=5).contains(&number("severity_id")));
            assert_eq!(event["time"], 1_772_600_767_089_u64);
            assert_eq!(event["metadata"]["version"], VERSION);
            assert_eq!(event["metadata"]["product"]["name"], "mcpwatch");
            assert_eq!(event["device"]["type_id"], 0);
            // `https://schema.ocsf.io/1.8.0/classes/…`: required attributes beyond the base event.
            let required: &[&str] = match number("class_uid") {
                1001 => &["/actor", "/file/name", "/file/type_id"],
                1007 => &["/actor", "/process/pid"],
                2004 => &["/finding_info/uid", "/finding_info/title"],
                4001 => &["/connection_info/direction_id"],
                6003 => &["/actor", "/api/operation", "/src_endpoint"],
                _ => &["/activity_name"],
            };
            for pointer in required {
                assert!(event.pointer(pointer).is_some(), "{kind} {pointer}: {event:#}");
            }
            assert!(!event.to_string().contains(":null"), "{kind}: {event:#}");
        }
    }

    #[test]
    fn an_alert_is_a_finding_with_techniques_and_remediation() {
        let event = event(&samples::alert());
        assert_eq!(event["class_uid"], 2004);
        assert_eq!(event["severity"], "Critical");
        assert_eq!(event["finding_info"]["analytic"]["uid"], "sensitive_file_read");
        assert_eq!(event["finding_info"]["attacks"][0]["technique"]["uid"], "T1552.004");
        assert_eq!(event["evidences"][0]["data"]["path"], "/home/ada/.ssh/id_rsa");
        assert_eq!(event["status"], "New");
        assert_eq!(event.get("status_detail"), None);
        assert_eq!(event["unmapped"]["relation"], "covert");
        assert_eq!(event["unmapped"]["call"]["tool"], "read_file");
    }

    #[test]
    fn a_program_is_launched_by_its_parent() {
        let event = event(&samples::of_type(RecordType::ProcessExec));
        assert_eq!(event["actor"]["process"]["pid"], 4242);
        assert_eq!(event["actor"]["process"]["name"], "node");
        assert_eq!(event["process"]["pid"], 4243);
        assert_eq!(event["process"]["cmd_line"], "sh -c 'id; uname'");
    }

    #[test]
    fn a_failed_call_says_so() {
        let event = event(&samples::of_type(RecordType::McpCall));
        assert_eq!(event["api"]["operation"], "tools/call");
        assert_eq!(
            (event["status"].as_str(), event["duration"].as_u64()),
            (Some("Failure"), Some(12))
        );
    }
}
