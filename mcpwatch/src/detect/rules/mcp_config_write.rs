//! `mcp_config_write`: a server wrote the configuration of an MCP client.

use super::ATLAS_VERSION;
use super::mcp_config_read::{Touched, finding, is_given_config};
use crate::detect::paths::spellings;
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
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
        servers (see `mcp_config_read`) for writing, puts another file or a link into that place, moves it \
        away, cuts or removes it, or tries to. A client's folder (`~/.cursor`) that is moved away, or that \
        something else is put in the place of, counts for what may lie in it; one of a single plugin does not. A project's own file in a folder the server was given, written \
        because the call's arguments name it, is at most high: it may be the user's wish, and it may be \
        injected text that adds a server. Of files that hold more than servers (`settings.json`, \
        `config.toml`) it is low. Nothing is seen of what a client writes by itself; one that a server starts \
        counts as that server, since any server can run `claude mcp add`.",
    explained_by: &[
        "`allow.write` of the server's settings",
        "this very file is named by the server's command line or configuration",
    ],
    playbook: "Compare the file with a known state: look for new servers, changed commands and arguments, \
        new hooks. Do not start the client before. Stop the server, restore the file, and look for \
        what the new entries would have started, which may already lie on the disk. A server that is made for \
        such files names them in `allow.write`.",
    yields_to: &[],
};

/// The rule.
struct McpConfigWrite;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(McpConfigWrite))
}

impl Rule for McpConfigWrite {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        match effect.action {
            Action::Open(open) => opened(effect, open, knowledge),
            Action::Change(change) => changed(effect, change, knowledge),
            _ => None,
        }
    }
}

fn opened(effect: &Effect<'_>, open: &Open, knowledge: &mut Knowledge) -> Option<Finding> {
    if !open.writes() {
        return None;
    }
    let (inner, host) = (open.inner_path.as_deref(), open.host_path.as_deref());
    let config =
        knowledge.client_config(spellings(&open.path, inner, host, &open.argument), false)?;
    let did = if open.result.is_ok() { "opened for writing" } else { "tried to write" };
    let by = (open.path.as_str(), open.argument.as_str());
    found(effect, &Touched { config: &config, did, by }, open.result, knowledge)
}

/// A file put into that place, or the one there cut, moved away or removed. Of two places that change the one
/// that matters more.
fn changed(effect: &Effect<'_>, change: &Change, knowledge: &mut Knowledge) -> Option<Finding> {
    let found = change.changed().filter_map(|place| {
        let (inner, host) = (place.inner_path.as_deref(), place.host_path.as_deref());
        // A folder moved away takes what lies in it along, one put there brings it.
        let as_whole = matches!(change.operation, Operation::Rename | Operation::Symlink);
        let spellings = spellings(&place.path, inner, host, &place.argument);
        let config = knowledge.client_config(spellings, as_whole)?;
        let is_target = change.target.as_ref().is_some_and(|target| std::ptr::eq(target, place));
        let deed = match change.operation {
            Operation::Rename if is_target => "put something else in the place of",
            Operation::Rename => "moved away",
            Operation::Link | Operation::Symlink => "put a link in the place of",
            Operation::Unlink => "removed",
            _ => "changed",
        };
        let tried =
            format!("tried, and failed, with `{}`: it would have {deed}", change.operation.name());
        let did = if change.result.is_ok() { deed } else { &tried };
        let by = (place.path.as_str(), place.argument.as_str());
        let touched = Touched { config: &config, did, by };
        found(effect, &touched, change.result.map(|()| 0), knowledge)
    });
    found.reduce(|first, other| if other.severity > first.severity { other } else { first })
}

fn found(
    effect: &Effect<'_>,
    touched: &Touched<'_>,
    result: Result<i32, i32>,
    knowledge: &mut Knowledge,
) -> Option<Finding> {
    let &Touched { config, by: (resolved, _), .. } = touched;
    let allow = &effect.given.allow;
    if is_given_config(effect.given, config)
        || !config.is_meant(result)
        || knowledge.policy.allows_write(allow, &config.path)
        || (config.path != resolved && knowledge.policy.allows_write(allow, resolved))
    {
        return None;
    }
    let most = match (config.is_asked_for(effect, &knowledge.homes), config.only_servers) {
        (false, _) => Severity::Critical,
        (true, true) => Severity::High,
        (true, false) => Severity::Low,
    };
    let severity = INFO.severities.of_result(effect.attribution.relation, result)?.min(most);
    Some(finding(&INFO, severity, effect, touched))
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
        for change in
            [change(Operation::Chmod, CONFIG), change(Operation::Unlink, "/home/a/.cursor/other")]
        {
            assert_eq!(Scene::new(Covert).found(Action::Change(&change)), [], "{change:?}");
        }
        // Nothing is written by giving it another name, which is as good as reading it.
        let linked = change_of_two(Operation::Link, CONFIG, "/tmp/x");
        let found = Scene::new(Covert).found(Action::Change(&linked));
        assert_eq!(found, [("mcp_config_read", Severity::High)]);
        // In a jail of its own making the path is another one.
        let mut inside = change(Operation::Unlink, "/srv/jail/mcp.json");
        inside.file.inner_path = Some(CONFIG.into());
        assert_eq!(Scene::new(Covert).found(Action::Change(&inside)).len(), 1);
    }

    #[test]
    fn a_folder_counts_for_the_configuration_that_may_lie_in_it() {
        const FOLDER: &str = "/home/a/.cursor";
        for change in [
            change_of_two(Operation::Rename, FOLDER, "/tmp/x"),
            change_of_two(Operation::Rename, "/tmp/x", FOLDER),
            change_of_two(Operation::Symlink, FOLDER, "/tmp/x"),
        ] {
            let found = Scene::new(Covert).findings(Action::Change(&change));
            assert_eq!(found.len(), 1, "{change:?}");
            assert_eq!(
                (found[0].rule, found[0].severity),
                ("mcp_config_write", Severity::Critical)
            );
            assert!(
                found[0].reason.contains("the folder for the configuration"),
                "{}",
                found[0].reason
            );
        }
        let mut scene = Scene::new(Requested);
        scene.given.paths = vec!["/home/a/work".into()];
        let of_project = change_of_two(Operation::Rename, "/home/a/work/x", "/home/a/work/.cursor");
        let found = scene.found(Action::Change(&of_project));
        assert_eq!(found, [("mcp_config_write", Severity::High)]);
        for (error, count) in [
            // `mv x .cursor/` and `ln -s x .cursor` try the folder first, and go on inside.
            (libc::EEXIST, 0),
            (libc::ENOTEMPTY, 0),
            (libc::ENOENT, 0),
            (libc::EACCES, 1),
            (libc::EXDEV, 0),
            (libc::EPERM, 1),
        ] {
            let tried =
                Change { result: Err(error), ..change_of_two(Operation::Rename, "/tmp/x", FOLDER) };
            let found = Scene::new(Covert).found(Action::Change(&tried));
            assert_eq!(found.len(), count, "{error}");
        }
        // That the server was given the folder explains nothing of what lies in it.
        let mut scene = Scene::new(Requested);
        scene.given.paths = vec![FOLDER.into()];
        let replaced = change_of_two(Operation::Rename, "/tmp/x", FOLDER);
        let found = scene.found(Action::Change(&replaced));
        assert_eq!(found, [("mcp_config_write", Severity::Critical)]);
        let replaced = change_of_two(Operation::Rename, "/tmp/x", "/home/a/.config");
        assert_eq!(Scene::new(Covert).found(Action::Change(&replaced)).len(), 1);
        for change in [
            // Where a kernel is built, that is a file.
            change_of_two(Operation::Rename, "/srv/linux/.tmp", "/srv/linux/.config"),
            change(Operation::MakeDirectory, FOLDER),
            change(Operation::Unlink, FOLDER),
            change_of_two(Operation::Rename, "/home/a/x.cursor", "/home/a/y"),
        ] {
            assert_eq!(Scene::new(Covert).found(Action::Change(&change)), [], "{change:?}");
        }
        let opened = open(FOLDER, libc::O_RDONLY);
        assert_eq!(Scene::new(Covert).found(Action::Open(&opened)), []);
    }

    #[test]
    fn a_projects_file_that_was_asked_for_in_a_given_folder_matters_less() {
        const SERVERS: &str = "/home/a/work/.cursor/mcp.json";
        const SETTINGS: &str = "/home/a/work/.gemini/settings.json";
        let found = |relation, given: &str, action: Action<'_>| {
            let mut scene = Scene::new(relation);
            scene.given.paths = vec![given.into()];
            let findings = scene.found(action);
            let [("mcp_config_write", severity)] = findings[..] else { panic!("{findings:?}") };
            severity
        };
        for (path, severity) in [(SERVERS, Severity::High), (SETTINGS, Severity::Low)] {
            let write = open(path, libc::O_WRONLY);
            let write = Action::Open(&write);
            assert_eq!(found(Requested, "/home/a/work", write), severity, "{path}");
            for relation in [Covert, Background, Startup] {
                assert_eq!(found(relation, "/home/a/work", write), Severity::Critical, "{path}");
            }
            for given in ["/home/a", "/srv", "/"] {
                assert_eq!(found(Requested, given, write), Severity::Critical, "{path} {given}");
            }
        }
        for path in ["/home/a/.cursor/mcp.json", "/home/a/.claude.json"] {
            let write = open(path, libc::O_WRONLY);
            assert_eq!(found(Requested, "/home/a", Action::Open(&write)), Severity::Critical);
        }
        // What is less is not made more, and what is more is not hidden behind what is less.
        let absent = failed_open(SERVERS, libc::O_WRONLY, libc::ENOENT);
        assert_eq!(found(Requested, "/home/a/work", Action::Open(&absent)), Severity::Medium);
        let home = "/home/a/.cursor/mcp.json";
        for (from, to, severity) in [
            ("/home/a/work/x", SERVERS, Severity::High),
            ("/home/a/work/x", SETTINGS, Severity::Low),
            (SETTINGS, SERVERS, Severity::High),
            (SETTINGS, home, Severity::Critical),
            (home, SETTINGS, Severity::Critical),
        ] {
            let change = change_of_two(Operation::Rename, from, to);
            assert_eq!(found(Requested, "/home/a/work", Action::Change(&change)), severity, "{to}");
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

    #[test]
    fn what_is_allowed_to_be_written_is_silent_and_may_not_be_read_for_that() {
        const CONFIG: &str = "/home/a/.cursor/mcp.json";
        let mut scene = Scene::new(Covert);
        scene.given.allow.write = vec!["~/.cursor/mcp.json".into()];
        let write = open(CONFIG, libc::O_WRONLY | libc::O_TRUNC);
        assert_eq!(scene.found(Action::Open(&write)), []);
        for change in
            [change_of_two(Operation::Rename, "/tmp/x", CONFIG), change(Operation::Unlink, CONFIG)]
        {
            assert_eq!(scene.found(Action::Change(&change)), [], "{change:?}");
        }
        let both = open(CONFIG, libc::O_RDWR);
        assert_eq!(scene.found(Action::Open(&both)), [("mcp_config_read", Severity::High)]);
        // A link to the file is allowed by either of its paths.
        let linked = Open { path: "/srv/dotfiles/mcp".into(), ..write };
        assert_eq!(scene.found(Action::Open(&linked)), []);
        scene.given.allow.write = vec!["/srv/dotfiles/*".into()];
        assert_eq!(scene.found(Action::Open(&linked)), []);
        scene.given.allow.write = vec!["/srv/other/*".into()];
        let found = scene.found(Action::Open(&linked));
        assert_eq!(found, [("mcp_config_write", Severity::Critical)]);
    }
}
