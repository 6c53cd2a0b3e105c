//! Where MCP clients keep their server lists: one table, used to find configurations and to recognise
//! one when a process opens it.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use foldhash::HashMap;
use serde::{Deserialize, Serialize};

/// How a file is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// JSON; comments and trailing commas are taken in all of them.
    Json,
    /// TOML.
    Toml,
    /// YAML.
    Yaml,
}

impl Format {
    /// The format a file name speaks of; JSON when it says nothing.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("toml") => Self::Toml,
            Some("yaml" | "yml") => Self::Yaml,
            _ => Self::Json,
        }
    }
}

/// What a path is relative to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Base {
    /// The root of the file system.
    System,
    /// A user's home.
    Home,
    /// A directory a client or server works in.
    Project,
}

/// One place of the table.
#[derive(Debug)]
pub struct Location {
    /// The client that reads it. Names are those of [`super::clients`].
    pub client: &'static str,
    /// What `path` is relative to.
    pub base: Base,
    /// Path pattern: `*` stands for any part of one component, a component `**` for any number of them.
    pub path: &'static str,
    /// How it is written.
    pub format: Format,
    /// Where in it servers stand: see [`super::client_config::parse`].
    pub keys: &'static [&'static str],
}

impl Location {
    /// Such a file holds MCP servers and nothing else: clients name it after that. Others (`settings.json`,
    /// `config.toml`) hold whatever can be set.
    #[must_use]
    pub fn holds_only_servers(&self) -> bool {
        self.path.rsplit('/').next().is_some_and(|name| name.contains("mcp"))
    }
}

const SERVERS: &[&str] = &["mcpServers"];
const SETTINGS: &[&str] = &["mcpServers", "mcp/servers", "mcp.servers"];
const VSCODE: &[&str] = &["servers", "mcpServers"];
const MCP: &[&str] = &["mcp"];
const CODEX: &[&str] = &["mcp_servers"];
const CLAUDE: &[&str] = &["mcpServers", "projects/*/mcpServers"];
/// A plugin's file may be the map of servers itself.
const PLUGIN: &[&str] = &["mcpServers", "."];
/// Codex calls the key in its own files `mcp_servers`.
const CODEX_PLUGIN: &[&str] = &["mcpServers", "mcp_servers", "."];
/// Versions differ in the key.
const JUNIE: &[&str] = &["mcpServers", "mcp"];
const CONTINUE: &[&str] = &["mcpServers", "experimental/modelContextProtocolServers"];
const AMP: &[&str] = &["amp.mcpServers", "amp/mcpServers", "mcpServers"];
const ZED: &[&str] = &["context_servers"];
const GOOSE: &[&str] = &["extensions"];
const DEVCONTAINER: &[&str] = &["customizations/vscode/mcp/servers"];

/// All keys, for a file the settings name and whose client is not known.
pub const ANY_KEY: &[&str] = &[
    "mcpServers",
    "projects/*/mcpServers",
    "servers",
    "mcp_servers",
    "mcp/servers",
    "mcp.servers",
    "context_servers",
    "amp.mcpServers",
    "amp/mcpServers",
    "experimental/modelContextProtocolServers",
    "customizations/vscode/mcp/servers",
    "extensions",
    "mcp",
    ".",
];

macro_rules! locations {
    ($($client:literal { $($base:ident $path:literal $format:ident $keys:ident;)+ })+) => {
        /// Every known place.
        pub static LOCATIONS: &[Location] = &[$($(Location {
            client: $client,
            base: Base::$base,
            path: $path,
            format: Format::$format,
            keys: $keys,
        },)+)+];
    };
}

locations! {
    "claude-code" {
        System "etc/claude-code/managed-mcp.json" Json SERVERS;
        System "etc/claude-code/managed-settings.json" Json SERVERS;
        Home ".claude.json" Json CLAUDE;
        Home ".claude/settings.json" Json SERVERS;
        Home ".claude/mcp.json" Json SERVERS;
        Home ".claude/plugins/cache/**/.mcp.json" Json PLUGIN;
        Project ".mcp.json" Json SERVERS;
    }
    "claude-desktop" {
        Home ".config/Claude/claude_desktop_config.json" Json SERVERS;
        Home ".config/claude/claude_desktop_config.json" Json SERVERS;
    }
    "cursor" {
        Home ".cursor/mcp.json" Json SERVERS;
        Home ".config/Cursor/User/mcp.json" Json VSCODE;
        Home ".config/Cursor/User/settings.json" Json SETTINGS;
        Home ".cursor/plugins/**/mcp.json" Json PLUGIN;
        Home ".cursor/plugins/**/.mcp.json" Json PLUGIN;
        Project ".cursor/mcp.json" Json SERVERS;
    }
    "vscode" {
        Home ".vscode/mcp.json" Json VSCODE;
        Home ".vscode/settings.json" Json SETTINGS;
        Home ".config/Code/User/mcp.json" Json VSCODE;
        Home ".config/Code/User/settings.json" Json SETTINGS;
        Home ".config/Code/User/profiles/*/mcp.json" Json VSCODE;
        Home ".config/Code/User/profiles/*/settings.json" Json SETTINGS;
        Home ".config/Code - Insiders/User/mcp.json" Json VSCODE;
        Home ".config/Code - Insiders/User/settings.json" Json SETTINGS;
        Home ".vscode-server/data/User/mcp.json" Json VSCODE;
        Project ".vscode/mcp.json" Json VSCODE;
        Project ".vscode/settings.json" Json SETTINGS;
        Project ".devcontainer/devcontainer.json" Json DEVCONTAINER;
    }
    "cline" {
        Home ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json" Json SERVERS;
        Home ".config/Cursor/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json" Json SERVERS;
        Home ".cline/data/settings/cline_mcp_settings.json" Json SERVERS;
    }
    "roo-code" {
        Home ".config/Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json" Json SERVERS;
    }
    "windsurf" {
        Home ".codeium/windsurf/mcp_config.json" Json SERVERS;
        Home ".codeium/mcp_config.json" Json SERVERS;
        Home ".windsurf/mcp.json" Json SERVERS;
        Home ".config/Windsurf/User/mcp.json" Json VSCODE;
        Project ".windsurf/mcp.json" Json SERVERS;
    }
    "gemini-cli" {
        Home ".gemini/settings.json" Json SERVERS;
        Project ".gemini/settings.json" Json SERVERS;
    }
    "antigravity" {
        Home ".gemini/antigravity/mcp_config.json" Json SERVERS;
        Home ".gemini/config/mcp_config.json" Json SERVERS;
    }
    "codex" {
        System "etc/codex/config.toml" Toml CODEX;
        Home ".codex/config.toml" Toml CODEX;
        Home ".codex/*.config.toml" Toml CODEX;
        Home ".codex/plugins/**/.mcp.json" Json CODEX_PLUGIN;
        Project ".codex/config.toml" Toml CODEX;
    }
    "copilot" {
        Home ".copilot/mcp-config.json" Json VSCODE;
        Home ".config/github-copilot/intellij/mcp.json" Json VSCODE;
    }
    "junie" {
        Home ".junie/mcp/mcp.json" Json JUNIE;
        Project ".junie/mcp/mcp.json" Json JUNIE;
    }
    "opencode" {
        System "etc/opencode/opencode.json" Json MCP;
        System "etc/opencode/opencode.jsonc" Json MCP;
        Home ".config/opencode/opencode.json" Json MCP;
        Home ".config/opencode/opencode.jsonc" Json MCP;
        Home ".opencode/opencode.json" Json MCP;
        Project "opencode.json" Json MCP;
        Project "opencode.jsonc" Json MCP;
        Project ".opencode/opencode.json" Json MCP;
    }
    "goose" { Home ".config/goose/config.yaml" Yaml GOOSE; }
    "continue" {
        Home ".continue/config.yaml" Yaml SERVERS;
        Home ".continue/config.json" Json CONTINUE;
    }
    "zed" {
        Home ".config/zed/settings.json" Json ZED;
        Project ".zed/settings.json" Json ZED;
    }
    "kiro" {
        Home ".kiro/settings/mcp.json" Json SERVERS;
        Home ".kiro/agents/*.json" Json SERVERS;
        Project ".kiro/settings/mcp.json" Json SERVERS;
    }
    "amazon-q" {
        Home ".aws/amazonq/mcp.json" Json SERVERS;
        Home ".aws/amazonq/agents/default.json" Json SERVERS;
        Home ".aws/amazonq/agents/mcp.json" Json SERVERS;
        Project ".amazonq/mcp.json" Json SERVERS;
    }
    "amp" { Home ".config/amp/settings.json" Json AMP; }
    "lm-studio" {
        Home ".lmstudio/mcp.json" Json SERVERS;
        Home ".cache/lm-studio/mcp.json" Json SERVERS;
    }
    "trae" { Home ".config/Trae/User/mcp.json" Json SERVERS; }
    "crush" {
        Home ".config/crush/crush.json" Json MCP;
        Project ".crush.json" Json MCP;
    }
    "vibe" { Home ".vibe/config.toml" Toml CODEX; }
    "kimi" { Home ".kimi/mcp.json" Json SERVERS; }
    "factory" { Home ".factory/mcp.json" Json SERVERS; }
    "qoder" { Home ".qoder/mcp.json" Json SERVERS; }
    "qwen-code" { Home ".qwen/settings.json" Json SERVERS; }
    "mcporter" {
        Home ".mcporter/mcporter.json" Json SERVERS;
        Home ".mcporter/mcporter.jsonc" Json SERVERS;
        Project "config/mcporter.json" Json SERVERS;
    }
    "tabnine" { Home ".tabnine/mcp_servers.json" Json SERVERS; }
    "cortex" { Home ".snowflake/cortex/mcp.json" Json SERVERS; }
}

/// Variables with which a user moves a part of the home elsewhere: name, and the prefix it replaces.
const MOVED: &[(&str, &str)] = &[
    ("XDG_CONFIG_HOME", ".config/"),
    ("CODEX_HOME", ".codex/"),
    ("CLAUDE_CONFIG_DIR", ".claude/"),
    // Claude Code looks for this file inside the moved directory, too.
    ("CLAUDE_CONFIG_DIR", ".claude.json"),
    ("CLINE_DIR", ".cline/"),
    ("OPENCODE_CONFIG_DIR", ".config/opencode/"),
];

/// Variables that name one file: name, and the place of the table it stands for.
const NAMED: &[(&str, &str)] = &[("OPENCODE_CONFIG", ".config/opencode/opencode.json")];

/// Names of the variables [`of_home`] looks at: all that need be kept of an environment.
pub fn variables() -> impl Iterator<Item = &'static str> {
    MOVED.iter().chain(NAMED).map(|&(name, _)| name)
}

/// A pattern of the table, made absolute.
#[derive(Clone, Debug)]
pub struct Place {
    /// Absolute path; its last components may hold `*` and `**`.
    pub pattern: PathBuf,
    /// How many leading components of `pattern` are to be taken as they are.
    pub literal: usize,
    /// The row.
    pub location: &'static Location,
}

impl Place {
    fn new(root: &Path, rest: &str, location: &'static Location) -> Self {
        let fixed = rest.split('/').take_while(|component| !component.contains('*')).count();
        Self { pattern: root.join(rest), literal: root.components().count() + fixed, location }
    }
}

/// The places below `home`. `environment` is that of a process of the user: it may move some of them
/// (both are then given: other processes of the user may not have been told).
#[must_use]
pub fn of_home(home: &Path, environment: &BTreeMap<String, String>) -> Vec<Place> {
    let mut places = Vec::new();
    for location in LOCATIONS.iter().filter(|location| location.base == Base::Home) {
        places.push(Place::new(home, location.path, location));
        for (name, prefix) in MOVED {
            let Some(directory) = absolute(environment, name) else { continue };
            let rest = if *prefix == location.path {
                Some(location.path)
            } else if prefix.ends_with('/') {
                location.path.strip_prefix(prefix)
            } else {
                None
            };
            places.extend(rest.map(|rest| Place::new(directory, rest, location)));
        }
        for (name, path) in NAMED {
            if let Some(file) = absolute(environment, name).filter(|_| *path == location.path) {
                places.push(Place {
                    pattern: file.to_owned(),
                    literal: file.components().count(),
                    location,
                });
            }
        }
    }
    places
}

fn absolute<'a>(environment: &'a BTreeMap<String, String>, name: &str) -> Option<&'a Path> {
    environment.get(name).map(Path::new).filter(|path| path.is_absolute())
}

/// The places below a directory a client or server works in.
#[must_use]
pub fn of_project(directory: &Path) -> Vec<Place> {
    below(directory, Base::Project)
}

/// The places of the whole system; `root` is `/`, or a container's root.
#[must_use]
pub fn of_system(root: &Path) -> Vec<Place> {
    below(root, Base::System)
}

fn below(root: &Path, base: Base) -> Vec<Place> {
    LOCATIONS
        .iter()
        .filter(|location| location.base == base)
        .map(|location| Place::new(root, location.path, location))
        .collect()
}

/// The folder of the project whose file a configuration at `path` is, when the client looks for such a file in
/// projects. A client may keep its own at the same place of a home: that is not told apart here.
#[must_use]
pub fn project_of<'a>(path: &'a str, location: &Location) -> Option<&'a str> {
    let of_project = |row: &&Location| row.base == Base::Project && row.path == location.path;
    LOCATIONS.iter().find(of_project)?;
    path.strip_suffix(location.path)?.strip_suffix('/')
}

/// The row of the table that `path`, a resolved path in any home or project, fits: whole components are compared,
/// from the end. Of several rows the one that says most of it, then the first.
#[must_use]
pub fn location_of(path: &str) -> Option<&'static Location> {
    let name = last_component(path);
    let exact = INDEX.by_name.get(name).into_iter().flatten();
    let alike = INDEX.by_pattern.iter().filter(|(pattern, _)| component_matches(pattern, name));
    exact.chain(alike.map(|(_, location)| location)).copied().find(|location| fits(path, location))
}

/// Folders that many programs share: one of this name says nothing of a client, but for those of
/// [`SHARED_IN_HOMES`] in a home.
const SHARED: &[&str] = &["config", "etc"];

/// Folders that every home has, and whose names mean something else elsewhere.
pub const SHARED_IN_HOMES: &[&str] = &[".cache", ".config"];

/// The rows of the table whose files lie in a folder, of any home or project: whole components are compared, from
/// the end. What lies any number of folders deeper (`**`) is told by the folders that the row names alone.
pub fn locations_in(folder: &str) -> impl Iterator<Item = &'static Location> {
    LOCATIONS.iter().filter(move |location| {
        let parts: Vec<&'static str> = location.path.split('/').collect();
        let named = parts.iter().take_while(|part| **part != "**").count();
        let deepest = named.min(parts.len().saturating_sub(1));
        (1..=deepest).any(|depth| {
            let way =
                parts.get(..depth).filter(|way| !matches!(way, [one] if SHARED.contains(one)));
            way.is_some_and(|way| tail_fits(way.iter().copied().rev(), folder, location.base))
        })
    })
}

/// Rows by their last component: asked for every file a server opens, almost always in vain.
struct Index {
    by_name: HashMap<&'static str, Vec<&'static Location>>,
    by_pattern: Vec<(&'static str, &'static Location)>,
}

static INDEX: LazyLock<Index> = LazyLock::new(|| {
    let mut index = Index { by_name: HashMap::default(), by_pattern: Vec::new() };
    for location in LOCATIONS {
        match location.path.rsplit('/').next() {
            Some(name) if !name.contains('*') => {
                index.by_name.entry(name).or_default().push(location);
            }
            Some(pattern) => index.by_pattern.push((pattern, location)),
            None => {}
        }
    }
    for locations in index.by_name.values_mut() {
        locations.sort_by_key(|location| Reverse(location.path.split('/').count()));
    }
    index
});

fn fits(path: &str, location: &Location) -> bool {
    tail_fits(location.path.split('/').rev(), path, location.base)
}

/// Whether a path ends with a pattern, given from its last component; one of the system is the whole path.
fn tail_fits(
    mut pattern: impl Iterator<Item = &'static str> + Clone,
    path: &str,
    base: Base,
) -> bool {
    let mut path = path.split('/').filter(|component| !component.is_empty()).rev();
    matches_from(&mut pattern, &mut path, base == Base::System)
}

/// Compares components from the last to the first; `whole` asks that nothing is left over.
fn matches_from<'a>(
    pattern: &mut (impl Iterator<Item = &'static str> + Clone),
    path: &mut (impl Iterator<Item = &'a str> + Clone),
    whole: bool,
) -> bool {
    while let Some(expected) = pattern.next() {
        if expected == "**" {
            // No row has two of them, so trying each depth stays linear.
            let mut rest = path.clone();
            loop {
                if matches_from(&mut pattern.clone(), &mut rest.clone(), whole) {
                    return true;
                }
                if rest.next().is_none() {
                    return false;
                }
            }
        }
        match path.next() {
            Some(component) if component_matches(expected, component) => {}
            _ => return false,
        }
    }
    !whole || path.next().is_none()
}

/// What a path ends with: asked for so often that a search made for long texts would cost most of it.
#[must_use]
pub fn last_component(path: &str) -> &str {
    let slash = path.bytes().rposition(|byte| byte == b'/');
    slash.and_then(|slash| path.get(slash + 1..)).unwrap_or(path)
}

/// Compares one component with a pattern that holds at most one `*`.
#[must_use]
pub fn component_matches(pattern: &str, component: &str) -> bool {
    // Nearly every one of a table ends here.
    let first = |text: &str| text.bytes().next();
    if first(pattern) != Some(b'*') && first(pattern) != first(component) {
        return false;
    }
    match pattern.split_once('*') {
        None => pattern == component,
        Some((start, end)) => {
            component.len() >= start.len() + end.len()
                && component.starts_with(start)
                && component.ends_with(end)
        }
    }
}

#[cfg(test)]
mod reference;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_keeps_to_the_rules_of_patterns() {
        for location in LOCATIONS {
            let path = location.path;
            assert!(!path.starts_with('/') && !path.ends_with('/'), "{path}");
            assert!(!location.keys.is_empty(), "{path}");
            assert!(path.split('/').filter(|part| *part == "**").count() <= 1, "{path}");
            for part in path.split('/').filter(|part| *part != "**") {
                assert!(part.matches('*').count() <= 1, "{path}");
            }
            let named = Format::of(Path::new(path));
            assert_eq!(named, location.format, "{path}");
        }
    }

    #[test]
    fn a_file_of_unknown_client_is_asked_for_every_key_there_is() {
        for key in LOCATIONS.iter().flat_map(|location| location.keys) {
            assert!(ANY_KEY.contains(key), "{key}");
        }
    }

    #[test]
    fn every_row_is_recognised_wherever_its_home_is() {
        for location in LOCATIONS {
            let concrete = location.path.replace("**", "a/b").replace('*', "x");
            let path = match location.base {
                Base::System => format!("/{concrete}"),
                Base::Home => format!("/home/someone/{concrete}"),
                Base::Project => format!("/srv/work/{concrete}"),
            };
            assert!(location_of(&path).is_some(), "{path}");
            if location.base != Base::System {
                assert!(location_of(&format!("/proc/7/root{path}")).is_some(), "{path}");
            }
        }
    }

    #[test]
    fn paths_are_recognised_by_whole_components() {
        let table: &[(&str, Option<&str>)] = &[
            ("/home/a/.claude.json", Some("claude-code")),
            ("/home/a/x.claude.json", None),
            ("/home/a/.claude.json.bak", None),
            ("/root/.cursor/mcp.json", Some("cursor")),
            ("/root/a.cursor/mcp.json", None),
            ("/root/mcp.json", None),
            ("/h/.config/Code/User/profiles/-1a2b/mcp.json", Some("vscode")),
            ("/h/.config/Code/User/profiles/a/b/mcp.json", None),
            ("/h/.claude/plugins/cache/.mcp.json", Some("claude-code")),
            ("/h/.codex/plugins/x/y/z/.mcp.json", Some("codex")),
            ("/h/project/.mcp.json", Some("claude-code")),
            ("/h/.codex/work.config.toml", Some("codex")),
            ("/h/.codex/config.toml", Some("codex")),
            ("/etc/codex/config.toml", Some("codex")),
            ("/chroot/etc/codex/config.toml", None),
            ("/h/.kiro/agents/mine.json", Some("kiro")),
            ("/h/.config/Code - Insiders/User/mcp.json", Some("vscode")),
            ("/etc/passwd", None),
            ("", None),
            ("/", None),
        ];
        for (path, client) in table {
            let found = location_of(path).map(|location| location.client);
            assert_eq!(found, *client, "{path}");
        }
    }

    #[test]
    fn folders_that_hold_configurations_are_recognised() {
        let clients = |folder: &str| {
            let found: BTreeSet<&str> = locations_in(folder).map(|row| row.client).collect();
            Vec::from_iter(found)
        };
        let table: &[(&str, &[&str])] = &[
            ("/home/a/.cursor", &["cursor"]),
            ("/srv/work/.cursor/", &["cursor"]),
            ("/home/a/.config/Claude", &["claude-desktop"]),
            ("/home/a/.config/Code/User/profiles", &["vscode"]),
            ("/home/a/.config/Code/User/profiles/x", &["vscode"]),
            ("/home/a/.claude/plugins/cache", &["claude-code"]),
            ("/home/a/.claude/plugins/cache/some", &[]),
            ("/etc/codex", &["codex"]),
            ("/srv/etc/codex", &[]),
            ("/home/a/.cache/lm-studio", &["lm-studio"]),
            ("/home/a/.cache", &["lm-studio"]),
            ("/srv/config", &[]),
            ("/etc", &[]),
            ("/home/a/x.cursor", &[]),
            ("/home/a/.cursor/mcp.json", &[]),
            ("/home/a", &[]),
            ("/", &[]),
            ("", &[]),
        ];
        for (folder, expected) in table {
            assert_eq!(clients(folder), *expected, "{folder}");
        }
        assert!(clients("/home/a/.config").len() > 5);
    }

    #[test]
    fn files_that_hold_more_than_servers_are_named_otherwise() {
        let general: BTreeSet<&str> = LOCATIONS
            .iter()
            .filter(|location| location.base == Base::Project && !location.holds_only_servers())
            .map(|location| location.path)
            .collect();
        assert_eq!(
            Vec::from_iter(general),
            [
                ".codex/config.toml",
                ".crush.json",
                ".devcontainer/devcontainer.json",
                ".gemini/settings.json",
                ".opencode/opencode.json",
                ".vscode/settings.json",
                ".zed/settings.json",
                "opencode.json",
                "opencode.jsonc",
            ]
        );
    }

    #[test]
    fn a_file_of_a_project_is_told_with_the_projects_folder() {
        let table = [
            ("/srv/work/.mcp.json", Some("/srv/work")),
            ("/srv/work/.vscode/settings.json", Some("/srv/work")),
            ("/srv/work/config/mcporter.json", Some("/srv/work")),
            // Whether that is a home is for others to say.
            ("/home/a/.cursor/mcp.json", Some("/home/a")),
            ("/.mcp.json", Some("")),
            ("/home/a/.claude.json", None),
            ("/home/a/.claude/settings.json", None),
            ("/home/a/.cursor/plugins/x/.mcp.json", None),
            ("/home/a/.config/Code/User/settings.json", None),
            ("/etc/codex/config.toml", None),
        ];
        for (path, project) in table {
            assert_eq!(project_of(path, location_of(path).unwrap()), project, "{path}");
        }
    }

    /// The table as `docs/discovery.md` shows it.
    fn documented() -> String {
        let mut lines = vec!["| Client | Files |".to_owned(), "|---|---|".to_owned()];
        let mut clients: Vec<&str> = LOCATIONS.iter().map(|location| location.client).collect();
        clients.dedup();
        for client in clients {
            let files: Vec<String> = LOCATIONS
                .iter()
                .filter(|location| location.client == client)
                .map(|location| match location.base {
                    Base::System => format!("`/{}`", location.path),
                    Base::Home => format!("`~/{}`", location.path),
                    Base::Project => format!("`./{}`", location.path),
                })
                .collect();
            lines.push(format!("| {client} | {} |", files.join(", ")));
        }
        lines.join("\n")
    }

    #[test]
    fn the_documentation_lists_the_table() {
        let text = include_str!("../../../docs/discovery.md");
        let (_, rest) = text.split_once("a test -->\n").unwrap();
        let (table, _) = rest.split_once("\n<!-- end -->").unwrap();
        assert!(table == documented(), "docs/discovery.md should hold:\n{}", documented());
        for name in variables() {
            assert!(text.contains(&format!("`{name}`")), "{name}");
        }
    }

    #[test]
    fn the_environment_moves_places() {
        let table: &[(&str, &str, &str)] = &[
            ("XDG_CONFIG_HOME", "/x", "/x/Claude/claude_desktop_config.json"),
            ("CODEX_HOME", "/x", "/x/config.toml"),
            ("CLAUDE_CONFIG_DIR", "/x", "/x/settings.json"),
            ("CLAUDE_CONFIG_DIR", "/x", "/x/.claude.json"),
            ("CLINE_DIR", "/x", "/x/data/settings/cline_mcp_settings.json"),
            ("OPENCODE_CONFIG_DIR", "/x", "/x/opencode.jsonc"),
            ("OPENCODE_CONFIG", "/x/mine.json", "/x/mine.json"),
        ];
        for (name, value, expected) in table {
            let environment = BTreeMap::from([((*name).to_owned(), (*value).to_owned())]);
            let places = of_home(Path::new("/home/a"), &environment);
            assert!(places.iter().any(|place| place.pattern == Path::new(expected)), "{expected}");
            assert!(variables().any(|variable| variable == *name));
        }
        let relative = BTreeMap::from([("XDG_CONFIG_HOME".to_owned(), "x".to_owned())]);
        let plain = of_home(Path::new("/home/a"), &BTreeMap::new()).len();
        assert_eq!(of_home(Path::new("/home/a"), &relative).len(), plain);
    }

    #[test]
    fn the_literal_part_of_a_place_ends_before_its_first_glob() {
        let places = of_home(Path::new("/home/*"), &BTreeMap::new());
        let place = places.iter().find(|place| place.location.path.contains("**")).unwrap();
        let literal: PathBuf = place.pattern.components().take(place.literal).collect();
        assert_eq!(literal, Path::new("/home/*/.claude/plugins/cache"));
    }
}
