//! A caller that is known.

use std::fmt;

use serde_json::Value;

/// A caller whose identity was verified.
#[derive(Clone, PartialEq, Eq)]
pub struct Principal {
    /// Unlike that of any other caller, whatever proved it: it begins with the name of the issuer, or with
    /// the kind of name that a certificate bears.
    pub id: String,
    /// What else the proof says: name and value, as the contract writes them.
    pub claims: Vec<(String, String)>,
    /// What the token allows; none for a certificate.
    pub(super) scopes: Vec<String>,
}

impl Principal {
    /// The host itself, as which part of it: `timer`, or `event/PLUGIN`. No issuer and no certificate gives
    /// out such identities.
    pub fn of_host(part: &str) -> Self {
        Self {
            id: format!("mortise:{part}"),
            claims: Vec::new(),
            scopes: Vec::new(),
        }
    }

    /// Whether the token allows what `scope` stands for.
    pub fn has_scope(&self, scope: &str) -> bool {
        self.scopes.iter().any(|allowed| allowed == scope)
    }
}

/// Without the claims, which may be personal: `Debug` ends up in logs.
impl fmt::Debug for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Principal")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A claim's value as the contract writes it: text as it is, anything else as JSON.
pub(super) fn claim_text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        value => value.to_string(),
    }
}
