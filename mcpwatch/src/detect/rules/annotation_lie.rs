//! `annotation_lie`: a tool did what its own definition says it never does.

use globset::GlobSet;
use serde::Deserialize;

use super::ATLAS_VERSION;
use crate::detect::destination::{beyond_host, is_explained};
use crate::detect::paths::{self, file_name, normal};
use crate::detect::programs::loaded;
use crate::detect::reason::{cause, circumstances, command_line, evidence, quote, server};
use crate::detect::{
    Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities, data,
};
use crate::event::{Change, Exec, Open, Operation};
use crate::record::{AlertEvidence, Severity, Tags};
use crate::session::Annotations;

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "annotation_lie",
    title: "Tool does what its annotations exclude",
    severities: Severities {
        startup: None,
        refused: Some(Severity::Low),
        absent: Some(Severity::Low),
        ..Severities::always(Severity::High)
    },
    tags: Tags { attack: &[], atlas: &["AML.T0110"], owasp_mcp: &["MCP03"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "Clients call a tool without asking anybody when its definition says that it is harmless. \
        A tool that says so and is not takes that consent by deceit, or was never looked at by those \
        who wrote it.",
    trigger: "In a call of a tool that was declared `readOnlyHint: true` when the call began, a file is \
        opened for nothing but writing, or emptied, extended or made anew, or changed otherwise (moved, \
        linked, removed, given another mode); or a shell, inline code, or a \
        program that is there to change something (rules/annotations.toml) is executed. Or, in a call of \
        one that was declared `openWorldHint: false`, a connection is made, or a datagram sent, to an \
        address that is not this machine's. Or, in one of a tool declared `destructiveHint: false`, a file is \
        removed or cut. The effect must belong to the call beyond doubt: by the \
        process it was forked in, by its arguments, or because it is the only one in flight.",
    explained_by: &[
        "`allow.write`, `allow.exec` and `allow.egress` of the server's settings",
        "caches, logs, locks and temporary files (rules/annotations.toml) that the arguments do not name",
        "a file opened to be read and written: databases are opened so for every query",
        "hosts that the server was given, and the machine's own name servers",
        "the workers that well-known libraries start (rules/programs.toml)",
    ],
    playbook: "Check first: what changed, and does the tool's description speak of it? A careless author \
        marks a tool wrongly; a malicious one does it to be called unseen. Until it is settled, have the \
        client ask before each call of this tool. Look at what the same tool did in other calls, and \
        report a wrong annotation to the author.",
    yields_to: &[],
};

const FILE: &str = "annotations.toml";
const TEXT: &str = include_str!("../../../../rules/annotations.toml");

/// How sure it must be that the effect belongs to the call. An effect of the server's own process with
/// one call in flight is at 0.9.
const SURE: f64 = 0.9;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    own: Vec<String>,
    passing: Vec<String>,
    changing: Vec<String>,
}

/// The rule.
struct AnnotationLie {
    own: GlobSet,
    passing: GlobSet,
    changing: Vec<String>,
}

/// Makes the rule.
pub fn build(knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    let Tables { own, passing, changing } = data(FILE, TEXT)?;
    let set = |patterns: &[String]| {
        paths::set(patterns.iter().map(String::as_str), &knowledge.homes)
            .map_err(|error| DetectError::Data { file: FILE, message: error.to_string() })
    };
    Ok(Box::new(AnnotationLie { own: set(&own)?, passing: set(&passing)?, changing }))
}

/// What was done against a hint.
struct Lie {
    hint: &'static str,
    /// Names the kind of deed: findings of one tool and kind are one alert.
    kind: &'static str,
    did: String,
    evidence: Vec<AlertEvidence>,
    result: Result<i32, i32>,
}

impl Rule for AnnotationLie {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let (call, confidence) = effect.attribution.candidates.first()?;
        let tool = call.tool.as_deref()?;
        // What a process of an answered call does may be for somebody else.
        if *confidence < SURE || effect.attribution.outlived {
            return None;
        }
        let hints = call.annotations;
        let lie = match effect.action {
            Action::Open(open) if hints.read_only == Some(true) => {
                self.wrote(effect, open, knowledge)
            }
            Action::Change(change) => self.changed(effect, change, hints, knowledge),
            Action::Exec(exec) if hints.read_only == Some(true) => {
                self.executed(effect, exec, knowledge)
            }
            Action::Net(net) if hints.open_world == Some(false) => {
                let to = beyond_host(net).filter(|to| !is_explained(effect, *to))?.to_string();
                Some(Lie {
                    hint: "openWorldHint: false",
                    kind: "connected",
                    did: format!("went to {to}"),
                    evidence: vec![evidence("address", &to)],
                    result: Ok(0),
                })
            }
            _ => None,
        }?;
        let severity = INFO.severities.of_result(effect.attribution.relation, lie.result)?;
        let mut found = vec![evidence("tool", tool), evidence("annotation", lie.hint)];
        found.extend(lie.evidence);
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!(
                "Server {} declares its tool `{}` as `{}`, and it {} {}.",
                server(effect),
                quote(tool),
                lie.hint,
                lie.did,
                cause(effect)
            ),
            evidence: found,
            object: format!("{} {}", quote(tool), lie.kind),
        })
    }
}

impl AnnotationLie {
    fn wrote(&self, effect: &Effect<'_>, open: &Open, knowledge: &mut Knowledge) -> Option<Lie> {
        if !is_sure_to_write(open) {
            return None;
        }
        let path = normal(&open.path);
        if self.own.is_match(beyond_arguments(effect, &path))
            || knowledge.policy.allows_write(&effect.given.allow, &path)
        {
            return None;
        }
        let verb = if open.result.is_ok() { "opened" } else { "tried to open" };
        Some(Lie {
            hint: "readOnlyHint: true",
            kind: "wrote",
            did: format!("{verb} {} for writing", quote(&path)),
            evidence: vec![evidence("path", &open.path)],
            result: open.result,
        })
    }

    /// A change of a file that is no write: any, for a read-only tool; what takes something away, for one
    /// that only adds.
    fn changed(
        &self,
        effect: &Effect<'_>,
        change: &Change,
        hints: Annotations,
        knowledge: &mut Knowledge,
    ) -> Option<Lie> {
        let operation = change.operation;
        let removes = matches!(
            operation,
            Operation::Unlink | Operation::RemoveDirectory | Operation::Truncate
        );
        let hint = if hints.read_only == Some(true) {
            "readOnlyHint: true"
        } else if hints.destructive == Some(false) && removes {
            "destructiveHint: false"
        } else {
            return None;
        };
        // What was there already, or was gone, was not changed; and a file in memory is nobody's.
        if operation == Operation::MemfdCreate
            || matches!(change.result, Err(libc::EEXIST | libc::ENOENT))
        {
            return None;
        }
        // A symbolic link's text names what it does not change.
        let target = change.target.as_ref().filter(|_| operation != Operation::Symlink);
        let place = target.into_iter().chain([&change.file]).find(|place| {
            let path = normal(&place.path);
            !self.own.is_match(beyond_arguments(effect, &path))
        })?;
        let path = normal(&place.path);
        if (removes && self.passing.is_match(beyond_arguments(effect, &path)))
            || knowledge.policy.allows_write(&effect.given.allow, &path)
        {
            return None;
        }
        let verb = if change.result.is_ok() { "changed" } else { "tried to change" };
        Some(Lie {
            hint,
            kind: "changed",
            did: format!("{verb} {} ({})", quote(&path), operation.name()),
            evidence: vec![evidence("path", &place.path), evidence("operation", operation.name())],
            result: change.result.map(|()| 0),
        })
    }

    fn executed(&self, effect: &Effect<'_>, exec: &Exec, knowledge: &mut Knowledge) -> Option<Lie> {
        let programs = &knowledge.programs;
        let code = programs.spawned(exec).is_some_and(|spawn| programs.ordinary(&spawn).is_none());
        let program =
            loaded(&exec.path, &exec.argv).map_or(exec.path.as_str(), |program| program.path);
        let changing = self.changing.iter().any(|name| name == file_name(program));
        if !(code || changing)
            || effect.launching
            || programs.is_looked_at(effect.process, exec)
            || knowledge.policy.allows_exec(&effect.given.allow, exec)
        {
            return None;
        }
        let line = command_line(&exec.argv);
        Some(Lie {
            hint: "readOnlyHint: true",
            kind: "executed",
            did: format!("executed `{}`", quote(&line)),
            evidence: vec![evidence("program", &exec.path), evidence("argv", &line)],
            result: Ok(0),
        })
    }
}

/// The part of a path that the call's arguments do not name: nothing of a file they name, what lies below a folder they
/// name, and else all of it.
fn beyond_arguments<'a>(effect: &Effect<'_>, path: &'a str) -> &'a str {
    let matched = effect.attribution.matched.as_deref().unwrap_or_default();
    let name = file_name(matched.trim_end_matches('/'));
    if name.is_empty() {
        path
    } else if name == file_name(path) {
        ""
    } else {
        let below = path.find(&format!("/{name}/")).and_then(|at| path.get(at + 1 + name.len()..));
        below.unwrap_or(path)
    }
}

/// A regular file that is opened for nothing but writing, or changed by being opened. An open for both
/// is no proof: databases open their files so to read them.
fn is_sure_to_write(open: &Open) -> bool {
    let flags = open.flags.cast_signed();
    let regular = open.result.is_err() || open.may_be_regular();
    let only = flags & libc::O_ACCMODE == libc::O_WRONLY;
    let changes = flags & (libc::O_TRUNC | libc::O_APPEND) != 0
        || flags & (libc::O_CREAT | libc::O_EXCL) == libc::O_CREAT | libc::O_EXCL;
    regular && flags & libc::O_PATH == 0 && open.writes() && (only || changes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::detect::tests::{Scene, change, change_of_two, connect, exec, failed_open, open};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const ONE: [(&str, Severity); 1] = [("annotation_lie", Severity::High)];
    const WRITE: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;

    fn scene(read_only: Option<bool>, open_world: Option<bool>) -> Scene {
        let mut scene = Scene::new(Covert);
        let (call, _) = &mut scene.attribution.candidates[0];
        Arc::make_mut(call).annotations = Annotations { read_only, destructive: None, open_world };
        scene
    }

    fn read_only() -> Scene {
        scene(Some(true), None)
    }

    #[test]
    fn a_read_only_tool_that_writes_fires_once_a_tool() {
        let scene = read_only();
        for flags in [
            WRITE,
            libc::O_WRONLY,
            libc::O_WRONLY | libc::O_APPEND,
            libc::O_RDWR | libc::O_TRUNC,
            libc::O_RDWR | libc::O_CREAT | libc::O_EXCL,
            libc::O_RDONLY | libc::O_TRUNC,
        ] {
            let found = scene.found(Action::Open(&open("/srv/data/a.txt", flags)));
            assert_eq!(found, ONE, "{flags:o}");
        }
        let one = scene.findings(Action::Open(&open("/srv/data/a.txt", WRITE))).remove(0);
        let other = scene.findings(Action::Open(&open("/srv/data/b.txt", WRITE))).remove(0);
        assert_eq!(one.object, other.object);
        assert_eq!(
            one.reason,
            "Server files declares its tool `weather` as `readOnlyHint: true`, and it opened \
             /srv/data/a.txt for writing during tools/call `weather` (JSON-RPC id 7), whose \
             arguments do not mention it."
        );
    }

    #[test]
    fn a_tool_that_promised_nothing_may_do_what_it_likes() {
        let write = open("/srv/data/a.txt", WRITE);
        let away = connect("203.0.113.7:443");
        for hint in [None, Some(false)] {
            assert_eq!(scene(hint, None).found(Action::Open(&write)), []);
        }
        for hint in [None, Some(true)] {
            let found = scene(Some(true), hint).found(Action::Net(&away));
            assert_eq!(found, [("unexpected_egress", Severity::High)]);
        }
    }

    #[test]
    fn a_closed_world_has_no_way_out() {
        let scene = scene(None, Some(false));
        let found = scene.found(Action::Net(&connect("203.0.113.7:443")));
        assert_eq!(
            found,
            [("annotation_lie", Severity::High), ("unexpected_egress", Severity::High)]
        );
        assert_eq!(scene.found(Action::Net(&connect("127.0.0.1:6379"))), []);
        assert_eq!(scene.found(Action::Open(&open("/srv/data/a.txt", WRITE))), []);
        let mut given = scene;
        given.given.hosts = vec!["203.0.113.7".into()];
        assert_eq!(given.found(Action::Net(&connect("203.0.113.7:443"))), []);
    }

    #[test]
    fn programs_that_change_things_count_and_others_do_not() {
        let found = read_only().found(Action::Exec(&exec("/usr/bin/rm", &["rm", "/srv/a"])));
        assert_eq!(found, ONE);
        let shell = exec("/usr/bin/dash", &["sh", "-c", "echo > /srv/a"]);
        let found = read_only().found(Action::Exec(&shell));
        assert_eq!(found, [("shell_spawn", Severity::High), ("annotation_lie", Severity::High)]);
        for harmless in [
            exec("/usr/bin/git", &["git", "status"]),
            exec("/usr/bin/rg", &["rg", "x"]),
            exec(
                "/usr/bin/python3.12",
                &["python3", "-c", "from multiprocessing.resource_tracker import main;main(5)"],
            ),
        ] {
            assert_eq!(read_only().found(Action::Exec(&harmless)), [], "{harmless:?}");
        }
        let mut allowed = read_only();
        allowed.given.allow.exec = vec!["/bin/rm".into()];
        assert_eq!(allowed.found(Action::Exec(&exec("/usr/bin/rm", &["rm", "x"]))), []);
    }

    #[test]
    fn what_programs_write_for_themselves_is_silent_unless_it_was_asked_for() {
        let own = [
            "/tmp/x",
            "/tmp/pip-1/a/b/c",
            "/home/a/.cache/uv/x/y",
            "/srv/app/__pycache__/x.pyc",
            "/home/a/.npm/_logs/x.log",
            "/srv/repository/.git/index.lock",
            "/srv/data/notes.db-wal",
            "/srv/app/server.log",
            "/proc/self/oom_score_adj",
        ];
        for path in own {
            assert_eq!(read_only().found(Action::Open(&open(path, WRITE))), [], "{path}");
            let mut asked = read_only();
            asked.attribution.relation = Requested;
            asked.attribution.matched = Some(path.into());
            assert_eq!(asked.found(Action::Open(&open(path, WRITE))), ONE, "{path}");
        }
        for (path, folder, fires) in [
            ("/srv/repository/.git/index.lock", "/srv/repository", false),
            ("/srv/repository/.git/index.lock", "repository/", false),
            ("/srv/app/__pycache__/x.pyc", "file:///srv/app", false),
            ("/srv/app/server.log", "/srv/app", false),
            ("/tmp/work/x", "/tmp/work", true),
            ("/srv/app/logs/x", "/srv/app/logs", true),
        ] {
            let mut asked = read_only();
            asked.attribution.relation = Requested;
            asked.attribution.matched = Some(folder.into());
            let found = asked.found(Action::Open(&open(path, WRITE)));
            assert_eq!(found == ONE, fires, "{path} below {folder}: {found:?}");
        }
        let mut device = open("/srv/fifo", WRITE);
        device.mode = libc::S_IFIFO | 0o600;
        for quiet in [
            device,
            open("/srv/data/notes.db", libc::O_RDWR | libc::O_CREAT),
            open("/srv/data/a.txt", libc::O_RDONLY),
            open("/srv/data", libc::O_PATH | libc::O_WRONLY),
        ] {
            assert_eq!(read_only().found(Action::Open(&quiet)), [], "{quiet:?}");
        }
        let mut allowed = read_only();
        allowed.given.allow.write = vec!["/srv/data/*".into()];
        assert_eq!(allowed.found(Action::Open(&open("/srv/data/a.txt", WRITE))), []);
    }

    #[test]
    fn an_attempt_is_worth_knowing() {
        for error in [libc::EACCES, libc::ENOENT] {
            let tried = failed_open("/srv/data/a.txt", WRITE, error);
            let found = read_only().found(Action::Open(&tried));
            assert_eq!(found, [("annotation_lie", Severity::Low)]);
        }
    }

    #[test]
    fn without_a_call_or_in_doubt_about_it_nobody_is_accused() {
        let write = open("/srv/data/a.txt", WRITE);
        for relation in [Background, Startup] {
            assert_eq!(Scene::new(relation).found(Action::Open(&write)), []);
        }
        let mut doubtful = read_only();
        doubtful.attribution.candidates[0].1 = 0.5;
        assert_eq!(doubtful.found(Action::Open(&write)), []);
        let mut left_behind = read_only();
        left_behind.attribution.outlived = true;
        left_behind.since_response = Some(0);
        assert_eq!(left_behind.found(Action::Open(&write)), []);
    }

    #[test]
    fn every_change_counts_for_a_read_only_tool() {
        let table = [
            change_of_two(Operation::Rename, "/srv/data/a", "/srv/data/b"),
            change_of_two(Operation::Rename, "/tmp/a", "/srv/data/b"),
            change_of_two(Operation::Symlink, "/srv/data/a", "/tmp/a"),
            change(Operation::Unlink, "/srv/data/a"),
            change(Operation::Chmod, "/srv/data/a"),
            change(Operation::MakeDirectory, "/srv/data/a"),
            change(Operation::Truncate, "/srv/data/a"),
        ];
        for change in &table {
            assert_eq!(read_only().found(Action::Change(change)), ONE, "{change:?}");
            assert_eq!(scene(None, None).found(Action::Change(change)), [], "{change:?}");
        }
        let refused = Change { result: Err(libc::EACCES), ..table[0].clone() };
        let found = read_only().found(Action::Change(&refused));
        assert_eq!(found, [("annotation_lie", Severity::Low)]);
        for quiet in [
            change_of_two(Operation::Rename, "/srv/r/.git/index.lock", "/srv/r/.git/index"),
            change_of_two(Operation::Symlink, "/tmp/a", "/srv/data/a"),
            change(Operation::Unlink, "/srv/data/a.db-journal"),
            change(Operation::MakeDirectory, "/home/a/.cache/x"),
            change(Operation::MemfdCreate, "x"),
            Change { result: Err(libc::EEXIST), ..change(Operation::MakeDirectory, "/srv/data") },
        ] {
            assert_eq!(read_only().found(Action::Change(&quiet)), [], "{quiet:?}");
        }
    }

    #[test]
    fn a_tool_that_only_adds_takes_nothing_away() {
        let mut adding = scene(Some(false), None);
        let (call, _) = &mut adding.attribution.candidates[0];
        Arc::make_mut(call).annotations.destructive = Some(false);
        for operation in [Operation::Unlink, Operation::RemoveDirectory, Operation::Truncate] {
            let change = change(operation, "/srv/data/a");
            assert_eq!(adding.found(Action::Change(&change)), ONE, "{operation:?}");
        }
        for quiet in [
            change(Operation::Unlink, "/srv/data/a.tmp"),
            change(Operation::Unlink, "/srv/r/.git/objects/ab/tmp_obj_x"),
            change(Operation::MakeDirectory, "/srv/data/a"),
            change_of_two(Operation::Rename, "/srv/data/a", "/srv/data/b"),
        ] {
            assert_eq!(adding.found(Action::Change(&quiet)), [], "{quiet:?}");
        }
        assert_eq!(adding.found(Action::Open(&open("/srv/data/a", WRITE))), []);
    }
}
