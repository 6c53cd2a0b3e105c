//! What goes out: text made safe for a terminal, secrets masked.

use std::sync::LazyLock;

use mcpwatch::config;
use mcpwatch::output::escape::{Escaped, is_unsafe};
use mcpwatch::output::json;
use mcpwatch::redact::Redactor;
use serde_json::Value;

/// Nothing that acts on a terminal comes out, and never more than the limit.
pub fn terminal(data: &[u8]) {
    let Some((limit, text)) = data.split_first() else { return };
    let limit = usize::from(*limit);
    let text = String::from_utf8_lossy(text);
    for shown in [
        Escaped::new(&text, limit).to_string(),
        Escaped::path(&text, limit).to_string(),
        Escaped::word(&text, limit).to_string(),
    ] {
        assert!(!shown.contains(is_unsafe), "{shown:?}");
        // The longest escape is `\u{10ffff}`; quotes and an ellipsis are added.
        assert!(shown.chars().count() <= 10 * limit + 3, "{shown:?}");
    }
    let mut line = Vec::new();
    json::append(&text, &mut line).expect("a text is JSON");
    let read: String = serde_json::from_slice(&line).expect("and can be read again");
    assert_eq!(read, text);
    let line = String::from_utf8(line).expect("JSON is UTF-8");
    let (line, end) = line.split_at(line.len() - 1);
    assert_eq!(end, "\n");
    // Spaces that only look different are told apart by reading JSON, not by their escapes.
    assert!(!line.contains(char::is_control), "{line:?}");
}

static REDACTOR: LazyLock<Redactor> = LazyLock::new(|| {
    Redactor::new(&config::Redact::default()).expect("the built-in rules can be compiled")
});

/// A word that is a secret by its shape, wherever it stands.
const SECRET: &str = "ghp_ZYXWVUTSRQPONMLKJIHGFEDCBA9876543210";

/// A secret does not survive, whatever stands around it; paths and sizes keep their bounds.
pub fn redaction(data: &[u8]) {
    let Some((place, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    if text.contains("ghp_ZYX") {
        return;
    }
    let place = text.char_indices().nth(usize::from(*place)).map_or(text.len(), |(at, _)| at);
    let (before, after) = text.split_at(place);
    let with_secret = format!("{before} {SECRET} {after}");
    let (masked, told) = REDACTOR.text(&with_secret);
    assert!(told && !masked.contains(SECRET), "{masked:?}");
    let argv = [before.to_owned(), SECRET.to_owned(), after.to_owned()];
    let (masked, told) = REDACTOR.argv(&argv);
    assert!(told && !masked.iter().any(|word| word.contains(SECRET)), "{masked:?}");
    let words: Vec<String> = text.split('\0').map(str::to_owned).collect();
    let (masked, _) = REDACTOR.argv(&words);
    assert_eq!(masked.len(), words.len());
    if let Ok(value) = serde_json::from_str::<Value>(&text) {
        let mut places = Vec::new();
        let (masked, _) = REDACTOR.value(&value, "call.arguments", &mut places);
        assert!(places.iter().all(|place| place.starts_with("call.arguments")), "{places:?}");
        let size = masked.to_string().len();
        assert!(size <= text.len().saturating_mul(8).min(1 << 20) + 1024, "{size} bytes");
    }
}
