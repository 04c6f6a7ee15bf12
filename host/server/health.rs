//! gRPC health: SERVING for each service that a plugin serves, and for the host as a whole, which is the empty
//! name; NOT_SERVING while the host drains.

use futures_util::Stream;
use tokio::sync::watch;

use crate::status::Failure;

use pb::health_check_response::ServingStatus;
use pb::{HealthCheckRequest, HealthCheckResponse, HealthListResponse};

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

    pub(super) fn check(&self, request: &HealthCheckRequest) -> Result<HealthCheckResponse, Failure> {
        let status = self.status(&request.service);
        status.map(answer).ok_or(Failure::UnknownService)
    }

    pub(super) fn list(&self) -> HealthListResponse {
        let status = self.of_known();
        let services = self.services.borrow();
        let names = std::iter::once("").chain(services.iter().map(String::as_str));
        let statuses = names.map(|name| (name.to_owned(), answer(status))).collect();
        HealthListResponse { statuses }
    }

    /// What is so now, and every change of it.
    pub(super) fn watch(
        self,
        request: HealthCheckRequest,
    ) -> impl Stream<Item = HealthCheckResponse> + Send + use<> {
        let start = (self, request.service, None);
        futures_util::stream::unfold(start, |(mut health, service, said)| async move {
            let status = loop {
                let status = health.status(&service).unwrap_or(ServingStatus::ServiceUnknown);
                if said != Some(status) {
                    break status;
                }
                health.changed().await?;
            };
            Some((answer(status), (health, service, Some(status))))
        })
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
