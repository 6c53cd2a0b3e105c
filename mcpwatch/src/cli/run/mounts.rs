//! Reads what is mounted where, on a thread of its own: events must not wait for it, nor it for configurations.

use std::sync::mpsc::Receiver;

use anyhow::Context;

use super::inbox::{Message, Post};
use super::origin::boot_time;
use crate::host::mounts;
use crate::pipeline::Input;

/// Most namespaces that wait to be read: one takes some milliseconds.
pub const WAITING: usize = 64;

/// A mount namespace, and a process that was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    pub namespace: u32,
    pub pid: u32,
}

/// Starts the thread.
pub fn start(wanted: Receiver<Wanted>, post: Post) -> anyhow::Result<()> {
    std::thread::Builder::new()
        .name("mounts".into())
        .spawn(move || follow(&wanted, &post))
        .context("cannot start the thread that reads what is mounted")?;
    Ok(())
}

fn follow(wanted: &Receiver<Wanted>, post: &Post) {
    for Wanted { namespace, pid } in wanted {
        // Before the reading: what is mounted meanwhile may not be in it.
        let time = boot_time();
        let paths = mounts::read(namespace, pid).map(Box::new);
        let input = Input::Mounts { time, namespace, paths };
        if post.send(Message::Input(Box::new(input))).is_err() {
            return;
        }
    }
}
