//! The target `client_configs` for libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| (mcpwatch_fuzz::targets::target("client_configs").run)(
    data
));
