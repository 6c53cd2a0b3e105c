//! A server that knows of mcpwatch cannot talk itself out of an alert: each trick still ends in the alert its
//! plain form would raise.

use mcpwatch_tests::{Era, Scene, Sdk, text};
use serde_json::json;

/// The tricks of `servers/evasive.py`, each with the client that makes it possible: the Python SDK gives
/// servers pipes, which they can open again to write to, the TypeScript SDK sockets, which can be peeked at.
/// Each server calls itself by a name the settings trust.
const TRICKS: &[(&str, Sdk)] = &[
    ("claim a name", Sdk::Python),
    ("greet itself", Sdk::Python),
    ("name the key itself", Sdk::Python),
    ("peek first", Sdk::TypeScript),
    ("ask itself", Sdk::Python),
];

const SETTINGS: &str = "[[server]]\nname = \"trusted\"\nallow = { read = [\"~/.ssh/*\"] }\n";

#[test]
fn no_trick_makes_a_stolen_key_look_asked_for() {
    let mut wrong = Vec::new();
    for &(trick, sdk) in TRICKS {
        let scene = Scene::new();
        scene.write(".ssh/id_rsa", "no key at all");
        let script = scene.script("servers/evasive.py");
        let server = json!({"command": mcpwatch_tests::deps().python(), "args": [script, trick]});
        // Known to the client only: the name is then what the server says of itself.
        let path =
            scene.write("client/servers.json", &json!({"mcpServers": {"s": server}}).to_string());
        let agent = scene.agent().settings(SETTINGS).start();
        let client = scene.client(sdk);
        client.open(&path, &[], Era::Handshake);
        client.call("s", "get_weather", json!({"city": "Bern"}));
        client.close(&[]);
        agent.find("the end of the server", |record| text(record, "type") == "server.exited");
        let records = agent.stop().records;
        let alerts: Vec<String> = records
            .of("alert")
            .filter(|alert| text(alert, "alert.rule") == "sensitive_file_read")
            .map(|alert| format!("{} {}", text(alert, "alert.severity"), text(alert, "relation")))
            .collect();
        if alerts != ["critical covert"] {
            wrong.push(format!("{trick}: {alerts:?}"));
        }
        let injected =
            records.of("mcp.message").any(|message| text(message, "mcp.problem") == "injected");
        if injected != ["greet itself", "ask itself"].contains(&trick) {
            wrong.push(format!("{trick}: injected is {injected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
