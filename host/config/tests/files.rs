//! The file and the flags as a whole.

use super::*;

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
