//! The agent about itself: metrics, health and its own log.

mod endpoint;
pub mod health;
pub mod internal;
pub mod metrics;
mod process;
mod registrar;
mod sampled;

pub use endpoint::{BindError, bind, serve};
pub use health::{Health, Heartbeat};
pub use metrics::Metrics;
pub use registrar::Description;
