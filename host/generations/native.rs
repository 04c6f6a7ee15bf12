//! A function of the host's own program in the place of a plugin's sandbox, for benchmarks alone: what a call costs
//! then is the host, and the rest of what it usually costs is the sandbox.
//!
//! No configuration leads here. A plugin is loaded and describes itself as always.

use bytes::Bytes;

use super::generation::Finished;
use crate::plugin::state::{Attempt, PluginContext};
use crate::status::GuestStatus;

/// Answers a call of the method with this index in the plugin's description.
pub type NativeHandler = fn(&PluginContext, &mut Attempt, usize, &[u8]) -> Result<Vec<u8>, GuestStatus>;

pub(super) fn run(
    handler: NativeHandler,
    context: &PluginContext,
    mut attempt: Box<Attempt>,
    method: usize,
    request: &Bytes,
) -> Finished {
    let outcome = handler(context, &mut attempt, method, request);
    let Attempt {
        transaction, answer, ..
    } = *attempt;
    Finished {
        outcome: outcome.map(|message| (message, transaction)),
        metadata: answer,
    }
}
