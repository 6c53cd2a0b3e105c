//! `path_escape`: a call led a server out of the folders it was given.

use std::borrow::Cow;

use serde_json::Value;

use super::ATLAS_VERSION;
use crate::detect::paths::{file_name, is_within, normal};
use crate::detect::reason::{OBJECT, cause, circumstances, clip, evidence, quote, server};
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::event::{self, Operation, decode::join};
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "path_escape",
    title: "MCP server led out of its folders",
    severities: Severities {
        startup: None,
        refused: Some(Severity::Medium),
        absent: Some(Severity::Low),
        ..Severities::always(Severity::High)
    },
    tags: Tags { attack: &["T1083"], atlas: &[], owasp_mcp: &["MCP05"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "A server that is given folders is to work in them and nowhere else. When an argument leads \
        it out, by `..`, a symbolic link or simply an absolute path, its check is missing or was tricked, \
        and every file its user can reach is open to whoever writes the arguments.",
    trigger: "In a call, a process of a server that has folders of its own (among its arguments, or its \
        client's answer to `roots/list`) opens or changes a file outside of them, and an argument of the call leads \
        there: it holds `..`, is an absolute path to it, or looks as if it lay inside while a symbolic \
        link leads out. The place is that of the opened file, whatever the server made of the argument. A folder \
        of its own that is itself a symbolic link is known by where it leads, too, unless that is above it or its \
        working directory, or holds a home.",
    explained_by: &[
        "a file or folder that the server's command line or configuration names",
        "`allow.read` and `allow.write` of the server's settings",
        "a path the server opened on its own account, which no argument names",
    ],
    playbook: "Check first: what was opened, and did its content come back in the result? Look for the same \
        argument in other calls: an escape is rarely tried once. Update the server (several well-known \
        ones had this fault), confine it by the system as well (a container, a user of its own), and \
        take what lies in reach as read. A server that may go there names it in `allow.read`.",
    yields_to: &[],
};

/// Most strings of one call's arguments that are looked at, and how deep.
const STRINGS: usize = 256;
const DEPTH: usize = 32;
/// Most folders in the evidence.
const SHOWN: usize = 8;

/// The rule.
struct PathEscape;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(PathEscape))
}

impl Rule for PathEscape {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let matched = effect.attribution.matched.as_deref()?;
        roots(effect).next()?;
        let call = effect.attribution.call()?;
        let mut left = STRINGS;
        if !call.arguments.as_ref().is_some_and(|all| holds(all, matched, 0, &mut left)) {
            return None;
        }
        let (place, path, how) =
            Place::all(effect.action).into_iter().flatten().find_map(|place| {
                let path = normal(place.path);
                let mut given = roots(effect).chain(effect.real_roots).chain(&effect.given.paths);
                if given.any(|folder| is_within(&path, &normal(folder))) {
                    return None;
                }
                let how = way_out(effect, &place, &path, matched)?;
                Some((place, path, how))
            })?;
        let allow = &effect.given.allow;
        let allowed = if place.writes {
            knowledge.policy.allows_write(allow, &path)
        } else {
            knowledge.policy.allows_read(allow, &path)
        };
        if allowed {
            return None;
        }
        let severity = INFO.severities.of_result(effect.attribution.relation, place.result)?;
        let (done, tried) = place.verbs;
        let verb = if place.result.is_ok() { done } else { tried };
        let mut found = vec![evidence("path", place.path)];
        if place.argument != place.path {
            found.push(evidence("open_argument", place.argument));
        }
        found.extend(roots(effect).take(SHOWN).map(|root| evidence("root", root)));
        circumstances(effect, &mut found);
        let first = roots(effect).next().map_or("", String::as_str);
        let more = if roots(effect).nth(1).is_some() { " and others" } else { "" };
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!(
                "Server {} {verb} {}, outside of the folders it was given ({}{more}), through {how}, {}.",
                server(effect),
                quote(&path),
                quote(first),
                cause(effect)
            ),
            evidence: found,
            object: clip(&path, OBJECT).into_owned(),
        })
    }
}

/// A file as an effect named it.
#[derive(Clone, Copy)]
struct Place<'a> {
    path: &'a str,
    argument: &'a str,
    writes: bool,
    result: Result<i32, i32>,
    /// What was done, and what was tried, in words.
    verbs: (&'static str, &'static str),
}

impl<'a> Place<'a> {
    fn all(action: Action<'a>) -> [Option<Self>; 2] {
        match action {
            // A look at what is there opens nothing.
            Action::Open(open) if open.flags.cast_signed() & libc::O_PATH == 0 => {
                let place = Self {
                    path: &open.path,
                    argument: &open.argument,
                    writes: open.writes(),
                    result: open.result,
                    verbs: ("opened", "tried to open"),
                };
                [Some(place), None]
            }
            Action::Change(change) => {
                let place = |place: &'a event::Place| Self {
                    path: &place.path,
                    argument: &place.argument,
                    writes: true,
                    result: change.result.map(|()| 0),
                    verbs: ("changed", "tried to change"),
                };
                // What a symbolic link says is followed by nobody yet.
                let target =
                    change.target.as_ref().filter(|_| change.operation != Operation::Symlink);
                [Some(place(&change.file)), target.map(place)]
            }
            _ => [None, None],
        }
    }
}

/// The folders the server is confined to.
fn roots<'a>(effect: &Effect<'a>) -> impl Iterator<Item = &'a String> {
    effect.roots.iter().chain(&effect.given.roots)
}

/// How the argument `matched` led to `path`, which lies outside; `None` when it did not.
fn way_out(
    effect: &Effect<'_>,
    place: &Place<'_>,
    path: &str,
    matched: &str,
) -> Option<&'static str> {
    let given = matched.strip_prefix("file://").unwrap_or(matched);
    let opened = lexical(effect, place.argument);
    let inside = |path: &str| {
        roots(effect).chain(effect.real_roots).any(|root| is_within(path, &normal(root)))
    };
    // What stands at the same place of a root that is itself a link is inside.
    let moved = || roots(effect).any(|root| is_moved(&opened, path, &normal(root)));
    let by_link = inside(&opened) && !moved();
    let climbs = given.split('/').any(|part| part == "..");
    if given.starts_with('/') {
        let meant = normal(given);
        if inside(&meant) {
            return by_link.then_some("a symbolic link");
        }
        let led_there = *meant == *path || *meant == *opened || given == place.argument;
        return led_there.then_some(if climbs { "`..`" } else { "an absolute path" });
    }
    if given.starts_with("~/") {
        return Some("a path into the home");
    }
    if climbs {
        return Some("`..`");
    }
    by_link.then_some("a symbolic link")
}

/// The argument of an open as a path without `..`, by its letters alone. One that is relative to something
/// else than the working directory is not known better.
fn lexical<'a>(effect: &Effect<'_>, argument: &'a str) -> Cow<'a, str> {
    match &effect.process.cwd {
        Some(cwd) if !argument.starts_with('/') => Cow::Owned(join(cwd, argument)),
        _ => normal(argument),
    }
}

/// Whether `opened`, below `root`, led to `path` just because `root` is a link to a folder of its name.
fn is_moved(opened: &str, path: &str, root: &str) -> bool {
    opened
        .strip_prefix(root)
        .and_then(|below| path.strip_suffix(below))
        .is_some_and(|folder| !folder.is_empty() && file_name(folder) == file_name(root))
}

/// Whether the argument stands among them as a whole: a word within a text leads nowhere.
fn holds(value: &Value, argument: &str, depth: usize, left: &mut usize) -> bool {
    if depth > DEPTH || *left == 0 {
        return false;
    }
    match value {
        Value::String(text) => {
            *left -= 1;
            text.trim() == argument
        }
        Value::Array(items) => items.iter().any(|item| holds(item, argument, depth + 1, left)),
        Value::Object(fields) => fields.values().any(|item| holds(item, argument, depth + 1, left)),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::json;

    use super::*;
    use crate::attribute::{Mentions, Object};
    use crate::detect::tests::{Scene, change_of_two, failed_open, link, open};
    use crate::event::Open;
    use crate::record::Relation::{Covert, Requested};

    const ROOT: &str = "/srv/work";
    const ONE: [(&str, Severity); 1] = [("path_escape", Severity::High)];

    /// A call with this argument, and an open that is held against it as the pipeline does.
    fn asked(argument: &str, open: &Open) -> Scene {
        let mut scene = Scene::new(Covert);
        let (call, _) = &mut scene.attribution.candidates[0];
        Arc::make_mut(call).arguments = Some(json!({"options": [{"path": argument}]}));
        let matched = Mentions::of_call(call).of(Object::File(open)).map(str::to_owned);
        if matched.is_some() {
            scene.attribution.relation = Requested;
        }
        scene.attribution.matched = matched;
        scene.given.roots = vec![ROOT.into()];
        scene.process.cwd = Some(ROOT.into());
        scene
    }

    fn read(path: &str) -> Open {
        open(path, libc::O_RDONLY)
    }

    #[test]
    fn every_way_out_fires_and_is_named() {
        for (argument, open, how) in [
            ("/srv/work/../other/a", read("/srv/other/a"), "`..`"),
            ("/srv/work/../other/a", link("/srv/work/../other/a", "/srv/other/a"), "`..`"),
            ("../other/a", link("/srv/work/../other/a", "/srv/other/a"), "`..`"),
            ("a/../../other/a", read("/srv/other/a"), "`..`"),
            ("/srv/other/a", read("/srv/other/a"), "an absolute path"),
            ("file:///srv/other/a", read("/srv/other/a"), "an absolute path"),
            (
                "/proc/self/root/srv/other/a",
                link("/proc/self/root/srv/other/a", "/srv/other/a"),
                "an absolute path",
            ),
            ("~/notes/a", read("/home/a/notes/a"), "a path into the home"),
            ("/srv/work/link", link("/srv/work/link", "/srv/other/a"), "a symbolic link"),
            ("link/a", link("/srv/work/link/a", "/srv/other/a"), "a symbolic link"),
            ("link/a", link("link/a", "/srv/other/a"), "a symbolic link"),
            ("/srv/work/sub", link("/srv/work/sub/link", "/srv/other/a"), "a symbolic link"),
        ] {
            let scene = asked(argument, &open);
            assert_eq!(scene.found(Action::Open(&open)), ONE, "{argument} {open:?}");
            let reason = scene.findings(Action::Open(&open)).remove(0).reason;
            assert!(reason.contains(&format!("through {how},")), "{argument}: {reason}");
        }
    }

    #[test]
    fn what_lies_inside_is_silent_whatever_the_way() {
        for (argument, open) in [
            ("/srv/work/a", read("/srv/work/a")),
            ("a/../b", link("/srv/work/a/../b", "/srv/work/b")),
            ("../work/b", read("/srv/work/b")),
            ("link", link("/srv/work/link", "/srv/work/sub/a")),
            ("/srv/work", read("/srv/work")),
        ] {
            assert_eq!(asked(argument, &open).found(Action::Open(&open)), [], "{argument}");
        }
    }

    #[test]
    fn what_the_server_opens_on_its_own_account_is_silent() {
        for (argument, open) in [
            ("index.js", read("/usr/lib/node_modules/x/index.js")),
            ("a", read("/usr/share/zoneinfo/UTC")),
            ("see /usr/share/doc/a for more", read("/usr/share/doc/a")),
            ("/usr/share/doc", read("/usr/share/doc/a")),
            ("link", link("/srv/work/other", "/usr/lib/a")),
        ] {
            assert_eq!(asked(argument, &open).found(Action::Open(&open)), [], "{argument}");
        }
    }

    #[test]
    fn a_server_without_folders_goes_where_it_likes() {
        let open = read("/srv/other/a");
        let mut scene = asked("/srv/other/a", &open);
        scene.given.roots.clear();
        assert_eq!(scene.found(Action::Open(&open)), []);
        scene.roots = vec!["/srv/project".into()];
        assert_eq!(scene.found(Action::Open(&open)), ONE, "its client confines it");
        scene.roots = vec!["/srv/other/".into()];
        assert_eq!(scene.found(Action::Open(&open)), []);
    }

    #[test]
    fn a_root_that_is_a_link_is_no_way_out() {
        let moved = link("/srv/work/sub/a", "/data/work/sub/a");
        assert_eq!(asked("/srv/work/sub/a", &moved).found(Action::Open(&moved)), []);
        for path in ["/etc/passwd", "/data/secrets/k"] {
            let name = path.rsplit_once('/').unwrap();
            let argument = format!("/srv/work/{}/{}", file_name(name.0), name.1);
            let out = link(&argument, path);
            assert_eq!(asked(&argument, &out).found(Action::Open(&out)), ONE, "{argument}");
        }
    }

    #[test]
    fn a_root_that_is_a_link_to_a_folder_of_any_name_is_known_by_where_it_leads() {
        let moved = link("/srv/work/sub/a", "/data/projects/7/sub/a");
        let out = link("/srv/work/link", "/data/projects/8/a");
        let mut scene = asked("/srv/work/sub/a", &moved);
        assert_eq!(scene.found(Action::Open(&moved)), ONE, "nobody has looked yet");
        scene.real_roots = vec!["/data/projects/7".into()];
        assert_eq!(scene.found(Action::Open(&moved)), []);
        let mut scene = asked("/srv/work/link", &out);
        scene.real_roots = vec!["/data/projects/7".into()];
        assert_eq!(scene.found(Action::Open(&out)), ONE);
        // Named by where it is, and led out from there.
        let argument = "/data/projects/7/../8/a";
        let out = link(argument, "/data/projects/8/a");
        let mut scene = asked(argument, &out);
        scene.real_roots = vec!["/data/projects/7".into()];
        assert_eq!(scene.found(Action::Open(&out)), ONE);
    }

    #[test]
    fn what_is_given_or_allowed_is_silent_and_attempts_matter_less() {
        let open = read("/srv/other/a");
        let mut scene = asked("/srv/other/a", &open);
        scene.given.paths = vec!["/srv/other".into()];
        assert_eq!(scene.found(Action::Open(&open)), []);
        let mut scene = asked("/srv/other/a", &open);
        scene.given.allow.read = vec!["/srv/other/*".into()];
        assert_eq!(scene.found(Action::Open(&open)), []);
        let write = crate::detect::tests::open("/srv/other/a", libc::O_WRONLY);
        assert_eq!(scene.found(Action::Open(&write)), ONE, "permission to read is none to write");
        for (error, severity) in [(libc::EACCES, Severity::Medium), (libc::ENOENT, Severity::Low)] {
            let tried = failed_open("/srv/other/a", libc::O_RDONLY, error);
            let found = asked("/srv/other/a", &tried).found(Action::Open(&tried));
            assert_eq!(found, [("path_escape", severity)]);
        }
        let look = crate::detect::tests::open("/srv/other/a", libc::O_PATH);
        assert_eq!(asked("/srv/other/a", &look).found(Action::Open(&look)), []);
    }

    #[test]
    fn a_file_moved_out_or_in_counts_for_both_ends() {
        let moved = |argument: &str, from: &str, to: &str| {
            let mut scene = asked(argument, &read("/"));
            scene.attribution.relation = Requested;
            scene.attribution.matched = Some(argument.into());
            scene.found(Action::Change(&change_of_two(Operation::Rename, from, to)))
        };
        assert_eq!(moved("/srv/work/../other/a", "/srv/work/a", "/srv/other/a"), ONE);
        assert_eq!(moved("/srv/other/a", "/srv/work/a", "/srv/other/a"), ONE);
        assert_eq!(moved("../other/a", "/srv/other/a", "/srv/work/a"), ONE);
        assert_eq!(moved("/srv/work/b", "/srv/work/a", "/srv/work/b"), []);
    }
}
