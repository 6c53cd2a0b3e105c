//! What the types of the settings cannot say: ranges, globs, patterns, names.

use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;

use super::error::{Step, nearest};
use super::{Allow, Config};

/// A value that is wrong.
pub(super) struct Wrong {
    pub(super) key: Vec<Step>,
    pub(super) message: String,
}

/// A number and what it may be.
struct Limit {
    key: &'static [&'static str],
    value: fn(&Config) -> u64,
    least: u64,
    most: u64,
    power_of_two: bool,
}

const LIMITS: &[Limit] = &[
    // The kernel wants a power of two and whole pages; below 64 KiB one message could fill the ring.
    Limit {
        key: &["capture", "ring_bytes"],
        value: |config| u64::from(config.capture.ring_bytes),
        least: 64 << 10,
        most: 1 << 30,
        power_of_two: true,
    },
    Limit {
        key: &["capture", "payload_limit"],
        value: |config| u64::from(config.capture.payload_limit),
        least: 4 << 10,
        most: 16 << 20,
        power_of_two: false,
    },
    Limit {
        key: &["capture", "detach_delay_ms"],
        value: |config| config.capture.detach_delay_ms,
        least: 0,
        most: 3_600_000,
        power_of_two: false,
    },
    Limit {
        key: &["discovery", "candidate_seconds"],
        value: |config| config.discovery.candidate_seconds,
        least: 1,
        most: 86_400,
        power_of_two: false,
    },
];

/// The first value that is wrong, if any.
pub(super) fn check(config: &Config, rules: &[&str]) -> Result<(), Wrong> {
    for limit in LIMITS {
        let value = (limit.value)(config);
        let fits = (limit.least..=limit.most).contains(&value);
        if !fits || (limit.power_of_two && !value.is_power_of_two()) {
            let what = if limit.power_of_two { "a power of two" } else { "a number" };
            let Limit { least, most, .. } = limit;
            let message = format!("expected {what} from {least} to {most}, found {value}");
            return Err(Wrong { key: limit.key.iter().map(|&key| named(key)).collect(), message });
        }
    }
    servers(config)?;
    discovery(config)?;
    for (index, rule) in config.rules.disable.iter().enumerate() {
        if !rules.contains(&rule.as_str()) {
            let message = match nearest(rule, rules.iter().copied()) {
                Some(near) => format!("unknown rule `{rule}`, did you mean `{near}`?"),
                None => format!("unknown rule `{rule}`; `mcpwatch rules list` shows them all"),
            };
            return Err(wrong(&["rules", "disable"], Some(index), message));
        }
    }
    for (index, pattern) in config.redact.patterns.iter().enumerate() {
        if let Err(error) = regex::Regex::new(pattern) {
            // The last line says what is wrong; those above draw where.
            let text = error.to_string();
            let why = text.lines().last().unwrap_or_default().trim_start_matches("error: ");
            let message = format!("expected a regular expression, found `{pattern}`: {why}");
            return Err(wrong(&["redact", "patterns"], Some(index), message));
        }
    }
    Ok(())
}

fn servers(config: &Config) -> Result<(), Wrong> {
    for (index, server) in config.servers.iter().enumerate() {
        let at = |keys: &[&str], element: Option<usize>, message: String| {
            let mut key = vec![named("server"), Step::Index(index)];
            key.extend(keys.iter().map(|&key| named(key)));
            key.extend(element.map(Step::Index));
            Wrong { key, message }
        };
        if server.name.is_empty() {
            return Err(at(&["name"], None, "expected a name".into()));
        }
        if server.pid == Some(0) {
            return Err(at(&["pid"], None, "expected a process id above 0".into()));
        }
        for (key, value) in
            [("exe", &server.exe), ("argv", &server.argv), ("cgroup", &server.cgroup)]
        {
            if let Some(Err(message)) = value.as_deref().map(glob) {
                return Err(at(&[key], None, message));
            }
        }
        if let Some(container) = &server.container {
            let all = container.globs();
            if container.label.is_empty() && all.iter().all(|(_, glob)| glob.is_none()) {
                let keys: Vec<String> = all.iter().map(|(key, _)| format!("`{key}`")).collect();
                let message = format!("expected at least one of `label`, {}", keys.join(", "));
                return Err(at(&["container"], None, message));
            }
            for (key, value) in all {
                if let Some(Err(message)) = value.map(glob) {
                    return Err(at(&["container", key], None, message));
                }
            }
            for (element, label) in container.label.iter().enumerate() {
                let (key, value) = label.split_once('=').unwrap_or((label, "*"));
                let wrong = if key.is_empty() {
                    Some(format!("expected KEY or KEY=GLOB, found `{label}`"))
                } else if value.is_empty() {
                    // A label may well be empty.
                    None
                } else {
                    glob(value).err()
                };
                if let Some(message) = wrong {
                    return Err(at(&["container", "label"], Some(element), message));
                }
            }
        }
        let Allow { exec, read, write, egress } = &server.allow;
        for (key, list) in [("exec", exec), ("read", read), ("write", write)] {
            for (element, value) in list.iter().enumerate() {
                glob(value).map_err(|message| at(&["allow", key], Some(element), message))?;
            }
        }
        for (element, value) in egress.iter().enumerate() {
            if !is_destination(value) {
                let message = format!(
                    "expected HOST, HOST:PORT, *.DOMAIN or ADDRESS/PREFIX, found `{value}`"
                );
                return Err(at(&["allow", "egress"], Some(element), message));
            }
        }
    }
    Ok(())
}

fn discovery(config: &Config) -> Result<(), Wrong> {
    let discovery = &config.discovery;
    for (key, paths) in [("homes", &discovery.homes), ("config_files", &discovery.config_files)] {
        for (index, path) in paths.iter().enumerate() {
            if !Path::is_absolute(path) {
                let message = format!("expected an absolute path, found `{}`", path.display());
                return Err(wrong(&["discovery", key], Some(index), message));
            }
        }
    }
    for (index, client) in discovery.clients.iter().enumerate() {
        let at = |key: &str, message: String| Wrong {
            key: vec![named("discovery"), named("client"), Step::Index(index), named(key)],
            message,
        };
        if client.name.is_empty() {
            return Err(at("name", "expected a name".into()));
        }
        if client.exe.is_empty() {
            let message = "expected a glob over the path of the client's program".into();
            return Err(at("exe", message));
        }
        glob(&client.exe).map_err(|message| at("exe", message))?;
    }
    Ok(())
}

fn named(key: &str) -> Step {
    Step::Key(key.to_owned())
}

fn wrong(keys: &[&str], index: Option<usize>, message: String) -> Wrong {
    let key = keys.iter().map(|&key| named(key)).chain(index.map(Step::Index)).collect();
    Wrong { key, message }
}

fn glob(text: &str) -> Result<(), String> {
    let expected = |why: &dyn Display| format!("expected a glob, found `{text}`: {why}");
    if text.is_empty() {
        return Err(expected(&"it is empty"));
    }
    globset::Glob::new(text).map(drop).map_err(|error| expected(error.kind()))
}

/// `HOST`, `HOST:PORT`, `*.DOMAIN`, `ADDRESS/PREFIX`; addresses of IPv6 with a port in brackets.
fn is_destination(text: &str) -> bool {
    if let Some((address, prefix)) = text.split_once('/') {
        let Ok(address) = address.parse::<IpAddr>() else { return false };
        let bits = if address.is_ipv4() { 32 } else { 128 };
        return prefix.parse::<u8>().is_ok_and(|prefix| prefix <= bits);
    }
    if text.parse::<IpAddr>().is_ok() {
        return true;
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (text, None),
    };
    if port.is_some_and(|port| port.parse::<u16>().is_err()) {
        return false;
    }
    if let Some(address) = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        return address.parse::<std::net::Ipv6Addr>().is_ok();
    }
    let name = host.strip_prefix("*.").unwrap_or(host);
    !name.is_empty()
        && name.split('.').all(|label| {
            !label.is_empty()
                && label.chars().all(|letter| letter.is_alphanumeric() || "-_".contains(letter))
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::destination::Pattern;

    #[test]
    fn destinations_are_hosts_addresses_and_networks() {
        for text in [
            "a.example",
            "a.example:443",
            "*.example",
            "*.example:443",
            "localhost",
            "10.0.0.0/8",
            "::1",
            "[::1]:80",
            "2001:db8::/32",
            "192.0.2.1:53",
            "bücher.example",
        ] {
            assert!(is_destination(text), "{text}");
            assert!(text.parse::<Pattern>().is_ok(), "{text}");
        }
        for text in [
            "",
            "*",
            "https://a",
            "a b",
            "a:",
            "a:99999",
            "10.0.0.0/33",
            "a/8",
            "a..b",
            "*.",
            "[::1",
            "a.*.b",
        ] {
            assert!(!is_destination(text), "{text}");
        }
    }
}
