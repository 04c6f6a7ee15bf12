//! The client side of gRPC server reflection.

use std::collections::BTreeSet;

use anyhow::{Context, bail};
use prost::Message;
use prost_reflect::prost_types::FileDescriptorProto;
use prost_reflect::{DescriptorPool, MethodDescriptor};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_reflection::pb::v1::{ErrorResponse, ServerReflectionRequest, ServerReflectionResponse};

use super::method::MethodName;
use crate::cli::{Hint, WithHint, printable};
use crate::plugin::descriptors::pool_of;

/// The two versions that servers offer. Their messages are the same on the wire.
const PATHS: [&str; 2] = [
    "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];
/// The most descriptor files a server is asked for, so that a bad one cannot keep us asking.
const MAX_FILES: usize = 10_000;

/// Finds a method on the server, with every message type that it needs.
pub(super) async fn find_method(channel: Channel, name: &MethodName) -> anyhow::Result<MethodDescriptor> {
    let mut reflection = Reflection { channel, path: None };
    let files = match reflection
        .ask(MessageRequest::FileContainingSymbol(name.service().to_owned()))
        .await?
    {
        MessageResponse::FileDescriptorResponse(response) => response.file_descriptor_proto,
        _ => return Err(no_service(&mut reflection, name).await),
    };
    let pool = reflection.complete(files).await?;
    let Some(service) = pool.get_service_by_name(name.service()) else {
        return Err(no_service(&mut reflection, name).await);
    };
    if let Some(method) = service.methods().find(|method| method.name() == name.method()) {
        return Ok(method);
    }
    let methods: Vec<_> = service.methods().map(|method| method.name().to_owned()).collect();
    let error = anyhow::anyhow!("{} has no method {}", name.service(), name.method());
    Err(error).hint(suggest(name.method(), &methods))
}

async fn no_service(reflection: &mut Reflection, name: &MethodName) -> anyhow::Error {
    let error = anyhow::anyhow!("the server has no service {}", name.service());
    let services = match reflection.ask(MessageRequest::ListServices(String::new())).await {
        Ok(MessageResponse::ListServicesResponse(list)) => list.service,
        _ => return error,
    };
    let services: Vec<_> = services.into_iter().map(|service| service.name).collect();
    Hint::new(error, suggest(name.service(), &services)).into()
}

/// The likeliest of `names`, or all of them.
fn suggest(wanted: &str, names: &[String]) -> String {
    let last = |name: &str| name.rsplit('.').next().unwrap_or_default().to_ascii_lowercase();
    let likely = names
        .iter()
        .map(|name| {
            let whole = strsim::jaro_winkler(wanted, name);
            (whole.max(strsim::jaro_winkler(&last(wanted), &last(name))), name)
        })
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match likely {
        Some((_, name)) => format!("did you mean {}?", printable(name)),
        None if names.is_empty() => "the server lists nothing".into(),
        None => printable(&format!("the server has {}", names.join(", "))),
    }
}

struct Reflection {
    channel: Channel,
    /// The version the server turned out to offer.
    path: Option<&'static str>,
}

impl Reflection {
    /// Asks one question. That a thing was not found is an answer: `MessageResponse::ErrorResponse`.
    async fn ask(&mut self, question: MessageRequest) -> anyhow::Result<MessageResponse> {
        let paths = self.path.map_or(PATHS.to_vec(), |path| vec![path]);
        for path in paths {
            match self.ask_at(path, question.clone()).await {
                Err(status) if status.code() == Code::Unimplemented => continue,
                // Some servers answer so instead of with a message that says it.
                Err(status) if status.code() == Code::NotFound => {
                    self.path = Some(path);
                    return Ok(MessageResponse::ErrorResponse(ErrorResponse {
                        error_code: status.code() as i32,
                        error_message: status.message().to_owned(),
                    }));
                }
                answer => {
                    let answer = answer.map_err(explain)?;
                    self.path = Some(path);
                    return answer
                        .message_response
                        .context("the server's reflection sent an empty answer");
                }
            }
        }
        Err(anyhow::anyhow!(
            "the server offers no reflection, so its methods are unknown"
        ))
        .hint("a Mortise host offers it unless `server.reflection` is false")
    }

    async fn ask_at(
        &mut self,
        path: &'static str,
        question: MessageRequest,
    ) -> Result<ServerReflectionResponse, Status> {
        let request = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(question),
        };
        let codec = tonic_prost::ProstCodec::default();
        let mut client = tonic::client::Grpc::new(self.channel.clone())
            .max_decoding_message_size(super::MAX_RESPONSE_BYTES);
        client
            .ready()
            .await
            .map_err(|error| Status::from_error(error.into()))?;
        let path = http::uri::PathAndQuery::from_static(path);
        let answers = client
            .streaming(Request::new(tokio_stream::once(request)), path, codec)
            .await?;
        let answer: Option<ServerReflectionResponse> = answers.into_inner().message().await?;
        answer.ok_or_else(|| Status::internal("the server's reflection sent no answer"))
    }

    /// Adds the files that `files` import, directly or not, as servers may leave them out.
    async fn complete(&mut self, files: Vec<Vec<u8>>) -> anyhow::Result<DescriptorPool> {
        let mut found: Vec<FileDescriptorProto> = Vec::new();
        let mut names = BTreeSet::new();
        let mut unread = files;
        loop {
            for file in unread.drain(..) {
                let file = FileDescriptorProto::decode(file.as_slice())
                    .context("the server's reflection sent a descriptor that does not parse")?;
                if names.insert(file.name().to_owned()) {
                    found.push(file);
                }
            }
            let missing = found
                .iter()
                .flat_map(|file| &file.dependency)
                .find(|name| !names.contains(*name));
            let Some(missing) = missing.cloned() else { break };
            if names.len() >= MAX_FILES {
                bail!("the server's reflection describes more than {MAX_FILES} files");
            }
            match self.ask(MessageRequest::FileByFilename(missing.clone())).await? {
                MessageResponse::FileDescriptorResponse(response) => unread = response.file_descriptor_proto,
                _ => bail!("the server's reflection lacks {}", printable(&missing)),
            }
            // A server that answers with other files than the one asked for would be asked for ever.
            let brought = unread.iter().any(|file| {
                FileDescriptorProto::decode(file.as_slice()).is_ok_and(|file| file.name() == missing)
            });
            if !brought {
                bail!("the server's reflection lacks {}", printable(&missing));
            }
        }
        let pool = pool_of(|| {
            let mut pool = DescriptorPool::new();
            pool.add_file_descriptor_protos(found)?;
            Ok(pool)
        });
        pool.map_err(anyhow::Error::msg)
            .context("the server's reflection sent descriptors that do not fit together")
    }
}

fn explain(status: Status) -> anyhow::Error {
    let code = crate::status::code_name(status.code());
    anyhow::anyhow!(
        "the server's reflection failed: {code}: {}",
        printable(status.message())
    )
}
