//! Input → records: pure, synchronous, single-threaded; time comes from events.
