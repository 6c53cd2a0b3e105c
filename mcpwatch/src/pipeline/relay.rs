//! A server in a container and the runtime's client that hands its channel on are one server.
//!
//! `podman run -i` reads what the MCP client says and hands it to what runs inside, which answers the same
//! way. The runtime's client is what the MCP client started: it keeps the id, the configuration's name and the
//! evidence. What runs inside is its *voice*: from then on the channel is read there, since that is where the
//! server hears and answers, and what it does is the server's doing. What the runtime's client itself hears and
//! says is a repetition and is left out.
//!
//! The two are told to belong together by what they hear, and by where the one inside stands: below the
//! runtime's client (podman, nerdctl), or anywhere (docker, whose daemon starts it), when the command line
//! names the container or its image, or nobody else heard the same.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

use crate::event::{Direction, EventKind, Payload};
use crate::session::Conversation;

use super::Pipeline;
use super::candidates::NESTING;
use super::instance::{Instance, OwnedProgram, Role, SNIFFING};
use super::verdict::LOOKING;

/// Programs whose stdin and stdout are those of something in a container.
const RUNTIME_CLIENTS: &[&str] = &["docker", "podman", "nerdctl", "ctr", "crictl", "kubectl"];
/// What runs on the way from one of those to the process inside.
const RUNTIMES: &[&str] = &["conmon", "crun", "runc", "youki", "systemd-nspawn", "lxc-start"];
/// How long a message may take from the runtime's client to the server, in nanoseconds. Starting a container is
/// part of that.
const UNDER_WAY: u64 = 60_000_000_000;
/// Most messages that are remembered for comparison.
const REMEMBERED: usize = 16;
/// Shortest line that tells one conversation from another, in bytes.
const TELLING: usize = 40;
/// Bytes of a line that are compared.
const COMPARED: usize = 4 << 10;

/// The runtime's client that a program is.
#[must_use]
pub fn is_runtime_client(program: &OwnedProgram) -> bool {
    let name = |path: &str| path.rsplit('/').next().unwrap_or_default().to_owned();
    let named = program.argv.first().map(|word| name(word)).unwrap_or_default();
    let executed = name(&program.exe);
    RUNTIME_CLIENTS.iter().any(|client| *client == named || *client == executed)
}

/// The process belongs to a container runtime.
#[must_use]
pub fn is_runtime(exe: &str, argv: &[String]) -> bool {
    // Some run out of an unnamed copy of themselves, so that a container cannot change them.
    let names = argv.first().map(String::as_str).into_iter().chain([exe]);
    names
        .filter_map(|path| path.rsplit('/').next())
        .any(|name| RUNTIMES.contains(&name) || RUNTIME_CLIENTS.contains(&name))
}

/// The last messages that were heard on a channel, as far as needed to find them again on another.
#[derive(Debug, Default)]
pub struct Heard {
    lines: VecDeque<(u64, u64)>,
    hasher: DefaultHasher,
    /// Bytes of the line so far; `None` in a line whose beginning was not seen.
    length: Option<usize>,
    /// Where the next byte is expected.
    next: u64,
    /// The first line, when it was seen whole and tells something.
    first: Option<u64>,
    /// A line has ended.
    began: bool,
}

/// How far a conversation has been followed, in bytes of each direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Position {
    heard: u64,
    said: u64,
}

impl Position {
    /// The part of what was moved that has not been followed yet; none when all of it was.
    pub fn rest(&mut self, payload: &Payload) -> Option<Payload> {
        let position = match payload.direction {
            Direction::ClientToServer => &mut self.heard,
            Direction::ServerToClient => &mut self.said,
        };
        let known = position.saturating_sub(payload.offset);
        let fresh = payload.data.get(usize::try_from(known).ok()?..)?;
        // Where bytes were left out of a long message, more of it was moved than is here.
        *position = payload.offset.saturating_add(payload.data.len() as u64).max(*position);
        if fresh.is_empty() && known > 0 {
            return None;
        }
        Some(Payload { offset: payload.offset + known, data: fresh.to_vec(), ..payload.clone() })
    }
}

impl Heard {
    /// Bytes that were read from stdin.
    pub fn note(&mut self, time: u64, payload: &Payload) {
        if payload.direction != Direction::ClientToServer {
            return;
        }
        if payload.offset != self.next || payload.offset == 0 {
            self.length = (payload.offset == 0).then_some(0);
            self.hasher = DefaultHasher::new();
        }
        self.next = payload.offset.saturating_add(payload.data.len() as u64);
        for piece in payload.data.split_inclusive(|byte| *byte == b'\n') {
            let (line, ended) = match piece.strip_suffix(b"\n") {
                Some(line) => (line, true),
                None => (piece, false),
            };
            if let Some(length) = &mut self.length {
                let room = COMPARED.saturating_sub(*length);
                self.hasher.write(line.get(..room).unwrap_or(line));
                *length = length.saturating_add(line.len());
            }
            if ended {
                if self.length.is_some_and(|length| length >= TELLING) {
                    if self.lines.len() >= REMEMBERED {
                        self.lines.pop_front();
                    }
                    let line = self.hasher.finish();
                    if !self.began {
                        self.first = Some(line);
                    }
                    self.lines.push_back((time, line));
                }
                self.began = true;
                self.length = Some(0);
                self.hasher = DefaultHasher::new();
            }
        }
    }

    /// How much was heard here first and at `other` later.
    fn reached(&self, other: &Self) -> usize {
        let here = |(later, line): &&(u64, u64)| {
            self.lines
                .iter()
                .any(|(first, same)| line == same && first <= later && later - first <= UNDER_WAY)
        };
        other.lines.iter().filter(here).count()
    }
}

impl Pipeline {
    /// Takes a candidate that turns out to be a server for what it is: true when it is one in a container that
    /// the runtime's client speaks for, or may yet turn out to be.
    pub(super) fn is_voice(&mut self, id: u64) -> bool {
        match self.relay_of(id) {
            Relay::Is(relay) => {
                self.join(relay, id);
                true
            }
            Relay::MayBe => true,
            Relay::None => false,
        }
    }

    fn relay_of(&self, id: u64) -> Relay {
        let Some(inner) = self.instances.get(&id) else { return Relay::None };
        let shown = self.processes.get(inner.founder).map(|entry| &entry.shown);
        let Some(container) = shown.and_then(|shown| shown.container.as_ref()) else {
            return Relay::None;
        };
        let free = |one: &&Instance| {
            // An editor that works in a container hands other things on.
            let hands_on_mcp = match &one.role {
                Role::Candidate(held) => !held.heard_no_json(),
                Role::Server(_) => true,
                Role::Helper => false,
            };
            hands_on_mcp && one.id != id && one.runtime_client && one.private && one.voice.is_none()
        };
        let mut around = inner.outer;
        for _ in 0..NESTING {
            let Some(one) = self.instances.get(&around) else { break };
            if free(&one) {
                return Relay::Is(one.id);
            }
            around = one.outer;
        }
        // Elsewhere: the daemon started it.
        let others: Vec<&Instance> = self.instances.values().filter(free).collect();
        let named = |one: &Instance| {
            let words = || one.programs.iter().flat_map(|program| &program.argv);
            let is = |word: &str, name: &str| {
                word == name
                    || word
                        .split_once('=')
                        .is_some_and(|(flag, value)| flag.starts_with('-') && value == name)
            };
            let names =
                [container.name.as_deref(), container.image.as_deref(), Some(&*container.id)];
            names.into_iter().flatten().any(|name| words().any(|word| is(word, name)))
        };
        let reached = |one: &&Instance| one.heard.reached(&inner.heard);
        let most = others.iter().map(reached).max().unwrap_or(0).max(1);
        let by_name: Vec<&&Instance> = others.iter().filter(|one| named(one)).collect();
        let by_word: Vec<&&Instance> = others.iter().filter(|one| reached(one) == most).collect();
        let by_both: Vec<&&Instance> =
            by_name.iter().copied().filter(|one| reached(one) == most).collect();
        for fitting in [&by_both, &by_name, &by_word] {
            if let [one] = fitting.as_slice() {
                return Relay::Is(one.id);
            }
        }
        // Nothing was said yet, or what was said fits several: more will tell.
        let young = self.now.saturating_sub(inner.since) <= LOOKING;
        let open = inner.heard.lines.is_empty() || by_name.len() > 1 || by_word.len() > 1;
        if young && open && !others.is_empty() { Relay::MayBe } else { Relay::None }
    }

    /// Makes `inner` the voice of `relay`.
    fn join(&mut self, relay: u64, inner: u64) {
        let Some(instance) = self.instances.get_mut(&inner) else { return };
        let before = std::mem::replace(&mut instance.role, Role::Helper);
        let Role::Candidate(mut held) = before else {
            instance.role = before;
            return;
        };
        if instance.outer == 0 {
            instance.outer = relay;
        }
        instance.voice_of = Some(relay);
        let (founder, programs) = (instance.founder, instance.programs.clone());
        let missed = instance.missed;
        let first = instance.heard.first;
        let (mut events, left_out) = held.take_effects();
        self.losses.add("pipeline", "candidates", "held_full", left_out);
        events.extend(held.release().0);
        events.sort_by_key(|event| event.time);
        let Some(outer) = self.instances.get_mut(&relay) else { return };
        outer.voice = Some(inner);
        for program in programs {
            outer.add_program(founder, program);
        }
        match &mut outer.role {
            Role::Candidate(held) => {
                // Nothing was told yet: it is told from inside alone.
                held.forget_said();
                outer.position = Position::default();
                outer.conversation = Conversation::new(&SNIFFING);
                if missed {
                    outer.conversation.may_have_missed();
                }
                for event in events {
                    if let EventKind::Payload(payload) = &event.kind {
                        outer.conversation.bytes(event.time, payload, &mut Vec::new());
                    }
                    held.push(event);
                }
                self.judge(relay);
            }
            Role::Server(_) => {
                // The bytes are the same, so the conversation goes on inside from where it stands, unless one of
                // the two was watched from another point on. Then it stays where it is.
                if outer.heard.first != first && outer.position != Position::default() {
                    outer.voice = None;
                    outer.runtime_client = false;
                    if let Some(one) = self.instances.get_mut(&inner) {
                        one.voice_of = None;
                    }
                }
                self.take_in(relay);
                for event in events {
                    self.admit(&event);
                }
                self.given_changed(relay);
                self.started_by_server(relay);
            }
            Role::Helper => {}
        }
    }

    /// The instance whose channel an event on this one's belongs to: another, itself, or none when it only
    /// repeats what is heard elsewhere.
    pub(super) fn channel_of(&self, id: u64) -> Option<u64> {
        let instance = self.instances.get(&id)?;
        match (instance.voice, instance.voice_of) {
            (Some(_), _) => None,
            (None, Some(relay)) => Some(relay),
            (None, None) => Some(id),
        }
    }
}

enum Relay {
    None,
    MayBe,
    Is(u64),
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: &str = r#"{"jsonrpc":"2.0","id":0,"method":"initialize","params":{}}"#;

    fn heard(pieces: &[(u64, u64, &str)]) -> Heard {
        let mut heard = Heard::default();
        for (time, offset, text) in pieces {
            let data = text.as_bytes().to_vec();
            let direction = Direction::ClientToServer;
            heard.note(*time, &Payload { direction, offset: *offset, data, last: true });
        }
        heard
    }

    #[test]
    fn the_same_line_is_recognised_in_other_pieces() {
        let whole = heard(&[(5, 0, &format!("{ASKED}\n"))]);
        for cut in 0..=ASKED.len() {
            let (left, right) = ASKED.split_at(cut);
            let right = format!("{right}\nmore");
            let pieces = heard(&[(6, 0, left), (7, cut as u64, &right)]);
            assert_eq!(whole.reached(&pieces), 1, "{cut}");
            assert_eq!(pieces.reached(&whole), 0, "{cut}: it was heard there later");
        }
    }

    #[test]
    fn other_lines_short_ones_and_those_after_a_hole_are_not() {
        let line = format!("{ASKED}\n");
        let whole = heard(&[(5, 0, &line)]);
        assert_eq!(whole.reached(&heard(&[(6, 0, &line.replace(":0,", ":1,"))])), 0);
        assert_eq!(whole.reached(&heard(&[(6, 1, &line)])), 0, "the beginning is missing");
        assert_eq!(
            whole.reached(&heard(&[(6, 1, &format!("x\n{line}"))])),
            1,
            "a line begins anew"
        );
        assert_eq!(whole.reached(&heard(&[(5 + UNDER_WAY + 1, 0, &line)])), 0);
        let short = heard(&[(5, 0, "{}\n")]);
        assert_eq!(short.reached(&heard(&[(6, 0, "{}\n")])), 0);
    }

    #[test]
    fn a_conversation_goes_on_where_it_stands() {
        let piece = |offset, text: &str| Payload {
            direction: Direction::ClientToServer,
            offset,
            data: text.as_bytes().to_vec(),
            last: true,
        };
        let mut position = Position::default();
        let mut rest = |offset, text: &str| {
            let rest = position.rest(&piece(offset, text))?;
            Some((rest.offset, String::from_utf8(rest.data).unwrap()))
        };
        let whole = |offset, text: &str| Some((offset, text.to_owned()));
        assert_eq!(rest(0, "abc"), whole(0, "abc"));
        assert_eq!(rest(0, "ab"), None);
        assert_eq!(rest(1, "bc"), None);
        assert_eq!(rest(1, "bcde"), whole(3, "de"));
        assert_eq!(rest(5, "f"), whole(5, "f"));
        assert_eq!(rest(9, "g"), whole(9, "g"), "a hole stays one");
        assert_eq!(rest(0, "abc"), None);
        let other = Payload { direction: Direction::ServerToClient, ..piece(0, "x") };
        assert!(position.rest(&other).is_some(), "each direction has its own");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let many = format!("{ASKED}\n").repeat(10_000);
        let all = heard(&[(5, 0, &many)]);
        assert_eq!(all.lines.len(), REMEMBERED);
        let long = format!("{}\n", "x".repeat(3 << 20));
        let first = heard(&[(5, 0, &long)]);
        assert_eq!(first.reached(&heard(&[(6, 0, &long)])), 1);
    }

    #[test]
    fn clients_of_runtimes_are_told_by_their_names() {
        let program = |exe: &str, first: &str| OwnedProgram {
            exe: exe.into(),
            argv: vec![first.into(), "run".into()],
            cwd: "/".into(),
            ..OwnedProgram::default()
        };
        assert!(is_runtime_client(&program("/usr/bin/podman", "podman")));
        assert!(is_runtime_client(&program("/usr/libexec/real", "/opt/bin/docker")));
        assert!(is_runtime_client(&program("/snap/docker/bin/docker", "x")));
        assert!(!is_runtime_client(&program("/usr/bin/docker-proxy", "docker-proxy")));
        assert!(!is_runtime_client(&program("/usr/bin/dockerd", "")));
    }
}
