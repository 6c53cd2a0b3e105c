//! Shells and interpreters: which code an executed program was handed, read off its command line.

use std::borrow::Cow;

use regex::Regex;
use serde::Deserialize;

use super::paths::{file_name, is_within};
use super::{DetectError, data};
use crate::event::Exec;

const FILE: &str = "programs.toml";
const TEXT: &str = include_str!("../../../rules/programs.toml");

/// Folders in which programs count as what their name says: only root writes there.
const SYSTEM_FOLDERS: &[&str] =
    &["/bin", "/sbin", "/lib", "/usr", "/opt", "/snap", "/nix/store", "/gnu/store"];

/// Most arguments that are looked at: code stands near the beginning.
const ARGUMENTS: usize = 1024;

/// A program that runs what it is handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Spawn<'a> {
    /// Its name without version: `bash`, `python`.
    pub program: &'a str,
    /// A shell, rather than an interpreter.
    pub shell: bool,
    /// What it was handed.
    pub code: Code<'a>,
}

/// What a shell or an interpreter was handed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code<'a> {
    /// Code on the command line.
    Inline(&'a str),
    /// A script, by path: a shell started with one, or the kernel following its `#!` line.
    Script(&'a str),
    /// Nothing: it takes its commands from stdin.
    Stdin,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    shells: Vec<String>,
    multicall: Vec<String>,
    interpreter: Vec<Interpreter>,
    ordinary: Vec<OrdinaryData>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Interpreter {
    names: Vec<String>,
    #[serde(default)]
    code: String,
    #[serde(default)]
    long: Vec<String>,
    #[serde(default)]
    values: String,
    #[serde(default)]
    options: Vec<String>,
    #[serde(default)]
    stop: String,
    #[serde(default)]
    commands: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct OrdinaryData {
    what: String,
    names: Vec<String>,
    code: String,
}

#[derive(Debug)]
struct Ordinary {
    what: String,
    names: Vec<String>,
    code: Regex,
}

/// The tables of `rules/programs.toml`.
#[derive(Debug)]
pub struct Programs {
    shells: Vec<String>,
    multicall: Vec<String>,
    interpreters: Vec<Interpreter>,
    ordinary: Vec<Ordinary>,
}

impl Programs {
    /// From the data compiled in.
    pub fn new() -> Result<Self, DetectError> {
        let broken = |message: String| DetectError::Data { file: FILE, message };
        let tables: Tables = data(FILE, TEXT)?;
        if tables.shells.is_empty() || tables.interpreter.is_empty() {
            return Err(broken("no shells or no interpreters".into()));
        }
        let ordinary = tables
            .ordinary
            .into_iter()
            .map(|entry| {
                let code = Regex::new(&format!("^(?:{})$", entry.code))
                    .map_err(|error| broken(error.to_string()))?;
                Ok(Ordinary { what: entry.what, names: entry.names, code })
            })
            .collect::<Result<_, DetectError>>()?;
        Ok(Self {
            shells: tables.shells,
            multicall: tables.multicall,
            interpreters: tables.interpreter,
            ordinary,
        })
    }

    /// What code the program was handed; `None` when it is neither a shell nor an interpreter with
    /// code on its command line or its stdin.
    ///
    /// The executed file decides; the name it was called by does only where the file has no name of
    /// this kind (a copy, or a program that is several).
    #[must_use]
    pub fn spawned<'a>(&'a self, exec: &'a Exec) -> Option<Spawn<'a>> {
        self.spawned_as(&exec.path, &exec.argv)
    }

    /// The same of the file at `path`, called with `argv`.
    #[must_use]
    pub fn spawned_as<'a>(&'a self, path: &'a str, argv: &'a [String]) -> Option<Spawn<'a>> {
        // An interpreter with a script is a program like any other.
        self.runs(path, argv).filter(|spawn| spawn.shell || !matches!(spawn.code, Code::Script(_)))
    }

    /// The script that a shell or an interpreter runs.
    #[must_use]
    pub fn script<'a>(&'a self, path: &'a str, argv: &'a [String]) -> Option<&'a str> {
        match self.runs(path, argv)?.code {
            Code::Script(script) => Some(script),
            Code::Inline(_) | Code::Stdin => None,
        }
    }

    /// What a shell or an interpreter was handed.
    fn runs<'a>(&'a self, path: &'a str, argv: &'a [String]) -> Option<Spawn<'a>> {
        let argv = argv.get(..argv.len().min(ARGUMENTS)).unwrap_or_default();
        let called = argv.first().map_or("", |name| file_name(name));
        let mut rest = argv.get(1..).unwrap_or_default();
        let mut names = [file_name(path), called];
        if self.multicall.iter().any(|name| name == family(file_name(path))) {
            names = [called, called];
            if self.multicall.iter().any(|name| name == family(called)) {
                let applet = rest.first().map_or("", |name| file_name(name));
                names = [applet, applet];
                rest = rest.get(1..).unwrap_or_default();
            }
        }
        names.into_iter().map(family).find_map(|name| {
            if let Some(program) = self.shells.iter().find(|shell| *shell == name) {
                return Some(Spawn { program, shell: true, code: shell_code(program, rest) });
            }
            let (interpreter, program) = self.interpreters.iter().find_map(|interpreter| {
                let program = interpreter.names.iter().find(|known| *known == name)?;
                Some((interpreter, program))
            })?;
            let code = interpreter.code(rest)?;
            Some(Spawn { program, shell: false, code })
        })
    }

    /// Which well-known library starts exactly this on its own account.
    #[must_use]
    pub fn ordinary(&self, spawn: &Spawn<'_>) -> Option<&str> {
        let Code::Inline(code) = spawn.code else { return None };
        self.ordinary
            .iter()
            .find(|entry| {
                entry.names.iter().any(|name| name == spawn.program) && entry.code.is_match(code)
            })
            .map(|entry| entry.what.as_str())
    }
}

impl Interpreter {
    fn code<'a>(&self, arguments: &'a [String]) -> Option<Code<'a>> {
        if arguments.is_empty() {
            return Some(Code::Stdin);
        }
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            if argument == "-" || argument == "-i" {
                return Some(Code::Stdin);
            }
            if !argument.starts_with('-') {
                // A subcommand, or the script: what follows is the script's own.
                return Some(if self.commands.contains(argument) {
                    Code::Inline(next(&mut rest))
                } else {
                    Code::Script(argument)
                });
            }
            let (option, value) = match argument.split_once('=') {
                Some((option, value)) => (option, Some(value)),
                None => (argument.as_str(), None),
            };
            if self.long.iter().any(|long| long == option) {
                return Some(Code::Inline(value.unwrap_or_else(|| next(&mut rest))));
            }
            if self.options.iter().any(|known| known == option) {
                if value.is_none() {
                    rest.next();
                }
                continue;
            }
            if argument.starts_with("--") {
                if argument == "--" {
                    return rest.next().map(|script| Code::Script(script));
                }
                continue;
            }
            for (at, letter) in argument.char_indices().skip(1) {
                let attached =
                    argument.get(at + letter.len_utf8()..).filter(|text| !text.is_empty());
                if self.code.contains(letter) {
                    // `node -pe CODE` and `perl -ne CODE` are bundles of options, `perl -eCODE` is not.
                    let bundle = attached.is_some_and(|text| {
                        text.len() == 1 && text.chars().all(|letter| self.code.contains(letter))
                    });
                    let code = attached.filter(|_| !bundle);
                    return Some(Code::Inline(code.unwrap_or_else(|| next(&mut rest))));
                }
                if self.stop.contains(letter) {
                    return None;
                }
                if self.values.contains(letter) {
                    if attached.is_none() {
                        rest.next();
                    }
                    break;
                }
            }
        }
        None
    }
}

/// The next argument; nothing when there is none.
fn next<'a>(rest: &mut std::slice::Iter<'a, String>) -> &'a str {
    rest.next().map_or("", String::as_str)
}

/// What a shell does with these arguments: <https://pubs.opengroup.org/onlinepubs/9799919799/utilities/sh.html>.
fn shell_code<'a>(shell: &str, arguments: &'a [String]) -> Code<'a> {
    let powershell = matches!(shell, "pwsh" | "powershell");
    let (mut inline, mut stdin) = (false, false);
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        let sign = argument.starts_with('-') || argument.starts_with('+');
        match argument.as_str() {
            "--rcfile" | "--init-file" | "--init-command" | "-o" | "+o" | "-O" | "+O" => {
                rest.next();
            }
            "--command" => inline = true,
            "-" | "--" => {}
            long if long.starts_with("--") => {
                if let Some(code) = long.strip_prefix("--command=") {
                    return Code::Inline(code);
                }
            }
            short if sign && powershell => {
                let short = short.to_ascii_lowercase();
                inline |= short.starts_with("-c") || short.starts_with("-e");
            }
            short if sign => {
                inline |= short.starts_with('-') && short.contains('c');
                stdin |= short.starts_with('-') && short.contains('s');
                if short.ends_with('o') || short.ends_with('O') {
                    rest.next();
                }
            }
            code if inline => return Code::Inline(code),
            _ if stdin => return Code::Stdin,
            script => return Code::Script(script),
        }
    }
    Code::Stdin
}

/// The name without login dash and version: `-bash` is `bash`, `python3.12` is `python`.
fn family(name: &str) -> &str {
    let name = name.strip_prefix('-').unwrap_or(name);
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    if bare.is_empty() { name } else { bare }
}

/// The paths an executed file is known by: its own; without `/usr`, where that is one folder; and that
/// of the shell it was called as, since `/bin/sh` is a link to one.
#[must_use]
pub fn names_of_file(exec: &Exec) -> Vec<Cow<'_, str>> {
    let mut names = names_of_path(&exec.path);
    let called_sh = exec.argv.first().is_some_and(|name| file_name(name) == "sh");
    if called_sh && matches!(file_name(&exec.path), "dash" | "bash" | "busybox" | "ash" | "ksh") {
        names.extend([Cow::Borrowed("/bin/sh"), Cow::Borrowed("/usr/bin/sh")]);
    }
    names
}

/// Whether a program lies in a folder of the system.
#[must_use]
pub fn in_system_folder(exe: &str) -> bool {
    SYSTEM_FOLDERS.iter().any(|folder| is_within(exe, folder))
}

/// The path, and the same without `/usr`, where that is one folder.
#[must_use]
pub fn names_of_path(path: &str) -> Vec<Cow<'_, str>> {
    let mut names = vec![Cow::Borrowed(path)];
    match path.strip_prefix("/usr") {
        Some(short) if short.starts_with("/bin/") || short.starts_with("/sbin/") => {
            names.push(Cow::Borrowed(short));
        }
        _ if path.starts_with("/bin/") || path.starts_with("/sbin/") => {
            names.push(Cow::Owned(format!("/usr{path}")));
        }
        _ => {}
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::tests::exec;

    #[test]
    fn command_lines_are_read_as_the_programs_do() {
        use Code::{Inline, Script, Stdin};
        type Row<'a> = (&'a str, &'a [&'a str], Option<(&'a str, Code<'a>)>);
        let programs = Programs::new().unwrap();
        let table: &[Row<'_>] = &[
            ("/usr/bin/dash", &["sh", "-c", "id"], Some(("dash", Inline("id")))),
            ("/usr/bin/bash", &["bash", "-lc", "id"], Some(("bash", Inline("id")))),
            ("/usr/bin/bash", &["bash", "-l", "-e", "-c", "id", "x"], Some(("bash", Inline("id")))),
            ("/usr/bin/bash", &["bash", "-c", "-e", "id"], Some(("bash", Inline("id")))),
            (
                "/usr/bin/bash",
                &["bash", "-o", "pipefail", "-c", "id"],
                Some(("bash", Inline("id"))),
            ),
            ("/usr/bin/bash", &["bash", "-eo", "pipefail", "x.sh"], Some(("bash", Script("x.sh")))),
            ("/usr/bin/bash", &["bash", "--rcfile", "r", "-i"], Some(("bash", Stdin))),
            ("/usr/bin/bash", &["-bash"], Some(("bash", Stdin))),
            ("/usr/bin/bash", &[], Some(("bash", Stdin))),
            (
                "/usr/bin/bash",
                &["/bin/sh", "/opt/run", "-c", "x"],
                Some(("bash", Script("/opt/run"))),
            ),
            ("/usr/bin/dash", &["sh", "-s", "x"], Some(("dash", Stdin))),
            ("/usr/bin/fish", &["fish", "--command=id"], Some(("fish", Inline("id")))),
            ("/usr/bin/ksh93", &["ksh", "-c", "id"], Some(("ksh", Inline("id")))),
            ("/bin/busybox", &["sh", "-c", "id"], Some(("sh", Inline("id")))),
            ("/bin/busybox", &["busybox", "ash", "-c", "id"], Some(("ash", Inline("id")))),
            ("/bin/busybox", &["ls", "-c"], None),
            ("/bin/busybox", &["busybox"], None),
            ("/tmp/copy", &["bash", "-c", "id"], Some(("bash", Inline("id")))),
            ("/opt/pwsh", &["pwsh", "-NoProfile", "-Command", "id"], Some(("pwsh", Inline("id")))),
            ("/opt/pwsh", &["pwsh", "-File", "x.ps1"], Some(("pwsh", Script("x.ps1")))),
            ("/usr/bin/python3.12", &["python3", "-c", "x"], Some(("python", Inline("x")))),
            ("/usr/bin/python3.12", &["python3", "-Ic", "x"], Some(("python", Inline("x")))),
            ("/usr/bin/python3.12", &["python3", "-cx"], Some(("python", Inline("x")))),
            (
                "/usr/bin/python3.12",
                &["python3", "-W", "error", "-c", "x"],
                Some(("python", Inline("x"))),
            ),
            ("/usr/bin/python3.12", &["python3", "-"], Some(("python", Stdin))),
            ("/usr/bin/python3.12", &["python3"], Some(("python", Stdin))),
            ("/usr/bin/python3.12", &["python3", "-m", "http", "-c", "x"], None),
            ("/usr/bin/python3.12", &["python3", "x.py", "-c", "x"], None),
            ("/usr/bin/python3.12", &["python3", "--version"], None),
            ("/usr/bin/python3.12", &["python3", "-Wcache", "x.py"], None),
            ("/usr/bin/perl", &["perl", "-ne", "x"], Some(("perl", Inline("x")))),
            ("/usr/bin/perl", &["perl", "-MIO", "-e", "x"], Some(("perl", Inline("x")))),
            ("/usr/bin/perl", &["perl", "-eprint"], Some(("perl", Inline("print")))),
            ("/usr/bin/perl", &["perl", "-w", "x.pl", "-e"], None),
            ("/usr/bin/node", &["node", "-e", "x"], Some(("node", Inline("x")))),
            ("/usr/bin/node", &["node", "-pe", "x"], Some(("node", Inline("x")))),
            ("/usr/bin/node", &["node", "--eval=x"], Some(("node", Inline("x")))),
            (
                "/usr/bin/node",
                &["node", "--require", "y", "--print", "x"],
                Some(("node", Inline("x"))),
            ),
            ("/usr/bin/node", &["node", "--max-old-space-size=1", "x.js", "-e", "x"], None),
            ("/usr/bin/node", &["node", "--", "-e"], None),
            ("/usr/bin/nodejs", &["node", "-p"], Some(("nodejs", Inline("")))),
            ("/usr/bin/ruby3.1", &["ruby", "-rsocket", "-e", "x"], Some(("ruby", Inline("x")))),
            ("/usr/bin/php8.2", &["php", "-d", "a=b", "-r", "x"], Some(("php", Inline("x")))),
            ("/usr/bin/php8.2", &["php", "-f", "x.php", "-r"], None),
            ("/usr/bin/lua5.4", &["lua", "-e", "x"], Some(("lua", Inline("x")))),
            ("/usr/bin/deno", &["deno", "eval", "x"], Some(("deno", Inline("x")))),
            ("/usr/bin/deno", &["deno", "run", "x"], None),
            ("/usr/bin/git", &["git", "-c", "a=b", "log"], None),
            ("/usr/bin/grep", &["grep", "-e", "sh"], None),
        ];
        for (path, argv, expected) in table {
            let exec = exec(path, argv);
            let spawn = programs.spawned(&exec).map(|spawn| (spawn.program, spawn.code));
            assert_eq!(spawn, *expected, "{path} {argv:?}");
        }
    }

    #[test]
    fn what_libraries_start_themselves_is_ordinary_only_as_a_whole() {
        let programs = Programs::new().unwrap();
        let table = [
            (
                "from multiprocessing.spawn import spawn_main; spawn_main(tracker_fd=5, pipe_handle=7)",
                true,
            ),
            ("from multiprocessing.resource_tracker import main;main(5)", true),
            (
                "from multiprocessing.forkserver import main; main(7, 9, ['__main__'], **{'x': 1})",
                true,
            ),
            ("from multiprocessing.spawn import spawn_main; spawn_main(a=1); import os", false),
            ("from multiprocessing.forkserver import main; main(7); evil()", false),
            ("import os", false),
        ];
        for (code, expected) in table {
            let exec = exec("/usr/bin/python3.12", &["python3", "-c", code]);
            let spawn = programs.spawned(&exec).unwrap();
            assert_eq!(programs.ordinary(&spawn).is_some(), expected, "{code}");
        }
    }

    #[test]
    fn odd_arguments_do_no_harm() {
        let programs = Programs::new().unwrap();
        let long = "-é".repeat(1 << 20);
        for path in ["/bin/sh", "/usr/bin/python3", "/usr/bin/node", "/", "", "-", "3", "..."] {
            for argv in [&[""][..], &["-"], &["--"], &["x", "-"], &["x", &long], &["x", "-é", "="]]
            {
                let exec = exec(path, argv);
                let _ = programs.spawned(&exec);
                assert!(!names_of_file(&exec).is_empty());
            }
        }
    }
}
