//! Issuers of tokens: keys, and what they sign. Used by tests of the library as well.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519};
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair,
    RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use ring::{hmac, signature};
use serde_json::{Value, json};

/// Made for these tests, and used for nothing else.
const RSA_KEY: &str = include_str!("keys/rsa.pem");
pub(crate) const RSA_PUBLIC_KEY: &str = include_str!("keys/rsa_public.pem");
pub(crate) const SHORT_RSA_PUBLIC_KEY: &str = include_str!("keys/rsa_1024_public.pem");

/// A key that signs tokens.
pub(crate) struct TokenKey {
    pub(crate) algorithm: &'static str,
    kid: Option<String>,
    key: Key,
}

enum Key {
    Secret(Vec<u8>),
    Rsa(Box<RsaKeyPair>, &'static dyn RsaEncoding),
    Curve(Box<KeyPair>),
}

impl TokenKey {
    fn new(algorithm: &'static str, key: Key) -> Self {
        Self {
            algorithm,
            kid: None,
            key,
        }
    }

    pub(crate) fn hs256(secret: &[u8]) -> Self {
        Self::new("HS256", Key::Secret(secret.to_vec()))
    }

    pub(crate) fn rs256() -> Self {
        Self::rsa("RS256", &RSA_PKCS1_SHA256)
    }

    pub(crate) fn ps256() -> Self {
        Self::rsa("PS256", &RSA_PSS_SHA256)
    }

    fn rsa(algorithm: &'static str, encoding: &'static dyn RsaEncoding) -> Self {
        let body: String = RSA_KEY.lines().filter(|line| !line.starts_with('-')).collect();
        let der = base64::engine::general_purpose::STANDARD.decode(body);
        let key = RsaKeyPair::from_pkcs8(&der.expect("it is PEM")).expect("it is a key");
        Self::new(algorithm, Key::Rsa(Box::new(key), encoding))
    }

    pub(crate) fn es256() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).expect("a key");
        Self::new("ES256", Key::Curve(Box::new(key)))
    }

    pub(crate) fn es384() -> Self {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).expect("a key");
        Self::new("ES384", Key::Curve(Box::new(key)))
    }

    pub(crate) fn ed25519() -> Self {
        let key = KeyPair::generate_for(&PKCS_ED25519).expect("a key");
        Self::new("EdDSA", Key::Curve(Box::new(key)))
    }

    /// The same key under a name, which its tokens then have.
    pub(crate) fn named(mut self, kid: &str) -> Self {
        self.kid = Some(kid.to_owned());
        self
    }

    /// A token with these claims.
    pub(crate) fn token(&self, claims: &Value) -> String {
        let mut header = json!({ "alg": self.algorithm, "typ": "JWT" });
        if let Some(kid) = &self.kid {
            header["kid"] = kid.as_str().into();
        }
        self.sign(&header.to_string(), &claims.to_string())
    }

    /// Whatever is to be signed, be it a token or not.
    pub(crate) fn sign(&self, header: &str, claims: &str) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encode(signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        let curve = |algorithm, key: &KeyPair| {
            let key = EcdsaKeyPair::from_pkcs8(algorithm, &key.serialize_der(), &random).expect("a key");
            let signature: signature::Signature = key.sign(&random, message).expect("a signature");
            signature.as_ref().to_vec()
        };
        match &self.key {
            Key::Secret(secret) => {
                let key = hmac::Key::new(hmac::HMAC_SHA256, secret);
                hmac::sign(&key, message).as_ref().to_vec()
            }
            Key::Rsa(key, encoding) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(*encoding, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Key::Curve(key) => match self.algorithm {
                "ES256" => curve(&ECDSA_P256_SHA256_FIXED_SIGNING, key),
                "ES384" => curve(&ECDSA_P384_SHA384_FIXED_SIGNING, key),
                _ => {
                    let key =
                        Ed25519KeyPair::from_pkcs8_maybe_unchecked(&key.serialize_der()).expect("a key");
                    key.sign(message).as_ref().to_vec()
                }
            },
        }
    }

    /// The public half in PEM.
    pub(crate) fn public_pem(&self) -> String {
        match &self.key {
            Key::Secret(_) => panic!("a secret has no public half"),
            Key::Rsa(..) => RSA_PUBLIC_KEY.to_owned(),
            Key::Curve(key) => key.public_key_pem(),
        }
    }

    /// The public half as a JSON Web Key.
    pub(crate) fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Secret(_) => panic!("a secret has no public half"),
            Key::Rsa(key, _) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({ "kty": "RSA", "n": encode(public.n), "e": encode(public.e) })
            }
            Key::Curve(key) => {
                let public = key.public_key_raw();
                match self.algorithm {
                    "EdDSA" => json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(public) }),
                    algorithm => {
                        let (x, y) = public[1..].split_at((public.len() - 1) / 2);
                        let curve = if algorithm == "ES256" { "P-256" } else { "P-384" };
                        json!({ "kty": "EC", "crv": curve, "x": encode(x), "y": encode(y) })
                    }
                }
            }
        };
        jwk["alg"] = self.algorithm.into();
        if let Some(kid) = &self.kid {
            jwk["kid"] = kid.as_str().into();
        }
        jwk
    }
}

/// A JSON Web Key Set of the public halves.
pub(crate) fn key_set(keys: &[&TokenKey]) -> String {
    let keys: Vec<_> = keys.iter().map(|key| key.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

pub(crate) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// Seconds since the Unix epoch, `offset` seconds from now.
pub(crate) fn seconds_from_now(offset: i64) -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later");
    i64::try_from(now.as_secs()).expect("it is not that late") + offset
}

/// Claims of a token that is good for an hour, issued by `https://issuer.test` for `orders`.
pub(crate) fn claims_of(subject: &str) -> Value {
    json!({
        "iss": "https://issuer.test",
        "sub": subject,
        "aud": "orders",
        "exp": seconds_from_now(3600),
    })
}
