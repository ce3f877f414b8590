mod application;
mod audit_key;
mod certificates;
mod log_filter;
mod mounts;
mod policy;

use std::collections::hash_map::RandomState;
use std::error::Error;
use std::hash::BuildHasher;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tracing::{error, info};

pub(super) use self::application::ApplicationInUse;
pub(super) use self::audit_key::audit_key;
pub(super) use self::certificates::certificates;
pub(super) use self::log_filter::log_filter;
use self::mounts::Mounts;
pub(super) use self::policy::policy;
use crate::clock::Clock;
use crate::metrics;
use crate::regular_file;

/// How often the files are read without being told that they changed: not every file system tells.
const LOOK_INTERVAL: Duration = Duration::from_secs(30);
/// Files that belong together are seldom written in the same moment.
const SETTLE: Duration = Duration::from_millis(500);
/// How often one look tries again because a file changed while it was read.
const TRIES: usize = 5;
/// What is read of a file to tell whether it changed: more than any of them may have.
const MAX_BYTES: usize = 4 * 1024 * 1024;

type Reason = Box<dyn Error + Send + Sync>;
/// Puts what was read in the place of what is there.
type Apply = Box<dyn FnOnce()>;

/// Something that is made of files, and made anew when they change.
pub(super) struct Subject {
    name: &'static str,
    files: Vec<PathBuf>,
    read: Box<dyn FnMut() -> Result<Apply, Reason> + Send>,
    /// Whether what the files mean changes with time as well: certificates begin and end to count.
    depends_on_time: bool,
    in_use: Vec<u64>,
    failed: Option<Vec<u64>>,
    hasher: RandomState,
}

impl Subject {
    /// `read` reads the files, or says why they cannot be used; `apply` puts what was read in the place of what is there.
    /// What the files hold now counts as in use: the start has read them.
    pub(super) fn new<T: 'static, E>(
        name: &'static str,
        files: Vec<PathBuf>,
        mut read: impl FnMut() -> Result<T, E> + Send + 'static,
        apply: impl Fn(T) + Clone + Send + 'static,
    ) -> Self
    where
        E: Error + Send + Sync + 'static,
    {
        let read = move || {
            let (new, apply) = (read()?, apply.clone());
            Ok(Box::new(move || apply(new)) as Apply)
        };
        let hasher = RandomState::new();
        let in_use = digests(&hasher, &files);
        Self { name, files, read: Box::new(read), depends_on_time: false, in_use, failed: None, hasher }
    }

    /// Has the files read with each look, changed or not.
    pub(super) fn depending_on_time(self) -> Self {
        Self { depends_on_time: true, ..self }
    }

    /// Reads the files, and has them take effect if they are not what is in use. What a file holds between two writes
    /// may pass for whole: only what is the same before and after is put to use.
    /// Answers whether they did.
    fn look(&mut self) -> bool {
        for _ in 0..TRIES {
            let before = digests(&self.hasher, &self.files);
            if self.in_use == before && !self.depends_on_time {
                self.failed = None;
                return false;
            }
            let outcome = (self.read)();
            if digests(&self.hasher, &self.files) == before {
                return self.note(before, outcome);
            }
        }
        false
    }

    fn note(&mut self, digests: Vec<u64>, outcome: Result<Apply, Reason>) -> bool {
        let is_ok = outcome.is_ok();
        if !is_ok {
            metrics::CONFIG_RELOAD_FAILURES.count(&[self.name]);
        }
        match outcome {
            Ok(apply) => {
                apply();
                if self.in_use != digests {
                    info!(subject = self.name, "files have changed and are in use");
                }
                (self.in_use, self.failed) = (digests, None);
            }
            // Told once; tried again with each look, since what is wrong may not be in the files.
            Err(reason) if self.failed.as_ref() != Some(&digests) => {
                error!(subject = self.name, %reason, "files have changed and cannot be used: what was there stays in use");
                self.failed = Some(digests);
            }
            Err(_) => {}
        }
        is_ok
    }

    fn tell_success(&self, clock: &dyn Clock) {
        let now = clock.now().as_duration().as_secs_f64();
        metrics::CONFIG_RELOAD_SUCCESS.set(now, &[self.name]);
    }
}

/// Has every subject follow its files, until it is dropped. A directory that is mounted from a Kubernetes Secret or
/// `ConfigMap` is swapped as a whole, which a watch on a file would see once and never again: the directories are watched.
pub(super) async fn follow(mut subjects: Vec<Subject>, clock: Arc<dyn Clock>) {
    let mounts = Mounts::watch(subjects.iter().flat_map(|subject| &subject.files));
    // The start has read them.
    for subject in &subjects {
        subject.tell_success(&*clock);
    }
    loop {
        let time = Arc::clone(&clock);
        // A mounted file that hangs must not hold the thread.
        let looked = tokio::task::spawn_blocking(move || {
            for subject in &mut subjects {
                if subject.look() {
                    subject.tell_success(&*time);
                }
            }
            subjects
        });
        let Ok(back) = looked.await else {
            error!("files are not followed any more: a fault of ticketd");
            return;
        };
        subjects = back;
        tokio::select! {
            () = mounts.changed() => clock.sleep(SETTLE).await,
            () = clock.sleep(LOOK_INTERVAL) => {}
        }
    }
}

/// A number for each file's content, or for why it has none.
fn digests(hasher: &RandomState, files: &[PathBuf]) -> Vec<u64> {
    files.iter().map(|file| digest(hasher, file)).collect()
}

fn digest(hasher: &RandomState, file: &Path) -> u64 {
    match regular_file::read(file, MAX_BYTES) {
        Ok(content) => hasher.hash_one(&*content.bytes),
        Err(error) => hasher.hash_one(error.kind()),
    }
}

#[cfg(test)]
mod tests;
