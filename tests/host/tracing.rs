//! Traces of clients: what plugins, upstream services and the log see of them.

use tonic::Request;

use crate::in_both_modes;
use crate::support::log::Line;
use crate::support::pb::caller::AskBackendRequest;
use crate::support::pb::faults::*;
use crate::support::{Backend, Host, Isolation, Plugin, Setup};

in_both_modes!(
    a_call_is_a_child_in_its_clients_trace,
    an_upstream_call_is_a_child_of_the_call,
    what_is_no_trace_is_passed_on_to_nobody,
    slow_calls_tell_where_their_time_went,
);

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CLIENT: &str = "b7ad6b7169203331";

fn traced<M>(message: M) -> Request<M> {
    let mut request = Request::new(message);
    let parent = format!("00-{TRACE}-{CLIENT}-01");
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", parent.parse().expect("a value"));
    metadata.insert("tracestate", "vendor=opaque".parse().expect("a value"));
    request
}

/// The span in a `traceparent` of the client's trace, sampled as the client said.
fn span_of(traceparent: &str) -> &str {
    let fields: Vec<_> = traceparent.split('-').collect();
    let [version, trace, span, flags] = fields[..] else {
        panic!("{traceparent}");
    };
    assert_eq!((version, trace, flags), ("00", TRACE, "01"), "{traceparent}");
    assert!(span.len() == 16 && span != CLIENT, "{traceparent}");
    span
}

async fn guest_line(host: &Host) -> Line {
    let line = |line: &Line| line.target() == "mortise::guest";
    host.log.wait_for("a line of the guest", line).await
}

async fn a_call_is_a_child_in_its_clients_trace(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let seen = host.faults().echo(traced(EchoRequest::default())).await;
    let seen = seen.expect("answered").into_inner();
    span_of(&seen.traceparent);

    let lines = LogRequest {
        lines: 1,
        text: "hello".into(),
    };
    host.faults().log(traced(lines)).await.expect("answered");
    let line = guest_line(&host).await;
    assert_eq!(line.call("trace_id"), TRACE);
    assert_eq!(line.call("parent_span_id"), CLIENT);
    let span = line.call("span_id").as_str().expect("a span").to_owned();
    assert!(
        span.len() == 16 && span != CLIENT && !seen.traceparent.contains(&span),
        "each call has its own"
    );
    // And the host's own lines.
    host.faults()
        .panic(traced(PanicRequest::default()))
        .await
        .expect_err("as told");
    let failed = |line: &Line| line.message().starts_with("call failed");
    let line = host.log.wait_for("the failure", failed).await;
    assert_eq!(line.call("trace_id"), TRACE);
    assert_eq!(line.call("status"), "UNKNOWN");
    host.stop().await;
}

async fn an_upstream_call_is_a_child_of_the_call(isolation: Isolation) {
    let backend = Backend::echo().await;
    let host = Setup::of(Plugin::caller(isolation))
        .with(&backend.section("backend", ""))
        .with(&backend.section("other", ""))
        .filter("mortise=debug")
        .start()
        .await;
    let request = AskBackendRequest { text: "x".into() };
    host.caller().ask(traced(request)).await.expect("answered");
    let asked = backend.asked();
    let span = span_of(asked[0].all("traceparent")[0]);
    assert_eq!(asked[0].all("tracestate"), ["vendor=opaque"]);
    // The span is that of the call's log lines.
    let answered = |line: &Line| line.message() == "call answered" && line.call("plugin") == "caller";
    let line = host.log.wait_for("the answer", answered).await;
    assert_eq!(line.call("span_id"), span);
    assert_eq!(line.call("trace_id"), TRACE);
    assert_eq!(line.call("status"), "OK");
    host.stop().await;
}

async fn what_is_no_trace_is_passed_on_to_nobody(isolation: Isolation) {
    let backend = Backend::echo().await;
    let host = Setup::of(Plugin::caller(isolation))
        .and(Plugin::faults(isolation))
        .with(&backend.section("backend", ""))
        .with(&backend.section("other", ""))
        .start()
        .await;
    let malformed = ["", "00-0-0-01", &format!("ff-{TRACE}-{CLIENT}-01")].map(str::to_owned);
    for parent in malformed {
        let mut request = traced(AskBackendRequest { text: "x".into() });
        let parent = parent.parse().expect("a value");
        request.metadata_mut().insert("traceparent", parent);
        host.caller().ask(request).await.expect("answered");
    }
    for asked in backend.asked() {
        assert_eq!(
            (asked.all("traceparent"), asked.all("tracestate")),
            (vec![], vec![])
        );
    }
    let log = LogRequest {
        lines: 1,
        text: "hello".into(),
    };
    host.faults().log(log).await.expect("answered");
    let line = guest_line(&host).await;
    assert!(
        line.call("trace_id").is_null() && line.call("id").is_string(),
        "{}",
        line.text
    );
    host.stop().await;
}

async fn slow_calls_tell_where_their_time_went(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation))
        .with("[log]\nslow_call_ms = 300")
        .start()
        .await;
    let sleep = SleepRequest { milliseconds: 400 };
    let slept = host
        .faults()
        .sleep(traced(sleep))
        .await
        .expect("answered")
        .into_inner()
        .slept;
    let slow =
        |line: &Line| line.message() == "slow call" && line.call("method") == "/faults.v1.Faults/Sleep";
    let line = host.log.wait_for("the slow call", slow).await;
    let ms = |field: &str| line.field(field).as_u64().expect("milliseconds");
    assert_eq!((line.level(), line.field("code").as_str()), ("WARN", Some("OK")));
    assert_eq!(line.call("trace_id"), TRACE);
    // The guest's clock and the host's may round differently.
    assert!(
        ms("guest_ms") + 1 >= slept && ms("ms") >= ms("guest_ms"),
        "{}",
        line.text
    );
    let stages = ["read_ms", "queue_ms", "guest_ms", "commit_ms"].map(ms);
    assert!(stages.iter().sum::<u64>() <= ms("ms"), "{}", line.text);
    host.stop().await;
}
