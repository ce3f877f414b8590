use std::sync::Arc;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::{Value, json};

use super::config_file::ConfigFile;
use super::connection::wait_for;
use super::console::{Console, Source};
use super::failure::{Failure, with_causes};
use crate::clock::{Clock, SystemClock};
use crate::identifiers::{ContextIdentifier, SystemUserToken};
use crate::store::{Resealed, Store, StoreError, Tenant, TenantSource};
use crate::telemetry::one_line;

mod grants;

use self::grants::{Grants, Revoke};

/// How many tenants are read from the store at a time.
const PAGE: u32 = 500;

#[derive(Debug, Subcommand)]
#[command(after_help = "\
They work on the store of the configuration directly, whether ticketd runs or not. A running one notices within about a
second: it forgets the tenant's ticket, and the next call exchanges the new token, or finds no tenant.")]
pub(super) enum Tenants {
    /// Register a tenant or replace its system user token.
    #[command(after_help = "\
Examples:
  ticketd tenants put Cust12345 --token-file token.txt
  pass show superoffice/Cust12345 | ticketd tenants put Cust12345 --token-file -")]
    Put(Put),
    /// List the tenants.
    #[command(after_help = "\
Examples:
  ticketd tenants list
  ticketd tenants list --json | jq -r '.[].context_identifier'")]
    List(List),
    /// Show one tenant.
    #[command(after_help = "\
Examples:
  ticketd tenants show Cust12345")]
    Show(Show),
    /// Remove a tenant with all that is kept about it.
    #[command(after_help = "\
Examples:
  ticketd tenants delete Cust12345")]
    Delete(Delete),
    /// Seal every secret in the database with the first of the sealing keys.
    #[command(after_help = "\
Those that it has sealed already are left alone: stopped and started again, it goes on with the rest. Servers may run on
the database meanwhile, as long as their configuration has the key too.

Examples:
  ticketd tenants reseal")]
    Reseal(Reseal),
    /// List the grants that users of a tenant gave by signing in.
    #[command(after_help = "\
Examples:
  ticketd tenants grants Cust12345")]
    Grants(Grants),
    /// Revoke a user's grant at SuperOffice and remove it.
    #[command(after_help = "\
Examples:
  ticketd tenants revoke Cust12345 someone@example.com")]
    Revoke(Revoke),
}

#[derive(Args, Debug)]
pub(super) struct Put {
    /// The tenant, for example Cust12345.
    context_identifier: ContextIdentifier,
    /// File with the tenant's system user token, or - for stdin.
    #[arg(long, value_name = "FILE")]
    token_file: Source,
    /// Forget the pinned database serial: the tenant's database was restored or cloned.
    #[arg(long)]
    accept_serial: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Args, Debug)]
pub(super) struct Reseal {
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Args, Debug)]
pub(super) struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// The tenant, for example Cust12345.
    context_identifier: ContextIdentifier,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    config: ConfigFile,
}

#[derive(Args, Debug)]
pub(super) struct Delete {
    /// The tenant, for example Cust12345.
    context_identifier: ContextIdentifier,
    #[command(flatten)]
    config: ConfigFile,
}

impl Tenants {
    pub(super) fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        match self {
            Self::Put(put) => put.run(console),
            Self::List(list) => list.run(console),
            Self::Show(show) => show.run(console),
            Self::Delete(delete) => delete.run(console),
            Self::Reseal(reseal) => reseal.run(console),
            Self::Grants(grants) => grants.run(console),
            Self::Revoke(revoke) => revoke.run(console),
        }
    }
}

impl Put {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let token = self.token_file.read_line(console)?;
        let token = SystemUserToken::new(token.as_str());
        let tenant = with_store(&self.config, console, async |store, clock| {
            store.tenants.put(self.context_identifier, token, self.accept_serial, clock.now()).await
        })?;
        Ok(writeln!(console.output, "{} is registered", tenant.context_identifier)?)
    }
}

impl List {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let tenants = with_store(&self.config, console, async |store, _clock| {
            all(async |last: Option<&Tenant>| {
                store.tenants.list(last.map(|tenant| tenant.context_identifier), PAGE).await
            })
            .await
        })?;
        if self.json {
            let tenants: Vec<_> = tenants.iter().map(as_json).collect();
            return Ok(writeln!(console.output, "{:#}", Value::from(tenants))?);
        }
        let header = ["TENANT", "SOURCE", "SERIAL", "UPDATED", "WEBAPI"].map(str::to_owned);
        let rows: Vec<_> = std::iter::once(header).chain(tenants.iter().map(row)).collect();
        print_table(&rows, console)
    }
}

impl Show {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let tenant =
            with_store(&self.config, console, async |store, _clock| store.tenants.find(self.context_identifier).await)?;
        let tenant = tenant.ok_or_else(|| not_registered(self.context_identifier))?;
        if self.json {
            return Ok(writeln!(console.output, "{:#}", as_json(&tenant))?);
        }
        let names = ["tenant:", "source:", "serial:", "updated:", "webapi:"];
        let rows: Vec<_> = names.into_iter().zip(row(&tenant)).map(|(name, value)| [name.to_owned(), value]).collect();
        print_table(&rows, console)
    }
}

impl Reseal {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let (mut done, mut unreadable) = (0_u64, Vec::new());
        with_store(&self.config, console, async |store, _clock| {
            // Shown on a terminal only.
            let bar = ProgressBar::new(store.count_to_reseal().await?);
            let tell = |outcome| {
                bar.inc(1);
                match outcome {
                    Resealed::Done => done += 1,
                    Resealed::Unreadable { record, problem } => unreadable.push(format!("{record}: {problem}")),
                }
            };
            store.reseal(tell).await?;
            bar.finish_and_clear();
            Ok(())
        })?;
        writeln!(console.output, "{done} secrets are sealed anew")?;
        for line in &unreadable {
            writeln!(console.errors, "{}", one_line(line))?;
        }
        match unreadable.len() {
            0 => Ok(()),
            count => Err(Failure::failed(&format_args!("{count} cannot be opened and are as they were"))),
        }
    }
}

impl Delete {
    fn run(self, console: &mut Console<'_>) -> Result<(), Failure> {
        let was_there = with_store(&self.config, console, async |store, _clock| {
            store.tenants.delete(self.context_identifier).await
        })?;
        if !was_there {
            return Err(not_registered(self.context_identifier));
        }
        Ok(writeln!(console.output, "{} is deleted", self.context_identifier)?)
    }
}

/// Opens the configuration's store, and closes it whatever comes of the use.
fn with_store<T>(
    config: &ConfigFile,
    console: &Console<'_>,
    operate: impl AsyncFnOnce(&Store, &SystemClock) -> Result<T, StoreError>,
) -> Result<T, Failure> {
    let settings = config.load(console)?.config.store;
    wait_for(async {
        let failure = |error: StoreError| Failure::Failed(with_causes(&error));
        let store = Store::open(&settings, Arc::new(SystemClock)).await.map_err(failure)?;
        let outcome = operate(&store, &SystemClock).await.map_err(failure);
        store.close().await;
        outcome
    })
}

/// Reads everything that comes in pages.
async fn all<T>(mut page: impl AsyncFnMut(Option<&T>) -> Result<Vec<T>, StoreError>) -> Result<Vec<T>, StoreError> {
    let mut all = Vec::new();
    loop {
        let next = page(all.last()).await?;
        if next.is_empty() {
            return Ok(all);
        }
        all.extend(next);
    }
}

fn not_registered(context_identifier: ContextIdentifier) -> Failure {
    Failure::failed(&format_args!("{context_identifier} is not registered"))
}

fn source(tenant: &Tenant) -> &'static str {
    match tenant.source {
        TenantSource::Database => "database",
        TenantSource::Directory => "directory",
    }
}

fn row(tenant: &Tenant) -> [String; 5] {
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    [
        tenant.context_identifier.to_string(),
        source(tenant).to_owned(),
        or_dash(tenant.serial.clone()),
        or_dash(tenant.update_time.map(|time| time.to_string())),
        or_dash(tenant.webapi_url.clone()),
    ]
}

fn as_json(tenant: &Tenant) -> Value {
    json!({
        "context_identifier": tenant.context_identifier.as_str(),
        "source": source(tenant),
        "serial": tenant.serial,
        "webapi_url": tenant.webapi_url,
        "create_time": tenant.create_time.map(|time| time.to_string()),
        "update_time": tenant.update_time.map(|time| time.to_string()),
    })
}

/// Prints rows with each column as wide as its widest cell.
fn print_table<const COLUMNS: usize>(rows: &[[String; COLUMNS]], console: &mut Console<'_>) -> Result<(), Failure> {
    let rows: Vec<_> = rows.iter().map(|row| row.each_ref().map(|cell| one_line(cell))).collect();
    let mut widths = [0; COLUMNS];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    for row in &rows {
        let cells: Vec<_> = row.iter().zip(widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        writeln!(console.output, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}
