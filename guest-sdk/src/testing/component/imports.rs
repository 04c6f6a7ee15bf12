//! What the component imports, answered by the call in progress, function by function.

use std::time::UNIX_EPOCH;

use crate::bindings::mortise::plugin::limits::Rate;
use crate::bindings::mortise::plugin::log::Level;
use crate::bindings::mortise::plugin::{store, upstream};
use crate::testing::imports as fake;

macro_rules! functions {
    ($($function:literal($($argument:ident: $type:ty),*) => $answer:expr,)*) => {
        /// Calls a function with an encoded tuple of arguments, and encodes its answer.
        ///
        /// # Errors
        /// If it is none of the contract's.
        pub(super) fn answer(function: &str, arguments: &[u8]) -> Result<Vec<u8>, String> {
            match function {
                $($function => {
                    let ($($argument,)*): ($($type,)*) =
                        postcard::from_bytes(arguments).map_err(|error| error.to_string())?;
                    postcard::to_allocvec(&$answer).map_err(|error| error.to_string())
                })*
                _ => Err("it imports what this mortise-guest does not know".to_owned()),
            }
        }
    };
}

type Bytes = Vec<u8>;

functions! {
    "call.metadata"(key: String) => fake::call::metadata(&key),
    "call.all-metadata"() => fake::call::all_metadata(),
    "call.deadline"() => fake::call::deadline(),
    "call.remaining"() => fake::call::remaining(),
    "call.cancelled"() => fake::call::cancelled(),
    "call.peer"() => fake::call::peer(),
    "call.principal"() => fake::call::principal(),
    "call.id"() => fake::call::id(),
    "call.attempt"() => fake::call::attempt(),
    "call.trace-context"() => fake::call::trace_context(),
    "call.add-initial-metadata"(key: String, value: Bytes) => fake::call::add_initial_metadata(&key, &value),
    "call.add-trailing-metadata"(key: String, value: Bytes) => fake::call::add_trailing_metadata(&key, &value),
    "store.get"(key: Bytes) => fake::store::get(&key),
    "store.get-many"(keys: Vec<Bytes>) => fake::store::get_many(&keys),
    "store.scan"(range: store::Range) => fake::store::scan(&range),
    "store.insert"(key: Bytes, value: Bytes) => fake::store::insert(&key, &value),
    "store.put"(key: Bytes, value: Bytes) => fake::store::put(&key, &value),
    "store.delete"(key: Bytes) => fake::store::delete(&key),
    "store.put-if"(key: Bytes, value: Bytes, version: u64) => fake::store::put_if(&key, &value, version),
    "store.delete-if"(key: Bytes, version: u64) => fake::store::delete_if(&key, version),
    "events.publish"(topic: String, key: String, payload: Bytes) =>
        fake::events::publish(&topic, &key, &payload),
    "timers.schedule"(when: u64, method: String, request: Bytes) =>
        fake::timers::schedule(when, &method, &request),
    "timers.cancel"(id: String) => fake::timers::cancel(&id),
    "limits.take"(bucket: String, tokens: u32, rate: Rate) => fake::limits::take(&bucket, tokens, rate),
    "upstream.call"(request: upstream::Request) => fake::upstream::call(&request),
    "log.max-level"() => fake::log::max_level(),
    "log.write"(level: Level, target: String, message: String, fields: Vec<(String, String)>) =>
        fake::log::write(level, &target, &message, &fields),
    "config.get"(key: String) => fake::config::get(&key),
    "clock.now"() => since_epoch(),
    "random.fill"(bytes: u64) => random(bytes),
}

fn since_epoch() -> u64 {
    let since = fake::clock::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

/// The sandbox bounds how many at once.
fn random(bytes: u64) -> Bytes {
    let mut random = vec![0; usize::try_from(bytes).unwrap_or_default()];
    fake::random::fill(&mut random);
    random
}
