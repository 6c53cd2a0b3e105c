//! `sensitive_file_read`: a file that holds credentials, or is private to a person, was opened to read.

use std::borrow::Cow;

use globset::GlobSet;
use serde::Deserialize;

use super::ATLAS_VERSION;
use crate::detect::paths::{self, file_name, is_broad, is_within, normal, parent, spellings};
use crate::detect::patterns::{self, Patterns};
use crate::detect::programs::in_system_folder;
use crate::detect::reason::{OBJECT, cause, circumstances, clip, evidence, quote, server};
use crate::detect::{
    Action, DetectError, Effect, Finding, Knowledge, Rule, RuleInfo, Severities, data,
};
use crate::event::{Open, Operation};
use crate::record::{AlertEvidence, Process, Relation, Severity, Tags};

/// What it is.
pub static INFO: RuleInfo = RuleInfo {
    id: "sensitive_file_read",
    title: "Sensitive file read by an MCP server",
    severities: Severities {
        requested: Severity::High,
        covert: Severity::Critical,
        background: Severity::Critical,
        startup: Some(Severity::Critical),
        refused: Some(Severity::Medium),
        absent: Some(Severity::Low),
    },
    tags: Tags {
        attack: &["T1552.001", "T1552.004", "T1003.008"],
        atlas: &["AML.T0055", "AML.T0037"],
        owasp_mcp: &["MCP01"],
        owasp_llm: &["LLM02"],
    },
    atlas_version: ATLAS_VERSION,
    description: "What a server reads can reach the model, and from there anyone: a key, token, password \
        or history that a server opens must be taken as disclosed.",
    trigger: "A process of the server's tree opens a file of rules/sensitive-files.toml for reading, or \
        gives one, or the folder of its own it lies in, another name (rename, hard link), or tries to. The \
        path is that of the opened file, whatever link or `..` led to it; an argument that names such a \
        file counts too, and so does its path on the host when it is mounted into a container.",
    explained_by: &[
        "a launcher that is still on the way to the server, for the tokens of registries",
        "`allow.read` of the server's settings",
        "a path the server was given that is the file or its own folder (`~/.ssh`, not `~`)",
        "files of a project (`.env`): a folder the server was given, when the call's arguments name the \
         file; at start-up also the server's own, in its working directory or one above",
        "the program the file is made for, from a system folder (`ssh` and its keys); `curl` not where its own \
         command line may name the file, `git` only as `git credential-store`",
        "a server package the file is made for, named in its own launch",
        "a process's own `/proc/self/environ`",
    ],
    playbook: "Check first: did the user ask for this file (relation `requested`), and did the content \
        leave: look at the call's result and at connections after the read. A covert read is an incident: \
        stop the server, change the secret, and look for the instruction that led to it in what the \
        model had read. A requested read may be the model following injected text: see who wrote the \
        request. If the server needs the file, name it in `allow.read` of its settings.",
    yields_to: &["mcp_config_read", "mcp_config_write"],
};

const FILE: &str = "sensitive-files.toml";
const TEXT: &str = include_str!("../../../../rules/sensitive-files.toml");

/// What stands around the name of a file in a word of a command line (`-F x=@~/.netrc;type=text/plain`).
const AROUND_NAMES: &[char] = &['/', '=', '@', '<', ':', ';', ',', ' ', '"', '\'', '{', '}'];

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    category: Vec<Category>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Category {
    name: String,
    title: String,
    paths: Vec<String>,
    #[serde(default)]
    except: Vec<String>,
    #[serde(default)]
    owners: Vec<String>,
    #[serde(default)]
    told: Vec<String>,
    #[serde(default)]
    named_by: Vec<String>,
    #[serde(default)]
    hidden: Vec<String>,
    #[serde(default)]
    packages: Vec<String>,
    #[serde(default)]
    launchers: bool,
    #[serde(default)]
    scope: Scope,
    #[serde(default)]
    own: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Scope {
    /// The file belongs to a person or to the system.
    #[default]
    Home,
    /// The file belongs to the folder it lies in.
    Project,
}

impl patterns::Category for Category {
    fn paths(&self) -> &[String] {
        &self.paths
    }

    fn except(&self) -> &[String] {
        &self.except
    }
}

/// What a path was found to be.
#[derive(Clone, Copy, Debug)]
struct Meaning {
    /// Number of the category.
    category: usize,
    /// How many last components of a matching path lie below the pattern's own folder.
    below_own_folder: usize,
}

/// A sensitive file that a server took, and nothing explains.
pub(super) struct Unexplained<'a> {
    taken: Taken<'a>,
    /// The spelling of its path that is sensitive.
    pub(super) path: Cow<'a, str>,
    category: &'a Category,
}

impl Unexplained<'_> {
    /// What became of it: as of the system call.
    pub(super) fn result(&self) -> Result<i32, i32> {
        self.taken.result
    }

    /// What was done to which file, to stand after the server's name.
    pub(super) fn did(&self) -> String {
        let verb = self.taken.verb();
        format!("{verb} {} ({})", self.category.title, quote(&self.path))
    }

    pub(super) fn evidence(&self) -> Vec<AlertEvidence> {
        let mut found = vec![evidence("path", self.taken.path)];
        found.extend(self.taken.host_path.map(|path| evidence("host_path", path)));
        if self.taken.argument != self.taken.path {
            found.push(evidence("open_argument", self.taken.argument));
        }
        found.push(evidence("category", &self.category.name));
        found
    }

    pub(super) fn object(&self) -> String {
        clip(&self.path, OBJECT).into_owned()
    }
}

/// The rule.
pub(super) struct SensitiveFileRead {
    categories: Vec<Category>,
    files: Patterns,
    /// Folders that exist for such files, and the category of each glob.
    folders: GlobSet,
    folder_categories: Vec<usize>,
    /// Server packages the files are made for, by category.
    packages: Vec<GlobSet>,
}

/// Makes the rule.
pub fn build(knowledge: &Knowledge) -> Result<Box<dyn Rule>, DetectError> {
    Ok(Box::new(SensitiveFileRead::new(knowledge)?))
}

impl SensitiveFileRead {
    pub(super) fn new(knowledge: &Knowledge) -> Result<Self, DetectError> {
        let broken =
            |error: globset::Error| DetectError::Data { file: FILE, message: error.to_string() };
        let Tables { category: categories } = data(FILE, TEXT)?;
        let homes = &knowledge.homes;
        let mut folders = globset::GlobSetBuilder::new();
        let mut folder_categories = Vec::new();
        for (number, category) in categories.iter().enumerate() {
            for pattern in &category.paths {
                if let Some(folder) = own_folder(pattern) {
                    for glob in paths::expand(folder, homes).map_err(broken)? {
                        folders.add(glob);
                        folder_categories.push(number);
                    }
                }
            }
        }
        let packages = categories
            .iter()
            .map(|category| paths::set(category.packages.iter().map(String::as_str), homes))
            .collect::<Result<_, _>>()
            .map_err(broken)?;
        Ok(Self {
            files: Patterns::new(FILE, &categories, homes)?,
            folders: folders.build().map_err(broken)?,
            folder_categories,
            packages,
            categories,
        })
    }

    /// The sensitive file that the effect took, unless something explains that.
    pub(super) fn unexplained<'a>(
        &'a self,
        effect: &Effect<'a>,
        knowledge: &mut Knowledge,
    ) -> Option<Unexplained<'a>> {
        let taken = Taken::of(effect.action)?;
        let (path, meaning) = taken
            .spellings()
            .find_map(|path| self.meaning_of(&taken, &path).map(|meaning| (path, meaning)))?;
        let category = self.categories.get(meaning.category)?;
        let explained = self.is_explained(effect, &taken, &path, meaning, category, knowledge);
        (!explained).then_some(Unexplained { taken, path, category })
    }
}

impl Rule for SensitiveFileRead {
    fn info(&self) -> &'static RuleInfo {
        &INFO
    }

    fn check(&mut self, effect: &Effect<'_>, knowledge: &mut Knowledge) -> Option<Finding> {
        let found = self.unexplained(effect, knowledge)?;
        let severity = INFO.severities.of_result(effect.attribution.relation, found.result())?;
        let mut evidence = found.evidence();
        circumstances(effect, &mut evidence);
        Some(Finding {
            rule: INFO.id,
            severity,
            reason: format!("Server {} {} {}.", server(effect), found.did(), cause(effect)),
            evidence,
            object: found.object(),
        })
    }
}

/// A file whose content the server took, or may take under the name it has now.
pub(super) struct Taken<'a> {
    pub(super) path: &'a str,
    inner_path: Option<&'a str>,
    host_path: Option<&'a str>,
    pub(super) argument: &'a str,
    pub(super) result: Result<i32, i32>,
    /// It may be a folder, and counts for what lies in it.
    pub(super) as_whole: bool,
    /// What was done, and what was tried, in words.
    verbs: (&'static str, &'static str),
}

impl<'a> Taken<'a> {
    /// What was done, or tried, in words.
    pub(super) fn verb(&self) -> &'static str {
        let (done, tried) = self.verbs;
        if self.result.is_ok() { done } else { tried }
    }

    /// Every path by which a program may have meant the file.
    pub(super) fn spellings(&self) -> impl Iterator<Item = Cow<'a, str>> + use<'a> {
        spellings(self.path, self.inner_path, self.host_path, self.argument)
    }

    pub(super) fn of(action: Action<'a>) -> Option<Self> {
        match action {
            Action::Open(open) if open.reads() && !is_directory(open) => Some(Self {
                path: &open.path,
                inner_path: open.inner_path.as_deref(),
                host_path: open.host_path.as_deref(),
                argument: &open.argument,
                result: open.result,
                as_whole: false,
                verbs: ("read", "tried to read"),
            }),
            Action::Change(change) => {
                let place = change.renamed()?;
                Some(Self {
                    path: &place.path,
                    inner_path: place.inner_path.as_deref(),
                    host_path: place.host_path.as_deref(),
                    argument: &place.argument,
                    result: change.result.map(|()| 0),
                    as_whole: change.operation == Operation::Rename,
                    verbs: match change.operation {
                        Operation::Link => {
                            ("gave another name to", "tried to give another name to")
                        }
                        _ => ("renamed", "tried to rename"),
                    },
                })
            }
            _ => None,
        }
    }
}

impl SensitiveFileRead {
    /// What the file is, when it is sensitive. A folder gives what it holds another name, too.
    fn meaning_of(&self, taken: &Taken<'_>, path: &str) -> Option<Meaning> {
        self.meaning(path).or_else(|| {
            if !taken.as_whole {
                return None;
            }
            let number = self.folders.matches(path).into_iter().next()?;
            let category = *self.folder_categories.get(number)?;
            Some(Meaning { category, below_own_folder: 0 })
        })
    }

    /// What the path is, when it is sensitive.
    fn meaning(&self, path: &str) -> Option<Meaning> {
        let found = self.files.find(path)?;
        let pattern = self.categories.get(found.category)?.paths.get(found.pattern)?;
        Some(Meaning { category: found.category, below_own_folder: below_own_folder(pattern) })
    }

    fn is_explained(
        &self,
        effect: &Effect<'_>,
        taken: &Taken<'_>,
        path: &str,
        meaning: Meaning,
        category: &Category,
        knowledge: &mut Knowledge,
    ) -> bool {
        let given = effect.given;
        let relation = effect.attribution.relation;
        (category.launchers && effect.launching)
            || (category.own && is_own(effect, taken))
            || is_owner(category, effect, taken)
            || given.paths.iter().any(|given| {
                let given = normal(given);
                let depth = components(path).saturating_sub(components(&given));
                is_within(path, &given)
                    && match category.scope {
                        Scope::Home => depth <= meaning.below_own_folder,
                        Scope::Project => {
                            depth == 0
                                || (relation == Relation::Requested
                                    && !is_broad(&given, &knowledge.homes))
                        }
                    }
            })
            || (category.scope == Scope::Project
                && relation == Relation::Startup
                && is_servers_own(effect, path, &knowledge.homes))
            || self
                .packages
                .get(meaning.category)
                .is_some_and(|packages| given.argv.iter().any(|word| packages.is_match(word)))
            || knowledge.policy.allows_read(&given.allow, path)
            || (path != taken.path && knowledge.policy.allows_read(&given.allow, taken.path))
    }
}

fn is_directory(open: &Open) -> bool {
    open.mode & libc::S_IFMT == libc::S_IFDIR
        || ((open.result.is_err() || open.result_unknown)
            && open.flags.cast_signed() & libc::O_DIRECTORY != 0)
}

/// Whether a file of /proc is the process's own.
fn is_own(effect: &Effect<'_>, taken: &Taken<'_>) -> bool {
    // In a container the number in the path is that of the container's pid namespace.
    let by_name = effect.process.container.is_some()
        && ["/proc/self/", "/proc/thread-self/"].iter().any(|own| taken.argument.starts_with(own));
    by_name
        || taken
            .path
            .strip_prefix("/proc/")
            .and_then(|rest| rest.split('/').next())
            .is_some_and(|pid| pid.parse() == Ok(effect.process.pid))
}

/// Whether the program is one the files are made for, and reads this one on its own account.
fn is_owner(category: &Category, effect: &Effect<'_>, taken: &Taken<'_>) -> bool {
    let process = effect.process;
    let is_in = |programs: &[String]| programs.iter().any(|one| one == file_name(&process.exe));
    is_in(&category.owners)
        && in_system_folder(&process.exe)
        && !(is_in(&category.told) && is_told(category, process, taken))
}

/// Whether a command line names the file for somebody else to see (`curl -T ~/.netrc`). The name alone counts, whatever
/// folder it stands in: the program may work in another one than it was started in. A `file:` URL may spell it in many
/// ways, and so may braces and brackets, which curl expands; those of JSON come with quotes. Of a command line that is not
/// whole, nobody knows.
fn is_told(category: &Category, process: &Process, taken: &Taken<'_>) -> bool {
    let may_follow = |word: &str| category.named_by.iter().any(|named| named == word);
    if process.argv_cut || process.argv_masked {
        return true;
    }
    let Some((called, words)) = process.argv.split_first() else { return false };
    if category.named_by.iter().any(|named| !named.starts_with('-')) {
        // `git-diff` is `git diff`, whatever follows.
        let command = file_name(called).strip_prefix("git-");
        return !command.or(words.first().map(String::as_str)).is_some_and(may_follow);
    }
    let files = [taken.path, taken.argument].map(file_name);
    let is_file = |part: &str| !part.is_empty() && files.contains(&part);
    let is_url =
        |word: &str| word.get(..5).is_some_and(|scheme| scheme.eq_ignore_ascii_case("file:"));
    let is_option = |word: &str| word.starts_with('-');
    // `-T.netrc`.
    let attached = |word: &str| {
        is_option(word) && files.iter().any(|file| !file.is_empty() && word.ends_with(file))
    };
    // `-sK`, `--conf`.
    let is_hidden = |word: &str| {
        category.hidden.iter().any(|hidden| match hidden.strip_prefix('-') {
            Some(letter) if letter.len() == 1 => {
                is_option(word) && !word.starts_with("--") && word.contains(letter)
            }
            _ => word.len() > 5 && hidden.starts_with(word),
        })
    };
    let expands = |word: &str| word.contains(['{', '[']) && !word.contains('"');
    let mut own_follows = false;
    words.iter().any(|word| {
        let own = own_follows && !is_option(word) && !is_url(word) && !expands(word);
        own_follows = is_option(word) && may_follow(word);
        !own && (is_url(word)
            || attached(word)
            || is_hidden(word)
            || expands(word)
            || word.split(AROUND_NAMES).any(is_file))
    })
}

/// Whether a project's file lies where programs look for their own: in the directory the server was started in or above,
/// or beside what the launch names. Not in a home, which is nobody's project.
fn is_servers_own(effect: &Effect<'_>, path: &str, homes: &[String]) -> bool {
    let folder = parent(path);
    let given = effect.given;
    let places = given.folders.iter().chain(&given.argv).chain(&given.paths);
    !is_broad(folder, homes) && places.into_iter().any(|place| is_within(place, folder))
}

/// Length of the rest of a pattern from its first component with a wildcard, or of its last component:
/// what lies above is the pattern's own folder.
fn below_own_folder(pattern: &str) -> usize {
    let parts: Vec<&str> = pattern.split('/').collect();
    let wild = |part: &&str| part.contains(['*', '?', '[', '{']);
    let fixed = parts.iter().skip(1).position(wild).map_or(parts.len(), |at| at + 1);
    if pattern.starts_with("**/") { 1 } else { (parts.len() - fixed).max(1) }
}

/// The folder of a pattern that exists for its files: below a home, and hidden there.
fn own_folder(pattern: &str) -> Option<&str> {
    let below = below_own_folder(pattern);
    let (end, _) = pattern.rmatch_indices('/').nth(below.checked_sub(1)?)?;
    pattern.get(..end).filter(|folder| folder.starts_with("~/.") && !paths::SHARED.contains(folder))
}

fn components(path: &str) -> usize {
    path.split('/').filter(|part| !part.is_empty()).count()
}

#[cfg(test)]
mod tests;
