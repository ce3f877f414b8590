//! What ticketd tells of itself: to Prometheus, and to a collector.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use jiff::SignedDuration;
use opentelemetry_proto::tonic::metrics::v1::metric;
use superoffice_sandbox::{Behaviour, Endpoint, Refusal, TenantState, WrongTenant};
use ticketd::grpc::proto::GetSystemTicketRequest;
use ticketd::metrics;
use ticketd::telemetry::{self, Settings};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tonic::Request;

use crate::breaker::while_time_passes;
use crate::otlp_collector::Collector;
use crate::own_process::is_own_process;
use crate::world::{TENANT, World, eventually, reason, within};

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

/// What is exported is what docs/metrics.md has, by names, types and labels; and all of that is exported.
fn documented(scrape: &Scrape) {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/metrics.md")).unwrap();
    let rows: BTreeSet<String> = page.lines().filter(|line| line.starts_with("| `")).map(str::to_owned).collect();
    let expected: BTreeSet<String> = metrics::ALL.iter().map(|metric| row(*metric)).collect();
    let missing: Vec<&String> = expected.difference(&rows).collect();
    assert!(
        missing.is_empty(),
        "docs/metrics.md lacks:\n{}",
        expected.iter().map(String::as_str).collect::<Vec<_>>().join("\n")
    );
    assert_eq!(
        rows.difference(&expected).collect::<Vec<_>>(),
        [] as [&String; 0],
        "docs/metrics.md has what is not there"
    );

    let types = scrape.text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    let types: BTreeMap<&str, &str> = types.collect();
    for metric in metrics::ALL {
        let (about, labels) = (metric.about(), metric.labels());
        let name = about.prometheus_name();
        if ELSEWHERE.contains(&name.as_str()) {
            continue;
        }
        assert_eq!(types.get(name.as_str()), Some(&about.kind.to_string().as_str()), "{name} is not exported");
        for (of, series, _) in scrape.series().filter(|(of, ..)| base(of, &types) == name) {
            for (label, value) in series.iter().filter(|(label, _)| label != "le") {
                let known = labels.iter().find(|(name, _)| name.replace('.', "_") == *label);
                let (_, values) = known.unwrap_or_else(|| panic!("{of} has the label {label}"));
                assert!(values.is_empty() || values.contains(&value.as_str()), "{of} has {label}={value}");
            }
        }
    }
    for name in types.keys() {
        assert!(
            metrics::ALL.iter().any(|metric| metric.about().prometheus_name() == **name),
            "{name} is not documented"
        );
    }
}

fn row(metric: &dyn metrics::Metric) -> String {
    let about = metric.about();
    let labels = metric.labels().into_iter().map(|(name, values)| match values {
        [] => format!("`{}`", name.replace('.', "_")),
        values => {
            let shown = values.iter().filter(|value| !value.is_empty()).map(|value| format!("`{value}`"));
            format!("`{}`: {}", name.replace('.', "_"), shown.collect::<Vec<_>>().join(" "))
        }
    });
    let unit = match about.unit {
        metrics::Unit::None => "",
        metrics::Unit::Seconds => "s",
    };
    let labels = labels.collect::<Vec<_>>().join("; ");
    format!(
        "| `{}` | `{}` | {} | {unit} | {labels} | {} |",
        about.prometheus_name(),
        about.name,
        about.kind,
        about.description
    )
}

/// The metric that a sample belongs to.
fn base<'a>(name: &'a str, types: &BTreeMap<&str, &str>) -> &'a str {
    let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
    of_histogram.filter(|base| types.get(base) == Some(&"histogram")).unwrap_or(name)
}

/// promtool finds nothing to complain about.
fn promtool(text: &str) {
    let spawned = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = spawned else {
        assert!(std::env::var_os("CI").is_none(), "promtool is not installed, and CI is set");
        eprintln!("SKIPPED promtool check metrics: promtool is not installed (Debian: apt-get install prometheus)");
        return;
    };
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let complaints = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && complaints.is_empty(), "{}", String::from_utf8_lossy(&complaints));
}

/// What the collector got of all three kinds.
fn received(collector: &Collector) {
    let resources = collector.resources();
    assert!(resources.iter().all(|it| it.contains("service.name") && it.contains("\"ticketd\"")), "{resources:?}");

    let spans = collector.spans();
    let calls = spans.iter().filter(|span| hex(&span.trace_id) == TRACE_ID && hex(&span.parent_span_id) == SPAN_ID);
    assert_eq!(calls.count(), 12, "the calls that came with a traceparent");
    let exchange = spans.iter().find(|span| span.name == "superoffice.request").unwrap();
    assert!(spans.iter().any(|span| span.span_id == exchange.parent_span_id && span.trace_id == exchange.trace_id));

    let logs = collector.logs();
    let of = |text: &str| logs.iter().find(|record| format!("{:?}", record.body).contains(text));
    let refused = of("call refused").expect("a refusal is logged");
    let span = spans.iter().find(|span| span.span_id == refused.span_id).expect("with its span");
    assert_eq!(span.trace_id, refused.trace_id);
    assert!(of("the renewal failed").is_some() && of("serving").is_some());

    let metrics = collector.metrics();
    let names: BTreeSet<&str> = metrics.iter().map(|metric| metric.name.as_str()).collect();
    for known in metrics::ALL {
        let about = known.about();
        assert!(names.contains(about.name) || ELSEWHERE.contains(&about.prometheus_name().as_str()), "{}", about.name);
    }
    let durations = metrics.iter().find(|metric| metric.name == "rpc.server.call.duration").unwrap();
    let Some(metric::Data::Histogram(durations)) = &durations.data else { panic!("{durations:?}") };
    let exemplars = durations.data_points.iter().flat_map(|point| &point.exemplars);
    assert!(exemplars.into_iter().any(|exemplar| hex(&exemplar.trace_id) == TRACE_ID));

    let everything = format!("{spans:?} {logs:?} {metrics:?}");
    assert!(!everything.contains(CANARY), "what came beside the traceparent is kept");
    eprintln!("{} spans, {} log records, {} metrics", spans.len(), logs.len(), metrics.len());
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

/// A gauge without labels, as it is this moment.
fn gauge(name: &str) -> Option<f64> {
    Scrape { head: String::new(), text: telemetry::Exposition::Prometheus.read() }.number(name, &[])
}

/// All series of a counter together, as they are this moment.
fn counter(name: &str) -> f64 {
    let scrape = Scrape { head: String::new(), text: telemetry::Exposition::Prometheus.read() };
    scrape.series().filter(|(of, ..)| of == name).map(|(_, _, value)| value).sum()
}

struct Scrape {
    head: String,
    text: String,
}

impl Scrape {
    async fn of(admin: SocketAddr, accept: &str) -> Self {
        within(async {
            let mut connection = TcpStream::connect(admin).await.unwrap();
            let request = format!("GET /metrics HTTP/1.1\r\nhost: x\r\naccept: {accept}\r\nconnection: close\r\n\r\n");
            connection.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            connection.read_to_string(&mut answer).await.unwrap();
            let (head, text) = answer.split_once("\r\n\r\n").unwrap();
            assert!(head.starts_with("HTTP/1.1 200"), "{head}");
            Self { head: head.to_owned(), text: text.to_owned() }
        })
        .await
    }

    fn series(&self) -> impl Iterator<Item = (String, Vec<(String, String)>, f64)> {
        self.text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            let labels = labels.strip_suffix('}').unwrap().split("\",").filter(|label| !label.is_empty());
            let labels = labels.map(|label| {
                let (name, value) = label.split_once("=\"").unwrap();
                (name.to_owned(), value.trim_end_matches('"').to_owned())
            });
            (name.to_owned(), labels.collect(), value.parse().unwrap())
        })
    }

    fn number(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let wanted: BTreeSet<_> =
            labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let found = self
            .series()
            .find(|(of, labels, _)| of == name && labels.iter().cloned().collect::<BTreeSet<_>>() == wanted);
        found.map(|(_, _, value)| value)
    }
}
