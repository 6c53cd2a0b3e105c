//! Shells and interpreters: which code an executed program was handed, read off its command line.

use std::borrow::Cow;

use regex::Regex;
use serde::Deserialize;

use super::paths::{file_name, is_within};
use super::scripts::absolute;
use super::{DetectError, data};
use crate::event::Exec;
use crate::record::Process;

const FILE: &str = "programs.toml";
const TEXT: &str = include_str!("../../../rules/programs.toml");

/// Folders in which programs count as what their name says: only root writes there.
const SYSTEM_FOLDERS: &[&str] =
    &["/bin", "/sbin", "/lib", "/usr", "/opt", "/snap", "/nix/store", "/gnu/store"];

/// Most arguments that are looked at: code stands near the beginning.
const ARGUMENTS: usize = 1024;

/// Options of the dynamic loader whose value is the next argument:
/// <https://man7.org/linux/man-pages/man8/ld.so.8.html>.
const LOADER_VALUES: &[&str] = &[
    "--library-path",
    "--preload",
    "--argv0",
    "--audit",
    "--inhibit-rpath",
    "--glibc-hwcaps-prepend",
    "--glibc-hwcaps-mask",
];
/// Options with which the dynamic loader runs nothing.
const LOADER_ASKED: &[&str] =
    &["--list", "--list-tunables", "--list-diagnostics", "--verify", "--help", "--version"];
/// Most loaders that are told to run one another.
const LOADERS: usize = 8;

/// A program that the dynamic loader was told to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loaded<'a> {
    /// Its file, as the loader was told.
    pub path: &'a str,
    /// What it is called: its `argv[0]`.
    pub name: &'a str,
    /// What it is handed.
    pub arguments: &'a [String],
    /// The same behind the file, as it stands on the command line.
    words: &'a [String],
}

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

    /// Whether nothing is run: `ldd`, which is `acting`, has the dynamic loader look at a program in the words that have it
    /// run one.
    #[must_use]
    pub fn is_looked_at(&self, acting: &Process, exec: &Exec) -> bool {
        let Some(program) = loaded(&exec.path, &exec.argv) else { return false };
        let place = |word: &str| absolute(word, &exec.cwd);
        let by_ldd = self
            .script(&acting.exe, &acting.argv)
            .is_some_and(|script| file_name(script) == "ldd" && in_system_folder(&place(script)));
        by_ldd && acting.argv.iter().any(|word| place(word) == place(program.path))
    }

    /// What a shell or an interpreter was handed, also where the dynamic loader runs it.
    fn runs<'a>(&'a self, path: &'a str, argv: &'a [String]) -> Option<Spawn<'a>> {
        let (called, arguments) =
            argv.split_first().map_or(("", argv), |(name, rest)| (name.as_str(), rest));
        loaded(path, argv)
            .and_then(|program| self.handed(program.path, program.name, program.arguments))
            .or_else(|| self.handed(path, called, arguments))
    }

    /// What the file at `path`, called `name`, makes of its arguments.
    fn handed<'a>(
        &'a self,
        path: &'a str,
        name: &'a str,
        arguments: &'a [String],
    ) -> Option<Spawn<'a>> {
        let called = file_name(name);
        let mut rest = arguments.get(..arguments.len().min(ARGUMENTS)).unwrap_or_default();
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

/// The program that an executed dynamic loader was told to run; `None` of other files, and when it runs nothing. A loader
/// opens the program itself: its path is text.
#[must_use]
pub fn loaded<'a>(path: &'a str, argv: &'a [String]) -> Option<Loaded<'a>> {
    let mut program = told_to_run(path, argv)?;
    for _ in 0..LOADERS {
        let Some(inner) = told_to_run(program.path, program.words) else { break };
        program = inner;
    }
    Some(program)
}

fn told_to_run<'a>(path: &str, argv: &'a [String]) -> Option<Loaded<'a>> {
    let loader = file_name(path);
    let musl = is_musl_loader(loader);
    if !musl && !is_glibc_loader(loader) {
        return None;
    }
    let (called, mut rest) = argv.split_first()?;
    // musl's is `ldd` as well.
    if musl && called.ends_with("ldd") {
        return None;
    }
    let mut name = None;
    while let Some((word, more)) = rest.split_first().filter(|(word, _)| word.starts_with("--")) {
        rest = more;
        if word == "--" {
            break;
        }
        let (option, attached) = match word.split_once('=') {
            Some((option, value)) => (option, Some(value)),
            None => (word.as_str(), None),
        };
        if LOADER_ASKED.contains(&option) {
            return None;
        }
        if LOADER_VALUES.contains(&option) {
            let value = attached.or_else(|| rest.first().map(String::as_str))?;
            if attached.is_none() {
                rest = rest.get(1..).unwrap_or_default();
            }
            if option == "--argv0" {
                name = Some(value);
            }
        }
    }
    let (program, arguments) = rest.split_first()?;
    Some(Loaded { path: program, name: name.unwrap_or(program), arguments, words: rest })
}

/// `ld-linux-x86-64.so.2`, `ld-2.31.so`, `ld.so`.
fn is_glibc_loader(name: &str) -> bool {
    ["ld-", "ld.", "ld64."].iter().any(|start| name.starts_with(start)) && name.contains(".so")
}

/// `ld-musl-x86_64.so.1`; it is the C library, too, and a link to that where it has its own name.
fn is_musl_loader(name: &str) -> bool {
    name == "libc.so"
        || ["ld-musl-", "libc.musl-"].iter().any(|start| name.starts_with(start))
            && name.contains(".so")
}

/// The name without login dash and version: `-bash` is `bash`, `python3.12` is `python`.
fn family(name: &str) -> &str {
    let name = name.strip_prefix('-').unwrap_or(name);
    let bare = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.' || c == '-');
    if bare.is_empty() { name } else { bare }
}

/// The paths an executed file is known by: its own; without `/usr`, where that is one folder; and that
/// of the shell it was called as, since `/bin/sh` is a link to one. Of the system's dynamic loader they are those of the
/// program it runs: whoever allows the one has not allowed every other.
#[must_use]
pub fn names_of_file(exec: &Exec) -> Vec<Cow<'_, str>> {
    let program = loaded(&exec.path, &exec.argv).filter(|_| in_system_folder(&exec.path));
    if let Some(program) = program {
        let path = absolute(program.path, &exec.cwd);
        let names = names_as(&path, program.name);
        return names.into_iter().map(|name| Cow::Owned(name.into_owned())).collect();
    }
    names_as(&exec.path, exec.argv.first().map_or("", String::as_str))
}

fn names_as<'a>(path: &'a str, called: &str) -> Vec<Cow<'a, str>> {
    let mut names = names_of_path(path);
    let called_sh = file_name(called) == "sh";
    if called_sh && matches!(file_name(path), "dash" | "bash" | "busybox" | "ash" | "ksh") {
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

    const GLIBC: &str = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
    const MUSL: &str = "/usr/lib/ld-musl-x86_64.so.1";

    #[test]
    #[expect(clippy::too_many_lines, reason = "a table")]
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
            (
                GLIBC,
                &["/lib64/ld-linux-x86-64.so.2", "/bin/sh", "-c", "id"],
                Some(("sh", Inline("id"))),
            ),
            (GLIBC, &["x", "--preload", "/a.so", "/bin/bash", "-i"], Some(("bash", Stdin))),
            (
                GLIBC,
                &["x", "--library-path", "/usr/bin", "sh", "x.sh"],
                Some(("sh", Script("x.sh"))),
            ),
            (
                GLIBC,
                &["x", "--inhibit-cache", "--argv0", "sh", "/bin/busybox", "-c", "id"],
                Some(("sh", Inline("id"))),
            ),
            (
                GLIBC,
                &["x", "--argv0", "y", "/usr/bin/python3", "-c", "z"],
                Some(("python", Inline("z"))),
            ),
            (
                GLIBC,
                &["x", "/lib/ld-2.31.so", "/bin/dash", "-c", "id"],
                Some(("dash", Inline("id"))),
            ),
            ("/usr/lib/ld-2.31.so", &["x", "/bin/dash", "-c", "id"], Some(("dash", Inline("id")))),
            ("/usr/bin/ld.so", &["ld.so", "/bin/dash"], Some(("dash", Stdin))),
            (GLIBC, &["x", "--list", "/bin/sh"], None),
            (GLIBC, &["x", "--verify", "/bin/sh"], None),
            (GLIBC, &["x", "--inhibit-cache", "--list-tunables"], None),
            (GLIBC, &["x", "--preload"], None),
            (GLIBC, &["x", "/usr/bin/git", "-c", "a=b"], None),
            (GLIBC, &["bash"], Some(("bash", Stdin))),
            (
                MUSL,
                &["x", "--library-path=/a", "--", "/bin/sh", "-c", "id"],
                Some(("sh", Inline("id"))),
            ),
            (MUSL, &["/usr/bin/ldd", "/bin/sh"], None),
            (MUSL, &["x", "--list", "--", "/bin/sh"], None),
            ("/usr/lib/libc.so", &["x", "/bin/sh", "-c", "id"], Some(("sh", Inline("id")))),
            // Called like one, it is none.
            ("/usr/bin/dash", &["ld.so", "-c", "id"], Some(("dash", Inline("id")))),
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
            ("from multiprocessing.forkserver import main; main(7, evil('x'))", false),
            ("from multiprocessing.forkserver import main; main(7) or evil('x')", false),
            ("import os", false),
        ];
        for (code, expected) in table {
            let exec = exec("/usr/bin/python3.12", &["python3", "-c", code]);
            let spawn = programs.spawned(&exec).unwrap();
            assert_eq!(programs.ordinary(&spawn).is_some(), expected, "{code}");
        }
    }

    #[test]
    fn what_the_systems_loader_runs_is_known_by_its_own_name() {
        for (path, argv, expected) in [
            (GLIBC, &["x", "/bin/sh", "-c", "id"][..], &["/bin/sh", "/usr/bin/sh"][..]),
            (GLIBC, &["x", "/usr/../tmp/x"], &["/tmp/x"]),
            (GLIBC, &["x", "--list", "/tmp/x"], &[GLIBC]),
            ("/home/me/ld.so", &["x", "/bin/sh"], &["/home/me/ld.so"]),
        ] {
            assert_eq!(names_of_file(&exec(path, argv)), expected, "{argv:?}");
        }
    }

    #[test]
    fn odd_arguments_do_no_harm() {
        let programs = Programs::new().unwrap();
        let long = "-é".repeat(1 << 20);
        for path in
            ["/bin/sh", "/usr/bin/python3", "/usr/bin/node", GLIBC, MUSL, "/", "", "-", "3", "..."]
        {
            for argv in [&[""][..], &["-"], &["--"], &["x", "-"], &["x", &long], &["x", "-é", "="]]
            {
                let exec = exec(path, argv);
                let _ = programs.spawned(&exec);
                assert!(!names_of_file(&exec).is_empty());
            }
        }
    }
}
