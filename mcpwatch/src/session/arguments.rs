//! What a request was given, as much of it as a call keeps.

use serde_json::Value;
use serde_json::value::RawValue;

use crate::wire::Limits;
use crate::wire::salvage::salvage_object;

/// The arguments of a request.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Given {
    /// As a value: whole, or with `clipped` what its ends tell.
    pub(super) value: Option<Value>,
    /// Text of their ends, when they were too long to be kept whole.
    pub(super) clipped: Option<String>,
}

/// `params.arguments` of the methods that have it, `params` without `_meta` of the others.
pub(super) fn read(
    method: &str,
    params: Option<&RawValue>,
    arguments: Option<&RawValue>,
    limits: &Limits,
) -> Given {
    let has_arguments = matches!(method, "tools/call" | "prompts/get");
    let Some(raw) = (if has_arguments { arguments } else { params }) else {
        return Given::default();
    };
    let (mut value, clipped) = if raw.get().len() <= limits.argument_bytes {
        (serde_json::from_str(raw.get()).ok(), None)
    } else {
        let (head, tail) = ends(raw.get(), limits.clip_bytes);
        (salvage_object(head, tail), Some(clip(head, tail, limits.clip_bytes)))
    };
    if !has_arguments && let Some(members) = value.as_mut().and_then(Value::as_object_mut) {
        members.shift_remove("_meta");
        if members.is_empty() && clipped.is_none() {
            value = None;
        }
    }
    Given { value, clipped }
}

/// The ends of a message as one text of at most about `most` bytes, for whoever looks for a path or a
/// host in it.
pub(super) fn clip(head: &str, tail: &str, most: usize) -> String {
    let (head, _) = ends(head, most / 16 * 15);
    let (_, tail) = ends(tail, most / 16);
    format!("{head}\n…\n{tail}")
}

/// The first and the last `most` bytes of a text; no character is cut in two.
fn ends(text: &str, most: usize) -> (&str, &str) {
    let head = text.floor_char_boundary(most);
    let tail = text.ceil_char_boundary(text.len().saturating_sub(most));
    (text.get(..head).unwrap_or_default(), text.get(tail..).unwrap_or_default())
}
