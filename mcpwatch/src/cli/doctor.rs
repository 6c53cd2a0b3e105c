//! `mcpwatch doctor`: what this kernel allows, hook by hook, and what is lost without it. It loads and
//! attaches every program for a moment, limited to its own process.

use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::config::TierChoice;
use crate::kernel::capabilities;
use crate::kernel::hooks::{HOOKS, IO_URING_SUBMIT, SYS_EXIT, Tier};
use crate::kernel::object::{Object, Options, Step};
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
    hooks: Vec<Examined>,
    programs: Vec<LoadedProgram>,
    /// The tier that serves system calls, and how long it took to attach it.
    #[serde(skip_serializing_if = "Option::is_none")]
    system_calls: Option<Chosen>,
}

/// A program as the kernel took it.
#[derive(Debug, Serialize)]
struct LoadedProgram {
    name: &'static str,
    /// What the verifier walked; absent before kernel 5.16, which does not tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    verified_instructions: Option<u32>,
}

/// A hook as it would be used, and every way to attach it.
#[derive(Debug, Serialize)]
struct Examined {
    #[serde(flatten)]
    hook: Hook,
    tiers: Vec<Tried>,
}

/// One way to attach a hook.
#[derive(Debug, Serialize)]
struct Tried {
    tier: &'static str,
    works: bool,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

#[derive(Debug, Serialize)]
struct Chosen {
    tier: &'static str,
    attached_in_ms: u128,
}

/// One thing that was looked at.
#[derive(Debug, Serialize)]
struct Check {
    name: &'static str,
    ok: bool,
    detail: String,
}

/// How programs come by what stands in the kernel's memory, where they can.
const LOADED: &str = "programs load from it";

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
        offsets::types_of_running_kernel()
            .and_then(|types| offsets::resolve(&types))
            .map(|_| format!("{} has every field that is read", offsets::VMLINUX))
            .map_err(|error| error.to_string()),
    );
    let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    add(
        "cgroup v2",
        capabilities::cgroup2_root(&mounts)
            .map(|root| format!("mounted at {}", root.display()))
            .ok_or_else(|| {
                "not mounted: destinations are seen at the exit of system calls only, so those of datagrams sent \
                 through io_uring are missed, and of connections they are told as they were asked for; mount it, or boot with systemd.unified_cgroup_hierarchy=1"
                    .into()
            }),
    );
    let options = Options {
        ring_bytes: 64 << 10,
        payload_limit: 4 << 10,
        // As in a run: the verifier does not walk what is switched off. There is nobody but ourselves to be found.
        sniff: true,
        scope: Some(vec![std::process::id()]),
        tier: TierChoice::Auto,
    };
    let (hooks, costs, system_calls, error) = match Object::open(&options) {
        Ok((mut object, _ring)) => {
            let read =
                |why| format!("a helper function reads it, which costs more than loads: {why}");
            let how = object.helper_reads().map_or_else(|| LOADED.into(), read);
            add("kernel memory", Ok(how));
            let begun = Instant::now();
            let attached = object.set_watching(true);
            while object.step() == Step::Working {}
            let attached_in_ms = begun.elapsed().as_millis();
            let chosen = Chosen { tier: object.tier().name(), attached_in_ms };
            let error = attached.err().or_else(|| object.refused());
            (examined(&object), object.verifier_cost(), Some(chosen), error)
        }
        Err(error) => (Vec::new(), Vec::new(), None, Some(error)),
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
        system_calls,
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
    write_hooks(&report.hooks, out)?;
    if let Some(Chosen { tier, attached_in_ms }) = &report.system_calls {
        let cost = if *tier == Tier::Fexit.name() {
            "of all calls of this host, those above alone pay for it"
        } else {
            "every call of this host pays for one map lookup"
        };
        writeln!(
            out,
            "\nSystem calls are watched by tier `{tier}`, attached in {attached_in_ms} ms. While a server is \
             watched, {cost} ({}).",
            Path::new("docs/performance.md").display()
        )?;
    }
    Ok(())
}

/// A line a hook, a column a tier, and below them the reasons, each once.
fn write_hooks(hooks: &[Examined], out: &mut impl Write) -> std::io::Result<()> {
    let mut reasons: Vec<&str> = Vec::new();
    write!(out, "     {:<20}", "hook")?;
    for tier in Tier::ALL {
        write!(out, " {:<10}", tier.name())?;
    }
    writeln!(out, " used")?;
    for Examined { hook, tiers } in hooks {
        write!(out, "{} {:<20}", mark(hook.state != "missing"), hook.name)?;
        for tier in Tier::ALL {
            let cell = match tiers.iter().find(|tried| tried.tier == tier.name()) {
                None => "-".into(),
                Some(Tried { reason: Some(reason), .. }) => {
                    format!("no [{}]", number_of(reason, &mut reasons))
                }
                Some(_) => "yes".into(),
            };
            write!(out, " {cell:<10}")?;
        }
        match &hook.reason {
            Some(reason) if hook.state == "missing" => {
                writeln!(out, " missing [{}]", number_of(reason, &mut reasons))?;
            }
            _ if hook.state == "absent" => writeln!(out, " absent")?,
            // Of the others it stands in the column of the better tier.
            Some(reason) if [SYS_EXIT, IO_URING_SUBMIT].contains(&hook.name) => {
                writeln!(out, " {} [{}]", hook.tier, number_of(reason, &mut reasons))?;
            }
            _ => writeln!(out, " {}", hook.tier)?,
        }
    }
    for (index, reason) in reasons.iter().enumerate() {
        writeln!(out, "[{}] {reason}", index + 1)?;
    }
    Ok(())
}

/// The number of a reason below the table.
fn number_of<'a>(reason: &'a str, reasons: &mut Vec<&'a str>) -> usize {
    let known = reasons.iter().position(|known| *known == reason).unwrap_or_else(|| {
        reasons.push(reason);
        reasons.len() - 1
    });
    known + 1
}

fn examined(object: &Object) -> Vec<Examined> {
    HOOKS
        .iter()
        .zip(object.hooks())
        .map(|(row, hook)| {
            let tiers = object.ways(row).into_iter().map(|(way, missing)| Tried {
                tier: way.tier.name(),
                works: missing.is_none(),
                reason: missing.map(str::to_owned),
            });
            Examined { hook, tiers: tiers.collect() }
        })
        .collect()
}

fn mark(ok: bool) -> &'static str {
    if ok { "ok  " } else { "FAIL" }
}
