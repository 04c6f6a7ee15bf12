//! Which records of the log count.

use std::io;

use mortise::capability::store::{CommitError, Options};
use redb::{ReadableDatabase, TableDefinition};

use super::disk::SECTOR;
use super::*;

/// Excludes that redb, at its end, makes durable what was refused, or that what only the log had is passed
/// over.
#[tokio::test]
async fn a_failed_read_loses_nothing_acknowledged_and_revives_nothing_refused() {
    let disk = Disk::new(1);
    let options = Options {
        cache_bytes: 0,
        ..relaxed()
    };
    let store = lasting(&disk, options);
    secure(&store).await;
    for number in 1..=5 {
        set(&store, &[("a", &number.to_string())]).await;
    }
    disk.fail_reads(true);
    let mut refused = write(&store);
    put(&mut refused, "refused", "1");
    let outcome = commit(&store, refused).await;
    assert!(matches!(outcome, Err(CommitError::Unavailable(_))), "{outcome:?}");
    eventually("the failure is noticed", || store.health() != Health::Open).await;
    disk.fail_reads(false);
    until_open(&store).await;
    set(&store, &[("b", "1")]).await;
    secure(&store).await;
    for (left, what) in [(disk.killed(), "killed"), (disk.without_power(), "without power")] {
        let expected = [("a", Some("5")), ("b", Some("1")), ("refused", None)];
        assert_has(&open(&left), &expected, what);
        assert_whole(&left, what);
    }
}

/// The key of an answer that no host can have recorded.
const DAMAGED: [u8; 32] = [7; 32];

/// Leaves commits 1 to 3, of `a`, in the log and, by redb's own commit at its end, in the database as well:
/// the store failed of a row that is damaged, not of the disk. Gives where their records end.
async fn leave_in_log_and_database(disk: &Disk) -> Vec<usize> {
    const ANSWERS: TableDefinition<'_, &[u8; 32], (u64, &str, &[u8])> = TableDefinition::new("/answers");
    open(disk).close();
    let database = database_on(disk.clone());
    let transaction = database.begin_write().unwrap();
    let mut answers = transaction.open_table(ANSWERS).unwrap();
    answers.insert(&DAMAGED, (0, "no such name", &b""[..])).unwrap();
    drop(answers);
    transaction.commit().unwrap();
    database.close().unwrap();

    let store = open(disk);
    let mut ends = Vec::new();
    for number in 1..=3 {
        set(&store, &[("a", &number.to_string())]).await;
        ends.push(LOG.start + log_bytes(&store));
    }
    assert_eq!(records_in_database(disk), 0);
    read(&store).recorded_answer(DAMAGED).unwrap_err();
    store.close();
    assert_eq!(records_in_database(disk), 3);
    ends
}

fn records_in_database(disk: &Disk) -> u64 {
    const META: TableDefinition<'_, &str, u64> = TableDefinition::new("/meta");
    let database = database_on(disk.killed());
    let read = database.begin_read().unwrap();
    let logged = read.open_table(META).unwrap().get("logged").unwrap().unwrap();
    logged.value()
}

/// Excludes that what the database has is lost with a log that was cut short, and that the records which come
/// next are taken for those that the database has, or these for them.
#[tokio::test]
async fn a_log_that_is_in_the_database_already_whole_or_not_hides_no_later_commit() {
    for damaged in [None, Some(0), Some(1), Some(2)] {
        let disk = Disk::new(1);
        let ends = leave_in_log_and_database(&disk).await;
        if let Some(record) = damaged {
            disk.damage(ends[record] - 1..ends[record]);
        }
        let store = open(&disk);
        let what = format!("damaged: {damaged:?}");
        assert_has(&store, &[("a", Some("3"))], &what);
        for number in 1..=4 {
            let number = number.to_string();
            set(&store, &[("b", &number)]).await;
            for crashed in [disk.killed(), disk.without_power()] {
                assert_has(&open(&crashed), &[("a", Some("3")), ("b", Some(&number))], &what);
            }
        }
    }
}

/// Excludes that a record which was torn, written again as it was, brings back those that had followed it.
#[tokio::test]
async fn what_followed_a_torn_record_stays_lost_when_the_same_is_committed_again() {
    let long = "x".repeat(4 * SECTOR);
    for whole_before in 0..3 {
        let disk = Disk::new(1);
        let options = || timeless(relaxed());
        let store = on(&disk, options());
        for number in 0..whole_before {
            set(&store, &[("before", &number.to_string())]).await;
        }
        let begin = LOG.start + log_bytes(&store);
        set(&store, &[("a", &long)]).await;
        set(&store, &[("b", "stale")]).await;
        // Lacks one sector of `a`, unless it was brought to the disk before.
        let torn = disk.after_power_cut(|offset| offset / SECTOR != begin / SECTOR + 2);
        let store = on(&torn, options());
        if get(&mut read(&store), "a").is_some() {
            continue;
        }
        assert_has(&store, &[("b", None)], "torn");
        set(&store, &[("a", &long)]).await;
        let expected = [("a", Some(&*long)), ("b", None)];
        assert_has(&open(&torn.killed()), &expected, "written again");
    }
}

/// Excludes that a checkpoint which is cut off leaves relaxed commits out of order, or a batch by halves.
#[tokio::test]
async fn a_batch_too_large_for_the_log_comes_after_all_relaxed_ones_or_not_at_all() {
    const BEFORE: [&str; 4] = ["1", "2", "3", "4"];
    let large = "x".repeat(20_000);
    for step in 0.. {
        let disk = Disk::new(step as u64);
        let options = Options {
            checkpoint_bytes: 8 << 10,
            ..relaxed()
        };
        let store = on(&disk, options);
        for key in BEFORE {
            set(&store, &[(key, &"x".repeat(700))]).await;
        }
        disk.fail_after(step, io::ErrorKind::Other);
        let mut transaction = write(&store);
        put(&mut transaction, "5", &large);
        put(&mut transaction, "6", &large);
        let done = commit(&store, transaction).await.is_ok();
        assert!(!done || log_bytes(&store) == 0, "it was a checkpoint");
        store.close();
        disk.cut_power();
        let found = keys(&read(&open(&disk)).scan(&everything()).await.unwrap().entries);
        let all = [&BEFORE[..], &["5", "6"]].concat();
        assert!(
            found.iter().eq(&all[..found.len()]) && found.len() != 5,
            "{step}: {found:?}"
        );
        assert!(!done || found.len() == all.len(), "{step}: {found:?}");
        assert_whole(&disk, &format!("step {step}"));
        if done {
            assert!(step > 3, "it was cut off at several steps");
            break;
        }
    }
}
