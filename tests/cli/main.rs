//! The command line as scripts see it: exit code, standard output and standard error of the real binary.

mod admin;
mod call;
mod check;
mod echo;
mod explain;
mod general;
mod inspect;
mod new;
mod store;

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

/// What a run of the binary left behind.
#[derive(Debug)]
struct Outcome {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

impl Outcome {
    /// Checks the exit code, showing everything if it is another.
    #[track_caller]
    fn exits(self, code: i32) -> Outcome {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }
}

/// Runs `mortise` in `folder`.
fn mortise_in<S: AsRef<OsStr>>(folder: &Path, args: impl IntoIterator<Item = S>) -> Outcome {
    let output = Command::new(env!("CARGO_BIN_EXE_mortise"))
        .args(args)
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("the binary runs");
    Outcome {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("standard output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("standard error is UTF-8"),
    }
}

fn mortise<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Outcome {
    mortise_in(Path::new("."), args)
}

fn temporary_folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a temporary folder can be made")
}
