//! What the agent itself uses, read from `/proc/self` when it is scraped. Names and units are those
//! every Prometheus client library gives.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Counter, Gauge, IntGauge};

/// Memory, processor time, descriptors and start time of this process.
pub(super) struct SelfCollector {
    cpu: Counter,
    resident: IntGauge,
    descriptors: IntGauge,
    start: Gauge,
    threads: IntGauge,
}

impl SelfCollector {
    pub(super) fn new() -> prometheus::Result<Self> {
        Ok(Self {
            cpu: Counter::new(
                "process_cpu_seconds_total",
                "Processor time of the agent, user and system, in seconds.",
            )?,
            resident: IntGauge::new(
                "process_resident_memory_bytes",
                "Resident memory of the agent, in bytes.",
            )?,
            descriptors: IntGauge::new(
                "process_open_fds",
                "File descriptors the agent holds open.",
            )?,
            start: Gauge::new(
                "process_start_time_seconds",
                "When the agent started, in seconds since the Unix epoch.",
            )?,
            threads: IntGauge::new("process_threads", "Threads of the agent.")?,
        })
    }

    /// What cannot be read keeps its last value.
    #[expect(clippy::cast_precision_loss, reason = "ticks and seconds stay far below 2^52")]
    fn refresh(&self) {
        let Ok(process) = procfs::process::Process::myself() else { return };
        if let Ok(stat) = process.stat() {
            let ticks = procfs::ticks_per_second() as f64;
            let cpu = (stat.utime + stat.stime) as f64 / ticks;
            self.cpu.inc_by((cpu - self.cpu.get()).max(0.0));
            let resident = stat.rss.saturating_mul(procfs::page_size());
            self.resident.set(i64::try_from(resident).unwrap_or(i64::MAX));
            self.threads.set(stat.num_threads);
            if let Ok(boot) = procfs::boot_time_secs() {
                self.start.set(boot as f64 + stat.starttime as f64 / ticks);
            }
        }
        if let Ok(count) = process.fd_count() {
            self.descriptors.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    fn parts(&self) -> [&dyn Collector; 5] {
        [&self.cpu, &self.resident, &self.descriptors, &self.start, &self.threads]
    }
}

impl Collector for SelfCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.parts().into_iter().flat_map(Collector::desc).collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.refresh();
        self.parts().into_iter().flat_map(Collector::collect).collect()
    }
}
