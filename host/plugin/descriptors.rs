//! Descriptors that a stranger wrote.

use std::panic::{AssertUnwindSafe, catch_unwind};

use prost_reflect::{DescriptorError, DescriptorPool};

use crate::observe::printable;

const MAX_REASON_BYTES: usize = 512;

/// The pool that `build` makes of them.
///
/// prost-reflect panics on some descriptors that no protobuf compiler writes, for instance on an unknown syntax.
/// Nothing of the pool is left then, so such a panic is a refusal like any other.
///
/// # Errors
/// Why they cannot be used, made printable.
pub(crate) fn pool_of(
    build: impl FnOnce() -> Result<DescriptorPool, DescriptorError>,
) -> Result<DescriptorPool, String> {
    let pool = match catch_unwind(AssertUnwindSafe(build)) {
        Ok(built) => built.map_err(|error| printable(&error.to_string(), MAX_REASON_BYTES))?,
        Err(_) => return Err("no protobuf compiler writes such descriptors".to_owned()),
    };
    match malformed_name(&pool) {
        None => Ok(pool),
        Some(name) => Err(format!(
            "{} is no name in protobuf",
            printable(&name, MAX_REASON_BYTES)
        )),
    }
}

/// A name that protobuf does not have. prost-reflect takes any: one with a dot in it could be taken for another's, and
/// nobody can ask for it.
fn malformed_name(pool: &DescriptorPool) -> Option<String> {
    let is_identifier = |name: &str| {
        name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
            && name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    let is_package = |name: &str| name.is_empty() || name.split('.').all(is_identifier);
    let malformed = |name: &str| (!is_identifier(name)).then(|| name.to_owned());
    pool.files()
        .map(|file| file.package_name().to_owned())
        .find(|package| !is_package(package))
        .or_else(|| {
            pool.services().find_map(|service| {
                malformed(service.name())
                    .or_else(|| service.methods().find_map(|method| malformed(method.name())))
            })
        })
        .or_else(|| {
            pool.all_messages().find_map(|message| {
                malformed(message.name())
                    .or_else(|| message.fields().find_map(|field| malformed(field.name())))
                    .or_else(|| message.oneofs().find_map(|oneof| malformed(oneof.name())))
            })
        })
        .or_else(|| {
            pool.all_enums().find_map(|found| {
                malformed(found.name()).or_else(|| found.values().find_map(|value| malformed(value.name())))
            })
        })
        .or_else(|| {
            pool.all_extensions()
                .find_map(|extension| malformed(extension.name()))
        })
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use prost_types::{FileDescriptorProto, FileDescriptorSet};

    use super::*;

    #[test]
    fn what_no_compiler_writes_is_refused() {
        let file = FileDescriptorProto {
            syntax: Some("proto9".into()),
            ..FileDescriptorProto::default()
        };
        let set = FileDescriptorSet { file: vec![file] }.encode_to_vec();
        let refused = pool_of(|| DescriptorPool::decode(&set[..])).expect_err("refused");
        assert!(refused.contains("compiler"), "{refused}");
    }
}
