//! What is told and what is not, effect by effect.

use super::*;
use crate::detect::Detector;
use crate::detect::tests::{Scene, change_of_two, detector, exec, failed_open, open};
use crate::event::{Change, Operation};
use crate::record::Relation::{Background, Covert, Requested, Startup};

const ONE: [(&str, Severity); 1] = [("download_exec", Severity::Critical)];
const WRITE: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;

/// A scene whose acting process runs this program.
fn acting(exe: &str) -> Scene {
    let mut scene = Scene::new(Covert);
    scene.process.exe = exe.into();
    scene
}

fn wrote(detector: &mut Detector, exe: &str, path: &str) {
    assert_eq!(acting(exe).found_by(detector, Action::Open(&open(path, WRITE))), []);
}

#[test]
fn what_was_written_below_the_server_and_executed_fires() {
    for relation in [Requested, Covert, Background, Startup] {
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/node", "/srv/data/tool");
        let tool = exec("/srv/data/tool", &["tool"]);
        let found = Scene::new(relation).found_by(&mut detector, Action::Exec(&tool));
        assert_eq!(found, ONE, "{relation:?}");
    }
    let mut detector = detector();
    wrote(&mut detector, "/usr/bin/curl", "/tmp/x");
    let mut later = Scene::new(Covert);
    later.time += 1_234_000_000;
    let mut findings = Vec::new();
    let x = exec("/tmp/x", &["/tmp/x", "-d"]);
    detector.check(&later.effect(Action::Exec(&x)), &mut findings);
    assert_eq!(
        findings[0].reason,
        "Server files executed /tmp/x, which curl fetched 1.234 s before, during tools/call \
         `weather` (JSON-RPC id 7), whose arguments do not mention it."
    );
}

#[test]
fn a_written_script_counts_by_the_interpreter_that_runs_it() {
    let mut detector = detector();
    wrote(&mut detector, "/usr/bin/node", "/srv/x.py");
    for (path, argv, fires) in [
        ("/usr/bin/python3.12", &["python3", "/srv/x.py"][..], true),
        ("/usr/bin/python3.12", &["python3", "-I", "-W", "error", "x.py", "a"], true),
        ("/usr/bin/python3.12", &["python3", "/srv/../srv//x.py"], true),
        ("/usr/bin/node", &["node", "--", "/srv/x.py"], true),
        ("/usr/bin/python3.12", &["python3", "/srv/y.py", "/srv/x.py"], false),
        ("/usr/bin/python3.12", &["python3", "-m", "x", "/srv/x.py"], false),
        ("/usr/bin/cat", &["cat", "/srv/x.py"], false),
    ] {
        let run = Exec { cwd: "/srv".into(), ..exec(path, argv) };
        let found = Scene::new(Covert).found_by(&mut detector, Action::Exec(&run));
        assert_eq!(found == ONE, fires, "{argv:?}: {found:?}");
    }
    wrote(&mut detector, "/usr/bin/node", "/srv/x.sh");
    let script = exec("/usr/bin/dash", &["/bin/sh", "/srv/x.sh"]);
    let found = Scene::new(Covert).found_by(&mut detector, Action::Exec(&script));
    let expected = [("shell_spawn", Severity::High), ("download_exec", Severity::Critical)];
    assert_eq!(found, expected);
}

#[test]
fn the_dynamic_loader_does_not_hide_what_it_runs() {
    let loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    let mut detector = detector();
    wrote(&mut detector, "/usr/bin/curl", "/tmp/x");
    for (argv, fires) in [
        (&["ld.so", "/tmp/x", "-d"][..], true),
        (&["ld.so", "--library-path", "/usr/lib", "--argv0", "y", "x"], true),
        (&["ld.so", "--inhibit-cache", "/usr/../tmp//x"], true),
        (&["ld.so", "/usr/bin/python3", "/tmp/x"], true),
        (&["ld.so", "/dev/shm/y"], true),
        (&["ld.so", "--list", "/tmp/x"], false),
        (&["ld.so", "--verify", "/tmp/x"], false),
        (&["ld.so", "/usr/bin/cat", "/tmp/x"], false),
    ] {
        let run = Exec { cwd: "/tmp".into(), ..exec(loader, argv) };
        let found = Scene::new(Covert).found_by(&mut detector, Action::Exec(&run));
        assert_eq!(found == ONE, fires, "{argv:?}: {found:?}");
    }
    let run = exec(loader, &["ld.so", "/tmp/x"]);
    let mut findings = Vec::new();
    detector.check(&Scene::new(Covert).effect(Action::Exec(&run)), &mut findings);
    assert_eq!(
        findings[0].reason,
        "Server files had ld-linux-x86-64.so.2 run /tmp/x, which curl fetched 0.000 s before, during \
         tools/call `weather` (JSON-RPC id 7), whose arguments do not mention it."
    );
    let mut allowed = Scene::new(Covert);
    for (pattern, fires) in [("/tmp/x", false), ("/usr/**", true)] {
        allowed.given.allow.exec = vec![pattern.into()];
        let found = allowed.found_by(&mut detector, Action::Exec(&run));
        assert_eq!(found == ONE, fires, "{pattern}: {found:?}");
    }
    // `ldd` runs nothing; another script does.
    for (script, fires) in [("/usr/bin/ldd", false), ("/tmp/ldd", true)] {
        let mut scene = acting("/usr/bin/bash");
        scene.process.argv = ["/bin/bash", script, "x"].map(Into::into).into();
        let run = Exec { cwd: "/tmp".into(), ..exec(loader, &["ld.so", "./x"]) };
        let found = scene.found_by(&mut detector, Action::Exec(&run));
        assert_eq!(found == ONE, fires, "{script}: {found:?}");
        let read = open("/tmp/x", libc::O_RDONLY);
        assert_eq!(scene.found_by(&mut detector, Action::Open(&read)), [], "{script}");
    }
}

#[test]
fn a_program_of_the_dynamic_loader_lies_where_it_is_opened() {
    let loader = "/usr/lib/ld-musl-x86_64.so.1";
    for (argument, opened, reason) in [
        (
            "/proc/self/cwd/x",
            "/srv/x",
            "Server files had ld-musl-x86_64.so.1 run /proc/self/cwd/x: /srv/x, which node wrote 0.000 s \
             before, during tools/call `weather` (JSON-RPC id 7), whose arguments do not mention it.",
        ),
        (
            "/proc/self/fd/3",
            "/memfd:x",
            "Server files had ld-musl-x86_64.so.1 run /proc/self/fd/3: a file without a name, which exists \
             in memory only, during tools/call `weather` (JSON-RPC id 7), whose arguments do not mention it.",
        ),
    ] {
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/node", "/srv/x");
        let scene = Scene::new(Covert);
        let run = exec(loader, &["ld.so", argument]);
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&run)), [], "{argument}");
        let program = Open { argument: argument.into(), ..open(opened, libc::O_RDONLY) };
        let mut findings = Vec::new();
        detector.check(&scene.effect(Action::Open(&program)), &mut findings);
        let reasons: Vec<&str> = findings.iter().map(|found| found.reason.as_str()).collect();
        assert_eq!(reasons, [reason]);
    }
}

#[test]
fn an_interpreter_of_the_dynamic_loader_has_its_script_to_open() {
    const X: &str = "/proc/self/cwd/x.py";
    let loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    let long = "x".repeat(9_000);
    let read =
        |argument: &str, path| Open { argument: argument.into(), ..open(path, libc::O_RDONLY) };
    for (words, asked, program, fires) in [
        // The system's, a copy of that, a link to it, and the same found in the folders of libraries.
        (&["/usr/bin/python3", X][..], "/usr/bin/python3", "/usr/bin/python3.12", true),
        (&["/home/me/python3", X], "/home/me/python3", "/home/me/python3", true),
        (&["/home/me/py", "-I", X], "/home/me/py", "/usr/bin/python3.12", true),
        (&["--library-path", "/home/me", "py", X], "/home/me/py", "/usr/bin/python3", true),
        (&["--argv0", "python3", "./py", X], "./py", "/home/me/py", true),
        // Of these it is no script, as when they are run directly.
        (&["/home/me/py", "-m", "x", X], "/home/me/py", "/usr/bin/python3.12", false),
        (&["/home/me/tool", X], "/home/me/tool", "/home/me/tool", false),
        // Behind a long argument.
        (&["/usr/bin/python3", "-W", &long, X], "/usr/bin/python3", "/usr/bin/python3", true),
        (&["/home/me/py", "-W", &long, X], "/home/me/py", "/usr/bin/python3", true),
    ] {
        for (pattern, allowed) in [("/usr/bin/none", false), (program, true)] {
            let mut detector = detector();
            wrote(&mut detector, "/usr/bin/node", "/srv/x.py");
            let mut scene = Scene::new(Covert);
            scene.given.allow.exec = vec![pattern.into()];
            let run = exec(loader, &[&["ld.so"], words].concat());
            assert_eq!(scene.found_by(&mut detector, Action::Exec(&run)), [], "{words:?}");
            for opened in [read(asked, program), read("libc.so.6", "/usr/lib/libc.so.6")] {
                let found = scene.found_by(&mut detector, Action::Open(&opened));
                assert_eq!(found, [], "{words:?}");
            }
            let script = read(X, "/srv/x.py");
            let found = scene.found_by(&mut detector, Action::Open(&script));
            assert_eq!(found == ONE, fires && !allowed, "{words:?} {pattern}: {found:?}");
        }
    }
}

#[test]
fn files_in_memory_fire_without_having_been_seen_before() {
    for path in ["/", "/memfd:x", "/memfd:", "/dev/shm/x", "/dev/shm/.a/b", "/run/shm/x"] {
        let found = Scene::new(Covert).found(Action::Exec(&exec(path, &["x"])));
        assert_eq!(found, ONE, "{path}");
    }
    for path in ["/", "/memfd:runc_cloned:/proc/self/exe"] {
        let cloned = exec(path, &["runc", "init"]);
        assert_eq!(acting("/usr/bin/runc").found(Action::Exec(&cloned)), []);
        assert_eq!(acting("/tmp/runc").found(Action::Exec(&cloned)), ONE);
    }
}

#[test]
fn downloads_handed_to_an_interpreter_fire() {
    let Tables { pipe, .. } = data(FILE, TEXT).unwrap();
    for code in pipe.iter().flat_map(|pipe| &pipe.examples) {
        let shell = exec("/usr/bin/dash", &["sh", "-c", code]);
        let found = Scene::new(Covert).found(Action::Exec(&shell));
        assert!(found.contains(&ONE[0]), "{code}: {found:?}");
    }
    for code in pipe.iter().flat_map(|pipe| &pipe.ordinary) {
        let shell = exec("/usr/bin/dash", &["sh", "-c", code]);
        let found = Scene::new(Covert).found(Action::Exec(&shell));
        assert_eq!(found, [("shell_spawn", Severity::High)], "{code}");
    }
    let long = format!("{}; curl x | sh", "é".repeat(1 << 20));
    let shell = exec("/usr/bin/dash", &["sh", "-c", &long]);
    assert_eq!(Scene::new(Covert).found(Action::Exec(&shell)).len(), 1);
}

#[test]
fn launchers_builders_and_what_is_allowed_are_silent() {
    let tool = exec("/srv/app/tool", &["tool"]);
    let written = open("/srv/app/tool", WRITE);
    for early in [true, false] {
        let mut detector = detector();
        let mut scene = Scene::new(Startup);
        scene.launching = early;
        scene.installing = !early;
        assert_eq!(scene.found_by(&mut detector, Action::Open(&written)), []);
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), []);
        let found = Scene::new(Covert).found_by(&mut detector, Action::Exec(&tool));
        assert_eq!(found, [], "installed at start, used in a call");
    }
    let mut detector = detector();
    wrote(&mut detector, "/usr/bin/x86_64-linux-gnu-ld.bfd", "/srv/app/tool");
    assert_eq!(Scene::new(Covert).found_by(&mut detector, Action::Exec(&tool)), []);
    wrote(&mut detector, "/tmp/ld", "/srv/app/tool");
    assert_eq!(Scene::new(Covert).found_by(&mut detector, Action::Exec(&tool)), ONE);
    let mut allowed = Scene::new(Covert);
    allowed.given.allow.exec = vec!["/srv/app/*".into()];
    assert_eq!(allowed.found_by(&mut detector, Action::Exec(&tool)), []);
    wrote(&mut detector, "/usr/bin/node", "/srv/app/x.py");
    let run = exec("/usr/bin/python3.12", &["python3", "/srv/app/x.py"]);
    for pattern in ["/usr/bin/python3*", "/srv/app/*.py"] {
        allowed.given.allow.exec = vec![pattern.into()];
        assert_eq!(allowed.found_by(&mut detector, Action::Exec(&run)), [], "{pattern}");
    }
}

#[test]
fn what_was_only_read_or_not_written_by_this_server_is_silent() {
    let mut detector = detector();
    let scene = Scene::new(Covert);
    let tool = exec("/srv/app/tool", &["tool"]);
    for open in
        [open("/srv/app/tool", libc::O_RDONLY), failed_open("/srv/app/tool", WRITE, libc::EACCES)]
    {
        assert!(scene.found_by(&mut detector, Action::Open(&open)).is_empty());
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), []);
    }
    wrote(&mut detector, "/usr/bin/node", "/srv/app/tool");
    let mut other = Scene::new(Covert);
    other.server.id = "server-2".into();
    assert_eq!(other.found_by(&mut detector, Action::Exec(&tool)), []);
    assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), ONE);
    detector.forget("server-2");
    assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), ONE);
    detector.forget("server-1");
    assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), []);
}

#[test]
fn what_one_server_of_a_family_wrote_another_executes() {
    let tool = exec("/srv/app/tool", &["tool"]);
    let within = |family: &str| {
        let mut scene = Scene::new(Covert);
        scene.server.id = "server-2".into();
        scene.family = Some(family.into());
        scene
    };
    let (outer, inner) = (Scene::new(Covert), within("server-1"));
    let written = open("/srv/app/tool", WRITE);
    for (writer, other) in [(&outer, &inner), (&inner, &outer)] {
        let mut detector = detector();
        assert_eq!(writer.found_by(&mut detector, Action::Open(&written)), []);
        detector.forget("server-2");
        assert_eq!(other.found_by(&mut detector, Action::Exec(&tool)), ONE);
        detector.forget("server-1");
        assert_eq!(other.found_by(&mut detector, Action::Exec(&tool)), []);
    }
    // It was known as a server before the one around it was.
    let mut detector = detector();
    let alone = within("server-2");
    assert_eq!(alone.found_by(&mut detector, Action::Open(&written)), []);
    assert_eq!(outer.found_by(&mut detector, Action::Exec(&tool)), []);
    detector.join("server-2", "server-1");
    for scene in [&outer, &inner] {
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), ONE);
    }
    detector.forget("server-1");
    assert_eq!(outer.found_by(&mut detector, Action::Exec(&tool)), []);
}

#[test]
fn a_file_of_another_container_is_another_file() {
    let within = |id: &str| {
        let mut scene = Scene::new(Covert);
        scene.within = Some(id.into());
        scene
    };
    let mut detector = detector();
    let (one, other) = (within("1"), within("2"));
    let written = open("/srv/app/tool", WRITE);
    assert_eq!(one.found_by(&mut detector, Action::Open(&written)), []);
    let tool = exec("/srv/app/tool", &["tool"]);
    assert_eq!(other.found_by(&mut detector, Action::Exec(&tool)), []);
    assert_eq!(one.found_by(&mut detector, Action::Exec(&tool)), ONE);
}

#[test]
fn another_name_does_not_hide_what_was_written() {
    for operation in [Operation::Rename, Operation::Link, Operation::Symlink] {
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/curl", "/srv/x.part");
        let (old, new) = ("/srv/x.part", "/srv/x");
        let renamed = match operation {
            // The link, and what it leads to.
            Operation::Symlink => change_of_two(operation, new, old),
            _ => change_of_two(operation, old, new),
        };
        let refused = Change { result: Err(libc::EACCES), ..renamed.clone() };
        let x = exec("/srv/x", &["x"]);
        let scene = Scene::new(Covert);
        for (change, fires) in [(refused, false), (renamed, true)] {
            assert_eq!(scene.found_by(&mut detector, Action::Change(&change)), []);
            let found = scene.found_by(&mut detector, Action::Exec(&x));
            assert_eq!(found == ONE, fires, "{change:?}: {found:?}");
        }
    }
}

#[test]
fn a_link_that_leads_elsewhere_by_now_is_what_it_leads_to() {
    let mut detector = detector();
    wrote(&mut detector, "/usr/bin/node", "/srv/2/main.py");
    let scene = Scene::new(Covert);
    let run = exec("/usr/bin/python3", &["python3", "/srv/current.py"]);
    for (to, fires) in [("/srv/2/main.py", true), ("/srv/1/main.py", false)] {
        let link = change_of_two(Operation::Symlink, "/srv/current.py", to);
        assert_eq!(scene.found_by(&mut detector, Action::Change(&link)), []);
        let found = scene.found_by(&mut detector, Action::Exec(&run));
        assert_eq!(found == ONE, fires, "{to}: {found:?}");
    }
}

#[test]
fn a_folder_that_is_a_link_does_not_hide_a_script() {
    let python = |script: &str| Exec {
        cwd: "/srv".into(),
        ..exec("/usr/bin/python3.12", &["python3", script])
    };
    // By the link, or asked where it leads to before.
    for argument in ["/proc/self/cwd/x.py", "/srv/x.py"] {
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/node", "/srv/x.py");
        let scene = Scene::new(Covert);
        let run = python("/proc/self/cwd/x.py");
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&run)), []);
        let script = Open { argument: argument.into(), ..open("/srv/x.py", libc::O_RDONLY) };
        let mut somebody = Scene::new(Covert);
        somebody.process.entity_id = "4243-1".into();
        assert_eq!(somebody.found_by(&mut detector, Action::Open(&script)), []);
        let library = open("/usr/lib/python3.12/os.py", libc::O_RDONLY);
        assert_eq!(scene.found_by(&mut detector, Action::Open(&library)), []);
        let mut findings = Vec::new();
        detector.check(&scene.effect(Action::Open(&script)), &mut findings);
        assert_eq!(
            findings[0].reason,
            "Server files ran the script /proc/self/cwd/x.py in python3.12: /srv/x.py, which node \
             wrote 0.000 s before, during tools/call `weather` (JSON-RPC id 7), whose arguments do \
             not mention it."
        );
        assert_eq!((findings.len(), findings[0].severity), (1, Severity::Critical));
        assert_eq!(scene.found_by(&mut detector, Action::Open(&script)), [], "it is told once");
    }
    let mut detector = detector();
    wrote(&mut detector, "/usr/bin/node", "/srv/data/main.py");
    let scene = Scene::new(Covert);
    // Its own script comes first, whatever of that name it opens afterwards.
    assert_eq!(scene.found_by(&mut detector, Action::Exec(&python("/app/main.py"))), []);
    for path in ["/app/main.py", "/srv/data/main.py"] {
        let read = open(path, libc::O_RDONLY);
        assert_eq!(scene.found_by(&mut detector, Action::Open(&read)), [], "{path}");
    }
    let mut allowed = Scene::new(Covert);
    for pattern in ["/usr/bin/python3*", "/srv/data/*.py"] {
        allowed.given.allow.exec = vec![pattern.into()];
        let run = python("/proc/self/cwd/data/main.py");
        assert_eq!(allowed.found_by(&mut detector, Action::Exec(&run)), [], "{pattern}");
        let read = open("/srv/data/main.py", libc::O_RDONLY);
        assert_eq!(allowed.found_by(&mut detector, Action::Open(&read)), [], "{pattern}");
    }
}

#[test]
fn what_is_remembered_is_bounded() {
    let scene = Scene::new(Covert);
    let noop = open("/x", WRITE);
    let effect = scene.effect(Action::Open(&noop));
    let mut written = Written::default();
    for number in 0..3 * REMEMBERED {
        written.remember(&effect, &format!("/srv/{number}"));
        written.remember(&effect, "/srv/again");
    }
    assert!(written.files.len() <= REMEMBERED && written.order.len() <= REMEMBERED);
    assert!(written.find(&effect, "/srv/again").is_some());
    assert!(written.find(&effect, &format!("/srv/{}", 3 * REMEMBERED - 1)).is_some());
    assert!(written.find(&effect, "/srv/0").is_none());
    written.join("server-1", "server-0");
    assert!(written.find(&effect, "/srv/again").is_none());
    assert!(!written.files.is_empty() && written.files.len() <= REMEMBERED);
    written.forget("server-0");
    assert!(written.files.is_empty() && written.order.is_empty());
}
