//! A snapshot of all processes → the servers running now. Pure: the same snapshot and configurations
//! give the same servers, at start and in a replay.

use std::collections::{HashMap, HashSet};

use super::client_config::ConfiguredServer;
use super::evidence::{Facts, Standing, Verdict, weigh};
use super::explicit::{Clients, Explicit, Subject};
use super::launcher::{self, Launch};
use super::matching::{Program, config_of};
use crate::host::containers::known::Containers;
use crate::host::snapshot::ProcessSnapshot;

/// All that a survey compares processes with.
#[derive(Clone, Copy, Debug)]
pub struct Known<'a> {
    /// What clients' configurations say.
    pub configs: &'a [ConfiguredServer],
    /// What the settings say.
    pub explicit: &'a Explicit,
    /// Which programs are clients.
    pub clients: &'a Clients,
    /// Which cgroups are containers.
    pub containers: &'a Containers,
}

/// A server, or a candidate, among running processes.
#[derive(Clone, Debug, PartialEq)]
pub struct Found {
    /// Index of its first process: the outermost wrapper, whose parent made the channel.
    pub root: usize,
    /// Indices of all its processes, the root first, parents before children.
    pub members: Vec<usize>,
    /// What it is, and why.
    pub verdict: Verdict,
    /// The configuration entry it was started from.
    pub config: Option<ConfiguredServer>,
    /// What its command line launches.
    pub launch: Option<Launch>,
}

/// Finds the servers and candidates in `processes`. Wrappers (`npx` → `sh` → `node`) are one server:
/// they share one channel. A server below a server is one of its own only when there is evidence for
/// that; anything else below a server belongs to it.
#[must_use]
pub fn survey(processes: &[ProcessSnapshot], known: Known<'_>) -> Vec<Found> {
    let tree = Tree::new(processes);
    let mut found: Vec<Found> = Vec::new();
    // Which entry of `found` a process belongs to.
    let mut owner: HashMap<usize, usize> = HashMap::new();
    for index in tree.parents_first() {
        let Some(process) = processes.get(index) else { continue };
        let parent = tree.parent(index);
        let parent_process = parent.and_then(|parent| processes.get(parent));
        let above = parent.and_then(|parent| owner.get(&parent)).copied();
        let client =
            parent_process.and_then(|parent| known.clients.name_of(&parent.exe, &parent.argv));
        let own = founds(process, above.is_some(), client.is_some());
        let candidate = own.then(|| assess(&tree, index, client, known));
        let accepted = candidate.filter(|candidate| match candidate.verdict.standing {
            Standing::Server => true,
            Standing::Candidate => {
                let is_client = known.clients.name_of(&process.exe, &process.argv).is_some();
                !is_client && (above.is_none() || client.is_some())
            }
            Standing::Nothing => false,
        });
        let slot = match accepted {
            Some(candidate) => {
                found.push(candidate);
                Some(found.len() - 1)
            }
            None => above,
        };
        if let Some(slot) = slot {
            owner.insert(index, slot);
            if let Some(entry) = found.get_mut(slot) {
                entry.members.push(index);
            }
        }
    }
    found
}

/// Whether a process can be the first of a server at all.
fn founds(process: &ProcessSnapshot, below_server: bool, child_of_client: bool) -> bool {
    // Without a channel of its own, a process below a server is a part of it.
    process.private_channel() || child_of_client || !below_server
}

fn assess(tree: &Tree<'_>, root: usize, client: Option<&str>, known: Known<'_>) -> Found {
    let chain = tree.chain(root);
    let programs: Vec<Program<'_>> = chain
        .iter()
        .map(|process| Program { exe: &process.exe, argv: &process.argv, cwd: &process.cwd })
        .collect();
    let config = config_of(&programs, known.configs, client).cloned();
    let explicit = chain.iter().find_map(|process| {
        known.explicit.server(Subject {
            exe: &process.exe,
            argv: &process.argv,
            pid: process.pid,
            cgroup: &process.cgroup,
            container: known.containers.get(&process.cgroup),
        })
    });
    let launch = launch_of(&programs);
    let first = chain.first();
    let verdict = weigh(Facts {
        explicit,
        config: config.as_ref(),
        handshake: false,
        server_info: None,
        launch: launch.as_ref(),
        client,
        private_channel: first.is_some_and(|process| process.private_channel()),
        exe: first.map(|process| process.exe.as_str()).unwrap_or_default(),
    });
    Found { root, members: Vec::new(), verdict, config, launch }
}

/// What a chain of wrappers launches: the outermost word for it that is known as MCP (it has the
/// version), else the outermost at all.
#[must_use]
pub fn launch_of(programs: &[Program<'_>]) -> Option<Launch> {
    let launches: Vec<Launch> = programs
        .iter()
        .filter_map(|program| launcher::recognise(program.exe, program.argv))
        .collect();
    launches.iter().find(|launch| launch.mcp).or_else(|| launches.first()).cloned()
}

/// The processes as a tree.
struct Tree<'a> {
    processes: &'a [ProcessSnapshot],
    by_pid: HashMap<u32, usize>,
    children: HashMap<u32, Vec<usize>>,
}

impl<'a> Tree<'a> {
    fn new(processes: &'a [ProcessSnapshot]) -> Self {
        let by_pid = processes.iter().enumerate().map(|(index, one)| (one.pid, index)).collect();
        let mut children: HashMap<u32, Vec<usize>> = HashMap::new();
        for (index, process) in processes.iter().enumerate() {
            children.entry(process.ppid).or_default().push(index);
        }
        Self { processes, by_pid, children }
    }

    fn parent(&self, index: usize) -> Option<usize> {
        let process = self.processes.get(index)?;
        self.by_pid.get(&process.ppid).copied().filter(|parent| *parent != index)
    }

    fn children(&self, index: usize) -> &[usize] {
        self.processes
            .get(index)
            .and_then(|process| self.children.get(&process.pid))
            .map(Vec::as_slice)
            .unwrap_or_default()
    }

    /// Every process, parents before children.
    fn parents_first(&self) -> Vec<usize> {
        let mut order = Vec::with_capacity(self.processes.len());
        let mut seen = HashSet::new();
        let roots = (0..self.processes.len()).filter(|&index| self.parent(index).is_none());
        // The snapshot is no instant: pids used again can make a ring, which has no root.
        for start in roots.chain(0..self.processes.len()) {
            let mut open = vec![start];
            while let Some(index) = open.pop() {
                if seen.insert(index) {
                    order.push(index);
                    open.extend(self.children(index).iter().rev());
                }
            }
        }
        order
    }

    /// `root` and the descendants that share its channel, outermost first.
    fn chain(&self, root: usize) -> Vec<&'a ProcessSnapshot> {
        let Some(first) = self.processes.get(root) else { return Vec::new() };
        let mut chain = vec![first];
        let mut seen = HashSet::from([root]);
        let mut level = vec![root];
        while !level.is_empty() && first.stdin.is_some() {
            level = level
                .iter()
                .flat_map(|&index| self.children(index))
                .copied()
                .filter(|&index| {
                    self.processes.get(index).is_some_and(|one| one.stdin == first.stdin)
                        && seen.insert(index)
                })
                .collect();
            chain.extend(level.iter().filter_map(|&index| self.processes.get(index)));
        }
        chain
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::ServerSettings;
    use crate::host::snapshot::Stdio;

    /// One line a process: `pid ppid stdin stdout exe argv…`; `-` for a terminal.
    fn processes(lines: &[&str]) -> Vec<ProcessSnapshot> {
        let mut all: Vec<ProcessSnapshot> = lines
            .iter()
            .map(|line| {
                let words = shlex::split(line).unwrap();
                let end = |word: &str| word.parse().ok().map(Stdio::Pipe);
                ProcessSnapshot {
                    pid: words[0].parse().unwrap(),
                    ppid: words[1].parse().unwrap(),
                    stdin: end(&words[2]),
                    stdout: end(&words[3]),
                    exe: words[4].clone(),
                    argv: words[5..].to_vec(),
                    cwd: "/".into(),
                    ..ProcessSnapshot::default()
                }
            })
            .collect();
        for index in 0..all.len() {
            if let Some(parent) = all.iter().find(|one| one.pid == all[index].ppid).cloned() {
                all[index].parent_stdin = parent.stdin;
                all[index].parent_stdout = parent.stdout;
            }
        }
        all
    }

    fn shown(
        lines: &[&str],
        configs: &[ConfiguredServer],
        servers: &[ServerSettings],
    ) -> Vec<String> {
        let processes = processes(lines);
        let explicit = Explicit::new(servers).unwrap();
        let clients = Clients::default();
        let containers = Containers::default();
        let known =
            Known { configs, explicit: &explicit, clients: &clients, containers: &containers };
        survey(&processes, known)
            .into_iter()
            .map(|found| {
                let pids: Vec<u32> =
                    found.members.iter().map(|&member| processes[member].pid).collect();
                let kinds: Vec<&str> =
                    found.verdict.evidence.iter().map(|piece| piece.kind.name()).collect();
                format!(
                    "{} {} {pids:?} {}",
                    found.verdict.standing.name(),
                    found.verdict.name,
                    kinds.join("+")
                )
            })
            .collect()
    }

    const NPX: &[&str] = &[
        "10 1 - - /usr/bin/node node /usr/lib/node_modules/@anthropic-ai/claude-code/cli.js",
        "11 10 1 2 /usr/bin/node 'npm exec @modelcontextprotocol/server-filesystem@2025.8.21 /data'",
        "12 11 1 2 /usr/bin/dash sh -c 'mcp-server-filesystem \"/data\"'",
        "13 12 1 2 /usr/bin/node node /h/.npm/_npx/a/node_modules/.bin/mcp-server-filesystem /data",
    ];

    #[test]
    fn wrappers_are_one_server() {
        assert_eq!(
            shown(NPX, &[], &[]),
            ["server @modelcontextprotocol/server-filesystem [11, 12, 13] command_line+parent"]
        );
        let config = ConfiguredServer {
            name: "files".into(),
            command: Some("npx".into()),
            args: ["-y", "@modelcontextprotocol/server-filesystem@2025.8.21", "/data"]
                .map(str::to_owned)
                .to_vec(),
            ..ConfiguredServer::default()
        };
        assert_eq!(
            shown(NPX, &[config], &[]),
            ["server files [11, 12, 13] config+command_line+parent"]
        );
    }

    #[test]
    fn what_a_server_starts_belongs_to_it() {
        let lines =
            [NPX, &["14 13 7 8 /usr/bin/git git log", "15 14 - - /usr/bin/less less"]].concat();
        assert_eq!(
            shown(&lines, &[], &[]),
            [
                "server @modelcontextprotocol/server-filesystem [11, 12, 13, 14, 15] command_line+parent"
            ]
        );
    }

    #[test]
    fn a_server_behind_a_proxy_is_one_of_its_own() {
        let lines = [
            "10 1 1 2 /v/bin/python3 python3 /v/bin/mcp-proxy --port 80 uvx mcp-server-fetch",
            "11 10 3 4 /usr/bin/uv uvx mcp-server-fetch",
            "12 11 3 4 /v/bin/python3 /v/bin/python /v/bin/mcp-server-fetch",
        ];
        assert_eq!(
            shown(&lines, &[], &[]),
            ["server mcp-proxy [10] command_line", "server mcp-server-fetch [11, 12] command_line"]
        );
    }

    #[test]
    fn children_of_clients_stay_candidates_and_terminals_are_nothing() {
        let lines = [
            "10 1 1 2 /usr/bin/claude claude -p",
            "11 10 3 4 /usr/bin/python3 python3 own.py",
            "12 10 - - /usr/bin/bash bash",
            "13 1 - - /usr/bin/node node /x/node_modules/a-mcp/i.js",
        ];
        assert_eq!(shown(&lines, &[], &[]), ["candidate python3 [11] parent"]);
    }

    #[test]
    fn settings_name_a_server_without_any_channel() {
        let servers = [ServerSettings {
            name: "mine".into(),
            argv: Some("*a-mcp*".into()),
            ..ServerSettings::default()
        }];
        let lines = ["13 1 - - /usr/bin/node node /x/a-mcp/i.js", "14 13 - - /bin/sh sh -c x"];
        assert_eq!(shown(&lines, &[], &servers), ["server mine [13, 14] explicit"]);
    }

    #[test]
    fn a_ring_of_reused_pids_ends() {
        let lines = ["1 2 - - a a", "2 1 - - b b", "3 3 - - c c"];
        assert_eq!(shown(&lines, &[], &[]), [""; 0]);
    }
}
