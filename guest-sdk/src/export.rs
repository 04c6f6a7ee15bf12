//! The contract's exports over a [`Plugin`].

use std::marker::PhantomData;

use crate::bindings::exports::mortise::plugin::handler as wit;
use crate::bindings::mortise::plugin::types::Status as WitStatus;
use crate::config::{ConfigKey, ConfigKind};
use crate::plugin::{self, Plugin};
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
        plugin::handle::<P>(method, &request).map_err(WitStatus::from)
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
                internal: false,
            })
            .collect(),
        config: P::CONFIG.iter().map(config_key).collect(),
        grants: Vec::new(),
    }
}

/// Encoded `FileDescriptorSet`s concatenate to their union. Services generated together share one set, which
/// is taken once.
fn merge_descriptors(sets: impl Iterator<Item = &'static [u8]>) -> Vec<u8> {
    let mut distinct: Vec<&[u8]> = Vec::new();
    for set in sets {
        if !distinct.contains(&set) {
            distinct.push(set);
        }
    }
    distinct.concat()
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
