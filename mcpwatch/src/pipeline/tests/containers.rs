//! Servers in containers: what the settings say of a container, and what records do.

use serde_json::json;

use super::listening::listens;
use super::*;
use crate::pipeline::enlisting::UNPLACED;
use crate::pipeline::input::Cgroup;

const ID: &str = "4c6d8a9b0e1f22334455667788990011aabbccddeeff00112233445566778899";
const OTHER_ID: &str = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184";
const CGROUP: &str = "/docker/4c6d8a9b0e1f22334455667788990011aabbccddeeff00112233445566778899";
const OTHER_CGROUP: &str =
    "/docker/b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184";
const NAMED: &str = "[[server]]\nname = \"mine\"\n[server.container]\nlabel = [\"app=weather\"]";
/// What starts containers: it is in none.
const SHIM: u32 = 900;

fn labelled(app: &str) -> Container {
    Container {
        runtime: "docker".into(),
        id: ID.into(),
        labels: [("app".to_owned(), app.to_owned())].into(),
        ..Container::default()
    }
}

impl Scene {
    /// A host with a shim; processes in [`CGROUP`] are in a container with this label.
    fn with_container(settings: &str, app: &str) -> Self {
        let mut scene = Self::with(settings);
        scene.containers.insert(CGROUP.into(), labelled(app));
        scene.was_running(1, SHIM, TERMINAL, "/usr/bin/containerd-shim-runc-v2", &["shim"]);
        scene
    }

    /// A program is started in the container.
    fn contained(&mut self, pid: u32, stdio: (u64, u64), exe: &str) {
        self.fork(SHIM, pid);
        self.tasks.get_mut(&pid).unwrap().stdio = stdio;
        self.enter(pid, CGROUP, exe);
    }

    /// A process is moved to a cgroup and executes a program there.
    fn enter(&mut self, pid: u32, cgroup: &str, exe: &str) {
        cgroup.clone_into(&mut self.tasks.get_mut(&pid).unwrap().cgroup);
        let groups = vec![Cgroup { id: 0, pid, path: cgroup.into() }];
        self.input(Input::Cgroups { time: self.now, groups, unread: 0 });
        self.exec(pid, exe, &[exe]);
    }

    /// `podman run -i` of a configuration, up to the server in the container: podman is 11, conmon 12, the
    /// server 14 on [`OTHER_CHANNEL`].
    fn podman(&mut self) {
        self.config("weather", "podman", &["run", "-i", "img"]);
        self.containers.insert(CGROUP.into(), labelled("weather"));
        self.spawn(CLIENT, 11, CHANNEL, "/usr/bin/podman", &["podman", "run", "-i", "img"]);
        self.spawn(11, 12, TERMINAL, "/usr/bin/conmon", &["conmon", "-c", ID]);
        self.spawn(12, 13, OTHER_CHANNEL, "/usr/bin/crun", &["crun", "create", ID]);
        self.fork(13, 14);
        self.exit(13, 0);
        self.tasks.get_mut(&14).unwrap().parent = 12;
        self.enter(14, CGROUP, "/srv/weather");
    }

    /// A message goes from the client through the runtime's client to the server.
    fn passed_in(&mut self, relay: u32, server: u32, message: &Value) {
        self.asked(relay, message);
        self.asked(server, message);
    }

    /// And back.
    fn passed_out(&mut self, relay: u32, server: u32, message: &Value) {
        self.answered(server, message);
        self.answered(relay, message);
    }

    fn call_through(&mut self, relay: u32, server: u32, id: u64, path: &str) {
        let params = json!({"name": "read", "arguments": {"path": path}});
        let call = json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params});
        self.passed_in(relay, server, &call);
        self.open(server, path);
        self.passed_out(
            relay,
            server,
            &json!({"jsonrpc": "2.0", "id": id, "result": {"content": []}}),
        );
    }

    fn greet_through(&mut self, relay: u32, server: u32) {
        self.passed_in(relay, server, &initialize());
        self.passed_out(relay, server, &initialized("own-name"));
    }
}

#[test]
fn a_label_makes_all_of_a_container_one_server() {
    let mut scene = Scene::with_container(NAMED, "weather");
    scene.contained(11, TERMINAL, "/srv/weather");
    assert_eq!(scene.story(), ["discovered mine by explicit"]);
    // As `docker exec` starts it: the parent is outside.
    scene.contained(12, TERMINAL, "/bin/ls");
    scene.open(12, "/a");
    assert_eq!(scene.story(), ["open /a startup"]);
    // A pipeline within: pipes of its own make no second server.
    scene.spawn(11, 13, OTHER_CHANNEL, "/bin/sort", &["sort"]);
    scene.open(13, "/b");
    assert_eq!(scene.story(), ["exec /bin/sort startup", "open /b startup"]);
    // What comes with a channel of its own, from outside, is another session.
    scene.contained(14, CHANNEL, "/srv/weather");
    assert_eq!(scene.story(), ["discovered mine by explicit", "exec /srv/weather startup"]);
    assert_ne!(scene.watch[&14], scene.watch[&11]);
}

#[test]
fn who_listens_before_its_container_is_known_keeps_what_it_did() {
    let mut scene = Scene::with_container(NAMED, "weather");
    scene.looks = false;
    for pid in [11, 12] {
        scene.contained(pid, TERMINAL, "/srv/weather");
        listens(&mut scene, pid);
        scene.open(pid, "/a");
    }
    assert_eq!(scene.story(), [""; 0], "nobody knows yet what they are");
    assert_eq!(scene.pipeline.standing().candidates, 2);
    scene.looked(11);
    assert_eq!(scene.story(), ["discovered mine by explicit", "net.listen", "open /a startup"]);
    scene.looked(12);
    assert_eq!(scene.story(), ["net.listen", "open /a startup"], "of the same server");
    scene.open(12, "/b");
    scene.open(11, "/c");
    assert_eq!(scene.story(), ["open /b startup", "open /c startup"]);
    assert_eq!((scene.pipeline.standing().candidates, scene.pipeline.standing().servers), (0, 1));
    scene.exit(11, 0);
    scene.exit(12, 0);
    assert_eq!(scene.story(), ["exit 11 0", "exit 12 0", "exited mine"]);
}

#[test]
fn programs_that_wait_for_their_place_are_bounded_and_counted() {
    let mut scene = Scene::with_container(NAMED, "weather");
    scene.looks = false;
    let first = 1_000;
    let last = first + u32::try_from(UNPLACED).unwrap();
    for pid in first..last {
        scene.spawn(CLIENT, pid, TERMINAL, "/usr/bin/true", &["true"]);
    }
    assert_eq!(scene.story(), [""; 0]);
    scene.contained(last, TERMINAL, "/srv/weather");
    assert_eq!(scene.story(), ["loss pipeline unplaced table_full 1 of 1"]);
    scene.exec(first, "/usr/bin/true", &["true"]);
    assert_eq!(scene.story(), [""; 0], "it waits already");
    assert_eq!(scene.pipeline.unplaced.len(), UNPLACED);
    // What is answered with nothing makes room.
    let looked = |pid| Input::Looked { time: 0, pid, cgroup: String::new(), container: None };
    scene.input(looked(first));
    scene.exec(last, "/srv/weather", &["weather"]);
    scene.looked(last);
    assert_eq!(scene.story(), ["discovered mine by explicit"]);
}

#[test]
fn another_label_names_nothing() {
    let mut scene = Scene::with_container(NAMED, "other");
    scene.contained(11, TERMINAL, "/srv/weather");
    scene.contained(12, CHANNEL, "/srv/weather");
    scene.look();
    assert_eq!(scene.story(), [""; 0]);
    assert!(!scene.watch.contains_key(&11));
}

#[test]
fn a_container_that_runs_already_is_found_once_its_labels_are_read() {
    let mut scene = Scene::with_container(NAMED, "weather");
    for (parent, pid) in [(SHIM, 11), (11, 12), (SHIM, 13)] {
        scene.was_running(parent, pid, TERMINAL, "/srv/weather", &["weather"]);
        CGROUP.clone_into(&mut scene.tasks.get_mut(&pid).unwrap().cgroup);
    }
    scene.look();
    assert_eq!(scene.story(), [""; 0], "nobody has read the labels");
    scene.looked(12);
    assert_eq!(scene.actions.last(), Some(&Action::LookAgain));
    scene.look();
    assert_eq!(scene.story(), ["discovered mine by explicit"]);
    let instances: Vec<u64> = [11, 12, 13].iter().map(|pid| scene.watch[pid]).collect();
    assert!(instances.iter().all(|one| *one == instances[0]), "{instances:?}");
    scene.looked(11);
    scene.look();
    assert_eq!(scene.story(), [""; 0], "it is known by now");
}

#[test]
fn a_server_in_a_named_place_cannot_name_itself_into_rights() {
    let settings = format!(
        "{NAMED}\n[[server]]\nname = \"weather\"\n[server.allow]\nread = [\"~/.ssh/id_rsa\"]"
    );
    let mut scene = Scene::with_container(&settings, "weather");
    scene.contained(11, TERMINAL, "/srv/other");
    // Below it, one with a channel of its own that calls itself `weather`.
    scene.spawn(11, 12, OTHER_CHANNEL, "/srv/inner", &["inner"]);
    scene.initialize(12);
    scene.forget();
    scene.call(12, 1, "read", json!({}));
    scene.open(12, "/home/me/.ssh/id_rsa");
    let story = scene.story();
    assert!(story.iter().any(|line| line.starts_with("ALERT sensitive_file_read")), "{story:?}");
}

#[test]
fn podman_and_the_server_it_runs_are_one_server() {
    let mut scene = Scene::new();
    scene.podman();
    let story = scene.story();
    assert_eq!(
        story.first().map(String::as_str),
        Some("discovered weather by config"),
        "{story:?}"
    );
    let told: Vec<&String> = story.iter().filter(|line| line.starts_with("exec")).collect();
    assert_eq!(
        told,
        [
            "exec /usr/bin/podman startup",
            "exec /usr/bin/conmon startup",
            "exec /usr/bin/crun startup",
            "exec /srv/weather startup"
        ]
    );
    scene.greet_through(11, 14);
    assert_eq!(
        scene.story(),
        [
            "session -",
            "discovered weather by handshake+config",
            "session 2025-06-18",
            "discovered weather by handshake+config",
            "call 0 initialize ok",
        ]
    );
    scene.call_through(11, 14, 1, "/data/a");
    assert_eq!(scene.story(), ["open /data/a requested 1", "call 1 read ok"]);
    // What the runtime's own processes do in a call is the server's, too.
    let params = json!({"name": "read", "arguments": {}});
    let call = json!({"jsonrpc": "2.0", "id": 2, "method": "tools/call", "params": params});
    scene.passed_in(11, 14, &call);
    scene.open(12, "/b");
    assert_eq!(scene.story(), ["open /b covert 2"]);
    scene.exit(14, 0);
    scene.exit(12, 0);
    scene.forget();
    scene.exit(11, 0);
    assert_eq!(scene.story(), ["exit 11 0", "call 2 read no_response", "exited weather"]);
}

#[test]
fn effects_in_a_container_carry_it() {
    let mut scene = Scene::new();
    scene.podman();
    scene.greet_through(11, 14);
    scene.call_through(11, 14, 1, "/data/a");
    scene.fork(14, 15);
    scene.open(15, "/data/b");
    scene.open(12, "/c");
    let containers: Vec<Value> = scene
        .of_type("file.open")
        .iter()
        .map(|record| record["process"].get("container").cloned().unwrap_or_default())
        .collect();
    let inside = json!({"id": ID, "runtime": "docker"});
    assert_eq!(containers, [inside.clone(), inside.clone(), Value::Null]);
    // Runtime and id are known with the exec itself.
    let execs = scene.of_type("process.exec");
    let entered = execs.iter().find(|record| record["exec"]["path"] == "/srv/weather").unwrap();
    assert_eq!(entered["process"]["container"], inside);
    assert_eq!(entered["server"]["name"], "weather");
}

#[test]
fn a_container_that_gave_way_to_many_others_is_known_again() {
    let mut scene = Scene::new();
    scene.podman();
    scene.greet_through(11, 14);
    let others = (0..5_000).map(|number| Cgroup {
        id: 1_000 + number,
        pid: 0,
        path: format!("/docker/{number:064x}"),
    });
    scene.input(Input::Cgroups { time: scene.now, groups: others.collect(), unread: 0 });
    scene.forget();
    scene.fork(14, 15);
    scene.enter(15, CGROUP, "/srv/helper");
    let execs = scene.of_type("process.exec");
    assert_eq!(execs[0]["process"]["container"], json!({"id": ID, "runtime": "docker"}));
}

#[test]
fn a_running_container_that_gave_way_is_known_again_by_its_own_processes() {
    let mut scene = Scene::new();
    let told = |scene: &mut Scene, groups: Vec<Cgroup>| {
        scene.input(Input::Cgroups { time: scene.now, groups, unread: 0 });
    };
    told(&mut scene, vec![Cgroup { id: 77, pid: 11, path: CGROUP.into() }]);
    scene.cgroup = 77;
    scene.fork(CLIENT, 11);
    let task = scene.tasks.get_mut(&11).unwrap();
    task.stdio = CHANNEL;
    CGROUP.clone_into(&mut task.cgroup);
    scene.exec(11, "/srv/weather", &["weather"]);
    scene.initialize(11);
    scene.wait(SECOND);
    scene.forget();
    let others = (0..4_100).map(|number| Cgroup {
        id: 1_000 + number,
        pid: 0,
        path: format!("/docker/{number:064x}"),
    });
    told(&mut scene, others.collect());
    assert!(scene.pipeline.containers.get(CGROUP).is_none(), "it gave way");
    scene.forget();
    scene.actions.clear();
    // The id of its cgroup is known, and not told again.
    scene.fork(11, 12);
    scene.exec(12, "/srv/helper", &["helper"]);
    let asked = Action::LookForContainer { cgroup: CGROUP.into() };
    assert!(scene.actions.contains(&asked), "the rest is read again");
    let (mut open, _) = opened("/proc/7/environ");
    let argument = b"/proc/self/environ";
    open.argument_len = u16::try_from(argument.len()).unwrap();
    let tail = [components("/proc/7/environ"), argument.to_vec()].concat();
    scene.send(Kind::Open, 12, 5, bytemuck::bytes_of(&open), &tail);
    for kind in ["process.exec", "file.open"] {
        let container = &scene.of_type(kind)[0]["process"]["container"];
        assert_eq!(*container, json!({"id": ID, "runtime": "docker"}), "{kind}");
    }
    let story = scene.story();
    assert!(!story.iter().any(|line| line.starts_with("ALERT sensitive_file_read")), "{story:?}");
}

#[test]
fn the_container_of_a_server_that_executes_nothing_does_not_give_way() {
    let mut scene = Scene::with_container(NAMED, "weather");
    scene.contained(11, CHANNEL, "/srv/weather");
    for round in 0..3 {
        let others = (round * 2_000..(round + 1) * 2_000).map(|number| Cgroup {
            id: 1_000 + number,
            pid: 0,
            path: format!("/docker/{number:064x}"),
        });
        scene.input(Input::Cgroups { time: scene.now, groups: others.collect(), unread: 0 });
        scene.wait(SECOND);
    }
    // What it is called is asked again with everything it says of itself.
    scene.initialize(11);
    let story = scene.story();
    let mut names = story.iter().filter(|line| line.starts_with("discovered"));
    assert!(names.all(|line| line.starts_with("discovered mine by explicit")), "{story:?}");
    assert!(scene.pipeline.containers.get(CGROUP).is_some_and(|one| !one.labels.is_empty()));
}

#[test]
fn execs_in_a_cgroup_that_could_not_be_found_are_counted() {
    let mut scene = Scene::new();
    for _ in 0..3 {
        scene.input(Input::Cgroups { time: scene.now, groups: Vec::new(), unread: 2 });
    }
    assert_eq!(scene.story(), [""; 0], "not with every exec");
    scene.wait(SECOND);
    assert_eq!(scene.story(), ["loss pipeline cgroups unread 6 of 6"]);
    scene.input(Input::Cgroups { time: scene.now, groups: Vec::new(), unread: 1 });
    scene.input(Input::Stop { time: scene.now, reason: "SIGTERM".into() });
    assert_eq!(scene.story(), ["loss pipeline cgroups unread 1 of 7", "status stopped"]);
}

#[test]
fn process_numbers_within_a_container_are_not_taken_for_the_host_s() {
    let mut scene = Scene::new();
    scene.podman();
    scene.greet_through(11, 14);
    scene.server(31);
    scene.open_for(14, "/proc/31/mem", libc::O_RDWR.cast_unsigned());
    let story = scene.story();
    assert!(!story.iter().any(|line| line.contains("channel_injection")), "{story:?}");
    scene.server(41);
    scene.open_for(41, "/proc/31/mem", libc::O_RDWR.cast_unsigned());
    let story = scene.story();
    assert!(story.iter().any(|line| line.contains("channel_injection")), "{story:?}");
}

#[test]
fn a_shell_that_a_container_is_entered_with_is_no_finding() {
    let mut scene = Scene::new();
    scene.podman();
    scene.forget();
    // As `podman exec` does for a health check.
    scene.spawn(12, 20, (301, 302), "/usr/bin/crun", &["crun", "exec", ID]);
    scene.enter(20, CGROUP, "/bin/sh");
    let story = scene.story();
    assert!(!story.iter().any(|line| line.starts_with("ALERT")), "{story:?}");
    scene.fork(14, 21);
    scene.exec(21, "/bin/sh", &["sh", "-c", "id"]);
    let story = scene.story();
    assert!(story.iter().any(|line| line.starts_with("ALERT shell_spawn")), "{story:?}");
}

#[test]
fn a_runtime_client_that_nothing_names_is_found_by_the_handshake_within() {
    let mut scene = Scene::new();
    scene.containers.insert(CGROUP.into(), labelled("weather"));
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/podman", &["podman", "exec", "-i", "x", "y"]);
    scene.spawn(11, 13, OTHER_CHANNEL, "/usr/bin/crun", &["crun", "exec", ID]);
    scene.enter(13, CGROUP, "/srv/weather");
    scene.greet_through(11, 13);
    scene.call_through(11, 13, 1, "/data/a");
    let story = scene.effects();
    let discovered = story.iter().rfind(|line| line.starts_with("discovered"));
    assert_eq!(discovered.unwrap(), "discovered own-name by handshake", "{story:?}");
    assert_eq!(scene.pipeline.standing().servers, 1);
    assert_eq!(story.iter().filter(|line| line.contains("initialize")).count(), 1, "{story:?}");
    assert!(story.contains(&"open /data/a requested 1".to_owned()), "{story:?}");
}

#[test]
fn a_start_script_may_run_many_tools_before_the_runtime_client() {
    let mut scene = Scene::new();
    scene.containers.insert(CGROUP.into(), labelled("weather"));
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/bash", &["bash", "/work/start.sh"]);
    for pid in 30..39 {
        let folder = format!("/work/{pid}");
        scene.spawn(11, pid, CHANNEL, "/usr/bin/dirname", &["dirname", &folder]);
        scene.exit(pid, 0);
    }
    scene.exec(11, "/usr/bin/podman", &["podman", "exec", "-i", "x", "y"]);
    scene.spawn(11, 13, OTHER_CHANNEL, "/usr/bin/crun", &["crun", "exec", ID]);
    scene.enter(13, CGROUP, "/srv/weather");
    scene.greet_through(11, 13);
    scene.call_through(11, 13, 1, "/data/a");
    let story = scene.effects();
    assert_eq!(scene.pipeline.standing().servers, 1, "{story:?}");
    assert!(story.contains(&"open /data/a requested 1".to_owned()), "{story:?}");
}

/// Two `docker run` at once, and the servers they stand for below the shim: 11 with 21, 12 with 22.
fn dockers(first: &[&str], second: &[&str]) -> Scene {
    let mut scene = Scene::with_container("", "weather");
    let other = Container { id: OTHER_ID.into(), name: Some("two".into()), ..labelled("other") };
    scene.containers.insert(OTHER_CGROUP.into(), other);
    scene.containers.get_mut(CGROUP).unwrap().name = Some("one".into());
    scene.config("docked", "docker", &first[1..]);
    scene.spawn(CLIENT, 11, (101, 102), "/usr/bin/docker", first);
    scene.spawn(CLIENT, 12, (103, 104), "/usr/bin/docker", second);
    for (pid, stdio, cgroup) in [(21, (201, 202), CGROUP), (22, (203, 204), OTHER_CGROUP)] {
        scene.fork(SHIM, pid);
        scene.tasks.get_mut(&pid).unwrap().stdio = stdio;
        scene.enter(pid, cgroup, "/srv/weather");
    }
    scene
}

#[test]
fn docker_s_client_and_the_server_its_daemon_started_are_one_server() {
    let mut scene = dockers(
        &["docker", "run", "-i", "--name", "one", "img"],
        &["docker", "run", "-i", "--name=two", "img"],
    );
    // Both clients say the same at the same time: the names tell who is who.
    for pid in [11, 12, 21, 22] {
        scene.asked(pid, &initialize());
    }
    for pid in [21, 22, 11, 12] {
        scene.answered(pid, &initialized("own-name"));
    }
    scene.call_through(12, 22, 7, "/data/two");
    let opened = scene.of_type("file.open");
    assert_eq!(opened[0]["process"]["container"]["name"], "two");
    assert_eq!(
        opened[0]["server"]["id"],
        opened[0]["call"]["uid"].as_str().unwrap().rsplit_once('/').unwrap().0
    );
    let founder = scene.tasks[&12].start_time / (10 * MILLISECOND);
    assert_eq!(opened[0]["server"]["id"], format!("12-{founder}"));
    let ids: std::collections::BTreeSet<String> = scene
        .of_type("server.discovered")
        .iter()
        .map(|record| record["server"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 2, "{ids:?}");
    let calls = scene.of_type("mcp.call");
    assert_eq!(calls.len(), 3, "two greetings and a call");
}

#[test]
fn of_two_that_nothing_names_what_only_one_heard_decides() {
    let same = &["docker", "run", "-i", "img"];
    let mut scene = dockers(same, same);
    for pid in [11, 12, 21] {
        scene.asked(pid, &initialize());
    }
    let call =
        |id| json!({"jsonrpc": "2.0", "id": id, "method": "tools/list", "params": {"cursor": "a"}});
    for pid in [21, 12] {
        scene.answered(pid, &initialized("own-name"));
    }
    scene.passed_in(12, 21, &call(9));
    scene.open(21, "/data/a");
    let opened = scene.of_type("file.open");
    let founder = scene.tasks[&12].start_time / (10 * MILLISECOND);
    assert_eq!(opened[0]["server"]["id"], format!("12-{founder}"));
}

#[test]
fn a_session_of_something_else_in_a_container_speaks_for_no_server() {
    let mut scene = Scene::with_container("", "weather");
    scene.containers.get_mut(CGROUP).unwrap().name = Some("one".into());
    let editor = &["docker", "exec", "-i", "one", "sh"];
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/docker", editor);
    scene.reads(11, b"uname -m; exec ./editor-server\n");
    scene.contained(21, OTHER_CHANNEL, "/srv/weather");
    scene.initialize(21);
    scene.wait(SECOND);
    let founder = scene.tasks[&21].start_time / (10 * MILLISECOND);
    let found = scene.of_type("server.discovered");
    assert!(!found.is_empty());
    for record in found {
        assert_eq!(record["server"]["id"], format!("21-{founder}"), "{record}");
    }
}

#[test]
fn a_server_in_a_container_that_nobody_relays_stands_alone() {
    let mut scene = Scene::with_container("", "weather");
    scene.spawn(CLIENT, 11, CHANNEL, "/usr/bin/docker", &["docker", "ps"]);
    scene.contained(21, OTHER_CHANNEL, "/srv/weather");
    scene.initialize(21);
    scene.wait(SECOND);
    let story = scene.effects();
    assert_eq!(
        story.first().map(String::as_str),
        Some("discovered weather by handshake"),
        "{story:?}"
    );
    let record = scene.pipeline.standing();
    assert_eq!(record.servers, 1);
}

#[test]
fn the_container_s_label_names_the_one_server() {
    let mut scene = Scene::with(NAMED);
    scene.podman();
    scene.greet_through(11, 14);
    let story = scene.effects();
    let last = story.iter().rfind(|line| line.starts_with("discovered")).unwrap();
    assert_eq!(last, "discovered mine by explicit+handshake+config", "{story:?}");
    let ids: std::collections::BTreeSet<String> = scene
        .of_type("server.discovered")
        .iter()
        .map(|record| record["server"]["id"].to_string())
        .collect();
    assert_eq!(ids.len(), 0, "the story was taken: {ids:?}");
    assert_eq!(scene.pipeline.standing().servers, 1);
}

#[test]
fn servers_that_run_in_containers_already_are_shown_with_them() {
    let mut scene = Scene::with_container("", "weather");
    scene.was_running(SHIM, 21, OTHER_CHANNEL, "/srv/weather", &["weather"]);
    CGROUP.clone_into(&mut scene.tasks.get_mut(&21).unwrap().cgroup);
    scene.containers.get_mut(CGROUP).unwrap().image = Some("img:1".into());
    scene.look();
    scene.initialize(21);
    let record = scene.of_type("server.discovered")[0];
    assert_eq!(record["process"]["container"]["image"], "img:1");
}
