//! `channel_injection`: a process wrote to a protocol channel it is not at the end of, or reached into the
//! memory of a server.

use super::ATLAS_VERSION;
use crate::detect::reason::{OBJECT, cause, circumstances, clip, evidence, quote, server};
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::event::Direction;
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "channel_injection",
    title: "Words put into an MCP channel, or a hand in a server's memory",
    severities: Severities {
        refused: Some(Severity::High),
        absent: Some(Severity::Low),
        ..Severities::always(Severity::Critical)
    },
    tags: Tags { attack: &["T1055"], atlas: &[], owasp_mcp: &["MCP07"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "Client and server trust what comes on their channel. Who writes to it asks in the \
        client's name or answers in the server's; who writes to the server's memory does anything in its \
        name.",
    trigger: "A watched process, of this server or another, writes to a server's stdin, or to the stdout \
        of a server it is no part of; opens one of these for writing; opens `/proc/PID/mem` of a server \
        for writing; or reaches into one with ptrace, process_vm_readv, process_vm_writev or pidfd_getfd. A \
        process that belongs to no server is not watched: what it writes is not seen.",
    explained_by: &[
        "the server below a proxy: those who made a channel write to it",
        "a process and its own descendants (a debugger and what it starts)",
    ],
    playbook: "Look at who wrote, and at the calls that came after: those that the client's own log does \
        not have were not the client's. Stop both servers. Find out how the process came to run as the \
        server's user: servers of different trust should not share one.",
    yields_to: &[],
};

/// The rule.
struct ChannelInjection;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(ChannelInjection))
}

impl Rule for ChannelInjection {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, _knowledge: &mut Knowledge) -> Option<Finding> {
        let reached = effect.reached?;
        let victim = reached.server.as_deref()?;
        // A server's own processes share its stdout; its stdin is the client's alone.
        let shared = reached.own && reached.channel == Some(Direction::ServerToClient);
        if shared || reached.below {
            return None;
        }
        let of = format!("of server {}", quote(victim));
        let end = match reached.channel {
            Some(Direction::ServerToClient) => "stdout",
            _ => "stdin",
        };
        let end = if reached.own { format!("its own {end}") } else { format!("the {end} {of}") };
        let (how, did, result) = match effect.action {
            Action::Injection(injection) => {
                let what = match injection.bytes {
                    Some(bytes) => format!("wrote {bytes} bytes to {end}"),
                    None => format!("had an io_uring write to {end}"),
                };
                ("write", what, Ok(0))
            }
            Action::Access(access) => {
                let how = access.operation.name();
                let did = format!("reached into pid {} {of} with {how}", reached.pid);
                (how, did, access.result.map(|()| 0))
            }
            Action::Open(open) if open.writes() && reached.channel.is_some() => {
                ("open", format!("opened {end} for writing"), open.result)
            }
            Action::Open(open) if open.writes() => (
                "open",
                format!("opened the memory of pid {} {of} for writing", reached.pid),
                open.result,
            ),
            _ => return None,
        };
        let severity = INFO.severities.of_result(effect.attribution.relation, result)?;
        let did = if result.is_ok() { did } else { format!("tried and failed: it {did}") };
        let mut found = vec![
            evidence("victim", victim),
            evidence("victim_process", &format!("{} (pid {})", reached.exe, reached.pid)),
        ];
        if let Action::Open(open) = effect.action {
            found.push(evidence("path", &open.path));
            found.push(evidence("open_argument", &open.argument));
        }
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!("Server {} {did} {}.", server(effect), cause(effect)),
            evidence: found,
            object: clip(&format!("{how} {} {victim}", reached.pid), OBJECT).into_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Reached;
    use crate::detect::tests::{Scene, open};
    use crate::event::{Access, Injection, Operation};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const ONE: [(&str, Severity); 1] = [("channel_injection", Severity::Critical)];

    fn reached(own: bool, below: bool, channel: Option<Direction>) -> Reached {
        let server = Some(if own { "files".into() } else { "bank".into() });
        Reached { pid: 5000, exe: "/usr/bin/python3".into(), server, own, below, channel }
    }

    #[test]
    fn who_writes_to_a_channel_he_is_not_at_the_end_of() {
        use Direction::{ClientToServer, ServerToClient};
        for (own, below, direction, fires) in [
            (false, false, ClientToServer, true),
            (false, false, ServerToClient, true),
            // A proxy writes to the server it started.
            (false, true, ClientToServer, false),
            (true, false, ClientToServer, true),
            (true, false, ServerToClient, false),
            // What runs a container writes to what runs inside.
            (true, true, ClientToServer, false),
        ] {
            let injection = Injection { bytes: Some(9), victim: 1, direction };
            for relation in [Requested, Covert, Background, Startup] {
                let mut scene = Scene::new(relation);
                scene.reached = Some(reached(own, below, Some(direction)));
                let found = scene.found(Action::Injection(&injection));
                assert_eq!(!found.is_empty(), fires, "{own} {below} {direction:?}");
                assert!(!fires || found == ONE);
            }
        }
    }

    #[test]
    fn who_reaches_into_memory() {
        let access = Access {
            operation: Operation::ProcessVmWritev,
            request: None,
            target: Some(5000),
            namespace_target: None,
            result: Ok(()),
        };
        let memory = open("/proc/5000/mem", libc::O_WRONLY);
        let mut scene = Scene::new(Covert);
        scene.reached = Some(reached(false, false, None));
        assert_eq!(scene.found(Action::Access(&access)), ONE);
        assert_eq!(scene.found(Action::Open(&memory)), ONE);
        let refused = Access { result: Err(libc::EPERM), ..access };
        let found = scene.found(Action::Access(&refused));
        assert_eq!(found, [("channel_injection", Severity::High)]);
        // Its own child: no injection, but still a change of privileges.
        scene.reached = Some(reached(true, true, None));
        let found = scene.found(Action::Access(&access));
        assert_eq!(found, [("privilege_change", Severity::Medium)]);
        assert_eq!(scene.found(Action::Open(&memory)), []);
    }
}
