//! `[server]`: how the host listens, and the bounds on what clients may ask of it.

use std::net::{Ipv6Addr, SocketAddr, SocketAddrV6};
use std::path::PathBuf;
use std::time::Duration;

use crate::capability::limits::Rate;
use crate::config::setting::{
    Choices, GIB, KIB, MIB, Origins, RateText, TIB, TrustedProxies, address, bytes, choice, choices, count,
    count_u32, file_mode, long_count, millis, optional, path_to, seconds, toggle,
};
use crate::server::{ClientAuth, Encoding, ProxyNaming, TrustedProxy};

section! {
    /// How the host listens, and the bounds on what clients may ask of it.
    Server at "server" {
        /// The address that gRPC and gRPC-Web are served on. `[::]` takes IPv6 and IPv4 on every interface; on
        /// a machine without IPv6 it means `0.0.0.0`. The flag `--listen` wins over this key.
        "listen" => listen: SocketAddr =
            address(SocketAddr::V6(SocketAddrV6::new(Ipv6Addr::UNSPECIFIED, 50051, 0, 0)));
        /// Whether `listen` is served. Without it `unix_socket` must be set, and is all that is served.
        "listen_tcp" => listen_tcp: bool = toggle(true);
        /// A Unix-domain socket that is served too, always without TLS. A socket that nobody listens on any
        /// more is replaced; beside it the host keeps an empty file, `.lock` at the end of its name.
        "unix_socket" => unix_socket: Option<PathBuf> = optional("none is served", path_to("socket", "-"));
        /// The permissions of `unix_socket`: who may write may connect. The permissions of its folder hold
        /// as well.
        "unix_socket_mode" => unix_socket_mode: u32 = file_mode(0o600);
        /// Proxies and load balancers in front of the host that are believed when they say for whom they
        /// connect, by address or network; `unix` stands for those that use `unix_socket`. The client they
        /// name is what plugins see as the caller, and what `max_connections_per_peer` counts. What others say
        /// about themselves is ignored.
        "trusted_proxies" => trusted_proxies: Vec<TrustedProxy> = TrustedProxies;
        /// How trusted proxies say it. `x-forwarded-for`: in this header of each request, of which the last
        /// address counts that is no trusted proxy's. `proxy-protocol`: at the start of each connection, by
        /// the PROXY protocol, version 1 or 2, without which a trusted proxy's connection is closed.
        "client_address_from" => client_address_from: ProxyNaming = choice(ProxyNaming::XForwardedFor);
        /// The host's certificate in PEM, followed by those that issued it, without the root. With it and
        /// `tls_key` the host speaks TLS 1.2 and 1.3, and nothing else. Read again when it changes.
        "tls_certificate" => tls_certificate: Option<PathBuf> =
            optional("the host speaks without TLS", path_to("file", "-"));
        /// The private key of `tls_certificate` in PEM: PKCS #8, PKCS #1 or SEC 1, not encrypted.
        "tls_key" => tls_key: Option<PathBuf> =
            optional("the host speaks without TLS", path_to("file", "-"));
        /// Certificates in PEM of those who issue certificates to clients. With it clients are asked for a
        /// certificate, and one that shows another than theirs is refused in the handshake.
        "tls_client_ca" => tls_client_ca: Option<PathBuf> =
            optional("clients are asked for no certificate", path_to("file", "-"));
        /// With `tls_client_ca`: whether a client must show a certificate (`required`), or is let in without one
        /// as a caller that is not known (`optional`).
        "tls_client_auth" => tls_client_auth: ClientAuth = choice(ClientAuth::Required);
        /// How long a TLS handshake may take before the connection is closed.
        "tls_handshake_timeout_ms" => tls_handshake_timeout: Duration = millis(10_000, 1, 600_000);
        /// Web pages that browsers let call the host by gRPC-Web, by their origin.
        "grpc_web_origins" => grpc_web_origins: Vec<String> = Origins;
        /// Compressions that requests may use and that answers are sent in, the preferred one first. An
        /// answer has the one of its request where the client accepts that, else the first that it accepts.
        /// A request in another one is answered UNIMPLEMENTED.
        "compression" => compression: Vec<Encoding> = choices(&Encoding::ALL);
        /// The smallest answer that is compressed. A plugin's `compress_min_bytes` wins over this key.
        "compress_min_bytes" => compress_min_bytes: usize = bytes(KIB, 0, GIB);
        /// Whether a status that the host itself makes says its reason in a detail, a
        /// `google.rpc.ErrorInfo` of the domain `mortise`. Details that plugins add are always sent.
        "error_details" => error_details: bool = toggle(true);
        /// The folder for everything the host keeps: the store, events and compiled plugins. It is created
        /// if absent, readable by its owner alone, and used by one host at a time. The flag `--data` wins
        /// over this key. The default is relative to the working directory.
        "data" => data: PathBuf = path_to("folder", "mortise-data");
        /// Threads that serve calls and run plugins.
        "worker_threads" => worker_threads: Option<usize> = optional("one per CPU", count(1, 1, 1024));
        /// The largest request message, after its encoding is undone. A larger one is answered
        /// RESOURCE_EXHAUSTED without being read to its end.
        "max_request_bytes" => max_request_bytes: usize = bytes(10 * MIB, 1, GIB);
        /// The largest response message. A plugin that answers with a larger one has failed the call:
        /// RESOURCE_EXHAUSTED, and nothing is committed.
        "max_response_bytes" => max_response_bytes: usize = bytes(10 * MIB, 1, GIB);
        /// The largest request header list, counted as HTTP/2 counts it: names, values and 32 bytes for
        /// each entry. A larger one is answered RESOURCE_EXHAUSTED, and one of more than twice the size, which
        /// is what clients are told, HTTP status 431.
        "max_metadata_bytes" => max_metadata_bytes: usize = bytes(16 * KIB, KIB, MIB);
        /// The most memory for the headers and messages of all requests that have not arrived in full, and for
        /// those that arrived in more than one frame until they are answered. A request that finds no room is
        /// answered UNAVAILABLE. A client, as `max_connections_per_peer` counts them, may hold no more of it than it
        /// leaves free, which is half of it for one alone. At least four times `max_request_bytes`, because a
        /// compressed message is held in both forms for a moment.
        "max_request_memory_bytes" => max_request_memory_bytes: usize = bytes(256 * MIB, 64 * KIB, TIB);
        /// How long a request may take to arrive in full, whatever its deadline. Then it is answered
        /// DEADLINE_EXCEEDED.
        "request_timeout_ms" => request_timeout: Duration = millis(60_000, 1, 86_400_000);
        /// The most memory for answers that clients have not taken yet. While they hold so much, calls are answered
        /// UNAVAILABLE; those in progress are answered all the same. So are the calls of a client, as
        /// `max_connections_per_peer` counts them, that holds as much as it leaves free, which is half of it for one
        /// alone.
        "max_response_memory_bytes" => max_response_memory_bytes: usize = bytes(GIB, 64 * KIB, TIB);
        /// How long a client may take for an answer, counted in steps of this time. Then its
        /// connection is told to go away, and calls on it may go on for `max_connection_age_grace_s`.
        "response_timeout_ms" => response_timeout: Duration = millis(120_000, 1, 86_400_000);
        /// How long a client may take for what comes before its first request (a PROXY header, the beginning of
        /// HTTP), for each header list, and for each frame of HTTP/2 that carries no message. Then its
        /// connection is closed, as is one of HTTP/1.1 that is kept alive for longer without a request.
        "header_timeout_ms" => header_timeout: Duration = millis(10_000, 1, 600_000);
        /// The most entries of request metadata, and of the initial and the trailing metadata that a plugin
        /// may answer with.
        "max_metadata_entries" => max_metadata_entries: usize = count(128, 16, 4096);
        /// The largest metadata that a plugin may answer with, initial and trailing together, counted as
        /// HTTP/2 counts it. Stock clients refuse more than 8 KiB.
        "max_response_metadata_bytes" => max_response_metadata_bytes: usize = bytes(8 * KIB, KIB, MIB);
        /// The most open client connections. Further ones wait in the kernel's backlog.
        "max_connections" => max_connections: usize = count(10_000, 1, 1_000_000);
        /// The most open connections of one client, which is an IPv4 address or an IPv6 network of 64 bits.
        /// Further ones are closed at once. Trusted proxies are not counted, nor is `unix_socket`.
        "max_connections_per_peer" => max_connections_per_peer: usize = count(1000, 1, 1_000_000);
        /// The most calls in progress on one connection. It is announced to clients, which hold further
        /// calls back themselves.
        "max_streams_per_connection" => max_streams_per_connection: u32 = count_u32(1000, 1, 100_000);
        /// The most calls running in sandboxes at once, over all plugins. Address space and stacks for
        /// this many sandboxes are reserved at start-up. More than about 10,000 exceed what Linux lets a
        /// process map by default.
        "max_concurrent_calls" => max_concurrent_calls: usize = count(1000, 1, 10_000);
        /// The most calls waiting for a sandbox. Further ones are answered UNAVAILABLE at once.
        "max_queued_calls" => max_queued_calls: usize = count(1000, 0, 100_000);
        /// The most streams of one HTTP/2 connection that its client may reset in one second. Then the connection
        /// is closed with ENHANCE_YOUR_CALM.
        "max_resets_per_second" => max_resets_per_second: u64 = long_count(10_000, 1, 1_000_000_000);
        /// The most frames beside headers, messages and resets that one HTTP/2 connection may carry in one
        /// second, on top of those that calls bring with them. Then it is closed with ENHANCE_YOUR_CALM.
        "max_control_frames_per_second" => max_control_frames_per_second: u64 =
            long_count(10_000, 1, 1_000_000_000);
        /// How often each IP address may call, over all methods: `TOKENS/PERIOD`, the period in `ms`, `s`, `m`
        /// or `h`. After a quiet time so many calls may come at once. Further ones are answered
        /// RESOURCE_EXHAUSTED. An IPv6 network of 64 bits counts as one address. Health and reflection are not
        /// counted.
        "rate_per_peer" => rate_per_peer: Option<Rate> = optional("as often as they like", RateText);
        /// The same, for each verified caller.
        "rate_per_principal" => rate_per_principal: Option<Rate> = optional("as often as they like", RateText);
        /// How long a connection may be idle before the host sends an HTTP/2 ping; 0 sends none.
        "keepalive_interval_s" => keepalive_interval: Duration = seconds(30, 0, 86_400);
        /// How long a ping may stay unanswered before the connection is closed. A client that takes nothing of
        /// what it is sent for both times together is cut off as well.
        "keepalive_timeout_s" => keepalive_timeout: Duration = seconds(10, 1, 3600);
        /// Whether several hosts may listen on the same address, each with a data folder of its own; the
        /// kernel spreads connections over them. With it a host can be replaced without a gap: start the
        /// new one, and stop the old one when the new one is ready.
        "reuse_port" => reuse_port: bool = toggle(false);
        /// How long a connection may be without a call. Then its client is told to open another one when it
        /// needs it; 0 waits for ever.
        "max_connection_idle_s" => max_connection_idle: Duration = seconds(300, 0, 31_536_000);
        /// How long a connection is used. Then its client is told to open another one, as load balancers and
        /// new hosts need it. Calls in progress finish within `max_connection_age_grace_s`.
        "max_connection_age_s" => max_connection_age: Option<Duration> =
            optional("no maximum", seconds(1, 1, 31_536_000));
        /// How long calls may go on when their connection was told to go away, before it is cut.
        "max_connection_age_grace_s" => max_connection_age_grace: Duration = seconds(60, 1, 86_400);
        /// The deadline of a call that brings none. `[methods.NAME]` sets others for services and methods.
        "default_deadline_ms" => default_deadline: Option<Duration> =
            optional("such a call may run for as long as `max_deadline_ms` allows", millis(1, 1, 86_400_000));
        /// The longest a call may take. A longer `grpc-timeout` is cut to it. `[methods.NAME]` sets others
        /// for services and methods.
        "max_deadline_ms" => max_deadline: Option<Duration> =
            optional("no maximum", millis(1, 1, 86_400_000));
        /// On shutdown: how long the host goes on accepting calls while its health is NOT_SERVING, so that
        /// load balancers notice first.
        "drain_delay_ms" => drain_delay: Duration = millis(0, 0, 600_000);
        /// On shutdown, after the delay: how long calls in progress may take before they are cancelled.
        "drain_timeout_ms" => drain_timeout: Duration = millis(30_000, 0, 3_600_000);
        /// Whether the gRPC reflection service (v1 and v1alpha) describes the services of the plugins.
        /// `mortise call` needs it.
        "reflection" => reflection: bool = toggle(true);
    }
}

top_level!(Server);

impl Choices for Encoding {
    const CHOICES: &'static [(&'static str, Self)] = &[
        (Encoding::Zstd.name(), Encoding::Zstd),
        (Encoding::Gzip.name(), Encoding::Gzip),
        (Encoding::Deflate.name(), Encoding::Deflate),
    ];
}

impl Choices for ClientAuth {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("required", ClientAuth::Required),
        ("optional", ClientAuth::Optional),
    ];
}

impl Choices for ProxyNaming {
    const CHOICES: &'static [(&'static str, Self)] = &[
        ("x-forwarded-for", ProxyNaming::XForwardedFor),
        ("proxy-protocol", ProxyNaming::ProxyProtocol),
    ];
}
