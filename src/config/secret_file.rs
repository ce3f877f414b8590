use std::io;
use std::path::Path;

use zeroize::Zeroizing;

use super::reader::{Checked, Section};
use super::{Problem, ShownPath};
use crate::regular_file::{self, Content};

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
    let Content { bytes: mut secret, mode } = regular_file::read(path, MAX_BYTES)?;
    while secret.pop_if(|byte| matches!(byte, b'\r' | b'\n')).is_some() {}
    Ok((secret, mode))
}
