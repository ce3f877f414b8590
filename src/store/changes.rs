use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, broadcast};

use super::StoreError;
use super::engine::Engine;
use super::intake::Intake;
use crate::clock::Clock;
use crate::identifiers::ContextIdentifier;

/// How often the directory is looked at for changes.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(1);
const PAGE: u32 = 1000;

/// Publishes the database's changes, each once and in their order, whoever made them.
#[derive(Debug)]
pub(super) struct ChangeFeed {
    engine: Arc<dyn Engine>,
    published: Mutex<i64>,
    changes: broadcast::Sender<ContextIdentifier>,
}

impl ChangeFeed {
    /// A feed of the changes from now on.
    pub(super) async fn new(
        engine: Arc<dyn Engine>,
        changes: broadcast::Sender<ContextIdentifier>,
    ) -> Result<Self, StoreError> {
        let published = Mutex::new(engine.revision().await?);
        Ok(Self { engine, published, changes })
    }

    /// Publishes what has changed since the last time.
    pub(super) async fn publish(&self) -> Result<(), StoreError> {
        let mut published = self.published.lock().await;
        loop {
            let changes = self.engine.changes_after(*published, PAGE).await?;
            let Some((last, _)) = changes.last() else {
                let newest = self.engine.revision().await?;
                if newest < *published {
                    self.publish_all().await?;
                    *published = newest;
                }
                return Ok(());
            };
            *published = *last;
            for context_identifier in changes.into_iter().filter_map(|(_, context_identifier)| context_identifier) {
                // Without a receiver there is no one to forget anything.
                drop(self.changes.send(context_identifier));
            }
        }
    }

    /// Publishes every tenant: the database is one of the past, a backup or a standby that lacks the last commits, and any
    /// may be another now.
    async fn publish_all(&self) -> Result<(), StoreError> {
        tracing::warn!("the database is an earlier one than before: every tenant counts as changed");
        let mut next = Some(String::new());
        while let Some(after) = next {
            let page = self.engine.page(&after, PAGE).await?;
            next = page.next;
            for tenant in page.tenants {
                drop(self.changes.send(tenant.context_identifier));
            }
        }
        Ok(())
    }

    /// Takes what operators hand in by SQL and publishes what other processes change, until it is dropped.
    pub(super) async fn watch(self: Arc<Self>, intake: Intake, clock: Arc<dyn Clock>) {
        let mut intake_trouble = Trouble::new("tenants that operators hand in by SQL");
        let mut trouble = Trouble::new("changes that other processes make");
        loop {
            tokio::select! {
                () = clock.sleep(self.engine.look_interval()) => {}
                () = self.engine.changed() => {}
            }
            // Many that are handed in at once must not hold up what others change. First, so that what is taken is
            // published with the rest. One without the other is better than neither.
            let mut more = true;
            while more {
                let taken = intake.take(clock.now()).await;
                more = matches!(taken, Ok(true));
                intake_trouble.note(&taken.map(drop));
                trouble.note(&self.publish().await);
            }
        }
    }
}

/// Logs the first failure in a row, and the end of it.
struct Trouble {
    what: &'static str,
    failing: bool,
}

impl Trouble {
    fn new(what: &'static str) -> Self {
        Self { what, failing: false }
    }

    fn note(&mut self, outcome: &Result<(), StoreError>) {
        match outcome {
            Err(error) if !self.failing => tracing::warn!(%error, "{} are not seen", self.what),
            Ok(()) if self.failing => tracing::info!("{} are seen again", self.what),
            _ => {}
        }
        self.failing = outcome.is_err();
    }
}
