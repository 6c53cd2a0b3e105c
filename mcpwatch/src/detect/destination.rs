//! Where traffic goes: what counts as leaving the machine or as internal, what rules about it have in
//! common, and patterns of destinations (`HOST`, `HOST:PORT`, `*.DOMAIN`, `ADDRESS/PREFIX`).

use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;

use super::reason::{cause, circumstances, evidence, server};
use super::{Effect, Finding, Given, RuleInfo};
use crate::event::{Net, NetOperation};
use crate::record::AlertEvidence;

/// Port of name service.
const DNS: u16 = 53;
/// Most names of an address in an alert.
const NAMES: usize = 4;

/// Where an effect sends something, or opens the way to. `None` for everything else: other operations and
/// families, and datagram sockets connected to port 0, by which the C library asks for its own address
/// and which sends nothing (ICMP has no ports, and sends).
#[must_use]
pub fn target(net: &Net) -> Option<SocketAddr> {
    if !matches!(net.operation, NetOperation::Connect | NetOperation::Send) {
        return None;
    }
    let endpoint = net.endpoint?;
    let has_ports = !matches!(i32::from(net.protocol), libc::IPPROTO_ICMP | libc::IPPROTO_ICMPV6);
    let asks_own_address = net.operation == NetOperation::Connect
        && is_datagram(net)
        && endpoint.port() == 0
        && has_ports;
    (!asks_own_address).then_some(endpoint)
}

/// The [`target`] when it lies beyond this machine.
#[must_use]
pub fn beyond_host(net: &Net) -> Option<SocketAddr> {
    target(net).filter(|endpoint| !is_this_host(endpoint.ip()))
}

/// A datagram socket.
#[must_use]
pub fn is_datagram(net: &Net) -> bool {
    i32::from(net.socket_type) == libc::SOCK_DGRAM
}

/// Loopback; the kernel takes the unspecified address for it.
fn is_this_host(address: IpAddr) -> bool {
    address.is_loopback() || address.is_unspecified()
}

/// An address nobody on the internet can reach: this machine's own, those of its link, of private networks
/// (RFC 1918, RFC 4193) and of networks shared behind a provider's translation (RFC 6598).
#[must_use]
pub fn is_internal(address: IpAddr) -> bool {
    is_this_host(address)
        || match address {
            IpAddr::V4(v4) => {
                let [a, b, ..] = v4.octets();
                v4.is_private() || v4.is_link_local() || (a == 100 && b & 0xc0 == 64)
            }
            IpAddr::V6(v6) => v6.is_unicast_link_local() || v6.is_unique_local(),
        }
}

/// What the rules about destinations find: `did` says what, up to how it came about; `about` is evidence
/// beside the address and its names.
#[must_use]
pub fn finding(
    info: &'static RuleInfo,
    effect: &Effect<'_>,
    endpoint: SocketAddr,
    did: &str,
    about: Vec<AlertEvidence>,
) -> Option<Finding> {
    let severity = info.severities.of(effect.attribution.relation)?;
    let object = endpoint.to_string();
    let mut found = vec![evidence("address", &object)];
    found.extend(about);
    found.extend(effect.names.iter().take(NAMES).map(|name| evidence("name", name)));
    found.extend(
        effect.claims.iter().take(NAMES).map(|claim| {
            evidence("claimed_name", &format!("{} (says {})", claim.name, claim.from))
        }),
    );
    circumstances(effect, &mut found);
    let reason = format!("Server {} {did} {}.", server(effect), cause(effect));
    Some(Finding { rule: info.id, severity, reason, evidence: found, object })
}

/// Whether launch, configuration, settings or name service explain that the server of `effect` goes
/// to `endpoint`.
#[must_use]
pub fn is_explained(effect: &Effect<'_>, endpoint: SocketAddr) -> bool {
    let given = effect.given;
    effect.launching
        || (endpoint.port() == DNS && given.resolvers.contains(&endpoint.ip()))
        || is_given(given, endpoint, effect.names)
}

/// Whether launch, configuration or settings name `endpoint`, whose address is known by `names`.
#[must_use]
pub fn is_given(given: &Given, endpoint: SocketAddr, names: &[String]) -> bool {
    given
        .allow
        .egress
        .iter()
        .chain(&given.hosts)
        .filter_map(|pattern| pattern.parse::<Pattern>().ok())
        .any(|pattern| pattern.matches(endpoint, names))
}

/// Whether the settings allow this very address (not just a network or a name it is in).
#[must_use]
pub fn is_allowed_exactly(given: &Given, endpoint: SocketAddr) -> bool {
    given
        .allow
        .egress
        .iter()
        .filter_map(|pattern| pattern.parse::<Pattern>().ok())
        .any(|pattern| pattern.is_one_address() && pattern.matches(endpoint, &[]))
}

/// Destinations a server may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    host: Host,
    port: Option<u16>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// An address and the length of its prefix.
    Network(IpAddr, u8),
    /// A name, in lower case.
    Name(String),
    /// Everything below a domain, in lower case with the leading dot.
    Domain(String),
}

/// Why a text is no [`Pattern`].
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{text:?} is no destination: expected HOST, HOST:PORT, *.DOMAIN or ADDRESS/PREFIX")]
pub struct PatternError {
    text: String,
}

impl Pattern {
    /// Whether traffic to `endpoint`, whose address is known by `names`, is meant.
    #[must_use]
    pub fn matches(&self, endpoint: SocketAddr, names: &[String]) -> bool {
        if self.port.is_some_and(|port| port != endpoint.port()) {
            return false;
        }
        let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
        match &self.host {
            Host::Network(network, prefix) => in_network(endpoint.ip(), *network, *prefix),
            Host::Name(host) => names.iter().any(|name| plain(name) == *host),
            Host::Domain(domain) => names.iter().any(|name| {
                let name = plain(name);
                name.ends_with(domain.as_str()) && name.len() > domain.len()
            }),
        }
    }

    /// Whether this very name, in lower case, is meant, at whatever port.
    #[must_use]
    pub fn names(&self, name: &str) -> bool {
        match &self.host {
            Host::Network(..) => false,
            Host::Name(host) => name == host,
            Host::Domain(domain) => name.ends_with(domain.as_str()) && name.len() > domain.len(),
        }
    }

    fn is_one_address(&self) -> bool {
        match self.host {
            Host::Network(IpAddr::V4(_), prefix) => prefix == 32,
            Host::Network(IpAddr::V6(_), prefix) => prefix == 128,
            Host::Name(_) | Host::Domain(_) => false,
        }
    }
}

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || PatternError { text: super::reason::quote(text).into_owned() };
        let text = text.trim();
        if let Ok(address) = text.parse::<IpAddr>() {
            return Ok(Self { host: whole(address), port: None });
        }
        if let Ok(endpoint) = text.parse::<SocketAddr>() {
            return Ok(Self { host: whole(endpoint.ip()), port: Some(endpoint.port()) });
        }
        if let Some((network, prefix)) = text.split_once('/') {
            let network = network.parse::<IpAddr>().map_err(|_| error())?;
            let prefix = prefix.parse::<u8>().map_err(|_| error())?;
            let bits = if network.is_ipv4() { 32 } else { 128 };
            return if prefix <= bits {
                Ok(Self { host: Host::Network(network, prefix), port: None })
            } else {
                Err(error())
            };
        }
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        if let Some(address) = bare {
            let address = address.parse::<IpAddr>().map_err(|_| error())?;
            return Ok(Self { host: whole(address), port: None });
        }
        let (host, port) = match text.split_once(':') {
            Some((host, port)) => (host, Some(port.parse().map_err(|_| error())?)),
            None => (text, None),
        };
        let (host, domain) = match host.strip_prefix("*.") {
            Some(rest) => (rest, true),
            None => (host, false),
        };
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let letter = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
        if host.is_empty() || host.len() > 253 || !host.chars().all(letter) {
            return Err(error());
        }
        let host = if domain { Host::Domain(format!(".{host}")) } else { Host::Name(host) };
        Ok(Self { host, port })
    }
}

fn whole(address: IpAddr) -> Host {
    Host::Network(address, if address.is_ipv4() { 32 } else { 128 })
}

fn in_network(address: IpAddr, network: IpAddr, prefix: u8) -> bool {
    match (address, network) {
        (IpAddr::V4(address), IpAddr::V4(network)) => {
            let mask = u32::MAX.checked_shl(32 - u32::from(prefix.min(32))).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        (IpAddr::V6(address), IpAddr::V6(network)) => {
            let mask = u128::MAX.checked_shl(128 - u32::from(prefix.min(128))).unwrap_or(0);
            address.to_bits() & mask == network.to_bits() & mask
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{connect, datagram};

    #[test]
    fn asking_for_the_own_address_is_no_target_but_where_there_are_no_ports() {
        assert!(target(&connect("203.0.113.7:0")).is_some());
        let asks = datagram("203.0.113.7:0");
        assert_eq!(target(&asks), None);
        for protocol in [libc::IPPROTO_ICMP, libc::IPPROTO_ICMPV6] {
            let protocol = u16::try_from(protocol).unwrap();
            assert!(target(&Net { protocol, ..asks.clone() }).is_some(), "{protocol}");
        }
    }

    #[test]
    fn patterns_match_addresses_names_and_networks() {
        let names = ["Api.Example.com.".to_owned()];
        let table: &[(&str, &str, bool)] = &[
            ("203.0.113.7", "203.0.113.7:443", true),
            ("203.0.113.7", "203.0.113.8:443", false),
            ("203.0.113.7:443", "203.0.113.7:443", true),
            ("203.0.113.7:443", "203.0.113.7:80", false),
            ("203.0.113.0/24", "203.0.113.200:1", true),
            ("203.0.113.0/24", "203.0.114.1:1", false),
            ("0.0.0.0/0", "203.0.113.7:1", true),
            ("0.0.0.0/0", "[2001:db8::7]:1", false),
            ("::/0", "[2001:db8::7]:1", true),
            ("2001:db8::/32", "[2001:db8::7]:1", true),
            ("2001:db8::7", "[2001:db8::7]:1", true),
            ("[2001:db8::7]:443", "[2001:db8::7]:443", true),
            ("[2001:db8::7]", "[2001:db8::7]:443", true),
            ("api.example.com", "203.0.113.7:1", true),
            ("API.example.com:443", "203.0.113.7:443", true),
            ("api.example.com:443", "203.0.113.7:80", false),
            ("*.example.com", "203.0.113.7:1", true),
            ("*.example.com:1", "203.0.113.7:1", true),
            ("*.api.example.com", "203.0.113.7:1", false),
            ("example.com", "203.0.113.7:1", false),
            ("*.ample.com", "203.0.113.7:1", false),
        ];
        for (pattern, endpoint, expected) in table {
            let endpoint = endpoint.parse().unwrap();
            let pattern: Pattern = pattern.parse().unwrap();
            assert_eq!(pattern.matches(endpoint, &names), *expected, "{pattern:?} {endpoint}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_what_was_expected() {
        let long = "a".repeat(1 << 20);
        for text in [
            "",
            "*",
            "*.",
            "https://example.com",
            "1.2.3.4/33",
            "::/129",
            "a b",
            "host:port",
            "x/8",
            &long,
        ] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains("ADDRESS/PREFIX"), "{error}");
            assert!(error.len() < 1000);
        }
    }

    #[test]
    fn internal_addresses() {
        for address in [
            "127.0.0.1",
            "127.8.9.10",
            "0.0.0.0",
            "10.1.2.3",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "169.254.1.1",
            "100.64.0.1",
            "100.127.255.255",
            "::1",
            "::",
            "fe80::1",
            "fd00::1",
        ] {
            assert!(is_internal(address.parse().unwrap()), "{address}");
        }
        for address in
            ["203.0.113.7", "172.32.0.1", "100.128.0.1", "192.169.0.1", "2001:db8::7", "224.0.0.1"]
        {
            assert!(!is_internal(address.parse().unwrap()), "{address}");
        }
    }
}
