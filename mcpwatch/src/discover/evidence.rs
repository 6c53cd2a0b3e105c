//! What is known of a process → evidence, the verdict and the name shown.
//!
//! `explicit`, `handshake` and `config` are each sufficient. `command_line` is sufficient when the
//! package is a known MCP package *and* the process has a private channel (a package of that name may
//! also be built, tested or asked for its version). `parent` never is: clients start shells, language
//! servers and linters over pipes all day. A child of a known client on a private channel stays a
//! candidate for as long as that client is its parent.

use super::client_config::ConfiguredServer;
use super::launcher::Launch;
use crate::config::ServerSettings;
use crate::record::{Evidence, EvidenceKind, Party};

/// All that may speak for a process being a server.
#[derive(Clone, Copy, Debug, Default)]
pub struct Facts<'a> {
    /// The settings' entry that names it.
    pub explicit: Option<&'a ServerSettings>,
    /// The entry of a client's configuration it was started from.
    pub config: Option<&'a ConfiguredServer>,
    /// It spoke the protocol on its channel.
    pub handshake: bool,
    /// What it calls itself in `serverInfo`.
    pub server_info: Option<&'a Party>,
    /// What its command line, or a wrapper's, launches.
    pub launch: Option<&'a Launch>,
    /// The known client that is its parent.
    pub client: Option<&'a str>,
    /// Its stdin and stdout are its own: see
    /// [`ProcessSnapshot::private_channel`](crate::host::snapshot::ProcessSnapshot::private_channel).
    pub private_channel: bool,
    /// Path of the executed file, the last resort for a name.
    pub exe: &'a str,
}

/// What a process is, on the evidence so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Standing {
    /// Nothing speaks for it.
    Nothing,
    /// It may turn out to be a server.
    Candidate,
    /// It is taken for a server.
    Server,
}

impl Standing {
    /// The word shown.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Nothing => "nothing",
            Self::Candidate => "candidate",
            Self::Server => "server",
        }
    }
}

/// The evidence, weighed.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What it is.
    pub standing: Standing,
    /// Sum of the kinds' weights, at most 100; 50 and above is a server.
    pub score: u8,
    /// Each piece, the strongest first.
    pub evidence: Vec<Evidence>,
    /// The name shown: from the settings, the configuration's key, `serverInfo`, the package, or the
    /// executed file, the first there is.
    pub name: String,
    /// From `serverInfo`, else from the package specifier.
    pub version: Option<String>,
    /// The parent, else the client whose configuration names it.
    pub client: Option<String>,
    /// The configuration that names it.
    pub config_path: Option<String>,
}

/// The score from which on a process is a server.
pub const SUFFICIENT: u8 = 50;

/// The weight of each kind, for facts that stand alone.
fn weight(kind: EvidenceKind, facts: &Facts<'_>) -> u8 {
    match kind {
        EvidenceKind::Explicit => 100,
        EvidenceKind::Handshake => 90,
        EvidenceKind::Config => 80,
        EvidenceKind::CommandLine => match (facts.launch, facts.private_channel) {
            (Some(launch), true) if launch.mcp => 50,
            _ => 10,
        },
        EvidenceKind::Parent => 20,
    }
}

/// Weighs the facts.
#[must_use]
pub fn weigh(facts: Facts<'_>) -> Verdict {
    let mut evidence = Vec::new();
    let mut add = |kind, detail: String| evidence.push(Evidence { kind, detail });
    if let Some(settings) = facts.explicit {
        add(EvidenceKind::Explicit, format!("settings: {}", settings.name));
    }
    if facts.handshake {
        let detail = facts.server_info.map_or_else(
            || "spoke MCP on its channel".to_owned(),
            |party| match &party.version {
                Some(version) => format!("serverInfo {} {version}", party.name),
                None => format!("serverInfo {}", party.name),
            },
        );
        add(EvidenceKind::Handshake, detail);
    }
    if let Some(config) = facts.config {
        add(EvidenceKind::Config, format!("{} in {}", config.name, config.config_path));
    }
    // A package that nobody knows as MCP says nothing, except about a name.
    if let Some(launch) = facts.launch.filter(|launch| launch.mcp) {
        let detail = match &launch.version {
            Some(version) => format!("{} {}@{version}", launch.launcher, launch.package),
            None => format!("{} {}", launch.launcher, launch.package),
        };
        add(EvidenceKind::CommandLine, detail);
    }
    if let Some(client) = facts.client {
        add(EvidenceKind::Parent, format!("child of {client}"));
    }
    let score = evidence
        .iter()
        .fold(0_u8, |sum, piece| sum.saturating_add(weight(piece.kind, &facts)))
        .min(100);
    // Weak pieces do not add up to a server: a client that runs `mcp-inspector --help` is no evidence.
    let strongest = evidence.iter().map(|piece| weight(piece.kind, &facts)).max().unwrap_or(0);
    let standing = if strongest >= SUFFICIENT {
        Standing::Server
    } else if facts.private_channel {
        Standing::Candidate
    } else {
        Standing::Nothing
    };
    let score = if standing == Standing::Server { score } else { score.min(SUFFICIENT - 1) };
    Verdict {
        standing,
        score,
        evidence,
        name: name(&facts),
        version: facts
            .server_info
            .and_then(|party| party.version.clone())
            .or_else(|| facts.launch.and_then(|launch| launch.version.clone())),
        client: facts
            .client
            .map(str::to_owned)
            .or_else(|| facts.config.map(|config| config.client.clone())),
        config_path: facts.config.map(|config| config.config_path.clone()),
    }
}

fn name(facts: &Facts<'_>) -> String {
    let settings = facts.explicit.map(|settings| settings.name.as_str());
    let key = || facts.config.map(|config| config.name.as_str());
    let info = || facts.server_info.map(|party| party.name.as_str());
    let package = || facts.launch.map(|launch| launch.package.as_str());
    let file = || facts.exe.rsplit('/').next();
    settings
        .or_else(key)
        .or_else(info)
        .or_else(package)
        .or_else(file)
        .filter(|name| !name.is_empty())
        .unwrap_or("unknown")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn launch(mcp: bool) -> Launch {
        Launch {
            launcher: "npx",
            package: "pkg".into(),
            version: Some("1".into()),
            mcp,
            is_wrapper: true,
        }
    }

    #[test]
    fn each_kind_stands_alone_as_documented() {
        let settings = ServerSettings { name: "mine".into(), ..ServerSettings::default() };
        let config = ConfiguredServer { name: "key".into(), ..ConfiguredServer::default() };
        let (known, unknown) = (launch(true), launch(false));
        let none = Facts { exe: "/usr/bin/node", ..Facts::default() };
        let private = Facts { private_channel: true, ..none };
        let table: &[(&str, Facts<'_>, Standing)] = &[
            ("nothing", none, Standing::Nothing),
            ("private channel", private, Standing::Candidate),
            ("explicit", Facts { explicit: Some(&settings), ..none }, Standing::Server),
            ("config", Facts { config: Some(&config), ..none }, Standing::Server),
            ("handshake", Facts { handshake: true, ..none }, Standing::Server),
            ("known package", Facts { launch: Some(&known), ..none }, Standing::Nothing),
            ("known, private", Facts { launch: Some(&known), ..private }, Standing::Server),
            ("unknown, private", Facts { launch: Some(&unknown), ..private }, Standing::Candidate),
            ("parent", Facts { client: Some("zed"), ..none }, Standing::Nothing),
            ("parent, private", Facts { client: Some("zed"), ..private }, Standing::Candidate),
            (
                "weak ones together",
                Facts { client: Some("zed"), launch: Some(&unknown), ..private },
                Standing::Candidate,
            ),
        ];
        for (what, facts, standing) in table {
            let verdict = weigh(*facts);
            assert_eq!(verdict.standing, *standing, "{what}");
            assert_eq!(verdict.score >= SUFFICIENT, *standing == Standing::Server, "{what}");
        }
    }

    #[test]
    fn the_name_comes_from_the_best_source() {
        let settings = ServerSettings { name: "mine".into(), ..ServerSettings::default() };
        let config = ConfiguredServer {
            name: "key".into(),
            config_path: "/c".into(),
            client: "zed".into(),
            ..ConfiguredServer::default()
        };
        let party = Party { name: "info".into(), version: Some("2".into()) };
        let known = launch(true);
        let mut facts = Facts {
            explicit: Some(&settings),
            config: Some(&config),
            handshake: true,
            server_info: Some(&party),
            launch: Some(&known),
            client: Some("cursor"),
            private_channel: true,
            exe: "/usr/bin/node",
        };
        let all = weigh(facts);
        assert_eq!((all.name.as_str(), all.version.as_deref()), ("mine", Some("2")));
        assert_eq!(all.client.as_deref(), Some("cursor"));
        let kinds: Vec<_> = all.evidence.iter().map(|piece| piece.kind.name()).collect();
        assert_eq!(kinds, ["explicit", "handshake", "config", "command_line", "parent"]);
        assert!(all.evidence.is_sorted_by(|a, b| a.kind >= b.kind));
        facts.explicit = None;
        assert_eq!(weigh(facts).name, "key");
        facts.config = None;
        assert_eq!(weigh(facts).name, "info");
        facts.server_info = None;
        let package = weigh(facts);
        assert_eq!((package.name.as_str(), package.version.as_deref()), ("pkg", Some("1")));
        facts.launch = None;
        assert_eq!(weigh(facts).name, "node");
        facts.exe = "";
        assert_eq!(weigh(facts).name, "unknown");
    }
}
