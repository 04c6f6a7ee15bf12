use std::time::Duration;

use mortise_guest::Status;
use mortise_guest::details::{
    BadRequest, DebugInfo, ErrorInfo, Help, Link, LocalizedMessage, PreconditionFailure,
    PreconditionViolation, QuotaFailure, QuotaViolation, RequestInfo, ResourceInfo, RetryInfo,
};
use mortise_guest::prost::{Message, Name};

/// The detail comes back as it was, under the type URL of `google.rpc`, and encodes to these bytes.
#[track_caller]
fn check<M: Message + Name + Default>(detail: M, name: &str, encoded: &[u8]) {
    assert_eq!(M::full_name(), format!("google.rpc.{name}"));
    assert_eq!(detail.encode_to_vec(), encoded, "{name}");
    let status = Status::internal("").with_detail(detail);
    let found: M = status.detail().expect("the detail");
    assert_eq!(found.encode_to_vec(), encoded);
}

#[test]
fn details_have_the_fields_of_google_rpc() {
    let mut bad_request = BadRequest::default();
    bad_request.violation("a", "b");
    check(bad_request, "BadRequest", b"\x0a\x06\x0a\x01a\x12\x01b");
    let metadata = [("k".to_owned(), "v".to_owned())].into();
    let error_info = ErrorInfo {
        reason: "R".into(),
        domain: "d".into(),
        metadata,
    };
    check(
        error_info,
        "ErrorInfo",
        b"\x0a\x01R\x12\x01d\x1a\x06\x0a\x01k\x12\x01v",
    );
    check(
        RetryInfo::after(Duration::from_millis(1500)),
        "RetryInfo",
        b"\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01",
    );
    let violation = PreconditionViolation {
        r#type: "t".into(),
        subject: "s".into(),
        description: "d".into(),
    };
    let failure = PreconditionFailure {
        violations: vec![violation],
    };
    check(
        failure,
        "PreconditionFailure",
        b"\x0a\x09\x0a\x01t\x12\x01s\x1a\x01d",
    );
    let resource = ResourceInfo {
        resource_type: "t".into(),
        resource_name: "n".into(),
        owner: "o".into(),
        description: "d".into(),
    };
    check(resource, "ResourceInfo", b"\x0a\x01t\x12\x01n\x1a\x01o\x22\x01d");
    let violation = QuotaViolation {
        subject: "s".into(),
        description: "d".into(),
    };
    check(
        QuotaFailure {
            violations: vec![violation],
        },
        "QuotaFailure",
        b"\x0a\x06\x0a\x01s\x12\x01d",
    );
    let link = Link {
        description: "d".into(),
        url: "u".into(),
    };
    check(Help { links: vec![link] }, "Help", b"\x0a\x06\x0a\x01d\x12\x01u");
    let localized = LocalizedMessage {
        locale: "l".into(),
        message: "m".into(),
    };
    check(localized, "LocalizedMessage", b"\x0a\x01l\x12\x01m");
    let request = RequestInfo {
        request_id: "r".into(),
        serving_data: "s".into(),
    };
    check(request, "RequestInfo", b"\x0a\x01r\x12\x01s");
    let debug = DebugInfo {
        stack_entries: vec!["a".into(), "b".into()],
        detail: "d".into(),
    };
    check(debug, "DebugInfo", b"\x0a\x01a\x0a\x01b\x12\x01d");
}

#[test]
fn a_detail_is_found_by_its_type() {
    let status = Status::internal("")
        .with_detail(RequestInfo {
            request_id: "first".into(),
            ..RequestInfo::default()
        })
        .with_detail(Help::default())
        .with_detail(RequestInfo {
            request_id: "second".into(),
            ..RequestInfo::default()
        });
    assert_eq!(
        status
            .detail::<RequestInfo>()
            .map(|info| info.request_id)
            .as_deref(),
        Some("first")
    );
    assert_eq!(status.detail::<Help>(), Some(Help::default()));
    assert_eq!(status.detail::<BadRequest>(), None);
}
