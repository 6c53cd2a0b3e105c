//! Which files are MCP clients' configurations, as far as the rules about them ask.

use std::borrow::Cow;

use super::Effect;
use super::paths::{is_broad, is_within, normal};
use crate::record::Relation;

/// A place where a client keeps its servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// The client.
    pub client: Cow<'static, str>,
    /// The project's folder, when it may be a project's own file.
    pub project: Option<String>,
    /// Such files hold MCP servers and nothing else.
    pub only_servers: bool,
}

/// Tells which client a path is the configuration of.
pub type ClientConfigOf = fn(&str) -> Option<ClientConfig>;

/// A client's configuration, by the path it was recognised by.
#[derive(Debug)]
pub struct Recognised<'a> {
    /// Where the client keeps it.
    pub path: Cow<'a, str>,
    /// The client.
    pub client: Cow<'static, str>,
    /// It is a project's own file, whichever of its paths one goes by.
    pub of_project: bool,
    /// Such files hold MCP servers and nothing else.
    pub only_servers: bool,
}

impl<'a> Recognised<'a> {
    /// The configuration that a file is, by the first of its paths that says so.
    pub fn among(
        paths: impl Iterator<Item = Cow<'a, str>>,
        client_config_of: impl Fn(&str) -> Option<ClientConfig>,
        homes: &[String],
    ) -> Option<Self> {
        let is_project = |config: &ClientConfig| {
            config.project.as_ref().is_some_and(|project| !is_broad(project, homes))
        };
        let mut found =
            paths.filter_map(|path| client_config_of(&path).map(|config| (path, config)));
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
    pub fn is_asked_for(&self, effect: &Effect<'_>, homes: &[String]) -> bool {
        self.of_project
            && effect.attribution.relation == Relation::Requested
            && effect.given.paths.iter().any(|given| {
                let given = normal(given);
                is_within(&self.path, &given) && !is_broad(&given, homes)
            })
    }
}
