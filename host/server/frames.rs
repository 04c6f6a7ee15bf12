//! What a client may do to a connection beyond making calls, counted on the frames as they arrive (RFC 9113).
//!
//! h2 answers, or reads and forgets, any number of PING, SETTINGS, PRIORITY, WINDOW_UPDATE and RST_STREAM
//! frames and of frames that it does not know. They leave memory flat but cost time that other connections
//! should have. It ends floods of CONTINUATION and of empty or tiny DATA frames itself, and bounds streams.
//!
//! Only the nine bytes before each frame are looked at, as they pass. The clock is read when a budget is used up,
//! never on an ordinary call.

use std::time::{Duration, Instant};

/// What an HTTP/2 client begins with.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The length of a frame (3 bytes), its type, its flags and its stream (4 bytes).
const HEAD: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PRIORITY: u8 = 2;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;

/// Ends a header block.
const END_HEADERS: u8 = 0x4;

/// Control frames that may come with each HEADERS and DATA frame beyond the budget: clients that measure the
/// path ping about once for each message, and update two windows.
const EARNED_BY_FRAME: u64 = 4;

/// Bytes sent that let one more come, because clients give back the window for what they have read.
const SENT_BYTES_FOR_ONE: u64 = 1024;

/// A budget is one for so long. What is not used up is not kept.
const PERIOD: Duration = Duration::from_secs(1);

/// How many frames a client may send in one second without doing anything by them.
#[derive(Debug, Clone, Copy)]
pub struct FrameBudgets {
    /// RST_STREAM.
    pub resets_per_second: u64,
    /// All but HEADERS, CONTINUATION, DATA and RST_STREAM.
    pub control_per_second: u64,
}

/// The frames of one connection, from its first byte.
#[derive(Debug)]
pub(super) struct Frames {
    budgets: FrameBudgets,
    state: State,
    /// The stream of a header block that has not ended.
    open_block: Option<u32>,
    /// Header blocks, and frames of other types than DATA, that have begun.
    begun: u64,
    period_began: Instant,
    resets: u64,
    control: u64,
    /// HEADERS and DATA frames.
    work: u64,
    sent_bytes: u64,
    flood: Option<&'static str>,
}

#[derive(Debug)]
enum State {
    /// So many bytes of the preface have come.
    Preface(usize),
    /// So many bytes of a frame's head have come.
    Head { bytes: [u8; HEAD], filled: usize },
    /// So many bytes of a frame are still to come.
    Payload { left: usize, data: bool },
    /// No HTTP/2.
    Other,
}

impl State {
    const BETWEEN: Self = Self::Head {
        bytes: [0; HEAD],
        filled: 0,
    };
}

impl Frames {
    pub(super) fn new(budgets: FrameBudgets, now: Instant) -> Self {
        Self {
            budgets,
            state: State::Preface(0),
            open_block: None,
            begun: 0,
            period_began: now,
            resets: 0,
            control: 0,
            work: 0,
            sent_bytes: 0,
            flood: None,
        }
    }

    /// Looks at bytes that have come. Of them so many may be handed on: all, or when a budget is used up, those
    /// up to the end of a frame.
    pub(super) fn receive(&mut self, received: &[u8]) -> usize {
        let mut at = 0;
        while at < received.len() {
            let rest = &received[at..];
            match &mut self.state {
                State::Other => return received.len(),
                State::Preface(matched) => {
                    let expected = &PREFACE[*matched..];
                    let length = expected.len().min(rest.len());
                    if rest[..length] != expected[..length] {
                        self.state = State::Other;
                        return received.len();
                    }
                    at += length;
                    *matched += length;
                    if *matched == PREFACE.len() {
                        self.state = State::BETWEEN;
                    }
                }
                State::Head { bytes, filled } => {
                    let length = rest.len().min(HEAD - *filled);
                    bytes[*filled..*filled + length].copy_from_slice(&rest[..length]);
                    at += length;
                    *filled += length;
                    if *filled == HEAD {
                        let head = *bytes;
                        self.begin(head);
                    }
                }
                State::Payload { left, .. } => {
                    let length = (*left).min(rest.len());
                    at += length;
                    *left -= length;
                    if *left == 0 {
                        self.state = State::BETWEEN;
                    }
                }
            }
            if self.flood.is_some() && matches!(self.state, State::Head { filled: 0, .. }) {
                return at;
            }
        }
        received.len()
    }

    /// Counts bytes that were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        self.sent_bytes += bytes as u64;
    }

    /// What the client floods the connection with, once what was handed on ends with a frame.
    pub(super) fn flood(&self) -> Option<&'static str> {
        self.flood
            .filter(|_| matches!(self.state, State::Head { filled: 0, .. }))
    }

    /// The stream whose header block has not ended.
    pub(super) fn open_block(&self) -> Option<u32> {
        self.open_block
    }

    /// Which one the client has begun and not ended, if any: the preface, a frame of another type than DATA, or
    /// a header block. Each has another number.
    pub(super) fn unfinished(&self) -> Option<u64> {
        let unfinished = match self.state {
            State::Preface(_) => true,
            // The SETTINGS frame that follows the preface is part of it.
            State::Head { filled, .. } => filled > 0 || self.begun == 0,
            State::Payload { data, .. } => !data,
            State::Other => false,
        };
        (unfinished || self.open_block.is_some()).then_some(self.begun)
    }

    fn begin(&mut self, head: [u8; HEAD]) {
        let [a, b, c, kind, flags, stream @ ..] = head;
        let left = u32::from_be_bytes([0, a, b, c]) as usize;
        // The first bit is reserved.
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        self.state = if left == 0 {
            State::BETWEEN
        } else {
            State::Payload {
                left,
                data: kind == DATA,
            }
        };
        match kind {
            HEADERS | CONTINUATION => {
                self.work += u64::from(kind == HEADERS);
                // The frames of one block share a number: it must be complete in time as a whole.
                self.begun += u64::from(kind == HEADERS);
                self.open_block = (flags & END_HEADERS == 0).then_some(stream);
            }
            DATA => self.work += 1,
            RST_STREAM => {
                self.begun += 1;
                self.resets += 1;
                if self.resets > self.budgets.resets_per_second {
                    self.exhausted("RST_STREAM");
                }
            }
            _ => {
                self.begun += 1;
                self.control += 1;
                let earned = self.work * EARNED_BY_FRAME + self.sent_bytes / SENT_BYTES_FOR_ONE;
                if self.control > self.budgets.control_per_second + earned {
                    self.exhausted(match kind {
                        PRIORITY => "PRIORITY",
                        SETTINGS => "SETTINGS",
                        PING => "PING",
                        WINDOW_UPDATE => "WINDOW_UPDATE",
                        _ => "unknown",
                    });
                }
            }
        }
    }

    /// A budget is used up, by frames of this kind at last. If that took its time, it starts again.
    fn exhausted(&mut self, kind: &'static str) {
        let now = Instant::now();
        if now.duration_since(self.period_began) < PERIOD {
            self.flood = Some(kind);
            return;
        }
        self.period_began = now;
        (self.resets, self.control) = (0, 0);
        (self.work, self.sent_bytes) = (0, 0);
    }
}

/// Frames that make h2 end the connection with ENHANCE_YOUR_CALM: a header block that never ends.
///
/// Only h2 knows where in its own output a frame ends, and which stream it has taken up last, both of which a
/// GOAWAY needs; and it takes no order to send one. So it is given, instead of what the client sends, something
/// that it refuses with the same code.
#[derive(Debug)]
pub(super) struct Calming {
    /// The head of the next frame.
    head: [u8; HEAD],
    /// How much of it was read.
    read: usize,
}

impl Calming {
    /// After a whole frame. `open_block` is the stream of a header block that has not ended.
    pub(super) fn after(open_block: Option<u32>) -> Self {
        let kind = if open_block.is_some() {
            CONTINUATION
        } else {
            HEADERS
        };
        // Which stream it is does not matter, because the block is never taken for one.
        let stream = open_block.unwrap_or(1).to_be_bytes();
        Self {
            head: [0, 0, 0, kind, 0, stream[0], stream[1], stream[2], stream[3]],
            read: 0,
        }
    }

    /// The next bytes, at most `most` of them.
    pub(super) fn read(&mut self, most: usize) -> &[u8] {
        if self.read == HEAD {
            self.head[3] = CONTINUATION;
            self.read = 0;
        }
        let from = self.read;
        self.read = HEAD.min(from + most);
        &self.head[from..self.read]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
        let length = u32::try_from(payload.len()).expect("small").to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags];
        frame.extend(stream.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn frames(resets: u64, control: u64) -> Frames {
        let budgets = FrameBudgets {
            resets_per_second: resets,
            control_per_second: control,
        };
        Frames::new(budgets, Instant::now())
    }

    fn begin() -> Vec<u8> {
        [PREFACE, &frame(SETTINGS, 0, 0, &[0; 6])].concat()
    }

    #[test]
    fn a_flood_is_noticed_at_the_same_frame_however_it_is_cut() {
        let mut bytes = begin();
        bytes.extend(frame(HEADERS, END_HEADERS, 1, b"block"));
        bytes.extend(frame(DATA, 1, 1, b"message"));
        // One was SETTINGS, and eight are earned.
        for _ in 0..3 + 8 {
            bytes.extend(frame(PING, 0, 0, &[0; 8]));
        }
        // The frame in which it is noticed is let through.
        let calm = bytes.len();
        bytes.extend(frame(PING, 0, 0, &[0; 8]));
        for size in 1..bytes.len() {
            let mut frames = frames(0, 3);
            let mut handed_on = 0;
            for part in bytes.chunks(size) {
                handed_on += frames.receive(part);
                if frames.flood().is_some() {
                    break;
                }
            }
            assert_eq!(frames.flood(), Some("PING"), "parts of {size}");
            assert_eq!(handed_on, calm, "parts of {size}");
        }
    }

    #[test]
    fn what_is_sent_earns_window_updates() {
        let mut frames = frames(0, 1);
        frames.receive(&begin());
        frames.sent(2 * 1024);
        let update = frame(WINDOW_UPDATE, 0, 0, &[0, 0, 1, 0]);
        frames.receive(&[&update[..], &update].concat());
        assert_eq!(frames.flood(), None);
        frames.receive(&update);
        assert_eq!(frames.flood(), Some("WINDOW_UPDATE"));
    }

    #[test]
    fn a_budget_is_for_a_second() {
        let mut frames = frames(2, 1);
        frames.receive(&begin());
        let reset = frame(RST_STREAM, 0, 1, &[0; 4]);
        for _ in 0..10 {
            frames.period_began -= PERIOD;
            frames.receive(&reset.repeat(3));
            assert_eq!(frames.flood(), None);
        }
        frames.receive(&reset.repeat(3));
        assert_eq!(frames.flood(), Some("RST_STREAM"));
    }

    #[test]
    fn what_is_begun_is_unfinished_until_it_ends() {
        let mut frames = frames(10, 10);
        assert!(frames.unfinished().is_some(), "nothing came yet");
        let begin = begin();
        for byte in &begin[..begin.len() - 1] {
            frames.receive(&[*byte]);
            assert!(frames.unfinished().is_some());
        }
        frames.receive(&begin[begin.len() - 1..]);
        assert_eq!(frames.unfinished(), None);
        frames.receive(&frame(HEADERS, 0, 1, b"half"));
        let block = frames.unfinished();
        assert!(block.is_some());
        frames.receive(&frame(CONTINUATION, 0, 1, b"a"));
        assert_eq!(frames.unfinished(), block, "the same block");
        frames.receive(&frame(CONTINUATION, END_HEADERS, 1, b"half"));
        assert_eq!(frames.unfinished(), None);
        frames.receive(&frame(HEADERS, 0, 3, b"half"));
        assert_ne!(frames.unfinished(), block, "another block");
        frames.receive(&frame(CONTINUATION, END_HEADERS, 3, b"half"));
        // Messages have a time of their own.
        frames.receive(&frame(DATA, 0, 1, &[0; 100])[..50]);
        assert_eq!(frames.unfinished(), None);
    }

    #[test]
    fn http_1_is_left_alone() {
        let mut frames = frames(0, 0);
        let request = b"PRIV / HTTP/1.1\r\n\r\n\0\0\0\x06\0\0\0\0\0".repeat(100);
        for part in request.chunks(7) {
            assert_eq!(frames.receive(part), part.len());
        }
        assert_eq!(frames.flood(), None);
        assert_eq!(frames.unfinished(), None);
    }

    #[test]
    fn calming_is_a_header_block_without_an_end() {
        for step in 1..20 {
            let mut calming = Calming::after(None);
            let mut bytes = Vec::new();
            while bytes.len() < 100 {
                bytes.extend_from_slice(calming.read(step));
            }
            assert_eq!(bytes[..HEAD], frame(HEADERS, 0, 1, b""));
            assert_eq!(bytes[HEAD..2 * HEAD], frame(CONTINUATION, 0, 1, b""));
            assert_eq!(bytes[2 * HEAD..3 * HEAD], frame(CONTINUATION, 0, 1, b""));
        }
        assert_eq!(Calming::after(Some(7)).read(100), frame(CONTINUATION, 0, 7, b""));
    }
}
