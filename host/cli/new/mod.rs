//! `mortise new`: a plugin to start from.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::{WithHint, print};

mod name;
mod template;

use name::NewName;

/// Makes a plugin to start from, which builds, tests and serves at once.
///
/// The folder holds everything it needs, the SDK included, except what cargo fetches from its registry. It can
/// be moved anywhere.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise new greeter
  mortise new order-desk --path plugins/order-desk")]
pub(super) struct NewArgs {
    /// The plugin's name: 1 to 63 characters of a-z, 0-9 and -, beginning with a letter.
    name: NewName,

    /// The folder to make, which may exist if it is empty. By default NAME in the current folder.
    #[arg(long, value_name = "DIR")]
    path: Option<PathBuf>,
}

pub(super) fn run(args: NewArgs) -> anyhow::Result<()> {
    let folder = args.path.unwrap_or_else(|| PathBuf::from(args.name.as_str()));
    require_empty(&folder)?;
    for (path, text) in template::files(&args.name) {
        write(&folder.join(path), &text)?;
    }
    print(&format!(
        "Made the plugin {name} in {folder}. What you can do now:\n\n  \
         cd {folder}\n  \
         cargo test     # its own tests, natively\n  \
         mortise dev    # build it, serve it on 127.0.0.1:50051, swap it on every save\n\n\
         And in another terminal:\n\n  \
         mortise call {package}.v1.{service}/SayHello -d '{{\"name\": \"Ada\"}}'\n",
        name = args.name,
        folder = folder.display(),
        package = args.name.identifier(),
        service = args.name.service(),
    ))
}

/// Refuses a folder that has anything in it: it may be somebody's work.
fn require_empty(folder: &Path) -> anyhow::Result<()> {
    match fs::read_dir(folder).map(|mut entries| entries.next().is_none()) {
        Ok(true) => Ok(()),
        Ok(false) => Err(anyhow::anyhow!("{} exists and is not empty", folder.display()))
            .hint("choose another folder with --path"),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() == ErrorKind::NotADirectory => {
            bail!("{} exists and is not a folder", folder.display())
        }
        Err(error) => Err(error).with_context(|| format!("cannot read {}", folder.display())),
    }
}

fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let folder = file.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    fs::write(file, text).with_context(|| format!("cannot write {}", file.display()))
}
