//! A plugin that calls other services as it is told, one way per method of `proto/caller/v1/caller.proto`.
//!
//! The host's tests put a service of their own behind it and look at what arrives there, and at what the plugin
//! makes of the answer.

mod forward;

/// The messages and services of `proto/caller/v1`.
pub mod pb {
    mortise_guest::include_proto!("caller.v1");
}

use mortise_guest::upstream::Failure;
use mortise_guest::{Call, ReadCall, Status};

/// The target of the methods that name none.
const BACKEND: &str = "backend";

/// The service of callers.
#[derive(Debug)]
pub struct Caller;

#[mortise_guest::plugin(grants(
    upstream("backend", "to ask it what it is told to ask"),
    upstream("other", "to tell targets apart"),
))]
impl pb::Caller for Caller {
    fn forward(call: &mut Call, request: pb::ForwardRequest) -> Result<pb::ForwardResponse, Status> {
        Ok(forward::all(call, request))
    }

    fn forward_read(call: &mut ReadCall, request: pb::ForwardRequest) -> Result<pb::ForwardResponse, Status> {
        Ok(forward::all(call, request))
    }

    fn ask(call: &mut Call, request: pb::AskBackendRequest) -> Result<pb::AskBackendResponse, Status> {
        let answer = ask(call, request.text)?;
        Ok(pb::AskBackendResponse { text: answer })
    }

    fn pass_on(call: &mut Call, request: pb::AskBackendRequest) -> Result<pb::AskBackendResponse, Status> {
        let answer = ask(call, request.text).map_err(Failure::into_status)?;
        Ok(pb::AskBackendResponse { text: answer })
    }

    fn count(call: &mut Call, request: pb::CountRequest) -> Result<pb::CountResponse, Status> {
        let counters = call.table::<u64>("counters");
        let value = counters.get(&request.key)?.unwrap_or(0) + 1;
        let question = if request.ask_the_value {
            value.to_string()
        } else {
            request.key.clone()
        };
        let text = ask(call, question)?;
        counters.put(&request.key, &value)?;
        Ok(pb::CountResponse {
            value,
            attempt: call.attempt(),
            text,
        })
    }
}

fn ask(call: &ReadCall, text: String) -> Result<String, Failure> {
    let backend = pb::BackendClient::new(call.upstream(BACKEND));
    Ok(backend.ask(&pb::AskRequest { text })?.message.text)
}
