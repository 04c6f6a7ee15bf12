//! A store that is opened again and again on the same disk, under a random load of commits that wait for the
//! disk and others that do not, and whose every life ends in another way, also while it begins.

use std::collections::BTreeMap;
use std::io;

use mortise::capability::Namespace;
use mortise::capability::store::{Access, CommitError, Options, Store, Transaction};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};

use super::*;

/// How many disks: `MORTISE_TEST_DISKS` of them, for a longer search.
const DISKS: u64 = 100;
const LIVES: usize = 5;
/// From a checkpoint at each batch to none.
const CHECKPOINT_BYTES: [usize; 4] = [0, 2 << 10, 16 << 10, usize::MAX];
/// From none to all of it.
const CACHE_BYTES: [usize; 3] = [0, 64 << 10, 64 << 20];
/// The most bytes of a value: of many, of some, of few.
const VALUE_BYTES: [usize; 6] = [100, 100, 100, 3_000, 3_000, 30_000];
/// The key that every transaction writes its number under.
const LAST: &str = "last";

/// By plugin and key, without the number of the transaction itself.
type Contents = BTreeMap<(Namespace, String), String>;

/// What there is after each transaction, the first of which is none.
struct History {
    states: Vec<Contents>,
    /// The last that was acknowledged and must be there.
    acknowledged: usize,
    /// The last that must be there after a power cut, too.
    secure: usize,
    /// The highest number of a commit that was acknowledged.
    seen: u64,
}

impl History {
    fn new() -> Self {
        Self {
            states: vec![Contents::new()],
            acknowledged: 0,
            secure: 0,
            seen: 0,
        }
    }

    /// Commits some transactions together; false if the disk failed.
    async fn go_on(&mut self, store: &Store, random: &mut StdRng) -> bool {
        let mut submitted = Vec::new();
        for _ in 0..random.random_range(1..4) {
            let waits = random.random_ratio(1, 3);
            let plugin = if waits { waiting() } else { order() };
            let may_read = submitted.is_empty();
            let Some((transaction, contents)) = self.next(store, plugin, may_read, random) else {
                return false;
            };
            self.states.push(contents);
            let number = self.states.len() - 1;
            submitted.push((number, waits, store.commit(transaction)));
        }
        let mut works = true;
        for (number, waits, submission) in submitted {
            match submission.await {
                Ok(committed) => {
                    assert!(works, "{number} comes after one that failed");
                    let sequence = committed.sequence.unwrap();
                    assert!(
                        sequence > self.seen,
                        "{sequence} was given again, {} was seen",
                        self.seen
                    );
                    (self.acknowledged, self.seen) = (number, sequence);
                    if waits {
                        self.secure = number;
                    }
                }
                Err(CommitError::Unknown | CommitError::Unavailable(_)) => works = false,
                Err(CommitError::Conflict(_)) => panic!("{number}: nothing has changed"),
            }
        }
        works
    }

    /// None if the store has failed. What reads, as deleting does, would be in conflict with one under way.
    fn next(
        &self,
        store: &Store,
        plugin: Namespace,
        may_read: bool,
        random: &mut StdRng,
    ) -> Option<(Transaction, Contents)> {
        let mut transaction = store.begin(&plugin, Access::ReadWrite);
        let mut contents = self.states.last()?.clone();
        let number = self.states.len().to_string();
        transaction.put(LAST.as_bytes(), bytes(&number)).ok()?;
        for _ in 0..random.random_range(0..4) {
            let key = format!("key/{:02}", random.random_range(0..20));
            if may_read && random.random_ratio(1, 3) {
                transaction.delete(key.as_bytes()).ok()?;
                contents.remove(&(plugin.clone(), key));
                continue;
            }
            let longest = VALUE_BYTES.choose(random)? / number.len();
            let value = number.repeat(random.random_range(1..=longest));
            transaction.put(key.as_bytes(), bytes(&value)).ok()?;
            contents.insert((plugin.clone(), key), value);
        }
        transaction.publish("topic", &number, bytes("")).ok()?;
        Some((transaction, contents))
    }

    fn power_was_cut(&mut self) {
        self.acknowledged = self.secure;
    }

    /// The store holds what it did after some transaction, no earlier one than was acknowledged. What comes
    /// after it has never been.
    async fn check(&mut self, store: &Store, what: &str) {
        let text = |bytes: &bytes::Bytes| String::from_utf8(bytes.to_vec()).unwrap();
        let (mut last, mut found) = (0, Contents::new());
        for plugin in [order(), waiting()] {
            let mut reader = store.begin(&plugin, Access::ReadOnly);
            for entry in reader.scan(&everything()).await.unwrap().entries {
                match text(&entry.key) {
                    key if key == LAST => last = last.max(text(&entry.value).parse().unwrap()),
                    key => drop(found.insert((plugin.clone(), key), text(&entry.value))),
                }
            }
        }
        let acknowledged = self.acknowledged;
        assert!(
            last >= acknowledged,
            "{what}: {acknowledged} was acknowledged, {last} is there"
        );
        assert!(found == self.states[last], "{what}: {last} is there by halves");
        let events = store.view().unwrap().stats().undelivered;
        assert_eq!(events, last as u64, "{what}: events");
        self.states.truncate(last + 1);
        (self.acknowledged, self.secure) = (last, last);
    }
}

/// A plugin that waits for the disk.
fn waiting() -> Namespace {
    Namespace::new("waiting").unwrap()
}

fn draw(random: &mut StdRng) -> Options {
    Options {
        checkpoint_bytes: *CHECKPOINT_BYTES.choose(random).unwrap(),
        cache_bytes: *CACHE_BYTES.choose(random).unwrap(),
        ..relaxed()
    }
}

/// Opens it, and maybe the power is cut meanwhile, again and again.
fn begin(disk: &Disk, history: &mut History, random: &mut StdRng) -> Store {
    while random.random_ratio(1, 3) {
        disk.fail_after(random.random_range(0..30), io::ErrorKind::Other);
        drop(Store::on_storage(disk.clone(), draw(random)));
        disk.cut_power();
        history.power_was_cut();
    }
    on(disk, draw(random))
}

/// How a life ends.
#[derive(Clone, Copy, PartialEq)]
enum End {
    /// While the store works.
    PowerCut,
    /// While it has nothing to do.
    LatePowerCut,
    Kill,
    Close,
}

/// One life. Gives the disk as it is afterwards.
async fn live(disk: Disk, store: Store, history: &mut History, random: &mut StdRng) -> Disk {
    let ends = [
        End::PowerCut,
        End::PowerCut,
        End::LatePowerCut,
        End::Kill,
        End::Close,
    ];
    let end = *ends.choose(random).unwrap();
    let mut batches = random.random_range(1..15);
    if end == End::PowerCut {
        disk.fail_after(random.random_range(0..60), io::ErrorKind::Other);
        batches = usize::MAX;
    }
    while batches > 0 && history.go_on(&store, random).await {
        batches -= 1;
    }
    match end {
        End::PowerCut => {
            store.close();
            disk.cut_power();
            history.power_was_cut();
            disk
        }
        End::LatePowerCut => {
            history.power_was_cut();
            disk.after_power_cut(|_| random.random())
        }
        End::Kill => disk.killed(),
        End::Close => {
            store.close();
            disk.without_power()
        }
    }
}

/// Excludes that any of the ways in which lives end, one after the other, loses what it may not lose, leaves
/// anything by halves, brings back what was lost, or gives the number of a commit again.
#[tokio::test]
async fn any_lives_one_after_the_other_leave_what_was_acknowledged() {
    let disks = std::env::var("MORTISE_TEST_DISKS").map_or(DISKS, |disks| disks.parse().unwrap());
    for seed in 0..disks {
        let mut random = StdRng::seed_from_u64(seed);
        let mut disk = Disk::new(seed);
        open(&disk).close();
        let mut history = History::new();
        for life in 0..LIVES {
            let store = begin(&disk, &mut history, &mut random);
            history.check(&store, &format!("disk {seed}, life {life}")).await;
            disk = live(disk, store, &mut history, &mut random).await;
        }
        history.check(&open(&disk), &format!("disk {seed}")).await;
        assert_whole(&disk, &format!("disk {seed}"));
    }
}
