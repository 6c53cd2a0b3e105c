//! A client for the end-to-end tests that needs nothing installed: the commands of
//! `tests/clients/drive.py`, which describes them (but `sent`), one at a time and in the era of the handshake alone.
//!
//! `drive SOCKET`.

use std::collections::BTreeMap;
use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let socket = env::args().nth(1).ok_or_else(|| io::Error::other("usage: drive SOCKET"))?;
    let commands = UnixStream::connect(socket)?;
    let mut answers = commands.try_clone()?;
    let mut servers = BTreeMap::new();
    for line in BufReader::new(commands).lines() {
        let command: Value = serde_json::from_str(&line?)?;
        let mut answer = json!({"n": command["n"]});
        match obey(&command, &mut servers) {
            Ok(result) => {
                answer["ok"] = json!(true);
                answer["result"] = result;
            }
            Err(error) => {
                answer["ok"] = json!(false);
                answer["error"] = json!(error.to_string());
            }
        }
        writeln!(answers, "{answer}")?;
    }
    Ok(())
}

fn obey(command: &Value, servers: &mut BTreeMap<String, Server>) -> io::Result<Value> {
    let running = |servers: &BTreeMap<String, Server>| servers.keys().cloned().collect();
    match command["op"].as_str().unwrap_or_default() {
        "start" => {
            let config = fs::read_to_string(command["config"].as_str().unwrap_or_default())?;
            let config: Value = serde_json::from_str(&config)?;
            let entries = config["mcpServers"].as_object();
            let every = || entries.into_iter().flatten().map(|(name, _)| name.clone()).collect();
            let mut said = json!({});
            for name in named(command).unwrap_or_else(every) {
                let mut server = Server::start(&config["mcpServers"][&name])?;
                said[&name] = server.open()?;
                servers.insert(name, server);
            }
            Ok(said)
        }
        "call" => {
            let params = json!({"name": command["tool"], "arguments": command["arguments"]});
            server(servers, command)?.request("tools/call", &params)
        }
        "request" => {
            let method = command["method"].as_str().unwrap_or_default();
            server(servers, command)?.request(method, &command["params"])
        }
        "stop" => {
            for name in named(command).unwrap_or_else(|| running(servers)) {
                if let Some(server) = servers.remove(&name) {
                    server.stop()?;
                }
            }
            Ok(json!({}))
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
    responses: BufReader<File>,
    next: u64,
}

impl Server {
    fn start(entry: &Value) -> io::Result<Self> {
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
        let responses = BufReader::new(File::from(responses));
        Ok(Self { child, requests: File::from(requests), responses, next: 0 })
    }

    /// The handshake; gives who the server says it is.
    fn open(&mut self) -> io::Result<Value> {
        let params = json!({
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "drive", "version": "1"},
        });
        let result = self.request("initialize", &params)?;
        self.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
        Ok(json!({
            "name": result["serverInfo"]["name"],
            "version": result["serverInfo"]["version"],
            "protocol": result["protocolVersion"],
        }))
    }

    fn request(&mut self, method: &str, params: &Value) -> io::Result<Value> {
        let id = self.next;
        self.next += 1;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}))?;
        let mut response = self.response()?;
        if response["error"].is_object() {
            return Err(io::Error::other(response["error"].to_string()));
        }
        Ok(response["result"].take())
    }

    /// The next response; notifications are passed over.
    fn response(&mut self) -> io::Result<Value> {
        loop {
            let mut line = String::new();
            self.responses.read_line(&mut line)?;
            let message: Value = serde_json::from_str(&line)?;
            if !message["id"].is_null() {
                return Ok(message);
            }
        }
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
