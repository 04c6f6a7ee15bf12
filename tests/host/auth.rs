//! Who callers are: tokens, certificates, and what plugins learn of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use http::{Method, StatusCode};
use serde_json::json;
use tempfile::TempDir;
use tonic::Code;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::raw::{RawAnswer, RawClient, framed};
use crate::support::tokens::{TokenKey, claims_of, encode, key_set, seconds_from_now};
use crate::support::{Host, Isolation, Plugin, Setup, http1, until_some};

in_both_modes!(
    a_plugin_reads_who_calls,
    every_refusal_has_its_status_and_reason,
    methods_ask_for_scopes_or_for_nobody,
    tokens_are_kept_from_plugins_and_the_log,
    keys_are_replaced_under_load,
    the_hosts_own_services_ask_too,
    a_browsers_question_needs_no_token,
);

const ECHO: &str = "/faults.v1.Faults/Echo";
const HEALTH: &str = "/grpc.health.v1.Health/Check";
const REFLECTION: &str = "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
const REFLECTION_V1ALPHA: &str = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo";

/// An issuer's key file, and its section.
struct Keys {
    folder: TempDir,
}

impl Keys {
    fn of(keys: &[&TokenKey]) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let keys_file = Self { folder };
        keys_file.write(&key_set(keys));
        keys_file
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("keys.json")
    }

    /// Replaces the file by renaming, as one should.
    fn write(&self, content: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, content).expect("the folder is there");
        fs::rename(&new, self.path()).expect("the folder is there");
    }

    fn section(&self) -> String {
        section(&self.path())
    }
}

fn section(path: &Path) -> String {
    format!(
        "[issuers.accounts]\nissuer = \"https://issuer.test\"\naudiences = [\"orders\"]\nkeys = [{path:?}]\n"
    )
}

async fn start(isolation: Isolation, sections: &str) -> Host {
    Setup::of(Plugin::faults(isolation)).with(sections).start().await
}

async fn echo(raw: &RawClient, token: Option<&str>) -> RawAnswer {
    let authorization = token.map(|token| format!("Bearer {token}"));
    let headers: Vec<_> = authorization
        .iter()
        .map(|value| ("authorization", value.as_str()))
        .collect();
    raw.unary(ECHO, &headers, &EchoRequest::default()).await
}

#[track_caller]
fn assert_refused(answer: &RawAnswer, code: Code, reason: &str) {
    assert_eq!(
        (answer.code(), answer.reason().as_str()),
        (code, reason),
        "{answer:?}"
    );
}

fn claim(seen: &EchoResponse, name: &str) -> Option<String> {
    let found = seen.claims.iter().find(|entry| entry.key == name);
    found.map(|entry| String::from_utf8_lossy(&entry.value).into_owned())
}

async fn a_plugin_reads_who_calls(isolation: Isolation) {
    let key = TokenKey::rs256().named("2026");
    let keys = Keys::of(&[&key]);
    let host = start(isolation, &keys.section()).await;
    let raw = host.raw().await;
    // One after another in the same sandbox, where sandboxes are used again.
    for subject in ["ann", "bob", "ann"] {
        let mut claims = claims_of(subject);
        claims["roles"] = json!(["clerk", subject]);
        let seen: EchoResponse = echo(&raw, Some(&key.token(&claims))).await.message();
        assert_eq!(seen.principal, Some(format!("accounts:{subject}")));
        assert_eq!(claim(&seen, "sub").as_deref(), Some(subject));
        assert_eq!(claim(&seen, "iss").as_deref(), Some("https://issuer.test"));
        assert_eq!(claim(&seen, "roles"), Some(format!("[\"clerk\",\"{subject}\"]")));
    }
    // By gRPC-Web it is the same.
    let token = format!("Bearer {}", key.token(&claims_of("ann")));
    let headers = [
        ("authorization", token.as_str()),
        ("content-type", "application/grpc-web"),
    ];
    let answer = raw.unary(ECHO, &headers, &EchoRequest::default()).await;
    assert_eq!(answer.http, http::StatusCode::OK);
    let answer = String::from_utf8_lossy(&answer.data).into_owned();
    assert!(
        answer.contains("accounts:ann") && answer.contains("grpc-status: 0"),
        "{answer:?}"
    );
    host.stop().await;
}

async fn every_refusal_has_its_status_and_reason(isolation: Isolation) {
    let key = TokenKey::es256();
    let keys = Keys::of(&[&key]);
    let host = start(isolation, &keys.section()).await;
    let raw = host.raw().await;
    let answer = echo(&raw, None).await;
    assert_refused(&answer, Code::Unauthenticated, "TOKEN_MISSING");
    assert_eq!(answer.headers["www-authenticate"], "Bearer");
    assert!(answer.trailers.is_none(), "at once, by one frame of headers");

    let with = |name: &str, value: serde_json::Value| {
        let mut claims = claims_of("ann");
        claims[name] = value;
        key.token(&claims)
    };
    let unsigned = format!(
        "{}.{}.",
        encode(r#"{"alg":"none"}"#),
        encode(claims_of("root").to_string())
    );
    for (token, reason) in [
        ("rubbish".to_owned(), "TOKEN_INVALID"),
        (unsigned, "TOKEN_INVALID"),
        (TokenKey::es256().token(&claims_of("root")), "TOKEN_INVALID"),
        (with("iss", json!("https://other.test")), "TOKEN_INVALID"),
        (with("aud", json!("others")), "TOKEN_INVALID"),
        (with("exp", json!(seconds_from_now(-3600))), "TOKEN_EXPIRED"),
        (with("nbf", json!(seconds_from_now(3600))), "TOKEN_NOT_YET_VALID"),
        (with("padding", json!("x".repeat(8192))), "TOKEN_INVALID"),
    ] {
        let answer = echo(&raw, Some(&token)).await;
        assert_refused(&answer, Code::Unauthenticated, reason);
        assert_eq!(
            answer.headers["www-authenticate"],
            "Bearer error=\"invalid_token\""
        );
    }
    let token = key.token(&claims_of("ann"));
    for headers in [
        &[("authorization", "Basic YW5uOmFubg==")][..],
        &[
            ("authorization", &format!("Bearer {token}")),
            ("authorization", "Bearer x"),
        ],
    ] {
        let answer = raw.unary(ECHO, headers, &EchoRequest::default()).await;
        assert_refused(&answer, Code::Unauthenticated, "TOKEN_INVALID");
    }
    // A caller who is refused need not have sent its message.
    let slow = raw.call_slowly(ECHO, &[]).answer().await;
    assert_refused(&slow, Code::Unauthenticated, "TOKEN_MISSING");
    assert_eq!(echo(&raw, Some(&token)).await.code(), Code::Ok);
    host.stop().await;
}

async fn methods_ask_for_scopes_or_for_nobody(isolation: Isolation) {
    let key = TokenKey::ed25519();
    let keys = Keys::of(&[&key]);
    let methods = "[methods.\"faults.v1.Faults\"]\nrequired_scopes = [\"faults.make\"]\n\
                   [methods.\"faults.v1.Faults/Echo\"]\nrequired_scopes = []\nanonymous = true\n";
    let host = start(isolation, &(keys.section() + methods)).await;
    let raw = host.raw().await;
    let seen: EchoResponse = echo(&raw, None).await.message();
    assert_eq!((seen.principal, seen.claims.len()), (None, 0));
    let seen: EchoResponse = echo(&raw, Some(&key.token(&claims_of("ann")))).await.message();
    assert_eq!(seen.principal.as_deref(), Some("accounts:ann"));
    assert_refused(
        &echo(&raw, Some("rubbish")).await,
        Code::Unauthenticated,
        "TOKEN_INVALID",
    );

    let fail = async |scopes: serde_json::Value| {
        let mut claims = claims_of("ann");
        claims["scope"] = scopes;
        let token = format!("Bearer {}", key.token(&claims));
        let request = FailRequest {
            code: 5,
            ..FailRequest::default()
        };
        raw.unary("/faults.v1.Faults/Fail", &[("authorization", &token)], &request)
            .await
    };
    for scopes in [json!(null), json!(""), json!("faults.makes faults")] {
        let answer = fail(scopes).await;
        assert_refused(&answer, Code::PermissionDenied, "SCOPE_MISSING");
        assert_eq!(
            answer.headers["www-authenticate"],
            "Bearer error=\"insufficient_scope\", scope=\"faults.make\""
        );
    }
    assert_eq!(fail(json!("faults faults.make")).await.code(), Code::NotFound);
    host.stop().await;
}

async fn tokens_are_kept_from_plugins_and_the_log(isolation: Isolation) {
    let key = TokenKey::es256();
    let keys = Keys::of(&[&key]);
    let seen_by_plugin = |answer: RawAnswer| {
        let seen: EchoResponse = answer.message();
        seen.metadata.iter().any(|entry| entry.key == "authorization")
    };
    let setup = || Setup::of(Plugin::faults(isolation)).filter("trace");
    let host = setup().with(&keys.section()).start().await;
    let raw = host.raw().await;
    let good = key.token(&claims_of("ann"));
    assert!(!seen_by_plugin(echo(&raw, Some(&good)).await));
    let forged = TokenKey::es256().token(&claims_of("root"));
    assert_refused(
        &echo(&raw, Some(&forged)).await,
        Code::Unauthenticated,
        "TOKEN_INVALID",
    );
    host.log
        .wait_for("why it was refused", |line| {
            line.message().contains("The bearer token is not valid")
                && line.text.contains("its signature is not that of its issuer")
        })
        .await;
    let log = host.log.text();
    for token in [&good, &forged] {
        for part in token.split('.').skip(1) {
            assert!(!log.contains(part), "a part of a token is in the log");
        }
    }
    host.stop().await;

    let host = setup()
        .with(&(keys.section() + "[auth]\npass_token = true\n"))
        .start()
        .await;
    assert!(seen_by_plugin(echo(&host.raw().await, Some(&good)).await));
    host.stop().await;
    // Where the host asks for no tokens, `authorization` is metadata like any other.
    let host = setup().start().await;
    assert!(seen_by_plugin(echo(&host.raw().await, Some("whatever")).await));
    host.stop().await;
}

/// New keys come, are used, and the old ones go, while calls go on. None fails.
async fn keys_are_replaced_under_load(isolation: Isolation) {
    let (old, new) = (TokenKey::es256().named("old"), TokenKey::ed25519().named("new"));
    let keys = Keys::of(&[&old]);
    // As Kubernetes mounts secrets: a link to a file behind a link that is swapped.
    let mount = tempfile::tempdir().expect("a temporary folder can be made");
    let mounted = mount.path().join("keys.json");
    let publish = |version: &str, content: &str| {
        let folder = mount.path().join(version);
        fs::create_dir(&folder).expect("the folder is new");
        fs::write(folder.join("keys.json"), content).expect("the folder is there");
        std::os::unix::fs::symlink(version, mount.path().join("..new")).expect("it can be made");
        fs::rename(mount.path().join("..new"), mount.path().join("..data")).expect("it is there");
    };
    publish("..1", &key_set(&[&old]));
    std::os::unix::fs::symlink("..data/keys.json", &mounted).expect("it can be made");
    let sections = format!(
        "{}[issuers.plain]\nissuer = \"plain\"\naudiences = [\"orders\"]\nkeys = [{:?}]\n",
        section(&mounted),
        keys.path()
    );
    let host = start(isolation, &sections).await;

    let (by_old, by_new) = (old.token(&claims_of("ann")), new.token(&claims_of("ann")));
    let trusted = Arc::new([AtomicBool::new(true), AtomicBool::new(false)]);
    let (calls, stop) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = Vec::new();
    for (index, token) in [&by_old, &by_new, &by_old, &by_new].into_iter().enumerate() {
        let (raw, token) = (host.raw().await, token.clone());
        let (trusted, calls, stop) = (trusted.clone(), calls.clone(), stop.clone());
        callers.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                // Trusted all the time from before the call until after it.
                let before = trusted[index % 2].load(Ordering::SeqCst);
                let answer = echo(&raw, Some(&token)).await;
                if before && trusted[index % 2].load(Ordering::SeqCst) {
                    assert_eq!(answer.code(), Code::Ok, "{answer:?}");
                    calls.fetch_add(1, Ordering::SeqCst);
                } else {
                    tokio::task::yield_now().await;
                }
            }
        }));
    }
    let raw = host.raw().await;
    let accepts = async |token: &str| {
        until_some("the new keys", async || {
            (echo(&raw, Some(token)).await.code() == Code::Ok).then_some(())
        })
        .await;
    };
    let more_calls = async || {
        let target = calls.load(Ordering::SeqCst) + 50;
        until_some("calls", async || {
            (calls.load(Ordering::SeqCst) >= target).then_some(())
        })
        .await;
    };
    more_calls().await;
    publish("..2", &key_set(&[&old, &new]));
    accepts(&by_new).await;
    trusted[1].store(true, Ordering::SeqCst);
    more_calls().await;

    // A file that cannot be used changes nothing and is told, once.
    publish(
        "..3",
        "{\"keys\":[{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"AAAA\"}]}",
    );
    host.log
        .wait_for("the refusal", |line| {
            line.message().contains("keys not read again") && line.text.contains("keys[0]: `y` is missing")
        })
        .await;
    more_calls().await;

    trusted[0].store(false, Ordering::SeqCst);
    publish("..4", &key_set(&[&new]));
    until_some("the end of the old key", async || {
        (echo(&raw, Some(&by_old)).await.reason() == "TOKEN_INVALID").then_some(())
    })
    .await;
    more_calls().await;
    stop.store(true, Ordering::SeqCst);
    for caller in callers {
        caller.await.expect("no call failed");
    }
    host.stop().await;
}

async fn the_hosts_own_services_ask_too(isolation: Isolation) {
    let key = TokenKey::ed25519();
    let keys = Keys::of(&[&key]);
    let host = start(isolation, &keys.section()).await;
    let raw = host.raw().await;
    let call = async |raw: &RawClient, path: &str, token: Option<&str>| {
        let headers: Vec<_> = token.iter().map(|token| ("authorization", *token)).collect();
        raw.call(path, &headers, framed(&())).await.code()
    };
    assert_eq!(call(&raw, HEALTH, None).await, Code::Ok);
    let token = format!("Bearer {}", key.token(&claims_of("ann")));
    for path in [REFLECTION, REFLECTION_V1ALPHA] {
        assert_eq!(call(&raw, path, None).await, Code::Unauthenticated);
        assert_ne!(call(&raw, path, Some(&token)).await, Code::Unauthenticated);
    }
    host.stop().await;

    let methods = "[methods.\"grpc.health.v1.Health\"]\nanonymous = false\nrequired_scopes = [\"probe\"]\n\
                   [methods.\"grpc.reflection.v1.ServerReflection\"]\nanonymous = true\n";
    let host = Setup::of(Plugin::faults(isolation))
        .with(&(keys.section() + methods))
        .start_without_asking()
        .await;
    let raw = host.raw().await;
    assert_eq!(call(&raw, HEALTH, None).await, Code::Unauthenticated);
    assert_eq!(call(&raw, HEALTH, Some(&token)).await, Code::PermissionDenied);
    let mut claims = claims_of("prober");
    claims["scope"] = json!("probe");
    let prober = format!("Bearer {}", key.token(&claims));
    assert_eq!(call(&raw, HEALTH, Some(&prober)).await, Code::Ok);
    for path in [REFLECTION, REFLECTION_V1ALPHA] {
        assert_ne!(call(&raw, path, None).await, Code::Unauthenticated);
    }
    assert!(
        !host.log.text().contains("no plugin serves"),
        "these are the host's own"
    );
    host.stop().await;
}

/// A browser asks by itself whether a page may call, without the page's token, which the call then needs.
async fn a_browsers_question_needs_no_token(isolation: Isolation) {
    let key = TokenKey::es256();
    let keys = Keys::of(&[&key]);
    let sections = "[server]\ngrpc_web_origins = [\"https://shop.example\"]\n".to_owned() + &keys.section();
    let host = start(isolation, &sections).await;
    let origin = ("origin", "https://shop.example");
    let question = [
        origin,
        ("access-control-request-method", "POST"),
        (
            "access-control-request-headers",
            "authorization,content-type,x-grpc-web",
        ),
    ];
    let answer = http1::send(host.address, Method::OPTIONS, ECHO, &question, "").await;
    assert_eq!(answer.http, StatusCode::NO_CONTENT);
    assert_eq!(
        answer.headers["access-control-allow-origin"],
        "https://shop.example"
    );
    assert_eq!(
        answer.headers["access-control-allow-headers"],
        "authorization,content-type,x-grpc-web"
    );
    let token = format!("Bearer {}", key.token(&claims_of("ann")));
    let web = ("content-type", "application/grpc-web+proto");
    for (headers, status) in [
        (vec![origin, web], "grpc-status: 16"),
        (
            vec![origin, web, ("authorization", token.as_str())],
            "grpc-status: 0",
        ),
    ] {
        let body = framed(&EchoRequest::default());
        let answer = http1::send(host.address, Method::POST, ECHO, &headers, body).await;
        // The page may read the refusal too.
        assert_eq!(
            answer.headers["access-control-allow-origin"],
            "https://shop.example"
        );
        let in_headers = answer.headers.get("grpc-status");
        let in_headers = in_headers.map(|status| format!("grpc-status: {}", status.to_str().expect("ASCII")));
        let text = in_headers.unwrap_or_else(|| String::from_utf8_lossy(&answer.data).into_owned());
        assert!(text.contains(status), "{text}");
    }
    // To another page the answer is no, whatever token it has.
    let stranger = [("origin", "https://other.example"), question[1], question[2]];
    let answer = http1::send(host.address, Method::OPTIONS, ECHO, &stranger, "").await;
    assert_eq!(answer.http, StatusCode::FORBIDDEN);
    host.stop().await;
}

#[tokio::test]
async fn keys_that_cannot_be_used_are_refused_at_start_with_file_and_field() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("keys.json");
    fs::write(&path, r#"{"keys":[{"kty":"RSA","e":"AQAB"}]}"#).expect("the folder is new");
    let sections = format!(
        "{}secret_file = {:?}\n[methods.\"faults.v1.Faults\"]\nrequired_scopes = [\"a b\"]\n",
        section(&path),
        folder.path().join("absent"),
    );
    let ended = Setup::of(Plugin::faults(Isolation::Call))
        .with(&sections)
        .run()
        .await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    let stderr = ended.stderr;
    assert!(stderr.contains("\"a b\" is no scope"), "{stderr}");
    let sections = section(&path);
    let ended = Setup::of(Plugin::faults(Isolation::Call))
        .with(&sections)
        .run()
        .await;
    let expected = format!(
        "issuers.accounts.keys: {}: keys[0]: `n` is missing",
        path.display()
    );
    assert!(ended.stderr.contains(&expected), "{}", ended.stderr);
    assert_eq!(ended.code, Some(3));
}

#[tokio::test]
async fn settings_that_would_leave_something_open_are_refused() {
    let key = TokenKey::ed25519();
    let keys = Keys::of(&[&key]);
    let scopes = "[methods.\"faults.v1.Faults\"]\nrequired_scopes = [\"x\"]\n";
    let open = "[methods.\"faults.v1.Faults/Echo\"]\nanonymous = true\n";
    for (sections, problem) in [
        (
            scopes.to_owned(),
            "there is no issuer whose tokens could have scopes",
        ),
        (
            keys.section() + scopes + open,
            "callers without a token have no scopes",
        ),
        (
            keys.section() + "[auth]\ncertificate_suffices = true\n",
            "is of no use without server.tls_client_ca",
        ),
        ("[issuers.accounts]\n".into(), "has no key to verify tokens with"),
        (
            "[issuers.accounts]\n".into(),
            "issuers.accounts.issuer: must be set",
        ),
        (
            "[issuers.accounts]\n".into(),
            "issuers.accounts.audiences: must be set",
        ),
        (
            keys.section().replace("accounts", "spiffe"),
            "stands for identities",
        ),
        (
            keys.section() + &keys.section().replace("accounts", "others"),
            "is that of [issuers.accounts] already",
        ),
    ] {
        let ended = Setup::of(Plugin::faults(Isolation::Call))
            .with(&sections)
            .run()
            .await;
        assert!(ended.stderr.contains(problem), "{problem}: {}", ended.stderr);
        assert_eq!(ended.code, Some(3), "{problem}");
    }
}
