use mortise_guest::testing::{Host, Request};
use mortise_guest::{Code, Status};

use crate::{fail, ok};

#[test]
fn request_metadata_keeps_duplicates_and_order() {
    let request = Request::new()
        .metadata("user-id", "u1")
        .metadata("Tag", "b")
        .metadata("tag", "a")
        .metadata_bin("trace-bin", &[0, 255])
        .metadata_bin("trace-bin", b"x");
    let answer = Host::new().call(request, |call| {
        let metadata = call.metadata();
        assert_eq!(metadata.get("user-id").as_deref(), Some("u1"));
        assert_eq!(metadata.get("User-Id").as_deref(), Some("u1"));
        assert_eq!(metadata.get_all("tag"), ["b", "a"]);
        assert_eq!(metadata.get("absent"), None);
        assert_eq!(metadata.get_bin("trace-bin"), Some(vec![0, 255]));
        assert_eq!(metadata.get_all_bin("trace-bin"), [vec![0, 255], b"x".to_vec()]);
        let keys: Vec<String> = metadata.entries().into_iter().map(|entry| entry.key).collect();
        assert_eq!(keys, ["user-id", "tag", "tag", "trace-bin", "trace-bin"]);
        Ok(())
    });
    answer.expect("the handler succeeds");
}

#[test]
fn text_and_bytes_are_not_mixed_up() {
    let request = Request::new()
        .metadata("user-id", "u1")
        .metadata_bin("trace-bin", b"x");
    let answer = Host::new().call(request, |call| {
        assert_eq!(call.metadata().get("trace-bin"), None);
        assert_eq!(call.metadata().get_bin("user-id"), None);
        Ok(())
    });
    answer.expect("the handler succeeds");
}

#[test]
fn the_transports_headers_and_what_is_no_text_are_no_metadata() {
    let request = Request::new()
        .metadata("grpc-timeout", "1S")
        .metadata("content-type", "application/grpc")
        .metadata("place", "Café")
        .metadata("user-agent", "test");
    let answer = Host::new().call(request, |call| {
        assert_eq!(call.metadata().get("grpc-timeout"), None);
        let keys: Vec<String> = call
            .metadata()
            .entries()
            .into_iter()
            .map(|entry| entry.key)
            .collect();
        assert_eq!(keys, ["user-agent"]);
        Ok(())
    });
    answer.expect("the handler succeeds");
}

#[test]
fn answers_carry_metadata() {
    let answer = Host::new().call(Request::new(), |call| {
        call.headers().insert("region", "  eu ")?;
        call.headers().insert("Tag", String::from("b"))?;
        call.headers().insert("tag", "a")?;
        call.trailers().insert("processing-time-ms", "42")?;
        call.trailers().insert_bin("digest-bin", [0, 255])
    });
    let answer = answer.expect("the metadata is valid");
    assert_eq!(answer.headers.get("region"), Some("eu"));
    let tags = answer.headers.entries().iter().filter(|entry| entry.key == "tag");
    assert_eq!(
        tags.map(|entry| entry.value.as_slice()).collect::<Vec<_>>(),
        [b"b", b"a"]
    );
    assert_eq!(answer.headers.get("processing-time-ms"), None);
    assert_eq!(answer.trailers.get("processing-time-ms"), Some("42"));
    assert_eq!(answer.trailers.get_bin("digest-bin"), Some(&[0, 255][..]));
}

#[test]
fn failures_carry_metadata_too() {
    let answer = Host::new().call(Request::new(), |call| -> Result<(), Status> {
        call.trailers().insert("processing-time-ms", "42")?;
        Err(Status::not_found("gone"))
    });
    let failure = answer.expect_err("the handler fails");
    assert_eq!(failure.trailers.get("processing-time-ms"), Some("42"));
    assert_eq!(failure.to_string(), "NOT_FOUND: gone");
}

#[test]
fn reserved_and_malformed_entries_are_the_plugins_mistake() {
    let mut host = Host::new();
    let mut refused = |key: &str, value: &str| fail(&mut host, |call| call.trailers().insert(key, value));
    for key in [
        "grpc-status",
        ":path",
        "content-type",
        "content-length",
        "te",
        "connection",
        "transfer-encoding",
        "upgrade",
        "keep-alive",
        "proxy-connection",
        "trailer",
        "host",
        "user-agent",
        "date",
        "server",
    ] {
        let status = refused(key, "x");
        assert_eq!(status.code(), Code::Internal, "{key}");
        assert!(
            status.message().contains("reserved"),
            "{key}: {}",
            status.message()
        );
    }
    for key in ["", "with space", "umlaut-ä", "slash/"] {
        assert!(refused(key, "x").message().contains("is not valid"), "{key}");
    }
    for value in ["line\nbreak", "tab\t", "ümlaut", "\x7f"] {
        assert!(
            refused("key", value).message().contains("not printable ASCII"),
            "{value}"
        );
    }
    assert!(refused("key-bin", "x").message().contains("insert_bin"));
    let status = fail(&mut host, |call| call.headers().insert_bin("key", b"x"));
    assert!(status.message().contains("-bin"));
}

#[test]
fn metadata_is_bounded_over_both_blocks() {
    let value = "x".repeat(4000);
    let mut host = Host::new();
    let status = fail(&mut host, |call| {
        call.headers().insert("a", &value)?;
        call.trailers().insert("b", &value)?;
        call.trailers().insert("c", &value)
    });
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(status.cause(), Some("the host's limit is 8192"));
    ok(&mut host, |call| {
        call.headers().insert("a", &value)?;
        call.trailers().insert("b", &value)
    });
}
