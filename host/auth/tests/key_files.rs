//! What key files may hold, and what happens when they change.

use super::*;

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
