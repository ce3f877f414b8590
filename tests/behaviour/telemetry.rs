//! What ticketd tells of itself: to Prometheus, and to a collector.

mod collected;
mod documented;
mod scrape;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use jiff::SignedDuration;
use superoffice_sandbox::{Behaviour, Endpoint, Refusal, TenantState, WrongTenant};
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::telemetry::{self, Settings};
use tonic::Request;

use self::collected::received;
use self::documented::{documented, promtool};
use self::scrape::{Scrape, counter, gauge};
use crate::breaker::while_time_passes;
use crate::otlp_collector::Collector;
use crate::own_process::is_own_process;
use crate::world::{TENANT, World, eventually, reason};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN_ID: &str = "00f067aa0ba902b7";
/// What stands where a peer may write whatever it likes.
const CANARY: &str = "canary-3f9a61c2";

/// Metrics that this world cannot have: it has SQLite, no TLS and no policy, and nothing of it stops or is reloaded.
const ELSEWHERE: [&str; 2] = ["ticketd_tls_cert_start_timestamp_seconds", "ticketd_tls_cert_expiry_timestamp_seconds"];

/// Metrics are the whole process's, and so is what becomes of the log.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn prometheus_and_a_collector_are_told_what_happens() {
    if !is_own_process("telemetry::prometheus_and_a_collector_are_told_what_happens") {
        return;
    }
    let (collector, endpoint) = Collector::start().await;
    let settings = Settings { otlp_endpoint: Some(endpoint.parse().unwrap()), ..Settings::default() };
    let guard = telemetry::init(&settings).unwrap();
    // What fails here is to be read.
    drop(std::panic::take_hook());
    let directory = tempfile::tempdir().unwrap();
    let filter = directory.path().join("filter");
    std::fs::write(&filter, "info\n").unwrap();
    let followed = filter.clone();
    let world = World::builder()
        .config(move |config| {
            config.admin = Some(ticketd::admin::Settings { address: "127.0.0.1:0".parse().unwrap() });
            config.telemetry.log_filter_file = Some(followed.clone());
        })
        .start()
        .await;
    let admin = world.admin();
    let empty = Scrape::of(admin, "").await;
    assert_eq!(empty.number("ticketd_jwt_rejected_total", &[("reason", "context_identifier_mismatch")]), Some(0.0));

    through_all_outcomes(&world).await;

    let scrape = Scrape::of(admin, "application/openmetrics-text; version=1.0.0").await;
    assert!(scrape.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{}", scrape.head);
    assert!(scrape.text.ends_with("# EOF\n"));
    let exemplar = format!("# {{trace_id=\"{TRACE_ID}\"}}");
    let exemplars: Vec<&str> = scrape.text.lines().filter(|line| line.contains(&exemplar)).collect();
    assert!(exemplars.iter().any(|line| line.starts_with("rpc_server_call_duration_seconds_bucket")), "{exemplars:?}");
    assert!(scrape.text.lines().any(|line| {
        line.starts_with("ticketd_upstream_exchange_duration_seconds_bucket") && line.contains("# {trace_id=")
    }));

    let scrape = Scrape::of(admin, "text/plain").await;
    assert!(!scrape.text.contains(TRACE_ID) && !scrape.text.contains(CANARY) && !scrape.text.contains("Cust"));
    counted(&scrape);
    documented(&scrape);
    promtool(&scrape.text);
    let series = scrape.series().count();
    eprintln!("{series} lines of {} bytes", scrape.text.len());
    assert!(series < 2_000, "{series}");
    the_log_filter_is_followed(&world, &filter).await;
    an_open_breaker_shows(&world, admin).await;

    world.shutdown().await;
    guard.shutdown().await;
    received(&collector);
}

async fn the_log_filter_is_followed(world: &World, filter: &Path) {
    let lets_detail_through = || tracing::enabled!(target: "ticketd::somewhere", tracing::Level::DEBUG);
    assert!(!lets_detail_through());
    replace(filter, "info,ticketd::somewhere=debug\n");
    eventually("the new filter counts", || {
        world.clock.advance(Duration::from_secs(1));
        lets_detail_through()
    })
    .await;
    replace(filter, "ticketd=loud");
    eventually("a bad one is refused", || {
        world.clock.advance(Duration::from_secs(1));
        counter("ticketd_config_reload_failures_total") > 0.0
    })
    .await;
    assert!(lets_detail_through(), "what was there stays in use");
    replace(filter, "info");
    eventually("it is back", || {
        world.clock.advance(Duration::from_secs(1));
        !lets_detail_through()
    })
    .await;
}

/// At once: a file that is written over is empty for a moment, which is a filter too.
fn replace(file: &Path, text: &str) {
    let new = file.with_extension("new");
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, file).unwrap();
}

async fn an_open_breaker_shows(world: &World, admin: SocketAddr) {
    let login =
        async || Scrape::of(admin, "text/plain").await.number("ticketd_breaker_state", &[("upstream", "login")]);
    world.sandbox.set_behaviour(Behaviour::Status(503).at(Endpoint::Exchange));
    for number in 11..=20 {
        let tenant = format!("Cust{number}");
        world.add_tenant(&tenant).await;
        let refused = while_time_passes(world, world.ticket(&tenant)).await.unwrap_err();
        if reason(&refused).1 == "UPSTREAM_CIRCUIT_OPEN" {
            break;
        }
    }
    assert_eq!(login().await, Some(1.0));
    world.sandbox.clear_behaviours();
    world.clock.advance(Duration::from_secs(10));
    world.tickets().get_system_ticket(traced("Cust11")).await.unwrap();
    assert_eq!(login().await, Some(0.0));
}

async fn through_all_outcomes(world: &World) {
    world.sandbox.clock().set_offset(SignedDuration::from_secs(25));
    world.ticket(TENANT).await.unwrap();
    for _ in 0..10 {
        world.tickets().get_system_ticket(traced(TENANT)).await.unwrap();
    }
    // Two that wait for the same exchange.
    world.add_tenant("Cust2").await;
    let gate = world.sandbox.set_behaviour(Behaviour::Hang.at(Endpoint::Exchange));
    let (one, other) = (world.ticket("Cust2"), world.ticket("Cust2"));
    let release = async {
        eventually("both wait", || gauge("ticketd_flight_waiters") == Some(2.0)).await;
        assert_eq!(gauge("ticketd_flights_in_progress"), Some(1.0));
        world.sandbox.clear_behaviour(gate);
    };
    let (one, other, ()) = tokio::join!(one, other, release);
    assert_eq!(one.unwrap().fingerprint, other.unwrap().fingerprint);
    // Tenants that are refused, each for another reason.
    world.ticket("Cust404").await.unwrap_err();
    world.ticket("Cust404").await.unwrap_err();
    for (tenant, behaviour) in [
        ("Cust3", Behaviour::Refused(Refusal::Code(1))),
        ("Cust4", Behaviour::WrongTenant(WrongTenant::OtherContext)),
        ("Cust5", Behaviour::Malformed),
    ] {
        world.add_tenant(tenant).await;
        let knob = world.sandbox.set_behaviour(behaviour.at(Endpoint::Exchange).for_tenant(tenant));
        world.ticket(tenant).await.unwrap_err();
        world.sandbox.clear_behaviour(knob);
    }
    world.sandbox.set_tenant_state("Cust2", TenantState::Suspended).unwrap();
    // A path that is no method.
    let mut client = tonic::client::Grpc::new(world.channel());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<GetSystemTicketRequest, GetSystemTicketRequest>::default();
    let path = http::uri::PathAndQuery::try_from(format!("/{CANARY}/{CANARY}")).unwrap();
    client.unary(Request::new(GetSystemTicketRequest::default()), path, codec).await.unwrap_err();
    // A renewal that fails while the ticket is good.
    world.sandbox.set_behaviour(Behaviour::Status(503));
    world.clock.advance(Duration::from_mins(325));
    eventually("the renewal fails", || counter("ticketd_refresh_failures_total") > 0.0).await;
    let stale = world.tickets().get_system_ticket(traced(TENANT)).await.unwrap().into_inner();
    assert!(stale.system_ticket.unwrap().refresh_warning.is_some());
    world.sandbox.clear_behaviours();
}

fn traced(tenant: &str) -> Request<GetSystemTicketRequest> {
    let request = GetSystemTicketRequest { context_identifier: tenant.to_owned(), ..GetSystemTicketRequest::default() };
    let mut request = Request::new(request);
    let metadata = request.metadata_mut();
    metadata.insert("traceparent", format!("00-{TRACE_ID}-{SPAN_ID}-01").parse().unwrap());
    metadata.insert("tracestate", format!("a={CANARY}").parse().unwrap());
    metadata.insert("baggage", format!("a={CANARY}").parse().unwrap());
    request
}

fn counted(scrape: &Scrape) {
    let results = |result| scrape.number("ticketd_ticket_requests_total", &[("result", result)]);
    assert_eq!(results("hit"), Some(10.0));
    assert_eq!(results("joined"), Some(1.0));
    assert_eq!(results("miss"), Some(2.0));
    assert_eq!(results("stale_hit"), Some(1.0));
    assert_eq!(results("negative"), Some(1.0));
    assert_eq!(results("error"), Some(4.0));
    let outcomes = |outcome| scrape.number("ticketd_upstream_exchanges_total", &[("outcome", outcome)]);
    assert_eq!(outcomes("authorization_revoked"), Some(1.0));
    assert!(outcomes("ok") >= Some(3.0) && outcomes("malformed") >= Some(1.0));
    let rejected = [("reason", "context_identifier_mismatch")];
    assert_eq!(scrape.number("ticketd_jwt_rejected_total", &rejected), Some(1.0));
    let method = ("rpc_method", "superoffice.ticket.v1.TicketService/GetSystemTicket");
    let good = [method, ("rpc_response_status_code", "OK"), ("rpc_system_name", "grpc")];
    assert_eq!(scrape.number("rpc_server_call_duration_seconds_count", &good), Some(14.0));
    let unknown = [
        ("rpc_method", "_OTHER"),
        ("rpc_response_status_code", "UNIMPLEMENTED"),
        ("error_type", "UNIMPLEMENTED"),
        ("rpc_system_name", "grpc"),
    ];
    assert_eq!(scrape.number("rpc_server_call_duration_seconds_count", &unknown), Some(1.0));
    let skew = scrape.number("ticketd_clock_skew_seconds", &[]).unwrap();
    assert!((24.0..=26.0).contains(&skew), "{skew}");
    assert_eq!(scrape.number("ticketd_breaker_state", &[("upstream", "login")]), Some(0.0));
    assert_eq!(scrape.number("ticketd_serving", &[]), Some(1.0));
    let remaining = scrape.number("ticketd_ticket_remaining_min_seconds", &[]).unwrap();
    assert!((2_000.0..=2_200.0).contains(&remaining), "{remaining}");
    assert_eq!(scrape.number("ticketd_tickets_expiring", &[("within", "1h")]), Some(1.0));
    assert_eq!(scrape.number("ticketd_tickets_expiring", &[("within", "30m")]), Some(0.0));
}
