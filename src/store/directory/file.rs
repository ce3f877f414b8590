use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use rustix::fs::OFlags;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::identifiers::SystemUserToken;
use crate::store::{TokenProblem, check_system_user_token};

/// The largest file read, in bytes.
const MAX_LENGTH: usize = 4096;

/// Why a tenant's file cannot be used. Nothing of its content is in it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum TenantFileProblem {
    /// It is a directory, a device or a pipe.
    #[error("it is not a file")]
    NotAFile,
    /// It is larger than a system user token can be.
    #[error("it is larger than {MAX_LENGTH} bytes")]
    TooLarge,
    /// It is not text.
    #[error("it is not UTF-8")]
    NotUtf8,
    /// It cannot be read.
    #[error("it cannot be read: {0}")]
    Unreadable(io::ErrorKind),
    /// Its text is no system user token.
    #[error("its system user token is not valid: {0}")]
    Token(#[from] TokenProblem),
    /// Another file names the same tenant.
    #[error("{other} names the same tenant: remove one of them")]
    SameTenant {
        /// The other file's name.
        other: String,
    },
}

/// The system user token in a file, which may end with line breaks; nothing when there is no file.
pub(super) fn read(path: &Path) -> Result<Option<SystemUserToken>, TenantFileProblem> {
    let file = match open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| unreadable(&error))?,
    };
    if !file.metadata().map_err(|error| unreadable(&error))?.is_file() {
        return Err(TenantFileProblem::NotAFile);
    }
    // As large as it may get, so that no copy of the secret stays behind in a buffer that was outgrown.
    let mut content = Zeroizing::new(Vec::with_capacity(MAX_LENGTH + 1));
    let limit = u64::try_from(MAX_LENGTH + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut content).map_err(|error| unreadable(&error))?;
    parse(&content).map(Some)
}

/// Opening a pipe waits for its writer; non-blocking it does not.
fn open(path: &Path) -> io::Result<File> {
    let flags = i32::try_from(OFlags::NONBLOCK.bits()).unwrap_or_default();
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn parse(content: &[u8]) -> Result<SystemUserToken, TenantFileProblem> {
    if content.len() > MAX_LENGTH {
        return Err(TenantFileProblem::TooLarge);
    }
    let text = std::str::from_utf8(content).map_err(|_| TenantFileProblem::NotUtf8)?;
    let token = SystemUserToken::new(text.trim_end_matches(['\r', '\n']));
    check_system_user_token(&token)?;
    Ok(token)
}

fn unreadable(error: &io::Error) -> TenantFileProblem {
    TenantFileProblem::Unreadable(error.kind())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_content_is_a_valid_token_or_refused(content in proptest::collection::vec(any::<u8>(), 0..5000)) {
            check(&content)?;
        }

        #[test]
        fn nearly_a_token_is_a_valid_token_or_refused(content in "[A-Za-zæøå .\u{feff}\0-]{0,20}-[a-z0-9]{10}[ \r\n]{0,3}") {
            check(content.as_bytes())?;
        }
    }

    fn check(content: &[u8]) -> Result<(), TestCaseError> {
        if let Ok(token) = parse(content) {
            prop_assert_eq!(check_system_user_token(&token), Ok(()));
            prop_assert!(content.starts_with(token.expose().as_bytes()));
            let rest = content.get(token.expose().len()..).unwrap();
            prop_assert!(rest.iter().all(|byte| b"\r\n".contains(byte)));
        }
        Ok(())
    }
}
