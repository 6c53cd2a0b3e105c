//! The event stream: one JSON object a line.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

use super::escape::is_unsafe;

/// Appends the value as one line. On an error nothing is appended.
pub fn append<T: Serialize>(value: &T, out: &mut Vec<u8>) -> serde_json::Result<()> {
    let start = out.len();
    let mut serializer = serde_json::Serializer::with_formatter(&mut *out, TerminalSafe);
    match value.serialize(&mut serializer) {
        Ok(()) => {
            out.push(b'\n');
            Ok(())
        }
        Err(error) => {
            out.truncate(start);
            Err(error)
        }
    }
}

/// Compact JSON whose strings hold nothing a terminal would act on: DEL, C1 controls, bidi and
/// invisible characters are written as `\u` escapes, as `serde_json` already does with C0. It is the
/// same JSON, but safe under `tail -f`.
struct TerminalSafe;

impl Formatter for TerminalSafe {
    fn write_string_fragment<W>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()>
    where
        W: ?Sized + Write,
    {
        // Nearly every fragment is plain ASCII; C0 never gets here. Without an early end the compiler looks at many bytes
        // at once.
        if fragment.bytes().fold(0, u8::max) < 0x7f {
            return writer.write_all(fragment.as_bytes());
        }
        let mut rest = fragment;
        while let Some(at) = rest.find(is_unsafe) {
            let (safe, from) = rest.split_at(at);
            writer.write_all(safe.as_bytes())?;
            let mut characters = from.chars();
            if let Some(character) = characters.next() {
                for unit in character.encode_utf16(&mut [0; 2]) {
                    write!(writer, "\\u{unit:04x}")?;
                }
            }
            rest = characters.as_str();
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::output::samples;
    use crate::record::RecordType;

    #[test]
    fn a_record_is_one_line_that_reads_back() {
        let mut out = Vec::new();
        for record in samples::one_of_each() {
            append(&record, &mut out).unwrap();
        }
        let text = String::from_utf8(out).unwrap();
        assert_eq!(text.lines().count(), RecordType::ALL.len());
        for (line, kind) in text.lines().zip(RecordType::ALL) {
            let value: Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["type"], kind.name());
            assert_eq!(value["schema"], "mcpwatch/1");
        }
    }

    #[test]
    fn hostile_text_is_kept_exactly_and_cannot_reach_a_terminal() {
        let hostile = "\x1b[2J\u{9b}31m\x7f\u{202e}\u{e0041}\n\"\\🦀é";
        let mut out = Vec::new();
        append(&hostile, &mut out).unwrap();
        let line = std::str::from_utf8(&out).unwrap().strip_suffix('\n').unwrap();
        assert!(!line.chars().any(is_unsafe), "{line}");
        assert!(line.contains('🦀') && line.contains('é'));
        assert_eq!(serde_json::from_str::<String>(line).unwrap(), hostile);
    }
}
