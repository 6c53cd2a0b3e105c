//! The books of the agent: what was seen is what was sent and what was lost, and each loss is told.

use serde_json::Value;

use crate::metrics::Metrics;
use crate::records::{Records, int, text};

/// One of the last counters of a probe.
#[track_caller]
pub fn counter(stopped: &Value, probe: &str, name: &str) -> i64 {
    let counters = stopped["status"]["counters"].as_array().expect("`stopped` has the counters");
    let counters = counters.iter().find(|counters| counters["probe"] == probe);
    counters.unwrap_or_else(|| panic!("no counters of {probe}"))[name].as_i64().unwrap_or(0)
}

/// The sum of a counter over all probes.
#[track_caller]
pub fn counters(stopped: &Value, name: &str) -> i64 {
    let counters = stopped["status"]["counters"].as_array().expect("`stopped` has the counters");
    counters.iter().filter_map(|counters| counters[name].as_i64()).sum()
}

/// The identity of every probe, in the last record.
#[track_caller]
pub fn check_identity(stopped: &Value) {
    for counters in stopped["status"]["counters"].as_array().expect("`stopped` has the counters") {
        let part = |name: &str| counters[name].as_i64().unwrap_or(0);
        assert_eq!(
            part("seen"),
            part("sent") + part("ring_full") + part("too_big") + part("filtered"),
            "seen = sent + ring_full + too_big + filtered: {counters}"
        );
        assert!(part("truncated") <= part("sent"), "what is cut is sent: {counters}");
    }
}

/// The same in the metrics, while nothing happens: the counters of all processors are not read at one moment.
#[track_caller]
pub fn check_identity_of_metrics(scrape: &Metrics) {
    let seen: Vec<(&str, &str)> = scrape.series("mcpwatch_probe_seen_total").collect();
    assert!(!seen.is_empty(), "no probe in\n{}", scrape.0);
    for (labels, seen) in seen {
        let probe = labels.split('"').nth(1).expect("its only label is the probe's name");
        let outcome = |outcome: &str| {
            let labels = [("probe", probe), ("outcome", outcome)];
            scrape.count("mcpwatch_probe_events_total", &labels)
        };
        let outcomes = ["sent", "ring_full", "too_big", "filtered"].map(outcome);
        let all = scrape.count("mcpwatch_probe_events_total", &[("probe", probe)]);
        assert_eq!(all, outcomes.iter().sum::<i64>(), "{probe} has another outcome");
        assert_eq!(seen.parse(), Ok(all), "seen = sent + ring_full + too_big + filtered: {probe}");
    }
}

/// Sum over the `loss` records of a stage and a thing.
pub fn lost(records: &Records, stage: &str, what: &str) -> i64 {
    let about =
        |record: &&Value| text(record, "loss.stage") == stage && text(record, "loss.what") == what;
    records.of("loss").filter(about).filter_map(|record| int(record, "loss.lost")).sum()
}

/// Sum over the `loss` records of a stage.
pub fn lost_at(records: &Records, stage: &str) -> i64 {
    let about = |record: &&Value| text(record, "loss.stage") == stage;
    records.of("loss").filter(about).filter_map(|record| int(record, "loss.lost")).sum()
}
