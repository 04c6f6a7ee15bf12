//! The metadata of a request to a target.

use http::{HeaderMap, HeaderName, HeaderValue, header};

use super::{Caller, Refusal, Request};
use crate::metadata::to_header;
use crate::observe::{TRACEPARENT, TRACESTATE, TraceContext};

/// The key under which a target can tell a request that is sent again from another one.
pub(super) const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What a plugin may add to one request, names, values and 32 bytes for each entry. Stock servers refuse more.
const MAX_BYTES: usize = 8 << 10;
const MAX_ENTRIES: usize = 128;

/// Everything but `grpc-timeout`, which each try counts anew. `number` counts the upstream calls of an attempt
/// from 1.
///
/// # Errors
/// If the plugin adds an entry that is reserved or not valid, or too much.
pub(super) fn compose(
    request: &Request,
    caller: Caller<'_>,
    forward: &[HeaderName],
    number: u32,
) -> Result<HeaderMap, Refusal> {
    let mut headers = HeaderMap::new();
    add_plugins(&mut headers, request)?;
    let key = format!("{}/{number}", caller.call_id);
    let key = HeaderValue::try_from(key).map_err(|_| Refusal::Invalid {
        what: "the call's id is no header value".into(),
    })?;
    // What the plugin sets itself wins: it may know a better key, or lead a trace of its own.
    headers.entry(IDEMPOTENCY_KEY).or_insert(key);
    let leads_a_trace = [TRACEPARENT, TRACESTATE]
        .iter()
        .any(|name| headers.contains_key(name));
    if let Some(trace) = caller.trace.filter(|_| !leads_a_trace) {
        add_trace(&mut headers, trace);
    }
    for name in forward {
        if !headers.contains_key(name) {
            forward_values(&mut headers, name, caller);
        }
    }
    headers.insert(header::TE, HeaderValue::from_static("trailers"));
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    Ok(headers)
}

/// The call's own span is the parent of what the target does.
fn add_trace(headers: &mut HeaderMap, trace: &TraceContext) {
    if let Ok(parent) = HeaderValue::try_from(trace.traceparent()) {
        headers.insert(TRACEPARENT, parent);
    }
    if let Some(Ok(state)) = trace.tracestate().map(HeaderValue::from_str) {
        headers.insert(TRACESTATE, state);
    }
}

fn forward_values(headers: &mut HeaderMap, name: &HeaderName, caller: Caller<'_>) {
    for value in caller.metadata.raw(name.as_str()) {
        headers.append(name, value.clone());
    }
}

fn add_plugins(headers: &mut HeaderMap, request: &Request) -> Result<(), Refusal> {
    let invalid = |what: String| Refusal::Invalid { what };
    if request.metadata.len() > MAX_ENTRIES {
        return Err(invalid(format!(
            "it has more than {MAX_ENTRIES} metadata entries"
        )));
    }
    let mut bytes = 0;
    for (key, value) in &request.metadata {
        let (name, value) = to_header(key, value).map_err(|error| invalid(error.to_string()))?;
        bytes += name.as_str().len() + value.len() + 32;
        if bytes > MAX_BYTES {
            return Err(invalid(format!("it has more than {MAX_BYTES} bytes of metadata")));
        }
        headers.append(name, value);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capability::upstream::{Journal, Metadata};
    use crate::deadline::Deadline;
    use crate::metadata::RequestMetadata;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    /// The host's span, which is another one each time, reads `SPAN`.
    fn composed(
        clients: &[(&'static str, &str)],
        plugins: Metadata,
    ) -> Result<Vec<(String, String)>, Refusal> {
        let clients: HeaderMap = clients
            .iter()
            .map(|(key, value)| (HeaderName::from_static(key), value.parse().expect("a value")))
            .collect();
        let trace = TraceContext::of(&clients);
        let metadata = RequestMetadata::new(clients, 100).expect("valid");
        let caller = Caller {
            call_id: "id",
            deadline: &Deadline::after(tokio::time::Instant::now(), None),
            metadata: &metadata,
            trace: trace.as_ref(),
            journal: &Journal::default(),
        };
        let request = Request {
            target: "stock".into(),
            method: "/a/b".into(),
            message: Default::default(),
            metadata: plugins,
            timeout: None,
        };
        let forward = [
            HeaderName::from_static("user-id"),
            HeaderName::from_static("tags-bin"),
        ];
        let headers = compose(&request, caller, &forward, 3)?;
        let mut entries: Vec<_> = headers
            .iter()
            .filter(|(key, _)| *key != header::TE && *key != header::CONTENT_TYPE)
            .map(|(key, value)| (key.to_string(), value.to_str().expect("text").to_owned()))
            .map(|(key, value)| match &trace {
                Some(trace) => (key, value.replace(&trace.span_id().to_string(), "SPAN")),
                None => (key, value),
            })
            .collect();
        entries.sort();
        Ok(entries)
    }

    fn entries(entries: &[(&str, &str)]) -> Vec<(String, String)> {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    #[test]
    fn only_what_the_operator_chose_goes_along() {
        let clients = [
            ("user-id", "u1"),
            ("authorization", "secret"),
            ("tags-bin", "AAE="),
            ("traceparent", PARENT),
            ("tracestate", "a=b"),
            ("grpc-timeout", "5S"),
        ];
        let expected = [
            ("idempotency-key", "id/3"),
            ("tags-bin", "AAE="),
            ("traceparent", "00-0af7651916cd43dd8448eb211c80319c-SPAN-01"),
            ("tracestate", "a=b"),
            ("user-id", "u1"),
        ];
        assert_eq!(composed(&clients, Vec::new()), Ok(entries(&expected)));
    }

    #[test]
    fn the_plugin_has_the_last_word() {
        let clients = [("user-id", "u1"), ("traceparent", PARENT), ("tracestate", "a=b")];
        let plugins = vec![
            ("user-id".to_owned(), b"u2".to_vec()),
            ("user-id".to_owned(), b"u3".to_vec()),
            ("traceparent".to_owned(), b"00-1-9-01".to_vec()),
            ("idempotency-key".to_owned(), b"mine".to_vec()),
            ("raw-bin".to_owned(), vec![0, 255]),
        ];
        let expected = [
            ("idempotency-key", "mine"),
            ("raw-bin", "AP8"),
            ("traceparent", "00-1-9-01"),
            ("user-id", "u2"),
            ("user-id", "u3"),
        ];
        assert_eq!(composed(&clients, plugins), Ok(entries(&expected)));
    }

    #[test]
    fn the_plugin_cannot_speak_for_the_transport() {
        for key in ["grpc-timeout", "te", "content-type", ":path", "host", "Upper", ""] {
            let refused = composed(&[], vec![(key.to_owned(), b"x".to_vec())]);
            assert!(matches!(refused, Err(Refusal::Invalid { .. })), "{key}");
        }
        let refused = composed(&[], vec![("k".to_owned(), vec![b'x'; MAX_BYTES])]);
        assert!(matches!(refused, Err(Refusal::Invalid { .. })));
        let refused = composed(&[], vec![("k".to_owned(), Vec::new()); MAX_ENTRIES + 1]);
        assert!(matches!(refused, Err(Refusal::Invalid { .. })));
    }
}
