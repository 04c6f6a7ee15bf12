//! Where the log ends, and what the database writes between checkpoints.

use std::collections::BTreeMap;

use mortise::capability::store::{Bounds, PluginOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;

/// Excludes that a log is read or written past its end, which is where the database begins.
#[tokio::test]
async fn a_record_may_end_where_the_log_does_or_leave_less_than_a_header() {
    const HEADER: usize = 36;
    for left in [0, 1, 4, HEADER - 1, HEADER, HEADER + 1] {
        let disk = Disk::new(1);
        let plugin = PluginOptions {
            bounds: Bounds {
                max_value_bytes: LOG.end,
                ..Bounds::default()
            },
            ..PluginOptions::default()
        };
        let options = timeless(Options {
            plugins: [(order(), plugin)].into(),
            ..Options::default()
        });
        let store = on(&disk, options);
        let first = "x".repeat(LOG.len() / 2 - 1_000);
        set(&store, &[("a", &first)]).await;
        let around = log_bytes(&store) - first.len();
        let second = "x".repeat(LOG.len() - log_bytes(&store) - around - left);
        set(&store, &[("b", &second)]).await;
        assert_eq!(log_bytes(&store), LOG.len() - left);
        let mut expected = vec![("a", Some(&*first)), ("b", Some(&*second))];
        for crashed in [disk.killed(), disk.without_power()] {
            assert_has(&open(&crashed), &expected, &format!("{left} bytes are left"));
            assert_whole(&crashed, "the log is full");
        }
        set(&store, &[("c", "1")]).await;
        assert_eq!(log_bytes(&store), 0, "it was a checkpoint");
        expected.push(("c", Some("1")));
        for crashed in [disk.killed(), disk.without_power()] {
            assert_has(&open(&crashed), &expected, &format!("{left} bytes were left"));
            assert_whole(&crashed, "after the checkpoint");
        }
    }
}

/// Excludes that pages which left a cache that is too small, or a file that has grown, reach into the state
/// that a crash leaves.
#[tokio::test]
async fn what_the_database_writes_between_checkpoints_counts_for_nothing() {
    let mut random = StdRng::seed_from_u64(1);
    let disk = Disk::new(1);
    let options = Options {
        cache_bytes: 0,
        ..Options::default()
    };
    let store = on(&disk, options);
    let began = file_bytes(&disk);
    let mut expected = BTreeMap::new();
    for round in 0..40 {
        let pairs = [(); 3].map(|()| {
            let key = format!("key/{:02}", random.random_range(0..20));
            (key, format!("{round:02}").repeat(random.random_range(1..16_000)))
        });
        let pairs = BTreeMap::from(pairs);
        let writes: Vec<_> = pairs.iter().map(|(key, value)| (&**key, &**value)).collect();
        set(&store, &writes).await;
        expected.extend(pairs);
        assert!(log_bytes(&store) > 0, "there was no checkpoint");
        if round % 8 != 7 {
            continue;
        }
        let cut = disk.after_power_cut(|_| random.random());
        for crashed in [disk.killed(), disk.without_power(), cut] {
            let entries = read(&open(&crashed)).scan(&everything()).await.unwrap().entries;
            let found = entries.iter().map(|entry| (&*entry.key, &*entry.value));
            let expected = expected
                .iter()
                .map(|(key, value)| (key.as_bytes(), value.as_bytes()));
            assert!(found.eq(expected), "round {round}");
            assert_whole(&crashed, &format!("round {round}"));
        }
    }
    assert!(file_bytes(&disk) > began, "it has grown");
}
