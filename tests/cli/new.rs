//! `mortise new`, up to a call of what it made.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use crate::{mortise, mortise_in, temporary_folder};

#[test]
fn a_plugin_is_made_with_the_next_steps() {
    let folder = temporary_folder();
    let outcome = mortise_in(folder.path(), ["new", "order-desk"]).exits(0);
    assert_eq!(outcome.stderr, "");
    assert!(
        outcome.stdout.contains("\n  cd order-desk\n"),
        "{}",
        outcome.stdout
    );
    assert!(
        outcome
            .stdout
            .contains("mortise call order_desk.v1.OrderDesk/SayHello"),
        "{}",
        outcome.stdout
    );

    let plugin = folder.path().join("order-desk");
    let read = |file: &str| std::fs::read_to_string(plugin.join(file)).expect(file);
    assert!(read("Cargo.toml").contains("name = \"order-desk\""));
    assert!(read("proto/order_desk/v1/order_desk.proto").contains("package order_desk.v1;"));
    assert!(read("src/lib.rs").contains("impl pb::OrderDesk for OrderDesk"));
    assert!(read("tests/order_desk.rs").contains("use order_desk::OrderDesk;"));
    assert!(read("vendor/mortise/guest-sdk/Cargo.toml").contains("name = \"mortise-guest\""));
    for file in [
        "Cargo.toml",
        "README.md",
        "src/lib.rs",
        "tests/order_desk.rs",
        "build.rs",
    ] {
        let text = read(file);
        assert!(
            !text.contains("Greeter") && !text.contains("greeter.v1"),
            "{file}:\n{text}"
        );
        assert!(!text.contains('@'), "{file} has a placeholder left:\n{text}");
    }
}

#[test]
fn another_folder_may_be_chosen_if_it_is_empty() {
    let folder = temporary_folder();
    mortise_in(folder.path(), ["new", "greeter", "--path", "a/b"]).exits(0);
    assert!(folder.path().join("a/b/Cargo.toml").is_file());

    let outcome = mortise_in(folder.path(), ["new", "greeter", "--path", "a"]).exits(1);
    assert_eq!(
        outcome.stderr,
        "error: a exists and is not empty\nhint: choose another folder with --path\n"
    );
    let outcome = mortise_in(folder.path(), ["new", "greeter", "--path", "a/b/Cargo.toml"]).exits(1);
    assert_eq!(
        outcome.stderr,
        "error: a/b/Cargo.toml exists and is not a folder\n"
    );
}

#[test]
fn a_name_that_cannot_be_a_crate_is_refused() {
    for name in [
        "Order",
        "1order",
        "order_desk",
        "type",
        "std",
        "order-",
        "order--desk",
        "order-2",
        "a/b",
        "",
    ] {
        let outcome = mortise(["new", name]).exits(2);
        assert!(outcome.stderr.starts_with("error: "), "{}", outcome.stderr);
    }
}

#[test]
fn what_is_made_passes_its_tests_builds_serves_and_answers() {
    let folder = temporary_folder();
    let server = Server::start(folder.path(), &format!("greeter={}", greeter().display()));
    let call = [
        "call",
        "--addr",
        &server.address,
        "greeter.v1.Greeter/SayHello",
        "-d",
        "{\"name\": \"Ada\"}",
    ];
    assert_eq!(
        mortise(call).exits(0).stdout,
        "{\n  \"message\": \"Hello, Ada!\"\n}\n"
    );
    let call = ["call", "--addr", &server.address, "greeter.v1.Greeter/SayHello"];
    let outcome = mortise(call).exits(64 + 3);
    assert!(
        outcome.stderr.contains("\"description\": \"must not be empty\""),
        "{}",
        outcome.stderr
    );
}

/// The component of a plugin called `greeter`, as `mortise new` makes it, tested and built once.
pub(crate) fn greeter() -> &'static Path {
    static COMPONENT: OnceLock<PathBuf> = OnceLock::new();
    COMPONENT.get_or_init(|| {
        let folder = temporary_folder();
        mortise_in(folder.path(), ["new", "greeter"]).exits(0);
        let plugin = folder.path().join("greeter");
        // The versions that this repository's own plugins are tested with.
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/Cargo.lock");
        std::fs::copy(lock, plugin.join("Cargo.lock")).expect("it can be copied");

        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new");
        cargo(&plugin, &target, &["test"]);
        cargo(&plugin, &target, &["build", "--target", "wasm32-wasip2"]);
        target.join("wasm32-wasip2/debug/greeter.wasm")
    })
}

fn cargo(folder: &Path, target: &Path, args: &[&str]) {
    let output = Command::new(env!("CARGO"))
        .args(args)
        .current_dir(folder)
        .env("CARGO_TARGET_DIR", target)
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo {args:?}:\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A host on a port of its own, until it is dropped.
struct Server {
    process: Child,
    address: String,
}

impl Server {
    fn start(folder: &Path, plugin: &str) -> Server {
        let mut process = Command::new(env!("CARGO_BIN_EXE_mortise"))
            .args(["serve", "--listen", "127.0.0.1:0", "--plugin", plugin])
            .current_dir(folder)
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary runs");
        let log = BufReader::new(process.stderr.take().expect("it is piped"));
        let mut lines = log.lines().map(|line| line.expect("the log is UTF-8"));
        let mut seen = String::new();
        let address = lines.find_map(|line| {
            seen += &line;
            let line: serde_json::Value = serde_json::from_str(&line).ok()?;
            let fields = line.get("fields")?;
            (fields.get("message")? == "listening").then(|| fields["address"].as_str().map(str::to_owned))?
        });
        // What follows must be read, or a full pipe would stop the host.
        std::thread::spawn(move || lines.for_each(drop));
        match address {
            Some(address) => Server { process, address },
            None => panic!("the host did not listen: {seen}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
