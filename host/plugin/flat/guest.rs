//! A guest that called a host function: its memory, and what the host holds for it.

use bytes::Bytes;
use wasmtime::{Caller, Memory, Result, bail};

use super::abi::{Lower, Lowering, Reader};
use super::wasi::Handles;
use crate::plugin::bindings::v0_1::Status;
use crate::plugin::state::CallState;

/// What the flat path holds for a sandbox.
#[derive(Default)]
pub struct Sandbox {
    /// Present once it is instantiated.
    memory: Option<Memory>,
    /// Of the call in progress.
    request: Bytes,
    answer: Option<Result<Vec<u8>, Status>>,
    /// What an import answered, while the guest makes room for it.
    lowering: Option<Lowering>,
    /// While the guest makes room, and after its answer was read, it must not call out: nobody expects it to
    /// ("may_leave" of the canonical ABI).
    may_not_leave: bool,
    /// What it holds of WASI.
    pub(super) handles: Handles,
}

impl Sandbox {
    /// Of an instance with this memory.
    pub(super) fn of(memory: Memory) -> Self {
        Self {
            memory: Some(memory),
            ..Self::default()
        }
    }

    /// A call begins: the guest makes room for its request.
    pub(super) fn begin(&mut self, request: Bytes) {
        self.request = request;
        self.answer = None;
        self.lowering = None;
        self.may_not_leave = true;
    }

    /// What the handler answered.
    pub(super) fn answered(&mut self) -> Option<Result<Vec<u8>, Status>> {
        self.request = Bytes::new();
        self.answer.take()
    }

    /// What it described was read: what comes after it must not call out.
    pub(super) fn must_not_leave(&mut self) {
        self.may_not_leave = true;
    }

    pub(super) fn memory(&self) -> Option<Memory> {
        self.memory
    }
}

/// A guest in the middle of a call of a host function.
pub(super) struct Guest<'c> {
    pub(super) state: &'c mut CallState,
    memory: &'c mut [u8],
}

impl<'c> Guest<'c> {
    /// # Errors
    /// If it must not call out at this moment; it is stopped then.
    pub(super) fn of(caller: &'c mut Caller<'_, CallState>) -> Result<Self> {
        let guest = Self::within(caller)?;
        if guest.state.flat.may_not_leave {
            bail!("cannot leave component instance");
        }
        Ok(guest)
    }

    /// Also while it must not call out.
    fn within(caller: &'c mut Caller<'_, CallState>) -> Result<Self> {
        let Some(memory) = caller.data().flat.memory else {
            bail!("cannot leave component instance");
        };
        let (memory, state) = memory.data_and_store_mut(caller);
        Ok(Self { state, memory })
    }

    /// Its arguments, or its answer.
    pub(super) fn arguments(&self) -> Reader<'_> {
        // The same bound as on the component path.
        Reader::new(self.memory, self.state.plugin.sandbox.memory_bytes)
    }

    /// Hands over what the function answers, to where the guest wants it; lists and strings when there is
    /// room.
    pub(super) fn answer<T: Lower>(self, at: u32, answer: T) -> Result<()> {
        let lowering = Lowering::of(answer, at);
        if lowering.needed().is_none() {
            return lowering.finish(self.memory);
        }
        self.state.flat.may_not_leave = true;
        self.state.flat.lowering = Some(lowering);
        Ok(())
    }
}

/// Puts the request where the guest has made room for it.
pub(super) fn request(mut caller: Caller<'_, CallState>, at: u32) -> Result<()> {
    let Guest { state, memory } = Guest::within(&mut caller)?;
    state.flat.may_not_leave = false;
    super::abi::write(memory, at, 1, &state.flat.request)
}

/// Reads the answer. What comes after it must not call out.
pub(super) fn answer(mut caller: Caller<'_, CallState>, at: u32) -> Result<()> {
    let guest = Guest::within(&mut caller)?;
    let answer = guest.arguments().value(at)?;
    guest.state.flat.answer = Some(answer);
    guest.state.flat.may_not_leave = true;
    Ok(())
}

/// Takes the room that was asked for, and asks for more: alignment and size, or a negative number.
pub(super) fn room(mut caller: Caller<'_, CallState>, at: u32) -> Result<i64> {
    let Guest { state, memory } = Guest::within(&mut caller)?;
    let flat = &mut state.flat;
    let Some(lowering) = &mut flat.lowering else {
        return Ok(-1);
    };
    lowering.take_room(memory, at)?;
    match lowering.needed() {
        Some((size, align)) => Ok(i64::from(align) << 32 | i64::from(size)),
        None => {
            lowering.finish(memory)?;
            flat.lowering = None;
            flat.may_not_leave = false;
            Ok(-1)
        }
    }
}
