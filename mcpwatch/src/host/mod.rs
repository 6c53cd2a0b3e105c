//! Process tree, containers, mounts, names of addresses, as far as events, snapshots and files of the host tell.

pub mod answers;
pub mod clock;
pub mod containers;
pub mod dns;
pub mod mounts;
pub mod names;
pub mod processes;
pub mod snapshot;
pub mod tls;
