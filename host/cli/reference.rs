//! The command line reference, made from the help texts.

use std::fmt::Write;

use clap::CommandFactory;

use super::Cli;

/// `docs/cli.md`: the long help of every command.
pub fn markdown() -> String {
    let mut page = String::from(
        "# Command line\n\n\
         <!-- Generated from host/cli. Edit the help texts there, then run\n     \
         MORTISE_WRITE_DOCS=1 cargo test --test cli -->\n",
    );
    let mut cli = Cli::command().term_width(100).disable_help_subcommand(true);
    cli.build();
    let _ = write!(page, "\n```text\n{}\n```\n", help(&mut cli));
    let for_people = cli.get_subcommands_mut().filter(|command| !command.is_hide_set());
    for command in for_people {
        section(&mut page, "## `mortise", command);
    }
    page
}

/// The help of a command and of those below it.
fn section(page: &mut String, heading: &str, command: &mut clap::Command) {
    let heading = format!("{heading} {}", command.get_name());
    let _ = write!(page, "\n{heading}`\n\n```text\n{}\n```\n", help(command));
    for command in command.get_subcommands_mut() {
        section(page, &format!("#{heading}"), command);
    }
}

fn help(command: &mut clap::Command) -> String {
    let text = command.render_long_help().to_string();
    text.lines()
        .map(str::trim_end)
        .collect::<Vec<_>>()
        .join("\n")
        .trim_end()
        .to_owned()
}
