//! What a plugin is made of. [`#[plugin]`](macro@crate::plugin) and the generated service traits fill this
//! in; plugins rarely name it.

use prost::Message;
use prost::bytes::Bytes;

use crate::config::ConfigKey;
use crate::{Call, ReadCall, Status, log};

/// A whole plugin: its services and how it describes itself to the host.
pub trait Plugin {
    /// The name in the description; the operator may run it under another.
    const NAME: &'static str;
    /// The plugin's own version.
    const VERSION: &'static str;
    /// The services, in the order in which their methods are numbered.
    const SERVICES: &'static [Service];
    /// The configuration keys it understands.
    const CONFIG: &'static [ConfigKey];
    /// What it needs outside its sandbox.
    const GRANTS: &'static [Grant] = &[];
}

/// Something outside the sandbox that the plugin asks for and the operator must allow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The kind: `upstream`.
    pub capability: &'static str,
    /// Which one, by the operator's name.
    pub target: &'static str,
    /// Why, in one sentence for the operator.
    pub reason: &'static str,
}

/// A service and the functions behind its methods.
#[derive(Clone, Copy, Debug)]
pub struct Service {
    /// The methods, in the order of the proto file.
    pub methods: &'static [Method],
    /// An encoded `google.protobuf.FileDescriptorSet` with the service's file and all it imports.
    pub descriptors: &'static [u8],
}

/// One unary method.
#[derive(Clone, Copy, Debug)]
pub struct Method {
    /// `/package.Service/Method`.
    pub path: &'static str,
    /// Whether its proto says `NO_SIDE_EFFECTS`.
    pub read_only: bool,
    /// Whether its proto says `(mortise.v1.internal)`: only timers and events call it.
    pub internal: bool,
    /// The name of its handler: `create_order`.
    pub handler_name: &'static str,
    /// Decodes the request, runs the handler, encodes the response.
    pub handler: fn(&mut Call, Vec<u8>) -> Result<Vec<u8>, Status>,
}

/// Runs the handler of a method that may change state on an encoded request.
///
/// # Errors
/// [`Internal`](crate::Code::Internal) when the request does not parse, as gRPC's status documents say;
/// otherwise what the handler fails with.
pub fn unary<Req, Res>(
    call: &mut Call,
    request: Vec<u8>,
    handler: impl FnOnce(&mut Call, Req) -> Result<Res, Status>,
) -> Result<Vec<u8>, Status>
where
    Req: Message + Default,
    Res: Message,
{
    let request = decode(request)?;
    handler(call, request).map(|response| response.encode_to_vec())
}

/// Runs the handler of a `NO_SIDE_EFFECTS` method; otherwise as [`unary`].
///
/// # Errors
/// As [`unary`].
pub fn unary_read_only<Req, Res>(
    call: &mut Call,
    request: Vec<u8>,
    handler: impl FnOnce(&mut ReadCall, Req) -> Result<Res, Status>,
) -> Result<Vec<u8>, Status>
where
    Req: Message + Default,
    Res: Message,
{
    unary(call, request, |call, request| handler(call, request))
}

/// Frees the encoded request: a large one would take up its room until the response is encoded, and the memory of
/// a sandbox never becomes smaller. Of a slice prost copies fields of bytes twice.
fn decode<M: Message + Default>(request: Vec<u8>) -> Result<M, Status> {
    M::decode(Bytes::from(request))
        .map_err(|error| Status::internal(format!("Request does not parse: {error}")))
}

/// Every method of the plugin; its position is the index that the host calls it by.
pub(crate) fn methods<P: Plugin>() -> impl Iterator<Item = &'static Method> {
    P::SERVICES.iter().flat_map(|service| service.methods)
}

/// Serves one call by method index, and leaves the cause of a failure in the log.
pub(crate) fn handle<P: Plugin>(index: u32, request: Vec<u8>) -> Result<Vec<u8>, Status> {
    let method = usize::try_from(index)
        .ok()
        .and_then(|index| methods::<P>().nth(index));
    let Some(method) = method else {
        return Err(Status::internal(format!(
            "the plugin has no method number {index}"
        )));
    };
    let result = (method.handler)(&mut Call::current(), request);
    if let Err(status) = &result {
        log::failure(status);
    }
    result
}
