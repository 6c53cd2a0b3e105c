//! What was said on a channel: sessions, calls, notifications and problems become records, and calls
//! become what effects can be attributed to.

use std::sync::Arc;

use serde_json::Value;

use crate::attribute::Object;
use crate::detect;
use crate::event::{Direction, Event, Injection, Payload};
use crate::record::{self, CallOutcome, McpDetail, RecordType};
use crate::session::{Call, Ended, Problem, Said, Session};

use crate::wire::Fault;

use super::Pipeline;
use super::effects::{call_of, call_uid};
use super::instance::{Instance, Role};

impl Pipeline {
    /// Bytes on the channel of a server.
    pub(super) fn said(&mut self, event: &Event, payload: &Payload) {
        if let Some(instance) = self.instances.get_mut(&event.instance)
            && instance.runtime_client
        {
            instance.heard.note(event.time, payload);
        }
        let Some(id) = self.channel_of(event.instance) else { return };
        let Some(instance) = self.instances.get_mut(&id) else { return };
        if !matches!(instance.role, Role::Server(_)) {
            return;
        }
        let mut said = Vec::new();
        // Of a runtime's client, its voice says some again.
        if instance.runtime_client {
            let Some(rest) = instance.position.rest(payload) else { return };
            instance.conversation.bytes(event.time, &rest, &mut said);
        } else {
            instance.conversation.bytes(event.time, payload, &mut said);
        }
        self.spoken(id, event.time, said);
    }

    /// What a conversation brought forth.
    pub(super) fn spoken(&mut self, id: u64, time: u64, said: Vec<Said>) {
        for said in said {
            match said {
                Said::Session(session) => {
                    self.session(id, time, &session);
                    // `serverInfo` is evidence, a name and a version.
                    self.judge(id);
                }
                Said::Started(call) => {
                    if let Some(serving) =
                        self.instances.get_mut(&id).and_then(Instance::serving_mut)
                    {
                        serving.started(&call);
                    }
                }
                Said::InDoubt(call) => self.in_doubt(id, &call),
                Said::Ended(ended) => self.ended(id, &ended),
                Said::Notification { direction, method, bytes, call, progress } => {
                    if let Some(call) = &call
                        && let Some(serving) =
                            self.instances.get_mut(&id).and_then(Instance::serving_mut)
                    {
                        serving.in_progress(call);
                    }
                    let mut detail = empty();
                    detail.direction = Some(direction.name());
                    detail.method = Some(method);
                    detail.bytes = Some(bytes);
                    detail.progress = progress;
                    self.message(id, time, detail, call.as_deref());
                }
                Said::Problem(problem) => self.problem(id, time, &problem),
                Said::Catalogue { tools } => {
                    tracing::debug!(tools, "the tool catalogue is complete");
                }
            }
        }
    }

    /// A process of a server wrote to a channel at whose end it is not. What is asked on stdin from now on may be
    /// its words: no effect of that server counts as requested any more. On stdout it is answers that may be.
    pub(super) fn injected(&mut self, event: &Event, injection: Injection) {
        let Some(writer) = self.owner(event.instance) else { return };
        let Some(victim) = self.server_of_channel(injection.victim) else { return };
        let to_stdin = injection.direction == Direction::ClientToServer;
        // Those who made a channel write to it, and what a server's own processes put on its stdout is the
        // server's word.
        if self.lies_below(injection.victim, event.instance) || (victim == writer && !to_stdin) {
            return;
        }
        if to_stdin && let Some(instance) = self.instances.get_mut(&victim) {
            instance.tampered = true;
        }
        let who = match self.serving(writer) {
            Some(writing) if victim != writer => format!("the server {}", writing.shown.name),
            _ => "the server".to_owned(),
        };
        let (end, consequence) = if to_stdin {
            ("stdin", ", and no effect counts as requested")
        } else {
            ("stdout", "")
        };
        let detail = format!(
            "a process of {who} wrote to this server's own {end}; what is said there from now on may be its \
             own{consequence}"
        );
        let problem = Problem {
            direction: injection.direction,
            fault: Fault::Injected,
            detail,
            bytes: injection.bytes.unwrap_or(0),
        };
        self.problem(victim, event.time, &problem);
        let process = self.shown_process(event);
        let attribution = self.attribute(event.process, writer, Object::Nothing);
        let action = detect::Action::Injection(&injection);
        self.detect(event, writer, &process, action, &attribution);
    }

    fn session(&mut self, id: u64, time: u64, session: &Session) {
        let mut detail = empty();
        detail.session = Some(session.id.clone());
        detail.era = Some(session.era);
        detail.protocol_version.clone_from(&session.protocol_version);
        detail.client_info.clone_from(&session.client);
        detail.server_info.clone_from(&session.server);
        let Some(serving) = self.serving(id) else { return };
        let mut record = self.record(RecordType::McpSession, time);
        record.server = Some(Arc::clone(&serving.shown));
        record.mcp = Some(Box::new(detail));
        self.records.push(record);
    }

    /// A call is no cause of what comes: what it was alerted of so far is told to its end.
    fn in_doubt(&mut self, id: u64, call: &Call) {
        let Some(serving) = self.instances.get_mut(&id).and_then(Instance::serving_mut) else {
            return;
        };
        serving.in_doubt(call);
        let shown = Arc::clone(&serving.shown);
        for due in self.dedupe.close_call(&shown.id, &call_uid(&shown.id, call)) {
            self.publish_alert(due);
        }
    }

    fn ended(&mut self, id: u64, ended: &Ended) {
        let Some(serving) = self.instances.get_mut(&id).and_then(Instance::serving_mut) else {
            return;
        };
        let outlived = serving.ended(&ended.call, ended.time);
        let shown = Arc::clone(&serving.shown);
        self.shorten(&outlived);
        for due in self.dedupe.close_call(&shown.id, &call_uid(&shown.id, &ended.call)) {
            self.publish_alert(due);
        }
        let call = &ended.call;
        let mut record = self.record(RecordType::McpCall, ended.time);
        let arguments = self.masked_arguments(call, &mut record);
        let mut error = ended.error.clone();
        if let Some(error) = &mut error {
            self.mask(&mut error.message, "call.error.message", &mut record.redacted);
        }
        if ended.clipped {
            record.truncated.push("call.response");
        }
        record.call = Some(Arc::new(record::Call {
            outcome: Some(CallOutcome {
                to: match call.direction {
                    Direction::ClientToServer => "server",
                    Direction::ServerToClient => "client",
                },
                arguments,
                status: ended.status,
                duration_ns: ended.response_bytes.map(|_| ended.time.saturating_sub(call.started)),
                request_bytes: call.request_bytes,
                response_bytes: ended.response_bytes,
                error,
            }),
            ..call_of(&shown.id, call)
        }));
        record.server = Some(shown);
        self.records.push(record);
    }

    fn masked_arguments(&self, call: &Call, record: &mut record::Record) -> Option<Value> {
        let (value, cut) =
            self.redactor.value(call.arguments.as_ref()?, "call.arguments", &mut record.redacted);
        if cut || call.clipped.is_some() {
            record.truncated.push("call.arguments");
        }
        Some(value)
    }

    fn problem(&mut self, id: u64, time: u64, problem: &Problem) {
        let Some(serving) = self.instances.get_mut(&id).and_then(Instance::serving_mut) else {
            return;
        };
        let Some(held_back) = serving.problems.admit(time) else {
            self.losses.add("pipeline", "mcp.message", "flood", 1);
            return;
        };
        let mut detail = empty();
        detail.direction = Some(problem.direction.name());
        detail.problem = Some(problem.fault);
        detail.bytes = Some(problem.bytes);
        let text = self.redactor.text(&problem.detail).0.into_owned();
        detail.detail = Some(match held_back {
            0 => text,
            more => format!("{text} (and {more} more problems before it)"),
        });
        self.message(id, time, detail, None);
    }

    /// `call` is the one the message speaks of.
    fn message(&mut self, id: u64, time: u64, detail: McpDetail, call: Option<&Call>) {
        let Some(serving) = self.serving(id) else { return };
        let mut record = self.record(RecordType::McpMessage, time);
        record.call = call.map(|call| Arc::new(call_of(&serving.shown.id, call)));
        record.server = Some(Arc::clone(&serving.shown));
        record.mcp = Some(Box::new(detail));
        self.records.push(record);
    }
}

fn empty() -> McpDetail {
    McpDetail {
        session: None,
        era: None,
        protocol_version: None,
        client_info: None,
        server_info: None,
        direction: None,
        method: None,
        problem: None,
        detail: None,
        progress: None,
        bytes: None,
    }
}
