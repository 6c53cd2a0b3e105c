//! What is told of a program that is run: all it was given, where, as whom, and by whom.

use mcpwatch_tests::{Case, Play, case, said, text};
use serde_json::{Value, json};

/// Most bytes of an argument vector that are kept (`ARGV_BYTES`), the NUL behind each argument included.
const KEPT: usize = 32 * 1024;

const PROGRAM: &str = "/bin/true";

/// The record of the one program that a call runs.
#[track_caller]
fn exec_of(play: &Play, case: &Case) -> Value {
    let before = play.agent.count();
    let wrong = play.play(case);
    assert!(wrong.is_empty(), "{wrong:?}");
    let records = play.agent.since(before);
    let all: Vec<&Value> = records.of("process.exec").collect();
    let [exec] = all.as_slice() else { panic!("one program is run: {all:#?}") };
    (*exec).clone()
}

#[test]
fn arguments_are_whole_up_to_the_limit_and_marked_above() {
    let play = Play::begin();
    for (bytes, kept) in [
        // The most there can be, and one more.
        (KEPT, KEPT - PROGRAM.len() - 2),
        (KEPT + 1, KEPT - PROGRAM.len() - 1),
        (100_000, KEPT - PROGRAM.len() - 1),
    ] {
        let exec = exec_of(&play, &case("run_with", json!({"bytes": bytes}), &[]));
        let argv = exec["exec"]["argv"].as_array().expect("arguments");
        let long = argv.get(1).and_then(Value::as_str).expect("a second argument");
        assert_eq!((argv.len(), long.len()), (2, kept), "{bytes} bytes");
        assert!(argv[0] == PROGRAM && long.bytes().all(|byte| byte == b'x'), "{bytes} bytes");
        // Of what stands on each record of the process, less is kept.
        let marked =
            if bytes > KEPT { &["exec.argv", "process.argv"][..] } else { &["process.argv"] };
        assert_eq!(exec["truncated"], json!(marked), "{bytes} bytes");
        let shown = exec["process"]["argv"].as_array().expect("arguments");
        let shown: usize = shown.iter().filter_map(|word| Some(word.as_str()?.len())).sum();
        assert_eq!(shown, 8 * 1024, "{bytes} bytes");
    }
    play.play_all(&[]);
}

#[test]
fn a_program_is_told_with_its_folder_its_user_and_its_parent() {
    let play = Play::begin();
    let folder = play.scene.path("there");
    std::fs::create_dir(&folder).expect("mkdir");
    // Whoever it is must be let in.
    for path in [play.scene.path(""), folder.clone()] {
        let everybody = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(path, everybody).expect("chmod");
    }
    let server = play.client.call("effects", "pid", json!({}));
    let server: u64 = said(&server).parse().expect("a pid");
    let arguments = json!({"uid": 1234, "folder": folder});
    let exec = exec_of(&play, &case("run_as", arguments, &[]));
    assert_eq!(exec["process"]["uid"], 1234, "{exec}");
    assert_eq!(text(&exec, "process.cwd"), folder, "{exec}");
    assert_eq!(text(&exec, "exec.cwd"), folder, "{exec}");
    assert_eq!(exec["exec"]["argv"], json!([PROGRAM]), "{exec}");
    assert_eq!(exec["process"]["ppid"], server, "{exec}");
    assert_eq!(exec["exec"]["ancestors"][0]["pid"], server, "{exec}");
    assert!(text(&exec, "exec.parent_exe").contains("python"), "{exec}");
    // The one that runs it is where and who it was.
    let exec = exec_of(&play, &case("run_with", json!({"bytes": 64}), &[]));
    assert_eq!(exec["process"]["uid"], 0, "{exec}");
    assert_eq!(text(&exec, "process.cwd"), play.scene.path("").trim_end_matches('/'), "{exec}");
    assert_eq!(exec["process"]["ppid"], server, "{exec}");
    play.play_all(&[]);
}
