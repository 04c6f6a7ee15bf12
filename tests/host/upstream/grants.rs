//! What a plugin may call, and whom the host trusts to answer.

use super::*;

in_both_modes!(only_what_is_granted_can_be_called,);

async fn only_what_is_granted_can_be_called(isolation: Isolation) {
    let backend = Backend::echo().await;
    let keys = "methods = [\"caller.v1.Backend/Ask\", \"shop.v1.Stock/*\"]\n\
                max_request_bytes = 100\nmax_response_bytes = 50";
    let host = caller(&backend, keys, isolation)
        .with(&backend.section("third", ""))
        .start()
        .await;
    let mut third = ask("x");
    third.target = "third".into();
    let mut method = ask("x");
    method.method = "/caller.v1.Backend/Watch".into();
    let mut path = ask("x");
    path.method = "/caller.v1.Backend/Ask?x".into();
    for (request, expected, reason) in [
        (third, Code::PermissionDenied, "UPSTREAM_NOT_ALLOWED"),
        (method, Code::PermissionDenied, "UPSTREAM_NOT_ALLOWED"),
        (path, Code::InvalidArgument, "UPSTREAM_INVALID_REQUEST"),
        (ask(&"x".repeat(101)), Code::ResourceExhausted, "UPSTREAM_LIMIT"),
    ] {
        let refused = outcome(&host, request.clone()).await;
        assert_eq!(
            (code(&refused), refused.reason.as_str()),
            (expected, reason),
            "{request:?}"
        );
    }
    assert!(backend.asked().is_empty());
    let large = outcome(&host, ask(&"x".repeat(60))).await;
    assert_eq!(
        (code(&large), large.reason.as_str()),
        (Code::ResourceExhausted, "UPSTREAM_LIMIT")
    );
    assert_eq!(text(&outcome(&host, ask("small")).await), "small");
    host.stop().await;

    let bounded = Plugin::caller(isolation).key("max_upstream_calls", 2);
    let host = Setup::of(bounded)
        .with(&backend.section("backend", ""))
        .with(&backend.section("other", ""))
        .start()
        .await;
    let outcomes = forward(&host, [ask("1"), ask("2"), ask("3")]).await;
    let codes: Vec<_> = outcomes.iter().map(code).collect();
    assert_eq!(codes, [Code::Ok, Code::Ok, Code::ResourceExhausted]);
    host.stop().await;
}

/// What the operator hears of a plugin that may not call what it needs.
#[tokio::test]
async fn a_plugin_without_its_grants_is_refused() {
    let backend = Backend::echo().await;
    let ungranted = |grants: &str| {
        Setup::of(Plugin::caller(Isolation::Call).replace("grants", grants))
            .with(&backend.section("backend", ""))
    };
    let none = ungranted("[]").run().await;
    assert_eq!(none.code, Some(3), "{}", none.stderr);
    assert!(
        none.stderr.contains("it imports mortise:plugin/upstream"),
        "{}",
        none.stderr
    );
    assert!(
        none.stderr.contains("grants = [\"upstream:NAME\"]"),
        "{}",
        none.stderr
    );
    let one = ungranted("[\"upstream:backend\"]").run().await;
    assert_eq!(one.code, Some(3), "{}", one.stderr);
    assert!(
        one.stderr.contains("add \"upstream:other\" to grants"),
        "{}",
        one.stderr
    );
    let unknown = ungranted("[\"upstream:backend\", \"upstream:other\"]")
        .run()
        .await;
    assert_eq!(unknown.code, Some(3), "{}", unknown.stderr);
    assert!(
        unknown.stderr.contains("add [upstreams.other] with its url"),
        "{}",
        unknown.stderr
    );
}

#[tokio::test]
async fn targets_over_tls_must_have_a_certificate_of_the_ca() {
    let authority = || {
        let mut params = rcgen::CertificateParams::default();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().expect("a key");
        rcgen::CertifiedIssuer::self_signed(params, key).expect("a certificate")
    };
    let (ours, another) = (authority(), authority());
    let key = rcgen::KeyPair::generate().expect("a key");
    let params = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).expect("an address");
    let certificate = params.signed_by(&key, &ours).expect("a certificate");
    let backend = Backend::echo_over_tls(&certificate.pem(), &key.serialize_pem()).await;

    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let section = |name: &str, ca: String| {
        let file = folder.path().join(format!("{name}.pem"));
        std::fs::write(&file, ca).expect("the folder is ours");
        let keys = format!("ca_file = {file:?}\nretries = 0");
        backend.section_of("https", name, &keys)
    };
    let host = Setup::of(Plugin::caller(Isolation::Call))
        .with(&section("backend", ours.pem()))
        .with(&section("other", another.pem()))
        .start()
        .await;
    assert_eq!(text(&outcome(&host, ask("hello")).await), "hello");
    let mut untrusted = ask("hello");
    untrusted.target = "other".into();
    let untrusted = outcome(&host, untrusted).await;
    assert_eq!(
        (code(&untrusted), untrusted.reason.as_str()),
        (Code::Unavailable, "UPSTREAM_UNREACHABLE")
    );
    assert_eq!(backend.asked().len(), 1);
    host.stop().await;
}
