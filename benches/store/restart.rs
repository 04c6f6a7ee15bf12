//! How long a store takes to open after its host was killed in the middle of commits.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use bytes::Bytes;
use mortise::capability::Namespace;
use mortise::capability::store::{Access, Options, Store};

/// The argument of the process that is killed.
pub(crate) const CHILD: &str = "fill";
const VALUE_BYTES: usize = 4_000;
const KEYS_AT_ONCE: u64 = 1_000;

pub(crate) fn run() {
    println!("\ndata        file        opened after a kill in  for 10 GB (goal <= 5 s)");
    for gigabytes in [0.25, 1.0] {
        let directory = tempfile::tempdir().expect("a folder");
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args([CHILD.as_ref(), directory.path().as_os_str()])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let wanted = gigabytes * 1e9;
        // It goes on writing when it is killed.
        for line in lines {
            let bytes: f64 = line.expect("text").parse().expect("a number");
            if bytes >= wanted {
                break;
            }
        }
        child.kill().expect("killed");
        child.wait().expect("gone");
        let began = Instant::now();
        let store = Store::open(directory.path(), Options::default()).expect("it opens");
        let took = began.elapsed().as_secs_f64() * 1e3;
        let file = store.file_bytes().unwrap_or_default() as f64;
        store.close();
        println!(
            "{:7.2} GB  {:7.2} GB  {took:19.1} ms  {:9.2} s",
            wanted / 1e9,
            file / 1e9,
            took / gigabytes / 100.0
        );
    }
}

/// Writes for ever, and says how much is committed.
pub(crate) fn fill(directory: &Path) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let store = Store::open(directory, Options::default()).expect("a store");
    let namespace = Namespace::new("bench").expect("a name");
    let value = Bytes::from(vec![7; VALUE_BYTES]);
    runtime.block_on(async {
        for batch in 0u64.. {
            let mut transaction = store.begin(&namespace, Access::ReadWrite);
            for key in 0..KEYS_AT_ONCE {
                let key = (batch * KEYS_AT_ONCE + key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
                transaction
                    .put(&key.to_be_bytes(), value.clone())
                    .expect("staged");
            }
            store.commit(transaction).await.expect("committed");
            println!("{}", (batch + 1) * KEYS_AT_ONCE * VALUE_BYTES as u64);
        }
    });
}
