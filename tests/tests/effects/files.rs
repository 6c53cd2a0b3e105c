//! Files: each system call that changes one is told with its paths, whatever root, mount or name they have.

use mcpwatch_tests::{Play, case, merge};
use serde_json::{Value, json};

use crate::{alert, change, privilege};

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
            "cut",
            json!({"path": w("cut"), "size": -1}),
            &[change("truncate", &w("cut"), json!({"size": -1, "result": "EINVAL"}))],
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
