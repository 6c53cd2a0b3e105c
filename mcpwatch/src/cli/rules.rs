//! `mcpwatch rules`: what is detected, why, and whether the rules and their settings hold together.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context;
use clap::builder::PossibleValuesParser;
use serde_json::{Value, json};

use crate::config::{Allow, Config};
use crate::detect::{self, Detector, RULES, RuleInfo};
use crate::pipeline::configs;
use crate::redact::Redactor;

/// Arguments of `mcpwatch rules`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// What to do with the rules.
#[derive(Clone, Debug, clap::Subcommand)]
pub enum Command {
    /// List all rules with their severities
    List {
        /// Print JSON instead of text
        #[arg(long)]
        json: bool,
    },
    /// Check the rules and what the settings say of them
    Check {
        /// Settings file [default: /etc/mcpwatch/mcpwatch.toml, when it is there]
        file: Option<PathBuf>,
    },
    /// Explain a rule, or all: meaning, trigger, severities, what explains an effect, what to do
    Explain {
        /// The rule's id
        #[arg(value_parser = PossibleValuesParser::new(detect::ids()))]
        id: Option<String>,
    },
}

/// Columns of explanations.
const COLUMNS: usize = 100;

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let text = match &args.command {
        Command::List { json: false } => list(),
        Command::List { json: true } => {
            let rules: Vec<Value> = RULES.iter().map(|entry| described(entry.info)).collect();
            serde_json::to_string_pretty(&rules).context("the rules as JSON")? + "\n"
        }
        Command::Check { file } => check(file.as_deref())?,
        Command::Explain { id: Some(id) } => explained(detect::find(id).with_context(|| {
            format!("there is no rule {id:?}; `mcpwatch rules list` shows them all")
        })?),
        Command::Explain { id: None } => all_explained(),
    };
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        // `| head` has seen enough.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        result => result.context("the rules to stdout"),
    }
}

fn list() -> String {
    let width = RULES.iter().map(|entry| entry.info.id.len()).max().unwrap_or_default();
    let mut text = String::new();
    for info in RULES.iter().map(|entry| entry.info) {
        let severities = &info.severities;
        let mut named: Vec<&str> = [severities.requested, severities.covert, severities.background]
            .iter()
            .map(|severity| severity.name())
            .collect();
        named.dedup();
        let _ = writeln!(text, "{:width$}  {}  ({})", info.id, info.title, named.join(", "));
    }
    text
}

/// A rule as JSON: the fields of [`RuleInfo`].
fn described(info: &RuleInfo) -> Value {
    let severities: serde_json::Map<String, Value> = info
        .severities
        .cases()
        .into_iter()
        .filter_map(|(case, severity)| Some((case.to_owned(), severity?.name().into())))
        .collect();
    json!({
        "id": info.id,
        "title": info.title,
        "description": info.description,
        "trigger": info.trigger,
        "severities": severities,
        "explained_by": info.explained_by,
        "yields_to": info.yields_to,
        "tags": info.tags,
        "atlas_version": info.atlas_version,
        "playbook": info.playbook,
    })
}

/// Checks everything that rules and masks are made of. The settings are read like `mcpwatch run` does.
fn check(file: Option<&std::path::Path>) -> anyhow::Result<String> {
    let config = Config::load(file, &detect::ids())?;
    Detector::new(&config.rules, Vec::new(), configs::TABLE)?;
    Redactor::new(&config.redact)?;
    let off = match config.rules.disable.as_slice() {
        [] => "all on".to_owned(),
        disabled => format!("off: {}", disabled.join(", ")),
    };
    let allowing = config.servers.iter().filter(|server| server.allow != Allow::default()).count();
    Ok(format!(
        "{} rules, {off}\n{allowing} servers with an allow list\n{} patterns and {} keys masked \
         beyond the built-in\nok\n",
        RULES.len(),
        config.redact.patterns.len(),
        config.redact.keys.len()
    ))
}

fn all_explained() -> String {
    let sections: Vec<String> = RULES.iter().map(|entry| explained(entry.info)).collect();
    sections.join("\n")
}

/// A rule for a person to read; `docs/detections.md` holds the same text.
fn explained(info: &RuleInfo) -> String {
    let mut text = format!("## `{}`\n\n", info.id);
    let paragraph = |text: &mut String, words: &str| {
        wrapped(words, "", "", text);
        text.push('\n');
    };
    paragraph(&mut text, &format!("**{}.** {}", info.title, info.description));
    paragraph(&mut text, &format!("**Fires when:** {}", info.trigger));
    let cases = info.severities.cases();
    let row = |cells: Vec<&str>| format!("| {} |\n", cells.join(" | "));
    text += &row(cases.iter().map(|(case, _)| *case).collect());
    text += &row(vec!["---"; cases.len()]);
    text += &row(cases.iter().map(|(_, severity)| severity.map_or("–", |s| s.name())).collect());
    text.push('\n');
    text += "**Explained by:**\n";
    for reason in info.explained_by {
        wrapped(reason, "- ", "  ", &mut text);
    }
    text.push('\n');
    if !info.yields_to.is_empty() {
        let others = match info.yields_to {
            ["*"] => "any other rule".to_owned(),
            ids => format!("`{}`", ids.join("`, `")),
        };
        paragraph(&mut text, &format!("Silent on an effect that {others} fired on."));
    }
    paragraph(&mut text, &format!("**What to do:** {}", info.playbook));
    let atlas = format!("ATLAS {}", info.atlas_version);
    let tags: Vec<String> = [
        ("ATT&CK", info.tags.attack),
        (atlas.as_str(), info.tags.atlas),
        ("OWASP MCP Top 10 (2025)", info.tags.owasp_mcp),
        ("OWASP LLM Top 10 (2025)", info.tags.owasp_llm),
    ]
    .iter()
    .filter(|(_, ids)| !ids.is_empty())
    .map(|(catalogue, ids)| format!("{catalogue}: {}", ids.join(", ")))
    .collect();
    wrapped(&format!("**Tags:** {}", tags.join("; ")), "", "", &mut text);
    text
}

/// Adds words in lines of at most [`COLUMNS`] characters.
fn wrapped(words: &str, first: &str, others: &str, text: &mut String) {
    let mut line = first.to_owned();
    let mut empty = true;
    for word in words.split_whitespace() {
        if !empty && line.chars().count() + 1 + word.chars().count() > COLUMNS {
            text.push_str(&line);
            text.push('\n');
            others.clone_into(&mut line);
            empty = true;
        }
        if !empty {
            line.push(' ');
        }
        line.push_str(word);
        empty = false;
    }
    text.push_str(&line);
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_documentation_says_what_the_rules_say() {
        let document = include_str!("../../../docs/detections.md");
        let sections = document.find("\n## `").map_or("", |start| &document[start + 1..]);
        assert!(
            sections == all_explained(),
            "docs/detections.md: put the output of `mcpwatch rules explain` below its introduction"
        );
    }

    #[test]
    fn the_readme_names_every_rule_and_no_other() {
        let text = include_str!("../../../README.md");
        let (_, list) = text.split_once("\nThe rules are ").unwrap();
        let (list, _) = list.split_once(": see").unwrap();
        let mut named: Vec<&str> = list.split('`').skip(1).step_by(2).collect();
        let mut known = detect::ids();
        named.sort_unstable();
        known.sort_unstable();
        assert_eq!(named, known);
    }

    #[test]
    fn every_rule_is_listed_with_all_that_an_analyst_needs() {
        let text = list();
        for entry in RULES {
            assert!(text.contains(entry.info.id));
            let json = described(entry.info);
            for field in
                ["id", "title", "trigger", "severities", "explained_by", "tags", "playbook"]
            {
                assert!(json.get(field).is_some(), "{field}");
            }
        }
    }

    #[test]
    fn the_check_reads_the_settings_and_names_what_is_wrong() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mcpwatch.toml");
        let write = |text: &str| std::fs::write(&file, text).unwrap();
        write("[rules]\ndisable = [\"shell_spawn\"]\n[redact]\nkeys = [\"x\"]\n");
        let text = check(Some(&file)).unwrap();
        assert!(text.contains("off: shell_spawn") && text.ends_with("ok\n"), "{text}");
        write("[rules]\ndisable = [\"shell_spwan\"]\n");
        let error = check(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("shell_spwan"), "{error}");
        let all: Vec<String> = detect::ids().iter().map(|id| format!("{id:?}")).collect();
        write(&format!("[rules]\ndisable = [{}]\n", all.join(",")));
        let error = check(Some(&file)).unwrap_err().to_string();
        assert!(error.contains("no rule is left"), "{error}");
    }

    #[test]
    fn explanations_fit_the_columns() {
        for line in all_explained().lines() {
            assert!(line.chars().count() <= COLUMNS, "{line}");
        }
    }
}
