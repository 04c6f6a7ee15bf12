//! Reflection, both versions, and health.

use prost::Message;
use prost_types::FileDescriptorProto;
use tokio::sync::mpsc;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::ReceiverStream;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::{v1, v1alpha};

use crate::support::crafted::{Crafted, EMPTY, descriptors};
use crate::support::{Host, Isolation, LiveFile, Plugin, Setup, components, until_some, within_patience};

/// Asks one version of reflection one question, and evaluates to the answer.
macro_rules! ask {
    ($version:ident, $host:expr, $question:ident($value:expr)) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        let request = $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::$question($value)),
        };
        let mut client = ServerReflectionClient::new($host.channel());
        let answers = client
            .server_reflection_info(tokio_stream::once(request))
            .await
            .expect("it is served");
        let answer = answers
            .into_inner()
            .next()
            .await
            .expect("an answer")
            .expect("an answer");
        answer.message_response.expect("an answer")
    }};
}

/// The services that reflection lists, the host's own included.
pub(crate) async fn services(host: &Host) -> Vec<String> {
    match ask!(v1, host, ListServices(String::new())) {
        v1::server_reflection_response::MessageResponse::ListServicesResponse(list) => {
            list.service.into_iter().map(|service| service.name).collect()
        }
        other => panic!("{other:?}"),
    }
}

/// A reflection stream that got an answer and may be asked more.
pub(crate) async fn held_open(host: &Host) -> impl Sized + use<> {
    use v1::server_reflection_request::MessageRequest;
    let (questions, receiver) = mpsc::channel(1);
    let request = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    questions.send(request).await.expect("there is room");
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(host.channel());
    let answers = client
        .server_reflection_info(ReceiverStream::new(receiver))
        .await
        .expect("it is served");
    let mut answers = answers.into_inner();
    answers.next().await.expect("an answer").expect("an answer");
    (questions, answers)
}

fn packages(files: &[Vec<u8>]) -> Vec<String> {
    let file = |bytes: &Vec<u8>| FileDescriptorProto::decode(bytes.as_slice()).expect("a descriptor");
    files
        .iter()
        .map(file)
        .map(|file| file.package().to_owned())
        .collect()
}

macro_rules! reflection_answers {
    ($test:ident, $version:ident) => {
        #[tokio::test]
        async fn $test() {
            use $version::server_reflection_response::MessageResponse;
            let plugins = Setup::of(Plugin::faults(Isolation::Call)).and(Plugin::order(Isolation::Call));
            let host = plugins.start().await;

            let MessageResponse::ListServicesResponse(list) = ask!($version, host, ListServices("*".into()))
            else {
                panic!("no list");
            };
            let names: Vec<_> = list
                .service
                .into_iter()
                .map(|service| service.name)
                .collect();
            let expected = [
                "faults.v1.Faults",
                "grpc.health.v1.Health",
                "grpc.reflection.v1.ServerReflection",
                "grpc.reflection.v1alpha.ServerReflection",
                "order.v1.OrderService",
            ];
            assert_eq!(names, expected);

            for (symbol, package) in [
                ("order.v1.OrderService", "order.v1"),
                ("order.v1.OrderService.CreateOrder", "order.v1"),
                ("order.v1.Order", "order.v1"),
                ("faults.v1.Entry", "faults.v1"),
                ("grpc.health.v1.Health", "grpc.health.v1"),
            ] {
                let answer = ask!($version, host, FileContainingSymbol(symbol.into()));
                let MessageResponse::FileDescriptorResponse(files) = answer else {
                    panic!("{symbol}: {answer:?}")
                };
                assert!(
                    packages(&files.file_descriptor_proto).contains(&package.into()),
                    "{symbol}"
                );
            }
            let answer = ask!(
                $version,
                host,
                FileByFilename("order/v1/order.proto".into())
            );
            let MessageResponse::FileDescriptorResponse(files) = answer else {
                panic!("{answer:?}")
            };
            assert_eq!(packages(&files.file_descriptor_proto), ["order.v1"]);

            let answer = ask!(
                $version,
                host,
                FileContainingSymbol("order.v1.Nothing".into())
            );
            let MessageResponse::ErrorResponse(error) = answer else {
                panic!("{answer:?}")
            };
            assert_eq!(error.error_code, tonic::Code::NotFound as i32);
            host.stop().await;
        }
    };
}

/// Methods that only timers and events call, and services of nothing else.
#[tokio::test]
async fn what_is_internal_is_not_described() {
    use v1::server_reflection_response::MessageResponse;
    let plugins = Setup::of(Plugin::faults(Isolation::Call)).and(Plugin::order(Isolation::Call));
    let host = plugins.start().await;
    let answer = ask!(v1, host, FileContainingSymbol("faults.v1.Faults".into()));
    let MessageResponse::FileDescriptorResponse(files) = answer else {
        panic!("{answer:?}")
    };
    let described: Vec<_> = files
        .file_descriptor_proto
        .iter()
        .map(|file| FileDescriptorProto::decode(file.as_slice()).expect("a descriptor"))
        .collect();
    let methods = described[0].service[0].method.iter().map(|method| method.name());
    let methods: Vec<_> = methods.collect();
    assert!(
        methods.contains(&"Schedule") && !methods.contains(&"Remember"),
        "{methods:?}"
    );
    assert!(
        described[0].dependency.is_empty(),
        "the options are the host's business"
    );
    for symbol in [
        "faults.v1.Faults.Remember",
        "order.v1.OrderTimers",
        "order.v1.OrderTimers.CancelUnpaid",
        "order.v1.CancelUnpaidRequest",
        "mortise.v1.internal",
    ] {
        let answer = ask!(v1, host, FileContainingSymbol(symbol.into()));
        assert!(
            matches!(answer, MessageResponse::ErrorResponse(_)),
            "{symbol}: {answer:?}"
        );
    }
    let answer = ask!(v1, host, FileByFilename("order/v1/timers.proto".into()));
    assert!(matches!(answer, MessageResponse::ErrorResponse(_)), "{answer:?}");
    host.stop().await;
}

reflection_answers!(v1_describes_every_service, v1);
reflection_answers!(v1alpha_describes_every_service, v1alpha);

#[tokio::test]
async fn reflection_can_be_turned_off() {
    let off = "[server]\nreflection = false";
    let host = Setup::of(Plugin::faults(Isolation::Call)).with(off).start().await;
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(host.channel());
    let status = client
        .server_reflection_info(tokio_stream::empty())
        .await
        .expect_err("it is off");
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    host.stop().await;
}

#[tokio::test]
async fn health_knows_every_service() {
    let plugins = Setup::of(Plugin::faults(Isolation::Call)).and(Plugin::order(Isolation::Call));
    let host = plugins.start().await;
    for service in ["", "faults.v1.Faults", "order.v1.OrderService"] {
        assert_eq!(
            host.health_of(service).await,
            Some(ServingStatus::Serving),
            "{service:?}"
        );
    }
    for service in ["faults.v1", "order.v1.Nothing"] {
        assert_eq!(host.health_of(service).await, None, "{service:?}");
    }
    host.stop().await;
}

/// Stock clients of health are older than `List`.
#[derive(Clone, PartialEq, Message)]
struct HealthListResponse {
    #[prost(map = "string, message", tag = "1")]
    statuses: std::collections::HashMap<String, HealthCheckResponse>,
}

#[tokio::test]
async fn health_is_listed_while_the_host_serves_and_while_it_stops() {
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with("[server]\ndrain_delay_ms = 600000")
        .start()
        .await;
    let raw = host.raw().await;
    let list = async || {
        let answer = raw.unary("/grpc.health.v1.Health/List", &[], &()).await;
        let statuses = answer.message::<HealthListResponse>().statuses.into_iter();
        let mut statuses: Vec<_> = statuses.map(|(name, answer)| (name, answer.status())).collect();
        statuses.sort();
        statuses
    };
    let all = |status| vec![(String::new(), status), ("faults.v1.Faults".to_owned(), status)];
    assert_eq!(list().await, all(ServingStatus::Serving));
    host.signal(rustix::process::Signal::TERM);
    until_some("a list that says so", async || {
        let listed = list().await;
        (listed == all(ServingStatus::NotServing)).then_some(())
    })
    .await;
    host.kill().await;
}

#[tokio::test]
async fn a_service_that_is_watched_may_come_and_go() {
    const ORDERS: &str = "order.v1.OrderService";
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(Isolation::Call).file(&live.path))
        .start()
        .await;
    let mut health = host.health();
    let watch = health.watch(HealthCheckRequest {
        service: ORDERS.into(),
    });
    let mut watch = watch.await.expect("served").into_inner();
    let mut next = async || {
        let status = within_patience("a change of health", watch.next()).await;
        status.expect("a status").expect("a status").status()
    };
    assert_eq!(next().await, ServingStatus::ServiceUnknown);
    let read = |file| std::fs::read(file).expect("it was built");
    live.rename_over(&read(&components().order));
    assert_eq!(next().await, ServingStatus::Serving);
    live.rename_over(&read(&components().faults));
    assert_eq!(next().await, ServingStatus::ServiceUnknown);
    host.stop().await;
}

/// Two plugins carry different files under one name.
#[tokio::test]
async fn each_symbol_is_described_by_the_plugin_that_owns_it() {
    use v1::server_reflection_response::MessageResponse;
    let folder = tempfile::tempdir().expect("a folder");
    let plugin = |name: &str, service: &str| {
        let mut crafted = Crafted::serving(service, &[("Call", EMPTY)]);
        crafted.descriptors = descriptors(service, &["Call"], |file| {
            file.name = Some("service.proto".into());
        });
        let file = folder.path().join(format!("{name}.wasm"));
        crafted.write_to(&file);
        Plugin::crafted(name, service, &file, Isolation::Call)
    };
    let plugins = Setup::of(plugin("one", "one.v1.One")).and(plugin("other", "other.v1.Other"));
    let host = plugins.start().await;
    for (symbol, package) in [
        ("one.v1.One", "one.v1"),
        ("one.v1.One.Call", "one.v1"),
        ("one.v1.Empty", "one.v1"),
        ("other.v1.Other", "other.v1"),
        ("other.v1.Other.Call", "other.v1"),
        ("other.v1.Empty", "other.v1"),
    ] {
        let answer = ask!(v1, host, FileContainingSymbol(symbol.into()));
        let MessageResponse::FileDescriptorResponse(files) = answer else {
            panic!("{symbol}: {answer:?}")
        };
        assert_eq!(packages(&files.file_descriptor_proto), [package], "{symbol}");
    }
    host.stop().await;
}
