//! The numbers of commits, which are the versions of what they wrote: a client that has seen one comes back
//! with it (`put_if`) after the crash, too, and must not change what it has not seen.

use std::io;

use mortise::capability::store::{Options, Store};

use super::*;

/// Excludes that a version which was seen, of a commit that was lost, is given to another one.
#[tokio::test]
async fn no_number_is_given_again_after_a_power_cut() {
    for options in [Options::default, relaxed] {
        let mut disk = Disk::new(1);
        let mut seen = 0;
        for _ in 0..3 {
            let store = on(&disk, options());
            for _ in 0..5 {
                let next = set(&store, &[("a", "1")]).await;
                assert!(next > seen, "{next} was given again, {seen} was seen");
                seen = next;
            }
            disk = disk.without_power();
        }
    }
}

/// The same where the host goes on, and is killed before it writes anything.
#[tokio::test]
async fn no_number_is_given_again_after_a_failure_and_a_kill() {
    for options in [Options::default, relaxed] {
        let disk = Disk::new(1);
        let again = disk.clone();
        let options = Options {
            reopen_after: Duration::from_millis(1),
            ..options()
        };
        let opened = move || -> Box<dyn StorageBackend> {
            again.cut_power();
            Box::new(again.clone())
        };
        let store = Store::on_lasting_storage(opened, options).unwrap();
        secure(&store).await;
        let mut seen = 0;
        for _ in 0..5 {
            seen = set(&store, &[("a", "1")]).await;
        }
        disk.fail_after(0, io::ErrorKind::Other);
        commit(&store, careful(&store)).await.unwrap_err();
        until_open(&store).await;
        let killed = open(&disk.killed());
        let next = set(&killed, &[("a", "2")]).await;
        assert!(next > seen, "{next} was given again, {seen} was seen");
        let next = set(&store, &[("a", "2")]).await;
        assert!(next > seen, "{next} was given again, {seen} was seen");
    }
}
