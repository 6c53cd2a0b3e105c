//! The matrix of kernels from the inside: the same play under the same agent as on the host, in a virtual
//! machine that has another kernel. `cargo xtask vm` builds this statically and starts it twice.
//!
//! As process 1 of the virtual machine, from its initial RAM file system: it says on the console what
//! became of each test, like a test program, and switches the machine off.
//!
//! With `MCPWATCH_TESTS_ONLY=TEST` on the kernel's command line only tests with that in their names run; with
//! `MCPWATCH_TESTS_SHORT` those that every kernel has to pass for itself; with `MCPWATCH_COSTS` it measures instead
//! (`costs`).
//!
//! `guest --on-host TREE`, once before: in a file system of its own made of the same files, on the kernel
//! that is there. The records of the play go to stdout; they are what the others have to be like.
//!
//! `guest --play TIER` is one play, `guest --subject` the one that is measured, `guest --limited PROGRAM …` a program with
//! the capabilities of the agent's unit; the first process starts them.

mod boot;
mod clock;
mod costs;
mod fallback;
mod hidden;
mod limited;
#[cfg(target_arch = "aarch64")]
mod narrow;
mod plain;
mod play;
mod rounds;
mod suite;
mod verifier;
mod whole;

use std::env;
use std::panic;
use std::process::ExitCode;

use mcpwatch_tests::{is_failure_final, passed_over};

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        _ if std::process::id() == 1 => {
            // Whatever goes wrong, the machine goes off: a console that ends without a summary is a failure.
            let _ = panic::catch_unwind(|| {
                boot::furnish();
                // The kernel hands what it does not know itself of its command line to its first process.
                if env::var_os("MCPWATCH_COSTS").is_some() {
                    costs::measure();
                } else {
                    suite::run();
                }
            });
            boot::power_off()
        }
        ["--on-host", tree] => boot::move_into(tree),
        ["--moved-in"] => {
            boot::furnish();
            print!("{}", play::play(&suite::TIERS[0]).join("\n"));
            ExitCode::SUCCESS
        }
        ["--play", name] => {
            let tier = suite::TIERS.iter().find(|tier| tier.name == *name).expect("a tier's name");
            let played = panic::catch_unwind(|| play::play(tier));
            println!("{}{}", play::PASSED_OVER_LINE, passed_over());
            let failed = if is_failure_final() { suite::FINAL } else { 1 };
            let Ok(lines) = played else { return ExitCode::from(failed) };
            print!("{}", lines.join("\n"));
            ExitCode::SUCCESS
        }
        ["--limited", program, arguments @ ..] => {
            eprintln!("{program}: {}", limited::execute(program, arguments));
            ExitCode::FAILURE
        }
        ["--subject"] => {
            costs::subject();
            ExitCode::SUCCESS
        }
        _ => {
            eprintln!("usage: guest --on-host TREE");
            ExitCode::from(2)
        }
    }
}
