//! `mortise check`.

use crate::new::greeter;
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
            .contains("error: --plugin order: cannot read absent.wasm"),
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

#[test]
fn a_right_configuration_is_summed_up() {
    let folder = temporary_folder();
    std::fs::copy(greeter(), folder.path().join("greeter.wasm")).expect("it can be copied");
    let toml = "[server]\nlisten = \"127.0.0.1:1\"\n[plugins.hello]\nfile = \"greeter.wasm\"\n";
    std::fs::write(folder.path().join("mortise.toml"), toml).expect("it can be written");
    let outcome = mortise_in(folder.path(), ["check"]).exits(0);
    assert_eq!(outcome.stderr, "");
    assert_eq!(
        outcome.stdout,
        "The configuration is valid.\nlisten   127.0.0.1:1\ndata     mortise-data\n\
         plugin   hello: greeter.wasm, a sandbox per call\n           greeter.v1.Greeter\n"
    );
    assert!(
        !folder.path().join("mortise-data").exists(),
        "checking leaves nothing behind"
    );
}

#[test]
fn mistakes_about_what_is_in_a_plugin_come_with_all_others() {
    let folder = temporary_folder();
    std::fs::copy(greeter(), folder.path().join("greeter.wasm")).expect("it can be copied");
    std::fs::write(folder.path().join("text.wasm"), "no wasm").expect("it can be written");
    let toml = "[server]\nreflection = 1\n\
                [plugins.a]\nfile = \"greeter.wasm\"\n[plugins.b]\nfile = \"greeter.wasm\"\n\
                [plugins.c]\nfile = \"text.wasm\"\n\
                [plugins.d]\nfile = \"greeter.wasm\"\nconfig.region = \"eu\"\n";
    std::fs::write(folder.path().join("mortise.toml"), toml).expect("it can be written");
    let stderr = mortise_in(folder.path(), ["check"]).exits(3).stderr;
    let lines: Vec<_> = stderr.lines().collect();
    assert_eq!(lines.len(), 4, "{stderr}");
    assert!(
        lines[0].starts_with("error: mortise.toml:2:14: server.reflection: "),
        "{stderr}"
    );
    assert_eq!(
        lines[1],
        "error: mortise.toml:6:1: plugins.b.file: the service greeter.v1.Greeter is served by the plugin a already"
    );
    assert!(
        lines[2].starts_with("error: mortise.toml:8:1: plugins.c.file: text.wasm is not WebAssembly"),
        "{stderr}"
    );
    assert!(
        lines[3]
            .starts_with("error: mortise.toml:11:8: plugins.d.config.region: is not a key of this plugin"),
        "{stderr}"
    );
}
