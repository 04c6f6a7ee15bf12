//! The commands for a running host, where there is none. With one: `tests/host/admin.rs`.

use crate::{mortise_in, temporary_folder};

const COMMANDS: [&[&str]; 5] = [
    &["status"],
    &["generations"],
    &["reload", "order"],
    &["log-filter", "debug"],
    &["metrics"],
];

#[test]
fn without_a_host_they_say_so_and_what_to_do() {
    let folder = temporary_folder();
    for command in COMMANDS {
        let outcome = mortise_in(folder.path(), command).exits(1);
        assert_eq!(outcome.stdout, "");
        let text = &outcome.stderr;
        assert!(
            text.contains("no host runs with the data folder mortise-data"),
            "{text}"
        );
        assert!(text.contains("hint: ") && text.contains("--data"), "{text}");
    }
}

#[test]
fn the_folder_comes_from_the_flag_or_the_configuration() {
    let folder = temporary_folder();
    let outcome = mortise_in(folder.path(), ["status", "--data", "elsewhere"]).exits(1);
    assert!(
        outcome.stderr.contains("data folder elsewhere"),
        "{}",
        outcome.stderr
    );
    // A mistake elsewhere in the file does not keep the operator from the host.
    let config = "[server]\ndata = \"kept\"\nmax_connections = 0\n";
    std::fs::write(folder.path().join("mortise.toml"), config).expect("written");
    let outcome = mortise_in(folder.path(), ["status", "--config", "mortise.toml"]).exits(1);
    assert!(outcome.stderr.contains("kept"), "{}", outcome.stderr);
    let both = ["status", "--config", "mortise.toml", "--data", "flag"];
    let outcome = mortise_in(folder.path(), both).exits(1);
    assert!(outcome.stderr.contains("data folder flag"), "{}", outcome.stderr);
}

#[test]
fn a_configuration_that_does_not_name_the_folder_is_refused() {
    let folder = temporary_folder();
    for config in ["[server]\ndata = 7\n", "[server\n", "server = 1\n"] {
        std::fs::write(folder.path().join("mortise.toml"), config).expect("written");
        let outcome = mortise_in(folder.path(), ["status", "--config", "mortise.toml"]).exits(3);
        assert!(
            outcome.stderr.starts_with("error: mortise.toml"),
            "{}",
            outcome.stderr
        );
    }
    mortise_in(folder.path(), ["status", "--config", "absent.toml"]).exits(3);
}

#[test]
fn a_socket_that_a_crash_has_left_is_no_host() {
    let folder = temporary_folder();
    let socket = folder.path().join("admin.sock");
    drop(std::os::unix::net::UnixListener::bind(&socket).expect("a socket"));
    let outcome = mortise_in(folder.path(), ["status", "--data", "."]).exits(1);
    assert!(outcome.stderr.contains("no host runs"), "{}", outcome.stderr);
}
