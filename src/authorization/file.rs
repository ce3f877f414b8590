use std::io;
use std::path::Path;

use crate::regular_file;

/// The longest file that is read.
const MAX_FILE_BYTES: usize = 1024 * 1024;

/// The text of a file.
pub(super) fn read(file: &Path) -> io::Result<String> {
    let content = regular_file::read(file, MAX_FILE_BYTES)?;
    let text = std::str::from_utf8(&content.bytes);
    text.map(str::to_owned).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}
