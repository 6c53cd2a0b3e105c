//! Rules → findings. A rule is one file with one type; it sees one attributed effect at a time and
//! never touches I/O.

pub mod allow;
pub mod client_configs;
pub mod dedupe;
pub mod destination;
pub mod landmarks;
pub mod paths;
pub mod patterns;
pub mod programs;
pub mod reason;
pub mod rules;
pub mod scripts;

use std::borrow::Cow;

use crate::attribute::Attribution;
use crate::config;
use crate::event::{Access, Change, Direction, Exec, Injection, Net, Open, Privilege};
use crate::host::answers::Claim;
use crate::record::{self, AlertEvidence, Process, Relation, Server, Severity, Tags};

pub use allow::Policy;
pub use client_configs::{ClientConfig, ClientConfigs, ConfigTable, Recognised};
pub use programs::Programs;
pub use rules::RULES;

/// What a process of a server did.
#[derive(Clone, Copy, Debug)]
pub enum Action<'a> {
    /// It executed a program.
    Exec(&'a Exec),
    /// It opened a file, or tried to.
    Open(&'a Open),
    /// It changed a file other than by writing to it, or tried to.
    Change(&'a Change),
    /// It changed what it may do or see, or tried to.
    Privilege(&'a Privilege),
    /// It reached into another process, or tried to: [`Effect::reached`].
    Access(&'a Access),
    /// It wrote to a channel at whose end it is not: [`Effect::reached`].
    Injection(&'a Injection),
    /// It used the network.
    Net(&'a Net),
    /// It asked name service.
    Lookup(&'a Lookup),
}

/// A question to name service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// The name that is asked for, in lower case.
    pub name: String,
    /// What of it: `A`, `TXT`, …
    pub kind: String,
    /// The name server.
    pub resolver: std::net::SocketAddr,
}

/// What an effect reaches into: a process, or the channel of a server.
#[derive(Clone, Debug)]
pub struct Reached {
    /// The process: of a channel the server's first.
    pub pid: u32,
    /// Its program; empty when unknown.
    pub exe: String,
    /// Name of the server it belongs to.
    pub server: Option<String>,
    /// That is the acting process's own server.
    pub own: bool,
    /// It is the acting process itself or descends from it; of a channel: the acting process is of those
    /// who made it.
    pub below: bool,
    /// Which way bytes go on the channel, when it is one.
    pub channel: Option<Direction>,
}

/// What the server was given before any call: everything here counts as explained.
#[derive(Clone, Debug, Default)]
pub struct Given {
    /// Argument vector of the server's own launch (of each of its wrappers).
    pub argv: Vec<String>,
    /// Names of the programs that its launch runs: what the client starts, and what each wrapper in that
    /// command line is told to run. Nothing the server executes by itself, and no argument.
    pub launchers: Vec<String>,
    /// Working directories of its launch: what a server executes by itself, it executes where it likes.
    pub folders: Vec<String>,
    /// Directories and files named by its configuration or argument vector, absolute.
    pub paths: Vec<String>,
    /// Folders its own arguments confine it to, absolute; empty when there are none.
    pub roots: Vec<String>,
    /// Host names and addresses named by its configuration, argument vector or environment entries.
    pub hosts: Vec<String>,
    /// Addresses of the host's own name servers.
    pub resolvers: Vec<std::net::IpAddr>,
    /// What the settings allow this server.
    pub allow: config::Allow,
}

/// One effect with all that a rule may look at.
#[derive(Clone, Copy, Debug)]
pub struct Effect<'a> {
    /// When, nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// What was done.
    pub action: Action<'a>,
    /// Who did it: the process as it was before this effect (for an exec: the one that executed).
    pub process: &'a Process,
    /// When that process began, nanoseconds of `CLOCK_BOOTTIME`: what records show of it is calendar time, whose clock
    /// may be set.
    pub began: u64,
    /// The server it belongs to.
    pub server: &'a Server,
    /// Id of the outermost server around that one, or its own: what one of them writes another may execute.
    pub family: &'a str,
    /// Id of the container that server runs in. Not of the process: that may go into one of its own making.
    pub within: Option<&'a str>,
    /// The process is a launcher (`npx`, `uvx`, …, or the shell one starts), on the way to the server.
    pub launching: bool,
    /// Names the destination's address is known by; empty for other effects.
    pub names: &'a [String],
    /// Names that only somebody else than the host's name servers gave it: they explain nothing.
    pub claims: &'a [Claim],
    /// What it reaches into, of an access, an injection, and an open that leads there.
    pub reached: Option<&'a Reached>,
    /// Why it was done.
    pub attribution: &'a Attribution,
    /// The process that serves is not running yet: the launcher is still fetching and installing it.
    pub installing: bool,
    /// How long the likeliest call has been answered, in nanoseconds; 0 while it is in flight, `None` when
    /// there is none, or it was answered so long ago that nobody remembers.
    pub since_response: Option<u64>,
    /// Folders the client confines the server to (`roots/list`), absolute.
    pub roots: &'a [String],
    /// Where those of all its folders lie that are symbolic links.
    pub real_roots: &'a [String],
    /// What the server was given.
    pub given: &'a Given,
}

/// A rule that fired on an effect.
#[derive(Clone, Debug, PartialEq)]
pub struct Finding {
    /// The rule's id.
    pub rule: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// Why it fired, in one sentence a person can act on. Holds text of the watched process as it is,
    /// in bounded length: outputs mask and escape it.
    pub reason: String,
    /// What it rests on, verbatim but bounded.
    pub evidence: Vec<AlertEvidence>,
    /// What it is about: an alert that stands for several findings lists them.
    pub object: String,
}

/// How much a rule's finding matters, by the relation of the effect to the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Severities {
    /// The call's arguments name the object.
    pub requested: Severity,
    /// A call was in flight that does not.
    pub covert: Severity,
    /// No call was in flight.
    pub background: Severity,
    /// Before the first request; `None` when the rule is silent then.
    pub startup: Option<Severity>,
    /// The system refused (`EACCES`, `EPERM`, …); `None` when that makes no difference.
    pub refused: Option<Severity>,
    /// There was nothing there (`ENOENT`, `ENOTDIR`); `None` when that makes no difference.
    pub absent: Option<Severity>,
}

impl Severities {
    /// The same for every relation.
    #[must_use]
    pub const fn always(severity: Severity) -> Self {
        Self {
            requested: severity,
            covert: severity,
            background: severity,
            startup: Some(severity),
            refused: None,
            absent: None,
        }
    }

    /// That of an effect that happened.
    #[must_use]
    pub const fn of(&self, relation: Relation) -> Option<Severity> {
        match relation {
            Relation::Requested => Some(self.requested),
            Relation::Covert => Some(self.covert),
            Relation::Background => Some(self.background),
            Relation::Startup => self.startup,
        }
    }

    /// That of an effect with the result of its system call: an attempt matters no more than success.
    #[must_use]
    pub fn of_result(&self, relation: Relation, result: Result<i32, i32>) -> Option<Severity> {
        let done = self.of(relation)?;
        let instead = match result {
            Ok(_) => None,
            Err(libc::ENOENT | libc::ENOTDIR) => self.absent,
            Err(_) => self.refused,
        };
        Some(instead.map_or(done, |severity| severity.min(done)))
    }

    /// Every case that differs, with its name, in the order a person reads them.
    #[must_use]
    pub fn cases(&self) -> Vec<(&'static str, Option<Severity>)> {
        let mut cases = vec![
            ("requested", Some(self.requested)),
            ("covert", Some(self.covert)),
            ("background", Some(self.background)),
            ("startup", self.startup),
        ];
        cases.extend(self.refused.map(|severity| ("refused", Some(severity))));
        cases.extend(self.absent.map(|severity| ("absent", Some(severity))));
        cases
    }
}

/// What a person and the event stream need to know of a rule.
#[derive(Clone, Debug)]
pub struct RuleInfo {
    /// Its id: a contract.
    pub id: &'static str,
    /// What it is, in a few words.
    pub title: &'static str,
    /// How much it matters.
    pub severities: Severities,
    /// Technique ids.
    pub tags: Tags,
    /// Version of the ATLAS matrix the ids are of: they drift.
    pub atlas_version: &'static str,
    /// What it means.
    pub description: &'static str,
    /// When exactly it fires.
    pub trigger: &'static str,
    /// What explains an effect, so that it does not fire.
    pub explained_by: &'static [&'static str],
    /// What to check first and what to do.
    pub playbook: &'static str,
    /// Rules that say the same more precisely: when one of them fired on the effect, this one is
    /// silent. `*` stands for all.
    pub yields_to: &'static [&'static str],
}

/// A detection.
pub trait Rule: Send {
    /// What it is.
    fn info(&self) -> &'static RuleInfo;

    /// Looks at one effect.
    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding>;

    /// Forgets a server that has ended. Rules that remember effects are bounded all the same.
    fn forget(&mut self, _server: &str) {}

    /// A family turned out to lie within another: what is remembered of the one is the other's from now on.
    fn join(&mut self, _family: &str, _outer: &str) {}
}

/// A line of [`RULES`].
#[derive(Clone, Copy, Debug)]
pub struct RuleEntry {
    /// What it is.
    pub info: &'static RuleInfo,
    /// Makes it from the data compiled in.
    pub build: fn(&Knowledge) -> Result<Box<dyn Rule>, DetectError>,
}

/// What the rules share.
#[derive(Debug)]
pub struct Knowledge {
    /// Shells and interpreters.
    pub programs: Programs,
    /// What settings and launch explain.
    pub policy: Policy,
    /// Home directories beyond the usual places.
    pub homes: Vec<String>,
    /// Which files are clients' configurations.
    pub client_configs: ClientConfigs,
    /// Ids of the rules the settings switch off.
    pub disabled: Vec<String>,
}

impl Knowledge {
    /// The configuration of a client that a file is, by the first of its paths that says so; one that may be a
    /// folder (`as_whole`) counts for what may lie in it.
    pub(crate) fn client_config<'a>(
        &self,
        paths: impl Iterator<Item = Cow<'a, str>>,
        as_whole: bool,
    ) -> Option<Recognised<'a>> {
        Recognised::among(paths, as_whole, &self.client_configs, &self.homes)
    }
}

/// Why no detector could be made.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// The settings switch off a rule that does not exist.
    #[error("rules.disable: there is no rule {id:?}; the rules are {known}")]
    UnknownRule {
        /// What the settings say.
        id: String,
        /// Every id.
        known: String,
    },
    /// Nothing would be detected, which would look like nothing happening.
    #[error("rules.disable: no rule is left; leave at least one, or do not run mcpwatch")]
    NoRules,
    /// Data compiled in is broken.
    #[error("rules/{file}: {message}")]
    Data {
        /// Its name below `rules/`.
        file: &'static str,
        /// What is wrong.
        message: String,
    },
}

/// Runs the rules.
pub struct Detector {
    rules: Vec<Box<dyn Rule>>,
    knowledge: Knowledge,
}

impl std::fmt::Debug for Detector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(self.rules.iter().map(|rule| rule.info().id)).finish()
    }
}

impl Detector {
    /// All rules that `config` leaves on. `homes` are home directories beyond the usual places (those
    /// of the user database); `configs` are the places of clients' configurations.
    pub fn new(
        config: &config::Rules,
        homes: Vec<String>,
        configs: ConfigTable,
    ) -> Result<Self, DetectError> {
        check_disabled(config)?;
        let knowledge = Knowledge {
            programs: Programs::new()?,
            policy: Policy::new(homes.clone()),
            homes,
            client_configs: ClientConfigs::new(configs),
            disabled: config.disable.clone(),
        };
        let rules = RULES
            .iter()
            .filter(|entry| !config.disable.iter().any(|id| id == entry.info.id))
            .map(|entry| (entry.build)(&knowledge))
            .collect::<Result<Vec<_>, _>>()?;
        if rules.is_empty() {
            return Err(DetectError::NoRules);
        }
        Ok(Self { rules, knowledge })
    }

    /// Home directories beyond the usual places.
    pub(crate) fn homes(&self) -> &[String] {
        &self.knowledge.homes
    }

    /// Which files are clients' configurations, to add to.
    pub(crate) fn client_configs(&mut self) -> &mut ClientConfigs {
        &mut self.knowledge.client_configs
    }

    /// Adds what the rules find in one effect to `out`.
    pub fn check(&mut self, effect: &Effect<'_>, out: &mut Vec<Finding>) {
        let first = out.len();
        for rule in &mut self.rules {
            let fired = out.get(first..).unwrap_or_default();
            if !yields(rule.info(), fired) {
                out.extend(rule.check(effect, &mut self.knowledge));
            }
        }
    }
}

impl Detector {
    /// Forgets a server that has ended.
    pub fn forget(&mut self, server: &str) {
        self.rules.iter_mut().for_each(|rule| rule.forget(server));
    }

    /// A family turned out to lie within another.
    pub fn join(&mut self, family: &str, outer: &str) {
        self.rules.iter_mut().for_each(|rule| rule.join(family, outer));
    }
}

/// Whether a rule of this kind has nothing to add to what has fired on the effect.
fn yields(info: &RuleInfo, fired: &[Finding]) -> bool {
    fired.iter().any(|finding| info.yields_to.iter().any(|id| *id == "*" || *id == finding.rule))
}

/// Whether every rule the settings switch off exists, and one is left.
pub fn check_disabled(config: &config::Rules) -> Result<(), DetectError> {
    if let Some(id) = config.disable.iter().find(|id| find(id).is_none()) {
        return Err(DetectError::UnknownRule { id: id.clone(), known: ids().join(", ") });
    }
    if RULES.iter().all(|entry| config.disable.iter().any(|id| id == entry.info.id)) {
        return Err(DetectError::NoRules);
    }
    Ok(())
}

/// The ids of all rules.
#[must_use]
pub fn ids() -> Vec<&'static str> {
    RULES.iter().map(|entry| entry.info.id).collect()
}

/// The rule with this id.
#[must_use]
pub fn find(id: &str) -> Option<&'static RuleInfo> {
    RULES.iter().map(|entry| entry.info).find(|info| info.id == id)
}

/// The alert a finding becomes; `count` is how often it occurred so far.
#[must_use]
pub fn alert(finding: &Finding, count: u64) -> record::Alert {
    let info = find(finding.rule);
    record::Alert {
        rule: finding.rule,
        title: info.map_or("", |info| info.title),
        severity: finding.severity,
        reason: finding.reason.clone(),
        evidence: finding.evidence.clone(),
        objects: vec![finding.object.clone()],
        tags: info.map(tags_of).unwrap_or_default(),
        playbook: info.map_or("", |info| info.playbook),
        count,
    }
}

fn tags_of(info: &RuleInfo) -> record::AlertTags {
    let atlas_version = (!info.tags.atlas.is_empty()).then_some(info.atlas_version);
    record::AlertTags { ids: info.tags.clone(), atlas_version }
}

/// Parses a table of `rules/` that is compiled in.
pub(crate) fn data<T: serde::de::DeserializeOwned>(
    file: &'static str,
    text: &str,
) -> Result<T, DetectError> {
    toml::from_str(text).map_err(|error| DetectError::Data { file, message: error.to_string() })
}

#[cfg(test)]
pub(crate) mod tests;
