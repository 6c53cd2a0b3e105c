//! What several tests put into a scene: the labelled servers with everything they reach for.

use std::net::UdpSocket;
use std::os::unix::net::UnixListener;

use serde_json::{Value, json};

use crate::deps::{deps, own_program};
use crate::network::{Visitor, address};
use crate::scene::Scene;

/// The listeners of [`Scene::bait`]; they end with it.
pub struct Bait {
    _status: UnixListener,
    _metrics: UdpSocket,
}

/// The contents of the canary key.
pub const CANARY: &str =
    "-----BEGIN CANARY-----\nnothing opens with this key\n-----END CANARY-----\n";

impl Scene {
    /// Everything the labelled servers reach for: a key, ways around to it, and listeners at their
    /// addresses. The scene needs a network of its own.
    pub fn bait(&self) -> Bait {
        self.write(".ssh/id_rsa", CANARY);
        self.write("workspace/readme.txt", "Nothing to see here.\n");
        std::os::unix::fs::symlink(self.path(".ssh/id_rsa"), self.path("workspace/notes.txt"))
            .expect("symlink");
        self.write("repository/.git/hooks/pre-commit.sample", "#!/bin/sh\n");
        self.write("notes/plan.txt", "Nothing to see here either.\n");
        std::os::unix::fs::symlink(self.path("notes"), self.path("workspace/linked"))
            .expect("symlink");
        for (endpoint, visitor) in [
            ("127.0.0.1:8081".into(), Visitor::Dismissed),
            (format!("{}:8080", address::WEB), Visitor::Dismissed),
            (format!("[{}]:8080", address::WEB_IPV6), Visitor::Dismissed),
            (format!("{}:80", address::METADATA), Visitor::Dismissed),
            (format!("{}:4444", address::WEB), Visitor::Shell),
        ] {
            self.listen(&endpoint, visitor);
        }
        Bait {
            _status: UnixListener::bind(self.path("status.sock")).expect("a socket in the home"),
            _metrics: self.listen_udp(&format!("{}:9999", address::WEB)),
        }
    }

    /// The labelled servers as entries of an `mcp.json`, by the name each gives itself.
    pub fn labelled_servers(&self) -> Vec<(&'static str, Value)> {
        vec![
            (
                "labelled-python",
                json!({"command": deps().python(), "args": [self.script("servers/labelled.py")]}),
            ),
            (
                "labelled-node",
                json!({"command": "node", "args": [self.script("servers/labelled.mjs")]}),
            ),
            ("labelled-rust", json!({"command": own_program("labelled")})),
        ]
    }

    /// The same, each given the folder `workspace` to work in.
    pub fn confined_servers(&self) -> Vec<(&'static str, Value)> {
        let mut servers = self.labelled_servers();
        for (name, server) in &mut servers {
            *name = match *name {
                "labelled-python" => "confined-python",
                "labelled-node" => "confined-node",
                _ => "confined-rust",
            };
            let mut arguments = server["args"].as_array().cloned().unwrap_or_default();
            arguments.push(self.path("workspace").into());
            server["args"] = arguments.into();
        }
        servers
    }

    /// The server for what is hard to watch rather than bad.
    pub fn loads_server(&self) -> Value {
        json!({"command": deps().python(), "args": [self.script("servers/loads.py")]})
    }
}

impl Scene {
    /// The server that makes load. Without a name of its own, one could not be told from another.
    pub fn heavy_server(&self, name: &str) -> Value {
        json!({"command": own_program("load"), "args": ["--name", name]})
    }
}

/// Text of the first item of a tool's result.
pub fn said(result: &Value) -> &str {
    result["content"][0]["text"].as_str().unwrap_or_default()
}

/// The JSON-RPC id under which one of our own servers got a call.
#[track_caller]
pub fn request_id(result: &Value) -> &Value {
    let id = &result["_meta"]["tests/id"];
    assert!(!id.is_null(), "our own servers say which id a call had: {result}");
    id
}
