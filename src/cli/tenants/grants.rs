use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};

use super::super::config_file::ConfigFile;
use super::super::connection::wait_for;
use super::super::console::Console;
use super::super::failure::{Failure, with_causes};
use super::{PAGE, all, print_table, with_store};
use crate::clock::SystemClock;
use crate::credentials::KeptGrants;
use crate::identifiers::ContextIdentifier;
use crate::random::SystemRandom;
use crate::store::{Grant, Store, user_key};
use crate::superoffice::SuperOffice;

#[derive(Args, Debug)]
pub(in crate::cli) struct Grants {
    /// The tenant, for example Cust12345.
    context_identifier: ContextIdentifier,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Args, Debug)]
pub(in crate::cli) struct Revoke {
    /// The tenant, for example Cust12345.
    context_identifier: ContextIdentifier,
    /// The user, as `ticketd tenants grants` shows it.
    user: String,
    #[command(flatten)]
    config: ConfigFile,
}

impl Grants {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let tenant = self.context_identifier;
        let grants = with_store(&self.config, console, async |store, _clock| {
            all(async |last: Option<&Grant>| {
                let last = last.map(|grant| user_key(&grant.user));
                store.grants.list(tenant, last.as_deref(), PAGE).await
            })
            .await
        })?;
        if self.json {
            let grants: Vec<_> = grants.iter().map(as_json).collect();
            return Ok(writeln!(console.output, "{:#}", Value::from(grants))?);
        }
        let header = ["USER", "ASSOCIATE", "CREATED", "UPDATED"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(header).chain(grants.iter().map(row)).collect();
        print_table(&rows, console)
    }
}

impl Revoke {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let config = self.config.load(console)?.config;
        let clock = Arc::new(SystemClock);
        let superoffice = SuperOffice::new(config.superoffice, clock.clone(), Arc::new(SystemRandom))
            .map_err(|error| Failure::Failed(with_causes(&error)))?;
        wait_for(async {
            let store = Store::open(&config.store, clock.clone());
            let store = store.await.map_err(|error| Failure::Failed(with_causes(&error)))?;
            let grants = KeptGrants::new(Arc::clone(&store.grants), clock);
            let outcome = grants.revoke(&superoffice, self.context_identifier, &self.user).await;
            store.close().await;
            outcome.map_err(|error| Failure::Failed(with_causes(&error)))
        })?;
        Ok(writeln!(console.output, "the grant is revoked")?)
    }
}

fn row(grant: &Grant) -> [String; 4] {
    [
        grant.user.clone(),
        grant.associate_id.clone().unwrap_or_else(|| "-".to_owned()),
        grant.create_time.to_string(),
        grant.update_time.to_string(),
    ]
}

fn as_json(grant: &Grant) -> Value {
    json!({
        "user": grant.user,
        "associate_id": grant.associate_id,
        "create_time": grant.create_time.to_string(),
        "update_time": grant.update_time.to_string(),
    })
}
