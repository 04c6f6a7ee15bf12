//! The command line: arguments, help, exit codes and how errors are shown.
//!
//! Each command has a file with its arguments and a `run`. What they print on standard output is meant for
//! scripts; everything else goes to standard error.

use std::io::Write;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

mod admin;
mod call;
mod check;
mod completions;
mod config_args;
mod connect;
mod dev;
mod exit;
mod explain;
mod health;
mod inspect;
mod new;
mod project;
pub mod reference;
mod sandbox;
mod serve;
mod store;
mod test;
mod timeout;

pub use config_args::{ConfigArgs, PluginFile};
pub use dev::DevArgs;
pub use inspect::{ConfigKey, Grant, Inspection, Service};
pub use serve::ServeArgs;

pub use exit::{Hint, WithHint};

/// Serves gRPC from sandboxed WebAssembly plugins that can be replaced while it runs.
#[derive(Debug, Parser)]
#[command(name = "mortise", version, after_long_help = AFTER_HELP, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

/// The most of any one text of a server or a plugin that is shown.
const MAX_TEXT_BYTES: usize = 64 << 10;

const AFTER_HELP: &str = "\
Examples:
  mortise new greeter                          start a plugin in ./greeter
  mortise dev greeter                          build it, serve it, swap it on every save
  mortise test greeter                         run its tests in the component
  mortise serve --plugin greeter=greeter.wasm  serve a built plugin
  mortise serve --config mortise.toml          serve what a configuration file names
  mortise status                               show how the host here is doing
  mortise call greeter.v1.Greeter/SayHello -d '{\"name\": \"Ada\"}'

Exit codes:
  0        success
  1        a runtime error, such as a port in use or a server that cannot be reached
  2        a wrong command line
  3        a wrong configuration
  4        `mortise health` was told that the host is not serving
  65 - 80  `mortise call` was answered with a gRPC status other than OK: 64 + the status's number";

#[derive(Debug, Subcommand)]
enum Command {
    Serve(serve::ServeArgs),
    Dev(dev::DevArgs),
    New(new::NewArgs),
    Test(test::TestArgs),
    Inspect(inspect::InspectArgs),
    Call(call::CallArgs),
    Check(check::CheckArgs),
    Health(health::HealthArgs),
    Status(admin::status::StatusArgs),
    Generations(admin::generations::GenerationsArgs),
    Reload(admin::reload::ReloadArgs),
    LogFilter(admin::log_filter::LogFilterArgs),
    Metrics(admin::metrics::MetricsArgs),
    Store(store::StoreArgs),
    Events(admin::events::EventsArgs),
    Timers(admin::timers::TimersArgs),
    Explain(explain::ExplainArgs),
    Completions(completions::CompletionsArgs),
    #[command(hide = true)]
    Sandbox(sandbox::SandboxArgs),
}

/// Runs the command that the process was started with, and reports what went wrong on standard error.
pub fn main() -> ExitCode {
    // Help, version and a wrong command line end the process here, with code 0 or 2.
    let result = match Cli::parse().command {
        Command::Serve(args) => serve::run(args),
        Command::Dev(args) => dev::run(args),
        Command::New(args) => new::run(args),
        Command::Test(args) => test::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Call(args) => call::run(args),
        Command::Check(args) => check::run(args),
        Command::Health(args) => health::run(args),
        Command::Status(args) => admin::status::run(args),
        Command::Generations(args) => admin::generations::run(args),
        Command::Reload(args) => admin::reload::run(args),
        Command::LogFilter(args) => admin::log_filter::run(args),
        Command::Metrics(args) => admin::metrics::run(args),
        Command::Store(args) => store::run(args),
        Command::Events(args) => admin::events::run(args),
        Command::Timers(args) => admin::timers::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Completions(args) => completions::run(args),
        Command::Sandbox(args) => sandbox::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => exit::report(&error),
    }
}

/// Writes `text` to standard output. A reader that went away, such as `head`, is no error.
fn print(text: &str) -> anyhow::Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(anyhow::Error::new(error).context("cannot write to standard output"))
        }
        _ => Ok(()),
    }
}

/// What a server or a plugin says, made fit for a terminal.
fn printable(text: &str) -> String {
    crate::observe::printable(text, MAX_TEXT_BYTES)
}
