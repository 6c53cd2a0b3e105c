//! Which tools of the labelled server a kernel has to have the calls for.

use std::env::consts::ARCH;

use crate::kernel::kernel_version;

/// The architecture whose kernels take 32-bit calls of 64-bit processes, and numbers with something above.
const X86: Option<&str> = Some("x86_64");

/// Tools that may say that they were left out: the first kernel that has what they need, and the architecture, if it is
/// one alone. What is not named here is in every kernel. Some have it earlier, by what was carried back, but none of the
/// matrix lacks it later: all are built with `CONFIG_IA32_EMULATION` and `CONFIG_IO_URING`.
const NEEDS: &[(&str, (u32, u32), Option<&str>)] = &[
    ("change_mode", (6, 6), None),
    ("set_attributes", (5, 12), None),
    ("open_with_attributes", (6, 15), None),
    ("open_widely", (5, 13), X86),
    ("work_in_32_bits", (5, 10), X86),
    ("rest_in_32_bits", (5, 10), X86),
    ("sockets_in_32_bits", (5, 10), X86),
    ("speak_narrowly", (5, 10), X86),
    ("change_mode_in_32_bits", (6, 6), X86),
    ("set_attributes_in_32_bits", (5, 12), X86),
    ("open_with_attributes_in_32_bits", (6, 15), X86),
    // Renaming and removing; links and folders; sockets; cutting; binding and listening.
    ("ring_change", (5, 11), None),
    ("ring_make", (5, 15), None),
    ("ring_sockets", (5, 19), None),
    ("ring_truncate", (6, 9), None),
    ("ring_listen", (6, 11), None),
];

/// Whether the running kernel may lack what this tool needs.
pub fn may_be_left_out(tool: &str) -> bool {
    is_lacking(tool, kernel_version().expect("a kernel says its version"), ARCH)
}

fn is_lacking(tool: &str, running: (u32, u32), arch: &str) -> bool {
    let needs = NEEDS.iter().find(|(name, ..)| *name == tool);
    needs.is_some_and(|(_, since, only)| running < *since || only.is_some_and(|only| only != arch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_kernel_is_too_old_for_may_be_left_out() {
        for (tool, running, arch, expected) in [
            ("change_mode", (6, 1), "x86_64", true),
            ("change_mode", (6, 6), "x86_64", false),
            ("change_mode", (6, 12), "aarch64", false),
            ("change_mode_in_32_bits", (6, 1), "x86_64", true),
            ("change_mode_in_32_bits", (6, 12), "x86_64", false),
            ("work_in_32_bits", (5, 10), "x86_64", false),
            ("work_in_32_bits", (6, 12), "aarch64", true),
            ("ring_truncate", (6, 1), "x86_64", true),
            ("ring_truncate", (7, 3), "x86_64", false),
            // What every kernel has.
            ("echo", (5, 10), "x86_64", false),
        ] {
            assert_eq!(is_lacking(tool, running, arch), expected, "{tool} {running:?} {arch}");
        }
    }
}
