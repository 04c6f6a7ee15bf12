//! Who a call is from, by its headers or certificate, and what it may call.

use super::*;

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
