//! A machine without cgroup v2, in the tier that the host may not have; in the other one: `tests/tests/errors.rs`.

use mcpwatch_tests::{Era, Scene, Sdk, address, text};
use serde_json::json;

use crate::boot;
use crate::play;
use crate::rounds;
use crate::suite::Tier;

const CGROUPS: &str = "/sys/fs/cgroup";
/// What connects or sends, and the record of it. Nobody listens.
const CALLS: [(&str, &str); 3] =
    [("get_quote", "net.connect"), ("get_quote6", "net.connect"), ("send_metrics", "net.send")];

/// While it lives, cgroup v2 is mounted nowhere.
struct Hidden;

impl Hidden {
    fn hide() -> Self {
        boot::unmount(CGROUPS);
        Self
    }
}

impl Drop for Hidden {
    fn drop(&mut self) {
        boot::mount("cgroup2", CGROUPS, "cgroup2");
    }
}

/// The hooks on cgroups are missing, with what to do; the programs on system calls tell of connections and datagrams.
pub fn leave_connections_seen(tier: &Tier) {
    let _hidden = Hidden::hide();
    let scene = Scene::new();
    let agent = scene.agent().settings(tier.settings).start();
    let degraded = agent.find("what is missing", |record| {
        let mut hooks = record["status"]["hooks"].as_array().into_iter().flatten();
        hooks.any(|hook| hook["state"] == "missing" && hook["reason"].is_string())
    });
    let missing: Vec<_> = degraded["status"]["hooks"]
        .as_array()
        .into_iter()
        .flatten()
        .filter(|hook| hook["state"] == "missing")
        .map(|hook| text(hook, "reason"))
        .collect();
    let remedy = |reason: &str| reason.contains("cgroup v2") && reason.contains("mount it");
    assert!(missing.iter().all(|reason| remedy(reason)), "{missing:?}");
    let client = scene.client(Sdk::Own);
    client.open(&play::config(&scene), &[play::SERVER], Era::Handshake);
    rounds::is_served(&agent, 0, &client, &[play::SERVER], tier);
    for (tool, kind) in CALLS {
        client.call(play::SERVER, tool, json!({}));
        agent.find(&format!("{kind} of {tool}"), |record| {
            text(record, "type") == kind
                && text(record, "call.tool") == tool
                && [address::WEB, address::WEB_IPV6].contains(&text(record, "net.address"))
        });
    }
    client.close(&[]);
    agent.stop();
}
