//! Files of keys: one that cannot be used is refused without showing any of it, and no public key becomes a secret.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use serde_json::json;

use super::signer::{Signer, encode};
use super::{AUDIENCE, EXPIRY, caller};
use crate::auth::Authenticator;
use crate::config::{Auth, Issuer};
use crate::fuzzing::{Input, assert_shown};

/// What the input is.
const PUBLIC: u8 = 0;
const SECRET: u8 = 1;

/// Stands in seeds for what nobody may see.
const MARK: &str = "hunter2hunter2";

const ISSUER: &str = "https://issuer.test";

pub(super) fn run(data: &[u8]) {
    thread_local! {
        static FOLDER: LazyCell<tempfile::TempDir> =
            LazyCell::new(|| tempfile::tempdir().expect("a temporary folder can be made"));
    }
    let mut input = Input::new(data);
    let is_secret = input.byte() == SECRET;
    let content = input.rest();
    let auth = FOLDER.with(|folder| {
        let path = folder.path().join("keys");
        fs::write(&path, content).expect("it can be written");
        let (keys, secret_file) = if is_secret {
            (Vec::new(), Some(path))
        } else {
            (vec![path], None)
        };
        let issuer = Issuer {
            issuer: ISSUER.to_owned(),
            audiences: vec![AUDIENCE.to_owned()],
            keys,
            secret_file,
            leeway: Duration::ZERO,
        };
        Authenticator::load(
            &Auth::default(),
            &BTreeMap::from([("accounts".parse().expect("a name"), issuer)]),
        )
    });
    match auth {
        Err(refused) => {
            for refused in refused {
                let problem = &refused.error.problem;
                assert_shown(problem, 256);
                assert!(!problem.contains(MARK), "{problem}");
            }
        }
        Ok(auth) => {
            let claims = json!({ "iss": ISSUER, "sub": "ann", "aud": AUDIENCE, "exp": EXPIRY }).to_string();
            let token = |secret| Signer::secret(secret).sign(br#"{"alg":"HS256"}"#, claims.as_bytes());
            let secret = content.strip_suffix(b"\n").unwrap_or(content);
            let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
            for (secret, is_used) in [(secret, is_secret), (b"", false)] {
                assert_eq!(caller(&auth, token(secret).as_bytes()).is_some(), is_used);
            }
            let unsigned = format!("{}.{}.", encode(br#"{"alg":"none"}"#), encode(claims.as_bytes()));
            assert_eq!(caller(&auth, unsigned.as_bytes()), None);
        }
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let signers = [Signer::ed25519(), Signer::p256(), Signer::rsa()];
    let mut files = vec![
        include_str!("../../../tests/support/keys/rsa_public.pem").to_owned(),
        include_str!("../../../tests/support/keys/rsa_1024_public.pem").to_owned(),
        "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n\
         -----END PUBLIC KEY-----\n"
            .to_owned(),
        format!("-----BEGIN PRIVATE KEY-----\n{MARK}\n-----END PRIVATE KEY-----\n"),
        format!("{{\"keys\":\"{MARK}\"}}"),
        format!("{{\"keys\":[{{\"kty\":\"oct\",\"k\":\"{MARK}\"}}]}}"),
        format!("{{\"keys\":[{{\"kty\":\"RSA\",\"n\":\"{MARK}\",\"e\":\"AQAB\",\"alg\":\"{MARK}\"}}]}}"),
        format!("{{\"keys\":[{{\"kty\":\"RSA\",\"key_ops\":\"{MARK}\"}}]}}"),
        format!("{{\"{MARK}\":[]}}"),
        MARK.to_owned(),
    ];
    files.push(json!({ "keys": signers.each_ref().map(Signer::jwk) }).to_string());
    for signer in signers {
        let mut jwk = signer.jwk();
        jwk["use"] = "sig".into();
        jwk["key_ops"] = json!(["verify"]);
        jwk["kid"] = "a".into();
        files.push(json!({ "keys": [jwk.clone()] }).to_string());
        jwk["alg"] = "HS256".into();
        files.push(json!({ "keys": [jwk.clone()] }).to_string());
        jwk["d"] = MARK.into();
        files.push(json!({ "keys": [jwk] }).to_string());
    }
    let mut seeds: Vec<_> = files
        .iter()
        .map(|file| [&[PUBLIC], file.as_bytes()].concat())
        .collect();
    for secret in [&[b'x'; 32][..], &[b'\n'; 40], b"short\r\n", b"-----BEGIN", b"{}"] {
        seeds.push([&[SECRET], secret].concat());
    }
    seeds
}
