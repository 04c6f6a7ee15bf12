//! The plugins' own logic behind a plain tonic server.

use tonic::{Request, Response, Status};

use crate::logic::{place, work};
use crate::pb;

/// What a server serves.
#[derive(Debug, Clone, Copy)]
pub(super) enum Service {
    Bench,
    Compute,
}

impl Service {
    pub(super) const ALL: [Self; 2] = [Self::Bench, Self::Compute];

    pub(super) fn role(self) -> &'static str {
        match self {
            Self::Bench => "--tonic-bench",
            Self::Compute => "--tonic-compute",
        }
    }
}

/// tonic's default of 4 MB is less than the largest payload.
const MAX_MESSAGE_BYTES: usize = 16 << 20;

#[derive(Clone, Copy)]
struct Native;

#[tonic::async_trait]
impl pb::bench_server::Bench for Native {
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

    async fn echo(&self, request: Request<pb::Payload>) -> Result<Response<pb::Payload>, Status> {
        Ok(Response::new(request.into_inner()))
    }

    async fn get_variant(&self, _: Request<pb::GetVariantRequest>) -> Result<Response<pb::Variant>, Status> {
        Err(Status::unimplemented("only plugins have variants"))
    }
}

#[tonic::async_trait]
impl pb::compute_server::Compute for Native {
    async fn run(&self, request: Request<pb::Work>) -> Result<Response<pb::Outcome>, Status> {
        let outcome = work::run(request.get_ref()).map_err(Status::invalid_argument)?;
        Ok(Response::new(outcome))
    }

    async fn wait(&self, _: Request<pb::WaitRequest>) -> Result<Response<pb::WaitResponse>, Status> {
        Err(Status::unimplemented("only plugins wait in imports"))
    }
}

/// Serves one service until it is killed, on a port that it prints. There is no router, which would cost more.
pub(super) fn serve(service: Service) {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        println!("{}", listener.local_addr().expect("an address"));
        let incoming = tonic::transport::server::TcpIncoming::from(listener).with_nodelay(Some(true));
        let server = tonic::transport::Server::builder();
        let served = match service {
            Service::Bench => {
                let bench = pb::bench_server::BenchServer::new(Native)
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES);
                server.serve_with_incoming(bench, incoming).await
            }
            Service::Compute => {
                let compute = pb::compute_server::ComputeServer::new(Native);
                server.serve_with_incoming(compute, incoming).await
            }
        };
        served.expect("serving");
    });
}
