use std::collections::BTreeMap;

use super::StoreError;
use super::engine::{SealedRecord, SealedRecords};
use super::sealed::{Resealed, Sealed};
use super::sealer::Sealer;
use crate::crypto::{SealingKeyId, record_prefix, sealed_with};
use crate::metrics;

/// So many keys have names of their own in the count.
const MAX_KEYS: usize = 32;

/// The keys that sealed what is kept.
pub(super) async fn keys_in_use(records: &dyn SealedRecords) -> Result<Vec<SealingKeyId>, StoreError> {
    let mut ids = Vec::new();
    for column in records.columns() {
        // An empty text comes before every other.
        let mut last = Vec::new();
        while let Some(next) = records.next_prefix(column, &last).await? {
            // What is no sealed record is refused when it is asked for.
            ids.extend(sealed_with(&next));
            last = next;
        }
    }
    Ok(ids)
}

/// How many records other keys than the primary one sealed.
pub(super) async fn count_to_reseal(records: &dyn SealedRecords, sealer: &Sealer) -> Result<u64, StoreError> {
    let primary = record_prefix(sealer.keys().primary());
    let mut sum = 0;
    for column in records.columns() {
        sum += records.count_others(column, primary.as_slice()).await?;
    }
    Ok(sum)
}

/// How many records each key sealed, by the keys' names. A broken database makes no more of them than [`MAX_KEYS`].
pub(super) async fn count_by_key(records: &dyn SealedRecords) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut counts = BTreeMap::new();
    for column in records.columns() {
        let all = records.count_others(column, &[]).await?;
        let mut last = Vec::new();
        while let Some(next) = records.next_prefix(column, &last).await? {
            let others = records.count_others(column, &next).await?;
            let name = sealed_with(&next).map(|key| key.to_string());
            let is_new = name.as_ref().is_some_and(|name| !counts.contains_key(name));
            let name = name.filter(|_| !is_new || counts.len() < MAX_KEYS).unwrap_or_else(|| metrics::OTHER.to_owned());
            *counts.entry(name).or_default() += all.saturating_sub(others);
            last = next;
        }
    }
    Ok(counts)
}

/// Seals up to `limit` of a column's records with the primary key that others sealed, past the first `skip` of them.
pub(super) async fn reseal(
    records: &dyn SealedRecords,
    sealer: &Sealer,
    column: &Sealed,
    limit: u32,
    skip: u64,
) -> Result<Vec<Resealed>, StoreError> {
    let primary = record_prefix(sealer.keys().primary());
    let page = records.page_of_others(column, primary.as_slice(), limit, skip).await?;
    let mut outcomes = Vec::with_capacity(page.len());
    for record in page {
        outcomes.push(reseal_record(records, sealer, column, &record).await?);
    }
    Ok(outcomes)
}

async fn reseal_record(
    records: &dyn SealedRecords,
    sealer: &Sealer,
    column: &Sealed,
    record: &SealedRecord,
) -> Result<Resealed, StoreError> {
    let names: Vec<&str> = record.row.iter().map(String::as_str).collect();
    let secret = match sealer.unseal(column.column, &names, &record.content) {
        Ok(secret) => secret,
        Err(problem) => {
            let record = format!("{} of {}", column.column.name(), names.join(", "));
            return Ok(Resealed::Unreadable { record, problem });
        }
    };
    let replacement = sealer.seal(column.column, &names, &secret)?;
    // Only in place of what was read: a record that somebody changed meanwhile is newer, and sealed as it should be.
    records.replace(column, record, replacement).await?;
    Ok(Resealed::Done)
}
