//! The fuzz targets of mcpwatch, for libFuzzer. `fuzz/README.md` says how they are run.

pub mod targets;
