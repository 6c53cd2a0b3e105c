//! What ordinary programs do that looks like [`super`]'s deeds: container programs a server is launched with,
//! and browsers, debuggers and tools that do with less than others because the kernel lets everybody.

use crate::detect::paths::{file_name, parent};
use crate::detect::programs::in_system_folder;
use crate::detect::{Action, Effect, Given, Knowledge};
use crate::event::Operation;
use crate::record::{Relation, Severity};

/// Programs that make containers or sandboxes, and what these start for that.
const RUNTIMES: &[&str] = &[
    "podman",
    "docker",
    "nerdctl",
    "buildah",
    "conmon",
    "conmonrs",
    "crun",
    "runc",
    "youki",
    "bwrap",
    "firejail",
    "systemd-nspawn",
    "unshare",
    "nsenter",
    "newuidmap",
    "newgidmap",
    "slirp4netns",
    "pasta",
    "passt",
    "netavark",
    "aardvark-dns",
    "fuse-overlayfs",
    "catatonit",
    "rootlessport",
    "containers-rootlessport",
    "iptables",
    "nft",
    "mount",
    "umount",
    "fusermount",
    "fusermount3",
    "flatpak",
    "snap",
    "snap-confine",
    "snap-update-ns",
];
/// Browsers and their helpers, which put their own children into sandboxes.
const BROWSERS: &[&str] = &[
    "chrome",
    "google-chrome",
    "chromium",
    "chromium-browser",
    "headless_shell",
    "chrome-headless-shell",
    "msedge",
    "firefox",
    "firefox-bin",
    "firefox-esr",
];
/// The set-user-ID helper of Chromium.
const BROWSER_HELPERS: &[&str] = &["chrome-sandbox", "chrome_sandbox"];
/// Where tools for the control of browsers put them.
const BROWSER_FOLDERS: &[&str] = &["/.cache/ms-playwright/", "/.cache/puppeteer/"];
/// Lets everybody mount file systems of their own, and nothing else. Programs that are one file start with it.
const MOUNT_HELPERS: &[&str] = &["fusermount", "fusermount3"];
/// What distributions give a group or capabilities for one thing each, without which it would be set-user-ID.
const NARROW_TOOLS: &[&str] = &[
    "ping",
    "ping4",
    "ping6",
    "arping",
    "clockdiff",
    "mtr-packet",
    "gst-ptp-helper",
    "ssh-agent",
    "gnome-keyring-daemon",
    "plocate",
    "locate",
    "mlocate",
    "crontab",
    "chage",
    "expiry",
    "unix_chkpwd",
    "write",
    "bsd-write",
    "wall",
    "dotlockfile",
];
/// `PTRACE_TRACEME`.
const TRACE_ME: u32 = 0;
/// `CLONE_NEWUSER` of `include/uapi/linux/sched.h`.
const NEW_USER: u64 = 0x1000_0000;

/// The most that a deed matters, where it is what ordinary programs do.
pub(super) fn most(effect: &Effect<'_>, knowledge: &Knowledge) -> Option<Severity> {
    let exe = effect.process.exe.as_str();
    let requested = effect.attribution.relation == Relation::Requested;
    match effect.action {
        // What a debugger's child does: it gives itself to its parent.
        Action::Access(access) if access.request == Some(TRACE_ME) => Some(Severity::Low),
        // Whoever starts a process can do with it what they like.
        Action::Access(_) if effect.reached.is_some_and(|reached| reached.below) => {
            Some(if requested { Severity::Low } else { Severity::Medium })
        }
        Action::Net(_) if requested => Some(Severity::Medium),
        Action::Exec(exec) => {
            let helper = is_helper(effect, &exec.path, MOUNT_HELPERS)
                || is_helper(effect, &exec.path, BROWSER_HELPERS)
                || (!exec.set_user_id && is_helper(effect, &exec.path, NARROW_TOOLS));
            helper.then_some(Severity::Low)
        }
        Action::Privilege(privilege) => {
            let low = match privilege.operation {
                Operation::Unshare | Operation::Clone => {
                    is_helper(effect, exe, BROWSER_HELPERS)
                        || (privilege.namespaces & NEW_USER != 0 && is_browser(exe))
                }
                Operation::Chroot => is_browser(exe) || is_helper(effect, exe, BROWSER_HELPERS),
                // Nobody gets more that way than is permitted already. An interpreter's is the server's own doing.
                Operation::Capset | Operation::Prctl => {
                    is_browser(exe)
                        || (in_system_folder(exe)
                            && knowledge.programs.spawned_as(exe, &[]).is_none())
                }
                Operation::Mount | Operation::Umount => is_helper(effect, exe, MOUNT_HELPERS),
                Operation::Setuid
                | Operation::Setreuid
                | Operation::Setresuid
                | Operation::Setfsuid
                | Operation::Setgid
                | Operation::Setregid
                | Operation::Setresgid
                | Operation::Setfsgid
                | Operation::Setgroups => {
                    is_helper(effect, exe, MOUNT_HELPERS) || is_helper(effect, exe, BROWSER_HELPERS)
                }
                _ => false,
            };
            low.then_some(Severity::Low)
        }
        _ => None,
    }
}

fn is_browser(exe: &str) -> bool {
    BROWSERS.contains(&file_name(exe)) && (in_system_folder(exe) || of_browser_folder(exe))
}

fn is_helper(effect: &Effect<'_>, exe: &str, names: &[&str]) -> bool {
    // In a container its programs have whatever names they like.
    effect.process.container.is_none()
        && names.contains(&file_name(exe))
        && (in_system_folder(exe) || of_browser_folder(exe))
}

fn of_browser_folder(exe: &str) -> bool {
    exe.starts_with("/ms-playwright/") || BROWSER_FOLDERS.iter().any(|folder| exe.contains(folder))
}

/// Whether the process is a part of the container or sandbox the server is launched with.
pub(super) fn is_runtime(effect: &Effect<'_>) -> bool {
    let is_one = |program: &str| RUNTIMES.contains(&file_name(program));
    let exe = effect.process.exe.as_str();
    // In a container its programs have whatever names they like.
    effect.process.container.is_none()
        && launched_in_one(effect.given)
        // runc executes a copy of itself in memory.
        && (exe.starts_with("/memfd:runc_cloned:")
            || (is_one(exe) && in_system_folder(exe))
            || is_docker_plugin(effect.given, exe))
}

/// Whether a container or sandbox program is what the launch runs.
fn launched_in_one(given: &Given) -> bool {
    given.launchers.iter().any(|name| RUNTIMES.contains(&name.as_str()))
}

/// Docker's commands beyond its own are programs in folders of that name, of the system and of users.
fn is_docker_plugin(given: &Given, exe: &str) -> bool {
    given.launchers.iter().any(|name| name == "docker")
        && file_name(exe).starts_with("docker-")
        && file_name(parent(exe)) == "cli-plugins"
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Reached;
    use crate::detect::tests::{Scene, exec, privilege};
    use crate::event::{Access, Ids};
    use crate::record::Relation::{Covert, Requested, Startup};

    fn running(exe: &str) -> Scene {
        let mut scene = Scene::new(Covert);
        scene.process.exe = exe.into();
        scene
    }

    /// What the rule says of it, however much it matters.
    fn severity(scene: &Scene, action: Action<'_>) -> Option<Severity> {
        let found = scene.found(action);
        found.iter().find(|(rule, _)| *rule == "privilege_change").map(|(_, severity)| *severity)
    }

    #[test]
    fn settings_allow_all_but_changes_of_the_kernel() {
        let mut scene = running("/opt/tool");
        scene.given.allow.exec = vec!["/opt/tool".into()];
        for (operation, allowed) in [
            (Operation::Unshare, true),
            (Operation::Mount, true),
            (Operation::Setgroups, true),
            (Operation::Bpf, false),
            (Operation::FinitModule, false),
            (Operation::DeleteModule, false),
            (Operation::KexecFileLoad, false),
        ] {
            let found = severity(&scene, Action::Privilege(&privilege(operation)));
            assert_eq!(found, (!allowed).then_some(Severity::Critical), "{operation:?}");
        }
    }

    #[test]
    fn a_process_has_itself_and_its_children_in_hand() {
        let access = |pid| Access {
            operation: Operation::ProcessVmWritev,
            request: None,
            target: Some(pid),
            namespace_target: None,
            result: Ok(()),
        };
        let reached = |below| Reached {
            pid: 77,
            exe: "/x".into(),
            server: None,
            own: true,
            below,
            channel: None,
        };
        for (relation, below, expected) in [
            (Covert, true, Severity::Medium),
            (Startup, true, Severity::Medium),
            (Requested, true, Severity::Low),
            (Requested, false, Severity::Critical),
            (Covert, false, Severity::Critical),
        ] {
            let mut scene = Scene::new(relation);
            scene.reached = Some(reached(below));
            let found = severity(&scene, Action::Access(&access(77)));
            assert_eq!(found, Some(expected), "{relation:?} {below}");
        }
        let scene = Scene::new(Covert);
        assert_eq!(severity(&scene, Action::Access(&access(scene.process.pid))), None);
        assert_eq!(severity(&scene, Action::Access(&access(77))), Some(Severity::Critical));
        let request = |request| Access {
            operation: Operation::Ptrace,
            request: Some(request),
            target: None,
            ..access(77)
        };
        assert_eq!(severity(&scene, Action::Access(&request(0))), Some(Severity::Low));
        assert_eq!(severity(&scene, Action::Access(&request(16))), Some(Severity::Critical));
    }

    #[test]
    fn capset_and_its_like_of_programs_of_the_system_are_low() {
        let mut capset = privilege(Operation::Capset);
        capset.capabilities = Some([1, 1, 0]);
        let mut ambient = privilege(Operation::Prctl);
        ambient.ambient = Some(13);
        for (exe, expected) in [
            ("/usr/bin/ping", Severity::Low),
            ("/usr/bin/python3.12", Severity::Critical),
            ("/usr/bin/bash", Severity::Critical),
            ("/home/me/ping", Severity::Critical),
        ] {
            for deed in [&capset, &ambient] {
                let found = severity(&running(exe), Action::Privilege(deed));
                assert_eq!(found, Some(expected), "{exe}");
            }
        }
    }

    #[test]
    fn plugins_of_docker_are_docker_where_docker_is_launched() {
        let deed = privilege(Operation::Unshare);
        for (exe, silent) in [
            ("/home/me/.docker/cli-plugins/docker-mcp", true),
            ("/usr/libexec/docker/cli-plugins/docker-buildx", true),
            ("/home/me/docker-mcp", false),
            ("/home/me/.docker/cli-plugins/other", false),
        ] {
            let mut scene = running(exe);
            assert_eq!(severity(&scene, Action::Privilege(&deed)), Some(Severity::Critical));
            scene.given.launchers = vec!["docker".into()];
            let expected = (!silent).then_some(Severity::Critical);
            assert_eq!(severity(&scene, Action::Privilege(&deed)), expected, "{exe}");
        }
    }

    #[test]
    fn programs_of_snaps_are_set_up_by_snap() {
        let deed = privilege(Operation::Mount);
        let mut scene = running("/usr/lib/snapd/snap-confine");
        assert_eq!(severity(&scene, Action::Privilege(&deed)), Some(Severity::Critical));
        scene.given.launchers = vec!["snap".into()];
        assert_eq!(severity(&scene, Action::Privilege(&deed)), None);
    }

    #[test]
    fn browsers_sandbox_their_children() {
        let mut user = privilege(Operation::Clone);
        user.namespaces = NEW_USER | 0x2000_0000;
        let mut capset = privilege(Operation::Capset);
        capset.capabilities = Some([1, 1, 0]);
        let chroot = privilege(Operation::Chroot);
        for (exe, browser) in [
            ("/opt/google/chrome/chrome", true),
            ("/home/me/.cache/ms-playwright/chromium-1200/chrome-linux/headless_shell", true),
            ("/ms-playwright/firefox-1482/firefox/firefox", true),
            ("/root/.cache/puppeteer/chrome/linux-1/chrome-linux64/chrome", true),
            ("/home/me/chrome", false),
            ("/tmp/chromium", false),
            ("/opt/google/chrome/other", false),
        ] {
            let expected = if browser { Severity::Low } else { Severity::Critical };
            for deed in [&user, &chroot] {
                let found = severity(&running(exe), Action::Privilege(deed));
                assert_eq!(found, Some(expected), "{exe} {deed:?}");
            }
            if browser {
                let found = severity(&running(exe), Action::Privilege(&capset));
                assert_eq!(found, Some(Severity::Low), "{exe}");
            }
            // Nothing that only root may, and no namespaces of others.
            for operation in [Operation::Mount, Operation::Setns, Operation::Unshare] {
                let found = severity(&running(exe), Action::Privilege(&privilege(operation)));
                assert_eq!(found, Some(Severity::Critical), "{exe} {operation:?}");
            }
        }
    }

    #[test]
    fn helpers_that_let_everybody_do_one_thing_are_low() {
        let mut set_id = privilege(Operation::Setresuid);
        set_id.ids = Ids { real: Some(0), ..Ids::default() };
        for (exe, expected) in [
            ("/opt/google/chrome/chrome-sandbox", Severity::Low),
            ("/usr/bin/fusermount3", Severity::Low),
            ("/usr/bin/sudo", Severity::Critical),
            ("/tmp/fusermount3", Severity::Critical),
        ] {
            let mut helper = exec(exe, &[exe]);
            helper.set_user_id = true;
            let node = Scene::new(Startup);
            assert_eq!(severity(&node, Action::Exec(&helper)), Some(expected), "{exe}");
            let found = severity(&running(exe), Action::Privilege(&set_id));
            assert_eq!(found, Some(expected), "{exe}");
        }
        let mount = privilege(Operation::Mount);
        let found = severity(&running("/usr/bin/fusermount3"), Action::Privilege(&mount));
        assert_eq!(found, Some(Severity::Low));
    }

    #[test]
    fn tools_of_the_system_for_one_thing_are_low_and_what_runs_anything_is_not() {
        for (exe, expected) in [
            ("/usr/bin/ping", Severity::Low),
            ("/usr/bin/ssh-agent", Severity::Low),
            ("/usr/bin/python3", Severity::Critical),
            ("/bin/busybox", Severity::Critical),
            ("/usr/bin/gdb", Severity::Critical),
            ("/usr/bin/tar", Severity::Critical),
            ("/tmp/ping", Severity::Critical),
        ] {
            for (set_user_id, set_group_id) in [(false, true), (false, false), (true, true)] {
                let mut tool = exec(exe, &[exe]);
                tool.set_user_id = set_user_id;
                tool.set_group_id = set_group_id;
                tool.file_capabilities = !set_group_id;
                let expected = if set_user_id { Severity::Critical } else { expected };
                let found = severity(&Scene::new(Covert), Action::Exec(&tool));
                assert_eq!(found, Some(expected), "{exe} {set_user_id} {set_group_id}");
            }
        }
    }
}
