//! The settings file; every error names file, line, key and what was expected.

mod check;
mod error;

use std::io::{ErrorKind, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Deserializer};

pub use self::error::SettingsError;

/// Read when it is there and no other file is named.
pub const DEFAULT_PATH: &str = "/etc/mcpwatch/mcpwatch.toml";
/// Most bytes of a settings file.
const MAX_BYTES: u64 = 1 << 20;

/// Everything that can be set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// `[capture]`.
    pub capture: Capture,
    /// `[kernel]`.
    pub kernel: Kernel,
    /// `[events]`.
    pub events: Events,
    /// `[metrics]`.
    pub metrics: Metrics,
    /// `[discovery]`.
    pub discovery: Discovery,
    /// `[[server]]`: servers named by the user, and what each may do.
    #[serde(rename = "server")]
    pub servers: Vec<ServerSettings>,
    /// `[rules]`.
    pub rules: Rules,
    /// `[redact]`.
    pub redact: Redact,
}

impl Config {
    /// Reads `path`, or [`DEFAULT_PATH`] when that is there; without both, the defaults. `rules` are the
    /// ids of all rules, to check `[rules]` against.
    pub fn load(path: Option<&Path>, rules: &[&str]) -> Result<Self, SettingsError> {
        let default = Path::new(DEFAULT_PATH);
        let (file, named) = path.map_or((default, false), |path| (path, true));
        let mut text = String::new();
        let read = std::fs::File::open(file)
            .and_then(|opened| opened.take(MAX_BYTES + 1).read_to_string(&mut text));
        match read {
            Err(error) if !named && error.kind() == ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(SettingsError::file(file, unread(&error))),
            Ok(_) if text.len() as u64 > MAX_BYTES => {
                Err(SettingsError::file(file, format!("expected at most {MAX_BYTES} bytes")))
            }
            Ok(_) => Self::parse(&text, file, rules),
        }
    }

    /// Parses and checks the text of a settings file; `path` is for messages.
    pub fn parse(text: &str, path: &Path, rules: &[&str]) -> Result<Self, SettingsError> {
        let config: Self =
            toml::from_str(text).map_err(|error| SettingsError::parse(path, text, &error))?;
        check::check(&config, rules)
            .map_err(|wrong| SettingsError::value(path, text, &wrong.key, wrong.message))?;
        Ok(config)
    }
}

/// Why a settings file could not be read, and what to do.
fn unread(error: &std::io::Error) -> String {
    let advice = match error.kind() {
        ErrorKind::NotFound => "name one that is there with `--config FILE`, or leave that out",
        ErrorKind::PermissionDenied => "let the user mcpwatch runs as read it",
        ErrorKind::InvalidData => "save it as UTF-8",
        _ => "name a regular file with `--config FILE`",
    };
    format!("cannot be read: {error}; {advice}")
}

fn address_or_off<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<SocketAddr>, D::Error> {
    let text = String::deserialize(deserializer)?;
    match text.as_str() {
        "off" => Ok(None),
        text => text.parse().map(Some).map_err(|_| {
            serde::de::Error::custom(format!(
                "expected an address with a port like \"127.0.0.1:9464\", or \"off\"; found \"{text}\""
            ))
        }),
    }
}

/// What the kernel side captures.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Capture {
    /// Size of the ring buffer in bytes; a power of two, at least 64 KiB.
    pub ring_bytes: u32,
    /// Most bytes captured of one read or write on a channel.
    pub payload_limit: u32,
    /// How long the system-call program stays attached after the last server has gone, in milliseconds.
    pub detach_delay_ms: u64,
}

impl Default for Capture {
    fn default() -> Self {
        Self { ring_bytes: 8 << 20, payload_limit: 1 << 20, detach_delay_ms: 10_000 }
    }
}

/// Which tier is to serve system calls.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TierChoice {
    /// `fexit` where it works, else `tracepoint`.
    #[default]
    Auto,
    /// `fexit`, or no start.
    Fexit,
    /// `tracepoint`, even where `fexit` works.
    Tracepoint,
}

impl TierChoice {
    /// The word in the settings and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Fexit => "fexit",
            Self::Tracepoint => "tracepoint",
        }
    }
}

impl std::str::FromStr for TierChoice {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Auto, Self::Fexit, Self::Tracepoint]
            .into_iter()
            .find(|choice| choice.name() == word)
            .ok_or_else(|| "expected one of auto, fexit, tracepoint".into())
    }
}

/// How the kernel side is attached.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Kernel {
    /// See [`TierChoice`].
    pub tier: TierChoice,
}

/// The event stream.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Events {
    /// Where it goes instead of stdout (with `--format`: to both); `-` is stdout.
    pub file: Option<PathBuf>,
}

/// The metrics endpoint.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    /// Address to listen on; `None` (in the file `"off"`) switches it off.
    #[serde(deserialize_with = "address_or_off")]
    pub listen: Option<SocketAddr>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { listen: Some(SocketAddr::from(([127, 0, 0, 1], 9464))) }
    }
}

/// How candidates are treated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sniff {
    /// A candidate is dropped when it has not become a server in time.
    #[default]
    Auto,
    /// Candidates are kept.
    Always,
    /// No candidates.
    Off,
}

impl Sniff {
    /// The word in the settings and on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Always => "always",
            Self::Off => "off",
        }
    }
}

impl std::str::FromStr for Sniff {
    type Err = String;

    fn from_str(word: &str) -> Result<Self, String> {
        [Self::Auto, Self::Always, Self::Off]
            .into_iter()
            .find(|sniff| sniff.name() == word)
            .ok_or_else(|| "expected one of auto, always, off".into())
    }
}

/// How servers are found.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Discovery {
    /// See [`Sniff`].
    pub sniff: Sniff,
    /// How long a candidate is watched, in seconds.
    pub candidate_seconds: u64,
    /// Homes to look for client configurations in, besides those of the users in `/etc/passwd`.
    pub homes: Vec<PathBuf>,
    /// Client configurations at places of their own.
    pub config_files: Vec<PathBuf>,
    /// `[[discovery.client]]`: further programs that are MCP clients.
    #[serde(rename = "client")]
    pub clients: Vec<ClientSettings>,
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            sniff: Sniff::Auto,
            candidate_seconds: 30,
            homes: Vec::new(),
            config_files: Vec::new(),
            clients: Vec::new(),
        }
    }
}

/// A program that is an MCP client.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ClientSettings {
    /// The name shown.
    pub name: String,
    /// Glob over the executed file's path.
    pub exe: String,
}

/// A server named by the user. Every criterion that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ServerSettings {
    /// The name shown.
    pub name: String,
    /// Glob over the executed file's path.
    pub exe: Option<String>,
    /// Glob over the argument vector joined with spaces.
    pub argv: Option<String>,
    /// A process id.
    pub pid: Option<u32>,
    /// Glob over the cgroup path.
    pub cgroup: Option<String>,
    /// `[server.container]`: what its container is.
    pub container: Option<ContainerSettings>,
    /// What it may do. The criteria above may be absent: then `name` is compared with the name
    /// discovery found.
    pub allow: Allow,
}

impl ServerSettings {
    /// It says where the server runs and nothing of what it is: all that runs there is one server.
    #[must_use]
    pub fn is_of_place(&self) -> bool {
        self.exe.is_none() && self.argv.is_none() && self.pid.is_none()
    }
}

/// What the container of a server is. Everything that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ContainerSettings {
    /// Labels or OCI annotations: `KEY` for any value, `KEY=GLOB`.
    pub label: Vec<String>,
    /// Glob over the container's name.
    pub name: Option<String>,
    /// Glob over the image's name.
    pub image: Option<String>,
    /// Glob over the Kubernetes pod's name.
    pub pod: Option<String>,
    /// Glob over the Kubernetes namespace.
    pub namespace: Option<String>,
}

impl ContainerSettings {
    /// The criteria that are globs, with their keys.
    #[must_use]
    pub fn globs(&self) -> [(&'static str, Option<&str>); 4] {
        [
            ("name", self.name.as_deref()),
            ("image", self.image.as_deref()),
            ("pod", self.pod.as_deref()),
            ("namespace", self.namespace.as_deref()),
        ]
    }
}

/// What a server may do without an alert.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Allow {
    /// Globs over the executed file's path.
    pub exec: Vec<String>,
    /// Globs over resolved paths; `~/` stands for every home.
    pub read: Vec<String>,
    /// Globs over resolved paths of files it may write; `~/` stands for every home.
    pub write: Vec<String>,
    /// `HOST`, `HOST:PORT`, `*.DOMAIN`, `ADDRESS/PREFIX`.
    pub egress: Vec<String>,
}

/// Which rules run.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rules {
    /// Ids of rules that are off.
    pub disable: Vec<String>,
}

/// What is masked beyond the built-in rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Redact {
    /// Regular expressions; what they match is masked.
    pub patterns: Vec<String>,
    /// Argument names whose values are masked.
    pub keys: Vec<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: &[&str] = &["shell_spawn", "reverse_shell"];
    const SHIPPED: &str = include_str!("../../../deploy/mcpwatch.toml");

    fn parse(text: &str) -> Result<Config, SettingsError> {
        Config::parse(text, Path::new("/etc/m.toml"), RULES)
    }

    #[test]
    fn the_shipped_file_holds_the_defaults() {
        assert_eq!(parse(SHIPPED).unwrap(), Config::default());
    }

    #[test]
    fn the_examples_in_the_shipped_file_are_valid_and_complete() {
        // An example is a line that is commented out without a space.
        let lines: Vec<&str> = SHIPPED
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(rest) if rest.starts_with(|first: char| !first.is_whitespace()) => rest,
                _ => line,
            })
            .collect();
        let text = lines.join("\n");
        let config = parse(&text).unwrap();
        let [server, rest @ ..] = config.servers.as_slice() else { panic!() };
        assert!(server.exe.is_some() && server.argv.is_some() && server.cgroup.is_some());
        assert!(rest.iter().any(|server| !server.allow.egress.is_empty()));
        let container = rest.iter().find_map(|server| server.container.as_ref()).unwrap();
        assert!(!container.label.is_empty() && container.image.is_some());
        assert_eq!(config.discovery.clients.len(), 1);
        assert!(config.events.file.is_some());
    }

    #[test]
    fn the_documentation_names_every_setting_of_the_shipped_file() {
        let text = include_str!("../../../docs/configuration.md");
        let keys = SHIPPED.lines().filter_map(|line| {
            let (key, _) = line.strip_prefix('#').unwrap_or(line).split_once(" = ")?;
            key.chars().all(|letter| letter.is_ascii_lowercase() || letter == '_').then_some(key)
        });
        for key in keys {
            assert!(text.contains(&format!("| `{key}` |")), "{key}");
        }
    }

    #[test]
    fn an_empty_file_is_the_defaults_and_the_metrics_can_be_off() {
        assert_eq!(parse("").unwrap(), Config::default());
        assert_eq!(parse("[metrics]\nlisten = \"off\"").unwrap().metrics.listen, None);
        assert_eq!(parse("[discovery]\nsniff = \"off\"").unwrap().discovery.sniff, Sniff::Off);
    }

    /// Text and message.
    const MISTAKES: &[(&str, &str)] = &[
        (
            "[capture]\nring_byts = 1",
            "/etc/m.toml:2:1: capture.ring_byts: unknown key, did you mean `ring_bytes`?",
        ),
        ("[captur]\n", "/etc/m.toml:1:2: captur: unknown key, did you mean `capture`?"),
        (
            "zzz = 1\n",
            "/etc/m.toml:1:1: zzz: unknown key, expected one of `capture`, `kernel`, `events`, `metrics`, `discovery`, `server`, `rules`, `redact`",
        ),
        (
            "[capture]\nring_bytes = \"8M\"",
            "/etc/m.toml:2:14: capture.ring_bytes: expected a whole number, found a string \"8M\"",
        ),
        (
            "[capture]\nring_bytes = 70000",
            "/etc/m.toml:2:14: capture.ring_bytes: expected a power of two from 65536 to 1073741824, found 70000",
        ),
        (
            "[capture]\nring_bytes = 1024",
            "/etc/m.toml:2:14: capture.ring_bytes: expected a power of two from 65536 to 1073741824, found 1024",
        ),
        (
            "[capture]\npayload_limit = 17000000",
            "/etc/m.toml:2:17: capture.payload_limit: expected a number from 4096 to 16777216, found 17000000",
        ),
        (
            "[capture]\npayload_limit = -1",
            "/etc/m.toml:2:17: capture.payload_limit: expected a whole number, found -1",
        ),
        (
            "[capture]\npayload_limit = 1.5",
            "/etc/m.toml:2:17: capture.payload_limit: expected a whole number, found a number with a fraction 1.5",
        ),
        (
            "capture.ring_bytes = 3",
            "/etc/m.toml:1:22: capture.ring_bytes: expected a power of two from 65536 to 1073741824, found 3",
        ),
        (
            "[discovery]\nsniff = \"on\"",
            "/etc/m.toml:2:9: discovery.sniff: expected one of `auto`, `always`, `off`, found `on`",
        ),
        (
            "[kernel]\ntier = \"fast\"",
            "/etc/m.toml:2:8: kernel.tier: expected one of `auto`, `fexit`, `tracepoint`, found `fast`",
        ),
        (
            "[metrics]\nlisten = \"9464\"",
            "/etc/m.toml:2:10: metrics.listen: expected an address with a port like \"127.0.0.1:9464\", or \"off\"; found \"9464\"",
        ),
        (
            "[[server]]\nname = \"a\"\n[[server]]\nexe = \"/x\"",
            "/etc/m.toml:3:1: server[1].name: expected a name",
        ),
        (
            "[[server]]\nname = \"a\"\nexe = \"/[x\"",
            "/etc/m.toml:3:7: server[0].exe: expected a glob, found `/[x`: unclosed character class; missing ']'",
        ),
        (
            "[[server]]\nname = \"a\"\npid = 0",
            "/etc/m.toml:3:7: server[0].pid: expected a process id above 0",
        ),
        (
            "[[server]]\nname = \"a\"\n[server.container]\n",
            "/etc/m.toml:3:1: server[0].container: expected at least one of `label`, `name`, `image`, `pod`, `namespace`",
        ),
        (
            "[[server]]\nname = \"a\"\n[server.container]\nlabel = [\"app\", \"=x\"]",
            "/etc/m.toml:4:17: server[0].container.label[1]: expected KEY or KEY=GLOB, found `=x`",
        ),
        (
            "[[server]]\nname = \"a\"\n[server.container]\nlabel = [\"app=[\"]",
            "/etc/m.toml:4:10: server[0].container.label[0]: expected a glob, found `[`: unclosed character class; missing ']'",
        ),
        (
            "[[server]]\nname = \"a\"\ncontainer = { image = \"\" }",
            "/etc/m.toml:3:23: server[0].container.image: expected a glob, found ``: it is empty",
        ),
        (
            "[[server]]\nname = \"a\"\n[server.container]\nlabels = []",
            "/etc/m.toml:4:1: server[0].container.labels: unknown key, did you mean `label`?",
        ),
        (
            "[[server]]\nname = \"a\"\n[server.allow]\negress = [\"ok.example\", \"https://x\"]",
            "/etc/m.toml:4:25: server[0].allow.egress[1]: expected HOST, HOST:PORT, *.DOMAIN or ADDRESS/PREFIX, found `https://x`",
        ),
        (
            "[[server]]\nname = \"a\"\nallow = { reed = [] }",
            "/etc/m.toml:3:11: server[0].allow.reed: unknown key, did you mean `read`?",
        ),
        (
            "[[discovery.client]]\nname = \"x\"",
            "/etc/m.toml:1:1: discovery.client[0].exe: expected a glob over the path of the client's program",
        ),
        (
            "[discovery]\nhomes = [\"home\"]",
            "/etc/m.toml:2:10: discovery.homes[0]: expected an absolute path, found `home`",
        ),
        (
            "[rules]\ndisable = [\"shell_spwan\"]",
            "/etc/m.toml:2:12: rules.disable[0]: unknown rule `shell_spwan`, did you mean `shell_spawn`?",
        ),
        (
            "[redact]\npatterns = [\"a\", \"(\"]",
            "/etc/m.toml:2:18: redact.patterns[1]: expected a regular expression, found `(`: unclosed group",
        ),
        ("[capture\n", "/etc/m.toml:1:9: unclosed table, expected `]`"),
        ("a = 1\na = 2", "/etc/m.toml:2:1: a: duplicate key"),
    ];

    #[test]
    fn every_mistake_is_named_with_its_place_and_what_was_expected() {
        let wrong: Vec<String> = MISTAKES
            .iter()
            .filter_map(|(text, expected)| {
                let error = parse(text).unwrap_err().to_string();
                (error != *expected).then(|| format!("{error}\n   not {expected}"))
            })
            .collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }

    #[test]
    fn a_file_that_cannot_be_read_is_named_unless_it_is_the_default_one() {
        let error = Config::load(Some(Path::new("/nonexistent/m.toml")), RULES).unwrap_err();
        assert!(error.to_string().starts_with("/nonexistent/m.toml: cannot be read: "), "{error}");
        let directory = tempfile::tempdir().unwrap();
        Config::load(Some(directory.path()), RULES).unwrap_err();
        let large = directory.path().join("large");
        std::fs::write(&large, "#".repeat(2 << 20)).unwrap();
        let error = Config::load(Some(&large), RULES).unwrap_err();
        assert!(error.to_string().contains("at most"), "{error}");
    }
}
