//! `mortise test`: a plugin's own tests, in the component that it is built to.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, bail};

use super::project::Project;
use super::sandbox::LINKING_VARIABLE;
use crate::config::Linking;

/// Runs a plugin's tests with its handlers in WebAssembly.
///
/// Builds the component and runs `cargo test`, with each handler that a test calls run in a sandbox of this
/// host. The tests are the same ones that plain `cargo test` runs natively, and their fake host stays what
/// they talk to.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise test                             the crate in the current folder
  mortise test plugins/order -- placing    tests whose names contain `placing`

Environment:
  MORTISE_TEST_TIMEOUT  how long a call may take before it is interrupted: 30s unless set")]
pub(super) struct TestArgs {
    /// The plugin's crate.
    #[arg(value_name = "CRATE_DIR", default_value = ".")]
    crate_dir: PathBuf,

    /// `component` runs it as the component that it is, even if its program can be linked directly.
    #[arg(long, value_name = "auto|component", value_parser = linking)]
    linking: Option<String>,

    /// For `cargo test`.
    #[arg(last = true, value_name = "ARGS")]
    cargo_args: Vec<OsString>,
}

fn linking(text: &str) -> Result<String, String> {
    text.parse::<Linking>().map(|_| text.to_owned())
}

pub(super) fn run(args: TestArgs) -> anyhow::Result<()> {
    let project = Project::open(&args.crate_dir)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let build = runtime.block_on(async {
        project.add_target().await?;
        let mut build = project.build().await?;
        if let Some(build) = &mut build {
            project.ended(build).await?;
        }
        anyhow::Ok(build)
    })?;
    let Some(build) = build else {
        bail!("the component does not compile");
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo
        .arg("test")
        .args(&args.cargo_args)
        .current_dir(&project.dir)
        .env("MORTISE_TEST_WASM", &build.component)
        .env(
            "MORTISE_BIN",
            std::env::current_exe().context("cannot tell which program this is")?,
        );
    if let Some(linking) = &args.linking {
        cargo.env(LINKING_VARIABLE, linking);
    }
    let status = cargo.status().context("cannot run cargo")?;
    if !status.success() {
        bail!("the tests do not pass in {}", build.component.display());
    }
    Ok(())
}
