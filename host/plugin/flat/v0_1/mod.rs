//! The imports of version 0.1.0 of the contract, for guests that are linked to them directly.
//!
//! Each function reads its arguments, calls the one that the component path calls, and hands over what it
//! answers. Signatures are those of the canonical ABI ("Flattening"): a string or a list is an address and a
//! length, and an answer that does not fit into one value goes to an address that comes last.

mod timers;
mod types;

use wasmtime::{Caller, Linker, Result};

use super::abi::{Enumeration, is_some};
use super::guest::Guest;
use crate::plugin::bindings::v0_1::imports::{call, config, events, limits, log, store, upstream};
use crate::plugin::state::CallState;

const CALL: &str = "mortise:plugin/call@0.1.0";
const STORE: &str = "mortise:plugin/store@0.1.0";
const EVENTS: &str = "mortise:plugin/events@0.1.0";
const LIMITS: &str = "mortise:plugin/limits@0.1.0";
const LOG: &str = "mortise:plugin/log@0.1.0";
const CONFIG: &str = "mortise:plugin/config@0.1.0";
const UPSTREAM: &str = "mortise:plugin/upstream@0.1.0";

/// Functions whose answers have strings or lists, for which the guest makes room.
pub(super) const NEEDS_ROOM: &[(&str, &str)] = &[
    (CALL, "metadata"),
    (CALL, "all-metadata"),
    (CALL, "peer"),
    (CALL, "principal"),
    (CALL, "id"),
    (CALL, "trace-context"),
    (CALL, "add-initial-metadata"),
    (CALL, "add-trailing-metadata"),
    (STORE, "get"),
    (STORE, "get-many"),
    (STORE, "insert"),
    (STORE, "put"),
    (STORE, "delete"),
    (STORE, "put-if"),
    (STORE, "delete-if"),
    (STORE, "scan"),
    (EVENTS, "publish"),
    (timers::TIMERS, "schedule"),
    (timers::TIMERS, "cancel"),
    (LIMITS, "take"),
    (CONFIG, "get"),
    (UPSTREAM, "call"),
];

type Host<'a> = Caller<'a, CallState>;

/// Links all of them.
pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    add_call(linker)?;
    add_store(linker)?;
    add_events_and_limits(linker)?;
    timers::add_to_linker(linker)?;
    add_log_and_config(linker)?;
    add_upstream(linker)
}

fn add_call(linker: &mut Linker<CallState>) -> Result<()> {
    linker.func_wrap(
        CALL,
        "metadata",
        |mut caller: Host<'_>, key: u32, bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let key = guest.arguments().string(key, bytes)?;
            let values = call::Host::metadata(guest.state, key);
            guest.answer(at, values)
        },
    )?;
    linker.func_wrap(CALL, "all-metadata", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let entries = call::Host::all_metadata(guest.state);
        guest.answer(at, entries)
    })?;
    linker.func_wrap(CALL, "deadline", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let deadline = call::Host::deadline(guest.state);
        guest.answer(at, deadline)
    })?;
    linker.func_wrap(CALL, "remaining", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let remaining = call::Host::remaining(guest.state);
        guest.answer(at, remaining)
    })?;
    linker.func_wrap(CALL, "cancelled", |mut caller: Host<'_>| -> Result<u32> {
        let guest = Guest::of(&mut caller)?;
        Ok(call::Host::cancelled(guest.state).into())
    })?;
    linker.func_wrap(CALL, "peer", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let peer = call::Host::peer(guest.state);
        guest.answer(at, peer)
    })?;
    linker.func_wrap(CALL, "principal", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let principal = call::Host::principal(guest.state);
        guest.answer(at, principal)
    })?;
    linker.func_wrap(CALL, "id", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let id = call::Host::id(guest.state);
        guest.answer(at, id)
    })?;
    linker.func_wrap(CALL, "attempt", |mut caller: Host<'_>| -> Result<u32> {
        let guest = Guest::of(&mut caller)?;
        Ok(call::Host::attempt(guest.state))
    })?;
    linker.func_wrap(CALL, "trace-context", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let trace = call::Host::trace_context(guest.state);
        guest.answer(at, trace)
    })?;
    linker.func_wrap(
        CALL,
        "add-initial-metadata",
        |mut caller: Host<'_>, key: u32, key_bytes: u32, value: u32, value_bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let (key, value) = guest
                .arguments()
                .key_and_value((key, key_bytes), (value, value_bytes))?;
            let added = call::Host::add_initial_metadata(guest.state, key, value);
            guest.answer(at, added)
        },
    )?;
    linker.func_wrap(
        CALL,
        "add-trailing-metadata",
        |mut caller: Host<'_>, key: u32, key_bytes: u32, value: u32, value_bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let (key, value) = guest
                .arguments()
                .key_and_value((key, key_bytes), (value, value_bytes))?;
            let added = call::Host::add_trailing_metadata(guest.state, key, value);
            guest.answer(at, added)
        },
    )?;
    Ok(())
}

type ScanArguments = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u32, u32);

fn add_store(linker: &mut Linker<CallState>) -> Result<()> {
    linker.func_wrap(
        STORE,
        "get",
        |mut caller: Host<'_>, key: u32, bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let key = guest.arguments().list(key, bytes)?;
            let value = store::Host::get(guest.state, key);
            guest.answer(at, value)
        },
    )?;
    linker.func_wrap_async(
        STORE,
        "get-many",
        |mut caller: Host<'_>, (keys, count, at): (u32, u32, u32)| {
            Box::new(async move {
                let guest = Guest::of(&mut caller)?;
                let keys = guest.arguments().list(keys, count)?;
                let values = store::Host::get_many(guest.state, keys).await;
                Guest::of(&mut caller)?.answer(at, values)
            })
        },
    )?;
    linker.func_wrap(
        STORE,
        "insert",
        |mut caller: Host<'_>, key: u32, key_bytes: u32, value: u32, value_bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let (key, value) = guest
                .arguments()
                .key_and_value((key, key_bytes), (value, value_bytes))?;
            let inserted = store::Host::insert(guest.state, key, value);
            guest.answer(at, inserted)
        },
    )?;
    linker.func_wrap(
        STORE,
        "put",
        |mut caller: Host<'_>, key: u32, key_bytes: u32, value: u32, value_bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let (key, value) = guest
                .arguments()
                .key_and_value((key, key_bytes), (value, value_bytes))?;
            let put = store::Host::put(guest.state, key, value);
            guest.answer(at, put)
        },
    )?;
    linker.func_wrap(
        STORE,
        "delete",
        |mut caller: Host<'_>, key: u32, bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let key = guest.arguments().list(key, bytes)?;
            let deleted = store::Host::delete(guest.state, key);
            guest.answer(at, deleted)
        },
    )?;
    linker.func_wrap(
        STORE,
        "put-if",
        |mut caller: Host<'_>,
         key: u32,
         key_bytes: u32,
         value: u32,
         value_bytes: u32,
         version: u64,
         at: u32| {
            let guest = Guest::of(&mut caller)?;
            let (key, value) = guest
                .arguments()
                .key_and_value((key, key_bytes), (value, value_bytes))?;
            let put = store::Host::put_if(guest.state, key, value, version);
            guest.answer(at, put)
        },
    )?;
    linker.func_wrap(
        STORE,
        "delete-if",
        |mut caller: Host<'_>, key: u32, bytes: u32, version: u64, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let key = guest.arguments().list(key, bytes)?;
            let deleted = store::Host::delete_if(guest.state, key, version);
            guest.answer(at, deleted)
        },
    )?;
    linker.func_wrap_async(STORE, "scan", |mut caller: Host<'_>, arguments: ScanArguments| {
        Box::new(async move {
            let (start, start_bytes, has_end, end, end_bytes, ..) = arguments;
            let (.., has_cursor, cursor, cursor_bytes, direction, limit, at) = arguments;
            let guest = Guest::of(&mut caller)?;
            let mut arguments = guest.arguments();
            let range = store::Range {
                start: arguments.list(start, start_bytes)?,
                end: arguments.optional_list(has_end, end, end_bytes)?,
                cursor: arguments.optional_list(has_cursor, cursor, cursor_bytes)?,
                direction: store::Direction::of_case(direction)?,
                limit,
            };
            let page = store::Host::scan(guest.state, range).await;
            Guest::of(&mut caller)?.answer(at, page)
        })
    })?;
    Ok(())
}

fn add_events_and_limits(linker: &mut Linker<CallState>) -> Result<()> {
    linker.func_wrap(
        EVENTS,
        "publish",
        |mut caller: Host<'_>,
         topic: u32,
         topic_bytes: u32,
         key: u32,
         key_bytes: u32,
         payload: u32,
         payload_bytes: u32,
         at: u32| {
            let guest = Guest::of(&mut caller)?;
            let mut arguments = guest.arguments();
            let topic = arguments.string(topic, topic_bytes)?;
            let key = arguments.string(key, key_bytes)?;
            let payload = arguments.list(payload, payload_bytes)?;
            let published = events::Host::publish(guest.state, topic, key, payload);
            guest.answer(at, published)
        },
    )?;
    linker.func_wrap(
        LIMITS,
        "take",
        |mut caller: Host<'_>,
         bucket: u32,
         bucket_bytes: u32,
         tokens: u32,
         burst: u32,
         refill: u32,
         period_ms: u64,
         at: u32| {
            let guest = Guest::of(&mut caller)?;
            let bucket = guest.arguments().string(bucket, bucket_bytes)?;
            let rate = limits::Rate {
                burst,
                refill,
                period_ms,
            };
            let decision = limits::Host::take(guest.state, bucket, tokens, rate);
            guest.answer(at, decision)
        },
    )?;
    Ok(())
}

fn add_log_and_config(linker: &mut Linker<CallState>) -> Result<()> {
    linker.func_wrap(LOG, "max-level", |mut caller: Host<'_>, at: u32| {
        let guest = Guest::of(&mut caller)?;
        let level = log::Host::max_level(guest.state);
        guest.answer(at, level)
    })?;
    linker.func_wrap(
        LOG,
        "write",
        |mut caller: Host<'_>,
         level: u32,
         target: u32,
         target_bytes: u32,
         message: u32,
         message_bytes: u32,
         fields: u32,
         count: u32|
         -> Result<()> {
            let guest = Guest::of(&mut caller)?;
            let mut arguments = guest.arguments();
            let level = log::Level::of_case(level)?;
            let target = arguments.string(target, target_bytes)?;
            let message = arguments.string(message, message_bytes)?;
            let fields = arguments.list(fields, count)?;
            log::Host::write(guest.state, level, target, message, fields);
            Ok(())
        },
    )?;
    linker.func_wrap(
        CONFIG,
        "get",
        |mut caller: Host<'_>, key: u32, bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let key = guest.arguments().string(key, bytes)?;
            let value = config::Host::get(guest.state, key);
            guest.answer(at, value)
        },
    )?;
    Ok(())
}

type UpstreamArguments = (u32, u32, u32, u32, u32, u32, u32, u32, u32, u64, u32);

fn add_upstream(linker: &mut Linker<CallState>) -> Result<()> {
    linker.func_wrap_async(
        UPSTREAM,
        "call",
        |mut caller: Host<'_>, arguments: UpstreamArguments| {
            Box::new(async move {
                let (target, target_bytes, method, method_bytes, ..) = arguments;
                let (.., message, message_bytes, metadata, count, has_timeout, timeout, at) = arguments;
                let guest = Guest::of(&mut caller)?;
                let mut arguments = guest.arguments();
                let request = upstream::Request {
                    target: arguments.string(target, target_bytes)?,
                    method: arguments.string(method, method_bytes)?,
                    message: arguments.list(message, message_bytes)?,
                    metadata: arguments.list(metadata, count)?,
                    timeout: is_some(has_timeout)?.then_some(timeout),
                };
                let reply = upstream::Host::call(guest.state, request).await;
                Guest::of(&mut caller)?.answer(at, reply)
            })
        },
    )?;
    Ok(())
}
