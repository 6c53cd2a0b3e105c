//! What a server was given before any call: what its launch and its configuration name.

use std::collections::BTreeSet;

use crate::config::Allow;
use crate::detect::Given;
use crate::discover::client_config::ConfiguredServer;
use crate::host::names::Names;

use super::instance::OwnedProgram;

/// Most entries of each kind.
const ENTRIES: usize = 256;

/// Collects it from the programs on the channel and the configuration's entry.
#[must_use]
pub fn collect(
    programs: &[OwnedProgram],
    config: Option<&ConfiguredServer>,
    names: &Names,
    allow: Allow,
) -> Given {
    let mut given = empty(names, allow);
    // The first program was started by the client. Later ones were started by it: a wrapper passes on what it
    // was given, and whatever else stands there was not given by anybody.
    let first = programs.first();
    let words = first.into_iter().flat_map(|first| first.argv.iter().skip(1));
    let configured = config.into_iter().flat_map(|config| &config.args);
    let started_with: BTreeSet<&str> =
        words.chain(configured).take(ENTRIES).map(String::as_str).collect();
    for (index, program) in programs.iter().enumerate() {
        given.argv.extend(program.argv.iter().take(ENTRIES).cloned());
        for word in program.argv.iter().skip(1) {
            if index == 0 || started_with.contains(word.as_str()) {
                add(&mut given, word, &program.cwd);
            }
        }
    }
    if let Some(config) = config {
        let cwd = programs.first().map_or("/", |program| program.cwd.as_str());
        for word in config.args.iter().chain(config.env.values()).chain(&config.url) {
            add(&mut given, word, cwd);
        }
    }
    given.paths.sort_unstable();
    given.paths.dedup();
    given.paths.truncate(ENTRIES);
    given.hosts.sort_unstable();
    given.hosts.dedup();
    given.hosts.truncate(ENTRIES);
    given
}

/// Nothing but what the host and the settings give to every server.
#[must_use]
pub fn empty(names: &Names, allow: Allow) -> Given {
    Given { resolvers: names.resolvers().to_vec(), allow, ..Given::default() }
}

fn add(given: &mut Given, word: &str, cwd: &str) {
    let value = match word.split_once('=') {
        Some((flag, value)) if flag.starts_with('-') => value,
        _ => word,
    };
    if let Ok(url) = url::Url::parse(value)
        && let Some(host) = url.host_str()
    {
        given.hosts.push(host.trim_matches(['[', ']']).to_ascii_lowercase());
        return;
    }
    let path = value.strip_prefix("file://").unwrap_or(value);
    if path.starts_with('/') {
        given.paths.push(path.trim_end_matches('/').to_owned());
    } else if path.starts_with("./") || path.starts_with("../") || path == "." {
        given.paths.push(crate::event::decode::join(cwd, path));
    } else if let Some((host, port)) = value.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && !host.is_empty()
        && !host.contains(['/', ' '])
    {
        given.hosts.push(host.trim_matches(['[', ']']).to_ascii_lowercase());
    } else if value.parse::<std::net::IpAddr>().is_ok() || is_host_name(value) {
        given.hosts.push(value.to_ascii_lowercase());
    }
}

/// Looks like `api.example.com`; package names and versions do not.
fn is_host_name(word: &str) -> bool {
    let labels: Vec<&str> = word.split('.').collect();
    labels.len() >= 2
        && word.len() <= 253
        && labels.iter().all(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
        && labels
            .last()
            .is_some_and(|top| top.len() >= 2 && top.chars().all(|c| c.is_ascii_alphabetic()))
        && !matches!(
            labels.last(),
            Some(
                &("js"
                    | "mjs"
                    | "cjs"
                    | "ts"
                    | "py"
                    | "json"
                    | "toml"
                    | "yaml"
                    | "yml"
                    | "sh"
                    | "txt")
            )
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_hosts_of_a_launch() {
        let program = OwnedProgram {
            exe: "/usr/bin/node".into(),
            argv: [
                "node",
                "./server.js",
                "/srv/data/",
                "--root=/srv/more",
                "--api=https://api.example.com/v1",
                "db.internal:5432",
                "@scope/pkg@1.2",
                "read-only",
                "203.0.113.9",
            ]
            .map(str::to_owned)
            .to_vec(),
            cwd: "/work".into(),
        };
        let given = collect(&[program], None, &Names::default(), Allow::default());
        assert_eq!(given.paths, ["/srv/data", "/srv/more", "/work/server.js"]);
        assert_eq!(given.hosts, ["203.0.113.9", "api.example.com", "db.internal"]);
    }
}
