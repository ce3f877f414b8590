//! What a ticket in memory costs, by the memory of this process. Under nextest it runs no other test.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::SystemTicket;
use super::renewal::Schedule;
use super::ticket_cache::TicketCache;
use crate::clock::SystemClock;
use crate::crypto::KeptAuditName;
use crate::identifiers::{ApplicationId, ClientSecret, ContextIdentifier, Environment, Ticket};
use crate::random::SeededRandom;
use crate::superoffice::{self, SuperOffice, TenantState};

fn tickets() -> usize {
    if std::env::var("PROOFS").is_ok_and(|value| value == "full") { 1_000_000 } else { 50_000 }
}

fn resident_bytes() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
}

fn superoffice() -> SuperOffice {
    let settings = superoffice::Settings {
        environment: Environment::Sod,
        client_id: ApplicationId::new("app"),
        client_secret: ClientSecret::new("secret").into(),
        client_authentication: superoffice::ClientAuthentication::Post,
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        state_timeout: Duration::from_secs(2),
        max_requests_in_flight: 64,
        exchange: superoffice::ExchangeTransport::Rest,
        redirect_uris: Vec::new(),
        development: None,
    };
    SuperOffice::new(settings, Arc::new(SystemClock), Arc::new(SeededRandom::new(1))).unwrap()
}

#[test]
fn what_a_ticket_costs_in_memory() {
    let count = tickets();
    let cache = TicketCache::new(count as u64, Duration::from_hours(6), Arc::new(SeededRandom::new(1)));
    let schedule = Schedule::default();
    let superoffice = superoffice().with_room_for(count as u64);
    let before = resident_bytes();
    for number in 0..count {
        let tenant: ContextIdentifier = format!("Cust{number}").parse().unwrap();
        let time = Timestamp::from_second(i64::try_from(number).unwrap()).unwrap();
        let ticket = SystemTicket {
            context_identifier: tenant,
            ticket: Ticket::new(format!("7T:{}", "QmFzZTY0".repeat(8))),
            fingerprint: format!("{number:032x}").parse().unwrap(),
            issued_for: format!("{number:032x}").parse().unwrap(),
            issue_time: time,
            expire_time: time,
            refresh_time: time,
            webapi_url: Some(format!("https://online3.superoffice.com/{tenant}/api/")),
            netserver_url: Some(format!("https://online3.superoffice.com/{tenant}/Remote/Services88/")),
            audit_name: KeptAuditName::default(),
        };
        schedule.plan(tenant, time);
        superoffice.note_tenant_state(tenant, TenantState::Running);
        cache.insert(Arc::new(ticket), Duration::from_hours(6), Duration::ZERO);
    }
    let each = resident_bytes().saturating_sub(before) / count;
    println!("{count} tickets with their planned renewals and their tenants' states: {each} bytes of memory each");
    assert_eq!(cache.len(), count);
    assert!(each < 4_000, "{each}");
}
