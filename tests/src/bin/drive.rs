//! A client for the end-to-end tests that needs nothing installed: the commands of
//! `tests/clients/drive.py`, which describes them (but `sent`), in the era of the handshake alone.
//!
//! `drive SOCKET`.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let socket = env::args().nth(1).ok_or_else(|| io::Error::other("usage: drive SOCKET"))?;
    let commands = UnixStream::connect(socket)?;
    let answers = Answers(Arc::new(Mutex::new(commands.try_clone()?)));
    let mut servers = BTreeMap::new();
    for line in BufReader::new(commands).lines() {
        let command: Value = serde_json::from_str(&line?)?;
        match obey(&command, &mut servers, &answers) {
            Ok(Some(result)) => answers.give(&command["n"], Ok(result))?,
            Ok(None) => {}
            Err(error) => answers.give(&command["n"], Err(error.to_string()))?,
        }
    }
    Ok(())
}

/// The way back to who gives the commands.
#[derive(Clone)]
struct Answers(Arc<Mutex<UnixStream>>);

impl Answers {
    /// Answers the command of this number, in one line.
    fn give(&self, number: &Value, outcome: Result<Value, String>) -> io::Result<()> {
        let answer = match outcome {
            Ok(result) => json!({"n": number, "ok": true, "result": result}),
            Err(error) => json!({"n": number, "ok": false, "error": error}),
        };
        writeln!(self.0.lock().expect("no panic under the lock"), "{answer}")
    }
}

/// Does what the command says; `None`: the server's response will be the answer.
fn obey(
    command: &Value,
    servers: &mut BTreeMap<String, Server>,
    answers: &Answers,
) -> io::Result<Option<Value>> {
    let running = |servers: &BTreeMap<String, Server>| servers.keys().cloned().collect();
    match command["op"].as_str().unwrap_or_default() {
        "start" => {
            let config = fs::read_to_string(command["config"].as_str().unwrap_or_default())?;
            let config: Value = serde_json::from_str(&config)?;
            let entries = config["mcpServers"].as_object();
            let every = || entries.into_iter().flatten().map(|(name, _)| name.clone()).collect();
            let mut said = json!({});
            for name in named(command).unwrap_or_else(every) {
                let (server, who) = Server::start(&config["mcpServers"][&name], answers)?;
                said[&name] = who;
                servers.insert(name, server);
            }
            Ok(Some(said))
        }
        "call" => {
            let params = json!({"name": command["tool"], "arguments": command["arguments"]});
            server(servers, command)?.begin("tools/call", &params, &command["n"])?;
            Ok(None)
        }
        "request" => {
            let method = command["method"].as_str().unwrap_or_default();
            server(servers, command)?.begin(method, &command["params"], &command["n"])?;
            Ok(None)
        }
        "stop" => {
            for name in named(command).unwrap_or_else(|| running(servers)) {
                if let Some(server) = servers.remove(&name) {
                    server.stop()?;
                }
            }
            Ok(Some(json!({})))
        }
        other => Err(io::Error::other(format!("no operation {other}"))),
    }
}

/// The servers a command names; `None` stands for all.
fn named(command: &Value) -> Option<Vec<String>> {
    let names = command["servers"].as_array()?;
    Some(names.iter().filter_map(Value::as_str).map(str::to_owned).collect())
}

fn server<'s>(
    servers: &'s mut BTreeMap<String, Server>,
    command: &Value,
) -> io::Result<&'s mut Server> {
    let name = command["server"].as_str().unwrap_or_default();
    servers.get_mut(name).ok_or_else(|| io::Error::other(format!("no server {name} runs")))
}

/// A server with pipes as stdin and stdout, as clients start them; or with socket pairs, as Node does, where its
/// entry says `"sockets": true`.
struct Server {
    child: Child,
    requests: File,
    next: u64,
    under_way: UnderWay,
}

/// The numbers of the commands whose requests have no response yet, by the ids of the requests.
type UnderWay = Arc<Mutex<BTreeMap<u64, Value>>>;

impl Server {
    /// Starts it and shakes hands; gives who the server says it is, too.
    fn start(entry: &Value, answers: &Answers) -> io::Result<(Self, Value)> {
        let program = entry["command"].as_str().unwrap_or_default();
        let arguments = entry["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let pair = || -> io::Result<[OwnedFd; 2]> {
            if entry["sockets"] == true {
                let (one, other) = UnixStream::pair()?;
                return Ok([one.into(), other.into()]);
            }
            let (reader, writer) = io::pipe()?;
            Ok([reader.into(), writer.into()])
        };
        let ([stdin, requests], [responses, stdout]) = (pair()?, pair()?);
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::from(stdin))
            .stdout(Stdio::from(stdout))
            .spawn()?;
        let mut responses = BufReader::new(File::from(responses));
        let requests = File::from(requests);
        let mut server = Self { child, requests, next: 0, under_way: UnderWay::default() };
        let who = server.open(&mut responses)?;
        let (answers, under_way) = (answers.clone(), Arc::clone(&server.under_way));
        thread::spawn(move || {
            let ended = answer_all(&mut responses, &under_way, &answers);
            let why = ended.map_or_else(|error| error.to_string(), |()| "the server ended".into());
            for number in with(&under_way, std::mem::take).into_values() {
                // Who does not hear it has gone.
                let _ = answers.give(&number, Err(why.clone()));
            }
        });
        Ok((server, who))
    }

    /// The handshake.
    fn open(&mut self, responses: &mut impl BufRead) -> io::Result<Value> {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "drive", "version": "1"},
        });
        self.begin("initialize", &params, &Value::Null)?;
        let ended = || io::Error::other("the server ended before its handshake");
        let (_, outcome) = response(responses)?.ok_or_else(ended)?;
        with(&self.under_way, BTreeMap::clear);
        let result = outcome.map_err(io::Error::other)?;
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(json!({
            "name": result["serverInfo"]["name"],
            "version": result["serverInfo"]["version"],
            "protocol": result["protocolVersion"],
        }))
    }

    /// Makes the request whose response is the answer to the command of this number.
    fn begin(&mut self, method: &str, params: &Value, number: &Value) -> io::Result<()> {
        let id = self.next;
        self.next += 1;
        with(&self.under_way, |under_way| under_way.insert(id, number.clone()));
        let sent =
            self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        if sent.is_err() {
            with(&self.under_way, |under_way| under_way.remove(&id));
        }
        sent
    }

    /// One write for the whole line.
    fn send(&mut self, message: &Value) -> io::Result<()> {
        self.requests.write_all(format!("{message}\n").as_bytes())
    }

    /// Closes the channel, upon which a server ends.
    fn stop(self) -> io::Result<()> {
        let Self { mut child, requests, .. } = self;
        drop(requests);
        child.wait().map(drop)
    }
}

/// Does this to what is under way, with nobody else at it.
fn with<T>(under_way: &UnderWay, act: impl FnOnce(&mut BTreeMap<u64, Value>) -> T) -> T {
    act(&mut under_way.lock().expect("no panic under the lock"))
}

/// The next response: its id and the result, or the error. Notifications are passed over; `None` at the end.
fn response(responses: &mut impl BufRead) -> io::Result<Option<(Value, Result<Value, String>)>> {
    loop {
        let mut line = String::new();
        if responses.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let mut message: Value = serde_json::from_str(&line)?;
        if !message["id"].is_null() {
            let outcome = match &message["error"] {
                Value::Null => Ok(message["result"].take()),
                error => Err(error.to_string()),
            };
            return Ok(Some((message["id"].take(), outcome)));
        }
    }
}

/// Has each response be the answer to its command.
fn answer_all(
    responses: &mut impl BufRead,
    under_way: &UnderWay,
    answers: &Answers,
) -> io::Result<()> {
    while let Some((id, outcome)) = response(responses)? {
        let number = id.as_u64().and_then(|id| with(under_way, |left| left.remove(&id)));
        if let Some(number) = number {
            answers.give(&number, outcome)?;
        }
    }
    Ok(())
}
