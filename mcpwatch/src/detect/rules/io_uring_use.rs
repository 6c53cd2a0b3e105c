//! `io_uring_use`: a server set up an `io_uring`, whose work no system call shows.

use super::ATLAS_VERSION;
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
    tags: Tags { attack: &["T1562"], atlas: &[], owasp_mcp: &["MCP05"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "Work given to an io_uring is done by the kernel without a system call: files renamed, linked, \
        removed or made and bytes moved that way are not seen. Files opened through it are, where the hook \
        `io_uring_open` works (`mcpwatch doctor`), and connections and datagrams, where cgroup v2 is mounted.",
    trigger: "A process of the server's tree calls io_uring_setup, or tries to.",
    explained_by: &["`allow.exec` of the server's settings names the program"],
    playbook: "Find out what uses it: a runtime (some versions of Node.js, Rust with tokio-uring) or a \
        library may do so by itself. If nothing explains it, take what the server did to files from then on, \
        but for opening them, as unseen. `sysctl kernel.io_uring_disabled=2` (Linux 6.6) switches it off for the host.",
    yields_to: &[],
};

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
            || knowledge.policy.allows_program(&effect.given.allow, &effect.process.exe)
        {
            return None;
        }
        let result = privilege.result.map(|_| 0);
        let severity = INFO.severities.of_result(effect.attribution.relation, result)?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, privilege};
    use crate::event::Privilege;
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    #[test]
    fn a_ring_is_medium_and_an_attempt_low() {
        let ring = privilege(Operation::IoUringSetup);
        for relation in [Requested, Covert, Background, Startup] {
            let found = Scene::new(relation).found(Action::Privilege(&ring));
            assert_eq!(found, [("io_uring_use", Severity::Medium)], "{relation:?}");
        }
        let refused = Privilege { result: Err(libc::EPERM), ..ring.clone() };
        let found = Scene::new(Covert).found(Action::Privilege(&refused));
        assert_eq!(found, [("io_uring_use", Severity::Low)]);
        let mut scene = Scene::new(Covert);
        scene.given.allow.exec = vec!["/usr/bin/node".into()];
        assert_eq!(scene.found(Action::Privilege(&ring)), []);
    }
}
