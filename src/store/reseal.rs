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

/// How many records each key sealed, by the keys' names. A broken database makes no more of them than [`MAX_KEYS`], and no
/// more work of a column than so many keys do.
pub(super) async fn count_by_key(records: &dyn SealedRecords) -> Result<BTreeMap<String, u64>, StoreError> {
    let mut counts = BTreeMap::new();
    for column in records.columns() {
        let all = records.count_others(column, &[]).await?;
        let (mut last, mut uncounted) = (Vec::new(), all);
        for keys in 0..=MAX_KEYS {
            let Some(next) = records.next_prefix(column, &last).await? else { break };
            if keys == MAX_KEYS {
                *counts.entry(metrics::OTHER.to_owned()).or_default() += uncounted;
                break;
            }
            let its = all.saturating_sub(records.count_others(column, &next).await?);
            uncounted = uncounted.saturating_sub(its);
            let name = sealed_with(&next).map(|key| key.to_string());
            let is_new = name.as_ref().is_some_and(|name| !counts.contains_key(name));
            let name = name.filter(|_| !is_new || counts.len() < MAX_KEYS).unwrap_or_else(|| metrics::OTHER.to_owned());
            *counts.entry(name).or_default() += its;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use async_trait::async_trait;

    use super::super::sealed::SEALED;
    use super::*;

    /// Two records for each of so many keys, in each of two columns.
    #[derive(Debug)]
    struct Records {
        keys: u32,
        asked: AtomicUsize,
    }

    impl Records {
        fn of(keys: u32) -> Self {
            Self { keys, asked: AtomicUsize::new(0) }
        }

        fn prefixes(&self) -> impl Iterator<Item = Vec<u8>> {
            (0..self.keys).map(|key| record_prefix(SealingKeyId::from_bytes(key.to_be_bytes())).to_vec())
        }
    }

    #[async_trait]
    impl SealedRecords for Records {
        fn columns(&self) -> &'static [Sealed] {
            &SEALED
        }

        async fn next_prefix(&self, _: &Sealed, after: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok(self.prefixes().find(|prefix| prefix.as_slice() > after))
        }

        async fn count_others(&self, _: &Sealed, prefix: &[u8]) -> Result<u64, StoreError> {
            self.asked.fetch_add(1, Ordering::Relaxed);
            Ok(2 * self.prefixes().filter(|other| other != prefix).count() as u64)
        }

        async fn page_of_others(&self, _: &Sealed, _: &[u8], _: u32, _: u64) -> Result<Vec<SealedRecord>, StoreError> {
            Ok(Vec::new())
        }

        async fn replace(&self, _: &Sealed, _: &SealedRecord, _: Vec<u8>) -> Result<(), StoreError> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn every_record_is_counted_and_only_so_many_keys_are_asked_for() {
        for (keys, names, others) in [(3, 3, None), (32, 32, None), (1_000, 33, Some(4 * (1_000 - 32)))] {
            let records = Records::of(keys);
            let counts = count_by_key(&records).await.unwrap();
            assert_eq!(counts.values().sum::<u64>(), 4 * u64::from(keys));
            assert_eq!((counts.len(), counts.get(metrics::OTHER).copied()), (names, others));
            let asked = records.asked.into_inner();
            assert!(asked <= 2 * (2 + 2 * MAX_KEYS), "asked {asked} times for {keys} keys");
        }
    }
}
