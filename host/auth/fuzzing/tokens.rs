//! Bearer tokens: nobody is let in by one that a configured key has not signed, or that was signed for another
//! purpose.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use jsonwebtoken::get_current_timestamp;
use serde_json::{Value, json};

use super::signer::{Signer, encode};
use super::{AUDIENCE, EXPIRY, caller};
use crate::auth::{Authenticator, Principal};
use crate::config::{Auth, Issuer};
use crate::fuzzing::Input;

/// What the input is.
const TOKEN: u8 = 0;
const CHANGES: u8 = 1;
const SIGNED: u8 = 2;
const CONFUSED: u8 = 3;

const LEEWAY_S: u64 = 10;

/// By the operator's names.
const ACCOUNTS: &str = "accounts";
const MACHINES: &str = "machines";

/// What a header must not have (RFC 8725), since the host follows none of it.
const NOT_FOLLOWED: [&str; 8] = ["crit", "jwk", "jku", "x5u", "x5c", "enc", "zip", "b64"];

/// A host that trusts two issuers, and what those can sign with.
struct World {
    auth: Authenticator,
    /// With the name of the issuer whose key it is.
    signers: Vec<(&'static str, Signer)>,
    valid: Vec<String>,
    /// What a stranger knows.
    known: Vec<Vec<u8>>,
}

impl World {
    fn new() -> Self {
        let secret = b"0123456789abcdef0123456789abcdef";
        let public = [Signer::ed25519(), Signer::p256(), Signer::rsa()];
        let set = json!({ "keys": public.iter().map(Signer::jwk).collect::<Vec<_>>() }).to_string();
        let mut known: Vec<_> = public.iter().map(Signer::public_bytes).collect();
        known.extend(public.iter().map(|key| key.jwk().to_string().into_bytes()));
        known.extend([set.clone().into_bytes(), Vec::new()]);

        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let (keys_file, secret_file) = (folder.path().join("keys"), folder.path().join("secret"));
        fs::write(&keys_file, set).expect("it can be written");
        fs::write(&secret_file, secret).expect("it can be written");
        let issuer = |name: &str, keys, secret_file| {
            let issuer = Issuer {
                issuer: url(name),
                audiences: vec![AUDIENCE.to_owned()],
                keys,
                secret_file,
                leeway: Duration::from_secs(LEEWAY_S),
            };
            (name.parse().expect("a name"), issuer)
        };
        let issuers = BTreeMap::from([
            issuer(ACCOUNTS, vec![keys_file], None),
            issuer(MACHINES, Vec::new(), Some(secret_file)),
        ]);
        let auth = Authenticator::load(&Auth::default(), &issuers);
        let auth = auth.unwrap_or_else(|refused| panic!("{refused:?}"));

        let mut signers = vec![(MACHINES, Signer::secret(secret))];
        signers.extend(public.map(|signer| (ACCOUNTS, signer)));
        let valid = signers.iter().map(|(issuer, signer)| {
            signer.sign(header(signer.algorithm).as_bytes(), claims(issuer).as_bytes())
        });
        Self {
            valid: valid.collect(),
            auth,
            signers,
            known,
        }
    }
}

fn url(issuer: &str) -> String {
    format!("https://{issuer}.test")
}

fn header(algorithm: &str) -> String {
    json!({ "alg": algorithm, "typ": "JWT" }).to_string()
}

fn claims(issuer: &str) -> String {
    json!({ "iss": url(issuer), "sub": "ann", "aud": AUDIENCE, "exp": EXPIRY, "scope": "a b" }).to_string()
}

fn with_world<T>(run: impl FnOnce(&World) -> T) -> T {
    thread_local! {
        static WORLD: LazyCell<World> = LazyCell::new(World::new);
    }
    WORLD.with(|world| run(world))
}

pub(super) fn run(data: &[u8]) {
    with_world(|world| {
        let mut input = Input::new(data);
        match input.byte() {
            CHANGES => world.unforged(&world.changed(input)),
            SIGNED => world.signed(input),
            CONFUSED => world.confused(input),
            _ => world.unforged(input.rest()),
        }
    });
}

impl World {
    /// Whoever is let in has a token whose every claim was signed as it stands.
    fn unforged(&self, token: &[u8]) {
        if caller(&self.auth, token).is_some() {
            let message = message(token.trim_ascii());
            let signed = self
                .valid
                .iter()
                .any(|valid| message == self::message(valid.as_bytes()));
            assert!(signed, "{}", token.escape_ascii());
        }
    }

    /// A valid token, here and there another, or pieced together from two.
    fn changed(&self, mut input: Input<'_>) -> Vec<u8> {
        let pick = |number: u8| self.valid[usize::from(number) % self.valid.len()].as_bytes();
        let mut token = pick(input.byte()).to_vec();
        while !input.is_empty() && !token.is_empty() {
            let (change, at, value) = (
                input.byte(),
                usize::from(input.short()) % token.len(),
                input.byte(),
            );
            match change % 5 {
                0 => token[at] = value,
                1 => token.insert(at, value),
                2 => drop(token.remove(at)),
                3 => token.truncate(at),
                _ => {
                    let other = pick(value);
                    let from = at.min(other.len());
                    token.splice(at.., other[from..].iter().copied());
                }
            }
        }
        token
    }

    /// What an issuer signs is still to be right.
    fn signed(&self, mut input: Input<'_>) {
        let (issuer, signer) = &self.signers[usize::from(input.byte()) % self.signers.len()];
        let header = input.bytes();
        let claims = input.rest();
        let token = signer.sign(header, claims);
        let parsed = |bytes| serde_json::from_slice::<Value>(bytes).ok();
        if let Some(caller) = caller(&self.auth, token.as_bytes()) {
            let header = parsed(header).expect("a header is JSON");
            let claims = parsed(claims).expect("claims are JSON");
            assert_eq!(header["alg"], signer.algorithm);
            assert!(NOT_FOLLOWED.iter().all(|name| header[name].is_null()), "{header}");
            assert_claims(issuer, &claims, &caller);
        }
    }

    /// What everybody knows is no secret, and no signature is none.
    fn confused(&self, mut input: Input<'_>) {
        let known = &self.known[usize::from(input.byte()) % self.known.len()];
        let (header, claims) = (input.bytes(), input.rest());
        let token = Signer::secret(known).sign(header, claims);
        assert_eq!(caller(&self.auth, token.as_bytes()), None, "{token}");
        let unsigned = format!("{}.", String::from_utf8_lossy(message(token.as_bytes())));
        assert_eq!(caller(&self.auth, unsigned.as_bytes()), None, "{unsigned}");
    }
}

fn assert_claims(issuer: &str, claims: &Value, caller: &Principal) {
    assert_eq!(claims["iss"], url(issuer), "no issuer speaks for another");
    let subject = claims["sub"].as_str().expect("a subject is text");
    assert_eq!(caller.id, format!("{issuer}:{subject}"));
    assert!(caller.id.chars().all(crate::observe::is_plain));
    let audience = &claims["aud"];
    let is_meant = audience == AUDIENCE
        || audience
            .as_array()
            .is_some_and(|all| all.contains(&AUDIENCE.into()));
    assert!(is_meant, "{claims}");
    let now = get_current_timestamp();
    let expiry = claims["exp"].as_f64().expect("an expiry is a number");
    assert!(expiry >= (now - LEEWAY_S - 1) as f64, "{claims}");
    if let Some(begin) = claims["nbf"].as_f64() {
        assert!(begin <= (now + LEEWAY_S + 1) as f64, "{claims}");
    }
}

/// All but the signature.
fn message(token: &[u8]) -> &[u8] {
    let dot = token
        .iter()
        .rposition(|byte| *byte == b'.')
        .unwrap_or(token.len());
    &token[..dot]
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = Vec::new();
    with_world(|world| {
        for token in &world.valid {
            seeds.push([&[TOKEN], token.as_bytes()].concat());
            assert!(
                caller(&world.auth, token.as_bytes()).is_some(),
                "a seed is to reach deep"
            );
        }
        let mut with_parts = |head: [u8; 2], header: &str, claims: &str| {
            let length = u8::try_from(header.len()).expect("it is short");
            seeds.push([&head[..], &[length], header.as_bytes(), claims.as_bytes()].concat());
        };
        for (number, (issuer, signer)) in (0u8..).zip(&world.signers) {
            let header = header(signer.algorithm);
            with_parts([SIGNED, number], &header, &claims(issuer));
            with_parts(
                [SIGNED, number],
                &header,
                &claims(if *issuer == MACHINES { ACCOUNTS } else { MACHINES }),
            );
        }
        let claims = claims(MACHINES);
        for header in [
            r#"{"alg":"HS256","crit":["exp"]}"#,
            r#"{"alg":"HS256","kid":"a","jku":"https://e.test"}"#,
            r#"{"alg":"HS256","b64":false,"zip":"DEF"}"#,
            r#"{"alg":"none"}"#,
        ] {
            with_parts([SIGNED, 0], header, &claims);
        }
        for claims in [
            r#"{"iss":"https://machines.test","iss":"x","sub":"a","aud":["orders"],"exp":4102444800}"#,
            r#"{"iss":"https://machines.test","sub":"a\n","aud":["x","orders"],"exp":4102444800.5,"nbf":1}"#,
            r#"{"iss":"https://machines.test","sub":"a","aud":"orders","exp":1,"scp":["a",1]}"#,
            r#"{"iss":"https://machines.test","sub":"a","aud":"orders","exp":-1e300,"nbf":1e300}"#,
        ] {
            with_parts([SIGNED, 0], &header("HS256"), claims);
        }
        for number in 0..u8::try_from(world.known.len()).expect("few") {
            with_parts([CONFUSED, number], &header("HS256"), &self::claims(ACCOUNTS));
        }
        with_parts([CONFUSED, 0], &header("none"), &claims);
    });
    for number in 0..4 {
        seeds.push(vec![CHANGES, number, 0, 0, 3, b'a', 4, 0, 60, 1]);
        seeds.push(vec![CHANGES, number, 2, 0, 255, 0, 1, 0, 9, b'=']);
    }
    seeds.push([&[TOKEN], encode(b"{}").as_bytes(), b"."].concat());
    seeds
}
