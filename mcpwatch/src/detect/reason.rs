//! Words of alerts: how an effect came about, and evidence of bounded length.

use std::borrow::Cow;

use super::Effect;
use crate::record::{AlertEvidence, Relation};
use crate::session::Call;

/// Most characters of one name, path or command in a reason.
const IN_REASON: usize = 200;
/// Most bytes of one piece of evidence.
const IN_EVIDENCE: usize = 4096;
/// Most bytes of a finding's object.
pub const OBJECT: usize = 4096;
/// Most arguments of a command line that are looked at for showing it.
const SHOWN_ARGUMENTS: usize = 256;

/// `text`, cut after `limit` bytes at most, at a character; `…` says so.
#[must_use]
pub fn clip(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let end = (0..=limit).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
    Cow::Owned(format!("{}…", text.get(..end).unwrap_or_default()))
}

/// A name, path or command as it stands in a reason.
#[must_use]
pub fn quote(text: &str) -> Cow<'_, str> {
    clip(text, IN_REASON)
}

/// One piece of evidence.
#[must_use]
pub fn evidence(name: &'static str, value: &str) -> AlertEvidence {
    AlertEvidence { name, value: clip(value, IN_EVIDENCE).into_owned() }
}

/// A command line as evidence: arguments joined with spaces, quoted where a shell would need it.
#[must_use]
pub fn command_line(argv: &[String]) -> String {
    let mut line = String::new();
    for argument in argv.iter().take(SHOWN_ARGUMENTS) {
        if line.len() > IN_EVIDENCE {
            break;
        }
        if !line.is_empty() {
            line.push(' ');
        }
        let argument = clip(argument, IN_EVIDENCE);
        let plain = !argument.is_empty()
            && argument
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-_./=:,@%+~".contains(&byte));
        if plain {
            line.push_str(&argument);
        } else {
            line.push('\'');
            line.push_str(&argument.replace('\'', r"'\''"));
            line.push('\'');
        }
    }
    line
}

/// The evidence that an effect rests on besides its object: who did it and for which call.
pub fn circumstances(effect: &Effect<'_>, out: &mut Vec<AlertEvidence>) {
    out.push(evidence("process", &format!("{} (pid {})", effect.process.exe, effect.process.pid)));
    if let Some(call) = effect.attribution.call() {
        out.push(evidence("call", &call_name(call)));
    }
    if let Some(matched) = &effect.attribution.matched {
        out.push(evidence("argument", matched));
    }
}

/// How the effect came about: the end of a reason.
#[must_use]
pub fn cause(effect: &Effect<'_>) -> String {
    let attribution = effect.attribution;
    let call = attribution.call().map(|call| call_name(call));
    let among = match attribution.candidates.len() {
        0 | 1 => String::new(),
        number => format!(" (the likeliest of {number} calls in flight)"),
    };
    match (attribution.relation, call) {
        (_, Some(call)) if attribution.outlived => {
            format!("in a process that {call} left behind after its response")
        }
        (Relation::Requested, Some(call)) => format!("as {call}{among} asked"),
        (Relation::Requested, None) => "as a call asked".to_owned(),
        (Relation::Covert, Some(call)) => {
            format!("during {call}{among}, whose arguments do not mention it")
        }
        (Relation::Covert, None) => "during a call whose arguments do not mention it".to_owned(),
        (Relation::Background, _) => "while no call was in flight".to_owned(),
        (Relation::Startup, _) => "before its first request".to_owned(),
    }
}

/// The server as it stands in a reason.
#[must_use]
pub fn server<'a>(effect: &Effect<'a>) -> Cow<'a, str> {
    quote(&effect.server.name)
}

/// A call as it stands in a reason.
fn call_name(call: &Call) -> String {
    let id = call.id.to_string();
    match &call.tool {
        Some(tool) => {
            format!("{} `{}` (JSON-RPC id {})", quote(&call.method), quote(tool), quote(&id))
        }
        None => format!("{} (JSON-RPC id {})", quote(&call.method), quote(&id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clipping_keeps_characters_whole() {
        assert_eq!(clip("abc", 3), "abc");
        assert_eq!(clip("abcd", 3), "abc…");
        assert_eq!(clip("ééé", 3), "é…");
        assert_eq!(clip("é", 0), "…");
    }

    #[test]
    fn a_command_line_is_bounded_and_quoted() {
        let argv = ["sh".to_owned(), "-c".to_owned(), "echo 'x'".to_owned(), String::new()];
        assert_eq!(command_line(&argv), r"sh -c 'echo '\''x'\''' ''");
        let long = vec!["a".repeat(1 << 20); 100];
        assert!(command_line(&long).len() < 3 * IN_EVIDENCE);
        let many = vec!["a".to_owned(); 1 << 20];
        assert!(command_line(&many).len() <= 2 * SHOWN_ARGUMENTS);
    }
}
