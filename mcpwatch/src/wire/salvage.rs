//! What can still be told of a message of which only the ends were kept.
//!
//! The head is read forwards and completed where it was cut; the tail is read backwards, which is as
//! exact as forwards: outside a string every quote met on the way back closes a string, and inside a
//! JSON string every quote is escaped. Where `id` stands depends on the writer: the official
//! TypeScript SDK writes `{"result":…,"jsonrpc":"2.0","id":3}`, the Python one
//! `{"jsonrpc":"2.0","id":3,"result":…}`; both ends are needed.

use serde_json::{Map, Value};

use super::MAX_DEPTH;

/// What is left of a message.
#[derive(Clone, Debug, PartialEq)]
pub enum Salvaged {
    /// The two ends of one message: an object of every member that is known, the one that was cut as
    /// far as it goes.
    Message(Map<String, Value>),
    /// The end of one message and the beginning of another, because both have the same member.
    Two {
        /// What is known of the first.
        first: Map<String, Value>,
        /// What is known of the last.
        last: Map<String, Value>,
    },
}

/// Puts together what the ends of a message tell. `None` when neither tells anything.
#[must_use]
pub fn salvage(head: &str, tail: &str) -> Option<Salvaged> {
    // Half of a method, an id or a tool's name would be a wrong one. What is worth keeping (arguments,
    // text of results) lies deeper.
    let Head { members: mut first, open } = read_head(head, 3).unwrap_or_default();
    let Tail { members, inner } = read_tail(tail);
    if first.is_empty() && members.is_empty() && inner.is_empty() {
        return None;
    }
    let clash =
        members.iter().any(|(key, _)| first.contains_key(key) && open.as_ref() != Some(key));
    if clash {
        let mut last = Map::new();
        add_missing(&mut last, members);
        guess_result(&mut last, inner);
        return Some(Salvaged::Two { first, last });
    }
    match open.as_ref().and_then(|key| first.get_mut(key)).and_then(Value::as_object_mut) {
        Some(cut) => add_missing(cut, inner),
        None if open.is_none() => guess_result(&mut first, inner),
        None => {}
    }
    add_missing(&mut first, members);
    Some(Salvaged::Message(first))
}

/// Puts together what the ends of one object tell. `None` when they tell nothing.
#[must_use]
pub fn salvage_object(head: &str, tail: &str) -> Option<Value> {
    let Head { mut members, open } = read_head(head, 1).unwrap_or_default();
    let tail = read_tail(tail);
    if let Some(cut) = open.and_then(|key| members.get_mut(&key)).and_then(Value::as_object_mut) {
        add_missing(cut, tail.inner);
    }
    add_missing(&mut members, tail.members);
    (!members.is_empty()).then_some(Value::Object(members))
}

/// Members of `result` are known without their owner when the cut is before its key.
fn guess_result(message: &mut Map<String, Value>, inner: Vec<(String, Value)>) {
    const OF_RESULTS: &[&str] = &["isError", "content", "structuredContent", "resultType"];
    if inner.iter().any(|(key, _)| OF_RESULTS.contains(&key.as_str())) {
        message.entry("result").or_insert_with(|| Value::Object(inner.into_iter().collect()));
    }
}

fn add_missing(object: &mut Map<String, Value>, members: Vec<(String, Value)>) {
    for (key, value) in members {
        object.entry(key).or_insert(value);
    }
}

#[derive(Default)]
struct Head {
    members: Map<String, Value>,
    /// The top-level member that was cut.
    open: Option<String>,
}

/// Reads the beginning of an object: whole members, and of the last one what there is. A string that
/// was cut is kept when it stands at least `deep` levels down.
fn read_head(text: &str, deep: usize) -> Option<Head> {
    let (completed, cut_within) = complete(text, deep);
    let Value::Object(members) = serde_json::from_str(&completed).ok()? else { return None };
    // `preserve_order`: the last key is the one that was written last.
    let open = if cut_within { members.keys().next_back().cloned() } else { None };
    Some(Head { members, open })
}

/// An array or object that is open where the scanner stands.
struct Open {
    closer: char,
    /// The text up to here, with closers, is whole: the end of its last member.
    whole: usize,
    /// The next string is a value, not a key.
    value_next: bool,
}

/// The beginning of a JSON text → the longest of it that a few closers make whole. `true` when the
/// cut was within a member of the outermost object.
fn complete(text: &str, deep: usize) -> (String, bool) {
    let bytes = text.as_bytes();
    let mut stack: Vec<Open> = Vec::new();
    let mut position = 0;
    // Where the text ends, when in a string value: what there is of it is worth keeping.
    let mut open_string = None;
    while let Some(byte) = bytes.get(position) {
        match byte {
            b'"' => {
                let (end, safe) = string_end(bytes, position);
                let Some(end) = end else {
                    if stack.len() >= deep && stack.last().is_some_and(|open| open.value_next) {
                        open_string = Some(safe);
                    }
                    break;
                };
                position = end;
                value_ends(&mut stack, end);
                continue;
            }
            b'{' | b'[' => {
                if stack.len() >= MAX_DEPTH {
                    break;
                }
                let object = *byte == b'{';
                stack.push(Open {
                    closer: if object { '}' } else { ']' },
                    whole: position + 1,
                    value_next: !object,
                });
            }
            b'}' | b']' => {
                stack.pop();
                value_ends(&mut stack, position + 1);
                if stack.is_empty() {
                    position += 1;
                    break;
                }
            }
            b':' => {
                if let Some(open) = stack.last_mut() {
                    open.value_next = true;
                }
            }
            b',' => {
                if let Some(open) = stack.last_mut() {
                    open.value_next = open.closer == ']';
                }
            }
            b' ' | b'\t' | b'\r' | b'\n' => {}
            _ => {
                // A number or a word; it counts only when something follows it, for it may be cut.
                while bytes.get(position).is_some_and(|byte| !b",]} \t\r\n\":".contains(byte)) {
                    position += 1;
                }
                if position < bytes.len() {
                    value_ends(&mut stack, position);
                }
                continue;
            }
        }
        position += 1;
    }
    let whole = stack.last().map_or(position.min(bytes.len()), |open| open.whole);
    let end = open_string.unwrap_or(whole);
    let mut completed = text.get(..end).unwrap_or_default().to_owned();
    if open_string.is_some() {
        completed.push('"');
    }
    completed.extend(stack.iter().rev().map(|open| open.closer));
    (completed, stack.len() > 1)
}

/// A value (or a key) of the innermost container ends at `end`.
fn value_ends(stack: &mut [Open], end: usize) {
    if let Some(open) = stack.last_mut()
        && open.value_next
    {
        open.whole = end;
        open.value_next = false;
    }
}

/// The end of the string that begins at `start`, and up to where its contents can be kept when it has
/// none: no escape sequence and no surrogate pair may be cut in two.
fn string_end(bytes: &[u8], start: usize) -> (Option<usize>, usize) {
    let mut position = start + 1;
    let mut safe = position;
    while let Some(byte) = bytes.get(position) {
        match byte {
            b'"' => return (Some(position + 1), safe),
            b'\\' if bytes.get(position + 1) == Some(&b'u') => {
                let digits = bytes.get(position + 2..position + 6);
                let high = digits.is_some_and(|digits| {
                    matches!(digits, [b'd' | b'D', b'8' | b'9' | b'a' | b'b' | b'A' | b'B', ..])
                });
                position += 6;
                // The second half of a pair makes the first one safe.
                if digits.is_some() && !high {
                    safe = position;
                }
            }
            b'\\' => {
                position += 2;
                if position <= bytes.len() {
                    safe = position;
                }
            }
            _ => {
                position += 1;
                safe = position;
            }
        }
    }
    (None, safe)
}

#[derive(Default)]
struct Tail {
    /// Whole members of the outermost object, the last first.
    members: Vec<(String, Value)>,
    /// Whole members of the object one level below in which the cut is, the last first.
    inner: Vec<(String, Value)>,
}

/// Reads the end of an object backwards.
fn read_tail(text: &str) -> Tail {
    let mut tail = Tail::default();
    let bytes = text.as_bytes();
    let mut position = text.trim_end().len();
    let mut depth = 0_usize;
    // Where the value that is being read ends, of the outermost object and of the one below it.
    let mut ends = [0_usize; 2];
    while let Some(before) = position.checked_sub(1) {
        match bytes.get(before) {
            Some(b'"') => {
                let Some(start) = string_start(bytes, before) else { break };
                position = start;
                continue;
            }
            Some(b'}' | b']') => {
                // The message must end with the end of its object.
                if depth == 0 && before + 1 != text.trim_end().len() {
                    break;
                }
                depth += 1;
                if let Some(end) = ends.get_mut(depth - 1) {
                    *end = before;
                }
            }
            Some(b'{' | b'[') => {
                depth = depth.saturating_sub(1);
                match depth {
                    0 => break,
                    // Its owner's key comes next: it is whole and will be read as one.
                    1 => tail.inner.clear(),
                    _ => {}
                }
            }
            Some(b',') => {
                if let Some(end) = depth.checked_sub(1).and_then(|level| ends.get_mut(level)) {
                    *end = before;
                }
            }
            Some(b':') => {
                if let Some(end) = depth.checked_sub(1).and_then(|level| ends.get(level))
                    && let Some(member) = member(text, before, *end)
                {
                    let list = if depth == 1 { &mut tail.members } else { &mut tail.inner };
                    list.push(member);
                }
            }
            _ if depth == 0 => break,
            _ => {}
        }
        position = before;
    }
    tail
}

/// The member whose colon and end are known.
fn member(text: &str, colon: usize, end: usize) -> Option<(String, Value)> {
    let before = text.get(..colon)?.trim_end();
    let quote = before.len().checked_sub(1)?;
    let start = string_start(before.as_bytes(), quote)?;
    let key = serde_json::from_str(before.get(start..)?).ok()?;
    let value = serde_json::from_str(text.get(colon + 1..end)?).ok()?;
    Some((key, value))
}

/// The start of the string that ends with the quote at `end`.
fn string_start(bytes: &[u8], end: usize) -> Option<usize> {
    let mut position = end;
    loop {
        position = bytes.get(..position)?.iter().rposition(|byte| *byte == b'"')?;
        let escapes =
            bytes.get(..position)?.iter().rev().take_while(|byte| **byte == b'\\').count();
        if escapes % 2 == 0 {
            return Some(position);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Both SDKs' orders, as a request and as results; the tail must decide nothing that the head says.
    const MESSAGES: &[&str] = &[
        r#"{"method":"tools/call","params":{"name":"write_file","arguments":{"path":"/tmp/é \"x\"","content":"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\\\""}},"jsonrpc":"2.0","id":7}"#,
        r#"{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"arguments":{"n":[1,2,{"a":null}],"m":-1.5e3},"name":"n"}}"#,
        r#"{"result":{"content":[{"type":"text","text":"\ud83d\ude00 \u00e9\\\" {[}]"}],"isError":true},"jsonrpc":"2.0","id":3}"#,
        r#"{"jsonrpc": "2.0", "id": 3, "result": {"content": [], "structuredContent": {"a": [{}]}, "isError": false}}"#,
        r#"{"jsonrpc":"2.0","id":9,"error":{"code":-32603,"message":"no","data":{"stack":"a\nb"}}}"#,
    ];

    fn message(head: &str, tail: &str) -> Value {
        match salvage(head, tail) {
            Some(Salvaged::Message(members)) => Value::Object(members),
            other => panic!("{other:?}"),
        }
    }

    /// `part` holds nothing that `whole` does not hold.
    fn within(part: &Value, whole: &Value) -> bool {
        match (part, whole) {
            (Value::Object(part), Value::Object(whole)) => part
                .iter()
                .all(|(key, value)| whole.get(key).is_some_and(|whole| within(value, whole))),
            (Value::Array(part), Value::Array(whole)) => {
                part.len() <= whole.len() && part.iter().zip(whole).all(|(p, w)| within(p, w))
            }
            (Value::String(part), Value::String(whole)) => whole.starts_with(part.as_str()),
            _ => part == whole,
        }
    }

    fn boundaries(text: &str) -> impl Iterator<Item = usize> {
        (0..=text.len()).filter(|at| text.is_char_boundary(*at))
    }

    #[test]
    fn a_head_cut_anywhere_tells_nothing_wrong() {
        for text in MESSAGES {
            let whole: Value = serde_json::from_str(text).unwrap();
            for cut in boundaries(text) {
                let head = &text[..cut];
                if let Some(Salvaged::Message(members)) = salvage(head, "") {
                    let part = Value::Object(members);
                    assert!(within(&part, &whole), "{head}\n{part}");
                    // Of what decides, no half.
                    for key in ["id", "method", "jsonrpc"] {
                        assert!(part.get(key).is_none_or(|value| *value == whole[key]), "{head}");
                    }
                }
            }
            assert_eq!(message(text, ""), whole);
        }
    }

    #[test]
    fn a_tail_cut_anywhere_tells_nothing_wrong() {
        for text in MESSAGES {
            let whole: Value = serde_json::from_str(text).unwrap();
            for cut in boundaries(text) {
                let Some(Salvaged::Message(members)) = salvage("", &text[cut..]) else { continue };
                let part = Value::Object(members);
                for (key, value) in part.as_object().unwrap() {
                    if key == "result" {
                        let result = whole[key].as_object().unwrap();
                        assert!(value.as_object().unwrap().iter().all(|(k, v)| result[k] == *v));
                    } else {
                        assert_eq!(*value, whole[key], "{}", &text[cut..]);
                    }
                }
            }
            assert_eq!(message("", text), whole);
        }
    }

    #[test]
    fn the_middle_may_lack_anywhere() {
        for text in MESSAGES {
            let whole: Value = serde_json::from_str(text).unwrap();
            for from in boundaries(text) {
                for to in boundaries(text).filter(|to| *to >= from) {
                    match salvage(&text[..from], &text[to..]) {
                        Some(Salvaged::Message(members)) => {
                            let part = Value::Object(members);
                            for key in ["id", "method"] {
                                let known = part.get(key);
                                assert!(known.is_none_or(|value| *value == whole[key]), "{part}");
                            }
                        }
                        Some(Salvaged::Two { .. }) => panic!("{} … {}", &text[..from], &text[to..]),
                        None => {}
                    }
                }
            }
        }
    }

    #[test]
    fn both_ends_are_joined() {
        let text = MESSAGES[0];
        let salvaged = message(&text[..120], &text[text.len() - 30..]);
        let content = "a".repeat(120 - text.find("aaa").unwrap());
        assert_eq!(
            salvaged,
            json!({"method": "tools/call", "params": {"name": "write_file",
                "arguments": {"path": "/tmp/é \"x\"", "content": content}}, "jsonrpc": "2.0", "id": 7})
        );
        let salvaged = message(
            r#"{"result":{"content":[{"type":"text","te"#,
            r#""}],"isError":true},"jsonrpc":"2.0","id":3}"#,
        );
        assert_eq!(salvaged["result"], json!({"content": [{"type": "text"}], "isError": true}));
        assert_eq!(salvaged["id"], json!(3));
    }

    #[test]
    fn the_ends_of_two_messages_are_not_taken_for_one() {
        let Some(Salvaged::Two { first, last }) = salvage(
            r#"{"jsonrpc":"2.0","id":1,"result":{"x"#,
            r#"y","isError":true},"jsonrpc":"2.0","id":2}"#,
        ) else {
            panic!()
        };
        assert_eq!(first["id"], json!(1));
        assert_eq!(
            Value::Object(last),
            json!({"id": 2, "jsonrpc": "2.0", "result": {"isError": true}})
        );
    }

    #[test]
    fn of_an_object_both_ends_are_kept() {
        let part = salvage_object(r#"{"path":"/a","n":12,"content":"abc"#, r#"xyz","mode":"w"}"#);
        assert_eq!(part, Some(json!({"path": "/a", "n": 12, "content": "abc", "mode": "w"})));
        assert_eq!(salvage_object("[1,2", "3]"), None);
    }

    #[test]
    fn garbage_tells_nothing() {
        for text in
            ["", "noise", "{", "}", "[[[[", "]]]", "\"", "\\\"\\", "{\"", ":}", ",,}", "{{}}"]
        {
            assert_eq!(salvage(text, text), None, "{text}");
        }
        let deep = "[".repeat(100_000);
        assert_eq!(salvage(&deep, &deep), None);
        let deep = format!("{}{}", r#"{"a":"#.repeat(500), "}".repeat(500));
        assert!(salvage(&deep[..2000], "").is_some());
        let _ = salvage("", &deep[2000..]);
    }
}
