//! The agent with the capabilities that its unit grants, as a service manager starts it.

use std::io;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The unit.
const UNIT: &str = include_str!("../../../../deploy/mcpwatch.service");
/// Those it may name, and their numbers in `include/uapi/linux/capability.h`.
const CAPABILITIES: &[(&str, u32)] = &[
    ("CAP_DAC_READ_SEARCH", 2),
    ("CAP_NET_ADMIN", 12),
    ("CAP_SYS_PTRACE", 19),
    ("CAP_PERFMON", 38),
    ("CAP_BPF", 39),
];
/// No kernel has more.
const NUMBERS: u32 = 64;

/// What the unit grants, as the kernel shows it in `/proc/PID/status`.
pub fn granted() -> u64 {
    let line = UNIT.lines().find_map(|line| line.strip_prefix("CapabilityBoundingSet="));
    let names = line.expect("the unit limits the agent").split_whitespace();
    names.fold(0, |set, name| {
        let known = CAPABILITIES.iter().find(|(known, _)| *known == name);
        set | 1 << known.unwrap_or_else(|| panic!("the number of {name} is not known here")).1
    })
}

/// Becomes this program, limited; comes back with the error alone. Of root's programs, nothing but the bounding set decides
/// what they may do.
pub fn execute(program: &str, arguments: &[&str]) -> io::Error {
    let granted = granted();
    assert!(UNIT.contains("\nNoNewPrivileges=yes\n") && UNIT.contains("\nLimitMEMLOCK=infinity\n"));
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: a valid struct, and numbers.
    unsafe {
        libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited);
        for number in (0..NUMBERS).filter(|number| granted >> number & 1 == 0) {
            // Fails of what the kernel does not have.
            libc::prctl(libc::PR_CAPBSET_DROP, number, 0, 0, 0);
        }
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    }
    Command::new(program).args(arguments).exec()
}
