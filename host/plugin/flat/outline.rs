//! A component's index spaces: where each of its parts comes from.
//!
//! Only what the ordinary toolchain writes is understood. Anything else makes the component unfit for the
//! flat path, whatever it may mean.

use std::collections::HashMap;
use std::ops::Range;

use wasmparser::{
    CanonicalFunction, CanonicalOption, ComponentAlias, ComponentExternalKind, ComponentInstance,
    ComponentTypeRef, ExternalKind, Instance, Parser, Payload,
};

use super::Unfit;

/// Everything outermost in a component, by index.
#[derive(Debug, Default)]
pub(super) struct Outline<'a> {
    /// Where each core module is in the component's bytes.
    pub(super) modules: Vec<Range<usize>>,
    pub(super) core_instances: Vec<CoreInstance<'a>>,
    pub(super) core_functions: Vec<CoreFunction<'a>>,
    pub(super) memories: Vec<CoreExport<'a>>,
    pub(super) tables: Vec<CoreExport<'a>>,
    pub(super) functions: Vec<Function<'a>>,
    pub(super) instances: Vec<ComponentPart<'a>>,
    /// None for a type that is written out rather than taken from an import.
    pub(super) types: Vec<Option<Member<'a>>>,
    /// Of nested components: whether they only pass on what they are given.
    pub(super) components: Vec<bool>,
    /// The exported instances.
    pub(super) exports: HashMap<&'a str, u32>,
}

#[derive(Debug)]
pub(super) enum CoreInstance<'a> {
    /// A module, with an instance for each module name that it imports from.
    Instantiated {
        module: u32,
        with: HashMap<&'a str, u32>,
    },
    /// Items under names of their own.
    Bundle(HashMap<&'a str, (ExternalKind, u32)>),
}

/// What a core instance exports under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CoreExport<'a> {
    pub(super) instance: u32,
    pub(super) name: &'a str,
}

/// What a component instance exports under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<'a> {
    pub(super) instance: u32,
    pub(super) name: &'a str,
}

#[derive(Debug)]
pub(super) enum CoreFunction<'a> {
    Exported(CoreExport<'a>),
    Lowered {
        function: u32,
        options: Options,
    },
    /// Drops handles to a resource of this type.
    Drop {
        of: u32,
    },
}

#[derive(Debug)]
pub(super) enum Function<'a> {
    Member(Member<'a>),
    Lifted { core: u32, options: Options },
}

#[derive(Debug)]
pub(super) enum ComponentPart<'a> {
    /// From outside, under this name.
    Imported(&'a str),
    /// A nested component, with what it is given.
    Instantiated {
        component: u32,
        with: HashMap<&'a str, (ComponentExternalKind, u32)>,
    },
}

/// How values pass between a component and its core modules. Strings are UTF-8.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) memory: Option<u32>,
    pub(super) realloc: Option<u32>,
    pub(super) post_return: Option<u32>,
}

impl Options {
    fn of(options: &[CanonicalOption]) -> Result<Self, Unfit> {
        let mut known = Self::default();
        for option in options {
            match option {
                CanonicalOption::UTF8 => {}
                CanonicalOption::Memory(index) => known.memory = Some(*index),
                CanonicalOption::Realloc(index) => known.realloc = Some(*index),
                CanonicalOption::PostReturn(index) => known.post_return = Some(*index),
                _ => {
                    return Err(Unfit::because(
                        "it passes values in another way than as UTF-8, synchronously",
                    ));
                }
            }
        }
        Ok(known)
    }
}

impl<'a> Outline<'a> {
    /// Reads what is outermost in `component`.
    pub(super) fn parse(component: &'a [u8]) -> Result<Self, Unfit> {
        let mut outline = Self::default();
        let mut depth = 0;
        for payload in Parser::new(0).parse_all(component) {
            let payload = payload.map_err(|_| Unfit::because("it is malformed"))?;
            match payload {
                Payload::Version { .. } => depth += 1,
                Payload::End(_) => depth -= 1,
                Payload::ComponentSection { .. } if depth == 1 => outline.components.push(true),
                _ if depth == 1 => outline.add(payload)?,
                // Parts of modules come by here too; those of the toolchain stand before nested components.
                _ if !passes_on(&payload) => {
                    outline.components.iter_mut().for_each(|passive| *passive = false)
                }
                _ => {}
            }
        }
        Ok(outline)
    }

    fn add(&mut self, payload: Payload<'a>) -> Result<(), Unfit> {
        let malformed = |_| Unfit::because("it is malformed");
        match payload {
            Payload::ModuleSection { unchecked_range, .. } => self.modules.push(unchecked_range),
            Payload::InstanceSection(section) => {
                for instance in section {
                    self.core_instances
                        .push(core_instance(instance.map_err(malformed)?));
                }
            }
            Payload::ComponentImportSection(section) => {
                for import in section {
                    let import = import.map_err(malformed)?;
                    match import.ty {
                        ComponentTypeRef::Instance(_) => {
                            self.instances.push(ComponentPart::Imported(import.name.name));
                        }
                        _ => return Err(Unfit::because("it imports something other than interfaces")),
                    }
                }
            }
            Payload::ComponentAliasSection(section) => {
                for alias in section {
                    self.add_alias(alias.map_err(malformed)?)?;
                }
            }
            Payload::ComponentCanonicalSection(section) => {
                for function in section {
                    self.add_canonical(function.map_err(malformed)?)?;
                }
            }
            Payload::ComponentInstanceSection(section) => {
                for instance in section {
                    let ComponentInstance::Instantiate {
                        component_index,
                        args,
                    } = instance.map_err(malformed)?
                    else {
                        return Err(Unfit::because("it bundles instances in a way of its own"));
                    };
                    let with = args.iter().map(|arg| (arg.name, (arg.kind, arg.index)));
                    self.instances.push(ComponentPart::Instantiated {
                        component: component_index,
                        with: with.collect(),
                    });
                }
            }
            Payload::ComponentExportSection(section) => {
                for export in section {
                    let export = export.map_err(malformed)?;
                    if export.kind != ComponentExternalKind::Instance {
                        return Err(Unfit::because("it exports something other than interfaces"));
                    }
                    self.exports.insert(export.name.name, export.index);
                    // An export is an instance of its own.
                    self.instances.push(ComponentPart::Imported(""));
                }
            }
            Payload::ComponentTypeSection(section) => {
                self.types.extend((0..section.count()).map(|_| None));
            }
            Payload::CustomSection(_) => {}
            _ => {
                return Err(Unfit::because(
                    "it has a part that the toolchain for plugins does not make",
                ));
            }
        }
        Ok(())
    }

    fn add_alias(&mut self, alias: ComponentAlias<'a>) -> Result<(), Unfit> {
        match alias {
            ComponentAlias::InstanceExport {
                kind,
                instance_index: instance,
                name,
            } => {
                let member = Member { instance, name };
                match kind {
                    ComponentExternalKind::Func => self.functions.push(Function::Member(member)),
                    ComponentExternalKind::Type => self.types.push(Some(member)),
                    _ => return Err(Unfit::because("it takes an instance apart in a way of its own")),
                }
            }
            ComponentAlias::CoreInstanceExport {
                kind,
                instance_index: instance,
                name,
            } => {
                let export = CoreExport { instance, name };
                match kind {
                    ExternalKind::Func => self.core_functions.push(CoreFunction::Exported(export)),
                    ExternalKind::Memory => self.memories.push(export),
                    ExternalKind::Table => self.tables.push(export),
                    _ => return Err(Unfit::because("its modules share globals")),
                }
            }
            ComponentAlias::Outer { .. } => return Err(Unfit::because("it is part of another component")),
        }
        Ok(())
    }

    fn add_canonical(&mut self, function: CanonicalFunction) -> Result<(), Unfit> {
        match function {
            CanonicalFunction::Lower { func_index, options } => {
                self.core_functions.push(CoreFunction::Lowered {
                    function: func_index,
                    options: Options::of(&options)?,
                });
            }
            CanonicalFunction::Lift {
                core_func_index,
                options,
                ..
            } => self.functions.push(Function::Lifted {
                core: core_func_index,
                options: Options::of(&options)?,
            }),
            CanonicalFunction::ResourceDrop { resource } => {
                self.core_functions.push(CoreFunction::Drop { of: resource });
            }
            _ => {
                return Err(Unfit::because(
                    "it uses more of the component model than functions and handles",
                ));
            }
        }
        Ok(())
    }
}

fn core_instance(instance: Instance<'_>) -> CoreInstance<'_> {
    match instance {
        Instance::Instantiate { module_index, args } => CoreInstance::Instantiated {
            module: module_index,
            with: args.iter().map(|arg| (arg.name, arg.index)).collect(),
        },
        Instance::FromExports(exports) => CoreInstance::Bundle(
            exports
                .iter()
                .map(|export| (export.name, (export.kind, export.index)))
                .collect(),
        ),
    }
}

/// Whether a nested component with this part may still do no more than give types to what passes through it.
fn passes_on(payload: &Payload<'_>) -> bool {
    matches!(
        payload,
        Payload::ComponentTypeSection(_)
            | Payload::ComponentImportSection(_)
            | Payload::ComponentExportSection(_)
            | Payload::CustomSection(_)
    )
}
