//! `mcp_config_read`: a server read the configuration of an MCP client.

use super::ATLAS_VERSION;
use crate::detect::paths::{normal, spellings};
use crate::detect::reason::{OBJECT, cause, circumstances, clip, evidence, quote, server};
use crate::detect::{
    Action, ClientConfigOf, DetectError, Effect, Finding, Given, Knowledge, Rule, RuleInfo,
    Severities,
};
use crate::event::Open;
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "mcp_config_read",
    title: "MCP client configuration read by a server",
    severities: Severities { absent: Some(Severity::Low), ..Severities::always(Severity::High) },
    tags: Tags {
        attack: &["T1552.001"],
        atlas: &["AML.T0083"],
        owasp_mcp: &["MCP01"],
        owasp_llm: &[],
    },
    atlas_version: ATLAS_VERSION,
    description: "A client's configuration holds the commands of all its servers, and often their keys \
        and tokens. No server needs it: reading it is how one server takes the others' credentials.",
    trigger: "A process of the server's tree opens a file at a place where an MCP client keeps its \
        servers (`mcp.json` and its kin, below any home or in a project) for reading, or tries to.",
    explained_by: &[
        "this very file is named by the server's command line or configuration",
        "`allow.read` of the server's settings",
    ],
    playbook: "Check first: is the file a project's own that the user asked about (relation \
        `requested`), or the user's? Look at where the content went: the call's result, connections \
        after the read. If the read was not asked for: stop the server and change every key and token \
        that stands in the file. Keep secrets out of client configurations.",
    yields_to: &["mcp_config_write"],
};

/// The rule.
struct McpConfigRead {
    client_config_of: ClientConfigOf,
}

/// Makes the rule.
pub fn build(knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(McpConfigRead { client_config_of: knowledge.client_config_of }))
}

impl Rule for McpConfigRead {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let Action::Open(open) = effect.action else { return None };
        // An open for both is the business of `mcp_config_write`.
        if !open.reads() || open.writes() {
            return None;
        }
        let (path, client) = config_of(open, self.client_config_of)?;
        if is_given(effect.given, &path) || knowledge.policy.allows_read(&effect.given.allow, &path)
        {
            return None;
        }
        let verb = if open.result.is_ok() { "read" } else { "tried to read" };
        finding(
            &INFO,
            effect,
            &Config { path: &path, client, did: verb, by: (&open.path, &open.argument) },
            open.result,
        )
    }
}

/// The path at which a client keeps its configuration, and the client: of the opened file, or of the
/// argument when that is a link to the file.
pub(super) fn config_of(
    open: &Open,
    client_config_of: ClientConfigOf,
) -> Option<(String, &'static str)> {
    spellings(&open.path, open.inner_path.as_deref(), open.host_path.as_deref(), &open.argument)
        .find_map(|path| client_config_of(&path).map(|client| (path.into_owned(), client)))
}

/// Whether the launch names this very file.
pub(super) fn is_given(given: &Given, path: &str) -> bool {
    given.paths.iter().chain(&given.argv).any(|given| normal(given) == path)
}

/// A client's configuration, and what was done with it.
pub(super) struct Config<'a> {
    /// Where the client keeps it.
    pub(super) path: &'a str,
    /// The client.
    pub(super) client: &'static str,
    /// What was done, in words.
    pub(super) did: &'a str,
    /// The path and the argument it was done by.
    pub(super) by: (&'a str, &'a str),
}

/// What both rules about configurations find.
pub(super) fn finding(
    info: &'static RuleInfo,
    effect: &Effect<'_>,
    config: &Config<'_>,
    result: Result<i32, i32>,
) -> Option<Finding> {
    let severity = info.severities.of_result(effect.attribution.relation, result)?;
    let &Config { path, client, did, by: (resolved, argument) } = config;
    let mut found = vec![evidence("path", resolved)];
    if argument != resolved {
        found.push(evidence("open_argument", argument));
    }
    found.push(evidence("client", client));
    circumstances(effect, &mut found);
    Some(Finding {
        rule: info.id,
        severity,
        reason: format!(
            "Server {} {did} {}, the configuration of the MCP client {client}, {}.",
            server(effect),
            quote(path),
            cause(effect)
        ),
        evidence: found,
        object: clip(path, OBJECT).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, failed_open, link, open};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    #[test]
    fn a_read_is_high_in_every_relation() {
        let open = open("/home/a/.cursor/mcp.json", libc::O_RDONLY);
        for relation in [Requested, Covert, Background, Startup] {
            let found = Scene::new(relation).found(Action::Open(&open));
            assert_eq!(found, [("mcp_config_read", Severity::High)], "{relation:?}");
        }
    }

    #[test]
    fn attempts_links_and_odd_paths_count() {
        let path = "/home/a/.cursor/mcp.json";
        let table = [
            (failed_open(path, libc::O_RDONLY, libc::EACCES), Severity::High),
            (failed_open(path, libc::O_RDONLY, libc::ENOENT), Severity::Low),
            (failed_open("/home/a/x/../.cursor//mcp.json", 0, libc::EACCES), Severity::High),
            (link(path, "/srv/dotfiles/mcp"), Severity::High),
            (link("/tmp/harmless", path), Severity::High),
        ];
        for (open, severity) in table {
            let found = Scene::new(Covert).found(Action::Open(&open));
            assert_eq!(found, [("mcp_config_read", severity)], "{open:?}");
        }
    }

    #[test]
    fn what_is_named_by_the_launch_or_allowed_is_silent() {
        let open = open("/home/a/.cursor/mcp.json", libc::O_RDONLY);
        let mut scene = Scene::new(Startup);
        scene.given.paths = vec!["/home/a/.cursor/mcp.json".into()];
        assert_eq!(scene.found(Action::Open(&open)), []);
        let mut scene = Scene::new(Startup);
        scene.given.allow.read = vec!["~/.cursor/*".into()];
        assert_eq!(scene.found(Action::Open(&open)), []);
        let mut scene = Scene::new(Startup);
        scene.given.paths = vec!["/home/a/.cursor".into(), "/home/a".into(), "/".into()];
        assert_eq!(scene.found(Action::Open(&open)).len(), 1);
    }

    #[test]
    fn looking_without_reading_is_silent() {
        for flags in [libc::O_PATH, libc::O_PATH | libc::O_NOFOLLOW] {
            let open = open("/home/a/.cursor/mcp.json", flags);
            assert_eq!(Scene::new(Covert).found(Action::Open(&open)), []);
        }
    }
}
