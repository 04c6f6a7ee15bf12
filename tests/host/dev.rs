//! `mortise dev`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::host::{OwnedChild, mortise, wait};
use crate::support::log::Log;
use crate::support::plugins::target_folder;

/// The crate has to be built first.
const BUILD: Duration = Duration::from_secs(600);

/// A `mortise dev` of the crate in `plugins/minimal`, which serves.
struct Dev {
    child: OwnedChild,
    log: Log,
    address: String,
}

impl Dev {
    async fn start(temporary: &Path, folder: &Path, flags: &[&str]) -> Self {
        let mut child = Command::new(mortise())
            .arg("dev")
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/minimal"))
            .args(["--listen", "127.0.0.1:0"])
            .args(flags)
            .env("CARGO", env!("CARGO"))
            .env("CARGO_TARGET_DIR", target_folder())
            .env("TMPDIR", temporary)
            .env_remove("CARGO_ENCODED_RUSTFLAGS")
            .env_remove("RUSTFLAGS")
            .current_dir(folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary starts");
        let log = Log::follow(child.stderr.take().expect("it is piped"));
        let child = OwnedChild(child);
        let ready = async {
            loop {
                if let Some(line) = line(&log, "mortise: ready: ") {
                    return line;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let ready = tokio::time::timeout(BUILD, ready).await;
        let ready = ready.unwrap_or_else(|_| panic!("it does not serve:\n{}", log.text()));
        let (_, address) = ready.rsplit_once(" on ").expect("it says where");
        Self {
            child,
            log,
            address: address.to_owned(),
        }
    }

    fn call(&self, method: &str, request: &str) -> String {
        stdout(
            Command::new(mortise())
                .arg("call")
                .arg(format!("greeter.v1.Greeter/{method}"))
                .args(["--addr", &self.address, "-d", request]),
        )
    }

    async fn stop(mut self) {
        self.child.signal(Signal::INT);
        let status = wait(&mut self.child).await;
        self.log.ended().await;
        assert_eq!(status.code(), Some(0), "{}", self.log.text());
    }
}

fn line(log: &Log, beginning: &str) -> Option<String> {
    let text = log.text();
    let line = text.lines().find(|line| line.starts_with(beginning));
    line.map(str::to_owned)
}

#[track_caller]
fn stdout(command: &mut Command) -> String {
    let output: Output = command.output().expect("the binary starts");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).expect("it is there");
    entries.map(|entry| entry.expect("it is there").path()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_ephemeral_works_like_the_rest_and_leaves_nothing_behind() {
    let (temporary, folder) = (tempfile::tempdir(), tempfile::tempdir());
    let (temporary, folder) = (temporary.expect("a folder"), folder.expect("a folder"));
    // The second start finds nothing of the first.
    for _ in 0..2 {
        let dev = Dev::start(temporary.path(), folder.path(), &["--ephemeral"]).await;
        let said = dev.call("CountHellos", r#"{"name": "Ann"}"#);
        assert!(!said.contains('1'), "{said}");
        dev.call("SayHello", r#"{"name": "Ann"}"#);
        let said = dev.call("CountHellos", r#"{"name": "Ann"}"#);
        assert!(said.contains('1'), "{said}");

        let said = line(&dev.log, "mortise: ephemeral: ").expect("it says so");
        let (_, data) = said
            .rsplit_once("--data ")
            .expect("it says where it is administered");
        let administration: [&[&str]; 4] = [
            &["status"],
            &["store", "stats"],
            &["store", "scan", "minimal"],
            &["timers", "list", "minimal"],
        ];
        for command in administration {
            stdout(Command::new(mortise()).args(command).args(["--data", data]));
        }
        assert!(!Path::new(data).join("store").exists());
        dev.stop().await;
        assert_eq!(entries(temporary.path()), Vec::<PathBuf>::new());
        assert_eq!(entries(folder.path()), Vec::<PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn state_is_kept_in_the_data_folder_that_is_named() {
    let (temporary, folder) = (tempfile::tempdir(), tempfile::tempdir());
    let (temporary, folder) = (temporary.expect("a folder"), folder.expect("a folder"));
    for _ in 0..2 {
        let dev = Dev::start(temporary.path(), folder.path(), &["--data", "data"]).await;
        dev.call("SayHello", r#"{"name": "Ann"}"#);
        dev.stop().await;
    }
    assert!(folder.path().join("data/store/store.redb").exists());
    let dev = Dev::start(temporary.path(), folder.path(), &["--data", "data"]).await;
    let said = dev.call("CountHellos", r#"{"name": "Ann"}"#);
    assert!(said.contains('2'), "{said}");
    dev.stop().await;
}

#[test]
fn to_keep_nothing_and_where_to_keep_it_exclude_each_other() {
    let output = Command::new(mortise())
        .args(["dev", "--ephemeral", "--data", "data"])
        .output()
        .expect("the binary starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
