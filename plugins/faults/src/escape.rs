//! Attempts to reach what a sandbox withholds.

use std::fmt::Debug;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::net::{TcpListener, TcpStream, ToSocketAddrs, UdpSocket};
use std::process::Command;

use crate::pb::{EnvironmentRequest, EnvironmentResponse};

/// Tries every way out that the standard library knows.
pub fn try_everything(request: &EnvironmentRequest) -> EnvironmentResponse {
    let file = request.file.as_str();
    let escapes = [
        got("read the file", fs::read(file)),
        got("read the file's metadata", fs::metadata(file)),
        got("list the root directory", fs::read_dir("/")),
        got("list the working directory", fs::read_dir(".")),
        got("create a file", File::create("mortise-escape")),
        got("make a directory", fs::create_dir("mortise-escape")),
        got("find a name's addresses", ("localhost", 1).to_socket_addrs()),
        connected(TcpStream::connect(request.address.as_str())),
        got("listen for TCP", TcpListener::bind("127.0.0.1:0")),
        got("bind a UDP socket", UdpSocket::bind("127.0.0.1:0")),
        got("run a command", Command::new("true").status()),
    ];
    EnvironmentResponse {
        variables: std::env::vars()
            .map(|(name, value)| format!("{name}={value}"))
            .collect(),
        arguments: std::env::args().collect(),
        escapes: escapes.into_iter().flatten().collect(),
    }
}

/// Words for an attempt that succeeded.
fn got<T>(what: &str, attempt: io::Result<T>) -> Option<String> {
    attempt.ok().map(|_| what.to_owned())
}

/// A connection that the other side refused left the sandbox as well.
fn connected(attempt: io::Result<impl Debug>) -> Option<String> {
    match attempt {
        Ok(_) => Some("connect over TCP".to_owned()),
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => {
            Some("reach a TCP port that is closed".to_owned())
        }
        Err(_) => None,
    }
}
