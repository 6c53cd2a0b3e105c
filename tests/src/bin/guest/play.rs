//! The play: our own client has our own server do everything it can, under an agent.

use std::time::{Duration, Instant};

use mcpwatch_tests::{Agent, Client, Era, Scene, Sdk, address, int, text};
use serde_json::{Value, json};

use crate::plain;
use crate::suite::Tier;

/// The server that is looked at.
const SERVER: &str = "labelled-rust";
/// One that runs before it: while the agent sees the first server of a quiet host, it attaches a hook, and
/// what the server does meanwhile is seen or not as it happens.
const EARLIER: &str = "earlier";

/// Long enough for what a call leaves behind to happen and to be told.
const AFTERMATH: Duration = Duration::from_millis(1500);

/// Attaching some ninety programs takes long under emulation.
const SETTLED: Duration = Duration::from_mins(2);

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
];

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
    (agent, client)
}

/// The servers of a scene, as its client has them in its settings.
pub fn config(scene: &Scene) -> String {
    scene.config(&[
        (SERVER, json!({"command": "/bin/labelled"})),
        // Told apart by an argument it does not look at.
        (EARLIER, json!({"command": "/bin/labelled", "args": [EARLIER]})),
    ])
}

/// Plays it; gives the records, one a line, without what differs from run to run.
pub fn play(tier: &Tier) -> Vec<String> {
    let scene = Scene::new();
    let _bait = scene.bait();
    let config = config(&scene);
    let (agent, client) = watch(&scene, tier, &config);
    client.open(&config, &[SERVER], Era::Handshake);
    client.request(SERVER, "tools/list", json!({}));
    for (tool, arguments, afterwards) in CALLS {
        let result = client.call(SERVER, tool, arguments(&scene));
        let id = &result["_meta"]["tests/id"];
        agent.find(&format!("mcp.call of {tool} {id}"), |record| {
            text(record, "type") == "mcp.call"
                && text(record, "server.name") == SERVER
                && record["call"]["id"] == *id
        });
        if *afterwards {
            std::thread::sleep(AFTERMATH);
        }
        agent.settle(Duration::from_millis(100));
    }
    client.close(&[]);
    agent.find("the server's end", |record| {
        text(record, "type") == "server.exited" && text(record, "server.name") == SERVER
    });
    let records = agent.stop().records;
    // `busy` speaks of any thread of the machine (docs/kernel-support.md, "Limits"). If it took something of the
    // play, that shows as a difference.
    let of_losses = |busy: bool| -> i64 {
        let losses = records.of("loss");
        let losses = losses.filter(|record| (text(record, "loss.what") == "busy") == busy);
        losses.filter_map(|record| int(record, "loss.lost")).sum()
    };
    eprintln!("the kernel passed over {} calls", of_losses(true));
    assert_eq!(of_losses(false), 0, "something was lost: {}", records.digest());
    plain::lines(&records, SERVER, &scene)
}
