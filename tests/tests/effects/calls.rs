//! System calls by their numbers: each is made, with 64 and with 32 bits.

use mcpwatch_tests::{Era, Scene, Sdk, has, own_program, request_id, said, skipped, text};
use serde_json::{Value, json};

use crate::{change, privilege};

/// In the register for the number there is room for more than the kernel looks at.
#[test]
fn a_number_with_something_in_its_upper_half_hides_nothing() {
    let scene = Scene::new();
    let path = scene.write("file", "text");
    let config = scene.config(&[("labelled-rust", json!({"command": own_program("labelled")}))]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Own);
    client.open(&config, &["labelled-rust"], Era::Handshake);
    let result = client.call("labelled-rust", "open_widely", json!({"path": path}));
    if said(&result) == "left out" {
        skipped("numbers of system calls with something above: this kernel takes none");
        return;
    }
    assert_eq!(said(&result), "opened", "{result}");
    agent.find("the open", |record| {
        text(record, "type") == "file.open" && text(record, "file.path") == path
    });
    client.close(&[]);
}

/// Has the labelled server make system calls, by each tool with a path, and looks for the records that these have to
/// leave; gives all they left.
fn play_tools(scene: Scene, tools: &[(&str, &str, &[Value])]) -> Vec<Value> {
    let config = scene.config(&[("labelled-rust", json!({"command": own_program("labelled")}))]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Own);
    client.open(&config, &["labelled-rust"], Era::Handshake);
    let mut told = Vec::new();
    for (tool, path, wanted) in tools {
        let before = agent.count();
        let result = client.call("labelled-rust", tool, json!({"path": path}));
        if said(&result) == "left out" {
            skipped(&format!("this kernel has no such system calls: {tool}"));
            continue;
        }
        assert_ne!(result["isError"], true, "{tool}: {result}");
        let id = request_id(&result).clone();
        let call = agent.find("the call", |record| {
            text(record, "type") == "mcp.call" && record["call"]["id"] == id
        });
        let fresh = agent.since(before);
        let own: Vec<&Value> = fresh.attributed_to(text(&call, "call.uid")).collect();
        let missing: Vec<&Value> =
            wanted.iter().filter(|wanted| !own.iter().any(|it| has(it, wanted))).collect();
        let all: Vec<String> = own.iter().map(ToString::to_string).collect();
        assert!(missing.is_empty(), "{tool}: {missing:#?}\namong {all:#?}");
        told.extend(own.into_iter().cloned());
    }
    client.close(&[]);
    let records = agent.stop().records;
    assert_eq!(mcpwatch_tests::lost(&records, "kernel", "compat"), 0, "{}", records.digest());
    told
}

/// How many of the records have this.
#[cfg(target_arch = "x86_64")]
fn count(told: &[Value], part: Value) -> usize {
    told.iter().filter(|record| has(record, &part)).count()
}

/// A `file.open` by the file's own path.
#[cfg(target_arch = "x86_64")]
fn opened(access: &str, flags: Value, result: &str, path: &str) -> Value {
    json!({"type": "file.open", "file": {
        "path": path, "argument": path, "access": access, "flags": flags, "result": result}})
}

/// A change of ids.
fn ids(operation: &str, ids: Value) -> Value {
    privilege(operation, json!({"ids": ids}))
}

/// `kexec_load(2)` and `kexec_file_load(2)` may be missing from the kernel: if they are told, then in their place.
#[test]
fn every_call_for_ids_namespaces_and_the_kernel_is_told_with_its_values() {
    let scene = Scene::new();
    let file = scene.write("file", "text");
    let program = own_program("labelled").canonicalize().expect("it is there");
    let forbidden = |operation: &str, path: Value| {
        privilege(operation, json!({"result": "EPERM", "path": path}))
    };
    let mut wanted = vec![
        privilege("setgroups", json!({"groups": 1})),
        ids("setfsgid", json!({"filesystem": 1234})),
        ids("setregid", json!({"real": null, "effective": 1234})),
        ids("setresgid", json!({"real": 1234, "effective": null, "saved": null})),
        ids("setgid", json!({"effective": 1234})),
        ids("setfsuid", json!({"filesystem": 1234})),
        ids("setreuid", json!({"real": null, "effective": 0})),
        ids("setresuid", json!({"real": 1234, "effective": null, "saved": null})),
        ids("setuid", json!({"effective": 1234})),
        privilege("setuid", json!({"ids": {"effective": 0}, "result": "EPERM"})),
        privilege(
            "capset",
            json!({"result": "EPERM", "capabilities": {"effective": ["CAP_SYS_ADMIN"],
                "permitted": ["CAP_SYS_ADMIN"], "inheritable": []}}),
        ),
        privilege("prctl", json!({"command": "PR_SET_KEEPCAPS", "secure_bits": null})),
        privilege(
            "prctl",
            json!({"command": "PR_SET_SECUREBITS", "secure_bits": ["SECBIT_KEEP_CAPS"]}),
        ),
        privilege(
            "prctl",
            json!({"command": "PR_CAP_AMBIENT_RAISE", "ambient": "CAP_NET_RAW", "result": "EPERM"}),
        ),
        privilege("unshare", json!({"namespaces": ["uts", "ipc"]})),
        privilege("setns", json!({"namespaces": ["uts"]})),
        // clone(2) and clone3(2).
        privilege("clone", json!({"namespaces": ["uts"]})),
        privilege("clone", json!({"namespaces": ["uts"]})),
        privilege("bpf", json!({"command": "BPF_MAP_LOOKUP_ELEM", "result": "EBADF"})),
        privilege("io_uring_setup", json!({})),
        ids("setresuid", json!({"real": 1234, "effective": 1234, "saved": 1234})),
        forbidden("init_module", Value::Null),
        forbidden("finit_module", json!(program)),
        forbidden("delete_module", json!("no_such_module_of_ours")),
        forbidden("kexec_load", Value::Null),
        forbidden("kexec_file_load", json!(program)),
    ];
    let mode = [change("chmod", &file, json!({"mode": "0640"}))];
    let mut told = play_tools(
        scene,
        &[
            ("change_ids", "", &[]),
            ("change_namespaces", "", &[]),
            ("touch_kernel", "", &[]),
            ("change_mode", &file, &mode),
        ],
    );
    told.retain(|record| text(record, "type") == "process.privilege");
    for record in &mut told {
        // A kernel that is built without them refuses all these as unknown.
        if text(record, "privilege.result") == "ENOSYS" {
            record["privilege"]["result"] = json!("EPERM");
        }
    }
    let operation = |record: &Value| text(record, "privilege.operation").to_owned();
    let found: Vec<String> = told.iter().map(operation).collect();
    wanted.retain(|one| {
        let one = operation(one);
        !one.starts_with("kexec") || found.contains(&one)
    });
    assert!(has(&json!(told), &json!(wanted)), "{told:#?}\ninstead of {wanted:#?}");
}

#[test]
#[cfg(target_arch = "x86_64")]
fn system_calls_of_32_bits_are_told_like_others() {
    let scene = Scene::new();
    let folder = scene.path("narrow");
    let at = |name: &str| format!("{folder}/{name}");
    let (file, other, link) = (at("file"), at("other"), at("link"));
    let wanted = [
        opened("write", json!(["O_CREAT"]), "ok", &file),
        change("truncate", &file, json!({"size": 3, "argument": ""})),
        change("chown", &file, json!({"argument": "", "owner_uid": 12, "owner_gid": null})),
        opened("read", Value::Null, "ok", &file),
        opened("read", Value::Null, "ENOENT", &at("absent")),
        change("truncate", &file, json!({"size": (1_u64 << 32) + 5})),
        change("rename", &file, json!({"target": {"path": other}})),
        change("symlink", &link, json!({"target": {"path": other}})),
        change("chown", &other, json!({"owner_uid": null, "owner_gid": 13})),
        change("chown", &link, json!({"owner_uid": 14, "owner_gid": 15})),
        privilege("setgroups", json!({"groups": 1})),
        ids("setfsgid", json!({"filesystem": 1234})),
        ids("setregid", json!({"real": null, "effective": 1234})),
        ids("setresgid", json!({"real": 1234, "effective": null, "saved": null})),
        ids("setgid", json!({"effective": 1234})),
        ids("setfsuid", json!({"filesystem": 1234})),
        ids("setreuid", json!({"real": null, "effective": 0})),
        ids("setresuid", json!({"real": null, "effective": null, "saved": 0})),
        ids("setuid", json!({"effective": 1234})),
        privilege("setuid", json!({"ids": {"effective": 0}, "result": "EPERM"})),
        privilege("prctl", json!({"command": "PR_SET_KEEPCAPS"})),
        privilege("unshare", json!({"namespaces": ["mount"]})),
        privilege("mount", json!({"path": folder, "mount_flags": ["MS_BIND"]})),
        privilege("umount", json!({"path": folder})),
        json!({"type": "net.connect", "net": {
            "family": "inet", "address": "127.0.0.1", "port": 9101, "result": "ECONNREFUSED"}}),
    ];
    let told = play_tools(scene, &[("work_in_32_bits", &folder, &wanted)]);
    // By connect(2) and by socketcall(2).
    assert!(told.is_empty() || count(&told, json!({"type": "net.connect"})) == 2, "{told:#?}");
}

/// All of the network that the server does, in its order: a send without an address is not among it.
#[test]
#[cfg(target_arch = "x86_64")]
fn what_socketcall_stands_for_is_told_like_the_calls_themselves() {
    let scene = Scene::new();
    let folder = scene.path("sockets");
    let (door, inbox) = (format!("{folder}/door"), format!("{folder}/inbox"));
    let unix = |kind: &str, protocol: &str, path: &str| {
        json!({"type": kind, "net": {
            "family": "unix", "protocol": protocol, "path": path, "result": "ok"}})
    };
    let wanted = [
        json!({"type": "net.socket", "net": {
            "family": "netlink", "protocol": "kobject_uevent", "result": "ok"}}),
        unix("net.bind", "stream", &door),
        unix("net.bind", "datagram", &inbox),
        unix("net.listen", "stream", &door),
        // Visits, with accept(2) and accept4(2).
        unix("net.connect", "stream", &door),
        unix("net.accept", "stream", &door),
        unix("net.connect", "stream", &door),
        unix("net.accept", "stream", &door),
        // sendto(2) and sendmmsg(2).
        unix("net.send", "datagram", &inbox),
        unix("net.send", "datagram", &inbox),
        unix("net.connect", "datagram", &inbox),
    ];
    let mut told = play_tools(scene, &[("sockets_in_32_bits", &folder, &wanted)]);
    told.retain(|record| text(record, "type").starts_with("net."));
    // Nothing where the calls are left out; elsewhere `play_tools` has found each.
    assert!(
        told.is_empty() || has(&json!(told), &json!(wanted)),
        "{told:#?}\ninstead of {wanted:#?}"
    );
}

#[test]
#[cfg(target_arch = "x86_64")]
fn a_channel_is_followed_when_its_bytes_go_by_socketcall() {
    let scene = Scene::new();
    let server = json!({"command": own_program("labelled"), "sockets": true});
    let config = scene.config(&[("labelled-rust", server)]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Own);
    client.open(&config, &["labelled-rust"], Era::Handshake);
    for way in ["narrow_message", "narrow_socket", "narrow_addressed_socket"] {
        // The answer to the first goes that way, and the second both ways.
        for (tool, arguments) in
            [("speak_narrowly", json!({"way": way})), ("echo", json!({"text": way}))]
        {
            let result = client.call("labelled-rust", tool, arguments.clone());
            if said(&result) == "left out" {
                skipped("channels by socketcall(2): this kernel has no such system calls");
                return;
            }
            let id = request_id(&result);
            let call = agent.find(&format!("the call of {tool}, {way}"), |record| {
                text(record, "type") == "mcp.call" && record["call"]["id"] == *id
            });
            let wanted = json!({"tool": tool, "arguments": arguments, "status": "ok"});
            assert!(has(&call["call"], &wanted), "{call}");
        }
    }
    client.close(&[]);
    let records = agent.stop().records;
    assert_eq!(mcpwatch_tests::lost(&records, "kernel", "compat"), 0, "{}", records.digest());
}

/// `kexec_load(2)` may be missing from the kernel: what comes of it is compared in the matrix alone.
#[test]
#[cfg(target_arch = "x86_64")]
fn the_rest_of_the_system_calls_of_32_bits_is_told_like_others() {
    let scene = Scene::new();
    let folder = scene.path("rest");
    let at = |name: &str| format!("{folder}/{name}");
    let (file, hard, hard2, soft) = (at("file"), at("hard"), at("hard2"), at("soft"));
    let (other, third, mounted) = (at("other"), at("third"), at("mounted"));
    let (door, inbox) = (at("door"), at("inbox"));
    let target = |path: &str| json!({"target": {"path": path}});
    let mode = |operation: &str, name: &str, mode: &str| {
        change(operation, &at(name), json!({"mode": mode}))
    };
    let owners = |path: &str, uid: Value, gid: Value| {
        change("chown", path, json!({"owner_uid": uid, "owner_gid": gid}))
    };
    let unix = |kind: &str, path: &str| {
        json!({"type": kind, "net": {
            "family": "unix", "path": path, "result": "ok"}})
    };
    let access = |operation: &str, request: Value| {
        json!({"type": "process.access", "access": {"operation": operation, "request": request,
            "target": {"server": "labelled-rust"}, "result": "ok"}})
    };
    let refused = |operation: &str| privilege(operation, json!({"result": "refused"}));
    let wanted = [
        opened("write", json!(["O_CREAT", "O_TRUNC"]), "ok", &file),
        opened("read_write", Value::Null, "ok", &file),
        json!({"type": "file.open", "file": {
            "path": file, "argument": "", "access": "read", "via": "handle", "result": "ok"}}),
        json!({"type": "file.change", "file": {
            "operation": "memfd_create", "path": "/memfd:scratch", "result": "ok"}}),
        change("truncate", &file, json!({"size": -1, "argument": "", "result": "EINVAL"})),
        change("truncate", &file, json!({"size": -2, "argument": file, "result": "EINVAL"})),
        change("truncate", &file, json!({"size": 3, "argument": ""})),
        change("truncate", &file, json!({"size": 5, "argument": file})),
        mode("chmod", "file", "0640"),
        mode("chmod", "file", "0644"),
        mode("chmod", "file", "0600"),
        owners(&file, json!(1), json!(2)),
        owners(&file, json!(12), Value::Null),
        change("link", &file, target(&hard)),
        change("link", &file, target(&hard2)),
        // It leads out of the folder that was asked about.
        json!({"type": "file.change", "relation": "covert", "file": {
            "operation": "symlink", "path": soft, "target": {"argument": "../secret"}}}),
        owners(&soft, Value::Null, json!(13)),
        owners(&soft, json!(3), json!(4)),
        change("rename", &hard, target(&other)),
        change("rename", &other, target(&third)),
        change("unlink", &third, json!({})),
        change("unlink", &hard2, json!({})),
        mode("mkdir", "sub", "0750"),
        mode("mkdir", "sub2", "0711"),
        change("rmdir", &at("sub"), json!({})),
        mode("mknod", "pipe", "10600"),
        mode("mknod", "pipe2", "10600"),
        unix("net.bind", &door),
        unix("net.bind", &inbox),
        unix("net.listen", &door),
        unix("net.accept", &door),
        privilege("setgroups", json!({"groups": 1})),
        ids("setfsgid", json!({"filesystem": 1234})),
        ids("setregid", json!({"real": null, "effective": 1234})),
        ids("setresgid", json!({"real": 1234, "effective": null, "saved": null})),
        ids("setgid", json!({"effective": 1234})),
        ids("setfsuid", json!({"filesystem": 1234})),
        ids("setreuid", json!({"real": null, "effective": 0})),
        ids("setresuid", json!({"real": 1234, "effective": 1234, "saved": 1234})),
        privilege(
            "capset",
            json!({"result": "EPERM", "capabilities": {"effective": ["CAP_SYS_ADMIN"],
                "permitted": ["CAP_SYS_ADMIN"], "inheritable": []}}),
        ),
        privilege("fsmount", json!({})),
        privilege("open_tree", json!({"path": mounted})),
        privilege("move_mount", json!({"path": mounted})),
        privilege("pivot_root", json!({"path": at("mounted/inside"), "result": "EINVAL"})),
        privilege("umount", json!({"path": mounted})),
        privilege("setns", json!({"namespaces": ["uts"]})),
        privilege("chroot", json!({"path": mounted})),
        access("ptrace", json!("PTRACE_ATTACH")),
        access("process_vm_readv", Value::Null),
        access("process_vm_writev", Value::Null),
        access("pidfd_getfd", Value::Null),
        privilege("bpf", json!({"command": "BPF_MAP_LOOKUP_ELEM", "result": "refused"})),
        privilege("io_uring_setup", json!({})),
        refused("init_module"),
        refused("finit_module"),
        privilege("delete_module", json!({"path": "no_such_module_of_ours", "result": "refused"})),
    ];
    let attributes = [privilege("mount_setattr", json!({"path": folder}))];
    let told = play_tools(
        scene,
        &[
            ("rest_in_32_bits", &folder, &wanted),
            ("change_mode_in_32_bits", &file, &[mode("chmod", "file", "0640")]),
            ("set_attributes_in_32_bits", &folder, &attributes),
            ("open_with_attributes_in_32_bits", &folder, &attributes),
        ],
    );
    // sendto(2), sendmsg(2) and sendmmsg(2); clone(2) and clone3(2).
    let cloned = privilege("clone", json!({"namespaces": ["uts"]}));
    let counts = (count(&told, unix("net.send", &inbox)), count(&told, cloned));
    assert!(told.is_empty() || counts == (3, 2), "{counts:?}: {told:#?}");
}
