//! Text of one line → JSON-RPC 2.0 messages. Parameters and results stay text (they may be megabytes);
//! whoever wants something of them takes just that with [`pick`].

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{Fault, MAX_DEPTH, MAX_ERROR_CHARS, MAX_ID_BYTES, MAX_NAME_CHARS, excerpt, shorten};

/// One message.
#[derive(Clone, Debug)]
pub struct Message<'a> {
    /// What it is.
    pub kind: Kind<'a>,
    /// What is wrong with it, though it could be read.
    pub faults: Vec<Complaint>,
}

/// What a message is.
#[derive(Clone, Debug)]
pub enum Kind<'a> {
    /// A request: wants a response.
    Request {
        /// A string or an integer.
        id: Value,
        /// Its method, at most [`MAX_NAME_CHARS`] long.
        method: String,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// A notification.
    Notification {
        /// Its method, at most [`MAX_NAME_CHARS`] long.
        method: String,
        /// Its parameters.
        params: Option<&'a RawValue>,
    },
    /// A response.
    Response {
        /// The id of the request. An error may lack it (section 5 of the JSON-RPC specification).
        id: Option<Value>,
        /// What it says.
        outcome: Outcome<'a>,
    },
}

/// What a response says.
#[derive(Clone, Debug)]
pub enum Outcome<'a> {
    /// It worked.
    Result(&'a RawValue),
    /// It did not.
    Error {
        /// The error's code.
        code: Option<i64>,
        /// Its message, at most [`MAX_ERROR_CHARS`] long.
        message: String,
    },
}

/// A fault with a sentence on it, fit to be shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Complaint {
    /// What is wrong.
    pub fault: Fault,
    /// The sentence.
    pub detail: String,
}

impl Complaint {
    fn new(fault: Fault, detail: impl Into<String>) -> Self {
        Self { fault, detail: detail.into() }
    }
}

/// What a line holds.
#[derive(Clone, Debug)]
pub enum Line<'a> {
    /// One message, as text.
    One(&'a str),
    /// A batch: texts of its elements. Never empty.
    Batch(Vec<&'a RawValue>),
}

/// Looks at a line as a whole: JSON at all, not too deep, one message or several.
pub fn line(text: &str) -> Result<Line<'_>, Complaint> {
    if too_deep(text) {
        return Err(Complaint::new(
            Fault::TooDeep,
            format!("arrays and objects are nested deeper than {MAX_DEPTH}"),
        ));
    }
    let not_json = |error: serde_json::Error| {
        Complaint::new(Fault::NotJson, format!("{} is not JSON: {error}", excerpt(text)))
    };
    if text.trim_start().starts_with('[') {
        let elements: Vec<&RawValue> = serde_json::from_str(text).map_err(not_json)?;
        if elements.is_empty() {
            return Err(Complaint::new(Fault::NotJsonrpc, "an empty array"));
        }
        return Ok(Line::Batch(elements));
    }
    // Read once as a whole here, so that later stages fail for one reason only.
    serde_json::from_str::<&RawValue>(text).map_err(not_json)?;
    Ok(Line::One(text))
}

/// Reads one message. `text` is valid JSON of an allowed depth, see [`line()`].
pub fn message(text: &str) -> Result<Message<'_>, Complaint> {
    let not_jsonrpc =
        |why: &str| Complaint::new(Fault::NotJsonrpc, format!("{} {why}", excerpt(text)));
    let picked = pick(text, ["jsonrpc", "id", "method", "params", "result", "error"])
        .ok_or_else(|| not_jsonrpc("is no object"))?;
    let mut faults = Vec::new();
    if let Some(key) = picked.duplicate {
        faults.push(Complaint::new(Fault::DuplicateKey, format!("`{key}` stands in it twice")));
    }
    let [version, id, method, params, result, error] = picked.values;

    if version.and_then(string).as_deref() != Some("2.0") {
        let detail = version.map_or_else(
            || "`jsonrpc` is missing".to_owned(),
            |version| format!("`jsonrpc` is {}, not \"2.0\"", excerpt(version.get())),
        );
        faults.push(Complaint::new(Fault::NotJsonrpc, detail));
    }

    if let Some(method) = method {
        let method = string(method).ok_or_else(|| not_jsonrpc("has a method that is no string"))?;
        let method = shorten(&method, MAX_NAME_CHARS).to_owned();
        if result.is_some() || error.is_some() {
            let detail = "a method beside a result or an error; it was taken for a request";
            faults.push(Complaint::new(Fault::NotJsonrpc, detail));
        }
        let kind = match id {
            Some(id) => Kind::Request { id: self::id(id)?, method, params },
            None => Kind::Notification { method, params },
        };
        return Ok(Message { kind, faults });
    }

    if result.is_some() && error.is_some() {
        let detail = "both a result and an error; it was taken for an error";
        faults.push(Complaint::new(Fault::ResultAndError, detail));
    }
    let id = match id {
        Some(id) if error.is_some() && id.get() == "null" => None,
        Some(id) => Some(self::id(id)?),
        None => None,
    };
    let outcome = match (error, result) {
        (Some(error), _) => {
            let (outcome, complaint) = self::error(error);
            faults.extend(complaint);
            outcome
        }
        (None, Some(_)) if id.is_none() => return Err(not_jsonrpc("has a result but no id")),
        (None, Some(result)) => Outcome::Result(result),
        (None, None) => return Err(not_jsonrpc("has neither method nor result nor error")),
    };
    Ok(Message { kind: Kind::Response { id, outcome }, faults })
}

/// An id: a string or an integer, never null (specification, Base Protocol).
fn id(raw: &RawValue) -> Result<Value, Complaint> {
    let text = raw.get();
    if text.len() > MAX_ID_BYTES {
        return Err(Complaint::new(Fault::InvalidId, format!("an id of {} bytes", text.len())));
    }
    match serde_json::from_str(text) {
        Ok(id @ Value::String(_)) => Ok(id),
        Ok(Value::Number(number)) if number.is_i64() || number.is_u64() => Ok(number.into()),
        _ => Err(Complaint::new(Fault::InvalidId, format!("the id is {}", excerpt(text)))),
    }
}

fn error<'a>(raw: &RawValue) -> (Outcome<'a>, Option<Complaint>) {
    let [code, message] =
        pick(raw.get(), ["code", "message"]).map_or([None, None], |picked| picked.values);
    let code: Option<i64> = code.and_then(|code| serde_json::from_str(code.get()).ok());
    let message = message.and_then(string).unwrap_or_default();
    let message = shorten(&message, MAX_ERROR_CHARS).to_owned();
    let complaint = code.is_none().then(|| {
        Complaint::new(Fault::InvalidError, format!("the error is {}", excerpt(raw.get())))
    });
    (Outcome::Error { code, message }, complaint)
}

/// The text of a JSON string; `None` when it is something else.
#[must_use]
pub fn string(raw: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(raw.get()).ok().map(|text| text.0)
}

/// Whether brackets are nested deeper than [`MAX_DEPTH`], ignoring those in strings.
///
/// `RawValue` is skipped over without recursion and so without a limit of its own.
fn too_deep(text: &str) -> bool {
    let (mut depth, mut in_string, mut escaped) = (0_usize, false, false);
    for byte in text.bytes() {
        if in_string {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => in_string = false,
                _ => {}
            }
            continue;
        }
        match byte {
            b'"' => in_string = true,
            b'[' | b'{' => {
                depth += 1;
                if depth > MAX_DEPTH {
                    return true;
                }
            }
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    false
}

/// Some members of an object.
#[derive(Clone, Copy, Debug)]
pub struct Picked<'a, const N: usize> {
    /// The values, in the order of the keys asked for; of a key that stands twice, the last.
    pub values: [Option<&'a RawValue>; N],
    /// A key asked for that stands in the object twice.
    pub duplicate: Option<&'static str>,
}

/// Takes some members of an object, without looking into them. `None` when the text is no object.
#[must_use]
pub fn pick<'a, const N: usize>(text: &'a str, keys: [&'static str; N]) -> Option<Picked<'a, N>> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let picked = deserializer.deserialize_map(Picker { keys }).ok()?;
    deserializer.end().ok()?;
    Some(picked)
}

struct Picker<const N: usize> {
    keys: [&'static str; N],
}

impl<'de, const N: usize> Visitor<'de> for Picker<N> {
    type Value = Picked<'de, N>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut picked = Picked { values: [None; N], duplicate: None };
        while let Some(Text(key)) = map.next_key()? {
            let wanted = self.keys.iter().zip(&mut picked.values).find(|(name, _)| **name == key);
            if let Some((name, value)) = wanted {
                if value.replace(map.next_value()?).is_some() {
                    picked.duplicate = Some(name);
                }
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(picked)
    }
}

/// A string, borrowed from the text where it has no escapes.
struct Text<'a>(Cow<'a, str>);

impl<'de> Deserialize<'de> for Text<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextVisitor;
        impl<'de> Visitor<'de> for TextVisitor {
            type Value = Text<'de>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("a string")
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Borrowed(text)))
            }

            fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
                Ok(Text(Cow::Owned(text.to_owned())))
            }
        }
        deserializer.deserialize_str(TextVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> &'static str {
        match line(text) {
            Err(complaint) => complaint.fault.word(),
            Ok(Line::Batch(_)) => "batch",
            Ok(Line::One(text)) => match message(text) {
                Err(complaint) => complaint.fault.word(),
                Ok(message) => message.faults.first().map_or("", |c| c.fault.word()),
            },
        }
    }

    #[test]
    fn each_shape_is_told_apart() {
        let text = r#"{"jsonrpc":"2.0","id":"a","method":"tools/call","params":{"name":"x"}}"#;
        let Kind::Request { id, method, params } = message(text).unwrap().kind else { panic!() };
        assert_eq!((id, method.as_str()), (Value::from("a"), "tools/call"));
        assert_eq!(params.unwrap().get(), r#"{"name":"x"}"#);

        let text = r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#;
        assert!(matches!(message(text).unwrap().kind, Kind::Notification { params: None, .. }));

        // The order of the official TypeScript SDK.
        let text = r#"{"result":{},"jsonrpc":"2.0","id":-7}"#;
        let Kind::Response { id, outcome } = message(text).unwrap().kind else { panic!() };
        assert_eq!(id, Some(Value::from(-7)));
        assert!(matches!(outcome, Outcome::Result(raw) if raw.get() == "{}"));

        let text = r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no\nsuch"}}"#;
        let Kind::Response { outcome, .. } = message(text).unwrap().kind else { panic!() };
        let Outcome::Error { code, message } = outcome else { panic!() };
        assert_eq!((code, message.as_str()), (Some(-32601), "no\nsuch"));
    }

    #[test]
    fn every_fault_has_its_word() {
        let deep = format!(
            r#"{{"jsonrpc":"2.0","id":1,"result":{}{}}}"#,
            "[".repeat(127),
            "]".repeat(127)
        );
        let long = format!(r#"{{"jsonrpc":"2.0","id":"{}","method":"ping"}}"#, "x".repeat(1023));
        let table: &[(&str, &str)] = &[
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#, ""),
            (r#" {"jsonrpc" : "2.0", "id": 18446744073709551615, "method":"ping"} "#, ""),
            (r#"{"jsonrpc":"2.0","id":1,"result":{"a":"[[["}}"#, ""),
            (r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":""}}"#, ""),
            ("Server running on stdio", "not_json"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"", "not_json"),
            ("{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"ping\"}}", "not_json"),
            ("{\"jsonrpc\":\"2.0\"}\0", "not_json"),
            ("[1", "not_json"),
            ("[]", "not_jsonrpc"),
            ("[1]", "batch"),
            ("1", "not_jsonrpc"),
            ("\"text\"", "not_jsonrpc"),
            ("{}", "not_jsonrpc"),
            (r#"{"id":1,"method":"ping"}"#, "not_jsonrpc"),
            (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, "not_jsonrpc"),
            (r#"{"jsonrpc":2.0,"id":1,"method":"ping"}"#, "not_jsonrpc"),
            (r#"{"jsonrpc":"2.0","id":1}"#, "not_jsonrpc"),
            (r#"{"jsonrpc":"2.0","result":1}"#, "not_jsonrpc"),
            (r#"{"jsonrpc":"2.0","id":1,"method":7}"#, "not_jsonrpc"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","result":{}}"#, "not_jsonrpc"),
            (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, "invalid_id"),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"ping"}"#, "invalid_id"),
            (r#"{"jsonrpc":"2.0","id":true,"method":"ping"}"#, "invalid_id"),
            (r#"{"jsonrpc":"2.0","id":{},"method":"ping"}"#, "invalid_id"),
            (r#"{"jsonrpc":"2.0","id":18446744073709551616,"method":"ping"}"#, "invalid_id"),
            (r#"{"jsonrpc":"2.0","id":null,"result":{}}"#, "invalid_id"),
            (&long, "invalid_id"),
            (r#"{"jsonrpc":"2.0","id":1,"id":2,"method":"ping"}"#, "duplicate_key"),
            (r#"{"jsonrpc":"2.0","id":1,"method":"ping","\u006dethod":"x"}"#, "duplicate_key"),
            (
                r#"{"jsonrpc":"2.0","id":1,"result":{},"error":{"code":1,"message":""}}"#,
                "result_and_error",
            ),
            (r#"{"jsonrpc":"2.0","id":1,"error":{"code":"1","message":""}}"#, "invalid_error"),
            (r#"{"jsonrpc":"2.0","id":1,"error":"broken"}"#, "invalid_error"),
            (&deep, "too_deep"),
        ];
        for (text, expected) in table {
            assert_eq!(fault(text), *expected, "{text}");
        }
    }

    #[test]
    fn an_accepted_depth_can_be_read_as_a_value() {
        let deepest = format!("{}{}", "[".repeat(MAX_DEPTH), "]".repeat(MAX_DEPTH));
        assert!(!too_deep(&deepest));
        assert!(serde_json::from_str::<Value>(&deepest).is_ok());
        assert!(too_deep(&format!("[{deepest}]")));
    }

    #[test]
    fn names_are_kept_short() {
        let text = format!(r#"{{"jsonrpc":"2.0","method":"{}"}}"#, "m".repeat(5000));
        let Kind::Notification { method, .. } = message(&text).unwrap().kind else { panic!() };
        assert_eq!(method.len(), MAX_NAME_CHARS);
    }
}
