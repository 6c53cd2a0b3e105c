//! The tests of a virtual machine, and how their results go to the console.

use std::env;
use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use mcpwatch_tests::{
    Ground, Sdk, is_failure_final, kernel_version, make_failure_final, may_be_left_out,
    note_passed_over, passed_over, play_io_uring, text,
};
use serde_json::Value;

use crate::clock;
use crate::fallback;
use crate::hidden;
use crate::play;
use crate::rounds;
use crate::verifier;
use crate::whole;

/// A way of capturing that the play is repeated in.
pub struct Tier {
    /// Its name.
    pub name: &'static str,
    /// What the settings say to have it.
    pub settings: &'static str,
    /// Other programs serve in the end than in the beginning: a `settled` record says when.
    pub settles: bool,
}

/// Every tier. The first one is what the host plays in.
pub const TIERS: &[Tier] = &[
    Tier { name: "tracepoint", settings: "[kernel]\ntier = \"tracepoint\"\n", settles: false },
    Tier { name: "fexit", settings: "[kernel]\ntier = \"fexit\"\n", settles: true },
];

/// This machine, in the tier that the host may not have.
const IN_FEXIT: Ground = Ground {
    settings: TIERS[1].settings,
    sdk: Sdk::Own,
    is_served: |agent, client, servers| rounds::is_served(agent, 0, client, servers, &TIERS[1]),
    slower: 4,
};

type Fault = fn(&Ground);

/// What goes wrong there.
const FAULTS: &[(&str, Fault)] = &[
    ("an_agent_killed_under_load_leaves_nothing_behind", Ground::killed_under_load),
    ("a_reader_that_stood_still_tells_what_was_lost", Ground::stood_still),
    ("the_smallest_ring_takes_everything_at_once", Ground::smallest_ring),
    ("a_process_id_used_again_is_another_process", Ground::id_used_again),
];

/// Whether processes may have an `io_uring`.
const RINGS_REFUSED: &str = "/proc/sys/kernel/io_uring_disabled";
/// What the host's agent wrote, put there by `cargo xtask vm`.
const EXPECTED: &str = "/expected.jsonl";
/// How often a test is tried where the kernel passed over calls meanwhile.
const ATTEMPTS: usize = 5;
/// After this long nothing is tried again: `cargo xtask vm` does not wait for ever.
const RETRIED: Duration = Duration::from_mins(14);
/// What a play ends with whose failure is final.
pub const FINAL: u8 = 3;
/// Lines of a difference that are shown: the console is slow.
const SHOWN: usize = 20;

/// A test of the suite.
struct Test {
    name: String,
    /// Whether a kernel that stands between others of the matrix has to pass it, too.
    everywhere: bool,
    run: Box<dyn Fn()>,
}

impl Test {
    /// One of what each kernel does in its own way.
    fn everywhere(name: impl Into<String>, run: impl Fn() + 'static) -> Self {
        Self { name: name.into(), everywhere: true, run: Box::new(run) }
    }

    /// One that takes minutes, of what changes with the kernel's age or architecture, if at all: the kernels at the ends
    /// answer for those in between.
    fn at_the_ends(name: impl Into<String>, run: impl Fn() + 'static) -> Self {
        Self { everywhere: false, ..Self::everywhere(name, run) }
    }
}

/// Every test there is for this architecture, in their order.
fn tests() -> Vec<Test> {
    let mut tests = vec![
        Test::everywhere("every_program_loads_and_attaches", every_program_loads_and_attaches),
        Test::everywhere("the_best_tier_is_chosen", the_best_tier_is_chosen),
        Test::at_the_ends(
            "one_missing_function_takes_the_tier",
            fallback::one_missing_function_takes_the_tier,
        ),
        Test::at_the_ends(
            "what_is_hidden_hides_no_reason",
            fallback::what_is_hidden_hides_no_reason,
        ),
        Test::at_the_ends(
            "a_function_refused_while_watching_takes_the_tier",
            fallback::a_function_refused_while_watching_takes_the_tier,
        ),
        Test::at_the_ends(
            "a_refused_ring_program_is_replaced_while_watching",
            fallback::a_refused_ring_program_is_replaced_while_watching,
        ),
    ];
    tests.push(Test::everywhere(
        "where_a_request_keeps_its_address_is_found_out",
        where_a_request_keeps_its_address_is_found_out,
    ));
    for tier in TIERS {
        let name = format!("the_records_are_those_of_the_host::{}", tier.name);
        tests.push(Test::everywhere(name, || the_records_are_those_of_the_host(tier)));
    }
    // In either tier: it belongs to none.
    for tier in TIERS {
        let name = format!("what_is_done_through_io_uring_is_told::{}", tier.name);
        let run = || play_io_uring(tier.settings, &"/bin/labelled".into(), None);
        tests.push(if tier.settles {
            Test::at_the_ends(name, run)
        } else {
            Test::everywhere(name, run)
        });
    }
    // That of the other tier is the host's: `tests/tests/lifecycle.rs`.
    for tier in TIERS.iter().filter(|tier| tier.settles) {
        let name = format!("servers_come_and_go_and_the_agent_with_them::{}", tier.name);
        tests.push(Test::at_the_ends(name, || rounds::are_alike(tier)));
    }
    // So are these: `tests/tests/faults.rs`.
    tests.push(Test::at_the_ends(
        "without_cgroup_v2_connections_are_seen_all_the_same::fexit",
        || hidden::leave_connections_seen(&TIERS[1]),
    ));
    for (name, run) in FAULTS {
        tests.push(Test::at_the_ends(format!("{name}::fexit"), move || run(&IN_FEXIT)));
    }
    #[cfg(target_arch = "aarch64")]
    for tier in TIERS {
        let name = format!("what_32_bit_programs_do_is_told::{}", tier.name);
        tests.push(Test::everywhere(name, || crate::narrow::calls_are_told(tier)));
        let name = format!("the_channel_of_a_32_bit_server_is_read::{}", tier.name);
        tests.push(Test::everywhere(name, || crate::narrow::channels_are_read(tier)));
    }
    tests.push(Test::everywhere(
        "ancestors_go_back_to_process_1",
        whole::ancestors_go_back_to_process_1,
    ));
    tests.push(Test::at_the_ends("steps_of_the_clock_change_times_alone", clock::steps));
    tests
}

/// Runs every test; those with `MCPWATCH_TESTS_ONLY` in their names; or, with `MCPWATCH_TESTS_SHORT`, those of every
/// kernel. The last line is the summary that `cargo xtask vm` looks for.
pub fn run() {
    let mut tests = tests();
    if let Ok(part) = env::var("MCPWATCH_TESTS_ONLY") {
        tests.retain(|test| test.name.contains(&part));
    } else if env::var_os("MCPWATCH_TESTS_SHORT").is_some() {
        for test in tests.extract_if(.., |test| !test.everywhere) {
            println!("test {} ... left to the kernels at the ends", test.name);
        }
    }
    let mut failed = 0;
    println!("running {} tests", tests.len());
    let begun = Instant::now();
    for Test { name, run, .. } in &tests {
        let passed = passes(name, run, begun);
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed += usize::from(!passed);
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("test result: {word}. {} passed; {failed} failed", tests.len() - failed);
}

/// Runs a test; again if it may have failed of a call that the kernel passed over, as preemptible ones do, while there is
/// time.
fn passes(name: &str, test: &dyn Fn(), begun: Instant) -> bool {
    for _ in 0..ATTEMPTS {
        let before = passed_over();
        let passed = panic::catch_unwind(AssertUnwindSafe(test)).is_ok();
        let calls = passed_over() - before;
        if calls > 0 {
            println!("the kernel passed over {calls} calls during {name}");
        }
        if passed || calls == 0 || is_failure_final() || begun.elapsed() > RETRIED {
            return passed;
        }
    }
    false
}

/// What doctor says of this kernel, asked once: it loads every program of every tier.
fn doctor() -> &'static Value {
    static REPORT: LazyLock<Value> = LazyLock::new(examined);
    &REPORT
}

fn examined() -> Value {
    let mut doctor = Command::new("/bin/mcpwatch");
    let output = doctor.args(["doctor", "--json"]).output().expect("the agent runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("doctor writes JSON")
}

/// Some kernels' types do not say where the address of a socket stands in a request to an `io_uring`: there the agent asks
/// one of its own, and says so where it may not.
fn where_a_request_keeps_its_address_is_found_out() {
    let in_doubt = |report: &Value| {
        let mut hooks = report["hooks"].as_array().into_iter().flatten();
        let hook = hooks.find(|hook| hook["name"] == "io_uring_submit").expect("a hook");
        let reason = hook["reason"].as_str().unwrap_or_default();
        reason.contains("the address of a socket is not known").then(|| reason.to_owned())
    };
    assert_eq!(in_doubt(doctor()), None);
    let version = kernel_version().expect("a kernel says its version");
    if !((6, 10)..(6, 15)).contains(&version) {
        return;
    }
    fs::write(RINGS_REFUSED, "2").expect("root may refuse rings to all");
    let report = panic::catch_unwind(examined);
    fs::write(RINGS_REFUSED, "0").expect("root may allow them");
    let report = report.expect("doctor looks without a ring");
    let reason = in_doubt(&report).expect("a reason");
    assert!(reason.contains("an io_uring of the agent's own: "), "{reason}");
}

/// Also tells what each program cost the verifier: `verifier PROGRAM INSTRUCTIONS`.
fn every_program_loads_and_attaches() {
    let report = doctor();
    let programs = || report["programs"].as_array().into_iter().flatten();
    let told = programs().any(|program| program["verified_instructions"].is_u64());
    let mut logged = if told { Vec::new() } else { verifier::costs().expect("it can be traced") };
    for program in programs() {
        let name = program["name"].as_str().unwrap_or_default();
        // The kernel keeps 15 bytes of a name; those that are cut come in their order.
        let same = |(kept, _): &(String, u64)| kept.len() == 15 && name.starts_with(kept.as_str());
        let exact = logged.iter().position(|load| load.0 == name);
        let found = exact.or_else(|| logged.iter().position(same));
        let cost = program["verified_instructions"].as_u64();
        let cost = cost.or_else(|| found.map(|place| logged.remove(place).1));
        let cost = cost.unwrap_or_else(|| panic!("the verifier says nothing of {name}"));
        println!("verifier {name} {cost}");
    }
    has_a_program_for_each_hook(report);
    let mut checks = report["checks"].as_array().into_iter().flatten();
    let memory = checks.find(|check| check["name"] == "kernel memory").expect("it is looked at");
    let can_load = kernel_version().expect("a kernel says its version") >= (6, 17);
    assert_eq!(text(memory, "detail") == "programs load from it", can_load, "{memory}");
    // Where another program takes the place of one that was refused, that is what remains to be seen of it.
    let refused = |entry: &Value| text(entry, "reason").contains("BPF_PROG_LOAD");
    let unwell =
        |entry: &&Value| entry["ok"] == false || entry["state"] == "missing" || refused(entry);
    let parts = ["checks", "hooks"].into_iter().filter_map(|part| report[part].as_array());
    let unwell: Vec<&Value> = parts.flatten().filter(unwell).collect();
    assert!(unwell.is_empty(), "{unwell:#?}");
    assert_ne!(report["hooks"].as_array().map_or(0, Vec::len), 0, "doctor names no hooks");
}

/// But for those of calls that this kernel does not have yet, which are absent and said to be.
fn has_a_program_for_each_hook(report: &Value) {
    let parts = |part: &str| report[part].as_array().into_iter().flatten();
    let without: Vec<&str> = parts("hooks")
        .map(|hook| text(hook, "name"))
        .filter(|name| !parts("programs").any(|program| serves(name, &program["name"])))
        .collect();
    assert_eq!(without, later_than_this(report), "no program was loaded for the first");
    let absent: Vec<&str> = parts("hooks")
        .filter(|hook| hook["state"] == "absent" && !text(hook, "reason").is_empty())
        .map(|hook| text(hook, "name"))
        .collect();
    assert_eq!(absent, without);
}

/// Whether a program is that of a hook, or the first of those in its place.
fn serves(hook: &str, program: &Value) -> bool {
    program == hook || (hook == "io_uring_open" && program == "io_openat_begins")
}

/// The hooks on system calls that this kernel is too old for.
fn later_than_this(report: &Value) -> Vec<&str> {
    let running = kernel_version().expect("a kernel says its version");
    let names = report["hooks"].as_array().into_iter().flatten().map(|hook| text(hook, "name"));
    let later = names.filter(|name| {
        let (_, call) = name.split_once('_').unwrap_or_default();
        LATER.iter().any(|(later, since)| *later == call && running < *since)
    });
    later.collect()
}

/// System calls that kernels of the matrix came to have, and when.
const LATER: &[(&str, (u32, u32))] =
    &[("mount_setattr", (5, 12)), ("fchmodat2", (6, 6)), ("open_tree_attr", (6, 15))];

/// Every kernel of the matrix offers the better tier, with every call it has in it.
fn the_best_tier_is_chosen() {
    let report = doctor();
    let later = later_than_this(report);
    let hooks = report["hooks"].as_array().into_iter().flatten();
    let hooks = hooks.filter(|hook| !later.contains(&text(hook, "name")));
    let refused: Vec<String> = hooks
        .flat_map(|hook| {
            let ways = hook["tiers"].as_array().into_iter().flatten();
            let refused = ways.filter(|way| way["works"] == false);
            refused.map(|way| format!("{} by {}: {}", hook["name"], way["tier"], way["reason"]))
        })
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
    assert_eq!(report["system_calls"]["tier"], "fexit", "{}", report["system_calls"]);
    let hook = |name| {
        let mut hooks = report["hooks"].as_array().into_iter().flatten();
        hooks.find(|hook| hook["name"] == name).expect("a hook")
    };
    let (on_all_calls, on_opens) = (hook("sys_exit"), hook("io_uring_open"));
    assert!(on_all_calls["reason"].is_null(), "not as it would be best: {on_all_calls}");
    let all_opens_pay = kernel_version().expect("a kernel says its version") < (6, 0);
    assert_eq!(on_opens["reason"].is_string(), all_opens_pay, "{on_opens}");
}

fn the_records_are_those_of_the_host(tier: &Tier) {
    let expected = fs::read_to_string(EXPECTED).expect("the host's records");
    let mut expected: Vec<&str> = expected.lines().collect();
    // A process of its own: what listens in a play ends with it, and leaves the addresses to the next one.
    let mut play = Command::new("/bin/guest");
    let play = play.args(["--play", tier.name]).stderr(Stdio::inherit());
    let output = play.output().expect("this program can be started");
    let found = String::from_utf8_lossy(&output.stdout);
    let mut found = found.lines();
    let passed_over = found.next().and_then(|line| line.strip_prefix(play::PASSED_OVER_LINE));
    note_passed_over(passed_over.and_then(|calls| calls.parse().ok()).unwrap_or(0));
    if output.status.code() == Some(i32::from(FINAL)) {
        make_failure_final();
    }
    assert!(output.status.success(), "the play failed: {}", output.status);
    let mut found: Vec<&str> = found.collect();
    leave_out(&mut expected, &mut found);
    println!("{} records, {} on the host", found.len(), expected.len());
    let differing: Vec<String> = differences(&expected, &found);
    let shown: Vec<&str> = differing.iter().take(SHOWN).map(String::as_str).collect();
    assert!(differing.is_empty(), "{} lines differ\n{}", differing.len(), shown.join("\n"));
}

/// Takes from both sides what came of tools that one of them had no system calls for. Fails of what this kernel has to
/// have: then nothing is compared that is said to be.
fn leave_out<'l>(expected: &mut Vec<&'l str>, found: &mut Vec<&'l str>) {
    let named = |lines: &[&'l str]| -> Vec<&'l str> {
        lines.iter().filter_map(|line| line.strip_prefix(play::LEFT_OUT_LINE)).collect()
    };
    let (there, here) = (named(expected), named(found));
    for tool in &here {
        println!("left out, since this kernel lacks its system calls: {tool}");
    }
    for tool in &there {
        println!("left out, since the host lacks its system calls: {tool}");
    }
    let both = [there, here].concat();
    let wanting: Vec<&&str> = both.iter().filter(|tool| !may_be_left_out(tool)).collect();
    assert!(
        wanting.is_empty(),
        "left out here or on the host, though this kernel has to have their calls: {wanting:?}"
    );
    let marks: Vec<String> = both.iter().map(|tool| format!("\"tool\":\"{tool}\"")).collect();
    for lines in [expected, found] {
        lines.retain(|line| {
            let about = |mark: &String| line.contains(mark.as_str());
            !line.starts_with(play::LEFT_OUT_LINE) && !marks.iter().any(about)
        });
    }
}

/// Lines only one side has, or has more often: `-` the host, `+` this kernel; and the first place where the
/// order alone differs.
fn differences(expected: &[&str], found: &[&str]) -> Vec<String> {
    let count = |lines: &mut dyn Iterator<Item = &str>, wanted: &str| {
        lines.filter(|line| *line == wanted).count()
    };
    let mut differing = Vec::new();
    for line in expected {
        let there = count(&mut expected.iter().copied(), line);
        let line_differs = format!("- {line}");
        if there > count(&mut found.iter().copied(), line) && !differing.contains(&line_differs) {
            differing.push(line_differs);
        }
    }
    for line in found {
        let here = count(&mut found.iter().copied(), line);
        let line_differs = format!("+ {line}");
        if here > count(&mut expected.iter().copied(), line) && !differing.contains(&line_differs) {
            differing.push(line_differs);
        }
    }
    let order = expected.iter().zip(found).position(|(one, other)| one != other);
    if let (true, Some(place)) = (differing.is_empty(), order) {
        differing.push(format!("the order differs from line {} on: {}", place + 1, found[place]));
    }
    differing
}
