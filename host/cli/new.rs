//! `mortise new`: a plugin to start from.

#[derive(Debug, Clone, clap::Args)]
/// x
pub(super) struct NewArgs {}

pub(super) fn run(_args: NewArgs) -> anyhow::Result<()> {
    Ok(())
}
