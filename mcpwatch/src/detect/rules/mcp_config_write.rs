//! `mcp_config_write`: a server wrote the configuration of an MCP client.

use super::ATLAS_VERSION;
use super::mcp_config_read::{config_of, finding, is_given};
use crate::detect::{
    Action, ClientConfigOf, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities,
};
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "mcp_config_write",
    title: "MCP client configuration written by a server",
    severities: Severities {
        refused: Some(Severity::High),
        absent: Some(Severity::Medium),
        ..Severities::always(Severity::Critical)
    },
    tags: Tags { attack: &["T1546"], atlas: &["AML.T0081"], owasp_mcp: &["MCP09"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "Whoever writes a client's configuration decides which programs the client starts next, \
        with the user's rights: it is a way to stay, and to put a server of one's own beside the others.",
    trigger: "A process of the server's tree opens a file at a place where an MCP client keeps its \
        servers for writing, or tries to. A file moved into that place is not seen yet.",
    explained_by: &["this very file is named by the server's command line or configuration"],
    playbook: "Compare the file with a known state: look for new servers, changed commands and arguments, \
        new hooks. Do not start the client before. Stop the server, restore the file, and look for \
        what the new entries would have started, which may already lie on the disk.",
    yields_to: &[],
};

/// The rule.
struct McpConfigWrite {
    client_config_of: ClientConfigOf,
}

/// Makes the rule.
pub fn build(knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(McpConfigWrite { client_config_of: knowledge.client_config_of }))
}

impl Rule for McpConfigWrite {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, _knowledge: &mut Knowledge) -> Option<Finding> {
        let Action::Open(open) = effect.action else { return None };
        if !open.writes() {
            return None;
        }
        let (path, client) = config_of(open, self.client_config_of)?;
        if is_given(effect.given, &path) {
            return None;
        }
        let verb = if open.result.is_ok() { "opened for writing" } else { "tried to write" };
        finding(&INFO, effect, open, &path, client, verb)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, failed_open, open};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    #[test]
    fn a_write_is_critical_and_one_alert() {
        for flags in [libc::O_WRONLY, libc::O_RDWR, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC]
        {
            let open = open("/tmp/home/.cursor/mcp.json", flags);
            for relation in [Requested, Covert, Background, Startup] {
                let found = Scene::new(relation).found(Action::Open(&open));
                assert_eq!(found, [("mcp_config_write", Severity::Critical)], "{relation:?}");
            }
        }
    }

    #[test]
    fn attempts_matter_less() {
        let table = [(libc::EACCES, Severity::High), (libc::ENOENT, Severity::Medium)];
        for (error, severity) in table {
            let open = failed_open("/home/a/.cursor/mcp.json", libc::O_WRONLY, error);
            let found = Scene::new(Covert).found(Action::Open(&open));
            assert_eq!(found, [("mcp_config_write", severity)]);
        }
    }

    #[test]
    fn permission_to_read_is_none_to_write() {
        let open = open("/home/a/.cursor/mcp.json", libc::O_WRONLY);
        let mut scene = Scene::new(Covert);
        scene.given.allow.read = vec!["**".into()];
        assert_eq!(scene.found(Action::Open(&open)).len(), 1);
        scene.given.paths = vec!["/home/a/.cursor/mcp.json".into()];
        assert_eq!(scene.found(Action::Open(&open)), []);
    }
}
