//! Keys that sign tokens. They are the same in every run, so that an input means the same in every run.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::hmac;
use ring::rand::SystemRandom;
use ring::rsa::PublicKeyComponents;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair,
};
use serde_json::{Value, json};

/// Made for tests, and used for nothing else.
const RSA_KEY: &str = include_str!("../../../tests/support/keys/rsa.pem");

/// The key of RFC 6979, A.2.5, which everybody knows.
const P256_KEY: &str = "ya-p2EW6dRZrXCFXZ7HWk05Qw9s26JsSe4piKxIPZyE";
const P256_X: &str = "YP7UuiVanTHJYet0xjVtaMBJuJI7Yfps5mliLmDyn7Y";
const P256_Y: &str = "eQP-EAi4vJmkGunpVii8ZPLxsgwtfp9Rd6PClNRGIpk";

pub(super) struct Signer {
    /// As `alg` names it.
    pub(super) algorithm: &'static str,
    key: Key,
}

enum Key {
    Secret(Vec<u8>),
    Rsa(Box<RsaKeyPair>),
    P256(Box<EcdsaKeyPair>),
    Ed25519(Ed25519KeyPair),
}

impl Signer {
    fn new(algorithm: &'static str, key: Key) -> Self {
        Self { algorithm, key }
    }

    pub(super) fn secret(secret: &[u8]) -> Self {
        Self::new("HS256", Key::Secret(secret.to_vec()))
    }

    pub(super) fn rsa() -> Self {
        let body: String = RSA_KEY.lines().filter(|line| !line.starts_with('-')).collect();
        let der = STANDARD.decode(body).expect("it is PEM");
        Self::new(
            "RS256",
            Key::Rsa(Box::new(RsaKeyPair::from_pkcs8(&der).expect("it is a key"))),
        )
    }

    pub(super) fn p256() -> Self {
        let [key, x, y] = [P256_KEY, P256_X, P256_Y].map(decode);
        let point = [&[4], &x[..], &y].concat();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let key =
            EcdsaKeyPair::from_private_key_and_public_key(algorithm, &key, &point, &SystemRandom::new());
        Self::new("ES256", Key::P256(Box::new(key.expect("it is a key"))))
    }

    pub(super) fn ed25519() -> Self {
        let key = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).expect("it is a seed");
        Self::new("EdDSA", Key::Ed25519(key))
    }

    /// A token of these, whatever they are.
    pub(super) fn sign(&self, header: &[u8], claims: &[u8]) -> String {
        let message = format!("{}.{}", encode(header), encode(claims));
        let signature = self.signature(message.as_bytes());
        format!("{message}.{}", encode(&signature))
    }

    fn signature(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.key {
            Key::Secret(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message)
                .as_ref()
                .to_vec(),
            Key::Rsa(key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, message, &mut signature)
                    .expect("a signature");
                signature
            }
            Key::P256(key) => key.sign(&random, message).expect("a signature").as_ref().to_vec(),
            Key::Ed25519(key) => key.sign(message).as_ref().to_vec(),
        }
    }

    /// The public half as a JSON Web Key.
    pub(super) fn jwk(&self) -> Value {
        let mut jwk = match &self.key {
            Key::Secret(_) => panic!("a secret has no public half"),
            Key::Rsa(key) => {
                let public = PublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({ "kty": "RSA", "n": encode(&public.n), "e": encode(&public.e) })
            }
            Key::P256(_) => json!({ "kty": "EC", "crv": "P-256", "x": P256_X, "y": P256_Y }),
            Key::Ed25519(key) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": encode(key.public_key().as_ref()) })
            }
        };
        jwk["alg"] = self.algorithm.into();
        jwk
    }

    /// What somebody who knows the public half might use as a secret.
    pub(super) fn public_bytes(&self) -> Vec<u8> {
        match &self.key {
            Key::Secret(_) => Vec::new(),
            Key::Rsa(key) => key.public().as_ref().to_vec(),
            Key::P256(key) => key.public_key().as_ref().to_vec(),
            Key::Ed25519(key) => key.public_key().as_ref().to_vec(),
        }
    }
}

pub(super) fn encode(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn decode(text: &str) -> Vec<u8> {
    URL_SAFE_NO_PAD.decode(text).expect("it is base64url")
}
