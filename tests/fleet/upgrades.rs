//! The next release takes this one's place under load, on one database, and this one takes its place again.

mod previous;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sqlx::Executor;
use ticketd::grpc::proto::tenant_service_client::TenantServiceClient;
use ticketd::grpc::proto::ticket_service_client::TicketServiceClient;
use tokio::task::JoinSet;

use crate::balancer::{Balancer, End};
use crate::callers::retries::with_retries;
use crate::callers::{Callers, tenants};
use crate::fleet::{Fleet, put, ticket};
use crate::place::{Running, channel, pass};
use crate::two_versions::EXPAND;
use crate::{MACHINE, full};
use previous::Previous;

/// From one tenant to the next that is registered.
const BETWEEN_PUTS: Duration = Duration::from_millis(100);

/// Two releases that follow each other, on one database.
struct Releases {
    fleet: Fleet,
    /// What came before this program. Without it this program is both releases, and the later one begins with a change of
    /// the layout.
    previous: Option<Previous>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Release {
    Earlier,
    Later,
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upgrade_and_its_rollback_fail_no_call() {
    let _alone = MACHINE.write().await;
    let Some(fleet) = Fleet::new().await else { return };
    // Between, all replicas are there and nothing changes.
    let (count, delay, lag, between) =
        if full() { (3, "5s", 2_000, Duration::from_secs(20)) } else { (2, "2s", 300, Duration::from_millis(500)) };
    fleet.place.configure("drain_delay", &format!("{delay:?}"));
    let previous = Previous::find(&fleet.place).await;
    let releases = Releases { fleet, previous };
    let (balancer, lag) = (Balancer::new().await, Duration::from_millis(lag));
    let mut replicas = Vec::new();
    for _ in 0..count {
        let replica = releases.start(Release::Earlier).await;
        balancer.add(&replica);
        replicas.push(replica);
    }
    releases.fleet.register(&replicas[0], &tenants()).await;

    let callers = Callers::at(balancer.address);
    let is_over = AtomicBool::new(false);
    let replacing = async {
        let mut ends = Vec::new();
        pass(between).await;
        for release in [Release::Later, Release::Earlier] {
            ends.extend(releases.replace(&mut replicas, release, &balancer, lag).await);
            pass(between).await;
        }
        is_over.store(true, Ordering::Relaxed);
        ends
    };
    let (ends, (registered, asked)) = tokio::join!(replacing, register(&releases.fleet, &balancer, &is_over));
    let outcomes = callers.stop().await;

    let took = ends.iter().map(|end| end.took);
    println!(
        "{count} replicas of {} to {} and back: exits after {:.2?} to {:.2?}; {registered} tenants registered meanwhile and \
         {asked} tickets of theirs got, 0 failed",
        releases.name(Release::Earlier),
        releases.name(Release::Later),
        took.clone().min().unwrap(),
        took.max().unwrap(),
    );
    for outcome in &outcomes {
        println!("{outcome}");
        assert!(outcome.calls > 10 && outcome.failures.is_empty(), "{outcome:?}");
    }
    assert!(registered > 1 && ends.iter().all(|end| end.code == Some(0)), "{registered} {ends:?}");
}

impl Releases {
    /// Puts replicas of a release in the place of others, one after the other.
    async fn replace(
        &self,
        replicas: &mut Vec<Running>,
        by: Release,
        balancer: &Arc<Balancer>,
        lag: Duration,
    ) -> Vec<End> {
        if by == Release::Later && self.previous.is_none() {
            self.fleet.pool.execute(EXPAND).await.unwrap();
        }
        let mut ending = JoinSet::new();
        for _ in 0..replicas.len() {
            let next = self.start(by).await;
            balancer.add(&next);
            replicas.push(next);
            ending.spawn(Arc::clone(balancer).end(replicas.remove(0), lag));
        }
        ending.join_all().await
    }

    async fn start(&self, release: Release) -> Running {
        match &self.previous {
            Some(previous) if release == Release::Earlier => previous.start(&self.fleet).await,
            _ => self.fleet.start().await,
        }
    }

    fn name(&self, release: Release) -> &'static str {
        match (release, &self.previous) {
            (Release::Earlier, Some(_)) => previous::COMMIT,
            (Release::Later, None) => "this program on the next layout",
            _ => "this program",
        }
    }
}

/// Registers tenants, at whichever replica, and asks for their tickets, at others. Answers how many of both.
async fn register(fleet: &Fleet, balancer: &Balancer, is_over: &AtomicBool) -> (usize, usize) {
    let tickets = TicketServiceClient::new(channel(balancer.address));
    let tenants = TenantServiceClient::new(channel(balancer.address));
    let (mut registered, mut asked) = (Vec::new(), 0);
    while !is_over.load(Ordering::Relaxed) {
        let tenant = format!("Later{}", registered.len());
        let token = fleet.place.sandbox.add_tenant(&tenant).system_user_token;
        let registering = with_retries(|| {
            let (mut client, tenant, token) = (tenants.clone(), tenant.clone(), token.clone());
            async move { put(&mut client, &tenant, &token).await }
        });
        registering.await.unwrap_or_else(|status| panic!("{tenant}: {status:?}"));
        registered.push(tenant);
        // The one that has just come, and one that the other release may have registered.
        for tenant in [&registered[registered.len() - 1], &registered[registered.len() / 3]] {
            let asking = with_retries(|| {
                let (mut client, tenant) = (tickets.clone(), tenant.clone());
                async move { ticket(&mut client, &tenant).await }
            });
            asking.await.unwrap_or_else(|status| panic!("{tenant}: {status:?}"));
            asked += 1;
        }
        pass(BETWEEN_PUTS).await;
    }
    (registered.len(), asked)
}
