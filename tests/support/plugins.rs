//! The components that tests serve, and how a host is told to serve them.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

/// Built components. Tests copy what they want to change.
pub(crate) struct Components {
    pub(crate) order: PathBuf,
    pub(crate) caller: PathBuf,
    pub(crate) tally: PathBuf,
    /// `faults` that says it is version 1.
    pub(crate) faults: PathBuf,
    /// `faults` that says it is version 2.
    pub(crate) faults_2: PathBuf,
}

/// Builds the plugins, once for each test process.
pub(crate) fn components() -> &'static Components {
    static COMPONENTS: LazyLock<Components> = LazyLock::new(build);
    &COMPONENTS
}

/// Where the plugins are built: `plugins` in the target folder of the host.
pub(crate) fn target_folder() -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .parent()
        .expect("it is in the target folder");
    target.join("plugins")
}

/// `cargo` in the workspace of the plugins.
pub(crate) fn cargo() -> Command {
    let mut cargo = Command::new(env!("CARGO"));
    cargo
        .current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins"))
        .env("CARGO_TARGET_DIR", target_folder())
        // They are for the host's build, whose target is another.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("RUSTFLAGS");
    cargo
}

/// What `mortise inspect` says of a component.
pub(crate) fn inspect(file: &Path) -> serde_json::Value {
    let output = Command::new(env!("CARGO_BIN_EXE_mortise"))
        .args(["inspect", "--json"])
        .arg(file)
        .output()
        .expect("the binary starts");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{output:?}"))
}

fn build() -> Components {
    let kept = target_folder().join("components");
    fs::create_dir_all(&kept).expect("the target folder can be written");
    // Other test processes build here too, and one build of `faults` replaces the other.
    let lock = File::create(kept.join("lock")).expect("the target folder can be written");
    lock.lock().expect("files can be locked");
    let build = |version: &str| {
        let mut cargo = cargo();
        cargo
            .args(["build", "--target", "wasm32-wasip2"])
            .env("FAULTS_VERSION", version);
        let output = cargo.output().expect("cargo starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        target_folder().join("wasm32-wasip2/debug")
    };
    let faults_2 = keep(&build("2").join("faults.wasm"), &kept.join("faults-2.wasm"));
    let built = build("1");
    Components {
        order: keep(&built.join("order.wasm"), &kept.join("order.wasm")),
        tally: keep(&built.join("tally.wasm"), &kept.join("tally.wasm")),
        caller: keep(&built.join("caller.wasm"), &kept.join("caller.wasm")),
        faults: keep(&built.join("faults.wasm"), &kept.join("faults-1.wasm")),
        faults_2,
    }
}

/// Renamed into place: another process may be reading the file that is replaced.
fn keep(built: &Path, kept: &Path) -> PathBuf {
    let new = kept.with_extension("new");
    fs::copy(built, &new).expect("the component was built");
    fs::rename(&new, kept).expect("the target folder can be written");
    kept.to_owned()
}

/// The same tests hold for both ways in which a plugin can be linked: the variable that says which it is.
const LINKING: &str = "MORTISE_TEST_LINKING";

/// How calls are isolated from each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Isolation {
    Call,
    Reuse,
}

/// A `[plugins.NAME]` section.
#[derive(Debug, Clone)]
pub(crate) struct Plugin {
    pub(super) name: String,
    pub(super) service: String,
    keys: String,
    config: String,
}

impl Plugin {
    /// The order plugin.
    pub(crate) fn order(isolation: Isolation) -> Self {
        Self::new("order", "order.v1.OrderService", &components().order, isolation)
    }

    /// The plugin that counts the events of the order plugin, where a subscription says so.
    pub(crate) fn tally(isolation: Isolation) -> Self {
        Self::new("tally", "tally.v1.Tally", &components().tally, isolation)
    }

    /// The plugin that calls others, which both of its targets are granted to.
    pub(crate) fn caller(isolation: Isolation) -> Self {
        Self::new("caller", "caller.v1.Caller", &components().caller, isolation)
            .key("grants", r#"["upstream:backend", "upstream:other"]"#)
    }

    /// The plugin of faults, version 1.
    pub(crate) fn faults(isolation: Isolation) -> Self {
        Self::new("faults", "faults.v1.Faults", &components().faults, isolation)
    }

    /// A crafted component that serves `service`.
    pub(crate) fn crafted(name: &str, service: &str, file: &Path, isolation: Isolation) -> Self {
        Self::new(name, service, file, isolation)
    }

    fn new(name: &str, service: &str, file: &Path, isolation: Isolation) -> Self {
        let isolation = match isolation {
            Isolation::Call => "call",
            Isolation::Reuse => "reuse",
        };
        let plugin = Self {
            name: name.into(),
            service: service.into(),
            keys: String::new(),
            config: String::new(),
        };
        let plugin = plugin.file(file).key("isolation", format_args!("{isolation:?}"));
        match std::env::var(LINKING) {
            Ok(linking) => plugin.key("linking", format_args!("{linking:?}")),
            Err(_) => plugin,
        }
    }

    /// Whether plugins are linked without the component around them, where that can be done.
    pub(crate) fn linked_directly() -> bool {
        std::env::var(LINKING).map_or(true, |linking| linking != "component")
    }

    /// Under another name.
    pub(crate) fn named(mut self, name: &str) -> Self {
        self.name = name.into();
        self
    }

    /// From another file.
    pub(crate) fn file(self, file: &Path) -> Self {
        self.replace("file", format_args!("{file:?}"))
    }

    /// A key of the section, with its value in TOML.
    pub(crate) fn key(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        writeln!(self.keys, "{key} = {value}").expect("a string grows");
        self
    }

    /// The same, for a key that is set already.
    pub(crate) fn replace(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        let set = format!("{key} =");
        self.keys = self
            .keys
            .lines()
            .filter(|line| !line.starts_with(&set))
            .fold(String::new(), |keys, line| keys + line + "\n");
        self.key(key, value)
    }

    /// A value for the plugin itself, in TOML.
    pub(crate) fn config(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        writeln!(self.config, "{key} = {value}").expect("a string grows");
        self
    }

    pub(super) fn to_toml(&self) -> String {
        let Self {
            name, keys, config, ..
        } = self;
        format!("[plugins.{name}]\n{keys}[plugins.{name}.config]\n{config}")
    }
}
