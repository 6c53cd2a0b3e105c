//! Tunnels, and the ordinary names that look a little like them.

use super::*;
use crate::detect::tests::{Scene, detector};
use crate::detect::{Detector, Lookup};
use crate::record::Relation::{Background, Covert, Requested, Startup};

const ONE: [(&str, Severity); 1] = [("dns_tunnel", Severity::High)];

fn lookup(name: &str) -> Lookup {
    Lookup { name: name.into(), kind: "A".into(), resolver: "192.0.2.53:53".parse().unwrap() }
}

/// How many of these names fire.
fn fired(scene: &Scene, detector: &mut Detector, names: impl IntoIterator<Item = String>) -> usize {
    let mut fired = 0;
    for name in names {
        let found = scene.found_by(detector, Action::Lookup(&lookup(&name)));
        assert!(found.is_empty() || found == ONE, "{found:?}");
        fired += found.len();
    }
    fired
}

/// Noise that is the same in every run.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33).to_le_bytes()[0]
        })
        .collect()
}

fn encode(alphabet: &[u8], seed: u64, len: usize) -> String {
    let letter = |byte: u8| char::from(alphabet[usize::from(byte) % alphabet.len()]);
    noise(seed, len).into_iter().map(letter).collect()
}

const HEX: &[u8] = b"0123456789abcdef";
const BASE32: &[u8] = b"abcdefghijklmnopqrstuvwxyz234567";
const BASE64: &[u8] = b"abcdefghijklmnopqrstuvwxyzabcdefghijklmnopqrstuvwxyz0123456789-_";

#[test]
fn a_file_in_pieces_fires_whatever_it_is_encoded_with() {
    for alphabet in [HEX, BASE32, BASE64] {
        for relation in [Requested, Covert, Background, Startup] {
            let scene = Scene::new(relation);
            let piece = |seed| format!("{}.{seed}.x.evil.example", encode(alphabet, seed, 40));
            assert!(fired(&scene, &mut detector(), (0..30).map(piece)) > 0);
            // Long names at once: as much as fits into each.
            let piece = |seed: u64| {
                let part = |n| encode(alphabet, seed * 8 + n, 60);
                format!("{}.{}.{}.t.evil.example", part(1), part(2), part(3))
            };
            assert_eq!(fired(&scene, &mut detector(), (0..4).map(piece)), 2);
        }
    }
}

#[test]
fn very_many_names_fire_even_when_each_is_short() {
    let scene = Scene::new(Covert);
    let names = (0..300).map(|number| format!("{number:x}.evil.example"));
    assert_eq!(fired(&scene, &mut detector(), names), 101);
}

#[test]
fn a_name_asked_for_again_counts_once() {
    let scene = Scene::new(Covert);
    let names = (0..1_000).map(|_| format!("{}.evil.example", encode(BASE32, 7, 60)));
    assert_eq!(fired(&scene, &mut detector(), names), 0);
    let long = (0..1_000).map(|_| format!("{0}.{0}.evil.example", encode(BASE32, 7, 60)));
    assert_eq!(fired(&scene, &mut detector(), long), 0);
}

#[test]
fn ordinary_names_are_silent() {
    let scene = Scene::new(Covert);
    let mut detector = detector();
    let hosts = [
        "api.github.com",
        "raw.githubusercontent.com",
        "d111111abcdef8.cloudfront.net",
        "a1b2c3d4e5f6g7-1234567890.us-east-1.elb.amazonaws.com",
        "vpce-0a1b2c3d4e5f67890-abcdefgh-us-east-1a.s3.us-east-1.vpce.amazonaws.com",
        "ec2-203-0-113-25.compute-1.amazonaws.com",
        "e1234.dscb.akamaiedge.net",
        "my-service-5d4f8c7b9d-x2k4p.my-namespace.svc.cluster.local",
        "selector1-example-com._domainkey.example.onmicrosoft.com",
        "s1024._domainkey.newsletter.example.com",
        "_dmarc.example.com",
        "_acme-challenge.www.example.co.uk",
        "7.113.0.203.in-addr.arpa",
        "7.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa",
        "localhost",
        "wpad",
    ];
    // The C library asks for each with every search domain, and for A and AAAA.
    let searched = hosts.iter().flat_map(|host| {
        ["", ".corp.internal"].map(|search| [format!("{host}{search}"), format!("{host}{search}")])
    });
    assert_eq!(fired(&scene, &mut detector, searched.flatten()), 0);
}

#[test]
fn crowds_of_names_that_belong_to_many_or_to_a_page_are_silent() {
    let scene = Scene::new(Covert);
    let mut detector = detector();
    // Reverse lookups of whole networks.
    let reverse = (0..1_000).map(|n| format!("{}.{}.0.10.in-addr.arpa", n % 250, n / 250));
    assert_eq!(fired(&scene, &mut detector, reverse), 0);
    let nibbles = |n: u64| {
        let digits = encode(HEX, n, 32);
        let digits: Vec<String> = digits.chars().map(String::from).collect();
        format!("{}.ip6.arpa", digits.join("."))
    };
    assert_eq!(fired(&scene, &mut detector, (0..1_000).map(nibbles)), 0);
    // Many customers of one cloud, each with a name of their own.
    let customers = (0..150).map(|n| format!("d{}.cloudfront.net", encode(BASE32, n, 13)));
    assert_eq!(fired(&scene, &mut detector, customers), 0);
    // A page with trackers: some hashed names of one party.
    let trackers = (0..15).map(|n| format!("{}.metrics.example", encode(HEX, n, 32)));
    assert_eq!(fired(&scene, &mut detector, trackers), 0);
    // A crawler on one site: many names made of words.
    let words = ["news", "shop", "static", "images", "blog", "status", "docs", "support"];
    let site =
        words.iter().flat_map(|a| words.map(|b| format!("{a}-{b}.documentation.site.example")));
    assert_eq!(fired(&scene, &mut detector, site), 0);
}

#[test]
fn what_is_allowed_by_name_is_silent() {
    let mut scene = Scene::new(Covert);
    scene.given.allow.egress = vec!["*.evil.example".into()];
    let names = |domain: &'static str| (0..300).map(move |n| format!("{n}.{domain}"));
    assert_eq!(fired(&scene, &mut detector(), names("evil.example")), 0);
    assert!(fired(&scene, &mut detector(), names("other.example")) > 0);
}

#[test]
fn servers_and_stretches_of_time_are_told_apart() {
    let mut detector = detector();
    let mut scene = Scene::new(Covert);
    let names = |from: u64, to: u64| (from..to).map(|n| format!("{n}.evil.example"));
    assert_eq!(fired(&scene, &mut detector, names(0, 150)), 0);
    scene.server.id = "server-2".into();
    assert_eq!(fired(&scene, &mut detector, names(150, 300)), 0);
    scene.server.id = "server-1".into();
    scene.time += WINDOW + 1;
    assert_eq!(fired(&scene, &mut detector, names(300, 450)), 0);
    assert_eq!(fired(&scene, &mut detector, names(450, 500)), 1);
}

#[test]
fn servers_within_one_another_are_counted_together() {
    let mut detector = detector();
    let mut scene = Scene::new(Covert);
    let names = |from: u64, to: u64| (from..to).map(|n| format!("{n}.evil.example"));
    assert_eq!(fired(&scene, &mut detector, names(0, 100)), 0);
    // What is around it turns out to be a server, and starts another.
    detector.join("server-1", "server-2");
    scene.server.id = "server-2".into();
    assert_eq!(fired(&scene, &mut detector, names(100, 199)), 0);
    scene.server.id = "server-3".into();
    assert_eq!(fired(&scene, &mut detector, names(199, 250)), 0);
    scene.family = Some("server-2".into());
    assert_eq!(fired(&scene, &mut detector, names(199, 250)), 51);
}

#[test]
fn asking_for_other_domains_neither_hides_a_tunnel_nor_grows_what_is_kept() {
    let scene = Scene::new(Covert);
    // Domains that go before the tunnel's, and such that go after it.
    for decoy in ["a", "z"] {
        let mut detector = detector();
        let mut total = 0;
        for round in 0..150_u64 {
            let decoys = (0..70).map(|n| format!("x.{decoy}{}.example", round * 70 + n));
            let piece = format!("{}.evil.example", encode(BASE32, round, 50));
            total += fired(&scene, &mut detector, decoys.chain([piece]));
        }
        assert!(total > 0, "{decoy}");
    }
    let mut rule = DnsTunnel::default();
    for server in 0..1_000 {
        for domain in 0..100 {
            rule.asked(&server.to_string(), server)
                .domain(&format!("d{domain}"), server)
                .count("x");
        }
    }
    assert!(rule.families.len() <= FAMILIES);
    assert!(rule.families.values().all(|asked| asked.domains.len() <= DOMAINS));
}

#[test]
fn names_are_split_at_what_one_party_registers() {
    for (name, expected) in [
        ("a.b.example.com", Some(("a.b", "example.com"))),
        ("a.example.co.uk", Some(("a", "example.co.uk"))),
        ("example.co.uk", None),
        ("example.com", None),
        ("com", None),
        (".", None),
        ("", None),
        ("a..b", Some(("a", ".b"))),
        ("x.d1.cloudfront.net", Some(("x", "d1.cloudfront.net"))),
        ("7.113.0.203.in-addr.arpa", Some(("7.113.0.203", "in-addr.arpa"))),
    ] {
        assert_eq!(split(name), expected, "{name:?}");
    }
    assert!(!is_reverse("7.113.0.payload", "in-addr.arpa"));
    assert!(!is_reverse("7.113", "xin-addr.arpa"));
}
