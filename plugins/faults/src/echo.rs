//! What the guest sees of its call, and what it may add to the answer.

use std::time::{SystemTime, UNIX_EPOCH};

use mortise_guest::details::ErrorInfo;
use mortise_guest::{Call, Code, ReadCall, Status};

use crate::pb;

/// The codes by their numbers, from 1.
const CODES: [Code; 16] = [
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

pub fn echo(call: &ReadCall, request: pb::EchoRequest) -> pb::EchoResponse {
    let entries = call.metadata().entries().into_iter();
    let (principal, claims) = match call.principal() {
        Some(principal) => (Some(principal.id), principal.claims),
        None => (None, Vec::new()),
    };
    pb::EchoResponse {
        payload: request.payload,
        metadata: entries
            .map(|entry| pb::Entry {
                key: entry.key,
                value: entry.value,
            })
            .collect(),
        peer: call.peer(),
        call_id: call.id(),
        attempt: call.attempt(),
        remaining: call.remaining().map(|remaining| saturate(remaining.as_nanos())),
        deadline: call.deadline().map(nanos),
        principal,
        claims: claims
            .into_iter()
            .map(|(key, value)| pb::Entry {
                key,
                value: value.into_bytes(),
            })
            .collect(),
        now: nanos(call.now()),
        traceparent: call
            .trace_context()
            .map(|trace| trace.traceparent)
            .unwrap_or_default(),
        cancelled: call.is_cancelled(),
    }
}

/// The status that the request describes, with its metadata added to the answer.
pub fn failure(call: &Call, request: pb::FailRequest) -> Status {
    let refused = set_metadata(call, request.initial, request.trailing);
    if let Some(error) = refused.into_iter().find(|error| !error.is_empty()) {
        return Status::internal(format!("metadata was refused: {error}"));
    }
    let number = usize::try_from(request.code).unwrap_or(0);
    let Some(code) = number.checked_sub(1).and_then(|index| CODES.get(index)) else {
        return Status::invalid_argument(format!("{} is not a code", request.code));
    };
    request
        .reasons
        .into_iter()
        .fold(Status::new(*code, request.message), |status, reason| {
            let domain = "faults.v1".to_owned();
            status.with_detail(ErrorInfo {
                reason,
                domain,
                ..ErrorInfo::default()
            })
        })
}

/// What the host said to each entry; empty where it took it.
pub fn set_metadata(call: &ReadCall, initial: Vec<pb::Entry>, trailing: Vec<pb::Entry>) -> Vec<String> {
    let initial = initial.into_iter().map(|entry| (call.headers(), entry));
    let trailing = trailing.into_iter().map(|entry| (call.trailers(), entry));
    initial
        .chain(trailing)
        .map(|(block, entry)| {
            let set = if entry.key.ends_with("-bin") {
                block.insert_bin(&entry.key, &entry.value)
            } else {
                block.insert(&entry.key, String::from_utf8_lossy(&entry.value))
            };
            set.err().map(|status| status.to_string()).unwrap_or_default()
        })
        .collect()
}

fn nanos(time: SystemTime) -> u64 {
    saturate(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos())
}

fn saturate(nanos: u128) -> u64 {
    u64::try_from(nanos).unwrap_or(u64::MAX)
}
