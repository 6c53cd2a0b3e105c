//! `background_activity`: a server worked on its own account, with no call in flight.

use super::ATLAS_VERSION;
use super::sensitive_file_read::{self, SensitiveFileRead};
use crate::detect::destination::{beyond_host, is_explained};
use crate::detect::reason::{cause, circumstances, command_line, evidence, quote, server};
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::record::{Relation, Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "background_activity",
    title: "Activity of an MCP server without a call",
    severities: Severities { startup: None, ..Severities::always(Severity::Medium) },
    tags: Tags { attack: &[], atlas: &[], owasp_mcp: &["MCP06"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "A server is there to answer calls. What it starts or contacts when nobody asked is its \
        own idea, or somebody else's.",
    trigger: "After the first request and while no call is in flight, a process of the server's tree \
        executes a program or goes to the network, and no other rule has fired on that. Sensitive files \
        and shells in the background are raised by their own rules, with the severity they have there; \
        where the settings switch off `sensitive_file_read`, a file it knows that is there is activity, too. \
        Opening ordinary files, loopback and name service are no activity in this sense.",
    explained_by: &[
        "`allow.exec` and `allow.egress` of the server's settings",
        "a host or address the server was given",
        "the workers that well-known libraries start (rules/programs.toml)",
        "what explains it to `sensitive_file_read`, of a sensitive file",
        "another rule that fired on the same effect",
    ],
    playbook: "Check first: does the server's documentation speak of updates, polling or telemetry that \
        would explain it? Look at what came before: a call whose work goes on after its response looks \
        the same. Name it in `allow.exec` or `allow.egress` when it belongs there; otherwise look at the \
        program's or destination's origin, and stop the server.",
    yields_to: &["*"],
};

/// The rule.
struct BackgroundActivity {
    /// Knows sensitive files where the rule for them is off; where it is on, it has said what is to be said.
    files: Option<SensitiveFileRead>,
}

/// Makes the rule.
pub fn build(knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    let off = knowledge.disabled.iter().any(|id| id == sensitive_file_read::INFO.id);
    let files = off.then(|| SensitiveFileRead::new(knowledge)).transpose()?;
    Ok(Box::new(BackgroundActivity { files }))
}

impl Rule for BackgroundActivity {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        if effect.attribution.relation != Relation::Background || effect.launching {
            return None;
        }
        let (did, object, mut found) = match effect.action {
            Action::Exec(exec) => {
                let programs = &knowledge.programs;
                let spawn = programs.spawned(exec);
                if spawn.is_some_and(|spawn| programs.ordinary(&spawn).is_some())
                    || knowledge.policy.allows_exec(&effect.given.allow, exec)
                {
                    return None;
                }
                let line = command_line(&exec.argv);
                let did = format!("executed `{}`", quote(&line));
                let found = vec![evidence("program", &exec.path), evidence("argv", &line)];
                (did, exec.path.clone(), found)
            }
            Action::Net(net) => {
                let endpoint =
                    beyond_host(net).filter(|to| !is_explained(effect, *to))?.to_string();
                let found = vec![evidence("address", &endpoint)];
                (format!("went to {endpoint}"), endpoint, found)
            }
            Action::Open(_) | Action::Change(_) => {
                let file = self.files.as_ref()?.unexplained(effect, knowledge)?;
                if matches!(file.result(), Err(libc::ENOENT | libc::ENOTDIR)) {
                    return None;
                }
                (file.did(), file.object(), file.evidence())
            }
            _ => return None,
        };
        let severity = INFO.severities.of(effect.attribution.relation)?;
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!("Server {} {did} {}.", server(effect), cause(effect)),
            evidence: found,
            object,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, connect, detector_without, exec, open};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const ONE: [(&str, Severity); 1] = [("background_activity", Severity::Medium)];

    #[test]
    fn a_program_without_a_call_fires() {
        let git = exec("/usr/bin/git", &["git", "fetch"]);
        assert_eq!(Scene::new(Background).found(Action::Exec(&git)), ONE);
        for relation in [Requested, Covert, Startup] {
            assert_eq!(Scene::new(relation).found(Action::Exec(&git)), [], "{relation:?}");
        }
    }

    #[test]
    fn it_adds_nothing_to_what_another_rule_said() {
        let shell = exec("/usr/bin/dash", &["sh", "-c", "id"]);
        let found = Scene::new(Background).found(Action::Exec(&shell));
        assert_eq!(found, [("shell_spawn", Severity::Critical)]);
        let found = Scene::new(Background).found(Action::Net(&connect("203.0.113.7:1")));
        assert_eq!(found, [("unexpected_egress", Severity::High)]);
        let mut detector = detector_without(&["shell_spawn", "unexpected_egress"]);
        let scene = Scene::new(Background);
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&shell)), ONE);
        assert_eq!(scene.found_by(&mut detector, Action::Net(&connect("203.0.113.7:1"))), ONE);
    }

    #[test]
    fn a_sensitive_file_is_activity_where_its_own_rule_is_off() {
        let key = open("/home/a/.ssh/id_ed25519", libc::O_RDONLY);
        let mut detector = detector_without(&["sensitive_file_read"]);
        let scene = Scene::new(Background);
        assert_eq!(scene.found_by(&mut detector, Action::Open(&key)), ONE);
        assert_eq!(scene.found(Action::Open(&key)), [("sensitive_file_read", Severity::Critical)]);
        let mut absent = key.clone();
        absent.result = Err(libc::ENOENT);
        for ordinary in [
            &absent,
            &open("/home/a/.ssh/id_ed25519", libc::O_WRONLY),
            &open("/srv/cache/index", libc::O_RDONLY),
        ] {
            assert_eq!(scene.found_by(&mut detector, Action::Open(ordinary)), [], "{ordinary:?}");
        }
        for relation in [Requested, Covert, Startup] {
            let scene = Scene::new(relation);
            assert_eq!(scene.found_by(&mut detector, Action::Open(&key)), [], "{relation:?}");
        }
        let mut allowed = Scene::new(Background);
        allowed.given.allow.read = vec!["~/.ssh/*".into()];
        assert_eq!(allowed.found_by(&mut detector, Action::Open(&key)), []);
    }

    #[test]
    fn ordinary_background_is_silent() {
        let mut scene = Scene::new(Background);
        scene.given.allow.exec = vec!["/usr/bin/git".into()];
        scene.given.hosts = vec!["203.0.113.7".into()];
        let worker = exec(
            "/usr/bin/python3.12",
            &["python3", "-c", "from multiprocessing.resource_tracker import main;main(5)"],
        );
        for action in [
            Action::Open(&open("/srv/cache/index", libc::O_RDWR)),
            Action::Net(&connect("127.0.0.1:6379")),
            Action::Net(&connect("203.0.113.7:443")),
            Action::Exec(&exec("/usr/bin/git", &["git", "fetch"])),
            Action::Exec(&worker),
        ] {
            assert_eq!(scene.found(action), [], "{action:?}");
        }
    }
}
