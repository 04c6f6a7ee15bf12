//! What the flat path needs to know of a core module.

use std::collections::HashMap;

use wasmparser::{CompositeInnerType, ExternalKind, FuncType, Parser, Payload, TypeRef, ValType};

use super::Unfit;

/// A module of functions that has one memory of its own.
#[derive(Debug, Default)]
pub(super) struct MainModule<'a> {
    /// By function index.
    pub(super) imports: Vec<Import<'a>>,
    pub(super) types: u32,
    pub(super) functions: u32,
    signatures: Vec<Option<FuncType>>,
    /// The types of all functions, imported ones first.
    function_types: Vec<u32>,
    /// Indices of those that can change.
    pub(super) mutable_globals: Vec<u32>,
    /// Whether those are numbers, all of them.
    pub(super) numeric_globals: bool,
    exports: HashMap<&'a str, (ExternalKind, u32)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Import<'a> {
    pub(super) module: &'a str,
    pub(super) name: &'a str,
    /// Index of its type.
    pub(super) ty: u32,
}

impl<'a> MainModule<'a> {
    /// Reads the outer parts of a valid module.
    pub(super) fn parse(module: &'a [u8]) -> Result<Self, Unfit> {
        let malformed = |_| Unfit::because("its main module is malformed");
        let mut main = Self {
            numeric_globals: true,
            ..Self::default()
        };
        let mut memories = 0;
        for payload in Parser::new(0).parse_all(module) {
            match payload.map_err(malformed)? {
                Payload::TypeSection(section) => {
                    for group in section {
                        for ty in group.map_err(malformed)?.into_types() {
                            main.types += 1;
                            main.signatures.push(match ty.composite_type.inner {
                                CompositeInnerType::Func(ty) => Some(ty),
                                _ => None,
                            });
                        }
                    }
                }
                Payload::ImportSection(section) => {
                    for import in section.into_imports() {
                        let import = import.map_err(malformed)?;
                        let TypeRef::Func(ty) = import.ty else {
                            return Err(Unfit::because("its main module imports more than functions"));
                        };
                        main.function_types.push(ty);
                        main.imports.push(Import {
                            module: import.module,
                            name: import.name,
                            ty,
                        });
                    }
                }
                Payload::FunctionSection(section) => {
                    for ty in section {
                        main.function_types.push(ty.map_err(malformed)?);
                        main.functions += 1;
                    }
                }
                Payload::MemorySection(section) => {
                    for memory in section {
                        let memory = memory.map_err(malformed)?;
                        if memory.memory64 || memory.shared || memory.page_size_log2.is_some() {
                            return Err(Unfit::because("its memory is not an ordinary one"));
                        }
                        memories += 1;
                    }
                }
                // None is imported.
                Payload::GlobalSection(section) => {
                    for (index, global) in (0..).zip(section) {
                        let ty = global.map_err(malformed)?.ty;
                        if ty.mutable {
                            main.mutable_globals.push(index);
                            main.numeric_globals &= !matches!(ty.content_type, ValType::Ref(_));
                        }
                    }
                }
                Payload::ExportSection(section) => {
                    for export in section {
                        let export = export.map_err(malformed)?;
                        main.exports.insert(export.name, (export.kind, export.index));
                    }
                }
                // It would run before what it imports is there.
                Payload::StartSection { .. } => {
                    return Err(Unfit::because("its main module has a start function"));
                }
                _ => {}
            }
        }
        if memories != 1 || main.exports.get("memory") != Some(&(ExternalKind::Memory, 0)) {
            return Err(Unfit::because(
                "its main module does not have one memory of its own",
            ));
        }
        if main.exports.contains_key("_initialize") {
            return Err(Unfit::because("its main module has to be initialised"));
        }
        Ok(main)
    }

    /// The function exported as `name`, if it has this signature, of 32-bit integers only.
    pub(super) fn exported(&self, name: &str, params: usize, results: usize) -> Option<u32> {
        let (ExternalKind::Func, index) = *self.exports.get(name)? else {
            return None;
        };
        let ty = *self.function_types.get(index as usize)?;
        let signature = self.signature(ty)?;
        let integers = |types: &[ValType]| types.iter().all(|ty| *ty == ValType::I32);
        let fits = signature.params().len() == params && signature.results().len() == results;
        (fits && integers(signature.params()) && integers(signature.results())).then_some(index)
    }

    /// The function type at this index.
    pub(super) fn signature(&self, ty: u32) -> Option<&FuncType> {
        self.signatures.get(ty as usize)?.as_ref()
    }

    /// Whether it exports anything under `name`.
    pub(super) fn exports(&self, name: &str) -> bool {
        self.exports.contains_key(name)
    }
}
