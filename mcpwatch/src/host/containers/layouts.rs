//! Path of a cgroup → container: how runtimes name the groups they make, as tables. Pure.
//!
//! The innermost container counts: a cluster in a container (kind, k3d) has paths with two.

use super::Container;

/// What stands for the container in the name of its group.
#[derive(Clone, Copy)]
enum Id {
    /// The 64 hexadecimal digits that all but the bare runtimes give.
    Hex,
    /// Whatever the container was called.
    Name,
}

/// Groups named after runtime and container: `PREFIX ID`, as a scope of systemd or as it stands.
struct Named {
    prefix: &'static str,
    runtime: &'static str,
    id: Id,
}

const NAMED: &[Named] = &[
    // https://github.com/moby/moby/blob/master/daemon/oci_linux.go: `scopePrefix`.
    Named { prefix: "docker-", runtime: "docker", id: Id::Hex },
    // https://github.com/containerd/containerd: `internal/cri/server/helpers.go`, `getCgroupsPath`.
    Named { prefix: "cri-containerd-", runtime: "containerd", id: Id::Hex },
    Named { prefix: "containerd-", runtime: "containerd", id: Id::Hex },
    Named { prefix: "nerdctl-", runtime: "containerd", id: Id::Hex },
    // https://github.com/cri-o/cri-o: `internal/config/cgmgr`; conmon's own groups are `crio-conmon-ID`.
    Named { prefix: "crio-", runtime: "cri-o", id: Id::Hex },
    // https://github.com/containers/podman: `libpod/container_internal_linux.go`, `getOCICgroupPath`; with
    // `--cgroups=split` it is `libpod-payload-ID`, and conmon's own groups are `libpod-conmon-ID`.
    Named { prefix: "libpod-payload-", runtime: "podman", id: Id::Hex },
    Named { prefix: "libpod-", runtime: "podman", id: Id::Hex },
    // The defaults of the runtimes themselves, when nobody tells them a path.
    Named { prefix: "crun-", runtime: "crun", id: Id::Name },
    Named { prefix: "runc-", runtime: "runc", id: Id::Name },
    Named { prefix: "lxc.payload.", runtime: "lxc", id: Id::Name },
];

/// Groups named by the container alone, below one that is the runtime's.
struct Below {
    parent: &'static str,
    runtime: &'static str,
    id: Id,
}

const BELOW: &[Below] = &[
    Below { parent: "docker", runtime: "docker", id: Id::Hex },
    // Amazon ECS with cgroupfs: `/ecs/TASK/ID`; the agent there runs docker.
    Below { parent: "actions_job", runtime: "docker", id: Id::Hex },
    Below { parent: "libpod_parent", runtime: "podman", id: Id::Hex },
    // containerd's namespaces: nerdctl and ctr use `default`.
    Below { parent: "default", runtime: "containerd", id: Id::Hex },
    Below { parent: "k8s.io", runtime: "containerd", id: Id::Hex },
    Below { parent: "buildkit", runtime: "buildkit", id: Id::Name },
    Below { parent: "lxc", runtime: "lxc", id: Id::Name },
    Below { parent: "lxc.payload", runtime: "lxc", id: Id::Name },
];

/// Longest name of a container that is taken for one.
const NAME_BYTES: usize = 253;

/// The container whose processes are in this group, with runtime, id and the uid of a Kubernetes pod.
#[must_use]
pub fn of_cgroup(path: &str) -> Option<Container> {
    let parts: Vec<&str> = path.split('/').filter(|part| !matches!(*part, "" | "..")).collect();
    let (at, runtime, id) = parts.iter().enumerate().rev().find_map(|(at, part)| {
        let above = at.checked_sub(1).and_then(|above| parts.get(above)).copied();
        let below = parts.get(at + 1).copied();
        let (runtime, id) =
            named(part).or_else(|| machine(part, below)).or_else(|| alone(part, above))?;
        Some((at, runtime, id))
    })?;
    let pod = parts.iter().take(at + 1).rev().find_map(|part| pod_uid(part));
    // The CRI with cgroupfs: `/kubepods/burstable/podUID/ID`. Which runtime made it stands elsewhere.
    let runtime = if pod.is_some() && runtime == UNNAMED { "cri" } else { runtime };
    Some(Container { runtime: runtime.to_owned(), id, pod, ..Container::default() })
}

/// A container whose group says nothing of the runtime.
const UNNAMED: &str = "unknown";

fn named(part: &str) -> Option<(&'static str, String)> {
    // A slice groups containers, it is none.
    if part.strip_suffix(".slice").is_some() {
        return None;
    }
    let part = part.strip_suffix(".scope").unwrap_or(part);
    // containerd and docker told to use systemd, where the runtime did not: `SLICE:PREFIX:ID`.
    let fields: Vec<&str> = part.split(':').collect();
    let joined = match fields.as_slice() {
        [_, prefix, id] => format!("{prefix}-{id}"),
        [_] => part.to_owned(),
        _ => return None,
    };
    NAMED.iter().find_map(|layout| {
        let id = joined.strip_prefix(layout.prefix)?;
        is_id(id, layout.id).then(|| (layout.runtime, id.to_owned()))
    })
}

/// `machine-NAME.scope` and `systemd-nspawn@NAME.service`, which systemd writes with escapes. Virtual machines
/// have the like; and what supervises the machine is not in it.
fn machine(part: &str, below: Option<&str>) -> Option<(&'static str, String)> {
    let service = part
        .strip_prefix("systemd-nspawn@")
        .and_then(|rest| rest.strip_suffix(".service"))
        .filter(|_| below == Some("payload"));
    let scope = part
        .strip_prefix("machine-")
        .and_then(|rest| rest.strip_suffix(".scope"))
        .filter(|_| below != Some("supervisor"))
        .filter(|name| !name.starts_with("qemu"));
    let name = unescaped(service.or(scope)?);
    // libvirt's own containers are `machine-lxc\x2dNUMBER\x2dNAME`.
    let (runtime, name) = match name.strip_prefix("lxc-") {
        Some(name) => ("lxc", name.trim_start_matches(|digit: char| digit.is_ascii_digit())),
        None => ("systemd-nspawn", name.as_str()),
    };
    let name = name.strip_prefix('-').unwrap_or(name);
    is_id(name, Id::Name).then(|| (runtime, name.to_owned()))
}

fn alone(part: &str, above: Option<&str>) -> Option<(&'static str, String)> {
    let below = BELOW
        .iter()
        .find(|layout| above == Some(layout.parent) && is_id(part, layout.id))
        .map(|layout| layout.runtime);
    let runtime = match below {
        Some(runtime) => runtime,
        // `--cgroup-parent`, or a pod's group: nothing else has names like this.
        None if is_id(part, Id::Hex) => UNNAMED,
        None if is_ecs(part) => "docker",
        None => return None,
    };
    Some((runtime, part.to_owned()))
}

/// `TASK-NUMBER` of Amazon ECS since platform version 1.4: 32 hexadecimal digits and a number.
fn is_ecs(part: &str) -> bool {
    part.split_once('-').is_some_and(|(task, number)| {
        task.len() == 32
            && task.bytes().all(|byte| byte.is_ascii_hexdigit())
            && (6..=10).contains(&number.len())
            && number.bytes().all(|byte| byte.is_ascii_digit())
    })
}

fn is_id(text: &str, id: Id) -> bool {
    match id {
        Id::Hex => text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()),
        Id::Name => {
            (1..=NAME_BYTES).contains(&text.len())
                && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"_.+-".contains(&byte))
        }
    }
}

/// The uid in `podUID` and in `kubepods-burstable-podUID.slice`, where systemd wants `_` for `-`. Static pods
/// have 32 digits without any.
fn pod_uid(part: &str) -> Option<String> {
    let part = part.split(':').next().unwrap_or_default();
    let uid = match part.strip_suffix(".slice") {
        Some(slice) => slice.rsplit_once("-pod")?.1.replace('_', "-"),
        None => part.strip_prefix("pod")?.to_owned(),
    };
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let dashes = uid.bytes().filter(|byte| *byte == b'-').count();
    (digits == 32 && [0, 4].contains(&dashes) && digits + dashes == uid.len()).then_some(uid)
}

/// systemd's `\xHH`, see systemd-escape(1).
fn unescaped(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.push_str(before);
        let byte = after.get(..2).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        if let Some(byte) = byte.filter(u8::is_ascii) {
            out.push(char::from(byte));
            rest = after.get(2..).unwrap_or_default();
        } else {
            out.push_str("\\x");
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "4c6d8a9b0e1f22334455667788990011aabbccddeeff00112233445566778899";
    const B: &str = "b1946ac92492d2347c6235b4d2611184b1946ac92492d2347c6235b4d2611184";
    const UID: &str = "0f9c1e7a-6b1d-4d0f-9a39-5c1d1c1f7a10";
    const UID_: &str = "0f9c1e7a_6b1d_4d0f_9a39_5c1d1c1f7a10";
    /// The hash that a static pod has for a uid.
    const STATIC: &str = "a4b5c6d7e8f90123a4b5c6d7e8f90123";

    /// A path with `A`, `B`, `UID`, `UID_`, `STATIC` for the values above; then runtime, id and pod.
    const LAYOUTS: &[(&str, &str, &str, &str)] = &[
        // docker: cgroupfs (v1 and v2), systemd, swarm, rootless, a parent of one's own.
        ("/docker/A", "docker", "A", ""),
        ("/system.slice/docker-A.scope", "docker", "A", ""),
        ("/system.slice/docker-A.scope/init.scope", "docker", "A", ""),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-A.scope",
            "docker",
            "A",
            "",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/docker.service/docker/A",
            "docker",
            "A",
            "",
        ),
        ("/my.slice/docker-A.scope", "docker", "A", ""),
        ("/system.slice:docker:A", "docker", "A", ""),
        ("/own-parent/A", "unknown", "A", ""),
        ("/actions_job/A", "docker", "A", ""),
        ("/ecs/0123456789abcdef0123456789abcdef/A", "unknown", "A", ""),
        (
            "/ecs/0123456789abcdef0123456789abcdef/0123456789abcdef0123456789abcdef-3281014720",
            "docker",
            "0123456789abcdef0123456789abcdef-3281014720",
            "",
        ),
        // podman: cgroupfs, systemd, crun's group within, split (quadlet), rootless, in a pod of podman.
        ("/libpod_parent/libpod-A", "podman", "A", ""),
        ("/libpod_parent/A", "podman", "A", ""),
        ("/machine.slice/libpod-A.scope", "podman", "A", ""),
        ("/machine.slice/libpod-A.scope/container", "podman", "A", ""),
        ("/machine.slice/libpod-A.scope/container/system.slice/nginx.service", "podman", "A", ""),
        ("/system.slice/weather.service/libpod-payload-A", "podman", "A", ""),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-A.scope/container",
            "podman",
            "A",
            "",
        ),
        ("/user.slice/user-1000.slice/session-3.scope/libpod_parent/libpod-A", "podman", "A", ""),
        ("/machine.slice/machine-libpod_pod_B.slice/libpod-A.scope/container", "podman", "A", ""),
        // containerd by nerdctl and ctr.
        ("/default/A", "containerd", "A", ""),
        ("/system.slice/nerdctl-A.scope", "containerd", "A", ""),
        ("/system.slice/containerd-A.scope", "containerd", "A", ""),
        ("/k8s.io/A", "containerd", "A", ""),
        // Kubernetes: each quality of service, both drivers, both runtimes; static pods.
        ("/kubepods/burstable/podUID/A", "cri", "A", "UID"),
        ("/kubepods/besteffort/podUID/A", "cri", "A", "UID"),
        ("/kubepods/podUID/A", "cri", "A", "UID"),
        ("/kubepods/podSTATIC/A", "cri", "A", "STATIC"),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice/cri-containerd-A.scope",
            "containerd",
            "A",
            "UID",
        ),
        ("/kubepods.slice/kubepods-podUID_.slice/cri-containerd-A.scope", "containerd", "A", "UID"),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/crio-A.scope",
            "cri-o",
            "A",
            "UID",
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/crio-A.scope/container",
            "cri-o",
            "A",
            "UID",
        ),
        ("/kubepods/besteffort/podUID/crio-A", "cri-o", "A", "UID"),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-podUID_.slice/docker-A.scope",
            "docker",
            "A",
            "UID",
        ),
        ("/kubepods-burstable-podUID_.slice:cri-containerd:A", "containerd", "A", "UID"),
        (
            "/system.slice/containerd.service/kubepods-burstable-podUID_.slice:cri-containerd:A",
            "containerd",
            "A",
            "UID",
        ),
        ("/kubepods-burstable-podUID_.slice:crio:A", "cri-o", "A", "UID"),
        ("/system.slice/k3s.service/kubepods/burstable/podUID/A", "cri", "A", "UID"),
        // Nested: the innermost counts.
        ("/docker/B/docker/A", "docker", "A", ""),
        ("/docker/B/kubepods/besteffort/podUID/A", "cri", "A", "UID"),
        ("/docker/B/libpod_parent/libpod-A", "podman", "A", ""),
        (
            "/system.slice/docker-B.scope/kubelet.slice/kubelet-kubepods.slice/\
             kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-podUID_.slice/\
             cri-containerd-A.scope",
            "containerd",
            "A",
            "UID",
        ),
        ("/docker/A/system.slice/ssh.service", "docker", "A", ""),
        ("/docker/A/libpod_parent/conmon", "docker", "A", ""),
        // A pod around a container that runs docker: the inner one is in that pod, too.
        ("/kubepods/burstable/podUID/B/docker/A", "docker", "A", "UID"),
        // Seen out of a cgroup namespace of one's own.
        ("/../../podUID/A", "cri", "A", "UID"),
        ("/../A", "unknown", "A", ""),
        // Bare runtimes, LXC, machines.
        ("/system.slice/crun-weather_1.scope", "crun", "weather_1", ""),
        ("/user.slice/runc-x.scope", "runc", "x", ""),
        ("/lxc/web", "lxc", "web", ""),
        ("/lxc.payload.web", "lxc", "web", ""),
        ("/lxc.payload/web/init.scope", "lxc", "web", ""),
        ("/machine.slice/machine-web.scope", "systemd-nspawn", "web", ""),
        ("/machine.slice/machine-my\\x2dweb.scope/payload", "systemd-nspawn", "my-web", ""),
        (
            "/machine.slice/systemd-nspawn@web.service/payload/init.scope",
            "systemd-nspawn",
            "web",
            "",
        ),
        ("/machine.slice/machine-lxc\\x2d12\\x2dweb.scope", "lxc", "web", ""),
        ("/buildkit/k2xq5s9y4v1b7", "buildkit", "k2xq5s9y4v1b7", ""),
    ];

    const NONE: &[&str] = &[
        "",
        "/",
        "/..",
        "/init.scope",
        "/system.slice/docker.service",
        "/system.slice/containerd.service",
        "/user.slice/user-1000.slice/session-3.scope",
        // What looks after a container is not in it.
        "/machine.slice/libpod-conmon-A.scope",
        "/system.slice/crio-conmon-A.scope",
        "/libpod_parent/conmon",
        "/lxc.monitor.web",
        "/machine.slice/machine-web.scope/supervisor",
        "/machine.slice/systemd-nspawn@web.service/supervisor",
        "/machine.slice/systemd-nspawn@web.service",
        // Virtual machines.
        "/machine.slice/machine-qemu\\x2d1\\x2dvm.scope",
        // Groups of containers, and what is no id.
        "/kubepods/burstable/podUID",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-podUID_.slice",
        "/machine.slice/machine-libpod_pod_B.slice",
        "/docker/short",
        "/docker-short.scope",
        "/system.slice/docker-AA.scope",
        "/docker/buildx",
        "/lxc",
        "/a:b:c:d",
        "/machine.slice/machine-\\x2f\\x2e.scope",
    ];

    fn filled(template: &str) -> String {
        let mut text = template.to_owned();
        // The longer names first; ids stand where no other capital letter does.
        for (name, value) in [("UID_", UID_), ("UID", UID), ("STATIC", STATIC)] {
            text = text.replace(name, value);
        }
        text.replace('A', A).replace('B', B)
    }

    #[test]
    fn every_layout_is_told() {
        for (path, runtime, id, pod) in LAYOUTS {
            let path = filled(path);
            let found = of_cgroup(&path).unwrap_or_else(|| panic!("{path}"));
            let pod = (!pod.is_empty()).then(|| filled(pod));
            let expected = Container {
                runtime: (*runtime).to_owned(),
                id: filled(id),
                pod,
                ..Container::default()
            };
            assert_eq!(found, expected, "{path}");
        }
    }

    #[test]
    fn every_row_of_the_tables_is_among_the_layouts() {
        let has = |name: &str| LAYOUTS.iter().any(|(path, ..)| path.contains(name));
        for layout in NAMED {
            // As it begins a component: containerd's own prefix stands in `cri-containerd-`, too.
            assert!(has(&format!("/{}", layout.prefix)), "{}", layout.prefix);
        }
        for layout in BELOW {
            assert!(has(&format!("/{}/", layout.parent)), "{}", layout.parent);
        }
    }

    #[test]
    fn what_is_no_container_is_none() {
        for path in NONE {
            assert_eq!(of_cgroup(&filled(path)), None, "{path}");
        }
    }

    #[test]
    fn escapes_of_systemd_are_undone_and_broken_ones_left() {
        for (text, expected) in
            [("a\\x2db", "a-b"), ("\\x", "\\x"), ("\\xzz", "\\xzz"), ("\\xff", "\\xff"), ("a", "a")]
        {
            assert_eq!(unescaped(text), expected);
        }
    }
}
