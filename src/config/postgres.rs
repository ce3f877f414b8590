use std::path::PathBuf;

use super::kind::{number, path, text};
use super::reader::{Checked, Section};
use super::{Problem, ShownPath, secret_file};
use crate::identifiers::DatabasePassword;
use crate::store::PostgresSettings;

const SCHEMES: [&str; 2] = ["postgres://", "postgresql://"];
const ELSEWHERE: &str = "is for PostgreSQL, and store.url does not name such a database";

/// Whether a URL means to name a database of PostgreSQL's.
pub(super) fn is_url(url: &str) -> bool {
    SCHEMES.iter().any(|scheme| url.starts_with(scheme))
}

/// How the database of `url` is connected to, if it is PostgreSQL's.
pub(super) fn read(section: &mut Section<'_>, url: Checked<&str>) -> Checked<PostgresSettings> {
    let url_text = || text("\"postgres://USER@HOST:PORT/DATABASE\"", |url| is_url(url).then(|| url.to_owned()));
    let default = PostgresSettings::default();
    let password_file = section.optional("password_file", path("the path of a file with the database user's password"));
    let ca_file = section.optional("ca_file", path("the path of a PEM file"));
    let session_url = section.optional("session_url", url_text());
    let max_connections = section.or("max_connections", number(1..=1000), default.max_connections);

    let is_postgres = url.map(is_url);
    for (key, is_set) in [
        ("password_file", password_file.as_ref().is_ok_and(Option::is_some)),
        ("ca_file", ca_file.as_ref().is_ok_and(Option::is_some)),
        ("session_url", session_url.as_ref().is_ok_and(Option::is_some)),
    ] {
        section.rule(key, is_postgres.map(|is_postgres| is_postgres || !is_set), ELSEWHERE);
    }
    if let Ok(url) = url
        && is_url(url)
    {
        check_url(section, "url", url);
    }
    if let Ok(Some(url)) = &session_url {
        check_url(section, "session_url", url);
    }
    if let Ok(Some(file)) = &ca_file
        && let Err(cause) = file.metadata()
    {
        section.mistake("ca_file", Problem::File { file: ShownPath::new(file), cause });
    }
    let password = password_file.and_then(|file| password(section, file));
    Ok(PostgresSettings {
        password: password?,
        ca_file: ca_file?,
        session_url: session_url?,
        max_connections: max_connections?,
    })
}

fn check_url(section: &mut Section<'_>, key: &'static str, url: &str) {
    if let Err(problem) = PostgresSettings::check_url(url) {
        section.mistake(key, Problem::Conflict(problem));
    }
}

fn password(section: &mut Section<'_>, file: Option<PathBuf>) -> Checked<Option<DatabasePassword>> {
    let key = "password_file";
    let Some(file) = file else { return Ok(None) };
    let password = secret_file::read(section, key, &file)?;
    match std::str::from_utf8(&password) {
        Ok(password) if !password.contains('\0') => Ok(Some(DatabasePassword::new(password))),
        _ => {
            let expected = "holds something else than a password: expected a line of text";
            Err(section.mistake(key, Problem::Content { file: ShownPath::new(&file), expected }))
        }
    }
}
