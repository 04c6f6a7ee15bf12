//! `mortise check`.

use crate::{mortise_in, temporary_folder};

#[test]
fn every_mistake_is_named_with_its_line_and_the_exit_code_is_3() {
    let folder = temporary_folder();
    std::fs::write(
        folder.path().join("mortise.toml"),
        "[server]\nlisen = \"x\"\nmax_connections = 0\n",
    )
    .expect("it can be written");
    let outcome = mortise_in(folder.path(), ["check"]).exits(3);
    assert_eq!(outcome.stdout, "");
    assert_eq!(
        outcome.stderr,
        "error: mortise.toml:2:1: server.lisen: unknown key\n  hint: did you mean `listen`?\n\
         error: mortise.toml:3:19: server.max_connections: 0 is out of range\n  hint: allowed: 1 to 1000000\n"
    );
}

#[test]
fn a_missing_file_is_a_wrong_configuration() {
    let folder = temporary_folder();
    let outcome = mortise_in(folder.path(), ["check", "--config", "other.toml"]).exits(3);
    assert!(
        outcome
            .stderr
            .starts_with("error: other.toml: cannot read the configuration file: No such file"),
        "{}",
        outcome.stderr
    );
}

#[test]
fn serve_refuses_what_check_refuses() {
    let folder = temporary_folder();
    let args = ["--plugin", "order=absent.wasm"];
    let check = mortise_in(folder.path(), ["check"].into_iter().chain(args)).exits(3);
    let serve = mortise_in(folder.path(), ["serve"].into_iter().chain(args)).exits(3);
    assert!(
        check
            .stderr
            .contains("plugins.order.file: cannot read absent.wasm"),
        "{}",
        check.stderr
    );
    assert_eq!(check.stderr, serve.stderr);
}

#[test]
fn nothing_to_serve_is_a_mistake() {
    let folder = temporary_folder();
    let outcome = mortise_in(folder.path(), ["serve"]).exits(3);
    assert!(outcome.stderr.contains("nothing to serve"), "{}", outcome.stderr);
    assert!(
        outcome.stderr.contains("hint: add [plugins.NAME]"),
        "{}",
        outcome.stderr
    );
}
