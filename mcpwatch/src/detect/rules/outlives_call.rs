//! `outlives_call`: a process that was started in a call is at work after the call's response.

use super::ATLAS_VERSION;
use crate::detect::paths::is_within;
use crate::detect::reason::{cause, circumstances, command_line, evidence, quote, server};
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::event::Open;
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "outlives_call",
    title: "Process of a call at work after the response",
    severities: Severities { startup: None, ..Severities::always(Severity::Medium) },
    tags: Tags { attack: &["T1036"], atlas: &[], owasp_mcp: &["MCP05"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "With its response a call says that it is done. What it leaves behind works on unseen by \
        whoever allowed the call, and can look like the work of a later one.",
    trigger: "A process that was forked while a call was in flight, or a descendant of one, executes a \
        program, uses the network, or opens or changes an ordinary file more than half a second after the \
        response, and no later call asks for it by name. Once for each call and process. Processes \
        started before the first request do not count.",
    explained_by: &[
        "`allow.exec` of the server's settings, for the program that was left behind",
        "a later call whose arguments name what the process works on",
        "the workers that well-known libraries start (rules/programs.toml)",
        "programs, libraries and settings of the system, opened to be read",
    ],
    playbook: "Check first: what is the process (command line, program), and is it what the tool is for: a \
        browser, a language server, a development server? Then name it in `allow.exec`. Otherwise look \
        at all it did since (the records carry the call that began it), at its parent, which is often \
        gone, and at what the call was asked. End the process after you have looked.",
    yields_to: &[],
};

/// How long after the response a process may still be ending, in nanoseconds.
const ENDING: u64 = 500_000_000;

/// What every program reads to run at all.
const SYSTEM: &[&str] =
    &["/bin", "/sbin", "/lib", "/lib64", "/usr", "/etc", "/proc", "/sys", "/dev", "/nix", "/gnu"];

/// The rule.
struct OutlivesCall;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(OutlivesCall))
}

impl Rule for OutlivesCall {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        if !effect.attribution.outlived
            || effect.launching
            || effect.since_response.is_some_and(|since| since < ENDING)
        {
            return None;
        }
        let process = effect.process;
        let programs = &knowledge.programs;
        let worker = programs
            .spawned_as(&process.exe, &process.argv)
            .is_some_and(|spawn| programs.ordinary(&spawn).is_some());
        let allow = &effect.given.allow;
        if worker || knowledge.policy.allows_program(allow, &process.exe) {
            return None;
        }
        let (did, mut found) = match effect.action {
            Action::Exec(exec) => {
                if knowledge.policy.allows_exec(allow, exec) {
                    return None;
                }
                let line = command_line(&exec.argv);
                (format!("executed `{}`", quote(&line)), vec![evidence("argv", &line)])
            }
            Action::Open(open) => {
                if !is_work(open) {
                    return None;
                }
                let verb = if open.writes() { "opened for writing" } else { "read" };
                (format!("{verb} {}", quote(&open.path)), vec![evidence("path", &open.path)])
            }
            Action::Change(change) => {
                change.result.ok()?;
                let path = &change.file.path;
                let did = format!("changed {} ({})", quote(path), change.operation.name());
                (did, vec![evidence("path", path)])
            }
            Action::Net(net) => {
                let to = match (net.endpoint, &net.unix_path) {
                    (Some(endpoint), _) => endpoint.to_string(),
                    (None, Some(path)) => path.clone(),
                    (None, None) => return None,
                };
                (format!("used the network ({})", quote(&to)), vec![evidence("address", &to)])
            }
            _ => return None,
        };
        let severity = INFO.severities.of(effect.attribution.relation)?;
        found.push(evidence("command", &command_line(&process.argv)));
        if let Some(since) = effect.since_response {
            found.push(evidence("after_response", &seconds(since)));
        }
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!("Server {} {did} {}.", server(effect), cause(effect)),
            evidence: found,
            object: process.entity_id.clone(),
        })
    }
}

/// Whether an open is work, and not what every program does to run.
fn is_work(open: &Open) -> bool {
    open.result.is_ok()
        && open.may_be_regular()
        && (open.writes() || !SYSTEM.iter().any(|folder| is_within(&open.path, folder)))
}

/// A time span for a person.
fn seconds(nanoseconds: u64) -> String {
    format!("{}.{} s", nanoseconds / 1_000_000_000, nanoseconds / 100_000_000 % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, change, connect, exec, failed_open, open};
    use crate::event::Operation;
    use crate::record::Relation::Covert;

    const ONE: [(&str, Severity); 1] = [("outlives_call", Severity::Medium)];
    const SECOND: u64 = 1_000_000_000;

    fn left_behind() -> Scene {
        let mut scene = Scene::new(Covert);
        scene.attribution.outlived = true;
        scene.since_response = Some(3 * SECOND);
        scene
    }

    #[test]
    fn work_after_the_response_is_told_with_how_long_after() {
        let git = exec("/usr/bin/git", &["git", "fetch"]);
        let finding = left_behind().findings(Action::Exec(&git)).remove(0);
        assert_eq!((finding.rule, finding.severity), ONE[0]);
        assert_eq!(finding.object, "4242-1", "once for each process");
        assert_eq!(
            finding.reason,
            "Server files executed `git fetch` in a process that tools/call `weather` (JSON-RPC \
             id 7) left behind after its response."
        );
        let after = finding.evidence.iter().find(|piece| piece.name == "after_response").unwrap();
        assert_eq!(after.value, "3.0 s");
        for action in [
            Action::Net(&connect("127.0.0.1:80")),
            Action::Open(&open("/srv/data/a.txt", libc::O_RDONLY)),
            Action::Open(&open("/usr/local/x", libc::O_WRONLY)),
            Action::Change(&change(Operation::Unlink, "/srv/data/a.txt")),
        ] {
            assert_eq!(left_behind().found(action), ONE, "{action:?}");
        }
        let mut long_ago = left_behind();
        long_ago.since_response = None;
        assert_eq!(long_ago.found(Action::Exec(&git)), ONE);
    }

    #[test]
    fn what_is_just_ending_or_still_at_it_is_silent() {
        let git = exec("/usr/bin/git", &["git", "fetch"]);
        let mut ending = left_behind();
        ending.since_response = Some(SECOND / 4);
        assert_eq!(ending.found(Action::Exec(&git)), []);
        assert_eq!(Scene::new(Covert).found(Action::Exec(&git)), []);
    }

    #[test]
    fn what_every_program_does_to_run_is_no_work() {
        for quiet in [
            open("/usr/lib/x86_64-linux-gnu/libc.so.6", libc::O_RDONLY),
            open("/etc/ld.so.cache", libc::O_RDONLY),
            open("/proc/4242/stat", libc::O_RDONLY),
            failed_open("/srv/data/x", libc::O_RDONLY, libc::ENOENT),
        ] {
            assert_eq!(left_behind().found(Action::Open(&quiet)), [], "{quiet:?}");
        }
    }

    #[test]
    fn allowed_programs_and_known_workers_may_stay() {
        let work = open("/srv/data/a.txt", libc::O_RDONLY);
        let mut allowed = left_behind();
        allowed.process.exe = "/opt/chrome/chrome".into();
        allowed.given.allow.exec = vec!["/opt/chrome/*".into()];
        assert_eq!(allowed.found(Action::Open(&work)), []);
        let mut worker = left_behind();
        worker.process.exe = "/usr/bin/python3.12".into();
        let code = "from multiprocessing.resource_tracker import main;main(5)";
        worker.process.argv = ["python3", "-c", code].map(Into::into).into();
        assert_eq!(worker.found(Action::Open(&work)), []);
    }
}
