//! Where the folders that servers are confined to really lie: one that is a symbolic link leads elsewhere, and
//! what the kernel says of the files in it is told from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::detect::Given;
use crate::detect::paths::{holds_homes, is_within, normal};
use crate::event::Event;

use super::{Action, Pipeline};

/// Most folders of a server that are looked up.
const FOLDERS: usize = 64;
/// How often a folder is looked up that is not found: the first to ask may be a launcher, elsewhere.
const TRIES: u32 = 5;

/// The folders of one server.
#[derive(Debug, Default)]
pub(super) struct Folders {
    /// Each with how often it was looked up so far.
    asked: BTreeMap<String, u32>,
    /// It is being done.
    waiting: bool,
    /// The folders, those given and those of the client, of which none is left to be looked up.
    settled: Option<(Arc<Given>, Arc<[String]>)>,
    /// Where those lie that are links.
    real: Vec<String>,
}

impl Folders {
    /// Where those lie that are links. The first answer stands: what a server makes of its folders later is its
    /// own doing.
    pub(super) fn real(&self) -> &[String] {
        &self.real
    }
}

impl Pipeline {
    /// Asks where the folders of a server lie of which that is not known yet.
    pub(super) fn look_for_folders(&mut self, event: &Event, owner: u64) {
        let Some(instance) = self.instances.get_mut(&owner) else { return };
        if instance.folders.waiting {
            return;
        }
        let Some(serving) = instance.serving() else { return };
        let (given, roots) = (&serving.given, instance.conversation.roots());
        // This is done for every file that a server opens: nearly always there is nothing to ask.
        let settled = instance.folders.settled.as_ref();
        if settled.is_some_and(|(of, and)| Arc::ptr_eq(of, given) && Arc::ptr_eq(and, roots)) {
            return;
        }
        let (given, roots) = (Arc::clone(given), Arc::clone(roots));
        let folders = &mut instance.folders;
        let mut wanted: Vec<String> = Vec::new();
        for folder in given.roots.iter().chain(roots.iter()) {
            if wanted.contains(folder) {
                continue;
            }
            let room = folders.asked.len() < FOLDERS;
            let tries = match folders.asked.get_mut(folder) {
                Some(tries) => tries,
                None if room => folders.asked.entry(folder.clone()).or_default(),
                None => continue,
            };
            if *tries < TRIES {
                *tries += 1;
                wanted.push(folder.clone());
            }
        }
        if wanted.is_empty() {
            folders.settled = Some((given, roots));
            return;
        }
        folders.waiting = true;
        let (instance, pid) = (owner, event.process.pid);
        self.actions.push(Action::LookForFolders { instance, pid, folders: wanted });
    }

    /// Where folders lie that were found.
    pub(super) fn folders_found(&mut self, instance: u64, found: Vec<(String, String)>) {
        let Some(instance) = self.instances.get_mut(&instance) else { return };
        let founder = self.processes.get(instance.founder);
        let working: Vec<&str> = founder
            .and_then(|founder| founder.shown.cwd.as_deref())
            .into_iter()
            .chain(instance.programs.iter().map(|program| program.cwd.as_str()))
            .collect();
        let homes = self.detector.homes();
        let folders = &mut instance.folders;
        folders.waiting = false;
        for (folder, real) in found {
            let Some(tries) = folders.asked.get_mut(&folder).filter(|tries| **tries <= TRIES)
            else {
                continue;
            };
            *tries = TRIES + 1;
            let elsewhere = *normal(&folder) != *real;
            let room = folders.real.len() < FOLDERS;
            if elsewhere && room && !is_too_wide(&real, &folder, &working, homes) {
                folders.real.push(real);
            }
        }
    }
}

/// Whether a folder would explain nearly anything when it counted as one that a server is confined to: it may have
/// made the link itself before anybody looked. Then only the folder as it was given counts.
fn is_too_wide(real: &str, folder: &str, working: &[&str], homes: &[String]) -> bool {
    let above = |path: &str| path != real && is_within(path, real);
    holds_homes(real, homes)
        || above(&normal(folder))
        || working.iter().any(|directory| above(directory))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_the_folder_the_work_or_a_home_is_too_wide() {
        let homes = ["/data/users/a".to_owned(), "/srv/svc/".to_owned()];
        let wide = |real: &str| is_too_wide(real, "/mnt/./p/work", &["/opt/app/run"], &homes);
        for real in [
            "/",
            "",
            "/mnt",
            "/mnt/p",
            "/opt",
            "/opt/app",
            "/home",
            "/home/me",
            "/root",
            "/var",
            "/var/home",
            "/Users/me",
            "/data",
            "/data/users",
            "/data/users/a",
            "/srv",
            "/srv/svc",
        ] {
            assert!(wide(real), "{real}");
        }
        for real in [
            "/mnt/p/work",
            "/mnt/p/w",
            "/mnt/p2",
            "/opt/app/run",
            "/opt/app/run/x",
            "/home/me/work",
            "/data/users/a/work",
            "/data/users2",
            "/srv/svc/x",
            "/var/lib/x",
        ] {
            assert!(!wide(real), "{real}");
        }
    }
}
