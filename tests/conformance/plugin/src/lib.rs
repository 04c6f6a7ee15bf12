//! The unary methods of `connectrpc.conformance.v1.ConformanceService`, as a plugin author would write them.
//!
//! What they do is defined in the comments of the service's proto. `Unimplemented` is not written, on purpose.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use mortise_guest::prost::{Message, Name};
use mortise_guest::prost_types::Any;
use mortise_guest::{AnswerMetadata, Call, Code, ReadCall, Status};

// Of its comments, which are the suite's.
#[allow(clippy::doc_overindented_list_items, clippy::doc_lazy_continuation)]
pub mod pb {
    mortise_guest::include_proto!("connectrpc.conformance.v1");
}

use pb::conformance_payload::RequestInfo;
use pb::unary_response_definition::Response;

pub struct Conformance;

#[mortise_guest::plugin]
impl pb::ConformanceService for Conformance {
    fn unary(call: &mut Call, request: pb::UnaryRequest) -> Result<pb::UnaryResponse, Status> {
        let received = any(&request);
        let payload = answer(call, received, request.response_definition)?;
        Ok(pb::UnaryResponse {
            payload: Some(payload),
        })
    }

    fn idempotent_unary(
        call: &mut ReadCall,
        request: pb::IdempotentUnaryRequest,
    ) -> Result<pb::IdempotentUnaryResponse, Status> {
        let received = any(&request);
        let payload = answer(call, received, request.response_definition)?;
        Ok(pb::IdempotentUnaryResponse {
            payload: Some(payload),
        })
    }
}

fn answer(
    call: &ReadCall,
    received: Any,
    definition: Option<pb::UnaryResponseDefinition>,
) -> Result<pb::ConformancePayload, Status> {
    let request_info = RequestInfo {
        request_headers: headers(call),
        timeout_ms: call
            .remaining()
            .map(|left| i64::try_from(left.as_millis()).unwrap_or(i64::MAX)),
        requests: vec![received],
        connect_get_info: None,
    };
    let definition = definition.unwrap_or_default();
    add(call.headers(), &definition.response_headers)?;
    add(call.trailers(), &definition.response_trailers)?;
    std::thread::sleep(Duration::from_millis(definition.response_delay_ms.into()));
    let data = match definition.response {
        Some(Response::Error(error)) => return Err(status(&error).with_detail(request_info)),
        Some(Response::ResponseData(data)) => data,
        None => Vec::new(),
    };
    Ok(pb::ConformancePayload {
        data,
        request_info: Some(request_info),
    })
}

fn any<M: Message + Name>(message: &M) -> Any {
    Any {
        type_url: format!("type.googleapis.com/{}", M::full_name()),
        value: message.encode_to_vec(),
    }
}

/// The request's metadata, the values of a key together.
fn headers(call: &ReadCall) -> Vec<pb::Header> {
    let mut headers: Vec<pb::Header> = Vec::new();
    for entry in call.metadata().entries() {
        let value = if entry.key.ends_with("-bin") {
            STANDARD_NO_PAD.encode(&entry.value)
        } else {
            String::from_utf8_lossy(&entry.value).into_owned()
        };
        match headers.iter_mut().find(|header| header.name == entry.key) {
            Some(header) => header.value.push(value),
            None => headers.push(pb::Header {
                name: entry.key,
                value: vec![value],
            }),
        }
    }
    headers
}

fn add(metadata: AnswerMetadata<'_>, headers: &[pb::Header]) -> Result<(), Status> {
    for header in headers {
        for value in &header.value {
            if header.name.to_ascii_lowercase().ends_with("-bin") {
                let value = STANDARD_NO_PAD
                    .decode(value.trim_end_matches('='))
                    .map_err(|_| Status::invalid_argument(format!("{} is not base64", header.name)))?;
                metadata.insert_bin(&header.name, value)?;
            } else {
                metadata.insert(&header.name, value)?;
            }
        }
    }
    Ok(())
}

/// The suite asks unary servers for no details but the request's own.
fn status(error: &pb::Error) -> Status {
    let code = match error.code() {
        pb::Code::Canceled => Code::Cancelled,
        pb::Code::InvalidArgument => Code::InvalidArgument,
        pb::Code::DeadlineExceeded => Code::DeadlineExceeded,
        pb::Code::NotFound => Code::NotFound,
        pb::Code::AlreadyExists => Code::AlreadyExists,
        pb::Code::PermissionDenied => Code::PermissionDenied,
        pb::Code::ResourceExhausted => Code::ResourceExhausted,
        pb::Code::FailedPrecondition => Code::FailedPrecondition,
        pb::Code::Aborted => Code::Aborted,
        pb::Code::OutOfRange => Code::OutOfRange,
        pb::Code::Unimplemented => Code::Unimplemented,
        pb::Code::Internal => Code::Internal,
        pb::Code::Unavailable => Code::Unavailable,
        pb::Code::DataLoss => Code::DataLoss,
        pb::Code::Unauthenticated => Code::Unauthenticated,
        pb::Code::Unknown | pb::Code::Unspecified => Code::Unknown,
    };
    Status::new(code, error.message())
}
