use std::io;
use std::path::PathBuf;

use thiserror::Error;

use super::directory::TenantFileProblem;
use super::sealing_keys::KeyFileProblem;
use super::system_user_token::TokenProblem;
use crate::crypto::{RandomnessError, SealError, SealingKeyId};
use crate::identifiers::ContextIdentifier;

/// What can go wrong with the store. No secret is in it.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The settings name no database that can be opened. The URL is left out: another scheme's may hold a password.
    #[error("store.url is not understood: {0}")]
    Url(&'static str),
    /// There is no database yet, and none can be made.
    #[error(
        "the database {} cannot be created: {source}: its directory must exist and be writable for ticketd",
        path.display()
    )]
    Create {
        /// The database's file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The path leads to something other than a file.
    #[error("the database {} is a directory or device: name a file in store.url", path.display())]
    NotAFile {
        /// What store.url names.
        path: PathBuf,
    },
    /// The file is something else.
    #[error("{} is no SQLite database: name another file in store.url, or restore a backup", path.display())]
    NotADatabase {
        /// The file.
        path: PathBuf,
    },
    /// The file is another program's database.
    #[error("{} is another program's database: name another file in store.url", path.display())]
    ForeignDatabase {
        /// The file.
        path: PathBuf,
    },
    /// A later version of ticketd has changed the database's layout.
    #[error(
        "the database {} was written by a newer ticketd (layout {version}, this one knows {known}): run that version or \
         restore a backup from before",
        path.display()
    )]
    NewerDatabase {
        /// The database's file.
        path: PathBuf,
        /// The layout found.
        version: i64,
        /// The newest layout that this program knows.
        known: i64,
    },
    /// The database could not be brought up to date. It is as it was.
    #[error("the database {} cannot be brought up to date", path.display())]
    Migration {
        /// The database's file.
        path: PathBuf,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A later version of ticketd has changed the PostgreSQL database's layout, and taken away what this one needs.
    #[error(
        "the database {database} was changed by a newer ticketd (layout {version}, this one knows {known}) and cannot be \
         used by this one any more: run a newer version"
    )]
    IncompatibleLayout {
        /// The database.
        database: String,
        /// The layout found.
        version: i64,
        /// The newest layout that this program knows.
        known: i64,
    },
    /// The PostgreSQL database is not there, or refuses for now: it starts, is the standby, or is overloaded.
    #[error("the database {database} cannot be used at the moment: {problem}")]
    Unavailable {
        /// The database.
        database: String,
        /// What it said.
        problem: String,
    },
    /// The PostgreSQL database refuses, until somebody does something about it.
    #[error("the database {database} refuses: {problem}")]
    Refused {
        /// The database.
        database: String,
        /// What it said.
        problem: String,
    },
    /// The database's content is broken.
    #[error("the database {} is damaged: restore a backup, or recover it with `sqlite3 FILE .recover`", path.display())]
    Damaged {
        /// The database's file.
        path: PathBuf,
    },
    /// The database cannot be written, or not be opened at all.
    #[error(
        "the database {} cannot be opened for writing: the file and its directory must be writable for ticketd",
        path.display()
    )]
    Unwritable {
        /// The database's file.
        path: PathBuf,
        /// What SQLite said.
        source: sqlx::Error,
    },
    /// The disk is full.
    #[error("the disk with the database {} is full: make room", path.display())]
    Full {
        /// The database's file.
        path: PathBuf,
    },
    /// Others kept the database for longer than we wait.
    #[error("the database {} is busy: ask again", path.display())]
    Busy {
        /// The database's file.
        path: PathBuf,
    },
    /// There was no answer in time. A write may have happened; it can be repeated.
    #[error("{} did not answer in time: ask again", path.display())]
    TimedOut {
        /// The database's file, or the tenants' directory.
        path: PathBuf,
    },
    /// The store is closed: the process ends.
    #[error("the store is closed")]
    Closed,
    /// Anything else that the database says.
    #[error("the database {} failed", path.display())]
    Database {
        /// The database's file.
        path: PathBuf,
        /// What it said.
        source: sqlx::Error,
    },
    /// What the database holds about a tenant makes no sense.
    #[error("the database's record of {context_identifier} cannot be used ({problem}): put the tenant again")]
    BadRecord {
        /// The tenant.
        context_identifier: ContextIdentifier,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// What the database holds about a user's grant makes no sense.
    #[error(
        "the database's record of a grant of {context_identifier} cannot be used ({problem}): the user has to sign in"
    )]
    BadGrant {
        /// The tenant.
        context_identifier: ContextIdentifier,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// As many sign-ins as may be wait for their users.
    #[error("too many sign-ins are under way")]
    TooManyPending,
    /// The tenant comes from the mounted directory.
    #[error("{context_identifier} comes from the mounted directory {}: change its file there", directory.display())]
    ReadOnly {
        /// The tenant.
        context_identifier: ContextIdentifier,
        /// The directory.
        directory: PathBuf,
    },
    /// The settings name no key that seals.
    #[error("store.sealing_key_files names no file: `ticketd keys new-sealing-key` makes one")]
    NoSealingKey,
    /// A file gives no sealing key.
    #[error("the sealing key file {} cannot be used: {source}", path.display())]
    SealingKeyFile {
        /// The file.
        path: PathBuf,
        /// Why.
        source: KeyFileProblem,
    },
    /// Two files hold the same sealing key.
    #[error("two of store.sealing_key_files hold the same key {id}")]
    SealingKeyTwice {
        /// The key.
        id: SealingKeyId,
    },
    /// Records are sealed with a key that is not there. They would be lost to whoever asks for them.
    #[error("the database has secrets sealed with the key {id}: add its file to store.sealing_key_files")]
    SealingKeyAbsent {
        /// The key.
        id: SealingKeyId,
    },
    /// A secret cannot be kept, as it cannot be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
    /// This process cannot be told from others.
    #[error("this process cannot be given a name")]
    Randomness(#[source] RandomnessError),
    /// There is no such tenant to note something about.
    #[error("{context_identifier} is not registered")]
    NotRegistered {
        /// The tenant.
        context_identifier: ContextIdentifier,
    },
    /// The text given is no system user token.
    #[error("the system user token is not valid: {reason}")]
    InvalidToken {
        /// What is wrong with it.
        reason: TokenProblem,
    },
    /// A text to note about a tenant is empty or too long.
    #[error("a {what} has 1 to {limit} bytes")]
    InvalidLength {
        /// What the text should be.
        what: &'static str,
        /// The most that is kept.
        limit: usize,
    },
    /// The tenants' directory cannot be read.
    #[error("the tenants' directory {} cannot be read: {source}: check the mount and its permissions", path.display())]
    TenantsDirectory {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of the tenants' directory cannot be used.
    #[error("the tenant's file {} cannot be used: {problem}", path.display())]
    TenantFile {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: TenantFileProblem,
    },
}

impl StoreError {
    /// Whether the same request can succeed later without anyone doing something.
    pub fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Busy { .. }
                | Self::TimedOut { .. }
                | Self::Full { .. }
                | Self::Database { .. }
                | Self::Unavailable { .. }
        )
    }
}

impl From<TokenProblem> for StoreError {
    fn from(reason: TokenProblem) -> Self {
        Self::InvalidToken { reason }
    }
}
