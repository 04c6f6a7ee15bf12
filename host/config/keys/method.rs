//! `[methods.NAME]`: what holds for one service or method instead of what holds for all.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::capability::limits::Rate;
use crate::config::MethodName;
use crate::config::setting::{GIB, RateText, Scopes, bytes, count, millis, optional, toggle};

section! {
    /// What holds for one service, each of its methods, or one method. NAME is `package.Service` or
    /// `package.Service/Method`, in quotes: `[methods."order.v1.OrderService"]`. For each key a method's value goes
    /// before its service's, and that before the plugin's and `[server]`'s. A name that no plugin serves gets a warning.
    /// For the host's own services, `grpc.health.v1.Health` and `grpc.reflection.v1.ServerReflection`, bounds on calls
    /// and rates do not hold, and to their streams `[server]`'s deadlines do not apply.
    Method at "methods.NAME" {
        /// The deadline of a call that brings none.
        "default_deadline_ms" => default_deadline: Option<Duration> =
            optional("that of the service, or of `[server]`", millis(1, 1, 86_400_000));
        /// The longest a call may take, also where `[server]` allows less. A longer `grpc-timeout` is cut to it.
        "max_deadline_ms" => max_deadline: Option<Duration> =
            optional("that of the service, or of `[server]`", millis(1, 1, 86_400_000));
        /// The smallest answer that is compressed.
        "compress_min_bytes" => compress_min_bytes: Option<usize> =
            optional("that of the service, the plugin or `[server]`", bytes(1024, 0, GIB));
        /// The most calls of the method at once; of a service, the most of each of its methods. Further ones
        /// wait among `server.max_queued_calls`.
        "max_concurrent_calls" => max_concurrent_calls: Option<usize> =
            optional("the plugin's and `server.max_concurrent_calls` decide", count(1, 1, 10_000));
        /// How often the method may be called by all callers together; of a service, each of its methods.
        /// Further calls are answered RESOURCE_EXHAUSTED.
        "rate" => rate: Option<Rate> = optional("as often as they like", RateText);
        /// The same, for each IP address. An IPv6 network of 64 bits counts as one address.
        "rate_per_peer" => rate_per_peer: Option<Rate> = optional("as often as they like", RateText);
        /// The same, for each verified caller.
        "rate_per_principal" => rate_per_principal: Option<Rate> = optional("as often as they like", RateText);
        /// Scopes that a caller's token must have, all of them, in `scope` or `scp`. A caller without is answered
        /// PERMISSION_DENIED. `[]` asks for none where the service asks for some.
        "required_scopes" => required_scopes: Option<Vec<String>> = optional("those of the service, or none", Scopes);
        /// Whether calls without a token are served where `[issuers.NAME]` ask for one; plugins then find no
        /// identity. A token that comes all the same must be valid. For `grpc.health.v1.Health` it is
        /// `true` unless set otherwise.
        "anonymous" => anonymous: Option<bool> = optional("that of the service, or `false`", toggle(false));
    }
}

named!(Method);

impl Method {
    /// What `methods` say of `package.Service/Method`: for each key its own value, else its service's.
    pub fn find(methods: &BTreeMap<MethodName, Method>, name: &str) -> Method {
        let service = name.split_once('/').map_or(name, |(service, _)| service);
        let found = [name, service].map(|name| methods.get(name));
        let found = || found.iter().copied().flatten();
        Method {
            default_deadline: found().find_map(|method| method.default_deadline),
            max_deadline: found().find_map(|method| method.max_deadline),
            compress_min_bytes: found().find_map(|method| method.compress_min_bytes),
            max_concurrent_calls: found().find_map(|method| method.max_concurrent_calls),
            rate: found().find_map(|method| method.rate),
            rate_per_peer: found().find_map(|method| method.rate_per_peer),
            rate_per_principal: found().find_map(|method| method.rate_per_principal),
            required_scopes: found().find_map(|method| method.required_scopes.clone()),
            anonymous: found().find_map(|method| method.anonymous),
        }
    }
}
