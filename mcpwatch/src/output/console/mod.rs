//! The readable console: one line an event, calls with their effects below them, alerts standing out.
//!
//! Effects come before the record of their call, which is published when the call ends. So a call's
//! block is opened by its first effect, opened again whenever another line came between, and closed
//! by its `mcp.call`: an indented line always belongs to the heading right above it.

mod colour;
mod line;

use std::collections::{HashMap, VecDeque};
use std::io::Write;

pub use colour::Colour;
use colour::Style;
use line::{CallName, Clock, Line, speaker};

use crate::output::escape::Escaped;
use crate::record::{Record, RecordType, Relation};

/// Calls whose blocks are remembered; the oldest is forgotten first, and would be opened anew.
const CALLS: usize = 256;
/// So many lines of one kind in a row are shown, then they are counted.
const RUN: u64 = 8;
/// Servers whose opens at start-up are counted at once.
const STARTING: usize = 64;
/// Columns of the server's name.
const NAME_WIDTH: usize = 14;

/// State of the console: what the lines above say, as far as the next one depends on it.
#[derive(Debug)]
pub struct Console {
    colour: Colour,
    next_seq: Option<u64>,
    /// The call whose block the last line stands in.
    open: Option<String>,
    calls: Calls,
    run: Option<Run>,
    /// Opens at start-up by server id: counted, not shown. An interpreter opens hundreds.
    starting: HashMap<String, u64>,
}

/// Calls that had a block.
#[derive(Debug, Default)]
struct Calls {
    ended: HashMap<String, bool>,
    order: VecDeque<String>,
}

impl Calls {
    /// Notes a call; tells what was known of it.
    fn note(&mut self, uid: &str, ended: bool) -> Option<bool> {
        if let Some(known) = self.ended.get_mut(uid) {
            return Some(std::mem::replace(known, *known || ended));
        }
        if self.order.len() >= CALLS
            && let Some(oldest) = self.order.pop_front()
        {
            self.ended.remove(&oldest);
        }
        self.ended.insert(uid.to_owned(), ended);
        self.order.push_back(uid.to_owned());
        None
    }
}

/// Lines of one kind in a row.
#[derive(Debug)]
struct Run {
    kind: RecordType,
    server: Option<String>,
    call: Option<String>,
    relation: Option<Relation>,
    shown: u64,
    hidden: u64,
}

impl Run {
    fn of(record: &Record) -> Self {
        Self {
            kind: record.kind,
            server: record.server.as_ref().map(|server| server.id.clone()),
            call: record.call.as_ref().map(|call| call.uid.clone()),
            relation: record.relation,
            shown: 0,
            hidden: 0,
        }
    }

    fn continues_with(&self, record: &Record) -> bool {
        self.kind == record.kind
            && self.relation == record.relation
            && self.server.as_ref() == record.server.as_ref().map(|server| &server.id)
            && self.call.as_ref() == record.call.as_ref().map(|call| &call.uid)
    }
}

/// What a run counts, for the kinds that come in floods; the others are always shown.
const fn plural(kind: RecordType) -> Option<&'static str> {
    match kind {
        RecordType::FileOpen => Some("opens"),
        RecordType::NetSend => Some("datagrams"),
        RecordType::NetConnect => Some("connects"),
        RecordType::NetDns => Some("lookups"),
        RecordType::NetTls => Some("TLS connections"),
        RecordType::ProcessExit => Some("exits"),
        RecordType::McpMessage => Some("messages"),
        _ => None,
    }
}

/// The end of a process that went well and belongs to no call: it would break the block of the call
/// that is being shown, and says nothing.
fn is_ordinary_exit(record: &Record) -> bool {
    record.kind == RecordType::ProcessExit
        && record.call.is_none()
        && record.exit.is_some_and(|exit| exit.code == Some(0))
}

impl Console {
    /// A console on which nothing was shown yet.
    #[must_use]
    pub fn new(colour: Colour) -> Self {
        Self {
            colour,
            next_seq: None,
            open: None,
            calls: Calls::default(),
            run: None,
            starting: HashMap::new(),
        }
    }

    /// Appends the record's lines, none when it is folded away.
    pub fn append(&mut self, record: &Record, out: &mut Vec<u8>) {
        self.say_gap(record, out);
        if record.kind == RecordType::FileOpen && record.relation == Some(Relation::Startup) {
            return self.count_starting(record);
        }
        if is_ordinary_exit(record) || self.folds(record, out) {
            return;
        }
        self.say_started(record, out);
        match &record.call {
            Some(call) if record.kind == RecordType::McpCall => {
                let known = self.calls.note(&call.uid, true).is_some();
                self.line(record, if known { "└ " } else { "" }, out);
                self.open = None;
            }
            Some(call) => {
                if self.open.as_deref() != Some(&call.uid) {
                    let note = match self.calls.note(&call.uid, false) {
                        None => "",
                        Some(false) => " goes on",
                        Some(true) => " is answered, but goes on",
                    };
                    self.prefix(record, out);
                    put(out, format_args!("┌ {}{note}\n", CallName(call)));
                    self.open = Some(call.uid.clone());
                }
                self.line(record, "│ ", out);
            }
            None => {
                self.open = None;
                self.line(record, "", out);
            }
        }
    }

    /// Some lines are counted that nothing was said about yet.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.run.as_ref().is_some_and(|run| run.hidden > 0)
    }

    /// Says how many lines of the current run were folded away.
    pub fn release(&mut self, out: &mut Vec<u8>) {
        let Some(run) = &mut self.run else { return };
        let hidden = std::mem::take(&mut run.hidden);
        if hidden > 0 {
            let bar = if run.call.is_some() { "│ " } else { "" };
            let what = plural(run.kind).unwrap_or("more");
            let (dim, plain) = (self.colour.paint(Style::Dim), self.colour.paint(Style::Plain));
            indent(out);
            put(out, format_args!("{bar}{dim}… and {hidden} more {what}{plain}\n"));
        }
    }

    /// Ends the run when the record is of another kind, counts it when the run is long enough.
    fn folds(&mut self, record: &Record, out: &mut Vec<u8>) -> bool {
        if !self.run.as_ref().is_some_and(|run| run.continues_with(record)) {
            self.release(out);
            self.run = None;
        }
        let run = self.run.get_or_insert_with(|| Run::of(record));
        let full = run.shown >= RUN && plural(run.kind).is_some();
        *(if full { &mut run.hidden } else { &mut run.shown }) += 1;
        full
    }

    fn say_gap(&mut self, record: &Record, out: &mut Vec<u8>) {
        let missing = self.next_seq.map_or(0, |next| record.seq.saturating_sub(next));
        self.next_seq = Some(record.seq.saturating_add(1));
        if missing > 0 {
            self.release(out);
            self.run = None;
            let (bad, plain) = (self.colour.paint(Style::Bad), self.colour.paint(Style::Plain));
            let what = "records are missing here: this output is slower than they come";
            put(out, format_args!("{bad}… {missing} {what}{plain}\n"));
        }
    }

    fn count_starting(&mut self, record: &Record) {
        let Some(server) = &record.server else { return };
        if let Some(count) = self.starting.get_mut(&server.id) {
            *count += 1;
        } else {
            if self.starting.len() >= STARTING {
                // None of them has spoken yet: what is forgotten is only how much is not shown.
                self.starting.clear();
            }
            self.starting.insert(server.id.clone(), 1);
        }
    }

    /// The server is past its start: says what was not shown of it.
    fn say_started(&mut self, record: &Record, out: &mut Vec<u8>) {
        if self.starting.is_empty() || record.relation == Some(Relation::Startup) {
            return;
        }
        let Some(server) = &record.server else { return };
        if let Some(count) = self.starting.remove(&server.id) {
            let (dim, plain) = (self.colour.paint(Style::Dim), self.colour.paint(Style::Plain));
            self.prefix(record, out);
            put(out, format_args!("{dim}{count} opens at start-up are not shown{plain}\n"));
            self.open = None;
        }
    }

    fn prefix(&self, record: &Record, out: &mut Vec<u8>) {
        let (dim, name, plain) = (
            self.colour.paint(Style::Dim),
            self.colour.paint(Style::Name),
            self.colour.paint(Style::Plain),
        );
        let (clock, speaker) = (Clock(record.time), speaker(record));
        put(out, format_args!("{dim}{clock}{plain} {name}{speaker:<NAME_WIDTH$}{plain} "));
    }

    fn line(&self, record: &Record, bar: &str, out: &mut Vec<u8>) {
        self.prefix(record, out);
        put(out, format_args!("{bar}{}\n", Line { record, colour: self.colour }));
        if let Some(alert) = &record.alert {
            let first = Escaped::new(first_sentence(alert.playbook), 300);
            indent(out);
            put(out, format_args!("{bar}  → {first}\n"));
        }
    }
}

/// What to do first; the rest stands in the event stream and in `mcpwatch rules explain`.
fn first_sentence(playbook: &str) -> &str {
    let line = playbook.lines().next().unwrap_or_default();
    let end = [". ", "? "].iter().filter_map(|end| line.find(end)).min();
    end.and_then(|end| line.get(..=end)).unwrap_or(line)
}

/// As wide as time and name.
fn indent(out: &mut Vec<u8>) {
    let width = "00:00:00.000 ".len() + NAME_WIDTH + 1;
    put(out, format_args!("{:width$}", ""));
}

fn put(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    // Writing to memory does not fail.
    let _ = out.write_fmt(text);
}

#[cfg(test)]
mod tests;
