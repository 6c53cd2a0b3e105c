//! Names of destinations: what real resolvers and TLS clients say on the wire stands with the connections, and
//! no answer that a server arranged for itself explains where it goes.

use std::time::Duration;

use mcpwatch_tests::{
    Agent, Client, Era, Records, Scene, Sdk, Visitor, address, check_identity, deps, request_id,
    text,
};
use serde_json::{Value, json};

/// What the name server of the scene says, which is the host's own there.
const ZONE: &[(&str, &str)] = &[
    ("api.allowed.test", address::RESOLVER),
    ("www.example.test", "edge.example.test"),
    ("edge.example.test", address::WEB),
    ("other.example.test", address::RESOLVER),
    ("six.example.test", address::WEB_IPV6),
];
/// What a name server says that a server brought along.
const LIES: &[(&str, &str)] = &[("api.allowed.test", address::WEB)];

const SETTINGS: &str =
    "[[server]]\nname = \"names\"\nallow = { egress = [\"api.allowed.test\"] }\n";

/// A scene with name servers and listeners, the agent within its network, and a client with the servers open.
struct Play {
    scene: Scene,
    agent: Agent,
    client: Client,
}

impl Play {
    fn new(server: &str, sdk: Sdk) -> Self {
        let scene = Scene::with_resolver();
        scene.name_server(address::RESOLVER, ZONE);
        scene.name_server(address::STRANGER, LIES);
        scene.listen(&format!("{}:8080", address::RESOLVER), Visitor::Dismissed);
        for endpoint in [address::WEB.to_owned(), format!("[{}]", address::WEB_IPV6)] {
            scene.listen(&format!("{endpoint}:443"), Visitor::Dismissed);
            scene.listen(&format!("{endpoint}:8080"), Visitor::Dismissed);
        }
        let script = scene.script(&format!("servers/{server}"));
        let command = if server.ends_with("mjs") { "node".into() } else { deps().python() };
        let name = if server.ends_with("mjs") { "names-node" } else { "names" };
        let config = scene.config(&[(name, json!({"command": command, "args": [script]}))]);
        // The host's own name servers are those of the network the agent is in.
        let agent = scene.agent_inside().settings(SETTINGS).start();
        let client = scene.client(sdk);
        client.open(&config, &[], Era::Default);
        Self { scene, agent, client }
    }

    /// Calls a tool; gives what was told of the call until a moment after it.
    fn call(&self, server: &str, tool: &str, arguments: Value) -> Records {
        let before = self.agent.count();
        let result = self.client.call(server, tool, arguments);
        let id = request_id(&result).clone();
        self.agent.find(&format!("mcp.call of {tool}"), |record| {
            text(record, "type") == "mcp.call" && record["call"]["id"] == id
        });
        self.agent.settle(Duration::from_millis(200));
        self.agent.since(before)
    }

    fn end(self) {
        self.client.close(&[]);
        let stopped = self.agent.stop();
        let end = stopped.records.of("status").find(|one| text(one, "status.state") == "stopped");
        check_identity(end.expect("the last record"));
        drop(self.scene);
    }
}

fn alerts(records: &Records) -> Vec<String> {
    let mut alerts: Vec<String> = records
        .alerts(0)
        .map(|alert| {
            let (rule, relation) = (text(alert, "alert.rule"), text(alert, "relation"));
            format!("{rule} {relation} {}", text(alert, "alert.severity"))
        })
        .collect();
    alerts.sort();
    alerts.dedup();
    alerts
}

/// The connection to a port, with its names.
#[track_caller]
fn connection(records: &Records, port: u16) -> &Value {
    let found = records.of("net.connect").find(|one| one["net"]["port"] == port);
    found.unwrap_or_else(|| panic!("no connection to port {port}:\n{}", records.digest()))
}

#[test]
fn the_c_library_and_openssl() {
    let play = Play::new("names.py", Sdk::Python);
    let told = play.call("names", "connect", json!({"host": "www.example.test"}));
    assert_eq!(alerts(&told), ["unexpected_egress requested info"]);
    let connect = connection(&told, 8080);
    assert_eq!(connect["net"]["names"], json!(["www.example.test", "edge.example.test"]));
    assert_eq!(connect["relation"], "requested");
    // The C library asks for both kinds of addresses with one system call.
    for kind in ["A", "AAAA"] {
        let lookup = told.of("net.dns").find(|one| text(one, "dns.type") == kind);
        let lookup = lookup.unwrap_or_else(|| panic!("{kind} of:\n{}", told.digest()));
        assert_eq!(text(lookup, "dns.question"), "www.example.test");
        assert_eq!(text(lookup, "relation"), "requested");
        assert_eq!(text(lookup, "net.address"), address::RESOLVER);
        assert_eq!(lookup["dns"]["host_resolver"], true);
        assert_eq!(text(lookup, "dns.rcode"), "NOERROR");
    }

    let told = play.call("names", "connect", json!({"host": "six.example.test"}));
    assert_eq!(connection(&told, 8080)["net"]["names"], json!(["six.example.test"]));

    for (host, at) in [("www.example.test", address::WEB), ("six.example.test", address::WEB_IPV6)]
    {
        let told = play.call("names", "tls", json!({"host": host}));
        let tls = told.of("net.tls").next().unwrap_or_else(|| panic!("{}", told.digest()));
        assert_eq!(text(tls, "tls.server_name"), host);
        assert_eq!(tls["tls"]["name_known"], true);
        assert_eq!(text(tls, "relation"), "requested");
        assert_eq!(text(tls, "net.address"), at);
    }
    play.end();
}

/// Of a stranger over IPv6 as well: there the answers, too, have another header.
#[test]
fn name_service_over_tcp() {
    let play = Play::new("names.py", Sdk::Python);
    play.scene.name_server(&format!("[{}]", address::WEB_IPV6), ZONE);
    for (server, own) in [(address::WEB_IPV6, false), (address::RESOLVER, true)] {
        let arguments = json!({"server": server, "host": "www.example.test"});
        let told = play.call("names", "stream", arguments);
        let [lookup] = told.of("net.dns").collect::<Vec<_>>()[..] else {
            panic!("{}", told.digest())
        };
        assert_eq!(text(lookup, "net.protocol"), "tcp");
        assert_eq!(text(lookup, "net.address"), server);
        assert_eq!(text(lookup, "dns.question"), "www.example.test");
        assert_eq!(text(lookup, "relation"), "requested");
        assert_eq!(lookup["dns"]["host_resolver"], own);
        assert_eq!(lookup["dns"]["answers"][1]["value"], address::WEB);
        let connect = connection(&told, 8080);
        // What the stranger says is a claim.
        let names = if own { "names" } else { "claimed_names" };
        assert!(connect["net"].get(names).is_some(), "{connect}");
        assert_eq!(connect["net"].get("names").is_some(), own, "{connect}");
    }
    play.end();
}

#[test]
fn node_with_c_ares_and_its_own_tls() {
    let play = Play::new("names.mjs", Sdk::TypeScript);
    let told = play.call("names-node", "resolve", json!({"host": "www.example.test"}));
    let [lookup] = told.of("net.dns").collect::<Vec<_>>()[..] else { panic!("{}", told.digest()) };
    assert_eq!(text(lookup, "dns.question"), "www.example.test");
    assert_eq!(lookup["dns"]["answers"][0]["value"], "edge.example.test");
    assert_eq!(lookup["dns"]["answers"][1]["value"], address::WEB);
    let told = play.call("names-node", "get", json!({"host": "www.example.test"}));
    assert_eq!(
        connection(&told, 443)["net"]["names"],
        json!(["www.example.test", "edge.example.test"])
    );
    let tls = told.of("net.tls").next().unwrap_or_else(|| panic!("{}", told.digest()));
    assert_eq!(text(tls, "tls.server_name"), "www.example.test");
    play.end();
}

#[test]
fn what_is_allowed_by_name_is_allowed_by_the_hosts_name_server_alone() {
    let play = Play::new("names.py", Sdk::Python);
    // A stranger says so, first, while nobody else has.
    let told = play.call("names", "stranger", json!({}));
    assert_eq!(alerts(&told), ["unexpected_egress covert high"]);
    let connect = connection(&told, 8080);
    assert_eq!(connect["net"].get("names"), None);
    assert_eq!(connect["net"]["claimed_names"][0]["name"], "api.allowed.test");
    assert_eq!(connect["net"]["claimed_names"][0]["from"], address::STRANGER);
    // The host's name server, played in a network of the server's own.
    let told = play.call("names", "forge", json!({}));
    let expected = ["privilege_change covert critical", "unexpected_egress covert high"];
    assert_eq!(alerts(&told), expected, "{}", told.digest());
    assert_eq!(connection(&told, 8080)["net"].get("names"), None);
    // An answer that was in the socket before the question: the server reads it, and nobody believes it.
    let told = play.call("names", "claim", json!({}));
    assert_eq!(alerts(&told), ["unexpected_egress covert high"], "{}", told.digest());
    assert_eq!(connection(&told, 8080)["net"].get("names"), None);
    // The honest way.
    let told = play.call("names", "sync", json!({}));
    assert_eq!(alerts(&told), [""; 0], "{}", told.digest());
    assert_eq!(connection(&told, 8080)["net"]["names"], json!(["api.allowed.test"]));
    play.end();
}

#[test]
fn a_host_that_was_asked_for_does_not_cover_another() {
    let play = Play::new("names.py", Sdk::Python);
    // As long as nobody knows where the name leads, the call is taken at its word.
    let arguments = json!({"host": "localhost", "url": "http://other.example.test:8080/"});
    let told = play.call("names", "elsewhere", arguments);
    assert_eq!(alerts(&told), ["unexpected_egress requested info"], "{}", told.digest());
    let arguments = json!({"host": "other.example.test", "url": "http://other.example.test:8080/"});
    let told = play.call("names", "elsewhere", arguments);
    assert_eq!(alerts(&told), ["unexpected_egress covert high"], "{}", told.digest());
    play.end();
}

#[test]
fn data_in_names_is_a_tunnel() {
    let play = Play::new("names.py", Sdk::Python);
    let told = play.call("names", "weather", json!({"city": "Bern"}));
    assert_eq!(alerts(&told), ["dns_tunnel covert high"]);
    let alert = told.alerts(0).next().expect("just counted");
    assert!(text(alert, "alert.reason").contains("evil.test"), "{alert}");
    let lookups: Vec<&Value> = told.of("net.dns").collect();
    assert_eq!(lookups.len(), 30);
    assert!(lookups.iter().all(|one| text(one, "dns.rcode") == "NXDOMAIN"));
    play.end();
}
