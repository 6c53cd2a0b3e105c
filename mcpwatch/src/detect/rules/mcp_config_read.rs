//! `mcp_config_read`: a server read the configuration of an MCP client.

use super::ATLAS_VERSION;
use super::sensitive_file_read::Taken;
use crate::detect::paths::normal;
use crate::detect::reason::{OBJECT, cause, circumstances, clip, evidence, quote, server};
use crate::detect::{
    DetectError, Effect, Finding, Given, Knowledge, Recognised, Rule, RuleInfo, Severities,
};
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
        servers (`mcp.json` and its kin, below any home or in a project, where a \
        user's variables have moved it, or named in `discovery.config_files`) for reading, or gives one \
        another name (rename, also of the client's folder, or hard link), by which it can be read, or tries to.",
    explained_by: &[
        "this very file is named by the server's command line or configuration",
        "a project's own file (`.mcp.json`, `.vscode/settings.json`) in a folder the server was given, when the \
         call's arguments name it; a home is no project",
        "`allow.read` of the server's settings",
    ],
    playbook: "Check first: did the user ask for this file (relation `requested`)? Look at where the content \
        went: the call's result, connections after the read, and what another name led to. If the read was \
        not asked for: stop the server and change every key and token that stands in the file. Keep secrets out of client configurations.",
    yields_to: &["mcp_config_write"],
};

/// The rule.
struct McpConfigRead;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(McpConfigRead))
}

impl Rule for McpConfigRead {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let taken = Taken::of(effect.action)?;
        let config = knowledge.client_config(taken.spellings(), taken.as_whole)?;
        let allow = &effect.given.allow;
        if is_given_config(effect.given, &config)
            || config.is_asked_for(effect, &knowledge.homes)
            || !config.is_meant(taken.result)
            || knowledge.policy.allows_read(allow, &config.path)
            || (config.path != taken.path && knowledge.policy.allows_read(allow, taken.path))
        {
            return None;
        }
        let severity = INFO.severities.of_result(effect.attribution.relation, taken.result)?;
        let by = (taken.path, taken.argument);
        let touched = Touched { config: &config, did: taken.verb(), by };
        Some(finding(&INFO, severity, effect, &touched))
    }
}

/// Whether the launch names this very file.
pub(super) fn is_given(given: &Given, path: &str) -> bool {
    given.paths.iter().chain(&given.argv).any(|given| normal(given) == path)
}

/// The same of a configuration: a folder explains nothing of what lies in it.
pub(super) fn is_given_config(given: &Given, config: &Recognised<'_>) -> bool {
    !config.is_folder && is_given(given, &config.path)
}

/// A client's configuration, and what was done with it.
pub(super) struct Touched<'a> {
    /// The configuration.
    pub(super) config: &'a Recognised<'a>,
    /// What was done, in words.
    pub(super) did: &'a str,
    /// The path and the argument it was done by.
    pub(super) by: (&'a str, &'a str),
}

/// What both rules about configurations find.
pub(super) fn finding(
    info: &'static RuleInfo,
    severity: Severity,
    effect: &Effect<'_>,
    touched: &Touched<'_>,
) -> Finding {
    let &Touched { config: Recognised { path, client, is_folder, .. }, did, by } = touched;
    let (resolved, argument) = by;
    let mut found = vec![evidence("path", resolved)];
    if argument != resolved {
        found.push(evidence("open_argument", argument));
    }
    let whose = match client {
        Some(client) => {
            found.push(evidence("client", client));
            format!("the configuration of the MCP client {client}")
        }
        None => "a configuration of MCP clients that the settings name".to_owned(),
    };
    let whose = if *is_folder { format!("the folder for {whose}") } else { whose };
    circumstances(effect, &mut found);
    Finding {
        rule: info.id,
        severity,
        reason: format!(
            "Server {} {did} {}, {whose}, {}.",
            server(effect),
            quote(path),
            cause(effect)
        ),
        evidence: found,
        object: clip(path, OBJECT).into_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Action;
    use crate::detect::tests::{Scene, change_of_two, detector_without, failed_open, link, open};
    use crate::event::{Change, Operation};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const HIGH: [(&str, Severity); 1] = [("mcp_config_read", Severity::High)];

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
    fn a_projects_file_in_a_given_folder_is_read_on_request() {
        let found = |relation, given: &str, path: &str| {
            let mut scene = Scene::new(relation);
            scene.given.paths = vec![given.into()];
            scene.found(Action::Open(&open(path, libc::O_RDONLY)))
        };
        for file in [".cursor/mcp.json", ".gemini/settings.json", "deep/.cursor/mcp.json"] {
            let file = format!("/home/a/work/{file}");
            assert_eq!(found(Requested, "/home/a/work", &file), [], "{file}");
            for relation in [Covert, Background, Startup] {
                assert_eq!(found(relation, "/home/a/work", &file), HIGH, "{file} {relation:?}");
            }
            assert_eq!(found(Requested, "/home/a/other", &file), HIGH, "{file}");
            assert_eq!(found(Requested, "/home/a", &file), HIGH, "{file}: a home explains nothing");
        }
        // A user's own, whatever folder was given.
        assert_eq!(found(Requested, "/srv/work", "/srv/work/.claude.json"), HIGH);
        assert_eq!(found(Requested, "/home/a/.cursor", "/home/a/.cursor/mcp.json"), HIGH);
        assert_eq!(found(Requested, "/", "/root/.cursor/mcp.json"), HIGH);
        // A home under the name of a project, by a mount or a link.
        let mut scene = Scene::new(Requested);
        scene.given.paths = vec!["/work".into()];
        let mut mounted = open("/work/.cursor/mcp.json", libc::O_RDONLY);
        assert_eq!(scene.found(Action::Open(&mounted)), []);
        mounted.host_path = Some("/home/a/.cursor/mcp.json".into());
        assert_eq!(scene.found(Action::Open(&mounted)), HIGH);
        let linked = link("/work/.cursor/mcp.json", "/home/a/.cursor/mcp.json");
        assert_eq!(scene.found(Action::Open(&linked)), HIGH);
    }

    #[test]
    fn another_name_counts_like_a_read() {
        let config = "/home/a/.cursor/mcp.json";
        let linked = change_of_two(Operation::Link, config, "/tmp/x");
        let found = Scene::new(Covert).findings(Action::Change(&linked));
        assert_eq!((found[0].rule, found[0].severity), HIGH[0]);
        assert!(found[0].reason.contains("gave another name to"), "{}", found[0].reason);
        let table = [(libc::EPERM, Severity::High), (libc::ENOENT, Severity::Low)];
        for (error, severity) in table {
            let tried = Change { result: Err(error), ..linked.clone() };
            let found = Scene::new(Covert).found(Action::Change(&tried));
            assert_eq!(found, [("mcp_config_read", severity)]);
        }
        // A rename takes the file away, too, which matters more.
        let renamed = change_of_two(Operation::Rename, config, "/tmp/x");
        let mut alone = detector_without(&["mcp_config_write"]);
        assert_eq!(Scene::new(Covert).found_by(&mut alone, Action::Change(&renamed)), HIGH);
        let symbolic = change_of_two(Operation::Symlink, "/tmp/x", config);
        assert_eq!(Scene::new(Covert).found(Action::Change(&symbolic)), []);
        let mut scene = Scene::new(Covert);
        scene.given.allow.read = vec!["~/.cursor/*".into()];
        assert_eq!(scene.found(Action::Change(&linked)), []);
    }

    #[test]
    fn looking_without_reading_is_silent() {
        for flags in [libc::O_PATH, libc::O_PATH | libc::O_NOFOLLOW] {
            let open = open("/home/a/.cursor/mcp.json", flags);
            assert_eq!(Scene::new(Covert).found(Action::Open(&open)), []);
        }
    }
}
