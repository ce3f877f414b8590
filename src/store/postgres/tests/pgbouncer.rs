//! The same through PgBouncer in transaction mode, with two server connections for ten of ours.

use std::sync::Arc;

use super::cluster::Cluster;
use super::open;
use super::pgbouncer_server::PgBouncer;
use crate::store::contract::contract;
use crate::store::contract::grants::grants_contract;
use crate::store::contract::notices::notices_contract;
use crate::store::contract::sign_ins::sign_ins_contract;
use crate::store::{Store, Tenants};

async fn open_empty() -> Option<(Arc<dyn Tenants>, (Store, PgBouncer))> {
    let cluster = Cluster::shared()?;
    let bouncer = PgBouncer::start(cluster)?;
    let store = open(&bouncer.through(&cluster.create_database().await)).await;
    Some((Arc::clone(&store.tenants), (store, bouncer)))
}

async fn open_store() -> Option<(Store, PgBouncer)> {
    Some(open_empty().await?.1)
}

contract!(open_empty);
grants_contract!(open_store);
notices_contract!(open_store);
sign_ins_contract!(open_store);
