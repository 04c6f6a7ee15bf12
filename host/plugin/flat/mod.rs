//! The flat path: a second way to run the same contract, for components that the ordinary toolchain makes.
//!
//! A fresh instance of a component costs several times what a call of it does: three core instances with
//! their tables, and functions of the component model between the program and the host. The program itself is
//! one core module, and what it imports are functions that the host has. So where a component is put together
//! as expected, its main module is linked to them directly, and the canonical ABI is done here.
//!
//! The reading order: `outline` and `shape` find the main module, or say why there is none for this path;
//! `rewrite` adds to it what makes room in its own memory; `guest` is what a host function sees of its
//! caller; `abi` moves values; `v0_1` and `wasi` are the functions; `renewal` makes a used instance as new.
//!
//! What holds for the component path holds here: every address, length and case that comes from the guest is
//! checked, a guest that breaks the rules traps, and what an import can make the host copy is bounded. What
//! the component imports and exports is checked by the component linker itself, on a copy without code.

mod abi;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod guest;
mod module;
mod outline;
mod renewal;
mod rewrite;
mod shape;
#[cfg(test)]
mod tests;
mod v0_1;
mod wasi;

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use wasmparser::Validator;
use wasmtime::{Engine, Extern, InstancePre, Linker, Memory, Module, ModuleExport, Store, TypedFunc};

pub use guest::Sandbox;

use super::bindings::v0_1::{Status, handler};
use super::state::CallState;
use abi::Reader;
use renewal::Renewal;
use shape::Exports;

/// Why a component takes the component path.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Unfit(&'static str);

impl Unfit {
    /// Completes the sentence "it is run as a component, because …".
    pub(crate) fn because(why: &'static str) -> Self {
        Self(why)
    }
}

/// A component taken apart: what to compile, and what to check types by.
pub struct Flattened {
    /// The main module as it is run.
    pub module: Vec<u8>,
    /// The component without its code.
    pub hollow: Vec<u8>,
}

/// Where the main module is in a component that exports version `contract` of the handler.
///
/// # Errors
/// If it is not a component for this path.
pub fn main_module(engine: &Engine, component: &[u8], contract: &str) -> Result<Range<usize>, Unfit> {
    let main = shape::main_module(component, &Exports::of(contract))?;
    // Of a component seen before, this is all that is compiled.
    let imports = rewrite::imports_alone(&component[main.clone()])?;
    let unknown = |_| Unfit::because("it imports functions that only components are offered");
    let module = Module::from_binary(engine, &imports).map_err(unknown)?;
    let linker = linker(engine, module.imports().map(|import| import.module())).map_err(unknown)?;
    linker.instantiate_pre(&module).map_err(unknown)?;
    Ok(main)
}

impl Flattened {
    /// Takes a component apart that has its main module there.
    ///
    /// # Errors
    /// If the module is not as it must be after all.
    pub fn of(component: &[u8], main: Range<usize>, contract: &str) -> wasmtime::Result<Self> {
        let module = &component[main.clone()];
        // What is written anew must have been right before: numbers that meant nothing could mean something
        // now.
        Validator::new()
            .validate_all(module)
            .map_err(|error| wasmtime::Error::msg(error.to_string()))?;
        Ok(Self {
            module: rewrite::with_abi(module, &Exports::of(contract), needs_room)?,
            hollow: rewrite::hollow(component, main)?,
        })
    }
}

fn needs_room(interface: &str, function: &str) -> bool {
    let name = interface.split('@').next().unwrap_or_default();
    v0_1::NEEDS_ROOM.contains(&(interface, function)) || wasi::NEEDS_ROOM.contains(&(name, function))
}

/// A main module, linked.
pub struct Program {
    instance: InstancePre<CallState>,
    memory: ModuleExport,
    handle: ModuleExport,
    renewal: Option<Arc<Renewal>>,
}

impl Program {
    /// Links `module`, which [`Flattened`] made, to the host's functions.
    ///
    /// # Errors
    /// If it imports one that is not offered here, or with another signature.
    pub fn link(module: &Module) -> wasmtime::Result<Self> {
        let linker = linker(module.engine(), module.imports().map(|import| import.module()))?;
        let export = |name: &str| module.get_export_index(name).ok_or_else(missing);
        Ok(Self {
            memory: export("memory")?,
            handle: export(rewrite::HANDLE)?,
            renewal: Renewal::of(module),
            instance: linker.instantiate_pre(module)?,
        })
    }

    /// Whether its instances can be made as new after a call.
    pub fn renews(&self) -> bool {
        self.renewal.is_some()
    }

    /// A fresh sandbox.
    ///
    /// # Errors
    /// If none is free, which admission prevents.
    pub async fn instantiate(&self, store: &mut Store<CallState>) -> wasmtime::Result<Instance> {
        let instance = self.instance.instantiate_async(&mut *store).await?;
        let memory = instance.get_module_export(&mut *store, &self.memory);
        let memory = memory.and_then(Extern::into_memory).ok_or_else(missing)?;
        store.data_mut().flat = Sandbox::of(memory);
        let handle = instance.get_module_export(&mut *store, &self.handle);
        let handle = handle
            .and_then(Extern::into_func)
            .ok_or_else(missing)?
            .typed(&*store)?;
        if let Some(renewal) = &self.renewal {
            renewal.remember(store, instance, memory);
        }
        Ok(Instance {
            instance,
            memory,
            handle,
            renewal: self.renewal.clone(),
        })
    }
}

fn missing() -> wasmtime::Error {
    wasmtime::Error::msg("an export of the main module is missing")
}

/// The host's functions under the names by which a module imports them: of WASI there are several versions.
fn linker<'a>(
    engine: &Engine,
    interfaces: impl Iterator<Item = &'a str>,
) -> wasmtime::Result<Linker<CallState>> {
    let mut linker = Linker::new(engine);
    let wasi = interfaces.filter(|interface| interface.starts_with("wasi:"));
    let versions: BTreeSet<_> = wasi
        .filter_map(|interface| Some(interface.split_once('@')?.1))
        .collect();
    for version in versions {
        wasi::add_to_linker(&mut linker, version)?;
    }
    v0_1::add_to_linker(&mut linker)?;
    add_abi(&mut linker)?;
    Ok(linker)
}

/// What the functions need that `rewrite` adds.
fn add_abi(linker: &mut Linker<CallState>) -> wasmtime::Result<()> {
    linker.func_wrap(rewrite::HOST, rewrite::REQUEST, guest::request)?;
    linker.func_wrap(rewrite::HOST, rewrite::ANSWER, guest::answer)?;
    linker.func_wrap(rewrite::HOST, rewrite::ROOM, guest::room)?;
    Ok(())
}

/// An instance of a main module.
pub struct Instance {
    instance: wasmtime::Instance,
    memory: Memory,
    handle: TypedFunc<(u32, u32), ()>,
    renewal: Option<Arc<Renewal>>,
}

impl Instance {
    /// Serves one call.
    ///
    /// # Errors
    /// If the guest traps or is interrupted.
    pub async fn handle(
        &self,
        store: &mut Store<CallState>,
        method: u32,
        request: Bytes,
    ) -> wasmtime::Result<Result<Vec<u8>, Status>> {
        let bytes = u32::try_from(request.len()).unwrap_or(u32::MAX);
        store.data_mut().flat.begin(request);
        self.handle.call_async(&mut *store, (method, bytes)).await?;
        let answer = store.data_mut().flat.answered();
        answer.ok_or_else(|| wasmtime::Error::msg("the handler returned without an answer"))
    }

    /// Makes it as it was before its first call. False if that cannot be done; it is given up then.
    pub fn renew(&self, store: &mut Store<CallState>) -> bool {
        let Some(renewal) = &self.renewal else {
            return false;
        };
        let renewed = renewal.renew(store, self.instance, self.memory);
        if renewed {
            store.data_mut().renew(Sandbox::of(self.memory));
        }
        renewed
    }

    /// Asks the plugin for its description.
    ///
    /// # Errors
    /// If the guest traps.
    pub async fn describe(&self, store: &mut Store<CallState>) -> wasmtime::Result<handler::Description> {
        let describe = self
            .instance
            .get_typed_func::<(), u32>(&mut *store, rewrite::DESCRIBE)?;
        let after = self.instance.get_func(&mut *store, rewrite::AFTER_DESCRIBE);
        let at = describe.call_async(&mut *store, ()).await?;
        let (sandbox, plugin) = (&store.data().flat, &store.data().plugin);
        let memory = sandbox.memory().ok_or_else(missing)?;
        let most = plugin.sandbox.memory_bytes;
        let description = Reader::new(memory.data(&*store), most).value(at)?;
        store.data_mut().flat.must_not_leave();
        if let Some(after) = after {
            after
                .typed::<u32, ()>(&*store)?
                .call_async(&mut *store, at)
                .await?;
        }
        Ok(description)
    }
}
