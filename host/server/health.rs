//! gRPC health: SERVING for each service that a plugin serves, and for the host as a whole, which is the empty
//! name; NOT_SERVING while the host drains.

use std::pin::Pin;

use futures_util::Stream;
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use pb::health_check_response::ServingStatus;
use pb::{HealthCheckRequest, HealthCheckResponse, HealthListRequest, HealthListResponse};

/// Made from `proto/grpc/health/v1/health.proto`.
#[allow(unreachable_pub)]
pub(crate) mod pb {
    tonic::include_proto!("grpc.health.v1");

    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/health.binpb"));
}

/// The health service. It looks at what is so when it is asked, so it is never behind.
#[derive(Clone)]
pub struct Health {
    services: watch::Receiver<Vec<String>>,
    draining: watch::Receiver<bool>,
}

impl Health {
    /// `services` names what is served, and every change of it.
    pub fn new(services: watch::Receiver<Vec<String>>, draining: watch::Receiver<bool>) -> Self {
        Self { services, draining }
    }

    /// None if the host does not know the service.
    fn status(&self, service: &str) -> Option<ServingStatus> {
        let known = service.is_empty() || self.services.borrow().iter().any(|served| served == service);
        known.then(|| self.of_known())
    }

    fn of_known(&self) -> ServingStatus {
        if *self.draining.borrow() {
            ServingStatus::NotServing
        } else {
            ServingStatus::Serving
        }
    }

    /// Waits until any status may have changed. None if none ever will.
    async fn changed(&mut self) -> Option<()> {
        tokio::select! {
            changed = self.services.changed() => changed.ok(),
            changed = self.draining.changed() => changed.ok(),
        }
    }
}

fn answer(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse {
        status: status.into(),
    }
}

#[tonic::async_trait]
impl pb::health_server::Health for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.status(&request.get_ref().service);
        let status = status.ok_or_else(|| Status::not_found("This host does not know the service"))?;
        Ok(Response::new(answer(status)))
    }

    async fn list(&self, _: Request<HealthListRequest>) -> Result<Response<HealthListResponse>, Status> {
        let status = self.of_known();
        let services = self.services.borrow();
        let names = std::iter::once("").chain(services.iter().map(String::as_str));
        let statuses = names.map(|name| (name.to_owned(), answer(status))).collect();
        Ok(Response::new(HealthListResponse { statuses }))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let service = request.into_inner().service;
        let start = (self.clone(), service, None);
        let statuses = futures_util::stream::unfold(start, |(mut health, service, said)| async move {
            let status = loop {
                let status = health.status(&service).unwrap_or(ServingStatus::ServiceUnknown);
                if said != Some(status) {
                    break status;
                }
                health.changed().await?;
            };
            Some((Ok(answer(status)), (health, service, Some(status))))
        });
        Ok(Response::new(Box::pin(statuses)))
    }
}
