//! The PROXY protocol, versions 1 and 2, of which TCP over IPv4 and IPv6 is understood.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncRead, AsyncReadExt};

use super::super::peer::Peer;

/// What version 2 begins with; no HTTP and no TLS does.
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";

/// Version 2, and that the proxy speaks for itself, or for somebody.
const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;

/// Families of addresses, with any kind of transport.
const UNSPECIFIED: u8 = 0;
const INET: u8 = 1;
const INET6: u8 = 2;
const UNIX: u8 = 3;

/// The longest header of version 1, with its end ("2.1. Human-readable header format").
const LONGEST_LINE: usize = 107;

/// The longest that is taken of version 2 after its first 16 bytes. Addresses need 216 at most; the rest is for
/// what proxies add.
const LONGEST_REST: usize = 4096;

/// Reads the header that a connection from the trusted proxy at `proxy` begins with, and not a byte more.
///
/// Gives the client, or the proxy itself where that speaks for nobody, to see whether the host is well.
///
/// # Errors
/// If there is none, or it is malformed.
pub(in crate::server) async fn read_header(
    stream: &mut (impl AsyncRead + Unpin),
    proxy: Peer,
) -> io::Result<Peer> {
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    let client = if start == SIGNATURE {
        binary(stream).await?
    } else if start.starts_with(b"PROXY ") {
        line(stream, &start).await?
    } else {
        return Err(malformed("there is none"));
    };
    Ok(client.map_or(proxy, Peer::network))
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// The rest of a header of version 2.
async fn binary(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let command = stream.read_u8().await?;
    let family = stream.read_u8().await? >> 4;
    let length = usize::from(stream.read_u16().await?);
    if length > LONGEST_REST {
        return Err(malformed("it is too long"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    let source = match (command, family) {
        (LOCAL, _) | (PROXY, UNSPECIFIED) => return Ok(None),
        (PROXY, INET) => inet(&rest),
        (PROXY, INET6) => inet6(&rest),
        (PROXY, UNIX) => return Ok(None),
        (PROXY, _) => return Err(malformed("it has an unknown family of addresses")),
        _ => return Err(malformed("it has an unknown version or command")),
    };
    source
        .map(Some)
        .ok_or_else(|| malformed("its addresses are cut short"))
}

/// Source and destination address, source and destination port.
fn inet(rest: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = rest.split_first_chunk::<4>()?;
    let (_, rest) = rest.split_first_chunk::<4>()?;
    Some(SocketAddr::new(
        Ipv4Addr::from_octets(*source).into(),
        port(rest)?,
    ))
}

fn inet6(rest: &[u8]) -> Option<SocketAddr> {
    let (source, rest) = rest.split_first_chunk::<16>()?;
    let (_, rest) = rest.split_first_chunk::<16>()?;
    Some(SocketAddr::new(
        Ipv6Addr::from_octets(*source).into(),
        port(rest)?,
    ))
}

fn port(rest: &[u8]) -> Option<u16> {
    let [a, b, _, _] = *rest.first_chunk::<4>()?;
    Some(u16::from_be_bytes([a, b]))
}

/// The rest of a header of version 1, of which `start` was read.
async fn line(stream: &mut (impl AsyncRead + Unpin), start: &[u8]) -> io::Result<Option<SocketAddr>> {
    let mut line = start.to_vec();
    while !line.ends_with(b"\r\n") {
        if line.len() == LONGEST_LINE {
            return Err(malformed("it is too long"));
        }
        // By the byte, because what follows the header is not to be read.
        line.push(stream.read_u8().await?);
    }
    let line = line.strip_suffix(b"\r\n").unwrap_or(&line);
    let line = str::from_utf8(line).map_err(|_| malformed("it is no text"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let (ipv4, source, port) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", "TCP4", source, _, port, _] => (true, source, port),
        ["PROXY", "TCP6", source, _, port, _] => (false, source, port),
        _ => return Err(malformed("it is not as version 1 has it")),
    };
    let source: IpAddr = source
        .parse()
        .map_err(|_| malformed("its source is no address"))?;
    // `parse` takes signs and leading zeros as well, which the protocol has not.
    let port = port
        .parse::<u16>()
        .ok()
        .filter(|number| number.to_string() == port);
    let port = port.ok_or_else(|| malformed("its port is no number"))?;
    if source.is_ipv4() != ipv4 {
        return Err(malformed("its source is of another family"));
    }
    Ok(Some(SocketAddr::new(source, port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<(String, usize)> {
        let proxy = Peer::network("10.0.0.1:5000".parse().expect("an address"));
        let mut rest = bytes;
        let peer = read_header(&mut rest, proxy).await?;
        Ok((peer.to_string(), rest.len()))
    }

    fn binary_header(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).expect("short").to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    const INET_REST: [u8; 12] = [192, 0, 2, 1, 10, 0, 0, 9, 0x1f, 0x90, 0, 80];

    #[tokio::test]
    async fn both_versions_name_the_client_and_leave_what_follows() {
        let inet6: Vec<u8> = [
            &"2001:db8::1".parse::<Ipv6Addr>().expect("an address").octets()[..],
            &[0; 16],
            &[0x1f, 0x90, 0, 80],
        ]
        .concat();
        let extended = [&INET_REST[..], &[4, 0, 3, 1, 2, 3]].concat();
        for (header, client) in [
            (binary_header(PROXY, 0x11, &INET_REST), "192.0.2.1:8080"),
            (binary_header(PROXY, 0x11, &extended), "192.0.2.1:8080"),
            (binary_header(PROXY, 0x21, &inet6), "[2001:db8::1]:8080"),
            (binary_header(LOCAL, 0, &[]), "10.0.0.1:5000"),
            (binary_header(LOCAL, 0x11, &INET_REST), "10.0.0.1:5000"),
            (binary_header(PROXY, 0, &[]), "10.0.0.1:5000"),
            (binary_header(PROXY, 0x31, &[0; 216]), "10.0.0.1:5000"),
            (
                b"PROXY TCP4 192.0.2.1 10.0.0.9 8080 80\r\n".to_vec(),
                "192.0.2.1:8080",
            ),
            (
                b"PROXY TCP6 2001:db8::1 ::1 8080 80\r\n".to_vec(),
                "[2001:db8::1]:8080",
            ),
            (b"PROXY UNKNOWN\r\n".to_vec(), "10.0.0.1:5000"),
            (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(), "10.0.0.1:5000"),
        ] {
            let whole = [&header[..], b"PRI *"].concat();
            let read = read(&whole).await.expect("a header");
            assert_eq!(read, (client.to_owned(), 5), "{}", header.escape_ascii());
        }
    }

    #[tokio::test]
    async fn malformed_headers_are_refused() {
        let cut = binary_header(PROXY, 0x11, &INET_REST);
        let mut headers: Vec<Vec<u8>> = (0..cut.len()).map(|length| cut[..length].to_vec()).collect();
        headers.extend([
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
            binary_header(PROXY, 0x11, &INET_REST[..11]),
            binary_header(PROXY, 0x21, &INET_REST),
            binary_header(PROXY, 0x41, &INET_REST),
            binary_header(0x11, 0x11, &INET_REST),
            binary_header(0x22, 0x11, &INET_REST),
            binary_header(PROXY, 0x11, &[0; LONGEST_REST + 1]),
            b"PROXY TCP4 192.0.2.1 10.0.0.9 8080\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.9 80800 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.9 +8080 80\r\n".to_vec(),
            b"PROXY TCP4 192.0.2.1 10.0.0.9 08080 80\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::1 ::1 8080 80\r\n".to_vec(),
            b"PROXY TCP4 elsewhere 10.0.0.9 8080 80\r\n".to_vec(),
            b"PROXY UDP4 192.0.2.1 10.0.0.9 8080 80\r\n".to_vec(),
            [b"PROXY UNKNOWN ", &[b'x'; LONGEST_LINE][..], b"\r\n"].concat(),
        ]);
        for header in headers {
            assert!(read(&header).await.is_err(), "{}", header.escape_ascii());
        }
    }
}
