//! Verifies JSON Web Tokens (RFC 7519), as RFC 8725 advises.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;

use jsonwebtoken::dangerous::insecure_decode_claims;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{DecodingKey, Header, Validation, decode, decode_header};
use quick_cache::sync::Cache;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::keys::Key;
use super::principal::{Principal, claim_text};
use super::{Refusal, crypto};
use crate::config::{Issuer, PluginName};
use crate::observe::is_plain;

/// The longest subject that OpenID Connect allows.
const MAX_SUBJECT_BYTES: usize = 255;

/// What a token must say. `nbf` is checked where it is there.
const REQUIRED_CLAIMS: [&str; 4] = ["iss", "sub", "aud", "exp"];

/// All issuers with their keys as they were at one moment, and the tokens that were verified with them: new keys come
/// with an empty cache.
pub(super) struct Verifier {
    /// By `iss`.
    issuers: HashMap<String, TrustedIssuer>,
    /// By the hash of the whole token, so that no dump of memory shows one that works.
    verified: Cache<[u8; 32], Verified>,
}

struct TrustedIssuer {
    name: PluginName,
    leeway_s: u64,
    keys: Vec<TrustedKey>,
}

struct TrustedKey {
    id: Option<String>,
    key: DecodingKey,
    /// Of this key's one algorithm.
    rules: Validation,
}

#[derive(Clone)]
struct Verified {
    principal: Arc<Principal>,
    /// The last second of its life since the Unix epoch, leeway included.
    until: u64,
}

impl Verifier {
    pub(super) fn new(issuers: Vec<(PluginName, Issuer, Vec<Key>)>, max_cached: usize) -> Self {
        crypto::install();
        let issuers = issuers.into_iter().map(|(name, issuer, keys)| {
            let leeway_s = issuer.leeway.as_secs();
            let keys = keys.into_iter().map(|key| {
                let mut rules = Validation::new(key.algorithm);
                rules.set_required_spec_claims(&REQUIRED_CLAIMS);
                rules.set_issuer(&[&issuer.issuer]);
                rules.set_audience(&issuer.audiences);
                rules.validate_nbf = true;
                rules.leeway = leeway_s;
                TrustedKey {
                    id: key.id,
                    key: key.key,
                    rules,
                }
            });
            let keys = keys.collect();
            (issuer.issuer, TrustedIssuer { name, leeway_s, keys })
        });
        Self {
            issuers: issuers.collect(),
            verified: Cache::new(max_cached),
        }
    }

    /// How many keys there are.
    pub(super) fn keys(&self) -> usize {
        self.issuers.values().map(|issuer| issuer.keys.len()).sum()
    }

    /// Whom the token names. `now` is in seconds since the Unix epoch.
    pub(super) fn verify(&self, token: &[u8], now: u64) -> Result<Arc<Principal>, Refusal> {
        let hash = Sha256::digest(token).into();
        if let Some(Verified { principal, until }) = self.verified.get(&hash) {
            if now <= until {
                return Ok(principal);
            }
            self.verified.remove(&hash);
        }
        let verified = self.verify_uncached(token)?;
        self.verified.insert(hash, verified.clone());
        Ok(verified.principal)
    }

    fn verify_uncached(&self, token: &[u8]) -> Result<Verified, Refusal> {
        let header =
            decode_header(token).map_err(|_| invalid("it is no JSON Web Token of a known algorithm"))?;
        refuse_header(&header)?;
        // Only to find the keys. They say whether it is true.
        let Unverified { iss } =
            insecure_decode_claims(token).map_err(|_| invalid("its claims have no issuer"))?;
        let issuer = self
            .issuers
            .get(&iss)
            .ok_or_else(|| invalid("its issuer is none of [issuers]"))?;
        let claims = issuer.claims(token, &header)?;
        issuer.admit(claims)
    }
}

/// Of the headers that say where to find a key, how to read the signature or what else must be understood, none is
/// followed. A token that has one was not made for a host like this.
fn refuse_header(header: &Header) -> Result<(), Refusal> {
    let refused = header.crit.is_some()
        || header.jwk.is_some()
        || header.jku.is_some()
        || header.x5u.is_some()
        || header.x5c.is_some()
        || header.enc.is_some()
        || header.zip.is_some()
        || header.extras.inner().contains_key("b64");
    if refused {
        return Err(invalid(
            "its header has crit, jwk, jku, x5u, x5c, enc, zip or b64",
        ));
    }
    Ok(())
}

impl TrustedIssuer {
    /// The claims of a token that one of the keys has signed, as the rules ask.
    fn claims(&self, token: &[u8], header: &Header) -> Result<Claims, Refusal> {
        let mut found = false;
        for key in self.keys.iter().filter(|key| key.fits(header)) {
            found = true;
            match decode::<Claims>(token, &key.key, &key.rules) {
                Ok(token) => return Ok(token.claims),
                // Another key may have signed it.
                Err(error) if matches!(error.kind(), ErrorKind::InvalidSignature) => {}
                Err(error) => return Err(refusal(error.kind())),
            }
        }
        Err(invalid(match found {
            true => "its signature is not that of its issuer",
            false => "its issuer has no such key for its algorithm",
        }))
    }

    fn admit(&self, Claims(claims): Claims) -> Result<Verified, Refusal> {
        let subject = text(&claims, "sub").filter(|subject| {
            (1..=MAX_SUBJECT_BYTES).contains(&subject.len()) && subject.chars().all(is_plain)
        });
        let id = match subject {
            Some(subject) => format!("{}:{subject}", self.name),
            None => return Err(invalid("its subject is no text of 1 to 255 bytes")),
        };
        let expiry = claim(&claims, "exp").and_then(seconds);
        let expiry = expiry.ok_or_else(|| invalid("its expiry is no time"))?;
        let scopes = scopes(&claims);
        let claims = claims
            .into_iter()
            .map(|(name, value)| (name, claim_text(value)))
            .collect();
        Ok(Verified {
            principal: Arc::new(Principal { id, claims, scopes }),
            until: expiry.saturating_add(self.leeway_s),
        })
    }
}

impl TrustedKey {
    fn fits(&self, header: &Header) -> bool {
        let named = match (&self.id, &header.kid) {
            (Some(own), Some(asked)) => own == asked,
            _ => true,
        };
        named && self.rules.algorithms.contains(&header.alg)
    }
}

fn invalid(cause: &'static str) -> Refusal {
    Refusal::TokenInvalid { cause }
}

/// What the caller hears of an error in the claims of an authentic token.
fn refusal(error: &ErrorKind) -> Refusal {
    match error {
        ErrorKind::ExpiredSignature => Refusal::TokenExpired,
        ErrorKind::ImmatureSignature => Refusal::TokenNotYetValid,
        ErrorKind::InvalidAudience => invalid("its audience is none of the issuer's `audiences`"),
        ErrorKind::InvalidIssuer => invalid("its issuer is another one"),
        ErrorKind::MissingRequiredClaim(_) => invalid("it lacks iss, sub, aud or exp, or one is malformed"),
        ErrorKind::InvalidClaimFormat(_) => invalid("its exp or nbf is no time"),
        ErrorKind::Json(_) => invalid("its claims are no JSON object of distinct names"),
        _ => invalid("it is no JSON Web Token"),
    }
}

#[derive(Deserialize)]
struct Unverified {
    iss: String,
}

/// Claims in the order of the token. A name that comes twice could mean one thing to us and another to somebody else
/// (RFC 7519, section 4), so it is refused.
struct Claims(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Claims {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Distinct;

        impl<'de> Visitor<'de> for Distinct {
            type Value = Claims;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Claims, A::Error> {
                let mut names = BTreeSet::new();
                let mut claims = Vec::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if !names.insert(name.clone()) {
                        return Err(serde::de::Error::custom("a claim comes twice"));
                    }
                    claims.push((name, value));
                }
                Ok(Claims(claims))
            }
        }

        deserializer.deserialize_map(Distinct)
    }
}

fn claim<'c>(claims: &'c [(String, Value)], name: &str) -> Option<&'c Value> {
    let found = claims.iter().find(|(claim, _)| claim == name);
    found.map(|(_, value)| value)
}

fn text<'c>(claims: &'c [(String, Value)], name: &str) -> Option<&'c str> {
    claim(claims, name)?.as_str()
}

/// A NumericDate may have a fraction.
fn seconds(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
        // Saturates.
        Some(seconds.round() as u64)
    })
}

/// What `scope` (RFC 8693: text, separated by spaces) and `scp` (text or a list, by vendor) allow.
fn scopes(claims: &[(String, Value)]) -> Vec<String> {
    let found = ["scope", "scp"]
        .into_iter()
        .filter_map(|name| claim(claims, name));
    let mut scopes = Vec::new();
    for value in found {
        match value {
            Value::String(text) => scopes.extend(text.split_ascii_whitespace().map(str::to_owned)),
            Value::Array(list) => {
                scopes.extend(list.iter().filter_map(Value::as_str).map(str::to_owned));
            }
            _ => {}
        }
    }
    scopes
}
