use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use http::{Extensions, HeaderMap, HeaderValue, header};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use tokens::*;

#[path = "../../tests/support/tokens.rs"]
mod tokens;

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

#[test]
fn every_algorithm_verifies_its_own_tokens_and_no_others() {
    for key in asymmetric() {
        let auth = Trusted::issuer(&key_set(&[&key])).load();
        let token = key.token(&claims_of("ann"));
        assert_eq!(admitted(&auth, &token).id, "accounts:ann", "{}", key.algorithm);
        let (message, signature) = token.rsplit_once('.').expect("a signature");
        let other = if signature.starts_with('A') { "B" } else { "A" };
        let forged = format!("{message}.{other}{}", &signature[1..]);
        assert_invalid(&auth, &forged, "signature");
        assert_invalid(&auth, &format!("{message}."), "signature");
        if !matches!(key.algorithm, "RS256" | "PS256") {
            let stranger = asymmetric()
                .into_iter()
                .find(|other| other.algorithm == key.algorithm);
            assert_invalid(
                &auth,
                &stranger.expect("it is there").token(&claims_of("ann")),
                "signature",
            );
        }
    }
    let key = TokenKey::hs256(SECRET);
    let auth = Trusted::secret(SECRET).load();
    assert_eq!(admitted(&auth, &key.token(&claims_of("ann"))).id, "accounts:ann");
    let stranger = TokenKey::hs256(b"another secret of at least 32 bytes");
    assert_invalid(&auth, &stranger.token(&claims_of("ann")), "signature");
}

#[test]
fn public_keys_may_be_in_pem() {
    for key in asymmetric().into_iter().filter(|key| key.algorithm != "PS256") {
        let auth = Trusted::issuer(&key.public_pem()).load();
        assert_eq!(
            admitted(&auth, &key.token(&claims_of("ann"))).id,
            "accounts:ann",
            "{}",
            key.algorithm
        );
    }
    let (first, second) = (TokenKey::es256(), TokenKey::ed25519());
    let auth = Trusted::issuer(&(first.public_pem() + &second.public_pem())).load();
    for key in [first, second] {
        admitted(&auth, &key.token(&claims_of("ann")));
    }
}

#[test]
fn a_token_cannot_choose_how_it_is_verified() {
    let key = TokenKey::rs256();
    let claims = claims_of("ann").to_string();
    let auth = Trusted::issuer(RSA_PUBLIC_KEY).load();
    // The public key as a secret, in every form in which the host might hold it.
    for secret in [RSA_PUBLIC_KEY.as_bytes(), RSA_PUBLIC_KEY.trim_end().as_bytes()] {
        let token = TokenKey::hs256(secret).token(&claims_of("ann"));
        assert_invalid(&auth, &token, "no such key");
    }
    // Unsigned.
    for alg in ["none", "None", "NONE", ""] {
        let header = json!({ "alg": alg }).to_string();
        let token = format!("{}.{}.", encode(&header), encode(&claims));
        assert_invalid(&auth, &token, "algorithm");
        assert_invalid(&auth, &key.sign(&header, &claims), "algorithm");
    }
    // The right key for another algorithm.
    let header = json!({ "alg": "PS256" }).to_string();
    assert_invalid(&auth, &key.sign(&header, &claims), "no such key");
    let ps256 = TokenKey::ps256();
    assert_invalid(&auth, &ps256.token(&claims_of("ann")), "no such key");
    // Headers that bring or point to keys, or want to be understood.
    let stranger = TokenKey::es256();
    for (name, value) in [
        ("jwk", stranger.jwk()),
        ("jku", json!("https://evil.test/keys")),
        ("x5u", json!("https://evil.test/chain")),
        ("x5c", json!(["AAAA"])),
        ("crit", json!(["b64"])),
        ("crit", json!([])),
        ("b64", json!(false)),
        ("zip", json!("DEF")),
        ("enc", json!("A128GCM")),
    ] {
        let mut header = json!({ "alg": "RS256" });
        header[name] = value;
        let token = key.sign(&header.to_string(), &claims);
        assert_invalid(&auth, &token, "its header has");
    }
}

#[test]
fn a_key_is_found_by_its_name() {
    let old = TokenKey::es256().named("old");
    let new = TokenKey::es256().named("new");
    let auth = Trusted::issuer(&key_set(&[&old, &new])).load();
    for key in [&old, &new] {
        admitted(&auth, &key.token(&claims_of("ann")));
    }
    let sign = |header: Value| old.sign(&header.to_string(), &claims_of("bob").to_string());
    assert_invalid(&auth, &sign(json!({ "alg": "ES256", "kid": "new" })), "signature");
    assert_invalid(
        &auth,
        &sign(json!({ "alg": "ES256", "kid": "newer" })),
        "no such key",
    );
    // Without a name all are tried.
    admitted(&auth, &sign(json!({ "alg": "ES256" })));
}

#[test]
fn what_is_no_token_is_refused() {
    let key = TokenKey::es256();
    let auth = Trusted::issuer(&key_set(&[&key])).load();
    let token = key.token(&claims_of("ann"));
    let two_parts = token.rsplit_once('.').expect("it has three").0;
    for text in [
        "",
        ".",
        "..",
        "...",
        "a.b.c",
        "!",
        two_parts,
        &format!("{token}.x"),
        &format!("x.{token}"),
    ] {
        assert!(
            matches!(admit(&auth, text), Err(Refusal::TokenInvalid { .. })),
            "{text}"
        );
    }
    for header in [
        "",
        "[]",
        "null",
        "{",
        r#"{"alg":1}"#,
        r#"{"typ":"JWT"}"#,
        r#"{"alg":"ES256","alg":"ES256"}"#,
    ] {
        assert_invalid(
            &auth,
            &key.sign(header, &claims_of("ann").to_string()),
            "no JSON Web Token",
        );
    }
    let header = r#"{"alg":"ES256"}"#;
    for claims in ["", "[]", "null", "7", "{", r#"{"iss":["https://issuer.test"]}"#] {
        assert_invalid(&auth, &key.sign(header, claims), "issuer");
    }
    // The same name twice: who reads which?
    let claims = claims_of("ann").to_string().replacen('{', r#"{"sub":"root","#, 1);
    assert_invalid(&auth, &key.sign(header, &claims), "distinct");
}

#[test]
fn a_token_must_be_from_this_issuer_for_this_host() {
    let key = TokenKey::ed25519();
    let auth = Trusted::issuer(&key_set(&[&key])).load();
    for audience in [json!("orders"), json!(["others", "orders-admin"])] {
        admitted(&auth, &key.token(&with("aud", audience)));
    }
    for (claims, cause) in [
        (with("iss", json!("https://issuer.test/")), "issuer"),
        (with("iss", json!("https://other.test")), "issuer"),
        (without("iss"), "issuer"),
        (with("aud", json!("Orders")), "audience"),
        (with("aud", json!([])), "audience"),
        (with("aud", json!({ "orders": 1 })), "lacks"),
        (without("aud"), "lacks"),
        (without("exp"), "lacks"),
        (with("exp", json!("9999999999")), "lacks"),
        (with("exp", json!(-1)), "lacks"),
        (with("nbf", json!("0")), "no time"),
        (without("sub"), "lacks"),
        (with("sub", json!(7)), "lacks"),
        (with("sub", json!("")), "subject"),
        (with("sub", json!("a\nb")), "subject"),
        (with("sub", json!("x".repeat(256))), "subject"),
    ] {
        assert_invalid(&auth, &key.token(&claims), cause);
    }
}

#[test]
fn a_token_has_its_time_give_or_take_the_leeway() {
    let key = TokenKey::ed25519();
    let auth = Trusted::issuer(&key_set(&[&key])).load();
    let at = |name, offset| key.token(&with(name, json!(seconds_from_now(offset))));
    // Far enough from the bounds for a slow machine.
    admitted(&auth, &at("exp", -2));
    assert_eq!(admit(&auth, &at("exp", -20)), Err(Refusal::TokenExpired));
    admitted(&auth, &at("nbf", 8));
    assert_eq!(admit(&auth, &at("nbf", 60)), Err(Refusal::TokenNotYetValid));
    admitted(
        &auth,
        &key.token(&with("exp", json!(seconds_from_now(60) as f64 + 0.5))),
    );
    // A forger does not learn that his token is too old.
    let stranger = TokenKey::ed25519();
    let old = stranger.token(&with("exp", json!(seconds_from_now(-20))));
    assert_invalid(&auth, &old, "signature");
}

#[test]
fn a_verified_token_is_remembered_until_it_expires() {
    let key = TokenKey::ed25519();
    let auth = Trusted::issuer(&key_set(&[&key])).load();
    let tokens = auth.tokens.as_ref().expect("an issuer");
    let verifier = tokens.verifier.load();
    let (now, token) = (get_current_timestamp(), key.token(&claims_of("ann")));
    let first = verifier.verify(token.as_bytes(), now).expect("it is valid");
    let again = verifier
        .verify(token.as_bytes(), now + 3600)
        .expect("it is valid");
    assert!(Arc::ptr_eq(&first, &again), "it was remembered");
    // 3600 and the leeway of 10 have passed for the cache, not for the clock: it was verified anew.
    let anew = verifier
        .verify(token.as_bytes(), now + 3612)
        .expect("it is valid");
    assert!(!Arc::ptr_eq(&first, &anew), "it was verified again");
    // Nothing that was refused is remembered.
    let (message, _) = token.rsplit_once('.').expect("a signature");
    let forged = format!("{message}.{}", encode([0; 64]));
    for _ in 0..2 {
        assert_invalid(&auth, &forged, "signature");
    }
}

#[test]
fn new_keys_take_the_place_of_the_old_and_of_what_they_verified() {
    let (old, new) = (TokenKey::es256(), TokenKey::es256());
    let trusted = Trusted::issuer(&key_set(&[&old]));
    let auth = trusted.load();
    let tokens = auth.tokens.as_ref().expect("an issuer");
    let (by_old, by_new) = (old.token(&claims_of("ann")), new.token(&claims_of("ann")));
    admitted(&auth, &by_old);
    assert_invalid(&auth, &by_new, "signature");

    trusted.write("keys", &key_set(&[&old, &new]));
    tokens.reload();
    admitted(&auth, &by_old);
    admitted(&auth, &by_new);

    // A bad file changes nothing.
    for bad in ["", "{", "{\"keys\":[]}", "-----BEGIN PUBLIC KEY-----"] {
        trusted.write("keys", bad);
        tokens.reload();
        admitted(&auth, &by_old);
    }

    trusted.write("keys", &key_set(&[&new]));
    tokens.reload();
    assert_invalid(&auth, &by_old, "signature");
    admitted(&auth, &by_new);
}

#[test]
fn files_that_hold_no_keys_are_refused_with_what_is_wrong_in_them() {
    let jwk = |change: Value| {
        let mut jwk = TokenKey::es256().jwk();
        for (name, value) in change.as_object().expect("an object") {
            jwk[name] = value.clone();
        }
        json!({ "keys": [TokenKey::rs256().jwk(), jwk] }).to_string()
    };
    for (content, problem) in [
        (String::new(), "no key in it"),
        ("ssh-ed25519 AAAA".into(), "no key in it"),
        ("{".into(), "EOF"),
        ("{}".into(), "missing field `keys` at line 1"),
        (r#"{"keys":[{"kid":"a"}]}"#.into(), "missing field `kty`"),
        (r#"{"keys":"hunter2"}"#.into(), "wrong type at line 1 column 17"),
        (
            r#"{"keys":[{"kty":"hunter2","use":7}]}"#.into(),
            "wrong type at line 1",
        ),
        (r#"{"keys":[]}"#.into(), "no key in `keys`"),
        (jwk(json!({ "x": null })), "keys[1]: `x` is missing"),
        (jwk(json!({ "x": "?" })), "keys[1]: `x` is not base64url"),
        (jwk(json!({ "x": "AAAA" })), "keys[1]: `x` and `y` have 32 bytes"),
        (jwk(json!({ "alg": "ES384" })), "keys[1]: `alg`"),
        (jwk(json!({ "alg": "RS256" })), "keys[1]: `alg`"),
        (jwk(json!({ "alg": "HS256" })), "keys[1]: `alg`"),
        (jwk(json!({ "d": "AAAA" })), "keys[1]: `d`: this is a private key"),
        (jwk(json!({ "kty": "oct", "k": "AAAA" })), "`secret_file`"),
        (
            jwk(json!({ "kty": "RSA", "alg": "RS256", "n": "AQAB", "e": "AQAB" })),
            "this one has 17",
        ),
        (SHORT_RSA_PUBLIC_KEY.into(), "this one has 1024"),
        (
            "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n".into(),
            "private key",
        ),
        (
            "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n".into(),
            "key 1: it is no public key",
        ),
        ("x".repeat((1 << 20) + 1), "larger than 1 MiB"),
    ] {
        let refused = Trusted::issuer(&content).refused();
        assert!(refused.contains(problem), "{problem}: {refused}");
        assert!(!refused.contains("hunter2"), "{refused}");
    }
    let many: Vec<_> = (0..33).map(|_| TokenKey::ed25519()).collect();
    let many = key_set(&many.iter().collect::<Vec<_>>());
    assert!(Trusted::issuer(&many).refused().contains("more than 32 keys"));
    for (secret, problem) in [
        (
            &b"too short"[..],
            "32 bytes or more before any zeros at its end, and this one has 9",
        ),
        (&[0; 64], "and this one has 0"),
        (RSA_PUBLIC_KEY.as_bytes(), "plain bytes"),
        (
            br#"{"keys":[{"kty":"oct","k":"AAAAAAAAAAAAAAAAAAAA"}]}"#,
            "plain bytes",
        ),
    ] {
        let refused = Trusted::secret(secret).refused();
        assert!(refused.contains(problem), "{problem}: {refused}");
    }
    let mut absent = Trusted::nobody();
    absent.add("accounts", vec![Path::new("/nowhere/keys.json").into()], None);
    assert!(absent.refused().contains("cannot read it"));
}

#[test]
fn keys_for_other_things_are_passed_over() {
    let key = TokenKey::es256();
    let mut others = vec![key.jwk()];
    for change in [
        json!({ "use": "enc" }),
        json!({ "key_ops": ["sign"] }),
        json!({ "alg": "RSA-OAEP-256", "kty": "RSA" }),
        json!({ "crv": "secp256k1" }),
        json!({ "kty": "AKP", "alg": "ML-DSA-65" }),
    ] {
        let mut jwk = TokenKey::es256().jwk();
        for (name, value) in change.as_object().expect("an object") {
            jwk[name] = value.clone();
        }
        others.push(jwk);
    }
    let auth = Trusted::issuer(&json!({ "keys": others }).to_string()).load();
    assert_eq!(auth.tokens.as_ref().expect("an issuer").verifier.load().keys(), 1);
    admitted(&auth, &key.token(&claims_of("ann")));
}

#[test]
fn one_authorization_holds_one_bearer_token() {
    let key = TokenKey::ed25519();
    let mut trusted = Trusted::issuer(&key_set(&[&key]));
    trusted.auth.max_token_bytes = 1000;
    let auth = trusted.load();
    let token = key.token(&claims_of("ann"));
    let admit = |headers: &HeaderMap| auth.admit(&Access::default(), headers, &Extensions::new());
    for scheme in ["Bearer", "bearer", "BEARER", "Bearer  "] {
        admit(&of(&format!("{scheme} {token}"))).expect("it is valid");
    }
    for value in [
        "",
        "Bearer",
        "Basic YTpi",
        &token,
        &format!("Bearer{token}"),
        &format!("Bearer {token},{token}"),
    ] {
        assert!(
            matches!(admit(&of(value)), Err(Refusal::TokenInvalid { .. })),
            "{value}"
        );
    }
    let mut twice = of(&format!("Bearer {token}"));
    twice.append(header::AUTHORIZATION, twice[header::AUTHORIZATION].clone());
    assert!(matches!(admit(&twice), Err(Refusal::TokenInvalid { .. })));
    let long = key.token(&with("padding", json!("x".repeat(1000))));
    assert_invalid(&auth, &long, "max_token_bytes");
    assert_eq!(admit(&HeaderMap::new()), Err(Refusal::TokenMissing));
}

#[test]
fn methods_may_ask_for_scopes_or_for_nothing() {
    let key = TokenKey::ed25519();
    let auth = Trusted::issuer(&key_set(&[&key])).load();
    let admit = |access: &Access, claims: &Value| {
        let headers = of(&format!("Bearer {}", key.token(claims)));
        auth.admit(access, &headers, &Extensions::new())
    };
    let access = Access {
        anonymous: false,
        scopes: vec!["orders.read".into(), "orders.write".into()],
    };
    for scopes in [
        json!({ "scope": "orders.write other orders.read" }),
        json!({ "scp": ["orders.read", "orders.write"] }),
        json!({ "scp": "orders.read orders.write" }),
        json!({ "scope": "orders.read", "scp": ["orders.write"] }),
    ] {
        let mut claims = claims_of("ann");
        claims
            .as_object_mut()
            .expect("an object")
            .extend(scopes.as_object().expect("an object").clone());
        admit(&access, &claims).unwrap_or_else(|refusal| panic!("{scopes}: {refusal}"));
    }
    for (scope, missing) in [
        (json!("orders.read"), "orders.write"),
        (json!("orders.read orders.writes Orders.write"), "orders.write"),
        (json!(7), "orders.read"),
    ] {
        let refusal = admit(&access, &with("scope", scope)).expect_err("one is missing");
        assert_eq!(
            refusal,
            Refusal::ScopeMissing {
                scope: missing.into()
            }
        );
    }
    let open = Access {
        anonymous: true,
        scopes: Vec::new(),
    };
    assert_eq!(auth.admit(&open, &HeaderMap::new(), &Extensions::new()), Ok(None));
    assert!(admit(&open, &claims_of("ann")).expect("it is valid").is_some());
    // Whoever shows a token wants to be known by it.
    assert_eq!(admit(&open, &with("exp", json!(1))), Err(Refusal::TokenExpired));
}

#[test]
fn claims_are_text_or_json() {
    let key = TokenKey::ed25519();
    let auth = Trusted::issuer(&key_set(&[&key])).load();
    let mut claims = claims_of("ann");
    claims["exp"] = json!(4_000_000_000_u64);
    for (name, value) in [
        ("email", json!("ann@example.test")),
        ("admin", json!(true)),
        ("level", json!(1.5)),
        ("roles", json!(["a", "b\""])),
        ("address", json!({ "city": "Ulm" })),
        ("nothing", Value::Null),
    ] {
        claims[name] = value;
    }
    let principal = admitted(&auth, &key.token(&claims));
    let claim = |name| {
        let found = principal.claims.iter().find(|(claim, _)| claim == name);
        found.map(|(_, value)| value.as_str()).expect("it is there")
    };
    for (name, value) in [
        ("iss", "https://issuer.test"),
        ("sub", "ann"),
        ("exp", "4000000000"),
        ("email", "ann@example.test"),
        ("admin", "true"),
        ("level", "1.5"),
        ("roles", r#"["a","b\""]"#),
        ("address", r#"{"city":"Ulm"}"#),
        ("nothing", "null"),
    ] {
        assert_eq!(claim(name), value, "{name}");
    }
    assert!(
        !format!("{principal:?}").contains("example.test"),
        "claims stay out of logs"
    );
}

#[test]
fn a_certificate_names_its_client() {
    use rcgen::{CertificateParams, DnType, KeyPair, SanType};
    let id = |uris: &[&str], dns: &[&str], common: Option<&str>| {
        let mut params =
            CertificateParams::new(dns.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>())
                .expect("valid names");
        for uri in uris {
            let uri = (*uri).try_into().expect("a URI");
            params.subject_alt_names.push(SanType::URI(uri));
        }
        params.distinguished_name = rcgen::DistinguishedName::new();
        if let Some(name) = common {
            params.distinguished_name.push(DnType::CommonName, name);
        }
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        ClientCertificate::verified(certificate.der()).0
    };
    let spiffe = "spiffe://shop.test/ns/web/sa/cart";
    assert_eq!(id(&[spiffe], &["cart.test"], Some("cart")).id, spiffe);
    assert_eq!(
        id(&["https://cart.test/"], &["Cart.test"], Some("cart")).id,
        "dns:cart.test"
    );
    assert_eq!(
        id(&[spiffe, "spiffe://shop.test/b"], &["cart.test"], None).id,
        "dns:cart.test"
    );
    assert_eq!(
        id(&[], &[], Some("spiffe://shop.test/x")).id,
        "cn:spiffe://shop.test/x"
    );
    assert_eq!(id(&[], &["a.test", "b.test"], None).id, "dns:a.test");
    for nameless in [id(&[], &[], None), id(&[], &[], Some("a\nb"))] {
        assert!(
            nameless.id.starts_with("sha256:") && nameless.id.len() == 71,
            "{}",
            nameless.id
        );
    }
    let cart = id(&[spiffe], &["cart.test", "b.test"], Some("cart"));
    let claim = |name| {
        cart.claims
            .iter()
            .find(|(claim, _)| claim == name)
            .expect("it is there")
            .1
            .clone()
    };
    assert_eq!(claim("cn"), "cart");
    assert_eq!(claim("dns"), r#"["cart.test","b.test"]"#);
    assert_eq!(claim("uri"), format!("[\"{spiffe}\"]"));
    assert_eq!(ClientCertificate::verified(b"no certificate").0.claims.len(), 1);
}

#[test]
fn a_certificate_takes_the_place_of_a_token_only_where_it_may() {
    let key = TokenKey::ed25519();
    let certificate = ClientCertificate::verified(b"a certificate");
    let extensions = || {
        let mut extensions = Extensions::new();
        extensions.insert(certificate.clone());
        extensions
    };
    let admit =
        |auth: &Authenticator, headers: &HeaderMap| auth.admit(&Access::default(), headers, &extensions());
    let by_certificate = Ok(Some(certificate.0.clone()));
    assert_eq!(
        admit(&Trusted::nobody().load(), &HeaderMap::new()),
        by_certificate
    );

    let mut trusted = Trusted::issuer(&key_set(&[&key]));
    assert_eq!(
        admit(&trusted.load(), &HeaderMap::new()),
        Err(Refusal::TokenMissing)
    );
    trusted.auth.certificate_suffices = true;
    let auth = trusted.load();
    assert_eq!(admit(&auth, &HeaderMap::new()), by_certificate);
    let headers = of(&format!("Bearer {}", key.token(&claims_of("ann"))));
    let principal = admit(&auth, &headers).expect("it is valid").expect("somebody");
    assert_eq!(principal.id, "accounts:ann");
    assert!(admit(&auth, &of("Bearer x")).is_err());
    // It has no scopes.
    let access = Access {
        anonymous: false,
        scopes: vec!["orders.read".into()],
    };
    let refusal = auth.admit(&access, &HeaderMap::new(), &extensions());
    assert!(
        matches!(refusal, Err(Refusal::ScopeMissing { .. })),
        "{refusal:?}"
    );
}
