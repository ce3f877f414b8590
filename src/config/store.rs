use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::kind::{path, paths, text};
use super::reader::{Checked, Reader, Section};
use super::{Problem, ShownPath, postgres, secret_file};
use crate::crypto::SealingKey;
use crate::store::{Sealing, Settings};
use crate::superoffice;

const DEFAULT_URL: &str = "sqlite:///var/lib/ticketd/ticketd.db";
const SQLITE: &str = "sqlite://";
const MAX_SEALING_KEYS: usize = 16;
/// More would be no Kubernetes Secret, and take long to look at.
const MAX_TENANT_FILES: usize = 10_000;

/// Where tenants are kept, and for which application. Without that the rest is checked all the same.
pub(super) fn read(reader: &mut Reader, application: Checked<&superoffice::Settings>) -> Checked<Settings> {
    let mut section = reader.section("store");
    let is_url = |text: &str| (is_sqlite(text) || postgres::is_url(text)).then(|| text.to_owned());
    let expected = "\"sqlite://PATH\" or \"postgres://USER@HOST:PORT/DATABASE\"";
    let url = section.or("url", text(expected, is_url), DEFAULT_URL.to_owned());
    let tenants_directory = section.optional("tenants_directory", path("the path of a directory"));
    let key_files = sealing_key_files(&mut section);
    if let Ok(url) = &url
        && let Some(database) = url.strip_prefix(SQLITE)
    {
        // A database with a bare name is in the working directory, which is there.
        let directory = Path::new(database).parent().filter(|directory| !directory.as_os_str().is_empty());
        check_directory(&mut section, "url", directory);
    }
    if let Ok(Some(directory)) = &tenants_directory {
        check_directory(&mut section, "tenants_directory", Some(directory));
        check_tenants(&mut section, directory);
    }
    let postgres = postgres::read(&mut section, url.as_deref().map_err(|recorded| *recorded));
    let (url, tenants_directory, postgres, key_files) = (url?, tenants_directory?, postgres?, key_files?);
    let (environment, application) =
        application.map(|application| (application.environment, &application.client_id))?;
    let sealing = Sealing { key_files, environment, application: application.clone() };
    Ok(Settings { url, tenants_directory, postgres, sealing })
}

fn is_sqlite(url: &str) -> bool {
    url.strip_prefix(SQLITE).is_some_and(|path| !path.is_empty())
}

/// The keys are only looked at: whoever seals reads them, and reads them again when they change.
fn sealing_key_files(section: &mut Section<'_>) -> Checked<Vec<PathBuf>> {
    let key = "sealing_key_files";
    let expected = "a list of paths of sealing key files, 1 to 16 of them; `ticketd keys new-sealing-key` makes one";
    let files = section.required(key, paths(expected, MAX_SEALING_KEYS))?;
    // Every key is read before the first that is wrong is given up on.
    let keys: Vec<_> = files.iter().map(|file| sealing_key(section, key, file)).collect();
    keys.into_iter().collect::<Checked<()>>()?;
    Ok(files)
}

fn sealing_key(section: &mut Section<'_>, key: &'static str, path: &Path) -> Checked<()> {
    let content = secret_file::read(section, key, path)?;
    match SealingKey::read(&content) {
        Ok(_) => Ok(()),
        Err(reason) => Err(section.mistake(key, Problem::SealingKey { file: ShownPath::new(path), reason })),
    }
}

/// The tenants' files hold secrets. Of a mounted Secret all have the same mode, so the first that is wrong tells enough.
fn check_tenants(section: &mut Section<'_>, directory: &Path) {
    // A directory that cannot be listed is reported by whoever watches it.
    let files = directory.read_dir().into_iter().flatten().filter_map(Result::ok).take(MAX_TENANT_FILES);
    // Hidden files are no tenants'.
    let tenants = files.filter(|file| !file.file_name().as_encoded_bytes().starts_with(b"."));
    for path in tenants.map(|file| file.path()) {
        // Through the links that a Kubernetes mount has in place of files.
        let Ok(metadata) = path.metadata() else { continue };
        let checked = if metadata.is_file() {
            secret_file::check_mode(section, "tenants_directory", &path, metadata.permissions().mode())
        } else {
            Ok(())
        };
        if checked.is_err() {
            return;
        }
    }
}

fn check_directory(section: &mut Section<'_>, key: &'static str, directory: Option<&Path>) {
    let Some(directory) = directory else { return };
    let cause = match directory.metadata() {
        Ok(metadata) if metadata.is_dir() => return,
        Ok(_) => io::Error::new(io::ErrorKind::NotADirectory, "it is not a directory"),
        Err(cause) => cause,
    };
    section.mistake(key, Problem::File { file: ShownPath::new(directory), cause });
}
