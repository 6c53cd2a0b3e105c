//! One watched instance: a candidate, a server, or the helper of a server.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use crate::attribute::{Mentions, Suspect};
use crate::detect::Given;
use crate::discover::launcher::{self, Launch};
use crate::discover::matching::Program;
use crate::event::{Direction, Event, EventKind, Exec, Payload, Place, Privilege, ProcessKey};
use crate::record::{Container, ExitDetail, Server};
use crate::session::{Call, Conversation, methods};
use crate::wire::Limits;

use super::effects::Reference;
use super::folders::Folders;
use super::naming::Naming;
use super::outlived::Outlived;
use super::relay::{Heard, Position, is_runtime, is_runtime_client};

/// Most calls in flight that an effect is held against, the youngest: work for each effect is bounded, and
/// more than this in flight is no ordinary use.
const SUSPECTS: usize = 64;
/// Most programs of wrappers that are kept as evidence, the first and the latest.
const PROGRAMS: usize = 8;
/// Most of them, beside the first, that stay because the founder executed them. Two have to be left to give way, and
/// one for a package launcher.
const OWN: usize = 4;

/// Most calls of which the end is remembered: what a call left behind is told from what is just ending.
const ANSWERED: usize = 256;

/// A server, or what may become one.
#[derive(Debug)]
pub struct Instance {
    /// Its id in the kernel's maps.
    pub id: u64,
    /// Its first process.
    pub founder: ProcessKey,
    /// When it was founded, nanoseconds of `CLOCK_BOOTTIME`.
    pub born: u64,
    /// Since when it is known: later than its founding when it ran before the agent.
    pub since: u64,
    /// The instance its founder belonged to before; 0 when none.
    pub outer: u64,
    /// Inodes of its channel, stdin and stdout; 0 when it has none.
    pub channel: (u64, u64),
    /// Its stdin and stdout were made for it alone.
    pub private: bool,
    /// Living processes.
    pub members: BTreeSet<ProcessKey>,
    /// What was executed on its channel, the wrappers first.
    pub programs: Vec<OwnedProgram>,
    /// When the last of them was executed that was held: they are known when it is told.
    pub noted: u64,
    /// The configurations around its founder have been read: weaker evidence may name it now.
    pub looked: bool,
    /// Path of its founder's cgroup; empty when unknown.
    pub cgroup: String,
    /// It was founded before system calls were watched: something of its start was not seen.
    pub missed: bool,
    /// One of its own processes wrote to its stdin: what looks like a request may be its own.
    pub tampered: bool,
    /// Where the folders lie that it is confined to.
    pub(super) folders: Folders,
    /// What is said on its channel, or on that of its voice.
    pub conversation: Conversation,
    /// A program on its channel is the client of a container runtime, which hands the channel on.
    pub runtime_client: bool,
    /// What was heard on its channel lately.
    pub heard: Heard,
    /// How far its conversation has been followed.
    pub position: Position,
    /// The instance in a container that it hands its channel on to: see [`super::relay`].
    pub voice: Option<u64>,
    /// The runtime's client that it is the voice of.
    pub voice_of: Option<u64>,
    /// What it is.
    pub role: Role,
    /// How its founder ended, once it has.
    pub exit: Option<ExitDetail>,
}

/// What an instance is.
#[derive(Debug)]
pub enum Role {
    /// It may be a server: what it does is held.
    Candidate(Held),
    /// It is a server.
    Server(Box<Serving>),
    /// It is no server, but belongs to one, or to what may be one (`outer`).
    Helper,
}

/// A server's state.
#[derive(Debug)]
pub struct Serving {
    /// What records show.
    pub shown: Arc<Server>,
    /// Id of the outermost server around it, or its own.
    pub family: Arc<str>,
    /// The container its founder runs in.
    pub within: Option<Arc<Container>>,
    /// What it was given.
    pub given: Arc<Given>,
    /// Its calls in flight, by number.
    pub calls: BTreeMap<u64, Suspect>,
    /// Those that may be the cause of what it does, as a row, for attribution.
    pub in_flight: Vec<Suspect>,
    /// Numbers of the calls in flight that are no cause of what it does: their answer was probably lost.
    pub doubtful: BTreeSet<u64>,
    /// When its last calls ended, nanoseconds of `CLOCK_BOOTTIME`, by number.
    pub answered: BTreeMap<u64, u64>,
    /// Calls that ended before processes that were forked in them.
    pub(super) outlived: Outlived,
    /// Problems on the channel that were not published since the last one that was.
    pub problems: Flood,
    /// What it asked name service, and was told.
    pub naming: Naming,
    /// What was said of the calls that its last effects belong to.
    pub reference: Reference,
}

impl Serving {
    /// A call began. What only stands open ([`methods::Method::standing`]) is the cause of nothing.
    pub fn started(&mut self, call: &Arc<Call>) {
        let stands = methods::find(&call.method).is_some_and(|method| method.standing);
        if call.direction == Direction::ClientToServer && !stands {
            let mentions = Arc::new(Mentions::of_call(call));
            self.calls.insert(call.number, Suspect { call: Arc::clone(call), mentions });
            self.refresh();
        }
    }

    /// A call ended. Gives earlier ones whose arguments are to be kept no longer.
    pub fn ended(&mut self, call: &Call, time: u64) -> Vec<Weak<Mentions>> {
        let Some(suspect) = self.calls.remove(&call.number) else { return Vec::new() };
        self.doubtful.remove(&call.number);
        self.answered.insert(call.number, time);
        if self.answered.len() > ANSWERED {
            self.answered.pop_first();
        }
        self.reference.forget();
        self.refresh();
        self.outlived.add(&suspect)
    }

    /// The answer to a call was probably lost.
    pub fn in_doubt(&mut self, call: &Call) {
        if self.calls.contains_key(&call.number) && self.doubtful.insert(call.number) {
            self.refresh();
        }
    }

    /// The progress of a call was told: its answer has yet to come.
    pub fn in_progress(&mut self, call: &Call) {
        if self.doubtful.remove(&call.number) {
            self.refresh();
        }
    }

    /// How long a call has been answered at `time`, in nanoseconds: nothing while it is in flight. `None` for
    /// one that ended too long ago to be remembered.
    #[must_use]
    pub fn since(&self, call: &Call, time: u64) -> Option<u64> {
        match self.answered.get(&call.number) {
            Some(answered) => Some(time.saturating_sub(*answered)),
            None => self.calls.contains_key(&call.number).then_some(0),
        }
    }

    fn refresh(&mut self) {
        let causes = self.calls.iter().filter(|(number, _)| !self.doubtful.contains(number));
        let row: Vec<Suspect> =
            causes.rev().take(SUSPECTS).map(|(_, suspect)| suspect.clone()).collect();
        self.in_flight = row.into_iter().rev().collect();
    }
}

/// Keeps one kind of record from flooding the stream: a burst passes, then one a second, and what was held
/// back is told with the next that passes.
#[derive(Clone, Copy, Debug, Default)]
pub struct Flood {
    second: u64,
    passed: u64,
    held_back: u64,
}

/// Records of one kind that pass in one second.
const PER_SECOND: u64 = 20;

impl Flood {
    /// Whether a record at `time` passes; then also how many were held back before it.
    pub fn admit(&mut self, time: u64) -> Option<u64> {
        let second = time / 1_000_000_000;
        if second != self.second {
            *self = Self { second, passed: 0, held_back: self.held_back };
        }
        self.passed += 1;
        if self.passed > PER_SECOND {
            self.held_back += 1;
            return None;
        }
        Some(std::mem::take(&mut self.held_back))
    }
}

/// A program with its arguments and directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct OwnedProgram {
    /// Path of the executed file.
    pub exe: String,
    /// Argument vector.
    pub argv: Vec<String>,
    /// Working directory.
    pub cwd: String,
    /// A server executed it by itself: it explains nothing.
    pub beyond_launch: bool,
    /// The founder executed it, not a child on its channel.
    pub by_founder: bool,
}

impl OwnedProgram {
    /// What an exec executed.
    #[must_use]
    pub fn of(exec: &Exec, beyond_launch: bool) -> Self {
        Self {
            exe: exec.path.clone(),
            argv: exec.argv.clone(),
            cwd: exec.cwd.clone(),
            beyond_launch,
            by_founder: false,
        }
    }

    /// The same, borrowed, as discovery wants it.
    #[must_use]
    pub fn borrow(&self) -> Program<'_> {
        Program { exe: &self.exe, argv: &self.argv, cwd: &self.cwd }
    }
}

/// Whether what a program executes is on the way to the server: it is a launcher, a shell with a command or a
/// script, or a container runtime, or its own command line ends with what it executes. Not if a package launcher
/// `installed` it: then it is called what its makers like, and says of itself what they like.
#[must_use]
pub fn leads_to(exe: &str, argv: &[String], next: &[String], installed: bool) -> bool {
    !installed && (launcher::ends_with(argv, next) || leads_on(exe, argv))
}

/// Whether a program does nothing but execute others, by what it is called.
fn leads_on(exe: &str, argv: &[String]) -> bool {
    launcher::is_shell(exe)
        || launcher::recognise(exe, argv).is_some_and(|launch| launch.is_wrapper)
        || is_runtime(exe, argv)
}

/// What a candidate did, until it is known what it is.
#[derive(Debug, Default)]
pub struct Held {
    events: Vec<Event>,
    bytes: usize,
    left_out: u64,
    verdict_on_stdin: Option<bool>,
    /// What came on stdin before it was watched is not known.
    joined: bool,
    /// Bytes that came on stdin.
    stdin_bytes: usize,
    all: Budget,
}

/// What all candidates hold together, in bytes.
#[derive(Clone, Debug, Default)]
pub struct Budget(Arc<AtomicUsize>);

impl Budget {
    fn take(&self, bytes: usize) -> bool {
        let taken = self.0.load(Ordering::Relaxed);
        let fits = taken + bytes <= ALL_HELD_BYTES;
        if fits {
            self.0.store(taken + bytes, Ordering::Relaxed);
        }
        fits
    }

    fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.all.give_back(self.bytes);
    }
}

/// Most events held of one candidate.
const HELD_EVENTS: usize = 8_192;
/// How much may come on stdin that does not begin as JSON before it is settled that no MCP will: a server
/// could write a byte to its own stdin to look like something else.
const DOUBTFUL_BYTES: usize = 64 << 10;
/// Most opens and changes of files held of one candidate: they must not take the place of what is rarer and tells more.
const HELD_OPENS: usize = HELD_EVENTS / 4 * 3;
/// Most bytes held of one candidate.
const HELD_BYTES: usize = 4 << 20;
/// Most bytes held of all together: anybody can start thousands of processes that look like one.
const ALL_HELD_BYTES: usize = 32 << 20;

impl Held {
    /// Holds nothing yet, and draws on what all may hold together.
    #[must_use]
    pub fn within(all: &Budget) -> Self {
        Self {
            events: Vec::new(),
            bytes: 0,
            left_out: 0,
            verdict_on_stdin: None,
            joined: false,
            stdin_bytes: 0,
            all: all.clone(),
        }
    }

    /// What came on stdin began as something else than JSON.
    #[must_use]
    pub fn heard_no_json(&self) -> bool {
        self.verdict_on_stdin == Some(false) && !self.joined
    }

    /// It ran before it was watched.
    pub fn joined_mid_stream(&mut self) {
        self.joined = true;
    }

    /// How many events are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.events.len()
    }

    /// Nothing is held.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Holds an event; a full candidate leaves it out, counted.
    pub fn push(&mut self, event: Event) {
        let size = size_of(&event);
        let common = matches!(event.kind, EventKind::Open(_) | EventKind::Change(_));
        let most = if common { HELD_OPENS } else { HELD_EVENTS };
        let room = self.events.len() < most && self.bytes + size <= HELD_BYTES;
        if !room || !self.all.take(size) {
            self.left_out += 1;
            return;
        }
        self.bytes += size;
        self.events.push(event);
    }

    /// Takes out what was done, and leaves what was said.
    #[must_use]
    pub fn take_effects(&mut self) -> (Vec<Event>, u64) {
        let (said, done): (Vec<Event>, Vec<Event>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|event| matches!(event.kind, EventKind::Payload(_)));
        self.events = said;
        let freed = done.iter().map(size_of).sum();
        self.bytes -= freed;
        self.all.give_back(freed);
        (done, std::mem::take(&mut self.left_out))
    }

    /// Lets go of what was said: another channel says the same.
    pub fn forget_said(&mut self) {
        let (said, done): (Vec<Event>, Vec<Event>) = std::mem::take(&mut self.events)
            .into_iter()
            .partition(|event| matches!(event.kind, EventKind::Payload(_)));
        self.events = done;
        let freed = said.iter().map(size_of).sum();
        self.bytes -= freed;
        self.all.give_back(freed);
    }

    /// Holds what another has held, as something `instance` did.
    pub fn absorb(&mut self, (events, left_out): (Vec<Event>, u64), instance: u64) {
        self.left_out += left_out;
        for event in events {
            self.push(Event { instance, ..event });
        }
    }

    /// What was held, in the order it happened, and how many events were left out.
    #[must_use]
    pub fn release(mut self) -> (Vec<Event>, u64) {
        let mut events = std::mem::take(&mut self.events);
        events.sort_by_key(|event| event.time);
        (events, self.left_out)
    }

    /// The first byte on stdin that is no white space settles it for MCP over stdio: JSON begins with `{`
    /// or `[`. A byte order mark is passed over. `false` once it is settled that this is something else.
    pub fn may_be_json(&mut self, payload: &Payload) -> bool {
        if payload.direction != Direction::ClientToServer {
            return true;
        }
        self.stdin_bytes += payload.data.len();
        if self.verdict_on_stdin.is_none() {
            let bytes = payload.data.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&payload.data);
            self.verdict_on_stdin = bytes
                .iter()
                .find(|byte| !byte.is_ascii_whitespace())
                .map(|byte| matches!(byte, b'{' | b'['))
                // Joined in the middle of a line, nothing is settled.
                .filter(|_| payload.offset == 0);
        }
        self.verdict_on_stdin != Some(false) || self.stdin_bytes <= DOUBTFUL_BYTES
    }
}

/// What an event takes while it is held, in bytes.
fn size_of(event: &Event) -> usize {
    std::mem::size_of::<Event>()
        + match &event.kind {
            EventKind::Payload(payload) => payload.data.len(),
            EventKind::Exec(exec) => exec.argv.iter().map(|word| word.len() + 24).sum(),
            EventKind::Open(open) => open.path.len() + open.argument.len(),
            EventKind::Change(change) => {
                let of = |place: &Place| place.path.len() + place.argument.len();
                of(&change.file) + change.target.as_ref().map_or(0, of)
            }
            EventKind::Dns(packet) | EventKind::Tls(packet) => packet.data.len() + 64,
            EventKind::Privilege(privilege) => {
                let of = |place: &Option<Place>| {
                    place.as_ref().map_or(0, |place| place.path.len() + place.argument.len())
                };
                std::mem::size_of::<Privilege>() + of(&privilege.place) + of(&privilege.source)
            }
            _ => 64,
        }
}

/// What a candidate's conversation may hold: it only has to be recognised. Anybody can start thousands.
pub(super) const SNIFFING: Limits = Limits {
    message_bytes: 64 << 10,
    clip_bytes: 8 << 10,
    argument_bytes: 8 << 10,
    in_flight: 64,
    in_flight_bytes: 64 << 10,
    tools: 0,
    catalogue_bytes: 0,
    ..Limits::DEFAULT
};

impl Instance {
    /// A candidate of one process, of which nothing more is known. What it holds is drawn from `all`.
    #[must_use]
    pub fn candidate(
        id: u64,
        founder: ProcessKey,
        born: u64,
        channel: (u64, u64),
        all: &Budget,
    ) -> Self {
        Self {
            id,
            founder,
            born,
            since: born,
            outer: 0,
            channel,
            private: false,
            members: [founder].into(),
            programs: Vec::new(),
            noted: 0,
            looked: false,
            cgroup: String::new(),
            missed: false,
            tampered: false,
            folders: Folders::default(),
            conversation: Conversation::new(&SNIFFING),
            runtime_client: false,
            heard: Heard::default(),
            position: Position::default(),
            voice: None,
            voice_of: None,
            role: Role::Candidate(Held::within(all)),
            exit: None,
        }
    }

    /// Remembers what a process executed on the channel: the wrappers, then the server itself.
    pub fn add_program(&mut self, process: ProcessKey, mut program: OwnedProgram) {
        let same = |known: &OwnedProgram| {
            known.exe == program.exe && known.argv == program.argv && known.cwd == program.cwd
        };
        if self.programs.iter().any(same) {
            return;
        }
        program.by_founder = process == self.founder;
        self.runtime_client |= is_runtime_client(&program);
        if self.programs.len() >= PROGRAMS {
            if program.beyond_launch {
                return;
            }
            let oldest = self.dispensable();
            self.programs.remove(oldest);
        }
        self.programs.push(program);
    }

    /// Which program gives way to a later one: the oldest after the first that led nowhere, as the tools of a start script
    /// do, else the oldest after the first but the package launcher. What the founder executed is the way from what the
    /// client starts to the server, and the latest of it stays, however many shells a start script has run beside.
    fn dispensable(&self) -> usize {
        let led_nowhere = |program: &OwnedProgram| {
            let led_on = |next: &OwnedProgram| launcher::ends_with(&program.argv, &next.argv);
            program.beyond_launch
                || !leads_on(&program.exe, &program.argv) && !self.programs.iter().any(led_on)
        };
        let later = || self.programs.iter().enumerate().skip(1);
        let launcher = self.programs.iter().position(|program| launcher::installs(&program.argv));
        let of_founder = |program: &OwnedProgram| program.by_founder && !program.beyond_launch;
        let own = later().filter(|(_, program)| of_founder(program)).map(|(at, _)| at);
        let own: Vec<usize> = own.rev().take(OWN).collect();
        let others = || later().filter(|(at, _)| !own.contains(at));
        others()
            .find(|(_, program)| led_nowhere(program))
            .or_else(|| others().find(|(at, _)| Some(*at) != launcher))
            .map_or(0, |(at, _)| at)
    }

    /// The event is the exec that founded it.
    #[must_use]
    pub fn was_founded_by(&self, event: &Event) -> bool {
        matches!(event.kind, EventKind::Exec(_))
            && (event.process, event.time) == (self.founder, self.born)
    }

    /// The programs of its launch: what its client started, and what that led to. A server cannot name itself
    /// by what it executes.
    pub fn launched(&self) -> impl Iterator<Item = &OwnedProgram> {
        let (first, later) = self.programs.split_at(self.programs.len().min(1));
        first.iter().chain(later.iter().filter(|program| !program.beyond_launch))
    }

    /// Whether a program is what a package launcher before it in the launch has installed: the server itself, also when
    /// it is called like a launcher. `masked` makes an argument vector what it is in `argv`.
    #[must_use]
    pub fn installed(
        &self,
        exe: &str,
        argv: &[String],
        masked: impl Fn(&[String]) -> Vec<String>,
    ) -> bool {
        launcher::is_installed(exe, argv)
            && self
                .launched()
                .map(|program| (program.exe.as_str(), masked(&program.argv)))
                .take_while(|(known, words)| *known != exe || words.as_slice() != argv)
                .any(|(_, words)| launcher::is_installed_by(exe, argv, &words))
    }

    /// What its wrappers and its own command line launch.
    #[must_use]
    pub fn launch(&self) -> Option<Launch> {
        let programs: Vec<Program<'_>> = self.launched().map(OwnedProgram::borrow).collect();
        crate::discover::survey::launch_of(&programs)
    }

    /// The server, when it is one.
    #[must_use]
    pub fn serving(&self) -> Option<&Serving> {
        match &self.role {
            Role::Server(serving) => Some(serving),
            _ => None,
        }
    }

    /// The server, when it is one.
    pub fn serving_mut(&mut self) -> Option<&mut Serving> {
        match &mut self.role {
            Role::Server(serving) => Some(serving),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn payload(data: &[u8], direction: Direction, offset: u64) -> Payload {
        Payload { direction, offset, data: data.to_vec(), last: true }
    }

    #[test]
    fn the_first_byte_on_stdin_settles_what_a_candidate_cannot_be() {
        use Direction::{ClientToServer, ServerToClient};
        for (data, direction, offset, may) in [
            (&b"{\"jsonrpc\""[..], ClientToServer, 0, true),
            (b"\n [", ClientToServer, 0, true),
            (b"\xef\xbb\xbf{", ClientToServer, 0, true),
            (b"Content-Length: 12", ClientToServer, 0, false),
            (b"\x1f\x8b", ClientToServer, 0, false),
            (b"starting up", ServerToClient, 0, true),
            (b"rest of a line", ClientToServer, 900, true),
            (b"  ", ClientToServer, 0, true),
        ] {
            let mut held = Held::default();
            assert!(
                held.may_be_json(&payload(data, direction, offset)),
                "{data:?}: a little is no proof"
            );
            let more = payload(&vec![b'x'; DOUBTFUL_BYTES], direction, 1 << 20);
            assert_eq!(held.may_be_json(&more), may, "{data:?}");
        }
    }

    #[test]
    fn what_the_founder_executed_outlasts_its_helpers() {
        let process = |pid| ProcessKey { pid, start: 1 };
        let program = |words: &str| OwnedProgram {
            exe: format!("/usr/bin/{}", words.split(' ').next().unwrap()),
            argv: words.split(' ').map(str::to_owned).collect(),
            ..OwnedProgram::default()
        };
        let mut instance = Instance::candidate(1, process(1), 0, (1, 2), &Budget::default());
        let mut run = |pid: u32, words: &str| {
            instance.add_program(process(pid), program(words));
            let lines = instance.launched().map(|program| program.argv.join(" "));
            lines.collect::<Vec<String>>()
        };
        let launch = ["env bash start.sh", "bash start.sh"];
        for words in launch {
            run(1, words);
        }
        for pid in 2..40 {
            let kept = run(pid, &format!("sh -c task{pid}"));
            assert!(kept.len() <= PROGRAMS, "{kept:?}");
            assert!(kept.starts_with(&launch.map(str::to_owned)), "{kept:?}");
        }
        run(40, "npx -y weather");
        for pid in 41..60 {
            run(pid, &format!("sh -c step{pid}"));
        }
        let mut kept = run(60, "node weather");
        assert_eq!(kept.pop().unwrap(), "node weather");
        assert!(kept.starts_with(&launch.map(str::to_owned)), "{kept:?}");
        assert!(kept.contains(&"npx -y weather".to_owned()), "{kept:?}");
        // Its own are bounded, too: the latest stay.
        for step in 0..20 {
            run(1, &format!("bash step{step}"));
        }
        for pid in 61..80 {
            run(pid, &format!("sh -c task{pid}"));
        }
        let kept = run(1, "bash last");
        assert_eq!((kept.len(), kept[0].as_str()), (PROGRAMS, launch[0]));
        for step in ["bash step17", "bash step18", "bash step19", "bash last"] {
            assert!(kept.contains(&step.to_owned()), "{step}: {kept:?}");
        }
    }

    #[test]
    fn a_flood_is_told_in_one_record_a_second() {
        let mut flood = Flood::default();
        let passed = (0..100).filter(|_| flood.admit(1).is_some()).count();
        assert_eq!(passed, 20);
        assert_eq!(flood.admit(1_000_000_001), Some(80));
        assert_eq!(flood.admit(1_000_000_002), Some(0));
    }

    #[test]
    fn what_is_held_is_bounded() {
        let mut held = Held::default();
        for _ in 0..100 {
            held.push(Event {
                time: 0,
                process: ProcessKey { pid: 1, start: 1 },
                start_time: 0,
                tid: 1,
                instance: 1,
                truncated: false,
                kind: EventKind::Payload(payload(
                    &vec![b'x'; 64 << 10],
                    Direction::ServerToClient,
                    0,
                )),
            });
        }
        let (events, left_out) = held.release();
        assert!(events.len() < 64 && left_out > 30);
    }
}
