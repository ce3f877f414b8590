use crate::store::StoreError;

/// Why an operation failed, before the database's name is added.
#[derive(Debug)]
pub(super) enum Failure {
    Sqlx(sqlx::Error),
    Store(StoreError),
    TimedOut,
    Layout(&'static str),
    Newer { version: i64, known: i64 },
}

impl Failure {
    /// PostgreSQL's error as it may be told: without its details, in which it repeats rows with the secrets in them.
    pub(super) fn at(self, place: &str) -> StoreError {
        let database = place.to_owned();
        let error = match self {
            Self::Store(error) => return error,
            Self::TimedOut => {
                return StoreError::Unavailable { database, problem: "it did not answer in time".to_owned() };
            }
            Self::Layout(problem) => return StoreError::Refused { database, problem: problem.to_owned() },
            Self::Newer { version, known } => return StoreError::IncompatibleLayout { database, version, known },
            Self::Sqlx(error) => error,
        };
        let passes = passes(&error);
        let problem = match error {
            sqlx::Error::PoolClosed => return StoreError::Closed,
            sqlx::Error::PoolTimedOut => "there was no connection in time".to_owned(),
            sqlx::Error::Database(error) => match error.code() {
                Some(code) => format!("{} (SQLSTATE {code})", error.message()),
                None => error.message().to_owned(),
            },
            other => other.to_string(),
        };
        if passes { StoreError::Unavailable { database, problem } } else { StoreError::Refused { database, problem } }
    }
}

/// Whether a lock was not to be had in time.
pub(super) fn is_locked(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| error.code().as_deref() == Some("55P03"))
}

/// Whether the same can succeed later without anyone doing something about ticketd or its rights.
fn passes(error: &sqlx::Error) -> bool {
    match error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::Protocol(_) | sqlx::Error::WorkerCrashed => true,
        // <https://www.postgresql.org/docs/current/errcodes-appendix.html>
        sqlx::Error::Database(error) => error.code().is_some_and(|code| {
            // A server that has not become the primary yet, or is none any more.
            code == "25006"
                // Connections, rollbacks for others' sake, resources, locks, the operator's intervention, the system.
                || ["08", "40", "53", "55", "57", "58"].iter().any(|class| code.starts_with(class))
        }),
        _ => false,
    }
}

impl From<sqlx::Error> for Failure {
    fn from(error: sqlx::Error) -> Self {
        Self::Sqlx(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}
