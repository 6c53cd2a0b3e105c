//! Bytes of one ring-buffer record → [`Event`](super::Event).
