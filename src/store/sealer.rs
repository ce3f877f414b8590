use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};

use zeroize::Zeroizing;

use super::{Sealing, StoreError, sealing_keys};
use crate::crypto::{KeyRing, OpenError, Place, SealingKeyId};
use crate::identifiers::{ApplicationId, Environment};

/// A column that holds secrets. What is sealed for one opens in no other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SecretColumn {
    /// `table.column`.
    name: &'static str,
    schema_version: u32,
}

impl SecretColumn {
    /// `table.column`.
    pub(super) fn name(self) -> &'static str {
        self.name
    }
}

/// System user tokens; a row is a tenant.
pub(super) const SYSTEM_USER_TOKEN: SecretColumn =
    SecretColumn { name: "tenants.system_user_token", schema_version: 1 };

/// The only way into and out of columns that hold secrets.
pub(super) struct Sealer {
    environment: Environment,
    application: ApplicationId,
    keys: RwLock<Arc<KeyRing>>,
}

/// Refresh tokens; a row is a tenant and a user.
pub(super) const REFRESH_TOKEN: SecretColumn = SecretColumn { name: "grants.refresh_token", schema_version: 1 };
/// Tickets that processes share; a row is a tenant.
pub(super) const SHARED_TICKET: SecretColumn = SecretColumn { name: "shared_tickets.ticket", schema_version: 1 };
/// Nonces of sign-ins; a row is the hash of a state.
pub(super) const NONCE: SecretColumn = SecretColumn { name: "pending_sign_ins.nonce", schema_version: 1 };
/// Login hints of sign-ins, which callers fill with whatever they like; a row is the hash of a state.
pub(super) const LOGIN_HINT: SecretColumn = SecretColumn { name: "pending_sign_ins.login_hint", schema_version: 1 };
/// PKCE verifiers of sign-ins; a row is the hash of a state.
pub(super) const CODE_VERIFIER: SecretColumn =
    SecretColumn { name: "pending_sign_ins.code_verifier", schema_version: 1 };

impl Sealer {
    /// Reads the keys.
    pub(super) fn open(sealing: &Sealing) -> Result<Self, StoreError> {
        let keys = sealing_keys::read(&sealing.key_files)?;
        Ok(Self {
            environment: sealing.environment,
            application: sealing.application.clone(),
            keys: RwLock::new(Arc::new(keys)),
        })
    }

    /// What goes into a row's column.
    pub(super) fn seal(&self, column: SecretColumn, row: &[&str], secret: &str) -> Result<Vec<u8>, StoreError> {
        Ok(self.keys().seal(secret.as_bytes(), &self.place(column, row))?)
    }

    /// What came out of a row's column, or what is wrong with it.
    pub(super) fn unseal(
        &self,
        column: SecretColumn,
        row: &[&str],
        record: &[u8],
    ) -> Result<Zeroizing<String>, &'static str> {
        let opened = self.keys().open(record, &self.place(column, row)).map_err(|error| match error {
            OpenError::KeyAbsent(_) => "a secret in it is sealed with a key that is not in store.sealing_key_files",
            OpenError::Forged => "a secret in it was changed, or sealed for another row, application or environment",
            _ => "a secret in it is not sealed in a way that this version knows",
        })?;
        // `from_utf8` would take the bytes out of the wrapper that wipes them.
        std::str::from_utf8(&opened)
            .map(|text| Zeroizing::new(text.to_owned()))
            .map_err(|_| "a secret in it is not UTF-8")
    }

    /// The keys of this moment.
    pub(super) fn keys(&self) -> Arc<KeyRing> {
        Arc::clone(&self.keys.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// From now on these keys.
    pub(super) fn replace_keys(&self, keys: KeyRing) {
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
    }

    fn place<'a>(&'a self, column: SecretColumn, row: &'a [&'a str]) -> Place<'a> {
        Place {
            environment: self.environment,
            application: &self.application,
            row,
            column: column.name,
            schema_version: column.schema_version,
        }
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Sealer").field(&self.keys()).finish()
    }
}

/// Fails unless the ring has every key that is in use.
pub(super) fn check_keys(keys: &KeyRing, in_use: &[SealingKeyId]) -> Result<(), StoreError> {
    match in_use.iter().find(|needed| keys.ids().all(|id| id != **needed)) {
        Some(absent) => Err(StoreError::SealingKeyAbsent { id: *absent }),
        None => Ok(()),
    }
}
