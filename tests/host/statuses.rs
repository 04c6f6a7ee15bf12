//! A handler's own statuses reach the client as they are.

use prost::Message;
use tonic::Code;
use tonic_types::StatusExt;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::{Isolation, Plugin, Setup};

in_both_modes!(
    every_code_passes,
    details_pass,
    statuses_fit_the_clients_limit,
    other_errors_stay_inside
);

async fn every_code_passes(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let mut faults = host.faults();
    for code in 1..=16 {
        let message = format!("as told, \u{e9}: {code}");
        let request = FailRequest {
            code,
            message: message.clone(),
            ..FailRequest::default()
        };
        let status = faults.fail(request).await.expect_err("as told");
        assert_eq!(
            (status.code(), status.message()),
            (Code::from_i32(code), message.as_str())
        );
        assert!(status.details().is_empty());
    }
    host.stop().await;
}

async fn details_pass(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let request = FailRequest {
        code: 9,
        message: "two reasons".into(),
        reasons: vec!["FIRST".into(), "SECOND".into()],
        ..FailRequest::default()
    };
    let status = host.faults().fail(request).await.expect_err("as told");
    let details = tonic_types::pb::Status::decode(status.details()).expect("google.rpc.Status");
    assert_eq!((details.code, details.message.as_str()), (9, "two reasons"));
    let reasons: Vec<_> = status
        .get_error_details_vec()
        .into_iter()
        .map(|detail| match detail {
            tonic_types::ErrorDetail::ErrorInfo(info) => info.reason,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, ["FIRST", "SECOND"]);
    host.stop().await;
}

/// Stock clients lose an answer whose metadata is over 8 KiB.
async fn statuses_fit_the_clients_limit(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let fail = async |message: String, reasons: Vec<String>| {
        let request = FailRequest {
            code: 3,
            message,
            reasons,
            ..FailRequest::default()
        };
        let answer = raw.unary("/faults.v1.Faults/Fail", &[], &request).await;
        let bytes: usize = answer
            .headers
            .iter()
            .map(|(key, value)| key.as_str().len() + value.len() + 32)
            .sum();
        assert!(bytes <= 8 * 1024 + 256, "{bytes} bytes of metadata");
        answer.status()
    };
    let status = fail("\u{e9}".repeat(20_000), vec![]).await;
    assert_eq!(status.code(), Code::InvalidArgument);
    assert!(status.message().starts_with("\u{e9}\u{e9}") && status.message().chars().all(|c| c == '\u{e9}'));
    let status = fail("short".into(), vec!["R".repeat(20_000)]).await;
    assert_eq!(
        (status.code(), status.message()),
        (Code::InvalidArgument, "short")
    );
    assert!(status.details().is_empty());
    host.log
        .wait_for("details were left out", |line| {
            line.message().contains("details were left out")
        })
        .await;
    host.stop().await;
}

async fn other_errors_stay_inside(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let status = host
        .faults()
        .fail_opaque(FailOpaqueRequest {})
        .await
        .expect_err("an error");
    assert_eq!(
        (status.code(), status.message()),
        (Code::Unknown, "Handler failed")
    );
    assert!(!format!("{status:?}").contains("operator"), "{status:?}");
    let cause = "the cause that only the operator may see";
    host.log.wait_for(cause, |line| line.text.contains(cause)).await;
    host.stop().await;
}
