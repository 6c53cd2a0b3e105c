//! Which files are MCP clients' configurations, as far as the rules about them ask.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::Bound;

use super::Effect;
use super::paths::{is_broad, is_within, normal};
use crate::record::Relation;

/// A place where a client keeps its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The client; `None` when only the settings name the file.
    pub client: Option<Cow<'static, str>>,
    /// The project's folder, when it may be a project's own file.
    pub project: Option<String>,
    /// Such files hold MCP servers and nothing else.
    pub only_servers: bool,
    /// It is one in a home alone; elsewhere others use the name.
    pub only_in_homes: bool,
}

/// The places where clients are known to keep their servers, wherever homes and projects are.
#[derive(Clone, Copy, Debug)]
pub struct ConfigTable {
    /// The configuration that a path is.
    pub file: fn(&str) -> Option<ClientConfig>,
    /// The configurations that may lie in a folder, as one.
    pub folder: fn(&str) -> Option<ClientConfig>,
}

/// Most places that are known beside the table's.
const OWN: usize = 4_096;

/// Where clients keep their servers: the table of places, and what else is known on this host.
#[derive(Debug)]
pub struct ClientConfigs {
    table: ConfigTable,
    /// Files that are a user's own though the table does not say so, each with its client.
    own: BTreeMap<String, Option<Cow<'static, str>>>,
}

impl ClientConfigs {
    /// The table alone.
    #[must_use]
    pub fn new(table: ConfigTable) -> Self {
        Self { table, own: BTreeMap::new() }
    }

    /// The configuration that a path is.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<ClientConfig> {
        match self.own.get(path) {
            Some(client) => Some(users_own(client.clone())),
            None => (self.table.file)(path),
        }
    }

    /// The configurations that may lie in a folder, as one; whether there are any is not known.
    fn within(&self, folder: &str) -> Option<ClientConfig> {
        let inside = |path: &str| path.len() > folder.len() && is_within(path, folder);
        let own = self.own.range::<str, _>((Bound::Excluded(folder), Bound::Unbounded));
        // What begins with the same letters stands together, what lies inside first but for names with
        // characters below the slash.
        let mut own = own.take_while(|(path, _)| path.starts_with(folder));
        match own.find(|(path, _)| inside(path)) {
            Some((_, client)) => Some(users_own(client.clone())),
            None => (self.table.folder)(folder),
        }
    }

    /// Adds a file that is a user's own; `client` is `None` when only the settings name it. It stays known when
    /// it is gone: the client looks there again. `false` when there are too many.
    #[must_use]
    pub fn add_own(&mut self, path: &str, client: Option<Cow<'static, str>>) -> bool {
        let path = normal(path);
        if !self.own.contains_key(path.as_ref()) {
            if self.own.len() >= OWN {
                return false;
            }
            self.own.insert(path.into_owned(), client);
        }
        true
    }

    /// The same of a file that discovery found or the settings name, wherever it lies: the table knows better.
    #[must_use]
    pub fn add_found(&mut self, path: &str, client: Option<Cow<'static, str>>) -> bool {
        (self.table.file)(&normal(path)).is_some() || self.add_own(path, client)
    }
}

/// A user's own file, wherever it lies.
fn users_own(client: Option<Cow<'static, str>>) -> ClientConfig {
    ClientConfig { client, project: None, only_servers: true, only_in_homes: false }
}

/// A client's configuration, by the path it was recognised by.
#[derive(Debug)]
pub struct Recognised<'a> {
    /// Where the client keeps it.
    pub path: Cow<'a, str>,
    /// The client; `None` when only the settings name the file.
    pub client: Option<Cow<'static, str>>,
    /// It is a project's own file, whichever of its paths one goes by.
    pub of_project: bool,
    /// Such files hold MCP servers and nothing else.
    pub only_servers: bool,
    /// It is a folder in which such files may lie.
    pub is_folder: bool,
}

impl<'a> Recognised<'a> {
    /// The configuration that a file is, by the first of its paths that says so; one that may be a folder
    /// (`as_whole`) counts for what may lie in it.
    pub fn among(
        paths: impl Iterator<Item = Cow<'a, str>>,
        as_whole: bool,
        configs: &ClientConfigs,
        homes: &[String],
    ) -> Option<Self> {
        let is_project = |config: &ClientConfig| {
            config.project.as_ref().is_some_and(|project| !is_broad(project, homes))
        };
        let folder = |path: &str| {
            let found = if as_whole { configs.within(path) } else { None };
            found.filter(|config| !(config.only_in_homes && is_project(config)))
        };
        let recognise = |path: &str| {
            let file = configs.of(path).map(|config| (config, false));
            file.or_else(|| Some((folder(path)?, true)))
        };
        let mut found = paths.filter_map(|path| recognise(&path).map(|found| (path, found)));
        let (path, (config, is_folder)) = found.next()?;
        let of_project = is_project(&config);
        let ClientConfig { client, only_servers, .. } = config;
        let first = Self { path, client, of_project, only_servers, is_folder };
        // What is a project's file in a container may be a user's own on the host.
        Some(found.fold(first, |first, (_, (other, _))| Self {
            of_project: first.of_project && is_project(&other),
            only_servers: first.only_servers || other.only_servers,
            ..first
        }))
    }

    /// Whether the configuration was what this was about, as far as the result says: what is to be put *into* a
    /// folder is first tried in its place (`mv`, `ln -s`), and whatever is in the way there, or not, is the answer.
    #[must_use]
    pub fn is_meant(&self, result: Result<i32, i32>) -> bool {
        let refused = [libc::EACCES, libc::EPERM, libc::EROFS];
        !self.is_folder || result.map_or_else(|error| refused.contains(&error), |_| true)
    }

    /// Whether it is a project's file that a call asked for, in a folder the server was given to work in.
    #[must_use]
    pub fn is_asked_for(&self, effect: &Effect<'_>, homes: &[String]) -> bool {
        self.of_project
            && effect.attribution.relation == Relation::Requested
            && effect.given.paths.iter().any(|given| {
                let given = normal(given);
                is_within(&self.path, &given) && !is_broad(&given, homes)
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: ConfigTable = ConfigTable {
        file: |path| {
            let project = path.strip_suffix("/.mcp.json")?.to_owned();
            Some(ClientConfig { project: Some(project), ..users_own(None) })
        },
        folder: |_| None,
    };

    #[test]
    fn folders_hold_what_is_known_to_lie_in_them() {
        let mut configs = ClientConfigs::new(TABLE);
        for path in ["/home/a/.moved-too/x", "/home/a/.moved/deep/config.toml", "/home/a/.movedx"] {
            assert!(configs.add_own(path, Some("codex".into())));
        }
        for folder in ["/home/a/.moved", "/home/a/.moved/deep", "/home/a", "/home"] {
            let found = configs.within(folder).unwrap();
            assert_eq!(found.client.as_deref(), Some("codex"), "{folder}");
        }
        for folder in ["/home/a/.move", "/home/a/.moved/de", "/home/a/.moved/deep/config.toml"] {
            assert_eq!(configs.within(folder), None, "{folder}");
        }
    }

    #[test]
    fn own_places_are_bounded_and_those_of_the_table_take_no_room() {
        let mut configs = ClientConfigs::new(TABLE);
        assert!(configs.add_own("/home/a/x/../.mcp.json", Some("mine".into())));
        assert_eq!(configs.of("/home/a/.mcp.json").unwrap().project, None);
        assert_eq!(configs.of("/srv/.mcp.json").unwrap().project.as_deref(), Some("/srv"));
        for number in 0..2 * OWN {
            assert!(configs.add_found(&format!("/{number}/.mcp.json"), None));
            let is_new = configs.own.len() < OWN;
            assert_eq!(configs.add_found(&format!("/{number}"), None), is_new);
            assert_eq!(configs.of(&format!("/{number}")).is_some(), is_new);
        }
        assert!(configs.add_own("/home/a/.mcp.json", None), "it is known");
    }
}
