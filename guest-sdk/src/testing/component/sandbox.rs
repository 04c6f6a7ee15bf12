//! A process of the real host that runs the component: `mortise sandbox`.

use std::fmt;
use std::io::{self, BufReader, BufWriter, ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::protocol::{self, FromSandbox, FromTest, Loaded, Outcome};
use super::{SWITCH, imports};

/// Names the host's program, if it is not `mortise` on the `PATH`.
const PROGRAM: &str = "MORTISE_BIN";

/// Why a test cannot go on.
#[derive(Debug)]
pub(super) struct Broken(String);

impl Broken {
    /// The component is not what it must be.
    pub(super) fn new(file: &Path, why: &str) -> Broken {
        let file = file.display();
        Broken(format!(
            "{SWITCH} has tests run in {file}, and that cannot be: {why}. Build the component again, or have \
             `mortise test` do it; without {SWITCH}, handlers run natively"
        ))
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// It ends when it is dropped, and by itself when this process ends.
pub(super) struct Sandbox {
    process: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
    file: PathBuf,
    loaded: Loaded,
}

impl Sandbox {
    pub(super) fn start(file: &Path) -> Result<Sandbox, Broken> {
        let program = std::env::var_os(PROGRAM).unwrap_or_else(|| "mortise".into());
        let mut command = Command::new(&program);
        command
            .arg("sandbox")
            .arg(file)
            .args(["--protocol", &protocol::VERSION.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut process = command.spawn().map_err(|error| {
            Broken(format!(
                "{SWITCH} has tests run in a sandbox of the host's, whose program {program:?} cannot be run: \
                 {error}. Put `mortise` on the PATH, say in {PROGRAM} where it is, or use `mortise test`; \
                 without {SWITCH}, handlers run natively"
            ))
        })?;
        let (to, from) = (process.stdin.take(), process.stdout.take());
        let mut sandbox = Sandbox {
            process,
            to: BufWriter::new(to.expect("it is piped")),
            from: BufReader::new(from.expect("it is piped")),
            file: file.to_owned(),
            loaded: Loaded::default(),
        };
        match protocol::read(&mut sandbox.from) {
            Ok(FromSandbox::Ready(loaded)) => sandbox.loaded = loaded,
            Ok(_) => return Err(sandbox.lost(&io::Error::other("it did not say what it loaded"))),
            Err(error) => return Err(sandbox.lost(&error)),
        }
        Ok(sandbox)
    }

    /// What the component says of itself.
    pub(super) fn loaded(&self) -> &Loaded {
        &self.loaded
    }

    /// Makes one call, and answers what the guest imports by the call in progress on this thread.
    pub(super) fn call(&mut self, method: u32, request: &[u8]) -> Result<Outcome, Broken> {
        self.say(&FromTest::Call {
            method,
            request: request.to_vec(),
        })?;
        loop {
            match protocol::read(&mut self.from) {
                Ok(FromSandbox::Import { function, arguments }) => {
                    let answer = imports::answer(&function, &arguments)
                        .map_err(|why| Broken::new(&self.file, &format!("{function}: {why}")))?;
                    self.say(&FromTest::Answer(answer))?;
                }
                Ok(FromSandbox::Ended { outcome, log }) => {
                    // As what a native handler prints: shown with a test that fails.
                    print!("{log}");
                    return Ok(outcome);
                }
                Ok(FromSandbox::Ready(_)) => {
                    return Err(self.lost(&io::Error::other("it started once more")));
                }
                Err(error) => return Err(self.lost(&error)),
            }
        }
    }

    fn say(&mut self, what: &FromTest) -> Result<(), Broken> {
        protocol::write(&mut self.to, what).map_err(|error| self.lost(&error))
    }

    /// With what it said last, if it has ended.
    fn lost(&mut self, error: &io::Error) -> Broken {
        let gone = matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::BrokenPipe);
        let mut why = match gone {
            true => "its sandbox has ended".to_owned(),
            false => error.to_string(),
        };
        let mut said = String::new();
        // Not to wait for one that goes on.
        let _ = self.process.kill();
        if let Some(stderr) = &mut self.process.stderr
            && stderr.read_to_string(&mut said).is_ok()
            && !said.trim().is_empty()
        {
            why = format!("{why}, and said:\n{}\n", said.trim());
        }
        Broken::new(&self.file, &why)
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        // One that has ended already is as good.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
