//! `io_uring_use`: a server set up an `io_uring`, whose work no system call shows.

use super::ATLAS_VERSION;
use crate::detect::paths::file_name;
use crate::detect::reason::{cause, circumstances, evidence, server};
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::event::Operation;
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "io_uring_use",
    title: "io_uring set up by a server",
    severities: Severities {
        refused: Some(Severity::Low),
        absent: Some(Severity::Info),
        ..Severities::always(Severity::Medium)
    },
    tags: Tags { attack: &["T1562"], atlas: &[], owasp_mcp: &[], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "Work given to an io_uring is done by the kernel without a system call: what is read and written \
        that way is not seen; messages of the server's channel and connections it takes are counted as `loss`, \
        unless the channel is a file registered with the ring. Files renamed, linked, removed, cut or opened through \
        it are seen (`file.via`), and sockets connected, bound and listened on, where the hooks `io_uring_submit` and \
        `io_uring_open` work (`mcpwatch doctor`); what came of it is known of opens alone, and only with the second. \
        Datagrams, and where connections in IP networks really go, are seen where cgroup v2 is mounted.",
    trigger: "A process of the server's tree calls io_uring_setup, or tries to. At most of low severity when \
        its program is a runtime whose event loop does so by itself: node, nodejs, bun, deno, python (libuv, \
        uvloop).",
    explained_by: &[
        "the launcher (`npx`, `uvx`, …) on the way to the server",
        "`allow.exec` of the server's settings names the program",
    ],
    playbook: "Find out what uses it: a runtime or a library may do so by itself (libuv, and so Node.js, in \
        every event loop; Rust with tokio-uring), which is no sign of anything. If \
        nothing explains it, look at what the server did to files through it (`file.via`), take what is told \
        without a result as done, and what it moved through it as unseen. `sysctl kernel.io_uring_disabled=2` \
        (Linux 6.6) switches it off for the host.",
    yields_to: &[],
};

/// Runtimes whose event loops set up rings by themselves. Where they lie says nothing: version managers put
/// them below homes.
const RUNTIMES: &[&str] = &["node", "nodejs", "bun", "deno", "python", "pypy"];

/// The rule.
struct IoUringUse;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(IoUringUse))
}

impl Rule for IoUringUse {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let Action::Privilege(privilege) = effect.action else { return None };
        if privilege.operation != Operation::IoUringSetup
            || effect.launching
            || knowledge.policy.allows_program(&effect.given.allow, &effect.process.exe)
        {
            return None;
        }
        let result = privilege.result.map(|_| 0);
        let severity = INFO.severities.of_result(effect.attribution.relation, result)?;
        let severity =
            if is_runtime(&effect.process.exe) { severity.min(Severity::Low) } else { severity };
        let did = if result.is_ok() { "set up an io_uring" } else { "tried to set up an io_uring" };
        let mut found = vec![evidence("operation", privilege.operation.name())];
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!("Server {} {did} {}.", server(effect), cause(effect)),
            evidence: found,
            object: effect.process.exe.clone(),
        })
    }
}

/// `python3.12` is `python`.
fn is_runtime(exe: &str) -> bool {
    let name = file_name(exe);
    RUNTIMES.contains(&name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.'))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, privilege};
    use crate::event::Privilege;
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    #[test]
    fn a_ring_is_medium_and_an_attempt_low() {
        let ring = privilege(Operation::IoUringSetup);
        let running = |exe: &str, relation| {
            let mut scene = Scene::new(relation);
            scene.process.exe = exe.into();
            scene
        };
        for relation in [Requested, Covert, Background, Startup] {
            let found = running("/opt/server", relation).found(Action::Privilege(&ring));
            assert_eq!(found, [("io_uring_use", Severity::Medium)], "{relation:?}");
        }
        let refused = Privilege { result: Err(libc::EPERM), ..ring.clone() };
        let found = running("/opt/server", Covert).found(Action::Privilege(&refused));
        assert_eq!(found, [("io_uring_use", Severity::Low)]);
        let mut scene = running("/opt/server", Covert);
        scene.given.allow.exec = vec!["/opt/server".into()];
        assert_eq!(scene.found(Action::Privilege(&ring)), []);
    }

    #[test]
    fn event_loops_of_runtimes_are_low_and_launchers_silent() {
        let ring = privilege(Operation::IoUringSetup);
        for (exe, severity) in [
            ("/usr/bin/node", Severity::Low),
            ("/home/me/.nvm/versions/node/v20.3.1/bin/node", Severity::Low),
            ("/usr/bin/python3.12", Severity::Low),
            ("/usr/local/bin/bun", Severity::Low),
            ("/usr/bin/nodemon", Severity::Medium),
            ("/usr/bin/python/tool", Severity::Medium),
        ] {
            let mut scene = Scene::new(Startup);
            scene.process.exe = exe.into();
            assert_eq!(
                scene.found(Action::Privilege(&ring)),
                [("io_uring_use", severity)],
                "{exe}"
            );
            scene.launching = true;
            assert_eq!(scene.found(Action::Privilege(&ring)), [], "{exe}");
        }
    }
}
