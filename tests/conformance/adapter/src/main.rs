//! The server under test of `connectconformance`.
//!
//! The suite starts it once for each configuration of a server. It reads a length-prefixed
//! `ServerCompatRequest` from standard input, starts a host that is configured so, answers with a
//! `ServerCompatResponse` on standard output, and stops the host when it is told to stop.
//!
//! From the environment: `MORTISE` (the host), `PLUGIN` (the component), `CACHE` (a folder for compiled
//! plugins) and `ISOLATION` (`call` or `reuse`).

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context as _, Result, bail, ensure};
use prost::Message as _;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStderr, Command};
use tokio::signal::unix::{SignalKind, signal};

mod pb {
    #![allow(clippy::all, dead_code, reason = "generated")]
    include!(concat!(env!("OUT_DIR"), "/protos.rs"));
    pub use connectrpc::conformance::v1::*;
}

/// The suite's messages hold little more than certificates.
const MAX_REQUEST_BYTES: u32 = 1 << 20;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let mut stop = signal(SignalKind::terminate())?;
    let request = read_request().await.context("the suite's request")?;
    let folder = tempfile::tempdir()?;
    let config = folder.path().join("mortise.toml");
    fs::write(&config, configuration(&request, folder.path())?)?;
    let mut host = Command::new(variable("MORTISE")?)
        .arg("serve")
        .arg("--config")
        .arg(config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("the host does not start")?;
    let mut log = BufReader::new(host.stderr.take().context("it is piped")?).lines();
    let port = listening(&mut log).await?;
    let pem_cert = request.server_creds.map(|creds| creds.cert).unwrap_or_default();
    answer(pb::ServerCompatResponse {
        host: "127.0.0.1".into(),
        port: port.into(),
        pem_cert,
    })
    .await?;
    tokio::select! {
        _ = stop.recv() => end(&mut host, &mut log).await,
        ended = relay(&mut log) => {
            ended?;
            bail!("the host ended by itself: {}", host.wait().await?)
        }
    }
}

async fn read_request() -> Result<pb::ServerCompatRequest> {
    let mut input = tokio::io::stdin();
    let length = input.read_u32().await?;
    ensure!(length <= MAX_REQUEST_BYTES, "{length} bytes are too many");
    let mut bytes = vec![0; length as usize];
    input.read_exact(&mut bytes).await?;
    Ok(pb::ServerCompatRequest::decode(&bytes[..])?)
}

async fn answer(answer: pb::ServerCompatResponse) -> Result<()> {
    let message = answer.encode_to_vec();
    let mut output = tokio::io::stdout();
    output.write_u32(u32::try_from(message.len())?).await?;
    output.write_all(&message).await?;
    Ok(output.flush().await?)
}

/// The host's configuration file. Whatever the request does not speak of stays at its default.
fn configuration(request: &pb::ServerCompatRequest, folder: &Path) -> Result<String> {
    let mut config = String::from("[server]\nlisten = \"127.0.0.1:0\"\n");
    writeln!(config, "data = {:?}", folder.join("data"))?;
    if request.message_receive_limit > 0 {
        writeln!(config, "max_request_bytes = {}", request.message_receive_limit)?;
    }
    if request.use_tls {
        let creds = request.server_creds.as_ref().context("TLS without credentials")?;
        write_file(&mut config, folder, "tls_certificate", &creds.cert)?;
        write_file(&mut config, folder, "tls_key", &creds.key)?;
        if !request.client_tls_cert.is_empty() {
            write_file(&mut config, folder, "tls_client_ca", &request.client_tls_cert)?;
        }
    }
    // The suite counts the details of a status, and knows none of the host's.
    writeln!(config, "error_details = false")?;
    writeln!(config, "[log]\nformat = \"json\"")?;
    writeln!(config, "[cache]\ndir = {:?}", variable("CACHE")?)?;
    writeln!(config, "[plugins.conformance]")?;
    writeln!(config, "file = {:?}", variable("PLUGIN")?)?;
    writeln!(config, "isolation = {:?}", variable("ISOLATION")?)?;
    Ok(config)
}

/// A file in `folder`, under the key that names it.
fn write_file(config: &mut String, folder: &Path, key: &str, content: &[u8]) -> Result<()> {
    let file = folder.join(key);
    fs::write(&file, content)?;
    Ok(writeln!(config, "{key} = {file:?}")?)
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} in the environment: use run.sh"))
}

/// The port that the host says it listens on.
async fn listening(log: &mut Lines<BufReader<ChildStderr>>) -> Result<u16> {
    while let Some(line) = log.next_line().await? {
        let entry: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        let fields = &entry["fields"];
        if fields["message"] == "listening" {
            let address = fields["address"].as_str().context("an address")?;
            let (_, port) = address.rsplit_once(':').context("an address has a port")?;
            return Ok(port.parse()?);
        }
        show(&line, &entry);
    }
    bail!("the host ended before it listened")
}

async fn relay(log: &mut Lines<BufReader<ChildStderr>>) -> Result<()> {
    while let Some(line) = log.next_line().await? {
        show(&line, &serde_json::from_str(&line).unwrap_or_default());
    }
    Ok(())
}

/// Shows what goes wrong in the host, as the suite shows what this process writes to standard error.
fn show(line: &str, entry: &serde_json::Value) {
    if entry["level"] != "INFO" {
        eprintln!("{line}");
    }
}

async fn end(host: &mut Child, log: &mut Lines<BufReader<ChildStderr>>) -> Result<()> {
    let id = host.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    kill_process(id.context("the host runs")?, Signal::TERM)?;
    // Its log is read to the end, so that it does not wait for a reader.
    relay(log).await?;
    let status = host.wait().await?;
    ensure!(status.success(), "the host ended badly: {status}");
    Ok(())
}
