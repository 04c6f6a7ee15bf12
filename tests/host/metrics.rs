//! Every documented metric, held to its value after a run whose every step is known.

use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use mortise::admin::pb::ReloadPluginRequest;
use mortise::observe::metrics::table;
use tokio::sync::Notify;
use tonic::{Code, Response, Status};

use crate::support::pb::caller::{AskBackendRequest, AskResponse};
use crate::support::pb::faults::IncrementRequest;
use crate::support::{Backend, Host, Isolation, LiveFile, Plugin, Setup, components, reason, until_some};

mod held;
mod script;

use held::{Held, shown_as_documented};
use script::{DEFERRED_COMMITS, calls_left_for_later, calls_of_all_kinds, upstream_calls};

/// Plugins are numbered as they are loaded, in the order of their names.
const CALLER: &str = "1";
const FAULTS: &str = "2";
const FAULTS_2: &str = "3";

fn method(name: &str) -> String {
    format!("/faults.v1.Faults/{name}")
}

async fn reload(host: &Host, plugin: &str) -> Result<bool, Status> {
    let plugin = plugin.to_owned();
    let reloaded = host
        .admin()
        .await
        .reload_plugin(ReloadPluginRequest { plugin })
        .await;
    Ok(reloaded?.into_inner().changed)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_documented_metric_has_its_value() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (inside, free) = (entered.clone(), leave.clone());
    let backend = Backend::new(move |number, text| {
        let (inside, free) = (inside.clone(), free.clone());
        async move {
            match text.as_str() {
                "denied" => Err(Status::permission_denied("no")),
                "later" if number == 3 => Err(Status::unavailable("not yet")),
                "hold" => {
                    inside.notify_one();
                    free.notified().await;
                    Ok(Response::new(AskResponse { text }))
                }
                _ => Ok(Response::new(AskResponse { text })),
            }
        }
    })
    .await;
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(Isolation::Call).file(&live.path))
        .and(Plugin::caller(Isolation::Call).key("max_concurrent_calls", 1))
        .with(&backend.section("backend", "retries = 1"))
        .with("[upstreams.other]\nurl = \"http://127.0.0.1:1\"\nretries = 0\nbreaker_failures = 1")
        .with("[server]\nmax_queued_calls = 0\n[log]\nslow_call_ms = 50")
        .with("[timers]\nmax_attempts = 1\n[events]\nmax_dead_letters = 1")
        .with(
            "[subscriptions.remember]\ntopics = [\"faults.again\"]\nplugin = \"faults\"\n\
             method = \"faults.v1.Faults/Remember\"\nmax_attempts = 1",
        )
        .cache("")
        .start()
        .await;

    let retries = calls_of_all_kinds(&host).await;
    upstream_calls(&host).await;
    calls_left_for_later(&host).await;

    // One call is under way and another is refused.
    let holding = {
        let mut client = host.caller();
        tokio::spawn(async move { client.ask(AskBackendRequest { text: "hold".into() }).await })
    };
    entered.notified().await;
    let refused = host
        .caller()
        .ask(AskBackendRequest::default())
        .await
        .expect_err("full");
    assert_eq!(reason(&refused), "OVERLOADED");
    let mut during = Held::of(host.metrics().await);
    during.is(&table::CALLS_IN_FLIGHT, &["caller", CALLER], 1.0);
    during.is_within(&table::CALLS_ADMITTED, &[], 1.0, 2.0);
    let idle = during.page.sum("mortise_sandboxes_idle", &[]);
    during.is_within(&table::SANDBOXES, &[], idle + 1.0, idle + 2.0);
    leave.notify_one();
    holding.await.expect("no panic").expect("answered");

    // The file is looked at, replaced, replaced by what cannot be served.
    assert!(!reload(&host, "faults").await.expect("the same"));
    live.rename_over(&fs::read(&components().faults_2).expect("it was built"));
    reload(&host, "faults").await.expect("version 2");
    live.rename_over(b"no component");
    let refused = reload(&host, "faults").await.expect_err("no component");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    // The command and the watch both tell of the refusal; nothing more happens then.
    until_some("both refusals", async || {
        let refused = host
            .log
            .all(|line| line.message().starts_with("not loaded, nothing changed"));
        (refused.len() == 2).then_some(())
    })
    .await;
    let page = until_some("the old version unloaded and all events delivered", async || {
        let page = host.metrics().await;
        let unloaded = page.sum("mortise_generations_unloaded_total", &[("plugin", "faults")]);
        let left = page.value("mortise_events_undelivered", &[]);
        (unloaded == 1.0 && left == Some(0.0)).then_some(page)
    })
    .await;

    let mut held = Held::of(page);
    held.names.extend(during.names);
    calls_are_counted(&mut held, retries);
    generations_are_counted(&mut held);
    state_is_counted(&mut held, retries);
    the_outside_is_counted(&mut held);
    the_process_is_measured(&mut held);

    let documented: BTreeSet<_> = table::ALL.iter().map(|metric| metric.name).collect();
    assert_eq!(held.names, documented, "each is held to its value here");
    shown_as_documented(&held.page);
    host.stop().await;
}

fn calls_are_counted(held: &mut Held, retries: f64) {
    let gone = ["faults", FAULTS];
    let mut calls = |name: &str, code: &str, count: f64| {
        held.is(&table::CALLS, &["faults", FAULTS, &method(name), code], count);
    };
    calls("Echo", "OK", 3.0);
    calls("Echo", "INVALID_ARGUMENT", 1.0);
    calls("Fail", "NOT_FOUND", 1.0);
    for name in ["Trap", "Panic", "Exit"] {
        calls(name, "UNKNOWN", 1.0);
    }
    calls("EatMemory", "RESOURCE_EXHAUSTED", 1.0);
    calls("Loop", "DEADLINE_EXCEEDED", 1.0);
    calls("Loop", "CANCELLED", 1.0);
    calls("WriteThen", "OK", 3.0);
    held.is_absent(
        &table::CALLS,
        &["faults", FAULTS, &method("Absent"), "UNIMPLEMENTED"],
    );
    held.is(&table::CALL_SECONDS, &["faults", FAULTS, &method("Echo")], 4.0);
    let seconds = [("method", &*method("Sleep")), ("generation", FAULTS)];
    assert!(held.page.sum("mortise_call_seconds_sum", &seconds) >= 0.1);
    held.is(&table::CALLS_IN_FLIGHT, &gone, 0.0);
    held.is(&table::UNROUTED_CALLS, &["UNKNOWN_METHOD"], 3.0);
    let mut statuses = |reason: &str, count: f64| {
        held.is(&table::HOST_STATUSES, &["faults", FAULTS, reason], count);
    };
    statuses("MALFORMED_TIMEOUT", 1.0);
    statuses("PLUGIN_FAILED", 4.0);
    statuses("PLUGIN_OUT_OF_MEMORY", 1.0);
    statuses("DEADLINE_EXCEEDED", 1.0);
    held.is(&table::HOST_STATUSES, &["caller", CALLER, "OVERLOADED"], 1.0);
    let increment = ["faults", FAULTS, &method("Increment")];
    held.is(&table::CALL_RETRIES, &increment, retries);
    held.is(&table::CALL_CONFLICTS, &increment, retries);
    held.is_at_least(&table::SLOW_CALLS, &gone, 1.0);

    // All generations together; the new one has served nothing yet.
    let all = held
        .page
        .sum("mortise_calls_total", &[("plugin", "faults"), ("code", "OK")]);
    held.is(&table::PLUGIN_CALLS, &["faults", "OK"], all);

    // The one that was refused has its place in the histogram too.
    held.is(&table::QUEUE_SECONDS, &["caller", CALLER], 6.0);
    held.is(&table::QUEUE_LENGTH, &[], 0.0);
    held.is(&table::ADMISSION_REFUSALS, &["caller", CALLER, "OVERLOADED"], 1.0);
    held.is(&table::CALLS_ADMITTED, &[], 0.0);
    held.is(&table::CALLS_ADMITTED_MAX, &[], 1000.0);

    // Of the 200 ms of an endless loop at least the first slices; the rest is run when nothing else is.
    let looped = held.value(&table::GUEST_CPU_SECONDS, &["faults", FAULTS, &method("Loop")]);
    assert!(looped > 0.001, "{looped}");
    held.is_within(
        &table::GUEST_CPU_SECONDS,
        &["faults", FAULTS, &method("Sleep")],
        1e-6,
        0.1,
    );
    for (kind, count) in [
        ("unreachable", 2.0),
        ("out_of_memory", 1.0),
        ("exit", 1.0),
        ("other", 0.0),
    ] {
        held.is(&table::TRAPS, &["faults", FAULTS, kind], count);
    }
    // Endless recursion ends on whichever stack is used up first: that of the machine or that in the memory.
    let ends = ["stack_overflow", "memory_out_of_bounds"];
    let recursions = ends.map(|kind| held.value(&table::TRAPS, &["faults", FAULTS, kind]));
    assert_eq!(recursions.iter().sum::<f64>(), 1.0);
}

fn generations_are_counted(held: &mut Held) {
    let memory = ["faults", FAULTS];
    // It was refused more than 64 MiB, of which it had the most part.
    held.is_within(
        &table::GUEST_MEMORY_PEAK_BYTES,
        &memory,
        32e6,
        64.0 * 1024.0 * 1024.0,
    );
    held.is_at_least(&table::GUEST_MEMORY_GROWTHS, &memory, 1.0);
    // The watch may be having a look at a component.
    let idle = held.page.sum("mortise_sandboxes_idle", &[]);
    held.is_within(&table::SANDBOXES, &[], idle, idle + 1.0);
    held.is(&table::SANDBOXES_IDLE, &["faults", FAULTS_2], 0.0);

    held.is(&table::LIVE_GENERATION, &["caller"], 1.0);
    held.is(&table::LIVE_GENERATION, &["faults"], 3.0);
    held.names.insert(table::GENERATION.name);
    for (number, state, version) in [(FAULTS, "unloaded", "1"), (FAULTS_2, "live", "2")] {
        let labels = [("generation", number), ("state", state), ("version", version)];
        assert_eq!(
            held.page.sum("mortise_generation_info", &labels),
            1.0,
            "{labels:?}"
        );
    }
    held.is(&table::PLUGIN_LOADS, &["faults", "live"], 2.0);
    // The host's own watch looks as well.
    held.is_at_least(&table::PLUGIN_LOADS, &["faults", "unchanged"], 1.0);
    held.is_at_least(&table::PLUGIN_LOADS, &["faults", "refused"], 1.0);
    held.is(&table::PLUGIN_REFUSED, &["faults"], 1.0);
    held.is(&table::PLUGIN_REFUSED, &["caller"], 0.0);
    held.is(&table::GENERATIONS_UNLOADED, &["faults"], 1.0);
    held.is(&table::GENERATIONS_UNLOADED, &["caller"], 0.0);
    held.is_at_least(&table::PLUGIN_LOAD_SECONDS, &["faults"], 3.0);
    held.is(&table::PLUGIN_LOAD_SECONDS, &["caller"], 1.0);
    // The watch and the command may both find a new file, and then both load it.
    held.is_within(&table::PLUGIN_COMPILE_SECONDS, &["faults"], 2.0, 3.0);
    held.is(&table::PLUGIN_COMPILE_SECONDS, &["caller"], 1.0);
    held.is(&table::COMPILE_CACHE_LOOKUPS, &["caller", "miss"], 1.0);
    held.is(&table::COMPILE_CACHE_LOOKUPS, &["caller", "hit"], 0.0);
}

fn state_is_counted(held: &mut Held, retries: f64) {
    held.is(&table::STORE_UP, &[], 1.0);
    // Two writes, what timers and events do, and every increment.
    let commits = 2.0
        + DEFERRED_COMMITS
        + held
            .page
            .sum("mortise_calls_total", &[("method", &*method("Increment"))]);
    held.is(&table::STORE_COMMITS, &[], commits);
    held.is(&table::STORE_CONFLICTS, &[], retries);
    held.is(&table::STORE_COMMIT_SECONDS, &[], commits);
    held.is_within(&table::STORE_GROUP_SECONDS, &[], 1.0, commits);
    held.is_within(&table::STORE_GROUP_COMMITS, &[], 1.0, commits);
    assert_eq!(held.page.sum("mortise_store_group_commits_sum", &[]), commits);
    held.is(&table::STORE_QUEUE_BYTES, &[], 0.0);
    for over in ["key", "idempotency-key"] {
        held.is(&table::TURNS_WAITING, &[over], 0.0);
        held.is_within(&table::TURN_SECONDS, &[over], 0.0, retries);
    }
    held.is_within(&table::STORE_LOG_BYTES, &[], 1000.0, 100_000.0);
    held.is_within(&table::STORE_CONFLICT_LOG_BYTES, &[], 0.0, 10_000.0);
    held.is_at_least(&table::STORE_FILE_BYTES, &[], 4096.0);
    // `a` and `b` hold a byte each, `count` a number; so do `t` and `e`, with notes beside them of who called
    // and for which event, whose id has a number of up to three digits in it.
    held.is(&table::STORE_KEYS, &["faults"], 3.0 + 5.0);
    let bytes = 2.0 + 2.0 + 13.0 + 2.0 * 9.0 + 24.0 + 31.0;
    held.is_within(&table::STORE_DATA_BYTES, &["faults"], bytes + 41.0, bytes + 43.0);
    held.is(&table::RECORDED_ANSWERS, &["faults"], 1.0);
    held.is_within(&table::RECORDED_ANSWERS_BYTES, &["faults"], 128.0, 1024.0);
    held.is(&table::REPLAYED_ANSWERS, &[], 1.0);

    held.is(&table::EVENTS_PUBLISHED, &["faults"], 4.0);
    for sink in ["log", "json-lines", "subscription/remember"] {
        held.is(&table::EVENTS_DELIVERED, &[sink], 4.0);
        held.is(&table::EVENT_FAILURES, &[sink], 0.0);
        held.is(&table::EVENT_LAG_SECONDS, &[sink], 0.0);
    }
    for metric in [&table::SUBSCRIPTION_DELIVERIES, &table::SUBSCRIPTION_FAILURES] {
        held.is(metric, &["remember"], 1.0);
    }
    held.is(&table::DEAD_LETTERS_ADDED, &[], 2.0);
    held.is(&table::DEAD_LETTERS_DROPPED, &[], 1.0);
    held.is(&table::DEAD_LETTERS, &[], 1.0);
    held.is_within(&table::DEAD_LETTER_BYTES, &[], 50.0, 500.0);
    held.is(&table::TIMERS_PENDING, &["faults"], 1.0);
    held.is_within(&table::TIMERS_PENDING_BYTES, &["faults"], 30.0, 300.0);
    held.is(&table::TIMER_LAG_SECONDS, &["faults"], 0.0);
    held.is(&table::TIMERS_FIRED, &["faults"], 1.0);
    held.is(&table::TIMER_FAILURES, &["faults"], 1.0);
    held.is(&table::TIMERS_PENDING, &["caller"], 0.0);

    held.is(&table::EVENTS_UNDELIVERED, &[], 0.0);
    held.is(&table::EVENTS_UNDELIVERED_BYTES, &[], 0.0);
}

fn the_outside_is_counted(held: &mut Held) {
    let mut calls = |labels: [&str; 3], count: f64| {
        let [target, origin, code] = labels;
        held.is(&table::UPSTREAM_CALLS, &["caller", target, origin, code], count);
    };
    calls(["backend", "target", "OK"], 3.0);
    calls(["backend", "target", "PERMISSION_DENIED"], 1.0);
    calls(["other", "host", "UNAVAILABLE"], 1.0);
    held.is(&table::UPSTREAM_CALL_SECONDS, &["caller", "backend"], 4.0);
    held.is(&table::UPSTREAM_RETRIES, &["caller", "backend"], 1.0);
    held.is(&table::UPSTREAM_RETRIES, &["caller", "other"], 0.0);
    held.is(&table::UPSTREAM_BREAKER_OPEN, &["backend"], 0.0);
    held.is(&table::UPSTREAM_BREAKER_OPEN, &["other"], 1.0);

    // That of the clients and that of the raw client, which may be closed by now.
    let accepted = held.value(&table::CONNECTIONS_ACCEPTED, &[]);
    assert!(accepted >= 2.0, "{accepted}");
    held.is_within(&table::CONNECTIONS_OPEN, &[], 1.0, accepted);
    held.is(&table::CONNECTIONS_REFUSED, &["not_accepted"], 0.0);
    held.is(&table::TLS_HANDSHAKE_FAILURES, &["failed"], 0.0);
    held.is(&table::TLS_HANDSHAKE_FAILURES, &["timeout"], 0.0);
}

fn the_process_is_measured(held: &mut Held) {
    held.is(&table::BUILD, &[env!("CARGO_PKG_VERSION")], 1.0);
    held.is(&table::DRAINING, &[], 0.0);
    held.is_within(&table::PROCESS_CPU_SECONDS, &[], 0.01, 3600.0);
    let virtual_memory = held.value(&table::PROCESS_VIRTUAL_MEMORY_BYTES, &[]);
    held.is_within(&table::PROCESS_RESIDENT_MEMORY_BYTES, &[], 1e6, virtual_memory);
    let most = held.value(&table::PROCESS_MAX_FDS, &[]);
    held.is_within(&table::PROCESS_OPEN_FDS, &[], 3.0, most);
    held.is_at_least(&table::PROCESS_THREADS, &[], 2.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let now = now.expect("after 1970").as_secs_f64();
    held.is_within(&table::PROCESS_START_TIME_SECONDS, &[], now - 600.0, now);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_that_fail_are_counted() {
    let folder = tempfile::tempdir().expect("a folder");
    let issued = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let (certificate, key) = (
        folder.path().join("certificate.pem"),
        folder.path().join("key.pem"),
    );
    fs::write(&certificate, issued.cert.pem()).expect("written");
    fs::write(&key, issued.signing_key.serialize_pem()).expect("written");
    let tls = format!(
        "[server]\ntls_certificate = {certificate:?}\ntls_key = {key:?}\ntls_handshake_timeout_ms = 300"
    );
    let setup = Setup::of(Plugin::faults(Isolation::Call)).with(&tls);
    let host = setup.start_without_asking().await;
    let mut plain = tokio::net::TcpStream::connect(host.address)
        .await
        .expect("it listens");
    tokio::io::AsyncWriteExt::write_all(&mut plain, b"GET / HTTP/1.1\r\n\r\n")
        .await
        .expect("sent");
    let _silent = tokio::net::TcpStream::connect(host.address)
        .await
        .expect("it listens");
    let page = until_some("both handshakes over", async || {
        let page = host.metrics().await;
        (page.sum("mortise_tls_handshake_failures_total", &[]) == 2.0).then_some(page)
    })
    .await;
    for reason in ["failed", "timeout"] {
        let labels = [("reason", reason)];
        assert_eq!(
            page.value("mortise_tls_handshake_failures_total", &labels),
            Some(1.0)
        );
    }
    assert_eq!(page.value("mortise_connections_open", &[]), Some(0.0));
    host.stop().await;
}

/// Three rivals: one commits, and of the others one waits until the other has run again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_wait_for_their_turn_are_counted() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).start().await;
    let increment = || async {
        let increment = IncrementRequest {
            key: "count".into(),
            wait_milliseconds: 200,
        };
        host.faults().increment(increment).await.expect("answered")
    };
    let over = [("over", "key")];
    let waits = async || host.metrics().await.value("mortise_turns_waiting", &over) == Some(1.0);
    until_some("one that waits", async || {
        let rivals = async { tokio::join!(increment(), increment(), increment()) };
        let watch = async { while !waits().await {} };
        tokio::select! {
            _ = rivals => None,
            () = watch => Some(()),
        }
    })
    .await;
    until_some("nobody waits", async || (!waits().await).then_some(())).await;
    let page = host.metrics().await;
    assert_eq!(page.value("mortise_turns_waiting", &over), Some(0.0));
    assert!(page.value("mortise_turn_seconds_count", &over) >= Some(1.0));
    let seconds = page.sum("mortise_turn_seconds_sum", &over);
    assert!(seconds > 0.0 && seconds < 60.0, "{seconds}");
    host.stop().await;
}
