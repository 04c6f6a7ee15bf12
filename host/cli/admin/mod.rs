//! The commands that talk to a running host, over the socket in its data folder.

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use prost_reflect::{DescriptorPool, DynamicMessage, SerializeOptions};
use tonic::Status;
use tonic::transport::Channel;

use super::Hint;
use crate::admin::pb::admin_client::AdminClient;
use crate::admin::pb::store_client::StoreClient;
use crate::admin::{ConnectError, connect, connect_store, pb, serve_store};
use crate::app::{store_folder, store_options};
use crate::capability::store::{self, Options, Store};
use crate::config::{Config, ConfigErrors, Overrides};

pub(super) mod events;
pub(super) mod generations;
pub(super) mod log_filter;
pub(super) mod metrics;
pub(super) mod reload;
pub(super) mod status;
pub(super) mod timers;

/// How long a host may take to answer. Compiling a large plugin takes seconds.
const TIMEOUT: Duration = Duration::from_secs(300);

/// Which host.
#[derive(Debug, Clone, clap::Args)]
pub(in crate::cli) struct HostArgs {
    /// The configuration file of the host.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// The data folder of the host. Wins over `server.data`.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

impl HostArgs {
    /// The data folder of the host that is meant.
    ///
    /// # Errors
    /// If the configuration does not say where it is. Other mistakes do not matter: the host may have been
    /// started before they were made.
    fn data(&self) -> Result<PathBuf, ConfigErrors> {
        Ok(self.config()?.server.data)
    }

    fn config(&self) -> Result<Config, ConfigErrors> {
        let overrides = Overrides {
            data: self.data.clone(),
            ..Overrides::default()
        };
        let (config, mut errors) = Config::read(self.config.as_deref(), &overrides);
        let file = self.config.as_ref().map(|file| file.display().to_string());
        errors.retain(|error| match (&*error.key, &error.location) {
            // Its place, its section, or the syntax of the file.
            ("server.data" | "server", _) | ("", Some(_)) => true,
            // The file itself.
            (key, None) => file.as_deref() == Some(key),
            _ => false,
        });
        ConfigErrors::check(errors)?;
        Ok(config)
    }

    /// Where the store of the host is, and how it is opened.
    pub(in crate::cli) fn store(&self) -> anyhow::Result<(PathBuf, Options)> {
        let config = self.config()?;
        Ok((store_folder(&config.server.data), store_options(&config)?))
    }

    /// Runs `work` with the store of the running host, or with the store itself where none runs.
    pub(in crate::cli) fn with_store<T>(
        &self,
        work: impl AsyncFnOnce(&mut StoreClient<Channel>) -> Result<T, Status>,
    ) -> anyhow::Result<T> {
        let data = self.data()?;
        let answered = |answer: Result<T, Status>| {
            answer.map_err(|status| anyhow::anyhow!("{}", super::printable(status.message())))
        };
        runtime()?.block_on(async {
            match connect_store(&data).await {
                Ok(mut client) => return answered(work(&mut client).await),
                Err(ConnectError::NoHost(_)) => {}
                Err(error) => return Err(explained(error)),
            }
            let (folder, options) = self.store()?;
            if !store::exists(&folder) {
                let hint = "say with --data or --config which data folder it is in";
                let error = anyhow::anyhow!("there is no store in {}", folder.display());
                return Err(Hint::new(error, hint).into());
            }
            let store = Store::open(&folder, options)?;
            let mut client = serve_store(store.clone()).await?;
            let answer = answered(work(&mut client).await);
            store.close();
            answer
        })
    }

    /// Connects to the host and runs `work` with it.
    pub(super) fn with<T>(
        &self,
        work: impl AsyncFnOnce(AdminClient<Channel>) -> Result<T, Status>,
    ) -> anyhow::Result<T> {
        let data = self.data()?;
        runtime()?.block_on(async {
            let client = connect(&data).await.map_err(explained)?;
            let answer = tokio::time::timeout(TIMEOUT, work(client)).await;
            let answer = answer.context("the host did not answer within 5 minutes")?;
            answer.map_err(|status| anyhow::anyhow!("{}", super::printable(status.message())))
        })
    }
}

fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")
}

fn explained(error: ConnectError) -> anyhow::Error {
    let hint = match &error {
        ConnectError::NoHost(_) => {
            "start one with `mortise serve`, or say with --data or --config which folder it has"
        }
        ConnectError::NotAllowed(_) => {
            "only the user that the host runs as may; run the command as that user"
        }
        ConnectError::Other { .. } => return error.into(),
    };
    Hint::new(error, hint).into()
}

/// A message of the service as one JSON object, with the names of its fields as they stand in the proto.
pub(super) fn json(name: &str, message: &impl prost::Message) -> anyhow::Result<String> {
    const OPTIONS: SerializeOptions = SerializeOptions::new()
        .use_proto_field_name(true)
        .stringify_64_bit_integers(false)
        .skip_default_fields(false);
    let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET)?;
    let descriptor = pool
        .get_message_by_name(&format!("mortise.admin.v1.{name}"))
        .with_context(|| format!("there is no message {name}"))?;
    let message = DynamicMessage::decode(descriptor, message.encode_to_vec().as_slice())?;
    let mut text = Vec::new();
    let mut serializer = serde_json::Serializer::pretty(&mut text);
    message
        .serialize_with_options(&mut serializer, &OPTIONS)
        .context("the answer cannot be written as JSON")?;
    text.push(b'\n');
    Ok(String::from_utf8(text)?)
}

/// The first `limit` things of a list that comes in pages. `page` asks for the one after a token, with so many
/// things at the most, and hands on the token of the next; the empty token stands for the beginning and the end.
async fn first<T>(
    limit: usize,
    mut page: impl AsyncFnMut(u32, String) -> Result<(Vec<T>, String), Status>,
) -> Result<Vec<T>, Status> {
    let mut found = Vec::new();
    let mut token = String::new();
    loop {
        let size = u32::try_from(limit - found.len()).unwrap_or(u32::MAX);
        let (more, next) = page(size, token).await?;
        found.extend(more);
        found.truncate(limit);
        token = next;
        if token.is_empty() || found.len() >= limit {
            return Ok(found);
        }
    }
}

/// What a deferred call is made for.
fn purpose(call: &pb::DeferredCall) -> String {
    match &call.event {
        Some(event) => format!("{} ({})", event.id, event.topic),
        None => "timer".to_owned(),
    }
}

/// A moment in UTC, to the second.
fn moment(timestamp: Option<prost_types::Timestamp>) -> String {
    let time = timestamp.and_then(|timestamp| SystemTime::try_from(timestamp).ok());
    time.map_or_else(
        || "-".into(),
        |time| humantime::format_rfc3339_seconds(time).to_string(),
    )
}

/// Rows under each other, the first of which is the heading.
pub(super) fn table<const COLUMNS: usize>(rows: &[[String; COLUMNS]]) -> String {
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths: [usize; COLUMNS] = std::array::from_fn(|column| width(column).unwrap_or_default());
    let lines = rows.iter().map(|row| {
        let cells = row.iter().zip(widths);
        let line: String = cells.map(|(cell, width)| format!("{cell:width$}  ")).collect();
        line.trim_end().to_owned() + "\n"
    });
    lines.collect()
}
