//! `download_exec`: what a server wrote or fetched, or a file that exists in memory only, was executed.

use std::collections::{HashMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};

use regex::Regex;
use serde::Deserialize;

use super::ATLAS_VERSION;
use crate::detect::paths::{file_name, is_within};
use crate::detect::programs::{Code, Loaded, Programs, in_system_folder, loaded};
use crate::detect::reason::{
    OBJECT, cause, circumstances, clip, command_line, evidence, quote, server,
};
use crate::detect::scripts::{Run, Scripts, absolute};
use crate::detect::{
    Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities, data,
};
use crate::event::{Exec, Open, Operation};
use crate::record::{AlertEvidence, Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "download_exec",
    title: "Program brought by an MCP server executed",
    severities: Severities::always(Severity::Critical),
    tags: Tags { attack: &["T1105", "T1620"], atlas: &[], owasp_mcp: &["MCP04"], owasp_llm: &[] },
    atlas_version: ATLAS_VERSION,
    description: "A server that writes a program and runs it, or runs one that was never on a disk, runs \
        what nobody has reviewed: neither its package nor the system's holds that code.",
    trigger: "A process of the server's tree executes a file that a process of that tree had opened for \
        writing before (curl, wget or the server itself), whatever name it has been given since, or an interpreter or shell with such a file as \
        its script, wherever that is found (by folders that are links, by PATH), or the dynamic loader with such a file as \
        its program (`ld-linux-x86-64.so.2 /tmp/x`); or a file in memory (memfd, /dev/shm); or a shell whose code hands a download \
        straight to an interpreter (`curl … | sh`). Servers that a server starts are of its tree here, as far as they run in the same \
        container; what is written outside of a container and run inside, by a mount, is not seen to be one. The last 8,192 files that servers wrote are remembered.",
    explained_by: &[
        "what a launcher (`npx`, `uvx`, …) writes and starts until the server itself runs",
        "`allow.exec` of the server's settings, for the file or for the interpreter that runs it",
        "files made by a linker of the system: built here, not brought here (rules/download-exec.toml)",
        "container runtimes that start themselves anew from memory",
        "`ldd`, which has the dynamic loader look at a program without running it",
    ],
    playbook: "Keep the file, or the process's memory, before anything else: it is the evidence. See who \
        wrote it and where from (connections of the same call), and what it did since: those records \
        stand under the same call. Stop the server's tree and take what its user can reach as exposed. A \
        server that is made to run what it writes names the program in `allow.exec`.",
    yields_to: &[],
};

const FILE: &str = "download-exec.toml";
const TEXT: &str = include_str!("../../../../rules/download-exec.toml");

/// Most written files that are remembered, of all servers together; the oldest is forgotten.
const REMEMBERED: usize = 8192;
/// Most bytes of a writer's path that are kept.
const WRITER: usize = 256;
/// Bytes of a shell's code in which downloads are looked for: as much as the kernel side sends.
const LOOKED_AT: usize = 32 * 1024;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    fetchers: Vec<String>,
    builders: Vec<String>,
    runtimes: Vec<String>,
    memory: Vec<String>,
    pipe: Vec<Pipe>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Pipe {
    name: String,
    pattern: String,
    #[cfg_attr(not(test), expect(dead_code, reason = "the examples are for the test of the data"))]
    examples: Vec<String>,
    #[cfg_attr(not(test), expect(dead_code, reason = "the examples are for the test of the data"))]
    ordinary: Vec<String>,
}

impl Tables {
    /// What a file that exists in memory only is called in a reason; `None` of others.
    fn in_memory(&self, path: &str) -> Option<String> {
        if is_nameless(path) {
            return Some("a file without a name, which exists in memory only".to_owned());
        }
        let is = self.memory.iter().any(|folder| is_within(path, folder));
        is.then(|| format!("{}, a file that exists in memory only", quote(path)))
    }
}

/// A file in memory is the root of its own tree: its path says no more than that.
fn is_nameless(path: &str) -> bool {
    path == "/" || path.trim_start_matches('/').starts_with("memfd:")
}

/// A file that was opened for writing.
#[derive(Debug)]
struct WrittenFile {
    /// Tells this entry of [`Written::order`] from older ones of the same file.
    number: u64,
    time: u64,
    writer: Box<str>,
}

/// Family of servers, and container and path. They are kept as hashes: thousands of paths would take megabytes.
type Key = (u64, u64);

/// Files that servers wrote.
#[derive(Debug, Default)]
struct Written {
    files: HashMap<Key, WrittenFile>,
    /// The oldest first. A file stands here once for each time it was written.
    order: VecDeque<(Key, u64)>,
    next: u64,
}

impl Written {
    fn remember(&mut self, effect: &Effect<'_>, path: &str) {
        let writer = clip(&effect.process.exe, WRITER).into();
        self.insert(effect, path, effect.time, writer);
    }

    /// A file has another name, or one more, which stood for another one until now.
    fn rename(&mut self, effect: &Effect<'_>, from: &str, to: &str, exchange: bool) {
        if let Some(file) = self.find(effect, from) {
            let (time, writer) = (file.time, file.writer.clone());
            self.insert(effect, to, time, writer);
        } else if !exchange {
            self.files.remove(&key_of(effect, to));
        }
    }

    fn insert(&mut self, effect: &Effect<'_>, path: &str, time: u64, writer: Box<str>) {
        let key = key_of(effect, path);
        self.next += 1;
        let file = WrittenFile { number: self.next, time, writer };
        self.files.insert(key, file);
        self.order.push_back((key, self.next));
        while self.order.len() > REMEMBERED {
            let Some((key, number)) = self.order.pop_front() else { break };
            if self.files.get(&key).is_some_and(|file| file.number == number) {
                self.files.remove(&key);
            }
        }
    }

    fn find(&self, effect: &Effect<'_>, path: &str) -> Option<&WrittenFile> {
        self.files.get(&key_of(effect, path))
    }

    fn forget(&mut self, family: &str) {
        let family = hash(family);
        self.files.retain(|(of, _), _| *of != family);
        let files = &self.files;
        self.order.retain(|(key, _)| files.contains_key(key));
    }

    fn join(&mut self, family: &str, outer: &str) {
        let (family, outer) = (hash(family), hash(outer));
        let joined = |(of, path): Key| (if of == family { outer } else { of }, path);
        for (key, _) in &mut self.order {
            *key = joined(*key);
        }
        for (key, file) in std::mem::take(&mut self.files) {
            let key = joined(key);
            // Of a file that both wrote, whoever did last.
            if self.files.get(&key).is_none_or(|known| known.number < file.number) {
                self.files.insert(key, file);
            }
        }
    }
}

/// A path is that of its container: the servers of a gateway may each run in one.
fn key_of(effect: &Effect<'_>, path: &str) -> Key {
    (hash(effect.family), hash((effect.within, path)))
}

/// The same in every run: a replay must give the same records.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// The rule.
struct DownloadExec {
    tables: Tables,
    pipes: Vec<(String, Regex)>,
    written: Written,
    scripts: Scripts,
}

/// Makes the rule.
pub fn build(_knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    let tables: Tables = data(FILE, TEXT)?;
    let pipes = tables
        .pipe
        .iter()
        .map(|pipe| Ok((pipe.name.clone(), Regex::new(&pipe.pattern)?)))
        .collect::<Result<Vec<_>, regex::Error>>()
        .map_err(|error| DetectError::Data { file: FILE, message: error.to_string() })?;
    if pipes.is_empty() || tables.memory.is_empty() {
        return Err(DetectError::Data { file: FILE, message: "no pipes or no folders".into() });
    }
    let (written, scripts) = (Written::default(), Scripts::default());
    Ok(Box::new(DownloadExec { tables, pipes, written, scripts }))
}

/// What was executed that should not be there.
#[derive(Debug)]
struct Brought {
    what: String,
    path: String,
    evidence: Vec<AlertEvidence>,
}

impl Rule for DownloadExec {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        if effect.launching || effect.installing {
            return None;
        }
        match effect.action {
            Action::Open(open) => {
                self.note(effect, open);
                self.check_script(effect, open, knowledge)
            }
            Action::Exec(exec) => self.check_exec(effect, exec, knowledge),
            Action::Change(change) => {
                if let (Some(target), Ok(())) = (&change.target, change.result) {
                    let (from, to) = match change.operation {
                        Operation::Symlink => (target, &change.file),
                        _ => (&change.file, target),
                    };
                    self.written.rename(effect, &from.path, &to.path, change.exchange);
                }
                None
            }
            _ => None,
        }
    }

    fn forget(&mut self, server: &str) {
        self.written.forget(server);
        self.scripts.forget(server);
    }

    fn join(&mut self, family: &str, outer: &str) {
        self.written.join(family, outer);
    }
}

impl DownloadExec {
    fn note(&mut self, effect: &Effect<'_>, open: &Open) {
        if !open.writes() || open.result.is_err() || !open.may_be_regular() {
            return;
        }
        if !is_one_of(&self.tables.builders, &effect.process.exe) {
            self.written.remember(effect, &open.path);
        }
    }

    fn check_exec(
        &mut self,
        effect: &Effect<'_>,
        exec: &Exec,
        knowledge: &mut Knowledge,
    ) -> Option<Finding> {
        if knowledge.policy.allows_exec(&effect.given.allow, exec) {
            self.scripts.executed(effect, exec, None);
            return None;
        }
        let brought = self.brought(effect, exec, knowledge);
        let awaited = awaited(effect, exec, &knowledge.programs);
        let awaited = awaited.filter(|_| brought.is_none());
        self.scripts.executed(effect, exec, awaited);
        let brought = brought?;
        finding(effect, &exec.path, &command_line(&exec.argv), brought, knowledge)
    }

    /// A script lies where its interpreter opens it, whatever name it was run by.
    fn check_script(
        &mut self,
        effect: &Effect<'_>,
        open: &Open,
        knowledge: &mut Knowledge,
    ) -> Option<Finding> {
        let (written, tables) = (&self.written, &self.tables);
        let is_brought = |run: &Run| {
            written.find(effect, &open.path).is_some()
                || run.loaded && tables.in_memory(&open.path).is_some()
        };
        let run = self.scripts.opened(effect, open, is_brought)?;
        let (program, script) = (file_name(&run.program), quote(&run.script));
        let verb = if run.loaded {
            format!("had {program} run {script}:")
        } else {
            format!("ran the script {script} in {program}:")
        };
        let brought = if let Some(written) = self.written.find(effect, &open.path) {
            self.executed(effect, &verb, &open.path, written)
        } else if let Some(what) = self.tables.in_memory(&open.path) {
            in_memory(&verb, &what, &open.path)
        } else {
            // A program that nobody brought, but it may run a script that somebody did.
            if !knowledge.policy.allows_program(&effect.given.allow, &open.path) {
                self.scripts.interpreted(effect, run, &open.path, &knowledge.programs);
            }
            return None;
        };
        finding(effect, &run.program, &run.line, brought, knowledge)
    }

    fn brought(&self, effect: &Effect<'_>, exec: &Exec, knowledge: &Knowledge) -> Option<Brought> {
        let path = exec.path.as_str();
        if let Some(what) = self.tables.in_memory(path) {
            // The runtime that starts itself anew is still the process that executes.
            let runtime =
                is_nameless(path) && is_one_of(&self.tables.runtimes, &effect.process.exe);
            return (!runtime).then(|| in_memory("executed", &what, path));
        }
        if let Some(written) = self.written.find(effect, path) {
            return Some(self.executed(effect, "executed", path, written));
        }
        let programs = &knowledge.programs;
        let loaded = loaded_by(effect, exec, programs);
        if let Some(program) = loaded {
            let verb = format!("had {} run", file_name(path));
            let program = absolute(program.path, &exec.cwd);
            if let Some(what) = self.tables.in_memory(&program) {
                return Some(in_memory(&verb, &what, &program));
            }
            if let Some(written) = self.written.find(effect, &program) {
                return Some(self.executed(effect, &verb, &program, written));
            }
        }
        if let Some(script) = programs.script(path, &exec.argv) {
            let script = absolute(script, &exec.cwd);
            let written = self.written.find(effect, &script)?;
            let interpreter = file_name(loaded.map_or(path, |program| program.path));
            let verb = format!("ran the script {} in {interpreter}:", quote(&script));
            return Some(self.executed(effect, &verb, &script, written));
        }
        let code = match programs.spawned(exec)?.code {
            Code::Inline(code) => code.get(..code.floor_char_boundary(LOOKED_AT))?,
            _ => return None,
        };
        let (name, _) = self.pipes.iter().find(|(_, pattern)| pattern.is_match(code))?;
        Some(Brought {
            what: format!("ran a download straight from the network (`{}`)", quote(code)),
            path: path.to_owned(),
            evidence: vec![evidence("pattern", name)],
        })
    }

    fn executed(
        &self,
        effect: &Effect<'_>,
        verb: &str,
        path: &str,
        written: &WrittenFile,
    ) -> Brought {
        let writer = &*written.writer;
        let did = if is_one_of(&self.tables.fetchers, writer) { "fetched" } else { "wrote" };
        let name = file_name(writer);
        let age = effect.time.saturating_sub(written.time) / 1_000_000;
        Brought {
            what: format!(
                "{verb} {}, which {} {did} {}.{:03} s before",
                quote(path),
                quote(name),
                age / 1000,
                age % 1000
            ),
            path: path.to_owned(),
            evidence: vec![evidence("path", path), evidence("written_by", writer)],
        }
    }
}

/// The program that the dynamic loader runs, where it does.
fn loaded_by<'a>(effect: &Effect<'_>, exec: &'a Exec, programs: &Programs) -> Option<Loaded<'a>> {
    loaded(&exec.path, &exec.argv).filter(|_| !programs.is_looked_at(effect.process, exec))
}

/// What is to be opened next: a program of the dynamic loader, or an interpreter's script.
fn awaited<'a>(effect: &Effect<'_>, exec: &'a Exec, programs: &'a Programs) -> Option<&'a str> {
    let program = loaded_by(effect, exec, programs).map(|program| program.path);
    program.or_else(|| programs.script(&exec.path, &exec.argv))
}

fn in_memory(verb: &str, what: &str, path: &str) -> Brought {
    Brought { what: format!("{verb} {what}"), path: path.to_owned(), evidence: Vec::new() }
}

fn finding(
    effect: &Effect<'_>,
    program: &str,
    line: &str,
    brought: Brought,
    knowledge: &mut Knowledge,
) -> Option<Finding> {
    if knowledge.policy.allows_program(&effect.given.allow, &brought.path) {
        return None;
    }
    let severity = INFO.severities.of(effect.attribution.relation)?;
    let mut found = vec![evidence("program", program), evidence("argv", line)];
    found.extend(brought.evidence);
    circumstances(effect, &mut found);
    Some(Finding {
        rule: INFO.id,
        severity,
        reason: format!("Server {} {}, {}.", server(effect), brought.what, cause(effect)),
        evidence: found,
        object: clip(&brought.path, OBJECT).into_owned(),
    })
}

/// Whether a program is one of these, from a system folder.
fn is_one_of(names: &[String], exe: &str) -> bool {
    let program = file_name(exe);
    names.iter().any(|name| name == program) && in_system_folder(exe)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Detector;
    use crate::detect::tests::{Scene, change_of_two, detector, exec, failed_open, open};
    use crate::event::{Change, Operation};
    use crate::record::Relation::{Background, Covert, Requested, Startup};

    const ONE: [(&str, Severity); 1] = [("download_exec", Severity::Critical)];
    const WRITE: i32 = libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC;

    /// A scene whose acting process runs this program.
    fn acting(exe: &str) -> Scene {
        let mut scene = Scene::new(Covert);
        scene.process.exe = exe.into();
        scene
    }

    fn wrote(detector: &mut Detector, exe: &str, path: &str) {
        assert_eq!(acting(exe).found_by(detector, Action::Open(&open(path, WRITE))), []);
    }

    #[test]
    fn what_was_written_below_the_server_and_executed_fires() {
        for relation in [Requested, Covert, Background, Startup] {
            let mut detector = detector();
            wrote(&mut detector, "/usr/bin/node", "/srv/data/tool");
            let tool = exec("/srv/data/tool", &["tool"]);
            let found = Scene::new(relation).found_by(&mut detector, Action::Exec(&tool));
            assert_eq!(found, ONE, "{relation:?}");
        }
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/curl", "/tmp/x");
        let mut later = Scene::new(Covert);
        later.time += 1_234_000_000;
        let mut findings = Vec::new();
        let x = exec("/tmp/x", &["/tmp/x", "-d"]);
        detector.check(&later.effect(Action::Exec(&x)), &mut findings);
        assert_eq!(
            findings[0].reason,
            "Server files executed /tmp/x, which curl fetched 1.234 s before, during tools/call \
             `weather` (JSON-RPC id 7), whose arguments do not mention it."
        );
    }

    #[test]
    fn a_written_script_counts_by_the_interpreter_that_runs_it() {
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/node", "/srv/x.py");
        for (path, argv, fires) in [
            ("/usr/bin/python3.12", &["python3", "/srv/x.py"][..], true),
            ("/usr/bin/python3.12", &["python3", "-I", "-W", "error", "x.py", "a"], true),
            ("/usr/bin/python3.12", &["python3", "/srv/../srv//x.py"], true),
            ("/usr/bin/node", &["node", "--", "/srv/x.py"], true),
            ("/usr/bin/python3.12", &["python3", "/srv/y.py", "/srv/x.py"], false),
            ("/usr/bin/python3.12", &["python3", "-m", "x", "/srv/x.py"], false),
            ("/usr/bin/cat", &["cat", "/srv/x.py"], false),
        ] {
            let run = Exec { cwd: "/srv".into(), ..exec(path, argv) };
            let found = Scene::new(Covert).found_by(&mut detector, Action::Exec(&run));
            assert_eq!(found == ONE, fires, "{argv:?}: {found:?}");
        }
        wrote(&mut detector, "/usr/bin/node", "/srv/x.sh");
        let script = exec("/usr/bin/dash", &["/bin/sh", "/srv/x.sh"]);
        let found = Scene::new(Covert).found_by(&mut detector, Action::Exec(&script));
        let expected = [("shell_spawn", Severity::High), ("download_exec", Severity::Critical)];
        assert_eq!(found, expected);
    }

    #[test]
    fn the_dynamic_loader_does_not_hide_what_it_runs() {
        let loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/curl", "/tmp/x");
        for (argv, fires) in [
            (&["ld.so", "/tmp/x", "-d"][..], true),
            (&["ld.so", "--library-path", "/usr/lib", "--argv0", "y", "x"], true),
            (&["ld.so", "--inhibit-cache", "/usr/../tmp//x"], true),
            (&["ld.so", "/usr/bin/python3", "/tmp/x"], true),
            (&["ld.so", "/dev/shm/y"], true),
            (&["ld.so", "--list", "/tmp/x"], false),
            (&["ld.so", "--verify", "/tmp/x"], false),
            (&["ld.so", "/usr/bin/cat", "/tmp/x"], false),
        ] {
            let run = Exec { cwd: "/tmp".into(), ..exec(loader, argv) };
            let found = Scene::new(Covert).found_by(&mut detector, Action::Exec(&run));
            assert_eq!(found == ONE, fires, "{argv:?}: {found:?}");
        }
        let run = exec(loader, &["ld.so", "/tmp/x"]);
        let mut findings = Vec::new();
        detector.check(&Scene::new(Covert).effect(Action::Exec(&run)), &mut findings);
        assert_eq!(
            findings[0].reason,
            "Server files had ld-linux-x86-64.so.2 run /tmp/x, which curl fetched 0.000 s before, during \
             tools/call `weather` (JSON-RPC id 7), whose arguments do not mention it."
        );
        let mut allowed = Scene::new(Covert);
        for (pattern, fires) in [("/tmp/x", false), ("/usr/**", true)] {
            allowed.given.allow.exec = vec![pattern.into()];
            let found = allowed.found_by(&mut detector, Action::Exec(&run));
            assert_eq!(found == ONE, fires, "{pattern}: {found:?}");
        }
        // `ldd` runs nothing; another script does.
        for (script, fires) in [("/usr/bin/ldd", false), ("/tmp/ldd", true)] {
            let mut scene = acting("/usr/bin/bash");
            scene.process.argv = ["/bin/bash", script, "x"].map(Into::into).into();
            let run = Exec { cwd: "/tmp".into(), ..exec(loader, &["ld.so", "./x"]) };
            let found = scene.found_by(&mut detector, Action::Exec(&run));
            assert_eq!(found == ONE, fires, "{script}: {found:?}");
            let read = open("/tmp/x", libc::O_RDONLY);
            assert_eq!(scene.found_by(&mut detector, Action::Open(&read)), [], "{script}");
        }
    }

    #[test]
    fn a_program_of_the_dynamic_loader_lies_where_it_is_opened() {
        let loader = "/usr/lib/ld-musl-x86_64.so.1";
        for (argument, opened, reason) in [
            (
                "/proc/self/cwd/x",
                "/srv/x",
                "Server files had ld-musl-x86_64.so.1 run /proc/self/cwd/x: /srv/x, which node wrote 0.000 s \
                 before, during tools/call `weather` (JSON-RPC id 7), whose arguments do not mention it.",
            ),
            (
                "/proc/self/fd/3",
                "/memfd:x",
                "Server files had ld-musl-x86_64.so.1 run /proc/self/fd/3: a file without a name, which exists \
                 in memory only, during tools/call `weather` (JSON-RPC id 7), whose arguments do not mention it.",
            ),
        ] {
            let mut detector = detector();
            wrote(&mut detector, "/usr/bin/node", "/srv/x");
            let scene = Scene::new(Covert);
            let run = exec(loader, &["ld.so", argument]);
            assert_eq!(scene.found_by(&mut detector, Action::Exec(&run)), [], "{argument}");
            let program = Open { argument: argument.into(), ..open(opened, libc::O_RDONLY) };
            let mut findings = Vec::new();
            detector.check(&scene.effect(Action::Open(&program)), &mut findings);
            let reasons: Vec<&str> = findings.iter().map(|found| found.reason.as_str()).collect();
            assert_eq!(reasons, [reason]);
        }
    }

    #[test]
    fn an_interpreter_of_the_dynamic_loader_has_its_script_to_open() {
        const X: &str = "/proc/self/cwd/x.py";
        let loader = "/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2";
        let long = "x".repeat(9_000);
        let read =
            |argument: &str, path| Open { argument: argument.into(), ..open(path, libc::O_RDONLY) };
        for (words, asked, program, fires) in [
            // The system's, a copy of that, a link to it, and the same found in the folders of libraries.
            (&["/usr/bin/python3", X][..], "/usr/bin/python3", "/usr/bin/python3.12", true),
            (&["/home/me/python3", X], "/home/me/python3", "/home/me/python3", true),
            (&["/home/me/py", "-I", X], "/home/me/py", "/usr/bin/python3.12", true),
            (&["--library-path", "/home/me", "py", X], "/home/me/py", "/usr/bin/python3", true),
            (&["--argv0", "python3", "./py", X], "./py", "/home/me/py", true),
            // Of these it is no script, as when they are run directly.
            (&["/home/me/py", "-m", "x", X], "/home/me/py", "/usr/bin/python3.12", false),
            (&["/home/me/tool", X], "/home/me/tool", "/home/me/tool", false),
            // Behind a long argument.
            (&["/usr/bin/python3", "-W", &long, X], "/usr/bin/python3", "/usr/bin/python3", true),
            (&["/home/me/py", "-W", &long, X], "/home/me/py", "/usr/bin/python3", true),
        ] {
            for (pattern, allowed) in [("/usr/bin/none", false), (program, true)] {
                let mut detector = detector();
                wrote(&mut detector, "/usr/bin/node", "/srv/x.py");
                let mut scene = Scene::new(Covert);
                scene.given.allow.exec = vec![pattern.into()];
                let run = exec(loader, &[&["ld.so"], words].concat());
                assert_eq!(scene.found_by(&mut detector, Action::Exec(&run)), [], "{words:?}");
                for opened in [read(asked, program), read("libc.so.6", "/usr/lib/libc.so.6")] {
                    let found = scene.found_by(&mut detector, Action::Open(&opened));
                    assert_eq!(found, [], "{words:?}");
                }
                let script = read(X, "/srv/x.py");
                let found = scene.found_by(&mut detector, Action::Open(&script));
                assert_eq!(found == ONE, fires && !allowed, "{words:?} {pattern}: {found:?}");
            }
        }
    }

    #[test]
    fn files_in_memory_fire_without_having_been_seen_before() {
        for path in ["/", "/memfd:x", "/memfd:", "/dev/shm/x", "/dev/shm/.a/b", "/run/shm/x"] {
            let found = Scene::new(Covert).found(Action::Exec(&exec(path, &["x"])));
            assert_eq!(found, ONE, "{path}");
        }
        for path in ["/", "/memfd:runc_cloned:/proc/self/exe"] {
            let cloned = exec(path, &["runc", "init"]);
            assert_eq!(acting("/usr/bin/runc").found(Action::Exec(&cloned)), []);
            assert_eq!(acting("/tmp/runc").found(Action::Exec(&cloned)), ONE);
        }
    }

    #[test]
    fn downloads_handed_to_an_interpreter_fire() {
        let Tables { pipe, .. } = data(FILE, TEXT).unwrap();
        for code in pipe.iter().flat_map(|pipe| &pipe.examples) {
            let shell = exec("/usr/bin/dash", &["sh", "-c", code]);
            let found = Scene::new(Covert).found(Action::Exec(&shell));
            assert!(found.contains(&ONE[0]), "{code}: {found:?}");
        }
        for code in pipe.iter().flat_map(|pipe| &pipe.ordinary) {
            let shell = exec("/usr/bin/dash", &["sh", "-c", code]);
            let found = Scene::new(Covert).found(Action::Exec(&shell));
            assert_eq!(found, [("shell_spawn", Severity::High)], "{code}");
        }
        let long = format!("{}; curl x | sh", "é".repeat(1 << 20));
        let shell = exec("/usr/bin/dash", &["sh", "-c", &long]);
        assert_eq!(Scene::new(Covert).found(Action::Exec(&shell)).len(), 1);
    }

    #[test]
    fn launchers_builders_and_what_is_allowed_are_silent() {
        let tool = exec("/srv/app/tool", &["tool"]);
        let written = open("/srv/app/tool", WRITE);
        for early in [true, false] {
            let mut detector = detector();
            let mut scene = Scene::new(Startup);
            scene.launching = early;
            scene.installing = !early;
            assert_eq!(scene.found_by(&mut detector, Action::Open(&written)), []);
            assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), []);
            let found = Scene::new(Covert).found_by(&mut detector, Action::Exec(&tool));
            assert_eq!(found, [], "installed at start, used in a call");
        }
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/x86_64-linux-gnu-ld.bfd", "/srv/app/tool");
        assert_eq!(Scene::new(Covert).found_by(&mut detector, Action::Exec(&tool)), []);
        wrote(&mut detector, "/tmp/ld", "/srv/app/tool");
        assert_eq!(Scene::new(Covert).found_by(&mut detector, Action::Exec(&tool)), ONE);
        let mut allowed = Scene::new(Covert);
        allowed.given.allow.exec = vec!["/srv/app/*".into()];
        assert_eq!(allowed.found_by(&mut detector, Action::Exec(&tool)), []);
        wrote(&mut detector, "/usr/bin/node", "/srv/app/x.py");
        let run = exec("/usr/bin/python3.12", &["python3", "/srv/app/x.py"]);
        for pattern in ["/usr/bin/python3*", "/srv/app/*.py"] {
            allowed.given.allow.exec = vec![pattern.into()];
            assert_eq!(allowed.found_by(&mut detector, Action::Exec(&run)), [], "{pattern}");
        }
    }

    #[test]
    fn what_was_only_read_or_not_written_by_this_server_is_silent() {
        let mut detector = detector();
        let scene = Scene::new(Covert);
        let tool = exec("/srv/app/tool", &["tool"]);
        for open in [
            open("/srv/app/tool", libc::O_RDONLY),
            failed_open("/srv/app/tool", WRITE, libc::EACCES),
        ] {
            assert!(scene.found_by(&mut detector, Action::Open(&open)).is_empty());
            assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), []);
        }
        wrote(&mut detector, "/usr/bin/node", "/srv/app/tool");
        let mut other = Scene::new(Covert);
        other.server.id = "server-2".into();
        assert_eq!(other.found_by(&mut detector, Action::Exec(&tool)), []);
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), ONE);
        detector.forget("server-2");
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), ONE);
        detector.forget("server-1");
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), []);
    }

    #[test]
    fn what_one_server_of_a_family_wrote_another_executes() {
        let tool = exec("/srv/app/tool", &["tool"]);
        let within = |family: &str| {
            let mut scene = Scene::new(Covert);
            scene.server.id = "server-2".into();
            scene.family = Some(family.into());
            scene
        };
        let (outer, inner) = (Scene::new(Covert), within("server-1"));
        let written = open("/srv/app/tool", WRITE);
        for (writer, other) in [(&outer, &inner), (&inner, &outer)] {
            let mut detector = detector();
            assert_eq!(writer.found_by(&mut detector, Action::Open(&written)), []);
            detector.forget("server-2");
            assert_eq!(other.found_by(&mut detector, Action::Exec(&tool)), ONE);
            detector.forget("server-1");
            assert_eq!(other.found_by(&mut detector, Action::Exec(&tool)), []);
        }
        // It was known as a server before the one around it was.
        let mut detector = detector();
        let alone = within("server-2");
        assert_eq!(alone.found_by(&mut detector, Action::Open(&written)), []);
        assert_eq!(outer.found_by(&mut detector, Action::Exec(&tool)), []);
        detector.join("server-2", "server-1");
        for scene in [&outer, &inner] {
            assert_eq!(scene.found_by(&mut detector, Action::Exec(&tool)), ONE);
        }
        detector.forget("server-1");
        assert_eq!(outer.found_by(&mut detector, Action::Exec(&tool)), []);
    }

    #[test]
    fn a_file_of_another_container_is_another_file() {
        let within = |id: &str| {
            let mut scene = Scene::new(Covert);
            scene.within = Some(id.into());
            scene
        };
        let mut detector = detector();
        let (one, other) = (within("1"), within("2"));
        let written = open("/srv/app/tool", WRITE);
        assert_eq!(one.found_by(&mut detector, Action::Open(&written)), []);
        let tool = exec("/srv/app/tool", &["tool"]);
        assert_eq!(other.found_by(&mut detector, Action::Exec(&tool)), []);
        assert_eq!(one.found_by(&mut detector, Action::Exec(&tool)), ONE);
    }

    #[test]
    fn another_name_does_not_hide_what_was_written() {
        for operation in [Operation::Rename, Operation::Link, Operation::Symlink] {
            let mut detector = detector();
            wrote(&mut detector, "/usr/bin/curl", "/srv/x.part");
            let (old, new) = ("/srv/x.part", "/srv/x");
            let renamed = match operation {
                // The link, and what it leads to.
                Operation::Symlink => change_of_two(operation, new, old),
                _ => change_of_two(operation, old, new),
            };
            let refused = Change { result: Err(libc::EACCES), ..renamed.clone() };
            let x = exec("/srv/x", &["x"]);
            let scene = Scene::new(Covert);
            for (change, fires) in [(refused, false), (renamed, true)] {
                assert_eq!(scene.found_by(&mut detector, Action::Change(&change)), []);
                let found = scene.found_by(&mut detector, Action::Exec(&x));
                assert_eq!(found == ONE, fires, "{change:?}: {found:?}");
            }
        }
    }

    #[test]
    fn a_link_that_leads_elsewhere_by_now_is_what_it_leads_to() {
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/node", "/srv/2/main.py");
        let scene = Scene::new(Covert);
        let run = exec("/usr/bin/python3", &["python3", "/srv/current.py"]);
        for (to, fires) in [("/srv/2/main.py", true), ("/srv/1/main.py", false)] {
            let link = change_of_two(Operation::Symlink, "/srv/current.py", to);
            assert_eq!(scene.found_by(&mut detector, Action::Change(&link)), []);
            let found = scene.found_by(&mut detector, Action::Exec(&run));
            assert_eq!(found == ONE, fires, "{to}: {found:?}");
        }
    }

    #[test]
    fn a_folder_that_is_a_link_does_not_hide_a_script() {
        let python = |script: &str| Exec {
            cwd: "/srv".into(),
            ..exec("/usr/bin/python3.12", &["python3", script])
        };
        // By the link, or asked where it leads to before.
        for argument in ["/proc/self/cwd/x.py", "/srv/x.py"] {
            let mut detector = detector();
            wrote(&mut detector, "/usr/bin/node", "/srv/x.py");
            let scene = Scene::new(Covert);
            let run = python("/proc/self/cwd/x.py");
            assert_eq!(scene.found_by(&mut detector, Action::Exec(&run)), []);
            let script = Open { argument: argument.into(), ..open("/srv/x.py", libc::O_RDONLY) };
            let mut somebody = Scene::new(Covert);
            somebody.process.entity_id = "4243-1".into();
            assert_eq!(somebody.found_by(&mut detector, Action::Open(&script)), []);
            let library = open("/usr/lib/python3.12/os.py", libc::O_RDONLY);
            assert_eq!(scene.found_by(&mut detector, Action::Open(&library)), []);
            let mut findings = Vec::new();
            detector.check(&scene.effect(Action::Open(&script)), &mut findings);
            assert_eq!(
                findings[0].reason,
                "Server files ran the script /proc/self/cwd/x.py in python3.12: /srv/x.py, which node \
                 wrote 0.000 s before, during tools/call `weather` (JSON-RPC id 7), whose arguments do \
                 not mention it."
            );
            assert_eq!((findings.len(), findings[0].severity), (1, Severity::Critical));
            assert_eq!(scene.found_by(&mut detector, Action::Open(&script)), [], "it is told once");
        }
        let mut detector = detector();
        wrote(&mut detector, "/usr/bin/node", "/srv/data/main.py");
        let scene = Scene::new(Covert);
        // Its own script comes first, whatever of that name it opens afterwards.
        assert_eq!(scene.found_by(&mut detector, Action::Exec(&python("/app/main.py"))), []);
        for path in ["/app/main.py", "/srv/data/main.py"] {
            let read = open(path, libc::O_RDONLY);
            assert_eq!(scene.found_by(&mut detector, Action::Open(&read)), [], "{path}");
        }
        let mut allowed = Scene::new(Covert);
        for pattern in ["/usr/bin/python3*", "/srv/data/*.py"] {
            allowed.given.allow.exec = vec![pattern.into()];
            let run = python("/proc/self/cwd/data/main.py");
            assert_eq!(allowed.found_by(&mut detector, Action::Exec(&run)), [], "{pattern}");
            let read = open("/srv/data/main.py", libc::O_RDONLY);
            assert_eq!(allowed.found_by(&mut detector, Action::Open(&read)), [], "{pattern}");
        }
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let scene = Scene::new(Covert);
        let noop = open("/x", WRITE);
        let effect = scene.effect(Action::Open(&noop));
        let mut written = Written::default();
        for number in 0..3 * REMEMBERED {
            written.remember(&effect, &format!("/srv/{number}"));
            written.remember(&effect, "/srv/again");
        }
        assert!(written.files.len() <= REMEMBERED && written.order.len() <= REMEMBERED);
        assert!(written.find(&effect, "/srv/again").is_some());
        assert!(written.find(&effect, &format!("/srv/{}", 3 * REMEMBERED - 1)).is_some());
        assert!(written.find(&effect, "/srv/0").is_none());
        written.join("server-1", "server-0");
        assert!(written.find(&effect, "/srv/again").is_none());
        assert!(!written.files.is_empty() && written.files.len() <= REMEMBERED);
        written.forget("server-0");
        assert!(written.files.is_empty() && written.order.is_empty());
    }
}
