//! `x-forwarded-for`: each proxy adds the address it was connected from at the end.

use std::net::{IpAddr, SocketAddr};

use http::{HeaderMap, HeaderName, HeaderValue};

use super::super::peer::Peer;
use super::Proxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The client for whom the trusted proxy at `peer` sends a request: the last address that is not a trusted
/// proxy's, because everything before it is what that client wrote itself. If all are proxies', the first.
pub(in crate::server) fn client(headers: &HeaderMap, peer: Peer, proxies: &Proxies) -> Peer {
    let mut client = peer;
    let lists: Vec<&HeaderValue> = headers.get_all(X_FORWARDED_FOR).iter().collect();
    for entry in lists
        .iter()
        .rev()
        .flat_map(|list| list.as_bytes().rsplit(|byte| *byte == b','))
    {
        // A proxy that writes something else ("unknown") does not say more than that it was one.
        let Some(address) = address(entry) else { break };
        client = Peer::network(address);
        if !proxies.trusts(address.ip()) {
            break;
        }
    }
    client
}

/// An address, with or without a port; port 0 stands for one that is not told.
fn address(entry: &[u8]) -> Option<SocketAddr> {
    let text = str::from_utf8(entry).ok()?.trim_matches([' ', '\t']);
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let ip = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
        .unwrap_or(text);
    Some(SocketAddr::new(ip.parse::<IpAddr>().ok()?, 0))
}

#[cfg(test)]
mod tests {
    use super::super::ProxyNaming;
    use super::*;

    fn client_of(lists: &[&'static str]) -> String {
        let proxies = ["10.0.0.0/8", "fd00::/8"].map(|text| text.parse().expect("a network"));
        let proxies = Proxies::new(proxies.to_vec(), ProxyNaming::XForwardedFor);
        let mut headers = HeaderMap::new();
        for list in lists {
            headers.append(X_FORWARDED_FOR, HeaderValue::from_static(list));
        }
        let peer = Peer::network("10.0.0.1:5000".parse().expect("an address"));
        client(&headers, peer, &proxies).to_string()
    }

    #[test]
    fn the_last_address_that_is_not_trusted_is_the_client() {
        for (lists, client) in [
            (&[][..], "10.0.0.1:5000"),
            (&["192.0.2.1"], "192.0.2.1:0"),
            (&["192.0.2.1:99"], "192.0.2.1:99"),
            (&["2001:db8::1"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]"], "[2001:db8::1]:0"),
            (&["[2001:db8::1]:99"], "[2001:db8::1]:99"),
            (&["::ffff:192.0.2.1"], "192.0.2.1:0"),
            // What the client wrote itself does not count.
            (&["198.51.100.1, 192.0.2.1"], "192.0.2.1:0"),
            (&["198.51.100.1", "192.0.2.1"], "192.0.2.1:0"),
            (&["10.1.1.1, 192.0.2.1"], "192.0.2.1:0"),
            // Proxies behind one another.
            (&["192.0.2.1, 10.0.0.3, fd00::1"], "192.0.2.1:0"),
            (&["192.0.2.1,10.0.0.3", "10.0.0.2"], "192.0.2.1:0"),
            (&["10.0.0.3, 10.0.0.2"], "10.0.0.3:0"),
            (&["::ffff:10.0.0.3"], "10.0.0.3:0"),
            // Nothing is guessed.
            (&["192.0.2.1, unknown"], "10.0.0.1:5000"),
            (&["192.0.2.1, unknown, 10.0.0.2"], "10.0.0.2:0"),
            (&[""], "10.0.0.1:5000"),
            (&["192.0.2.1,"], "10.0.0.1:5000"),
            (&["192.0.2.1 10.0.0.2"], "10.0.0.1:5000"),
        ] {
            assert_eq!(client_of(lists), client, "{lists:?}");
        }
    }
}
