//! `mcp_config_write`: a server wrote the configuration of an MCP client.

use super::ATLAS_VERSION;
use super::mcp_config_read::{Config, config_of, finding, is_given};
use crate::detect::paths::spellings;
use crate::detect::{
    Action, ClientConfigOf, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities,
};
use crate::event::{Change, Open, Operation};
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
        servers for writing, puts another file or a link into that place, moves it away, cuts or removes \
        it, or tries to.",
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
        match effect.action {
            Action::Open(open) => self.opened(effect, open),
            Action::Change(change) => self.changed(effect, change),
            _ => None,
        }
    }
}

impl McpConfigWrite {
    fn opened(&self, effect: &Effect<'_>, open: &Open) -> Option<Finding> {
        if !open.writes() {
            return None;
        }
        let (path, client) = config_of(open, self.client_config_of)?;
        if is_given(effect.given, &path) {
            return None;
        }
        let did = if open.result.is_ok() { "opened for writing" } else { "tried to write" };
        let by = (open.path.as_str(), open.argument.as_str());
        finding(&INFO, effect, &Config { path: &path, client, did, by }, open.result)
    }

    /// A file put into that place, or the one there cut, moved away or removed.
    fn changed(&self, effect: &Effect<'_>, change: &Change) -> Option<Finding> {
        let (place, path, client) = change.changed().find_map(|place| {
            let (inner, host) = (place.inner_path.as_deref(), place.host_path.as_deref());
            spellings(&place.path, inner, host, &place.argument).find_map(|path| {
                (self.client_config_of)(&path).map(|client| (place, path.into_owned(), client))
            })
        })?;
        if is_given(effect.given, &path) {
            return None;
        }
        let is_target = change.target.as_ref().is_some_and(|target| std::ptr::eq(target, place));
        let deed = match change.operation {
            Operation::Rename if is_target => "put another file in the place of",
            Operation::Rename => "moved away",
            Operation::Link | Operation::Symlink => "put a link in the place of",
            Operation::Unlink => "removed",
            _ => "changed",
        };
        let tried =
            format!("tried, and failed, with `{}`: it would have {deed}", change.operation.name());
        let did = if change.result.is_ok() { deed } else { &tried };
        let by = (place.path.as_str(), place.argument.as_str());
        finding(&INFO, effect, &Config { path: &path, client, did, by }, change.result.map(|()| 0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, change, change_of_two, failed_open, open};
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
    fn a_file_put_in_its_place_counts_like_a_write() {
        const CONFIG: &str = "/home/a/.cursor/mcp.json";
        let table = [
            change_of_two(Operation::Rename, "/tmp/x", CONFIG),
            change_of_two(Operation::Rename, CONFIG, "/tmp/x"),
            change_of_two(Operation::Link, "/tmp/x", CONFIG),
            change_of_two(Operation::Symlink, CONFIG, "/tmp/x"),
            change(Operation::Unlink, CONFIG),
            change(Operation::Truncate, CONFIG),
        ];
        for change in &table {
            let found = Scene::new(Covert).found(Action::Change(change));
            assert_eq!(found, [("mcp_config_write", Severity::Critical)], "{change:?}");
        }
        let refused = Change { result: Err(libc::EACCES), ..table[0].clone() };
        let found = Scene::new(Covert).found(Action::Change(&refused));
        assert_eq!(found, [("mcp_config_write", Severity::High)]);
        for change in [
            change(Operation::Chmod, CONFIG),
            change_of_two(Operation::Link, CONFIG, "/tmp/x"),
            change(Operation::Unlink, "/home/a/.cursor/other"),
        ] {
            assert_eq!(Scene::new(Covert).found(Action::Change(&change)), [], "{change:?}");
        }
        // In a jail of its own making the path is another one.
        let mut inside = change(Operation::Unlink, "/srv/jail/mcp.json");
        inside.file.inner_path = Some(CONFIG.into());
        assert_eq!(Scene::new(Covert).found(Action::Change(&inside)).len(), 1);
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
