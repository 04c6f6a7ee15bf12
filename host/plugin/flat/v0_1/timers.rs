//! `mortise:plugin/timers`.

use wasmtime::{Linker, Result};

use super::{Guest, Host};
use crate::plugin::bindings::v0_1::imports::timers::Host as Timers;
use crate::plugin::state::CallState;

pub(super) const TIMERS: &str = "mortise:plugin/timers@0.1.0";

pub(super) fn add_to_linker(linker: &mut Linker<CallState>) -> Result<()> {
    linker.func_wrap(
        TIMERS,
        "schedule",
        |mut caller: Host<'_>,
         when: u64,
         method: u32,
         method_bytes: u32,
         request: u32,
         request_bytes: u32,
         at: u32| {
            let guest = Guest::of(&mut caller)?;
            let (method, request) = guest
                .arguments()
                .key_and_value((method, method_bytes), (request, request_bytes))?;
            let scheduled = Timers::schedule(guest.state, when, method, request);
            guest.answer(at, scheduled)
        },
    )?;
    linker.func_wrap(
        TIMERS,
        "cancel",
        |mut caller: Host<'_>, id: u32, bytes: u32, at: u32| {
            let guest = Guest::of(&mut caller)?;
            let id = guest.arguments().string(id, bytes)?;
            let cancelled = Timers::cancel(guest.state, id);
            guest.answer(at, cancelled)
        },
    )?;
    Ok(())
}
