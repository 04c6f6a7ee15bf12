//! Whom a proxy speaks for: a PROXY header is read to its end and not a byte further, and nobody can write himself
//! another address into `x-forwarded-for`.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{HeaderMap, HeaderName, HeaderValue};
use tokio::io::{AsyncRead, ReadBuf};

use super::super::peer::Peer;
use super::super::proxy::{Proxies, ProxyNaming, forwarded_client, read_proxy_header};
use crate::fuzzing::{Input, block_on, cut};

/// What the input is.
const HEADER: u8 = 0;
const FORWARDED: u8 = 1;
const ADDRESS: u8 = 2;

/// More than any header may have.
const LONGEST: usize = 16 + 4096;

pub(super) fn run(data: &[u8]) {
    let mut input = Input::new(data);
    match input.byte() {
        FORWARDED => forwarded(input),
        ADDRESS => written(input),
        _ => {
            let sizes = input.bytes();
            header(input.rest(), sizes);
        }
    }
}

fn proxy() -> Peer {
    Peer::network(SocketAddr::from(([10, 0, 0, 1], 5000)))
}

fn header(bytes: &[u8], sizes: &[u8]) {
    let whole = read(&[bytes]);
    assert_eq!(read(&cut(bytes, sizes)), whole, "in parts of {sizes:?}");
    let Some((peer, used)) = whole else { return };
    // What follows is the client's, and changes nothing.
    assert_eq!(read(&[&bytes[..used]]), Some((peer, used)));
    assert_eq!(
        read(&[&bytes[..used - 1]]),
        None,
        "a header without its end is none"
    );
    if let Some(line) = bytes[..used]
        .strip_suffix(b"\r\n")
        .filter(|line| line.starts_with(b"PROXY "))
    {
        let line = str::from_utf8(line).expect("version 1 is text");
        let words: Vec<_> = line.split(' ').collect();
        if let Peer::Network(address) = peer
            && words[1] != "UNKNOWN"
        {
            assert_eq!(words[4], address.port().to_string(), "{line}");
        }
    }
}

/// Who it is, and the length of the header.
fn read(parts: &[&[u8]]) -> Option<(Peer, usize)> {
    let mut stream = Parts { parts, used: 0 };
    let peer = block_on(read_proxy_header(&mut stream, proxy()));
    assert!(stream.used <= LONGEST);
    peer.ok().map(|peer| (peer, stream.used))
}

/// Gives at most one part at each read.
struct Parts<'d> {
    parts: &'d [&'d [u8]],
    used: usize,
}

impl AsyncRead for Parts<'_> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut before = self.used;
        let left = self.parts.iter().find_map(|part| match part.get(before..) {
            Some(left) if !left.is_empty() => Some(left),
            _ => {
                before -= part.len();
                None
            }
        });
        if let Some(left) = left {
            let length = left.len().min(buffer.remaining());
            buffer.put_slice(&left[..length]);
            self.used += length;
        }
        Poll::Ready(Ok(()))
    }
}

/// A well-formed header of either version names its address.
fn written(mut input: Input<'_>) {
    let port = input.short();
    let bits = input.rest();
    let octets: [u8; 16] = std::array::from_fn(|index| bits.get(index).copied().unwrap_or_default());
    let (v4, _) = octets.split_first_chunk::<4>().expect("it is longer");
    let zeros = [0; 16];
    let ports = [port.to_be_bytes(), [0, 80]].concat();
    let binary = |family: u8, source: &[u8]| {
        let rest = [source, &zeros[..source.len()], &ports].concat();
        let length = u8::try_from(rest.len()).expect("it is short");
        [
            b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
            &[0x21, family, 0, length],
            &rest,
        ]
        .concat()
    };
    for (address, family, source) in [
        (SocketAddr::from((*v4, port)), 0x11, &v4[..]),
        (SocketAddr::from((octets, port)), 0x21, &octets),
    ] {
        let name = if address.is_ipv4() { "TCP4" } else { "TCP6" };
        let line = format!("PROXY {name} {} {} {port} 80\r\n", address.ip(), address.ip());
        for header in [binary(family, source), line.into_bytes()] {
            let followed = [&header[..], b"GET"].concat();
            assert_eq!(
                read(&[&followed]),
                Some((Peer::network(address), header.len())),
                "{address}"
            );
        }
    }
}

fn forwarded(mut input: Input<'_>) {
    let name = HeaderName::from_static("x-forwarded-for");
    let trusted = ["10.0.0.0/8", "fd00::/8"].map(|network| network.parse().expect("a network"));
    let proxies = Proxies::new(trusted.to_vec(), ProxyNaming::XForwardedFor);
    let mut headers = HeaderMap::new();
    while !input.is_empty() {
        if let Ok(value) = HeaderValue::from_bytes(input.bytes()) {
            headers.append(&name, value);
        }
    }
    let client = forwarded_client(&headers, proxy(), &proxies);
    assert!(client.ip().is_some());
    // Whatever a client wrote, the proxy that it came through adds where it came from.
    headers.append(name, HeaderValue::from_static("192.0.2.1, 10.0.0.3"));
    let client = forwarded_client(&headers, proxy(), &proxies);
    assert_eq!(client.to_string(), "192.0.2.1:0");
}

pub(super) fn seeds() -> Vec<Vec<u8>> {
    let inet = [192, 0, 2, 1, 10, 0, 0, 9, 0x1f, 0x90, 0, 80];
    let binary = |command: u8, family: u8, rest: &[u8]| {
        let length = u8::try_from(rest.len()).expect("it is short");
        [
            b"\r\n\r\n\0\r\nQUIT\n".as_slice(),
            &[command, family, 0, length],
            rest,
        ]
        .concat()
    };
    let headers = [
        binary(0x21, 0x11, &inet),
        binary(0x21, 0x21, &[7; 36]),
        binary(0x20, 0, &[]),
        binary(0x21, 0x31, &[0; 216]),
        binary(0x21, 0x11, &inet[..11]),
        b"PROXY TCP4 192.0.2.1 10.0.0.9 8080 80\r\nPRI *".to_vec(),
        b"PROXY TCP6 2001:db8::1 ::1 8080 80\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        b"PROXY TCP4 192.0.2.1 10.0.0.9 +80 80\r\n".to_vec(),
    ];
    let mut seeds: Vec<_> = headers
        .iter()
        .map(|header| [&[HEADER, 1, 5], &header[..]].concat())
        .collect();
    for list in [
        "192.0.2.9",
        "10.1.1.1, 198.51.100.1",
        "[2001:db8::1]:99, fd00::1",
        "unknown,",
        "::ffff:10.0.0.3",
    ] {
        let length = u8::try_from(list.len()).expect("it is short");
        seeds.push([&[FORWARDED, length], list.as_bytes(), &[length], list.as_bytes()].concat());
    }
    seeds.push([&[ADDRESS, 0x1f, 0x90][..], &[192, 0, 2, 1]].concat());
    seeds.push(
        [
            &[ADDRESS, 0, 0][..],
            &[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 255, 255, 1, 2, 3, 4],
        ]
        .concat(),
    );
    seeds
}
