//! The gRPC service, method by method. What each does is in the file of its area.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::pb::admin_server::Admin;
use super::pb::{
    GetLogFilterRequest, GetLogFilterResponse, GetMetricsRequest, GetMetricsResponse, GetStatusRequest,
    GetStatusResponse, ListGenerationsRequest, ListGenerationsResponse, ReloadPluginRequest,
    ReloadPluginResponse, SetLogFilterRequest, SetLogFilterResponse,
};
use super::status::Host;
use super::{generations, log_filter, status};

#[derive(Clone)]
pub(super) struct Service(Arc<Host>);

impl Service {
    pub(super) fn new(host: Arc<Host>) -> Self {
        Self(host)
    }
}

#[tonic::async_trait]
impl Admin for Service {
    async fn get_status(&self, _: Request<GetStatusRequest>) -> Result<Response<GetStatusResponse>, Status> {
        Ok(Response::new(status::get(&self.0)))
    }

    async fn list_generations(
        &self,
        request: Request<ListGenerationsRequest>,
    ) -> Result<Response<ListGenerationsResponse>, Status> {
        generations::list(&self.0, &request.get_ref().plugin).map(Response::new)
    }

    async fn reload_plugin(
        &self,
        request: Request<ReloadPluginRequest>,
    ) -> Result<Response<ReloadPluginResponse>, Status> {
        let reloaded = generations::reload(&self.0, &request.get_ref().plugin).await;
        reloaded.map(Response::new)
    }

    async fn get_log_filter(
        &self,
        _: Request<GetLogFilterRequest>,
    ) -> Result<Response<GetLogFilterResponse>, Status> {
        log_filter::get().map(Response::new)
    }

    async fn set_log_filter(
        &self,
        request: Request<SetLogFilterRequest>,
    ) -> Result<Response<SetLogFilterResponse>, Status> {
        log_filter::set(&request.get_ref().filter).map(Response::new)
    }

    async fn get_metrics(
        &self,
        _: Request<GetMetricsRequest>,
    ) -> Result<Response<GetMetricsResponse>, Status> {
        let text = self.0.metrics().await;
        let text = text.map_err(|_| Status::internal("the metrics could not be gathered"))?;
        Ok(Response::new(GetMetricsResponse { text }))
    }
}
