//! Servers and clients that the settings name: their globs, compiled once.

use globset::{GlobBuilder, GlobMatcher};

use super::clients;
use crate::config::{Allow, ClientSettings, ContainerSettings, ServerSettings};
use crate::host::containers::Container;

/// What is known of a process that a criterion can be about.
#[derive(Clone, Copy, Debug, Default)]
pub struct Subject<'a> {
    /// Path of the executed file.
    pub exe: &'a str,
    /// Argument vector.
    pub argv: &'a [String],
    /// Process id.
    pub pid: u32,
    /// Path of its cgroup; empty when unknown.
    pub cgroup: &'a str,
    /// The container it runs in, as far as known.
    pub container: Option<&'a Container>,
}

/// The settings' servers.
#[derive(Clone, Debug, Default)]
pub struct Explicit {
    rows: Vec<Row>,
}

#[derive(Clone, Debug)]
struct Row {
    settings: ServerSettings,
    exe: Option<GlobMatcher>,
    argv: Option<GlobMatcher>,
    cgroup: Option<GlobMatcher>,
    container: Option<OfContainer>,
}

/// What an entry says of the container.
#[derive(Clone, Debug)]
struct OfContainer {
    labels: Vec<(String, GlobMatcher)>,
    name: Option<GlobMatcher>,
    image: Option<GlobMatcher>,
    pod: Option<GlobMatcher>,
    namespace: Option<GlobMatcher>,
}

/// Compiles one glob of the settings; `/` is an ordinary character in argument vectors.
fn compile(glob: &str, path: bool) -> Result<GlobMatcher, globset::Error> {
    Ok(GlobBuilder::new(glob).literal_separator(path).build()?.compile_matcher())
}

impl Explicit {
    /// Fails on a glob that is none; the settings file has been checked for that already.
    pub fn new(servers: &[ServerSettings]) -> Result<Self, globset::Error> {
        let glob = |glob: &Option<String>, path| {
            glob.as_deref().map(|glob| compile(glob, path)).transpose()
        };
        let rows = servers
            .iter()
            .map(|settings| {
                Ok(Row {
                    exe: glob(&settings.exe, true)?,
                    argv: glob(&settings.argv, false)?,
                    cgroup: glob(&settings.cgroup, false)?,
                    container: settings.container.as_ref().map(OfContainer::new).transpose()?,
                    settings: settings.clone(),
                })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { rows })
    }

    /// The first entry with criteria that all hold. Entries without any name a server that other
    /// evidence finds: see [`Self::allow`].
    #[must_use]
    pub fn server(&self, subject: Subject<'_>) -> Option<&ServerSettings> {
        self.rows.iter().find(|row| row.holds(subject)).map(|row| &row.settings)
    }

    /// An entry asks for a cgroup or a container, which the kernel's events do not name.
    #[must_use]
    pub fn asks_for_place(&self) -> bool {
        self.rows.iter().any(|row| row.cgroup.is_some() || row.container.is_some())
    }

    /// An entry asks for what only files of the host tell.
    #[must_use]
    pub fn asks_for_container(&self) -> bool {
        self.rows.iter().any(|row| row.container.is_some())
    }

    /// What an entry says of the container holds for this one.
    #[must_use]
    pub fn knows(&self, container: &Container) -> bool {
        self.rows.iter().filter_map(|row| row.container.as_ref()).any(|row| row.holds(container))
    }

    /// What the settings allow the server that is shown as `name`: all entries of that name together.
    #[must_use]
    pub fn allow(&self, name: &str) -> Allow {
        let mut allow = Allow::default();
        for row in self.rows.iter().filter(|row| row.settings.name == name) {
            allow.exec.extend_from_slice(&row.settings.allow.exec);
            allow.read.extend_from_slice(&row.settings.allow.read);
            allow.write.extend_from_slice(&row.settings.allow.write);
            allow.egress.extend_from_slice(&row.settings.allow.egress);
        }
        allow
    }
}

impl Row {
    fn holds(&self, subject: Subject<'_>) -> bool {
        let criteria = [
            self.exe.as_ref().map(|glob| glob.is_match(subject.exe)),
            self.argv.as_ref().map(|glob| glob.is_match(subject.argv.join(" "))),
            self.settings.pid.map(|pid| pid == subject.pid),
            self.cgroup.as_ref().map(|glob| glob.is_match(subject.cgroup)),
            self.container.as_ref().map(|row| subject.container.is_some_and(|one| row.holds(one))),
        ];
        criteria.iter().any(Option::is_some) && criteria.iter().flatten().all(|holds| *holds)
    }
}

impl OfContainer {
    fn new(settings: &ContainerSettings) -> Result<Self, globset::Error> {
        let labels = settings.label.iter().map(|label| {
            let (key, value) = label.split_once('=').unwrap_or((label, "*"));
            Ok((key.to_owned(), compile(value, false)?))
        });
        let glob = |glob: &Option<String>| glob.as_deref().map(|it| compile(it, false)).transpose();
        Ok(Self {
            labels: labels.collect::<Result<_, _>>()?,
            name: glob(&settings.name)?,
            image: glob(&settings.image)?,
            pod: glob(&settings.pod)?,
            namespace: glob(&settings.namespace)?,
        })
    }

    fn holds(&self, container: &Container) -> bool {
        let named = [
            (&self.name, &container.name),
            (&self.image, &container.image),
            (&self.pod, &container.pod_name),
            (&self.namespace, &container.namespace),
        ];
        self.labels
            .iter()
            .all(|(key, glob)| container.labels.get(key).is_some_and(|value| glob.is_match(value)))
            && named.iter().all(|(glob, value)| {
                glob.as_ref()
                    .is_none_or(|glob| value.as_ref().is_some_and(|value| glob.is_match(value)))
            })
    }
}

/// Known clients: the built-in table and those of the settings.
#[derive(Clone, Debug, Default)]
pub struct Clients {
    rows: Vec<(String, GlobMatcher)>,
}

impl Clients {
    /// Fails on a glob that is none; the settings file has been checked for that already.
    pub fn new(clients: &[ClientSettings]) -> Result<Self, globset::Error> {
        let rows = clients
            .iter()
            .map(|client| Ok((client.name.clone(), compile(&client.exe, true)?)))
            .collect::<Result<_, _>>()?;
        Ok(Self { rows })
    }

    /// The client a process is; the settings come first.
    #[must_use]
    pub fn name_of(&self, exe: &str, argv: &[String]) -> Option<&str> {
        let named = self.rows.iter().find(|(_, glob)| glob.is_match(exe));
        named.map(|(name, _)| name.as_str()).or_else(|| clients::client_of(exe, argv))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Executed file, arguments, pid, cgroup, and the entry expected.
    type Case<'a> = (&'a str, &'a [&'a str], u32, &'a str, Option<&'a str>);

    fn settings(name: &str) -> ServerSettings {
        ServerSettings { name: name.into(), ..ServerSettings::default() }
    }

    #[test]
    fn every_criterion_that_is_given_must_hold() {
        let servers = [
            settings("no-criteria"),
            ServerSettings { exe: Some("/opt/*/srv".into()), pid: Some(7), ..settings("both") },
            ServerSettings { argv: Some("*--mcp*".into()), ..settings("argv") },
            ServerSettings { cgroup: Some("/kubepods*/pod1*".into()), ..settings("cgroup") },
        ];
        let explicit = Explicit::new(&servers).unwrap();
        let table: &[Case<'_>] = &[
            ("/opt/a/srv", &["srv"], 7, "", Some("both")),
            ("/opt/a/srv", &["srv"], 8, "", None),
            ("/opt/a/b/srv", &["srv"], 7, "", None),
            ("/x", &["x", "/a/b", "--mcp"], 1, "", Some("argv")),
            ("/x", &["x"], 1, "/kubepods/burstable/pod1/c", Some("cgroup")),
            ("/x", &["x"], 1, "/", None),
        ];
        for (exe, argv, pid, cgroup, expected) in table {
            let argv: Vec<String> = argv.iter().map(|word| (*word).to_owned()).collect();
            let subject = Subject { exe, argv: &argv, pid: *pid, cgroup, container: None };
            let found = explicit.server(subject).map(|server| server.name.as_str());
            assert_eq!(found, *expected, "{exe} {argv:?} {pid} {cgroup}");
        }
    }

    #[test]
    fn what_is_said_of_the_container_must_hold_together() {
        let container = Container {
            name: Some("tickets-1".into()),
            image: Some("ghcr.io/acme/tickets:2".into()),
            namespace: Some("prod".into()),
            labels: [("app", "tickets"), ("empty", ""), ("a=b", "c")]
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..Container::default()
        };
        let of = |labels: &[&str]| ContainerSettings {
            label: labels.iter().map(|&label| label.to_owned()).collect(),
            ..ContainerSettings::default()
        };
        let named = |glob: &str| Some(glob.to_owned());
        let table = [
            (of(&["app=tickets"]), true),
            (of(&["app=tick*", "empty"]), true),
            (of(&["empty="]), true),
            (of(&["app="]), false),
            (of(&["app=tickets", "tier=x"]), false),
            (of(&["other"]), false),
            (of(&["a"]), false),
            (ContainerSettings { name: named("tickets-?"), ..of(&[]) }, true),
            (ContainerSettings { image: named("ghcr.io/acme/*"), ..of(&["app"]) }, true),
            (ContainerSettings { image: named("*/other:*"), ..of(&["app"]) }, false),
            (ContainerSettings { namespace: named("prod"), ..of(&[]) }, true),
            (ContainerSettings { pod: named("*"), ..of(&[]) }, false),
        ];
        for (row, expected) in table {
            let row = ServerSettings { container: Some(row), ..settings("x") };
            let explicit = Explicit::new(std::slice::from_ref(&row)).unwrap();
            let inside = Subject { container: Some(&container), ..Subject::default() };
            assert_eq!(explicit.server(inside).is_some(), expected, "{row:?}");
            assert!(explicit.server(Subject::default()).is_none(), "{row:?}: no container");
        }
    }

    #[test]
    fn entries_of_one_name_allow_together() {
        let allow = |path: &str| Allow { read: vec![path.into()], ..Allow::default() };
        let servers = [
            ServerSettings { allow: allow("/a"), ..settings("x") },
            ServerSettings { allow: allow("/b"), ..settings("x") },
            ServerSettings { allow: allow("/c"), ..settings("y") },
        ];
        let explicit = Explicit::new(&servers).unwrap();
        assert_eq!(explicit.allow("x").read, ["/a", "/b"]);
        assert_eq!(explicit.allow("z"), Allow::default());
    }

    #[test]
    fn the_settings_add_clients() {
        let own = [ClientSettings { name: "ours".into(), exe: "/opt/*/agent".into() }];
        let clients = Clients::new(&own).unwrap();
        assert_eq!(clients.name_of("/opt/x/agent", &[]), Some("ours"));
        assert_eq!(clients.name_of("/usr/bin/claude", &[]), Some("claude-code"));
        assert_eq!(clients.name_of("/usr/bin/bash", &[]), None);
    }
}
