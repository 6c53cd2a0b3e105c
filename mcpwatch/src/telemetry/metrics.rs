//! Every metric the agent exposes, and how a published record moves them. `docs/metrics.md` lists
//! them; a test compares.
//!
//! No label has a value that a server can choose. What is counted for every effect is resolved
//! beforehand; the rest is counted per message, alert or scrape, where a label look-up costs nothing
//! that matters.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Encoder, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry, TextEncoder,
};

use super::internal::{EventsLost, InternalEvent, ParseFailed, StatusChanged};
use super::process::SelfCollector;
use crate::output::{LossReason, OutputState};
use crate::record::{
    Call, CallOutcome, CallStatus, McpDetail, ProbeCounters, Record, RecordType, Relation, Server,
};

/// Methods with a label value of their own: those of all revisions (`docs/metrics.md`). Any other is
/// `other`: a method's name is the client's to choose.
const METHODS: &[&str] = &[
    "completion/complete",
    "elicitation/create",
    "initialize",
    "logging/setLevel",
    "notifications/cancelled",
    "notifications/elicitation/complete",
    "notifications/initialized",
    "notifications/message",
    "notifications/progress",
    "notifications/prompts/list_changed",
    "notifications/resources/list_changed",
    "notifications/resources/updated",
    "notifications/roots/list_changed",
    "notifications/subscriptions/acknowledged",
    "notifications/tasks",
    "notifications/tasks/status",
    "notifications/tools/list_changed",
    "ping",
    "prompts/get",
    "prompts/list",
    "resources/list",
    "resources/read",
    "resources/subscribe",
    "resources/templates/list",
    "resources/unsubscribe",
    "roots/list",
    "sampling/createMessage",
    "server/discover",
    "subscriptions/listen",
    "tasks/cancel",
    "tasks/get",
    "tasks/list",
    "tasks/result",
    "tasks/update",
    "tools/call",
    "tools/list",
];

/// The buckets of `mcp.server.operation.duration` in OpenTelemetry's MCP conventions, in seconds.
const CALL_SECONDS: &[f64] =
    &[0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0];

/// From an event in the kernel to its record in the outputs' queues, in seconds; 10 ms is the budget.
const PROCESSING_SECONDS: &[f64] =
    &[0.000_1, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5, 1.0, 5.0];

/// Most servers and sessions whose protocol era is remembered.
const SERVERS: usize = 4096;
const SESSIONS: usize = 64;

/// What is known of one metric, for the documentation.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Description {
    /// Its name.
    pub name: String,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// Names of its labels.
    pub labels: Vec<String>,
    /// What it counts.
    pub help: String,
}

/// The metrics of one run. All methods can be called from any thread.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    descriptions: Vec<Description>,

    events: Vec<IntCounter>,
    attributions: Vec<IntCounter>,
    tool_calls: Vec<IntCounter>,
    last_event: Gauge,
    call_seconds: Histogram,
    processing_seconds: Histogram,
    servers: IntGauge,
    candidates: IntGauge,
    pub(super) warnings: IntCounter,
    pub(super) events_lost: IntCounterVec,
    pub(super) probe_attached: IntGaugeVec,
    pub(super) parse_errors: IntCounterVec,
    messages: IntCounterVec,
    alerts: IntCounterVec,
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

    /// Sessions of the servers that are there, with their eras.
    known: Mutex<HashMap<String, Vec<(String, &'static str)>>>,
}

impl Metrics {
    /// All metrics at zero. It fails only when two metrics have one name, which a test excludes.
    pub fn new() -> prometheus::Result<Self> {
        let mut all = Registrar { registry: Registry::new(), descriptions: Vec::new() };
        let build =
            all.gauges("mcpwatch_build_info", "Always 1: what is running.", &["version"])?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let events = all.counters(
            "mcpwatch_events_total",
            "Records published to the event stream.",
            &["type"],
        )?;
        let attributions = all.counters(
            "mcpwatch_attributions_total",
            "Effects by how they stand to the call they happened in.",
            &["outcome"],
        )?;
        let tool_calls = all.counters(
            "mcpwatch_tool_calls_total",
            "Calls of tools that are over, by what became of them.",
            &["status"],
        )?;
        let own = SelfCollector::new()?;
        all.describe(&own, "process");
        all.registry.register(Box::new(own))?;
        Ok(Self {
            events: children(&events, RecordType::ALL.iter().map(|kind| kind.name())),
            attributions: children(&attributions, Relation::ALL.iter().map(|it| it.name())),
            tool_calls: children(&tool_calls, CallStatus::ALL.iter().map(|it| it.name())),
            last_event: all.float_gauge(
                "mcpwatch_last_event_timestamp_seconds",
                "When the newest record happened, in seconds since the Unix epoch.",
            )?,
            call_seconds: all.histogram(
                "mcpwatch_tool_call_duration_seconds",
                "From a tool call's request, read by the server, to its response, written.",
                CALL_SECONDS,
            )?,
            processing_seconds: all.histogram(
                "mcpwatch_event_processing_seconds",
                "From an event in the kernel to its record in the queues of the outputs.",
                PROCESSING_SECONDS,
            )?,
            servers: all.gauge("mcpwatch_servers", "MCP servers watched now.")?,
            candidates: all
                .gauge("mcpwatch_candidates", "Processes watched now that may be servers.")?,
            warnings: all.counter(
                "mcpwatch_warnings_total",
                "Times something of the agent began to need attention (`status` records `degraded` and `warning`).",
            )?,
            events_lost: all.counters(
                "mcpwatch_events_lost_total",
                "Events or records lost, by the stage that lost them and the probe, table or output.",
                &["stage", "type"],
            )?,
            probe_attached: all.gauges(
                "mcpwatch_probe_attached",
                "1: the hook works, or will as soon as there is something to watch; 0: it is missing.",
                &["probe", "tier"],
            )?,
            parse_errors: all.counters(
                "mcpwatch_mcp_parse_errors_total",
                "Times a channel carried bytes that are no valid message.",
                &["reason"],
            )?,
            messages: all.counters(
                "mcpwatch_mcp_messages_total",
                "Requests, responses and notifications seen; a response counts under its request's method.",
                &["method", "direction", "era", "transport"],
            )?,
            alerts: all.counters(
                "mcpwatch_alerts_total",
                "Alerts raised.",
                &["rule", "severity"],
            )?,
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
            known: Mutex::default(),
            registry: all.registry,
            descriptions: all.descriptions,
        })
    }

    /// All metrics, in the text format of Prometheus.
    pub fn encode(&self) -> prometheus::Result<Vec<u8>> {
        let mut text = Vec::with_capacity(32 << 10);
        TextEncoder::new().encode(&self.registry.gather(), &mut text)?;
        Ok(text)
    }

    /// What there is, by name.
    #[must_use]
    pub fn descriptions(&self) -> &[Description] {
        &self.descriptions
    }

    /// Counts a published record. To be called for every record, once.
    #[expect(
        clippy::cast_precision_loss,
        reason = "a double holds today's time to the microsecond"
    )]
    pub fn observe(&self, record: &Record) {
        if let Some(counter) = self.events.get(record.kind as usize) {
            counter.inc();
        }
        self.last_event.set(record.time.0 as f64 / 1e9);
        match record.kind {
            RecordType::Alert => {
                if let Some(alert) = &record.alert {
                    let labels = [alert.rule, alert.severity.name()];
                    self.alerts.with_label_values(&labels).inc();
                }
                return;
            }
            RecordType::Loss => record.loss.iter().for_each(|loss| EventsLost(loss).emit(self)),
            RecordType::Status => {
                record.status.iter().for_each(|status| StatusChanged(status).emit(self));
            }
            _ => {}
        }
        if let Some(counter) = record.relation.and_then(|it| self.attributions.get(it as usize)) {
            counter.inc();
        }
        if let Some(server) = &record.server {
            self.observe_server(record, server);
        }
    }

    fn observe_server(&self, record: &Record, server: &Server) {
        match (record.kind, &record.call, &record.mcp) {
            (RecordType::ServerDiscovered, ..) => self.know(|known| {
                if known.len() < SERVERS {
                    known.entry(server.id.clone()).or_default();
                }
            }),
            (RecordType::ServerExited, ..) => self.know(|known| {
                known.remove(&server.id);
            }),
            (RecordType::McpSession, _, Some(mcp)) => self.observe_session(server, mcp),
            (RecordType::McpMessage, _, Some(mcp)) => self.observe_message(server, mcp),
            (RecordType::McpCall, Some(call), _) => {
                if let Some(outcome) = &call.outcome {
                    self.observe_call(server, call, outcome);
                }
            }
            _ => {}
        }
    }

    fn observe_session(&self, server: &Server, mcp: &McpDetail) {
        let (Some(session), Some(era)) = (&mcp.session, mcp.era) else { return };
        self.know(|known| {
            let Some(sessions) = known.get_mut(&server.id) else { return };
            sessions.retain(|(id, _)| id != session);
            if sessions.len() >= SESSIONS {
                sessions.remove(0);
            }
            sessions.push((session.clone(), era));
        });
    }

    fn observe_message(&self, server: &Server, mcp: &McpDetail) {
        if let Some(problem) = mcp.problem {
            return ParseFailed { server: &server.id, problem }.emit(self);
        }
        let Some(direction) = mcp.direction else { return };
        let era = mcp.era.unwrap_or_else(|| self.era(server, mcp.session.as_deref()));
        let method = known_method(mcp.method.as_deref().unwrap_or_default());
        self.messages.with_label_values(&[method, direction, era, server.transport]).inc();
    }

    #[expect(clippy::cast_precision_loss, reason = "a call of 100 days is exact to the nanosecond")]
    fn observe_call(&self, server: &Server, call: &Call, outcome: &CallOutcome) {
        let (asked, answered) = match outcome.to {
            "client" => ("server_to_client", "client_to_server"),
            _ => ("client_to_server", "server_to_client"),
        };
        let method = known_method(&call.method);
        let era = self.era(server, call.session.as_deref());
        self.messages.with_label_values(&[method, asked, era, server.transport]).inc();
        if outcome.response_bytes.is_some() {
            self.messages.with_label_values(&[method, answered, era, server.transport]).inc();
        }
        if method != "tools/call" {
            return;
        }
        if let Some(counter) = self.tool_calls.get(outcome.status as usize) {
            counter.inc();
        }
        if let Some(duration) = outcome.duration_ns {
            self.call_seconds.observe(duration as f64 / 1e9);
        }
    }

    /// The era of a session; of the server's latest when the session is not known.
    fn era(&self, server: &Server, session: Option<&str>) -> &'static str {
        let mut era = "unknown";
        self.know(|known| {
            let Some(sessions) = known.get(&server.id) else { return };
            let found = sessions.iter().find(|(id, _)| Some(id.as_str()) == session);
            era = found.or(sessions.last()).map_or(era, |(_, era)| era);
        });
        era
    }

    fn know(&self, change: impl FnOnce(&mut HashMap<String, Vec<(String, &'static str)>>)) {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut known);
        self.servers.set(i64::try_from(known.len()).unwrap_or(i64::MAX));
    }

    /// How long an event took from the kernel to the queues of the outputs.
    pub fn processed(&self, duration: Duration) {
        self.processing_seconds.observe(duration.as_secs_f64());
    }

    /// How many candidates are watched now.
    pub fn set_candidates(&self, count: usize) {
        self.candidates.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// The kernel's counters since the start, per probe, summed over the processors.
    pub fn probes(&self, counters: &[ProbeCounters]) {
        for counter in counters {
            let probe = counter.probe;
            raise(&self.probe_seen.with_label_values(&[probe]), counter.seen);
            raise(&self.probe_truncated.with_label_values(&[probe]), counter.truncated);
            for (outcome, total) in [
                ("sent", counter.sent),
                ("ring_full", counter.ring_full),
                ("too_big", counter.too_big),
                ("filtered", counter.filtered),
            ] {
                raise(&self.probe_events.with_label_values(&[probe, outcome]), total);
            }
        }
    }

    /// Runs of a kernel program and the time spent in it, since it was loaded.
    pub fn set_program(&self, program: &str, runs: u64, time: Duration) {
        raise(&self.program_runs.with_label_values(&[program]), runs);
        let seconds = self.program_seconds.with_label_values(&[program]);
        seconds.inc_by((time.as_secs_f64() - seconds.get()).max(0.0));
    }

    /// How full a table of the kernel or the agent is.
    pub fn set_map(&self, map: &str, entries: usize, capacity: usize) {
        let number = |count| i64::try_from(count).unwrap_or(i64::MAX);
        self.map_entries.with_label_values(&[map]).set(number(entries));
        self.map_capacity.with_label_values(&[map]).set(number(capacity));
    }

    /// What the outputs have done since the start.
    pub fn set_outputs(&self, outputs: &[OutputState]) {
        for output in outputs {
            let name = output.name.as_str();
            raise(&self.output_records.with_label_values(&[name]), output.written);
            raise(&self.output_bytes.with_label_values(&[name]), output.written_bytes);
            let queued = i64::try_from(output.queued).unwrap_or(i64::MAX);
            self.output_queued.with_label_values(&[name]).set(queued);
            for (reason, lost) in LossReason::ALL.into_iter().zip(output.lost) {
                raise(&self.output_lost.with_label_values(&[name, reason.name()]), lost);
            }
        }
    }
}

fn known_method(method: &str) -> &'static str {
    METHODS.binary_search(&method).ok().and_then(|at| METHODS.get(at)).unwrap_or(&"other")
}

/// Lifts a counter to a total that is counted elsewhere, by one thread at a time.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// The counters of all values of a label, in their order: visible at zero from the start.
fn children(vector: &IntCounterVec, values: impl Iterator<Item = &'static str>) -> Vec<IntCounter> {
    values.map(|value| vector.with_label_values(&[value])).collect()
}

/// Makes metrics known to the registry and to the documentation.
struct Registrar {
    registry: Registry,
    descriptions: Vec<Description>,
}

impl Registrar {
    fn add<C: Collector + Clone + 'static>(
        &mut self,
        metric: C,
        kind: &'static str,
    ) -> prometheus::Result<C> {
        self.describe(&metric, kind);
        self.registry.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    fn describe(&mut self, metric: &dyn Collector, kind: &'static str) {
        for description in metric.desc() {
            let name = description.fq_name.clone();
            let kind = match kind {
                "process" if name.ends_with("_total") => "counter",
                "process" => "gauge",
                kind => kind,
            };
            let labels = description.variable_labels.clone();
            let help = description.help.clone();
            self.descriptions.push(Description { name, kind, labels, help });
        }
    }

    fn counter(&mut self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help)?, "counter")
    }

    fn counters(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?, "counter")
    }

    fn float_counters(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<CounterVec> {
        self.add(CounterVec::new(Opts::new(name, help), labels)?, "counter")
    }

    fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?, "gauge")
    }

    fn float_gauge(&mut self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.add(Gauge::new(name, help)?, "gauge")
    }

    fn gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?, "gauge")
    }

    fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> prometheus::Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options)?, "histogram")
    }
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
