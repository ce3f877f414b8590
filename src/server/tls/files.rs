use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::regular_file;

/// Far beyond the longest bundle or revocation list.
const MAX_BYTES: usize = 4 * 1024 * 1024;
/// What Kubernetes points at the current content of a mounted Secret. It is swapped as a whole; the files beside it are
/// links that lead through it.
const CURRENT: &str = "..data";

/// Reads files of one generation: those of a mounted Secret come from what was its content at the first look, however
/// often it is swapped meanwhile. When that is taken away before all is read, reading fails.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// What each directory's [`CURRENT`] was.
    current: BTreeMap<PathBuf, PathBuf>,
}

impl Files {
    /// All of a file.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Zeroizing<Vec<u8>>> {
        let path = self.resolve(path)?;
        Ok(regular_file::read(&path, MAX_BYTES)?.bytes)
    }

    fn resolve(&mut self, path: &Path) -> io::Result<PathBuf> {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return Ok(path.to_owned()) };
        let link = directory.join(CURRENT);
        if !link.is_symlink() {
            return Ok(path.to_owned());
        }
        if !self.current.contains_key(directory) {
            self.current.insert(directory.to_owned(), link.canonicalize()?);
        }
        let current = self.current.get(directory).map(|current| current.join(name));
        // A file that was put beside the link is none of the Secret's.
        Ok(current.filter(|_| path.is_symlink()).unwrap_or_else(|| path.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn files_of_a_mounted_secret_are_of_one_generation() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        for generation in ["first", "second"] {
            fs::create_dir(at(generation)).unwrap();
            for name in ["tls.crt", "tls.key"] {
                fs::write(at(generation).join(name), format!("{name} {generation}")).unwrap();
            }
        }
        symlink("first", at("..data")).unwrap();
        for name in ["tls.crt", "tls.key"] {
            symlink(format!("..data/{name}"), at(name)).unwrap();
        }
        let mut files = Files::default();
        assert_eq!(*files.read(&at("tls.crt")).unwrap(), b"tls.crt first");
        symlink("second", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_eq!(*files.read(&at("tls.key")).unwrap(), b"tls.key first");
        assert_eq!(*Files::default().read(&at("tls.key")).unwrap(), b"tls.key second");

        fs::write(at("beside"), "beside").unwrap();
        assert_eq!(*files.read(&at("beside")).unwrap(), b"beside");
        fs::remove_dir_all(at("first")).unwrap();
        assert!(files.read(&at("tls.crt")).is_err(), "not a file of another generation");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Files::default().read(directory.path()).is_err());
        assert!(Files::default().read(&directory.path().join("none")).is_err());
    }
}
