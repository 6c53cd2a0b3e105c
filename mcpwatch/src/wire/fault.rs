//! What can be wrong with the bytes of a channel: one table for the code, the event stream and its
//! documentation.

use serde::{Serialize, Serializer};

/// What a fault counts as: each class has a metric of its own (`docs/metrics.md`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// The bytes are no valid message.
    ParseError,
    /// A valid message that the protocol does not allow there.
    Violation,
    /// Neither: something that was missed, someone else who wrote, or what the other end could not read.
    Notice,
}

macro_rules! faults {
    ($($variant:ident => $word:literal, $class:ident, $meaning:literal;)*) => {
        /// What is wrong with bytes, a message, or its place in the conversation.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Fault { $(#[doc = $meaning] $variant,)* }

        impl Fault {
            /// Every fault, in the order of the documentation.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The word in the event stream.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self { $(Self::$variant => $word,)* }
            }

            /// What it counts as.
            #[must_use]
            pub const fn class(self) -> Class {
                match self { $(Self::$variant => Class::$class,)* }
            }
        }

        /// Each word of `mcp.problem` in the event stream with its meaning.
        pub const PROBLEMS: &[(&str, &str)] = &[$(($word, $meaning),)*];
    };
}

faults! {
    NotJson => "not_json", ParseError, "A line is no JSON; nothing but messages may stand on the channel.";
    InvalidUtf8 => "invalid_utf8", ParseError, "A line holds bytes that are no UTF-8; they were replaced before it was read.";
    NotJsonrpc => "not_jsonrpc", ParseError, "JSON, but no JSON-RPC 2.0 message.";
    DuplicateKey => "duplicate_key", ParseError, "A key that decides what the message means stands in it twice; the last one was taken, as most parsers do.";
    TooDeep => "too_deep", ParseError, "Arrays and objects are nested deeper than 127; the message was not read.";
    InvalidId => "invalid_id", ParseError, "The id is no string and no integer, or is longer than 1024 bytes.";
    InvalidError => "invalid_error", ParseError, "An error response whose error has no integer code.";
    ResultAndError => "result_and_error", ParseError, "A response with both a result and an error; it was taken for an error.";
    ErrorWithoutId => "error_without_id", Notice, "An error that answers no request: the other side could not read a message.";
    BatchNotAllowed => "batch_not_allowed", Violation, "An array of messages; only the revision 2025-03-26 allows them. They were read all the same.";
    DuplicateId => "duplicate_id", Violation, "A request with the id of one that is still in flight; the next response is taken for the newest.";
    UnknownResponse => "unknown_response", Violation, "A response to an id nobody asked with.";
    SecondResponse => "second_response", Violation, "Another response to a request that was answered before.";
    UnknownMethod => "unknown_method", Violation, "A method that no revision of the protocol has.";
    WrongDirection => "wrong_direction", Violation, "A method that only the other side may use.";
    NotInRevision => "not_in_revision", Violation, "A method that this side may not use in the revision in use.";
    SecondInitialize => "second_initialize", Violation, "`initialize` on a channel that has a session already.";
    BeforeInitialize => "before_initialize", Violation, "A request other than ping before the session was opened.";
    UnknownCancel => "unknown_cancel", Violation, "A cancellation of a request that was never made.";
    Clipped => "clipped", Notice, "A message was too long or not captured whole, and what is left does not tell what it was.";
    Hole => "hole", Notice, "Bytes of the channel were not captured; reading goes on at the next line.";
    Unterminated => "unterminated", ParseError, "The channel ended in the middle of a line.";
    JoinedMidStream => "joined_mid_stream", Notice, "The channel was in use before it was watched; what came before is unknown.";
    Injected => "injected", Notice, "A process that is not at the other end wrote to the server's stdin or stdout: what looks like a request, or like an answer, may be its own. After a write to stdin no effect counts as requested any more.";
    TableFull => "table_full", Notice, "More calls in flight than are kept; the oldest was given up.";
}

impl Serialize for Fault {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.word())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_unique_and_plain_and_each_has_a_sentence() {
        assert_eq!(Fault::ALL.len(), PROBLEMS.len());
        for (fault, (word, meaning)) in Fault::ALL.iter().zip(PROBLEMS) {
            assert_eq!(fault.word(), *word);
            assert!(
                word.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b'8'),
                "{word}"
            );
            assert!(meaning.ends_with('.'), "{word}: {meaning}");
            assert_eq!(PROBLEMS.iter().filter(|(other, _)| other == word).count(), 1, "{word}");
        }
    }
}
