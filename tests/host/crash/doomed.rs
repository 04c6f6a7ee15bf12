//! A host that dies of an operation on its store's file. It is this test binary again, with the host in it.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use redb::StorageBackend;
use redb::backends::FileBackend;
use rustix::process::{Signal, getpid, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, ChildStdout, Command};
use tonic::transport::{Channel, Endpoint};

use crate::support::{Isolation, PATIENCE, Plugin, Setup, within_patience};

const COMPONENT: &str = "MORTISE_TEST_DOOMED_COMPONENT";
const DATA: &str = "MORTISE_TEST_DOOMED_DATA";
const DOOM: &str = "MORTISE_TEST_DOOM";
/// Before the address, in what it prints.
const SERVES: &str = "the doomed host serves at ";

/// Which operation the host dies of, counted from 1 and from when it serves, and at which moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Doom {
    pub(super) operation: usize,
    pub(super) moment: Moment,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Moment {
    Before,
    /// Half of what is to be written is.
    Midst,
    After,
}

impl Moment {
    pub(super) const ALL: [Self; 3] = [Self::Before, Self::Midst, Self::After];
}

pub(super) struct Doomed {
    process: Child,
    address: String,
    /// Open for as long as it writes there.
    _stdout: BufReader<ChildStdout>,
}

impl Doomed {
    /// Starts it on new data and waits until it serves.
    pub(super) async fn start(component: &Path, data: &Path, doom: Doom) -> Self {
        let moment = Moment::ALL.iter().position(|moment| *moment == doom.moment);
        let doom = format!("{} {}", doom.operation, moment.expect("one of them"));
        let mut process = Command::new(std::env::current_exe().expect("it has a name"))
            .args(["--exact", "crash::doomed::host", "--nocapture"])
            .env(COMPONENT, component)
            .env(DATA, data)
            .env(DOOM, doom)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .expect("it starts");
        let mut stdout = BufReader::new(process.stdout.take().expect("it is piped"));
        let address = within_patience("a doomed host", async {
            let mut line = String::new();
            loop {
                line.clear();
                assert_ne!(stdout.read_line(&mut line).await.expect("text"), 0, "it serves");
                // The test harness writes on the same line.
                if let Some((_, address)) = line.split_once(SERVES) {
                    return address.trim().to_owned();
                }
            }
        });
        Self {
            address: address.await,
            process,
            _stdout: stdout,
        }
    }

    pub(super) fn channel(&self) -> Channel {
        let uri = format!("http://{}", self.address);
        Endpoint::from_shared(uri).expect("a URI").connect_lazy()
    }

    /// Waits for its end, of which nobody but itself is the cause.
    pub(super) async fn died(mut self) {
        use std::os::unix::process::ExitStatusExt;
        let status = within_patience("the end of a doomed host", self.process.wait()).await;
        let signal = status.expect("it is a child").signal();
        assert_eq!(signal, Some(Signal::KILL.as_raw()));
    }
}

/// Not a test of its own.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn host() {
    let Some(component) = std::env::var_os(COMPONENT) else {
        return;
    };
    let data = std::env::var_os(DATA).expect("where to work");
    let doom = std::env::var(DOOM).expect("what to die of");
    let (operation, moment) = doom.split_once(' ').expect("two numbers");
    let moment: usize = moment.parse().expect("a number");
    let store = Path::new(&data).join("store");
    DirBuilder::new()
        .mode(0o700)
        .create(&store)
        .expect("a new folder");
    let file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(store.join("store.redb"))
        .expect("a new file");
    let left = Arc::new(AtomicUsize::new(usize::MAX));
    let disk = DoomedFile {
        file: FileBackend::new(file).expect("nobody else has it"),
        moment: Moment::ALL[moment],
        left: left.clone(),
    };
    let plugin = Plugin::crafted(
        "order",
        "order.v1.OrderService",
        component.as_ref(),
        Isolation::Call,
    );
    let host = Setup::of(plugin).data(data.as_ref()).embed(disk).await;
    left.store(operation.parse().expect("a number"), Ordering::SeqCst);
    println!("{SERVES}{}", host.address());
    tokio::time::sleep(PATIENCE).await;
    host.stop().await;
}

#[derive(Debug)]
struct DoomedFile {
    file: FileBackend,
    moment: Moment,
    /// Operations until the one it dies of, that one included.
    left: Arc<AtomicUsize>,
}

impl DoomedFile {
    fn operation(
        &self,
        work: impl FnOnce() -> std::io::Result<()>,
        half: impl FnOnce() -> std::io::Result<()>,
    ) -> std::io::Result<()> {
        if self.left.fetch_sub(1, Ordering::SeqCst) != 1 {
            return work();
        }
        match self.moment {
            Moment::Before => {}
            Moment::Midst => half()?,
            Moment::After => work()?,
        }
        kill_process(getpid(), Signal::KILL)?;
        loop {
            std::thread::park();
        }
    }
}

impl StorageBackend for DoomedFile {
    fn len(&self) -> std::io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.operation(|| self.file.set_len(length), || Ok(()))
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.operation(|| self.file.sync_data(), || Ok(()))
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        let half = &data[..data.len() / 2];
        self.operation(|| self.file.write(offset, data), || self.file.write(offset, half))
    }

    fn close(&self) -> std::io::Result<()> {
        self.file.close()
    }
}
