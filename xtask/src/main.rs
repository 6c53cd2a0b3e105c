//! `cargo xtask`: all set-up, building, testing and running of mcpwatch.
fn main() {}
