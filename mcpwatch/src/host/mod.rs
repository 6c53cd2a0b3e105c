//! Process tree and names of users, cgroups and addresses, as far as events and snapshots tell.

pub mod snapshot;
