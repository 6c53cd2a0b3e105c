//! `mcpwatch servers`: what would be watched now, and on what evidence. Needs neither BPF nor root; what
//! it may not read is said.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Context;
use serde::Serialize;

use crate::config::Config;
use crate::discover::evidence::Standing;
use crate::discover::explicit::{Clients, Explicit};
use crate::discover::scan::{Change, Places, Watcher};
use crate::discover::survey::{Found, Known, survey};
use crate::discover::{ConfigError, ConfiguredServer, ConfiguredServers};
use crate::host::containers::known::Containers;
use crate::host::containers::shown;
use crate::host::snapshot::{self, ProcessSnapshot};
use crate::output::escape::Escaped;
use crate::record::{Evidence, EvidenceKind};

/// Arguments of `mcpwatch servers`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
    /// Look at this process and its descendants only
    #[arg(long, value_name = "PID")]
    pub descendants_of: Option<u32>,
    /// Settings file [default: /etc/mcpwatch/mcpwatch.toml, when it is there]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
}

/// What is printed: with `--json` as it stands here.
#[derive(Debug, Serialize)]
struct Report<'a> {
    /// Servers and candidates that are children of a known client.
    servers: Vec<Shown<'a>>,
    /// Servers of configurations that no running process was started from.
    configured: Vec<Configured<'a>>,
    /// What could not be read or understood.
    warnings: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Shown<'a> {
    name: &'a str,
    standing: &'static str,
    score: u8,
    pid: u32,
    pids: Vec<u32>,
    exe: &'a str,
    argv: &'a [String],
    uid: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    client: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    config_path: Option<&'a str>,
    evidence: &'a [Evidence],
}

#[derive(Debug, Serialize)]
struct Configured<'a> {
    name: &'a str,
    client: &'a str,
    config_path: &'a str,
    transport: &'static str,
}

fn no_process(pid: u32) -> String {
    format!("there is no process {pid}: name a running one with --descendants-of")
}

/// Runs the command. `rules` are the ids of all rules, which the settings may name.
pub fn run(args: &Args, rules: &[&str]) -> anyhow::Result<()> {
    let config = Config::load(args.config.as_deref(), rules)?;
    let explicit = Explicit::new(&config.servers).context("[[server]]")?;
    let clients = Clients::new(&config.discovery.clients).context("[[discovery.client]]")?;
    let root = match args.descendants_of {
        Some(pid) => Some(snapshot::key_of(pid).with_context(|| no_process(pid))?),
        None => None,
    };
    let processes = snapshot::read_all(root);
    if let Some(pid) = args.descendants_of.filter(|_| processes.is_empty()) {
        anyhow::bail!(no_process(pid));
    }
    let limited = args.descendants_of.is_some();
    let places = Places::around(&config.discovery, &clients, &processes, limited);
    let mut warnings: Vec<ConfigError> = Vec::new();
    let configured = read(places, &mut warnings);
    let configs = configured.servers();
    let containers = if explicit.asks_for_container() {
        containers_of(&processes)
    } else {
        Containers::default()
    };
    let known = Known { configs, explicit: &explicit, clients: &clients, containers: &containers };
    let found = survey(&processes, known);
    let mut warnings: Vec<String> = warnings.iter().map(ToString::to_string).collect();
    warnings.extend(hidden(&processes));
    let report = report(&processes, configs, &found, warnings);
    let mut out = std::io::stdout().lock();
    let written = if args.json {
        let text = serde_json::to_string_pretty(&report).context("the report as JSON")?;
        writeln!(out, "{text}")
    } else {
        out.write_all(text(&report).as_bytes())
    };
    match written.and_then(|()| out.flush()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("the report to stdout"),
    }
}

fn read(places: Places, warnings: &mut Vec<ConfigError>) -> ConfiguredServers {
    let mut configured = ConfiguredServers::default();
    let Ok(()) = Watcher::new(places).poll(|change| {
        match change {
            Change::Read(file) => match file.parse() {
                Ok(parsed) => {
                    warnings.extend(parsed.warnings);
                    let left_out = configured.replace(&file.path, &file.owner, parsed.servers);
                    warnings.extend(left_out);
                }
                Err(error) => warnings.push(error),
            },
            Change::Unread(error) => warnings.push(error),
            Change::Removed(_) => {}
        }
        Ok::<(), Infallible>(())
    });
    configured
}

fn containers_of(processes: &[ProcessSnapshot]) -> Containers {
    let host = shown::Host::here();
    let mut containers = Containers::default();
    let cgroups: BTreeSet<&str> = processes.iter().map(|one| one.cgroup.as_str()).collect();
    for cgroup in cgroups {
        if let Some(container) = host.container(cgroup) {
            containers.insert(cgroup, container);
        }
    }
    containers
}

fn hidden(processes: &[ProcessSnapshot]) -> Option<String> {
    let count = processes.iter().filter(|process| process.hidden).count();
    (count > 0).then(|| {
        format!(
            "the channels of {count} of {} processes cannot be read, servers among them may be \
             missing; root with CAP_SYS_PTRACE sees them",
            processes.len()
        )
    })
}

fn report<'a>(
    processes: &'a [ProcessSnapshot],
    configs: &'a [ConfiguredServer],
    found: &'a [Found],
    warnings: Vec<String>,
) -> Report<'a> {
    let by_parent =
        |one: &Found| one.verdict.evidence.iter().any(|piece| piece.kind == EvidenceKind::Parent);
    let mut servers: Vec<Shown<'a>> = found
        .iter()
        // Every pipe between two programs makes a candidate: those without any evidence are no news.
        .filter(|one| one.verdict.standing == Standing::Server || by_parent(one))
        .filter_map(|one| shown(processes, one))
        .collect();
    servers.sort_by_key(|server| (std::cmp::Reverse(server.standing), server.pid));
    let running: BTreeSet<(&str, &str)> = found
        .iter()
        .filter_map(|one| one.config.as_ref())
        .map(|config| (config.config_path.as_str(), config.name.as_str()))
        .collect();
    let configured = configs
        .iter()
        .filter(|config| !running.contains(&(config.config_path.as_str(), config.name.as_str())))
        .map(|config| Configured {
            name: &config.name,
            client: &config.client,
            config_path: &config.config_path,
            transport: if config.command.is_some() { "stdio" } else { "http" },
        })
        .collect();
    Report { servers, configured, warnings }
}

fn shown<'a>(processes: &'a [ProcessSnapshot], found: &'a Found) -> Option<Shown<'a>> {
    let root = processes.get(found.root)?;
    let verdict = &found.verdict;
    Some(Shown {
        name: &verdict.name,
        standing: verdict.standing.name(),
        score: verdict.score,
        pid: root.pid,
        pids: found
            .members
            .iter()
            .filter_map(|&member| processes.get(member))
            .map(|process| process.pid)
            .collect(),
        exe: &root.exe,
        argv: &root.argv,
        uid: root.uid,
        version: verdict.version.as_deref(),
        client: verdict.client.as_deref(),
        config_path: verdict.config_path.as_deref(),
        evidence: &verdict.evidence,
    })
}

fn text(report: &Report<'_>) -> String {
    let mut lines = Vec::new();
    if report.servers.is_empty() {
        lines.push("No MCP server is running.".to_owned());
    }
    for server in &report.servers {
        let optional = |before: &str, text: Option<&str>| {
            text.map(|text| format!("{before}{}", safe(text))).unwrap_or_default()
        };
        lines.push(format!(
            "{}{}  {} (score {}), pid {}{}",
            safe(server.name),
            optional(" ", server.version),
            server.standing,
            server.score,
            server.pid,
            optional(", client ", server.client),
        ));
        lines.push(format!("    {}", command_line(server.argv)));
        for piece in server.evidence {
            lines.push(format!("    {}: {}", piece.kind.name(), safe(&piece.detail)));
        }
    }
    if !report.configured.is_empty() {
        lines.push(String::new());
        lines.push("Configured, not running:".to_owned());
    }
    for configured in &report.configured {
        lines.push(format!(
            "    {} ({}, {}) in {}",
            safe(configured.name),
            configured.transport,
            safe(configured.client),
            Escaped::path(configured.config_path, MAX_TEXT),
        ));
    }
    if !report.warnings.is_empty() {
        lines.push(String::new());
    }
    lines.extend(report.warnings.iter().map(|text| format!("warning: {}", safe(text))));
    lines.push(String::new());
    lines.join("\n")
}

/// Most characters shown of one name or path, and of one word of a command line.
const MAX_TEXT: usize = 240;
/// Most words shown of one command line.
const MAX_WORDS: usize = 24;

/// Names and paths come from others: what would steer a terminal, turn text around or hide is escaped.
fn safe(text: &str) -> Escaped<'_> {
    Escaped::new(text, MAX_TEXT)
}

fn command_line(argv: &[String]) -> String {
    let mut words: Vec<String> =
        argv.iter().take(MAX_WORDS).map(|word| Escaped::word(word, MAX_TEXT).to_string()).collect();
    if argv.len() > MAX_WORDS {
        words.push("…".to_owned());
    }
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_names_do_not_reach_the_terminal() {
        let config = ConfiguredServer {
            name: "a\u{1b}[2Jb\u{202e}c\nd".into(),
            ..ConfiguredServer::default()
        };
        let report = report(&[], std::slice::from_ref(&config), &[], vec!["e\u{7}".into()]);
        let text = text(&report);
        assert!(!text.contains(['\u{1b}', '\u{202e}', '\u{7}']), "{text}");
        assert_eq!(text.lines().count(), 6, "{text}");
    }

    #[test]
    fn long_command_lines_are_cut() {
        let words = vec!["ä".repeat(1000); 1000];
        let line = command_line(&words);
        assert!(line.chars().count() <= MAX_WORDS * (MAX_TEXT + 4), "{}", line.len());
        assert!(line.ends_with('…'));
    }

    #[test]
    fn a_server_is_shown_with_its_evidence_and_what_is_not_running_apart() {
        let config = |name: &str, args: &[&str]| ConfiguredServer {
            name: name.into(),
            command: Some("srv".into()),
            args: args.iter().map(|&arg| arg.to_owned()).collect(),
            config_path: "/h/.cursor/mcp.json".into(),
            client: "cursor".into(),
            ..ConfiguredServer::default()
        };
        let configs = [config("one", &["x"]), config("two", &["y"])];
        let processes = [ProcessSnapshot {
            pid: 7,
            ppid: 1,
            exe: "/bin/srv".into(),
            argv: vec!["srv".into(), "x".into()],
            ..ProcessSnapshot::default()
        }];
        let (explicit, clients) = (Explicit::default(), Clients::default());
        let containers = Containers::default();
        let known = Known {
            configs: &configs,
            explicit: &explicit,
            clients: &clients,
            containers: &containers,
        };
        let found = survey(&processes, known);
        let report = report(&processes, &configs, &found, vec!["careful".into()]);
        assert_eq!(
            text(&report),
            "one  server (score 80), pid 7, client cursor\n    srv x\n    config: one in \
             /h/.cursor/mcp.json\n\nConfigured, not running:\n    two (stdio, cursor) in \
             /h/.cursor/mcp.json\n\nwarning: careful\n"
        );
        let json = serde_json::to_value(&report).unwrap();
        assert_eq!(json["servers"][0]["evidence"][0]["kind"], "config");
        assert_eq!(json["configured"][0]["name"], "two");
    }
}
