use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use redb::{Database, ReadTransaction, ReadableDatabase, ReadableTable, TableHandle};

use crate::capability::Namespace;
use crate::capability::store::deferred::{Amount, Levels, recount_pending};
use crate::capability::store::open::{self, OpenError};
use crate::capability::store::usage::{self, Usage};
use crate::capability::store::{Options, answers, layout, outbox};

/// A figure that the store keeps, and that is not what is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mismatch {
    /// What is counted.
    pub what: String,
    /// What the store says.
    pub kept: u64,
    /// What is there.
    pub counted: u64,
}

/// Whether there is a store in `directory`.
pub fn exists(directory: &Path) -> bool {
    open::path(directory).is_file()
}

/// Reads the store in `directory` from end to end: every page against its checksum, and what the store counts
/// against what is there. Nothing is changed, but what a crash has left is put in order.
///
/// # Errors
/// If a host uses it, or it is damaged.
pub fn verify(directory: &Path, options: &Options) -> Result<Vec<Mismatch>, OpenError> {
    with_database(directory, options, |path, database| {
        let failed = |error: redb::Error| OpenError::redb(path, error);
        if !database.check_integrity().map_err(|e| failed(e.into()))? {
            tracing::warn!("the free space of the file was not as it should be and was repaired");
        }
        let read = database.begin_read().map_err(|e| failed(e.into()))?;
        compare(&read).map_err(failed)
    })
}

/// Makes the file of the store in `directory` as small as its content allows. Gives its size before and
/// after.
///
/// # Errors
/// If a host uses it, or it is damaged, or the disk fails.
pub fn compact(directory: &Path, options: &Options) -> Result<(u64, u64), OpenError> {
    let size = || open::file_bytes(directory).unwrap_or_default();
    let before = size();
    with_database(directory, options, |path, database| {
        let compacted = database.compact();
        compacted.map_err(|e| OpenError::redb(path, e.into()))
    })?;
    Ok((before, size()))
}

fn with_database<T>(
    directory: &Path,
    options: &Options,
    work: impl FnOnce(&Path, &mut Database) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let path: PathBuf = open::path(directory);
    if !path.is_file() {
        return Err(OpenError::Io {
            path,
            cause: std::io::ErrorKind::NotFound.into(),
        });
    }
    let _lock = open::lock(directory)?;
    open::unpanicked(&path, || {
        let mut writer = open::existing(&path, options)?;
        let done = work(&path, writer.database())?;
        writer.close().map_err(|e| OpenError::redb(&path, e))?;
        Ok(done)
    })
}

fn compare(read: &ReadTransaction) -> Result<Vec<Mismatch>, redb::Error> {
    let mut mismatches = Vec::new();
    let mut check = |what: String, kept: u64, counted: u64| {
        if kept != counted {
            mismatches.push(Mismatch { what, kept, counted });
        }
    };
    let kept = usage::read(read)?;
    let counted = count(read)?;
    for plugin in kept
        .keys()
        .chain(counted.keys().filter(|plugin| !kept.contains_key(*plugin)))
    {
        let usage = |all: &BTreeMap<_, Usage>| all.get(plugin).copied().unwrap_or_default();
        let (kept, counted) = (usage(&kept), usage(&counted));
        check(format!("keys of {plugin}"), kept.keys, counted.keys);
        check(format!("bytes of {plugin}"), kept.bytes, counted.bytes);
        check(format!("answers of {plugin}"), kept.answers, counted.answers);
        check(
            format!("bytes of answers of {plugin}"),
            kept.answer_bytes,
            counted.answer_bytes,
        );
    }
    let (kept, counted) = (Levels::read(read)?, recount_pending(read)?);
    let kept = kept.pending();
    for plugin in kept
        .keys()
        .chain(counted.keys().filter(|plugin| !kept.contains_key(*plugin)))
    {
        let pending = |all: &BTreeMap<_, Amount>| all.get(plugin).copied().unwrap_or_default();
        let (kept, counted) = (pending(kept), pending(&counted));
        check(format!("timers of {plugin}"), kept.count, counted.count);
        check(format!("bytes of timers of {plugin}"), kept.bytes, counted.bytes);
    }
    let mut bytes = 0;
    for row in read.open_table(layout::OUTBOX)?.iter()? {
        let (_, row) = row?;
        let (_, _, _, topic, key, payload) = row.value();
        bytes += outbox::event_bytes(topic, key, payload) as u64;
    }
    let kept = read.open_table(layout::META)?.get(layout::META_OUTBOX_BYTES)?;
    let kept = kept.map_or(0, |row| row.value());
    check("bytes of undelivered events".into(), kept, bytes);
    Ok(mismatches)
}

fn count(read: &ReadTransaction) -> Result<BTreeMap<Namespace, Usage>, redb::Error> {
    let mut all: BTreeMap<Namespace, Usage> = BTreeMap::new();
    let of_plugin =
        |name: &str| Namespace::new(name).map_err(|error| redb::Error::Corrupted(error.to_string()));
    for table in read.list_tables()?.filter(|table| !table.name().starts_with('/')) {
        let usage = all.entry(of_plugin(table.name())?).or_default();
        for row in read.open_table(layout::data(table.name()))?.iter()? {
            let (key, row) = row?;
            usage.keys += 1;
            usage.bytes += (key.value().len() + row.value().1.len()) as u64;
        }
    }
    for row in read.open_table(layout::ANSWERS)?.iter()? {
        let (_, row) = row?;
        let (_, plugin, answer) = row.value();
        let usage = all.entry(of_plugin(plugin)?).or_default();
        usage.answers += 1;
        usage.answer_bytes += answers::counted_bytes(answer);
    }
    Ok(all)
}
