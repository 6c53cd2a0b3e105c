//! `mcpwatch doctor`: what this kernel allows, hook by hook, and what is lost without it. It loads and
//! attaches every program for a moment, limited to its own process.

use std::io::Write;
use std::path::Path;

use serde::Serialize;

use crate::kernel::capabilities;
use crate::kernel::object::{Object, Options};
use crate::kernel::offsets;
use crate::record::Hook;

/// Arguments of `mcpwatch doctor`.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Print JSON instead of text
    #[arg(long)]
    pub json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    version: &'static str,
    kernel: String,
    architecture: &'static str,
    checks: Vec<Check>,
    hooks: Vec<Hook>,
    programs: Vec<LoadedProgram>,
}

/// A program as the kernel took it.
#[derive(Debug, Serialize)]
struct LoadedProgram {
    name: &'static str,
    /// What the verifier walked; absent before kernel 5.16, which does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_instructions: Option<u32>,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// Runs the command.
pub fn run(args: &Args) -> anyhow::Result<()> {
    let (report, error) = examine();
    let mut out = std::io::stdout().lock();
    if args.json {
        serde_json::to_writer_pretty(&mut out, &report)?;
        writeln!(out)?;
    } else {
        write_text(&report, &mut out)?;
    }
    error.map_or(Ok(()), |error| Err(error.into()))
}

fn examine() -> (Report, Option<crate::kernel::KernelError>) {
    let mut checks = Vec::new();
    let mut add = |name, result: Result<String, String>| {
        let ok = result.is_ok();
        checks.push(Check { name, ok, detail: result.unwrap_or_else(|error| error) });
    };
    add(
        "capabilities, release and lockdown",
        capabilities::check().map(|()| "sufficient".into()).map_err(|error| error.to_string()),
    );
    add(
        "type information (BTF)",
        offsets::of_running_kernel()
            .map(|_| format!("{} has every field that is read", offsets::VMLINUX))
            .map_err(|error| error.to_string()),
    );
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    add(
        "cgroup v2",
        capabilities::cgroup2_root(&mounts)
            .map(|root| format!("mounted at {}", root.display()))
            .ok_or_else(|| {
                "not mounted: destinations are seen at the exit of system calls only, so those of io_uring \
                 are missed; mount it, or boot with systemd.unified_cgroup_hierarchy=1"
                    .into()
            }),
    );
    let options = Options {
        ring_bytes: 64 << 10,
        payload_limit: 4 << 10,
        sniff: false,
        scope: Some(vec![std::process::id()]),
    };
    let (hooks, costs, error) = match Object::open(&options) {
        Ok((mut object, _ring)) => {
            let attached = object.set_watching(true);
            (object.hooks(), object.verifier_cost(), attached.err())
        }
        Err(error) => (Vec::new(), Vec::new(), Some(error)),
    };
    let report = Report {
        version: env!("CARGO_PKG_VERSION"),
        kernel: capabilities::release(),
        architecture: std::env::consts::ARCH,
        checks,
        hooks,
        programs: costs
            .into_iter()
            .map(|(name, verified_instructions)| LoadedProgram { name, verified_instructions })
            .collect(),
    };
    (report, error)
}

fn write_text(report: &Report, out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "mcpwatch {} on Linux {} ({})\n",
        report.version, report.kernel, report.architecture
    )?;
    for check in &report.checks {
        writeln!(out, "{} {}: {}", mark(check.ok), check.name, check.detail)?;
    }
    writeln!(out)?;
    for hook in &report.hooks {
        let reason = hook.reason.as_deref().unwrap_or("");
        let works = hook.state != "missing";
        let colon = if reason.is_empty() { "" } else { ": " };
        writeln!(
            out,
            "{} {:<20} {:<10} {}{colon}{reason}",
            mark(works),
            hook.name,
            hook.tier,
            hook.state
        )?;
    }
    if report.hooks.iter().any(|hook| hook.tier == "tracepoint" && hook.name == "sys_exit") {
        writeln!(
            out,
            "\nThe tier in use is `tracepoint`: while a server is watched, every system call of this host \
             pays for one map lookup ({}).",
            Path::new("docs/performance.md").display()
        )?;
    }
    Ok(())
}

fn mark(ok: bool) -> &'static str {
    if ok { "ok  " } else { "FAIL" }
}
