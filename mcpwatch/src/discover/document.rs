//! JSON with comments, TOML and YAML → one tree that knows where each value stands. The files belong
//! to users and are hostile: size, depth and number of values are limited before memory is spent.

use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use toml::de::{DeTable, DeValue};

use super::locations::Format;

/// Largest file that is parsed, in bytes.
pub(crate) const MAX_BYTES: usize = 4 << 20;
/// Deepest nesting. Real files need about ten.
const MAX_DEPTH: usize = 64;
/// Most values in one file; bounds the memory of a parse to some tens of MiB.
const MAX_VALUES: usize = 200_000;

/// Up to here a column counts characters. Further right on one long line that would take quadratic
/// time for all values of a file: bytes are near enough.
const EXACT_COLUMNS: usize = 4096;

/// Where something stands, counted from 1; columns are characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(crate) struct Position {
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// What is wrong with a file as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    pub(crate) position: Position,
    pub(crate) message: String,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) position: Position,
    pub(crate) value: Value,
}

/// A value. Scalars other than text are kept as their text: that is all a command line needs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    Null,
    Scalar(String),
    Text(String),
    List(Vec<Node>),
    /// In the order of the file, a key that stands twice included: what a client takes of two is
    /// not known, so both count.
    Map(Vec<(String, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    /// The value of `key`; of several the last, as most clients take it.
    pub(crate) fn get(&self, key: &str) -> Option<&Self> {
        let entries = self.entries()?;
        entries.iter().rev().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    pub(crate) fn entries(&self) -> Option<&[(String, Self)]> {
        match &self.value {
            Value::Map(entries) => Some(entries),
            _ => None,
        }
    }

    /// The text of a string, number or boolean.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) | Value::Scalar(text) => Some(text),
            _ => None,
        }
    }

    pub(crate) const fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// What it is, for messages.
    pub(crate) const fn kind(&self) -> &'static str {
        match self.value {
            Value::Null => "null",
            Value::Scalar(_) => "a number or boolean",
            Value::Text(_) => "a string",
            Value::List(_) => "a list",
            Value::Map(_) => "a map",
        }
    }
}

/// Parses `bytes`. An empty file is null.
pub(crate) fn parse(bytes: &[u8], format: Format) -> Result<Node, Fault> {
    let start = Position { line: 1, column: 1 };
    if bytes.len() > MAX_BYTES {
        let message =
            format!("expected at most {MAX_BYTES} bytes, the file has {} or more", bytes.len());
        return Err(Fault { position: start, message });
    }
    let text = std::str::from_utf8(bytes).map_err(|error| {
        let valid = bytes.get(..error.valid_up_to()).unwrap_or_default();
        Fault {
            position: Lines::new(&String::from_utf8_lossy(valid)).end(),
            message: "expected UTF-8 text".into(),
        }
    })?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    match format {
        Format::Json => json(text),
        Format::Toml => toml(text),
        Format::Yaml => yaml(text),
    }
}

/// Byte offsets → positions.
pub(crate) struct Lines<'a> {
    text: &'a str,
    starts: Vec<usize>,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(text: &'a str) -> Self {
        let starts = std::iter::once(0)
            .chain(
                text.bytes().enumerate().filter(|&(_, byte)| byte == b'\n').map(|(at, _)| at + 1),
            )
            .collect();
        Self { text, starts }
    }

    pub(crate) fn position(&self, offset: usize) -> Position {
        let line = self.starts.partition_point(|&start| start <= offset);
        let start = self.starts.get(line.saturating_sub(1)).copied().unwrap_or_default();
        let column = match self.text.get(start..offset.min(self.text.len())) {
            Some(before) if before.len() <= EXACT_COLUMNS => before.chars().count(),
            _ => offset.saturating_sub(start),
        };
        Position { line: line.max(1), column: column + 1 }
    }

    fn end(&self) -> Position {
        self.position(self.text.len())
    }
}

fn json(text: &str) -> Result<Node, Fault> {
    use jsonc_parser::{CollectOptions, ParseOptions};
    // Comments and trailing commas are taken everywhere: a file its own client refuses does no harm
    // as evidence, one that we alone refuse would.
    let options = ParseOptions {
        allow_loose_object_property_names: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_extended_string_escapes: false,
        ..ParseOptions::default()
    };
    let lines = Lines::new(text);
    json_limits(text, &lines)?;
    let parsed = jsonc_parser::parse_to_ast(text, &CollectOptions::default(), &options).map_err(
        |error| Fault {
            position: lines.position(error.range().start),
            message: expectation(&error.kind().to_string()),
        },
    )?;
    Ok(parsed.value.map_or_else(null, |value| json_node(value, &lines)))
}

fn json_node(value: jsonc_parser::ast::Value<'_>, lines: &Lines<'_>) -> Node {
    use jsonc_parser::ast::Value as Ast;
    use jsonc_parser::common::Ranged;
    let position = lines.position(value.range().start);
    let value = match value {
        Ast::NullKeyword(_) => Value::Null,
        Ast::BooleanLit(literal) => Value::Scalar(literal.value.to_string()),
        Ast::NumberLit(literal) => Value::Scalar(literal.value.to_owned()),
        Ast::StringLit(literal) => Value::Text(literal.value.into_owned()),
        Ast::Array(array) => {
            Value::List(array.elements.into_iter().map(|value| json_node(value, lines)).collect())
        }
        Ast::Object(object) => Value::Map(
            object
                .properties
                .into_iter()
                .map(|property| (property.name.into_string(), json_node(property.value, lines)))
                .collect(),
        ),
    };
    Node { position, value }
}

/// The parser builds its whole tree before it can be asked to stop (and its own depth limit of 512 is
/// more than a small stack bears), so depth and number of values are counted beforehand.
fn json_limits(text: &str, lines: &Lines<'_>) -> Result<(), Fault> {
    let (mut depth, mut values) = (0_usize, 0_usize);
    let mut bytes = text.bytes().enumerate().peekable();
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => {
                while let Some((_, byte)) = bytes.next() {
                    match byte {
                        b'\\' => drop(bytes.next()),
                        b'"' => break,
                        _ => {}
                    }
                }
            }
            b'/' if bytes.peek().is_some_and(|&(_, next)| next == b'/') => {
                bytes.by_ref().find(|&(_, byte)| matches!(byte, b'\n' | b'\r'));
            }
            b'/' if bytes.peek().is_some_and(|&(_, next)| next == b'*') => {
                let mut last = 0;
                let _ = bytes.next();
                bytes.by_ref().find(|&(_, byte)| {
                    let ends = last == b'*' && byte == b'/';
                    last = byte;
                    ends
                });
            }
            b'{' | b'[' => {
                depth += 1;
                values += 1;
            }
            b'}' | b']' => depth = depth.saturating_sub(1),
            b',' => values += 1,
            _ => {}
        }
        if depth > MAX_DEPTH {
            return Err(too_deep(lines.position(at)));
        }
        if values > MAX_VALUES {
            return Err(too_many(lines.position(at)));
        }
    }
    Ok(())
}

fn toml(text: &str) -> Result<Node, Fault> {
    let lines = Lines::new(text);
    // The crate limits the depth, not the number of values; each takes a comma or a line.
    if let Some((at, _)) =
        text.bytes().enumerate().filter(|(_, byte)| matches!(byte, b',' | b'\n')).nth(MAX_VALUES)
    {
        return Err(too_many(lines.position(at)));
    }
    let table = DeTable::parse(text).map_err(|error| Fault {
        position: lines.position(error.span().map_or(0, |span| span.start)),
        message: error.message().replace('\n', ", "),
    })?;
    let position = Position { line: 1, column: 1 };
    Ok(Node { position, value: toml_table(table.get_ref(), &lines) })
}

fn toml_table(table: &DeTable<'_>, lines: &Lines<'_>) -> Value {
    Value::Map(
        table
            .iter()
            .map(|(key, value)| {
                let position = lines.position(value.span().start);
                let node = Node { position, value: toml_value(value.get_ref(), lines) };
                (key.get_ref().to_string(), node)
            })
            .collect(),
    )
}

fn toml_value(value: &DeValue<'_>, lines: &Lines<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => Value::Scalar(number.as_str().to_owned()),
        DeValue::Float(number) => Value::Scalar(number.as_str().to_owned()),
        DeValue::Boolean(value) => Value::Scalar(value.to_string()),
        DeValue::Datetime(time) => Value::Scalar(time.to_string()),
        DeValue::Table(table) => toml_table(table, lines),
        DeValue::Array(array) => Value::List(
            array
                .iter()
                .map(|value| Node {
                    position: lines.position(value.span().start),
                    value: toml_value(value.get_ref(), lines),
                })
                .collect(),
        ),
    }
}

fn yaml(text: &str) -> Result<Node, Fault> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_depth: MAX_DEPTH,
            max_nodes: MAX_VALUES,
            max_events: MAX_VALUES * 2,
            max_documents: 1,
            max_aliases: 1_000,
            max_anchors: 1_000,
            max_total_scalar_bytes: MAX_BYTES * 2,
            max_recorded_anchor_events: MAX_VALUES,
            max_recorded_anchor_bytes: MAX_BYTES * 2,
        },
        // YAML 1.2, as the clients have it: `y` and `on` are words.
        strict_booleans: true,
        // Aliases of aliases grow without bound ("billion laughs") unless what they replay is limited.
        alias_limits: serde_saphyr::alias_limits! {
            max_total_replayed_events: MAX_VALUES,
        },
    };
    let parsed: Result<serde_saphyr::Spanned<Raw>, _> =
        serde_saphyr::from_str_with_options(text, options);
    match parsed {
        Ok(spanned) => Ok(yaml_node(spanned)),
        // A file of comments alone holds no document.
        Err(_)
            if text
                .lines()
                .all(|line| matches!(line.trim_start().chars().next(), None | Some('#'))) =>
        {
            Ok(null())
        }
        Err(error) => {
            let position = error.location().map_or(Position { line: 1, column: 1 }, at);
            let message = error.without_snippet().to_string();
            Err(Fault { position, message: message.lines().next().unwrap_or_default().to_owned() })
        }
    }
}

fn at(location: serde_saphyr::Location) -> Position {
    let number = |value: u64| usize::try_from(value).unwrap_or(usize::MAX).max(1);
    Position { line: number(location.line()), column: number(location.column()) }
}

fn yaml_node(spanned: serde_saphyr::Spanned<Raw>) -> Node {
    Node { position: at(spanned.referenced), value: spanned.value.0 }
}

/// What YAML's deserialiser fills; the position comes from the wrapper around it.
struct Raw(Value);

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RawVisitor).map(Self)
    }
}

struct RawVisitor;

impl<'de> Visitor<'de> for RawVisitor {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Ok(Value::Scalar(value.to_string()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::Text(value.to_owned()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::Text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(element) = access.next_element::<serde_saphyr::Spanned<Raw>>()? {
            list.push(yaml_node(element));
        }
        Ok(Value::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Value, A::Error> {
        let mut entries = Vec::new();
        while let Some(key) = access.next_key::<Raw>()? {
            let value = access.next_value::<serde_saphyr::Spanned<Raw>>()?;
            // Keys that are no scalars name no server.
            if let Value::Text(key) | Value::Scalar(key) = key.0 {
                entries.push((key, yaml_node(value)));
            }
        }
        Ok(Value::Map(entries))
    }
}

const fn null() -> Node {
    Node { position: Position { line: 1, column: 1 }, value: Value::Null }
}

/// The parser says "Unterminated object", "Expected comma": as a sentence that goes on after a colon.
fn expectation(message: &str) -> String {
    let mut characters = message.chars();
    characters
        .next()
        .map(|first| first.to_lowercase().chain(characters).collect())
        .unwrap_or_default()
}

fn too_deep(position: Position) -> Fault {
    Fault { position, message: format!("expected at most {MAX_DEPTH} levels of nesting") }
}

fn too_many(position: Position) -> Fault {
    Fault { position, message: format!("expected at most {MAX_VALUES} values") }
}
