//! What a person sees.

use std::sync::Arc;

use super::*;
use crate::output::samples;
use crate::record::{Call, CallStatus, Severity};

fn show(colour: Colour, records: Vec<Record>) -> String {
    let mut console = Console::new(colour);
    let mut out = Vec::new();
    for (seq, record) in records.into_iter().enumerate() {
        console.append(&Record { seq: seq as u64, ..record }, &mut out);
    }
    console.release(&mut out);
    String::from_utf8(out).unwrap()
}

fn plain(records: Vec<Record>) -> String {
    show(Colour::Never, records)
}

fn call(number: u64) -> Call {
    Call {
        uid: format!("4242-1a2b/{number}"),
        id: number.into(),
        confidence: Some(1.0),
        candidates: Vec::new(),
        ..samples::call_reference()
    }
}

fn in_call(number: u64, record: Record) -> Record {
    Record { call: Some(Arc::new(call(number))), ..record }
}

fn end(number: u64) -> Record {
    let outcome = samples::ended_call(CallStatus::Ok).outcome.map(|mut outcome| {
        outcome.error = None;
        outcome
    });
    Record {
        call: Some(Arc::new(Call { outcome, confidence: None, ..call(number) })),
        ..samples::of_type(RecordType::McpCall)
    }
}

fn with_relation(relation: Relation, record: Record) -> Record {
    let call = record.call.clone().filter(|_| relation != Relation::Startup);
    Record { relation: Some(relation), call, ..record }
}

#[test]
fn effects_stand_below_their_call() {
    let open = with_relation(Relation::Requested, samples::open("/home/ada/notes"));
    let screen = plain(vec![in_call(3, open), in_call(3, samples::alert()), end(3)]);
    assert_eq!(
        screen,
        "\
05:06:07.089 filesystem     ┌ read_file #3
05:06:07.089 filesystem     │ requested  open read /home/ada/notes through io_uring [node 4243]
05:06:07.089 filesystem     │ ALERT critical sensitive_file_read covert `read_file` read a private SSH \
key that its arguments do not mention [node 4243]
                            │   → Check which client made the call.
05:06:07.089 filesystem     └ read_file #3 ok 12.3 ms {\"path\":\"/home/ada/notes/today.md\"}
"
    );
}

#[test]
fn a_call_without_effects_is_one_line() {
    let screen = plain(vec![end(3)]);
    assert_eq!(screen.lines().count(), 1);
    assert!(screen.contains(" read_file #3 ok "), "{screen}");
}

#[test]
fn indentation_is_never_below_another_call() {
    let exec = || samples::of_type(RecordType::ProcessExec);
    let between = samples::of_type(RecordType::McpMessage);
    let screen = plain(vec![
        in_call(1, exec()),
        in_call(2, exec()),
        in_call(1, exec()),
        between,
        in_call(1, exec()),
        end(1),
        in_call(1, exec()),
        end(2),
    ]);
    let mut heading = None;
    let mut headings = Vec::new();
    for line in screen.lines() {
        let text = line.chars().skip(28).collect::<String>();
        match text.chars().next() {
            Some('┌') => {
                headings.push(text.clone());
                heading = Some(text);
            }
            Some('│') => assert!(heading.is_some(), "{screen}"),
            _ => heading = None,
        }
    }
    assert_eq!(
        headings,
        [
            "┌ read_file #1",
            "┌ read_file #2",
            "┌ read_file #1 goes on",
            "┌ read_file #1 goes on",
            "┌ read_file #1 is answered, but goes on",
        ]
    );
}

#[test]
fn floods_are_folded_and_counted() {
    let mut records: Vec<_> =
        (0..45).map(|n| in_call(3, samples::open(&format!("/lib/{n}")))).collect();
    records.push(in_call(3, samples::of_type(RecordType::ProcessExec)));
    records.push(in_call(3, samples::open("/lib/again")));
    let screen = plain(records);
    assert_eq!(screen.matches(" open read ").count(), 9, "{screen}");
    assert!(screen.contains("\n                            │ … and 37 more opens\n"), "{screen}");
    assert!(screen.contains("/lib/again"));
}

#[test]
fn what_is_folded_is_said_when_nothing_else_comes() {
    let mut console = Console::new(Colour::Never);
    let mut out = Vec::new();
    for seq in 0..10 {
        console.append(&Record { seq, ..samples::open("/x") }, &mut out);
    }
    assert!(console.holds());
    out.clear();
    console.release(&mut out);
    assert_eq!(String::from_utf8(out).unwrap().trim(), "│ … and 2 more opens");
    assert!(!console.holds());
}

#[test]
fn opens_at_startup_are_counted_once_the_server_speaks() {
    let mut records: Vec<_> =
        (0..500).map(|_| with_relation(Relation::Startup, samples::open("/lib/x"))).collect();
    records.push(samples::of_type(RecordType::McpSession));
    let screen = plain(records);
    assert_eq!(screen.lines().count(), 2, "{screen}");
    assert!(screen.contains("500 opens at start-up are not shown"), "{screen}");
}

#[test]
fn a_process_that_ends_well_does_not_break_a_block() {
    let exit = |code| Record {
        call: None,
        relation: None,
        exit: Some(crate::record::ExitDetail { code: Some(code), signal: None }),
        ..samples::of_type(RecordType::ProcessExit)
    };
    let exec = || in_call(1, samples::of_type(RecordType::ProcessExec));
    assert_eq!(plain(vec![exec(), exit(0), exec()]).matches('┌').count(), 1);
    assert!(plain(vec![exec(), exit(3), exec()]).contains("exit with code 3"));
}

#[test]
fn lost_lines_are_said() {
    let mut console = Console::new(Colour::Never);
    let mut out = Vec::new();
    for seq in [4, 5, 9] {
        console.append(&Record { seq, ..samples::alert() }, &mut out);
    }
    let screen = String::from_utf8(out).unwrap();
    assert!(screen.contains("… 3 records are missing here"), "{screen}");
}

#[test]
fn every_type_says_something_and_colour_changes_nothing_else() {
    let sequence = regex::Regex::new("\x1b\\[[0-9;]*m").unwrap();
    for record in samples::one_of_each() {
        let text = plain(vec![record.clone()]);
        assert!(text.lines().last().unwrap().chars().count() > 35, "{text}");
        let coloured = show(Colour::Always, vec![record]);
        assert!(coloured.contains("\x1b["));
        assert_eq!(sequence.replace_all(&coloured, ""), text);
    }
}

#[test]
fn severities_are_told_apart_by_colour() {
    let mut seen = std::collections::HashSet::new();
    for severity in Severity::ALL {
        let mut record = samples::alert();
        record.alert.as_mut().unwrap().severity = *severity;
        let text = show(Colour::Always, vec![record]);
        let before = text.split("ALERT").next().unwrap();
        assert!(seen.insert(before.rsplit('\x1b').next().unwrap().to_owned()), "{severity:?}");
    }
}

/// Every text that a server can choose, replaced by one that would clear the screen, write a false
/// line and hide the rest.
fn hostile(record: &Record) -> Record {
    let evil = || "\x1b[2J\x1b[1;1H\r\nfalse\u{9b}8m\u{202e}\u{200b}\u{e0041}\x07".to_owned();
    let mut record = record.clone();
    if let Some(server) = &mut record.server {
        let server = Arc::make_mut(server);
        server.name = evil();
        server.version = Some(evil());
        server.client = Some(evil());
        server.config_path = Some(evil());
        server.evidence.iter_mut().for_each(|evidence| evidence.detail = evil());
    }
    if let Some(process) = &mut record.process {
        Arc::make_mut(process).exe = evil();
    }
    if let Some(call) = &mut record.call {
        let call = Arc::make_mut(call);
        call.id = evil().into();
        call.tool = Some(evil());
        call.method = evil();
        if let Some(outcome) = &mut call.outcome {
            outcome.arguments = Some(serde_json::json!({ evil(): evil() }));
            outcome.error.as_mut().unwrap().message = evil();
        }
    }
    if let Some(exec) = &mut record.exec {
        exec.path = evil();
        exec.argv = vec![evil(); 100];
    }
    if let Some(file) = &mut record.file {
        file.path = evil();
        file.argument = evil().repeat(2);
        file.result = evil().into();
    }
    if let Some(net) = &mut record.net {
        net.family = evil();
        net.names = vec![evil(); 100];
        for claim in &mut net.claimed_names {
            claim.name = evil();
        }
        net.path = Some(evil());
        net.result = evil().into();
        net.address = net.address.filter(|_| record.kind != RecordType::NetConnect);
    }
    if let Some(dns) = &mut record.dns {
        dns.question = Some(evil());
        dns.kind = Some(evil());
        dns.answers[0].value = Some(evil());
    }
    if let Some(tls) = &mut record.tls {
        tls.server_name = Some(evil());
    }
    if let Some(mcp) = &mut record.mcp {
        mcp.session = Some(evil());
        mcp.protocol_version = Some(evil());
        mcp.client_info.as_mut().unwrap().name = evil();
        mcp.server_info.as_mut().unwrap().version = Some(evil());
        mcp.method = Some(evil());
        mcp.detail = Some(evil());
    }
    if let Some(alert) = &mut record.alert {
        alert.reason = evil();
    }
    if let Some(loss) = &mut record.loss {
        loss.what = evil();
    }
    if let Some(status) = &mut record.status {
        status.message = evil();
        status.hooks[0].reason = Some(evil());
    }
    record
}

#[test]
fn nothing_a_server_says_acts_on_the_terminal() {
    for record in samples::one_of_each() {
        let evil = hostile(&record);
        let without = evil
            .mcp
            .clone()
            .map(|mcp| Box::new(crate::record::McpDetail { problem: None, ..*mcp }));
        let nameless =
            without.clone().map(|mcp| Box::new(crate::record::McpDetail { method: None, ..*mcp }));
        for mcp in [evil.mcp.clone(), without, nameless] {
            let screen = plain(vec![Record { mcp, ..evil.clone() }]);
            for line in screen.lines() {
                assert!(!line.chars().any(crate::output::escape::is_unsafe), "{line:?}");
                assert!(!line.starts_with("false"), "{screen}");
                assert!(line.chars().count() < 4000, "{}", line.len());
            }
            assert!(screen.lines().count() <= 3, "{screen}");
        }
    }
}

#[test]
fn huge_arguments_are_cut() {
    let mut record = end(1);
    let outcome = Arc::make_mut(record.call.as_mut().unwrap()).outcome.as_mut().unwrap();
    outcome.arguments = Some(serde_json::json!({"text": "x".repeat(5 << 20), "more": [1, 2, 3]}));
    let screen = plain(vec![record]);
    assert!(screen.chars().count() < 250, "{}", screen.len());
    assert!(screen.contains('…'));
}

#[test]
fn memory_stays_bounded_when_calls_and_servers_come_and_go() {
    let mut console = Console::new(Colour::Never);
    let mut out = Vec::new();
    for number in 0..10_000 {
        console.append(&in_call(number, samples::open("/x")), &mut out);
        let mut starting = with_relation(Relation::Startup, samples::open("/x"));
        Arc::make_mut(starting.server.as_mut().unwrap()).id = number.to_string();
        console.append(&starting, &mut out);
        out.clear();
    }
    assert_eq!(console.calls.order.len(), CALLS);
    assert_eq!(console.calls.ended.len(), CALLS);
    assert!(console.starting.len() <= STARTING);
}
