//! Every call that opens a file, by its number: the C library makes most opens with one of them.

use mcpwatch_tests::{Play, case};
use serde_json::{Value, json};

// Of `include/uapi/linux/openat2.h`.
const RESOLVE_NO_SYMLINKS: u64 = 4;
const RESOLVE_BENEATH: u64 = 8;

/// A `file.open` of the call.
fn opened(path: &str, argument: &str, access: &str, flags: &[&str], result: &str) -> Value {
    // No flags, no list.
    let flags = if flags.is_empty() { Value::Null } else { json!(flags) };
    json!({"type": "file.open", "truncated": null, "file": {
        "path": path, "argument": argument, "access": access, "flags": flags, "result": result,
        "via": null}})
}

/// Other machines have neither.
#[cfg(target_arch = "x86_64")]
#[test]
fn open_and_creat_are_told_as_openat_is() {
    let play = Play::begin();
    let path = play.scene.write("w/file", "text");
    let (new, other) = (play.scene.path("w/new"), play.scene.path("w/other"));
    let folder = play.scene.path("w");
    let open = |path: &str, flags: i32| json!({"path": path, "flags": flags});
    let cases = [
        case("open", open(&path, libc::O_RDONLY), &[opened(&path, &path, "read", &[], "ok")]),
        case(
            "open",
            open("w/file", libc::O_RDWR),
            &[opened(&path, "w/file", "read_write", &[], "ok")],
        ),
        case(
            "open",
            open(&new, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL | libc::O_APPEND),
            &[opened(&new, &new, "write", &["O_CREAT", "O_EXCL", "O_APPEND"], "ok")],
        ),
        case(
            "open",
            open(&new, libc::O_WRONLY | libc::O_CREAT | libc::O_EXCL),
            &[opened(&new, &new, "write", &["O_CREAT", "O_EXCL"], "EEXIST")],
        ),
        case(
            "open",
            open("w/../absent", libc::O_RDONLY),
            &[opened(&play.scene.path("absent"), "w/../absent", "read", &[], "ENOENT")],
        ),
        case(
            "create",
            json!({"path": other}),
            &[opened(&other, &other, "write", &["O_CREAT", "O_TRUNC"], "ok")],
        ),
        case(
            "create",
            json!({"path": "w"}),
            &[opened(&folder, "w", "write", &["O_CREAT", "O_TRUNC"], "EISDIR")],
        ),
    ];
    play.play_all(&cases);
}

#[test]
fn openat2_is_told_with_what_its_struct_says() {
    let play = Play::begin();
    let path = play.scene.write("w/file", "text");
    std::os::unix::fs::symlink("file", play.scene.path("w/link")).expect("symlink");
    let (new, folder) = (play.scene.path("w/new"), play.scene.path("w"));
    let (create, read) = (libc::O_RDWR | libc::O_CREAT | libc::O_TRUNC, libc::O_RDONLY);
    let open = |folder: Option<&str>, path: &str, flags: i32, resolve: u64| {
        // Without `O_CREAT` there may be no mode.
        let mode = if flags & libc::O_CREAT == 0 { 0 } else { 0o600 };
        let mut arguments = json!({"path": path, "flags": flags, "mode": mode, "resolve": resolve});
        if let Some(folder) = folder {
            arguments["folder"] = json!(folder);
        }
        arguments
    };
    let inside = Some(folder.as_str());
    let cases = [
        case("open_how", open(None, &path, read, 0), &[opened(&path, &path, "read", &[], "ok")]),
        case(
            "open_how",
            open(inside, "new", create, RESOLVE_BENEATH),
            &[opened(&new, "new", "read_write", &["O_CREAT", "O_TRUNC"], "ok")],
        ),
        // Without the flag it would lead to the file.
        case(
            "open_how",
            open(inside, "link", read, 0),
            &[opened(&path, "link", "read", &[], "ok")],
        ),
        case(
            "open_how",
            open(inside, "link", read, RESOLVE_NO_SYMLINKS),
            &[opened(&format!("{folder}/link"), "link", "read", &[], "ELOOP")],
        ),
        case(
            "open_how",
            open(inside, "../.ssh/id_rsa", create, RESOLVE_BENEATH),
            &[opened(
                &play.scene.path(".ssh/id_rsa"),
                "../.ssh/id_rsa",
                "read_write",
                &["O_CREAT", "O_TRUNC"],
                "EXDEV",
            )],
        ),
        case(
            "open_how_wrongly",
            json!({"path": path}),
            &[opened(&path, &path, "read", &[], "EINVAL")],
        ),
    ];
    play.play_all(&cases);
}

/// The kernel keeps short names in another place than long ones, with what is left of earlier ones behind them.
#[test]
fn names_of_every_length_are_whole() {
    let play = Play::begin();
    let name = |len: usize| {
        let mixed = ['a', '\u{1}', 'é', '\u{7f}', '∞', '\u{80}', 'z'];
        let mut name = String::new();
        for next in mixed.iter().cycle() {
            if name.len() + next.len_utf8() > len {
                break;
            }
            name.push(*next);
        }
        format!("{name}{}", "-".repeat(len - name.len()))
    };
    let folders: Vec<String> = (1..=48).map(name).collect();
    let path = play.scene.write(&format!("{}/file", folders.join("/")), "text");
    for (before, after) in [("longer", "ab"), (&"long".repeat(20), "abc"), ("a", &"long".repeat(9))]
    {
        let folder = |name: &str| play.scene.path(&format!("renamed/{name}"));
        play.scene.write(&format!("renamed/{before}/file"), "text");
        std::fs::rename(folder(before), folder(after)).expect("a folder can be renamed");
    }
    let renamed = ["ab", "abc", &"long".repeat(9)]
        .map(|name| play.scene.path(&format!("renamed/{name}/file")));
    let cases: Vec<_> = std::iter::once(path)
        .chain(renamed)
        .map(|path| {
            let opened = [opened(&path, &path, "read", &[], "ok")];
            let flags = json!({"path": path, "flags": libc::O_RDONLY, "mode": 0, "resolve": 0});
            case("open_how", flags, &opened)
        })
        .collect();
    play.play_all(&cases);
}
