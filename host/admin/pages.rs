//! What probes and collectors ask for by HTTP.

use std::sync::Arc;

use http::{HeaderValue, Method, Response, StatusCode, header};
use tonic::body::Body;

use super::status::Host;
use crate::observe::metrics::CONTENT_TYPE;

const TEXT: &str = "text/plain; charset=utf-8";

/// `/healthz` says that the process is alive, `/readyz` whether load balancers should send calls.
pub(super) async fn answer(method: &Method, path: &str, host: Arc<Host>) -> Response<Body> {
    match path {
        "/metrics" | "/healthz" | "/readyz" if !matches!(*method, Method::GET | Method::HEAD) => {
            let mut refusal = page(StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET only\n".into());
            let allowed = HeaderValue::from_static("GET, HEAD");
            refusal.headers_mut().insert(header::ALLOW, allowed);
            refusal
        }
        "/metrics" => match host.metrics().await {
            Ok(text) => page(StatusCode::OK, CONTENT_TYPE, text),
            Err(_) => page(StatusCode::INTERNAL_SERVER_ERROR, TEXT, "failed\n".into()),
        },
        "/healthz" => page(StatusCode::OK, TEXT, "alive\n".into()),
        "/readyz" => match host.not_ready() {
            None => page(StatusCode::OK, TEXT, "ready\n".into()),
            Some(reason) => page(StatusCode::SERVICE_UNAVAILABLE, TEXT, format!("{reason}\n")),
        },
        _ => {
            let text = "there are /metrics, /healthz and /readyz\n";
            page(StatusCode::NOT_FOUND, TEXT, text.into())
        }
    }
}

fn page(status: StatusCode, content_type: &'static str, text: String) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::from(text)));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static(content_type);
    response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    response
}
