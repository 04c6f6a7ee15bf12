//! `--timeout` of the commands that make calls: a duration that `grpc-timeout` can carry.

use std::time::Duration;

/// `grpc-timeout` has at most 8 digits, and hours are its largest unit (gRPC over HTTP/2, "Timeout").
const MAX_TIMEOUT: Duration = Duration::from_secs(99_999_999 * 3600);

/// Reads durations such as `500ms`, `2s` or `1m 30s`.
pub(super) fn parse(text: &str) -> Result<Duration, String> {
    let timeout = humantime::parse_duration(text).map_err(|error| format!("{error}; try 500ms, 2s or 1m"))?;
    if timeout > MAX_TIMEOUT {
        return Err("longer than a call can say: at most 99999999h".into());
    }
    Ok(timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_call_can_say_is_taken() {
        for (text, milliseconds) in [("500ms", 500), ("2s", 2000), ("1m 30s", 90_000), ("0s", 0)] {
            assert_eq!(parse(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
        assert_eq!(parse("99999999h"), Ok(MAX_TIMEOUT));
    }

    #[test]
    fn the_rest_is_refused_with_a_reason() {
        for text in [
            "",
            "5",
            "s",
            "-1s",
            "1 fortnight",
            "99999999999999999999h",
            "100000000h",
        ] {
            let refused = parse(text).expect_err(text);
            assert!(
                refused.contains("try 500ms") || refused.contains("at most"),
                "{refused}"
            );
        }
    }
}
