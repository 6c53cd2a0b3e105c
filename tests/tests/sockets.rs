//! Who listens: the addresses of listeners and their visitors, and processes nobody gave a channel.

use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mcpwatch_tests::{
    Agent, Play, Scene, address, case, counter, deps, digest, free_port, has, int, text,
};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);

/// A record of the network.
fn net(kind: &str, family: &str, protocol: &str, (host, port): (&str, u16), result: &str) -> Value {
    json!({"type": kind, "net": {
        "family": family, "protocol": protocol, "address": host, "port": port, "result": result}})
}

#[test]
fn listeners_are_told_with_their_addresses_and_those_of_their_visitors() {
    let play = Play::in_scene(Scene::with_network());
    // The ports of a network of its own are all free.
    let (here, visitor) = (("127.0.0.1", 7101), (address::WEB, 7102));
    let (plain, guest) = (("127.0.0.1", 7103), (address::WEB, 7104));
    let (here6, visitor6) = (("::1", 7105), (address::WEB_IPV6, 7106));
    let taken = ("127.0.0.1", 7107);
    let at = |at: (&str, u16), visitor: (&str, u16)| json!({"at": at, "visitor": visitor});
    let path = play.scene.path("listener.sock");
    let unix = |kind: &str, path: &str| {
        json!({"type": kind, "relation": "requested", "net": {
            "family": "unix", "protocol": "stream", "address": null, "port": null, "path": path,
            "result": "ok"}})
    };
    let hidden = format!("@{path}");
    let long = play.scene.path("long.sock");
    play.play_all(&[
        case(
            "listen",
            at(here, visitor),
            &[
                net("net.bind", "inet", "tcp", here, "ok"),
                net("net.listen", "inet", "tcp", here, "ok"),
                net("net.accept", "inet", "tcp", visitor, "ok"),
            ],
        ),
        case(
            "accept_plainly",
            at(plain, guest),
            &[
                net("net.listen", "inet", "tcp", plain, "ok"),
                net("net.accept", "inet", "tcp", guest, "ok"),
            ],
        ),
        case(
            "listen6",
            at(here6, visitor6),
            &[
                net("net.bind", "inet6", "tcp", here6, "ok"),
                net("net.listen", "inet6", "tcp", here6, "ok"),
                net("net.accept", "inet6", "tcp", visitor6, "ok"),
            ],
        ),
        case(
            "listen_unix",
            json!({"at": path}),
            &[unix("net.bind", &path), unix("net.listen", &path), unix("net.accept", &path)],
        ),
        case(
            "listen_unix",
            json!({"at": hidden}),
            &[unix("net.bind", &hidden), unix("net.listen", &hidden), unix("net.accept", &hidden)],
        ),
        case("bind_with_long_length", json!({"at": long}), &[unix("net.bind", &long)]),
        case(
            "bind_twice",
            json!({"at": taken}),
            &[
                net("net.bind", "inet", "tcp", taken, "ok"),
                net("net.bind", "inet", "tcp", taken, "EADDRINUSE"),
            ],
        ),
        case(
            "listen_for_datagrams",
            json!({"at": taken}),
            &[
                net("net.bind", "inet", "udp", taken, "ok"),
                net("net.listen", "inet", "udp", taken, "EOPNOTSUPP"),
            ],
        ),
    ]);
}

/// The second of sendmmsg(2) no system call shows: the hook on destinations does, and then nobody says what came of the
/// first.
#[test]
fn datagrams_over_ipv6_are_told_each_with_its_destination() {
    let play = Play::in_scene(Scene::with_network());
    let (first, second) = (("::1", 7121), (address::WEB_IPV6, 7122));
    let sent = |to: (&str, u16), result: &str| net("net.send", "inet6", "udp", to, result);
    play.play_all(&[case(
        "send_over_ipv6",
        json!({"to": [first, second]}),
        &[sent(first, "ok"), sent(first, "unknown"), sent(second, "ok")],
    )]);
}

#[test]
fn an_address_the_kernel_does_not_look_at_is_not_told() {
    let play = Play::in_scene(Scene::with_network());
    let (here, elsewhere) = (("127.0.0.1", 7111), (address::METADATA, 80));
    let wrong = play.play(&case(
        "send_elsewhere",
        json!({"at": here, "elsewhere": elsewhere}),
        &[net("net.connect", "inet", "tcp", here, "ok")],
    ));
    let wrong = [
        wrong,
        play.play(&case(
            "send_nameless",
            json!({"at": here, "elsewhere": address::METADATA}),
            &[net("net.connect", "inet", "udp", here, "ok")],
        )),
        // A raw socket goes where the address says, whatever its number.
        play.play(&case(
            "send_raw",
            json!({"to": address::WEB}),
            &[json!({"type": "net.send", "net": {
                "family": "inet", "address": address::WEB, "result": "ok"}})],
        )),
    ]
    .concat();
    play.client.close(&[]);
    let records = play.agent.stop().records;
    assert!(wrong.is_empty(), "{wrong:?}");
    let told: Vec<String> = records
        .of("net.send")
        .filter(|send| text(send, "net.address") != address::WEB)
        .chain(records.of("alert").filter(|alert| text(alert, "alert.rule") == "metadata_access"))
        .map(digest)
        .collect();
    assert!(told.is_empty(), "{told:#?}");
    let last = records.0.last().expect("there are records");
    assert!(counter(last, "send", "filtered") >= 4, "{last}");
}

/// Starts `servers/listener.py` below the anchor, without any channel.
fn start_listener(scene: &Scene, port: u16, wait_for: Option<&str>) -> u32 {
    let (python, script) = (deps().python(), scene.script("servers/listener.py"));
    let (port, file) = (port.to_string(), scene.write("visited", "text"));
    let argv = [&*python.to_string_lossy(), &script, &port, &file];
    scene.start(&argv.into_iter().chain(wait_for).collect::<Vec<_>>())
}

/// Visits a listener; when this returns, it has opened its file.
fn visit(port: u16) {
    let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
    let mut said = String::new();
    stream.read_to_string(&mut said).expect("it answers");
    assert_eq!(said, "seen\n");
}

#[track_caller]
fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let until = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < until, "not within {PATIENCE:?}: {what}");
        thread::sleep(Duration::from_millis(50));
    }
}

fn candidates(agent: &Agent) -> i64 {
    agent.scrape().count("mcpwatch_candidates", &[])
}

fn opens_sent(agent: &Agent) -> i64 {
    let labels = [("probe", "open"), ("outcome", "sent")];
    agent.scrape().count("mcpwatch_probe_events_total", &labels)
}

#[test]
fn who_listens_without_a_channel_is_a_candidate_for_a_while_and_then_let_go_of() {
    let scene = Scene::new();
    let agent = scene.agent().settings("[discovery]\ncandidate_seconds = 5\n").metrics().start();
    assert_eq!(candidates(&agent), 0);
    let port = free_port();
    start_listener(&scene, port, None);
    wait_until("it is a candidate", || candidates(&agent) == 1);
    // What is watched of it now is held, for a server it may turn out to be.
    wait_until("what it does is seen", || {
        visit(port);
        opens_sent(&agent) > 0
    });
    wait_until("it is none any more", || candidates(&agent) == 0);
    agent.settle(Duration::from_millis(1500));
    let before = opens_sent(&agent);
    for _ in 0..20 {
        visit(port);
    }
    let records = agent.stop().records;
    let last = records.0.last().expect("there are records");
    assert_eq!(counter(last, "open", "sent"), before, "nobody watches it any more");
    let about: Vec<&Value> =
        records.0.iter().filter(|record| record.get("process").is_some()).collect();
    assert!(about.is_empty(), "nothing is told of who was no server: {about:#?}");
}

#[test]
fn who_listens_is_a_server_when_the_settings_name_it() {
    let scene = Scene::new();
    let settings = "[[server]]\nname = \"web\"\nargv = \"*/servers/listener.py *\"\n";
    let agent = scene.agent().settings(settings).metrics().start();
    let port = free_port();
    let begin = scene.path("begin");
    let pid = start_listener(&scene, port, Some(&begin));
    let discovered =
        agent.find("its discovery", |record| text(record, "type") == "server.discovered");
    let wanted = json!({"server": {"name": "web", "transport": "http",
        "evidence": [{"kind": "explicit"}]}, "process": {"pid": pid}});
    assert!(has(&discovered, &wanted), "{discovered}");
    // From here on its system calls are seen.
    agent.find("an open of what is not there", |record| {
        text(record, "file.path") == begin && text(record, "file.result") == "ENOENT"
    });
    scene.write("begin", "");
    for kind in ["net.bind", "net.listen"] {
        let record = agent.find(kind, |record| text(record, "type") == kind);
        let wanted = net(kind, "inet", "tcp", ("127.0.0.1", port), "ok");
        assert!(has(&record, &wanted) && text(&record, "relation") == "startup", "{record}");
        assert_eq!(text(&record, "server.name"), "web");
    }
    visit(port);
    let accepted = agent.find("its visitor", |record| text(record, "type") == "net.accept");
    assert_eq!(text(&accepted, "net.address"), "127.0.0.1");
    assert_ne!(int(&accepted, "net.port"), Some(i64::from(port)), "the peer's, not its own");
    assert_eq!(candidates(&agent), 0);
    let records = agent.stop().records;
    assert_eq!(records.of("server.discovered").count(), 1);
}
