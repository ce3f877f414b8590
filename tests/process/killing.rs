//! kill -9 while tenants are written: nothing that was answered is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use sqlx::{ConnectOptions, Connection};
use ticketd::clock::SystemClock;
use ticketd::grpc::proto::PutTenantRequest;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::random::{Random, SeededRandom};
use ticketd::store::{self, Store};
use tokio::sync::mpsc::{self, UnboundedSender};
use tonic::transport::Channel;

use crate::place::{Place, pass, within};

const WRITERS: u64 = 4;
/// A round ends after so many answers at most.
const MOST_ANSWERS: u64 = 40;
/// What no writer reaches in one round.
const STRIDE: u64 = 1_000;

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_server_keeps_every_tenant_that_it_acknowledged() {
    let rounds = if std::env::var("PROOFS").is_ok_and(|proofs| proofs == "full") { 200 } else { 30 };
    let place = Place::new().await;
    let random = SeededRandom::new(7);
    let mut acknowledged = BTreeMap::new();
    for round in 0..rounds {
        let server = place.serve().await;
        let (news, mut answers) = mpsc::unbounded_channel();
        for writer in 0..WRITERS {
            tokio::spawn(write(server.tenants(), (round * WRITERS + writer) * STRIDE, news.clone()));
        }
        drop(news);
        // Anything from the first write to the last, and at any moment between two answers.
        let written = random.between(Duration::ZERO, Duration::from_nanos(MOST_ANSWERS)).as_nanos();
        for _ in 0..=written {
            acknowledged.extend(within(answers.recv()).await);
        }
        pass(random.between(Duration::ZERO, Duration::from_millis(3))).await;
        server.kill().await;
        while let Some(answer) = within(answers.recv()).await {
            acknowledged.extend([answer]);
        }
        is_whole(&place).await;

        let list: Vec<serde_json::Value> = serde_json::from_str(&list(&place).await).unwrap();
        let there: Vec<_> = list.iter().map(|tenant| tenant["context_identifier"].as_str().unwrap()).collect();
        for tenant in acknowledged.keys() {
            assert!(there.contains(&tenant.as_str()), "{tenant} is lost after round {round}");
        }
    }

    let settings = store::Settings {
        url: format!("sqlite://{}", place.path("ticketd.db").display()),
        tenants_directory: None,
        postgres: store::PostgresSettings::default(),
        sealing: place.sealing(),
    };
    let store = Store::open(&settings, std::sync::Arc::new(SystemClock)).await.unwrap();
    for (tenant, token) in &acknowledged {
        let found = store.tenants.find(tenant.parse().unwrap()).await.unwrap().unwrap();
        assert_eq!(found.system_user_token.expose(), token);
    }
    store.close().await;
    println!(
        "{rounds} kills, each with {WRITERS} writers at work: the database whole after each, {} tenants acknowledged and found",
        acknowledged.len()
    );
}

/// The database as the killed server left it, which the first to open it repairs.
async fn is_whole(place: &Place) {
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(place.path("ticketd.db"));
    let mut connection = options.connect().await.unwrap();
    let integrity: String = sqlx::query_scalar("PRAGMA integrity_check").fetch_one(&mut connection).await.unwrap();
    assert_eq!(integrity, "ok");
    connection.close().await.unwrap();
}

/// What the command line lists. On a machine that stalls for seconds it says to ask again.
async fn list(place: &Place) -> String {
    let asking = async {
        loop {
            let outcome = place.run(&["tenants", "list", "--json"]).await;
            match outcome.code {
                Some(0) => return outcome.output,
                _ => assert!(outcome.errors.ends_with(": ask again\n"), "{outcome:?}"),
            }
        }
    };
    within(asking).await
}

/// Puts tenants until the server is gone, and tells those that it acknowledged, with their tokens.
async fn write(mut tenants: TenantServiceClient<Channel>, first: u64, news: UnboundedSender<(String, String)>) {
    for number in first.. {
        let tenant = format!("Cust{number}");
        let token = format!("Application Name-{tenant}");
        let request = PutTenantRequest {
            context_identifier: tenant.clone(),
            system_user_token: token.clone(),
            accept_serial: false,
        };
        if tenants.put_tenant(request).await.is_err() {
            return;
        }
        news.send((tenant, token)).unwrap();
    }
}
