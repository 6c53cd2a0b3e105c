//! Where the folders that servers are confined to really lie: one that is a symbolic link leads elsewhere, and
//! what the kernel says of the files in it is told from there.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::detect::Given;
use crate::detect::paths::normal;
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
        let folders = &mut instance.folders;
        folders.waiting = false;
        for (folder, real) in found {
            let Some(tries) = folders.asked.get_mut(&folder).filter(|tries| **tries <= TRIES)
            else {
                continue;
            };
            *tries = TRIES + 1;
            if *normal(&folder) != *real && folders.real.len() < FOLDERS {
                folders.real.push(real);
            }
        }
    }
}
