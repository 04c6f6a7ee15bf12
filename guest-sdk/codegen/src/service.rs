//! One trait for each service that the plugin serves, one client for each that it calls.

use std::collections::BTreeSet;
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

/// The services of some files, as `package.Service`.
pub(crate) fn names(files: &FileDescriptorSet) -> BTreeSet<String> {
    let services = files.file.iter().flat_map(|file| {
        let services = file.service.iter();
        services.map(|service| full_name(file.package(), service.name()))
    });
    services.collect()
}

/// Writes a trait of handlers, and the table by which the SDK finds them; or a client.
pub(crate) struct Services {
    /// Those that the plugin calls and does not serve.
    pub(crate) called: BTreeSet<String>,
    /// The methods that only timers and events may call.
    pub(crate) internal: BTreeSet<String>,
}

impl ServiceGenerator for Services {
    fn generate(&mut self, service: Service, code: &mut String) {
        let written = if self
            .called
            .contains(&full_name(&service.package, &service.proto_name))
        {
            write_client(&service, code)
        } else {
            write_trait(&service, &self.internal, code)
        };
        written.expect("writing to a string cannot fail");
    }
}

/// Streaming methods are left out: there is no way to call them.
fn write_client(service: &Service, code: &mut String) -> fmt::Result {
    let name = &service.name;
    comments(&service.comments, 0, code);
    write!(
        code,
        r#"#[allow(dead_code)]
#[derive(Clone, Debug)]
pub struct {name}Client<'c> {{
    upstream: ::mortise_guest::Upstream<'c>,
}}

#[allow(dead_code)]
impl<'c> {name}Client<'c> {{
    /// Calls the service at a target: `{name}Client::new(call.upstream("NAME"))`.
    pub fn new(upstream: ::mortise_guest::Upstream<'c>) -> Self {{
        Self {{ upstream }}
    }}
"#
    )?;
    let unary = |method: &&Method| !method.client_streaming && !method.server_streaming;
    for method in service.methods.iter().filter(unary) {
        code.push('\n');
        comments(&method.comments, 1, code);
        write!(
            code,
            r#"    pub fn {name}(
        &self,
        request: &{request},
    ) -> ::core::result::Result<
        ::mortise_guest::upstream::Reply<{response}>,
        ::mortise_guest::upstream::Failure,
    > {{
        self.upstream.unary("{path}", request)
    }}
"#,
            name = method.name,
            request = method.input_type,
            response = method.output_type,
            path = path(&service.package, &service.proto_name, &method.proto_name),
        )?;
    }
    code.push_str("}\n");
    Ok(())
}

fn write_trait(service: &Service, internal: &BTreeSet<String>, code: &mut String) -> fmt::Result {
    let name = &service.name;
    comments(&service.comments, 0, code);
    write!(
        code,
        r#"#[diagnostic::on_unimplemented(
    message = "`{{Self}}` does not implement the service `{name}`",
    note = "write `impl {name} for {{Self}} {{{{ }}}}` with a function for each method it serves",
)]
pub trait {name}: Sized {{
"#
    )?;
    for method in &service.methods {
        write_handler(service, method, code)?;
    }
    code.push_str(
        "
    /// The methods and their handlers, for the `plugin` attribute.
    #[doc(hidden)]
    const SERVICE: ::mortise_guest::plugin::Service = ::mortise_guest::plugin::Service {
        methods: &[
",
    );
    for method in &service.methods {
        write_entry(service, method, internal, code)?;
    }
    write!(
        code,
        r#"        ],
        descriptors: include_bytes!("{DESCRIPTORS}"),
    }};
}}
"#
    )?;
    write_methods(service, code)
}

/// What calls of the methods are scheduled by.
fn write_methods(service: &Service, code: &mut String) -> fmt::Result {
    let name = &service.name;
    write!(
        code,
        r#"
/// The methods of `{name}`, to schedule calls of.
#[derive(Clone, Copy, Debug)]
pub struct {name}Method;

#[allow(dead_code)]
impl {name}Method {{
"#
    )?;
    for method in &service.methods {
        let path = path(&service.package, &service.proto_name, &method.proto_name);
        let constant = plain_name(method).to_uppercase();
        let request = &method.input_type;
        write!(
            code,
            r#"    /// `{path}`
    pub const {constant}: ::mortise_guest::Method<{request}> = ::mortise_guest::Method::new("{path}");
"#
        )?;
    }
    code.push_str("}\n");
    Ok(())
}

/// A handler as it is until the plugin writes it.
fn write_handler(service: &Service, method: &Method, code: &mut String) -> fmt::Result {
    let call = if is_read_only(method) { "ReadCall" } else { "Call" };
    let path = path(&service.package, &service.proto_name, &method.proto_name);
    comments(&method.comments, 1, code);
    write!(
        code,
        r#"    #[allow(unused_variables)]
    fn {name}(
        call: &mut ::mortise_guest::{call},
        request: {request},
    ) -> ::core::result::Result<{response}, ::mortise_guest::Status> {{
        let message = "{path} is not implemented";
        ::core::result::Result::Err(::mortise_guest::Status::unimplemented(message))
    }}
"#,
        name = method.name,
        request = method.input_type,
        response = method.output_type,
    )
}

fn write_entry(
    service: &Service,
    method: &Method,
    internal: &BTreeSet<String>,
    code: &mut String,
) -> fmt::Result {
    let read_only = is_read_only(method);
    let runner = if read_only { "unary_read_only" } else { "unary" };
    let path = path(&service.package, &service.proto_name, &method.proto_name);
    let internal = internal.contains(&path);
    write!(
        code,
        r#"            ::mortise_guest::plugin::Method {{
                path: "{path}",
                read_only: {read_only},
                internal: {internal},
                handler_name: "{plain_name}",
                handler: |call, request| {{
                    ::mortise_guest::plugin::{runner}(call, request, Self::{name})
                }},
            }},
"#,
        name = method.name,
        plain_name = plain_name(method),
    )
}

/// Without what makes a keyword a name.
fn plain_name(method: &Method) -> &str {
    method.name.trim_start_matches("r#")
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
    format!("/{}/{method}", full_name(package, service))
}

fn full_name(package: &str, service: &str) -> String {
    let dot = if package.is_empty() { "" } else { "." };
    format!("{package}{dot}{service}")
}
