//! Keys of tables: tuples of text, bytes, whole numbers and booleans, encoded so that the order of the bytes
//! is the order of the tuples.
//!
//! A stored key is the table's name followed by the key's elements, all in the encoding of FoundationDB's
//! tuple layer, of which this is the part that is needed:
//!
//! | element | bytes |
//! |---|---|
//! | bytes | `01`, the bytes with each `00` as `00 FF`, `00` |
//! | text | `02`, its UTF-8 with each `00` as `00 FF`, `00` |
//! | number −n, in as few bytes b as n takes | `14` − b, the complement of n, big-endian |
//! | number 0 | `14` |
//! | number n, in as few bytes b as it takes | `14` + b, n, big-endian |
//! | false, true | `26`, `27` |
//!
//! So numbers sort by value, whatever their Rust type; text sorts by its UTF-8 bytes; a tuple sorts before
//! every tuple that goes on from it, which is what makes prefix scans work.

use std::fmt;

use crate::Status;

const BYTES: u8 = 0x01;
const TEXT: u8 = 0x02;
const ZERO: u8 = 0x14;
const FALSE: u8 = 0x26;
const TRUE: u8 = 0x27;

/// What a table's key can be: text, bytes (`[u8]`, `Vec<u8>`), whole numbers, `bool`, and tuples of them.
///
/// A newtype implements it by handing on to what it holds.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a table key",
    note = "keys are text, bytes, whole numbers, `bool`, and tuples of up to six of them"
)]
pub trait Key {
    /// Adds the key's elements.
    fn write(&self, key: &mut KeyWriter);
}

/// What a stored key can be read back as: the owned types of [`Key`].
pub trait FromKey: Sized {
    /// Takes the key's next elements.
    ///
    /// # Errors
    /// When the next element is of another kind, or there is none.
    fn read(key: &mut KeyReader<'_>) -> Result<Self, KeyMismatch>;
}

/// Collects the elements of a key.
#[derive(Debug)]
pub struct KeyWriter {
    bytes: Vec<u8>,
}

impl KeyWriter {
    pub(super) fn new(table: &str) -> KeyWriter {
        let mut writer = KeyWriter {
            bytes: Vec::with_capacity(table.len() + 32),
        };
        writer.text(table);
        writer
    }

    pub(super) fn empty() -> KeyWriter {
        KeyWriter { bytes: Vec::new() }
    }

    pub(super) fn finish(self) -> Vec<u8> {
        self.bytes
    }

    /// Adds text.
    pub fn text(&mut self, text: &str) {
        self.escaped(TEXT, text.as_bytes());
        self.bytes.push(0);
    }

    /// Adds bytes.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.escaped(BYTES, bytes);
        self.bytes.push(0);
    }

    /// Adds a number.
    pub fn unsigned(&mut self, number: u64) {
        let skip = number.leading_zeros() as usize / 8;
        self.bytes.push(ZERO + (8 - skip) as u8);
        self.bytes.extend_from_slice(&number.to_be_bytes()[skip..]);
    }

    /// Adds a number.
    pub fn signed(&mut self, number: i64) {
        if number >= 0 {
            return self.unsigned(number.unsigned_abs());
        }
        let magnitude = number.unsigned_abs();
        let skip = magnitude.leading_zeros() as usize / 8;
        self.bytes.push(ZERO - (8 - skip) as u8);
        self.bytes.extend_from_slice(&(!magnitude).to_be_bytes()[skip..]);
    }

    /// Adds a boolean.
    pub fn boolean(&mut self, value: bool) {
        self.bytes.push(if value { TRUE } else { FALSE });
    }

    /// Adds elements that are encoded already.
    fn encoded(&mut self, elements: &[u8]) {
        self.bytes.extend_from_slice(elements);
    }

    /// Adds the head of a text, to find all texts that begin so.
    pub(super) fn text_head(&mut self, text: &str) {
        self.escaped(TEXT, text.as_bytes());
    }

    fn escaped(&mut self, tag: u8, bytes: &[u8]) {
        self.bytes.push(tag);
        for byte in bytes {
            self.bytes.push(*byte);
            if *byte == 0 {
                self.bytes.push(0xff);
            }
        }
    }
}

/// Takes a key apart, element by element.
#[derive(Debug)]
pub struct KeyReader<'k> {
    rest: &'k [u8],
}

/// A stored key is not of the type it was to be read as.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyMismatch {
    expected: &'static str,
}

impl fmt::Display for KeyMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a stored key is of another type: expected {}", self.expected)
    }
}

impl std::error::Error for KeyMismatch {}

impl KeyReader<'_> {
    /// Takes text.
    ///
    /// # Errors
    /// When the next element is no text.
    pub fn text(&mut self) -> Result<String, KeyMismatch> {
        let mismatch = KeyMismatch { expected: "text" };
        let bytes = self.unescape(TEXT).ok_or(mismatch)?;
        String::from_utf8(bytes).map_err(|_| mismatch)
    }

    /// Takes bytes.
    ///
    /// # Errors
    /// When the next element is not bytes.
    pub fn bytes(&mut self) -> Result<Vec<u8>, KeyMismatch> {
        self.unescape(BYTES).ok_or(KeyMismatch { expected: "bytes" })
    }

    /// Takes a number.
    ///
    /// # Errors
    /// When the next element is no number, or a negative one.
    pub fn unsigned(&mut self) -> Result<u64, KeyMismatch> {
        let mismatch = KeyMismatch {
            expected: "a whole number that is not negative",
        };
        self.number()
            .and_then(|number| u64::try_from(number).ok())
            .ok_or(mismatch)
    }

    /// Takes a number.
    ///
    /// # Errors
    /// When the next element is no number, or too large for `i64`.
    pub fn signed(&mut self) -> Result<i64, KeyMismatch> {
        let mismatch = KeyMismatch {
            expected: "a whole number",
        };
        self.number()
            .and_then(|number| i64::try_from(number).ok())
            .ok_or(mismatch)
    }

    /// Takes a boolean.
    ///
    /// # Errors
    /// When the next element is no boolean.
    pub fn boolean(&mut self) -> Result<bool, KeyMismatch> {
        match self.tag() {
            Some(FALSE) => Ok(false),
            Some(TRUE) => Ok(true),
            _ => Err(KeyMismatch {
                expected: "a boolean",
            }),
        }
    }

    fn tag(&mut self) -> Option<u8> {
        let (tag, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*tag)
    }

    fn number(&mut self) -> Option<i128> {
        let tag = self.tag()?;
        let width = usize::from(tag.abs_diff(ZERO));
        if width > 8 || self.rest.len() < width {
            return None;
        }
        let (number, rest) = self.rest.split_at(width);
        self.rest = rest;
        let negative = tag < ZERO;
        let magnitude = number.iter().fold(0u64, |magnitude, byte| {
            magnitude << 8 | u64::from(if negative { !byte } else { *byte })
        });
        Some(if negative {
            -i128::from(magnitude)
        } else {
            i128::from(magnitude)
        })
    }

    fn unescape(&mut self, expected: u8) -> Option<Vec<u8>> {
        if self.tag()? != expected {
            return None;
        }
        let mut bytes = Vec::new();
        loop {
            match (self.tag()?, self.rest.first()) {
                (0, Some(0xff)) => {
                    self.rest = &self.rest[1..];
                    bytes.push(0);
                }
                (0, _) => return Some(bytes),
                (byte, _) => bytes.push(byte),
            }
        }
    }
}

/// The key of a stored entry, without the table's name.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredKey {
    bytes: Vec<u8>,
}

impl StoredKey {
    pub(crate) fn new(bytes: Vec<u8>) -> StoredKey {
        StoredKey { bytes }
    }

    /// The key as a `T`, such as `(String, u64)`.
    ///
    /// # Errors
    /// [`DataLoss`](crate::Code::DataLoss) when it was stored as something else.
    pub fn decode<T: FromKey>(&self) -> Result<T, Status> {
        let mut reader = KeyReader { rest: &self.bytes };
        let key = T::read(&mut reader).and_then(|key| {
            reader
                .rest
                .is_empty()
                .then_some(key)
                .ok_or(KeyMismatch { expected: "its end" })
        });
        key.map_err(|mismatch| Status::data_loss("Stored data cannot be read").with_cause(mismatch))
    }
}

/// To get, change or delete what a scan has found.
impl Key for StoredKey {
    fn write(&self, key: &mut KeyWriter) {
        key.encoded(&self.bytes);
    }
}

/// The elements, joined by `/`.
impl fmt::Display for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut reader = KeyReader { rest: &self.bytes };
        let mut separator = "";
        while let Some(tag) = reader.rest.first().copied() {
            f.write_str(separator)?;
            separator = "/";
            let rest = reader.rest;
            match tag {
                TEXT => match reader.text() {
                    Ok(text) => f.write_str(&text)?,
                    Err(_) => return hex(rest, f),
                },
                BYTES => match reader.bytes() {
                    Ok(bytes) => hex(&bytes, f)?,
                    Err(_) => return hex(rest, f),
                },
                FALSE | TRUE => write!(f, "{}", reader.tag() == Some(TRUE))?,
                _ => match reader.number() {
                    Some(number) => write!(f, "{number}")?,
                    None => return hex(rest, f),
                },
            }
        }
        Ok(())
    }
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StoredKey({self})")
    }
}

fn hex(bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

impl<K: Key + ?Sized> Key for &K {
    fn write(&self, key: &mut KeyWriter) {
        (**self).write(key);
    }
}

/// Declares the kinds of one element: the borrowed and owned types that are written so.
macro_rules! element {
    ($method:ident($as:expr, $from:expr): $($type:ty)*) => {
        $(
            impl Key for $type {
                fn write(&self, key: &mut KeyWriter) {
                    key.$method($as(self));
                }
            }

            impl FromKey for $type {
                fn read(key: &mut KeyReader<'_>) -> Result<Self, KeyMismatch> {
                    key.$method().and_then($from)
                }
            }
        )*
    };
}

fn widen<W, N: Copy + Into<W>>(narrow: &N) -> W {
    (*narrow).into()
}

fn narrow<W, N: TryFrom<W>>(wide: W) -> Result<N, KeyMismatch> {
    N::try_from(wide).map_err(|_| KeyMismatch {
        expected: "a smaller number",
    })
}

element!(text(String::as_str, Ok): String);
element!(bytes(Vec::as_slice, Ok): Vec<u8>);
element!(boolean(|value: &bool| *value, Ok): bool);
element!(unsigned(widen, narrow): u8 u16 u32 u64);
element!(signed(widen, narrow): i8 i16 i32 i64);

impl Key for str {
    fn write(&self, key: &mut KeyWriter) {
        key.text(self);
    }
}

impl Key for [u8] {
    fn write(&self, key: &mut KeyWriter) {
        key.bytes(self);
    }
}

/// The key of no elements.
impl Key for () {
    fn write(&self, _: &mut KeyWriter) {}
}

macro_rules! tuple {
    ($($name:ident)*) => {
        impl<$($name: Key),*> Key for ($($name,)*) {
            #[allow(non_snake_case, reason = "the type parameters name the elements")]
            fn write(&self, key: &mut KeyWriter) {
                let ($($name,)*) = self;
                $($name.write(key);)*
            }
        }

        impl<$($name: FromKey),*> FromKey for ($($name,)*) {
            fn read(key: &mut KeyReader<'_>) -> Result<Self, KeyMismatch> {
                Ok(($($name::read(key)?,)*))
            }
        }
    };
}

tuple!(A);
tuple!(A B);
tuple!(A B C);
tuple!(A B C D);
tuple!(A B C D E);
tuple!(A B C D E F);
