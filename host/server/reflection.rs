//! Server reflection, v1 and v1alpha, answered from the descriptors of the generations that are live at the
//! moment of each request. What is internal to a plugin is not shown.
//!
//! Each symbol is answered from the plugin that owns it: two plugins may carry different files under one
//! name.

use std::collections::HashSet;
use std::sync::Arc;

use prost::Message;
use prost_reflect::{DescriptorPool, FileDescriptor};
use tonic::Code;
use tonic_reflection::pb::{v1, v1alpha};

use super::health;
use crate::dispatch::Dispatcher;
use crate::observe::printable;
use crate::plugin::description::Description;

/// The host's own services, by the descriptors that tonic's crates carry.
struct OwnServices {
    pools: Vec<(DescriptorPool, &'static [&'static str])>,
}

/// Answers both versions of the service.
#[derive(Clone)]
pub(super) struct Reflection {
    dispatcher: Arc<Dispatcher>,
    own: Arc<OwnServices>,
}

impl OwnServices {
    fn new() -> Self {
        let sets: [(&[u8], &'static [&'static str]); 4] = [
            (health::pb::FILE_DESCRIPTOR_SET, &["grpc.health.v1.Health"]),
            // For clients that show the details of a status.
            (tonic_types::pb::FILE_DESCRIPTOR_SET, &[]),
            (v1::FILE_DESCRIPTOR_SET, &["grpc.reflection.v1.ServerReflection"]),
            (
                v1alpha::FILE_DESCRIPTOR_SET,
                &["grpc.reflection.v1alpha.ServerReflection"],
            ),
        ];
        let pools = sets.into_iter().filter_map(|(set, services)| {
            let pool = DescriptorPool::decode(set)
                .inspect_err(|error| tracing::error!(%error, "descriptors of the host's own services"))
                .ok()?;
            Some((pool, services))
        });
        Self {
            pools: pools.collect(),
        }
    }
}

/// What a client may ask.
enum Question {
    Services,
    File(String),
    Symbol(String),
    Extension { message: String, number: i32 },
    Extensions(String),
}

/// What it gets.
pub(super) enum Reply {
    Services(Vec<String>),
    /// The file asked for and everything it imports, each encoded.
    Files(Vec<Vec<u8>>),
    Extensions {
        message: String,
        numbers: Vec<i32>,
    },
    Error(Code, String),
}

impl Reflection {
    pub(super) fn new(dispatcher: Arc<Dispatcher>) -> Self {
        Self {
            dispatcher,
            own: Arc::new(OwnServices::new()),
        }
    }

    fn answer(&self, question: Question) -> Reply {
        let table = self.dispatcher.router.table();
        let described = || {
            table
                .generations()
                .iter()
                .map(|generation| &generation.description)
        };
        let own = || self.own.pools.iter().map(|(pool, _)| pool);
        let pools = || described().map(|description| &description.public).chain(own());
        let locate = |find: &dyn Fn(&DescriptorPool) -> Option<FileDescriptor>| {
            owned(described(), find).or_else(|| pools().find_map(find))
        };
        match question {
            Question::Services => {
                let plugins = described().flat_map(Description::services);
                let own = self
                    .own
                    .pools
                    .iter()
                    .flat_map(|(_, services)| services.iter().copied());
                let mut services: Vec<_> = plugins.chain(own).map(str::to_owned).collect();
                services.sort();
                Reply::Services(services)
            }
            Question::File(name) => {
                let file = locate(&|pool| pool.get_file_by_name(&name));
                file.map_or_else(|| not_found("file", &name), |file| with_imports(&file))
            }
            Question::Symbol(symbol) => {
                let symbol = symbol.trim_start_matches('.');
                let file = locate(&|pool| file_of(pool, symbol));
                file.map_or_else(|| not_found("symbol", symbol), |file| with_imports(&file))
            }
            Question::Extension { message, number } => {
                let file = pools().find_map(|pool| {
                    let number = u32::try_from(number).ok()?;
                    Some(
                        pool.get_message_by_name(&message)?
                            .get_extension(number)?
                            .parent_file(),
                    )
                });
                file.map_or_else(|| not_found("extension of", &message), |file| with_imports(&file))
            }
            Question::Extensions(message) => {
                match pools().find_map(|pool| pool.get_message_by_name(&message)) {
                    None => not_found("message", &message),
                    Some(found) => Reply::Extensions {
                        message,
                        numbers: found
                            .extensions()
                            .map(|extension| extension.number() as i32)
                            .collect(),
                    },
                }
            }
        }
    }
}

/// What is found in a file of which a plugin serves a service, from that plugin: others may carry another
/// file under the same name, or import the same one in another version.
fn owned<'a>(
    mut described: impl Iterator<Item = &'a Description>,
    find: &dyn Fn(&DescriptorPool) -> Option<FileDescriptor>,
) -> Option<FileDescriptor> {
    described.find_map(|description| {
        let file = find(&description.public)?;
        let served = description.services();
        let is_owner = file
            .services()
            .any(|service| served.contains(&service.full_name()));
        is_owner.then_some(file)
    })
}

pub(super) fn file_of(pool: &DescriptorPool, symbol: &str) -> Option<FileDescriptor> {
    if let Some(service) = pool.get_service_by_name(symbol) {
        return Some(service.parent_file());
    }
    if let Some(message) = pool.get_message_by_name(symbol) {
        return Some(message.parent_file());
    }
    if let Some(found) = pool.get_enum_by_name(symbol) {
        return Some(found.parent_file());
    }
    if let Some(extension) = pool.get_extension_by_name(symbol) {
        return Some(extension.parent_file());
    }
    // A method, a field, a oneof or an enum value: its parent's file.
    let (parent, name) = symbol.rsplit_once('.')?;
    if let Some(service) = pool.get_service_by_name(parent) {
        return service
            .methods()
            .any(|method| method.name() == name)
            .then(|| service.parent_file());
    }
    if let Some(message) = pool.get_message_by_name(parent) {
        let field = message.get_field_by_name(name).is_some();
        let oneof = message.oneofs().any(|oneof| oneof.name() == name);
        return (field || oneof).then(|| message.parent_file());
    }
    let of_enum = pool.all_enums().find(|found| {
        found.parent_file().package_name() == parent && found.get_value_by_name(name).is_some()
    });
    of_enum.map(|found| found.parent_file())
}

/// With everything it imports, so that a client has all it needs after one answer.
pub(super) fn with_imports(file: &FileDescriptor) -> Reply {
    let mut seen = HashSet::new();
    let mut files = Vec::new();
    let mut open = vec![file.clone()];
    while let Some(file) = open.pop() {
        if seen.insert(file.name().to_owned()) {
            files.push(file.encode_to_vec());
            open.extend(file.dependencies());
        }
    }
    Reply::Files(files)
}

fn not_found(what: &str, name: &str) -> Reply {
    Reply::Error(Code::NotFound, format!("no {what} {}", printable(name, 256)))
}

/// A question of one version of the service.
pub(super) trait Asked: Message + Default {
    /// What answers it in the same version.
    type Answer: Message;

    fn answer(self, reflection: &Reflection) -> Self::Answer;
}

/// The two versions have the same messages under different names.
macro_rules! implement {
    ($version:ident) => {
        impl Asked for $version::ServerReflectionRequest {
            type Answer = $version::ServerReflectionResponse;

            fn answer(self, reflection: &Reflection) -> Self::Answer {
                use $version::server_reflection_request::MessageRequest;
                use $version::server_reflection_response::MessageResponse;

                let question = self.message_request.clone().map(|question| match question {
                    MessageRequest::ListServices(_) => Question::Services,
                    MessageRequest::FileByFilename(name) => Question::File(name),
                    MessageRequest::FileContainingSymbol(symbol) => Question::Symbol(symbol),
                    MessageRequest::FileContainingExtension(extension) => Question::Extension {
                        message: extension.containing_type,
                        number: extension.extension_number,
                    },
                    MessageRequest::AllExtensionNumbersOfType(message) => Question::Extensions(message),
                });
                let reply = match question {
                    Some(question) => reflection.answer(question),
                    // Or something that only later versions ask.
                    None => Reply::Error(
                        Code::InvalidArgument,
                        "the request asks nothing that is known here".into(),
                    ),
                };
                let answer = match reply {
                    Reply::Services(services) => {
                        MessageResponse::ListServicesResponse($version::ListServiceResponse {
                            service: services
                                .into_iter()
                                .map(|name| $version::ServiceResponse { name })
                                .collect(),
                        })
                    }
                    Reply::Files(file_descriptor_proto) => {
                        MessageResponse::FileDescriptorResponse($version::FileDescriptorResponse {
                            file_descriptor_proto,
                        })
                    }
                    Reply::Extensions { message, numbers } => {
                        MessageResponse::AllExtensionNumbersResponse($version::ExtensionNumberResponse {
                            base_type_name: message,
                            extension_number: numbers,
                        })
                    }
                    Reply::Error(code, error_message) => {
                        MessageResponse::ErrorResponse($version::ErrorResponse {
                            error_code: code as i32,
                            error_message,
                        })
                    }
                };
                $version::ServerReflectionResponse {
                    valid_host: self.host.clone(),
                    original_request: Some(self),
                    message_response: Some(answer),
                }
            }
        }
    };
}

implement!(v1);
implement!(v1alpha);
