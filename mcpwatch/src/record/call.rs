//! What was said: calls, sessions and messages.

use serde::Serialize;
use serde_json::{Number, Value};

use super::CallStatus;
use crate::wire::Fault;

/// A call, or a reference to one.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Call {
    /// Unique on this host since boot.
    pub uid: String,
    /// The JSON-RPC id as sent: a string or an integer.
    pub id: Value,
    /// The JSON-RPC method.
    pub method: String,
    /// `params.name` of `tools/call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// `params.name` of `prompts/get`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prompt: Option<String>,
    /// The session it belongs to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// On effects and alerts: how sure the attribution is, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub confidence: Option<f64>,
    /// On effects and alerts: all calls in flight, the likeliest first, when there are several.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<Candidate>,
    /// On `mcp.call`.
    #[serde(flatten)]
    pub outcome: Option<CallOutcome>,
}

/// One call an effect may belong to.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Candidate {
    /// The call's uid.
    pub uid: String,
    /// The JSON-RPC id as sent.
    pub id: Value,
    /// The tool, for `tools/call`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Share of the evidence, 0 to 1.
    pub confidence: f64,
}

/// What became of a call, and what it was given.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallOutcome {
    /// `server` when the client asked the server, `client` for the other way round.
    pub to: &'static str,
    /// `params.arguments` of `tools/call` and `prompts/get`, `params` of other methods; secrets masked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub arguments: Option<Value>,
    /// What became of it.
    pub status: CallStatus,
    /// From the exit of the read that completed the request to that of the write that completed the
    /// response; absent without a response.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duration_ns: Option<u64>,
    /// Bytes of the request's line.
    pub request_bytes: u64,
    /// Bytes of the response's line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_bytes: Option<u64>,
    /// Code and message of a JSON-RPC error, or the first text of a tool error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<CallError>,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct CallError {
    /// JSON-RPC error code.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub code: Option<i64>,
    /// What the server said, at most 256 characters.
    pub message: String,
}

/// What was said beside requests and responses.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct McpDetail {
    /// The session's id.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<String>,
    /// `handshake` or `stateless`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub era: Option<&'static str>,
    /// The revision in use.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub protocol_version: Option<String>,
    /// `clientInfo`: name and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_info: Option<Party>,
    /// `serverInfo`: name and version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub server_info: Option<Party>,
    /// `client_to_server` or `server_to_client`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub direction: Option<&'static str>,
    /// Method of a notification.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// What is wrong with the bytes, the message or its place, as a word of the fixed list in `docs/events.md`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<Fault>,
    /// A sentence on the problem.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// On `notifications/progress`: how far the call has come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// Bytes concerned.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
}

/// How far a call has come: numbers of the sender's own, often of no unit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Progress {
    /// What is done, `progress` of the notification.
    pub value: Number,
    /// What there is to do, when the sender knows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub total: Option<Number>,
}

/// One party of a session, as it calls itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Party {
    /// Its name.
    pub name: String,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}
