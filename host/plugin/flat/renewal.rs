//! Bringing a sandbox back to what it was when it was made, for less than making another one costs.
//!
//! All that a core module can leave behind in its instance is in its memory, its globals, its tables and its
//! segments ("Runtime Structure" of the WebAssembly specification: these are what a module instance refers to,
//! besides functions, which do not change). Whether a module can change its tables or drop segments is seen in
//! its code: one that cannot has its memory and its mutable globals restored, and is as it was. One that can is
//! given up after each call, as is an instance that has grown its memory, which never shrinks.

use std::sync::{Arc, OnceLock};

use wasmparser::{Operator, Parser, Payload};
use wasmtime::{Global, Instance, Memory, Module, ModuleExport, Store, Val};

use super::{Unfit, rewrite};
use crate::plugin::state::CallState;

/// Memory with which a sandbox may begin to be renewed, in bytes: comparing much more costs what the kernel takes
/// to drop it.
const MAX_MEMORY: u64 = 256 << 10;

/// Memory is compared, and restored where it differs, in pieces of this size, of which a page has many.
const PIECE: usize = 1 << 10;
const ZERO: [u8; PIECE] = [0; PIECE];

/// Whether all that a call of the module can change is in its memory and its globals.
pub(super) fn is_possible(module: &[u8]) -> Result<bool, Unfit> {
    let malformed = |_| Unfit::because("its main module is malformed");
    for payload in Parser::new(0).parse_all(module) {
        let Payload::CodeSectionEntry(body) = payload.map_err(malformed)? else {
            continue;
        };
        let mut operators = body.get_operators_reader().map_err(malformed)?;
        while !operators.eof() {
            let changes_more = matches!(
                operators.read().map_err(malformed)?,
                Operator::TableSet { .. }
                    | Operator::TableGrow { .. }
                    | Operator::TableFill { .. }
                    | Operator::TableCopy { .. }
                    | Operator::TableInit { .. }
                    | Operator::ElemDrop { .. }
                    | Operator::DataDrop { .. }
            );
            if changes_more {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

/// Of the instances of one module.
pub(super) struct Renewal {
    /// Its mutable ones.
    globals: Vec<ModuleExport>,
    /// Taken from the first instance, before it runs; none if it lacks a global, which no module does that has its
    /// export.
    original: OnceLock<Option<Original>>,
}

/// An instance that has not run.
struct Original {
    /// All of its memory, in pieces; none for one that is zero, so that it need not be read.
    memory: Vec<Option<Box<[u8]>>>,
    /// In the order of [`Renewal::globals`].
    globals: Vec<Val>,
}

impl Renewal {
    /// None if its instances cannot be renewed.
    pub(super) fn of(module: &Module) -> Option<Arc<Self>> {
        let memory = module.get_export(rewrite::RENEWABLE)?;
        let memory = memory.memory()?.minimum() << 16;
        let globals = (0..).map_while(|number| module.get_export_index(&rewrite::global(number)));
        (memory <= MAX_MEMORY).then(|| {
            Arc::new(Self {
                globals: globals.collect(),
                original: OnceLock::new(),
            })
        })
    }

    /// Remembers an instance that has not run, if none is remembered yet.
    pub(super) fn remember(&self, store: &mut Store<CallState>, instance: Instance, memory: Memory) {
        self.original.get_or_init(|| {
            let globals = self.globals.iter();
            let globals = globals.map(|export| Some(global(store, instance, export)?.get(&mut *store)));
            let globals = globals.collect::<Option<_>>()?;
            let pieces = memory.data(&*store).chunks(PIECE);
            Some(Original {
                memory: pieces
                    .map(|piece| (piece != ZERO).then(|| piece.into()))
                    .collect(),
                globals,
            })
        });
    }

    /// Renews an instance that has served a call to its end. False if it cannot be, and is to be given up.
    pub(super) fn renew(&self, store: &mut Store<CallState>, instance: Instance, memory: Memory) -> bool {
        let Some(Some(original)) = self.original.get() else {
            return false;
        };
        let bytes = memory.data_mut(&mut *store);
        if bytes.len() != original.memory.len() * PIECE {
            return false;
        }
        for (piece, original) in bytes.chunks_exact_mut(PIECE).zip(&original.memory) {
            let original = original.as_deref().unwrap_or(&ZERO);
            if piece != original {
                piece.copy_from_slice(original);
            }
        }
        self.globals.iter().zip(&original.globals).all(|(export, value)| {
            global(store, instance, export).is_some_and(|global| global.set(&mut *store, *value).is_ok())
        })
    }
}

fn global(store: &mut Store<CallState>, instance: Instance, export: &ModuleExport) -> Option<Global> {
    instance.get_module_export(store, export)?.into_global()
}
