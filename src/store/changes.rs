use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast};

use super::StoreError;
use super::sqlite::Database;
use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;

/// How often the database and the directory are looked at for changes that others made.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const PAGE: u32 = 1000;

/// Publishes the database's changes, each once and in their order, whoever made them.
#[derive(Debug)]
pub(super) struct ChangeFeed {
    database: Database,
    published: Mutex<i64>,
    changes: broadcast::Sender<ContextIdentifier>,
}

impl ChangeFeed {
    /// A feed of the changes from now on.
    pub(super) async fn new(
        database: Database,
        changes: broadcast::Sender<ContextIdentifier>,
    ) -> Result<Self, StoreError> {
        let published = Mutex::new(database.revision().await?);
        Ok(Self { database, published, changes })
    }

    /// Publishes what has changed since the last time.
    pub(super) async fn publish(&self) -> Result<(), StoreError> {
        let mut published = self.published.lock().await;
        loop {
            let changes = self.database.changes_after(*published, PAGE).await?;
            let Some((last, _)) = changes.last() else { return Ok(()) };
            *published = *last;
            for context_identifier in changes.into_iter().filter_map(|(_, context_identifier)| context_identifier) {
                // Without a receiver there is no one to forget anything.
                drop(self.changes.send(context_identifier));
            }
        }
    }

    /// Publishes what other processes change, until it is dropped.
    pub(super) async fn watch(self: Arc<Self>, clock: Arc<dyn Clock>) {
        let mut failing = false;
        loop {
            clock.sleep(LOOK_INTERVAL).await;
            let outcome = self.publish().await;
            match &outcome {
                Err(error) if !failing => tracing::warn!(%error, "changes that other processes make are not seen"),
                Ok(()) if failing => tracing::info!("changes that other processes make are seen again"),
                _ => {}
            }
            failing = outcome.is_err();
        }
    }
}
