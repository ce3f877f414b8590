//! The same on a layout that a later release has added to, as it may while this one still runs.

use std::sync::Arc;

use super::{Cluster, name_of, open};
use crate::store::contract::contract;
use crate::store::contract::grants::grants_contract;
use crate::store::contract::notices::notices_contract;
use crate::store::contract::shared_tickets::shared_tickets_contract;
use crate::store::contract::sign_ins::sign_ins_contract;
use crate::store::{Store, Tenants};

/// Adds columns and an index to every table, and a table.
const EXPAND: &str = include_str!("../../../../tests/fixtures/next_layout.sql");

async fn open_empty() -> Option<(Arc<dyn Tenants>, Store)> {
    let cluster = Cluster::shared()?;
    let url = cluster.create_database().await;
    // One is running when the layout changes; what is tested starts afterwards.
    let running = open(&url).await;
    cluster.execute(name_of(&url), EXPAND).await;
    running.tenants.list(None, 1).await.unwrap();
    running.close().await;
    let store = open(&url).await;
    Some((Arc::clone(&store.tenants), store))
}

async fn open_store() -> Option<(Store, ())> {
    Some((open_empty().await?.1, ()))
}

contract!(open_empty);
grants_contract!(open_store);
notices_contract!(open_store);
sign_ins_contract!(open_store);
shared_tickets_contract!(open_store);
