//! Follows clients' configurations on a thread of its own: a dead network file system must not hold up
//! anything else.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Look;
use super::inbox::Findings;
use super::origin::boot_time;
use crate::config::Config;
use crate::discover::roots::real_path;
use crate::discover::scan::{Change, INTERVAL, Places, Watcher};
use crate::host::containers::{Container, layouts, shown};
use crate::host::snapshot;
use crate::pipeline::Input;

/// How soon a container is looked for again that nothing was found of, and how often.
const AGAIN: Duration = Duration::from_millis(50);
const TRIES: u32 = 20;
/// Most requests that wait: the thread takes them some milliseconds later, unless a file system hangs.
const WAITING: usize = 1_024;

/// Asks the thread to look, without waiting for it.
pub struct LookFor {
    looks: SyncSender<Look>,
    /// Requests that found no room.
    refused: u64,
    /// So many of them have been told.
    told: u64,
}

impl LookFor {
    /// With the end of it for the thread.
    pub fn new() -> (Self, Receiver<Look>) {
        let (looks, looking) = sync_channel(WAITING);
        (Self { looks, refused: 0, told: 0 }, looking)
    }

    /// False when there is no room: nobody will look, and it is counted.
    pub fn ask(&mut self, look: Look) -> bool {
        let asked = self.looks.try_send(look).is_ok();
        self.refused += u64::from(!asked);
        asked
    }

    /// How many found no room so far, when there are more than the last time.
    pub fn refused(&mut self) -> Option<u64> {
        let news = self.refused > self.told;
        self.told = self.refused;
        news.then_some(self.refused)
    }
}

/// Starts the thread. `looking` brings processes whose homes and directories are to be looked at, too. With
/// `scoped`, places outside of those are left alone.
pub fn start(
    config: &Config,
    scoped: bool,
    looking: Receiver<Look>,
    findings: Findings,
) -> anyhow::Result<()> {
    let mut places = if scoped { Places::default() } else { Places::of_host() };
    for home in &config.discovery.homes {
        places.add_home(home);
    }
    for file in &config.discovery.config_files {
        places.add_file(file);
    }
    std::thread::Builder::new()
        .name("configs".into())
        .spawn(move || follow(Watcher::new(places), &looking, &findings))
        .context("cannot start the thread that follows configurations")?;
    Ok(())
}

/// What the pipeline is told of a change.
fn told(change: Change) -> Input {
    match change {
        Change::Read(file) => Input::Config(file),
        Change::Removed(path) => Input::ConfigGone { path },
        Change::Unread(error) => Input::Warning { time: boot_time(), message: error.to_string() },
    }
}

/// A process to be told of once the configurations around it have been read, with its cgroup as it is now.
fn around(watcher: &mut Watcher, pid: u32, of_server: bool) -> (u32, String) {
    let process = snapshot::read(pid);
    if let Some(process) = process.as_ref().filter(|_| !of_server) {
        watcher.places.add_process(process, true);
    }
    (pid, process.map(|process| process.cgroup).unwrap_or_default())
}

fn follow(mut watcher: Watcher, looking: &Receiver<Look>, findings: &Findings) {
    let host = shown::Host::here();
    let mut asked: Vec<(u32, String)> = Vec::new();
    // Each with how often it was looked for in vain.
    let mut containers: Vec<(String, u32)> = Vec::new();
    let mut polled: Option<Instant> = None;
    loop {
        let due = polled.is_none_or(|polled| polled.elapsed() >= INTERVAL) || !asked.is_empty();
        if due {
            polled = Some(Instant::now());
        }
        if due && watcher.poll(|change| findings.send(told(change))).is_err() {
            return;
        }
        for (cgroup, tried) in std::mem::take(&mut containers) {
            // A runtime may write it down a moment after the start.
            let is_told =
                |one: &Container| one.is_described() || layouts::of_cgroup(&cgroup).is_none();
            let Some(container) = host.container(&cgroup).filter(is_told).map(Box::new) else {
                if tried < TRIES {
                    containers.push((cgroup, tried + 1));
                }
                continue;
            };
            let input = Input::Container { time: boot_time(), cgroup, container };
            if findings.send(input).is_err() {
                return;
            }
        }
        // Most processes share a few cgroups.
        let mut read: BTreeMap<String, Option<Box<Container>>> = BTreeMap::new();
        for (pid, before) in asked.drain(..) {
            // A runtime moves a process into its container some time after it was asked about.
            let cgroup = snapshot::cgroup_of(pid).map_or(before, |(cgroup, _)| cgroup);
            let container = read
                .entry(cgroup.clone())
                .or_insert_with_key(|cgroup| host.container(cgroup).map(Box::new))
                .clone();
            let input = Input::Looked { time: boot_time(), pid, cgroup, container };
            if findings.send(input).is_err() {
                return;
            }
        }
        for (path, client) in watcher.own_places() {
            let input = Input::ConfigPlace { path, client: client.to_owned() };
            if findings.send(input).is_err() {
                return;
            }
        }
        let wait = if containers.is_empty() { INTERVAL } else { AGAIN };
        match looking.recv_timeout(wait) {
            Ok(first) => {
                let mut looks = vec![first];
                looks.extend(looking.try_iter().take(WAITING));
                looks.dedup();
                for look in looks {
                    match look {
                        Look::Running(pids) => {
                            asked.extend(
                                pids.into_iter().map(|pid| around(&mut watcher, pid, false)),
                            );
                        }
                        Look::Around { pid, of_server } => {
                            asked.push(around(&mut watcher, pid, of_server));
                        }
                        Look::Container(cgroup) => containers.push((cgroup, 0)),
                        Look::Folders(instance, pid, folders) => {
                            let led_to = |folder: String| Some((real_path(pid, &folder)?, folder));
                            let found = folders.into_iter().filter_map(led_to);
                            let folders = found.map(|(real, folder)| (folder, real)).collect();
                            let input = Input::Folders { time: boot_time(), instance, folders };
                            if findings.send(input).is_err() {
                                return;
                            }
                        }
                    }
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_nobody_takes_are_bounded_and_counted() {
        let (mut look_for, looking) = LookFor::new();
        let look = |pid| Look::Around { pid, of_server: false };
        let asked = (1..).take(WAITING + 3).filter(|pid| look_for.ask(look(*pid))).count();
        assert_eq!((asked, look_for.refused()), (WAITING, Some(3)));
        assert_eq!(look_for.refused(), None, "it was told");
        assert_eq!(looking.try_iter().count(), WAITING);
        assert!(look_for.ask(look(1)), "there is room again");
        drop(looking);
        assert!(!look_for.ask(look(2)));
        assert_eq!(look_for.refused(), Some(4), "nobody is there");
    }
}
