//! Into a guest's memory: the fixed part of a value goes where the guest wants it, and its lists and strings
//! into room that the guest makes for each, outer ones first.

use wasmtime::{Result, bail};

use super::{Cases, Layout};

/// A value on its way into a guest's memory.
#[derive(Debug)]
pub(in crate::plugin::flat) struct Lowering {
    /// Where the fixed part goes.
    root: u32,
    align: u32,
    fixed: Vec<u8>,
    /// In the order in which the guest makes room for them.
    blocks: Vec<Block>,
    /// Those that have a place.
    placed: usize,
    /// Whether the guest was asked for room.
    asked: bool,
}

/// What stands outside the fixed part of a value.
#[derive(Debug)]
struct Block {
    bytes: Vec<u8>,
    align: u32,
    /// Where its address belongs.
    named_at: Place,
    /// Once there is room.
    address: u32,
}

/// A part of a value: in the fixed part, or in a block.
#[derive(Debug, Clone, Copy)]
pub(in crate::plugin::flat) struct Place {
    block: Option<usize>,
    offset: u32,
}

impl Place {
    pub(in crate::plugin::flat) fn plus(self, offset: u32) -> Self {
        Self {
            offset: self.offset + offset,
            ..self
        }
    }
}

/// A value that guests are handed.
pub(in crate::plugin::flat) trait Lower: Layout + Sized {
    fn lower(self, lowering: &mut Lowering, at: Place);

    /// As the bytes of a list.
    fn lower_all(values: Vec<Self>, lowering: &mut Lowering, at: Place) {
        let size = values.len() * Self::SIZE as usize;
        let block = lowering.block(vec![0; size], Self::ALIGN, values.len(), at);
        let offsets = (0..).step_by(Self::SIZE as usize);
        for (value, offset) in values.into_iter().zip(offsets) {
            value.lower(
                lowering,
                Place {
                    block: Some(block),
                    offset,
                },
            );
        }
    }
}

impl Lowering {
    /// Of a value whose fixed part goes to `root`.
    pub(in crate::plugin::flat) fn of<T: Lower>(value: T, root: u32) -> Self {
        let mut lowering = Self {
            root,
            align: T::ALIGN,
            fixed: vec![0; T::SIZE as usize],
            blocks: Vec::new(),
            placed: 0,
            asked: false,
        };
        value.lower(
            &mut lowering,
            Place {
                block: None,
                offset: 0,
            },
        );
        lowering
    }

    /// The size and alignment of the room that is needed next; none if all is placed.
    pub(in crate::plugin::flat) fn needed(&self) -> Option<(u32, u32)> {
        let block = self.blocks.get(self.placed)?;
        // Sizes beyond the address space are refused when there is no room for them.
        Some((u32::try_from(block.bytes.len()).unwrap_or(u32::MAX), block.align))
    }

    /// Takes the room that was needed when this was last asked; the first time there is none yet.
    ///
    /// # Errors
    /// If it is no such room; the guest is stopped then.
    pub(in crate::plugin::flat) fn take_room(&mut self, memory: &mut [u8], address: u32) -> Result<()> {
        if !std::mem::replace(&mut self.asked, true) {
            return Ok(());
        }
        let Some(block) = self.blocks.get_mut(self.placed) else {
            bail!("room that nobody asked for");
        };
        write(memory, address, block.align, &std::mem::take(&mut block.bytes))?;
        block.address = address;
        let Place { block: outer, offset } = block.named_at;
        let named = address.to_le_bytes();
        match outer {
            None => self.fixed[offset as usize..][..4].copy_from_slice(&named),
            // Outer blocks come first and were checked: the address of the inner one stands within them.
            Some(outer) => write(memory, self.blocks[outer].address + offset, 4, &named)?,
        }
        self.placed += 1;
        Ok(())
    }

    /// Writes the fixed part, when all else has its place.
    ///
    /// # Errors
    /// If it does not belong there; the guest is stopped then.
    pub(in crate::plugin::flat) fn finish(&self, memory: &mut [u8]) -> Result<()> {
        write(memory, self.root, self.align, &self.fixed)
    }

    fn block(&mut self, bytes: Vec<u8>, align: u32, count: usize, at: Place) -> usize {
        self.put(
            at.plus(4),
            &u32::try_from(count).unwrap_or(u32::MAX).to_le_bytes(),
        );
        self.blocks.push(Block {
            bytes,
            align,
            named_at: at,
            address: 0,
        });
        self.blocks.len() - 1
    }

    fn put(&mut self, at: Place, bytes: &[u8]) {
        let part = match at.block {
            None => &mut self.fixed,
            Some(block) => &mut self.blocks[block].bytes,
        };
        part[at.offset as usize..][..bytes.len()].copy_from_slice(bytes);
    }
}

/// Writes at an address that a guest chose.
pub(in crate::plugin::flat) fn write(memory: &mut [u8], at: u32, align: u32, bytes: &[u8]) -> Result<()> {
    if !at.is_multiple_of(align) {
        bail!("an address is not aligned");
    }
    match memory
        .get_mut(at as usize..)
        .and_then(|memory| memory.get_mut(..bytes.len()))
    {
        Some(room) => room.copy_from_slice(bytes),
        None => bail!("an address is beyond the memory"),
    }
    Ok(())
}

macro_rules! scalars {
    ($($ty:ty),*) => {
        $(
            impl Lower for $ty {
                fn lower(self, lowering: &mut Lowering, at: Place) {
                    lowering.put(at, &self.to_le_bytes());
                }
            }
        )*
    };
}
scalars!(u32, u64);

impl Lower for u8 {
    fn lower(self, lowering: &mut Lowering, at: Place) {
        lowering.put(at, &[self]);
    }

    fn lower_all(values: Vec<Self>, lowering: &mut Lowering, at: Place) {
        let count = values.len();
        lowering.block(values, 1, count, at);
    }
}

impl Lower for bool {
    fn lower(self, lowering: &mut Lowering, at: Place) {
        lowering.put(at, &[self.into()]);
    }
}

impl Lower for () {
    fn lower(self, _: &mut Lowering, _: Place) {}
}

impl Lower for String {
    fn lower(self, lowering: &mut Lowering, at: Place) {
        u8::lower_all(self.into_bytes(), lowering, at);
    }
}

impl<T: Lower> Lower for Vec<T> {
    fn lower(self, lowering: &mut Lowering, at: Place) {
        T::lower_all(self, lowering, at);
    }
}

impl<T: Lower> Lower for Option<T> {
    fn lower(self, lowering: &mut Lowering, at: Place) {
        if let Some(value) = self {
            lowering.put(at, &[1]);
            value.lower(lowering, at.plus(Self::PAYLOAD));
        }
    }
}

impl<T: Lower, E: Lower> Lower for Result<T, E> {
    fn lower(self, lowering: &mut Lowering, at: Place) {
        match self {
            Ok(value) => value.lower(lowering, at.plus(Self::PAYLOAD)),
            Err(error) => {
                lowering.put(at, &[1]);
                error.lower(lowering, at.plus(Self::PAYLOAD));
            }
        }
    }
}

impl<A: Lower, B: Lower> Lower for (A, B) {
    fn lower(self, lowering: &mut Lowering, at: Place) {
        self.0.lower(lowering, at);
        self.1
            .lower(lowering, at.plus(super::align_to(A::SIZE, B::ALIGN)));
    }
}
