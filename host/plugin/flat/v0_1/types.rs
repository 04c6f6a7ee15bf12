//! How the contract's records and enumerations stand in memory.

use super::super::abi::{
    Enumeration, Layout, Lift, Lower, Lowering, Place, Reader, align_to, enumeration, max, record,
};
use crate::plugin::bindings::v0_1::imports::{call, limits, log, store, types, upstream};
use crate::plugin::bindings::v0_1::{Code, Detail, Error, Status, handler};
use handler::{ConfigKey, ConfigKind, Description, Grant, Method};
use log::Level;
use store::Direction;
use types::MetadataEntry;
use upstream::Origin;

enumeration!(Code {
    Cancelled,
    Unknown,
    InvalidArgument,
    DeadlineExceeded,
    NotFound,
    AlreadyExists,
    PermissionDenied,
    ResourceExhausted,
    FailedPrecondition,
    Aborted,
    OutOfRange,
    Unimplemented,
    Internal,
    Unavailable,
    DataLoss,
    Unauthenticated,
});
enumeration!(ConfigKind {
    Text,
    Integer,
    Number,
    Boolean
});
enumeration!(Level {
    Trace,
    Debug,
    Info,
    Warn,
    Error
});
enumeration!(Direction {
    Ascending,
    Descending
});
enumeration!(Origin { Target, Host });

record!(Detail { type_url: String, value: Vec<u8> });
record!(Status { code: Code, message: String, details: Vec<Detail> });
record!(Error { code: Code, message: String, limit: Option<u64> });
record!(MetadataEntry { key: String, value: Vec<u8> });

record!(Method {
    path: String,
    internal: bool
});
record!(ConfigKey { name: String, kind: ConfigKind, doc: String, default: Option<String> });
record!(Grant {
    capability: String,
    target: String,
    reason: String
});
record!(Description {
    name: String,
    version: String,
    descriptors: Vec<u8>,
    methods: Vec<Method>,
    config: Vec<ConfigKey>,
    grants: Vec<Grant>,
});

record!(call::Identity { id: String, claims: Vec<(String, String)> });
record!(call::Trace { traceparent: String, tracestate: Option<String> });
record!(store::Versioned { value: Vec<u8>, version: u64 });
record!(store::Entry { key: Vec<u8>, value: Vec<u8>, version: u64 });
record!(store::Page { entries: Vec<store::Entry>, cursor: Option<Vec<u8>> });
record!(limits::Decision {
    allowed: bool,
    retry_after_ms: u64
});
record!(upstream::Reply {
    message: Vec<u8>,
    initial_metadata: Vec<MetadataEntry>,
    trailing_metadata: Vec<MetadataEntry>,
});
record!(upstream::Failure {
    status: Status,
    origin: Origin,
    initial_metadata: Vec<MetadataEntry>,
    trailing_metadata: Vec<MetadataEntry>,
});
