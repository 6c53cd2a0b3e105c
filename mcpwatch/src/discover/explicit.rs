//! Servers and clients that the settings name: their globs, compiled once.

use globset::{GlobBuilder, GlobMatcher};

use super::clients;
use crate::config::{Allow, ClientSettings, ServerSettings};

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

    /// An entry asks for a cgroup, which the kernel's events do not name.
    #[must_use]
    pub fn asks_for_cgroup(&self) -> bool {
        self.rows.iter().any(|row| row.cgroup.is_some())
    }

    /// What the settings allow the server that is shown as `name`: all entries of that name together.
    #[must_use]
    pub fn allow(&self, name: &str) -> Allow {
        let mut allow = Allow::default();
        for row in self.rows.iter().filter(|row| row.settings.name == name) {
            allow.exec.extend_from_slice(&row.settings.allow.exec);
            allow.read.extend_from_slice(&row.settings.allow.read);
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
        ];
        criteria.iter().any(Option::is_some) && criteria.iter().flatten().all(|holds| *holds)
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
            let subject = Subject { exe, argv: &argv, pid: *pid, cgroup };
            let found = explicit.server(subject).map(|server| server.name.as_str());
            assert_eq!(found, *expected, "{exe} {argv:?} {pid} {cgroup}");
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
