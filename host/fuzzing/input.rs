//! Reads the parts of a structured input. Every sequence of bytes is one: what is missing is zero or empty.

/// What is left of an input.
pub(crate) struct Input<'d>(&'d [u8]);

impl<'d> Input<'d> {
    pub(crate) fn new(data: &'d [u8]) -> Self {
        Self(data)
    }

    pub(crate) fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((first, rest)) => {
                self.0 = rest;
                *first
            }
            None => 0,
        }
    }

    pub(crate) fn short(&mut self) -> u16 {
        u16::from_be_bytes([self.byte(), self.byte()])
    }

    /// As many bytes as the next one says.
    pub(crate) fn bytes(&mut self) -> &'d [u8] {
        let length = usize::from(self.byte()).min(self.0.len());
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        bytes
    }

    /// The same, as far as it is text.
    pub(crate) fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes()).into_owned()
    }

    pub(crate) fn rest(&mut self) -> &'d [u8] {
        std::mem::take(&mut self.0)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// `data` in pieces of these sizes, over and over; one piece if there are none. Size 0 makes an empty piece.
pub(crate) fn cut<'d>(mut data: &'d [u8], sizes: &[u8]) -> Vec<&'d [u8]> {
    if sizes.iter().all(|size| *size == 0) {
        return vec![data];
    }
    let mut pieces = Vec::new();
    for size in sizes.iter().cycle() {
        if data.is_empty() {
            break;
        }
        let (piece, rest) = data.split_at(usize::from(*size).min(data.len()));
        pieces.push(piece);
        data = rest;
    }
    pieces
}
