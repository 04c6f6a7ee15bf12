//! Public keys as a JSON Web Key Set (RFC 7517), as issuers publish it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey};
use serde::Deserialize;

use super::{Key, coordinate_bytes, rsa};
use crate::auth::crypto;

#[derive(Deserialize)]
struct Set {
    keys: Vec<Jwk>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
    /// Private keys have it. Its value is not kept.
    d: Option<serde::de::IgnoredAny>,
}

/// Every key of the set that verifies signatures. What is for something else, or of a kind that is not known here,
/// is left out, as RFC 7517 (section 5) asks; a key that is wrong is an error.
pub(super) fn keys(content: &[u8]) -> Result<Vec<Key>, String> {
    let set: Set = serde_json::from_slice(content)
        .map_err(|error| format!("no JSON Web Key Set: {}", mistake(&error)))?;
    let mut keys = Vec::new();
    for (index, jwk) in set.keys.into_iter().enumerate() {
        let key = key(jwk).map_err(|problem| format!("keys[{index}]: {problem}"))?;
        keys.extend(key);
    }
    if keys.is_empty() {
        return Err("no key in `keys` that verifies signatures with a known algorithm".into());
    }
    Ok(keys)
}

/// What is wrong and where. A value of the wrong type is not quoted: it may be a secret in the wrong place.
fn mistake(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if error.is_data()
        && !["missing field", "duplicate field"]
            .iter()
            .any(|known| text.starts_with(known))
    {
        return format!(
            "a value has the wrong type at line {} column {}",
            error.line(),
            error.column()
        );
    }
    text
}

/// None if the key is not for us.
fn key(jwk: Jwk) -> Result<Option<Key>, String> {
    if jwk.d.is_some() {
        return Err("`d`: this is a private key; give its public part only".into());
    }
    if jwk.kty == "oct" {
        return Err("`kty`: a shared secret goes into a file of its own, named by `secret_file`".into());
    }
    let signs = jwk.usage.as_deref().is_none_or(|usage| usage == "sig")
        && jwk
            .key_ops
            .as_ref()
            .is_none_or(|operations| operations.iter().any(|operation| operation == "verify"));
    let Some(implied) = implied_algorithm(&jwk).filter(|_| signs) else {
        return Ok(None);
    };
    let algorithm = match &jwk.alg {
        None => implied,
        Some(alg) => match alg.parse::<Algorithm>() {
            Ok(algorithm) if fits(algorithm, implied) => algorithm,
            // Asymmetric keys of an issuer that encrypts as well, or that is ahead of us.
            Err(_) => return Ok(None),
            Ok(_) => return Err(format!("`alg`: {alg} does not go with this kind of key")),
        },
    };
    let key = match algorithm.family() {
        AlgorithmFamily::Rsa => rsa(&number("n", &jwk.n)?, &number("e", &jwk.e)?)?,
        AlgorithmFamily::Ec => {
            let (x, y) = (number("x", &jwk.x)?, number("y", &jwk.y)?);
            let bytes = coordinate_bytes(algorithm);
            if x.len() != bytes || y.len() != bytes {
                return Err(format!("`x` and `y` have {bytes} bytes each on this curve"));
            }
            DecodingKey::from_ec_der(&[&[4], &x[..], &y[..]].concat())
        }
        AlgorithmFamily::Ed => {
            let x = number("x", &jwk.x)?;
            if x.len() != coordinate_bytes(algorithm) {
                return Err("`x` has 32 bytes on this curve".into());
            }
            DecodingKey::from_ed_der(&x)
        }
        AlgorithmFamily::Hmac => return Err("`alg`: a public key verifies no HMAC".into()),
    };
    Ok(Some(Key {
        id: jwk.kid,
        algorithm,
        key,
    }))
}

/// What a key without `alg` is used with; none if keys of its kind are not known here.
fn implied_algorithm(jwk: &Jwk) -> Option<Algorithm> {
    match (jwk.kty.as_str(), jwk.crv.as_deref()) {
        ("RSA", _) => Some(Algorithm::RS256),
        ("EC", Some("P-256")) => Some(Algorithm::ES256),
        ("EC", Some("P-384")) => Some(Algorithm::ES384),
        ("OKP", Some("Ed25519")) => Some(Algorithm::EdDSA),
        _ => None,
    }
}

/// RSA keys go with several algorithms, a curve with one.
fn fits(algorithm: Algorithm, implied: Algorithm) -> bool {
    let same = match implied.family() {
        AlgorithmFamily::Rsa => algorithm.family() == AlgorithmFamily::Rsa,
        _ => algorithm == implied,
    };
    same && crypto::supports(algorithm)
}

fn number(field: &str, value: &Option<String>) -> Result<Vec<u8>, String> {
    let value = value.as_ref().ok_or_else(|| format!("`{field}` is missing"))?;
    URL_SAFE_NO_PAD
        .decode(value)
        .map_err(|_| format!("`{field}` is not base64url"))
}
