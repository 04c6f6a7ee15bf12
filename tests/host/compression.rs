//! Compressed requests and answers.

use std::io::{Read, Write};

use flate2::read::{GzDecoder, ZlibDecoder};
use flate2::write::{GzEncoder, ZlibEncoder};
use prost::Message;
use tonic::Code;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_reflection::pb::v1;

use crate::in_both_modes;
use crate::own_services::{ALL, CHECK, REFLECT};
use crate::support::pb::faults::*;
use crate::support::raw::{RawAnswer, framed, framed_bytes};
use crate::support::{Isolation, Plugin, Setup};

in_both_modes!(
    requests_are_decompressed,
    bombs_stop_at_the_limit,
    answers_are_compressed_for_those_who_accept_it,
    encodings_can_be_turned_off,
    what_is_not_spoken_is_refused,
);

const ECHO: &str = "/faults.v1.Faults/Echo";
const HUGE_ANSWER: &str = "/faults.v1.Faults/HugeAnswer";
const ENCODINGS: [&str; 3] = ["zstd", "gzip", "deflate"];

fn compress(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    let level = flate2::Compression::default();
    match encoding {
        "gzip" => {
            let mut encoder = GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).expect("a vector grows");
            encoder.finish().expect("a vector grows")
        }
        "deflate" => {
            let mut encoder = ZlibEncoder::new(Vec::new(), level);
            encoder.write_all(bytes).expect("a vector grows");
            encoder.finish().expect("a vector grows")
        }
        "zstd" => zstd::encode_all(bytes, 3).expect("a vector grows"),
        other => panic!("no encoding {other}"),
    }
}

fn decompress(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    let mut decompressed = Vec::new();
    let read = match encoding {
        "gzip" => GzDecoder::new(bytes).read_to_end(&mut decompressed),
        "deflate" => ZlibDecoder::new(bytes).read_to_end(&mut decompressed),
        "zstd" => zstd::Decoder::new(bytes)
            .expect("zstd")
            .read_to_end(&mut decompressed),
        other => panic!("no encoding {other}"),
    };
    read.expect("compressed well");
    decompressed
}

/// The answer's message, which must be compressed.
fn compressed_message<M: Message + Default>(answer: &RawAnswer, encoding: &str) -> M {
    assert_eq!(answer.code(), Code::Ok, "{answer:?}");
    assert_eq!(answer.headers["grpc-encoding"], encoding);
    assert_eq!(answer.data[0], 1, "compressed");
    assert_eq!(answer.data[1..5], u32::to_be_bytes(answer.data.len() as u32 - 5));
    M::decode(&decompress(encoding, &answer.data[5..])[..]).expect("a message")
}

async fn requests_are_decompressed(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    for encoding in ENCODINGS {
        for size in [0, 1, 1000, 3 << 20] {
            let request = EchoRequest {
                payload: vec![7; size],
            };
            let body = framed_bytes(1, &compress(encoding, &request.encode_to_vec()));
            let answer = raw.call(ECHO, &[("grpc-encoding", encoding)], body).await;
            assert_eq!(answer.message::<EchoResponse>().payload, request.payload);
        }
        // The encoding is an offer: a message may be sent as it is.
        let body = framed(&EchoRequest {
            payload: b"plain".to_vec(),
        });
        let answer = raw.call(ECHO, &[("grpc-encoding", encoding)], body).await;
        assert_eq!(answer.message::<EchoResponse>().payload, b"plain");
        // Guests do not see it.
        assert!(answer.message::<EchoResponse>().metadata.is_empty());

        let whole = compress(encoding, &[7; 1000]);
        for broken in [
            b"no such thing",
            &whole[..whole.len() - 1],
            &[&whole[..], b"more"].concat(),
        ] {
            let answer = raw
                .call(ECHO, &[("grpc-encoding", encoding)], framed_bytes(1, broken))
                .await;
            assert_eq!(
                (answer.code(), answer.reason().as_str()),
                (Code::Internal, "MALFORMED_FRAMING"),
                "{encoding}"
            );
        }
    }
    host.stop().await;
}

async fn bombs_stop_at_the_limit(isolation: Isolation) {
    let limit = 100_000;
    let host = Setup::of(Plugin::faults(isolation))
        .with(&format!("[server]\nmax_request_bytes = {limit}"))
        .start()
        .await;
    let raw = host.raw().await;
    for encoding in ENCODINGS {
        for size in [limit + 1, 256 << 20] {
            let bomb = framed_bytes(1, &compress(encoding, &vec![0; size]));
            let answer = raw.call(ECHO, &[("grpc-encoding", encoding)], bomb).await;
            assert_eq!(
                (answer.code(), answer.reason().as_str()),
                (Code::ResourceExhausted, "REQUEST_TOO_LARGE"),
                "{encoding} {size}"
            );
        }
        // A message of exactly the limit that does not compress, and is longer on the wire.
        let mut payload = vec![0; limit - 4];
        for (number, byte) in payload.iter_mut().enumerate() {
            *byte = ((number as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) as u8;
        }
        let request = EchoRequest { payload };
        assert_eq!(request.encoded_len(), limit);
        let body = compress(encoding, &request.encode_to_vec());
        let answer = raw
            .call(ECHO, &[("grpc-encoding", encoding)], framed_bytes(1, &body))
            .await;
        assert_eq!(answer.message::<EchoResponse>().payload, request.payload);
    }
    host.stop().await;
}

async fn answers_are_compressed_for_those_who_accept_it(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    let huge = |bytes| framed(&HugeAnswerRequest { bytes });
    for encoding in ENCODINGS {
        let accept = format!("identity,snappy, {encoding}");
        let accept = [("grpc-accept-encoding", accept.as_str())];
        for bytes in [1024, 1 << 20] {
            let answer = raw.call(HUGE_ANSWER, &accept, huge(bytes)).await;
            let message: HugeAnswerResponse = compressed_message(&answer, encoding);
            assert_eq!(message.payload, vec![b'x'; bytes as usize]);
        }
        // Below the minimum, and what would not become smaller.
        let answer = raw.call(HUGE_ANSWER, &accept, huge(1000)).await;
        assert!(!answer.headers.contains_key("grpc-encoding"));
        assert_eq!(answer.message::<HugeAnswerResponse>().payload.len(), 1000);
    }
    // Not for those who do not say that they accept it.
    for headers in [
        &[][..],
        &[("grpc-accept-encoding", "identity")],
        &[("accept-encoding", "gzip")],
    ] {
        let answer = raw.call(HUGE_ANSWER, headers, huge(5000)).await;
        assert_eq!(answer.message::<HugeAnswerResponse>().payload.len(), 5000);
    }
    // In the request's encoding, if the client accepts several.
    let headers = [
        ("grpc-encoding", "deflate"),
        ("grpc-accept-encoding", "identity,gzip,zstd,deflate"),
    ];
    let answer = raw.call(HUGE_ANSWER, &headers, huge(5000)).await;
    compressed_message::<HugeAnswerResponse>(&answer, "deflate");
    host.stop().await;
}

async fn encodings_can_be_turned_off(isolation: Isolation) {
    let plugin = Plugin::faults(isolation).key("compress_min_bytes", 4000);
    let host = Setup::of(plugin)
        .with(
            "[server]\ncompression = [\"gzip\"]\ncompress_min_bytes = 10\n\
             [methods.\"faults.v1.Faults/Echo\"]\ncompress_min_bytes = 1000",
        )
        .start()
        .await;
    let raw = host.raw().await;
    let accept = [("grpc-accept-encoding", "zstd,gzip,deflate")];
    let huge = |bytes| framed(&HugeAnswerRequest { bytes });
    let answer = raw.call(HUGE_ANSWER, &accept, huge(5000)).await;
    compressed_message::<HugeAnswerResponse>(&answer, "gzip");
    // The plugin's own minimum wins.
    let answer = raw.call(HUGE_ANSWER, &accept, huge(3000)).await;
    assert_eq!(answer.message::<HugeAnswerResponse>().payload.len(), 3000);
    // And the method's before that.
    let request_id = "7".repeat(2000);
    let headers = [accept[0], ("x-request-id", request_id.as_str())];
    let answer = raw.call(ECHO, &headers, framed(&EchoRequest::default())).await;
    compressed_message::<EchoResponse>(&answer, "gzip");
    let answer = raw.call(ECHO, &[("grpc-encoding", "zstd")], huge(1)).await;
    assert_eq!(answer.code(), Code::Unimplemented);
    assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip");
    host.stop().await;
}

async fn what_is_not_spoken_is_refused(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let raw = host.raw().await;
    for encoding in ["br", "snappy", "GZIP", "", "gzip,gzip"] {
        let message = framed(&EchoRequest::default());
        let answer = raw.call(ECHO, &[("grpc-encoding", encoding)], message).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Unimplemented, "UNSUPPORTED_ENCODING"),
            "{encoding}"
        );
        assert_eq!(
            answer.headers["grpc-accept-encoding"],
            "identity,zstd,gzip,deflate"
        );
        assert!(answer.trailers.is_none());
    }
    host.stop().await;
}

/// Clients compress a channel, and with it what they ask the host itself.
#[tokio::test]
async fn the_hosts_own_services_speak_the_same() {
    let host = Setup::of(Plugin::faults(Isolation::Call)).start().await;
    let raw = host.raw().await;
    let check = HealthCheckRequest {
        service: "faults.v1.Faults".into(),
    };
    let file = v1::server_reflection_request::MessageRequest::FileContainingSymbol(check.service.clone());
    let file = v1::ServerReflectionRequest {
        host: String::new(),
        message_request: Some(file),
    };
    for encoding in ENCODINGS {
        let headers = [("grpc-encoding", encoding), ("grpc-accept-encoding", encoding)];
        let body = framed_bytes(1, &compress(encoding, &check.encode_to_vec()));
        let answer = raw.call(CHECK, &headers, body).await;
        let health = answer.message::<HealthCheckResponse>();
        assert_eq!(health.status(), ServingStatus::Serving, "{encoding}");
        assert!(!answer.headers.contains_key("grpc-encoding"), "it is short");

        let body = framed_bytes(1, &compress(encoding, &file.encode_to_vec()));
        let answer = raw.call(REFLECT, &headers, body.clone()).await;
        let described: v1::ServerReflectionResponse = compressed_message(&answer, encoding);
        assert_eq!(described.original_request, Some(file.clone()));
        let answer = raw.call(REFLECT, &headers[..1], body).await;
        assert_eq!(answer.message::<v1::ServerReflectionResponse>(), described);

        let broken = framed_bytes(1, b"no such thing");
        for path in ALL {
            let answer = raw.call(path, &headers, broken.clone()).await;
            assert_eq!(
                (answer.code(), answer.reason().as_str()),
                (Code::Internal, "MALFORMED_FRAMING"),
                "{path} {encoding}"
            );
        }
    }
    for path in ALL {
        let answer = raw.call(path, &[("grpc-encoding", "zpaq")], framed(&check)).await;
        assert_eq!(
            (answer.code(), answer.reason().as_str()),
            (Code::Unimplemented, "UNSUPPORTED_ENCODING"),
            "{path}"
        );
        let spoken = &answer.headers["grpc-accept-encoding"];
        assert_eq!(spoken, "identity,zstd,gzip,deflate", "{path}");
        assert!(answer.trailers.is_none(), "Trailers-Only");
    }
    host.stop().await;
}
