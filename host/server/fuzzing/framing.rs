//! The messages of a request, one or any number, compressed or not: however they are cut, they are the same, and
//! within their bounds.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};

use super::super::compression::{Compression, Encoding};
use super::super::framing::{RequestBounds, RequestMemory, Requests, read_unary};
use super::body;
use crate::fuzzing::{Input, block_on, cut};
use crate::status::Failure;

/// More than any input can ask for.
const AMPLE: usize = 64 << 20;

/// One byte at a time takes long, so only of short bodies.
const SHORT: usize = 512;

/// How the body is made.
const AS_IT_IS: u8 = 0;
const FROM_A_MESSAGE: u8 = 1;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let making = input.byte();
    let encoding = match input.byte() % 5 {
        0 => None,
        number @ 1..=3 => Some(Encoding::ALL[usize::from(number - 1)].name()),
        _ => Some("br"),
    };
    let limit = usize::from(input.short());
    let sizes = input.bytes();
    let mut headers = HeaderMap::new();
    if let Some(name) = encoding {
        headers.insert("grpc-encoding", HeaderValue::from_static(name));
    }
    match making {
        FROM_A_MESSAGE => there_and_back(&headers, input.rest(), sizes, limit),
        _ => {
            let _ = read_in_every_way(&headers, input.rest(), sizes, limit);
        }
    }
}

/// What the host compresses, it reads, if it is within the limit.
fn there_and_back(headers: &HeaderMap, message: &[u8], sizes: &[u8], limit: usize) {
    let compression = Compression::new(Encoding::ALL.to_vec());
    let Ok(encoding) = compression.of_request(headers) else {
        return;
    };
    let encoded = block_on(compression.compress(message.to_vec(), encoding, 0));
    let bytes = &encoded.bytes;
    assert!(bytes.len() <= message.len(), "it is compressed where that helps");
    let length = u32::try_from(bytes.len())
        .expect("inputs are small")
        .to_be_bytes();
    let body = [&[u8::from(encoded.encoding.is_some())], &length[..], bytes].concat();
    let read = read_in_every_way(headers, &body, sizes, limit);
    if message.len() <= limit {
        assert_eq!(read, Ok(Bytes::copy_from_slice(message)));
    } else {
        assert!(matches!(read, Err(Failure::RequestTooLarge { .. })), "{read:?}");
    }
}

fn read_in_every_way(headers: &HeaderMap, body: &[u8], sizes: &[u8], limit: usize) -> Result<Bytes, Failure> {
    let memory = RequestMemory::new(AMPLE);
    let whole = read(headers, &[body], limit, &memory);
    if let Ok(message) = &whole {
        assert!(message.len() <= limit);
        if body[0] == 0 {
            assert_eq!(message, &body[5..]);
        }
    }
    assert_eq!(
        whole,
        read(headers, &cut(body, sizes), limit, &memory),
        "in frames of {sizes:?}"
    );
    if body.len() <= SHORT {
        assert_eq!(
            whole,
            read(headers, &cut(body, &[1]), limit, &memory),
            "byte by byte"
        );
    }
    let each = read_each(headers, &[body], limit, &memory);
    assert_eq!(
        each,
        read_each(headers, &cut(body, sizes), limit, &memory),
        "in frames of {sizes:?}"
    );
    if let Ok(message) = &whole {
        assert_eq!(each, (vec![message.clone()], None));
    }
    // Where there is less room, that is the one other thing that may happen.
    let little = read(headers, &cut(body, sizes), limit, &RequestMemory::new(limit / 2));
    assert!(
        little == whole || little == Err(Failure::RequestMemoryFull),
        "{little:?}"
    );
    whole
}

fn bounds(limit: usize, memory: &Arc<RequestMemory>) -> RequestBounds {
    RequestBounds {
        max_bytes: limit,
        timeout: Duration::from_secs(3600),
        memory: memory.clone(),
    }
}

/// The messages that come before the end, and how it fails if it does.
fn read_each(
    headers: &HeaderMap,
    pieces: &[&[u8]],
    limit: usize,
    memory: &Arc<RequestMemory>,
) -> (Vec<Bytes>, Option<Failure>) {
    let compression = Compression::new(Encoding::ALL.to_vec());
    let bounds = bounds(limit, memory);
    let mut messages = Vec::new();
    let read = block_on(async {
        let mut requests = Requests::new(headers, body(pieces), None, &bounds, &compression)?;
        while let Some((message, _)) = requests.next().await? {
            assert!(message.len() <= limit);
            messages.push(message);
        }
        Ok(())
    });
    assert_eq!(memory.held(), 0, "all of it is given back");
    (messages, read.err())
}

fn read(
    headers: &HeaderMap,
    pieces: &[&[u8]],
    limit: usize,
    memory: &Arc<RequestMemory>,
) -> Result<Bytes, Failure> {
    let bounds = bounds(limit, memory);
    let compression = Compression::new(Encoding::ALL.to_vec());
    let read = block_on(read_unary(headers, body(pieces), None, &bounds, &compression));
    if let Ok((message, held)) = &read {
        // A message that came with its last frame, and was not compressed, is not counted.
        assert!(memory.held() == 0 || memory.held() >= message.len());
        let received: usize = pieces.iter().map(|piece| piece.len()).sum();
        assert!(
            memory.held() <= 2 * received + limit + 1,
            "{} for {received}",
            memory.held()
        );
        let _ = held;
    }
    let read = read.map(|(message, _)| message);
    assert_eq!(memory.held(), 0, "all of it is given back");
    read
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let message = b"mortise and tenon, mortise and tenon, mortise and tenon".repeat(3);
    let compression = Compression::new(Encoding::ALL.to_vec());
    let mut seeds = Vec::new();
    let mut seed = |making, encoding: u8, limit: u16, sizes: &[u8], rest: &[u8]| {
        let limit = limit.to_be_bytes();
        let head = [
            making,
            encoding,
            limit[0],
            limit[1],
            u8::try_from(sizes.len()).expect("few"),
        ];
        seeds.push([&head, sizes, rest].concat());
    };
    let framed = |flag: u8, bytes: &[u8]| {
        let length = u32::try_from(bytes.len()).expect("it is small").to_be_bytes();
        [&[flag], &length[..], bytes].concat()
    };
    for number in 0..5 {
        seed(FROM_A_MESSAGE, number, 1000, &[7], &message);
        seed(FROM_A_MESSAGE, number, 10, &[0, 50, 1], &message);
        seed(FROM_A_MESSAGE, number, 10, &[], b"short");
    }
    for (encoding, number) in Encoding::ALL.into_iter().zip(1..) {
        let encoded = block_on(compression.compress(message.clone(), Some(encoding), 0)).bytes;
        let twice = [&encoded[..], &encoded[..]].concat();
        seed(AS_IT_IS, number, 1000, &[9], &framed(1, &encoded));
        seed(AS_IT_IS, number, 1000, &[9], &framed(1, &twice));
        seed(AS_IT_IS, number, 100, &[], &framed(1, &encoded));
        seed(AS_IT_IS, number, 1000, &[], &framed(1, b""));
        let bomb = block_on(compression.compress(vec![0; 1 << 20], Some(encoding), 0)).bytes;
        seed(AS_IT_IS, number, u16::MAX, &[255], &framed(1, &bomb));
    }
    seed(AS_IT_IS, 0, 10, &[1], &framed(0, b"hello"));
    seed(
        AS_IT_IS,
        0,
        10,
        &[5],
        &[framed(0, b"a"), framed(0, b"b")].concat(),
    );
    seed(AS_IT_IS, 0, 10, &[], &[0, 255, 255, 255, 255]);
    seed(AS_IT_IS, 0, 10, &[], b"");
    seeds
}
