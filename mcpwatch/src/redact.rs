//! Masks secrets in call arguments, command lines and evidence, by name and by shape, and bounds what
//! of arguments goes out. The rules are data: `rules/secrets.toml`.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt::Write;

use regex::{Captures, Regex, RegexBuilder, RegexSet, RegexSetBuilder};
use serde::Deserialize;
use serde_json::{Map, Value};

use crate::config;

const TEXT: &str = include_str!("../../rules/secrets.toml");

/// Strings in arguments that are longer are cut …
const LONG_STRING: usize = 64 * 1024;
/// … to this many bytes.
const CUT_TO: usize = 4 * 1024;
/// Bytes beyond the cut that are looked at, so that a secret across it is masked as a whole.
const BEYOND_CUT: usize = 4 * 1024;
/// Bytes of all strings of one value.
const TOTAL_BYTES: usize = 256 * 1024;
/// Values in one value.
const TOTAL_VALUES: usize = 10_000;
/// Levels of one value.
const DEPTH: usize = 64;
/// Bytes of one name in a value.
const NAME_BYTES: usize = 256;
/// Places of masked values that are listed.
const LISTED: usize = 64;
/// Most memory one compiled pattern of the settings may take, in bytes.
const PATTERN_SIZE: usize = 1 << 20;

/// What stands for a value beyond the limits.
const CUT_MARK: &str = "[cut]";
/// How every mask begins.
const MASK: &str = "[redacted:";
/// The mask's hint when a name told that it is a secret.
const BY_NAME: &str = "by_name";
/// The mask's hint when a pattern of the settings told.
const BY_SETTINGS: &str = "by_settings";
/// Options whose value is `USER:PASSWORD`.
const USER_OPTIONS: &[&str] = &["-u", "--user", "--proxy-user"];

/// Why no redactor could be made.
#[derive(Debug, thiserror::Error)]
pub enum RedactError {
    /// Data compiled in is broken.
    #[error("rules/secrets.toml: {0}")]
    Data(String),
    /// A pattern of the settings is no regular expression, or too big.
    #[error("redact.patterns: {pattern:?} (number {number}) is no regular expression: {reason}")]
    Pattern {
        /// Its place in the list, from 1.
        number: usize,
        /// The pattern.
        pattern: String,
        /// What is wrong. It stands in the message, and would again as its source.
        reason: Box<regex::Error>,
    },
    /// A key of the settings has nothing that could be a name.
    #[error(
        "redact.keys: {key:?} (number {number}) is no name: expected one with a letter or a digit"
    )]
    Key {
        /// Its place in the list, from 1.
        number: usize,
        /// The key.
        key: String,
    },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    keys: Vec<String>,
    not_keys: Vec<String>,
    shape: Vec<ShapeData>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ShapeData {
    name: String,
    regex: String,
    /// The match counts only when the group `key` is a secret's name.
    #[serde(default)]
    keyed: bool,
    #[cfg_attr(not(test), expect(dead_code, reason = "the examples are for the test of the data"))]
    secrets: Vec<String>,
    #[serde(default)]
    #[cfg_attr(not(test), expect(dead_code, reason = "the examples are for the test of the data"))]
    innocent: Vec<String>,
}

#[derive(Debug)]
struct Shape {
    name: String,
    regex: Regex,
    keyed: bool,
}

/// Masks secrets. A mask keeps a hint of what it hides: `[redacted:github_token]`.
#[derive(Debug)]
pub struct Redactor {
    keys: RegexSet,
    not_keys: RegexSet,
    more_keys: HashSet<String>,
    shapes: Vec<Shape>,
    /// The shapes at once: most texts match none.
    any: RegexSet,
}

/// What is left of the limits of one value.
struct Budget<'a> {
    bytes: usize,
    values: usize,
    truncated: bool,
    redacted: &'a mut Vec<String>,
}

impl Redactor {
    /// The built-in rules and those of the settings.
    pub fn new(config: &config::Redact) -> Result<Self, RedactError> {
        let broken = |error: regex::Error| RedactError::Data(error.to_string());
        let tables: Tables =
            toml::from_str(TEXT).map_err(|error| RedactError::Data(error.to_string()))?;
        if tables.keys.is_empty() || tables.shape.is_empty() {
            return Err(RedactError::Data("no keys or no shapes".into()));
        }
        let whole =
            |names: &[String]| RegexSet::new(names.iter().map(|name| format!("^(?:{name})$")));
        let mut shapes = Vec::new();
        for shape in tables.shape {
            let regex = Regex::new(&shape.regex).map_err(broken)?;
            shapes.push(Shape { name: shape.name, regex, keyed: shape.keyed });
        }
        for (at, pattern) in config.patterns.iter().enumerate() {
            let regex =
                RegexBuilder::new(pattern).size_limit(PATTERN_SIZE).build().map_err(|source| {
                    let pattern = pattern.clone();
                    RedactError::Pattern { number: at + 1, pattern, reason: Box::new(source) }
                })?;
            shapes.push(Shape { name: BY_SETTINGS.into(), regex, keyed: false });
        }
        let mut more_keys = HashSet::new();
        for (at, key) in config.keys.iter().enumerate() {
            let name = plain_name(key);
            if name.is_empty() {
                return Err(RedactError::Key { number: at + 1, key: key.clone() });
            }
            more_keys.insert(name);
        }
        let size = PATTERN_SIZE.saturating_mul(16 + config.patterns.len());
        let any = RegexSetBuilder::new(shapes.iter().map(|shape| shape.regex.as_str()))
            .size_limit(size)
            .build()
            .map_err(broken)?;
        Ok(Self {
            keys: whole(&tables.keys).map_err(broken)?,
            not_keys: whole(&tables.not_keys).map_err(broken)?,
            more_keys,
            shapes,
            any,
        })
    }

    /// Masks what looks like a secret in a text; tells whether there was one.
    #[must_use]
    pub fn text<'a>(&self, text: &'a str) -> (Cow<'a, str>, bool) {
        let matches = self.any.matches(text);
        if !matches.matched_any() {
            return (Cow::Borrowed(text), false);
        }
        let mut masked = Cow::Borrowed(text);
        for shape in matches.into_iter().filter_map(|number| self.shapes.get(number)) {
            let replaced =
                shape.regex.replace_all(&masked, |found: &Captures<'_>| self.mask(shape, found));
            if let Cow::Owned(replaced) = replaced
                && *replaced != *masked
            {
                masked = Cow::Owned(replaced);
            }
        }
        let any = matches!(masked, Cow::Owned(_));
        (masked, any)
    }

    /// What comes in place of a match: the mask, or the match itself when it is no secret after all.
    fn mask(&self, shape: &Shape, found: &Captures<'_>) -> String {
        let (Some(all), part) = (found.get(0), found.name("part")) else { return String::new() };
        let part = part.unwrap_or(all);
        let named =
            !shape.keyed || found.name("key").is_some_and(|key| self.is_secret_name(key.as_str()));
        if !named || part.as_str().starts_with(MASK) {
            return all.as_str().to_owned();
        }
        let hint = if shape.keyed { BY_NAME } else { &shape.name };
        let (start, end) = (part.start() - all.start(), part.end() - all.start());
        let before = all.as_str().get(..start).unwrap_or_default();
        let after = all.as_str().get(end..).unwrap_or_default();
        format!("{before}{MASK}{hint}]{after}")
    }

    /// Masks the secrets of an argument vector; tells whether there was one. Unlike in a text the limits
    /// of values are known: `--password 'two words'` is masked as a whole.
    #[must_use]
    pub fn argv<'a>(&self, argv: &'a [String]) -> (Vec<Cow<'a, str>>, bool) {
        let mut any = false;
        let mut option = None;
        let masked = argv
            .iter()
            .map(|argument| {
                let value_of = std::mem::replace(&mut option, option_name(argument));
                let masked = self.argument(argument, value_of);
                any |= matches!(masked, Cow::Owned(_));
                masked
            })
            .collect();
        (masked, any)
    }

    fn argument<'a>(&self, argument: &'a str, value_of: Option<&str>) -> Cow<'a, str> {
        if let Some(option) = value_of
            && !argument.starts_with('-')
            && !argument.is_empty()
        {
            if self.is_secret_name(option.trim_start_matches('-')) {
                return Cow::Owned(format!("{MASK}{BY_NAME}]"));
            }
            if USER_OPTIONS.contains(&option)
                && let Some((user, password)) = argument.split_once(':')
                && password.chars().any(|c| !c.is_ascii_digit())
            {
                // A token may be the user: `curl -u ghp_…:x-oauth-basic`.
                return Cow::Owned(format!("{}:{MASK}user_password]", self.text(user).0));
            }
        }
        if let Some((name, value)) = argument.split_once('=')
            && !value.is_empty()
            && !name.contains(char::is_whitespace)
            && self.is_secret_name(name.trim_start_matches('-'))
        {
            // What stands before it may hold another one: `https://user:password@host/?token=…`.
            return Cow::Owned(format!("{}={MASK}{BY_NAME}]", self.text(name).0));
        }
        self.text(argument).0
    }

    /// Masks the secrets of a JSON value and cuts it to the limits of the event stream; tells whether
    /// something was cut. The places that were masked are added to `redacted`, as paths that begin with
    /// `path` (`call.arguments.headers.Authorization`).
    #[must_use]
    pub fn value(&self, value: &Value, path: &str, redacted: &mut Vec<String>) -> (Value, bool) {
        let mut budget =
            Budget { bytes: TOTAL_BYTES, values: TOTAL_VALUES, truncated: false, redacted };
        let mut place = path.to_owned();
        let value = self.within(value, &mut place, false, DEPTH, &mut budget);
        (value, budget.truncated)
    }

    fn within(
        &self,
        value: &Value,
        place: &mut String,
        secret: bool,
        depth: usize,
        budget: &mut Budget<'_>,
    ) -> Value {
        let nests = matches!(value, Value::Array(_) | Value::Object(_));
        if budget.values == 0 || (nests && depth == 0) {
            budget.truncated = true;
            return Value::String(CUT_MARK.into());
        }
        budget.values -= 1;
        let length = place.len();
        match value {
            Value::String(text) => Value::String(self.string(text, place, secret, budget)),
            Value::Number(_) if secret => {
                note(place, budget);
                Value::String(format!("{MASK}{BY_NAME}]"))
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => value.clone(),
            Value::Array(items) => {
                let mut out = Vec::new();
                for (at, item) in items.iter().enumerate() {
                    if budget.values == 0 {
                        budget.truncated = true;
                        break;
                    }
                    let _ = write!(place, "[{at}]");
                    out.push(self.within(item, place, secret, depth - 1, budget));
                    place.truncate(length);
                }
                Value::Array(out)
            }
            Value::Object(fields) => {
                let mut out = Map::new();
                for (name, item) in fields {
                    if budget.values == 0 {
                        budget.truncated = true;
                        break;
                    }
                    let shown = self.name(name, budget);
                    place.push('.');
                    place.push_str(&shown);
                    let secret = secret || self.is_secret_name(name);
                    let item = self.within(item, place, secret, depth - 1, budget);
                    place.truncate(length);
                    // Two names can become one by masking or cutting.
                    budget.truncated |= out.insert(shown, item).is_some();
                }
                Value::Object(out)
            }
        }
    }

    fn string(&self, text: &str, place: &str, secret: bool, budget: &mut Budget<'_>) -> String {
        if secret && !text.is_empty() {
            note(place, budget);
            return format!("{MASK}{BY_NAME}]");
        }
        let limit = if text.len() > LONG_STRING { CUT_TO } else { LONG_STRING };
        let limit = limit.min(budget.bytes);
        let looked_at = prefix(text, limit + BEYOND_CUT);
        let (masked, any) = self.text(looked_at);
        if any {
            note(place, budget);
        }
        let kept = prefix(&masked, limit);
        budget.bytes -= kept.len();
        if looked_at.len() == text.len() && kept.len() == masked.len() {
            return masked.into_owned();
        }
        budget.truncated = true;
        format!("{kept}…[cut, {} bytes in all]", text.len())
    }

    /// A field's name as it goes out.
    fn name(&self, name: &str, budget: &mut Budget<'_>) -> String {
        // Masked before it is cut: half of a secret has not its shape.
        let masked = self.text(prefix(name, NAME_BYTES + BEYOND_CUT)).0;
        let shown = prefix(&masked, NAME_BYTES).to_owned();
        budget.truncated |= name.len() > NAME_BYTES && shown.len() < name.len();
        budget.bytes = budget.bytes.saturating_sub(shown.len());
        shown
    }

    /// Whether a value by this name is a secret.
    #[must_use]
    pub fn is_secret_name(&self, name: &str) -> bool {
        if name.is_empty() || name.len() > NAME_BYTES {
            return false;
        }
        let name = plain_name(name);
        self.more_keys.contains(&name)
            || (self.keys.is_match(&name) && !self.not_keys.is_match(&name))
    }
}

/// Lists a masked place.
fn note(place: &str, budget: &mut Budget<'_>) {
    if budget.redacted.len() < LISTED {
        budget.redacted.push(prefix(place, 2 * NAME_BYTES).to_owned());
    }
}

/// The option's name when the argument is an option whose value would be the next argument.
fn option_name(argument: &str) -> Option<&str> {
    (argument.starts_with('-') && !argument.contains('=')).then_some(argument)
}

/// A name in lower case, with every separator and change of case as one `_`.
fn plain_name(name: &str) -> String {
    let mut plain = String::with_capacity(name.len() + 4);
    let mut after_lower = false;
    for letter in name.chars() {
        if !letter.is_alphanumeric() {
            if !plain.is_empty() && !plain.ends_with('_') {
                plain.push('_');
            }
            after_lower = false;
            continue;
        }
        if letter.is_uppercase() && after_lower {
            plain.push('_');
        }
        after_lower = letter.is_lowercase() || letter.is_numeric();
        plain.extend(letter.to_lowercase());
    }
    plain.truncate(plain.trim_end_matches('_').len());
    plain
}

/// The beginning of a text, at most `limit` bytes, ending at a character.
fn prefix(text: &str, limit: usize) -> &str {
    let end = (0..=limit.min(text.len())).rev().find(|&end| text.is_char_boundary(end));
    end.and_then(|end| text.get(..end)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn redactor() -> Redactor {
        Redactor::new(&config::Redact::default()).unwrap()
    }

    fn masked(value: &Value) -> (Value, bool, Vec<String>) {
        let mut redacted = Vec::new();
        let (value, truncated) = redactor().value(value, "call.arguments", &mut redacted);
        (value, truncated, redacted)
    }

    #[test]
    fn every_example_of_the_data_is_masked_and_every_innocent_is_not() {
        let redactor = redactor();
        let tables: Tables = toml::from_str(TEXT).unwrap();
        for shape in &tables.shape {
            assert!(!shape.secrets.is_empty(), "{}", shape.name);
            for example in &shape.secrets {
                let (head, tail) = example.split_once('+').unwrap();
                let text = format!("{head}{tail}");
                let (out, any) = redactor.text(&text);
                assert!(any, "{}: {text}", shape.name);
                let hint = if shape.keyed { BY_NAME } else { &shape.name };
                assert!(out.contains(&format!("{MASK}{hint}]")), "{}: {out}", shape.name);
                assert!(!out.contains(tail.trim_end_matches(['"', '}', '\'', '@', '/'])), "{out}");
                let embedded = format!("run {text} now é");
                assert!(redactor.text(&embedded).1, "{embedded}");
            }
            for text in &shape.innocent {
                assert_eq!(redactor.text(text), (Cow::Borrowed(text.as_str()), false));
            }
        }
    }

    #[test]
    fn names_of_secrets() {
        let redactor = redactor();
        for name in [
            "password",
            "PASSWORD",
            "userPassword",
            "db.password",
            "DB_PASSWD",
            "passphrase",
            "token",
            "githubToken",
            "GITHUB_TOKEN",
            "access_token",
            "accessToken",
            "refresh-token",
            "apiKey",
            "api_key",
            "APIKEY",
            "x-api-key",
            "OPENAI_API_KEY",
            "AWS_SECRET_ACCESS_KEY",
            "clientSecret",
            "client_secret",
            "secret",
            "private_key",
            "Authorization",
            "Cookie",
            "Set-Cookie",
            "credentials",
            "session_token",
            "MYSQL_PWD",
            "connectionString",
        ] {
            assert!(redactor.is_secret_name(name), "{name}");
        }
        for name in [
            "",
            "path",
            "max_tokens",
            "maxTokens",
            "page_token",
            "nextPageToken",
            "cursor",
            "key",
            "public_key",
            "tokens",
            "tokenizer",
            "token_count",
            "pwd",
            "PWD",
            "OLDPWD",
            "bypass",
            "compass",
            "primary_key",
            "AWS_ACCESS_KEY_ID",
            "sort_key",
            "secretary",
            "keyboard",
            "author",
            "passenger",
            "monkey",
            "progressToken",
        ] {
            assert!(!redactor.is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn values_are_masked_by_name_and_by_shape_with_their_place() {
        let token = format!("ghp_{}", "0123456789abcdefghijABCDEFGHIJ012345");
        let (value, truncated, redacted) = masked(&json!({
            "path": "/srv/x",
            "password": "hunter2",
            "pin_code": 1234,
            "max_tokens": 100,
            "headers": {"Authorization": "Bearer abc", "Accept": "*/*"},
            "credentials": {"user": "a", "more": ["b", true, null]},
            "note": format!("use {token}!"),
            "empty": {"token": ""},
        }));
        assert_eq!(
            value,
            json!({
                "path": "/srv/x",
                "password": "[redacted:by_name]",
                "pin_code": "[redacted:by_name]",
                "max_tokens": 100,
                "headers": {"Authorization": "[redacted:by_name]", "Accept": "*/*"},
                "credentials": {"user": "[redacted:by_name]", "more": ["[redacted:by_name]", true, null]},
                "note": "use [redacted:github_token]!",
                "empty": {"token": ""},
            })
        );
        assert!(!truncated);
        assert_eq!(
            redacted,
            [
                "call.arguments.password",
                "call.arguments.pin_code",
                "call.arguments.headers.Authorization",
                "call.arguments.credentials.user",
                "call.arguments.credentials.more[0]",
                "call.arguments.note",
            ]
        );
    }

    #[test]
    fn a_value_without_secrets_is_unchanged() {
        let value = json!({"a": [1, 2.5, "x", {"b": null}], "c": "plain text, with = and : in it"});
        assert_eq!(masked(&value), (value, false, vec![]));
    }

    #[test]
    fn settings_add_keys_and_patterns() {
        let config = config::Redact {
            patterns: vec!["EMP-[0-9]{6}".into()],
            keys: vec!["customer-number".into()],
        };
        let redactor = Redactor::new(&config).unwrap();
        let mut redacted = Vec::new();
        let value = json!({"customerNumber": "17", "text": "for EMP-123456"});
        let (value, _) = redactor.value(&value, "a", &mut redacted);
        assert_eq!(
            value,
            json!({"customerNumber": "[redacted:by_name]", "text": "for [redacted:by_settings]"})
        );
    }

    #[test]
    fn broken_settings_are_named() {
        let config = config::Redact { patterns: vec!["ok".into(), "(".into()], keys: vec![] };
        let error = Redactor::new(&config).unwrap_err().to_string();
        assert!(error.contains("redact.patterns") && error.contains("number 2"), "{error}");
        let config = config::Redact { patterns: vec!["(a{1000}){1000}".into()], keys: vec![] };
        assert!(matches!(Redactor::new(&config), Err(RedactError::Pattern { number: 1, .. })));
        let config = config::Redact { patterns: vec![], keys: vec!["--".into()] };
        assert!(matches!(Redactor::new(&config), Err(RedactError::Key { number: 1, .. })));
    }

    #[test]
    fn argument_vectors() {
        let redactor = redactor();
        let table: &[(&[&str], &[&str])] = &[
            (&["x", "--password", "two words"], &["x", "--password", "[redacted:by_name]"]),
            (&["x", "--password=two words"], &["x", "--password=[redacted:by_name]"]),
            (&["x", "--token", "--verbose"], &["x", "--token", "--verbose"]),
            (&["x", "-api-key", "abc"], &["x", "-api-key", "[redacted:by_name]"]),
            (&["env", "FOO_TOKEN=x", "y"], &["env", "FOO_TOKEN=[redacted:by_name]", "y"]),
            (&["curl", "-u", "a:b/c"], &["curl", "-u", "a:[redacted:user_password]"]),
            (
                &["curl", "-u", "ghp_0123456789abcdefghijABCDEFGHIJ012345:x-oauth-basic"],
                &["curl", "-u", "[redacted:github_token]:[redacted:user_password]"],
            ),
            (
                &["https://u:pass-word@h/?access_token=abcdef"],
                &["https://u:[redacted:url_password]@h/?access_token=[redacted:by_name]"],
            ),
            (&["docker", "-u", "1000:1000"], &["docker", "-u", "1000:1000"]),
            (
                &["sh", "-c", "x --token abcdef; y"],
                &["sh", "-c", "x --token [redacted:by_name]; y"],
            ),
            (&["x", "--token"], &["x", "--token"]),
            (&["x", "--token", ""], &["x", "--token", ""]),
            (&["git", "log", "--format=%H"], &["git", "log", "--format=%H"]),
        ];
        for (argv, expected) in table {
            let argv: Vec<String> = argv.iter().map(|argument| (*argument).to_owned()).collect();
            let (masked, any) = redactor.argv(&argv);
            assert_eq!(masked, *expected);
            assert_eq!(any, argv != *expected);
        }
    }

    #[test]
    fn long_passwords_in_urls_are_masked() {
        let redactor = redactor();
        let (user, password) = ("u".repeat(300), "p".repeat(2_000));
        let text = format!("https://{user}:{password}@h/");
        let (masked, any) = redactor.text(&text);
        assert_eq!(masked, format!("https://{user}:[redacted:url_password]@h/"));
        assert!(any);
    }

    #[test]
    fn long_strings_are_cut_and_a_secret_across_the_cut_is_masked() {
        let token = format!("ghp_{}", "0123456789abcdefghijABCDEFGHIJ012345");
        for start in CUT_TO - token.len()..=CUT_TO {
            let text = format!("{} {token} {}", "x".repeat(start - 1), "y".repeat(LONG_STRING));
            let (value, truncated, _) = masked(&Value::String(text));
            let out = value.as_str().unwrap();
            assert!(truncated && out.len() < CUT_TO + 100);
            assert!(!out.contains("ghp_"), "{start}");
        }
        let (value, truncated, _) = masked(&json!("é".repeat(LONG_STRING)));
        assert!(truncated && value.as_str().unwrap().contains("131072 bytes"));
        let (value, truncated, _) = masked(&json!("x".repeat(LONG_STRING)));
        assert!(!truncated && value.as_str().unwrap().len() == LONG_STRING);
    }

    #[test]
    fn hostile_values_are_bounded() {
        let mut deep = json!(1);
        for _ in 0..100 {
            deep = json!([deep]);
        }
        let wide = json!(vec![0; 1_000_000]);
        let many = json!(vec!["x".repeat(LONG_STRING); 100]);
        let secrets = json!(vec![json!({"password": "x"}); 1000]);
        let names: Map<String, Value> =
            (0..1000).map(|n| (format!("{}{n}", "é".repeat(10_000)), json!(n))).collect();
        for value in [deep, wide, many, secrets, Value::Object(names)] {
            let (out, _, redacted) = masked(&value);
            assert!(out.to_string().len() < 2 * TOTAL_BYTES);
            assert!(redacted.len() <= LISTED);
        }
    }

    #[test]
    fn a_text_without_secrets_is_not_copied() {
        let redactor = redactor();
        for text in
            ["", "/usr/lib/node_modules/x/index.js", "git commit -m 'a=b'", "\u{0}\u{202e}é"]
        {
            assert!(matches!(redactor.text(text), (Cow::Borrowed(_), false)), "{text}");
        }
    }

    #[test]
    fn masking_twice_changes_nothing() {
        let redactor = redactor();
        let text = "A_TOKEN=abcdef https://u:pass@h/ Authorization: Bearer 0123456789";
        let once = redactor.text(text).0.into_owned();
        assert_eq!(redactor.text(&once), (Cow::Borrowed(once.as_str()), false));
    }

    #[test]
    #[ignore = "prints a figure"]
    fn figure_for_texts() {
        let redactor = redactor();
        let text =
            "/usr/bin/node /srv/project/node_modules/.bin/mcp-server-filesystem --root /srv/files";
        let start = std::time::Instant::now();
        for _ in 0..100_000 {
            assert!(!redactor.text(std::hint::black_box(text)).1);
        }
        println!("{:?} a text", start.elapsed() / 100_000);
    }
}
