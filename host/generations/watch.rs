//! Plugin files that are replaced while the host runs.
//!
//! The folder of a file is watched, not the file: replacing by rename makes a new file. A file that appears by a
//! rename or a link, or whose writer has closed it, is whole and read at once. Any other change is acted on when
//! the file has been quiet for a moment, so that one written in place is not read half-way; should it be read
//! half-way all the same, it is refused as incomplete and read again at its next change.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures_util::FutureExt as _;
use notify::event::{AccessKind, AccessMode, CreateKind, ModifyKind, RenameMode};
use notify::{EventKind, RecursiveMode, Watcher};
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::registry::Registry;
use crate::capability::Namespace;

/// How long files must be quiet that may be written at the moment.
const QUIET: Duration = Duration::from_millis(60);

/// Of how many files that may be written at the moment it is known when they are whole. Where there are more,
/// all of them must be quiet.
const MAX_UNFINISHED: usize = 1024;

/// Notices changes below some folders. Any number of changes between two looks are one.
pub struct FolderWatch {
    watcher: notify::RecommendedWatcher,
    changes: Arc<Changes>,
}

#[derive(Default)]
struct Changes {
    noticed: Notify,
    /// Files that may be written at the moment.
    unfinished: Mutex<HashSet<PathBuf>>,
}

/// What an event says of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It is there as it shall be.
    Whole,
    /// It is being written, or gone, perhaps because another one is to come.
    Unfinished,
}

impl Change {
    /// None if the file is as it was.
    fn of(kind: EventKind, file: &Path) -> Option<Self> {
        match kind {
            EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(RenameMode::To))
            | EventKind::Create(CreateKind::Folder) => Some(Self::Whole),
            EventKind::Create(_) if is_link(file) => Some(Self::Whole),
            // Of each end of a rename there was an event already.
            EventKind::Access(_) | EventKind::Modify(ModifyKind::Name(RenameMode::Both)) => None,
            _ => Some(Self::Unfinished),
        }
    }
}

/// A file that has just been created, and not by whoever writes it.
fn is_link(file: &Path) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::symlink_metadata(file).is_ok_and(|metadata| metadata.is_symlink() || metadata.nlink() > 1)
}

impl Changes {
    fn note(&self, event: notify::Result<notify::Event>, concerns: impl Fn(&Path) -> bool) {
        let event = match event {
            Ok(event) if !event.need_rescan() => event,
            // Events were lost: look.
            _ => return self.noticed.notify_one(),
        };
        for path in event.paths {
            if !concerns(&path) {
                continue;
            }
            let Some(change) = Change::of(event.kind, &path) else {
                continue;
            };
            let mut unfinished = self.unfinished.lock();
            match change {
                Change::Whole => drop(unfinished.remove(&path)),
                Change::Unfinished if unfinished.len() < MAX_UNFINISHED => drop(unfinished.insert(path)),
                Change::Unfinished => {}
            }
            self.noticed.notify_one();
        }
    }
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
        let changes = Arc::new(Changes::default());
        let noted = changes.clone();
        let mut watcher = notify::recommended_watcher(move |event| noted.note(event, &concerns))?;
        for folder in folders {
            watcher.watch(&folder, mode)?;
        }
        Ok(Self { watcher, changes })
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
        if earlier.changes.noticed.notified().now_or_never().is_some() {
            self.changes.noticed.notify_one();
        }
        self
    }

    /// Waits for a change and then until there was none for a moment: for files that belong together.
    pub async fn settled(&self) {
        self.changes.noticed.notified().await;
        while !self.quiet().await {}
    }

    /// Waits for a change and then until all that changed is whole, or nothing has changed for a moment: for
    /// files each of which is of use by itself.
    pub async fn replaced(&self) {
        self.changes.noticed.notified().await;
        while !self.changes.unfinished.lock().is_empty() && !self.quiet().await {}
    }

    /// Whether nothing changes for a moment. Then no file is written any more.
    async fn quiet(&self) -> bool {
        let Changes { noticed, unfinished } = &*self.changes;
        if tokio::time::timeout(QUIET, noticed.notified()).await.is_ok() {
            return false;
        }
        // One that begins to change now is not forgotten.
        let mut unfinished = unfinished.lock();
        let quiet = noticed.notified().now_or_never().is_none();
        if quiet {
            unfinished.clear();
        }
        quiet
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
            watch.replaced().await;
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
