use std::sync::Arc;

use async_trait::async_trait;
use jiff::Timestamp;

use super::changes::ChangeFeed;
use super::directory::{Directory, DirectoryTenant};
use super::engine::TenantRecords;
use super::{Observations, StoreError, Tenant, TenantSource, Tenants, check_system_user_token};
use crate::identifiers::{ContextIdentifier, SystemUserToken};

/// The most tenants listed at once.
const MAX_PAGE: u32 = 10_000;
/// The longest serial and URL kept, in bytes. Real ones have under 100.
const MAX_OBSERVATION_LENGTH: usize = 1024;

/// The directory's tenants before the database's; what is observed about either is in the database.
#[derive(Debug)]
pub(super) struct RegisteredTenants {
    records: Arc<dyn TenantRecords>,
    directory: Option<Arc<Directory>>,
    feed: Arc<ChangeFeed>,
}

impl RegisteredTenants {
    pub(super) fn new(
        records: Arc<dyn TenantRecords>,
        directory: Option<Arc<Directory>>,
        feed: Arc<ChangeFeed>,
    ) -> Self {
        Self { records, directory, feed }
    }

    async fn find_in_directory(
        &self,
        context_identifier: ContextIdentifier,
    ) -> Result<Option<DirectoryTenant>, StoreError> {
        match &self.directory {
            Some(directory) => directory.find(context_identifier).await,
            None => Ok(None),
        }
    }

    /// Fails when the directory has a file for the tenant, be it usable or not.
    async fn refuse_directory_tenant(&self, context_identifier: ContextIdentifier) -> Result<(), StoreError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        match directory.find(context_identifier).await {
            Ok(None) => Ok(()),
            Ok(Some(_)) | Err(StoreError::TenantFile { .. }) => {
                Err(StoreError::ReadOnly { context_identifier, directory: directory.path().to_owned() })
            }
            Err(error) => Err(error),
        }
    }

    async fn observations(&self, context_identifier: ContextIdentifier) -> Result<Observations, StoreError> {
        Ok(self.records.observations(&[context_identifier]).await?.pop().unwrap_or_default())
    }

    async fn list_directory(&self, after: Option<ContextIdentifier>, limit: usize) -> Result<Vec<Tenant>, StoreError> {
        let Some(directory) = &self.directory else { return Ok(Vec::new()) };
        let tenants = directory.page(after, limit);
        let names: Vec<_> = tenants.iter().map(|tenant| tenant.context_identifier).collect();
        let observations = self.records.observations(&names).await?;
        Ok(tenants.into_iter().zip(observations).map(|(tenant, observed)| directory_tenant(tenant, observed)).collect())
    }

    /// The database's tenants that the directory does not hide.
    async fn list_database(&self, after: Option<ContextIdentifier>, limit: usize) -> Result<Vec<Tenant>, StoreError> {
        let mut tenants = Vec::new();
        let mut next = Some(after.map(|after| after.key()).unwrap_or_default());
        while let Some(after) = next {
            let wanted = limit.saturating_sub(tenants.len());
            if wanted == 0 {
                break;
            }
            let page = self.records.page(&after, u32::try_from(wanted).unwrap_or(MAX_PAGE)).await?;
            next = page.next;
            tenants.extend(page.tenants.into_iter().filter(|tenant| {
                !self.directory.as_ref().is_some_and(|directory| directory.knows(tenant.context_identifier))
            }));
        }
        Ok(tenants)
    }

    /// The write is done: a failure here only delays the news until the next look.
    async fn publish(&self) {
        if let Err(error) = self.feed.publish().await {
            tracing::warn!(%error, "a change is published late");
        }
    }
}

#[async_trait]
impl Tenants for RegisteredTenants {
    async fn find(&self, context_identifier: ContextIdentifier) -> Result<Option<Tenant>, StoreError> {
        let is_in_directory = self.directory.as_ref().is_some_and(|directory| directory.knows(context_identifier));
        // Reading a file takes a thread. One that is new hides the database's tenant from the next look on, which tells
        // of it.
        let in_database = if is_in_directory { None } else { self.records.find(context_identifier).await? };
        if in_database.is_some() {
            return Ok(in_database);
        }
        match self.find_in_directory(context_identifier).await? {
            Some(tenant) => Ok(Some(directory_tenant(tenant, self.observations(context_identifier).await?))),
            None if is_in_directory => self.records.find(context_identifier).await,
            None => Ok(None),
        }
    }

    async fn list(&self, after: Option<ContextIdentifier>, limit: u32) -> Result<Vec<Tenant>, StoreError> {
        let limit = usize::try_from(limit.min(MAX_PAGE)).unwrap_or(usize::MAX);
        let mut tenants = self.list_directory(after, limit).await?;
        tenants.extend(self.list_database(after, limit).await?);
        tenants.sort_by_key(|tenant| tenant.context_identifier);
        // The directory may have learnt of a tenant between the two looks; the sort is stable and it stands first.
        tenants.dedup_by_key(|tenant| tenant.context_identifier);
        tenants.truncate(limit);
        Ok(tenants)
    }

    async fn put(
        &self,
        context_identifier: ContextIdentifier,
        system_user_token: SystemUserToken,
        accept_serial: bool,
        now: Timestamp,
    ) -> Result<Tenant, StoreError> {
        check_system_user_token(&system_user_token)?;
        if accept_serial
            && let Ok(Some(tenant)) = self.find_in_directory(context_identifier).await
            && tenant.system_user_token == system_user_token
        {
            self.records.accept_serial(context_identifier).await?;
            self.publish().await;
            return Ok(directory_tenant(tenant, self.observations(context_identifier).await?));
        }
        self.refuse_directory_tenant(context_identifier).await?;
        let tenant = self.records.put(context_identifier, &system_user_token, accept_serial, now).await?;
        self.publish().await;
        Ok(tenant)
    }

    async fn delete(&self, context_identifier: ContextIdentifier) -> Result<bool, StoreError> {
        self.refuse_directory_tenant(context_identifier).await?;
        let was_there = self.records.delete(context_identifier).await?;
        self.publish().await;
        Ok(was_there)
    }

    async fn observe(&self, tenant: &Tenant, told: &Observations) -> Result<Observations, StoreError> {
        check_length("serial", told.serial.as_ref())?;
        check_length("webapi_url", told.webapi_url.as_ref())?;
        let known = Observations { serial: tenant.serial.clone(), webapi_url: tenant.webapi_url.clone() };
        // Each exchange tells, and only the first has something to write.
        if is_in(told.serial.as_ref(), known.serial.as_ref())
            && is_in(told.webapi_url.as_ref(), known.webapi_url.as_ref())
        {
            return Ok(known);
        }
        let context_identifier = tenant.context_identifier;
        let elsewhere = tenant.source == TenantSource::Directory;
        let kept = self.records.observe(context_identifier, told, elsewhere).await?;
        kept.ok_or(StoreError::NotRegistered { context_identifier })
    }
}

fn directory_tenant(tenant: DirectoryTenant, observed: Observations) -> Tenant {
    Tenant {
        context_identifier: tenant.context_identifier,
        system_user_token: tenant.system_user_token,
        source: TenantSource::Directory,
        serial: observed.serial,
        webapi_url: observed.webapi_url,
        create_time: None,
        update_time: None,
    }
}

/// Whether there is no news in what was told.
fn is_in(told: Option<&String>, known: Option<&String>) -> bool {
    told.is_none() || told == known
}

fn check_length(what: &'static str, text: Option<&String>) -> Result<(), StoreError> {
    if text.is_some_and(|text| text.is_empty() || text.len() > MAX_OBSERVATION_LENGTH) {
        return Err(StoreError::InvalidLength { what, limit: MAX_OBSERVATION_LENGTH });
    }
    Ok(())
}
