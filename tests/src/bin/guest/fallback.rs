//! A kernel that has all of the better tier but one program: its type information lacks a function that is there. And one
//! that does not show which functions it has, nor its tracepoints.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

use mcpwatch_tests::{Era, Refusals, Scene, Sdk, kernel_version, text};
use serde_json::{Value, json};

use crate::play;
use crate::suite::TIERS;

/// Where the kernel shows its types, and where those without the function are put.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
const WITHOUT: &str = "/tmp/without";
/// The kernel's list of its functions, and what covers it.
const FUNCTIONS: &str = "/proc/kallsyms";
const EMPTY: &str = "/tmp/empty";
/// Where it shows its tracepoints, and what covers these.
const TRACEPOINTS: &str = "/sys/kernel/tracing";
const NOTHING: &str = "/tmp/nothing";
/// The function's name among them, and the hook it is for.
const FUNCTION: &str =
    if cfg!(target_arch = "aarch64") { "\0__arm64_sys_setns\0" } else { "\0__x64_sys_setns\0" };
const HOOK: &str = "sys_setns";
/// How many programs there are on what an `io_uring` opens, where it is not one.
const RING_PROGRAMS: usize = 5;
/// "The kernel side cannot be had."
const NO_KERNEL: i32 = 3;

/// The other tier serves all calls, and the reason is named; who insists on the better one is told why not.
pub fn one_missing_function_takes_the_tier() {
    take_a_function_away();
    let report = examined(&[(WITHOUT, TYPES)]);
    assert_eq!(report["system_calls"]["tier"], "tracepoint", "{}", report["system_calls"]);
    let refused: Vec<(&str, bool)> =
        refused(&report).map(|(name, reason)| (name, !reason.is_empty())).collect();
    assert_eq!(refused, [(HOOK, true)]);

    let output = agent(&["run", "--descendants-of", "1", "--tier", "fexit"], &[(WITHOUT, TYPES)]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(NO_KERNEL), "{said}");
    assert!(said.contains(HOOK), "{said}");
}

/// The kernel attached a program for a trial, and does not attach another when there is something to watch: what was
/// attached goes, and all calls are seen in the other tier.
pub fn a_function_refused_while_watching_takes_the_tier() {
    let scene = Scene::new();
    let refusals = Refusals::default();
    let agent = scene.agent().refused(&refusals).start();
    refusals.refuse_after("", 3);
    let client = scene.client(Sdk::Own);
    client.open(&play::config(&scene), &[play::SERVER], Era::Handshake);
    let degraded = agent.find_within("the other tier", play::SETTLED, |record| {
        text(record, "status.state") == "degraded"
            && text(record, "status.message").contains("turned out not to work")
    });
    let refusal = format!("(os error {})", libc::ENOMEM);
    assert!(degraded.to_string().contains(&refusal), "{degraded}");
    play::is_in(&agent, 0, &TIERS[0]);
    let path = scene.write("seen.txt", "text");
    client.call(play::SERVER, "read_file", json!({"path": path}));
    agent.find("an open of the server", |record| {
        text(record, "file.path") == path && text(record, "call.tool") == "read_file"
    });
    client.close(&[]);
    agent.stop();
}

/// The kernel attached the programs on what an `io_uring` opens for a trial, and refuses one of them when there is something to
/// watch: where there are several, the one that every open of the host comes by takes their place; where it is that one, opens
/// are told as they are asked for. Either way the reason is named.
pub fn a_refused_ring_program_is_replaced_while_watching() {
    let scene = Scene::new();
    let path = scene.write("seen.txt", "text");
    let refusals = Refusals::default();
    let agent = scene.agent().refused(&refusals).start();
    let several = kernel_version().expect("a kernel says its version") >= (6, 0);
    refusals.refuse_once_after("", if several { RING_PROGRAMS - 1 } else { 0 });
    let client = scene.client(Sdk::Own);
    client.open(&play::config(&scene), &[play::SERVER], Era::Handshake);
    let (state, reason, result) = if several {
        ("attached", "at the function that every open of the host comes by", "ok")
    } else {
        ("missing", "files opened through io_uring", "unknown")
    };
    let refusal = format!("(os error {})", libc::ENOMEM);
    let is_told = |record: &Value| {
        let mut hooks = record["status"]["hooks"].as_array().into_iter().flatten();
        hooks.any(|hook| {
            let why = text(hook, "reason");
            text(hook, "name") == "io_uring_open"
                && text(hook, "state") == state
                && why.contains(reason)
                && why.contains(&refusal)
        })
    };
    let until = Instant::now() + play::SETTLED;
    while !agent.records().of("status").any(is_told) {
        assert!(Instant::now() < until, "not told: {}", agent.records().digest());
        // The hooks are told once the server's calls from before them have returned, read(2) for its next request among them.
        client.request(play::SERVER, "tools/list", json!({}));
        thread::sleep(Duration::from_millis(500));
    }
    assert!(refusals.was_met(""));
    client.call(play::SERVER, "ring_open", json!({"path": path, "way": "by_worker"}));
    let open = agent.find("an open of the server", |record| text(record, "file.path") == path);
    assert_eq!((text(&open, "file.via"), text(&open, "file.result")), ("io_uring", result));
    assert_eq!(text(&open, "call.tool"), "ring_open");
    client.close(&[]);
    agent.stop();
}

/// Where the list of the kernel's functions cannot be read, as some service managers have it, what is not known is not
/// taken for granted: neither that a function is not there, nor, before 5.12, that the repair is. Where there is no tracefs,
/// as in some containers, the hook on all calls works in another way, and says so if it is not as good here.
pub fn what_is_hidden_hides_no_reason() {
    fs::write(EMPTY, "").expect("a file can be written");
    fs::create_dir_all(NOTHING).expect("a folder can be made");
    take_a_function_away();
    let report = examined(&[(EMPTY, FUNCTIONS), (NOTHING, TRACEPOINTS), (WITHOUT, TYPES)]);
    let mut hooks = report["hooks"].as_array().into_iter().flatten();
    let on_all_calls = hooks.find(|hook| hook["name"] == "sys_exit").expect("a hook");
    // Doctor attaches it: without a function the other tier cannot serve.
    assert_eq!(on_all_calls["state"], "attached", "{on_all_calls}");
    let reason = on_all_calls["reason"].as_str();
    let told = reason.is_some_and(|reason| reason.contains("tracefs"));
    assert_eq!(told, has_raw_tracepoints_that_give_way(), "{reason:?}");
    assert_eq!(report["system_calls"]["tier"], "tracepoint", "{}", report["system_calls"]);
    let told: Vec<(&str, &str)> = refused(&report).collect();
    assert!(told.iter().all(|(_, reason)| reason.contains(FUNCTIONS)), "{told:?}");
    // One function is not there to be watched; before 5.12 nothing is watched that way.
    let names: Vec<&str> = told.iter().map(|(name, _)| *name).collect();
    let repaired = kernel_version().expect("a kernel says its version") >= (5, 12);
    assert!(names.contains(&HOOK) && (!repaired || names == [HOOK]), "{names:?}");
}

/// Of the kernels of the matrix, the newest.
fn has_raw_tracepoints_that_give_way() -> bool {
    let built = fs::read_to_string("/proc/sys/kernel/version").expect("procfs is mounted");
    kernel_version().expect("a kernel says its version") >= (7, 2) && built.contains("PREEMPT")
}

/// Puts the types without the function where [`agent`] can find them.
fn take_a_function_away() {
    let mut types = fs::read(TYPES).expect("the kernel shows its types");
    let places: Vec<usize> = types
        .windows(FUNCTION.len())
        .enumerate()
        .filter_map(|(place, part)| (part == FUNCTION.as_bytes()).then_some(place))
        .collect();
    assert_eq!(places.len(), 1, "one function is called so");
    types[places[0] + FUNCTION.len() - 2] = b'X';
    fs::write(WITHOUT, types).expect("a file can be written");
}

/// What doctor says where files are covered by others.
fn examined(covered: &[(&str, &str)]) -> Value {
    let output = agent(&["doctor", "--json"], covered);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("doctor writes JSON")
}

/// Hooks that do not work in a tier although the kernel has their call, and why.
fn refused(report: &Value) -> impl Iterator<Item = (&str, &str)> {
    let hooks = report["hooks"].as_array().into_iter().flatten();
    hooks.filter(|hook| !is_too_new(hook)).flat_map(|hook| {
        let ways = hook["tiers"].as_array().into_iter().flatten();
        let refused = ways.filter(|way| way["works"] == false);
        refused.map(|way| (text(hook, "name"), way["reason"].as_str().unwrap_or_default()))
    })
}

fn is_too_new(hook: &Value) -> bool {
    let ways = hook["tiers"].as_array().into_iter().flatten();
    let mut reasons = ways.filter_map(|way| way["reason"].as_str());
    reasons.any(|why| why.starts_with("this kernel has no ") || why.contains(" came with Linux "))
}

/// The agent's program, where the second file of each pair is the first one.
fn agent(arguments: &[&str], covered: &[(&str, &str)]) -> Output {
    let path = |path: &str| CString::new(path).expect("no NUL");
    let root = path("/");
    let covered: Vec<(CString, CString)> =
        covered.iter().map(|(from, to)| (path(from), path(to))).collect();
    let mut command = Command::new("/bin/mcpwatch");
    command.args(arguments);
    // SAFETY: system calls alone, with strings that live as long as the closure.
    unsafe {
        command.pre_exec(move || {
            done(libc::unshare(libc::CLONE_NEWNS))?;
            let (private, none) = (libc::MS_REC | libc::MS_PRIVATE, ptr::null());
            done(libc::mount(none, root.as_ptr(), none, private, ptr::null()))?;
            covered.iter().try_for_each(|(from, to)| {
                done(libc::mount(from.as_ptr(), to.as_ptr(), none, libc::MS_BIND, ptr::null()))
            })
        });
    }
    command.output().expect("the agent can be started")
}

fn done(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
