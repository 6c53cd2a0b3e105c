//! What must hold before a load is tried, so that a refusal has a name: capabilities, kernel release,
//! lockdown.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::Path;

use mcpwatch_common::syscalls::{OLDEST, Version};

use super::KernelError;
use super::hooks::{HOOKS, Hook, Tier};

/// `CAP_*` numbers of `linux/capability.h` that loading and attaching need, with their names.
/// `CAP_SYS_ADMIN` stands for all of them.
const NEEDED: &[(u32, &str)] =
    &[(39, "CAP_BPF"), (38, "CAP_PERFMON"), (12, "CAP_NET_ADMIN"), (19, "CAP_SYS_PTRACE")];
const SYS_ADMIN: u32 = 21;

/// Checks the capabilities of this process.
pub fn check() -> Result<(), KernelError> {
    release_is_supported(&release())?;
    if let Some(missing) = missing(effective()) {
        return Err(KernelError::NotPermitted { missing });
    }
    lockdown(&std::fs::read_to_string("/sys/kernel/security/lockdown").unwrap_or_default())
}

/// `uname -r`.
#[must_use]
pub fn release() -> String {
    std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned()
}

/// Major and minor version of a release string; `None` when it has none.
#[must_use]
pub fn version(release: &str) -> Option<Version> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn release_is_supported(release: &str) -> Result<(), KernelError> {
    match version(release) {
        Some(version) if version < OLDEST => {
            Err(KernelError::TooOld { release: release.to_owned() })
        }
        _ => Ok(()),
    }
}

/// The effective capability set of this process.
fn effective() -> u64 {
    procfs::process::Process::myself().and_then(|me| me.status()).map_or(0, |status| status.capeff)
}

fn missing(effective: u64) -> Option<String> {
    let has = |number: u32| effective & (1 << number) != 0;
    if has(SYS_ADMIN) && has(12) {
        return None;
    }
    let names: Vec<&str> =
        NEEDED.iter().filter(|(number, _)| !has(*number)).map(|(_, name)| *name).collect();
    (!names.is_empty()).then(|| names.join(", "))
}

/// The active mode stands in brackets: `none [integrity] confidentiality`.
fn lockdown(text: &str) -> Result<(), KernelError> {
    let mode =
        text.split_once('[').and_then(|(_, rest)| rest.split_once(']')).map(|(mode, _)| mode);
    match mode {
        Some("confidentiality") => Err(KernelError::Lockdown { mode: "confidentiality".into() }),
        _ => Ok(()),
    }
}

/// The kernel may give the processor to another task while a program runs. Whether it does may be chosen at boot
/// (`PREEMPT_DYNAMIC`), so only a kernel that never can is taken for one that does not. Before 5.11, programs run
/// with that forbidden.
#[must_use]
pub fn preemptible() -> bool {
    version(&release()).is_none_or(|version| version >= (5, 11))
        && std::fs::read_to_string("/proc/sys/kernel/version")
            .is_ok_and(|text| text.contains("PREEMPT"))
}

/// The same of programs on raw tracepoints: before 7.0 they run with that forbidden (a46023d5616e "tracing: Guard
/// `__DECLARE_TRACE()` use of `__DO_TRACE_CALL()` with SRCU-fast").
#[must_use]
pub fn tracepoints_give_way() -> bool {
    preemptible() && version(&release()).is_none_or(|version| version >= (7, 0))
}

/// The same of those on the entry and the exit of system calls: before 7.2 (439ebd5b5708 "bpf: Add sleepable support for raw
/// tracepoint programs").
#[must_use]
pub fn tracepoints_of_calls_give_way() -> bool {
    preemptible() && version(&release()).is_none_or(|version| version >= (7, 2))
}

/// Programs at the return of functions that sleep can be detached without harm.
///
/// Until 5.12 the code around a function was freed while a thread slept in it, which then returned into nothing
/// (repaired by e21aa341785c "bpf: Fix fexit trampoline", which older kernels may have, too). The repair brought
/// the function that is looked for.
pub fn trampolines() -> Result<(), String> {
    trampolines_are_safe(&release(), kernel_symbols)
}

fn trampolines_are_safe(release: &str, symbols: impl FnOnce() -> Symbols) -> Result<(), String> {
    if version(release).is_some_and(|version| version >= (5, 12)) {
        return Ok(());
    }
    let symbols = symbols().map_err(|why| {
        format!("whether this kernel has the repair of Linux 5.12 for programs on sleeping functions is not known: {why}")
    })?;
    if symbols.contains(TRAMPOLINES_REPAIRED) {
        return Ok(());
    }
    Err("this kernel lacks the repair of Linux 5.12 that makes programs on sleeping functions safe (\"bpf: Fix \
         fexit trampoline\")"
        .into())
}

/// What came with that repair.
const TRAMPOLINES_REPAIRED: &str = "__bpf_tramp_image_put_rcu";

/// Which of the functions that are asked for the kernel has, or why that cannot be had: a service manager may hide its
/// list.
pub type Symbols = Result<BTreeSet<String>, String>;

/// Looks in the kernel's own list of its functions for those of the hooks, and the repaired one.
pub fn kernel_symbols() -> Symbols {
    let mut wanted: BTreeSet<String> = HOOKS
        .iter()
        .filter_map(|hook| hook.way(Tier::Fexit))
        .flat_map(|way| way.point.functions())
        .collect();
    wanted.insert(TRAMPOLINES_REPAIRED.to_owned());
    let found = File::open(SYMBOLS).and_then(|list| symbols_among(&wanted, BufReader::new(list)));
    found
        .map_err(|error| format!("{SYMBOLS} cannot be read: {error}"))?
        .ok_or_else(|| format!("{SYMBOLS} is empty"))
}

/// Which of these names a list has, of lines `address type name`; `None` if it has no line. It has some 8 MB, and is not
/// kept.
fn symbols_among(
    wanted: &BTreeSet<String>,
    mut list: impl BufRead,
) -> io::Result<Option<BTreeSet<String>>> {
    let mut found = None;
    let mut line = Vec::new();
    while list.read_until(b'\n', &mut line)? > 0 {
        let text = String::from_utf8_lossy(&line);
        if let Some(name) = text.split_ascii_whitespace().nth(2) {
            let found = found.get_or_insert_with(BTreeSet::new);
            found.extend(wanted.get(name).cloned());
        }
        line.clear();
    }
    Ok(found)
}

const SYMBOLS: &str = "/proc/kallsyms";

/// The kernel was built without the function a program of tier `fexit` is for, or is older than it: why that is known.
/// The error is why it is not.
pub fn lacks_function(symbols: &Symbols, hook: &Hook, release: &str) -> Result<String, String> {
    let Some(way) = hook.way(Tier::Fexit) else { return Err("it has no such program".into()) };
    let functions = way.point.functions();
    let names = functions.join(" or ");
    match symbols {
        Ok(symbols) if functions.iter().any(|function| symbols.contains(function)) => {
            Err(format!("the kernel has {names}"))
        }
        Ok(_) => Ok(format!("this kernel has no {names}")),
        Err(why) => {
            let call = hook.way(Tier::Tracepoint).map_or(OLDEST, |way| way.since[0]);
            if version(release).is_some_and(|running| running < call) {
                let (major, minor) = call;
                return Ok(format!("{names} came with Linux {major}.{minor}"));
            }
            Err(format!("whether the kernel has {names} is not known: {why}"))
        }
    }
}

/// Where cgroup v2 is mounted, from a `/proc/self/mounts` table.
#[must_use]
pub fn cgroup2_root(mounts: &str) -> Option<&Path> {
    mounts.lines().find_map(|line| {
        let mut columns = line.split(' ');
        let (_device, folder, kind) = (columns.next()?, columns.next()?, columns.next()?);
        (kind == "cgroup2").then(|| Path::new(folder))
    })
}

#[cfg(test)]
mod tests {
    use super::super::hooks;
    use super::*;

    #[test]
    fn releases_are_compared_by_number() {
        for (release, supported) in [
            ("5.10.0-32-cloud-amd64", true),
            ("5.9.16", false),
            ("4.18.0-553.el8_10.x86_64", false),
            ("6.18.44-fc-v657", true),
            ("7.2-rc1", true),
            ("something else", true),
        ] {
            assert_eq!(release_is_supported(release).is_ok(), supported, "{release}");
        }
    }

    #[test]
    fn unrepaired_trampolines_are_refused() {
        let repaired = || Ok(BTreeSet::from([TRAMPOLINES_REPAIRED.to_owned()]));
        let unrepaired = || Ok(BTreeSet::new());
        let hidden = || Err("no permission".to_owned());
        assert!(trampolines_are_safe("5.10.0-46-cloud-amd64", repaired).is_ok());
        assert!(trampolines_are_safe("5.10.4", unrepaired).is_err());
        let reason = trampolines_are_safe("5.10.0-46-cloud-amd64", hidden).unwrap_err();
        assert!(reason.contains("not known: no permission"), "{reason}");
        assert!(trampolines_are_safe("6.1.0", hidden).is_ok());
    }

    #[test]
    fn symbols_are_found_by_their_whole_name() {
        let wanted = BTreeSet::from(["one".to_owned(), "two".to_owned(), "three".to_owned()]);
        let list = "0 T one\n0 t two_more\nsenseless\n0 t three\t[module]\n0 T é\n";
        let found = symbols_among(&wanted, list.as_bytes()).unwrap().unwrap();
        assert_eq!(found, BTreeSet::from(["one".to_owned(), "three".to_owned()]));
        assert_eq!(symbols_among(&wanted, &b"0 T other\n"[..]).unwrap(), Some(BTreeSet::new()));
        for nothing in [&b""[..], b"\n"] {
            assert_eq!(symbols_among(&wanted, nothing).unwrap(), None);
        }
    }

    #[test]
    fn a_function_is_lacking_only_if_that_is_known() {
        let hook = |name: &str| hooks::HOOKS.iter().find(|hook| hook.name == name).unwrap();
        let name = |call: &str| hook(call).way(Tier::Fexit).unwrap().point.functions().concat();
        let symbols = Ok(BTreeSet::from([name("sys_read")]));
        let hidden = Err("no permission".to_owned());
        for (symbols, call, release, lacking) in [
            (&symbols, "sys_read", "6.1.0", false),
            (&symbols, "sys_fchmodat2", "6.1.0", true),
            // Built without it.
            (&symbols, "sys_kexec_load", "6.1.0", true),
            (&hidden, "sys_read", "6.1.0", false),
            (&hidden, "sys_fchmodat2", "6.1.0", true),
            (&hidden, "sys_fchmodat2", "6.6.1", false),
            (&hidden, "sys_fchmodat2", "something else", false),
        ] {
            let found = lacks_function(symbols, hook(call), release);
            let (Ok(reason) | Err(reason)) = &found;
            assert!(reason.contains(&name(call)), "{reason}");
            assert_eq!(found.is_ok(), lacking, "{call} of {release}: {reason}");
        }
    }

    #[test]
    fn missing_capabilities_are_named() {
        assert_eq!(missing(u64::MAX), None);
        assert_eq!(missing(1 << 39 | 1 << 38 | 1 << 12 | 1 << 19), None);
        assert_eq!(missing(1 << 39 | 1 << 12 | 1 << 19).as_deref(), Some("CAP_PERFMON"));
        assert!(missing(0).is_some());
    }

    #[test]
    fn only_confidentiality_stands_in_the_way() {
        assert!(lockdown("none [integrity] confidentiality\n").is_ok());
        assert!(lockdown("none integrity [confidentiality]\n").is_err());
        assert!(lockdown("").is_ok());
    }

    #[test]
    fn cgroup2_is_found_wherever_it_is_mounted() {
        let mounts = "proc /proc proc rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2_root(mounts), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(cgroup2_root("cgroup /sys/fs/cgroup/cpu cgroup rw 0 0\n"), None);
    }
}
