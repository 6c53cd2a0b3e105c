//! Command lines → the package they launch. Launchers are rows of a table; a launcher inside a
//! launcher (`sh -c "npx -y x"`, `npx supergateway`) is followed to what it starts.

mod table;

use self::table::{KNOWN, LAUNCHERS, Launcher, NO_SERVERS, Names};
use super::locations::{component_matches, last_component};

/// Deepest chain of launchers on one command line.
const MAX_DEPTH: u8 = 8;
/// Most words looked at.
const MAX_WORDS: usize = 256;

/// What a command line launches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The launcher: `npx`, `uvx`, `docker`, `node`, …; `binary` for a program of its own.
    pub launcher: &'static str,
    /// The package, image or module, without version.
    pub package: String,
    /// The version asked for; `latest` and the like are given as they stand.
    pub version: Option<String>,
    /// The package is a known MCP server or SDK, or its name says so.
    pub mcp: bool,
    /// The process starts the server as another process and then only waits for it.
    pub is_wrapper: bool,
}

/// Recognises what a process launches. `exe` is the executed file (it counts when `argv` is empty),
/// `argv` its argument vector as the kernel had it.
#[must_use]
pub fn recognise(exe: &str, argv: &[String]) -> Option<Launch> {
    let words: Vec<&str> = match argv {
        [] => vec![exe],
        // npm writes its title over its argument vector: `npm exec package arguments`.
        [title] if title.starts_with("npm ") => title.split_whitespace().take(MAX_WORDS).collect(),
        _ => argv.iter().take(MAX_WORDS).map(String::as_str).collect(),
    };
    words_of(&words, 0).or_else(|| {
        // argv[0] may say anything; the executed file speaks for itself.
        let rest = words.get(1..).unwrap_or_default();
        let own: Vec<&str> = std::iter::once(exe).chain(rest.iter().copied()).collect();
        words_of(&own, 0)
    })
}

/// The process only starts another one and hands its channel on: `npx`, `uvx`, `sh -c`, …
#[must_use]
pub fn is_wrapper(argv: &[String]) -> bool {
    let words = words_in(argv);
    find(without_interpreter(&words)).is_some_and(|found| found.launcher.wrapper)
}

/// The words of an argument vector; of npm's title, which it writes over its own.
fn words_in(argv: &[String]) -> Vec<&str> {
    let title = argv.len() == 1;
    argv.iter()
        .take(MAX_WORDS)
        .flat_map(|word| if title { word.split(' ').collect() } else { vec![word.as_str()] })
        .collect()
}

/// The program is a package launcher: it installs what it launches.
#[must_use]
pub fn installs(argv: &[String]) -> bool {
    let words = words_in(argv);
    find(without_interpreter(&words))
        .is_some_and(|found| matches!(found.launcher.names, Names::Npm | Names::Python))
}

/// Whether a program lies where package launchers install, and is called like a launcher all the same.
#[must_use]
pub fn is_installed(exe: &str, argv: &[String]) -> bool {
    let words = words_in(argv);
    let own: Vec<&str> = std::iter::once(exe).chain(words.iter().copied().skip(1)).collect();
    [&words, &own].into_iter().any(|words| {
        find(without_interpreter(words))
            .is_some_and(|found| found.launcher.wrapper && found.launcher.name != table::SHELL)
    }) && files_of(exe, &words).any(|file| is_in_node_modules(file) || is_in_environment(file))
}

/// Whether a program lies where the package launcher with the command line `by` installs. The one that is run with the
/// same arguments again is the launcher itself: `uvx x` executes `uv tool uvx x`.
#[must_use]
pub fn is_installed_by(exe: &str, argv: &[String], by: &[String]) -> bool {
    let (by, words) = (words_in(by), words_in(argv));
    let (by, own) = (without_interpreter(&by), without_interpreter(&words));
    let Some(found) = find(by) else { return false };
    let lies_there: fn(&str) -> bool = match found.launcher.names {
        Names::Npm => is_in_node_modules,
        Names::Python => is_in_environment,
        Names::Image | Names::Script | Names::Command => return false,
    };
    by.get(1..) != own.get(1..) && files_of(exe, &words).any(lies_there)
}

/// The executed file, and the script where that is a launcher's or a shell's.
fn files_of<'a>(exe: &'a str, words: &'a [&'a str]) -> impl Iterator<Item = &'a str> {
    let own = without_interpreter(words);
    let script = match find(words).filter(|found| found.launcher.name == table::SHELL) {
        Some(shell) if shell.flag(shell.launcher.script).is_none() => shell.rest.first(),
        Some(_) => None,
        None => own.first().filter(|_| own.len() < words.len()),
    };
    std::iter::once(exe).chain(script.copied())
}

/// Below a project's `node_modules` or npx's cache. npm itself and what is installed for a whole system lie below
/// `lib/node_modules`.
fn is_in_node_modules(path: &str) -> bool {
    let parts: Vec<&str> = path.split('/').collect();
    let folder = parts.iter().position(|part| *part == "node_modules");
    let global = folder.and_then(|at| parts.get(at.checked_sub(1)?)) == Some(&"lib");
    (folder.is_some() && !global) || parts.contains(&"_npx")
}

/// In the `bin` of an environment that uv or pipx made for a package.
fn is_in_environment(path: &str) -> bool {
    let Some((folder, _)) = path.rsplit_once('/') else { return false };
    let Some(environment) = folder.strip_suffix("/bin") else { return false };
    environment.split('/').any(|part| {
        part == "pipx"
            || ["archive-v", "environments-v", "builds-v"].iter().any(|one| part.starts_with(one))
    }) || environment.contains("/uv/tools/")
}

/// The program is a shell.
#[must_use]
pub fn is_shell(program: &str) -> bool {
    let program = basename(program);
    LAUNCHERS.iter().any(|row| row.name == table::SHELL && row.is(program))
}

/// Whether a command line ends with another: `timeout 60 npx -y x` with `node /usr/bin/npx -y x`, as the kernel has
/// that.
#[must_use]
pub fn ends_with(words: &[String], next: &[String]) -> bool {
    let borrowed: Vec<&str> = next.iter().take(MAX_WORDS).map(String::as_str).collect();
    let [program, rest @ ..] = without_interpreter(&borrowed) else { return false };
    let Some((before, end)) = words.len().checked_sub(rest.len()).map(|at| words.split_at(at))
    else {
        return false;
    };
    // The first word is the program that executes.
    before.len() > 1
        && before.last().is_some_and(|word| basename(word) == basename(program))
        && end == rest
}

/// The program may be one whose command line [`unwrap`] can look into.
#[must_use]
pub fn hands_on(program: &str) -> bool {
    let program = basename(program);
    LAUNCHERS.iter().any(|row| row.names == Names::Command && row.is(program))
}

/// The command line inside a wrapper's (`env A=b node x` → `node x`), when it holds one as it stands.
#[must_use]
pub fn unwrap(words: &[String]) -> Option<Vec<String>> {
    let borrowed: Vec<&str> = words.iter().take(MAX_WORDS).map(String::as_str).collect();
    let found = find(&borrowed)?;
    if found.launcher.names != Names::Command || !found.launcher.wrapper {
        return None;
    }
    if let Some(script) = found.flag(found.launcher.script) {
        return commands(script).pop();
    }
    let rest: Vec<String> = found.command().iter().map(|&word| word.to_owned()).collect();
    (!rest.is_empty()).then_some(rest)
}

/// The words that reach the server itself: what follows the package, script or program that is launched.
#[must_use]
pub fn arguments(words: &[String]) -> Vec<String> {
    arguments_within(words, 0)
}

fn arguments_within(words: &[String], depth: u8) -> Vec<String> {
    if depth >= MAX_DEPTH {
        return Vec::new();
    }
    let borrowed: Vec<&str> = words.iter().take(MAX_WORDS).map(String::as_str).collect();
    let mut rest: Vec<&str> = without_interpreter(&borrowed).to_vec();
    for _ in 0..MAX_DEPTH {
        let Some(found) = find(&rest) else { break };
        let launcher = found.launcher;
        if launcher.names != Names::Command {
            // `python -m MODULE`, and nothing else, names what it launches in a flag alone.
            let named = launcher.names == Names::Script && found.flag(launcher.package).is_some();
            return owned(found.rest.get(usize::from(!named)..));
        }
        if let Some(script) = found.flag(launcher.script) {
            let command = commands(script).pop().unwrap_or_default();
            return arguments_within(&command, depth + 1);
        }
        rest = without_interpreter(found.command()).to_vec();
    }
    owned(rest.get(1..))
}

fn owned(words: Option<&[&str]>) -> Vec<String> {
    words.unwrap_or_default().iter().map(|&word| word.to_owned()).collect()
}

/// Drops the interpreter a `#!` line put in front: the kernel's view of `npx -y x` is
/// `node /usr/bin/npx -y x`. Likewise `uvx x` executes itself anew as `uv tool uvx x`.
#[must_use]
pub fn without_interpreter<'a, 'b>(words: &'a [&'b str]) -> &'a [&'b str] {
    let [program, rest @ ..] = words else { return words };
    let program = basename(program);
    if program == "uv"
        && let ["tool", uvx @ ..] = rest
        && uvx.first() == Some(&"uvx")
    {
        return uvx;
    }
    let interpreter = LAUNCHERS.iter().any(|row| row.names == Names::Script && row.is(program))
        || matches!(program, "sh" | "bash" | "env");
    if !interpreter {
        return words;
    }
    let flags = rest.iter().take_while(|word| word.starts_with('-')).count();
    match rest.get(flags) {
        Some(script) if is_launcher(basename(script)) => rest.get(flags..).unwrap_or_default(),
        _ => words,
    }
}

fn is_launcher(program: &str) -> bool {
    LAUNCHERS.iter().any(|row| row.is(program))
}

fn basename(path: &str) -> &str {
    // A login shell's argv[0] begins with a dash.
    let name = last_component(path);
    name.strip_prefix('-').unwrap_or(name)
}

impl Launcher {
    fn is(&self, program: &str) -> bool {
        self.name == program || self.also.iter().any(|name| component_matches(name, program))
    }
}

/// A launcher with the words around what it launches.
struct Found<'a, 'b> {
    launcher: &'static Launcher,
    /// Flags with their values, up to the first word that is none.
    flags: Vec<(&'b str, Option<&'b str>)>,
    /// From the first word that is no flag.
    rest: &'a [&'b str],
}

impl<'b> Found<'_, 'b> {
    fn flag(&self, names: &[&str]) -> Option<&'b str> {
        self.flags.iter().find(|(name, _)| names.contains(name)).and_then(|(_, value)| *value)
    }

    /// The command line that follows, without the assignments `env` and `sudo` take.
    fn command(&self) -> &[&'b str] {
        let assignments = self.rest.iter().take_while(|word| is_assignment(word)).count();
        self.rest.get(assignments..).unwrap_or_default()
    }
}

fn find<'a, 'b>(words: &'a [&'b str]) -> Option<Found<'a, 'b>> {
    let (program, arguments) = words.split_first()?;
    let program = basename(program);
    LAUNCHERS
        .iter()
        .filter(|launcher| launcher.is(program))
        .find_map(|launcher| scan(launcher, arguments))
}

/// Walks over flags and subcommands.
fn scan<'a, 'b>(launcher: &'static Launcher, arguments: &'a [&'b str]) -> Option<Found<'a, 'b>> {
    let mut wanted = launcher.subcommand.iter();
    let mut flags = Vec::new();
    let mut at = 0;
    while let Some(&word) = arguments.get(at) {
        if word == "--" && launcher.subcommand.iter().all(|sub| !sub.contains("--")) {
            at += 1;
            break;
        }
        if word.starts_with('-') && word.len() > 1 {
            at += 1;
            if let Some((name, value)) = word.split_once('=').filter(|_| word.starts_with("--")) {
                flags.push((name, Some(value)));
                continue;
            }
            let lists = [launcher.valued, launcher.package, launcher.script];
            let name = lists
                .iter()
                .flat_map(|list| list.iter())
                .find(|flag| **flag == word || is_short_cluster(launcher, word, flag));
            if let Some(name) = name {
                flags.push((*name, arguments.get(at).copied()));
                at += 1;
                // What follows `-c TEXT` or `-m MODULE` belongs to the script.
                let ends = launcher.script.contains(name)
                    || (launcher.names == Names::Script && launcher.package.contains(name));
                if ends {
                    break;
                }
            } else {
                flags.push((word, None));
            }
            continue;
        }
        match wanted.next() {
            Some(sub) if sub.split('|').any(|sub| sub == word) => at += 1,
            Some(_) => return None,
            None => break,
        }
    }
    if wanted.next().is_some() {
        return None;
    }
    Some(Found { launcher, flags, rest: arguments.get(at..).unwrap_or_default() })
}

/// `bash -lc TEXT`, `sh -ec TEXT`: the script flag closes a cluster of others.
fn is_short_cluster(launcher: &Launcher, word: &str, flag: &str) -> bool {
    launcher.names == Names::Command
        && launcher.script.contains(&flag)
        && flag.len() == 2
        && word.len() > 2
        && !word.starts_with("--")
        && flag.get(1..).is_some_and(|letter| word.ends_with(letter))
}

fn words_of(words: &[&str], depth: u8) -> Option<Launch> {
    if depth >= MAX_DEPTH {
        return None;
    }
    let words = without_interpreter(words);
    let Some(found) = find(words) else { return binary(words.first()?) };
    let launcher = found.launcher;
    let mark = |inner: Launch| Launch { is_wrapper: launcher.wrapper, ..inner };
    if launcher.names != Names::Script
        && let Some(script) = found.flag(launcher.script)
    {
        // The last command that launches something is the one that stays.
        return commands(script).iter().rev().find_map(|command| {
            let words: Vec<&str> = command.iter().map(String::as_str).collect();
            words_of(&words, depth + 1).map(mark)
        });
    }
    match launcher.names {
        Names::Command => words_of(found.command(), depth + 1).map(mark),
        Names::Script => script(&found),
        Names::Npm | Names::Python | Names::Image => {
            let specifier = match found.flag(launcher.package) {
                Some(package) => package,
                None => found.rest.first()?,
            };
            let (package, version) = split(launcher.names, specifier)?;
            let mcp = is_mcp(&package);
            Some(Launch {
                launcher: launcher.name,
                package,
                version,
                mcp,
                is_wrapper: launcher.wrapper,
            })
        }
    }
}

/// What an interpreter runs.
fn script(found: &Found<'_, '_>) -> Option<Launch> {
    let launcher = found.launcher;
    if found.flag(launcher.script).is_some() {
        return None;
    }
    let (package, version) = if let Some(module) = found.flag(launcher.package) {
        (module_package(module)?, None)
    } else if launcher.name == "docker mcp" {
        ("docker-mcp-gateway".to_owned(), None)
    } else {
        script_package(found.rest.first()?)?
    };
    let mcp = is_mcp(&package);
    Some(Launch { launcher: launcher.name, package, version, mcp, is_wrapper: launcher.wrapper })
}

/// `mcp_server_time.__main__` → `mcp-server-time`.
fn module_package(module: &str) -> Option<String> {
    let package = module.split('.').next().filter(|name| !name.is_empty())?;
    Some(package.replace('_', "-"))
}

/// The package a script belongs to, and its version where the path shows one.
#[must_use]
pub fn script_package(path: &str) -> Option<(String, Option<String>)> {
    for prefix in ["npm:", "jsr:"] {
        if path.starts_with(prefix) {
            return split(Names::Npm, path);
        }
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let after = |name: &str| {
        let at = parts.iter().rposition(|part| *part == name)?;
        Some((at, parts.get(at + 1..)?))
    };
    if let Some((at, rest)) = after("node_modules") {
        let package = match rest {
            [".bin", name] => (*name).to_owned(),
            [scope, name, ..] if scope.starts_with('@') => format!("{scope}/{name}"),
            [name, _, ..] => (*name).to_owned(),
            _ => return None,
        };
        // pnpm's store: `.pnpm/@scope+name@1.2.3_peers/node_modules/@scope/name/…`
        let version = at.checked_sub(1).and_then(|at| parts.get(at)).and_then(|stored| {
            let rest =
                stored.strip_prefix(package.replace('/', "+").as_str())?.strip_prefix('@')?;
            rest.split(['_', '(']).next().map(str::to_owned)
        });
        return Some((package, version));
    }
    for packages in ["site-packages", "dist-packages"] {
        if let Some((_, [module, ..])) = after(packages) {
            return module_package(module).map(|package| (package, None));
        }
    }
    // A command that an installer put into an environment.
    match parts.as_slice() {
        [.., "bin", name] => {
            let name = name.strip_suffix(".py").unwrap_or(name);
            Some((name.to_owned(), None))
        }
        _ => None,
    }
}

/// A program that is a server of its own, by its name.
fn binary(program: &str) -> Option<Launch> {
    let package = basename(program);
    // A name with a dot is a script's, or a host's.
    (!package.contains([' ', '.']) && is_mcp(package)).then(|| Launch {
        launcher: "binary",
        package: package.to_owned(),
        version: None,
        mcp: true,
        is_wrapper: false,
    })
}

/// Splits a specifier into name and version.
fn split(names: Names, specifier: &str) -> Option<(String, Option<String>)> {
    let (name, version) = match names {
        Names::Npm => {
            let plain = specifier
                .strip_prefix("npm:")
                .or_else(|| specifier.strip_prefix("jsr:"))
                .unwrap_or(specifier);
            let plain = plain.strip_prefix('/').unwrap_or(plain);
            if plain.contains("://") || plain.starts_with("github:") {
                let (repository, version) = repository(plain);
                (repository, version)
            } else if plain.starts_with('.') || plain.starts_with('/') {
                return None;
            } else {
                let scope = usize::from(plain.starts_with('@'));
                let at = plain.get(scope..)?.find('@').map(|at| at + scope);
                let (name, version) = match at {
                    Some(at) => (plain.get(..at)?, plain.get(at + 1..)),
                    None => (plain, None),
                };
                // Deno allows a path within the package.
                let parts = if scope == 1 { 2 } else { 1 };
                let name: Vec<&str> = name.split('/').take(parts).collect();
                let version = version.and_then(|version| version.split('/').next());
                (name.join("/"), version.map(str::to_owned))
            }
        }
        Names::Python => {
            if specifier.contains("://") {
                repository(specifier)
            } else if specifier.starts_with('.') || specifier.starts_with('/') {
                let name = specifier.trim_end_matches('/').rsplit('/').next()?;
                (name.to_owned(), None)
            } else {
                let end = specifier.find(['[', '=', '<', '>', '~', '!', '@', ';', ' ']);
                let (name, rest) = specifier.split_at(end.unwrap_or(specifier.len()));
                let rest = rest.split_once(']').map_or(rest, |(_, rest)| rest);
                let version = rest.strip_prefix("==").or_else(|| rest.strip_prefix('@'));
                (name.to_owned(), version.map(|version| version.trim().to_owned()))
            }
        }
        Names::Image => {
            let plain = specifier.split('@').next()?;
            let slash = plain.rfind('/').map_or(0, |at| at + 1);
            match plain.get(slash..)?.find(':') {
                Some(at) => {
                    let (name, tag) = plain.split_at(slash + at);
                    (name.to_owned(), tag.strip_prefix(':').map(str::to_owned))
                }
                None => (plain.to_owned(), None),
            }
        }
        Names::Script | Names::Command => return None,
    };
    let version = version.filter(|version| !version.is_empty());
    (!name.is_empty() && !name.starts_with('-')).then_some((name, version))
}

/// `git+https://host/owner/name.git@ref#fragment` → `name`, `ref`.
fn repository(url: &str) -> (String, Option<String>) {
    let url = url.split(['#', '?']).next().unwrap_or(url).trim_end_matches('/');
    let last = url.rsplit('/').next().unwrap_or(url);
    let (name, version) = match last.split_once('@') {
        Some((name, version)) => (name, Some(version.to_owned())),
        None => (last, None),
    };
    (name.strip_suffix(".git").unwrap_or(name).to_owned(), version)
}

/// The package is a known MCP server or SDK, or a word of its name is `mcp`.
#[must_use]
pub fn is_mcp(package: &str) -> bool {
    let package = package.to_ascii_lowercase();
    let listed = |list: &[&str]| list.iter().any(|known| component_matches(known, &package));
    if listed(NO_SERVERS) {
        return false;
    }
    listed(KNOWN)
        || package
            .split(|letter: char| !letter.is_ascii_alphanumeric())
            .any(|word| matches!(word, "mcp" | "mcpserver" | "fastmcp"))
}

/// The simple commands of a shell's command line. What cannot be split is left out.
fn commands(script: &str) -> Vec<Vec<String>> {
    let Some(words) = shlex::split(script) else { return Vec::new() };
    let ends =
        |word: &String| word.ends_with(';') || matches!(word.as_str(), "&&" | "||" | "|" | "&");
    words
        .split_inclusive(ends)
        .map(|command| {
            let command = command.iter().map(|word| word.trim_end_matches([';', '&', '|']));
            // Assignments before a command, and `exec`, are no part of it.
            command
                .skip_while(|word| *word == "exec" || is_assignment(word))
                .filter(|word| !word.is_empty())
                .take(MAX_WORDS)
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .filter(|command| !command.is_empty())
        .collect()
}

/// `NAME=value`, as a shell and `env` take it.
fn is_assignment(word: &str) -> bool {
    word.split_once('=').is_some_and(|(name, _)| {
        !name.is_empty()
            && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
    })
}

#[cfg(test)]
mod tests;
