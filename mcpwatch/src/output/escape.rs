//! Untrusted text made safe for a terminal: what would act, reorder or hide is shown as an escape.
//!
//! A file name with ANSI sequences once hid an open of `/etc/shadow` in a tracer's console
//! (CVE-2026-25996). Every string of a watched process goes through here on its way to a person.

use std::fmt::{self, Display, Formatter, Write};

use unicode_general_category::{GeneralCategory, get_general_category};

/// Which part gives way when a text is too long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The end: for sentences.
    End,
    /// The middle: for paths, whose last component says most and must not be pushed out of sight.
    Middle,
}

/// A text to be displayed in at most `limit` characters (escapes counted as one) and an ellipsis.
///
/// Backslashes stay as they are, so the form is safe but not reversible: the JSON stream has the
/// exact text.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'a> {
    text: &'a str,
    limit: usize,
    cut: Cut,
    unsafe_character: fn(char) -> bool,
}

impl<'a> Escaped<'a> {
    /// A text on one line, cut at its end.
    #[must_use]
    pub fn new(text: &'a str, limit: usize) -> Self {
        Self { text, limit, cut: Cut::End, unsafe_character: is_unsafe }
    }

    /// A path, cut in its middle.
    #[must_use]
    pub fn path(text: &'a str, limit: usize) -> Self {
        Self { cut: Cut::Middle, ..Self::new(text, limit) }
    }

    /// A word of an argument vector: in single quotes when it would not read as one word.
    #[must_use]
    pub fn word(text: &'a str, limit: usize) -> impl Display + use<'a> {
        let plain = !text.is_empty()
            && text
                .chars()
                .take(limit)
                .all(|c| !c.is_whitespace() && !"'\"\\$`;|&<>()*?#~!".contains(c));
        let quote = if plain { "" } else { "'" };
        let escaped = Self {
            unsafe_character: if plain { is_unsafe } else { |c| c == '\'' || is_unsafe(c) },
            ..Self::new(text, limit)
        };
        fmt::from_fn(move |f| write!(f, "{quote}{escaped}{quote}"))
    }

    fn put(&self, text: &str, f: &mut Formatter<'_>) -> fmt::Result {
        let mut rest = text;
        while let Some(at) = rest.find(self.unsafe_character) {
            let (safe, from) = rest.split_at(at);
            f.write_str(safe)?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                put_escape(character, f)?;
            }
            rest = characters.as_str();
        }
        f.write_str(rest)
    }
}

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (head, tail) = split(self.text, self.limit, self.cut);
        self.put(head, f)?;
        if let Some(tail) = tail {
            f.write_char('…')?;
            self.put(tail, f)?;
        }
        Ok(())
    }
}

/// What is shown of a text: all of it, or a head and a tail with something left out between them.
/// The work is bounded by `limit`, whatever the length of the text.
fn split(text: &str, limit: usize, cut: Cut) -> (&str, Option<&str>) {
    // A byte is at most one character: a text that is short in bytes is short.
    if text.len() <= limit || text.char_indices().nth(limit).is_none() {
        return (text, None);
    }
    let tail_length = match cut {
        Cut::End => 0,
        Cut::Middle => limit / 2,
    };
    let head_end = text.char_indices().nth(limit - tail_length).map_or(0, |(at, _)| at);
    let tail_start = match tail_length.checked_sub(1) {
        Some(last) => text.char_indices().rev().nth(last).map_or(text.len(), |(at, _)| at),
        None => text.len(),
    };
    let head = text.get(..head_end).unwrap_or_default();
    let tail = text.get(tail_start..).unwrap_or_default();
    (head, Some(tail))
}

/// Writes the visible form of a character that must not reach a terminal as it is.
pub(super) fn put_escape(character: char, out: &mut impl Write) -> fmt::Result {
    match character {
        '\n' => out.write_str("\\n"),
        '\r' => out.write_str("\\r"),
        '\t' => out.write_str("\\t"),
        '\'' => out.write_str("\\'"),
        c if c.is_ascii() => write!(out, "\\x{:02x}", u32::from(c)),
        c => write!(out, "\\u{{{:x}}}", u32::from(c)),
    }
}

/// The character acts on a terminal, reorders or hides text, or looks like something it is not.
#[must_use]
pub fn is_unsafe(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    is_invisible(character)
        || matches!(
            get_general_category(character),
            // Unassigned ones may become anything in a newer terminal; private ones are drawn as anything
            // by the font. Spaces other than U+0020 imitate it.
            GeneralCategory::Control
                | GeneralCategory::Format
                | GeneralCategory::PrivateUse
                | GeneralCategory::Surrogate
                | GeneralCategory::Unassigned
                | GeneralCategory::LineSeparator
                | GeneralCategory::ParagraphSeparator
                | GeneralCategory::SpaceSeparator
        )
}

/// Characters that are drawn as nothing although their category says letter, mark or symbol: the
/// rest of `Default_Ignorable_Code_Point` (Unicode `DerivedCoreProperties.txt`), and the empty
/// braille cell.
fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{34f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> String {
        Escaped::new(text, 100).to_string()
    }

    #[test]
    fn what_a_terminal_would_act_on_becomes_visible() {
        for (text, expected) in [
            ("plain text, ünïcödé, 日本語 🦀", "plain text, ünïcödé, 日本語 🦀"),
            // The console of a peer was cleared and rewritten by a file name like this one.
            ("\x1b[2K\x1b[1Getc/shadow", "\\x1b[2K\\x1b[1Getc/shadow"),
            ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
            ("a\rb\nc\td\0e\x08f\x7fg", "a\\rb\\nc\\td\\x00e\\x08f\\x7fg"),
            ("\u{9b}31m", "\\u{9b}31m"),
            ("invoice\u{202e}fdp.exe", "invoice\\u{202e}fdp.exe"),
            ("\u{2066}x\u{2069}\u{200f}", "\\u{2066}x\\u{2069}\\u{200f}"),
            ("zero\u{200b}width\u{feff}", "zero\\u{200b}width\\u{feff}"),
            ("tag\u{e0041}", "tag\\u{e0041}"),
            ("variation\u{fe0f}\u{e0100}", "variation\\u{fe0f}\\u{e0100}"),
            ("line\u{2028}paragraph\u{2029}", "line\\u{2028}paragraph\\u{2029}"),
            ("private\u{e000}unassigned\u{378}", "private\\u{e000}unassigned\\u{378}"),
            ("hangul\u{3164}braille\u{2800}", "hangul\\u{3164}braille\\u{2800}"),
            ("no\u{a0}break", "no\\u{a0}break"),
        ] {
            assert_eq!(shown(text), expected);
        }
    }

    #[test]
    fn no_character_at_all_gets_through_as_a_control() {
        for character in '\0'..=char::MAX {
            let text = shown(&character.to_string());
            assert!(!text.chars().any(char::is_control), "{:x}", u32::from(character));
            if is_unsafe(character) {
                assert!(text.is_ascii(), "{:x}", u32::from(character));
            }
        }
    }

    #[test]
    fn long_text_is_cut_at_its_end_and_long_paths_in_their_middle() {
        assert_eq!(Escaped::new("abcdef", 6).to_string(), "abcdef");
        assert_eq!(Escaped::new("abcdefg", 6).to_string(), "abcdef…");
        assert_eq!(Escaped::new("äöüäöüä", 6).to_string(), "äöüäöü…");
        assert_eq!(Escaped::path("/aaaaaaaaaaaa/id_rsa", 14).to_string(), "/aaaaaa…/id_rsa");
        assert_eq!(Escaped::path("ab", 0).to_string(), "…");
        assert_eq!(Escaped::path("äöü", 1).to_string(), "ä…");
        let padded = format!("{}etc/shadow", "./".repeat(100_000));
        assert!(Escaped::path(&padded, 40).to_string().ends_with("etc/shadow"));
    }

    #[test]
    fn words_are_quoted_when_they_would_not_read_as_one() {
        assert_eq!(Escaped::word("plain", 20).to_string(), "plain");
        assert_eq!(Escaped::word("two words", 20).to_string(), "'two words'");
        assert_eq!(Escaped::word("", 20).to_string(), "''");
        assert_eq!(Escaped::word("it's", 20).to_string(), "'it\\'s'");
        assert_eq!(Escaped::word("a\x1b", 20).to_string(), "a\\x1b");
    }
}
