//! Whose call it is, and whose an order.

use mortise_guest::{ReadCall, Status};

use crate::settings::Settings;

/// Bytes of a name. Identities are parts of stored keys.
const MAX_BYTES: usize = 256;

/// Who makes a call or owns an order.
///
/// What the host verified and what a client merely says never meet: `ann` in the `user-id` metadata is not
/// the principal `ann`, even where the operator allows both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity(String);

impl Identity {
    /// Nobody. Its orders are everybody's.
    pub const ANONYMOUS: Self = Self(String::new());

    /// The caller's identity, as far as the operator lets it be known.
    pub fn of(call: &ReadCall, settings: &Settings) -> Result<Self, Status> {
        let (kind, name) = if let Some(principal) = call.principal() {
            ("principal", principal.id)
        } else if let Some(user) = user_id(call, settings) {
            ("user", user)
        } else if settings.require_identity {
            return Err(Status::unauthenticated("This service requires an identity"));
        } else {
            return Ok(Self::ANONYMOUS);
        };
        if name.len() > MAX_BYTES {
            return Err(Status::invalid_argument(format!(
                "The caller's identity exceeds {MAX_BYTES} bytes"
            )));
        }
        Ok(Self(format!("{kind}:{name}")))
    }

    /// The identity that [`as_str`](Self::as_str) gave.
    pub fn stored(text: String) -> Self {
        Self(text)
    }

    /// A name that no other identity has; empty for nobody.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether this identity may see and change the orders of `owner`.
    pub fn may_access(&self, owner: &Self) -> bool {
        *owner == Self::ANONYMOUS || owner == self
    }
}

fn user_id(call: &ReadCall, settings: &Settings) -> Option<String> {
    if !settings.trust_user_id {
        return None;
    }
    call.metadata().get("user-id").filter(|user| !user.is_empty())
}
