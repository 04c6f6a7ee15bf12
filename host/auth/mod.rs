//! Who the caller is: decided once for each call, before anything of it waits or runs.
//!
//! There are two proofs of identity: a certificate that the TLS handshake verified, and a bearer token (a JSON Web
//! Token) that a call carries. What comes out is a [`Principal`], which the plugin reads, or a [`Refusal`]. Keys and
//! secrets come from files (`keys.rs`) and are replaced while the host serves (`reload.rs`).

mod bearer;
mod certificate;
mod crypto;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
mod keys;
mod principal;
mod reload;
#[cfg(test)]
mod tests;
mod token;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwap;
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, header};
use jsonwebtoken::get_current_timestamp;
use parking_lot::Mutex;

use crate::config::{Auth, Issuer, PluginName};
use keys::{Fingerprint, KeyFiles};
use token::Verifier;

pub use certificate::ClientCertificate;
pub use keys::{KeyError, KeyFile};
pub use principal::Principal;
pub use reload::reload_on_change;

/// Whom a method is for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access {
    /// Whether callers without a token are served, where tokens are asked for.
    pub anonymous: bool,
    /// All of these must be in the caller's token.
    pub scopes: Vec<String>,
}

/// Why a caller is not served. The text is for the caller; it says no more than the reason does.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No token, and no certificate in its place.
    #[error("This method needs a bearer token, in authorization")]
    TokenMissing,
    /// Not a token, or not one of an issuer's for this host.
    #[error("The bearer token is not valid")]
    TokenInvalid {
        /// For the operator's log. Never any of the token.
        cause: &'static str,
    },
    /// A valid token whose time has passed.
    #[error("The bearer token has expired")]
    TokenExpired,
    /// A valid token whose time has not come.
    #[error("The bearer token is not valid yet")]
    TokenNotYetValid,
    /// The caller is known and may not call this.
    #[error("This method needs the scope {scope}")]
    ScopeMissing {
        /// The first one that is missing.
        scope: String,
    },
}

impl Refusal {
    /// The challenge that HTTP clients expect with it (RFC 6750, section 3).
    pub fn challenge(&self) -> Option<(HeaderName, HeaderValue)> {
        let challenge = match self {
            Self::TokenMissing => HeaderValue::from_static("Bearer"),
            Self::TokenInvalid { .. } | Self::TokenExpired | Self::TokenNotYetValid => {
                HeaderValue::from_static("Bearer error=\"invalid_token\"")
            }
            // A scope has no character that would have to be escaped.
            Self::ScopeMissing { scope } => {
                let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
                HeaderValue::try_from(challenge).ok()?
            }
        };
        Some((header::WWW_AUTHENTICATE, challenge))
    }
}

/// Decides who callers are.
pub struct Authenticator {
    /// None if the operator names no issuer: then certificates are all there is to know callers by.
    tokens: Option<Tokens>,
    certificate_suffices: bool,
    pass_token: bool,
}

/// What is needed to verify tokens.
struct Tokens {
    files: KeyFiles,
    /// Replaced as a whole, together with what it has cached.
    verifier: ArcSwap<Verifier>,
    /// What was in the files at the last look.
    seen: Mutex<Fingerprint>,
    max_bytes: usize,
}

/// A mistake in the key files of an issuer.
#[derive(Debug, thiserror::Error)]
#[error("{error}")]
pub struct IssuerError {
    /// The operator's name for the issuer.
    pub issuer: PluginName,
    /// Where, and what.
    pub error: KeyError,
}

impl Authenticator {
    /// Who trusts `issuers`, whose keys are read now.
    ///
    /// # Errors
    /// Every issuer with a key file that cannot be used.
    pub fn load(auth: &Auth, issuers: &BTreeMap<PluginName, Issuer>) -> Result<Self, Vec<IssuerError>> {
        let tokens = if issuers.is_empty() {
            None
        } else {
            let files = KeyFiles::new(issuers.clone(), auth.max_cached_tokens);
            // Before they are read: should they change meanwhile, the next look finds them changed.
            let seen = Mutex::new(files.fingerprint());
            Some(Tokens {
                verifier: ArcSwap::from_pointee(files.load()?),
                files,
                seen,
                max_bytes: auth.max_token_bytes,
            })
        };
        Ok(Self {
            tokens,
            certificate_suffices: auth.certificate_suffices,
            pass_token: auth.pass_token,
        })
    }

    /// Whether callers are asked for tokens.
    pub fn asks_for_tokens(&self) -> bool {
        self.tokens.is_some()
    }

    /// The header that plugins do not get to see: whoever holds a token can act as its subject elsewhere.
    pub fn withheld(&self) -> Option<HeaderName> {
        (self.asks_for_tokens() && !self.pass_token).then_some(header::AUTHORIZATION)
    }

    /// The caller of one call; none for a caller that is not known and need not be. The extensions are those of its
    /// request, which have the [`ClientCertificate`] if there is one.
    ///
    /// # Errors
    /// If the caller must be known and is not, brings a token that is not valid, or may not call this method.
    pub fn admit(
        &self,
        access: &Access,
        headers: &HeaderMap,
        extensions: &Extensions,
    ) -> Result<Option<Arc<Principal>>, Refusal> {
        let principal = self.identify(access, headers, extensions.get())?;
        let has = |scope: &String| principal.as_ref().is_some_and(|caller| caller.has_scope(scope));
        match access.scopes.iter().find(|scope| !has(scope)) {
            Some(scope) => Err(Refusal::ScopeMissing { scope: scope.clone() }),
            None => Ok(principal),
        }
    }

    fn identify(
        &self,
        access: &Access,
        headers: &HeaderMap,
        certificate: Option<&ClientCertificate>,
    ) -> Result<Option<Arc<Principal>>, Refusal> {
        let certificate = certificate.map(|certificate| certificate.0.clone());
        let Some(tokens) = &self.tokens else {
            return Ok(certificate);
        };
        match tokens.of(headers)? {
            // The caller itself goes before the machine that it calls from.
            Some(principal) => Ok(Some(principal)),
            None if self.certificate_suffices && certificate.is_some() => Ok(certificate),
            None if access.anonymous => Ok(None),
            None => Err(Refusal::TokenMissing),
        }
    }
}

impl Tokens {
    /// Whom the token in these headers names; none if there is no token.
    fn of(&self, headers: &HeaderMap) -> Result<Option<Arc<Principal>>, Refusal> {
        let Some(token) = bearer::token(headers, self.max_bytes)? else {
            return Ok(None);
        };
        let verifier = self.verifier.load();
        verifier.verify(token, get_current_timestamp()).map(Some)
    }
}
