//! Every metric the agent exposes, and how a published record moves them. `docs/metrics.md` lists
//! them; a test compares.
//!
//! No label has a value that a server can choose. What is counted for every effect is resolved
//! beforehand; the rest is counted per message, alert or scrape, where a label look-up costs nothing
//! that matters.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{
    Encoder, Gauge, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Registry,
    TextEncoder,
};

use super::internal::{ChannelFault, EventsLost, InternalEvent, StatusChanged};
use super::registrar::{Description, Registrar, children};
use super::sampled::Sampled;
use crate::record::{
    Call, CallOutcome, CallStatus, McpDetail, Record, RecordType, Relation, Server,
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
    pub(super) warnings: IntCounter,
    pub(super) events_lost: IntCounterVec,
    pub(super) probe_attached: IntGaugeVec,
    pub(super) parse_errors: IntCounterVec,
    pub(super) protocol_violations: IntCounterVec,
    pub(super) channel_notices: IntCounterVec,
    messages: IntCounterVec,
    alerts: IntCounterVec,

    /// What is sampled.
    pub(super) sampled: Sampled,
    /// Sessions of the servers that are there, with their eras.
    known: Mutex<HashMap<String, Vec<(String, &'static str)>>>,
}

impl Metrics {
    /// All metrics at zero. It fails only when two metrics have one name, which a test excludes.
    pub fn new() -> prometheus::Result<Self> {
        let mut all = Registrar::default();
        let events_lost = all.counters(
            "mcpwatch_events_lost_total",
            "Events or records lost, by the stage that lost them and the probe, table or output.",
            &["stage", "type"],
        )?;
        // A series that is absent looks like one that nobody counts: the kernel's stand at zero from the
        // start.
        for probe in mcpwatch_common::control::Probe::ALL {
            events_lost.with_label_values(&["kernel", probe.name()]);
        }
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
            warnings: all.counter(
                "mcpwatch_warnings_total",
                "Times something of the agent began to need attention (`status` records `degraded` and `warning`).",
            )?,
            events_lost,
            probe_attached: all.gauges(
                "mcpwatch_probe_attached",
                "1: the hook works, or will as soon as there is something to watch; 0: it is missing. No row: this kernel has \
                 no such system call.",
                &["probe", "tier"],
            )?,
            parse_errors: all.counters(
                "mcpwatch_mcp_parse_errors_total",
                "Times a channel carried bytes that are no valid message.",
                &["reason"],
            )?,
            protocol_violations: all.counters(
                "mcpwatch_protocol_violations_total",
                "Valid messages that the protocol does not allow where they stand.",
                &["check"],
            )?,
            channel_notices: all.counters(
                "mcpwatch_mcp_notices_total",
                "Times a channel was not seen whole, was written to by others, or its other end could not read a message.",
                &["reason"],
            )?,
            messages: all.counters(
                "mcpwatch_mcp_messages_total",
                "Requests, responses and notifications seen; a response counts under its request's method.",
                &["method", "direction", "era", "transport"],
            )?,
            alerts: all.counters(
                "mcpwatch_alerts_total",
                "Alerts raised; one that is published again with its count is not counted again.",
                &["rule", "severity"],
            )?,
            sampled: Sampled::new(&mut all)?,
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
                if let Some(alert) = record.alert.as_ref().filter(|alert| alert.count == 1) {
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
        if let Some(fault) = mcp.problem {
            return ChannelFault { server: &server.id, fault }.emit(self);
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
}

fn known_method(method: &str) -> &'static str {
    METHODS.binary_search(&method).ok().and_then(|at| METHODS.get(at)).unwrap_or(&"other")
}

#[cfg(test)]
#[path = "metrics_tests.rs"]
mod tests;
