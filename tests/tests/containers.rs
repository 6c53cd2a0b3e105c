//! Servers in real containers: one server each, its channel read inside, its effects with the container.

use std::collections::BTreeSet;
use std::process::Command;

use mcpwatch_tests::{
    Client, Crun, Era, Podman, Records, Scene, SceneBuilder, Sdk, agent_program, deps, request_id,
    text,
};
use serde_json::{Value, json};

/// The key in the scene's home, which containers have as root's home.
const KEY: &str = "/root/.ssh/id_rsa";

fn set(builder: SceneBuilder) -> Scene {
    let scene = builder.build();
    scene.write(".ssh/id_rsa", mcpwatch_tests::CANARY);
    scene.write("notes.txt", "Nothing to see here.\n");
    scene
}

/// Ids of the servers that were told of.
fn servers(records: &Records) -> BTreeSet<String> {
    records
        .0
        .iter()
        .filter(|record| record.get("server").is_some())
        .map(|record| text(record, "server.id").to_owned())
        .collect()
}

/// Uses a server: an ordinary read, a covert one of the key, a shell. Gives the results.
fn use_it(client: &Client, name: &str) -> [Value; 3] {
    let read = client.call(name, "read_file", json!({"path": "/root/notes.txt"}));
    let key = client.call(name, "get_time", json!({"zone": "Europe/Zurich"}));
    let shell = client.call(name, "run_command", json!({"command": "echo done"}));
    client.close(&[]);
    for result in [&read, &key, &shell] {
        assert_ne!(result["isError"], true, "{result}");
    }
    [read, key, shell]
}

/// What holds for every server in a container that was used like this.
fn check(scene: &Scene, records: &Records, name: &str, results: &[Value; 3], runtime: &str) {
    assert_eq!(servers(records).len(), 1, "one server: {:?}", servers(records));
    for (tool, result) in ["read_file", "get_time", "run_command"].iter().zip(results) {
        let call = records.call(name, tool);
        assert_eq!(&call["call"]["id"], request_id(result), "{tool}");
        assert_eq!(text(call, "call.status"), "ok", "{tool}");
    }
    let answered = records.of("mcp.session").filter(|one| one["mcp"].get("server_info").is_some());
    assert_eq!(answered.count(), 1, "the handshake is told once");
    let greetings = records.of("mcp.call").filter(|one| text(one, "call.method") == "initialize");
    assert_eq!(greetings.count(), 1, "and so is its call");
    let effects = [
        ("file.open", "file.path", "/root/notes.txt", "requested", 0),
        ("file.open", "file.path", KEY, "covert", 1),
        ("process.exec", "exec.path", "/usr/bin/dash", "requested", 2),
    ];
    for (kind, field, value, relation, call) in effects {
        let effect = records.of(kind).find(|record| text(record, field) == value);
        let effect = effect.unwrap_or_else(|| panic!("{kind} of {value}"));
        assert_eq!(text(effect, "process.container.runtime"), runtime, "{value}");
        assert_eq!(text(effect, "relation"), relation, "{value}");
        assert_eq!(&effect["call"]["id"], request_id(&results[call]), "{value}");
        let image = deps().root_file_system().canonicalize().expect("it is there");
        let on_host = value
            .strip_prefix("/root/")
            .map_or_else(|| format!("{}{value}", image.display()), |inside| scene.path(inside));
        let (object, _) = field.split_once('.').expect("a field of an object");
        assert_eq!(effect[object]["host_path"], on_host, "{value}");
    }
    let alerts: Vec<(&str, &str)> = records
        .alerts(2)
        .map(|alert| (text(alert, "alert.rule"), text(alert, "relation")))
        .collect();
    assert_eq!(alerts, [("sensitive_file_read", "covert"), ("shell_spawn", "requested")]);
}

/// A container of podman of which the settings know the label.
fn podman(sdk: Sdk) {
    let scene = set(SceneBuilder::default().network().cgroups_v1());
    let podman = Podman::new(&scene);
    let options = ["--name", "weather-1", "--label", "com.example.mcp=weather"];
    let config = scene.config(&[("weather", podman.labelled(&options))]);
    let agent = scene.agent().start();
    let client = scene.client(sdk);
    client.open(&config, &["weather"], Era::Default);
    let results = use_it(&client, "weather");
    agent.find("its end", |record| text(record, "type") == "server.exited");
    let records = agent.stop().records;
    check(&scene, &records, "weather", &results, "podman");
    let inside = records.of("file.open").find(|record| text(record, "file.path") == KEY);
    let container = &inside.expect("checked above")["process"]["container"];
    assert_eq!(container["id"].as_str().map(str::len), Some(64), "{container}");
    assert_eq!(container["name"], "weather-1", "{container}");
    // The server is what the client started, with the evidence of both.
    let server = &records.of("server.discovered").last().expect("it was found")["server"];
    let kinds: BTreeSet<&str> = server["evidence"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|piece| text(piece, "kind"))
        .collect();
    assert!(kinds.contains("config") && kinds.contains("handshake"), "{server}");
    // What the runtime does on its way in is the server's start, and outside of the container.
    let entered = records.of("process.exec").find(|one| text(one, "exec.path") == "/mnt/labelled");
    assert_eq!(
        text(entered.expect("the server's own exec"), "process.container.runtime"),
        "podman"
    );
    let runtime =
        records.of("process.exec").find(|one| text(one, "exec.path").ends_with("/conmon"));
    assert!(runtime.expect("podman starts conmon")["process"].get("container").is_none());
}

#[test]
fn podman_run_of_an_mcp_json_is_one_server_with_python() {
    podman(Sdk::Python);
}

#[test]
fn podman_run_of_an_mcp_json_is_one_server_with_typescript() {
    podman(Sdk::TypeScript);
}

/// A container of an image, in a version of cgroups.
fn of_image(builder: SceneBuilder, options: &[&str]) {
    let scene = set(builder);
    let podman = Podman::new(&scene);
    let image = "localhost/acme/weather:2";
    podman.import(image);
    let options = [&["--name", "weather-2"], options].concat();
    let entry = podman.labelled_of_image(image, &options);
    let config = scene.config(&[("weather", entry)]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["weather"], Era::Default);
    let shell = client.call("weather", "run_command", json!({"command": "echo done"}));
    assert_ne!(shell["isError"], true, "{shell}");
    client.close(&[]);
    agent.find("its end", |record| text(record, "type") == "server.exited");
    let records = agent.stop().records;
    assert_eq!(servers(&records).len(), 1, "one server: {:?}", servers(&records));
    let exec = records.of("process.exec").find(|one| text(one, "exec.path") == "/usr/bin/dash");
    let exec = exec.expect("the shell inside");
    let container = ["runtime", "name", "image"].map(|part| &exec["process"]["container"][part]);
    assert_eq!(container, ["podman", "weather-2", image], "{exec}");
    // A layer of its own, where the runtime keeps them.
    let on_host = text(exec, "exec.host_path");
    let below = scene.backstage("podman/root/vfs/dir").display().to_string();
    assert!(on_host.starts_with(&below) && on_host.ends_with("/usr/bin/dash"), "{on_host}");
}

#[test]
fn a_container_of_an_image_is_shown_with_it() {
    of_image(SceneBuilder::default().network().cgroups_v1(), &[]);
}

#[test]
fn a_container_of_podman_is_known_by_its_cgroup_of_version_2() {
    // With all devices: to keep some from it, the runtime raises a limit that root may not raise everywhere. Without a
    // limit of processes: where both versions are mounted, the first may have all controllers.
    let options = ["--privileged", "--pids-limit", "-1"];
    of_image(SceneBuilder::default().network().cgroups_v2(), &options);
}

#[test]
fn a_container_s_label_names_its_server() {
    let scene = set(SceneBuilder::default().network().cgroups_v1());
    let podman = Podman::new(&scene);
    let entry = podman.labelled(&["--label", "com.example.mcp=weather"]);
    let servers_file = json!({"mcpServers": {"unlisted": entry}});
    let config = scene.write("elsewhere/servers.json", &servers_file.to_string());
    let settings =
        "[[server]]\nname = \"mine\"\n[server.container]\nlabel = [\"com.example.mcp=wea*\"]\n";
    let recording = scene.backstage("recording").display().to_string();
    let agent = scene.agent().settings(settings).arguments(&["--record", &recording]).start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["unlisted"], Era::Default);
    let results = use_it(&client, "unlisted");
    agent.find("its end", |record| text(record, "type") == "server.exited");
    let records = agent.stop().records;
    check(&scene, &records, "mine", &results, "podman");
    let server = &records.of("server.exited").last().expect("it ended")["server"];
    let explicit = server["evidence"].as_array().into_iter().flatten();
    assert!(explicit.into_iter().any(|piece| text(piece, "kind") == "explicit"), "{server}");
    // All that was read of the host came in as input: a replay has the same containers.
    let replayed = Command::new(agent_program()).args(["replay", &recording]).output();
    let replayed = replayed.expect("the agent can be started").stdout;
    let live = std::fs::read(scene.backstage("events.jsonl")).expect("the event file");
    let lines = |bytes: &[u8]| String::from_utf8_lossy(bytes).lines().map(str::to_owned).collect();
    let (live, replayed): (Vec<String>, Vec<String>) = (lines(&live), lines(&replayed));
    for (live, replayed) in live.iter().zip(&replayed) {
        assert_eq!(live, replayed);
    }
    assert_eq!(live.len(), replayed.len());
}

/// A container of crun alone, whose process has the client's own pipes, in each version of cgroups.
fn crun(builder: SceneBuilder) {
    let scene = set(builder);
    let crun = Crun::new(&scene, &json!({"com.example.mcp": "weather"}));
    let config = scene.config(&[("bare", crun.labelled())]);
    let settings =
        "[[server]]\nname = \"mine\"\n[server.container]\nlabel = [\"com.example.mcp=weather\"]\n";
    let agent = scene.agent().settings(settings).start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["bare"], Era::Default);
    let results = use_it(&client, "bare");
    agent.find("its end", |record| text(record, "type") == "server.exited");
    let records = agent.stop().records;
    check(&scene, &records, "bare", &results, "crun");
    let inside = records.of("file.open").find(|record| text(record, "file.path") == KEY);
    assert_eq!(text(inside.expect("checked above"), "process.container.id"), crun.id);
}

#[test]
fn a_container_of_crun_is_known_by_its_cgroup_of_version_2() {
    crun(SceneBuilder::default().network().cgroups_v2());
}

#[test]
fn a_container_of_crun_is_known_by_its_cgroup_of_version_1() {
    crun(SceneBuilder::default().network().cgroups_v1());
}

#[test]
fn a_secret_is_known_by_its_place_on_the_host() {
    let scene = set(SceneBuilder::default().network().cgroups_v2());
    // In the container, nothing says what it is.
    let secret = scene.write(".aws/credentials", mcpwatch_tests::CANARY);
    let crun = Crun::with_mounts(&scene, &json!({}), &[(".aws", "/mnt/cloud")]);
    let config = scene.config(&[("bare", crun.labelled())]);
    let agent = scene.agent().start();
    let client = scene.client(Sdk::Python);
    client.open(&config, &["bare"], Era::Default);
    let read = client.call("bare", "read_file", json!({"path": "/mnt/cloud/credentials"}));
    client.close(&[]);
    assert_ne!(read["isError"], true, "{read}");
    agent.find("its end", |record| text(record, "type") == "server.exited");
    let records = agent.stop().records;
    let opened = |record: &&Value| text(record, "file.path") == "/mnt/cloud/credentials";
    let open = records.of("file.open").find(opened).expect("it was read");
    assert_eq!(open["file"]["host_path"], secret);
    let alert = records.alerts(1).next().expect("an alert");
    assert_eq!(text(alert, "alert.rule"), "sensitive_file_read");
    assert_eq!(alert["file"], open["file"]);
    assert!(text(alert, "alert.reason").contains(&secret), "{alert}");
}

#[test]
fn a_server_that_runs_in_a_container_already_is_shown_with_it() {
    let scene = set(SceneBuilder::default().network().cgroups_v1());
    let podman = Podman::new(&scene);
    let config = scene.config(&[("weather", podman.labelled(&["--name", "weather-2"]))]);
    let client = scene.client(Sdk::Python);
    client.open(&config, &["weather"], Era::Default);
    let agent = scene.agent().start();
    agent.find("its discovery", |record| text(record, "type") == "server.discovered");
    let result = client.call("weather", "get_time", json!({"zone": "Europe/Zurich"}));
    client.close(&[]);
    agent.find("its end", |record| text(record, "type") == "server.exited");
    let records = agent.stop().records;
    assert_eq!(servers(&records).len(), 1, "{:?}", servers(&records));
    let inside = records.of("file.open").find(|record| text(record, "file.path") == KEY);
    let inside = inside.expect("the key was read");
    assert_eq!(text(inside, "file.host_path"), scene.path(".ssh/id_rsa"));
    assert_eq!(text(inside, "process.container.name"), "weather-2");
    assert_eq!(&inside["call"]["id"], request_id(&result));
    assert_eq!(&records.call("weather", "get_time")["call"]["id"], request_id(&result));
}
