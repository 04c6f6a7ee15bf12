//! gRPC-Web: its text is read as what it stands for however it is cut, and answers say the same in both formats.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, Request};
use http_body_util::BodyExt;

use super::super::compression::Encoded;
use super::super::framing;
use super::super::grpc_web::{Format, from_grpc, is_not_base64, to_grpc};
use super::body;
use crate::fuzzing::{Input, block_on, cut};
use crate::metadata::to_header;

/// What the input is.
const TEXT_OF_A_REQUEST: u8 = 0;
const ANSWER: u8 = 1;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        ANSWER => answer(input),
        _ => {
            let sizes = input.bytes();
            request(input.rest(), sizes);
        }
    }
}

fn request(text: &[u8], sizes: &[u8]) {
    let expected = by_quanta(text);
    for sizes in [&[][..], sizes, &[1]] {
        assert_eq!(decoded(&cut(text, sizes)), expected, "in frames of {sizes:?}");
    }
}

/// None if the host says that it is not base64.
fn decoded(pieces: &[&[u8]]) -> Option<Vec<u8>> {
    let request = to_grpc(Request::new(body(pieces)), Format::Text);
    match block_on(request.into_body().collect()) {
        Ok(body) => Some(body.to_bytes().into()),
        Err(error) => {
            assert!(
                is_not_base64(&error),
                "a body that is there does not break: {error}"
            );
            None
        }
    }
}

/// Four characters at a time, since each four may be the end of a piece.
fn by_quanta(text: &[u8]) -> Option<Vec<u8>> {
    let quanta = text.chunks(4).map(|quantum| STANDARD.decode(quantum).ok());
    Some(quanta.collect::<Option<Vec<_>>>()?.concat())
}

fn answer(mut input: Input<'_>) {
    let (mut initial, mut trailing) = (HeaderMap::new(), HeaderMap::new());
    for map in [&mut initial, &mut trailing] {
        for _ in 0..input.byte() % 8 {
            if let Ok((name, value)) = to_header(&input.text(), input.bytes()) {
                map.append(name, value);
            }
        }
    }
    let message = input.rest();
    let write = |format| {
        let answer = framing::ok(
            Encoded::plain(message.to_vec()),
            initial.clone(),
            trailing.clone(),
        );
        let body = block_on(from_grpc(answer, format).into_body().collect()).expect("an answer is whole");
        assert!(body.trailers().is_none(), "browsers see none");
        body.to_bytes()
    };
    let binary = write(Format::Binary);
    assert_eq!(by_quanta(&write(Format::Text)).as_deref(), Some(&binary[..]));

    let (length, rest) = unframe(0, &binary);
    assert_eq!(&rest[..length], message);
    let (length, lines) = unframe(0x80, &rest[length..]);
    assert_eq!(lines.len(), length);
    assert_eq!(parse(lines), by_name(&trailing));
}

/// The length of the frame that `bytes` begin with, and what follows its head.
fn unframe(flag: u8, bytes: &[u8]) -> (usize, &[u8]) {
    let (head, rest) = bytes.split_first_chunk::<5>().expect("a head");
    let [kind, length @ ..] = *head;
    assert_eq!(kind, flag);
    (u32::from_be_bytes(length) as usize, rest)
}

/// As clients read header lines.
fn parse(lines: &[u8]) -> Vec<(String, String)> {
    let text = str::from_utf8(lines).expect("trailers are ASCII");
    let lines = text
        .strip_suffix("\r\n")
        .expect("there is always a status")
        .split("\r\n");
    let split = lines.map(|line| line.split_once(": ").expect("a name and a value"));
    sorted(
        split
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
    )
}

fn by_name(trailing: &HeaderMap) -> Vec<(String, String)> {
    let text = |value: &http::HeaderValue| value.to_str().expect("metadata is ASCII").to_owned();
    let mut lines = vec![("grpc-status".to_owned(), "0".to_owned())];
    lines.extend(
        trailing
            .iter()
            .map(|(name, value)| (name.to_string(), text(value))),
    );
    sorted(lines)
}

fn sorted(mut lines: Vec<(String, String)>) -> Vec<(String, String)> {
    // Values of one name keep their order.
    lines.sort_by(|(a, _), (b, _)| a.cmp(b));
    lines
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let pieces = ["mortise", "", "a", "and tenon", "\0\u{ff}"];
    let padded: String = pieces.iter().map(|piece| STANDARD.encode(piece)).collect();
    let mut seeds = Vec::new();
    for text in [
        &padded, "AAAA", "AA==", "AA=A", "====", "AAAAA", "AAA*AAAA", "AAAA\n", "",
    ] {
        for sizes in [&[][..], &[3], &[5, 0, 1]] {
            let head = [TEXT_OF_A_REQUEST, u8::try_from(sizes.len()).expect("few")];
            seeds.push([&head, sizes, text.as_bytes()].concat());
        }
    }
    seeds.push(
        [
            &[ANSWER, 0, 2, 1][..],
            b"a",
            &[1],
            b"b",
            &[3],
            b"k-b",
            &[2],
            b"cd",
            b"a message",
        ]
        .concat(),
    );
    seeds.push([&[ANSWER, 1, 5][..], b"a-bin", &[2, 0, 255, 0], b""].concat());
    seeds
}
