//! `persistence_write`: a server wrote where programs are started from again.

use std::borrow::Cow;

use globset::{GlobSet, GlobSetBuilder};
use serde::Deserialize;

use super::ATLAS_VERSION;
use super::mcp_config_read::is_given;
use crate::detect::paths::{self, spellings};
use crate::detect::patterns::{self, Patterns};
use crate::detect::reason::{OBJECT, cause, circumstances, clip, evidence, quote, server};
use crate::detect::{
    Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities, data,
};
use crate::event::{Change, Operation, Place};
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "persistence_write",
    title: "Persistence written by an MCP server",
    severities: Severities {
        refused: Some(Severity::High),
        absent: Some(Severity::Medium),
        ..Severities::always(Severity::Critical)
    },
    tags: Tags {
        attack: &["T1546.004", "T1053.003", "T1098.004"],
        atlas: &[],
        owasp_mcp: &[],
        owasp_llm: &[],
    },
    atlas_version: ATLAS_VERSION,
    description: "What stands in a shell profile, a scheduled job, a service, a git hook or the list of \
        keys that may log in is run, or let in, long after the server has gone and outside of \
        everything that watches it.",
    trigger: "A process of the server's tree opens a file of rules/persistence.toml for writing, moves or \
        links something into its place or into that of a folder that exists for such files, makes another name of it \
        (hard link), by which it can be written, or tries to. The path is that of the opened file, whatever link or `..` led to it; an argument that \
        names such a file counts too, and so does its path on the host when it is mounted into a container.",
    explained_by: &[
        "`allow.write` of the server's settings",
        "this very file is named by the server's command line or configuration",
        "the sample hooks that git puts into every new repository (`*.sample`)",
    ],
    playbook: "Compare the file with a known state before anybody logs in, opens a shell or commits: look \
        for new lines, keys and jobs, and for what they would start, which may already lie on the disk. \
        Restore it, stop the server, and find the call or the package that brought it. A server that is \
        made for such files names them in `allow.write`.",
    yields_to: &[],
};

const FILE: &str = "persistence.toml";
const TEXT: &str = include_str!("../../../../rules/persistence.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    category: Vec<Category>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    name: String,
    title: String,
    paths: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
}

impl patterns::Category for Category {
    fn paths(&self) -> &[String] {
        &self.paths
    }

    fn except(&self) -> &[String] {
        &self.except
    }
}

/// The rule.
struct PersistenceWrite {
    categories: Vec<Category>,
    files: Patterns,
    /// Folders that exist for such files, for those that are put in their place.
    folders: GlobSet,
    /// The category of each.
    folder_categories: Vec<usize>,
}

/// Makes the rule.
pub fn build(knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    let Tables { category: categories } = data(FILE, TEXT)?;
    let files = Patterns::new(FILE, &categories, &knowledge.homes)?;
    let broken =
        |error: globset::Error| DetectError::Data { file: FILE, message: error.to_string() };
    let mut folders = GlobSetBuilder::new();
    let mut folder_categories = Vec::new();
    for (number, category) in categories.iter().enumerate() {
        for folder in category.paths.iter().flat_map(|pattern| own_folders(pattern)) {
            for glob in paths::expand(folder, &knowledge.homes).map_err(broken)? {
                folders.add(glob);
                folder_categories.push(number);
            }
        }
    }
    let folders = folders.build().map_err(broken)?;
    Ok(Box::new(PersistenceWrite { categories, files, folders, folder_categories }))
}

/// The folders that a pattern goes through and that hold nothing but what is like it.
fn own_folders(pattern: &str) -> impl Iterator<Item = &str> {
    let folders = pattern.match_indices('/').filter_map(|(end, _)| pattern.get(..end));
    folders.filter(|folder| {
        (folder.starts_with("~/.") && !paths::SHARED.contains(folder))
            || folder.starts_with("/etc/")
    })
}

impl Rule for PersistenceWrite {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let allow = &effect.given.allow;
        let (written, path, category) =
            Written::of(effect.action).into_iter().flatten().find_map(|written| {
                let (path, category) = self.meant(&written)?;
                let explained = is_given(effect.given, &path)
                    || knowledge.policy.allows_write(allow, &path)
                    || (path != written.path && knowledge.policy.allows_write(allow, written.path));
                (!explained).then_some((written, path, category))
            })?;
        let severity = INFO.severities.of_result(effect.attribution.relation, written.result)?;
        let (done, tried) = written.verbs;
        let verb = if written.result.is_ok() { done } else { tried };
        let mut found = vec![evidence("path", written.path)];
        found.extend(written.host_path.map(|path| evidence("host_path", path)));
        if written.argument != written.path {
            found.push(evidence("open_argument", written.argument));
        }
        found.push(evidence("category", &category.name));
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!(
                "Server {} {verb} {}, {}, {}.",
                server(effect),
                quote(&path),
                category.title,
                cause(effect)
            ),
            evidence: found,
            object: clip(&path, OBJECT).into_owned(),
        })
    }
}

impl PersistenceWrite {
    /// The first of its spellings that starts something, and what it is.
    fn meant<'a>(&self, written: &Written<'a>) -> Option<(Cow<'a, str>, &Category)> {
        let Written { path, inner_path, host_path, argument, may_be_folder, .. } = *written;
        spellings(path, inner_path, host_path, argument).find_map(|path| {
            let file = self.files.find(&path).map(|found| found.category);
            // A folder that is put in a place is everything in it.
            let folder = || {
                let inside = self.files.find(&format!("{path}/x")).map(|found| found.category);
                let own = || self.folders.matches(path.as_ref()).into_iter().next();
                inside.or_else(|| self.folder_categories.get(own()?).copied())
            };
            let number = file.or_else(|| may_be_folder.then(folder)?)?;
            Some((path, self.categories.get(number)?))
        })
    }
}

/// A file that has another content afterwards.
struct Written<'a> {
    path: &'a str,
    inner_path: Option<&'a str>,
    host_path: Option<&'a str>,
    argument: &'a str,
    result: Result<i32, i32>,
    may_be_folder: bool,
    /// What was done, and what was tried, in words.
    verbs: (&'static str, &'static str),
}

impl<'a> Written<'a> {
    /// The files that an effect is about: one, or both names of a link.
    fn of(action: Action<'a>) -> [Option<Self>; 2] {
        let first = Self::first(action);
        let second = match action {
            Action::Change(change) if change.operation == Operation::Link => Some(Self {
                verbs: (
                    "made another name, by which it can be written, of",
                    "tried to make another name, by which it can be written, of",
                ),
                ..Self::place(&change.file, change)
            }),
            _ => None,
        };
        [first, second]
    }

    fn place(place: &'a Place, change: &Change) -> Self {
        Self {
            path: &place.path,
            inner_path: place.inner_path.as_deref(),
            host_path: place.host_path.as_deref(),
            argument: &place.argument,
            result: change.result.map(|()| 0),
            may_be_folder: matches!(change.operation, Operation::Rename | Operation::Symlink),
            verbs: match change.operation {
                Operation::Truncate => ("cut", "tried to cut"),
                Operation::Rename => ("moved something to", "tried to move something to"),
                _ => ("put a link at", "tried to put a link at"),
            },
        }
    }

    fn first(action: Action<'a>) -> Option<Self> {
        match action {
            Action::Open(open) if open.writes() => Some(Self {
                path: &open.path,
                inner_path: open.inner_path.as_deref(),
                host_path: open.host_path.as_deref(),
                argument: &open.argument,
                result: open.result,
                may_be_folder: false,
                verbs: ("opened for writing", "tried to write"),
            }),
            Action::Change(change) => {
                // What was removed starts nothing any more.
                let place = match change.operation {
                    Operation::Rename | Operation::Link => change.target.as_ref()?,
                    Operation::Symlink | Operation::Truncate => &change.file,
                    _ => return None,
                };
                Some(Self::place(place, change))
            }
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, change, change_of_two, failed_open, link, open};
    use crate::event::Open;
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const APPEND: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND;
    const ONE: [(&str, Severity); 1] = [("persistence_write", Severity::Critical)];

    fn found(path: &str) -> Vec<(&'static str, Severity)> {
        Scene::new(Covert).found(Action::Open(&open(path, APPEND)))
    }

    #[test]
    fn places_of_every_home_fire() {
        for home in ["/root", "/home/a", "/Users/b", "/tmp/pytest-1/home0", "/var/lib/app", ""] {
            for file in [
                ".bashrc",
                ".profile",
                ".zshenv",
                ".config/fish/config.fish",
                ".ssh/authorized_keys",
                ".ssh/config",
                ".config/systemd/user/x.service",
                ".config/systemd/user/default.target.wants/x.service",
                ".config/autostart/x.desktop",
                ".config/environment.d/50-x.conf",
                "work/repository/.git/hooks/pre-commit",
            ] {
                assert_eq!(found(&format!("{home}/{file}")), ONE, "{home}/{file}");
            }
        }
    }

    #[test]
    fn places_of_the_system_fire() {
        for path in [
            "/etc/profile.d/x.sh",
            "/etc/crontab",
            "/etc/cron.d/x",
            "/etc/cron.daily/x",
            "/var/spool/cron/crontabs/root",
            "/etc/systemd/system/x.service",
            "/etc/systemd/system/multi-user.target.wants/x.service",
            "/etc/init.d/x",
            "/etc/ld.so.preload",
            "/proc/sys/kernel/core_pattern",
            "/sys/fs/cgroup/rdma/release_agent",
            "/etc/sudoers.d/x",
            "/etc/passwd",
            "/etc/udev/rules.d/99-x.rules",
            "/srv/bare/.git/hooks/post-receive",
        ] {
            assert_eq!(found(path), ONE, "{path}");
        }
    }

    #[test]
    fn ordinary_writes_and_reads_are_silent() {
        for path in [
            "/home/a/project/.git/hooks/pre-commit.sample",
            "/home/a/project/.git/index.lock",
            "/home/a/project/.git/config",
            "/home/a/.bash_history",
            "/home/a/.ssh/known_hosts",
            "/home/a/.cache/fish/x",
            "/home/a/project/src/hooks/use.ts",
            "/home/a/project/bashrc",
            "/etc/hosts.tmp",
            "/var/log/cron.log",
            "/tmp/crontab",
        ] {
            assert_eq!(found(path), [], "{path}");
        }
        for path in ["/home/a/.bashrc", "/etc/passwd", "/home/a/p/.git/hooks/pre-commit"] {
            let read = open(path, libc::O_RDONLY);
            assert_eq!(Scene::new(Covert).found(Action::Open(&read)), [], "{path}");
        }
    }

    #[test]
    fn relations_attempts_and_links() {
        let path = "/home/a/.bashrc";
        for relation in [Requested, Covert, Background, Startup] {
            let done = open(path, APPEND);
            assert_eq!(Scene::new(relation).found(Action::Open(&done)), ONE, "{relation:?}");
        }
        let flags = APPEND.cast_unsigned();
        let table = [
            (failed_open(path, APPEND, libc::EACCES), Severity::High),
            (failed_open(path, APPEND, libc::ENOENT), Severity::Medium),
            (failed_open("/home/a/x/../.bashrc", APPEND, libc::EACCES), Severity::High),
            (Open { flags, ..link("/tmp/harmless", path) }, Severity::Critical),
            (Open { flags, ..link(path, "/srv/dotfiles/bashrc") }, Severity::Critical),
        ];
        for (open, severity) in table {
            let found = Scene::new(Covert).found(Action::Open(&open));
            assert_eq!(found, [("persistence_write", severity)], "{open:?}");
        }
    }

    #[test]
    fn what_is_allowed_or_named_by_the_launch_is_silent() {
        let write = open("/home/a/.bashrc", APPEND);
        let mut scene = Scene::new(Requested);
        scene.given.allow.write = vec!["~/.bashrc".into()];
        assert_eq!(scene.found(Action::Open(&write)), []);
        let mut scene = Scene::new(Requested);
        scene.given.allow.write = vec!["/srv/r/.git/hooks/*".into()];
        let link = change_of_two(Operation::Link, "/home/a/.bashrc", "/srv/r/.git/hooks/x");
        assert_eq!(scene.found(Action::Change(&link)), ONE, "the other name is not allowed");
        let mut scene = Scene::new(Requested);
        scene.given.paths = vec!["/home/a/.bashrc".into()];
        assert_eq!(scene.found(Action::Open(&write)), []);
        let mut scene = Scene::new(Requested);
        scene.given.paths = vec!["/home/a".into()];
        scene.given.allow.read = vec!["**".into()];
        assert_eq!(scene.found(Action::Open(&write)), ONE);
    }

    #[test]
    fn what_is_moved_or_linked_into_the_place_counts_like_a_write() {
        let profile = "/home/a/.bashrc";
        for change in [
            change_of_two(Operation::Rename, "/tmp/x", profile),
            change_of_two(Operation::Link, "/tmp/x", profile),
            change_of_two(Operation::Symlink, profile, "/tmp/x"),
            change(Operation::Truncate, profile),
            change_of_two(Operation::Rename, "/tmp/hooks", "/srv/repository/.git/hooks"),
            change_of_two(Operation::Symlink, "/home/a/.config/autostart", "/tmp/x"),
            change_of_two(Operation::Rename, "/tmp/d", "/home/a/.config/systemd"),
            change_of_two(Operation::Rename, "/tmp/d", "/root/.ssh"),
            change_of_two(Operation::Symlink, "/etc/systemd", "/tmp/d"),
            change_of_two(Operation::Link, profile, "/tmp/x"),
        ] {
            assert_eq!(Scene::new(Covert).found(Action::Change(&change)), ONE, "{change:?}");
            let refused = Change { result: Err(libc::EACCES), ..change };
            let found = Scene::new(Covert).found(Action::Change(&refused));
            assert_eq!(found, [("persistence_write", Severity::High)], "{refused:?}");
        }
        for change in [
            change_of_two(Operation::Rename, profile, "/tmp/x"),
            change_of_two(Operation::Symlink, "/tmp/x", profile),
            change_of_two(Operation::Rename, "/tmp/d", "/home/a/.local/share"),
            change_of_two(Operation::Link, "/home/a/.ssh", "/tmp/d"),
            change(Operation::Unlink, profile),
            change(Operation::Chmod, profile),
            change(Operation::MakeDirectory, "/srv/repository/.git/hooks"),
            change_of_two(Operation::Rename, "/srv/r/.git/index.lock", "/srv/r/.git/index"),
        ] {
            assert_eq!(Scene::new(Covert).found(Action::Change(&change)), [], "{change:?}");
        }
    }
}
