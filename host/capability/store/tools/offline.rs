use std::collections::BTreeMap;
use std::fs;
use std::ops::{Bound, ControlFlow};
use std::path::{Path, PathBuf};

use crate::capability::Namespace;
use crate::capability::store::Options;
use crate::capability::store::backend::redb::{self, Redb};
use crate::capability::store::backend::{Backend, ReadError, Reader, Table};
use crate::capability::store::deferred::{Amount, Levels, recount_pending};
use crate::capability::store::open::{OpenError, unpanicked};
use crate::capability::store::outbox::Position;
use crate::capability::store::scan::Direction;
use crate::capability::store::usage::Usage;

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
    redb::path(directory).is_file()
}

/// Reads the store in `directory` from end to end: every page against its checksum, and what the store counts
/// against what is there. Nothing is changed, but what a crash has left is put in order.
///
/// # Errors
/// If a host uses it, or it is damaged.
pub fn verify(directory: &Path, options: &Options) -> Result<Vec<Mismatch>, OpenError> {
    with_store(directory, options, |path, store| {
        if !store.check().map_err(|e| redb::open_error(path, e))? {
            tracing::warn!("the free space of the file was not as it should be and was repaired");
        }
        let compared = store.reader().and_then(|reader| compare(&*reader));
        compared.map_err(|e| OpenError::read(path, e))
    })
}

/// Makes the file of the store in `directory` as small as its content allows. Gives its size before and
/// after.
///
/// # Errors
/// If a host uses it, or it is damaged, or the disk fails.
pub fn compact(directory: &Path, options: &Options) -> Result<(u64, u64), OpenError> {
    let file = redb::path(directory);
    let size = || fs::metadata(&file).map_or(0, |file| file.len());
    let before = size();
    with_store(directory, options, |path, store| {
        store.compact().map_err(|e| redb::open_error(path, e))
    })?;
    Ok((before, size()))
}

fn with_store<T>(
    directory: &Path,
    options: &Options,
    work: impl FnOnce(&Path, &mut Redb) -> Result<T, OpenError>,
) -> Result<T, OpenError> {
    let path: PathBuf = redb::path(directory);
    if !path.is_file() {
        return Err(OpenError::Io {
            path,
            cause: std::io::ErrorKind::NotFound.into(),
        });
    }
    let _lock = redb::lock(directory)?;
    unpanicked(&path, || {
        let mut store = redb::existing(&path, options)?;
        let done = work(&path, &mut store)?;
        store.close().map_err(|e| redb::open_error(&path, e))?;
        Ok(done)
    })
}

fn compare(reader: &dyn Reader) -> Result<Vec<Mismatch>, ReadError> {
    let mut mismatches = Vec::new();
    let mut check = |what: String, kept: u64, counted: u64| {
        if kept != counted {
            mismatches.push(Mismatch { what, kept, counted });
        }
    };
    let state = reader.state()?;
    let (kept, counted) = (&state.usage, count(reader)?);
    for plugin in kept
        .keys()
        .chain(counted.keys().filter(|plugin| !kept.contains_key(*plugin)))
    {
        let usage = |all: &BTreeMap<_, Usage>| all.get(plugin).copied().unwrap_or_default();
        let (kept, counted) = (usage(kept), usage(&counted));
        check(format!("keys of {plugin}"), kept.keys, counted.keys);
        check(format!("bytes of {plugin}"), kept.bytes, counted.bytes);
        check(format!("answers of {plugin}"), kept.answers, counted.answers);
        check(
            format!("bytes of answers of {plugin}"),
            kept.answer_bytes,
            counted.answer_bytes,
        );
    }
    let (kept, counted) = (Levels::read(reader)?, recount_pending(reader)?);
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
    let (mut events, mut bytes) = (0, 0);
    reader.events(Position::default(), &mut |event| {
        events += 1;
        bytes += event.bytes() as u64;
        ControlFlow::Continue(())
    })?;
    check("undelivered events".into(), state.outbox_entries, events);
    check("bytes of undelivered events".into(), state.outbox_bytes, bytes);
    Ok(mismatches)
}

fn count(reader: &dyn Reader) -> Result<BTreeMap<Namespace, Usage>, ReadError> {
    let mut all: BTreeMap<Namespace, Usage> = BTreeMap::new();
    for plugin in reader.plugins()? {
        let usage = all.entry(plugin.clone()).or_default();
        if let Some(rows) = reader.rows(Table::Plugin(&plugin))? {
            let everything = (Bound::Unbounded, Bound::Unbounded);
            rows.scan(everything, Direction::Ascending, &mut |entry| {
                usage.add_entry(&entry.key, entry.value.len());
                ControlFlow::Continue(())
            })?;
        }
    }
    reader.answers(&mut |(_, recorded)| {
        all.entry(recorded.plugin)
            .or_default()
            .add_answer(&recorded.answer);
        ControlFlow::Continue(())
    })?;
    Ok(all)
}
