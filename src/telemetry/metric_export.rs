use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_client::MetricsServiceClient;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Exemplar, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics,
    ScopeMetrics, Sum, exemplar, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};
use tracing::{info, warn};
use url::Url;

use super::InitError;
use super::trace_export::{EXPORT_TIMEOUT, NAME};
use crate::metrics::{self, Family, Kind, Measured, Series, Unit, Value};

/// So often everything is sent.
const INTERVAL: Duration = Duration::from_secs(30);

/// Sends all metrics to a collector, again and again, until it is stopped.
#[derive(Debug)]
pub(super) struct MetricExport {
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl MetricExport {
    /// Begins. A collector that is away is tried again with the next round: nothing is kept for it, since what counts
    /// goes on counting.
    pub(super) fn start(endpoint: &Url) -> Result<Self, InitError> {
        let channel = Endpoint::from_shared(endpoint.as_str().to_owned())
            .map_err(|source| InitError::Endpoint { endpoint: endpoint.clone(), source })?
            .connect_timeout(EXPORT_TIMEOUT)
            .timeout(EXPORT_TIMEOUT)
            .connect_lazy();
        let stop = CancellationToken::new();
        let running = tokio::spawn(run(MetricsServiceClient::new(channel), stop.clone()));
        Ok(Self { stop, running })
    }

    /// Sends the last of them.
    pub(super) async fn shutdown(self) {
        self.stop.cancel();
        // It ends by itself, or broke and said so.
        let (Ok(()) | Err(_)) = self.running.await;
    }
}

async fn run(mut client: MetricsServiceClient<Channel>, stop: CancellationToken) {
    let start_time = nanoseconds();
    let mut rounds = tokio::time::interval(INTERVAL);
    rounds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    rounds.tick().await;
    let mut is_failing = false;
    loop {
        let is_last = tokio::select! {
            biased;
            () = stop.cancelled() => true,
            _ = rounds.tick() => false,
        };
        // Looking through all tickets takes a while.
        let Ok(families) = tokio::task::spawn_blocking(metrics::read).await else { return };
        let outcome = client.export(request(&families, start_time)).await;
        match &outcome {
            Err(status) if !is_failing => warn!(code = ?status.code(), "metrics cannot be sent to the collector"),
            Ok(_) if is_failing => info!("metrics are sent to the collector again"),
            _ => {}
        }
        is_failing = outcome.is_err();
        if is_last {
            return;
        }
    }
}

fn request(families: &[Family], start_time: u64) -> ExportMetricsServiceRequest {
    let time = nanoseconds();
    let families = families.iter().filter(|family| !family.series.is_empty());
    let metrics = families.map(|family| metric(family, start_time, time)).collect();
    let scope = InstrumentationScope { name: NAME.to_owned(), ..InstrumentationScope::default() };
    let resource = Resource {
        attributes: vec![
            attribute("service.name", NAME.to_owned()),
            attribute("service.version", env!("CARGO_PKG_VERSION").to_owned()),
        ],
        ..Resource::default()
    };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn metric(family: &Family, start_time: u64, time: u64) -> Metric {
    let about = family.about;
    let cumulative = AggregationTemporality::Cumulative.into();
    let numbers = || family.series.iter().filter_map(|series| number(series, start_time, time)).collect();
    let data = match about.kind {
        Kind::Counter => {
            let (data_points, aggregation_temporality) = (numbers(), cumulative);
            metric::Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
        }
        Kind::Gauge => metric::Data::Gauge(Gauge { data_points: numbers() }),
        Kind::Histogram => {
            let data_points = family.series.iter().filter_map(|series| histogram(series, start_time, time)).collect();
            metric::Data::Histogram(Histogram { data_points, aggregation_temporality: cumulative })
        }
    };
    Metric {
        name: about.name.to_owned(),
        description: about.description.to_owned(),
        unit: match about.unit {
            Unit::None => "1",
            Unit::Seconds => "s",
        }
        .to_owned(),
        data: Some(data),
        ..Metric::default()
    }
}

fn number(series: &Series, start_time: u64, time: u64) -> Option<NumberDataPoint> {
    let value = match &series.value {
        Value::Count(count) => number_data_point::Value::AsInt(i64::try_from(*count).unwrap_or(i64::MAX)),
        Value::Number(number) => number_data_point::Value::AsDouble(*number),
        Value::Histogram(_) => return None,
    };
    Some(NumberDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: start_time,
        time_unix_nano: time,
        value: Some(value),
        ..NumberDataPoint::default()
    })
}

fn histogram(series: &Series, start_time: u64, time: u64) -> Option<HistogramDataPoint> {
    let Value::Histogram(Measured { bounds, buckets, sum, exemplars }) = &series.value else { return None };
    let exemplars = exemplars.iter().flatten().map(|metrics::Exemplar { context, value }| Exemplar {
        trace_id: context.trace_id.to_vec(),
        span_id: context.span_id.to_vec(),
        time_unix_nano: time,
        value: Some(exemplar::Value::AsDouble(*value)),
        ..Exemplar::default()
    });
    Some(HistogramDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: start_time,
        time_unix_nano: time,
        count: buckets.iter().sum(),
        sum: Some(*sum),
        bucket_counts: buckets.clone(),
        explicit_bounds: bounds.clone(),
        exemplars: exemplars.collect(),
        ..HistogramDataPoint::default()
    })
}

fn attributes(series: &Series) -> Vec<KeyValue> {
    series.labels.iter().map(|(name, value)| attribute(name, value.clone())).collect()
}

fn attribute(key: &str, value: String) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value)) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

fn nanoseconds() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a collector is told the machine's time, whatever time ticketd goes by")]
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}
