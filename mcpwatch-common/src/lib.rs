//! What both sides of the kernel border share, laid out once: the events the kernel programs send
//! ([`event`]) and what the agent tells them ([`control`]).
#![no_std]

pub mod control;
pub mod event;
pub mod syscalls;
