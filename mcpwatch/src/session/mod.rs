//! Protocol eras, sessions, calls in flight and tool catalogues of one server's channel: bytes in,
//! [`Said`] out. Pure; time comes with the bytes.

mod arguments;
mod catalogue;
mod conversation;
mod flight;
mod messages;
pub mod methods;
mod sessions;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use serde_json::Value;

use crate::event::Direction;
use crate::record::{CallError, CallStatus, Party, Progress};
use crate::wire::Fault;

pub use crate::wire::PROBLEMS;
pub use catalogue::Catalogue;
pub use conversation::{Conversation, Counters};
pub use sessions::{HANDSHAKE, STATELESS};

/// A request on a channel, from the exit of the read that completed it.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// Counts the calls of one channel from 1: with the server's id it makes the call's uid.
    pub number: u64,
    /// The JSON-RPC id as sent.
    pub id: Value,
    /// The method.
    pub method: String,
    /// `params.name` of `tools/call`.
    pub tool: Option<String>,
    /// `params.name` of `prompts/get`.
    pub prompt: Option<String>,
    /// What the server said of the tool, as the catalogue had it when the call began.
    pub annotations: Annotations,
    /// What it was given, not masked: `params.arguments` of `tools/call` and `prompts/get`, `params`
    /// without `_meta` of other methods. `None` when there was none or the request was cut before it;
    /// with `clipped`, the parts of it that are known.
    pub arguments: Option<Value>,
    /// Text of the request as far as it was captured, or of its arguments as far as they are kept, when
    /// that is not all: matching must do with it. At most about [`Limits::clip_bytes`] long.
    ///
    /// [`Limits::clip_bytes`]: crate::wire::Limits::clip_bytes
    pub clipped: Option<String>,
    /// Who is asked.
    pub direction: Direction,
    /// The session, once there is one.
    pub session: Option<String>,
    /// When the request was complete, nanoseconds of `CLOCK_BOOTTIME`.
    pub started: u64,
    /// Bytes of the request's line.
    pub request_bytes: u64,
}

impl Call {
    /// About what it takes in memory, in bytes.
    #[must_use]
    pub fn weight(&self) -> usize {
        let arguments = self.arguments.as_ref().map_or(0, flight::weight);
        size_of::<Self>() + arguments + self.clipped.as_ref().map_or(0, String::len)
    }
}

/// Hints of a tool's definition (`annotations`, since 2025-03-26) by which a client may decide that nobody
/// needs to be asked. `None` where the definition does not say: the protocol's defaults promise nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Annotations {
    /// `readOnlyHint`: the tool changes nothing around it.
    pub read_only: Option<bool>,
    /// `destructiveHint`: the tool may destroy something; of meaning for one that is not read-only.
    pub destructive: Option<bool>,
    /// `openWorldHint`: the tool deals with parties outside.
    pub open_world: Option<bool>,
}

/// What a channel's bytes said.
#[derive(Clone, Debug, PartialEq)]
pub enum Said {
    /// A session began, or more became known of it (version agreed, parties named).
    Session(Session),
    /// A request is complete: its call is in flight from now on.
    Started(Arc<Call>),
    /// The answer to a call was probably among bytes that were lost: it is still waited for, but is no
    /// cause of what the server does, until its progress is told.
    InDoubt(Arc<Call>),
    /// A call is over.
    Ended(Ended),
    /// A notification.
    Notification {
        /// Which way.
        direction: Direction,
        /// Its method.
        method: String,
        /// Bytes of its line.
        bytes: u64,
        /// The call in flight whose progress it tells.
        call: Option<Arc<Call>>,
        /// How far the work has come, as it says.
        progress: Option<Progress>,
    },
    /// Bytes that are no valid message, or a message the protocol does not allow here.
    Problem(Problem),
    /// The tool catalogue is complete, or changed.
    Catalogue {
        /// How many tools it holds.
        tools: usize,
    },
}

/// A session as far as it is known.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Session {
    /// Unique within the channel: `s1`, `s2`, …
    pub id: String,
    /// `handshake` or `stateless`.
    pub era: &'static str,
    /// The revision in use.
    pub protocol_version: Option<String>,
    /// `clientInfo`.
    pub client: Option<Party>,
    /// `serverInfo`.
    pub server: Option<Party>,
}

/// How a call ended.
#[derive(Clone, Debug, PartialEq)]
pub struct Ended {
    /// The call.
    pub call: Arc<Call>,
    /// How.
    pub status: CallStatus,
    /// When, nanoseconds of `CLOCK_BOOTTIME`.
    pub time: u64,
    /// Bytes of the response's line, when there was one.
    pub response_bytes: Option<u64>,
    /// Why it failed.
    pub error: Option<CallError>,
    /// The response was cut: the status is what the captured parts say.
    pub clipped: bool,
}

/// Bytes that are no valid message here.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// Which way.
    pub direction: Direction,
    /// What is wrong.
    pub fault: Fault,
    /// A sentence on it; holds text of the channel only in escaped form.
    pub detail: String,
    /// Bytes concerned.
    pub bytes: u64,
}
