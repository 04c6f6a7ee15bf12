//! One trait for each service.

use std::fmt::{self, Write};

use prost_build::{Comments, Method, Service, ServiceGenerator};
use prost_types::FileDescriptorSet;
use prost_types::method_options::IdempotencyLevel;

use crate::{DESCRIPTORS, Error};

/// Refuses protos with streaming methods: a service that is served by half would surprise its callers.
pub(crate) fn refuse_streaming(files: &FileDescriptorSet) -> Result<(), Error> {
    for file in &files.file {
        for service in &file.service {
            for method in &service.method {
                if method.client_streaming() || method.server_streaming() {
                    return Err(Error::Streaming {
                        path: path(file.package(), service.name(), method.name()),
                        file: file.name().to_owned(),
                    });
                }
            }
        }
    }
    Ok(())
}

/// Writes a trait of handlers, and the table by which the SDK finds them.
pub(crate) struct ServiceTraits;

impl ServiceGenerator for ServiceTraits {
    fn generate(&mut self, service: Service, code: &mut String) {
        write_trait(&service, code).expect("writing to a string cannot fail");
    }
}

fn write_trait(service: &Service, code: &mut String) -> fmt::Result {
    comments(&service.comments, 0, code);
    writeln!(code, "pub trait {}: Sized {{", service.name)?;
    for method in &service.methods {
        write_handler(service, method, code)?;
    }
    writeln!(
        code,
        "    /// The methods and their handlers, for the `plugin` attribute."
    )?;
    writeln!(code, "    #[doc(hidden)]")?;
    writeln!(
        code,
        "    const SERVICE: ::mortise_guest::plugin::Service = ::mortise_guest::plugin::Service {{"
    )?;
    writeln!(code, "        methods: &[")?;
    for method in &service.methods {
        write_entry(service, method, code)?;
    }
    writeln!(code, "        ],")?;
    writeln!(code, "        descriptors: include_bytes!(\"{DESCRIPTORS}\"),")?;
    writeln!(code, "    }};")?;
    writeln!(code, "}}")
}

/// A handler as it is until the plugin writes it.
fn write_handler(service: &Service, method: &Method, code: &mut String) -> fmt::Result {
    comments(&method.comments, 1, code);
    let Method {
        name,
        input_type,
        output_type,
        ..
    } = method;
    let call = if is_read_only(method) { "ReadCall" } else { "Call" };
    let path = path(&service.package, &service.proto_name, &method.proto_name);
    writeln!(code, "    #[allow(unused_variables)]")?;
    writeln!(code, "    fn {name}(")?;
    writeln!(code, "        call: &mut ::mortise_guest::{call},")?;
    writeln!(code, "        request: {input_type},")?;
    writeln!(
        code,
        "    ) -> ::core::result::Result<{output_type}, ::mortise_guest::Status> {{"
    )?;
    writeln!(
        code,
        "        ::core::result::Result::Err(::mortise_guest::Status::unimplemented(\"{path} is not implemented\"))"
    )?;
    writeln!(code, "    }}")
}

fn write_entry(service: &Service, method: &Method, code: &mut String) -> fmt::Result {
    let read_only = is_read_only(method);
    let runner = if read_only { "unary_read_only" } else { "unary" };
    let path = path(&service.package, &service.proto_name, &method.proto_name);
    writeln!(code, "            ::mortise_guest::plugin::Method {{")?;
    writeln!(code, "                path: \"{path}\",")?;
    writeln!(code, "                read_only: {read_only},")?;
    writeln!(
        code,
        "                handler: |call, request| ::mortise_guest::plugin::{runner}(call, request, Self::{}),",
        method.name
    )?;
    writeln!(code, "            }},")
}

fn comments(comments: &Comments, indent: u8, code: &mut String) {
    // Detached comments are not about the item.
    let comments = Comments {
        leading_detached: Vec::new(),
        ..comments.clone()
    };
    comments.append_with_indent(indent, code);
}

fn is_read_only(method: &Method) -> bool {
    method.options.idempotency_level() == IdempotencyLevel::NoSideEffects
}

fn path(package: &str, service: &str, method: &str) -> String {
    let dot = if package.is_empty() { "" } else { "." };
    format!("/{package}{dot}{service}/{method}")
}
