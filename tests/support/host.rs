//! One `mortise serve` process.

use std::ffi::OsString;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use redb::StorageBackend;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tonic::transport::{Channel, Endpoint};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

use super::embedded::Embedded;
use super::log::Log;
use super::pb::caller::caller_client::CallerClient;
use super::pb::faults::faults_client::FaultsClient;
use super::pb::order::order_service_client::OrderServiceClient;
use super::pb::tally::v1::tally_client::TallyClient;
use super::plugins::{Plugin, target_folder};
use super::raw::RawClient;
use super::{until_some, within_patience};

/// A host to be: its configuration, and the folder it keeps its data in.
#[derive(Debug)]
pub(crate) struct Setup {
    sections: String,
    plugins: Vec<Plugin>,
    cache: String,
    filter: &'static str,
    data: Option<PathBuf>,
    environment: Vec<(&'static str, OsString)>,
}

impl Setup {
    /// A host with one plugin and the defaults, listening on a free port of the loopback interface.
    pub(crate) fn of(plugin: Plugin) -> Self {
        Self {
            sections: String::new(),
            plugins: vec![plugin],
            // Shared by all tests, because compiling the plugins takes longer than most of them.
            cache: format!("[cache]\ndir = {:?}\n", target_folder().join("compiled")),
            filter: "mortise=info",
            data: None,
            environment: Vec::new(),
        }
    }

    /// One more plugin.
    pub(crate) fn and(mut self, plugin: Plugin) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Sections of the configuration file.
    pub(crate) fn with(mut self, sections: &str) -> Self {
        self.sections.push_str(sections);
        self.sections.push('\n');
        self
    }

    /// Instead of the cache that all tests share.
    pub(crate) fn cache(mut self, section: &str) -> Self {
        self.cache = format!("{section}\n");
        self
    }

    /// Another `MORTISE_LOG`. It must let level info of `mortise` through.
    pub(crate) fn filter(mut self, filter: &'static str) -> Self {
        self.filter = filter;
        self
    }

    /// A variable of its environment.
    pub(crate) fn env(mut self, name: &'static str, value: impl Into<OsString>) -> Self {
        self.environment.push((name, value.into()));
        self
    }

    /// A data folder that outlives the host.
    pub(crate) fn data(mut self, folder: &Path) -> Self {
        self.data = Some(folder.to_owned());
        self
    }

    /// Starts it and waits until it serves.
    pub(crate) async fn start(self) -> Host {
        let services: Vec<_> = self.plugins.iter().map(|plugin| plugin.service.clone()).collect();
        let host = self.start_without_asking().await;
        for service in services {
            host.wait_until(&service, ServingStatus::Serving).await;
        }
        host
    }

    /// Starts it and waits until it listens, for hosts that not every client can ask.
    pub(crate) async fn start_without_asking(self) -> Host {
        let Process {
            child,
            log,
            folder,
            data,
        } = self.spawn("127.0.0.1:0");
        let listening = log
            .wait_for("listening", |line| line.message() == "listening")
            .await;
        // None if it listens on no network.
        let address = listening.field("address").as_str().unwrap_or("127.0.0.1:0");
        let address: SocketAddr = address.parse().expect("it is an address");
        Host {
            child,
            log,
            data,
            address,
            channel: Endpoint::from_shared(format!("http://{address}"))
                .expect("it is a URI")
                .connect_lazy(),
            _folder: folder,
        }
    }

    /// Starts it, expecting that it ends by itself.
    pub(crate) async fn run(self) -> Ended {
        self.run_at("127.0.0.1:0").await
    }

    /// The same, at an address.
    pub(crate) async fn run_at(self, address: &str) -> Ended {
        let mut process = self.spawn(address);
        let status = wait(&mut process.child).await;
        process.log.ended().await;
        Ended {
            code: status.code(),
            stderr: process.log.text(),
        }
    }

    /// Starts it within this process, on a disk of the test's own.
    pub(crate) async fn embed(self, disk: impl StorageBackend) -> Embedded {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let data = self.data.unwrap_or_else(|| folder.path().join("data"));
        let config = write_config(folder.path(), self.sections + &self.cache, &self.plugins);
        Embedded::start(&config, folder, data, disk).await
    }

    fn spawn(self, address: &str) -> Process {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let data = self.data.unwrap_or_else(|| folder.path().join("data"));
        let config = write_config(folder.path(), self.sections + &self.cache, &self.plugins);
        let mut child = Command::new(mortise())
            .arg("serve")
            .arg("--config")
            .arg(config)
            .args(["--listen", address, "--data"])
            .arg(&data)
            .env("MORTISE_LOG", self.filter)
            .env("SECRET_OF_THE_HOST", "must not reach a guest")
            .envs(self.environment)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Log::follow(child.stderr.take().expect("it is piped"));
        Process {
            child: OwnedChild(child),
            log,
            folder,
            data,
        }
    }
}

fn write_config(folder: &Path, sections: String, plugins: &[Plugin]) -> PathBuf {
    let config = folder.join("mortise.toml");
    let plugins: String = plugins.iter().map(Plugin::to_toml).collect();
    fs::write(&config, sections + &plugins).expect("the folder is new");
    config
}

/// Test runners that move binaries say at run time where they are.
pub(crate) fn mortise() -> PathBuf {
    std::env::var_os("CARGO_BIN_EXE_mortise")
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_mortise").into())
        .into()
}

struct Process {
    child: OwnedChild,
    log: Log,
    folder: TempDir,
    data: PathBuf,
}

/// Killed when dropped.
#[derive(Debug)]
pub(crate) struct OwnedChild(pub(crate) Child);

impl OwnedChild {
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.0.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("it has an id"), signal).expect("it runs");
    }
}

impl Drop for OwnedChild {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits for its end.
pub(crate) async fn wait(child: &mut OwnedChild) -> ExitStatus {
    until_some("the end of the host", async || {
        child.0.try_wait().expect("it is a child")
    })
    .await
}

/// A host that ended by itself.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
}

/// A host that serves.
#[derive(Debug)]
pub(crate) struct Host {
    child: OwnedChild,
    pub(crate) log: Log,
    /// Its data folder.
    pub(crate) data: PathBuf,
    pub(crate) address: SocketAddr,
    channel: Channel,
    _folder: TempDir,
}

impl Host {
    pub(crate) fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub(crate) fn faults(&self) -> FaultsClient<Channel> {
        // Answers over the default of 4 MiB are for the host to refuse.
        FaultsClient::new(self.channel()).max_decoding_message_size(64 << 20)
    }

    pub(crate) fn caller(&self) -> CallerClient<Channel> {
        CallerClient::new(self.channel()).max_decoding_message_size(64 << 20)
    }

    pub(crate) fn orders(&self) -> OrderServiceClient<Channel> {
        OrderServiceClient::new(self.channel())
    }

    pub(crate) fn tally(&self) -> TallyClient<Channel> {
        TallyClient::new(self.channel())
    }

    pub(crate) fn health(&self) -> HealthClient<Channel> {
        HealthClient::new(self.channel())
    }

    /// A new connection that sends what it is told to, and knows no deadline.
    pub(crate) async fn raw(&self) -> RawClient {
        RawClient::connect(self.address).await
    }

    /// Waits until the health of `service` is `status`.
    pub(crate) async fn wait_until(&self, service: &str, status: ServingStatus) {
        until_some(&format!("{service} is {status:?}"), async || {
            (self.health_of(service).await == Some(status)).then_some(())
        })
        .await;
    }

    /// None if the host does not know the service.
    pub(crate) async fn health_of(&self, service: &str) -> Option<ServingStatus> {
        let answer = self
            .health()
            .check(HealthCheckRequest {
                service: service.into(),
            })
            .await;
        match answer {
            Ok(answer) => Some(answer.into_inner().status()),
            Err(status) if status.code() == tonic::Code::NotFound => None,
            Err(status) => panic!("health of {service:?}: {status}\n{}", self.log.text()),
        }
    }

    /// Memory it has in use, as the system counts it.
    pub(crate) fn resident_bytes(&self) -> u64 {
        self.resident()()
    }

    /// The same, to be asked for elsewhere while it runs.
    pub(crate) fn resident(&self) -> impl Fn() -> u64 + Send + use<> {
        let file = format!("/proc/{}/status", self.child.0.id());
        move || {
            let status = fs::read_to_string(&file).expect("it runs");
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = resident.and_then(|resident| resident.trim().strip_suffix(" kB"));
            1024 * kib.and_then(|kib| kib.parse::<u64>().ok()).expect("proc(5)")
        }
    }

    /// User and system time it has used so far.
    pub(crate) fn cpu_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.0.id())).expect("it runs");
        // The second field, the program's name, may hold spaces and ends with the last parenthesis.
        let (_, fields) = stat.rsplit_once(')').expect("proc(5)");
        let fields = fields.split_whitespace();
        // Fields 14 and 15, in ticks of 10 ms.
        let ticks = fields
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().expect("proc(5)"));
        Duration::from_millis(10 * ticks.sum::<u64>())
    }

    /// Asks it to end.
    pub(crate) fn signal(&self, signal: Signal) {
        self.child.signal(signal);
    }

    /// Waits for its end.
    pub(crate) async fn exit(mut self) -> ExitStatus {
        let status = wait(&mut self.child).await;
        self.log.ended().await;
        status
    }

    /// Ends it as an init system does, and expects that it ends well.
    pub(crate) async fn stop(self) {
        let log = self.log.clone();
        self.signal(Signal::TERM);
        let status = self.exit().await;
        assert_eq!(status.code(), Some(0), "{}", log.text());
    }

    /// Ends it as a crash would.
    pub(crate) async fn kill(self) {
        self.signal(Signal::KILL);
        within_patience("the end of a killed host", self.exit()).await;
    }
}
