//! The target `containers` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (mcpwatch_fuzz::targets::target("containers").run)(data));
