//! mcpwatch: a runtime monitor for MCP servers. Kernel programs see what the servers do and what they
//! are asked; the agent names the call behind each effect. `ARCHITECTURE.md` shows the way of one event.
//!
//! The rooms stand in the order data flows through them; imports run in the same direction only.

pub mod attribute;
pub mod cli;
pub mod config;
pub mod detect;
pub mod discover;
pub mod event;
pub mod host;
pub mod kernel;
pub mod output;
pub mod pipeline;
pub mod record;
pub mod recording;
pub mod redact;
pub mod session;
pub mod telemetry;
pub mod wire;
