//! What is said on one server's channel: both directions' bytes in, [`Said`] out.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::flight::{Due, Flight, Flights};
use super::messages::opposite;
use super::methods::{self, Revision, Shape};
use super::sessions::Sessions;
use super::{Call, Catalogue, Ended, Problem, Said, Session, arguments};
use crate::event::{Direction, Payload};
use crate::record::CallStatus;
use crate::wire::jsonrpc::{self, Line};
use crate::wire::lines::{Clipped, Frame, Framer, Start};
use crate::wire::salvage::{Salvaged, salvage};
use crate::wire::{Fault, Limits, excerpt, text};

/// Most problems told of one batch.
const BATCH_PROBLEMS: usize = 8;

/// What a conversation left out or gave up, since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Messages read, whole or in part.
    pub messages: u64,
    /// Messages read in part.
    pub clipped: u64,
    /// Bytes that were not captured.
    pub lost_bytes: u64,
    /// Calls given up because too many were in flight.
    pub evicted: u64,
    /// Calls whose arguments were left out because those in flight took too much memory.
    pub without_arguments: u64,
}

/// One server's channel.
#[derive(Debug)]
pub struct Conversation {
    pub(super) limits: Limits,
    from_client: Side,
    from_server: Side,
    pub(super) sessions: Sessions,
    pub(super) flights: Flights,
    pub(super) catalogue: Catalogue,
    /// Folders the client confines the server to, as it answered `roots/list` last.
    pub(super) roots: Arc<[String]>,
    /// Number of the last call.
    pub(super) calls: u64,
    pub(super) first_request: Option<u64>,
    pub(super) spoke_mcp: bool,
    pub(super) joined: bool,
    pub(super) counters: Counters,
}

/// One direction of a channel.
#[derive(Debug)]
pub(super) struct Side {
    framer: Framer,
    /// Requests of this side may have been missed: a response to an unknown id is no wonder. Holds
    /// until a request that was seen is answered.
    pub(super) missed: bool,
}

/// Where a message comes from.
#[derive(Clone, Debug)]
pub(super) struct Origin {
    /// Which way it went.
    pub(super) direction: Direction,
    /// When its line was complete.
    pub(super) time: u64,
    /// Length of its line.
    pub(super) bytes: u64,
    /// What was captured of it, when it was cut.
    pub(super) clipped: Option<String>,
}

impl Origin {
    /// Something is wrong with it.
    pub(super) fn problem(&self, fault: Fault, detail: impl Into<String>, out: &mut Vec<Said>) {
        out.push(Said::Problem(Problem {
            direction: self.direction,
            fault,
            detail: detail.into(),
            bytes: self.bytes,
        }));
    }
}

impl Conversation {
    /// A channel nothing has been said on.
    #[must_use]
    pub fn new(limits: &Limits) -> Self {
        let side = || Side { framer: Framer::new(*limits), missed: false };
        Self {
            limits: *limits,
            from_client: side(),
            from_server: side(),
            sessions: Sessions::default(),
            flights: Flights::default(),
            catalogue: Catalogue::default(),
            roots: Arc::from([]),
            calls: 0,
            first_request: None,
            spoke_mcp: false,
            joined: false,
            counters: Counters::default(),
        }
    }

    /// The channel was in use before it is watched: its first lines may be parts, responses may be to
    /// requests never seen, and the server has been asked before ([`Self::first_request`] is then 0).
    /// Holds without this call when the first bytes do not stand at the start of the stream.
    pub fn joined_mid_stream(&mut self) {
        self.may_have_missed();
        self.first_request.get_or_insert(0);
    }

    /// Bytes may have gone by before the channel was watched, but it is as young as the watching: what is
    /// seen first may follow something unseen, and that is no mistake of either party.
    pub fn may_have_missed(&mut self) {
        self.joined = true;
        for side in [&mut self.from_client, &mut self.from_server] {
            side.framer.joined_mid_stream();
            side.missed = true;
        }
    }

    /// The next bytes of the channel, seen at `time` (nanoseconds of `CLOCK_BOOTTIME`).
    pub fn bytes(&mut self, time: u64, payload: &Payload, out: &mut Vec<Said>) {
        self.tick(time, out);
        if payload.offset > 0 && !self.side(payload.direction).framer.begun() {
            self.joined_mid_stream();
        }
        let mut frames = Vec::new();
        let side = self.side_mut(payload.direction);
        side.framer.push(payload.offset, &payload.data, &mut frames);
        for frame in frames {
            self.frame(payload.direction, time, frame, out);
        }
    }

    /// Time has come to `time`: of the calls that were not answered in the grace given, those that were
    /// cancelled end, and those whose answer may have been lost are in doubt. Bytes do this too; a
    /// channel that has fallen silent needs it.
    pub fn tick(&mut self, time: u64, out: &mut Vec<Said>) {
        while let Some(due) = self.flights.due(time) {
            match due {
                Due::Over(flight) => unanswered(flight, time, out),
                Due::InDoubt(call) => out.push(Said::InDoubt(call)),
            }
        }
    }

    /// The server is gone, or the channel is: every call in flight ends without a response.
    pub fn end(&mut self, time: u64, out: &mut Vec<Said>) {
        for direction in [Direction::ClientToServer, Direction::ServerToClient] {
            let bytes = self.side(direction).framer.pending();
            if bytes > 0 {
                let detail = format!("{bytes} bytes of a line that never ended");
                Origin { direction, time, bytes, clipped: None }.problem(
                    Fault::Unterminated,
                    detail,
                    out,
                );
            }
        }
        while let Some(flight) = self.flights.give_up_oldest() {
            unanswered(flight, time, out);
        }
    }

    /// The calls the server is working on, the oldest first: what may be the cause of what it does.
    /// A standing subscription is none ([`methods::Method::standing`]), nor is a call in doubt.
    pub fn in_flight(&self) -> impl Iterator<Item = &Arc<Call>> {
        self.flights
            .calls(Direction::ClientToServer)
            .filter(|flight| !flight.standing && !flight.in_doubt)
            .map(|flight| &flight.call)
    }

    /// The calls the client is working on, the oldest first.
    pub fn asked_of_client(&self) -> impl Iterator<Item = &Arc<Call>> {
        self.flights.calls(Direction::ServerToClient).map(|flight| &flight.call)
    }

    /// When the first request to the server was complete, nanoseconds of `CLOCK_BOOTTIME`; 0 when it
    /// was before the channel was watched.
    #[must_use]
    pub fn first_request(&self) -> Option<u64> {
        self.first_request
    }

    /// Something was said that only MCP says.
    #[must_use]
    pub fn spoke_mcp(&self) -> bool {
        self.spoke_mcp
    }

    /// The session the last message belonged to.
    #[must_use]
    pub fn session(&self) -> Option<&Session> {
        self.sessions.current()
    }

    /// The tools the server offers.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// The folders the client confines the server to, as far as the server has asked for them. Those of another
    /// answer are another allocation.
    #[must_use]
    pub fn roots(&self) -> &Arc<[String]> {
        &self.roots
    }

    /// What was left out or given up.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::ClientToServer => &self.from_client,
            Direction::ServerToClient => &self.from_server,
        }
    }

    pub(super) fn side_mut(&mut self, direction: Direction) -> &mut Side {
        match direction {
            Direction::ClientToServer => &mut self.from_client,
            Direction::ServerToClient => &mut self.from_server,
        }
    }

    fn frame(&mut self, direction: Direction, time: u64, frame: Frame, out: &mut Vec<Said>) {
        let mut origin = Origin { direction, time, bytes: 0, clipped: None };
        match frame {
            Frame::Line { bytes, start } => {
                origin.bytes = bytes.len() as u64;
                self.line(&origin, &bytes, start, out);
            }
            Frame::Clipped(clipped) => {
                origin.bytes = clipped.bytes;
                self.counters.lost_bytes += clipped.lost;
                self.clipped(&mut origin, &clipped, out);
            }
            Frame::Hole { bytes } => {
                origin.bytes = bytes;
                self.hole(&origin, bytes, out);
            }
        }
    }

    /// Messages may have been lost: requests of this side, and answers to the other's.
    fn missed(&mut self, origin: &Origin) {
        self.side_mut(origin.direction).missed = true;
        let deadline = origin.time.saturating_add(self.limits.loss_grace);
        self.flights.doubt(opposite(origin.direction), deadline);
    }

    fn hole(&mut self, origin: &Origin, bytes: u64, out: &mut Vec<Said>) {
        self.counters.lost_bytes += bytes;
        self.missed(origin);
        let detail = format!("{bytes} bytes were not captured; reading goes on at the next line");
        origin.problem(Fault::Hole, detail, out);
    }

    fn line(&mut self, origin: &Origin, bytes: &[u8], start: Start, out: &mut Vec<Said>) {
        let (text, replaced) = text(bytes);
        let line = match (jsonrpc::line(&text), start) {
            (Ok(line), _) => line,
            (Err(complaint), Start::Known) => {
                if replaced {
                    origin.problem(Fault::InvalidUtf8, excerpt(&text), out);
                } else {
                    origin.problem(complaint.fault, complaint.detail, out);
                }
                return;
            }
            (Err(_), Start::Joined | Start::AfterHole) => {
                let end = Clipped {
                    head: Vec::new(),
                    tail: bytes.to_vec(),
                    bytes: origin.bytes,
                    lost: 0,
                    start,
                };
                return self.clipped(&mut origin.clone(), &end, out);
            }
        };
        if replaced {
            origin.problem(Fault::InvalidUtf8, excerpt(&text), out);
        }
        match line {
            Line::One(text) => self.message(origin, text, out),
            Line::Batch(elements) => self.batch(origin, &elements, out),
        }
    }

    fn batch(&mut self, origin: &Origin, elements: &[&RawValue], out: &mut Vec<Said>) {
        let allowed = match self.sessions.handshake().map(Session::revision) {
            Some(revision) => revision.is_some_and(Revision::allows_batches),
            None => self.joined,
        };
        if !allowed {
            let detail = format!("an array of {} messages", elements.len());
            origin.problem(Fault::BatchNotAllowed, detail, out);
        }
        // A batch may have tens of thousands of elements; what is wrong with the first few will do.
        let mut problems = BATCH_PROBLEMS;
        let mut said = Vec::new();
        for element in elements {
            let origin = Origin { bytes: element.get().len() as u64, ..origin.clone() };
            self.message(&origin, element.get(), &mut said);
            for said in said.drain(..) {
                if matches!(said, Said::Problem(_)) {
                    let Some(left) = problems.checked_sub(1) else { continue };
                    problems = left;
                }
                out.push(said);
            }
        }
    }

    /// A message of which only the ends are known.
    fn clipped(&mut self, origin: &mut Origin, clipped: &Clipped, out: &mut Vec<Said>) {
        let (head, _) = text(&clipped.head);
        // The last character may have been cut in two.
        let head = head.trim_end_matches('\u{fffd}');
        let (tail, _) = text(&clipped.tail);
        self.counters.clipped += 1;
        // What begins in the middle of a line is no beginning of a message.
        let beginning = if clipped.start == Start::Known { head } else { "" };
        let messages = match salvage(beginning, &tail) {
            Some(Salvaged::Message(message)) => untangle(message),
            Some(Salvaged::Two { first, last }) => {
                self.hole(origin, clipped.lost, out);
                vec![first, last]
            }
            None => Vec::new(),
        };
        origin.clipped = Some(arguments::clip(head, &tail, self.limits.clip_bytes));
        let mut understood = false;
        for mut message in messages {
            self.guess_response(origin.direction, &mut message);
            let message = Value::Object(message).to_string();
            if jsonrpc::message(&message).is_ok() {
                understood = true;
                self.message(origin, &message, out);
            }
        }
        if understood {
            return;
        }
        self.missed(origin);
        let (fault, detail) = match clipped.start {
            Start::Joined => (Fault::JoinedMidStream, "the end of a line begun before the watch"),
            _ => (Fault::Clipped, "what is left of the message does not tell what it was"),
        };
        origin.problem(fault, detail, out);
    }

    /// The end of a response may be all there is: `"jsonrpc":"2.0","id":3}`. From the server, with the
    /// id of a call in flight, it can hardly be anything else.
    fn guess_response(&self, direction: Direction, message: &mut Map<String, Value>) {
        let told = ["method", "result", "error"].iter().any(|key| message.contains_key(*key));
        let awaited = message
            .get("id")
            .is_some_and(|id| self.flights.contains(Direction::ClientToServer, id));
        if !told && awaited && direction == Direction::ServerToClient {
            message.insert("result".to_owned(), Value::Object(Map::new()));
        }
    }
}

/// A notification has no id: one that seems to is the beginning of it and the end of another message.
fn untangle(mut message: Map<String, Value>) -> Vec<Map<String, Value>> {
    let notification = message
        .get("method")
        .and_then(Value::as_str)
        .and_then(methods::find)
        .is_some_and(|method| method.shape == Shape::Notification);
    match message.shift_remove_entry("id") {
        Some(id) if notification => vec![message, Map::from_iter([id])],
        Some((key, id)) => {
            message.insert(key, id);
            vec![message]
        }
        None => vec![message],
    }
}

/// A call leaves without a response.
pub(super) fn unanswered(flight: Flight, time: u64, out: &mut Vec<Said>) {
    let status = match flight.cancelled {
        Some(_) => CallStatus::Cancelled,
        None => CallStatus::NoResponse,
    };
    out.push(Said::Ended(Ended {
        call: flight.call,
        status,
        time,
        response_bytes: None,
        error: None,
        clipped: false,
    }));
}
