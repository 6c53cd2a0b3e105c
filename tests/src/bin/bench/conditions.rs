//! Under which conditions was measured: a number without them says little.

use std::fs;
use std::process::Command;
use std::thread;

use jiff::Timestamp;
use mcpwatch_tests::agent_program;
use serde_json::{Value, json};

/// The conditions at this moment.
pub fn now() -> Value {
    let text = |path: &str| fs::read_to_string(path).unwrap_or_default().trim().to_owned();
    let cpuinfo = text("/proc/cpuinfo");
    let field = |name: &str| {
        let line = cpuinfo.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        line.split_once(": ").map_or("", |(_, value)| value)
    };
    let version = Command::new(agent_program()).arg("--version").output();
    json!({
        "time": Timestamp::now().to_string(),
        "agent": version.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned()).ok(),
        "kernel": text("/proc/sys/kernel/osrelease"),
        "architecture": std::env::consts::ARCH,
        "processor": field("model name"),
        "processors": thread::available_parallelism().map_or(0, usize::from),
        // The flag says that a hypervisor is there; on arm64 nothing in this file does.
        "virtual_machine": field("flags").split(' ').any(|flag| flag == "hypervisor"),
        "load_average": text("/proc/loadavg").split(' ').next(),
        "bpf_stats_enabled": text("/proc/sys/kernel/bpf_stats_enabled"),
    })
}

/// The conditions in one line, with a warning when the figures will not be worth much.
pub fn describe(conditions: &Value) -> String {
    let text = |name: &str| conditions[name].as_str().unwrap_or("?");
    let processors = conditions["processors"].as_u64().unwrap_or(1);
    let machine = if conditions["virtual_machine"] == true { "virtual machine" } else { "machine" };
    let mut line = format!(
        "{} on Linux {}, {machine} with {processors} × {}, load average {}",
        text("agent"),
        // Whoever built it calls it what they like behind the version.
        text("kernel").split('-').next().unwrap_or_default(),
        text("processor"),
        text("load_average"),
    );
    if text("load_average").parse::<f64>().is_ok_and(|load| load > processors as f64 / 2.0) {
        line += "\nthis machine is busy: wait until it is not for figures worth keeping";
    }
    line
}
