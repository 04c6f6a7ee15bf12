use std::fmt;

use crate::{MetadataEntry, Status};

/// A call that succeeded.
#[derive(Clone, Debug, PartialEq)]
pub struct Response<T> {
    /// What the handler returned.
    pub message: T,
    /// The initial metadata of the answer.
    pub headers: Metadata,
    /// The trailing metadata of the answer.
    pub trailers: Metadata,
}

/// A call that failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Failure {
    /// How it failed.
    pub status: Status,
    /// The initial metadata of the answer.
    pub headers: Metadata,
    /// The trailing metadata of the answer.
    pub trailers: Metadata,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.status.fmt(f)
    }
}

impl std::error::Error for Failure {}

/// Metadata of an answer, in the order in which it was added.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    pub(super) entries: Vec<MetadataEntry>,
}

impl Metadata {
    /// The first value of a key, none if it has no value or a `-bin` key's bytes are no text.
    pub fn get(&self, key: &str) -> Option<&str> {
        str::from_utf8(self.get_bin(key)?).ok()
    }

    /// The first value of a key as bytes.
    pub fn get_bin(&self, key: &str) -> Option<&[u8]> {
        self.entries
            .iter()
            .find(|entry| entry.key == key)
            .map(|entry| entry.value.as_slice())
    }

    /// All entries.
    pub fn entries(&self) -> &[MetadataEntry] {
        &self.entries
    }
}
