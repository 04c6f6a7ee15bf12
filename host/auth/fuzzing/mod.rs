//! Fuzz targets for who callers are.

mod keys;
mod signer;
mod tokens;

use std::sync::Arc;

use http::{Extensions, HeaderMap, HeaderValue, header};

use super::{Access, Authenticator, Principal, Refusal};
use crate::fuzzing::{Target, assert_shown};

pub(crate) const TOKENS: Target = Target::new("tokens", tokens::run, tokens::seeds);
pub(crate) const KEYS: Target = Target::new("keys", keys::run, keys::seeds);

const AUDIENCE: &str = "orders";

/// The first second of the year 2100.
const EXPIRY: u64 = 4_102_444_800;

/// The caller with this token; none if it is refused, or no header can carry it.
fn caller(auth: &Authenticator, token: &[u8]) -> Option<Arc<Principal>> {
    let value = HeaderValue::from_bytes(&[b"Bearer ", token].concat()).ok()?;
    let headers = HeaderMap::from_iter([(header::AUTHORIZATION, value)]);
    let admit = || auth.admit(&Access::default(), &headers, &Extensions::new());
    let admitted = admit();
    assert_eq!(admit(), admitted, "what is remembered of a token changes nothing");
    match admitted {
        Ok(caller) => Some(caller.expect("whoever brings a token is somebody")),
        Err(refusal) => {
            assert_shown(&refusal.to_string(), 128);
            assert!(refusal.challenge().is_some());
            assert_ne!(refusal, Refusal::TokenMissing);
            None
        }
    }
}
