//! What a scrape shows after records were published, and that the documentation lists it.

use std::sync::Arc;

use super::*;
use crate::output::{OutputState, samples};
use crate::record::Loss;
use crate::wire::{Class, Fault};

fn scrape(metrics: &Metrics) -> String {
    String::from_utf8(metrics.encode().unwrap()).unwrap()
}

fn assert_lines(metrics: &Metrics, lines: &[&str]) {
    let text = scrape(metrics);
    for line in lines {
        assert!(text.lines().any(|found| found == *line), "{line} is not in:\n{text}");
    }
}

#[test]
fn one_record_of_each_type_is_counted_once() {
    let metrics = Metrics::new().unwrap();
    for record in samples::one_of_each() {
        metrics.observe(&record);
    }
    let text = scrape(&metrics);
    for kind in RecordType::ALL {
        let line = format!("mcpwatch_events_total{{type=\"{}\"}} 1\n", kind.name());
        assert!(text.contains(&line), "{line}{text}");
    }
    assert_lines(
        &metrics,
        &[
            r#"mcpwatch_alerts_total{rule="sensitive_file_read",severity="critical"} 1"#,
            r#"mcpwatch_attributions_total{outcome="covert"} 14"#,
            r#"mcpwatch_attributions_total{outcome="requested"} 0"#,
            r#"mcpwatch_tool_calls_total{status="tool_error"} 1"#,
            r#"mcpwatch_tool_calls_total{status="ok"} 0"#,
            r#"mcpwatch_tool_call_duration_seconds_bucket{le="0.01"} 0"#,
            r#"mcpwatch_tool_call_duration_seconds_bucket{le="0.02"} 1"#,
            r#"mcpwatch_mcp_parse_errors_total{reason="not_json"} 1"#,
            r#"mcpwatch_events_lost_total{stage="kernel",type="open"} 120"#,
            r#"mcpwatch_probe_attached{probe="sys_exit",tier="tracepoint"} 0"#,
            r#"mcpwatch_probe_seen_total{probe="open"} 100"#,
            r#"mcpwatch_probe_events_total{outcome="ring_full",probe="open"} 4"#,
            "mcpwatch_last_event_timestamp_seconds 1772600767.08901",
        ],
    );
}

#[test]
fn servers_are_those_found_and_not_gone() {
    let metrics = Metrics::new().unwrap();
    let found = samples::of_type(RecordType::ServerDiscovered);
    let mut other = found.clone();
    std::sync::Arc::make_mut(other.server.as_mut().unwrap()).id = "other".to_owned();
    for record in [&found, &found, &other] {
        metrics.observe(record);
    }
    assert_lines(&metrics, &["mcpwatch_servers 2"]);
    metrics.observe(&samples::of_type(RecordType::ServerExited));
    assert_lines(&metrics, &["mcpwatch_servers 1"]);
}

#[test]
fn messages_are_counted_both_ways_with_era_and_known_methods_only() {
    let metrics = Metrics::new().unwrap();
    metrics.observe(&samples::of_type(RecordType::ServerDiscovered));
    metrics.observe(&samples::of_type(RecordType::McpSession));
    let mut call = samples::of_type(RecordType::McpCall);
    metrics.observe(&call);
    let made_up = Arc::make_mut(call.call.as_mut().unwrap());
    made_up.method = "made/up/by/the/client".to_owned();
    made_up.outcome.as_mut().unwrap().response_bytes = None;
    metrics.observe(&call);
    let mut notification = samples::of_type(RecordType::McpMessage);
    let mcp = notification.mcp.as_mut().unwrap();
    mcp.problem = None;
    mcp.era = None;
    metrics.observe(&notification);
    let line = |method: &str, direction: &str| {
        format!(
            "mcpwatch_mcp_messages_total{{direction=\"{direction}\",era=\"handshake\",\
             method=\"{method}\",transport=\"stdio\"}} 1"
        )
    };
    let expected = [
        line("tools/call", "client_to_server"),
        line("tools/call", "server_to_client"),
        line("other", "client_to_server"),
        line("notifications/message", "server_to_client"),
    ];
    assert_lines(&metrics, &expected.each_ref().map(String::as_str));
    assert_eq!(scrape(&metrics).matches("\nmcpwatch_mcp_messages_total{").count(), 4);
}

/// Each class of faults, with the metric and the label it is counted by.
const CLASSES: [(Class, &str, &str); 3] = [
    (Class::ParseError, "mcpwatch_mcp_parse_errors_total", "reason"),
    (Class::Violation, "mcpwatch_protocol_violations_total", "check"),
    (Class::Notice, "mcpwatch_mcp_notices_total", "reason"),
];

#[test]
fn every_fault_is_counted_once_in_the_metric_of_its_class() {
    let metrics = Metrics::new().unwrap();
    for fault in Fault::ALL {
        let mut record = samples::of_type(RecordType::McpMessage);
        record.mcp.as_mut().unwrap().problem = Some(*fault);
        metrics.observe(&record);
    }
    let text = scrape(&metrics);
    for fault in Fault::ALL {
        let counted: Vec<_> = text
            .lines()
            .filter(|line| line.contains(&format!("=\"{}\"}}", fault.word())))
            .collect();
        let (_, name, label) = CLASSES.iter().find(|(class, ..)| *class == fault.class()).unwrap();
        assert_eq!(counted, [format!("{name}{{{label}=\"{}\"}} 1", fault.word())]);
    }
}

#[test]
fn the_documentation_says_which_metric_counts_which_fault() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    for (class, name, label) in CLASSES {
        let words: Vec<_> = Fault::ALL
            .iter()
            .filter(|fault| fault.class() == class)
            .map(|fault| format!("`{}`", fault.word()))
            .collect();
        let line = format!("| `{name}{{{label}}}` | {} |", words.join(" "));
        assert!(document.lines().any(|found| found == line), "the line should be:\n{line}");
    }
}

#[test]
fn the_method_table_can_be_searched() {
    assert!(METHODS.is_sorted());
    for method in METHODS {
        assert_eq!(known_method(method), *method);
    }
}

#[test]
fn totals_kept_elsewhere_never_go_back() {
    let metrics = Metrics::new().unwrap();
    let state = |written, lost| OutputState {
        name: "stdout".to_owned(),
        queued: 3,
        written,
        written_bytes: 10 * written,
        lost: [lost, 0, 0, 0, 0, 0],
    };
    metrics.set_outputs(&[state(5, 1)]);
    metrics.set_outputs(&[state(7, 2)]);
    metrics.set_program("sys_exit", 10, Duration::from_millis(500));
    metrics.set_program("sys_exit", 8, Duration::from_millis(400));
    metrics.set_map("watch", 3, 1024);
    metrics.set_candidates(2);
    metrics.processed(Duration::from_millis(3));
    assert_lines(
        &metrics,
        &[
            r#"mcpwatch_output_records_total{output="stdout"} 7"#,
            r#"mcpwatch_output_bytes_total{output="stdout"} 70"#,
            r#"mcpwatch_output_records_lost_total{output="stdout",reason="queue_full"} 2"#,
            r#"mcpwatch_output_queued_records{output="stdout"} 3"#,
            r#"mcpwatch_bpf_program_runs_total{program="sys_exit"} 10"#,
            r#"mcpwatch_bpf_program_seconds_total{program="sys_exit"} 0.5"#,
            r#"mcpwatch_map_capacity{map="watch"} 1024"#,
            "mcpwatch_candidates 2",
            r#"mcpwatch_event_processing_seconds_bucket{le="0.005"} 1"#,
        ],
    );
}

#[test]
fn hostile_servers_cannot_add_series() {
    let metrics = Metrics::new().unwrap();
    let series =
        |metrics: &Metrics| scrape(metrics).lines().filter(|line| !line.starts_with('#')).count();
    for record in samples::one_of_each() {
        metrics.observe(&record);
    }
    metrics.observe(&samples::of_type(RecordType::McpCall));
    let before = series(&metrics);
    for number in 0..SERVERS + 10 {
        let mut found = samples::of_type(RecordType::ServerDiscovered);
        std::sync::Arc::make_mut(found.server.as_mut().unwrap()).id = number.to_string();
        metrics.observe(&found);
        let mut session = samples::of_type(RecordType::McpSession);
        session.server.clone_from(&found.server);
        session.mcp.as_mut().unwrap().session = Some(number.to_string());
        metrics.observe(&session);
    }
    assert_eq!(series(&metrics), before);
    assert!(metrics.known.lock().unwrap().len() <= SERVERS);
}

#[test]
fn loss_is_counted_by_stage_and_type() {
    let metrics = Metrics::new().unwrap();
    for (stage, lost) in [("kernel", 3), ("output", 4), ("kernel", 5)] {
        let mut record = samples::of_type(RecordType::Loss);
        let what = if stage == "output" { "stdout" } else { "open" }.to_owned();
        record.loss =
            Some(Box::new(Loss { stage, what, reason: "queue_full".into(), lost, total: 99 }));
        metrics.observe(&record);
    }
    assert_lines(
        &metrics,
        &[
            r#"mcpwatch_events_lost_total{stage="kernel",type="open"} 8"#,
            r#"mcpwatch_events_lost_total{stage="output",type="stdout"} 4"#,
        ],
    );
}

#[test]
fn the_documentation_lists_every_metric_and_no_other() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/metrics.md");
    let document = std::fs::read_to_string(path).unwrap();
    let mut documented: Vec<String> = document
        .lines()
        .filter(|line| line.starts_with("| `") && line.split('|').count() == 6)
        .filter(|line| !line.starts_with("| `/"))
        .map(str::to_owned)
        .collect();
    let mut expected: Vec<String> = Metrics::new()
        .unwrap()
        .descriptions()
        .iter()
        .map(|it| {
            let labels: Vec<_> = it.labels.iter().map(|label| format!("`{label}`")).collect();
            format!("| `{}` | {} | {} | {} |", it.name, it.kind, labels.join(" "), it.help)
        })
        .collect();
    documented.sort();
    expected.sort();
    assert_eq!(documented, expected, "the table should be:\n{}", expected.join("\n"));
    for word in METHODS {
        assert!(document.contains(&format!("`{word}`")), "{word}");
    }
}
