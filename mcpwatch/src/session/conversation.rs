//! What is said on one server's channel: both directions' bytes in, [`Said`] out.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::flight::{Flight, Flights, Gone, weight};
use super::methods::{self, Method, Revision, Shape};
use super::sessions::{Meta, Sessions};
use super::{Call, Catalogue, Ended, Problem, Said, Session, arguments};
use crate::event::{Direction, Payload};
use crate::record::{CallError, CallStatus};
use crate::wire::jsonrpc::{self, Kind, Line, Outcome};
use crate::wire::lines::{Clipped, Frame, Framer, Start};
use crate::wire::salvage::{Salvaged, salvage};
use crate::wire::{Fault, Limits, MAX_ERROR_CHARS, MAX_NAME_CHARS, excerpt, shorten, text};

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
    limits: Limits,
    from_client: Side,
    from_server: Side,
    sessions: Sessions,
    flights: Flights,
    catalogue: Catalogue,
    /// Number of the last call.
    calls: u64,
    first_request: Option<u64>,
    spoke_mcp: bool,
    joined: bool,
    counters: Counters,
}

/// One direction of a channel.
#[derive(Debug)]
struct Side {
    framer: Framer,
    /// Requests of this side may have been missed: a response to an unknown id is no wonder. Holds
    /// until a request that was seen is answered.
    missed: bool,
}

/// Where a message comes from.
#[derive(Clone, Debug)]
struct Origin {
    direction: Direction,
    time: u64,
    /// Length of its line.
    bytes: u64,
    /// What was captured of it, when it was cut.
    clipped: Option<String>,
}

impl Origin {
    fn problem(&self, fault: Fault, detail: impl Into<String>, out: &mut Vec<Said>) {
        out.push(Said::Problem(Problem {
            direction: self.direction,
            word: fault.word(),
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
        self.joined = true;
        self.first_request.get_or_insert(0);
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

    /// Time has come to `time`: cancelled calls that were not answered in their grace end. Bytes do
    /// this too; a channel that has fallen silent needs it.
    pub fn tick(&mut self, time: u64, out: &mut Vec<Said>) {
        let before = time.saturating_sub(self.limits.cancel_grace);
        while let Some(flight) = self.flights.cancelled_before(before) {
            unanswered(flight, time, out);
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
    /// A standing subscription is none ([`Method::standing`]).
    pub fn in_flight(&self) -> impl Iterator<Item = &Arc<Call>> {
        self.flights.calls().filter(|call| {
            call.direction == Direction::ClientToServer
                && !methods::find(&call.method).is_some_and(|method| method.standing)
        })
    }

    /// The calls the client is working on, the oldest first.
    pub fn asked_of_client(&self) -> impl Iterator<Item = &Arc<Call>> {
        self.flights.calls().filter(|call| call.direction == Direction::ServerToClient)
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

    /// What was left out or given up.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    fn side(&self, direction: Direction) -> &Side {
        match direction {
            Direction::ClientToServer => &self.from_client,
            Direction::ServerToClient => &self.from_server,
        }
    }

    fn side_mut(&mut self, direction: Direction) -> &mut Side {
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

    fn hole(&mut self, origin: &Origin, bytes: u64, out: &mut Vec<Said>) {
        self.counters.lost_bytes += bytes;
        self.side_mut(origin.direction).missed = true;
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
        let mut complained = false;
        for element in elements {
            let origin = Origin { bytes: element.get().len() as u64, ..origin.clone() };
            // One complaint a batch is enough: it may have hundreds of thousands of elements.
            if jsonrpc::message(element.get()).is_ok() || !complained {
                complained |= jsonrpc::message(element.get()).is_err();
                self.message(&origin, element.get(), out);
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
        self.side_mut(origin.direction).missed = true;
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

    fn message(&mut self, origin: &Origin, text: &str, out: &mut Vec<Said>) {
        let message = match jsonrpc::message(text) {
            Ok(message) => message,
            Err(complaint) => return origin.problem(complaint.fault, complaint.detail, out),
        };
        self.counters.messages += 1;
        // Of a part of a message it cannot be said what it lacks.
        if origin.clipped.is_none() {
            for complaint in message.faults {
                origin.problem(complaint.fault, complaint.detail, out);
            }
        }
        match message.kind {
            Kind::Request { id, method, params } => self.request(origin, id, method, params, out),
            Kind::Notification { method, params } => self.notification(origin, method, params, out),
            Kind::Response { id: Some(id), outcome } => self.response(origin, &id, &outcome, out),
            Kind::Response { id: None, outcome: Outcome::Error { message, .. } } => {
                origin.problem(Fault::ErrorWithoutId, excerpt(&message), out);
            }
            // Not built by the parser.
            Kind::Response { id: None, outcome: Outcome::Result(_) } => {}
        }
    }

    fn request(
        &mut self,
        origin: &Origin,
        id: Value,
        name: String,
        params: Option<&RawValue>,
        out: &mut Vec<Said>,
    ) {
        let method = methods::find(&name).filter(|method| method.shape == Shape::Request);
        let picked = params.and_then(|params| {
            let keys = ["name", "arguments", "_meta", "protocolVersion", "clientInfo"];
            jsonrpc::pick(params.get(), keys)
        });
        if let Some(key) = picked.and_then(|picked| picked.duplicate) {
            let detail = format!("`{key}` stands in the parameters twice");
            origin.problem(Fault::DuplicateKey, detail, out);
        }
        let [tool, given, meta, version, client] = picked.map_or([None; 5], |picked| picked.values);

        self.place(origin, &name, method, Meta::read(meta), (version, client), out);
        if origin.direction == Direction::ClientToServer {
            self.first_request.get_or_insert(origin.time);
        }
        if self.flights.contains(origin.direction, &id) {
            let detail = format!("the id {} is in flight already", excerpt(&id.to_string()));
            origin.problem(Fault::DuplicateId, detail, out);
        }

        let tool = tool.filter(|_| name == "tools/call").and_then(jsonrpc::string);
        let arguments::Given { mut value, mut clipped } =
            arguments::read(&name, params, given, &self.limits);
        if let Some(captured) = &origin.clipped {
            clipped = Some(captured.clone());
        }
        let mut cost = value.as_ref().map_or(0, weight) + clipped.as_ref().map_or(0, String::len);
        if self.flights.bytes() + cost > self.limits.in_flight_bytes {
            self.counters.without_arguments += 1;
            let text = clipped.or_else(|| value.as_ref().map(Value::to_string)).unwrap_or_default();
            let text = shorten(&text, MAX_NAME_CHARS).to_owned();
            (value, cost, clipped) = (None, text.len(), Some(text));
        }

        if self.flights.len() >= self.limits.in_flight
            && let Some(oldest) = self.flights.give_up_oldest()
        {
            self.counters.evicted += 1;
            origin.problem(Fault::TableFull, "the oldest call in flight was given up", out);
            unanswered(oldest, origin.time, out);
        }
        self.calls += 1;
        let call = Arc::new(Call {
            number: self.calls,
            id,
            method: name,
            tool: tool.map(|tool| shorten(&tool, MAX_NAME_CHARS).to_owned()),
            arguments: value,
            clipped,
            direction: origin.direction,
            session: self.sessions.current().map(|session| session.id.clone()),
            started: origin.time,
            request_bytes: origin.bytes,
        });
        self.flights.insert(Arc::clone(&call), cost);
        out.push(Said::Started(call));
    }

    /// Finds the session a request belongs to, and judges whether it has a place there.
    fn place(
        &mut self,
        origin: &Origin,
        name: &str,
        method: Option<&Method>,
        meta: Meta,
        (version, client): (Option<&RawValue>, Option<&RawValue>),
        out: &mut Vec<Said>,
    ) {
        let to_server = origin.direction == Direction::ClientToServer;
        let revision = match name {
            "initialize" if to_server => {
                if self.sessions.handshake().is_some() {
                    origin.problem(Fault::SecondInitialize, "the channel has a session", out);
                }
                // Other protocols have an `initialize` of their own: a language server's has no
                // version, the agent client protocol's is a number.
                self.spoke_mcp |= version.and_then(jsonrpc::string).is_some();
                out.push(Said::Session(self.sessions.initialize(client)));
                None
            }
            "server/discover" if to_server => {
                self.spoke_mcp = true;
                self.sessions.probe(meta);
                None
            }
            _ if meta.version.is_some() && to_server => {
                self.spoke_mcp |= method.is_some();
                let revision = meta.version.as_deref().and_then(Revision::parse);
                out.extend(self.sessions.stateless(meta).map(Said::Session));
                revision
            }
            _ => {
                let missed = self.joined || self.counters.lost_bytes > 0;
                let session = self.sessions.without_meta();
                let revision = session.and_then(Session::revision);
                if session.is_none() && name != "ping" && !missed {
                    let detail = format!("{} before `initialize`", excerpt(name));
                    origin.problem(Fault::BeforeInitialize, detail, out);
                }
                revision
            }
        };
        judge(origin, name, method, revision, out);
    }

    fn notification(
        &mut self,
        origin: &Origin,
        name: String,
        params: Option<&RawValue>,
        out: &mut Vec<Said>,
    ) {
        let method = methods::find(&name).filter(|method| method.shape == Shape::Notification);
        let revision = self.sessions.current().and_then(Session::revision);
        judge(origin, &name, method, revision, out);
        self.spoke_mcp |= method.is_some_and(|method| method.may_go(origin.direction, None));
        match name.as_str() {
            "notifications/cancelled" => self.cancel(origin, params, out),
            "notifications/tools/list_changed" if origin.direction == Direction::ServerToClient => {
                self.catalogue.mark_stale();
            }
            _ => {}
        }
        out.push(Said::Notification {
            direction: origin.direction,
            method: name,
            bytes: origin.bytes,
        });
    }

    /// A side gives up on a call of its own; or the server, in the stateless era, on a subscription of
    /// the client's (2026-07-28, Subscriptions).
    fn cancel(&mut self, origin: &Origin, params: Option<&RawValue>, out: &mut Vec<Said>) {
        let id = params
            .and_then(|params| jsonrpc::pick(params.get(), ["requestId"]))
            .and_then(|picked| picked.values[0])
            .and_then(|id| serde_json::from_str::<Value>(id.get()).ok());
        // Without an id it cancels a task (2025-11-25), or nothing.
        let Some(id) = id.filter(|id| id.is_string() || id.is_number()) else { return };
        if self.flights.cancel(origin.direction, &id, origin.time) {
            return;
        }
        let other = opposite(origin.direction);
        let standing = self
            .flights
            .get(other, &id)
            .is_some_and(|call| methods::find(&call.method).is_some_and(|method| method.standing));
        if standing {
            self.flights.cancel(other, &id, origin.time);
            return;
        }
        // The answer may have crossed it on the way.
        let known = self.flights.remember(origin.direction, &id).is_some();
        if !known && !self.side(origin.direction).missed {
            let detail = format!("no request has the id {}", excerpt(&id.to_string()));
            origin.problem(Fault::UnknownCancel, detail, out);
        }
    }

    fn response(
        &mut self,
        origin: &Origin,
        id: &Value,
        outcome: &Outcome<'_>,
        out: &mut Vec<Said>,
    ) {
        let asker = opposite(origin.direction);
        let Some(flight) = self.flights.answer(asker, id) else {
            return self.stray_response(origin, asker, id, out);
        };
        self.side_mut(asker).missed = false;
        let call = flight.call;
        let (status, error) = match outcome {
            Outcome::Result(result) => {
                self.learn(&call, result.get(), origin.clipped.is_some(), out);
                tool_error(result.get())
                    .map_or((CallStatus::Ok, None), |error| (CallStatus::ToolError, Some(error)))
            }
            Outcome::Error { code, message } => {
                (CallStatus::RpcError, Some(CallError { code: *code, message: message.clone() }))
            }
        };
        out.push(Said::Ended(Ended {
            call,
            status,
            time: origin.time,
            response_bytes: Some(origin.bytes),
            error,
            clipped: origin.clipped.is_some(),
        }));
    }

    /// A response no call waits for.
    fn stray_response(&self, origin: &Origin, asker: Direction, id: &Value, out: &mut Vec<Said>) {
        let shown = excerpt(&id.to_string());
        match self.flights.remember(asker, id) {
            // The receiver of a cancellation may answer all the same (specification, Cancellation).
            Some(Gone::GivenUp) => {}
            Some(Gone::Answered) => {
                let detail = format!("the request {shown} was answered before");
                origin.problem(Fault::SecondResponse, detail, out);
            }
            None if self.side(asker).missed => {}
            None => {
                let detail = format!("no request has the id {shown}");
                origin.problem(Fault::UnknownResponse, detail, out);
            }
        }
    }

    /// What the result of a call tells of the server.
    fn learn(&mut self, call: &Call, result: &str, clipped: bool, out: &mut Vec<Said>) {
        if call.direction == Direction::ServerToClient {
            return;
        }
        // `ping` is everybody's, and any `initialize` looks alike from here.
        self.spoke_mcp |= call.method.contains('/') && methods::find(&call.method).is_some();
        let news = match call.method.as_str() {
            "initialize" => self.sessions.agree(call.session.as_deref(), result),
            "server/discover" => self.sessions.discovered(result),
            _ => None,
        };
        out.extend(news.map(Said::Session));
        let meta = jsonrpc::pick(result, ["_meta"]).and_then(|picked| picked.values[0]);
        let server = Meta::read(meta).server;
        out.extend(self.sessions.served_by(server).map(Said::Session));
        if call.method == "tools/list" {
            let first = call.arguments.as_ref().is_none_or(|given| given.get("cursor").is_none());
            if self.catalogue.page(result, first, clipped, &self.limits) {
                out.push(Said::Catalogue { tools: self.catalogue.len() });
            }
        }
    }
}

fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::ClientToServer => Direction::ServerToClient,
        Direction::ServerToClient => Direction::ClientToServer,
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

/// Whether the protocol has the method, for this side, in this revision.
fn judge(
    origin: &Origin,
    name: &str,
    method: Option<&Method>,
    revision: Option<Revision>,
    out: &mut Vec<Said>,
) {
    let shown = excerpt(name);
    match (method, revision) {
        (None, _) => origin.problem(Fault::UnknownMethod, shown, out),
        (Some(method), _) if !method.may_go(origin.direction, None) => {
            let detail = format!("{shown} is not for this side to send");
            origin.problem(Fault::WrongDirection, detail, out);
        }
        (Some(method), Some(revision)) if !method.may_go(origin.direction, Some(revision)) => {
            let detail = format!("{shown} is not for this side to send in {}", revision.name());
            origin.problem(Fault::NotInRevision, detail, out);
        }
        _ => {}
    }
}

/// A call leaves without a response.
fn unanswered(flight: Flight, time: u64, out: &mut Vec<Said>) {
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

/// What a result with `isError` says: its first text.
fn tool_error(result: &str) -> Option<CallError> {
    let [is_error, content] = jsonrpc::pick(result, ["isError", "content"])?.values;
    if is_error?.get() != "true" {
        return None;
    }
    let content: Vec<&RawValue> =
        content.and_then(|content| serde_json::from_str(content.get()).ok()).unwrap_or_default();
    let message = content
        .into_iter()
        .find_map(|block| jsonrpc::pick(block.get(), ["text"])?.values[0].and_then(jsonrpc::string))
        .map(|text| shorten(&text, MAX_ERROR_CHARS).to_owned());
    Some(CallError { code: None, message: message.unwrap_or_default() })
}
