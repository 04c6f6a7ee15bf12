//! The host as it is, with the plugins' own logic in the place of their sandboxes.

use std::path::Path;

use mortise::app::App;
use mortise::config::{Config, Overrides};
use mortise::metadata::{MetadataError, Part};
use mortise::observe::logging;
use mortise::plugin::state::{Attempt, PluginContext};
use mortise::status::GuestStatus;
use prost::Message;
use tonic::Code;

use crate::logic::{place, work};
use crate::pb;

pub(super) const ROLE: &str = "--mortise-native";

/// What [`handle`] knows methods by.
const METHODS: &[(&str, &[&str])] = &[
    (
        "bench",
        &[
            "/bench.v1.Bench/Place",
            "/bench.v1.Bench/Echo",
            "/bench.v1.Bench/GetVariant",
        ],
    ),
    (
        "compute",
        &["/compute.v1.Compute/Run", "/compute.v1.Compute/Wait"],
    ),
];

/// Serves what the configuration says, until it is killed.
pub(super) fn serve(config: &Path) {
    let config = Config::load(Some(config), &Overrides::default()).expect("it is valid");
    logging::init(&config.log).expect("a log");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.expect("a runtime").block_on(async {
        let app = App::start(&config).await.expect("it starts");
        app.registry.loader().replace_guests(handle);
        app.load_plugins().await.expect("they load");
        for live in app.registry.live_generations() {
            let known = METHODS.iter().find(|(plugin, _)| *plugin == live.name.as_str());
            let paths = live.description.methods.iter().map(|method| method.path.as_str());
            assert!(known.is_some_and(|(_, known)| paths.eq(known.iter().copied())));
        }
        app.run(std::future::pending()).await.expect("it serves");
    });
}

fn handle(
    plugin: &PluginContext,
    attempt: &mut Attempt,
    method: usize,
    request: &[u8],
) -> Result<Vec<u8>, GuestStatus> {
    match (plugin.name.as_str(), method) {
        ("bench", 0) => place_order(plugin, attempt, request),
        ("bench", 1) => Ok(decoded::<pb::Payload>(request)?.encode_to_vec()),
        ("compute", 0) => {
            let outcome = work::run(&decoded(request)?).map_err(invalid)?;
            Ok(outcome.encode_to_vec())
        }
        _ => Err(invalid("only plugins have it")),
    }
}

/// As the plugin does it.
fn place_order(
    plugin: &PluginContext,
    attempt: &mut Attempt,
    request: &[u8],
) -> Result<Vec<u8>, GuestStatus> {
    let order: pb::Order = decoded(request)?;
    let request_id = attempt.call.metadata.get_all("x-request-id").pop();
    let confirmation = place::place(&order).map_err(invalid)?;
    let refused = |error: MetadataError| invalid(error.to_string());
    let (answer, limits) = (&mut attempt.answer, &plugin.metadata);
    answer
        .add(
            Part::Initial,
            "x-request-id",
            &request_id.unwrap_or_default(),
            limits,
        )
        .map_err(refused)?;
    answer
        .add(Part::Trailing, "processing-time-ms", b"0", limits)
        .map_err(refused)?;
    Ok(confirmation.encode_to_vec())
}

fn decoded<M: Message + Default>(request: &[u8]) -> Result<M, GuestStatus> {
    M::decode(request).map_err(|error| invalid(error.to_string()))
}

fn invalid(message: impl Into<String>) -> GuestStatus {
    GuestStatus {
        code: Code::InvalidArgument,
        message: message.into(),
        details: Vec::new(),
    }
}
