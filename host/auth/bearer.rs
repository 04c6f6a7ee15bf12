//! Finds the bearer token among a call's headers (RFC 6750, section 2.1).

use http::{HeaderMap, header};

use super::Refusal;

/// The token, if there is one. A header that holds anything else is refused rather than passed over: the caller
/// would be taken for nobody.
pub(super) fn token(headers: &HeaderMap, max_bytes: usize) -> Result<Option<&[u8]>, Refusal> {
    let mut values = headers.get_all(header::AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (None, _) => return Ok(None),
        (Some(value), None) => value.as_bytes(),
        (Some(_), Some(_)) => return invalid("there is more than one authorization"),
    };
    let Some((scheme, token)) = value.split_at_checked("Bearer ".len()) else {
        return invalid("authorization is no bearer token");
    };
    if !scheme.eq_ignore_ascii_case(b"Bearer ") {
        return invalid("authorization is no bearer token");
    }
    let token = token.trim_ascii();
    if token.len() > max_bytes {
        return invalid("the token is over max_token_bytes");
    }
    Ok(Some(token))
}

fn invalid<T>(cause: &'static str) -> Result<T, Refusal> {
    Err(Refusal::TokenInvalid { cause })
}
