//! A target's status, read from its headers or trailers.
//!
//! tonic has a reader too, which panics on details that are not base64: not for peers that nobody vouches for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use http::{HeaderMap, StatusCode};
use prost::Message as _;
use tonic::Code;

use super::Metadata;

/// A failure as the target put it.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Never OK.
    pub code: Code,
    /// As the target wrote it.
    pub message: String,
    /// As the target gave them; none if they cannot be read.
    pub details: Vec<prost_types::Any>,
    /// From its headers.
    pub initial: Metadata,
    /// From its trailers.
    pub trailing: Metadata,
    /// The target's wish, from its trailers (gRPC retry design, "Pushback").
    pub(super) pushback: Option<Pushback>,
}

/// When to try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pushback {
    Never,
    After(std::time::Duration),
}

/// The code that `grpc-status` names, if there is one. An unknown number is UNKNOWN.
pub(super) fn code(headers: &HeaderMap) -> Option<Code> {
    Some(Code::from_bytes(headers.get("grpc-status")?.as_bytes()))
}

/// The failure of `code` that `headers` describe.
pub(super) fn failure(code: Code, headers: &HeaderMap) -> Answered {
    let message = headers.get("grpc-message").map(|message| {
        percent_encoding::percent_decode(message.as_bytes())
            .decode_utf8_lossy()
            .into_owned()
    });
    Answered {
        code,
        message: message.unwrap_or_default(),
        details: details(headers).unwrap_or_default(),
        initial: Metadata::new(),
        trailing: Metadata::new(),
        pushback: pushback(headers),
    }
}

fn details(headers: &HeaderMap) -> Option<Vec<prost_types::Any>> {
    let encoded = headers.get("grpc-status-details-bin")?.as_bytes();
    let end = encoded.iter().rposition(|byte| *byte != b'=')? + 1;
    let decoded = STANDARD_NO_PAD.decode(&encoded[..end]).ok()?;
    Some(tonic_types::Status::decode(decoded.as_slice()).ok()?.details)
}

fn pushback(headers: &HeaderMap) -> Option<Pushback> {
    let value = headers.get("grpc-retry-pushback-ms")?;
    let millis = value.to_str().ok().and_then(|text| text.parse::<u32>().ok());
    // A negative number or nonsense both ask not to try again.
    Some(millis.map_or(Pushback::Never, |millis| {
        Pushback::After(std::time::Duration::from_millis(millis.into()))
    }))
}

/// The failure that an HTTP status without a gRPC status stands for (gRPC, "HTTP to gRPC Status Code
/// Mapping").
pub(super) fn from_http(status: StatusCode) -> Answered {
    let code = match status.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    Answered {
        code,
        message: format!("HTTP status {}", status.as_u16()),
        details: Vec::new(),
        initial: Metadata::new(),
        trailing: Metadata::new(),
        pushback: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[(&'static str, &'static str)]) -> Answered {
        let headers: HeaderMap = headers
            .iter()
            .map(|(key, value)| (key.parse().expect("a key"), value.parse().expect("a value")))
            .collect();
        failure(code(&headers).expect("a status"), &headers)
    }

    #[test]
    fn what_a_target_writes_cannot_hurt() {
        assert_eq!(
            read(&[("grpc-status", "5"), ("grpc-message", "a%20b%ZZ%FF")]).message,
            "a b%ZZ\u{fffd}"
        );
        assert_eq!(read(&[("grpc-status", "99")]).code, Code::Unknown);
        for details in ["!!!", "====", "", "AAAA", "CAUSA2ZvbxoG"] {
            let headers = [("grpc-status", "5"), ("grpc-status-details-bin", details)];
            assert_eq!(read(&headers).details, [], "{details}");
        }
    }

    #[test]
    fn pushback_is_read_as_its_design_says() {
        let pushback = |value| read(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", value)]).pushback;
        assert_eq!(
            pushback("20"),
            Some(Pushback::After(std::time::Duration::from_millis(20)))
        );
        assert_eq!(pushback("-1"), Some(Pushback::Never));
        assert_eq!(pushback("soon"), Some(Pushback::Never));
        assert_eq!(read(&[("grpc-status", "14")]).pushback, None);
    }
}
