//! Bytes → JSON-RPC messages. Framing is a detector that can be extended: lines today.
//!
//! Everything here is fed by a watched process and therefore hostile: sizes and depths are limited,
//! nothing panics, and what is given up is told with a [`Fault`].

pub mod fault;
pub mod jsonrpc;
pub mod lines;
pub mod salvage;

use std::borrow::Cow;

pub use fault::{Class, Fault, PROBLEMS};

/// Deepest nesting of arrays and objects in a message. The parser behind [`serde_json::Value`] gives
/// up at 128; one less here means that no part of an accepted message can run into that.
pub const MAX_DEPTH: usize = 127;
/// Longest JSON-RPC id, in bytes of its JSON text. Real ids are counters and UUIDs.
pub const MAX_ID_BYTES: usize = 1024;
/// Longest name (method, tool, party) that is kept, in characters; the rest is cut off.
pub const MAX_NAME_CHARS: usize = 256;
/// Longest error message that is kept, in characters.
pub const MAX_ERROR_CHARS: usize = 256;
/// How much of a channel's text a problem quotes, in characters.
const EXCERPT_CHARS: usize = 80;

/// Longest line that is kept whole, whatever the settings say: what the kernel programs can capture of one read or
/// write at most.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

/// What one channel may cost. All sizes in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest line kept whole. Of a longer one only the ends stay: enough for its id, its method, its
    /// tool and the first of its arguments, at a fraction of the memory.
    pub message_bytes: usize,
    /// What stays of each end of a longer line.
    pub clip_bytes: usize,
    /// Longest `params` of a request that a call keeps whole; of longer ones it keeps what
    /// `clip_bytes` hold.
    pub argument_bytes: usize,
    /// Most calls in flight, both directions together.
    pub in_flight: usize,
    /// Most memory for the arguments of the calls in flight; a call beyond it keeps a short text only.
    pub in_flight_bytes: usize,
    /// Most tools in the catalogue.
    pub tools: usize,
    /// Most memory for the definitions in the catalogue.
    pub catalogue_bytes: usize,
    /// How long a cancelled call may still be answered, in nanoseconds.
    pub cancel_grace: u64,
    /// How long a call is taken for a cause of what the server does after bytes were lost that may have
    /// been its answer, in nanoseconds. Without a loss there is no such limit.
    pub loss_grace: u64,
}

impl Limits {
    /// What a channel of a server may hold.
    pub const DEFAULT: Self = Self {
        message_bytes: 1 << 20,
        clip_bytes: 64 << 10,
        argument_bytes: 256 << 10,
        in_flight: 4096,
        in_flight_bytes: 16 << 20,
        tools: 4096,
        catalogue_bytes: 4 << 20,
        cancel_grace: 30_000_000_000,
        loss_grace: 600_000_000_000,
    };

    /// What a channel may hold of which `payload_limit` bytes of one read or write are captured: a line that long is
    /// kept whole, where that is more than usual.
    #[must_use]
    pub fn capturing(payload_limit: u32) -> Self {
        let captured = usize::try_from(payload_limit).unwrap_or(MAX_MESSAGE_BYTES);
        let message_bytes = captured.clamp(Self::DEFAULT.message_bytes, MAX_MESSAGE_BYTES);
        Self { message_bytes, ..Self::DEFAULT }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// A line as text, without a byte order mark; `true` when bytes that are no UTF-8 were replaced.
#[must_use]
pub fn text(bytes: &[u8]) -> (Cow<'_, str>, bool) {
    // RFC 8259 section 8.1: a parser may ignore the mark; some runtimes write one on their first line.
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = String::from_utf8_lossy(bytes);
    // Lossy conversion borrows exactly when the bytes are valid.
    let replaced = matches!(text, Cow::Owned(_));
    (text, replaced)
}

/// The beginning of a text for a sentence: short, in quotes, nothing in it that a terminal would act
/// on (control, bidirectional and invisible characters are escaped).
#[must_use]
pub fn excerpt(text: &str) -> String {
    let mut quoted = String::from("\"");
    let mut rest = text.chars();
    for character in rest.by_ref().take(EXCERPT_CHARS) {
        quoted.extend(character.escape_debug());
    }
    quoted.push('"');
    if rest.next().is_some() {
        quoted.push('…');
    }
    quoted
}

/// At most `characters` of a text.
#[must_use]
pub fn shorten(text: &str, characters: usize) -> &str {
    text.char_indices().nth(characters).and_then(|(end, _)| text.get(..end)).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_excerpt_shows_no_terminal_sequences_and_no_direction_tricks() {
        assert_eq!(excerpt("a\x1b[2Jb"), r#""a\u{1b}[2Jb""#);
        assert_eq!(excerpt("x\u{202e}y\u{200b}"), r#""x\u{202e}y\u{200b}""#);
        assert_eq!(excerpt(&"é".repeat(81)), format!("\"{}\"…", "é".repeat(80)));
    }

    #[test]
    fn text_is_freed_of_its_mark_and_of_invalid_bytes() {
        assert_eq!(text(b"\xef\xbb\xbf{}"), (Cow::Borrowed("{}"), false));
        assert_eq!(text(b"a\xffb"), (Cow::Owned("a\u{fffd}b".into()), true));
    }

    #[test]
    fn shortening_counts_characters() {
        assert_eq!(shorten("äöü", 2), "äö");
        assert_eq!(shorten("äöü", 3), "äöü");
        assert_eq!(shorten("", 3), "");
    }
}
