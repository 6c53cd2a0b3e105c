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
mod tests;
