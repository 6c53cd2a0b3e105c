//! Which entry of a client's configuration a process was started from: compares argument vectors.

use super::client_config::ConfiguredServer;
use super::launcher;

/// One executed program: a process, or one of the wrappers above it.
#[derive(Clone, Copy, Debug)]
pub struct Program<'a> {
    /// Path of the executed file.
    pub exe: &'a str,
    /// Its argument vector.
    pub argv: &'a [String],
    /// Its working directory; empty when unknown.
    pub cwd: &'a str,
}

/// The entry that started one of `programs` (the server's process and its wrappers), if exactly one
/// fits best. Of entries that say the same, that of `client` (the parent) counts, then one of a
/// project around the working directory, then the first.
#[must_use]
pub fn config_of<'a>(
    programs: &[Program<'_>],
    configs: &'a [ConfiguredServer],
    client: Option<&str>,
) -> Option<&'a ConfiguredServer> {
    // Asked for every program the host executes: what does not depend on the entry is done once.
    let words: Vec<Vec<&str>> =
        programs.iter().map(|program| program.argv.iter().map(String::as_str).collect()).collect();
    let seen: Vec<Seen<'_, '_>> =
        programs.iter().zip(&words).map(|(program, words)| Seen::new(*program, words)).collect();
    let mut best: Option<(Fit, &ConfiguredServer)> = None;
    let mut ambiguous = false;
    for config in configs {
        let Some(fit) = seen.iter().filter_map(|seen| fit(seen, config, client)).max() else {
            continue;
        };
        match &best {
            Some((before, _)) if *before > fit => {}
            Some((before, first)) if *before == fit => {
                ambiguous |= first.command != config.command || first.args != config.args;
            }
            _ => {
                best = Some((fit, config));
                ambiguous = false;
            }
        }
    }
    best.filter(|_| !ambiguous).map(|(_, config)| config)
}

/// A program's argument vector in the forms it may have in a configuration.
struct Seen<'a, 'b> {
    program: Program<'b>,
    /// What npm wrote over its argument vector: `npm exec package arguments`, without `-y`.
    title: Option<&'b str>,
    /// As it stands.
    whole: &'a [&'b str],
    /// Without the interpreter before a known launcher.
    launcher: &'a [&'b str],
    /// Without its first word: what a `#!` line put there, when the second is a path.
    script: &'a [&'b str],
}

impl<'a, 'b> Seen<'a, 'b> {
    fn new(program: Program<'b>, whole: &'a [&'b str]) -> Self {
        let title = match whole {
            [title] => title.strip_prefix("npm exec "),
            _ => None,
        };
        let script = whole.get(1..).filter(|rest| rest.first().is_some_and(|it| it.contains('/')));
        Self {
            program,
            title,
            whole,
            launcher: launcher::without_interpreter(whole),
            script: script.unwrap_or_default(),
        }
    }
}

/// How well an entry fits; the fields count in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Fit {
    /// Characters of the arguments that stand in the entry itself, not in a variable.
    literal: usize,
    /// The entry as it stands, not what a wrapper in it starts.
    direct: bool,
    /// 2: the command as it stands; 1: its last component.
    command: u8,
    /// The entry is the parent's.
    client: bool,
    /// The entry's directory, or its project, is that of the process.
    place: bool,
}

fn fit(seen: &Seen<'_, '_>, config: &ConfiguredServer, client: Option<&str>) -> Option<Fit> {
    let command = config.command.as_deref()?;
    let (direct, (command, literal)) = match compare(seen, command, &config.args) {
        Some(found) => (true, found),
        None => (false, compare_others(seen, command, &config.args)?),
    };
    Some(Fit {
        literal,
        direct,
        command,
        client: client == Some(config.client.as_str()),
        place: in_place(seen.program.cwd, config),
    })
}

/// Most wrappers inside one another in one entry.
const MAX_UNWRAPPED: usize = 4;

/// Compares with the other command lines an entry may be seen as: split, since some write the whole
/// line into `command`; and what `env` and `sh -c 'exec …'` leave of themselves.
fn compare_others(seen: &Seen<'_, '_>, command: &str, args: &[String]) -> Option<(u8, usize)> {
    let compare_line = |line: &[String]| {
        let (command, args) = line.split_first()?;
        compare(seen, command, args)
    };
    let mut line = None;
    if command.contains(char::is_whitespace) {
        let words = [shlex::split(command)?.as_slice(), args].concat();
        if let Some(found) = compare_line(&words) {
            return Some(found);
        }
        line = Some(words);
    } else if launcher::hands_on(command) {
        line = Some([&[command.to_owned()], args].concat());
    }
    for _ in 0..MAX_UNWRAPPED {
        let inner = launcher::unwrap(line.as_deref()?)?;
        if let Some(found) = compare_line(&inner) {
            return Some(found);
        }
        line = Some(inner);
    }
    None
}

/// The quality of the command's match, and the literal characters of the arguments.
fn compare(seen: &Seen<'_, '_>, command: &str, arguments: &[String]) -> Option<(u8, usize)> {
    if let Some(title) = seen.title {
        return npm_title(title, command, arguments);
    }
    let forms = [(seen.whole, true), (seen.launcher, false), (seen.script, false)];
    forms
        .into_iter()
        .filter_map(|(words, whole)| {
            let (first, rest) = words.split_first()?;
            let exe = if whole { seen.program.exe } else { first };
            let quality = command_fits(command, first, exe)?;
            Some((quality, arguments_fit(arguments, rest)?))
        })
        .max()
}

fn npm_title(said: &str, command: &str, arguments: &[String]) -> Option<(u8, usize)> {
    if !matches!(base(command), "npx" | "npm") {
        return None;
    }
    let exec = usize::from(base(command) == "npm");
    let flags = arguments.iter().skip(exec).take_while(|word| word.starts_with('-')).count();
    // Arguments with spaces in them cannot be told apart in a title: whole lines are compared.
    let wanted = arguments.get(exec + flags..)?.join(" ");
    pattern_fits(&wanted, said).map(|literal| (1, literal))
}

fn base(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// `argv0` is what the parent called the program, `exe` what was executed.
fn command_fits(command: &str, argv0: &str, exe: &str) -> Option<u8> {
    if command == argv0 || command == exe {
        return Some(2);
    }
    if pattern_fits(command, argv0).is_some() || pattern_fits(command, exe).is_some() {
        return Some(1);
    }
    // A name is looked up in PATH; a path may lead over symbolic links.
    (base(command) == base(argv0) || base(command) == base(exe)).then_some(1)
}

fn arguments_fit(expected: &[String], actual: &[&str]) -> Option<usize> {
    if expected.len() != actual.len() {
        return None;
    }
    expected
        .iter()
        .zip(actual)
        .map(|(expected, actual)| pattern_fits(expected, actual))
        // One more for each argument: an entry with an empty one says more than one without.
        .try_fold(0, |sum, literal| Some(sum + literal? + 1))
}

/// Compares a word with variables in it (`${VAR}`, `${env:VAR}`, `$VAR`, a leading `~/`, `%VAR%`),
/// which may stand for anything. Gives the number of literal characters.
fn pattern_fits(expected: &str, actual: &str) -> Option<usize> {
    if expected == actual {
        return Some(expected.len());
    }
    let literals = literals(expected);
    // A word without variables is one literal, and differs.
    let (first, rest) = literals.split_first()?;
    let (last, middle) = rest.split_last()?;
    let mut remaining = actual.strip_prefix(first)?;
    for part in middle {
        remaining = remaining.get(remaining.find(part)? + part.len()..)?;
    }
    remaining.strip_suffix(last)?;
    Some(literals.iter().map(|part| part.len()).sum())
}

/// The literal pieces around the variables of a word: always one more than there are variables.
fn literals(word: &str) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = word;
    if let Some(tail) = word.strip_prefix("~/") {
        pieces.push("");
        // The slash stays: what follows the home begins with it.
        rest = word.get(1..).unwrap_or(tail);
    }
    let mut from = 0;
    while let Some(at) = rest.get(from..).and_then(|tail| tail.find('$')).map(|at| at + from) {
        let tail = rest.get(at + 1..).unwrap_or_default();
        let length = if let Some(braced) = tail.strip_prefix(['{', '(']) {
            braced.find(['}', ')']).map(|end| end + 2)
        } else {
            let name =
                tail.bytes().take_while(|byte| byte.is_ascii_alphanumeric() || *byte == b'_');
            Some(name.count()).filter(|length| *length > 0)
        };
        match length {
            Some(length) => {
                pieces.push(rest.get(..at).unwrap_or_default());
                rest = rest.get(at + 1 + length..).unwrap_or_default();
                from = 0;
            }
            None => from = at + 1,
        }
    }
    pieces.push(rest);
    pieces
}

/// The process works where the entry says, or in the project whose file holds the entry.
fn in_place(cwd: &str, config: &ConfiguredServer) -> bool {
    if cwd.is_empty() {
        return false;
    }
    if let Some(wanted) = &config.cwd {
        return pattern_fits(wanted.trim_end_matches('/'), cwd).is_some();
    }
    let mut directory = std::path::Path::new(&config.config_path);
    // `.vscode/mcp.json` belongs to the directory above its own.
    while let Some(parent) = directory.parent() {
        directory = parent;
        if !base(&directory.to_string_lossy()).starts_with('.') {
            break;
        }
    }
    // The root, and a home, are no projects: everything would be in place.
    directory.components().count() > 3 && std::path::Path::new(cwd).starts_with(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(name: &str, line: &str) -> ConfiguredServer {
        let mut words = shlex::split(line).unwrap().into_iter();
        ConfiguredServer {
            name: name.into(),
            command: words.next(),
            args: words.collect(),
            config_path: "/home/a/.claude.json".into(),
            client: "claude-code".into(),
            ..ConfiguredServer::default()
        }
    }

    fn found<'a>(line: &str, configs: &'a [ConfiguredServer]) -> Option<&'a str> {
        let argv = shlex::split(line).unwrap();
        let exe = match argv[0].as_str() {
            "node" => "/usr/bin/node",
            "python" => "/usr/bin/python3.12",
            other => other,
        };
        let program = Program { exe, argv: &argv, cwd: "/" };
        config_of(&[program], configs, None).map(|config| config.name.as_str())
    }

    #[test]
    fn processes_are_found_in_configurations() {
        let configs = [
            config("fs", "npx -y @modelcontextprotocol/server-filesystem /data"),
            config("fs-two", "npx -y @modelcontextprotocol/server-filesystem /data /more"),
            config("home", "npx -y @modelcontextprotocol/server-filesystem ${HOME}/docs"),
            config("tilde", "srv ~/notes"),
            config("git", "uvx mcp-server-git --repository ${workspaceFolder}"),
            config("script", "/opt/srv/run.py --fast"),
            config("py", "python -m mcp_server_time"),
            config("js", "node /p/index.js"),
            config("line", "'npx -y one-line'"),
            config("env", "env A=b node /p/env.js"),
            config("shell", "sh -c 'exec node /p/shell.js'"),
            config("docker", "docker run -i --rm -e TOKEN=$TOKEN mcp/x"),
            config("bare", "github-mcp-server"),
            config("uv", "uv run --with x mcp-server-time"),
            config("time", "mcp-server-time"),
            config("nested", "bash -c 'cd /tmp; exec env X=/y python -m nested'"),
            config("npm", "npm exec -- thing-mcp"),
            config("spaces", "npx --yes thing-mcp --name 'a b'"),
        ];
        let table: &[(&str, Option<&str>)] = &[
            ("npx -y @modelcontextprotocol/server-filesystem /data", Some("fs")),
            ("node /usr/bin/npx -y @modelcontextprotocol/server-filesystem /data", Some("fs")),
            ("'npm exec @modelcontextprotocol/server-filesystem /data'", Some("fs")),
            ("'npm exec thing-mcp'", Some("npm")),
            ("'npm exec thing-mcp --name a b'", Some("spaces")),
            (
                "node /usr/bin/npx -y @modelcontextprotocol/server-filesystem /data /more",
                Some("fs-two"),
            ),
            (
                "node /usr/bin/npx -y @modelcontextprotocol/server-filesystem /home/b/docs",
                Some("home"),
            ),
            ("npx -y @modelcontextprotocol/server-filesystem /other", None),
            ("npx -y @modelcontextprotocol/server-filesystem", None),
            ("/usr/bin/srv /home/b/notes", Some("tilde")),
            ("/usr/bin/uvx mcp-server-git --repository /r", Some("git")),
            ("/usr/bin/python3 /opt/srv/run.py --fast", Some("script")),
            ("/opt/srv/run.py --fast", Some("script")),
            ("python -m mcp_server_time", Some("py")),
            ("/v/bin/python -m mcp_server_time", Some("py")),
            ("node /p/index.js", Some("js")),
            ("node /p/index.js --more", None),
            ("node", None),
            ("npx -y one-line", Some("line")),
            ("node /p/env.js", Some("env")),
            ("env A=b node /p/env.js", Some("env")),
            ("node /p/shell.js", Some("shell")),
            ("python -m nested", Some("nested")),
            ("/v/bin/uv tool uvx mcp-server-git --repository /r", Some("git")),
            ("/v/bin/python3 /v/bin/mcp-server-time", Some("time")),
            ("uv run --with x mcp-server-time", Some("uv")),
            ("docker run -i --rm -e TOKEN=abc mcp/x", Some("docker")),
            ("/usr/local/bin/github-mcp-server", Some("bare")),
            ("/usr/local/bin/github-mcp-server stdio", None),
        ];
        for (line, expected) in table {
            assert_eq!(found(line, &configs), *expected, "{line}");
        }
    }

    #[test]
    fn a_wrapper_of_the_process_counts_as_the_process() {
        let configs = [config("fs", "npx -y x /data")];
        let inner = shlex::split("node /x/node_modules/.bin/x /data").unwrap();
        let outer = shlex::split("node /usr/bin/npx -y x /data").unwrap();
        let programs =
            [&outer, &inner].map(|argv| Program { exe: "/usr/bin/node", argv, cwd: "/" });
        assert_eq!(config_of(&programs, &configs, None).unwrap().name, "fs");
        assert!(config_of(&programs[1..], &configs, None).is_none());
    }

    #[test]
    fn of_equal_entries_the_parent_s_counts_then_the_project_s_then_the_first() {
        let mut configs =
            [config("one", "srv x"), config("two", "srv x"), config("three", "srv x")];
        configs[1].client = "cursor".into();
        configs[2].config_path = "/work/a/project/.mcp.json".into();
        let argv = shlex::split("srv x").unwrap();
        let name = |cwd, client| {
            let program = Program { exe: "/usr/bin/srv", argv: &argv, cwd };
            config_of(&[program], &configs, client).map(|config| config.name.as_str())
        };
        assert_eq!(name("/", None), Some("one"));
        assert_eq!(name("/", Some("cursor")), Some("two"));
        assert_eq!(name("/work/a/project/sub", None), Some("three"));
        assert_eq!(name("/", Some("zed")), Some("one"));
    }

    #[test]
    fn different_entries_that_fit_alike_are_ambiguous_and_the_more_literal_wins() {
        let two = [config("a", "srv ${A}"), config("b", "srv ${B}")];
        assert_eq!(found("srv x", &two), None);
        let literal = [config("a", "srv ${A}"), config("b", "srv x")];
        assert_eq!(found("srv x", &literal), Some("b"));
        assert_eq!(found("srv y", &literal), Some("a"));
    }

    #[test]
    fn variables_stand_for_anything() {
        let table = [
            ("${A}/x", "/h/x", true),
            ("${A}/x", "/h/y", false),
            ("a${env:B}c${D}e", "a1c2e", true),
            ("a${env:B}c${D}e", "ae", false),
            ("$HOME/x", "/h/x", true),
            ("$", "x", false),
            ("$", "$", true),
            ("${unclosed", "x", false),
            ("~/x", "/h/x", true),
            ("~", "/h", false),
            ("ä${A}ö", "äö", true),
            ("aa${A}aa", "aaa", false),
        ];
        for (expected, actual, fits) in table {
            assert_eq!(pattern_fits(expected, actual).is_some(), fits, "{expected} {actual}");
        }
    }
}
