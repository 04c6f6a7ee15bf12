//! Calls that were left for later, and those that were given up.

use tonic::{Code, Status};

use super::generations::find;
use super::pb::{
    CancelTimerRequest, CancelTimerResponse, DeadLetter, DeferredCall, DropDeadLettersResponse, Event,
    ListDeadLettersRequest, ListDeadLettersResponse, ListTimersRequest, ListTimersResponse,
    RetryDeadLettersResponse,
};
use super::status::Host;
use crate::capability::store::{self, CallId, DeferredCalls};
use crate::capability::{Error, ErrorKind};
use crate::observe::printable;

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

/// Of keys and errors; the store takes longer ones.
const MAX_TEXT_BYTES: usize = 1024;

pub(super) async fn dead_letters(
    host: &Host,
    request: ListDeadLettersRequest,
) -> Result<ListDeadLettersResponse, Status> {
    let size = page_size(request.page_size);
    let page = read(host, move |calls| {
        calls.dead_letters(token(&request.page_token), size)
    })
    .await?;
    Ok(ListDeadLettersResponse {
        dead_letters: page.entries.into_iter().map(dead_letter).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

pub(super) async fn retry(host: &Host, ids: Vec<String>) -> Result<RetryDeadLettersResponse, Status> {
    let calls = host.parts.store.deferred();
    let mut retried = Vec::new();
    for id in parsed(&ids)? {
        if calls.retry(&id).await.map_err(refused)? {
            retried.push(id.to_string());
        }
    }
    Ok(RetryDeadLettersResponse { ids: retried })
}

pub(super) async fn drop(host: &Host, ids: Vec<String>) -> Result<DropDeadLettersResponse, Status> {
    let calls = host.parts.store.deferred();
    let mut dropped = Vec::new();
    for id in parsed(&ids)? {
        if calls.drop_dead_letter(&id).await.map_err(refused)? {
            dropped.push(id.to_string());
        }
    }
    Ok(DropDeadLettersResponse { ids: dropped })
}

pub(super) async fn timers(host: &Host, request: ListTimersRequest) -> Result<ListTimersResponse, Status> {
    let plugin = find(host, &request.plugin)?.name.clone();
    let size = page_size(request.page_size);
    let page = read(host, move |calls| {
        calls.list(&plugin, token(&request.page_token), size)
    })
    .await?;
    Ok(ListTimersResponse {
        timers: page.entries.into_iter().map(deferred_call).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

pub(super) async fn cancel(host: &Host, request: CancelTimerRequest) -> Result<CancelTimerResponse, Status> {
    let plugin = &find(host, &request.plugin)?.name;
    let cancelled = match CallId::parse(&request.id) {
        Some(id) => {
            let cancelled = host.parts.store.deferred().cancel(plugin, &id).await;
            cancelled.map_err(refused)?
        }
        None => false,
    };
    Ok(CancelTimerResponse { cancelled })
}

/// Those that can be ids of something.
fn parsed(ids: &[String]) -> Result<Vec<CallId>, Status> {
    if ids.len() > MAX_PAGE as usize {
        return Err(Status::invalid_argument(format!(
            "at most {MAX_PAGE} ids at once"
        )));
    }
    Ok(ids.iter().filter_map(|id| CallId::parse(id)).collect())
}

/// Pages are read from the disk, away from the threads that serve calls.
async fn read<T: Send + 'static>(
    host: &Host,
    work: impl FnOnce(&DeferredCalls) -> Result<T, Error> + Send + 'static,
) -> Result<T, Status> {
    let calls = host.parts.store.deferred();
    let read = tokio::task::spawn_blocking(move || work(&calls)).await;
    read.map_err(|_| Status::internal("the list could not be read"))?
        .map_err(refused)
}

fn refused(error: Error) -> Status {
    let code = match error.kind() {
        ErrorKind::InvalidArgument => Code::InvalidArgument,
        ErrorKind::LimitExceeded => Code::ResourceExhausted,
        ErrorKind::ReadOnly | ErrorKind::Internal => Code::Internal,
        ErrorKind::Unavailable => Code::Unavailable,
    };
    Status::new(code, error.message())
}

fn page_size(asked: u32) -> usize {
    let size = match asked {
        0 => DEFAULT_PAGE,
        asked => asked.min(MAX_PAGE),
    };
    size as usize
}

fn token(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn dead_letter(letter: store::DeadLetter) -> DeadLetter {
    DeadLetter {
        id: letter.id.to_string(),
        given_up_at: Some(letter.died.into()),
        call: Some(deferred_call(letter.call)),
    }
}

fn deferred_call(call: store::DeferredCall) -> DeferredCall {
    let event = call.event.map(|event| Event {
        id: event.id,
        source: event.source,
        topic: event.topic,
        key: printable(&event.key, MAX_TEXT_BYTES),
        published_at: Some(event.time.into()),
        subscription: event.subscription,
    });
    DeferredCall {
        id: call.id.to_string(),
        plugin: call.plugin.to_string(),
        method: printable(&call.method, MAX_TEXT_BYTES),
        request_bytes: call.request.len() as u64,
        due_at: Some(call.due.into()),
        failures: call.failures,
        last_error: printable(&call.last_error, MAX_TEXT_BYTES),
        hops: call.hops,
        event,
    }
}
