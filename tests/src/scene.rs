//! A test's own small world: a temporary home, an anchor all its processes descend from, and a network
//! of its own when it asks for one. All of it ends with the scene.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::agent::{AgentBuilder, Epilogue, report};
use crate::client::{Client, Sdk};
use crate::deps::{deps, on_path, own_program, workspace};
use crate::network::address;
use crate::proc::{kill, kill_descendants};
use crate::require_root;

/// A test's world.
pub struct Scene {
    anchor: Child,
    control: RefCell<Control>,
    home: PathBuf,
    /// Removed after the processes that use it have been ended.
    _folder: TempDir,
    epilogue: Epilogue,
}

struct Control {
    commands: UnixStream,
    answers: BufReader<UnixStream>,
}

/// What a scene is made with.
#[derive(Default)]
pub struct SceneBuilder {
    network: bool,
    resolver: bool,
    cgroups: Option<&'static str>,
}

impl SceneBuilder {
    /// A network namespace with the addresses of [`address`] on `lo`.
    #[must_use]
    pub fn network(mut self) -> Self {
        self.network = true;
        self
    }

    /// A mount namespace in which a container runtime finds cgroups of version 1 alone; where the machine has version 2
    /// alone, its anchor says that this is not tested.
    #[must_use]
    pub fn cgroups_v1(mut self) -> Self {
        self.cgroups = Some("--cgroups-v1");
        self
    }

    /// The same with version 2.
    #[must_use]
    pub fn cgroups_v2(mut self) -> Self {
        self.cgroups = Some("--cgroups-v2");
        self
    }

    /// Sets the scene; its anchor runs when this returns.
    pub fn build(self) -> Scene {
        require_root();
        let folder =
            tempfile::Builder::new().prefix("mcpwatch-").tempdir().expect("a temporary folder");
        // Readable for the tests that start the agent as somebody else.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("chmod");
        // The agent shows resolved paths; the folder for temporary files may stand behind a link.
        let root = folder.path().canonicalize().expect("a folder has a path");
        let home = root.join("home");
        fs::create_dir(&home).expect("mkdir");

        let socket = root.join("anchor.sock");
        let listener = UnixListener::bind(&socket).expect("a socket in a temporary folder");
        let mut command = Command::new(own_program("anchor"));
        command.arg(&socket).args(self.cgroups).stdin(Stdio::null());
        if self.resolver {
            let file = root.join("resolv.conf");
            fs::write(&file, format!("nameserver {}\n", address::RESOLVER))
                .expect("a file can be written");
            command.arg(format!("--resolver={}", file.display()));
        }
        if self.network {
            command.args([
                format!("{}/32", address::WEB),
                format!("{}/32", address::RESOLVER),
                format!("{}/32", address::STRANGER),
                format!("{}/128", address::WEB_IPV6),
                format!("{}/32", address::METADATA),
            ]);
        }
        let mut anchor = command.spawn().expect("the anchor can be started");
        let commands = accept(&listener, &mut anchor);
        let answers = BufReader::new(commands.try_clone().expect("a socket can be duplicated"));
        let control = RefCell::new(Control { commands, answers });
        Scene { anchor, control, home, _folder: folder, epilogue: Epilogue::default() }
    }
}

/// Waits for a program to connect; fails when it ends instead.
pub(crate) fn accept(listener: &UnixListener, child: &mut Child) -> UnixStream {
    listener.set_nonblocking(true).expect("fcntl");
    loop {
        match listener.accept() {
            Ok((stream, _)) => {
                stream.set_nonblocking(false).expect("fcntl");
                return stream;
            }
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("accept: {error}"),
        }
        if let Some(status) = child.try_wait().expect("waitpid") {
            panic!("{child:?} ended early: {status}");
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

impl Scene {
    /// A scene without a network of its own.
    pub fn new() -> Self {
        SceneBuilder::default().build()
    }

    /// A scene with the addresses of [`address`], which nothing can leave.
    pub fn with_network() -> Self {
        SceneBuilder::default().network().build()
    }

    /// The same, with [`address::RESOLVER`] for the name server of everything in it: an agent that is to know it
    /// for the host's own is [`Scene::agent_inside`].
    pub fn with_resolver() -> Self {
        SceneBuilder { resolver: true, ..SceneBuilder::default().network() }.build()
    }

    /// The process everything in the scene descends from.
    pub fn anchor_pid(&self) -> u32 {
        self.anchor.id()
    }

    /// The home of the scene's processes.
    pub fn home(&self) -> &Path {
        &self.home
    }

    /// A path in the home as text, for arguments of calls.
    pub fn path(&self, relative: &str) -> String {
        self.home.join(relative).to_str().expect("temporary paths are UTF-8").to_owned()
    }

    /// A folder beside the home, for what is no part of the play: logs, event files, sockets.
    pub fn backstage(&self, name: &str) -> PathBuf {
        self.home.with_file_name(name)
    }

    /// Writes a file below the home, with its folders.
    pub fn write(&self, relative: &str, contents: &str) -> String {
        let path = self.home.join(relative);
        fs::create_dir_all(path.parent().expect("a file stands in a folder")).expect("mkdir");
        fs::write(&path, contents).expect("a file can be written");
        self.path(relative)
    }

    /// Writes `~/.cursor/mcp.json` with these servers; gives its path.
    pub fn config(&self, servers: &[(&str, Value)]) -> String {
        let servers: BTreeMap<&str, &Value> =
            servers.iter().map(|(name, entry)| (*name, entry)).collect();
        self.write(".cursor/mcp.json", &format!("{:#}", json!({"mcpServers": servers})))
    }

    /// Makes a file of `tests/servers` or `tests/clients` runnable in the scene: JavaScript finds the
    /// installed packages beside it, which it looks for along its own path alone.
    pub fn script(&self, file: &str) -> String {
        let source = workspace().join("tests").join(file);
        if source.extension().is_none_or(|extension| extension != "mjs") {
            return source.to_str().expect("the workspace's path is UTF-8").to_owned();
        }
        let folder = self.backstage("scripts");
        fs::create_dir_all(&folder).expect("mkdir");
        let modules = folder.join("node_modules");
        if !modules.exists() {
            std::os::unix::fs::symlink(deps().node_modules(), &modules).expect("symlink");
        }
        let copy = folder.join(source.file_name().expect("a script has a name"));
        fs::copy(&source, &copy).unwrap_or_else(|error| panic!("{}: {error}", source.display()));
        copy.to_str().expect("temporary paths are UTF-8").to_owned()
    }

    /// The environment of everything in the scene.
    pub fn environment(&self) -> BTreeMap<&'static str, String> {
        let mut path = String::new();
        for program in [deps().python(), on_path("node")] {
            path += program.parent().and_then(Path::to_str).expect("programs stand in folders");
            path += ":";
        }
        let mut environment = self.bare_environment();
        environment.entry("PATH").and_modify(|rest| *rest = path + rest);
        environment
    }

    /// The same without any program that is installed for the tests.
    pub fn bare_environment(&self) -> BTreeMap<&'static str, String> {
        BTreeMap::from([
            ("HOME", self.path("")),
            ("LANG", "C.UTF-8".into()),
            ("PATH", "/usr/local/bin:/usr/bin:/bin".into()),
        ])
    }

    /// Starts a program below the anchor, without pipes; gives its pid.
    pub fn start(&self, argv: &[&str]) -> u32 {
        self.start_in(argv, &self.environment())
    }

    /// The same with another environment.
    pub fn start_in(&self, argv: &[&str], environment: &BTreeMap<&str, String>) -> u32 {
        let command = json!({
            "argv": argv,
            "env": environment,
            "cwd": self.home,
            "log": self.backstage("scene.log"),
        });
        let mut control = self.control.borrow_mut();
        writeln!(control.commands, "{command}").expect("the anchor lives");
        let mut answer = String::new();
        control.answers.read_line(&mut answer).expect("the anchor lives");
        let answer: Value = serde_json::from_str(&answer).expect("the anchor answers");
        answer["pid"]
            .as_u64()
            .and_then(|pid| u32::try_from(pid).ok())
            .unwrap_or_else(|| panic!("cannot start {argv:?}: {answer}"))
    }

    /// Starts a client of an official SDK below the anchor.
    pub fn client(&self, sdk: Sdk) -> Client {
        Client::start(self, sdk)
    }

    /// An agent that sees this scene and nothing else; not started yet.
    pub fn agent(&self) -> AgentBuilder {
        AgentBuilder::new(self)
    }

    /// The same in the scene's network, whose name server is then that of its host.
    pub fn agent_inside(&self) -> AgentBuilder {
        let of_anchor = |option, name| format!("--{option}=/proc/{}/ns/{name}", self.anchor_pid());
        self.agent().by(&["nsenter", &of_anchor("net", "net"), &of_anchor("mount", "mnt"), "--"])
    }

    pub(crate) fn epilogue(&self) -> Epilogue {
        Epilogue::clone(&self.epilogue)
    }

    /// What the scene's programs wrote on stdout and stderr.
    pub fn log(&self) -> String {
        fs::read_to_string(self.backstage("scene.log")).unwrap_or_default()
    }
}

impl Default for Scene {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if std::thread::panicking() {
            report(&self.epilogue);
            eprintln!("── the scene's programs said ──\n{}", self.log());
        }
        kill_descendants(self.anchor.id());
        kill(self.anchor.id(), libc::SIGKILL);
        let _ = self.anchor.wait();
    }
}
