use std::sync::Arc;

use bytes::Bytes;

use super::backend::{ReadError, Rows};
use super::reads::Most;
use super::transaction::{Transaction, Versioned};
use super::unavailable;
use crate::capability::Error;

impl Transaction {
    /// The values under `keys`, in their order. What is long is read as a long [`scan`](Self::scan) is.
    ///
    /// # Errors
    /// As [`get`](Self::get), and if the values together are larger than a page may be.
    pub async fn get_many(&mut self, keys: &[impl AsRef<[u8]>]) -> Result<Vec<Option<Versioned>>, Error> {
        self.count_operations(keys.len())?;
        keys.iter().try_for_each(|key| self.check_key(key.as_ref()))?;
        let keys = keys.iter().map(|key| key.as_ref());
        let unwritten = keys.clone().filter(|key| !self.writes.contains_key(*key));
        let unwritten = unwritten.map(Bytes::copy_from_slice).collect();
        let mut rows = self.read_many(unwritten).await?.into_iter();
        let limit = self.plugin.bounds.max_page_bytes;
        let mut bytes = 0;
        let values = keys.map(|key| {
            let value = match self.writes.get(key) {
                Some(write) => write.versioned(),
                None => rows.next().flatten(),
            };
            bytes += bytes_of(&value);
            match bytes <= limit {
                true => Ok(value),
                false => Err(too_many(limit)),
            }
        });
        values.collect()
    }

    /// What the snapshot has under `keys`, in their order.
    async fn read_many(&mut self, keys: Vec<Bytes>) -> Result<Vec<Option<Versioned>>, Error> {
        let mut values = Vec::with_capacity(keys.len());
        if keys.is_empty() {
            return Ok(values);
        }
        let limit = self.plugin.bounds.max_page_bytes;
        let mut part = Part {
            rows: self.rows()?.cloned(),
            keys,
            most: Most::AT_ONCE,
        };
        let mut bytes = 0;
        let mut read = part.read(&|| false);
        loop {
            let read_values = read.map_err(|e| self.store.read_failed(&e))?;
            let unread = part.keys.split_off(read_values.len());
            if self.validates_reads() {
                part.keys.into_iter().for_each(|key| self.reads.add_key(key));
            }
            bytes += read_values.iter().map(bytes_of).sum::<usize>();
            values.extend(read_values);
            if bytes > limit {
                return Err(too_many(limit));
            }
            if unread.is_empty() {
                return Ok(values);
            }
            part = Part {
                rows: part.rows,
                keys: unread,
                most: Most {
                    count: usize::MAX,
                    bytes: limit - bytes + 1,
                },
            };
            let reading = self.store.read_threads.run(move |gone| (part.read(gone), part));
            (read, part) = reading.await.ok_or_else(unavailable)?;
        }
    }
}

fn bytes_of(value: &Option<Versioned>) -> usize {
    value.as_ref().map_or(0, |found| found.value.len())
}

fn too_many(limit: usize) -> Error {
    Error::limit_exceeded("these keys hold too many bytes to read at once", limit)
}

/// Keys of a snapshot that are to be read.
struct Part {
    /// None if the plugin had written nothing yet.
    rows: Option<Arc<dyn Rows>>,
    keys: Vec<Bytes>,
    most: Most,
}

impl Part {
    /// The values of the first keys. Ends early if they are no longer wanted: once `gone` gives true.
    fn read(&self, gone: &dyn Fn() -> bool) -> Result<Vec<Option<Versioned>>, ReadError> {
        let (mut values, mut bytes) = (Vec::new(), 0);
        for key in &self.keys {
            let value = match &self.rows {
                Some(rows) => rows.get(key)?,
                None => None,
            };
            bytes += bytes_of(&value);
            values.push(value);
            if self.most.is_reached(values.len(), bytes) || gone() {
                break;
            }
        }
        Ok(values)
    }
}
