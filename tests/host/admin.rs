//! Administration: who may, what it tells, and what it changes.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use http::Method;
use mortise::admin::pb::{
    GenerationState, GetLogFilterRequest, HostState, ListGenerationsRequest, ReloadPluginRequest,
    SetLogFilterRequest,
};
use rustix::process::Signal;
use serde_json::Value;
use tonic::Code;

use crate::support::admin::duration;
use crate::support::log::Line;
use crate::support::pb::faults::*;
use crate::support::{Host, Isolation, LiveFile, Plugin, Setup, components, http1, until_some};

const TCP: &str = "[admin]\nlisten = \"127.0.0.1:0\"";

/// Runs a command against `host`.
pub(crate) fn mortise(host: &Host, args: &[&str]) -> Output {
    mortise_with(&host.data, args)
}

/// Runs a command for the host, running or not, that has the data folder `data`.
pub(crate) fn mortise_with(data: &Path, args: &[&str]) -> Output {
    let output = Command::new(env!("CARGO_BIN_EXE_mortise"))
        .args(args)
        .arg("--data")
        .arg(data)
        .output();
    output.expect("the binary starts")
}

#[track_caller]
pub(crate) fn stdout(output: Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[track_caller]
pub(crate) fn stderr(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).expect("UTF-8")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_socket_is_its_users_alone_and_outlives_no_host() {
    let data = tempfile::tempdir().expect("a folder");
    let setup = || Setup::of(Plugin::faults(Isolation::Call)).data(data.path());
    let socket = data.path().join("admin.sock");
    let host = setup().start().await;
    let metadata = fs::metadata(&socket).expect("there");
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
    // A crash leaves it behind, and the next host replaces it.
    host.kill().await;
    assert!(socket.exists());
    let host = setup().start().await;
    assert_eq!(host.status().await.state(), HostState::Serving);
    host.stop().await;
    assert!(!socket.exists());
}

/// Only root can become somebody else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_user_may_not_connect() {
    let folder = tempfile::tempdir().expect("a folder");
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .data(folder.path())
        .start()
        .await;
    if rustix::process::geteuid().is_root() {
        // The mode of the socket alone has to do: the folder is open.
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("it is ours");
        let binary = folder.path().join("mortise");
        fs::copy(env!("CARGO_BIN_EXE_mortise"), &binary).expect("copied");
        let mut command = Command::new(&binary);
        command
            .args(["status", "--data"])
            .arg(&host.data)
            .current_dir("/");
        std::os::unix::process::CommandExt::uid(&mut command, 65534);
        let text = stderr(command.output().expect("it starts"));
        assert!(text.contains("this user may not administer the host"), "{text}");
        assert!(text.contains("run the command as that user"), "{text}");
    }
    let mode = fs::metadata(host.data.join("admin.sock"))
        .expect("there")
        .permissions()
        .mode();
    assert_eq!(mode & 0o077, 0, "nobody else may write to it, and so not connect");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn status_tells_how_plugins_are_doing() {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(Isolation::Call).file(&live.path))
        .start()
        .await;
    let looping = host.raw().await;
    let looping = tokio::spawn(async move {
        looping
            .unary("/faults.v1.Faults/Loop", &[], &LoopRequest {})
            .await
    });
    let status = until_some("the call in flight", async || {
        let status = host.status().await;
        (status.plugins[0].calls_in_flight == 1).then_some(status)
    })
    .await;
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!((status.state(), status.ready), (HostState::Serving, true));
    assert_eq!(status.address, host.address.to_string());
    assert!(duration(status.uptime) < Duration::from_secs(600));
    let [plugin] = &status.plugins[..] else {
        panic!("{status:?}");
    };
    assert_eq!((plugin.name.as_str(), &plugin.refusal), ("faults", &None));
    assert_eq!(plugin.file, live.path.display().to_string());
    let generation = plugin.live.as_ref().expect("it is live");
    assert_eq!((generation.number, generation.version.as_str()), (1, "1"));
    assert!(generation.digest.starts_with("sha256:"), "{}", generation.digest);

    // A file that is refused changes nothing but what is said of it.
    live.rename_over(b"no component");
    let mut admin = host.admin().await;
    let plugin = "faults".to_owned();
    let refused = admin
        .reload_plugin(ReloadPluginRequest {
            plugin: plugin.clone(),
        })
        .await;
    let refused = refused.expect_err("no component");
    assert_eq!(refused.code(), Code::FailedPrecondition);
    let refusal = host.status().await.plugins[0].refusal.clone().expect("refused");
    assert_eq!(refusal.reason, refused.message());
    assert!(refusal.refused_at.is_some());
    assert_eq!(
        host.status().await.plugins[0]
            .live
            .as_ref()
            .map(|live| live.number),
        Some(1)
    );

    // The next generation takes over, and the call ends on the one before it.
    live.rename_over(&fs::read(&components().faults_2).expect("it was built"));
    let reloaded = admin
        .reload_plugin(ReloadPluginRequest {
            plugin: plugin.clone(),
        })
        .await;
    let reloaded = reloaded.expect("version 2").into_inner();
    assert_eq!(
        reloaded.live.as_ref().map(|live| (live.number, &*live.version)),
        Some((2, "2"))
    );
    assert!(host.status().await.plugins[0].refusal.is_none());
    let again = admin
        .reload_plugin(ReloadPluginRequest {
            plugin: plugin.clone(),
        })
        .await;
    assert!(!again.expect("the same").into_inner().changed);
    let states = async || {
        let request = ListGenerationsRequest {
            plugin: plugin.clone(),
        };
        let list = host.admin().await.list_generations(request).await;
        let generations = list.expect("answered").into_inner().generations;
        let states = generations
            .iter()
            .map(|generation| (generation.number, generation.state()));
        states.collect::<Vec<_>>()
    };
    assert_eq!(
        states().await,
        [(1, GenerationState::Draining), (2, GenerationState::Live)]
    );
    looping.abort();
    until_some("the end of the old one", async || {
        (states().await == [(1, GenerationState::Unloaded), (2, GenerationState::Live)]).then_some(())
    })
    .await;

    let unknown = ReloadPluginRequest {
        plugin: "fault\ns".into(),
    };
    let status = admin.reload_plugin(unknown).await.expect_err("no such plugin");
    assert_eq!(status.code(), Code::NotFound);
    assert!(status.message().ends_with("there are: faults"), "{status}");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_log_filter_changes_while_the_host_runs() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).start().await;
    let mut admin = host.admin().await;
    let answered = |line: &Line| line.message() == "call answered";
    host.faults().count(CountRequest {}).await.expect("answered");
    assert!(host.log.all(answered).is_empty());
    let set = async |admin: &mut mortise::admin::pb::admin_client::AdminClient<_>, filter: &str| {
        let filter = filter.to_owned();
        let set = admin.set_log_filter(SetLogFilterRequest { filter }).await;
        set.map(|set| set.into_inner().previous)
    };
    assert_eq!(
        set(&mut admin, "mortise=debug").await.expect("a filter"),
        "mortise=info"
    );
    host.faults().count(CountRequest {}).await.expect("answered");
    host.log.wait_for("a line of debug", answered).await;
    let current = admin
        .get_log_filter(GetLogFilterRequest {})
        .await
        .expect("answered");
    assert_eq!(current.into_inner().filter, "mortise=debug");

    for wrong in ["", "inof", "a=b=c", "mortise=loud", &"x".repeat(5000)] {
        let refused = set(&mut admin, wrong).await.expect_err("no filter");
        assert_eq!(refused.code(), Code::InvalidArgument, "{wrong}");
    }
    // By the fields of a call's span, as operators look at one plugin.
    let before = host.log.len();
    set(&mut admin, "mortise=info,[call{plugin=faults}]=debug")
        .await
        .expect("a filter");
    host.faults().count(CountRequest {}).await.expect("answered");
    host.log
        .wait_for_after(before, "a line of the span", answered)
        .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn probes_and_collectors_are_answered_on_tcp_and_nothing_can_be_changed_there() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).with(TCP).start().await;
    let address = host.admin_address().await;
    for (path, text) in [("/healthz", "alive\n"), ("/readyz", "ready\n")] {
        let answer = host.page(path).await;
        assert_eq!((answer.http.as_u16(), &answer.data[..]), (200, text.as_bytes()));
    }
    let metrics = host.page("/metrics").await;
    assert_eq!(metrics.http, 200);
    let media_type = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(metrics.headers["content-type"], media_type);
    let text = std::str::from_utf8(&metrics.data).expect("UTF-8");
    let page = crate::support::exposition::Exposition::parse(text);
    assert_eq!(
        page.value("mortise_live_generation", &[("plugin", "faults")]),
        Some(1.0)
    );

    assert_eq!(host.page("/").await.http, 404);
    let posted = http1::send(address, Method::POST, "/metrics", &[], "").await;
    assert_eq!(
        (posted.http.as_u16(), &posted.headers["allow"]),
        (405, &"GET, HEAD".parse().expect("a value"))
    );
    // gRPC is for the socket.
    let grpc = [("content-type", "application/grpc-web+proto")];
    let path = "/mortise.admin.v1.Admin/SetLogFilter";
    let refused = http1::send(address, Method::POST, path, &grpc, &[0u8; 5][..]).await;
    assert_eq!(refused.http, 404);
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_host_that_drains_is_not_ready() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).with(TCP).start().await;
    let raw = host.raw().await;
    // Keeps the host from ending.
    let call = raw.call_slowly("/faults.v1.Faults/Echo", &[]);
    assert_eq!(host.page("/readyz").await.http, 200);
    let alive = host.page("/healthz").await.http;
    host.signal(Signal::TERM);
    let refused = until_some("not ready", async || {
        let answer = host.page("/readyz").await;
        (answer.http == 503).then_some(answer)
    })
    .await;
    assert_eq!(&refused.data[..], b"draining\n");
    assert_eq!(host.page("/healthz").await.http, alive);
    let status = host.status().await;
    assert_eq!((status.state(), status.ready), (HostState::Draining, false));
    assert_eq!(host.metrics().await.value("mortise_draining", &[]), Some(1.0));
    drop((call, raw));
    assert_eq!(host.exit().await.code(), Some(0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_that_others_reach_are_refused_unless_allowed() {
    let listen = "[admin]\nlisten = \"0.0.0.0:0\"";
    let ended = Setup::of(Plugin::faults(Isolation::Call))
        .with(listen)
        .run()
        .await;
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    for part in [
        "admin.listen",
        "other machines can reach",
        "admin.allow_remote = true",
    ] {
        assert!(ended.stderr.contains(part), "{}", ended.stderr);
    }
    let allowed = format!("{listen}\nallow_remote = true");
    let host = Setup::of(Plugin::faults(Isolation::Call))
        .with(&allowed)
        .start()
        .await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_find_the_host_by_its_data_folder() {
    let live = LiveFile::copy_of(&components().faults);
    let host = Setup::of(Plugin::faults(Isolation::Call).file(&live.path))
        .start()
        .await;
    let page = stdout(mortise(&host, &["status"]));
    for part in ["serving, ready", "PLUGIN", "faults", &host.address.to_string()] {
        assert!(page.contains(part), "{page}");
    }
    let status: Value = serde_json::from_str(&stdout(mortise(&host, &["status", "--json"]))).expect("JSON");
    assert_eq!(status["ready"], true);
    assert_eq!(status["state"], "HOST_STATE_SERVING");
    assert_eq!(status["plugins"][0]["live"]["number"], 1);

    assert!(stdout(mortise(&host, &["reload", "faults"])).contains("was live already"));
    live.rename_over(b"no component");
    let text = stderr(mortise(&host, &["reload", "faults"]));
    assert!(text.contains("live.wasm") && !text.contains('\u{1b}'), "{text}");
    assert!(stdout(mortise(&host, &["status"])).contains("The file of faults was refused"));
    let generations = stdout(mortise(&host, &["generations", "faults"]));
    assert!(
        generations.contains("live") && generations.contains("sha256:"),
        "{generations}"
    );

    assert_eq!(stdout(mortise(&host, &["log-filter"])), "mortise=info\n");
    assert_eq!(stdout(mortise(&host, &["log-filter", "debug"])), "mortise=info\n");
    assert_eq!(stdout(mortise(&host, &["log-filter"])), "debug\n");
    let text = stderr(mortise(&host, &["log-filter", "inof"]));
    assert!(text.contains("did you mean \"info\""), "{text}");

    let metrics = stdout(mortise(&host, &["metrics"]));
    crate::support::exposition::Exposition::parse(&metrics);
    host.stop().await;
}
