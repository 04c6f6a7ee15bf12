use std::time::Duration;

use crate::{MetadataEntry, Principal, TraceContext};

/// What a fake host tells the handler of the call.
#[derive(Clone, Debug)]
pub struct Request {
    pub(super) metadata: Vec<MetadataEntry>,
    pub(super) peer: String,
    pub(super) timeout: Option<Duration>,
    pub(super) cancelled: bool,
    pub(super) principal: Option<Principal>,
    pub(super) id: Option<String>,
    pub(super) attempt: u32,
    pub(super) trace: Option<TraceContext>,
    pub(super) read_only: bool,
    /// How many deliveries of events led to the call.
    pub(super) hops: u32,
    /// The timer that makes it.
    pub(super) timer: Option<String>,
    /// It is a further attempt of the call before.
    pub(super) again: bool,
}

impl Default for Request {
    fn default() -> Request {
        Request {
            metadata: Vec::new(),
            peer: "127.0.0.1:50000".to_owned(),
            timeout: None,
            cancelled: false,
            principal: None,
            id: None,
            attempt: 1,
            trace: None,
            read_only: false,
            hops: 0,
            timer: None,
            again: false,
        }
    }
}

impl Request {
    /// A call from `127.0.0.1:50000` by nobody in particular, without metadata or deadline.
    pub fn new() -> Request {
        Request::default()
    }

    /// Adds metadata; a key may occur more than once.
    #[must_use]
    pub fn metadata(mut self, key: &str, value: &str) -> Request {
        self.metadata.push(MetadataEntry {
            key: key.to_ascii_lowercase(),
            value: value.into(),
        });
        self
    }

    /// Adds metadata of a `-bin` key.
    #[must_use]
    pub fn metadata_bin(mut self, key: &str, value: &[u8]) -> Request {
        self.metadata.push(MetadataEntry {
            key: key.to_ascii_lowercase(),
            value: value.into(),
        });
        self
    }

    /// The caller's address: `ip:port` or `unix:`.
    #[must_use]
    pub fn peer(mut self, peer: &str) -> Request {
        peer.clone_into(&mut self.peer);
        self
    }

    /// The call expires this long after it begins.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Request {
        self.timeout = Some(timeout);
        self
    }

    /// The caller is gone.
    #[must_use]
    pub fn cancelled(mut self) -> Request {
        self.cancelled = true;
        self
    }

    /// The verified caller.
    #[must_use]
    pub fn principal(mut self, id: &str) -> Request {
        self.principal = Some(Principal {
            id: id.to_owned(),
            claims: Vec::new(),
        });
        self
    }

    /// The verified caller, with claims.
    #[must_use]
    pub fn principal_with_claims(mut self, principal: Principal) -> Request {
        self.principal = Some(principal);
        self
    }

    /// The call's id; otherwise calls are `call-1`, `call-2` and so on.
    #[must_use]
    pub fn id(mut self, id: &str) -> Request {
        self.id = Some(id.to_owned());
        self
    }

    /// Which attempt of the call this is.
    #[must_use]
    pub fn attempt(mut self, attempt: u32) -> Request {
        self.attempt = attempt;
        self
    }

    /// The call's place in a trace.
    #[must_use]
    pub fn trace_context(mut self, trace: TraceContext) -> Request {
        self.trace = Some(trace);
        self
    }

    /// The method has no side effects: the host refuses writes and events.
    #[must_use]
    pub fn read_only(mut self) -> Request {
        self.read_only = true;
        self
    }
}
