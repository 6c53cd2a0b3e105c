//! Rights, namespaces and mounts, and who reaches into other processes.

use std::ffi::CString;
use std::os::unix::fs::PermissionsExt;

use mcpwatch_tests::{
    Era, Play, Scene, Sdk, case, deps, merge, own_program, request_id, said, text,
};
use serde_json::{Value, json};

use crate::{alert, privilege};

/// Gives a program the capability to bind low ports: `struct vfs_cap_data` of `include/uapi/linux/capability.h`, revision
/// 2, in effect from the start.
fn give_capability(program: &str) {
    const NET_BIND_SERVICE: u32 = 1 << 10;
    let words = [0x0200_0001, NET_BIND_SERVICE, 0, 0, 0];
    let value: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    let program = CString::new(program).expect("no NUL");
    // SAFETY: strings and bytes that outlive the call, with their length.
    let failed = unsafe {
        let (value, len) = (value.as_ptr().cast(), value.len());
        libc::setxattr(program.as_ptr(), c"security.capability".as_ptr(), value, len, 0)
    };
    assert_eq!(failed, 0, "setxattr: {}", std::io::Error::last_os_error());
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_change_of_privileges_is_told() {
    let play = Play::begin();
    let folder = play.scene.path("mounted");
    std::fs::create_dir_all(&folder).expect("mkdir");
    let copy = |name: &str, mode| {
        let path = play.scene.path(name);
        std::fs::copy("/bin/true", &path).expect("a program can be copied");
        // A change of the group takes marks away.
        std::os::unix::fs::chown(&path, None, Some(4321)).expect("chown");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).expect("chmod");
        path
    };
    let (sudo, grouped) = (copy("sudo", 0o4755), copy("grouped", 0o2755));
    let capable = copy("capable", 0o755);
    give_capability(&capable);
    let critical = || alert("privilege_change", "critical");
    let high = || alert("privilege_change", "high");
    let bpf = if cfg!(target_arch = "x86_64") { 321 } else { 280 };
    let cases = [
        case(
            "give_up_root",
            json!({"uid": 1234}),
            &[
                privilege(
                    "setresuid",
                    json!({"ids": {"real": 1234, "effective": 1234, "saved": 1234}}),
                ),
                privilege("setresgid", json!({"ids": {"real": 1234}})),
            ],
        ),
        case(
            "ask_for_root",
            json!({"uid": 1234}),
            &[privilege("setuid", json!({"result": "EPERM", "ids": {"effective": 0}}))],
        ),
        case(
            "ask_for_capabilities",
            json!({"uid": 1234}),
            &[privilege(
                "capset",
                json!({"result": "EPERM", "capabilities": {"effective": ["CAP_SYS_ADMIN"],
                    "permitted": ["CAP_SYS_ADMIN"], "inheritable": []}}),
            )],
        ),
        case(
            "sudo",
            json!({"uid": 1234, "program": sudo}),
            &[json!({"type": "process.exec", "relation": "requested",
                "exec": {"path": sudo, "set_user_id": true}})],
        ),
        case(
            "sudo",
            json!({"uid": 1234, "program": grouped}),
            &[json!({"type": "process.exec", "relation": "requested",
                "exec": {"path": grouped, "set_group_id": true}})],
        ),
        case(
            "sudo",
            json!({"uid": 1234, "program": capable}),
            &[json!({"type": "process.exec", "relation": "requested",
                "exec": {"path": capable, "file_capabilities": true}})],
        ),
        case(
            "new_namespaces",
            json!({}),
            &[privilege("unshare", json!({"namespaces": ["mount", "uts"]})), critical()],
        ),
        case(
            "enter_namespace",
            json!({}),
            &[privilege("setns", json!({"namespaces": ["uts"]})), critical()],
        ),
        case(
            "mount",
            json!({"path": folder}),
            &[
                json!({"type": "process.privilege", "relation": "requested",
                    "privilege": {"operation": "mount", "path": folder, "source": folder,
                        "mount_flags": ["MS_BIND"], "result": "ok"}}),
                json!({"type": "process.privilege", "relation": "requested",
                    "privilege": {"operation": "mount_setattr", "path": folder, "result": "ok"}}),
                privilege("umount", json!({"path": folder})),
                critical(),
            ],
        ),
        case(
            "use_bpf",
            json!({"number": bpf}),
            &[privilege("bpf", json!({"command": "BPF_PROG_LOAD", "result": "refused"})), high()],
        ),
        case(
            "load_module",
            json!({"name": "no_such_module_of_ours"}),
            &[privilege(
                "delete_module",
                json!({"path": "no_such_module_of_ours", "result": "refused"}),
            )],
        ),
        case(
            "open_ring",
            json!({}),
            &[privilege("io_uring_setup", json!({})), alert("io_uring_use", "low")],
        ),
    ];
    play.play_all(&cases);
}

/// `labelled` asks `open_tree(2)` twice: once for a copy of the mounts, once for the folder alone.
#[test]
fn every_call_for_mounts_is_told_and_a_folder_opened_by_one_is_not() {
    let scene = Scene::new();
    let config = scene.config(&[("labelled-rust", json!({"command": own_program("labelled")}))]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Own);
    client.open(&config, &["labelled-rust"], Era::Handshake);
    let before = agent.count();
    let folder = scene.path("mounts");
    let result = client.call("labelled-rust", "change_mounts", json!({"path": folder}));
    assert_eq!(said(&result), "changed", "{result}");
    let id = request_id(&result).clone();
    let call = agent.find("the call", |record| {
        text(record, "type") == "mcp.call" && record["call"]["id"] == id
    });
    let fresh = agent.since(before);
    let told: Vec<[&str; 3]> = fresh
        .attributed_to(text(&call, "call.uid"))
        .filter(|record| text(record, "type") == "process.privilege")
        .map(|record| {
            ["operation", "path", "result"].map(|field| text(&record["privilege"], field))
        })
        .collect();
    let inside = format!("{folder}/inside");
    let wanted = [
        ["unshare", "", "ok"],
        ["mount", "/", "ok"],
        ["mount", &folder, "ok"],
        ["umount", &folder, "ok"],
        ["fsmount", "", "ok"],
        ["open_tree", &folder, "ok"],
        ["move_mount", &folder, "ok"],
        ["pivot_root", &inside, "EINVAL"],
        ["chroot", &inside, "ok"],
    ];
    assert_eq!(told, wanted, "{}", fresh.digest());
    client.close(&[]);
}

#[test]
fn prctl_is_told_where_it_gives_more_and_nowhere_else() {
    let play = Play::begin();
    let before = play.agent.count();
    let cases = [
        case(
            "keep_capabilities",
            json!({}),
            &[
                privilege("prctl", json!({"command": "PR_SET_KEEPCAPS", "secure_bits": null})),
                privilege(
                    "prctl",
                    json!({"command": "PR_SET_SECUREBITS", "secure_bits": ["SECBIT_KEEP_CAPS"]}),
                ),
            ],
        ),
        case(
            "hand_on_capability",
            json!({"uid": 1234}),
            &[privilege(
                "prctl",
                json!({"command": "PR_CAP_AMBIENT_RAISE", "ambient": "CAP_NET_RAW", "result": "EPERM"}),
            )],
        ),
    ];
    let wrong: Vec<String> = cases.iter().flat_map(|case| play.play(case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let records = play.agent.since(before);
    let told = records.of("process.privilege");
    let told = told.filter(|record| text(record, "privilege.operation") == "prctl").count();
    assert_eq!(told, 3, "{}", records.digest());
    play.play_all(&[]);
}

#[test]
fn a_process_that_gave_up_root_and_asks_for_more_is_an_alert() {
    let scene = Scene::new();
    // The program of a server that never was root.
    let script = scene.script("servers/effects.py");
    let arguments = [
        "--reuid=1234",
        "--regid=1234",
        "--clear-groups",
        &*deps().python().to_string_lossy(),
        &script,
    ]
    .map(str::to_owned);
    let server = json!({"command": "setpriv", "args": arguments});
    std::fs::set_permissions(scene.home(), std::fs::Permissions::from_mode(0o777)).expect("chmod");
    let config = scene.config(&[("effects", server)]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["effects"], Era::Handshake);
    let play = Play { agent, client, scene };
    let wrong = play.play(&case(
        "ask_for_root",
        json!({"uid": 1234}),
        &[
            privilege("setuid", json!({"result": "EPERM", "ids": {"effective": 0}})),
            alert("privilege_change", "high"),
        ],
    ));
    assert!(wrong.is_empty(), "{wrong:?}");
    play.play_all(&[case(
        "hand_on_capability_as_is",
        json!({}),
        &[
            privilege("prctl", json!({"command": "PR_CAP_AMBIENT_RAISE", "result": "EPERM"})),
            alert("privilege_change", "high"),
        ],
    )]);
}

#[test]
fn who_reaches_into_another_process_is_told_with_whom() {
    let play = Play::begin();
    let access = |operation: &str, more: Value| {
        let mut access =
            json!({"operation": operation, "result": "ok", "target": {"server": "effects"}});
        merge(&mut access, more);
        json!({"type": "process.access", "access": access})
    };
    // A process may do that to what it has started itself.
    let medium = || alert("privilege_change", "medium");
    let cases = [
        case(
            "trace_child",
            json!({}),
            &[access("ptrace", json!({"request": "PTRACE_ATTACH"})), medium()],
        ),
        case("read_child", json!({}), &[access("process_vm_readv", json!({})), medium()]),
        case("write_child", json!({}), &[access("process_vm_writev", json!({})), medium()]),
        case("take_descriptor", json!({}), &[access("pidfd_getfd", json!({})), medium()]),
    ];
    play.play_all(&cases);
}

#[test]
fn who_puts_a_hand_on_another_servers_channel_or_memory_is_caught() {
    let scene = Scene::new();
    let script = scene.script("servers/effects.py");
    let server = json!({"command": deps().python(), "args": [script]});
    let bank = json!({"command": deps().python(), "args": [server["args"][0], "bank"]});
    let config = scene.config(&[("effects", server), ("bank", bank)]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["effects", "bank"], Era::Handshake);
    let result = client.call("bank", "pid", json!({}));
    let pid: u32 = said(&result).parse().expect("a pid");
    let play = Play { agent, client, scene };
    let request = "{\"jsonrpc\": \"2.0\", \"method\": \"notifications/none\"}\n";
    let caught = |object: Value| {
        json!({"type": "alert", "server": {"name": "effects"}, "relation": object["relation"],
            "alert": {"rule": "channel_injection", "severity": "critical"}})
    };
    let cases = [
        case(
            "write_to",
            json!({"path": format!("/proc/{pid}/fd/0"), "text": request}),
            &[caught(json!({"relation": "requested"})), caught(json!({"relation": "covert"}))],
        ),
        // Its stdin and stdout are its own, as far as its parent goes: it is no server for that.
        case(
            "write_by_child",
            json!({"path": format!("/proc/{pid}/fd/0"), "text": request.trim_end()}),
            &[
                json!({"type": "process.exec", "server": {"name": "effects"}}),
                caught(json!({"relation": "requested"})),
                caught(json!({"relation": "covert"})),
            ],
        ),
        case(
            "write_memory",
            json!({"pid": pid}),
            &[
                json!({"type": "file.open", "file": {"path": format!("/proc/{pid}/mem"),
                    "access": "read_write"}}),
                caught(json!({"relation": "covert"})),
            ],
        ),
        case(
            "trace",
            json!({"pid": pid}),
            &[
                json!({"type": "process.access", "relation": "requested", "access": {
                    "operation": "ptrace", "target": {"pid": pid, "server": "bank"}}}),
                caught(json!({"relation": "requested"})),
            ],
        ),
    ];
    let wrong: Vec<String> = cases.iter().flat_map(|case| play.play(case)).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    play.agent.find("the other server's channel", |record| {
        text(record, "type") == "mcp.message"
            && text(record, "server.name") == "bank"
            && text(record, "mcp.problem") == "injected"
    });
    play.play_all(&[]);
}
