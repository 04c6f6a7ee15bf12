//! The write-ahead log: what was committed since the database was last brought to the disk.
//!
//! A batch of commits is on the disk when its record is: one write and one fsync, next to each other on the
//! disk, where redb writes every page that changed, and twice an fsync. The database takes the batch in
//! memory. When the log is full, the next batch brings all of it to the disk (a checkpoint), and the log
//! begins anew. What a crash leaves in the log is applied when the store is opened.
//!
//! A record counts if its tag is right: a MAC of the record and the tag before it, under a key that the
//! checkpoint chose and only the database knows. So nothing that a crash left by halves counts, nothing from
//! before the checkpoint, nothing that followed a record which is another one now, and nothing that a plugin
//! made to look like a record.

mod record;

use std::io;
use std::sync::Arc;

use ring::hmac;

use super::storage::{LOG_BYTES, LogPart, Storage};
pub(super) use record::Record;

/// Chosen anew with each checkpoint.
pub(super) type LogKey = [u8; 32];

type Tag = [u8; 32];

/// The length of what follows the tag, and the tag.
const HEAD_BYTES: usize = 4 + size_of::<Tag>();

pub(super) struct Wal {
    part: LogPart,
    max_bytes: u64,
    key: hmac::Key,
    last: Tag,
    end: u64,
    records: u64,
}

impl Wal {
    /// The log after a checkpoint that chose `key`, as if it were empty. It is full at `max_bytes`.
    pub(super) fn new(storage: &Arc<Storage>, key: &LogKey, max_bytes: usize) -> Self {
        Self {
            part: storage.log(),
            max_bytes: LOG_BYTES.min(max_bytes as u64),
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            last: Tag::default(),
            end: 0,
            records: 0,
        }
    }

    /// Reads the next record; none if there is no further one that counts.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let begin = self.end + HEAD_BYTES as u64;
        if begin > LOG_BYTES {
            return Ok(None);
        }
        let mut head = [0; HEAD_BYTES];
        self.part.read(self.end, &mut head)?;
        let (length, tag) = head.split_at(4);
        let length = u32::from_le_bytes(length.try_into().unwrap_or_default());
        if u64::from(length) > LOG_BYTES - begin {
            return Ok(None);
        }
        let mut record = vec![0; length as usize];
        self.part.read(begin, &mut record)?;
        let expected = self.tag(&record);
        if *tag != expected {
            return Ok(None);
        }
        self.advance(&record, expected);
        Ok(Some(record))
    }

    /// Whether a record of `bytes` finds room.
    pub(super) fn has_room(&self, bytes: usize) -> bool {
        self.end + (HEAD_BYTES + bytes) as u64 <= self.max_bytes
    }

    /// Writes `record`, for which there is room.
    pub(super) fn append(&mut self, record: &[u8]) -> io::Result<()> {
        let tag = self.tag(record);
        let mut bytes = Vec::with_capacity(HEAD_BYTES + record.len());
        bytes.extend((record.len() as u32).to_le_bytes());
        bytes.extend(tag);
        bytes.extend(record);
        self.part.write(self.end, &bytes)?;
        self.advance(record, tag);
        Ok(())
    }

    /// Brings what was appended to the disk.
    pub(super) fn sync(&self) -> io::Result<()> {
        self.part.sync_data()
    }

    /// Of all records.
    pub(super) fn bytes(&self) -> u64 {
        self.end
    }

    /// How many records there are.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    fn tag(&self, record: &[u8]) -> Tag {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&self.last);
        context.update(record);
        let mut tag = Tag::default();
        tag.copy_from_slice(context.sign().as_ref());
        tag
    }

    fn advance(&mut self, record: &[u8], tag: Tag) {
        self.last = tag;
        self.end += (HEAD_BYTES + record.len()) as u64;
        self.records += 1;
    }
}
