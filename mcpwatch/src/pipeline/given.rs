//! What a server was given before any call: what its launch and its configuration name.

use std::collections::BTreeSet;

use crate::config::Allow;
use crate::detect::Given;
use crate::detect::paths::{file_name, normal};
use crate::detect::programs::in_system_folder;
use crate::discover::client_config::ConfiguredServer;
use crate::discover::launcher;
use crate::host::names::Names;

use super::instance::OwnedProgram;

/// Most entries of each kind.
const ENTRIES: usize = 256;

/// Deepest chain of wrappers on one command line.
const WRAPPERS: usize = 8;

/// Collects it from the programs on the channel and the configuration's entry.
#[must_use]
pub fn collect(
    programs: &[OwnedProgram],
    config: Option<&ConfiguredServer>,
    names: &Names,
    allow: Allow,
) -> Given {
    let mut given = empty(names, allow);
    // The first program was started by the client. Later ones were started by it: a wrapper passes on what it
    // was given, and whatever else stands there was not given by anybody.
    let first = programs.first();
    let words = first.into_iter().flat_map(|first| first.argv.iter().skip(1));
    let configured = config.into_iter().flat_map(|config| &config.args);
    let started_with: BTreeSet<&str> =
        words.chain(configured).take(ENTRIES).map(String::as_str).collect();
    for (index, program) in programs.iter().enumerate() {
        if index == 0 || !program.beyond_launch {
            given.argv.extend(program.argv.iter().take(ENTRIES).cloned());
            if !given.folders.contains(&program.cwd) {
                given.folders.push(program.cwd.clone());
            }
        }
        for word in program.argv.iter().skip(1) {
            if index == 0 || started_with.contains(word.as_str()) {
                add(&mut given, word, &program.cwd);
            }
        }
    }
    if let Some(config) = config {
        let cwd = programs.first().map_or("/", |program| program.cwd.as_str());
        for word in config.args.iter().chain(config.env.values()).chain(&config.url) {
            add(&mut given, word, cwd);
        }
    }
    given.launchers = launchers(first, config);
    if let Some(first) = first {
        given.roots = roots(&launcher::arguments(&first.argv), &first.cwd);
    }
    given.paths.sort_unstable();
    given.paths.dedup();
    given.paths.truncate(ENTRIES);
    given.hosts.sort_unstable();
    given.hosts.dedup();
    given.hosts.truncate(ENTRIES);
    given
}

/// Nothing but what the host and the settings give to every server.
#[must_use]
pub fn empty(names: &Names, allow: Allow) -> Given {
    Given { resolvers: names.resolvers().to_vec(), allow, ..Given::default() }
}

/// The programs of a launch, by name. The first one's executed file speaks for it, as a process can write
/// anything over its argument vector.
fn launchers(first: Option<&OwnedProgram>, config: Option<&ConfiguredServer>) -> Vec<String> {
    let mut found = Vec::new();
    if let Some(first) = first {
        let exe = file_name(&first.exe);
        // Programs of snaps are links to one program that looks at its name.
        let is_named = exe.is_empty() || exe == "snap";
        let called = first.argv.first().filter(|_| is_named).map_or(exe, |word| file_name(word));
        if is_named || in_system_folder(&first.exe) {
            found.extend([called, exe].into_iter().filter(|it| !it.is_empty()).map(str::to_owned));
        }
        if exe.is_empty() || launcher::hands_on(exe) {
            found.extend(commands_within(&first.argv));
        }
    }
    if let Some((config, command)) = config.and_then(|it| Some((it, it.command.clone()?))) {
        found.extend(command_name(&command).map(str::to_owned));
        let words: Vec<String> = std::iter::once(command).chain(config.args.clone()).collect();
        found.extend(commands_within(&words));
    }
    found.sort_unstable();
    found.dedup();
    found
}

/// The commands that wrappers in a command line are told to run. A shell's script is one: `docker` is that on
/// some distributions.
fn commands_within(words: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    let mut words = words.to_vec();
    for _ in 0..WRAPPERS {
        let Some(inner) = launcher::unwrap(&words) else { break };
        found.extend(inner.first().and_then(|word| command_name(word)).map(str::to_owned));
        words = inner;
    }
    found
}

/// The name of a command, unless it is a path to somewhere else than the system's programs.
fn command_name(command: &str) -> Option<&str> {
    (!command.contains('/') || in_system_folder(command)).then(|| file_name(command))
}

fn add(given: &mut Given, word: &str, cwd: &str) {
    let value = match word.split_once('=') {
        Some((flag, value)) if flag.starts_with('-') => value,
        _ => word,
    };
    if let Ok(url) = url::Url::parse(value)
        && let Some(host) = url.host_str()
    {
        given.hosts.push(host.trim_matches(['[', ']']).to_ascii_lowercase());
        return;
    }
    if let Some(socket) = socket(value) {
        given.paths.push(socket.to_owned());
        return;
    }
    let path = value.strip_prefix("file://").unwrap_or(value);
    let mounts = mounts(word);
    if !mounts.is_empty() {
        given.paths.extend(mounts.iter().map(|path| path.trim_end_matches('/').to_owned()));
    } else if path.starts_with('/') {
        given.paths.push(path.trim_end_matches('/').to_owned());
    } else if path.starts_with("./") || path.starts_with("../") || path == "." {
        given.paths.push(crate::event::decode::join(cwd, path));
    } else if let Some((host, port)) = value.rsplit_once(':')
        && port.parse::<u16>().is_ok()
        && !host.is_empty()
        && !host.contains(['/', ' '])
    {
        given.hosts.push(host.trim_matches(['[', ']']).to_ascii_lowercase());
    } else if value.parse::<std::net::IpAddr>().is_ok() || is_host_name(value) {
        given.hosts.push(value.to_ascii_lowercase());
    }
}

/// The unix socket a word names: `unix:///run/x.sock`, `DOCKER_HOST=unix:///run/x.sock`, `socket=/run/x.sock`.
fn socket(value: &str) -> Option<&str> {
    let path = match value.rsplit_once("unix://") {
        Some((_, path)) => path,
        None => value
            .rsplit_once('=')
            .map(|(_, path)| path)
            .filter(|it| it.strip_suffix(".sock").is_some())?,
    };
    (path.starts_with('/') && !path.contains([',', ':', '='])).then_some(path)
}

/// Flags whose value confines a server to a folder. Others (`--log-dir`, `--cache`) name folders it uses.
const ROOT_FLAGS: &[&str] = &[
    "allow",
    "allowed",
    "allowed-dir",
    "allowed-directories",
    "allowed-directory",
    "allowed-path",
    "allowed-paths",
    "base-dir",
    "base-path",
    "dir",
    "directory",
    "folder",
    "path",
    "project",
    "project-dir",
    "project-root",
    "repo",
    "repository",
    "root",
    "root-dir",
    "roots",
    "vault",
    "vault-path",
    "workspace",
    "workspace-dir",
];

/// The folders among a server's own arguments: those that stand for themselves, and values of
/// [`ROOT_FLAGS`]. The pipeline does not look at the disk: what ends like a file's name is taken for one.
fn roots(words: &[String], cwd: &str) -> Vec<String> {
    let mut roots = Vec::new();
    let mut flag = None;
    for word in words.iter().take(ENTRIES) {
        let name = |word: &str| word.trim_start_matches('-').to_ascii_lowercase();
        let value = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with('-') => {
                ROOT_FLAGS.contains(&name(flag).as_str()).then_some(value)
            }
            _ if word.starts_with('-') => {
                flag = Some(name(word));
                continue;
            }
            // What follows a flag may be its value.
            _ => match flag.take() {
                Some(flag) => ROOT_FLAGS.contains(&flag.as_str()).then_some(word.as_str()),
                None => Some(word.as_str()),
            },
        };
        flag = None;
        let Some(path) = value.map(|value| value.strip_prefix("file://").unwrap_or(value)) else {
            continue;
        };
        let relative = path == "." || path.starts_with("./") || path.starts_with("../");
        let folder = match path.starts_with('/') {
            true => normal(path).into_owned(),
            false if relative => crate::event::decode::join(cwd, path),
            false => continue,
        };
        if !folder.contains([':', ' ']) && !is_file_name(&folder) {
            roots.push(folder.trim_end_matches('/').to_owned());
        }
    }
    roots.sort_unstable();
    roots.dedup();
    roots
}

/// Ends like `notes.db`: a dot within the last component, and a few letters after it.
fn is_file_name(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rsplit_once('.').is_some_and(|(stem, extension)| {
        !stem.is_empty()
            && stem != "."
            && (1..=6).contains(&extension.len())
            && extension.chars().all(|c| c.is_ascii_alphanumeric())
            && extension.chars().any(|c| c.is_ascii_alphabetic())
    })
}

/// The folders of what is mounted into a container, on both sides: `-v FROM:TO:OPTIONS`, and
/// `--mount type=bind,source=FROM,target=TO`.
fn mounts(word: &str) -> Vec<&str> {
    let value = ["-v=", "--volume=", "--mount="].iter().find_map(|flag| word.strip_prefix(flag));
    let value = value.unwrap_or(word);
    let is_path = |part: &&str| part.starts_with('/') && !part.starts_with("//");
    if value.starts_with("type=") {
        value.split(',').filter_map(|part| Some(part.split_once('=')?.1)).filter(is_path).collect()
    } else if value.contains(":/") {
        value.split(':').filter(is_path).collect()
    } else {
        Vec::new()
    }
}

/// Looks like `api.example.com`; package names and versions do not.
fn is_host_name(word: &str) -> bool {
    let labels: Vec<&str> = word.split('.').collect();
    labels.len() >= 2
        && word.len() <= 253
        && labels.iter().all(|label| {
            !label.is_empty() && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        })
        && labels
            .last()
            .is_some_and(|top| top.len() >= 2 && top.chars().all(|c| c.is_ascii_alphabetic()))
        && !matches!(
            labels.last(),
            Some(
                &("js"
                    | "mjs"
                    | "cjs"
                    | "ts"
                    | "py"
                    | "json"
                    | "toml"
                    | "yaml"
                    | "yml"
                    | "sh"
                    | "txt")
            )
        )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn what_is_mounted_into_a_container_is_given() {
        let program = OwnedProgram {
            exe: "/usr/bin/docker".into(),
            argv: [
                "docker",
                "run",
                "-v",
                "/home/me/notes:/notes:ro",
                "--volume=cache:/cache/",
                "--mount",
                "type=bind,source=/srv/a,target=/a",
                "img",
                "http://h.example:80/x",
            ]
            .map(str::to_owned)
            .to_vec(),
            cwd: "/".into(),
            ..OwnedProgram::default()
        };
        let given = collect(&[program], None, &Names::default(), Allow::default());
        assert_eq!(given.paths, ["/a", "/cache", "/home/me/notes", "/notes", "/srv/a"]);
        assert_eq!(given.hosts, ["h.example"]);
    }

    fn launchers_of(exe: &str, argv: &[&str], config: Option<&[&str]>) -> String {
        let owned = |words: &[&str]| words.iter().map(|&word| word.to_owned()).collect::<Vec<_>>();
        let program = OwnedProgram {
            exe: exe.into(),
            argv: owned(argv),
            cwd: "/".into(),
            ..OwnedProgram::default()
        };
        // Whatever it executes on its channel before the first request.
        let later = OwnedProgram {
            exe: "/usr/bin/docker".into(),
            argv: owned(&["docker", "run", "image"]),
            cwd: "/".into(),
            ..OwnedProgram::default()
        };
        let config = config.map(|words| ConfiguredServer {
            name: "x".into(),
            command: Some(words[0].into()),
            args: owned(&words[1..]),
            env: BTreeMap::new(),
            url: None,
            cwd: None,
            config_path: String::new(),
            client: String::new(),
        });
        let allow = Allow::default();
        let programs = [program, later];
        collect(&programs, config.as_ref(), &Names::default(), allow).launchers.join(" ")
    }

    #[test]
    fn launchers_are_what_stands_in_command_position() {
        for (exe, argv, expected) in [
            ("/usr/bin/docker", &["docker", "run", "-i", "mount"][..], "docker"),
            (
                "/usr/bin/node",
                &["node", "/usr/bin/npx", "server-filesystem", "/home/me/docker"],
                "node",
            ),
            (
                "/usr/bin/dash",
                &["sh", "-c", "cd /x && exec podman run image docker"],
                "dash podman",
            ),
            ("/usr/bin/env", &["env", "A=b", "nice", "docker", "run"], "docker env nice"),
            ("/usr/bin/bash", &["bash", "/usr/bin/docker", "run", "image"], "bash docker"),
            // A server's own name, script or title.
            ("/home/me/docker", &["docker", "run"], ""),
            ("/usr/bin/bash", &["bash", "/home/me/docker"], "bash"),
            ("/usr/bin/env", &["env", "/home/me/docker"], "env"),
            ("/usr/bin/node", &["docker", "run", "image"], "node"),
            ("/usr/bin/node", &["sh", "-c", "docker run image"], "node"),
            ("/usr/bin/snap", &["docker", "run", "image"], "docker snap"),
        ] {
            assert_eq!(launchers_of(exe, argv, None), expected, "{argv:?}");
        }
        let configured = ["sh", "-c", "docker run image"];
        assert_eq!(launchers_of("/usr/bin/node", &["node"], Some(&configured)), "docker node sh");
        let configured = ["npx", "x", "/home/me/docker"];
        assert_eq!(launchers_of("/usr/bin/node", &["node"], Some(&configured)), "node npx");
    }

    #[test]
    fn sockets_are_given_however_they_are_written() {
        let argv =
            ["x", "--host=unix:///run/a.sock", "H=unix:///run/b.sock", "s=/run/c.sock", "no=/d"];
        let argv = argv.map(str::to_owned).to_vec();
        let program =
            OwnedProgram { exe: "/opt/x".into(), argv, cwd: "/".into(), ..OwnedProgram::default() };
        let given = collect(&[program], None, &Names::default(), Allow::default());
        assert_eq!(given.paths, ["/run/a.sock", "/run/b.sock", "/run/c.sock"]);
    }

    #[test]
    fn paths_and_hosts_of_a_launch() {
        let program = OwnedProgram {
            exe: "/usr/bin/node".into(),
            argv: [
                "node",
                "./server.js",
                "/srv/data/",
                "--root=/srv/more",
                "--api=https://api.example.com/v1",
                "db.internal:5432",
                "@scope/pkg@1.2",
                "read-only",
                "203.0.113.9",
            ]
            .map(str::to_owned)
            .to_vec(),
            cwd: "/work".into(),
            ..OwnedProgram::default()
        };
        let given = collect(&[program], None, &Names::default(), Allow::default());
        assert_eq!(given.paths, ["/srv/data", "/srv/more", "/work/server.js"]);
        assert_eq!(given.hosts, ["203.0.113.9", "api.example.com", "db.internal"]);
    }

    #[test]
    fn roots_are_the_folders_among_the_servers_own_arguments() {
        for (line, expected) in [
            ("npx -y @modelcontextprotocol/server-filesystem /srv/a/ /srv/b", "/srv/a /srv/b"),
            ("node /code/server.js", ""),
            ("node /code/server.js .", "/work"),
            ("python3 -m mcp_server_git --repository /srv/r", "/srv/r"),
            ("python3 -m mcp_server_git --repository=/srv/r", "/srv/r"),
            ("uv run --directory /code server", ""),
            ("/opt/server --log-dir /var/log/x --db /srv/x.db", ""),
            ("/opt/server --cache=/var/cache/x -v /srv/notes.db", ""),
            ("/opt/server --verbose --root /srv/v1.2", "/srv/v1.2"),
            ("/opt/server serve https://example.com/a data /srv/.hidden", "/srv/.hidden"),
            ("docker run -i -v /host:/data image /data", "/data"),
        ] {
            let argv: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
            let program = OwnedProgram {
                exe: String::new(),
                argv,
                cwd: "/work".into(),
                ..OwnedProgram::default()
            };
            let given = collect(&[program], None, &Names::default(), Allow::default());
            assert_eq!(given.roots.join(" "), expected, "{line}");
        }
    }
}
