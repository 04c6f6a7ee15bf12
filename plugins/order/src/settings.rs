//! The operator's values: `[plugins.NAME.config]`.

use mortise_guest::{Config, ConfigKind, ConfigValue, Rate};

use crate::domain::money;

/// What the operator can set.
#[derive(Debug, Config)]
pub struct Settings {
    /// Region that answers report in the `region` metadata; not reported if unset.
    pub region: Option<String>,
    /// ISO 4217 code of the currency of orders that name none.
    #[config(default = "USD")]
    pub currency: Currency,
    /// Calls with less time left than this, in milliseconds, are refused as they begin.
    #[config(default = 500)]
    pub min_remaining_ms: u64,
    /// Calls that one client address may make, such as `10/1s`; unlimited if unset.
    pub rate_limit: Option<Rate>,
    /// Whether the `user-id` metadata, which any client can set to anything, names callers that the host has
    /// not authenticated.
    #[config(default = false)]
    pub trust_user_id: bool,
    /// Seconds in which an order must be paid, or it is cancelled; orders wait for ever if unset.
    pub pay_within_s: Option<u64>,
    /// Whether calls without an identity are refused.
    #[config(default = false)]
    pub require_identity: bool,
}

/// A currency that orders can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Currency(pub String);

impl ConfigValue for Currency {
    const KIND: ConfigKind = ConfigKind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        if money::is_currency(text) {
            Ok(Self(text.to_owned()))
        } else {
            Err("expected an upper-case ISO 4217 code, such as EUR".to_owned())
        }
    }
}
