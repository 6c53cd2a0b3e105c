//! How metrics are made: known to the registry and to the documentation at once.

use prometheus::core::Collector;
use prometheus::{
    CounterVec, Gauge, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec,
    Opts, Registry,
};

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

/// Makes metrics known to the registry and to the documentation.
#[derive(Default)]
pub(super) struct Registrar {
    pub(super) registry: Registry,
    pub(super) descriptions: Vec<Description>,
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

    pub(super) fn describe(&mut self, metric: &dyn Collector, kind: &'static str) {
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

    pub(super) fn counter(&mut self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        self.add(IntCounter::new(name, help)?, "counter")
    }

    pub(super) fn counters(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        self.add(IntCounterVec::new(Opts::new(name, help), labels)?, "counter")
    }

    pub(super) fn float_counters(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<CounterVec> {
        self.add(CounterVec::new(Opts::new(name, help), labels)?, "counter")
    }

    pub(super) fn gauge(&mut self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        self.add(IntGauge::new(name, help)?, "gauge")
    }

    pub(super) fn float_gauge(&mut self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        self.add(Gauge::new(name, help)?, "gauge")
    }

    pub(super) fn gauges(
        &mut self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<IntGaugeVec> {
        self.add(IntGaugeVec::new(Opts::new(name, help), labels)?, "gauge")
    }

    pub(super) fn histogram(
        &mut self,
        name: &str,
        help: &str,
        buckets: &[f64],
    ) -> prometheus::Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        self.add(Histogram::with_opts(options)?, "histogram")
    }
}

/// Lifts a counter to a total that is counted elsewhere, by one thread at a time.
pub(super) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}

/// The counters of all values of a label, in their order: visible at zero from the start.
pub(super) fn children(
    vector: &IntCounterVec,
    values: impl Iterator<Item = &'static str>,
) -> Vec<IntCounter> {
    values.map(|value| vector.with_label_values(&[value])).collect()
}
