//! The play: our own client has our own server do everything it can, under an agent.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use mcpwatch_tests::{
    Agent, Client, Era, Records, Scene, Sdk, Visitor, address, int, make_failure_final, operations,
    request_id, said, text,
};
use serde_json::{Value, json};

use crate::plain;
use crate::suite::Tier;

/// The server that is looked at.
pub const SERVER: &str = "labelled-rust";
/// The same program over socket pairs.
const BY_SOCKETS: &str = "by-sockets";
/// One that runs before it: while the agent sees the first server of a quiet host, it attaches a hook, and
/// what the server does meanwhile is seen or not as it happens.
const EARLIER: &str = "earlier";

/// Long enough for what a call leaves behind to happen and to be told.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// Attaching up to 180 programs takes long under emulation.
pub const SETTLED: Duration = Duration::from_mins(2);

/// A call, and whether it leaves something behind that happens after its response.
type Call = (&'static str, fn(&Scene) -> Value, bool);

const CALLS: &[Call] = &[
    ("echo", |_| json!({"text": "hello"}), false),
    ("read_file", |scene| json!({"path": scene.path("workspace/readme.txt")}), false),
    ("read_file", |scene| json!({"path": scene.path("workspace/../.ssh/id_rsa")}), false),
    ("read_file", |scene| json!({"path": scene.path("workspace/notes.txt")}), false),
    ("show_file", |scene| json!({"path": scene.path(".ssh/id_rsa")}), false),
    ("read_file", |scene| json!({"path": scene.path("workspace/nowhere.txt")}), false),
    ("save_file", |scene| json!({"path": scene.path("workspace/new.txt"), "text": "new"}), false),
    ("get_time", |_| json!({"zone": "Europe/Zurich"}), false),
    ("get_date", |_| json!({}), false),
    ("list_notes", |_| json!({}), false),
    ("tidy_notes", |_| json!({}), false),
    ("local_status", |_| json!({}), false),
    ("run_command", |_| json!({"command": "/bin/uname -s && echo done"}), false),
    ("get_weather", |_| json!({"city": "Zurich"}), false),
    ("fetch_page", |_| json!({"host": address::WEB, "port": 8080}), false),
    ("get_quote", |_| json!({"symbol": "MCP"}), false),
    ("get_news", |_| json!({}), false),
    ("get_quote6", |_| json!({}), false),
    ("send_metrics", |_| json!({}), false),
    ("get_instance", |_| json!({}), false),
    ("check_updates", |_| json!({}), false),
    ("sync_time", |_| json!({}), false),
    ("refresh_cache", |_| json!({}), true),
    ("prefetch", |_| json!({}), true),
    ("warm_up", |_| json!({}), true),
    ("learn_aliases", |_| json!({}), false),
    ("check_style", |_| json!({}), false),
    ("find_services", |_| json!({}), false),
    ("search_notes", |_| json!({}), false),
    ("look_up", |_| json!({}), false),
    ("merge_notes", |_| json!({}), false),
    // Each system call there is a program for; those that some kernels lack at the end.
    ("change_files", |scene| json!({"path": scene.path("changed")}), false),
    ("open_files", |scene| json!({"path": scene.path("workspace/linked")}), false),
    ("go_deep", |scene| json!({"path": scene.path("notes")}), false),
    ("work_in_jail", |scene| json!({"path": scene.path("jail")}), false),
    ("reach_into_child", |_| json!({}), false),
    ("run_nameless", |scene| json!({"path": scene.path("removed")}), false),
    ("change_ids", |_| json!({}), false),
    ("change_namespaces", |_| json!({}), false),
    ("change_mounts", |scene| json!({"path": scene.path("mounted")}), false),
    ("touch_kernel", |_| json!({}), false),
    ("open_sockets", |_| json!({}), false),
    ("serve", |scene| json!({"path": scene.path("served.sock")}), false),
    ("send_each_way", |_| json!({}), false),
    ("ask_for_name", |_| json!({}), false),
    ("speak", |_| json!({"way": "row"}), false),
    ("speak", |_| json!({"way": "positioned"}), false),
    ("speak", |_| json!({"way": "plain"}), false),
    ("ring_change", |scene| json!({"path": scene.path("ringed"), "way": "by_worker"}), false),
    ("ring_make", |scene| json!({"path": scene.path("made"), "way": "by_poller"}), false),
    ("ring_truncate", |scene| json!({"path": scene.path("workspace/readme.txt")}), false),
    ("ring_sockets", |_| json!({}), false),
    ("change_mode", |scene| json!({"path": scene.path("workspace/readme.txt")}), false),
    ("set_attributes", |scene| json!({"path": scene.path("workspace")}), false),
    ("open_with_attributes", |scene| json!({"path": scene.path("workspace")}), false),
    ("work_in_32_bits", |scene| json!({"path": scene.path("narrow")}), false),
    ("rest_in_32_bits", |scene| json!({"path": scene.path("rest")}), false),
    ("sockets_in_32_bits", |scene| json!({"path": scene.path("sockets")}), false),
    ("change_mode_in_32_bits", |scene| json!({"path": scene.path("notes/plan.txt")}), false),
    ("set_attributes_in_32_bits", |scene| json!({"path": scene.path("workspace")}), false),
    ("open_with_attributes_in_32_bits", |scene| json!({"path": scene.path("workspace")}), false),
    ("speak_narrowly", |_| json!({"way": "narrow_row"}), false),
    ("speak_narrowly", |_| json!({"way": "narrow_plain"}), false),
    ("speak_narrowly", |_| json!({"way": "narrow_positioned"}), false),
    ("speak", |_| json!({"way": "plain"}), false),
];

/// How the server over socket pairs hears and answers.
const SOCKET_WAYS: &[(&str, &str)] = &[
    ("speak", "socket"),
    ("speak", "message"),
    ("speak", "peeking"),
    ("speak_narrowly", "narrow_message"),
    ("speak_narrowly", "narrow_socket"),
    ("speak_narrowly", "narrow_addressed_socket"),
    ("speak_narrowly", "narrow_own_message"),
    ("speak_narrowly", "narrow_own_socket"),
];

/// Said by the labelled server of what this kernel or architecture has no system call for.
const LEFT_OUT: &str = "left out";
/// Begins the line of the play's output that names a tool that was left out.
pub const LEFT_OUT_LINE: &str = "left out: ";
/// Begins the line of a play in a guest that says how many calls the kernel passed over.
pub const PASSED_OVER_LINE: &str = "passed over: ";

/// An agent of this tier that watches a server, and the server's client.
pub fn watch(scene: &Scene, tier: &Tier, config: &str) -> (Agent, Client) {
    let agent = scene.agent().settings(tier.settings).start();
    let client = scene.client(Sdk::Own);
    client.open(config, &[EARLIER], Era::Handshake);
    agent.find("the hooks attached", |record| text(record, "status.state") == "attached");
    if tier.settles {
        // It waits in read(2) since before the programs on single calls were attached: they serve alone from its
        // next request on.
        let until = Instant::now() + SETTLED;
        while !agent.records().of("status").any(|record| text(record, "status.state") == "settled")
        {
            assert!(
                Instant::now() < until,
                "the tier does not settle: {}",
                agent.records().digest()
            );
            client.request(EARLIER, "tools/list", json!({}));
            std::thread::sleep(Duration::from_millis(500));
        }
    }
    is_in(&agent, 0, tier);
    (agent, client)
}

/// The last record on the hooks says that every system call is served by this tier.
pub fn is_in(agent: &Agent, from: usize, tier: &Tier) {
    let records = agent.since(from);
    let last = records
        .of("status")
        .filter_map(|record| record["status"]["hooks"].as_array())
        .last()
        .expect("a record names the hooks");
    let calls = last.iter().filter(|hook| {
        let name = text(hook, "name");
        let single = ["sys_", "ia32_", "arm_"].iter().any(|kind| name.starts_with(kind));
        single && name != "sys_exit" && hook["state"] != "absent"
    });
    let tiers: BTreeSet<&str> = calls.map(|hook| text(hook, "tier")).collect();
    assert_eq!(tiers, BTreeSet::from([tier.name]));
}

/// The servers of a scene, as its client has them in its settings.
pub fn config(scene: &Scene) -> String {
    scene.config(&[
        (SERVER, json!({"command": "/bin/labelled"})),
        (BY_SOCKETS, json!({"command": "/bin/labelled", "args": [BY_SOCKETS], "sockets": true})),
        earlier(),
    ])
}

/// The server of [`watch`], by its name. Told apart by an argument it does not look at.
pub fn earlier() -> (&'static str, Value) {
    (EARLIER, json!({"command": "/bin/labelled", "args": [EARLIER]}))
}

/// Plays it; gives the records, one a line, without what differs from run to run. Lines before them name the tools
/// that were left out.
pub fn play(tier: &Tier) -> Vec<String> {
    let scene = Scene::new();
    let _bait = scene.bait();
    scene.name_server(address::WEB, &[("www.example.test", address::WEB)]);
    scene.listen(&format!("{}:443", address::WEB), Visitor::Dismissed);
    let config = config(&scene);
    let (agent, client) = watch(&scene, tier, &config);
    let mut left_out = Vec::new();
    client.open(&config, &[SERVER], Era::Handshake);
    client.request(SERVER, "tools/list", json!({}));
    for (tool, arguments, afterwards) in CALLS {
        let result = call(&agent, &client, SERVER, tool, arguments(&scene));
        if said(&result) == LEFT_OUT {
            left_out.push(format!("{LEFT_OUT_LINE}{tool}"));
        }
        if *afterwards {
            std::thread::sleep(AFTERMATH);
        }
        agent.settle(Duration::from_millis(100));
    }
    client.open(&config, &[BY_SOCKETS], Era::Handshake);
    for (tool, way) in SOCKET_WAYS {
        call(&agent, &client, BY_SOCKETS, tool, json!({"way": way}));
        call(&agent, &client, BY_SOCKETS, "echo", json!({"text": way}));
    }
    client.close(&[]);
    for server in [SERVER, BY_SOCKETS] {
        agent.find("the server's end", |record| {
            text(record, "type") == "server.exited" && text(record, "server.name") == server
        });
    }
    let records = agent.stop().records;
    // `busy` speaks of any thread of the machine (docs/kernel-support.md, "Limits"), and `mounts` of processes with
    // mounts of their own that had ended before anybody looked at these, as they do on a slow machine. If either took
    // something of the play, that shows as a difference.
    let losses = |what: &str| -> i64 {
        let losses = records.of("loss").filter(|record| text(record, "loss.what") == what);
        losses.filter_map(|record| int(record, "loss.lost")).sum()
    };
    let told = ["busy", "mounts"].map(losses).iter().sum::<i64>();
    let all: i64 = records.of("loss").filter_map(|record| int(record, "loss.lost")).sum();
    if all != told {
        make_failure_final();
    }
    assert_eq!(all, told, "something else was lost: {}", records.digest());
    every_operation_is_told(&records, &left_out);
    left_out.extend(plain::lines(&records, &[SERVER, BY_SOCKETS], &scene));
    left_out
}

/// What is compared with another kernel's records is there at all.
fn every_operation_is_told(records: &Records, left_out: &[String]) {
    let lacks = |tool: &str| left_out.iter().any(|line| line.ends_with(tool));
    for (field, operation) in operations() {
        let told = records.0.iter().any(|record| text(record, &field) == operation);
        let missing = operation == "mount_setattr" && lacks("set_attributes");
        assert!(told || missing, "no record with {field} {operation}");
    }
}

/// Calls a tool and waits until the agent has told of the call.
fn call(agent: &Agent, client: &Client, server: &str, tool: &str, arguments: Value) -> Value {
    let result = client.call(server, tool, arguments);
    let id = request_id(&result);
    agent.find(&format!("mcp.call of {tool} {id}"), |record| {
        text(record, "type") == "mcp.call"
            && text(record, "server.name") == server
            && record["call"]["id"] == *id
    });
    result
}
