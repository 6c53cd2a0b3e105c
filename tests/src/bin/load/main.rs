//! A server that makes load, and the client that asks it to: what the bench and the soak measure the agent
//! with, and what some tests torment it with.
//!
//! `load [--name NAME]`: a server on stdin and stdout; its tools are those of `work.rs`, each call has a
//! thread of its own. The name only tells several apart by their command lines.
//! `load CALL RESULT`: starts itself as a server with pipes as stdin and stdout, as clients do, does what CALL
//! says and writes what came of it to the file RESULT. CALL is JSON: the arguments of a tool and its name
//! as `tool`; or the tool `talk`, which is the client's own. It needs nothing that is installed.

mod process;
mod talk;
mod work;

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use serde_json::{Value, json};

fn main() -> io::Result<()> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.as_slice() {
        [] => serve(),
        [option, _] if option == "--name" => serve(),
        [call, result] => ask(call, result),
        _ => Err(io::Error::other("usage: load [CALL RESULT]")),
    }
}

/// The client.
fn ask(call: &str, result: &str) -> io::Result<()> {
    let call: Value = serde_json::from_str(call)?;
    let mut server = Command::new(env::current_exe()?)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()?;
    // Servers take about that long to start.
    thread::sleep(Duration::from_millis(500));
    let missing = || io::Error::other("the server has no channel");
    let mut requests = server.stdin.take().ok_or_else(missing)?;
    let mut responses = BufReader::new(server.stdout.take().ok_or_else(missing)?);
    let mut request = |message: Value| -> io::Result<Value> {
        send(&mut requests, &message)?;
        let mut line = String::new();
        if !message["id"].is_null() {
            responses.read_line(&mut line)?;
            return Ok(serde_json::from_str(&line)?);
        }
        Ok(Value::Null)
    };
    request(json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {
        "protocolVersion": "2025-06-18",
        "capabilities": {},
        "clientInfo": {"name": "load", "version": "1"},
    }}))?;
    request(json!({"jsonrpc": "2.0", "method": "notifications/initialized"}))?;
    let done = if call["tool"] == "talk" {
        talk::talk(&call, server.id(), &mut requests, &mut responses)?
    } else {
        let response =
            request(json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {
                "name": call["tool"],
                "arguments": call,
            }}))?;
        if response["result"]["isError"] == true {
            return Err(io::Error::other(response.to_string()));
        }
        response["result"]["structuredContent"].clone()
    };
    // Renamed into place: whoever waits for it finds it whole.
    let draft = format!("{result}.part");
    fs::write(&draft, done.to_string())?;
    fs::rename(draft, result)?;
    drop(requests);
    server.wait()?;
    Ok(())
}

/// The server.
fn serve() -> io::Result<()> {
    static OUTPUT: Mutex<()> = Mutex::new(());
    let answer = |id: Value, said: Result<Value, Value>| -> io::Result<()> {
        let (key, said) = match said {
            Ok(result) => ("result", result),
            Err(error) => ("error", error),
        };
        let _whole_lines = OUTPUT.lock().map_err(|_| io::Error::other("a thread panicked"))?;
        send(&mut io::stdout(), &json!({"jsonrpc": "2.0", "id": id, key: said}))
    };
    for line in io::stdin().lock().lines() {
        let request: Value = serde_json::from_str(&line?)?;
        let id = request["id"].clone();
        if id.is_null() {
            continue;
        }
        match request["method"].as_str().unwrap_or_default() {
            "initialize" => answer(
                id,
                Ok(json!({
                    "protocolVersion": request["params"]["protocolVersion"],
                    "capabilities": {"tools": {}},
                    "serverInfo": {"name": "load", "version": "1.0.0"},
                })),
            )?,
            "ping" => answer(id, Ok(json!({})))?,
            "tools/list" => {
                let tools: Vec<Value> = work::TOOLS
                    .iter()
                    .map(|(name, _)| json!({"name": name, "inputSchema": {"type": "object"}}))
                    .collect();
                answer(id, Ok(json!({"tools": tools})))?;
            }
            "tools/call" => {
                thread::spawn(move || {
                    let mut result = call_tool(&request["params"]);
                    // As all servers of our own, it says which call was which.
                    result["_meta"] = json!({"tests/id": id});
                    answer(id, Ok(result))
                });
            }
            other => answer(
                id,
                Err(json!({"code": -32601, "message": format!("there is no method {other}")})),
            )?,
        }
    }
    Ok(())
}

fn call_tool(params: &Value) -> Value {
    let name = params["name"].as_str().unwrap_or_default();
    let done = match work::TOOLS.iter().find(|(tool, _)| *tool == name) {
        Some((_, work)) => work(&params["arguments"]),
        None => Err(io::Error::other(format!("there is no tool {name}"))),
    };
    match done {
        Ok(done) => json!({
            "content": [{"type": "text", "text": done.to_string()}],
            "structuredContent": done,
        }),
        Err(error) => {
            json!({"content": [{"type": "text", "text": error.to_string()}], "isError": true})
        }
    }
}

/// One write for the whole line.
fn send(out: &mut impl Write, message: &Value) -> io::Result<()> {
    out.write_all(format!("{message}\n").as_bytes())?;
    out.flush()
}
