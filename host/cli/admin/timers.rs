//! `mortise timers`: what plugins have left for later, through the running host or in its store.

use tonic::Status;
use tonic::transport::Channel;

use super::{HostArgs, first, json, moment, purpose, table};
use crate::admin::pb::store_client::StoreClient;
use crate::admin::pb::{CancelTimerRequest, DeferredCall, ListTimersRequest, ListTimersResponse};
use crate::cli::{print, printable};

/// Shows what a plugin has left for later, and takes it back.
///
/// These are the timers that the plugin has set, and dead letters that are tried again. Those that were given
/// up are listed by `mortise events list`.
///
/// Through the host that runs with the data folder; where none runs, in the store itself.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise timers list order
  mortise timers list order --limit 10 --json
  mortise timers cancel order 5d1f0c2b3a49586718c3a9d2f4b1e07a")]
pub(in crate::cli) struct TimersArgs {
    #[command(subcommand)]
    command: TimersCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum TimersCommand {
    List(ListArgs),
    Cancel(CancelArgs),
}

/// Lists what a plugin has pending, in the order of time.
#[derive(Debug, Clone, clap::Args)]
struct ListArgs {
    /// The plugin, by the operator's name.
    #[arg(value_name = "NAME")]
    plugin: String,

    #[command(flatten)]
    host: HostArgs,

    /// The most that are listed.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: u32,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Takes back something that a plugin has pending.
///
/// The plugin does not hear of it. The exit code is 1 if there is none of this id.
#[derive(Debug, Clone, clap::Args)]
struct CancelArgs {
    /// The plugin, by the operator's name.
    #[arg(value_name = "NAME")]
    plugin: String,

    /// Which one.
    #[arg(value_name = "ID")]
    id: String,

    #[command(flatten)]
    host: HostArgs,
}

pub(in crate::cli) fn run(args: TimersArgs) -> anyhow::Result<()> {
    match args.command {
        TimersCommand::List(args) => list(args),
        TimersCommand::Cancel(args) => cancel(args),
    }
}

fn list(args: ListArgs) -> anyhow::Result<()> {
    let (plugin, limit) = (args.plugin, args.limit as usize);
    let timers = args
        .host
        .with_store(async |client| pending(client, &plugin, limit).await)?;
    match args.json {
        true => {
            let list = ListTimersResponse {
                timers,
                ..ListTimersResponse::default()
            };
            print(&json("ListTimersResponse", &list)?)
        }
        false => print(&page(&timers)),
    }
}

/// The first `limit` of them, page by page.
async fn pending(
    client: &mut StoreClient<Channel>,
    plugin: &str,
    limit: usize,
) -> Result<Vec<DeferredCall>, Status> {
    let page = async |page_size, page_token| {
        let request = ListTimersRequest {
            plugin: plugin.to_owned(),
            page_size,
            page_token,
        };
        let page = client.list_timers(request).await?.into_inner();
        Ok((page.timers, page.next_page_token))
    };
    first(limit, page).await
}

fn cancel(args: CancelArgs) -> anyhow::Result<()> {
    let CancelArgs { plugin, id, host } = args;
    let shown = printable(&id);
    let cancelled = host.with_store(async |client| {
        let answer = client.cancel_timer(CancelTimerRequest { plugin, id }).await?;
        Ok(answer.into_inner().cancelled)
    })?;
    anyhow::ensure!(cancelled, "nothing that is pending has the id {shown}");
    print("cancelled\n")
}

fn page(timers: &[DeferredCall]) -> String {
    let heading = ["ID", "DUE AT", "FOR", "METHOD", "FAILURES", "ERROR"];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(timers.iter().map(|call| {
        [
            printable(&call.id),
            moment(call.due_at),
            printable(&purpose(call)),
            printable(&call.method),
            call.failures.to_string(),
            printable(&call.last_error),
        ]
    }));
    table(&rows)
}
