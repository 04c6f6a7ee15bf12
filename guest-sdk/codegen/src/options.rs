//! `mortise/v1/options.proto`: what a proto can say to the host. The code generator brings the file along,
//! and leaves no trace of it in what it makes.

use std::collections::BTreeSet;

use prost_types::{FileDescriptorProto, FileDescriptorSet};
use protox::file::{File, FileResolver};
use protox::prost_reflect::{DescriptorPool, MethodDescriptor, Value};

const FILE: &str = "mortise/v1/options.proto";
const SOURCE: &str = include_str!("../proto/mortise/v1/options.proto");
const INTERNAL: &str = "mortise.v1.internal";
/// What it imports.
const DESCRIPTOR: &str = "google/protobuf/descriptor.proto";

/// Finds the file where no include directory has one of its name.
pub(crate) struct OwnFile;

impl FileResolver for OwnFile {
    fn open_file(&self, name: &str) -> Result<File, protox::Error> {
        if name == FILE {
            File::from_source(name, SOURCE)
        } else {
            Err(protox::Error::file_not_found(name))
        }
    }
}

/// The methods that are marked as internal, as `/package.Service/Method`.
pub(crate) fn internal_methods(pool: &DescriptorPool) -> BTreeSet<String> {
    let Some(option) = pool.get_extension_by_name(INTERNAL) else {
        return BTreeSet::new();
    };
    let is_internal =
        |method: &MethodDescriptor| *method.options().get_extension(&option) == Value::Bool(true);
    let path =
        |method: MethodDescriptor| format!("/{}/{}", method.parent_service().full_name(), method.name());
    let methods = pool
        .services()
        .flat_map(|service| service.methods().collect::<Vec<_>>());
    methods.filter(is_internal).map(path).collect()
}

/// Takes the file out, and what only it imports. Options that prost does not know are gone by now, so nothing
/// refers to it any more.
pub(crate) fn remove(files: &mut FileDescriptorSet) {
    if !files.file.iter().any(|file| file.name() == FILE) {
        return;
    }
    files.file.retain(|file| file.name() != FILE);
    for file in &mut files.file {
        remove_import(file);
    }
    let imports = |file: &FileDescriptorProto| file.dependency.iter().any(|import| import == DESCRIPTOR);
    if !files.file.iter().any(imports) {
        files.file.retain(|file| file.name() != DESCRIPTOR);
    }
}

/// Public and weak imports are told by their position among all.
fn remove_import(file: &mut FileDescriptorProto) {
    let Some(removed) = file.dependency.iter().position(|import| import == FILE) else {
        return;
    };
    file.dependency.remove(removed);
    for positions in [&mut file.public_dependency, &mut file.weak_dependency] {
        positions.retain(|position| usize::try_from(*position) != Ok(removed));
        for position in positions {
            if usize::try_from(*position).is_ok_and(|position| position > removed) {
                *position -= 1;
            }
        }
    }
}
