//! gRPC health: SERVING for each service that a plugin serves, and for the host as a whole (the empty
//! name) once every plugin is live; NOT_SERVING while the host drains.

use std::collections::BTreeSet;

use tokio::sync::watch;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

/// Keeps the health service in step with the plugins.
pub struct Health {
    reporter: HealthReporter,
    services: watch::Receiver<Vec<String>>,
}

impl Health {
    /// `services` names what is served, and every change of it.
    pub fn new(reporter: HealthReporter, services: watch::Receiver<Vec<String>>) -> Self {
        Self { reporter, services }
    }

    /// Follows swaps until `draining` turns true, then turns everything NOT_SERVING and returns.
    pub async fn follow(mut self, mut draining: watch::Receiver<bool>) {
        let mut known = BTreeSet::new();
        loop {
            let served: BTreeSet<String> = self.services.borrow_and_update().iter().cloned().collect();
            for gone in known.difference(&served) {
                self.reporter.clear_service_status(gone).await;
            }
            self.report(&served, ServingStatus::Serving).await;
            known = served;
            tokio::select! {
                changed = self.services.changed() => if changed.is_err() { break },
                _ = draining.wait_for(|draining| *draining) => break,
            }
        }
        self.report(&known, ServingStatus::NotServing).await;
    }

    async fn report(&self, services: &BTreeSet<String>, status: ServingStatus) {
        for service in services {
            self.reporter.set_service_status(service, status).await;
        }
        self.reporter.set_service_status("", status).await;
    }
}
