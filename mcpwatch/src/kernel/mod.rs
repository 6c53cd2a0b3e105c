//! The only room that knows aya: load, attach, offsets, ring reader, watch set.
