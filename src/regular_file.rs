//! Files that somebody mounts or writes for ticketd: read whole, or not at all.

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

/// What a file held when it was read. It may be a secret, so it is wiped when it is dropped.
#[derive(Debug)]
pub struct Content {
    /// All of it.
    pub bytes: Zeroizing<Vec<u8>>,
    /// Who may do what with the file.
    pub mode: u32,
}

/// Reads a file of at most so many bytes. It may block for as long as the file system does, and for nothing else.
pub fn read(path: &Path, most: usize) -> io::Result<Content> {
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = File::open(path)?;
    let metadata = file.metadata()?;
    // As large as it gets from the start: a buffer that grows leaves copies behind that nobody wipes.
    let size = usize::try_from(metadata.len()).unwrap_or(usize::MAX).min(most);
    let mut bytes = Zeroizing::new(Vec::with_capacity(size + 1));
    file.take(size as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > most {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("it is larger than {}", shown(most))));
    }
    if bytes.len() > size {
        return Err(io::Error::new(io::ErrorKind::ResourceBusy, "it is being written"));
    }
    Ok(Content { bytes, mode: metadata.permissions().mode() })
}

fn shown(size: usize) -> String {
    const KIB: usize = 1024;
    const MIB: usize = 1024 * KIB;
    match size {
        MIB.. => format!("{} MiB", size / MIB),
        KIB.. => format!("{} KiB", size / KIB),
        _ => format!("{size} bytes"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_is_read_whole_or_not_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        for content in ["", "x", &"x".repeat(2048)] {
            fs::write(&file, content).unwrap();
            let read = read(&file, 2048).unwrap();
            assert_eq!((&**read.bytes, read.mode & 0o600), (content.as_bytes(), 0o600));
        }
        fs::write(&file, "x".repeat(2049)).unwrap();
        assert_eq!(read(&file, 2048).unwrap_err().to_string(), "it is larger than 2 KiB");
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let pipe = directory.path().join("pipe");
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for path in [&pipe, directory.path()] {
            assert_eq!(read(path, 1).unwrap_err().to_string(), "it is not a regular file");
        }
        assert_eq!(read(&directory.path().join("none"), 1).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
