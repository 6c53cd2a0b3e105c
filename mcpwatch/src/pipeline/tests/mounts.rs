//! Paths on the host of what processes with other mounts do.

use super::*;
use crate::host::mounts::HostPaths;

/// The host's mount namespace, a container's, and another one.
const HOST: u32 = 1;
const INSIDE: u32 = 2;
const OTHER: u32 = 3;

/// `/home/me/.aws` of the host at `/mnt/cloud` of a container.
fn paths(folder: &str) -> HostPaths {
    let inside = format!("50 49 0:60 / / rw\n51 50 0:1 {folder} /mnt/cloud rw\n");
    HostPaths::of(inside.as_bytes(), b"20 1 0:1 / / rw\n")
}

impl Scene {
    /// A host on which a server runs, as process 20.
    fn with_mounts() -> Self {
        let mut scene = Self::of("", &Origin { mount_namespace: HOST, ..origin() });
        scene.server(20);
        scene.actions.clear();
        scene
    }

    fn opens_in(&mut self, namespace: u32, pid: u32, path: &str) {
        let (mut body, tail) = opened(path);
        body.mount_namespace = namespace;
        self.send(Kind::Open, pid, 5, bytemuck::bytes_of(&body), &tail);
    }

    /// A reported system call on the root directory of a namespace.
    fn reports_in(&mut self, kind: Kind, namespace: u32, operation: wire::Operation, value: u64) {
        let place = wire::Place {
            flags: wire::PLACE_BASED | wire::BASE_COMPLETE,
            mount_namespace: namespace,
            ..wire::Place::default()
        };
        let body = wire::Syscall {
            operation: operation as u16,
            pid_level: 0,
            target_pid: 0,
            values: [value, 0, 0, 0],
            first: wire::Place { argument_len: 1, ..place },
            second: wire::Place { argument_len: 19, ..place },
        };
        self.send(kind, 20, 0, bytemuck::bytes_of(&body), b"x/mnt/cloud/new file");
    }

    /// What the pipeline asked to be read, since it was asked last.
    fn wanted(&mut self) -> Vec<(u32, u32)> {
        let asked = self.actions.iter().filter_map(|action| match action {
            Action::LookForMounts { namespace, pid } => Some((*namespace, *pid)),
            _ => None,
        });
        let asked = asked.collect();
        self.actions.clear();
        asked
    }

    fn mounts(&mut self, namespace: u32, folder: &str) {
        let paths = Some(Box::new(paths(folder)));
        self.input(Input::Mounts { time: self.now, namespace, paths });
    }

    /// The losses of mounts, with how many in all.
    fn lost(&self) -> Vec<(String, u64)> {
        let mut lost = std::collections::BTreeMap::new();
        for loss in self.of_type("loss").iter().map(|record| &record["loss"]) {
            assert_eq!(loss["what"], "mounts");
            lost.insert(
                loss["reason"].as_str().unwrap().to_owned(),
                loss["total"].as_u64().unwrap(),
            );
        }
        lost.into_iter().collect()
    }

    /// The path on the host of the file last told of.
    fn host_path(&self) -> Option<&str> {
        let file = self.records.iter().rev().find_map(|record| record.get("file"));
        file.and_then(|file| file.get("host_path")).and_then(Value::as_str)
    }
}

#[test]
fn a_namespace_is_asked_for_once_and_the_hosts_own_never() {
    let mut scene = Scene::with_mounts();
    scene.opens_in(HOST, 20, "/etc/hosts");
    scene.opens_in(0, 20, "/etc/hosts");
    assert_eq!(scene.wanted(), []);
    for _ in 0..3 {
        scene.opens_in(INSIDE, 20, "/etc/hosts");
    }
    scene.opens_in(OTHER, 20, "/etc/hosts");
    assert_eq!(scene.wanted(), [(INSIDE, 20), (OTHER, 20)]);
    scene.mounts(INSIDE, "/home/me/.aws");
    scene.opens_in(INSIDE, 20, "/etc/hosts");
    assert_eq!(scene.wanted(), []);
    assert_eq!(scene.host_path(), None, "of the container's own file system nothing is known");
    // Without the host's own there is nothing to compare with.
    let mut blind = Scene::new();
    blind.server(20);
    blind.opens_in(INSIDE, 20, "/etc/hosts");
    assert_eq!(blind.wanted(), []);
}

#[test]
fn a_secret_is_known_by_its_path_on_the_host() {
    let mut scene = Scene::with_mounts();
    scene.opens_in(INSIDE, 20, "/mnt/cloud/credentials");
    assert_eq!(scene.host_path(), None);
    assert!(scene.of_type("alert").is_empty());
    scene.mounts(INSIDE, "/home/me/.aws");
    scene.opens_in(INSIDE, 20, "/mnt/cloud/credentials");
    assert_eq!(scene.host_path(), Some("/home/me/.aws/credentials"));
    let alerts = scene.of_type("alert");
    let [alert] = alerts.as_slice() else { panic!("one alert: {alerts:?}") };
    assert_eq!(alert["alert"]["rule"], "sensitive_file_read");
    assert_eq!(alert["file"]["path"], "/mnt/cloud/credentials");
    assert_eq!(alert["file"]["host_path"], "/home/me/.aws/credentials");
    assert!(alert["alert"]["reason"].as_str().unwrap().contains("/home/me/.aws/credentials"));
}

#[test]
fn a_file_of_another_device_than_is_mounted_there_is_elsewhere() {
    let mut scene = Scene::with_mounts();
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    let inside = b"50 49 0:60 / / rw\n51 50 0:9 / /mnt/cloud rw\n";
    let paths = HostPaths::of(inside, b"20 1 0:1 / / rw\n21 20 0:9 / /data rw\n");
    scene.input(Input::Mounts { time: scene.now, namespace: INSIDE, paths: Some(Box::new(paths)) });
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.host_path(), None);
}

#[test]
fn changes_and_programs_have_it_too() {
    let mut scene = Scene::with_mounts();
    scene.opens_in(INSIDE, 20, "/x");
    scene.mounts(INSIDE, "/home/me/.aws");
    scene.reports_in(Kind::Change, INSIDE, wire::Operation::Rename, 0);
    let changes = scene.of_type("file.change");
    assert_eq!(changes[0]["file"].get("host_path"), None);
    assert_eq!(changes[0]["file"]["target"]["path"], "/mnt/cloud/new file");
    assert_eq!(changes[0]["file"]["target"]["host_path"], "/home/me/.aws/new file");
    scene.fork(20, 21);
    scene.exec_in(INSIDE, 21, "/mnt/cloud/run", &["run"]);
    let execs = scene.of_type("process.exec");
    assert_eq!(execs[0]["exec"]["host_path"], "/home/me/.aws/run");
}

#[test]
fn what_is_mounted_anew_is_read_anew() {
    let mut scene = Scene::with_mounts();
    scene.opens_in(INSIDE, 20, "/x");
    scene.mounts(INSIDE, "/home/me/.aws");
    scene.wanted();
    scene.reports_in(Kind::Privilege, INSIDE, wire::Operation::Mount, 0);
    assert_eq!(scene.wanted(), [(INSIDE, 20)]);
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.host_path(), None, "not known before it is read");
    assert_eq!(scene.wanted(), [], "it is being read");
    scene.mounts(INSIDE, "/home/you");
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.host_path(), Some("/home/you/a"));
    // What was read before the last change is not believed.
    let before = scene.now;
    scene.wanted();
    scene.reports_in(Kind::Privilege, INSIDE, wire::Operation::Umount, 0);
    assert_eq!(scene.wanted(), [(INSIDE, 20)]);
    let paths = Some(Box::new(paths("/home/me/.aws")));
    scene.input(Input::Mounts { time: before, namespace: INSIDE, paths });
    assert_eq!(scene.wanted(), [(INSIDE, 20)], "at once: the next use may be the one that matters");
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.host_path(), None);
    // A process that makes mounts of its own may get a number that was another's.
    let makes = [
        (wire::Operation::Unshare, 0x2_0000, None),
        (wire::Operation::Unshare, wire::UNSHARE_EMPTY_MOUNTS, None),
        (wire::Operation::OpenTree, 2, None),
        (wire::Operation::MountSetattr, 2, None),
        (wire::Operation::OpenTree, 1, Some("/home/me/.aws/a")),
    ];
    for (operation, flags, believed) in makes {
        scene.mounts(INSIDE, "/home/me/.aws");
        scene.wait(2 * SECOND);
        scene.reports_in(Kind::Privilege, HOST, operation, flags);
        scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
        assert_eq!(scene.host_path(), believed, "{operation:?} {flags:#x}");
    }
    // But not that of one in which somebody is.
    scene.mounts(INSIDE, "/home/me/.aws");
    for operation in [wire::Operation::Unshare, wire::Operation::Clone].repeat(40) {
        scene.reports_in(Kind::Privilege, HOST, operation, 0x20000);
        scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
        assert_eq!(scene.host_path(), Some("/home/me/.aws/a"));
    }
    // So may one that starts as a candidate, of which it is not known where it comes from.
    scene.mounts(INSIDE, "/home/me/.aws");
    scene.fork(CLIENT, 30);
    scene.tasks.get_mut(&30).unwrap().stdio = OTHER_CHANNEL;
    scene.exec_in(INSIDE, 30, "/usr/bin/server", &["server"]);
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.host_path(), None);
}

#[test]
fn a_child_with_pipes_of_its_own_takes_nothing_away() {
    let mut scene = Scene::of("", &Origin { mount_namespace: HOST, ..origin() });
    scene.fork(CLIENT, 20);
    scene.tasks.get_mut(&20).unwrap().stdio = CHANNEL;
    scene.exec_in(INSIDE, 20, "/usr/bin/node", &["node", "server.js"]);
    scene.initialize(20);
    scene.mounts(INSIDE, "/home/me/.aws");
    scene.fork(20, 30);
    scene.tasks.get_mut(&30).unwrap().stdio = OTHER_CHANNEL;
    scene.forget();
    scene.exec_in(INSIDE, 30, "/mnt/cloud/run", &["run"]);
    scene.opens_in(INSIDE, 30, "/mnt/cloud/credentials");
    assert_eq!(scene.of_type("process.exec")[0]["exec"]["host_path"], "/home/me/.aws/run");
    assert_eq!(scene.host_path(), Some("/home/me/.aws/credentials"));
    let alerts = scene.of_type("alert");
    assert!(alerts.iter().any(|alert| alert["alert"]["rule"] == "sensitive_file_read"));
    // One that comes from another namespace may be in one of a number that was another's.
    scene.fork(20, 31);
    scene.exec_in(OTHER, 31, "/usr/bin/enter", &["enter"]);
    scene.tasks.get_mut(&31).unwrap().stdio = OTHER_CHANNEL;
    scene.exec_in(INSIDE, 31, "/usr/bin/tool", &["tool"]);
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.host_path(), None);
}

#[test]
fn what_was_read_long_ago_is_read_again() {
    let mut scene = Scene::with_mounts();
    scene.opens_in(INSIDE, 20, "/x");
    scene.mounts(INSIDE, "/home/me/.aws");
    scene.wanted();
    scene.wait(8 * SECOND);
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.wanted(), []);
    scene.wait(8 * SECOND);
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.wanted(), [(INSIDE, 20)]);
    assert_eq!(scene.host_path(), Some("/home/me/.aws/a"), "it is most likely still true");
    scene.mounts(INSIDE, "/home/me/.aws");
    // Nobody was there for a while: the number may be another namespace's.
    scene.wait(60 * SECOND);
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.host_path(), None);
}

#[test]
fn who_is_gone_is_asked_for_again_but_not_for_ever() {
    let mut scene = Scene::with_mounts();
    let mut asked = 0;
    for _ in 0..100 {
        scene.opens_in(INSIDE, 20, "/x");
        asked += scene.wanted().len();
        scene.input(Input::Mounts { time: scene.now, namespace: INSIDE, paths: None });
    }
    assert_eq!(asked, 16);
    assert!(scene.of_type("loss").is_empty(), "not one by one");
    scene.wait(SECOND);
    assert_eq!(scene.lost(), [("unread".to_owned(), 100)]);
    scene.wait(10 * SECOND);
    scene.opens_in(INSIDE, 20, "/x");
    assert_eq!(scene.wanted(), [(INSIDE, 20)]);
}

#[test]
fn what_happens_while_a_table_is_read_is_a_loss_only_when_that_fails() {
    let mut scene = Scene::with_mounts();
    for _ in 0..3 {
        scene.opens_in(INSIDE, 20, "/x");
    }
    scene.mounts(INSIDE, "/home/me/.aws");
    for _ in 0..2 {
        scene.opens_in(OTHER, 20, "/x");
    }
    scene.wait(SECOND);
    assert_eq!(scene.lost(), []);
    scene.input(Input::Mounts { time: scene.now, namespace: OTHER, paths: None });
    scene.wait(SECOND);
    assert_eq!(scene.lost(), [("unread".to_owned(), 2)]);
}

#[test]
fn a_table_without_end_is_a_loss_and_so_many_namespaces_are_known() {
    let mut scene = Scene::with_mounts();
    scene.opens_in(INSIDE, 20, "/x");
    let none = Some(Box::new(HostPaths::default()));
    scene.input(Input::Mounts { time: scene.now, namespace: INSIDE, paths: none });
    let losses = scene.of_type("loss");
    assert_eq!(losses[0]["loss"]["what"], "mounts");
    assert_eq!(losses[0]["loss"]["reason"], "table_full");
    scene.mounts(INSIDE, "/home/me/.aws");
    for namespace in 10..400 {
        scene.opens_in(namespace, 20, "/x");
    }
    scene.wanted();
    scene.opens_in(399, 20, "/x");
    assert_eq!(scene.wanted(), [], "it is known");
    scene.opens_in(INSIDE, 20, "/mnt/cloud/a");
    assert_eq!(scene.host_path(), None);
    assert_eq!(scene.wanted(), [(INSIDE, 20)], "the one met longest ago was forgotten");
    // 392 namespaces for 256 places, after the table without end. Of those that went, all but the first were
    // being read: each with one event.
    scene.wait(SECOND);
    assert_eq!(scene.lost(), [("table_full".to_owned(), 1 + 136), ("unread".to_owned(), 135)]);
}
