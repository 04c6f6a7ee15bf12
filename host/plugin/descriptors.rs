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
    match catch_unwind(AssertUnwindSafe(build)) {
        Ok(built) => built.map_err(|error| printable(&error.to_string(), MAX_REASON_BYTES)),
        Err(_) => Err("no protobuf compiler writes such descriptors".to_owned()),
    }
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
