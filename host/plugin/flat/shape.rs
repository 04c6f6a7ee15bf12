//! Whether a component is put together as the ordinary toolchain does it, so that its main module can be
//! linked to the host's functions without the component around it.
//!
//! Such a component is one module with the program, and two that only break the circle between the program's
//! memory and the functions it imports: those are given the memory when they are made, and the program is
//! given them. The *shim* passes calls on through a table, which the *fixup* fills once the memory is there.
//!
//! What is checked is that each import of the main module is, by way of those two, the interface's function
//! of the same name, and that the component's exports are the main module's own. A component that is wired in
//! another way would run differently without its wiring.

use std::ops::Range;

use wasmparser::{ComponentExternalKind, ElementKind, ExternalKind, Operator, Parser, Payload};

use super::Unfit;
use super::module::{Import, MainModule};
use super::outline::{
    ComponentPart, CoreExport, CoreFunction, CoreInstance, Function, Member, Options, Outline,
};

/// Functions that the main module exports, by the names of the canonical ABI.
#[derive(Debug)]
pub(super) struct Exports {
    /// The interface, by its full name.
    pub(super) handler: String,
    pub(super) handle: String,
    pub(super) after_handle: String,
    pub(super) describe: String,
    pub(super) after_describe: String,
}

pub(super) const REALLOC: &str = "cabi_realloc";
const MEMORY: &str = "memory";

impl Exports {
    /// Of version `contract` of the interface `handler`.
    pub(super) fn of(contract: &str) -> Self {
        let handler = format!("mortise:plugin/handler@{contract}");
        Self {
            handle: format!("{handler}#handle"),
            after_handle: format!("cabi_post_{handler}#handle"),
            describe: format!("{handler}#describe"),
            after_describe: format!("cabi_post_{handler}#describe"),
            handler,
        }
    }
}

/// Finds the main module of a component that exports the handler.
pub(super) fn main_module(component: &[u8], exports: &Exports) -> Result<Range<usize>, Unfit> {
    let outline = Outline::parse(component)?;
    let wiring = Wiring::of(component, &outline, exports)?;
    let range = outline.modules.get(wiring.module as usize);
    let range = range.ok_or_else(|| Unfit::because("it is malformed"))?.clone();
    let main = MainModule::parse(&component[range.clone()])?;
    for import in &main.imports {
        wiring.check_import(*import)?;
    }
    // What the module has for it is what the component does after a call.
    let after = [&exports.after_handle, &exports.after_describe].map(|name| main.exports(name));
    if after != wiring.frees {
        return Err(Unfit::because("it does not free its answers as plugins do"));
    }
    Ok(range)
}

/// How the main module's instance is tied to the outside.
struct Wiring<'o, 'a> {
    outline: &'o Outline<'a>,
    /// The main module and its instance.
    module: u32,
    instance: u32,
    shim: Option<Shim>,
    /// Whether anything comes after a handler, and after the description.
    frees: [bool; 2],
}

/// The instance of the shim, and the bundle of functions that the fixup puts into its table.
struct Shim {
    instance: u32,
    functions: u32,
}

impl<'o, 'a> Wiring<'o, 'a> {
    fn of(component: &[u8], outline: &'o Outline<'a>, exports: &Exports) -> Result<Self, Unfit> {
        let (handle, handle_options) = lifted(outline, &exports.handler, "import-func-handle")?;
        let (describe, describe_options) = lifted(outline, &exports.handler, "import-func-describe")?;
        let instance = handle.instance;
        let Some(CoreInstance::Instantiated { module, .. }) = outline.core_instances.get(instance as usize)
        else {
            return Err(Unfit::because("its functions are of no module"));
        };
        let mut wiring = Self {
            outline,
            module: *module,
            instance,
            shim: None,
            frees: [handle_options, describe_options].map(|options| options.post_return.is_some()),
        };
        let is_main = |export: CoreExport<'_>, name: &str| export.instance == instance && export.name == name;
        if !is_main(handle, &exports.handle) || !is_main(describe, &exports.describe) {
            return Err(Unfit::because(
                "its functions have other names than the canonical ones",
            ));
        }
        wiring.check_options(handle_options, Some(&exports.after_handle))?;
        wiring.check_options(describe_options, Some(&exports.after_describe))?;
        wiring.shim = wiring.find_shim(component)?;
        Ok(wiring)
    }

    /// Whether the import is the interface's function, or the drop of its handles, of the same name.
    fn check_import(&self, import: Import<'_>) -> Result<(), Unfit> {
        let otherwise = || Unfit::because("its main module's imports are wired in a way of their own");
        let Some(CoreInstance::Instantiated { with, .. }) =
            self.outline.core_instances.get(self.instance as usize)
        else {
            return Err(otherwise());
        };
        let bundle = with.get(import.module).copied().ok_or_else(otherwise)?;
        let function = self.bundled(bundle, import.name).ok_or_else(otherwise)?;
        let function = match function {
            CoreFunction::Exported(through) => self.behind_shim(*through).ok_or_else(otherwise)?,
            other => other,
        };
        let (member, name) = match function {
            CoreFunction::Lowered { function, options } => {
                self.check_options(options, None)?;
                let Some(Function::Member(member)) = self.outline.functions.get(*function as usize) else {
                    return Err(otherwise());
                };
                (*member, import.name)
            }
            CoreFunction::Drop { of } => {
                let member = self.outline.types.get(*of as usize).copied().flatten();
                let dropped = import.name.strip_prefix("[resource-drop]");
                (member.ok_or_else(otherwise)?, dropped.ok_or_else(otherwise)?)
            }
            CoreFunction::Exported(_) => return Err(otherwise()),
        };
        let fits = member.name == name && self.is_interface(member, import.module);
        fits.then_some(()).ok_or_else(otherwise)
    }

    /// Whether it is a member of the imported interface. Within 0.2, WASI has added functions and changed
    /// none.
    fn is_interface(&self, member: Member<'_>, interface: &str) -> bool {
        let Some(ComponentPart::Imported(imported)) = self.outline.instances.get(member.instance as usize)
        else {
            return false;
        };
        *imported == interface
            || imported.starts_with("wasi:") && without_patch(imported) == without_patch(interface)
    }

    fn bundled(&self, bundle: u32, name: &str) -> Option<&'o CoreFunction<'a>> {
        let CoreInstance::Bundle(items) = self.outline.core_instances.get(bundle as usize)? else {
            return None;
        };
        let (ExternalKind::Func, index) = items.get(name)? else {
            return None;
        };
        self.outline.core_functions.get(*index as usize)
    }

    fn behind_shim(&self, through: CoreExport<'_>) -> Option<&'o CoreFunction<'a>> {
        let shim = self.shim.as_ref()?;
        (through.instance == shim.instance)
            .then(|| self.bundled(shim.functions, through.name))
            .flatten()
    }

    fn check_options(&self, options: &Options, post_return: Option<&str>) -> Result<(), Unfit> {
        let outline = self.outline;
        let memory = options.memory.is_none_or(|index| {
            outline.memories.get(index as usize)
                == Some(&CoreExport {
                    instance: self.instance,
                    name: MEMORY,
                })
        });
        let realloc = options
            .realloc
            .is_none_or(|index| self.is_main_function(index, REALLOC));
        let post_return = match (options.post_return, post_return) {
            (Some(index), Some(name)) => self.is_main_function(index, name),
            (Some(_), None) => false,
            (None, _) => true,
        };
        if memory && realloc && post_return {
            return Ok(());
        }
        Err(Unfit::because(
            "it manages its memory in another way than plugins do",
        ))
    }

    fn is_main_function(&self, index: u32, name: &str) -> bool {
        let export = CoreExport {
            instance: self.instance,
            name,
        };
        matches!(
            self.outline.core_functions.get(index as usize),
            Some(CoreFunction::Exported(exported)) if *exported == export
        )
    }

    /// None if there are no other modules: a program that imports nothing that needs its memory has none.
    fn find_shim(&self, component: &[u8]) -> Result<Option<Shim>, Unfit> {
        let otherwise = || Unfit::because("it has modules besides the program and what ties it together");
        let instances = (0..).zip(&self.outline.core_instances);
        let others: Vec<_> = instances
            .filter_map(|(index, instance)| match instance {
                CoreInstance::Instantiated { module, with } if index != self.instance => {
                    Some((index, *module, with))
                }
                _ => None,
            })
            .collect();
        let [(shim, shim_module, given), (_, fixup_module, fixed)] = &others[..] else {
            let alone = others.is_empty() && self.outline.modules.len() == 1;
            return alone.then_some(None).ok_or_else(otherwise);
        };
        let (Some(functions), true) = (fixed.get(""), given.is_empty() && fixed.len() == 1) else {
            return Err(otherwise());
        };
        let module = |index: u32| component.get(self.outline.modules.get(index as usize)?.clone());
        let (Some(shim_module), Some(fixup_module)) = (module(*shim_module), module(*fixup_module)) else {
            return Err(otherwise());
        };
        let passes_on = shim_passes_on(shim_module).ok_or_else(otherwise)?;
        if self.outline.modules.len() != 3 || fixup_fills(fixup_module) != Some(passes_on) {
            return Err(otherwise());
        }
        // The table that is filled must be the shim's.
        let Some(CoreInstance::Bundle(items)) = self.outline.core_instances.get(*functions as usize) else {
            return Err(otherwise());
        };
        let table = match items.get(TABLE) {
            Some((ExternalKind::Table, index)) => self.outline.tables.get(*index as usize),
            _ => None,
        };
        if table
            != Some(&CoreExport {
                instance: *shim,
                name: TABLE,
            })
        {
            return Err(otherwise());
        }
        Ok(Some(Shim {
            instance: *shim,
            functions: *functions,
        }))
    }
}

/// The core function behind an exported function of `handler`, which the component passes through a nested
/// one that gives it its types.
fn lifted<'o, 'a>(
    outline: &'o Outline<'a>,
    handler: &str,
    given: &str,
) -> Result<(CoreExport<'a>, &'o Options), Unfit> {
    let found = || {
        let exported = outline.exports.get(handler)?;
        let ComponentPart::Instantiated { component, with } = outline.instances.get(*exported as usize)?
        else {
            return None;
        };
        let passes_on = *outline.components.get(*component as usize)?;
        let (ComponentExternalKind::Func, function) = with.get(given).filter(|_| passes_on)? else {
            return None;
        };
        let Function::Lifted { core, options } = outline.functions.get(*function as usize)? else {
            return None;
        };
        let CoreFunction::Exported(export) = outline.core_functions.get(*core as usize)? else {
            return None;
        };
        Some((*export, options))
    };
    found().ok_or_else(|| Unfit::because("its exports are made in a way of their own"))
}

fn without_patch(interface: &str) -> &str {
    interface.rsplit_once('.').map_or(interface, |(name, _)| name)
}

/// How shim and fixup name the table.
const TABLE: &str = "$imports";

/// How many functions the shim has, if function `i`, exported under that number, does nothing but call the
/// table's entry `i` with what it is given.
fn shim_passes_on(module: &[u8]) -> Option<u32> {
    let mut types = Vec::new();
    let mut functions = Vec::new();
    let mut bodies = 0;
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::TypeSection(section) => {
                for ty in section.into_iter_err_on_gc_types() {
                    types.push(ty.ok()?.params().len());
                }
            }
            Payload::FunctionSection(section) => {
                for ty in section {
                    functions.push(ty.ok()?);
                }
            }
            Payload::ExportSection(section) => {
                for export in section {
                    let export = export.ok()?;
                    let named = match export.kind {
                        ExternalKind::Func => export.name == export.index.to_string(),
                        ExternalKind::Table => export.name == TABLE,
                        _ => false,
                    };
                    if !named {
                        return None;
                    }
                }
            }
            Payload::CodeSectionEntry(body) => {
                let ty = *functions.get(bodies as usize)?;
                let params = u32::try_from(*types.get(ty as usize)?).ok()?;
                let mut expected = (0..params)
                    .map(|local_index| Operator::LocalGet { local_index })
                    .chain([
                        Operator::I32Const {
                            value: i32::try_from(bodies).ok()?,
                        },
                        Operator::CallIndirect {
                            type_index: ty,
                            table_index: 0,
                        },
                        Operator::End,
                    ]);
                let mut operators = body.get_operators_reader().ok()?.into_iter();
                if !operators.all(|operator| operator.ok() == expected.next()) || expected.next().is_some() {
                    return None;
                }
                bodies += 1;
            }
            Payload::Version { .. }
            | Payload::TableSection(_)
            | Payload::CodeSectionStart { .. }
            | Payload::CustomSection(_)
            | Payload::End(_) => {}
            _ => return None,
        }
    }
    Some(bodies)
}

/// How many functions the fixup puts into the table, from its first entry on, in the order of their numbers.
fn fixup_fills(module: &[u8]) -> Option<u32> {
    let mut imported = 0;
    let mut filled = None;
    for payload in Parser::new(0).parse_all(module) {
        match payload.ok()? {
            Payload::ImportSection(section) => {
                for import in section.into_imports() {
                    let import = import.ok()?;
                    match import.ty {
                        wasmparser::TypeRef::Func(_) if import.name == imported.to_string() => imported += 1,
                        wasmparser::TypeRef::Table(_) if import.name == TABLE => {}
                        _ => return None,
                    }
                }
            }
            Payload::ElementSection(section) => {
                for element in section {
                    let element = element.ok()?;
                    let ElementKind::Active {
                        table_index,
                        offset_expr,
                    } = element.kind
                    else {
                        return None;
                    };
                    let mut offset = offset_expr.get_operators_reader().into_iter();
                    let first = matches!(offset.next(), Some(Ok(Operator::I32Const { value: 0 })));
                    let wasmparser::ElementItems::Functions(functions) = element.items else {
                        return None;
                    };
                    let complete = functions.count() == imported;
                    let in_order = (0..)
                        .zip(functions)
                        .all(|(number, index)| index.ok() == Some(number));
                    let in_order = complete && in_order;
                    if filled.is_some() || table_index.unwrap_or(0) != 0 || !first || !in_order {
                        return None;
                    }
                    filled = Some(imported);
                }
            }
            Payload::Version { .. }
            | Payload::TypeSection(_)
            | Payload::CustomSection(_)
            | Payload::End(_) => {}
            _ => return None,
        }
    }
    filled
}
