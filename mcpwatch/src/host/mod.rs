//! Process tree and names of users, cgroups and addresses, as far as events and snapshots tell.

pub mod clock;
pub mod names;
pub mod processes;
pub mod snapshot;
