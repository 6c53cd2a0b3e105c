//! One record of each type with every field it can have: what tests of outputs and documents look
//! at. Struct literals without `..`: a new field does not compile until it stands here.

use std::sync::Arc;

use serde_json::json;

use crate::record::{
    AccessDetail, AccessTarget, Alert, AlertEvidence, AlertTags, Ancestor, Call, CallError,
    CallOutcome, CallStatus, Candidate, Capabilities, ClaimedName, Container, DnsAnswer, DnsDetail,
    Evidence, EvidenceKind, ExecDetail, ExitDetail, FileDetail, FileTarget, Hook, Host, IdsDetail,
    Loss, McpDetail, NetDetail, Netlink, Packet, Party, PrivilegeDetail, ProbeCounters, Process,
    Progress, Record, RecordType, Relation, SCHEMA, Server, Severity, Status, Tags, Time,
    TlsDetail, Vsock,
};
use crate::wire::Fault;

/// 2026-03-04T05:06:07.089010011Z.
pub const TIME: Time = Time(1_772_600_767_089_010_011);

pub fn host() -> Arc<Host> {
    Arc::new(Host {
        name: "build-7".to_owned(),
        boot_id: "6f1de2b4-8f0c-4c0e-9d4b-1a2b3c4d5e6f".to_owned(),
    })
}

pub fn server() -> Arc<Server> {
    Arc::new(Server {
        id: "4242-1a2b".to_owned(),
        name: "filesystem".to_owned(),
        transport: "stdio",
        version: Some("0.2.0".to_owned()),
        client: Some("Claude Desktop".to_owned()),
        config_path: Some("/home/ada/.config/Claude/claude_desktop_config.json".to_owned()),
        evidence: vec![
            Evidence { kind: EvidenceKind::Config, detail: "mcpServers.filesystem".to_owned() },
            Evidence { kind: EvidenceKind::Handshake, detail: "initialize".to_owned() },
        ],
    })
}

pub fn process() -> Arc<Process> {
    Arc::new(Process {
        entity_id: "4243-1a2c".to_owned(),
        pid: 4243,
        ppid: 4242,
        start_time: Time(TIME.0 - 5_000_000_000),
        exe: "/usr/bin/node".to_owned(),
        argv: vec!["node".to_owned(), "server.js".to_owned(), "/home/ada/notes".to_owned()],
        argv_masked: false,
        argv_cut: false,
        cwd: Some("/home/ada".to_owned()),
        uid: 1000,
        container: Some(Arc::new(Container {
            id: "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184".to_owned(),
            runtime: "containerd".to_owned(),
            name: Some("notes".to_owned()),
            image: Some("ghcr.io/example/mcp:1".to_owned()),
            pod: Some("0d6f8f3e-5b1c-4b53-9f53-2a1f0c8d7e11".to_owned()),
            pod_name: Some("notes-6d4cf56db6-x7l2p".to_owned()),
            namespace: Some("tools".to_owned()),
        })),
    })
}

pub fn call_reference() -> Call {
    Call {
        uid: "4242-1a2b/3".to_owned(),
        id: json!(3),
        method: "tools/call".to_owned(),
        tool: Some("read_file".to_owned()),
        prompt: Some("review".to_owned()),
        session: Some("s1".to_owned()),
        confidence: Some(0.75),
        candidates: vec![
            Candidate {
                uid: "4242-1a2b/3".to_owned(),
                id: json!(3),
                tool: Some("read_file".to_owned()),
                confidence: 0.75,
            },
            Candidate {
                uid: "4242-1a2b/4".to_owned(),
                id: json!("req-4"),
                tool: None,
                confidence: 0.25,
            },
        ],
        outcome: None,
    }
}

pub fn ended_call(status: CallStatus) -> Call {
    Call {
        confidence: None,
        candidates: Vec::new(),
        outcome: Some(CallOutcome {
            to: "server",
            arguments: Some(json!({"path": "/home/ada/notes/today.md"})),
            status,
            duration_ns: Some(12_345_678),
            request_bytes: 118,
            response_bytes: Some(2048),
            error: Some(CallError { code: Some(-32602), message: "no such file".to_owned() }),
        }),
        ..call_reference()
    }
}

fn effect(kind: RecordType) -> Record {
    Record {
        schema: SCHEMA,
        seq: 17,
        time: TIME,
        kind,
        host: host(),
        server: Some(server()),
        process: Some(process()),
        call: Some(Arc::new(call_reference())),
        relation: Some(Relation::Covert),
        exec: None,
        exit: None,
        file: None,
        privilege: None,
        access: None,
        net: None,
        dns: None,
        tls: None,
        mcp: None,
        alert: None,
        loss: None,
        status: None,
        truncated: vec!["call.arguments"],
        redacted: vec!["call.arguments.token".to_owned()],
    }
}

fn of_server(kind: RecordType) -> Record {
    Record { process: None, call: None, relation: None, ..effect(kind) }
}

pub fn open(path: &str) -> Record {
    Record {
        file: Some(FileDetail {
            path: path.to_owned(),
            argument: path.to_owned(),
            inner_path: Some("/id_rsa".to_owned()),
            host_path: Some("/srv/homes/ada/.ssh/id_rsa".to_owned()),
            access: Some("read"),
            flags: vec!["O_CLOEXEC"],
            result: "ok".into(),
            inode: Some(131_073),
            unlinked: false,
            via: Some("io_uring"),
            operation: None,
            target: None,
            exchanged: false,
            mode: None,
            owner_uid: None,
            owner_gid: None,
            size: None,
        }),
        ..effect(RecordType::FileOpen)
    }
}

/// With every field a change of privileges can have, though no system call has them all.
pub fn privilege() -> Record {
    Record {
        privilege: Some(Box::new(PrivilegeDetail {
            operation: "mount",
            result: "EPERM".into(),
            ids: Some(IdsDetail {
                real: Some(0),
                effective: Some(0),
                saved: Some(0),
                filesystem: Some(0),
            }),
            groups: Some(2),
            capabilities: Some(Capabilities {
                effective: vec!["CAP_SYS_ADMIN"],
                permitted: vec!["CAP_SYS_ADMIN"],
                inheritable: vec!["CAP_NET_RAW"],
            }),
            namespaces: vec!["user", "mount"],
            path: Some("/mnt".to_owned()),
            argument: Some("../mnt".to_owned()),
            inner_path: Some("/mnt".to_owned()),
            host_path: Some("/srv/image/mnt".to_owned()),
            source: Some("/dev/sda1".to_owned()),
            mount_flags: vec!["MS_RDONLY"],
            command: Some("BPF_PROG_LOAD".to_owned()),
            ambient: Some("CAP_NET_RAW".to_owned()),
            secure_bits: vec!["SECBIT_NOROOT"],
        })),
        ..effect(RecordType::ProcessPrivilege)
    }
}

pub fn access() -> Record {
    Record {
        access: Some(Box::new(AccessDetail {
            operation: "ptrace",
            request: Some("PTRACE_ATTACH".to_owned()),
            target: Some(AccessTarget {
                pid: 4300,
                entity_id: Some("4300-1a2d".to_owned()),
                exe: Some("/usr/bin/python3.13".to_owned()),
                server: Some("bank".to_owned()),
            }),
            namespace_pid: Some(7),
            result: "ok".into(),
        })),
        ..effect(RecordType::ProcessAccess)
    }
}

/// With every field a change can have, though no system call has them all.
pub fn change() -> Record {
    Record {
        file: Some(FileDetail {
            path: "/home/ada/.cursor/mcp.json.tmp".to_owned(),
            argument: "mcp.json.tmp".to_owned(),
            inner_path: Some("/.cursor/mcp.json.tmp".to_owned()),
            host_path: Some("/srv/homes/ada/.cursor/mcp.json.tmp".to_owned()),
            access: None,
            flags: Vec::new(),
            result: "ok".into(),
            inode: None,
            unlinked: true,
            via: None,
            operation: Some("rename"),
            target: Some(FileTarget {
                path: "/home/ada/.cursor/mcp.json".to_owned(),
                argument: "mcp.json".to_owned(),
                inner_path: Some("/.cursor/mcp.json".to_owned()),
                host_path: Some("/srv/homes/ada/.cursor/mcp.json".to_owned()),
            }),
            exchanged: true,
            mode: Some("0644".to_owned()),
            owner_uid: Some(1000),
            owner_gid: Some(1000),
            size: Some(4096),
        }),
        ..effect(RecordType::FileChange)
    }
}

fn net(kind: RecordType) -> Record {
    Record {
        net: Some(Box::new(NetDetail {
            family: "inet".to_owned(),
            protocol: Some("tcp"),
            address: Some([203, 0, 113, 7].into()),
            port: Some(443),
            path: Some("@bus".to_owned()),
            bound_path: Some("/run/docker.sock".to_owned()),
            netlink: Some(Netlink { port: 0, groups: 1 }),
            vsock: Some(Vsock { cid: 2, port: 1024 }),
            packet: Some(Packet { interface: 2, ethertype: 3 }),
            result: "in_progress".into(),
            names: vec!["collect.example".to_owned()],
            claimed_names: vec![ClaimedName {
                name: "api.example".to_owned(),
                from: [198, 51, 100, 1].into(),
            }],
        })),
        ..effect(kind)
    }
}

fn mcp(kind: RecordType) -> Record {
    let party = |name: &str| Some(Party { name: name.to_owned(), version: Some("1.0".to_owned()) });
    Record {
        mcp: Some(Box::new(McpDetail {
            session: Some("s1".to_owned()),
            era: Some("handshake"),
            protocol_version: Some("2025-11-25".to_owned()),
            client_info: party("claude-ai"),
            server_info: party("secure-filesystem-server"),
            direction: Some("server_to_client"),
            method: Some("notifications/message".to_owned()),
            problem: Some(Fault::NotJson),
            detail: Some("a line on stdout is no JSON: `listening…`".to_owned()),
            progress: Some(Progress { value: 3.into(), total: Some(12.into()) }),
            bytes: Some(64),
        })),
        ..of_server(kind)
    }
}

pub fn alert() -> Record {
    Record {
        alert: Some(Box::new(Alert {
            rule: "sensitive_file_read",
            title: "Sensitive file read",
            severity: Severity::Critical,
            reason: "`read_file` read a private SSH key that its arguments do not mention"
                .to_owned(),
            evidence: vec![AlertEvidence {
                name: "path",
                value: "/home/ada/.ssh/id_rsa".to_owned(),
            }],
            tags: AlertTags {
                ids: Tags {
                    attack: &["T1552.004"],
                    atlas: &["AML.T0055"],
                    owasp_mcp: &["MCP01"],
                    owasp_llm: &["LLM02"],
                },
                atlas_version: Some("5.6.0"),
            },
            playbook: "Check which client made the call. Replace the key.",
            objects: vec!["/home/ada/.ssh/id_rsa".to_owned()],
            count: 1,
        })),
        kind: RecordType::Alert,
        ..open("/home/ada/.ssh/id_rsa")
    }
}

fn exec() -> ExecDetail {
    ExecDetail {
        path: "/bin/sh".to_owned(),
        host_path: Some("/srv/image/bin/sh".to_owned()),
        argv: vec!["sh".to_owned(), "-c".to_owned(), "id; uname".to_owned()],
        argv_masked: false,
        cwd: "/home/ada".to_owned(),
        parent_exe: Some("/usr/bin/node".to_owned()),
        ancestors: vec![Ancestor {
            pid: 1,
            entity_id: "1-1".to_owned(),
            exe: Some("/usr/lib/systemd/systemd".to_owned()),
            ended: true,
        }],
        kind: Some("memfd"),
        set_user_id: true,
        set_group_id: true,
        file_capabilities: true,
        socket_stdio: Some("both"),
    }
}

pub fn of_type(kind: RecordType) -> Record {
    match kind {
        RecordType::ServerDiscovered => Record { process: Some(process()), ..of_server(kind) },
        RecordType::ServerExited => Record {
            process: Some(process()),
            exit: Some(ExitDetail { code: Some(1), signal: Some(9) }),
            ..of_server(kind)
        },
        RecordType::McpSession | RecordType::McpMessage => mcp(kind),
        RecordType::McpCall => {
            Record { call: Some(Arc::new(ended_call(CallStatus::ToolError))), ..of_server(kind) }
        }
        RecordType::ProcessExec => Record { exec: Some(Box::new(exec())), ..effect(kind) },
        RecordType::ProcessExit => {
            Record { exit: Some(ExitDetail { code: Some(0), signal: Some(15) }), ..effect(kind) }
        }
        RecordType::ProcessPrivilege => privilege(),
        RecordType::ProcessAccess => access(),
        RecordType::FileOpen => open("/home/ada/.ssh/id_rsa"),
        RecordType::FileChange => change(),
        RecordType::NetSocket
        | RecordType::NetConnect
        | RecordType::NetSend
        | RecordType::NetBind
        | RecordType::NetListen
        | RecordType::NetAccept => net(kind),
        RecordType::NetDns => Record {
            dns: Some(Box::new(DnsDetail {
                question: Some("collect.example".to_owned()),
                kind: Some("A".to_owned()),
                host_resolver: true,
                tries: 1,
                rcode: Some("NOERROR".to_owned()),
                answers: vec![DnsAnswer {
                    name: "collect.example".to_owned(),
                    kind: "A".to_owned(),
                    value: Some("203.0.113.7".to_owned()),
                }],
                duration_ns: Some(1_234_567),
            })),
            ..net(kind)
        },
        RecordType::NetTls => Record {
            tls: Some(Box::new(TlsDetail {
                server_name: Some("collect.example".to_owned()),
                name_known: Some(true),
                alpn: vec!["h2".to_owned()],
                encrypted_hello: true,
            })),
            ..net(kind)
        },
        RecordType::Alert => alert(),
        RecordType::Loss => Record {
            server: None,
            loss: Some(Box::new(Loss {
                stage: "kernel",
                what: "open".to_owned(),
                reason: "ring_full".into(),
                lost: 120,
                total: 1234,
            })),
            ..of_server(kind)
        },
        RecordType::Status => Record {
            server: None,
            status: Some(Box::new(Status {
                state: "started",
                message: "watching with the tracepoint tier".to_owned(),
                hooks: vec![Hook {
                    name: "sys_exit",
                    tier: "tracepoint",
                    state: "missing",
                    reason: Some("not permitted: opens and connects are not seen".to_owned()),
                }],
                counters: vec![ProbeCounters {
                    probe: "open",
                    seen: 100,
                    sent: 90,
                    ring_full: 4,
                    too_big: 1,
                    truncated: 2,
                    filtered: 5,
                }],
            })),
            ..of_server(kind)
        },
    }
}

/// In the order of [`RecordType::ALL`].
pub fn one_of_each() -> Vec<Record> {
    RecordType::ALL.iter().copied().map(of_type).collect()
}
