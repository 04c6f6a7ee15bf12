//! Whom a client's certificate names.
//!
//! Of the names in a certificate the one counts that says most exactly who the client is: a SPIFFE ID, which is made
//! for workloads; else a DNS name; else the common name of the subject, which old tools still use for it. A
//! certificate without any of these is its own name, by its hash. Each form has a prefix of its own, so that a
//! client with a certificate for one cannot pass for another.

use std::sync::Arc;

use serde_json::Value;
use sha2::{Digest as _, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer as _;

use super::Principal;
use crate::observe::is_plain;

/// A longer name is passed over. SPIFFE allows 2048 bytes for an ID.
const MAX_NAME_BYTES: usize = 2048;

/// Names in all of a certificate that are looked at.
const MAX_NAMES: usize = 64;

/// Whom the certificate of a connection names. Set as an extension of its requests.
#[derive(Debug, Clone)]
pub struct ClientCertificate(pub(super) Arc<Principal>);

impl ClientCertificate {
    /// Of a certificate in DER that the handshake has verified.
    pub fn verified(der: &[u8]) -> Self {
        let sha256 = hex(&Sha256::digest(der));
        let names = X509Certificate::from_der(der)
            .map(|(_, certificate)| Names::of(&certificate))
            .unwrap_or_default();
        let id = names.id().unwrap_or_else(|| format!("sha256:{sha256}"));
        let claims = [
            ("cn", names.common.map(Value::from)),
            ("dns", list(names.dns)),
            ("uri", list(names.uris)),
            ("sha256", Some(sha256.into())),
        ];
        let claims = claims
            .into_iter()
            .filter_map(|(name, value)| Some((name.to_owned(), super::principal::claim_text(value?))));
        Self(Arc::new(Principal {
            id,
            claims: claims.collect(),
            scopes: Vec::new(),
        }))
    }
}

#[derive(Default)]
struct Names {
    uris: Vec<String>,
    dns: Vec<String>,
    common: Option<String>,
}

impl Names {
    fn of(certificate: &X509Certificate<'_>) -> Self {
        let mut names = Self::default();
        let alternative = certificate.subject_alternative_name().ok().flatten();
        let alternative = alternative.map(|extension| &extension.value.general_names);
        for name in alternative.into_iter().flatten().take(MAX_NAMES) {
            match name {
                GeneralName::URI(uri) if is_name(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::DNSName(dns) if is_name(dns) => names.dns.push(dns.to_ascii_lowercase()),
                _ => {}
            }
        }
        names.common = certificate
            .subject()
            .iter_common_name()
            .filter_map(|name| name.as_str().ok())
            .find(|name| is_name(name))
            .map(str::to_owned);
        names
    }

    fn id(&self) -> Option<String> {
        // An X.509 SVID has exactly one URI; which of several is meant would be a guess.
        if let [uri] = &self.uris[..]
            && uri.starts_with("spiffe://")
        {
            return Some(uri.clone());
        }
        if let Some(dns) = self.dns.first() {
            return Some(format!("dns:{dns}"));
        }
        Some(format!("cn:{}", self.common.as_ref()?))
    }
}

/// Names go into logs, and plugins into keys.
fn is_name(text: &str) -> bool {
    (1..=MAX_NAME_BYTES).contains(&text.len()) && text.chars().all(is_plain)
}

fn list(names: Vec<String>) -> Option<Value> {
    (!names.is_empty()).then(|| names.into())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
