//! The agent about itself: metrics, health and its own log.
