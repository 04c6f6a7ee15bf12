//! The administration of a host.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use http::Method;
use mortise::admin::pb::admin_client::AdminClient;
use mortise::admin::pb::{GetMetricsRequest, GetStatusRequest, GetStatusResponse};
use tonic::transport::Channel;

use super::exposition::Exposition;
use super::host::Host;
use super::http1::{self, Answer};
use super::log::Line;
use super::until_some;

impl Host {
    /// A client on the socket in the data folder.
    pub(crate) async fn admin(&self) -> AdminClient<Channel> {
        connect(&self.data).await
    }

    pub(crate) async fn status(&self) -> GetStatusResponse {
        let status = self.admin().await.get_status(GetStatusRequest {}).await;
        status.expect("answered").into_inner()
    }

    pub(crate) async fn metrics(&self) -> Exposition {
        metrics(&self.data).await
    }

    /// Waits until a metric without labels has this value.
    pub(crate) async fn until_metric(&self, what: &str, name: &str, value: f64) {
        until_some(what, async || {
            let found = self.metrics().await.value(name, &[]);
            (found == Some(value)).then_some(())
        })
        .await;
    }

    /// Where `[admin] listen` is.
    pub(crate) async fn admin_address(&self) -> SocketAddr {
        let listening = |line: &Line| line.message() == "listening";
        let line = self.log.wait_for("listening", listening).await;
        let address = line.field("admin").as_str().expect("it listens on TCP");
        address.parse().expect("an address")
    }

    /// A page of the administration.
    pub(crate) async fn page(&self, path: &str) -> Answer {
        let address = self.admin_address().await;
        http1::send(address, Method::GET, path, &[], "").await
    }
}

async fn connect(data: &Path) -> AdminClient<Channel> {
    mortise::admin::connect(data).await.expect("it listens there")
}

/// Of the host that has this data folder.
pub(crate) async fn metrics(data: &Path) -> Exposition {
    let metrics = connect(data).await.get_metrics(GetMetricsRequest {}).await;
    Exposition::parse(&metrics.expect("answered").into_inner().text)
}

/// A duration as the service sends it.
pub(crate) fn duration(duration: Option<prost_types::Duration>) -> Duration {
    let duration = duration.and_then(|duration| Duration::try_from(duration).ok());
    duration.expect("a duration")
}
