use std::fmt;
use std::net::IpAddr;

use sqlx::ConnectOptions;
use sqlx::postgres::{PgConnectOptions, PgSslMode};
use url::{Host, Url};

use crate::identifiers::DatabasePassword;
use crate::store::PostgresSettings;

const DEFAULT_PORT: u16 = 5432;
const FORM: &str = "it has the form postgres://USER@HOST:PORT/DATABASE";

/// Where a database is, and as whom it is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::store) struct Address {
    user: String,
    host: String,
    port: u16,
    database: String,
    encrypted: bool,
}

impl Address {
    /// What a URL of the form `postgres://USER@HOST:PORT/DATABASE?sslmode=MODE` names. The port may be absent, and
    /// `sslmode` is `verify-full` or `disable`: encrypted with a verified certificate or not at all. Only on the loopback
    /// interface the latter is the default.
    pub(in crate::store) fn parse(url: &str) -> Result<Self, &'static str> {
        let refused = Err;
        let Ok(url) = Url::parse(url) else { return refused(FORM) };
        if url.password().is_some() {
            return refused("a password does not belong in a URL: name its file in store.password_file");
        }
        if !matches!(url.scheme(), "postgres" | "postgresql") || url.fragment().is_some() {
            return refused(FORM);
        }
        let (user, database) = (url.username(), url.path().trim_start_matches('/'));
        if user.is_empty() || database.is_empty() || database.contains('/') {
            return refused(FORM);
        }
        if [user, database].iter().any(|name| name.contains('%')) {
            return refused("a user or database whose name needs percent-encoding is not supported");
        }
        let host = match url.host() {
            Some(Host::Domain(name)) if !name.is_empty() => name.to_owned(),
            Some(Host::Ipv4(address)) => address.to_string(),
            Some(Host::Ipv6(address)) => address.to_string(),
            _ => return refused(FORM),
        };
        let mut encrypted = !is_loopback(&host);
        for (key, value) in url.query_pairs() {
            encrypted = match (&*key, &*value) {
                ("sslmode", "verify-full") => true,
                ("sslmode", "disable") => false,
                ("sslmode", _) => {
                    return refused(
                        "sslmode is verify-full or disable: the others encrypt for whoever is in the middle",
                    );
                }
                _ => return refused("sslmode is the only option that a database's URL may have"),
            };
        }
        let port = url.port().unwrap_or(DEFAULT_PORT);
        Ok(Self { user: user.to_owned(), host, port, database: database.to_owned(), encrypted })
    }

    /// How to connect. Never `Debug` them: they hold the password.
    pub(super) fn options(&self, settings: &PostgresSettings) -> PgConnectOptions {
        let ssl_mode = if self.encrypted { PgSslMode::VerifyFull } else { PgSslMode::Disable };
        let options = PgConnectOptions::new_without_pgpass()
            .host(&self.host)
            .port(self.port)
            .username(&self.user)
            .database(&self.database)
            // An empty one stands in the way of `PGPASSWORD`.
            .password(settings.password.as_ref().map(DatabasePassword::expose).unwrap_or_default())
            .ssl_mode(ssl_mode)
            .application_name("ticketd")
            // PgBouncer takes no start-up parameter that it does not know, and keeps no statement for us.
            .extra_float_digits(None)
            .statement_cache_capacity(0)
            .disable_statement_logging();
        match &settings.ca_file {
            Some(file) => options.ssl_root_cert(file),
            None => options,
        }
    }
}

/// Whom errors and logs name.
impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { user: _, host, port, database, encrypted: _ } = self;
        write!(formatter, "{database} at {host}:{port}")
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_is_named_by_user_host_and_name() {
        let address = Address::parse("postgres://ticketd@db.example.com/tickets").unwrap();
        assert_eq!(address.to_string(), "tickets at db.example.com:5432");
        assert!(address.encrypted, "encrypted unless said otherwise");
        let address = Address::parse("postgresql://t@[::1]:6432/t").unwrap();
        assert_eq!((address.host.as_str(), address.port, address.encrypted), ("::1", 6432, false));
    }

    #[test]
    fn whether_to_encrypt_is_said_or_follows_from_the_host() {
        for (url, encrypted) in [
            ("postgres://t@127.0.0.1/t", false),
            ("postgres://t@localhost/t", false),
            ("postgres://t@localhost.example.com/t", true),
            ("postgres://t@127.0.0.1.example.com/t", true),
            ("postgres://t@10.0.0.1/t", true),
            ("postgres://t@10.0.0.1/t?sslmode=disable", false),
            ("postgres://t@127.0.0.1/t?sslmode=verify-full", true),
        ] {
            assert_eq!(Address::parse(url).unwrap().encrypted, encrypted, "{url}");
        }
        for mode in ["require", "prefer", "allow", "verify-ca", ""] {
            let refusal = Address::parse(&format!("postgres://t@db/t?sslmode={mode}")).unwrap_err();
            assert!(refusal.contains("verify-full or disable"), "{mode}");
        }
    }

    #[test]
    fn what_is_no_such_url_is_refused() {
        for url in [
            "postgres://",
            "postgres:///t",
            "postgres://db/t",
            "postgres://t@db",
            "postgres://t@db/",
            "mysql://t@db/t",
            "postgres://t@db/t/x",
            "postgres://t@db/t#x",
            "postgres://t@db/t?options=-c",
            "postgres://t%40x@db/t",
            "t",
            "postgres://t@db:99999/t",
            "postgres://t@/t",
        ] {
            assert!(Address::parse(url).is_err(), "{url}");
        }
        let refusal = Address::parse("postgres://t:canary@db/t").unwrap_err();
        assert!(refusal.contains("store.password_file"), "{refusal}");
    }

    #[test]
    fn no_name_of_a_database_has_its_password() {
        let address = Address::parse("postgres://t@db/t").unwrap();
        assert!(!format!("{address} {address:?}").contains("password"));
    }
}
