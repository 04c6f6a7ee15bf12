use super::*;

const LIMITS: MetadataLimits = MetadataLimits {
    max_bytes: 200,
    max_entries: 3,
};

fn request(entries: &[(&str, &str)]) -> Result<RequestMetadata, Failure> {
    let mut headers = HeaderMap::new();
    for (key, value) in entries {
        headers.append(
            HeaderName::from_bytes(key.as_bytes()).expect("key"),
            HeaderValue::from_str(value).expect("value"),
        );
    }
    RequestMetadata::new(headers, 16)
}

#[test]
fn binary_values_are_decoded_padded_or_not_and_split_at_commas() {
    let metadata = request(&[("a-bin", "aGk"), ("a-bin", "aGk=,eW8="), ("b-bin", "")]).expect("valid");
    assert_eq!(
        metadata.get_all("a-bin"),
        [b"hi".to_vec(), b"hi".to_vec(), b"yo".to_vec()]
    );
    assert_eq!(metadata.get_all("b-bin"), [Vec::<u8>::new()]);
}

#[test]
fn binary_values_that_are_not_base64_are_refused() {
    let failure = request(&[("a-bin", "!!!")]).expect_err("not base64");
    assert_eq!(failure, Failure::MalformedBinaryMetadata { key: "a-bin".into() });
}

#[test]
fn transport_headers_are_hidden() {
    let metadata = request(&[
        ("te", "trailers"),
        ("content-type", "application/grpc"),
        ("grpc-timeout", "5S"),
        ("user-agent", "x/1"),
        ("user-id", "u1"),
        ("user-id", "u2"),
    ])
    .expect("valid");
    let entries = metadata.entries();
    let entries: Vec<_> = entries
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_slice()))
        .collect();
    assert_eq!(
        entries,
        [
            ("user-agent", &b"x/1"[..]),
            ("user-id", b"u1"),
            ("user-id", b"u2")
        ]
    );
    assert!(metadata.get_all("grpc-timeout").is_empty());
}

#[test]
fn what_is_hidden_is_hidden_however_it_is_spelt() {
    let headers = [
        ("te", "trailers"),
        ("grpc-timeout", "5S"),
        ("user-id", "u1"),
        ("a-bin", "aGk"),
    ];
    let metadata = request(&headers).expect("valid");
    for key in ["TE", "Te", "Grpc-Timeout", "GRPC-TIMEOUT"] {
        assert!(metadata.get_all(key).is_empty(), "{key}");
    }
    assert_eq!(metadata.get_all("User-ID"), [b"u1"]);
    assert_eq!(metadata.get_all("A-Bin"), [b"hi"]);
}

#[test]
fn values_that_are_no_text_are_not_shown() {
    let mut headers = HeaderMap::new();
    for value in [&b"caf\xc3\xa9"[..], b"tab\t", b"text"] {
        headers.append("k", HeaderValue::from_bytes(value).expect("HTTP takes it"));
    }
    let metadata = RequestMetadata::new(headers, 16).expect("valid");
    assert_eq!(metadata.get_all("k"), [b"text"]);
    assert_eq!(metadata.entries(), [("k".to_owned(), b"text".to_vec())]);
}

#[test]
fn values_joined_by_commas_count_each() {
    let commas = ",".repeat(15);
    let metadata = request(&[("a-bin", &commas)]).expect("16 empty values");
    assert_eq!(metadata.entries().len(), 16);
    let refused = request(&[("a-bin", &commas), ("b", "c")]);
    assert_eq!(
        refused.expect_err("17 values"),
        Failure::TooMuchMetadata { limit: 16 }
    );
}

#[test]
fn the_number_of_entries_is_bounded() {
    let mut headers = HeaderMap::new();
    for _ in 0..17 {
        headers.append("a", HeaderValue::from_static("b"));
    }
    assert_eq!(
        RequestMetadata::new(headers, 16).expect_err("17 entries"),
        Failure::TooMuchMetadata { limit: 16 }
    );
}

#[test]
fn reserved_and_invalid_entries_are_refused() {
    let mut answer = AnswerMetadata::default();
    let mut add = |key: &str, value: &[u8]| answer.add(Part::Trailing, key, value, &LIMITS);
    for key in ["grpc-status", ":path", "content-type", "te", "connection"] {
        assert_eq!(add(key, b"x"), Err(MetadataError::Reserved(key.into())));
    }
    for key in ["", "Upper", "sp ace", "näh", "a\nb"] {
        assert_eq!(add(key, b"x"), Err(MetadataError::InvalidKey(key.into())));
    }
    assert_eq!(
        add("k", b"line\nbreak"),
        Err(MetadataError::InvalidValue("k".into()))
    );
    assert_eq!(
        add("k", "é".as_bytes()),
        Err(MetadataError::InvalidValue("k".into()))
    );
    assert_eq!(add("k-bin", b"\x00\xff"), Ok(()));
    assert_eq!(add("s", b"  a b "), Ok(()));
    assert_eq!(answer.trailing.get("k-bin").expect("set"), "AP8");
    assert_eq!(
        answer.trailing.get("s").expect("set"),
        "a b",
        "no HTTP/2 value has spaces around it"
    );
}

#[test]
fn answers_are_bounded_in_bytes_and_entries() {
    let mut answer = AnswerMetadata::default();
    let value = [b'x'; 150];
    assert_eq!(answer.add(Part::Initial, "k", &value, &LIMITS), Ok(()));
    assert_eq!(
        answer.add(Part::Initial, "k", &value, &LIMITS),
        Err(MetadataError::TooLarge(200))
    );
    let mut answer = AnswerMetadata::default();
    for _ in 0..3 {
        assert_eq!(answer.add(Part::Initial, "k", b"", &LIMITS), Ok(()));
    }
    assert_eq!(
        answer.add(Part::Trailing, "k", b"", &LIMITS),
        Err(MetadataError::TooMany(3))
    );
}
