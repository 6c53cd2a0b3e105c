//! Files and command lines: clients' configurations, the settings, what processes are started with.

use std::path::Path;

use mcpwatch::cli::rule_ids;
use mcpwatch::config::Config;
use mcpwatch::discover::client_config::{Source, parse};
use mcpwatch::discover::clients::client_of;
use mcpwatch::discover::launcher;
use mcpwatch::discover::locations::Format;
use mcpwatch::event::decode::text;

/// Keys of every shape the table of locations has.
const KEYS: &[&str] = &["mcpServers", "mcp/servers", "projects/*/mcpServers", "mcp.servers", "."];

/// A configuration in the format the first byte names. What is wrong stands at a place in the text.
pub fn client_configs(data: &[u8]) {
    let Some((format, document)) = data.split_first() else { return };
    let format = match format {
        b'T' => Format::Toml,
        b'Y' => Format::Yaml,
        _ => Format::Json,
    };
    let source = Source { path: "/home/me/mcp.json", client: "client", format };
    let lines = 2 + document.iter().filter(|byte| matches!(byte, b'\n' | b'\r')).count();
    match parse(document, source, KEYS) {
        Ok(parsed) => {
            for server in &parsed.servers {
                assert!(server.command.is_some() || server.url.is_some(), "{server:?}");
            }
            for warning in &parsed.warnings {
                assert!(warning.line <= lines, "{warning} in a text of {lines} lines");
            }
        }
        Err(error) => assert!(error.line <= lines, "{error} in a text of {lines} lines"),
    }
}

/// A settings file. An error names the file.
pub fn settings(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let path = Path::new("mcpwatch.toml");
    if let Err(error) = Config::parse(&text, path, &rule_ids()) {
        assert!(error.to_string().contains("mcpwatch.toml"), "{error}");
    }
}

/// An argument vector, terminated as the kernel has it.
pub fn launchers(data: &[u8]) {
    let words: Vec<String> = data.split(|byte| *byte == 0).map(text).collect();
    let Some((exe, argv)) = words.split_first() else { return };
    let _ = launcher::recognise(exe, argv);
    let _ = launcher::is_wrapper(argv);
    let _ = launcher::script_package(exe);
    let _ = client_of(exe, argv);
    if let Some(inner) = launcher::unwrap(argv) {
        let _ = launcher::unwrap(&inner);
    }
}
