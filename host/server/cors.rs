//! Which web pages may call: the CORS headers that browsers ask for before they let a page use gRPC-Web.

use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, header};
use tonic::body::Body;

use super::framing::Response;

/// Seconds for which a browser need not ask again. The longest that any browser honours is a day, two hours is
/// what most do.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");

/// Headers that scripts may read without being told.
const ALWAYS_EXPOSED: [HeaderName; 2] = [header::CONTENT_TYPE, header::CONTENT_LENGTH];

/// The origins whose pages may call; none by default.
#[derive(Debug, Clone, Default)]
pub struct Origins {
    allowed: Vec<HeaderValue>,
    any: bool,
}

impl Origins {
    /// `origins` are written as browsers write them (`https://shop.example`), or `*` for every page. What no
    /// header value can be is no origin, and is left out.
    pub fn new(origins: &[String]) -> Self {
        let values = origins.iter().map(|origin| HeaderValue::from_str(origin));
        Self {
            allowed: values.filter_map(Result::ok).collect(),
            any: origins.iter().any(|origin| origin == "*"),
        }
    }

    /// The answer to the question that a browser asks before it lets a page call, if this is one and it is
    /// answered at all.
    pub(super) fn preflight<B>(&self, request: &Request<B>) -> Option<Response> {
        let headers = request.headers();
        let asks = request.method() == Method::OPTIONS
            && headers.contains_key(header::ORIGIN)
            && headers.contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
        if !asks || (self.allowed.is_empty() && !self.any) {
            return None;
        }
        let mut answer = http::Response::new(Body::empty());
        let Some(origin) = self.allowed(headers) else {
            *answer.status_mut() = StatusCode::FORBIDDEN;
            return Some(answer);
        };
        *answer.status_mut() = StatusCode::NO_CONTENT;
        let allow = answer.headers_mut();
        allow.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        allow.insert(
            header::ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("POST"),
        );
        // Metadata has any name, so any header may be sent.
        if let Some(names) = headers.get(header::ACCESS_CONTROL_REQUEST_HEADERS) {
            allow.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names.clone());
        }
        allow.insert(header::ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        allow.insert(header::VARY, HeaderValue::from_static("origin"));
        Some(answer)
    }

    /// The origin that may read the answer to a request with these headers.
    pub(super) fn allowed(&self, headers: &HeaderMap) -> Option<HeaderValue> {
        let origin = headers.get(header::ORIGIN)?;
        (self.any || self.allowed.contains(origin)).then(|| origin.clone())
    }
}

/// Lets the pages of `origin` read all of an answer.
pub(super) fn share(mut answer: Response, origin: HeaderValue) -> Response {
    let exposed = answer
        .headers()
        .keys()
        .filter(|name| !ALWAYS_EXPOSED.contains(name))
        .map(HeaderName::as_str)
        .collect::<Vec<_>>()
        .join(",");
    let headers = answer.headers_mut();
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(header::VARY, HeaderValue::from_static("origin"));
    if let Ok(exposed) = HeaderValue::from_str(&exposed) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    answer
}
