//! `soak SECONDS`: the soak for as long as one likes; `cargo xtask soak` starts it.

use std::env;
use std::process::ExitCode;

fn main() -> ExitCode {
    let Some(seconds) = env::args().nth(1).and_then(|word| word.parse().ok()) else {
        eprintln!("usage: soak SECONDS");
        return ExitCode::from(2);
    };
    let soaked = mcpwatch_tests::soak(seconds, |line| println!("  {line}"));
    let (early, late) = soaked.drift();
    let records: u64 = soaked.records.values().sum();
    println!("{records} records, none lost: {:?}", soaked.records);
    println!("made: {:?}, and {} servers that came and went", soaked.made, soaked.visitors);
    println!("resident: {early:.1} MiB in the second quarter, {late:.1} MiB in the last");
    println!("open files: {} then {}", soaked.files.0, soaked.files.1);
    println!("processor time of the agent: {:.1} s in {seconds} s", soaked.processor);
    ExitCode::SUCCESS
}
