//! What is wrong with a settings file, where, and what was expected there.

use std::fmt;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

/// A mistake in the settings file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct SettingsError {
    /// The file.
    pub path: PathBuf,
    /// Line and column from 1; absent when it concerns the file as a whole.
    pub position: Option<(usize, usize)>,
    /// The key, as `server[0].allow.read`; empty when there is none.
    pub key: String,
    /// What was expected, and what stands there.
    pub message: String,
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.path.display())?;
        if let Some((line, column)) = self.position {
            write!(f, "{line}:{column}:")?;
        }
        if !self.key.is_empty() {
            write!(f, " {}:", self.key)?;
        }
        write!(f, " {}", self.message)
    }
}

impl SettingsError {
    /// A mistake about the file as a whole.
    pub(super) fn file(path: &Path, message: String) -> Self {
        Self { path: path.to_owned(), position: None, key: String::new(), message }
    }

    /// What the parser found.
    pub(super) fn parse(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        let offset = error.span().map(|span| span.start);
        // Also of a file with mistakes: as much of it as can be understood.
        let table = DeTable::parse_recoverable(text).0;
        let key = offset
            .and_then(|offset| key_at(table.get_ref(), offset))
            .map(|steps| shown(&steps))
            // A key the parser dropped, as the second of two, still stands in the text.
            .or_else(|| offset.map(|offset| word_at(text, offset).to_owned()))
            .unwrap_or_default();
        Self {
            path: path.to_owned(),
            position: offset.map(|offset| position(text, offset)),
            key,
            message: worded(error.message()),
        }
    }

    /// A value that can be parsed and is still wrong. `key` is the steps to it.
    pub(super) fn value(path: &Path, text: &str, key: &[Step], message: String) -> Self {
        let table = DeTable::parse_recoverable(text).0;
        let offset = offset_of(table.get_ref(), key);
        Self {
            path: path.to_owned(),
            position: offset.map(|offset| position(text, offset)),
            key: shown(key),
            message,
        }
    }
}

/// One step on the way to a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(String),
    Index(usize),
}

fn shown(steps: &[Step]) -> String {
    let parts = steps.iter().enumerate().map(|(number, step)| match step {
        Step::Key(key) if number == 0 => key.clone(),
        Step::Key(key) => format!(".{key}"),
        Step::Index(index) => format!("[{index}]"),
    });
    parts.collect()
}

fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or(text);
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    (line, column)
}

/// The bare key that begins at `offset`, or nothing.
fn word_at(text: &str, offset: usize) -> &str {
    let rest = text.get(offset..).unwrap_or_default();
    let bare = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    rest.split(|letter| !bare(letter)).next().unwrap_or_default()
}

/// The key whose name or value stands at `offset`.
fn key_at(table: &DeTable<'_>, offset: usize) -> Option<Vec<Step>> {
    for (key, value) in table {
        let step = Step::Key(key.get_ref().to_string());
        if key.span().contains(&offset) {
            return Some(vec![step]);
        }
        let inner = match value.get_ref() {
            // A table's own span is only that of its header.
            DeValue::Table(inner) => key_at(inner, offset),
            DeValue::Array(list) => list.iter().enumerate().find_map(|(index, element)| {
                let below = match element.get_ref() {
                    DeValue::Table(inner) => key_at(inner, offset),
                    _ => None,
                };
                let below = below.or_else(|| element.span().contains(&offset).then(Vec::new))?;
                Some([vec![Step::Index(index)], below].concat())
            }),
            _ => None,
        };
        let here = || value.span().contains(&offset).then(Vec::new);
        if let Some(below) = inner.or_else(here) {
            return Some([vec![step], below].concat());
        }
    }
    None
}

/// Where the value stands that `steps` lead to; where that is missing, what holds it.
fn offset_of(table: &DeTable<'_>, steps: &[Step]) -> Option<usize> {
    let mut steps = steps.iter();
    let Step::Key(first) = steps.next()? else { return None };
    let mut value = table.get(first.as_str())?;
    for step in steps {
        let next = match (step, value.get_ref()) {
            (Step::Key(key), DeValue::Table(table)) => table.get(key.as_str()),
            (Step::Index(index), DeValue::Array(list)) => list.get(*index),
            _ => None,
        };
        match next {
            Some(next) => value = next,
            None => break,
        }
    }
    Some(value.span().start)
}

/// Names of types in the parser's messages, as a person would say them.
const KINDS: &[(&str, &str)] = &[
    ("u8", "a whole number"),
    ("u16", "a whole number"),
    ("u32", "a whole number"),
    ("u64", "a whole number"),
    ("path string", "a path"),
    ("a sequence", "a list"),
];
const FOUND: &[(&str, &str)] = &[
    ("integer `", "`"),
    ("floating point `", "a number with a fraction `"),
    ("string ", "a string "),
    ("boolean `", "`"),
    ("sequence", "a list"),
    ("map", "a table"),
];

/// Turns serde's wording into ours: what was expected comes first, and an unknown key gets the nearest
/// known one.
fn worded(message: &str) -> String {
    let line = message.lines().collect::<Vec<_>>().join(", ");
    if let Some(rest) = line.strip_prefix("unknown field ") {
        let mut names = quoted(rest);
        let unknown = if names.is_empty() { String::new() } else { names.remove(0) };
        return match nearest(&unknown, names.iter().map(String::as_str)) {
            Some(near) => format!("unknown key, did you mean `{near}`?"),
            None => format!("unknown key, expected {}", one_of(&names)),
        };
    }
    if let Some(rest) = line.strip_prefix("unknown variant ") {
        let mut names = quoted(rest);
        let unknown = if names.is_empty() { String::new() } else { names.remove(0) };
        return format!("expected {}, found `{unknown}`", one_of(&names));
    }
    let invalid =
        line.strip_prefix("invalid type: ").or_else(|| line.strip_prefix("invalid value: "));
    if let Some((found, expected)) = invalid.and_then(|rest| rest.rsplit_once(", expected ")) {
        let expected = replaced(expected, KINDS, str::eq);
        let found = replaced(found, FOUND, |text, start| text.starts_with(start)).replace('`', "");
        return format!("expected {expected}, found {found}");
    }
    line
}

/// Replaces the first entry of `table` that fits at the start of `text`.
fn replaced(text: &str, table: &[(&str, &str)], fits: impl Fn(&str, &str) -> bool) -> String {
    match table.iter().find(|(from, _)| fits(text, from)) {
        Some((from, to)) => format!("{to}{}", text.strip_prefix(from).unwrap_or_default()),
        None => text.to_owned(),
    }
}

fn quoted(text: &str) -> Vec<String> {
    text.split('`').skip(1).step_by(2).map(str::to_owned).collect()
}

fn one_of(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [only] => only.clone(),
        _ => format!("one of {}", names.join(", ")),
    }
}

/// The name most like `wrong`, if one is alike at all.
pub(super) fn nearest<'a>(wrong: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    names
        .map(|name| (strsim::jaro_winkler(wrong, name), name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}
