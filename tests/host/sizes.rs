//! The bounds on messages.

use bytes::Bytes;
use prost::Message;
use tonic::Code;

use crate::in_both_modes;
use crate::support::pb::faults::*;
use crate::support::raw::framed_bytes;
use crate::support::{Isolation, Plugin, Setup};

in_both_modes!(
    requests_are_bounded,
    answers_are_bounded,
    the_default_is_ten_mebibytes,
    a_request_that_was_read_takes_no_room
);

const LIMIT: usize = 100_000;

async fn requests_are_bounded(isolation: Isolation) {
    let limit = format!("[server]\nmax_request_bytes = {LIMIT}");
    let host = Setup::of(Plugin::faults(isolation)).with(&limit).start().await;
    let raw = host.raw().await;
    // A field of so many bytes needs 4 more for its tag and length.
    let request = |bytes: usize| EchoRequest {
        payload: vec![b'x'; bytes - 4],
    };
    assert_eq!(request(LIMIT).encoded_len(), LIMIT);
    let answer = raw.unary("/faults.v1.Faults/Echo", &[], &request(LIMIT)).await;
    assert_eq!(answer.message::<EchoResponse>().payload.len(), LIMIT - 4);
    let answer = raw
        .unary("/faults.v1.Faults/Echo", &[], &request(LIMIT + 1))
        .await;
    assert_eq!(
        (answer.code(), answer.reason().as_str()),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
    );
    // Refused by the announced length: no more is read.
    let announced = Bytes::from_static(&[0, 0xff, 0xff, 0xff, 0xff]);
    let answer = raw.call("/faults.v1.Faults/Echo", &[], announced).await;
    assert_eq!(
        (answer.code(), answer.reason().as_str()),
        (Code::ResourceExhausted, "REQUEST_TOO_LARGE")
    );
    host.stop().await;
}

async fn answers_are_bounded(isolation: Isolation) {
    let limit = format!("[server]\nmax_response_bytes = {LIMIT}");
    let host = Setup::of(Plugin::faults(isolation)).with(&limit).start().await;
    let huge = async |bytes: usize| {
        let bytes = u32::try_from(bytes).expect("small");
        host.faults().huge_answer(HugeAnswerRequest { bytes }).await
    };
    assert_eq!(
        huge(LIMIT - 4)
            .await
            .expect("at the limit")
            .into_inner()
            .payload
            .len(),
        LIMIT - 4
    );
    let status = huge(LIMIT - 3).await.expect_err("over the limit");
    assert_eq!(status.code(), Code::ResourceExhausted);
    assert_eq!(crate::support::reason(&status), "ANSWER_TOO_LARGE");
    host.stop().await;
}

async fn the_default_is_ten_mebibytes(isolation: Isolation) {
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let payload = vec![1; (10 << 20) - 4096];
    let answer = host
        .faults()
        .echo(EchoRequest {
            payload: payload.clone(),
        })
        .await
        .expect("within the limits");
    assert_eq!(answer.get_ref().payload, payload);
    let answer = host
        .faults()
        .echo(EchoRequest {
            payload: vec![1; 10 << 20],
        })
        .await;
    assert_eq!(
        answer.expect_err("over the limit").code(),
        Code::ResourceExhausted
    );
    host.stop().await;
}

async fn a_request_that_was_read_takes_no_room(isolation: Isolation) {
    const MIB: usize = 1 << 20;
    let host = Setup::of(Plugin::faults(isolation)).start().await;
    let answer = HugeAnswerRequest {
        bytes: 3 * MIB as u32,
    };
    let mut request = answer.encode_to_vec();
    // A field that the plugin does not know, number 99: it is gone once the request is decoded.
    request.extend_from_slice(&[0x9a, 0x06]);
    prost::encode_length_delimiter(4 * MIB, &mut request).expect("a vector grows");
    request.resize(request.len() + 4 * MIB, 7);
    let raw = host.raw().await;
    let answer = raw
        .call("/faults.v1.Faults/HugeAnswer", &[], framed_bytes(0, &request))
        .await;
    assert_eq!(answer.message::<HugeAnswerResponse>().payload.len(), 3 * MIB);
    let peak = host.metrics().await.sum("mortise_guest_memory_peak_bytes", &[]);
    // The answer is there twice, for a moment, and the request was before.
    assert!(peak < 9.0 * MIB as f64, "{peak}");
    host.stop().await;
}
