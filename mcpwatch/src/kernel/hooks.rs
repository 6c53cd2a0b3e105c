//! The table of hooks: what each is for, the ways it can be attached from the best to the cheapest to have,
//! and what is lost without it. `doctor`, the `status` record, the metrics and `docs/kernel-support.md` are made
//! from it.

use std::iter;
use std::sync::LazyLock;

use mcpwatch_common::syscalls::{
    ARM_CALLS, ARM_SHARED_CALLS, COMPAT_CALLS, CompatCall, OLDEST, SYSTEM_CALLS, SystemCall,
    Version,
};

/// How a hook is attached, as records and metrics name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// At the return of a single kernel function; other functions cost nothing.
    Fexit,
    /// A raw tracepoint.
    Tracepoint,
    /// The root of the cgroup v2 hierarchy.
    Cgroup,
}

impl Tier {
    /// Every tier.
    pub const ALL: [Self; 3] = [Self::Fexit, Self::Tracepoint, Self::Cgroup];

    /// The tier of a word.
    #[must_use]
    pub fn named(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|tier| tier.name() == word)
    }

    /// The word in records and metrics.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Fexit => "fexit",
            Self::Tracepoint => "tracepoint",
            Self::Cgroup => "cgroup",
        }
    }
}

/// Where a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// A raw tracepoint of this name.
    RawTracepoint(&'static str),
    /// The same by the names it had, from the newest on.
    RenamedTracepoint(&'static [&'static str]),
    /// The root of the cgroup v2 hierarchy.
    Cgroup,
    /// The same, for packets of its sockets.
    Packets(Flow),
    /// The return of the wrapper of this system call (`sys_read`): `__x64_sys_read`, `__arm64_sys_read`.
    Wrapper(&'static str),
    /// The return of this kernel function.
    Function(&'static str),
    /// The same by the names it had, from the newest on.
    Renamed(&'static [&'static str]),
}

impl Point {
    /// The kernel function whose return it is, on this architecture, by each of its names.
    #[must_use]
    pub fn functions(self) -> Vec<String> {
        match self {
            Self::Wrapper(name) if cfg!(target_arch = "aarch64") => vec![format!("__arm64_{name}")],
            Self::Wrapper(name) => vec![format!("__x64_{name}")],
            Self::Function(name) => vec![name.to_owned()],
            Self::Renamed(names) => names.iter().map(|name| (*name).to_owned()).collect(),
            Self::RawTracepoint(_)
            | Self::RenamedTracepoint(_)
            | Self::Cgroup
            | Self::Packets(_) => Vec::new(),
        }
    }

    /// It is a tracepoint.
    #[must_use]
    pub const fn is_tracepoint(self) -> bool {
        matches!(self, Self::RawTracepoint(_) | Self::RenamedTracepoint(_))
    }
}

/// Which way packets go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the socket.
    In,
    /// From the socket.
    Out,
}

/// When a program is attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// From start to end.
    Always,
    /// While there is a server or a candidate.
    Watching,
}

/// One way to attach a hook.
#[derive(Clone, Copy, Debug)]
pub struct Way {
    /// The tier it belongs to.
    pub tier: Tier,
    /// Name of the program in the object. Several hooks may share one.
    pub program: &'static str,
    /// Where.
    pub point: Point,
    /// The kernel it works from, on x86-64 and on arm64.
    pub since: [Version; 2],
}

/// One hook.
#[derive(Clone, Debug)]
pub struct Hook {
    /// Its name in records and metrics.
    pub name: &'static str,
    /// From the best to the one that works nearly everywhere.
    pub ways: Vec<Way>,
    /// When.
    pub when: When,
    /// Without it mcpwatch does not start.
    pub required: bool,
    /// What goes unseen without it.
    pub lost: &'static str,
}

impl Hook {
    /// The way of a tier.
    #[must_use]
    pub fn way(&self, tier: Tier) -> Option<&Way> {
        self.ways.iter().find(|way| way.tier == tier)
    }

    /// It is one of those of single system calls, which one tier serves together.
    #[must_use]
    pub fn is_system_call(&self) -> bool {
        self.way(Tier::Fexit).is_some() && self.way(Tier::Tracepoint).is_some()
    }
}

/// Whether the hook of this name is one of those of single system calls.
#[must_use]
pub fn is_system_call(name: &str) -> bool {
    HOOKS.iter().any(|hook| hook.name == name && hook.is_system_call())
}

/// Whatever the kernel, on both architectures.
const ALWAYS: [Version; 2] = [OLDEST; 2];
/// Programs at the return of functions that sleep: on x86-64 since 5.12, and in kernels that have the repair of
/// that version (see `capabilities::trampolines`); on arm64 since `ftrace` can call programs directly.
const FEXIT: [Version; 2] = [OLDEST, (6, 4)];

/// The hook on files opened through `io_uring`. It is not a part of the tier that serves system calls.
pub const IO_URING_OPEN: &str = "io_uring_open";

/// One of several programs that do together what a hook's own does.
#[derive(Clone, Copy, Debug)]
pub struct Part {
    /// Its name in the object.
    pub program: &'static str,
    /// The kernel function at whose entry or return it is.
    pub function: &'static str,
}

/// Those in the place of the program on opens through `io_uring`, in the order they are attached in. They are at the
/// functions that do such requests, and nothing else that is opened pays for them.
pub const IO_URING_OPEN_PARTS: &[Part] = &[
    Part { program: "io_openat_begins", function: "io_openat" },
    Part { program: "io_openat2_begins", function: "io_openat2" },
    Part { program: "io_file_kept", function: "io_fixed_fd_install" },
    Part { program: "io_openat_ends", function: "io_openat" },
    Part { program: "io_openat2_ends", function: "io_openat2" },
];

/// From this version on these functions leave the result in the request (`io_req_set_res`); before, they complete it
/// themselves, and it may be gone when they return.
pub const IO_URING_OPEN_PARTS_SINCE: Version = (6, 0);

/// The hook on what is given to an `io_uring`, as it is submitted.
pub const IO_URING_SUBMIT: &str = "io_uring_submit";

/// The names of its tracepoint: renamed in 6.3.
pub const SUBMITTED: &[&str] = &["io_uring_submit_req", "io_uring_submit_sqe"];

/// The hooks on destinations of connections.
pub const CONNECTS: [&str; 2] = ["connect4", "connect6"];

/// The program that serves all system calls in tier `tracepoint`.
pub const SYS_EXIT: &str = "sys_exit";

/// The one in its place on kernels whose raw tracepoints would not do: see `sys_exit.rs`.
pub const SYS_EXIT_PERF: &str = "sys_exit_perf";

const fn raw_tracepoint(name: &'static str) -> Way {
    Way { tier: Tier::Tracepoint, program: name, point: Point::RawTracepoint(name), since: ALWAYS }
}

fn one_way(name: &'static str, way: Way, when: When, required: bool, lost: &'static str) -> Hook {
    Hook { name, ways: vec![way], when, required, lost }
}

fn process_life(name: &'static str, lost: &'static str) -> Hook {
    one_way(name, raw_tracepoint(name), When::Always, true, lost)
}

fn egress(name: &'static str, lost: &'static str) -> Hook {
    let way = Way { tier: Tier::Cgroup, program: name, point: Point::Cgroup, since: ALWAYS };
    one_way(name, way, When::Always, false, lost)
}

fn packets(name: &'static str, flow: Flow, lost: &'static str) -> Hook {
    let point = Point::Packets(flow);
    let way = Way { tier: Tier::Cgroup, program: name, point, since: ALWAYS };
    one_way(name, way, When::Watching, false, lost)
}

/// `call` is the first kernel that has the call.
fn system_call(name: &'static str, point: Point, lost: &'static str, call: Version) -> Hook {
    // Functions that are named outright are those of 32-bit calls: the table shows x86-64's, in a column of one version.
    let of_x86_64 = matches!(point, Point::Function(_)) && cfg!(target_arch = "x86_64");
    let since = if of_x86_64 { ALWAYS } else { FEXIT }.map(|tier| tier.max(call));
    let fexit = Way { tier: Tier::Fexit, program: name, point, since };
    Hook {
        name,
        ways: vec![fexit, Way { since: [call; 2], ..raw_tracepoint(SYS_EXIT) }],
        when: When::Watching,
        required: false,
        lost,
    }
}

/// Every hook of this architecture.
pub static HOOKS: LazyLock<Vec<Hook>> = LazyLock::new(|| {
    let mut hooks = vec![
        process_life("sched_process_fork", "children of servers"),
        process_life("sched_process_exec", "servers, and executed programs"),
        process_life("sched_process_exit", "that processes have ended: they stay in the watch set"),
        one_way(
            "inet_sock_set_state",
            raw_tracepoint("inet_sock_set_state"),
            When::Always,
            false,
            "candidates that listen instead of having a channel",
        ),
        one_way(
            SYS_EXIT,
            raw_tracepoint(SYS_EXIT),
            When::Watching,
            true,
            "system calls of all kinds, but for those tier `fexit` serves; with it, calls that began before the \
             watching",
        ),
        egress(
            "connect4",
            "IPv4 connections made through io_uring: they are told as they were asked for",
        ),
        egress(
            "connect6",
            "IPv6 connections made through io_uring: they are told as they were asked for",
        ),
        egress(
            "sendmsg4",
            "all but the first IPv4 destination of one sendmmsg(2), and datagrams sent through io_uring",
        ),
        egress(
            "sendmsg6",
            "all but the first IPv6 destination of one sendmmsg(2), and datagrams sent through io_uring",
        ),
        packets(
            "packets_in",
            Flow::In,
            "answers of name service: addresses have no names, so that what is allowed by name is unexpected",
        ),
        packets(
            "packets_out",
            Flow::Out,
            "questions to name service, tunnels through it, and the names TLS clients ask for",
        ),
        one_way(
            IO_URING_OPEN,
            Way {
                tier: Tier::Fexit,
                program: IO_URING_OPEN,
                point: Point::Renamed(&["do_file_open", "do_filp_open"]),
                // Before, the threads that do the work belong to no process.
                since: [(5, 12), (6, 4)],
            },
            When::Watching,
            false,
            "results of files opened through io_uring, and where their paths lead: they are told as they were asked for",
        ),
        one_way(
            IO_URING_SUBMIT,
            Way {
                tier: Tier::Tracepoint,
                program: IO_URING_SUBMIT,
                point: Point::RenamedTracepoint(SUBMITTED),
                // Before, it does not show the request.
                since: [(5, 15); 2],
            },
            When::Watching,
            false,
            "files renamed, linked, removed, made as directories or cut through io_uring, sockets of rare families, unix \
             sockets connected, sockets bound and listened on, and that bytes of a channel went that way; where \
             `io_uring_open` is missing, files opened through it",
        ),
    ];
    let calls = SYSTEM_CALLS.iter().filter(|call| number(call).is_some());
    hooks.extend(
        calls.map(|call| system_call(call.name, Point::Wrapper(call.name), call.lost, call.since)),
    );
    hooks.extend(compat_calls().iter().map(|call| {
        let lost = match call.like {
            Some(_) => "the same, by a 32-bit call",
            None => "what 32-bit programs do with sockets by socketcall(2)",
        };
        let like = SYSTEM_CALLS.iter().find(|like| call.like == Some(like.name));
        let since = like.map_or(OLDEST, |like| like.since);
        system_call(call.name, Point::Function(call.function), lost, since)
    }));
    hooks
});

/// The number of a system call on this architecture.
#[must_use]
pub const fn number(call: &SystemCall) -> Option<u32> {
    if cfg!(target_arch = "aarch64") { call.aarch64 } else { call.x86_64 }
}

/// The 32-bit system calls of this architecture that have a function of their own.
const fn compat_calls() -> &'static [CompatCall] {
    if cfg!(target_arch = "aarch64") { ARM_CALLS } else { COMPAT_CALLS }
}

/// The numbers of all 32-bit system calls of this architecture that are watched.
pub fn compat_numbers() -> impl Iterator<Item = u32> {
    let shared = if cfg!(target_arch = "aarch64") { ARM_SHARED_CALLS } else { &[] };
    let own = compat_calls().iter().map(|call| call.number);
    own.chain(shared.iter().map(|(_, number)| *number))
}

/// The hooks of single system calls.
pub fn system_calls() -> impl Iterator<Item = &'static Hook> {
    HOOKS.iter().filter(|hook| hook.is_system_call())
}

/// Names of all programs, each once.
pub fn programs() -> impl Iterator<Item = &'static str> {
    let repeated = |program: &str| program == SYS_EXIT;
    let own = HOOKS.iter().flat_map(|hook| &hook.ways).map(|way| way.program);
    let with_parts = |program| {
        let parts = if program == IO_URING_OPEN { IO_URING_OPEN_PARTS } else { &[] };
        iter::once(program).chain(parts.iter().map(|part| part.program))
    };
    own.filter(move |program| !repeated(program))
        .flat_map(with_parts)
        .chain([SYS_EXIT, SYS_EXIT_PERF])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fmt::Write as _;

    use super::*;

    fn shown((major, minor): Version) -> String {
        format!("{major}.{minor}")
    }

    /// The table as it stands in `docs/kernel-support.md`.
    fn table() -> String {
        let mut text = String::from("| Hook |");
        for tier in Tier::ALL {
            let _ = write!(text, " `{}` |", tier.name());
        }
        text.push_str(" Unseen without it |\n|---|---|---|---|---|\n");
        for hook in HOOKS.iter() {
            let _ = write!(text, "| `{}` |", hook.name);
            let never_on_arm64 =
                SYSTEM_CALLS.iter().any(|call| call.name == hook.name && call.aarch64.is_none());
            for tier in Tier::ALL {
                let cell = match hook.way(tier).map(|way| way.since) {
                    None => "–".to_owned(),
                    Some([x86_64, _]) if never_on_arm64 => format!("{}, arm64 –", shown(x86_64)),
                    Some([x86_64, aarch64]) if x86_64 == aarch64 => shown(x86_64),
                    Some([x86_64, aarch64]) => {
                        format!("{}, arm64 {}", shown(x86_64), shown(aarch64))
                    }
                };
                let _ = write!(text, " {cell} |");
            }
            let _ = writeln!(text, " {} |", hook.lost);
        }
        text
    }

    #[test]
    fn the_documentation_has_the_table() {
        if !cfg!(target_arch = "x86_64") {
            eprintln!("skipped: the documented table is that of x86-64");
            return;
        }
        let text = include_str!("../../../docs/kernel-support.md");
        let (_, rest) = text.split_once("<!-- hooks -->\n").unwrap();
        let (shown, _) = rest.split_once("<!-- end of hooks -->").unwrap();
        assert_eq!(shown.trim(), table().trim(), "docs/kernel-support.md should say:\n{}", table());
    }

    #[test]
    fn the_documentation_names_the_hooks_of_arm64() {
        let names: Vec<String> = ARM_CALLS.iter().map(|call| format!("`{}`", call.name)).collect();
        let text = include_str!("../../../docs/kernel-support.md");
        let (_, rest) = text.split_once("<!-- hooks of arm64 -->").unwrap();
        let (shown, _) = rest.split_once("<!-- end of hooks of arm64 -->").unwrap();
        let shown: Vec<&str> = shown.split(',').map(str::trim).collect();
        assert_eq!(shown, names, "docs/kernel-support.md should name {}", names.join(", "));
    }

    #[test]
    fn the_object_has_the_programs_of_the_table_and_no_others() {
        let object = aya_obj::Object::parse(super::super::object::OBJECT).unwrap();
        let found: BTreeSet<&str> = object.programs.keys().map(String::as_str).collect();
        let mut wanted: BTreeSet<&str> = programs().collect();
        // Some calls exist on one architecture only; the object has a program for each.
        wanted.extend(SYSTEM_CALLS.iter().map(|call| call.name));
        assert_eq!(found, wanted);
    }

    /// Programs know a call by another name than the kernel's functions have where there is one of older date: what is
    /// `setuid` to them is that for ids of 16 bits.
    fn known_as(name: &str, number: impl Fn(&str) -> Option<i32>) -> Option<u32> {
        let found = match (name, name.strip_suffix("16")) {
            ("oldumount", _) => number("umount"),
            ("umount", _) => number("umount2"),
            (_, Some(older)) => number(older),
            _ => number(&format!("{name}32")).or_else(|| number(name)),
        };
        found.map(i32::cast_unsigned)
    }

    #[test]
    fn numbers_of_32_bit_calls_are_those_of_the_kernel() {
        let x86 = |name: &str| name.parse::<syscalls::x86::Sysno>().ok().map(|call| call.id());
        let arm = |name: &str| name.parse::<syscalls::arm::Sysno>().ok().map(|call| call.id());
        for call in COMPAT_CALLS.iter().chain(ARM_CALLS) {
            let (architecture, name) = call.name.split_once('_').unwrap();
            let found =
                if architecture == "arm" { known_as(name, arm) } else { known_as(name, x86) };
            assert_eq!(found, Some(call.number), "{}", call.name);
            assert!(call.function.ends_with(&format!("_{name}")), "{}", call.function);
        }
        for (function, number) in ARM_SHARED_CALLS {
            let name = function.strip_prefix("sys_").unwrap();
            assert_eq!(known_as(name, arm), Some(*number), "{function}");
        }
    }

    /// Else a 32-bit program of arm64 could do unseen what another cannot.
    #[test]
    fn every_call_is_watched_in_its_32_bit_form_on_arm64() {
        for call in SYSTEM_CALLS {
            let own = ARM_CALLS.iter().any(|arm| arm.like == Some(call.name));
            let shared = ARM_SHARED_CALLS.iter().any(|(function, _)| *function == call.name);
            assert!(own || shared, "{}", call.name);
            // Its function is that of 64-bit programs, too.
            assert!(!shared || call.aarch64.is_some(), "{}", call.name);
        }
    }

    /// A call that an architecture has no number for must not have one there either.
    #[test]
    fn numbers_of_64_bit_calls_are_those_of_the_kernel() {
        for call in SYSTEM_CALLS {
            let name = match call.name.strip_prefix("sys_").unwrap() {
                // The function that serves it has the name of the older call.
                "umount" => "umount2",
                name => name,
            };
            let x86_64 = name.parse::<syscalls::x86_64::Sysno>().ok().map(|call| call.id());
            let aarch64 = name.parse::<syscalls::aarch64::Sysno>().ok().map(|call| call.id());
            let found = [x86_64, aarch64].map(|number| number.map(i32::cast_unsigned));
            assert_eq!(found, [call.x86_64, call.aarch64], "{}", call.name);
        }
    }

    #[test]
    fn names_are_unique_and_the_best_way_comes_first() {
        let names: BTreeSet<&str> = HOOKS.iter().map(|hook| hook.name).collect();
        assert_eq!(names.len(), HOOKS.len());
        for hook in HOOKS.iter() {
            let tiers: Vec<Tier> = hook.ways.iter().map(|way| way.tier).collect();
            assert!(!tiers.is_empty() && tiers.iter().skip(1).all(|tier| *tier != Tier::Fexit));
        }
    }
}
