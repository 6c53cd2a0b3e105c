//! The survey of clients' configurations this project was given, against which the table is checked: every place it
//! names is in the table, with the keys it names.

use super::Base::{Home, Project, System};
use super::{Base, LOCATIONS};

/// Base, path and keys; no keys where the survey leaves them open. It writes `mcp.servers` for the key of that name
/// as well as for `servers` in `mcp`.
const REFERENCE: &[(Base, &str, &[&str])] = &[
    (System, "etc/claude-code/managed-mcp.json", &["mcpServers"]),
    (System, "etc/claude-code/managed-settings.json", &[]),
    (System, "etc/codex/config.toml", &["mcp_servers"]),
    (System, "etc/opencode/opencode.json", &["mcp"]),
    (System, "etc/opencode/opencode.jsonc", &["mcp"]),
    (Home, ".claude.json", &["mcpServers", "projects/*/mcpServers"]),
    (Home, ".claude/settings.json", &[]),
    (Home, ".claude/mcp.json", &[]),
    (Home, ".claude/plugins/cache/**/.mcp.json", &[]),
    (Home, ".config/Claude/claude_desktop_config.json", &[]),
    (Home, ".config/claude/claude_desktop_config.json", &[]),
    (Home, ".cursor/mcp.json", &[]),
    (Home, ".config/Cursor/User/mcp.json", &[]),
    (Home, ".config/Cursor/User/settings.json", &[]),
    (Home, ".cursor/plugins/**/mcp.json", &[]),
    (Home, ".cursor/plugins/**/.mcp.json", &[]),
    (Home, ".vscode/mcp.json", &[]),
    (Home, ".vscode/settings.json", &[]),
    (Home, ".config/Code/User/mcp.json", &["servers"]),
    (Home, ".config/Code/User/settings.json", &["mcp/servers", "mcp.servers"]),
    (Home, ".config/Code/User/profiles/*/mcp.json", &["servers"]),
    (Home, ".config/Code/User/profiles/*/settings.json", &["mcp/servers", "mcp.servers"]),
    (Home, ".config/Code - Insiders/User/mcp.json", &[]),
    (Home, ".config/Code - Insiders/User/settings.json", &[]),
    (Home, ".vscode-server/data/User/mcp.json", &[]),
    (
        Home,
        ".config/Code/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
        &[],
    ),
    (
        Home,
        ".config/Cursor/User/globalStorage/saoudrizwan.claude-dev/settings/cline_mcp_settings.json",
        &[],
    ),
    (Home, ".cline/data/settings/cline_mcp_settings.json", &[]),
    (
        Home,
        ".config/Code/User/globalStorage/rooveterinaryinc.roo-cline/settings/mcp_settings.json",
        &[],
    ),
    (Home, ".codeium/windsurf/mcp_config.json", &[]),
    (Home, ".codeium/mcp_config.json", &[]),
    (Home, ".windsurf/mcp.json", &[]),
    (Home, ".config/Windsurf/User/mcp.json", &[]),
    (Home, ".gemini/settings.json", &[]),
    (Home, ".gemini/antigravity/mcp_config.json", &[]),
    (Home, ".gemini/config/mcp_config.json", &[]),
    (Home, ".codex/config.toml", &["mcp_servers"]),
    (Home, ".codex/*.config.toml", &["mcp_servers"]),
    (Home, ".codex/plugins/**/.mcp.json", &["mcp_servers"]),
    (Home, ".copilot/mcp-config.json", &["servers"]),
    (Home, ".config/github-copilot/intellij/mcp.json", &["servers"]),
    (Home, ".junie/mcp/mcp.json", &["mcp"]),
    (Home, ".config/opencode/opencode.json", &["mcp"]),
    (Home, ".config/opencode/opencode.jsonc", &["mcp"]),
    (Home, ".opencode/opencode.json", &["mcp"]),
    (Home, ".config/goose/config.yaml", &["extensions"]),
    (Home, ".continue/config.yaml", &[]),
    (Home, ".continue/config.json", &[]),
    (Home, ".config/zed/settings.json", &["context_servers"]),
    (Home, ".kiro/settings/mcp.json", &[]),
    (Home, ".kiro/agents/*.json", &[]),
    (Home, ".aws/amazonq/mcp.json", &[]),
    (Home, ".aws/amazonq/agents/default.json", &[]),
    (Home, ".aws/amazonq/agents/mcp.json", &[]),
    (Home, ".config/amp/settings.json", &["amp.mcpServers"]),
    (Home, ".lmstudio/mcp.json", &[]),
    (Home, ".cache/lm-studio/mcp.json", &[]),
    (Home, ".config/Trae/User/mcp.json", &[]),
    (Home, ".config/crush/crush.json", &["mcp"]),
    (Home, ".vibe/config.toml", &[]),
    (Home, ".kimi/mcp.json", &[]),
    (Home, ".factory/mcp.json", &[]),
    (Home, ".qoder/mcp.json", &[]),
    (Home, ".qwen/settings.json", &[]),
    (Home, ".mcporter/mcporter.json", &[]),
    (Home, ".mcporter/mcporter.jsonc", &[]),
    (Home, ".tabnine/mcp_servers.json", &[]),
    (Home, ".snowflake/cortex/mcp.json", &[]),
    (Project, ".mcp.json", &[]),
    (Project, ".cursor/mcp.json", &[]),
    (Project, ".vscode/mcp.json", &[]),
    (Project, ".vscode/settings.json", &[]),
    (Project, ".kiro/settings/mcp.json", &[]),
    (Project, ".gemini/settings.json", &[]),
    (Project, ".codex/config.toml", &[]),
    (Project, "opencode.json", &[]),
    (Project, "opencode.jsonc", &[]),
    (Project, ".opencode/opencode.json", &[]),
    (Project, ".zed/settings.json", &[]),
    (Project, ".crush.json", &[]),
    (Project, ".windsurf/mcp.json", &[]),
    (Project, ".amazonq/mcp.json", &[]),
    (Project, ".junie/mcp/mcp.json", &[]),
    (Project, "config/mcporter.json", &[]),
    (Project, ".devcontainer/devcontainer.json", &["customizations/vscode/mcp/servers"]),
];

#[test]
fn the_table_holds_every_place_and_key_of_the_reference() {
    let missing: Vec<String> = REFERENCE
        .iter()
        .flat_map(|(base, path, keys)| {
            let row = LOCATIONS.iter().find(|row| row.base == *base && row.path == *path);
            let absent = row.is_none().then(|| format!("{base:?} {path}"));
            let known = row.map_or(&[][..], |row| row.keys);
            let unread = keys.iter().filter(move |key| row.is_some() && !known.contains(*key));
            absent.into_iter().chain(unread.map(move |key| format!("{base:?} {path}: {key}")))
        })
        .collect();
    assert!(missing.is_empty(), "{missing:#?}");
}
