//! A plugin as native code.

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::artifact::Artifact;
use super::flat::{self, Unfit};

/// Which of the two ways a plugin is run. Each has code of its own.
#[derive(Debug, Clone, Copy)]
pub enum Form {
    /// As the component that it is.
    Component,
    /// Its main module alone.
    Flat,
}

impl Form {
    /// For people, and for the names of what is kept.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Component => "component",
            Self::Flat => "flat",
        }
    }
}

/// Why there is no code of a plugin.
#[derive(Debug, thiserror::Error)]
pub enum NotCompiled {
    /// It does not fit this form.
    #[error(transparent)]
    Unfit(#[from] Unfit),
    /// It is damaged, or uses features that this host does not offer.
    #[error("{0:#}")]
    Failed(wasmtime::Error),
}

impl From<wasmtime::Error> for NotCompiled {
    fn from(error: wasmtime::Error) -> Self {
        Self::Failed(error)
    }
}

/// Code, ready to be linked.
pub struct Compiled {
    /// The component; without its code if there is a main module.
    pub component: Component,
    /// The main module, on the flat path.
    pub main: Option<Module>,
}

impl Compiled {
    /// Compiles an artifact in this form.
    ///
    /// # Errors
    /// Why it cannot be had.
    pub fn new(engine: &Engine, artifact: &Artifact, form: Form) -> Result<Self, NotCompiled> {
        let bytes = &artifact.bytes;
        match form {
            Form::Component => Ok(Self {
                component: Component::from_binary(engine, bytes)?,
                main: None,
            }),
            Form::Flat => {
                let main = flat::main_module(engine, bytes, &artifact.contract)?;
                let flat = flat::Flattened::of(bytes, main, &artifact.contract)?;
                Ok(Self {
                    component: Component::from_binary(engine, &flat.hollow)?,
                    main: Some(Module::from_binary(engine, &flat.module)?),
                })
            }
        }
    }

    /// As bytes, for `deserialize`.
    ///
    /// # Errors
    /// If wasmtime cannot write them.
    pub(super) fn serialize(&self) -> wasmtime::Result<Vec<u8>> {
        let component = self.component.serialize()?;
        let mut bytes = (component.len() as u64).to_le_bytes().to_vec();
        bytes.extend(component);
        if let Some(main) = &self.main {
            bytes.extend(main.serialize()?);
        }
        Ok(bytes)
    }

    /// Reads what `serialize` wrote.
    ///
    /// # Errors
    /// If it is for another version or processor.
    ///
    /// # Safety
    /// The bytes must be what `serialize` wrote, unchanged: they are run as native code.
    #[allow(unsafe_code)]
    pub(super) unsafe fn deserialize(engine: &Engine, bytes: &[u8]) -> wasmtime::Result<Self> {
        let cut = || wasmtime::Error::msg("compiled code is cut short");
        let (length, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).map_err(|_| cut())?;
        let (component, main) = rest.split_at_checked(length).ok_or_else(cut)?;
        // SAFETY: both parts are what wasmtime serialized, as the caller promises.
        unsafe {
            Ok(Self {
                component: Component::deserialize(engine, component)?,
                main: (!main.is_empty())
                    .then(|| Module::deserialize(engine, main))
                    .transpose()?,
            })
        }
    }
}
