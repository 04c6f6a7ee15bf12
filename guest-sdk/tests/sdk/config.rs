use std::time::Duration;

use mortise_guest::testing::{Host, LogLevel};
use mortise_guest::{Code, Config, ConfigKind, ConfigValue, Rate};

use crate::{fail, ok};

#[derive(Debug, PartialEq, Config)]
struct Settings {
    /// Region reported in the `region` metadata.
    ///
    /// More about it, which the operator is spared.
    region: Option<String>,
    /// Calls with less time left than this,
    /// in milliseconds, are refused.
    #[config(default = 500)]
    min_remaining_ms: u64,
    /// Whether to trust the `user-id` metadata.
    #[config(default = false)]
    trust_user_id: bool,
    /// Share of calls that are traced.
    #[config(default = 0.5)]
    share: f64,
    /// Calls of one client.
    #[config(default = "10/1s")]
    rate: Rate,
    /// Lowest balance.
    #[config(default = -5)]
    r#type: i8,
    /// Paper size.
    #[config(default = "a4")]
    paper: Paper,
}

#[derive(Debug, PartialEq)]
enum Paper {
    A4,
    Letter,
}

impl ConfigValue for Paper {
    const KIND: ConfigKind = ConfigKind::Text;

    fn parse(text: &str) -> Result<Paper, String> {
        match text {
            "a4" => Ok(Paper::A4),
            "letter" => Ok(Paper::Letter),
            _ => Err("expected a4 or letter".to_owned()),
        }
    }
}

fn load(host: &mut Host) -> Settings {
    ok(host, |call| Settings::load(call))
}

#[test]
fn defaults_hold_where_the_operator_says_nothing() {
    let settings = Settings {
        region: None,
        min_remaining_ms: 500,
        trust_user_id: false,
        share: 0.5,
        rate: Rate::per_second(10),
        r#type: -5,
        paper: Paper::A4,
    };
    assert_eq!(load(&mut Host::new()), settings);
}

#[test]
fn the_operators_values_are_read() {
    let mut host = Host::new()
        .config("region", "eu")
        .config("min_remaining_ms", 0)
        .config("trust_user_id", true)
        .config("share", 1)
        .config("rate", "3/m")
        .config("type", "7")
        .config("paper", "letter");
    let settings = Settings {
        region: Some("eu".to_owned()),
        min_remaining_ms: 0,
        trust_user_id: true,
        share: 1.0,
        rate: Rate::new(3, 3, Duration::from_secs(60)),
        r#type: 7,
        paper: Paper::Letter,
    };
    assert_eq!(load(&mut host), settings);
}

#[test]
fn keys_are_declared_for_the_operator() {
    let keys: Vec<_> = Settings::KEYS
        .iter()
        .map(|key| (key.name, key.kind, key.doc, key.default))
        .collect();
    assert_eq!(
        keys,
        [
            (
                "region",
                ConfigKind::Text,
                "Region reported in the `region` metadata.",
                None
            ),
            (
                "min_remaining_ms",
                ConfigKind::Integer,
                "Calls with less time left than this, in milliseconds, are refused.",
                Some("500")
            ),
            (
                "trust_user_id",
                ConfigKind::Boolean,
                "Whether to trust the `user-id` metadata.",
                Some("false")
            ),
            (
                "share",
                ConfigKind::Number,
                "Share of calls that are traced.",
                Some("0.5")
            ),
            ("rate", ConfigKind::Text, "Calls of one client.", Some("10/1s")),
            ("type", ConfigKind::Integer, "Lowest balance.", Some("-5")),
            ("paper", ConfigKind::Text, "Paper size.", Some("a4")),
        ]
    );
}

#[test]
fn a_value_that_does_not_parse_is_told_to_the_operator_alone() {
    for (key, value, cause) in [
        (
            "min_remaining_ms",
            "soon",
            "`min_remaining_ms`: expected a whole number from 0 to",
        ),
        ("type", "300", "`type`: expected a whole number from -128 to 127"),
        ("trust_user_id", "yes", "`trust_user_id`: expected true or false"),
        ("share", "half", "`share`: expected a number"),
        ("rate", "10", "`rate`: a rate is written TOKENS/PERIOD"),
        ("paper", "a5", "`paper`: expected a4 or letter"),
    ] {
        let mut host = Host::new().config(key, value);
        let status = fail(&mut host, |call| Settings::load(call));
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "Plugin is not configured correctly");
        let line = &host.logs()[0];
        assert_eq!(line.level, LogLevel::Error);
        assert!(
            line.field("cause").is_some_and(|text| text.contains(cause)),
            "{line:?}"
        );
    }
}

#[test]
fn single_keys_can_be_read_too() {
    let mut host = Host::new().config("size", 7);
    ok(&mut host, |call| {
        assert_eq!(call.config::<u8>("size")?, Some(7));
        assert_eq!(call.config::<String>("absent")?, None);
        Ok(())
    });
}
