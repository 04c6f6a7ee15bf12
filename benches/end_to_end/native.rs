//! The baseline: the plugin's own logic behind a plain tonic server with its default settings.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use tonic::{Request, Response, Status};

use crate::server::Server;

#[allow(missing_docs, unreachable_pub, clippy::all)]
pub(crate) mod pb {
    include!(concat!(env!("OUT_DIR"), "/bench.v1.rs"));
}

// What is public there is private here.
#[allow(unreachable_pub)]
#[path = "../../plugins/bench/src/place.rs"]
pub(crate) mod place;

/// Makes this program the server instead of the benchmark.
pub(crate) const ARGUMENT: &str = "--native-server";

struct Bench;

#[tonic::async_trait]
impl pb::bench_server::Bench for Bench {
    async fn place(&self, request: Request<pb::Order>) -> Result<Response<pb::Confirmation>, Status> {
        let request_id = request.metadata().get("x-request-id").cloned();
        let confirmation = place::place(request.get_ref()).map_err(Status::invalid_argument)?;
        let mut response = Response::new(confirmation);
        if let Some(request_id) = request_id {
            response.metadata_mut().insert("x-request-id", request_id);
        }
        // tonic sends a successful response's metadata as headers; what a handler wants in the trailers has
        // to go through an extension of the body, which a plain server does not do. It pays for one more
        // header instead.
        response
            .metadata_mut()
            .insert("processing-time-ms", "0".parse().expect("ASCII"));
        Ok(response)
    }
}

/// Starts this program as the server.
pub(crate) fn start() -> Server {
    let program = std::env::current_exe().expect("this program");
    let mut process = Command::new(program)
        .arg(ARGUMENT)
        .stdout(Stdio::piped())
        .spawn()
        .expect("the native server starts");
    let mut line = String::new();
    let stdout = process.stdout.take().expect("piped");
    BufReader::new(stdout).read_line(&mut line).expect("its address");
    Server::of(process, line.trim().parse().expect("an address"))
}

/// Serves until it is killed, on a port that it prints.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        tonic::transport::Server::builder()
            .serve_with_incoming(pb::bench_server::BenchServer::new(Bench), incoming)
            .await
            .expect("serving");
    });
}
