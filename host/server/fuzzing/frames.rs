//! The guard of a connection: it notices a flood at the same frame however the bytes are cut, hands on whole frames
//! only once it has, and agrees with a simple count of the frames.

use std::time::{Duration, Instant};

use super::super::frames::{Calming, FrameBudgets, Frames};
use crate::fuzzing::{Input, cut};

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const HEAD: usize = 9;

/// The first byte, if the rest comes after a preface.
const AFTER_PREFACE: u8 = 1;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    let preface = if input.byte() == AFTER_PREFACE {
        PREFACE
    } else {
        b""
    };
    let budgets = FrameBudgets {
        resets_per_second: u64::from(input.byte()),
        control_per_second: u64::from(input.byte()),
    };
    let sizes = input.bytes();
    let bytes = [preface, input.rest()].concat();
    let expected = by_frames(&bytes, budgets);
    for sizes in [&[][..], sizes, &[1]] {
        assert_eq!(
            guard(&cut(&bytes, sizes), budgets),
            expected,
            "in parts of {sizes:?}"
        );
    }
    calm(sizes, expected.open_block);
}

/// What is seen of a connection in the end.
#[derive(Debug, PartialEq)]
struct Seen {
    handed_on: usize,
    flood: bool,
    open_block: Option<u32>,
    unfinished: bool,
}

fn guard(parts: &[&[u8]], budgets: FrameBudgets) -> Seen {
    // A second that never ends, so that nothing depends on how fast this machine is.
    let mut frames = Frames::new(budgets, Instant::now() + Duration::from_secs(86_400));
    let mut handed_on = 0;
    for part in parts {
        let kept = frames.receive(part);
        assert!(kept <= part.len());
        handed_on += kept;
        if frames.flood().is_some() {
            break;
        }
        assert_eq!(kept, part.len(), "without a flood, everything goes on");
    }
    Seen {
        handed_on,
        flood: frames.flood().is_some(),
        open_block: frames.open_block(),
        unfinished: frames.unfinished().is_some(),
    }
}

/// The same, from all bytes at once.
fn by_frames(bytes: &[u8], budgets: FrameBudgets) -> Seen {
    let mut seen = Seen {
        handed_on: bytes.len(),
        flood: false,
        open_block: None,
        unfinished: false,
    };
    let Some(mut rest) = bytes.strip_prefix(PREFACE) else {
        seen.unfinished = PREFACE.starts_with(bytes);
        return seen;
    };
    let (mut begun, mut work, mut resets, mut control) = (false, 0, 0, 0);
    loop {
        let Some((head, after)) = rest.split_first_chunk::<HEAD>() else {
            // A head without its end, or not even the SETTINGS that belong to the preface.
            seen.unfinished = !rest.is_empty() || !begun || seen.open_block.is_some();
            return seen;
        };
        let [a, b, c, kind, flags, stream @ ..] = *head;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        begun |= !matches!(kind, 0 | 9);
        let mut flood = false;
        match kind {
            0 => work += 1,
            1 | 9 => {
                work += u64::from(kind == 1);
                let stream = u32::from_be_bytes(stream) & 0x7fff_ffff;
                seen.open_block = (flags & 4 == 0).then_some(stream);
            }
            3 => {
                resets += 1;
                flood = resets > budgets.resets_per_second;
            }
            _ => {
                control += 1;
                flood = control > budgets.control_per_second + 4 * work;
            }
        }
        let Some(next) = after.get(length..) else {
            // The end of a message has a time of its own.
            seen.unfinished = kind != 0 || seen.open_block.is_some();
            return seen;
        };
        rest = next;
        if flood {
            seen.handed_on = bytes.len() - rest.len();
            seen.flood = true;
            seen.unfinished = seen.open_block.is_some();
            return seen;
        }
    }
}

/// What a flood is answered with is a header block without an end, read in whatever steps.
fn calm(sizes: &[u8], open_block: Option<u32>) {
    const FRAMES: usize = 4;
    let mut calming = Calming::after(open_block);
    let mut bytes = Vec::new();
    for size in sizes.iter().chain(&[1]).cycle() {
        if bytes.len() >= FRAMES * HEAD {
            break;
        }
        bytes.extend_from_slice(calming.read(usize::from(*size).max(1)));
    }
    let stream = open_block.unwrap_or(1).to_be_bytes();
    for (index, frame) in bytes.chunks_exact(HEAD).enumerate() {
        let kind = if index == 0 && open_block.is_none() { 1 } else { 9 };
        assert_eq!(frame, [&[0, 0, 0, kind, 0], &stream[..]].concat());
    }
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let frame = |kind: u8, flags: u8, payload: &[u8]| {
        let length = u8::try_from(payload.len()).expect("it is short");
        [&[0, 0, length, kind, flags, 0, 0, 0, 1], payload].concat()
    };
    let settings = frame(4, 0, &[0; 6]);
    let ping = frame(6, 0, &[0; 8]);
    let call = [frame(1, 4, b"block"), frame(0, 1, b"message")].concat();
    let floods = [
        [&settings[..], &call, &ping.repeat(12)].concat(),
        [&settings[..], &frame(3, 0, &[0; 4]).repeat(5)].concat(),
        [
            &settings[..],
            &frame(8, 0, &[0; 4]),
            &frame(2, 0, &[0; 5]),
            &frame(200, 0, b""),
        ]
        .concat(),
        [
            &settings[..],
            &frame(1, 0, b"half"),
            &frame(9, 0, b"a"),
            &frame(9, 4, b"half"),
            &ping,
        ]
        .concat(),
        [&settings[..], &frame(1, 0, b"half")].concat(),
        settings,
    ];
    let mut seeds = vec![[&[0, 1, 1, 0], &PREFACE[..PREFACE.len() - 1]].concat()];
    seeds.push(b"\0\x01\x01\x00PRIV / HTTP/1.1\r\n\r\n".to_vec());
    for flood in floods {
        for sizes in [&[][..], &[7], &[9, 0, 30]] {
            let head = [AFTER_PREFACE, 3, 2, u8::try_from(sizes.len()).expect("few")];
            seeds.push([&head, sizes, &flood].concat());
        }
    }
    seeds
}
