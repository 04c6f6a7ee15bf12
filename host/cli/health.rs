//! `mortise health`: whether a host is well, for probes.

use std::time::Duration;

use anyhow::Context as _;

use super::admin::HostArgs;
use super::connect::{TlsArgs, connect};
use super::exit::UsageError;
use super::{print, printable};
use crate::admin::pb::{GetStatusRequest, GetStatusResponse, HostState};
use crate::server::health::pb::HealthCheckRequest;
use crate::server::health::pb::health_check_response::ServingStatus;
use crate::server::health::pb::health_client::HealthClient;

/// Asks whether a host is well, as probes do.
///
/// Without ADDR it asks the host with the data folder that --data or the configuration file names, by default
/// `mortise-data` in the current folder, over the socket that is there: whether it has every plugin loaded, its
/// store works and it is not draining. Clients' TLS and tokens do not matter to that. With ADDR it asks the
/// health service (`grpc.health.v1.Health`) of any gRPC server.
///
/// Exit codes: 0 if it is serving, 4 if it says that it is not, 1 if it cannot be asked or does not answer in
/// time.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = "\
Examples:
  mortise health
  mortise health --config /etc/mortise/mortise.toml
  mortise health 127.0.0.1:50051 --service order.v1.OrderService
  mortise health unix:/run/mortise/mortise.sock
  mortise health orders.example:443 --tls --timeout 3s")]
pub(super) struct HealthArgs {
    /// The server, HOST:PORT or unix:PATH.
    #[arg(value_name = "ADDR", conflicts_with_all = ["config", "data"])]
    addr: Option<String>,

    /// Asks for one service, instead of the server as a whole.
    #[arg(
        long,
        value_name = "NAME",
        requires = "addr",
        default_value = "",
        hide_default_value = true
    )]
    service: String,

    /// How long the answer may take, such as 500ms or 2s.
    #[arg(long, value_name = "DURATION", value_parser = super::timeout::parse, default_value = "1s")]
    timeout: Duration,

    #[command(flatten)]
    host: HostArgs,

    #[command(flatten)]
    tls: TlsArgs,
}

/// What was asked answers, and is not serving.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(super) struct NotServing(String);

pub(super) fn run(args: HealthArgs) -> anyhow::Result<()> {
    match &args.addr {
        Some(addr) => {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .context("cannot start the runtime")?;
            runtime
                .block_on(async { tokio::time::timeout(args.timeout, ask(addr, &args)).await })
                .with_context(|| no_answer(args.timeout))??;
        }
        None if args.tls.asked_for() => {
            return Err(UsageError("TLS is spoken to an ADDR, and there is none".into()).into());
        }
        None => ask_host(&args)?,
    }
    print("SERVING\n")
}

async fn ask(addr: &str, args: &HealthArgs) -> anyhow::Result<()> {
    let mut client = HealthClient::new(connect(addr, &args.tls).await?);
    let service = args.service.clone();
    let answer = client.check(HealthCheckRequest { service }).await;
    let answer = answer.map_err(|status| {
        let message = printable(status.message());
        anyhow::anyhow!("{addr} did not say: {:?}: {message}", status.code())
    })?;
    match answer.get_ref().status() {
        ServingStatus::Serving => Ok(()),
        other => Err(NotServing(format!("{addr} says {}", other.as_str_name())).into()),
    }
}

fn ask_host(args: &HealthArgs) -> anyhow::Result<()> {
    let timeout = args.timeout;
    let status = args.host.with(async |mut client| {
        let answer = tokio::time::timeout(timeout, client.get_status(GetStatusRequest {})).await;
        let answer = answer.map_err(|_| tonic::Status::deadline_exceeded(no_answer(timeout)))?;
        Ok(answer?.into_inner())
    })?;
    match status.ready {
        true => Ok(()),
        false => Err(NotServing(format!("the host is not ready: {}", why_not(&status))).into()),
    }
}

fn why_not(status: &GetStatusResponse) -> &'static str {
    match status.state() {
        HostState::Draining => "it is draining",
        HostState::Starting => "it is starting, and not every plugin is loaded",
        HostState::Serving | HostState::Unspecified => "its store does not work",
    }
}

fn no_answer(timeout: Duration) -> String {
    format!("no answer within {}", humantime::format_duration(timeout))
}
