//! The operator's values for this plugin: `[plugins.NAME.config]` in the host's configuration.

use std::fmt;

use crate::limits::Rate;
use crate::{ReadCall, Status, host};

/// Settings that the operator can give; derive it with [`#[derive(Config)]`](macro@crate::Config).
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say how its settings are read",
    label = "needs `#[derive(mortise_guest::Config)]`"
)]
pub trait Config: Sized {
    /// The keys, for the plugin's description. The host refuses keys that are not declared.
    const KEYS: &'static [ConfigKey];

    /// Reads the operator's values, with the defaults for those not set.
    ///
    /// # Errors
    /// [`Internal`](crate::Code::Internal), `Plugin is not configured correctly`, when a value does not
    /// parse; the operator's log says which and why.
    fn load(call: &ReadCall) -> Result<Self, Status>;
}

/// A plugin without settings.
impl Config for () {
    const KEYS: &'static [ConfigKey] = &[];

    fn load(_: &ReadCall) -> Result<Self, Status> {
        Ok(())
    }
}

/// A configuration key as the plugin's description declares it.
#[derive(Clone, Copy, Debug)]
pub struct ConfigKey {
    /// Its name.
    pub name: &'static str,
    /// What values it takes.
    pub kind: ConfigKind,
    /// One sentence for the operator.
    pub doc: &'static str,
    /// What holds when the operator sets nothing.
    pub default: Option<&'static str>,
}

/// What values a configuration key takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// `true` or `false`.
    Boolean,
}

/// A type that a configuration value can have.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be a configuration value",
    label = "not a configuration value",
    note = "use `String`, `bool`, an integer, a float, `mortise_guest::Rate`, or an `Option` of one of them",
    note = "for a type of your own implement `mortise_guest::ConfigValue`"
)]
pub trait ConfigValue: Sized {
    /// What the host checks the operator's value against.
    const KIND: ConfigKind;

    /// Reads the operator's value: a string as it is, a number or boolean in its TOML form.
    ///
    /// # Errors
    /// A sentence part for the operator on what is expected, such as `expected a whole number`.
    fn parse(text: &str) -> Result<Self, String>;
}

macro_rules! parsed {
    ($kind:ident, $expected:literal: $($type:ty)*) => {
        $(
            impl ConfigValue for $type {
                const KIND: ConfigKind = ConfigKind::$kind;

                fn parse(text: &str) -> Result<Self, String> {
                    text.parse().map_err(|_| {
                        let bounds = (<$type>::MIN, <$type>::MAX);
                        format!(concat!("expected ", $expected, " from {} to {}"), bounds.0, bounds.1)
                    })
                }
            }
        )*
    };
}

parsed!(Integer, "a whole number": u8 u16 u32 u64 i8 i16 i32 i64);
parsed!(Number, "a number": f32 f64);

impl ConfigValue for bool {
    const KIND: ConfigKind = ConfigKind::Boolean;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse().map_err(|_| "expected true or false".to_owned())
    }
}

impl ConfigValue for String {
    const KIND: ConfigKind = ConfigKind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }
}

impl ConfigValue for Rate {
    const KIND: ConfigKind = ConfigKind::Text;

    fn parse(text: &str) -> Result<Self, String> {
        text.parse()
            .map_err(|error: crate::limits::RateError| error.to_string())
    }
}

/// The operator's value of `key`.
///
/// # Errors
/// As [`Config::load`].
pub fn get<T: ConfigValue>(key: &str) -> Result<Option<T>, Status> {
    host::config::get(key).map(|text| parse(key, &text)).transpose()
}

/// Reads a value, whether the operator's or a default.
///
/// # Errors
/// As [`Config::load`].
pub fn parse<T: ConfigValue>(key: &str, text: &str) -> Result<T, Status> {
    T::parse(text).map_err(|expected| {
        let cause = Invalid {
            key: key.to_owned(),
            expected,
        };
        Status::internal("Plugin is not configured correctly").with_cause(cause)
    })
}

#[derive(Debug)]
struct Invalid {
    key: String,
    expected: String,
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The value stays out of the log: it may be a secret in the wrong place.
        write!(f, "configuration key `{}`: {}", self.key, self.expected)
    }
}

impl std::error::Error for Invalid {}
