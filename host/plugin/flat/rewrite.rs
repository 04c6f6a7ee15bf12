//! The main module as the flat path runs it: the program, with the canonical ABI's calls of `cabi_realloc`
//! and `cabi_post_*` made in WebAssembly.
//!
//! In a component the host makes them, in between. From outside a component it could do so only by entering
//! the guest again, on a stack of its own each time, which costs more than the call itself. So functions are
//! added that do it from inside:
//!
//! - The function `HANDLE` makes room for the request, has the host put it there, calls the handler, has the
//!   host read the answer, and calls what comes after it.
//! - An import whose answer needs room becomes a function that calls the import, and then makes as much room
//!   as the host asks for, as often as it does.
//!
//! Where an instance can be renewed (`renewal.rs`), what that needs is exported.
//!
//! Nothing of the program itself changes but the numbers of the functions it calls.

use std::ops::Range;

use wasm_encoder::reencode::{Error as ReencodeError, Reencode, utils};
use wasm_encoder::{
    BlockType, CodeSection, Component, EntityType, ExportKind, ExportSection, Function, FunctionSection,
    ImportSection, Instruction, Module, RawSection, TypeSection, ValType,
};
use wasmparser::{Parser, Payload};

use super::Unfit;
use super::module::MainModule;
use super::renewal;
use super::shape::{Exports, REALLOC};

/// Serves a call: `(method: i32, request-bytes: i32)`.
pub(super) const HANDLE: &str = "mortise:handle";

/// What describes the plugin, and what comes after that if anything does: the program's own functions.
pub(super) const DESCRIBE: &str = "mortise:describe";
pub(super) const AFTER_DESCRIBE: &str = "mortise:after-describe";

/// The memory once more, if instances can be renewed by restoring it and the mutable globals.
pub(super) const RENEWABLE: &str = "mortise:renewable";

/// The name of a mutable global, by its place among them, in a module that can be renewed.
pub(super) fn global(place: usize) -> String {
    format!("mortise:global-{place}")
}

/// Where what the added functions need of the host is imported from.
pub(super) const HOST: &str = "mortise:flat";
/// `(address)`: puts the request there.
pub(super) const REQUEST: &str = "request";
/// `(address)`: reads the handler's answer from there.
pub(super) const ANSWER: &str = "answer";
/// `(address) -> i64`: takes the room that was asked for last, and asks for more: its alignment in the upper
/// half and its size in the lower one; negative if that was all.
pub(super) const ROOM: &str = "room";

/// How many functions are imported from [`HOST`].
const HOST_FUNCTIONS: u32 = 3;

/// Indices of functions that the added ones call, or that are exported once more.
struct Called {
    request: u32,
    answer: u32,
    room: u32,
    realloc: u32,
    handle: u32,
    after_handle: Option<u32>,
    describe: u32,
    after_describe: Option<u32>,
}

fn malformed() -> Unfit {
    Unfit::because("its main module is malformed")
}

/// Writes the main module anew. `needs_room` says which imports do, by interface and name.
pub(super) fn with_abi(
    module: &[u8],
    exports: &Exports,
    needs_room: impl Fn(&str, &str) -> bool,
) -> Result<Vec<u8>, Unfit> {
    let main = MainModule::parse(module)?;
    let missing = || Unfit::because("its main module lacks functions of the canonical ABI");
    // Imports come first in the numbering, so that the program's own functions move up.
    let imported = u32::try_from(main.imports.len()).map_err(|_| missing())?;
    let moved = |index: u32| {
        if index < imported {
            index
        } else {
            index + HOST_FUNCTIONS
        }
    };
    let exported = |name: &str, params, results| main.exported(name, params, results).ok_or_else(missing);
    let after = |name: &str| -> Result<Option<u32>, Unfit> {
        main.exports(name)
            .then(|| Ok(moved(exported(name, 1, 0)?)))
            .transpose()
    };
    let called = Called {
        request: imported,
        answer: imported + 1,
        room: imported + 2,
        realloc: moved(exported(REALLOC, 4, 1)?),
        handle: moved(exported(&exports.handle, 3, 1)?),
        after_handle: after(&exports.after_handle)?,
        describe: moved(exported(&exports.describe, 0, 1)?),
        after_describe: after(&exports.after_describe)?,
    };
    if [HANDLE, DESCRIBE, AFTER_DESCRIBE, RENEWABLE]
        .iter()
        .any(|name| main.exports(name))
        || main.exports(&global(0))
        || main.imports.iter().any(|import| import.module == HOST)
    {
        return Err(Unfit::because("its main module uses names of the host"));
    }
    let first_added = imported + HOST_FUNCTIONS + main.functions;
    let mut roomy = Vec::new();
    let functions = (0..).zip(&main.imports).map(|(index, import)| {
        if !needs_room(import.module, import.name) {
            return index;
        }
        roomy.push(Roomy {
            import: index,
            ty: import.ty,
        });
        first_added + roomy.len() as u32
    });
    let functions = functions.collect();
    let mut encoder = Encoder {
        functions,
        types: main.types,
        first_added,
        called,
        roomy,
        renewable: main.numeric_globals && renewal::is_possible(module)?,
        main: &main,
    };
    let mut rewritten = Module::new();
    encoder
        .parse_core_module(&mut rewritten, Parser::new(0), module)
        .map_err(|_| Unfit::because("its main module cannot be rewritten"))?;
    Ok(rewritten.finish())
}

/// An import that becomes a function which makes room for its answer.
struct Roomy {
    import: u32,
    ty: u32,
}

struct Encoder<'m, 'a> {
    /// What calls of each import call now.
    functions: Vec<u32>,
    types: u32,
    /// [`HANDLE`]; behind it those of `roomy`.
    first_added: u32,
    called: Called,
    roomy: Vec<Roomy>,
    renewable: bool,
    main: &'m MainModule<'a>,
}

/// Types that are added behind the module's own.
#[derive(Clone, Copy)]
enum Added {
    /// `(i32)`
    Take,
    /// `(i32) -> i64`
    Room,
    /// `(i32, i32)`
    Handle,
}

impl Encoder<'_, '_> {
    fn ty(&self, added: Added) -> u32 {
        self.types + added as u32
    }

    fn handle_body(&self) -> Function {
        let (method, bytes, address) = (0, 1, 2);
        let called = &self.called;
        let mut body = Function::new([(1, ValType::I32)]);
        let instructions = [
            Instruction::LocalGet(method),
            Instruction::I32Const(0),
            Instruction::I32Const(0),
            Instruction::I32Const(1),
            Instruction::LocalGet(bytes),
            Instruction::Call(called.realloc),
            Instruction::LocalTee(address),
            Instruction::Call(called.request),
            Instruction::LocalGet(address),
            Instruction::LocalGet(bytes),
            Instruction::Call(called.handle),
            Instruction::LocalTee(address),
            Instruction::Call(called.answer),
        ];
        instructions.iter().for_each(|instruction| {
            body.instruction(instruction);
        });
        if let Some(after) = called.after_handle {
            body.instruction(&Instruction::LocalGet(address))
                .instruction(&Instruction::Call(after));
        }
        body.instruction(&Instruction::End);
        body
    }

    fn roomy_body(&self, import: &Roomy) -> Function {
        let params = self.main.signature(import.ty).map_or(0, |ty| ty.params().len()) as u32;
        let (room, address) = (params, params + 1);
        let mut body = Function::new([(1, ValType::I64), (1, ValType::I32)]);
        for param in 0..params {
            body.instruction(&Instruction::LocalGet(param));
        }
        let instructions = [
            Instruction::Call(import.import),
            Instruction::Block(BlockType::Empty),
            Instruction::Loop(BlockType::Empty),
            Instruction::LocalGet(address),
            Instruction::Call(self.called.room),
            Instruction::LocalTee(room),
            Instruction::I64Const(0),
            Instruction::I64LtS,
            Instruction::BrIf(1),
            Instruction::I32Const(0),
            Instruction::I32Const(0),
            Instruction::LocalGet(room),
            Instruction::I64Const(32),
            Instruction::I64ShrU,
            Instruction::I32WrapI64,
            Instruction::LocalGet(room),
            Instruction::I32WrapI64,
            Instruction::Call(self.called.realloc),
            Instruction::LocalSet(address),
            Instruction::Br(0),
            Instruction::End,
            Instruction::End,
            Instruction::End,
        ];
        instructions.iter().for_each(|instruction| {
            body.instruction(instruction);
        });
        body
    }
}

/// Written anew; there are no errors of our own.
type Reencoded<T> = Result<T, ReencodeError<std::convert::Infallible>>;

impl Reencode for Encoder<'_, '_> {
    type Error = std::convert::Infallible;

    fn function_index(&mut self, function: u32) -> Reencoded<u32> {
        Ok(match self.functions.get(function as usize) {
            Some(import) => *import,
            None => function + HOST_FUNCTIONS,
        })
    }

    fn parse_type_section(
        &mut self,
        types: &mut TypeSection,
        section: wasmparser::TypeSectionReader<'_>,
    ) -> Reencoded<()> {
        utils::parse_type_section(self, types, section)?;
        types.ty().function([ValType::I32], []);
        types.ty().function([ValType::I32], [ValType::I64]);
        types.ty().function([ValType::I32, ValType::I32], []);
        Ok(())
    }

    fn parse_import_section(
        &mut self,
        imports: &mut ImportSection,
        section: wasmparser::ImportSectionReader<'_>,
    ) -> Reencoded<()> {
        utils::parse_import_section(self, imports, section)?;
        for (name, ty) in [(REQUEST, Added::Take), (ANSWER, Added::Take), (ROOM, Added::Room)] {
            imports.import(HOST, name, EntityType::Function(self.ty(ty)));
        }
        Ok(())
    }

    fn parse_function_section(
        &mut self,
        functions: &mut FunctionSection,
        section: wasmparser::FunctionSectionReader<'_>,
    ) -> Reencoded<()> {
        utils::parse_function_section(self, functions, section)?;
        functions.function(self.ty(Added::Handle));
        for import in &self.roomy {
            functions.function(import.ty);
        }
        Ok(())
    }

    fn parse_export_section(
        &mut self,
        exports: &mut ExportSection,
        section: wasmparser::ExportSectionReader<'_>,
    ) -> Reencoded<()> {
        utils::parse_export_section(self, exports, section)?;
        exports.export(HANDLE, ExportKind::Func, self.first_added);
        exports.export(DESCRIBE, ExportKind::Func, self.called.describe);
        if let Some(after) = self.called.after_describe {
            exports.export(AFTER_DESCRIBE, ExportKind::Func, after);
        }
        if self.renewable {
            exports.export(RENEWABLE, ExportKind::Memory, 0);
            for (place, index) in self.main.mutable_globals.iter().enumerate() {
                exports.export(&global(place), ExportKind::Global, *index);
            }
        }
        Ok(())
    }

    fn parse_code_section(
        &mut self,
        code: &mut CodeSection,
        section: wasmparser::CodeSectionReader<'_>,
    ) -> Reencoded<()> {
        utils::parse_code_section(self, code, section)?;
        code.function(&self.handle_body());
        for import in &self.roomy {
            code.function(&self.roomy_body(import));
        }
        Ok(())
    }
}

/// A section of `bytes`, unless the payload is none.
fn as_it_is<'b>(payload: &Payload<'_>, bytes: &'b [u8]) -> Option<RawSection<'b>> {
    let (id, range) = payload.as_section()?;
    Some(RawSection {
        id,
        data: &bytes[range],
    })
}

/// What the main module imports and nothing else, which compiles at once.
pub(super) fn imports_alone(module: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut imports = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|_| malformed())?;
        if let Payload::TypeSection(_) | Payload::ImportSection(_) = &payload
            && let Some(section) = as_it_is(&payload, module)
        {
            imports.section(&section);
        }
    }
    Ok(imports.finish())
}

/// The main module with bodies that do nothing, which has the same types and compiles quickly.
fn hollow_module(module: &[u8]) -> Result<Vec<u8>, Unfit> {
    let mut hollow = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.map_err(|_| malformed())?;
        match &payload {
            Payload::CodeSectionStart { count, .. } => {
                let mut code = CodeSection::new();
                for _ in 0..*count {
                    let mut body = Function::new([]);
                    body.instruction(&Instruction::Unreachable)
                        .instruction(&Instruction::End);
                    code.function(&body);
                }
                hollow.section(&code);
            }
            // What fills memory and tables would have to refer to the bodies, or says nothing of types.
            Payload::ElementSection(_)
            | Payload::DataSection(_)
            | Payload::DataCountSection { .. }
            | Payload::CustomSection(_) => {}
            _ => {
                if let Some(section) = as_it_is(&payload, module) {
                    hollow.section(&section);
                }
            }
        }
    }
    Ok(hollow.finish())
}

/// The component with such a main module: by it the linker checks what the component imports and exports.
pub(super) fn hollow(component: &[u8], main: Range<usize>) -> Result<Vec<u8>, Unfit> {
    let hollow = hollow_module(&component[main.clone()])?;
    let mut rebuilt = Component::new();
    let mut depth = 0;
    for payload in Parser::new(0).parse_all(component) {
        let payload = payload.map_err(|_| malformed())?;
        match &payload {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ModuleSection { unchecked_range, .. } if *unchecked_range == main => {
                rebuilt.section(&RawSection { id: 1, data: &hollow });
            }
            _ if depth == 1 => {
                if let Some(section) = as_it_is(&payload, component) {
                    rebuilt.section(&section);
                }
            }
            _ => {}
        }
    }
    Ok(rebuilt.finish())
}
