//! What tests and the sandbox that runs their plugin say to each other, over the standard input and output of
//! `mortise sandbox`. Both sides are compiled from this file.
//!
//! The sandbox says what it has loaded. From then on the tests make one call at a time; until it has ended,
//! the sandbox asks for one import after the other, each of which is answered. A frame is its length, in four
//! bytes of which the lowest comes first, and a message as `postcard` writes it. Statuses, and arguments and
//! answers of imports, are the contract's types, as both sides' bindings derive their form from the WIT.

use std::io::{self, Read, Write};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::contract::Status;

/// Both sides must be of the same.
pub(crate) const VERSION: u32 = 1;

/// Anything longer is no frame: messages are bounded by the guest's memory and the bounds on requests.
const MAX_FRAME_BYTES: u32 = 256 << 20;

/// What the tests say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromTest {
    /// Runs a method, by its index in the description, in a fresh sandbox.
    Call { method: u32, request: Vec<u8> },
    /// To an import.
    Answer(Vec<u8>),
}

/// What the sandbox says.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum FromSandbox {
    Ready(Loaded),
    /// The guest calls a function, such as `store.get`, with a tuple of arguments.
    Import {
        function: String,
        arguments: Vec<u8>,
    },
    Ended {
        outcome: Outcome,
        /// What the operator of a real host would find in the log besides what the guest itself logs.
        log: String,
    },
}

/// What the component says of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Loaded {
    pub(crate) name: String,
    pub(crate) version: String,
    /// Their paths, in the order of their indices.
    pub(crate) methods: Vec<String>,
}

/// How a call ended.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Outcome {
    /// With the encoded response.
    Answered(Vec<u8>),
    /// With the handler's own status.
    Failed(Status),
    /// By the host: the guest trapped, took too long, or broke a bound.
    Stopped(Status),
}

pub(crate) fn write<M: Serialize>(to: &mut impl Write, message: &M) -> io::Result<()> {
    let message = postcard::to_allocvec(message).map_err(io::Error::other)?;
    let length = u32::try_from(message.len())
        .ok()
        .filter(|length| *length <= MAX_FRAME_BYTES);
    let length = length.ok_or_else(|| io::Error::other("a message is too long"))?;
    to.write_all(&length.to_le_bytes())?;
    to.write_all(&message)?;
    to.flush()
}

/// # Errors
/// `UnexpectedEof` if the other side is gone.
pub(crate) fn read<M: DeserializeOwned>(from: &mut impl Read) -> io::Result<M> {
    let mut length = [0; 4];
    from.read_exact(&mut length)?;
    let length = u32::from_le_bytes(length);
    if length > MAX_FRAME_BYTES {
        return Err(io::Error::other("what was said is no frame"));
    }
    let mut message = vec![0; length as usize];
    from.read_exact(&mut message)?;
    postcard::from_bytes(&message).map_err(io::Error::other)
}
