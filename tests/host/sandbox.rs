//! What a guest can reach, and what it can say.

use std::collections::HashSet;

use crate::in_both_modes;
use crate::support::log::Line;
use crate::support::pb::faults::*;
use crate::support::{Isolation, Neighbour, Plugin, Setup};

in_both_modes!(
    there_is_no_way_out,
    random_bytes_differ,
    configuration_reaches_the_guest,
    output_becomes_log_lines,
    a_guest_that_is_cut_off_has_its_last_words,
    floods_are_bounded,
    guests_cannot_forge_log_lines,
);

async fn there_is_no_way_out(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let request = EnvironmentRequest {
        file: concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml").into(),
        address: host.address.to_string(),
    };
    let found = host
        .faults()
        .environment(request)
        .await
        .expect("answered")
        .into_inner();
    assert_eq!(found, EnvironmentResponse::default());
    host.stop().await;
}

async fn random_bytes_differ(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let mut seen = HashSet::new();
    for _ in 0..20 {
        let bytes = host
            .faults()
            .random(RandomRequest {})
            .await
            .expect("answered")
            .into_inner()
            .bytes;
        assert_eq!(bytes.len(), 32);
        assert!(seen.insert(bytes), "the same bytes twice");
    }
    host.stop().await;
}

async fn configuration_reaches_the_guest(isolation: Isolation) {
    let greeting = "hello, \u{e9}\n\"quoted\"";
    let value = format!("{:?}", greeting).replace("\\u{e9}", "\u{e9}");
    let host = Setup::of(Plugin::faults(isolation).config("greeting", value))
        .start()
        .await;
    let answer = host
        .faults()
        .read_config(ReadConfigRequest {})
        .await
        .expect("answered");
    assert_eq!(answer.into_inner().greeting.as_deref(), Some(greeting));
    host.stop().await;
}

async fn output_becomes_log_lines(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let request = PrintRequest {
        lines: 2,
        text: "printed".into(),
        unfinished: true,
    };
    host.faults().print(request).await.expect("answered");
    for (target, level, text) in [
        ("mortise::guest::stdout", "INFO", "1 printed"),
        ("mortise::guest::stderr", "WARN", "1 printed"),
        // The lines that the call left unfinished.
        ("mortise::guest::stdout", "INFO", "2 printed"),
        ("mortise::guest::stderr", "WARN", "2 printed"),
    ] {
        let said = |line: &Line| line.target() == target && line.message() == text;
        let line = host.log.wait_for(text, said).await;
        assert_eq!(
            (line.level(), line.call("method").as_str()),
            (level, Some("/faults.v1.Faults/Print"))
        );
    }
    let mut request = tonic::Request::new(LogRequest {
        lines: 1,
        text: "logged".into(),
    });
    request
        .metadata_mut()
        .insert("x-request-id", "request-9".parse().expect("a value"));
    host.faults().log(request).await.expect("answered");
    for text in ["through tracing", "through log: 1 logged"] {
        let line = host.log.wait_for(text, |line| line.message() == text).await;
        assert_eq!((line.target(), line.level()), ("mortise::guest", "INFO"));
        assert_eq!(line.call("request_id"), "request-9");
    }
    host.stop().await;
}

async fn a_guest_that_is_cut_off_has_its_last_words(isolation: Isolation) {
    let method = "/faults.v1.Faults/Misbehave";
    let request = MisbehaveRequest {
        way: misbehave_request::Way::PrintAndLoop.into(),
    };
    let is_of_the_call = |line: &Line| line.call("method") == method;

    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let answer = raw.unary(method, &[("grpc-timeout", "300m")], &request).await;
    assert_eq!(answer.reason(), "DEADLINE_EXCEEDED");
    let said = |line: &Line| line.message() == "unfinished" && is_of_the_call(line);
    host.log.wait_for("the unfinished line", said).await;
    // Also when nobody waits for the answer any more.
    let lines = host.log.len();
    let call = tokio::spawn(async move { raw.abandoned(method, &request).await });
    let begun = |line: &Line| line.message() == "line 5" && is_of_the_call(line);
    host.log.wait_for_after(lines, "the lines before it", begun).await;
    call.abort();
    host.log.wait_for_after(lines, "the unfinished line", said).await;
    host.stop().await;

    let bound = "[log]\nmax_guest_lines_per_call = 3";
    let host = Setup::of(Plugin::faults(isolation)).with(bound).start().await;
    let raw = host.raw().await;
    raw.unary(method, &[("grpc-timeout", "300m")], &request).await;
    // Two lines and the unfinished one.
    let dropped = |line: &Line| line.field("dropped") == 3 && is_of_the_call(line);
    host.log.wait_for("what was dropped", dropped).await;
    host.stop().await;
}

async fn floods_are_bounded(isolation: Isolation) {
    const LINES: usize = 20;
    const BYTES: usize = 100;
    let bounds = format!("[log]\nmax_guest_lines_per_call = {LINES}\nmax_guest_line_bytes = {BYTES}");
    let host = Setup::of(Plugin::faults(isolation)).with(&bounds).start().await;
    let neighbour = Neighbour::of(&host);
    let text = "x".repeat(1000);
    // Twice, because a reused sandbox has all its lines again on its next call.
    for _ in 0..2 {
        let request = PrintRequest {
            lines: 5000,
            text: text.clone(),
            unfinished: false,
        };
        host.faults().print(request).await.expect("answered");
        let request = LogRequest {
            lines: 5000,
            text: text.clone(),
        };
        host.faults().log(request).await.expect("answered");
    }
    // One endless line.
    let request = PrintRequest {
        lines: 1,
        text: "y".repeat(1 << 20),
        unfinished: true,
    };
    host.faults().print(request).await.expect("answered");
    neighbour.goes_on(1).await;
    neighbour.fared_well().await;

    let log = host.log.clone();
    host.stop().await;
    let guest = log.all(|line| line.target().starts_with("mortise::guest"));
    assert_eq!(guest.len(), 4 * LINES + 2, "{}", log.text());
    for line in &guest {
        assert!(
            line.message().len() <= BYTES + '…'.len_utf8(),
            "{}",
            line.message()
        );
        assert!(line.text.len() < 1000, "{}", line.text);
    }
    let dropped: Vec<_> = log.all(|line| line.field("dropped").is_number());
    assert_eq!(dropped.len(), 4);
    assert!(
        dropped.iter().all(|line| line.field("dropped") == 10_000 - LINES),
        "{dropped:?}"
    );
}

async fn guests_cannot_forge_log_lines(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let text = "a\u{1b}[2J\r{\"level\":\"ERROR\",\"forged\":true}\u{202e}";
    let request = PrintRequest {
        lines: 1,
        text: text.into(),
        unfinished: false,
    };
    host.faults().print(request).await.expect("answered");
    host.faults()
        .log(LogRequest {
            lines: 1,
            text: format!("b\n{text}"),
        })
        .await
        .expect("answered");
    host.faults()
        .panic(PanicRequest {
            message: format!("c\n{text}"),
        })
        .await
        .expect_err("a panic");
    for start in ["1 a", "through log: 1 b", "panicked: c"] {
        let line = host
            .log
            .wait_for(start, |line| line.message().starts_with(start))
            .await;
        let plain = |c: char| !c.is_control() && c != '\u{202e}';
        assert!(line.message().chars().all(plain), "{:?}", line.message());
    }
    let log = host.log.clone();
    host.stop().await;
    assert!(
        log.all(|line| line.text.starts_with("{\"level\":\"ERROR\",\"forged\""))
            .is_empty()
    );
}
