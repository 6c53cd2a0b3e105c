//! The target `lines` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (mcpwatch_fuzz::targets::target("lines").run)(data));
