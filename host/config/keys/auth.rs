//! `[auth]` and `[issuers.NAME]`: who callers are.

use std::path::PathBuf;
use std::time::Duration;

use crate::config::setting::{KIB, Paths, Text, Texts, bytes, count, optional, path_to, seconds, toggle};

section! {
    /// Who callers are. With an `[issuers.NAME]`, every call needs a bearer token from one of them, in
    /// `authorization`, unless its method is `anonymous`; the caller is then the subject of the token. Without,
    /// the caller is the one whom its certificate names, where `server.tls_client_ca` asks for one.
    Auth at "auth" {
        /// Whether a call without a token is served, as one of its certificate, if its client showed one that
        /// `server.tls_client_ca` vouches for. A token that comes all the same must be valid, and goes before the
        /// certificate.
        "certificate_suffices" => certificate_suffices: bool = toggle(false);
        /// Whether plugins see `authorization`, which has the token. Whoever sees a token can use it elsewhere,
        /// as the caller; what it says, plugins learn without it. Where `forward_metadata` of an upstream names
        /// `authorization`, it goes there in any case.
        "pass_token" => pass_token: bool = toggle(false);
        /// The longest token. It must fit `server.max_metadata_bytes` as well.
        "max_token_bytes" => max_token_bytes: usize = bytes(8 * KIB, 256, 64 * KIB);
        /// How many verified tokens are remembered, so that their signatures are verified once. Those used least
        /// make way.
        "max_cached_tokens" => max_cached_tokens: usize = count(10_000, 1, 1_000_000);
    }
}

top_level!(Auth);

section! {
    /// Who issues tokens to callers. NAME is the operator's choice, by the rule of plugin names; the identities
    /// that plugins see begin with it, `NAME:SUBJECT`, so that renaming an issuer makes other callers of them.
    /// Tokens are JSON Web Tokens, signed, with `iss`, `sub`, `aud` and `exp`.
    ///
    /// Key files are read again when they change. One that cannot be used then is told in the log, and the keys
    /// from before stay.
    Issuer at "issuers.NAME" {
        /// What tokens have as `iss`, to the letter. Required.
        "issuer" => issuer: String = Text("the issuer's name in its tokens, often a URL");
        /// What this host is called in tokens: one of these must be in `aud`. Required.
        "audiences" => audiences: Vec<String> = Texts("audience");
        /// Files with the issuer's public keys: a JSON Web Key Set, or keys in PEM (`BEGIN PUBLIC KEY`). A key of
        /// a set is used with its `alg`; RSA keys without one with RS256, P-256 with ES256, P-384 with ES384,
        /// Ed25519 with EdDSA. RSA keys have 2048 bits or more.
        "keys" => keys: Vec<PathBuf> = Paths;
        /// A file with the secret that the issuer shares with this host, for HS256: its bytes, less a line feed
        /// at the end. At least 32, and random ones: whoever guesses it can be anybody.
        "secret_file" => secret_file: Option<PathBuf> = optional("no token with HS256 is valid", path_to("file", "-"));
        /// By how much the clocks of issuer and host may differ: so much before `nbf` and after `exp` a token is
        /// valid.
        "leeway_s" => leeway: Duration = seconds(30, 0, 600);
    }
}

named!(Issuer);
