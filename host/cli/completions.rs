//! `mortise completions`: a completion script for a shell.

use clap::CommandFactory;
use clap_complete::Shell;

use super::{Cli, print};

/// Prints a completion script for a shell.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise completions bash > ~/.local/share/bash-completion/completions/mortise
  mortise completions zsh > ~/.zfunc/_mortise
  mortise completions fish > ~/.config/fish/completions/mortise.fish")]
pub(super) struct CompletionsArgs {
    /// The shell to complete for.
    shell: Shell,
}

pub(super) fn run(args: CompletionsArgs) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "mortise", &mut script);
    print(&String::from_utf8_lossy(&script))
}
