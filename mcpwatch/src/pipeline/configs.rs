//! Clients' configurations: the servers in them, and what the rules about such files know one by.

use super::Pipeline;
use crate::config::Discovery;
use crate::detect::{ClientConfig, ConfigTable, Detector};
use crate::discover::locations;
use crate::discover::scan::{ConfigFile, SETTINGS};

/// What the table of places says of a path.
fn of_file(path: &str) -> Option<ClientConfig> {
    let location = locations::location_of(path)?;
    Some(ClientConfig {
        client: Some(location.client.into()),
        project: locations::project_of(path, location).map(str::to_owned),
        only_servers: location.holds_only_servers(),
    })
}

/// What the table of places says of a folder in which clients' configurations lie.
fn of_folder(path: &str) -> Option<ClientConfig> {
    let path = path.trim_end_matches('/');
    let found: Vec<_> = locations::locations_in(path).collect();
    // Of a folder that projects have, too, the project's is the first: whether it is a home is asked later.
    let project = found.iter().find_map(|location| {
        let depth = location.path.split('/').count();
        (1..depth).find_map(|depth| {
            let way: Vec<&str> = location.path.split('/').take(depth).collect();
            let project = path.strip_suffix(&way.join("/"))?.strip_suffix('/')?;
            locations::is_of_projects(location).then(|| project.to_owned())
        })
    });
    Some(ClientConfig {
        client: Some(found.first()?.client.into()),
        project,
        only_servers: found.iter().any(|location| location.holds_only_servers()),
    })
}

/// The table of places, as the rules ask it.
pub const TABLE: ConfigTable = ConfigTable { file: of_file, folder: of_folder };

/// Tells the rules which files the settings name, whether they are there or not.
pub(super) fn name(detector: &mut Detector, discovery: &Discovery) -> u64 {
    let files = discovery.config_files.iter().map(|file| file.to_string_lossy());
    let refused = files.filter(|file| !detector.client_configs().add_found(file, None));
    refused.count() as u64
}

impl Pipeline {
    /// A client's configuration is new or changed.
    pub(super) fn config_read(&mut self, file: &ConfigFile) {
        let client = Some(file.client.clone()).filter(|client| client != SETTINGS);
        // What is read by way of a process is in a container, where it has another path.
        if !file.path.starts_with("/proc/") {
            let known =
                self.detector.client_configs().add_found(&file.path, client.map(Into::into));
            self.places_refused(u64::from(!known));
        }
        let servers = match file.parse() {
            Ok(parsed) => {
                for warning in &parsed.warnings {
                    self.warn(&warning.to_string());
                }
                parsed.servers
            }
            Err(error) => {
                self.warn(&error.to_string());
                Vec::new()
            }
        };
        self.configs.insert(file.path.clone(), servers);
        self.configs_changed();
    }

    /// A client's configuration is gone. Rules about such files know its place all the same.
    pub(super) fn config_gone(&mut self, path: &str) {
        self.configs.remove(path);
        self.configs_changed();
    }

    /// A client looks at a place for what is its user's own, whether anything is there or not.
    pub(super) fn config_place(&mut self, path: &str, client: String) {
        let known = self.detector.client_configs().add_own(path, Some(client.into()));
        self.places_refused(u64::from(!known));
    }

    /// Places of configurations that the rules do not know, as there are too many.
    pub(super) fn places_refused(&mut self, count: u64) {
        self.losses.add("pipeline", "configs", "table_full", count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_its_projects_only_where_projects_have_one() {
        let of = |path: &str| {
            let found = of_folder(path)?;
            Some((found.client?.into_owned(), found.project, found.only_servers))
        };
        let project = Some("/srv/work".to_owned());
        assert_eq!(of("/srv/work/.cursor/"), Some(("cursor".into(), project.clone(), true)));
        assert_eq!(of("/srv/work/.zed"), Some(("zed".into(), project, false)));
        assert_eq!(of("/home/a/.config/Claude"), Some(("claude-desktop".into(), None, false)));
        assert_eq!(of("/home/a/.cursor/plugins"), Some(("cursor".into(), None, true)));
        assert_eq!(of("/srv/work"), None);
    }
}
