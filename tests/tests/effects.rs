//! The whole set of effects, from the kernel to the record: each system call that changes something is told
//! with its files, attributed to the call that made it.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use mcpwatch_tests::{
    Case, Era, Play, Scene, Sdk, case, deps, has, io_uring_open_missing, merge, own_program,
    play_io_uring, request_id, said, skipped, text,
};
use serde_json::{Value, json};

/// A `file.change` the call asked for.
fn change(operation: &str, path: &str, more: Value) -> Value {
    let mut file = json!({"operation": operation, "path": path, "result": "ok"});
    merge(&mut file, more);
    json!({"type": "file.change", "relation": "requested", "file": file})
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn every_change_of_a_file_is_told_with_its_paths() {
    let play = Play::begin();
    let at = |name: &str| play.scene.path(name);
    let home = at("");
    let home = home.trim_end_matches('/');
    for name in ["a", "b", "c", "mode", "cut"] {
        play.scene.write(&format!("w/{name}"), "some text");
    }
    let target = |path: &str| json!({"target": {"path": path}});
    let w = |name: &str| at(&format!("w/{name}"));
    let cases = [
        case(
            "move",
            json!({"from": w("a"), "to": w("x/../a2")}),
            &[json!({"type": "file.change", "relation": "requested", "file": {
                "operation": "rename", "path": w("a"), "argument": w("a"), "result": "ENOENT",
                "target": {"path": w("a2"), "argument": w("x/../a2")}}})],
        ),
        case(
            "move",
            json!({"from": w("a"), "to": w("a2")}),
            &[change("rename", &w("a"), target(&w("a2")))],
        ),
        case(
            "move_at",
            json!({"folder": w(""), "from": "a2", "to": "a3"}),
            &[change(
                "rename",
                &w("a2"),
                json!({"argument": "a2", "target": {"path": w("a3"), "argument": "a3"}}),
            )],
        ),
        case(
            "exchange",
            json!({"from": w("b"), "to": w("c")}),
            &[change("rename", &w("b"), json!({"target": {"path": w("c")}, "exchanged": true}))],
        ),
        case(
            "link",
            json!({"from": w("b"), "to": w("hard")}),
            &[change("link", &w("b"), target(&w("hard")))],
        ),
        case(
            "link_descriptor",
            json!({"from": w("b"), "to": w("hard2")}),
            &[change("link", &w("b"), target(&w("hard2")))],
        ),
        case(
            "symlink",
            json!({"text": "../secret", "path": w("soft")}),
            &[change(
                "symlink",
                &w("soft"),
                json!({"target": {"path": at("secret"), "argument": "../secret"}}),
            )],
        ),
        case(
            "symlink_at",
            json!({"text": "/etc/hosts", "name": "soft2", "folder": w("")}),
            &[change("symlink", &w("soft2"), target("/etc/hosts"))],
        ),
        case("remove", json!({"path": w("hard")}), &[change("unlink", &w("hard"), json!({}))]),
        case(
            "remove_at",
            json!({"folder": w(""), "name": "hard2"}),
            &[change("unlink", &w("hard2"), json!({"target": null}))],
        ),
        case(
            "make_folder",
            json!({"path": w("d")}),
            &[change("mkdir", &w("d"), json!({"mode": "0750"}))],
        ),
        case(
            "make_folder_at",
            json!({"folder": w("d"), "name": "e"}),
            &[change("mkdir", &w("d/e"), json!({"mode": "0711"}))],
        ),
        case(
            "remove_folder",
            json!({"path": w("d")}),
            &[change("rmdir", &w("d"), json!({"result": "ENOTEMPTY"}))],
        ),
        case(
            "remove_folder_at",
            json!({"folder": w("d"), "name": "e"}),
            &[change("rmdir", &w("d/e"), json!({}))],
        ),
        case("remove_folder", json!({"path": w("d")}), &[change("rmdir", &w("d"), json!({}))]),
        case(
            "make_pipe",
            json!({"path": w("pipe")}),
            &[change("mknod", &w("pipe"), json!({"mode": "10600"}))],
        ),
        case(
            "set_mode",
            json!({"path": w("mode"), "mode": 0o4755}),
            &[change("chmod", &w("mode"), json!({"mode": "4755"}))],
        ),
        case(
            "set_mode_at",
            json!({"folder": w(""), "name": "mode", "mode": 0o600}),
            &[change("chmod", &w("mode"), json!({"mode": "0600"}))],
        ),
        case(
            "set_mode_of_open",
            json!({"path": w("mode"), "mode": 0o644}),
            &[change("chmod", &w("mode"), json!({"mode": "0644", "argument": ""}))],
        ),
        case(
            "set_owner",
            json!({"path": w("mode"), "uid": 12}),
            &[change("chown", &w("mode"), json!({"owner_uid": 12, "owner_gid": null}))],
        ),
        case(
            "set_owner_of_link",
            json!({"path": w("soft"), "gid": 13}),
            &[change("chown", &w("soft"), json!({"owner_uid": null, "owner_gid": 13}))],
        ),
        case(
            "set_owner_of_open",
            json!({"path": w("mode")}),
            &[change("chown", &w("mode"), json!({"owner_uid": 1, "owner_gid": 2}))],
        ),
        case(
            "cut",
            json!({"path": w("cut"), "size": 5_000_000_000_u64}),
            &[change("truncate", &w("cut"), json!({"size": 5_000_000_000_u64}))],
        ),
        case(
            "cut_open",
            json!({"path": w("cut"), "size": 3}),
            &[change("truncate", &w("cut"), json!({"size": 3, "argument": ""}))],
        ),
        case(
            "make_memory",
            json!({"name": "scratch"}),
            &[change("memfd_create", "/memfd:scratch", json!({"unlinked": true}))],
        ),
        // A file opened for writing is told from one opened for reading.
        case(
            "write",
            json!({"path": w("new")}),
            &[json!({"type": "file.open", "file": {
            "path": w("new"), "access": "write", "flags": ["O_CREAT"]}})],
        ),
        case(
            "empty",
            json!({"path": w("new")}),
            &[json!({"type": "file.open", "file": {
            "path": w("new"), "access": "read", "flags": ["O_TRUNC"]}})],
        ),
        // What nobody asked for, and what it means.
        case(
            "tidy_config",
            json!({}),
            &[
                json!({"type": "file.change", "relation": "covert", "file": {"operation": "rename",
                "path": format!("{home}/new.json"), "result": "ENOENT"}}),
                json!({"type": "alert", "alert": {"rule": "mcp_config_write", "severity": "medium"}}),
            ],
        ),
    ];
    play.play_all(&cases);
}

#[test]
fn a_secret_under_another_name_and_a_replaced_configuration_are_alerts() {
    let play = Play::begin();
    play.scene.write(".ssh/id_rsa", "no key at all");
    play.scene.write("new.json", "{}");
    let alert = |rule: &str| {
        json!({"type": "alert", "relation": "covert",
            "alert": {"rule": rule, "severity": "critical"}, "file": {"result": "ok"}})
    };
    let cases = [
        case("tidy_keys", json!({}), &[alert("sensitive_file_read")]),
        case("tidy_config", json!({}), &[alert("mcp_config_write")]),
    ];
    play.play_all(&cases);
}

#[test]
fn paths_in_a_jail_are_shown_from_both_roots() {
    let play = Play::begin();
    let jail = play.scene.path("jail/root");
    std::fs::create_dir_all(&jail).expect("mkdir");
    let file = |path: &str| format!("{jail}{path}");
    let inside = |kind: &str, path: &str, more: Value| {
        let mut file = json!({"path": file(path), "inner_path": path});
        merge(&mut file, more);
        json!({"type": kind, "file": file})
    };
    play.play_all(&[case(
        "jailed",
        json!({"root": jail}),
        &[
            privilege("chroot", json!({"path": jail, "argument": jail, "inner_path": "/"})),
            inside("file.change", "/inside", json!({"operation": "mkdir", "argument": "/inside"})),
            inside("file.change", "/beside", json!({"argument": "../../beside", "result": "ok"})),
            inside("file.open", "/inside/file", json!({"access": "write", "result": "ok"})),
            inside("file.open", "/inside/absent", json!({"result": "ENOENT"})),
        ],
    )]);
}

#[test]
fn files_without_a_name_are_shown_as_such() {
    let play = Play::begin();
    let folder = play.scene.path("");
    let gone = play.scene.path("gone");
    let opened = |path: Value| json!({"type": "file.open", "file": {"path": path, "unlinked": true, "result": "ok"}});
    let wrong = play.play(&case("unlinked", json!({"path": gone}), &[opened(json!(gone))]));
    assert!(wrong.is_empty(), "{wrong:?}");
    let wrong = play.play(&case(
        "nameless",
        json!({"path": folder}),
        &[json!({
        "type": "file.open", "file": {"unlinked": true, "result": "ok", "access": "read"}})],
    ));
    assert!(wrong.is_empty(), "{wrong:?}");
    play.play_all(&[]);
}

#[test]
fn a_file_opened_by_its_handle_is_told_with_its_path() {
    let play = Play::begin();
    let (path, folder) = (play.scene.write("handled", "text"), play.scene.path(""));
    play.scene.write("volume/file", "text");
    let volume = play.scene.path("volume");
    let opened = |path: &str, result: &str| {
        json!({"type": "file.open", "relation": "requested", "file": {
            "path": path, "argument": "", "access": "read", "via": "handle", "result": result}})
    };
    let alert = |severity: &str| alert("privilege_change", severity);
    // The kernel, which made the handle a moment before, has the file at hand with its folder. On another mount no
    // such handle is valid; on one of a folder beside, it leads out of it.
    play.play_all(&[
        case(
            "open_by_handle",
            json!({"path": path, "mount": folder}),
            &[opened(&path, "ok"), alert("critical")],
        ),
        case(
            "open_by_handle",
            json!({"path": path, "mount": "/proc"}),
            &[opened("/proc", "ESTALE"), alert("high")],
        ),
        case("open_out_of_mount", json!({"path": path, "inside": volume}), &[opened(&path, "ok")]),
        case(
            "open_cold",
            json!({"folder": folder}),
            &[json!({"type": "file.open", "truncated": ["file.path"], "file": {
                "path": "", "argument": "", "via": "handle", "result": "ok"}})],
        ),
    ]);
}

/// Names of folders, one in the other, that make a path longer by this many bytes.
fn folders(len: usize) -> Vec<String> {
    // The last one takes the rest, and no name is longer than 255 bytes.
    let mut names = vec!["x".repeat(120); len / 121];
    names.last_mut().expect("more than one folder").push_str(&"y".repeat(len % 121));
    names
}

#[test]
fn paths_longer_than_any_argument_are_whole() {
    let play = Play::begin();
    let scene_path = play.scene.path("");
    let scene_path = scene_path.trim_end_matches('/');
    let above = scene_path.split('/').filter(|name| !name.is_empty()).count();
    // 64 components and a file in them; then 4,096 bytes of long names.
    let many: Vec<String> = (above..63).map(|number| format!("folder-{number}")).collect();
    let long = folders(4096 - scene_path.len() - "/bottom".len());
    let mut cases = Vec::new();
    for names in [many, long] {
        let path = format!("{scene_path}/{}/bottom", names.join("/"));
        let last = path.strip_suffix("/bottom").expect("it ends so");
        cases.push(case(
            "deep",
            json!({"path": scene_path, "names": names}),
            &[
                json!({"type": "file.open", "truncated": null,
                "file": {"path": path, "access": "write", "result": "ok"}}),
                json!({"type": "file.change", "truncated": null,
                "file": {"operation": "mkdir", "path": last, "result": "ok"}}),
                json!({"type": "file.change", "truncated": null,
                "file": {"operation": "rename", "path": path, "argument": "bottom", "result": "ok",
                "target": {"path": format!("{last}/sunken"), "argument": "sunken"}}}),
                json!({"type": "process.exec", "truncated": null,
                "exec": {"path": format!("{last}/copied"), "cwd": last}}),
            ],
        ));
    }
    assert_eq!(
        cases[0].records[0]["file"]["path"].as_str().expect("a path").split('/').count(),
        65
    );
    assert_eq!(cases[1].records[0]["file"]["path"].as_str().expect("a path").len(), 4096);
    play.play_all(&cases);
}

#[test]
fn paths_longer_than_any_argument_are_whole_in_a_jail_and_a_mount() {
    let play = Play::begin();
    let (jail, mounts) = (play.scene.path("jail"), play.scene.path("mounts"));
    std::fs::create_dir_all(&jail).expect("mkdir");
    let below = |top: &str| folders(4096 - top.len() - "/bottom".len());
    let (in_jail, in_mount) = (below(&jail), below(&format!("{mounts}/bound")));
    let bottom = |top: &str, names: &[String]| format!("{top}/{}/bottom", names.join("/"));
    let opened = |path: String, more: Value| {
        assert_eq!(path.len(), 4096);
        let mut file = json!({"path": path, "access": "write", "result": "ok"});
        merge(&mut file, more);
        json!({"type": "file.open", "truncated": null, "file": file})
    };
    play.play_all(&[
        case(
            "deep_in_jail",
            json!({"root": jail, "names": in_jail}),
            &[opened(bottom(&jail, &in_jail), json!({"inner_path": bottom("", &in_jail)}))],
        ),
        case(
            "deep_in_mount",
            json!({"path": mounts, "names": in_mount}),
            &[opened(
                bottom(&format!("{mounts}/bound"), &in_mount),
                json!({"host_path": bottom(&format!("{mounts}/source"), &in_mount)}),
            )],
        ),
    ]);
}

#[test]
fn the_longest_argument_is_whole_and_a_longer_one_is_cut() {
    let play = Play::begin();
    let scene_path = play.scene.path("");
    let scene_path = scene_path.trim_end_matches('/');
    let names = folders(4095 - scene_path.len() - "/bottom".len());
    let folder = format!("{scene_path}/{}", names.join("/"));
    std::fs::create_dir_all(&folder).expect("mkdir");
    let [path, absent, moved] =
        ["bottom", "absent", "sunken"].map(|name| format!("{folder}/{name}"));
    assert_eq!(path.len(), 4095);
    let file = |kind: &str, truncated: Value, path: &str, more: Value| {
        let mut file = json!({"path": path, "argument": path});
        merge(&mut file, more);
        json!({"type": kind, "truncated": truncated, "file": file})
    };
    let cut = || json!(["file.path"]);
    play.play_all(&[
        case(
            "write",
            json!({"path": path}),
            &[file("file.open", Value::Null, &path, json!({"access": "write", "result": "ok"}))],
        ),
        case(
            "empty",
            json!({"path": absent}),
            &[file("file.open", Value::Null, &absent, json!({"result": "ENOENT"}))],
        ),
        case(
            "empty",
            json!({"path": format!("{path}s")}),
            &[file("file.open", cut(), &path, json!({"result": "ENAMETOOLONG"}))],
        ),
        case(
            "move",
            json!({"from": path, "to": moved}),
            &[file(
                "file.change",
                Value::Null,
                &path,
                json!({"operation": "rename", "result": "ok",
                    "target": {"path": moved, "argument": moved}}),
            )],
        ),
        case(
            "move",
            json!({"from": absent, "to": format!("{moved}s")}),
            &[file(
                "file.change",
                cut(),
                &absent,
                json!({"operation": "rename", "result": "ENAMETOOLONG",
                    "target": {"path": moved, "argument": moved}}),
            )],
        ),
    ]);
}

#[test]
fn paths_cross_bind_mounts_and_overlays() {
    let play = Play::begin();
    let path = play.scene.path("mounts");
    std::fs::create_dir_all(&path).expect("mkdir");
    let opened = |name: &str| {
        json!({"type": "file.open", "file": {"path": format!("{path}/{name}"), "result": "ok",
            "inner_path": null}})
    };
    play.play_all(&[case(
        "mounted",
        json!({"path": path}),
        &[
            opened("bound/deep/file"),
            opened("merged/below"),
            json!({"type": "file.change", "file": {"operation": "rename", "result": "ok",
            "path": format!("{path}/merged/below"),
            "target": {"path": format!("{path}/merged/above")}}}),
        ],
    )]);
}

#[test]
fn a_file_is_known_by_its_place_on_the_host_too() {
    let play = Play::begin();
    // Nothing but the folder says what it is.
    let secret = play.scene.write(".aws/credentials", mcpwatch_tests::CANARY);
    let path = play.scene.path("elsewhere");
    let file = json!({"path": format!("{path}/credentials"), "host_path": secret, "result": "ok"});
    play.play_all(&[case(
        "mounted_secret",
        json!({"path": path}),
        &[
            json!({"type": "file.open", "file": file}),
            json!({"type": "alert", "alert": {"rule": "sensitive_file_read"}, "file": file}),
        ],
    )]);
}

/// A `process.privilege` of a call that does not mention it.
fn privilege(operation: &str, more: Value) -> Value {
    let mut privilege = json!({"operation": operation, "result": "ok"});
    merge(&mut privilege, more);
    // What a kernel says to what it must refuse differs.
    if privilege["result"] == "refused" {
        privilege.as_object_mut().expect("an object").remove("result");
    }
    json!({"type": "process.privilege", "privilege": privilege})
}

fn alert(rule: &str, severity: &str) -> Value {
    json!({"type": "alert", "alert": {"rule": rule, "severity": severity}})
}

#[test]
fn every_change_of_privileges_is_told() {
    let play = Play::begin();
    let folder = play.scene.path("mounted");
    std::fs::create_dir_all(&folder).expect("mkdir");
    let sudo = play.scene.path("sudo");
    std::fs::copy("/bin/true", &sudo).expect("a program can be copied");
    std::fs::set_permissions(&sudo, std::fs::Permissions::from_mode(0o4755)).expect("chmod");
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

#[test]
fn programs_without_a_name_are_shown_as_such_with_their_ancestors() {
    let play = Play::begin();
    let gone = play.scene.path("gone");
    let anchor = u64::from(play.scene.anchor_pid());
    let kind = |kind: &str, path: &str| json!({"type": "process.exec", "relation": "covert", "exec": {"kind": kind, "path": path}});
    let mut deleted = kind("deleted", &gone);
    deleted["relation"] = json!("requested");
    let before = play.agent.count();
    let wrong: Vec<String> = [
        case("run_memory", json!({}), &[kind("memfd", "/memfd:agent")]),
        case("run_deleted", json!({"path": gone}), &[deleted]),
    ]
    .iter()
    .flat_map(|case| play.play(case))
    .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let records = play.agent.since(before);
    let exec = records.of("process.exec").next().expect("an exec");
    let ancestors = exec["exec"]["ancestors"].as_array().expect("ancestors");
    // The server, the client, and the anchor of the scene, where the scope ends.
    let pids: Vec<u64> = ancestors.iter().filter_map(|one| one["pid"].as_u64()).collect();
    assert_eq!(pids.last(), Some(&anchor), "{ancestors:?}");
    assert!(pids.contains(&u64::from(play.client.pid())), "{ancestors:?}");
    assert!(text(&ancestors[0], "exe").contains("python"), "{ancestors:?}");
    play.play_all(&[]);
}

/// Interpreters follow links, complete names and search `PATH`, each in its own way.
#[test]
fn a_script_is_known_by_where_its_interpreter_finds_it() {
    let play = Play::begin();
    let (python, sh) = (deps().python(), PathBuf::from("/bin/sh"));
    let home = play.scene.path("");
    for (interpreter, name, script, at) in [
        (&*python, "plugin.py", "/proc/self/cwd/plugin.py", &*home),
        (Path::new("node"), "plugin.js", "/proc/self/cwd/plugin.js", &home),
        (Path::new("node"), "other.js", "/proc/self/cwd/other", &home),
        (&*sh, "plugin.sh", "/proc/self/cwd/plugin.sh", &home),
        (Path::new("bash"), "tool", "tool", "/"),
    ] {
        let before = play.agent.count();
        let run = case(
            "run_script",
            json!({"interpreter": interpreter, "name": name, "script": script, "at": at}),
            &[alert("download_exec", "critical")],
        );
        let wrong = play.play(&run);
        assert!(wrong.is_empty(), "{name}: {wrong:?}");
        let fresh = play.agent.since(before);
        let mut alerts =
            fresh.of("alert").filter(|record| text(record, "alert.rule") == "download_exec");
        let reason = alerts.next().map_or("", |alert| text(alert, "alert.reason"));
        let lies = play.scene.path(name);
        assert!(reason.contains(&format!(": {lies}, which ")), "{name}: {reason}");
        assert!(alerts.next().is_none(), "{name}: {}", fresh.digest());
    }
    play.play_all(&[]);
}

/// The ancestors of the one program that a call runs under this name, by process id, and those that had ended.
fn ancestors_of(play: &Play, case: &Case, name: &str) -> (Vec<u64>, Vec<u64>) {
    let before = play.agent.count();
    let wrong = play.play(case);
    assert!(wrong.is_empty(), "{wrong:?}");
    let records = play.agent.since(before);
    let exec = records.of("process.exec").find(|exec| exec["exec"]["argv"][0] == name);
    let exec = exec.unwrap_or_else(|| panic!("an exec of {name}"));
    assert!(exec.get("truncated").is_none(), "{exec}");
    let all = exec["exec"]["ancestors"].as_array().expect("ancestors");
    let pid = |one: &Value| one["pid"].as_u64().expect("a process id");
    let ended = all.iter().filter(|one| one["ended"] == true);
    (all.iter().map(pid).collect(), ended.map(pid).collect())
}

#[test]
fn ancestors_are_complete_however_far_above() {
    let play = Play::begin();
    let anchor = u64::from(play.scene.anchor_pid());
    let run = json!({"type": "process.exec", "exec": {"argv": ["/bin/true"]}});
    let deep = case("run_below", json!({"levels": 40}), &[run]);
    let (pids, ended) = ancestors_of(&play, &deep, "/bin/true");
    assert_eq!(ended, [0_u64; 0], "{pids:?}");
    // 41 shells, the server, the client, and the anchor, where the scope ends.
    assert!(pids.len() >= 44, "{pids:?}");
    let client = u64::from(play.client.pid());
    assert!(pids.iter().skip(42).any(|pid| *pid == client), "{pids:?}");
    assert_eq!(pids.last(), Some(&anchor), "{pids:?}");
    play.play_all(&[]);
}

#[test]
fn a_daemon_is_shown_below_those_who_started_it() {
    let play = Play::begin();
    let anchor = u64::from(play.scene.anchor_pid());
    let run = json!({"type": "process.exec", "exec": {"argv": ["daemon"]}});
    let (pids, ended) = ancestors_of(&play, &case("run_daemon", json!({}), &[run]), "daemon");
    assert_eq!(ended, pids[..1], "{pids:?}");
    assert!(pids.contains(&u64::from(play.client.pid())), "{pids:?}");
    assert_eq!(pids.last(), Some(&anchor), "{pids:?}");
    play.play_all(&[]);
}

#[test]
fn sockets_of_every_family_and_those_of_container_runtimes() {
    let play = Play::begin();
    let runtime = play.scene.path("docker.sock");
    let _listener = UnixListener::bind(&runtime).expect("a socket in the home");
    let link = play.scene.path("plain");
    std::os::unix::fs::symlink(&runtime, &link).expect("a link to it");
    let net = |kind: &str, net: Value| json!({"type": kind, "net": net});
    let before = play.agent.count();
    let made = net("net.socket", json!({"family": "vsock", "protocol": "stream"}));
    let wrong = play.play(&case("vsock", json!({}), &[made]));
    assert!(wrong.is_empty(), "{wrong:?}");
    let told = play.agent.since(before);
    // A kernel may have no such sockets; what comes of a connection depends on what machine this is.
    let made = told.of("net.socket").any(|record| text(record, "net.result") == "ok");
    let machine = json!({"net": {"family": "vsock", "vsock": {"cid": 1, "port": 4242}}});
    let connected = told.of("net.connect").any(|record| has(record, &machine));
    assert_eq!(connected, made, "{}", told.digest());
    let cases = [
        case(
            "netlink",
            json!({}),
            &[
                net(
                    "net.socket",
                    json!({"family": "netlink", "protocol": "route", "result": "ok"}),
                ),
                net("net.bind", json!({"family": "netlink", "netlink": {"groups": 0}})),
            ],
        ),
        case(
            "packet",
            json!({}),
            &[
                net("net.socket", json!({"family": "packet", "protocol": "raw", "result": "ok"})),
                // `LOOPBACK_IFINDEX`; the protocol is `ETH_P_ALL`.
                net(
                    "net.bind",
                    json!({"family": "packet", "protocol": "raw", "result": "ok",
                        "packet": {"interface": 1, "ethertype": 3}}),
                ),
            ],
        ),
        case(
            "runtime",
            json!({"path": runtime}),
            &[
                json!({"type": "net.connect", "relation": "requested",
                    "net": {"family": "unix", "path": runtime}}),
                alert("privilege_change", "medium"),
            ],
        ),
        case(
            "runtime",
            json!({"path": link}),
            &[
                json!({"type": "net.connect",
                    "net": {"family": "unix", "path": link, "bound_path": runtime}}),
                alert("privilege_change", "medium"),
            ],
        ),
    ];
    play.play_all(&cases);
}

#[test]
fn what_is_done_through_io_uring_is_told() {
    mcpwatch_tests::require_root();
    let missing = io_uring_open_missing();
    if let Some(reason) = &missing {
        skipped(&format!(
            "results of opens through io_uring: they are told as they are submitted: {reason}"
        ));
    }
    play_io_uring("", &json!(own_program("labelled")), missing.as_deref());
}

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
