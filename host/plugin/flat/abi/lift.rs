//! From a guest's memory. Everything there is the guest's: addresses, lengths and cases are checked, and what
//! is copied is bounded.

use wasmtime::{Error, Result, bail};

use super::{Cases, Layout};

/// Reads one import's arguments, or one answer.
pub(in crate::plugin::flat) struct Reader<'m> {
    memory: &'m [u8],
    /// Bytes of the host's that may still be made: lists may overlap, so without a bound of its own it could
    /// be far more than the memory holds.
    left: usize,
}

/// A value that guests hand over.
pub(in crate::plugin::flat) trait Lift: Layout + Sized {
    /// Reads what stands at `at`, which is aligned and has room for it within the memory.
    ///
    /// # Errors
    /// If it is not a value of this type; the guest is stopped then.
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self>;

    /// The values that stand there one behind the other.
    fn lift_all(reader: &mut Reader<'_>, at: u32, count: u32) -> Result<Vec<Self>> {
        (0..count)
            .map(|index| Self::lift(reader, at + index * Self::SIZE))
            .collect()
    }
}

/// A value that is an address and a length, be it in memory or among the arguments of a function.
pub(in crate::plugin::flat) trait Sequence: Sized {
    /// # Errors
    /// If it is not a value of this type; the guest is stopped then.
    fn read(reader: &mut Reader<'_>, at: u32, length: u32) -> Result<Self>;
}

impl Sequence for String {
    fn read(reader: &mut Reader<'_>, at: u32, length: u32) -> Result<Self> {
        reader.string(at, length)
    }
}

impl<T: Lift> Sequence for Vec<T> {
    fn read(reader: &mut Reader<'_>, at: u32, length: u32) -> Result<Self> {
        reader.list(at, length)
    }
}

impl<'m> Reader<'m> {
    /// May make `most` bytes.
    pub(in crate::plugin::flat) fn new(memory: &'m [u8], most: usize) -> Self {
        Self { memory, left: most }
    }

    /// A value at an address that the guest gave.
    pub(in crate::plugin::flat) fn value<T: Lift>(&mut self, at: u32) -> Result<T> {
        self.check(at, T::ALIGN, T::SIZE.into())?;
        T::lift(self, at)
    }

    /// A list.
    pub(in crate::plugin::flat) fn list<T: Lift>(&mut self, at: u32, count: u32) -> Result<Vec<T>> {
        self.check(at, T::ALIGN, u64::from(count) * u64::from(T::SIZE))?;
        let bytes = (count as usize).saturating_mul(size_of::<T>());
        match self.left.checked_sub(bytes) {
            Some(left) => self.left = left,
            None => bail!("too much is handed over in one call"),
        }
        T::lift_all(self, at, count)
    }

    /// A string.
    pub(in crate::plugin::flat) fn string(&mut self, at: u32, bytes: u32) -> Result<String> {
        String::from_utf8(self.list(at, bytes)?).map_err(|_| Error::msg("a string is not UTF-8"))
    }

    /// A key, which is a string or a list, and its value.
    pub(in crate::plugin::flat) fn key_and_value<K: Sequence>(
        &mut self,
        key: (u32, u32),
        value: (u32, u32),
    ) -> Result<(K, Vec<u8>)> {
        Ok((K::read(self, key.0, key.1)?, Vec::read(self, value.0, value.1)?))
    }

    /// An optional list among the arguments of a function: what tells the cases apart comes as a value of its
    /// own.
    pub(in crate::plugin::flat) fn optional_list<T: Lift>(
        &mut self,
        case: u32,
        at: u32,
        count: u32,
    ) -> Result<Option<Vec<T>>> {
        is_some(case)?.then(|| self.list(at, count)).transpose()
    }

    fn check(&self, at: u32, align: u32, size: u64) -> Result<()> {
        if !at.is_multiple_of(align) {
            bail!("an address is not aligned");
        }
        if u64::from(at) + size > self.memory.len() as u64 {
            bail!("an address is beyond the memory");
        }
        Ok(())
    }

    fn bytes<const N: usize>(&self, at: u32) -> Result<[u8; N]> {
        let bytes = self.memory.get(at as usize..).and_then(<[u8]>::first_chunk);
        bytes
            .copied()
            .ok_or_else(|| Error::msg("an address is beyond the memory"))
    }
}

/// The case of an option.
///
/// # Errors
/// If there is no such case; the guest is stopped then.
pub(in crate::plugin::flat) fn is_some(case: u32) -> Result<bool> {
    match case {
        0 => Ok(false),
        1 => Ok(true),
        _ => bail!("invalid case of an option"),
    }
}

impl Lift for u8 {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        Ok(u8::from_le_bytes(reader.bytes(at)?))
    }

    fn lift_all(reader: &mut Reader<'_>, at: u32, count: u32) -> Result<Vec<Self>> {
        Ok(reader.memory[at as usize..][..count as usize].to_vec())
    }
}

impl Lift for u32 {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        Ok(u32::from_le_bytes(reader.bytes(at)?))
    }
}

impl Lift for u64 {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        Ok(u64::from_le_bytes(reader.bytes(at)?))
    }
}

impl Lift for bool {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        Ok(u8::lift(reader, at)? != 0)
    }
}

impl Lift for String {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        let (address, bytes) = (u32::lift(reader, at)?, u32::lift(reader, at + 4)?);
        reader.string(address, bytes)
    }
}

impl<T: Lift> Lift for Vec<T> {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        let (address, count) = (u32::lift(reader, at)?, u32::lift(reader, at + 4)?);
        reader.list(address, count)
    }
}

impl<T: Lift> Lift for Option<T> {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        let is_some = is_some(u8::lift(reader, at)?.into())?;
        is_some.then(|| T::lift(reader, at + Self::PAYLOAD)).transpose()
    }
}

impl<T: Lift, E: Lift> Lift for Result<T, E> {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        Ok(match u8::lift(reader, at)? {
            0 => Ok(T::lift(reader, at + Self::PAYLOAD)?),
            1 => Err(E::lift(reader, at + Self::PAYLOAD)?),
            _ => bail!("invalid case of a result"),
        })
    }
}

impl<A: Lift, B: Lift> Lift for (A, B) {
    fn lift(reader: &mut Reader<'_>, at: u32) -> Result<Self> {
        let first = A::lift(reader, at)?;
        let second = B::lift(reader, at + super::align_to(A::SIZE, B::ALIGN))?;
        Ok((first, second))
    }
}
