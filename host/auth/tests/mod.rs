//! What becomes of the tokens and certificates that calls come with.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use tokens::*;

#[path = "../../../tests/support/tokens.rs"]
mod tokens;

mod callers;
mod key_files;
mod verification;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";

/// An issuer and the files with its keys.
struct Trusted {
    folder: TempDir,
    issuers: BTreeMap<PluginName, Issuer>,
    auth: Auth,
}

impl Trusted {
    fn nobody() -> Self {
        Self {
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            issuers: BTreeMap::new(),
            auth: Auth::default(),
        }
    }

    fn issuer(content: &str) -> Self {
        let mut trusted = Self::nobody();
        let path = trusted.write("keys", content);
        trusted.add("accounts", vec![path], None);
        trusted
    }

    fn secret(content: &[u8]) -> Self {
        let mut trusted = Self::nobody();
        let path = trusted.folder.path().join("secret");
        fs::write(&path, content).expect("the folder is there");
        trusted.add("accounts", Vec::new(), Some(path));
        trusted
    }

    fn write(&self, name: &str, content: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::write(&path, content).expect("the folder is there");
        path
    }

    fn add(&mut self, name: &str, keys: Vec<PathBuf>, secret_file: Option<PathBuf>) {
        let issuer = Issuer {
            issuer: "https://issuer.test".into(),
            audiences: vec!["orders".into(), "orders-admin".into()],
            keys,
            secret_file,
            leeway: Duration::from_secs(10),
        };
        self.issuers.insert(name.parse().expect("a name"), issuer);
    }

    fn load(&self) -> Authenticator {
        Authenticator::load(&self.auth, &self.issuers).unwrap_or_else(|refused| panic!("{refused:?}"))
    }

    fn refused(&self) -> String {
        let refused = Authenticator::load(&self.auth, &self.issuers)
            .err()
            .expect("a refusal");
        let [refused] = &refused[..] else {
            panic!("{refused:?}")
        };
        refused.error.problem.clone()
    }
}

fn of(value: &str) -> HeaderMap {
    let value = HeaderValue::from_str(value).expect("a header");
    HeaderMap::from_iter([(header::AUTHORIZATION, value)])
}

fn admit(auth: &Authenticator, token: &str) -> Result<Option<Arc<Principal>>, Refusal> {
    auth.admit(
        &Access::default(),
        &of(&format!("Bearer {token}")),
        &Extensions::new(),
    )
}

#[track_caller]
fn admitted(auth: &Authenticator, token: &str) -> Arc<Principal> {
    admit(auth, token).expect("it is valid").expect("somebody")
}

#[track_caller]
fn assert_invalid(auth: &Authenticator, token: &str, cause: &str) {
    match admit(auth, token) {
        Err(Refusal::TokenInvalid { cause: told }) => assert!(told.contains(cause), "{told}"),
        other => panic!("{other:?}"),
    }
}

fn with(name: &str, value: Value) -> Value {
    let mut claims = claims_of("ann");
    claims[name] = value;
    claims
}

fn without(name: &str) -> Value {
    let mut claims = claims_of("ann");
    claims.as_object_mut().expect("an object").remove(name);
    claims
}

fn asymmetric() -> [TokenKey; 5] {
    [
        TokenKey::rs256(),
        TokenKey::ps256(),
        TokenKey::es256(),
        TokenKey::es384(),
        TokenKey::ed25519(),
    ]
}
