//! A stage for the tests of the rules, and what must hold for all of them.

use std::cell::RefCell;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::event::{Ids, NetOperation, Operation, Place, ProcessKey};
use crate::record::Time;
use crate::session::{Annotations, Call};

/// One effect's circumstances, to be changed by a test.
pub(crate) struct Scene {
    pub(crate) time: u64,
    pub(crate) process: Process,
    pub(crate) began: u64,
    pub(crate) server: Server,
    pub(crate) family: Option<String>,
    pub(crate) within: Option<String>,
    pub(crate) launching: bool,
    pub(crate) names: Vec<String>,
    pub(crate) installing: bool,
    pub(crate) since_response: Option<u64>,
    pub(crate) roots: Vec<String>,
    pub(crate) real_roots: Vec<String>,
    pub(crate) claims: Vec<Claim>,
    pub(crate) reached: Option<Reached>,
    pub(crate) attribution: Attribution,
    pub(crate) given: Given,
}

impl Scene {
    /// A server `files` with the call `weather` in flight, unless the relation says there is none.
    pub(crate) fn new(relation: Relation) -> Self {
        let call = Call {
            number: 1,
            id: json!(7),
            method: "tools/call".into(),
            tool: Some("weather".into()),
            prompt: None,
            annotations: Annotations::default(),
            arguments: Some(json!({"city": "Oslo"})),
            clipped: None,
            direction: crate::event::Direction::ClientToServer,
            session: None,
            started: 0,
            request_bytes: 100,
        };
        let in_call = matches!(relation, Relation::Requested | Relation::Covert);
        Self {
            time: 1_000_000_000,
            process: Process {
                entity_id: "4242-1".into(),
                pid: 4242,
                ppid: 4000,
                start_time: Time(0),
                exe: "/usr/bin/node".into(),
                argv: vec!["node".into(), "server.js".into()],
                argv_masked: false,
                argv_cut: false,
                cwd: None,
                uid: 1000,
                container: None,
            },
            began: 10_000_000,
            server: Server {
                id: "server-1".into(),
                name: "files".into(),
                transport: "stdio",
                version: None,
                client: None,
                config_path: None,
                evidence: Vec::new(),
            },
            family: None,
            within: None,
            launching: false,
            names: Vec::new(),
            installing: false,
            since_response: None,
            roots: Vec::new(),
            real_roots: Vec::new(),
            claims: Vec::new(),
            reached: None,
            attribution: Attribution {
                relation,
                candidates: if in_call { vec![(Arc::new(call), 1.0)] } else { Vec::new() },
                matched: None,
                outlived: false,
            },
            given: Given::default(),
        }
    }

    pub(crate) fn effect<'a>(&'a self, action: Action<'a>) -> Effect<'a> {
        Effect {
            time: self.time,
            action,
            process: &self.process,
            began: self.began,
            server: &self.server,
            family: self.family.as_deref().unwrap_or(&self.server.id),
            within: self.within.as_deref(),
            launching: self.launching,
            names: &self.names,
            installing: self.installing,
            since_response: self.since_response,
            roots: &self.roots,
            real_roots: &self.real_roots,
            claims: &self.claims,
            reached: self.reached.as_ref(),
            attribution: &self.attribution,
            given: &self.given,
        }
    }

    /// What all rules find.
    pub(crate) fn findings(&self, action: Action<'_>) -> Vec<Finding> {
        // Making one takes milliseconds; the tables of the tests look at thousands of effects.
        thread_local!(static DETECTOR: RefCell<Detector> = RefCell::new(detector()));
        let mut findings = Vec::new();
        DETECTOR.with_borrow_mut(|all| all.check(&self.effect(action), &mut findings));
        findings
    }

    /// Ids and severities of what all rules find.
    pub(crate) fn found(&self, action: Action<'_>) -> Vec<(&'static str, Severity)> {
        let findings = self.findings(action);
        findings.iter().map(|finding| (finding.rule, finding.severity)).collect()
    }

    /// The same by a detector that has seen other effects before.
    pub(crate) fn found_by(
        &self,
        detector: &mut Detector,
        action: Action<'_>,
    ) -> Vec<(&'static str, Severity)> {
        let mut findings = Vec::new();
        detector.check(&self.effect(action), &mut findings);
        findings.iter().map(|finding| (finding.rule, finding.severity)).collect()
    }
}

/// A detector with all rules.
pub(crate) fn detector() -> Detector {
    detector_without(&[])
}

/// A detector with some rules switched off.
pub(crate) fn detector_without(disable: &[&str]) -> Detector {
    let config = config::Rules { disable: disable.iter().map(|id| (*id).into()).collect() };
    Detector::new(&config, Vec::new(), CONFIGS).unwrap()
}

const CONFIGS: ConfigTable = ConfigTable { file: config_at, folder: configs_in };

fn config_at(path: &str) -> Option<ClientConfig> {
    let of_project = ["/.cursor/mcp.json", "/.gemini/settings.json"];
    let project = of_project.iter().find_map(|file| path.strip_suffix(file));
    let is_home = path.ends_with("/.claude.json");
    (project.is_some() || is_home).then(|| ClientConfig {
        client: Some("cursor".into()),
        project: project.map(str::to_owned),
        only_servers: path.ends_with("/mcp.json"),
        only_in_homes: false,
    })
}

fn configs_in(path: &str) -> Option<ClientConfig> {
    let only_in_homes = path.ends_with("/.config");
    let folder = path.strip_suffix("/.config").map(|around| format!("{around}/.cursor"));
    let folder = folder.as_deref().unwrap_or(path);
    let inside = config_at(&format!("{folder}/mcp.json"))?;
    folder.ends_with("/.cursor").then_some(ClientConfig { only_in_homes, ..inside })
}

pub(crate) fn exec(path: &str, argv: &[&str]) -> Exec {
    Exec {
        parent: ProcessKey { pid: 4000, start: 1 },
        uid: 1000,
        gid: 1000,
        parent_instance: 1,
        candidate: false,
        watch_full: false,
        stdin_inode: None,
        stdout_inode: None,
        stdin_family: None,
        stdout_family: None,
        cgroup: 1,
        ancestors: Vec::new(),
        more_ancestors: false,
        mount_namespace: 0,
        set_user_id: false,
        set_group_id: false,
        file_capabilities: false,
        unlinked: false,
        path: path.into(),
        cwd: "/".into(),
        argv: argv.iter().map(|argument| (*argument).to_owned()).collect(),
    }
}

/// An open that worked, of a regular file.
pub(crate) fn open(path: &str, flags: i32) -> Open {
    Open {
        flags: flags.cast_unsigned(),
        mode: libc::S_IFREG | 0o600,
        inode: 1,
        device: 1,
        result: Ok(3),
        result_unknown: false,
        path: path.into(),
        argument: path.into(),
        inner_path: None,
        mount_namespace: 0,
        host_path: None,
        unlinked: false,
        via: None,
    }
}

/// A change of one file that worked.
pub(crate) fn change(operation: Operation, path: &str) -> Change {
    let place = |path: &str| Place { path: path.into(), argument: path.into(), ..Place::default() };
    Change {
        operation,
        file: place(path),
        target: None,
        exchange: false,
        mode: None,
        owner: (None, None),
        size: None,
        via: None,
        result: Ok(()),
        result_unknown: false,
    }
}

/// A change of privileges that worked and says nothing more.
pub(crate) fn privilege(operation: Operation) -> Privilege {
    Privilege {
        operation,
        ids: Ids::default(),
        groups: None,
        capabilities: None,
        namespaces: 0,
        place: None,
        source: None,
        mount_flags: 0,
        command: None,
        ambient: None,
        secure_bits: 0,
        result: Ok(0),
    }
}

/// A change of two files that worked.
pub(crate) fn change_of_two(operation: Operation, path: &str, target: &str) -> Change {
    Change { target: Some(change(operation, target).file), ..change(operation, path) }
}

/// An open of `argument` that led to `path`.
pub(crate) fn link(argument: &str, path: &str) -> Open {
    Open { argument: argument.into(), ..open(path, libc::O_RDONLY) }
}

pub(crate) fn failed_open(path: &str, flags: i32, error: i32) -> Open {
    Open { mode: 0, inode: 0, device: 0, result: Err(error), ..open(path, flags) }
}

pub(crate) fn net(operation: NetOperation, socket_type: i32, endpoint: &str) -> Net {
    let endpoint: std::net::SocketAddr = endpoint.parse().unwrap();
    let family = if endpoint.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 };
    Net {
        operation,
        family: u16::try_from(family).unwrap(),
        socket_type: u16::try_from(socket_type).unwrap(),
        protocol: 0,
        endpoint: Some(endpoint),
        other: None,
        unix_path: None,
        bound_path: None,
        result: Some(Ok(0)),
    }
}

pub(crate) fn connect(to: &str) -> Net {
    net(NetOperation::Connect, libc::SOCK_STREAM, to)
}

/// A datagram socket's connect.
pub(crate) fn datagram(to: &str) -> Net {
    net(NetOperation::Connect, libc::SOCK_DGRAM, to)
}

/// A datagram.
pub(crate) fn send(to: &str) -> Net {
    net(NetOperation::Send, libc::SOCK_DGRAM, to)
}

#[test]
fn ids_are_the_contract() {
    let mut ids: Vec<_> = RULES.iter().map(|entry| entry.info.id).collect();
    ids.sort_unstable();
    assert_eq!(
        ids,
        [
            "annotation_lie",
            "background_activity",
            "channel_injection",
            "dns_tunnel",
            "download_exec",
            "internal_probe",
            "io_uring_use",
            "mcp_config_read",
            "mcp_config_write",
            "metadata_access",
            "outlives_call",
            "path_escape",
            "persistence_write",
            "privilege_change",
            "reverse_shell",
            "sensitive_file_read",
            "shell_spawn",
            "unexpected_egress",
        ]
    );
}

#[test]
fn every_rule_is_complete_and_stands_behind_what_it_yields_to() {
    let detector = detector();
    for (at, entry) in RULES.iter().enumerate() {
        let info = entry.info;
        assert_eq!(detector.rules[at].info().id, info.id);
        for text in [info.title, info.description, info.trigger, info.playbook, info.atlas_version]
        {
            assert!(
                !text.is_empty() && !text.contains('\n') && !text.contains("  "),
                "{}",
                info.id
            );
        }
        assert!(!info.explained_by.is_empty(), "{}", info.id);
        let tags = &info.tags;
        let tagged = [tags.attack, tags.owasp_mcp].iter().any(|ids| !ids.is_empty());
        assert!(tagged, "{}", info.id);
        for other in info.yields_to {
            let before = &RULES[..at];
            assert!(*other == "*" || before.iter().any(|entry| entry.info.id == *other), "{other}");
        }
    }
}

/// What other programs select alerts by: a change here is one of the contract.
const CONTRACT: &[(&str, &str)] = &[
    ("annotation_lie", "AML.T0110 MCP03"),
    ("background_activity", "MCP06"),
    ("channel_injection", "T1055 MCP07"),
    ("dns_tunnel", "T1048.003 T1071.004"),
    ("download_exec", "T1105 T1620 MCP04"),
    ("internal_probe", "T1046 MCP05"),
    ("io_uring_use", "T1562"),
    ("mcp_config_read", "T1552.001 AML.T0083 MCP01"),
    ("mcp_config_write", "T1546 AML.T0081 MCP09"),
    ("metadata_access", "T1552.005 MCP01"),
    ("outlives_call", "T1036 MCP05"),
    ("path_escape", "T1083 MCP05"),
    ("persistence_write", "T1546.004 T1053.003 T1098.004"),
    ("privilege_change", "T1548 T1611 T1055.008 AML.T0105 MCP02"),
    ("reverse_shell", "T1059.004 T1071 AML.T0072 MCP05"),
    ("sensitive_file_read", "T1552.001 T1552.004 T1003.008 AML.T0055 AML.T0037 MCP01 LLM02"),
    ("shell_spawn", "T1059.004 T1059.006 AML.T0050 MCP05 LLM06"),
    ("unexpected_egress", "T1041 T1048 T1567 AML.T0086 MCP10 LLM02"),
];

#[test]
fn ids_and_tags_are_a_contract() {
    let mut found: Vec<(&str, String)> = RULES
        .iter()
        .map(|entry| {
            let tags = &entry.info.tags;
            let all = [tags.attack, tags.atlas, tags.owasp_mcp, tags.owasp_llm].concat();
            (entry.info.id, all.join(" "))
        })
        .collect();
    found.sort();
    let expected: Vec<(&str, String)> =
        CONTRACT.iter().map(|&(id, tags)| (id, tags.to_owned())).collect();
    assert_eq!(found, expected);
}

#[test]
fn an_unknown_id_in_the_settings_is_an_error_that_names_the_known() {
    let config = config::Rules { disable: vec!["shell_spwan".into()] };
    let error = Detector::new(&config, Vec::new(), CONFIGS).unwrap_err().to_string();
    assert!(error.contains("shell_spwan") && error.contains("shell_spawn"), "{error}");
}

#[test]
fn an_empty_rule_set_is_an_error() {
    let disable = RULES.iter().map(|entry| entry.info.id.to_owned()).collect();
    let error = Detector::new(&config::Rules { disable }, Vec::new(), CONFIGS).unwrap_err();
    assert!(matches!(error, DetectError::NoRules));
}

#[test]
fn a_disabled_rule_is_silent_and_the_others_are_not() {
    let shell = exec("/bin/sh", &["sh", "-c", "id"]);
    let mut detector = detector_without(&["shell_spawn"]);
    assert_eq!(Scene::new(Relation::Covert).found_by(&mut detector, Action::Exec(&shell)), []);
    let key = open("/root/.ssh/id_rsa", libc::O_RDONLY);
    assert_eq!(Scene::new(Relation::Covert).found_by(&mut detector, Action::Open(&key)).len(), 1);
}

#[test]
fn an_alert_carries_what_the_rule_says_and_how_often() {
    let shell = exec("/bin/sh", &["sh", "-c", "id"]);
    let finding = Scene::new(Relation::Covert).findings(Action::Exec(&shell)).remove(0);
    let alert = alert(&finding, 3);
    let info = find("shell_spawn").unwrap();
    assert_eq!((alert.rule, alert.title, alert.count), (info.id, info.title, 3));
    assert_eq!((alert.playbook, &alert.tags.ids), (info.playbook, &info.tags));
    let version = (!info.tags.atlas.is_empty()).then_some(info.atlas_version);
    assert_eq!(alert.tags.atlas_version, version, "ids that drift name their edition");
    assert_eq!((&alert.reason, &alert.evidence), (&finding.reason, &finding.evidence));
}

#[test]
fn what_ordinary_servers_do_when_they_start_is_silent() {
    let mut scene = Scene::new(Relation::Startup);
    scene.launching = true;
    scene.given.argv = ["npx", "-y", "@modelcontextprotocol/server-filesystem", "/srv/files"]
        .map(Into::into)
        .into();
    scene.given.paths = vec!["/srv/files".into()];
    let actions = [
        Action::Exec(&exec("/usr/bin/dash", &["sh", "-c", "mcp-server-filesystem /srv/files"])),
        Action::Exec(&exec("/usr/bin/node", &["node", "/home/a/.npm/_npx/1/node_modules/.bin/x"])),
        Action::Net(&connect("104.16.1.35:443")),
        Action::Net(&connect("[2606:4700::6810:123]:443")),
        Action::Open(&open("/home/a/.npmrc", libc::O_RDONLY)),
        Action::Open(&open("/home/a/.netrc", libc::O_RDONLY)),
        Action::Exec(&exec("/usr/bin/python3.12", &["python", "-I", "-c", "import sys"])),
        Action::Exec(&exec("/usr/bin/uv", &["uv", "tool", "uvx", "mcp-server-time"])),
    ];
    for action in actions {
        assert_eq!(scene.found(action), [], "{action:?}");
    }
    scene.launching = false;
    let actions = [
        Action::Open(&open("/etc/ssl/certs/ca-certificates.crt", libc::O_RDONLY)),
        Action::Open(&open("/srv/node_modules/zod/index.js", libc::O_RDONLY)),
        Action::Open(&open("/home/a/.gitconfig", libc::O_RDONLY)),
        Action::Open(&failed_open("/home/a/.config/git/config", libc::O_RDONLY, libc::ENOENT)),
        Action::Exec(&exec("/usr/bin/git", &["git", "version"])),
        Action::Exec(&exec("/usr/sbin/ldconfig", &["/sbin/ldconfig", "-p"])),
        Action::Exec(&exec("/usr/bin/uname", &["uname", "-p"])),
        Action::Net(&connect("127.0.0.53:53")),
        Action::Net(&datagram("203.0.113.7:0")),
    ];
    for action in actions {
        assert_eq!(scene.found(action), [], "{action:?}");
    }
}

/// The bulk of what a detector sees: 100,000 opens a second must leave most of a core to the rest.
#[test]
#[ignore = "prints a figure"]
fn figure_for_opens() {
    let mut detector = detector();
    let scene = Scene::new(Relation::Covert);
    let opens: Vec<_> = (0..1000)
        .map(|n| open(&format!("/srv/project/node_modules/package-{n}/dist/index.js"), 0))
        .collect();
    let mut out = Vec::new();
    let start = std::time::Instant::now();
    for _ in 0..1000 {
        for open in &opens {
            detector.check(&scene.effect(Action::Open(open)), &mut out);
        }
    }
    println!("{:?} an open", start.elapsed() / 1_000_000);
}
