//! Containers of a scene: real ones, by podman and crun, over the root file system that
//! `cargo xtask test` made. Whatever they leave behind is removed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};

use crate::deps::{deps, own_program};
use crate::scene::Scene;

/// podman with storage of its own in the scene.
pub struct Podman<'a> {
    scene: &'a Scene,
    /// Where its settings and storage stand.
    folder: PathBuf,
}

/// crun with a bundle in the scene.
pub struct Crun<'a> {
    scene: &'a Scene,
    bundle: PathBuf,
    /// The container's id.
    pub id: String,
}

/// The labelled server as containers see it.
const PROGRAM: &str = "/mnt/labelled";

impl<'a> Podman<'a> {
    /// Settings for this scene alone.
    pub fn new(scene: &'a Scene) -> Self {
        let folder = scene.backstage("podman");
        fs::create_dir_all(&folder).expect("mkdir");
        let at = |name: &str| folder.join(name).display().to_string();
        // Without systemd there is nobody to ask for cgroups and no journal. Limits above those of the test are
        // refused where root is not almighty.
        let containers = format!(
            "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             [engine]\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nruntime = \"crun\"\n\
             tmp_dir = \"{}\"\n",
            at("tmp")
        );
        let storage = format!(
            "[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n",
            at("root"),
            at("run")
        );
        fs::write(folder.join("containers.conf"), containers).expect("a file can be written");
        fs::write(folder.join("storage.conf"), storage).expect("a file can be written");
        Self { scene, folder }
    }

    /// Makes an image of what the labelled server and a shell need of the root file system: none can be pulled.
    pub fn import(&self, image: &str) {
        let script = "set -e; cd \"$1\"; libraries=usr/lib/*-linux-gnu; \
             tar -c bin lib $(ls -d lib64 usr/lib64) usr/bin/sh usr/bin/dash $(ls -d \
             $libraries/ld-linux-* $libraries/libc.so.* $libraries/libm.so.* $libraries/libgcc_s.so.*) \
             | podman import - \"$2\"";
        let mut import = within(self.scene);
        import.args(["bash", "-o", "pipefail", "-c", script, "bash"]);
        import.arg(deps().root_file_system()).arg(image);
        let output = self.told(&mut import).output().expect("podman can be started");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// The command with the settings of this scene.
    fn told<'c>(&self, command: &'c mut Command) -> &'c mut Command {
        for (name, value) in self.environment().as_object().into_iter().flatten() {
            command.env(name, value.as_str().unwrap_or_default());
        }
        command
    }

    /// An entry of an `mcp.json`: the labelled server in a container with these options beside.
    pub fn labelled(&self, options: &[&str]) -> Value {
        let root = deps().root_file_system().display().to_string();
        self.labelled_in(&["--rootfs", &root], options)
    }

    /// The same in a container of an image.
    pub fn labelled_of_image(&self, image: &str, options: &[&str]) -> Value {
        self.labelled_in(&["--pull", "never", image], options)
    }

    fn labelled_in(&self, root: &[&str], options: &[&str]) -> Value {
        let mounts = [
            format!("{}:{PROGRAM}:ro", own_program("labelled").display()),
            format!("{}:/root:ro", self.scene.home().display()),
        ];
        let mut args = vec!["run", "-i", "--rm", "--network", "host", "--env", "HOME=/root"];
        for mount in &mounts {
            args.extend(["-v", mount]);
        }
        args.extend(options);
        args.extend(root);
        args.push(PROGRAM);
        json!({"command": "podman", "args": args, "env": self.environment()})
    }

    fn environment(&self) -> Value {
        json!({
            "CONTAINERS_CONF": self.folder.join("containers.conf"),
            "CONTAINERS_STORAGE_CONF": self.folder.join("storage.conf"),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        })
    }
}

impl Drop for Podman<'_> {
    fn drop(&mut self) {
        let mut podman = within(self.scene);
        podman.args(["podman", "rm", "--all", "--force", "--time", "0"]);
        let _ = self.told(&mut podman).output();
    }
}

impl<'a> Crun<'a> {
    /// A bundle with the labelled server and these annotations.
    pub fn new(scene: &'a Scene, annotations: &Value) -> Self {
        Self::with_mounts(scene, annotations, &[])
    }

    /// The same with folders of the scene's home mounted below `/mnt`.
    pub fn with_mounts(scene: &'a Scene, annotations: &Value, more: &[(&str, &str)]) -> Self {
        let bundle = scene.backstage("bundle");
        fs::create_dir_all(&bundle).expect("mkdir");
        let bind = |from: &Path, to: &str| json!({"destination": to, "source": from, "type": "bind", "options": ["bind", "ro"]});
        let mut config = json!({
            "ociVersion": "1.0.2",
            "root": {"path": deps().root_file_system(), "readonly": true},
            "process": {
                "user": {"uid": 0, "gid": 0}, "cwd": "/", "args": [PROGRAM],
                "env": ["PATH=/usr/bin:/bin", "HOME=/root"],
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                {"destination": "/mnt", "type": "tmpfs", "source": "tmpfs"},
                bind(&own_program("labelled"), PROGRAM),
                bind(scene.home(), "/root"),
            ],
            "annotations": annotations,
            // The scene's network is used as it is.
            "linux": {"namespaces": [{"type": "pid"}, {"type": "mount"}, {"type": "ipc"}, {"type": "uts"}]},
        });
        let mounts = config["mounts"].as_array_mut().expect("it is one");
        mounts.extend(more.iter().map(|(from, to)| bind(&scene.home().join(from), to)));
        fs::write(bundle.join("config.json"), config.to_string()).expect("a file can be written");
        let id = format!("mcpwatch-test-{}", scene.anchor_pid());
        Self { scene, bundle, id }
    }

    /// An entry of an `mcp.json`.
    pub fn labelled(&self) -> Value {
        let args = ["--cgroup-manager", "cgroupfs", "run", "--bundle"];
        let mut args: Vec<Value> = args.into_iter().map(Into::into).collect();
        args.extend([json!(self.bundle), json!(self.id)]);
        json!({"command": "crun", "args": args})
    }
}

impl Drop for Crun<'_> {
    fn drop(&mut self) {
        let _ = within(self.scene).args(["crun", "delete", "--force", &self.id]).output();
    }
}

/// A command in the mount namespace of the scene.
fn within(scene: &Scene) -> Command {
    let mut command = Command::new("nsenter");
    command.args(["--mount", "--target", &scene.anchor_pid().to_string(), "--"]);
    command
}
