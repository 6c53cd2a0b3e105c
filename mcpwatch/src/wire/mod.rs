//! Bytes → JSON-RPC messages. Framing is a detector that can be extended: lines today.
