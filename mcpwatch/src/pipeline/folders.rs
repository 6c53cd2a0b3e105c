//! Where the folders that servers are confined to really lie: one that is a symbolic link leads elsewhere, and
//! what the kernel says of the files in it is told from there.

use std::collections::BTreeMap;

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
        let given = instance.serving().map(|serving| std::sync::Arc::clone(&serving.given));
        let all = given.iter().flat_map(|given| &given.roots).chain(instance.conversation.roots());
        let asked = &instance.folders.asked;
        let wanted: Vec<String> = all
            .filter(|folder| asked.get(*folder).is_none_or(|tries| *tries < TRIES))
            .take(FOLDERS.saturating_sub(asked.len()).max(1))
            .cloned()
            .collect();
        let folders = &mut instance.folders;
        let mut looked_up = Vec::new();
        for folder in wanted {
            if folders.asked.len() < FOLDERS || folders.asked.contains_key(&folder) {
                *folders.asked.entry(folder.clone()).or_default() += 1;
                looked_up.push(folder);
            }
        }
        if !looked_up.is_empty() {
            folders.waiting = true;
            let (instance, pid) = (owner, event.process.pid);
            self.actions.push(Action::LookForFolders { instance, pid, folders: looked_up });
        }
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
