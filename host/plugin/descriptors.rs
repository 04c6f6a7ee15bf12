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
    check_names(&pool)?;
    Ok(pool)
}

/// prost-reflect takes names that protobuf does not have: one with a dot in it could be taken for another's, and
/// nobody can ask for it.
fn check_names(pool: &DescriptorPool) -> Result<(), String> {
    for file in pool.files() {
        let package = file.package_name();
        if !package.is_empty() && !package.split('.').all(is_identifier) {
            return Err(no_name(package));
        }
    }
    for service in pool.services() {
        check_name(service.name())?;
        for method in service.methods() {
            check_name(method.name())?;
        }
    }
    for message in pool.all_messages() {
        check_name(message.name())?;
        for field in message.fields() {
            check_name(field.name())?;
        }
        for oneof in message.oneofs() {
            check_name(oneof.name())?;
        }
    }
    for found in pool.all_enums() {
        check_name(found.name())?;
        for value in found.values() {
            check_name(value.name())?;
        }
    }
    for extension in pool.all_extensions() {
        check_name(extension.name())?;
    }
    Ok(())
}

fn check_name(name: &str) -> Result<(), String> {
    if is_identifier(name) {
        Ok(())
    } else {
        Err(no_name(name))
    }
}

fn is_identifier(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_alphabetic() || first == '_')
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

fn no_name(name: &str) -> String {
    format!("{} is no name in protobuf", printable(name, MAX_REASON_BYTES))
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
