//! Rates, as plugins read them too.

use std::path::Path;
use std::time::Duration;

use serde_json::json;
use toml::Spanned;
use toml::de::DeValue;

use super::{Description, Refusal, Setting};
use crate::capability::limits::Rate;

/// `TOKENS/PERIOD`. It has no default of its own.
pub(in crate::config) struct RateText;

impl Setting for RateText {
    type Value = Rate;

    fn default(&self) -> Rate {
        Rate::new(1, 1, Duration::from_secs(1)).expect("none of them is zero")
    }

    fn parse(&self, value: &Spanned<DeValue<'_>>, _folder: &Path) -> Result<Rate, Vec<Refusal>> {
        let DeValue::String(text) = value.get_ref() else {
            return Err(vec![Refusal::wrong_type("a rate in quotes", value.get_ref())]);
        };
        parse(text).ok_or_else(|| {
            let refusal = Refusal::new(format!("{text:?} is not a rate"));
            vec![
                refusal.hint(
                    "write TOKENS/PERIOD, such as \"10/1s\", \"100/1m\" or \"5/500ms\", up to 366 days",
                ),
            ]
        })
    }

    fn describe(&self) -> Description {
        Description {
            kind: "string, rate".into(),
            default: "none".into(),
            allowed: "`TOKENS/PERIOD`, such as `10/1s`".into(),
            schema: json!({ "type": "string", "pattern": "^[0-9]+/[0-9]*(ms|s|m|h)$" }),
        }
    }
}

fn parse(text: &str) -> Option<Rate> {
    let (tokens, period) = text.split_once('/')?;
    let tokens: u32 = tokens.parse().ok()?;
    let (count, unit) = period.split_at(period.find(|c: char| !c.is_ascii_digit())?);
    let count: u64 = if count.is_empty() { 1 } else { count.parse().ok()? };
    let unit_ms = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    let period = Duration::from_millis(count.checked_mul(unit_ms)?);
    Rate::new(tokens, tokens, period).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_read() {
        let rate = |tokens, ms| Rate::new(tokens, tokens, Duration::from_millis(ms)).ok();
        assert_eq!(parse("10/1s"), rate(10, 1000));
        assert_eq!(parse("100/m"), rate(100, 60_000));
        assert_eq!(parse("5/500ms"), rate(5, 500));
        assert_eq!(parse("1/24h"), rate(1, 86_400_000));
        for wrong in [
            "",
            "10",
            "/s",
            "0/1s",
            "1/0s",
            "1/1d",
            "-1/1s",
            "1/1 s",
            "1/10000h",
            "1/99999999999999999999s",
        ] {
            assert_eq!(parse(wrong), None, "{wrong}");
        }
    }
}
