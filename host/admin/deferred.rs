//! Calls that were left for later, and those that were given up.

use tonic::Status;

use super::pb::{
    CancelTimerRequest, CancelTimerResponse, DeadLetter, DeferredCall, DropDeadLettersResponse, Event,
    ListDeadLettersRequest, ListDeadLettersResponse, ListTimersRequest, ListTimersResponse,
    RetryDeadLettersResponse,
};
use super::store::{blocking, namespace, refused};
use crate::capability::store::{self, CallId, DeferredCalls, Store};
use crate::capability::{Error, Namespace};
use crate::observe::printable;

const DEFAULT_PAGE: u32 = 100;
const MAX_PAGE: u32 = 1000;

/// Of keys and errors; the store takes longer ones.
const MAX_TEXT_BYTES: usize = 1024;

pub(super) async fn dead_letters(
    store: &Store,
    request: ListDeadLettersRequest,
) -> Result<ListDeadLettersResponse, Status> {
    let size = page_size(request.page_size);
    let page = read(store, move |calls| {
        calls.dead_letters(token(&request.page_token), size)
    })
    .await?;
    Ok(ListDeadLettersResponse {
        dead_letters: page.entries.into_iter().map(dead_letter).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

pub(super) async fn retry(store: &Store, ids: Vec<String>) -> Result<RetryDeadLettersResponse, Status> {
    let calls = store.deferred();
    let mut retried = Vec::new();
    for id in parsed(&ids)? {
        if calls.retry(&id).await.map_err(refused)? {
            retried.push(id.to_string());
        }
    }
    Ok(RetryDeadLettersResponse { ids: retried })
}

pub(super) async fn drop(store: &Store, ids: Vec<String>) -> Result<DropDeadLettersResponse, Status> {
    let calls = store.deferred();
    let mut dropped = Vec::new();
    for id in parsed(&ids)? {
        if calls.drop_dead_letter(&id).await.map_err(refused)? {
            dropped.push(id.to_string());
        }
    }
    Ok(DropDeadLettersResponse { ids: dropped })
}

pub(super) async fn timers(store: &Store, request: ListTimersRequest) -> Result<ListTimersResponse, Status> {
    let plugin = namespace(&request.plugin)?;
    if !is_known(store, &plugin) {
        let message =
            format!("there is no plugin {plugin} in the store: it keeps nothing and has nothing pending");
        return Err(Status::not_found(message));
    }
    let size = page_size(request.page_size);
    let page = read(store, move |calls| {
        calls.list(&plugin, token(&request.page_token), size)
    })
    .await?;
    Ok(ListTimersResponse {
        timers: page.entries.into_iter().map(deferred_call).collect(),
        next_page_token: page.next.unwrap_or_default(),
    })
}

pub(super) async fn cancel(
    store: &Store,
    request: CancelTimerRequest,
) -> Result<CancelTimerResponse, Status> {
    let plugin = namespace(&request.plugin)?;
    let cancelled = match CallId::parse(&request.id) {
        Some(id) => {
            let cancelled = store.deferred().cancel(&plugin, &id).await;
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

fn is_known(store: &Store, plugin: &Namespace) -> bool {
    store.usage().contains_key(plugin) || store.deferred().pending().contains_key(plugin)
}

async fn read<T: Send + 'static>(
    store: &Store,
    work: impl FnOnce(&DeferredCalls) -> Result<T, Error> + Send + 'static,
) -> Result<T, Status> {
    let calls = store.deferred();
    blocking(move || work(&calls).map_err(refused)).await
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
