//! Answers of reflection, for the descriptors of a plugin.

use prost_reflect::DescriptorPool;

use super::super::reflection::{Reply, file_of, with_imports};

/// Asks for everything that there is: each thing is found in its file, and a file comes with what it imports.
pub(crate) fn reflect(pool: &DescriptorPool) {
    let services = pool.services().flat_map(|service| {
        let methods: Vec<_> = service
            .methods()
            .map(|method| method.full_name().to_owned())
            .collect();
        [vec![service.full_name().to_owned()], methods].concat()
    });
    let messages = pool.all_messages().flat_map(|message| {
        let fields: Vec<_> = message
            .fields()
            .map(|field| field.full_name().to_owned())
            .collect();
        [vec![message.full_name().to_owned()], fields].concat()
    });
    for symbol in services.chain(messages) {
        assert!(file_of(pool, &symbol).is_some(), "{symbol}");
    }
    for symbol in ["", ".", "a..b", "a.v1.NONE", "a.v1.Order.choice"] {
        let _ = file_of(pool, symbol);
    }
    for file in pool.files() {
        let Reply::Files(files) = with_imports(&file) else {
            panic!("a file that there is")
        };
        assert!(!files.is_empty() && files.len() <= pool.files().len());
    }
}
