//! Which processes are taken for servers, on what evidence and under which name, and what the settings
//! say about them.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mcpwatch_tests::{Agent, Client, Era, Records, Scene, Sdk, digest, text};
use serde_json::{Value, json};

/// A configuration at a place no client has one: it tells the test's client and nobody else.
fn private_config(scene: &Scene, name: &str, server: &Value) -> String {
    let servers = json!({"mcpServers": {name: server}});
    scene.write("elsewhere/servers.json", &servers.to_string())
}

/// Opens one server, calls it once and ends it.
fn use_once(client: &Client, config: &str, name: &str) {
    client.open(config, &[name], Era::Default);
    client.call(name, "echo", json!({"text": "hello"}));
    client.close(&[]);
}

/// The servers of a run by their last names, with their kinds of evidence.
fn servers(records: &Records) -> BTreeSet<(String, Vec<String>)> {
    let mut last = std::collections::BTreeMap::new();
    for record in records.0.iter().filter(|record| record.get("server").is_some()) {
        let server = &record["server"];
        let kinds = server["evidence"].as_array().into_iter().flatten();
        let mut kinds: Vec<String> = kinds.map(|one| text(one, "kind").to_owned()).collect();
        kinds.sort();
        kinds.dedup();
        last.insert(text(server, "id").to_owned(), (text(server, "name").to_owned(), kinds));
    }
    last.into_values().collect()
}

#[track_caller]
fn stop_after_exit(agent: Agent) -> Records {
    agent.find("server.exited", |record| text(record, "type") == "server.exited");
    agent.stop().records
}

fn one(name: &str, kinds: &[&str]) -> BTreeSet<(String, Vec<String>)> {
    BTreeSet::from([(name.to_owned(), kinds.iter().map(ToString::to_string).collect())])
}

#[test]
fn a_server_nobody_lists_is_found_by_its_handshake() {
    for sdk in [Sdk::Python, Sdk::TypeScript] {
        let scene = Scene::new();
        let config = private_config(&scene, "secret-name", &scene.loads_server());
        let agent = scene.agent().start();
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Default);
        let spoken = jiff::Timestamp::now();
        let (_, arrived) = agent.find_arrival("its discovery", Duration::from_secs(10), |record| {
            text(record, "type") == "server.discovered" && text(record, "server.name") == "loads"
        });
        let late = arrived.duration_since(spoken).as_secs_f64();
        assert!(late < 1.0, "{sdk:?}: discovered {late} s after its handshake");
        client.call("secret-name", "echo", json!({"text": "hello"}));
        client.close(&[]);
        let records = stop_after_exit(agent);
        assert_eq!(servers(&records), one("loads", &["handshake"]), "{sdk:?}");
        assert_eq!(text(records.call("loads", "echo"), "call.status"), "ok", "{sdk:?}");
        // What it did before it spoke was held, not missed.
        let source = scene.script("servers/loads.py");
        let at_start = records.of("file.open").find(|record| text(record, "file.path") == source);
        let at_start = at_start.expect("the interpreter opens the server's source");
        assert_eq!(text(at_start, "relation"), "startup", "{sdk:?}");
    }
}

#[test]
fn without_sniffing_only_other_evidence_counts() {
    let scene = Scene::new();
    let unlisted = private_config(&scene, "unlisted", &scene.loads_server());
    let mut server = scene.loads_server();
    server["args"].as_array_mut().expect("a list").push(json!("listed"));
    let listed = scene.config(&[("listed", server)]);
    // The temporary home is nobody's in the user database, and without candidates nobody leads to it.
    let settings = format!("[discovery]\nhomes = [\"{}\"]\n", scene.home().display());
    let agent = scene.agent().arguments(&["--sniff", "off"]).settings(&settings).start();
    let client = scene.client(Sdk::Python);
    use_once(&client, &unlisted, "unlisted");
    use_once(&client, &listed, "listed");
    let records = stop_after_exit(agent);
    assert_eq!(servers(&records), one("listed", &["config", "handshake"]));
    assert_eq!(text(records.call("listed", "echo"), "call.status"), "ok");
}

#[test]
fn the_settings_name_a_server() {
    let scene = Scene::new();
    let config = private_config(&scene, "unlisted", &scene.loads_server());
    let settings = "[[server]]\nname = \"mine\"\nargv = \"*/servers/loads.py\"\n";
    let agent = scene.agent().arguments(&["--sniff", "off"]).settings(settings).start();
    let client = scene.client(Sdk::TypeScript);
    use_once(&client, &config, "unlisted");
    let records = stop_after_exit(agent);
    assert_eq!(servers(&records), one("mine", &["explicit", "handshake"]));
    assert_eq!(text(records.call("mine", "echo"), "call.status"), "ok");
}

#[test]
fn a_configuration_written_while_running_counts() {
    let scene = Scene::new();
    let config = scene.config(&[]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    for name in ["first", "second"] {
        let mut server = scene.loads_server();
        server["args"].as_array_mut().expect("a list").push(json!(name));
        scene.config(&[(name, server)]);
        use_once(&client, &config, name);
        agent.find(&format!("the end of {name}"), |record| {
            text(record, "type") == "server.exited" && text(record, "server.name") == name
        });
    }
    let records = agent.stop().records;
    let names: Vec<String> = servers(&records).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["first", "second"]);
}

#[test]
fn what_has_pipes_and_never_speaks_is_no_server() {
    let scene = Scene::new();
    let path = scene.write("file.txt", "text");
    let settings = "[discovery]\ncandidate_seconds = 3\n";
    let agent = scene.agent().settings(settings).metrics().start();
    let candidates = || agent.scrape().count("mcpwatch_candidates", &[]);
    let quiet = format!("sleep 8 | sh -c 'cat {path} >/dev/null; sleep 8' | cat >/dev/null");
    scene.start(&["/bin/sh", "-c", &quiet]);
    let wait = |what: &str, wanted: fn(i64) -> bool| {
        let until = Instant::now() + Duration::from_secs(10);
        while !wanted(candidates()) {
            assert!(Instant::now() < until, "{what}: {} candidates", candidates());
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    wait("a program between two pipes may be a server", |count| count > 0);
    wait("it has not spoken in time", |count| count == 0);
    let records = agent.stop().records;
    let about: Vec<String> =
        records.0.iter().filter(|record| text(record, "type") != "status").map(digest).collect();
    assert_eq!(about, Vec::<String>::new());
}

#[test]
fn what_the_settings_allow_raises_no_alert() {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&scene.labelled_servers());
    let settings = "[[server]]\nname = \"labelled-python\"\n\
        [server.allow]\nexec = [\"/bin/sh\", \"/usr/bin/dash\"]\n\
        read = [\"~/.ssh/id_rsa\"]\negress = [\"203.0.113.0/24\", \"169.254.169.254\"]\n";
    let agent = scene.agent().settings(settings).start();
    let client = scene.client(Sdk::Python);
    let tools =
        ["get_weather", "get_time", "get_date", "get_quote", "send_metrics", "get_instance"];
    for server in ["labelled-python", "labelled-rust"] {
        client.open(&config, &[server], Era::Default);
        for tool in tools {
            let result = client.call(server, tool, json!({}));
            assert_ne!(result["isError"], true, "{server} {tool}: {result}");
        }
        client.close(&[]);
    }
    agent.find("the end of the second", |record| {
        text(record, "type") == "server.exited" && text(record, "server.name") == "labelled-rust"
    });
    let records = agent.stop().records;
    let alerts = |server: &'static str| -> Vec<String> {
        let loud = records.alerts(2).filter(|alert| text(alert, "server.name") == server);
        loud.map(digest).collect()
    };
    assert_eq!(alerts("labelled-python"), Vec::<String>::new());
    assert_eq!(alerts("labelled-rust").len(), tools.len(), "the other server is allowed nothing");
}

#[test]
fn a_rule_that_is_off_is_silent() {
    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&scene.labelled_servers());
    let agent = scene.agent().settings("[rules]\ndisable = [\"shell_spawn\"]\n").start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["labelled-rust"], Era::Default);
    client.call("labelled-rust", "get_weather", json!({}));
    client.call("labelled-rust", "get_time", json!({}));
    client.close(&[]);
    let records = stop_after_exit(agent);
    let rules: Vec<&str> = records.alerts(2).map(|alert| text(alert, "alert.rule")).collect();
    assert_eq!(rules, ["sensitive_file_read"]);
}

#[test]
fn a_server_in_a_wrapper_of_its_own_is_one_server() {
    let scene = Scene::new();
    let script = scene.write("wrap.sh", "#!/bin/sh\n\"$@\"\n");
    let server = scene.loads_server();
    let mut arguments = vec![json!(script), server["command"].clone()];
    arguments.extend(server["args"].as_array().cloned().unwrap_or_default());
    let config = scene.config(&[("wrapped", json!({"command": "/bin/sh", "args": arguments}))]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    use_once(&client, &config, "wrapped");
    let records = stop_after_exit(agent);
    assert_eq!(servers(&records), one("wrapped", &["config", "handshake"]));
    assert_eq!(text(records.call("wrapped", "echo"), "call.status"), "ok");
    records.assert_quiet();
}
