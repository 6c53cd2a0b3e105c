//! A minute of the soak; `cargo xtask soak` has an hour of it.

#[test]
fn a_minute_of_steady_mixed_load_loses_nothing_and_holds_no_more_memory() {
    let soaked = mcpwatch_tests::soak(60, |line| println!("{line}"));
    println!("{soaked:?}");
}
