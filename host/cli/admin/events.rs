//! `mortise events`: dead letters, through the running host or in its store.

use tonic::Status;
use tonic::transport::Channel;

use super::{HostArgs, first, json, moment, purpose, table};
use crate::admin::pb::store_client::StoreClient;
use crate::admin::pb::{
    DeadLetter, DropDeadLettersRequest, ListDeadLettersRequest, ListDeadLettersResponse,
    RetryDeadLettersRequest,
};
use crate::cli::{print, printable};

/// Shows dead letters, and has them tried again or forgotten.
///
/// A dead letter is a call that the host has given up: for an event that a plugin could not take, or of a
/// timer. It is kept in the store until it is tried again, dropped, or makes way for newer ones
/// (events.max_dead_letters).
///
/// Through the host that runs with the data folder; where none runs, in the store itself.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise events list
  mortise events list --json | jq -r '.dead_letters[].id'
  mortise events retry 18ec27073e4105e969f3b9e8edf7449f
  mortise events drop --all")]
pub(in crate::cli) struct EventsArgs {
    #[command(subcommand)]
    command: EventsCommand,
}

#[derive(Debug, Clone, clap::Subcommand)]
enum EventsCommand {
    List(ListArgs),
    Retry(RetryArgs),
    Drop(DropArgs),
}

/// Lists dead letters, the oldest first.
#[derive(Debug, Clone, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    host: HostArgs,

    /// The most that are listed.
    #[arg(long, value_name = "COUNT", default_value_t = 1000)]
    limit: u32,

    /// Prints one JSON object.
    #[arg(long)]
    json: bool,
}

/// Has dead letters tried again, with all attempts before them: at once, or as soon as a host runs.
///
/// Those of one key are no longer in order then, nor with the events that were delivered meanwhile.
#[derive(Debug, Clone, clap::Args)]
struct RetryArgs {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    host: HostArgs,
}

/// Forgets dead letters.
#[derive(Debug, Clone, clap::Args)]
struct DropArgs {
    #[command(flatten)]
    which: Which,

    #[command(flatten)]
    host: HostArgs,
}

#[derive(Debug, Clone, clap::Args)]
#[group(required = true, multiple = false)]
struct Which {
    /// Dead letters, by their ids.
    #[arg(value_name = "ID")]
    ids: Vec<String>,

    /// All that there are.
    #[arg(long)]
    all: bool,
}

/// Ids that are sent at once; the service takes no more.
const MAX_IDS: usize = 1000;

pub(in crate::cli) fn run(args: EventsArgs) -> anyhow::Result<()> {
    match args.command {
        EventsCommand::List(args) => list(&args),
        EventsCommand::Retry(args) => {
            let done = each(&args.host, args.which, async |client, ids| {
                let request = RetryDeadLettersRequest { ids };
                Ok(client.retry_dead_letters(request).await?.into_inner().ids)
            })?;
            print(&format!("{done} tried again\n"))
        }
        EventsCommand::Drop(args) => {
            let done = each(&args.host, args.which, async |client, ids| {
                let request = DropDeadLettersRequest { ids };
                Ok(client.drop_dead_letters(request).await?.into_inner().ids)
            })?;
            print(&format!("{done} dropped\n"))
        }
    }
}

fn list(args: &ListArgs) -> anyhow::Result<()> {
    let limit = args.limit as usize;
    let dead_letters = args.host.with_store(async |client| all(client, limit).await)?;
    match args.json {
        true => {
            let list = ListDeadLettersResponse {
                dead_letters,
                ..ListDeadLettersResponse::default()
            };
            print(&json("ListDeadLettersResponse", &list)?)
        }
        false => print(&page(&dead_letters)),
    }
}

/// The first `limit` dead letters, page by page.
async fn all(client: &mut StoreClient<Channel>, limit: usize) -> Result<Vec<DeadLetter>, Status> {
    let page = async |page_size, page_token| {
        let request = ListDeadLettersRequest {
            page_size,
            page_token,
        };
        let page = client.list_dead_letters(request).await?.into_inner();
        Ok((page.dead_letters, page.next_page_token))
    };
    first(limit, page).await
}

/// Does `work` with those that are meant, and says how many there were. Ids that are given must be there.
fn each(
    host: &HostArgs,
    which: Which,
    work: impl AsyncFn(&mut StoreClient<Channel>, Vec<String>) -> Result<Vec<String>, Status>,
) -> anyhow::Result<usize> {
    let (done, missing) = host.with_store(async |client| {
        let ids = if which.all {
            let letters = all(client, usize::MAX).await?;
            letters.into_iter().map(|letter| letter.id).collect()
        } else {
            which.ids
        };
        let mut done = Vec::new();
        for ids in ids.chunks(MAX_IDS) {
            done.extend(work(client, ids.to_vec()).await?);
        }
        let missing = ids.into_iter().filter(|id| !which.all && !done.contains(id));
        let missing: Vec<_> = missing.collect();
        Ok((done.len(), missing))
    })?;
    match missing.as_slice() {
        [] => Ok(done),
        missing => anyhow::bail!("no dead letter has the id {}", printable(&missing.join(", "))),
    }
}

fn page(letters: &[DeadLetter]) -> String {
    let heading = [
        "ID",
        "GIVEN UP AT",
        "FOR",
        "PLUGIN",
        "METHOD",
        "FAILURES",
        "ERROR",
    ];
    let mut rows = vec![heading.map(str::to_owned)];
    rows.extend(letters.iter().map(|letter| {
        let call = letter.call.clone().unwrap_or_default();
        [
            printable(&letter.id),
            moment(letter.given_up_at),
            printable(&purpose(&call)),
            printable(&call.plugin),
            printable(&call.method),
            call.failures.to_string(),
            printable(&call.last_error),
        ]
    }));
    table(&rows)
}
