//! `internal_probe`: a server was led to, or looked around in, places nobody outside can reach.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::{IpAddr, SocketAddr};

use serde_json::Value;

use super::ATLAS_VERSION;
use crate::detect::destination::{self, is_datagram, is_explained, is_given, is_internal, target};
use crate::detect::reason::{evidence, quote};
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::event::{Net, NetOperation};
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "internal_probe",
    title: "Internal network reached through an MCP server",
    severities: Severities::always(Severity::High),
    tags: Tags { attack: &["T1046"], atlas: &[], owasp_mcp: &["MCP05"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "A tool that fetches what it is told to fetches from inside: what listens on this machine \
        and its networks often trusts whoever can reach it. A URL that leads there, openly or by a name \
        that resolves to such an address, turns the tool into a way in (server-side request forgery).",
    trigger: "A process of the server's tree connects to, or sends a datagram to, a loopback, link-local or \
        private address that the call's arguments name, or that a name in a URL among them has led to \
        (same port). Or within one call, or one minute without one, it goes to 10 ports of one host, or \
        to one port of 10 such addresses.",
    explained_by: &[
        "a launcher that is still on the way to the server",
        "a host or address named by the server's configuration, command line or environment entries",
        "`allow.egress` of the server's settings, with the address or the name that was asked for",
        "the machine's own name servers on port 53",
        "for a single connection: a service of this machine that no argument names",
    ],
    playbook: "Check first: who wrote the URL, the user or a text the model had read, and what did the answer \
        hold? Look at what listens at the address: its log shows what was asked. For a sweep, take what \
        it found as known to whoever asked. Let tools that fetch run where they reach the internet only; \
        a service that the server is made for is named in `allow.egress`.",
    yields_to: &["metadata_access"],
};

/// Ports of one host, or internal hosts at one port, that make a sweep.
const SWEEP: usize = 10;
/// How long connections without a call are counted together, in nanoseconds.
const WINDOW: u64 = 60_000_000_000;
/// Most calls (and servers without one) that are counted at a time; the oldest gives way.
const SWEEPS: usize = 128;
/// Most hosts, and most ports, that are counted in one of them.
const COUNTED: usize = 64;

/// Where one call, or a server without one, went.
#[derive(Debug)]
struct Sweep {
    server: String,
    /// Number of the call; 0 for none.
    call: u64,
    since: u64,
    /// Ports by host, at most [`SWEEP`] each.
    ports: BTreeMap<IpAddr, BTreeSet<u16>>,
    /// Internal hosts by port, at most [`SWEEP`] each.
    hosts: BTreeMap<u16, BTreeSet<IpAddr>>,
}

/// The rule.
struct InternalProbe {
    /// The oldest first.
    sweeps: VecDeque<Sweep>,
}

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(InternalProbe { sweeps: VecDeque::new() }))
}

impl Rule for InternalProbe {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, _knowledge: &mut Knowledge) -> Option<Finding> {
        let Action::Net(net) = effect.action else { return None };
        let endpoint = target(net).filter(|_| is_probe(net))?;
        if is_explained(effect, endpoint) {
            return None;
        }
        if is_internal(endpoint.ip())
            && let Some(asked) = asked_for(effect, endpoint)
        {
            let did = format!(
                "went to {endpoint}, which only this machine or its network can reach and to which {} led,",
                quote(&asked)
            );
            let about = vec![evidence("requested", &asked)];
            return destination::finding(&INFO, effect, endpoint, &did, about);
        }
        let (did, object) = self.sweep(effect, endpoint)?;
        let finding = destination::finding(&INFO, effect, endpoint, &did, Vec::new())?;
        Some(Finding { object, ..finding })
    }

    fn forget(&mut self, server: &str) {
        self.sweeps.retain(|sweep| sweep.server != server);
    }
}

impl InternalProbe {
    /// Counts a destination; what was done and its object, when it makes a sweep.
    fn sweep(&mut self, effect: &Effect<'_>, endpoint: SocketAddr) -> Option<(String, String)> {
        let (address, port) = (endpoint.ip(), endpoint.port());
        let server = &effect.server.id;
        // What outlived its call goes on without one.
        let call = effect.attribution.call().filter(|_| !effect.attribution.outlived);
        let call = call.map_or(0, |call| call.number);
        let known = self.sweeps.iter().position(|one| one.call == call && one.server == *server);
        let at = if let Some(at) = known {
            at
        } else {
            if self.sweeps.len() >= SWEEPS {
                self.sweeps.pop_front();
            }
            let (ports, hosts) = (BTreeMap::new(), BTreeMap::new());
            let since = effect.time;
            self.sweeps.push_back(Sweep { server: server.clone(), call, since, ports, hosts });
            self.sweeps.len() - 1
        };
        let sweep = self.sweeps.get_mut(at)?;
        if call == 0 && effect.time.saturating_sub(sweep.since) > WINDOW {
            sweep.since = effect.time;
            sweep.ports.clear();
            sweep.hosts.clear();
        }
        if count(&mut sweep.ports, address, port) {
            let did = format!("went to {SWEEP} and more ports of {address}, the last {port},");
            return Some((did, format!("ports of {address}")));
        }
        if is_internal(address) && count(&mut sweep.hosts, port, address) {
            let did = format!(
                "went to port {port} of {SWEEP} and more internal hosts, the last {address},"
            );
            return Some((did, format!("hosts at port {port}")));
        }
        None
    }
}

/// Counts `what` of `whose`; true from [`SWEEP`] different ones on, for each new one.
fn count<K: Ord, V: Ord>(counted: &mut BTreeMap<K, BTreeSet<V>>, whose: K, what: V) -> bool {
    if counted.len() >= COUNTED && !counted.contains_key(&whose) {
        return false;
    }
    let seen = counted.entry(whose).or_default();
    if seen.contains(&what) {
        return false;
    }
    // One more than is kept is as new as the last.
    if seen.len() + 1 < SWEEP {
        seen.insert(what);
        return false;
    }
    true
}

/// A datagram socket's connect sends nothing: the C library makes one for each address of a name to
/// sort them.
fn is_probe(net: &Net) -> bool {
    net.operation == NetOperation::Send || !is_datagram(net)
}

/// The argument of the call that led to the endpoint: it names it, or is a URL with another name and the
/// same port.
fn asked_for(effect: &Effect<'_>, endpoint: SocketAddr) -> Option<String> {
    if let Some(matched) = &effect.attribution.matched {
        let host = url::Url::parse(matched).ok().and_then(|url| url.host_str().map(str::to_owned));
        let known = host
            .as_ref()
            .is_some_and(|host| is_given(effect.given, endpoint, std::slice::from_ref(host)));
        return (!known).then(|| matched.clone());
    }
    let calls = effect.attribution.candidates.iter().map(|(call, _)| call);
    calls.filter_map(|call| call.arguments.as_ref()).find_map(|arguments| {
        let mut left = STRINGS;
        url_to(arguments, effect, endpoint, 0, &mut left)
    })
}

/// Most strings of one call's arguments that are looked at for a URL, and how deep.
const STRINGS: usize = 256;
const DEPTH: usize = 32;

/// A URL among the arguments with a host name (no address) and the endpoint's port.
fn url_to(
    value: &Value,
    effect: &Effect<'_>,
    endpoint: SocketAddr,
    depth: usize,
    left: &mut usize,
) -> Option<String> {
    if depth > DEPTH || *left == 0 {
        return None;
    }
    match value {
        Value::String(text) => {
            *left -= 1;
            let text = text.trim();
            if text.len() > 4096 || !text.contains("://") {
                return None;
            }
            let url = url::Url::parse(text).ok()?;
            let Some(url::Host::Domain(host)) = url.host() else { return None };
            (url.port_or_known_default() == Some(endpoint.port())
                && !is_given(effect.given, endpoint, &[host.to_owned()]))
            .then(|| text.to_owned())
        }
        Value::Array(items) => {
            items.iter().find_map(|item| url_to(item, effect, endpoint, depth + 1, left))
        }
        Value::Object(fields) => {
            fields.values().find_map(|item| url_to(item, effect, endpoint, depth + 1, left))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::detect::tests::{Scene, connect, datagram, detector, send};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const PROBE: (&str, Severity) = ("internal_probe", Severity::High);

    /// A call that was given this URL; `matched` when the URL names the destination.
    fn fetching(url: &str, matched: bool) -> Scene {
        let mut scene = Scene::new(if matched { Requested } else { Covert });
        let (call, _) = &mut scene.attribution.candidates[0];
        Arc::make_mut(call).arguments = Some(json!({"request": {"url": url, "retries": 3}}));
        scene.attribution.matched = matched.then(|| url.to_owned());
        scene
    }

    #[test]
    fn a_requested_address_inside_fires() {
        for to in [
            "127.0.0.1:8080",
            "0.0.0.0:80",
            "[::1]:6379",
            "10.1.2.3:80",
            "192.168.1.1:443",
            "169.254.7.7:80",
            "100.64.0.1:80",
            "[fd00::1]:80",
        ] {
            let scene = fetching(&format!("http://{to}/admin"), true);
            assert_eq!(scene.found(Action::Net(&connect(to))), [PROBE], "{to}");
            assert_eq!(scene.found(Action::Net(&send(to))), [PROBE], "{to}");
        }
        let outside = fetching("http://203.0.113.7/", true);
        let found = outside.found(Action::Net(&connect("203.0.113.7:80")));
        assert_eq!(found, [("unexpected_egress", Severity::Info)]);
    }

    #[test]
    fn a_name_that_leads_inside_fires() {
        for (url, to, fires) in [
            ("http://rebind.example/x", "127.0.0.1:80", true),
            ("https://rebind.example/x", "10.0.0.8:443", true),
            ("http://rebind.example:8080/x", "[::1]:8080", true),
            ("http://rebind.example/x", "127.0.0.1:6379", false),
            ("http://203.0.113.7/x", "127.0.0.1:80", false),
            ("no url", "127.0.0.1:80", false),
        ] {
            let found = fetching(url, false).found(Action::Net(&connect(to)));
            assert_eq!(found.contains(&PROBE), fires, "{url} {to}: {found:?}");
        }
        let finding = fetching("http://rebind.example/x", false)
            .findings(Action::Net(&connect("127.0.0.1:80")))
            .remove(0);
        assert_eq!(
            finding.reason,
            "Server files went to 127.0.0.1:80, which only this machine or its network can reach \
             and to which http://rebind.example/x led, during tools/call `weather` (JSON-RPC id 7), \
             whose arguments do not mention it."
        );
    }

    #[test]
    fn services_of_the_machine_and_what_is_given_are_silent() {
        for relation in [Covert, Background, Startup] {
            for to in ["127.0.0.1:5432", "[::1]:6379", "127.0.0.53:53"] {
                assert_eq!(Scene::new(relation).found(Action::Net(&connect(to))), [], "{to}");
            }
        }
        let to = connect("127.0.0.1:80");
        for pattern in ["127.0.0.1:80", "127.0.0.0/8", "app.internal", "*.internal"] {
            for matched in [true, false] {
                let mut scene = fetching("http://app.internal/x", matched);
                scene.given.allow.egress = vec![pattern.into()];
                assert_eq!(scene.found(Action::Net(&to)), [], "{pattern}");
            }
        }
        // The C library sorts the addresses of a name.
        let sorting = fetching("http://rebind.example/x", false);
        assert_eq!(sorting.found(Action::Net(&datagram("127.0.0.1:80"))), []);
    }

    #[test]
    fn the_metadata_service_is_another_matter() {
        let scene = fetching("http://169.254.169.254/", true);
        let found = scene.found(Action::Net(&connect("169.254.169.254:80")));
        assert_eq!(found, [("metadata_access", Severity::Critical)]);
    }

    #[test]
    fn sweeps_of_ports_and_of_hosts_fire_from_the_tenth_on() {
        for relation in [Covert, Background, Startup] {
            let mut detector = detector();
            let scene = Scene::new(relation);
            for port in 1..=12 {
                let to = connect(&format!("127.0.0.1:{port}"));
                let found = scene.found_by(&mut detector, Action::Net(&to));
                assert_eq!(found.contains(&PROBE), port >= 10, "{relation:?} {port}");
                // The same again is no further port.
                if port < 10 {
                    assert_eq!(scene.found_by(&mut detector, Action::Net(&to)), []);
                }
            }
            for host in 1..=12 {
                let to = connect(&format!("10.0.0.{host}:22"));
                let found = scene.found_by(&mut detector, Action::Net(&to));
                let expected =
                    if host >= 10 { PROBE } else { ("unexpected_egress", Severity::High) };
                assert_eq!(found[0], expected, "{relation:?} {host}");
            }
        }
    }

    #[test]
    fn many_hosts_of_the_internet_are_no_sweep_and_calls_count_apart() {
        let mut detector = detector();
        let scene = Scene::new(Covert);
        for host in 1..=50 {
            let to = connect(&format!("203.0.113.{host}:443"));
            let found = scene.found_by(&mut detector, Action::Net(&to));
            assert_eq!(found, [("unexpected_egress", Severity::High)]);
        }
        for number in 1..=50 {
            let mut scene = Scene::new(Covert);
            Arc::make_mut(&mut scene.attribution.candidates[0].0).number = number;
            let to = connect(&format!("127.0.0.1:{number}"));
            assert_eq!(scene.found_by(&mut detector, Action::Net(&to)), []);
        }
        for (number, outlived) in (1..=50_u64).zip([false; 25].into_iter().chain([true; 25])) {
            let mut scene = Scene::new(if outlived { Covert } else { Background });
            scene.attribution.outlived = outlived;
            scene.time = number * WINDOW / 5;
            let to = connect(&format!("127.0.0.1:{number}"));
            let found = scene.found_by(&mut detector, Action::Net(&to));
            assert!(!found.contains(&PROBE), "{number}");
        }
    }

    #[test]
    fn what_is_counted_is_bounded_and_forgotten_with_the_server() {
        let mut rule = InternalProbe { sweeps: VecDeque::new() };
        let mut scene = Scene::new(Covert);
        for number in 0..10 * SWEEPS as u64 {
            Arc::make_mut(&mut scene.attribution.candidates[0].0).number = number;
            for port in 0..u16::try_from(2 * COUNTED).unwrap() {
                let endpoint = SocketAddr::from(([10, 0, 0, 1], port));
                rule.sweep(&scene.effect(Action::Net(&connect("10.0.0.1:1"))), endpoint);
            }
        }
        assert_eq!(rule.sweeps.len(), SWEEPS);
        assert!(rule.sweeps.iter().all(|sweep| sweep.hosts.len() <= COUNTED));
        rule.forget("another");
        assert_eq!(rule.sweeps.len(), SWEEPS);
        rule.forget("server-1");
        assert!(rule.sweeps.is_empty());
    }
}
