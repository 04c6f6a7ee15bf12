//! For how long one page of a scan holds the thread that asks for it: the largest pages that the host gives.

use std::time::Instant;

use bytes::Bytes;
use mortise::capability::Namespace;
use mortise::capability::store::{Access, Direction, Options, Range, Store};

const KEYS: u32 = 50_000;

pub(crate) async fn run() {
    println!("\nvalue bytes  entries of a page  page, cold  page, warm");
    for value_bytes in [16, 1_000, 4_000] {
        let directory = tempfile::tempdir().expect("a folder");
        let namespace = Namespace::new("bench").expect("a name");
        let store = Store::open(directory.path(), Options::default()).expect("a store");
        let value = Bytes::from(vec![7; value_bytes]);
        for batch in 0..KEYS / 1_000 {
            let mut transaction = store.begin(&namespace, Access::ReadWrite);
            for key in 0..1_000 {
                let key = (batch * 1_000 + key).to_be_bytes();
                transaction.put(&key, value.clone()).expect("staged");
            }
            store.commit(transaction).await.expect("committed");
        }
        store.close();
        let store = Store::open(directory.path(), Options::default()).expect("a store");
        let range = Range {
            start: Bytes::new(),
            end: None,
            cursor: None,
            direction: Direction::Ascending,
            limit: u32::MAX,
        };
        let page = || {
            let mut transaction = store.begin(&namespace, Access::ReadOnly);
            let began = Instant::now();
            let page = transaction.scan(&range).expect("a page");
            (began.elapsed().as_secs_f64() * 1e3, page.entries.len())
        };
        // Cold for the store; the system may have the file in memory.
        let (cold, entries) = page();
        let mut warm: Vec<f64> = (0..101).map(|_| page().0).collect();
        warm.sort_by(f64::total_cmp);
        println!(
            "{value_bytes:11}  {entries:17}  {cold:7.2} ms  {:7.2} ms",
            warm[50]
        );
    }
}
