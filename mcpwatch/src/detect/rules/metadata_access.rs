//! `metadata_access`: traffic to where a cloud hands out the machine's credentials.

use std::collections::HashMap;
use std::net::IpAddr;

use serde::Deserialize;

use super::ATLAS_VERSION;
use crate::detect::destination::{beyond_host, finding, is_allowed_exactly};
use crate::detect::reason::evidence;
use crate::detect::{
    Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities, data,
};
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "metadata_access",
    title: "Cloud metadata address contacted by an MCP server",
    severities: Severities::always(Severity::Critical),
    tags: Tags { attack: &["T1552.005"], atlas: &[], owasp_mcp: &["MCP01"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "The metadata service of a cloud gives whoever asks from this machine the machine's own \
        credentials. A URL tool that is talked into asking it has given the cloud account away.",
    trigger: "A process of the server's tree connects, or sends a datagram, to an address of \
        rules/metadata-addresses.toml, or to one known by a name of it. It takes the place of \
        `unexpected_egress` for that destination.",
    explained_by: &[
        "`allow.egress` of the server's settings with this very address (a network or a name is not \
         enough)",
        "other services at the same address (name service, time)",
    ],
    playbook: "Check first: did the call's arguments hold the address or a name leading to it (then who \
        wrote them?), and what did the result hold? Take the role's credentials as disclosed: revoke its \
        sessions, look through the cloud's audit log for their use from elsewhere. Require session tokens \
        (IMDSv2) with hop limit 1, and block the address for processes that do not need it.",
    yields_to: &[],
};

const FILE: &str = "metadata-addresses.toml";
const TEXT: &str = include_str!("../../../../rules/metadata-addresses.toml");

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    service: Vec<Service>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Service {
    provider: String,
    addresses: Vec<IpAddr>,
    #[serde(default)]
    names: Vec<String>,
    #[serde(default)]
    except_ports: Vec<u16>,
}

/// The rule.
struct MetadataAccess {
    services: Vec<Service>,
    by_address: HashMap<IpAddr, usize>,
}

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    let Tables { service: services } = data(FILE, TEXT)?;
    if services.is_empty() {
        return Err(DetectError::Data { file: FILE, message: "no services".into() });
    }
    let by_address = services
        .iter()
        .enumerate()
        .flat_map(|(number, service)| {
            service.addresses.iter().map(move |address| (*address, number))
        })
        .collect();
    Ok(Box::new(MetadataAccess { services, by_address }))
}

impl Rule for MetadataAccess {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, _knowledge: &mut Knowledge) -> Option<Finding> {
        let Action::Net(net) = effect.action else { return None };
        let endpoint = beyond_host(net)?;
        let service = match self.by_address.get(&endpoint.ip()) {
            Some(&number) => self.services.get(number)?,
            None => self.services.iter().find(|service| {
                let known =
                    |name: &String| service.names.iter().any(|n| n.eq_ignore_ascii_case(name));
                effect.names.iter().any(known)
            })?,
        };
        if service.except_ports.contains(&endpoint.port())
            || is_allowed_exactly(effect.given, endpoint)
        {
            return None;
        }
        let provider = &service.provider;
        let did =
            format!("contacted {endpoint}, where {provider} gives out this machine's credentials,");
        finding(&INFO, effect, endpoint, &did, vec![evidence("provider", provider)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::{Scene, connect, datagram, send};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const ONE: [(&str, Severity); 1] = [("metadata_access", Severity::Critical)];

    #[test]
    fn every_address_is_critical_in_every_relation_and_one_alert() {
        let Tables { service } = data(FILE, TEXT).unwrap();
        for address in service.iter().flat_map(|service| &service.addresses) {
            let to = std::net::SocketAddr::from((*address, 80)).to_string();
            for relation in [Requested, Covert, Background, Startup] {
                for effect in [connect(&to), send(&to), datagram(&to)] {
                    assert_eq!(Scene::new(relation).found(Action::Net(&effect)), ONE, "{to}");
                }
            }
        }
    }

    #[test]
    fn a_launcher_or_a_given_host_is_no_excuse() {
        let mut scene = Scene::new(Startup);
        scene.launching = true;
        scene.given.hosts = vec!["169.254.169.254".into()];
        scene.given.allow.egress = vec!["169.254.0.0/16".into(), "0.0.0.0/0".into()];
        assert_eq!(scene.found(Action::Net(&connect("169.254.169.254:80"))), ONE);
    }

    #[test]
    fn only_the_very_address_can_be_allowed() {
        let mut scene = Scene::new(Covert);
        scene.given.allow.egress = vec!["169.254.169.254".into()];
        assert_eq!(scene.found(Action::Net(&connect("169.254.169.254:80"))), []);
    }

    #[test]
    fn a_name_leads_there_too() {
        let mut scene = Scene::new(Covert);
        scene.names = vec!["Metadata.Google.Internal".into()];
        assert_eq!(scene.found(Action::Net(&connect("203.0.113.7:80"))), ONE);
    }

    #[test]
    fn name_service_at_the_same_address_is_egress_like_any_other() {
        let mut scene = Scene::new(Covert);
        scene.given.resolvers = vec!["168.63.129.16".parse().unwrap()];
        assert_eq!(scene.found(Action::Net(&send("168.63.129.16:53"))), []);
        assert_eq!(scene.found(Action::Net(&connect("168.63.129.16:80"))), ONE);
    }
}
