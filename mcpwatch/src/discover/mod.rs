//! Which processes are MCP servers, and on what evidence. Tables and pure functions, but for [`scan`],
//! which with [`roots`] alone reads files and `/proc`.

pub mod client_config;
pub mod clients;
pub mod configured;
mod document;
pub mod evidence;
pub mod explicit;
pub mod launcher;
pub mod locations;
pub mod matching;
pub mod roots;
pub mod scan;
pub mod survey;

pub use client_config::{ConfigError, ConfiguredServer};
pub use configured::ConfiguredServers;
