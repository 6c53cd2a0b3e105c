//! A kernel that has all of the better tier but one program: its type information lacks a function that is there.

use std::ffi::CString;
use std::fs;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};
use std::ptr;

use serde_json::Value;

/// Where the kernel shows its types, and where those without the function are put.
const TYPES: &str = "/sys/kernel/btf/vmlinux";
const WITHOUT: &str = "/tmp/without";
/// The function's name among them, and the hook it is for.
const FUNCTION: &str =
    if cfg!(target_arch = "aarch64") { "\0__arm64_sys_setns\0" } else { "\0__x64_sys_setns\0" };
const HOOK: &str = "sys_setns";
/// "The kernel side cannot be had."
const NO_KERNEL: i32 = 3;

/// The other tier serves all calls, and the reason is named; who insists on the better one is told why not.
pub fn one_missing_function_takes_the_tier() {
    let mut types = fs::read(TYPES).expect("the kernel shows its types");
    let places: Vec<usize> = types
        .windows(FUNCTION.len())
        .enumerate()
        .filter_map(|(place, part)| (part == FUNCTION.as_bytes()).then_some(place))
        .collect();
    assert_eq!(places.len(), 1, "one function is called so");
    types[places[0] + FUNCTION.len() - 2] = b'X';
    fs::write(WITHOUT, types).expect("a file can be written");

    let output = agent(&["doctor", "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).expect("doctor writes JSON");
    assert_eq!(report["system_calls"]["tier"], "tracepoint", "{}", report["system_calls"]);
    let hooks = report["hooks"].as_array().into_iter().flatten();
    let refused: Vec<(&str, bool)> = hooks
        .flat_map(|hook| {
            let ways = hook["tiers"].as_array().into_iter().flatten();
            let refused = ways.filter(|way| way["works"] == false);
            refused.map(|way| {
                let told = way["reason"].as_str().is_some_and(|reason| !reason.is_empty());
                (hook["name"].as_str().unwrap_or_default(), told)
            })
        })
        .collect();
    assert_eq!(refused, [(HOOK, true)]);

    let output = agent(&["run", "--descendants-of", "1", "--tier", "fexit"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(NO_KERNEL), "{said}");
    assert!(said.contains(HOOK), "{said}");
}

/// The agent's program where the types are those.
fn agent(arguments: &[&str]) -> Output {
    let [from, to, root] = [WITHOUT, TYPES, "/"].map(|path| CString::new(path).expect("no NUL"));
    let mut command = Command::new("/bin/mcpwatch");
    command.args(arguments);
    // SAFETY: system calls alone, with strings that live as long as the closure.
    unsafe {
        command.pre_exec(move || {
            done(libc::unshare(libc::CLONE_NEWNS))?;
            let (private, none) = (libc::MS_REC | libc::MS_PRIVATE, ptr::null());
            done(libc::mount(none, root.as_ptr(), none, private, ptr::null()))?;
            done(libc::mount(from.as_ptr(), to.as_ptr(), none, libc::MS_BIND, ptr::null()))
        });
    }
    command.output().expect("the agent can be started")
}

fn done(result: i32) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
