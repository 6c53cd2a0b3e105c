//! `privilege_change`: a server changed what it may do or see, or took hold of the kernel or of another
//! process.

mod usual;

use super::ATLAS_VERSION;
use crate::detect::reason::{
    OBJECT, cause, circumstances, clip, command_line, evidence, quote, server,
};
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::event::{Exec, Net, NetOperation, Open, Operation, Privilege, Via};
use crate::record::{AlertEvidence, Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "privilege_change",
    title: "Privileges, namespaces or mounts changed below an MCP server",
    severities: Severities {
        refused: Some(Severity::High),
        absent: Some(Severity::Low),
        ..Severities::always(Severity::Critical)
    },
    tags: Tags {
        attack: &["T1548", "T1611", "T1055.008"],
        atlas: &["AML.T0105"],
        owasp_mcp: &["MCP02"],
        owasp_llm: &[],
    },
    atlas_version: ATLAS_VERSION,
    description: "A server works with what it was given. Another user, more capabilities, other \
        namespaces or mounts, a module or BPF program in the kernel, a hand on another process or on the \
        container runtime are ways out of it.",
    trigger: "A process of the server's tree that is not root's asks for another user id, for group 0, for \
        supplementary groups or for capabilities, to have, to keep or to hand on; executes a set-user-ID or set-group-ID program, or \
        one whose file gives it capabilities that it does not run already; makes or enters \
        namespaces, copies mounts, changes mounts, the root directory, kernel modules or the running kernel; uses bpf(2); \
        traces another process or reaches into its memory; opens a file by a handle; or connects to the \
        socket of a container runtime. What root gives up, ids that stay the same, and a process reaching into itself count for \
        nothing. At most of low severity: a browser (chrome, chromium, headless_shell, firefox, … of the system \
        or in a cache of Playwright or Puppeteer) that sandboxes its own children, chrome-sandbox, fusermount, \
        tools that distributions give a group or capabilities for one thing (ping, ssh-agent, crontab, …), \
        and capset and prctl by a program of the system that is no interpreter. At most medium: a process reaching into \
        one below itself (low when requested), and a requested connection to a container runtime.",
    explained_by: &[
        "a container or sandbox program that the server's launch runs (the command itself, or what `sh -c`, \
         `env` and the like in it run; an argument is none), and that program's own helpers and docker's plugins",
        "a container runtime's socket that the server's command line or configuration names",
        "`allow.exec` of the server's settings names the program: its being executed, and all it does but for \
         kernel modules, kexec and bpf(2)",
    ],
    playbook: "See which program did it and whether it succeeded (`result`). If it did: take the process's \
        new rights as the reach of the incident, and look for what it did with them. Run servers without \
        root, with no_new_privs, and without the container runtime's socket.",
    yields_to: &["channel_injection"],
};

/// Names of the sockets by which container runtimes are told what to do.
const RUNTIME_SOCKETS: &[&str] = &[
    "docker.sock",
    "containerd.sock",
    "containerd.sock.ttrpc",
    "crio.sock",
    "podman.sock",
    "buildkitd.sock",
    "cri-dockerd.sock",
    "kubelet.sock",
    "lxd/unix.socket",
    "incus/unix.socket",
];

/// The rule.
struct PrivilegeChange;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(PrivilegeChange))
}

/// What was done, in words, with its result and what it is about.
struct Deed {
    did: String,
    result: Result<i32, i32>,
    /// It changes the kernel itself, which no settings allow.
    of_kernel: bool,
    object: String,
    evidence: Vec<AlertEvidence>,
}

impl Rule for PrivilegeChange {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let deed = match effect.action {
            Action::Privilege(privilege) => changed(effect, privilege)?,
            Action::Exec(exec) if !knowledge.policy.allows_exec(&effect.given.allow, exec) => {
                given_by_file(effect, exec)?
            }
            // A process has itself in hand anyway.
            Action::Access(access) if access.target == Some(effect.process.pid) => return None,
            Action::Access(access) => {
                let whom = access.target.or(access.namespace_target);
                let whom = whom.map_or_else(String::new, |pid| format!(" of pid {pid}"));
                let name = access.operation.name();
                Deed {
                    did: format!("took hold{whom} with {name}"),
                    result: access.result.map(|()| 0),
                    of_kernel: false,
                    object: format!("{name}{whom}"),
                    evidence: vec![evidence("operation", name)],
                }
            }
            Action::Net(net) => runtime_socket(effect, net)?,
            Action::Open(open) if open.via == Some(Via::Handle) => by_handle(open),
            _ => return None,
        };
        if effect.launching
            || usual::is_runtime(effect)
            || (!deed.of_kernel
                && knowledge.policy.allows_program(&effect.given.allow, &effect.process.exe))
        {
            return None;
        }
        let severity = INFO.severities.of_result(effect.attribution.relation, deed.result)?;
        let severity = usual::most(effect, knowledge).map_or(severity, |most| severity.min(most));
        let mut found = deed.evidence;
        circumstances(effect, &mut found);
        let tried = if deed.result.is_ok() { "" } else { "tried and failed: it " };
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!("Server {} {tried}{} {}.", server(effect), deed.did, cause(effect)),
            evidence: found,
            object: clip(&deed.object, OBJECT).into_owned(),
        })
    }
}

/// An open that names no path, and so passes by all folders, of which one may be closed to the process, or outside.
fn by_handle(open: &Open) -> Deed {
    let what = match open.path.as_str() {
        "" => format!("a file (inode {})", open.inode),
        path => quote(path).into_owned(),
    };
    let name = "open_by_handle_at";
    Deed {
        did: format!("opened {what} by its handle, past every folder above it"),
        result: open.result,
        of_kernel: false,
        object: name.to_owned(),
        evidence: vec![evidence("operation", name), evidence("path", &open.path)],
    }
}

/// The system call, where it is more than giving something up.
fn changed(effect: &Effect<'_>, privilege: &Privilege) -> Option<Deed> {
    let user = effect.process.uid;
    let name = privilege.operation.name();
    let at = |what: &str| {
        privilege
            .place
            .as_ref()
            .map_or_else(String::new, |place| format!("{what} {}", quote(&place.path)))
    };
    let did = match privilege.operation {
        Operation::IoUringSetup => return None,
        Operation::Setuid | Operation::Setreuid | Operation::Setresuid | Operation::Setfsuid => {
            let other = privilege.ids.all().find(|id| *id != user)?;
            if user == 0 {
                return None;
            }
            format!("asked for user id {other} with {name}")
        }
        Operation::Setgid | Operation::Setregid | Operation::Setresgid | Operation::Setfsgid => {
            if user == 0 || !privilege.ids.all().any(|id| id == 0) {
                return None;
            }
            format!("asked for group id 0 with {name}")
        }
        // Root has all capabilities anyway; what takes some away is told by no rule.
        Operation::Setgroups | Operation::Prctl if user == 0 => return None,
        Operation::Setgroups => "set its supplementary groups".to_owned(),
        Operation::Capset => {
            let [effective, _, inheritable] = privilege.capabilities?;
            if user == 0 || effective | inheritable == 0 {
                return None;
            }
            "asked for capabilities with capset".to_owned()
        }
        Operation::Prctl => match privilege.ambient {
            Some(_) => "asked for an ambient capability with prctl".to_owned(),
            None => "asked to keep capabilities with prctl".to_owned(),
        },
        Operation::Unshare | Operation::Clone => format!("made new namespaces with {name}"),
        Operation::Setns => "entered other namespaces with setns".to_owned(),
        Operation::Mount => format!("changed mounts{}", at(" at")),
        Operation::Umount => format!("took away the mount{}", at(" at")),
        // A library that wants a /proc nobody mounted over tries that without the right to.
        Operation::OpenTree
            if privilege.result.is_err()
                && privilege.place.as_ref().is_some_and(|place| place.path == "/proc") =>
        {
            return None;
        }
        Operation::OpenTree => format!("copied the mounts{} with open_tree", at(" at")),
        Operation::MoveMount => format!("moved a mount{}", at(" to")),
        // libmount asks so whether the kernel has the call.
        Operation::MountSetattr
            if privilege.result.is_err()
                && privilege.place.as_ref().is_none_or(|place| place.argument.is_empty()) =>
        {
            return None;
        }
        Operation::MountSetattr => format!("changed the attributes of the mount{}", at(" at")),
        Operation::Fsmount => "made a mount with fsmount".to_owned(),
        Operation::PivotRoot | Operation::Chroot => {
            format!("changed its root directory{}", at(" to"))
        }
        Operation::Bpf => "used bpf(2)".to_owned(),
        Operation::InitModule | Operation::FinitModule => {
            format!("loaded a kernel module{}", at(" from"))
        }
        Operation::DeleteModule => format!("unloaded the kernel module{}", at("")),
        _ => format!("replaced the running kernel with {name}"),
    };
    let mut found = vec![evidence("operation", name)];
    for (name, place) in [("path", &privilege.place), ("source", &privilege.source)] {
        found.extend(place.as_ref().map(|place| evidence(name, &place.path)));
    }
    let of_kernel = matches!(
        privilege.operation,
        Operation::Bpf
            | Operation::InitModule
            | Operation::FinitModule
            | Operation::DeleteModule
            | Operation::KexecLoad
            | Operation::KexecFileLoad
    );
    let object = format!("{name}{}", at(""));
    Some(Deed { did, result: privilege.result.map(|_| 0), of_kernel, object, evidence: found })
}

/// A program that runs as somebody else than who starts it, or may do more.
fn given_by_file(effect: &Effect<'_>, exec: &Exec) -> Option<Deed> {
    // Who runs the same file already (`node` that was given a capability, say) has what it gives.
    let again = effect.process.exe == exec.path;
    let program = quote(&exec.path);
    let did = match exec {
        _ if effect.process.uid == 0 => return None,
        Exec { set_user_id: true, .. } => format!("executed the set-user-ID program {program}"),
        Exec { file_capabilities: true, .. } if !again => {
            format!("executed {program}, whose file gives it capabilities,")
        }
        // Its own, or handed on by who started it: the kernel does not say.
        Exec { set_group_id: true, .. } if !again => {
            format!("executed {program} with another group's rights")
        }
        _ => return None,
    };
    Some(Deed {
        did,
        result: Ok(0),
        of_kernel: false,
        object: exec.path.clone(),
        evidence: vec![
            evidence("program", &exec.path),
            evidence("argv", &command_line(&exec.argv)),
        ],
    })
}

fn runtime_socket(effect: &Effect<'_>, net: &Net) -> Option<Deed> {
    if net.operation != NetOperation::Connect {
        return None;
    }
    let names = [net.unix_path.as_deref(), net.bound_path.as_deref()];
    let path = names.into_iter().flatten().find(|path| is_runtime_socket(path))?;
    // `/var/run` is a link to `/run`.
    let plain = |path: &str| {
        path.strip_prefix("/var")
            .filter(|it| it.starts_with("/run/"))
            .map_or_else(|| path.to_owned(), str::to_owned)
    };
    if effect.given.paths.iter().any(|given| plain(given) == plain(path)) {
        return None;
    }
    let result = match net.result {
        Some(Err(error)) => Err(error),
        _ => Ok(0),
    };
    Some(Deed {
        did: format!("connected to {}, the socket of a container runtime,", quote(path)),
        result,
        of_kernel: false,
        object: path.to_owned(),
        evidence: vec![evidence("path", path)],
    })
}

fn is_runtime_socket(path: &str) -> bool {
    RUNTIME_SOCKETS.iter().any(|name| {
        path.strip_suffix(name).is_some_and(|folder| folder.is_empty() || folder.ends_with('/'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, exec, open, privilege};
    use crate::event::{Ids, Place};
    use std::sync::Arc;

    use crate::record::Container;
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const ONE: [(&str, Severity); 1] = [("privilege_change", Severity::Critical)];

    fn user(uid: u32) -> Scene {
        let mut scene = Scene::new(Covert);
        scene.process.uid = uid;
        scene
    }

    #[test]
    fn ways_out_fire_for_everybody_and_in_every_relation() {
        for operation in [
            Operation::Unshare,
            Operation::Clone,
            Operation::Setns,
            Operation::Mount,
            Operation::Umount,
            Operation::Fsmount,
            Operation::OpenTree,
            Operation::MoveMount,
            Operation::PivotRoot,
            Operation::Chroot,
            Operation::Bpf,
            Operation::InitModule,
            Operation::FinitModule,
            Operation::DeleteModule,
            Operation::KexecLoad,
            Operation::KexecFileLoad,
        ] {
            for (uid, relation) in [(0, Requested), (1000, Covert), (0, Background), (7, Startup)] {
                let mut scene = Scene::new(relation);
                scene.process.uid = uid;
                let mut deed = privilege(operation);
                assert_eq!(scene.found(Action::Privilege(&deed)), ONE, "{operation:?}");
                deed.result = Err(libc::EPERM);
                let found = scene.found(Action::Privilege(&deed));
                assert_eq!(found, [("privilege_change", Severity::High)], "{operation:?}");
            }
        }
    }

    #[test]
    fn a_copy_of_proc_that_is_refused_is_no_use_of_it() {
        for (path, result, found) in [
            ("/proc", Err(libc::EPERM), 0),
            ("/proc", Ok(5), 1),
            ("/root/.ssh", Err(libc::EPERM), 1),
        ] {
            let mut deed = privilege(Operation::OpenTree);
            deed.place = Some(Place { path: path.into(), ..Place::default() });
            deed.result = result;
            assert_eq!(user(1000).found(Action::Privilege(&deed)).len(), found, "{path}");
        }
    }

    #[test]
    fn asking_whether_there_is_a_call_is_no_use_of_it() {
        let mut deed = privilege(Operation::MountSetattr);
        assert_eq!(Scene::new(Covert).found(Action::Privilege(&deed)), ONE);
        deed.result = Err(libc::EINVAL);
        assert_eq!(Scene::new(Covert).found(Action::Privilege(&deed)), []);
    }

    #[test]
    fn a_file_opened_by_its_handle_fires() {
        let by_path = open("/etc/hosts", libc::O_RDONLY);
        assert_eq!(Scene::new(Covert).found(Action::Open(&by_path)), []);
        let by_handle = Open { via: Some(Via::Handle), ..by_path };
        assert_eq!(Scene::new(Requested).found(Action::Open(&by_handle)), ONE);
        let refused = Open { result: Err(libc::EPERM), ..by_handle };
        let found = Scene::new(Covert).found(Action::Open(&refused));
        assert_eq!(found, [("privilege_change", Severity::High)]);
    }

    #[test]
    fn ids_and_capabilities_fire_when_they_are_more() {
        let ids = |effective, saved| Ids { effective, saved, ..Ids::default() };
        for (uid, operation, ids, fires) in [
            (1000, Operation::Setuid, ids(Some(0), None), true),
            (1000, Operation::Setuid, ids(Some(1000), None), false),
            (1000, Operation::Setresuid, ids(Some(1000), Some(33)), true),
            (1000, Operation::Setresuid, ids(None, None), false),
            (0, Operation::Setuid, ids(Some(1000), None), false),
            (1000, Operation::Setgid, ids(Some(0), None), true),
            (1000, Operation::Setgid, ids(Some(100), None), false),
            (1000, Operation::Setgroups, ids(None, None), true),
            (0, Operation::Setgroups, ids(None, None), false),
        ] {
            let mut deed = privilege(operation);
            deed.ids = ids;
            let found = user(uid).found(Action::Privilege(&deed));
            assert_eq!(!found.is_empty(), fires, "{uid} {operation:?} {ids:?}");
        }
        for (uid, sets, fires) in [
            (1000, [1, 1, 0], true),
            (1000, [0, 1, 1], true),
            (1000, [0, 1, 0], false),
            (0, [1, 1, 1], false),
        ] {
            let mut deed = privilege(Operation::Capset);
            deed.capabilities = Some(sets);
            assert_eq!(
                !user(uid).found(Action::Privilege(&deed)).is_empty(),
                fires,
                "{uid} {sets:?}"
            );
        }
    }

    #[test]
    fn capabilities_kept_or_handed_on_fire_like_those_asked_for() {
        let mut deed = privilege(Operation::Prctl);
        for ambient in [None, Some(13)] {
            deed.ambient = ambient;
            assert_eq!(user(1000).found(Action::Privilege(&deed)), ONE, "{ambient:?}");
            assert_eq!(user(0).found(Action::Privilege(&deed)), [], "{ambient:?}");
        }
        deed.result = Err(libc::EPERM);
        let found = user(1000).found(Action::Privilege(&deed));
        assert_eq!(found, [("privilege_change", Severity::High)]);
    }

    #[test]
    fn programs_that_give_more_than_their_caller_has_are_deeds_for_whoever_is_not_root() {
        let mut sudo = exec("/usr/bin/sudo", &["sudo", "id"]);
        assert_eq!(user(1000).found(Action::Exec(&sudo)), []);
        sudo.set_user_id = true;
        assert_eq!(user(1000).found(Action::Exec(&sudo)), ONE);
        assert_eq!(user(0).found(Action::Exec(&sudo)), []);
        let mut capable = exec("/home/ada/tool", &["tool"]);
        capable.file_capabilities = true;
        assert_eq!(user(1000).found(Action::Exec(&capable)), ONE);
        assert_eq!(user(0).found(Action::Exec(&capable)), []);
        let mut grouped = exec("/home/ada/tool", &["tool"]);
        grouped.set_group_id = true;
        assert_eq!(user(1000).found(Action::Exec(&grouped)), ONE);
        // What runs it already.
        let mut same = user(1000);
        same.process.exe = capable.path.clone();
        assert_eq!(same.found(Action::Exec(&capable)), []);
        assert_eq!(same.found(Action::Exec(&grouped)), []);
        let mut scene = user(1000);
        scene.given.allow.exec = vec!["/usr/bin/sudo".into()];
        assert_eq!(scene.found(Action::Exec(&sudo)), []);
    }

    #[test]
    fn sockets_of_container_runtimes() {
        let connect = |path: &str| Net {
            operation: NetOperation::Connect,
            family: 1,
            socket_type: 1,
            protocol: 0,
            endpoint: None,
            other: None,
            unix_path: Some(path.into()),
            bound_path: None,
            result: Some(Ok(0)),
        };
        for (path, fires) in [
            ("/var/run/docker.sock", true),
            ("/run/containerd/containerd.sock", true),
            ("/run/crio/crio.sock", true),
            ("/run/user/1000/podman/podman.sock", true),
            ("/var/lib/lxd/unix.socket", true),
            ("/tmp/mydocker.sock", false),
            ("/run/user/1000/bus", false),
        ] {
            let found = user(1000).found(Action::Net(&connect(path)));
            assert_eq!(!found.is_empty(), fires, "{path}");
        }
        // By a link, or another mount.
        let hidden = Net { bound_path: Some("/run/docker.sock".into()), ..connect("/tmp/x") };
        assert_eq!(user(1000).found(Action::Net(&hidden)), ONE);
        let requested = Scene::new(Requested).found(Action::Net(&connect("/var/run/docker.sock")));
        assert_eq!(requested, [("privilege_change", Severity::Medium)]);
        let mut scene = user(1000);
        scene.given.argv = vec!["docker-mcp".into(), "x/var/run/docker.sock".into()];
        assert_eq!(scene.found(Action::Net(&connect("/var/run/docker.sock"))), ONE);
        scene.given.paths = vec!["/run/docker.sock".into()];
        assert_eq!(scene.found(Action::Net(&connect("/var/run/docker.sock"))), []);
        scene.given.paths.clear();
        let absent = Net { result: Some(Err(libc::ENOENT)), ..connect("/var/run/docker.sock") };
        let found = user(1000).found(Action::Net(&absent));
        assert_eq!(found, [("privilege_change", Severity::Low)]);
    }

    #[test]
    fn the_container_a_server_is_launched_in_is_explained() {
        let mut mount = privilege(Operation::Mount);
        mount.place = Some(Place { path: "/proc".into(), ..Place::default() });
        let mut scene = user(0);
        scene.process.exe = "/usr/bin/crun".into();
        assert_eq!(scene.found(Action::Privilege(&mount)), ONE);
        scene.given.argv = ["server", "/home/me/docker", "podman"].map(Into::into).into();
        scene.given.launchers = vec!["node".into()];
        assert_eq!(scene.found(Action::Privilege(&mount)), ONE);
        scene.given.launchers = vec!["podman".into()];
        assert_eq!(scene.found(Action::Privilege(&mount)), []);
        // What runs inside is the server.
        scene.process.exe = "/usr/bin/python3".into();
        assert_eq!(scene.found(Action::Privilege(&mount)), ONE);
        scene.process.exe = "/usr/bin/crun".into();
        scene.process.container = Some(Arc::new(Container {
            id: "1".into(),
            runtime: "podman".into(),
            image: None,
            pod: None,
            namespace: None,
            name: None,
            pod_name: None,
        }));
        assert_eq!(scene.found(Action::Privilege(&mount)), ONE);
        scene.process.container = None;
        scene.process.exe = "/tmp/crun".into();
        assert_eq!(scene.found(Action::Privilege(&mount)), ONE);
    }
}
