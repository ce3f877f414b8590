use jiff::Timestamp;

use super::*;
use crate::credentials::TicketError;
use crate::crypto::KeptAuditName;
use crate::identifiers::Ticket;
use crate::random::SeededRandom;

fn cache(capacity: u64) -> TicketCache {
    TicketCache::new(capacity, Duration::from_hours(6), Arc::new(SeededRandom::new(3)))
}

fn second(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn fingerprint(number: u128) -> Fingerprint {
    format!("{number:032x}").parse().unwrap()
}

fn ticket(tenant: u32, number: u128) -> Arc<SystemTicket> {
    Arc::new(SystemTicket {
        context_identifier: format!("Cust{tenant}").parse().unwrap(),
        ticket: Ticket::new(format!("7T:{number}")),
        fingerprint: fingerprint(number),
        issued_for: fingerprint(0),
        issue_time: second(0),
        expire_time: second(100),
        refresh_time: second(50),
        webapi_url: None,
        netserver_url: None,
        audit_name: KeptAuditName::default(),
    })
}

fn standing() -> Arc<Standing> {
    Arc::new(Standing::new("Cust1".parse().unwrap(), second(0)))
}

fn warning() -> RefreshWarning {
    RefreshWarning {
        error: TicketError::ClockSkew { retry_after: Duration::ZERO },
        failed_attempts: 1,
        last_failure: second(51),
        next_attempt: second(60),
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn at(wall: i64, elapsed: u64) -> Moment {
    Moment { wall: second(wall), elapsed: seconds(elapsed) }
}

#[test]
fn freshness_is_judged_to_the_second_by_the_clock_that_is_ahead() {
    let cache = cache(1);
    cache.insert(ticket(1, 1), standing(), seconds(1_100), seconds(1_000));
    cache.warn(&ticket(1, 1), warning(), seconds(1_060));
    let entry = cache.get(ticket(1, 1).context_identifier).unwrap();
    assert!(entry.lives(at(0, 1_000), seconds(100)));
    assert!(!entry.lives(at(1, 1_000), seconds(100)) && !entry.lives(at(0, 1_001), seconds(100)));
    assert!(entry.lives(at(99, 1_099), Duration::ZERO));
    assert!(!entry.lives(at(100, 1_000), Duration::ZERO), "the machine slept");
    assert!(!entry.lives(at(-3_600, 1_100), Duration::ZERO), "the wall clock was set back");
    assert_eq!(entry.pause(at(-3_600, 1_059)).map(|(left, _)| left), Some(seconds(1)));
    assert!(entry.pause(at(-3_600, 1_060)).is_none());
}

#[test]
fn one_tenant_too_many_displaces_about_one_ticket_a_round() {
    let (capacity, rounds) = (100, 50);
    let cache = cache(capacity);
    let mut loads = 0;
    for round in 0..rounds {
        // Half a minute a round: every ticket has stayed long enough.
        let now = seconds(30 * round);
        for tenant in 0..=u32::try_from(capacity).unwrap() {
            let ticket = ticket(tenant, u128::from(tenant));
            if cache.get(ticket.context_identifier).is_none() {
                cache.insert(ticket, standing(), seconds(1_000_000), now);
                loads += 1;
            }
        }
    }
    assert_eq!(cache.len() as u64, capacity);
    assert!(loads < capacity + 5 * rounds, "{loads} loads in {rounds} rounds");
}

#[test]
fn a_full_cache_has_no_room_until_a_ticket_has_stayed_for_half_a_minute() {
    let cache = cache(2);
    let newcomer = ticket(3, 3).context_identifier;
    for tenant in 1..=2 {
        assert_eq!(cache.room_for(newcomer, seconds(0)), Ok(()));
        cache.insert(ticket(tenant, 1), standing(), seconds(100), seconds(0));
    }
    assert_eq!(cache.room_for(newcomer, seconds(10)), Err(seconds(20)));
    assert_eq!(cache.room_for(ticket(1, 1).context_identifier, seconds(10)), Ok(()));
    assert_eq!(cache.room_for(newcomer, seconds(29)), Err(seconds(1)));
    assert_eq!(cache.room_for(newcomer, seconds(30)), Ok(()));
}

#[test]
fn a_warning_goes_to_the_ticket_it_is_about_and_keeps_its_use() {
    let cache = cache(10);
    let first = ticket(1, 1);
    cache.insert(Arc::clone(&first), standing(), seconds(100), seconds(0));
    assert!(cache.get(first.context_identifier).unwrap().note_use());
    cache.warn(&first, warning(), seconds(60));
    let entry = cache.get(first.context_identifier).unwrap();
    assert!(entry.warning().is_some() && entry.was_asked_for() && !entry.note_use());
    cache.insert(ticket(1, 2), standing(), seconds(100), seconds(0));
    cache.warn(&first, warning(), seconds(60));
    assert!(cache.get(first.context_identifier).unwrap().warning().is_none());
    assert_eq!(cache.len(), 1);
}

#[test]
fn a_keep_alive_gives_its_ticket_another_life_and_no_dropped_one() {
    let cache = cache(10);
    let first = ticket(1, 1);
    let prolonged = || Arc::new(SystemTicket { expire_time: second(200), ..(*first).clone() });
    assert!(!cache.prolong(prolonged(), seconds(200)), "it is not there");
    cache.insert(Arc::clone(&first), standing(), seconds(100), seconds(0));
    cache.get(first.context_identifier).unwrap().note_use();
    cache.warn(&first, warning(), seconds(60));
    assert!(cache.prolong(prolonged(), seconds(200)));
    let entry = cache.get(first.context_identifier).unwrap();
    assert!(entry.lives(at(199, 199), Duration::ZERO) && entry.warning().is_none() && !entry.was_asked_for());
    assert!(!entry.lives(at(199, 200), Duration::ZERO) && !entry.lives(at(200, 199), Duration::ZERO));
    cache.insert(ticket(1, 2), standing(), seconds(100), seconds(0));
    assert!(!cache.prolong(prolonged(), seconds(200)), "another one is there");
    assert_eq!(cache.get(first.context_identifier).unwrap().ticket.fingerprint, fingerprint(2));
    assert!(cache.remove_if(first.context_identifier, fingerprint(2)));
    assert!(!cache.prolong(prolonged(), seconds(200)) && cache.get(first.context_identifier).is_none());
    assert_eq!(cache.len(), 0);
}

#[test]
fn removal_compares_the_fingerprint() {
    let cache = cache(10);
    let tenant = ticket(1, 1).context_identifier;
    cache.insert(ticket(1, 1), standing(), seconds(100), seconds(0));
    assert!(!cache.remove_if(tenant, fingerprint(2)));
    assert!(cache.get(tenant).is_some());
    assert!(cache.remove_if(tenant, fingerprint(1)));
    assert!(!cache.remove_if(tenant, fingerprint(1)));
    assert_eq!(cache.len(), 0);
}

#[test]
fn the_list_of_residents_follows_the_tickets_after_a_clear() {
    let cache = cache(10);
    (0..10).for_each(|tenant| drop(cache.insert(ticket(tenant, 1), standing(), seconds(100), seconds(0))));
    cache.clear();
    (0..10).for_each(|tenant| drop(cache.insert(ticket(tenant, 1), standing(), seconds(100), seconds(0))));
    assert_eq!(cache.len(), 10);
}
