use std::io;
use std::time::Duration;

use super::kind::{duration, path, switch, text};
use super::reader::{Checked, Reader, Section};
use super::{Problem, ShownPath, Warning, secret_file};
use crate::audit::{Output, Settings};
use crate::crypto::AuditKey;

/// Where and how events are written. They go to stdout unless something else is said: that is where a cluster looks.
pub(super) fn read(reader: &mut Reader) -> Checked<Settings> {
    let default = Settings::default();
    let mut section = reader.section("audit");
    let expected = "\"stdout\", \"file\" or \"off\"";
    let word = |text: &str| matches!(text, "stdout" | "file" | "off").then(|| text.to_owned());
    let output = section.or("output", text(expected, word), "stdout".to_owned());
    let file = section.optional("path", path("the path of a file, or of a named pipe"));
    let fsync = section.or("fsync", switch(), default.fsync);
    let key_file = section.optional("hmac_key_file", path("the path of a file"));
    let limit = duration(Duration::from_millis(10)..=Duration::from_secs(10));
    let write_timeout = section.or("write_timeout", limit, default.write_timeout);
    let (output, file, key_file) = (output?, file?, key_file?);
    if let Some(file) = &key_file {
        check_key(&mut section, "hmac_key_file", file)?;
    }
    let is_file = output == "file";
    section.rule("path", Ok(is_file || file.is_none()), "needs audit.output = \"file\"");
    section.rule("fsync", fsync.map(|fsync| is_file || !fsync), "needs audit.output = \"file\"");
    let output = match (output.as_str(), file) {
        ("off", _) => {
            section.warn("output", |key| Warning::NoAudit { key });
            Output::Off
        }
        ("file", Some(file)) => {
            check_directory(&mut section, &file);
            Output::File(file)
        }
        ("file", None) => {
            let expected = "the path of a file, as audit.output is \"file\"".to_owned();
            return Err(section.mistake("path", Problem::Missing(expected)));
        }
        _ => Output::Stdout,
    };
    Ok(Settings { output, fsync: fsync?, hmac_key_file: key_file, write_timeout: write_timeout? })
}

/// The key is only looked at: the audit reads it, and reads it again when it changes.
fn check_key(section: &mut Section<'_>, key: &'static str, file: &std::path::Path) -> Checked<()> {
    let content = secret_file::read(section, key, file)?;
    if AuditKey::read(&content).is_err() {
        let expected =
            "is no audit key: write 32 random bytes or more into it, as `openssl rand -base64 32` makes them";
        return Err(section.mistake(key, Problem::Content { file: ShownPath::new(file), expected }));
    }
    Ok(())
}

fn check_directory(section: &mut Section<'_>, file: &std::path::Path) {
    // A file with a bare name is in the working directory, which is there.
    let Some(directory) = file.parent().filter(|directory| !directory.as_os_str().is_empty()) else { return };
    let cause = match directory.metadata() {
        Ok(metadata) if metadata.is_dir() => return,
        Ok(_) => io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"),
        Err(cause) => cause,
    };
    section.mistake("path", Problem::File { file: ShownPath::new(directory), cause });
}
