//! `mortise dev`: the source is saved, cargo builds it, and the component is swapped in. What the host takes begins
//! when cargo has finished.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use super::until_live;
use crate::client::Client;
use crate::load::block_on;
use crate::report::{Bound, Scenario};
use crate::scenarios::Context;
use crate::support::components;
use crate::support::server::free_address;

const UNSEEN: &str = "dev, not seen before";
const SEEN: &str = "dev, seen before";
const WHOLE: &str = "source saved to first call, ms";
const HOST: &str = "built to first call, ms";

/// For cargo to build everything.
const FIRST_BUILD: Duration = Duration::from_secs(600);

pub(super) fn run(context: &Context, scenario: &mut Scenario) {
    let folder = tempfile::tempdir().expect("a folder");
    project(folder.path());
    let source = folder.path().join("src/lib.rs");
    let text = std::fs::read_to_string(&source).expect("it was made");
    let host = Dev::start(folder.path());
    block_on(async {
        let client = host.client().await;
        let variants = if context.quick { 1 } else { 5 };
        for name in [UNSEEN, SEEN] {
            // The last one is live when the first is to be seen again.
            for number in 1..=variants + 1 {
                host.forget_builds();
                let variant = components::variant_name(number);
                let text = text.replace(&components::variant_name(0), &variant);
                let saved = Instant::now();
                std::fs::write(&source, text).expect("the folder is ours");
                let whole = until_live(&client, number, saved).await;
                let built = host.last_build();
                let after = (saved + whole).saturating_duration_since(built);
                scenario.measured(name, WHOLE, whole.as_secs_f64() * 1e3);
                scenario.measured(name, HOST, after.as_secs_f64() * 1e3);
            }
        }
    });
    for (name, most) in [(UNSEEN, 50.0), (SEEN, 5.0)] {
        let after = scenario.spread(name, HOST);
        scenario.target("P6", format!("{name}: {HOST}"), after, Bound::AtMost(most));
    }
}

/// The benchmark's plugin, as a crate of its own.
fn project(folder: &Path) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let plugin = root.join("plugins/bench");
    for file in [
        "build.rs",
        "src/lib.rs",
        "src/place.rs",
        "proto/bench/v1/bench.proto",
    ] {
        let to = folder.join(file);
        std::fs::create_dir_all(to.parent().expect("it is in the folder")).expect("the folder is ours");
        std::fs::copy(plugin.join(file), to).expect("it is there");
    }
    let (sdk, codegen) = (root.join("guest-sdk"), root.join("guest-sdk/codegen"));
    let manifest = format!(
        "[package]\nname = \"bench\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\
         [lib]\ncrate-type = [\"cdylib\", \"rlib\"]\n\
         [dependencies]\nmortise-guest = {{ path = {sdk:?} }}\nprost = \"0.14\"\n\
         [build-dependencies]\nmortise-guest-codegen = {{ path = {codegen:?} }}\n\
         [workspace]\n\
         [profile.dev]\nopt-level = 1\ndebug = false\nstrip = \"debuginfo\"\n"
    );
    std::fs::write(folder.join("Cargo.toml"), manifest).expect("the folder is ours");
    // The versions that the repository's own plugins are built with.
    std::fs::copy(root.join("plugins/Cargo.lock"), folder.join("Cargo.lock")).expect("it is there");
}

/// A running `mortise dev`; killed when dropped.
struct Dev {
    process: Child,
    address: std::net::SocketAddr,
    builds: Receiver<Instant>,
    _data: tempfile::TempDir,
}

impl Dev {
    fn start(project: &Path) -> Self {
        let data = tempfile::tempdir().expect("a folder");
        let address = free_address();
        let mut process = Command::new(env!("CARGO_BIN_EXE_mortise"))
            .arg("dev")
            .arg(project)
            .args(["--listen", &address.to_string(), "--data"])
            .arg(data.path())
            .env("CARGO_TARGET_DIR", components::target_folder().join("bench-dev"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("mortise starts");
        let (finished, builds) = channel();
        let lines = BufReader::new(process.stderr.take().expect("piped"));
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                if line.contains("Finished") && finished.send(Instant::now()).is_err() {
                    return;
                }
            }
        });
        Self {
            process,
            address,
            builds,
            _data: data,
        }
    }

    /// Connected when it serves.
    async fn client(&self) -> Client {
        let started = Instant::now();
        while std::net::TcpStream::connect(self.address).is_err() {
            assert!(started.elapsed() < FIRST_BUILD, "mortise dev does not serve");
            std::thread::sleep(Duration::from_millis(50));
        }
        let client = Client::connect(self.address).await;
        until_live(&client, 0, Instant::now()).await;
        client
    }

    fn forget_builds(&self) {
        self.builds.try_iter().for_each(drop);
    }

    /// Cargo may say so after the first call: the host does not wait for its end.
    fn last_build(&self) -> Instant {
        let first = self.builds.recv_timeout(FIRST_BUILD).expect("cargo has built it");
        self.builds.try_iter().last().unwrap_or(first)
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // It may have ended by itself, which the measurement has then noticed.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
