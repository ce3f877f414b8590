use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::DirectoryTenant;
use super::file::{self, TenantFileProblem};
use crate::identifiers::{ContextIdentifier, SystemUserToken};

/// The most names looked at. A Kubernetes Secret has room for some thousands.
const MAX_NAMES: usize = 100_000;
/// How many problems one look logs each by itself.
const PROBLEMS_LOGGED: usize = 20;

/// What a directory held when it was looked at.
#[derive(Debug, Default)]
pub(super) struct Look {
    pub(super) files: BTreeMap<ContextIdentifier, Arc<TenantFile>>,
    /// Names that are no ContextIdentifier, to log each once.
    ignored: BTreeSet<OsString>,
    /// Where a Kubernetes mount's `..data` leads: one place per version of all its files.
    data: Option<PathBuf>,
}

/// What is known about a tenant's file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct TenantFile {
    /// Its name, as it is spelled.
    pub(super) name: ContextIdentifier,
    /// The last usable content.
    token: Option<SystemUserToken>,
    /// Why the present content cannot be used.
    pub(super) problem: Option<TenantFileProblem>,
    stamp: Option<Stamp>,
    /// Whether the content was read again after the stamp was first seen. A write in the same tick of the file system's
    /// clock as the first reading leaves the stamp as it was.
    settled: bool,
}

/// Changes when a file is written or replaced.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Look {
    /// Looks again and tells the tenants whose token is another than `before`.
    pub(super) fn again(directory: &Path, before: &Self) -> io::Result<(Self, HashSet<ContextIdentifier>)> {
        // First, so that a swap after it is seen by the next look.
        let data = fs::read_link(directory.join("..data")).ok();
        let (names, ignored) = list(directory)?;
        let files = names
            .chunk_by(|one, next| one == next)
            .filter_map(|spellings| {
                let (name, other) = (*spellings.first()?, spellings.get(1).copied());
                let known = before.files.get(&name);
                let trusted = known.filter(|_| data == before.data);
                Some((name, TenantFile::look(directory, name, other, known, trusted)?))
            })
            .collect();
        let look = Self { files, ignored, data };
        look.log_problems(directory, before);
        let changed = look.differing(before);
        Ok((look, changed))
    }

    /// The tenant with its last usable token.
    pub(super) fn tenant(&self, context_identifier: ContextIdentifier) -> Option<DirectoryTenant> {
        let file = self.files.get(&context_identifier)?;
        Some(DirectoryTenant { context_identifier: file.name, system_user_token: file.token.clone()? })
    }

    fn differing(&self, before: &Self) -> HashSet<ContextIdentifier> {
        let gone = before.files.keys().filter(|known| !self.files.contains_key(known)).copied();
        let other = self.files.iter().filter_map(|(context_identifier, file)| {
            let token = before.files.get(context_identifier).and_then(|known| known.token.as_ref());
            (file.token.as_ref() != token).then_some(*context_identifier)
        });
        gone.chain(other).collect()
    }

    fn log_problems(&self, directory: &Path, before: &Self) {
        let unusable = self.files.iter().filter_map(|(context_identifier, file)| {
            let known = before.files.get(context_identifier).and_then(|known| known.problem.as_ref());
            let problem = file.problem.as_ref().filter(|problem| Some(*problem) != known)?;
            Some((file.name.to_string(), problem.to_string()))
        });
        let ignored = self.ignored.difference(&before.ignored).map(|name| {
            (name.to_string_lossy().escape_debug().to_string(), "its name is no ContextIdentifier".to_owned())
        });
        let mut problems = unusable.chain(ignored);
        for (file, problem) in problems.by_ref().take(PROBLEMS_LOGGED) {
            tracing::warn!(directory = %directory.display(), file, problem, "a file of the tenants' directory is not used");
        }
        let more = problems.count();
        if more > 0 {
            tracing::warn!(directory = %directory.display(), more, "more files of the tenants' directory are not used");
        }
    }
}

impl TenantFile {
    /// Looks at one tenant's file. `other` is the name of a second file for the tenant. `before` is what was known;
    /// `trusted` the same when an equal stamp means equal content. Nothing when there is no file.
    fn look(
        directory: &Path,
        name: ContextIdentifier,
        other: Option<ContextIdentifier>,
        before: Option<&Arc<Self>>,
        trusted: Option<&Arc<Self>>,
    ) -> Option<Arc<Self>> {
        let path = directory.join(name.as_str());
        // Before the content, so that a write between the two is seen by the next look.
        let stamp = Stamp::of(&path);
        let same =
            trusted.filter(|known| other.is_none() && known.stamp == stamp && known.name.as_str() == name.as_str());
        if let Some(known) = same
            && known.settled
        {
            return Some(Arc::clone(known));
        }
        let content = match other {
            Some(other) => Err(TenantFileProblem::SameTenant { other: other.to_string() }),
            None => file::read(&path),
        };
        let last_token = || before.and_then(|known| known.token.clone());
        let (token, problem) = match content {
            Ok(token) => (Some(token?), None),
            Err(problem) => (last_token(), Some(problem)),
        };
        // What could not be read may be readable the next time without a change of the file.
        let settled = same.is_some() && !matches!(problem, Some(TenantFileProblem::Unreadable(_)));
        Some(Arc::new(Self { name, token, problem, stamp, settled }))
    }
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The names in a directory: those of tenants, each beside its other spellings, and the others.
fn list(directory: &Path) -> io::Result<(Vec<ContextIdentifier>, BTreeSet<OsString>)> {
    let (mut names, mut ignored) = (Vec::new(), BTreeSet::new());
    for (count, entry) in fs::read_dir(directory)?.enumerate() {
        if count == MAX_NAMES {
            return Err(io::Error::other(format!("it has more than {MAX_NAMES} entries")));
        }
        let name = entry?.file_name();
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        match name.to_str().and_then(|name| name.parse::<ContextIdentifier>().ok()) {
            Some(context_identifier) => names.push(context_identifier),
            None => drop(ignored.insert(name)),
        }
    }
    names.sort_by(|one, other| one.cmp(other).then_with(|| one.as_str().cmp(other.as_str())));
    Ok((names, ignored))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    /// What was known of a file whose content has changed since, in the same tick as its stamp.
    fn stale(directory: &Path, settled: bool) -> Look {
        let name: ContextIdentifier = "Cust1".parse().unwrap();
        let stamp = Stamp::of(&directory.join("Cust1"));
        let file = TenantFile { name, token: Some(SystemUserToken::new("App-1")), problem: None, stamp, settled };
        Look { files: BTreeMap::from([(name, Arc::new(file))]), ..Look::default() }
    }

    #[test]
    fn an_equal_stamp_is_trusted_after_a_second_reading() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("Cust1"), "App-2").unwrap();
        let (look, changed) = Look::again(directory.path(), &stale(directory.path(), false)).unwrap();
        assert_eq!(changed.len(), 1);
        assert!(look.files.values().all(|file| file.settled));
        let (_, changed) = Look::again(directory.path(), &stale(directory.path(), true)).unwrap();
        assert_eq!(changed.len(), 0, "the file is not read again");
    }

    #[test]
    fn no_stamp_is_trusted_after_a_swap() {
        let directory = TempDir::new().unwrap();
        fs::write(directory.path().join("Cust1"), "App-2").unwrap();
        std::os::unix::fs::symlink("..2026", directory.path().join("..data")).unwrap();
        let (_, changed) = Look::again(directory.path(), &stale(directory.path(), true)).unwrap();
        assert_eq!(changed.len(), 1);
    }
}
