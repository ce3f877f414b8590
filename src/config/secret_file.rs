use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use zeroize::Zeroizing;

use super::reader::{Checked, Section};
use super::{Problem, ShownPath};

/// The longest secret: several times the largest signing key.
const MAX_BYTES: usize = 64 * 1024;
/// What a mode gives to everybody: to read, or to put another secret in its place. What it gives to the file's group is
/// the operator's choice: Kubernetes gives a Secret's files to the group of the pod.
const OPEN_TO_EVERYBODY: u32 = 0o006;

/// A secret file's content without the line end that editors add. A file that is open to everybody is refused.
pub(super) fn read(section: &mut Section<'_>, key: &'static str, path: &Path) -> Checked<Zeroizing<Vec<u8>>> {
    section.reads(path);
    let file = ShownPath::new(path);
    let content = content(path);
    let (secret, mode) = content.map_err(|cause| section.mistake(key, Problem::File { file: file.clone(), cause }))?;
    check_mode(section, key, path, mode)?;
    if secret.is_empty() {
        return Err(section.mistake(key, Problem::Content { file, expected: "is empty: write the secret into it" }));
    }
    Ok(secret)
}

/// Records a mistake when everybody on the machine can read or change a file with this mode.
pub(super) fn check_mode(section: &mut Section<'_>, key: &'static str, path: &Path, mode: u32) -> Checked<()> {
    if mode & OPEN_TO_EVERYBODY == 0 {
        return Ok(());
    }
    Err(section.mistake(key, Problem::OpenToEverybody { file: ShownPath::new(path), mode: mode & 0o777 }))
}

fn content(path: &Path) -> io::Result<(Zeroizing<Vec<u8>>, u32)> {
    // Looked at before it is opened: opening a pipe would wait for its writer.
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a regular file"));
    }
    let file = File::open(path)?;
    let mode = file.metadata()?.permissions().mode();
    // As large as it can get from the start: a buffer that grows leaves copies behind that nobody wipes.
    let mut secret = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    file.take(MAX_BYTES as u64 + 1).read_to_end(&mut secret)?;
    if secret.len() > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 KiB"));
    }
    while secret.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
    Ok((secret, mode))
}
