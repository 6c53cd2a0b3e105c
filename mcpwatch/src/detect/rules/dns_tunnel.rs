//! `dns_tunnel`: data carried out in the names that are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::ATLAS_VERSION;
use crate::detect::destination::Pattern;
use crate::detect::reason::{cause, circumstances, clip, evidence, quote, server};
use crate::detect::{Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities};
use crate::record::{Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "dns_tunnel",
    title: "Data carried out in DNS names by an MCP server",
    severities: Severities::always(Severity::High),
    tags: Tags { attack: &["T1048.003", "T1071.004"], atlas: &[], owasp_mcp: &[], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "Name service is open nearly everywhere, and a name that nobody has asked for before is \
        handed on to the name server of its domain. Whoever runs that server reads along: data travels out \
        piece by piece in the names, and orders come back in the answers.",
    trigger: "Within ten minutes a server asks for three names with 100 or more characters below one domain; \
        or for 20 that look encoded (labels of 16 or more characters like those of hexadecimal, base32 or \
        base64 text) with 600 such characters together, the size of a short private key; or for 200 of any \
        kind. Each name counts once, whoever is asked; servers that a server starts are counted with it. A \
        domain is what one party registers; names below those under which many parties have one each \
        (cloudfront.net, amazonaws.com, …) are told apart.",
    explained_by: &[
        "`allow.egress` of the server's settings with the name or `*.DOMAIN`",
        "reverse lookups of addresses (`in-addr.arpa`, `ip6.arpa`)",
    ],
    playbook: "Check first: whose is the domain, and do the names (in the evidence and in the `net.dns` \
        records of this server) decode to something? Look at what the server read before. When it is a \
        tunnel: block the domain at the name servers, stop the server, take what it could read as disclosed. \
        A tool that looks through names for a living belongs in `allow.egress` with `*.DOMAIN`.",
    yields_to: &[],
};

/// How long names are counted together, in nanoseconds: a tunnel that stays below the numbers for that long
/// carries about a byte a second.
const WINDOW: u64 = 600 * 1_000_000_000;
/// Characters in front of the domain from which a name is long. The longest ordinary ones (interface endpoints
/// of clouds, hashes asked of reputation services) have 60 to 80; tunnels use most of the 253 there are.
const LONG: usize = 100;
/// So many long names are no accident.
const LONG_NAMES: usize = 3;
/// Names that look encoded. Pages full of hashed host names of one party have a dozen.
const ENCODED_NAMES: usize = 20;
/// Characters in such names, together.
const ENCODED_CHARACTERS: usize = 600;
/// Shortest label that can look encoded; identifiers of load balancers and customers are mostly shorter.
const ENCODED_LABEL: usize = 16;
/// Different names of any kind below one domain.
const NAMES: usize = 200;
/// Most families of servers that are followed; the one that asked longest ago goes.
const FAMILIES: usize = 64;
/// Most domains of one of them; the one with the fewest names goes.
const DOMAINS: usize = 64;
/// What went so is counted together, lest asking for many other domains hide the one that matters: with limits
/// so many times higher, since a crawler goes to many places.
const ELSEWHERE: usize = 5;

/// The rule.
#[derive(Default)]
struct DnsTunnel {
    families: BTreeMap<String, Asked>,
}

/// What a server, with those around and within it, asked for.
#[derive(Default)]
struct Asked {
    last: u64,
    domains: BTreeMap<String, Domain>,
    /// The names below domains that had to go.
    elsewhere: Domain,
}

/// The names below one domain since `since`.
#[derive(Default)]
struct Domain {
    since: u64,
    /// Fingerprints of the names that were counted.
    names: BTreeSet<u64>,
    long: usize,
    encoded: usize,
    encoded_characters: usize,
}

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(DnsTunnel::default()))
}

impl Rule for DnsTunnel {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, _knowledge: &mut Knowledge) -> Option<Finding> {
        let Action::Lookup(lookup) = effect.action else { return None };
        let name = lookup.name.as_str();
        let (payload, domain) = split(name)?;
        let allowed = |pattern: &String| {
            let pattern = pattern.parse::<Pattern>();
            pattern.is_ok_and(|pattern| pattern.names(name))
        };
        if is_reverse(payload, domain) || effect.given.allow.egress.iter().any(allowed) {
            return None;
        }
        let asked = self.asked(effect.family, effect.time);
        asked.domain(domain, effect.time).count(payload);
        let (counted, domain) = asked.too_much(domain)?;
        let why = counted.why();
        let severity = INFO.severities.of(effect.attribution.relation)?;
        let mut found = vec![
            evidence("domain", domain),
            evidence("name", name),
            evidence("type", &lookup.kind),
            evidence("names", &counted.names.len().to_string()),
            evidence("long_names", &counted.long.to_string()),
            evidence("encoded_names", &counted.encoded.to_string()),
            evidence("encoded_characters", &counted.encoded_characters.to_string()),
            evidence("resolver", &lookup.resolver.to_string()),
        ];
        circumstances(effect, &mut found);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!(
                "Server {} asked for {why} below {} within ten minutes, the latest {}.",
                server(effect),
                quote(domain),
                cause(effect)
            ),
            evidence: found,
            object: clip(domain, 255).into_owned(),
        })
    }

    fn join(&mut self, family: &str, outer: &str) {
        if let Some(asked) = self.families.remove(family) {
            // Where the outer one has asked, too, or another within it, that is counted on.
            self.families.entry(outer.to_owned()).or_insert(asked);
        }
    }
}

impl DnsTunnel {
    fn asked(&mut self, family: &str, now: u64) -> &mut Asked {
        if !self.families.contains_key(family) && self.families.len() >= FAMILIES {
            let oldest = self.families.iter().min_by_key(|(_, asked)| asked.last);
            if let Some(oldest) = oldest.map(|(id, _)| id.clone()) {
                self.families.remove(&oldest);
            }
        }
        let asked = self.families.entry(family.to_owned()).or_default();
        asked.last = now;
        asked
    }
}

impl Asked {
    fn domain(&mut self, domain: &str, now: u64) -> &mut Domain {
        self.elsewhere.renew(now);
        if !self.domains.contains_key(domain) && self.domains.len() >= DOMAINS {
            self.domains.retain(|_, domain| now.saturating_sub(domain.since) <= WINDOW);
        }
        if !self.domains.contains_key(domain) && self.domains.len() >= DOMAINS {
            let least = self.domains.iter().min_by_key(|(_, domain)| domain.names.len());
            let least = least.map(|(name, _)| name.clone());
            if let Some(gone) = least.and_then(|name| self.domains.remove(&name)) {
                self.elsewhere.long += gone.long;
                self.elsewhere.encoded += gone.encoded;
                self.elsewhere.encoded_characters += gone.encoded_characters;
            }
        }
        let domain = self.domains.entry(domain.to_owned()).or_default();
        domain.renew(now);
        domain
    }

    /// The names of which there are too many, and below what.
    fn too_much<'a>(&'a self, domain: &'a str) -> Option<(&'a Domain, &'a str)> {
        let here = self.domains.get(domain).filter(|counted| counted.is_too_much(1));
        let elsewhere = Some(&self.elsewhere).filter(|counted| counted.is_too_much(ELSEWHERE));
        here.map(|counted| (counted, domain)).or(elsewhere.map(|all| (all, "many domains")))
    }
}

impl Domain {
    fn renew(&mut self, now: u64) {
        if now.saturating_sub(self.since) > WINDOW {
            *self = Self { since: now, ..Self::default() };
        }
    }

    fn count(&mut self, payload: &str) {
        // A full set has fired long ago.
        if self.names.len() >= NAMES || !self.names.insert(fingerprint(payload)) {
            return;
        }
        if payload.len() >= LONG {
            self.long += 1;
        }
        let encoded: usize =
            payload.split('.').filter(|label| looks_encoded(label)).map(str::len).sum();
        if encoded > 0 {
            self.encoded += 1;
            self.encoded_characters += encoded;
        }
    }

    /// Any number is above its limit, times `factor`.
    fn is_too_much(&self, factor: usize) -> bool {
        self.long >= LONG_NAMES * factor
            || (self.encoded >= ENCODED_NAMES * factor
                && self.encoded_characters >= ENCODED_CHARACTERS * factor)
            || self.names.len() >= NAMES
    }

    /// What there is too much of.
    fn why(&self) -> String {
        if self.long >= LONG_NAMES {
            format!("{} names of {LONG} or more characters", self.long)
        } else if self.encoded >= ENCODED_NAMES && self.encoded_characters >= ENCODED_CHARACTERS {
            let (names, characters) = (self.encoded, self.encoded_characters);
            format!("{names} names with {characters} characters that look encoded")
        } else {
            format!("{} or more different names", self.names.len())
        }
    }
}

/// The same in every run: the hasher has fixed keys.
fn fingerprint(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

/// Second levels below country domains under which one registers.
const SECOND_LEVELS: &[&str] =
    &["co", "com", "net", "org", "gov", "gob", "edu", "ac", "or", "ne", "go", "nom", "mil", "gouv"];

/// Domains below which many parties have names of their own.
const SHARED: &[&str] = &[
    "akamai.net",
    "akamaiedge.net",
    "akamaized.net",
    "amazonaws.com",
    "appspot.com",
    "azure.com",
    "azureedge.net",
    "azurewebsites.net",
    "blogspot.com",
    "cloudapp.net",
    "cloudflare.net",
    "cloudfront.net",
    "edgekey.net",
    "edgesuite.net",
    "fastly.net",
    "firebaseapp.com",
    "fly.dev",
    "github.io",
    "herokuapp.com",
    "netlify.app",
    "pages.dev",
    "run.app",
    "trafficmanager.net",
    "vercel.app",
    "web.app",
    "windows.net",
    "wordpress.com",
    "workers.dev",
];

/// A name as what stands in front of a registered domain, and the domain; `None` when nothing does. A table of
/// every public suffix would be exact, and is 30 times the code; a domain that is taken too wide holds names of
/// several parties, a few each.
fn split(name: &str) -> Option<(&str, &str)> {
    let ends: Vec<usize> = name.rmatch_indices('.').map(|(at, _)| at).take(4).collect();
    let top = name.get(ends.first()? + 1..)?;
    let second = name.get(ends.get(1).map_or(0, |at| at + 1)..*ends.first()?)?;
    let two = name.get(ends.get(1).map_or(0, |at| at + 1)..)?;
    let labels = if (top.len() == 2 && SECOND_LEVELS.contains(&second)) || SHARED.contains(&two) {
        3
    } else {
        2
    };
    let at = *ends.get(labels - 1)?;
    Some((name.get(..at)?, name.get(at + 1..)?))
}

/// The address stands in the name, label by label.
fn is_reverse(payload: &str, domain: &str) -> bool {
    if let Some(rest) =
        domain.strip_suffix("in-addr.arpa").or_else(|| domain.strip_suffix("ip6.arpa"))
    {
        // `split` takes `in-addr.arpa` for the domain.
        return rest.is_empty()
            && payload.split('.').count() <= 32
            && payload.split('.').all(|label| {
                label.len() <= 3 && label.bytes().all(|byte| byte.is_ascii_hexdigit())
            });
    }
    false
}

/// A label like those of hexadecimal, base32 or base64 text. Words have vowels and few digits; what is encoded has
/// digits throughout, or hardly any vowels. Groups joined by hyphens are taken together: identifiers have them,
/// and whoever encodes could put them in.
fn looks_encoded(label: &str) -> bool {
    let plain: Vec<u8> = label.bytes().filter(|byte| !matches!(byte, b'-' | b'_')).collect();
    if plain.len() < ENCODED_LABEL {
        return false;
    }
    let count = |wanted: fn(&u8) -> bool| plain.iter().filter(|byte| wanted(byte)).count();
    let digits = count(u8::is_ascii_digit);
    let letters = count(u8::is_ascii_alphabetic);
    let vowels =
        count(|byte| matches!(byte.to_ascii_lowercase(), b'a' | b'e' | b'i' | b'o' | b'u'));
    let other = plain.len() - digits - letters;
    let distinct = plain.iter().collect::<BTreeSet<_>>().len();
    // Of 16 hexadecimal digits about ten are different, of as many letters of a word about nine; a run of the
    // same few is neither.
    distinct >= 7 && (other > 0 || digits * 10 >= plain.len() || vowels * 4 < letters)
}

#[cfg(test)]
#[path = "dns_tunnel_tests.rs"]
mod tests;
