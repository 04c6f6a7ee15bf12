//! Requests as they come, outcomes as they are.

use std::time::Duration;

use mortise_guest::details::{ErrorInfo, RetryInfo};
use mortise_guest::upstream::{Failure, Origin, Reply, ReplyMetadata};
use mortise_guest::{ReadCall, Upstream};

use crate::pb;

pub fn all(call: &ReadCall, request: pb::ForwardRequest) -> pb::ForwardResponse {
    let requests = request.requests.into_iter();
    pb::ForwardResponse {
        outcomes: requests.map(|request| one(call, request)).collect(),
    }
}

fn one(call: &ReadCall, request: pb::Outgoing) -> pb::Outcome {
    let mut upstream = request
        .metadata
        .iter()
        .fold(call.upstream(&request.target), with_entry);
    if let Some(milliseconds) = request.timeout_milliseconds {
        upstream = upstream.timeout(Duration::from_millis(milliseconds));
    }
    match upstream.unary_bytes(&request.method, &request.message) {
        Ok(reply) => answered(reply),
        Err(failure) => failed(&failure),
    }
}

fn with_entry<'c>(upstream: Upstream<'c>, entry: &pb::Entry) -> Upstream<'c> {
    if entry.key.ends_with("-bin") {
        upstream.metadata_bin(&entry.key, &entry.value)
    } else {
        upstream.metadata(&entry.key, String::from_utf8_lossy(&entry.value))
    }
}

fn answered(reply: Reply<Vec<u8>>) -> pb::Outcome {
    pb::Outcome {
        message: reply.message,
        initial: entries(&reply.headers),
        trailing: entries(&reply.trailers),
        from_target: true,
        ..pb::Outcome::default()
    }
}

fn failed(failure: &Failure) -> pb::Outcome {
    let status = failure.status();
    pb::Outcome {
        code: status.code().number(),
        text: status.message().to_owned(),
        initial: entries(failure.headers()),
        trailing: entries(failure.trailers()),
        from_target: failure.origin() == Origin::Target,
        reason: status
            .detail::<ErrorInfo>()
            .map(|info| info.reason)
            .unwrap_or_default(),
        retry_milliseconds: status.detail::<RetryInfo>().map(milliseconds),
        ..pb::Outcome::default()
    }
}

fn milliseconds(retry: RetryInfo) -> u64 {
    let delay = retry.retry_delay.unwrap_or_default();
    let millis = delay.seconds * 1000 + i64::from(delay.nanos) / 1_000_000;
    u64::try_from(millis).unwrap_or_default()
}

fn entries(metadata: &ReplyMetadata) -> Vec<pb::Entry> {
    let entries = metadata.entries().iter();
    entries
        .map(|entry| pb::Entry {
            key: entry.key.clone(),
            value: entry.value.clone(),
        })
        .collect()
}
