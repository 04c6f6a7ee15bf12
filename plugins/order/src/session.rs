//! What every call goes through, whatever its method.

use std::net::IpAddr;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mortise_guest::{Config, ReadCall, Status};

use crate::identity::Identity;
use crate::settings::Settings;

/// Longest `x-request-id` echoed, in bytes. The host also puts it in every log line of the call.
const MAX_REQUEST_ID_BYTES: usize = 256;

/// What is known of a call that may proceed.
#[derive(Debug)]
pub struct Session {
    /// The operator's values.
    pub settings: Settings,
    /// Whose call it is.
    pub identity: Identity,
    /// When the call began, in nanoseconds since the Unix epoch.
    pub now: i64,
}

impl Session {
    /// Admits the call and runs `handler`. Whatever comes of it, the answer carries the metadata that every
    /// answer has.
    pub fn run<T>(call: &ReadCall, handler: impl FnOnce(&Self) -> Result<T, Status>) -> Result<T, Status> {
        let began = call.now();
        let result = Self::admit(call, began).and_then(|session| handler(&session));
        let spent = call.now().duration_since(began).unwrap_or_default();
        let told = call
            .trailers()
            .insert("processing-time-ms", spent.as_millis().to_string());
        result.and_then(|answer| told.map(|()| answer))
    }

    /// Refusals that cost least come first; the rate limit counts every call, so that none is free.
    fn admit(call: &ReadCall, began: SystemTime) -> Result<Self, Status> {
        let headers = call.headers();
        headers.insert("server-version", env!("CARGO_PKG_VERSION"))?;
        if let Some(id) = call.metadata().get("x-request-id") {
            if id.len() > MAX_REQUEST_ID_BYTES {
                let message = format!("x-request-id exceeds {MAX_REQUEST_ID_BYTES} bytes");
                return Err(Status::invalid_argument(message));
            }
            headers.insert("x-request-id", id)?;
        }
        let settings = Settings::load(call)?;
        if let Some(region) = &settings.region {
            headers.insert("region", region)?;
        }
        if let Some(rate) = settings.rate_limit {
            call.limit(&client(call.peer_ip()), rate)?;
        }
        let enough = Duration::from_millis(settings.min_remaining_ms);
        if call.remaining().is_some_and(|remaining| remaining < enough) {
            return Err(Status::deadline_exceeded("Insufficient time to process order"));
        }
        let identity = Identity::of(call, &settings)?;
        Ok(Self {
            settings,
            identity,
            now: nanos(began),
        })
    }
}

/// The client's rate-limit bucket. An IPv6 client commands at least a /64 network, so that is what counts.
fn client(address: Option<IpAddr>) -> String {
    match address {
        Some(IpAddr::V4(address)) => format!("client:{address}"),
        Some(IpAddr::V6(address)) => {
            let [a, b, c, d, ..] = address.segments();
            format!("client:{a:x}:{b:x}:{c:x}:{d:x}::/64")
        }
        None => "client:local".to_owned(),
    }
}

/// Nanoseconds since the Unix epoch, as the proto counts them: good until the year 2262.
fn nanos(time: SystemTime) -> i64 {
    let since_epoch = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_nanos()).unwrap_or(i64::MAX)
}
