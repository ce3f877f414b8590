//! Whatever SuperOffice does wrong: a call without a ticket gets the promised code and reason, and a call with one
//! keeps getting its ticket, with a warning.

#![expect(clippy::print_stdout, reason = "a test that fails shows how far it came")]

use std::fmt;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use superoffice_sandbox::Behaviour::{
    DrippingBody, Drop, EndlessBody, Hang, HugeBody, HugeHeaders, Jwt, Malformed, Redirect, Refused, Slow, Status,
    Throttled, TruncatedBody, Unavailable,
};
use superoffice_sandbox::Endpoint::{Exchange, Jwks, SoapExchange, TenantState as State};
use superoffice_sandbox::{Behaviour, Builder, Endpoint, JwtFlaw, KeyRotation, Refusal, TenantState};
use ticketd::clock::Clock;
use ticketd::grpc::proto::{SystemTicket, TenantState as Told};
use ticketd::superoffice::ExchangeTransport;
use tonic::Code;

use self::Outcome::{Answered, Issued};
use crate::world::{TENANT, World, reason, retry_delay, timestamp};

/// Longer than anybody waits.
const HOUR: Duration = Duration::from_hours(1);
const SECOND: Duration = Duration::from_secs(1);
const GIBIBYTE: u64 = 1 << 30;
/// The exchange's budget, or the longest time-out, and what passes until the caller has heard of it.
const LONGEST: Duration = Duration::from_secs(10 + 3);
/// After it nothing is remembered of a failure, nor of what SuperOffice said.
const FORGOTTEN: Duration = Duration::from_mins(61);

/// How a call ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Issued,
    Answered(Code, &'static str),
}

const UNAVAILABLE: Outcome = Answered(Code::Unavailable, "UPSTREAM_UNAVAILABLE");
const THROTTLED: Outcome = Answered(Code::ResourceExhausted, "UPSTREAM_THROTTLED");
const REFUSED: Outcome = Answered(Code::FailedPrecondition, "EXCHANGE_REFUSED");
const REVOKED: Outcome = Answered(Code::FailedPrecondition, "TENANT_AUTHORIZATION_REVOKED");
const EXPIRED: Outcome = Answered(Code::FailedPrecondition, "TENANT_AUTHORIZATION_EXPIRED");
const DENIED: Outcome = Answered(Code::FailedPrecondition, "TENANT_AUTHORIZATION_DENIED");
const REAPPROVAL: Outcome = Answered(Code::FailedPrecondition, "TENANT_NEEDS_REAPPROVAL");
const NO_KEY: Outcome = Answered(Code::FailedPrecondition, "SIGNING_KEY_REJECTED");
const NOT_RUNNING: Outcome = Answered(Code::FailedPrecondition, "TENANT_NOT_RUNNING");
const MAINTENANCE: Outcome = Answered(Code::Unavailable, "TENANT_MAINTENANCE");
const SKEW: Outcome = Answered(Code::Unavailable, "CLOCK_SKEW");
const INVALID: Outcome = Answered(Code::Internal, "UPSTREAM_TOKEN_INVALID");

/// What goes wrong.
#[derive(Clone)]
pub(crate) enum Fault {
    /// At the exchange means at the one that the exchanges go over.
    At(Endpoint, Behaviour),
    /// At the exchange over either transport.
    Throughout(Behaviour),
    /// 429 with an HTTP date, this far away.
    ThrottledUntil(Duration),
    /// The tenant is in this state.
    In(TenantState),
    Rotated(KeyRotation),
    /// No port is open.
    Down,
    /// SuperOffice's clock is ahead of ours.
    Ahead(SignedDuration),
}

/// A line of a table.
#[derive(Clone)]
pub(crate) struct Row {
    pub(crate) fault: Fault,
    /// Whether the answer needs time to go by: for retries, or until somebody loses patience.
    takes_time: bool,
    /// How a call without a ticket ends.
    cold: Outcome,
    /// How the renewal of a ticket ends.
    warm: Outcome,
    /// What exchanges go over.
    over: ExchangeTransport,
}

pub(crate) fn at_once(fault: Fault, outcome: Outcome) -> Row {
    Row { fault, takes_time: false, cold: outcome, warm: outcome, over: ExchangeTransport::Rest }
}

fn in_time(fault: Fault, outcome: Outcome) -> Row {
    Row { takes_time: true, ..at_once(fault, outcome) }
}

impl Row {
    /// A renewal ends in another way than a first exchange.
    fn but_warm(self, warm: Outcome) -> Self {
        Self { warm, ..self }
    }

    pub(crate) fn over(self, over: ExchangeTransport) -> Self {
        Self { over, ..self }
    }

    /// Goes wrong over whatever transport the exchange goes.
    pub(crate) fn throughout(self) -> Self {
        let fault = match self.fault {
            Fault::At(Exchange, behaviour) => Fault::Throughout(behaviour),
            other => other,
        };
        Self { fault, ..self }
    }

    /// As a line of a Markdown table.
    pub(crate) fn line(&self) -> String {
        format!("| {:?} | {:?} | {} | {} |", self.fault, self.over, self.cold, self.warm)
    }

    async fn world(&self) -> World {
        let over = self.over;
        World::builder().config(move |config| config.superoffice.exchange = over).renewing_by_exchange().start().await
    }
}

pub(crate) fn faults_of_the_exchange() -> Vec<Row> {
    let at = |behaviour| Fault::At(Exchange, behaviour);
    let text = |text: &str| text.to_owned();
    let refused = |code| at(Refused(Refusal::Code(code)));
    vec![
        in_time(at(Slow(HOUR)), UNAVAILABLE),
        in_time(at(Hang), UNAVAILABLE),
        in_time(at(Drop), UNAVAILABLE),
        in_time(Fault::Down, UNAVAILABLE),
        at_once(at(Status(400)), REFUSED),
        at_once(at(Status(401)), REFUSED),
        at_once(at(Status(403)), REFUSED),
        at_once(at(Status(404)), REFUSED),
        in_time(at(Status(408)), UNAVAILABLE),
        in_time(at(Status(500)), UNAVAILABLE),
        in_time(at(Status(502)), UNAVAILABLE),
        in_time(at(Status(503)), UNAVAILABLE),
        at_once(at(Throttled(text("30"))), THROTTLED),
        at_once(Fault::ThrottledUntil(Duration::from_secs(30)), THROTTLED),
        in_time(at(Throttled(text(""))), THROTTLED),
        at_once(at(Unavailable(text("30"))), UNAVAILABLE),
        in_time(at(Unavailable(text(""))), UNAVAILABLE),
        at_once(at(Redirect(text("https://sod.superoffice.com/login"))), UNAVAILABLE),
        at_once(at(Malformed), UNAVAILABLE),
        at_once(at(HugeBody(GIBIBYTE)), UNAVAILABLE),
        at_once(at(EndlessBody), UNAVAILABLE),
        in_time(at(HugeHeaders), UNAVAILABLE),
        in_time(at(TruncatedBody), UNAVAILABLE),
        in_time(at(DrippingBody(SECOND)), UNAVAILABLE),
        at_once(refused(1), REVOKED),
        at_once(refused(2), REFUSED),
        at_once(refused(3), EXPIRED),
        at_once(refused(4), DENIED),
        at_once(refused(5), REAPPROVAL),
        at_once(refused(6), SKEW),
        at_once(refused(7), NO_KEY),
        at_once(at(Refused(Refusal::Message(text("Nobody has heard of this")))), REFUSED),
        at_once(Fault::Ahead(SignedDuration::from_mins(20)), Issued),
        at_once(Fault::Ahead(SignedDuration::from_mins(-20)), Issued),
    ]
}

pub(crate) fn faults_of_the_token() -> Vec<Row> {
    let outcome = |flaw| match flaw {
        // All is well with it but for an address that no ticket is sent to.
        JwtFlaw::ForeignWebapiUrl => Issued,
        // It is longer than any answer that is read.
        JwtFlaw::Oversized => UNAVAILABLE,
        _ => INVALID,
    };
    JwtFlaw::ALL.into_iter().map(|flaw| at_once(Fault::At(Exchange, Jwt(flaw)), outcome(flaw))).collect()
}

fn states() -> Vec<Row> {
    vec![
        at_once(Fault::In(TenantState::Unknown), Issued),
        at_once(Fault::In(TenantState::Provisioning), NOT_RUNNING),
        at_once(Fault::In(TenantState::Running), Issued),
        at_once(Fault::In(TenantState::Deleted), NOT_RUNNING),
        at_once(Fault::In(TenantState::Suspended), NOT_RUNNING),
        at_once(Fault::In(TenantState::OnlineMaintenance), Issued),
        at_once(Fault::In(TenantState::OfflineMaintenance), MAINTENANCE),
        at_once(Fault::In(TenantState::ProvisioningFailed), NOT_RUNNING),
        at_once(Fault::In(TenantState::Deleting), NOT_RUNNING),
        at_once(Fault::In(TenantState::DeleteFailed), NOT_RUNNING),
        at_once(Fault::In(TenantState::MigrationPending), MAINTENANCE),
    ]
}

/// What the key set suffers a renewal does not feel: the key is known by then.
fn faults_of_the_key_set() -> Vec<Row> {
    let at = |behaviour| Fault::At(Jwks, behaviour);
    vec![
        in_time(at(Slow(HOUR)), INVALID).but_warm(Issued),
        in_time(at(Hang), INVALID).but_warm(Issued),
        at_once(at(Drop), INVALID).but_warm(Issued),
        at_once(at(Status(404)), INVALID).but_warm(Issued),
        at_once(at(Status(503)), INVALID).but_warm(Issued),
        at_once(at(Malformed), INVALID).but_warm(Issued),
        at_once(at(HugeBody(GIBIBYTE)), INVALID).but_warm(Issued),
        at_once(at(EndlessBody), INVALID).but_warm(Issued),
        at_once(at(TruncatedBody), INVALID).but_warm(Issued),
        in_time(at(DrippingBody(SECOND)), INVALID).but_warm(Issued),
        at_once(Fault::Rotated(KeyRotation::Overlap), Issued),
        at_once(Fault::Rotated(KeyRotation::NoOverlap), Issued),
        at_once(Fault::Rotated(KeyRotation::Unpublished), INVALID),
    ]
}

/// None of it withholds a ticket.
fn faults_of_the_state() -> Vec<Row> {
    let at = |behaviour| Fault::At(State, behaviour);
    vec![
        in_time(at(Slow(HOUR)), Issued),
        in_time(at(Hang), Issued),
        at_once(at(Drop), Issued),
        at_once(at(Status(404)), Issued),
        at_once(at(Status(500)), Issued),
        at_once(at(Status(503)), Issued),
        at_once(at(Redirect("https://sod.superoffice.com/".to_owned())), Issued),
        at_once(at(Malformed), Issued),
        at_once(at(HugeBody(GIBIBYTE)), Issued),
        at_once(at(EndlessBody), Issued),
        at_once(at(HugeHeaders), Issued),
        at_once(at(TruncatedBody), Issued),
        in_time(at(DrippingBody(SECOND)), Issued),
    ]
}

#[tokio::test]
async fn without_a_ticket_a_tenant_must_be_running() {
    check_all(states(), cold).await;
}

#[tokio::test]
async fn with_a_ticket_a_tenant_must_be_running_too() {
    check_all(states(), cached).await;
}

#[tokio::test]
async fn whether_a_tenant_runs_is_asked_anew_when_it_is_put() {
    let world = World::start().await;
    let token = world.sandbox.add_tenant(TENANT).system_user_token;
    world.sandbox.set_tenant_state(TENANT, TenantState::Suspended).unwrap();
    let refused = world.ticket(TENANT).await.unwrap_err();
    assert_eq!(reason(&refused), (Code::FailedPrecondition, "TENANT_NOT_RUNNING".to_owned()));
    world.sandbox.set_tenant_state(TENANT, TenantState::Running).unwrap();
    world.put_tenant(TENANT, &token, false).await;
    world.ticket(TENANT).await.expect("it runs again");
    assert_eq!(world.sandbox.requests(State), 2);
}

#[tokio::test]
async fn without_a_ticket_the_key_set_is_needed() {
    check_all(faults_of_the_key_set(), cold).await;
}

#[tokio::test]
async fn with_a_ticket_the_key_is_known() {
    check_all(faults_of_the_key_set(), warm).await;
}

#[tokio::test]
async fn without_a_ticket_the_state_is_not_needed() {
    check_all(faults_of_the_state(), |row| async move {
        let ticket = cold(row).await.expect("it is issued");
        assert_eq!(ticket.tenant_state(), Told::Unspecified);
        assert!(ticket.webapi_url.ends_with(&format!("/{TENANT}/api/")), "as the token says: {}", ticket.webapi_url);
    })
    .await;
}

#[tokio::test]
async fn with_a_ticket_the_state_is_not_needed() {
    check_all(faults_of_the_state(), |row| async move {
        let ticket = warm(row).await.expect("it is issued");
        assert_eq!(ticket.tenant_state(), Told::Unspecified);
        assert!(ticket.webapi_url.ends_with(&format!("/{TENANT}/api/")), "as last known: {}", ticket.webapi_url);
    })
    .await;
}

#[tokio::test]
async fn without_the_state_the_address_last_known_counts_then_the_tokens_then_none() {
    let state_is_down = |builder: Builder| builder.behaviour(Status(503).at(State));
    let world = World::builder().sandbox(state_is_down).start().await;
    let [first_host, second_host] = world.sandbox.host_urls() else { panic!("two hosts") };
    world.sandbox.move_tenant(TENANT, 1).unwrap();
    let told = world.ticket(TENANT).await.unwrap().webapi_url;
    assert_eq!(told, format!("{second_host}/{TENANT}/api/"), "the token's");
    world.sandbox.move_tenant(TENANT, 0).unwrap();
    world.clock.advance(Duration::from_hours(6));
    assert_eq!(world.ticket(TENANT).await.unwrap().webapi_url, told, "the one last known");
    world.sandbox.clear_behaviours();
    world.clock.advance(Duration::from_hours(6));
    assert_eq!(world.ticket(TENANT).await.unwrap().webapi_url, format!("{first_host}/{TENANT}/api/"), "the state's");

    let world = World::builder().sandbox(state_is_down).start().await;
    world.sandbox.set_behaviour(Jwt(JwtFlaw::ForeignWebapiUrl).at(Exchange));
    assert_eq!(world.ticket(TENANT).await.unwrap().webapi_url, "", "an address that is not SuperOffice's is none");
    world.sandbox.clear_behaviours();
    world.sandbox.set_behaviour(Status(503).at(State));
    world.sandbox.change_settings(|settings| settings.webapi_url_claim = false);
    world.clock.advance(Duration::from_hours(6));
    assert_eq!(world.ticket(TENANT).await.unwrap().webapi_url, "");
}

#[tokio::test]
async fn bodies_without_measure_cost_neither_time_nor_memory() {
    // Whatever is loaded by need is loaded by the first.
    cold(at_once(Fault::At(Exchange, Malformed), UNAVAILABLE)).await;
    let before = memory("VmRSS");
    let began = tokio::time::Instant::now();
    for fault in [HugeBody(GIBIBYTE), EndlessBody] {
        cold(at_once(Fault::At(Exchange, fault.clone()), UNAVAILABLE)).await;
        cold(at_once(Fault::At(State, fault.clone()), Issued)).await;
        cold(at_once(Fault::At(Jwks, fault), INVALID)).await;
    }
    cold(in_time(Fault::At(Exchange, DrippingBody(SECOND)), UNAVAILABLE)).await;
    cold(in_time(Fault::At(State, DrippingBody(SECOND)), Issued)).await;
    cold(in_time(Fault::At(Jwks, DrippingBody(SECOND)), INVALID)).await;
    let (grown, took) = (memory("VmHWM").saturating_sub(before), began.elapsed());
    println!(
        "9 bodies of 1 GiB, without end or dripping: memory grew by {grown} KiB at most, in {took:?} of real time"
    );
    assert!(grown < 32 * 1024, "{grown} KiB");
    assert!(took < Duration::from_secs(30), "{took:?}");
}

#[tokio::test]
async fn a_rotation_within_the_minute_costs_each_tenant_one_failure_at_most() {
    let world = World::start().await;
    let tenants: Vec<_> = (1..=10).map(|number| format!("Cust{number}")).collect();
    for tenant in &tenants {
        world.add_tenant(tenant).await;
    }
    world.ticket(TENANT).await.unwrap();
    world.sandbox.rotate_keys(KeyRotation::NoOverlap);
    let mut failures = 0;
    for tenant in &tenants {
        let refused = world.ticket(tenant).await.unwrap_err();
        assert_eq!(reason(&refused), (Code::Internal, "UPSTREAM_TOKEN_INVALID".to_owned()));
        failures += 1;
        world.clock.advance(SECOND);
    }
    assert_eq!(world.sandbox.requests(Jwks), 1);
    world.clock.advance(Duration::from_mins(1));
    for tenant in &tenants {
        world.ticket(tenant).await.expect("the new key is known");
    }
    println!("{failures} failures of {} tenants at a rotation seconds after the last look", tenants.len());
    assert_eq!(world.sandbox.requests(Jwks), 2);
}

/// Every row in a world of its own.
pub(crate) async fn check_all<T, F: Future<Output = T>>(rows: Vec<Row>, check: impl Fn(Row) -> F) {
    let (mut checked, all) = (0, rows.len());
    for row in rows {
        check(row).await;
        checked += 1;
    }
    println!("{checked} of {all} end as promised");
}

/// A call without a ticket, and another when all is well again. Answers the ticket, if there is one nevertheless.
pub(crate) async fn cold(row: Row) -> Option<SystemTicket> {
    let world = row.world().await;
    row.fault.begin(&world, row.over).await;
    let began = world.clock.now();
    let answer =
        if row.takes_time { while_time_passes(&world, world.ticket(TENANT)).await } else { world.ticket(TENANT).await };
    let took = world.clock.now().duration_since(began).unsigned_abs();
    let rows = world.sandbox.exchanges(TENANT);
    println!("{:?}, no ticket: {}, after {took:?}, {rows} rows written", row.fault, row.cold);
    assert!(took <= LONGEST, "{:?}: {took:?}", row.fault);
    let refused = match answer {
        Ok(ticket) => {
            assert_eq!(row.cold, Issued, "{:?}", row.fault);
            assert_eq!(ticket.refresh_warning, None);
            return Some(ticket);
        }
        Err(refused) => refused,
    };
    let (code, reason) = reason(&refused);
    assert_eq!(format!("{code:?} {reason}"), row.cold.to_string(), "{:?}", row.fault);
    let may_pass = matches!(code, Code::Unavailable | Code::ResourceExhausted);
    let delay = retry_delay(&refused);
    assert_eq!(delay.is_some_and(|delay| !delay.is_zero()), may_pass, "{:?}: {delay:?}", row.fault);

    row.fault.end(&world).await;
    world.clock.advance(FORGOTTEN);
    let ticket = world.ticket(TENANT).await;
    assert!(ticket.is_ok(), "{:?} leaves nothing behind: {ticket:?}", row.fault);
    None
}

/// The renewal of a ticket in use. Answers the new ticket, if there is one nevertheless.
pub(crate) async fn warm(row: Row) -> Option<SystemTicket> {
    println!("{:?}, at a renewal: {}", row.fault, row.warm);
    let world = row.world().await;
    let first = world.ticket(TENANT).await.unwrap();
    world.ticket(TENANT).await.unwrap();
    let due = timestamp(first.refresh_time).duration_since(world.clock.now()).unsigned_abs();
    world.clock.advance(due.checked_sub(SECOND).unwrap());
    row.fault.begin(&world, row.over).await;
    world.clock.advance(SECOND);
    let began = world.clock.now();
    for _ in 0..5_000 {
        let call = world.ticket(TENANT);
        let answer = if row.takes_time { while_time_passes(&world, call).await } else { call.await };
        let ticket = answer.expect("the ticket is valid, whatever becomes of its renewal");
        if ticket.fingerprint != first.fingerprint {
            assert_eq!(row.warm, Issued, "{:?}", row.fault);
            assert_eq!(ticket.refresh_warning, None);
            return Some(ticket);
        }
        if let Some(warning) = ticket.refresh_warning {
            let Answered(_, reason) = row.warm else { panic!("{:?}: {warning:?}", row.fault) };
            assert_eq!((warning.reason.as_str(), warning.failed_attempts), (reason, 1), "{:?}", row.fault);
            let took = timestamp(warning.last_failure_time).duration_since(began).unsigned_abs();
            assert!(took <= LONGEST, "{:?}: {took:?}", row.fault);
            return None;
        }
        if row.takes_time {
            world.pass(5 * STEP, STEP).await;
        }
    }
    panic!("{:?}: neither renewed nor warned of", row.fault);
}

/// A call with a ticket that is far from its renewal, and another when all is well again.
async fn cached(row: Row) {
    println!("{:?}, with a ticket: {}", row.fault, row.cold);
    let world = row.world().await;
    let first = world.ticket(TENANT).await.unwrap();
    row.fault.begin(&world, row.over).await;
    world.clock.advance(HOUR);
    let answer = world.ticket(TENANT).await;
    if let Answered(code, because) = row.cold {
        let refused = answer.unwrap_err();
        assert_eq!(reason(&refused), (code, because.to_owned()), "{:?}", row.fault);
        assert_eq!(retry_delay(&refused).is_some(), code == Code::Unavailable, "{:?}", row.fault);
    } else {
        assert_eq!(answer.unwrap().fingerprint, first.fingerprint, "{:?}", row.fault);
    }
    row.fault.end(&world).await;
    world.clock.advance(Duration::from_mins(1));
    let again = world.ticket(TENANT).await.unwrap();
    assert!(row.cold == Issued || again.tenant_state() == Told::Running, "{:?}", row.fault);
    assert_eq!(again.fingerprint, first.fingerprint, "{:?}", row.fault);
    assert_eq!(world.sandbox.exchanges(TENANT), 1);
}

/// So much at once, while an answer is waited for.
const STEP: Duration = Duration::from_millis(100);

pub(crate) async fn while_time_passes<T>(world: &World, call: impl Future<Output = T>) -> T {
    tokio::pin!(call);
    loop {
        tokio::select! {
            biased;
            outcome = &mut call => return outcome,
            () = world.pass(STEP, STEP) => {}
        }
    }
}

impl Fault {
    async fn begin(&self, world: &World, over: ExchangeTransport) {
        let sandbox = &world.sandbox;
        let exchange = if over == ExchangeTransport::Soap { SoapExchange } else { Exchange };
        match self {
            Self::At(Exchange, behaviour) => drop(sandbox.set_behaviour(behaviour.clone().at(exchange))),
            Self::At(endpoint, behaviour) => drop(sandbox.set_behaviour(behaviour.clone().at(*endpoint))),
            Self::Throughout(behaviour) => {
                for endpoint in [Exchange, SoapExchange] {
                    sandbox.set_behaviour(behaviour.clone().at(endpoint));
                }
            }
            Self::ThrottledUntil(wait) => {
                let date = http_date(world.clock.now() + *wait);
                sandbox.set_behaviour(Throttled(date).at(exchange));
            }
            Self::In(state) => sandbox.set_tenant_state(TENANT, *state).unwrap(),
            Self::Rotated(rotation) => sandbox.rotate_keys(*rotation),
            Self::Down => sandbox.go_down().await.unwrap(),
            Self::Ahead(offset) => sandbox.clock().set_offset(*offset),
        }
    }

    async fn end(&self, world: &World) {
        let sandbox = &world.sandbox;
        match self {
            Self::At(..) | Self::Throughout(_) | Self::ThrottledUntil(_) => sandbox.clear_behaviours(),
            Self::In(_) => sandbox.set_tenant_state(TENANT, TenantState::Running).unwrap(),
            Self::Rotated(_) => sandbox.rotate_keys(KeyRotation::Overlap),
            Self::Down => sandbox.come_up().await.unwrap(),
            Self::Ahead(_) => sandbox.clock().set_offset(SignedDuration::ZERO),
        }
    }
}

impl fmt::Debug for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::At(endpoint, behaviour) => write!(f, "{endpoint:?} {behaviour:?}"),
            Self::Throughout(behaviour) => write!(f, "Exchange {behaviour:?}"),
            Self::ThrottledUntil(wait) => write!(f, "Exchange Throttled, with a date {wait:?} away"),
            Self::In(state) => write!(f, "tenant {state:?}"),
            Self::Rotated(rotation) => write!(f, "keys rotated, {rotation:?}"),
            Self::Down => f.write_str("everything down"),
            Self::Ahead(offset) => write!(f, "SuperOffice's clock ahead by {offset:?}"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Issued => f.write_str("a ticket"),
            Answered(code, reason) => write!(f, "{code:?} {reason}"),
        }
    }
}

fn http_date(time: Timestamp) -> String {
    time.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string()
}

/// A line of what Linux tells of this process' memory, in KiB.
fn memory(what: &str) -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(what)).unwrap();
    line.trim_matches(|character: char| !character.is_ascii_digit()).parse().unwrap()
}
