//! What ticketd measures arrives at a collector.

#![expect(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "a test fails by panicking")]

use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::common::v1::any_value;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use superoffice_sandbox::{Behaviour, Endpoint, Sandbox};
use ticketd::clock::SystemClock;
use ticketd::identifiers::{ApplicationId, ClientSecret, Environment, SignedSystemToken};
use ticketd::random::SystemRandom;
use ticketd::superoffice::{
    ClientAuthentication, Development, ExchangeTransport, Settings, SuperOffice, UpstreamError,
};
use ticketd::telemetry;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::TcpListenerStream;

struct Collector(mpsc::UnboundedSender<ExportMetricsServiceRequest>);

#[tonic::async_trait]
impl MetricsService for Collector {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, tonic::Status> {
        self.0.send(request.into_inner()).unwrap();
        Ok(tonic::Response::new(ExportMetricsServiceResponse::default()))
    }
}

#[tokio::test]
async fn the_clocks_and_the_breakers_are_measured() {
    let (endpoint, mut received) = collector().await;
    let settings = telemetry::Settings { otlp_endpoint: Some(endpoint.parse().unwrap()), ..Default::default() };
    let guard = telemetry::init(&settings).unwrap();

    let sandbox = Sandbox::builder().start().await.unwrap();
    let superoffice = client(&sandbox);
    sandbox.clock().set_offset(SignedDuration::from_secs(90));
    sandbox.set_behaviour(Behaviour::Status(503).at(Endpoint::Exchange));
    let signed = SignedSystemToken::new("App-8k8Q7DmBgo.202611221200.dErddLx+u6BeJM==");
    for number in 0..5 {
        let refused = superoffice.exchange(format!("Cust{number}").parse().unwrap(), &signed).await.unwrap_err();
        assert_eq!(refused, UpstreamError::Status(503).into());
    }
    guard.shutdown().await;

    let request = received.recv().await.unwrap();
    let resource = format!("{:?}", request.resource_metrics[0].resource);
    assert!(resource.contains("service.name") && resource.contains("\"ticketd\""), "{resource}");
    let skew = gauge(&request, "ticketd.clock_skew");
    let [(None, seconds)] = skew.as_slice() else { panic!("one clock: {skew:?}") };
    println!("a clock that is ahead by 90 s is measured as {seconds} s");
    assert!((88.0..=91.0).contains(seconds), "{seconds}");
    let mut breakers = gauge(&request, "ticketd.breaker_state");
    breakers.sort_by(|one, other| one.0.cmp(&other.0));
    assert_eq!(breakers, [(Some("login".to_owned()), 1.0), (Some("state".to_owned()), 0.0)]);
}

/// Each value of a gauge with the upstream it is for.
fn gauge(request: &ExportMetricsServiceRequest, name: &str) -> Vec<(Option<String>, f64)> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let mut metrics = scopes.flat_map(|scope| &scope.metrics).filter(|metric| metric.name == name);
    let metric = metrics.next().expect("the metric is there");
    let Some(metric::Data::Gauge(gauge)) = &metric.data else { panic!("no gauge: {metric:?}") };
    let points = gauge.data_points.iter().map(|point| {
        let upstream = point.attributes.iter().find(|attribute| attribute.key == "upstream").map(|attribute| {
            match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
                Some(any_value::Value::StringValue(upstream)) => upstream.clone(),
                other => panic!("{other:?}"),
            }
        });
        let value = match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            #[expect(clippy::cast_precision_loss, reason = "0 or 1")]
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => panic!("no value: {point:?}"),
        };
        (upstream, value)
    });
    points.collect()
}

async fn collector() -> (String, mpsc::UnboundedReceiver<ExportMetricsServiceRequest>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = mpsc::unbounded_channel();
    let collector = tonic::transport::Server::builder()
        .add_service(MetricsServiceServer::new(Collector(sender)))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(collector);
    (endpoint, received)
}

fn client(sandbox: &Sandbox) -> SuperOffice {
    let settings = Settings {
        environment: Environment::Sod,
        client_id: ApplicationId::new(sandbox.client_id()),
        client_secret: ClientSecret::new(sandbox.client_secret()).into(),
        client_authentication: ClientAuthentication::Post,
        redirect_uris: Vec::new(),
        connect_timeout: Duration::from_secs(3),
        request_timeout: Duration::from_secs(10),
        state_timeout: Duration::from_secs(2),
        max_requests_in_flight: 64,
        exchange: ExchangeTransport::Rest,
        development: Some(Development { base_url: sandbox.base_url().parse().unwrap(), extra_ca_file: None }),
    };
    SuperOffice::new(settings, Arc::new(SystemClock), Arc::new(SystemRandom)).unwrap()
}
