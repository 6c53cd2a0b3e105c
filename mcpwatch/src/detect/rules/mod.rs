//! The table of all rules. A new detection is a file here, a line below and a section in
//! `docs/detections.md`.

pub mod annotation_lie;
pub mod background_activity;
pub mod channel_injection;
pub mod dns_tunnel;
pub mod download_exec;
pub mod internal_probe;
pub mod io_uring_use;
pub mod mcp_config_read;
pub mod mcp_config_write;
pub mod metadata_access;
pub mod outlives_call;
pub mod path_escape;
pub mod persistence_write;
pub mod privilege_change;
pub mod reverse_shell;
pub mod sensitive_file_read;
pub mod shell_spawn;
pub mod unexpected_egress;

use super::RuleEntry;

/// Every rule. One that yields to another stands behind it.
pub const RULES: &[RuleEntry] = &[
    RuleEntry { info: &reverse_shell::INFO, build: reverse_shell::build },
    RuleEntry { info: &shell_spawn::INFO, build: shell_spawn::build },
    RuleEntry { info: &download_exec::INFO, build: download_exec::build },
    RuleEntry { info: &mcp_config_write::INFO, build: mcp_config_write::build },
    RuleEntry { info: &mcp_config_read::INFO, build: mcp_config_read::build },
    RuleEntry { info: &persistence_write::INFO, build: persistence_write::build },
    RuleEntry { info: &sensitive_file_read::INFO, build: sensitive_file_read::build },
    RuleEntry { info: &path_escape::INFO, build: path_escape::build },
    RuleEntry { info: &annotation_lie::INFO, build: annotation_lie::build },
    RuleEntry { info: &outlives_call::INFO, build: outlives_call::build },
    RuleEntry { info: &channel_injection::INFO, build: channel_injection::build },
    RuleEntry { info: &privilege_change::INFO, build: privilege_change::build },
    RuleEntry { info: &io_uring_use::INFO, build: io_uring_use::build },
    RuleEntry { info: &metadata_access::INFO, build: metadata_access::build },
    RuleEntry { info: &internal_probe::INFO, build: internal_probe::build },
    RuleEntry { info: &unexpected_egress::INFO, build: unexpected_egress::build },
    RuleEntry { info: &dns_tunnel::INFO, build: dns_tunnel::build },
    RuleEntry { info: &background_activity::INFO, build: background_activity::build },
];

/// Version of the ATLAS matrix the ids of the rules are of.
pub const ATLAS_VERSION: &str = "5.6.0";
