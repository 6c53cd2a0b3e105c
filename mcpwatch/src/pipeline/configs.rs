//! Clients' configurations: the servers in them, and what the rules about such files know one by.

use super::Pipeline;
use crate::config::Discovery;
use crate::detect::{ClientConfig, ConfigTable, Detector};
use crate::discover::locations::{self, Base, Location};
use crate::discover::scan::{ConfigFile, SETTINGS};

/// What the table of places says of a path.
fn of_file(path: &str) -> Option<ClientConfig> {
    let location = locations::location_of(path)?;
    Some(ClientConfig {
        client: Some(location.client.into()),
        project: locations::project_of(path, location).map(str::to_owned),
        only_servers: location.holds_only_servers(),
        only_in_homes: false,
    })
}

/// What the table of places says of a folder in which clients' configurations lie.
fn of_folder(path: &str) -> Option<ClientConfig> {
    let path = path.trim_end_matches('/');
    let found: Vec<_> = locations::locations_in(path).collect();
    let client = found.first()?.client.into();
    let outside = |row: &Location| {
        let mut ways = row.path.match_indices('/').filter_map(|(end, _)| row.path.get(..end));
        ways.find_map(|way| Some((path.strip_suffix(way)?.strip_suffix('/')?, way)))
    };
    // The outermost folder of a home may stand in any folder, whether its client looks for it there or not.
    let project = found.iter().find_map(|row| {
        let (project, way) = outside(row)?;
        (row.base == Base::Project || !way.contains('/')).then(|| project.to_owned())
    });
    let mut of_projects = found.iter().filter(|row| row.base == Base::Project).peekable();
    let only_servers = match of_projects.peek() {
        Some(_) => of_projects.any(|row| row.holds_only_servers()),
        None => found.iter().any(|row| row.holds_only_servers()),
    };
    let only_in_homes = locations::SHARED_IN_HOMES.iter().any(|name| path.ends_with(name));
    Some(ClientConfig { client: Some(client), project, only_servers, only_in_homes })
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
        if let Some(warning) = self.configured.replace(&file.path, &file.owner, servers) {
            self.warn(&warning.to_string());
        }
        self.configs_changed();
    }

    /// A client's configuration is gone. Rules about such files know its place all the same.
    pub(super) fn config_gone(&mut self, path: &str) {
        self.configured.remove(path);
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
    fn a_folder_is_a_projects_where_projects_have_one_and_where_a_home_begins() {
        let of = |path: &str| {
            let found = of_folder(path)?;
            Some((found.client?.into_owned(), found.project, found.only_servers))
        };
        let project = Some("/srv/work".to_owned());
        assert_eq!(of("/srv/work/.cursor/"), Some(("cursor".into(), project.clone(), true)));
        assert_eq!(of("/srv/work/.zed"), Some(("zed".into(), project, false)));
        assert_eq!(of("/home/a/.config/Claude"), Some(("claude-desktop".into(), None, false)));
        let deeper = Some("/srv/work".to_owned());
        assert_eq!(of("/srv/work/.kiro/settings"), Some(("kiro".into(), deeper.clone(), true)));
        // No client looks for it in a project, and it is none of a home's all the same.
        assert_eq!(of("/srv/work/.claude"), Some(("claude-code".into(), deeper.clone(), true)));
        assert_eq!(of("/srv/work/.gemini"), Some(("gemini-cli".into(), deeper, false)));
        assert_eq!(of("/home/a/.cursor/plugins"), Some(("cursor".into(), None, true)));
        assert_eq!(of("/srv/work"), None);
        let in_homes = ["/home/a/.config", "/home/a/.cache", "/home/a/.cursor"];
        let in_homes = in_homes.map(|folder| of_folder(folder).unwrap().only_in_homes);
        assert_eq!(in_homes, [true, true, false]);
    }
}
