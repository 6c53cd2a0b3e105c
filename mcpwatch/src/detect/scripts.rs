//! Scripts that interpreters were run with and have yet to open. The name a script is run by need not be the one it lies
//! under: a folder on the way may be a link (`/proc/self/cwd/x.py`), a shell searches `PATH`, node completes `x` to
//! `x.js`. Where it lies is known once the interpreter opens it. So it is with programs that the dynamic loader runs, which
//! may be interpreters in turn.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::Effect;
use super::paths::{file_name, normal, parent};
use super::programs::{Loaded, Programs, loaded};
use super::reason::{OBJECT, clip, command_line};
use crate::event::{Exec, Open, decode::join};

/// Most scripts that are awaited, of all servers together; the oldest is forgotten.
const AWAITED: usize = 256;
/// How long an interpreter may take to open its script, in nanoseconds.
const STARTS_WITHIN: u64 = 10_000_000_000;
/// The kernel opens no longer path.
const PATH_MAX: usize = 4096;
/// Most words that are kept of what the dynamic loader hands a program; an exec has at most 32 KiB of them.
const WORDS: usize = 1024;
/// What node and Python run of a folder.
const STARTS_OF_FOLDERS: [&str; 2] = ["index.js", "__main__.py"];

/// A script's path as text, absolute.
#[must_use]
pub fn absolute(script: &str, cwd: &str) -> String {
    if script.starts_with('/') { normal(script).into_owned() } else { join(cwd, script) }
}

/// How an interpreter was run with a script.
#[derive(Debug)]
pub struct Run {
    /// The script as it was named.
    pub script: Box<str>,
    /// Path of the interpreter.
    pub program: Box<str>,
    /// Its command line, of bounded length.
    pub line: Box<str>,
    /// The interpreter is the dynamic loader, and the script a program.
    pub loaded: bool,
    /// Argument vector of that program.
    words: Vec<String>,
    cwd: Box<str>,
    absolute: Box<str>,
    server: Box<str>,
    time: u64,
    number: u64,
}

impl Run {
    /// Whether an open names the script as it was named.
    fn names(&self, open: &Open) -> bool {
        // Without a slash, the dynamic loader finds it in the folders of libraries.
        let is_searched = self.loaded && !self.script.contains('/');
        open.argument == *self.script
            || *normal(&open.argument) == *self.absolute
            || is_searched && *file_name(&open.argument) == *self.script
    }

    /// Whether what was opened may be the script all the same.
    fn may_be(&self, path: &str) -> bool {
        let (script, opened) = (file_name(&self.script), file_name(path));
        let completed = opened.strip_prefix(script);
        completed.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            || STARTS_OF_FOLDERS.contains(&opened) && file_name(parent(path)) == script
    }
}

/// Scripts that are awaited, by the interpreter.
#[derive(Debug, Default)]
pub struct Scripts {
    runs: HashMap<u64, Run>,
    next: u64,
}

impl Scripts {
    /// A process executed something: what it was to open before, it will not. With a script, it is awaited.
    pub fn executed(&mut self, effect: &Effect<'_>, exec: &Exec, script: Option<&str>) {
        let interpreter = hash(&effect.process.entity_id);
        self.runs.remove(&interpreter);
        let Some(script) = script.filter(|script| script.len() < PATH_MAX) else { return };
        if self.runs.len() >= AWAITED {
            let oldest = self.runs.iter().min_by_key(|(_, run)| run.number).map(|(key, _)| *key);
            oldest.map(|key| self.runs.remove(&key));
        }
        self.next += 1;
        let program = loaded(&exec.path, &exec.argv).filter(|program| program.path == script);
        let run = Run {
            script: script.into(),
            program: clip(&exec.path, OBJECT).into(),
            line: command_line(&exec.argv).into(),
            loaded: program.is_some(),
            words: program.map_or_else(Vec::new, words),
            cwd: exec.cwd.as_str().into(),
            absolute: absolute(script, &exec.cwd).into(),
            server: effect.server.id.as_str().into(),
            time: effect.time,
            number: self.next,
        };
        self.runs.insert(interpreter, run);
    }

    /// A file was opened: how its interpreter was run, when it is a script that `is_written` tells of, or whatever program
    /// the dynamic loader was to run. One that is named as it was when the interpreter was run is the script in any case,
    /// and nothing is awaited any more; of others that may be it, the name says little.
    pub fn opened(
        &mut self,
        effect: &Effect<'_>,
        open: &Open,
        is_written: impl FnOnce(&Run) -> bool,
    ) -> Option<Run> {
        // What it may write, or cannot read, is not what it runs.
        if self.runs.is_empty()
            || open.writes()
            || !open.reads()
            || open.result.is_err()
            || !open.may_be_regular()
        {
            return None;
        }
        let interpreter = hash(&effect.process.entity_id);
        let run = self.runs.get(&interpreter)?;
        if effect.time.saturating_sub(run.time) > STARTS_WITHIN {
            self.runs.remove(&interpreter);
            return None;
        }
        let named = run.names(open);
        if !named && !run.may_be(&open.path) {
            return None;
        }
        let written = is_written(run);
        if !named && !written {
            return None;
        }
        self.runs.remove(&interpreter).filter(|run| written || run.loaded)
    }

    /// The program of a run by the dynamic loader lies at `path`: an interpreter has yet to open its script.
    pub fn interpreted(&mut self, effect: &Effect<'_>, run: Run, path: &str, programs: &Programs) {
        let script = programs.script(path, &run.words).filter(|script| script.len() < PATH_MAX);
        let Some(script) = script.map(Box::<str>::from) else { return };
        let run = Run {
            absolute: absolute(&script, &run.cwd).into(),
            script,
            program: clip(path, OBJECT).into(),
            loaded: false,
            words: Vec::new(),
            ..run
        };
        self.runs.insert(hash(&effect.process.entity_id), run);
    }

    /// Forgets a server that has ended.
    pub fn forget(&mut self, server: &str) {
        self.runs.retain(|_, run| *run.server != *server);
    }
}

/// What a program is called and handed, in bounded length.
fn words(program: Loaded<'_>) -> Vec<String> {
    let arguments = program.arguments.iter().map(String::as_str);
    std::iter::once(program.name).chain(arguments).take(WORDS).map(str::to_owned).collect()
}

/// The same in every run: a replay must give the same records.
fn hash(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::detect::Action;
    use crate::detect::tests::{Scene, exec, open};
    use crate::record::Relation::Covert;

    fn run(scene: &Scene, scripts: &mut Scripts, script: &str) {
        let exec = Exec { cwd: "/srv".into(), ..exec("/usr/bin/node", &["node", script]) };
        scripts.executed(&scene.effect(Action::Exec(&exec)), &exec, Some(script));
    }

    /// Whether a written file is taken for the script.
    fn is_script(scene: &Scene, scripts: &mut Scripts, open: &Open) -> bool {
        scripts.opened(&scene.effect(Action::Open(open)), open, |_| true).is_some()
    }

    #[test]
    fn interpreters_find_scripts_in_their_own_ways() {
        let table: &[(&str, &str, &str, bool)] = &[
            ("x.js", "/srv/x.js", "x.js", true),
            ("/proc/self/cwd/x.js", "/srv/x.js", "/proc/self/cwd/x.js", true),
            // Asked where it lies before; found by PATH; completed; a folder.
            ("/proc/self/cwd/x.js", "/srv/x.js", "/srv/x.js", true),
            ("x.sh", "/srv/bin/x.sh", "/srv/bin/x.sh", true),
            ("link/x", "/srv/a/x.mjs", "/srv/a/x.mjs", true),
            ("link/x", "/srv/a/x/index.js", "/srv/a/x/index.js", true),
            ("link/x", "/srv/a/x/__main__.py", "/srv/link/x/__main__.py", true),
            ("link/x", "/srv/a/x/data.json", "/srv/a/x/data.json", false),
            ("link/x", "/srv/a/x2", "/srv/a/x2", false),
            ("link/x", "/srv/a/y.js", "/srv/a/y.js", false),
        ];
        for (script, path, argument, is) in table {
            let (scene, mut scripts) = (Scene::new(Covert), Scripts::default());
            run(&scene, &mut scripts, script);
            let open = Open { argument: (*argument).into(), ..open(path, libc::O_RDONLY) };
            assert_eq!(is_script(&scene, &mut scripts, &open), *is, "{script} {path}");
            assert_eq!(scripts.runs.is_empty(), *is, "{script} {path}");
        }
    }

    #[test]
    fn what_an_interpreter_does_not_read_or_nobody_wrote_is_not_the_script() {
        let (scene, mut scripts) = (Scene::new(Covert), Scripts::default());
        let read = |path| open(path, libc::O_RDONLY);
        run(&scene, &mut scripts, "x.js");
        // Its log; a name that is not there; a folder.
        let log = open("/srv/x.js", libc::O_WRONLY | libc::O_CREAT);
        let missing = Open { result: Err(libc::ENOENT), ..read("/srv/x.js") };
        let folder = Open { mode: libc::S_IFDIR, ..read("/srv/x.js") };
        for open in [log, missing, folder] {
            assert!(!is_script(&scene, &mut scripts, &open), "{open:?}");
        }
        // Something else of that name, before.
        let library = read("/usr/lib/x.js");
        let effect = scene.effect(Action::Open(&library));
        assert!(scripts.opened(&effect, &library, |_| false).is_none());
        let mut other = Scene::new(Covert);
        other.process.entity_id = "4243-1".into();
        assert!(!is_script(&other, &mut scripts, &read("/srv/x.js")));
        assert!(is_script(&scene, &mut scripts, &read("/srv/x.js")));
        assert!(!is_script(&scene, &mut scripts, &read("/srv/x.js")), "once");
        // The script itself, which nobody wrote: what comes after it is something else.
        run(&scene, &mut scripts, "x.js");
        let script = read("/srv/x.js");
        let effect = scene.effect(Action::Open(&script));
        assert!(scripts.opened(&effect, &script, |_| false).is_none());
        assert!(!is_script(&scene, &mut scripts, &read("/srv/data/x.js")));
        // Too late; another program by now; ended.
        let mut late = Scene::new(Covert);
        late.time += STARTS_WITHIN + 1;
        run(&scene, &mut scripts, "x.js");
        assert!(!is_script(&late, &mut scripts, &script));
        run(&scene, &mut scripts, "x.js");
        let cat = exec("/usr/bin/cat", &["cat", "x.js"]);
        scripts.executed(&scene.effect(Action::Exec(&cat)), &cat, None);
        assert!(!is_script(&scene, &mut scripts, &script));
        run(&scene, &mut scripts, "x.js");
        scripts.forget("server-2");
        assert_eq!(scripts.runs.len(), 1);
        scripts.forget("server-1");
        assert!(scripts.runs.is_empty());
    }

    #[test]
    fn what_is_awaited_is_bounded_and_the_oldest_goes() {
        let (mut scene, mut scripts) = (Scene::new(Covert), Scripts::default());
        for number in 0..2 * AWAITED {
            scene.process.entity_id = format!("{number}-1");
            run(&scene, &mut scripts, "x.js");
            run(&scene, &mut scripts, &"x".repeat(PATH_MAX));
            run(&scene, &mut scripts, "x.js");
        }
        assert_eq!(scripts.runs.len(), AWAITED);
        let script = open("/srv/x.js", libc::O_RDONLY);
        for (number, is) in [(AWAITED - 1, false), (AWAITED, true), (2 * AWAITED - 1, true)] {
            scene.process.entity_id = format!("{number}-1");
            assert_eq!(is_script(&scene, &mut scripts, &script), is, "{number}");
        }
    }
}
