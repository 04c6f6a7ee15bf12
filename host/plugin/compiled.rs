//! A plugin as native code.

use std::ops::Range;

use wasmtime::component::Component;
use wasmtime::{Engine, Module};

use super::artifact::Artifact;
use super::flat::{self, Unfit};

/// Which of the two ways a plugin is run. Each has code of its own.
#[derive(Debug, Clone)]
pub enum Form {
    /// As the component that it is.
    Component,
    /// Its main module alone, which is here in the component's bytes.
    Flat(Range<usize>),
}

impl Form {
    /// The name of one form.
    pub const COMPONENT: &'static str = "component";
    /// The name of the other.
    pub const FLAT: &'static str = "flat";

    /// The flat form, where a component fits it.
    ///
    /// # Errors
    /// Why it does not.
    pub fn flat(engine: &Engine, artifact: &Artifact) -> Result<Self, Unfit> {
        flat::main_module(engine, &artifact.bytes, &artifact.contract).map(Self::Flat)
    }

    /// For what is kept.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Component => Self::COMPONENT,
            Self::Flat(_) => Self::FLAT,
        }
    }
}

/// Native code of a plugin, to be kept or loaded. Whatever is one was made by [`Code::compile`].
pub struct Code(Vec<u8>);

impl Code {
    /// Compiles an artifact on the calling thread, and on others of its pool if the engine does so.
    ///
    /// # Errors
    /// If it is damaged, or uses features that this host does not offer.
    pub fn compile(engine: &Engine, artifact: &Artifact, form: &Form) -> wasmtime::Result<Self> {
        let bytes = &artifact.bytes;
        let (component, main) = match form {
            Form::Component => (engine.precompile_component(bytes)?, Vec::new()),
            Form::Flat(main) => {
                let flat = flat::Flattened::of(bytes, main.clone(), &artifact.contract)?;
                (
                    engine.precompile_component(&flat.hollow)?,
                    engine.precompile_module(&flat.module)?,
                )
            }
        };
        let mut code = (component.len() as u64).to_le_bytes().to_vec();
        code.extend(component);
        code.extend(main);
        Ok(Self(code))
    }

    /// Code that was kept.
    ///
    /// # Safety
    /// The bytes must be those of a `Code`, unchanged: they are run as native code.
    #[allow(unsafe_code)]
    pub(super) unsafe fn kept(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// For `kept`.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// The component's code and the main module's, which is empty if there is none.
    fn parts(&self) -> Option<(&[u8], &[u8])> {
        let (length, rest) = self.0.split_first_chunk()?;
        rest.split_at_checked(usize::try_from(u64::from_le_bytes(*length)).ok()?)
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
    /// Makes code part of the engine that is to run it.
    ///
    /// # Errors
    /// If it is for another version or processor.
    #[allow(unsafe_code)]
    pub fn load(engine: &Engine, code: &Code) -> wasmtime::Result<Self> {
        let cut = || wasmtime::Error::msg("compiled code is cut short");
        let (component, main) = code.parts().ok_or_else(cut)?;
        // SAFETY: wasmtime asks for what it has written itself, and a `Code` is nothing else: `compile` makes it of
        // that, and `kept` passes the duty on.
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
