//! `[admin]`: how the host is administered and watched.

use std::net::{Ipv4Addr, SocketAddr};

use crate::config::setting::{address, optional, toggle};

section! {
    /// How the host is watched. `mortise status` and its like need none of this: they use a socket in
    /// `server.data` that only the user of the host may connect to.
    Admin at "admin" {
        /// The address for collectors and probes, over HTTP/1.1: `/metrics`, `/healthz` (the process is alive) and
        /// `/readyz` (calls should be sent here). Nothing can be changed there.
        "listen" => listen: Option<SocketAddr> =
            optional("there is none", address(SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9464)));
        /// Whether `listen` may be an address that other machines can reach. Whoever can connect reads the names
        /// of plugins and methods and how much they are used.
        "allow_remote" => allow_remote: bool = toggle(false);
    }
}

top_level!(Admin);
