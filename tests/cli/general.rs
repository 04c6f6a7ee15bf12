//! Help, version, completions, wrong usage, and the generated references.

use std::path::Path;

use crate::mortise;

const COMMANDS: [&str; 18] = [
    "serve",
    "dev",
    "new",
    "test",
    "inspect",
    "call",
    "check",
    "health",
    "status",
    "store",
    "generations",
    "reload",
    "log-filter",
    "metrics",
    "events",
    "timers",
    "explain",
    "completions",
];

#[test]
fn version_is_one_line() {
    let outcome = mortise(["--version"]).exits(0);
    assert_eq!(outcome.stdout, format!("mortise {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(outcome.stderr, "");
}

#[test]
fn help_lists_the_commands_examples_and_exit_codes() {
    let help = mortise(["--help"]).exits(0).stdout;
    for command in COMMANDS {
        assert!(
            help.contains(&format!("\n  {command}")),
            "{command} is missing:\n{help}"
        );
    }
    assert!(
        help.contains("Examples:") && help.contains("Exit codes:"),
        "{help}"
    );
}

#[test]
fn every_command_has_help_with_examples() {
    for command in COMMANDS {
        let help = mortise([command, "--help"]).exits(0).stdout;
        assert!(help.contains("Examples:"), "{command}:\n{help}");
    }
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    let outcome = mortise(["sevre"]).exits(2);
    assert_eq!(outcome.stdout, "");
    assert!(outcome.stderr.contains("serve"), "{}", outcome.stderr);
    for args in [
        &["serve", "--plugin", "order.wasm"][..],
        &["serve", "--plugin", "Order=order.wasm"],
        &["serve", "--listen", "here"],
        &["call", "no-method"],
        &["call", "a.B/C", "-H", "x"],
        &["call", "a.B/C", "-H", "grpc-timeout: 1S"],
        &["call", "a.B/C", "-H", "token-bin: not base64"],
        &["call", "a.B/C", "--timeout", "soon"],
        &["call", "a.B/C", "--addr", "nowhere"],
    ] {
        let outcome = mortise(args).exits(2);
        assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
        assert_eq!(outcome.stdout, "");
    }
}

#[test]
fn completions_come_for_each_shell() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(
            mortise(["completions", shell])
                .exits(0)
                .stdout
                .contains("mortise")
        );
    }
}

/// These files are generated; `MORTISE_WRITE_DOCS=1 cargo test --test cli` writes them anew.
#[test]
fn references_are_in_step_with_the_code() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let stale: Vec<_> = [
        ("docs/cli.md", mortise::cli::reference::markdown()),
        (
            "docs/metrics.md",
            mortise::observe::metrics::reference::markdown(),
        ),
        ("docs/configuration.md", mortise::config::reference::markdown()),
        ("docs/mortise.schema.json", mortise::config::reference::schema()),
        (
            "deploy/prometheus/alerts.yaml",
            mortise::observe::metrics::alerts::yaml(),
        ),
    ]
    .into_iter()
    .filter(|(file, text)| {
        let path = root.join(file);
        if std::env::var_os("MORTISE_WRITE_DOCS").is_some() {
            std::fs::write(&path, text).expect("the reference can be written");
        }
        std::fs::read_to_string(&path).ok().as_ref() != Some(text)
    })
    .map(|(file, _)| file)
    .collect();
    assert!(
        stale.is_empty(),
        "{stale:?} are stale; run MORTISE_WRITE_DOCS=1 cargo test --test cli"
    );
}
