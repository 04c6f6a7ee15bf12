//! Frames without end.

use crate::support::frames::*;
use crate::support::{Host, Isolation, Plugin, Setup};

use super::{ECHO, Honest};

/// Everything that floods a connection, by its name in the log: frames for turn after turn.
type Flood = (&'static str, fn(u32) -> Vec<u8>);

fn stream(turn: u32) -> u32 {
    2 * turn + 1
}

const FLOODS: &[Flood] = &[
    ("PING", |_| frame(PING, 0, 0, &[0; 8])),
    ("PING", |_| frame(PING, 1, 0, &[0; 8])),
    ("SETTINGS", |_| frame(SETTINGS, 0, 0, &[])),
    ("SETTINGS", |_| {
        frame(SETTINGS, 0, 0, &[0, 4, 0, 1, 0, 0].repeat(10))
    }),
    ("PRIORITY", |turn| {
        frame(PRIORITY, 0, stream(turn), &[0, 0, 0, 0, 1])
    }),
    ("WINDOW_UPDATE", |_| frame(WINDOW_UPDATE, 0, 0, &[0, 0, 0, 1])),
    ("unknown", |_| frame(0xbe, 0xef, 0, b"what is this")),
    // Rapid reset: calls that are given up as soon as they are made, of which no limit of streams ever hears.
    ("RST_STREAM", |turn| {
        let call = frame(HEADERS, END_HEADERS, stream(turn), &block(ECHO));
        let reset = frame(RST_STREAM, 0, stream(turn), &[0, 0, 0, 8]);
        [call, reset].concat()
    }),
];

/// These the HTTP/2 library ends itself.
const LIBRARY_FLOODS: &[Flood] = &[
    ("CONTINUATION", |turn| match turn {
        0 => frame(HEADERS, 0, 1, &block(ECHO)),
        _ => frame(CONTINUATION, 0, 1, &[]),
    }),
    ("DATA", |turn| match turn {
        0 => frame(HEADERS, END_HEADERS, 1, &block(ECHO)),
        _ => frame(DATA, 0, 1, &[]),
    }),
    // An entry of 3,000 bytes, and a thousand bytes that each stand for it.
    ("a header bomb", |turn| {
        let mut bomb = block(ECHO);
        bomb.extend(b"\x40\x01x\x7f\xb9\x16");
        bomb.extend([b'v'; 3000]);
        bomb.extend([0xbe; 1000]);
        frame(HEADERS, END_HEADERS, stream(turn), &bomb)
    }),
    // More streams than may be open at once: all beyond are refused, one by one.
    ("HEADERS", |turn| {
        frame(HEADERS, END_HEADERS, stream(turn), &block(ECHO))
    }),
];

async fn start(section: &str) -> Host {
    Setup::of(Plugin::faults(Isolation::Call))
        .with(section)
        .start()
        .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_flood_is_told_to_calm_down() {
    let host = start("[server]\nmax_resets_per_second = 200\nmax_control_frames_per_second = 200").await;
    let honest = Honest::begin(&host).await;
    for (name, flood) in FLOODS.iter().chain(LIBRARY_FLOODS) {
        let client = FrameClient::begin(host.address).await;
        let (turns, code) = client.flood(1_000_000, *flood).await;
        assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name} after {turns} turns");
    }
    honest.fared_well(&host, 64 << 20).await;
    for (name, _) in FLOODS {
        host.log
            .wait_for(name, |line| {
                line.level() == "WARN"
                    && line.message()
                        == format!("a connection was closed: the client floods it with frames, of type {name} at last")
            })
            .await;
    }
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_frame_before_the_last_straw_is_answered() {
    let host = start("[server]\nmax_control_frames_per_second = 10").await;
    // In one piece, with a call before the flood: it is answered, and the GOAWAY says that it was taken up.
    let mut client = FrameClient::begin(host.address).await;
    let call = frame(HEADERS, END_HEADERS, 1, &block(ECHO));
    let message = frame(DATA, END_STREAM, 1, &[0; 5]);
    client.send(&[call, message].concat()).await;
    let mut answered = false;
    while !answered {
        let frame = client.next().await.expect("an answer");
        answered = frame.stream == 1 && frame.flags & END_STREAM != 0;
    }
    client.send(&frame(PING, 0, 0, &[7; 8]).repeat(1000)).await;
    let mut pongs = 0;
    let last_stream = loop {
        let frame = client.next().await.expect("GOAWAY comes first");
        match frame.kind {
            PING => pongs += u32::from(frame.payload == [7; 8]),
            GOAWAY => break frame.payload[..4].to_vec(),
            _ => {}
        }
    };
    assert_eq!(last_stream, 1_u32.to_be_bytes());
    assert!(pongs >= 10, "{pongs}");
    assert_eq!(client.end().await, None, "nothing more, and the end");
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_million_hostile_frames_leave_memory_flat() {
    let host = start("").await;
    let honest = Honest::begin(&host).await;
    for (name, flood) in FLOODS {
        let mut left = 1_000_000 / u32::try_from(FLOODS.len()).expect("few");
        while left > 0 {
            let client = FrameClient::begin(host.address).await;
            // In pieces of a hundred, because what is to be slow is the host.
            let turns = left.div_ceil(100);
            let flood = *flood;
            let (sent, code) = client
                .flood(turns + 1000, move |turn| {
                    (100 * turn..100 * (turn + 1)).flat_map(flood).collect()
                })
                .await;
            assert_eq!(code, Some(ENHANCE_YOUR_CALM), "{name} after {sent}00 frames");
            left = left.saturating_sub(100 * sent);
        }
    }
    honest.fared_well(&host, 64 << 20).await;
    host.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn heavy_use_is_no_flood() {
    let host = start("").await;
    let raw = host.raw().await;
    let mut calls = tokio::task::JoinSet::new();
    // Large messages in both directions, which bring window updates with them, and small ones in great number.
    for _ in 0..4 {
        let raw = raw.clone();
        calls.spawn(async move {
            let request = crate::support::pb::faults::EchoRequest {
                payload: vec![7; 4 << 20],
            };
            for _ in 0..4 {
                let answer = raw.unary(ECHO, &[], &request).await;
                assert_eq!(answer.code(), tonic::Code::Ok);
            }
        });
    }
    for _ in 0..50 {
        let raw = raw.clone();
        calls.spawn(async move {
            for _ in 0..100 {
                let request = crate::support::pb::faults::EchoRequest::default();
                let answer = raw.unary(ECHO, &[], &request).await;
                assert_eq!(answer.code(), tonic::Code::Ok);
            }
        });
    }
    calls.join_all().await;
    assert!(!raw.is_closed());
    host.stop().await;
}
