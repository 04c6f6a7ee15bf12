//! What a plugin is given.

use super::*;

#[test]
fn grants_name_targets_that_exist() {
    let target = "[upstreams.stock]\nurl = \"http://127.0.0.1:1\"\n";
    let config = loads(&format!("{target}{PLUGIN}grants = [\"upstream:stock\"]\n"));
    assert_eq!(config.plugins["order"].grants, ["upstream:stock"]);
    assert_eq!(
        refused(&format!("{target}{PLUGIN}grants = [\"upstream:stok\"]\n")),
        [
            "mortise.toml:5:1: plugins.order.grants: \"upstream:stok\" is granted, and there is no such target\n  \
          hint: add [upstreams.stok] with its url"
        ]
    );
    assert_eq!(
        refused(&format!("{PLUGIN}grants = [\"upstream:Stock\", \"stock\", 3]\n")).len(),
        3
    );
}

#[test]
fn what_cannot_be_granted_is_refused() {
    let errors = refused(&format!("{PLUGIN}grants = [\"secret:billing\"]\n"));
    assert!(
        errors[0].starts_with("mortise.toml:3:11: plugins.order.grants: there is no grant"),
        "{errors:?}"
    );
}

#[test]
fn a_plugin_file_that_is_not_there_is_refused() {
    let errors = refused("[plugins.order]\nfile = \"oder.wasm\"\n");
    let expected = "mortise.toml:2:1: plugins.order.file: cannot read oder.wasm: No such file or directory";
    assert!(errors[0].starts_with(expected), "{errors:?}");
    assert!(refused("[plugins.order]\nfile = \".\"\n")[0].contains("is not a file"));
}

#[test]
fn two_plugins_may_share_a_file() {
    let config = loads(&format!("{PLUGIN}[plugins.order-2]\nfile = \"order.wasm\"\n"));
    assert_eq!(config.plugins["order"].file, config.plugins["order-2"].file);
}

#[test]
fn paths_are_relative_to_the_file_that_names_them() {
    let folder = folder(&with_plugin("[server]\ndata = \"data\"\n"));
    let path = folder.path().join("mortise.toml");
    let config = Config::load(Some(&path), &Overrides::default()).expect("it is right");
    assert_eq!(config.plugins["order"].file, folder.path().join("order.wasm"));
    assert_eq!(config.server.data, folder.path().join("data"));
    assert_eq!(
        config.events_file(),
        Some(folder.path().join("data/events.jsonl"))
    );
}

#[test]
fn plugin_values_keep_their_form() {
    let config = loads(&format!(
        "{PLUGIN}[plugins.order.config]\nregion = \"eu\"\nlimit = 1_000\nmask = 0xff\nratio = 0.50\n\
         on = true\ntags = [\"a\", 1]\nnested = {{ b = 2.5, a = [] }}\nsince = 2026-01-02\n"
    ));
    let values = &config.plugins["order"].config;
    let read = |key: &str| (values[key].kind(), values[key].as_str());
    assert_eq!(read("region"), (ValueKind::Text, "eu"));
    assert_eq!(read("limit"), (ValueKind::Integer, "1000"));
    assert_eq!(read("mask"), (ValueKind::Integer, "255"));
    assert_eq!(read("ratio"), (ValueKind::Float, "0.50"));
    assert_eq!(read("on"), (ValueKind::Boolean, "true"));
    assert_eq!(read("tags"), (ValueKind::Array, "[\"a\",1]"));
    assert_eq!(read("nested"), (ValueKind::Table, "{\"a\":[],\"b\":2.5}"));
    assert_eq!(read("since"), (ValueKind::Text, "2026-01-02"));
}

#[test]
fn plugin_values_are_never_shown() {
    let secret = "hunter2";
    let config = loads(&format!("{PLUGIN}[plugins.order.config]\ntoken = \"{secret}\"\n"));
    assert!(!format!("{config:?}").contains(secret));
    for text in [
        "token = \"hunter2",
        "token = hunter2",
        "token = [\"hunter2\", nan]",
    ] {
        let errors = refused(&format!("{PLUGIN}[plugins.order.config]\n{text}\n"));
        assert!(!errors.join("\n").contains(secret), "{errors:?}");
    }
}

#[test]
fn plugin_values_come_from_files_and_the_environment() {
    let folder = folder(&format!(
        "{PLUGIN}[plugins.order.config]\ntoken = {{ file = \"token\" }}\nhome = {{ env = \"PATH\" }}\n\
         both = {{ env = \"PATH\", file = \"token\" }}\n[plugins.order.config.limit]\nfile = \"limit\"\n"
    ));
    for (name, text) in [("token", "hunter2\n"), ("limit", "17\r\n")] {
        std::fs::write(folder.path().join(name), text).expect("it can be written");
    }
    let path = folder.path().join("mortise.toml");
    let config = Config::load(Some(&path), &Overrides::default()).expect("it is right");
    let values = &config.plugins["order"].config;
    assert_eq!(values["token"].as_str(), "hunter2");
    assert_eq!(values["limit"].as_str(), "17");
    assert_eq!(
        values["home"].as_str(),
        std::env::var("PATH").expect("tests have a path")
    );
    assert_eq!(values["both"].kind(), ValueKind::Table);
    assert!(!format!("{config:?}").contains("hunter2"));
}

#[test]
fn plugin_values_that_are_not_where_they_should_be_are_refused() {
    let folder = folder(&format!(
        "{PLUGIN}[plugins.order.config]\na = {{ file = \"none\" }}\nb = {{ file = \"large\" }}\n\
         c = {{ file = \"binary\" }}\nd = {{ file = \"empty\" }}\ne = {{ file = 3 }}\n\
         f = {{ env = \"MORTISE_NOT_SET\" }}\ng = {{ env = \"A=B\" }}\n"
    ));
    let large = vec![b'x'; (64 << 10) + 1];
    for (name, bytes) in [
        ("large", &large[..]),
        ("binary", b"hunter2\xff"),
        ("empty", b"\n"),
    ] {
        std::fs::write(folder.path().join(name), bytes).expect("it can be written");
    }
    let path = folder.path().join("mortise.toml");
    let errors = Config::load(Some(&path), &Overrides::default()).expect_err("this must be refused");
    let prefix = format!("{}/", folder.path().display());
    assert_eq!(
        errors
            .to_string()
            .replace(&prefix, "")
            .lines()
            .collect::<Vec<_>>(),
        [
            "mortise.toml:4:5: plugins.order.config.a: cannot read none: No such file or directory (os error 2)",
            "  hint: a relative path is relative to the folder of the configuration file",
            "mortise.toml:5:5: plugins.order.config.b: cannot read large: it is larger than 65536 bytes",
            "mortise.toml:6:5: plugins.order.config.c: cannot read binary: it is not UTF-8",
            "mortise.toml:7:5: plugins.order.config.d: what it refers to is empty",
            "  hint: write \"\" if it is to be empty",
            "mortise.toml:8:14: plugins.order.config.e: expected a string, found an integer",
            "mortise.toml:9:5: plugins.order.config.f: the environment variable MORTISE_NOT_SET is not set",
            "mortise.toml:10:5: plugins.order.config.g: \"A=B\" cannot be the name of an environment variable",
        ]
    );
}

#[test]
fn later_errors_find_the_line_of_a_plugin_value() {
    let config = loads(&format!("{PLUGIN}[plugins.order.config]\n\nregoin = \"eu\"\n"));
    let place = |key| {
        config
            .error(key, "x")
            .location
            .map(|location| (location.line, location.column))
    };
    assert_eq!(place("plugins.order.config.regoin"), Some((5, 1)));
    // A key the file does not set leads to its section.
    assert_eq!(place("plugins.order.config.region"), Some((3, 16)));
    assert_eq!(place("plugins.order.isolation"), Some((1, 10)));
    assert_eq!(place("server.listen"), None);
}

#[test]
fn plugin_names_are_safe_everywhere() {
    for good in ["a", "order", "order-2", &"a".repeat(63)] {
        assert!(good.parse::<PluginName>().is_ok(), "{good}");
    }
    for bad in [
        "",
        "Order",
        "2order",
        "-a",
        "a_b",
        "a.b",
        "a/b",
        "é",
        &"a".repeat(64),
    ] {
        assert!(bad.parse::<PluginName>().is_err(), "{bad}");
    }
}

#[test]
fn subscriptions_are_checked() {
    let config = loads(&with_plugin(
        "[subscriptions.tally]\ntopics = [\"order.*\"]\nplugin = \"order\"\nmethod = \"a.B/C\"\ntimeout_ms = 5",
    ));
    let tally = &config.subscriptions["tally"];
    assert_eq!(
        (tally.max_attempts, tally.timeout),
        (10, Duration::from_millis(5))
    );
    let errors = refused(&with_plugin(
        "[subscriptions.a]\n\
         [subscriptions.b]\ntopics = [\"a b\"]\nplugin = \"ordr\"\nmethod = \"a.B\"\n\
         [subscriptions.c]\ntopics = []\nplugin = \"order\"\nmethod = \"a.B/C\"\nmax_attempts = 0",
    ));
    let expected = [
        "subscriptions.b.topics: \"a b\" is no topic",
        "subscriptions.c.topics: the list is empty",
        "subscriptions.c.max_attempts: 0 is out of range",
        "subscriptions.a.topics: must be set",
        "subscriptions.a.plugin: must be set",
        "subscriptions.a.method: must be set",
        "subscriptions.b.plugin: there is no plugin \"ordr\"",
        "subscriptions.b.method: \"a.B\" is not the name of a method",
    ];
    assert_eq!(errors.len(), expected.len(), "{errors:#?}");
    for expected in expected {
        let found = errors.iter().any(|error| error.contains(expected));
        assert!(found, "no {expected} in {errors:#?}");
    }
}
