//! What the end-to-end tests share: a scene to play in, the agent that watches it, the records it
//! wrote and the clients that play. Everything panics with a sentence when the scenery fails, because
//! nothing here is anything but a test. `tests/README.md` says how the suite works.

mod agent;
mod books;
mod bpf;
mod client;
mod containers;
mod daemon;
mod deps;
mod faults;
mod io_uring;
mod kernel;
mod left_out;
mod load;
mod metrics;
mod name_server;
mod network;
mod play;
mod proc;
mod records;
mod refusing;
pub mod ring;
mod scene;
mod schema;
mod soak;
mod stage;

use std::io::{self, Write as _};

pub use agent::{
    Agent, AgentBuilder, Outcome, Stopped, is_failure_final, make_failure_final, note_passed_over,
    passed_over,
};
pub use books::{check_identity, check_identity_of_metrics, counter, counters, lost, lost_at};
pub use bpf::{BpfObject, bpf_object_exists, bpf_objects};
pub use client::{Client, Era, Pending, Sdk};
pub use containers::{Crun, Podman};
pub use daemon::{Daemon, Memory};
pub use deps::{Deps, agent_program, deps, own_program, target, workspace};
pub use faults::{Ground, HOST, balance, goes_on, opens};
pub use io_uring::{io_uring_open_missing, play_io_uring};
pub use kernel::{
    EmptyProgram, KernelTypes, Statistics, assert_programs_gone, kernel_version, programs_of,
    system_call_programs,
};
pub use left_out::may_be_left_out;
pub use load::{Done, Load, OpenPlan};
pub use metrics::{Metrics, free_port, http_get};
pub use name_server::Zone;
pub use network::{Visitor, address};
pub use play::{Case, Play, case, has, merge};
pub use proc::{descendants, kill_descendants};
pub use records::{Records, digest, int, severity_rank, text};
pub use refusing::{CALLS_OF_KERNEL, Refusals};
pub use scene::{Scene, SceneBuilder};
pub use schema::operations;
pub use soak::{Soaked, pipe, soak};
pub use stage::{Bait, CANARY, request_id, said};

/// Says that something was not tested, where it is read: what `eprintln!` says in a test that passes, nobody sees.
pub fn skipped(what: &str) {
    let _ = writeln!(io::stderr(), "*** NOT TESTED: {what} ***");
}

/// Fails a test that was started without root, with a sentence.
pub fn require_root() {
    // SAFETY: geteuid(2) cannot fail and touches no memory.
    let uid = unsafe { libc::geteuid() };
    assert!(uid == 0, "this test loads kernel programs and makes namespaces: run it as root");
}
