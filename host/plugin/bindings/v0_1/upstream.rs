//! `upstream`: calls of a plugin to other services.

use super::generated::mortise::plugin::types::MetadataEntry;
use super::generated::mortise::plugin::upstream;
use super::{Code, Detail, Status, fake_host_answers};
use crate::capability::upstream as outside;
use crate::plugin::state::CallState;
use crate::status::{Failure, GuestStatus};

impl upstream::Host for CallState {
    async fn call(&mut self, request: upstream::Request) -> Result<upstream::Reply, upstream::Failure> {
        fake_host_answers!(self, "upstream.call", request);
        let Some(attempt) = self.attempt.as_mut() else {
            return Err(failed(outside::Refusal::Invalid {
                what: "there is no call in progress while the plugin describes itself".into(),
            }));
        };
        let call = attempt.call.clone();
        let id = call.id.to_string();
        let caller = outside::Caller {
            call_id: &id,
            deadline: &call.deadline,
            metadata: &call.metadata,
            trace: call.trace.as_ref(),
            journal: &call.upstream,
        };
        let granted = &self.plugin.upstreams;
        let outcome = granted.call(request.into(), caller, &mut attempt.upstream).await;
        outcome.map(Into::into).map_err(failed)
    }
}

impl From<upstream::Request> for outside::Request {
    fn from(request: upstream::Request) -> Self {
        let metadata = request.metadata.into_iter();
        Self {
            target: request.target,
            method: request.method,
            message: request.message.into(),
            metadata: metadata.map(|entry| (entry.key, entry.value)).collect(),
            timeout: request.timeout.map(std::time::Duration::from_nanos),
        }
    }
}

impl From<outside::Reply> for upstream::Reply {
    fn from(reply: outside::Reply) -> Self {
        Self {
            message: reply.message.into(),
            initial_metadata: metadata_entries(reply.initial),
            trailing_metadata: metadata_entries(reply.trailing),
        }
    }
}

/// The target's own status, or the host's by the one table.
fn failed(failed: impl Into<outside::Failed>) -> upstream::Failure {
    let (origin, status, initial, trailing) = match failed.into() {
        outside::Failed::Answered(answered) => {
            let outside::Answered {
                code,
                message,
                details,
                initial,
                trailing,
                ..
            } = *answered;
            let status = GuestStatus {
                code,
                message,
                details,
            };
            (upstream::Origin::Target, status, initial, trailing)
        }
        outside::Failed::Refused(refusal) => {
            let status = Failure::Upstream(refusal).to_guest();
            (upstream::Origin::Host, status, Vec::new(), Vec::new())
        }
    };
    upstream::Failure {
        status: status.into(),
        origin,
        initial_metadata: metadata_entries(initial),
        trailing_metadata: metadata_entries(trailing),
    }
}

fn metadata_entries(metadata: outside::Metadata) -> Vec<MetadataEntry> {
    let entries = metadata.into_iter();
    entries.map(|(key, value)| MetadataEntry { key, value }).collect()
}

impl From<GuestStatus> for Status {
    fn from(status: GuestStatus) -> Self {
        let details = status.details.into_iter();
        Self {
            code: status.code.into(),
            message: status.message,
            details: details
                .map(|any| Detail {
                    type_url: any.type_url,
                    value: any.value,
                })
                .collect(),
        }
    }
}

impl From<tonic::Code> for Code {
    fn from(code: tonic::Code) -> Self {
        match code {
            tonic::Code::Cancelled => Self::Cancelled,
            // A failure is never OK.
            tonic::Code::Ok | tonic::Code::Unknown => Self::Unknown,
            tonic::Code::InvalidArgument => Self::InvalidArgument,
            tonic::Code::DeadlineExceeded => Self::DeadlineExceeded,
            tonic::Code::NotFound => Self::NotFound,
            tonic::Code::AlreadyExists => Self::AlreadyExists,
            tonic::Code::PermissionDenied => Self::PermissionDenied,
            tonic::Code::ResourceExhausted => Self::ResourceExhausted,
            tonic::Code::FailedPrecondition => Self::FailedPrecondition,
            tonic::Code::Aborted => Self::Aborted,
            tonic::Code::OutOfRange => Self::OutOfRange,
            tonic::Code::Unimplemented => Self::Unimplemented,
            tonic::Code::Internal => Self::Internal,
            tonic::Code::Unavailable => Self::Unavailable,
            tonic::Code::DataLoss => Self::DataLoss,
            tonic::Code::Unauthenticated => Self::Unauthenticated,
        }
    }
}
