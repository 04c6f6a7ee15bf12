//! `[upstreams.NAME]`: the services outside that plugins may call.

use std::path::PathBuf;
use std::time::Duration;

use http::{HeaderName, Uri};

use crate::capability::upstream::AllowedMethod;
use crate::config::setting::{
    AllowedMethods, GIB, MIB, MetadataKeys, Url, bytes, count, count_u32, millis, optional, path_to,
};

section! {
    /// A service outside that plugins may call: those that ask for it and have `upstream:NAME` in their
    /// `grants`. NAME is the operator's choice, by the rule of plugin names; plugins know the target by it.
    /// All plugins share one connection to a target, its bounds and its circuit breaker.
    Upstream at "upstreams.NAME" {
        /// Where the target is: `http://HOST:PORT`, or `https://HOST:PORT` for TLS. It must speak gRPC over
        /// HTTP/2. Required.
        "url" => url: Uri = Url;
        /// With https: a file of CA certificates in PEM, one of which the target's certificate must come from.
        "ca_file" => ca_file: Option<PathBuf> = optional("the CAs that the system trusts", path_to("file", "-"));
        /// What may be called: methods, `package.Service/Method`, or all of a service, `package.Service/*`.
        /// Anything else fails in the plugin, PERMISSION_DENIED.
        "methods" => methods: Vec<AllowedMethod> = AllowedMethods;
        /// Keys of the client's metadata that go along, where the plugin does not set them itself. The client's
        /// trace always does.
        "forward_metadata" => forward_metadata: Vec<HeaderName> = MetadataKeys;
        /// The most calls to the target at once.
        "max_concurrent" => max_concurrent: usize = count(100, 1, 100_000);
        /// The most calls that wait for their turn. Further ones fail in the plugin, UNAVAILABLE.
        "max_queued" => max_queued: usize = count(100, 0, 100_000);
        /// How long connecting may take, TLS included.
        "connect_timeout_ms" => connect_timeout: Duration = millis(1000, 1, 600_000);
        /// How long a call to the target may take, retries included. What remains of the client's deadline
        /// bounds it anyway.
        "timeout_ms" => timeout: Option<Duration> =
            optional("the client's deadline alone decides", millis(1, 1, 86_400_000));
        /// How often a call is repeated when the target cannot be reached or answers UNAVAILABLE, with pauses
        /// that double from 50 ms, while there is time. Each repetition carries the same `idempotency-key`.
        "retries" => retries: u32 = count_u32(2, 0, 100);
        /// After so many calls in a row that did not reach the target, were answered UNAVAILABLE or took longer
        /// than `timeout_ms`, the target is left alone for `breaker_open_ms`: calls fail in the plugin at once,
        /// UNAVAILABLE. Then one call tries. 0 never leaves it alone.
        "breaker_failures" => breaker_failures: u32 = count_u32(10, 0, 1_000_000);
        /// How long a target that keeps failing is left alone.
        "breaker_open_ms" => breaker_open: Duration = millis(5000, 1, 3_600_000);
        /// The largest message that a plugin may send to the target.
        "max_request_bytes" => max_request_bytes: usize = bytes(4 * MIB, 1, GIB);
        /// The largest message that the target may answer with.
        "max_response_bytes" => max_response_bytes: usize = bytes(4 * MIB, 1, GIB);
    }
}

named!(Upstream);
