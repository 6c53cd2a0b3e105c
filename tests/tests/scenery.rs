//! The scenery itself, without an agent: servers and clients must work with each other before what an
//! agent says of them means anything.

use mcpwatch_tests::{Era, Scene, Sdk, address, request_id, said};
use serde_json::json;

#[test]
fn labelled_servers_do_every_misdeed_for_both_clients() {
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let scene = Scene::with_network();
        let _bait = scene.bait();
        let servers = scene.labelled_servers();
        let config = scene.config(&servers);
        let client = scene.client(sdk);
        let identities = client.open(&config, &[], Era::Default);
        let tools_of = |server: &str| -> Vec<String> {
            let listed = client.request(server, "tools/list", json!({}));
            let tools = listed["tools"].as_array().expect("a list");
            tools.iter().map(|tool| tool["name"].as_str().expect("a name").to_owned()).collect()
        };
        let tools: Vec<Vec<String>> = servers.iter().map(|(server, _)| tools_of(server)).collect();
        // What one of them alone does stands in the tests that need it.
        let shared: Vec<&String> =
            tools[0].iter().filter(|tool| tools.iter().all(|those| those.contains(tool))).collect();
        assert!(shared.len() > 25, "{shared:?}");
        let key = scene.path(".ssh/id_rsa");
        for (server, _) in &servers {
            assert_eq!(identities[server]["name"], *server);
            assert_eq!(identities[server]["version"], "1.2.3");
            for tool in &shared {
                let arguments = json!({
                    "text": "hello", "command": "echo hello", "host": address::WEB, "port": 8080,
                    "path": if *tool == "save_file" { scene.path("note.txt") } else { key.clone() },
                });
                let result = client.call(server, tool, arguments);
                assert_ne!(result["isError"], true, "{sdk:?} {server} {tool}: {}", said(&result));
                assert!(request_id(&result).is_number(), "{sdk:?} {server} {tool}: {result}");
            }
        }
        client.close(&[]);
    }
}

#[test]
fn the_stateless_era_is_spoken() {
    let scene = Scene::new();
    let note = scene.write("note.txt", "remember");
    let server = json!({"command": "node", "args": [scene.script("servers/modern.mjs")]});
    let config = scene.config(&[("modern", server)]);
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Stateless);
        assert_eq!(said(&client.call("modern", "read_note", json!({"path": note}))), "remember");
        client.close(&[]);
    }
}

#[test]
fn loads_are_borne() {
    let scene = Scene::new();
    let note = scene.write("note.txt", "remember");
    let config = scene.config(&[("loads", scene.loads_server())]);
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Default);
        let large = client.call("loads", "blob", json!({"bytes": 5_000_000}));
        assert_eq!(large["content"][0]["bytes"], 5_000_000);
        let echoed = client.call("loads", "echo", json!({"text": "x".repeat(5_000_000)}));
        assert_eq!(echoed["content"][0]["bytes"], 5_000_000);
        let together: Vec<_> = (0..20)
            .map(|_| client.begin("loads", "touch", json!({"path": note, "seconds": 0.5})))
            .collect();
        for call in together {
            assert_ne!(call.wait()["isError"], true);
        }
        assert_ne!(
            client.call("loads", "flood", json!({"path": note, "times": 1000}))["isError"],
            true
        );
        client.give_up(
            "loads",
            "sleep",
            json!({"seconds": 2}),
            std::time::Duration::from_millis(200),
        );
        assert!(client.begin("loads", "die", json!({})).outcome().is_err());
    }
}

#[test]
fn nothing_is_left_when_a_scene_ends() {
    let scene = Scene::new();
    let anchor = scene.anchor_pid();
    scene.start(&["/bin/sh", "-c", "setsid sleep 1000 & sleep 1000"]);
    while mcpwatch_tests::descendants(anchor).len() < 3 {
        std::thread::yield_now();
    }
    drop(scene);
    assert!(mcpwatch_tests::descendants(anchor).is_empty());
}
