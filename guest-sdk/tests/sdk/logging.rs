use mortise_guest::Status;
use mortise_guest::testing::{Host, LogLevel, LogLine};

use crate::ok;

/// What one call logs.
fn logged(host: Host, handler: impl FnOnce()) -> Vec<LogLine> {
    let mut host = host;
    ok(&mut host, |_| {
        handler();
        Ok(())
    });
    host.logs().to_vec()
}

#[test]
fn tracing_events_reach_the_operator() {
    let lines = logged(Host::new(), || {
        tracing::warn!(target: "orders", count = 3, name = "ann", ok = true, "placed {}", "now");
        tracing::trace!(?lines_without_message);
    });
    let [placed, bare] = &lines[..] else {
        panic!("two lines: {lines:?}")
    };
    assert_eq!((placed.level, placed.target.as_str()), (LogLevel::Warn, "orders"));
    assert_eq!(placed.message, "placed now");
    assert_eq!(placed.field("count"), Some("3"));
    assert_eq!(placed.field("name"), Some("ann"));
    assert_eq!(placed.field("ok"), Some("true"));
    assert_eq!(
        (bare.level, bare.target.as_str()),
        (LogLevel::Trace, "sdk::logging")
    );
    assert_eq!(
        (bare.message.as_str(), bare.field("lines_without_message")),
        ("", Some("\"text\""))
    );
}

#[allow(non_upper_case_globals)]
const lines_without_message: &str = "text";

#[test]
fn log_records_reach_the_operator() {
    let lines = logged(Host::new(), || log::error!(target: "orders", "lost {}", 3));
    let [line] = &lines[..] else {
        panic!("one line: {lines:?}")
    };
    assert_eq!((line.level, line.target.as_str()), (LogLevel::Error, "orders"));
    assert_eq!(line.message, "lost 3");
}

#[test]
fn lines_the_operator_does_not_record_are_not_made() {
    let made = std::cell::Cell::new(0);
    let make = || {
        made.set(made.get() + 1);
        made.get()
    };
    let lines = logged(Host::new().max_level(Some(LogLevel::Warn)), || {
        tracing::info!(n = make(), "not recorded");
        tracing::warn!(n = make(), "recorded");
        log::info!("not recorded");
        log::warn!("recorded");
    });
    assert_eq!(lines.len(), 2);
    assert_eq!(made.get(), 1);
    assert!(logged(Host::new().max_level(None), || tracing::error!("nobody listens")).is_empty());
}

#[test]
fn lines_carry_the_fields_of_their_spans() {
    let lines = logged(Host::new(), || {
        let outer = tracing::info_span!("call", request = "r1", user = tracing::field::Empty, step = 1);
        let _outer = outer.enter();
        tracing::info!("outer");
        outer.record("user", "ann");
        tracing::info_span!("step", step = 2).in_scope(|| {
            tracing::info!(own = true, "inner");
            log::info!("through log");
        });
        tracing::info!(step = 3, "outer again");
    });
    let [outer, inner, through_log, again] = &lines[..] else {
        panic!("four lines: {lines:?}")
    };
    assert_eq!(
        (outer.field("request"), outer.field("user"), outer.field("step")),
        (Some("r1"), None, Some("1"))
    );
    assert_eq!(
        (
            inner.field("own"),
            inner.field("request"),
            inner.field("user"),
            inner.field("step")
        ),
        (Some("true"), Some("r1"), Some("ann"), Some("2"))
    );
    assert_eq!(
        (through_log.field("request"), through_log.field("step")),
        (Some("r1"), Some("2"))
    );
    assert_eq!(
        (again.field("user"), again.field("step")),
        (Some("ann"), Some("3"))
    );
    let steps = again.fields.iter().filter(|(name, _)| name == "step");
    assert_eq!(steps.count(), 1);
}

#[test]
fn a_span_ends_with_its_guard() {
    let lines = logged(Host::new(), || {
        let span = tracing::info_span!("call", request = "r1");
        let copy = span.clone();
        span.in_scope(|| ());
        drop(span);
        copy.in_scope(|| tracing::info!("inside"));
        drop(copy);
        tracing::info!("outside");
    });
    assert_eq!(lines[0].field("request"), Some("r1"));
    assert_eq!(lines[1].field("request"), None);
}

#[test]
fn a_span_that_is_never_left_ends_with_its_call() {
    let mut host = Host::new();
    ok(&mut host, |_| {
        std::mem::forget(tracing::info_span!("call", request = "r1").entered());
        Ok(())
    });
    ok(&mut host, |_| {
        tracing::info!("another call");
        Ok(())
    });
    assert_eq!(host.logs()[0].fields, []);
}

#[test]
fn lines_are_bounded() {
    let long = "ä".repeat(10_000);
    let lines = logged(Host::new(), || {
        tracing::info!(field = long, "{long}");
        log::info!("{long}");
        // Spans beyond what is kept open, and fields beyond what a line carries.
        let spans: Vec<_> = (0..100)
            .map(|n| tracing::info_span!("many", n).entered())
            .collect();
        let _wide: Vec<_> = (0..12).map(wide).collect();
        tracing::info!("deep");
        drop(spans);
    });
    for line in &lines {
        assert!(line.message.len() <= 8192, "{} bytes", line.message.len());
        assert!(line.fields.len() <= 32, "{} fields", line.fields.len());
        assert!(line.fields.iter().all(|(_, value)| value.len() <= 2048));
    }
    assert!(lines[0].message.ends_with('…') && lines[1].message.ends_with('…'));
}

fn wide(n: usize) -> tracing::span::EnteredSpan {
    match n % 3 {
        0 => {
            tracing::info_span!("a", a = n, b = n, c = n, d = n, e = n, f = n, g = n, h = n, i = n).entered()
        }
        1 => {
            tracing::info_span!("b", j = n, k = n, l = n, m = n, o = n, p = n, q = n, r = n, s = n).entered()
        }
        _ => tracing::info_span!(
            "c",
            t = n,
            u = n,
            v = n,
            w = n,
            x = n,
            y = n,
            z = n,
            aa = n,
            bb = n
        )
        .entered(),
    }
}

#[test]
fn logs_of_failed_calls_stay() {
    let mut host = Host::new();
    crate::fail(&mut host, |_| -> Result<(), Status> {
        tracing::info!("about to fail");
        Err(Status::aborted("failed"))
    });
    assert_eq!(host.logs().len(), 1);
}

#[test]
fn logging_outside_of_a_call_is_harmless() {
    tracing::info!("nobody listens");
    log::info!("nobody listens");
}
