//! The shell of [`containers`](super): reads what runtimes write down of a container on this host.
//!
//! Only small, regular files are read, and nobody is asked anything: a runtime's socket may start its
//! service. Where a user's own runtime keeps the files, only those of that user count.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Component, Path, PathBuf};

use super::bolt::Database;
use super::documents::{self, State};
use super::{Container, layouts};

/// Most bytes read of one file. `containers.json` has some hundred bytes a container.
const FILE_BYTES: u64 = 4 << 20;
/// Most namespaces of containerd that are looked into.
const NAMESPACES: usize = 64;

/// Where docker keeps its containers; also below a user's home.
const DOCKER: &[&str] = &["/var/lib/docker", "/var/snap/docker/common/var-lib-docker"];
const DOCKER_OF_USER: &[&str] = &[".local/share/docker"];
/// Docker's settings, which may have it keep them elsewhere; a user's own below the home.
const DOCKER_SETTINGS: &[&str] =
    &["/etc/docker/daemon.json", "/var/snap/docker/current/config/daemon.json"];
const DOCKER_SETTINGS_OF_USER: &[&str] = &[".config/docker/daemon.json"];
/// Where containerd keeps the bundles of what runs, a folder a namespace, and its database; `DOCKER` is each
/// place of docker.
const TASKS: &[(&str, &str)] = &[
    ("/run/containerd/io.containerd.runtime.v2.task", "/var/lib/containerd"),
    ("/run/k3s/containerd/io.containerd.runtime.v2.task", "/var/lib/rancher/k3s/agent/containerd"),
    ("/run/docker/containerd/daemon/io.containerd.runtime.v2.task", "DOCKER/containerd/daemon"),
    (
        "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task",
        "/var/snap/microk8s/common/var/lib/containerd",
    ),
];
const DATABASE_OF_CONTAINERD: &str = "io.containerd.metadata.v1.bolt/meta.db";
/// Where crun and runc keep what they know of what runs; `USER` is a user's runtime folder.
const CRUN: &[&str] = &["/run/crun", "USER/crun"];
const RUNC: &[&str] = &["/run/runc", "USER/runc", "/run/docker/runtime-runc/moby"];
/// The same below containerd, a folder a namespace.
const RUNC_OF_CONTAINERD: &[&str] = &["/run/containerd/runc"];
/// Where containers/storage keeps those of podman and CRI-O; also below a user's home.
const STORAGE: &[&str] = &["/var/lib/containers/storage"];
const STORAGE_OF_USER: &[&str] = &[".local/share/containers/storage"];
/// What storage calls the folder of containers, by driver.
const DRIVERS: &[&str] = &["overlay-containers", "vfs-containers", "btrfs-containers"];

/// The host's files.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
    /// Whose files count: root's, as on every host.
    owner: u32,
}

/// Whose files count, and where they are.
struct Search<'a> {
    host: &'a Host,
    /// The user whose own runtime the container belongs to.
    user: Option<User>,
}

struct User {
    uid: u32,
    home: Option<PathBuf>,
}

impl Host {
    /// This host's files: below the root of its first process when the agent is itself in a container that
    /// shares the host's processes.
    #[must_use]
    pub fn here() -> Self {
        let namespace = |pid: &str| std::fs::read_link(format!("/proc/{pid}/ns/mnt")).ok();
        let first = Path::new("/proc/1/root");
        let apart = namespace("1").is_some_and(|first| Some(first) != namespace("self"));
        // Without CAP_SYS_PTRACE the other root is closed.
        let root = if apart && first.join("proc").exists() { first } else { Path::new("/") };
        Self::at(root)
    }

    /// A host whose files are below `root`, and belong to whom that belongs.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        let owner = std::fs::metadata(root).map_or(0, |metadata| metadata.uid());
        Self { root: root.to_owned(), owner }
    }

    /// The container a cgroup belongs to, with all that is written down of it.
    #[must_use]
    pub fn container(&self, cgroup: &str) -> Option<Container> {
        let user = uid_of(cgroup).map(|uid| User { uid, home: self.home_of(uid) });
        let search = Search { host: self, user };
        let mut container = match layouts::of_cgroup(cgroup) {
            Some(container) => container,
            None => search.bare(cgroup)?,
        };
        search.fill(&mut container);
        Some(container)
    }

    fn home_of(&self, uid: u32) -> Option<PathBuf> {
        let text = self.read(Path::new("/etc/passwd"), self.owner)?;
        String::from_utf8_lossy(&text).lines().find_map(|line| {
            let mut fields = line.split(':');
            let found: u32 = fields.nth(2)?.parse().ok()?;
            let home = PathBuf::from(fields.nth(2)?);
            (found == uid && home.is_absolute()).then_some(home)
        })
    }

    /// A path of the host as this process reaches it; `..` does not lead out of the root.
    fn within(&self, path: &Path) -> PathBuf {
        let mut all = self.root.clone();
        all.extend(path.components().filter(|part| matches!(part, Component::Normal(_))));
        all
    }

    /// The bytes of a regular file of `owner`'s that is not too large.
    fn read(&self, path: &Path, owner: u32) -> Option<Vec<u8>> {
        let file = self.open(path, owner)?;
        if file.metadata().ok()?.len() > FILE_BYTES {
            return None;
        }
        let mut text = Vec::new();
        file.take(FILE_BYTES).read_to_end(&mut text).ok()?;
        Some(text)
    }

    fn open(&self, path: &Path, owner: u32) -> Option<File> {
        // A FIFO or a device in its place must neither block nor be touched.
        let file: File = OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY | libc::O_NOFOLLOW)
            .open(self.within(path))
            .ok()?;
        let metadata = file.metadata().ok()?;
        (metadata.is_file() && metadata.uid() == owner).then_some(file)
    }

    fn folders(&self, path: &Path) -> Vec<PathBuf> {
        let Ok(entries) = std::fs::read_dir(self.within(path)) else { return Vec::new() };
        entries.flatten().take(NAMESPACES).map(|entry| path.join(entry.file_name())).collect()
    }
}

impl Search<'_> {
    /// Adds what each source says; the first that knows something counts.
    fn fill(&self, container: &mut Container) {
        let id = container.id.clone();
        let dockers = self.dockers();
        for folder in &dockers {
            let path = folder.join("containers").join(&id).join("config.v2.json");
            if self.document(&path, container, documents::docker) {
                // `unknown` was a parent group of somebody's own choice.
                "docker".clone_into(&mut container.runtime);
                return;
            }
        }
        let mut bundles: Vec<PathBuf> = Vec::new();
        for (tasks, home) in TASKS {
            let homes: Vec<PathBuf> = match home.strip_prefix("DOCKER/") {
                Some(rest) => dockers.iter().map(|docker| docker.join(rest)).collect(),
                None => vec![PathBuf::from(home)],
            };
            for namespace in self.host.folders(Path::new(tasks)) {
                let bundle = namespace.join(&id);
                if self.read(&bundle.join("config.json")).is_none() {
                    continue;
                }
                if matches!(container.runtime.as_str(), "cri" | "unknown") {
                    "containerd".clone_into(&mut container.runtime);
                }
                bundles.push(bundle);
                if let Some(namespace) = namespace.file_name().and_then(|name| name.to_str()) {
                    for home in &homes {
                        let path = home.join(DATABASE_OF_CONTAINERD);
                        self.containerd(&path, namespace, container);
                    }
                }
            }
        }
        bundles.extend(self.state(&id).map(|state| PathBuf::from(state.bundle)));
        let storages = self.places(STORAGE, STORAGE_OF_USER);
        for driver in DRIVERS {
            bundles.extend(storages.iter().map(|one| one.join(driver).join(&id).join("userdata")));
        }
        let Some(bundle) = bundles.into_iter().find(|bundle| {
            self.document(&bundle.join("config.json"), container, documents::bundle)
        }) else {
            return;
        };
        // `STORAGE/DRIVER-containers/ID/userdata`.
        if let Some(containers) = bundle.parent().and_then(Path::parent) {
            let path = containers.join("containers.json");
            let stored = self.document(&path, container, documents::storage);
            if stored && container.runtime == "cri" {
                "cri-o".clone_into(&mut container.runtime);
            }
            if let Some(storage) = containers.parent() {
                self.podman(&storage.join("libpod/bolt_state.db"), container);
            }
        }
    }

    /// What podman's own database has: `--label` stands nowhere else.
    fn podman(&self, path: &Path, container: &mut Container) {
        let Some(file) = self.open(path) else { return };
        let read = |at, len| read_at(&file, at, len);
        let Some(database) = Database::open(&read) else { return };
        let row = database
            .bucket(&["ctr", &container.id])
            .and_then(|bucket| database.get(&bucket, "config"));
        if let Some(row) = row {
            documents::podman(&row, container);
        }
    }

    /// The same of containerd.
    fn containerd(&self, path: &Path, namespace: &str, container: &mut Container) {
        let Some(file) = self.open(path) else { return };
        let read = |at, len| read_at(&file, at, len);
        let Some(database) = Database::open(&read) else { return };
        let Some(bucket) = database.bucket(&["v1", namespace, "containers", &container.id]) else {
            return;
        };
        let labels = database
            .bucket(&["v1", namespace, "containers", &container.id, "labels"])
            .map(|labels| database.entries(&labels))
            .unwrap_or_default();
        let image = database.get(&bucket, "image");
        documents::containerd(image.as_deref(), labels, container);
    }

    fn open(&self, path: &Path) -> Option<File> {
        let of_user = self.user.as_ref().and_then(|user| self.host.open(path, user.uid));
        of_user.or_else(|| self.host.open(path, self.host.owner))
    }

    /// A container of a bare runtime, which calls its group what it likes: only its own word tells.
    fn bare(&self, cgroup: &str) -> Option<Container> {
        let name = cgroup.rsplit('/').find(|part| !part.is_empty() && *part != "container")?;
        if name.starts_with('.') {
            return None;
        }
        let state = self.states(CRUN, name, documents::crun)?;
        let same = state.cgroup.trim_matches('/')
            == cgroup.trim_end_matches("/container").trim_matches('/');
        same.then(|| Container { runtime: "crun".into(), id: name.into(), ..Container::default() })
    }

    fn state(&self, id: &str) -> Option<State> {
        let namespaces =
            || RUNC_OF_CONTAINERD.iter().flat_map(|path| self.host.folders(Path::new(path)));
        self.states(CRUN, id, documents::crun)
            .or_else(|| self.states(RUNC, id, documents::runc))
            .or_else(|| {
                namespaces().find_map(|folder| {
                    documents::runc(&self.read(&folder.join(id).join("state.json"))?)
                })
            })
    }

    fn states(
        &self,
        places: &[&str],
        id: &str,
        parse: fn(&[u8]) -> Option<State>,
    ) -> Option<State> {
        places.iter().find_map(|place| {
            let folder = match (place.strip_prefix("USER/"), &self.user) {
                (None, _) => PathBuf::from(place),
                (Some(rest), Some(user)) => {
                    PathBuf::from(format!("/run/user/{}", user.uid)).join(rest)
                }
                (Some(_), None) => return None,
            };
            let folder = folder.join(id);
            let text = self
                .read(&folder.join("status"))
                .or_else(|| self.read(&folder.join("state.json")))?;
            parse(&text)
        })
    }

    /// Where docker keeps its containers: where its settings say, before where it does without any, since what
    /// it kept there before may still lie there.
    fn dockers(&self) -> Vec<PathBuf> {
        let settings = self.places(DOCKER_SETTINGS, DOCKER_SETTINGS_OF_USER);
        let said = settings.iter().filter_map(|path| documents::data_root(&self.read(path)?));
        said.chain(self.places(DOCKER, DOCKER_OF_USER)).collect()
    }

    /// The system's places, or, for a user's container, that user's.
    fn places(&self, system: &[&str], of_user: &[&str]) -> Vec<PathBuf> {
        match &self.user {
            Some(User { home: Some(home), .. }) => of_user
                .iter()
                .map(|place| home.join(place))
                .chain(system.iter().map(PathBuf::from))
                .collect(),
            _ => system.iter().map(PathBuf::from).collect(),
        }
    }

    fn document(
        &self,
        path: &Path,
        container: &mut Container,
        parse: fn(&[u8], &mut Container) -> bool,
    ) -> bool {
        self.read(path).is_some_and(|text| parse(&text, container))
    }

    /// A user can have another's file stand in a place of his own: of a user's container, only what is the
    /// user's or root's counts.
    fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let of_user = self.user.as_ref().and_then(|user| self.host.read(path, user.uid));
        of_user.or_else(|| self.host.read(path, self.host.owner))
    }
}

/// Up to `len` bytes: a database may end before its last page does.
fn read_at(file: &File, at: u64, len: usize) -> Option<Vec<u8>> {
    let mut bytes = vec![0; len];
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, at.checked_add(filled as u64)?) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
    }
    bytes.truncate(filled);
    (filled > 0).then_some(bytes)
}

/// The user of systemd's `user-UID.slice` and `user@UID.service`, for a container in a session or a user's
/// service manager.
fn uid_of(cgroup: &str) -> Option<u32> {
    cgroup.split('/').find_map(|part| {
        let slice = part.strip_prefix("user-").and_then(|rest| rest.strip_suffix(".slice"));
        let service = || part.strip_prefix("user@").and_then(|rest| rest.strip_suffix(".service"));
        slice.or_else(service)?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "4c6d8a9b0e1f22334455667788990011aabbccddeeff00112233445566778899";
    const UID: &str = "0f9c1e7a-6b1d-4d0f-9a39-5c1d1c1f7a10";

    /// Files of a host by path, with `ID` for the container's.
    fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path.replace("ID", ID).trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text.replace("ID", ID)).unwrap();
        }
        let host = Host::at(folder.path());
        (folder, host)
    }

    const ANNOTATED: &str = r#"{"annotations":{"a":"b"}}"#;
    const POD: &str = r#"{"annotations":{"io.kubernetes.cri.sandbox-name":"web-1"}}"#;
    const CRUN_: &str = r#"{"bundle":"/elsewhere/overlay-containers/ID/userdata","cgroup-path":"/libpod_parent/libpod-ID"}"#;
    const RUNC_: &str = r#"{"config":{"labels":["bundle=/b/ID"]}}"#;
    const STORED: &str =
        r#"[{"id":"ID","names":["weather"],"metadata":"{\"image-name\":\"w:1\"}"}]"#;
    const DOCKER_: &str = r#"{"Name":"/weather","Config":{"Image":"w:1","Labels":{"a":"b"}}}"#;
    const MOVED: &str = r#"{"data-root":"/srv/docker"}"#;
    const LEFT: &str = r#"{"Name":"/before","Config":{"Image":"w:0","Labels":null}}"#;

    /// The group of a user's podman.
    const OF_USER: &str =
        "/user.slice/user-MYUID.slice/user@MYUID.service/user.slice/libpod-ID.scope/container";

    /// What the host shows: files, the cgroup, then runtime, name, image, pod's name, label `a`.
    type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, [&'a str; 5]);

    const CASES: &[Case<'_>] = &[
        (
            &[("/var/lib/docker/containers/ID/config.v2.json", DOCKER_)],
            "/system.slice/docker-ID.scope",
            ["docker", "weather", "w:1", "", "b"],
        ),
        (
            &[("/var/lib/docker/containers/ID/config.v2.json", DOCKER_)],
            "/own-parent/ID",
            ["docker", "weather", "w:1", "", "b"],
        ),
        (
            &[
                ("/etc/passwd", "me:x:MYUID:1::/home/me:/bin/sh\n"),
                ("/home/me/.local/share/docker/containers/ID/config.v2.json", DOCKER_),
            ],
            "/user.slice/user-MYUID.slice/user@MYUID.service/user.slice/docker-ID.scope",
            ["docker", "weather", "w:1", "", "b"],
        ),
        // docker that was told to keep them elsewhere: before what it left where they were, by the old name of
        // the setting, from a snap.
        (
            &[
                ("/etc/docker/daemon.json", MOVED),
                ("/srv/docker/containers/ID/config.v2.json", DOCKER_),
                ("/var/lib/docker/containers/ID/config.v2.json", LEFT),
            ],
            "/system.slice/docker-ID.scope",
            ["docker", "weather", "w:1", "", "b"],
        ),
        (
            &[
                ("/etc/docker/daemon.json", r#"{"graph":"/srv/docker"}"#),
                ("/srv/docker/containers/ID/config.v2.json", DOCKER_),
            ],
            "/own-parent/ID",
            ["docker", "weather", "w:1", "", "b"],
        ),
        (
            &[
                ("/var/snap/docker/current/config/daemon.json", MOVED),
                ("/srv/docker/containers/ID/config.v2.json", DOCKER_),
            ],
            "/docker/ID",
            ["docker", "weather", "w:1", "", "b"],
        ),
        // A user's: for that user's containers, for nobody else's.
        (
            &[
                ("/etc/passwd", "me:x:MYUID:1::/home/me:/bin/sh\n"),
                ("/home/me/.config/docker/daemon.json", MOVED),
                ("/srv/docker/containers/ID/config.v2.json", DOCKER_),
            ],
            "/user.slice/user-MYUID.slice/user@MYUID.service/user.slice/docker-ID.scope",
            ["docker", "weather", "w:1", "", "b"],
        ),
        (
            &[
                (
                    "/etc/passwd",
                    "me:x:MYUID:1::/home/me:/bin/sh\nyou:x:4000000000:1::/home/you:/bin/sh\n",
                ),
                ("/home/me/.config/docker/daemon.json", MOVED),
                ("/srv/docker/containers/ID/config.v2.json", DOCKER_),
            ],
            "/user.slice/user-4000000000.slice/user@4000000000.service/user.slice/docker-ID.scope",
            ["docker", "", "", "", ""],
        ),
        (
            &[
                ("/etc/passwd", "me:x:MYUID:1::/home/me:/bin/sh\n"),
                ("/home/me/.config/docker/daemon.json", MOVED),
                ("/srv/docker/containers/ID/config.v2.json", DOCKER_),
            ],
            "/system.slice/docker-ID.scope",
            ["docker", "", "", "", ""],
        ),
        // Settings that nothing can be made of, or that name a place where nothing is, hide no other place.
        (
            &[
                ("/etc/docker/daemon.json", "{"),
                ("/var/lib/docker/containers/ID/config.v2.json", DOCKER_),
            ],
            "/docker/ID",
            ["docker", "weather", "w:1", "", "b"],
        ),
        (
            &[
                ("/etc/docker/daemon.json", MOVED),
                ("/var/lib/docker/containers/ID/config.v2.json", DOCKER_),
            ],
            "/docker/ID",
            ["docker", "weather", "w:1", "", "b"],
        ),
        (
            &[("/run/containerd/io.containerd.runtime.v2.task/default/ID/config.json", ANNOTATED)],
            "/default/ID",
            ["containerd", "", "", "", "b"],
        ),
        (
            &[("/run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json", POD)],
            "/kubepods/burstable/podUID/ID",
            ["containerd", "", "", "web-1", ""],
        ),
        (
            &[
                (
                    "/var/lib/containers/storage/overlay-containers/ID/userdata/config.json",
                    ANNOTATED,
                ),
                ("/var/lib/containers/storage/overlay-containers/containers.json", STORED),
            ],
            "/kubepods/burstable/podUID/ID",
            ["cri-o", "", "w:1", "", "b"],
        ),
        (
            &[
                ("/run/crun/ID/status", CRUN_),
                ("/elsewhere/overlay-containers/ID/userdata/config.json", ANNOTATED),
                ("/elsewhere/overlay-containers/containers.json", STORED),
            ],
            "/libpod_parent/libpod-ID",
            ["podman", "weather", "w:1", "", "b"],
        ),
        (
            &[("/run/runc/ID/state.json", RUNC_), ("/b/ID/config.json", ANNOTATED)],
            "/user.slice/runc-ID.scope",
            ["runc", "", "", "", "b"],
        ),
        (
            &[("/var/snap/docker/common/var-lib-docker/containers/ID/config.v2.json", DOCKER_)],
            "/docker/ID",
            ["docker", "weather", "w:1", "", "b"],
        ),
        (
            &[(
                "/run/docker/containerd/daemon/io.containerd.runtime.v2.task/moby/ID/config.json",
                ANNOTATED,
            )],
            "/docker/ID",
            ["docker", "", "", "", "b"],
        ),
        (
            &[
                ("/run/docker/runtime-runc/moby/ID/state.json", RUNC_),
                ("/b/ID/config.json", ANNOTATED),
            ],
            "/docker/ID",
            ["docker", "", "", "", "b"],
        ),
        (
            &[(
                "/var/snap/microk8s/common/run/containerd/io.containerd.runtime.v2.task/k8s.io/ID/config.json",
                POD,
            )],
            "/kubepods/burstable/podUID/ID",
            ["containerd", "", "", "web-1", ""],
        ),
        (
            &[
                ("/run/containerd/runc/default/ID/state.json", RUNC_),
                ("/b/ID/config.json", ANNOTATED),
            ],
            "/default/ID",
            ["containerd", "", "", "", "b"],
        ),
        // podman: the other drivers, then a user's own, by storage and by the states of both runtimes.
        (
            &[
                ("/var/lib/containers/storage/btrfs-containers/ID/userdata/config.json", ANNOTATED),
                ("/var/lib/containers/storage/btrfs-containers/containers.json", STORED),
            ],
            "/libpod_parent/libpod-ID",
            ["podman", "weather", "w:1", "", "b"],
        ),
        (
            &[("/var/lib/containers/storage/vfs-containers/ID/userdata/config.json", ANNOTATED)],
            "/libpod_parent/libpod-ID",
            ["podman", "", "", "", "b"],
        ),
        (
            &[
                ("/etc/passwd", "me:x:MYUID:1::/home/me:/bin/sh\n"),
                (
                    "/home/me/.local/share/containers/storage/overlay-containers/ID/userdata/config.json",
                    ANNOTATED,
                ),
                (
                    "/home/me/.local/share/containers/storage/overlay-containers/containers.json",
                    STORED,
                ),
            ],
            OF_USER,
            ["podman", "weather", "w:1", "", "b"],
        ),
        (
            &[
                ("/run/user/MYUID/crun/ID/status", CRUN_),
                ("/elsewhere/overlay-containers/ID/userdata/config.json", ANNOTATED),
            ],
            OF_USER,
            ["podman", "", "", "", "b"],
        ),
        (
            &[("/run/user/MYUID/runc/ID/state.json", RUNC_), ("/b/ID/config.json", ANNOTATED)],
            OF_USER,
            ["podman", "", "", "", "b"],
        ),
        (
            &[
                ("/run/crun/my-own/status", r#"{"bundle":"/b","cgroup-path":"/my-own"}"#),
                ("/b/config.json", ANNOTATED),
            ],
            "/my-own",
            ["crun", "", "", "", "b"],
        ),
        (&[], "/docker/ID", ["docker", "", "", "", ""]),
    ];

    #[test]
    fn each_runtime_s_files_are_found() {
        for (files, cgroup, expected) in CASES {
            // A user's files count when they are the user's: here whoever runs the test.
            let own = Host::at(&std::env::temp_dir()).root;
            let probe = tempfile::NamedTempFile::new_in(own).unwrap();
            let uid = probe.as_file().metadata().unwrap().uid().to_string();
            let of_me = |text: &str| text.replace("MYUID", &uid);
            let files: Vec<(String, String)> =
                files.iter().map(|(path, text)| (of_me(path), of_me(text))).collect();
            let files: Vec<(&str, &str)> =
                files.iter().map(|(path, text)| (path.as_str(), text.as_str())).collect();
            let (_folder, host) = host(&files);
            let cgroup = cgroup
                .replace("podUID", &format!("pod{UID}"))
                .replace("MYUID", &uid)
                .replace("ID", ID);
            let found = host.container(&cgroup).unwrap_or_else(|| panic!("{cgroup}"));
            let text = |value: &Option<String>| value.clone().unwrap_or_default();
            let label = found.labels.get("a").cloned().unwrap_or_default();
            let shown = [
                found.runtime.clone(),
                text(&found.name),
                text(&found.image),
                text(&found.pod_name),
                label,
            ];
            assert_eq!(shown, *expected, "{cgroup}");
        }
    }

    #[test]
    fn labels_are_looked_up_in_the_databases_of_podman_and_containerd() {
        let fixture = |name: &str| {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/containers");
            std::fs::read(folder.join(name)).unwrap()
        };
        let put = |folder: &Path, path: &str, bytes: &[u8]| {
            let path = folder.join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        };
        let podman = "223f4b8c7f7654bc890c944ad09f88df903d80bc6d03acde09df7640f31ca94d";
        let (folder, host) = host(&[]);
        let storage = "/var/lib/containers/storage";
        let bundle = format!("{storage}/overlay-containers/{podman}/userdata/config.json");
        put(folder.path(), &bundle, ANNOTATED.as_bytes());
        put(folder.path(), &format!("{storage}/libpod/bolt_state.db"), &fixture("podman.bolt"));
        let found = host.container(&format!("/libpod_parent/libpod-{podman}")).unwrap();
        assert_eq!(found.labels["com.example.mcp"], "weather");
        assert_eq!(found.labels["a"], "b");
        assert_eq!(found.name.as_deref(), Some("weather"));

        let tasks = "/run/containerd/io.containerd.runtime.v2.task";
        let pod = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184";
        for (namespace, id) in [("default", ID), ("k8s.io", pod)] {
            put(folder.path(), &format!("{tasks}/{namespace}/{id}/config.json"), b"{}");
        }
        let database = "/var/lib/containerd/io.containerd.metadata.v1.bolt/meta.db";
        put(folder.path(), database, &fixture("containerd.bolt"));
        let found = host.container(&format!("/default/{ID}")).unwrap();
        assert_eq!(found.labels["com.example.mcp"], "weather");
        assert!(found.labels["key-100"].ends_with("-100"));
        let found = host.container(&format!("/kubepods/pod{UID}/{pod}")).unwrap();
        assert_eq!(
            (found.runtime.as_str(), found.pod_name.as_deref()),
            ("containerd", Some("web-1"))
        );
        for (run, home) in [
            ("/run/k3s/containerd", "/var/lib/rancher/k3s/agent/containerd"),
            ("/run/docker/containerd/daemon", "/var/lib/docker/containerd/daemon"),
            ("/run/docker/containerd/daemon", "/srv/docker/containerd/daemon"),
            (
                "/var/snap/microk8s/common/run/containerd",
                "/var/snap/microk8s/common/var/lib/containerd",
            ),
        ] {
            let (folder, host) = self::host(&[("/etc/docker/daemon.json", MOVED)]);
            let bundle = format!("{run}/io.containerd.runtime.v2.task/default/{ID}/config.json");
            put(folder.path(), &bundle, b"{}");
            let database = format!("{home}/io.containerd.metadata.v1.bolt/meta.db");
            put(folder.path(), &database, &fixture("containerd.bolt"));
            let found = host.container(&format!("/default/{ID}")).unwrap();
            assert_eq!(found.labels["com.example.mcp"], "weather", "{home}");
        }
    }

    #[test]
    fn a_bare_runtime_s_word_counts_for_its_own_group_only() {
        let status = r#"{"bundle":"/b","cgroup-path":"/elsewhere/name"}"#;
        let (_folder, host) = host(&[("/run/crun/name/status", status)]);
        assert_eq!(host.container("/name"), None);
        assert_eq!(host.container("/elsewhere/name").unwrap().id, "name");
        assert_eq!(host.container("/elsewhere/name/container").unwrap().id, "name");
        for path in ["", "/", "/.", "/..", "/../..", "/a/../name"] {
            assert_eq!(host.container(path), None, "{path}");
        }
    }

    #[test]
    fn what_is_no_small_regular_file_of_its_owner_is_not_read() {
        let (folder, host) = host(&[("/secret", DOCKER_)]);
        let at = folder.path().join("var/lib/docker/containers").join(ID);
        std::fs::create_dir_all(&at).unwrap();
        let path = at.join("config.v2.json");
        let cgroup = format!("/docker/{ID}");
        let plain = || host.container(&cgroup).unwrap().name.is_none();
        std::os::unix::fs::symlink(folder.path().join("secret"), &path).unwrap();
        assert!(plain(), "a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(plain(), "a folder");
        std::fs::remove_dir(&path).unwrap();
        std::fs::write(&path, format!("{DOCKER_}{}", " ".repeat(5 << 20))).unwrap();
        assert!(plain(), "a large file");
        std::fs::write(&path, DOCKER_).unwrap();
        assert!(!plain());
        let other = Host { owner: host.owner + 1, ..host.clone() };
        assert!(other.container(&cgroup).unwrap().name.is_none(), "another's file");
    }

    #[test]
    fn settings_of_docker_that_are_no_small_regular_file_of_their_owner_are_no_hint() {
        let (folder, host) =
            host(&[("/srv/docker/containers/ID/config.v2.json", DOCKER_), ("/secret", MOVED)]);
        let path = folder.path().join("etc/docker/daemon.json");
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        let plain = || host.container(&format!("/docker/{ID}")).unwrap().name.is_none();
        assert!(plain(), "none");
        std::os::unix::fs::symlink(folder.path().join("secret"), &path).unwrap();
        assert!(plain(), "a link");
        std::fs::remove_file(&path).unwrap();
        std::fs::create_dir(&path).unwrap();
        assert!(plain(), "a folder");
        std::fs::remove_dir(&path).unwrap();
        for text in [
            format!("{MOVED}{}", " ".repeat(5 << 20)),
            MOVED.replace('}', ""),
            MOVED.replace("/srv", "srv"),
            MOVED.replace("/srv", "../srv"),
        ] {
            std::fs::write(&path, &text).unwrap();
            assert!(plain(), "{}", text.trim_end());
        }
        std::fs::write(&path, MOVED).unwrap();
        assert!(!plain());
        let places = |host: &Host| Search { host, user: None }.dockers();
        assert!(places(&host).contains(&PathBuf::from("/srv/docker")));
        let other = Host { owner: host.owner + 1, ..host.clone() };
        assert_eq!(places(&other), DOCKER.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn bundles_do_not_lead_out_of_the_host() {
        let (folder, host) = host(&[("/x", "")]);
        assert_eq!(host.within(Path::new("/../../etc/passwd")), folder.path().join("etc/passwd"));
    }

    #[test]
    fn users_are_told_by_their_slice() {
        let slice = "/user.slice/user-1000.slice/session-3.scope/libpod_parent/libpod-1";
        assert_eq!(uid_of(slice), Some(1000));
        assert_eq!(uid_of("/x/user@1001.service/user.slice"), Some(1001));
        assert_eq!(uid_of("/user.slice/user-x.slice/docker"), None);
    }
}
