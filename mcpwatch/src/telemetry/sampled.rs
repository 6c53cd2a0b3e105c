//! Metrics of what is counted elsewhere (kernel programs, tables, outputs, the process itself) and
//! sampled from time to time.

use std::time::Duration;

use prometheus::{CounterVec, IntCounterVec, IntGauge, IntGaugeVec};

use super::Metrics;
use super::process::SelfCollector;
use super::registrar::{Registrar, raise};
use crate::output::{LossReason, OutputState};
use crate::record::ProbeCounters;

/// The sampled metrics.
#[derive(Debug)]
pub(super) struct Sampled {
    candidates: IntGauge,
    probe_seen: IntCounterVec,
    probe_events: IntCounterVec,
    probe_truncated: IntCounterVec,
    program_runs: IntCounterVec,
    program_seconds: CounterVec,
    map_entries: IntGaugeVec,
    map_capacity: IntGaugeVec,
    output_records: IntCounterVec,
    output_bytes: IntCounterVec,
    output_lost: IntCounterVec,
    output_queued: IntGaugeVec,
}

impl Sampled {
    pub(super) fn new(all: &mut Registrar) -> prometheus::Result<Self> {
        let own = SelfCollector::new()?;
        all.describe(&own, "process");
        all.registry.register(Box::new(own))?;
        Ok(Self {
            candidates: all
                .gauge("mcpwatch_candidates", "Processes watched now that may be servers.")?,
            probe_seen: all.counters(
                "mcpwatch_probe_seen_total",
                "What the kernel programs handled: always the sum of mcpwatch_probe_events_total over `outcome`.",
                &["probe"],
            )?,
            probe_events: all.counters(
                "mcpwatch_probe_events_total",
                "What became of what the kernel programs handled.",
                &["probe", "outcome"],
            )?,
            probe_truncated: all.counters(
                "mcpwatch_probe_truncated_total",
                "Events that were handed over, but cut: a part of outcome `sent`.",
                &["probe"],
            )?,
            program_runs: all.counters(
                "mcpwatch_bpf_program_runs_total",
                "Runs of a kernel program (needs kernel.bpf_stats_enabled=1).",
                &["program"],
            )?,
            program_seconds: all.float_counters(
                "mcpwatch_bpf_program_seconds_total",
                "Time spent in a kernel program (needs kernel.bpf_stats_enabled=1).",
                &["program"],
            )?,
            map_entries: all.gauges(
                "mcpwatch_map_entries",
                "Entries in use in a table.",
                &["map"],
            )?,
            map_capacity: all.gauges(
                "mcpwatch_map_capacity",
                "Entries a table has room for.",
                &["map"],
            )?,
            output_records: all.counters(
                "mcpwatch_output_records_total",
                "Records an output has written.",
                &["output"],
            )?,
            output_bytes: all.counters(
                "mcpwatch_output_bytes_total",
                "Bytes an output has written.",
                &["output"],
            )?,
            output_lost: all.counters(
                "mcpwatch_output_records_lost_total",
                "Records an output has lost, and why.",
                &["output", "reason"],
            )?,
            output_queued: all.gauges(
                "mcpwatch_output_queued_records",
                "Records waiting to be written.",
                &["output"],
            )?,
        })
    }
}

/// Each total is to be given by one thread at a time; it never goes back.
impl Metrics {
    /// How many candidates are watched now.
    pub fn set_candidates(&self, count: usize) {
        self.sampled.candidates.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The kernel's counters since the start, per probe, summed over the processors.
    pub fn probes(&self, counters: &[ProbeCounters]) {
        for counter in counters {
            let probe = counter.probe;
            raise(&self.sampled.probe_seen.with_label_values(&[probe]), counter.seen);
            raise(&self.sampled.probe_truncated.with_label_values(&[probe]), counter.truncated);
            for (outcome, total) in [
                ("sent", counter.sent),
                ("ring_full", counter.ring_full),
                ("too_big", counter.too_big),
                ("filtered", counter.filtered),
            ] {
                raise(&self.sampled.probe_events.with_label_values(&[probe, outcome]), total);
            }
        }
    }

    /// Runs of a kernel program and the time spent in it, since it was loaded.
    pub fn set_program(&self, program: &str, runs: u64, time: Duration) {
        raise(&self.sampled.program_runs.with_label_values(&[program]), runs);
        let seconds = self.sampled.program_seconds.with_label_values(&[program]);
        seconds.inc_by((time.as_secs_f64() - seconds.get()).max(0.0));
    }

    /// How full a table of the kernel or the agent is.
    pub fn set_map(&self, map: &str, entries: usize, capacity: usize) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.sampled.map_entries.with_label_values(&[map]).set(number(entries));
        self.sampled.map_capacity.with_label_values(&[map]).set(number(capacity));
    }

    /// What the outputs have done since the start.
    pub fn set_outputs(&self, outputs: &[OutputState]) {
        for output in outputs {
            let name = output.name.as_str();
            raise(&self.sampled.output_records.with_label_values(&[name]), output.written);
            raise(&self.sampled.output_bytes.with_label_values(&[name]), output.written_bytes);
            let queued = i64::try_from(output.queued).unwrap_or(i64::MAX);
            self.sampled.output_queued.with_label_values(&[name]).set(queued);
            for (reason, lost) in LossReason::ALL.into_iter().zip(output.lost) {
                raise(&self.sampled.output_lost.with_label_values(&[name, reason.name()]), lost);
            }
        }
    }
}
