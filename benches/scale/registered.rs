//! Tenants in a server's database, put there before it starts.

use std::fs;
use std::sync::Arc;

use futures_util::{StreamExt, stream};
use ticketd::clock::{Clock, SystemClock};
use ticketd::identifiers::{ApplicationId, Environment, SystemUserToken};
use ticketd::store::{PostgresSettings, Sealing, Settings, Store};

use crate::setup::Setup;

/// The database of the server of this name.
pub(crate) async fn open(setup: &Setup, name: &str) -> Store {
    let here = setup.directory.path().join(name);
    let sealing = Sealing {
        key_files: vec![here.join("sealing-key")],
        environment: Environment::Sod,
        application: ApplicationId::new(setup.sandbox.client_id()),
    };
    let url = format!("sqlite://{}", here.join("data").join("ticketd.db").display());
    let settings = Settings { url, tenants_directory: None, postgres: PostgresSettings::default(), sealing };
    Store::open(&settings, Arc::new(SystemClock)).await.unwrap()
}

/// Takes all of the set-up's tenants out of its directory and into the database.
pub(crate) async fn fill(setup: &Setup, name: &str) {
    let store = open(setup, name).await;
    let tokens = setup.directory.path().join("tenants");
    let put = async |tenant: &Arc<str>| {
        let token = SystemUserToken::new(fs::read_to_string(tokens.join(&**tenant)).unwrap());
        store.tenants.put(tenant.parse().unwrap(), token, false, SystemClock.now()).await.unwrap();
        fs::remove_file(tokens.join(&**tenant)).unwrap();
    };
    stream::iter(&setup.tenants).for_each_concurrent(4, put).await;
    store.close().await;
}
