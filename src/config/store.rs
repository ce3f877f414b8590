use std::io;
use std::path::Path;

use super::kind::{path, text};
use super::reader::{Checked, Reader, Section};
use super::{Problem, ShownPath};
use crate::store::Settings;

const DEFAULT_URL: &str = "sqlite:///var/lib/ticketd/ticketd.db";
const SCHEME: &str = "sqlite://";

/// Where tenants are kept.
pub(super) fn read(reader: &mut Reader) -> Checked<Settings> {
    let mut section = reader.section("store");
    let is_url = |text: &str| text.strip_prefix(SCHEME).is_some_and(|path| !path.is_empty()).then(|| text.to_owned());
    let url = section.or("url", text("\"sqlite://PATH\"", is_url), DEFAULT_URL.to_owned());
    let tenants_directory = section.optional("tenants_directory", path("the path of a directory"));
    if let Ok(url) = &url {
        let database = Path::new(url.strip_prefix(SCHEME).unwrap_or_default());
        // A database with a bare name is in the working directory, which is there.
        let directory = database.parent().filter(|directory| !directory.as_os_str().is_empty());
        check_directory(&mut section, "url", directory);
    }
    if let Ok(Some(directory)) = &tenants_directory {
        check_directory(&mut section, "tenants_directory", Some(directory));
    }
    Ok(Settings { url: url?, tenants_directory: tenants_directory? })
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
