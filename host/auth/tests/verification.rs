//! Which tokens are believed, and for how long.

use super::*;

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
