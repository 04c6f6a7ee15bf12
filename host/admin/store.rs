//! What operators do with the store.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};

use super::deferred;
use super::pb::store_server::Store as StoreRpc;
use super::pb::{
    BackUpRequest, BackUpResponse, CancelTimerRequest, CancelTimerResponse, DropDeadLettersRequest,
    DropDeadLettersResponse, ExportEntriesRequest, ExportEntriesResponse, GetEntryRequest, GetEntryResponse,
    GetStoreStatsRequest, GetStoreStatsResponse, ImportEntriesRequest, ImportEntriesResponse,
    ListDeadLettersRequest, ListDeadLettersResponse, ListTimersRequest, ListTimersResponse, PluginUsage,
    RetryDeadLettersRequest, RetryDeadLettersResponse, ScanEntriesRequest, ScanEntriesResponse, StoreEntry,
};
use crate::capability::store::{
    Access, BackupError, CommitError, Direction, Entry, Page, Range, Store, Transaction, View,
};
use crate::capability::{Error, ErrorKind, Namespace};
use crate::observe::printable;

/// A page of an export, in entries; the store's own bound on bytes holds as well.
const EXPORT_PAGE_ENTRIES: u32 = 1_000;

/// What the command line may send at once: one transaction.
pub(super) const MAX_REQUEST_BYTES: usize = 64 << 20;

/// Over any open store.
#[derive(Clone)]
pub(super) struct StoreService {
    store: Store,
    /// Held by what reads all of the store: each keeps an old state in the file, and one is enough.
    whole: Arc<Semaphore>,
}

impl StoreService {
    pub(super) fn new(store: Store) -> Self {
        Self {
            store,
            whole: Arc::new(Semaphore::new(1)),
        }
    }

    fn begin_whole(&self) -> Result<(View, OwnedSemaphorePermit), Status> {
        let permit = self.whole.clone().try_acquire_owned();
        let permit = permit.map_err(|_| Status::aborted("another export or backup is running"))?;
        Ok((self.store.view().map_err(refused)?, permit))
    }

    fn read(&self, plugin: &str) -> Result<Transaction, Status> {
        Ok(self.store.begin(&namespace(plugin)?, Access::ReadOnly))
    }
}

#[tonic::async_trait]
impl StoreRpc for StoreService {
    type ExportEntriesStream = ReceiverStream<Result<ExportEntriesResponse, Status>>;

    async fn get_store_stats(
        &self,
        _: Request<GetStoreStatsRequest>,
    ) -> Result<Response<GetStoreStatsResponse>, Status> {
        let stats = self.store.view().map_err(refused)?.stats();
        let plugins = stats.usage.iter().map(|(plugin, usage)| PluginUsage {
            plugin: plugin.to_string(),
            keys: usage.keys,
            bytes: usage.bytes,
            answers: usage.answers,
            answer_bytes: usage.answer_bytes,
        });
        Ok(Response::new(GetStoreStatsResponse {
            plugins: plugins.collect(),
            sequence: stats.sequence,
            file_bytes: stats.file_bytes,
            undelivered_events: stats.undelivered,
            undelivered_event_bytes: stats.undelivered_bytes,
        }))
    }

    async fn get_entry(
        &self,
        request: Request<GetEntryRequest>,
    ) -> Result<Response<GetEntryResponse>, Status> {
        let GetEntryRequest { plugin, key } = request.into_inner();
        let found = self.read(&plugin)?.get(&key).map_err(refused)?;
        let found = found.ok_or_else(|| Status::not_found("there is no such entry"))?;
        Ok(Response::new(GetEntryResponse {
            entry: Some(StoreEntry {
                key,
                value: found.value.into(),
                version: found.version,
            }),
        }))
    }

    async fn scan_entries(
        &self,
        request: Request<ScanEntriesRequest>,
    ) -> Result<Response<ScanEntriesResponse>, Status> {
        let request = request.into_inner();
        let range = Range {
            start: request.start.into(),
            end: request.end.map(Bytes::from),
            cursor: request.cursor.map(Bytes::from),
            direction: match request.descending {
                true => Direction::Descending,
                false => Direction::Ascending,
            },
            limit: request.limit,
        };
        let mut transaction = self.read(&request.plugin)?;
        let page = blocking(move || transaction.blocking_scan(&range).map_err(refused)).await?;
        Ok(Response::new(ScanEntriesResponse {
            cursor: page.cursor.clone().map(Into::into),
            entries: entries(page),
        }))
    }

    async fn export_entries(
        &self,
        request: Request<ExportEntriesRequest>,
    ) -> Result<Response<Self::ExportEntriesStream>, Status> {
        let plugin = namespace(&request.get_ref().plugin)?;
        let (view, permit) = self.begin_whole()?;
        // One page waits while the client takes another.
        let (sender, pages) = mpsc::channel(1);
        tokio::task::spawn_blocking(move || {
            export(&view, &plugin, &sender);
            drop(permit);
        });
        Ok(Response::new(ReceiverStream::new(pages)))
    }

    async fn import_entries(
        &self,
        request: Request<ImportEntriesRequest>,
    ) -> Result<Response<ImportEntriesResponse>, Status> {
        let ImportEntriesRequest { plugin, entries } = request.into_inner();
        let mut transaction = self.store.begin(&namespace(&plugin)?, Access::ReadWrite);
        for entry in entries {
            transaction.put(&entry.key, entry.value.into()).map_err(refused)?;
        }
        let outcome = self.store.commit(transaction).await;
        outcome.map_err(|error| match error {
            CommitError::Conflict(_) => {
                Status::aborted("the plugin's quota may be passed; nothing was written")
            }
            CommitError::Unavailable(_) => Status::unavailable(error.to_string()),
            CommitError::Unknown => Status::unknown(error.to_string()),
        })?;
        Ok(Response::new(ImportEntriesResponse {}))
    }

    async fn back_up(&self, request: Request<BackUpRequest>) -> Result<Response<BackUpResponse>, Status> {
        let file = request.into_inner().file;
        if !Path::new(&file).is_absolute() {
            return Err(Status::invalid_argument("the path of a backup must be absolute"));
        }
        let (view, permit) = self.begin_whole()?;
        let shown = printable(&file, 512);
        // It goes on if the client goes away; so does the permit.
        let file_bytes = blocking(move || {
            let _permit = permit;
            view.back_up(Path::new(&file)).map_err(|error| match error {
                BackupError::Exists(_) => Status::already_exists(error.to_string()),
                BackupError::Io { .. } => Status::failed_precondition(error.to_string()),
                BackupError::Store(_) => Status::unavailable(error.to_string()),
            })
        })
        .await?;
        tracing::info!(file = shown, file_bytes, "the store was backed up");
        Ok(Response::new(BackUpResponse { file_bytes }))
    }

    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let listed = deferred::dead_letters(&self.store, request.into_inner()).await;
        listed.map(Response::new)
    }

    async fn retry_dead_letters(
        &self,
        request: Request<RetryDeadLettersRequest>,
    ) -> Result<Response<RetryDeadLettersResponse>, Status> {
        let retried = deferred::retry(&self.store, request.into_inner().ids).await;
        retried.map(Response::new)
    }

    async fn drop_dead_letters(
        &self,
        request: Request<DropDeadLettersRequest>,
    ) -> Result<Response<DropDeadLettersResponse>, Status> {
        let dropped = deferred::drop(&self.store, request.into_inner().ids).await;
        dropped.map(Response::new)
    }

    async fn list_timers(
        &self,
        request: Request<ListTimersRequest>,
    ) -> Result<Response<ListTimersResponse>, Status> {
        let listed = deferred::timers(&self.store, request.into_inner()).await;
        listed.map(Response::new)
    }

    async fn cancel_timer(
        &self,
        request: Request<CancelTimerRequest>,
    ) -> Result<Response<CancelTimerResponse>, Status> {
        let cancelled = deferred::cancel(&self.store, request.into_inner()).await;
        cancelled.map(Response::new)
    }
}

/// Sends pages until there are no more, or nobody wants them.
fn export(view: &View, plugin: &Namespace, pages: &mpsc::Sender<Result<ExportEntriesResponse, Status>>) {
    let mut range = Range {
        start: Bytes::new(),
        end: None,
        cursor: None,
        direction: Direction::Ascending,
        limit: EXPORT_PAGE_ENTRIES,
    };
    loop {
        // Each page in a transaction of its own: one is bounded in what it may read.
        let page = view
            .read(plugin)
            .and_then(|mut transaction| transaction.blocking_scan(&range));
        let page = match page {
            Ok(page) => page,
            Err(error) => {
                let _gone = pages.blocking_send(Err(refused(error)));
                return;
            }
        };
        range.cursor.clone_from(&page.cursor);
        let page = ExportEntriesResponse {
            entries: entries(page),
        };
        if pages.blocking_send(Ok(page)).is_err() || range.cursor.is_none() {
            return;
        }
    }
}

fn entries(page: Page) -> Vec<StoreEntry> {
    let entries = page.entries.into_iter();
    entries
        .map(|Entry { key, value, version }| StoreEntry {
            key: key.into(),
            value: value.into(),
            version,
        })
        .collect()
}

/// Runs what waits for the disk where no call is kept waiting.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Status> + Send + 'static,
) -> Result<T, Status> {
    let done = tokio::task::spawn_blocking(work).await;
    done.unwrap_or_else(|_| Err(Status::internal("it failed; the host's log says why")))
}

pub(super) fn namespace(plugin: &str) -> Result<Namespace, Status> {
    Namespace::new(plugin).map_err(|error| Status::invalid_argument(error.to_string()))
}

pub(super) fn refused(error: Error) -> Status {
    let message = match error.limit() {
        Some(limit) => format!("{error} (the bound is {limit})"),
        None => error.to_string(),
    };
    match error.kind() {
        ErrorKind::InvalidArgument => Status::invalid_argument(message),
        ErrorKind::LimitExceeded => Status::resource_exhausted(message),
        ErrorKind::ReadOnly => Status::failed_precondition(message),
        ErrorKind::Unavailable => Status::unavailable(message),
        ErrorKind::Internal => Status::internal(message),
    }
}
