//! A plugin's crate: its name, its builds, and the files they are made of.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use notify::RecursiveMode;
use serde::Deserialize;
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};

use super::WithHint as _;
use crate::config::PluginName;
use crate::generations::watch::FolderWatch;

const TARGET: &str = "wasm32-wasip2";

/// A crate that is a plugin.
pub(super) struct Project {
    pub(super) dir: PathBuf,
    /// The package's name, as a plugin's name.
    pub(super) plugin: PluginName,
}

/// A build that succeeded.
pub(super) struct Build {
    pub(super) component: PathBuf,
    pub(super) target_dir: PathBuf,
    /// Every file outside the crate's `src` that the build looked at: protos, path dependencies. All of them once
    /// cargo has ended.
    pub(super) sources: BTreeSet<PathBuf>,
    /// Has the component ready well before it ends.
    cargo: Child,
}

/// A line that cargo prints with `--message-format=json`, as far as it is of use here.
#[derive(Deserialize)]
#[serde(tag = "reason", rename_all = "kebab-case")]
enum Message {
    CompilerArtifact {
        manifest_path: PathBuf,
        filenames: Vec<PathBuf>,
    },
    BuildScriptExecuted {
        out_dir: PathBuf,
    },
    BuildFinished {
        success: bool,
    },
    #[serde(other)]
    Other,
}

impl Project {
    /// Reads the crate's `Cargo.toml`.
    pub(super) fn open(crate_dir: &Path) -> anyhow::Result<Self> {
        #[derive(Deserialize)]
        struct Manifest {
            package: Option<Package>,
        }
        #[derive(Deserialize)]
        struct Package {
            name: String,
        }
        let dir = crate_dir
            .canonicalize()
            .with_context(|| format!("no crate in {}", crate_dir.display()))?;
        let path = dir.join("Cargo.toml");
        let text = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))
            .hint("give the folder of a plugin's crate, or make one with `mortise new NAME`")?;
        let manifest: Manifest =
            toml::from_str(&text).with_context(|| format!("cannot read {}", path.display()))?;
        let Some(package) = manifest.package else {
            bail!(
                "{} is a workspace: give the folder of one of its plugins",
                path.display()
            );
        };
        let plugin = package
            .name
            .replace('_', "-")
            .to_lowercase()
            .parse()
            .with_context(|| format!("the package name {:?} cannot be a plugin's name", package.name))?;
        Ok(Self { dir, plugin })
    }

    /// Adds the wasm target if rustup lacks it. Without rustup, cargo will say what is missing.
    pub(super) async fn add_target(&self) -> anyhow::Result<()> {
        let rustup = |arguments: &[&str]| {
            let mut command = Command::new("rustup");
            command
                .args(arguments)
                .current_dir(&self.dir)
                .stdin(Stdio::null())
                .kill_on_drop(true);
            command
        };
        let installed = rustup(&["target", "list", "--installed"]).output().await;
        let Ok(installed) = installed.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        else {
            return Ok(());
        };
        if installed.lines().any(|line| line.trim() == TARGET) {
            return Ok(());
        }
        eprintln!("mortise: adding the target {TARGET}");
        let status = rustup(&["target", "add", TARGET])
            .status()
            .await
            .context("cannot run rustup")?;
        if !status.success() {
            bail!("rustup could not add the target {TARGET}");
        }
        Ok(())
    }

    /// Runs `cargo build`; none if the crate does not compile, which cargo has then shown.
    pub(super) async fn build(&self) -> anyhow::Result<Option<Build>> {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args([
                "build",
                "--target",
                TARGET,
                "--message-format=json-render-diagnostics",
            ])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot run cargo")
            .hint("install Rust with rustup")?;
        let stdout = cargo.stdout.take().context("cannot read what cargo says")?;
        let mut lines = BufReader::new(stdout).split(b'\n');
        let manifest = self.dir.join("Cargo.toml");
        let (mut component, mut sources) = (None, BTreeSet::new());
        let built = loop {
            let line = lines
                .next_segment()
                .await
                .context("cannot read what cargo says")?;
            // It does not get as far as to say so with a manifest that it cannot read.
            let Some(line) = line else { break false };
            match serde_json::from_slice(&line) {
                Ok(Message::CompilerArtifact {
                    manifest_path,
                    filenames,
                }) if manifest_path == manifest => {
                    let wasm = |path: &PathBuf| path.extension().is_some_and(|extension| extension == "wasm");
                    component = component.or(filenames.into_iter().find(wasm));
                }
                Ok(Message::BuildScriptExecuted { out_dir }) => sources.extend(rerun_paths(&out_dir)),
                Ok(Message::BuildFinished { success }) => break success,
                _ => {}
            }
        };
        if !built {
            // What it has to show it shows to its end.
            ended(&mut cargo).await?;
            return Ok(None);
        }
        let component = component
            .with_context(|| format!("{} builds no component", manifest.display()))
            .hint("add to Cargo.toml:\n  [lib]\n  crate-type = [\"cdylib\", \"rlib\"]")?;
        // target/wasm32-wasip2/debug/NAME.wasm
        let target_dir = component.ancestors().nth(3).unwrap_or(&self.dir).to_owned();
        Ok(Some(Build {
            component,
            target_dir,
            sources,
            cargo,
        }))
    }

    /// Waits until cargo has ended, which then holds no lock against the next build.
    pub(super) async fn ended(&self, build: &mut Build) -> anyhow::Result<()> {
        ended(&mut build.cargo).await?;
        build.sources.extend(dep_info(&build.component));
        build
            .sources
            .retain(|path| !path.starts_with(self.dir.join("src")));
        Ok(())
    }

    /// Watches the crate and everything else that its builds look at.
    pub(super) fn watch(&self, sources: &BTreeSet<PathBuf>) -> anyhow::Result<FolderWatch> {
        let folders: BTreeSet<PathBuf> = sources
            .iter()
            .filter_map(|path| {
                if path.is_dir() {
                    Some(path.as_path())
                } else {
                    path.parent()
                }
            })
            .chain([self.dir.as_path()])
            .filter(|folder| folder.is_dir())
            .map(Path::to_owned)
            .collect();
        let mut watch = FolderWatch::new(folders, RecursiveMode::NonRecursive, is_source)?;
        let src = self.dir.join("src");
        if src.is_dir() {
            watch.add(&src, RecursiveMode::Recursive)?;
        }
        Ok(watch)
    }
}

async fn ended(cargo: &mut Child) -> anyhow::Result<()> {
    cargo.wait().await.context("cannot wait for cargo")?;
    Ok(())
}

/// What people edit. Cargo's own writes must not start the next build.
fn is_source(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("rs" | "toml" | "proto"))
}

/// The paths that a build script asked cargo to watch. Cargo keeps the script's output beside `OUT_DIR`.
fn rerun_paths(out_dir: &Path) -> Vec<PathBuf> {
    let Some(output) = out_dir.parent().map(|dir| dir.join("output")) else {
        return Vec::new();
    };
    let text = std::fs::read_to_string(output).unwrap_or_default();
    text.lines()
        .filter_map(|line| {
            line.strip_prefix("cargo:rerun-if-changed=")
                .or_else(|| line.strip_prefix("cargo::rerun-if-changed="))
        })
        .map(PathBuf::from)
        .filter(|path| path.is_absolute())
        .collect()
}

/// The files of `NAME.d` beside the component: the crate's own sources and those of its path dependencies.
fn dep_info(component: &Path) -> Vec<PathBuf> {
    let text = std::fs::read_to_string(component.with_extension("d")).unwrap_or_default();
    let Some((_, files)) = text.split_once(": ") else {
        return Vec::new();
    };
    // Spaces within a path are escaped with a backslash.
    files
        .replace("\\ ", "\0")
        .split_whitespace()
        .map(|path| PathBuf::from(path.replace('\0', " ")))
        .filter(|path| path.is_absolute())
        .collect()
}
