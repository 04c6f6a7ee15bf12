//! What clients may see of a plugin's descriptors.

use std::collections::HashSet;

use prost_reflect::{DescriptorError, DescriptorPool};
use prost_types::FileDescriptorProto;

use super::Method;

/// `descriptors` without internal methods, without services that have no others, and without the files that
/// stood in it for such services alone.
pub(super) fn without_internal(
    descriptors: &DescriptorPool,
    methods: &[Method],
) -> Result<DescriptorPool, DescriptorError> {
    let hidden: HashSet<&str> = methods
        .iter()
        .filter(|method| method.internal)
        .map(|method| method.path.as_str())
        .collect();
    if hidden.is_empty() {
        return Ok(descriptors.clone());
    }
    let mut files: Vec<FileDescriptorProto> = descriptors.file_descriptor_protos().cloned().collect();
    let mut emptied = HashSet::new();
    for file in &mut files {
        if remove_methods(file, &hidden) && file.service.is_empty() {
            emptied.insert(file.name().to_owned());
        }
    }
    // Messages of such a file may be used by others that stay.
    loop {
        let staying = files.iter().filter(|file| !emptied.contains(file.name()));
        let imports = staying.flat_map(|file| &file.dependency);
        let used: Vec<_> = imports
            .filter(|import| emptied.contains(*import))
            .cloned()
            .collect();
        if used.is_empty() {
            break;
        }
        for file in used {
            emptied.remove(&file);
        }
    }
    files.retain(|file| !emptied.contains(file.name()));
    let mut public = DescriptorPool::new();
    public.add_file_descriptor_protos(files)?;
    Ok(public)
}

/// Whether there was anything to remove.
fn remove_methods(file: &mut FileDescriptorProto, hidden: &HashSet<&str>) -> bool {
    let package = match file.package() {
        "" => String::new(),
        package => format!("{package}."),
    };
    let mut removed = false;
    file.service.retain_mut(|service| {
        let name = format!("/{package}{}/", service.name());
        let before = service.method.len();
        service
            .method
            .retain(|method| !hidden.contains(format!("{name}{}", method.name()).as_str()));
        removed |= service.method.len() < before;
        service.method.len() == before || !service.method.is_empty()
    });
    removed
}
