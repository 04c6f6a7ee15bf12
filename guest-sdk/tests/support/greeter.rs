//! What `mortise-guest-codegen` makes of a service, written by hand: this crate's tests have no build script.

#![allow(missing_docs, unreachable_pub, dead_code)]

use mortise_guest::plugin::{Method, Service, unary, unary_read_only};
use mortise_guest::prost::Message;
use mortise_guest::{Call, ReadCall, Status};

#[derive(Clone, PartialEq, Message)]
pub struct Name {
    #[prost(string, tag = "1")]
    pub name: String,
}

#[derive(Clone, PartialEq, Message)]
pub struct Greeting {
    #[prost(string, tag = "1")]
    pub text: String,
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement the service `Greeter`",
    note = "write `impl Greeter for {Self} {{ }}` with a function for each method it serves"
)]
pub trait Greeter: Sized {
    fn greet(_: &mut Call, _: Name) -> Result<Greeting, Status> {
        Err(Status::unimplemented("/test.v1.Greeter/Greet is not implemented"))
    }

    fn recall(_: &mut ReadCall, _: Name) -> Result<Greeting, Status> {
        Err(Status::unimplemented(
            "/test.v1.Greeter/Recall is not implemented",
        ))
    }

    const SERVICE: Service = Service {
        methods: &[
            Method {
                path: "/test.v1.Greeter/Greet",
                read_only: false,
                internal: false,
                handler_name: "greet",
                handler: |call, request| unary(call, request, Self::greet),
            },
            Method {
                path: "/test.v1.Greeter/Recall",
                read_only: true,
                internal: false,
                handler_name: "recall",
                handler: |call, request| unary_read_only(call, request, Self::recall),
            },
        ],
        descriptors: b"",
    };
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` does not implement the service `Farewell`",
    note = "write `impl Farewell for {Self} {{ }}` with a function for each method it serves"
)]
pub trait Farewell: Sized {
    fn part(_: &mut Call, _: Name) -> Result<Greeting, Status> {
        Err(Status::unimplemented("/test.v1.Farewell/Part is not implemented"))
    }

    const SERVICE: Service = Service {
        methods: &[Method {
            path: "/test.v1.Farewell/Part",
            read_only: false,
            internal: false,
            handler_name: "part",
            handler: |call, request| unary(call, request, Self::part),
        }],
        descriptors: b"",
    };
}
