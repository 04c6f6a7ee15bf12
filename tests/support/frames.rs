//! HTTP/2 frames by hand, for clients that do not keep to it (RFC 9113).

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};

use super::within_patience;

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const GOAWAY: u8 = 7;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const END_STREAM: u8 = 0x1;
pub(crate) const END_HEADERS: u8 = 0x4;

/// The error code of a stream that is no longer wanted.
pub(crate) const CANCEL: u32 = 8;

/// The error code that a client gets for too much of anything.
pub(crate) const ENHANCE_YOUR_CALM: u32 = 11;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame in bytes.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("short").to_be_bytes();
    let mut frame = vec![length[1], length[2], length[3], kind, flags];
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a gRPC call (RFC 7541), in entries of the static table and literals.
pub(crate) fn block(path: &str) -> Vec<u8> {
    // :method POST, :scheme http
    let mut block = vec![0x83, 0x86];
    let mut literal = |name: &[u8], value: &str| {
        block.extend(name);
        block.push(u8::try_from(value.len()).expect("short"));
        block.extend(value.as_bytes());
    };
    literal(&[0x04], path);
    literal(&[0x01], "localhost");
    literal(&[0x0f, 0x10], "application/grpc");
    literal(b"\0\x02te", "trailers");
    block
}

/// A frame that the host sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
    pub(crate) payload: Vec<u8>,
}

/// A connection of which nothing is done by itself.
pub(crate) struct FrameClient {
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
}

impl FrameClient {
    /// HTTP/2 has begun.
    pub(crate) async fn begin(address: SocketAddr) -> Self {
        Self::begin_on(TcpStream::connect(address).await.expect("the host listens")).await
    }

    /// The same, on a connection that there is already.
    pub(crate) async fn begin_on(stream: TcpStream) -> Self {
        let (reader, writer) = stream.into_split();
        let mut client = Self { reader, writer };
        client
            .send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat())
            .await;
        client
    }

    /// The other side of a connection that a client makes.
    pub(crate) async fn accept(listener: &TcpListener) -> Self {
        let (stream, _) = listener.accept().await.expect("it listens");
        let (mut reader, writer) = stream.into_split();
        let mut preface = [0; PREFACE.len()];
        let read = within_patience("the preface", reader.read_exact(&mut preface)).await;
        read.expect("it stays");
        assert_eq!(preface, PREFACE);
        let mut server = Self { reader, writer };
        server.send(&frame(SETTINGS, 0, 0, &[])).await;
        server
    }

    /// If the connection is closed, reading will tell.
    pub(crate) async fn send(&mut self, bytes: &[u8]) {
        let _ = within_patience("to be read", self.writer.write_all(bytes)).await;
    }

    /// The next frame; none at the end of the connection.
    pub(crate) async fn next(&mut self) -> Option<Received> {
        next(&mut self.reader).await
    }

    /// Reads to the end of the connection. The error code of the last GOAWAY, if there was any.
    pub(crate) async fn end(&mut self) -> Option<u32> {
        end(&mut self.reader).await
    }

    /// Sends what `flood` makes in each turn until the host closes the connection, at most so many times. In which
    /// turn that was, and the error code of the last GOAWAY.
    pub(crate) async fn flood(
        self,
        turns: u32,
        mut flood: impl FnMut(u32) -> Vec<u8> + Send + 'static,
    ) -> (u32, Option<u32>) {
        let Self {
            mut reader,
            mut writer,
        } = self;
        let sending = tokio::spawn(async move {
            for turn in 0..turns {
                if writer.write_all(&flood(turn)).await.is_err() {
                    return (turn, writer);
                }
            }
            (turns, writer)
        });
        let code = end(&mut reader).await;
        let (turn, _) = sending.await.expect("it does not panic");
        (turn, code)
    }
}

async fn next(reader: &mut OwnedReadHalf) -> Option<Received> {
    let mut head = [0; 9];
    within_patience("a frame", reader.read_exact(&mut head))
        .await
        .ok()?;
    let [a, b, c, kind, flags, stream @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    within_patience("a frame", reader.read_exact(&mut payload))
        .await
        .ok()?;
    Some(Received {
        kind,
        flags,
        stream: u32::from_be_bytes(stream),
        payload,
    })
}

async fn end(reader: &mut OwnedReadHalf) -> Option<u32> {
    let mut code = None;
    while let Some(frame) = next(reader).await {
        if frame.kind == GOAWAY {
            let bytes = frame.payload[4..8].try_into().expect("it has a code");
            code = Some(u32::from_be_bytes(bytes));
        }
    }
    code
}
