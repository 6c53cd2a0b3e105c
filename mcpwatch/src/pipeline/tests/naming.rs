//! Names: what name service said to whom, and what that explains.

use std::net::{IpAddr, SocketAddr};

use serde_json::json;

use super::*;

/// The host's own name server, and one of somebody else.
const RESOLVER: &str = "192.0.2.53:53";
const STRANGER: &str = "198.51.100.53:53";
/// The network namespace of the host.
const HOME: u32 = 4_026_531_840;

/// One packet of name service.
struct Datagram<'a> {
    incoming: bool,
    peer: &'a str,
    namespace: u32,
    socket: u64,
    stream: bool,
    data: &'a [u8],
}

impl Scene {
    fn packet(&mut self, kind: Kind, pid: u32, packet: &Datagram<'_>) {
        let peer: SocketAddr = packet.peer.parse().unwrap();
        let IpAddr::V4(address) = peer.ip() else { panic!() };
        let mut bytes = [0; 16];
        bytes[..4].copy_from_slice(&address.octets());
        let body = wire::Packet {
            address: bytes,
            socket: packet.socket,
            family: 2,
            port: peer.port(),
            protocol: if packet.stream { 6 } else { 17 },
            direction: u16::try_from(if packet.incoming {
                wire::DIRECTION_IN
            } else {
                wire::DIRECTION_OUT
            })
            .unwrap(),
            namespace: packet.namespace,
            data_len: u32::try_from(packet.data.len()).unwrap(),
        };
        // As in the ring: room that is not used follows.
        let tail = [packet.data, &[0xaa; 512]].concat();
        self.send(kind, pid, 0, bytemuck::bytes_of(&body), &tail);
    }

    fn asks(&mut self, pid: u32, peer: &str, data: &[u8]) {
        let packet =
            Datagram { incoming: false, peer, namespace: HOME, socket: 5, stream: false, data };
        self.packet(Kind::Dns, pid, &packet);
    }

    fn is_told(&mut self, pid: u32, peer: &str, data: &[u8]) {
        let packet =
            Datagram { incoming: true, peer, namespace: HOME, socket: 5, stream: false, data };
        self.packet(Kind::Dns, pid, &packet);
    }

    /// Asks for a name, and is told an address.
    fn resolves(&mut self, pid: u32, peer: &str, name: &str, address: [u8; 4]) {
        self.asks(pid, peer, &question(name));
        self.is_told(pid, peer, &answer(name, address));
    }
}

fn question(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend(label.bytes());
    }
    bytes.extend([0, 0, 1, 0, 1]);
    bytes
}

fn answer(name: &str, address: [u8; 4]) -> Vec<u8> {
    let mut bytes = question(name);
    bytes[2] = 0x81;
    bytes[7] = 1;
    bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
    bytes.extend(address);
    bytes
}

const ADDRESS: [u8; 4] = [203, 0, 113, 80];

fn at_home(settings: &str) -> Scene {
    let origin = Origin {
        resolv_conf: "nameserver 192.0.2.53\n".into(),
        network_namespace: HOME,
        ..origin()
    };
    Scene::of(settings, &origin)
}

/// Allows the server one name.
const ALLOWED: &str = "[[server]]\nname = \"node\"\nexe = \"/usr/bin/node\"\n\
     [server.allow]\negress = [\"api.allowed.example\"]\n";

#[test]
fn the_name_that_was_asked_for_stands_with_the_connection() {
    let mut scene = at_home("");
    scene.server(11);
    scene.call(11, 1, "fetch", json!({"url": "https://www.example.org/x"}));
    scene.resolves(11, RESOLVER, "www.example.org", ADDRESS);
    scene.connect(11, ADDRESS, 443);
    let [lookup] = scene.of_type("net.dns")[..] else { panic!() };
    assert_eq!(lookup["relation"], "requested");
    assert_eq!(lookup["call"]["id"], 1);
    assert_eq!(lookup["net"]["address"], "192.0.2.53");
    let dns = &lookup["dns"];
    assert_eq!((&dns["question"], &dns["type"]), (&json!("www.example.org"), &json!("A")));
    assert_eq!((&dns["rcode"], &dns["host_resolver"]), (&json!("NOERROR"), &json!(true)));
    assert_eq!(dns["answers"][0]["value"], "203.0.113.80");
    assert_eq!(dns["duration_ns"], MILLISECOND);
    let [connect] = scene.of_type("net.connect")[..] else { panic!() };
    assert_eq!(connect["net"]["names"], json!(["www.example.org"]));
    assert_eq!(connect["relation"], "requested");
}

#[test]
fn a_name_from_the_hosts_own_name_server_explains() {
    let mut scene = at_home(ALLOWED);
    scene.server(11);
    scene.call(11, 1, "work", json!({}));
    scene.resolves(11, RESOLVER, "api.allowed.example", ADDRESS);
    scene.connect(11, ADDRESS, 443);
    assert_eq!(scene.of_type("alert").len(), 0);
    scene.connect(11, [203, 0, 113, 81], 443);
    assert_eq!(scene.of_type("alert").len(), 1);
}

#[test]
fn a_name_from_elsewhere_is_shown_and_explains_nothing() {
    let own_namespace = Datagram {
        incoming: false,
        peer: RESOLVER,
        namespace: HOME + 1,
        socket: 5,
        stream: false,
        data: &question("api.allowed.example"),
    };
    for forged_at_home in [true, false] {
        let mut scene = at_home(ALLOWED);
        scene.server(11);
        scene.call(11, 1, "work", json!({}));
        if forged_at_home {
            scene.resolves(11, STRANGER, "api.allowed.example", ADDRESS);
        } else {
            // The address of the host's name server, in a network where anybody can be anybody.
            scene.packet(Kind::Dns, 11, &own_namespace);
            let data = answer("api.allowed.example", ADDRESS);
            scene.packet(Kind::Dns, 11, &Datagram { incoming: true, data: &data, ..own_namespace });
        }
        scene.connect(11, ADDRESS, 443);
        let [alert] = scene.of_type("alert")[..] else { panic!("{:?}", scene.story()) };
        assert_eq!(alert["alert"]["rule"], "unexpected_egress");
        let evidence = alert["alert"]["evidence"].to_string();
        assert!(evidence.contains("claimed_name"), "{evidence}");
        let [connect] = scene.of_type("net.connect")[..] else { panic!() };
        assert_eq!(connect["net"].get("names"), None);
        assert_eq!(connect["net"]["claimed_names"][0]["name"], "api.allowed.example");
        let [lookup] = scene.of_type("net.dns")[..] else { panic!() };
        assert_eq!(lookup["dns"]["host_resolver"], false);
    }
}

#[test]
fn only_the_answer_to_a_question_is_believed() {
    let mut scene = at_home(ALLOWED);
    scene.server(11);
    scene.call(11, 1, "work", json!({}));
    let right = answer("api.allowed.example", ADDRESS);
    let mut other_number = right.clone();
    other_number[0] ^= 1;
    let mut no_answer = right.clone();
    no_answer[2] &= 0x7f;
    scene.is_told(11, RESOLVER, &right);
    scene.asks(11, RESOLVER, &question("api.allowed.example"));
    scene.is_told(11, STRANGER, &right);
    scene.is_told(11, RESOLVER, &other_number);
    scene.is_told(11, RESOLVER, &no_answer);
    scene.is_told(11, RESOLVER, &answer("www.allowed.example", ADDRESS));
    let data = answer("api.allowed.example", ADDRESS);
    let elsewhere = Datagram {
        incoming: true,
        peer: RESOLVER,
        namespace: HOME,
        socket: 6,
        stream: false,
        data: &data,
    };
    scene.packet(Kind::Dns, 11, &elsewhere);
    scene.connect(11, ADDRESS, 443);
    assert_eq!(scene.of_type("alert").len(), 1);
    assert_eq!(scene.of_type("net.dns").len(), 0, "it still waits");
    scene.is_told(11, RESOLVER, &right);
    assert_eq!(scene.of_type("net.dns").len(), 1);
}

#[test]
fn one_server_learns_nothing_from_another() {
    let mut scene = at_home("");
    scene.server(11);
    scene.spawn(CLIENT, 12, OTHER_CHANNEL, "/usr/bin/node", &["node", "other.js"]);
    scene.initialize(12);
    scene.resolves(11, RESOLVER, "www.example.org", ADDRESS);
    scene.connect(12, ADDRESS, 443);
    scene.connect(11, ADDRESS, 443);
    let names: Vec<bool> =
        scene.of_type("net.connect").iter().map(|one| one["net"].get("names").is_some()).collect();
    assert_eq!(names, [false, true]);
}

#[test]
fn a_name_that_leads_elsewhere_was_not_asked_for() {
    let mut scene = at_home("");
    scene.server(11);
    scene.call(11, 1, "fetch", json!({"url": "https://www.example.org/"}));
    // As long as nothing is known of the name, the call is taken at its word.
    scene.connect(11, [203, 0, 113, 66], 443);
    scene.resolves(11, RESOLVER, "www.example.org", ADDRESS);
    scene.connect(11, [203, 0, 113, 67], 443);
    scene.connect(11, ADDRESS, 443);
    let relations: Vec<&Value> =
        scene.of_type("net.connect").iter().map(|one| &one["relation"]).collect();
    assert_eq!(relations, ["requested", "covert", "requested"]);
}

#[test]
fn questions_without_an_answer_are_told_in_the_end() {
    let mut scene = at_home("");
    scene.server(11);
    scene.asks(11, RESOLVER, &question("silent.example.org"));
    scene.asks(11, RESOLVER, &question("silent.example.org"));
    scene.asks(11, RESOLVER, b"\0\0\x01\0 what is this to name service?");
    assert_eq!(scene.of_type("net.dns").len(), 1, "only the one that cannot be read");
    scene.now += 6 * SECOND;
    scene.input(Input::Tick { time: scene.now });
    let [unread, silent] = scene.of_type("net.dns")[..] else { panic!() };
    assert_eq!(unread["dns"].get("question"), None);
    assert_eq!(silent["dns"]["tries"], 2);
    assert_eq!(silent["net"]["result"], "unknown");
    assert_eq!(silent["dns"].get("rcode"), None);
    // A flood of them is bounded; the end of the server, and that of the run, tell the rest.
    for number in 0..1_000 {
        scene.asks(11, RESOLVER, &question(&format!("n{number}.example.org")));
    }
    assert!(scene.of_type("net.dns").len() >= 1_000 - 256 + 2);
    scene.exit(11, 0);
    assert_eq!(scene.of_type("net.dns").len(), 1_002);
}

#[test]
fn over_tcp_the_message_stands_behind_its_length() {
    let mut scene = at_home("");
    scene.server(11);
    let framed = |message: Vec<u8>| {
        [u16::try_from(message.len()).unwrap().to_be_bytes().to_vec(), message].concat()
    };
    let question = framed(question("www.example.org"));
    let answer = framed(answer("www.example.org", ADDRESS));
    for (incoming, data) in [(false, &question), (true, &answer)] {
        let packet =
            Datagram { incoming, peer: RESOLVER, namespace: HOME, socket: 5, stream: true, data };
        scene.packet(Kind::Dns, 11, &packet);
    }
    let [lookup] = scene.of_type("net.dns")[..] else { panic!() };
    assert_eq!(lookup["net"]["protocol"], "tcp");
    assert_eq!(lookup["dns"]["answers"][0]["value"], "203.0.113.80");
}

#[test]
fn the_name_a_tls_client_asks_for_is_shown_and_explains_nothing() {
    let hello = include_bytes!("../../../fixtures/names/hello-curl.bin");
    let mut scene = at_home(ALLOWED);
    scene.server(11);
    scene.call(11, 1, "work", json!({}));
    scene.resolves(11, RESOLVER, "www.example.org", ADDRESS);
    scene.connect(11, ADDRESS, 443);
    let packet = Datagram {
        incoming: false,
        peer: "203.0.113.80:443",
        namespace: HOME,
        socket: 9,
        stream: true,
        data: hello,
    };
    scene.packet(Kind::Tls, 11, &packet);
    let [tls] = scene.of_type("net.tls")[..] else { panic!() };
    assert_eq!(tls["tls"]["server_name"], "api.example.test");
    assert_eq!(tls["tls"]["name_known"], false);
    assert_eq!(tls["tls"]["alpn"], json!(["h2", "http/1.1"]));
    assert_eq!(tls["net"]["names"], json!(["www.example.org"]));
    assert_eq!((&tls["relation"], &tls["call"]["id"]), (&json!("covert"), &json!(1)));
    assert_eq!(scene.of_type("alert").len(), 1);
}

#[test]
fn what_a_candidate_asks_is_told_when_it_is_a_server() {
    let mut scene = at_home("");
    scene.candidate(11);
    scene.resolves(11, RESOLVER, "www.example.org", ADDRESS);
    scene.connect(11, ADDRESS, 443);
    assert_eq!(scene.of_type("net.dns").len(), 0);
    scene.initialize(11);
    let [lookup] = scene.of_type("net.dns")[..] else { panic!() };
    assert_eq!(lookup["relation"], "startup");
    let [connect] = scene.of_type("net.connect")[..] else { panic!() };
    assert_eq!(connect["net"]["names"], json!(["www.example.org"]));
}

#[test]
fn a_tunnel_is_one_alert_with_its_domain() {
    let mut scene = at_home("");
    scene.server(11);
    scene.call(11, 1, "get_weather", json!({"city": "Bern"}));
    for number in 0..10 {
        let part = format!("{number:060x}");
        scene.asks(11, RESOLVER, &question(&format!("{part}.{part}.t.evil.example")));
    }
    scene.result(11, 1);
    let alerts = scene.of_type("alert");
    let [first, counted] = alerts[..] else { panic!("{alerts:#?}") };
    assert_eq!(first["alert"]["rule"], "dns_tunnel");
    assert_eq!(first["alert"]["severity"], "high");
    assert_eq!(first["relation"], "covert");
    assert!(first["dns"]["question"].as_str().unwrap().ends_with(".evil.example"));
    assert_eq!(counted["alert"]["count"], 8);
}

#[test]
fn hostile_packets_never_panic() {
    let mut scene = at_home("");
    scene.server(11);
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for round in 0..2_000_usize {
        let mut data = if round % 2 == 0 {
            answer("www.example.org", ADDRESS)
        } else {
            include_bytes!("../../../fixtures/names/hello-curl.bin").to_vec()
        };
        for _ in 0..3 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let at = usize::try_from(state >> 33).unwrap() % data.len();
            data[at] = (state >> 17).to_le_bytes()[0];
        }
        let kind = if round % 2 == 0 { Kind::Dns } else { Kind::Tls };
        let packet = Datagram {
            incoming: round % 4 == 0,
            peer: RESOLVER,
            namespace: HOME,
            socket: 5,
            stream: round % 3 == 0,
            data: &data,
        };
        scene.packet(kind, 11, &packet);
    }
}
