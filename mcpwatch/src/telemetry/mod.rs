//! The agent about itself: metrics, health and its own log.

mod endpoint;
pub mod health;
pub mod internal;
pub mod metrics;
mod process;

pub use endpoint::{BindError, bind, serve};
pub use health::{Health, Heartbeat};
pub use metrics::{Description, Metrics};
