//! The same handler in Python and Go, where their tools are.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::report::output;
use crate::support::components::target_folder;
use crate::support::server::Server;

pub(crate) const PYTHON: &str = "Python grpc.aio";
pub(crate) const GO: &str = "grpc-go";

/// Of the languages that are there.
pub(crate) fn versions() -> Vec<String> {
    let all = [output("python3", &["--version"]), output("go", &["version"])];
    all.into_iter().filter(|version| !version.is_empty()).collect()
}

pub(super) fn start(name: &str) -> Option<Server> {
    let prepared = match name {
        PYTHON => python(),
        GO => go(),
        _ => unreachable!("no server has the name {name}"),
    };
    match prepared {
        Ok(mut command) => Some(Server::announced(&mut command)),
        Err(missing) => {
            println!("{name} is skipped: {missing}");
            None
        }
    }
}

/// A virtual environment with what the server needs, its messages among it.
fn python() -> Result<Command, String> {
    let source = sources().join("python");
    let venv = target_folder().join("bench-peers/python");
    let (requirements, stamp) = (source.join("requirements.txt"), venv.join("installed.txt"));
    let python = venv.join("bin/python");
    let wanted = std::fs::read(&requirements).map_err(|error| error.to_string())?;
    if std::fs::read(&stamp).ok().as_ref() != Some(&wanted) {
        run(Command::new("python3").args(["-m", "venv"]).arg(&venv))?;
        let pip = [
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "-r",
        ];
        run(Command::new(&python).args(pip).arg(&requirements))?;
        std::fs::write(&stamp, wanted).map_err(|error| error.to_string())?;
    }
    let protos = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/bench/proto");
    run(Command::new(&python)
        .args(["-m", "grpc_tools.protoc", "bench/v1/bench.proto", "-I"])
        .arg(protos)
        .args(["--python_out", "--grpc_python_out"].map(|option| format!("{option}={}", venv.display()))))?;
    let mut command = Command::new(python);
    command.arg(source.join("server.py")).env("PYTHONPATH", venv);
    Ok(command)
}

fn go() -> Result<Command, String> {
    let program = target_folder().join("bench-peers/go-server");
    run(Command::new("go")
        .args(["build", "-o"])
        .arg(&program)
        .arg(".")
        .current_dir(sources().join("go")))?;
    Ok(Command::new(program))
}

fn sources() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers")
}

fn run(command: &mut Command) -> Result<(), String> {
    let program = command.get_program().display().to_string();
    let output = command
        .output()
        .map_err(|error| format!("{program} cannot be started: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let reason = String::from_utf8_lossy(&output.stderr);
    let last = reason.trim().lines().last().unwrap_or_default();
    Err(format!("{program} failed: {last}"))
}
