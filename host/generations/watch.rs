//! Plugin files that are replaced while the host runs.
//!
//! The folder of a file is watched, not the file: replacing by rename makes a new file. A change is acted
//! on once the file has been quiet for a moment, so that one written in place is not read half-way; should
//! it be read half-way all the same, it is refused as incomplete and read again at its next change.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::{EventKind, RecursiveMode, Watcher};
use tokio::sync::Notify;

use super::registry::Registry;
use crate::capability::Namespace;

/// How long a file must be quiet.
const QUIET: Duration = Duration::from_millis(60);

/// Notices changes below some folders. Any number of changes between two looks are one.
pub struct FolderWatch {
    watcher: notify::RecommendedWatcher,
    changed: Arc<Notify>,
}

impl FolderWatch {
    /// Watches `folders`; `concerns` decides which paths count.
    ///
    /// # Errors
    /// If the system cannot watch one of them.
    pub fn new(
        folders: impl IntoIterator<Item = PathBuf>,
        mode: RecursiveMode,
        concerns: impl Fn(&Path) -> bool + Send + 'static,
    ) -> notify::Result<Self> {
        let changed = Arc::new(Notify::new());
        let notify = changed.clone();
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            let concerned = match &event {
                Ok(event) => {
                    !matches!(event.kind, EventKind::Access(_))
                        && event.paths.iter().any(|path| concerns(path))
                }
                // Events were lost: look.
                Err(_) => true,
            };
            if concerned {
                notify.notify_one();
            }
        })?;
        for folder in folders {
            watcher.watch(&folder, mode)?;
        }
        Ok(Self { watcher, changed })
    }

    /// Watches the folders of `files`, for changes of files of these names and of what they may be links to.
    ///
    /// # Errors
    /// If the system cannot watch one of them.
    pub fn of_files<'f>(files: impl IntoIterator<Item = &'f Path>) -> notify::Result<Self> {
        let (mut folders, mut names) = (BTreeSet::new(), BTreeSet::new());
        for file in files {
            folders.insert(folder_of(file));
            names.extend(file.file_name().map(ToOwned::to_owned));
        }
        // Kubernetes replaces mounted files by renaming a folder `..data` that they are links into.
        let concerns = move |path: &Path| {
            path.file_name()
                .is_some_and(|name| names.contains(name) || name.as_encoded_bytes().starts_with(b".."))
        };
        Self::new(folders, RecursiveMode::NonRecursive, concerns)
    }

    /// Watches one more folder.
    ///
    /// # Errors
    /// If the system cannot watch it.
    pub fn add(&mut self, folder: &Path, mode: RecursiveMode) -> notify::Result<()> {
        self.watcher.watch(folder, mode)
    }

    /// Takes the place of `earlier`, and of a change that it has noticed and nobody has acted on.
    pub fn replace(self, earlier: Self) -> Self {
        use futures_util::FutureExt;
        if earlier.changed.notified().now_or_never().is_some() {
            self.changed.notify_one();
        }
        self
    }

    /// Waits for a change and then until there was none for a moment.
    pub async fn settled(&self) {
        self.changed.notified().await;
        while tokio::time::timeout(QUIET, self.changed.notified()).await.is_ok() {}
    }
}

/// Loads every plugin whose file changes, until dropped.
///
/// # Errors
/// If the folders cannot be watched.
pub fn reload_on_change(registry: Arc<Registry>) -> notify::Result<impl Future<Output = ()>> {
    let plugins = registry.plugins().iter();
    let watch = FolderWatch::of_files(plugins.map(|plugin| plugin.config.file.as_path()))?;
    Ok(async move {
        // A file that stays as it was refused is not worth a line each time its folder changes.
        let mut refused: HashMap<Namespace, (Stamp, String)> = HashMap::new();
        loop {
            watch.settled().await;
            for plugin in registry.plugins() {
                // `load` reads the file and does nothing if its bytes are those that are live.
                let stamp = stamp(&plugin.config.file);
                let Err(error) = registry.load(plugin).await else {
                    refused.remove(&plugin.name);
                    continue;
                };
                let refusal = (stamp, error.to_string());
                if refused.get(&plugin.name) != Some(&refusal) {
                    tracing::error!(plugin = %plugin.name, "not loaded, nothing changed: {error}");
                    refused.insert(plugin.name.clone(), refusal);
                }
            }
        }
    })
}

/// When a file was last written, and its size; none if it is not there.
type Stamp = Option<(SystemTime, u64)>;

fn stamp(file: &Path) -> Stamp {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.len()))
}

fn folder_of(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}
