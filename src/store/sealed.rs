//! Which columns hold sealed secrets, and how they are found and sealed again, in SQL that every engine understands.

use super::sealer::{REFRESH_TOKEN, SHARED_TICKET, SYSTEM_USER_TOKEN, SecretColumn};

/// What is asked of a column that holds secrets. A record's first five bytes tell which key sealed it.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) column: SecretColumn,
    /// The first prefix after $1 that a record has. The index answers it without a look at the rows.
    pub(super) next_key: &'static str,
    /// How many records have another prefix than $1.
    pub(super) count: &'static str,
    /// Up to $2 such records after the first $3, in a lasting order, each with the texts that name its row.
    pub(super) page: &'static str,
    /// Puts $1 in place of $2 in the row that the texts from $3 on name.
    pub(super) replace: &'static str,
}

/// Every column that holds secrets for longer than the ten minutes of a sign-in, in a database of one process.
pub(super) const SEALED: [Sealed; 2] = [TENANTS, GRANTS];
/// The same in a database that processes share.
pub(super) const SEALED_AND_SHARED: [Sealed; 3] = [TENANTS, GRANTS, SHARED_TICKETS];

const TENANTS: Sealed = Sealed {
    column: SYSTEM_USER_TOKEN,
    next_key: "SELECT substr(system_user_token, 1, 5) FROM tenants \
               WHERE substr(system_user_token, 1, 5) > $1 ORDER BY 1 LIMIT 1",
    count: "SELECT count(*) FROM tenants WHERE substr(system_user_token, 1, 5) <> $1",
    page: "SELECT system_user_token, tenant FROM tenants WHERE substr(system_user_token, 1, 5) <> $1 \
           ORDER BY tenant LIMIT $2 OFFSET $3",
    replace: "UPDATE tenants SET system_user_token = $1 WHERE system_user_token = $2 AND tenant = $3",
};

const GRANTS: Sealed = Sealed {
    column: REFRESH_TOKEN,
    next_key: "SELECT substr(refresh_token, 1, 5) FROM grants WHERE substr(refresh_token, 1, 5) > $1 ORDER BY 1 LIMIT 1",
    count: "SELECT count(*) FROM grants WHERE substr(refresh_token, 1, 5) <> $1",
    page: "SELECT refresh_token, tenant, \"user\" FROM grants WHERE substr(refresh_token, 1, 5) <> $1 \
           ORDER BY tenant, \"user\" LIMIT $2 OFFSET $3",
    replace: "UPDATE grants SET refresh_token = $1 WHERE refresh_token = $2 AND tenant = $3 AND \"user\" = $4",
};

const SHARED_TICKETS: Sealed = Sealed {
    column: SHARED_TICKET,
    next_key: "SELECT substr(ticket, 1, 5) FROM shared_tickets WHERE substr(ticket, 1, 5) > $1 ORDER BY 1 LIMIT 1",
    count: "SELECT count(*) FROM shared_tickets WHERE substr(ticket, 1, 5) <> $1",
    page: "SELECT ticket, tenant FROM shared_tickets WHERE substr(ticket, 1, 5) <> $1 ORDER BY tenant LIMIT $2 OFFSET $3",
    replace: "UPDATE shared_tickets SET ticket = $1 WHERE ticket = $2 AND tenant = $3",
};

/// What became of a record that was to be sealed again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resealed {
    /// It is sealed with the primary key now, by this or by whoever changed it meanwhile.
    Done,
    /// It is as it was.
    Unreadable {
        /// The table, the column, and what names the row.
        record: String,
        /// What is wrong with it.
        problem: &'static str,
    },
}
