//! The contract's exports over a [`Plugin`].

use std::io::Write as _;
use std::marker::PhantomData;

use prost::Message;

use crate::bindings::exports::mortise::plugin::handler as wit;
use crate::bindings::mortise::plugin::types::Status as WitStatus;
use crate::config::{ConfigKey, ConfigKind};
use crate::plugin::{self, Grant, Plugin};
use crate::{log, panic};

/// A plugin behind the contract's exports.
pub struct Exported<P>(PhantomData<P>);

impl<P: Plugin> wit::Guest for Exported<P> {
    fn describe() -> wit::Description {
        start();
        describe::<P>()
    }

    fn handle(method: u32, request: Vec<u8>) -> Result<Vec<u8>, WitStatus> {
        start();
        let result = plugin::handle::<P>(method, request).map_err(WitStatus::from);
        // An unfinished line would be lost with this instance, or turn up in the log of its next call.
        // The host takes all that a guest prints, so this cannot fail.
        let _ = std::io::stdout().flush();
        result
    }
}

/// Runs at the head of every export. An instance usually serves one call, so this must stay cheap.
fn start() {
    panic::install_hook();
    log::start_call();
}

pub(crate) fn describe<P: Plugin>() -> wit::Description {
    wit::Description {
        name: P::NAME.to_owned(),
        version: P::VERSION.to_owned(),
        descriptors: merge_descriptors(P::SERVICES.iter().map(|service| service.descriptors)),
        methods: plugin::methods::<P>()
            .map(|method| wit::Method {
                path: method.path.to_owned(),
                internal: method.internal,
            })
            .collect(),
        config: P::CONFIG.iter().map(config_key).collect(),
        grants: P::GRANTS.iter().map(grant).collect(),
    }
}

/// A `google.protobuf.FileDescriptorSet` whose files are left encoded.
#[derive(Message)]
struct FileSet {
    #[prost(bytes = "vec", repeated, tag = "1")]
    files: Vec<Vec<u8>>,
}

/// The union of the services' descriptors. Services generated together share one set, and sets of different
/// crates may share files; each is taken once.
///
/// # Panics
/// When a set does not parse, which generated code rules out.
fn merge_descriptors(sets: impl Iterator<Item = &'static [u8]>) -> Vec<u8> {
    let mut union = FileSet::default();
    for set in sets {
        let set = FileSet::decode(set).expect("a service embeds a FileDescriptorSet");
        for file in set.files {
            if !union.files.contains(&file) {
                union.files.push(file);
            }
        }
    }
    union.encode_to_vec()
}

fn grant(grant: &Grant) -> wit::Grant {
    wit::Grant {
        capability: grant.capability.to_owned(),
        target: grant.target.to_owned(),
        reason: grant.reason.to_owned(),
    }
}

fn config_key(key: &ConfigKey) -> wit::ConfigKey {
    wit::ConfigKey {
        name: key.name.to_owned(),
        kind: match key.kind {
            ConfigKind::Text => wit::ConfigKind::Text,
            ConfigKind::Integer => wit::ConfigKind::Integer,
            ConfigKind::Number => wit::ConfigKind::Number,
            ConfigKind::Boolean => wit::ConfigKind::Boolean,
        },
        doc: key.doc.to_owned(),
        default: key.default.map(str::to_owned),
    }
}

#[cfg(test)]
mod tests {
    use super::merge_descriptors;

    #[test]
    fn a_file_that_several_services_need_is_described_once() {
        let merged = merge_descriptors([&b"\x0a\x01a\x0a\x01b"[..], b"\x0a\x01b\x0a\x01c", b""].into_iter());
        assert_eq!(merged, b"\x0a\x01a\x0a\x01b\x0a\x01c");
    }
}
