//! The agent as a service manager runs it: with what `deploy/mcpwatch.service` grants and no more, and saying
//! where it stands.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use mcpwatch_tests::{Era, Records, Scene, Sdk, address, text, workspace};
use serde_json::json;

/// The words of every line of the unit that sets this.
fn granted(unit: &str, setting: &str) -> Vec<String> {
    let values = unit.lines().filter_map(|line| line.strip_prefix(setting)?.strip_prefix('='));
    values.flat_map(str::split_whitespace).map(str::to_owned).collect()
}

/// What the agent tells its service manager next, but for the reports that it lives.
#[track_caller]
fn next_word(manager: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    loop {
        let length = manager.recv(&mut bytes).expect("the agent tells where it stands");
        let word = String::from_utf8_lossy(&bytes[..length]).trim().to_owned();
        if word != "WATCHDOG=1" {
            return word;
        }
    }
}

#[test]
fn it_works_with_the_capabilities_of_the_unit_and_tells_systemd_where_it_stands() {
    let unit = workspace().join("deploy/mcpwatch.service");
    let unit = fs::read_to_string(&unit).expect("the unit can be read");
    // Of root's programs, nothing but the bounding set decides what they may do.
    assert!(granted(&unit, "User").is_empty() && granted(&unit, "AmbientCapabilities").is_empty());
    let capabilities = granted(&unit, "CapabilityBoundingSet");
    assert!(capabilities.len() > 1, "the unit grants {capabilities:?}");
    let bounding = capabilities.iter().fold("--bounding-set=-all".to_owned(), |set, name| {
        format!("{set},+{}", name.trim_start_matches("CAP_").to_lowercase())
    });
    let mut setpriv = vec!["setpriv", &bounding, "--inh-caps=-all"];
    if granted(&unit, "NoNewPrivileges") == ["yes"] {
        setpriv.push("--no-new-privs");
    }

    let scene = Scene::with_network();
    let _bait = scene.bait();
    let config = scene.config(&scene.labelled_servers());
    let socket = scene.backstage("manager.sock");
    let manager = UnixDatagram::bind(&socket).expect("a socket in a temporary folder");
    manager.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout");
    let notify = format!("NOTIFY_SOCKET={}", socket.display());
    let wrapper: Vec<&str> = ["env", &notify].into_iter().chain(setpriv).collect();
    let agent = scene.agent().by(&wrapper).start();
    assert_eq!(next_word(&manager), "READY=1");
    let status = fs::read_to_string(format!("/proc/{}/status", agent.pid())).expect("it lives");
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.unwrap_or_default().trim(), 16).expect("a mask");
    assert_eq!(
        effective.count_ones() as usize,
        capabilities.len(),
        "it has {effective:x} of {capabilities:?}"
    );

    // A file, a program and a connection, each by its kind of hook.
    let client = scene.client(Sdk::Python);
    client.open(&config, &["labelled-python"], Era::Default);
    for (tool, kind) in
        [("get_time", "file.open"), ("get_weather", "process.exec"), ("get_quote", "net.connect")]
    {
        client.call("labelled-python", tool, json!({}));
        let call = agent.find(tool, |record| text(record, "call.tool") == tool);
        let call = text(&call, "call.uid");
        agent.find(&format!("{kind} of {tool}"), |record| {
            text(record, "type") == kind && text(record, "call.uid") == call
        });
    }
    client.close(&[]);
    let records = agent.stop().records;
    assert_eq!(next_word(&manager), "STOPPING=1");
    for tool in ["get_time", "get_weather", "get_quote"] {
        assert_eq!(text(records.call("labelled-python", tool), "call.status"), "ok", "{tool}");
    }
    let connects = records.of("net.connect").any(|one| text(one, "net.address") == address::WEB);
    assert!(connects, "the hooks on cgroups are attached");
    // Nothing that works with all capabilities is missing with these.
    let with_all = scene.agent().start().stop().records;
    assert_eq!(missing(&records), missing(&with_all));
}

/// The hooks that could not be attached.
fn missing(records: &Records) -> BTreeSet<&str> {
    let hooks = records.of("status").filter_map(|status| status["status"]["hooks"].as_array());
    let missing = hooks.flatten().filter(|hook| text(hook, "state") == "missing");
    missing.map(|hook| text(hook, "name")).collect()
}
