//! The canonical ABI, as far as plugins' contracts need it: how values stand in a guest's memory.
//!
//! Rules and names are those of "Canonical ABI" in the component model's explainer. Sizes, alignments and
//! offsets are in bytes. Strings are UTF-8.

mod lift;
mod lower;
#[cfg(test)]
mod tests;

use wasmtime::{Error, Result};

pub(super) use lift::{Lift, Reader, is_some};
pub(super) use lower::{Lower, Lowering, Place, write};

/// Where the parts of a value stand.
pub(super) trait Layout {
    const SIZE: u32;
    /// A power of two.
    const ALIGN: u32;
}

pub(super) const fn align_to(offset: u32, align: u32) -> u32 {
    offset.next_multiple_of(align)
}

pub(super) const fn max(a: u32, b: u32) -> u32 {
    if a > b { a } else { b }
}

macro_rules! scalars {
    ($($ty:ty),*) => {
        $(
            impl Layout for $ty {
                const SIZE: u32 = size_of::<$ty>() as u32;
                const ALIGN: u32 = Self::SIZE;
            }
        )*
    };
}
scalars!(u8, u32, u64, bool);

impl Layout for () {
    const SIZE: u32 = 0;
    const ALIGN: u32 = 1;
}

/// An address and a length.
impl Layout for String {
    const SIZE: u32 = 8;
    const ALIGN: u32 = 4;
}

/// An address and a length.
impl<T> Layout for Vec<T> {
    const SIZE: u32 = 8;
    const ALIGN: u32 = 4;
}

/// A byte that tells the cases apart, and the larger case behind it.
impl<T: Layout, E: Layout> Layout for Result<T, E> {
    const SIZE: u32 = align_to(Self::PAYLOAD + max(T::SIZE, E::SIZE), Self::ALIGN);
    const ALIGN: u32 = max(T::ALIGN, E::ALIGN);
}

impl<T: Layout> Layout for Option<T> {
    const SIZE: u32 = align_to(Self::PAYLOAD + T::SIZE, Self::ALIGN);
    const ALIGN: u32 = T::ALIGN;
}

/// Values of several cases.
trait Cases: Layout {
    /// Where what a case holds begins.
    const PAYLOAD: u32 = align_to(1, Self::ALIGN);
}

impl<T: Layout, E: Layout> Cases for Result<T, E> {}
impl<T: Layout> Cases for Option<T> {}

impl<A: Layout, B: Layout> Layout for (A, B) {
    const SIZE: u32 = align_to(align_to(A::SIZE, B::ALIGN) + B::SIZE, Self::ALIGN);
    const ALIGN: u32 = max(A::ALIGN, B::ALIGN);
}

/// Enumerations of at most 256 cases, numbered from 0 in the order of the WIT.
pub(super) trait Enumeration: Copy + 'static {
    const CASES: &'static [Self];

    /// # Errors
    /// If there is no such case; the guest is stopped then.
    fn of_case(case: u32) -> Result<Self> {
        let found = Self::CASES.get(case as usize).copied();
        found.ok_or_else(|| Error::msg("invalid case of an enumeration"))
    }
}

/// Implements the ABI for a record: its fields, in the order of the WIT.
macro_rules! record {
    ($ty:ty { $($field:ident: $of:ty),* $(,)? }) => {
        impl Layout for $ty {
            const SIZE: u32 = {
                let mut size = 0;
                $(size = align_to(size, <$of>::ALIGN) + <$of>::SIZE;)*
                align_to(size, Self::ALIGN)
            };
            const ALIGN: u32 = {
                let mut align = 1;
                $(align = max(align, <$of>::ALIGN);)*
                align
            };
        }

        // As the component path has it.
        const _: () = {
            assert!(<$ty as Layout>::SIZE as usize == <$ty as wasmtime::component::ComponentType>::SIZE32);
            assert!(<$ty as Layout>::ALIGN == <$ty as wasmtime::component::ComponentType>::ALIGN32);
        };

        impl Lift for $ty {
            fn lift(reader: &mut Reader<'_>, at: u32) -> wasmtime::Result<Self> {
                let mut end = at;
                $(
                    let here = align_to(end, <$of>::ALIGN);
                    end = here + <$of>::SIZE;
                    let $field = <$of as Lift>::lift(reader, here)?;
                )*
                debug_assert!(end <= at + Self::SIZE);
                Ok(Self { $($field),* })
            }
        }

        impl Lower for $ty {
            fn lower(self, lowering: &mut Lowering, at: Place) {
                let mut end = 0;
                $(
                    let here = align_to(end, <$of>::ALIGN);
                    end = here + <$of>::SIZE;
                    self.$field.lower(lowering, at.plus(here));
                )*
                debug_assert!(end <= Self::SIZE);
            }
        }
    };
}
pub(super) use record;

/// Implements the ABI for an enumeration: its cases, in the order of the WIT.
macro_rules! enumeration {
    ($ty:ty { $($case:ident),* $(,)? }) => {
        impl Layout for $ty {
            const SIZE: u32 = 1;
            const ALIGN: u32 = 1;
        }

        impl Enumeration for $ty {
            const CASES: &'static [Self] = &[$(<$ty>::$case),*];
        }

        // Generated from the same WIT: all of them, numbered as they are there.
        const _: () = {
            let cases = <$ty as Enumeration>::CASES;
            let mut number = 0;
            while number < cases.len() {
                assert!(cases[number] as usize == number);
                number += 1;
            }
        };

        impl Lift for $ty {
            fn lift(reader: &mut Reader<'_>, at: u32) -> wasmtime::Result<Self> {
                Self::of_case(u8::lift(reader, at)?.into())
            }
        }

        impl Lower for $ty {
            fn lower(self, lowering: &mut Lowering, at: Place) {
                (self as u8).lower(lowering, at);
            }
        }
    };
}
pub(super) use enumeration;
