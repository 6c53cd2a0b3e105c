//! Known MCP clients: one table, by the executed file, by the directory it stands in, or by the
//! package of the script an interpreter runs.

use super::launcher;
use super::locations::component_matches;

/// One client. A process is it when one of the criteria holds.
struct Client {
    /// Its name, as in [`super::locations::LOCATIONS`].
    name: &'static str,
    /// Names of the executed file; `*` as in [`component_matches`].
    programs: &'static [&'static str],
    /// Parts of the executed file's path: for programs named after a version, and for helpers that
    /// stand beside the client.
    directories: &'static [&'static str],
    /// Packages (npm or Python) that are the client when an interpreter runs them.
    packages: &'static [&'static str],
}

macro_rules! clients {
    ($($name:literal [$($program:literal)*] [$($directory:literal)*] [$($package:literal)*])+) => {
        static CLIENTS: &[Client] = &[$(Client {
            name: $name,
            programs: &[$($program),*],
            directories: &[$($directory),*],
            packages: &[$($package),*],
        },)+];
    };
}

clients! {
    "claude-code" ["claude" "claude-code-acp" "claude-agent-acp"] ["/.local/share/claude/versions/"] ["@anthropic-ai/claude-code" "@anthropic-ai/claude-agent-sdk" "@zed-industries/claude-code-acp" "@zed-industries/claude-agent-acp"]
    "claude-desktop" ["claude-desktop" "Claude*.AppImage"] ["/claude-desktop/"] []
    "cursor" ["cursor" "cursor-agent" "Cursor*.AppImage"] ["/.cursor-server/" "/cursor-agent/versions/"] []
    "vscode" ["code" "code-insiders" "codium" "code-server" "code-oss"] ["/.vscode-server/" "/.vscode-server-insiders/" "/share/code/" "/share/code-insiders/"] []
    "windsurf" ["windsurf" "windsurf-next"] ["/.windsurf-server/"] []
    "antigravity" ["antigravity"] ["/.antigravity-server/"] []
    "gemini-cli" ["gemini"] [] ["@google/gemini-cli"]
    "codex" ["codex" "codex-acp" "codex-*-linux-*"] [] ["@openai/codex" "@zed-industries/codex-acp"]
    "copilot" ["copilot"] [] ["@github/copilot"]
    "junie" ["junie"] [] []
    "opencode" ["opencode"] [] ["opencode-ai"]
    "goose" ["goose" "goosed"] [] []
    "continue" ["cn"] [] ["@continuedev/cli"]
    "cline" ["cline" "cline-host"] [] ["cline"]
    "zed" ["zed" "zed-editor" "zeditor"] [] []
    "kiro" ["kiro" "kiro-cli" "kiro-cli-chat"] ["/.kiro-server/"] []
    "amazon-q" ["qchat" "amazon-q"] [] []
    "amp" ["amp"] [] ["@sourcegraph/amp"]
    "lm-studio" ["lm-studio" "LM-Studio*.AppImage" "lms"] ["/.lmstudio/" "/LM Studio/"] []
    "trae" ["trae" "trae-cli"] [] []
    "crush" ["crush"] [] ["@charmland/crush"]
    "vibe" ["vibe" "vibe-acp"] [] ["mistral-vibe"]
    "kimi" ["kimi"] [] ["kimi-cli"]
    "factory" ["droid"] [] []
    "qoder" ["qoder" "qodercli"] [] ["@qoder-ai/qodercli"]
    "qwen-code" ["qwen"] [] ["@qwen-code/qwen-code"]
    "mcporter" ["mcporter"] [] ["mcporter"]
    "tabnine" ["tabnine" "TabNine"] [] []
    "cortex" ["cortex"] [] []
    "inspector" ["mcp-inspector"] [] ["@modelcontextprotocol/inspector*" "mcp-inspector"]
    "mcphost" ["mcphost"] [] []
    "mcp-cli" [] [] ["mcp-cli"]
    "cherry-studio" ["cherry-studio" "CherryStudio*" "Cherry-Studio*.AppImage"] [] []
    "jan" ["jan" "Jan*.AppImage"] [] []
    "witsy" ["witsy"] [] []
    "anythingllm" ["anythingllm-desktop" "AnythingLLMDesktop*.AppImage"] [] []
    "librechat" [] ["/LibreChat/"] ["librechat"]
    "aider" ["aider"] [] ["aider" "aider-chat"]
}

/// The known client a process is, by its executed file and, for interpreters, the script in its
/// argument vector. `argv[0]` does not count: a process may put anything there.
#[must_use]
pub fn client_of(exe: &str, argv: &[String]) -> Option<&'static str> {
    let program = exe.rsplit('/').next().unwrap_or(exe);
    let direct = CLIENTS.iter().find(|client| {
        client.programs.iter().any(|pattern| component_matches(pattern, program))
            || client.directories.iter().any(|directory| exe.contains(directory))
    });
    if let Some(client) = direct {
        return Some(client.name);
    }
    let (_, arguments) = argv.split_first()?;
    let words: Vec<String> =
        std::iter::once(exe.to_owned()).chain(arguments.iter().cloned()).collect();
    let package = launcher::recognise(exe, &words).filter(|launch| !launch.is_wrapper)?.package;
    let by_package = CLIENTS.iter().find(|client| {
        client.packages.iter().any(|pattern| component_matches(pattern, &package))
            // Installed commands are named after the client: `node /usr/bin/gemini`.
            || client.programs.iter().any(|pattern| component_matches(pattern, &package))
    });
    by_package.map(|client| client.name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::discover::locations::LOCATIONS;

    #[test]
    fn every_client_with_a_configuration_can_be_recognised_as_a_process() {
        // Extensions of an editor: the process is the editor's.
        let inside_others = ["roo-code"];
        for location in LOCATIONS {
            assert!(
                inside_others.contains(&location.client)
                    || CLIENTS.iter().any(|client| client.name == location.client),
                "{}",
                location.client
            );
        }
    }

    #[test]
    fn clients_are_known_by_program_directory_and_package() {
        let table: &[(&str, &[&str], Option<&str>)] = &[
            ("/usr/bin/claude", &["claude"], Some("claude-code")),
            ("/home/a/.local/share/claude/versions/2.0.14", &["claude"], Some("claude-code")),
            (
                "/usr/bin/node",
                &["node", "/usr/lib/node_modules/@anthropic-ai/claude-code/cli.js"],
                Some("claude-code"),
            ),
            ("/usr/bin/node", &["node", "/usr/local/bin/gemini", "-y"], Some("gemini-cli")),
            ("/usr/share/code/code", &["/usr/share/code/code"], Some("vscode")),
            ("/home/a/.vscode-server/bin/c/node", &["node", "x.js"], Some("vscode")),
            ("/opt/LM-Studio-0.3.5.AppImage", &["lm"], Some("lm-studio")),
            ("/usr/bin/node", &["claude", "/tmp/x.js"], None),
            ("/usr/bin/bash", &["claude"], None),
            ("/usr/bin/node", &["node"], None),
            ("/usr/bin/python3", &["python3", "/v/bin/vibe"], Some("vibe")),
            ("", &[], None),
            (
                "/usr/bin/node",
                &[
                    "node",
                    "/x/_npx/1/node_modules/@modelcontextprotocol/inspector/cli/build/cli.js",
                ],
                Some("inspector"),
            ),
        ];
        for (exe, argv, expected) in table {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            assert_eq!(client_of(exe, &argv), *expected, "{exe} {argv:?}");
        }
    }
}
