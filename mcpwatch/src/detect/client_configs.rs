//! Which files are MCP clients' configurations, as far as the rules about them ask.

use std::borrow::Cow;
use std::collections::BTreeMap;

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
}

/// Tells which client a path is the configuration of.
pub type ClientConfigOf = fn(&str) -> Option<ClientConfig>;

/// Most places that are known beside the table's.
const OWN: usize = 4_096;

/// Where clients keep their servers: the table of places, and what else is known on this host.
#[derive(Debug)]
pub struct ClientConfigs {
    of_table: ClientConfigOf,
    /// Files that are a user's own though the table does not say so, each with its client.
    own: BTreeMap<String, Option<Cow<'static, str>>>,
}

impl ClientConfigs {
    /// The table alone.
    #[must_use]
    pub fn new(of_table: ClientConfigOf) -> Self {
        Self { of_table, own: BTreeMap::new() }
    }

    /// The configuration that a path is.
    #[must_use]
    pub fn of(&self, path: &str) -> Option<ClientConfig> {
        match self.own.get(path) {
            Some(client) => {
                Some(ClientConfig { client: client.clone(), project: None, only_servers: true })
            }
            None => (self.of_table)(path),
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
        (self.of_table)(&normal(path)).is_some() || self.add_own(path, client)
    }
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
}

impl<'a> Recognised<'a> {
    /// The configuration that a file is, by the first of its paths that says so.
    pub fn among(
        paths: impl Iterator<Item = Cow<'a, str>>,
        configs: &ClientConfigs,
        homes: &[String],
    ) -> Option<Self> {
        let is_project = |config: &ClientConfig| {
            config.project.as_ref().is_some_and(|project| !is_broad(project, homes))
        };
        let mut found = paths.filter_map(|path| configs.of(&path).map(|config| (path, config)));
        let (path, config) = found.next()?;
        let of_project = is_project(&config);
        let ClientConfig { client, only_servers, .. } = config;
        let first = Self { path, client, of_project, only_servers };
        // What is a project's file in a container may be a user's own on the host.
        Some(found.fold(first, |first, (_, other)| Self {
            of_project: first.of_project && is_project(&other),
            only_servers: first.only_servers || other.only_servers,
            ..first
        }))
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

    #[test]
    fn own_places_are_bounded_and_those_of_the_table_take_no_room() {
        let mut configs = ClientConfigs::new(|path| {
            let project = path.strip_suffix("/.mcp.json")?.to_owned();
            Some(ClientConfig { client: None, project: Some(project), only_servers: true })
        });
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
