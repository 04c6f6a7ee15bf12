//! The faults of calls, and the plugins that commit them. Benchmarks have them too: `benches/neighbours.rs`.
//!
//! The plugin of faults misbehaves as compiled code can. What no compiler makes (lying descriptions, values
//! that the contract's types rule out, traps between the answer and its end) is crafted by hand.

mod by_hand;
mod compiled;

use std::path::{Path, PathBuf};

use bytes::Bytes;
use tonic::Code;

use crate::support::crafted::Crafted;

pub(crate) use by_hand::{CRAFTED_SERVICE, ENDLESS};

/// For faults that last until their deadline.
const SHORT: &str = "150m";

/// A fault of a call, and how it must end.
pub(crate) struct Fault {
    /// What goes wrong.
    pub(crate) what: &'static str,
    pub(crate) path: String,
    /// The request, framed.
    pub(crate) body: Bytes,
    /// `grpc-timeout`.
    pub(crate) timeout: &'static str,
    pub(crate) ends: Ends,
}

/// How a fault of a call ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ends {
    /// In a status of the host's own, and its sandbox with it.
    Failed(Code, &'static str),
    /// In the guest's own status, after the host refused it what it wanted.
    Refused(Code),
    /// In an answer: the fault is harmless.
    Answered,
}

const FAILED: Ends = Ends::Failed(Code::Unknown, "PLUGIN_FAILED");
pub(crate) const LATE: Ends = Ends::Failed(Code::DeadlineExceeded, "DEADLINE_EXCEEDED");
const OUT_OF_MEMORY: Ends = Ends::Failed(Code::ResourceExhausted, "PLUGIN_OUT_OF_MEMORY");
const TOO_LARGE: Ends = Ends::Failed(Code::ResourceExhausted, "ANSWER_TOO_LARGE");
const OVER_A_LIMIT: Ends = Ends::Refused(Code::ResourceExhausted);
/// Arguments that are never valid are the handler's mistake, so the SDK makes them INTERNAL.
const INVALID: Ends = Ends::Refused(Code::Internal);

impl Fault {
    /// The name that its plugin has in the configuration.
    pub(crate) fn plugin(&self) -> String {
        let (service, _) = self.path[1..].split_once('/').expect("a path");
        let (_, name) = service.rsplit_once('.').expect("a package");
        name.to_lowercase()
    }
}

/// Every fault of the table.
pub(crate) fn faults() -> Vec<Fault> {
    let compiled = compiled::compiled_faults().into_iter();
    compiled.chain(by_hand::crafted_faults()).collect()
}

/// A plugin of crafted faults.
pub(crate) struct ByHand {
    pub(crate) name: String,
    pub(crate) service: String,
    pub(crate) file: PathBuf,
}

/// Writes the plugins of crafted faults to `folder`.
pub(crate) fn plugins_by_hand(folder: &Path) -> Vec<ByHand> {
    let write = |service: String, crafted: Crafted| {
        let (_, name) = service.rsplit_once('.').expect("a package");
        let name = name.to_lowercase();
        let file = folder.join(format!("{name}.wasm"));
        crafted.write_to(&file);
        ByHand { name, service, file }
    };
    let bad_starts = by_hand::STARTS
        .iter()
        .map(|(_, _, name, start)| (format!("crafted.v1.{name}"), by_hand::bad_start(name, start)));
    let others = [
        (CRAFTED_SERVICE.to_owned(), by_hand::crafted()),
        (by_hand::TABLE_SERVICE.to_owned(), by_hand::table()),
    ];
    let plugins = others.into_iter().chain(bad_starts);
    plugins
        .map(|(service, crafted)| write(service, crafted))
        .collect()
}
