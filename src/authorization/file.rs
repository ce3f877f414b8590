use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

/// The longest file that is read.
const MAX_FILE_BYTES: u64 = 1024 * 1024;

/// The text of a file.
pub(super) fn read(file: &Path) -> io::Result<String> {
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let mut text = String::new();
    File::open(file)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    Ok(text)
}
