use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::watch;
use tracing::{debug, warn};

/// Watches directories for changes, as far as their file systems tell.
pub(super) struct Mounts {
    changed: watch::Sender<()>,
    _watcher: Option<RecommendedWatcher>,
}

impl Mounts {
    /// Watches the directories of these files.
    pub(super) fn watch<'a>(files: impl Iterator<Item = &'a PathBuf>) -> Self {
        let changed = watch::Sender::new(());
        let directories: BTreeSet<_> = files.filter_map(|file| directory(file)).collect();
        let watcher = watcher(&changed, &directories);
        let watcher = watcher
            .inspect_err(|error| warn!(%error, "changed files are noticed within half a minute, not at once"))
            .ok();
        Self { changed, _watcher: watcher }
    }

    /// Whoever has it hears of what changes from now on.
    pub(super) fn changes(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }
}

fn watcher(changed: &watch::Sender<()>, directories: &BTreeSet<&Path>) -> notify::Result<RecommendedWatcher> {
    let changed = changed.clone();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        // That a file was read, by ourselves above all, is no change. An error may hide one.
        if event.map_or(true, |event| !event.kind.is_access()) {
            changed.send_replace(());
        }
    })?;
    for directory in directories {
        // One that is not there is looked for like the others.
        if let Err(error) = watcher.watch(directory, RecursiveMode::NonRecursive) {
            debug!(%error, directory = %directory.display(), "this directory cannot be watched");
        }
    }
    Ok(watcher)
}

/// Where a file is; a bare name is in the working directory.
fn directory(file: &Path) -> Option<&Path> {
    let directory = file.parent()?;
    Some(if directory.as_os_str().is_empty() { Path::new(".") } else { directory })
}
