//! Whole numbers with a unit and a range.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Description, Refusal, Setting};

pub(in crate::config) const KIB: u64 = 1 << 10;
pub(in crate::config) const MIB: u64 = 1 << 20;
pub(in crate::config) const GIB: u64 = 1 << 30;
pub(in crate::config) const TIB: u64 = 1 << 40;

/// A whole number with a unit, converted to the type the host works with.
pub(in crate::config) struct Integer<T> {
    unit: &'static str,
    default: u64,
    min: u64,
    max: u64,
    convert: fn(u64) -> T,
}

fn saturating_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// A size held in memory.
pub(in crate::config) const fn bytes(default: u64, min: u64, max: u64) -> Integer<usize> {
    Integer {
        unit: "bytes",
        default,
        min,
        max,
        convert: saturating_usize,
    }
}

/// A size that may exceed the address space, such as a file's.
pub(in crate::config) const fn long_bytes(default: u64, min: u64, max: u64) -> Integer<u64> {
    Integer {
        unit: "bytes",
        default,
        min,
        max,
        convert: |number| number,
    }
}

pub(in crate::config) const fn count(default: u64, min: u64, max: u64) -> Integer<usize> {
    Integer {
        unit: "",
        default,
        min,
        max,
        convert: saturating_usize,
    }
}

/// A number of things that are not held in memory.
pub(in crate::config) const fn long_count(default: u64, min: u64, max: u64) -> Integer<u64> {
    Integer {
        unit: "",
        default,
        min,
        max,
        convert: |number| number,
    }
}

/// A number that a protocol holds in 32 bits.
pub(in crate::config) const fn count_u32(default: u32, min: u32, max: u32) -> Integer<u32> {
    Integer {
        unit: "",
        default: default as u64,
        min: min as u64,
        max: max as u64,
        convert: |number| u32::try_from(number).unwrap_or(u32::MAX),
    }
}

pub(in crate::config) const fn millis(default: u64, min: u64, max: u64) -> Integer<Duration> {
    Integer {
        unit: "milliseconds",
        default,
        min,
        max,
        convert: Duration::from_millis,
    }
}

pub(in crate::config) const fn seconds(default: u64, min: u64, max: u64) -> Integer<Duration> {
    Integer {
        unit: "seconds",
        default,
        min,
        max,
        convert: Duration::from_secs,
    }
}

impl<T> Integer<T> {
    /// `10485760 bytes (10 MiB)`
    fn show(&self, number: u64) -> String {
        let scale = match self.unit {
            "bytes" => [("TiB", TIB), ("GiB", GIB), ("MiB", MIB), ("KiB", KIB)]
                .into_iter()
                .find(|(_, size)| number >= *size && number.is_multiple_of(*size))
                .map(|(name, size)| format!(" ({} {name})", number / size)),
            "milliseconds" if number >= 1000 && number.is_multiple_of(1000) => Some(format!(
                " ({})",
                humantime::format_duration(Duration::from_millis(number))
            )),
            _ => None,
        };
        format!("{number}{}", scale.unwrap_or_default())
    }

    fn allowed(&self) -> String {
        let unit = if self.unit.is_empty() {
            String::new()
        } else {
            format!(" {}", self.unit)
        };
        format!("{} to {}{unit}", self.show(self.min), self.show(self.max))
    }
}

impl<T> Setting for Integer<T> {
    type Value = T;

    fn default(&self) -> T {
        (self.convert)(self.default)
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<T, Vec<Refusal>> {
        let DeValue::Integer(integer) = value.get_ref() else {
            let unit = if self.unit.is_empty() {
                String::new()
            } else {
                format!(" of {}", self.unit)
            };
            let refusal = Refusal::wrong_type(&format!("a whole number{unit}"), value.get_ref());
            return Err(vec![refusal.hint(format!("allowed: {}", self.allowed()))]);
        };
        u64::from_str_radix(integer.as_str(), integer.radix())
            .ok()
            .filter(|number| (self.min..=self.max).contains(number))
            .map(self.convert)
            .ok_or_else(|| {
                let refusal = Refusal::new(format!("{integer} is out of range"));
                vec![refusal.hint(format!("allowed: {}", self.allowed()))]
            })
    }

    fn describe(&self) -> Description {
        Description {
            kind: if self.unit.is_empty() {
                "integer".into()
            } else {
                format!("integer, {}", self.unit)
            },
            default: self.show(self.default),
            allowed: self.allowed(),
            schema: json!({
                "type": "integer", "minimum": self.min, "maximum": self.max, "default": self.default,
            }),
        }
    }
}
