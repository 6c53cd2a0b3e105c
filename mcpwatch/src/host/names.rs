//! Names of addresses, from the host's own files. Pure; what DNS answers say is not known here.

use std::collections::HashMap;
use std::net::IpAddr;

/// Most names and resolvers taken from one file.
const ENTRIES: usize = 10_000;

/// Names by address and the host's resolvers.
#[derive(Clone, Debug, Default)]
pub struct Names {
    by_address: HashMap<IpAddr, Vec<String>>,
    resolvers: Vec<IpAddr>,
}

impl Names {
    /// Reads the texts of `/etc/hosts` and `/etc/resolv.conf`; lines that are neither are passed over, as the
    /// resolver does.
    #[must_use]
    pub fn new(hosts: &str, resolv_conf: &str) -> Self {
        let mut names = Self::default();
        for line in hosts.lines().take(ENTRIES) {
            let line = line.split('#').next().unwrap_or_default();
            let mut words = line.split_whitespace();
            let Some(address) = words.next().and_then(|word| word.parse::<IpAddr>().ok()) else {
                continue;
            };
            names
                .by_address
                .entry(address.to_canonical())
                .or_default()
                .extend(words.map(str::to_owned));
        }
        for line in resolv_conf.lines().take(ENTRIES) {
            let mut words = line.split_whitespace();
            if words.next() == Some("nameserver")
                // An address of a link names the interface, too: `fe80::1%wlan0`.
                && let Some(word) = words.next()
                && let Ok(address) = word.split('%').next().unwrap_or(word).parse::<IpAddr>()
            {
                names.resolvers.push(address.to_canonical());
            }
        }
        names
    }

    /// Names an address is known by.
    #[must_use]
    pub fn of(&self, address: IpAddr) -> &[String] {
        self.by_address.get(&address).map_or(&[], Vec::as_slice)
    }

    /// The host's name servers.
    #[must_use]
    pub fn resolvers(&self) -> &[IpAddr] {
        &self.resolvers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_resolvers_of_ordinary_files() {
        let names = Names::new(
            "127.0.0.1 localhost\n# comment\n203.0.113.7 api.example api # tail\nnonsense here\n",
            "search x\nnameserver 192.0.2.53\nnameserver fe80::1%eth0\n",
        );
        assert_eq!(names.of("203.0.113.7".parse().unwrap()), ["api.example", "api"]);
        assert_eq!(names.of("203.0.113.8".parse().unwrap()), [""; 0]);
        assert_eq!(
            names.resolvers(),
            ["192.0.2.53", "fe80::1"].map(|address| address.parse::<IpAddr>().unwrap())
        );
    }
}
