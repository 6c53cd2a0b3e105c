//! The tools a server offers, as it described them last: what `tools/list` said, over all its pages.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;
use serde_json::value::RawValue;

use super::Annotations;
use crate::wire::{Limits, MAX_NAME_CHARS, jsonrpc, shorten};

/// Definitions of tools by name, each as canonical JSON: no white space, keys sorted by code point,
/// so that two definitions that mean the same are the same text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    tools: BTreeMap<String, String>,
    /// Those of the tools that have any.
    annotations: BTreeMap<String, Annotations>,
    bytes: usize,
    left_out: u64,
    complete: bool,
    stale: bool,
}

impl Catalogue {
    /// Names and definitions, sorted by name.
    pub fn tools(&self) -> impl Iterator<Item = (&str, &str)> {
        self.tools.iter().map(|(name, definition)| (name.as_str(), definition.as_str()))
    }

    /// The definition of a tool.
    #[must_use]
    pub fn definition(&self, name: &str) -> Option<&str> {
        self.tools.get(name).map(String::as_str)
    }

    /// What the server says of a tool; nothing of one it has not listed.
    #[must_use]
    pub fn annotations(&self, name: &str) -> Annotations {
        self.annotations.get(name).copied().unwrap_or_default()
    }

    /// How many tools it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.tools.len()
    }

    /// It holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tools.is_empty()
    }

    /// Definitions that were not kept: beyond the limits, without a name, or not captured whole.
    #[must_use]
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// The last page has come.
    #[must_use]
    pub fn complete(&self) -> bool {
        self.complete
    }

    /// The server said since that its tools have changed.
    #[must_use]
    pub fn stale(&self) -> bool {
        self.stale
    }

    /// The server said that its tools have changed.
    pub(super) fn mark_stale(&mut self) {
        self.stale = true;
    }

    /// A page: the result of a `tools/list`. `first` when it was asked for without a cursor: then it
    /// replaces everything. `clipped` when the result was not captured whole. Returns whether it was
    /// the last page.
    pub(super) fn page(
        &mut self,
        result: &str,
        first: bool,
        clipped: bool,
        limits: &Limits,
    ) -> bool {
        if first {
            *self = Self::default();
        }
        let [tools, next] = jsonrpc::pick(result, ["tools", "nextCursor"])
            .map_or([None, None], |picked| picked.values);
        let mut tools: Vec<&RawValue> =
            tools.and_then(|tools| serde_json::from_str(tools.get()).ok()).unwrap_or_default();
        if clipped {
            // The last one may be a part of itself.
            tools.pop();
            self.left_out += 1;
        }
        for tool in tools {
            if self.add(tool, limits).is_none() {
                self.left_out += 1;
            }
        }
        self.complete = next.is_none_or(|next| next.get() == "null");
        self.complete
    }

    fn add(&mut self, tool: &RawValue, limits: &Limits) -> Option<()> {
        let [name] = jsonrpc::pick(tool.get(), ["name"])?.values;
        let name = jsonrpc::string(name?)?;
        let name = shorten(&name, MAX_NAME_CHARS);
        let value: Value = serde_json::from_str(tool.get()).ok()?;
        let definition = canonical(&value);
        let replaced = self.tools.get(name).map(|old| name.len() + old.len());
        let bytes = self.bytes - replaced.unwrap_or(0) + name.len() + definition.len();
        if bytes > limits.catalogue_bytes
            || (replaced.is_none() && self.tools.len() >= limits.tools)
        {
            return None;
        }
        self.bytes = bytes;
        match annotations(&value) {
            said if said == Annotations::default() => self.annotations.remove(name),
            said => self.annotations.insert(name.to_owned(), said),
        };
        self.tools.insert(name.to_owned(), definition);
        Some(())
    }
}

/// The hints of a definition. What is no truth value says nothing.
fn annotations(definition: &Value) -> Annotations {
    let hint = |name: &str| definition.get("annotations")?.get(name)?.as_bool();
    Annotations {
        read_only: hint("readOnlyHint"),
        destructive: hint("destructiveHint"),
        open_world: hint("openWorldHint"),
    }
}

/// Canonical JSON of a value. Numbers stay as they were parsed.
fn canonical(value: &Value) -> String {
    let mut text = String::new();
    write_canonical(value, &mut text);
    text
}

fn write_canonical(value: &Value, out: &mut String) {
    match value {
        Value::Array(values) => {
            out.push('[');
            for (index, value) in values.iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_canonical(value, out);
            }
            out.push(']');
        }
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_unstable_by_key(|(key, _)| key.as_str());
            out.push('{');
            for (index, (key, value)) in members.into_iter().enumerate() {
                if index > 0 {
                    out.push(',');
                }
                write_scalar(&Value::from(key.as_str()), out);
                out.push(':');
                write_canonical(value, out);
            }
            out.push('}');
        }
        scalar => write_scalar(scalar, out),
    }
}

fn write_scalar(value: &Value, out: &mut String) {
    // Writing to a `String` cannot fail.
    let _ = write!(out, "{value}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn definitions_are_canonical() {
        let mut catalogue = Catalogue::default();
        let page = r#"{"tools": [{"name": "b", "inputSchema": {"type": "object", "a": [1, {"z": 1, "é": "\n"}]}}]}"#;
        assert!(catalogue.page(page, true, false, &Limits::default()));
        assert_eq!(
            catalogue.definition("b"),
            Some(r#"{"inputSchema":{"a":[1,{"z":1,"é":"\n"}],"type":"object"},"name":"b"}"#)
        );
    }

    #[test]
    fn pages_add_up_and_a_first_page_replaces() {
        let limits = Limits::default();
        let mut catalogue = Catalogue::default();
        assert!(!catalogue.page(
            r#"{"tools":[{"name":"a"}],"nextCursor":"2"}"#,
            true,
            false,
            &limits
        ));
        assert!(!catalogue.complete());
        assert!(catalogue.page(r#"{"tools":[{"name":"b"}]}"#, false, false, &limits));
        assert_eq!(catalogue.tools().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
        catalogue.mark_stale();
        assert!(catalogue.page(
            r#"{"tools":[{"name":"c"}],"nextCursor":null}"#,
            true,
            false,
            &limits
        ));
        assert_eq!(catalogue.tools().map(|(name, _)| name).collect::<Vec<_>>(), ["c"]);
        assert!(!catalogue.stale());
    }

    #[test]
    fn hints_are_those_of_the_last_definition() {
        let limits = Limits::default();
        let mut catalogue = Catalogue::default();
        let page = r#"{"tools":[
            {"name":"a","annotations":{"readOnlyHint":true,"openWorldHint":false,"title":"A"}},
            {"name":"b","annotations":{"readOnlyHint":"yes","destructiveHint":false}},
            {"name":"c"}]}"#;
        assert!(catalogue.page(page, true, false, &limits));
        let a = catalogue.annotations("a");
        assert_eq!((a.read_only, a.destructive, a.open_world), (Some(true), None, Some(false)));
        let b = catalogue.annotations("b");
        assert_eq!((b.read_only, b.destructive, b.open_world), (None, Some(false), None));
        for name in ["c", "d"] {
            assert_eq!(catalogue.annotations(name), Annotations::default(), "{name}");
        }
        assert!(catalogue.page(r#"{"tools":[{"name":"a"}]}"#, false, false, &limits));
        assert_eq!(catalogue.annotations("a"), Annotations::default());
        assert!(catalogue.page(r#"{"tools":[]}"#, true, false, &limits));
        assert_eq!(catalogue.annotations("b"), Annotations::default());
    }

    #[test]
    fn what_goes_beyond_the_limits_is_counted() {
        let limits = Limits { tools: 2, catalogue_bytes: 40, ..Limits::default() };
        let mut catalogue = Catalogue::default();
        let page = r#"{"tools":[{"name":"a"},{"name":"a"},{"name":"long","x":"0123456789012345678901234567890"},{"x":1},{"name":"b"},{"name":"c"},7]}"#;
        assert!(catalogue.page(page, true, false, &limits));
        assert_eq!(catalogue.tools().map(|(name, _)| name).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(catalogue.left_out(), 4);
        assert!(catalogue.page(r#"{"tools":[{"name":"a"},{"name":"b"}]}"#, true, true, &limits));
        assert_eq!((catalogue.len(), catalogue.left_out()), (1, 1));
    }
}
