//! The pipeline as its users see it: a host is played in the kernel's wire format, and the records are read
//! as JSON.
//!
//! [`Scene`] keeps what the kernel keeps (tasks, watch set, instances, stream offsets), does what the kernel
//! programs do with it, and lets the pipeline's actions change it. What it says is a *story*: one line a
//! record.

mod attribution;
mod clock;
mod containers;
mod detections;
mod discovery;
mod endings;
mod folders;
mod hostile;
mod listening;
mod mounts;
mod naming;

use std::collections::BTreeMap;

use mcpwatch_common::control::instance_id;
use mcpwatch_common::event::{self as wire, Header, Kind};
use serde_json::{Value, json};

use super::{Action, Input, Origin, PROCESSES, Pipeline};
use crate::config::{Config, Sniff};
use crate::discover::locations::Format;
use crate::discover::scan::ConfigFile;
use crate::host::containers::Container;
use crate::host::snapshot::{ProcessSnapshot, Stdio};

const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1_000_000_000;

/// A client, as every scene has one: it runs outside of every instance.
const CLIENT: u32 = 10;
/// Where the client's pipes to a server stand: (stdin, stdout) of the server.
const CHANNEL: (u64, u64) = (101, 102);
/// A second private channel.
const OTHER_CHANNEL: (u64, u64) = (201, 202);
/// Neither pipe nor socket.
const TERMINAL: (u64, u64) = (0, 0);

/// A process of the played host.
#[derive(Clone)]
struct Task {
    parent: u32,
    start_time: u64,
    stdio: (u64, u64),
    exe: String,
    argv: Vec<String>,
    cgroup: String,
}

/// The value of the kernel's `INSTANCES` map.
#[derive(Clone, Copy, Default)]
struct Channel {
    inodes: (u64, u64),
    offsets: (u64, u64),
}

/// A played host with a pipeline.
struct Scene {
    pipeline: Pipeline,
    now: u64,
    /// The user whose programs are executed.
    uid: u32,
    /// The id of the cgroup they are executed in.
    cgroup: u64,
    /// What the kernel says of the events from now on.
    flags: u32,
    sniff: bool,
    /// Configurations around a new process are read at once; else they never are.
    looks: bool,
    tasks: BTreeMap<u32, Task>,
    watch: BTreeMap<u32, u64>,
    instances: BTreeMap<u64, Channel>,
    /// What the host shows of the containers of its cgroups.
    containers: BTreeMap<String, Container>,
    records: Vec<Value>,
    actions: Vec<Action>,
}

impl Scene {
    fn new() -> Self {
        Self::with("")
    }

    /// A scene with a settings file.
    fn with(settings: &str) -> Self {
        Self::of(settings, &origin())
    }

    /// The same on another host.
    fn of(settings: &str, origin: &Origin) -> Self {
        let config: Config = toml::from_str(settings).unwrap();
        let sniff = config.discovery.sniff != Sniff::Off;
        let mut scene = Self {
            pipeline: Pipeline::new(config, origin).unwrap(),
            now: 1_000 * SECOND,
            uid: 1000,
            cgroup: 1,
            flags: 0,
            sniff,
            looks: true,
            tasks: BTreeMap::new(),
            watch: BTreeMap::new(),
            instances: BTreeMap::new(),
            containers: BTreeMap::new(),
            records: Vec::new(),
            actions: Vec::new(),
        };
        scene.input(Input::Clock { boot: 0, calendar: 1_750_000_000_000_000_000 });
        scene.was_running(1, CLIENT, TERMINAL, "/usr/bin/myclient", &["myclient"]);
        scene
    }

    fn input(&mut self, input: Input) {
        self.pipeline.input(input);
        self.collect();
    }

    /// Takes records and actions, and does what the actions ask.
    fn collect(&mut self) {
        for record in self.pipeline.take_records() {
            let record = serde_json::to_value(record).unwrap();
            crate::output::contract_tests::assert_valid(&record);
            self.records.push(record);
        }
        let mut looked = Vec::new();
        let mut read = Vec::new();
        for action in self.pipeline.take_actions() {
            match &action {
                Action::SetInstance { id, stdin_inode, stdout_inode } => {
                    self.instances.entry(*id).or_default().inodes = (*stdin_inode, *stdout_inode);
                }
                Action::Watch { pid, instance, .. } => {
                    self.watch.insert(*pid, *instance);
                }
                Action::Forget { instance, pids } => {
                    self.instances.remove(instance);
                    for pid in pids {
                        self.watch.remove(pid);
                    }
                }
                Action::LookForConfigs { pid, .. } => looked.extend(self.looks.then_some(*pid)),
                Action::LookForContainer { cgroup } => read.push(cgroup.clone()),
                Action::SetWatching(_)
                | Action::LookAgain
                | Action::LookForMounts { .. }
                | Action::LookForFolders { .. } => {}
            }
            self.actions.push(action);
        }
        for cgroup in read {
            if let Some(container) = self.containers.get(&cgroup).cloned().map(Box::new) {
                self.input(Input::Container { time: self.now, cgroup, container });
            }
        }
        for pid in looked {
            self.looked(pid);
        }
    }

    /// The shell has read the configurations around a process.
    fn looked(&mut self, pid: u32) {
        let cgroup = self.tasks.get(&pid).map(|task| task.cgroup.clone()).unwrap_or_default();
        let container = self.containers.get(&cgroup).cloned().map(Box::new);
        self.input(Input::Looked { time: self.now, pid, cgroup, container });
    }

    /// Sends one event of a process, its body and tail as the kernel lays them out.
    fn send(&mut self, kind: Kind, pid: u32, result: i64, body: &[u8], tail: &[u8]) {
        let bytes = self.bytes(kind, pid, result, body, tail);
        self.pipeline.events(&bytes);
        self.collect();
    }

    fn bytes(&mut self, kind: Kind, pid: u32, result: i64, body: &[u8], tail: &[u8]) -> Vec<u8> {
        self.now += MILLISECOND;
        let header = Header {
            version: wire::WIRE_VERSION,
            kind: kind as u16,
            size: u32::try_from(size_of::<Header>() + body.len() + tail.len()).unwrap(),
            time: self.now,
            pid,
            tid: pid,
            start_time: self.tasks[&pid].start_time,
            instance: self.watch.get(&pid).copied().unwrap_or(0),
            result,
            flags: self.flags,
            cpu: 0,
        };
        [bytemuck::bytes_of(&header), body, tail].concat()
    }

    /// A process that was there before the agent.
    fn was_running(&mut self, parent: u32, pid: u32, stdio: (u64, u64), exe: &str, argv: &[&str]) {
        let argv = argv.iter().map(|&word| word.to_owned()).collect();
        let cgroup = "/user.slice".into();
        let task = Task { parent, start_time: self.now, stdio, exe: exe.into(), argv, cgroup };
        self.tasks.insert(pid, task);
    }

    fn fork(&mut self, parent: u32, pid: u32) {
        let child = Task { parent, start_time: self.now, ..self.tasks[&parent].clone() };
        let child_start_time = child.start_time;
        self.tasks.insert(pid, child);
        let Some(&instance) = self.watch.get(&parent) else { return };
        if !self.instances.contains_key(&instance) {
            self.watch.remove(&parent);
            return;
        }
        self.watch.insert(pid, instance);
        let body = wire::Fork { child_pid: pid, padding: 0, child_start_time };
        self.send(Kind::Fork, parent, 0, bytemuck::bytes_of(&body), b"");
    }

    /// An exec with the descriptors the process has; `watch::found_at_exec` decides what it founds.
    fn exec(&mut self, pid: u32, exe: &str, argv: &[&str]) {
        self.exec_in(0, pid, exe, argv);
    }

    /// An exec of a program that is found in a mount namespace.
    fn exec_in(&mut self, namespace: u32, pid: u32, exe: &str, argv: &[&str]) {
        let task = self.tasks.get_mut(&pid).unwrap();
        exe.clone_into(&mut task.exe);
        task.argv = argv.iter().map(|&word| word.to_owned()).collect();
        let task = task.clone();
        let parent = self.tasks.get(&task.parent).cloned();
        let before = self.watch.get(&pid).copied().unwrap_or(0);
        let id = instance_id(pid, task.start_time);
        let of_parent = parent.as_ref().map_or(TERMINAL, |parent| parent.stdio);
        let private = task.stdio.0 != 0
            && task.stdio.1 != 0
            && task.stdio.0 != of_parent.0
            && task.stdio.1 != of_parent.1;
        let founds = self.sniff && private && before != id;
        if founds {
            self.instances.insert(id, Channel { inodes: task.stdio, offsets: (0, 0) });
            self.watch.insert(pid, id);
        }
        let path = components(exe);
        let cwd = components("/work");
        let argv: Vec<u8> =
            task.argv.iter().flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
        let body = wire::Exec {
            ppid: task.parent,
            uid: self.uid,
            parent_start_time: parent.map_or(0, |parent| parent.start_time),
            parent_instance: before,
            stdin_inode: task.stdio.0,
            stdout_inode: task.stdio.1,
            cgroup: self.cgroup,
            gid: 1000,
            argv_len: u32::try_from(argv.len()).unwrap(),
            path_len: u16::try_from(path.len()).unwrap(),
            cwd_len: u16::try_from(cwd.len()).unwrap(),
            flags: if founds { wire::EXEC_CANDIDATE } else { 0 },
            stdin_family: 0,
            stdout_family: 0,
            ancestors: 1,
            mount_namespace: namespace,
        };
        let mut ancestors = [wire::Ancestor { pid: 0, padding: 0, start_time: 0 }; wire::ANCESTORS];
        ancestors[0] =
            wire::Ancestor { pid: body.ppid, padding: 0, start_time: body.parent_start_time };
        let tail = [bytemuck::bytes_of(&ancestors), &path, &cwd, &argv].concat();
        self.send(Kind::Exec, pid, 0, bytemuck::bytes_of(&body), &tail);
    }

    /// A parent starts a program with these descriptors.
    fn spawn(&mut self, parent: u32, pid: u32, stdio: (u64, u64), exe: &str, argv: &[&str]) {
        self.fork(parent, pid);
        self.tasks.get_mut(&pid).unwrap().stdio = stdio;
        self.exec(pid, exe, argv);
    }

    /// The client starts a program on [`CHANNEL`]: a candidate.
    fn candidate(&mut self, pid: u32) {
        self.spawn(CLIENT, pid, CHANNEL, "/usr/bin/node", &["node", "server.js"]);
    }

    /// The same, after the handshake and with the story so far forgotten.
    fn server(&mut self, pid: u32) {
        self.candidate(pid);
        self.initialize(pid);
        self.forget();
    }

    fn exit(&mut self, pid: u32, code: i32) {
        let body = wire::Exit { status: code << 8, padding: 0 };
        let bytes = self.bytes(Kind::Exit, pid, 0, bytemuck::bytes_of(&body), b"");
        self.watch.remove(&pid);
        self.tasks.remove(&pid);
        self.pipeline.events(&bytes);
        self.collect();
    }

    fn open(&mut self, pid: u32, path: &str) {
        self.open_for(pid, path, 0);
    }

    /// An open with these `O_*` flags.
    fn open_for(&mut self, pid: u32, path: &str, flags: u32) {
        if self.watch.contains_key(&pid) {
            let (mut body, tail) = opened(path);
            body.flags = flags;
            self.send(Kind::Open, pid, 5, bytemuck::bytes_of(&body), &tail);
        }
    }

    /// A TCP connection to an IPv4 address that succeeds.
    fn connect(&mut self, pid: u32, address: [u8; 4], port: u16) {
        if !self.watch.contains_key(&pid) {
            return;
        }
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&address);
        let body = wire::Net {
            address: bytes,
            family: 2,
            port,
            socket_type: 1,
            protocol: 6,
            fd: 7,
            unix_len: 0,
            has_result: 1,
        };
        self.send(Kind::Connect, pid, 0, bytemuck::bytes_of(&body), b"");
    }

    /// More on its stdin than a server could reasonably hear before the first request.
    fn hears_something_else(&mut self, pid: u32) {
        for _ in 0..3 {
            self.reads(pid, &b"no json\n".repeat(3 << 10));
        }
    }

    /// The process reads from its stdin.
    fn reads(&mut self, pid: u32, bytes: &[u8]) {
        self.transfer(pid, wire::DIRECTION_IN, bytes);
    }

    /// The process writes to its stdout.
    fn writes(&mut self, pid: u32, bytes: &[u8]) {
        self.transfer(pid, wire::DIRECTION_OUT, bytes);
    }

    fn transfer(&mut self, pid: u32, direction: u32, bytes: &[u8]) {
        let Some(&instance) = self.watch.get(&pid) else { return };
        let stdio = self.tasks[&pid].stdio;
        let Some(channel) = self.instances.get_mut(&instance) else { return };
        let (inode, own, offset) = if direction == wire::DIRECTION_IN {
            (channel.inodes.0, stdio.0, &mut channel.offsets.0)
        } else {
            (channel.inodes.1, stdio.1, &mut channel.offsets.1)
        };
        if inode == 0 || inode != own {
            return;
        }
        let body = wire::Payload {
            offset: *offset,
            data_len: u32::try_from(bytes.len()).unwrap(),
            direction,
            last: 1,
            fd: i32::from(direction == wire::DIRECTION_OUT),
        };
        *offset += bytes.len() as u64;
        let moved = i64::try_from(bytes.len()).unwrap();
        self.send(Kind::Payload, pid, moved, bytemuck::bytes_of(&body), bytes);
    }

    fn asked(&mut self, pid: u32, message: &Value) {
        self.reads(pid, format!("{message}\n").as_bytes());
    }

    fn answered(&mut self, pid: u32, message: &Value) {
        self.writes(pid, format!("{message}\n").as_bytes());
    }

    /// A handshake of 2025-06-18 with a server that calls itself `weather`.
    fn initialize(&mut self, pid: u32) {
        self.asked(pid, &initialize());
        self.answered(pid, &initialized("weather"));
        self.asked(pid, &json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
    }

    #[expect(clippy::needless_pass_by_value, reason = "every caller has it from `json!`")]
    fn call(&mut self, pid: u32, id: u64, tool: &str, arguments: Value) {
        let params = json!({"name": tool, "arguments": arguments});
        self.asked(
            pid,
            &json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}),
        );
    }

    fn result(&mut self, pid: u32, id: u64) {
        let result = json!({"content": [{"type": "text", "text": "done"}]});
        self.answered(pid, &json!({"jsonrpc": "2.0", "id": id, "result": result}));
    }

    /// Time passes, in ticks of 250 ms as the shell gives them.
    fn wait(&mut self, nanoseconds: u64) {
        let end = self.now + nanoseconds;
        while self.now < end {
            self.now = end.min(self.now + 250 * MILLISECOND);
            self.input(Input::Tick { time: self.now });
        }
    }

    /// The agent looks at `/proc`.
    fn look(&mut self) {
        let processes = self
            .tasks
            .iter()
            .map(|(&pid, task)| {
                let parent = self.tasks.get(&task.parent).map_or(TERMINAL, |parent| parent.stdio);
                ProcessSnapshot {
                    pid,
                    ppid: task.parent,
                    start: task.start_time / (10 * MILLISECOND),
                    exe: task.exe.clone(),
                    argv: task.argv.clone(),
                    cwd: "/work".into(),
                    uid: 1000,
                    cgroup: task.cgroup.clone(),
                    stdin: pipe(task.stdio.0),
                    stdout: pipe(task.stdio.1),
                    parent_stdin: pipe(parent.0),
                    parent_stdout: pipe(parent.1),
                    ..ProcessSnapshot::default()
                }
            })
            .collect();
        self.input(Input::Processes { time: self.now, processes });
    }

    /// A client's configuration with one server in it.
    fn config(&mut self, name: &str, command: &str, args: &[&str]) {
        let text = json!({"mcpServers": {name: {"command": command, "args": args}}});
        self.input(Input::Config(ConfigFile {
            path: "/home/me/.cursor/mcp.json".into(),
            client: "cursor".into(),
            owner: "1000".into(),
            format: Format::Json,
            keys: vec!["mcpServers".into()],
            text: text.to_string().into_bytes(),
        }));
    }

    fn counters(&mut self, probe: &str, counts: [u64; 6]) {
        self.now += MILLISECOND;
        self.input(Input::Counters { time: self.now, probes: vec![(probe.into(), counts)] });
    }

    /// Everything told so far, a line a record, and forgets it.
    fn story(&mut self) -> Vec<String> {
        std::mem::take(&mut self.records).iter().map(line).collect()
    }

    /// The story without sessions, notifications and the handshake's own calls.
    fn effects(&mut self) -> Vec<String> {
        let mut story = self.story();
        story.retain(|line| !line.starts_with("session") && !line.starts_with("message"));
        story
    }

    fn forget(&mut self) {
        self.records.clear();
    }

    /// The records of a type, whole.
    fn of_type(&self, kind: &str) -> Vec<&Value> {
        self.records.iter().filter(|record| record["type"] == kind).collect()
    }

    fn watching(&self) -> Vec<bool> {
        self.actions
            .iter()
            .filter_map(|action| match action {
                Action::SetWatching(on) => Some(*on),
                _ => None,
            })
            .collect()
    }
}

/// The host as it is unless a test wants another.
fn origin() -> Origin {
    Origin {
        host: "host".into(),
        boot_id: "00000000-0000-4000-8000-000000000000".into(),
        hosts_file: "203.0.113.7 api.example\n".into(),
        ..Origin::default()
    }
}

fn initialize() -> Value {
    let client = json!({"name": "myclient", "version": "1"});
    let params = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client});
    json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params})
}

fn initialized(name: &str) -> Value {
    let server = json!({"name": name, "version": "1.2"});
    let result = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": server});
    json!({"jsonrpc": "2.0", "id": 0, "result": result})
}

/// A successful open of a path by the same path.
fn opened(path: &str) -> (wire::Open, Vec<u8>) {
    let resolved = components(path);
    let body = wire::Open {
        flags: 0,
        mode: 0o100_644,
        inode: 77,
        device: 1,
        path_len: u16::try_from(resolved.len()).unwrap(),
        argument_len: u16::try_from(path.len()).unwrap(),
        base_len: 0,
        path_flags: wire::PATH_COMPLETE,
        path_root: 0,
        base_root: 0,
        mount_namespace: 0,
        padding: 0,
    };
    (body, [resolved, path.as_bytes().to_vec()].concat())
}

/// An absolute path as the kernel side walks it: from the leaf to the root, each part terminated.
fn components(path: &str) -> Vec<u8> {
    path.split('/')
        .rev()
        .filter(|name| !name.is_empty())
        .flat_map(|name| [name.as_bytes(), b"\0"].concat())
        .collect()
}

fn pipe(inode: u64) -> Option<Stdio> {
    (inode != 0).then_some(Stdio::Pipe(inode))
}

/// One record in one line, without what differs from run to run.
fn line(record: &Value) -> String {
    let text = |path: &str| match record.pointer(path) {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "-".into(),
    };
    let cause = || match record.pointer("/call/id") {
        Some(id) => format!("{} {id}", text("/relation")),
        None => text("/relation"),
    };
    match text("/type").as_str() {
        "server.discovered" => {
            let kinds: Vec<&str> = record["server"]["evidence"]
                .as_array()
                .unwrap()
                .iter()
                .map(|piece| piece["kind"].as_str().unwrap())
                .collect();
            format!("discovered {} by {}", text("/server/name"), kinds.join("+"))
        }
        "server.exited" => format!("exited {}", text("/server/name")),
        "mcp.session" => format!("session {}", text("/mcp/protocol_version")),
        "mcp.message" => match record["mcp"].get("problem") {
            Some(problem) => format!("message {problem}"),
            None => format!("message {}", text("/mcp/method")),
        },
        "mcp.call" => {
            let what =
                if record["call"].get("tool").is_some() { "/call/tool" } else { "/call/method" };
            format!("call {} {} {}", text("/call/id"), text(what), text("/call/status"))
        }
        "process.exec" => format!("exec {} {}", text("/exec/path"), cause()),
        "process.exit" => format!("exit {} {}", text("/process/pid"), text("/exit/code")),
        "file.open" => format!("open {} {}", text("/file/path"), cause()),
        "file.change" => format!("{} {} {}", text("/file/operation"), text("/file/path"), cause()),
        "net.connect" => format!("connect {} {}", text("/net/address"), cause()),
        "alert" => format!(
            "ALERT {} {} {} x{}",
            text("/alert/rule"),
            text("/alert/severity"),
            cause(),
            text("/alert/count")
        ),
        "loss" => format!(
            "loss {} {} {} {} of {}",
            text("/loss/stage"),
            text("/loss/what"),
            text("/loss/reason"),
            text("/loss/lost"),
            text("/loss/total")
        ),
        "status" => format!("status {}", text("/status/state")),
        other => other.to_owned(),
    }
}
