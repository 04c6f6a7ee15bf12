//! Fuzz targets for what a connection brings.

mod frames;
mod framing;
mod grpc_web;
mod proxy;
mod reflection;

use std::convert::Infallible;

use bytes::Bytes;
use http_body::Frame;
use http_body_util::StreamBody;

use crate::fuzzing::Target;

pub(crate) use reflection::reflect;

pub(crate) const FRAMING: Target = Target::new("framing", framing::run, framing::seeds);
pub(crate) const GRPC_WEB: Target = Target::new("grpc-web", grpc_web::run, grpc_web::seeds);
pub(crate) const FRAMES: Target = Target::new("frames", frames::run, frames::seeds);
pub(crate) const PROXY: Target = Target::new("proxy", proxy::run, proxy::seeds);

/// A body that comes in these pieces.
fn body(pieces: &[&[u8]]) -> tonic::body::Body {
    let frames: Vec<Result<_, Infallible>> = pieces
        .iter()
        .map(|piece| Ok(Frame::data(Bytes::copy_from_slice(piece))))
        .collect();
    tonic::body::Body::new(StreamBody::new(futures_util::stream::iter(frames)))
}
