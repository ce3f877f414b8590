use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::directory::Directory;
use super::records::Record;
use super::{StoreError, check_system_user_token};
use crate::identifiers::{ContextIdentifier, SystemUserToken};

/// How many are taken in one transaction: nobody else changes a tenant meanwhile.
const BATCH: u32 = 20;
/// How many refusals are kept for operators to read. Past it the oldest go.
pub(super) const REFUSALS_KEPT: i64 = 10_000;
/// How much of a time is repeated that somebody else may have written.
const LONGEST_TIME: usize = 40;

/// Registers the tenants that operators hand in by SQL, which cannot seal their system user tokens.
#[derive(Debug)]
pub(super) struct Intake {
    records: Arc<dyn IntakeRecords>,
    directory: Option<Arc<Directory>>,
}

/// The tenants that were handed in and are not taken yet.
#[async_trait]
pub(super) trait IntakeRecords: std::fmt::Debug + Send + Sync {
    /// Takes up to `limit` tenants, as many as there is time for, oldest first, in one transaction: what `judge` lets pass is registered, and of the rest
    /// it is noted why not. Of many processes one takes a tenant. Answers what became of each.
    async fn take_handed_in(&self, judge: &Judge<'_>, limit: u32, now: Timestamp) -> Result<Vec<Verdict>, StoreError>;
}

/// Says what becomes of what was handed in.
pub(super) type Judge<'a> = dyn Fn(&HandedIn) -> Verdict + Send + Sync + 'a;

/// What somebody handed in. Anybody's text may be in it.
pub(super) struct HandedIn {
    pub(super) context_identifier: String,
    pub(super) system_user_token: SystemUserToken,
    pub(super) submit_time: String,
}

/// A tenant to register, or why there is none.
pub(super) type Verdict = Result<ContextIdentifier, Refusal>;

/// Why what was handed in is not registered. It holds nothing of the token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Whose, if it could be read. What is no name may be a token in the wrong place.
    pub(super) context_identifier: Option<ContextIdentifier>,
    pub(super) reason: String,
}

impl HandedIn {
    /// A row of `tenant_intake`. What cannot be read counts as empty, and is refused: it would be there for ever.
    pub(super) fn of(row: &impl Record) -> Self {
        let text = |column| row.text(column).unwrap_or_default();
        Self {
            context_identifier: text("context_identifier"),
            system_user_token: SystemUserToken::new(text("system_user_token")),
            submit_time: as_time(text("submit_time")),
        }
    }
}

/// A time as it was written. Whatever else stands there may be the token, by a mistake in the order of columns.
fn as_time(text: String) -> String {
    let is_of_times = |byte: u8| byte.is_ascii_digit() || b"-:.+TZ ".contains(&byte);
    if text.len() <= LONGEST_TIME && text.bytes().all(is_of_times) { text } else { "unknown".to_owned() }
}

impl Intake {
    pub(super) fn new(records: Arc<dyn IntakeRecords>, directory: Option<Arc<Directory>>) -> Self {
        Self { records, directory }
    }

    /// Takes the first of what was handed in, and tells whether there may be more.
    pub(super) async fn take(&self, now: Timestamp) -> Result<bool, StoreError> {
        let verdicts = self.records.take_handed_in(&|handed_in| self.judge(handed_in), BATCH, now).await?;
        let refusals: Vec<&Refusal> = verdicts.iter().filter_map(|verdict| verdict.as_ref().err()).collect();
        let registered = verdicts.len() - refusals.len();
        if registered > 0 {
            tracing::info!(registered, "tenants that were handed in by SQL are registered");
        }
        if let Some(Refusal { context_identifier, reason }) = refusals.first() {
            let (refused, tenant) = (refusals.len(), context_identifier.map(tracing::field::display));
            tracing::warn!(refused, tenant, reason, "tenants that were handed in by SQL are not: see tenant_refusals");
        }
        Ok(!verdicts.is_empty())
    }

    fn judge(&self, handed_in: &HandedIn) -> Verdict {
        let refused =
            |context_identifier, reason: &dyn ToString| Err(Refusal { context_identifier, reason: reason.to_string() });
        let tenant: ContextIdentifier = match handed_in.context_identifier.parse() {
            Ok(tenant) => tenant,
            Err(error) => return refused(None, &error),
        };
        if let Err(problem) = check_system_user_token(&handed_in.system_user_token) {
            return refused(Some(tenant), &format!("this is no system user token: {problem}"));
        }
        if self.directory.as_ref().is_some_and(|directory| directory.knows(tenant)) {
            return refused(Some(tenant), &"the tenant has a file in store.tenants_directory, which wins: change that");
        }
        Ok(tenant)
    }
}
