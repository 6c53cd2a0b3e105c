//! Clients of the official SDKs, run by `tests/clients/drive.*` and commanded over a unix socket.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::deps::{deps, on_path, own_program};
use crate::scene::Scene;

/// An official SDK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// `mcp` of the Python package index, which starts servers with pipes.
    Python,
    /// `@modelcontextprotocol/sdk` and `/client` of npm, which start servers with socket pairs.
    TypeScript,
    /// None: our own client, for where nothing is installed.
    Own,
}

/// The era a client opens a channel in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Era {
    /// What the SDK does when nobody says.
    Default,
    /// `initialize`.
    Handshake,
    /// 2026-07-28.
    Stateless,
}

/// A running client.
pub struct Client {
    commands: RefCell<UnixStream>,
    waiting: Arc<Mutex<HashMap<u64, Sender<Value>>>>,
    next: Cell<u64>,
    pid: u32,
}

/// A command that was sent and not answered yet.
pub struct Pending {
    what: String,
    answer: Receiver<Value>,
}

/// How long a client may take for a command of its own: starting a server on a busy machine is slow.
const PATIENCE: Duration = Duration::from_mins(2);

impl Client {
    pub(crate) fn start(scene: &Scene, sdk: Sdk) -> Self {
        let number = thread::current().id();
        let socket = scene.backstage(&format!("client-{sdk:?}-{number:?}-{}.sock", unique()));
        let listener = UnixListener::bind(&socket).expect("a socket in a temporary folder");
        let (program, script) = match sdk {
            Sdk::Python => (deps().python(), Some(scene.script("clients/drive.py"))),
            Sdk::TypeScript => (on_path("node"), Some(scene.script("clients/drive.mjs"))),
            Sdk::Own => (own_program("drive"), None),
        };
        let (program, path) = (program.to_string_lossy(), socket.to_string_lossy());
        let argv: Vec<&str> =
            [&*program].into_iter().chain(script.as_deref()).chain([&*path]).collect();
        let pid = match sdk {
            Sdk::Own => scene.start_in(&argv, &scene.bare_environment()),
            Sdk::Python | Sdk::TypeScript => scene.start(&argv),
        };
        let commands = accept(&listener, scene, pid);
        let answers = BufReader::new(commands.try_clone().expect("a socket can be duplicated"));
        let waiting: Arc<Mutex<HashMap<u64, Sender<Value>>>> = Arc::default();
        let expected = Arc::clone(&waiting);
        thread::spawn(move || {
            for line in answers.lines().map_while(Result::ok) {
                let answer: Value = serde_json::from_str(&line).expect("a client answers in JSON");
                let number = answer["n"].as_u64().expect("an answer has its number");
                if let Some(sender) =
                    expected.lock().expect("no panic under the lock").remove(&number)
                {
                    // Whoever gave up waiting does not want it.
                    let _ = sender.send(answer);
                }
            }
            // Nobody gets an answer any more: the senders go, and with them the waits.
            expected.lock().expect("no panic under the lock").clear();
        });
        Self { commands: RefCell::new(commands), waiting, next: Cell::new(1), pid }
    }

    /// The client's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Starts servers of a configuration file, all when none is named; gives what each said it is.
    pub fn open(&self, config: &str, servers: &[&str], era: Era) -> Value {
        self.open_with(config, servers, era, false)
    }

    /// The same as a client that answers what its servers ask: its user, for roots, its model.
    pub fn open_answering(&self, config: &str, servers: &[&str], era: Era) -> Value {
        self.open_with(config, servers, era, true)
    }

    fn open_with(&self, config: &str, servers: &[&str], era: Era, answers: bool) -> Value {
        let era = match era {
            Era::Default => "auto",
            Era::Handshake => "legacy",
            Era::Stateless => "2026-07-28",
        };
        let mut command = json!({"op": "start", "config": config, "era": era, "answers": answers});
        if !servers.is_empty() {
            command["servers"] = json!(servers);
        }
        let said = self.send(command).wait();
        // A model's first call comes later than a script's. By then the hook on system calls is attached,
        // which the first server on a quiet host brings about; what falls into that gap is told as a gap.
        std::thread::sleep(std::time::Duration::from_millis(100));
        said
    }

    /// Calls a tool and waits for its result.
    #[track_caller]
    pub fn call(&self, server: &str, tool: &str, arguments: Value) -> Value {
        self.begin(server, tool, arguments).wait()
    }

    /// Calls a tool and does not wait.
    pub fn begin(&self, server: &str, tool: &str, arguments: Value) -> Pending {
        self.send(json!({"op": "call", "server": server, "tool": tool, "arguments": arguments}))
    }

    /// Calls a tool and cancels it after a while.
    #[track_caller]
    pub fn give_up(&self, server: &str, tool: &str, arguments: Value, after: Duration) {
        let command = json!({
            "op": "call", "server": server, "tool": tool, "arguments": arguments,
            "cancel_after": after.as_secs_f64(),
        });
        assert_eq!(self.send(command).wait()["cancelled"], true, "the call was to be cancelled");
    }

    /// Another request: `tools/list`, `resources/read`, `prompts/get`, `ping`, …
    #[track_caller]
    pub fn request(&self, server: &str, method: &str, params: Value) -> Value {
        self.send(json!({"op": "request", "server": server, "method": method, "params": params}))
            .wait()
    }

    /// Every request made of a server so far, in order, with those the SDK makes by itself: method and id.
    #[track_caller]
    pub fn sent(&self, server: &str) -> Vec<(String, Value)> {
        let sent = self.send(json!({"op": "sent", "server": server})).wait();
        serde_json::from_value(sent).expect("a list of methods with their ids")
    }

    /// Ends servers, all when none is named.
    #[track_caller]
    pub fn close(&self, servers: &[&str]) {
        let mut command = json!({"op": "stop"});
        if !servers.is_empty() {
            command["servers"] = json!(servers);
        }
        self.send(command).wait();
    }

    fn send(&self, mut command: Value) -> Pending {
        let number = self.next.replace(self.next.get() + 1);
        command["n"] = json!(number);
        let (sender, answer) = channel();
        self.waiting.lock().expect("no panic under the lock").insert(number, sender);
        let mut line = command.to_string();
        let what = line.chars().take(200).collect();
        line.push('\n');
        self.commands.borrow_mut().write_all(line.as_bytes()).expect("the client lives");
        Pending { what, answer }
    }
}

impl Pending {
    /// The result; fails when the SDK raised an error.
    #[track_caller]
    pub fn wait(self) -> Value {
        let what = self.what.clone();
        self.outcome().unwrap_or_else(|error| panic!("{what}: {error}"))
    }

    /// The result, or what the SDK raised.
    #[track_caller]
    pub fn outcome(self) -> Result<Value, String> {
        let mut answer = match self.answer.recv_timeout(PATIENCE) {
            Ok(answer) => answer,
            Err(RecvTimeoutError::Timeout) => panic!("no answer in {PATIENCE:?} to {}", self.what),
            Err(RecvTimeoutError::Disconnected) => {
                panic!("the client ended before it answered {}", self.what)
            }
        };
        if answer["ok"] == true {
            Ok(answer["result"].take())
        } else {
            Err(answer["error"].as_str().unwrap_or("no reason given").to_owned())
        }
    }
}

fn accept(listener: &UnixListener, scene: &Scene, pid: u32) -> UnixStream {
    listener.set_nonblocking(true).expect("fcntl");
    let begun = Instant::now();
    loop {
        if let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).expect("fcntl");
            return stream;
        }
        let alive = std::path::Path::new(&format!("/proc/{pid}")).exists();
        assert!(alive, "the client ended early:\n{}", scene.log());
        assert!(begun.elapsed() < PATIENCE, "the client did not come up:\n{}", scene.log());
        thread::sleep(Duration::from_millis(10));
    }
}

fn unique() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
