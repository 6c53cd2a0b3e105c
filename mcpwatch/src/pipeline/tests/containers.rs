//! Servers in containers: what the settings say of a container, and what records do.

use serde_json::json;

use super::*;

const CGROUP: &str = "/system.slice/docker-4c6d.scope";
const NAMED: &str = "[[server]]\nname = \"mine\"\n[server.container]\nlabel = [\"app=weather\"]";
/// What starts containers: it is in none.
const SHIM: u32 = 900;

fn labelled(app: &str) -> Container {
    Container {
        runtime: "docker".into(),
        id: "4c6d".into(),
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
        let task = self.tasks.get_mut(&pid).unwrap();
        task.stdio = stdio;
        CGROUP.clone_into(&mut task.cgroup);
        self.exec(pid, exe, &[exe]);
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
