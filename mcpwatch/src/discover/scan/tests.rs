//! Real files in a temporary home.

use std::convert::Infallible;
use std::fs::File;
use std::io::Read;
use std::os::unix::fs::PermissionsExt;

use super::patterns::{MAX_ENTRIES, MAX_MATCHES};
use super::places::{MAX_BROUGHT, Recent};
use super::*;
use crate::discover::document::MAX_BYTES;
use crate::discover::{locations, roots};

const SERVER: &str = r#"{"mcpServers": {"a": {"command": "x"}}}"#;

fn write(path: &Path, text: &str) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

fn watch(home: &Path) -> Watcher {
    let mut places = Places::default();
    places.add_home(home);
    Watcher::new(places)
}

/// All that changed.
fn polled(watcher: &mut Watcher) -> Vec<Change> {
    let mut changes = Vec::new();
    let Ok(()) = watcher.poll(|change| {
        changes.push(change);
        Ok::<(), Infallible>(())
    });
    changes
}

/// `+` read, `-` removed, `!` unread, with the path below `home`.
fn shown(changes: &[Change], home: &Path) -> Vec<String> {
    let home = format!("{}/", home.display());
    changes
        .iter()
        .map(|change| match change {
            Change::Read(file) => format!("+{}", file.path.replace(&home, "")),
            Change::Removed(path) => format!("-{}", path.replace(&home, "")),
            Change::Unread(error) => format!("!{}", error.path.replace(&home, "")),
        })
        .collect()
}

#[test]
fn every_place_below_a_home_is_found() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let mut expected = BTreeSet::new();
    for location in locations::LOCATIONS {
        if location.base == locations::Base::Home {
            let path = location.path.replace("**", "m/p/1").replace('*', "x");
            write(&home.join(&path), "");
            expected.insert(format!("+{path}"));
        }
    }
    let found: BTreeSet<String> = shown(&polled(&mut watch(home)), home).into_iter().collect();
    assert_eq!(found, expected);
}

#[test]
fn new_changed_replaced_and_removed_files_are_noticed_once() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let mut watcher = watch(home);
    assert_eq!(polled(&mut watcher), []);
    write(&home.join(".cursor/mcp.json"), "{}");
    assert_eq!(shown(&polled(&mut watcher), home), ["+.cursor/mcp.json"]);
    assert_eq!(polled(&mut watcher), []);
    write(&home.join(".cursor/mcp.json"), SERVER);
    let changes = polled(&mut watcher);
    let [Change::Read(file)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(file.client, "cursor");
    assert_eq!(file.parse().unwrap().servers.len(), 1);
    // Replaced by rename, same size.
    write(&home.join("new"), SERVER);
    std::fs::rename(home.join("new"), home.join(".cursor/mcp.json")).unwrap();
    assert_eq!(shown(&polled(&mut watcher), home), ["+.cursor/mcp.json"]);
    std::fs::remove_file(home.join(".cursor/mcp.json")).unwrap();
    assert_eq!(shown(&polled(&mut watcher), home), ["-.cursor/mcp.json"]);
    assert_eq!(polled(&mut watcher), []);
}

#[test]
fn what_is_no_regular_file_neither_blocks_nor_counts() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    std::fs::create_dir_all(home.join(".cursor/mcp.json")).unwrap();
    std::fs::create_dir_all(home.join(".gemini")).unwrap();
    let fifo = home.join(".gemini/settings.json");
    assert!(std::process::Command::new("mkfifo").arg(fifo).status().unwrap().success());
    std::os::unix::fs::symlink("/dev/zero", home.join(".claude.json")).unwrap();
    std::os::unix::fs::symlink(home, home.join(".codeium")).unwrap();
    std::fs::create_dir_all(home.join(".codex/plugins")).unwrap();
    std::os::unix::fs::symlink(home, home.join(".codex/plugins/loop")).unwrap();
    let mut watcher = watch(home);
    assert_eq!(shown(&polled(&mut watcher), home), ["!.claude.json", "!.gemini/settings.json"]);
    assert_eq!(polled(&mut watcher), []);
}

#[test]
fn an_endless_file_is_cut_and_refused() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    write(&home.join(".claude.json"), "");
    File::options().write(true).open(home.join(".claude.json")).unwrap().set_len(1 << 40).unwrap();
    let changes = polled(&mut watch(home));
    let [Change::Read(file)] = changes.as_slice() else { panic!() };
    assert_eq!(file.text.len(), MAX_BYTES + 1);
    assert!(file.parse().unwrap_err().message.contains("at most"));
}

#[test]
fn one_text_is_held_at_a_time() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let path = |number| home.join(format!(".kiro/agents/{number}.json"));
    for number in 0..MAX_MATCHES {
        write(&path(number), "");
        let file = File::options().write(true).open(path(number)).unwrap();
        file.set_len(MAX_BYTES as u64).unwrap();
    }
    assert_eq!(watch(home).poll(|_| Err("the first")), Err("the first"));
    let mut sizes = Vec::new();
    let Ok(()) = watch(home).poll(|change| {
        let Change::Read(file) = change else { panic!("{change:?}") };
        sizes.push(file.text.len());
        // Who has read more than this one does not see that.
        for number in 0..MAX_MATCHES {
            write(&path(number), "");
        }
        Ok::<(), Infallible>(())
    });
    assert_eq!((sizes.len(), sizes.first()), (MAX_MATCHES, Some(&MAX_BYTES)));
    assert_eq!(sizes.iter().sum::<usize>(), MAX_BYTES, "{sizes:?}");
}

#[test]
fn a_crowded_directory_is_cut_and_said_once() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    for number in 0..=MAX_MATCHES {
        write(&home.join(format!(".kiro/agents/{number}.json")), "{}");
    }
    let mut watcher = watch(home);
    let changes = shown(&polled(&mut watcher), home);
    assert_eq!(changes.len(), MAX_MATCHES + 1);
    assert_eq!(changes.iter().filter(|change| *change == "!.kiro/agents/*.json").count(), 1);
    assert_eq!(polled(&mut watcher), []);
    for number in 0..MAX_ENTRIES {
        write(&home.join(format!(".codex/plugins/{number}")), "");
    }
    assert_eq!(polled(&mut watcher), []);
    write(&home.join(".codex/plugins/one-more"), "");
    assert_eq!(shown(&polled(&mut watcher), home), ["!.codex/plugins/**/.mcp.json"]);
}

#[test]
fn what_processes_bring_is_bounded() {
    let mut recent = Recent::default();
    for number in 0..10 * MAX_BROUGHT {
        recent.add(0);
        recent.add(number);
    }
    assert_eq!(recent.entries.len(), MAX_BROUGHT);
    assert!(recent.entries.contains(&0) && recent.entries.contains(&(10 * MAX_BROUGHT - 1)));
}

#[test]
fn closed_directories_are_said_once_each() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let allow = |path: &str, mode| {
        let mode = std::fs::Permissions::from_mode(mode);
        std::fs::set_permissions(home.join(path), mode).unwrap();
    };
    write(&home.join(".cursor/mcp.json"), SERVER);
    // Several patterns lead into this one.
    write(&home.join(".config/zed/settings.json"), "{}");
    allow(".cursor", 0o000);
    allow(".config", 0o600);
    // Root may look into everything.
    let root = std::fs::read_dir(home.join(".cursor")).is_ok();
    let mut watcher = watch(home);
    let changes = shown(&polled(&mut watcher), home);
    if root {
        assert_eq!(changes, ["+.config/zed/settings.json", "+.cursor/mcp.json"]);
    } else {
        assert_eq!(changes, ["!.config", "!.cursor"]);
    }
    assert_eq!(polled(&mut watcher), []);
    allow(".cursor", 0o700);
    allow(".config", 0o700);
    if !root {
        let changes = shown(&polled(&mut watcher), home);
        assert_eq!(changes, ["+.config/zed/settings.json", "+.cursor/mcp.json"]);
    }
}

#[test]
fn a_root_brings_its_users_and_its_system_places() {
    let directory = tempfile::tempdir().unwrap();
    let root = directory.path();
    write(
        &root.join("etc/passwd"),
        "root:x:0:0::/root:/bin/sh\nbad line\nx:x:5:5::/home/x:/bin/sh\nd:x:6:6::/:/bin/sh\n",
    );
    write(&root.join("etc/codex/config.toml"), "");
    write(&root.join("root/.claude.json"), "{}");
    write(&root.join("home/x/.cursor/mcp.json"), "{}");
    let mut places = Places::default();
    places.add_root(root);
    assert_eq!(
        shown(&polled(&mut Watcher::new(places)), root),
        ["+etc/codex/config.toml", "+home/x/.cursor/mcp.json", "+root/.claude.json"]
    );
}

#[test]
fn who_answers_for_a_file_owns_the_way_to_it() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let file = home.join(".cursor/mcp.json");
    write(&file, SERVER);
    let link = home.join(".mcp.json");
    std::os::unix::fs::symlink("/dev/null", &link).unwrap();
    // Root may make it somebody's; for others it is theirs already.
    let _ = std::os::unix::fs::chown(home, Some(1_000), None);
    let user = std::fs::metadata(home).unwrap().uid().to_string();
    let root = PathBuf::from(format!("/proc/{}/root", std::process::id()));
    for path in [&file, &link, &home.join("absent")] {
        assert_eq!(owner(path), user, "{path:?}");
        assert_eq!(owner(&roots::below(&root, path)), "containers of 0", "{path:?}");
    }
    assert_eq!(owner(Path::new("/etc/hosts")), "0");
    let changes = polled(&mut watch(home));
    let [Change::Read(read)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!(read.owner, user);
}

#[test]
fn a_named_file_at_a_client_s_place_is_read_as_that_client_s() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let table = [
        (
            ".claude.json",
            r#"{"mcpServers": {}, "projects": {"/p": {"mcpServers": {"a": {"command": "x"}}}}}"#,
            "claude-code",
        ),
        (
            "repo/.devcontainer/devcontainer.json",
            r#"{"customizations": {"vscode": {"mcp": {"servers": {"a": {"command": "x"}}}}}}"#,
            "vscode",
        ),
        (
            ".continue/config.json",
            r#"{"experimental": {"modelContextProtocolServers": [
                {"transport": {"type": "stdio", "command": "x"}}]}}"#,
            "continue",
        ),
        (
            ".config/Code/User/settings.json",
            r#"{"mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}}"#,
            "vscode",
        ),
        (".codex/plugins/p/.mcp.json", r#"{"a": {"command": "x"}}"#, "codex"),
        (
            "exported-settings.json",
            r#"{"mcp": {"inputs": [], "servers": {"a": {"command": "x"}}}}"#,
            "settings",
        ),
    ];
    let mut outside = Places::default();
    let mut inside = Places::default();
    inside.add_home(home);
    for (path, text, _) in table {
        write(&home.join(path), text);
        outside.add_file(&home.join(path));
        inside.add_file(&home.join(path));
    }
    let moved =
        BTreeMap::from([("CODEX_HOME".to_owned(), home.join("moved").display().to_string())]);
    write(&home.join("moved/config.toml"), "[mcp_servers.a]\ncommand = 'x'\n");
    inside.add_file(&home.join("moved/config.toml"));
    inside.brought.add((home.to_owned(), moved));
    for places in [outside, inside] {
        let mut seen = BTreeMap::new();
        for change in polled(&mut Watcher::new(places)) {
            let Change::Read(file) = change else { panic!("{change:?}") };
            let parsed = file.parse().unwrap();
            assert_eq!((parsed.servers.len(), parsed.warnings), (1, vec![]), "{}", file.path);
            seen.insert(PathBuf::from(file.path), file.client);
        }
        for (path, _, client) in table {
            assert_eq!(seen.get(&home.join(path)).map(String::as_str), Some(client), "{path}");
        }
        let moved = seen.get(&home.join("moved/config.toml"));
        assert!(moved.is_none_or(|client| client == "codex"), "{moved:?}");
    }
}

#[test]
fn what_paths_do_not_say_of_homes_and_moved_places_is_told_once() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let moved = |name: &str| home.join(name).display().to_string();
    let environment = BTreeMap::from([
        ("CODEX_HOME".to_owned(), moved("moved")),
        ("XDG_CONFIG_HOME".to_owned(), moved("xdg")),
        ("OPENCODE_CONFIG".to_owned(), moved("mine.json")),
    ]);
    let mut watcher = Watcher::default();
    watcher.places.brought.add((home.to_owned(), environment.clone()));
    let told = watcher.own_places();
    let is_told = |path: &str, client: &str| told.contains(&(moved(path), client));
    for (path, client) in [
        ("moved/config.toml", "codex"),
        ("xdg/Claude/claude_desktop_config.json", "claude-desktop"),
        ("xdg/zed/settings.json", "zed"),
        ("mine.json", "opencode"),
        (".cursor/mcp.json", "cursor"),
    ] {
        assert!(is_told(path, client), "{path} {told:?}");
    }
    for (plain, client) in [(".claude.json", "claude-code"), (".config/zed/settings.json", "zed")] {
        assert!(!is_told(plain, client), "{plain}: the table says so");
    }
    assert_eq!(watcher.own_places(), []);
    let moved_more = BTreeMap::from([("CODEX_HOME".to_owned(), moved("again"))]);
    watcher.places.brought.add((home.to_owned(), moved_more));
    assert!(watcher.own_places().contains(&(moved("again/config.toml"), "codex")));
    // Other files have these paths in a container.
    let mut watcher = Watcher::default();
    watcher.places.brought.add((PathBuf::from("/proc/1/root/nowhere"), environment));
    assert_eq!(watcher.own_places(), []);
}

#[test]
fn named_files_may_come_later_and_processes_bring_homes() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    let mut places = Places::default();
    places.add_file(&home.join("extra.yaml"));
    let mut watcher = Watcher::new(places);
    assert_eq!(polled(&mut watcher), []);
    write(&home.join("extra.yaml"), "extensions: {x: {cmd: y}}");
    let changes = polled(&mut watcher);
    let [Change::Read(file)] = changes.as_slice() else { panic!("{changes:?}") };
    assert_eq!((file.client.as_str(), file.format), ("settings", Format::Yaml));
    assert_eq!(file.parse().unwrap().servers.len(), 1);
    let text = serde_json::to_string(file).unwrap();
    assert_eq!(&serde_json::from_str::<ConfigFile>(&text).unwrap(), file);
    write(&home.join(".mcp.json"), SERVER);
    let mut child = std::process::Command::new("cat")
        .arg("/proc/self/comm")
        .arg("-")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .env("HOME", home)
        .env("CODEX_HOME", home.join("moved"))
        .current_dir(home)
        .spawn()
        .unwrap();
    write(&home.join("moved/config.toml"), "");
    // Its environment is there to be read only some time into its exec.
    child.stdout.as_mut().unwrap().read_exact(&mut [0; 4]).unwrap();
    let process = crate::host::snapshot::read(child.id()).unwrap();
    watcher.places.add_process(&process, true);
    child.kill().unwrap();
    child.wait().unwrap();
    let found = shown(&polled(&mut watcher), home);
    assert!(found.contains(&"+.mcp.json".to_owned()), "{found:?}");
    assert!(found.contains(&"+moved/config.toml".to_owned()), "{found:?}");
}
