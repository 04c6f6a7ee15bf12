//! Mistakes as operators make them, and what they are told.

use std::path::Path;
use std::time::Duration;

use super::*;
use crate::server::Encoding;

/// A folder with `mortise.toml` of `text`, and an empty `order.wasm`.
fn folder(text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    std::fs::write(folder.path().join("mortise.toml"), text).expect("it can be written");
    std::fs::write(folder.path().join("order.wasm"), "").expect("it can be written");
    folder
}

fn load(text: &str) -> Result<Config, ConfigErrors> {
    Config::load(
        Some(&folder(text).path().join("mortise.toml")),
        &Overrides::default(),
    )
}

fn loads(text: &str) -> Config {
    load(text).unwrap_or_else(|errors| panic!("refused:\n{errors}"))
}

/// The errors as the user reads them, without the folder.
fn refused(text: &str) -> Vec<String> {
    let folder = folder(text);
    let path = folder.path().join("mortise.toml");
    let errors = Config::load(Some(&path), &Overrides::default()).expect_err("this must be refused");
    let prefix = format!("{}/", folder.path().display());
    errors
        .iter()
        .map(|error| error.to_string().replace(&prefix, ""))
        .collect()
}

const PLUGIN: &str = "[plugins.order]\nfile = \"order.wasm\"\n";

fn with_plugin(text: &str) -> String {
    format!("{text}\n{PLUGIN}")
}

#[test]
fn a_file_with_one_plugin_gets_every_default() {
    let config = loads(PLUGIN);
    assert_eq!(config.server.listen.to_string(), "[::]:50051");
    assert_eq!(config.server.data, Path::new("mortise-data"));
    assert_eq!(config.server.max_request_bytes, 10 << 20);
    assert_eq!(config.server.max_response_bytes, 10 << 20);
    assert_eq!(config.server.keepalive_interval, Duration::from_secs(30));
    assert_eq!(config.server.max_deadline, None);
    assert_eq!(config.plugins["order"].isolation, Isolation::Call);
    assert_eq!(
        config.events_file().as_deref(),
        Some(Path::new("mortise-data/events.jsonl"))
    );
    assert_eq!(
        config.cache_dir().as_deref(),
        Some(Path::new("mortise-data/cache"))
    );
}

#[test]
fn values_arrive_in_the_types_the_host_works_with() {
    let config = loads(&with_plugin(
        "[server]\nlisten = \"127.0.0.1:8080\"\nmax_request_bytes = 1_048_576\ndrain_timeout_ms = 250\n\
         max_deadline_ms = 60000\n[log]\nformat = \"json\"\nfilter = \"info,mortise=debug\"\n\
         [cache]\nenabled = false\n[events]\njournal = false\n",
    ));
    assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    assert_eq!(config.server.max_request_bytes, 1 << 20);
    assert_eq!(config.server.drain_timeout, Duration::from_millis(250));
    assert_eq!(config.server.max_deadline, Some(Duration::from_secs(60)));
    assert_eq!(config.log.format, LogFormat::Json);
    assert_eq!(config.cache_dir(), None);
    assert_eq!(config.events_file(), None);
}

#[test]
fn every_mistake_is_reported_at_once_with_its_place() {
    let errors = refused(
        "[server]\n\
         listen = \"localhost\"\n\
         max_reqest_bytes = 10\n\
         max_connections = 0\n\
         reflection = \"yes\"\n\
         [plugins.Order]\n\
         file = \"order.wasm\"\n\
         isolation = \"reus\"\n\
         [plugins.bill]\n\
         memory = 5\n\
         [sever]\n",
    );
    assert_eq!(
        errors,
        [
            "mortise.toml:2:10: server.listen: \"localhost\" is not an IP address with a port\n  \
             hint: for instance \"127.0.0.1:50051\", or \"[::]:50051\" for every interface",
            "mortise.toml:3:1: server.max_reqest_bytes: unknown key\n  \
             hint: did you mean `max_request_bytes`?",
            "mortise.toml:4:19: server.max_connections: 0 is out of range\n  hint: allowed: 1 to 1000000",
            "mortise.toml:5:14: server.reflection: expected true or false, found a string",
            "mortise.toml:6:10: plugins.Order: a name is 1 to 63 characters of a-z, 0-9 and -, beginning with \
             a letter",
            "mortise.toml:8:13: plugins.Order.isolation: \"reus\" is none of \"call\", \"reuse\"\n  \
             hint: did you mean \"reuse\"?",
            "mortise.toml:9:10: plugins.bill.file: must be set: the path of the plugin's .wasm file",
            "mortise.toml:10:1: plugins.bill.memory: unknown key\n  \
             hint: did you mean `max_memory_bytes`?",
            "mortise.toml:11:2: sever: unknown key\n  hint: did you mean `server`?",
        ]
    );
}

#[test]
fn each_wrong_part_of_a_list_is_pointed_at() {
    let errors = refused(&format!(
        "[server]\n\
         compression = [\"gzip\", \"gzipped\", 7, \"gzip\"]\n\
         grpc_web_origins = [\"https://shop.example\", \"shop.example\", \"https://shop.example/\"]\n{PLUGIN}"
    ));
    let allowed = "one of \"zstd\", \"gzip\", \"deflate\"";
    let origin = "is not an origin\n  \
                  hint: write SCHEME://HOST or SCHEME://HOST:PORT in lower case, or \"*\" for every page";
    assert_eq!(
        errors,
        [
            "mortise.toml:2:24: server.compression: \"gzipped\" is none of \"zstd\", \"gzip\", \"deflate\"\n  \
             hint: did you mean \"gzip\"?"
                .to_owned(),
            format!("mortise.toml:2:35: server.compression: expected {allowed}, found an integer"),
            "mortise.toml:2:38: server.compression: \"gzip\" is there twice".to_owned(),
            format!("mortise.toml:3:45: server.grpc_web_origins: \"shop.example\" {origin}"),
            format!("mortise.toml:3:61: server.grpc_web_origins: \"https://shop.example/\" {origin}"),
        ]
    );
}

#[test]
fn lists_are_read_in_their_order() {
    let config = loads(&format!(
        "[server]\n\
         compression = [\"deflate\", \"zstd\"]\n\
         grpc_web_origins = [\"https://a.example\", \"http://localhost:8080\", \"*\"]\n{PLUGIN}"
    ));
    assert_eq!(config.server.compression, [Encoding::Deflate, Encoding::Zstd]);
    assert_eq!(config.server.grpc_web_origins.len(), 3);
    assert_eq!(Config::default().server.compression, Encoding::ALL);
}

#[test]
fn a_key_in_the_wrong_section_is_sent_home() {
    let errors = refused(&format!("listen = \"[::1]:1\"\n{PLUGIN}drain_delay_ms = 1\n"));
    assert!(
        errors[0].contains("hint: `listen` is a key of [server]"),
        "{errors:?}"
    );
    assert!(
        errors[1].contains("hint: `drain_delay_ms` is a key of [server]"),
        "{errors:?}"
    );
}

#[test]
fn broken_toml_is_located_and_hides_no_other_mistake() {
    let errors =
        refused("[server]\nlisten = \nmax_connections = 0\n[plugins.order]\nfile = \"order.wasm\"\n");
    assert!(errors[0].starts_with("mortise.toml:2:"), "{errors:?}");
    assert!(errors[0].contains("not valid TOML"), "{errors:?}");
    assert!(
        errors[1].starts_with("mortise.toml:3:19: server.max_connections"),
        "{errors:?}"
    );
    assert_eq!(errors.len(), 2, "{errors:?}");
}

#[test]
fn nothing_is_called_missing_from_a_file_that_broke_off() {
    let errors = refused("[plugins.order\nfile = \"order.wasm\"\n");
    assert!(
        errors.iter().all(|error| !error.contains("must be set")),
        "{errors:?}"
    );
    assert!(
        errors.iter().all(|error| !error.contains("nothing to serve")),
        "{errors:?}"
    );
}

#[test]
fn a_key_set_twice_is_refused() {
    let errors = refused(&with_plugin("[server]\nreflection = true\nreflection = false\n"));
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(
        errors[0].starts_with("mortise.toml:3:1: not valid TOML: duplicate key"),
        "{errors:?}"
    );
}

#[test]
fn a_section_that_is_no_table_is_refused() {
    let errors = refused(&format!("server = 5\n{PLUGIN}"));
    let expected = "mortise.toml:1:10: server: expected a table, found a value of type integer";
    assert!(errors[0].starts_with(expected), "{errors:?}");
}

#[test]
fn numbers_out_of_range_say_what_is_allowed() {
    for number in ["-1", "1_000_000_000_000", "99999999999999999999999999"] {
        let errors = refused(&with_plugin(&format!("[server]\nmax_request_bytes = {number}\n")));
        assert!(errors[0].contains("is out of range"), "{errors:?}");
        assert!(
            errors[0].contains("allowed: 1 to 1073741824 (1 GiB) bytes"),
            "{errors:?}"
        );
    }
    let errors = refused(&with_plugin("[server]\nmax_request_bytes = \"10MiB\"\n"));
    assert!(
        errors[0].contains("expected a whole number of bytes, found a string"),
        "{errors:?}"
    );
}

#[test]
fn values_that_do_not_agree_are_refused() {
    let errors = refused(
        "[server]\ndefault_deadline_ms = 2000\nmax_deadline_ms = 1000\nmax_concurrent_calls = 10\n\
         [store]\nmax_value_bytes = 2000000\nmax_transaction_bytes = 1000000\n\
         [plugins.order]\nfile = \"order.wasm\"\nmax_concurrent_calls = 11\n",
    );
    assert!(
        errors[0].starts_with("mortise.toml:2:1: server.default_deadline_ms: is longer"),
        "{errors:?}"
    );
    assert!(
        errors[1].starts_with("mortise.toml:7:1: store.max_transaction_bytes: is too small"),
        "{errors:?}"
    );
    assert!(
        errors[2].starts_with("mortise.toml:10:1: plugins.order.max_concurrent_calls: is more than"),
        "{errors:?}"
    );
}

#[test]
fn a_misspelt_log_level_is_not_taken_for_a_target() {
    let errors = refused(&with_plugin("[log]\nfilter = \"warning\"\n"));
    assert!(
        errors[0].contains("\"warning\" is no level\n  hint: did you mean \"warn\"?"),
        "{errors:?}"
    );
    let errors = refused(&with_plugin("[log]\nfilter = \"mortise=loud\"\n"));
    assert!(errors[0].contains("is not a log filter"), "{errors:?}");
}

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
fn upstreams_are_checked() {
    let config = loads(&with_plugin(
        "[upstreams.stock]\nurl = \"https://stock.example.com:8443\"\nmethods = [\"stock.v1.Stock/*\"]\n\
         forward_metadata = [\"user-id\"]\nretries = 0",
    ));
    let stock = &config.upstreams["stock"];
    assert_eq!(stock.url.host(), Some("stock.example.com"));
    assert!(stock.methods[0].matches("/stock.v1.Stock/Reserve"));
    assert_eq!(stock.forward_metadata, ["user-id"]);
    assert_eq!((stock.retries, stock.max_concurrent), (0, 100));

    let problems = refused(&with_plugin(
        "[upstreams.a]\n\
         [upstreams.b]\nurl = \"stock:1\"\n\
         [upstreams.c]\nurl = \"http://stock/v1\"\n\
         [upstreams.d]\nurl = \"http://stock\"\nca_file = \"order.wasm\"\nmethods = []\n\
         [upstreams.e]\nurl = \"https://stock\"\nca_file = \"absent.pem\"\nmethods = [\"Reserve\"]\n\
         forward_metadata = [\"te\", \"User-Id\", \"idempotency-key\"]\n\
         [upstreams.F]\nurl = \"http://me@stock\"",
    ));
    let expected = [
        "upstreams.a.url: must be set",
        "upstreams.b.url: \"stock:1\" is neither http:// nor https://",
        "upstreams.c.url: \"http://stock/v1\" has a path",
        "upstreams.d.ca_file: is of no use",
        "upstreams.d.methods: the list is empty",
        "upstreams.e.ca_file: cannot read absent.pem",
        "upstreams.e.methods: \"Reserve\" is not the name of a method",
        "upstreams.e.forward_metadata: metadata key \"te\" is reserved",
        "upstreams.e.forward_metadata: metadata key \"User-Id\" is not valid",
        "upstreams.e.forward_metadata: \"idempotency-key\" cannot be forwarded",
        "upstreams.F: a name is",
        "upstreams.F.url: \"http://me@stock\" has a user in it",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem} instead of {expected}");
    }
}

#[test]
fn deadlines_of_services_and_methods_are_checked() {
    let config = loads(&with_plugin(
        "[server]\nmax_deadline_ms = 1000\n[methods.\"a.B\"]\ndefault_deadline_ms = 10\n\
         [methods.\"a.B/C\"]\nmax_deadline_ms = 5000",
    ));
    let method = Method::find(&config.methods, "a.B/C");
    assert_eq!(method.default_deadline, Some(Duration::from_millis(10)));
    assert_eq!(method.max_deadline, Some(Duration::from_secs(5)));

    let problems = refused(&with_plugin(
        "[server]\nmax_deadline_ms = 1000\n\
         [methods.\"a.B\"]\ndefault_deadline_ms = 2000\n\
         [methods.\"/a.B/C\"]\nmax_deadline_ms = 1\n\
         [methods.a.B]\nmax_deadline_ms = 1",
    ));
    let expected = [
        "default_deadline_ms is longer than the max_deadline_ms that holds here, 1000",
        "write the name of a service",
        "unknown key",
    ];
    assert_eq!(problems.len(), expected.len(), "{problems:#?}");
    for (problem, expected) in problems.iter().zip(expected) {
        assert!(problem.contains(expected), "{problem} instead of {expected}");
    }
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
fn a_mistake_is_shown_on_one_line_whatever_its_name() {
    let text = r#"
        [server]
        "a\nb\u001b[2J" = 1
        [plugins.order]
        file = "a\nb""#;
    let errors = refused(text);
    let unknown = r"server.a\nb\u{1b}[2J: unknown key";
    assert!(
        errors[0]
            .lines()
            .next()
            .is_some_and(|line| line.ends_with(unknown)),
        "{errors:?}"
    );
    assert!(errors[1].contains(r"a\nb: No such file"), "{errors:?}");
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
fn flags_win_over_the_file() {
    let folder = folder("[server]\nlisten = \"127.0.0.1:1\"\n[plugins.order]\nmax_memory_bytes = 1048576\n");
    let file = folder.path().join("order.wasm");
    let overrides = Overrides {
        listen: Some("127.0.0.1:2".parse().expect("an address")),
        data: Some("elsewhere".into()),
        plugins: vec![
            ("order".parse().expect("a name"), file.clone()),
            ("other".parse().expect("a name"), file.clone()),
        ],
    };
    let config = Config::load(Some(&folder.path().join("mortise.toml")), &overrides).expect("it is right");
    assert_eq!(config.server.listen.port(), 2);
    assert_eq!(config.server.data, Path::new("elsewhere"));
    assert_eq!(config.plugins["order"].file, file);
    assert_eq!(config.plugins["order"].max_memory_bytes, 1 << 20);
    assert_eq!(config.plugins["other"].file, file);
}

#[test]
fn a_flag_that_names_a_plugin_twice_is_refused() {
    let folder = folder("");
    let plugin = || ("order".parse().expect("a name"), folder.path().join("order.wasm"));
    let overrides = Overrides {
        plugins: vec![plugin(), plugin()],
        ..Overrides::default()
    };
    let errors = Config::load(None, &overrides).expect_err("this must be refused");
    assert!(
        errors
            .to_string()
            .starts_with("--plugin order: the name is given twice"),
        "{errors}"
    );
}

#[test]
fn files_that_are_no_configuration_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder can be made");
    let path = folder.path().join("mortise.toml");
    let refused = || {
        Config::load(Some(&path), &Overrides::default())
            .expect_err("refused")
            .to_string()
    };
    assert!(refused().contains("cannot read the configuration file"));
    std::fs::write(&path, b"# ok\n# \xff\n").expect("it can be written");
    assert!(refused().contains("line 2 is not UTF-8"));
    std::fs::write(&path, vec![b'\n'; (1 << 20) + 1]).expect("it can be written");
    assert!(refused().contains("larger than 1 MiB"));
    std::fs::write(&path, "").expect("it can be written");
    assert!(refused().contains("nothing to serve"));
}

#[test]
fn a_file_cut_off_anywhere_is_judged_and_never_panics() {
    let whole = format!(
        "# é\n[server]\nlisten = \"[::1]:1\"\ndrain_delay_ms = 1_0\n{PLUGIN}grants = []\n\
         [plugins.order.config]\n\"a b\" = [1, {{ c = 'é' }}]\nd = \"\"\"\nx\"\"\"\n"
    );
    let folder = folder(&whole);
    let path = folder.path().join("mortise.toml");
    assert!(Config::load(Some(&path), &Overrides::default()).is_ok());
    for end in 0..whole.len() {
        std::fs::write(&path, &whole.as_bytes()[..end]).expect("it can be written");
        if let Err(errors) = Config::load(Some(&path), &Overrides::default()) {
            assert!(errors.len() > 0 && !errors.to_string().is_empty());
        }
    }
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
