//! What a Mortise plugin's `build.rs` calls: it turns the plugin's protos into messages and service traits
//! for [`mortise-guest`](https://docs.rs/mortise-guest), and sets the memory of the built component.
//!
//! ```no_run
//! fn main() -> Result<(), mortise_guest_codegen::Error> {
//!     mortise_guest_codegen::Builder::new()
//!         .include("proto")
//!         .proto("greeter/v1/greeter.proto")
//!         .build()
//! }
//! ```
//!
//! No `protoc` is needed. Messages are made by prost; each service becomes a trait with one function for
//! each method, which answers UNIMPLEMENTED until the plugin writes it. A method with
//! `option idempotency_level = NO_SIDE_EFFECTS;` gets a `ReadCall`, any other a `Call`. The file descriptors
//! are embedded, which is how the host knows what the plugin serves.
//!
//! A proto that imports `mortise/v1/options.proto`, which needs no copy, can mark methods that only timers
//! and events are to call: `option (mortise.v1.internal) = true;`.

mod error;
mod options;
mod service;

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};

use prost::Message;
use prost_types::FileDescriptorSet;
use protox::file::{ChainFileResolver, GoogleFileResolver, IncludeFileResolver};

pub use error::Error;

use options::OwnFile;
use service::Services;

/// The file beside the generated code that the traits embed.
const DESCRIPTORS: &str = "mortise_descriptors.bin";
/// The file in `OUT_DIR` that includes every package as a module.
const ALL_PACKAGES: &str = "mortise_protos.rs";

const WASM_PAGE: u32 = 65_536;

/// Generates the Rust side of a plugin's protos; see the [crate's](crate) example.
#[derive(Clone, Debug)]
pub struct Builder {
    includes: Vec<PathBuf>,
    protos: Vec<PathBuf>,
    clients: Vec<PathBuf>,
    out_dir: Option<PathBuf>,
    stack_size: u32,
    initial_memory: u32,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            includes: Vec::new(),
            protos: Vec::new(),
            clients: Vec::new(),
            out_dir: None,
            stack_size: Builder::STACK_SIZE,
            initial_memory: Builder::INITIAL_MEMORY,
        }
    }
}

impl Builder {
    /// The stack of a plugin that asks for no other, in bytes.
    pub const STACK_SIZE: u32 = 32 * 1024;
    /// The initial memory of a plugin that asks for no other, in bytes.
    pub const INITIAL_MEMORY: u32 = 128 * 1024;

    /// Nothing to generate yet, and the default memory.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// A directory in which protos and what they import are looked for, relative to the crate. With none it
    /// is `proto`. `google/protobuf/*.proto` and `mortise/v1/options.proto` are always there.
    #[must_use]
    pub fn include(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.includes.push(directory.into());
        self
    }

    /// A proto to generate code for, relative to an [include](Builder::include) directory.
    #[must_use]
    pub fn proto(mut self, file: impl Into<PathBuf>) -> Builder {
        self.protos.push(file.into());
        self
    }

    /// A proto of services that the plugin calls, relative to an [include](Builder::include) directory. Each
    /// of its services becomes a client over `mortise_guest::Upstream`; streaming methods are left out.
    #[must_use]
    pub fn client(mut self, file: impl Into<PathBuf>) -> Builder {
        self.clients.push(file.into());
        self
    }

    /// Where the code goes instead of `OUT_DIR`, where `include_proto!` looks for it.
    #[must_use]
    pub fn out_dir(mut self, directory: impl Into<PathBuf>) -> Builder {
        self.out_dir = Some(directory.into());
        self
    }

    /// The plugin's stack in bytes, a multiple of 16; [`STACK_SIZE`](Builder::STACK_SIZE) by default.
    ///
    /// A handler that recurses deeper than the stack allows traps, and its call ends as UNKNOWN.
    #[must_use]
    pub fn stack_size(mut self, bytes: u32) -> Builder {
        self.stack_size = bytes;
        self
    }

    /// The memory that each sandbox starts with, in bytes, a multiple of 64 KiB;
    /// [`INITIAL_MEMORY`](Builder::INITIAL_MEMORY) by default.
    ///
    /// It holds the stack, the program's constants and a first heap. Memory grows when the heap is used up,
    /// which costs more than all else in a short call; a host resets what a call used, which costs in
    /// proportion to it. So it should be just large enough for an ordinary call. The linker's `initial memory
    /// too small, N bytes needed` asks for more than N.
    #[must_use]
    pub fn initial_memory(mut self, bytes: u32) -> Builder {
        self.initial_memory = bytes;
        self
    }

    /// Generates the code, and tells cargo to do so again when a proto changes.
    ///
    /// # Errors
    /// When a proto cannot be read or is not valid, when a method streams, when a size makes no sense.
    pub fn build(self) -> Result<(), Error> {
        self.check_memory()?;
        let out_dir = match &self.out_dir {
            Some(directory) => directory.clone(),
            None => env::var_os("OUT_DIR").ok_or(Error::NotInBuildScript)?.into(),
        };
        if self.protos.is_empty() {
            return Err(Error::NoProtos);
        }
        let served = self.compile(&self.protos, true)?;
        service::refuse_streaming(&served.files)?;
        write_descriptors(&served.files, &out_dir.join(DESCRIPTORS))?;
        let mut files = served.files.clone();
        let mut called = BTreeSet::new();
        if !self.clients.is_empty() {
            files = self.compile(self.protos.iter().chain(&self.clients), true)?.files;
            called = service::names(&self.compile(&self.clients, false)?.files);
            let served = service::names(&served.files);
            called.retain(|service| !served.contains(service));
        }
        let services = Services {
            called,
            internal: served.internal,
        };
        prost_config(&out_dir, services)
            .compile_fds(files)
            .map_err(Error::Generate)?;
        self.link_arguments();
        Ok(())
    }

    /// The protos, with comments, and all they import if that is asked for.
    fn compile<'p>(
        &self,
        protos: impl IntoIterator<Item = &'p PathBuf>,
        imports: bool,
    ) -> Result<Compiled, Error> {
        let default = [PathBuf::from("proto")];
        let includes = if self.includes.is_empty() {
            &default[..]
        } else {
            &self.includes
        };
        if let Some(missing) = includes.iter().find(|include| !include.is_dir()) {
            return Err(Error::MissingInclude(missing.clone()));
        }
        let mut resolver = ChainFileResolver::new();
        for include in includes {
            resolver.add(IncludeFileResolver::new(include.clone()));
        }
        resolver.add(GoogleFileResolver::new());
        resolver.add(OwnFile);
        let mut compiler = protox::Compiler::with_file_resolver(resolver);
        compiler.include_source_info(true).include_imports(imports);
        compiler.open_files(protos).map_err(Error::proto)?;
        // Only read when the build succeeds, and cargo repeats a build that failed.
        for path in compiler.files().filter_map(protox::file::FileMetadata::path) {
            println!("cargo:rerun-if-changed={}", path.display());
        }
        let mut files = compiler.file_descriptor_set();
        options::remove(&mut files);
        Ok(Compiled {
            files,
            internal: options::internal_methods(&compiler.descriptor_pool()),
        })
    }

    fn check_memory(&self) -> Result<(), Error> {
        if self.stack_size == 0 || !self.stack_size.is_multiple_of(16) {
            return Err(Error::StackSize(self.stack_size));
        }
        if self.initial_memory <= self.stack_size || !self.initial_memory.is_multiple_of(WASM_PAGE) {
            return Err(Error::InitialMemory(self.initial_memory));
        }
        Ok(())
    }

    fn link_arguments(&self) {
        // The same build script runs for native tests, whose linker knows none of this.
        if env::var("CARGO_CFG_TARGET_FAMILY").is_ok_and(|family| family == "wasm") {
            println!("cargo:rustc-link-arg-cdylib=-zstack-size={}", self.stack_size);
            println!(
                "cargo:rustc-link-arg-cdylib=--initial-memory={}",
                self.initial_memory
            );
        }
    }
}

/// Some protos, read.
struct Compiled {
    files: FileDescriptorSet,
    /// Methods that only timers and events may call, as `/package.Service/Method`.
    internal: BTreeSet<String>,
}

fn prost_config(out_dir: &Path, services: Services) -> prost_build::Config {
    let mut config = prost_build::Config::new();
    config
        .out_dir(out_dir)
        .include_file(ALL_PACKAGES)
        .prost_path("::mortise_guest::prost")
        .prost_types_path("::mortise_guest::prost_types")
        // Hash maps would draw random seeds in every sandbox, and encode in a different order each time.
        .btree_map(["."])
        // Messages can be error details, which are known by their type's name.
        .enable_type_names()
        .service_generator(Box::new(services));
    config
}

/// Writes what reflection needs: every file, without comments and positions.
fn write_descriptors(files: &FileDescriptorSet, path: &Path) -> Result<(), Error> {
    let mut files = files.clone();
    for file in &mut files.file {
        file.source_code_info = None;
    }
    fs::write(path, files.encode_to_vec()).map_err(|cause| Error::Write {
        path: path.to_owned(),
        cause,
    })
}
