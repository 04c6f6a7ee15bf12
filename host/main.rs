//! The `mortise` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    mortise::cli::main()
}
