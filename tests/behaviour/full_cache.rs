use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use std::time::Duration;

use ticketd::clock::Clock;
use ticketd::credentials::{Exchange, Settings, Statistics, SystemTickets, TicketError};
use ticketd::crypto::Fingerprinter;
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::random::{Random, SeededRandom};
use ticketd::store::Store;
use ticketd::superoffice::SuperOffice;
use tonic::Code;

use crate::log::Log;
use crate::world::{World, reason, retry_delay, within};

const CAPACITY: u32 = 20;
/// A tenant displaced from a full cache is not exchanged a second time within this.
const INTERVAL: Duration = Duration::from_secs(30);

/// What became of calls in turns.
#[derive(Debug, Default)]
struct Turns {
    calls: u64,
    refused: u64,
    exchanges: u64,
}

#[tokio::test]
async fn one_tenant_too_many_costs_no_exchange_per_call_while_time_stands_still() {
    let (world, tenants) = full_world(CAPACITY + 1).await;
    let turns = take_turns(&world, &tenants, 30, Duration::ZERO).await;
    println!("one tenant more than the cache holds, in a moment: {turns}");
    assert_eq!((turns.exchanges, turns.refused), (CAPACITY.into(), 30), "{turns:?}");
}

#[tokio::test]
async fn one_tenant_too_many_costs_no_exchange_per_call_while_time_goes_by() {
    let (world, tenants) = full_world(CAPACITY + 1).await;
    let rounds = 120;
    let mut before: BTreeMap<&String, u64> = BTreeMap::new();
    let mut turns = Turns::default();
    for _ in 0..rounds / 30 {
        let part = take_turns(&world, &tenants, 30, Duration::from_secs(1)).await;
        for tenant in &tenants {
            let exchanges = world.sandbox.exchanges(tenant);
            let since = exchanges - before.insert(tenant, exchanges).unwrap_or_default();
            assert!(since <= 2, "{tenant}: {since} exchanges in 30 s");
        }
        turns = Turns {
            calls: turns.calls + part.calls,
            refused: turns.refused + part.refused,
            exchanges: turns.exchanges + part.exchanges,
        };
    }
    println!("one tenant more than the cache holds, in two minutes: {turns}");
    assert!(turns.exchanges < turns.calls / 10, "{turns:?}");
    assert!(turns.refused < turns.calls / 10, "{turns:?}");
}

#[tokio::test]
async fn twice_as_many_tenants_as_the_cache_holds_are_refused_with_a_time_to_come_again() {
    let log = Log::start();
    let (world, tenants) = full_world(2 * CAPACITY).await;
    let still = take_turns(&world, &tenants, 10, Duration::ZERO).await;
    println!("twice as many tenants as the cache holds, in a moment: {still}");
    assert_eq!((still.exchanges, still.refused), (CAPACITY.into(), still.calls / 2), "{still:?}");
    let refusals = log.lines_with("TICKET_CACHE_FULL");
    assert_eq!(refusals.len(), 1, "{refusals:?}");

    let moving = take_turns(&world, &tenants, 60, Duration::from_secs(1)).await;
    println!("twice as many tenants as the cache holds, in a minute: {moving}");
    assert!(moving.exchanges <= 3 * u64::from(CAPACITY), "a place is filled once in 30 s: {moving:?}");

    let warnings = log.lines_with("the ticket cache is full");
    println!("{} warnings that the cache is full", warnings.len());
    assert!((1..=10).contains(&warnings.len()), "{warnings:?}");
    assert!(
        warnings.iter().all(|line| line["level"] == "WARN" && line["fields"]["capacity"] == CAPACITY),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn the_statistics_tell_hits_exchanges_refusals_and_displaced_tickets() {
    let world = World::start().await;
    let settings = Settings { capacity: 3, ..Settings::default() };
    let (tickets, _store) = tickets(&world, settings).await;
    let get = |number: u32| {
        let (tickets, tenant) = (tickets.clone(), format!("Cust{number}").parse().unwrap());
        async move { tickets.get(tenant, Duration::ZERO).await }
    };
    for number in 0..4 {
        world.add_tenant(&format!("Cust{number}")).await;
    }
    for number in [0, 1, 2, 0, 1, 2] {
        get(number).await.unwrap();
    }
    for _ in 0..2 {
        assert!(matches!(get(3).await, Err(TicketError::CacheFull { .. })));
    }
    assert!(matches!(get(9).await, Err(TicketError::NotRegistered)));
    world.clock.advance(INTERVAL);
    get(3).await.unwrap();
    let expected = Statistics {
        hits: 3,
        misses: 6,
        refusals: 1,
        exchanges: 4,
        keep_alives: 0,
        failed_renewals: 0,
        displaced: 1,
        cached: 3,
    };
    assert_eq!(tickets.statistics(), expected);
}

/// Tickets of their own, beside the server's, on the same store and the same sandbox.
pub(crate) async fn tickets(world: &World, settings: Settings) -> (SystemTickets, Store) {
    let (clock, random): (Arc<dyn Clock>, Arc<dyn Random>) =
        (Arc::new(world.clock.clone()), Arc::new(SeededRandom::new(7)));
    let config = world.config();
    let store = Store::open(&config.store, Arc::clone(&clock)).await.unwrap();
    let fingerprinter = Fingerprinter::new(&config.superoffice.client_secret.get());
    let superoffice = SuperOffice::new(config.superoffice, Arc::clone(&clock), Arc::clone(&random)).unwrap();
    let exchange = Exchange::new(
        settings.clone(),
        Arc::new(superoffice),
        Arc::clone(&store.tenants),
        config.signing_keys.into(),
        fingerprinter,
        Arc::clone(&clock),
        Arc::clone(&random),
    );
    (SystemTickets::new(settings, exchange, store.shared_tickets.clone(), clock, random), store)
}

/// A server whose cache holds [`CAPACITY`] tickets, and so many tenants, known to it and to the sandbox.
async fn full_world(tenants: u32) -> (World, Vec<String>) {
    let world = World::builder().config(|config| config.tickets.capacity = CAPACITY.into()).start().await;
    let tenants: Vec<_> = (0..tenants).map(|number| format!("Cust{number}")).collect();
    for tenant in &tenants {
        world.add_tenant(tenant).await;
    }
    (world, tenants)
}

/// Asks for each tenant in turn, so many rounds. Time moves by `step` after each.
async fn take_turns(world: &World, tenants: &[String], rounds: u32, step: Duration) -> Turns {
    let before = world.sandbox.total_exchanges();
    let mut client = world.tickets();
    let mut turns = Turns::default();
    for _ in 0..rounds {
        for tenant in tenants {
            turns.calls += 1;
            let request = GetSystemTicketRequest { context_identifier: tenant.clone(), min_validity: None };
            if let Err(refused) = within(client.get_system_ticket(request)).await {
                assert_eq!(reason(&refused), (Code::ResourceExhausted, "TICKET_CACHE_FULL".to_owned()));
                let delay = retry_delay(&refused).expect("it says when to come again");
                assert!(!delay.is_zero() && delay <= INTERVAL, "{delay:?}");
                turns.refused += 1;
            }
        }
        world.clock.advance(step);
    }
    turns.exchanges = world.sandbox.total_exchanges() - before;
    turns
}

impl fmt::Display for Turns {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { calls, refused, exchanges } = self;
        #[expect(clippy::cast_precision_loss, reason = "a figure to read")]
        let per_call = *exchanges as f64 / *calls as f64;
        write!(formatter, "{calls} calls, {exchanges} exchanges ({per_call:.3} a call), {refused} calls refused")
    }
}
