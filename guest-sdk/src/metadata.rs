//! Request metadata to read, answer metadata to write.

use std::borrow::Cow;
use std::marker::PhantomData;

use crate::{Call, Status, host};

/// The request's metadata. Keys are matched without regard to case.
///
/// Values of keys that end in `-bin` are bytes, all others printable ASCII; each kind has its accessors and
/// the wrong one finds nothing.
#[derive(Clone, Copy, Debug)]
pub struct RequestMetadata<'c> {
    _call: PhantomData<&'c Call>,
}

impl RequestMetadata<'_> {
    pub(crate) fn new() -> Self {
        RequestMetadata { _call: PhantomData }
    }

    /// The first value of a key.
    pub fn get(&self, key: &str) -> Option<String> {
        self.values(key, false).into_iter().next().and_then(text)
    }

    /// All values of a key, in the order in which they came.
    pub fn get_all(&self, key: &str) -> Vec<String> {
        self.values(key, false).into_iter().filter_map(text).collect()
    }

    /// The first value of a `-bin` key.
    pub fn get_bin(&self, key: &str) -> Option<Vec<u8>> {
        self.values(key, true).into_iter().next()
    }

    /// All values of a `-bin` key, in the order in which they came.
    pub fn get_all_bin(&self, key: &str) -> Vec<Vec<u8>> {
        self.values(key, true)
    }

    /// Everything, duplicates and order kept; HTTP/2's and gRPC's own headers are not part of it.
    pub fn entries(&self) -> Vec<MetadataEntry> {
        let entries = host::call::all_metadata().into_iter();
        entries
            .map(|entry| MetadataEntry {
                key: entry.key,
                value: entry.value,
            })
            .collect()
    }

    fn values(&self, key: &str, binary: bool) -> Vec<Vec<u8>> {
        let key = lower_case(key);
        if is_binary(&key) == binary {
            host::call::metadata(&key)
        } else {
            Vec::new()
        }
    }
}

/// One entry of metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MetadataEntry {
    /// The key, in lower case.
    pub key: String,
    /// Decoded bytes for a `-bin` key, printable ASCII for any other.
    pub value: Vec<u8>,
}

/// Writes the initial or the trailing metadata of the answer.
#[derive(Clone, Copy, Debug)]
pub struct AnswerMetadata<'c> {
    block: Block,
    _call: PhantomData<&'c Call>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Block {
    Initial,
    Trailing,
}

impl AnswerMetadata<'_> {
    pub(crate) fn new(block: Block) -> Self {
        AnswerMetadata {
            block,
            _call: PhantomData,
        }
    }

    /// Adds an entry; a key may occur more than once. The entry is sent whether the call succeeds or fails.
    ///
    /// # Errors
    /// When the key is reserved (`grpc-…` and the transport's own headers), not made of `0-9 a-z _ - .`, or
    /// ends in `-bin`; when the value is not printable ASCII; when there is too much metadata.
    pub fn insert(&self, key: &str, value: impl AsRef<str>) -> Result<(), Status> {
        if is_binary(key) {
            return Err(Status::internal(format!(
                "metadata key `{key}` takes bytes: use insert_bin"
            )));
        }
        self.add(key, value.as_ref().as_bytes())
    }

    /// Adds an entry of plain bytes; the key must end in `-bin`. Otherwise as
    /// [`insert`](AnswerMetadata::insert).
    ///
    /// # Errors
    /// When the key does not end in `-bin`, is reserved or not valid; when there is too much metadata.
    pub fn insert_bin(&self, key: &str, value: impl AsRef<[u8]>) -> Result<(), Status> {
        if !is_binary(key) {
            return Err(Status::internal(format!(
                "metadata key `{key}` takes text: its name needs `-bin`"
            )));
        }
        self.add(key, value.as_ref())
    }

    fn add(&self, key: &str, value: &[u8]) -> Result<(), Status> {
        let key = lower_case(key);
        let added = match self.block {
            Block::Initial => host::call::add_initial_metadata(&key, value),
            Block::Trailing => host::call::add_trailing_metadata(&key, value),
        };
        added.map_err(Status::from)
    }
}

pub(crate) fn is_binary(key: &str) -> bool {
    key.len() >= 4 && key.as_bytes()[key.len() - 4..].eq_ignore_ascii_case(b"-bin")
}

fn lower_case(key: &str) -> Cow<'_, str> {
    if key.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(key.to_ascii_lowercase())
    } else {
        Cow::Borrowed(key)
    }
}

fn text(value: Vec<u8>) -> Option<String> {
    // The host lets only printable ASCII pass.
    String::from_utf8(value).ok()
}
