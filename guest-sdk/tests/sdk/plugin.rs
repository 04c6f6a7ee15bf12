use mortise_guest::prost::Message;
use mortise_guest::testing::{Host, Request};
use mortise_guest::{Call, Code, Config, Plugin, ReadCall, Status};

use crate::pb::{Farewell, Greeter, Greeting, Name};

#[derive(Config)]
struct Settings {
    /// How to greet.
    greeting: Option<String>,
}

struct Polite;

#[mortise_guest::plugin(config = Settings, with(crate::pb::Farewell))]
impl Greeter for Polite {
    fn greet(call: &mut Call, request: Name) -> Result<Greeting, Status> {
        let greeting = Settings::load(call)?
            .greeting
            .unwrap_or_else(|| "Hello".to_owned());
        let greeting = Greeting {
            text: format!("{greeting}, {}!", request.name),
        };
        call.table("greetings").put(&request.name, &greeting)?;
        Ok(greeting)
    }

    fn recall(call: &mut ReadCall, request: Name) -> Result<Greeting, Status> {
        let found = call.table("greetings").get(&request.name)?;
        found.ok_or_else(|| Status::not_found("Never met"))
    }
}

impl Farewell for Polite {}

struct Named;

mod named {
    //! A crate has one plugin; a second one here only shows the options.
    use super::{Greeter, Named};

    #[mortise_guest::plugin(name = "shy", version = "9.9.9")]
    impl Greeter for Named {}
}

fn name(name: &str) -> Vec<u8> {
    Name {
        name: name.to_owned(),
    }
    .encode_to_vec()
}

#[test]
fn a_plugin_describes_itself() {
    assert_eq!(
        (Polite::NAME, Polite::VERSION),
        (env!("CARGO_PKG_NAME"), env!("CARGO_PKG_VERSION"))
    );
    assert_eq!((Named::NAME, Named::VERSION), ("shy", "9.9.9"));
    assert_eq!(
        Polite::CONFIG.iter().map(|key| key.name).collect::<Vec<_>>(),
        ["greeting"]
    );
    assert!(Named::CONFIG.is_empty());
    let methods = Polite::SERVICES.iter().flat_map(|service| service.methods);
    assert_eq!(
        methods
            .map(|method| (method.path, method.read_only))
            .collect::<Vec<_>>(),
        [
            ("/test.v1.Greeter/Greet", false),
            ("/test.v1.Greeter/Recall", true),
            ("/test.v1.Farewell/Part", false),
        ]
    );
}

#[test]
fn encoded_requests_get_encoded_responses() {
    let mut host = Host::new().config("greeting", "Moin");
    let answer = host.unary::<Polite>(Request::new(), "/test.v1.Greeter/Greet", &name("Ann"));
    let greeting = Greeting {
        text: "Moin, Ann!".to_owned(),
    };
    assert_eq!(answer.expect("a greeting").message, greeting.encode_to_vec());
    let answer = host.unary::<Polite>(Request::new(), "/test.v1.Greeter/Recall", &name("Ann"));
    assert_eq!(answer.expect("a greeting").message, greeting.encode_to_vec());
    let answer = host.unary::<Polite>(Request::new(), "/test.v1.Greeter/Recall", &name("Bob"));
    assert_eq!(
        answer.expect_err("unknown").status,
        Status::not_found("Never met")
    );
}

#[test]
fn methods_not_written_are_unimplemented() {
    let mut host = Host::new();
    let answer = host.unary::<Polite>(Request::new(), "/test.v1.Farewell/Part", &name("Ann"));
    let status = answer.expect_err("not written").status;
    assert_eq!(
        status,
        Status::unimplemented("/test.v1.Farewell/Part is not implemented")
    );
    let answer = host.unary::<Polite>(Request::new(), "/test.v1.Farewell/Dance", &[]);
    assert_eq!(answer.expect_err("not there").status.code(), Code::Unimplemented);
}

#[test]
fn bytes_that_do_not_parse_are_internal() {
    let mut host = Host::new();
    for bytes in [&b"\xff"[..], b"\x0a\x05ab", b"\x0a\x01\xff", b"\x08\x01"] {
        let answer = host.unary::<Polite>(Request::new(), "/test.v1.Greeter/Greet", bytes);
        let status = answer.expect_err("not a name").status;
        assert_eq!(status.code(), Code::Internal);
        assert!(
            status.message().starts_with("Request does not parse: "),
            "{status}"
        );
    }
    assert_eq!(host.stored_len(), 0);
}
