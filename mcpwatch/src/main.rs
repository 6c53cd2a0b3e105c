//! The `mcpwatch` binary: all it does is in [`mcpwatch::cli`].

use std::process::ExitCode;

fn main() -> ExitCode {
    mcpwatch::cli::main()
}
