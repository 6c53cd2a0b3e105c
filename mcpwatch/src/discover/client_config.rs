//! A client's configuration → the servers it starts. Pure; the shapes differ from client to client,
//! the parser takes all of them from any file.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::document::{self, Node, Position, Value};
use super::locations::Format;

/// Most servers taken from one file.
const MAX_SERVERS: usize = 1024;

/// A server as a client's configuration describes it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfiguredServer {
    /// The key it stands under, or its `name` in a list.
    pub name: String,
    /// The program to start; absent for a remote server.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub command: Option<String>,
    /// Its arguments, not expanded.
    #[serde(default)]
    pub args: Vec<String>,
    /// Variables it is given, not expanded. May hold secrets.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Where a remote server listens.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub url: Option<String>,
    /// The directory to start it in.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub cwd: Option<String>,
    /// The file it stands in.
    pub config_path: String,
    /// The client the file belongs to.
    pub client: String,
}

/// Something in a file that is not as expected.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub path: String,
    /// Line, from 1; 0 when it concerns no place in the text.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
    /// What was expected, and what stands there.
    pub message: String,
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.line {
            0 => write!(f, "{}: {}", self.path, self.message),
            line => write!(f, "{}:{line}:{}: {}", self.path, self.column, self.message),
        }
    }
}

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// Its servers, in the order of the file.
    pub servers: Vec<ConfiguredServer>,
    /// Entries that could not be understood; the others still count.
    pub warnings: Vec<ConfigError>,
}

/// Where and how a file is to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Source<'a> {
    /// The file, for messages and for [`ConfiguredServer::config_path`].
    pub path: &'a str,
    /// The client it belongs to.
    pub client: &'a str,
    /// How it is written.
    pub format: Format,
}

/// Finds the servers in `text`. Each key is a path of map keys separated by `/`, where `*` stands for
/// every key; `.` alone is the document itself, looked at when no other key led to anything. A key
/// that is missing is no error. Of `mcp` and `mcp/servers` the longer counts where both are there: what the
/// shorter one leads to holds no servers then.
pub fn parse<K: AsRef<str>>(
    text: &[u8],
    source: Source<'_>,
    keys: &[K],
) -> Result<Parsed, ConfigError> {
    let root = document::parse(text, source.format).map_err(|fault| {
        let message = format!("{}; mend it, its servers are unknown until then", fault.message);
        error(source, fault.position, message)
    })?;
    let mut parsed = Parsed::default();
    let mut found = false;
    let keys: Vec<&str> = keys.iter().map(AsRef::as_ref).collect();
    let is_above = |key: &str| {
        let below =
            |longer: &&&str| longer.strip_prefix(key).is_some_and(|rest| rest.starts_with('/'));
        keys.iter().filter(below).any(|longer| !follow(&root, longer).is_empty())
    };
    for key in keys.iter().copied().filter(|key| *key != "." && !is_above(key)) {
        for container in follow(&root, key) {
            found = true;
            collect(container, source, key, &mut parsed);
        }
    }
    if !found && keys.contains(&".") {
        let servers = root.entries().unwrap_or_default();
        for (name, entry) in servers {
            // The document may be a manifest with quite other keys: only what looks like a server counts.
            if entry.get("command").is_some() || entry.get("url").is_some() {
                take(name, entry, source, &mut parsed);
            }
        }
    }
    Ok(parsed)
}

fn error(source: Source<'_>, position: Position, message: String) -> ConfigError {
    let Position { line, column } = position;
    ConfigError { path: source.path.to_owned(), line, column, message }
}

/// The nodes a key path leads to.
fn follow<'a>(root: &'a Node, key: &str) -> Vec<&'a Node> {
    let mut nodes = vec![root];
    for part in key.split('/') {
        nodes = nodes
            .into_iter()
            .flat_map(|node| match part {
                "*" => node.entries().unwrap_or_default().iter().map(|(_, value)| value).collect(),
                part => node.get(part).into_iter().collect::<Vec<_>>(),
            })
            .collect();
    }
    nodes
}

fn collect(container: &Node, source: Source<'_>, key: &str, parsed: &mut Parsed) {
    match &container.value {
        Value::Null => {}
        Value::Map(entries) => {
            for (name, entry) in entries {
                take(name, entry, source, parsed);
            }
        }
        Value::List(entries) => {
            for entry in entries {
                let name = entry.get("name").and_then(Node::text).unwrap_or_default();
                take(name, entry, source, parsed);
            }
        }
        Value::Text(_) | Value::Scalar(_) => {
            let message =
                format!("expected a map or list of servers in `{key}`, found {}", container.kind());
            parsed.warnings.push(error(source, container.position, message));
        }
    }
}

fn take(name: &str, entry: &Node, source: Source<'_>, parsed: &mut Parsed) {
    if parsed.servers.len() + parsed.warnings.len() >= MAX_SERVERS {
        if parsed.warnings.last().is_none_or(|last| last.line != 0) {
            let message = format!("expected at most {MAX_SERVERS} servers; the rest is left out");
            parsed.warnings.push(error(source, Position::default(), message));
        }
        return;
    }
    match server(name, entry, source) {
        Ok(Some(server)) => parsed.servers.push(server),
        Ok(None) => {}
        Err((position, message)) => {
            let message = format!("server `{name}`: {message}");
            parsed.warnings.push(error(source, position, message));
        }
    }
}

type Broken = (Position, String);

/// Spellings of one field, the commonest first.
const COMMAND: &[&str] = &["command", "cmd"];
const ARGS: &[&str] = &["args", "arguments"];
const ENV: &[&str] = &["env", "environment", "envs"];
const URL: &[&str] = &["url", "httpUrl", "serverUrl", "uri"];
const CWD: &[&str] = &["cwd", "workingDirectory", "working_directory"];
/// Fields that make an entry without a command meaningful: a switch for a server described elsewhere.
const SWITCHES: &[&str] = &["enabled", "disabled"];

/// Reads one entry. `None` when it describes no server of its own.
fn server(
    name: &str,
    entry: &Node,
    source: Source<'_>,
) -> Result<Option<ConfiguredServer>, Broken> {
    if entry.is_null() {
        return Ok(None);
    }
    if entry.entries().is_none() {
        return Err((entry.position, format!("expected a map, found {}", entry.kind())));
    }
    // Older Continue keeps the launch in `transport`; in newer files that is a word.
    let launch = entry.get("transport").filter(|node| node.entries().is_some()).unwrap_or(entry);
    let mut words = Vec::new();
    let mut env = BTreeMap::new();
    if let Some(command) = field(launch, COMMAND) {
        match &command.value {
            Value::Text(text) => words.push(text.clone()),
            Value::List(list) => words = strings(list)?,
            // Zed: the command is a map of its own.
            Value::Map(_) => {
                let path = command
                    .get("path")
                    .and_then(Node::text)
                    .ok_or_else(|| (command.position, "expected `path` in `command`".to_owned()))?;
                words.push(path.to_owned());
                words.extend(arguments(command)?);
                env.extend(variables(command)?);
            }
            Value::Null => {}
            Value::Scalar(_) => {
                let found = command.kind();
                let message = format!("expected a string or list as `command`, found {found}");
                return Err((command.position, message));
            }
        }
    }
    words.extend(arguments(launch)?);
    env.extend(variables(launch)?);
    let text = |names| field(launch, names).and_then(Node::text).map(str::to_owned);
    let url = text(URL);
    let has_command = words.first().is_some_and(|word| !word.is_empty())
        && field(launch, COMMAND).is_some_and(|command| !command.is_null());
    if !has_command && url.is_none() {
        let kind = entry.get("type").and_then(Node::text).unwrap_or("stdio");
        let elsewhere = !matches!(kind, "stdio" | "local" | "sse" | "http")
            || SWITCHES.iter().any(|name| entry.get(name).is_some());
        return if elsewhere {
            Ok(None)
        } else {
            Err((entry.position, "expected `command` or `url`".to_owned()))
        };
    }
    let mut words = words.into_iter();
    let command = if has_command { words.next() } else { None };
    let name = if name.is_empty() {
        let fallback = command.as_deref().or(url.as_deref()).unwrap_or_default();
        fallback.rsplit('/').next().unwrap_or_default()
    } else {
        name
    };
    Ok(Some(ConfiguredServer {
        name: name.to_owned(),
        command,
        args: words.collect(),
        env,
        url,
        cwd: text(CWD),
        config_path: source.path.to_owned(),
        client: source.client.to_owned(),
    }))
}

fn field<'a>(entry: &'a Node, names: &[&str]) -> Option<&'a Node> {
    names.iter().find_map(|name| entry.get(name))
}

fn arguments(entry: &Node) -> Result<Vec<String>, Broken> {
    let Some(node) = field(entry, ARGS) else { return Ok(Vec::new()) };
    match &node.value {
        Value::Null => Ok(Vec::new()),
        Value::List(list) => strings(list),
        // Some clients take one string and split it as a shell would.
        Value::Text(text) => {
            let unclosed = || (node.position, "expected closed quotes in `args`".to_owned());
            shlex::split(text).ok_or_else(unclosed)
        }
        _ => Err((node.position, format!("expected a list as `args`, found {}", node.kind()))),
    }
}

fn strings(list: &[Node]) -> Result<Vec<String>, Broken> {
    list.iter()
        .map(|node| {
            node.text()
                .map(str::to_owned)
                .ok_or_else(|| (node.position, format!("expected a string, found {}", node.kind())))
        })
        .collect()
}

fn variables(entry: &Node) -> Result<BTreeMap<String, String>, Broken> {
    let Some(node) = field(entry, ENV) else { return Ok(BTreeMap::new()) };
    match &node.value {
        Value::Map(entries) => Ok(entries
            .iter()
            .filter_map(|(name, value)| Some((name.clone(), value.text()?.to_owned())))
            .collect()),
        // Names of variables that are handed through, without values; or `NAME=value`.
        Value::List(list) => Ok(list
            .iter()
            .filter_map(|value| value.text()?.split_once('='))
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect()),
        Value::Null => Ok(BTreeMap::new()),
        _ => Err((node.position, format!("expected a map as `env`, found {}", node.kind()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::locations::{ANY_KEY, LOCATIONS};

    fn source(format: Format) -> Source<'static> {
        Source { path: "/h/file", client: "test", format }
    }

    /// `name command args… | name url` of each server, sorted into one line each.
    fn shown(text: &str, format: Format, keys: &[&str]) -> Vec<String> {
        let parsed = parse(text.as_bytes(), source(format), keys).unwrap();
        assert_eq!(parsed.warnings, [], "{text}");
        parsed
            .servers
            .into_iter()
            .map(|server| {
                let mut words = vec![server.name];
                words.extend(server.command);
                words.extend(server.args);
                words.extend(server.url);
                words.extend(server.env.into_iter().map(|(name, value)| format!("{name}={value}")));
                words.extend(server.cwd.map(|cwd| format!("in {cwd}")));
                words.join(" ")
            })
            .collect()
    }

    fn keys_of(path: &str) -> &'static [&'static str] {
        LOCATIONS.iter().find(|location| location.path == path).unwrap().keys
    }

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
    fn every_client_s_shape_is_understood() {
        let table: &[(&str, Format, &str, &[&str])] = &[
            (
                ".config/Claude/claude_desktop_config.json",
                Format::Json,
                r#"{"mcpServers": {"fs": {"command": "npx", "args": ["-y", "x", 8080],
                    "env": {"A": "1", "B": 2}, "cwd": "/w"}}}"#,
                &["fs npx -y x 8080 A=1 B=2 in /w"],
            ),
            (
                ".claude.json",
                Format::Json,
                r#"{"mcpServers": {"a": {"type": "stdio", "command": "a"}},
                    "projects": {"/p/one": {"mcpServers": {"b": {"command": "b"}}},
                                 "/p/two": {"mcpServers": {}}, "/p/three": {"allowedTools": []}}}"#,
                &["a a", "b b"],
            ),
            (
                ".vscode/mcp.json",
                Format::Json,
                "// mine\n{\"inputs\": [], \"servers\": {\"a\": {\"type\": \"http\", \"url\": \"https://h/mcp\"},},}",
                &["a https://h/mcp"],
            ),
            (
                ".vscode/settings.json",
                Format::Json,
                r#"{"editor.tabSize": 2, "mcp": {"inputs": [], "servers": {"a": {"command": "a"}}}}"#,
                &["a a"],
            ),
            (
                ".config/Code/User/settings.json",
                Format::Json,
                r#"{"mcp.servers": {"a": {"command": "a"}}}"#,
                &["a a"],
            ),
            (
                ".codex/config.toml",
                Format::Toml,
                "model = 'x'\n[mcp_servers.a]\ncommand = 'uvx'\nargs = ['mcp-server-git']\n[mcp_servers.a.env]\nK = 'v'\n[mcp_servers.b]\nurl = 'https://h'\n",
                &["a uvx mcp-server-git K=v", "b https://h"],
            ),
            (
                ".config/goose/config.yaml",
                Format::Yaml,
                "GOOSE_MODEL: x\nextensions:\n  developer:\n    type: builtin\n    enabled: true\n  fetch:\n    type: stdio\n    cmd: uvx\n    args: [mcp-server-fetch, 3]\n    envs: {K: v}\n  far:\n    type: streamable_http\n    uri: https://h/mcp\n",
                &["fetch uvx mcp-server-fetch 3 K=v", "far https://h/mcp"],
            ),
            (
                ".continue/config.yaml",
                Format::Yaml,
                "name: x\nmcpServers:\n  - name: sqlite\n    command: npx\n    args:\n      - -y\n      - mcp-sqlite\n  - command: /opt/bin/other\n",
                &["sqlite npx -y mcp-sqlite", "other /opt/bin/other"],
            ),
            (
                ".continue/config.json",
                Format::Json,
                r#"{"experimental": {"modelContextProtocolServers": [
                    {"transport": {"type": "stdio", "command": "uvx", "args": ["x"]}}]}}"#,
                &["uvx uvx x"],
            ),
            (
                ".config/opencode/opencode.json",
                Format::Json,
                r#"{"mcp": {"a": {"type": "local", "command": ["bun", "x", "my"], "environment": {"K": "v"}},
                            "b": {"type": "remote", "url": "https://h"}, "c": {"enabled": false}}}"#,
                &["a bun x my K=v", "b https://h"],
            ),
            (
                ".config/zed/settings.json",
                Format::Json,
                r#"{"context_servers": {"a": {"command": {"path": "srv", "args": ["1"], "env": {"K": "v"}}},
                                        "b": {"source": "custom", "command": "srv", "args": []},
                                        "c": {"source": "extension", "enabled": true, "settings": {}}}}"#,
                &["a srv 1 K=v", "b srv"],
            ),
            (
                ".config/amp/settings.json",
                Format::Json,
                r#"{"amp.mcpServers": {"a": {"command": "a"}}}"#,
                &["a a"],
            ),
            (
                ".devcontainer/devcontainer.json",
                Format::Json,
                r#"{"customizations": {"vscode": {"mcp": {"servers": {"a": {"command": "a"}}}}}}"#,
                &["a a"],
            ),
            (
                ".claude/plugins/cache/**/.mcp.json",
                Format::Json,
                r#"{"a": {"command": "${CLAUDE_PLUGIN_ROOT}/x"}, "version": 3, "more": {"x": 1}}"#,
                &["a ${CLAUDE_PLUGIN_ROOT}/x"],
            ),
            (
                ".codex/plugins/**/.mcp.json",
                Format::Json,
                r#"{"mcp_servers": {"a": {"command": "a"}}}"#,
                &["a a"],
            ),
            (
                ".codex/plugins/**/.mcp.json",
                Format::Json,
                r#"{"mcpServers": {"a": {"command": "a"}}}"#,
                &["a a"],
            ),
            (
                ".copilot/mcp-config.json",
                Format::Json,
                r#"{"servers": {"a": {"type": "stdio", "command": "a"}}}"#,
                &["a a"],
            ),
            (
                ".copilot/mcp-config.json",
                Format::Json,
                r#"{"mcpServers": {"a": {"type": "local", "command": "a", "tools": ["*"]}}}"#,
                &["a a"],
            ),
            (".junie/mcp/mcp.json", Format::Json, r#"{"mcp": {"a": {"command": "a"}}}"#, &["a a"]),
            (
                ".junie/mcp/mcp.json",
                Format::Json,
                r#"{"mcpServers": {"a": {"command": "a"}}}"#,
                &["a a"],
            ),
            (
                ".codeium/windsurf/mcp_config.json",
                Format::Json,
                r#"{"mcpServers": {"a": {"serverUrl": "https://h"}, "b": {"command": "x", "args": "-y 'a b'"}}}"#,
                &["a https://h", "b x -y a b"],
            ),
        ];
        for (path, format, text, expected) in table {
            assert_eq!(shown(text, *format, keys_of(path)), *expected, "{path}");
        }
    }

    #[test]
    fn a_file_of_unknown_client_may_have_any_shape() {
        let table: &[(Format, &str, &[&str])] = &[
            (
                Format::Json,
                r#"{"editor.tabSize": 2, "mcp": {"inputs": [{"type": "promptString", "id": "key"}],
                    "servers": {"a": {"command": "a", "env": {"K": "${input:key}"}}}}}"#,
                &["a a K=${input:key}"],
            ),
            (
                Format::Json,
                r#"{"$schema": "https://opencode.ai/config.json", "mcp": {"a": {"type": "local", "command": ["a"]}}}"#,
                &["a a"],
            ),
            (
                Format::Json,
                r#"{"numStartups": 3, "mcpServers": {"a": {"command": "a"}},
                    "projects": {"/p": {"mcpServers": {"b": {"command": "b"}}}}}"#,
                &["a a", "b b"],
            ),
            (
                Format::Json,
                r#"{"image": "x", "customizations": {"vscode": {"extensions": ["a.b"],
                    "mcp": {"servers": {"a": {"command": "a"}}}}}}"#,
                &["a a"],
            ),
            (
                Format::Json,
                r#"{"models": [], "experimental": {"modelContextProtocolServers": [
                    {"transport": {"type": "stdio", "command": "uvx", "args": ["x"]}}]}}"#,
                &["uvx uvx x"],
            ),
            (Format::Json, r#"{"amp": {"mcpServers": {"a": {"command": "a"}}}}"#, &["a a"]),
            (
                Format::Json,
                r#"{"a": {"command": "a"}, "b": {"type": "http", "url": "https://h"}}"#,
                &["a a", "b https://h"],
            ),
            (Format::Toml, "model = 'x'\n[mcp_servers.a]\ncommand = 'a'\n", &["a a"]),
            (Format::Yaml, "mcpServers:\n  - name: a\n    command: a\n", &["a a"]),
        ];
        for (format, text, expected) in table {
            assert_eq!(shown(text, *format, ANY_KEY), *expected, "{text}");
        }
    }

    #[test]
    fn files_without_servers_are_no_error() {
        for text in ["", "  \n", "{}", "null", "// nothing\n", r#"{"mcpServers": null}"#, "[]"] {
            assert_eq!(shown(text, Format::Json, ANY_KEY), [""; 0], "{text}");
        }
        for text in ["", "# nothing\n", "a: 1\n", "extensions:\n"] {
            assert_eq!(shown(text, Format::Yaml, ANY_KEY), [""; 0], "{text}");
        }
        assert_eq!(shown("", Format::Toml, ANY_KEY), [""; 0]);
    }

    #[test]
    fn a_broken_entry_is_a_warning_with_its_place_and_the_others_count() {
        let text = "{\"mcpServers\": {\n  \"good\": {\"command\": \"a\"},\n  \"bad\": {\"command\": \"x\", \"args\": [{}]},\n  \"worse\": 3,\n  \"empty\": {\"args\": [\"x\"]}\n}}";
        let parsed = parse(text.as_bytes(), source(Format::Json), ANY_KEY).unwrap();
        assert_eq!(parsed.servers.len(), 1);
        let warnings: Vec<String> = parsed.warnings.iter().map(ToString::to_string).collect();
        assert_eq!(
            warnings,
            [
                "/h/file:3:36: server `bad`: expected a string, found a map",
                "/h/file:4:12: server `worse`: expected a map, found a number or boolean",
                "/h/file:5:12: server `empty`: expected `command` or `url`",
            ]
        );
        let toml = parse(b"[mcp_servers.x]\ncommand = 3\n", source(Format::Toml), ANY_KEY).unwrap();
        assert_eq!(
            toml.warnings.first().unwrap().to_string(),
            "/h/file:2:11: server `x`: expected a string or list as `command`, found a number or boolean"
        );
        let yaml = parse(b"mcpServers:\n  - name: x\n    args: 3\n", source(Format::Yaml), ANY_KEY)
            .unwrap();
        assert_eq!(
            yaml.warnings.first().unwrap().to_string(),
            "/h/file:3:11: server `x`: expected a list as `args`, found a number or boolean"
        );
    }

    #[test]
    fn a_broken_file_is_named_with_line_and_column() {
        let table: &[(&[u8], Format, usize, usize, &str)] = &[
            (b"{\n \"mcpServers\": {\n", Format::Json, 2, 16, "unterminated object"),
            (b"{\n \"a\": 1 \"b\": 2}", Format::Json, 2, 8, "expected comma"),
            (b"{\"a\": 'x'}", Format::Json, 1, 7, "single-quoted strings"),
            (b"{\"a\": }", Format::Json, 1, 7, "unexpected close brace"),
            (b"\n\n  \xff", Format::Json, 3, 3, "UTF-8"),
            (b"a = 1\nb = \n", Format::Toml, 2, 5, ""),
            (b"a = 1\na = 2\n", Format::Toml, 2, 1, "duplicate key"),
            (b"a: [1\nb: }", Format::Yaml, 2, 0, ""),
        ];
        for (text, format, line, column, message) in table {
            let error = parse(text, source(*format), ANY_KEY).unwrap_err();
            assert_eq!(error.line, *line, "{error}");
            assert!(*column == 0 || error.column == *column, "{error}");
            assert!(error.message.contains(message), "{error}");
            assert!(!error.message.is_empty() && !error.message.contains('\n'), "{error:?}");
        }
    }

    #[test]
    fn hostile_files_are_refused_without_harm() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        let maps = "{\"a\":".repeat(50_000);
        let many = format!("[{}0]", "0,".repeat(300_000));
        let hidden = format!("[\"\n\" , //\r{}", "[".repeat(50_000));
        let laughs = "a: &a [x,x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e,*e,*e]\n";
        let large = " ".repeat(document::MAX_BYTES + 1);
        for text in [&deep, &maps, &many, &hidden, &large] {
            for format in [Format::Json, Format::Toml, Format::Yaml] {
                let error = parse(text.as_bytes(), source(format), ANY_KEY).unwrap_err();
                assert!(error.message.len() < 500, "{format:?} {}", error.message.len());
            }
        }
        parse(laughs.as_bytes(), source(Format::Yaml), ANY_KEY).unwrap_err();
        let tables = format!("a = {}", "[".repeat(100_000));
        parse(tables.as_bytes(), source(Format::Toml), ANY_KEY).unwrap_err();
    }

    #[test]
    fn no_damage_to_a_file_does_harm() {
        let samples = [
            (
                Format::Json,
                r#"{"mcpServers": {"ä": {"command": ["a\u0041"], "args": [1, "x"] /* c */}}} // d"#,
            ),
            (
                Format::Toml,
                "x.y = 1\n[mcp_servers.\"ä\"]\ncommand = '''a'''\nargs = [1, \"x\"] # d\n",
            ),
            (
                Format::Yaml,
                "extensions: &a\n  ä: {cmd: x, args: [1, 'x']}\n  b: *a\n  c: |\n    x\n",
            ),
        ];
        for (format, text) in samples {
            let bytes = text.as_bytes();
            for at in 0..bytes.len() {
                let _ = parse(&bytes[..at], source(format), ANY_KEY);
                for nasty in b"{[\"'\\\n\0&*:#/\xff\t-" {
                    let mut damaged = bytes.to_vec();
                    damaged[at] = *nasty;
                    if let Err(error) = parse(&damaged, source(format), ANY_KEY) {
                        assert!(error.line > 0 && error.column > 0, "{error}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_number_of_servers_is_limited_and_said_once() {
        let entries: Vec<String> =
            (0..2000).map(|number| format!("\"s{number}\": {{\"command\": \"x\"}}")).collect();
        let text = format!("{{\"mcpServers\": {{{}}}}}", entries.join(","));
        let parsed = parse(text.as_bytes(), source(Format::Json), ANY_KEY).unwrap();
        assert_eq!(parsed.servers.len(), MAX_SERVERS);
        assert_eq!(parsed.warnings.len(), 1);
    }
}
