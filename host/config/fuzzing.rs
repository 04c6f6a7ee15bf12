//! Configuration files: every mistake stands where it can be found, and nothing shows a secret.

use std::cell::LazyCell;
use std::fs;
use std::path::PathBuf;

use super::keys::SECTIONS;
use super::{Config, ConfigError, ConfigErrors, Overrides};
use crate::fuzzing::{Target, assert_shown};

pub(crate) const TARGET: Target = Target::new("config", run, seeds);

/// The values that must never be seen: one in the file itself, one in a file that it may refer to.
const SECRET: &str = "hunter2hunter2hunter2";
const SECRET_OF_A_FILE: &str = "swordfishswordfishswordfishswordfish";

/// Comes before every input, so that no input can undo it.
const BEFORE: &str = "[plugins.order.config]\ntoken = \"hunter2hunter2hunter2\"\n";

/// A folder as an operator has it, for each thread.
struct Folder {
    _folder: tempfile::TempDir,
    file: PathBuf,
}

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        for (name, content) in [("order.wasm", ""), ("secret", SECRET_OF_A_FILE)] {
            fs::write(folder.path().join(name), content).expect("it can be written");
        }
        let file = folder.path().join("mortise.toml");
        Self {
            _folder: folder,
            file,
        }
    }
}

fn run(data: &[u8]) {
    thread_local! {
        static FOLDER: LazyCell<Folder> = LazyCell::new(Folder::new);
    }
    if [SECRET, SECRET_OF_A_FILE]
        .iter()
        .any(|secret| contains(data, secret))
    {
        return;
    }
    FOLDER.with(|folder| {
        let content = [BEFORE.as_bytes(), data].concat();
        fs::write(&folder.file, &content).expect("it can be written");
        let (config, errors) = Config::read(Some(&folder.file), &Overrides::default());
        assert_secret(&format!("{config:?}"));
        let lines: Vec<_> = content.split(|byte| *byte == b'\n').collect();
        for error in &errors {
            check(error, &lines);
        }
        let whole = ConfigErrors::check(errors);
        assert_eq!(
            Config::load(Some(&folder.file), &Overrides::default()).map(drop),
            whole
        );
    });
}

fn check(error: &ConfigError, lines: &[&[u8]]) {
    let shown = error.to_string();
    assert_secret(&shown);
    for line in shown.split("\n  hint: ") {
        assert_shown(line, usize::MAX);
    }
    match &error.location {
        Some(location) => {
            let line = lines.get(location.line - 1).expect("the line is in the file");
            let longest = String::from_utf8_lossy(line).chars().count() + 1;
            assert!((1..=longest).contains(&location.column), "{shown}");
        }
        // The whole file.
        None => assert!(
            error.key.ends_with("mortise.toml") || error.key.is_empty(),
            "it says nowhere where it is: {shown}"
        ),
    }
}

#[track_caller]
fn assert_secret(shown: &str) {
    for secret in [SECRET, SECRET_OF_A_FILE] {
        assert!(!shown.contains(secret), "{shown}");
    }
}

fn contains(data: &[u8], text: &str) -> bool {
    data.windows(text.len()).any(|window| window == text.as_bytes())
}

fn seeds() -> Vec<Vec<u8>> {
    const PLUGIN: &str = "[plugins.order]\nfile = \"order.wasm\"\n";
    const WHOLE: [&str; 8] = [
        "[server]\nlisten = \"127.0.0.1:8080\"\nmax_request_bytes = 1_048_576\nmax_deadline_ms = 60000\n\
         default_deadline_ms = 1000\ntrusted_proxies = [\"10.0.0.0/8\", \"unix\"]\ncors_origins = [\"*\"]\n\
         unix_socket_mode = \"0660\"\ncompression = [\"zstd\", \"gzip\"]\n",
        "[log]\nformat = \"json\"\nfilter = \"info,mortise=debug,x[{y=1}]=trace\"\n[cache]\nenabled = false\n\
         [store]\nmax_key_bytes = 10\n[events]\njournal = false\n[admin]\nlisten = \"127.0.0.1:1\"\n",
        "[issuers.accounts]\nissuer = \"https://issuer.test\"\naudiences = [\"orders\"]\nleeway_s = 10\n\
         secret_file = \"secret\"\n[auth]\ncertificate_suffices = true\n\
         [methods.\"order.v1.OrderService\"]\nrequired_scopes = [\"orders.write\"]\nanonymous = false\n",
        "[issuers.accounts]\nissuer = \"https://issuer.test\"\naudiences = [\"orders\"]\nkeys = [\"secret\"]\n",
        "[methods.\"order.v1.OrderService/GetOrder\"]\nrate = \"10/1s\"\nrate_per_peer = \"5/500ms\"\n\
         max_concurrent_calls = 3\nmax_deadline_ms = 5\ndefault_deadline_ms = 10\n",
        "[upstreams.stock]\nurl = \"https://stock.test:443\"\nallow_methods = [\"a.B/*\"]\n\
         forward_metadata = [\"user-id\"]\nca_file = \"secret\"\n",
        "[plugins.other]\nfile = \"order.wasm\"\ngrants = [\"upstream:stock\"]\nisolation = \"reuse\"\n\
         [plugins.other.config]\na = { file = \"secret\" }\nb = { env = \"NONE\" }\nc = [1, 0x2, 1e3, nan]\n\
         d = 1979-05-27T07:32:00Z\ne = { x.y = '''z''' }\n",
        "[server]\nlisten = 1\ntls_certificate = \"secret\"\ntls_key = \"secret\"\nmax_conections = 5\n\
         [plugins.\"a\\nb\"]\nx = \"\\u001b\"\n\"\\u202e\" = 1\n",
    ];
    let whole = WHOLE.map(|text| [PLUGIN, text].concat());
    let broken = [
        "token = \"",
        "[plugins.order\nfile = \"order.wasm\"",
        "a = [[[[",
        "\u{feff}[server]\r\n",
        "",
    ];
    let texts = whole
        .into_iter()
        .chain(sections())
        .chain(broken.map(str::to_owned));
    texts.map(String::into_bytes).collect()
}

/// Each section with all of its keys, so that none has to be guessed.
fn sections() -> impl Iterator<Item = String> {
    SECTIONS.iter().map(|section| {
        let mut text = format!("[{}]\n", section.path.replace("NAME", "x"));
        for key in (section.keys)() {
            let default = format!("{} = {}\n", key.name, key.description.default);
            match default.parse::<toml::Table>() {
                Ok(_) => text += &default,
                Err(_) => text += &format!("{} = \"x\"\n", key.name),
            }
        }
        text
    })
}
