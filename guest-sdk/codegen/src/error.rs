use std::fmt;
use std::io;
use std::path::PathBuf;

/// Why no code could be generated. `Debug` writes it for people, because that is what cargo shows when a
/// `build.rs` fails.
#[derive(thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// [`build`](crate::Builder::build) was called outside of a build script.
    #[error("OUT_DIR is not set: call this from build.rs, or set Builder::out_dir")]
    NotInBuildScript,
    /// The builder was given no proto.
    #[error("there is no proto to compile: add one with Builder::proto(\"package/v1/service.proto\")")]
    NoProtos,
    /// An include directory does not exist.
    #[error("include directory `{}` does not exist; it is relative to the crate's directory", .0.display())]
    MissingInclude(PathBuf),
    /// A proto cannot be read or is not valid; the text has file, line and column.
    #[error("{0}")]
    Proto(String),
    /// A method streams.
    #[error(
        "{path} in {file} is a streaming method, and Mortise serves only unary ones so far. \
         Make it unary, for instance with pages, or move it to a proto that the plugin does not compile."
    )]
    Streaming {
        /// `/package.Service/Method`.
        path: String,
        /// The proto.
        file: String,
    },
    /// The code could not be made or written.
    #[error("cannot generate code: {0}")]
    Generate(#[source] io::Error),
    /// A file could not be written.
    #[error("cannot write {}: {cause}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        cause: io::Error,
    },
    /// The stack is empty or not aligned.
    #[error("a stack of {0} bytes cannot be: it must be a multiple of 16")]
    StackSize(u32),
    /// The initial memory is not in pages or does not hold the stack.
    #[error("an initial memory of {0} bytes cannot be: it must be a multiple of 65536, and hold the stack")]
    InitialMemory(u32),
}

impl Error {
    pub(crate) fn proto(error: protox::Error) -> Error {
        // Its `Debug` is a report with the line in question.
        Error::Proto(format!("{error:?}"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}
