//! `unexpected_egress`: traffic to a destination that nothing explains.

use super::ATLAS_VERSION;
use crate::detect::destination::{beyond_host, finding, is_explained};
use crate::detect::reason::quote;
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::event::NetOperation;
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "unexpected_egress",
    title: "Unexpected connection by an MCP server",
    severities: Severities {
        requested: Severity::Info,
        covert: Severity::High,
        background: Severity::High,
        startup: Some(Severity::High),
        refused: None,
        absent: None,
    },
    tags: Tags {
        attack: &["T1041", "T1048", "T1567"],
        atlas: &["AML.T0086"],
        owasp_mcp: &["MCP10"],
        owasp_llm: &["LLM02"],
    },
    atlas_version: ATLAS_VERSION,
    description: "A server talks to a place it was not configured for and that the call in hand does not \
        name: the way by which data leaves, and by which orders come in.",
    trigger: "A process of the server's tree connects, or sends a datagram, to an address that is not \
        this machine's. An attempt counts like a success. Loopback, unix sockets and asking the system \
        for the own address (a datagram socket connected to port 0) are no egress.",
    explained_by: &[
        "a launcher fetching its package, while it is still on the way to the server",
        "a host or address named by the server's configuration, command line or environment entries",
        "`allow.egress` of the server's settings",
        "of names, only those in `/etc/hosts` and those the machine's own name servers gave the address: one \
         that another name server gave it is shown as `claimed_name`, and a name a TLS client asks for \
         is in the `net.tls` record; neither explains",
        "the machine's own name servers on port 53",
        "a destination named by the call's arguments is only noted (`info`)",
    ],
    playbook: "Check first: whose address is it (names in the evidence, reverse lookup, your proxy's \
        logs), and what did the server read in the same call before? After a read of sensitive data, take \
        it as exfiltration: block the address, stop the server, change the secrets it could read. When \
        the destination is the service the server is made for, name it in `allow.egress`.",
    yields_to: &["metadata_access", "internal_probe"],
};

/// The rule.
struct UnexpectedEgress;

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(UnexpectedEgress))
}

impl Rule for UnexpectedEgress {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, _knowledge: &mut Knowledge) -> Option<Finding> {
        let Action::Net(net) = effect.action else { return None };
        let endpoint = beyond_host(net)?;
        if is_explained(effect, endpoint) {
            return None;
        }
        let verb = match net.operation {
            NetOperation::Send => "sent a datagram to",
            _ => "connected to",
        };
        let known_as = match effect.names.first() {
            Some(name) => format!(" ({})", quote(name)),
            None => String::new(),
        };
        finding(&INFO, effect, endpoint, &format!("{verb} {endpoint}{known_as}"), Vec::new())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, connect, datagram, net, send};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    #[test]
    fn destinations_fire_by_relation() {
        let severities = [
            (Requested, Severity::Info),
            (Covert, Severity::High),
            (Background, Severity::High),
            (Startup, Severity::High),
        ];
        for to in ["203.0.113.7:443", "[2001:db8::7]:443", "10.1.2.3:22", "224.0.0.251:5353"] {
            for (relation, severity) in severities {
                for effect in [connect(to), send(to), datagram(to)] {
                    let found = Scene::new(relation).found(Action::Net(&effect));
                    assert_eq!(found, [("unexpected_egress", severity)], "{effect:?} {relation:?}");
                }
            }
        }
    }

    #[test]
    fn what_stays_or_only_listens_is_silent() {
        let mut unix = connect("203.0.113.7:1");
        unix.endpoint = None;
        unix.family = u16::try_from(libc::AF_UNIX).unwrap();
        unix.unix_path = Some("/run/nscd/socket".into());
        let quiet = [
            connect("127.0.0.1:80"),
            connect("[::1]:80"),
            connect("0.0.0.0:80"),
            connect("127.0.0.53:53"),
            datagram("203.0.113.7:0"),
            unix,
            net(NetOperation::Bind, libc::SOCK_STREAM, "203.0.113.7:80"),
            net(NetOperation::Listen, libc::SOCK_STREAM, "0.0.0.0:80"),
            net(NetOperation::Accept, libc::SOCK_STREAM, "203.0.113.9:1000"),
        ];
        for effect in quiet {
            for relation in [Requested, Covert, Background, Startup] {
                assert_eq!(Scene::new(relation).found(Action::Net(&effect)), [], "{effect:?}");
            }
        }
    }

    #[test]
    fn what_is_given_or_allowed_is_silent() {
        let to = connect("203.0.113.7:443");
        for allowed in ["203.0.113.7", "203.0.113.0/24", "203.0.113.7:443", "*.example.com"] {
            let mut scene = Scene::new(Covert);
            scene.names = vec!["api.example.com".into()];
            scene.given.allow.egress = vec![allowed.into()];
            assert_eq!(scene.found(Action::Net(&to)), [], "{allowed}");
            let mut scene = Scene::new(Background);
            scene.names = vec!["api.example.com".into()];
            scene.given.hosts = vec![allowed.into()];
            assert_eq!(scene.found(Action::Net(&to)), [], "{allowed}");
        }
        let mut scene = Scene::new(Startup);
        scene.launching = true;
        assert_eq!(scene.found(Action::Net(&to)), []);
    }

    #[test]
    fn name_service_is_only_that_of_the_host_and_only_its_port() {
        let mut scene = Scene::new(Covert);
        scene.given.resolvers = vec!["192.0.2.53".parse().unwrap()];
        assert_eq!(scene.found(Action::Net(&send("192.0.2.53:53"))), []);
        assert_eq!(scene.found(Action::Net(&send("192.0.2.53:443"))).len(), 1);
        assert_eq!(scene.found(Action::Net(&send("192.0.2.54:53"))).len(), 1);
    }

    #[test]
    fn a_refused_connection_was_tried() {
        let mut refused = connect("203.0.113.7:443");
        for result in [None, Some(Err(libc::ECONNREFUSED)), Some(Err(libc::EINPROGRESS))] {
            refused.result = result;
            assert_eq!(Scene::new(Covert).found(Action::Net(&refused)).len(), 1);
        }
    }
}
