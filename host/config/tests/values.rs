//! What keys may be set to.

use super::*;

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
