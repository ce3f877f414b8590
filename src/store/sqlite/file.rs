use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::store::StoreError;

/// The file that a URL of the form `sqlite://PATH` names.
pub(super) fn path(url: &str) -> Result<PathBuf, StoreError> {
    let path = url.strip_prefix("sqlite://").ok_or(StoreError::Url("it has the form sqlite://PATH"))?;
    if path.is_empty() {
        return Err(StoreError::Url("the path is missing: it has the form sqlite://PATH"));
    }
    if path.contains("memory:") {
        return Err(StoreError::Url("a database in memory loses every tenant: name a file"));
    }
    if path.contains(['?', '#', '\0']) {
        return Err(StoreError::Url("options are not supported, nor are ? and # in the path"));
    }
    Ok(PathBuf::from(path))
}

/// Makes an empty file that only its owner can read, which SQLite takes for an empty database and whose mode it gives to
/// the files beside it. An existing file is never opened here: closing it would release SQLite's locks on it.
pub(super) fn create_if_missing(path: &Path) -> Result<(), StoreError> {
    let found = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            match OpenOptions::new().write(true).create_new(true).mode(0o600).open(path) {
                // Another process was first.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists && path.exists() => return Ok(()),
                made => made.map(drop),
            }
            .map_err(|source| StoreError::Create { path: path.to_owned(), source })?;
            return Ok(());
        }
        found => found.map_err(|source| StoreError::Create { path: path.to_owned(), source })?,
    };
    if !found.is_file() {
        return Err(StoreError::NotAFile { path: path.to_owned() });
    }
    let mode = found.permissions().mode() & 0o777;
    if mode & 0o007 != 0 {
        tracing::warn!(
            path = %path.display(),
            mode = %format_args!("{mode:04o}"),
            "everyone on this machine can open the database with the system user tokens: set its mode to 0600",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_file_can_be_named() {
        assert_eq!(path("sqlite:///var/lib/t.db").unwrap(), Path::new("/var/lib/t.db"));
        assert_eq!(path("sqlite://t%20.db").unwrap(), Path::new("t%20.db"));
        for refused in
            ["", "t.db", "sqlite:t.db", "sqlite://", "sqlite://:memory:", "sqlite://t.db?mode=ro", "sqlite://\0"]
        {
            assert!(matches!(path(refused), Err(StoreError::Url(_))), "{refused}");
        }
        let error = path("postgres://user:canary@host/db").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"), "{error:?}");
    }
}
