//! What each message means for the conversation it stands in: which session it belongs to, which call
//! it begins or ends, and whether the protocol has a place for it.

use std::sync::Arc;

use serde_json::value::RawValue;
use serde_json::{Number, Value};

use super::conversation::{Conversation, Origin, unanswered};
use super::flight::{Flight, Gone, weight};
use super::methods::{self, Method, Revision, Shape};
use super::sessions::Meta;
use super::{Call, Ended, Said, Session, arguments};
use crate::event::Direction;
use crate::record::{CallError, CallStatus, Progress};
use crate::wire::jsonrpc::{self, Kind, Outcome};
use crate::wire::{Fault, MAX_ERROR_CHARS, MAX_ID_BYTES, MAX_NAME_CHARS, excerpt, shorten};

impl Conversation {
    /// A message, whole or what could be salvaged of it.
    pub(super) fn message(&mut self, origin: &Origin, text: &str, out: &mut Vec<Said>) {
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
        let token = meta
            .and_then(|meta| jsonrpc::pick(meta.get(), ["progressToken"]))
            .and_then(|picked| progress_token(picked.values[0]?));

        self.place(origin, &name, method, Meta::read(meta), (version, client), out);
        if origin.direction == Direction::ClientToServer {
            self.first_request.get_or_insert(origin.time);
        }
        if let Some(doubtful) = self.flights.give_up_in_doubt_of(origin.direction, &id) {
            unanswered(doubtful, origin.time, out);
        }
        if self.flights.contains(origin.direction, &id) {
            let detail = format!("the id {} is in flight already", excerpt(&id.to_string()));
            origin.problem(Fault::DuplicateId, detail, out);
        }

        let named = tool.and_then(jsonrpc::string);
        let named = named.map(|named| shorten(&named, MAX_NAME_CHARS).to_owned());
        let (tool, prompt) = match name.as_str() {
            "tools/call" => (named, None),
            "prompts/get" => (None, named),
            _ => (None, None),
        };
        let annotations =
            tool.as_deref().map(|tool| self.catalogue.annotations(tool)).unwrap_or_default();
        let arguments::Given { mut value, mut clipped } =
            arguments::read(&name, params, given, &self.limits);
        if let Some(captured) = &origin.clipped {
            clipped = Some(captured.clone());
        }
        let beside = token.as_ref().map_or(0, weight);
        let mut cost =
            beside + value.as_ref().map_or(0, weight) + clipped.as_ref().map_or(0, String::len);
        // A call in doubt gives way before another loses anything.
        let fits = cost <= self.limits.in_flight_bytes;
        while (fits && self.flights.bytes() + cost > self.limits.in_flight_bytes
            || self.flights.len() >= self.limits.in_flight)
            && let Some(doubtful) = self.flights.give_up_in_doubt()
        {
            self.evicted(origin, doubtful, "the oldest call in doubt was given up", out);
        }
        if self.flights.bytes() + cost > self.limits.in_flight_bytes {
            self.counters.without_arguments += 1;
            let text = clipped.or_else(|| value.as_ref().map(Value::to_string)).unwrap_or_default();
            let text = shorten(&text, MAX_NAME_CHARS).to_owned();
            (value, cost, clipped) = (None, beside + text.len(), Some(text));
        }

        if self.flights.len() >= self.limits.in_flight
            && let Some(oldest) = self.flights.give_up_oldest()
        {
            self.evicted(origin, oldest, "the oldest call in flight was given up", out);
        }
        self.calls += 1;
        let call = Arc::new(Call {
            number: self.calls,
            id,
            method: name,
            tool,
            prompt,
            annotations,
            arguments: value,
            clipped,
            direction: origin.direction,
            session: self.sessions.current().map(|session| session.id.clone()),
            started: origin.time,
            request_bytes: origin.bytes,
        });
        self.flights.insert(Arc::clone(&call), token.as_ref(), cost);
        out.push(Said::Started(call));
    }

    /// A call leaves for want of room.
    fn evicted(&mut self, origin: &Origin, flight: Flight, detail: &str, out: &mut Vec<Said>) {
        self.counters.evicted += 1;
        origin.problem(Fault::TableFull, detail, out);
        unanswered(flight, origin.time, out);
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
        let revision = self.sessions.revision();
        judge(origin, &name, method, revision, out);
        self.spoke_mcp |= method.is_some_and(|method| method.may_go(origin.direction, None));
        let mut call = None;
        let mut progress = None;
        match name.as_str() {
            "notifications/progress" => (call, progress) = self.progress(origin, params),
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
            call,
            progress,
        });
    }

    /// A side tells how far it is with what the other has asked (specification, Progress): of which call in flight,
    /// and how far.
    fn progress(
        &mut self,
        origin: &Origin,
        params: Option<&RawValue>,
    ) -> (Option<Arc<Call>>, Option<Progress>) {
        let picked = params
            .and_then(|params| jsonrpc::pick(params.get(), ["progressToken", "progress", "total"]));
        let Some([token, value, total]) = picked.map(|picked| picked.values) else {
            return (None, None);
        };
        let asker = opposite(origin.direction);
        let call = token
            .and_then(progress_token)
            .and_then(|token| self.flights.in_progress(asker, &token))
            .map(Arc::clone);
        let number = |value: &RawValue| serde_json::from_str::<Number>(value.get()).ok();
        let progress =
            value.and_then(number).map(|value| Progress { value, total: total.and_then(number) });
        (call, progress)
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
        let deadline = origin.time.saturating_add(self.limits.cancel_grace);
        if self.flights.cancel(origin.direction, &id, origin.time, deadline) {
            return;
        }
        let other = opposite(origin.direction);
        if self.flights.is_standing(other, &id) {
            self.flights.cancel(other, &id, origin.time, deadline);
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
            if call.method == "roots/list" {
                self.roots = roots(result).into();
            }
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

/// A token for progress: a string or an integer, as ids are, and no longer than those may be.
fn progress_token(token: &RawValue) -> Option<Value> {
    if token.get().len() > MAX_ID_BYTES {
        return None;
    }
    let token: Value = serde_json::from_str(token.get()).ok()?;
    (token.is_string() || token.is_i64() || token.is_u64()).then_some(token)
}

/// Most roots of one client, and the longest that is kept, in bytes.
const ROOTS: usize = 64;
const ROOT_BYTES: usize = 4096;

/// The folders of a client's answer to `roots/list`. A root is a `file://` URI (2025-11-25, Roots).
fn roots(result: &str) -> Vec<String> {
    let roots = jsonrpc::pick(result, ["roots"]).and_then(|picked| picked.values[0]);
    let roots: Vec<&RawValue> =
        roots.and_then(|roots| serde_json::from_str(roots.get()).ok()).unwrap_or_default();
    let path = |root: &RawValue| {
        let uri = jsonrpc::pick(root.get(), ["uri"])?.values[0].and_then(jsonrpc::string)?;
        let path = url::Url::parse(&uri).ok()?.to_file_path().ok()?;
        let path = path.to_str()?.trim_end_matches('/');
        (path.len() <= ROOT_BYTES).then(|| path.to_owned())
    };
    roots.into_iter().take(ROOTS).filter_map(path).collect()
}

pub(super) fn opposite(direction: Direction) -> Direction {
    match direction {
        Direction::ClientToServer => Direction::ServerToClient,
        Direction::ServerToClient => Direction::ClientToServer,
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
