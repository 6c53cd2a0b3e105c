//! What happens to the agent itself: one struct a happening writes the log line and moves the metric,
//! so that the two always agree.

use super::Metrics;
use crate::kernel::hooks::Tier;
use crate::record::{Hook, Loss, Status};
use crate::wire::{Class, Fault};

/// A happening that is logged and counted.
pub trait InternalEvent {
    /// Logs and counts it.
    fn emit(self, metrics: &Metrics);
}

/// Events or records were lost.
#[derive(Clone, Copy, Debug)]
pub struct EventsLost<'a>(pub &'a Loss);

impl InternalEvent for EventsLost<'_> {
    fn emit(self, metrics: &Metrics) {
        let Self(loss) = self;
        metrics.events_lost.with_label_values(&[loss.stage, &loss.what]).inc_by(loss.lost);
        tracing::warn!(
            stage = loss.stage,
            what = loss.what,
            reason = loss.reason,
            lost = loss.lost,
            total = loss.total,
            "events were lost"
        );
    }
}

/// What mcpwatch can see has changed, or something needs attention.
#[derive(Clone, Copy, Debug)]
pub struct StatusChanged<'a>(pub &'a Status);

impl InternalEvent for StatusChanged<'_> {
    fn emit(self, metrics: &Metrics) {
        let Self(status) = self;
        for Hook { name, tier, state, .. } in &status.hooks {
            let works = *state != "missing";
            // A hook may have changed its tier.
            for other in Tier::ALL.iter().filter(|other| other.name() != *tier) {
                // The only error is that there was none.
                let _ = metrics.probe_attached.remove_label_values(&[*name, other.name()]);
            }
            if *state == "absent" {
                let _ = metrics.probe_attached.remove_label_values(&[*name, *tier]);
            } else {
                metrics.probe_attached.with_label_values(&[*name, *tier]).set(i64::from(works));
            }
        }
        metrics.probes(&status.counters);
        if matches!(status.state, "degraded" | "warning") {
            metrics.warnings.inc();
            tracing::warn!(state = status.state, "{}", status.message);
        } else {
            tracing::info!(state = status.state, "{}", status.message);
        }
    }
}

/// Something is wrong with the bytes on a server's channel, a message or its place in the conversation.
#[derive(Clone, Copy, Debug)]
pub struct ChannelFault<'a> {
    /// The server's id.
    pub server: &'a str,
    /// What is wrong.
    pub fault: Fault,
}

impl InternalEvent for ChannelFault<'_> {
    fn emit(self, metrics: &Metrics) {
        let counter = match self.fault.class() {
            Class::ParseError => &metrics.parse_errors,
            Class::Violation => &metrics.protocol_violations,
            Class::Notice => &metrics.channel_notices,
        };
        counter.with_label_values(&[self.fault.word()]).inc();
        // A server can do this as often as it likes: the record tells, the log only when asked to.
        tracing::debug!(
            server = self.server,
            problem = self.fault.word(),
            "a problem on a channel"
        );
    }
}
